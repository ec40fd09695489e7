//! What goes wrong around the program: mistakes, secrets, servers, the state file.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod support;

use std::process::Stdio;

use calbridge_sandbox::planner::Resource;
use support::{ANNA, BO, Done, ROOM, World, write_private};

/// Changes the configuration, and answers what `args` come to.
async fn with(world: &World, old: &str, new: &str, args: &[&str]) -> Done {
    world.configure(|text| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    });
    world.run(args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn k151_a_blank_jobcenter_or_user_is_a_mistake() {
    let world = World::new().await;
    for (old, new, key) in [
        ("jobcenter = \"10100\"", "jobcenter = \"\"", "jobcenter"),
        (
            "request_user = \"CVR:12345678-FID:1234567890123\"",
            "request_user = \" \"",
            "request_user",
        ),
    ] {
        for args in [&["run"][..], &["sync"], &["check"], &["plan"]] {
            let done = with(&world, old, new, args).await.expect(2);
            assert!(done.stderr.contains("calbridge.toml:"), "{done:?}");
            assert!(done.stderr.contains(key), "{done:?}");
        }
    }
    assert!(world.planner.ledger().all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_that_only_the_connector_sees_has_its_line() {
    let world = World::new().await;
    let new = "request_user = \"CVR:1\"";
    let old = "request_user = \"CVR:12345678-FID:1234567890123\"";
    let done = with(&world, old, new, &["check"]).await.expect(2);
    let text = std::fs::read_to_string(world.config()).unwrap();
    let line = 1 + text.lines().position(|line| line == new).unwrap();
    assert!(
        done.stderr.contains(&format!(
            "calbridge.toml:{line}:1: `connections.planner.request_user`: "
        )),
        "{done:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_nobody_gives_a_roster_for_is_a_mistake() {
    let world = World::new().await;
    let out = world.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    world.configure(|text| {
        let files = format!("[connections.files]\nconnector = \"ical-sink\"\nfolder = {out:?}\n");
        format!(
            "{files}{}",
            text.replace("sink = \"planner\"", "sink = \"files\"")
        )
    });
    let done = world.run(&["check"]).await.expect(2);
    assert!(done.stderr.contains("a roster"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn k153_more_than_ten_calls_at_once_are_limited_with_a_line() {
    let world = World::new().await;
    let done = with(
        &world,
        "jobcenter =",
        "parallel_calls = 25\njobcenter =",
        &["sync"],
    )
    .await;
    let done = done.expect(0);
    let line = done
        .stderr
        .lines()
        .find(|line| line.contains("parallel_calls"));
    assert!(line.is_some_and(|line| line.contains("INFO")), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn k154_no_calls_at_once_is_a_mistake() {
    let world = World::new().await;
    for wrong in ["0", "-1"] {
        let new = format!("parallel_calls = {wrong}\njobcenter =");
        let done = with(&world, "jobcenter =", &new, &["run"]).await.expect(2);
        assert!(
            done.stderr
                .contains("`connections.planner.parallel_calls`: must be 1 or more"),
            "{done:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k155_a_user_without_password_is_a_mistake() {
    let world = World::new().await;
    let done = with(
        &world,
        ", password = \"env:EXCHANGE_PASSWORD\"",
        "",
        &["run"],
    )
    .await
    .expect(2);
    assert!(
        done.stderr
            .contains("`connections.exchange.auth`: the key `password` is missing"),
        "{done:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_offer_the_configured_sign_in_is_told_apart() {
    let world = World::new().await;
    let done = with(&world, "kind = \"basic\"", "kind = \"ntlm\"", &["check"])
        .await
        .expect(1);
    let all = done.all();
    assert!(all.contains("does not offer NTLM"), "{done:?}");
    assert!(all.contains("WindowsAuthentication"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_come_as_a_document_too() {
    let world = World::new().await;
    let done = with(
        &world,
        "sink = \"planner\"",
        "snik = \"planner\"",
        &["plan", "--json"],
    )
    .await
    .expect(2);
    let document = done.json();
    assert_eq!(document["error"]["exit"], "usage");
    let mistakes = document["error"]["mistakes"].as_array().unwrap();
    let unknown = mistakes
        .iter()
        .find(|mistake| mistake["key"] == "sync[0].snik")
        .unwrap();
    assert_eq!(unknown["help"], "did you mean `sink`?");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inline_secret_is_refused_and_never_repeated() {
    let world = World::new().await;
    for args in [
        &["run"][..],
        &["check", "--json"],
        &["sync", "--log-level", "trace"],
    ] {
        let done = with(&world, "env:EXCHANGE_PASSWORD", "hunter2", args)
            .await
            .expect(2);
        assert!(
            done.all()
                .contains("a secret may not stand in the configuration"),
            "{done:?}"
        );
        assert!(!done.all().contains("hunter2"), "{done:?}");
    }
    world.configure(|text| text);
    let done = world
        .run(&[
            "check",
            "--set",
            "connections.exchange.auth.password=hunter2",
        ])
        .await
        .expect(2);
    assert!(
        done.stderr
            .contains("option --set connections.exchange.auth.password=..."),
        "{done:?}"
    );
    assert!(!done.all().contains("hunter2"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_by_its_reference() {
    let world = World::new().await;
    let done = world
        .run_with(&["check"], |command| {
            command.env_remove("EXCHANGE_PASSWORD");
        })
        .await;
    assert_ne!(done.code, Some(0), "{done:?}");
    assert!(done.all().contains("env:EXCHANGE_PASSWORD"), "{done:?}");
    std::fs::remove_file(world.dir.path().join("p12-password")).unwrap();
    let done = world.run(&["check"]).await;
    assert_ne!(done.code, Some(0), "{done:?}");
    assert!(done.all().contains("p12-password"), "{done:?}");
    assert!(!done.all().contains("p12-secret"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_found_as_systemd_credential() {
    let world = World::new().await;
    let folder = world.dir.path().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    write_private(&folder.join("exchange"), "sandbox");
    world.configure(|text| text.replace("env:EXCHANGE_PASSWORD", "credential:exchange"));
    world
        .run_with(&["check"], |command| {
            command.env("CREDENTIALS_DIRECTORY", &folder);
        })
        .await
        .expect(0);
    let done = world.run(&["check"]).await.expect(1);
    assert!(done.all().contains("credential:exchange"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_is_good_and_what_is_not() {
    let world = World::new().await;
    let good = world.run(&["check", "--calendar", ANNA]).await.expect(0);
    for part in [
        "configuration",
        "state",
        "exchange",
        "planner",
        "certificate",
    ] {
        assert!(good.stdout.contains(part), "{good:?}");
    }
    let missing = world
        .run(&["check", "--calendar", "nobody@kommune.example"])
        .await
        .expect(1);
    assert!(missing.stdout.contains("FAILED"), "{missing:?}");
    let wrong = world
        .run_with(&["check", "--json"], |command| {
            command.env("EXCHANGE_PASSWORD", "wrong");
        })
        .await
        .expect(1);
    let document = wrong.json();
    let exchange = &document["connections"][0];
    assert_eq!(exchange["connection"], "exchange");
    assert!(
        exchange["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["severity"] == "failed"),
        "{document}"
    );
    // The other connection is checked all the same.
    let planner = document["connections"][1]["findings"].as_array().unwrap();
    assert!(
        planner
            .iter()
            .all(|finding| finding["severity"] != "failed"),
        "{document}"
    );
    // Nothing was made for that.
    assert!(!world.state().exists());
    let calls = world.exchange.ledger().all().len();
    world.run(&["check", "--offline"]).await.expect(0);
    assert_eq!(world.exchange.ledger().all().len(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_everybody_of_the_roster_on_request() {
    let world = World::new().await;
    let good = world.run(&["check", "--roster"]).await.expect(0);
    assert!(good.stdout.contains("3 calendars take part"), "{good:?}");
    for address in [ANNA, BO, ROOM] {
        assert!(good.stdout.contains(address), "{good:?}");
    }
    world
        .planner
        .add_resource(Resource::case_worker("Cara", "cara@kommune.example"));
    let missing = world.run(&["check", "--roster"]).await.expect(1);
    let line = missing
        .stdout
        .lines()
        .find(|line| line.contains("cara@kommune.example"));
    assert!(
        line.is_some_and(|line| line.contains("FAILED")),
        "{missing:?}"
    );
    assert!(!world.state().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_concerns_whole_connections_ends_with_their_code() {
    let world = World::new().await;
    world.planner.remove_resource(BO);
    world.planner.remove_resource(ROOM);
    world.exchange.disable_mailbox(ANNA, true).unwrap();
    let done = world.run(&["sync", "--json"]).await.expect(5);
    let failed = &done.json()["syncs"][0]["calendars"][0]["failed"];
    assert_eq!(failed["scope"], "calendar", "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn systems_that_cannot_be_used_end_with_their_code() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    let wrong = world
        .run_with(&["sync"], |command| {
            command.env("EXCHANGE_PASSWORD", "wrong");
        })
        .await
        .expect(4);
    assert!(
        wrong.all().contains("credentials") || wrong.all().contains("password"),
        "{wrong:?}"
    );
    world.planner.stop().await;
    let away = world.run(&["sync", "--json"]).await.expect(4);
    assert_eq!(away.json()["error"]["connection"], "planner");
    world.planner.resume().await.unwrap();
    world.sync().await;
    assert_eq!(world.in_planner(ANNA).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_is_none_is_left_alone() {
    let world = World::new().await;
    let garbage = b"no database, but long enough to have a header of its own".repeat(200);
    std::fs::write(world.state(), &garbage).unwrap();
    for args in [&["sync"][..], &["run"], &["plan"]] {
        let done = world.run(args).await.expect(3);
        assert!(
            done.stderr.contains("is damaged or is no state file"),
            "{done:?}"
        );
        assert!(done.stderr.contains("restore a backup"), "{done:?}");
    }
    let done = world.run(&["check"]).await.expect(1);
    assert!(
        done.stdout.contains("is damaged or is no state file"),
        "{done:?}"
    );
    assert_eq!(std::fs::read(world.state()).unwrap(), garbage);
    assert!(world.planner.content().0.is_empty());
}

/// Runs `sync` with the state file on a small or read-only disk of its own. `None`: the system does not let
/// us mount one.
#[cfg(target_os = "linux")]
async fn on_disk(world: &World, mount: &str) -> Option<Done> {
    let disk = world.dir.path().join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    let script = "mount -t tmpfs -o \"$0\" tmpfs \"$1\" || exit 99; shift; exec \"$@\"";
    let output = tokio::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, mount])
        .arg(&disk)
        .arg(env!("CARGO_BIN_EXE_calbridge"))
        .arg("--config")
        .arg(world.config())
        .args(["sync", "--now", support::NOW])
        .args(["--set", &format!("state.path={:?}", disk.join("state.db"))])
        .env("EXCHANGE_PASSWORD", "sandbox")
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    let done = Done::from(output);
    if done.stderr.contains("unshare:") || done.code == Some(99) {
        eprintln!(
            "skipped: no file system can be mounted here: {}",
            done.stderr
        );
        return None;
    }
    Some(done)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_disk_is_named() {
    let world = World::new().await;
    for day in 10..28 {
        for hour in 8..18 {
            world.appointment(
                ANNA,
                "A",
                &format!("2026-12-{day}T{hour:02}:00"),
                &format!("2026-12-{day}T{hour:02}:45"),
            );
        }
    }
    if let Some(done) = on_disk(&world, "ro").await {
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(
            done.stderr
                .contains("cannot be written; give the service's account write access"),
            "{done:?}"
        );
    }
    if let Some(done) = on_disk(&world, "size=8k").await {
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(done.stderr.contains("no space is left"), "{done:?}");
    }
    // Room for the file, not for all that is to be remembered.
    if let Some(done) = on_disk(&world, "size=640k").await {
        assert!(matches!(done.code, Some(3..=5)), "{done:?}");
        assert!(done.all().contains("no space is left"), "{done:?}");
        assert!(!done.stderr.contains("panicked"), "{done:?}");
    }
    // With space, everything is there once.
    world.sync().await;
    assert_eq!(world.in_planner(ANNA).len(), 180);
    assert_eq!(world.planned().await, 0);
}

/// One connection in trouble stops no sync that does not need it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_in_trouble_does_not_stop_the_others() {
    let world = World::new().await;
    let (from, to) = (world.dir.path().join("in"), world.dir.path().join("out"));
    std::fs::create_dir(&from).unwrap();
    std::fs::create_dir(&to).unwrap();
    let event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:20261124T090000Z\r\nDTEND:20261124T100000Z\r\nSUMMARY:Meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    std::fs::write(from.join(format!("{ANNA}.ics")), event).unwrap();
    world.configure(|text| {
        format!(
            "{text}\n[connections.in]\nconnector = \"ical-source\"\npath = {from:?}\n[connections.out]\nconnector = \"ical-sink\"\nfolder = {to:?}\n[[sync]]\nname = \"files\"\nsource = \"in\"\nsink = \"out\"\n"
        )
    });
    world.planner.stop().await;
    let done = world.run(&["sync", "--json"]).await.expect(5);
    let report = done.json();
    assert_eq!(report["failed"][0]["sync"], "jobcenter", "{report}");
    assert_eq!(report["syncs"][0]["sync"], "files", "{report}");
    assert!(to.join(format!("{ANNA}.ics")).exists());
    let plan = world.run(&["plan", "--json"]).await.expect(5);
    assert_eq!(plan.json()["failed"][0]["sync"], "jobcenter", "{plan:?}");
    assert_eq!(plan.json()["writes"], 0, "{plan:?}");
}
