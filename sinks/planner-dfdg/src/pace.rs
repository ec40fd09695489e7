//! Calls per minute.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Spaces calls evenly, with room for a burst of a sixth of a minute's calls.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// How far ahead of the even spacing calls may run.
    slack: Duration,
    /// When the next call would be due if all were spaced evenly.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn per_minute(calls: u32) -> Self {
        let calls = calls.max(1);
        Self {
            interval: Duration::from_secs(60) / calls,
            slack: Duration::from_secs(10),
            due: Mutex::new(None),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// How long it would take, if that is longer than `patience`. No turn is taken then.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<(), Duration> {
        let at = self.reserve(Instant::now(), patience)?;
        tokio::time::sleep_until(at).await;
        Ok(())
    }

    fn reserve(&self, now: Instant, patience: Duration) -> Result<Instant, Duration> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = due.unwrap_or(now).max(now);
        let start = mine.checked_sub(self.slack).unwrap_or(now).max(now);
        let wait = start.saturating_duration_since(now);
        if wait > patience {
            return Err(wait);
        }
        *due = Some(mine + self.interval);
        Ok(start)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn a_burst_passes_then_calls_are_spaced_and_then_refused() {
        let pace = Pace::per_minute(60);
        let now = Instant::now();
        for call in 0..=10 {
            assert_eq!(pace.reserve(now, PATIENCE), Ok(now), "{call}");
        }
        for second in 1..=5 {
            assert_eq!(
                pace.reserve(now, PATIENCE),
                Ok(now + Duration::from_secs(second))
            );
        }
        assert_eq!(pace.reserve(now, PATIENCE), Err(Duration::from_secs(6)));
        // A refused call takes no turn.
        assert_eq!(pace.reserve(now, PATIENCE), Err(Duration::from_secs(6)));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.reserve(later, PATIENCE), Ok(later));
    }
}
