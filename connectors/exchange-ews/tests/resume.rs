//! Readings that a busy server breaks off go on where they were broken off.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::ErrorKind;
use calbridge_core::model::{Field, FieldSet};
use calbridge_sandbox::exchange::{ItemHandle, Profile, Range};
use jiff::SignedDuration;
use jiff::civil::date;
use support::{ANNA, Bench, after, daily, dk, read_some, request, winter};

const PROFILES: [Profile; 2] = [Profile::Exchange2019, Profile::Gromox];

/// 1,200 old items, three pages of a walk, and one inside the window.
fn fill(bench: &Bench) -> Vec<ItemHandle> {
    let items = (0..1200)
        .map(|n| {
            let start = format!("2025-{:02}-{:02}T09:00", 1 + n / 100, 1 + n % 28);
            bench.add(ANNA, &start, &start.replace("09:00", "10:00"))
        })
        .collect();
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    items
}

#[tokio::test]
async fn a_first_walk_that_is_throttled_again_and_again_comes_to_its_end() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        fill(&bench);
        // Two pages, then a wait; and again.
        for busy in [3, 4] {
            bench
                .exchange
                .inject_spec(&format!("SyncFolderItems#{busy}=busy-503:7"))
                .unwrap();
        }
        // As the core asks after a first feed that failed: it stored no cursor.
        for _ in 0..2 {
            let (feed, error) = read_some(bench.connection.as_ref(), request(ANNA, winter())).await;
            assert_eq!(error.unwrap().kind, ErrorKind::Throttled, "{profile:?}");
            assert!(feed.events.is_empty() && feed.snapshots.is_empty());
        }
        // What changes meanwhile is not lost.
        bench.add(ANNA, "2026-12-04T09:00", "2026-12-04T10:00");
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        assert_eq!(feed.events.len(), 2);
        // Two pages, two refusals, the rest.
        assert_eq!(
            bench.exchange.ledger().count("SyncFolderItems"),
            5,
            "{profile:?}"
        );
        let quiet = bench.read(after(&feed, &first)).await.unwrap();
        assert!(quiet.snapshots.is_empty());
    }
}

#[tokio::test]
async fn a_walk_from_a_cursor_has_checkpoints_that_stand_for_what_is_still_to_be_read() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let items = fill(&bench);
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        for item in items {
            bench
                .exchange
                .move_in_time(item, SignedDuration::from_hours(1))
                .unwrap();
        }
        bench.add(ANNA, "2026-12-04T09:00", "2026-12-04T10:00");
        let next = after(&feed, &first);
        bench.exchange.ledger().clear();
        bench
            .exchange
            .inject_spec("SyncFolderItems#3=busy-503:7;FindItem=busy-503:7")
            .unwrap();
        let (broken, error) = read_some(bench.connection.as_ref(), next.clone()).await;
        assert_eq!(error.unwrap().kind, ErrorKind::Throttled, "{profile:?}");
        assert_ne!(broken.cursor, next.cursor);
        // Another process, with what the core has stored; and again, in the window.
        let (again, _) = support::open(support::settings(&bench.exchange.url())).unwrap();
        let resumed = after(&broken, &next);
        let (broken, error) = read_some(again.as_ref(), resumed.clone()).await;
        assert_eq!(error.unwrap().kind, ErrorKind::Throttled, "{profile:?}");
        let resumed = if broken.cursor.is_some() {
            after(&broken, &resumed)
        } else {
            resumed
        };
        let feed = bench.read_true(resumed.clone()).await;
        assert_eq!(feed.events.len(), 2);
        assert!(bench.exchange.ledger().count("SyncFolderItems") <= 5);
        let quiet = bench.read(after(&feed, &resumed)).await.unwrap();
        assert!(quiet.snapshots.is_empty());
    }
}

#[tokio::test]
async fn a_cursor_that_is_lost_in_the_middle_of_a_walk_begins_anew() {
    let bench = Bench::start(Profile::Exchange2019).await;
    fill(&bench);
    bench
        .exchange
        .inject_spec("SyncFolderItems#3=busy-fault:5000")
        .unwrap();
    let (broken, _) = read_some(bench.connection.as_ref(), request(ANNA, winter())).await;
    assert!(broken.cursor.is_some());
    bench.exchange.invalidate_sync_states(ANNA).unwrap();
    bench.read_true(request(ANNA, winter())).await;
}

/// 30 series that are read one by one, each with an exception.
fn series(bench: &Bench) -> Vec<ItemHandle> {
    (0..30)
        .map(|n| {
            let start = format!("2026-12-01T{:02}:{:02}", 8 + n / 6, n % 6 * 10);
            let item = bench.add_series(
                ANNA,
                &start,
                &start,
                daily(30, date(2026, 12, 1), Range::NoEnd),
            );
            bench
                .exchange
                .move_occurrence(item, dk(&start), SignedDuration::from_mins(1))
                .unwrap();
            item
        })
        .collect()
}

#[tokio::test]
async fn items_that_were_read_are_not_read_again_after_a_wait_unless_they_were_changed() {
    let bench = Bench::start(Profile::Gromox).await;
    let items = series(&bench);
    bench.learn_that_nothing_expands().await;
    // Masters come in two batches, exceptions in two.
    bench
        .exchange
        .inject_spec("GetItem#2=busy-items:9000;GetItem#4=busy-items:9000")
        .unwrap();
    for _ in 0..2 {
        let error = bench.read(request(ANNA, winter())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Throttled);
    }
    // Of one that was read already.
    bench
        .exchange
        .move_occurrence(
            items[0],
            dk("2026-12-31T08:00"),
            SignedDuration::from_hours(2),
        )
        .unwrap();
    bench.read_true(request(ANNA, winter())).await;
    let asked: usize = bench
        .exchange
        .ledger()
        .of("GetItem")
        .iter()
        .filter(|call| call.mailboxes == [ANNA])
        .map(|call| call.detail.asked)
        .sum();
    // Masters and exceptions once, what was refused, and what was changed.
    assert!((60..=60 + 30 + 4).contains(&asked), "{asked}");
    // The next change is read afresh.
    bench.exchange.ledger().clear();
    bench.read_true(request(ANNA, winter())).await;
    let asked: usize = bench
        .exchange
        .ledger()
        .of("GetItem")
        .iter()
        .map(|call| call.detail.asked)
        .sum();
    assert!(asked >= 60, "nothing is kept after the end: {asked}");
}

#[tokio::test]
async fn what_was_read_for_other_fields_is_not_taken() {
    let bench = Bench::start(Profile::Gromox).await;
    series(&bench);
    bench.learn_that_nothing_expands().await;
    bench
        .exchange
        .inject_spec("GetItem#3=busy-items:9000")
        .unwrap();
    bench.read(request(ANNA, winter())).await.unwrap_err();
    let mut more = request(ANNA, winter());
    more.fields = FieldSet::from_iter([Field::Time, Field::Subject]);
    let feed = bench.read(more).await.unwrap();
    assert!(feed.events.len() >= 60);
    for event in &feed.events {
        assert_eq!(event.content.subject.as_deref(), Some("Canary subject"));
    }
}

#[tokio::test]
async fn a_budget_of_three_items_a_request_is_enough() {
    let bench = Bench::start(Profile::Gromox).await;
    series(&bench);
    bench.learn_that_nothing_expands().await;
    bench
        .exchange
        .inject_spec("GetItem*all=item-error:ErrorServerBusy/4")
        .unwrap();
    let mut rounds = 0;
    let feed = loop {
        match bench.read(request(ANNA, winter())).await {
            Ok(feed) => break feed,
            Err(error) => assert_eq!(error.kind, ErrorKind::Throttled),
        }
        rounds += 1;
        assert!(rounds < 30, "no progress");
    };
    assert_eq!(feed.facts(winter()), bench.truth(ANNA, winter()));
    assert_eq!(feed.snapshots, [winter()]);
}
