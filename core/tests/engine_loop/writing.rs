//! Writing: outages, unanswered calls, refusals, guard.

use calbridge_core::connector::{ErrorKind, Outcome};
use calbridge_core::engine::SyncOptions;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";

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
        .sync_once(
            sync,
            &SyncOptions::default(),
            &world.shutdown,
            &calbridge_core::engine::Silent,
        )
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
