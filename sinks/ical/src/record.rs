//! One `VEVENT`: content to properties and back.

use calbridge_core::model::{Content, EventKey, EventTime, OriginalStart, ShowAs};
use calcard::common::PartialDateTime;
use calcard::icalendar::{
    ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarParameter,
    ICalendarParameterValue, ICalendarProperty, ICalendarValue, ICalendarValueType,
};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

/// The UID that the event is matched by; its own `UID` is the external id.
const KEY_UID: &str = "X-CALBRIDGE-UID";
/// The original start that it is matched by, for an occurrence of a series.
const KEY_ORIGINAL: &str = "X-CALBRIDGE-ORIGINAL-START";
/// What Outlook understands beside `TRANSP` (MS-OXCICAL).
const BUSY_STATUS: &str = "X-MICROSOFT-CDO-BUSYSTATUS";

/// The properties of an event. `stamp` is when it is written (`DTSTAMP`).
pub(crate) fn write(
    id: &str,
    key: &EventKey,
    content: &Content,
    stamp: Timestamp,
) -> ICalendarComponent {
    let mut event = ICalendarComponent::new(ICalendarComponentType::VEvent);
    let mut put = |name, value| {
        let entry = ICalendarEntry::new(name).with_value(value);
        event.entries.push(entry);
    };
    let text = |value: &str| ICalendarValue::Text(value.to_owned());
    let other = |name: &str| ICalendarProperty::Other(name.to_owned());
    put(ICalendarProperty::Uid, text(id));
    put(ICalendarProperty::Dtstamp, instant(stamp));
    put(other(KEY_UID), text(key.uid()));
    match key.original() {
        Some(OriginalStart::Date(date)) => put(other(KEY_ORIGINAL), text(&date.to_string())),
        Some(OriginalStart::Instant(at)) => put(other(KEY_ORIGINAL), text(&at.to_string())),
        None => {}
    }
    if let Some(subject) = &content.subject {
        put(ICalendarProperty::Summary, text(subject));
    }
    if let Some(location) = &content.location {
        put(ICalendarProperty::Location, text(location));
    }
    if let Some(body) = &content.body {
        put(ICalendarProperty::Description, text(body));
    }
    if let Some(private) = content.private {
        let class = if private { "PRIVATE" } else { "PUBLIC" };
        put(ICalendarProperty::Class, text(class));
    }
    if let Some(status) = content.show_as.and_then(busy_status) {
        let free = status == "FREE";
        let transp = if free { "TRANSPARENT" } else { "OPAQUE" };
        put(ICalendarProperty::Transp, text(transp));
        put(other(BUSY_STATUS), text(status));
    }
    if let Some(categories) = &content.categories {
        let values = categories.iter().map(|name| text(name)).collect();
        event
            .entries
            .push(ICalendarEntry::new(ICalendarProperty::Categories).with_values(values));
    }
    write_time(&mut event, &content.time);
    event
}

fn write_time(event: &mut ICalendarComponent, time: &EventTime) {
    let (start, end, days) = match time {
        EventTime::AllDay { start, end } => (day(*start), day(*end), true),
        EventTime::Timed { start, end, .. } => (instant(*start), instant(*end), false),
        // The model may learn other kinds; what this version cannot write, it must not write wrongly.
        _ => return,
    };
    for (name, value) in [
        (ICalendarProperty::Dtstart, start),
        (ICalendarProperty::Dtend, end),
    ] {
        let mut entry = ICalendarEntry::new(name).with_value(value);
        if days {
            entry.add_param(ICalendarParameter::value(ICalendarParameterValue::Value(
                ICalendarValueType::Date,
            )));
        }
        event.entries.push(entry);
    }
}

/// The external id of an event.
pub(crate) fn id(event: &ICalendarComponent) -> Option<&str> {
    event.uid().filter(|uid| !uid.is_empty())
}

/// What an event is matched by.
pub(crate) fn key(event: &ICalendarComponent) -> Option<EventKey> {
    let uid = value(event, &ICalendarProperty::Other(KEY_UID.to_owned()))?;
    let original = match value(event, &ICalendarProperty::Other(KEY_ORIGINAL.to_owned())) {
        None => None,
        Some(text) => Some(match text.parse() {
            Ok(at) => OriginalStart::Instant(at),
            Err(_) => OriginalStart::Date(text.parse().ok()?),
        }),
    };
    EventKey::new(&uid, original).ok()
}

/// What an event holds; nothing if its times are not in the form in which they were written.
pub(crate) fn content(event: &ICalendarComponent) -> Option<Content> {
    let time =
        |name: &ICalendarProperty| event.property(name)?.values.first()?.as_partial_date_time();
    let start = time(&ICalendarProperty::Dtstart)?;
    let end = time(&ICalendarProperty::Dtend)?;
    let time = if start.hour.is_none() {
        EventTime::all_day(date(start)?, date(end)?).ok()?
    } else {
        EventTime::timed(timestamp(start)?, timestamp(end)?, None).ok()?
    };
    let status = value(event, &ICalendarProperty::Other(BUSY_STATUS.to_owned()));
    Some(Content {
        time,
        show_as: status.and_then(|status| show_as(&status)),
        subject: value(event, &ICalendarProperty::Summary),
        location: value(event, &ICalendarProperty::Location),
        body: value(event, &ICalendarProperty::Description),
        private: value(event, &ICalendarProperty::Class).map(|class| class != "PUBLIC"),
        categories: event.property(&ICalendarProperty::Categories).map(|entry| {
            let names = entry.values.iter().filter_map(ICalendarValue::as_text);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        }),
    })
}

/// A property's text; empty if it is there without one.
fn value(event: &ICalendarComponent, name: &ICalendarProperty) -> Option<String> {
    let entry = event.property(name)?;
    Some(match entry.values.first() {
        Some(value) => value.as_text()?.to_owned(),
        None => String::new(),
    })
}

const BUSY_STATUSES: [(ShowAs, &str); 5] = [
    (ShowAs::Free, "FREE"),
    (ShowAs::Tentative, "TENTATIVE"),
    (ShowAs::Busy, "BUSY"),
    (ShowAs::Away, "OOF"),
    (ShowAs::Elsewhere, "WORKINGELSEWHERE"),
];

fn busy_status(show_as: ShowAs) -> Option<&'static str> {
    let known = BUSY_STATUSES.iter().find(|(known, _)| *known == show_as)?;
    Some(known.1)
}

fn show_as(status: &str) -> Option<ShowAs> {
    let known = BUSY_STATUSES.iter().find(|(_, known)| *known == status)?;
    Some(known.0)
}

fn day(date: Date) -> ICalendarValue {
    let small = |n: i8| u8::try_from(n).ok();
    ICalendarValue::PartialDateTime(Box::new(PartialDateTime {
        year: u16::try_from(date.year()).ok(),
        month: small(date.month()),
        day: small(date.day()),
        ..Default::default()
    }))
}

/// In UTC, to the second: iCalendar knows nothing finer.
fn instant(at: Timestamp) -> ICalendarValue {
    ICalendarValue::PartialDateTime(Box::new(PartialDateTime::from_utc_timestamp(
        at.as_second(),
    )))
}

fn date(value: &PartialDateTime) -> Option<Date> {
    let small = |n: Option<u8>| i8::try_from(n?).ok();
    Date::new(
        i16::try_from(value.year?).ok()?,
        small(value.month)?,
        small(value.day)?,
    )
    .ok()
}

fn timestamp(value: &PartialDateTime) -> Option<Timestamp> {
    let small = |n: Option<u8>| i8::try_from(n?).ok();
    if value.tz_hour != Some(0) {
        return None;
    }
    let wall = date(value)?.at(
        small(value.hour)?,
        small(value.minute)?,
        small(value.second)?,
        0,
    );
    Offset::UTC.to_timestamp(wall).ok()
}
