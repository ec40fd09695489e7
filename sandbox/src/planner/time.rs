//! Times on Planner's wire: `xs:dateTime`, meant as Danish wall clock.
//!
//! A time without an offset *is* Danish wall clock. One with an offset, or with `Z`, is an instant
//! and is converted. Planner keeps and compares wall clock only, so in the repeated hour of autumn
//! two instants fall together; that is the service's nature and is not hidden here.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// How the server writes times of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeForm {
    /// `2026-12-01T09:00:00+01:00`, as the original's answers.
    #[default]
    Offset,
    /// `2026-12-01T09:00:00`.
    Wall,
    /// `2026-12-01T08:00:00Z`.
    Utc,
}

/// A time that was read, as Danish wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireTime {
    pub(super) wall: DateTime,
    /// Whether it was sent with an offset.
    pub(super) offset: bool,
}

/// Europe/Copenhagen. The database is compiled in, so UTC is never really used.
pub(super) fn danish() -> TimeZone {
    TimeZone::get("Europe/Copenhagen").unwrap_or(TimeZone::UTC)
}

/// Danish wall clock of an instant.
pub(super) fn wall_clock(instant: Timestamp) -> DateTime {
    instant.to_zoned(danish()).datetime()
}

/// A Danish wall clock as the server writes it.
pub(super) fn render(wall: DateTime, form: TimeForm) -> String {
    let text = wall.strftime("%Y-%m-%dT%H:%M:%S%.f").to_string();
    match (form, wall.to_zoned(danish())) {
        (TimeForm::Wall, _) | (_, Err(_)) => text,
        (TimeForm::Offset, Ok(zoned)) => format!("{text}{}", zoned.strftime("%:z")),
        (TimeForm::Utc, Ok(zoned)) => zoned
            .with_time_zone(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%S%.fZ")
            .to_string(),
    }
}

/// An instant as the server writes it, always with an offset.
pub(super) fn render_instant(instant: Timestamp) -> String {
    instant
        .to_zoned(danish())
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

/// Reads `xs:dateTime` in exactly its lexical form; surrounding white space collapses.
pub(super) fn parse_date_time(text: &str) -> Option<WireTime> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let (date, rest) = text.split_once('T')?;
    let [year, month, day] = fields(date, '-')?;
    (year.len() == 4 && month.len() == 2 && day.len() == 2).then_some(())?;

    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let [hour, minute, seconds] = fields(clock, ':')?;
    let (second, fraction) = match seconds.split_once('.') {
        Some((second, fraction)) if !fraction.is_empty() => (second, fraction),
        Some(_) => return None,
        None => (seconds, ""),
    };
    (hour.len() == 2 && minute.len() == 2 && second.len() == 2).then_some(())?;

    let nanosecond = nanoseconds(fraction)?;
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    // 24:00:00 is the next day's first instant.
    let midnight = hour == 24 && minute == 0 && second == 0 && nanosecond == 0;
    let day_start = jiff::civil::Date::new(
        number(year)?,
        i8::try_from(number(month)?).ok()?,
        i8::try_from(number(day)?).ok()?,
    )
    .ok()?;
    let wall = if midnight {
        day_start.checked_add(1.day()).ok()?.at(0, 0, 0, 0)
    } else {
        let time = jiff::civil::Time::new(
            i8::try_from(hour).ok()?,
            i8::try_from(minute).ok()?,
            i8::try_from(second).ok()?,
            nanosecond,
        )
        .ok()?;
        day_start.to_datetime(time)
    };
    match offset(zone)? {
        None => Some(WireTime {
            wall,
            offset: false,
        }),
        Some(offset) => {
            let instant = offset.to_timestamp(wall).ok()?;
            Some(WireTime {
                wall: wall_clock(instant),
                offset: true,
            })
        }
    }
}

fn fields(text: &str, separator: char) -> Option<[&str; 3]> {
    let mut parts = text.split(separator);
    let found = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(found)
}

fn number(text: &str) -> Option<i16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn nanoseconds(fraction: &str) -> Option<i32> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    nine.parse().ok()
}

fn offset(zone: &str) -> Option<Option<Offset>> {
    if zone.is_empty() {
        return Some(None);
    }
    if zone == "Z" {
        return Some(Some(Offset::UTC));
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    (hours.len() == 2 && minutes.len() == 2).then_some(())?;
    let (hours, minutes) = (i32::from(number(hours)?), i32::from(number(minutes)?));
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= 14 * 60).then_some(())?;
    Some(Some(Offset::from_seconds(sign * total * 60).ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn times_without_offset_are_danish_wall_clock() {
        for (text, wall) in [
            ("2026-12-01T09:00:00", "2026-12-01T09:00:00"),
            ("2026-12-01T08:00:00Z", "2026-12-01T09:00:00"),
            ("2026-07-01T08:00:00Z", "2026-07-01T10:00:00"),
            ("2026-12-01T03:00:00-05:00", "2026-12-01T09:00:00"),
            (
                "2026-12-01T09:00:00.1234567+01:00",
                "2026-12-01T09:00:00.1234567",
            ),
            ("2026-12-01T24:00:00", "2026-12-02T00:00:00"),
            (" 2026-12-01T09:00:00\n", "2026-12-01T09:00:00"),
            ("2026-10-25T00:30:00Z", "2026-10-25T02:30:00"),
            ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00"),
        ] {
            assert_eq!(
                parse_date_time(text).unwrap().wall,
                wall.parse::<DateTime>().unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01 09:00:00",
            "2026-12-01T09:00",
            "2026-12-1T09:00:00",
            "20261201T090000",
            "2026-13-01T09:00:00",
            "2026-02-29T09:00:00",
            "2026-12-01T24:00:01",
            "2026-12-01T09:60:00",
            "2026-12-01T09:00:00+0100",
            "2026-12-01T09:00:00+15:00",
            "2026-12-01T09:00:00.",
            "2026-12-01T09:00:00z",
            "2026-12-01t09:00:00",
            "2026-12-01T09:00:00Zx",
            "2026-12-01T09:00:00[Europe/Copenhagen]",
            "2026-12-01Tæ",
        ] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_written_in_three_forms() {
        let wall: DateTime = "2026-07-01T10:00:00".parse().unwrap();
        assert_eq!(render(wall, TimeForm::Offset), "2026-07-01T10:00:00+02:00");
        assert_eq!(render(wall, TimeForm::Wall), "2026-07-01T10:00:00");
        assert_eq!(render(wall, TimeForm::Utc), "2026-07-01T08:00:00Z");
    }
}
