//! `t:Recurrence`: the pattern and the range of a series.

use jiff::civil::Date;

use super::values::{date, month, trimmed};
use crate::error::WireError;
use crate::recurrence::{Bound, DayMask, Index, Pattern, Recurrence};
use crate::xml::Pull;

/// A pattern that cannot be understood is a fault of that series, not of the answer.
pub(super) fn recurrence(
    pull: &mut Pull<'_>,
) -> Result<Result<Recurrence, &'static str>, WireError> {
    let mut pattern = None;
    let mut range: Option<(Option<Date>, Bound)> = None;
    let mut wrong = None;
    pull.children::<WireError>(|pull, open| {
        let kind = open.name.clone();
        let mut parts = Parts::default();
        pull.children::<WireError>(|pull, open| {
            let text = trimmed(pull)?;
            match open.name.as_str() {
                "Interval" => parts.interval = text.parse().ok().filter(|n| *n > 0),
                "DaysOfWeek" => parts.days = DayMask::parse(&text),
                "DayOfWeekIndex" => parts.index = Index::parse(&text),
                "DayOfMonth" => parts.day = text.parse().ok().filter(|d| (1..=31).contains(d)),
                "Month" => parts.month = month(&text),
                "FirstDayOfWeek" => parts.first = DayMask::parse(&text).and_then(DayMask::single),
                "StartDate" => parts.start = date(&text),
                "EndDate" => parts.end = date(&text),
                "NumberOfOccurrences" => parts.count = text.parse().ok().filter(|n| *n > 0),
                _ => {}
            }
            Ok(())
        })?;
        match kind.as_str() {
            "NoEndRecurrence" => range = Some((parts.start, Bound::NoEnd)),
            "EndDateRecurrence" => match parts.end {
                Some(end) => range = Some((parts.start, Bound::Until(end))),
                None => wrong = Some("its end date cannot be read"),
            },
            "NumberedRecurrence" => match parts.count {
                Some(count) => range = Some((parts.start, Bound::Count(count))),
                None => wrong = Some("its number of occurrences cannot be read"),
            },
            _ => match parts.pattern(&kind) {
                Some(found) => pattern = Some(found),
                None => wrong = Some("its pattern is none that calbridge knows"),
            },
        }
        Ok(())
    })?;
    Ok(match (wrong, pattern, range) {
        (Some(wrong), _, _) => Err(wrong),
        (None, Some(pattern), Some((Some(start), bound))) => Ok(Recurrence {
            pattern,
            start,
            bound,
        }),
        (None, None, _) => Err("it has no pattern"),
        (None, _, _) => Err("its range cannot be read"),
    })
}

#[derive(Default)]
struct Parts {
    interval: Option<u32>,
    days: Option<DayMask>,
    index: Option<Index>,
    day: Option<i8>,
    month: Option<i8>,
    first: Option<jiff::civil::Weekday>,
    start: Option<Date>,
    end: Option<Date>,
    count: Option<u32>,
}

impl Parts {
    fn pattern(&self, kind: &str) -> Option<Pattern> {
        Some(match kind {
            "DailyRecurrence" => Pattern::Daily {
                interval: self.interval?,
            },
            "WeeklyRecurrence" => Pattern::Weekly {
                interval: self.interval?,
                days: self.days?,
                first: self.first.unwrap_or(jiff::civil::Weekday::Sunday),
            },
            "AbsoluteMonthlyRecurrence" => Pattern::AbsoluteMonthly {
                interval: self.interval?,
                day: self.day?,
            },
            "RelativeMonthlyRecurrence" => Pattern::RelativeMonthly {
                interval: self.interval?,
                days: self.days?,
                index: self.index?,
            },
            "AbsoluteYearlyRecurrence" => Pattern::AbsoluteYearly {
                month: self.month?,
                day: self.day?,
            },
            "RelativeYearlyRecurrence" => Pattern::RelativeYearly {
                month: self.month?,
                days: self.days?,
                index: self.index?,
            },
            _ => return None,
        })
    }
}
