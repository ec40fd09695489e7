//! Whether it is an event that makes calls fail, or the service.
//!
//! An event whose call fails though it carries nothing else may be the reason, or may have come in an outage.
//! That calls beside it go well tells which. It need not happen in the same round: once the others are done,
//! the event that fails is all that is left to send.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use calbridge_core::model::CalendarRef;

/// So many events are remembered; with more, the service is to blame anyway.
const MOST: usize = 10_000;

/// Events that failed alone and were not answered since. Forgotten when the program ends.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many calls that write were answered well, of all calendars.
    answered: u64,
    lone: HashMap<(String, String), Lone>,
}

#[derive(Debug, Clone, Copy)]
struct Lone {
    /// How many calls had been answered when it last failed.
    answered: u64,
    proven: bool,
}

impl Blame {
    /// A call with these events was answered.
    pub(crate) fn answered<'a>(
        &self,
        calendar: &CalendarRef,
        ids: impl IntoIterator<Item = &'a str>,
    ) {
        let mut state = self.lock();
        state.answered += 1;
        if !state.lone.is_empty() {
            for id in ids {
                state.lone.remove(&key(calendar, id));
            }
        }
    }

    /// An event failed alone. Whether it is known to be the reason: other calls were answered beside it
    /// (`beside`), or between this failure and an earlier one.
    pub(crate) fn failed_alone(&self, calendar: &CalendarRef, id: &str, beside: bool) -> bool {
        let mut state = self.lock();
        let answered = state.answered;
        let key = key(calendar, id);
        let proven = beside
            || state
                .lone
                .get(&key)
                .is_some_and(|before| before.proven || before.answered < answered);
        if state.lone.len() >= MOST && !state.lone.contains_key(&key) {
            state.lone.clear();
        }
        state.lone.insert(key, Lone { answered, proven });
        proven
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(calendar: &CalendarRef, id: &str) -> (String, String) {
    (calendar.handle(), id.to_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_to_blame_once_others_went_well_between_its_failures() {
        let blame = Blame::default();
        let (a, b) = (
            CalendarRef::primary("a@x.dk").unwrap(),
            CalendarRef::primary("b@x.dk").unwrap(),
        );
        assert!(!blame.failed_alone(&a, "one", false));
        assert!(!blame.failed_alone(&a, "one", false), "an outage so far");
        blame.answered(&b, ["one"]);
        assert!(!blame.failed_alone(&a, "two", false), "its first failure");
        assert!(blame.failed_alone(&a, "ONE", false));
        assert!(blame.failed_alone(&a, "one", false), "it stays known");
        blame.answered(&a, ["one"]);
        assert!(!blame.failed_alone(&a, "one", false), "it was answered");
        assert!(blame.failed_alone(&b, "three", true));
    }

    #[test]
    fn memory_is_bounded() {
        let blame = Blame::default();
        let calendar = CalendarRef::primary("a@x.dk").unwrap();
        for number in 0..=MOST {
            blame.failed_alone(&calendar, &number.to_string(), false);
        }
        assert!(blame.lock().lone.len() <= MOST);
    }
}
