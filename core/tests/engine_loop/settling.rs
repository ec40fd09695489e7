//! A calendar that has nothing to do is not planned again; whatever could change that wakes it.

use std::path::Path;
use std::sync::Arc;

use calbridge_core::connector::Outcome;
use calbridge_core::engine::SyncOptions;
use calbridge_core::store::Store;
use calbridge_core::store::sqlite::SqliteStore;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";

/// What the calendar is settled on, as it is stored.
fn settled(file: &Path) -> Option<String> {
    let reader =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    reader
        .query_row("SELECT settled FROM member", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn a_calendar_with_nothing_to_do_is_settled_until_there_is_a_cause() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.db");
    let mut world = World::new(&[ANNA]).await;
    world.store =
        Arc::new(SqliteStore::open(&file, at("2026-11-23 08:00")).unwrap()) as Arc<dyn Store>;
    world.restart(sync_config()).await;
    let settle = async |world: &World| {
        let report = world.sync_well().await;
        assert_eq!(report.calendars[0].report.calls, 0);
        settled(&file).expect("a pass that found nothing to do settles it")
    };

    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(ANNA, event("b", "2026-12-02 10:00"));
    world.sync_well().await;
    assert_eq!(settled(&file), None, "something was written just now");
    let first = settle(&world).await;
    assert_eq!(settle(&world).await, first);

    // The source.
    world.source.put(ANNA, event("a", "2026-12-01 12:00"));
    assert_eq!(world.sync_well().await.calendars[0].report.updated, 1);
    assert_eq!(settle(&world).await, first);

    // Somebody who changes the sink.
    world.forward(1);
    let id = world.sink.ids()[0].clone();
    world.sink.put(ANNA, &id, &event("a", "2026-12-01 15:00"));
    let compare = SyncOptions {
        reconcile: true,
        ..SyncOptions::default()
    };
    let report = world.sync_with(compare).await;
    assert_eq!(report.calendars[0].report.updated, 1, "put back");
    assert_eq!(settle(&world).await, first);

    // Other rules.
    let mut rules = sync_config();
    rules.window.future = jiff::Span::new().days(2);
    world.restart(rules).await;
    assert_eq!(world.sync_well().await.calendars[0].report.deleted, 2);
    world.restart(sync_config()).await;
    assert_eq!(world.sync_well().await.calendars[0].report.created, 2);
    assert_eq!(settle(&world).await, first);

    // Another day.
    world.forward(24);
    assert_ne!(settle(&world).await, first);
}

#[tokio::test]
async fn what_waits_or_was_refused_is_not_settled() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.db");
    let mut world = World::new(&[ANNA]).await;
    world.store =
        Arc::new(SqliteStore::open(&file, at("2026-11-23 08:00")).unwrap()) as Arc<dyn Store>;
    world.restart(sync_config()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    for (outcome, waits) in [
        (
            Outcome::Retry {
                after_ms: Some(3_600_000),
                code: None,
            },
            1,
        ),
        (
            Outcome::Rejected {
                code: "6203".to_owned(),
                message: "no".to_owned(),
            },
            0,
        ),
    ] {
        world.sink.answer(|answers| {
            answers.scripted.insert("a".to_owned(), outcome);
        });
        world.sync().await;
        let report = world.sync().await.calendars[0].report.clone();
        assert_eq!((report.waiting, report.refused), (waits, 1 - waits));
        assert_eq!(settled(&file), None);
        world.forward(2);
    }
    world.sink.answer(|answers| answers.scripted.clear());
    world.source.put(ANNA, event("a", "2026-12-01 12:00"));
    world.sync_well().await;
    world.sync_well().await;
    assert!(settled(&file).is_some());
}
