//! The one source of time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Tells the time. The core gives it to connectors, which never ask the system for it, so that a
/// simulation can run on a clock of its own.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// How long this clock has run, whatever it was set to meanwhile; none: it cannot tell.
    fn elapsed(&self) -> Option<Duration> {
        None
    }

    /// A server told the time: `who` is the connection's name, `theirs` what its clock shows now.
    fn hear(&self, who: &str, theirs: Timestamp) {
        let _ = (who, theirs);
    }

    /// What servers told last.
    fn heard(&self) -> Vec<Heard> {
        Vec::new()
    }
}

/// What a server's clock showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Theirs minus ours.
    pub ahead: SignedDuration,
    /// [`Clock::elapsed`] when it was heard.
    pub at: Duration,
}

/// The system's clock, which notes what servers' clocks show (the `Date` of their answers).
#[derive(Debug)]
pub struct SystemClock {
    begun: Instant,
    heard: Mutex<HashMap<String, Heard>>,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            heard: Mutex::default(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Option<Duration> {
        Some(self.begun.elapsed())
    }

    fn hear(&self, who: &str, theirs: Timestamp) {
        let heard = Heard {
            ahead: theirs.duration_since(self.now()),
            at: self.begun.elapsed(),
        };
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(who.to_owned(), heard);
    }

    fn heard(&self) -> Vec<Heard> {
        let all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }
}

/// A clock that stands still at one instant until it is set; for tests and for `--now`.
#[derive(Debug)]
pub struct FixedClock(std::sync::atomic::AtomicI64);

impl FixedClock {
    /// A clock that stands at `now` (millisecond precision).
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(std::sync::atomic::AtomicI64::new(now.as_millisecond()))
    }

    /// Sets the clock.
    pub fn set(&self, now: Timestamp) {
        self.0
            .store(now.as_millisecond(), std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(std::sync::atomic::Ordering::SeqCst))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
