//! What operators are told: `status`, `explain`, `check`, `backup`, and what each says of a state file or an address that it
//! cannot use.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{ANNA, BO, Done, World};

fn line<'a>(done: &'a Done, part: &str) -> &'a str {
    done.stdout
        .lines()
        .find(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no line with {part}: {done:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_never_reached_is_seen_in_status() {
    let world = World::new().await;
    world.planner.stop().await;
    world.run(&["sync"]).await.expect(4);
    let status = world.run(&["status"]).await.expect(0);
    let planner = line(&status, "planner  ");
    assert!(planner.contains("out of reach (for 0 s)"), "{status:?}");
    assert!(planner.contains("never"), "{status:?}");
    assert_eq!(planner.matches("[690").count(), 1, "{status:?}");
    assert!(
        line(&status, "exchange").contains("not asked yet"),
        "{status:?}"
    );
    assert!(
        status
            .stdout
            .contains("No calendar is known yet: `planner` is in trouble"),
        "{status:?}"
    );

    // Ten minutes later it is still the same trouble.
    let later = "2026-11-23T08:10:00Z";
    world.run_at(later, &["sync"], |_| {}).await.expect(4);
    let status = world.run_at(later, &["status", "--json"], |_| {}).await;
    let planner = &status.json()["connections"][1];
    assert_eq!(planner["connection"], "planner", "{planner}");
    assert_eq!(planner["reachable"], false, "{planner}");
    assert_eq!(planner["trouble"]["kind"], "transient", "{planner}");
    assert_eq!(planner["trouble"]["since"], support::NOW, "{planner}");
    assert_eq!(planner["trouble"]["last"], later, "{planner}");

    world.planner.resume().await.unwrap();
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world.sync().await;
    let status = world.run(&["status", "--json"]).await.expect(0).json();
    for connection in status["connections"].as_array().unwrap() {
        assert_eq!(connection["reachable"], true, "{status}");
        assert_eq!(connection["reached"], support::NOW, "{status}");
        assert!(connection.get("trouble").is_none(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_refuses_the_password_is_seen_in_status_and_a_mailbox_in_trouble_is_not() {
    let world = World::new().await;
    world
        .run_with(&["sync"], |command| {
            command.env("EXCHANGE_PASSWORD", "wrong");
        })
        .await
        .expect(4);
    let status = world.run(&["status"]).await.expect(0);
    assert!(
        line(&status, "exchange  ").contains("sign-in refused"),
        "{status:?}"
    );
    assert!(
        line(&status, "planner  ").contains("reachable"),
        "{status:?}"
    );
    // One mailbox is no matter of the whole connection.
    world.exchange.disable_mailbox(BO, true).unwrap();
    world.run(&["sync"]).await.expect(5);
    let status = world.run(&["status"]).await.expect(0);
    assert!(
        line(&status, "exchange  ").contains("reachable"),
        "{status:?}"
    );
    // Each code is printed once.
    let bo = line(&status, BO);
    assert_eq!(bo.matches("[ews.").count(), 1, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_connections_too() {
    let world = World::new().await;
    world.run(&["plan"]).await.expect(0);
    let status = world.run(&["status"]).await.expect(0);
    assert!(
        line(&status, "exchange  ").contains("reachable"),
        "{status:?}"
    );
    assert!(
        line(&status, "planner  ").contains("reachable"),
        "{status:?}"
    );
    world
        .run_with(&["plan"], |command| {
            command.env("EXCHANGE_PASSWORD", "wrong");
        })
        .await
        .expect(5);
    let status = world.run(&["status"]).await.expect(0);
    assert!(
        line(&status, "exchange  ").contains("sign-in refused"),
        "{status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_is_seen_in_status() {
    use calbridge_core::store::{PauseScope, Store as _, sqlite::SqliteStore};
    let world = World::new().await;
    world.sync().await;
    let scope = PauseScope::Connection("planner".to_owned());
    let since = "2026-11-23T06:00:00Z".parse().unwrap();
    let store = SqliteStore::open(world.state(), since).unwrap();
    store.pause(&scope, since).await.unwrap();
    drop(store);
    let status = world.run(&["status"]).await.expect(0);
    assert!(
        line(&status, "PAUSED").contains("for 2 h: connection `planner`"),
        "{status:?}"
    );
    let status = world.run(&["status", "--json"]).await.expect(0).json();
    assert_eq!(status["pauses"][0]["scope"]["connection"], "planner");
}

/// That Exchange is reached without TLS stands in no appointment's way.
#[tokio::test(flavor = "multi_thread")]
async fn explain_leaves_warnings_about_a_connection_to_check() {
    let world = World::new().await;
    world.sync().await;
    let checked = world.run(&["check"]).await.expect(0);
    assert!(line(&checked, "warning").contains("not encrypted"));
    let explained = world.run(&["explain", ANNA]).await.expect(0);
    assert!(!explained.stdout.contains("  ! "), "{explained:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_service_notes_how_connections_answer() {
    let world = World::new().await;
    world.planner.stop().await;
    let mut service = world.start_live(&["run"]);
    let mut seen = false;
    for _ in 0..100 {
        let status = world.run(&["status"]).await;
        if status.stdout.contains("out of reach") {
            seen = true;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    support::signal(&service, "TERM");
    service.wait().await.unwrap();
    assert!(seen, "{}", world.started_log());
}

#[tokio::test(flavor = "multi_thread")]
async fn appointments_that_cannot_be_read_are_seen_in_status() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    for operation in ["FindItem", "GetItem"] {
        let fault = format!("{operation}@{ANNA}*all=missing:Start");
        world.exchange.inject_spec(&fault).unwrap();
    }
    world.run(&["sync"]).await.expect(5);
    let status = world.run(&["status"]).await.expect(0);
    assert!(
        line(&status, ANNA).contains("some of its appointments cannot be read"),
        "{status:?}"
    );
    assert!(
        status
            .stdout
            .contains("1 with appointments that cannot be read"),
        "{status:?}"
    );
    let status = world.run(&["status", "--json"]).await.expect(0).json();
    let sync = &status["syncs"][0];
    assert_eq!(sync["unreadable"], 1, "{status}");
    assert_eq!(sync["calendars"][0]["unreadable"], true, "{status}");
    assert_eq!(sync["calendars"][1]["unreadable"], false, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_who_writes_our_records_is_seen_in_status() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world.run(&["sync"]).await.expect(0);
    let active = world.run(&["status"]).await.expect(0);
    assert!(line(&active, ANNA).contains("active"), "{active:?}");
    assert!(!active.stdout.contains("somebody else"), "{active:?}");
    let record = world.planner.events(ANNA).remove(0);
    assert!(world.planner.remove_event(ANNA, &record.id));
    // What was written while the list was made is not judged by it.
    let later = "2026-11-23T09:00:00Z";
    let sync = world.run_at(later, &["sync", "--reconcile"], |_| {});
    sync.await.expect(0);
    let status = world.run_at(later, &["status"], |_| {}).await.expect(0);
    assert!(
        line(&status, ANNA).contains("somebody else made, changed or removed 1 record"),
        "{status:?}"
    );
    let status = world.run(&["status", "--json"]).await.expect(0).json();
    assert_eq!(status["syncs"][0]["calendars"][0]["others"]["records"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_knows_is_named() {
    const NOBODY: &str = "nobody@kommune.example";
    let world = World::new().await;
    world.sync().await;
    for args in [
        &["status", "--calendar", NOBODY][..],
        &["approve", "--calendar", NOBODY],
        &["plan", "--calendar", NOBODY],
        &["sync", "--calendar", NOBODY, "--calendar", ANNA],
        &["explain", NOBODY],
        &["explain", NOBODY, "--offline"],
    ] {
        let done = world.run(args).await.expect(2);
        assert!(
            done.all()
                .contains("no calendar with the address nobody@kommune.example is known"),
            "{done:?}"
        );
        assert!(done.all().contains("`calbridge status`"), "{done:?}");
    }
    // With --json it stays one document.
    let explained = world.run(&["explain", NOBODY, "--json"]).await.expect(2);
    assert_eq!(explained.json()["known"], false, "{explained:?}");
    world.run(&["status", "--calendar", ANNA]).await.expect(0);
    // Whom the roster names by now is asked for before it is said.
    world.exchange.add_person("Nora Ny", NOBODY).unwrap();
    world
        .planner
        .add_resource(calbridge_sandbox::planner::Resource::case_worker(
            "Nora Ny", NOBODY,
        ));
    world.run(&["explain", NOBODY]).await.expect(0);
    world.run(&["sync", "--calendar", NOBODY]).await.expect(0);
    world.run(&["status", "--calendar", NOBODY]).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_takes_no_date_that_is_none_for_an_id() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world.sync().await;
    for wrong in [
        "2026-13-99",
        "2026-02-30",
        "24.11.2026",
        "24/11/2026",
        "2026-1-5",
    ] {
        let done = world.run(&["explain", ANNA, wrong]).await.expect(2);
        assert!(
            done.stderr.contains(&format!(
                "`{wrong}` is not a date; write one such as 2026-11-24"
            )),
            "{done:?}"
        );
    }
    let good = world.run(&["explain", ANNA, "2026-11-24"]).await.expect(0);
    assert!(
        good.stdout
            .contains("Note: the other side last acknowledged a write at 2026-11-23 09:00:00 CET."),
        "{good:?}"
    );
    assert!(
        good.stdout
            .contains("Before: 2026-11-23 09:00:00 CET it is made"),
        "{good:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_without_a_day_shows_what_was_refused() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world.sync().await;
    let good = world.run(&["explain", ANNA]).await.expect(0);
    assert!(!good.stdout.contains("Appointment"), "{good:?}");
    world
        .planner
        .inject(
            format!("CreateEvents@{ANNA}*all=code:6203")
                .parse()
                .unwrap(),
        )
        .unwrap();
    world.appointment(ANNA, "B", "2026-11-25T09:00", "2026-11-25T10:00");
    world.run(&["sync"]).await.expect(5);
    let explained = world.run(&["explain", ANNA]).await.expect(0);
    assert!(
        explained
            .stdout
            .contains("! 1 appointment with a write that was refused"),
        "{explained:?}"
    );
    assert!(
        explained
            .stdout
            .contains("Appointment 2026-11-25 09:00-10:00"),
        "{explained:?}"
    );
    assert!(
        !explained.stdout.contains("2026-11-24 09:00"),
        "{explained:?}"
    );
    assert!(
        explained
            .stdout
            .contains("The other side does not hold it."),
        "{explained:?}"
    );
    assert_eq!(
        line(&explained, "refused for good at")
            .matches("[62")
            .count(),
        1,
        "{explained:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deletes_are_shown_in_the_order_of_time_and_wait_for_approval() {
    let world = World::new().await;
    let mut items = Vec::new();
    // Made in another order than they take place.
    for day in [27, 24, 26, 25] {
        let (start, end) = (
            format!("2026-11-{day}T09:00"),
            format!("2026-11-{day}T10:00"),
        );
        items.push(world.appointment(ANNA, "A", &start, &end));
    }
    let plan = world.run(&["plan"]).await.expect(0);
    in_order(&plan);
    world.sync().await;
    for item in items {
        world.exchange.delete(item).unwrap();
    }
    world.run(&["sync"]).await.expect(5);
    let explained = world.run(&["explain", ANNA]).await.expect(0);
    in_order(&explained);
    assert!(
        explained.stdout.contains(
            "Next: the other side's record is deleted once `calbridge approve` lets it go"
        ),
        "{explained:?}"
    );
    world.run(&["approve", "--calendar", ANNA]).await.expect(0);
    let explained = world.run(&["explain", ANNA, "2026-11-24"]).await.expect(0);
    assert!(
        explained
            .stdout
            .contains("Next: the other side's record is deleted, because"),
        "{explained:?}"
    );
}

fn in_order(done: &Done) {
    let days: Vec<usize> = (24..28)
        .map(|day| {
            let time = format!("2026-11-{day} 09:00-10:00");
            done.stdout
                .find(&time)
                .unwrap_or_else(|| panic!("{done:?}"))
        })
        .collect();
    assert!(days.is_sorted(), "{done:?}");
}

/// Commands that only look at the state file.
const LOOKS: [&[&str]; 3] = [&["status"], &["explain", ANNA, "--offline"], &["backup"]];

async fn look(world: &World, args: &[&str]) -> Done {
    let copy = world.dir.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    if args == ["backup"] {
        world.run(&["backup", copy]).await
    } else {
        world.run(args).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_state_file_it_is_said_and_none_is_made() {
    let world = World::new().await;
    for is_empty in [false, true] {
        for args in LOOKS.into_iter().chain([&["approve"][..]]) {
            let done = look(&world, args).await.expect(3);
            assert!(done.stderr.contains("there is no state file"), "{done:?}");
            assert!(done.stderr.contains("state.db"), "{done:?}");
            assert_eq!(world.state().exists(), is_empty, "{args:?}");
        }
        let checked = world.run(&["check"]).await.expect(0);
        let said = if is_empty {
            "is empty; the first run fills it"
        } else {
            "is made by the first run"
        };
        assert!(line(&checked, "state ").contains(said), "{checked:?}");
        std::fs::write(world.state(), "").unwrap();
    }
    assert_eq!(std::fs::metadata(world.state()).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_or_a_file_of_another_kind_is_told_by_every_command() {
    let world = World::new().await;
    std::fs::create_dir(world.state()).unwrap();
    let all = || {
        LOOKS
            .into_iter()
            .chain([&["sync"][..], &["plan"], &["run"]])
    };
    for args in all() {
        let done = look(&world, args).await.expect(3);
        assert!(
            done.stderr
                .contains("state.db is a folder; name a file in it"),
            "{done:?}"
        );
    }
    let checked = world.run(&["check"]).await.expect(1);
    assert!(
        line(&checked, "FAILED").contains("state.db is a folder"),
        "{checked:?}"
    );
    std::fs::remove_dir(world.state()).unwrap();
    std::fs::write(world.state(), "no database").unwrap();
    for args in all() {
        let done = look(&world, args).await.expect(3);
        assert!(
            done.stderr
                .contains("state.db is damaged or is no state file (it is not an SQLite database)"),
            "{done:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_another_program_is_not_taken_for_calbridge() {
    let world = World::new().await;
    world.sync().await;
    let other = rusqlite::Connection::open(world.state()).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    for args in LOOKS.into_iter().chain([&["sync"][..]]) {
        let done = look(&world, args).await.expect(3);
        assert!(
            done.stderr.contains("is locked by another program"),
            "{done:?}"
        );
    }
    let checked = world.run(&["check"]).await.expect(1);
    assert!(
        line(&checked, "FAILED").contains("is locked by another program"),
        "{checked:?}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    world.sync().await;
    std::fs::set_permissions(world.state(), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(world.state()).is_ok() {
        // Root may read everything.
        return;
    }
    for args in LOOKS {
        let done = look(&world, args).await.expect(3);
        assert!(
            done.stderr.contains("may not be read by this account"),
            "{done:?}"
        );
    }
}

/// A source that does not answer, and somebody who loses patience.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_interrupted_says_so() {
    for (command, said) in [
        ("sync", "Interrupted before all was done"),
        ("plan", "Interrupted before all was planned"),
        ("check", "Interrupted before all was checked"),
    ] {
        let world = World::new().await;
        world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
        world.exchange.inject_spec("*=delay:60000").unwrap();
        let mut child = world.start(&[command]);
        if command == "check" {
            // Exchange is asked first, and what it has not answered is not in its ledger.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        } else {
            support::until("the roster", || !world.planner.ledger().all().is_empty()).await;
        }
        support::signal(&child, "TERM");
        let status = child.wait().await.unwrap();
        assert_eq!(status.code(), Some(130), "{}", world.started_log());
        let stdout = std::fs::read_to_string(world.dir.path().join("stdout")).unwrap();
        assert!(stdout.starts_with(said), "{stdout}");
    }
}
