//! What people have in their calendars: the truth that everything is measured by. Occurrences are counted one by
//! one; no code of the engine is used.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Start and end by Danish wall clock: what Planner holds of an event.
pub type Span = (DateTime, DateTime);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    Copenhagen,
    NewYork,
    Utc,
}

impl Zone {
    pub fn rules(self) -> TimeZone {
        static COPENHAGEN: LazyLock<TimeZone> =
            LazyLock::new(|| TimeZone::get("Europe/Copenhagen").unwrap());
        static NEW_YORK: LazyLock<TimeZone> =
            LazyLock::new(|| TimeZone::get("America/New_York").unwrap());
        match self {
            Self::Copenhagen => COPENHAGEN.clone(),
            Self::NewYork => NEW_YORK.clone(),
            Self::Utc => TimeZone::UTC,
        }
    }
}

/// How a series repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub every_days: i32,
    /// None: without end.
    pub count: Option<i32>,
}

/// What became of one occurrence of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    Deleted,
    Moved(DateTime),
}

/// An item of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub uid: String,
    /// Changes when an item is deleted and comes back.
    pub incarnation: u32,
    pub zone: Zone,
    pub start: DateTime,
    /// Days if it is all-day.
    pub length: i64,
    pub all_day: bool,
    pub free: bool,
    pub cancelled: bool,
    pub rule: Option<Rule>,
    /// By number of the occurrence.
    pub exceptions: BTreeMap<i32, Exception>,
}

pub type Items = BTreeMap<u32, Item>;

/// When an occurrence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    Timed(Timestamp, Timestamp),
    Days(Date, Date),
}

/// One occurrence on the time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The source's id of it.
    pub id: String,
    pub uid: String,
    /// The item's id, for an occurrence of a series.
    pub series: Option<String>,
    /// When it was to be, for an occurrence of a series.
    pub original: Option<When>,
    pub when: When,
    pub free: bool,
    pub cancelled: bool,
}

impl Occurrence {
    /// Whether somebody cannot be booked then.
    pub fn is_busy(&self) -> bool {
        !self.free
            && !self.cancelled
            && !matches!(self.when, When::Timed(start, end) if start == end)
    }

    pub fn span(&self) -> Span {
        span(self.when)
    }
}

/// By Danish wall clock; where the clock goes back in between, the end is start plus duration.
fn span(when: When) -> Span {
    match when {
        When::Days(first, end) => (first.at(0, 0, 0, 0), end.at(0, 0, 0, 0)),
        When::Timed(start, end) => {
            let zone = Zone::Copenhagen.rules();
            let (from, to) = (zone.to_datetime(start), zone.to_datetime(end));
            if end > start && to <= from {
                (from, from + (end - start))
            } else {
                (from, to)
            }
        }
    }
}

impl Item {
    pub fn id(&self, number: u32) -> String {
        format!("item-{number}-{}", self.incarnation)
    }

    fn at(&self, start: DateTime) -> When {
        if self.all_day {
            let first = start.date();
            return When::Days(first, first + self.length.days());
        }
        let start = self.zone.rules().to_ambiguous_zoned(start).compatible();
        let start = start.unwrap().timestamp();
        When::Timed(start, start + self.length.minutes())
    }

    /// Its occurrences that touch `from..to`.
    fn occurrences(&self, number: u32, from: Timestamp, to: Timestamp) -> Vec<Occurrence> {
        let id = self.id(number);
        let occurrence = |n: Option<i32>, when: When| {
            let original = n.map(|n| self.at(self.original(n)));
            Occurrence {
                id: match n {
                    Some(n) => format!("{id}/{n}"),
                    None => id.clone(),
                },
                uid: self.uid.clone(),
                series: n.map(|_| id.clone()),
                original,
                when,
                free: self.free,
                cancelled: self.cancelled,
            }
        };
        let touches = |when: When| {
            let (start, end) = instants(when);
            if start == end {
                from <= start && start < to
            } else {
                start < to && from < end
            }
        };
        let Some(rule) = self.rule else {
            let when = self.at(self.start);
            return Vec::from_iter(touches(when).then(|| occurrence(None, when)));
        };
        let mut found = Vec::new();
        // Moved ones may lie before or behind their neighbours.
        let horizon = to + 24 * 200.hours();
        for n in 0..rule.count.unwrap_or(i32::MAX) {
            let original = self.original(n);
            if original.to_zoned(TimeZone::UTC).unwrap().timestamp() > horizon {
                break;
            }
            let when = match self.exceptions.get(&n) {
                Some(Exception::Deleted) => continue,
                Some(Exception::Moved(start)) => self.at(*start),
                None => self.at(original),
            };
            if touches(when) {
                found.push(occurrence(Some(n), when));
            }
        }
        found
    }

    pub fn original(&self, n: i32) -> DateTime {
        let every = self.rule.map_or(0, |rule| rule.every_days);
        self.start + (i64::from(n) * i64::from(every)).days()
    }
}

/// First instant and end, days by Danish clocks.
pub fn instants(when: When) -> (Timestamp, Timestamp) {
    match when {
        When::Timed(start, end) => (start, end),
        When::Days(first, end) => (midnight(first), midnight(end)),
    }
}

/// When a day begins in Denmark.
pub fn midnight(day: Date) -> Timestamp {
    Zone::Copenhagen
        .rules()
        .to_zoned(day.at(0, 0, 0, 0))
        .unwrap()
        .timestamp()
}

/// All occurrences that touch `from..to`.
pub fn occurrences(items: &Items, from: Timestamp, to: Timestamp) -> Vec<Occurrence> {
    items
        .iter()
        .flat_map(|(number, item)| item.occurrences(*number, from, to))
        .collect()
}

/// A calendar with every state that it was ever in.
#[derive(Debug, Clone)]
pub struct Calendar {
    pub states: Vec<Arc<Items>>,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            states: vec![Arc::default()],
        }
    }
}

impl Calendar {
    pub fn items(&self) -> &Arc<Items> {
        self.states.last().unwrap()
    }

    pub fn change(&mut self, change: impl FnOnce(&mut Items)) {
        let mut items = Items::clone(self.items());
        change(&mut items);
        if items != **self.items() {
            self.states.push(Arc::new(items));
        }
    }
}
