//! One stream: opened, read, and watched for signs of life.

use std::collections::HashMap;
use std::sync::Arc;

use calbridge_core::connector::{Error, ErrorKind, Scope};
use calbridge_core::model::CalendarRef;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::board::Board;
use super::splitter::Splitter;
use super::supervisor::Event;
use crate::client::{Affinity, no_stream};
use crate::error::from_code;
use crate::request;
use crate::response::{Class, Message};
use crate::source::Inner;

/// What a stream is to read.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) number: u64,
    /// On whose behalf it is opened.
    pub(crate) anchor: CalendarRef,
    pub(crate) cookie: Option<String>,
    /// Calendars by subscription.
    pub(crate) subscriptions: HashMap<String, CalendarRef>,
    /// How long the server is asked to keep it open.
    pub(crate) minutes: u32,
}

/// Why a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Its time was up.
    Closed,
    /// Nothing came for too long.
    Silent,
    /// The connection broke, or what came was no stream.
    Broken,
    /// The stream did not begin, while other requests are answered: something holds it back.
    Withheld,
    /// The server ended it with an error, about these subscriptions where it named some.
    Failed(Error, Vec<String>),
}

/// What an envelope means for the stream.
enum Step {
    Alive,
    End(End),
}

impl Line {
    /// Reads until the end, and tells of it.
    pub(crate) async fn run(
        mut self,
        inner: Arc<Inner>,
        board: Arc<Board>,
        events: mpsc::Sender<Event>,
    ) {
        let mut begun = false;
        let mut end = self.read(&inner, &board, &events, &mut begun).await;
        if !begun && end.may_be_withheld() && self.answers(&inner).await {
            end = End::Withheld;
        }
        let number = self.number;
        // Nobody to tell it to means that the watch has ended.
        let _ = events.send(Event::Ended { number, end }).await;
    }

    /// Whether the server answers other requests on behalf of the same mailbox.
    async fn answers(&self, inner: &Inner) -> bool {
        let body = request::get_folder(&inner.target(&self.anchor));
        let asked = inner.client.call(&self.anchor.address, &body);
        matches!(timeout(inner.tempo.first, asked).await, Ok(Ok(_)))
    }

    async fn read(
        &mut self,
        inner: &Inner,
        board: &Board,
        events: &mpsc::Sender<Event>,
        begun: &mut bool,
    ) -> End {
        let tempo = inner.tempo;
        let mut ids: Vec<&str> = self.subscriptions.keys().map(String::as_str).collect();
        ids.sort_unstable();
        let body = request::get_streaming_events(ids, self.minutes);
        let affinity = Affinity {
            anchor: &self.anchor.address,
            cookie: self.cookie.as_deref(),
        };
        let opening = inner
            .client
            .open_stream(&self.anchor.address, affinity, &body);
        let mut answer = match timeout(tempo.first, opening).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return End::Failed(error, Vec::new()),
            Err(_) => return End::Silent,
        };
        // The server closes it; if it forgets to, this does.
        let latest = Instant::now() + tempo.minute * (self.minutes + 1);
        let mut heard = Instant::now() + tempo.first;
        let mut splitter = Splitter::default();
        loop {
            let piece = match timeout_at(heard.min(latest), answer.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                // An end between two envelopes without a word is as good as broken: something may be lost.
                Ok(Ok(None) | Err(_)) => return End::Broken,
                Err(_) if latest <= heard => return End::Closed,
                Err(_) => return End::Silent,
            };
            let documents = match splitter.push(&piece) {
                Ok(documents) => documents,
                Err(error) => {
                    tracing::warn!(%error, "A stream of notifications cannot be read.");
                    return End::Broken;
                }
            };
            for document in documents {
                // Only whole envelopes count as a sign of life.
                heard = Instant::now() + tempo.silence;
                match self.take(inner, board, events, &document, begun).await {
                    Step::Alive => {}
                    Step::End(end) => return end,
                }
            }
        }
    }

    async fn take(
        &mut self,
        inner: &Inner,
        board: &Board,
        events: &mpsc::Sender<Event>,
        document: &str,
        begun: &mut bool,
    ) -> Step {
        let messages = match inner.client.read_envelope(document) {
            Ok(messages) => messages,
            Err(error) => return Step::End(End::Failed(error, Vec::new())),
        };
        for message in messages {
            if message.class == Class::Error {
                if let Some(end) = self.lose(inner, events, message, *begun).await {
                    return Step::End(end);
                }
                continue;
            }
            if !*begun {
                *begun = true;
                // What happened before the stream began was told to nobody.
                for calendar in self.subscriptions.values() {
                    board.gap(calendar);
                }
                let number = self.number;
                let _ = events.send(Event::Opened { number }).await;
            }
            for told in &message.notifications {
                match self.subscriptions.get(&told.subscription) {
                    Some(calendar) if told.events > 0 => board.dirty(calendar),
                    Some(_) => {}
                    None => tracing::debug!("A notification names a subscription of nobody."),
                }
            }
            if message.closed {
                return Step::End(End::Closed);
            }
        }
        Step::Alive
    }

    /// Subscriptions failed; or, where none are named, the whole stream.
    async fn lose(
        &mut self,
        inner: &Inner,
        events: &mpsc::Sender<Event>,
        message: Message,
        begun: bool,
    ) -> Option<End> {
        let error = from_code(
            &message.code,
            message.inner.as_deref(),
            message.back_off_ms,
            inner.client.charged(),
            Scope::Calendar,
        );
        if message.lost.is_empty() || !begun {
            // Before it has begun one bad subscription spoils the stream for all.
            return Some(End::Failed(error, message.lost));
        }
        for id in &message.lost {
            self.subscriptions.remove(id);
        }
        let lost = Event::Lost {
            number: self.number,
            subscriptions: message.lost,
            error,
        };
        let _ = events.send(lost).await;
        self.subscriptions.is_empty().then_some(End::Closed)
    }
}

impl End {
    /// Whether a stream that did not begin may have been held back by something between the server and us.
    fn may_be_withheld(&self) -> bool {
        match self {
            Self::Silent | Self::Broken => true,
            Self::Failed(error, _) => matches!(
                error.code.as_str(),
                "ews.stream" | "ews.http.408" | "ews.http.502" | "ews.http.504"
            ),
            Self::Closed | Self::Withheld => false,
        }
    }

    /// As an error, for logs and reports.
    pub(crate) fn error(&self) -> Error {
        match self {
            End::Closed | End::Broken => no_stream(),
            End::Silent | End::Withheld => Error::new(
                ErrorKind::Transient,
                Scope::Connection,
                "ews.stream.silent",
                "the stream of notifications fell silent; it is opened again, and calendars are looked at. If this goes on, look for a proxy or firewall that holds answers back",
            ),
            End::Failed(error, _) => error.clone(),
        }
    }
}
