//! Writing, against the sandbox's Exchange.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use calbridge_core::connector::{Outcome, Probe, SideState};
use calbridge_core::model::{Content, EventTime, OriginalStart, ShowAs};
use calbridge_sandbox::exchange::{
    Answer, Attendee, Folder, FreeBusy, NewItem, Person, Profile, Range, Sensitivity, Zone,
};
use jiff::civil::date;
use support::desk::{Record, anna, bare, create, days, desk, desk_of, full, key, options, timed};
use support::{ANNA, Bench, at, busy, daily, dk, winter};

fn is_refused(outcome: &Outcome, with: &str) -> bool {
    matches!(outcome, Outcome::Rejected { code, .. } if code == with)
}

const GONE: Outcome = Outcome::Conflict {
    theirs: SideState::Absent,
};

#[tokio::test]
async fn it_reads_and_nothing_else_until_somebody_says_otherwise() {
    let bench = Bench::start(Profile::Exchange2019).await;
    assert!(bench.connection.sink().is_none());
}

#[tokio::test]
async fn an_appointment_is_made_changed_and_removed() {
    let desk = desk().await;
    let target = full(timed("2026-12-07T09:00", "2026-12-07T10:00"), "one");
    let write = create(&key("one@x", None), target.clone());
    let outcome = desk.one(&write).await;
    let Outcome::Done { remote, stored } = &outcome else {
        panic!("{outcome:?}")
    };
    let remote = remote.clone().unwrap();
    assert_eq!(remote.id, "one@x");
    assert!(remote.assigned.is_some() && remote.version.is_some());
    // The zone comes with it, and is not compared.
    let stored = stored.clone().unwrap_or_else(|| target.clone());
    assert_eq!(
        (&stored.subject, &stored.body, &stored.categories),
        (&target.subject, &target.body, &target.categories)
    );
    let (uid, id, version, held) = desk.exchange.read(desk.item("one@x")).unwrap();
    assert_eq!(
        (uid.as_str(), Some(&id)),
        ("one@x", remote.assigned.as_ref())
    );
    assert_eq!(Some(version), remote.version);
    assert_eq!(held.subject, "Subject one");
    assert_eq!(held.location, "Place one");
    assert_eq!(held.body, "First line one\nSecond line");
    assert_eq!(held.categories, ["Red", "Blue"]);
    assert_eq!(held.free_busy, FreeBusy::OutOfOffice);
    assert_eq!(held.sensitivity, Sensitivity::Private);
    assert_eq!(held.reminder, None);
    assert_eq!(
        (held.start, held.end),
        (dk("2026-12-07T09:00"), dk("2026-12-07T10:00"))
    );
    assert_eq!(held.start_zone, Zone::denmark());
    assert!(desk.sent("CreateItem")[0].contains(r#"SendMeetingInvitations="SendToNone""#));

    let record = Record::of(&write, &outcome);
    let moved = Content {
        location: Some("Elsewhere".to_owned()),
        ..record.content.clone()
    };
    let update = record.update(moved.clone());
    let outcome = desk.one(&update).await;
    let record = Record::of(&update, &outcome);
    assert_ne!(record.remote.version, remote.version);
    let sent = desk.sent("UpdateItem").remove(0);
    assert!(
        sent.contains(r#"ConflictResolution="NeverOverwrite""#),
        "{sent}"
    );
    assert!(sent.contains(r#"SendMeetingInvitationsOrCancellations="SendToNone""#));
    assert_eq!(sent.matches("<t:SetItemField>").count(), 2, "{sent}");
    assert!(sent.contains("calendar:Location") && sent.contains("CalbridgeAttempt"));
    assert_eq!(
        desk.exchange.read(desk.item("one@x")).unwrap().3.location,
        "Elsewhere"
    );

    let outcome = desk.one(&record.delete()).await;
    assert!(
        matches!(outcome, Outcome::Done { remote: None, .. }),
        "{outcome:?}"
    );
    assert!(desk.exchange.items(ANNA, Folder::Calendar).is_empty());
    // Its owner can take it back.
    assert_eq!(desk.exchange.items(ANNA, Folder::DeletedItems).len(), 1);
    assert!(desk.sent("DeleteItem")[0].contains(r#"SendMeetingCancellations="SendToNone""#));
}

#[tokio::test]
async fn what_is_emptied_is_deleted_and_what_is_the_same_is_not_sent() {
    let desk = desk().await;
    let record = desk
        .make(
            "one@x",
            full(timed("2026-12-07T09:00", "2026-12-07T10:00"), "one"),
        )
        .await;
    let same = record.update(record.content.clone());
    let outcome = desk.one(&same).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(desk.sent("UpdateItem").len(), 0);

    let empty = Content {
        subject: Some(String::new()),
        location: Some(String::new()),
        body: Some(String::new()),
        categories: Some(Vec::new()),
        private: Some(false),
        show_as: Some(ShowAs::Tentative),
        ..record.content.clone()
    };
    let update = record.update(empty.clone());
    let outcome = desk.one(&update).await;
    let record = Record::of(&update, &outcome);
    assert_eq!(
        (&record.content.subject, &record.content.categories),
        (&empty.subject, &empty.categories)
    );
    let sent = desk.sent("UpdateItem").remove(0);
    assert_eq!(sent.matches("<t:DeleteItemField>").count(), 4, "{sent}");
    assert!(!sent.contains("calendar:Start"), "{sent}");
    let held = desk.exchange.read(desk.item("one@x")).unwrap().3;
    assert_eq!((held.subject.as_str(), held.body.as_str()), ("", ""));
    assert_eq!(held.free_busy, FreeBusy::Tentative);
    assert_eq!(held.sensitivity, Sensitivity::Normal);
}

#[tokio::test]
async fn a_move_sends_start_and_end_together_and_no_zone() {
    let desk = desk().await;
    let record = desk
        .make("one@x", bare(timed("2026-12-07T09:00", "2026-12-07T10:00")))
        .await;
    // Over the change of the clock.
    let update = record.update(bare(timed("2027-04-07T09:00", "2027-04-07T09:30")));
    let outcome = desk.one(&update).await;
    Record::of(&update, &outcome);
    let sent = desk.sent("UpdateItem").remove(0);
    assert!(sent.contains("2027-04-07T07:00:00Z") && sent.contains("2027-04-07T07:30:00Z"));
    assert!(!sent.contains("TimeZone FieldURI") && !sent.contains("calendar:StartTimeZone"));
    let held = desk.exchange.read(desk.item("one@x")).unwrap().3;
    assert_eq!(held.start, dk("2027-04-07T09:00"));
    assert_eq!(held.start_zone, Zone::denmark());
}

#[tokio::test]
async fn whole_days_are_days_where_the_mailboxes_are() {
    let desk = desk().await;
    // Over both changes of the clock, and one day of 23 hours.
    for (uid, first, after) in [
        ("winter@x", date(2026, 12, 24), date(2026, 12, 27)),
        ("autumn@x", date(2026, 10, 24), date(2026, 10, 27)),
        ("spring@x", date(2027, 3, 28), date(2027, 3, 29)),
    ] {
        let record = desk.make(uid, bare(days(first, after))).await;
        assert_eq!(record.content.time, days(first, after));
        let held = desk.exchange.read(desk.item(uid)).unwrap().3;
        assert!(held.all_day);
        assert_eq!(held.start_zone, Zone::denmark());
        assert_eq!(held.local_start(), first.at(0, 0, 0, 0));
        assert_eq!(held.local_end(), after.at(0, 0, 0, 0));
    }
}

#[tokio::test]
async fn days_become_hours_and_hours_days() {
    let desk = desk().await;
    let hours = timed("2027-03-28T09:00", "2027-03-28T10:00");
    let day = days(date(2027, 3, 28), date(2027, 3, 29));
    let mut record = desk.make("one@x", bare(hours.clone())).await;
    // Somebody far away made it.
    let item = desk.item("one@x");
    desk.exchange
        .change(item, |held| {
            held.start_zone = Zone::find("Tokyo Standard Time").unwrap();
            held.end_zone = held.start_zone.clone();
        })
        .unwrap();
    for time in [day, hours] {
        let update = record.update(bare(time.clone()));
        let outcome = desk.one(&update).await;
        record = Record::of(&update, &outcome);
        let held = desk.exchange.read(item).unwrap().3;
        let all_day = matches!(time, EventTime::AllDay { .. });
        assert_eq!(held.all_day, all_day);
        let (start, end) = time.span_in(Zone::denmark().rules());
        assert_eq!((held.start, held.end), (start, end));
        assert_eq!(held.start_zone, Zone::denmark());
    }
}

#[tokio::test]
async fn what_somebody_changed_is_not_overwritten() {
    let desk = desk().await;
    let record = desk
        .make(
            "one@x",
            full(timed("2026-12-07T09:00", "2026-12-07T10:00"), "one"),
        )
        .await;
    let item = desk.item("one@x");
    desk.exchange
        .change(item, |held| "Theirs".clone_into(&mut held.subject))
        .unwrap();
    let (_, _, version, _) = desk.exchange.read(item).unwrap();
    let moved = Content {
        time: timed("2026-12-08T09:00", "2026-12-08T10:00"),
        ..record.content.clone()
    };
    for write in [record.update(moved.clone()), record.delete()] {
        let outcome = desk.one(&write).await;
        let theirs = Record::theirs(&write, &outcome);
        assert_eq!(theirs.content.subject.as_deref(), Some("Theirs"));
        assert_eq!(theirs.remote.version.as_ref(), Some(&version));
        assert_eq!(theirs.remote.id, "one@x");
    }
    assert_eq!(
        desk.sent("UpdateItem").len() + desk.sent("DeleteItem").len(),
        0
    );

    // With what is there now it goes through.
    let write = record.update(moved.clone());
    let known = Record::theirs(&write, &desk.one(&write).await);
    let update = known.update(moved);
    assert!(matches!(desk.one(&update).await, Outcome::Done { .. }));
    let held = desk.exchange.read(item).unwrap().3;
    assert_eq!(held.start, dk("2026-12-08T09:00"));
    assert_eq!(held.subject, "Subject one");
}

#[tokio::test]
async fn a_version_that_was_raised_for_nothing_is_no_conflict() {
    let desk = desk().await;
    let record = desk
        .make(
            "one@x",
            full(timed("2026-12-07T09:00", "2026-12-07T10:00"), "one"),
        )
        .await;
    let item = desk.item("one@x");
    // A reminder, dismissed.
    desk.exchange
        .change(item, |held| held.reminder = None)
        .unwrap();
    let update = record.update(Content {
        location: Some("Elsewhere".to_owned()),
        ..record.content.clone()
    });
    let record = Record::of(&update, &desk.one(&update).await);
    desk.exchange
        .change(item, |held| held.reminder = Some(5))
        .unwrap();
    assert!(matches!(
        desk.one(&record.delete()).await,
        Outcome::Done { .. }
    ));
}

#[tokio::test]
async fn what_changes_between_our_look_and_our_write_is_not_overwritten() {
    let desk = desk().await;
    let record = desk
        .make("one@x", bare(timed("2026-12-07T09:00", "2026-12-07T10:00")))
        .await;
    desk.exchange
        .inject_spec("UpdateItem#1=error:ErrorIrresolvableConflict")
        .unwrap();
    let update = record.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
    let outcome = desk.one(&update).await;
    let theirs = Record::theirs(&update, &outcome);
    assert_eq!(theirs.remote, record.remote);
    assert_eq!(
        theirs.content.time.span_in(&support::copenhagen()).0,
        dk("2026-12-07T09:00")
    );
    desk.exchange
        .inject_spec("DeleteItem#1=error:ErrorIrresolvableConflict")
        .unwrap();
    let outcome = desk.one(&record.delete()).await;
    assert!(matches!(outcome, Outcome::Conflict { .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_is_gone_is_gone() {
    let desk = desk().await;
    let time = bare(timed("2026-12-07T09:00", "2026-12-07T10:00"));
    for to in [None, Some(Folder::OtherCalendar)] {
        let record = desk.make("one@x", time.clone()).await;
        let item = desk.item("one@x");
        match to {
            None => drop(desk.exchange.delete(item).unwrap()),
            Some(folder) => drop(desk.exchange.move_to(item, folder).unwrap()),
        }
        let update = record.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
        assert_eq!(desk.one(&update).await, GONE);
        let outcome = desk.one(&record.delete()).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(
            desk.sent("UpdateItem").len() + desk.sent("DeleteItem").len(),
            0
        );
        // It is made anew.
        let record = desk.make("one@x", time.clone()).await;
        assert!(matches!(
            desk.one(&record.delete()).await,
            Outcome::Done { .. }
        ));
        desk.exchange.ledger().clear();
    }
}

#[tokio::test]
async fn an_item_that_got_another_id_is_found_by_its_mark() {
    let desk = desk().await;
    let record = desk
        .make("one@x", bare(timed("2026-12-07T09:00", "2026-12-07T10:00")))
        .await;
    // Deleted and taken back: the same item under another id.
    let away = desk.exchange.delete(desk.item("one@x")).unwrap();
    desk.exchange.move_to(away, Folder::Calendar).unwrap();
    let update = record.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
    let again = Record::of(&update, &desk.one(&update).await);
    assert_ne!(again.remote.assigned, record.remote.assigned);
    assert!(matches!(
        desk.one(&again.delete()).await,
        Outcome::Done { .. }
    ));
}

fn meeting(subject: &str) -> NewItem {
    busy("2026-12-07T09:00", "2026-12-07T10:00").with(|item| {
        subject.clone_into(&mut item.subject);
        item.required = vec![Attendee {
            person: Person::new("Bo", "bo@kommune.example"),
            ..Attendee::default()
        }];
    })
}

fn invitation(subject: &str) -> NewItem {
    busy("2026-12-07T09:00", "2026-12-07T10:00").with(|item| {
        subject.clone_into(&mut item.subject);
        item.organizer = Some(Person::new("Carl", "carl@elsewhere.example"));
        item.my_answer = Answer::Accept;
    })
}

#[tokio::test]
async fn meetings_are_never_touched() {
    for profile in [
        Profile::Exchange2013,
        Profile::Exchange2019,
        Profile::Gromox,
    ] {
        let desk = desk_of(options(profile)).await;
        for (uid, item) in [("own@x", meeting("Own")), ("their@x", invitation("Their"))] {
            let item = desk.exchange.create(ANNA, item.uid(uid)).unwrap();
            let (_, id, version, before) = desk.exchange.read(item).unwrap();
            let time = bare(timed("2026-12-07T09:00", "2026-12-07T10:00"));
            let write = create(&key(uid, None), time.clone());
            let outcome = desk.one(&write).await;
            assert!(
                is_refused(&outcome, "ews.write.meeting"),
                "{profile:?} {outcome:?}"
            );
            // As if it had been ours, and by its own id.
            for name in [uid, &id] {
                let record = Record {
                    key: key(uid, None),
                    remote: calbridge_core::model::SideRef {
                        id: name.to_owned(),
                        assigned: (name == uid).then(|| id.clone()),
                        version: Some(version.clone()),
                    },
                    content: time.clone(),
                };
                let moved = bare(timed("2026-12-08T09:00", "2026-12-08T10:00"));
                for write in [record.update(moved), record.delete()] {
                    let outcome = desk.one(&write).await;
                    assert!(
                        is_refused(&outcome, "ews.write.meeting"),
                        "{profile:?} {outcome:?}"
                    );
                }
            }
            assert_eq!(desk.writes_sent(), 0);
            assert_eq!(desk.exchange.read(item).unwrap().2, version);
            assert_eq!(desk.exchange.read(item).unwrap().3, before);
        }
    }
}

#[tokio::test]
async fn an_appointment_of_the_same_uid_is_told_and_not_doubled() {
    let desk = desk().await;
    let item = busy("2026-12-07T09:00", "2026-12-07T10:00").uid("one@x");
    desk.exchange.create(ANNA, item).unwrap();
    let time = timed("2026-12-08T09:00", "2026-12-08T10:00");
    let write = create(&key("one@x", None), bare(time.clone()));
    let outcome = desk.one(&write).await;
    let theirs = Record::theirs(&write, &outcome);
    assert_eq!(desk.writes_sent(), 0);
    // What the engine does next.
    let update = theirs.update(bare(time));
    assert!(matches!(desk.one(&update).await, Outcome::Done { .. }));
    assert_eq!(desk.items("one@x").len(), 1);
}

#[tokio::test]
async fn single_occurrences_of_a_series_that_the_mailbox_holds() {
    let desk = desk().await;
    let series = desk
        .exchange
        .create(
            ANNA,
            busy("2026-12-07T09:00", "2026-12-07T10:00")
                .uid("series@x")
                .repeating(daily(1, date(2026, 12, 7), Range::Numbered(5))),
        )
        .unwrap();
    let original = |day: i8| OriginalStart::Instant(dk(&format!("2026-12-{day:02}T09:00")));
    let occurrence = |day: i8| key("series@x", Some(original(day)));
    let time = |day: i8, hour: i8| {
        bare(timed(
            &format!("2026-12-{day:02}T{hour:02}:00"),
            &format!("2026-12-{day:02}T{:02}:30", hour + 1),
        ))
    };
    // They are there: nothing is made.
    let writes: Vec<_> = [8, 9, 10]
        .map(|day| create(&occurrence(day), time(day, 9)))
        .into();
    let outcomes = desk.apply(&writes).await;
    let records: Vec<Record> = writes
        .iter()
        .zip(&outcomes)
        .map(|(write, outcome)| Record::theirs(write, outcome))
        .collect();
    assert_eq!(desk.writes_sent(), 0);

    // Two moved in one call, one after the other; one removed.
    let writes = [
        records[0].update(time(8, 12)),
        records[1].update(time(9, 13)),
        records[2].delete(),
    ];
    let outcomes = desk.apply(&writes).await;
    assert!(
        outcomes
            .iter()
            .all(|one| matches!(one, Outcome::Done { .. })),
        "{outcomes:?}"
    );
    assert_eq!(desk.sent("UpdateItem").len(), 2);
    let held = desk.truth(ANNA, winter());
    let starts: Vec<&str> = held.iter().map(|fact| &fact.time[..20]).collect();
    assert_eq!(
        starts,
        [
            "2026-12-07T08:00:00Z",
            "2026-12-08T11:00:00Z",
            "2026-12-09T12:00:00Z",
            "2026-12-11T08:00:00Z"
        ]
    );

    // Moved once more, by the id that it had before it became an exception.
    let update = Record::of(&writes[0], &outcomes[0]).update(time(8, 14));
    assert!(matches!(desk.one(&update).await, Outcome::Done { .. }));
    // What was removed from the series is made as an appointment of its own.
    let write = create(&occurrence(10), time(10, 9));
    let record = Record::of(&write, &desk.one(&write).await);
    assert_eq!(desk.items(&record.remote.id).len(), 1);
    // The series itself is never written.
    let write = create(&key("series@x", None), time(7, 9));
    assert!(is_refused(&desk.one(&write).await, "ews.write.series"));
    assert_eq!(
        desk.exchange.read(series).unwrap().3.start,
        dk("2026-12-07T09:00")
    );
}

#[tokio::test]
async fn occurrences_of_a_series_elsewhere_are_appointments_of_their_own() {
    let desk = desk().await;
    let writes: Vec<_> = (7..12)
        .map(|day| {
            let at = dk(&format!("2026-12-{day:02}T09:00"));
            let key = key("series@x", Some(OriginalStart::Instant(at)));
            let time = timed(
                &format!("2026-12-{day:02}T09:00"),
                &format!("2026-12-{day:02}T10:00"),
            );
            create(&key, bare(time))
        })
        .collect();
    let outcomes = desk.apply(&writes).await;
    let records: Vec<Record> = writes
        .iter()
        .zip(&outcomes)
        .map(|(write, outcome)| Record::of(write, outcome))
        .collect();
    assert_eq!(desk.exchange.items(ANNA, Folder::Calendar).len(), 5);
    let listed = desk.inventory(winter()).await;
    for record in &records {
        let entry = listed
            .iter()
            .find(|one| one.remote == record.remote)
            .unwrap();
        assert_eq!(entry.key.as_ref(), Some(&record.key));
    }
    // All of them in one request.
    desk.exchange.ledger().clear();
    let updates: Vec<_> = records
        .iter()
        .map(|record| {
            let (start, end) = record.content.time.span_in(&support::copenhagen());
            let later = jiff::SignedDuration::from_hours(1);
            record.update(bare(
                EventTime::timed(start + later, end + later, None).unwrap(),
            ))
        })
        .collect();
    let outcomes = desk.apply(&updates).await;
    assert!(
        outcomes
            .iter()
            .all(|one| matches!(one, Outcome::Done { .. }))
    );
    assert_eq!(desk.sent("UpdateItem").len(), 1);
}

#[tokio::test]
async fn many_writes_go_in_batches() {
    let desk = desk().await;
    let writes: Vec<_> = (0..45)
        .map(|n| {
            let start = at("2026-12-01T08:00:00Z") + jiff::SignedDuration::from_hours(12 * n);
            let time = EventTime::timed(start, start, None).unwrap();
            create(&key(&format!("{n}@x"), None), full(time, &n.to_string()))
        })
        .collect();
    let outcomes = desk.apply(&writes).await;
    for (write, outcome) in writes.iter().zip(&outcomes) {
        let record = Record::of(write, outcome);
        assert_eq!(record.remote.id, write.key.uid());
    }
    assert_eq!(desk.sent("CreateItem").len(), 3);
    let listed = desk.inventory(winter()).await;
    assert_eq!(listed.len(), 45);
    for (write, outcome) in writes.iter().zip(&outcomes) {
        let record = Record::of(write, outcome);
        let entry = listed
            .iter()
            .find(|one| one.remote == record.remote)
            .unwrap();
        assert_eq!(entry.content.as_ref(), Some(&record.content));
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_listed_all_the_same() {
    let desk = desk().await;
    let one = desk
        .make("one@x", bare(timed("2026-12-07T09:00", "2026-12-07T10:00")))
        .await;
    desk.make("two@x", bare(timed("2026-12-08T09:00", "2026-12-08T10:00")))
        .await;
    desk.exchange
        .inject_spec("GetItem#1=item-error:ErrorItemCorrupt/1")
        .unwrap();
    let listed = desk.inventory(winter()).await;
    let told: Vec<_> = listed
        .iter()
        .map(|entry| (entry.remote.id.as_str(), entry.content.is_some()))
        .collect();
    assert_eq!(told, [("one@x", false), ("two@x", true)]);
    assert_eq!(listed[0].remote, one.remote);
}

#[tokio::test]
async fn calls_are_told_by_the_servers_own_reference() {
    let desk = desk().await;
    let write = create(
        &key("one@x", None),
        bare(timed("2026-12-07T09:00", "2026-12-07T10:00")),
    );
    let report = desk.try_apply(&[write]).await.unwrap();
    let [receipt] = report.receipts.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (receipt.operation.as_str(), receipt.events),
        ("CreateItem", 1)
    );
    assert!(receipt.reference.is_some());
    assert_eq!(report.outcomes[0].receipt, Some(0));
}

#[tokio::test]
async fn the_inventory_tells_our_own_records_alone() {
    let desk = desk().await;
    let near = desk
        .make(
            "near@x",
            bare(timed("2026-12-07T09:00", "2026-12-07T10:00")),
        )
        .await;
    desk.make("far@x", bare(timed("2027-12-07T09:00", "2027-12-07T10:00")))
        .await;
    let over = desk
        .make("over@x", bare(days(date(2026, 11, 29), date(2026, 12, 2))))
        .await;
    desk.add(ANNA, "2026-12-07T09:00", "2026-12-07T10:00");
    // Somebody copied ours: it has our mark, and a UID of its own.
    let (_, _, _, content) = desk.exchange.read(desk.item("near@x")).unwrap();
    desk.exchange.create(ANNA, NewItem::new(content)).unwrap();
    let mut listed: Vec<_> = desk
        .inventory(winter())
        .await
        .into_iter()
        .map(|entry| entry.remote)
        .collect();
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(listed, [near.remote.clone(), over.remote]);
    // And ours is the one that is written.
    let update = near.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
    let again = Record::of(&update, &desk.one(&update).await);
    assert_eq!(again.remote.assigned, near.remote.assigned);
    let blind = Record {
        remote: calbridge_core::model::SideRef::new("near@x").unwrap(),
        ..again
    };
    let outcome = desk.one(&blind.delete()).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(desk.items("near@x").is_empty());
}

#[tokio::test]
async fn attempts_are_found_by_what_they_left() {
    let desk = desk().await;
    let made = create(
        &key("one@x", None),
        bare(timed("2026-12-07T09:00", "2026-12-07T10:00")),
    );
    let record = Record::of(&made, &desk.one(&made).await);
    let never = create(
        &key("two@x", None),
        bare(timed("2026-12-07T09:00", "2026-12-07T10:00")),
    );
    let tokens = [never.token.clone(), made.token.clone()];
    let answers = desk.sink().probe(&anna(), &tokens).await.unwrap();
    let [Probe::Absent, Probe::Found { remote, content }] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!((remote, content.is_some()), (&record.remote, true));
    // A change leaves its own.
    let update = record.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
    desk.one(&update).await;
    let tokens = [update.token, made.token];
    let answers = desk.sink().probe(&anna(), &tokens).await.unwrap();
    assert!(matches!(
        answers.as_slice(),
        [Probe::Found { .. }, Probe::Absent]
    ));
}

#[tokio::test]
async fn only_the_fields_that_are_written_are_read() {
    let desk = desk().await;
    let record = desk
        .make("one@x", bare(timed("2026-12-07T09:00", "2026-12-07T10:00")))
        .await;
    let update = record.update(bare(timed("2026-12-08T09:00", "2026-12-08T10:00")));
    let record = Record::of(&update, &desk.one(&update).await);
    desk.one(&record.delete()).await;
    for call in desk.exchange.ledger().all() {
        for private in [
            "Subject",
            "Body",
            "Location",
            "Attendees",
            "Organizer",
            "Categories",
            "Sensitivity",
        ] {
            let asked = call
                .detail
                .properties
                .iter()
                .any(|one| one.contains(private));
            assert!(!asked, "{}: {private}", call.operation);
        }
    }
}
