//! A connector that crashes: in a child process the kit catches it by the test that is about it, and goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    unreachable_pub
)]

#[path = "broken/beside.rs"]
mod beside;
mod worlds;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use beside::Side;
use calbridge_conformance::{Selection, Verdict, World, run};
use calbridge_core::connector::{ConnectorEntry, find};
use calbridge_core::plugin::host::{Isolation, Launcher, PluginSettings, child, load};
use calbridge_ical_sink as _;
use calbridge_ical_source as _;

/// As its first argument: be a child.
const CHILD: &str = "hold-library";
const TEST: &str = "full_reading_tells_everything";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == CHILD) {
        let path = arguments.next().expect("the library's path");
        return child::run(Path::new(&path), None);
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(crashing())
}

async fn crashing() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    for (how, ended) in [("SEGFAULTS", "signal: 11"), ("ABORTS", "signal: 6")] {
        let Some(library) = compiled(folder.path(), how) else {
            println!("skipped: there is no `cc` here");
            return ExitCode::SUCCESS;
        };
        let settings = PluginSettings {
            path: library.canonicalize().unwrap(),
            isolation: Isolation::Process,
            sha256: None,
            replaces: Vec::new(),
        };
        let launcher = Launcher::this_program([CHILD]).unwrap();
        let crashing = load(&settings, &launcher).unwrap().remove(0);
        let crashing = Box::leak(Box::new(ConnectorEntry::foreign(Box::new(crashing))));
        let why = match verdict(crashing).await {
            Verdict::Failed(why) => why,
            other => panic!("a connector that {how} came to {other:?}"),
        };
        assert!(why.contains("the process of the connector ended"), "{why}");
        assert!(why.contains(ended), "{why}");
        println!("{how}: {TEST} FAILED: {why}");
        // In the same process, at once afterwards.
        let good = verdict(find("ical-source").unwrap()).await;
        assert_eq!(good, Verdict::Passed);
        beside_it(crashing, how).await;
    }
    ExitCode::SUCCESS
}

/// A sync that works, in the same process and at the same time.
async fn beside_it(crashing: &'static ConnectorEntry, how: &str) {
    let sources = [worlds::ical::Source::new(), worlds::ical::Source::new()];
    let sinks = [worlds::ical::Sink::new(), worlds::ical::Sink::new()];
    fn side<'a>(id: &str, world: &'a dyn World) -> Side<'a> {
        Side {
            entry: find(id).unwrap(),
            settings: world.settings(),
            world,
        }
    }
    let good = [
        side("ical-source", &sources[0]),
        side("ical-sink", &sinks[0]),
    ];
    let mut from = side("ical-source", &sources[1]);
    from.entry = crashing;
    beside::play(how, good, [from, side("ical-sink", &sinks[1])]).await;
}

async fn verdict(entry: &'static ConnectorEntry) -> Verdict {
    let world = Arc::new(worlds::ical::Source::new());
    let mut report = run(entry, world, &Selection::Named(TEST.to_owned()), |_| {}).await;
    assert_eq!(report.tests.len(), 1);
    report.tests.remove(0).verdict
}

/// The library that breaks the contract in this way; none where there is no compiler.
fn compiled(folder: &Path, how: &str) -> Option<PathBuf> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core");
    let library = folder.join(format!("{how}{}", std::env::consts::DLL_SUFFIX));
    let compiled = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-Wno-unused-function"])
        .arg(format!("-D{how}"))
        .arg("-I")
        .arg(core.join("include"))
        .arg(core.join("tests/plugin/hostile.c"))
        .arg("-o")
        .arg(&library)
        .status()
        .ok()?;
    assert!(compiled.success(), "{how} does not compile");
    Some(library)
}
