//! Whatever happens, the file opens, and no cursor is ahead of its views.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{Store, ViewChange};
use proptest::prelude::*;

use crate::files::{Place, beside};
use crate::support::{CONNECTION, Fixture, SYNC, event, now};

const EVENTS_A_PAGE: usize = 12;

fn page(number: usize) -> Vec<ViewChange> {
    (0..EVENTS_A_PAGE)
        .map(|n| {
            let id = format!("{number}-{n}");
            let mut event = event(&id, &id);
            event.content.subject = Some("x".repeat(n * 40));
            ViewChange::Seen(event)
        })
        .collect()
}

/// Opens what a crash left and checks that it is the state after some whole page; answers its number.
async fn check(path: &Path) -> usize {
    let store = SqliteStore::open(path, now()).unwrap();
    let Some(state) = store.calendars(SYNC).await.unwrap().into_iter().next() else {
        return 0;
    };
    let known = store.source_state(CONNECTION, state.id).await.unwrap();
    let pages: usize = known.cursor.map_or(0, |cursor| cursor.0.parse().unwrap());
    let rows = store.rows(SYNC, CONNECTION, state.id).await.unwrap();
    let items: BTreeSet<String> = rows
        .unlinked
        .into_iter()
        .map(|view| view.event.item.id)
        .collect();
    let expected: BTreeSet<String> = (1..=pages)
        .flat_map(|number| (0..EVENTS_A_PAGE).map(move |n| format!("{number}-{n}")))
        .collect();
    assert_eq!(items, expected, "after page {pages}");
    // And work goes on.
    let fence = store.acquire("after", now()).await.unwrap();
    store
        .begin_round(fence, CONNECTION, state.id)
        .await
        .unwrap();
    pages
}

/// The files as they are after each verb, and the log cut anywhere behind what was there before: as if the
/// power went while the last transactions were on their way to the disk.
#[tokio::test]
async fn every_prefix_of_the_log_is_a_whole_state() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let round = it.begin().await;
    for number in 1..=6 {
        it.checkpoint(round, page(number), &number.to_string())
            .await;
    }
    let database = std::fs::read(&place.path).unwrap();
    let log = std::fs::read(place.beside("-wal")).unwrap();
    assert!(
        log.len() > 30 * 4096,
        "nothing was brought into the file yet"
    );

    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let handle = tokio::runtime::Handle::current();
    let seen = std::sync::Mutex::new(BTreeSet::new());
    tokio::task::spawn_blocking(move || {
        runner
            .run(&(0..=log.len()), |cut| {
                let copy = Place::new();
                std::fs::write(&copy.path, &database).unwrap();
                std::fs::write(copy.beside("-wal"), &log[..cut]).unwrap();
                seen.lock()
                    .unwrap()
                    .insert(handle.block_on(check(&copy.path)));
                Ok(())
            })
            .unwrap();
        assert!(seen.lock().unwrap().len() > 2, "cuts at several pages");
    })
    .await
    .unwrap();
}

const CHILD: &str = "CALBRIDGE_TEST_STATE";

/// Not a test by itself: what [`a_killed_process_leaves_a_whole_state`] kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let it = Fixture::over(SqliteStore::open(path, now()).unwrap()).await;
    let known = it
        .store
        .source_state(CONNECTION, it.calendar)
        .await
        .unwrap();
    let done: usize = known.cursor.map_or(0, |cursor| cursor.0.parse().unwrap());
    let round = it.begin().await;
    for number in done + 1.. {
        it.checkpoint(round, page(number), &number.to_string())
            .await;
    }
}

/// The number of the last page that is stored, as somebody else sees it.
async fn cursor(path: &Path) -> usize {
    let Ok(store) = SqliteStore::open_read_only(path) else {
        return 0;
    };
    let calendars = store.calendars(SYNC).await.unwrap_or_default();
    let Some(state) = calendars.first() else {
        return 0;
    };
    let known = store.source_state(CONNECTION, state.id).await.unwrap();
    known.cursor.map_or(0, |cursor| cursor.0.parse().unwrap())
}

#[tokio::test]
async fn a_killed_process_leaves_a_whole_state() {
    let place = Place::new();
    let mut pages = 0;
    for wait in [1, 150, 33, 90, 7] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_writes_until_it_is_killed"])
            .env(CHILD, &place.path)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // However slow the machine, the child comes to write before it is killed.
        let began = std::time::Instant::now();
        while cursor(&place.path).await <= pages {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the child does not write"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(wait)).await;
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let copy = Place::new();
        for ending in ["", "-wal"] {
            let from = beside(&place.path, ending);
            if from.exists() {
                std::fs::copy(from, copy.beside(ending)).unwrap();
            }
        }
        let now = check(&copy.path).await;
        assert!(now > pages, "what was stored stays stored");
        pages = now;
    }
}
