//! The whole engine through simulated lives of two years: people change their calendars, systems fail and lie, the
//! program dies and comes back, its memory is lost and restored. In between and in the end the sink must hold what an
//! oracle says that shares no code with the planner.
//!
//! Each test plays a share of the seeds `0..CALBRIDGE_SEEDS` (default: few, `.ci/run` plays a thousand);
//! `CALBRIDGE_SEED=N` plays one. A life that fails is shortened until nothing more can be left out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    unreachable_pub
)]

mod acts;
mod guard;
mod run;
mod systems;
mod truth;

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use acts::Act;
use run::{Place, Setting};

const SHARES: u64 = 4;
/// How long a failure is shortened, unless `CALBRIDGE_PATIENCE` says otherwise (in seconds).
const PATIENCE: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Every eighth life is remembered in a file, which can be backed up and restored; in every sixteenth there are more
/// people than are worked on together; in every fourth the sink assigns ids, in every fifth its listings are late.
fn setting(seed: u64) -> Setting {
    Setting {
        place: if seed % 8 == 7 {
            Place::File(tempfile::tempdir().unwrap())
        } else {
            Place::Memory
        },
        people: if seed % 16 == 5 { 12 } else { 3 },
        assigns_ids: (seed / 8) % 4 == 3,
        delay: SignedDuration::from_mins(if seed % 5 == 4 { 10 } else { 0 }),
    }
}

fn life(seed: u64) -> Vec<Act> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    acts::life(setting(seed).people)
        .new_tree(&mut runner)
        .unwrap()
        .current()
}

fn play(seed: u64) {
    let acts = life(seed);
    let Err(why) = run::play(&acts, setting(seed)) else {
        return;
    };
    println!("seed {seed}: {why}");
    let (acts, why) = shortened(acts, why, |acts| run::play(acts, setting(seed)).err());
    panic!(
        "seed {seed}: {why}\nshortened to {} acts: {acts:?}",
        acts.len()
    );
}

/// Leaves out what can be left out without the failure going away: halves first, then less and less.
fn shortened(
    mut acts: Vec<Act>,
    mut why: String,
    fails: impl Fn(&[Act]) -> Option<String>,
) -> (Vec<Act>, String) {
    let begun = Instant::now();
    let patience = Duration::from_secs(number("CALBRIDGE_PATIENCE").unwrap_or(PATIENCE));
    let mut size = acts.len() / 2;
    while size > 0 {
        let (mut at, mut shorter) = (0, false);
        while at < acts.len() {
            if begun.elapsed() > patience {
                return (acts, why);
            }
            let mut fewer = acts.clone();
            fewer.drain(at..(at + size).min(acts.len()));
            match fails(&fewer) {
                Some(still) => (acts, why, shorter) = (fewer, still, true),
                None => at += size,
            }
        }
        if !shorter || size > 1 {
            size /= 2;
        }
    }
    (acts, why)
}

fn share(mine: u64) {
    if let Some(seed) = number("CALBRIDGE_SEED") {
        if seed % SHARES == mine {
            play(seed);
        }
        return;
    }
    let seeds = number("CALBRIDGE_SEEDS").unwrap_or(24);
    let mut played = 0;
    for seed in (0..seeds).filter(|seed| seed % SHARES == mine) {
        play(seed);
        played += 1;
    }
    println!(
        "{played} lives of two years, seeds {mine}, {}, ... below {seeds}",
        mine + SHARES
    );
}

#[test]
fn lives_of_two_years_end_in_step_first_share() {
    share(0);
}

#[test]
fn lives_of_two_years_end_in_step_second_share() {
    share(1);
}

#[test]
fn lives_of_two_years_end_in_step_third_share() {
    share(2);
}

#[test]
fn lives_of_two_years_end_in_step_fourth_share() {
    share(3);
}

/// With a sink that assigns ids: a death in the middle of making a record anew; a record of unknown fate beside a lost one
/// with the same UID; a calendar that becomes empty while nobody knows of one of its records whether it is there.
#[test]
fn lives_that_went_wrong_once() {
    use acts::Writing;
    let lives: [Vec<Act>; 3] = [
        vec![
            Act::Days {
                who: 1,
                day: 81,
                days: 2,
            },
            Act::Sync {
                full: false,
                reconcile: false,
            },
            Act::Delete { who: 1, item: 33 },
            Act::Crash {
                call: 12,
                processed: true,
            },
            Act::Sync {
                full: false,
                reconcile: false,
            },
            Act::Undelete { who: 1, item: 15 },
            Act::Sync {
                full: false,
                reconcile: true,
            },
        ],
        vec![
            Act::Single {
                who: 2,
                day: 87,
                quarter: 16,
                length: 202,
                zone: 4,
            },
            Act::Writing {
                trouble: Writing::Silent { calls: 2 },
            },
            Act::Sync {
                full: false,
                reconcile: false,
            },
            Act::Lose { nth: 95 },
            Act::Copy {
                who: 2,
                item: 11,
                day: 70,
            },
            Act::Sync {
                full: true,
                reconcile: true,
            },
        ],
        vec![
            Act::Single {
                who: 0,
                day: 118,
                quarter: 85,
                length: 44,
                zone: 2,
            },
            Act::Single {
                who: 0,
                day: 38,
                quarter: 86,
                length: 178,
                zone: 2,
            },
            Act::Pass { hours: 51 },
            Act::Writing {
                trouble: Writing::Silent { calls: 3 },
            },
            Act::Single {
                who: 0,
                day: 99,
                quarter: 12,
                length: 185,
                zone: 2,
            },
            Act::Pass { hours: 26 },
            Act::Series {
                who: 0,
                day: 38,
                quarter: 25,
                every: 30,
                count: 9,
                zone: 3,
                all_day: true,
            },
            Act::Repeat {
                who: 0,
                item: 18,
                every: 14,
                count: 10,
            },
            Act::Pass { hours: 149 },
            Act::Sync {
                full: false,
                reconcile: false,
            },
            Act::Pass { hours: 162 },
            Act::Writing {
                trouble: Writing::Lost { calls: 3 },
            },
            Act::Sync {
                full: false,
                reconcile: false,
            },
            Act::Pass { hours: 83 },
            Act::Sync {
                full: false,
                reconcile: false,
            },
            Act::Clear { who: 0 },
        ],
    ];
    for (n, acts) in lives.iter().enumerate() {
        let setting = Setting {
            place: Place::Memory,
            people: 3,
            assigns_ids: true,
            delay: SignedDuration::ZERO,
        };
        assert_eq!(run::play(acts, setting), Ok(()), "life {n}");
    }
}
