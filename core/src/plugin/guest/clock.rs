//! The time, on the library's side.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::abi::LogLevel;
use super::super::messages::{Heard, LogRecord};
use super::log::Sink;
use crate::clock::Clock;

/// The system's clock, or whatever the host says the time is. What servers tell goes to the host's clock.
pub(super) struct GuestClock {
    handle: u64,
    begun: Instant,
    /// Milliseconds since the epoch; [`RUNS`]: the system's clock counts.
    stands_at: AtomicI64,
    host: Sink,
}

/// No instant that can be: jiff's range ends long before.
const RUNS: i64 = i64::MIN;

impl std::fmt::Debug for GuestClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestClock").finish_non_exhaustive()
    }
}

impl GuestClock {
    pub(super) fn new(handle: u64, stands_at: Option<Timestamp>, host: Sink) -> Self {
        Self {
            handle,
            begun: Instant::now(),
            stands_at: AtomicI64::new(stands_at.map_or(RUNS, Timestamp::as_millisecond)),
            host,
        }
    }

    pub(super) fn set(&self, now: Timestamp) {
        self.stands_at.store(now.as_millisecond(), Ordering::SeqCst);
    }
}

impl Clock for GuestClock {
    fn now(&self) -> Timestamp {
        match self.stands_at.load(Ordering::SeqCst) {
            RUNS => Timestamp::now(),
            at => Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    fn elapsed(&self) -> Option<Duration> {
        (self.stands_at.load(Ordering::SeqCst) == RUNS).then(|| self.begun.elapsed())
    }

    fn hear(&self, _: &str, theirs: Timestamp) {
        let ahead = theirs.duration_since(self.now());
        let record = LogRecord {
            heard: Some(Heard {
                handle: self.handle,
                ahead_ms: i64::try_from(ahead.as_millis()).unwrap_or_default(),
            }),
            ..LogRecord::default()
        };
        if let Ok(record) = serde_json::to_vec(&record) {
            (self.host)(LogLevel::Info.number(), &record);
        }
    }
}
