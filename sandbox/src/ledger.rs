//! What was called, in order, for tests and operators to ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// One call, with what the server concerned adds in `detail`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call<D> {
    /// Number of the call, from 1.
    pub number: u64,
    /// When it arrived, by the server's clock.
    pub at: Timestamp,
    /// Operation on the wire; empty where the request did not say.
    pub operation: String,
    /// Addresses that the call concerns, each once, in order of appearance.
    pub mailboxes: Vec<String>,
    /// Size of the request body in bytes.
    pub request_bytes: usize,
    /// Size of the response body in bytes, as far as one was meant to be sent.
    pub response_bytes: usize,
    /// HTTP status; 0 where an injected fault left the call without one.
    pub status: u16,
    /// Error code of the protocol, where there is one.
    pub code: Option<String>,
    /// What the server adds.
    pub detail: D,
}

/// The calls of one server. Clones share the content.
#[derive(Debug)]
pub struct Ledger<D>(Arc<Mutex<Vec<Call<D>>>>);

impl<D> Clone for Ledger<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D> Default for Ledger<D> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<D: Clone> Ledger<D> {
    /// Adds a call and gives it its number.
    pub fn record(&self, mut call: Call<D>) -> u64 {
        let mut calls = self.lock();
        call.number = calls.last().map_or(0, |last| last.number) + 1;
        let number = call.number;
        calls.push(call);
        number
    }

    /// All calls, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Call<D>> {
        self.lock().clone()
    }

    /// The calls of one operation, in order.
    #[must_use]
    pub fn of(&self, operation: &str) -> Vec<Call<D>> {
        self.select(|call| call.operation == operation)
    }

    /// How many calls of one operation there were.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        self.lock()
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    }

    /// The calls that a predicate accepts, in order.
    #[must_use]
    pub fn select(&self, accept: impl Fn(&Call<D>) -> bool) -> Vec<Call<D>> {
        self.lock()
            .iter()
            .filter(|call| accept(call))
            .cloned()
            .collect()
    }

    /// The newest call.
    #[must_use]
    pub fn last(&self) -> Option<Call<D>> {
        self.lock().last().cloned()
    }

    /// How many calls there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing was called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets all calls; numbering begins anew.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call<D>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
