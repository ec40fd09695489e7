//! Logging: text or JSON lines on standard error.
//!
//! At `info` and above no personal data is logged; a calendar is named by its handle. Other libraries are
//! heard from `warn` on only: what they log at lower levels may hold anything.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Begins logging. Once per process.
pub(crate) fn begin(config: &LogConfig) {
    let level = match config.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let others = if config.level == LogLevel::Error {
        "error"
    } else {
        "warn"
    };
    // Matches every crate of calbridge: a directive names the beginning of a target.
    let filter = EnvFilter::new(format!("{others},calbridge={level}"));
    let in_detail = matches!(config.level, LogLevel::Debug | LogLevel::Trace);
    let lines = fmt::layer().with_writer(|| crate::progress::AboveBars);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let begun = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(move |metadata| {
            in_detail || !told_by_us(metadata)
        }))
        .with(lines)
        .try_init();
    // Somebody else logs already: a test in the same process.
    drop(begun);
}

/// A certificate that is refused is an error of its connection, which we log with what to do. Its other lines, of
/// the system's authorities that cannot be loaded, stand nowhere else.
fn told_by_us(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::ERROR && metadata.target().starts_with("rustls_platform_verifier")
}
