//! A configuration file, an environment variable and an option of the command line, up to the report of
//! mistakes; and whether every connector opens or refuses with what it was given.
#![no_main]
// The program's own source; what only its commands use is unused here.
#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../support/open.rs"]
mod open;

use std::path::PathBuf;
use std::sync::LazyLock;

use calbridge_core::connector::Context;
use calbridge_planner_dfdg as _;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use {calbridge_exchange_ews as _, calbridge_ical_sink as _, calbridge_ical_source as _};

static FOLDER: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("calbridge.toml");
    (folder, file)
});

fuzz_target!(|bytes: &[u8]| {
    let file = &FOLDER.1;
    // The last two lines double as an option and as a variable; a file of one line is only a file.
    let mut lines = bytes.rsplitn(3, |byte| *byte == b'\n');
    let text = |line: Option<&[u8]>| line.map(|line| String::from_utf8_lossy(line).into_owned());
    let (last, before) = (text(lines.next()), text(lines.next()));
    let marked = |line: Option<String>, mark: &str| {
        line.and_then(|line| line.strip_prefix(mark).map(str::to_owned))
    };
    let set = marked(last, "# set ").into_iter().collect();
    let environment = marked(before, "# env ")
        .and_then(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .into_iter()
        .collect();
    std::fs::write(file, bytes).expect("written");
    let sources = config::Sources {
        file: file.clone(),
        environment,
        set,
    };
    match config::load(&sources) {
        Ok(config) => {
            for connection in config.connections.values() {
                let context: Context = open::context();
                match connection
                    .connector
                    .open(connection.settings.clone(), context)
                {
                    Ok(_) => {}
                    Err(error) => drop(connection.mistake(&error.to_string()).to_string()),
                }
            }
        }
        Err(error) => drop(error.to_string()),
    }
});
