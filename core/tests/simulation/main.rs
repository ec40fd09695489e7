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
mod run;
mod systems;
mod truth;

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use acts::Act;
use run::Place;

const SHARES: u64 = 4;
/// How long a failure is shortened, unless `CALBRIDGE_PATIENCE` says otherwise (in seconds).
const PATIENCE: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Every eighth life is remembered in a file, which can be backed up and restored.
fn place(seed: u64) -> Place {
    if seed % 8 == 7 {
        Place::File(tempfile::tempdir().unwrap())
    } else {
        Place::Memory
    }
}

fn life(seed: u64) -> Vec<Act> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    acts::life().new_tree(&mut runner).unwrap().current()
}

fn play(seed: u64) {
    let acts = life(seed);
    let Err(why) = run::play(&acts, place(seed)) else {
        return;
    };
    println!("seed {seed}: {why}");
    let (acts, why) = shortened(acts, why, |acts| run::play(acts, place(seed)).err());
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
