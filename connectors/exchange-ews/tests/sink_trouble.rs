//! Writing while things go wrong: nothing lost, nothing doubled, nothing of others touched.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeMap;

use calbridge_core::connector::{ErrorKind, Outcome, Probe, Scope, SideState, Write};
use calbridge_core::model::Content;
use calbridge_sandbox::exchange::{
    Account, ExchangeOptions, Folder, Impersonation, Profile, Right,
};
use serde_json::json;
use support::desk::{
    Record, anna, bare, create, desk, desk_of, full, in_order, key, options, plain, timed,
};
use support::{ANNA, Bench, winter};

fn content(day: u32) -> Content {
    let day = day % 28 + 1;
    full(
        timed(
            &format!("2026-12-{day:02}T09:00"),
            &format!("2026-12-{day:02}T10:00"),
        ),
        &day.to_string(),
    )
}

fn creates(count: u32) -> Vec<Write> {
    (0..count)
        .map(|n| create(&key(&format!("{n}@x"), None), content(n)))
        .collect()
}

fn done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

/// As the engine would: every write that is not done is repeated until all are, by what the sink answers.
async fn settle(desk: &Bench, writes: &[Write]) -> Vec<Record> {
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for _ in 0..4 {
        let open: Vec<Write> = writes
            .iter()
            .filter(|write| !records.contains_key(&write.id.0))
            .cloned()
            .collect();
        let Ok(report) = desk.try_apply(&open).await else {
            continue;
        };
        for (write, outcome) in open.iter().zip(in_order(&open, &report)) {
            match &outcome {
                Outcome::Done { .. } => {
                    records.insert(write.id.0, Record::of(write, &outcome));
                }
                Outcome::Conflict {
                    theirs: SideState::Present { .. },
                } => {
                    let theirs = Record::theirs(write, &outcome);
                    assert_eq!(Some(&plain(&theirs.content)), write.target.as_ref());
                    records.insert(write.id.0, theirs);
                }
                Outcome::Retry { .. } | Outcome::Unknown => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(records.len(), writes.len(), "some were never done");
    records.into_values().collect()
}

/// Each of them is there once, as it should be.
fn there_once(desk: &Bench, writes: &[Write]) {
    for write in writes {
        let found = desk.items(write.key.uid());
        assert_eq!(
            found.len(),
            1,
            "{} is there {} times",
            write.key.uid(),
            found.len()
        );
        let held = desk.exchange.read(found[0]).unwrap().3;
        let target = write.target.as_ref().unwrap();
        assert_eq!(Some(&held.subject), target.subject.as_ref());
    }
    assert_eq!(
        desk.exchange.items(ANNA, Folder::Calendar).len(),
        writes.len()
    );
}

#[tokio::test]
async fn creates_survive_every_trouble_once() {
    for fault in [
        "CreateItem#2=reset-before",
        "CreateItem#2=reset-after",
        "CreateItem#2=close-before",
        "CreateItem#2=close-after",
        "CreateItem#2=hang-before",
        "CreateItem#2=hang-after",
        "CreateItem#2=hang-half",
        "CreateItem#2=truncate:900",
        "CreateItem#2=status:500",
        "CreateItem#2=status-after:500",
        "CreateItem#2=status-after:502",
        "CreateItem#2=malformed",
        "CreateItem#2=missing:ItemId",
        "CreateItem#2=missing:CalendarItem",
        "CreateItem#2=twice",
        "CreateItem#2=wrong-types",
        "CreateItem#2=busy-items:100",
        "CreateItem#2=busy-503",
        "CreateItem#2=fault:ErrorInternalServerError",
        "CreateItem#2=error:ErrorInternalServerError",
        "CreateItem#2=error:ErrorTimeoutExpired",
        "CreateItem#2=error:ErrorMailboxStoreUnavailable",
        "CreateItem#2=item-error:ErrorInternalServerError/3",
        "CreateItem#2=item-refused:ErrorTimeoutExpired/3",
        "CreateItem#2=item-refused:ErrorMailboxFailover/1",
        "CreateItem#2=fault:ErrorSchemaValidation",
        "GetItem#1=status:500",
        "GetItem#1=malformed",
        "GetItem#1=wrong-types",
        "FindItem#1=status:500",
        "FindItem#2=truncate:300",
        "GetFolder#1=reset-after",
    ] {
        let desk = desk().await;
        desk.exchange.inject_spec(fault).unwrap();
        let writes = creates(45);
        let records = settle(&desk, &writes).await;
        there_once(&desk, &writes);
        assert_eq!(records.len(), 45, "{fault}");
        assert_eq!(desk.inventory(winter()).await.len(), 45, "{fault}");
    }
}

#[tokio::test]
async fn a_batch_that_was_stopped_goes_on() {
    let desk = desk().await;
    // The answer says that nothing after the third was worked on, and it was.
    desk.exchange
        .inject_spec("CreateItem#1=batch-stop:3")
        .unwrap();
    let writes = creates(10);
    let outcomes = desk.apply(&writes).await;
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    there_once(&desk, &writes);

    let records: Vec<Record> = writes
        .iter()
        .zip(&outcomes)
        .map(|(write, outcome)| Record::of(write, outcome))
        .collect();
    for fault in ["UpdateItem#1=batch-stop:1", "DeleteItem#1=batch-stop:0"] {
        desk.exchange.inject_spec(fault).unwrap();
    }
    let updates: Vec<Write> = records.iter().map(|one| one.update(content(20))).collect();
    let outcomes = desk.apply(&updates).await;
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    let deletes: Vec<Write> = updates
        .iter()
        .zip(&outcomes)
        .map(|(write, outcome)| Record::of(write, outcome).delete())
        .collect();
    let outcomes = desk.apply(&deletes).await;
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    assert!(desk.exchange.items(ANNA, Folder::Calendar).is_empty());

    // A server that never does anything is left alone for a while.
    desk.exchange
        .inject_spec("CreateItem*all=error:ErrorBatchProcessingStopped")
        .unwrap();
    let writes = [create(&key("late@x", None), content(1))];
    let report = desk.try_apply(&writes).await.unwrap();
    let trouble = report.trouble.as_ref().unwrap();
    assert_eq!(trouble.kind, ErrorKind::Throttled);
    assert!(matches!(
        in_order(&writes, &report)[0],
        Outcome::Retry { .. }
    ));
}

#[tokio::test]
async fn an_answer_that_got_lost_is_asked_after() {
    let desk = desk().await;
    desk.exchange
        .inject_spec("CreateItem#1=hang-after")
        .unwrap();
    let writes = creates(3);
    let report = desk.try_apply(&writes).await.unwrap();
    let outcomes = in_order(&writes, &report);
    assert_eq!(outcomes, vec![Outcome::Unknown; 3]);
    let trouble = report.trouble.unwrap();
    assert_eq!(trouble.code, "http.timeout");
    assert_eq!(report.receipts.len(), 1);
    assert_eq!(report.receipts[0].operation, "CreateItem");
    let tokens: Vec<_> = writes.iter().map(|write| write.token.clone()).collect();
    let answers = desk.sink().probe(&anna(), &tokens).await.unwrap();
    for (write, answer) in writes.iter().zip(&answers) {
        let Probe::Found { remote, content } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(remote.id, write.key.uid());
        assert_eq!(content.as_ref().map(plain), write.target);
    }
    // And repeating it makes nothing.
    let again = desk.apply(&writes).await;
    assert!(again.iter().all(done), "{again:?}");
    there_once(&desk, &writes);
}

#[tokio::test]
async fn what_never_arrived_is_known_to_be_absent() {
    let desk = desk().await;
    desk.exchange
        .inject_spec("CreateItem#1=hang-before")
        .unwrap();
    let writes = creates(3);
    let report = desk.try_apply(&writes).await.unwrap();
    assert_eq!(in_order(&writes, &report), vec![Outcome::Unknown; 3]);
    let tokens: Vec<_> = writes.iter().map(|write| write.token.clone()).collect();
    let answers = desk.sink().probe(&anna(), &tokens).await.unwrap();
    assert_eq!(answers, vec![Probe::Absent; 3]);
}

#[tokio::test]
async fn updates_and_deletes_survive_every_trouble() {
    for (fault, deletes) in [
        ("UpdateItem#1=reset-after", false),
        ("UpdateItem#1=status:500", false),
        ("UpdateItem#1=status-after:500", false),
        ("UpdateItem#1=malformed", false),
        ("UpdateItem#1=twice", false),
        ("UpdateItem#1=error:ErrorInternalServerError", false),
        (
            "UpdateItem#1=item-refused:ErrorInternalServerError/2",
            false,
        ),
        ("UpdateItem#1=fault:ErrorSchemaValidation", false),
        ("GetItem#1=truncate:700", false),
        ("DeleteItem#1=reset-after", true),
        ("DeleteItem#1=status:500", true),
        ("DeleteItem#1=status-after:500", true),
        ("DeleteItem#1=malformed", true),
        ("DeleteItem#1=item-refused:ErrorTimeoutExpired/2", true),
        ("DeleteItem#1=item-error:ErrorInternalServerError/2", true),
    ] {
        let desk = desk().await;
        let writes = creates(5);
        let records = settle(&desk, &writes).await;
        desk.exchange.inject_spec(fault).unwrap();
        let changes: Vec<Write> = records
            .iter()
            .map(|record| {
                if deletes {
                    record.delete()
                } else {
                    let subject = Some(format!("New {}", record.remote.id));
                    record.update(Content {
                        subject,
                        ..record.content.clone()
                    })
                }
            })
            .collect();
        let mut open = changes.clone();
        for _ in 0..3 {
            let Ok(report) = desk.try_apply(&open).await else {
                continue;
            };
            let outcomes = in_order(&open, &report);
            for outcome in &outcomes {
                let fine = match outcome {
                    Outcome::Done { .. } | Outcome::Unknown | Outcome::Retry { .. } => true,
                    // Its own change, met again under another version.
                    Outcome::Conflict {
                        theirs: SideState::Present { content, .. },
                    } => content
                        .as_ref()
                        .unwrap()
                        .subject
                        .as_ref()
                        .unwrap()
                        .starts_with("New "),
                    _ => false,
                };
                assert!(fine, "{fault}: {outcome:?}");
            }
            let mut outcomes = outcomes.iter();
            open.retain(|_| {
                !matches!(
                    outcomes.next(),
                    Some(Outcome::Done { .. } | Outcome::Conflict { .. })
                )
            });
        }
        assert!(open.is_empty(), "{fault}");
        let left = desk.exchange.items(ANNA, Folder::Calendar);
        assert_eq!(left.len(), if deletes { 0 } else { 5 }, "{fault}");
        for item in left {
            let held = desk.exchange.read(item).unwrap().3;
            assert!(held.subject.starts_with("New "), "{fault}");
        }
    }
}

#[tokio::test]
async fn somebody_who_is_quicker_wins() {
    let desk = desk().await;
    let records = settle(&desk, &creates(3)).await;
    desk.exchange.inject_spec("UpdateItem#1=touched").unwrap();
    let update = records[0].update(content(20));
    let outcome = desk.one(&update).await;
    let theirs = Record::theirs(&update, &outcome);
    assert_ne!(theirs.remote.version, records[0].remote.version);
    assert_eq!(theirs.content, records[0].content);
    // Nothing differs but the version: the next try goes through.
    assert!(done(&desk.one(&theirs.update(content(20))).await));
}

#[tokio::test]
async fn one_bad_item_does_not_hold_up_the_others() {
    for (fault, code) in [
        (
            "CreateItem#1=item-refused:ErrorMessageSizeExceeded/2",
            "ews.ErrorMessageSizeExceeded",
        ),
        (
            "CreateItem#1=item-refused:ErrorInvalidPropertySet/2",
            "ews.ErrorInvalidPropertySet",
        ),
        (
            "CreateItem#1=item-refused:ErrorOfTomorrow/2",
            "ews.ErrorOfTomorrow",
        ),
    ] {
        let desk = desk().await;
        desk.exchange.inject_spec(fault).unwrap();
        let writes = creates(4);
        let outcomes = desk.apply(&writes).await;
        assert!(
            matches!(&outcomes[1], Outcome::Rejected { code: told, .. } if told == code),
            "{outcomes:?}"
        );
        assert!(
            [0, 2, 3].iter().all(|at| done(&outcomes[*at])),
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_is_cut_in_half() {
    let desk = desk().await;
    desk.exchange
        .inject_spec("CreateItem#1*2=fault:ErrorSchemaValidation")
        .unwrap();
    let writes = creates(8);
    let outcomes = desk.apply(&writes).await;
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    desk.exchange
        .inject_spec("CreateItem*all=fault:ErrorSchemaValidation")
        .unwrap();
    let bad = [create(&key("bad@x", None), content(1))];
    let outcomes = desk.apply(&bad).await;
    assert!(
        matches!(&outcomes[0], Outcome::Rejected { code, .. } if code == "ews.ErrorSchemaValidation"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_full_mailbox_is_filled_when_there_is_room() {
    let desk = desk().await;
    desk.exchange.set_quota(ANNA, Some(2)).unwrap();
    let writes = creates(4);
    let outcomes = desk.apply(&writes).await;
    assert!(done(&outcomes[0]) && done(&outcomes[1]), "{outcomes:?}");
    for outcome in &outcomes[2..] {
        assert!(
            matches!(outcome, Outcome::Retry { code: Some(code), .. } if code == "ews.ErrorQuotaExceeded"),
            "{outcome:?}"
        );
    }
    desk.exchange.set_quota(ANNA, None).unwrap();
    settle(&desk, &writes).await;
    there_once(&desk, &writes);
}

#[tokio::test]
async fn rights_are_a_matter_of_their_calendar() {
    let account = |right| Account {
        impersonation: Impersonation::Nobody,
        rights: [(ANNA.to_owned(), right)].into(),
        ..Account::service("svc-calbridge", "sandbox")
    };
    let desk = Bench::of(
        ExchangeOptions {
            accounts: vec![account(Right::Reviewer)],
            ..options(Profile::Exchange2019)
        },
        |settings| {
            settings["writable"] = json!(true);
            settings["access"] = json!("delegate");
            settings["home_zone"] = json!("Europe/Copenhagen");
        },
    )
    .await;
    let writes = creates(2);
    let error = desk.try_apply(&writes).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope, error.code.as_str()),
        (ErrorKind::Permission, Scope::Calendar, "ews.write.no-right")
    );
    assert_eq!(desk.writes_sent(), 0);
    desk.exchange.set_accounts(vec![account(Right::Editor)]);
    let outcomes = desk.apply(&writes).await;
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    // Taken away again, when the folder is known already.
    desk.exchange.set_accounts(vec![account(Right::Reviewer)]);
    let more = [create(&key("more@x", None), content(1))];
    let report = desk.try_apply(&more).await.unwrap();
    let trouble = report.trouble.as_ref().unwrap();
    assert_eq!(
        (trouble.kind, trouble.scope),
        (ErrorKind::Permission, Scope::Calendar)
    );
    assert!(matches!(in_order(&more, &report)[0], Outcome::Retry { .. }));
}

#[tokio::test]
async fn a_busy_server_is_told_and_nothing_is_sent_after_it() {
    let desk = desk().await;
    desk.exchange
        .inject_spec("CreateItem#2*all=busy-fault:60000")
        .unwrap();
    let writes = creates(45);
    let report = desk.try_apply(&writes).await.unwrap();
    let trouble = report.trouble.as_ref().unwrap();
    assert_eq!(trouble.kind, ErrorKind::Throttled);
    assert_eq!(trouble.retry_after_ms, Some(60_000));
    let outcomes = in_order(&writes, &report);
    assert_eq!(outcomes.iter().filter(|one| done(one)).count(), 20);
    assert_eq!(
        outcomes
            .iter()
            .filter(|one| matches!(one, Outcome::Retry { .. }))
            .count(),
        25
    );
    assert_eq!(desk.sent("CreateItem").len(), 2);
}

#[tokio::test]
async fn hostile_texts_do_not_break_a_batch() {
    let desk = desk().await;
    let mut writes = creates(5);
    let hostile = [
        "\u{0}\u{1}\u{b}\u{1f}\u{fffe}\u{ffff}".to_owned(),
        "x".repeat(100_000),
        "]]></t:Subject><t:Evil/>&amp;<![CDATA[".to_owned(),
        "🎂é\u{202e}\u{2028}\r\n\t ".to_owned(),
        "&#x0B;&bogus;".to_owned(),
    ];
    for (write, text) in writes.iter_mut().zip(&hostile) {
        let target = write.target.as_mut().unwrap();
        target.subject = Some(text.clone());
        target.location = Some(text.clone());
        target.body = Some(text.clone());
        target.categories = Some(vec![text.clone(), "Red".to_owned()]);
    }
    // An id that is hostile too.
    let odd = key("<\"&'>\u{1}\u{fffe} odd", None);
    writes.push(create(&odd, content(9)));
    let outcomes = desk.apply(&writes).await;
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    let listed = desk.inventory(winter()).await;
    assert_eq!(listed.len(), 6);
    for (write, outcome) in writes.iter().zip(&outcomes) {
        let record = Record::of(write, outcome);
        let entry = listed
            .iter()
            .find(|one| one.remote == record.remote)
            .unwrap();
        assert_eq!(entry.content.as_ref(), Some(&record.content));
        // What is stored is what was meant, as far as it can be: the same again changes nothing.
        let update = record.update(write.target.clone().unwrap());
        desk.exchange.ledger().clear();
        assert!(done(&desk.one(&update).await));
        assert_eq!(desk.sent("UpdateItem").len(), 0, "{}", write.key.uid());
    }
    let long = desk.exchange.read(desk.item("1@x")).unwrap().3;
    assert_eq!(long.subject.chars().count(), 255);
}

#[tokio::test]
async fn other_servers_too() {
    for profile in [Profile::Exchange2013, Profile::Gromox] {
        let desk = desk_of(options(profile)).await;
        let writes = creates(25);
        let records = settle(&desk, &writes).await;
        there_once(&desk, &writes);
        // Locking by versions is absent there: what somebody changed is seen when it is read.
        desk.exchange
            .change(desk.item("0@x"), |held| {
                "Theirs".clone_into(&mut held.subject);
            })
            .unwrap();
        let first = records.iter().find(|one| one.remote.id == "0@x").unwrap();
        for write in [first.update(content(3)), first.delete()] {
            let outcome = desk.one(&write).await;
            let theirs = Record::theirs(&write, &outcome);
            assert_eq!(theirs.content.subject.as_deref(), Some("Theirs"));
        }
        let other = records.iter().find(|one| one.remote.id == "1@x").unwrap();
        let update = other.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
        assert!(done(&desk.one(&update).await));
        assert_eq!(desk.inventory(winter()).await.len(), 25);
    }
}
