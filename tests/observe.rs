//! Beside a predecessor that goes on writing: calbridge with `mode = "observe"` writes nothing for a week in which the
//! clocks change, and tells each day just what the predecessor got wrong. Then one calendar is taken over, and given
//! back.
#![cfg(all(
    feature = "exchange-ews",
    feature = "planner-dfdg",
    feature = "sandbox"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "support/predecessor.rs"]
mod predecessor;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use calbridge_sandbox::exchange::{NewItem, Occurrence, Zone};
use calbridge_sandbox::planner::Operation;
use jiff::civil::{Date, DateTime, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use predecessor::{Dice, Rendering, address, denmark, is_sent, midnight, town, wall, window};
use serde_json::Value;
use support::World;

const PEOPLE: usize = 3;
/// A Wednesday; the clocks change on the Sunday after it.
const FIRST: Date = date(2026, 10, 21);

/// Whose calendar, the UID, and the original start of an occurrence.
type Key = (String, String, Option<Timestamp>);
type Span = (DateTime, DateTime);
/// Whose calendar, what would be done, under which id.
type Difference = (String, &'static str, String);

/// What the predecessor got wrong, until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Mistake {
    /// Not sent.
    Missing(Key),
    /// Sent with another time.
    Wrong(Key),
    /// Sent twice.
    Twice(Key),
    /// Removed in Exchange, and still there.
    Left(String, String),
    /// Nobody knows where it comes from.
    Made(String, String),
}

impl Mistake {
    fn key(&self) -> Option<&Key> {
        match self {
            Self::Missing(key) | Self::Wrong(key) | Self::Twice(key) => Some(key),
            Self::Left(..) | Self::Made(..) => None,
        }
    }
}

/// Kommuneklienten as far as it shows in Planner: what it sent, under which ids, and what it gets wrong.
struct Predecessor {
    rendering: Rendering,
    calendars: BTreeSet<String>,
    sent: BTreeMap<Key, String>,
    mistakes: BTreeSet<Mistake>,
    /// A series with which nothing shall be wrong before it is moved.
    spared: Option<String>,
}

fn key(address: &str, o: &Occurrence) -> Key {
    (address.to_owned(), o.uid.clone(), o.original_start)
}

impl Predecessor {
    fn new(rendering: Rendering) -> Self {
        Self {
            rendering,
            calendars: (0..PEOPLE).map(address).collect(),
            sent: BTreeMap::new(),
            mistakes: BTreeSet::new(),
            spared: None,
        }
    }

    fn id(&self, key: &Key) -> String {
        self.rendering.id(&key.1, key.2)
    }

    /// What happens from today on for three months.
    fn ahead(world: &World, address: &str, today: Date) -> BTreeMap<Key, Span> {
        let (start, end) = window(today);
        let mut found = world.exchange.occurrences(address, start, end);
        found.retain(|o| is_sent(o) && o.start >= start);
        found.iter().map(|o| (key(address, o), wall(o))).collect()
    }

    fn is_spoilt(&self, key: &Key) -> bool {
        self.mistakes
            .iter()
            .any(|mistake| mistake.key() == Some(key))
    }

    /// One night: what was made is sent, what was moved is moved, what is gone is removed. What it got wrong stays.
    fn work(&mut self, world: &World, today: Date) {
        for address in self.calendars.clone() {
            let ahead = Self::ahead(world, &address, today);
            for (key, span) in &ahead {
                let known = self.sent.contains_key(key);
                // What starts today is not sent for the first time.
                let is_new = !known && (span.0.date() > today || today == FIRST);
                if self.is_spoilt(key) || !(known || is_new) {
                    continue;
                }
                let id = self.id(key);
                let id = self.sent.entry(key.clone()).or_insert(id);
                world.planner.put_event(&address, id, span.0, span.1);
            }
            let gone: Vec<Key> = self
                .sent
                .keys()
                .filter(|key| key.0 == address && !ahead.contains_key(*key))
                .cloned()
                .collect();
            for key in gone {
                let id = self.sent.remove(&key).unwrap();
                let is_ahead = world
                    .planner
                    .event(&address, &id)
                    .is_some_and(|record| record.start >= today.at(0, 0, 0, 0));
                if is_ahead {
                    world.planner.remove_event(&address, &id);
                }
            }
        }
    }

    /// An event that lies some weeks ahead and is as it should be.
    fn any(&self, world: &World, dice: &mut Dice, address: &str, series: Option<bool>) -> Key {
        let mut found: Vec<Key> = Self::ahead(world, address, FIRST)
            .into_iter()
            .filter(|(key, span)| {
                span.0.date() > FIRST + 14.days()
                    && span.0.date() < FIRST + 80.days()
                    && span.0.time() != jiff::civil::Time::midnight()
                    && self.sent.contains_key(key)
                    && !self.is_spoilt(key)
                    && self.spared.as_ref() != Some(&key.1)
                    && series.is_none_or(|series| key.2.is_some() == series)
            })
            .map(|(key, _)| key)
            .collect();
        dice.draw(&mut found)
    }

    /// Gets some things wrong.
    fn err(&mut self, world: &World, dice: &mut Dice, day: usize) {
        for address in self.calendars.clone() {
            let missing = self.any(world, dice, &address, None);
            let id = self.sent[&missing].clone();
            world.planner.remove_event(&address, &id);
            self.mistakes.insert(Mistake::Missing(missing));

            let wrong = self.any(world, dice, &address, None);
            let id = self.sent[&wrong].clone();
            let record = world.planner.event(&address, &id).unwrap();
            let by = 40.minutes();
            world
                .planner
                .put_event(&address, &id, record.start + by, record.end + by);
            self.mistakes.insert(Mistake::Wrong(wrong));

            let twice = self.any(world, dice, &address, Some(true));
            let record = world.planner.event(&address, &self.sent[&twice]).unwrap();
            let other = self.rendering.other_id(&twice.1, twice.2).unwrap();
            world
                .planner
                .put_event(&address, &other, record.start, record.end);
            self.mistakes.insert(Mistake::Twice(twice));

            let left = self.any(world, dice, &address, Some(false));
            for item in world.exchange.find(&address, &left.1) {
                world.exchange.delete(item).unwrap();
            }
            let id = self.sent.remove(&left).unwrap();
            self.mistakes.insert(Mistake::Left(address.clone(), id));

            let made = format!("made-{day}@kommune.example");
            let start = (FIRST + 30.days()).at(9, 0, 0, 0);
            world
                .planner
                .put_event(&address, &made, start, start + 1.hour());
            self.mistakes.insert(Mistake::Made(address, made));
        }
    }

    /// Mends something, of each kind one.
    fn mend(&mut self, world: &World) {
        let mut kinds = BTreeSet::new();
        for mistake in self.mistakes.clone() {
            let kind = std::mem::discriminant(&mistake);
            if kinds.iter().any(|done| *done == format!("{kind:?}")) {
                continue;
            }
            kinds.insert(format!("{kind:?}"));
            match &mistake {
                // The next night's work puts them right.
                Mistake::Missing(_) | Mistake::Wrong(_) => {}
                Mistake::Twice(key) => {
                    let other = self.rendering.other_id(&key.1, key.2).unwrap();
                    world.planner.remove_event(&key.0, &other);
                }
                Mistake::Left(address, id) | Mistake::Made(address, id) => {
                    world.planner.remove_event(address, id);
                }
            }
            self.mistakes.remove(&mistake);
        }
    }

    /// Its server's clock is set to another zone: everything is removed, and made again under other ids.
    fn move_server(&mut self, world: &World, rendering: Rendering) {
        for mistake in self.mistakes.clone() {
            if let Mistake::Twice(key) = &mistake {
                let other = self.rendering.other_id(&key.1, key.2).unwrap();
                world.planner.remove_event(&key.0, &other);
                self.mistakes.remove(&mistake);
            }
        }
        self.rendering = rendering;
        for (key, id) in &mut self.sent {
            let now = rendering.id(&key.1, key.2);
            if let Some(record) = world.planner.event(&key.0, id) {
                world.planner.remove_event(&key.0, id);
                world
                    .planner
                    .put_event(&key.0, &now, record.start, record.end);
            }
            *id = now;
        }
    }

    /// What calbridge should tell. A record that is missing would be made under the id that it had, or one of
    /// calbridge's choice: the event counts, and its start. Of two records either may be the surplus one.
    fn differences(&self, world: &World, today: Date) -> Vec<Expected> {
        self.mistakes
            .iter()
            .map(|mistake| match mistake {
                Mistake::Missing(key) => Expected {
                    address: key.0.clone(),
                    op: "create",
                    ids: vec![format!(
                        "{} at {}",
                        key.1,
                        denmark()
                            .to_timestamp(Self::ahead(world, &key.0, today)[key].0)
                            .unwrap()
                    )],
                },
                Mistake::Wrong(key) => Expected {
                    address: key.0.clone(),
                    op: "update",
                    ids: vec![self.sent[key].clone()],
                },
                Mistake::Twice(key) => Expected {
                    address: key.0.clone(),
                    op: "delete",
                    ids: vec![
                        self.sent[key].clone(),
                        self.rendering.other_id(&key.1, key.2).unwrap(),
                    ],
                },
                Mistake::Left(address, id) | Mistake::Made(address, id) => Expected {
                    address: address.clone(),
                    op: "delete",
                    ids: vec![id.clone()],
                },
            })
            .collect()
    }
}

/// A difference that is to be told, under one of these ids.
#[derive(Debug)]
struct Expected {
    address: String,
    op: &'static str,
    ids: Vec<String>,
}

/// What people do in a day: make, move and cancel appointments and occurrences; once a whole series is moved.
fn life(world: &World, predecessor: &Predecessor, dice: &mut Dice, day: usize) {
    for person in 0..PEOPLE {
        let who = address(person);
        let item = |key: &Key| world.exchange.find(&key.0, &key.1)[0];
        let start = (FIRST + 20.days()).at(12, 0, 0, 0) + i64::try_from(day).unwrap().days();
        let new = NewItem::at("New", start, start + 30.minutes(), &Zone::denmark());
        world
            .exchange
            .create(&who, new.uid(format!("new-{person}-{day}@kommune.example")))
            .unwrap();
        let moved = predecessor.any(world, dice, &who, Some(false));
        let by = SignedDuration::from_mins(45);
        world.exchange.move_in_time(item(&moved), by).unwrap();
        let cancelled = predecessor.any(world, dice, &who, Some(false));
        world.exchange.delete(item(&cancelled)).unwrap();
        let moved = predecessor.any(world, dice, &who, Some(true));
        world
            .exchange
            .move_occurrence(item(&moved), moved.2.unwrap(), by)
            .unwrap();
        let cancelled = predecessor.any(world, dice, &who, Some(true));
        if cancelled != moved {
            world
                .exchange
                .delete_occurrence(item(&cancelled), cancelled.2.unwrap())
                .unwrap();
        }
    }
}

/// Moves the whole series of a calendar by an hour: all of its occurrences have other original starts then.
fn shift_series(world: &World, address: &str, uid: &str) {
    let item = world.exchange.find(address, uid)[0];
    let by = SignedDuration::from_hours(1);
    world.exchange.move_in_time(item, by).unwrap();
}

struct Day {
    today: Date,
    now: String,
}

/// Ten in the morning of a day, on everybody's clock.
fn morning(world: &World, day: usize) -> Day {
    let today = FIRST + i64::try_from(day).unwrap().days();
    let now = midnight(today) + SignedDuration::from_hours(10);
    world.exchange.set_clock(Some(now));
    world.planner.set_clock(Some(now));
    Day {
        today,
        now: now.to_string(),
    }
}

async fn json(world: &World, day: &Day, args: &[&str]) -> Value {
    let done = world.run_at(&day.now, args, |_| {}).await;
    assert!(matches!(done.code, Some(0 | 5)), "{done:#?}");
    done.json()
}

/// Observes; the named calendars are written.
fn observe(world: &World, active: &[String]) {
    world.configure(|text| {
        text.replace(
            "name = \"jobcenter\"",
            &format!("name = \"jobcenter\"\nmode = \"observe\"\nactive = {active:?}"),
        )
    });
}

/// The differences that a plan tells are just those that are expected.
fn tells(plan: &Value, expected: Vec<Expected>, story: &str) {
    let mut told: BTreeSet<Difference> = BTreeSet::new();
    for calendar in plan["syncs"][0]["calendars"].as_array().unwrap() {
        assert!(calendar["failed"].is_null(), "{calendar}");
        let address = calendar["calendar"]["address"].as_str().unwrap();
        for write in calendar["writes"].as_array().unwrap() {
            let op = match write["op"].as_str().unwrap() {
                "create" => "create",
                "update" => "update",
                "delete" => "delete",
                other => panic!("{other}"),
            };
            let mut id = write["external_id"].as_str().unwrap().to_owned();
            if op == "create" {
                let uid = id.split('$').next().unwrap();
                id = format!("{uid} at {}", write["time"]["start"].as_str().unwrap());
            }
            let is_new = told.insert((address.to_owned(), op, id));
            assert!(is_new, "told twice: {write}: {story}");
        }
    }
    let mut untold = Vec::new();
    for one in expected {
        let found = one
            .ids
            .iter()
            .map(|id| (one.address.clone(), one.op, id.clone()))
            .find(|difference| told.contains(difference));
        match found {
            Some(found) => drop(told.remove(&found)),
            None => untold.push(one),
        }
    }
    assert!(
        told.is_empty() && untold.is_empty(),
        "told and not so: {told:#?}; so and not told: {untold:#?}: {story}"
    );
}

fn writes(world: &World) -> Vec<(String, String)> {
    [
        Operation::CreateEvents,
        Operation::UpdateEvents,
        Operation::DeleteEvents,
    ]
    .into_iter()
    .flat_map(|operation| world.planner.calls(operation))
    .flat_map(|call| call.detail.events)
    .map(|event| (event.mailbox, event.id))
    .collect()
}

fn count(report: &Value, what: &str) -> u64 {
    report["syncs"][0]["total"]["differences"][what]
        .as_u64()
        .unwrap()
}

fn how_many(expected: &[Expected], op: &str) -> u64 {
    expected.iter().filter(|one| one.op == op).count() as u64
}

/// `plan` tells which they are, `sync` how many.
async fn is_told(world: &World, day: &Day, predecessor: &Predecessor, story: &str) {
    let story = format!("{} {story}", day.today);
    let plan = json(world, day, &["plan", "--json"]).await;
    tells(&plan, predecessor.differences(world, day.today), &story);
    let report = json(world, day, &["sync", "--json"]).await;
    let expected = predecessor.differences(world, day.today);
    assert_eq!(count(&report, "missing"), how_many(&expected, "create"));
    assert_eq!(count(&report, "different"), how_many(&expected, "update"));
    assert_eq!(count(&report, "surplus"), how_many(&expected, "delete"));
}

async fn a_week(rendering: Rendering) {
    let mut dice = Dice(7);
    let world = town(PEOPLE, 110, "2026-10-21T08:00:00Z").await;
    observe(&world, &[]);
    let mut predecessor = Predecessor::new(rendering);
    let mut told = 0;
    let series = "weekly-0-0@kommune.example";
    predecessor.spared = Some(series.to_owned());
    for day in 0..8 {
        let at = morning(&world, day);
        predecessor.work(&world, at.today);
        if day == 0 {
            is_told(&world, &at, &predecessor, "all is well").await;
        }
        predecessor.err(&world, &mut dice, day);
        is_told(&world, &at, &predecessor, "after its mistakes").await;
        told += predecessor.mistakes.len();
        predecessor.mend(&world);
        life(&world, &predecessor, &mut dice, day);
        if day == 2 {
            shift_series(&world, &address(0), series);
            predecessor.spared = None;
        }
        if day == 5 {
            let other = match rendering {
                Rendering::Utc => Rendering::Copenhagen,
                _ => Rendering::Utc,
            };
            predecessor.move_server(&world, other);
        }
    }
    assert_eq!(writes(&world), [], "{rendering:?}");
    println!("{rendering:?}: {told} differences told in 8 days, no write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_beside_a_predecessor_in_danish_time() {
    a_week(Rendering::Copenhagen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_beside_a_predecessor_in_utc() {
    a_week(Rendering::Utc).await;
}

/// What Planner holds of a calendar from a day on.
fn held(world: &World, address: &str, today: Date) -> Vec<Span> {
    let (from, _) = window(today);
    let from = denmark().to_datetime(from);
    let mut found: Vec<Span> = world
        .planner
        .events(address)
        .into_iter()
        .map(|record| (record.start, record.end))
        .filter(|span| span.0 >= from)
        .collect();
    found.sort();
    found
}

fn truth(world: &World, address: &str, today: Date) -> Vec<Span> {
    let mut found: Vec<Span> = Predecessor::ahead(world, address, today)
        .into_values()
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn one_calendar_is_taken_over_and_given_back() {
    let mut dice = Dice(11);
    let world = town(PEOPLE, 110, "2026-10-21T08:00:00Z").await;
    observe(&world, &[]);
    let mut predecessor = Predecessor::new(Rendering::Utc);
    let at = morning(&world, 0);
    predecessor.work(&world, at.today);
    predecessor.err(&world, &mut dice, 0);
    is_told(&world, &at, &predecessor, "observed").await;

    // Taken over: what is missing or wrong is put right at once, what is surplus waits for an approval.
    let mine = address(0);
    predecessor.calendars.remove(&mine);
    observe(&world, std::slice::from_ref(&mine));
    let report = json(&world, &at, &["sync", "--json"]).await;
    let total = &report["syncs"][0]["total"];
    let counted = ["created", "updated", "deleted", "held"].map(|what| total[what].as_u64());
    assert_eq!(counted, [Some(1), Some(1), Some(0), Some(3)]);
    let approved = json(&world, &at, &["approve", "--json"]).await;
    assert_eq!(approved[0]["count"], 3);
    json(&world, &at, &["sync", "--json"]).await;
    assert_eq!(
        held(&world, &mine, at.today),
        truth(&world, &mine, at.today)
    );
    let others = |mistake: &Mistake| match mistake {
        Mistake::Left(address, _) | Mistake::Made(address, _) => *address != mine,
        other => other.key().is_some_and(|key| key.0 != mine),
    };
    predecessor.mistakes.retain(others);

    // It is kept in step from then on, and the others are left to the predecessor.
    for day in 1..4 {
        life(&world, &predecessor, &mut dice, day);
        let at = morning(&world, day);
        predecessor.work(&world, at.today);
        predecessor.err(&world, &mut dice, day);
        json(&world, &at, &["sync", "--json"]).await;
        assert_eq!(
            held(&world, &mine, at.today),
            truth(&world, &mine, at.today)
        );
        is_told(&world, &at, &predecessor, "one is taken over").await;
    }
    let written = writes(&world);
    assert!(written.len() > 10, "{written:?}");
    assert!(written.iter().all(|(address, _)| *address == mine));

    // Given back: the predecessor makes the records that it does not know anew, under its own ids.
    observe(&world, &[]);
    predecessor.calendars.insert(mine.clone());
    let at = morning(&world, 4);
    let known: BTreeSet<String> = predecessor.sent.values().cloned().collect();
    for record in world.planner.events(&mine) {
        if record.start >= at.today.at(0, 0, 0, 0) && !known.contains(&record.id) {
            world.planner.remove_event(&mine, &record.id);
        }
    }
    predecessor.work(&world, at.today);
    predecessor.err(&world, &mut dice, 4);
    is_told(&world, &at, &predecessor, "given back").await;
    for day in 5..7 {
        life(&world, &predecessor, &mut dice, day);
        let at = morning(&world, day);
        predecessor.mend(&world);
        predecessor.work(&world, at.today);
        is_told(&world, &at, &predecessor, "given back").await;
    }
    assert_eq!(writes(&world), written);
}
