//! One watched calendar.

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Subscription;

/// What is being done for a calendar.
#[derive(Debug)]
pub(super) enum Place {
    /// It is to be subscribed to, not before this.
    Waiting { due: Instant },
    /// It is being subscribed to. Another ticket: the answer belongs to an earlier attempt.
    Subscribing { ticket: u64 },
    /// It is subscribed to and waits for a stream.
    Ready { since: Instant },
    /// A stream reads it.
    Reading { line: u64 },
    /// Its events are pulled.
    Pulling { task: AbortHandle },
}

/// A calendar and how far it is.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) place: Place,
    pub(super) subscription: Option<Subscription>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Streams in a row that did not find the subscription when they were opened.
    pub(super) strays: u32,
    /// It is pulled, not streamed.
    pub(super) pulls: bool,
    /// It was told that it cannot be watched.
    pub(super) told: bool,
}

impl Member {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            place: Place::Waiting { due: now },
            subscription: None,
            failures: 0,
            strays: 0,
            pulls: false,
            told: false,
        }
    }

    /// It is to be subscribed to anew. Gives the old subscription.
    pub(super) fn again(&mut self, now: Instant) -> Option<Subscription> {
        self.place = Place::Waiting { due: now };
        self.subscription.take()
    }
}
