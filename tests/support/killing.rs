//! Kills the program at a moment: at a request to one of the servers, or after some time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::fmt;
use std::time::{Duration, Instant};

use crate::predecessor::Dice;
use crate::support::World;

/// When the program is killed.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
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

impl Moment {
    /// Any moment of a run that makes about so many requests and takes about so long.
    pub fn any(dice: &mut Dice, planner: usize, exchange: usize, took: Duration) -> Self {
        // Early ones come in any run, late ones only in one that has much to do.
        let few = 4;
        let early = dice.below(2) == 0;
        let (planner, exchange) = if early {
            (few, few)
        } else {
            (planner, exchange)
        };
        match dice.below(6) {
            0 => {
                let millis = usize::try_from(took.as_millis()).unwrap();
                Self::After(Duration::from_millis(
                    u64::try_from(dice.below(millis)).unwrap(),
                ))
            }
            1 => Self::Request {
                planner: false,
                nth: 1 + dice.below(exchange),
                processed: dice.below(2) == 0,
            },
            _ => Self::Request {
                planner: true,
                nth: 1 + dice.below(planner),
                processed: dice.below(2) == 0,
            },
        }
    }
}

/// Kills a command at a moment; `false` if it had ended before.
pub async fn kill_at(world: &World, now: &str, args: &[&str], moment: Moment) -> bool {
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
    let mut child = world.start_at(now, args);
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
            begun.elapsed() < Duration::from_secs(120),
            "the program hangs: {}",
            world.started_log()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    world.planner.clear_faults();
    world.exchange.clear_faults();
    killed
}
