//! The program's side of the boundary: connectors from shared libraries, in this process or in one of their own.
//!
//! [`load`] gives a [`LoadedConnector`] for each connector of a library; [`register`](LoadedConnector::register) puts
//! it where [`find`](crate::connector::find) sees it. From there on it is a connector like any other.
//!
//! A library runs in this process (`isolation = "in-process"`) or, by default, in a child process per connection: the
//! program starts itself with the arguments of the [`Launcher`], and the child calls [`child::run`]. What a crash
//! takes along is then one connection, which is opened again after a while.
//!
//! `library` is the only module with unsafe code.

pub mod child;
mod frame;
mod library;
mod log;
mod process;
mod proxy;
mod secrets;
mod slots;
mod trust;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::abi::ABI;
use super::messages::{
    CapabilitiesAnswer, CapabilitiesRequest, LibraryManifest, method, read, write,
};
use crate::connector::{
    self, Capabilities, Connection, ConnectorEntry, Context, Error, ErrorKind, ForeignConnector,
    Manifest, NameTaken, Result, Scope,
};
use proxy::WhenItFails;
use slots::{Pending, Unwanted};

/// A library with connectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// The library's file, as an absolute path. Neither it nor a folder above it may be writable by other accounts.
    #[schemars(length(min = 1))]
    pub path: PathBuf,
    /// Where its code runs.
    #[serde(default)]
    pub isolation: Isolation,
    /// The SHA-256 of the file: 64 hexadecimal digits, as `sha256sum FILE` prints them. With it no other file is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub sha256: Option<String>,
    /// Connectors of calbridge itself that those of this library stand in for. A name that is taken is refused
    /// otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
}

/// Where a library's code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Isolation {
    /// In a child process per connection: a crash is an error of that connection alone.
    #[default]
    Process,
    /// In this process: faster, and a crash ends the program.
    InProcess,
}

/// How long a call may take: far longer than any that makes progress, so that one that never ends does not keep a sync
/// from ending.
const ANSWER: Duration = Duration::from_mins(10);

/// How the program starts itself as the child that holds a library, and how patient it is with it.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the library's path and, with a pin, its SHA-256 are appended.
    pub arguments: Vec<OsString>,
    /// How long a library may take to begin, to open a connection and to say what it can do.
    pub patience: Duration,
    /// How long a call may take; the wait for hints may take any time. Then the call is given up, and is an error of
    /// its connection.
    pub answer_deadline: Duration,
    /// How long `close` may take. Then the connection is given up; a child is killed.
    pub close_deadline: Duration,
    /// How long to wait before a child that ended by itself is started again; doubled each time.
    pub first_restart: Duration,
    /// The longest such wait.
    pub last_restart: Duration,
    /// A child that ran this long is taken for sound: the next wait is the first one again.
    pub settled: Duration,
}

impl Launcher {
    /// Starts the running program with these arguments.
    ///
    /// # Errors
    /// The program's own path is not to be had.
    pub fn this_program<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, LoadError> {
        // On Linux this is the running program also when its file was replaced by a newer one meanwhile.
        let itself = PathBuf::from("/proc/self/exe");
        let program = if cfg!(target_os = "linux") && itself.exists() {
            itself
        } else {
            std::env::current_exe().map_err(|error| LoadError::Unreadable {
                path: PathBuf::from("this program"),
                reason: error.to_string(),
            })?
        };
        Ok(Self::new(program, arguments))
    }

    /// Starts `program` with these arguments.
    pub fn new<A: Into<OsString>>(
        program: PathBuf,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            patience: Duration::from_secs(30),
            answer_deadline: ANSWER,
            close_deadline: Duration::from_secs(10),
            first_restart: Duration::from_secs(1),
            last_restart: Duration::from_secs(300),
            settled: Duration::from_secs(60),
        }
    }
}

/// Why a library is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A path that depends on where the program was started.
    #[error("the path of a connector library must be absolute: `{}`; write it from the root on, as in `{EXAMPLE}`", path.display())]
    NotAbsolute {
        /// As configured.
        path: PathBuf,
    },
    /// The file is not to be had.
    #[error("the connector library {} cannot be read: {reason}; look whether the path is right and the account of calbridge may read it", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Something else than a file.
    #[error("{} is no connector library: {reason}", path.display())]
    NoFile {
        /// What was named.
        path: PathBuf,
        /// What it is, and what would be right.
        reason: String,
    },
    /// Somebody else could put other code there.
    #[error("the connector library is not loaded: {} {reason}; let only the administrator or the account of calbridge own and write it", path.display())]
    WritableByOthers {
        /// The file or the folder.
        path: PathBuf,
        /// Who can.
        reason: String,
    },
    /// Another file than the pinned one.
    #[error("the connector library {} is not the pinned one: its SHA-256 is {found}; if you have replaced it on purpose, write that into the configuration", path.display())]
    OtherContent {
        /// Which file.
        path: PathBuf,
        /// Its SHA-256.
        found: String,
    },
    /// No library for this system, or one that lacks another one.
    #[error("the connector library {} cannot be loaded: {reason}; it must be a whole shared library that was built for this system ({} on {}), and the libraries that it needs must be installed", path.display(), std::env::consts::OS, std::env::consts::ARCH)]
    NotLoadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A library that does not follow contract version 1.
    #[error("the connector library {} does not fit this calbridge: {reason}; ask its vendor for one that is built for plug-in version 1", path.display())]
    Incompatible {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The child process could not be started or did not speak.
    #[error("the child process for the connector library {} does not work: {reason}; if it stays so, report that to its vendor", path.display())]
    Child {
        /// Which file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Two connectors have one name.
    #[error("the connector library {} is not loaded: {}", path.display(), taken(id, origin.as_deref()))]
    NameTaken {
        /// Which file.
        path: PathBuf,
        /// Which name.
        id: String,
        /// The library that has brought a connector of this name; none if it is one of calbridge's own.
        origin: Option<String>,
    },
    /// A connector is to stand in for another, and is not in the library.
    #[error("the connector library {} holds no connector `{name}` that could stand in for another one, but {}; correct the name or take it out", path.display(), quoted(holds))]
    ReplacesNothing {
        /// Which file.
        path: PathBuf,
        /// The name that stands in `replaces`.
        name: String,
        /// The names of the library's connectors.
        holds: Vec<String>,
    },
    /// A library is loaded once and stays as it is.
    #[error("the connector library {} is loaded already, with other settings; restart calbridge", path.display())]
    OtherSettings {
        /// Which file.
        path: PathBuf,
    },
}

/// What an absolute path looks like.
#[cfg(not(windows))]
const EXAMPLE: &str = "/usr/lib/calbridge/librota.so";
#[cfg(windows)]
const EXAMPLE: &str = r"C:\Program Files\calbridge\rota.dll";

fn taken(id: &str, origin: Option<&str>) -> String {
    match origin {
        None => format!(
            "calbridge has a connector `{id}` of its own; to put this one in its place, write `replaces = [\"{id}\"]`"
        ),
        Some(origin) => format!(
            "{origin} has brought a connector `{id}` already; name only one of the two libraries"
        ),
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// A library that is ready to open connections: in this process or in children.
trait Carrier: Send + Sync + fmt::Debug {
    /// What it says of itself.
    fn manifest(&self) -> &LibraryManifest;

    /// Opens a connection; waits for the answer, which comes with it. `handle` is the connection's in the log.
    fn open(
        &self,
        connector: &str,
        config: &[u8],
        handle: u64,
    ) -> Result<(Arc<dyn Instance>, Vec<u8>)>;

    /// Asks the library itself; waits for the answer.
    fn ask(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>>;

    /// How long to wait before a connection whose instance died is opened again.
    fn launcher(&self) -> &Launcher;
}

/// An open connection. Dropping the last reference closes it, in the background.
trait Instance: Send + Sync {
    /// Begins a call; dropping the answer cancels it. An answer that comes all the same goes to `unwanted`.
    fn call(&self, name: &str, payload: &[u8], unwanted: Option<Unwanted>) -> Pending;

    /// Says something without waiting for the answer.
    fn tell(&self, name: &str, payload: &[u8]);

    /// When it ended by itself, if it did.
    fn died(&self) -> Option<Instant>;
}

/// One connector of a loaded library.
#[derive(Debug, Clone)]
pub struct LoadedConnector {
    path: Arc<Path>,
    isolation: Isolation,
    carrier: Arc<dyn Carrier>,
    manifest: Manifest,
    replaces: bool,
}

impl LoadedConnector {
    /// What is known of it without opening it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The library it came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it can do with these settings. Waits for the library.
    ///
    /// # Errors
    /// `Config` for settings that do not fit; what keeps the library from answering.
    pub fn capabilities_with(&self, settings: &Value) -> Result<Capabilities> {
        let request = CapabilitiesRequest {
            connector: self.manifest.id.clone(),
            settings: settings.clone(),
        };
        let request = write(method::CAPABILITIES, &request)?;
        match self.carrier.ask(method::CAPABILITIES, &request) {
            Ok(answer) => {
                Ok(read::<CapabilitiesAnswer>(method::CAPABILITIES, &answer)?.capabilities)
            }
            // Settings change nothing for it.
            Err(error) if error.kind == ErrorKind::Unsupported => {
                Ok(self.manifest.capabilities.clone())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a connection. No network, but the library is waited for; a child process is started.
    ///
    /// # Errors
    /// `Config` for settings that do not fit or cannot work; what keeps the library from answering.
    pub fn open(&self, settings: Value, context: Context) -> Result<Arc<dyn Connection>> {
        let carrier = Arc::clone(&self.carrier);
        proxy::open(
            carrier,
            &self.manifest,
            settings,
            context,
            WhenItFails::Tell,
        )
    }

    /// Puts it beside the connectors that are linked in.
    ///
    /// # Errors
    /// [`LoadError::NameTaken`].
    pub fn register(self) -> Result<&'static ConnectorEntry, LoadError> {
        let path = self.path.to_path_buf();
        let register = if self.replaces {
            connector::register_instead
        } else {
            connector::register
        };
        register(ConnectorEntry::foreign(Box::new(self))).map_err(|error: NameTaken| {
            LoadError::NameTaken {
                path,
                id: error.id,
                origin: error.origin,
            }
        })
    }
}

impl ForeignConnector for LoadedConnector {
    fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn isolation(&self) -> &'static str {
        match self.isolation {
            Isolation::Process => "process",
            Isolation::InProcess => "in-process",
        }
    }

    /// A library that is in trouble now has said in its manifest what it can do.
    fn capabilities(&self, settings: &Value) -> Result<Capabilities> {
        self.capabilities_with(settings).or_else(|error| {
            if error.kind == ErrorKind::Config {
                return Err(error);
            }
            tracing::warn!(
                target: "calbridge::plugin",
                connector = self.manifest.id,
                code = error.code,
                %error,
                "A connector does not say what it can do with its settings; what its manifest says counts."
            );
            Ok(self.manifest.capabilities.clone())
        })
    }

    /// What may pass (a process that crashed, a panic) shows with the first call and is tried again then: the other
    /// connections go on.
    fn open(&self, settings: Value, context: Context) -> Result<Arc<dyn Connection>> {
        let carrier = Arc::clone(&self.carrier);
        proxy::open(
            carrier,
            &self.manifest,
            settings,
            context,
            WhenItFails::TryAgain,
        )
    }
}

/// Loads a library: the file is checked, then its code runs, here or in a child process, and says what it holds.
///
/// On Unix the file and every folder above it must belong to root or to the account of the program and must not be
/// writable by a group or by everybody (folders with the sticky bit, as `/tmp`, may stand further up). On Windows the
/// rights are not looked at: pin the file with its SHA-256 and keep it under `Program Files`.
///
/// # Errors
/// [`LoadError`] with the reason. Nothing of the library is used then.
pub fn load(
    settings: &PluginSettings,
    launcher: &Launcher,
) -> Result<Vec<LoadedConnector>, LoadError> {
    let path = trust::check(&settings.path, settings.sha256.as_deref())?;
    let carrier: Arc<dyn Carrier> = match settings.isolation {
        Isolation::Process => Arc::new(process::Program::start(
            path.clone(),
            settings.sha256.clone(),
            launcher.clone(),
        )?),
        Isolation::InProcess => Arc::new(library::InProcess::load(&path, launcher.clone())?),
    };
    check_manifest(&path, carrier.manifest())?;
    check_replaces(&path, carrier.manifest(), &settings.replaces)?;
    let file: Arc<Path> = path.into();
    Ok(carrier
        .manifest()
        .connectors
        .iter()
        .map(|manifest| LoadedConnector {
            path: Arc::clone(&file),
            isolation: settings.isolation,
            carrier: Arc::clone(&carrier),
            replaces: settings.replaces.contains(&manifest.id),
            manifest: manifest.clone(),
        })
        .collect())
}

fn check_manifest(path: &Path, manifest: &LibraryManifest) -> Result<(), LoadError> {
    let refused = |reason: String| {
        Err(LoadError::Incompatible {
            path: path.to_owned(),
            reason,
        })
    };
    if manifest.abi != ABI {
        return refused(format!(
            "it follows version {} of the plug-in contract",
            manifest.abi
        ));
    }
    if manifest.connectors.is_empty() {
        return refused(
            "it holds no connector (does its crate name the connector's in `plugin_entry!`?)"
                .to_owned(),
        );
    }
    for (at, connector) in manifest.connectors.iter().enumerate() {
        if connector.id.trim().is_empty() {
            return refused("one of its connectors has no name".to_owned());
        }
        let again = manifest.connectors.iter().skip(at + 1);
        if again.into_iter().any(|other| other.id == connector.id) {
            return refused(format!("it holds two connectors `{}`", connector.id));
        }
    }
    Ok(())
}

/// A misspelt name would leave calbridge's own connector in force.
fn check_replaces(
    path: &Path,
    manifest: &LibraryManifest,
    replaces: &[String],
) -> Result<(), LoadError> {
    let holds = || manifest.connectors.iter().map(|connector| &connector.id);
    match replaces.iter().find(|name| holds().all(|id| id != *name)) {
        None => Ok(()),
        Some(name) => Err(LoadError::ReplacesNothing {
            path: path.to_owned(),
            name: name.clone(),
            holds: holds().cloned().collect(),
        }),
    }
}

/// An error of the boundary itself, not of a connector.
fn boundary(code: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Transient, Scope::Connection, code, message)
}

/// Connections that are being closed in the background.
static CLOSING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Closes something on a thread of its own, and says so if it takes too long.
fn close_in_background(what: &str, deadline: Duration, close: impl FnOnce() + Send + 'static) {
    *CLOSING.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    let left = || {
        *CLOSING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        CLOSING.1.notify_all();
    };
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let what = what.to_owned();
    let begun = std::thread::Builder::new()
        .name("calbridge-close".to_owned())
        .spawn(move || {
            let worker = std::thread::Builder::new()
                .name("calbridge-closing".to_owned())
                .spawn(move || {
                    close();
                    drop(tell);
                });
            if worker.is_ok()
                && told.recv_timeout(deadline) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                tracing::error!(
                    plugin = what,
                    seconds = deadline.as_secs(),
                    "A connector did not end in time and is given up; what it holds is lost until the program ends."
                );
            }
            left();
        });
    if begun.is_err() {
        // No threads to be had: what is open stays open.
        left();
    }
}

/// Waits until all connections that were dropped are closed (or given up). `false`: some are not yet.
#[must_use]
pub fn settle(deadline: Duration) -> bool {
    let begun = Instant::now();
    let mut closing = CLOSING.0.lock().unwrap_or_else(PoisonError::into_inner);
    while *closing > 0 {
        let Some(left) = deadline.checked_sub(begun.elapsed()) else {
            return false;
        };
        closing = CLOSING
            .1
            .wait_timeout(closing, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    true
}

/// How many calls to libraries in this process have not been answered yet, given up ones among them.
#[must_use]
pub fn outstanding() -> usize {
    slots::outstanding()
}
