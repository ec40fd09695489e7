//! The kit on each connector of the tree, linked, as a library in this process, and in a child process: it makes no
//! difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod worlds;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use calbridge_conformance::{Selection, Verdict, World, run};
use calbridge_core::connector::{ConnectorEntry, find};
use calbridge_core::plugin::host::{Isolation, Launcher, PluginSettings, child, load};
use calbridge_exchange_ews as _;
use calbridge_ical_sink as _;
use calbridge_ical_source as _;
use calbridge_planner_dfdg as _;
use calbridge_sandbox::exchange::Profile;
use tempfile::TempDir;
use worlds::exchange::Exchange;
use worlds::planner::Planner;

/// As its first argument: be a child.
const CHILD: &str = "hold-library";
const MEANS: [(&str, Option<Isolation>); 3] = [
    ("linked", None),
    ("library", Some(Isolation::InProcess)),
    ("child", Some(Isolation::Process)),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == CHILD) {
        let path = arguments.next().expect("the library's path");
        return child::run(Path::new(&path), None);
    }
    // Before a connector logs.
    calbridge_conformance::listen();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(compare_all())
}

/// The connectors of the tree: those that are built as libraries. The program's tests see to it that all that are
/// compiled in are among them.
fn ids() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let all = std::fs::read_dir(folder).unwrap();
    let mut ids: Vec<String> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    ids.sort();
    assert!(!ids.is_empty());
    ids
}

async fn compare_all() -> ExitCode {
    let ids = ids();
    let libraries = libraries(&ids);
    let mut same = true;
    for id in &ids {
        let mut linked = None;
        for (name, isolation) in MEANS {
            let entry = match isolation {
                None => find(id)
                    .unwrap_or_else(|| panic!("{id} is not linked here: name its crate above")),
                Some(isolation) => loaded(libraries.path(), id, isolation),
            };
            let verdicts = verdicts(id, entry).await;
            let passed = count(&verdicts, |verdict| *verdict == Verdict::Passed);
            let failed = count(&verdicts, |verdict| matches!(verdict, Verdict::Failed(_)));
            let expected = linked.get_or_insert_with(|| verdicts.clone());
            let fine = failed == 0 && passed >= 10 && *expected == verdicts;
            println!("{id}, {name}: {passed} passed, {failed} failed");
            if !fine {
                println!("not as it should be, and linked was: {verdicts:#?}\n{expected:#?}");
            }
            same &= fine;
        }
    }
    if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn count(verdicts: &[(&str, Verdict)], which: impl Fn(&Verdict) -> bool) -> usize {
    verdicts.iter().filter(|one| which(&one.1)).count()
}

/// What the kit says: the smoke set, and what is most likely to get lost or to get out on the way.
async fn verdicts(id: &str, entry: &'static ConnectorEntry) -> Vec<(&'static str, Verdict)> {
    let world: Arc<dyn World> = match id {
        "exchange-ews" => Arc::new(Exchange::new(Profile::Exchange2019).await),
        "planner-dfdg" => Arc::new(Planner::new().await),
        "ical-source" => Arc::new(worlds::ical::Source::new()),
        "ical-sink" => Arc::new(worlds::ical::Sink::new()),
        _ => panic!("{id} has no world here: write one, and name it here"),
    };
    let mut verdicts = Vec::new();
    for selection in [
        Selection::Smoke,
        Selection::Named("given_up_calls_leave_nothing".to_owned()),
        Selection::Named("throttled".to_owned()),
        Selection::Named("secrets_stay_secret".to_owned()),
        Selection::Named("personal_data_stays_out".to_owned()),
    ] {
        let report = run(entry, Arc::clone(&world), &selection, |_| {}).await;
        let tests = report.tests.into_iter();
        verdicts.extend(tests.map(|test| (test.name, test.verdict)));
    }
    verdicts
}

/// The connector of a library, beside the linked one of the same name.
fn loaded(folder: &Path, id: &str, isolation: Isolation) -> &'static ConnectorEntry {
    let settings = PluginSettings {
        path: folder.canonicalize().unwrap().join(file_name(id)),
        isolation,
        sha256: None,
        replaces: Vec::new(),
    };
    let launcher = Launcher::this_program([CHILD]).unwrap();
    let connector = load(&settings, &launcher).unwrap().remove(0);
    assert_eq!(connector.manifest().id, id);
    Box::leak(Box::new(ConnectorEntry::foreign(Box::new(connector))))
}

fn file_name(id: &str) -> String {
    let name = format!("calbridge_plugin_{}", id.replace('-', "_"));
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!("{prefix}{name}{suffix}")
}

/// The libraries, built by a cargo call of their own (together with these tests they would be given the tests'
/// features), in a folder that nobody else writes.
fn libraries(ids: &[String]) -> TempDir {
    let executable: PathBuf = std::env::current_exe().unwrap();
    let profile = executable.parent().unwrap().parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--target-dir"])
        .arg(profile.parent().unwrap());
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    for id in ids {
        build.arg("-p").arg(format!("calbridge-plugin-{id}"));
    }
    let built = build.status().unwrap();
    assert!(built.success(), "the libraries cannot be built");
    let folder = tempfile::tempdir().unwrap();
    for id in ids {
        let name = file_name(id);
        std::fs::copy(profile.join(&name), folder.path().join(&name)).unwrap();
    }
    folder
}
