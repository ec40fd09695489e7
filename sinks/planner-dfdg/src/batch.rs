//! How many events a call carries: fewer after trouble, more again after success.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use calbridge_core::model::CalendarRef;

/// So many calls must go well before a batch grows.
const CALLS_TO_GROW: u32 = 3;

/// The present batch size per calendar, for those that had trouble. Slow answers and events that make a call
/// fail belong to a calendar; others need not suffer from them.
#[derive(Debug)]
pub(crate) struct BatchSizes {
    most: usize,
    reduced: Mutex<HashMap<String, Reduced>>,
}

#[derive(Debug, Clone, Copy)]
struct Reduced {
    size: usize,
    good: u32,
}

impl BatchSizes {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            reduced: Mutex::new(HashMap::new()),
        }
    }

    /// How many events the next call may carry.
    pub(crate) fn size(&self, calendar: &CalendarRef) -> usize {
        self.lock()
            .get(&calendar.handle())
            .map_or(self.most, |reduced| reduced.size)
    }

    /// A call of so many events failed for its size or for one of its events.
    pub(crate) fn shrink(&self, calendar: &CalendarRef, events: usize) {
        let size = (events / 2).max(1);
        self.lock()
            .insert(calendar.handle(), Reduced { size, good: 0 });
    }

    /// A call went well.
    pub(crate) fn went_well(&self, calendar: &CalendarRef) {
        let mut all = self.lock();
        let handle = calendar.handle();
        if let Some(reduced) = all.get_mut(&handle) {
            reduced.good += 1;
            if reduced.good >= CALLS_TO_GROW {
                reduced.size *= 2;
                reduced.good = 0;
                if reduced.size >= self.most {
                    all.remove(&handle);
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Reduced>> {
        self.reduced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn batches_halve_and_grow_again_per_calendar() {
        let sizes = BatchSizes::new(15);
        let (a, b) = (
            CalendarRef::primary("a@x.dk").unwrap(),
            CalendarRef::primary("b@x.dk").unwrap(),
        );
        let mut seen = vec![sizes.size(&a)];
        for _ in 0..4 {
            sizes.shrink(&a, sizes.size(&a));
            seen.push(sizes.size(&a));
        }
        assert_eq!(seen, [15, 7, 3, 1, 1]);
        assert_eq!(sizes.size(&b), 15);
        for expected in [2, 4, 8, 15] {
            for _ in 0..3 {
                sizes.went_well(&a);
            }
            assert_eq!(sizes.size(&a), expected);
        }
    }
}
