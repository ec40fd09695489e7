//! An iCalendar file, read by the connector as the program does: first whole, then event by event.
#![no_main]

#[path = "../support/open.rs"]
mod open;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use calbridge_core::connector::{Change, Connection};
use calbridge_ical_source as _;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tempfile::TempDir;

struct Bench {
    _folder: TempDir,
    file: PathBuf,
    connection: Arc<dyn Connection>,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("anna.ics");
    let settings = json!({ "path": file, "address": open::ADDRESS });
    Bench {
        _folder: folder,
        connection: open::open("ical-source", settings),
        file,
    }
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&BENCH.file, bytes).expect("written");
    open::RUNTIME.block_on(async {
        let source = BENCH.connection.source().expect("a source");
        let (changes, _) = open::read(source, open::request(None)).await;
        for change in changes.into_iter().take(3) {
            if let Change::Item(event) = change {
                let _ = source.fetch(&open::calendar(), &[event.item]).await;
            }
        }
    });
});
