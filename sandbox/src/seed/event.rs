//! From a VEVENT to a calendar item.

use calcard::icalendar::{
    ICalendarComponent, ICalendarEntry, ICalendarParameterName, ICalendarParameterValue,
    ICalendarParticipationRole, ICalendarParticipationStatus, ICalendarProperty, ICalendarStatus,
    ICalendarTransparency, ICalendarUserTypes, ICalendarValue,
};
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};

use super::file::Part;
use super::rule::{Rule, Skipped, civil, series};
use super::zones::Zones;
use super::{Reason, SeedEvent};
use crate::exchange::{
    Answer, Appointment, Attendee, ExchangeSandbox, FreeBusy, ItemHandle, NewItem, Person,
    Sensitivity, StoreError, Zone,
};

/// A changed occurrence, named by its RECURRENCE-ID.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) original: Skipped,
    pub(crate) appointment: Appointment,
    pub(crate) uid: Option<String>,
}

impl Changed {
    /// Where the occurrence stood in its series.
    fn original_instant(&self) -> Option<Timestamp> {
        match self.original {
            Skipped::At(at) => Some(at),
            Skipped::Day(day) => {
                let rules = self.appointment.start_zone.rules();
                rules.to_timestamp(day.at(0, 0, 0, 0)).ok()
            }
        }
    }
}

/// A time of the file.
#[derive(Debug, Clone)]
enum Time {
    Day(Date),
    At(Timestamp, Zone),
}

/// Reads one VEVENT by itself. An override comes out as an event whose only change is itself.
pub(super) fn read(part: &Part, zones: &Zones) -> Result<SeedEvent, Reason> {
    let components = part.components();
    let component = components.first().ok_or(Reason::Component)?;
    let start = entry(component, &ICalendarProperty::Dtstart).ok_or(Reason::Start)?;
    let start = times(start, zones, Reason::Start)?
        .into_iter()
        .next()
        .ok_or(Reason::Start)?;
    let mut appointment = period(component, zones, &start)?;
    content(component, &mut appointment);
    appointment.sensitivity = sensitivity(part);
    let zone = appointment.start_zone.clone();
    let first = appointment.local_start();

    let days = matches!(start, Time::Day(_));
    let rules: Vec<Rule<'_>> = component
        .properties(&ICalendarProperty::Rrule)
        .zip(part.written("RRULE"))
        .map(|(entry, written)| match entry.values.first() {
            Some(ICalendarValue::RecurrenceRule(parsed)) => Rule::new(parsed, written, days),
            _ => Err(Reason::Rule),
        })
        .collect::<Result<_, _>>()?;
    // EWS has no word for what a rule takes away again.
    if !part.written("EXRULE").is_empty() {
        return Err(Reason::Rule);
    }
    let mut dates = Vec::new();
    for entry in component.properties(&ICalendarProperty::Rdate) {
        dates.extend(
            times(entry, zones, Reason::Rule)?
                .iter()
                .map(|time| wall(time, first, &zone)),
        );
    }
    let mut deleted = Vec::new();
    for entry in component.properties(&ICalendarProperty::Exdate) {
        // An empty EXDATE, as some servers write it, deletes nothing.
        deleted.extend(
            times(entry, zones, Reason::Rule)
                .unwrap_or_default()
                .iter()
                .map(point),
        );
    }
    let uid = text(component, &ICalendarProperty::Uid).map(str::to_owned);
    let mut item = NewItem {
        uid: uid.clone(),
        ..NewItem::new(appointment.clone())
    };
    let mut changed = Vec::new();
    match entry(component, &ICalendarProperty::RecurrenceId) {
        // A change of one occurrence and all after it.
        Some(entry) if entry.has_parameter(&ICalendarParameterName::Range) => {
            return Err(Reason::RecurrenceId);
        }
        Some(entry) => {
            let original = times(entry, zones, Reason::RecurrenceId)?
                .first()
                .map(point)
                .ok_or(Reason::RecurrenceId)?;
            changed.push(Changed {
                original,
                appointment,
                uid,
            });
        }
        None => item.series = series(&rules, dates, first, &zone)?,
    }
    Ok(SeedEvent {
        item,
        deleted,
        changed,
    })
}

/// Puts overrides with the series of the same UID; those without a series stay single items that know what
/// they replace.
pub(super) fn join(events: Vec<(usize, SeedEvent)>) -> Vec<(usize, SeedEvent)> {
    let (overrides, mut items): (Vec<_>, Vec<_>) = events
        .into_iter()
        .partition(|(_, event)| !event.changed.is_empty());
    for (line, mut event) in overrides {
        let master = items.iter_mut().find(|(_, item)| {
            item.item.series.is_some() && item.item.uid.is_some() && item.item.uid == event.item.uid
        });
        match master {
            Some((_, master)) => master.changed.append(&mut event.changed),
            None => {
                event.item.lone_original = event
                    .changed
                    .pop()
                    .and_then(|change| change.original_instant());
                event.changed.clear();
                items.push((line, event));
            }
        }
    }
    items
}

impl ExchangeSandbox {
    pub(super) fn mailbox_exists(&self, address: &str) -> Result<(), StoreError> {
        self.store(|store| store.mailbox_number(address)).map(drop)
    }

    /// Creates an item with its exceptions as one change.
    pub(super) fn create_series(
        &self,
        address: &str,
        event: SeedEvent,
    ) -> Result<ItemHandle, StoreError> {
        let SeedEvent {
            item,
            deleted,
            changed,
        } = event;
        let item = self.create(address, item)?;
        let mut orphans = Vec::new();
        for skipped in deleted {
            if let Some(original) = self.original_start(item, skipped)? {
                self.delete_occurrence(item, original)?;
            }
        }
        for change in changed {
            match self.original_start(item, change.original)? {
                Some(original) => self.change_occurrence(item, original, |appointment| {
                    *appointment = change.appointment;
                })?,
                None => orphans.push(change),
            }
        }
        // An override of an occurrence that the rule does not give is still an appointment.
        for orphan in orphans {
            self.create(
                address,
                NewItem {
                    lone_original: orphan.original_instant(),
                    uid: orphan.uid,
                    ..NewItem::new(orphan.appointment)
                },
            )?;
        }
        Ok(item)
    }

    /// The original start of the occurrence that a time of the file means.
    fn original_start(
        &self,
        item: ItemHandle,
        point: Skipped,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.store(|store| {
            let item = store.item(item.0)?;
            let Some(series) = &item.series else {
                return Ok(None);
            };
            let until = match point {
                Skipped::Day(day) => day.at(23, 59, 59, 0),
                Skipped::At(at) => item.slot_of(at),
            };
            let slots = series.rule.slots(item.appointment.local_start(), until);
            let found = slots
                .into_iter()
                .filter(|slot| !series.deleted.contains(slot))
                .find(|slot| point.means(*slot, item.slot_instant(*slot)));
            Ok(found.map(|slot| item.slot_instant(slot)))
        })
    }
}

fn entry<'a>(
    component: &'a ICalendarComponent,
    name: &ICalendarProperty,
) -> Option<&'a ICalendarEntry> {
    component.property(name)
}

fn text<'a>(component: &'a ICalendarComponent, name: &ICalendarProperty) -> Option<&'a str> {
    component
        .property(name)?
        .values
        .first()?
        .as_text()
        .filter(|text| !text.is_empty())
}

/// The times of a property, in their zones.
fn times(entry: &ICalendarEntry, zones: &Zones, reason: Reason) -> Result<Vec<Time>, Reason> {
    let tzid = entry
        .parameters(&ICalendarParameterName::Tzid)
        .find_map(ICalendarParameterValue::as_text);
    let mut found = Vec::new();
    for value in &entry.values {
        let value = match value {
            ICalendarValue::PartialDateTime(value) => value,
            _ => return Err(reason),
        };
        match civil(value).ok_or(reason)? {
            (day, None) => found.push(Time::Day(day)),
            (_, Some(wall)) => {
                let zone = match (value.tz_hour, tzid) {
                    (Some(_), _) => Zone::utc(),
                    (None, Some(tzid)) => zones.find(tzid).ok_or(Reason::Zone)?,
                    (None, None) => zones.home.clone(),
                };
                let instant = zone
                    .rules()
                    .to_ambiguous_timestamp(wall)
                    .compatible()
                    .map_err(|_| reason)?;
                found.push(Time::At(instant, zone));
            }
        }
    }
    Ok(found)
}

fn point(time: &Time) -> Skipped {
    match time {
        Time::Day(day) => Skipped::Day(*day),
        Time::At(at, _) => Skipped::At(*at),
    }
}

fn wall(time: &Time, first: DateTime, zone: &Zone) -> DateTime {
    match time {
        Time::Day(day) => day.to_datetime(first.time()),
        Time::At(at, _) => zone.rules().to_datetime(*at),
    }
}

/// Start, end, zones and whether it is all day.
fn period(
    component: &ICalendarComponent,
    zones: &Zones,
    start: &Time,
) -> Result<Appointment, Reason> {
    let end = match entry(component, &ICalendarProperty::Dtend) {
        Some(entry) => times(entry, zones, Reason::End)?.into_iter().next(),
        None => None,
    };
    let length = match component
        .property(&ICalendarProperty::Duration)
        .and_then(|entry| entry.values.first())
    {
        Some(ICalendarValue::Duration(duration)) => {
            Some(SignedDuration::from_secs(duration.as_seconds()))
        }
        Some(_) => return Err(Reason::End),
        None => None,
    };
    let midnight = |day: Date, zone: &Zone| {
        zone.rules()
            .to_ambiguous_timestamp(day.at(0, 0, 0, 0))
            .compatible()
            .map_err(|_| Reason::End)
    };
    let all_day_flag = x_property(component, "X-MICROSOFT-CDO-ALLDAYEVENT")
        .is_some_and(|value| value.eq_ignore_ascii_case("TRUE"));
    let mut appointment = match (start, end) {
        (Time::Day(first), end) => {
            let zone = &zones.home;
            let last = match (end, length) {
                (Some(Time::Day(last)), _) => last,
                (Some(Time::At(at, zone)), _) => zone.date_of(at),
                (None, Some(length)) => first.checked_add(length).map_err(|_| Reason::End)?,
                (None, None) => *first,
            };
            if last < *first {
                return Err(Reason::End);
            }
            // An end on the first day itself means that day.
            let last = if last == *first {
                first.tomorrow().map_err(|_| Reason::End)?
            } else {
                last
            };
            let mut appointment =
                Appointment::new("", midnight(*first, zone)?, midnight(last, zone)?, zone);
            appointment.all_day = true;
            appointment
        }
        (Time::At(first, zone), end) => {
            let (last, end_zone) = match (end, length) {
                (Some(Time::At(last, end_zone)), _) => (last, end_zone),
                (Some(Time::Day(day)), _) => (midnight(day, zone)?, zone.clone()),
                (None, length) => (
                    first
                        .checked_add(length.unwrap_or_default())
                        .map_err(|_| Reason::End)?,
                    zone.clone(),
                ),
            };
            if last < *first {
                return Err(Reason::End);
            }
            let mut appointment = Appointment::new("", *first, last, zone);
            appointment.end_zone = end_zone;
            appointment
        }
    };
    if all_day_flag && !appointment.all_day {
        let midnights = appointment.local_start().time() == jiff::civil::Time::midnight()
            && appointment.local_end().time() == jiff::civil::Time::midnight();
        appointment.all_day = midnights && appointment.start < appointment.end;
    }
    Ok(appointment)
}

fn content(component: &ICalendarComponent, appointment: &mut Appointment) {
    let own = |name: &ICalendarProperty| text(component, name).unwrap_or_default().to_owned();
    appointment.subject = own(&ICalendarProperty::Summary);
    appointment.location = own(&ICalendarProperty::Location);
    appointment.body = own(&ICalendarProperty::Description);
    let sequence = component
        .property(&ICalendarProperty::Sequence)
        .and_then(|entry| entry.values.first())
        .and_then(ICalendarValue::as_integer);
    appointment.sequence = sequence
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0);
    appointment.categories = component
        .properties(&ICalendarProperty::Categories)
        .flat_map(|entry| &entry.values)
        .filter_map(|value| value.as_text())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect();
    appointment.cancelled = component.status() == Some(&ICalendarStatus::Cancelled);
    appointment.free_busy = free_busy(component, appointment.cancelled);
    appointment.organizer = component
        .property(&ICalendarProperty::Organizer)
        .map(person);
    for entry in component.properties(&ICalendarProperty::Attendee) {
        let attendee = Attendee {
            person: person(entry),
            answer: answer(entry),
        };
        let role = entry.parameter(&ICalendarParameterName::Role);
        let kind = entry.parameter(&ICalendarParameterName::Cutype);
        let list = match (kind, role) {
            (
                Some(ICalendarParameterValue::Cutype(
                    ICalendarUserTypes::Room | ICalendarUserTypes::Resource,
                )),
                _,
            ) => &mut appointment.resources,
            (
                _,
                Some(ICalendarParameterValue::Role(
                    ICalendarParticipationRole::OptParticipant
                    | ICalendarParticipationRole::NonParticipant,
                )),
            ) => &mut appointment.optional,
            _ => &mut appointment.required,
        };
        list.push(attendee);
    }
}

/// The stricter of CLASS and what Apple's servers write instead. A word that is not known is private (RFC 5545,
/// section 3.8.1.3).
fn sensitivity(part: &Part) -> Sensitivity {
    let words: Vec<String> = ["CLASS", "X-CALENDARSERVER-ACCESS"]
        .into_iter()
        .flat_map(|name| part.written(name))
        .map(|word| word.trim().to_ascii_uppercase())
        .filter(|word| !word.is_empty() && word != "PUBLIC")
        .collect();
    if words.is_empty() {
        Sensitivity::Normal
    } else if words.iter().any(|word| word == "CONFIDENTIAL") {
        Sensitivity::Confidential
    } else {
        Sensitivity::Private
    }
}

fn free_busy(component: &ICalendarComponent, cancelled: bool) -> FreeBusy {
    if cancelled {
        return FreeBusy::Free;
    }
    let named = x_property(component, "X-MICROSOFT-CDO-BUSYSTATUS").map(str::to_ascii_uppercase);
    match named.as_deref() {
        Some("FREE") => return FreeBusy::Free,
        Some("TENTATIVE") => return FreeBusy::Tentative,
        Some("BUSY") => return FreeBusy::Busy,
        Some("OOF") => return FreeBusy::OutOfOffice,
        Some("WORKINGELSEWHERE") => return FreeBusy::WorkingElsewhere,
        _ => {}
    }
    if component.transparency() == Some(&ICalendarTransparency::Transparent) {
        return FreeBusy::Free;
    }
    if component.status() == Some(&ICalendarStatus::Tentative) {
        FreeBusy::Tentative
    } else {
        FreeBusy::Busy
    }
}

fn x_property<'a>(component: &'a ICalendarComponent, name: &str) -> Option<&'a str> {
    let entry = component.entries.iter().find(|entry| matches!(&entry.name, ICalendarProperty::Other(other) if other.eq_ignore_ascii_case(name)))?;
    entry.values.first()?.as_text()
}

fn person(entry: &ICalendarEntry) -> Person {
    let address = entry.calendar_address().unwrap_or_default();
    let name = entry
        .parameters(&ICalendarParameterName::Cn)
        .find_map(ICalendarParameterValue::as_text)
        .unwrap_or(address);
    Person::new(name, address)
}

fn answer(entry: &ICalendarEntry) -> Answer {
    match entry.parameter(&ICalendarParameterName::Partstat) {
        Some(ICalendarParameterValue::Partstat(ICalendarParticipationStatus::Accepted)) => {
            Answer::Accept
        }
        Some(ICalendarParameterValue::Partstat(ICalendarParticipationStatus::Declined)) => {
            Answer::Decline
        }
        Some(ICalendarParameterValue::Partstat(ICalendarParticipationStatus::Tentative)) => {
            Answer::Tentative
        }
        _ => Answer::NoResponseReceived,
    }
}
