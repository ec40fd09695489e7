//! The day on which calbridge arrives: Planner is full of what Kommuneklienten wrote, under its ids, with ghosts,
//! duplicates and wrong times among it. Nothing is made twice, nothing that is alive is removed, what nobody stands for
//! is shown as one list and goes after one approval; also where the program is killed on the way, and where the state
//! file is lost or an older one is put back.
//!
//! Small towns by default; `CALBRIDGE_FULL=1` plays 20 calendars of 300 events each. `CALBRIDGE_CRASH_SEED=N` plays the
//! kills of one seed again.
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

#[path = "support/killing.rs"]
mod killing;
#[path = "support/predecessor.rs"]
mod predecessor;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use calbridge_sandbox::exchange::{NewItem, Zone};
use calbridge_sandbox::planner::Operation;
use jiff::civil::{Date, DateTime, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use killing::{Moment, kill_at};
use predecessor::{Dice, Rendering, address, is_sent, sent, town, wall, window};
use serde_json::Value;
use support::World;

/// A Monday; the clocks change on 25 October, within the three months.
const START: &str = "2026-09-07T08:00:00Z";
const TODAY: Date = date(2026, 9, 7);

type Span = (DateTime, DateTime);

/// An event that takes place, and the records of it that Planner holds: two if it was made twice.
struct Live {
    address: String,
    ids: Vec<String>,
    span: Span,
}

/// What Planner was filled with.
#[derive(Default)]
struct Filled {
    live: Vec<Live>,
    /// Records that lie outside of the days that are kept in step.
    aside: BTreeMap<(String, String), Span>,
    /// Records that no event stands for.
    ghosts: BTreeSet<String>,
    /// Records that hold another time than their event.
    wrong: BTreeSet<String>,
    /// Events that are Planner's own appointments.
    own: BTreeSet<String>,
    /// Appointments of Planner's own that no event stands for.
    own_alone: BTreeSet<String>,
}

impl Filled {
    fn twice(&self) -> impl Iterator<Item = &Live> {
        self.live.iter().filter(|live| live.ids.len() > 1)
    }
}

fn is_full() -> bool {
    std::env::var_os("CALBRIDGE_FULL").is_some_and(|full| full == "1")
}

fn size() -> (usize, usize) {
    if is_full() { (20, 300) } else { (3, 80) }
}

fn share(of: usize, percent: usize) -> usize {
    (of * percent).div_ceil(100).max(1)
}

/// Fills Planner as the predecessor has: all events of these three months and of the two weeks before; 5 % ghosts,
/// 1 % made twice, 2 % at a wrong time, a few that are Planner's own.
fn fill(world: &World, people: usize, rendering: Rendering) -> Filled {
    let mut filled = Filled::default();
    let (start, end) = window(TODAY);
    for person in 0..people {
        let address = address(person);
        let mut dice = Dice(u64::try_from(person).unwrap() + 100);
        let occurrences = sent(world, &address, TODAY);
        let every_id: BTreeSet<String> = occurrences
            .iter()
            .flat_map(|o| Rendering::ALL.map(|r| r.id(&o.uid, o.original_start).to_lowercase()))
            .collect();
        let (kept, aside): (Vec<_>, Vec<_>) =
            occurrences.into_iter().partition(|o| o.start >= start);
        for o in &aside {
            let id = rendering.id(&o.uid, o.original_start);
            let span = wall(o);
            world.planner.put_event(&address, &id, span.0, span.1);
            filled.aside.insert((address.clone(), id), span);
        }
        let count = kept.len();
        // What is spoilt lies well inside, that a wrong time lies there too.
        let inner = |at: Timestamp| {
            at > start + SignedDuration::from_hours(48) && at < end - SignedDuration::from_hours(48)
        };
        let mut left: Vec<usize> = (0..count).filter(|at| inner(kept[*at].start)).collect();
        let mut pick = |many: usize, fits: &dyn Fn(usize) -> bool| {
            let (mut fitting, others): (Vec<_>, Vec<_>) = left.iter().partition(|at| fits(**at));
            let picked: BTreeSet<usize> = (0..many).map(|_| dice.draw(&mut fitting)).collect();
            left = [fitting, others].concat();
            picked
        };
        let twice = pick(share(count, 1), &|at| {
            let o = &kept[at];
            rendering.other_id(&o.uid, o.original_start).is_some()
        });
        let wrong = pick(share(count, 2), &|_| true);
        let own = pick(2, &|at| kept[at].original_start.is_none());
        for (at, o) in kept.iter().enumerate() {
            let id = rendering.id(&o.uid, o.original_start);
            let span = wall(o);
            if own.contains(&at) {
                world
                    .planner
                    .put_own_appointment(&address, &id, span.0, span.1);
                filled.own.insert(id);
                continue;
            }
            let mut held = span;
            if wrong.contains(&at) {
                held = (span.0 + 30.minutes(), span.1 + 30.minutes());
                filled.wrong.insert(id.clone());
            }
            world.planner.put_event(&address, &id, held.0, held.1);
            let mut ids = vec![id];
            if twice.contains(&at) {
                let other = rendering.other_id(&o.uid, o.original_start).unwrap();
                world.planner.put_event(&address, &other, held.0, held.1);
                ids.push(other);
            }
            filled.live.push(Live {
                address: address.clone(),
                ids,
                span,
            });
        }
        let mut ghosts = 0;
        while ghosts < share(count, 5) {
            let o = &kept[dice.below(count)];
            let span = wall(o);
            let id = match (ghosts % 3, o.original_start) {
                // An occurrence that does not take place, of a series that does.
                (0 | 1, Some(original)) => rendering.id(
                    &o.uid,
                    Some(original + SignedDuration::from_mins(27 * 60 + 10)),
                ),
                (2, None) => format!("gone-{person}-{ghosts}@kommune.example"),
                (2, Some(original)) => {
                    rendering.id(&format!("gone-{person}-{ghosts}"), Some(original))
                }
                _ => continue,
            };
            if every_id.contains(&id.to_lowercase()) || !filled.ghosts.insert(id.clone()) {
                continue;
            }
            world.planner.put_event(&address, &id, span.0, span.1);
            ghosts += 1;
        }
    }
    assert!(
        filled.live.len() > people * 50,
        "too few: {}",
        filled.live.len()
    );
    assert!(filled.twice().count() >= people);
    filled
}

/// What Planner holds in the end: each event once, at its time; what lies outside as it was; nothing else.
fn is_in_step(world: &World, filled: &Filled, story: &str) {
    let mut held: BTreeMap<(String, String), Span> = world
        .planner
        .content()
        .0
        .into_iter()
        .map(|record| ((record.mailbox, record.id), (record.start, record.end)))
        .collect();
    for live in &filled.live {
        let found: Vec<Span> = live
            .ids
            .iter()
            .filter_map(|id| held.remove(&(live.address.clone(), id.clone())))
            .collect();
        assert_eq!(found, [live.span], "{:?}: {story}", live.ids);
    }
    assert_eq!(held, filled.aside, "{story}");
}

/// What Planner was told on the way: nothing was made that is there, only what nobody stands for was removed, once.
fn was_told_no_nonsense(world: &World, filled: &Filled, story: &str) {
    let told = |operation| {
        world
            .planner
            .calls(operation)
            .into_iter()
            .flat_map(|call| call.detail.events)
    };
    for event in told(Operation::CreateEvents) {
        assert!(!event.effective, "made: {event:?}: {story}");
        assert!(filled.own.contains(&event.id), "{event:?}: {story}");
    }
    let mut removed: BTreeSet<String> = BTreeSet::new();
    for event in told(Operation::DeleteEvents) {
        let is_twice = filled.twice().any(|live| live.ids.contains(&event.id));
        let is_surplus =
            filled.ghosts.contains(&event.id) || filled.own_alone.contains(&event.id) || is_twice;
        assert!(is_surplus, "removed: {event:?}: {story}");
        if event.effective {
            assert!(removed.insert(event.id.clone()), "{event:?}: {story}");
        }
    }
    for live in filled.twice() {
        let gone = live.ids.iter().filter(|id| removed.contains(*id)).count();
        assert_eq!(gone, 1, "{:?}: {story}", live.ids);
    }
}

/// The writes of a plan, by what they do: the ids, and whether they are held.
fn writes(plan: &Value) -> BTreeMap<String, Vec<(String, bool)>> {
    let mut found: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for calendar in plan["syncs"][0]["calendars"].as_array().unwrap() {
        assert!(calendar["failed"].is_null(), "{calendar}");
        for write in calendar["writes"].as_array().unwrap() {
            let id = write["external_id"].as_str().unwrap().to_owned();
            let held = write["held"].as_bool().unwrap();
            let op = write["op"].as_str().unwrap().to_owned();
            found.entry(op).or_default().push((id, held));
        }
    }
    for writes in found.values_mut() {
        writes.sort();
    }
    found
}

fn unheld(ids: &BTreeSet<String>) -> Vec<(String, bool)> {
    ids.iter().map(|id| (id.clone(), false)).collect()
}

/// The first plan: what is wrong is put right, what nobody stands for is held, all of it and nothing else, each once.
fn is_the_list(plan: &Value, filled: &Filled, story: &str) {
    let mut writes = writes(plan);
    let deletes = writes.remove("delete").unwrap_or_default();
    assert!(
        deletes.iter().all(|(_, held)| *held),
        "{deletes:?}: {story}"
    );
    let listed: Vec<String> = deletes.into_iter().map(|(id, _)| id).collect();
    let mut left: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(
        left.len(),
        listed.len(),
        "listed twice: {listed:?}: {story}"
    );
    for ghost in filled.ghosts.iter().chain(&filled.own_alone) {
        assert!(left.remove(ghost), "{ghost} is not listed: {story}");
    }
    for live in filled.twice() {
        let surplus = live.ids.iter().filter(|id| left.remove(*id)).count();
        assert_eq!(surplus, 1, "{:?}: {story}", live.ids);
    }
    assert!(left.is_empty(), "alive: {left:?}: {story}");
    let updates = writes.remove("update").unwrap_or_default();
    assert_eq!(updates, unheld(&filled.wrong), "{story}");
    // Of its own appointments Planner may not tell.
    let creates = writes.remove("create").unwrap_or_default();
    if !creates.is_empty() {
        assert_eq!(creates, unheld(&filled.own), "{story}");
    }
    assert!(writes.is_empty(), "{writes:?}");
}

async fn json(world: &World, args: &[&str]) -> Value {
    let done = world.run_at(START, args, |_| {}).await;
    // 5: something waits for an operator.
    assert!(matches!(done.code, Some(0 | 5)), "{done:#?}");
    done.json()
}

fn total(report: &Value, what: &str) -> u64 {
    report["syncs"][0]["total"][what].as_u64().unwrap()
}

async fn approve(world: &World) -> u64 {
    json(world, &["approve", "--json"]).await[0]["count"]
        .as_u64()
        .unwrap()
}

async fn nothing_is_left(world: &World, story: &str) {
    for args in [
        &["plan", "--json"][..],
        &["plan", "--full", "--reconcile", "--json"],
    ] {
        let plan = json(world, args).await;
        assert_eq!(plan["writes"], 0, "{story}\n{plan:#}");
    }
}

fn effective_writes(world: &World) -> usize {
    [
        Operation::CreateEvents,
        Operation::UpdateEvents,
        Operation::DeleteEvents,
    ]
    .into_iter()
    .flat_map(|operation| world.planner.calls(operation))
    .flat_map(|call| call.detail.events)
    .filter(|event| event.effective)
    .count()
}

async fn is_adopted(rendering: Rendering) {
    let (people, events) = size();
    let begun = Instant::now();
    let world = town(people, events, START).await;
    let mut filled = fill(&world, people, rendering);
    if rendering == Rendering::Utc {
        // This Planner lists its own appointments as well.
        world.planner.reconfigure(|options| options.list_own = true);
        let (start, end) = (
            date(2026, 9, 15).at(9, 0, 0, 0),
            date(2026, 9, 15).at(10, 0, 0, 0),
        );
        let id = "talk-with-a-citizen";
        world
            .planner
            .put_own_appointment(&address(0), id, start, end);
        filled.own_alone.insert(id.to_owned());
    }
    let surplus = filled.ghosts.len() + filled.own_alone.len() + filled.twice().count();
    let story = format!("{rendering:?}");

    // Shown, and shown again: the list is the same, and nothing was written.
    for _ in 0..2 {
        let plan = json(&world, &["plan", "--json"]).await;
        is_the_list(&plan, &filled, &story);
    }
    assert_eq!(effective_writes(&world), 0, "{story}");

    if rendering == Rendering::Summer {
        // Approved after a look at the list, before anything is written.
        assert_eq!(approve(&world).await, surplus as u64);
        json(&world, &["sync", "--json"]).await;
        is_in_step(&world, &filled, &story);
        was_told_no_nonsense(&world, &filled, &story);
        nothing_is_left(&world, &story).await;
        return;
    }

    // What is no delete goes at once; the rest waits.
    let first = json(&world, &["sync", "--json"]).await;
    assert_eq!(total(&first, "updated"), filled.wrong.len() as u64);
    assert_eq!(total(&first, "held"), surplus as u64);
    assert_eq!(total(&first, "deleted"), 0);
    assert_eq!(effective_writes(&world), filled.wrong.len(), "{story}");
    let again = json(&world, &["sync", "--json"]).await;
    assert_eq!(total(&again, "held"), surplus as u64);
    assert_eq!(effective_writes(&world), filled.wrong.len(), "{story}");

    // One approval.
    assert_eq!(approve(&world).await, surplus as u64);
    json(&world, &["sync", "--json"]).await;
    is_in_step(&world, &filled, &story);
    was_told_no_nonsense(&world, &filled, &story);
    nothing_is_left(&world, &story).await;
    let writes = effective_writes(&world);
    json(&world, &["sync", "--full", "--reconcile", "--json"]).await;
    assert_eq!(effective_writes(&world), writes, "{story}");
    println!(
        "{story}: {people} calendars, {} events, {} ghosts, {} twice, {} at a wrong time, {} of Planner's own: {:.1} s",
        filled.live.len(),
        filled.ghosts.len(),
        filled.twice().count(),
        filled.wrong.len(),
        filled.own.len(),
        begun.elapsed().as_secs_f64(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_in_danish_time_wrote_is_adopted() {
    is_adopted(Rendering::Copenhagen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_in_utc_wrote_is_adopted() {
    is_adopted(Rendering::Utc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_winter_time_is_adopted() {
    is_adopted(Rendering::Winter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_summer_time_is_adopted() {
    is_adopted(Rendering::Summer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_changing_clocks_is_adopted() {
    is_adopted(Rendering::Mixed).await;
}

/// What is done on the way from the first contact to the end.
async fn to_the_end(world: &World) {
    json(world, &["sync", "--json"]).await;
    approve(world).await;
    json(world, &["sync", "--json"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_it_is_adopted_all_the_same() {
    let seeds = match std::env::var("CALBRIDGE_CRASH_SEED") {
        Ok(seed) => vec![seed.parse().expect("CALBRIDGE_CRASH_SEED is a number")],
        Err(_) => {
            let new = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs();
            vec![3, 4, new]
        }
    };
    for seed in seeds {
        let mut dice = Dice(seed);
        let rendering = Rendering::ALL[usize::try_from(seed % 5).unwrap()];
        let mut story = format!("CALBRIDGE_CRASH_SEED={seed}: {rendering:?}");
        let (people, events) = size();
        let world = town(people, events, START).await;
        // So few, that there are many calls.
        world.configure(|text| {
            text.replace(
                "calls_per_minute",
                "max_events_per_call = 2\ncalls_per_minute",
            )
        });
        let filled = fill(&world, people, rendering);
        let mut now: Timestamp = START.parse().unwrap();
        let mut kills = 0;
        // About what one run does.
        let (tries, requests, took) = if is_full() {
            ([20, 2, 20, 2, 6], 50, Duration::from_secs(3))
        } else {
            ([6, 1, 5, 1, 3], 6, Duration::from_millis(400))
        };
        for (step, (args, tries)) in [
            &["sync"][..],
            &["approve"],
            &["sync"],
            &["approve"],
            &["sync", "--full", "--reconcile"],
        ]
        .into_iter()
        .zip(tries)
        .enumerate()
        {
            for _ in 0..tries {
                let moment = if args == ["approve"] {
                    Moment::After(Duration::from_millis(
                        u64::try_from(dice.below(120)).unwrap(),
                    ))
                } else {
                    Moment::any(&mut dice, requests, requests, took)
                };
                let killed = kill_at(&world, &now.to_string(), args, moment).await;
                kills += usize::from(killed);
                story.push_str(&format!(
                    "\n  step {step} {args:?} {} {moment}",
                    if killed {
                        "killed"
                    } else {
                        "ended, not killed"
                    }
                ));
                now += SignedDuration::from_mins(2);
                world.planner.set_clock(Some(now));
                world.exchange.set_clock(Some(now));
            }
        }
        println!("{story}\n  {kills} kills");
        assert!(kills >= 4, "{story}");
        let at = now.to_string();
        for args in [&["sync"][..], &["approve"], &["sync"]] {
            let done = world.run_at(&at, args, |_| {}).await;
            assert!(matches!(done.code, Some(0 | 5)), "{story}\n{done:?}");
        }
        is_in_step(&world, &filled, &story);
        was_told_no_nonsense(&world, &filled, &story);
        let plan = world
            .run_at(&at, &["plan", "--full", "--reconcile", "--json"], |_| {})
            .await;
        assert_eq!(plan.json()["writes"], 0, "{story}\n{plan:?}");
    }
}

/// Removes the state file, and what SQLite keeps beside it.
fn lose_state(world: &World) {
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("state.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// What becomes of the town while nobody looks: one appointment is made, one is moved, one is cancelled, and so are
/// occurrences of a series. Answers the ids of records that nobody stands for any more.
fn life_goes_on(world: &World, filled: &mut Filled, made: &str) -> BTreeSet<String> {
    let (start, end) = window(TODAY);
    let mut gone = BTreeSet::new();
    let who = address(1);
    let one_of = |series: bool, filled: &Filled| {
        let mut found = world.exchange.occurrences(&who, start, end);
        found.retain(|o| {
            is_sent(o)
                && o.start > start + SignedDuration::from_hours(9 * 24)
                && o.dates.is_none()
                && o.original_start.is_some() == series
                && !filled.own.contains(&o.uid)
                && filled.live.iter().any(|live| {
                    live.address == who
                        && live.ids.len() == 1
                        && live.ids[0].starts_with(&o.uid)
                        && live.span == wall(o)
                })
        });
        found
    };
    let position = |filled: &Filled, uid: &str, span: Span| {
        filled
            .live
            .iter()
            .position(|live| live.ids[0].starts_with(uid) && live.span == span)
            .unwrap()
    };
    for series in [false, true] {
        let found = one_of(series, filled);
        let (cancelled, moved) = (&found[0], &found[1]);
        let at = position(filled, &cancelled.uid, wall(cancelled));
        gone.extend(filled.live.swap_remove(at).ids);
        let at = position(filled, &moved.uid, wall(moved));
        let live = &mut filled.live[at];
        live.span = (live.span.0 + 15.minutes(), live.span.1 + 15.minutes());
        let by = SignedDuration::from_mins(15);
        match (cancelled.original_start, moved.original_start) {
            (Some(one), Some(other)) => {
                world
                    .exchange
                    .delete_occurrence(cancelled.item, one)
                    .unwrap();
                world
                    .exchange
                    .move_occurrence(moved.item, other, by)
                    .unwrap();
            }
            _ => {
                world.exchange.delete(cancelled.item).unwrap();
                world.exchange.move_in_time(moved.item, by).unwrap();
            }
        }
    }
    let span = (
        date(2026, 10, 7).at(18, 0, 0, 0),
        date(2026, 10, 7).at(18, 45, 0, 0),
    );
    let item = NewItem::at("New", span.0, span.1, &Zone::denmark()).uid(made);
    world.exchange.create(&who, item).unwrap();
    filled.live.push(Live {
        address: who,
        ids: vec![made.to_owned()],
        span,
    });
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_file_is_a_first_contact() {
    let world = town(3, 80, START).await;
    let mut filled = fill(&world, 3, Rendering::Mixed);
    // In the middle: what waits for an operator waits again.
    json(&world, &["sync", "--json"]).await;
    lose_state(&world);
    filled.wrong.clear();
    let plan = json(&world, &["plan", "--json"]).await;
    is_the_list(&plan, &filled, "lost before the approval");
    to_the_end(&world).await;
    is_in_step(&world, &filled, "lost before the approval");

    // Nothing has happened meanwhile: nothing is written.
    lose_state(&world);
    let writes = effective_writes(&world);
    json(&world, &["sync", "--json"]).await;
    assert_eq!(effective_writes(&world), writes);
    nothing_is_left(&world, "lost").await;

    // Lost again, and life goes on before it is noticed.
    lose_state(&world);
    let gone = life_goes_on(&world, &mut filled, "made-meanwhile");
    let plan = json(&world, &["plan", "--json"]).await;
    let listed: Vec<(String, bool)> = gone.iter().map(|id| (id.clone(), true)).collect();
    assert_eq!(writes_of(&plan, "delete"), listed);
    to_the_end(&world).await;
    is_in_step(&world, &filled, "lost while life went on");
    nothing_is_left(&world, "lost while life went on").await;
    let created = world.planner.effective_creates("made-meanwhile");
    assert_eq!(created, 1);
    assert_eq!(deleted_in_vain(&world), Vec::<String>::new());
}

fn writes_of(plan: &Value, op: &str) -> Vec<(String, bool)> {
    writes(plan).remove(op).unwrap_or_default()
}

/// Ids that were removed and are made again, or the other way round.
fn deleted_in_vain(world: &World) -> Vec<String> {
    let effective = |operation| -> BTreeSet<String> {
        world
            .planner
            .calls(operation)
            .into_iter()
            .flat_map(|call| call.detail.events)
            .filter(|event| event.effective)
            .map(|event| event.id)
            .collect()
    };
    effective(Operation::CreateEvents)
        .intersection(&effective(Operation::DeleteEvents))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_file_comes_back_to_a_planner_that_went_on() {
    let world = town(3, 80, START).await;
    let mut filled = fill(&world, 3, Rendering::Winter);
    json(&world, &["sync", "--json"]).await;
    let copy = world.dir.path().join("copy.db");
    world
        .run_at(START, &["backup", copy.to_str().unwrap()], |_| {})
        .await
        .expect(0);
    approve(&world).await;
    json(&world, &["sync", "--json"]).await;
    life_goes_on(&world, &mut filled, "made-after-the-copy");
    json(&world, &["sync", "--json"]).await;
    is_in_step(&world, &filled, "before");
    // What was moved may be told again, as it is now.
    let made_or_removed = || {
        let told = [Operation::CreateEvents, Operation::DeleteEvents]
            .into_iter()
            .flat_map(|operation| world.planner.calls(operation));
        told.flat_map(|call| call.detail.events)
            .filter(|event| event.effective)
            .count()
    };
    let before = made_or_removed();

    lose_state(&world);
    std::fs::copy(&copy, world.state()).unwrap();
    let story = "restored";
    json(&world, &["sync", "--json"]).await;
    is_in_step(&world, &filled, story);
    assert_eq!(made_or_removed(), before, "{story}");
    nothing_is_left(&world, story).await;
    let status = json(&world, &["status", "--json"]).await;
    for calendar in status["syncs"][0]["calendars"].as_array().unwrap() {
        assert_eq!(calendar["counts"]["held"], 0, "{calendar:#}");
    }

    // Restored once more, and this time life goes on before it is noticed: what was made after the copy goes, and
    // what was moved moves on.
    lose_state(&world);
    std::fs::copy(&copy, world.state()).unwrap();
    let item = world.exchange.find(&address(1), "made-after-the-copy")[0];
    world.exchange.delete(item).unwrap();
    let made = filled
        .live
        .iter()
        .position(|live| live.ids[0] == "made-after-the-copy")
        .unwrap();
    filled.live.swap_remove(made);
    life_goes_on(&world, &mut filled, "made-after-all");
    // The copy is noticed and compared at once; of what it does not know and nobody stands for, somebody decides.
    json(&world, &["sync", "--json"]).await;
    assert_eq!(approve(&world).await, 1);
    json(&world, &["sync", "--json"]).await;
    is_in_step(&world, &filled, "restored while life went on");
    nothing_is_left(&world, "restored while life went on").await;
}
