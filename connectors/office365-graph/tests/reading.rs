//! What is read is what the mailbox holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{ErrorKind, Scope};
use calbridge_core::model::{CalendarRef, Field, FieldSet, ItemRef};
use calbridge_sandbox::exchange::{FreeBusy, NewItem, Range, Zone};
use calbridge_sandbox::graph::{GraphOptions, Habits};
use jiff::SignedDuration;
use jiff::civil::{Weekday, date};
use support::*;

fn fill(bench: &Bench) {
    bench.add(ANNA, "2026-12-07T09:00", "2026-12-07T10:00");
    bench.add(ANNA, "2027-01-18T09:00", "2027-01-18T10:30");
    let day = NewItem::all_day("Holiday", date(2026, 12, 24), 3, &Zone::denmark());
    bench.exchange.create(ANNA, day).unwrap();
    // It began years ago, and its clock changes with summer time.
    let old = weekly(&[Weekday::Monday], date(2019, 1, 7), Range::NoEnd);
    let series = bench.add_series(ANNA, "2019-01-07T08:00", "2019-01-07T09:00", old);
    let moved = dk("2026-12-14T08:00");
    bench
        .exchange
        .move_occurrence(series, moved, SignedDuration::from_hours(26))
        .unwrap();
    bench
        .exchange
        .delete_occurrence(series, dk("2026-12-21T08:00"))
        .unwrap();
    let days = NewItem::all_day("Off", date(2026, 12, 4), 1, &Zone::denmark()).repeating(weekly(
        &[Weekday::Friday],
        date(2026, 12, 4),
        Range::Numbered(6),
    ));
    let days = bench.exchange.create(ANNA, days).unwrap();
    bench
        .exchange
        .change_occurrence(days, dk("2026-12-11T00:00"), |one| {
            one.free_busy = FreeBusy::OutOfOffice;
        })
        .unwrap();
    // Outside of the window.
    bench.add(ANNA, "2026-11-01T09:00", "2026-11-01T10:00");
    bench.add(ANNA, "2027-03-05T09:00", "2027-03-05T10:00");
}

#[tokio::test]
async fn a_first_reading_is_complete_and_a_second_is_one_request() {
    let bench = Bench::start().await;
    fill(&bench);
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert!(!memory.events.is_empty());
    bench.graph.ledger().clear();
    let before = memory.events.clone();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!((memory.told, memory.events.len()), (0, before.len()));
    // The folder's id is asked for once.
    assert_eq!((bench.count("Changes"), bench.count("Calendar")), (1, 1));
    bench.graph.ledger().clear();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!(bench.graph.ledger().len(), 1);
    assert!(memory.folder.is_some());
}

#[tokio::test]
async fn changes_are_read_with_a_few_requests() {
    let bench = Bench::start().await;
    fill(&bench);
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    memory.read_true(&bench, request(ANNA, winter())).await;
    bench.graph.ledger().clear();

    let item = bench.add(ANNA, "2026-12-08T09:00", "2026-12-08T10:00");
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!(bench.graph.ledger().len(), 1, "a new single");

    bench
        .exchange
        .move_in_time(item, SignedDuration::from_hours(48))
        .unwrap();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!(bench.graph.ledger().len(), 2, "a moved single");

    // Called removed in both cases.
    bench
        .exchange
        .move_in_time(item, SignedDuration::from_hours(24 * 365))
        .unwrap();
    memory.read_true(&bench, request(ANNA, winter())).await;
    bench
        .exchange
        .move_in_time(item, SignedDuration::from_hours(-24 * 365))
        .unwrap();
    memory.read_true(&bench, request(ANNA, winter())).await;
    bench.exchange.delete(item).unwrap();
    memory.read_true(&bench, request(ANNA, winter())).await;
}

#[tokio::test]
async fn a_deleted_occurrence_is_noticed_though_nothing_tells_it() {
    for masters_in_changes in [true, false] {
        let habits = Habits {
            masters_in_changes,
            ..Habits::default()
        };
        let options = GraphOptions {
            habits,
            ..GraphOptions::default()
        };
        let bench = Bench::with(options, |_| {}).await;
        let rule = daily(1, date(2026, 12, 1), Range::Numbered(20));
        let series = bench.add_series(ANNA, "2026-12-01T08:00", "2026-12-01T09:00", rule);
        let mut memory = Memory::default();
        memory.read_true(&bench, request(ANNA, winter())).await;
        assert_eq!(memory.events.len(), 20);
        let gone = dk("2026-12-09T08:00");
        bench.exchange.delete_occurrence(series, gone).unwrap();
        memory.read_true(&bench, request(ANNA, winter())).await;
        assert_eq!(memory.events.len(), 19);
        // The whole series.
        bench.exchange.delete(series).unwrap();
        memory.read_true(&bench, request(ANNA, winter())).await;
        assert_eq!(memory.events.len(), 0);
    }
}

#[tokio::test]
async fn the_window_rolls_without_gaps() {
    let bench = Bench::start().await;
    let rule = daily(1, date(2020, 1, 1), Range::NoEnd);
    bench.add_series(ANNA, "2020-01-01T08:00", "2020-01-01T09:00", rule);
    let mut memory = Memory::default();
    let mut chains = 0;
    for day in 0..75 {
        let shift = SignedDuration::from_hours(24 * day);
        let rolled =
            calbridge_core::model::Window::new(winter().start() + shift, winter().end() + shift)
                .unwrap();
        bench.graph.ledger().clear();
        let mut request = request(ANNA, rolled);
        request.now = at(NOW) + shift;
        memory.read_true(&bench, request).await;
        let began = |query: &str| query.contains("startDateTime");
        chains += bench
            .graph
            .ledger()
            .of("Changes")
            .iter()
            .filter(|call| began(&call.detail.query))
            .count();
    }
    // At first, and whenever a month is used up.
    assert_eq!(chains, 3);
}

#[tokio::test]
async fn every_request_asks_for_immutable_ids_and_utc() {
    let bench = Bench::with(GraphOptions::default(), |settings| {
        settings["page_size"] = serde_json::json!(10);
    })
    .await;
    fill(&bench);
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    memory.read_true(&bench, request(ANNA, winter())).await;
    let calls = bench
        .graph
        .ledger()
        .select(|call| call.operation != "Token");
    assert!(calls.len() > 3, "pages");
    for call in calls {
        let prefer = call.detail.prefer.unwrap();
        assert!(prefer.contains("IdType=\"ImmutableId\""), "{prefer}");
        assert!(prefer.contains("outlook.timezone=\"UTC\""), "{prefer}");
    }
}

#[tokio::test]
async fn pages_may_be_small_empty_and_repeat_themselves() {
    let habits = Habits {
        most_per_page: Some(3),
        empty_pages: true,
        repeats: true,
        ..Habits::default()
    };
    let options = GraphOptions {
        habits,
        ..GraphOptions::default()
    };
    let bench = Bench::with(options, |_| {}).await;
    fill(&bench);
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert!(bench.count("Changes") > 10);
}

#[tokio::test]
async fn dead_links_begin_anew_and_change_nothing() {
    let bench = Bench::start().await;
    fill(&bench);
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    let before = memory.clone();
    bench.graph.forget_links(ANNA).unwrap();
    let error = memory
        .read(&bench, request(ANNA, winter()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::CursorExpired, Scope::Calendar)
    );
    // As the engine does.
    memory.cursor = None;
    memory.covered = calbridge_core::model::Coverage::none();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!(memory.events, before.events);
}

#[tokio::test]
async fn changes_that_do_not_end_are_given_up_for_listings() {
    let bench = Bench::start().await;
    fill(&bench);
    bench.graph.inject_spec("Changes*all=endless").unwrap();
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!(bench.count("Changes"), 3);
    // For a day nothing is asked of them.
    bench.add(ANNA, "2026-12-08T09:00", "2026-12-08T10:00");
    memory.read_true(&bench, request(ANNA, winter())).await;
    assert_eq!(bench.count("Changes"), 3);
    bench.graph.clear_faults();
    let mut later = request(ANNA, winter());
    later.now = at(NOW) + SignedDuration::from_hours(25);
    memory.read_true(&bench, later).await;
    assert_eq!(bench.count("Changes"), 4);
}

#[tokio::test]
async fn near_appointments_come_first_on_a_first_run() {
    let bench = Bench::start().await;
    fill(&bench);
    let wide = window("2026-06-01T00:00", "2027-06-01T00:00");
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, wide)).await;
    let first = bench.graph.ledger().all().remove(1);
    assert_eq!(first.operation, "View");
    assert!(
        first.detail.query.contains("2026-12-18"),
        "{}",
        first.detail.query
    );
}

#[tokio::test]
async fn a_listing_asks_for_no_more_than_is_needed() {
    let bench = Bench::start().await;
    fill(&bench);
    let mut full = request(ANNA, winter());
    full.full = true;
    let mut memory = Memory::default();
    memory.read_true(&bench, full.clone()).await;
    memory.read_true(&bench, full).await;
    let queries: Vec<String> = bench
        .graph
        .ledger()
        .select(|call| call.operation == "View" || call.operation == "Event")
        .into_iter()
        .map(|call| call.detail.query)
        .collect();
    assert!(!queries.is_empty());
    for query in queries {
        for name in [
            "subject",
            "body",
            "attendees",
            "location",
            "sensitivity",
            "categories",
        ] {
            assert!(!query.contains(name), "{query}");
        }
    }
    for event in memory.events.values() {
        assert_eq!(event.content.subject, None);
    }
}

#[tokio::test]
async fn single_events_are_fetched_by_their_ids() {
    let bench = Bench::start().await;
    fill(&bench);
    let mut memory = Memory::default();
    let fields: FieldSet = [Field::Time, Field::Subject].into_iter().collect();
    let mut request = request(ANNA, winter());
    request.fields = fields;
    memory.read(&bench, request).await.unwrap();
    let calendar = CalendarRef::primary(ANNA).unwrap();
    let items: Vec<ItemRef> = memory
        .events
        .values()
        .map(|event| event.item.clone())
        .collect();
    let source = bench.connection.source().unwrap();
    let fetched = source.fetch(&calendar, &items).await.unwrap();
    assert_eq!(fetched.len(), items.len());
    for (event, fetched) in memory.events.values().zip(fetched) {
        let fetched = fetched.unwrap();
        assert_eq!(
            (&fetched.key, &fetched.content),
            (&event.key, &event.content)
        );
    }
    let odd = ItemRef::new("bm90aGluZw==", None).unwrap();
    let fetched = source.fetch(&calendar, &[odd]).await.unwrap();
    assert_eq!(fetched[0].as_ref().unwrap_err().scope, Scope::Item);
}
