//! What is logged while the kit runs, so that it can be searched for what does not belong there.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

static HEARD: Mutex<Vec<(tracing::Level, String)>> = Mutex::new(Vec::new());
static LISTENING: OnceLock<bool> = OnceLock::new();

/// Collects every record.
struct Ear;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(event.metadata().target().to_owned());
        event.record(&mut text);
        HEARD
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((*event.metadata().level(), text.0));
    }
}

/// Listens to the whole process from now on; false if somebody else has taken the log.
pub fn listen() -> bool {
    *LISTENING.get_or_init(|| {
        tracing::subscriber::set_global_default(Registry::default().with(Ear)).is_ok()
    })
}

/// Forgets what was heard.
pub(crate) fn forget() {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The records at `finest` and above.
pub(crate) fn heard(finest: tracing::Level) -> Vec<String> {
    let heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard
        .iter()
        .filter(|(level, _)| *level <= finest)
        .map(|(_, text)| text.clone())
        .collect()
}
