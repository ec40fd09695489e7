//! The program is killed in the middle of a first sync, again and again, and started again: in the end Planner
//! holds what it holds after a sync that nobody disturbed, and was told everything once.
//!
//! Every run plays fixed seeds and one that is new; `CALBRIDGE_CRASH_SEED=N` plays one again. A failure names its own.
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

mod support;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use calbridge_sandbox::planner::{Operation, Resource};
use jiff::{SignedDuration, Timestamp};
use support::{NOW, World};

/// As many syncs are killed before one is left to come to its end.
const KILLS: usize = 6;
const PEOPLE: usize = 7;
/// So few, that a first sync makes many calls.
const EVENTS_PER_CALL: usize = 4;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// When the program is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// It has sent its n-th request to one side, which was processed or not; it has no answer.
    Request {
        planner: bool,
        nth: usize,
        processed: bool,
    },
    /// So long after its start, wherever it is.
    After(Duration),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request {
                planner,
                nth,
                processed,
            } => {
                let side = if *planner { "Planner" } else { "Exchange" };
                let when = if *processed { "after" } else { "before" };
                write!(f, "{when} request {nth} to {side} is processed")
            }
            Self::After(time) => write!(f, "{} ms after its start", time.as_millis()),
        }
    }
}

/// What an undisturbed sync came to, and how much it did on the way.
struct Undisturbed {
    content: Vec<Fact>,
    exchange: usize,
    planner: usize,
    took: Duration,
}

/// Address, id, start, end.
type Fact = (String, String, String, String);

fn address(person: usize) -> String {
    format!("person{person}@kommune.example")
}

/// A calendar like many: a weekly series with exceptions, days off, appointments, free time.
fn calendar(person: usize) -> String {
    let mut events = format!(
        "BEGIN:VEVENT\r\nUID:weekly-{person}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART;TZID=Europe/Copenhagen:20261104T{:02}0000\r\nDURATION:PT45M\r\nRRULE:FREQ=WEEKLY\r\nEXDATE;TZID=Europe/Copenhagen:20261209T{:02}0000\r\nSUMMARY:Team\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:weekly-{person}\r\nDTSTAMP:20261101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Copenhagen:20261202T{:02}0000\r\nDTSTART;TZID=Europe/Copenhagen:20261203T110000\r\nDURATION:PT30M\r\nSUMMARY:Team, moved\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:off-{person}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART;VALUE=DATE:202612{:02}\r\nDTEND;VALUE=DATE:202612{:02}\r\nSUMMARY:Off\r\nX-MICROSOFT-CDO-BUSYSTATUS:OOF\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:lunch-{person}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:20261127T110000Z\r\nDTEND:20261127T113000Z\r\nSUMMARY:Lunch\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT\r\n",
        8 + person,
        8 + person,
        8 + person,
        10 + person,
        12 + person,
    );
    for day in 24..31 {
        events.push_str(&format!(
            "BEGIN:VEVENT\r\nUID:single-{person}-{day}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:202611{day}T1{person}0000Z\r\nDTEND:202611{day}T1{person}3000Z\r\nSUMMARY:Single\r\nEND:VEVENT\r\n"
        ));
    }
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n{events}END:VCALENDAR\r\n")
}

async fn world() -> World {
    let world = World::new().await;
    for person in 0..PEOPLE {
        let address = address(person);
        world.exchange.add_person("Somebody", &address).unwrap();
        let report = world
            .exchange
            .seed_ics(&address, &calendar(person))
            .unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        world
            .planner
            .add_resource(Resource::case_worker("Somebody", &address));
    }
    world.configure(|text| {
        text.replace(
            "calls_per_minute",
            &format!("max_events_per_call = {EVENTS_PER_CALL}\ncalls_per_minute"),
        )
    });
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

async fn undisturbed() -> Undisturbed {
    let world = world().await;
    let begun = Instant::now();
    world.sync().await;
    let result = Undisturbed {
        took: begun.elapsed(),
        content: content(&world),
        exchange: world.exchange.ledger().len(),
        planner: world.planner.ledger().len(),
    };
    assert!(
        result.content.len() > PEOPLE * 15 && result.planner > PEOPLE * 3,
        "too little to be disturbed: {} records, {} calls",
        result.content.len(),
        result.planner
    );
    result
}

fn moment(dice: &mut Dice, usual: &Undisturbed, kills: usize) -> Moment {
    // The first one falls in the middle for certain.
    if kills > 0 && dice.below(5) == 0 {
        let most = usize::try_from(usual.took.as_millis()).unwrap();
        let millis = u64::try_from(dice.below(most)).unwrap();
        return Moment::After(Duration::from_millis(millis));
    }
    // Three of four at Planner, where something can be doubled.
    let planner = kills == 0 || dice.below(4) > 0;
    let most = if planner {
        usual.planner
    } else {
        usual.exchange
    };
    Moment::Request {
        planner,
        // Later syncs have less to do; the moment should come in most of them.
        nth: 1 + dice.below(most.div_ceil(4)),
        processed: dice.below(2) == 0,
    }
}

/// Kills a sync at a moment; `false` if it had ended before.
async fn kill_at(world: &World, now: &str, moment: Moment) -> bool {
    let mut ready: Box<dyn Fn() -> bool> = Box::new(|| false);
    let mut deadline = None;
    match moment {
        Moment::Request {
            planner,
            nth,
            processed,
        } => {
            let kind = if processed {
                "hang-after"
            } else {
                "hang-before"
            };
            let fault = format!("*#{nth}={kind}").parse().unwrap();
            if planner {
                let (ledger, wanted) = (world.planner.ledger(), world.planner.ledger().len() + nth);
                world.planner.inject(fault).unwrap();
                ready = Box::new(move || ledger.len() >= wanted);
            } else {
                let (ledger, wanted) =
                    (world.exchange.ledger(), world.exchange.ledger().len() + nth);
                world.exchange.inject(fault).unwrap();
                ready = Box::new(move || ledger.len() >= wanted);
            }
        }
        Moment::After(time) => deadline = Some(Instant::now() + time),
    }
    let mut child = world.start_at(now, &["sync"]);
    let begun = Instant::now();
    let killed = loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(
                matches!(status.code(), Some(0 | 5)),
                "{status}: {}",
                world.started_log()
            );
            break false;
        }
        if ready() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // SIGKILL, on Windows TerminateProcess: nothing of the program runs after it.
            child.kill().await.unwrap();
            break true;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the program hangs: {}",
            world.started_log()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    world.planner.clear_faults();
    world.exchange.clear_faults();
    killed
}

async fn killed_again_and_again(seed: u64, usual: &Undisturbed) {
    let mut dice = Dice(seed);
    let world = world().await;
    let mut now: Timestamp = NOW.parse().unwrap();
    let mut story = format!("CALBRIDGE_CRASH_SEED={seed}:");
    let mut kills = 0;
    for _ in 0..KILLS {
        let moment = moment(&mut dice, usual, kills);
        let killed = kill_at(&world, &now.to_string(), moment).await;
        kills += usize::from(killed);
        story.push_str(&format!(
            "\n  {} {moment}, Planner holds {}",
            if killed {
                "killed"
            } else {
                "ended, not killed"
            },
            content(&world).len(),
        ));
        now = now.checked_add(SignedDuration::from_mins(2)).unwrap();
        world.planner.set_clock(Some(now));
        world.exchange.set_clock(Some(now));
    }
    println!("{story}");
    assert!(kills > 0, "no kill took place: {story}");

    let end = world
        .run_at(&now.to_string(), &["sync", "--json"], |_| {})
        .await;
    assert_eq!(end.code, Some(0), "{story}\n{end:?}");
    assert_eq!(content(&world), usual.content, "{story}");

    // Nothing is left to do, nor would be if Planner's content were looked at.
    for args in [
        &["plan", "--json"][..],
        &["plan", "--full", "--reconcile", "--json"],
    ] {
        let plan = world.run_at(&now.to_string(), args, |_| {}).await;
        assert_eq!(plan.code, Some(0), "{story}\n{plan:?}");
        assert_eq!(plan.json()["writes"], 0, "{story}\n{plan:?}");
    }

    told_once(&world, usual, &story);
}

/// What Planner was told on the way: no deletes, each event created once, and nothing but what holds in the end.
fn told_once(world: &World, usual: &Undisturbed, story: &str) {
    let deletes = world.planner.calls(Operation::DeleteEvents);
    assert!(deletes.is_empty(), "{story}\n{deletes:?}");
    let held: BTreeSet<&Fact> = usual.content.iter().collect();
    for operation in [Operation::CreateEvents, Operation::UpdateEvents] {
        for event in world
            .planner
            .calls(operation)
            .into_iter()
            .flat_map(|call| call.detail.events)
        {
            let (start, end) = (event.start.to_string(), event.end.to_string());
            let fact = (event.mailbox, event.id, start, end);
            assert!(held.contains(&fact), "{operation:?} {fact:?}: {story}");
        }
    }
    for (_, id, ..) in &usual.content {
        assert_eq!(world.planner.effective_creates(id), 1, "{id}: {story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sync_killed_again_and_again_ends_as_an_undisturbed_one() {
    let usual = undisturbed().await;
    let seeds = match std::env::var("CALBRIDGE_CRASH_SEED") {
        Ok(seed) => vec![seed.parse().expect("CALBRIDGE_CRASH_SEED is a number")],
        Err(_) => {
            let new = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs();
            vec![1, 2, new]
        }
    };
    for seed in seeds {
        killed_again_and_again(seed, &usual).await;
    }
}
