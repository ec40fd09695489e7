//! What is forgotten, and when.

use calbridge_core::engine::OnSink;
use calbridge_core::model::{CalendarKind, CalendarRef};
use calbridge_core::store::{Left, Membership, Pruned, Retention, RosterChange, Store, ViewChange};
use jiff::{Timestamp, ToSpan};

use crate::rows::{call, content, decision};
use crate::support::{CONNECTION, Fixture, SYNC, add, at, event, instant, item, now, timed};

fn days(days: i64) -> Timestamp {
    now().checked_add((24 * days).hours()).unwrap()
}

async fn prune(it: &Fixture, at: Timestamp) -> Pruned {
    it.store
        .prune(it.fence, Retention::default(), at)
        .await
        .unwrap()
}

#[tokio::test]
async fn events_that_ended_are_forgotten_after_their_days() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![
        event("ended", "1"),
        at(
            event("later", "2"),
            timed("2026-03-12T09:00:00Z", "2026-03-12T10:00:00Z"),
        ),
    ])
    .await;
    it.link_all().await;
    assert_eq!(prune(&it, days(29)).await, Pruned::default());
    let pruned = prune(&it, days(31)).await;
    assert_eq!((pruned.rows, pruned.views), (1, 1));
    assert_eq!(it.views().await[0].event.item.id, "2");
}

#[tokio::test]
async fn an_event_that_ended_is_kept_while_a_copy_is_to_come() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![
        event("copied", "1"),
        at(
            event("copied", "2"),
            timed("2026-03-12T09:00:00Z", "2026-03-12T10:00:00Z"),
        ),
    ])
    .await;
    it.link_all().await;
    assert_eq!(prune(&it, days(31)).await, Pruned::default());
    let pruned = prune(&it, days(95)).await;
    assert_eq!((pruned.rows, pruned.views), (2, 2));
}

#[tokio::test]
async fn an_event_that_ended_here_and_not_yet_on_the_sink_is_kept() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("moved", "1")]).await;
    it.link_all().await;
    let mut row = it.rows().await.rows.remove(0);
    row.sink.state = OnSink::Present;
    let mut held = content();
    held.time = timed("2026-05-01T09:00:00Z", "2026-05-01T10:00:00Z");
    row.sink.content = Some(held);
    let mut commit = it.commit();
    commit.update = vec![row];
    it.commit_rows(commit).await;
    assert_eq!(prune(&it, days(31)).await, Pruned::default());
    assert_eq!(prune(&it, days(95)).await.rows, 1);
}

#[tokio::test]
async fn rows_of_events_that_went_are_forgotten_once_nothing_is_left_on_the_sink() {
    let it = Fixture::in_memory().await;
    let far = timed("2027-03-12T09:00:00Z", "2027-03-12T10:00:00Z");
    it.round_with(vec![
        at(event("a", "1"), far.clone()),
        at(event("b", "2"), far.clone()),
        at(event("c", "3"), far.clone()),
    ])
    .await;
    it.link_all().await;
    let mut rows = it.rows().await.rows;
    rows[1].sink.state = OnSink::Present;
    rows[1].held_since = Some(now());
    rows[2].sink.state = OnSink::Present;
    rows[2].sink.foreign = true;
    let mut commit = it.commit();
    commit.update = rows;
    it.commit_rows(commit).await;
    let round = it.begin().await;
    it.page(
        round,
        (1..=3)
            .map(|n| ViewChange::Gone(item(&n.to_string())))
            .collect(),
    )
    .await;
    let mut end = it.end_of(round);
    end.gone = it
        .changes(round, &[])
        .await
        .vanished
        .iter()
        .map(|v| v.id)
        .collect();
    end.at = days(10);
    it.finish(end).await;
    assert_eq!(prune(&it, days(39)).await, Pruned::default());
    assert_eq!(prune(&it, days(41)).await.rows, 2);
    let left = it.rows().await.rows;
    assert_eq!(left.len(), 1, "its delete is still held");
    assert!(left[0].held_since.is_some());
}

#[tokio::test]
async fn calls_decisions_and_deleted_units_are_forgotten() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![at(
        event("a", "1"),
        timed("2027-03-12T09:00:00Z", "2027-03-12T10:00:00Z"),
    )])
    .await;
    let link = it.link_all().await[0];
    for (reference, at) in [("old", now()), ("new", days(5))] {
        let mut commit = it.commit();
        commit.calls = vec![call(reference, at)];
        commit.decisions = vec![decision(link, at, content())];
        commit.deleted_units = vec![reference.to_owned()];
        it.commit_rows(commit).await;
    }
    let units = || it.store.deleted_units(SYNC, it.calendar, Timestamp::MIN);
    prune(&it, days(6)).await;
    assert_eq!(
        units().await.unwrap().into_iter().collect::<Vec<_>>(),
        ["new"]
    );
    assert_eq!(prune(&it, days(91)).await.calls, 1);
    let calls = it.store.calls(9).await.unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].receipt.reference.as_deref(), Some("new"));
    assert_eq!(it.store.decisions(link).await.unwrap().len(), 1);
}

#[tokio::test]
async fn leavers_are_erased_everywhere() {
    let place = crate::files::Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    // Shared with another sync, in which it stays.
    add(&it.store, it.fence, SYNC, "canary-shared@k.example").await;
    add(&it.store, it.fence, "bnwin", "canary-shared@k.example").await;
    add(&it.store, it.fence, SYNC, "stays@k.example").await;
    it.round_with(vec![event("canary-uid", "canary-item")])
        .await;
    let link = it.link_all().await[0];
    let mut commit = it.commit();
    commit.calls = vec![call("canary-call", now())];
    commit.decisions = vec![decision(link, now(), content())];
    commit.deleted_units = vec!["canary-unit".to_owned()];
    it.commit_rows(commit).await;
    let states = it.store.calendars(SYNC).await.unwrap();
    for state in &states[..2] {
        let parked = RosterChange::Set {
            id: state.id,
            calendar: if state.id == it.calendar {
                CalendarRef::primary("canary-anna@k.example").unwrap()
            } else {
                state.calendar.clone()
            },
            kind: CalendarKind::Person,
            membership: Membership::Parked,
            left: Some(Left {
                code: "P-NotInPlanner".to_owned(),
                since: now(),
            }),
        };
        it.store
            .commit_roster(it.fence, SYNC, &[parked], now())
            .await
            .unwrap();
    }
    let retention = Retention {
        rows_days: 100_000,
        calls_days: 100_000,
        leavers_days: 180,
    };
    let store = &it.store;
    let pruned = store.prune(it.fence, retention, days(179)).await.unwrap();
    assert_eq!(pruned, Pruned::default());
    let pruned = store.prune(it.fence, retention, days(181)).await.unwrap();
    assert_eq!(
        pruned,
        Pruned {
            rows: 1,
            views: 1,
            calls: 1,
            calendars: 2
        }
    );
    let left: Vec<_> = store.calendars(SYNC).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].calendar.address.as_str(), "stays@k.example");
    assert_eq!(store.calendars("bnwin").await.unwrap().len(), 1);
    assert!(store.calls(9).await.unwrap().is_empty());
    assert!(store.decisions(link).await.unwrap().is_empty());
    assert!(
        store
            .begin_round(it.fence, CONNECTION, it.calendar)
            .await
            .is_err()
    );
    // Nothing of the one that is gone for good is left in the bytes either.
    for file in [place.path.clone(), place.beside("-wal")] {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for canary in [
            "canary-anna",
            "canary-uid",
            "canary-item",
            "canary-call",
            "canary-unit",
        ] {
            assert!(!contains(&bytes, canary), "{canary} in {}", file.display());
        }
    }
    assert!(contains(
        &std::fs::read(&place.path).unwrap(),
        "canary-shared"
    ));
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn extreme_retention_and_clocks_are_no_trouble() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let endless = Retention {
        rows_days: u32::MAX,
        calls_days: u32::MAX,
        leavers_days: u32::MAX,
    };
    for at in [
        Timestamp::MIN,
        instant("2026-03-02T12:00:00Z"),
        Timestamp::MAX,
    ] {
        let pruned = it.store.prune(it.fence, endless, at).await.unwrap();
        assert_eq!(pruned, Pruned::default());
    }
    let nothing = Retention {
        rows_days: 0,
        calls_days: 0,
        leavers_days: 0,
    };
    assert_eq!(
        it.store
            .prune(it.fence, nothing, now())
            .await
            .unwrap()
            .views,
        1
    );
}
