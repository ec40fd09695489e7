//! Calendars that real programs wrote, where they are at hand: through Exchange and through the ical source they
//! reach Planner with the occurrences that the sandbox's oracle says.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::path::{Path, PathBuf};

use calbridge_sandbox::planner::Resource;
use support::World;

/// Ten years back, one ahead: most of what the files hold.
const WINDOW: &str = "window = { past = \"120 months\", future = \"12 months\" }";
const FROM: &str = "2016-11-22T23:00:00Z";
const TO: &str = "2027-11-22T23:00:00Z";

fn calendars() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/calendars");
    let Ok(entries) = std::fs::read_dir(folder) else {
        println!("skipped: there are no calendars beside the workspace");
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ics"))
        .collect();
    paths.sort();
    paths
}

fn address(path: &Path) -> String {
    format!(
        "{}@kommune.example",
        path.file_stem().unwrap().to_string_lossy()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn real_calendars_reach_planner_as_they_are() {
    let paths = calendars();
    if paths.is_empty() {
        return;
    }
    let world = World::new().await;
    for path in &paths {
        let address = address(path);
        world.exchange.add_person("Somebody", &address).unwrap();
        world.exchange.seed_ics_file(&address, path).unwrap();
        world
            .planner
            .add_resource(Resource::case_worker("Somebody", &address));
    }
    world.configure(|text| format!("{text}{WINDOW}\n"));
    let report = world.run(&["sync", "--json"]).await;
    let failed: Vec<_> = report.json()["syncs"][0]["calendars"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|calendar| !calendar["failed"].is_null())
        .cloned()
        .collect();
    let mut wrong = Vec::new();
    let mut events = 0;
    for path in &paths {
        let address = address(path);
        let (truth, held) = (world.truth(&address, FROM, TO), world.in_planner(&address));
        events += held.len();
        if truth != held {
            let missing: Vec<_> = truth
                .iter()
                .filter(|span| !held.contains(span))
                .take(3)
                .collect();
            let extra: Vec<_> = held
                .iter()
                .filter(|span| !truth.contains(span))
                .take(3)
                .collect();
            wrong.push(format!(
                "{address}: {} of {}; missing {missing:?}, too many {extra:?}",
                held.len(),
                truth.len()
            ));
        }
    }
    assert!(
        wrong.is_empty() && failed.is_empty(),
        "{}\n{failed:#?}",
        wrong.join("\n")
    );
    println!("{events} events");
    assert!(events > 10_000, "{events}");
    assert_eq!(world.planned().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_calendars_reach_planner_as_files_too() {
    let paths = calendars();
    if paths.is_empty() {
        return;
    }
    // Exchange's server is the judge here, and is not read.
    let world = World::new().await;
    let folder = world.dir.path().join("calendars");
    std::fs::create_dir(&folder).unwrap();
    for path in &paths {
        let address = address(path);
        std::fs::copy(path, folder.join(format!("{address}.ics"))).unwrap();
        world.exchange.add_person("Somebody", &address).unwrap();
        world.exchange.seed_ics_file(&address, path).unwrap();
        world
            .planner
            .add_resource(Resource::case_worker("Somebody", &address));
    }
    world.configure(|text| {
        let files = format!(
            "[connections.files]\nconnector = \"ical-source\"\npath = {folder:?}\n[[sync]]"
        );
        let text = text
            .replace("[[sync]]", &files)
            .replace("source = \"exchange\"", "source = \"files\"");
        format!("{text}{WINDOW}\n")
    });
    let report = world.run(&["sync", "--json"]).await;
    let mut differences = Vec::new();
    let mut events = 0;
    for path in &paths {
        let address = address(path);
        let (truth, held) = (world.truth(&address, FROM, TO), world.in_planner(&address));
        events += held.len();
        if truth != held {
            let missing: Vec<_> = truth
                .iter()
                .filter(|span| !held.contains(span))
                .take(3)
                .collect();
            let extra: Vec<_> = held
                .iter()
                .filter(|span| !truth.contains(span))
                .take(3)
                .collect();
            differences.push(format!(
                "{address}: {} of {}; missing {missing:?}, too many {extra:?}",
                held.len(),
                truth.len()
            ));
        }
    }
    println!("{events} events, {}", differences.join("\n"));
    // A broken file is an error of its calendar, or of the event in it that cannot be read; the rest goes on.
    differences.retain(|difference| !difference.starts_with("broken-"));
    assert!(differences.is_empty(), "{differences:#?}");
    for calendar in report.json()["syncs"][0]["calendars"].as_array().unwrap() {
        let address = calendar["calendar"]["address"].as_str().unwrap();
        let has_file = ![support::ANNA, support::BO, support::ROOM].contains(&address);
        let broken = address.starts_with("broken-");
        assert!(
            calendar["failed"].is_null() || broken || !has_file,
            "{calendar}"
        );
        assert_eq!(
            calendar["failed"]["code"] == "ical.no-calendar",
            !has_file,
            "{calendar}"
        );
    }
    assert!(events > 10_000, "{events}");
}
