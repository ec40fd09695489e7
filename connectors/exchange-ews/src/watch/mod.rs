//! Hints by notifications: which calendars changed, told by the server within a second.
//!
//! Each calendar has a streaming subscription, made on behalf of its mailbox. A subscription lives in the memory of
//! one mailbox server, so subscriptions are grouped by the server that answered, at most 200 to a stream, and
//! requests for them carry what leads there again: `X-AnchorMailbox`, `X-PreferServerAffinity` and the cookie
//! `X-BackEndOverrideCookie`, which is kept with the subscription and shared with nobody. A stream is opened on behalf
//! of one of its mailboxes, so that it counts in that mailbox's budget (EWS throttling, "HangingConnectionLimit").
//!
//! Notifications are hints and may get lost: between two connections, with a mailbox server, in a proxy. So a stream
//! is opened first, and then all its calendars are reported as [`Hint::Gap`], to be looked at once. A stream that says
//! nothing, not even that it is alive, is opened anew.
//!
//! What works is found out: where streams are not offered, or never begin (a proxy that waits for their end), events
//! are pulled; where they break at the same age, they are asked to end before that; a calendar that can be neither
//! streamed nor pulled is reported as [`Hint::Unwatchable`] and tried again, ever more rarely. One calendar in trouble
//! holds up no other.
//!
//! - `splitter` cuts a stream's body into envelopes.
//! - `line` is one open stream; `http` the client for it.
//! - `reaction` says what each error code calls for.
//! - `board` collects hints until they are asked for.
//! - `supervisor` decides who is subscribed, streamed and pulled, and when.

mod board;
mod line;
mod pull;
mod reaction;
mod splitter;
mod supervisor;
mod tempo;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{Hint, HintFeed, Result};
use calbridge_core::model::CalendarRef;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::board::Board;
use self::supervisor::Supervisor;
use crate::source::Inner;

#[cfg(feature = "fuzzing")]
pub(crate) use self::splitter::{MAX_DOCUMENT, Splitter};
pub(crate) use self::tempo::Tempo;

/// A feed of hints. The work is done by a task of its own, which ends with it.
pub(crate) struct Watch {
    board: Arc<Board>,
    wanted: tokio::sync::watch::Sender<Vec<CalendarRef>>,
    _ends: DropGuard,
}

impl Watch {
    /// Begins to watch; returns before anything was asked of the server.
    pub(crate) fn begin(inner: Arc<Inner>, calendars: &[CalendarRef]) -> Self {
        let board = Arc::new(Board::new(inner.tempo));
        board.want(calendars);
        let (wanted, wants) = tokio::sync::watch::channel(calendars.to_vec());
        let ends = CancellationToken::new();
        let supervisor = Supervisor::new(inner, Arc::clone(&board), ends.clone());
        let fate = board.fate();
        tokio::spawn(async move {
            supervisor.run(wants).await;
            drop(fate);
        });
        Self {
            board,
            wanted,
            _ends: ends.drop_guard(),
        }
    }
}

#[async_trait]
impl HintFeed for Watch {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        self.board.next().await
    }

    async fn set(&mut self, calendars: &[CalendarRef]) -> Result<()> {
        self.board.want(calendars);
        self.wanted.send_replace(calendars.to_vec());
        Ok(())
    }
}
