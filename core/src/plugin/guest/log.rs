//! What a library logs goes to the host. Its copy of `tracing` has a dispatcher of its own, which would otherwise
//! be nobody's.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use super::super::abi::LogLevel;
use super::super::messages::{LogRecord, LogSpan};

/// Takes a level and a [`LogRecord`] as JSON.
pub(super) type Sink = Arc<dyn Fn(u32, &[u8]) + Send + Sync>;

/// The way to the host's log.
pub(super) struct Log {
    sink: Sink,
    level: Option<reload::Handle<LevelFilter, Registry>>,
}

impl Log {
    /// Begins forwarding. Records of other crates than `own` are forwarded from `warn` on: what those log may hold
    /// anything.
    pub(super) fn begin(sink: Sink, max_level: u32, own: &'static [&'static str]) -> Self {
        let (filter, handle) = reload::Layer::new(filter(max_level));
        let forward = Forward {
            sink: Arc::clone(&sink),
            own,
        };
        let subscriber = Registry::default().with(filter).with(forward);
        // Taken only where a vendor's own code has set one: then it forwards by itself.
        let begun = tracing::subscriber::set_global_default(subscriber).is_ok();
        note_panics();
        Self {
            sink,
            level: begun.then_some(handle),
        }
    }

    pub(super) fn set_level(&self, max_level: u32) {
        if let Some(level) = &self.level {
            // Only fails when the subscriber is gone, and a global one never is.
            drop(level.modify(|current| *current = filter(max_level)));
        }
    }

    pub(super) fn sink(&self) -> Sink {
        Arc::clone(&self.sink)
    }
}

fn filter(max_level: u32) -> LevelFilter {
    LevelFilter::from_level(LogLevel::from_number(max_level).into())
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where the last panic of this thread was, once.
pub(super) fn last_panic() -> Option<String> {
    LAST_PANIC.with(|last| last.borrow_mut().take())
}

/// Tells the place of a panic. Its text may hold anything, so it is for fault finding only.
fn note_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|at| format!("{}:{}", at.file(), at.line()))
            .unwrap_or_default();
        let payload = info.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or_default();
        tracing::error!(target: "calbridge::plugin", place, "The connector panicked.");
        tracing::debug!(target: "calbridge::plugin", place, text, "The text of the panic.");
        LAST_PANIC.with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = Some(place);
            }
        });
    }));
}

struct Forward {
    sink: Sink,
    own: &'static [&'static str],
}

/// What a span was given.
struct Given(Map<String, Value>);

impl Forward {
    fn wanted(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
            || self.own.iter().copied().chain(["calbridge"]).any(|own| {
                let target = metadata.target();
                target.starts_with(own)
            })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Given(fields.values));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            values.record(&mut fields);
            if let Some(given) = span.extensions_mut().get_mut::<Given>() {
                given.0.extend(fields.values);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !self.wanted(event.metadata()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| LogSpan {
                name: span.name().to_owned(),
                fields: span
                    .extensions()
                    .get::<Given>()
                    .map(|given| given.0.clone())
                    .unwrap_or_default(),
            })
            .collect();
        let record = LogRecord {
            target: event.metadata().target().to_owned(),
            message: fields.message,
            fields: fields.values,
            spans,
            heard: None,
        };
        if let Ok(record) = serde_json::to_vec(&record) {
            let level = LogLevel::from(*event.metadata().level());
            (self.sink)(level.number(), &record);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.values.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}
