//! Servers that do not expand series: how changes show, and what stands in the folder there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::model::OriginalStart;
use calbridge_sandbox::exchange::{Profile, Range};
use jiff::SignedDuration;
use jiff::civil::date;
use support::script::{Script, ZONE, created, folder, found, got, item, master, sync};
use support::{ANNA, Bench, after, at, daily, dk, read, request, window, winter};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[tokio::test]
async fn items_that_are_stamped_ahead_hide_no_changed_exception() {
    for ahead in [1, 300] {
        let bench = Bench::start(Profile::Gromox).await;
        bench.exchange.set_clock(Some(at("2026-11-19T08:00:00Z")));
        let series = bench.add_series(
            ANNA,
            "2026-12-01T09:00",
            "2026-12-01T10:00",
            daily(7, date(2026, 12, 1), Range::NoEnd),
        );
        // A clock that was wrong for a while.
        bench.exchange.set_clock(Some(at("2031-01-01T00:00:00Z")));
        for _ in 0..ahead {
            bench.add(ANNA, "2026-12-10T09:00", "2026-12-10T10:00");
        }
        bench.exchange.set_clock(Some(at("2026-11-19T08:05:00Z")));
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let next = after(&feed, &first);
        let quiet = bench.read(next.clone()).await.unwrap();
        assert!(quiet.snapshots.is_empty(), "{ahead}");
        bench.exchange.set_clock(Some(at("2026-11-19T08:10:00Z")));
        bench
            .exchange
            .move_occurrence(series, dk("2026-12-15T09:00"), HOUR)
            .unwrap();
        let next = after(&quiet, &next);
        let feed = bench.read_true(next.clone()).await;
        let quiet = bench.read(after(&feed, &next)).await.unwrap();
        assert!(quiet.snapshots.is_empty(), "{ahead}");
    }
}

#[tokio::test]
async fn a_changed_exception_shows_also_if_the_servers_clock_went_back() {
    let bench = Bench::start(Profile::Gromox).await;
    bench.exchange.set_clock(Some(at("2026-11-19T08:00:00Z")));
    let series = bench.add_series(
        ANNA,
        "2026-12-01T09:00",
        "2026-12-01T10:00",
        daily(7, date(2026, 12, 1), Range::NoEnd),
    );
    bench.add(ANNA, "2026-12-10T09:00", "2026-12-10T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    bench.exchange.set_clock(Some(at("2026-11-19T07:00:00Z")));
    bench
        .exchange
        .delete_occurrence(series, dk("2026-12-15T09:00"))
        .unwrap();
    bench.read_true(after(&feed, &first)).await;
}

#[tokio::test]
async fn a_cursor_of_the_release_before_leads_to_one_reading() {
    let bench = Bench::start(Profile::Gromox).await;
    bench.add_series(
        ANNA,
        "2026-12-01T09:00",
        "2026-12-01T10:00",
        daily(7, date(2026, 12, 1), Range::NoEnd),
    );
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    let mut next = after(&feed, &first);
    let mut cursor: serde_json::Value =
        serde_json::from_str(&next.cursor.as_ref().unwrap().0).unwrap();
    cursor.as_object_mut().unwrap().remove("masters").unwrap();
    cursor["newest"] = "2026-11-19T08:00:00Z".into();
    next.cursor = Some(calbridge_core::connector::Cursor(cursor.to_string()));
    let feed = bench.read_true(next.clone()).await;
    let quiet = bench.read(after(&feed, &next)).await.unwrap();
    assert!(quiet.snapshots.is_empty());
    assert!(
        quiet.cursor.unwrap().0.len() < 600,
        "the cursor stays small"
    );
}

/// An instance that was invited alone, as some servers list it.
fn alone(kind: &str, start: &str, more: &str) -> String {
    let end = start.replace(":00:00Z", ":30:00Z");
    item("O", kind, start, &end, &format!("{ZONE}{more}"))
}

#[tokio::test]
async fn an_occurrence_of_its_own_without_a_recurrence_id_is_a_single_where_nothing_expands() {
    for kind in ["Occurrence", "Exception"] {
        // With a series, so that the folder is listed; and without, so that a view is believed.
        for series in [true, false] {
            let server = Script::start(move |body, _| {
                if body.contains("GetFolder") {
                    return folder("F");
                }
                if body.contains("<m:SyncFolderItems>") {
                    let masters = created("M", "RecurringMaster");
                    let all = created("O", kind) + if series { masters.as_str() } else { "" };
                    let first = !body.contains("<m:SyncState>");
                    return sync("s1", if first { &all } else { "" });
                }
                let alone = alone(kind, "2026-12-02T08:00:00Z", "");
                if body.contains("FindItem") {
                    return match (series, body.contains("CalendarView")) {
                        (true, false) => found(&[alone, master("")]),
                        // The first instance is in no view.
                        (true, true) => found(&[]),
                        (false, _) => found(&[alone]),
                    };
                }
                got(&[if body.contains(r#"Id="O""#) {
                    alone
                } else {
                    master("")
                }])
            })
            .await;
            let december = window("2026-12-01T00:00", "2027-01-01T00:00");
            let connection = server.connect();
            let feed = read(connection.as_ref(), request(ANNA, december))
                .await
                .unwrap();
            assert!(feed.unreadable.is_empty(), "{kind}: {:?}", feed.unreadable);
            assert_eq!(feed.snapshots, [december]);
            let (alone, rest): (Vec<_>, Vec<_>) = feed
                .events
                .iter()
                .partition(|event| event.key.uid() == "uid-O");
            assert_eq!((alone.len(), rest.len()), (1, if series { 4 } else { 0 }));
            assert_eq!((alone[0].key.original(), &alone[0].group), (None, &None));
        }
    }
}

#[tokio::test]
async fn an_occurrence_of_its_own_keeps_a_recurrence_id_that_it_has() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", &created("M", "RecurringMaster"));
        }
        let id = "<t:RecurrenceId>2026-12-01T08:00:00Z</t:RecurrenceId>";
        let alone = alone("Exception", "2026-12-02T08:00:00Z", id);
        if body.contains("CalendarView") {
            return found(&[]);
        }
        if body.contains("FindItem") {
            return found(&[alone, master("")]);
        }
        got(&[master("")])
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    let alone = feed.events.iter().find(|event| event.key.uid() == "uid-O");
    let original = OriginalStart::Instant(at("2026-12-01T08:00:00Z"));
    assert_eq!(alone.unwrap().key.original(), Some(original));
}
