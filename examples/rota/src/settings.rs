//! The settings. `calbridge connectors schema rota` prints them with these comments.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of a connection to the rota.
// A setting that is misspelt is a mistake, not a default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder with one file per person, named after the person's address: `anna@firm.example.json`.
    pub folder: PathBuf,
    /// The largest file that is read, in bytes.
    #[serde(default = "ten_mebibytes")]
    pub max_bytes: u64,
    // A password would stand here as `SecretRef` (`env:NAME`, `file:PATH`, ...), never as a string; ask
    // `Context::secret` for its value each time you sign in.
}

fn ten_mebibytes() -> u64 {
    10 * 1024 * 1024
}
