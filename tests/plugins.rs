//! The connectors of the tree as libraries: `[plugins]` of the configuration, and the same syncs with the same results
//! compiled in, in-process and in child processes.
#![cfg(all(
    feature = "exchange-ews",
    feature = "ical",
    feature = "planner-dfdg",
    feature = "sandbox",
    unix
))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/libraries.rs"]
mod libraries;
mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use calbridge_sandbox::exchange::FreeBusy;
use calbridge_sandbox::planner::Operation;
use jiff::SignedDuration;
use libraries::{IDS, Libraries, WAYS};
use serde_json::Value;
use support::{ANNA, BO, NOW, ROOM, World, ahead};
use tempfile::TempDir;

/// What a sync came to: Planner's content, and what the report counts.
async fn exchange_to_planner(way: Option<Option<&str>>) -> Vec<String> {
    let libraries = Libraries::get();
    let world = World::new().await;
    if let Some(isolation) = way {
        let plugins = libraries.plugins(&["exchange-ews", "planner-dfdg"], isolation);
        world.configure(|text| text + &plugins);
    }
    let mut told = Vec::new();
    let mut note = |what: &str, report: &Value| {
        let total = &report["syncs"][0]["total"];
        told.push(format!("{what}: {total}"));
        for address in [ANNA, BO, ROOM] {
            told.push(format!("{address}: {:?}", world.in_planner(address)));
        }
    };
    let meeting = world.appointment(ANNA, "Meeting", "2026-11-24T09:00", "2026-11-24T10:00");
    let cancelled = world.appointment(ANNA, "Gone", "2026-11-25T09:00", "2026-11-25T10:00");
    world.appointment(BO, "Interview", "2026-12-01T12:30", "2026-12-01T13:15");
    world.appointment(ROOM, "Booked", "2026-12-02T08:00", "2026-12-02T16:00");
    let free = world.appointment(BO, "Lunch", "2026-12-01T11:00", "2026-12-01T11:30");
    world.exchange.show_as(free, FreeBusy::Free).unwrap();
    let checked = world.run(&["check", "--roster", "--json"]).await.expect(0);
    let mut findings: Vec<String> = checked.json()["connections"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|connection| connection["findings"].as_array().unwrap())
        .map(|finding| format!("{} {}", finding["name"], finding["severity"]))
        .collect();
    findings.sort();
    assert_eq!(world.planned().await, 4);
    note("first", &world.sync().await);
    note("again", &world.sync().await);
    world
        .exchange
        .move_in_time(meeting, SignedDuration::from_mins(90))
        .unwrap();
    world.exchange.cancel(cancelled).unwrap();
    world.exchange.show_as(free, FreeBusy::Busy).unwrap();
    note("changed", &world.sync().await);
    let lost = world.planner.events(ROOM).remove(0).id;
    assert!(world.planner.remove_event(ROOM, &lost));
    let later = "2026-11-23T08:01:00Z";
    let reconciled = world
        .run_at(later, &["sync", "--reconcile", "--json"], |_| {})
        .await
        .expect(0);
    note("reconciled", &reconciled.json());
    told.extend(findings);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_comes_to_the_same_compiled_in_loaded_and_in_child_processes() {
    let expected = exchange_to_planner(WAYS[0]).await;
    assert!(expected.len() > 20, "{expected:#?}");
    for way in &WAYS[1..] {
        assert_eq!(exchange_to_planner(*way).await, expected, "{way:?}");
    }
}

const DAY: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:one@test\r\n\
DTSTAMP:20261101T000000Z\r\nDTSTART:20261124T090000Z\r\nDTEND:20261124T100000Z\r\nSUMMARY:Staff meeting\r\n\
RRULE:FREQ=WEEKLY;COUNT=3\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:two@test\r\nDTSTAMP:20261101T000000Z\r\n\
DTSTART;VALUE=DATE:20261126\r\nDTEND;VALUE=DATE:20261128\r\nSUMMARY:Course\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

struct Folders {
    folder: TempDir,
}

impl Folders {
    fn new(plugins: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["in", "out"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        std::fs::write(path.join("in/anna@kommune.example.ics"), DAY).unwrap();
        let text = format!(
            "[state]\npath = {:?}\n[connections.in]\nconnector = \"ical-source\"\npath = {:?}\n\
             [connections.out]\nconnector = \"ical-sink\"\nfolder = {:?}\n\
             [[sync]]\nname = \"trial\"\nsource = \"in\"\nsink = \"out\"\n{plugins}",
            path.join("state.db"),
            path.join("in"),
            path.join("out"),
        );
        std::fs::write(path.join("calbridge.toml"), text).unwrap();
        Self { folder }
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_calbridge"))
            .arg("--config")
            .arg(self.folder.path().join("calbridge.toml"))
            .args(args)
            .args(["--now", NOW])
            .output()
            .unwrap()
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{output:#?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says against the configuration, without the folder's name.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(2), "{output:#?}");
        let text = String::from_utf8(output.stderr).unwrap();
        text.replace(self.folder.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn a_calendar_is_written_the_same_compiled_in_loaded_and_in_child_processes() {
    let libraries = Libraries::get();
    let mut calendars = Vec::new();
    for way in WAYS {
        let plugins = way.map_or_else(String::new, |isolation| {
            libraries.plugins(&["ical-source", "ical-sink"], isolation)
        });
        let folders = Folders::new(&plugins);
        let report: Value = serde_json::from_str(&folders.text(&["sync", "--json"])).unwrap();
        assert_eq!(report["syncs"][0]["total"]["created"], 4, "{report}");
        let written = folders.folder.path().join("out/anna@kommune.example.ics");
        calendars.push(std::fs::read_to_string(written).unwrap());
    }
    assert!(calendars[0].contains("SUMMARY:Course"), "{}", calendars[0]);
    assert_eq!(calendars[1], calendars[0]);
    assert_eq!(calendars[2], calendars[0]);
}

#[test]
fn what_is_wrong_with_a_library_is_told_with_its_place() {
    let libraries = Libraries::get();
    let path = libraries.path("ical-source");
    // The table begins in the 13th line of the file.
    for (plugins, expected) in [
        (
            "[plugins.x]\npath = \"relative.so\"\n".to_owned(),
            "DIR/calbridge.toml:14:1: `plugins.x.path`: the path of a connector library must be absolute: relative.so",
        ),
        (
            "[plugins.x]\npath = \"/nowhere/x.so\"\n".to_owned(),
            "DIR/calbridge.toml:14:1: `plugins.x.path`: the connector library /nowhere/x.so cannot be read: No such file",
        ),
        (
            format!("[plugins.x]\npath = {path:?}\n"),
            "there is a connector `ical-source` already; the name of a connector must be unique",
        ),
        (
            format!(
                "[plugins.x]\npath = {path:?}\nsha256 = \"{}\"\n",
                "0".repeat(64)
            ),
            "DIR/calbridge.toml:15:1: `plugins.x.sha256`: the connector library",
        ),
        (
            "[plugins.x]\nisolation = \"process\"\n".to_owned(),
            "`plugins.x`: the key `path` is missing",
        ),
        (
            format!("[plugins.x]\npath = {path:?}\nisolaton = \"process\"\n"),
            "DIR/calbridge.toml:15:1: `plugins.x.isolaton`: unknown key",
        ),
        (
            format!("[plugins.x]\npath = {path:?}\nsha256 = \"abc\"\n"),
            "DIR/calbridge.toml:15:1: `plugins.x.sha256`: does not have the form",
        ),
    ] {
        for isolation in ["in-process", "process"] {
            let plugins = if plugins.contains("isola") {
                plugins.clone()
            } else {
                format!("{plugins}isolation = \"{isolation}\"\n")
            };
            let folders = Folders::new(&plugins);
            for command in [&["check", "--offline"][..], &["connectors", "list"]] {
                let told = folders.refused(command);
                assert!(told.contains(expected), "{expected}\n{told}");
            }
        }
    }
}

#[test]
fn settings_of_loaded_connectors_are_checked_as_those_of_compiled_in_ones() {
    let libraries = Libraries::get();
    let mut told = Vec::new();
    for way in WAYS {
        let plugins = way.map_or_else(String::new, |isolation| {
            libraries.plugins(&["ical-source", "ical-sink"], isolation)
        });
        let folders = Folders::new(&plugins);
        let file = folders.folder.path().join("calbridge.toml");
        let good = std::fs::read_to_string(&file).unwrap();
        let mut all = String::new();
        for (from, to) in [
            ("\nfolder = ", "\nfoldr = "),
            ("\nfolder = ", "\nfolder = 7\nzone = "),
            ("\npath = \"/", "\npath = \"https://x.example/\"\nurl = \"/"),
        ] {
            std::fs::write(&file, good.replacen(from, to, 1)).unwrap();
            all += &folders.refused(&["check", "--offline"]);
        }
        told.push(all);
    }
    assert!(told[0].contains("unknown key"), "{}", told[0]);
    assert_eq!(told[1], told[0]);
    assert_eq!(told[2], told[0]);
}

#[test]
fn loaded_connectors_are_listed_and_described() {
    let libraries = Libraries::get();
    let compiled = Folders::new("");
    for isolation in [Some("in-process"), None] {
        let loaded = Folders::new(&libraries.plugins(&IDS, isolation));
        for args in [
            &["connectors", "list", "--json"][..],
            &["connectors", "list"],
            &["connectors", "schema"],
            &["connectors", "schema", "ical-sink"],
            &["connectors", "docs"],
            &["connectors", "docs", "ical-sink"],
        ] {
            assert_eq!(loaded.text(args), compiled.text(args), "{args:?}");
        }
    }
}

/// Waits until something is so. What became of a write of unknown fate is asked only after half a minute.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The children that hold a library.
fn children(library: &Path) -> Vec<u32> {
    let of = |pid: &str| -> Option<u32> {
        let pid = pid.parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.contains("plugin-child") && line.contains(library.to_str()?)).then_some(pid)
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| of(entry.unwrap().file_name().to_str()?))
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_costs_its_connection_alone_and_the_next_round_goes_on() {
    let libraries = Libraries::get();
    let world = World::new().await;
    let plugins = libraries.plugins(&["exchange-ews", "planner-dfdg"], None);
    world.configure(|text| text + &plugins);
    world.appointment(ANNA, "A", &ahead(2, "09:00"), &ahead(2, "10:00"));
    let mut service = world.start_live(&["run"]);
    until("the first sync", || world.in_planner(ANNA).len() == 1).await;
    let of_exchange = children(&libraries.path("exchange-ews"));
    let of_planner = children(&libraries.path("planner-dfdg"));
    assert_eq!((of_exchange.len(), of_planner.len()), (1, 1));

    // Planner has done it and does not answer: what became of the write only Planner knows.
    world
        .planner
        .inject("CreateEvents#1=hang-after".parse().unwrap())
        .unwrap();
    let before = world.planner.calls(Operation::CreateEvents).len();
    world.appointment(BO, "B", &ahead(2, "11:00"), &ahead(2, "12:00"));
    until("Planner was asked", || {
        world.planner.calls(Operation::CreateEvents).len() > before
    })
    .await;
    let killed = Command::new("kill")
        .args(["-9", &of_planner[0].to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    until("it is told", || {
        world.started_log().contains("ended by itself")
    })
    .await;
    world.appointment(ANNA, "C", &ahead(3, "09:00"), &ahead(3, "10:00"));
    until("the next round", || world.in_planner(ANNA).len() == 2).await;
    assert_eq!(world.in_planner(BO).len(), 1);
    let created = world.planner.events(BO).remove(0).id;
    assert_eq!(world.planner.effective_creates(&created), 1);
    // The other one was left alone, and there is a new one.
    assert_eq!(children(&libraries.path("exchange-ews")), of_exchange);
    let again = children(&libraries.path("planner-dfdg"));
    assert_eq!(again.len(), 1);
    assert_ne!(again, of_planner);

    // The source's, too.
    let killed = Command::new("kill")
        .args(["-9", &of_exchange[0].to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    world.appointment(BO, "D", &ahead(3, "11:00"), &ahead(3, "12:00"));
    until("the round after it", || world.in_planner(BO).len() == 2).await;

    // With the program its children end.
    support::signal(&service, "TERM");
    let status = service.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.started_log());
    until("all are gone", || {
        children(&libraries.path("exchange-ews")).is_empty()
            && children(&libraries.path("planner-dfdg")).is_empty()
    })
    .await;
}
