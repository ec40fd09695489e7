//! Series, expanded by us: for servers whose CalendarView does not expand them.
//!
//! A series has at most one occurrence a day, so that its dates say everything; times of day follow from the
//! master in the series' own zone. Dates are computed, not counted up: a series of fifty years costs no more
//! than one of a month.
//!
//! Where a month lacks the day (29 to 31, 29 February) Outlook takes the month's last day; iCalendar would
//! skip the month.

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan};

/// Weekdays, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DayMask(u8);

impl DayMask {
    /// Reads EWS `DaysOfWeekType`: names, `Day`, `Weekday`, `WeekendDay`, separated by spaces.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut mask = 0;
        for name in text.split_ascii_whitespace() {
            mask |= match name {
                "Monday" => 0b000_0001,
                "Tuesday" => 0b000_0010,
                "Wednesday" => 0b000_0100,
                "Thursday" => 0b000_1000,
                "Friday" => 0b001_0000,
                "Saturday" => 0b010_0000,
                "Sunday" => 0b100_0000,
                "Day" => 0b111_1111,
                "Weekday" => 0b001_1111,
                "WeekendDay" => 0b110_0000,
                _ => return None,
            };
        }
        (mask != 0).then_some(Self(mask))
    }

    /// The weekday, if there is exactly one.
    pub(crate) fn single(self) -> Option<Weekday> {
        let mut found = ALL.into_iter().filter(|day| self.contains(*day));
        match (found.next(), found.next()) {
            (Some(day), None) => Some(day),
            _ => None,
        }
    }

    fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

const ALL: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// EWS `DayOfWeekIndexType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

impl Index {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "First" => Self::First,
            "Second" => Self::Second,
            "Third" => Self::Third,
            "Fourth" => Self::Fourth,
            "Last" => Self::Last,
            _ => return None,
        })
    }
}

/// The six patterns of calendar items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Every `interval` days.
    Daily { interval: u32 },
    /// On `days` of every `interval`-th week; weeks begin on `first`.
    Weekly {
        interval: u32,
        days: DayMask,
        first: Weekday,
    },
    /// On a day of every `interval`-th month.
    AbsoluteMonthly { interval: u32, day: i8 },
    /// On the n-th of `days` of every `interval`-th month.
    RelativeMonthly {
        interval: u32,
        days: DayMask,
        index: Index,
    },
    /// On a day of a month of every year.
    AbsoluteYearly { month: i8, day: i8 },
    /// On the n-th of `days` of a month of every year.
    RelativeYearly {
        month: i8,
        days: DayMask,
        index: Index,
    },
}

/// Where a series ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Nowhere.
    NoEnd,
    /// With this date, inclusive.
    Until(Date),
    /// After so many occurrences; deleted ones count.
    Count(u32),
}

/// A series' rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recurrence {
    pub(crate) pattern: Pattern,
    /// From when the rule is in force, a date in the series' zone.
    pub(crate) start: Date,
    pub(crate) bound: Bound,
}

impl Recurrence {
    /// The dates on which occurrences start, from `from` to `to` inclusive, before exceptions and deletions.
    pub(crate) fn dates(&self, from: Date, to: Date) -> Vec<Date> {
        let mut last = to;
        match self.bound {
            Bound::NoEnd => {}
            Bound::Until(end) => last = last.min(end),
            Bound::Count(count) => match self.nth(count) {
                Some(end) => last = last.min(end),
                None => last = last.min(Date::MAX),
            },
        }
        let from = from.max(self.start);
        let mut dates = Vec::new();
        if from > last {
            return dates;
        }
        let mut period = self.period_of(from);
        while let Some(found) = self.in_period(period) {
            if found.begins > last {
                break;
            }
            dates.extend(
                found
                    .dates
                    .into_iter()
                    .filter(|date| *date >= from && *date <= last),
            );
            period += 1;
        }
        dates
    }

    /// The date of the n-th occurrence, from 1; `None` beyond the calendar's end.
    fn nth(&self, n: u32) -> Option<Date> {
        let n = i64::from(n.max(1)) - 1;
        let first = self.in_period(0)?;
        let in_first: Vec<Date> = first
            .dates
            .into_iter()
            .filter(|d| *d >= self.start)
            .collect();
        let count = i64::try_from(in_first.len()).ok()?;
        if n < count {
            return in_first.get(usize::try_from(n).ok()?).copied();
        }
        let left = n - count;
        let per_period = match self.pattern {
            Pattern::Weekly { days, .. } => i64::from(days.0.count_ones()),
            _ => 1,
        };
        let period = self.in_period(1 + left / per_period)?;
        let at = usize::try_from(left % per_period).ok()?;
        period.dates.get(at).copied()
    }

    /// The number of the period (day, week, month, year of the rule) in which `date` lies or which comes
    /// before it; 0 is the one of the start.
    fn period_of(&self, date: Date) -> i64 {
        let passed = match self.pattern {
            Pattern::Daily { interval } => days_between(self.start, date) / i64::from(interval),
            Pattern::Weekly {
                interval, first, ..
            } => {
                let week = week_begin(self.start, first).unwrap_or(self.start);
                days_between(week, date) / 7 / i64::from(interval)
            }
            Pattern::AbsoluteMonthly { interval, .. }
            | Pattern::RelativeMonthly { interval, .. } => {
                (months(date) - months(self.start)) / i64::from(interval)
            }
            Pattern::AbsoluteYearly { .. } | Pattern::RelativeYearly { .. } => {
                i64::from(date.year()) - i64::from(self.start.year())
            }
        };
        passed.max(0)
    }

    /// The dates of a period. `None` beyond the calendar's end.
    fn in_period(&self, period: i64) -> Option<Period> {
        match self.pattern {
            Pattern::Daily { interval } => {
                let date = plus_days(self.start, period.checked_mul(i64::from(interval))?)?;
                Some(Period::one(date))
            }
            Pattern::Weekly {
                interval,
                days,
                first,
            } => {
                let week = week_begin(self.start, first)?;
                let week = plus_days(week, period.checked_mul(7 * i64::from(interval))?)?;
                let dates = (0..7)
                    .filter_map(|n| plus_days(week, n))
                    .filter(|date| days.contains(date.weekday()))
                    .collect();
                Some(Period {
                    begins: week,
                    dates,
                })
            }
            Pattern::AbsoluteMonthly { interval, day } => {
                let month = month_plus(self.start, period, interval)?;
                Some(Period::one(clamped(month, day)?))
            }
            Pattern::RelativeMonthly {
                interval,
                days,
                index,
            } => {
                let month = month_plus(self.start, period, interval)?;
                Some(Period::one(relative(month, days, index)?))
            }
            Pattern::AbsoluteYearly { month, day } => {
                let month = month_of_year(self.start, period, month)?;
                Some(Period::one(clamped(month, day)?))
            }
            Pattern::RelativeYearly { month, days, index } => {
                let month = month_of_year(self.start, period, month)?;
                Some(Period::one(relative(month, days, index)?))
            }
        }
    }
}

/// A period's dates in order, none of them before `begins`.
struct Period {
    begins: Date,
    dates: Vec<Date>,
}

impl Period {
    fn one(date: Date) -> Self {
        Self {
            begins: date,
            dates: vec![date],
        }
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

fn plus_days(date: Date, days: i64) -> Option<Date> {
    let span = Span::new().try_days(days).ok()?;
    date.checked_add(span).ok()
}

fn week_begin(date: Date, first: Weekday) -> Option<Date> {
    let back = date.weekday().since(first);
    plus_days(date, -i64::from(back))
}

fn months(date: Date) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// The first day of the month that is `period * interval` months after `start`'s.
fn month_plus(start: Date, period: i64, interval: u32) -> Option<Date> {
    let number = months(start).checked_add(period.checked_mul(i64::from(interval))?)?;
    let year = i16::try_from(number.div_euclid(12)).ok()?;
    let month = i8::try_from(number.rem_euclid(12) + 1).ok()?;
    Date::new(year, month, 1).ok()
}

fn month_of_year(start: Date, period: i64, month: i8) -> Option<Date> {
    let year = i16::try_from(i64::from(start.year()).checked_add(period)?).ok()?;
    Date::new(year, month, 1).ok()
}

fn clamped(month: Date, day: i8) -> Option<Date> {
    Date::new(month.year(), month.month(), day.min(month.days_in_month())).ok()
}

fn relative(month: Date, days: DayMask, index: Index) -> Option<Date> {
    let mut all = (0..i64::from(month.days_in_month()))
        .filter_map(|n| month.checked_add(n.days()).ok())
        .filter(|date| days.contains(date.weekday()));
    match index {
        Index::First => all.next(),
        Index::Second => all.nth(1),
        Index::Third => all.nth(2),
        Index::Fourth => all.nth(3),
        Index::Last => all.next_back(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn rule(pattern: Pattern, start: Date, bound: Bound) -> Recurrence {
        Recurrence {
            pattern,
            start,
            bound,
        }
    }

    fn days(text: &str) -> DayMask {
        DayMask::parse(text).unwrap()
    }

    /// The rule's meaning, day by day.
    fn on(pattern: Pattern, start: Date, day: Date) -> bool {
        let nth = |mask: DayMask, index| relative(day.first_of_month(), mask, index) == Some(day);
        let absolute = |number: i8| day.day() == number.min(day.days_in_month());
        let months_apart = (months(day) - months(start)).rem_euclid(1200);
        match pattern {
            Pattern::Daily { interval } => days_between(start, day) % i64::from(interval) == 0,
            Pattern::Weekly {
                interval,
                days,
                first,
            } => {
                let weeks = days_between(
                    week_begin(start, first).unwrap(),
                    week_begin(day, first).unwrap(),
                ) / 7;
                days.contains(day.weekday()) && weeks % i64::from(interval) == 0
            }
            Pattern::AbsoluteMonthly { interval, day } => {
                absolute(day) && months_apart % i64::from(interval) == 0
            }
            Pattern::RelativeMonthly {
                interval,
                days,
                index,
            } => nth(days, index) && months_apart % i64::from(interval) == 0,
            Pattern::AbsoluteYearly { month, day: number } => {
                day.month() == month && absolute(number)
            }
            Pattern::RelativeYearly { month, days, index } => {
                day.month() == month && nth(days, index)
            }
        }
    }

    fn slow(rule: &Recurrence, from: Date, to: Date) -> Vec<Date> {
        let mut count = 0;
        let mut found = Vec::new();
        let mut day = rule.start;
        while day <= to {
            if on(rule.pattern, rule.start, day) {
                count += 1;
                let within = match rule.bound {
                    Bound::NoEnd => true,
                    Bound::Until(end) => day <= end,
                    Bound::Count(n) => count <= n,
                };
                if within && day >= from {
                    found.push(day);
                }
            }
            day = day.tomorrow().unwrap();
        }
        found
    }

    fn patterns() -> impl proptest::strategy::Strategy<Value = Pattern> {
        use proptest::prelude::*;
        let mask = (1u8..128).prop_map(DayMask);
        let index = proptest::sample::select(vec![
            Index::First,
            Index::Second,
            Index::Third,
            Index::Fourth,
            Index::Last,
        ]);
        let single =
            proptest::sample::select(vec!["Monday", "Sunday", "Day", "Weekday", "WeekendDay"])
                .prop_map(|name| DayMask::parse(name).unwrap());
        let first = proptest::sample::select(ALL.to_vec());
        prop_oneof![
            (1u32..40).prop_map(|interval| Pattern::Daily { interval }),
            (1u32..6, mask, first).prop_map(|(interval, days, first)| Pattern::Weekly {
                interval,
                days,
                first
            }),
            (1u32..30, 1i8..32)
                .prop_map(|(interval, day)| Pattern::AbsoluteMonthly { interval, day }),
            (1u32..14, single.clone(), index.clone()).prop_map(|(interval, days, index)| {
                Pattern::RelativeMonthly {
                    interval,
                    days,
                    index,
                }
            }),
            (1i8..13, 1i8..32).prop_map(|(month, day)| Pattern::AbsoluteYearly { month, day }),
            (1i8..13, single, index).prop_map(|(month, days, index)| Pattern::RelativeYearly {
                month,
                days,
                index
            }),
        ]
    }

    proptest::proptest! {
        #[test]
        fn dates_are_those_of_counting_day_by_day(
            pattern in patterns(), offset in 0i64..1500, skip in 0i64..1200, length in 0i64..400, count in 1u32..60, bound in 0..3,
        ) {
            let start = date(2023, 1, 1).checked_add(offset.days()).unwrap();
            let bound = match bound {
                0 => Bound::NoEnd,
                1 => Bound::Until(start.checked_add(i64::from(count * 9).days()).unwrap()),
                _ => Bound::Count(count),
            };
            let rule = rule(pattern, start, bound);
            let from = start.checked_add((skip - 30).days()).unwrap();
            let to = from.checked_add(length.days()).unwrap();
            proptest::prop_assert_eq!(rule.dates(from, to), slow(&rule, from, to));
        }
    }

    #[test]
    fn a_series_of_centuries_is_not_stepped_through() {
        let start = date(1601, 1, 1);
        let daily = rule(
            Pattern::Daily { interval: 1 },
            start,
            Bound::Count(u32::MAX),
        );
        assert_eq!(daily.dates(date(2026, 12, 1), date(2026, 12, 31)).len(), 31);
        let ended = rule(Pattern::Daily { interval: 1 }, start, Bound::Count(1_000));
        assert!(
            ended
                .dates(date(2026, 12, 1), date(2026, 12, 31))
                .is_empty()
        );
        let widest = rule(Pattern::Daily { interval: u32::MAX }, start, Bound::NoEnd);
        assert!(widest.dates(date(2026, 12, 1), Date::MAX).is_empty());
        assert_eq!(daily.dates(Date::MAX, Date::MAX).len(), 1);
    }

    #[test]
    fn k045_short_months_have_their_last_day() {
        let leap = rule(
            Pattern::AbsoluteYearly { month: 2, day: 29 },
            date(2024, 2, 29),
            Bound::NoEnd,
        );
        assert_eq!(
            leap.dates(date(2025, 1, 1), date(2028, 12, 31)),
            [
                date(2025, 2, 28),
                date(2026, 2, 28),
                date(2027, 2, 28),
                date(2028, 2, 29)
            ]
        );
        let month = rule(
            Pattern::AbsoluteMonthly {
                interval: 1,
                day: 31,
            },
            date(2026, 1, 31),
            Bound::Count(4),
        );
        assert_eq!(
            month.dates(date(2026, 1, 1), date(2026, 12, 31)),
            [
                date(2026, 1, 31),
                date(2026, 2, 28),
                date(2026, 3, 31),
                date(2026, 4, 30)
            ]
        );
    }

    #[test]
    fn days_are_read_as_a_set() {
        assert_eq!(days("Monday Wednesday"), DayMask(0b101));
        assert_eq!(days("Weekday").single(), None);
        assert_eq!(days("Sunday").single(), Some(Weekday::Sunday));
        assert!(DayMask::parse("").is_none());
        assert!(DayMask::parse("Monday Moonday").is_none());
    }
}
