//! A series and its exceptions, expanded into events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use calbridge_core::connector::{Change, Result};
use calbridge_core::model::{Event, EventKey, EventTime, ItemRef, OriginalStart, Window};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::map::{
    BAD_VALUE, Mapper, Unfit, group_of, key, local, nearest_date, to_instant, unreadable,
    unreadable_because,
};
use crate::pending::Listed;
use crate::response::{Exception, Item, WireTime};
use crate::zones::{iana_name, instant};

/// How far the days of whole-day events may lie outside a range of instants, for the zones of the world.
pub(crate) const DAY_MARGIN: SignedDuration = SignedDuration::from_hours(14);

/// The longest occurrence that is believed. One that is longer than the way to the next overlaps it; this long,
/// a daily one would do so thousands of times, which no calendar means.
const LONGEST: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);

/// How far a told time may lie from the occurrence that it names, for the changes of the clock.
const NEAR: SignedDuration = SignedDuration::from_hours(2);

/// How a server may name an occurrence by a time.
#[derive(Debug, Clone, Copy)]
enum Told {
    Start,
    Midnight,
    StartByFirstOffset,
    MidnightByFirstOffset,
}

/// How changed occurrences are named, the likeliest first.
const CHANGED: [Told; 4] = [
    Told::StartByFirstOffset,
    Told::MidnightByFirstOffset,
    Told::Start,
    Told::Midnight,
];

/// How deleted ones are: by their start, as far as is known of any server. An hour before midnight one offset's
/// start is the other's midnight of the day after.
const DELETED: [Told; 4] = [
    Told::Start,
    Told::StartByFirstOffset,
    Told::Midnight,
    Told::MidnightByFirstOffset,
];

/// Between a master's id and the date of an occurrence that was expanded by us. No EWS id contains it.
const DATE_MARK: char = '#';

const NO_RULE: Unfit = Unfit {
    code: "ews.series",
    why: "a series has no recurrence that calbridge can expand; what is known of it is kept",
};
const NO_TIMES: Unfit = Unfit {
    code: "ews.series",
    why: "a series has no start or no end that could be; what is known of it is kept",
};

const NO_ZONE: Unfit = Unfit {
    code: "ews.series.zone",
    why: "the server does not expand a series, and its time zone cannot be made out; what is known of it is kept. Set `home_zone`",
};

/// The id of an occurrence that has none of its own.
fn occurrence_id(master: &str, date: Date) -> String {
    format!("{master}{DATE_MARK}{date}")
}

/// The master's id and the date, of an id that [`occurrence_id`] made.
pub(crate) fn split_occurrence_id(id: &str) -> Option<(&str, Date)> {
    let (master, date) = id.rsplit_once(DATE_MARK)?;
    Some((master, date.parse().ok()?))
}

/// A master, understood.
pub(crate) struct Series<'a> {
    master: &'a Item,
    mapper: Mapper<'a>,
    zone: TimeZone,
    /// Whether the zone is the series' own.
    zone_known: bool,
    all_day: bool,
    /// What the master's clock shows at the start of its first occurrence.
    at: Time,
    /// From start to end on that clock.
    length: SignedDuration,
    deleted: BTreeSet<Date>,
    exceptions: BTreeMap<Date, &'a Exception>,
}

impl<'a> Series<'a> {
    /// # Errors
    /// The change that keeps what is known of the series.
    pub(crate) fn new(master: &'a Item, mapper: Mapper<'a>) -> Result<Self, Box<Change>> {
        Self::understand(master, mapper).map_err(|unfit| Box::new(unreadable(master, unfit)))
    }

    fn understand(master: &'a Item, mapper: Mapper<'a>) -> Result<Self, Unfit> {
        if master.bad.is_some() {
            return Err(BAD_VALUE);
        }
        if !matches!(master.recurrence, Some(Ok(_))) {
            return Err(NO_RULE);
        }
        key(master, None)?;
        let found = mapper.zone_of(master);
        let all_day = master.all_day.unwrap_or(false);
        if found.is_none() && mapper.zones.home().is_none() && !all_day {
            // On a guess it would be an hour off for half of the year.
            return Err(NO_ZONE);
        }
        mapper.doubt(master, found.as_ref());
        let zone = mapper.zone_or_home(found.as_ref());
        let (start, end) = (master.start.ok_or(NO_TIMES)?, master.end.ok_or(NO_TIMES)?);
        let (start, end) = (local(&zone, start), local(&zone, end));
        let (at, length) = if all_day {
            let days = nearest_date(start)
                .zip(nearest_date(end))
                .map_or(1, |(first, after)| {
                    first.until(after).map_or(1, |span| span.get_days())
                });
            let hours = i64::from(days.max(1)).saturating_mul(24);
            (Time::midnight(), SignedDuration::from_hours(hours))
        } else {
            (start.time(), end.duration_since(start))
        };
        if length.is_negative() || length > LONGEST {
            return Err(NO_TIMES);
        }
        let mut series = Self {
            master,
            mapper,
            zone,
            zone_known: found.is_some(),
            all_day,
            at,
            length,
            deleted: BTreeSet::new(),
            exceptions: BTreeMap::new(),
        };
        // One occurrence a day at most: its date names it, also where a server gives the day's midnight in
        // place of the original start.
        series.deleted = master
            .deleted
            .iter()
            .filter_map(|at| series.date_of(*at, DELETED))
            .collect();
        series.exceptions = master
            .exceptions
            .iter()
            .filter_map(|exception| {
                Some((series.date_of(exception.original?, CHANGED)?, exception))
            })
            .collect();
        Ok(series)
    }

    /// The date of the occurrence that a server names by a time: its start, or the midnight before it. Some
    /// servers reckon all times of a series with the offset from UTC that was in force at the series' start, so
    /// that they are an hour off in the other half of the year. The nearest of all these is meant; of several
    /// that are equally near the one of the kind that comes first in `kinds`.
    fn date_of(&self, told: WireTime, kinds: [Told; 4]) -> Option<Date> {
        let wall = local(&self.zone, told);
        if self.all_day {
            return nearest_date(wall);
        }
        let near = || {
            let Some(Ok(rule)) = &self.master.recurrence else {
                return None;
            };
            let told = to_instant(&self.zone, told)?;
            let first = wall.date().yesterday().unwrap_or(Date::MIN);
            let last = wall.date().tomorrow().unwrap_or(Date::MAX);
            rule.dates(first, last)
                .into_iter()
                .flat_map(|date| {
                    kinds
                        .into_iter()
                        .enumerate()
                        .filter_map(move |(rank, kind)| {
                            let off = self.named_as(kind, date)?.duration_since(told).abs();
                            (off <= NEAR).then_some((off, rank, date))
                        })
                })
                .min()
                .map(|(_, _, date)| date)
        };
        near().or(Some(wall.date()))
    }

    /// The instant by which the occurrence on a date is named.
    fn named_as(&self, kind: Told, date: Date) -> Option<Timestamp> {
        match kind {
            Told::Start => instant(&self.zone, date.to_datetime(self.at)),
            Told::Midnight => instant(&self.zone, date.at(0, 0, 0, 0)),
            Told::StartByFirstOffset => self.at_first_offset(date.to_datetime(self.at)),
            Told::MidnightByFirstOffset => self.at_first_offset(date.at(0, 0, 0, 0)),
        }
    }

    /// The instant, by the offset that was in force at the series' start.
    fn at_first_offset(&self, wall: DateTime) -> Option<Timestamp> {
        let first = to_instant(&self.zone, self.master.start?)?;
        self.zone.to_offset(first).to_timestamp(wall).ok()
    }

    /// The ids of the exceptions that have to be read to expand the series inside `window`.
    pub(crate) fn exceptions_in(&self, window: Window) -> Vec<Listed> {
        self.exceptions
            .iter()
            .filter(|(date, exception)| {
                !exception.id.is_empty()
                    && !self.deleted.contains(date)
                    && self.may_overlap(exception, window)
            })
            .map(|(_, exception)| self.listed(exception))
            .collect()
    }

    /// Where the times are not told, the exception is read to know.
    fn may_overlap(&self, exception: &Exception, window: Window) -> bool {
        let at = |time| to_instant(&self.zone, time);
        match (exception.start.and_then(at), exception.end.and_then(at)) {
            (Some(start), Some(end)) => widened(window).overlaps(start, end.max(start)),
            _ => true,
        }
    }

    /// All events of the series that overlap `window`. `details` holds the exceptions that were read, by id.
    pub(crate) fn expand(
        &self,
        window: Window,
        details: &HashMap<String, Result<Item>>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(Ok(rule)) = &self.master.recurrence else {
            return changes;
        };
        let margin = self.length.saturating_add(SignedDuration::from_hours(48));
        let first = window.start().checked_sub(margin).unwrap_or(Timestamp::MIN);
        let last = window
            .end()
            .checked_add(SignedDuration::from_hours(48))
            .unwrap_or(Timestamp::MAX);
        let (first, last) = (
            self.zone.to_datetime(first).date(),
            self.zone.to_datetime(last).date(),
        );
        for date in rule.dates(first, last) {
            if self.deleted.contains(&date) || self.exceptions.contains_key(&date) {
                continue;
            }
            if let Some(event) = self.regular(date)
                && overlaps(&event.content.time, window)
            {
                changes.push(Change::Item(event));
            }
        }
        for (date, exception) in &self.exceptions {
            if self.deleted.contains(date) || !self.may_overlap(exception, window) {
                continue;
            }
            match details.get(&exception.id) {
                Some(Ok(item)) => match self.exception(*date, item) {
                    Ok(event) if overlaps(&event.content.time, window) => {
                        changes.push(Change::Item(event));
                    }
                    Ok(_) => {}
                    Err(unfit) => changes.push(unreadable(self.master, unfit)),
                },
                Some(Err(error)) => {
                    changes.push(unreadable_because(self.master, error.clone()));
                }
                None => changes.push(unreadable(self.master, NO_RULE)),
            }
        }
        changes
    }

    /// The event on one date, if the series has one there.
    pub(crate) fn on(&self, date: Date, details: &HashMap<String, Result<Item>>) -> Option<Event> {
        if self.deleted.contains(&date) {
            return None;
        }
        if let Some(exception) = self.exceptions.get(&date) {
            let item = details.get(&exception.id)?.as_ref().ok()?;
            return self.exception(date, item).ok();
        }
        match &self.master.recurrence {
            Some(Ok(rule)) if rule.dates(date, date).contains(&date) => self.regular(date),
            _ => None,
        }
    }

    /// The exception on a date.
    pub(crate) fn exception_on(&self, date: Date) -> Option<Listed> {
        self.exceptions
            .get(&date)
            .map(|exception| self.listed(exception))
    }

    /// An exception changes with its master.
    fn listed(&self, exception: &Exception) -> Listed {
        Listed::part(exception.id.clone(), self.master)
    }

    fn regular(&self, date: Date) -> Option<Event> {
        let wall = date.to_datetime(self.at);
        let after = wall.checked_add(self.length).ok()?;
        let (time, original) = if self.all_day {
            (
                EventTime::all_day(date, after.date()).ok()?,
                OriginalStart::Date(date),
            )
        } else {
            let start = instant(&self.zone, wall)?;
            let mut end = instant(&self.zone, after)?;
            if end <= start {
                // The start lies in the hour that a change of the clock skips: the length is kept.
                end = start.checked_add(self.length).ok()?;
            }
            let zone = self.zone_known.then(|| iana_name(&self.zone)).flatten();
            (
                EventTime::timed(start, end, zone).ok()?,
                OriginalStart::Instant(start),
            )
        };
        let key = self.key(original).ok()?;
        Some(Event {
            group: Some(group_of(&key)),
            item: self.item_ref(date)?,
            content: self.mapper.content(self.master, time),
            cancelled: self.master.cancelled.unwrap_or(false),
            origin: None,
            key,
        })
    }

    fn exception(&self, date: Date, item: &Item) -> Result<Event, Unfit> {
        if item.bad.is_some() {
            return Err(BAD_VALUE);
        }
        let item = &inherited(item, self.master);
        let own_zone = self.mapper.zone_of(item);
        let zone = own_zone.or_else(|| self.zone_known.then(|| self.zone.clone()));
        let time = self.mapper.time(item, zone.as_ref())?;
        let original = if self.all_day {
            OriginalStart::Date(date)
        } else {
            // What the server tells is good for finding the date, no more.
            let slot = instant(&self.zone, date.to_datetime(self.at));
            OriginalStart::Instant(slot.ok_or(NO_TIMES)?)
        };
        let key = self.key(original)?;
        Ok(Event {
            group: Some(group_of(&key)),
            item: self.item_ref(date).ok_or(NO_TIMES)?,
            content: self.mapper.content(item, time),
            cancelled: item.cancelled.unwrap_or(false),
            origin: None,
            key,
        })
    }

    fn key(&self, original: OriginalStart) -> Result<EventKey, Unfit> {
        key(self.master, Some(original))
    }

    fn item_ref(&self, date: Date) -> Option<ItemRef> {
        ItemRef::new(
            occurrence_id(&self.master.id, date),
            self.master.change_key.clone(),
        )
        .ok()
    }
}

/// The exception, with what it does not tell taken from its master: an exception stores what differs, and not
/// every server fills in the rest (MS-OXOCAL, Exception Embedded Message object).
fn inherited(item: &Item, master: &Item) -> Item {
    Item {
        all_day: item.all_day.or(master.all_day),
        free_busy: item.free_busy.or(master.free_busy),
        cancelled: item.cancelled.or(master.cancelled),
        sensitivity: item
            .sensitivity
            .clone()
            .or_else(|| master.sensitivity.clone()),
        subject: item.subject.clone().or_else(|| master.subject.clone()),
        location: item.location.clone().or_else(|| master.location.clone()),
        body: item.body.clone().or_else(|| master.body.clone()),
        categories: item
            .categories
            .clone()
            .or_else(|| master.categories.clone()),
        ..item.clone()
    }
}

/// The window, widened so that it holds every whole day that may belong to it in some zone.
pub(crate) fn widened(window: Window) -> Window {
    let start = window
        .start()
        .checked_sub(DAY_MARGIN)
        .unwrap_or(window.start());
    let end = window.end().checked_add(DAY_MARGIN).unwrap_or(window.end());
    Window::new(start, end).unwrap_or(window)
}

/// Whether an event belongs to the window; whole days belong to it if they do in some zone.
pub(crate) fn overlaps(time: &EventTime, window: Window) -> bool {
    let (start, end) = time.span_in(&TimeZone::UTC);
    match time {
        EventTime::AllDay { .. } => widened(window).overlaps(start, end),
        _ => window.overlaps(start, end),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recurrence::{Bound, DayMask, Index, Pattern, Recurrence};
    use crate::response::ItemType;
    use crate::zones::Zones;
    use calbridge_core::model::FieldSet;
    use proptest::prelude::*;

    fn utc(text: &str) -> Option<WireTime> {
        Some(WireTime::Instant(text.parse().unwrap()))
    }

    fn master() -> Item {
        Item {
            element: "CalendarItem".into(),
            id: "M".into(),
            uid: Some("u@x".into()),
            item_type: Some(ItemType::RecurringMaster),
            zone_id: Some("Romance Standard Time".into()),
            start: utc("2026-12-07T08:00:00Z"),
            end: utc("2026-12-07T08:30:00Z"),
            recurrence: Some(Ok(Recurrence {
                pattern: Pattern::Weekly {
                    interval: 1,
                    days: DayMask::parse("Monday").unwrap(),
                    first: jiff::civil::Weekday::Monday,
                },
                start: "2026-12-07".parse().unwrap(),
                bound: Bound::Count(10),
            })),
            ..Item::default()
        }
    }

    fn expanded(master: &Item, details: &HashMap<String, Result<Item>>) -> Vec<Change> {
        let (zones, fields) = (Zones::default(), FieldSet::times());
        let doubts = crate::map::Doubts::default();
        let mapper = Mapper {
            zones: &zones,
            fields: &fields,
            expanded: false,
            doubts: &doubts,
        };
        let window = Window::new(
            "2026-12-01T00:00:00Z".parse().unwrap(),
            "2027-01-01T00:00:00Z".parse().unwrap(),
        )
        .unwrap();
        match Series::new(master, mapper) {
            Ok(series) => {
                let _ = series.exceptions_in(window);
                series.expand(window, details)
            }
            Err(change) => vec![*change],
        }
    }

    #[test]
    fn an_original_start_given_as_the_day_s_midnight_is_rebuilt() {
        let mut master = master();
        // 14 December, 0:00 in Denmark; the occurrence was at 9:00.
        master.exceptions = vec![Exception {
            id: "E".into(),
            start: utc("2026-12-14T14:00:00Z"),
            end: utc("2026-12-14T15:00:00Z"),
            original: utc("2026-12-13T23:00:00Z"),
        }];
        let exception = Item {
            id: "E".into(),
            start: utc("2026-12-14T14:00:00Z"),
            end: utc("2026-12-14T15:00:00Z"),
            ..Item::default()
        };
        let changes = expanded(&master, &HashMap::from([("E".to_owned(), Ok(exception))]));
        let moved = changes
            .iter()
            .find_map(|change| match change {
                Change::Item(event) if event.item.id == "M#2026-12-14" => Some(event),
                _ => None,
            })
            .unwrap();
        let slot = "2026-12-14T08:00:00Z".parse().unwrap();
        assert_eq!(moved.key.original(), Some(OriginalStart::Instant(slot)));
        assert_eq!(changes.len(), 4);
    }

    #[test]
    fn an_exception_that_could_not_be_read_keeps_the_series() {
        let mut master = master();
        master.exceptions = vec![Exception {
            id: "E".into(),
            original: utc("2026-12-14T08:00:00Z"),
            ..Exception::default()
        }];
        let changes = expanded(&master, &HashMap::new());
        let kept = changes.iter().any(
            |change| matches!(change, Change::Unreadable { uid: Some(uid), .. } if uid == "u@x"),
        );
        assert!(kept);
        assert_eq!(changes.len(), 4);
    }

    #[test]
    fn ids_of_occurrences_are_told_from_ids_of_items() {
        let date = "2026-12-14".parse().unwrap();
        let id = occurrence_id("AAMk+/=", date);
        assert_eq!(split_occurrence_id(&id), Some(("AAMk+/=", date)));
        assert_eq!(split_occurrence_id("AAMk+/="), None);
        assert_eq!(split_occurrence_id("AAMk#x"), None);
    }

    fn moment() -> impl Strategy<Value = Option<WireTime>> {
        let edges = proptest::sample::select(vec![
            Timestamp::MIN,
            Timestamp::MAX,
            Timestamp::UNIX_EPOCH,
            "2026-12-07T08:00:00Z".parse().unwrap(),
            "2026-10-25T00:30:00Z".parse().unwrap(),
        ]);
        let near = (-4_000_000i64..4_000_000)
            .prop_map(|s| Timestamp::from_second(1_796_000_000 + s).unwrap());
        let walls = proptest::sample::select(vec![DateTime::MIN, DateTime::MAX]);
        prop_oneof![
            Just(None),
            edges.prop_map(|at| Some(WireTime::Instant(at))),
            near.prop_map(|at| Some(WireTime::Instant(at))),
            walls.prop_map(|at| Some(WireTime::Local(at))),
        ]
    }

    proptest! {
        #[test]
        fn no_series_makes_the_expansion_panic(
            start in moment(), end in moment(), original in moment(), deleted in moment(),
            all_day in any::<bool>(), rule_start in prop_oneof![Just(Date::MIN), Just(Date::MAX), Just("2026-12-01".parse::<Date>().unwrap())],
            interval in prop_oneof![Just(1u32), Just(u32::MAX), 1u32..9], kind in 0..4,
            count in prop_oneof![Just(1u32), Just(u32::MAX)],
        ) {
            let days = DayMask::parse("Day").unwrap();
            let pattern = match kind {
                0 => Pattern::Daily { interval },
                1 => Pattern::Weekly { interval, days, first: jiff::civil::Weekday::Sunday },
                2 => Pattern::AbsoluteMonthly { interval, day: 31 },
                _ => Pattern::RelativeMonthly { interval, days, index: Index::Last },
            };
            let item = Item {
                start,
                end,
                all_day: Some(all_day),
                deleted: deleted.into_iter().collect(),
                exceptions: vec![Exception { id: "E".into(), start, end, original }],
                recurrence: Some(Ok(Recurrence { pattern, start: rule_start, bound: Bound::Count(count) })),
                ..master()
            };
            let details = HashMap::from([("E".to_owned(), Ok(item.clone()))]);
            for change in expanded(&item, &details) {
                if let Change::Item(event) = change {
                    let (from, to) = event.content.time.span_in(&TimeZone::UTC);
                    prop_assert!(from <= to);
                }
            }
        }
    }
}
