//! What is logged while the kit runs, so that it can be searched for what does not belong there.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

static HEARD: Mutex<Vec<(tracing::Level, String)>> = Mutex::new(Vec::new());
static LISTENING: OnceLock<bool> = OnceLock::new();

/// Collects every record, and every span that is opened or told more.
struct Ear;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Ear {
    /// Keeps what is said under this heading: everything of it may be printed, also the name of a span.
    fn hear(&self, of: &Metadata<'_>, fields: impl FnOnce(&mut Text)) {
        let mut text = Text(format!("{} {}", of.target(), of.name()));
        fields(&mut text);
        HEARD
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((*of.level(), text.0));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.hear(span.metadata(), |text| span.record(text));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            self.hear(span.metadata(), |text| values.record(text));
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.hear(event.metadata(), |text| event.record(text));
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
