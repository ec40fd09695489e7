//! What the tests share: the library and the child's program, built and copied; connections three ways; the log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use calbridge_core::clock::{Clock, SystemClock};
use calbridge_core::connector::{Connection, ConnectorEntry, Context, Result};
use calbridge_core::model::{CalendarRef, OwnerId};
use calbridge_core::plugin::host::{Isolation, Launcher, LoadedConnector, PluginSettings, load};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::connector::Guest;

/// The folder that cargo puts examples into: beside that of this executable.
fn examples() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let deps = executable.parent().unwrap();
    deps.parent().unwrap().join("examples")
}

fn library_name() -> String {
    format!(
        "{}boundary_guest{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    )
}

fn newest(folder: &Path) -> std::time::SystemTime {
    let mut newest = std::time::SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let changed = if path.is_dir() {
            self::newest(&path)
        } else {
            path.metadata().unwrap().modified().unwrap()
        };
        newest = newest.max(changed);
    }
    newest
}

/// `cargo test` builds the examples, but not when one test is picked: then they are built here.
fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let folder = examples();
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let sources = newest(&here.join("src")).max(newest(&here.join("tests/plugin")));
            let stale = [library_name().as_str(), CHILD].iter().any(|name| {
                folder
                    .join(name)
                    .metadata()
                    .and_then(|file| file.modified())
                    .map_or(true, |built| built < sources)
            });
            if stale {
                let profile = folder.parent().unwrap();
                let target = profile.parent().unwrap();
                let release = profile.file_name().is_some_and(|name| name == "release");
                let built = Command::new(env!("CARGO"))
                    .current_dir(here)
                    .args(["build", "--quiet", "--examples", "--target-dir"])
                    .arg(target)
                    .args(["--features", "plugin,plugin-host"])
                    .args(release.then_some("--release"))
                    .status()
                    .unwrap();
                assert!(built.success(), "the examples cannot be built");
            }
            folder
        })
        .clone()
}

const CHILD: &str = if cfg!(windows) {
    "boundary_child.exe"
} else {
    "boundary_child"
};

/// A folder that nobody else writes, with a copy of the library.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    /// The copy that tests share while any of them runs.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Files>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = shared.upgrade() {
            return files;
        }
        let files = Arc::new(Self::own());
        *shared = Arc::downgrade(&files);
        files
    }

    /// A copy for one test alone: a library with a state of its own.
    pub(crate) fn own() -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        // Another build of the same connector: with another compiler, or optimised in another way.
        let library = std::env::var_os("CALBRIDGE_GUEST")
            .map_or_else(|| built().join(library_name()), PathBuf::from);
        std::fs::copy(library, files.library()).unwrap();
        files
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.folder.path().join(library_name())
    }

    pub(crate) fn settings(&self, isolation: Isolation) -> PluginSettings {
        PluginSettings {
            path: self.library(),
            isolation,
            sha256: None,
            replaces: Vec::new(),
        }
    }

    /// The connector in it.
    pub(crate) fn guest(&self, isolation: Isolation, launcher: &Launcher) -> LoadedConnector {
        load(&self.settings(isolation), launcher).unwrap().remove(0)
    }
}

/// Starts the child's program; waits shortly.
pub(crate) fn launcher() -> Launcher {
    let mut launcher = Launcher::new(built().join(CHILD), Vec::<String>::new());
    launcher.first_restart = Duration::from_millis(200);
    launcher.close_deadline = Duration::from_secs(8);
    launcher
}

/// How a connector is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carriage {
    Linked,
    Library,
    Child,
}

pub(crate) const ALL: [Carriage; 3] = [Carriage::Linked, Carriage::Library, Carriage::Child];
pub(crate) const LOADED: [Carriage; 2] = [Carriage::Library, Carriage::Child];

/// One connector, ready to open connections.
pub(crate) struct Connector {
    _files: Arc<Files>,
    loaded: Option<LoadedConnector>,
}

impl Connector {
    pub(crate) fn new(carriage: Carriage) -> Self {
        Self::with(carriage, &launcher())
    }

    pub(crate) fn with(carriage: Carriage, launcher: &Launcher) -> Self {
        let files = Files::shared();
        let loaded = match carriage {
            Carriage::Linked => None,
            Carriage::Library => Some(files.guest(Isolation::InProcess, launcher)),
            Carriage::Child => Some(files.guest(Isolation::Process, launcher)),
        };
        Self {
            _files: files,
            loaded,
        }
    }

    pub(crate) fn open_with(
        &self,
        settings: Value,
        context: Context,
    ) -> Result<Arc<dyn Connection>> {
        match &self.loaded {
            None => ConnectorEntry::of::<Guest>().open(settings, context),
            Some(loaded) => loaded.open(settings, context),
        }
    }

    pub(crate) fn open(&self, settings: Value) -> Result<Arc<dyn Connection>> {
        self.open_with(settings, context("guest"))
    }

    pub(crate) fn loaded(&self) -> &LoadedConnector {
        self.loaded.as_ref().unwrap()
    }
}

/// Secrets that a test can change.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mutex<BTreeMap<String, String>>);

impl Secrets {
    pub(crate) fn set(&self, reference: &str, value: &str) {
        let mut all = self.0.lock().unwrap();
        all.insert(reference.to_owned(), value.to_owned());
    }
}

impl SecretResolver for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let all = self.0.lock().unwrap();
        let found = all.get(&reference.to_string());
        found
            .map(|value| value.clone().into())
            .ok_or_else(|| SecretError {
                reference: reference.to_string(),
                reason: "the test has none".to_owned(),
            })
    }
}

pub(crate) fn context(name: &str) -> Context {
    Context {
        connection: name.to_owned(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(Secrets::default()),
        shutdown: CancellationToken::new(),
    }
}

pub(crate) fn context_with(
    name: &str,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn SecretResolver>,
) -> Context {
    Context {
        clock,
        secrets,
        ..context(name)
    }
}

/// A calendar; its owner's name may ask for something.
pub(crate) fn calendar(owner: &str) -> CalendarRef {
    let mut calendar = CalendarRef::primary("anna@example.org").unwrap();
    calendar.owner = OwnerId::new(owner).unwrap();
    calendar
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "not yet: {what}; the log: {:#?}",
            LINES
                .lock()
                .unwrap()
                .iter()
                .rev()
                .take(12)
                .collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A line of the log.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: tracing::Level,
    /// Message and fields, as text.
    pub(crate) text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// Who changes the level of the log writes, who needs all of it reads.
pub(crate) static LEVEL: RwLock<()> = RwLock::const_new(());

struct Collect;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Collect {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{}={value:?} ", field.name()).unwrap();
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        LINES.lock().unwrap().push(Line {
            level: *event.metadata().level(),
            text: text.0,
        });
    }
}

type Handle = tracing_subscriber::reload::Handle<LevelFilter, tracing_subscriber::Registry>;

/// Begins to log, at the finest level.
pub(crate) fn log() -> &'static Handle {
    static LOG: OnceLock<Handle> = OnceLock::new();
    LOG.get_or_init(|| {
        let (filter, handle) = tracing_subscriber::reload::Layer::new(LevelFilter::TRACE);
        let subscriber = tracing_subscriber::Registry::default()
            .with(filter)
            .with(Collect);
        tracing::subscriber::set_global_default(subscriber).unwrap();
        handle
    })
}

/// The lines that hold this text.
pub(crate) fn lines(with: &str) -> Vec<Line> {
    LINES
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.text.contains(with))
        .cloned()
        .collect()
}
