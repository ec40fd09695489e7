//! What is kept, and for how long.

use std::sync::Arc;

use calbridge_core::clock::Clock;
use calbridge_core::engine::{ConnectionHandle, Engine, Silent, SyncOptions};
use calbridge_core::model::*;
use calbridge_core::store::Retention;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";

#[tokio::test]
async fn a_private_events_texts_are_not_kept() {
    let world = World::new(&[ANNA]).await;
    let mut config = sync_config();
    config.name = "archive".to_owned();
    config.sink = "archive".to_owned();
    let second = MemorySink::default();
    second.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    let mut writes = sink_capabilities();
    writes.sink.as_mut().unwrap().fields = [Field::Time, Field::Subject].into_iter().collect();
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().fields =
        [Field::Time, Field::ShowAs, Field::Subject, Field::Private]
            .into_iter()
            .collect();
    let fence = world.store.acquire("t", world.clock.now()).await.unwrap();
    let engine = Engine::new(
        Arc::clone(&world.store),
        fence,
        world.clock.clone(),
        [
            Arc::new(ConnectionHandle::new(
                "exchange",
                "1",
                reads,
                Arc::new(world.source.clone()),
            )),
            Arc::new(ConnectionHandle::new(
                "archive",
                "1",
                writes,
                Arc::new(second.clone()),
            )),
        ],
        vec![config],
    )
    .unwrap();
    let mut secret = event("a", "2026-12-01 10:00");
    secret.content.subject = Some("Canary".to_owned());
    secret.content.private = Some(true);
    world.source.put(ANNA, secret);
    engine
        .sync_once(
            &engine.syncs()[0],
            &SyncOptions::default(),
            &world.shutdown,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!(second.ids(), ["a"]);
    let calendar = world.store.calendars("archive").await.unwrap()[0].id;
    let rows = world
        .store
        .rows("archive", "exchange", calendar)
        .await
        .unwrap();
    let kept = &rows.rows[0].source.as_ref().unwrap().event.content;
    assert_ne!(kept.subject.as_deref(), Some("Canary"));
}

#[tokio::test]
async fn rows_inside_the_window_are_not_pruned_and_written_again() {
    let mut config = sync_config();
    config.window = serde_json::from_str(r#"{"past":"3 months","future":"3 months"}"#).unwrap();
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("old", "2026-10-01 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create old"]);
    for _ in 0..3 {
        world.engine.prune(Retention::default()).await.unwrap();
        world
            .sync_with(SyncOptions {
                full: true,
                ..SyncOptions::default()
            })
            .await;
    }
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn what_went_from_inside_the_window_after_pruning_is_deleted() {
    let mut config = sync_config();
    config.window = serde_json::from_str(r#"{"past":"3 months","future":"3 months"}"#).unwrap();
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("old", "2026-10-01 10:00"));
    world.source.put(ANNA, event("new", "2026-12-01 10:00"));
    world.sync_well().await;
    world.engine.prune(Retention::default()).await.unwrap();
    world.source.remove(ANNA, "old");
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["new"]);
}
