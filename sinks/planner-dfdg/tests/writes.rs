//! What receipts make of writes (cases K066 to K072, K077 to K079, K085, K088 to K092, K102).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{Op, Outcome, SideState, Write};
use calbridge_sandbox::planner::Operation;
use support::*;

#[tokio::test]
async fn k066_accepted_events_are_done_with_planners_id_and_the_calls_reference() {
    let setup = setup().await;
    let connection = setup.open();
    let report = apply(&connection, &[create(1, "uid-1")]).await;
    let Outcome::Done { remote, stored } = outcome(&report, 1) else {
        panic!("{report:?}");
    };
    let held = setup.planner.event(ANNA, "uid-1").unwrap();
    let remote = remote.as_ref().unwrap();
    assert_eq!(remote.id, "uid-1");
    assert_eq!(
        remote.assigned.as_deref(),
        Some(held.event.to_string()).as_deref()
    );
    assert_eq!(stored.as_ref(), Some(&morning()));
    assert_eq!(held.start, wall("2026-12-01T09:00:00"));
    assert_eq!(held.end, wall("2026-12-01T10:30:00"));
    let call = setup.planner.ledger().last().unwrap();
    let receipt = &report.receipts[report.outcomes[0].receipt.unwrap()];
    assert_eq!(receipt.operation, "CreateEvents");
    assert_eq!(receipt.events, 1);
    assert_eq!(receipt.error, None);
    assert_eq!(
        receipt.reference,
        call.detail.reference.map(|reference| reference.to_string())
    );
    assert_eq!(report.trouble, None);
}

#[tokio::test]
async fn creates_updates_and_deletes_go_out_in_this_order() {
    let setup = setup().await;
    let connection = setup.open();
    apply(&connection, &[create(1, "keep"), create(2, "drop")]).await;
    let later = times("2026-12-02T08:00:00Z", "2026-12-02T09:00:00Z");
    let report = apply(
        &connection,
        &[
            delete(1, "drop"),
            update(2, "keep", later.clone()),
            create(3, "new"),
        ],
    )
    .await;
    assert!(
        (1..=3).all(|number| is_done(outcome(&report, number))),
        "{report:?}"
    );
    assert_eq!(
        outcome(&report, 1),
        &Outcome::Done {
            remote: None,
            stored: None
        }
    );
    let operations: Vec<_> = report
        .receipts
        .iter()
        .map(|receipt| receipt.operation.as_str())
        .collect();
    assert_eq!(operations, ["CreateEvents", "UpdateEvents", "DeleteEvents"]);
    assert_eq!(setup.planner.content().0.len(), 2);
    let kept = setup.planner.event(ANNA, "keep").unwrap();
    assert_eq!(kept.start, wall("2026-12-02T09:00:00"));
}

#[tokio::test]
async fn k067_a_create_of_what_is_there_is_a_conflict_with_what_planner_has() {
    let setup = setup().await;
    let held = setup.planner.put_event(
        ANNA,
        "uid-1",
        wall("2026-12-01T12:00:00"),
        wall("2026-12-01T13:00:00"),
    );
    let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
    let Outcome::Conflict {
        theirs: SideState::Present { remote, content },
    } = outcome(&report, 1)
    else {
        panic!("{report:?}");
    };
    assert_eq!(remote.id, "uid-1");
    assert_eq!(remote.assigned, Some(held.to_string()));
    assert_eq!(content, &None);
}

#[tokio::test]
async fn k068_an_update_of_what_is_not_there_is_a_conflict_with_nothing() {
    let setup = setup().await;
    let report = apply(&setup.open(), &[update(1, "uid-1", morning())]).await;
    assert_eq!(
        outcome(&report, 1),
        &Outcome::Conflict {
            theirs: SideState::Absent
        }
    );
}

#[tokio::test]
async fn k069_codes_15_and_16_mean_later() {
    for code in [15, 16] {
        for op in [Op::Create, Op::Update, Op::Delete] {
            let setup = setup().await;
            setup.planner.script_code("uid-1", code, None);
            let write = match op {
                Op::Create => create(1, "uid-1"),
                Op::Update => update(1, "uid-1", morning()),
                _ => delete(1, "uid-1"),
            };
            let report = apply(&setup.open(), &[write]).await;
            assert_eq!(
                outcome(&report, 1),
                &Outcome::Retry {
                    after_ms: None,
                    code: Some(format!("62{code}")),
                }
            );
            // The event waits, not the connection.
            assert_eq!(report.trouble, None);
        }
    }
}

#[tokio::test]
async fn k070_other_codes_refuse_the_event_for_good_and_the_others_go_on() {
    for code in [1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14, 17] {
        let setup = setup().await;
        setup.planner.script_code("uid-2", code, None);
        let (logs, _guard) = logs();
        let report = apply(&setup.open(), &[create(1, "uid-1"), create(2, "uid-2")]).await;
        assert!(is_done(outcome(&report, 1)));
        let Outcome::Rejected {
            code: warning,
            message,
        } = outcome(&report, 2)
        else {
            panic!("{code}: {report:?}");
        };
        assert_eq!(warning, &(6200 + code).to_string());
        assert!(message.contains(&format!("code {code}")), "{message}");
        let logs = logs.text();
        assert!(logs.contains(&format!("code={warning}")), "{logs}");
        assert!(!logs.contains("uid-2") && !logs.contains("anna"), "{logs}");
    }
}

#[tokio::test]
async fn k071_planners_own_appointments_are_foreign() {
    let setup = setup().await;
    setup.planner.put_own_appointment(
        ANNA,
        "uid-1",
        wall("2026-12-01T09:00:00"),
        wall("2026-12-01T10:30:00"),
    );
    let connection = setup.open();
    for write in [
        create(1, "uid-1"),
        update(1, "uid-1", morning()),
        delete(1, "uid-1"),
    ] {
        let report = apply(&connection, &[write]).await;
        assert_eq!(outcome(&report, 1), &Outcome::Foreign);
        assert_eq!(report.trouble, None);
    }
}

#[tokio::test]
async fn k072_a_delete_of_what_is_not_there_is_done() {
    let setup = setup().await;
    let report = apply(&setup.open(), &[delete(1, "uid-1")]).await;
    assert!(is_done(outcome(&report, 1)), "{report:?}");
}

#[tokio::test]
async fn codes_8_and_10_where_they_make_no_sense_are_refusals() {
    let setup = setup().await;
    setup.planner.script_code("uid-1", 8, None);
    setup.planner.script_code("uid-2", 10, None);
    let report = apply(
        &setup.open(),
        &[
            update(1, "uid-1", morning()),
            delete(2, "uid-1"),
            create(3, "uid-2"),
        ],
    )
    .await;
    for (number, warning) in [(1, "6208"), (2, "6208"), (3, "6210")] {
        assert!(
            matches!(outcome(&report, number), Outcome::Rejected { code, .. } if code == warning),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn k077_receipts_are_matched_by_id_whatever_their_order() {
    for fault in [
        "receipts-reversed",
        "receipts-shuffled",
        "receipts-doubled",
        "receipts-foreign",
    ] {
        let setup = setup().await;
        setup.planner.script_code("event-2", 7, None);
        setup.fault(&format!("CreateEvents={fault}"));
        let report = apply(&setup.open(), &creates(3)).await;
        assert!(is_done(outcome(&report, 1)), "{fault}: {report:?}");
        assert!(
            matches!(outcome(&report, 2), Outcome::Rejected { .. }),
            "{fault}"
        );
        assert!(is_done(outcome(&report, 3)), "{fault}");
        for number in [1, 3] {
            let held = setup
                .planner
                .event(ANNA, &format!("event-{number}"))
                .unwrap();
            let Outcome::Done {
                remote: Some(remote),
                ..
            } = outcome(&report, number)
            else {
                panic!();
            };
            assert_eq!(remote.assigned, Some(held.event.to_string()), "{fault}");
        }
    }
}

#[tokio::test]
async fn k077_only_events_without_receipt_are_unknown() {
    let setup = setup().await;
    setup.fault("CreateEvents=receipts-missing:2");
    let report = apply(&setup.open(), &creates(3)).await;
    assert!(is_done(outcome(&report, 1)));
    for number in [2, 3] {
        assert_eq!(outcome(&report, number), &Outcome::Unknown);
    }
    assert_eq!(report.trouble, None);
}

#[tokio::test]
async fn k078_ids_in_receipts_may_differ_in_letter_case() {
    let setup = setup().await;
    setup.fault("CreateEvents=id-case");
    let report = apply(&setup.open(), &creates(3)).await;
    assert!(
        (1..=3).all(|number| is_done(outcome(&report, number))),
        "{report:?}"
    );
    let Outcome::Done {
        remote: Some(remote),
        ..
    } = outcome(&report, 1)
    else {
        panic!();
    };
    // What was sent is the id, not how the receipt spells it.
    assert_eq!(remote.id, "event-1");
}

#[tokio::test]
async fn events_with_one_id_never_share_a_call() {
    let setup = setup().await;
    let report = apply(&setup.open(), &[create(1, "uid-1"), create(2, "UID-1")]).await;
    assert!(is_done(outcome(&report, 1)));
    assert!(
        matches!(
            outcome(&report, 2),
            Outcome::Conflict {
                theirs: SideState::Present { .. }
            }
        ),
        "{report:?}"
    );
    assert_eq!(call_sizes(&setup), [1, 1]);
}

#[tokio::test]
async fn k085_what_is_sent_again_after_a_lost_answer_makes_no_second_event() {
    for fault in ["reset-after", "close-after", "fault-after", "half"] {
        let setup = setup().await;
        let connection = setup.open();
        setup.fault(&format!("CreateEvents={fault}"));
        let report = apply(&connection, &[create(1, "uid-1")]).await;
        assert_eq!(
            outcome(&report, 1),
            &Outcome::Unknown,
            "{fault}: {report:?}"
        );
        let report = apply(&connection, &[create(1, "uid-1")]).await;
        assert!(
            matches!(
                outcome(&report, 1),
                Outcome::Conflict {
                    theirs: SideState::Present { .. }
                }
            ),
            "{fault}: {report:?}"
        );
        let report = apply(&connection, &[update(1, "uid-1", morning())]).await;
        assert!(is_done(outcome(&report, 1)));
        assert_eq!(setup.planner.effective_creates("uid-1"), 1, "{fault}");
        assert_eq!(setup.planner.content().0.len(), 1, "{fault}");

        // The same for a delete: not there means done.
        setup.planner.clear_faults();
        setup.fault(&format!("DeleteEvents={fault}"));
        let report = apply(&connection, &[delete(1, "uid-1")]).await;
        assert_eq!(outcome(&report, 1), &Outcome::Unknown, "{fault}");
        let report = apply(&connection, &[delete(1, "uid-1")]).await;
        assert!(is_done(outcome(&report, 1)), "{fault}");
    }
}

#[tokio::test]
async fn k088_a_mailed_conflict_notice_is_kept_with_the_outcome() {
    let setup = setup().await;
    setup.planner.put_own_appointment(
        ANNA,
        "planners-own",
        wall("2026-12-01T10:00:00"),
        wall("2026-12-01T11:00:00"),
    );
    let free = times("2026-12-01T06:00:00Z", "2026-12-01T07:00:00Z");
    let report = apply(
        &setup.open(),
        &[
            create(1, "uid-1"),
            Write {
                target: Some(free),
                ..create(2, "uid-2")
            },
        ],
    )
    .await;
    let sent: Vec<bool> = setup.planner.calls(Operation::CreateEvents)[0]
        .detail
        .events
        .iter()
        .map(|event| event.conflict)
        .collect();
    assert_eq!(sent, [true, false], "the sandbox tells of the overlap");
    assert!(is_done(outcome(&report, 1)));
    assert_eq!(report.outcomes[0].notices, ["conflict-notice"]);
    assert!(report.outcomes[1].notices.is_empty());
}

#[tokio::test]
async fn k089_k090_codes_out_of_range_have_the_last_warning_id() {
    for code in [70_000, -1, 6904, 99_999_999_999] {
        let setup = setup().await;
        setup.planner.script_code("uid-1", code, None);
        let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
        assert!(
            matches!(outcome(&report, 1), Outcome::Rejected { code, .. } if code == "6249"),
            "{code}: {report:?}"
        );
    }
}

#[tokio::test]
async fn k091_k092_no_identifiers_are_sent_and_deletes_carry_the_acknowledged_times() {
    let setup = setup().await;
    let connection = setup.open();
    let report = apply(&connection, &[create(1, "uid-1")]).await;
    let Outcome::Done { remote, .. } = outcome(&report, 1) else {
        panic!()
    };
    assert!(remote.as_ref().unwrap().assigned.is_some());
    let known = |write: Write| Write {
        remote: remote.clone(),
        ..write
    };
    apply(&connection, &[known(update(1, "uid-1", morning()))]).await;
    apply(&connection, &[known(delete(1, "uid-1"))]).await;
    let events: Vec<_> = setup
        .planner
        .ledger()
        .all()
        .into_iter()
        .flat_map(|call| call.detail.events)
        .collect();
    assert_eq!(events.len(), 3);
    for event in events {
        assert!(!event.with_identifiers && !event.with_offset);
        assert_eq!(event.code, 0);
        assert_eq!(event.start, wall("2026-12-01T09:00:00"));
        assert_eq!(event.end, wall("2026-12-01T10:30:00"));
    }
}

#[tokio::test]
async fn k092_a_delete_goes_out_with_the_times_that_are_known_or_with_the_next_midnights_minute() {
    let setup = setup().await;
    let connection = setup.open();
    apply(&connection, &[create(1, "uid-1"), create(2, "uid-2")]).await;
    let blind = Write {
        base: None,
        ..delete(1, "uid-1")
    };
    let by_target = Write {
        target: Some(times("2026-12-02T08:00:00Z", "2026-12-02T09:00:00Z")),
        base: None,
        ..delete(2, "uid-2")
    };
    let report = apply(&connection, &[blind, by_target]).await;
    for number in [1, 2] {
        assert!(is_done(outcome(&report, number)), "{report:?}");
    }
    assert!(setup.planner.content().0.is_empty());
    let sent = &setup.planner.calls(Operation::DeleteEvents)[0]
        .detail
        .events;
    // The clock stands at 22 November, 14:05 in Denmark.
    assert_eq!(sent[0].start, wall("2026-11-23T00:00:00"));
    assert_eq!(sent[0].end, wall("2026-11-23T00:01:00"));
    assert_eq!(sent[1].start, wall("2026-12-02T09:00:00"));
}

#[tokio::test]
async fn k102_what_the_schema_refuses_is_refused_here_and_alone() {
    let setup = setup().await;
    let connection = setup.open();
    let mut nameless = create(2, "uid-2");
    nameless.remote.as_mut().unwrap().id = "uid\u{1}2".to_owned();
    let mut without = create(3, "uid-3");
    without.remote = None;
    let report = apply(&connection, &[create(1, "uid-1"), nameless, without]).await;
    assert!(is_done(outcome(&report, 1)));
    for number in [2, 3] {
        assert!(
            matches!(outcome(&report, number), Outcome::Rejected { code, .. } if code == "planner.id"),
            "{report:?}"
        );
    }
    let calls = setup.planner.ledger().all().len();
    for address in [
        "anna,b@kommune.example",
        &format!("a@{}.dk", "x".repeat(62)),
    ] {
        let report = apply_to(&connection, address, &[create(1, "uid-1")]).await;
        let Outcome::Rejected { code, message } = outcome(&report, 1) else {
            panic!("{report:?}");
        };
        assert_eq!(code, "planner.address");
        assert!(!message.contains(address));
    }
    assert_eq!(
        setup.planner.ledger().all().len(),
        calls,
        "nothing was sent"
    );
}

#[tokio::test]
async fn ids_with_markup_and_all_day_events_arrive_as_they_are() {
    let setup = setup().await;
    let day = jiff::civil::date(2026, 12, 24);
    let all_day = calbridge_core::model::Content::times(
        calbridge_core::model::EventTime::all_day(day, day.tomorrow().unwrap()).unwrap(),
    );
    let id = "<uid>&\"'æ$20261224-000000";
    let report = apply(
        &setup.open(),
        &[Write {
            target: Some(all_day),
            ..create(1, id)
        }],
    )
    .await;
    assert!(is_done(outcome(&report, 1)), "{report:?}");
    let held = setup.planner.event(ANNA, id).unwrap();
    assert_eq!(held.start, wall("2026-12-24T00:00:00"));
    assert_eq!(held.end, wall("2026-12-25T00:00:00"));
}

#[tokio::test]
async fn batches_carry_no_more_events_than_agreed() {
    let mut setup = setup().await;
    setup.settings["max_events_per_call"] = 4.into();
    let report = apply(&setup.open(), &creates(10)).await;
    assert!(
        report
            .outcomes
            .iter()
            .all(|outcome| is_done(&outcome.outcome))
    );
    assert_eq!(call_sizes(&setup), [4, 4, 2]);
    assert_eq!(report.receipts.len(), 3);
    assert_eq!(report.outcomes[9].receipt, Some(2));
}

#[tokio::test]
async fn receipts_whose_ids_have_white_space_around_them_are_matched_if_only_one_fits() {
    const GUID: &str = "b6a7a5a2-54a2-4f0e-8a9d-6f2f8f1f7c10";
    for (ids, done) in [
        (&["\n  EVENT-1\n", "event-2"][..], true),
        (&[" event-1", "event-1  ", "event-2"], false),
    ] {
        let mut setup = setup().await;
        let answers: Vec<_> = ids.iter().map(|id| (*id, 0, "")).collect();
        let (url, asked) = canned(http("200 OK", &receipts(GUID, &answers)));
        setup.settings["url"] = url.into();
        let report = apply(&setup.open(), &creates(2)).await;
        assert_eq!(is_done(outcome(&report, 1)), done, "{report:?}");
        assert!(done || outcome(&report, 1) == &Outcome::Unknown);
        assert!(is_done(outcome(&report, 2)));
        assert!(
            asked.lock().unwrap()[0]
                .to_lowercase()
                .contains("content-type: text/xml; charset=utf-8\r\n")
        );
    }
}
