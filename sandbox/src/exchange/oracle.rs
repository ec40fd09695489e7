//! The truth about a calendar, worked out a second way.
//!
//! The server expands series with its own code (`recurrence`); the oracle translates every pattern to an iCalendar
//! rule and lets the `rrule` crate expand it. Tests compare connectors with the oracle, so that an error in the
//! server's expansion cannot hide an equal error elsewhere.

use chrono::{Datelike as _, NaiveDate, TimeZone as _, Timelike as _};
use jiff::civil::{Date, DateTime, Weekday};
use rrule::{RRule, RRuleSet, Tz, Unvalidated};

use super::recurrence::{DayIndex, DayKind, Pattern, Range, Recurrence, SeriesRule};

/// Series are expanded by rule up to this many occurrences; no calendar in a test comes near it.
const MOST: u16 = u16::MAX;

/// The pattern as an iCalendar RRULE value, with Outlook's treatment of short months said in iCalendar's words
/// (`BYMONTHDAY=28,29,30,31;BYSETPOS=-1` for day 31).
#[must_use]
pub fn to_rrule(recurrence: &Recurrence) -> String {
    let mut rule = match &recurrence.pattern {
        Pattern::Daily { interval } => format!("FREQ=DAILY;INTERVAL={interval}"),
        Pattern::Weekly {
            interval,
            days,
            first_day,
        } => {
            let days: Vec<&str> = days.iter().map(|day| code(*day)).collect();
            format!(
                "FREQ=WEEKLY;INTERVAL={interval};WKST={};BYDAY={}",
                code(*first_day),
                days.join(",")
            )
        }
        Pattern::AbsoluteMonthly { interval, day } => {
            format!("FREQ=MONTHLY;INTERVAL={interval};{}", month_day(*day))
        }
        Pattern::RelativeMonthly {
            interval,
            kind,
            index,
        } => format!(
            "FREQ=MONTHLY;INTERVAL={interval};{}",
            relative(*kind, *index)
        ),
        Pattern::AbsoluteYearly { month, day } => {
            format!("FREQ=YEARLY;BYMONTH={month};{}", month_day(*day))
        }
        Pattern::RelativeYearly { month, kind, index } => {
            format!("FREQ=YEARLY;BYMONTH={month};{}", relative(*kind, *index))
        }
    };
    match recurrence.range {
        Range::NoEnd => {}
        Range::EndDate(end) => rule.push_str(&format!(";UNTIL={}T235959Z", end.strftime("%Y%m%d"))),
        Range::Numbered(count) => rule.push_str(&format!(";COUNT={count}")),
    }
    rule
}

fn month_day(day: i8) -> String {
    match day {
        ..=28 => format!("BYMONTHDAY={day}"),
        29 => "BYMONTHDAY=28,29;BYSETPOS=-1".to_owned(),
        30 => "BYMONTHDAY=28,29,30;BYSETPOS=-1".to_owned(),
        _ => "BYMONTHDAY=28,29,30,31;BYSETPOS=-1".to_owned(),
    }
}

fn relative(kind: DayKind, index: DayIndex) -> String {
    let days = match kind {
        DayKind::On(weekday) => code(weekday),
        DayKind::Day => "MO,TU,WE,TH,FR,SA,SU",
        DayKind::Weekday => "MO,TU,WE,TH,FR",
        DayKind::WeekendDay => "SA,SU",
    };
    let position = match index {
        DayIndex::First => 1,
        DayIndex::Second => 2,
        DayIndex::Third => 3,
        DayIndex::Fourth => 4,
        DayIndex::Last => -1,
    };
    format!("BYDAY={days};BYSETPOS={position}")
}

fn code(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "MO",
        Weekday::Tuesday => "TU",
        Weekday::Wednesday => "WE",
        Weekday::Thursday => "TH",
        Weekday::Friday => "FR",
        Weekday::Saturday => "SA",
        Weekday::Sunday => "SU",
    }
}

/// The original starts of a series up to `until`, in wall clock.
pub(crate) fn slots(rule: &SeriesRule, first: DateTime, until: DateTime) -> Vec<DateTime> {
    match rule {
        SeriesRule::Ews(recurrence) => {
            // The rule is anchored at the range's first day, which need not be an occurrence.
            let anchor = recurrence.start.to_datetime(first.time());
            ical_slots(anchor, &[to_rrule(recurrence)], &[], until, false)
        }
        SeriesRule::Other { rules, dates } => ical_slots(first, rules, dates, until, true),
    }
}

/// Expands iCalendar rules in wall clock (carried as if it were UTC, which has no gaps). With `first_counts` the start
/// is an occurrence, and counted in COUNT, even where a rule does not give it (RFC 5545, DTSTART).
pub(crate) fn ical_slots(
    first: DateTime,
    rules: &[String],
    dates: &[DateTime],
    until: DateTime,
    first_counts: bool,
) -> Vec<DateTime> {
    let (Some(start), Some(end)) = (to_chrono(first), to_chrono(until)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for rule in rules {
        let Ok(parsed) = rule.parse::<RRule<Unvalidated>>() else {
            continue;
        };
        let count = parsed.get_count();
        let Ok(validated) = parsed.validate(start) else {
            continue;
        };
        let mut slots: Vec<DateTime> = RRuleSet::new(start)
            .rrule(validated)
            .before(end)
            .all(MOST)
            .dates
            .into_iter()
            .filter_map(to_civil)
            .collect();
        if first_counts
            && slots.first() != Some(&first)
            && let Some(count) = count
        {
            slots.truncate(
                usize::try_from(count)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(1),
            );
        }
        found.extend(slots);
    }
    if first_counts {
        found.push(first);
    }
    found.extend(dates.iter().copied());
    found.retain(|slot| *slot <= until);
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a rule can be expanded at all.
pub(crate) fn check_rule(rule: &str, first: DateTime) -> Result<(), String> {
    let start = to_chrono(first).ok_or_else(|| "the start is out of range".to_owned())?;
    let parsed = rule
        .parse::<RRule<Unvalidated>>()
        .map_err(|error| error.to_string())?;
    parsed
        .build(start)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn to_chrono(wall: DateTime) -> Option<chrono::DateTime<Tz>> {
    let day = NaiveDate::from_ymd_opt(
        i32::from(wall.year()),
        u32::try_from(wall.month()).ok()?,
        u32::try_from(wall.day()).ok()?,
    )?;
    let time = day.and_hms_opt(
        u32::try_from(wall.hour()).ok()?,
        u32::try_from(wall.minute()).ok()?,
        u32::try_from(wall.second()).ok()?,
    )?;
    Some(Tz::UTC.from_utc_datetime(&time))
}

fn to_civil(instant: chrono::DateTime<Tz>) -> Option<DateTime> {
    let naive = instant.naive_utc();
    let day = Date::new(
        i16::try_from(naive.year()).ok()?,
        i8::try_from(naive.month()).ok()?,
        i8::try_from(naive.day()).ok()?,
    )
    .ok()?;
    let (hour, minute, second) = (
        i8::try_from(naive.hour()).ok()?,
        i8::try_from(naive.minute()).ok()?,
        i8::try_from(naive.second()).ok()?,
    );
    Some(day.at(hour, minute, second, 0))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// Every pattern, many shapes: the server's expansion and the oracle agree.
    #[test]
    fn the_two_expansions_agree() {
        let mut patterns = vec![
            Pattern::Daily { interval: 1 },
            Pattern::Daily { interval: 9 },
        ];
        for interval in [1, 2, 3] {
            for first_day in [Weekday::Monday, Weekday::Sunday] {
                patterns.push(Pattern::Weekly {
                    interval,
                    days: vec![Weekday::Friday, Weekday::Monday, Weekday::Sunday],
                    first_day,
                });
            }
            for day in [1, 15, 28, 29, 30, 31] {
                patterns.push(Pattern::AbsoluteMonthly { interval, day });
                patterns.push(Pattern::AbsoluteYearly { month: 2, day });
                patterns.push(Pattern::AbsoluteYearly { month: 4, day });
            }
            for kind in [
                DayKind::On(Weekday::Tuesday),
                DayKind::Day,
                DayKind::Weekday,
                DayKind::WeekendDay,
            ] {
                for index in [
                    DayIndex::First,
                    DayIndex::Second,
                    DayIndex::Third,
                    DayIndex::Fourth,
                    DayIndex::Last,
                ] {
                    patterns.push(Pattern::RelativeMonthly {
                        interval,
                        kind,
                        index,
                    });
                    patterns.push(Pattern::RelativeYearly {
                        month: 2,
                        kind,
                        index,
                    });
                }
            }
        }
        for pattern in patterns {
            for start in [date(2023, 12, 31), date(2024, 2, 29), date(2026, 3, 4)] {
                for range in [
                    Range::NoEnd,
                    Range::Numbered(7),
                    Range::EndDate(date(2027, 2, 28)),
                ] {
                    let recurrence = Recurrence {
                        pattern: pattern.clone(),
                        start,
                        range,
                    };
                    let rule = SeriesRule::Ews(recurrence.clone());
                    let (first, until) = (start.at(9, 30, 0, 0), date(2033, 1, 1).at(0, 0, 0, 0));
                    assert_eq!(
                        rule.slots(first, until),
                        slots(&rule, first, until),
                        "{recurrence:?}"
                    );
                }
            }
        }
    }
}
