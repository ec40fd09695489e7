//! The power goes at any write: what was acknowledged is there afterwards, and no cursor is ahead of its views.
//!
//! A child process keeps a seeded history in a state file under `strace`, and notes each verb that the store has
//! acknowledged. From the log of its system calls follows what a disk may hold if the power goes just before any
//! of its writes: all that was synced, and of the rest nothing, everything, or some sectors. Each of these images is
//! opened, and must hold the history up to the last acknowledged verb, or that and the verb under way.
//!
//! A test run plays a short history. `CALBRIDGE_POWER_CUT_SEEDS=N` plays N long ones, new but for the first;
//! `CALBRIDGE_POWER_CUT_SEED=N` plays that one. Where `strace` is missing or may not trace, nothing is tested, unless `CALBRIDGE_POWER_CUT_REQUIRED` is set.
#![cfg(all(feature = "sqlite", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod disk;
mod history;
mod trace;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use calbridge_core::store::Store as _;
use calbridge_core::store::sqlite::SqliteStore;
use disk::{Disk, Image, Syncs, What};
use history::{Dice, Facts, History, Keeper, now};
use trace::Event;

const CHILD: &str = "CALBRIDGE_POWER_CUT_CHILD";
const SEED: &str = "CALBRIDGE_POWER_CUT_SEED";
const STEPS: &str = "CALBRIDGE_POWER_CUT_STEPS";
/// Verbs of a history, after those that add the calendars.
const SHORT: usize = 12;
const LONG: usize = 60;

/// Not a test by itself: what runs under `strace`.
#[tokio::test]
async fn child_that_keeps_a_history() {
    let Ok(folder) = std::env::var(CHILD) else {
        return;
    };
    let folder = Path::new(&folder);
    let history = History::new(number(SEED).unwrap(), steps(number(STEPS).unwrap()));
    let mut acknowledged = std::fs::File::create(folder.join("acknowledged")).unwrap();
    let mut keeper = Keeper::open(folder.join("state.db")).await;
    for at in 0..=history.steps.len() {
        if let Some(step) = at.checked_sub(1).and_then(|at| history.steps.get(at)) {
            keeper.keep(step).await;
        }
        // One call, so that it stands in the log after the verb's and before the next one's.
        acknowledged
            .write_all(format!("{at} {}", keeper.fence.0).as_bytes())
            .unwrap();
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

fn steps(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// Whether `strace` is here, and may trace: containers may forbid it.
fn strace_works() -> bool {
    let found = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        found || std::env::var_os("CALBRIDGE_POWER_CUT_REQUIRED").is_none(),
        "strace is not here, or may not trace"
    );
    found
}

/// A folder in memory where there is one: thousands of images are synced when they are opened.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Keeps a history under `strace`; answers what it did to the disk.
fn traced(seed: u64, steps: usize) -> Vec<Event> {
    let folder = folder();
    let log = folder.path().join("strace.log");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let status = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "1000000", "-o"])
        .arg(&log)
        .arg(format!("--trace={}", trace::CALLS))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_keeps_a_history"])
        .env(CHILD, &state)
        .env(SEED, seed.to_string())
        .env(STEPS, steps.to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "seed {seed}: {status}");
    let text = std::fs::read_to_string(&log).unwrap();
    trace::read(&text, &state)
}

/// A disk after the power went.
struct Cut {
    /// Number of the event before which it went.
    at: usize,
    what: What,
    image: Image,
    /// The last acknowledged verb, and the fence under which it was; none: the file was not even open.
    acknowledged: Option<(usize, i64)>,
}

#[derive(Default)]
struct Tally {
    cuts: usize,
    images: usize,
    failures: Vec<String>,
}

/// Cuts the power at every write of a history.
fn play(seed: u64, steps: usize, syncs: Syncs) -> Tally {
    let history = History::new(seed, steps);
    let states = history.states();
    let events = traced(seed, steps);
    let writes = events.iter().filter(|event| event.changes()).count();
    let acknowledged = events
        .iter()
        .filter(|event| matches!(event, Event::Acknowledged { .. }))
        .count();
    assert_eq!(acknowledged, history.steps.len() + 1, "seed {seed}");
    assert!(writes > 10 * steps, "seed {seed}: {writes} writes only");

    let (send, receive) = sync_channel::<Cut>(16);
    let receive = Mutex::new(receive);
    let tally = Mutex::new(Tally::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&receive, &states, &tally));
        }
        let mut dice = Dice(seed);
        let mut disk = Disk::new(syncs);
        let mut last = None;
        let mut seen = BTreeSet::new();
        let mut cuts = 0;
        for at in 0..=events.len() {
            let event = events.get(at);
            if event.is_none_or(Event::changes) {
                for what in What::ALL {
                    cuts += 1;
                    let image = disk.after_a_cut(what, &mut dice);
                    // The same image with the same acknowledged is the same test.
                    let mut hasher = DefaultHasher::new();
                    (&image, last).hash(&mut hasher);
                    if seen.insert(hasher.finish()) {
                        send.send(Cut {
                            at,
                            what,
                            image,
                            acknowledged: last,
                        })
                        .unwrap();
                    }
                }
            }
            match event {
                Some(Event::Acknowledged { verb, fence }) => last = Some((*verb, *fence)),
                Some(event) => disk.take(event),
                None => {}
            }
        }
        drop(send);
        tally.lock().unwrap_or_else(PoisonError::into_inner).cuts = cuts;
    });
    let tally = tally.into_inner().unwrap();
    println!(
        "{SEED}={seed}, {syncs:?}: {} verbs, {writes} writes, {} cuts, {} different images, {} bad",
        history.steps.len(),
        tally.cuts,
        tally.images,
        tally.failures.len(),
    );
    tally
}

fn work(cuts: &Mutex<Receiver<Cut>>, states: &[Facts], tally: &Mutex<Tally>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    loop {
        let next = cuts.lock().unwrap().recv();
        let Ok(cut) = next else {
            return;
        };
        let found = runtime.block_on(check(&cut, states));
        let mut tally = tally.lock().unwrap();
        tally.images += 1;
        if let Err(failure) = found {
            tally.failures.push(format!(
                "cut before event {}, {:?}, acknowledged {:?}: {failure}",
                cut.at, cut.what, cut.acknowledged
            ));
        }
    }
}

/// Opens what a power cut left.
async fn check(cut: &Cut, states: &[Facts]) -> Result<(), String> {
    let folder = folder();
    let path: PathBuf = folder.path().join("state.db");
    for (name, bytes) in &cut.image.0 {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let store =
        SqliteStore::open(&path, now()).map_err(|error| format!("it does not open: {error}"))?;
    let (verb, fence) = cut.acknowledged.unwrap_or((0, 0));
    let found = Facts::of(&store).await;
    let under_way = if cut.acknowledged.is_some() {
        verb + 1
    } else {
        0
    };
    if ![Some(&states[verb]), states.get(under_way)].contains(&Some(&found)) {
        return Err(states[verb].difference(&found));
    }
    // And work goes on.
    let next = store
        .acquire("after", now())
        .await
        .map_err(|error| error.to_string())?;
    if next.0 <= fence {
        return Err(format!("the fence is {} again after {fence}", next.0));
    }
    Ok(())
}

#[test]
fn whatever_was_acknowledged_survives_a_power_cut_at_any_write() {
    if !strace_works() {
        println!("skipped: strace is not here, or may not trace");
        return;
    }
    let begun = Instant::now();
    let (seeds, steps): (Vec<u64>, usize) =
        match (number(SEED), number("CALBRIDGE_POWER_CUT_SEEDS")) {
            (Some(seed), _) => (vec![seed], LONG),
            (None, None) => (vec![1], SHORT),
            (None, Some(count)) => {
                let new = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_secs();
                let seeds = (0..count).map(|at| if at == 0 { 1 } else { new + at });
                (seeds.collect(), LONG)
            }
        };
    let (mut cuts, mut images) = (0, 0);
    for seed in &seeds {
        let tally = play(*seed, steps, Syncs::Kept);
        assert!(
            tally.failures.is_empty(),
            "{SEED}={seed}: {} of {} images are bad, among them\n{}",
            tally.failures.len(),
            tally.images,
            tally.failures[..tally.failures.len().min(5)].join("\n")
        );
        cuts += tally.cuts;
        images += tally.images;
    }
    println!(
        "{} histories, {cuts} cuts, {images} different images, {} s",
        seeds.len(),
        begun.elapsed().as_secs()
    );
}

/// The check sees what is wrong: a store that does not wait for the disk loses what it acknowledged.
#[test]
fn a_disk_that_forgets_syncs_is_noticed() {
    if !strace_works() {
        println!("skipped: strace is not here, or may not trace");
        return;
    }
    for syncs in [Syncs::NoneOfTheLog, Syncs::None] {
        let tally = play(2, SHORT, syncs);
        assert!(
            tally.failures.len() > tally.images / 10,
            "{syncs:?}: {} of {}",
            tally.failures.len(),
            tally.images
        );
    }
}
