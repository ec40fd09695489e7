//! The connectors of the tree, built as libraries.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

pub(crate) const IDS: [&str; 4] = ["exchange-ews", "ical-sink", "ical-source", "planner-dfdg"];

/// The libraries, copied to a folder that nobody else writes.
pub(crate) struct Libraries(TempDir);

impl Libraries {
    /// The copies that tests share while any of them runs. Built by a cargo call of their own: together with the
    /// program they would be given all of its features.
    pub(crate) fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Libraries>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        if let Some(libraries) = shared.upgrade() {
            return libraries;
        }
        let profile = Path::new(env!("CARGO_BIN_EXE_calbridge")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--target-dir"])
            .arg(profile.parent().unwrap());
        for id in IDS {
            build.arg("-p").arg(format!("calbridge-plugin-{id}"));
        }
        assert!(
            build.status().unwrap().success(),
            "the libraries cannot be built"
        );
        let libraries = Arc::new(Self(tempfile::tempdir().unwrap()));
        for id in IDS {
            let name = file_name(id);
            std::fs::copy(profile.join(&name), libraries.0.path().join(&name)).unwrap();
        }
        *shared = Arc::downgrade(&libraries);
        libraries
    }

    pub(crate) fn path(&self, id: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(file_name(id))
    }

    /// The part of a configuration that loads these.
    pub(crate) fn plugins(&self, ids: &[&str], isolation: Option<&str>) -> String {
        let mut text = String::new();
        for id in ids {
            writeln!(text, "\n[plugins.{id}]\npath = {:?}", self.path(id)).unwrap();
            writeln!(text, "replaces = [\"{id}\"]").unwrap();
            if let Some(isolation) = isolation {
                writeln!(text, "isolation = \"{isolation}\"").unwrap();
            }
        }
        text
    }
}

fn file_name(id: &str) -> String {
    let name = format!("calbridge_plugin_{}", id.replace('-', "_"));
    format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    )
}

/// Compiled in, in this process, in child processes (which is the default).
pub(crate) const WAYS: [Option<Option<&str>>; 3] = [None, Some(Some("in-process")), Some(None)];
