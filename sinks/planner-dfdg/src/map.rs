//! The model's times and addresses to Planner's, and back.

use calbridge_core::connector::{Error, Result};
use calbridge_core::model::{Content, EventTime, WallSpan, Window};
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Planner's wall clock.
pub(crate) const ZONE: &str = "Europe/Copenhagen";

/// The longest RID (OCESRIDType).
const MAX_RID: usize = 64;
/// The longest part of an address before and after its `@` (EmailAddressIdentifierType).
const MAX_LOCAL: usize = 191;
const MAX_DOMAIN: usize = 64;

/// Planner's time zone.
///
/// # Errors
/// `Config` on a system without a time zone database.
pub(crate) fn zone() -> Result<TimeZone> {
    TimeZone::get(ZONE).map_err(|_| {
        Error::config(
            "this computer has no time zone data for Europe/Copenhagen; install the tzdata package",
        )
    })
}

/// A wall clock time as it is sent: without offset and fractions.
pub(crate) fn wall_text(at: DateTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// An instant as it is sent in headers and filters: Danish time with offset.
pub(crate) fn offset_text(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

/// What is sent of an event's time. Fractions of seconds are dropped.
pub(crate) fn wall_span(time: &EventTime, zone: &TimeZone) -> WallSpan {
    let whole = |at: DateTime| at.with().subsec_nanosecond(0).build().unwrap_or(at);
    let wall = time.wall_in(zone);
    WallSpan {
        start: whole(wall.start),
        end: whole(wall.end),
    }
}

/// Times for a delete whose event's own are not known: the minute after the next local midnight.
pub(crate) fn any_span(now: Timestamp, zone: &TimeZone) -> WallSpan {
    let today = zone.to_datetime(now).date();
    let start = today
        .tomorrow()
        .unwrap_or(today)
        .to_datetime(Time::midnight());
    WallSpan {
        start,
        end: start.checked_add(1.minute()).unwrap_or(start),
    }
}

/// What Planner holds once it has taken a span.
pub(crate) fn stored(wall: WallSpan, zone: &TimeZone) -> Option<Content> {
    wall.to_event_time(zone).ok().map(Content::times)
}

/// A time as Planner writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireTime {
    /// Without offset: Danish wall clock.
    Wall(DateTime),
    /// With offset or `Z`.
    Instant(Timestamp),
}

impl WireTime {
    /// Reads an `xs:dateTime`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // Date, `T`, and at least hours and minutes: what the date and time library takes beyond that is not
        // an `xs:dateTime`.
        if text.as_bytes().get(10) != Some(&b'T') || text.contains('[') {
            return None;
        }
        let clock = text.get(11..)?;
        if clock.contains(['Z', 'z', '+', '-']) {
            text.parse().ok().map(Self::Instant)
        } else {
            text.parse().ok().map(Self::Wall)
        }
    }

    fn wall(self, zone: &TimeZone) -> DateTime {
        match self {
            Self::Wall(at) => at,
            Self::Instant(at) => zone.to_datetime(at),
        }
    }
}

/// The content of a record that Planner lists: Danish wall clock first, and from there instants, so that it
/// compares with what was sent. `None` if the end lies before the start.
pub(crate) fn listed(start: WireTime, end: WireTime, zone: &TimeZone) -> Option<Content> {
    let wall = match (start, end) {
        (WireTime::Instant(start), WireTime::Instant(end)) => {
            EventTime::timed(start, end, None).ok()?.wall_in(zone)
        }
        _ => WallSpan {
            start: start.wall(zone),
            end: end.wall(zone),
        },
    };
    stored(wall, zone)
}

/// Whether the address is one that the schema allows (EmailAddressIdentifierType).
pub(crate) fn address_fits(address: &str) -> bool {
    let allowed = |part: &str| {
        part.chars().all(|c| {
            !matches!(
                c,
                '>' | '(' | ')' | '[' | ']' | '\\' | ',' | ';' | ':' | '@'
            ) && !c.is_whitespace()
                && xml_allows(c)
        })
    };
    address.split_once('@').is_some_and(|(local, domain)| {
        local.chars().count() <= MAX_LOCAL
            && (1..=MAX_DOMAIN).contains(&domain.chars().count())
            && allowed(local)
            && allowed(domain)
    })
}

/// Whether the id can be sent: XML has no way to write some characters, and changes others.
pub(crate) fn id_fits(id: &str) -> bool {
    !id.trim().is_empty() && id.chars().all(|c| !c.is_control() && xml_allows(c))
}

fn xml_allows(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// The RID that stands for a mailbox in GetEvents: as much of its address as fits.
pub(crate) fn rid(address: &str) -> &str {
    match address.char_indices().nth(MAX_RID) {
        Some((at, _)) => address.get(..at).unwrap_or(address),
        None => address,
    }
}

/// How much more than the window is asked for, at both ends.
///
/// Whether GetEvents lists what starts exactly at the beginning or end of its period is not documented. Nor is
/// whether it compares instants or what clocks on the wall show, which in the hour that autumn repeats, and on a
/// server whose clock is not Danish, are not the same. What is listed too much is left out again.
const MARGIN_HOURS: i64 = 3;

/// The period that is asked for, so that it surely holds all that starts in the window.
pub(crate) fn filter(start: Timestamp, end: Timestamp) -> (Timestamp, Timestamp) {
    let margin = MARGIN_HOURS.hours();
    (
        start.checked_sub(margin).unwrap_or(start),
        end.checked_add(margin).unwrap_or(end),
    )
}

/// Whether something that Planner lists with this start may start in the window: in the hour that autumn repeats
/// it is not known which of the two is meant.
pub(crate) fn may_start_in(start: Timestamp, window: Window, zone: &TimeZone) -> bool {
    let wall = zone.to_ambiguous_zoned(zone.to_datetime(start));
    let readings = [wall.clone().earlier(), wall.later()];
    readings
        .into_iter()
        .flatten()
        .any(|reading| window.contains(reading.timestamp()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dk() -> TimeZone {
        zone().unwrap()
    }

    fn timed(start: &str, end: &str) -> EventTime {
        EventTime::timed(start.parse().unwrap(), end.parse().unwrap(), None).unwrap()
    }

    fn sent(time: &EventTime) -> (String, String) {
        let wall = wall_span(time, &dk());
        (wall_text(wall.start), wall_text(wall.end))
    }

    #[test]
    fn k095_times_are_danish_wall_clock_without_offset_in_winter_and_summer() {
        for (start, end, day) in [
            ("2026-01-12T08:00:00Z", "2026-01-12T09:30:00Z", "2026-01-12"),
            (
                "2026-07-13T07:00:00Z",
                "2026-07-13T08:30:00.75Z",
                "2026-07-13",
            ),
        ] {
            assert_eq!(
                sent(&timed(start, end)),
                (format!("{day}T09:00:00"), format!("{day}T10:30:00"))
            );
        }
    }

    #[test]
    fn an_end_in_the_repeated_hour_is_start_plus_duration() {
        assert_eq!(
            sent(&timed("2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z")),
            (
                "2026-10-25T02:50:00".to_owned(),
                "2026-10-25T03:10:00".to_owned()
            )
        );
    }

    #[test]
    fn k096_answers_with_offset_or_z_are_the_same_wall_clock() {
        let expected = listed(
            WireTime::parse("2026-12-01T09:00:00").unwrap(),
            WireTime::parse("2026-12-01T10:30:00").unwrap(),
            &dk(),
        )
        .unwrap();
        for (start, end) in [
            ("2026-12-01T09:00:00+01:00", "2026-12-01T10:30:00+01:00"),
            ("2026-12-01T08:00:00Z", "2026-12-01T09:30:00Z"),
            ("2026-12-01T08:00:00.0000000Z", "2026-12-01T10:30:00"),
            ("2026-12-01T13:30:00+05:30", "2026-12-01T04:30:00-05:00"),
        ] {
            let read = listed(
                WireTime::parse(start).unwrap(),
                WireTime::parse(end).unwrap(),
                &dk(),
            );
            assert_eq!(read.as_ref(), Some(&expected), "{start}");
        }
    }

    #[test]
    fn what_is_no_date_and_time_is_refused() {
        for text in [
            "",
            "2026-12-01",
            "09:00:00",
            "2026-13-01T00:00:00",
            "2026-12-01T09:00:00+1",
            "2026-12-01T09:00:00[Europe/Copenhagen]",
            "i morgen",
        ] {
            assert_eq!(WireTime::parse(text), None, "{text}");
        }
        let late = WireTime::parse("2026-12-01T10:00:00").unwrap();
        let early = WireTime::parse("2026-12-01T09:00:00").unwrap();
        assert_eq!(listed(late, early, &dk()), None);
    }

    #[test]
    fn k097_the_rid_is_the_first_64_characters_of_the_address() {
        let address = format!("{}@kommune.example", "å".repeat(64));
        assert_eq!(address.chars().count(), 80);
        assert_eq!(rid(&address).chars().count(), 64);
        assert!(address.starts_with(rid(&address)));
        assert_eq!(rid("a@b.dk"), "a@b.dk");
    }

    #[test]
    fn k102_addresses_and_ids_that_the_schema_or_xml_refuses() {
        let long_domain = format!("a@{}.dk", "x".repeat(62));
        for wrong in ["a,b@x.dk", "a b@x.dk", "a@", "a", "a@b@c", &long_domain] {
            assert!(!address_fits(wrong), "{wrong}");
        }
        for good in ["a@x.dk", "søren.o'brien+x@kommune.example", "@x.dk"] {
            assert!(address_fits(good), "{good}");
        }
        for wrong in ["", "  ", "a\u{1}b", "a\nb", "a\u{ffff}"] {
            assert!(!id_fits(wrong));
        }
        assert!(id_fits("040000008200E0&<>$20261025-023000"));
    }

    #[test]
    fn more_is_asked_for_than_the_window() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, to) = filter(at("2026-11-21T23:00:00.5Z"), at("2027-02-21T23:00:00.5Z"));
        assert_eq!(offset_text(from, &dk()), "2026-11-21T21:00:00+01:00");
        assert_eq!(offset_text(to, &dk()), "2027-02-22T03:00:00+01:00");
    }

    #[test]
    fn an_ambiguous_start_counts_where_either_reading_does() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let window = |start, end| Window::new(at(start), at(end)).unwrap();
        let (first, second) = (at("2027-10-31T00:30:00Z"), at("2027-10-31T01:30:00Z"));
        let until = window("2027-10-01T00:00:00Z", "2027-10-31T01:00:00Z");
        let from = window("2027-10-31T01:00:00Z", "2027-11-30T00:00:00Z");
        for start in [first, second] {
            assert!(may_start_in(start, until, &dk()));
            assert!(may_start_in(start, from, &dk()));
        }
        let before = at("2027-10-30T23:59:00Z");
        assert!(may_start_in(before, until, &dk()));
        assert!(!may_start_in(before, from, &dk()));
        let after = at("2027-10-31T02:00:00Z");
        assert!(!may_start_in(after, until, &dk()));
        assert!(may_start_in(after, from, &dk()));
    }

    proptest! {
        /// What is sent, read back as Planner lists it and sent again is the same, in every season and across
        /// both changes.
        #[test]
        fn wall_clock_round_trips(
            change in prop_oneof![
                Just("2026-03-29T01:00:00Z"), Just("2026-10-25T01:00:00Z"),
                Just("2027-03-28T01:00:00Z"), Just("2027-07-01T00:00:00Z"),
            ],
            offset in -7200_i64..7200,
            length in 1_i64..90_000,
        ) {
            let change: Timestamp = change.parse().unwrap();
            let start = Timestamp::from_second(change.as_second() + offset).unwrap();
            let end = Timestamp::from_second(start.as_second() + length).unwrap();
            let time = EventTime::timed(start, end, None).unwrap();
            let wall = wall_span(&time, &dk());
            prop_assert!(wall.start < wall.end);
            let back = listed(
                WireTime::parse(&wall_text(wall.start)).unwrap(),
                WireTime::parse(&wall_text(wall.end)).unwrap(),
                &dk(),
            )
            .unwrap();
            let kept = stored(wall, &dk());
            prop_assert_eq!(Some(&back), kept.as_ref());
            let again = wall_span(&back.time, &dk());
            // The one hour that spring skips does not exist on the wall, so it cannot come from there.
            prop_assert_eq!(again, wall);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = WireTime::parse(&text);
            let _ = address_fits(&text);
            let _ = id_fits(&text);
            let _ = rid(&text);
        }
    }
}
