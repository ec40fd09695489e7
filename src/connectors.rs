//! The connectors that are linked into this program, and those that are loaded from libraries. Linking registers
//! them; none is opened unless a connection of the configuration names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use calbridge_core::plugin::host::{self, Launcher, LoadError, PluginSettings};

#[cfg(feature = "exchange-ews")]
use calbridge_exchange_ews as _;
#[cfg(feature = "ical")]
use calbridge_ical_sink as _;
#[cfg(feature = "ical")]
use calbridge_ical_source as _;
#[cfg(feature = "planner-dfdg")]
use calbridge_planner_dfdg as _;

/// What was loaded, by path. A library is loaded once and stays.
static LOADED: Mutex<BTreeMap<PathBuf, Loaded>> = Mutex::new(BTreeMap::new());

/// With which settings, and what came of its connectors' names.
type Loaded = (PluginSettings, Result<(), LoadError>);

/// Loads a library and puts its connectors beside the others. What is loaded already stays as it is.
///
/// # Errors
/// Why it is not loaded, or why it cannot be loaded in another way than before without a restart.
pub(crate) fn load(settings: &PluginSettings) -> Result<(), LoadError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((before, result)) = loaded.get(&settings.path) {
        if before == settings {
            return result.clone();
        }
        return Err(LoadError::OtherSettings {
            path: settings.path.clone(),
        });
    }
    let launcher = Launcher::this_program(["plugin-child"])?;
    let connectors = host::load(settings, &launcher)?;
    // From here on it is loaded, whatever becomes of the names.
    let result = connectors
        .into_iter()
        .try_for_each(|connector| connector.register().map(|_| ()));
    loaded.insert(settings.path.clone(), (settings.clone(), result.clone()));
    result
}

/// What a child does that holds a library.
pub(crate) fn child(library: &Path, sha256: Option<&str>) -> ExitCode {
    host::child::run(library, sha256)
}

/// Gives connections of loaded connectors that were dropped the time to end. Short: the program is to end within five
/// seconds, whatever they do.
pub(crate) fn settle() {
    // Whatever has not ended by then ends with the program.
    let _ended = host::settle(Duration::from_millis(250));
}
