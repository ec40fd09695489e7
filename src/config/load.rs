//! Where a configuration comes from: files, environment, command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Config;
use super::layer::Layer;
use super::merged::Merged;
use super::mistake::{ConfigError, Mistake, Place};
use super::reader::Reader;

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// The file; `conf.d` beside it is read too.
    pub(crate) file: PathBuf,
    /// Environment variables.
    pub(crate) environment: Vec<(OsString, OsString)>,
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

/// Loads the libraries that a configuration names and looks at nothing else in it. Without a file: none.
///
/// # Errors
/// The files cannot be read, or a library cannot be loaded.
pub(crate) fn load_plugins(sources: &Sources) -> Result<(), ConfigError> {
    let (layers, _) = layers(sources)?;
    let mut reader = Reader {
        merged: Merged::new(layers)?,
        mistakes: Vec::new(),
    };
    reader.read_plugins();
    if reader.mistakes.is_empty() {
        Ok(())
    } else {
        Err(ConfigError::new(reader.mistakes))
    }
}

/// Layers in their order, each with whether its lists are added to those before.
pub(super) type Layers = Vec<(Layer, bool)>;

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
