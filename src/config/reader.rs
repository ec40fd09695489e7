//! From the merged layers to a configuration: every check, every mistake.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use calbridge_core::connector::{self, ConnectorEntry};
use calbridge_core::plugin::host::{LoadError, PluginSettings};
use figment::providers::Serialized;
use figment::{Figment, Profile};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::broken::SINGLE_QUOTES;
use super::merged::Merged;
use super::mistake::{Mistake, Place, suggest};
use super::path::{KeyPath, Step};
use super::validate::{Checker, Found, WRONG_TYPE, allowed};
use super::{Config, ConnectionConfig, schema};
use crate::connectors;

/// Reads the parts of a configuration and collects what is wrong with them.
pub(super) struct Reader {
    pub(super) merged: Merged,
    pub(super) mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn mistake(
        &mut self,
        path: &KeyPath,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let mistake = Mistake {
            place: self.merged.place(path),
            key: path.to_string(),
            message: message.into(),
            help,
        };
        self.mistakes.push(mistake);
    }

    pub(super) fn read(&mut self, files: Vec<PathBuf>) -> Option<Config> {
        self.check(&KeyPath::default(), schema::root());
        self.control_characters(&mut KeyPath::default(), &self.merged.json.clone());
        self.plugins();
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

    /// No setting holds any. A Windows path between double quotes does: `"C:\temp"` is valid, with a tab in it.
    fn control_characters(&mut self, path: &mut KeyPath, value: &Value) {
        let inner: Vec<(Step, &Value)> = match value {
            Value::String(text) if text.chars().any(char::is_control) => {
                let message = "holds a tab, a line break or another control character";
                self.mistake(path, message, Some(SINGLE_QUOTES.to_owned()));
                return;
            }
            Value::Object(table) => table
                .iter()
                .map(|(key, value)| (Step::Key(key.clone()), value))
                .collect(),
            Value::Array(items) => (0..).map(Step::Index).zip(items).collect(),
            _ => return,
        };
        for (step, value) in inner {
            path.0.push(step);
            self.control_characters(path, value);
            path.0.pop();
        }
    }

    /// Loads the libraries, so that their connectors are there when connections are looked at.
    fn plugins(&mut self) {
        let mut named: BTreeMap<PathBuf, KeyPath> = BTreeMap::new();
        for name in self.names(&KeyPath::keys(["plugins"])) {
            let base = KeyPath::keys(["plugins", &name]);
            let before = format!("{base}");
            let wrong = self.mistakes.iter().any(|mistake| {
                mistake.key == before || mistake.key.starts_with(&format!("{before}."))
            });
            let Some(settings) = self.typed::<PluginSettings>(&base) else {
                continue;
            };
            // What is wrong with the settings has been said.
            if wrong {
                continue;
            }
            if let Some(other) = named.insert(settings.path.clone(), base.clone()) {
                let message = format!("`{other}` names the same library");
                let help = "a library is loaded once; take one of the two out";
                self.mistake(&base.key("path"), message, Some(help.to_owned()));
                continue;
            }
            if let Err(error) = connectors::load(&settings) {
                let path = match error {
                    LoadError::OtherContent { .. } => base.key("sha256"),
                    LoadError::NameTaken { .. } => base,
                    LoadError::ReplacesNothing { .. } => base.key("replaces"),
                    _ => base.key("path"),
                };
                self.mistake(&path, error.to_string(), None);
            }
        }
    }

    /// Loads the libraries alone, whatever the rest holds.
    pub(super) fn read_plugins(&mut self) {
        self.check(&KeyPath::default(), schema::root());
        let of_plugins =
            |mistake: &Mistake| mistake.key == "plugins" || mistake.key.starts_with("plugins.");
        self.mistakes.retain(of_plugins);
        self.plugins();
    }

    pub(super) fn names(&self, path: &KeyPath) -> Vec<String> {
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
                .map(|value| checker.check(&settings_of(base, value)))
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
            // A library that is not loaded may hold it: what is wrong has been said.
            if self
                .mistakes
                .iter()
                .any(|mistake| mistake.key.starts_with("plugins."))
            {
                return None;
            }
            let ids: Vec<&str> = connector::connectors()
                .iter()
                .map(|entry| entry.id())
                .collect();
            let path = base.key("connector");
            self.mistake(
                &path,
                format!("there is no connector `{id}`"),
                suggest(&id, &ids),
            );
            return None;
        };
        let found = self.check(&base, entry.manifest().settings);
        let settings = settings_of(&base, base.get(&self.merged.json)?);
        let capabilities = match entry.capabilities(&settings) {
            Ok(capabilities) => capabilities,
            // What the schema says is more exact, but a choice that is not there yet only the connector knows.
            Err(_) if found.is_empty() || found.iter().all(|wrong| wrong.choice) => {
                self.own_mistakes(entry, &base, settings, &found);
                return None;
            }
            Err(_) => return None,
        };
        if !found.is_empty() {
            return None;
        }
        let places = self.places(&base, &settings);
        Some(ConnectionConfig {
            name: name.to_owned(),
            connector: entry,
            settings,
            budget: base
                .get(&self.merged.json)
                .and_then(|table| table.get("budget")?.as_u64()),
            capabilities,
            place: self.merged.place(&base),
            places,
        })
    }

    /// Where each setting stands, by its last key. Of two alike the outer one counts.
    fn places(&self, base: &KeyPath, settings: &Value) -> BTreeMap<String, (KeyPath, Place)> {
        let mut places = BTreeMap::new();
        let mut tables = VecDeque::from([(KeyPath::default(), settings)]);
        while let Some((inside, table)) = tables.pop_front() {
            for (key, value) in table.as_object().into_iter().flatten() {
                let path = inside.clone().key(key);
                if let Some(place) = self.merged.place(&base.clone().join(&path)) {
                    places
                        .entry(key.clone())
                        .or_insert_with(|| (path.clone(), place));
                }
                tables.push_back((path, value));
            }
        }
        places
    }

    /// What the connector itself has to say about settings that fit its schema: each thing in turn, with the
    /// one before left out.
    fn own_mistakes(
        &mut self,
        entry: &ConnectorEntry,
        base: &KeyPath,
        mut settings: Value,
        found: &[Found],
    ) {
        let mut first = true;
        while let Some(text) = complaint(entry, &settings) {
            // What was left out may be asked for.
            if !first && text.starts_with("missing field") {
                return;
            }
            first = false;
            let inside = match found.first() {
                Some(wrong) => wrong.path.clone(),
                None => culprit(entry, &settings, &text),
            };
            let path = base.clone().join(&inside);
            let place = self.merged.place(&path);
            self.mistakes.retain(|known| known.place != place);
            self.mistake(&path, text, None);
            if !found.is_empty() || !inside.remove(&mut settings) {
                return;
            }
        }
    }

    /// What stands at `path` as a `T`. Every key that does not fit is a mistake; it is left out then, so that
    /// the next one is found too.
    pub(super) fn typed<T: DeserializeOwned>(&mut self, path: &KeyPath) -> Option<T> {
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
                mistake.key == known
                    || mistake.key.starts_with(&format!("{known}."))
                    || (mistake.message.starts_with(WRONG_TYPE)
                        && known.starts_with(&format!("{}.", mistake.key)))
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

/// What a connector has to say against settings.
fn complaint(entry: &ConnectorEntry, settings: &Value) -> Option<String> {
    let error = entry.capabilities(settings).err()?;
    let prefix = format!("settings of `{}`: ", entry.id());
    let text = error
        .message
        .strip_prefix(&prefix)
        .unwrap_or(&error.message);
    // What stands there is not repeated: it may be a secret in the wrong place.
    let variants = text
        .strip_prefix("unknown variant `")
        .and_then(|rest| rest.split_once("`, expected "));
    Some(match variants {
        Some((_, names)) => format!("must be {names}"),
        None => text.to_owned(),
    })
}

/// The key that a complaint is about: the innermost one without which the connector says something else.
fn culprit(entry: &ConnectorEntry, settings: &Value, text: &str) -> KeyPath {
    let mut found = KeyPath::default();
    loop {
        let steps: Vec<Step> = match found.get(settings) {
            Some(Value::Object(table)) => table.keys().cloned().map(Step::Key).collect(),
            Some(Value::Array(items)) => (0..items.len()).map(Step::Index).collect(),
            _ => return found,
        };
        let inner = steps.into_iter().find_map(|step| {
            let mut path = found.clone();
            path.0.push(step);
            let mut without = settings.clone();
            path.remove(&mut without);
            let differs = complaint(entry, &without).is_none_or(|other| other != text);
            differs.then_some(path)
        });
        match inner {
            Some(path) => found = path,
            None => return found,
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
        Kind::Message(text) if text.contains("\"friendly\"") => {
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

/// The settings of a connector are what stands in its connection's table besides what is the program's.
fn settings_of(base: &KeyPath, value: &Value) -> Value {
    let mut value = value.clone();
    if let ([Step::Key(section), Step::Key(_)], Some(table)) =
        (base.0.as_slice(), value.as_object_mut())
        && section == "connections"
    {
        table.remove("connector");
        table.remove("budget");
    }
    value
}
