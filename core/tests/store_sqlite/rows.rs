//! Rows, decisions, calls, and what is counted.

use std::collections::{BTreeMap, BTreeSet};

use calbridge_core::connector::{AttemptToken, Error, ErrorKind, Op, Receipt, Scope};
use calbridge_core::engine::decide::{Decision, Intent, Reason};
use calbridge_core::engine::project::{Absence, Desired};
use calbridge_core::engine::{
    Agreed, Attempt, DeadLetter, LinkId, OnSink, Prints, Retry, Row, SinkView,
};
use calbridge_core::model::{Content, EventKey, EventTime, Field, ShowAs, SideRef};
use calbridge_core::store::{
    CallRecord, Counts, DecisionRecord, Fence, NewRow, Store, StoreError, ViewChange,
};
use jiff::{Timestamp, ToSpan};

use crate::support::{
    CONNECTION, Fixture, SYNC, add, event, hour, instant, item, now, occurrence, row_for,
};

pub(crate) fn content() -> Content {
    Content {
        time: EventTime::timed(
            instant("2026-03-02T09:00:00.5Z"),
            instant("2026-03-02T10:00:00Z"),
            Some("Europe/Copenhagen".to_owned()),
        )
        .unwrap(),
        show_as: Some(ShowAs::Away),
        subject: Some("subject".to_owned()),
        location: Some(String::new()),
        body: Some("body".to_owned()),
        private: Some(false),
        categories: Some(vec!["one".to_owned()]),
    }
}

fn prints(version: u32) -> Prints {
    Prints {
        version,
        fields: BTreeMap::from([(Field::Time, "00ff".to_owned())]),
    }
}

pub(crate) fn decision(link: LinkId, at: Timestamp, content: Content) -> DecisionRecord {
    DecisionRecord {
        link,
        at,
        desired: Desired::Present {
            content: content.clone(),
            creatable: true,
        },
        decision: Decision {
            intent: Intent::Create { content },
            reason: Reason::New,
        },
        outcome: Some("done".to_owned()),
        call: Some(0),
        inputs: None,
    }
}

pub(crate) fn call(reference: &str, ended: Timestamp) -> CallRecord {
    CallRecord {
        connection: "planner".to_owned(),
        receipt: Receipt {
            operation: "CreateEvents".to_owned(),
            reference: Some(reference.to_owned()),
            started: ended.checked_sub(2.seconds()).unwrap(),
            ended,
            events: 3,
            error: None,
        },
    }
}

/// A row with everything there is.
fn full(mut row: Row) -> Row {
    row.group = Some("group".to_owned());
    row.sink = SinkView {
        state: OnSink::Unknown,
        remote: Some(SideRef {
            id: "ext".to_owned(),
            assigned: Some("42".to_owned()),
            version: Some("7".to_owned()),
        }),
        content: Some(content()),
        acknowledged: Some(instant("2026-03-02T12:00:00.000000001Z")),
        foreign: true,
    };
    row.agreed = Some(Agreed {
        source: prints(1),
        sink: prints(2),
    });
    row.attempt = Some(Attempt {
        token: AttemptToken("token".to_owned()),
        op: Op::Create,
        target: Some(prints(3)),
        at: now(),
        before: OnSink::Present,
        ticket: Some("ticket".to_owned()),
    });
    row.dead = Some(DeadLetter {
        code: "6203".to_owned(),
        message: "refused".to_owned(),
        op: Op::Delete,
        at: now(),
        desired: Some(prints(4)),
        basis: "basis".to_owned(),
    });
    row.retry = Some(Retry {
        tries: 3,
        not_before: instant("9999-12-30T22:00:00.999999999Z"),
        code: "busy".to_owned(),
        desired: Some(prints(4)),
    });
    row.held_by_stop = true;
    row.held_since = Some(now());
    row.approved = Some(now());
    row
}

#[tokio::test]
async fn every_field_of_a_row_comes_back() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let links = it.link_all().await;
    let fresh = it.rows().await.rows.remove(0);
    assert_eq!(fresh.link, links[0]);
    assert_eq!(fresh.sink, SinkView::default());

    let everything = full(fresh.clone());
    let mut commit = it.commit();
    commit.update = vec![everything.clone()];
    it.commit_rows(commit).await;
    assert_eq!(it.rows().await.rows, [everything]);

    // And goes again.
    let mut commit = it.commit();
    commit.update = vec![fresh.clone()];
    it.commit_rows(commit).await;
    assert_eq!(it.rows().await.rows, [fresh]);
}

#[tokio::test]
async fn new_rows_answer_their_ids_in_order() {
    let it = Fixture::in_memory().await;
    let new = |uid: &str| NewRow {
        key: EventKey::new(uid, None).unwrap(),
        ordinal: 2,
        group: Some("g".to_owned()),
        view: None,
        remote: Some(SideRef::new(uid).unwrap()),
        sink: SinkView {
            state: OnSink::Present,
            content: Some(content()),
            acknowledged: Some(now()),
            foreign: true,
            remote: None,
        },
        first_contact: true,
    };
    let mut commit = it.commit();
    commit.insert = vec![new("b"), new("a")];
    let links = it.commit_rows(commit).await;
    let rows = it.rows().await.rows;
    assert_eq!(rows.iter().map(|row| row.link).collect::<Vec<_>>(), links);
    let first = &rows[0];
    assert_eq!(
        *first,
        Row {
            group: Some("g".to_owned()),
            sink: SinkView {
                remote: Some(SideRef::new("b").unwrap()),
                ..new("b").sink
            },
            first_contact: true,
            sourceless: Some(now()),
            ..Row::new(links[0], EventKey::new("b", None).unwrap(), 2)
        }
    );
}

#[tokio::test]
async fn ids_of_rows_and_views_are_never_used_again() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let (view, link) = (it.views().await[0].id, it.link_all().await[0]);
    let round = it.begin().await;
    let mut end = it.end_of(round);
    end.gone = vec![view];
    it.finish(end).await;
    let gone_since_long = now().checked_add(24.hours() * 400).unwrap();
    it.store
        .prune(
            it.fence,
            calbridge_core::store::Retention::default(),
            gone_since_long,
        )
        .await
        .unwrap();
    assert!(it.rows().await.rows.is_empty());
    it.round_with(vec![event("a", "1")]).await;
    assert!(it.views().await[0].id > view);
    assert!(it.link_all().await[0] > link);
}

#[tokio::test]
async fn a_row_whose_view_went_meanwhile_is_stored_without() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    it.link_all().await;
    let planned = it.rows().await.rows.remove(0);
    // While the write was under way, a round ended.
    let round = it.begin().await;
    let mut end = it.end_of(round);
    end.gone = vec![planned.source.as_ref().unwrap().id];
    it.finish(end).await;
    let mut settled = planned;
    settled.sink.state = OnSink::Present;
    let mut commit = it.commit();
    commit.update = vec![settled.clone()];
    it.commit_rows(commit).await;
    settled.source = None;
    settled.sourceless = Some(now());
    assert_eq!(it.rows().await.rows, [settled]);
}

#[tokio::test]
async fn a_view_passes_from_one_row_to_another_in_one_commit() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    it.link_all().await;
    let mut commit = it.commit();
    commit.insert = vec![NewRow {
        view: None,
        ..row_for(&it.views().await[0])
    }];
    it.commit_rows(commit).await;
    let mut rows = it.rows().await.rows;
    let view = rows[0].source.take();
    rows[1].source = view;
    rows.reverse();
    let mut commit = it.commit();
    commit.update = rows.clone();
    it.commit_rows(commit).await;
    rows.reverse();
    rows[0].sourceless = Some(now());
    rows[1].sourceless = None;
    assert_eq!(it.rows().await.rows, rows);
}

#[tokio::test]
async fn a_commit_with_a_row_that_is_not_there_stores_nothing() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    it.link_all().await;
    let before = it.rows().await;
    let mut changed = before.rows[0].clone();
    changed.sink.state = OnSink::Present;
    let stranger = Row::new(LinkId(999), changed.key.clone(), 0);
    let mut commit = it.commit();
    commit.update = vec![changed, stranger];
    commit.calls = vec![call("r", now())];
    let refused = it.try_commit_rows(commit).await;
    assert!(matches!(refused, Err(StoreError::NotFound("row"))));
    assert_eq!(it.rows().await, before);
    assert!(it.store.calls(10).await.unwrap().is_empty());

    // Another calendar's row is as good as none.
    add(&it.store, it.fence, SYNC, "bo@kommune.example").await;
    let other = it.store.calendars(SYNC).await.unwrap()[1].id;
    let mut commit = it.commit();
    commit.calendar = Some(other);
    commit.update = vec![before.rows[0].clone()];
    let refused = it.try_commit_rows(commit).await;
    assert!(matches!(refused, Err(StoreError::NotFound("row"))));
}

#[tokio::test]
async fn the_last_twenty_decisions_are_kept_with_times_alone() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    let links = it.link_all().await;
    let at = |minute: i64| now().checked_add(minute.minutes()).unwrap();
    for minute in 0..25 {
        let mut commit = it.commit();
        commit.calls = vec![call(&format!("r{minute}"), at(minute))];
        commit.decisions = vec![decision(links[0], at(minute), content())];
        it.commit_rows(commit).await;
    }
    let mut commit = it.commit();
    commit.decisions = vec![DecisionRecord {
        desired: Desired::Absent { why: Absence::Free },
        decision: Decision {
            intent: Intent::Delete,
            reason: Reason::Absent(Absence::Free),
        },
        outcome: None,
        call: None,
        ..decision(links[1], at(0), content())
    }];
    it.commit_rows(commit.clone()).await;

    let kept = it.store.decisions(links[0]).await.unwrap();
    let minutes: Vec<_> = kept.iter().map(|record| record.at).collect();
    assert_eq!(minutes, (5..25).rev().map(at).collect::<Vec<_>>());
    let times = Content::times(content().time);
    for record in &kept {
        assert_eq!(record.decision.intent.content(), Some(&times));
        assert_eq!(
            record.desired,
            Desired::Present {
                content: times.clone(),
                creatable: true
            }
        );
    }
    // The call by which it went is a stored one, not a position.
    let calls: BTreeSet<_> = kept.iter().map(|record| record.call.unwrap()).collect();
    assert_eq!(calls.len(), 20);
    assert_eq!(
        it.store.decisions(links[1]).await.unwrap(),
        commit.decisions
    );
}

#[tokio::test]
async fn calls_are_kept_with_reference_and_error() {
    let it = Fixture::in_memory().await;
    let mut failed = call("r2", instant("2026-03-02T12:00:05.25Z"));
    failed.receipt.reference = None;
    failed.receipt.error = Some(Error::new(
        ErrorKind::Transient,
        Scope::Connection,
        "6904",
        "no answer",
    ));
    let mut commit = it.commit();
    commit.calls = vec![call("r1", now()), failed.clone()];
    it.commit_rows(commit).await;
    // Calls that concern no calendar.
    let mut commit = it.commit();
    commit.calendar = None;
    commit.calls = vec![call("r3", now())];
    assert!(it.commit_rows(commit.clone()).await.is_empty());
    assert_eq!(
        it.store.calls(2).await.unwrap(),
        [call("r3", now()), failed]
    );
    commit.deleted_units = vec!["l:1".to_owned()];
    let refused = it.try_commit_rows(commit).await;
    assert!(matches!(refused, Err(StoreError::NotFound("calendar"))));
    assert_eq!(it.store.calls(10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_call_that_was_not_reported_costs_a_decision_nothing_else() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let links = it.link_all().await;
    let mut commit = it.commit();
    commit.decisions = vec![decision(links[0], now(), content())];
    it.commit_rows(commit).await;
    assert_eq!(it.store.decisions(links[0]).await.unwrap()[0].call, None);
}

#[tokio::test]
async fn deleted_units_are_remembered_with_their_time() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let links = it.link_all().await;
    for (unit, at) in [
        ("g:1", "2026-03-02T08:00:00Z"),
        ("l:2", "2026-03-02T10:00:00Z"),
    ] {
        let mut commit = it.commit();
        commit.decisions = vec![decision(links[0], instant(at), content())];
        commit.deleted_units = vec![unit.to_owned()];
        // The store was told of a later instant before.
        it.commit_rows(commit).await;
    }
    let since = |at: &str| it.store.deleted_units(SYNC, it.calendar, instant(at));
    let both = BTreeSet::from(["g:1".to_owned(), "l:2".to_owned()]);
    assert_eq!(since("2026-03-02T12:00:00Z").await.unwrap(), both);
    assert!(since("2026-03-02T12:00:01Z").await.unwrap().is_empty());
    let ever = it
        .store
        .deleted_units(SYNC, it.calendar, Timestamp::MIN)
        .await;
    assert_eq!(ever.unwrap(), both);
    assert!(
        it.store
            .deleted_units("other", it.calendar, Timestamp::MIN)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn counts_tell_each_state_apart() {
    let it = Fixture::in_memory().await;
    it.round_with(
        (0..8)
            .map(|n| event(&format!("u{n}"), &n.to_string()))
            .collect(),
    )
    .await;
    it.link_all().await;
    let mut rows = it.rows().await.rows;
    let held = now().checked_sub(1.hours()).unwrap();
    rows[0].sink.state = OnSink::Present;
    rows[1].sink.state = OnSink::Present;
    rows[1].sink.foreign = true;
    rows[2].sink.state = OnSink::Unknown;
    rows[3].retry = Some(Retry {
        tries: 1,
        not_before: now(),
        code: "busy".to_owned(),
        desired: None,
    });
    rows[4].dead = full(rows[4].clone()).dead;
    rows[5].held_since = Some(held);
    rows[6].held_since = Some(held);
    rows[6].approved = Some(now());
    // An approval from before it was held again does not count.
    rows[7].held_since = Some(now());
    rows[7].approved = Some(held);
    let mut commit = it.commit();
    commit.update = rows;
    it.commit_rows(commit).await;
    let counts = it.store.counts(SYNC, CONNECTION, it.calendar).await;
    assert_eq!(
        counts.unwrap(),
        Counts {
            source: 8,
            sink: 1,
            retrying: 1,
            unknown: 1,
            dead: 1,
            held: 2,
            foreign: 1
        }
    );
    add(&it.store, it.fence, SYNC, "bo@kommune.example").await;
    let held = it.store.held_calendars(SYNC).await.unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [it.calendar]);
    assert!(it.store.held_calendars("other").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_fence_that_is_not_the_newest_writes_nothing() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    it.link_all().await;
    let round = it.begin().await;
    let before = it.rows().await;
    let newest = it.store.acquire("successor", now()).await.unwrap();
    assert!(newest > it.fence);
    let store = &it.store;
    for stale in [it.fence, Fence(newest.0 + 1), Fence(0)] {
        let fenced = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
        };
        fenced(store.commit_roster(stale, SYNC, &[], now()).await);
        let report = calbridge_core::store::CalendarReport::default();
        fenced(
            store
                .report_calendar(stale, SYNC, it.calendar, report)
                .await,
        );
        fenced(
            store
                .begin_round(stale, CONNECTION, it.calendar)
                .await
                .map(drop),
        );
        let page = it.page_of(round, vec![ViewChange::Gone(item("1"))]);
        fenced(store.commit_page(stale, page).await);
        fenced(store.finish_round(stale, it.end_of(round)).await);
        let mut commit = it.commit();
        commit.update = vec![full(before.rows[0].clone())];
        fenced(store.commit_rows(stale, commit).await.map(drop));
        let retention = calbridge_core::store::Retention::default();
        fenced(store.prune(stale, retention, now()).await.map(drop));
    }
    assert_eq!(it.rows().await, before);
    assert_eq!(
        store
            .begin_round(newest, CONNECTION, it.calendar)
            .await
            .unwrap()
            .0,
        round.0 + 1,
        "a refused round is not counted"
    );
}

#[tokio::test]
async fn rows_and_units_of_a_series_share_their_group() {
    let it = Fixture::in_memory().await;
    let mut moved = occurrence("s", "g", 4);
    moved.content.time = hour(20);
    it.round_with(vec![occurrence("s", "g", 3), moved]).await;
    it.link_all().await;
    let units: BTreeSet<_> = it.rows().await.rows.iter().map(Row::unit).collect();
    assert_eq!(units, BTreeSet::from(["g:g".to_owned()]));
}

#[tokio::test]
async fn only_what_a_calendar_itself_looks_like_counts_and_an_approval_releases_it() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    it.link_all().await;
    let mut rows = it.rows().await.rows;
    for row in &mut rows {
        row.held_since = Some(now());
        row.held_by_stop = true;
    }
    let update = |rows: &[Row]| calbridge_core::store::RowCommit {
        sync: SYNC.to_owned(),
        calendar: Some(it.calendar),
        update: rows.to_vec(),
        ..Default::default()
    };
    it.commit_rows(update(&rows)).await;
    assert!(it.store.held_calendars(SYNC).await.unwrap().is_empty());
    rows[0].held_by_stop = false;
    it.commit_rows(update(&rows)).await;
    assert_eq!(it.store.held_calendars(SYNC).await.unwrap().len(), 1);
    let approve = |given, at| it.store.approve(it.fence, SYNC, it.calendar, given, at);
    let second = 1.second();
    let (before, after) = (now() - second, now() + second);
    assert_eq!(
        approve(before, after).await.unwrap(),
        0,
        "held since it was approved"
    );
    rows[1].held_since = Some(after + second);
    it.commit_rows(update(&rows)).await;
    assert_eq!(
        approve(now(), after).await.unwrap(),
        2,
        "held by a clock that was ahead"
    );
    assert_eq!(
        approve(after, after).await.unwrap(),
        0,
        "nothing is held any more"
    );
    let rows = it.rows().await.rows;
    assert!(rows.iter().all(calbridge_core::engine::guard::is_approved));
}
