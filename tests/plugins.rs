//! The connectors of the tree as libraries: `[plugins]` of the configuration, and the same syncs with the same results
//! compiled in, in-process and in child processes.
#![cfg(all(
    feature = "exchange-ews",
    feature = "ical",
    feature = "planner-dfdg",
    feature = "sandbox",
    unix
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

#[path = "support/libraries.rs"]
mod libraries;
mod support;

use std::path::{Path, PathBuf};
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

/// A library in C that does not follow the contract; none where there is no compiler.
fn misfit(folder: &Path, define: &str) -> Option<PathBuf> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("core");
    let library = folder.join(format!("misfit{}", std::env::consts::DLL_SUFFIX));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wno-unused-function", "-I"])
        .arg(core.join("include"))
        .arg(format!("-D{define}"))
        .arg(core.join("tests/plugin/hostile.c"))
        .arg("-o")
        .arg(&library)
        .output();
    let Ok(compiled) = compiled else {
        eprintln!("skipped: there is no `cc` here");
        return None;
    };
    assert!(compiled.status.success(), "{compiled:?}");
    Some(library)
}

/// What `check` and (in-process) `connectors list` say of a configuration with these tables, of which the first begins in its 13th
/// line, whatever the isolation.
fn told_of(plugins: &str) -> Vec<String> {
    let mut all = Vec::new();
    for isolation in ["in-process", "process"] {
        let plugins = if plugins.contains("isola") {
            plugins.to_owned()
        } else {
            plugins.replace(".so\"\n", &format!(".so\"\nisolation = \"{isolation}\"\n"))
        };
        let folders = Folders::new(&plugins);
        let commands = [&["check", "--offline"][..], &["connectors", "list"]];
        for command in &commands[..if isolation == "process" { 1 } else { 2 }] {
            let told = folders.refused(command);
            // What is meant for the author of the program is not for its operator.
            for debug in [
                "Some(", "Err(", "Error {", "Os {", "kind:", "\\\"", "panicked",
            ] {
                assert!(!told.contains(debug), "{told}");
            }
            assert_eq!(told.matches("calbridge.toml:").count(), 1, "{told}");
            all.push(told);
        }
    }
    all
}

/// Each says which table is meant, what is wrong, and what would be right.
#[test]
fn what_is_wrong_with_a_library_is_told_with_its_place() {
    let libraries = Libraries::get();
    let source = libraries.path("ical-source");
    let bin = tempfile::tempdir().unwrap();
    let bin = bin.path().canonicalize().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = bin.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let copy = file("copy.so", &std::fs::read(&source).unwrap());
    let open = file("open.so", b"not looked at");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&open, mode).unwrap();
    let socket = bin.join("socket.so");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let folder = bin.join("folder.so");
    std::fs::create_dir(&folder).unwrap();
    let table = |path: &Path, more: &str| format!("[plugins.x]\npath = {path:?}\n{more}");
    let sha = |pin: &str| table(&source, &format!("sha256 = \"{pin}\"\n"));
    let both = |other: &Path| {
        let replaces = "replaces = [\"ical-source\"]\n";
        table(&source, replaces) + &table(other, replaces).replace(".x]", ".y]")
    };
    for (plugins, place, says, advises) in [
        (
            table(Path::new("relative.so"), ""),
            "14:1: `plugins.x.path`",
            "must be absolute: `relative.so`",
            "write it from the root on, as in `/usr/lib/",
        ),
        (
            table(Path::new("~/lib/x.so"), ""),
            "14:1: `plugins.x.path`",
            "must be absolute: `~/lib/x.so`",
            "write it from the root on",
        ),
        (
            "[plugins.x]\npath = \"\"\n".to_owned(),
            "14:1: `plugins.x.path`",
            "must not be empty",
            "",
        ),
        (
            table(Path::new("/nowhere/x.so"), ""),
            "14:1: `plugins.x.path`",
            "/nowhere/x.so cannot be read: No such file",
            "look whether the path is right",
        ),
        (
            table(&file("text.so", &[b'a'; 200]), ""),
            "14:1: `plugins.x.path`",
            "text.so cannot be loaded: ",
            "must be a whole shared library that was built for this system",
        ),
        (
            // Broken off while it was copied.
            table(
                &file("part.so", &std::fs::read(&source).unwrap()[..9000]),
                "",
            ),
            "14:1: `plugins.x.path`",
            "part.so is no connector library: a part of it is missing",
            "install it again",
        ),
        (
            table(&file("empty.so", b""), ""),
            "14:1: `plugins.x.path`",
            "empty.so is no connector library: it is empty",
            "install it again",
        ),
        (
            table(&folder, ""),
            "14:1: `plugins.x.path`",
            "folder.so is no connector library: it is a folder",
            "name the library's file in it",
        ),
        (
            table(&socket, ""),
            "14:1: `plugins.x.path`",
            "socket.so is no connector library: ",
            "it is neither a file nor a link to one",
        ),
        (
            table(&open, ""),
            "14:1: `plugins.x.path`",
            "open.so may be written by everybody",
            "let only the administrator or the account of calbridge own and write it",
        ),
        (
            table(&source, ""),
            "13:10: `plugins.x`",
            "calbridge has a connector `ical-source` of its own",
            "write `replaces = [\"ical-source\"]`",
        ),
        (
            both(&copy),
            "`plugins.y`",
            "has brought a connector `ical-source` already",
            "name only one of the two libraries",
        ),
        (
            both(&source),
            "`plugins.y.path`",
            "`plugins.x` names the same library",
            "take one of the two out",
        ),
        (
            table(&source, "replaces = [\"ical-source\", \"ical-sauce\"]\n"),
            "`plugins.x.replaces`",
            "holds no connector `ical-sauce`",
            "but `ical-source`; correct the name or take it out",
        ),
        (
            table(&source, "replaces = \"ical-source\"\n"),
            "`plugins.x.replaces`",
            "expected a list, found a text",
            "",
        ),
        (
            sha(&"0".repeat(64)),
            "`plugins.x.sha256`",
            "is not the pinned one: its SHA-256 is ",
            "if you have replaced it on purpose, write that into the configuration",
        ),
        (
            sha("abc"),
            "`plugins.x.sha256`",
            "does not have the form",
            "64 hexadecimal digits, as `sha256sum FILE` prints them",
        ),
        (
            sha(&"g".repeat(64)),
            "`plugins.x.sha256`",
            "does not have the form",
            "64 hexadecimal digits",
        ),
        (
            "[plugins.x]\nisolation = \"process\"\n".to_owned(),
            "`plugins.x`",
            "the key `path` is missing",
            "",
        ),
        (
            table(&source, "isolaton = \"process\"\n"),
            "15:1: `plugins.x.isolaton`",
            "unknown key",
            "did you mean `isolation`?",
        ),
        (
            table(&source, "isolation = \"inprocess\"\n"),
            "15:1: `plugins.x.isolation`",
            "must be one of ",
            "\"process\", \"in-process\"",
        ),
    ] {
        for told in told_of(&plugins) {
            for expected in [place, says, advises] {
                assert!(told.contains(expected), "{expected}\n{told}");
            }
        }
    }
}

#[test]
fn a_library_that_does_not_follow_the_contract_is_told_with_its_place() {
    let bin = tempfile::tempdir().unwrap();
    for (define, says) in [
        ("NO_SYMBOL", "it does not export `calbridge_plugin_v1`"),
        (
            r#"MANIFEST_TEXT="{\"abi\":2,\"connectors\":[]}""#,
            "it follows version 2 of the plug-in contract",
        ),
        (
            r#"MANIFEST_TEXT="{\"abi\":1,\"connectors\":[]}""#,
            "it holds no connector",
        ),
    ] {
        let Some(library) = misfit(&bin.path().canonicalize().unwrap(), define) else {
            return;
        };
        let plugins = format!("[plugins.x]\npath = {library:?}\n");
        for told in told_of(&plugins) {
            for expected in [
                "`plugins.x.path`",
                says,
                "does not fit this calbridge",
                "ask its vendor for one that is built for plug-in version 1",
            ] {
                assert!(told.contains(expected), "{expected}\n{told}");
            }
        }
    }
}

/// A pin may be written in capitals, as some tools print it.
#[test]
fn a_pin_may_be_written_in_capitals() {
    let libraries = Libraries::get();
    let path = libraries.path("ical-source");
    let printed = Command::new("sha256sum").arg(&path).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let pin = printed.split_whitespace().next().unwrap().to_uppercase();
    let folders = Folders::new(&format!(
        "[plugins.x]\npath = {path:?}\nsha256 = \"{pin}\"\nreplaces = [\"ical-source\"]\n"
    ));
    let told = folders.text(&["check", "--offline"]);
    assert!(told.contains("2 connections, 1 sync"), "{told}");
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
            &["connectors", "schema"][..],
            &["connectors", "schema", "ical-sink"],
            &["connectors", "docs"],
            &["connectors", "docs", "ical-sink"],
        ] {
            assert_eq!(loaded.text(args), compiled.text(args), "{args:?}");
        }
        // The list says where each comes from; the rest is the same.
        let isolation = isolation.unwrap_or("process");
        let table = loaded.text(&["connectors", "list"]);
        let listed = |folders: &Folders| -> Vec<Value> {
            serde_json::from_str(&folders.text(&["connectors", "list", "--json"])).unwrap()
        };
        for (mut one, linked) in listed(&loaded).into_iter().zip(listed(&compiled)) {
            let library = libraries.path(one["id"].as_str().unwrap());
            let place = format!("{} ({isolation})", library.display());
            assert!(table.contains(&place), "{place}\n{table}");
            assert_eq!(one["library"], library.to_str().unwrap());
            assert_eq!(one["isolation"], isolation);
            assert!(linked["library"].is_null() && linked["isolation"].is_null());
            one["library"] = Value::Null;
            one["isolation"] = Value::Null;
            assert_eq!(one, linked);
        }
    }
    let table = compiled.text(&["connectors", "list"]);
    assert_eq!(table.matches("compiled in").count(), IDS.len(), "{table}");
}

/// What a library holds cannot be told if it is not loaded: that is one mistake, and not one per connection besides.
#[test]
fn a_library_that_is_not_loaded_is_one_mistake() {
    let folders = Folders::new("");
    let path = folders.folder.path().join("calbridge.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = "\n[plugins.x]\npath = \"/nowhere/x.so\"\n[connections.x]\nconnector = \"rota\"\n";
    std::fs::write(&path, text + more).unwrap();
    let told = folders.refused(&["check", "--offline"]);
    assert!(told.contains("/nowhere/x.so cannot be read"), "{told}");
    assert!(!told.contains("there is no connector"), "{told}");
}

/// Waits until something is so. What became of a write of unknown fate is asked only after half a minute.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The children of this service that hold a library: other tests start some as well.
fn children(service: u32, library: &Path) -> Vec<u32> {
    let of = |pid: &str| -> Option<u32> {
        let pid = pid.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        if parent.trim() != service.to_string() {
            return None;
        }
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
    let own = service.id().unwrap();
    until("the first sync", || world.in_planner(ANNA).len() == 1).await;
    let of_exchange = children(own, &libraries.path("exchange-ews"));
    let of_planner = children(own, &libraries.path("planner-dfdg"));
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
    assert_eq!(children(own, &libraries.path("exchange-ews")), of_exchange);
    let again = children(own, &libraries.path("planner-dfdg"));
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

    let mut last = children(own, &libraries.path("exchange-ews"));
    last.extend(children(own, &libraries.path("planner-dfdg")));
    assert_eq!(last.len(), 2);

    // With the program its children end.
    support::signal(&service, "TERM");
    let status = service.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.started_log());
    until("all are gone", || {
        let line = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline"));
        let there = |pid: &u32| line(pid).is_ok_and(|line| !line.is_empty());
        !last.iter().any(there)
    })
    .await;
}
