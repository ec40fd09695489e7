//! What operations on notifications answer: subscriptions, events, the state of a stream.

use super::values::trimmed;
use crate::error::WireError;
use crate::xml::{Open, Pull};

/// What one subscription is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) subscription: String,
    /// Where a pull subscription goes on: after the last event.
    pub(crate) watermark: Option<String>,
    /// There is more to be pulled.
    pub(crate) more: bool,
    /// How many events there are, those without content left out. Whether they name an item or a folder does not
    /// matter: some servers name the folder alone.
    pub(crate) events: usize,
}

/// Reads a `Notification`.
pub(super) fn notification(pull: &mut Pull<'_>) -> Result<Notification, WireError> {
    let mut told = Notification::default();
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "SubscriptionId" => told.subscription = trimmed(pull)?,
            "PreviousWatermark" => {
                let text = trimmed(pull)?;
                told.watermark.get_or_insert(text);
            }
            "MoreEvents" => told.more = matches!(trimmed(pull)?.as_str(), "true" | "1"),
            name if name.ends_with("Event") => {
                told.events += usize::from(name != "StatusEvent");
                pull.children::<WireError>(|pull, open| {
                    if open.name == "Watermark" {
                        told.watermark = Some(trimmed(pull)?);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(told)
}

/// Reads the ids of `ErrorSubscriptionIds`, whose elements stand in one namespace by the schema and in another on the
/// wire.
pub(super) fn subscription_ids(pull: &mut Pull<'_>) -> Result<Vec<String>, WireError> {
    let mut ids = Vec::new();
    pull.children::<WireError>(|pull, open: &Open| {
        if open.name == "SubscriptionId" {
            ids.push(trimmed(pull)?);
        }
        Ok(())
    })?;
    Ok(ids)
}
