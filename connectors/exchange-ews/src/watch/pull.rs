//! Pulled events of one calendar, where streams do not work.

use std::sync::Arc;

use calbridge_core::connector::{Error, Result, Scope};
use calbridge_core::model::CalendarRef;
use tokio::sync::{Semaphore, mpsc};

use super::board::Board;
use super::supervisor::{Event, Subscription};
use super::tempo::jittered;
use crate::client::Affinity;
use crate::error::WireError;
use crate::request;
use crate::source::Inner;

/// How long a subscription lives without being pulled, in minutes.
pub(crate) const LIFETIME: u32 = 30;

/// Pulls until it fails, and tells of it.
pub(crate) async fn run(
    inner: Arc<Inner>,
    board: Arc<Board>,
    events: mpsc::Sender<Event>,
    turns: Arc<Semaphore>,
    calendar: CalendarRef,
    mut subscription: Subscription,
) {
    // What happened before the subscription was told to nobody.
    board.gap(&calendar);
    let mut now = inner.client.now();
    let error = loop {
        tokio::time::sleep(jittered(inner.tempo.pull, &calendar.handle(), now)).await;
        now = inner.client.now();
        let Ok(_turn) = turns.acquire().await else {
            return;
        };
        match pull(&inner, &calendar, &mut subscription).await {
            Ok(false) => {}
            Ok(true) => board.dirty(&calendar),
            Err(error) => break error,
        }
    };
    let _ = events.send(Event::Pulled { calendar, error }).await;
}

/// Whether something happened.
async fn pull(
    inner: &Inner,
    calendar: &CalendarRef,
    subscription: &mut Subscription,
) -> Result<bool> {
    let mut happened = false;
    loop {
        let body = request::get_events(
            &subscription.id,
            // Some servers have none, and look at none.
            subscription.watermark.as_deref().unwrap_or("none"),
        );
        let affinity = Affinity {
            anchor: &calendar.address,
            cookie: subscription.cookie.as_deref(),
        };
        let answer = inner
            .client
            .ask(Some(&calendar.address), Some(affinity), &body)
            .await?;
        let message = answer.reply?.messages.into_iter().next();
        let message = message.ok_or_else(|| missing("a response message"))?;
        let message = inner.client.checked(message, Scope::Calendar)?;
        let told = message.notifications.into_iter().next();
        let told = told.ok_or_else(|| missing("a notification"))?;
        happened |= told.events > 0;
        let stands = told.watermark.is_none() || told.watermark == subscription.watermark;
        if told.watermark.is_some() {
            subscription.watermark = told.watermark;
        }
        // What does not move on would be asked for without end.
        if !told.more || stands {
            return Ok(happened);
        }
    }
}

fn missing(what: &'static str) -> Error {
    WireError::Missing(what).of("GetEvents")
}
