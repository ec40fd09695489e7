//! Writes that were taken and are answered later, and writes of which nobody knows what became of them.

use calbridge_core::clock::Clock;
use calbridge_core::connector::{AttemptToken, Outcome, Probe};
use calbridge_core::engine::{OnSink, SyncOptions};
use calbridge_core::model::SideRef;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";

fn reconcile() -> SyncOptions {
    SyncOptions {
        reconcile: true,
        ..SyncOptions::default()
    }
}

fn tokens(world: &World) -> Vec<AttemptToken> {
    std::mem::take(&mut world.sink.state.lock().unwrap().tokens)
}

#[tokio::test]
async fn what_was_taken_and_is_listed_later_is_acknowledged_and_not_sent_again() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("moved", "2026-12-01 10:00"));
    world.source.put(ANNA, event("gone", "2026-12-02 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.sink.answer(|a| a.accepts = true);
    world.source.put(ANNA, event("moved", "2026-12-01 12:00"));
    world.source.put(ANNA, event("new", "2026-12-03 10:00"));
    world.source.remove(ANNA, "gone");
    let report = world.sync_well().await;
    assert_eq!(report.total.waiting, 3);
    assert_eq!(
        world.sink.writes(),
        ["update moved", "create new", "delete gone"]
    );
    // Not sent again while it waits.
    world.sync_well().await;
    world.sink.work_off();
    let before = world.sink.state.lock().unwrap().inventories;
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.state.lock().unwrap().inventories, before + 1);
    for row in world.rows(ANNA).await {
        assert_eq!((row.attempt.as_ref(), row.retry.as_ref()), (None, None));
        assert_eq!(row.sink.acknowledged, Some(world.clock.now()));
        assert_eq!(row.sink.state == OnSink::Present, row.source.is_some());
    }
    for _ in 0..3 {
        world.forward(8);
        world.sync_with(reconcile()).await;
    }
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn what_was_taken_and_never_done_is_sent_again_by_its_name_and_given_up_in_the_end() {
    let world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.accepts = true);
    world.source.put(ANNA, event("a", "2027-01-20 10:00"));
    for _ in 0..400 {
        world.sync_well().await;
        world.forward(1);
        world.sink.state.lock().unwrap().pending.clear();
    }
    let sent = tokens(&world);
    assert_eq!(sent.len(), 12);
    assert!(sent.iter().all(|token| *token == sent[0]), "{sent:?}");
    let dead = world.rows(ANNA).await[0].dead.clone().unwrap();
    assert_eq!(dead.code, "unconfirmed");
    // A change opens it again, under another name.
    world.source.put(ANNA, event("a", "2027-01-20 12:00"));
    world.sync_well().await;
    assert_ne!(tokens(&world), sent[..1]);
    world.sink.work_off();
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.rows(ANNA).await[0].dead, None);
    assert_eq!(world.sink.records(), ["anna@x.dk a 2027-01-20T11:00:00Z"]);
}

#[tokio::test]
async fn what_changed_since_it_was_taken_is_sent_at_once() {
    let world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.accepts = true);
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sink.work_off();
    world.source.put(ANNA, event("a", "2026-12-01 12:00"));
    world.sync_well().await;
    world.sink.work_off();
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.records(), ["anna@x.dk a 2026-12-01T11:00:00Z"]);
    world.source.remove(ANNA, "a");
    world.sync_well().await;
    world.sink.work_off();
    for _ in 0..3 {
        world.forward(1);
        world.sync_with(reconcile()).await;
    }
    assert!(world.sink.ids().is_empty());
    assert_eq!(world.rows(ANNA).await[0].sink.state, OnSink::Absent);
}

#[tokio::test]
async fn a_crash_after_the_write_was_taken_sends_nothing_twice() {
    let mut world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.accepts = true);
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.restart(sync_config()).await;
    world.sync_well().await;
    world.sink.work_off();
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create a"]);
}

#[tokio::test]
async fn an_update_of_unknown_fate_that_the_inventory_shows_is_not_repeated() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sink.answer(|a| a.silent = true);
    world.source.put(ANNA, event("a", "2026-12-01 12:00"));
    world.sync().await;
    world.sink.answer(|a| a.silent = false);
    world.sink.writes();
    world.forward(1);
    world.sync_with(reconcile()).await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn a_sink_that_never_tells_is_sent_to_again_and_in_the_end_no_more() {
    let world = World::new(&[ANNA])
        .await
        .sink_that(|s| s.inventory = None)
        .await;
    world.sink.answer(|a| a.accepts = true);
    world.source.put(ANNA, event("a", "2027-01-20 10:00"));
    for _ in 0..400 {
        world.sync_well().await;
        world.forward(1);
    }
    assert_eq!(tokens(&world).len(), 12);
    assert!(world.rows(ANNA).await[0].dead.is_some());
}

/// A sink that would double what is created twice.
async fn doubling() -> World {
    let world = World::new(&[ANNA]).await;
    world
        .sink_that(|sink| {
            sink.idempotent_upsert = false;
            sink.probe = true;
        })
        .await
}

#[tokio::test]
async fn an_unanswered_create_is_only_probed_and_given_up_where_nobody_can_tell() {
    let world = doubling().await;
    world.source.put(ANNA, event("a", "2027-01-20 10:00"));
    world.sink.answer(|a| {
        a.scripted.insert("a".to_owned(), Outcome::Unknown);
    });
    for _ in 0..400 {
        world.sync_well().await;
        world.forward(1);
    }
    assert_eq!(world.sink.writes(), ["create a"]);
    let probes = world.sink.state.lock().unwrap().probes;
    assert_eq!(probes, 11, "the write and its probes are twelve tries");
    let row = world.rows(ANNA).await.remove(0);
    assert_eq!(row.dead.unwrap().code, "unconfirmed");
    assert_eq!(row.sink.state, OnSink::Unknown);
    // A change opens it, and it is probed again before anything is sent.
    world.source.put(ANNA, event("a", "2027-01-20 12:00"));
    world.sink.answer(|a| {
        a.scripted.clear();
        a.probe = Some(Probe::Absent);
    });
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create a"]);
    assert_eq!(world.sink.records(), ["anna@x.dk a 2027-01-20T11:00:00Z"]);
}

#[tokio::test]
async fn a_probe_that_finds_the_record_adopts_it_and_one_that_finds_none_repeats_it_by_its_name() {
    let world = doubling().await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| {
        a.scripted.insert("a".to_owned(), Outcome::Unknown);
        a.probe = Some(Probe::Absent);
    });
    world.sync_well().await;
    world.forward(1);
    world.sync_well().await;
    let sent = tokens(&world);
    assert_eq!((sent.len(), &sent[0]), (2, &sent[1]));
    world.sink.answer(|a| {
        a.scripted.clear();
        a.probe = Some(Probe::Found {
            remote: SideRef::new("a").unwrap(),
            content: Some(event("a", "2026-12-01 10:00").content),
        });
    });
    world.forward(1);
    world.sync_well().await;
    assert!(tokens(&world).is_empty());
    assert_eq!(world.rows(ANNA).await[0].sink.state, OnSink::Present);
}

#[tokio::test]
async fn unanswered_create_then_removed_leaves_no_ghost() {
    let world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.wants_base = true);
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| a.silent = true);
    world.sync().await;
    assert_eq!(world.sink.ids(), ["a"]);
    world.sink.answer(|a| a.silent = false);
    world.source.remove(ANNA, "a");
    world.forward(1);
    world.sync().await;
    for _ in 0..3 {
        world.forward(24);
        world.sync_with(reconcile()).await;
    }
    assert!(
        world.sink.ids().is_empty(),
        "{:?} {:?}",
        world.sink.ids(),
        world.sink.writes()
    );
}
