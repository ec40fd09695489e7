//! Inventory and roster (cases K096 to K098, K100, K101, K104, K115, K116, K125, K126).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use calbridge_core::connector::{
    Connection, ErrorKind, InventoryEntry, InventoryPage, InventoryRequest, Outcome, Result, Roster,
};
use calbridge_core::model::{CalendarKind, CalendarRef, Window};
use calbridge_sandbox::planner::{Limits, Operation, PeriodEdges, Resource, TimeForm};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use support::*;

const CARL: &str = "carl@kommune.example";
const DORA: &str = "dora@kommune.example";

fn window() -> Window {
    Window::new(at("2026-11-21T23:00:00Z"), at("2027-02-21T23:00:00Z")).unwrap()
}

async fn pages(connection: &Arc<dyn Connection>, addresses: &[&str]) -> Result<Vec<InventoryPage>> {
    let request = InventoryRequest {
        calendars: addresses.iter().map(|address| calendar(address)).collect(),
        window: window(),
        now: at(NOW),
    };
    let mut feed = connection.sink().unwrap().inventory(request).await?;
    let mut pages = Vec::new();
    while let Some(page) = feed.next().await? {
        pages.push(page);
    }
    Ok(pages)
}

fn all(pages: &[InventoryPage]) -> Vec<&InventoryEntry> {
    pages.iter().flat_map(|page| &page.entries).collect()
}

fn addresses<'a>(calendars: impl IntoIterator<Item = &'a CalendarRef>) -> BTreeSet<String> {
    calendars
        .into_iter()
        .map(|calendar| calendar.address.folded())
        .collect()
}

fn complete(pages: &[InventoryPage]) -> BTreeSet<String> {
    addresses(pages.iter().flat_map(|page| &page.complete))
}

fn failed(pages: &[InventoryPage]) -> BTreeSet<String> {
    addresses(
        pages
            .iter()
            .flat_map(|page| page.failed.iter().map(|(calendar, _)| calendar)),
    )
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses
        .iter()
        .map(|address| (*address).to_owned())
        .collect()
}

#[tokio::test]
async fn k096_the_inventory_tells_what_was_written_however_planner_writes_times() {
    for form in [TimeForm::Wall, TimeForm::Offset, TimeForm::Utc] {
        let setup = setup_with(|options| options.answer_times = form).await;
        let connection = setup.open();
        let report = apply(&connection, &[create(1, "uid-1")]).await;
        let pages = pages(&connection, &[ANNA, BO]).await.unwrap();
        let entries = all(&pages);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].calendar, calendar(ANNA));
        assert_eq!(entries[0].content, Some(morning()), "{form:?}");
        let Outcome::Done { remote, .. } = outcome(&report, 1) else {
            panic!()
        };
        assert_eq!(Some(&entries[0].remote), remote.as_ref());
        assert_eq!(complete(&pages), set(&[ANNA, BO]));
    }
}

#[tokio::test]
async fn what_was_written_across_the_autumn_change_is_listed_as_it_was_acknowledged() {
    for form in [TimeForm::Wall, TimeForm::Offset, TimeForm::Utc] {
        let setup = setup_with(|options| options.answer_times = form).await;
        let connection = setup.open();
        let mut folded = create(1, "uid-1");
        folded.target = Some(times("2027-10-31T00:50:00Z", "2027-10-31T01:10:00Z"));
        let report = apply(&connection, &[folded]).await;
        let Outcome::Done { stored, .. } = outcome(&report, 1) else {
            panic!("{report:?}")
        };
        let request = InventoryRequest {
            calendars: vec![calendar(ANNA)],
            window: Window::new(at("2027-10-01T00:00:00Z"), at("2027-12-01T00:00:00Z")).unwrap(),
            now: at(NOW),
        };
        let mut feed = connection.sink().unwrap().inventory(request).await.unwrap();
        let page = feed.next().await.unwrap().unwrap();
        assert_eq!(&page.entries[0].content, stored, "{form:?}");
    }
}

#[tokio::test]
async fn k097_calendars_are_asked_for_with_rid_and_complete_address() {
    let setup = setup().await;
    let long = format!("{}@kommune.example", "x".repeat(64));
    pages(&setup.open(), &[&long]).await.unwrap();
    let call = &setup.planner.calls(Operation::GetEvents)[0];
    assert_eq!(call.status, 200);
    assert_eq!(call.mailboxes, std::slice::from_ref(&long));
    let xml = call.detail.request_xml.as_deref().unwrap();
    assert!(
        xml.contains(&format!("<e:RID>{}</e:RID>", "x".repeat(64))),
        "{xml}"
    );
}

#[tokio::test]
async fn k100_no_events_are_an_empty_and_complete_list() {
    let setup = setup().await;
    let pages = pages(&setup.open(), &[ANNA]).await.unwrap();
    assert!(all(&pages).is_empty());
    assert_eq!(complete(&pages), set(&[ANNA]));
}

#[tokio::test]
async fn an_inventory_without_calendars_asks_nothing() {
    let setup = setup().await;
    assert!(pages(&setup.open(), &[]).await.unwrap().is_empty());
    assert!(setup.planner.ledger().all().is_empty());
}

#[tokio::test]
async fn calendars_are_listed_some_at_a_time_and_each_once() {
    let mut setup = setup_with(|options| {
        options.limits = Limits {
            max_calendars_per_get: Some(3),
            ..Limits::default()
        };
    })
    .await;
    setup.settings["calendars_per_inventory"] = 3.into();
    let asked = [ANNA, BO, CARL, "ANNA@kommune.example", DORA, ROOM];
    let pages = pages(&setup.open(), &asked).await.unwrap();
    assert_eq!(pages.len(), 2);
    assert_eq!(complete(&pages), set(&[ANNA, BO, CARL, DORA, ROOM]));
    let sizes: Vec<_> = setup
        .planner
        .calls(Operation::GetEvents)
        .iter()
        .map(|call| call.mailboxes.len())
        .collect();
    assert_eq!(sizes, [3, 2]);
}

#[tokio::test]
async fn more_calendars_than_the_service_takes_at_once_are_halved() {
    let mut setup = setup_with(|options| {
        options.limits = Limits {
            max_calendars_per_get: Some(1),
            ..Limits::default()
        };
    })
    .await;
    setup.settings["calendars_per_inventory"] = 4.into();
    let pages = pages(&setup.open(), &[ANNA, BO, CARL, DORA]).await.unwrap();
    assert_eq!(complete(&pages), set(&[ANNA, BO, CARL, DORA]));
}

#[tokio::test]
async fn k104_an_answer_above_the_limit_is_asked_for_in_smaller_chunks() {
    let mut setup = setup().await;
    setup.settings["http"]["max_response"] = json!(100_000);
    setup.planner.put_event(
        BO,
        "uid-1",
        wall("2026-12-01T09:00:00"),
        wall("2026-12-01T10:00:00"),
    );
    setup.fault("GetEvents=padding:200000");
    let pages = pages(&setup.open(), &[ANNA, BO]).await.unwrap();
    assert_eq!(complete(&pages), set(&[ANNA, BO]));
    assert_eq!(all(&pages).len(), 1);
    let sizes: Vec<_> = setup
        .planner
        .calls(Operation::GetEvents)
        .iter()
        .map(|call| call.mailboxes.len())
        .collect();
    assert_eq!(sizes, [2, 1, 1]);
}

#[tokio::test]
async fn k125_what_planner_lists_twice_counts_once() {
    let setup = setup().await;
    setup.fault("GetEvents=events-doubled");
    setup.planner.put_event(
        ANNA,
        "uid-1",
        wall("2026-12-01T09:00:00"),
        wall("2026-12-01T10:00:00"),
    );
    let pages = pages(&setup.open(), &[ANNA, BO]).await.unwrap();
    assert_eq!(all(&pages).len(), 1);
    assert_eq!(complete(&pages), set(&[ANNA, BO]));
}

#[tokio::test]
async fn k126_a_chunk_that_fails_does_not_stop_the_others() {
    for fault in [
        "fault",
        "fault-details:4711",
        "half",
        "hang-before",
        "reset-after",
    ] {
        let mut setup = setup().await;
        setup.settings["http"]["timeout"] = "2 s".into();
        setup.settings["calendars_per_inventory"] = 1.into();
        setup.planner.put_event(
            CARL,
            "uid-1",
            wall("2026-12-01T09:00:00"),
            wall("2026-12-01T10:00:00"),
        );
        setup.fault(&format!("GetEvents@{BO}*all={fault}"));
        let connection = setup.open();
        let (logs, _guard) = logs();
        let pages = pages(&connection, &[ANNA, BO, CARL]).await.unwrap();
        assert_eq!(complete(&pages), set(&[ANNA, CARL]), "{fault}");
        assert_eq!(failed(&pages), set(&[BO]), "{fault}");
        assert_eq!(all(&pages).len(), 1, "{fault}");
        assert!(logs.text().contains("code=\"3936\""), "{}", logs.text());
        assert!(!logs.text().contains("bo@"), "{}", logs.text());
    }
}

#[tokio::test]
async fn an_unreachable_planner_ends_the_inventory_instead_of_failing_chunk_by_chunk() {
    let setup = setup().await;
    setup.planner.stop().await;
    let asked: Vec<String> = (0..20).map(|n| format!("p{n}@kommune.example")).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let error = pages(&setup.open(), &asked).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Transient, "6901")
    );
}

#[tokio::test]
async fn an_address_that_the_schema_refuses_fails_alone() {
    let setup = setup().await;
    let bad = "anna,b@kommune.example";
    let pages = pages(&setup.open(), &[bad, ANNA, BO]).await.unwrap();
    assert_eq!(failed(&pages), set(&[bad]));
    assert_eq!(complete(&pages), set(&[ANNA, BO]));
}

#[tokio::test]
async fn what_starts_outside_the_window_is_not_told() {
    let setup = setup().await;
    // The service may count the end of its filter in.
    setup.planner.put_event(
        ANNA,
        "at-the-end",
        wall("2027-02-22T00:00:00"),
        wall("2027-02-22T01:00:00"),
    );
    setup.planner.put_event(
        ANNA,
        "first",
        wall("2026-11-22T00:00:00"),
        wall("2026-11-22T01:00:00"),
    );
    setup.planner.put_event(
        ANNA,
        "before",
        wall("2026-11-21T23:00:00"),
        wall("2026-11-22T12:00:00"),
    );
    let pages = pages(&setup.open(), &[ANNA]).await.unwrap();
    let ids: Vec<_> = all(&pages)
        .iter()
        .map(|entry| entry.remote.id.as_str())
        .collect();
    assert_eq!(ids, ["first"]);
}

#[tokio::test]
async fn k098_the_roster_lists_people_and_rooms_by_planners_own_ids() {
    let setup = setup().await;
    let roster = setup.open().roster().await.unwrap();
    assert!(roster.skipped.is_empty());
    let anna = &roster.entries[0];
    let known = &setup.planner.resources()[0];
    assert_eq!(anna.calendar.owner.as_str(), known.id.to_string());
    assert_eq!(anna.calendar.address.as_str(), ANNA);
    let kinds: Vec<_> = roster.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            CalendarKind::Person,
            CalendarKind::Person,
            CalendarKind::Room
        ]
    );
    let call = &setup.planner.calls(Operation::GetResources)[0];
    assert!(call.mailboxes.is_empty());
    let xml = call.detail.request_xml.as_deref().unwrap();
    assert!(xml.contains("></e:GetResourcesRequest>"), "{xml}");
}

#[tokio::test]
async fn k101_an_empty_roster_is_empty_and_warned_about() {
    let setup = setup().await;
    setup.fault("GetResources=resources-empty");
    let (logs, _guard) = logs();
    let roster = setup.open().roster().await.unwrap();
    assert_eq!(roster, Roster::default());
    assert!(
        logs.text().contains("WARN") && logs.text().contains("code=\"3202\""),
        "{}",
        logs.text()
    );
}

#[tokio::test]
async fn k115_an_address_that_is_listed_twice_is_left_out_altogether() {
    let setup = setup().await;
    let mut again = Resource::case_worker("Another", "ANNA@Kommune.example");
    again.id = uuid::Uuid::from_u128(7);
    setup.planner.add_resource(again);
    let (logs, _guard) = logs();
    let roster = setup.open().roster().await.unwrap();
    assert_eq!(
        addresses(roster.entries.iter().map(|entry| &entry.calendar)),
        set(&[BO, ROOM])
    );
    assert_eq!(roster.skipped.len(), 2);
    assert!(roster.skipped.iter().all(|skipped| skipped.code == "3201"));
    let logs = logs.text();
    assert!(
        logs.contains("code=\"3201\"") && logs.contains("WARN"),
        "{logs}"
    );
    assert!(!logs.to_lowercase().contains("anna@"), "{logs}");
}

#[tokio::test]
async fn k116_a_roster_that_cannot_be_had_is_an_error() {
    for (fault, code) in [
        ("fault", "6902"),
        ("fault-details:4711", "6903"),
        ("half", "6905"),
        ("status:503", "6905"),
        ("reset-before", "6905"),
    ] {
        let setup = setup().await;
        setup.fault(&format!("GetResources={fault}"));
        let error = setup.open().roster().await.unwrap_err();
        assert_eq!(error.code, code, "{fault}: {error}");
    }
}

#[tokio::test]
async fn an_inventory_waits_for_its_turn_under_a_low_pace() {
    let mut setup = setup().await;
    // The third call is due after seven seconds.
    setup.settings["calls_per_minute"] = 7.into();
    setup.settings["calendars_per_inventory"] = 1.into();
    let connection = setup.open();
    let pages = pages(&connection, &[ANNA, BO, CARL]).await.unwrap();
    assert_eq!(complete(&pages), set(&[ANNA, BO, CARL]));
}

#[tokio::test]
async fn an_address_with_markup_is_escaped_and_listed() {
    const MARKUP: &str = "a&b@x.dk";
    let setup = setup_with(|options| {
        options
            .resources
            .push(Resource::case_worker("Markup", MARKUP));
    })
    .await;
    let connection = setup.open();
    let report = apply_to(&connection, MARKUP, &[create(1, "uid-1")]).await;
    assert!(is_done(outcome(&report, 1)), "{report:?}");
    assert!(setup.planner.event(MARKUP, "uid-1").is_some());
    let pages = pages(&connection, &[MARKUP]).await.unwrap();
    assert_eq!(all(&pages).len(), 1);
}

/// What is listed of Anna's calendar in a window.
async fn ids_in(
    connection: &Arc<dyn Connection>,
    start: Timestamp,
    end: Timestamp,
) -> BTreeSet<u64> {
    let request = InventoryRequest {
        calendars: vec![calendar(ANNA)],
        window: Window::new(start, end).unwrap(),
        now: at(NOW),
    };
    let mut feed = connection.sink().unwrap().inventory(request).await.unwrap();
    let page = feed.next().await.unwrap().unwrap();
    assert_eq!(page.complete.len(), 1);
    page.entries
        .iter()
        .map(|entry| {
            entry
                .remote
                .id
                .trim_start_matches("event-")
                .parse()
                .unwrap()
        })
        .collect()
}

/// An event each half hour around each of these instants: an ordinary midnight and both changes of the clock.
const EDGES: [&str; 3] = [
    "2026-12-31T23:00:00Z",
    "2027-03-28T01:00:00Z",
    "2027-10-31T01:00:00Z",
];

fn half_hours(around: &str) -> Vec<Timestamp> {
    (-6_i64..=6)
        .map(|half_hours| at(around) + SignedDuration::from_mins(30 * half_hours))
        .collect()
}

#[tokio::test]
async fn nothing_that_starts_in_the_window_is_missed_at_its_edges_and_nothing_outside_is_told() {
    let setup = setup().await;
    let connection = setup.open();
    let mut starts: BTreeMap<u64, [Timestamp; 2]> = BTreeMap::new();
    let mut writes = Vec::new();
    for start in EDGES.into_iter().flat_map(half_hours) {
        let number = u64::try_from(writes.len()).unwrap() + 1;
        let end = start + SignedDuration::from_mins(20);
        let mut write = create(number, &format!("event-{number}"));
        write.target = Some(times(&start.to_string(), &end.to_string()));
        writes.push(write);
        starts.insert(number, [start, start]);
    }
    let report = apply(&connection, &writes).await;
    for (number, [_, stored_start]) in &mut starts {
        let Outcome::Done { stored, .. } = outcome(&report, *number) else {
            panic!("{report:?}")
        };
        *stored_start = stored.as_ref().unwrap().time.span_in(&TimeZone::UTC).0;
    }
    let far = SignedDuration::from_hours(24 * 400);
    for edges in [
        PeriodEdges::Open,
        PeriodEdges::HalfOpen,
        PeriodEdges::Closed,
    ] {
        for form in [TimeForm::Wall, TimeForm::Offset, TimeForm::Utc] {
            setup.planner.reconfigure(|options| {
                options.period_edges = edges;
                options.answer_times = form;
            });
            for edge in EDGES.into_iter().flat_map(half_hours) {
                for (start, end) in [(edge, edge + far), (edge - far, edge)] {
                    let listed = ids_in(&connection, start, end).await;
                    for (number, readings) in &starts {
                        // What was meant, and what Planner can say of it: both count.
                        let inside = readings.iter().any(|at| (start..end).contains(at));
                        let told = listed.contains(number);
                        assert!(
                            told || !inside,
                            "{edges:?} {form:?} {start} {end}: {readings:?}"
                        );
                        // Within the repeated hour it cannot be told, and too much harms nobody.
                        let ambiguous = readings[1].to_string().starts_with("2027-10-31T00");
                        assert!(
                            !told || inside || ambiguous,
                            "{edges:?} {form:?} {start} {end}: {readings:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Lists four calendars one by one, stops the program after the first page, and tells how the list ended.
async fn stopped_while_waiting(setup: &Setup, connection: &Arc<dyn Connection>) -> ErrorKind {
    let request = InventoryRequest {
        calendars: [ANNA, BO, CARL, DORA].map(calendar).to_vec(),
        window: window(),
        now: at(NOW),
    };
    let mut feed = connection.sink().unwrap().inventory(request).await.unwrap();
    assert!(feed.next().await.unwrap().is_some());
    let shutdown = setup.shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        shutdown.cancel();
    });
    let next = tokio::time::timeout(Duration::from_secs(5), feed.next()).await;
    next.expect("it ends within five seconds").unwrap_err().kind
}

#[tokio::test]
async fn a_list_that_waits_for_its_turn_ends_when_the_program_stops() {
    let mut setup = setup().await;
    // The second call would wait for twenty seconds.
    setup.settings["calls_per_minute"] = 2.into();
    setup.settings["calendars_per_inventory"] = 1.into();
    let connection = setup.open();
    let kind = stopped_while_waiting(&setup, &connection).await;
    assert_eq!(kind, ErrorKind::Cancelled);
    assert_eq!(setup.planner.calls(Operation::GetEvents).len(), 1);
}

#[tokio::test]
async fn a_list_that_waits_for_other_calls_ends_when_the_program_stops() {
    let mut setup = setup().await;
    setup.settings["parallel_calls"] = 1.into();
    setup.settings["calendars_per_inventory"] = 1.into();
    setup.settings["http"]["timeout"] = "30 s".into();
    let connection = setup.open();
    setup.fault("GetResources=hang-before");
    setup.fault("GetEvents#1=delay:500");
    let listed = async {
        // The list's first call holds the only permit while the roster's waits for it, and then it hangs.
        stopped_while_waiting(&setup, &connection).await
    };
    let roster = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        connection.roster().await
    };
    let (kind, roster) = tokio::join!(listed, roster);
    assert_eq!(kind, ErrorKind::Cancelled);
    assert_eq!(roster.unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(setup.planner.calls(Operation::GetEvents).len(), 1);
}
