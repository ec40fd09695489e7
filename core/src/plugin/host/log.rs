//! What connectors log becomes part of the program's log, and what they hear of servers' clocks reaches its clock.

use std::borrow::Cow;
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

/// Where the records of `plugin` go: to this program's log. `speaker` may tell the time to those connections that were
/// [given](give) to it.
pub(super) fn sink(plugin: String, speaker: String) -> Sink {
    Arc::new(move |level, record| take(&plugin, &speaker, LogLevel::from_number(level), record))
}

fn take(plugin: &str, speaker: &str, level: LogLevel, record: &[u8]) {
    let Ok(record) = serde_json::from_slice::<LogRecord>(record) else {
        tracing::warn!(
            target: "calbridge::plugin",
            plugin,
            "A record of a connector's log cannot be read; report that to its vendor."
        );
        return;
    };
    if let Some(heard) = &record.heard {
        tell(speaker, heard);
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
    let message = one_line(&record.message);
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
                message
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

/// The text without what would look like another record, or would be an order to a terminal.
fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    Cow::Owned(line)
}

struct Listener {
    connection: String,
    /// Who carries the connection.
    speaker: Option<String>,
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
            speaker: None,
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

/// From now on `speaker`, and nobody else, is heard for this connection.
pub(super) fn give(handle: u64, speaker: &str) {
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(listener) = listeners.get_mut(&handle) {
        listener.speaker = Some(speaker.to_owned());
    }
}

fn tell(speaker: &str, heard: &Heard) {
    let listener = LISTENERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&heard.handle)
        .filter(|listener| listener.speaker.as_deref() == Some(speaker))
        .map(|listener| (listener.connection.clone(), Arc::clone(&listener.clock)));
    if let Some((connection, clock)) = listener {
        let ahead = SignedDuration::from_millis(heard.ahead_ms);
        if let Ok(theirs) = clock.now().checked_add(ahead) {
            clock.hear(&connection, theirs);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[derive(Debug, Default)]
    struct Ears(Mutex<Vec<String>>);

    impl Clock for Ears {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn hear(&self, from: &str, _: Timestamp) {
            self.0.lock().unwrap().push(from.to_owned());
        }
    }

    #[test]
    fn a_library_tells_the_time_to_its_own_connections_alone() {
        let ears = Arc::new(Ears::default());
        let clock: Arc<dyn Clock> = ears.clone();
        let one = Listening::begin("one", &clock);
        let other = Listening::begin("other", &clock);
        give(one.handle(), "first");
        let nobodys = Listening::begin("nobody's", &clock);
        give(other.handle(), "second");
        let first = sink("a library".to_owned(), "first".to_owned());
        for handle in [one.handle(), other.handle(), nobodys.handle(), u64::MAX] {
            let record =
                format!(r#"{{"message":"","heard":{{"handle":{handle},"ahead_ms":1000}}}}"#);
            first(LogLevel::Info.number(), record.as_bytes());
        }
        assert_eq!(*ears.0.lock().unwrap(), ["one"]);
    }

    #[test]
    fn a_message_is_one_line_without_orders_to_terminals() {
        assert_eq!(one_line("Grüße, 日本"), "Grüße, 日本");
        assert_eq!(
            one_line("x\n2026 ERROR forged\u{1b}[2J\u{85}"),
            r"x\n2026 ERROR forged\u{1b}[2J\u{85}"
        );
    }
}
