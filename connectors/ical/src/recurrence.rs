//! Recurrence rules, expanded on the clock on the wall.
//!
//! RFC 5545, section 3.3.10, counts in local time, so the rule is expanded as if the wall clock were UTC and
//! each result is given its zone afterwards. That keeps the hour across clock changes, works for zones that
//! only the file knows, and leaves the `rrule` crate's own zones (and with them `chrono`) out of it.

use jiff::civil::DateTime;
use rrule::{NWeekday, RRule, RRuleSet, Tz, Unvalidated};

use chrono::{Datelike, TimeZone, Timelike};

use crate::value::Wrong;

/// The most occurrences of an event's rule that are counted through: every hour for 20 years.
pub(crate) const MAX_STEPS: usize = 200_000;

/// The starts that a rule gives, from `from` to `to` inclusive, in order. A day of the month that a month
/// lacks is skipped (RFC 5545), not moved to its last day.
///
/// `rule` is the text behind `RRULE:` without `UNTIL`; `until` is on the same clock as `start`. The first
/// start belongs to the series and counts in `COUNT` even where the rule does not give it. At most `max_steps`
/// are counted through.
///
/// # Errors
/// [`Wrong::Rule`] if it cannot be understood; [`Wrong::TooOften`].
pub(crate) fn expand(
    rule: &str,
    start: DateTime,
    until: Option<DateTime>,
    from: DateTime,
    to: DateTime,
    max_steps: usize,
) -> Result<Vec<DateTime>, Wrong> {
    if until.is_some_and(|until| until < start) {
        return Ok(vec![start]);
    }
    let first = to_chrono(start)?;
    let mut rule: RRule<Unvalidated> = rule.parse().map_err(|_| Wrong::Rule)?;
    if matches!(
        rule.get_freq(),
        rrule::Frequency::Minutely | rrule::Frequency::Secondly
    ) {
        return Err(Wrong::TooOften);
    }
    rule = numbered_alike(rule);
    if let Some(until) = until {
        rule = rule.until(to_chrono(until)?);
    }
    let count = rule.get_count();
    let rule = rule.validate(first).map_err(|_| Wrong::Rule)?;
    let set = RRuleSet::new(first).rrule(rule).limit();
    let gives_first = set.into_iter().next() == Some(first);
    let most = count.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let most = if gives_first {
        most
    } else {
        most.saturating_sub(1)
    };
    let mut starts = if gives_first || start < from {
        vec![]
    } else {
        vec![start]
    };
    for (step, at) in set.into_iter().take(most).enumerate() {
        if step >= max_steps {
            return Err(Wrong::TooOften);
        }
        let at = from_chrono(at)?;
        if at > to {
            break;
        }
        if at >= from {
            starts.push(at);
        }
    }
    Ok(starts)
}

/// Where some weekdays of a rule are numbered (`BYDAY=MO,-1FR`) and others not, numbers them all: the `rrule`
/// crate, like other descendants of dateutil, would find no day that is both.
fn numbered_alike(rule: RRule<Unvalidated>) -> RRule<Unvalidated> {
    let days = rule.get_by_weekday();
    let numbered = |day: &NWeekday| matches!(day, NWeekday::Nth(..));
    if days.iter().all(numbered) || !days.iter().any(numbered) {
        return rule;
    }
    let in_year = rule.get_freq() == rrule::Frequency::Yearly && rule.get_by_month().is_empty();
    let most = if in_year { 53 } else { 5 };
    let alike = days
        .iter()
        .flat_map(|day| match day {
            NWeekday::Every(weekday) => (1..=most).map(|n| NWeekday::Nth(n, *weekday)).collect(),
            NWeekday::Nth(..) => vec![*day],
        })
        .collect();
    rule.by_weekday(alike)
}

fn to_chrono(at: DateTime) -> Result<chrono::DateTime<Tz>, Wrong> {
    let unsigned = |n: i8| u32::try_from(n).unwrap_or(0);
    Tz::UTC
        .with_ymd_and_hms(
            i32::from(at.year()),
            unsigned(at.month()),
            unsigned(at.day()),
            unsigned(at.hour()),
            unsigned(at.minute()),
            unsigned(at.second()),
        )
        .single()
        .ok_or(Wrong::Rule)
}

fn from_chrono(at: chrono::DateTime<Tz>) -> Result<DateTime, Wrong> {
    let small = |n: u32| i8::try_from(n).map_err(|_| Wrong::Rule);
    DateTime::new(
        i16::try_from(at.year()).map_err(|_| Wrong::Rule)?,
        small(at.month())?,
        small(at.day())?,
        small(at.hour())?,
        small(at.minute())?,
        small(at.second())?,
        0,
    )
    .map_err(|_| Wrong::Rule)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn starts(rule: &str, start: DateTime, until: Option<DateTime>) -> Vec<String> {
        let from = date(2026, 1, 1).at(0, 0, 0, 0);
        let to = date(2026, 12, 31).at(0, 0, 0, 0);
        expand(rule, start, until, from, to, MAX_STEPS)
            .unwrap()
            .iter()
            .map(DateTime::to_string)
            .collect()
    }

    #[test]
    fn day_31_is_skipped_in_short_months() {
        let months = starts(
            "FREQ=MONTHLY;BYMONTHDAY=31",
            date(2025, 12, 31).at(9, 0, 0, 0),
            None,
        );
        assert_eq!(
            months,
            [
                "2026-01-31",
                "2026-03-31",
                "2026-05-31",
                "2026-07-31",
                "2026-08-31",
                "2026-10-31"
            ]
            .map(|day| format!("{day}T09:00:00"))
        );
    }

    #[test]
    fn a_series_of_decades_is_counted_through() {
        let days = starts("FREQ=DAILY", date(1970, 1, 1).at(8, 30, 0, 0), None);
        assert_eq!(days.len(), 364);
        let first = starts(
            "FREQ=DAILY;COUNT=20455",
            date(1970, 1, 1).at(8, 30, 0, 0),
            None,
        );
        assert_eq!(first, ["2026-01-01T08:30:00"]);
    }

    #[test]
    fn the_first_start_belongs_to_the_series_and_counts() {
        // A Thursday, in a series of Mondays.
        let days = starts(
            "FREQ=WEEKLY;BYDAY=MO;COUNT=3",
            date(2026, 1, 1).at(9, 0, 0, 0),
            None,
        );
        assert_eq!(
            days,
            [
                "2026-01-01T09:00:00",
                "2026-01-05T09:00:00",
                "2026-01-12T09:00:00"
            ]
        );
    }

    #[test]
    fn numbered_and_plain_weekdays_mix() {
        let start = date(2026, 11, 2).at(9, 0, 0, 0);
        let days = starts("FREQ=MONTHLY;BYDAY=MO,-1FR;COUNT=7", start, None);
        let expected = [
            "11-02", "11-09", "11-16", "11-23", "11-27", "11-30", "12-07",
        ];
        assert_eq!(days, expected.map(|day| format!("2026-{day}T09:00:00")));
    }

    #[test]
    fn an_end_before_the_start_leaves_the_first() {
        let start = date(2026, 5, 1).at(9, 0, 0, 0);
        let until = date(2026, 4, 1).at(9, 0, 0, 0);
        assert_eq!(
            starts("FREQ=DAILY", start, Some(until)),
            ["2026-05-01T09:00:00"]
        );
    }

    #[test]
    fn nonsense_and_endless_work_are_refused() {
        let start = date(1970, 1, 1).at(9, 0, 0, 0);
        let to = date(2026, 12, 31).at(0, 0, 0, 0);
        for (rule, wrong) in [
            ("RRULE:AnythingRandom;FREQ=WEEKLY", Wrong::Rule),
            ("FREQ=WEEKLY;BYMONTHDAY=300", Wrong::Rule),
            ("FREQ=DAILY;INTERVAL=-1", Wrong::Rule),
            ("FREQ=SECONDLY", Wrong::TooOften),
            ("FREQ=HOURLY", Wrong::TooOften),
        ] {
            let found = expand(rule, start, None, start, to, MAX_STEPS);
            assert_eq!(found, Err(wrong), "{rule}");
        }
    }
}
