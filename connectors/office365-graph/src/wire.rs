//! Graph's JSON as far as calbridge reads it (Graph v1.0, resource `event`).
//!
//! Only `id` is certain: an occurrence in a delta answer has little more than its times. Enumerations are read as text,
//! so that a value that is new to us spoils nothing.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde::Deserialize;
use serde_json::Value;

/// A page of a listing.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Page {
    /// Read one by one: one that cannot be read leaves the others alone.
    pub(crate) value: Vec<Value>,
    #[serde(default, rename = "@odata.nextLink")]
    pub(crate) next_link: Option<String>,
    #[serde(default, rename = "@odata.deltaLink")]
    pub(crate) delta_link: Option<String>,
}

/// An event, or what a delta answer says of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default, rename = "@removed")]
    pub(crate) removed: Option<Removed>,
    #[serde(default, rename = "@odata.etag")]
    pub(crate) etag: Option<String>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) series_master_id: Option<String>,
    #[serde(default, rename = "iCalUId")]
    pub(crate) uid: Option<String>,
    #[serde(default)]
    pub(crate) start: Option<DateTimeTimeZone>,
    #[serde(default)]
    pub(crate) end: Option<DateTimeTimeZone>,
    /// Of an exception, an instant.
    #[serde(default)]
    pub(crate) original_start: Option<String>,
    #[serde(default)]
    pub(crate) original_start_time_zone: Option<String>,
    #[serde(default)]
    pub(crate) is_all_day: Option<bool>,
    #[serde(default)]
    pub(crate) is_cancelled: Option<bool>,
    #[serde(default)]
    pub(crate) show_as: Option<String>,
    #[serde(default)]
    pub(crate) sensitivity: Option<String>,
    #[serde(default)]
    pub(crate) subject: Option<String>,
    #[serde(default)]
    pub(crate) location: Option<Location>,
    #[serde(default)]
    pub(crate) body: Option<ItemBody>,
    #[serde(default)]
    pub(crate) categories: Option<Vec<String>>,
}

/// Why a delta answer calls an item removed.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Removed {}

/// A place; only its name is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Location {
    #[serde(default)]
    pub(crate) display_name: Option<String>,
}

/// A text.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemBody {
    #[serde(default)]
    pub(crate) content: Option<String>,
}

/// A wall clock time and its zone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DateTimeTimeZone {
    pub(crate) date_time: String,
    #[serde(default)]
    pub(crate) time_zone: Option<String>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Single,
    Occurrence,
    Exception,
    Master,
}

impl Item {
    /// What it is. A type that is new to us counts by what else it has.
    pub(crate) fn kind(&self) -> Kind {
        match self.kind.as_deref() {
            Some("seriesMaster") => Kind::Master,
            Some("occurrence") => Kind::Occurrence,
            Some("exception") => Kind::Exception,
            _ if self.series_master_id.is_some() => Kind::Exception,
            _ => Kind::Single,
        }
    }
}

impl DateTimeTimeZone {
    /// What clocks on the wall show, as written.
    pub(crate) fn wall(&self) -> Option<DateTime> {
        self.date_time.trim_end_matches('Z').parse().ok()
    }

    /// The instant. The zone is UTC, as it was asked for, unless the server names another one.
    pub(crate) fn instant(&self) -> Option<Timestamp> {
        if let Ok(instant) = self.date_time.parse::<Timestamp>() {
            return Some(instant);
        }
        let zone = match self.time_zone.as_deref() {
            None | Some("" | "UTC") => jiff::tz::TimeZone::UTC,
            Some(name) => calbridge_core::model::zone::by_name(name)?,
        };
        let zoned = zone.to_ambiguous_zoned(self.wall()?).compatible().ok()?;
        Some(zoned.timestamp())
    }

    /// The day of an all-day event: the midnight that is nearest.
    pub(crate) fn day(&self) -> Option<Date> {
        nearest_day(self.wall()?)
    }
}

/// The day whose beginning is nearest: some mailboxes' days do not begin at midnight of the zone that they name.
pub(crate) fn nearest_day(wall: DateTime) -> Option<Date> {
    if wall.hour() >= 12 {
        wall.date().tomorrow().ok()
    } else {
        Some(wall.date())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(time: &str, zone: Option<&str>) -> DateTimeTimeZone {
        DateTimeTimeZone {
            date_time: time.to_owned(),
            time_zone: zone.map(str::to_owned),
        }
    }

    #[test]
    fn times_come_with_seven_digits_and_without_an_offset() {
        for (time, zone, instant) in [
            (
                "2026-12-01T08:00:00.0000000",
                Some("UTC"),
                "2026-12-01T08:00:00Z",
            ),
            ("2026-12-01T08:00:00.0000000", None, "2026-12-01T08:00:00Z"),
            ("2026-12-01T08:00:00Z", Some("UTC"), "2026-12-01T08:00:00Z"),
            (
                "2026-12-01T08:00:00+01:00",
                Some("UTC"),
                "2026-12-01T07:00:00Z",
            ),
            (
                "2026-12-01T08:00:00.0000000",
                Some("W. Europe Standard Time"),
                "2026-12-01T07:00:00Z",
            ),
            (
                "2026-07-01T08:00:00",
                Some("Europe/Berlin"),
                "2026-07-01T06:00:00Z",
            ),
        ] {
            let read = at(time, zone).instant().unwrap();
            assert_eq!(read, instant.parse().unwrap(), "{time} {zone:?}");
        }
        for (time, zone) in [
            ("", Some("UTC")),
            ("tomorrow", None),
            ("2026-13-01T08:00:00", Some("UTC")),
            ("2026-12-01T08:00:00", Some("tzone://Microsoft/Custom")),
        ] {
            assert_eq!(at(time, zone).instant(), None, "{time} {zone:?}");
        }
    }

    #[test]
    fn a_day_is_the_nearest_one() {
        for (time, day) in [
            ("2026-12-01T00:00:00.0000000", "2026-12-01"),
            ("2026-11-30T23:00:00.0000000", "2026-12-01"),
            ("2026-12-01T02:00:00", "2026-12-01"),
        ] {
            assert_eq!(at(time, None).day().unwrap().to_string(), day, "{time}");
        }
    }
}
