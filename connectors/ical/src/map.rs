//! The properties of a `VEVENT` that are carried over.

use calbridge_core::model::{Content, EventTime, Field, FieldSet, ShowAs};
use calcard::icalendar::{ICalendarComponent, ICalendarProperty, ICalendarValue};

use crate::event::text;

/// What is carried over: the time, free or busy (qualification needs it), and of the rest only what was
/// asked for.
pub(crate) fn content(
    properties: &ICalendarComponent,
    time: EventTime,
    fields: &FieldSet,
) -> Content {
    let asked = |field, name: &ICalendarProperty| {
        fields
            .contains(field)
            .then(|| text(properties, name).unwrap_or_default())
    };
    Content {
        time,
        show_as: Some(show_as(properties)),
        subject: asked(Field::Subject, &ICalendarProperty::Summary),
        location: asked(Field::Location, &ICalendarProperty::Location),
        body: asked(Field::Body, &ICalendarProperty::Description),
        private: fields
            .contains(Field::Private)
            .then(|| is_private(properties)),
        categories: fields
            .contains(Field::Categories)
            .then(|| categories(properties)),
    }
}

fn extension(properties: &ICalendarComponent, name: &str) -> Option<String> {
    let value = text(properties, &ICalendarProperty::Other(name.to_owned()))?;
    Some(value.trim().to_ascii_uppercase())
}

/// Outlook's own word where there is one (MS-OXCICAL, X-MICROSOFT-CDO-BUSYSTATUS, which goes before
/// `TRANSP`); else `TRANSP`, and a tentative event takes time tentatively.
fn show_as(properties: &ICalendarComponent) -> ShowAs {
    match extension(properties, "X-MICROSOFT-CDO-BUSYSTATUS").as_deref() {
        Some("FREE") => return ShowAs::Free,
        Some("TENTATIVE") => return ShowAs::Tentative,
        Some("BUSY") => return ShowAs::Busy,
        Some("OOF") => return ShowAs::Away,
        Some("WORKINGELSEWHERE") => return ShowAs::Elsewhere,
        _ => {}
    }
    let is = |name, value: &str| {
        text(properties, &name).is_some_and(|text| text.trim().eq_ignore_ascii_case(value))
    };
    if is(ICalendarProperty::Transp, "TRANSPARENT") {
        ShowAs::Free
    } else if is(ICalendarProperty::Status, "TENTATIVE") {
        ShowAs::Tentative
    } else {
        ShowAs::Busy
    }
}

/// `CLASS`, or what Apple's servers write instead. Whatever is not public is private: RFC 5545, section
/// 3.8.1.3, wants unknown classes treated so.
fn is_private(properties: &ICalendarComponent) -> bool {
    let class = text(properties, &ICalendarProperty::Class);
    let access = extension(properties, "X-CALENDARSERVER-ACCESS");
    [class, access].into_iter().flatten().any(|class| {
        let class = class.trim();
        !class.is_empty() && !class.eq_ignore_ascii_case("PUBLIC")
    })
}

fn categories(properties: &ICalendarComponent) -> Vec<String> {
    properties
        .properties(&ICalendarProperty::Categories)
        .flat_map(|entry| entry.values.iter().filter_map(ICalendarValue::as_text))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}
