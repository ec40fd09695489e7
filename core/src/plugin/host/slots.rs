//! Who waits for which answer.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::super::abi::OK;
use super::boundary;
use crate::connector::{Error, ErrorKind, Result, Scope};

/// How a call ended.
pub(super) type Reply = std::result::Result<Vec<u8>, Failure>;

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The connector answered with an error.
    Answered(Error),
    /// The connector never saw the call.
    NotSent(Error),
    /// It may have seen it, and may have acted on it; nobody knows.
    Lost(Error),
}

impl Failure {
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Answered(error) | Self::NotSent(error) | Self::Lost(error) => &error.code,
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Answered(error) | Self::NotSent(error) | Self::Lost(error) => error,
        }
    }
}

/// Takes a reply, wherever it comes from.
pub(super) type OnReply = Box<dyn FnOnce(Reply) + Send>;

/// Takes an answer that came when nobody wanted it any more: what was opened by then is closed.
pub(super) type Unwanted = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Code of an answer that was given and cannot be understood: what the call did nobody knows.
pub(super) const GARBLED: &str = "plugin.answer";

/// An answer that cannot be understood.
pub(super) fn garbled(what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Connection,
        GARBLED,
        format!("the connector's answer {what}; report that to its vendor"),
    )
}

/// Turns a status and a payload into a reply.
pub(super) fn reply(status: i32, payload: Vec<u8>) -> Reply {
    if status == OK {
        return Ok(payload);
    }
    Err(match serde_json::from_slice::<Error>(&payload) {
        Ok(error) if error.code == GARBLED => Failure::Lost(error),
        Ok(error) => Failure::Answered(error),
        Err(_) => Failure::Lost(garbled("is an error that cannot be read")),
    })
}

/// What waits for libraries in this process, by the number that stands in `user`. A library that answers twice, or
/// after its connection has ended, names a number that is not there any more: nothing happens.
struct Slots {
    next: AtomicUsize,
    waiting: Mutex<HashMap<usize, Take>>,
}

/// Takes a status and an answer.
type Take = Box<dyn FnOnce(i32, &[u8]) + Send>;

static SLOTS: LazyLock<Slots> = LazyLock::new(|| Slots {
    next: AtomicUsize::new(1),
    waiting: Mutex::default(),
});

/// Waits for an answer; the number goes along as `user`.
pub(super) fn wait(take: impl FnOnce(i32, &[u8]) + Send + 'static) -> usize {
    let number = SLOTS.next.fetch_add(1, Ordering::Relaxed);
    let mut waiting = SLOTS.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.insert(number, Box::new(take));
    number
}

/// An answer came. `false`: nobody waits for it.
pub(super) fn answer(number: usize, status: i32, payload: &[u8]) -> bool {
    let take = SLOTS
        .waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&number);
    match take {
        Some(take) => {
            take(status, payload);
            true
        }
        None => false,
    }
}

pub(super) fn outstanding() -> usize {
    SLOTS
        .waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len()
}

/// An answer that is waited for. Dropped before it came, the call is cancelled.
pub(super) struct Pending {
    receiver: oneshot::Receiver<Reply>,
    cancel: Option<Box<dyn FnOnce() + Send>>,
    unwanted: Option<Unwanted>,
}

impl Pending {
    /// `begin` is given who takes the reply and returns what cancels the call.
    pub(super) fn begin<C: FnOnce() + Send + 'static>(
        unwanted: Option<Unwanted>,
        begin: impl FnOnce(OnReply) -> C,
    ) -> Self {
        let (sender, receiver) = oneshot::channel();
        let late = unwanted.clone();
        let cancel = begin(Box::new(move |reply| {
            // Nobody may be there any more.
            if let (Err(Ok(answer)), Some(late)) = (sender.send(reply), late) {
                late(&answer);
            }
        }));
        Self {
            receiver,
            cancel: Some(Box::new(cancel)),
            unwanted,
        }
    }

    /// One that was never sent.
    pub(super) fn not_sent(error: Error) -> Self {
        let (sender, receiver) = oneshot::channel();
        drop(sender.send(Err(Failure::NotSent(error))));
        Self {
            receiver,
            cancel: None,
            unwanted: None,
        }
    }
}

impl Future for Pending {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let done = Pin::new(&mut self.receiver).poll(context);
        done.map(|reply| {
            self.cancel = None;
            reply.unwrap_or_else(|_| {
                Err(Failure::Lost(boundary(
                    "plugin.lost",
                    "the connector gave no answer; it is asked again later",
                )))
            })
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(cancel) = self.cancel.take() else {
            return;
        };
        cancel();
        // The answer may have come without being looked at. From here on a later one finds nobody.
        self.receiver.close();
        if let (Ok(Ok(answer)), Some(unwanted)) = (self.receiver.try_recv(), &self.unwanted) {
            unwanted(&answer);
        }
    }
}

/// Waits for a reply on this thread.
pub(super) fn wait_for(
    patience: std::time::Duration,
    begin: impl FnOnce(OnReply),
) -> Result<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    begin(Box::new(move |reply| drop(sender.send(reply))));
    match receiver.recv_timeout(patience) {
        Ok(reply) => reply.map_err(Failure::into_error),
        Err(_) => Err(no_answer(patience)),
    }
}

/// Nobody waits for ever.
pub(super) fn no_answer(patience: std::time::Duration) -> Error {
    boundary(
        "plugin.no-answer",
        format!(
            "the connector did not answer within {} s; report that to its vendor",
            patience.as_secs()
        ),
    )
}
