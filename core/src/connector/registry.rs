//! The registry: which connectors are there, linked in or loaded.

use std::sync::{Arc, PoisonError, RwLock};

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

/// A registered connector, linked into the program or loaded while it runs.
#[derive(Debug)]
pub struct ConnectorEntry {
    id: Name,
    kind: Kind,
}

#[derive(Debug)]
enum Name {
    Linked(&'static str),
    Loaded(String),
}

#[derive(Debug)]
enum Kind {
    Linked {
        manifest: fn() -> Manifest,
        capabilities: fn(&serde_json::Value) -> Result<Capabilities>,
        open: fn(serde_json::Value, Context) -> Result<Arc<dyn Connection>>,
    },
    Loaded(Box<dyn ForeignConnector>),
}

/// A connector whose code is not part of this program. The plug-in host implements it.
pub trait ForeignConnector: Send + Sync + std::fmt::Debug {
    /// What is known without opening it.
    fn manifest(&self) -> Manifest;

    /// Where its code came from, in words for the operator: a library's path.
    fn origin(&self) -> String;

    /// Where its code runs, as the configuration calls it.
    fn isolation(&self) -> &'static str;

    /// What it can do with these settings.
    ///
    /// # Errors
    /// `Config` for settings that do not fit; what keeps the connector from answering.
    fn capabilities(&self, settings: &serde_json::Value) -> Result<Capabilities>;

    /// Makes a connection. No network.
    ///
    /// # Errors
    /// `Config` for settings that do not fit or cannot work; what keeps the connector from answering.
    fn open(&self, settings: serde_json::Value, context: Context) -> Result<Arc<dyn Connection>>;
}

/// Two connectors have one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is a connector `{id}` already; the name of a connector must be unique")]
pub struct NameTaken {
    /// The name.
    pub id: String,
    /// Where the code of the one that has it came from; none if it is linked in.
    pub origin: Option<String>,
}

inventory::collect!(ConnectorEntry);

static LOADED: RwLock<Vec<&'static ConnectorEntry>> = RwLock::new(Vec::new());

impl ConnectorEntry {
    /// The entry of a connector; used by [`export_connector!`](crate::export_connector).
    #[must_use]
    pub const fn of<C: Connector>() -> Self {
        Self {
            id: Name::Linked(C::ID),
            kind: Kind::Linked {
                manifest: manifest::<C>,
                capabilities: |settings| Ok(C::capabilities_with(&parse::<C>(settings.clone())?)),
                open: |settings, context| C::open(parse::<C>(settings)?, context),
            },
        }
    }

    /// The entry of a connector that is not linked in.
    #[must_use]
    pub fn foreign(connector: Box<dyn ForeignConnector>) -> Self {
        Self {
            id: Name::Loaded(connector.manifest().id),
            kind: Kind::Loaded(connector),
        }
    }

    /// The name that configuration uses.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.id {
            Name::Linked(id) => id,
            Name::Loaded(id) => id,
        }
    }

    /// Where its code came from: a library's path; none if it is linked in.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        match &self.kind {
            Kind::Linked { .. } => None,
            Kind::Loaded(connector) => Some(connector.origin()),
        }
    }

    /// Where its code runs, as the configuration calls it; none if it is linked in.
    #[must_use]
    pub fn isolation(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Linked { .. } => None,
            Kind::Loaded(connector) => Some(connector.isolation()),
        }
    }

    /// What is known without opening it.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        match &self.kind {
            Kind::Linked { manifest, .. } => manifest(),
            Kind::Loaded(connector) => connector.manifest(),
        }
    }

    /// What it can do with these settings.
    ///
    /// # Errors
    /// `Config` for settings that do not fit.
    pub fn capabilities(&self, settings: &serde_json::Value) -> Result<Capabilities> {
        match &self.kind {
            Kind::Linked { capabilities, .. } => capabilities(settings),
            Kind::Loaded(connector) => connector.capabilities(settings),
        }
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
        match &self.kind {
            Kind::Linked { open, .. } => open(settings, context),
            Kind::Loaded(connector) => connector.open(settings, context),
        }
    }
}

/// Adds a connector that was loaded. It stays until the program ends, as its code does.
///
/// # Errors
/// [`NameTaken`]: names are unique among the linked and the loaded ones.
pub fn register(entry: ConnectorEntry) -> Result<&'static ConnectorEntry, NameTaken> {
    add(entry, false)
}

/// As [`register`], but the connector stands in for one of the same name that is linked in, if there is one.
///
/// # Errors
/// [`NameTaken`] by another one that was loaded.
pub fn register_instead(entry: ConnectorEntry) -> Result<&'static ConnectorEntry, NameTaken> {
    add(entry, true)
}

fn add(
    entry: ConnectorEntry,
    instead_of_linked: bool,
) -> Result<&'static ConnectorEntry, NameTaken> {
    let mut loaded = LOADED.write().unwrap_or_else(PoisonError::into_inner);
    let is_it = |known: &ConnectorEntry| known.id() == entry.id();
    let linked = inventory::iter::<ConnectorEntry>.into_iter().any(is_it);
    let other = loaded.iter().copied().find(|known| is_it(known));
    if other.is_some() || (linked && !instead_of_linked) {
        return Err(NameTaken {
            id: entry.id().to_owned(),
            origin: other.and_then(ConnectorEntry::origin),
        });
    }
    let entry: &'static ConnectorEntry = Box::leak(Box::new(entry));
    loaded.push(entry);
    Ok(entry)
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

/// All connectors, linked in or loaded, by name.
#[must_use]
pub fn connectors() -> Vec<&'static ConnectorEntry> {
    let loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
    let replaced =
        |entry: &&ConnectorEntry| loaded.iter().any(|instead| instead.id() == entry.id());
    let mut entries: Vec<_> = inventory::iter::<ConnectorEntry>
        .into_iter()
        .filter(|entry| !replaced(entry))
        .chain(loaded.iter().copied())
        .collect();
    entries.sort_by_key(|entry| entry.id());
    entries
}

/// The connector with this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static ConnectorEntry> {
    connectors().into_iter().find(|entry| entry.id() == id)
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
