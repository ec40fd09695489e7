//! From Graph's items to events.
//!
//! An occurrence in a delta answer is bare: it has its times, and all else stands in its series. The event key of a member
//! is the UID of the series with the original start. A full member has a UID of its own, which is the series' with the
//! member's date in it (MS-OXOCAL, `PidLidGlobalObjectId`); the key's normal form takes the date out.

use calbridge_core::connector::{Error, ErrorKind, Result, Scope};
use calbridge_core::model::{
    Content, Event, EventKey, EventTime, Field, FieldSet, GroupRef, ItemRef, OriginalStart, ShowAs,
    zone,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::wire::{Item, Kind, nearest_day};

/// Codes of Kommuneklienten for appointments without UID and without recurrence id.
const NO_UID: &str = "2958";
const NO_ORIGINAL: &str = "2959";

/// What is read of events.
#[derive(Debug, Clone)]
pub(crate) struct Mapper {
    /// What may be reported.
    pub(crate) fields: FieldSet,
    /// The zone of days whose own zone is unknown.
    pub(crate) home: Option<TimeZone>,
}

impl Mapper {
    /// A single event.
    ///
    /// # Errors
    /// `Protocol` of scope `Item`: it cannot be described.
    pub(crate) fn single(&self, item: &Item) -> Result<Event> {
        Ok(Event {
            key: key(item.uid.as_deref(), None)?,
            item: reference(item)?,
            group: None,
            content: self.content(item, item)?,
            cancelled: item.is_cancelled.unwrap_or(false),
            origin: None,
        })
    }

    /// A member of a series. Without the series, what the member says itself has to do.
    ///
    /// # Errors
    /// `Protocol` of scope `Item`: it cannot be described.
    pub(crate) fn member(&self, item: &Item, series: Option<&Item>) -> Result<Event> {
        let bare = item.kind() == Kind::Occurrence && item.uid.is_none();
        let full = match series {
            Some(series) if bare => series,
            None if bare => {
                return Err(unreadable(
                    "graph.occurrence",
                    "an occurrence without its series",
                ));
            }
            _ => item,
        };
        let uid = series.and_then(|series| series.uid.as_deref());
        let original = self.original(item, series)?;
        let group = item
            .series_master_id
            .clone()
            .or_else(|| series.map(|series| series.id.clone()));
        Ok(Event {
            key: key(uid.or(item.uid.as_deref()), Some(original))?,
            item: reference(item)?,
            group: group.map(|id| GroupRef {
                id,
                version: series.and_then(|series| series.etag.clone()),
            }),
            content: self.content(item, full)?,
            cancelled: full.is_cancelled.unwrap_or(false),
            origin: None,
        })
    }

    /// Whether the UID of a full member is enough to know its series' UID.
    pub(crate) fn tells_its_series(item: &Item) -> bool {
        item.uid
            .as_deref()
            .is_some_and(|uid| uid.len() >= 80 && uid.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }

    /// When the member would take place if nobody had moved it.
    fn original(&self, item: &Item, series: Option<&Item>) -> Result<OriginalStart> {
        let missing = || {
            unreadable(
                NO_ORIGINAL,
                "an exception that does not tell its original start",
            )
        };
        if item.kind() == Kind::Occurrence {
            let start = item.start.as_ref().ok_or_else(missing)?;
            let all_day = series
                .and_then(|series| series.is_all_day)
                .or(item.is_all_day);
            return if all_day == Some(true) {
                start.day().map(OriginalStart::Date).ok_or_else(missing)
            } else {
                start
                    .instant()
                    .map(OriginalStart::Instant)
                    .ok_or_else(missing)
            };
        }
        let told: Timestamp = item
            .original_start
            .as_deref()
            .and_then(|text| text.parse().ok())
            .ok_or_else(missing)?;
        // The days of a series begin in the zone of whoever made it.
        let zone = series
            .and_then(|series| self.zone_of(series))
            .or_else(|| self.zone_of(item))
            .or_else(|| self.home.clone())
            .unwrap_or(TimeZone::UTC);
        let wall = zone.to_datetime(told);
        let all_day = match series.and_then(|series| series.is_all_day) {
            Some(all_day) => all_day,
            None => item.is_all_day == Some(true) && wall.time() == jiff::civil::Time::midnight(),
        };
        if all_day {
            nearest_day(wall)
                .map(OriginalStart::Date)
                .ok_or_else(missing)
        } else {
            Ok(OriginalStart::Instant(told))
        }
    }

    fn zone_of(&self, item: &Item) -> Option<TimeZone> {
        zone::by_name(item.original_start_time_zone.as_deref()?)
    }

    /// `item` has the times, `full` the rest.
    fn content(&self, item: &Item, full: &Item) -> Result<Content> {
        let wants = |field| self.fields.contains(field);
        let text =
            |field, text: Option<&String>| wants(field).then(|| text.cloned().unwrap_or_default());
        let all_day = item.is_all_day.or(full.is_all_day).unwrap_or(false);
        Ok(Content {
            time: self.time(item, full, all_day)?,
            show_as: Some(show_as(full.show_as.as_deref())),
            subject: text(Field::Subject, full.subject.as_ref()),
            location: text(
                Field::Location,
                full.location
                    .as_ref()
                    .and_then(|place| place.display_name.as_ref()),
            ),
            body: text(
                Field::Body,
                full.body.as_ref().and_then(|body| body.content.as_ref()),
            ),
            private: wants(Field::Private).then(|| is_private(full.sensitivity.as_deref())),
            categories: wants(Field::Categories)
                .then(|| full.categories.clone().unwrap_or_default()),
        })
    }

    fn time(&self, item: &Item, full: &Item, all_day: bool) -> Result<EventTime> {
        let wrong = || unreadable("graph.time", "a time that is none, or in an unknown zone");
        let (Some(start), Some(end)) = (&item.start, &item.end) else {
            return Err(wrong());
        };
        if all_day {
            let first = start.day().ok_or_else(wrong)?;
            let last = end.day().ok_or_else(wrong)?;
            let next = first.tomorrow().map_err(|_| wrong())?;
            return EventTime::all_day(first, last.max(next)).map_err(|_| wrong());
        }
        let start = start.instant().ok_or_else(wrong)?;
        let end = end.instant().ok_or_else(wrong)?;
        let zone = self
            .zone_of(item)
            .or_else(|| self.zone_of(full))
            .and_then(|zone| zone.iana_name().map(str::to_owned));
        EventTime::timed(start, end, zone)
            .map_err(|_| unreadable("graph.time", "an end before its start"))
    }
}

fn reference(item: &Item) -> Result<ItemRef> {
    ItemRef::new(item.id.clone(), item.etag.clone())
        .map_err(|_| unreadable("graph.item", "an event without id"))
}

fn key(uid: Option<&str>, original: Option<OriginalStart>) -> Result<EventKey> {
    EventKey::new(uid.unwrap_or_default(), original)
        .map_err(|_| unreadable(NO_UID, "an event without iCalendar UID"))
}

/// An item that is there and cannot be described.
pub(crate) fn unreadable(code: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Item,
        code,
        format!("Graph tells of {what}; look at it in the calendar, and save it again there"),
    )
}

/// Graph, `freeBusyStatus`.
fn show_as(text: Option<&str>) -> ShowAs {
    match text {
        Some("free") => ShowAs::Free,
        Some("tentative") => ShowAs::Tentative,
        Some("busy") => ShowAs::Busy,
        Some("oof") => ShowAs::Away,
        Some("workingElsewhere") => ShowAs::Elsewhere,
        Some("unknown") | None => ShowAs::Unknown,
        Some(_) => ShowAs::Other,
    }
}

/// Graph, `sensitivity`. What is not known to be open to all is not shown to all.
fn is_private(text: Option<&str>) -> bool {
    !matches!(text, None | Some("normal" | "personal"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapper() -> Mapper {
        Mapper {
            fields: [Field::Time, Field::Subject, Field::Private]
                .into_iter()
                .collect(),
            home: None,
        }
    }

    #[allow(clippy::needless_pass_by_value)]
    fn item(value: serde_json::Value) -> Item {
        serde_json::from_value(value).unwrap()
    }

    fn at(time: &str) -> serde_json::Value {
        json!({ "dateTime": format!("{time}.0000000"), "timeZone": "UTC" })
    }

    fn master() -> Item {
        item(json!({
            "id": "M", "type": "seriesMaster", "iCalUId": "abc@x", "subject": "Weekly",
            "start": at("2019-01-07T08:00:00"), "end": at("2019-01-07T09:00:00"),
            "isAllDay": false, "showAs": "oof", "sensitivity": "private",
            "originalStartTimeZone": "W. Europe Standard Time",
        }))
    }

    #[test]
    fn a_bare_occurrence_takes_all_but_its_times_from_its_series() {
        let bare = item(json!({
            "id": "O", "type": "occurrence", "seriesMasterId": "M",
            "start": at("2026-12-07T08:00:00"), "end": at("2026-12-07T09:00:00"),
        }));
        let event = mapper().member(&bare, Some(&master())).unwrap();
        assert_eq!(event.key.uid(), "abc@x");
        assert_eq!(
            event.key.original(),
            Some(OriginalStart::Instant(
                "2026-12-07T08:00:00Z".parse().unwrap()
            ))
        );
        assert_eq!(event.content.subject.as_deref(), Some("Weekly"));
        assert_eq!(event.content.show_as, Some(ShowAs::Away));
        assert_eq!(event.content.private, Some(true));
        let EventTime::Timed { start, zone, .. } = &event.content.time else {
            panic!("{event:?}");
        };
        assert_eq!(start.to_string(), "2026-12-07T08:00:00Z");
        assert_eq!(zone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(event.group.unwrap().id, "M");
        assert!(mapper().member(&bare, None).is_err());
    }

    #[test]
    fn an_exception_of_an_all_day_series_has_its_day_from_the_makers_zone() {
        let series = item(json!({
            "id": "M", "type": "seriesMaster", "iCalUId": "abc@x", "isAllDay": true,
            "start": at("2026-01-01T00:00:00"), "end": at("2026-01-02T00:00:00"),
            "originalStartTimeZone": "W. Europe Standard Time",
        }));
        let exception = item(json!({
            "id": "E", "type": "exception", "seriesMasterId": "M", "iCalUId": "other",
            "originalStart": "2026-12-06T23:00:00Z", "isAllDay": false,
            "start": at("2026-12-07T10:00:00"), "end": at("2026-12-07T11:00:00"),
            "subject": "Moved", "showAs": "busy",
        }));
        let event = mapper().member(&exception, Some(&series)).unwrap();
        assert_eq!(
            event.key.original(),
            Some(OriginalStart::Date("2026-12-07".parse().unwrap()))
        );
        assert_eq!(event.key.uid(), "abc@x");
        assert_eq!(event.content.subject.as_deref(), Some("Moved"));
    }

    #[test]
    fn a_members_own_uid_is_its_series_uid_with_a_date_in_it() {
        let goid =
            |date: &str| format!("040000008200E00074C5B7101A82E008{date}{}", "AB".repeat(20));
        let full = item(json!({
            "id": "O", "type": "occurrence", "seriesMasterId": "M", "iCalUId": goid("07EA0C07"),
            "start": at("2026-12-07T08:00:00"), "end": at("2026-12-07T09:00:00"),
        }));
        assert!(Mapper::tells_its_series(&full));
        let event = mapper().member(&full, None).unwrap();
        assert_eq!(
            event.key.uid(),
            EventKey::new(&goid("00000000"), None).unwrap().uid()
        );
    }

    #[test]
    fn all_day_events_are_dates_and_never_empty() {
        let day = |end: &str| {
            let item = item(json!({
                "id": "D", "type": "singleInstance", "iCalUId": "d", "isAllDay": true,
                "start": at("2026-12-07T00:00:00"), "end": at(end),
            }));
            mapper().single(&item).unwrap().content.time
        };
        let expected =
            EventTime::all_day("2026-12-07".parse().unwrap(), "2026-12-08".parse().unwrap());
        assert_eq!(day("2026-12-08T00:00:00"), expected.clone().unwrap());
        assert_eq!(day("2026-12-07T00:00:00"), expected.unwrap());
    }

    #[test]
    fn what_cannot_be_described_is_told_and_not_guessed() {
        for (value, code) in [
            (
                json!({ "id": "A", "start": at("2026-12-07T08:00:00"), "end": at("2026-12-07T09:00:00") }),
                NO_UID,
            ),
            (
                json!({ "id": "A", "iCalUId": "a", "end": at("2026-12-07T09:00:00") }),
                "graph.time",
            ),
            (
                json!({ "id": "A", "iCalUId": "a", "start": at("2026-12-07T09:00:00"), "end": at("2026-12-07T08:00:00") }),
                "graph.time",
            ),
            (
                json!({ "iCalUId": "a", "start": at("2026-12-07T08:00:00"), "end": at("2026-12-07T09:00:00") }),
                "graph.item",
            ),
        ] {
            let error = mapper().single(&item(value)).unwrap_err();
            assert_eq!((error.code.as_str(), error.scope), (code, Scope::Item));
        }
    }
}
