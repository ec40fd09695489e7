//! The registry: which connectors are there.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Capabilities, Connection, Context, Error, Result};

/// A kind of system that calbridge can be connected to. Register it with
/// [`export_connector!`](crate::export_connector).
pub trait Connector: 'static {
    /// The name that configuration uses (`exchange-ews`).
    const ID: &'static str;
    /// The connector's version; cursors are bound to it.
    const VERSION: &'static str;
    /// What it is, in one line.
    const TITLE: &'static str;

    /// The settings. Field docs are the user's reference.
    type Settings: DeserializeOwned + JsonSchema;

    /// What it can do.
    fn capabilities() -> Capabilities;

    /// What it can do with these settings; differs where a setting is a limit.
    fn capabilities_with(settings: &Self::Settings) -> Capabilities {
        let _ = settings;
        Self::capabilities()
    }

    /// Makes a connection. No network.
    ///
    /// # Errors
    /// `Config` for settings that cannot work.
    fn open(settings: Self::Settings, context: Context) -> Result<Arc<dyn Connection>>;
}

/// What is known of a connector without opening it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The name that configuration uses.
    pub id: String,
    /// The connector's version.
    pub version: String,
    /// What it is, in one line.
    pub title: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// JSON Schema of its settings.
    pub settings: serde_json::Value,
}

/// A registered connector.
#[derive(Debug)]
pub struct ConnectorEntry {
    id: &'static str,
    manifest: fn() -> Manifest,
    capabilities: fn(&serde_json::Value) -> Result<Capabilities>,
    open: fn(serde_json::Value, Context) -> Result<Arc<dyn Connection>>,
}

inventory::collect!(ConnectorEntry);

impl ConnectorEntry {
    /// The entry of a connector; used by [`export_connector!`](crate::export_connector).
    #[must_use]
    pub const fn of<C: Connector>() -> Self {
        Self {
            id: C::ID,
            manifest: manifest::<C>,
            capabilities: |settings| Ok(C::capabilities_with(&parse::<C>(settings.clone())?)),
            open: |settings, context| C::open(parse::<C>(settings)?, context),
        }
    }

    /// The name that configuration uses.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// What is known without opening it.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        (self.manifest)()
    }

    /// What it can do with these settings.
    ///
    /// # Errors
    /// `Config` for settings that do not fit.
    pub fn capabilities(&self, settings: &serde_json::Value) -> Result<Capabilities> {
        (self.capabilities)(settings)
    }

    /// Makes a connection. No network.
    ///
    /// # Errors
    /// `Config` for settings that do not fit or cannot work.
    pub fn open(
        &self,
        settings: serde_json::Value,
        context: Context,
    ) -> Result<Arc<dyn Connection>> {
        (self.open)(settings, context)
    }
}

fn manifest<C: Connector>() -> Manifest {
    Manifest {
        id: C::ID.to_owned(),
        version: C::VERSION.to_owned(),
        title: C::TITLE.to_owned(),
        capabilities: C::capabilities(),
        settings: schemars::schema_for!(C::Settings).to_value(),
    }
}

fn parse<C: Connector>(settings: serde_json::Value) -> Result<C::Settings> {
    serde_json::from_value(settings)
        .map_err(|error| Error::config(format!("settings of `{}`: {error}", C::ID)))
}

/// All connectors that are linked into this program, by name.
#[must_use]
pub fn connectors() -> Vec<&'static ConnectorEntry> {
    let mut entries: Vec<_> = inventory::iter::<ConnectorEntry>.into_iter().collect();
    entries.sort_by_key(|entry| entry.id);
    entries
}

/// The connector with this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static ConnectorEntry> {
    inventory::iter::<ConnectorEntry>
        .into_iter()
        .find(|entry| entry.id == id)
}

/// Registers a [`Connector`](crate::connector::Connector). One line per connector.
#[macro_export]
macro_rules! export_connector {
    ($connector:ty) => {
        $crate::inventory::submit! {
            $crate::connector::ConnectorEntry::of::<$connector>()
        }
    };
}
