//! Rounds: what is seen, what is gone, what is paired.

use calbridge_core::connector::Cursor;
use calbridge_core::engine::identity::Pair;
use calbridge_core::model::{Coverage, EventTime, Origin, ShowAs};
use calbridge_core::store::{Round, SourceState, Store, StoreError, ViewChange};

use crate::support::{
    CONNECTION, Fixture, SYNC, add, at, event, hour, ids, instant, item, items, march, now,
    occurrence, row_for, timed, window,
};

#[tokio::test]
async fn every_field_of_an_event_comes_back() {
    let it = Fixture::in_memory().await;
    let mut full = occurrence("uid", "g", 3);
    full.content.time = EventTime::timed(
        instant("2026-03-03T09:00:00.123456789Z"),
        instant("2026-03-03T10:00:00Z"),
        Some("Europe/Copenhagen".to_owned()),
    )
    .unwrap();
    full.content.show_as = Some(ShowAs::Elsewhere);
    full.content.subject = Some("Møde \u{1f4c5} with 'quotes'\n".to_owned());
    full.content.location = Some(String::new());
    full.content.body = Some("a\u{0}b".to_owned());
    full.content.private = Some(true);
    full.content.categories = Some(vec!["b".to_owned(), "a".to_owned()]);
    full.cancelled = true;
    full.origin = Some(Origin {
        sync: "s: 1".to_owned(),
        from: "exchange".to_owned(),
        link: 1,
    });
    let mut day = event("day", "day");
    day.item.version = None;
    day.content.show_as = None;
    day.content.categories = Some(Vec::new());
    day.content.time =
        EventTime::all_day(jiff::civil::date(2026, 3, 4), jiff::civil::date(2026, 3, 5)).unwrap();
    day.key = calbridge_core::model::EventKey::new(
        "day",
        Some(calbridge_core::model::OriginalStart::Date(
            jiff::civil::date(2026, 3, 4),
        )),
    )
    .unwrap();
    it.round_with(vec![full.clone(), day.clone()]).await;
    let seen: Vec<_> = it
        .views()
        .await
        .into_iter()
        .map(|view| view.event)
        .collect();
    assert_eq!(seen, [full, day]);
}

#[tokio::test]
async fn an_event_that_is_seen_again_keeps_its_view_and_is_replaced() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let before = it.views().await;
    let mut changed = at(event("a", "1"), hour(11));
    changed.item.version = Some("v2".to_owned());
    it.round_with(vec![changed.clone()]).await;
    let after = it.views().await;
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(after[0].event, changed);
}

#[tokio::test]
async fn events_with_one_key_get_the_smallest_free_ordinals() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("a", "2"), event("a", "3")])
        .await;
    let ordinals = |views: &[calbridge_core::engine::SourceView]| -> Vec<(String, u32)> {
        views
            .iter()
            .map(|view| (view.event.item.id.clone(), view.ordinal))
            .collect()
    };
    let views = it.views().await;
    assert_eq!(
        ordinals(&views),
        [("1".into(), 0), ("2".into(), 1), ("3".into(), 2)]
    );
    // The middle one goes; the next newcomer takes its ordinal, the others keep theirs.
    let round = it.begin().await;
    let mut end = it.end_of(round);
    end.gone = vec![views[1].id];
    it.finish(end).await;
    it.round_with(vec![event("a", "4")]).await;
    assert_eq!(
        ordinals(&it.views().await),
        [("1".into(), 0), ("3".into(), 2), ("4".into(), 1)]
    );
}

#[tokio::test]
async fn one_item_under_another_key_is_another_view() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    it.round_with(vec![event("b", "1")]).await;
    assert_eq!(it.views().await.len(), 2);
}

#[tokio::test]
async fn gone_means_the_item_and_all_that_came_from_it() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![
        event("a", "1"),
        event("b", "2"),
        occurrence("s", "g", 3),
        occurrence("s", "g", 4),
        occurrence("t", "h", 3),
    ])
    .await;
    let round = it.begin().await;
    it.page(
        round,
        vec![ViewChange::Gone(item("1")), ViewChange::Gone(item("g"))],
    )
    .await;
    let changes = it.changes(round, &[]).await;
    assert_eq!(items(&changes.vanished), ["1", "g-3", "g-4"]);
    assert_eq!(items(&changes.appeared), ["2", "h-3"], "none has a row yet");
}

#[tokio::test]
async fn what_is_seen_after_it_was_gone_is_not_gone() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    let round = it.begin().await;
    it.page(
        round,
        vec![
            ViewChange::Gone(item("1")),
            ViewChange::Gone(item("2")),
            ViewChange::Seen(event("a", "1")),
        ],
    )
    .await;
    assert_eq!(items(&it.changes(round, &[]).await.vanished), ["2"]);
}

#[tokio::test]
async fn members_that_a_group_lacks_are_gone_inside_the_covered_range_only() {
    let it = Fixture::in_memory().await;
    it.round_with(
        (2..=12)
            .step_by(2)
            .map(|day| occurrence("s", "g", day))
            .collect(),
    )
    .await;
    let round = it.begin().await;
    it.page(
        round,
        vec![
            ViewChange::Seen(occurrence("s", "g", 4)),
            ViewChange::GroupGone {
                group: "g".to_owned(),
                covered: window("2026-03-04T00:00:00Z", "2026-03-10T09:30:00Z"),
            },
        ],
    )
    .await;
    // The one of the 10th touches the range, the one of the 12th does not.
    assert_eq!(
        items(&it.changes(round, &[]).await.vanished),
        ["g-10", "g-6", "g-8"]
    );
}

#[tokio::test]
async fn what_is_kept_counts_as_seen() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![
        event("a", "1"),
        event("ab", "2"),
        occurrence("s", "g", 3),
        occurrence("uid", "h", 4),
        event("uid", "5"),
        event("uid2", "6"),
    ])
    .await;
    let round = it.begin().await;
    it.page(
        round,
        vec![
            ViewChange::Gone(item("1")),
            ViewChange::Kept {
                item: Some(item("1")),
                uid: None,
            },
            ViewChange::Kept {
                item: Some(item("g")),
                uid: None,
            },
            ViewChange::Kept {
                item: None,
                uid: Some("uid".to_owned()),
            },
        ],
    )
    .await;
    let changes = it.changes(round, &[march()]).await;
    assert_eq!(items(&changes.vanished), ["2", "6"]);
}

#[tokio::test]
async fn what_a_complete_listing_lacks_has_vanished_if_it_overlaps() {
    let it = Fixture::in_memory().await;
    let day = |first: i8, last: i8| {
        EventTime::all_day(
            jiff::civil::date(2026, 3, first),
            jiff::civil::date(2026, 3, last),
        )
        .unwrap()
    };
    it.round_with(vec![
        event("a", "seen"),
        at(
            event("b", "touches"),
            timed("2026-03-02T07:00:00Z", "2026-03-02T08:00:00Z"),
        ),
        at(
            event("c", "reaches in"),
            timed("2026-03-02T07:00:00Z", "2026-03-02T08:00:01Z"),
        ),
        at(
            event("d", "empty"),
            timed("2026-03-02T08:00:00Z", "2026-03-02T08:00:00Z"),
        ),
        at(event("e", "whole day"), day(3, 4)),
        at(event("f", "edge day"), day(2, 3)),
        at(event("g", "outside"), day(9, 10)),
    ])
    .await;
    let round = it.begin().await;
    it.page(round, vec![ViewChange::Seen(event("a", "seen"))])
        .await;
    assert!(it.changes(round, &[]).await.vanished.is_empty());
    let listed = [window("2026-03-02T08:00:00Z", "2026-03-05T00:00:00Z")];
    // 2 March is over by 08:00Z in no zone but is not wholly inside in all; at UTC+14 it ends at 10:00Z.
    let changes = it.changes(round, &listed).await;
    assert_eq!(
        items(&changes.vanished),
        ["edge day", "empty", "reaches in", "whole day"]
    );
    let later = [window("2026-03-02T10:00:00Z", "2026-03-05T00:00:00Z")];
    assert_eq!(
        items(&it.changes(round, &later).await.vanished),
        ["whole day"]
    );
}

#[tokio::test]
async fn a_pair_keeps_name_and_row_and_takes_on_the_rest() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    let links = it.link_all().await;
    let old = it.views().await;
    let round = it.begin().await;
    let new = at(event("b", "9"), hour(15));
    it.page(
        round,
        vec![ViewChange::Gone(item("1")), ViewChange::Seen(new.clone())],
    )
    .await;
    let changes = it.changes(round, &[]).await;
    assert_eq!(items(&changes.vanished), ["1"]);
    assert_eq!(items(&changes.appeared), ["9"]);
    let mut end = it.end_of(round);
    end.pairs = vec![Pair {
        vanished: changes.vanished[0].id,
        appeared: changes.appeared[0].id,
    }];
    it.finish(end).await;

    let rows = it.rows().await;
    assert!(rows.unlinked.is_empty());
    assert_eq!(rows.rows.len(), 2);
    let row = rows.rows.iter().find(|row| row.link == links[0]).unwrap();
    let source = row.source.as_ref().unwrap();
    assert_eq!(source.id, old[0].id);
    assert_eq!(source.event, new);
    assert_eq!(source.ordinal, 1, "another live event has the key already");
    assert_eq!(row.key, event("a", "1").key, "the row's own key stays");
    // The next round finds nothing left over.
    let next = it.begin().await;
    let changes = it.changes(next, &[]).await;
    assert!(changes.vanished.is_empty() && changes.appeared.is_empty());
}

#[tokio::test]
async fn pairs_with_one_key_keep_the_ordinal_and_may_pass_keys_on() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    it.link_all().await;
    let old = it.views().await;
    let round = it.begin().await;
    // 1 becomes what 2 was, 2 becomes something new, and both come with new items.
    it.page(
        round,
        vec![
            ViewChange::Gone(item("1")),
            ViewChange::Gone(item("2")),
            ViewChange::Seen(event("b", "11")),
            ViewChange::Seen(event("c", "12")),
        ],
    )
    .await;
    let appeared = it.changes(round, &[]).await.appeared;
    let mut end = it.end_of(round);
    end.pairs = vec![
        Pair {
            vanished: old[0].id,
            appeared: appeared[0].id,
        },
        Pair {
            vanished: old[1].id,
            appeared: appeared[1].id,
        },
    ];
    it.finish(end).await;
    let views = it.views().await;
    assert_eq!(ids(&views), ids(&old));
    assert_eq!(items(&views), ["11", "12"]);
    assert!(views.iter().all(|view| view.ordinal == 0), "{views:?}");

    // Delete and create of the same event: the same key throughout.
    let round = it.begin().await;
    it.page(
        round,
        vec![
            ViewChange::Gone(item("11")),
            ViewChange::Seen(event("b", "21")),
        ],
    )
    .await;
    let changes = it.changes(round, &[]).await;
    let mut end = it.end_of(round);
    end.pairs = vec![Pair {
        vanished: changes.vanished[0].id,
        appeared: changes.appeared[0].id,
    }];
    it.finish(end).await;
    let views = it.views().await;
    assert_eq!(items(&views), ["12", "21"]);
    assert!(views.iter().all(|view| view.ordinal == 0));
}

#[tokio::test]
async fn a_pair_whose_new_view_has_a_row_is_left_alone() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    it.link_all().await;
    let views = it.views().await;
    let round = it.begin().await;
    let mut end = it.end_of(round);
    end.pairs = vec![Pair {
        vanished: views[0].id,
        appeared: views[1].id,
    }];
    it.finish(end).await;
    assert_eq!(it.views().await, views);
}

#[tokio::test]
async fn a_view_that_is_gone_leaves_its_row() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let links = it.link_all().await;
    let round = it.begin().await;
    it.page(round, vec![ViewChange::Gone(item("1"))]).await;
    let mut end = it.end_of(round);
    end.gone = ids(&it.changes(round, &[]).await.vanished);
    it.finish(end).await;
    let rows = it.rows().await;
    assert_eq!(rows.rows[0].link, links[0]);
    assert_eq!(rows.rows[0].source, None);
    assert!(rows.unlinked.is_empty());
}

#[tokio::test]
async fn a_broken_off_round_makes_nothing_gone_by_not_being_seen() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    it.link_all().await;
    let broken = it.begin().await;
    it.page(
        broken,
        vec![
            ViewChange::Seen(event("a", "1")),
            ViewChange::Seen(event("c", "3")),
        ],
    )
    .await;
    // No end. The views are as far as they came.
    assert_eq!(items(&it.views().await), ["1", "2", "3"]);
    let next = it.begin().await;
    assert_eq!(next, Round(broken.0 + 1));
    assert!(it.changes(next, &[]).await.vanished.is_empty());
    it.page(next, vec![ViewChange::Gone(item("2"))]).await;
    let changes = it.changes(next, &[]).await;
    assert_eq!(items(&changes.vanished), ["2"]);
    assert_eq!(items(&changes.appeared), ["3"], "it can still be paired");
}

#[tokio::test]
async fn a_reported_removal_outlives_a_broken_off_round() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1"), event("b", "2")]).await;
    let broken = it.begin().await;
    // The cursor moves past the removals: the source will not say them again.
    it.checkpoint(
        broken,
        vec![ViewChange::Gone(item("1")), ViewChange::Gone(item("2"))],
        "c2",
    )
    .await;
    let next = it.begin().await;
    it.page(next, vec![ViewChange::Seen(event("b", "2"))]).await;
    assert_eq!(items(&it.changes(next, &[]).await.vanished), ["1"]);
}

#[tokio::test]
async fn a_round_that_was_overtaken_writes_no_more() {
    let it = Fixture::in_memory().await;
    let first = it.begin().await;
    let second = it.begin().await;
    let refused = it
        .store
        .commit_page(it.fence, it.page_of(first, Vec::new()))
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound("round"))));
    let refused = it.store.finish_round(it.fence, it.end_of(first)).await;
    assert!(matches!(refused, Err(StoreError::NotFound("round"))));
    it.finish(it.end_of(second)).await;
}

#[tokio::test]
async fn cursor_binding_and_coverage_are_kept() {
    let it = Fixture::in_memory().await;
    let state = || it.store.source_state(CONNECTION, it.calendar);
    assert_eq!(state().await.unwrap(), SourceState::default());
    let round = it.begin().await;
    it.checkpoint(round, vec![ViewChange::Seen(event("a", "1"))], "c1")
        .await;
    assert_eq!(state().await.unwrap().cursor, Some(Cursor("c1".to_owned())));
    it.page(round, Vec::new()).await;
    let mut covered = Coverage::none();
    covered.add(march());
    let mut end = it.end_of(round);
    end.covered = covered.clone();
    it.finish(end).await;
    let known = SourceState {
        round: Some(round),
        cursor: Some(Cursor("c1".to_owned())),
        binding: "b1".to_owned(),
        covered,
        finished: Some(now()),
        full: Some(now()),
        unreadable: false,
        folder_since: None,
    };
    assert_eq!(state().await.unwrap(), known);
    // A round that lists a part only leaves the time of the last full one.
    let round = it.begin().await;
    let mut end = it.end_of(round);
    end.full = false;
    end.at = instant("2026-03-02T13:00:00Z");
    end.checkpoint = Some(Cursor("c2".to_owned()));
    end.covered = known.covered.clone();
    it.finish(end).await;
    assert_eq!(
        state().await.unwrap(),
        SourceState {
            round: Some(round),
            cursor: Some(Cursor("c2".to_owned())),
            finished: Some(instant("2026-03-02T13:00:00Z")),
            ..known
        }
    );
}

#[tokio::test]
async fn calendars_and_connections_do_not_mix() {
    let it = Fixture::in_memory().await;
    add(&it.store, it.fence, SYNC, "bo@kommune.example").await;
    let other = it.store.calendars(SYNC).await.unwrap()[1].id;
    it.round_with(vec![event("a", "1")]).await;
    for (connection, calendar) in [(CONNECTION, other), ("graph", it.calendar)] {
        let round = it
            .store
            .begin_round(it.fence, connection, calendar)
            .await
            .unwrap();
        let mut page = it.page_of(round, vec![ViewChange::Gone(item("1"))]);
        page.connection = connection.to_owned();
        page.calendar = calendar;
        it.store.commit_page(it.fence, page).await.unwrap();
        let changes = it
            .store
            .round_changes(connection, calendar, round, &[march()])
            .await
            .unwrap();
        assert!(changes.vanished.is_empty());
    }
    assert_eq!(it.views().await.len(), 1);
    // A row that stands for a view of another connection has no source there.
    it.link_all().await;
    let rows = it.store.rows(SYNC, "graph", it.calendar).await.unwrap();
    assert_eq!(rows.rows.len(), 1);
    assert_eq!(rows.rows[0].source, None);
}

#[tokio::test]
async fn an_unknown_calendar_is_an_error() {
    let it = Fixture::in_memory().await;
    let nobody = calbridge_core::store::CalendarId(99);
    let refused = it.store.begin_round(it.fence, CONNECTION, nobody).await;
    assert!(matches!(refused, Err(StoreError::NotFound("calendar"))));
    let refused = it.store.rows(SYNC, CONNECTION, nobody).await;
    assert!(matches!(refused, Err(StoreError::NotFound("calendar"))));
}

#[tokio::test]
async fn a_view_has_one_row_in_each_sync() {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    it.link_all().await;
    let view = it.views().await.remove(0);
    let mut twice = it.commit();
    twice.insert = vec![row_for(&view)];
    assert!(it.try_commit_rows(twice).await.is_err());
    // Another sync of the same calendar has a row of its own for it.
    add(&it.store, it.fence, "bnwin", "ANNA@kommune.example").await;
    let shared = it.store.calendars("bnwin").await.unwrap()[0].id;
    assert_eq!(shared, it.calendar);
    let rows = it.store.rows("bnwin", CONNECTION, shared).await.unwrap();
    assert_eq!(rows.unlinked, std::slice::from_ref(&view));
    let mut commit = it.commit();
    commit.sync = "bnwin".to_owned();
    commit.insert = vec![row_for(&view)];
    it.commit_rows(commit).await;
}
