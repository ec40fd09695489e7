//! An item that the server could not give now is asked for again, though nothing changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use calbridge_core::connector::ChangesRequest;
use jiff::SignedDuration;
use support::script::{Script, created, envelope, failure, folder, found, master, success, sync};
use support::{ANNA, after, read, request, window};

fn december() -> calbridge_core::model::Window {
    window("2026-12-01T00:00", "2026-12-31T00:00")
}

/// A server that does not expand, with one series that it cannot give so many times, and a single.
async fn server(code: &'static str, failures: usize) -> (Script, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(failures));
    let kept = Arc::clone(&left);
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let all = created("M", "RecurringMaster") + &created("S", "RecurringMaster");
            let first = !body.contains("<m:SyncState>");
            return sync("s1", if first { &all } else { "" });
        }
        let second = master("").replace(r#"Id="M""#, r#"Id="S""#);
        let second = second.replace("uid-M", "uid-S");
        if body.contains("FindItem") {
            return found(&[master(""), second]);
        }
        let fails = body.contains(r#"Id="M""#)
            && body.contains("ModifiedOccurrences")
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok();
        let messages: String = [("M", master("")), ("S", second)]
            .into_iter()
            .filter(|(id, _)| body.contains(&format!(r#"Id="{id}""#)))
            .map(|(id, item)| {
                if id == "M" && fails {
                    failure("GetItem", code)
                } else {
                    success("GetItem", &format!("<m:Items>{item}</m:Items>"))
                }
            })
            .collect();
        envelope("GetItem", &messages)
    })
    .await;
    (server, kept)
}

fn later(request: &ChangesRequest, minutes: i64) -> ChangesRequest {
    ChangesRequest {
        now: request.now + SignedDuration::from_mins(minutes),
        ..request.clone()
    }
}

#[tokio::test]
async fn an_item_that_failed_for_the_moment_is_read_again_though_nothing_changes() {
    for code in [
        "ErrorInternalServerTransientError",
        "ErrorMailboxStoreUnavailable",
        "ErrorInternalServerError",
    ] {
        let (server, _) = server(code, 1).await;
        let connection = server.connect();
        let first = request(ANNA, december());
        let feed = read(connection.as_ref(), first.clone()).await.unwrap();
        assert_eq!((feed.events.len(), feed.unreadable.len()), (4, 1), "{code}");
        let next = later(&after(&feed, &first), 5);
        let feed = read(connection.as_ref(), next.clone()).await.unwrap();
        assert_eq!((feed.events.len(), feed.unreadable.len()), (8, 0), "{code}");
        assert_eq!(feed.snapshots, [december()]);
        // And then there is peace.
        let feed = read(connection.as_ref(), later(&after(&feed, &next), 300))
            .await
            .unwrap();
        assert!(feed.snapshots.is_empty(), "{code}");
    }
}

#[tokio::test]
async fn an_item_that_always_fails_is_asked_for_ever_more_rarely() {
    let (server, left) = server("ErrorInternalServerError", usize::MAX).await;
    let connection = server.connect();
    let mut next = request(ANNA, december());
    let mut readings = 0;
    // Every minute for a day.
    for minute in 0..24 * 60 {
        server.clear();
        let feed = read(connection.as_ref(), later(&next, minute))
            .await
            .unwrap();
        readings += usize::from(!feed.snapshots.is_empty());
        next = after(&feed, &next);
    }
    assert!((24..40).contains(&readings), "{readings}");
    left.store(0, Ordering::SeqCst);
    let feed = read(connection.as_ref(), later(&next, 26 * 60))
        .await
        .unwrap();
    assert_eq!(feed.events.len(), 8);
}
