//! The layers of the configuration: files, environment, command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use toml::de::{DeTable, DeValue};

use super::broken;
use super::mistake::{Mistake, Place, suggest};
use super::path::{KeyPath, Step};

/// The sections at the root of a configuration.
pub(crate) const SECTIONS: [&str; 5] = ["connections", "log", "plugins", "state", "sync"];

const PREFIX: &str = "CALBRIDGE_";

/// One layer: what it says, and where each key of it stands.
#[derive(Debug)]
pub(crate) struct Layer {
    dict: Dict,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    File {
        path: PathBuf,
        text: String,
    },
    /// Each key path with its place and the text that was given.
    Texts(BTreeMap<KeyPath, (Place, String)>),
}

impl Layer {
    /// Reads a TOML file.
    pub(crate) fn file(path: &Path) -> Result<Self, Vec<Mistake>> {
        let whole = |message: String, help: &str| {
            vec![Mistake {
                place: Some(Place::File {
                    path: path.to_owned(),
                    at: None,
                }),
                key: String::new(),
                message,
                help: Some(help.to_owned()),
            }]
        };
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => whole(
                "there is no such file".to_owned(),
                "write one (`examples/` holds some to copy), or name another with --config",
            ),
            std::io::ErrorKind::PermissionDenied => whole(
                "the file may not be read".to_owned(),
                "give the account that calbridge runs under read access",
            ),
            _ => whole(
                format!("the file cannot be read: {error}"),
                "see that it is a file and that its disk works",
            ),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            whole(
                "the file is not UTF-8 text".to_owned(),
                "save it in the encoding UTF-8",
            )
        })?;
        // Some editors on Windows begin a file with a byte order mark.
        let text = text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text);
        let place = |at: Option<usize>| Place::File {
            path: path.to_owned(),
            at: at.map(|at| line_and_column(&text, at)),
        };
        let (_, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            return Err(broken::explain(&text, &errors)
                .into_iter()
                .map(|broken| Mistake {
                    place: Some(place(broken.at)),
                    key: String::new(),
                    message: broken.message,
                    help: broken.help.map(str::to_owned),
                })
                .collect());
        }
        let dict = toml::from_str::<toml::Table>(&text)
            .map_err(|error| {
                let at = error.span().map(|span| span.start);
                (place(at), error.message().to_owned())
            })
            .and_then(
                |table| match Value::serialize(texts_for_dates(table.into())) {
                    Ok(Value::Dict(_, dict)) => Ok(dict),
                    Ok(_) => Err((place(None), "not a table".to_owned())),
                    Err(error) => Err((place(None), error.to_string())),
                },
            )
            .map_err(|(place, message)| {
                vec![Mistake {
                    place: Some(place),
                    key: String::new(),
                    message: format!("not valid TOML: {message}"),
                    help: None,
                }]
            })?;
        Ok(Self {
            dict,
            origin: Origin::File {
                path: path.to_owned(),
                text,
            },
        })
    }

    /// Reads variables named `CALBRIDGE_SECTION__KEY`. Variables without `__` are none of ours: a secret may
    /// well be called `CALBRIDGE_PASSWORD`.
    pub(crate) fn environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut texts = BTreeMap::new();
        for (name, text) in variables {
            // What is no Unicode in a name stands for itself as a question mark, and is unknown then.
            let name = name.to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let keys: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
            let [section, _, ..] = keys.as_slice() else {
                continue;
            };
            let place = Place::Environment(name.clone());
            if section == "sync" {
                mistakes.push(Mistake {
                    place: Some(place),
                    key: "sync".to_owned(),
                    message: "a sync cannot be set by the environment".to_owned(),
                    help: Some("write it into the file, or into one of conf.d".to_owned()),
                });
            } else if !SECTIONS.contains(&section.as_str()) {
                mistakes.push(Mistake {
                    place: Some(place),
                    key: keys.join("."),
                    message: "unknown section".to_owned(),
                    help: suggest(section, &SECTIONS),
                });
            } else {
                let path = KeyPath::keys(keys.iter().map(String::as_str));
                match text.into_string() {
                    Ok(text) => {
                        texts.insert(path, (place, text));
                    }
                    Err(_) => mistakes.push(Mistake {
                        place: Some(place),
                        key: path.to_string(),
                        message: "the value is not UTF-8 text".to_owned(),
                        help: Some("set it in the encoding UTF-8".to_owned()),
                    }),
                }
            }
        }
        Self::texts(texts, mistakes)
    }

    /// Reads `--set KEY=VALUE` options. The value is TOML; what is no TOML is taken as a text.
    pub(crate) fn set(options: &[String]) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut texts = BTreeMap::new();
        for option in options {
            let parsed = option
                .split_once('=')
                .and_then(|(key, text)| Some((key.trim(), dotted(key.trim())?, text.trim())));
            // What stands there is not repeated as a whole: it may hold a secret.
            let Some((key, path, text)) = parsed else {
                mistakes.push(Mistake {
                    place: None,
                    key: String::new(),
                    message: "an option --set cannot be understood".to_owned(),
                    help: Some(
                        "write --set KEY=VALUE, for example --set log.level=debug".to_owned(),
                    ),
                });
                continue;
            };
            texts.insert(path, (Place::Set(key.to_owned()), text.to_owned()));
        }
        Self::texts(texts, mistakes)
    }

    fn texts(
        texts: BTreeMap<KeyPath, (Place, String)>,
        mut mistakes: Vec<Mistake>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut dict = Dict::new();
        for (path, (place, text)) in &texts {
            let value = toml::from_str::<toml::Table>(&format!("value = {text}"))
                .ok()
                .filter(|table| table.len() == 1)
                .and_then(|mut table| Value::serialize(table.remove("value")?).ok())
                .unwrap_or_else(|| Value::from(text.as_str()));
            if !insert(&mut dict, &path.0, value) {
                mistakes.push(Mistake {
                    place: Some(place.clone()),
                    key: path.to_string(),
                    message: "contradicts another one, which sets a part of it".to_owned(),
                    help: Some("set each key once".to_owned()),
                });
            }
        }
        if mistakes.is_empty() {
            Ok(Self {
                dict,
                origin: Origin::Texts(texts),
            })
        } else {
            Err(mistakes)
        }
    }

    /// The place of a key of this layer, or of the nearest table around it.
    pub(crate) fn place(&self, path: &KeyPath) -> Option<Place> {
        match &self.origin {
            Origin::File { path: file, text } => {
                let at = span(text, path).map(|start| line_and_column(text, start));
                Some(Place::File {
                    path: file.clone(),
                    at,
                })
            }
            Origin::Texts(texts) => texts
                .iter()
                .filter(|(key, _)| path.0.starts_with(&key.0) || key.0.starts_with(&path.0))
                .max_by_key(|(key, _)| key.0.len())
                .map(|(_, (place, _))| place.clone()),
        }
    }

    /// The text that was given for a key in the environment or on the command line.
    pub(crate) fn text(&self, path: &KeyPath) -> Option<&str> {
        match &self.origin {
            Origin::File { .. } => None,
            Origin::Texts(texts) => texts.get(path).map(|(_, text)| text.as_str()),
        }
    }
}

/// A layer as figment takes it; the name is how the layer is found again.
pub(crate) struct Named<'a>(pub(crate) usize, pub(crate) &'a Layer);

impl Provider for Named<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.1.dict.clone()))
    }
}

/// Dates and times without quotation marks are values of their own in TOML; no setting is one, and where a text is
/// wanted they are meant as one.
fn texts_for_dates(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Datetime(date) => {
            let text = date.to_string();
            // A time of day is written to the minute.
            let minutes = text
                .strip_suffix(":00")
                .filter(|_| date.date.is_none() && text.len() == "HH:MM:SS".len());
            toml::Value::String(minutes.unwrap_or(&text).to_owned())
        }
        toml::Value::Array(items) => {
            toml::Value::Array(items.into_iter().map(texts_for_dates).collect())
        }
        toml::Value::Table(table) => toml::Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, texts_for_dates(value)))
                .collect(),
        ),
        other => other,
    }
}

/// The keys of `a."b.c".d`.
fn dotted(key: &str) -> Option<KeyPath> {
    let table = toml::from_str::<toml::Table>(&format!("{key} = 0")).ok()?;
    let mut steps = Vec::new();
    let mut value = toml::Value::Table(table);
    while let toml::Value::Table(table) = value {
        let mut entries = table.into_iter();
        let (key, next) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        steps.push(Step::Key(key));
        value = next;
    }
    (value == toml::Value::Integer(0)).then_some(KeyPath(steps))
}

fn insert(dict: &mut Dict, path: &[Step], value: Value) -> bool {
    match path {
        [Step::Key(key)] => dict.insert(key.clone(), value).is_none(),
        [Step::Key(key), rest @ ..] => {
            let inner = dict
                .entry(key.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            match inner {
                Value::Dict(_, inner) => insert(inner, rest, value),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Where the key stands in the text, or the nearest table around it.
fn span(text: &str, path: &KeyPath) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut table = Some(table.get_ref());
    let mut array = None;
    for step in &path.0 {
        let value = match (step, table, array) {
            (Step::Key(key), Some(inside), _) => {
                let Some((key, value)) = inside
                    .iter()
                    .find(|(name, _)| name.get_ref().as_ref() == key.as_str())
                else {
                    break;
                };
                found = Some(key.span().start);
                value
            }
            (Step::Index(index), _, Some(items)) => {
                let items: &toml::de::DeArray<'_> = items;
                let Some(value) = items.get(*index) else {
                    break;
                };
                found = Some(value.span().start);
                value
            }
            _ => break,
        };
        (table, array) = match value.get_ref() {
            DeValue::Table(table) => (Some(table), None),
            DeValue::Array(items) => (None, Some(items)),
            _ => (None, None),
        };
    }
    found
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}
