//! Times and sizes of the watch.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;

/// Times and sizes; those of a test are shorter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tempo {
    /// How long hints about one calendar are collected: one change makes several notifications.
    pub(crate) debounce: Duration,
    /// How often a feed without news gives a sign of life.
    pub(crate) alive: Duration,
    /// How long the first envelope of a stream may take.
    pub(crate) first: Duration,
    /// How long a stream may say nothing. Exchange says that it is alive about every 45 s.
    pub(crate) silence: Duration,
    /// How long a minute of `ConnectionTimeout` lasts.
    pub(crate) minute: Duration,
    /// How long a stream is asked to last, in minutes.
    pub(crate) minutes: u32,
    /// How long those that are subscribed wait for the last ones that are on their way.
    pub(crate) settle: Duration,
    /// How long they wait at most.
    pub(crate) gather: Duration,
    /// The first wait after a failure; doubled with each.
    pub(crate) retry: Duration,
    /// The longest.
    pub(crate) retry_most: Duration,
    /// The first wait where an operator has to do something.
    pub(crate) slow: Duration,
    /// The longest.
    pub(crate) slow_most: Duration,
    /// How often events are pulled.
    pub(crate) pull: Duration,
    /// After how long streams are tried again where they did not work.
    pub(crate) probe: Duration,
    /// After how many streams in a row that broke at once their calendars are pulled.
    pub(crate) gives_up: u32,
    /// How many calendars share one stream. EWS reads at most 200 subscriptions by one request.
    pub(crate) group: usize,
    /// How many subscriptions are made at once.
    pub(crate) at_once: usize,
}

impl Default for Tempo {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(200),
            alive: Duration::from_secs(20),
            first: Duration::from_secs(60),
            silence: Duration::from_secs(135),
            minute: Duration::from_secs(60),
            minutes: 29,
            settle: Duration::from_secs(2),
            gather: Duration::from_secs(20),
            retry: Duration::from_secs(5),
            retry_most: Duration::from_secs(10 * 60),
            slow: Duration::from_secs(5 * 60),
            slow_most: Duration::from_secs(4 * 60 * 60),
            pull: Duration::from_secs(60),
            probe: Duration::from_secs(60 * 60),
            gives_up: 6,
            group: 200,
            at_once: 4,
        }
    }
}

impl Tempo {
    /// The wait after so many failures in a row, from 1.
    pub(crate) fn back_off(&self, failures: u32) -> Duration {
        doubled(self.retry, failures).min(self.retry_most)
    }

    /// The same where an operator has to do something.
    pub(crate) fn slow_back_off(&self, failures: u32) -> Duration {
        doubled(self.slow, failures).min(self.slow_most)
    }
}

fn doubled(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(20))
}

/// Up to a quarter longer, so that many that failed together do not come back together. `now` is the host's clock:
/// two attempts differ by it.
pub(crate) fn jittered(wait: Duration, who: &str, now: Timestamp) -> Duration {
    let mut hasher = DefaultHasher::new();
    (who, now.as_nanosecond()).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 256).unwrap_or_default();
    wait.saturating_add(wait.saturating_mul(share) / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let tempo = Tempo::default();
        let seconds = |n| tempo.back_off(n).as_secs();
        assert_eq!([seconds(1), seconds(2), seconds(3)], [5, 10, 20]);
        assert_eq!((seconds(8), seconds(4_000_000_000)), (600, 600));
        assert_eq!(tempo.slow_back_off(1).as_secs(), 300);
        assert_eq!(tempo.slow_back_off(99).as_secs(), 4 * 3600);
    }

    #[test]
    fn those_that_failed_together_do_not_come_back_together() {
        let now = Timestamp::UNIX_EPOCH;
        let wait = Duration::from_secs(100);
        let waits: std::collections::BTreeSet<_> = (0..50)
            .map(|n| jittered(wait, &format!("calendar {n}"), now))
            .collect();
        assert!(waits.len() > 25, "{waits:?}");
        assert!(waits.iter().all(|one| (100..=125).contains(&one.as_secs())));
    }
}
