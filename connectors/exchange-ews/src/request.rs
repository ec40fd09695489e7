//! What is asked of servers: the bodies of the EWS operations that are used.
//!
//! Element order is fixed by Microsoft's schema (messages.xsd and types.xsd of Exchange 2013 SP1).

use std::fmt::Write as _;

use calbridge_core::model::{Field, FieldSet, Window};

use crate::sink::mark;
use crate::soap::escape;

/// The most changes that one SyncFolderItems may return (EWS `MaxSyncChangesReturnedType`).
pub(crate) const SYNC_PAGE: usize = 512;
/// The most items that one FindItem returns by Exchange's own limit (EWSFindCountLimit).
pub(crate) const FIND_PAGE: usize = 1000;

/// How many of the items that were changed last are asked for at once.
pub(crate) const LATEST_PAGE: usize = 250;

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    /// The name of the operation.
    pub(crate) operation: &'static str,
    pub(crate) xml: String,
}

/// Which folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FolderTarget {
    /// The primary calendar; of this mailbox, where it is not the acting one's.
    Primary { mailbox: Option<String> },
    /// A folder by its id.
    Id(String),
    /// The root of the acting account's own folders; only to see whether the server answers.
    Root,
}

impl FolderTarget {
    pub(crate) fn xml(&self) -> String {
        match self {
            Self::Primary { mailbox: None } => {
                r#"<t:DistinguishedFolderId Id="calendar"/>"#.to_owned()
            }
            Self::Primary {
                mailbox: Some(address),
            } => format!(
                r#"<t:DistinguishedFolderId Id="calendar"><t:Mailbox><t:EmailAddress>{}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"#,
                escape(address)
            ),
            Self::Id(id) => format!(r#"<t:FolderId Id="{}"/>"#, escape(id)),
            Self::Root => r#"<t:DistinguishedFolderId Id="msgfolderroot"/>"#.to_owned(),
        }
    }
}

/// Which properties of items. No more than the fields that were asked for, and what identity and
/// qualification need.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Properties {
    uris: Vec<&'static str>,
    object_id: bool,
    /// Our own properties.
    marks: bool,
}

impl Properties {
    /// For views: what Exchange can answer without opening each item.
    pub(crate) fn view(fields: &FieldSet) -> Self {
        let mut uris = vec![
            "item:ItemClass",
            "calendar:UID",
            "calendar:RecurrenceId",
            "calendar:Start",
            "calendar:End",
            "calendar:IsAllDayEvent",
            "calendar:LegacyFreeBusyStatus",
            "calendar:IsCancelled",
            "calendar:CalendarItemType",
            "calendar:StartTimeZoneId",
        ];
        for field in fields.iter() {
            match field {
                Field::Subject => uris.push("item:Subject"),
                Field::Location => uris.push("calendar:Location"),
                Field::Private => uris.push("item:Sensitivity"),
                Field::Categories => uris.push("item:Categories"),
                _ => {}
            }
        }
        Self {
            uris,
            object_id: false,
            marks: false,
        }
    }

    /// For listings: as for views, and when each item was changed.
    pub(crate) fn listing(fields: &FieldSet) -> Self {
        let mut all = Self::view(fields);
        all.uris.push("item:LastModifiedTime");
        all
    }

    /// For single items: also what a view cannot give.
    pub(crate) fn details(fields: &FieldSet) -> Self {
        let mut all = Self::view(fields);
        all.uris.extend([
            "item:ParentFolderId",
            "calendar:OriginalStart",
            "calendar:StartWallClock",
            "calendar:EndWallClock",
            "calendar:StartTimeZone",
        ]);
        if fields.contains(Field::Body) {
            all.uris.push("item:Body");
        }
        all.object_id = true;
        all
    }

    /// For masters: also the series.
    pub(crate) fn series(fields: &FieldSet) -> Self {
        let mut all = Self::details(fields);
        all.uris.extend([
            "calendar:Recurrence",
            "calendar:ModifiedOccurrences",
            "calendar:DeletedOccurrences",
        ]);
        all
    }

    /// For records of a sink: also whether they are anybody's meeting, and what was left on them.
    pub(crate) fn record(fields: &FieldSet) -> Self {
        let mut all = Self::details(fields);
        all.uris.extend([
            "calendar:IsMeeting",
            "calendar:AppointmentState",
            "calendar:MyResponseType",
        ]);
        all.marks = true;
        all
    }

    /// For records that are looked for: what tells which is which.
    pub(crate) fn found() -> Self {
        Self {
            uris: vec![
                "item:ItemClass",
                "calendar:UID",
                "calendar:CalendarItemType",
            ],
            object_id: true,
            marks: true,
        }
    }

    pub(crate) fn shape(&self) -> String {
        let mut xml = String::from("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>");
        if self.uris.contains(&"item:Body") {
            xml.push_str("<t:BodyType>Text</t:BodyType>");
        }
        xml.push_str("<t:AdditionalProperties>");
        for uri in &self.uris {
            let _ = write!(xml, r#"<t:FieldURI FieldURI="{uri}"/>"#);
        }
        if self.object_id {
            // CleanGlobalObjectId (MS-OXOCAL, PidLidCleanGlobalObjectId).
            xml.push_str(mark::OBJECT_ID_PATH);
        }
        if self.marks {
            for name in [mark::RECORD, mark::ATTEMPT, mark::MARK] {
                xml.push_str(&mark::path(name));
            }
        }
        xml.push_str("</t:AdditionalProperties></m:ItemShape>");
        xml
    }
}

/// GetFolder: the folder's id and our rights.
pub(crate) fn get_folder(folder: &FolderTarget) -> Body {
    Body {
        operation: "GetFolder",
        xml: format!(
            r#"<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI="folder:EffectiveRights"/></t:AdditionalProperties></m:FolderShape><m:FolderIds>{}</m:FolderIds></m:GetFolder>"#,
            folder.xml()
        ),
    }
}

/// SyncFolderItems: ids and item classes of what changed.
pub(crate) fn sync_folder_items(folder: &str, state: Option<&str>) -> Body {
    let state = state.map_or_else(String::new, |state| {
        format!("<m:SyncState>{}</m:SyncState>", escape(state))
    });
    Body {
        operation: "SyncFolderItems",
        xml: format!(
            r#"<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI="item:ItemClass"/><t:FieldURI FieldURI="calendar:CalendarItemType"/></t:AdditionalProperties></m:ItemShape><m:SyncFolderId>{}</m:SyncFolderId>{state}<m:MaxChangesReturned>{SYNC_PAGE}</m:MaxChangesReturned></m:SyncFolderItems>"#,
            FolderTarget::Id(folder.to_owned()).xml()
        ),
    }
}

/// FindItem with CalendarView: what overlaps the range, series expanded by the server.
pub(crate) fn calendar_view(folder: &str, properties: &Properties, range: Window) -> Body {
    Body {
        operation: "FindItem",
        xml: format!(
            r#"<m:FindItem Traversal="Shallow">{}<m:CalendarView MaxEntriesReturned="{FIND_PAGE}" StartDate="{}" EndDate="{}"/><m:ParentFolderIds>{}</m:ParentFolderIds></m:FindItem>"#,
            properties.shape(),
            range.start(),
            range.end(),
            FolderTarget::Id(folder.to_owned()).xml()
        ),
    }
}

/// FindItem in pages: singles and masters of the whole folder.
pub(crate) fn page(folder: &str, properties: &Properties, offset: u32) -> Body {
    Body {
        operation: "FindItem",
        xml: format!(
            r#"<m:FindItem Traversal="Shallow">{}<m:IndexedPageItemView MaxEntriesReturned="{FIND_PAGE}" Offset="{offset}" BasePoint="Beginning"/><m:ParentFolderIds>{}</m:ParentFolderIds></m:FindItem>"#,
            properties.shape(),
            FolderTarget::Id(folder.to_owned()).xml()
        ),
    }
}

/// FindItem for the items that were changed last, the latest first, page by page.
pub(crate) fn latest(folder: &str, offset: u32) -> Body {
    Body {
        operation: "FindItem",
        xml: format!(
            r#"<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI="item:LastModifiedTime"/><t:FieldURI FieldURI="calendar:CalendarItemType"/></t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="{LATEST_PAGE}" Offset="{offset}" BasePoint="Beginning"/><m:SortOrder><t:FieldOrder Order="Descending"><t:FieldURI FieldURI="item:LastModifiedTime"/></t:FieldOrder></m:SortOrder><m:ParentFolderIds>{}</m:ParentFolderIds></m:FindItem>"#,
            FolderTarget::Id(folder.to_owned()).xml()
        ),
    }
}

/// GetItem: one answer per id, in order.
pub(crate) fn get_items(ids: &[String], properties: &Properties) -> Body {
    let mut items = String::new();
    for id in ids {
        let _ = write!(items, r#"<t:ItemId Id="{}"/>"#, escape(id));
    }
    Body {
        operation: "GetItem",
        xml: format!(
            "<m:GetItem>{}<m:ItemIds>{items}</m:ItemIds></m:GetItem>",
            properties.shape()
        ),
    }
}

/// What is subscribed to: everything that can happen to what a calendar holds. FreeBusyChangedEvent would add noise
/// and nothing else.
const EVENT_TYPES: &str = "<t:EventTypes><t:EventType>CopiedEvent</t:EventType><t:EventType>CreatedEvent</t:EventType><t:EventType>DeletedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType><t:EventType>MovedEvent</t:EventType></t:EventTypes>";

/// Subscribe, for a stream.
pub(crate) fn subscribe_streaming(folder: &FolderTarget) -> Body {
    Body {
        operation: "Subscribe",
        xml: format!(
            "<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>{}</t:FolderIds>{EVENT_TYPES}</m:StreamingSubscriptionRequest></m:Subscribe>",
            folder.xml()
        ),
    }
}

/// Subscribe, for pulling. The subscription expires if nothing is pulled for so many minutes.
pub(crate) fn subscribe_pull(folder: &FolderTarget, minutes: u32) -> Body {
    Body {
        operation: "Subscribe",
        xml: format!(
            "<m:Subscribe><m:PullSubscriptionRequest><t:FolderIds>{}</t:FolderIds>{EVENT_TYPES}<t:Timeout>{minutes}</t:Timeout></m:PullSubscriptionRequest></m:Subscribe>",
            folder.xml()
        ),
    }
}

/// Unsubscribe.
pub(crate) fn unsubscribe(subscription: &str) -> Body {
    Body {
        operation: "Unsubscribe",
        xml: format!(
            "<m:Unsubscribe><m:SubscriptionId>{}</m:SubscriptionId></m:Unsubscribe>",
            escape(subscription)
        ),
    }
}

/// GetEvents: what a pull subscription has to tell.
pub(crate) fn get_events(subscription: &str, watermark: &str) -> Body {
    Body {
        operation: "GetEvents",
        xml: format!(
            "<m:GetEvents><m:SubscriptionId>{}</m:SubscriptionId><m:Watermark>{}</m:Watermark></m:GetEvents>",
            escape(subscription),
            escape(watermark)
        ),
    }
}

/// GetStreamingEvents: a stream of what subscriptions have to tell, for so many minutes, 1 to 30.
pub(crate) fn get_streaming_events<'a>(
    subscriptions: impl IntoIterator<Item = &'a str>,
    minutes: u32,
) -> Body {
    let mut ids = String::new();
    for id in subscriptions {
        let _ = write!(ids, "<t:SubscriptionId>{}</t:SubscriptionId>", escape(id));
    }
    Body {
        operation: "GetStreamingEvents",
        xml: format!(
            "<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds><m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::soap::{Acting, envelope};

    fn all_fields() -> FieldSet {
        [
            Field::Time,
            Field::ShowAs,
            Field::Subject,
            Field::Location,
            Field::Body,
            Field::Private,
            Field::Categories,
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn for_times_no_other_field_is_asked_for() {
        let times = Properties::series(&FieldSet::times()).shape();
        for private in [
            "Subject",
            "Body",
            "Location",
            "Attendees",
            "Sensitivity",
            "Categories",
            "Organizer",
        ] {
            assert!(!times.contains(private), "{private}");
        }
        let all = Properties::series(&all_fields()).shape();
        for asked in [
            "item:Subject",
            "item:Body",
            "calendar:Location",
            "item:Sensitivity",
            "item:Categories",
        ] {
            assert!(all.contains(asked), "{asked}");
        }
    }

    #[test]
    fn ids_and_addresses_are_escaped() {
        let hostile = "a\"/><x>&'";
        for body in [
            get_items(
                &[hostile.to_owned()],
                &Properties::details(&FieldSet::times()),
            ),
            sync_folder_items(hostile, Some(hostile)),
            get_folder(&FolderTarget::Primary {
                mailbox: Some(hostile.to_owned()),
            }),
        ] {
            assert!(!body.xml.contains("<x>"), "{}", body.xml);
        }
    }

    /// Every kind of request, for validation by another tool: set `CALBRIDGE_EWS_REQUESTS_DIR`.
    #[test]
    fn every_kind_of_request_is_written_for_validation() {
        let fields = [FieldSet::times(), all_fields()];
        let window = Window::new(
            "2026-12-01T00:00:00Z".parse().unwrap(),
            "2027-03-01T00:00:00.5Z".parse().unwrap(),
        )
        .unwrap();
        let ids = ["AAMkA=".to_owned(), "AAMkB&<>\"=".to_owned()];
        let mut bodies = vec![
            get_folder(&FolderTarget::Root),
            get_folder(&FolderTarget::Primary { mailbox: None }),
            get_folder(&FolderTarget::Primary {
                mailbox: Some("anna@kommune.example".to_owned()),
            }),
            get_folder(&FolderTarget::Id("AQMkFolder=".to_owned())),
            sync_folder_items("AQMkFolder=", None),
            sync_folder_items("AQMkFolder=", Some("H4sIAAA=")),
            latest("AQMkFolder=", 250),
            subscribe_streaming(&FolderTarget::Primary { mailbox: None }),
            subscribe_streaming(&FolderTarget::Primary {
                mailbox: Some("anna@kommune.example".to_owned()),
            }),
            subscribe_pull(&FolderTarget::Id("AQMkFolder=".to_owned()), 15),
            unsubscribe("JwBle&="),
            get_events("JwBle=", "AQAA="),
            get_streaming_events(["JwBle=", "JwBlf="], 29),
        ];
        bodies.extend(crate::sink::every_kind_of_request());
        for fields in &fields {
            bodies.extend([
                get_items(&ids, &Properties::record(fields)),
                calendar_view("AQMkFolder=", &Properties::view(fields), window),
                page("AQMkFolder=", &Properties::listing(fields), 1000),
                get_items(&ids, &Properties::details(fields)),
                get_items(&ids, &Properties::series(fields)),
            ]);
        }
        let Some(directory) = std::env::var_os("CALBRIDGE_EWS_REQUESTS_DIR") else {
            println!("not written: CALBRIDGE_EWS_REQUESTS_DIR is not set");
            return;
        };
        let directory = std::path::PathBuf::from(directory);
        std::fs::create_dir_all(&directory).unwrap();
        for acting in [
            Acting::Itself,
            Acting::Impersonating("anna@kommune.example".to_owned()),
        ] {
            for (number, body) in bodies.iter().enumerate() {
                let who = if acting == Acting::Itself {
                    "itself"
                } else {
                    "impersonating"
                };
                let name = format!("{number:02}-{}-{who}.xml", body.operation);
                std::fs::write(directory.join(name), envelope(&acting, &body.xml)).unwrap();
            }
        }
    }
}
