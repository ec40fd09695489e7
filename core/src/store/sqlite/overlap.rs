//! When a complete listing says that an event is gone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::model::{EventTime, Window};

/// The farthest that local midnight lies from UTC's, either way.
const FARTHEST_ZONE: SignedDuration = SignedDuration::from_hours(14);

/// Whether an event overlaps `window` whatever the zone of its days: only then does a complete listing of the
/// window that lacks it say that it is gone. An event at the window's edge may have been left out because
/// the listing side reads its days in another zone.
pub(super) fn overlaps_everywhere(time: &EventTime, window: Window) -> bool {
    match time {
        EventTime::Timed { start, end, .. } => window.overlaps(*start, *end),
        EventTime::AllDay { start, end } => {
            let latest_start = midnight(*start).and_then(|at| at.checked_add(FARTHEST_ZONE).ok());
            let earliest_end = midnight(*end).and_then(|at| at.checked_sub(FARTHEST_ZONE).ok());
            matches!((latest_start, earliest_end), (Some(start), Some(end))
                if start < window.end() && window.start() < end)
        }
    }
}

fn midnight(date: Date) -> Option<Timestamp> {
    date.to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn window(start: &str, end: &str) -> Window {
        Window::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    fn day(start: &str, end: &str) -> EventTime {
        EventTime::all_day(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    #[test]
    fn an_all_day_event_at_the_edge_is_not_certainly_listed() {
        // The window of 1 to 31 March in Copenhagen.
        let march = window("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z");
        assert!(overlaps_everywhere(&day("2026-03-01", "2026-03-02"), march));
        assert!(overlaps_everywhere(&day("2026-03-31", "2026-04-01"), march));
        assert!(!overlaps_everywhere(
            &day("2026-02-28", "2026-03-01"),
            march
        ));
        assert!(!overlaps_everywhere(
            &day("2026-04-01", "2026-04-02"),
            march
        ));
        // In Honolulu this one lies inside, in Auckland before the window.
        let late = window("2026-03-01T12:00:00Z", "2026-03-31T12:00:00Z");
        assert!(!overlaps_everywhere(&day("2026-03-01", "2026-03-02"), late));
    }

    #[test]
    fn a_timed_event_overlaps_as_it_is() {
        let hour = window("2026-03-01T08:00:00Z", "2026-03-01T09:00:00Z");
        let timed = |start: &str, end: &str| {
            EventTime::timed(start.parse().unwrap(), end.parse().unwrap(), None).unwrap()
        };
        assert!(overlaps_everywhere(
            &timed("2026-03-01T08:00:00Z", "2026-03-01T08:00:00Z"),
            hour
        ));
        assert!(!overlaps_everywhere(
            &timed("2026-03-01T07:00:00Z", "2026-03-01T08:00:00Z"),
            hour
        ));
        assert!(!overlaps_everywhere(
            &timed("2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z"),
            hour
        ));
    }
}
