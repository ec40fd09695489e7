//! Items as elements: exactly the requested properties, in schema order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::goid;
use super::ids::{change_key, occurrence_id};
use super::item::{Answer, Appointment, Attendee, Instance, Item, Person};
use super::profile::Profile;
use super::recurrence::{DayIndex, DayKind, Pattern, Range, Recurrence, SeriesRule};
use super::shape::{ExtendedPath, Shape};
use super::time::{duration, offset_suffix};
use super::xml::Element;
use super::zone::weekday_name;

/// How far ahead the last occurrence of a series is looked for.
const HORIZON_YEARS: i64 = 30;

/// How the request wants things written.
pub(crate) struct Style<'a> {
    pub(crate) profile: Profile,
    /// The zone of the request's TimeZoneContext.
    pub(crate) zone: &'a TimeZone,
    /// Whether this is a list operation (FindItem, SyncFolderItems), which cannot give the expensive properties.
    pub(crate) list: bool,
}

impl Style<'_> {
    /// An instant in the zone of the TimeZoneContext; UTC is written with `Z`.
    fn instant(&self, instant: Timestamp) -> String {
        if self.profile.is_gromox() || *self.zone == TimeZone::UTC {
            return instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        }
        let zoned = instant.to_zoned(self.zone.clone());
        format!(
            "{}{}",
            zoned.strftime("%Y-%m-%dT%H:%M:%S"),
            offset_suffix(zoned.offset())
        )
    }

    /// Modification times: gromox writes nine digits of fraction.
    fn precise(&self, instant: Timestamp) -> String {
        if self.profile.is_gromox() {
            instant.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
        } else {
            self.instant(instant)
        }
    }

    /// Times inside a series: gromox writes six digits of fraction.
    fn in_series(&self, instant: Timestamp) -> String {
        if self.profile.is_gromox() {
            instant.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()
        } else {
            self.instant(instant)
        }
    }

    /// A date of a recurrence range: Exchange appends the offset of that day.
    fn date(&self, day: Date, zone: &TimeZone) -> String {
        if self.profile.is_gromox() {
            return format!("{day}T00:00:00.000000Z");
        }
        let offset = super::time::to_instant(day.at(0, 0, 0, 0), zone)
            .map(|midnight| zone.to_offset(midnight));
        match offset {
            Some(offset) if offset.is_zero() => format!("{day}Z"),
            Some(offset) => format!("{day}{}", offset_suffix(offset)),
            None => day.to_string(),
        }
    }
}

/// What is to be written.
pub(crate) enum Subject<'a> {
    /// A single item or a master.
    Item(&'a Item),
    /// One occurrence of a series.
    Instance(&'a Item, Instance<'a>),
}

impl Subject<'_> {
    pub(crate) fn appointment(&self) -> &Appointment {
        match self {
            Subject::Item(item) => &item.appointment,
            Subject::Instance(_, instance) => &instance.appointment,
        }
    }

    pub(crate) fn item(&self) -> &Item {
        match self {
            Subject::Item(item) | Subject::Instance(item, _) => item,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Subject::Item(item) if item.series.is_some() => "RecurringMaster",
            Subject::Item(_) => "Single",
            Subject::Instance(_, instance) if instance.exception.is_some() => "Exception",
            Subject::Instance(..) => "Occurrence",
        }
    }

    pub(crate) fn modified(&self) -> Timestamp {
        match self {
            Subject::Instance(_, instance) => instance
                .exception
                .map_or(self.item().modified, |exception| exception.modified),
            Subject::Item(item) => item.modified,
        }
    }

    /// The message class; that of an exception is the one of its embedded message ([MS-OXOCAL], exception embedded
    /// message object).
    fn class(&self) -> &str {
        match self.kind() {
            "Occurrence" => "IPM.Appointment.Occurrence",
            "Exception" => "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}",
            _ => &self.appointment().class,
        }
    }

    fn slot(&self) -> Option<DateTime> {
        match self {
            Subject::Item(_) => None,
            Subject::Instance(_, instance) => Some(instance.slot),
        }
    }

    /// t:ItemId.
    pub(crate) fn item_id(&self) -> Element {
        match self {
            Subject::Item(item) => Element::new("t:ItemId")
                .attr("Id", item.id())
                .attr("ChangeKey", item.change_key()),
            Subject::Instance(item, instance) => instance_id(item, instance),
        }
    }
}

fn instance_id(item: &Item, instance: &Instance<'_>) -> Element {
    let change = instance
        .exception
        .map_or(item.change, |exception| exception.change.max(item.change));
    Element::new("t:ItemId")
        .attr(
            "Id",
            occurrence_id(item.number, instance.slot, instance.exception.is_some()),
        )
        .attr("ChangeKey", change_key(change))
}

/// t:CalendarItem with what the shape asks for.
pub(crate) fn calendar_item(
    subject: &Subject<'_>,
    shape: &Shape,
    style: &Style<'_>,
    folder_id: &str,
) -> Element {
    let item = subject.item();
    let content = subject.appointment();
    let gromox = style.profile.is_gromox();
    let mut out = Element::new("t:CalendarItem");
    let mut put = |field: &str, element: Element| {
        if shape.wants(field) {
            out.children.push(element);
        }
    };
    let text = |name: &str, value: &str| Element::text(format!("t:{name}"), value);
    let flag = |name: &str, value: bool| {
        Element::text(format!("t:{name}"), if value { "true" } else { "false" })
    };

    put(
        "item:ParentFolderId",
        Element::new("t:ParentFolderId")
            .attr("Id", folder_id)
            .attr("ChangeKey", change_key(1)),
    );
    put("item:ItemClass", text("ItemClass", subject.class()));
    put("item:Subject", text("Subject", &content.subject));
    put(
        "item:Sensitivity",
        text("Sensitivity", content.sensitivity.as_str()),
    );
    if !style.list {
        put(
            "item:Body",
            text("Body", &content.body).attr("BodyType", "Text"),
        );
    }
    put(
        "item:DateTimeReceived",
        text("DateTimeReceived", &style.precise(item.created)),
    );
    put(
        "item:Size",
        text(
            "Size",
            &(1500 + content.subject.len() + content.body.len()).to_string(),
        ),
    );
    if !content.categories.is_empty() {
        put(
            "item:Categories",
            Element::new("t:Categories")
                .with_all(content.categories.iter().map(|name| text("String", name))),
        );
    }
    put("item:Importance", text("Importance", "Normal"));
    for (name, value) in [
        ("IsSubmitted", false),
        ("IsDraft", false),
        ("IsFromMe", false),
        ("IsResend", false),
        ("IsUnmodified", false),
    ] {
        put(&format!("item:{name}"), flag(name, value));
    }
    put(
        "item:DateTimeSent",
        text("DateTimeSent", &style.precise(item.created)),
    );
    put(
        "item:DateTimeCreated",
        text("DateTimeCreated", &style.precise(item.created)),
    );
    let due = content.reminder.map_or(content.start, |minutes| {
        content.start - jiff::SignedDuration::from_mins(i64::from(minutes))
    });
    put(
        "item:ReminderDueBy",
        text("ReminderDueBy", &style.in_series(content.start)),
    );
    put(
        "item:ReminderIsSet",
        flag("ReminderIsSet", content.reminder.is_some()),
    );
    if content.reminder.is_some() {
        put(
            "item:ReminderNextTime",
            text("ReminderNextTime", &style.instant(due)),
        );
    }
    put(
        "item:ReminderMinutesBeforeStart",
        text(
            "ReminderMinutesBeforeStart",
            &content.reminder.unwrap_or(0).to_string(),
        ),
    );
    let names = |people: &[Attendee]| {
        people
            .iter()
            .map(|attendee| attendee.person.name.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    put(
        "item:DisplayCc",
        text("DisplayCc", &names(&content.optional)),
    );
    put(
        "item:DisplayTo",
        text("DisplayTo", &names(&content.required)),
    );
    put("item:HasAttachments", flag("HasAttachments", false));
    put("item:Culture", text("Culture", "da-DK"));
    put("item:EffectiveRights", effective_rights(true));
    put(
        "item:LastModifiedName",
        text(
            "LastModifiedName",
            content
                .organizer
                .as_ref()
                .map_or("", |person| person.name.as_str()),
        ),
    );
    put(
        "item:LastModifiedTime",
        text("LastModifiedTime", &style.precise(subject.modified())),
    );
    put("item:IsAssociated", flag("IsAssociated", false));
    if !style.list {
        put(
            "item:TextBody",
            text("TextBody", &content.body).attr("BodyType", "Text"),
        );
    }

    put("calendar:UID", text("UID", &item.uid));
    let original = subject.slot().map(|slot| (slot, item.slot_instant(slot)));
    if let Some(instant) = original.map(|(_, instant)| instant).or(item.lone_original) {
        put(
            "calendar:RecurrenceId",
            text("RecurrenceId", &style.instant(instant)),
        );
    }
    put(
        "calendar:DateTimeStamp",
        text("DateTimeStamp", &style.precise(subject.modified())),
    );
    put(
        "calendar:Start",
        text("Start", &style.instant(content.start)),
    );
    put("calendar:End", text("End", &style.instant(content.end)));
    if let Some((slot, instant)) = original {
        put(
            "calendar:OriginalStart",
            text("OriginalStart", &original_start(style, item, slot, instant)),
        );
    }
    put(
        "calendar:IsAllDayEvent",
        flag("IsAllDayEvent", content.all_day),
    );
    put(
        "calendar:LegacyFreeBusyStatus",
        text("LegacyFreeBusyStatus", content.free_busy.as_str()),
    );
    if !content.location.is_empty() {
        put("calendar:Location", text("Location", &content.location));
    }
    let meeting = content.is_meeting();
    if !gromox || meeting {
        put("calendar:IsMeeting", flag("IsMeeting", meeting));
        put(
            "calendar:IsCancelled",
            flag("IsCancelled", content.cancelled),
        );
    }
    // Masters are not "recurring"; their occurrences are. gromox says it the other way round.
    let recurring = subject.slot().is_some() || (gromox && item.series.is_some());
    put("calendar:IsRecurring", flag("IsRecurring", recurring));
    put(
        "calendar:MeetingRequestWasSent",
        flag("MeetingRequestWasSent", meeting),
    );
    put(
        "calendar:IsResponseRequested",
        flag("IsResponseRequested", true),
    );
    put(
        "calendar:CalendarItemType",
        text("CalendarItemType", subject.kind()),
    );
    let answer = match content.my_answer {
        Answer::Unknown if meeting => Answer::Organizer,
        other => other,
    };
    let answer = if gromox && answer == Answer::Organizer {
        Answer::NoResponseReceived
    } else {
        answer
    };
    put(
        "calendar:MyResponseType",
        text("MyResponseType", answer.as_str()),
    );
    if let Some(organizer) = &content.organizer {
        put(
            "calendar:Organizer",
            Element::new("t:Organizer").with(mailbox_element(organizer)),
        );
    }
    if !style.list {
        for (name, people) in [
            ("RequiredAttendees", &content.required),
            ("OptionalAttendees", &content.optional),
            ("Resources", &content.resources),
        ] {
            if !people.is_empty() {
                let list = Element::new(format!("t:{name}")).with_all(
                    people
                        .iter()
                        .map(|attendee| attendee_element(attendee, gromox)),
                );
                put(&format!("calendar:{name}"), list);
            }
        }
    }
    let minutes = content.end.duration_since(content.start).as_mins();
    put("calendar:Duration", text("Duration", &duration(minutes)));
    put(
        "calendar:TimeZone",
        text("TimeZone", content.start_zone.name()),
    );
    put(
        "calendar:AppointmentSequenceNumber",
        text("AppointmentSequenceNumber", &content.sequence.to_string()),
    );
    put(
        "calendar:AppointmentState",
        text(
            "AppointmentState",
            &appointment_state(content, meeting).to_string(),
        ),
    );
    if let (Subject::Item(master), false) = (subject, style.list)
        && let Some(series) = &master.series
    {
        if let SeriesRule::Ews(recurrence) = &series.rule {
            put(
                "calendar:Recurrence",
                recurrence_element(recurrence, style, content.start_zone.rules()),
            );
        }
        if !gromox {
            let (first, last) = first_and_last(master);
            for (name, instance) in [("FirstOccurrence", first), ("LastOccurrence", last)] {
                if let Some(instance) = instance {
                    put(
                        &format!("calendar:{name}"),
                        occurrence_info(&format!("t:{name}"), master, &instance, style),
                    );
                }
            }
        }
        if !series.exceptions.is_empty() {
            let list = series.exceptions.iter().map(|(slot, exception)| {
                let instance = Instance {
                    slot: *slot,
                    exception: Some(exception),
                    appointment: exception.appointment.clone(),
                };
                occurrence_info("t:Occurrence", master, &instance, style)
            });
            put(
                "calendar:ModifiedOccurrences",
                Element::new("t:ModifiedOccurrences").with_all(list),
            );
        }
        if !series.deleted.is_empty() {
            let list = series.deleted.iter().map(|slot| {
                Element::new("t:DeletedOccurrence").with(text(
                    "Start",
                    &listed(style, master, master.slot_instant(*slot)),
                ))
            });
            put(
                "calendar:DeletedOccurrences",
                Element::new("t:DeletedOccurrences").with_all(list),
            );
        }
    }
    let year = content.local_start().year();
    if !content.start_zone.id().is_empty() || !gromox {
        for (name, zone) in [
            ("StartTimeZone", &content.start_zone),
            ("EndTimeZone", &content.end_zone),
        ] {
            // A list gives the ids only; the definition is kilobytes.
            let element = Element::new(format!("t:{name}"));
            let short = element.attr("Id", zone.id()).attr("Name", zone.name());
            let full = if style.list || gromox {
                short
            } else {
                zone.definition(&format!("t:{name}"), year)
            };
            put(&format!("calendar:{name}"), full);
        }
    }
    put("calendar:ConferenceType", text("ConferenceType", "0"));
    put(
        "calendar:AllowNewTimeProposal",
        flag("AllowNewTimeProposal", true),
    );
    put("calendar:IsOnlineMeeting", flag("IsOnlineMeeting", false));
    // Quirk of gromox: it knows their names and never fills them in.
    if !style.profile.is_gromox() {
        put(
            "calendar:StartWallClock",
            text(
                "StartWallClock",
                &wall_clock(content.start, content.start_zone.rules()),
            ),
        );
        put(
            "calendar:EndWallClock",
            text(
                "EndWallClock",
                &wall_clock(content.end, content.end_zone.rules()),
            ),
        );
    }
    put(
        "calendar:StartTimeZoneId",
        text("StartTimeZoneId", content.start_zone.id()),
    );
    put(
        "calendar:EndTimeZoneId",
        text("EndTimeZoneId", content.end_zone.id()),
    );
    put(
        "calendar:IsOrganizer",
        flag(
            "IsOrganizer",
            matches!(answer, Answer::Organizer | Answer::Unknown),
        ),
    );

    // The id comes with every shape; extended properties stand between HasAttachments and Culture.
    let extended = extended_elements(subject, shape);
    let place = out
        .children
        .iter()
        .position(|child| !comes_before_extended(child))
        .unwrap_or(out.children.len());
    out.children.splice(place..place, extended);
    out.children.insert(0, subject.item_id());
    if !content.is_appointment() {
        "t:Message".clone_into(&mut out.name);
        out.children
            .retain(|child| comes_before_extended(child) || OF_EVERY_ITEM.contains(&child.local()));
        return out;
    }
    if gromox {
        add_unasked(&mut out, subject, style);
    }
    out
}

/// Quirk of gromox: unasked elements come along, and the zones twice and out of order.
fn add_unasked(out: &mut Element, subject: &Subject<'_>, style: &Style<'_>) {
    let item = subject.item();
    let mut missing = |name: &str, element: Element| {
        if out.child(name).is_none() {
            out.children.push(element);
        }
    };
    missing(
        "t:DateTimeReceived",
        Element::text("t:DateTimeReceived", style.precise(item.created)),
    );
    missing(
        "t:IsRecurring",
        Element::text(
            "t:IsRecurring",
            if item.series.is_some() {
                "true"
            } else {
                "false"
            },
        ),
    );
    missing(
        "t:CalendarItemType",
        Element::text("t:CalendarItemType", subject.kind()),
    );
    if let (Subject::Item(master), Some(series)) = (subject, &item.series)
        && let SeriesRule::Ews(recurrence) = &series.rule
    {
        missing(
            "t:Recurrence",
            recurrence_element(recurrence, style, master.appointment.start_zone.rules()),
        );
    }
    let zones: Vec<Element> = out
        .children
        .iter()
        .filter(|child| matches!(child.local(), "StartTimeZone" | "EndTimeZone"))
        .cloned()
        .collect();
    out.children.extend(zones);
}

/// Properties of every item that stand after the extended ones.
const OF_EVERY_ITEM: [&str; 6] = [
    "Culture",
    "EffectiveRights",
    "LastModifiedName",
    "LastModifiedTime",
    "IsAssociated",
    "TextBody",
];

fn comes_before_extended(child: &Element) -> bool {
    const FIRST_OF_CALENDAR: &[&str] = &[
        "UID",
        "RecurrenceId",
        "DateTimeStamp",
        "Start",
        "End",
        "OriginalStart",
        "IsAllDayEvent",
        "LegacyFreeBusyStatus",
        "Location",
        "IsMeeting",
        "IsCancelled",
        "IsRecurring",
        "MeetingRequestWasSent",
        "IsResponseRequested",
        "CalendarItemType",
        "MyResponseType",
        "Organizer",
        "RequiredAttendees",
        "OptionalAttendees",
        "Resources",
        "Duration",
        "TimeZone",
        "AppointmentSequenceNumber",
        "AppointmentState",
        "Recurrence",
        "FirstOccurrence",
        "LastOccurrence",
        "ModifiedOccurrences",
        "DeletedOccurrences",
        "StartTimeZone",
        "EndTimeZone",
        "ConferenceType",
        "AllowNewTimeProposal",
        "IsOnlineMeeting",
        "StartWallClock",
        "EndWallClock",
        "StartTimeZoneId",
        "EndTimeZoneId",
        "IsOrganizer",
    ];
    !OF_EVERY_ITEM.contains(&child.local()) && !FIRST_OF_CALENDAR.contains(&child.local())
}

/// Quirk of gromox: the original start of an exception is local midnight of its day.
fn original_start(style: &Style<'_>, item: &Item, slot: DateTime, instant: Timestamp) -> String {
    if !style.profile.is_gromox() {
        return style.instant(instant);
    }
    style.in_series(midnight_of(item, slot).unwrap_or(instant))
}

fn midnight_of(item: &Item, slot: DateTime) -> Option<Timestamp> {
    let zone = item.appointment.start_zone.rules();
    super::time::to_instant(slot.date().at(0, 0, 0, 0), zone)
}

/// A time in a master's lists of changed and deleted occurrences. Quirk of gromox: all of them are reckoned with
/// the offset from UTC at the series' start, and are an hour off in the other half of the year.
fn listed(style: &Style<'_>, master: &Item, instant: Timestamp) -> String {
    if !style.profile.is_gromox() {
        return style.in_series(instant);
    }
    let zone = master.appointment.start_zone.rules();
    let offset = zone.to_offset(master.appointment.start);
    let reckoned = offset.to_timestamp(zone.to_datetime(instant));
    style.in_series(reckoned.unwrap_or(instant))
}

fn wall_clock(instant: Timestamp, zone: &TimeZone) -> String {
    let zoned = instant.to_zoned(zone.clone());
    format!(
        "{}{}",
        zoned.strftime("%Y-%m-%dT%H:%M:%S"),
        offset_suffix(zoned.offset())
    )
}

/// [MS-OXOCAL] PidLidAppointmentStateFlags: 1 meeting, 2 received, 4 cancelled.
fn appointment_state(content: &Appointment, meeting: bool) -> u8 {
    let received = !matches!(content.my_answer, Answer::Unknown | Answer::Organizer);
    u8::from(meeting) + 2 * u8::from(received) + 4 * u8::from(content.cancelled)
}

fn occurrence_info(
    name: &str,
    master: &Item,
    instance: &Instance<'_>,
    style: &Style<'_>,
) -> Element {
    let mut original = master.slot_instant(instance.slot);
    if style.profile.is_gromox() {
        original = midnight_of(master, instance.slot).unwrap_or(original);
    }
    let time = |name, at| Element::text(name, listed(style, master, at));
    Element::new(name)
        .with(instance_id(master, instance))
        .with(time("t:Start", instance.appointment.start))
        .with(time("t:End", instance.appointment.end))
        .with(time("t:OriginalStart", original))
}

/// The bounds of a series; an endless one has no last occurrence.
fn first_and_last(master: &Item) -> (Option<Instance<'_>>, Option<Instance<'_>>) {
    let Some(series) = &master.series else {
        return (None, None);
    };
    let endless = match &series.rule {
        SeriesRule::Ews(recurrence) => recurrence.range == Range::NoEnd,
        SeriesRule::Other { rules, .. } => rules
            .iter()
            .any(|rule| !rule.contains("COUNT=") && !rule.contains("UNTIL=")),
    };
    let begin = master.appointment.local_start();
    let far = begin
        .checked_add(jiff::Span::new().years(if endless { 3 } else { HORIZON_YEARS }))
        .unwrap_or(DateTime::MAX);
    let mut slots = series
        .rule
        .slots(begin, far)
        .into_iter()
        .filter(|slot| !series.deleted.contains(slot));
    let first = slots.next();
    let last = if endless {
        None
    } else {
        slots.next_back().or(first)
    };
    (
        first.and_then(|slot| master.instance(slot)),
        last.and_then(|slot| master.instance(slot)),
    )
}

fn extended_elements(subject: &Subject<'_>, shape: &Shape) -> Vec<Element> {
    shape
        .extended
        .iter()
        .filter_map(|path| extended_element(subject, path))
        .collect()
}

fn extended_element(subject: &Subject<'_>, path: &ExtendedPath) -> Option<Element> {
    let get = |name: &str| {
        path.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let meeting = get("DistinguishedPropertySetId") == Some("Meeting")
        || get("PropertySetId")
            .is_some_and(|set| set.eq_ignore_ascii_case("6ED8DA90-450B-101B-98DA-00AA003F1305"));
    let values = match (meeting, get("PropertyId"), get("PropertyType")) {
        (true, Some("3"), Some("Binary")) => {
            vec![
                STANDARD.encode(goid::global_object_id(
                    &subject.item().uid,
                    subject
                        .slot()
                        .or_else(|| Some(subject.item().slot_of(subject.item().lone_original?)))
                        .map(DateTime::date),
                )),
            ]
        }
        (true, Some("35"), Some("Binary")) => {
            vec![STANDARD.encode(goid::global_object_id(&subject.item().uid, None))]
        }
        _ => {
            let stored = subject
                .appointment()
                .extended
                .iter()
                .find(|stored| stored.path == *path)?;
            if stored.many {
                let list = Element::new("t:Values").with_all(
                    stored
                        .values
                        .iter()
                        .map(|value| Element::text("t:Value", value)),
                );
                return Some(
                    Element::new("t:ExtendedProperty")
                        .with(path_element(path))
                        .with(list),
                );
            }
            stored.values.clone()
        }
    };
    Some(
        Element::new("t:ExtendedProperty")
            .with(path_element(path))
            .with_all(values.iter().map(|value| Element::text("t:Value", value))),
    )
}

/// t:ExtendedFieldURI of a path.
pub(crate) fn path_element(path: &ExtendedPath) -> Element {
    path.iter().fold(
        Element::new("t:ExtendedFieldURI"),
        |element, (name, value)| element.attr(name, value),
    )
}

/// t:EffectiveRights.
pub(crate) fn effective_rights(write: bool) -> Element {
    let write = if write { "true" } else { "false" };
    Element::new("t:EffectiveRights")
        .with(Element::text("t:CreateAssociated", write))
        .with(Element::text("t:CreateContents", write))
        .with(Element::text("t:CreateHierarchy", write))
        .with(Element::text("t:Delete", write))
        .with(Element::text("t:Modify", write))
        .with(Element::text("t:Read", "true"))
        .with(Element::text("t:ViewPrivateItems", write))
}

pub(crate) fn mailbox_element(person: &Person) -> Element {
    Element::new("t:Mailbox")
        .with(Element::text("t:Name", &person.name))
        .with(Element::text("t:EmailAddress", &person.address))
        .with(Element::text("t:RoutingType", "SMTP"))
}

fn attendee_element(attendee: &Attendee, gromox: bool) -> Element {
    let element = Element::new("t:Attendee").with(mailbox_element(&attendee.person));
    if gromox {
        element
    } else {
        element.with(Element::text("t:ResponseType", attendee.answer.as_str()))
    }
}

/// t:Recurrence.
pub(crate) fn recurrence_element(
    recurrence: &Recurrence,
    style: &Style<'_>,
    zone: &TimeZone,
) -> Element {
    let interval = |n: u32| Element::text("t:Interval", n.to_string());
    let month = |n: i8| Element::text("t:Month", month_name(n));
    let pattern = match &recurrence.pattern {
        Pattern::Daily { interval: n } => Element::new("t:DailyRecurrence").with(interval(*n)),
        Pattern::Weekly {
            interval: n,
            days,
            first_day,
        } => {
            let days: Vec<&str> = days.iter().map(|day| weekday_name(*day)).collect();
            Element::new("t:WeeklyRecurrence")
                .with(interval(*n))
                .with(Element::text("t:DaysOfWeek", days.join(" ")))
                .with(Element::text("t:FirstDayOfWeek", weekday_name(*first_day)))
        }
        Pattern::AbsoluteMonthly { interval: n, day } => {
            Element::new("t:AbsoluteMonthlyRecurrence")
                .with(interval(*n))
                .with(Element::text("t:DayOfMonth", day.to_string()))
        }
        Pattern::RelativeMonthly {
            interval: n,
            kind,
            index,
        } => Element::new("t:RelativeMonthlyRecurrence")
            .with(interval(*n))
            .with(Element::text("t:DaysOfWeek", kind_name(*kind)))
            .with(Element::text("t:DayOfWeekIndex", index_name(*index))),
        Pattern::AbsoluteYearly { month: m, day } => Element::new("t:AbsoluteYearlyRecurrence")
            .with(Element::text("t:DayOfMonth", day.to_string()))
            .with(month(*m)),
        Pattern::RelativeYearly {
            month: m,
            kind,
            index,
        } => Element::new("t:RelativeYearlyRecurrence")
            .with(Element::text("t:DaysOfWeek", kind_name(*kind)))
            .with(Element::text("t:DayOfWeekIndex", index_name(*index)))
            .with(month(*m)),
    };
    let start = Element::text("t:StartDate", style.date(recurrence.start, zone));
    let range = match recurrence.range {
        Range::NoEnd => Element::new("t:NoEndRecurrence").with(start),
        Range::EndDate(end) => Element::new("t:EndDateRecurrence")
            .with(start)
            .with(Element::text("t:EndDate", style.date(end, zone))),
        Range::Numbered(count) => Element::new("t:NumberedRecurrence")
            .with(start)
            .with(Element::text("t:NumberOfOccurrences", count.to_string())),
    };
    Element::new("t:Recurrence").with(pattern).with(range)
}

pub(crate) fn kind_name(kind: DayKind) -> &'static str {
    match kind {
        DayKind::On(weekday) => weekday_name(weekday),
        DayKind::Day => "Day",
        DayKind::Weekday => "Weekday",
        DayKind::WeekendDay => "WeekendDay",
    }
}

pub(crate) fn index_name(index: DayIndex) -> &'static str {
    match index {
        DayIndex::First => "First",
        DayIndex::Second => "Second",
        DayIndex::Third => "Third",
        DayIndex::Fourth => "Fourth",
        DayIndex::Last => "Last",
    }
}

/// EWS MonthNamesType.
pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn month_name(month: i8) -> &'static str {
    usize::try_from(month - 1)
        .ok()
        .and_then(|index| MONTHS.get(index))
        .copied()
        .unwrap_or("January")
}
