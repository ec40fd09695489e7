//! When the program is killed, and how the servers see to it.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::fmt;
use std::time::{Duration, Instant};

use crate::support::World;

/// Kills in one world, one after the other.
const IN_A_ROW: usize = 5;
/// After an answer the program stores what it says within about this time, in microseconds.
const STORING: usize = 30_000;

/// A commit follows another one within about this time, in microseconds.
const COMMITTING: usize = 2_000;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// How much an undisturbed sync does.
#[derive(Debug)]
pub struct Usual {
    pub exchange: usize,
    pub planner: usize,
    pub took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A request has come and is not processed.
    Before,
    /// It is processed; no answer is sent.
    Processed,
    /// Half of the answer is sent.
    Half,
    /// The answer is sent, and the program is at work on it.
    Between,
    /// Some time after the program's start.
    Time,
}

impl Phase {
    pub const ALL: [Self; 5] = [
        Self::Before,
        Self::Processed,
        Self::Half,
        Self::Between,
        Self::Time,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before processing",
            Self::Processed => "processed, no answer",
            Self::Half => "half an answer",
            Self::Between => "between commits",
            Self::Time => "at a random time",
        })
    }
}

/// A kill that took place.
#[derive(Debug)]
pub struct Hit {
    pub phase: Phase,
    /// The request that it fell on, or before.
    pub operation: String,
    /// How far the requests were, in percent of what an undisturbed sync makes.
    pub progress: usize,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            phase,
            operation,
            progress,
        } = self;
        write!(f, "{phase}, {operation}, at {progress} %")
    }
}

/// When the program is killed.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    phase: Phase,
    /// Where in the sync, in millionths of all its requests.
    position: usize,
}

impl Moment {
    /// Some moments of one sync, in their order, each phase once.
    pub fn some(dice: &mut Dice, seed: u64) -> Vec<Self> {
        let turn = usize::try_from(seed % 5).unwrap();
        let mut moments: Vec<Self> = Phase::ALL
            .into_iter()
            .cycle()
            .skip(turn)
            .take(IN_A_ROW)
            .map(|phase| Self {
                phase,
                position: dice.below(1_000_000),
            })
            .collect();
        moments.sort_by_key(|moment| moment.position);
        moments
    }

    /// Starts a sync and kills it at this moment; nothing if it ended before. `before` is how many requests Exchange
    /// and Planner had got before the first one of these syncs.
    pub async fn kill(
        self,
        world: &World,
        now: &str,
        before: (usize, usize),
        usual: &Usual,
        dice: &mut Dice,
    ) -> Option<Hit> {
        let (exchange, planner) = (world.exchange.ledger(), world.planner.ledger());
        let done = || (exchange.len() - before.0, planner.len() - before.1);
        let progress = || {
            let (exchange, planner) = done();
            (exchange + planner) * 100 / (usual.exchange + usual.planner)
        };
        // Uniform over the requests of both; those of one side come in their order.
        let at_planner = dice.below(usual.exchange + usual.planner) < usual.planner;
        let (so_far, all) = if at_planner {
            (done().1, usual.planner)
        } else {
            (done().0, usual.exchange)
        };
        let nth = (self.position * all / 1_000_000 + 1)
            .saturating_sub(so_far)
            .max(1);
        let fault = match self.phase {
            Phase::Before => Some("hang-before"),
            Phase::Processed => Some("hang-after"),
            Phase::Half => Some("hang-half"),
            Phase::Between | Phase::Time => None,
        };
        if let Some(kind) = fault {
            let fault = format!("*#{nth}={kind}").parse().unwrap();
            if at_planner {
                world.planner.inject(fault).unwrap();
            } else {
                world.exchange.inject(fault).unwrap();
            }
        }
        let wanted = so_far + nth;
        let reached = || {
            let (exchange, planner) = done();
            (if at_planner { planner } else { exchange }) >= wanted
        };
        // So many commits are awaited, or none and some time instead.
        let commits = match self.phase {
            Phase::Between => dice.below(4),
            _ => 0,
        };
        let (at, then) = match self.phase {
            Phase::Time => {
                let left = 100_usize.saturating_sub(progress()).max(20);
                let most = usize::try_from(usual.took.as_micros()).unwrap() * left / 100;
                (Some(micros(dice.below(most))), Duration::ZERO)
            }
            Phase::Between if commits == 0 => (None, micros(dice.below(STORING))),
            Phase::Between => (None, micros(dice.below(COMMITTING))),
            // What was sent comes to the program.
            Phase::Half => (None, Duration::from_millis(10)),
            Phase::Before | Phase::Processed => (None, Duration::ZERO),
        };

        let mut child = world.start_at(now, &["sync"]);
        let begun = Instant::now();
        let mut killed = loop {
            if let Some(status) = child.try_wait().unwrap() {
                let log = world.started_log();
                assert_eq!(status.code(), Some(0), "{log}");
                break false;
            }
            if at.map_or_else(&reached, |at| begun.elapsed() >= at) {
                break true;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the program hangs: {}",
                world.started_log()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        if killed {
            for _ in 0..commits {
                next_commit(world).await;
            }
            tokio::time::sleep(then).await;
            killed = child.try_wait().unwrap().is_none();
            // SIGKILL, on Windows TerminateProcess: nothing of the program runs after it.
            child.kill().await.unwrap();
        }
        world.planner.clear_faults();
        world.exchange.clear_faults();
        let operation = match self.phase {
            Phase::Time => "(time)".to_owned(),
            _ if at_planner => name(
                planner
                    .all()
                    .get(before.1 + wanted - 1)
                    .map(|call| &call.operation),
            ),
            _ => name(
                exchange
                    .all()
                    .get(before.0 + wanted - 1)
                    .map(|call| &call.operation),
            ),
        };
        killed.then(|| Hit {
            phase: self.phase,
            operation,
            progress: progress(),
        })
    }
}

/// Waits until the program writes to its state, not for long: it may have nothing to write.
async fn next_commit(world: &World) {
    let log = world.dir.path().join("state.db-wal");
    let look = || {
        let found = std::fs::metadata(&log).ok()?;
        Some((found.len(), found.modified().ok()))
    };
    let (before, begun) = (look(), Instant::now());
    while look() == before && begun.elapsed() < micros(STORING) {
        tokio::task::yield_now().await;
    }
}

fn name(operation: Option<&String>) -> String {
    operation.cloned().unwrap_or_default()
}

fn micros(number: usize) -> Duration {
    Duration::from_micros(u64::try_from(number).unwrap())
}
