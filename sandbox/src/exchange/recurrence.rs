//! Recurrence: the six patterns and three ranges of EWS, and the server's own expansion.
//!
//! The expansion follows Outlook: a day that a month lacks (29, 30, 31) is that month's last day, and 29 February is
//! 28 February in common years ([MS-OXOCAL], recurrence patterns by month). iCalendar would skip such months.

use jiff::civil::{Date, DateTime, Weekday, date};

/// Days that a relative pattern counts (EWS DayOfWeekType).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayKind {
    /// One weekday.
    On(Weekday),
    /// Any day.
    Day,
    /// Monday to Friday.
    Weekday,
    /// Saturday and Sunday.
    WeekendDay,
}

impl DayKind {
    pub(crate) fn holds(self, day: Date) -> bool {
        let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        match self {
            DayKind::On(weekday) => day.weekday() == weekday,
            DayKind::Day => true,
            DayKind::Weekday => !weekend,
            DayKind::WeekendDay => weekend,
        }
    }
}

/// Which of the matching days of a month (EWS DayOfWeekIndexType).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayIndex {
    /// The first.
    First,
    /// The second.
    Second,
    /// The third.
    Third,
    /// The fourth.
    Fourth,
    /// The last.
    Last,
}

/// How a series repeats (EWS RecurrencePatternTypes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Every `interval` days.
    Daily {
        /// Days from one to the next, at least 1.
        interval: u32,
    },
    /// On `days` of every `interval`-th week.
    Weekly {
        /// Weeks from one to the next, at least 1.
        interval: u32,
        /// The weekdays; at least one.
        days: Vec<Weekday>,
        /// Where a week begins; it matters for intervals above 1.
        first_day: Weekday,
    },
    /// On `day` of every `interval`-th month.
    AbsoluteMonthly {
        /// Months from one to the next, at least 1.
        interval: u32,
        /// 1 to 31; a month without it counts its last day.
        day: i8,
    },
    /// On, say, the second Tuesday of every `interval`-th month.
    RelativeMonthly {
        /// Months from one to the next, at least 1.
        interval: u32,
        /// Which days count.
        kind: DayKind,
        /// Which of them.
        index: DayIndex,
    },
    /// On `day` of `month` of every year.
    AbsoluteYearly {
        /// 1 to 12.
        month: i8,
        /// 1 to 31; a month without it counts its last day.
        day: i8,
    },
    /// On, say, the last Thursday of November of every year.
    RelativeYearly {
        /// 1 to 12.
        month: i8,
        /// Which days count.
        kind: DayKind,
        /// Which of them.
        index: DayIndex,
    },
}

/// How long a series runs (EWS RecurrenceRangeTypes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Without end.
    NoEnd,
    /// To this date, inclusive.
    EndDate(Date),
    /// So many occurrences, deleted ones counted.
    Numbered(u32),
}

/// A pattern, where it begins, and how long it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// How it repeats.
    pub pattern: Pattern,
    /// The range's first day; the first occurrence is the first matching day on or after it.
    pub start: Date,
    /// How long.
    pub range: Range,
}

impl Recurrence {
    /// The dates of all occurrences in order, without regard to deleted ones. Endless series end with the calendar.
    pub fn dates(&self) -> impl Iterator<Item = Date> + '_ {
        let (limit, last) = match self.range {
            Range::NoEnd => (usize::MAX, Date::MAX),
            Range::EndDate(end) => (usize::MAX, end),
            Range::Numbered(count) => (usize::try_from(count).unwrap_or(usize::MAX), Date::MAX),
        };
        self.candidates()
            .filter(|day| *day >= self.start)
            .take_while(move |day| *day <= last)
            .take(limit)
    }

    fn candidates(&self) -> Box<dyn Iterator<Item = Date> + '_> {
        let start = self.start;
        match &self.pattern {
            Pattern::Daily { interval } => {
                let step = i64::from((*interval).max(1));
                Box::new(successors(start, move |day| add_days(day, step)))
            }
            Pattern::Weekly {
                interval,
                days,
                first_day,
            } => {
                let step = 7 * i64::from((*interval).max(1));
                let back = i64::from(start.weekday().since(*first_day));
                let week = add_days(start, -back).unwrap_or(start);
                let mut offsets: Vec<i64> = days
                    .iter()
                    .map(|day| i64::from(day.since(*first_day)))
                    .collect();
                offsets.sort_unstable();
                offsets.dedup();
                Box::new(
                    successors(week, move |week| add_days(week, step)).flat_map(move |week| {
                        offsets
                            .iter()
                            .filter_map(|offset| add_days(week, *offset))
                            .collect::<Vec<_>>()
                    }),
                )
            }
            Pattern::AbsoluteMonthly { interval, day } => {
                let day = *day;
                Box::new(months(start, *interval).map(move |month| day_or_last(month, day)))
            }
            Pattern::RelativeMonthly {
                interval,
                kind,
                index,
            } => {
                let (kind, index) = (*kind, *index);
                Box::new(months(start, *interval).filter_map(move |month| nth(month, kind, index)))
            }
            Pattern::AbsoluteYearly { month, day } => {
                let day = *day;
                Box::new(years(start, *month).map(move |month| day_or_last(month, day)))
            }
            Pattern::RelativeYearly { month, kind, index } => {
                let (kind, index) = (*kind, *index);
                Box::new(years(start, *month).filter_map(move |month| nth(month, kind, index)))
            }
        }
    }
}

/// What makes the occurrences of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum SeriesRule {
    /// A recurrence that EWS can say.
    Ews(Recurrence),
    /// One that it cannot (the server then answers no Recurrence element, as for lunar calendars); it is expanded from
    /// its iCalendar rules.
    Other {
        /// RRULE values without the property name; UNTIL in the series' wall clock, written with `Z`.
        rules: Vec<String>,
        /// Further original starts, in the series' wall clock.
        dates: Vec<DateTime>,
    },
}

impl From<Recurrence> for SeriesRule {
    fn from(recurrence: Recurrence) -> Self {
        SeriesRule::Ews(recurrence)
    }
}

impl SeriesRule {
    /// The first original start.
    pub(crate) fn first(&self, first: DateTime, until: DateTime) -> Option<DateTime> {
        match self {
            SeriesRule::Ews(recurrence) => recurrence
                .dates()
                .next()
                .map(|day| day.to_datetime(first.time())),
            SeriesRule::Other { .. } => self.slots(first, until).into_iter().next(),
        }
    }

    /// The original starts in wall clock up to `until` (inclusive), in order. `first` is the start of the series; its
    /// time of day is that of all.
    pub(crate) fn slots(&self, first: DateTime, until: DateTime) -> Vec<DateTime> {
        match self {
            SeriesRule::Ews(recurrence) => recurrence
                .dates()
                .map(|day| day.to_datetime(first.time()))
                .take_while(|slot| *slot <= until)
                .collect(),
            SeriesRule::Other { rules, dates } => {
                super::oracle::ical_slots(first, rules, dates, until, true)
            }
        }
    }
}

fn successors<T: Copy>(first: T, next: impl Fn(T) -> Option<T>) -> impl Iterator<Item = T> {
    std::iter::successors(Some(first), move |current| next(*current))
}

fn add_days(day: Date, days: i64) -> Option<Date> {
    day.checked_add(jiff::SignedDuration::from_hours(24_i64.checked_mul(days)?))
        .ok()
}

fn months(start: Date, interval: u32) -> impl Iterator<Item = Date> {
    let step = i32::try_from(interval.max(1)).unwrap_or(i32::MAX);
    successors(start.first_of_month(), move |month| add_months(month, step))
}

fn add_months(month: Date, step: i32) -> Option<Date> {
    let index = i32::from(month.year()) * 12 + i32::from(month.month()) - 1;
    let next = index.checked_add(step)?;
    Date::new(
        i16::try_from(next.div_euclid(12)).ok()?,
        i8::try_from(next.rem_euclid(12)).ok()? + 1,
        1,
    )
    .ok()
}

fn years(start: Date, month: i8) -> impl Iterator<Item = Date> {
    let first = Date::new(start.year(), month.clamp(1, 12), 1).unwrap_or_else(|_| date(1970, 1, 1));
    successors(first, |year| add_months(year, 12))
}

fn day_or_last(month: Date, day: i8) -> Date {
    let last = month.days_in_month();
    Date::new(month.year(), month.month(), day.clamp(1, last)).unwrap_or(month)
}

fn nth(month: Date, kind: DayKind, index: DayIndex) -> Option<Date> {
    let mut days = (1..=month.days_in_month())
        .filter_map(|day| Date::new(month.year(), month.month(), day).ok())
        .filter(|day| kind.holds(*day));
    match index {
        DayIndex::First => days.next(),
        DayIndex::Second => days.nth(1),
        DayIndex::Third => days.nth(2),
        DayIndex::Fourth => days.nth(3),
        DayIndex::Last => days.next_back(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(pattern: Pattern, start: Date, count: u32) -> Vec<String> {
        Recurrence {
            pattern,
            start,
            range: Range::Numbered(count),
        }
        .dates()
        .map(|day| day.to_string())
        .collect()
    }

    #[test]
    fn day_31_falls_on_the_last_day_of_short_months() {
        let found = days(
            Pattern::AbsoluteMonthly {
                interval: 1,
                day: 31,
            },
            date(2027, 12, 31),
            5,
        );
        assert_eq!(
            found,
            [
                "2027-12-31",
                "2028-01-31",
                "2028-02-29",
                "2028-03-31",
                "2028-04-30"
            ]
        );
    }

    #[test]
    fn leap_day_is_28_february_in_common_years() {
        let found = days(
            Pattern::AbsoluteYearly { month: 2, day: 29 },
            date(2024, 2, 29),
            5,
        );
        assert_eq!(
            found,
            [
                "2024-02-29",
                "2025-02-28",
                "2026-02-28",
                "2027-02-28",
                "2028-02-29"
            ]
        );
    }

    #[test]
    fn two_weekly_series_count_weeks_from_their_first_day() {
        let pattern = |first_day| Pattern::Weekly {
            interval: 2,
            days: vec![Weekday::Sunday, Weekday::Monday],
            first_day,
        };
        // 2026-03-01 is a Sunday: in a week from Monday it ends the first week, in a week from Sunday it begins it.
        assert_eq!(
            days(pattern(Weekday::Monday), date(2026, 3, 1), 3),
            ["2026-03-01", "2026-03-09", "2026-03-15"]
        );
        assert_eq!(
            days(pattern(Weekday::Sunday), date(2026, 3, 1), 3),
            ["2026-03-01", "2026-03-02", "2026-03-15"]
        );
    }

    #[test]
    fn relative_patterns() {
        let monthly = Pattern::RelativeMonthly {
            interval: 2,
            kind: DayKind::Weekday,
            index: DayIndex::Last,
        };
        assert_eq!(
            days(monthly, date(2026, 1, 1), 3),
            ["2026-01-30", "2026-03-31", "2026-05-29"]
        );
        let yearly = Pattern::RelativeYearly {
            month: 11,
            kind: DayKind::On(Weekday::Thursday),
            index: DayIndex::Fourth,
        };
        assert_eq!(
            days(yearly, date(2025, 12, 1), 2),
            ["2026-11-26", "2027-11-25"]
        );
        let weekend = Pattern::RelativeMonthly {
            interval: 1,
            kind: DayKind::WeekendDay,
            index: DayIndex::Second,
        };
        assert_eq!(
            days(weekend, date(2026, 3, 1), 2),
            ["2026-03-07", "2026-04-05"]
        );
    }

    #[test]
    fn end_dates_are_inclusive() {
        let recurrence = Recurrence {
            pattern: Pattern::Daily { interval: 3 },
            start: date(2026, 1, 1),
            range: Range::EndDate(date(2026, 1, 7)),
        };
        assert_eq!(recurrence.dates().count(), 3);
    }
}
