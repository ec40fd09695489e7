//! Series in the words of iCalendar, and their expansion by the `rrule` crate.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use jiff::civil::{Date, Weekday};
use rrule::{RRule, RRuleSet, Unvalidated};

use super::support;
use calbridge_sandbox::exchange::{DayIndex, DayKind, Pattern, Range};
use support::at;

/// How the table says a part of a series, and who says so.
pub(crate) struct Translation {
    pub(crate) ews: &'static str,
    pub(crate) rrule: &'static str,
    pub(crate) source: &'static str,
}

const OXCICAL: &str = "[MS-OXCICAL] 2.1.3.2.2";
const EWS_DAY: &str = "EWS reference, AbsoluteMonthlyRecurrence: the month's last day where it lacks DayOfMonth; RFC 5545 3.3.10 would skip the month";

/// Every translation. Rows of the matrix name them by their place.
pub(crate) const TABLE: [Translation; 14] = [
    Translation {
        ews: "Daily",
        rrule: "FREQ=DAILY;INTERVAL=n",
        source: OXCICAL,
    },
    Translation {
        ews: "Weekly, FirstDayOfWeek",
        rrule: "FREQ=WEEKLY;INTERVAL=n;BYDAY=...;WKST=...",
        source: OXCICAL,
    },
    Translation {
        ews: "AbsoluteMonthly, day 1 to 28",
        rrule: "FREQ=MONTHLY;INTERVAL=n;BYMONTHDAY=day",
        source: OXCICAL,
    },
    Translation {
        ews: "AbsoluteMonthly, day 29",
        rrule: "BYMONTHDAY=28,29;BYSETPOS=-1",
        source: EWS_DAY,
    },
    Translation {
        ews: "AbsoluteMonthly, day 30",
        rrule: "BYMONTHDAY=28,29,30;BYSETPOS=-1",
        source: EWS_DAY,
    },
    Translation {
        ews: "AbsoluteMonthly, day 31",
        rrule: "BYMONTHDAY=-1",
        source: "[MS-OXCICAL] 2.1.3.2.2.3: day 31 is BYMONTHDAY=-1",
    },
    Translation {
        ews: "RelativeMonthly",
        rrule: "FREQ=MONTHLY;INTERVAL=n;BYDAY=...;BYSETPOS=index",
        source: "[MS-OXCICAL] 2.1.3.2.2.4",
    },
    Translation {
        ews: "AbsoluteYearly, a day that the month always has",
        rrule: "FREQ=YEARLY;BYMONTH=m;BYMONTHDAY=day",
        source: OXCICAL,
    },
    Translation {
        ews: "AbsoluteYearly, 29 February",
        rrule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1",
        source: "CDO reference, DayOfMonth: Outlook shows 28 February in common years; RFC 5545 3.3.10 would skip the year",
    },
    Translation {
        ews: "AbsoluteYearly, a day that the month never has",
        rrule: "FREQ=YEARLY;BYMONTH=m;BYMONTHDAY=-1",
        source: EWS_DAY,
    },
    Translation {
        ews: "RelativeYearly",
        rrule: "FREQ=YEARLY;BYMONTH=m;BYDAY=...;BYSETPOS=index",
        source: "[MS-OXCICAL] 2.1.3.2.2.6",
    },
    Translation {
        ews: "NoEndRecurrence",
        rrule: "neither UNTIL nor COUNT",
        source: OXCICAL,
    },
    Translation {
        ews: "EndDateRecurrence, inclusive",
        rrule: "UNTIL=the last second of that day in the series' zone",
        source: "EWS reference, EndDate; RFC 5545 3.3.10: UNTIL is inclusive, and in UTC",
    },
    Translation {
        ews: "NumberedRecurrence, deleted ones counted",
        rrule: "COUNT=n",
        source: OXCICAL,
    },
];

/// Whether short months are told as the table says, or as a plain reading of the number would have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Table,
    Plain,
}

/// The rule without its end, and its place in the table.
pub(crate) fn pattern(pattern: &Pattern, reading: Reading) -> (String, usize) {
    let month_day = |day: i8| match (reading, day) {
        (Reading::Plain, _) => format!("BYMONTHDAY={day}"),
        (_, 29) => "BYMONTHDAY=28,29;BYSETPOS=-1".to_owned(),
        (_, 30) => "BYMONTHDAY=28,29,30;BYSETPOS=-1".to_owned(),
        (_, 31) => "BYMONTHDAY=-1".to_owned(),
        _ => format!("BYMONTHDAY={day}"),
    };
    match pattern {
        Pattern::Daily { interval } => (format!("FREQ=DAILY;INTERVAL={interval}"), 0),
        Pattern::Weekly {
            interval,
            days,
            first_day,
        } => {
            let days: Vec<_> = days.iter().map(|day| code(*day)).collect();
            let (days, first) = (days.join(","), code(*first_day));
            (
                format!("FREQ=WEEKLY;INTERVAL={interval};BYDAY={days};WKST={first}"),
                1,
            )
        }
        Pattern::AbsoluteMonthly { interval, day } => {
            let place = match day {
                29 => 3,
                30 => 4,
                31 => 5,
                _ => 2,
            };
            let day = month_day(*day);
            (format!("FREQ=MONTHLY;INTERVAL={interval};{day}"), place)
        }
        Pattern::RelativeMonthly {
            interval,
            kind,
            index,
        } => {
            let days = relative(*kind, *index);
            (format!("FREQ=MONTHLY;INTERVAL={interval};{days}"), 6)
        }
        Pattern::AbsoluteYearly { month, day } => {
            let most = match month {
                2 => 29,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let (place, last) = match (month, day) {
                (2, 29) => (8, true),
                _ if *day > most => (9, true),
                _ => (7, false),
            };
            let day = if last && reading == Reading::Table {
                -1
            } else {
                *day
            };
            (
                format!("FREQ=YEARLY;BYMONTH={month};BYMONTHDAY={day}"),
                place,
            )
        }
        Pattern::RelativeYearly { month, kind, index } => {
            let days = relative(*kind, *index);
            (format!("FREQ=YEARLY;BYMONTH={month};{days}"), 10)
        }
    }
}

/// The place of an end in the table.
pub(crate) fn end(range: Range) -> usize {
    match range {
        Range::NoEnd => 11,
        Range::EndDate(_) => 12,
        Range::Numbered(_) => 13,
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
        DayIndex::First => "1",
        DayIndex::Second => "2",
        DayIndex::Third => "3",
        DayIndex::Fourth => "4",
        DayIndex::Last => "-1",
    };
    format!("BYDAY={days};BYSETPOS={position}")
}

fn code(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "MO",
        Weekday::Tuesday => "TU",
        Weekday::Wednesday => "WE",
        Weekday::Thursday => "TH",
        Weekday::Friday => "FR",
        Weekday::Saturday => "SA",
        Weekday::Sunday => "SU",
    }
}

/// A zone as the expanders know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Named(chrono_tz::Tz),
    /// Summer time, an hour, from 1 April 2:00 to 1 October 3:00 of every year; UTC+1 else. No country has it.
    AprilToOctober,
}

impl Clock {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_owned(),
            Self::AprilToOctober => "april-to-october".to_owned(),
        }
    }

    /// The instant of a wall clock: the earlier of two; in the hour that is left out, as if the clock had gone on.
    /// Second, whether it is left out.
    pub(crate) fn instant(self, wall: NaiveDateTime) -> (DateTime<Utc>, bool) {
        match self {
            Self::Named(zone) => match zone.from_local_datetime(&wall) {
                chrono::LocalResult::Single(at) | chrono::LocalResult::Ambiguous(at, _) => {
                    (at.to_utc(), false)
                }
                chrono::LocalResult::None => {
                    let before = TimeDelta::hours(6);
                    let (at, _) = self.instant(wall - before);
                    (at + before, true)
                }
            },
            Self::AprilToOctober => {
                let year = chrono::Datelike::year(&wall);
                let on = |month, hour| {
                    let day = NaiveDate::from_ymd_opt(year, month, 1).unwrap();
                    day.and_hms_opt(hour, 0, 0).unwrap()
                };
                // From the first hour that exists again, to the last that is summer's for sure.
                let summer = on(4, 3) <= wall && wall < on(10, 3);
                let left_out = on(4, 2) <= wall && wall < on(4, 3);
                let offset = TimeDelta::hours(if summer { 2 } else { 1 });
                ((wall - offset).and_utc(), left_out)
            }
        }
    }
}

/// One occurrence, before exceptions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) wall: NaiveDateTime,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    /// Whether the clock leaves the start out, in spring.
    pub(crate) gap: bool,
    /// Whether the crate has it.
    pub(crate) known: bool,
}

/// A series to be expanded.
pub(crate) struct Series<'a> {
    pub(crate) rule: &'a str,
    pub(crate) range: Range,
    /// From when the rule is in force.
    pub(crate) start: Date,
    pub(crate) time: NaiveTime,
    pub(crate) minutes: i64,
    pub(crate) clock: Clock,
    pub(crate) all_day: bool,
}

impl Series<'_> {
    /// The occurrences before `until`, by the crate, in the series' own zone.
    pub(crate) fn slots(&self, until: Date) -> Vec<Slot> {
        let first = day(self.start).and_time(self.time);
        let until = day(until).and_time(NaiveTime::MIN);
        // Whole days are dates; what no library knows is converted afterwards.
        let walls = self.expand(rrule::Tz::UTC, first, until);
        let plain = || walls.iter().map(|(wall, _)| self.slot(*wall)).collect();
        let (Clock::Named(zone), false, Some((first, _))) =
            (self.clock, self.all_day, walls.first().copied())
        else {
            return plain();
        };
        if self.clock.instant(first).1 {
            // DTSTART cannot be said.
            return plain();
        }
        let mut zoned = self
            .expand(zone.into(), first, until)
            .into_iter()
            .peekable();
        let mut slots = Vec::new();
        for (wall, _) in &walls {
            let wall = *wall;
            let mut slot = self.slot(wall);
            slot.known = zoned.next_if(|(_, at)| *at == slot.start).is_some();
            slots.push(slot);
        }
        assert!(zoned.next().is_none(), "more in the zone than without it");
        slots
    }

    fn expand(
        &self,
        zone: rrule::Tz,
        first: NaiveDateTime,
        until: NaiveDateTime,
    ) -> Vec<(NaiveDateTime, DateTime<Utc>)> {
        let first = zone
            .from_local_datetime(&first)
            .earliest()
            .expect("the series begins at a time that there is");
        let end = match self.range {
            Range::NoEnd => String::new(),
            Range::Numbered(count) => format!(";COUNT={count}"),
            Range::EndDate(end) => {
                let last = day(end).and_hms_opt(23, 59, 59).unwrap();
                let last = zone.from_local_datetime(&last).earliest().unwrap();
                format!(";UNTIL={}", last.to_utc().format("%Y%m%dT%H%M%SZ"))
            }
        };
        let rule: RRule<Unvalidated> = format!("{}{end}", self.rule).parse().unwrap();
        let until = zone.from_local_datetime(&until).earliest().unwrap();
        let all = RRuleSet::new(first)
            .rrule(rule.validate(first).unwrap())
            .before(until)
            .all(u16::MAX);
        assert!(!all.limited);
        all.dates
            .into_iter()
            .map(|at| (at.naive_local(), at.to_utc()))
            .collect()
    }

    fn slot(&self, wall: NaiveDateTime) -> Slot {
        let after = wall + TimeDelta::minutes(self.minutes);
        let (start, left_out) = self.clock.instant(wall);
        let (mut end, _) = self.clock.instant(after);
        if end <= start {
            // The start lies in the hour that is left out: the length is kept.
            end = start + TimeDelta::minutes(self.minutes);
        }
        Slot {
            wall,
            start,
            end,
            gap: left_out && !self.all_day,
            known: true,
        }
    }
}

pub(crate) fn day(date: Date) -> NaiveDate {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    let days = Date::constant(1970, 1, 1).until(date).unwrap().get_days();
    match u64::try_from(days) {
        Ok(days) => epoch + Days::new(days),
        Err(_) => epoch - Days::new(u64::from(days.unsigned_abs())),
    }
}

pub(crate) fn civil(day: NaiveDate) -> Date {
    day.to_string().parse().unwrap()
}

pub(crate) fn text(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn stamp(time: DateTime<Utc>) -> jiff::Timestamp {
    at(&text(time))
}
