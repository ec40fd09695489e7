//! Writing: outages, unanswered calls, refusals, guard.

use std::time::Duration;

use calbridge_core::clock::Clock;
use calbridge_core::connector::{Error, ErrorKind, Outcome, Scope};
use calbridge_core::engine::{Silent, SyncOptions};
use calbridge_core::model::Event;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

#[tokio::test]
async fn k076_w2_an_outage_loses_nothing() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("known", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.sink.answer(|answers| answers.outage = Some(outage()));
    // The roster cannot be had either: the sync says so.
    let sync = &world.engine.syncs()[0];
    let failed = world
        .engine
        .sync_once(sync, &SyncOptions::default(), &world.shutdown, &Silent)
        .await;
    assert!(failed.is_err());
    world.source.put(ANNA, event("known", "2026-12-01 11:00"));
    world.source.put(ANNA, event("known", "2026-12-01 12:00"));
    world.source.put(ANNA, event("new", "2026-12-02 10:00"));
    world.sink.answer(|answers| answers.outage = None);
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["update known", "create new"]);
    assert_eq!(
        world.sink.records()[0],
        "anna@x.dk known 2026-12-01T11:00:00Z"
    );
}

#[tokio::test]
async fn k075_k085_an_unanswered_call_is_repeated_without_a_double() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|answers| answers.silent = true);
    let report = world.sync().await;
    assert_eq!(report.total.waiting, 1);
    assert_eq!(world.sink.ids(), ["a"]);
    world.sink.answer(|answers| answers.silent = false);
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a"]);
    world.sink.writes();
    world.forward(1);
    world.sync_well().await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn k031_k127_one_refused_write_stops_no_other() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sink.answer(|answers| {
        answers.scripted.insert(
            "e3".to_owned(),
            Outcome::Rejected {
                code: "6203".to_owned(),
                message: "no".to_owned(),
            },
        );
    });
    let report = world.sync_well().await;
    assert_eq!((report.total.created, report.total.rejected), (6, 1));
    world.sink.writes();
    world
        .sync_with(SyncOptions {
            full: true,
            reconcile: true,
            ..SyncOptions::default()
        })
        .await;
    assert!(
        world.sink.writes().is_empty(),
        "a dead letter is not sent again"
    );
}

#[tokio::test]
async fn k071_foreign_stays_foreign_through_reconciliation_and_restart() {
    let mut world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("own", "2026-12-01 10:00"));
    world.sink.answer(|answers| {
        answers.scripted.insert("own".to_owned(), Outcome::Foreign);
    });
    world.sync_well().await;
    world.sink.writes();
    world.restart(sync_config()).await;
    world.source.put(ANNA, event("own", "2026-12-01 12:00"));
    world
        .sync_with(SyncOptions {
            full: true,
            reconcile: true,
            ..SyncOptions::default()
        })
        .await;
    world.source.remove(ANNA, "own");
    world.sync_well().await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn an_emptied_calendar_is_held_and_lets_go_when_it_is_back() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    world.sink.writes();
    for n in 1..8 {
        world.source.remove(ANNA, &format!("e{n}"));
    }
    let report = world.sync_well().await;
    assert_eq!((report.total.held, report.total.deleted), (7, 0));
    assert!(world.sink.writes().is_empty());
    // A held delete blocks no create.
    world.source.put(ANNA, event("new", "2026-12-09 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create new"]);
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    let report = world.sync_well().await;
    assert_eq!(report.total.held, 0);
    assert!(
        world.sink.writes().is_empty(),
        "what came back was never deleted"
    );
}

#[tokio::test]
async fn refused_credentials_are_tried_seldom_and_taken_up_again() {
    let world = World::new(&[ANNA, "bo@x.dk"]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.source.answer(|answers| {
        let mut refused = outage();
        refused.kind = ErrorKind::Auth;
        for address in [ANNA, "bo@x.dk"] {
            answers.refuse.insert(address.to_owned(), refused.clone());
        }
    });
    let before = world.source.requests().len();
    for _ in 0..10 {
        assert_eq!(world.sync().await.failures(), 2);
    }
    let tried = world.source.requests().len() - before;
    assert_eq!(
        tried, 1,
        "one refused password in a quarter of an hour, for all calendars"
    );
    world.source.answer(|answers| answers.refuse.clear());
    assert_eq!(world.sync().await.failures(), 2, "not yet");
    world.engine.reopen("exchange");
    world.sync_well().await;
}

#[tokio::test]
async fn k088_calls_and_decisions_are_kept_with_the_reference() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    let calls = world.store.calls(10).await.unwrap();
    assert_eq!(calls[0].receipt.reference.as_deref(), Some("b6a7a5a2"));
    let calendar = world.store.calendars("jobcenter").await.unwrap()[0].id;
    let rows = world
        .store
        .rows("jobcenter", "exchange", calendar)
        .await
        .unwrap();
    for hour in 10..40 {
        let at = format!("2026-12-{:02} {:02}:00", 1 + hour / 24, hour % 24);
        world.source.put(ANNA, event("a", &at));
        world.sync_well().await;
    }
    let decisions = world.store.decisions(rows.rows[0].link).await.unwrap();
    assert_eq!(decisions.len(), 20);
    assert_eq!(decisions[0].outcome.as_deref(), Some("done"));
}

#[tokio::test]
async fn k063_k064_calls_are_separate_by_calendar_bounded_in_size_and_in_order_of_start() {
    let world = World::new(&[ANNA, "bo@x.dk", "carl@x.dk"]).await;
    for address in [ANNA, "bo@x.dk", "carl@x.dk"] {
        for n in 1..11 {
            let mut event = event(
                &format!("{address}{n:02}"),
                &format!("2026-12-{:02} 10:00", 31 - n),
            );
            event.item.id = format!("{address}{n}");
            world.source.put(address, event);
        }
    }
    world.sync_well().await;
    // Ten each, in batches of four: three calls per calendar.
    assert_eq!(world.sink.state.lock().unwrap().calls, 9);
    let writes = world.sink.writes();
    let mine: Vec<_> = writes.iter().filter(|write| write.contains(ANNA)).collect();
    assert!(
        mine.is_sorted_by(|a, b| a > b),
        "later numbers start earlier: {mine:?}"
    );
}

fn reconcile() -> SyncOptions {
    SyncOptions {
        reconcile: true,
        ..SyncOptions::default()
    }
}

#[tokio::test]
async fn one_write_that_makes_the_batch_refused_stops_no_other() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world
        .sink
        .answer(|a| a.refuse_batch_with = Some("e3".to_owned()));
    for _ in 0..5 {
        world.sync().await;
        world.forward(2);
    }
    assert_eq!(world.sink.ids(), ["e1", "e2", "e4", "e5", "e6", "e7"]);
}

#[tokio::test]
async fn an_apply_that_fails_as_a_whole_loses_nothing() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .sink
        .answer(|a| a.refuse_batch_with = Some("a".to_owned()));
    assert_eq!(world.sync().await.total.rejected, 1);
    world.source.put(ANNA, event("a", "2026-12-01 12:00"));
    world.sink.answer(|a| a.refuse_batch_with = None);
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.records(), ["anna@x.dk a 2026-12-01T11:00:00Z"]);
}

#[tokio::test]
async fn writes_within_a_series_go_one_by_one_where_versions_count() {
    let world = World::new(&[ANNA]).await;
    let versioned = MemorySink::default();
    versioned.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    let mut config = sync_config();
    config.name = "versioned".to_owned();
    config.sink = "versioned".to_owned();
    let mut writes = sink_capabilities();
    writes.sink.as_mut().unwrap().conditional_write = true;
    let engine = world
        .with_sink("versioned", &versioned, writes, config)
        .await;
    for day in 1..5 {
        let at = format!("2026-12-0{day} 09:00");
        world.source.put(ANNA, occurrence("series", &at, &at));
    }
    engine
        .sync_once(
            &engine.syncs()[1],
            &SyncOptions::default(),
            &world.shutdown,
            &Silent,
        )
        .await
        .unwrap();
    let batches = versioned.state.lock().unwrap().batches.clone();
    assert_eq!(batches.len(), 4);
    assert!(batches.iter().all(|batch| batch.len() == 1), "{batches:?}");
}

#[tokio::test]
async fn stopped_between_a_delete_and_its_record_then_the_event_is_back() {
    let mut world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.source.remove(ANNA, "a");
    world
        .sink
        .answer(|a| a.slow = Some(Duration::from_millis(400)));
    // Another run takes the store over while the call is under way: what it answers is never stored.
    let (report, _) = tokio::join!(world.sync(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world
            .store
            .acquire("next run", world.clock.now())
            .await
            .unwrap();
    });
    assert_eq!(report.failures(), 1);
    assert!(world.sink.ids().is_empty());
    world.sink.answer(|a| a.slow = None);
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.restart(sync_config()).await;
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a"]);
}

#[tokio::test]
async fn a_sink_that_cuts_seconds_is_not_written_for_ever() {
    let world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.whole_minutes = true);
    world.source.put(ANNA, event("a", "2026-12-01 10:00:30"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create a"]);
    for _ in 0..6 {
        world.forward(4);
        world.sync_with(reconcile()).await;
    }
    assert!(world.sink.writes().is_empty());
    // A second's change on the source is sent all the same.
    world.source.put(ANNA, event("a", "2026-12-01 10:00:31"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["update a"]);
}

#[tokio::test]
async fn a_dead_letter_is_closed_when_its_event_vanishes() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| {
        a.scripted.insert(
            "a".to_owned(),
            Outcome::Rejected {
                code: "6203".to_owned(),
                message: String::new(),
            },
        );
    });
    world.sync_well().await;
    world.source.remove(ANNA, "a");
    world.sync_well().await;
    let calendar = world.store.calendars("jobcenter").await.unwrap()[0].id;
    let counts = world
        .store
        .counts("jobcenter", "exchange", calendar)
        .await
        .unwrap();
    assert_eq!(counts.dead, 0);
}

#[tokio::test]
async fn a_panicking_connector_stops_no_other_calendar() {
    let world = World::new(&[ANNA, BO]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(BO, event("b", "2026-12-01 10:00"));
    world.sink.answer(|a| a.panic_for = Some(ANNA.to_owned()));
    let report = world.sync().await;
    assert_eq!(report.failures(), 1);
    assert_eq!(world.sink.ids(), ["b"]);
}

#[tokio::test]
async fn one_write_that_is_never_answered_stops_no_other_of_its_calendar() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2027-01-0{n} 10:00")),
        );
    }
    world
        .sink
        .answer(|a| a.times_out_with = Some("e2".to_owned()));
    for _ in 0..6 {
        world.sync().await;
        world.forward(2);
    }
    assert_eq!(world.sink.ids(), ["e1", "e3", "e4", "e5", "e6", "e7"]);
    // Others keep being told, and are answered: it is the write that is to blame, and it is given up.
    world.sink.writes();
    for n in 0..60 {
        let (day, hour) = (10 + n % 10, 8 + n % 7);
        world
            .source
            .put(ANNA, event("e7", &format!("2027-01-{day} {hour:02}:00")));
        world.sync().await;
        world.forward(7);
    }
    let writes = world.sink.writes();
    let tried = writes.iter().filter(|write| write.ends_with(" e2")).count();
    assert!((5..=12).contains(&tried), "{tried} times");
    let rows = world.rows(ANNA).await;
    let row = rows.iter().find(|row| row.key.uid() == "e2").unwrap();
    assert!(row.dead.is_some());
}

#[tokio::test]
async fn outcomes_that_nobody_asked_for_and_missing_ones_change_nothing_else() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(ANNA, event("b", "2026-12-02 10:00"));
    world.sink.answer(|a| a.strange = true);
    world.sync_well().await;
    world.sink.answer(|a| a.strange = false);
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a", "b"]);
    for row in world.rows(ANNA).await {
        assert_eq!((row.attempt, row.dead, row.retry), (None, None, None));
    }
}

#[tokio::test]
async fn a_calendar_that_is_refused_as_a_whole_buries_none_of_its_writes() {
    for scope in [Scope::Calendar, Scope::Connection] {
        let world = World::new(&[ANNA]).await;
        world.sync_well().await;
        world.source.put(ANNA, event("a", "2026-12-01 10:00"));
        world.source.put(ANNA, event("b", "2026-12-02 10:00"));
        let refused = Error::new(ErrorKind::Rejected, scope, "test.not-ours", "refused");
        world.sink.answer(|a| a.outage = Some(refused));
        let sync = &world.engine.syncs()[0];
        let options = SyncOptions::default();
        for _ in 0..2 {
            // The roster is refused as well; what is known of it stays.
            let _ = world
                .engine
                .sync_once(sync, &options, &world.shutdown, &Silent)
                .await;
        }
        world.sink.answer(|a| {
            a.outage = None;
            a.refuse_apply = Some(Error::new(
                ErrorKind::Rejected,
                scope,
                "test.not-ours",
                "refused",
            ));
        });
        world.forward(1);
        assert_eq!(world.sync().await.failures(), 1);
        for row in world.rows(ANNA).await {
            assert_eq!(row.dead, None);
        }
        world.sink.answer(|a| a.refuse_apply = None);
        world.forward(2);
        world.sync_well().await;
        assert_eq!(world.sink.ids(), ["a", "b"]);
    }
}

/// The program dies after the sink has done what it was asked and before the answer is stored.
async fn dies_before_the_answer_is_stored(world: &mut World) {
    world
        .sink
        .answer(|a| a.slow = Some(Duration::from_millis(200)));
    let (report, _) = tokio::join!(world.sync(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world
            .store
            .acquire("next run", world.clock.now())
            .await
            .unwrap();
    });
    assert_eq!(report.failures(), 1);
    world.sink.answer(|a| a.slow = None);
    world.restart(sync_config()).await;
}

#[tokio::test]
async fn whatever_was_under_way_when_the_program_died_ends_as_the_source_is_now() {
    // What the sink was asked to do, and what the source holds afterwards.
    let first = event("a", "2026-12-01 10:00");
    let second = event("a", "2026-12-01 12:00");
    let third = event("a", "2026-12-01 14:00");
    let states = [None, Some(&first), Some(&second), Some(&third)];
    for before in [None, Some(&first)] {
        for sent in [None, Some(&first), Some(&second)] {
            for after in states {
                if before == sent {
                    continue;
                }
                let mut world = World::new(&[ANNA]).await;
                let hold = |world: &World, event: Option<&Event>| match event {
                    Some(event) => world.source.put(ANNA, event.clone()),
                    None => world.source.remove(ANNA, "a"),
                };
                hold(&world, before);
                world.sync_well().await;
                hold(&world, sent);
                dies_before_the_answer_is_stored(&mut world).await;
                hold(&world, after);
                for _ in 0..3 {
                    world.forward(1);
                    world.sync_well().await;
                }
                let wanted: Vec<_> = after
                    .map(|event| {
                        let (start, _) = event.content.time.span_in(&jiff::tz::TimeZone::UTC);
                        format!("anna@x.dk a {start}")
                    })
                    .into_iter()
                    .collect();
                assert_eq!(
                    world.sink.records(),
                    wanted,
                    "{before:?} then {sent:?} then {after:?}"
                );
                world.sink.writes();
                world.forward(1);
                world.sync_well().await;
                assert!(world.sink.writes().is_empty());
            }
        }
    }
}
