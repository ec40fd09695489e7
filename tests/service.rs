//! The program as a service: hints of time, signals, crashes.
#![cfg(all(feature = "sandbox", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use calbridge_sandbox::planner::Operation;
use calbridge_sandbox::tls::{CertificateSpec, Validity};
use jiff::civil::date;
use support::{ANNA, BO, HOLDER, ROOM, World, ahead, signal, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_service_keeps_in_step_and_stops_within_five_seconds() {
    let world = World::new().await;
    world.appointment(ANNA, "A", &ahead(2, "09:00"), &ahead(2, "10:00"));
    let mut service = world.start_live(&["run"]);
    until("the first sync", || world.in_planner(ANNA).len() == 1).await;
    // The state file is in use, which `status`, `backup` and `plan` do not mind, and reading anew does.
    world.run(&["status"]).await.expect(0);
    let copy = world.dir.path().join("copy.db");
    world
        .run(&["backup", copy.to_str().unwrap()])
        .await
        .expect(0);
    let planned = world.run(&["plan", "--json"]).await.expect(0).json();
    assert_eq!(
        (&planned["writes"], &planned["from_store"]),
        (&0.into(), &true.into())
    );
    let refused = world.run(&["plan", "--full"]).await.expect(3);
    assert!(
        refused.stderr.contains("in use by another calbridge"),
        "{refused:?}"
    );
    let checked = world.run(&["check", "--offline"]).await.expect(0);
    assert!(
        checked.stdout.contains("in use by another calbridge"),
        "{checked:?}"
    );

    world.appointment(BO, "B", &ahead(2, "09:00"), &ahead(2, "10:00"));
    until("the change", || world.in_planner(BO).len() == 1).await;

    for (name, wait) in [("TERM", true), ("HUP", true), ("INT", false)] {
        let asked = Instant::now();
        signal(&service, name);
        let status = service.wait().await.unwrap();
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(status.code(), Some(0), "{}", world.started_log());
        if wait {
            service = world.start_live(&["run"]);
            until("the next start", || {
                world.started_log().contains("has started")
            })
            .await;
        }
    }
}

/// The library below logs a line of its own, which names neither the connection nor what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_refused_is_logged_once() {
    let world = World::new().await;
    world.configure(|text| {
        let (before, rest) = text.split_once("extra_ca = [").unwrap();
        let (_, after) = rest.split_once(']').unwrap();
        format!("{before}extra_ca = []{after}")
    });
    for (level, lines) in [("info", 0), ("debug", 1)] {
        let done = world.run(&["sync", "--log-level", level]).await;
        assert!(done.all().contains("`extra_ca`"), "{done:?}");
        let doubled = done
            .stderr
            .matches("failed to verify TLS certificate")
            .count();
        assert_eq!(doubled.min(1), lines, "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn under_nohup_the_end_of_the_terminal_stops_nothing() {
    let world = World::new().await;
    let mut shell = tokio::process::Command::new("sh");
    let mut service = shell
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_calbridge"))
        .arg("run")
        .arg("--config")
        .arg(world.config())
        .args(["--now", support::NOW])
        .env("EXCHANGE_PASSWORD", "sandbox")
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(world.dir.path().join("stderr")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the start", || world.started_log().contains("has started")).await;
    signal(&service, "HUP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(service.try_wait().unwrap(), None, "{}", world.started_log());
    signal(&service, "TERM");
    assert_eq!(service.wait().await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn k160_the_start_is_reported_at_once_and_work_goes_on_behind_it() {
    let world = World::new().await;
    world.appointment(ANNA, "A", &ahead(2, "09:00"), &ahead(2, "10:00"));
    world
        .planner
        .inject("GetResources*2=delay:5000".parse().unwrap())
        .unwrap();
    let begun = Instant::now();
    let service = world.start_live(&["run"]);
    until("the start", || world.started_log().contains("has started")).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(world.in_planner(ANNA).is_empty());
    until("the first sync", || world.in_planner(ANNA).len() == 1).await;
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn k157_the_service_warns_by_itself_of_a_certificate_that_expires_in_thirty_days() {
    let world = World::new().await;
    for (last, warns) in [(date(2026, 12, 24), true), (date(2026, 12, 25), false)] {
        let valid = Validity::Between(date(2024, 1, 1), last);
        world.certificate(&CertificateSpec::client(HOLDER).valid(valid));
        let calls = world.planner.ledger().len();
        let service = world.start(&["run"]);
        // One call is the check's, the other asks for the roster.
        until("the check", || world.planner.ledger().len() >= calls + 2).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(service);
        let log = world.started_log();
        let told =
            |line: &&str| line.contains("daily check") && line.contains("certificate expires");
        let warning = log.lines().find(told);
        assert_eq!(warning.is_some(), warns, "{last}: {log}");
        assert!(
            warning.is_none_or(|line| line.contains("WARN")
                && line.contains("planner")
                && line.contains("in 30 days")),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_does_not_answer_does_not_keep_it_from_stopping() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world
        .planner
        .inject("CreateEvents*all=hang-before".parse().unwrap())
        .unwrap();
    for (args, code) in [(&["run"], 0), (&["sync"], 130)] {
        let calls = world.planner.ledger().all().len();
        let mut child = world.start(args);
        until("a call", || world.planner.ledger().all().len() > calls).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let asked = Instant::now();
        signal(&child, "TERM");
        let status = child.wait().await.unwrap();
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(status.code(), Some(code), "{}", world.started_log());
    }
    world.planner.clear_faults();
    world.sync().await;
    assert_eq!(world.in_planner(ANNA).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_first_sync_it_ends_as_if_undisturbed() {
    let fill = |world: &World| {
        for (address, count) in [(ANNA, 40), (BO, 25), (ROOM, 10)] {
            for at in 0..count {
                let (day, hour) = (24 + at % 6, 8 + at / 6);
                world.appointment(
                    address,
                    "A",
                    &format!("2026-11-{day}T{hour:02}:00"),
                    &format!("2026-11-{day}T{hour:02}:45"),
                );
            }
        }
    };
    let undisturbed = World::new().await;
    fill(&undisturbed);
    undisturbed.sync().await;

    let world = World::new().await;
    fill(&world);
    // Slow enough, and calls enough, that the signal meets work under way.
    world.configure(|text| text.replace("jobcenter =", "max_events_per_call = 4\njobcenter ="));
    world
        .planner
        .inject("*#2*all=delay:100".parse().unwrap())
        .unwrap();
    let mut killed = 0;
    for round in 0..4 {
        let calls = world.planner.ledger().all().len();
        let mut child = world.start(&["sync"]);
        until("calls, or the end", || {
            world.planner.ledger().all().len() >= calls + 3 + round
                || child.try_wait().unwrap().is_some()
        })
        .await;
        if child.try_wait().unwrap().is_none() {
            signal(&child, "KILL");
            killed += usize::from(child.wait().await.unwrap().code().is_none());
        }
    }
    assert!(killed >= 2, "only {killed} were met by the signal");
    world.planner.clear_faults();
    let report = world.sync().await;
    assert_eq!(report["exit"], "success", "{report}");
    for address in [ANNA, BO, ROOM] {
        assert_eq!(world.in_planner(address), undisturbed.in_planner(address));
    }
    assert_eq!(world.planned().await, 0);
}

/// The week beside a predecessor in `observe.rs` is played with `sync`; the service compares by itself, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_observes_compares_again_and_again_and_writes_nothing() {
    let world = World::new().await;
    world.configure(|text| {
        text.replace(
            "schedule = { interval = \"1 s\" }",
            "mode = \"observe\"\nschedule = { interval = \"1 s\", roster_interval = \"1 s\" }",
        )
    });
    world.appointment(ANNA, "A", &ahead(2, "09:00"), &ahead(2, "10:00"));
    let mut service = world.start_live(&["run"]);
    let told = |missing: u32| {
        let line = format!("missing={missing} different=0 surplus=0");
        world.started_log().contains(&line)
    };
    until("the first comparison", || told(1)).await;
    world.appointment(ANNA, "B", &ahead(3, "09:00"), &ahead(3, "10:00"));
    until("another comparison", || told(2)).await;
    // What the log counts, `plan` names, beside the running service.
    let planned = world.run(&["plan", "--json"]).await.expect(0).json();
    assert_eq!(planned["from_store"], true);
    assert_eq!(planned["syncs"][0]["calendars"][0]["observed"], true);
    signal(&service, "TERM");
    assert_eq!(service.wait().await.unwrap().code(), Some(0));
    for operation in [
        Operation::CreateEvents,
        Operation::UpdateEvents,
        Operation::DeleteEvents,
    ] {
        assert_eq!(world.planner.calls(operation).len(), 0);
    }
    assert!(!world.planner.calls(Operation::GetEvents).is_empty());
}
