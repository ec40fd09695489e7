//! The settings.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of an `ical-sink` connection.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder of the files, which must exist. A mailbox's file is named after its address in lower case,
    /// `jane@example.org.ics`; characters that a file system might not take are written as `%2F`.
    pub folder: PathBuf,
    /// The largest file that is read back, in bytes. Larger ones are errors of their calendar.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
}

fn default_max_bytes() -> u64 {
    32 * 1024 * 1024
}
