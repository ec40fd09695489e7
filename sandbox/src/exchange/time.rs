//! Times as they stand on the wire (xs:dateTime, xs:date).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

/// A parsed xs:dateTime: with an offset or `Z` it is an instant, without it is a wall clock of a zone named elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireTime {
    /// An instant.
    Instant(Timestamp),
    /// A wall clock.
    Wall(DateTime),
}

impl WireTime {
    /// The instant; a wall clock is read in `zone`, in gaps and folds the way Windows does (the earlier offset).
    pub(crate) fn instant(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            WireTime::Instant(instant) => Some(instant),
            WireTime::Wall(wall) => to_instant(wall, zone),
        }
    }
}

/// Reads an xs:dateTime.
pub(crate) fn parse_date_time(text: &str) -> Option<WireTime> {
    if !text.contains('T') {
        return None;
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(WireTime::Instant(instant));
    }
    text.parse::<DateTime>().ok().map(WireTime::Wall)
}

/// Reads an xs:date, with or without the offset that Exchange appends; the offset has no meaning.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    let date = text.get(..10)?;
    let rest = text.get(10..)?;
    let offset_is_fine =
        rest.is_empty() || rest == "Z" || (rest.len() == 6 && rest.starts_with(['+', '-']));
    if offset_is_fine {
        date.parse().ok()
    } else {
        None
    }
}

/// The instant of a wall clock in a zone; `None` only at the ends of time.
pub(crate) fn to_instant(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(wall).compatible().ok()
}

/// `±hh:mm`.
pub(crate) fn offset_suffix(offset: Offset) -> String {
    let seconds = offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A duration in minutes as xs:duration (`PT1H30M`, `-PT1H`).
pub(crate) fn duration(minutes: i64) -> String {
    let sign = if minutes < 0 { "-" } else { "" };
    let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
    match (hours, rest) {
        (0, 0) => "PT0S".to_owned(),
        (0, rest) => format!("{sign}PT{rest}M"),
        (hours, 0) => format!("{sign}PT{hours}H"),
        (hours, rest) => format!("{sign}PT{hours}H{rest}M"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_date_time() {
        let instant: Timestamp = "2026-03-01T08:00:00Z".parse().unwrap();
        assert_eq!(
            parse_date_time("2026-03-01T08:00:00Z"),
            Some(WireTime::Instant(instant))
        );
        assert_eq!(
            parse_date_time("2026-03-01T09:00:00+01:00"),
            Some(WireTime::Instant(instant))
        );
        assert!(matches!(
            parse_date_time("2026-03-01T09:00:00"),
            Some(WireTime::Wall(_))
        ));
        assert_eq!(parse_date_time("2026-03-01"), None);
        assert_eq!(parse_date_time("soonT"), None);
    }

    #[test]
    fn dates_lose_their_offset() {
        let date = jiff::civil::date(2026, 1, 5);
        assert_eq!(parse_date("2026-01-05+01:00"), Some(date));
        assert_eq!(parse_date("2026-01-05Z"), Some(date));
        assert_eq!(parse_date("2026-01-05T00:00"), None);
        assert_eq!(duration(-60), "-PT1H");
        assert_eq!(duration(150), "PT2H30M");
    }
}
