//! Exchange to Planner, with the program as its users run it.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_sandbox::exchange::FreeBusy;
use jiff::SignedDuration;
use support::{ANNA, BO, ROOM, World};

fn span(start: &str, end: &str) -> (String, String) {
    (format!("{start}:00"), format!("{end}:00"))
}

#[tokio::test(flavor = "multi_thread")]
async fn first_sync_then_change_cancel_move_and_nothing_left() {
    let world = World::new().await;
    let meeting = world.appointment(ANNA, "Meeting", "2026-11-24T09:00", "2026-11-24T10:00");
    let cancelled = world.appointment(ANNA, "Gone", "2026-11-25T09:00", "2026-11-25T10:00");
    world.appointment(BO, "Interview", "2026-12-01T12:30", "2026-12-01T13:15");
    world.appointment(ROOM, "Booked", "2026-12-02T08:00", "2026-12-02T16:00");
    let free = world.appointment(BO, "Lunch", "2026-12-01T11:00", "2026-12-01T11:30");
    world.exchange.show_as(free, FreeBusy::Free).unwrap();

    // A plan says what would be written and writes nothing.
    assert_eq!(world.planned().await, 4);
    assert!(world.planner.content().0.is_empty());

    let report = world.sync().await;
    assert_eq!(report["syncs"][0]["total"]["created"], 4, "{report}");
    assert_eq!(
        world.in_planner(ANNA),
        [
            span("2026-11-24T09:00", "2026-11-24T10:00"),
            span("2026-11-25T09:00", "2026-11-25T10:00")
        ]
    );
    assert_eq!(
        world.in_planner(BO),
        [span("2026-12-01T12:30", "2026-12-01T13:15")]
    );
    assert_eq!(
        world.in_planner(ROOM),
        [span("2026-12-02T08:00", "2026-12-02T16:00")]
    );

    // A second sync has nothing to do.
    assert_eq!(world.planned().await, 0);
    let report = world.sync().await;
    assert_eq!(report["syncs"][0]["total"]["calls"], 0, "{report}");

    world
        .exchange
        .move_in_time(meeting, SignedDuration::from_mins(90))
        .unwrap();
    world.exchange.cancel(cancelled).unwrap();
    world.exchange.show_as(free, FreeBusy::Busy).unwrap();
    let report = world.sync().await;
    let total = &report["syncs"][0]["total"];
    assert_eq!(
        (&total["created"], &total["updated"], &total["deleted"]),
        (&1.into(), &1.into(), &1.into()),
        "{report}"
    );
    assert_eq!(
        world.in_planner(ANNA),
        [span("2026-11-24T10:30", "2026-11-24T11:30")]
    );
    assert_eq!(
        world.in_planner(BO),
        [
            span("2026-12-01T11:00", "2026-12-01T11:30"),
            span("2026-12-01T12:30", "2026-12-01T13:15")
        ]
    );
    assert_eq!(world.planned().await, 0);

    // Comparing with all that Planner holds mends what was lost there.
    let lost = world.planner.events(ROOM)[0].id.clone();
    assert!(world.planner.remove_event(ROOM, &lost));
    // What was acknowledged at the very instant of the listing may be missing in it, so the clock goes on.
    let later = "2026-11-23T08:01:00Z";
    let report = world
        .run_at(later, &["sync", "--reconcile", "--json"], |_| {})
        .await
        .expect(0)
        .json();
    assert_eq!(report["syncs"][0]["total"]["created"], 1, "{report}");
    assert_eq!(world.in_planner(ROOM).len(), 1);

    // A full reading changes nothing.
    let report = world
        .run(&["sync", "--full", "--json"])
        .await
        .expect(0)
        .json();
    assert_eq!(report["syncs"][0]["total"]["calls"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_calendar_or_one_sync_can_be_chosen() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world.appointment(BO, "B", "2026-11-24T09:00", "2026-11-24T10:00");
    world
        .run(&["sync", "--calendar", "ANNA@kommune.example"])
        .await
        .expect(0);
    assert_eq!(
        (world.in_planner(ANNA).len(), world.in_planner(BO).len()),
        (1, 0)
    );
    world.run(&["sync", "--sync", "jobcenter"]).await.expect(0);
    assert_eq!(world.in_planner(BO).len(), 1);
    let wrong = world.run(&["sync", "--sync", "jobcentre"]).await.expect(2);
    assert!(
        wrong
            .stderr
            .contains("there is no sync `jobcentre`; configured: `jobcenter`"),
        "{wrong:?}"
    );
    let wrong = world.run(&["sync", "--calendar", "anna"]).await.expect(2);
    assert!(
        wrong.stderr.contains("`anna` is not an address"),
        "{wrong:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_data_where_none_belongs() {
    let world = World::new().await;
    let subject = "Canary-Subject-7731";
    let moved = world.appointment(ANNA, subject, "2026-11-24T09:00", "2026-11-24T10:00");
    world
        .planner
        .inject("CreateEvents#1=hang-after".parse().unwrap())
        .unwrap();
    world.configure(|text| {
        text.replace("timeout = \"20 s\"", "timeout = \"1 s\"")
            .replace("url = \"https", "max_events_per_call = 3\nurl = \"https")
    });
    let mut printed = String::new();
    for args in [
        &["sync", "--json"][..],
        &["sync"],
        &["sync", "--full", "--reconcile"],
        &["plan"],
        &["status", "--json"],
        &["explain", ANNA, "2026-11-24"],
        &["check", "--calendar", ANNA],
    ] {
        let done = world.run(args).await;
        assert!(!done.stdout.contains(subject), "{done:?}");
        printed.push_str(&done.stderr);
        world
            .exchange
            .move_in_time(moved, SignedDuration::from_mins(15))
            .unwrap();
    }
    assert!(
        printed.contains(" INFO "),
        "nothing was logged at info: {printed}"
    );
    for canary in [subject, "anna@", "Anna"] {
        assert!(!printed.contains(canary), "{canary} in {printed}");
    }
    assert!(!world.in_planner(ANNA).is_empty());
    assert!(world.state_holds(ANNA), "the search finds nothing at all");
    assert!(!world.state_holds(subject));
    let planner = serde_json::to_string(&world.planner.ledger().all()).unwrap();
    assert!(planner.contains(ANNA) && !planner.contains(subject));
    // Not even Exchange was asked for it.
    let asked = format!("{:?}", world.exchange.ledger().all());
    assert!(
        asked.contains("SyncFolderItems") && !asked.contains("item:Subject"),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_explain_and_backup_tell_what_is() {
    let world = World::new().await;
    let before = world.run(&["status"]).await.expect(3);
    assert!(
        before.stderr.contains("there is no state file"),
        "{before:?}"
    );
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    let free = world.appointment(ANNA, "B", "2026-11-26T09:00", "2026-11-26T10:00");
    world.exchange.show_as(free, FreeBusy::Free).unwrap();
    world.exchange.disable_mailbox(BO, true).unwrap();
    let report = world.run(&["sync"]).await.expect(5);
    assert!(report.stdout.contains(BO), "{report:?}");

    let status = world.run(&["status", "--json"]).await.expect(0).json();
    let calendars = status["syncs"][0]["calendars"].as_array().unwrap();
    assert_eq!(calendars.len(), 3, "{status}");
    assert_eq!(calendars[0]["address"], ANNA);
    assert_eq!(calendars[0]["counts"]["sink"], 1);
    assert!(calendars[1]["trouble"]["code"].is_string(), "{status}");
    let text = world.run(&["status"]).await.expect(0).stdout;
    assert!(
        text.contains("3 calendars taking part, 1 with trouble"),
        "{text}"
    );

    // Times are told by Danish clocks, wherever the program runs.
    let explained = world
        .run_with(&["explain", ANNA, "2026-11-24"], |command| {
            command.env("TZ", "America/New_York");
        })
        .await
        .expect(0)
        .stdout;
    assert!(explained.contains("2026-11-24 09:00-10:00"), "{explained}");
    assert!(
        explained.contains("The other side holds it under the id"),
        "{explained}"
    );
    assert!(
        explained.contains("both sides are as agreed"),
        "{explained}"
    );
    assert!(
        explained.contains("the roster of `planner` names it now"),
        "{explained}"
    );
    let far = world
        .run(&["explain", ANNA, "2027-06-01"])
        .await
        .expect(0)
        .stdout;
    assert!(
        far.contains("outside of what is kept in step, 2026-11-23 to 2027-02-22"),
        "{far}"
    );
    let explained = world
        .run(&["explain", ANNA, "2026-11-26"])
        .await
        .expect(0)
        .stdout;
    assert!(explained.contains("it shows as free"), "{explained}");
    let explained = world
        .run(&["explain", ANNA, "no-such-uid"])
        .await
        .expect(0)
        .stdout;
    assert!(
        explained.contains("calbridge knows no such appointment"),
        "{explained}"
    );
    let explained = world.run(&["explain", BO]).await.expect(0).stdout;
    assert!(
        explained.contains("! it has had trouble since 2026-11-23 09:00:00 CET: "),
        "{explained}"
    );
    let explained = world
        .run(&["explain", "cleo@kommune.example"])
        .await
        .expect(2)
        .stdout;
    assert!(
        explained.contains("the roster has never named this address"),
        "{explained}"
    );
    assert!(
        explained.contains("`planner` does not name it now"),
        "{explained}"
    );

    let copy = world.dir.path().join("copy.db");
    world
        .run(&["backup", copy.to_str().unwrap()])
        .await
        .expect(0);
    let again = world
        .run(&["backup", copy.to_str().unwrap()])
        .await
        .expect(3);
    assert!(
        again.stderr.contains("there is a file already"),
        "{again:?}"
    );
    // The copy is a state file: with it nothing is written twice.
    world.configure(|text| text.replace("state.db", "copy.db"));
    let report = world
        .run(&["sync", "--json", "--calendar", ANNA])
        .await
        .expect(0)
        .json();
    assert_eq!(report["syncs"][0]["total"]["created"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_where_it_is_asked_for() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    for operation in ["FindItem", "GetItem"] {
        let fault = format!("{operation}@{ANNA}*all=missing:Start");
        world.exchange.inject_spec(&fault).unwrap();
    }
    world.run(&["sync"]).await.expect(5);
    let explained = world.run(&["explain", ANNA, "2026-11-24"]).await.expect(0);
    assert!(
        explained
            .stdout
            .contains("not every appointment of this calendar could be read"),
        "{explained:?}"
    );
    let good = world.run(&["explain", BO, "2026-11-24"]).await.expect(0);
    assert!(!good.stdout.contains("not every"), "{good:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_choose_who_takes_part() {
    let world = World::new().await;
    for address in [ANNA, BO, ROOM] {
        world.appointment(address, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    }
    world.configure(|text| {
        format!(
            "{text}roster = {{ allow = [\"{ANNA}\", \"{BO}\"], deny = [\"{}\"] }}\n",
            BO.to_uppercase()
        )
    });
    world.sync().await;
    assert_eq!(
        [ANNA, BO, ROOM].map(|address| world.in_planner(address).len()),
        [1, 0, 0]
    );
    let explained = world.run(&["explain", BO]).await.expect(0).stdout;
    assert!(explained.contains("the deny list"), "{explained}");
    let explained = world.run(&["explain", ROOM]).await.expect(0).stdout;
    assert!(explained.contains("an allow list"), "{explained}");
}

/// One JSON object per line; a calendar by its handle, its sync and connection beside it.
#[tokio::test(flavor = "multi_thread")]
async fn log_lines_for_machines() {
    let world = World::new().await;
    world.appointment(ANNA, "A", "2026-11-24T09:00", "2026-11-24T10:00");
    world.configure(|text| format!("[log]\nformat = \"json\"\n{text}"));
    let done = world.run(&["sync"]).await.expect(0);
    let lines: Vec<serde_json::Value> = done
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let handle = calbridge_core::model::CalendarRef::primary(ANNA)
        .unwrap()
        .handle();
    let line = lines
        .iter()
        .find(|line| line["calendar"] == handle.as_str())
        .unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(line["sync"], "jobcenter", "{line}");
    assert_eq!(line["level"], "INFO", "{line}");
}

/// The smallest sync, as the example has it, in a folder of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_example_works() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    std::fs::create_dir(place.join("in")).unwrap();
    std::fs::create_dir(place.join("out")).unwrap();
    let event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:20261124T090000Z\r\nDTEND:20261124T100000Z\r\nSUMMARY:Meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    std::fs::write(place.join("in/anna@kommune.example.ics"), event).unwrap();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/ics-folder-to-ics-folder.toml"
    );
    let run = |args: &[&str]| -> support::Done {
        std::process::Command::new(env!("CARGO_BIN_EXE_calbridge"))
            .args(["--config", example, "--now", support::NOW])
            .args(args)
            .current_dir(place)
            .output()
            .unwrap()
            .into()
    };
    run(&["check"]).expect(0);
    let plan = run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["writes"], 1, "{plan}");
    run(&["sync"]).expect(0);
    let written = std::fs::read_to_string(place.join("out/anna@kommune.example.ics")).unwrap();
    assert!(written.contains("SUMMARY:Meeting"), "{written}");
    let plan = run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["writes"], 0, "{plan}");
}

/// The sandbox's servers as an integrator runs them, each a process of its own.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_commands_play_both_sides() {
    use std::io::BufRead as _;
    use std::process::{Child, Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    std::fs::create_dir_all(place.join("seed/rooms")).unwrap();
    let event = |uid: &str, day: u32| {
        format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:202611{day}T090000Z\r\nDTEND:202611{day}T100000Z\r\nSUMMARY:Meeting\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    };
    std::fs::write(place.join(format!("seed/{ANNA}.ics")), event("one", 24)).unwrap();
    std::fs::write(
        place.join(format!("seed/rooms/{ROOM}.ics")),
        event("two", 25),
    )
    .unwrap();
    let start = |args: &[&str]| -> (Child, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_calbridge"))
            .args(args)
            .args(["--seed", "seed"])
            .current_dir(place)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("with 2 calendars"), "{line}");
        let url = line.split_whitespace().nth(2).unwrap().to_owned();
        (child, url)
    };
    let (mut exchange, exchange_url) = start(&["sandbox", "exchange"]);
    let (mut planner, planner_url) = start(&[
        "sandbox",
        "planner",
        "--pki",
        "pki",
        "--fault",
        "CreateEvents#1=hang-after",
    ]);
    let config = format!(
        r#"
[state]
path = "state.db"
[connections.exchange]
connector = "exchange-ews"
url = "{exchange_url}"
auth = {{ kind = "basic", user = "svc-calbridge", password = "env:EXCHANGE_PASSWORD" }}
[connections.planner]
connector = "planner-dfdg"
url = "{planner_url}"
jobcenter = "10100"
request_user = "{}"
certificate = {{ pkcs12 = "pki/client.p12", password = "env:P12_PASSWORD" }}
http = {{ extra_ca = ["pki/ca.pem"], proxy = "none", timeout = "2 s" }}
[[sync]]
name = "main"
source = "exchange"
sink = "planner"
"#,
        support::HOLDER
    );
    std::fs::write(place.join("calbridge.toml"), config).unwrap();
    let run = |args: &[&str]| -> support::Done {
        Command::new(env!("CARGO_BIN_EXE_calbridge"))
            .args(["--config", "calbridge.toml"])
            .args(args)
            .env("EXCHANGE_PASSWORD", "sandbox")
            .env("P12_PASSWORD", "sandbox")
            .current_dir(place)
            .output()
            .unwrap()
            .into()
    };
    // The clock must run here, so that a write that met the fault is due again.
    let now = "2026-11-23T08:00:00Z";
    let first = run(&["sync", "--now", now]);
    assert!(matches!(first.code, Some(0 | 5)), "{first:?}");
    let later = "2026-11-23T09:00:00Z";
    run(&["sync", "--now", later]).expect(0);
    let plan = run(&["plan", "--reconcile", "--json", "--now", later])
        .expect(0)
        .json();
    assert_eq!(plan["writes"], 0, "{plan}");
    let status = run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["syncs"][0]["total"]["sink"], 2, "{status}");
    for child in [&mut exchange, &mut planner] {
        let id = child.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

type Strike = fn(&World);

/// What befalls Exchange, what a run ends with meanwhile, and what ends it.
const STRIKES: [(&str, &[i32], Strike, Strike); 8] = [
    (
        "the server's clock is ten minutes ahead",
        &[0],
        |world| world.exchange.set_date_skew(SignedDuration::from_mins(10)),
        |world| world.exchange.set_date_skew(SignedDuration::ZERO),
    ),
    (
        "the server's clock is ten minutes behind",
        &[0],
        |world| world.exchange.set_date_skew(SignedDuration::from_mins(-10)),
        |world| world.exchange.set_date_skew(SignedDuration::ZERO),
    ),
    (
        "sync states are no longer good",
        &[0],
        |world| {
            for address in [ANNA, BO, ROOM] {
                world.exchange.invalidate_sync_states(address).unwrap();
            }
        },
        |_| {},
    ),
    (
        "a web page with status 500",
        &[5],
        |world| {
            let raw = r"raw:HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>";
            world
                .exchange
                .inject_spec(&format!("SyncFolderItems*2={raw}"))
                .unwrap();
            world
                .exchange
                .inject_spec(&format!("FindItem#2={raw}"))
                .unwrap();
        },
        |world| world.exchange.clear_faults(),
    ),
    (
        "answers come twice",
        // It is noticed, or it does no harm.
        &[0, 5],
        |world| world.exchange.inject_spec("**6=twice").unwrap(),
        |world| world.exchange.clear_faults(),
    ),
    (
        "a mailbox is disabled",
        &[5],
        |world| world.exchange.disable_mailbox(BO, true).unwrap(),
        |world| world.exchange.disable_mailbox(BO, false).unwrap(),
    ),
    (
        "a mailbox is moved",
        &[0],
        |world| world.exchange.move_to_server(BO, 2).unwrap(),
        |world| world.exchange.move_to_server(BO, 1).unwrap(),
    ),
    (
        "a mailbox is renamed, and Planner does not know yet",
        &[5],
        |world| {
            world
                .exchange
                .rename_mailbox(BO, "bo.ny@kommune.example")
                .unwrap();
        },
        |world| {
            world
                .exchange
                .rename_mailbox("bo.ny@kommune.example", BO)
                .unwrap();
        },
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_exchange_planner_holds_each_appointment_once() {
    let world = World::new().await;
    let truth = |address| world.truth(address, "2026-11-22T23:00:00Z", "2027-02-22T23:00:00Z");
    let mut now: jiff::Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
    let mut items = Vec::new();
    for day in 1..=5 {
        let (start, end) = (
            format!("2027-01-0{day}T09:00"),
            format!("2027-01-0{day}T10:00"),
        );
        items.extend([ANNA, BO, ROOM].map(|address| world.appointment(address, "A", &start, &end)));
    }
    world.sync().await;
    for (number, (name, codes, strike, lift)) in STRIKES.into_iter().enumerate() {
        let before = [ANNA, BO, ROOM].map(truth);
        // While the calendars change: each has one more, one that is moved and one less.
        let day = 10 + number;
        let new = [ANNA, BO, ROOM].map(|address| {
            let (start, end) = (
                format!("2027-01-{day}T12:00"),
                format!("2027-01-{day}T13:00"),
            );
            world.appointment(address, "A", &start, &end)
        });
        for item in items.drain(..3).collect::<Vec<_>>() {
            world.exchange.delete(item).unwrap();
        }
        for item in &items[..3] {
            world
                .exchange
                .move_in_time(*item, SignedDuration::from_mins(30))
                .unwrap();
        }
        items.extend(new);
        strike(&world);
        for last in [false, true] {
            if last {
                lift(&world);
            }
            // The guard looks at a day's deletes together.
            now += SignedDuration::from_hours(13);
            world.exchange.set_clock(Some(now));
            world.planner.set_clock(Some(now));
            let done = world.run_at(&now.to_string(), &["sync"], |_| {}).await;
            let codes = if last { &[0] } else { codes };
            let code = done.code.unwrap_or(-1);
            assert!(codes.contains(&code), "{name}: {done:?}");
            for (address, before) in [ANNA, BO, ROOM].into_iter().zip(&before) {
                let (holds, truth) = (world.in_planner(address), truth(address));
                if last {
                    assert_eq!(holds, truth, "{name}: {address}");
                }
                let mut once = holds.clone();
                once.dedup();
                assert_eq!(once, holds, "{name}: {address}");
                let known = |one| before.contains(one) || truth.contains(one);
                assert!(holds.iter().all(known), "{name}: {address} {holds:?}");
                let kept = |one: &_| holds.contains(one) || !truth.contains(one);
                assert!(before.iter().all(kept), "{name}: {address} {holds:?}");
            }
        }
    }
}
