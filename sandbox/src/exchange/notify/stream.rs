//! The body of GetStreamingEvents: complete SOAP envelopes, one after another, until the time is up.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Notifier, Seat};
use crate::exchange::profile::Profile;
use crate::exchange::soap::{EwsError, answer, envelope, failure, success};
use crate::exchange::xml::Element;

const OPERATION: &str = "GetStreamingEvents";

/// An envelope's body for a failed stream, or for subscriptions that failed.
pub(super) fn error(code: &str, ids: &[String]) -> Element {
    let mut message = failure(OPERATION, &EwsError::of(code));
    if !ids.is_empty() {
        // Servers write the element of the messages namespace, whatever the schema says.
        message = message.with(
            Element::new("m:ErrorSubscriptionIds")
                .with_all(ids.iter().map(|id| Element::text("m:SubscriptionId", id))),
        );
    }
    answer(OPERATION, [message])
}

fn status(profile: Profile, status: &str) -> Element {
    let quirk = [
        Element::new("m:Notifications"),
        Element::new("m:ErrorSubscriptionIds"),
    ];
    let content = quirk
        .into_iter()
        .filter(|_| profile.is_gromox())
        .chain([Element::text("m:ConnectionStatus", status)]);
    answer(OPERATION, [success(OPERATION, content)])
}

/// An open stream.
pub(crate) struct Stream {
    seat: Seat,
    ids: Vec<String>,
    server: usize,
    failures: u64,
    ends: Instant,
    beats: Instant,
    changed: watch::Receiver<u64>,
    begun: bool,
    ended: bool,
}

impl Stream {
    pub(super) fn open(
        seat: Seat,
        ids: Vec<String>,
        server: usize,
        failures: u64,
        lasts: Duration,
    ) -> Self {
        let now = Instant::now();
        let changed = seat.notifier.changed.subscribe();
        Stream {
            ends: now + lasts,
            beats: now,
            seat,
            ids,
            server,
            failures,
            changed,
            begun: false,
            ended: false,
        }
    }

    /// The envelopes, each in a piece of its own.
    pub(crate) fn into_pieces(self) -> BoxStream<'static, io::Result<Bytes>> {
        unfold(self, |mut stream| async move {
            let piece = stream.next().await?;
            Some((piece, stream))
        })
        .boxed()
    }

    fn envelope(&mut self, body: &Element) -> Bytes {
        let notifier = &self.seat.notifier;
        let mut text = envelope(notifier.profile, body);
        if notifier.profile.is_gromox()
            && std::mem::replace(&mut self.begun, true)
            && let Some((_, rest)) = text.split_once("?>")
        {
            // Quirk of gromox: the declaration comes once only.
            text = rest.to_owned();
        }
        self.begun = true;
        self.beats = Instant::now() + notifier.settings.heartbeat;
        text.into()
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let profile = self.seat.notifier.profile;
        if !self.begun {
            return Some(Ok(self.envelope(&status(profile, "OK"))));
        }
        loop {
            self.changed.borrow_and_update();
            match self.look() {
                Look::Failed => {
                    self.ended = true;
                    return Some(Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "the mailbox server failed",
                    )));
                }
                Look::Tell(body) => return Some(Ok(self.envelope(&body))),
                Look::Nothing => {}
            }
            let now = Instant::now();
            if now >= self.ends || self.ids.is_empty() {
                self.ended = true;
                return Some(Ok(self.envelope(&status(profile, "Closed"))));
            }
            if now >= self.beats {
                return Some(Ok(self.envelope(&status(profile, "OK"))));
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() {
                    return None;
                },
                () = tokio::time::sleep_until(self.beats.min(self.ends)) => {}
            }
        }
    }

    /// What there is to tell now.
    fn look(&mut self) -> Look {
        let notifier: &Notifier = &self.seat.notifier;
        let mut state = notifier.state();
        if state.failures(self.server) != self.failures {
            return Look::Failed;
        }
        let mut lost: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut told = Vec::new();
        for id in &self.ids {
            let Some(one) = state.subscriptions.get(id) else {
                lost.entry("ErrorSubscriptionNotFound")
                    .or_default()
                    .push(id.clone());
                continue;
            };
            if let Some(code) = one.broken {
                lost.entry(code).or_default().push(id.clone());
                continue;
            }
            if one.stream != Some(self.seat.number) {
                lost.entry("ErrorNewEventStreamConnectionOpened")
                    .or_default()
                    .push(id.clone());
                continue;
            }
            if one.next < state.first() {
                lost.entry("ErrorMissedNotificationEvents")
                    .or_default()
                    .push(id.clone());
                continue;
            }
            let events: Vec<Element> = state
                .since(one.next)
                .filter(|event| one.wants(event))
                .map(|event| event.element(None))
                .collect();
            if !events.is_empty() {
                let mut notification =
                    Element::new("m:Notification").with(Element::text("t:SubscriptionId", id));
                if notifier.profile.is_gromox() {
                    notification = notification.with(Element::text("t:MoreEvents", "false"));
                }
                told.push(notification.with_all(events));
            }
        }
        let now = state.next;
        if let Some((code, ids)) = lost.into_iter().next() {
            self.ids.retain(|id| !ids.contains(id));
            if code == "ErrorMissedNotificationEvents" {
                for id in &ids {
                    state.subscriptions.remove(id);
                }
            }
            // What the others are to be told comes with the next look.
            return Look::Tell(error(code, &ids));
        }
        for id in &self.ids {
            if let Some(one) = state.subscriptions.get_mut(id) {
                one.next = now;
            }
        }
        if told.is_empty() {
            return Look::Nothing;
        }
        let mut content = vec![Element::new("m:Notifications").with_all(told)];
        if notifier.profile.is_gromox() {
            content.push(Element::new("m:ErrorSubscriptionIds"));
            content.push(Element::text("m:ConnectionStatus", "OK"));
        }
        Look::Tell(answer(OPERATION, [success(OPERATION, content)]))
    }
}

/// What a stream has to say.
enum Look {
    Nothing,
    Tell(Element),
    /// The server failed.
    Failed,
}
