//! How many items of a mailbox are asked for, or written, at once: fewer after one request with all of them took too long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use calbridge_core::model::Address;

/// Items per request, of mailboxes of which fewer are asked for than usual.
#[derive(Debug, Default)]
pub(crate) struct Batches(Mutex<HashMap<String, usize>>);

impl Batches {
    /// How many; `usual`: unless there was trouble.
    pub(crate) fn of(&self, mailbox: &Address, usual: usize) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&mailbox.folded())
            .copied()
            .unwrap_or(usual)
            .max(1)
    }

    /// Remembers how many from now on.
    pub(crate) fn set(&self, mailbox: &Address, batch: usize, usual: usize) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batch < usual {
            known.insert(mailbox.folded(), batch);
        } else {
            known.remove(&mailbox.folded());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_remembered_by_mailbox() {
        let batches = Batches::default();
        let anna = Address::new("Anna@kommune.example").unwrap();
        let bo = Address::new("bo@kommune.example").unwrap();
        batches.set(&anna, 5, 20);
        let again = Address::new("anna@kommune.example").unwrap();
        assert_eq!((batches.of(&again, 20), batches.of(&bo, 20)), (5, 20));
        batches.set(&anna, 20, 20);
        assert_eq!(batches.of(&anna, 20), 20);
        assert!(batches.0.lock().unwrap().is_empty());
    }
}
