//! What of a document may be shown to somebody else: its form, codes, times and switches. What is not on the lists here is
//! left out, whatever it is.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The longest document that comes out, in bytes.
const LONGEST: usize = 256 * 1024;
/// The deepest nesting that is followed.
const DEEPEST: usize = 64;
/// What stands for what is left out.
const HIDDEN: &str = "[…]";

/// Elements whose text says nothing about people: codes, times, numbers and switches of the protocol.
const SHOWN: &[&str] = &[
    "BaseShape",
    "CalendarItemType",
    "ConnectionStatus",
    "ConnectionTimeout",
    "DateTimeCreated",
    "DayOfMonth",
    "DayOfWeek",
    "DayOfWeekIndex",
    "DaysOfWeek",
    "DescriptiveLinkKey",
    "End",
    "EndDate",
    "EndWallClock",
    "ErrorCode",
    "EventType",
    "FirstDayOfWeek",
    "IncludesLastItemInRange",
    "Interval",
    "IsAllDayEvent",
    "IsCancelled",
    "IsMeeting",
    "IsRecurring",
    "IsResponseRequested",
    "LastModifiedTime",
    "LegacyFreeBusyStatus",
    "MaxChangesReturned",
    "Month",
    "MoreEvents",
    "MyResponseType",
    "NumberOfOccurrences",
    "Occurrence",
    "Offset",
    "OriginalStart",
    "ReadItems",
    "RecurrenceId",
    "ResponseCode",
    "Sensitivity",
    "Start",
    "StartDate",
    "StartWallClock",
    "SyncScope",
    "TimeOffset",
    "Timeout",
    "TotalCount",
    "faultcode",
];

/// Elements that name things by opaque ids, as their text.
const NAMING: &[&str] = &[
    "SubscriptionId",
    "SyncState",
    "UID",
    "Watermark",
    "PreviousWatermark",
];

/// Attributes whose value is a word or number of the protocol.
const SHOWN_ATTRIBUTES: &[&str] = &[
    "BasePoint",
    "Bias",
    "ConflictResolution",
    "DeleteType",
    "DistinguishedPropertySetId",
    "EndDate",
    "FieldURI",
    "IncludesLastItemInRange",
    "IndexedPagingOffset",
    "InstanceIndex",
    "Kind",
    "MajorBuildNumber",
    "MajorVersion",
    "MaxEntriesReturned",
    "MessageDisposition",
    "MinorBuildNumber",
    "MinorVersion",
    "Offset",
    "PropertyId",
    "PropertyTag",
    "PropertyType",
    "ResponseClass",
    "SendMeetingCancellations",
    "SendMeetingInvitations",
    "SendMeetingInvitationsOrCancellations",
    "StartDate",
    "TotalItemsInView",
    "Traversal",
    "Version",
];

/// Shortens opaque ids, so that one can be told from another and none be used.
pub(crate) trait Ids {
    /// The short form.
    fn short(&self, id: &str) -> String;
}

/// One document, a line for each element.
pub(crate) fn document(text: &str, ids: &impl Ids) -> String {
    let mut out = String::new();
    match write(text, ids, &mut out) {
        Ok(()) => {}
        Err(what) => {
            out.push_str(&format!("[{what}; {} bytes in all]\n", text.len()));
        }
    }
    out
}

fn write(text: &str, ids: &impl Ids, out: &mut String) -> Result<(), &'static str> {
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut path: Vec<Open> = Vec::new();
    loop {
        if out.len() > LONGEST {
            return Err("the rest is left out");
        }
        let event = reader
            .read_event()
            .map_err(|_| "from here on it is no XML")?;
        match event {
            Event::Start(start) => {
                if path.len() >= DEEPEST {
                    return Err("from here on it is nested too deeply");
                }
                let open = Open::read(&start, ids);
                if let Some(parent) = path.last_mut() {
                    parent.has_children = true;
                }
                line(out, path.len(), &open.tag);
                path.push(open);
            }
            Event::Empty(start) => {
                if let Some(parent) = path.last_mut() {
                    parent.has_children = true;
                }
                line(out, path.len(), &Open::read(&start, ids).tag);
            }
            Event::Text(text) => {
                if let Some(open) = path.last_mut() {
                    open.text.push_str(&text.xml10_content());
                }
            }
            Event::CData(text) => {
                if let Some(open) = path.last_mut() {
                    open.text.push_str(&text.xml10_content());
                }
            }
            Event::GeneralRef(_) => {
                if let Some(open) = path.last_mut() {
                    // Nothing that may be shown has one.
                    open.text.push('&');
                }
            }
            Event::End(_) => {
                let Some(open) = path.pop() else {
                    return Err("from here on it is no XML");
                };
                if !open.has_children && !open.text.trim().is_empty() {
                    let shown = open.shown(ids);
                    // The text belongs behind its tag.
                    out.pop();
                    out.push(' ');
                    out.push_str(&shown);
                    out.push('\n');
                }
            }
            Event::DocType(_) => return Err("it has a document type declaration"),
            Event::Eof => return Ok(()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

fn line(out: &mut String, depth: usize, tag: &str) {
    for _ in 0..depth {
        out.push_str("  ");
    }
    out.push_str(tag);
    out.push('\n');
}

/// An element that is open.
struct Open {
    name: String,
    /// The name in `MessageXml`'s values.
    value_name: Option<String>,
    tag: String,
    text: String,
    has_children: bool,
}

impl Open {
    fn read(start: &BytesStart<'_>, ids: &impl Ids) -> Self {
        let local = start.local_name().as_ref().to_owned();
        let name = if is_word(&local) {
            local
        } else {
            "?".to_owned()
        };
        let mut tag = name.clone();
        let mut value_name = None;
        for attribute in start.attributes().with_checks(false).flatten() {
            let key = attribute.key.local_name().as_ref().to_owned();
            // Declarations of namespaces say nothing.
            if attribute.key.as_ref().starts_with("xmlns") || !is_word(&key) {
                continue;
            }
            let value = attribute.value.clone().into_owned();
            let shown = match key.as_str() {
                "Id" if name == "DistinguishedFolderId" => harmless(&value),
                "Id" if name == "TimeZoneDefinition" => zone(&value),
                "Id" | "ChangeKey" | "RecurringMasterId" => ids.short(&value),
                "Name" if name == "Value" => {
                    value_name = Some(value.clone());
                    harmless(&value)
                }
                key if SHOWN_ATTRIBUTES.contains(&key) => harmless(&value),
                _ => HIDDEN.to_owned(),
            };
            tag.push_str(&format!(" {key}={shown}"));
        }
        Self {
            name,
            value_name,
            tag,
            text: String::new(),
            has_children: false,
        }
    }

    fn shown(&self, ids: &impl Ids) -> String {
        let text = self.text.trim();
        if NAMING.contains(&self.name.as_str()) {
            return ids.short(text);
        }
        if matches!(self.name.as_str(), "StartTimeZoneId" | "EndTimeZoneId") {
            return zone(text);
        }
        let back_off = self.value_name.as_deref() == Some("BackOffMilliseconds");
        let shown = SHOWN.contains(&self.name.as_str()) || (self.name == "Value" && back_off);
        // No word of the protocol has a space in it; days stand in a list.
        if shown && (self.name == "DaysOfWeek" || !text.contains(' ')) {
            harmless(text)
        } else {
            HIDDEN.to_owned()
        }
    }
}

/// A word, number or time of the protocol, and nothing that could be anything else.
pub(crate) fn harmless(text: &str) -> String {
    let fits = text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-+:._ ".contains(&b));
    if fits {
        text.to_owned()
    } else {
        HIDDEN.to_owned()
    }
}

/// The name of a zone that everybody has; others may be somebody's own words.
fn zone(text: &str) -> String {
    let common = text == "UTC" || text.ends_with(" Standard Time");
    if common {
        harmless(text)
    } else {
        HIDDEN.to_owned()
    }
}

/// A name of an element or attribute that a schema could have.
fn is_word(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Plain;

    impl Ids for Plain {
        fn short(&self, id: &str) -> String {
            format!("#{}", id.len())
        }
    }

    #[test]
    fn form_codes_and_times_are_shown_and_nothing_else() {
        let text = r#"<?xml version="1.0"?><s:Envelope xmlns:s="x" xmlns:t="y"><s:Header><t:ServerVersionInfo MajorVersion="15" MinorVersion="2" Secret="hunter2"/></s:Header>
            <s:Body><m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Success"><m:MessageText>anna@kommune.example</m:MessageText><m:ResponseCode>NoError</m:ResponseCode>
            <m:Items><t:CalendarItem><t:ItemId Id="AAMk" ChangeKey="DwAA"/><t:Subject>Dr. Hansen &amp; Anna</t:Subject><t:Body BodyType="Text"><![CDATA[0101901234]]></t:Body>
            <t:Start>2026-12-01T09:00:00Z</t:Start><t:UID>040000008200E00074C5</t:UID><t:IsCancelled>false</t:IsCancelled>
            <t:Organizer><t:Mailbox><t:Name>Anna</t:Name></t:Mailbox></t:Organizer><t:Location/></t:CalendarItem></m:Items>
            <t:Value Name="BackOffMilliseconds">5000</t:Value><t:Value Name="Other">Anna</t:Value></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse></s:Body></s:Envelope>"#;
        let shown = document(text, &Plain);
        for part in [
            "ResponseCode NoError",
            "Start 2026-12-01T09:00:00Z",
            "MajorVersion=15",
            "ItemId Id=#4 ChangeKey=#4",
            "UID #20",
            "Value Name=BackOffMilliseconds 5000",
            "Subject […]",
            "Location\n",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        for part in [
            "Anna", "anna", "Hansen", "hunter2", "0101", "AAMk", "DwAA", "0400",
        ] {
            assert!(!shown.contains(part), "{part}\n{shown}");
        }
    }

    #[test]
    fn what_stands_where_a_time_belongs_is_no_time() {
        for text in ["Anna, at Dr. Hansen's", "Anna Berg", "anna@x"] {
            let shown = document(&format!("<t:Start>{text}</t:Start>"), &Plain);
            assert!(!shown.contains("nna"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_xml_is_not_shown() {
        for text in [
            "<html><body>Anna<br></body></html>",
            "Anna",
            "<a>Anna",
            "<!DOCTYPE a [<!ENTITY e \"Anna\">]><a>&e;</a>",
            "<Anna@x a='b'/>",
            "<a><b>Anna</a>",
        ] {
            let shown = document(text, &Plain);
            assert!(!shown.contains("Anna"), "{text} {shown}");
        }
        assert!(document(&"<a>".repeat(10_000), &Plain).len() < 10_000);
        assert!(document(&"<a/>".repeat(1_000_000), &Plain).len() < 300_000);
    }

    proptest! {
        #[test]
        fn a_secret_never_comes_out(
            place in "[A-Za-z:]{1,20}",
            attribute in "[A-Za-z:]{1,20}",
            before in "[ -~]{0,40}",
            secret in "(Gerda Møller|gerda@kommune\\.example|p@ss,word!)",
        ) {
            let clean = before.replace(['<', '>', '&', '"'], "");
            for text in [
                format!("<m:{place}>{clean}{secret}</m:{place}>"),
                format!("<a><{place} {attribute}=\"{secret}\">x</{place}></a>"),
                format!("<a>{secret}<{place}/></a>"),
                format!("{before}{secret}"),
                format!("<a><!-- {secret} --><?x {secret}?></a>"),
            ] {
                let shown = document(&text, &Plain);
                prop_assert!(!shown.contains(secret.as_str()), "{} gives {}", text, shown);
            }
        }
    }
}
