//! What connectors log becomes part of the program's log, and what they hear of servers' clocks reaches its clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::SignedDuration;
use tracing::level_filters::LevelFilter;

use super::super::abi::LogLevel;
use super::super::messages::{Heard, LogRecord};
use crate::clock::Clock;

/// Takes a level and a [`LogRecord`] as JSON.
pub(super) type Sink = Arc<dyn Fn(u32, &[u8]) + Send + Sync>;

/// The finest level that the program's log takes now; nothing at all is `error`.
pub(super) fn wanted() -> LogLevel {
    LevelFilter::current()
        .into_level()
        .map_or(LogLevel::Error, LogLevel::from)
}

/// Where the records of `plugin` go: to this program's log.
pub(super) fn sink(plugin: String) -> Sink {
    Arc::new(move |level, record| take(&plugin, LogLevel::from_number(level), record))
}

fn take(plugin: &str, level: LogLevel, record: &[u8]) {
    let Ok(record) = serde_json::from_slice::<LogRecord>(record) else {
        tracing::warn!(
            target: "calbridge::plugin",
            plugin,
            "A record of a connector's log cannot be read; report that to its vendor."
        );
        return;
    };
    if let Some(heard) = &record.heard {
        tell(heard);
        return;
    }
    let mut method = None;
    let mut connection = None;
    let mut traceparent = None;
    let mut spans = Vec::new();
    for span in &record.spans {
        let text = |name: &str| {
            span.fields
                .get(name)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        method = text("method").or(method);
        connection = text("connection").or(connection);
        traceparent = text("traceparent").or(traceparent);
        spans.push(span.name.as_str());
    }
    let spans = spans.join(":");
    let fields = if record.fields.is_empty() {
        None
    } else {
        serde_json::to_string(&record.fields).ok()
    };
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(
                target: "calbridge::plugin",
                tracing::Level::$level,
                plugin,
                origin = record.target,
                connection,
                method,
                traceparent,
                spans,
                fields,
                "{}",
                record.message
            )
        };
    }
    match level {
        LogLevel::Error => emit!(ERROR),
        LogLevel::Warn => emit!(WARN),
        LogLevel::Info => emit!(INFO),
        LogLevel::Debug => emit!(DEBUG),
        LogLevel::Trace => emit!(TRACE),
    }
}

struct Listener {
    connection: String,
    clock: Arc<dyn Clock>,
}

static LISTENERS: LazyLock<Mutex<HashMap<u64, Listener>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A connection's clock, to be told what servers say. Forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Listening(u64);

impl Listening {
    pub(super) fn begin(connection: &str, clock: &Arc<dyn Clock>) -> Self {
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        let listener = Listener {
            connection: connection.to_owned(),
            clock: Arc::clone(clock),
        };
        LISTENERS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(handle, listener);
        Self(handle)
    }

    /// The number that the connector gives back.
    pub(super) fn handle(&self) -> u64 {
        self.0
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENERS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

fn tell(heard: &Heard) {
    let listener = LISTENERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&heard.handle)
        .map(|listener| (listener.connection.clone(), Arc::clone(&listener.clock)));
    if let Some((connection, clock)) = listener {
        let ahead = SignedDuration::from_millis(heard.ahead_ms);
        if let Ok(theirs) = clock.now().checked_add(ahead) {
            clock.hear(&connection, theirs);
        }
    }
}
