//! The configuration: layers, checks, and what comes out of them.
//!
//! Layers, each over the one before: defaults, the file, the files of `conf.d` beside it in the order of
//! their names, environment variables `CALBRIDGE_SECTION__KEY`, `--set KEY=VALUE`. Tables are merged; the
//! lists of `conf.d` are added to those of the file; the environment and the command line replace lists.

mod broken;
mod layer;
mod load;
mod merged;
mod mistake;
mod path;
mod reader;
mod schema;
mod syncs;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use calbridge_core::connector::{Capabilities, ConnectorEntry};
use calbridge_core::engine::SyncConfig;
use calbridge_core::store::Retention;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use load::{Sources, default_file, load, load_plugins};
use path::KeyPath;

pub(crate) use mistake::{ConfigError, Mistake, Place};
pub(crate) use schema::whole as whole_schema;

/// A configuration without mistakes, as far as that can be told without a network.
#[derive(Debug)]
pub(crate) struct Config {
    /// The connections, by name.
    pub(crate) connections: BTreeMap<String, ConnectionConfig>,
    /// The syncs, in the order in which they are written.
    pub(crate) syncs: Vec<SyncConfig>,
    /// Where calbridge remembers what it knows.
    pub(crate) state: StateConfig,
    /// What is logged.
    pub(crate) log: LogConfig,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    /// Its name.
    pub(crate) name: String,
    /// Its connector.
    pub(crate) connector: &'static ConnectorEntry,
    /// The connector's settings.
    pub(crate) settings: serde_json::Value,
    /// The most writes in 24 hours.
    pub(crate) budget: Option<u64>,
    /// What it can do with these settings.
    pub(crate) capabilities: Capabilities,
    /// Where it is configured.
    place: Option<Place>,
    /// Where its settings are, by their last key: the whole key, and its place.
    places: BTreeMap<String, (KeyPath, Place)>,
}

impl ConnectionConfig {
    /// The connector and its version: what is remembered of refusals is bound to it.
    pub(crate) fn version(&self) -> String {
        format!(
            "{} {}",
            self.connector.id(),
            self.connector.manifest().version
        )
    }

    /// A mistake that the connector itself found. A setting that it names in backticks is where it stands.
    pub(crate) fn mistake(&self, message: &str) -> Mistake {
        let named = message
            .split('`')
            .skip(1)
            .step_by(2)
            .find_map(|name| self.places.get_key_value(name));
        let base = format!("connections.{}", self.name);
        let (place, key) = match named {
            Some((_, (key, place))) => (Some(place.clone()), format!("{base}.{key}")),
            None => (self.place.clone(), base),
        };
        Mistake {
            place,
            key,
            message: message.to_owned(),
            help: None,
        }
    }
}

/// Where calbridge remembers what it knows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StateConfig {
    /// The state file. Its folder must be writable too. Default: `calbridge.db` in the folder that systemd
    /// gives the service, else in `/var/lib/calbridge`; on Windows in `%ProgramData%\calbridge`.
    #[schemars(with = "String")]
    pub(crate) path: PathBuf,
    /// How long what is kept.
    pub(crate) retention: Retention,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            path: load::default_state(),
            retention: Retention::default(),
        }
    }
}

/// What is logged. Logs go to standard error.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// From which level on. Personal data (addresses) appears at `debug` and `trace` only.
    pub(crate) level: LogLevel,
    /// How.
    pub(crate) format: LogFormat,
}

/// A log level.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogLevel {
    /// What does not work and needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// What happens in detail, addresses included.
    Debug,
    /// Everything.
    Trace,
}

/// How log lines are written.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
