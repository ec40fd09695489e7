//! From layers to a configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use calbridge_core::connector::{self, connectors};
use calbridge_core::engine::{Direction, SyncConfig};
use figment::providers::Serialized;
use figment::value::{Tag, Value as FigmentValue};
use figment::{Figment, Profile, Provider};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::layer::{Layer, Named};
use super::mistake::{ConfigError, Mistake, Place, suggest};
use super::path::{KeyPath, Step};
use super::validate::{Checker, Found, allowed};
use super::{Config, ConnectionConfig, schema};

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// The file; `conf.d` beside it is read too.
    pub(crate) file: PathBuf,
    /// Environment variables.
    pub(crate) environment: Vec<(String, String)>,
    /// `--set` options.
    pub(crate) set: Vec<String>,
}

/// The file that is read unless another is named.
pub(crate) fn default_file() -> PathBuf {
    if cfg!(windows) {
        program_data().join("calbridge.toml")
    } else {
        PathBuf::from("/etc/calbridge/calbridge.toml")
    }
}

/// The state file unless another is configured.
pub(super) fn default_state() -> PathBuf {
    let folder = if cfg!(windows) {
        program_data()
    } else {
        std::env::var_os("STATE_DIRECTORY")
            .and_then(|folders| std::env::split_paths(&folders).next())
            .unwrap_or_else(|| PathBuf::from("/var/lib/calbridge"))
    };
    folder.join("calbridge.db")
}

fn program_data() -> PathBuf {
    std::env::var_os("ProgramData")
        .map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from)
        .join("calbridge")
}

/// Reads and checks a configuration. No network, no secrets.
///
/// # Errors
/// Every mistake that was found.
pub(crate) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let (layers, files) = layers(sources)?;
    let merged = Merged::new(layers)?;
    let mut reader = Reader {
        merged,
        mistakes: Vec::new(),
    };
    let config = reader.read(files);
    match config {
        Some(config) if reader.mistakes.is_empty() => Ok(config),
        _ => Err(ConfigError::new(reader.mistakes)),
    }
}

/// Layers in their order, each with whether its lists are added to those before.
type Layers = Vec<(Layer, bool)>;

fn layers(sources: &Sources) -> Result<(Layers, Vec<PathBuf>), ConfigError> {
    let mut files = vec![sources.file.clone()];
    let mut mistakes = Vec::new();
    match beside(&sources.file) {
        Ok(more) => files.extend(more),
        Err(mistake) => mistakes.push(mistake),
    }
    let mut layers = Vec::new();
    let mut take = |layer: Result<Layer, Vec<Mistake>>, add: bool| match layer {
        Ok(layer) => layers.push((layer, add)),
        Err(more) => mistakes.extend(more),
    };
    for file in &files {
        take(Layer::file(file), true);
    }
    take(
        Layer::environment(sources.environment.iter().cloned()),
        false,
    );
    take(Layer::set(&sources.set), false);
    if mistakes.is_empty() {
        Ok((layers, files))
    } else {
        Err(ConfigError::new(mistakes))
    }
}

/// The files of `conf.d` beside the file, in the order of their names.
fn beside(file: &Path) -> Result<Vec<PathBuf>, Mistake> {
    let folder = file
        .parent()
        .unwrap_or_else(|| Path::new(""))
        .join("conf.d");
    let unreadable = |error: std::io::Error| Mistake {
        place: Some(Place::File {
            path: folder.clone(),
            at: None,
        }),
        key: String::new(),
        message: format!("the folder cannot be read: {error}"),
        help: Some("give the account that calbridge runs under read access".to_owned()),
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(&unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The layers merged, each value still knowing its layer.
struct Merged {
    layers: Vec<Layer>,
    figment: Figment,
    root: FigmentValue,
    json: Value,
}

impl Merged {
    fn new(layers: Layers) -> Result<Self, ConfigError> {
        let broken =
            |error: String| ConfigError::general(None, format!("cannot be read: {error}"), None);
        let mut figment = Figment::new();
        for (at, (layer, add)) in layers.iter().enumerate() {
            let named = Named(at, layer);
            figment = if *add {
                figment.admerge(named)
            } else {
                figment.merge(named)
            };
        }
        let root = figment
            .data()
            .map_err(|error| broken(error.to_string()))?
            .remove(&Profile::Default)
            .unwrap_or_default();
        let json = serde_json::to_value(&root).map_err(|error| broken(error.to_string()))?;
        Ok(Self {
            layers: layers.into_iter().map(|(layer, _)| layer).collect(),
            figment,
            root: FigmentValue::Dict(Tag::Default, root),
            json,
        })
    }

    /// The layer that has the last word on a key, and the key's path in that layer.
    fn origin(&self, path: &KeyPath) -> Option<(&Layer, KeyPath)> {
        let mut value = &self.root;
        let mut inside = KeyPath::default();
        for step in &path.0 {
            match (step, value) {
                (Step::Key(key), FigmentValue::Dict(_, table)) => {
                    inside = inside.key(key);
                    match table.get(key) {
                        Some(next) => value = next,
                        None => break,
                    }
                }
                (Step::Index(index), FigmentValue::Array(_, items)) => {
                    let Some(next) = items.get(*index) else {
                        break;
                    };
                    // Lists of several files were put together: count within the item's own.
                    let before = items
                        .iter()
                        .take(*index)
                        .filter(|item| self.layer_of(item) == self.layer_of(next))
                        .count();
                    inside = inside.index(before);
                    value = next;
                }
                _ => break,
            }
        }
        let layer = self.layer_of(value)?;
        Some((self.layers.get(layer)?, inside))
    }

    fn layer_of(&self, value: &FigmentValue) -> Option<usize> {
        // A merged table has no layer of its own: any part of it tells where it is written.
        if let Some(metadata) = self.figment.get_metadata(value.tag()) {
            return metadata.name.parse().ok();
        }
        match value {
            FigmentValue::Dict(_, table) => table.values().find_map(|part| self.layer_of(part)),
            FigmentValue::Array(_, items) => items.iter().find_map(|part| self.layer_of(part)),
            _ => None,
        }
    }

    fn place(&self, path: &KeyPath) -> Option<Place> {
        match self.origin(path) {
            Some((layer, inside)) => layer.place(&inside),
            None => self.layers.first()?.place(&KeyPath::default()),
        }
    }
}

struct Reader {
    merged: Merged,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn mistake(&mut self, path: &KeyPath, message: impl Into<String>, help: Option<String>) {
        let mistake = Mistake {
            place: self.merged.place(path),
            key: path.to_string(),
            message: message.into(),
            help,
        };
        self.mistakes.push(mistake);
    }

    fn read(&mut self, files: Vec<PathBuf>) -> Option<Config> {
        self.check(&KeyPath::default(), schema::root());
        let mut connections = BTreeMap::new();
        for name in self.names(&KeyPath::keys(["connections"])) {
            if let Some(connection) = self.connection(&name) {
                connections.insert(name, connection);
            }
        }
        let syncs = self.syncs(&connections);
        let state = self.typed(&KeyPath::keys(["state"]))?;
        let log = self.typed(&KeyPath::keys(["log"]))?;
        Some(Config {
            connections,
            syncs,
            state,
            log,
            files,
        })
    }

    fn names(&self, path: &KeyPath) -> Vec<String> {
        path.get(&self.merged.json)
            .and_then(Value::as_object)
            .map(|table| table.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Checks what stands at `base` against a schema; answers how many mistakes were added. A value from the
    /// environment or the command line that was taken for a number where a text is wanted becomes one.
    fn check(&mut self, base: &KeyPath, schema: Value) -> Vec<Found> {
        let checker = match Checker::new(schema) {
            Ok(checker) => checker,
            Err(error) => {
                self.mistake(
                    base,
                    format!("the connector's schema is broken: {error}"),
                    None,
                );
                return Vec::new();
            }
        };
        loop {
            let found = base
                .get(&self.merged.json)
                .map(|value| checker.check(&without_connector(base, value)))
                .unwrap_or_default();
            let mut mended = false;
            for wrong in found.iter().filter(|wrong| wrong.text_expected) {
                let path = base.clone().join(&wrong.path);
                let text = self
                    .merged
                    .origin(&path)
                    .and_then(|(layer, inside)| layer.text(&inside).map(str::to_owned));
                if let (Some(text), Some(value)) = (text, path.get_mut(&mut self.merged.json))
                    && !value.is_string()
                {
                    *value = Value::String(text);
                    mended = true;
                }
            }
            if mended {
                continue;
            }
            for wrong in &found {
                let path = base.clone().join(&wrong.path);
                self.mistake(&path, wrong.message.clone(), wrong.help.clone());
            }
            return found;
        }
    }

    fn connection(&mut self, name: &str) -> Option<ConnectionConfig> {
        let base = KeyPath::keys(["connections", name]);
        let id = base
            .get(&self.merged.json)?
            .get("connector")?
            .as_str()?
            .to_owned();
        let Some(entry) = connector::find(&id) else {
            let ids: Vec<&str> = connectors().iter().map(|entry| entry.id()).collect();
            let path = base.key("connector");
            self.mistake(
                &path,
                format!("there is no connector `{id}`"),
                suggest(&id, &ids),
            );
            return None;
        };
        let found = self.check(&base, entry.manifest().settings);
        let settings = without_connector(&base, base.get(&self.merged.json)?);
        let capabilities = match entry.capabilities(&settings) {
            Ok(capabilities) => capabilities,
            // What the schema says is more exact, but a choice that is not there yet only the connector knows.
            Err(error) if found.is_empty() || found.iter().all(|wrong| wrong.choice) => {
                let prefix = format!("settings of `{id}`: ");
                let text = error
                    .message
                    .strip_prefix(&prefix)
                    .unwrap_or(&error.message);
                let path = self.named_in(text, &base, &settings, &found);
                let place = self.merged.place(&path);
                self.mistakes.retain(|known| known.place != place);
                self.mistake(&path, text.to_owned(), None);
                return None;
            }
            Err(_) => return None,
        };
        if !found.is_empty() {
            return None;
        }
        let places = settings
            .as_object()
            .into_iter()
            .flat_map(|table| table.keys())
            .filter_map(|key| Some((key.clone(), self.merged.place(&base.clone().key(key))?)))
            .collect();
        Some(ConnectionConfig {
            name: name.to_owned(),
            connector: entry,
            settings,
            capabilities,
            place: self.merged.place(&base),
            places,
        })
    }

    /// The key that a connector's message is about: the first one that it names in backticks.
    fn named_in(&self, text: &str, base: &KeyPath, settings: &Value, found: &[Found]) -> KeyPath {
        if let Some(wrong) = found.first() {
            return base.clone().join(&wrong.path);
        }
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(|name| KeyPath::keys(name.split('.')))
            .find(|path| path.get(settings).is_some())
            .map_or_else(|| base.clone(), |path| base.clone().join(&path))
    }

    fn syncs(&mut self, connections: &BTreeMap<String, ConnectionConfig>) -> Vec<SyncConfig> {
        let base = KeyPath::keys(["sync"]);
        let count = base
            .get(&self.merged.json)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let configured = self.names(&KeyPath::keys(["connections"]));
        let mut syncs: Vec<SyncConfig> = Vec::new();
        for at in 0..count {
            let path = base.clone().index(at);
            let Some(sync) = self.typed::<SyncConfig>(&path) else {
                continue;
            };
            self.check_sync(&path, &sync, connections, &configured);
            if sync.name.trim().is_empty() {
                self.mistake(&path.clone().key("name"), "must not be empty", None);
            }
            if syncs.iter().any(|other| other.name == sync.name) {
                self.mistake(
                    &path.clone().key("name"),
                    format!("another sync has the name `{}` already", sync.name),
                    Some(
                        "give each sync a name of its own; what is remembered is kept under it"
                            .to_owned(),
                    ),
                );
            }
            syncs.push(sync);
        }
        syncs
    }

    fn check_sync(
        &mut self,
        path: &KeyPath,
        sync: &SyncConfig,
        connections: &BTreeMap<String, ConnectionConfig>,
        configured: &[String],
    ) {
        let names: Vec<&str> = configured.iter().map(String::as_str).collect();
        for (key, name) in [("source", &sync.source), ("sink", &sync.sink)] {
            if !configured.contains(name) {
                let help = suggest(name, &names)
                    .unwrap_or_else(|| "write a table [connections.NAME] first".to_owned());
                self.mistake(
                    &path.clone().key(key),
                    format!("there is no connection `{name}`"),
                    Some(help),
                );
            }
        }
        if sync.source == sync.sink {
            self.mistake(
                &path.clone().key("sink"),
                "source and sink are the same connection",
                None,
            );
        }
        if sync.direction == Direction::TwoWay {
            self.mistake(
                &path.clone().key("direction"),
                "`two-way` is not available yet",
                Some("write `one-way`, or leave the key out".to_owned()),
            );
        }
        for (key, positive) in [
            ("interval", sync.schedule.interval.is_positive()),
            (
                "roster_interval",
                sync.schedule.roster_interval.is_positive(),
            ),
        ] {
            if !positive {
                self.mistake(
                    &path.clone().key("schedule").key(key),
                    "must be longer than nothing",
                    Some("write for example `60 s` or `10 min`".to_owned()),
                );
            }
        }
        if let Some(zone) = &sync.zone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            self.mistake(
                &path.clone().key("zone"),
                format!("`{zone}` is not a zone"),
                Some("write an IANA name such as `Europe/Copenhagen`".to_owned()),
            );
            return;
        }
        let (Some(source), Some(sink)) =
            (connections.get(&sync.source), connections.get(&sync.sink))
        else {
            return;
        };
        let cannot = |connection: &ConnectionConfig, what: &str| {
            format!(
                "the connection `{}` cannot be {what}: its connector `{}` cannot do that",
                connection.name,
                connection.connector.id()
            )
        };
        match (&source.capabilities.source, &sink.capabilities.sink) {
            (Some(from), Some(to)) => {
                if let Err(error) = sync.rules().at(jiff::Timestamp::now(), from, to) {
                    self.mistake(&path.clone().key("window"), error.to_string(), None);
                }
            }
            (from, to) => {
                if from.is_none() {
                    self.mistake(&path.clone().key("source"), cannot(source, "read"), None);
                }
                if to.is_none() {
                    self.mistake(&path.clone().key("sink"), cannot(sink, "written"), None);
                }
            }
        }
    }

    /// What stands at `path` as a `T`. Every key that does not fit is a mistake; it is left out then, so that
    /// the next one is found too.
    fn typed<T: DeserializeOwned>(&mut self, path: &KeyPath) -> Option<T> {
        let mut value = path
            .get(&self.merged.json)
            .cloned()
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        loop {
            let parsed = Figment::from(Serialized::from(&value, Profile::Default)).extract::<T>();
            let error = match parsed {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let inside = steps(&error.path, &value);
            let at = path.clone().join(&inside);
            // The schema has found it already, more exactly.
            let known = at.to_string();
            let known = self.mistakes.iter().any(|mistake| {
                mistake.key == known || mistake.key.starts_with(&format!("{known}."))
            });
            let missing = matches!(
                error.kind,
                figment::error::Kind::MissingField(_) | figment::error::Kind::UnknownField(..)
            );
            if !known && !missing {
                self.mistake(&at, words(&error.kind), None);
            }
            if !inside.remove(&mut value) {
                return None;
            }
        }
    }
}

/// The steps of a figment path; numbers are positions where the value is a list.
fn steps(path: &[String], root: &Value) -> KeyPath {
    let mut steps = KeyPath::default();
    for key in path {
        let is_list = steps.get(root).is_some_and(Value::is_array);
        steps = match key.parse() {
            Ok(index) if is_list => steps.index(index),
            _ => steps.key(key),
        };
    }
    steps
}

fn words(kind: &figment::error::Kind) -> String {
    use figment::error::Kind;
    match kind {
        Kind::Message(text) if text.contains("\"friendly\" duration") => {
            "is not a length of time; write for example `60 s` or `10 min`".to_owned()
        }
        Kind::Message(text) => text.clone(),
        Kind::InvalidType(_, expected)
        | Kind::InvalidValue(_, expected)
        | Kind::InvalidLength(_, expected) => format!("expected {expected}"),
        Kind::UnknownVariant(_, names) => format!("must be one of {}", allowed(names)),
        other => other.to_string(),
    }
}

/// The settings of a connection are what stands in its table besides the connector's name.
fn without_connector(base: &KeyPath, value: &Value) -> Value {
    let mut value = value.clone();
    if let ([Step::Key(section), Step::Key(_)], Some(table)) =
        (base.0.as_slice(), value.as_object_mut())
        && section == "connections"
    {
        table.remove("connector");
    }
    value
}
