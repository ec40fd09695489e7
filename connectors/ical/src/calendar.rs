//! A whole file, understood as far as it can be.

use std::collections::{BTreeMap, HashMap};

use calbridge_core::connector::{Change, Error, ErrorKind, Result, Scope};
use calbridge_core::model::{Event, EventKey, FieldSet, ItemRef, Window};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::components::{Component, FileError, cut, outermost};
use crate::event::Vevent;
use crate::series::{Broken, Series};
use crate::value::Moment;
use crate::zone::Zones;

/// A whole file.
#[derive(Debug)]
pub(crate) struct Calendar {
    zones: Zones,
    /// By normalised UID: what stands under it, or where and why it cannot be read. One broken part spoils
    /// its UID, because the rest of a series without it would be a wrong series.
    by_uid: BTreeMap<String, std::result::Result<Series, Broken>>,
}

fn unreadable(broken: Broken) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Item,
        "ical.unreadable",
        format!(
            "the VEVENT that begins in line {} cannot be read: {}",
            broken.line, broken.wrong
        ),
    )
}

impl Calendar {
    /// Reads a file.
    ///
    /// # Errors
    /// `Protocol` with scope `Calendar` for a file that is broken as a whole.
    pub(crate) fn read(bytes: &[u8], home: TimeZone, handle: &str) -> Result<Self> {
        let components = cut(bytes).map_err(|error| broken_file(&error, handle))?;
        let zones = Zones::new(home, &components);
        let mut grouped: BTreeMap<String, std::result::Result<Vec<Vevent>, Broken>> =
            BTreeMap::new();
        let mut copies = HashMap::new();
        for component in components.iter().filter(|one| one.name == "VEVENT") {
            let mut uid = uid(component);
            if uid.is_empty() {
                uid = numbered(&made_uid(component), &mut copies, |taken| {
                    grouped.contains_key(taken)
                });
            }
            let events = grouped.entry(uid).or_insert_with(|| Ok(Vec::new()));
            match (Vevent::read(component, &zones), &mut *events) {
                (Ok(event), Ok(events)) => events.push(event),
                (Err(wrong), Ok(_)) => {
                    *events = Err(Broken {
                        line: component.line,
                        wrong,
                    });
                }
                (_, Err(_)) => {}
            }
        }
        let by_uid = grouped
            .into_iter()
            .map(|(uid, events)| {
                let series = events.map(|events| Series::new(&uid, events));
                (uid, series)
            })
            .collect();
        Ok(Self { zones, by_uid })
    }

    /// Everything that overlaps `window`, and what cannot be read.
    pub(crate) fn changes(&self, window: Window, fields: &FieldSet) -> Vec<Change> {
        let mut changes = Vec::new();
        for (uid, series) in &self.by_uid {
            match self.events(series, window, fields) {
                Ok(events) => changes.extend(
                    events
                        .into_iter()
                        .filter(|event| {
                            let (start, end) = event.content.time.span_in(&self.zones.home);
                            window.overlaps(start, end)
                        })
                        .map(Change::Item),
                ),
                Err(broken) => changes.push(Change::Unreadable {
                    item: None,
                    uid: Some(uid.clone()),
                    error: unreadable(broken),
                }),
            }
        }
        changes
    }

    /// One event again, wherever it lies.
    ///
    /// # Errors
    /// `NotFound` if the file has no such event; `Protocol` if it cannot be read.
    pub(crate) fn item(&self, item: &ItemRef, fields: &FieldSet) -> Result<Event> {
        let gone = || {
            Error::new(
                ErrorKind::NotFound,
                Scope::Item,
                "ical.gone",
                "the file has no such event any more",
            )
        };
        let mut parts = item.id.splitn(2, '\n');
        let uid = parts.next().unwrap_or_default();
        let series = self.by_uid.get(uid).ok_or_else(gone)?;
        let window = self.around(parts.next()).ok_or_else(gone)?;
        self.events(series, window, fields)
            .map_err(unreadable)?
            .into_iter()
            .find(|event| event.item.id == item.id)
            .ok_or_else(gone)
    }

    fn events(
        &self,
        series: &std::result::Result<Series, Broken>,
        window: Window,
        fields: &FieldSet,
    ) -> std::result::Result<Vec<Event>, Broken> {
        series
            .as_ref()
            .map_err(|broken| *broken)?
            .events(window, fields, &self.zones)
    }

    /// A window that holds the occurrence with this original start; any window for a single event.
    fn around(&self, original: Option<&str>) -> Option<Window> {
        let start = match original {
            None => Timestamp::UNIX_EPOCH,
            Some(text) => match (text.parse(), text.parse()) {
                (Ok(at), _) => at,
                (_, Ok(date)) => Moment::Day(date).instant(&self.zones.home).ok()?,
                _ => Timestamp::UNIX_EPOCH,
            },
        };
        let end = start.checked_add(SignedDuration::from_secs(1)).ok()?;
        Window::new(start, end).ok()
    }

    /// How many UIDs can and cannot be read, and why the first cannot.
    pub(crate) fn summary(&self) -> (usize, usize, Option<Error>) {
        let broken = || {
            self.by_uid
                .values()
                .filter_map(|series| series.as_ref().err())
        };
        let count = broken().count();
        let first = broken().min_by_key(|broken| broken.line);
        (
            self.by_uid.len() - count,
            count,
            first.copied().map(unreadable),
        )
    }
}

fn broken_file(error: &FileError, handle: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "ical.broken-file",
        format!("the file of calendar {handle} cannot be used: {error}; nothing is deleted for it"),
    )
}

/// The normalised UID; empty if there is none.
fn uid(component: &Component) -> String {
    component
        .parse()
        .and_then(|parsed| outermost(&parsed)?.uid().map(str::to_owned))
        .and_then(|uid| EventKey::new(&uid, None).ok())
        .map(|key| key.uid().to_owned())
        .unwrap_or_default()
}

/// A UID for an event without one, which RFC 5545 forbids and old exporters do. It is made of the times
/// alone, so that it tells nothing of the event; moving the event makes it another one.
fn made_uid(component: &Component) -> String {
    let mut hash = blake3::Hasher::new();
    for name in ["DTSTART", "DTEND", "DURATION", "RRULE", "RECURRENCE-ID"] {
        for value in component.raw(name) {
            hash.update(name.as_bytes()).update(value.as_bytes());
        }
    }
    let hex = hash.finalize().to_hex();
    format!("without-uid-{}", hex.get(..24).unwrap_or_default())
}

/// A made UID that is not taken. `copies` remembers how often each was made, so that thousands of equal events
/// are not counted anew for each of them.
fn numbered(
    made: &str,
    copies: &mut HashMap<String, usize>,
    taken: impl Fn(&str) -> bool,
) -> String {
    let copy = copies.entry(made.to_owned()).or_insert(0);
    loop {
        *copy += 1;
        let uid = match *copy {
            1 => made.to_owned(),
            number => format!("{made}-{number}"),
        };
        if !taken(&uid) {
            return uid;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn equal_events_without_uid_are_numbered_with_one_question_each() {
        let (mut copies, asked) = (HashMap::new(), Cell::new(0));
        let mut found = Vec::new();
        for _ in 0..1000 {
            let known = found.len();
            found.push(numbered("a", &mut copies, |uid| {
                asked.set(asked.get() + 1);
                // As if an event of this UID stood before.
                uid == "a-2" && known == 1
            }));
        }
        assert_eq!(found.first().map(String::as_str), Some("a"));
        assert_eq!(found.get(1).map(String::as_str), Some("a-3"));
        assert_eq!(found.last().map(String::as_str), Some("a-1001"));
        assert_eq!(asked.get(), 1001);
    }
}
