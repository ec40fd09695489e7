//! The rows of the matrix: what repeats, how, until when, in which zone, and what was changed of it.

use std::collections::BTreeMap;

use calbridge_core::model::Window;
use calbridge_sandbox::exchange::{DayIndex, DayKind, Pattern, Range};
use chrono::{NaiveTime, TimeDelta};
use jiff::SignedDuration;
use jiff::civil::{Date, Weekday, date};
use serde_json::{Value, json};

use super::rules::{self, Clock, Reading, Series, Slot};
use super::support::weekly;

/// A stretch of time in which occurrences are compared, and the patterns that show something in it.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Date,
    pub(crate) to: Date,
}

impl Span {
    /// What is asked of the connector: a little more, so that moved occurrences lie inside.
    pub(crate) fn window(self) -> Window {
        let instant = |date: Date| {
            let zone = jiff::tz::TimeZone::UTC;
            zone.to_timestamp(date.at(0, 0, 0, 0)).unwrap()
        };
        let margin = SignedDuration::from_hours(6 * 24);
        Window::new(instant(self.from) - margin, instant(self.to) + margin).unwrap()
    }

    pub(crate) fn holds(self, slot: &Slot, all_day: bool) -> bool {
        let (from, to) = (rules::day(self.from), rules::day(self.to));
        let day = if all_day {
            slot.wall.date()
        } else {
            slot.start.date_naive()
        };
        from <= day && day < to
    }

    fn json(self) -> Value {
        json!([self.from.to_string(), self.to.to_string()])
    }
}

/// Two years with both changes of the clock, for what comes often.
pub(crate) const OFTEN: Span = Span {
    from: date(2026, 1, 1),
    to: date(2028, 1, 1),
};
/// Two leap days, for what comes by the month or the year.
pub(crate) const SELDOM: Span = Span {
    from: date(2023, 6, 1),
    to: date(2029, 6, 1),
};
/// Around the year 2100, which has no leap day.
pub(crate) const FAR: Span = Span {
    from: date(2096, 1, 1),
    to: date(2105, 1, 1),
};

pub(crate) fn often() -> Vec<Pattern> {
    use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let every = |interval, days: &[Weekday], first_day| Pattern::Weekly {
        interval,
        days: days.to_vec(),
        first_day,
    };
    let week = [Monday, Tuesday, Wednesday, Thursday, Friday];
    let mut all: Vec<_> = [1, 2, 7, 10]
        .map(|interval| Pattern::Daily { interval })
        .into();
    all.extend([
        weekly(&[Monday], OFTEN.from, Range::NoEnd).pattern,
        every(1, &week, Sunday),
        every(1, &[Saturday, Sunday], Monday),
        every(2, &[Tuesday, Thursday], Monday),
        // The two differ by where the week begins alone.
        every(2, &[Tuesday, Sunday], Monday),
        every(2, &[Tuesday, Sunday], Sunday),
        every(3, &[Monday, Wednesday, Sunday], Monday),
        every(4, &[Wednesday], Saturday),
    ]);
    all
}

pub(crate) fn seldom() -> Vec<Pattern> {
    let days = [(1, 1), (1, 15), (1, 28), (1, 29), (1, 30), (1, 31)];
    let further = [(2, 31), (2, 29), (3, 30), (12, 31), (5, 15)];
    let mut all: Vec<_> = days
        .into_iter()
        .chain(further)
        .map(|(interval, day)| Pattern::AbsoluteMonthly { interval, day })
        .collect();
    let indexes = [
        DayIndex::First,
        DayIndex::Second,
        DayIndex::Third,
        DayIndex::Fourth,
        DayIndex::Last,
    ];
    let tuesday = DayKind::On(Weekday::Tuesday);
    for kind in [tuesday, DayKind::Day, DayKind::Weekday, DayKind::WeekendDay] {
        all.extend(indexes.map(|index| Pattern::RelativeMonthly {
            interval: 1,
            kind,
            index,
        }));
    }
    let (friday, sunday) = (DayKind::On(Weekday::Friday), DayKind::On(Weekday::Sunday));
    for (interval, kind, index) in [
        (2, friday, DayIndex::Last),
        (3, DayKind::Weekday, DayIndex::First),
        (6, DayKind::WeekendDay, DayIndex::Last),
    ] {
        all.push(Pattern::RelativeMonthly {
            interval,
            kind,
            index,
        });
    }
    for (month, day) in [
        (2, 29),
        (2, 28),
        (2, 30),
        (4, 31),
        (12, 31),
        (6, 15),
        (3, 29),
        (10, 25),
    ] {
        all.push(Pattern::AbsoluteYearly { month, day });
    }
    for (month, kind, index) in [
        (3, sunday, DayIndex::Last),
        (10, sunday, DayIndex::Last),
        (1, DayKind::Weekday, DayIndex::First),
        (2, DayKind::Day, DayIndex::Last),
        (2, DayKind::WeekendDay, DayIndex::Last),
        (11, DayKind::On(Weekday::Thursday), DayIndex::Fourth),
        (5, DayKind::Day, DayIndex::Second),
    ] {
        all.push(Pattern::RelativeYearly { month, kind, index });
    }
    all
}

/// What short months and 2100 are for.
pub(crate) fn far() -> Vec<Pattern> {
    let yearly = |(month, day)| Pattern::AbsoluteYearly { month, day };
    let monthly = |(interval, day)| Pattern::AbsoluteMonthly { interval, day };
    let mut all: Vec<_> = [(2, 29), (2, 30), (4, 31)].map(yearly).into();
    all.extend([(1, 29), (1, 30), (1, 31), (12, 31)].map(monthly));
    all
}

/// Begin by the wall, and length in minutes; whole days of that many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Time {
    At(u32, u32, i64),
    Days(i64),
}

pub(crate) const TIMES: [Time; 8] = [
    Time::At(9, 0, 60),
    // Left out in spring, and twice in autumn, in most zones; the end is not, and is.
    Time::At(2, 30, 60),
    Time::At(2, 15, 15),
    // The same in Britain, and a whole day long.
    Time::At(1, 15, 24 * 60),
    Time::At(23, 30, 120),
    Time::At(0, 30, 30),
    Time::Days(1),
    Time::Days(3),
];

impl Time {
    fn parts(self) -> (NaiveTime, i64, bool) {
        match self {
            Self::At(hour, minute, minutes) => {
                let at = NaiveTime::from_hms_opt(hour, minute, 0).unwrap();
                (at, minutes, false)
            }
            Self::Days(days) => (NaiveTime::MIN, days * 24 * 60, true),
        }
    }
}

/// Where a series ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    No,
    /// A date in the middle.
    On(Date),
    /// The date of the ninth occurrence, so many days less.
    Ninth(u64),
    After(u32),
}

/// What was done to one occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    Deleted,
    /// By so many minutes.
    Moved(i64),
    /// A whole day in a series with a time of day; from 10 to 11 in one of whole days.
    OtherKind,
    MovedThenDeleted,
}

/// Each for up to four occurrences: the second, the first after either change of the clock of 2026, the last.
pub(crate) const CHANGES: [&[Change]; 8] = [
    &[],
    &[Change::Deleted],
    &[
        Change::Deleted,
        Change::Deleted,
        Change::Deleted,
        Change::Deleted,
    ],
    &[
        Change::Moved(90),
        Change::Moved(-90),
        Change::Moved(90),
        Change::Moved(60),
    ],
    // Over the changes of the clock and back over them.
    &[
        Change::Moved(2 * 1440 - 45),
        Change::Moved(-3 * 1440),
        Change::Moved(-2 * 1440 + 30),
    ],
    &[
        Change::OtherKind,
        Change::OtherKind,
        Change::OtherKind,
        Change::OtherKind,
    ],
    &[
        Change::MovedThenDeleted,
        Change::Moved(30),
        Change::MovedThenDeleted,
    ],
    &[
        Change::Moved(1440),
        Change::OtherKind,
        Change::Deleted,
        Change::Moved(-30),
    ],
];

/// A row.
pub(crate) struct Row {
    pub(crate) uid: String,
    /// Who serves the series.
    pub(crate) server: &'static str,
    pub(crate) span: Span,
    pub(crate) pattern: Pattern,
    pub(crate) range: Range,
    pub(crate) start: Date,
    pub(crate) time: Time,
    /// What the series names its zone by.
    pub(crate) zone: String,
    pub(crate) clock: Clock,
    /// All occurrences to the span's end, by the crate.
    pub(crate) slots: Vec<Slot>,
    pub(crate) changes: Vec<(Slot, Change)>,
    pub(crate) ends: End,
}

/// What a row is made of.
pub(crate) struct Plan<'a> {
    pub(crate) server: &'static str,
    pub(crate) span: Span,
    pub(crate) start: Date,
    pub(crate) time: Time,
    pub(crate) zone: &'a str,
    pub(crate) clock: Clock,
    pub(crate) ends: End,
    pub(crate) changes: &'a [Change],
}

impl Row {
    pub(crate) fn new(number: usize, pattern: Pattern, plan: &Plan<'_>) -> Self {
        let mut row = Self {
            uid: format!("row{number}@matrix.example"),
            server: plan.server,
            span: plan.span,
            pattern,
            range: Range::NoEnd,
            start: plan.start,
            time: plan.time,
            zone: plan.zone.to_owned(),
            clock: plan.clock,
            slots: Vec::new(),
            changes: Vec::new(),
            ends: plan.ends,
        };
        // Of a first occurrence in the hour that is left out no server tells at what time the others are.
        while let Some(gap) = row.first_in_gap() {
            let later = rules::civil(gap).tomorrow().unwrap();
            let most = plan.start.checked_add(jiff::Span::new().years(1)).unwrap();
            if later <= most {
                row.start = later;
            } else {
                // All of them are: the last Sunday of March.
                (row.start, row.time) = (plan.start, TIMES[0]);
            }
        }
        row.range = match plan.ends {
            End::No => Range::NoEnd,
            End::On(date) => Range::EndDate(date),
            End::After(count) => Range::Numbered(count),
            End::Ninth(less) => {
                let ninth = row.expand(row.next_years(11), Reading::Table)[8]
                    .wall
                    .date();
                Range::EndDate(rules::civil(ninth - chrono::Days::new(less)))
            }
        };
        row.slots = row.expand(row.horizon(), Reading::Table);
        assert!(
            !row.slots.is_empty(),
            "{:?} {:?} from {}",
            row.pattern,
            row.range,
            row.start
        );
        row.changes = row.changed(plan.changes);
        row
    }

    fn first_in_gap(&self) -> Option<chrono::NaiveDate> {
        let first = *self.expand(self.next_years(2), Reading::Table).first()?;
        first.gap.then(|| first.wall.date())
    }

    fn next_years(&self, years: i64) -> Date {
        let years = jiff::Span::new().years(years);
        self.start.checked_add(years).unwrap()
    }

    /// A little after the span, in all zones.
    pub(crate) fn horizon(&self) -> Date {
        self.span.to.checked_add(jiff::Span::new().days(3)).unwrap()
    }

    pub(crate) fn all_day(&self) -> bool {
        matches!(self.time, Time::Days(_))
    }

    /// The occurrences by the crate.
    pub(crate) fn expand(&self, until: Date, reading: Reading) -> Vec<Slot> {
        let (rule, _) = rules::pattern(&self.pattern, reading);
        let (time, minutes, all_day) = self.time.parts();
        let series = Series {
            rule: &rule,
            range: self.range,
            start: self.start,
            time,
            minutes,
            clock: self.clock,
            all_day,
        };
        series.slots(until)
    }

    /// The occurrences that are changed. None in an hour that is left out: no program lets one be picked there.
    fn changed(&self, changes: &[Change]) -> Vec<(Slot, Change)> {
        let inside: Vec<&Slot> = self
            .slots
            .iter()
            .filter(|slot| !slot.gap && self.span.holds(slot, self.all_day()))
            .collect();
        let after = |date: Date| {
            inside
                .iter()
                .find(|slot| slot.wall.date() >= rules::day(date))
        };
        let picked = [
            inside.get(1),
            after(date(2026, 3, 29)),
            after(date(2026, 10, 25)),
            inside.last(),
        ];
        let mut found = BTreeMap::new();
        for (slot, change) in picked.into_iter().zip(changes) {
            if let Some(slot) = slot {
                found.entry(slot.wall).or_insert((**slot, *change));
            }
        }
        found.into_values().collect()
    }

    /// What must come of it: key and time of every occurrence inside the span.
    pub(crate) fn expected(&self, slots: &[Slot]) -> BTreeMap<String, String> {
        let changes: BTreeMap<_, _> = self
            .changes
            .iter()
            .map(|(slot, change)| (slot.wall, *change))
            .collect();
        slots
            .iter()
            .filter(|slot| self.span.holds(slot, self.all_day()))
            .filter_map(|slot| {
                let time = self.time_of(slot, changes.get(&slot.wall).copied())?;
                Some((self.key(slot), time))
            })
            .collect()
    }

    pub(crate) fn key(&self, slot: &Slot) -> String {
        if self.all_day() {
            slot.wall.date().to_string()
        } else {
            rules::text(slot.start)
        }
    }

    /// When the occurrence takes place; `None` if it does not.
    fn time_of(&self, slot: &Slot, change: Option<Change>) -> Option<String> {
        let days = |by: i64, count: i64| {
            let first = slot.wall.date() + TimeDelta::minutes(by);
            format!("{first}/{}", first + TimeDelta::days(count))
        };
        let times = |by: i64| {
            let by = TimeDelta::minutes(by);
            format!(
                "{}/{}",
                rules::text(slot.start + by),
                rules::text(slot.end + by)
            )
        };
        match (self.time, change) {
            (_, Some(Change::Deleted | Change::MovedThenDeleted)) => None,
            (Time::At(..), None) => Some(times(0)),
            (Time::At(..), Some(Change::Moved(by))) => Some(times(by)),
            (Time::At(..), Some(Change::OtherKind)) => Some(days(0, 1)),
            (Time::Days(count), None) => Some(days(0, count)),
            (Time::Days(count), Some(Change::Moved(by))) => Some(days(whole_days(by), count)),
            (Time::Days(_), Some(Change::OtherKind)) => {
                let (start, end) = self.ten_to_eleven(slot);
                Some(format!("{}/{}", rules::text(start), rules::text(end)))
            }
        }
    }

    pub(crate) fn ten_to_eleven(
        &self,
        slot: &Slot,
    ) -> (chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>) {
        let at = |hour| slot.wall.date().and_hms_opt(hour, 0, 0).unwrap();
        (self.clock.instant(at(10)).0, self.clock.instant(at(11)).0)
    }

    /// For another expander: what the series says, and what the connector told of it.
    pub(crate) fn json(&self, told: &BTreeMap<String, String>) -> Value {
        let (time, minutes, all_day) = self.time.parts();
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|(slot, change)| {
                let (kind, by) = match change {
                    Change::Deleted | Change::MovedThenDeleted => ("deleted", 0),
                    Change::Moved(by) if all_day => ("moved", whole_days(*by)),
                    Change::Moved(by) => ("moved", *by),
                    Change::OtherKind => ("other-kind", 0),
                };
                json!({ "original": slot.wall.to_string(), "kind": kind, "minutes": by })
            })
            .collect();
        json!({
            "row": self.uid,
            "server": self.server,
            "zone": self.clock.name(),
            "pattern": pattern_json(&self.pattern),
            "range": match self.range {
                Range::NoEnd => json!({}),
                Range::EndDate(end) => json!({ "EndDate": end.to_string() }),
                Range::Numbered(count) => json!({ "NumberOfOccurrences": count }),
            },
            "start": self.start.to_string(),
            "time": time.to_string(),
            "minutes": minutes,
            "all_day": all_day,
            "changes": changes,
            "span": self.span.json(),
            "told": told,
        })
    }
}

/// Whole days move by days.
pub(crate) fn whole_days(minutes: i64) -> i64 {
    let days = minutes / 1440;
    1440 * if days == 0 { minutes.signum() } else { days }
}

/// In the words of EWS.
fn pattern_json(pattern: &Pattern) -> Value {
    let days = |kind: &DayKind| match kind {
        DayKind::On(day) => format!("{day:?}"),
        other => format!("{other:?}"),
    };
    match pattern {
        Pattern::Daily { interval } => json!({ "kind": "Daily", "Interval": interval }),
        Pattern::Weekly {
            interval,
            days,
            first_day,
        } => {
            let days: Vec<_> = days.iter().map(|day| format!("{day:?}")).collect();
            json!({ "kind": "Weekly", "Interval": interval, "DaysOfWeek": days.join(" "), "FirstDayOfWeek": format!("{first_day:?}") })
        }
        Pattern::AbsoluteMonthly { interval, day } => {
            json!({ "kind": "AbsoluteMonthly", "Interval": interval, "DayOfMonth": day })
        }
        Pattern::RelativeMonthly {
            interval,
            kind,
            index,
        } => {
            json!({ "kind": "RelativeMonthly", "Interval": interval, "DaysOfWeek": days(kind), "DayOfWeekIndex": format!("{index:?}") })
        }
        Pattern::AbsoluteYearly { month, day } => {
            json!({ "kind": "AbsoluteYearly", "Month": month, "DayOfMonth": day })
        }
        Pattern::RelativeYearly { month, kind, index } => {
            json!({ "kind": "RelativeYearly", "Month": month, "DaysOfWeek": days(kind), "DayOfWeekIndex": format!("{index:?}") })
        }
    }
}
