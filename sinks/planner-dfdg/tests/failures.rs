//! Calls that fail as a whole (cases K073 to K076, K104, K153), batches and pace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use calbridge_core::connector::{ErrorKind, Outcome, Scope};
use calbridge_sandbox::planner::{Limits, Operation, RateAnswer};
use serde_json::json;
use support::*;

#[tokio::test]
async fn k073_a_fault_without_details_leaves_it_open_and_stops_the_calendar() {
    let setup = setup().await;
    setup.fault("CreateEvents*all=fault");
    let report = apply(&setup.open(), &creates(1)).await;
    assert_eq!(outcome(&report, 1), &Outcome::Unknown);
    let trouble = report.trouble.unwrap();
    assert_eq!(
        (trouble.kind, trouble.code.as_str()),
        (ErrorKind::Transient, "6902")
    );
    assert_eq!(report.receipts[0].error.as_ref().unwrap().code, "6902");
}

#[tokio::test]
async fn k074_a_fault_with_details_leaves_a_lone_event_open_whatever_its_code() {
    for fault in [
        "fault-details",
        "fault-details:4711",
        "fault-details:15",
        "fault-details:5",
        "fault-details:7",
    ] {
        let setup = setup().await;
        setup.fault(&format!("CreateEvents={fault}"));
        let connection = setup.open();
        let report = apply(&connection, &creates(1)).await;
        assert_eq!(
            outcome(&report, 1),
            &Outcome::Unknown,
            "{fault}: {report:?}"
        );
        assert_eq!(report.trouble.unwrap().code, "6903");
        let report = apply(&connection, &creates(1)).await;
        assert!(is_done(outcome(&report, 1)));
    }
}

#[tokio::test]
async fn k074_an_outage_with_the_code_of_a_refusal_buries_no_event() {
    let setup = setup().await;
    let connection = setup.open();
    setup.fault("CreateEvents*all=fault-details:5");
    for _ in 0..5 {
        let report = apply(&connection, &creates(60)).await;
        for answered in &report.outcomes {
            assert!(
                answered.outcome == Outcome::Unknown || is_later(&answered.outcome),
                "{report:?}"
            );
        }
        assert_eq!(report.trouble.unwrap().code, "6903");
    }
    // The same where the outage begins after a good call.
    setup.planner.clear_faults();
    setup.fault("DeleteEvents*all=fault-details:5");
    let mut writes = creates(1);
    writes.extend((2..=9).map(|number| delete(number, &format!("old-{number}"))));
    let report = apply(&connection, &writes).await;
    assert!(is_done(outcome(&report, 1)));
    for number in 2..=9 {
        assert!(
            !matches!(outcome(&report, number), Outcome::Rejected { .. }),
            "{report:?}"
        );
    }
    assert!(report.trouble.is_some());
}

#[tokio::test]
async fn what_planner_did_before_it_failed_is_never_called_not_done() {
    for fault in [
        "status-after:500",
        "status-after:502",
        "status-after:503",
        "status-after:504",
        "fault-after",
        "fault-details-after",
        "fault-details-after:4711",
        "fault-details-after:7",
    ] {
        let setup = setup().await;
        setup.fault(&format!("CreateEvents={fault}"));
        let report = apply(&setup.open(), &creates(1)).await;
        assert_eq!(setup.planner.content().0.len(), 1);
        assert_eq!(
            outcome(&report, 1),
            &Outcome::Unknown,
            "{fault}: {report:?}"
        );
    }
}

#[tokio::test]
async fn k103_faults_with_nil_members_and_nil_details_are_read() {
    let setup = setup().await;
    setup.fault("CreateEvents=fault-nil");
    let report = apply(&setup.open(), &creates(1)).await;
    assert_eq!(outcome(&report, 1), &Outcome::Unknown);
    assert_eq!(report.trouble.unwrap().code, "6902");
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_service_is_halved_until_it_fits() {
    let setup = setup_with(|options| options.limits.max_events_per_call = Some(3)).await;
    let report = apply(&setup.open(), &creates(15)).await;
    assert!(
        report
            .outcomes
            .iter()
            .all(|outcome| is_done(&outcome.outcome)),
        "{report:?}"
    );
    assert_eq!(report.trouble, None);
    assert_eq!(setup.planner.content().0.len(), 15);
    let sizes = call_sizes(&setup);
    assert_eq!(&sizes[..3], [15, 7, 3], "{sizes:?}");
}

#[tokio::test]
async fn one_event_that_makes_calls_fail_is_found_and_the_others_arrive() {
    let setup = setup().await;
    // The service chokes on every call that carries the sixth event: 1 to 15, 1 to 7, 4 to 6, and 6 alone.
    for call in [1, 2, 4, 7] {
        setup.fault(&format!("CreateEvents#{call}=fault-details:7"));
    }
    let report = apply(&setup.open(), &creates(15)).await;
    for number in 1..=15 {
        let refused =
            matches!(outcome(&report, number), Outcome::Rejected { code, .. } if code == "6903");
        assert_eq!(refused, number == 6, "{number}: {report:?}");
        assert_eq!(is_done(outcome(&report, number)), number != 6, "{number}");
    }
    assert_eq!(report.trouble, None);
    assert_eq!(setup.planner.content().0.len(), 14);
    assert_eq!(call_sizes(&setup)[..8], [15, 7, 3, 3, 1, 1, 1, 1]);
}

#[tokio::test]
async fn one_event_that_never_gets_an_answer_does_not_hold_up_the_others() {
    let mut setup = setup().await;
    setup.settings["http"]["timeout"] = "2 s".into();
    setup.settings["max_events_per_call"] = 1.into();
    let connection = setup.open();
    setup.fault("CreateEvents#2=hang-before");
    let report = apply(
        &connection,
        &[
            create(1, "uid-1"),
            create(2, "uid-2"),
            create(3, "uid-3"),
            delete(4, "uid-1"),
        ],
    )
    .await;
    assert_eq!(outcome(&report, 2), &Outcome::Unknown);
    for number in [1, 3, 4] {
        assert!(is_done(outcome(&report, number)), "{report:?}");
    }
    assert_eq!(report.trouble, None);
}

#[tokio::test]
async fn bad_answers_are_the_calendars_trouble_until_there_are_three_in_a_row() {
    let setup = setup().await;
    let connection = setup.open();
    let scope = async |address: &str| {
        let report = apply_to(&connection, address, &creates(1)).await;
        report.trouble.map(|trouble| trouble.scope)
    };
    setup.fault("CreateEvents#1*2=half");
    setup.fault("CreateEvents#4*3=half");
    assert_eq!(scope(ANNA).await, Some(Scope::Calendar));
    assert_eq!(scope(BO).await, Some(Scope::Calendar));
    assert_eq!(scope(ROOM).await, None);
    assert_eq!(scope(ANNA).await, Some(Scope::Calendar));
    assert_eq!(scope(BO).await, Some(Scope::Calendar));
    assert_eq!(scope(ROOM).await, Some(Scope::Connection));
}

#[tokio::test]
async fn a_service_that_always_fails_is_not_asked_event_by_event() {
    let setup = setup().await;
    setup.fault("CreateEvents*all=fault-details:4711");
    let report = apply(&setup.open(), &creates(60)).await;
    assert!(
        report
            .outcomes
            .iter()
            .all(|outcome| outcome.outcome == Outcome::Unknown || is_later(&outcome.outcome)),
        "{report:?}"
    );
    assert_eq!(report.trouble.unwrap().code, "6903");
    assert!(call_sizes(&setup).len() <= 8, "{:?}", call_sizes(&setup));
    assert!(setup.planner.content().0.is_empty());
}

#[tokio::test]
async fn k075_no_answer_in_time_leaves_it_open_and_batches_halve_and_grow_again() {
    let mut setup = setup().await;
    setup.settings["http"]["timeout"] = "2 s".into();
    let connection = setup.open();
    setup.fault("CreateEvents=hang-after");
    let report = apply(&connection, &creates(20)).await;
    for number in 1..=15 {
        assert_eq!(outcome(&report, number), &Outcome::Unknown);
    }
    for number in 16..=20 {
        assert!(is_later(outcome(&report, number)), "was never sent");
    }
    let trouble = report.trouble.unwrap();
    assert_eq!(
        (trouble.kind, trouble.code.as_str()),
        (ErrorKind::Transient, "6904")
    );
    assert_eq!(report.receipts[0].error.as_ref().unwrap().code, "6904");

    // Planner had taken them; repeated creates make nothing twice.
    let report = apply(&connection, &creates(60)).await;
    assert_eq!(report.trouble, None);
    for number in 1..=60 {
        let expected_conflict = number <= 15;
        let conflict = matches!(outcome(&report, number), Outcome::Conflict { .. });
        assert_eq!(conflict, expected_conflict, "{number}");
    }
    assert_eq!(setup.planner.content().0.len(), 60);
    let sizes = call_sizes(&setup);
    assert_eq!(sizes, [15, 7, 7, 7, 14, 14, 11], "{sizes:?}");

    // Another calendar never had smaller calls.
    apply_to(&connection, BO, &creates(15)).await;
    assert_eq!(call_sizes(&setup).last(), Some(&15));
}

#[tokio::test]
async fn k076_while_planner_is_away_everything_waits_and_nothing_is_lost() {
    let setup = setup().await;
    let connection = setup.open();
    setup.planner.stop().await;
    let report = apply(&connection, &creates(20)).await;
    assert!(
        report
            .outcomes
            .iter()
            .all(|outcome| is_later(&outcome.outcome))
    );
    assert_eq!(report.receipts.len(), 1, "one call, one alert");
    let trouble = report.trouble.unwrap();
    assert_eq!(
        (trouble.kind, trouble.scope, trouble.code.as_str()),
        (ErrorKind::Transient, Scope::Connection, "6901")
    );
    assert!(trouble.message.contains("127.0.0.1"), "{trouble}");
    setup.planner.resume().await.unwrap();
    let report = apply(&connection, &creates(20)).await;
    assert!(
        report
            .outcomes
            .iter()
            .all(|outcome| is_done(&outcome.outcome)),
        "{report:?}"
    );
}

#[tokio::test]
async fn k076_an_unknown_host_is_told_as_such() {
    let mut setup = setup().await;
    setup.settings["url"] = "https://planner.invalid/p.svc".into();
    let report = apply(&setup.open(), &creates(1)).await;
    assert!(is_later(outcome(&report, 1)));
    let trouble = report.trouble.unwrap();
    assert_eq!(trouble.code, "6901");
    assert!(trouble.message.contains("cannot be resolved"), "{trouble}");
}

#[tokio::test]
async fn k076_http_statuses_by_what_they_mean() {
    for (fault, kind, code, open) in [
        ("status:403", ErrorKind::Permission, "6901", false),
        ("status:404", ErrorKind::Config, "6901", false),
        ("status:301", ErrorKind::Config, "6901", false),
        ("status:429", ErrorKind::Throttled, "6905", false),
        ("status:502", ErrorKind::Transient, "6905", true),
        ("status:503", ErrorKind::Transient, "6905", true),
        ("status-after:500", ErrorKind::Transient, "6905", true),
        ("status-after:504", ErrorKind::Transient, "6904", true),
    ] {
        let setup = setup().await;
        let connection = setup.open();
        setup.fault(&format!("CreateEvents={fault}"));
        let report = apply(&connection, &creates(1)).await;
        let trouble = report.trouble.as_ref().unwrap();
        assert_eq!(
            (trouble.kind, trouble.code.as_str()),
            (kind, code),
            "{fault}"
        );
        assert_eq!(
            outcome(&report, 1) == &Outcome::Unknown,
            open,
            "{fault}: {report:?}"
        );
        assert_eq!(is_later(outcome(&report, 1)), !open, "{fault}");
        let again = apply(&connection, &creates(1)).await;
        assert!(
            matches!(
                outcome(&again, 1),
                Outcome::Done { .. } | Outcome::Conflict { .. }
            ),
            "{fault}: {again:?}"
        );
        assert_eq!(setup.planner.content().0.len(), 1, "{fault}");
    }
}

#[tokio::test]
async fn a_busy_service_says_how_long_to_wait() {
    let setup = setup_with(|options| {
        options.clock = None;
        options.limits = Limits {
            calls_per_minute: Some(1),
            rate_answer: RateAnswer::Status,
            ..Limits::default()
        };
    })
    .await;
    let connection = setup.open();
    apply(&connection, &[create(1, "uid-1")]).await;
    let report = apply(&connection, &[create(2, "uid-2")]).await;
    assert_eq!(
        outcome(&report, 2),
        &Outcome::Unknown,
        "a front door may say 503 after the fact"
    );
    let trouble = report.trouble.unwrap();
    assert_eq!(trouble.code, "6905");
    let wait = trouble.wait().unwrap();
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(60),
        "{wait:?}"
    );
}

#[tokio::test]
async fn our_own_pace_is_kept_and_longer_waits_are_given_back() {
    let mut setup = setup().await;
    // Two a minute: no burst beyond the first, the second would wait for 20 s.
    setup.settings["calls_per_minute"] = 2.into();
    let connection = setup.open();
    let started = Instant::now();
    apply(&connection, &[create(1, "uid-1")]).await;
    let error = connection
        .sink()
        .unwrap()
        .apply(&calendar(ANNA), &[create(2, "uid-2")])
        .await
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Paced, "planner.pace")
    );
    assert!(error.wait().unwrap() > Duration::from_secs(5));
    assert_eq!(setup.planner.calls(Operation::CreateEvents).len(), 1);
}

#[tokio::test]
async fn k153_no_more_calls_at_once_than_allowed() {
    let mut setup = setup().await;
    setup.settings["parallel_calls"] = 25.into();
    let (logs, guard) = logs();
    let connection = setup.open();
    assert!(logs.text().contains("limited"), "{}", logs.text());
    assert!(logs.text().contains("INFO"), "{}", logs.text());
    drop(guard);
    setup.fault("CreateEvents*all=delay:150");
    let calls = (0..30).map(|number| {
        let connection = connection.clone();
        tokio::spawn(async move {
            let address = format!("person{number}@kommune.example");
            apply_to(&connection, &address, &[create(1, "uid-1")]).await
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(setup.planner.most_in_flight(), 10);
}

#[tokio::test]
async fn stopping_gives_up_at_once_and_leaves_open_what_was_sent() {
    let setup = setup().await;
    let connection = setup.open();
    apply(&connection, &[create(1, "uid-0")]).await;
    setup.fault("CreateEvents=hang-before");
    let shutdown = setup.shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        shutdown.cancel();
    });
    let started = Instant::now();
    let report = apply(&connection, &creates(16)).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(outcome(&report, 1), &Outcome::Unknown);
    assert!(is_later(outcome(&report, 16)));
    assert_eq!(report.trouble.unwrap().kind, ErrorKind::Cancelled);
}

#[tokio::test]
async fn hostile_and_broken_answers_are_errors_and_what_was_sent_stays_open() {
    for fault in [
        "malformed",
        "half",
        "dtd",
        "entities",
        "external",
        "deep:5000",
        "bad-utf8",
        "empty",
        "html",
        "wrong-namespace",
        "truncate:300",
        "raw:garbage\\r\\n\\r\\n",
    ] {
        let setup = setup().await;
        let connection = setup.open();
        setup.fault(&format!("CreateEvents={fault}"));
        let report = apply(&connection, &creates(2)).await;
        for number in [1, 2] {
            assert_eq!(
                outcome(&report, number),
                &Outcome::Unknown,
                "{fault}: {report:?}"
            );
        }
        let trouble = report.trouble.unwrap();
        assert_eq!(trouble.code, "6905", "{fault}: {trouble}");
        assert!(
            matches!(trouble.kind, ErrorKind::Protocol | ErrorKind::Transient),
            "{fault}: {trouble}"
        );
        assert!(!trouble.message.contains("root:"), "{trouble}");
        // The connection is as good as before.
        let report = apply(&connection, &[update(1, "event-1", morning())]).await;
        assert!(is_done(outcome(&report, 1)), "{fault}: {report:?}");
    }
}

#[tokio::test]
async fn answers_with_strange_details_are_taken_as_far_as_they_go() {
    for (fault, done) in [
        ("bad-time", true),
        ("bad-reference", true),
        ("missing-reference", true),
        ("bad-code", false),
    ] {
        let setup = setup().await;
        setup.fault(&format!("CreateEvents={fault}"));
        let report = apply(&setup.open(), &creates(1)).await;
        assert_eq!(is_done(outcome(&report, 1)), done, "{fault}: {report:?}");
        assert!(done || outcome(&report, 1) == &Outcome::Unknown, "{fault}");
        assert_eq!(
            report.receipts[0].reference.is_none(),
            fault.ends_with("reference"),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn k104_answers_above_the_limit_are_errors_and_the_next_calls_are_smaller() {
    let mut setup = setup().await;
    setup.settings["http"]["max_response"] = json!(100_000);
    let connection = setup.open();
    setup.fault("CreateEvents=padding:200000");
    let report = apply(&connection, &creates(10)).await;
    assert_eq!(outcome(&report, 1), &Outcome::Unknown);
    let trouble = report.trouble.unwrap();
    assert!(trouble.message.contains("max_response"), "{trouble}");
    apply(&connection, &creates(10)).await;
    assert_eq!(call_sizes(&setup)[..2], [10, 5]);
}

#[tokio::test]
async fn nothing_personal_is_logged() {
    let setup = setup().await;
    let connection = setup.open();
    let (logs, _guard) = logs();
    setup.planner.script_code("canary-uid-4711", 7, None);
    for fault in [
        "",
        "fault-details:4711",
        "half",
        "receipts-missing:1",
        "reset-after",
    ] {
        if !fault.is_empty() {
            setup.fault(&format!("CreateEvents={fault}"));
        }
        apply(&connection, &[create(1, "canary-uid-4711")]).await;
    }
    connection.roster().await.unwrap();
    let text = logs.text();
    assert!(text.contains("6104") && text.contains("6903"), "{text}");
    assert!(text.contains("reference="), "{text}");
    for secret in ["canary", "anna@", "Anna", "4711-", "1234567890123"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn calls_that_the_server_finds_too_large_get_smaller() {
    let setup = setup_with(|options| options.body_limit = 4000).await;
    let connection = setup.open();
    let mut done = 0;
    for _ in 0..6 {
        let report = apply(&connection, &creates(15)).await;
        done = setup.planner.content().0.len();
        if let Some(trouble) = report.trouble {
            assert_eq!(trouble.code, "6901", "{trouble}");
            assert!(trouble.message.contains("too large"), "{trouble}");
        }
    }
    assert_eq!(done, 15);
}

#[tokio::test]
async fn planners_own_texts_are_never_repeated() {
    const GUID: &str = "b6a7a5a2-54a2-4f0e-8a9d-6f2f8f1f7c10";
    let names = "Certifikatet for Jens Hansen, 010190-1234 er ikke oprettet";
    let good = |reference| receipts(reference, &[("event-1", 0, "")]);
    for (status, body) in [
        ("200 OK", receipts(GUID, &[("event-1", 7, names)])),
        (
            "200 OK",
            receipts(GUID, &[("event-1", 7, "Borger 0101901234 er optaget")]),
        ),
        ("200 OK", good("ref for jens.hansen@kommune.example")),
        ("500 Internal Server Error", soap_fault("x", Some(names))),
        ("500 Internal Server Error", soap_fault(names, None)),
        (
            "500 Internal Server Error",
            soap_fault("Hansen 0101901234", Some("Hansen 0101901234")),
        ),
    ] {
        let mut setup = setup().await;
        let (url, _) = canned(http(status, &body));
        setup.settings["url"] = url.into();
        let connection = setup.open();
        let (logs, _guard) = logs();
        let report = apply(&connection, &creates(1)).await;
        let check = connection
            .check(calbridge_core::connector::CheckScope {
                now: at(NOW),
                calendars: Vec::new(),
            })
            .await
            .unwrap();
        let told = format!("{report:?} {check:?} {}", logs.text());
        assert!(told.contains("Planner"), "{told}");
        for secret in ["Hansen", "hansen", "010190", "0101901234"] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
}

#[tokio::test]
async fn a_fault_that_speaks_of_access_is_known_without_details_and_in_danish() {
    for body in [
        soap_fault("The certificate may not act for the organisation.", None),
        soap_fault("x", Some("Brugeren er ikke autoriseret til organisationen")),
        soap_fault("Ikke autoriseret", None),
    ] {
        let mut setup = setup().await;
        let (url, asked) = canned(http("500 Internal Server Error", &body));
        setup.settings["url"] = url.into();
        let report = apply(&setup.open(), &creates(4)).await;
        let trouble = report.trouble.unwrap();
        assert_eq!(trouble.kind, ErrorKind::Permission, "{trouble}");
        assert!(trouble.message.contains("jobcenter"), "{trouble}");
        assert_eq!(asked.lock().unwrap().len(), 1, "no batch is cut for that");
    }
}

#[tokio::test]
async fn one_calendar_that_always_fails_is_not_the_connections_trouble() {
    let setup = setup().await;
    setup.fault("CreateEvents*all=fault-details:4711");
    let connection = setup.open();
    for _ in 0..4 {
        let report = apply(&connection, &creates(1)).await;
        assert_eq!(report.trouble.unwrap().scope, Scope::Calendar);
    }
}

fn is_counted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { code: Some(code), .. } if code == "6903")
}

#[tokio::test]
async fn k084_an_event_that_fails_alone_while_others_arrive_is_tried_again_and_counted() {
    let setup = setup().await;
    // Event 6 makes every call fail that carries it, with a code that is no refusal.
    for call in [1, 2, 4, 7] {
        setup.fault(&format!("CreateEvents#{call}=fault-details:4711"));
    }
    let connection = setup.open();
    let report = apply(&connection, &creates(15)).await;
    for number in 1..=15 {
        assert_eq!(
            is_counted(outcome(&report, number)),
            number == 6,
            "{report:?}"
        );
        assert_eq!(is_done(outcome(&report, number)), number != 6, "{report:?}");
    }
    assert_eq!(report.trouble, None, "it is nobody else's trouble");

    // In the next rounds it is all that is left.
    setup.fault("CreateEvents*all=fault-details:4711");
    for _ in 0..3 {
        let report = apply(&connection, &[create(6, "event-6")]).await;
        assert!(is_counted(outcome(&report, 6)), "{report:?}");
        assert_eq!(report.trouble, None);
    }

    // An outage is not counted, though the event is known.
    setup.fault("GetEvents*all=fault");
    let report = apply(&connection, &[create(6, "event-6")]).await;
    assert_eq!(outcome(&report, 6), &Outcome::Unknown);
    assert_eq!(report.trouble.unwrap().code, "6903");

    setup.planner.clear_faults();
    let report = apply(&connection, &[create(6, "event-6")]).await;
    assert!(is_done(outcome(&report, 6)), "{report:?}");
    // From then on it is an event like any other.
    setup.fault("CreateEvents*all=fault-details:4711");
    let report = apply(&connection, &[create(6, "event-6")]).await;
    assert_eq!(outcome(&report, 6), &Outcome::Unknown);
    assert!(report.trouble.is_some());
}

#[tokio::test]
async fn k084_an_event_that_was_always_alone_is_known_once_other_calendars_writes_arrive() {
    let setup = setup().await;
    setup.fault(&format!("CreateEvents@{BO}*all=fault"));
    let connection = setup.open();
    for _ in 0..2 {
        let report = apply_to(&connection, BO, &creates(1)).await;
        assert_eq!(outcome(&report, 1), &Outcome::Unknown);
        assert_eq!(report.trouble.unwrap().code, "6902");
    }
    apply(&connection, &creates(1)).await;
    let report = apply_to(&connection, BO, &creates(1)).await;
    assert!(
        matches!(outcome(&report, 1), Outcome::Retry { code: Some(code), .. } if code == "6902"),
        "{report:?}"
    );
    assert_eq!(report.trouble, None);
}

#[tokio::test]
async fn k084_what_planner_did_before_it_failed_is_found_in_its_list() {
    let setup = setup().await;
    let connection = setup.open();
    // All three fail together, then one by one: the first again, the second after it was stored.
    for call in [1, 2] {
        setup.fault(&format!("CreateEvents#{call}=fault-details:4711"));
    }
    setup.fault("CreateEvents#3=fault-details-after:4711");
    let report = apply(&connection, &creates(3)).await;
    assert_eq!(setup.planner.content().0.len(), 2);
    assert!(is_counted(outcome(&report, 1)), "{report:?}");
    let Outcome::Done { remote, stored } = outcome(&report, 2) else {
        panic!("{report:?}")
    };
    let held = setup.planner.event(ANNA, "event-2").unwrap();
    assert_eq!(
        remote.as_ref().unwrap().assigned,
        Some(held.event.to_string())
    );
    assert_eq!(stored.as_ref(), Some(&morning()));
    assert!(is_done(outcome(&report, 3)), "{report:?}");
    assert_eq!(report.trouble, None);
}

#[tokio::test]
async fn an_event_whose_call_breaks_the_connection_does_not_hold_up_the_others() {
    let mut setup = setup().await;
    setup.settings["max_events_per_call"] = 2.into();
    let connection = setup.open();
    setup.fault("CreateEvents#1=reset-before");
    let report = apply(&connection, &creates(4)).await;
    assert_eq!(outcome(&report, 1), &Outcome::Unknown);
    assert!(report.trouble.is_some());
    // The next calls are smaller, until it stands alone.
    setup.fault("CreateEvents#2=reset-before");
    let report = apply(&connection, &creates(4)).await;
    assert_eq!(outcome(&report, 2), &Outcome::Unknown, "{report:?}");
    for number in [1, 3, 4] {
        assert!(is_done(outcome(&report, number)), "{report:?}");
    }
    assert_eq!(report.trouble, None);
}
