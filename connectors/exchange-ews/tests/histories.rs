//! Random histories of a calendar: what the feeds told, taken together, is what the calendar holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::model::{Event, Window};
use calbridge_sandbox::exchange::{
    DayIndex, DayKind, Folder, FreeBusy, ItemHandle, NewItem, Occurrence, Pattern, Profile, Range,
    Recurrence, SeriesRule, Zone,
};
use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use support::{ANNA, Bench, Feed, after, copenhagen, dk, read_some, request};

/// A small generator (splitmix64), so that a seed tells all.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        let at = usize::try_from(self.roll(all.len() as u64)).unwrap();
        all[at].clone()
    }

    fn days(&mut self, most: u64) -> i64 {
        i64::try_from(self.roll(most)).unwrap()
    }

    fn zone(&mut self) -> Zone {
        let odd = || Zone::find("Eastern Standard Time").unwrap();
        match self.roll(6) {
            0 => Zone::utc(),
            1 => odd(),
            2 => Zone::find("India Standard Time").unwrap(),
            _ => Zone::denmark(),
        }
    }

    fn pattern(&mut self) -> Pattern {
        let interval = u32::try_from(1 + self.roll(3)).unwrap();
        let month = i8::try_from(1 + self.roll(12)).unwrap();
        let day = i8::try_from(1 + self.roll(31)).unwrap();
        let kind = self.of(&[
            DayKind::On(Weekday::Tuesday),
            DayKind::Day,
            DayKind::Weekday,
            DayKind::WeekendDay,
        ]);
        let index = self.of(&[
            DayIndex::First,
            DayIndex::Second,
            DayIndex::Fourth,
            DayIndex::Last,
        ]);
        match self.roll(8) {
            0 | 1 => Pattern::Daily { interval },
            2..=4 => Pattern::Weekly {
                interval,
                days: self.of(&[
                    vec![Weekday::Monday],
                    vec![Weekday::Sunday, Weekday::Wednesday],
                    vec![Weekday::Monday, Weekday::Tuesday, Weekday::Friday],
                ]),
                first_day: self.of(&[Weekday::Monday, Weekday::Sunday, Weekday::Thursday]),
            },
            5 => Pattern::AbsoluteMonthly { interval, day },
            6 => Pattern::RelativeMonthly {
                interval,
                kind,
                index,
            },
            _ if self.roll(2) == 0 => Pattern::AbsoluteYearly { month, day },
            _ => Pattern::RelativeYearly { month, kind, index },
        }
    }

    /// A rule whose first occurrence lies about there.
    fn rule(&mut self, about: Date) -> Recurrence {
        let pattern = self.pattern();
        let first = |range| Recurrence {
            pattern: pattern.clone(),
            start: about,
            range,
        };
        let start = first(Range::NoEnd).dates().next().unwrap();
        let range = match self.roll(3) {
            0 => Range::NoEnd,
            1 => Range::Numbered(u32::try_from(2 + self.roll(40)).unwrap()),
            _ => Range::EndDate(start.checked_add((7 + self.days(300)).days()).unwrap()),
        };
        Recurrence {
            pattern,
            start,
            range,
        }
    }

    fn item(&mut self) -> NewItem {
        let about = date(2026, 1, 1).checked_add(self.days(430).days()).unwrap();
        let rule = (self.roll(2) == 0).then(|| self.rule(about));
        let day = rule.as_ref().map_or(about, |rule| rule.start);
        let zone = self.zone();
        let item = if self.roll(4) == 0 {
            let days = if rule.is_some() { 1 } else { 1 + self.roll(4) };
            // Those of other zones belong to the window's edges or not, as one looks at it.
            NewItem::all_day("x", day, u32::try_from(days).unwrap(), &Zone::denmark())
        } else {
            let (hour, minute) = self.of(&[
                (0, 0),
                (0, 30),
                (3, 15),
                (9, 0),
                (13, 45),
                (22, 0),
                (23, 0),
                (23, 30),
            ]);
            let start = day.at(hour, minute, 0, 0);
            let minutes = self.of(&[0_i64, 30, 60, 90, 480]);
            NewItem::at(
                "x",
                start,
                start.checked_add(minutes.minutes()).unwrap(),
                &zone,
            )
        };
        match rule {
            Some(rule) => item.repeating(rule),
            None => item,
        }
    }
}

/// What somebody does to the calendar.
fn act(bench: &Bench, dice: &mut Dice, items: &mut Vec<(ItemHandle, bool)>, window: Window) {
    let exchange = &bench.exchange;
    if items.is_empty() || dice.roll(3) == 0 {
        if let Ok(item) = exchange.create(ANNA, dice.item()) {
            items.push((item, false));
        }
        return;
    }
    let at = usize::try_from(dice.roll(items.len() as u64)).unwrap();
    // With changed occurrences a series keeps its times: servers differ in what becomes of them.
    let (item, torn) = items[at];
    let slots: Vec<Timestamp> = exchange
        .occurrences(ANNA, window.start(), window.end())
        .iter()
        .filter_map(|o: &Occurrence| o.original_start)
        .collect();
    let hours = SignedDuration::from_hours(1 + dice.days(5));
    // What a calendar does not allow is refused, and nothing happens.
    match dice.roll(9) {
        0 => {
            let status = dice.of(&[FreeBusy::Free, FreeBusy::Tentative, FreeBusy::OutOfOffice]);
            let _ = exchange.show_as(item, status);
        }
        1 if !torn => {
            let _ = exchange.change(item, |content| {
                let zone = content.start_zone.rules().clone();
                let later = zone.to_datetime(content.start + hours).date();
                if !content.all_day && later == content.local_start().date() {
                    content.start += hours;
                    content.end += hours;
                }
            });
        }
        2 if !torn => {
            let _ = exchange.cancel(item);
        }
        3 if exchange.hard_delete(item).is_ok() => {
            items.swap_remove(at);
        }
        4 => {
            if let Ok(moved) = exchange.move_to(item, Folder::OtherCalendar) {
                items[at].0 = moved;
            }
        }
        5 => {
            if let Ok(moved) = exchange.move_to(item, Folder::Calendar) {
                items[at].0 = moved;
            }
        }
        6 if !slots.is_empty() => {
            let slot = dice.of(&slots);
            for (item, torn) in items.iter_mut() {
                let done = exchange.change_occurrence(*item, slot, |content| {
                    if content.all_day {
                        // Whole days, by the clock on the wall.
                        let zone = content.start_zone.rules().clone();
                        let next = |wall: DateTime| {
                            let wall = wall.checked_add(1.day()).unwrap();
                            let there = zone.to_ambiguous_zoned(wall).compatible();
                            there.unwrap().timestamp()
                        };
                        let (start, end) = (content.local_start(), content.local_end());
                        (content.start, content.end) = (next(start), next(end));
                    } else {
                        content.start += hours;
                        content.end += hours;
                    }
                });
                *torn |= done.is_ok();
            }
        }
        7 if !slots.is_empty() => {
            let slot = dice.of(&slots);
            for (item, torn) in items.iter_mut() {
                *torn |= exchange.delete_occurrence(*item, slot).is_ok();
            }
        }
        8 if !torn => {
            let about = date(2026, 11, 1).checked_add(dice.days(90).days()).unwrap();
            let rule = dice.rule(about);
            let start = rule.start;
            let _ = exchange.reschedule(item, Some(SeriesRule::from(rule)), |content| {
                // The master begins with its series.
                let zone = content.start_zone.rules().clone();
                let length = content.local_start().duration_until(content.local_end());
                let first = start.to_datetime(content.local_start().time());
                let at = |wall| {
                    zone.to_ambiguous_zoned(wall)
                        .compatible()
                        .unwrap()
                        .timestamp()
                };
                content.start = at(first);
                content.end = at(first + length);
            });
        }
        _ => {}
    }
}

/// As the core takes a feed in.
fn take(view: &mut Vec<Event>, feed: Feed) {
    let kept: Vec<&str> = feed
        .unreadable
        .iter()
        .filter_map(|(_, uid, _)| uid.as_deref())
        .collect();
    for covered in &feed.snapshots {
        view.retain(|event| {
            let (start, end) = event.content.time.span_in(&copenhagen());
            kept.contains(&event.key.uid()) || !covered.overlaps(start, end)
        });
    }
    let keys: Vec<String> = feed
        .events
        .iter()
        .map(|event| event.key.as_text())
        .collect();
    view.retain(|event| !keys.contains(&event.key.as_text()));
    view.extend(feed.events);
}

/// Faults that pass.
const FAULTS: &[&str] = &[
    "**1=busy-503:1",
    "SyncFolderItems*1=busy-items:1000",
    "SyncFolderItems*1=error:ErrorInvalidSyncStateData",
    "SyncFolderItems*1=malformed",
    "FindItem*1=fault:ErrorInternalServerTransientError",
    "FindItem*1=error:ErrorItemCorrupt",
    "FindItem*1=error:ErrorTimeoutExpired",
    "GetItem*1=item-error:ErrorInternalServerTransientError/1",
    "GetItem*1=item-error:ErrorMailboxStoreUnavailable/2",
    "GetItem*1=batch-stop:1",
    "GetItem*1=busy-items:1000",
];

async fn history(profile: Profile, seed: u64, faults: bool) {
    let mut dice = Dice(seed);
    let bench = Bench::start(profile).await;
    let mut items = Vec::new();
    let mut view = Vec::new();
    // Half of them over the spring change of the clock, half over the autumn's.
    let from = dk(["2026-11-20T00:00", "2026-08-20T00:00"][usize::try_from(seed % 2).unwrap()]);
    let window = |rolled: i64| {
        let days = |n: i64| SignedDuration::from_hours(24 * n);
        Window::new(from + days(rolled), from + days(rolled + 150)).unwrap()
    };
    let mut rolled = 0;
    let mut next = request(ANNA, window(0));
    for round in 0..12 {
        for _ in 0..=dice.roll(5) {
            act(&bench, &mut dice, &mut items, window(rolled));
        }
        if dice.roll(4) == 0 {
            rolled += dice.days(9);
        }
        next.window = window(rolled);
        next.covered.clip(next.window);
        next.full = dice.roll(8) == 0;
        next.now += SignedDuration::from_mins(5);
        if faults {
            for _ in 0..dice.roll(3) {
                bench.exchange.inject_spec(dice.of(FAULTS)).unwrap();
            }
            let (feed, error) = read_some(bench.connection.as_ref(), next.clone()).await;
            if error.is_some() {
                // What was stored before the error is a place to go on at, if there was one before.
                if next.cursor.is_some() && feed.cursor.is_some() {
                    next.cursor = feed.cursor;
                }
            } else {
                next = after(&feed, &next);
                take(&mut view, feed);
            }
            if round % 4 < 3 {
                continue;
            }
            // And then there is peace.
            bench.exchange.clear_faults();
            next.now += SignedDuration::from_hours(3);
            next.full = false;
        }
        let feed = bench.read(next.clone()).await.unwrap();
        assert!(feed.unreadable.is_empty(), "{:?}", feed.unreadable);
        next = after(&feed, &next);
        take(&mut view, feed);
        let all = Feed {
            events: view.clone(),
            ..Feed::default()
        };
        let told = all.facts(next.window);
        let truth = bench.truth(ANNA, next.window);
        let less: Vec<_> = truth.difference(&told).take(5).collect();
        let more: Vec<_> = told.difference(&truth).take(5).collect();
        assert!(
            less.is_empty() && more.is_empty(),
            "{profile:?} seed {seed} round {round}: missing {less:#?} too many {more:#?}"
        );
    }
}

/// A run of seeds, of all servers.
async fn histories(faults: bool) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let from = number("FROM", 0);
    for seed in from..from + number("SEEDS", 6) {
        for profile in [
            Profile::Exchange2019,
            Profile::Gromox,
            Profile::Exchange2013,
        ] {
            history(profile, seed, faults).await;
        }
    }
}

#[tokio::test]
async fn what_the_feeds_told_is_what_the_calendar_holds() {
    histories(false).await;
}

#[tokio::test]
async fn what_the_feeds_told_is_what_the_calendar_holds_once_the_trouble_is_over() {
    histories(true).await;
}
