//! Logging: text or JSON lines on standard error.
//!
//! At `info` and above no personal data is logged; a calendar is named by its handle. Other libraries are
//! heard from `warn` on only: what they log at lower levels may hold anything.

use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| crate::progress::AboveBars);
    let begun = match config.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Somebody else logs already: a test in the same process.
    drop(begun);
}
