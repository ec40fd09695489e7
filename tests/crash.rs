//! The program is killed in the middle of a sync, again and again, and started again: in the end Planner holds what
//! it holds after a sync that nobody disturbed, and was told everything once.
//!
//! The moments lie anywhere among the requests of a first sync of 20 calendars, and of a second one after changes.
//! `CALBRIDGE_KILLS=N` says how many kills of first syncs there are. Every run plays two fixed seeds and new ones;
//! `CALBRIDGE_CRASH_SEED=N` plays one again. A failure names its own.
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

#[path = "crash/calendars.rs"]
mod calendars;
#[path = "crash/moment.rs"]
mod moment;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use calbridge_sandbox::planner::{Operation, Resource};
use calendars::{addresses, calendar, change};
use jiff::Timestamp;
use moment::{Dice, Hit, Moment, Phase, Usual};
use support::{ANNA, BO, NOW, ROOM, World};

/// Kills of first syncs when nothing else is asked for.
const SAMPLE: usize = 10;
/// So few, that a sync makes many calls.
const EVENTS_PER_CALL: usize = 4;
/// When the second sync takes place.
const LATER: &str = "2026-11-23T08:30:00Z";

/// Address, id, start, end.
type Fact = (String, String, String, String);

/// Which sync is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

impl Which {
    fn now(self) -> &'static str {
        match self {
            Self::First => NOW,
            Self::Second => LATER,
        }
    }
}

/// What an undisturbed sync comes to, and how much it does on the way.
struct Undisturbed {
    content: Vec<Fact>,
    usual: Usual,
    /// How often which id was effectively created and deleted.
    creates: BTreeMap<String, usize>,
    deletes: BTreeMap<String, usize>,
}

/// The servers with 20 calendars, as they are before the sync that is killed.
async fn world(which: Which) -> World {
    let world = World::new().await;
    for (person, address) in addresses().into_iter().enumerate() {
        if ![ANNA, BO, ROOM].contains(&address.as_str()) {
            world.exchange.add_person("Somebody", &address).unwrap();
            world
                .planner
                .add_resource(Resource::case_worker("Somebody", &address));
        }
        let report = world
            .exchange
            .seed_ics(&address, &calendar(person))
            .unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
    }
    world.configure(|text| {
        text.replace(
            "calls_per_minute",
            &format!("max_events_per_call = {EVENTS_PER_CALL}\ncalls_per_minute"),
        )
    });
    if which == Which::Second {
        world.sync().await;
        let now: Timestamp = LATER.parse().unwrap();
        world.planner.set_clock(Some(now));
        world.exchange.set_clock(Some(now));
        for (person, address) in addresses().into_iter().enumerate() {
            change(&world, person, &address);
        }
    }
    world
}

fn content(world: &World) -> Vec<Fact> {
    let mut content: Vec<Fact> = world
        .planner
        .content()
        .0
        .into_iter()
        .map(|record| {
            let (start, end) = (record.start.to_string(), record.end.to_string());
            (record.mailbox, record.id, start, end)
        })
        .collect();
    content.sort();
    content
}

/// How often each of these ids was effectively created or deleted so far.
fn effective<'a>(
    world: &World,
    operation: Operation,
    ids: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, usize> {
    ids.into_iter()
        .map(|id| (id.clone(), world.planner.effective(operation, id)))
        .filter(|(_, times)| *times > 0)
        .collect()
}

/// Every id that Planner was ever told to do something with.
fn ids_told(world: &World, operation: Operation) -> BTreeSet<String> {
    world
        .planner
        .calls(operation)
        .into_iter()
        .flat_map(|call| call.detail.events)
        .map(|event| event.id)
        .collect()
}

async fn undisturbed(which: Which) -> Undisturbed {
    let world = world(which).await;
    let before: BTreeSet<Fact> = content(&world).into_iter().collect();
    let (exchange, planner) = (world.exchange.ledger().len(), world.planner.ledger().len());
    let begun = Instant::now();
    world.run_at(which.now(), &["sync"], |_| {}).await.expect(0);
    let took = begun.elapsed();
    let content = content(&world);
    let usual = Usual {
        exchange: world.exchange.ledger().len() - exchange,
        planner: world.planner.ledger().len() - planner,
        took,
    };
    let changed = content.iter().filter(|fact| !before.contains(fact)).count();
    assert!(
        usual.planner > 40 && usual.exchange > 20 && changed > 50,
        "too little to be disturbed: {usual:?}, {changed} records changed"
    );
    let creates = effective(
        &world,
        Operation::CreateEvents,
        &ids_told(&world, Operation::CreateEvents),
    );
    let deletes = effective(
        &world,
        Operation::DeleteEvents,
        &ids_told(&world, Operation::DeleteEvents),
    );
    assert!(creates.values().all(|times| *times == 1), "{creates:?}");
    assert_eq!(deletes.is_empty(), which == Which::First, "{deletes:?}");
    Undisturbed {
        content,
        usual,
        creates,
        deletes,
    }
}

/// One world, in which a sync is killed some times and then left to end.
async fn killed_again_and_again(which: Which, seed: u64, undisturbed: &Undisturbed) -> Vec<Hit> {
    let mut dice = Dice(seed);
    let world = world(which).await;
    let told_before = world.planner.ledger().len();
    let done = (world.exchange.ledger().len(), told_before);
    let mut story = format!("{which:?} sync, CALBRIDGE_CRASH_SEED={seed}:");
    let mut hits = Vec::new();
    for moment in Moment::some(&mut dice, seed) {
        let hit = moment
            .kill(&world, which.now(), done, &undisturbed.usual, &mut dice)
            .await;
        let what = match &hit {
            Some(hit) => format!("killed {hit}"),
            None => "ended by itself".to_owned(),
        };
        story.push_str(&format!(
            "\n  {what}; Planner holds {}",
            content(&world).len()
        ));
        match hit {
            Some(hit) => hits.push(hit),
            None => break,
        }
    }
    println!("{story}");

    let end = world.run_at(which.now(), &["sync", "--json"], |_| {}).await;
    assert_eq!(end.code, Some(0), "{story}\n{end:?}");
    assert_eq!(content(&world), undisturbed.content, "{story}");

    // Nothing is left to do, nor would be if all of Exchange and Planner were looked at.
    for args in [
        &["plan", "--json"][..],
        &["plan", "--full", "--reconcile", "--json"],
    ] {
        let plan = world.run_at(which.now(), args, |_| {}).await;
        assert_eq!(plan.code, Some(0), "{story}\n{plan:?}");
        assert_eq!(plan.json()["writes"], 0, "{story}\n{plan:?}");
    }
    told_once(&world, undisturbed, told_before, &story);
    hits
}

/// What Planner was told on the way: each event created once, deleted only what an undisturbed sync deletes, and
/// nothing but what holds in the end.
fn told_once(world: &World, undisturbed: &Undisturbed, told_before: usize, story: &str) {
    let held: BTreeSet<&Fact> = undisturbed.content.iter().collect();
    for operation in [Operation::CreateEvents, Operation::UpdateEvents] {
        for event in world
            .planner
            .calls(operation)
            .into_iter()
            .filter(|call| call.number > u64::try_from(told_before).unwrap())
            .flat_map(|call| call.detail.events)
        {
            let (start, end) = (event.start.to_string(), event.end.to_string());
            let fact = (event.mailbox, event.id, start, end);
            assert!(held.contains(&fact), "{operation:?} {fact:?}: {story}");
        }
    }
    // No other id, and none more often.
    for (operation, usual) in [
        (Operation::CreateEvents, &undisturbed.creates),
        (Operation::DeleteEvents, &undisturbed.deletes),
    ] {
        let told = ids_told(world, operation);
        let strange: Vec<&String> = told.iter().filter(|id| !usual.contains_key(*id)).collect();
        assert!(strange.is_empty(), "{operation:?} {strange:?}: {story}");
        let times = effective(world, operation, &told);
        assert_eq!(&times, usual, "{operation:?}: {story}");
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// Kills syncs in world after world, some worlds at a time, until there were enough kills.
async fn killed(which: Which, wanted: usize) {
    let undisturbed = Arc::new(undisturbed(which).await);
    if let Some(seed) = number("CALBRIDGE_CRASH_SEED") {
        killed_again_and_again(which, seed, &undisturbed).await;
        return;
    }
    let begun = Instant::now();
    let new = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let next = Arc::new(AtomicUsize::new(0));
    let hits = Arc::new(Mutex::new(Vec::<Hit>::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (undisturbed, next, hits) = (undisturbed.clone(), next.clone(), hits.clone());
        tasks.spawn(async move {
            while hits.lock().unwrap().len() < wanted {
                let number = u64::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                let seed = if number < 2 { number + 1 } else { new + number };
                let new = killed_again_and_again(which, seed, &undisturbed).await;
                hits.lock().unwrap().extend(new);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    let hits = hits.lock().unwrap();
    report(
        which,
        &hits,
        next.load(Ordering::Relaxed),
        begun.elapsed(),
        &undisturbed,
    );
    for phase in Phase::ALL {
        // The phases take turns.
        let kills = hits.iter().filter(|hit| hit.phase == phase).count();
        assert!(
            wanted < SAMPLE || kills * (Phase::ALL.len() + 1) >= wanted,
            "{kills} kills {phase}"
        );
    }
}

/// Where the kills fell.
fn report(which: Which, hits: &[Hit], worlds: usize, took: Duration, undisturbed: &Undisturbed) {
    let count = |key: &dyn Fn(&Hit) -> String| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for hit in hits {
            *counts.entry(key(hit)).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(name, times)| format!("{name}: {times}"))
            .collect();
        counts.join(", ")
    };
    println!(
        "{which:?} sync of {} calendars ({} requests to Exchange, {} to Planner, {} ms): {} kills in {worlds} worlds, {} s",
        addresses().len(),
        undisturbed.usual.exchange,
        undisturbed.usual.planner,
        undisturbed.usual.took.as_millis(),
        hits.len(),
        took.as_secs(),
    );
    println!("  by phase: {}", count(&|hit| hit.phase.to_string()));
    println!("  by request: {}", count(&|hit| hit.operation.clone()));
    println!(
        "  by tenth of the sync: {}",
        count(&|hit| format!("{:02}", (hit.progress / 10).min(9) + 1))
    );
}

fn wanted() -> usize {
    number("CALBRIDGE_KILLS").map_or(SAMPLE, |kills| usize::try_from(kills).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sync_killed_again_and_again_ends_as_an_undisturbed_one() {
    killed(Which::First, wanted()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sync_killed_again_and_again_ends_as_an_undisturbed_one() {
    killed(Which::Second, wanted() / 2).await;
}
