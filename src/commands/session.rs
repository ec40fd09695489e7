//! What commands share: configuration, clock, state file, connections, engine.

use std::sync::Arc;
use std::time::Duration;

use calbridge_core::clock::{Clock, FixedClock, SystemClock};
use calbridge_core::connector::{self, Connection, Context, ErrorKind};
use calbridge_core::engine::{ConnectionHandle, Engine, EngineError, Rules, SyncConfig};
use calbridge_core::model::Address;
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{Fence, Store, StoreError};
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, Selection, Tracing};
use crate::config::{self, Config, ConfigError, ConnectionConfig, Sources};
use crate::error::AppError;
use crate::log;
use crate::secrets::SystemSecrets;

/// How long work under way may take to end by itself once the program was asked to stop; shorter than the program's
/// own patience, so that what was done can still be told.
const GRACE: Duration = Duration::from_secs(4);

/// A command's work on one configuration.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shutdown: CancellationToken,
}

impl Session {
    /// Reads the configuration and begins to log.
    pub(crate) fn new(global: &Global, shutdown: CancellationToken) -> Result<Self, AppError> {
        let mut config = config::load(&Self::sources(global))?;
        if let Some(level) = global.log_level {
            config.log.level = level;
        }
        log::begin(&config.log);
        let clock: Arc<dyn Clock> = match global.now {
            Some(now) => Arc::new(FixedClock::new(now)),
            None => Arc::new(SystemClock::default()),
        };
        Ok(Self {
            config,
            clock,
            shutdown,
        })
    }

    /// Has the requests for one calendar noted down, where that was asked for.
    ///
    /// # Errors
    /// Not one calendar is named, or no connection can do it.
    pub(crate) fn trace(
        &mut self,
        tracing: &Tracing,
        calendars: &[String],
    ) -> Result<(), AppError> {
        let Some(file) = &tracing.trace_wire else {
            return Ok(());
        };
        let [mailbox] = addresses(calendars)?
            .try_into()
            .map_err(|_: Vec<Address>| {
                AppError::Usage("`--trace-wire` is for one calendar: name just one".to_owned())
            })?;
        // A connector may live in another process.
        let file = std::path::absolute(file)
            .map_err(|error| AppError::Usage(format!("`--trace-wire`: {error}")))?;
        let mut traced = false;
        for connection in self.config.connections.values_mut() {
            let manifest = connection.connector.manifest();
            let can = manifest.settings.pointer("/properties/trace").is_some();
            if let (true, Some(settings)) = (can, connection.settings.as_object_mut()) {
                traced = true;
                settings.insert(
                    "trace".to_owned(),
                    serde_json::json!({ "mailbox": mailbox.as_str(), "file": file }),
                );
            }
        }
        if traced {
            Ok(())
        } else {
            Err(AppError::Usage(
                "no connection of this configuration can note down its requests (`--trace-wire`)"
                    .to_owned(),
            ))
        }
    }

    /// What the configuration is read from.
    pub(crate) fn sources(global: &Global) -> Sources {
        Sources {
            file: global.config.clone().unwrap_or_else(config::default_file),
            environment: std::env::vars_os().collect(),
            set: global.set.clone(),
        }
    }

    /// The syncs that were asked for.
    pub(crate) fn syncs(&self, selection: &Selection) -> Result<Vec<SyncConfig>, AppError> {
        if let Some(unknown) = selection
            .syncs
            .iter()
            .find(|name| !self.config.syncs.iter().any(|sync| sync.name == **name))
        {
            let names: Vec<String> = self
                .config
                .syncs
                .iter()
                .map(|sync| format!("`{}`", sync.name))
                .collect();
            return Err(AppError::Usage(format!(
                "there is no sync `{unknown}`; configured: {}",
                names.join(", ")
            )));
        }
        let syncs: Vec<SyncConfig> = self
            .config
            .syncs
            .iter()
            .filter(|sync| selection.syncs.is_empty() || selection.syncs.contains(&sync.name))
            .cloned()
            .collect();
        if syncs.is_empty() {
            return Err(AppError::Usage(
                "no sync is configured; add a table [[sync]] to the configuration".to_owned(),
            ));
        }
        Ok(syncs)
    }

    /// A sync's rules as they are now; none: its connections cannot do what it needs of them.
    pub(crate) fn rules(&self, sync: &SyncConfig) -> Option<Rules> {
        let capabilities = |name: &str| self.config.connections.get(name).map(|c| &c.capabilities);
        let source = capabilities(&sync.source)?.source.as_ref()?;
        let sink = capabilities(&sync.sink)?.sink.as_ref()?;
        sync.rules().at(self.clock.now(), source, sink).ok()
    }

    /// Where a sync's days begin.
    pub(crate) fn zone(&self, sync: &SyncConfig) -> TimeZone {
        self.rules(sync)
            .map_or_else(TimeZone::system, |rules| rules.zone)
    }

    /// Opens the state file for this process alone.
    pub(crate) async fn store(&self) -> Result<SqliteStore, AppError> {
        let (path, now) = (self.config.state.path.clone(), self.clock.now());
        blocking(move || SqliteStore::open(path, now)).await
    }

    /// Opens the state file for pauses and orders, also while the service runs.
    pub(crate) async fn store_beside(&self) -> Result<SqliteStore, AppError> {
        let path = self.config.state.path.clone();
        blocking(move || SqliteStore::open_beside(path)).await
    }

    /// Opens the state file for reading, also while the service runs.
    pub(crate) async fn store_to_read(&self) -> Result<SqliteStore, AppError> {
        let path = self.config.state.path.clone();
        blocking(move || SqliteStore::open_read_only(path)).await
    }

    /// Whether the state file could be opened for this process alone. Nothing is made or changed for that.
    pub(crate) async fn examine_store(&self) -> Result<(), AppError> {
        let path = self.config.state.path.clone();
        blocking(move || SqliteStore::examine(path)).await
    }

    /// Comes when the program was asked to stop and work under way has had its time to end.
    pub(crate) async fn out_of_patience(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// Opens one connection. No network.
    pub(crate) fn open(
        &self,
        connection: &ConnectionConfig,
    ) -> Result<Arc<dyn Connection>, connector::Error> {
        let context = Context {
            connection: connection.name.clone(),
            clock: Arc::clone(&self.clock),
            secrets: Arc::new(SystemSecrets),
            shutdown: self.shutdown.clone(),
        };
        connection
            .connector
            .open(connection.settings.clone(), context)
    }

    /// Opens the connections of these syncs. Others stay untouched.
    pub(crate) fn connections(
        &self,
        syncs: &[SyncConfig],
    ) -> Result<Vec<Arc<ConnectionHandle>>, AppError> {
        let mut handles = Vec::new();
        let mut mistakes = Vec::new();
        let named = |name: &String| {
            syncs
                .iter()
                .any(|sync| sync.source == *name || sync.sink == *name)
        };
        for (name, connection) in self
            .config
            .connections
            .iter()
            .filter(|(name, _)| named(name))
        {
            match self.open(connection) {
                Ok(open) => {
                    let handle = ConnectionHandle::new(
                        name,
                        connection.version(),
                        connection.capabilities.clone(),
                        open,
                    );
                    handles.push(Arc::new(handle.with_budget(connection.budget)));
                }
                Err(error) if error.kind == ErrorKind::Config => {
                    mistakes.push(connection.mistake(&error.message));
                }
                Err(error) => {
                    return Err(AppError::Connection {
                        connection: name.clone(),
                        error,
                    });
                }
            }
        }
        if mistakes.is_empty() {
            Ok(handles)
        } else {
            Err(ConfigError::new(mistakes).into())
        }
    }

    /// The engine over these syncs without a state file: whether it takes them, and whose calendars they are about.
    pub(crate) async fn engine_without_state(
        &self,
        connections: Vec<Arc<ConnectionHandle>>,
        syncs: Vec<SyncConfig>,
    ) -> Result<(Engine, Arc<dyn Store>), AppError> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory()?);
        let fence = store.acquire("nobody", self.clock.now()).await?;
        let clock = Arc::clone(&self.clock);
        let engine = Engine::new(Arc::clone(&store), fence, clock, connections, syncs)?;
        Ok((engine, store))
    }

    /// The engine over these syncs, with the state file open for reading: beside a service that runs.
    pub(crate) async fn engine_to_read(&self, syncs: Vec<SyncConfig>) -> Result<Engine, AppError> {
        let store: Arc<dyn Store> = Arc::new(self.store_to_read().await?);
        // Whoever holds the lease, it is not us: nothing can be written under this.
        let fence = Fence(0);
        let clock = Arc::clone(&self.clock);
        let connections = self.connections(&syncs)?;
        Ok(Engine::new(store, fence, clock, connections, syncs)?)
    }

    /// The engine over these syncs, with the state file open for writing.
    pub(crate) async fn engine(&self, syncs: Vec<SyncConfig>) -> Result<Engine, AppError> {
        self.engine_over(self.connections(&syncs)?, syncs).await
    }

    /// The same over connections that are open.
    pub(crate) async fn engine_over(
        &self,
        connections: Vec<Arc<ConnectionHandle>>,
        syncs: Vec<SyncConfig>,
    ) -> Result<Engine, AppError> {
        let store: Arc<dyn Store> = Arc::new(self.store().await?);
        let holder = format!("process {}", std::process::id());
        let fence = store.acquire(&holder, self.clock.now()).await?;
        Ok(Engine::new(
            store,
            fence,
            Arc::clone(&self.clock),
            connections,
            syncs,
        )?)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, AppError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(AppError::Failed(
            "opening the state file broke off unexpectedly".to_owned(),
        )),
    }
}

/// Fails if an address of the command line is that of no calendar in these syncs.
pub(crate) async fn require_known(
    store: &dyn Store,
    syncs: &[SyncConfig],
    addresses: &[Address],
) -> Result<(), AppError> {
    let mut unknown: Vec<&Address> = addresses.iter().collect();
    for sync in syncs {
        for state in store.calendars(&sync.name).await? {
            unknown.retain(|address| **address != state.calendar.address);
        }
    }
    match unknown.first() {
        None => Ok(()),
        Some(address) => Err(unknown_address(address, syncs)),
    }
}

/// The same for commands that read the roster: it may name the address by now.
pub(crate) async fn require_asked(
    engine: &Engine,
    syncs: &[SyncConfig],
    addresses: &[Address],
) -> Result<(), AppError> {
    let store = engine.store().as_ref();
    if require_known(store, syncs, addresses).await.is_ok() {
        return Ok(());
    }
    let mut unread = None;
    for sync in syncs {
        if let Err(error) = engine.refresh_roster(sync).await {
            unread = Some(error);
        }
    }
    match (require_known(store, syncs, addresses).await, unread) {
        (Ok(()), _) => Ok(()),
        // Whoever gives the roster may well know the address.
        (Err(_), Some(error)) => Err(error.into()),
        (Err(unknown), None) => Err(unknown),
    }
}

/// What to say of an address that no roster has ever named.
pub(crate) fn unknown_address(address: &Address, syncs: &[SyncConfig]) -> AppError {
    let place = match syncs {
        [one] => format!("the sync `{}`", one.name),
        _ => "any of the syncs".to_owned(),
    };
    AppError::Usage(format!(
        "no calendar with the address {} is known in {place}; `calbridge status` lists those that are",
        address.as_str()
    ))
}

/// Addresses of the command line.
pub(crate) fn addresses(texts: &[String]) -> Result<Vec<Address>, AppError> {
    texts
        .iter()
        .map(|text| {
            Address::new(text).map_err(|_| {
                AppError::Usage(format!(
                    "`{text}` is not an address such as anna@kommune.example"
                ))
            })
        })
        .collect()
}

impl From<EngineError> for AppError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => Self::Store(error),
            EngineError::Roster { connection, error } => Self::Connection { connection, error },
            paused @ EngineError::Paused { .. } => Self::Failed(paused.to_string()),
            other => Self::Usage(other.to_string()),
        }
    }
}
