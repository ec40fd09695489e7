//! Properties of a calendar item that a client writes.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::exchange::item::{Appointment, Attendee, Extended, FreeBusy, Person, Sensitivity};
use crate::exchange::recurrence::{DayIndex, DayKind, Pattern, Range, Recurrence, SeriesRule};
use crate::exchange::render::{MONTHS, index_name, kind_name};
use crate::exchange::shape::extended_path;
use crate::exchange::soap::EwsError;
use crate::exchange::time::{parse_date, parse_date_time, to_instant};
use crate::exchange::xml::Element;
use crate::exchange::zone::{Zone, weekday_name};

/// An item while a request changes it.
pub(super) struct Draft {
    appointment: Appointment,
    began: (Timestamp, Timestamp, bool),
    /// The zone of times that name none: the item's own, else that of the request.
    wall: TimeZone,
    pub(super) uid: Option<String>,
    /// A new rule, or its removal.
    pub(super) series: Option<Option<SeriesRule>>,
    /// The zone before the request named another one without naming times.
    left: Option<TimeZone>,
}

impl Draft {
    /// A new item; Exchange gives one without times half an hour from now.
    pub(super) fn new(now: Timestamp, context: &TimeZone) -> Self {
        let start = now - jiff::SignedDuration::from_secs(now.as_second().rem_euclid(1800));
        let zone = Zone::utc();
        let end = start + jiff::SignedDuration::from_mins(30);
        Draft::of(&Appointment::new("", start, end, &zone), context)
    }

    /// An item as it is.
    pub(super) fn of(appointment: &Appointment, context: &TimeZone) -> Self {
        Draft {
            began: (appointment.start, appointment.end, appointment.all_day),
            appointment: appointment.clone(),
            wall: context.clone(),
            uid: None,
            series: None,
            left: None,
        }
    }

    /// Whether the request changed the times.
    pub(super) fn moved(&self) -> bool {
        self.began
            != (
                self.appointment.start,
                self.appointment.end,
                self.appointment.all_day,
            )
    }

    /// The content, with all-day times rounded outward to midnights of the zone.
    pub(super) fn finish(self) -> Result<Appointment, EwsError> {
        let mut appointment = self.appointment;
        if let Some(left) = &self.left
            && (appointment.start, appointment.end) == (self.began.0, self.began.1)
        {
            // Times that are not named keep what their clock shows, in the new zone.
            let rules = appointment.start_zone.rules().clone();
            let moved = |at: Timestamp| to_instant(left.to_datetime(at), &rules).unwrap_or(at);
            appointment.start = moved(appointment.start);
            appointment.end = moved(appointment.end);
        }
        if appointment.end < appointment.start {
            return Err(EwsError::of("ErrorCalendarEndDateIsEarlierThanStartDate"));
        }
        if appointment.all_day {
            let rules = appointment.start_zone.rules().clone();
            let (first, last) = (appointment.local_start().date(), appointment.local_end());
            let whole = last.time() == jiff::civil::Time::midnight() && last.date() > first;
            let end = if whole {
                Ok(last.date())
            } else {
                last.date().tomorrow()
            };
            let midnight = |day: jiff::civil::Date| to_instant(day.at(0, 0, 0, 0), &rules);
            appointment.start = midnight(first).unwrap_or(appointment.start);
            appointment.end = end.ok().and_then(midnight).unwrap_or(appointment.end);
        }
        Ok(appointment)
    }
}

fn bad(field: &Element) -> EwsError {
    EwsError::new(
        "ErrorInvalidPropertySet",
        format!(
            "The property {} cannot be set to this value.",
            field.local()
        ),
    )
}

fn flag(field: &Element) -> bool {
    matches!(field.text.trim(), "true" | "1")
}

/// Sets one property.
pub(super) fn set(draft: &mut Draft, field: &Element, creating: bool) -> Result<(), EwsError> {
    let text = field.text.as_str();
    let content = &mut draft.appointment;
    match field.local() {
        "Subject" => text.clone_into(&mut content.subject),
        "Location" => text.clone_into(&mut content.location),
        "Body" => text.clone_into(&mut content.body),
        "Sensitivity" => {
            content.sensitivity = Sensitivity::parse(text).ok_or_else(|| bad(field))?;
        }
        "LegacyFreeBusyStatus" => {
            content.free_busy = FreeBusy::parse(text).ok_or_else(|| bad(field))?;
        }
        "Categories" => {
            content.categories = field
                .children
                .iter()
                .map(|name| name.text.clone())
                .collect();
        }
        "IsAllDayEvent" => content.all_day = flag(field),
        "ReminderIsSet" => content.reminder = flag(field).then(|| content.reminder.unwrap_or(15)),
        "ReminderMinutesBeforeStart" => {
            let minutes = text.trim().parse().map_err(|_| bad(field))?;
            content.reminder = content.reminder.map(|_| minutes);
        }
        "UID" if creating => draft.uid = Some(text.to_owned()),
        "Start" | "End" => {
            let instant = parse_date_time(text.trim())
                .and_then(|time| time.instant(&draft.wall))
                .ok_or_else(|| bad(field))?;
            if field.local() == "Start" {
                content.start = instant;
                if creating {
                    content.end = content.end.max(instant);
                }
            } else {
                content.end = instant;
            }
        }
        "StartTimeZone" | "EndTimeZone" => {
            let zone = field
                .get("Id")
                .and_then(Zone::find)
                .ok_or_else(|| EwsError::new("ErrorTimeZone", "The time zone is not known."))?;
            if field.local() == "EndTimeZone" {
                content.end_zone = zone;
            } else {
                draft.wall = zone.rules().clone();
                let before = std::mem::replace(&mut content.start_zone, zone);
                if !creating {
                    draft.left.get_or_insert(before.rules().clone());
                }
            }
        }
        "RequiredAttendees" => content.required = attendees(field),
        "OptionalAttendees" => content.optional = attendees(field),
        "Resources" => content.resources = attendees(field),
        "Recurrence" => draft.series = Some(Some(SeriesRule::Ews(recurrence(field)?))),
        "ExtendedProperty" => set_extended(content, field),
        // Kept by Exchange, without meaning here.
        "ItemClass"
        | "Importance"
        | "MeetingTimeZone"
        | "IsResponseRequested"
        | "AllowNewTimeProposal"
        | "ConferenceType"
        | "IsOnlineMeeting"
        | "Culture"
        | "IsDraft" => {}
        _ => return Err(bad(field)),
    }
    Ok(())
}

/// Appends to a property; only the body can grow.
pub(super) fn append(draft: &mut Draft, field: &Element) -> Result<(), EwsError> {
    if field.local() != "Body" {
        return Err(EwsError::new(
            "ErrorInvalidPropertyAppend",
            "This property cannot be appended to.",
        ));
    }
    draft.appointment.body.push_str(&field.text);
    Ok(())
}

/// Removes a property.
pub(super) fn delete(draft: &mut Draft, path: &Element) -> Result<(), EwsError> {
    let content = &mut draft.appointment;
    if path.local() == "ExtendedFieldURI" {
        let path = extended_path(path);
        content.extended.retain(|stored| stored.path != path);
        return Ok(());
    }
    match path.get("FieldURI").unwrap_or_default() {
        "item:Subject" => content.subject.clear(),
        "item:Body" => content.body.clear(),
        "item:Categories" => content.categories.clear(),
        "calendar:Location" => content.location.clear(),
        "calendar:RequiredAttendees" => content.required.clear(),
        "calendar:OptionalAttendees" => content.optional.clear(),
        "calendar:Resources" => content.resources.clear(),
        "calendar:Recurrence" => draft.series = Some(None),
        _ => {
            return Err(EwsError::new(
                "ErrorInvalidPropertyDelete",
                "This property cannot be deleted.",
            ));
        }
    }
    Ok(())
}

fn set_extended(content: &mut Appointment, field: &Element) {
    let Some(path) = field.child("t:ExtendedFieldURI").map(extended_path) else {
        return;
    };
    let many = field.child("t:Values").is_some();
    let list = field.child("t:Values").unwrap_or(field);
    let values = list
        .children
        .iter()
        .filter(|value| value.local() == "Value")
        .map(|value| value.text.clone())
        .collect();
    content.extended.retain(|stored| stored.path != path);
    content.extended.push(Extended { path, values, many });
}

fn attendees(field: &Element) -> Vec<Attendee> {
    let person = |attendee: &Element| {
        let mailbox = attendee.child("t:Mailbox")?;
        let address = mailbox.child_text("t:EmailAddress").unwrap_or_default();
        Some(Attendee {
            person: Person::new(mailbox.child_text("t:Name").unwrap_or(address), address),
            ..Attendee::default()
        })
    };
    field.children.iter().filter_map(person).collect()
}

/// Reads t:Recurrence.
fn recurrence(field: &Element) -> Result<Recurrence, EwsError> {
    read_recurrence(field).ok_or_else(|| {
        EwsError::new(
            "ErrorCalendarInvalidRecurrence",
            "The recurrence is not valid.",
        )
    })
}

fn read_recurrence(field: &Element) -> Option<Recurrence> {
    let (pattern, range) = match field.children.as_slice() {
        [pattern, range] => (pattern, range),
        _ => return None,
    };
    let interval = || {
        pattern
            .child_text("t:Interval")?
            .trim()
            .parse::<u32>()
            .ok()
            .filter(|interval| (1..=999).contains(interval))
    };
    let day = || {
        pattern
            .child_text("t:DayOfMonth")?
            .trim()
            .parse::<i8>()
            .ok()
            .filter(|day| (1..=31).contains(day))
    };
    let month = || {
        let name = pattern.child_text("t:Month")?.trim();
        i8::try_from(MONTHS.iter().position(|month| *month == name)? + 1).ok()
    };
    let kind = || {
        let name = pattern.child_text("t:DaysOfWeek")?.trim();
        let kinds = [DayKind::Day, DayKind::Weekday, DayKind::WeekendDay];
        kinds
            .into_iter()
            .chain(weekdays().map(DayKind::On))
            .find(|kind| kind_name(*kind) == name)
    };
    let index = || {
        let name = pattern.child_text("t:DayOfWeekIndex")?.trim();
        [
            DayIndex::First,
            DayIndex::Second,
            DayIndex::Third,
            DayIndex::Fourth,
            DayIndex::Last,
        ]
        .into_iter()
        .find(|index| index_name(*index) == name)
    };
    let weekday = |name: &str| weekdays().find(|day| weekday_name(*day) == name);
    let pattern = match pattern.local() {
        "DailyRecurrence" => Pattern::Daily {
            interval: interval()?,
        },
        "WeeklyRecurrence" => Pattern::Weekly {
            interval: interval()?,
            days: pattern
                .child_text("t:DaysOfWeek")?
                .split_whitespace()
                .map(weekday)
                .collect::<Option<Vec<_>>>()
                .filter(|days| !days.is_empty())?,
            first_day: match pattern.child_text("t:FirstDayOfWeek") {
                Some(name) => weekday(name.trim())?,
                None => Weekday::Sunday,
            },
        },
        "AbsoluteMonthlyRecurrence" => Pattern::AbsoluteMonthly {
            interval: interval()?,
            day: day()?,
        },
        "RelativeMonthlyRecurrence" => Pattern::RelativeMonthly {
            interval: interval()?,
            kind: kind()?,
            index: index()?,
        },
        "AbsoluteYearlyRecurrence" => Pattern::AbsoluteYearly {
            month: month()?,
            day: day()?,
        },
        "RelativeYearlyRecurrence" => Pattern::RelativeYearly {
            month: month()?,
            kind: kind()?,
            index: index()?,
        },
        _ => return None,
    };
    let start = parse_date(range.child_text("t:StartDate")?.trim())?;
    let range = match range.local() {
        "NoEndRecurrence" => Range::NoEnd,
        "EndDateRecurrence" => Range::EndDate(parse_date(range.child_text("t:EndDate")?.trim())?),
        "NumberedRecurrence" => Range::Numbered(
            range
                .child_text("t:NumberOfOccurrences")?
                .trim()
                .parse()
                .ok()
                .filter(|count| (1..=999).contains(count))?,
        ),
        _ => return None,
    };
    Some(Recurrence {
        pattern,
        start,
        range,
    })
}

fn weekdays() -> impl Iterator<Item = Weekday> {
    [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ]
    .into_iter()
}
