//! What a file's components become: times, zones, series, fields.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use calbridge_core::model::{EventTime, Field, FieldSet, OriginalStart, ShowAs, Window};
use common::{list, starts, vevent, window};

fn december() -> Window {
    window("2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z")
}

#[tokio::test]
async fn t15_an_all_day_event_is_days_and_busy() {
    let (events, _) = list(&vevent("a", "DTSTART;VALUE=DATE:20261206"), december()).await;
    let day = jiff::civil::date(2026, 12, 6);
    let next = jiff::civil::date(2026, 12, 7);
    assert_eq!(
        events[0].content.time,
        EventTime::all_day(day, next).unwrap()
    );
    assert_eq!(events[0].content.show_as, Some(ShowAs::Busy));
    assert_eq!(events[0].key.original(), None);
}

#[tokio::test]
async fn k011_a_private_event_is_told_like_any_other() {
    for line in [
        "CLASS:PRIVATE",
        "CLASS:CONFIDENTIAL",
        "X-CALENDARSERVER-ACCESS:RESTRICTED",
    ] {
        let text = vevent(
            "a",
            &format!("DTSTART:20261201T080000Z\nDURATION:PT1H\n{line}"),
        );
        let (events, _) = list(&text, december()).await;
        assert_eq!(events[0].content.private, Some(true), "{line}");
    }
    let (events, _) = list(
        &vevent("a", "DTSTART:20261201T080000Z\nCLASS:PUBLIC"),
        december(),
    )
    .await;
    assert_eq!(events[0].content.private, Some(false));
}

#[tokio::test]
async fn k036_only_occurrences_that_overlap_the_window_are_told() {
    let text = vevent(
        "a",
        "DTSTART;TZID=Europe/Copenhagen:20241201T230000\nDTEND;TZID=Europe/Copenhagen:20241202T010000\nRRULE:FREQ=DAILY",
    );
    let (events, _) = list(
        &text,
        window("2026-11-30T23:00:00Z", "2026-12-02T22:00:00Z"),
    )
    .await;
    // The one that has begun the evening before counts; the one that begins at the window's end does not.
    assert_eq!(
        starts(&events),
        ["2026-11-30T22:00:00Z", "2026-12-01T22:00:00Z"]
    );
    assert_eq!(
        events[0].key.original(),
        Some(OriginalStart::Instant(
            "2026-11-30T22:00:00Z".parse().unwrap()
        ))
    );
    assert_eq!(events[0].group.as_ref().unwrap().id, "a");
    assert_ne!(events[0].item, events[1].item);
}

#[tokio::test]
async fn k037_a_series_that_ended_before_or_starts_after_the_window_tells_nothing() {
    let text = vevent(
        "a",
        "DTSTART:20260101T080000Z\nRRULE:FREQ=DAILY;UNTIL=20260201T080000Z",
    ) + &vevent("b", "DTSTART:20270101T080000Z\nRRULE:FREQ=DAILY");
    let (events, unreadable) = list(&text, december()).await;
    assert!(events.is_empty() && unreadable.is_empty());
}

#[tokio::test]
async fn k038_k039_an_excluded_occurrence_is_not_told() {
    for except in [
        "EXDATE;TZID=Europe/Copenhagen:20261202T090000",
        "EXDATE:20261202T080000Z",
        "EXDATE;VALUE=DATE:20261202",
        "EXDATE:20261202T080000Z,20260101T080000Z\nEXDATE:",
    ] {
        let text = vevent(
            "a",
            &format!(
                "DTSTART;TZID=Europe/Copenhagen:20261201T090000\nRRULE:FREQ=DAILY;COUNT=3\n{except}"
            ),
        );
        let (events, _) = list(&text, december()).await;
        assert_eq!(
            starts(&events),
            ["2026-12-01T08:00:00Z", "2026-12-03T08:00:00Z"],
            "{except}"
        );
    }
}

#[tokio::test]
async fn k040_a_moved_occurrence_keeps_its_original_start() {
    let text = vevent(
        "a",
        "DTSTART:20261201T080000Z\nDTEND:20261201T083000Z\nRRULE:FREQ=DAILY;COUNT=2",
    ) + &vevent(
        "a",
        "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261202T090000Z\nDTEND:20261202T093000Z\nSUMMARY:moved",
    );
    let (events, _) = list(&text, december()).await;
    assert_eq!(
        starts(&events),
        ["2026-12-01T08:00:00Z", "2026-12-02T09:00:00Z"]
    );
    let moved = events
        .iter()
        .find(|e| e.content.subject.as_deref() == Some("moved"))
        .unwrap();
    assert_eq!(
        moved.key.original(),
        Some(OriginalStart::Instant(
            "2026-12-02T08:00:00Z".parse().unwrap()
        ))
    );
}

#[tokio::test]
async fn occurrences_move_into_and_out_of_the_window() {
    let text = vevent("a", "DTSTART:20261028T080000Z\nRRULE:FREQ=MONTHLY;COUNT=3")
        // From November into December, and from December into January.
        + &vevent("a", "RECURRENCE-ID:20261128T080000Z\nDTSTART:20261205T080000Z")
        + &vevent("a", "RECURRENCE-ID:20261228T080000Z\nDTSTART:20270105T080000Z");
    let (events, _) = list(&text, december()).await;
    assert_eq!(starts(&events), ["2026-12-05T08:00:00Z"]);
}

#[tokio::test]
async fn k041_one_occurrence_is_free_and_another_cancelled() {
    let text = vevent("a", "DTSTART:20261201T080000Z\nRRULE:FREQ=DAILY;COUNT=3")
        + &vevent(
            "a",
            "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261202T080000Z\nTRANSP:TRANSPARENT",
        )
        + &vevent("a", "RECURRENCE-ID:20261203T080000Z\nSTATUS:CANCELLED");
    let (events, _) = list(&text, december()).await;
    let mut told: Vec<_> = events
        .iter()
        .map(|e| (e.key.as_text(), e.content.show_as.unwrap(), e.cancelled))
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        told,
        [
            ("a\n2026-12-01T08:00:00Z".to_owned(), ShowAs::Busy, false),
            ("a\n2026-12-02T08:00:00Z".to_owned(), ShowAs::Free, false),
            ("a\n2026-12-03T08:00:00Z".to_owned(), ShowAs::Busy, true),
        ]
    );
}

#[tokio::test]
async fn a_changed_occurrence_without_its_series_stands_for_itself() {
    let text = vevent(
        "a",
        "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261203T080000Z",
    );
    let (events, _) = list(&text, december()).await;
    assert_eq!(events[0].key.as_text(), "a\n2026-12-02T08:00:00Z");
}

#[tokio::test]
async fn wall_clock_stays_across_both_changes_of_the_clocks() {
    let text = vevent(
        "a",
        "DTSTART;TZID=Romance Standard Time:20261024T090000\nDURATION:P1D\nRRULE:FREQ=DAILY;COUNT=2",
    ) + &vevent(
        "b",
        "DTSTART:20270327T023000\nDTEND:20270327T030000\nRRULE:FREQ=DAILY;COUNT=3",
    );
    let (events, _) = list(
        &text,
        window("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"),
    )
    .await;
    assert_eq!(
        starts(&events),
        ["2026-10-24T07:00:00Z", "2026-10-25T08:00:00Z"]
    );
    // P1D is a day on the calendar: 25 hours here.
    let EventTime::Timed { end, .. } = &events[0].content.time else {
        panic!()
    };
    assert_eq!(end.to_string(), "2026-10-25T08:00:00Z");
    let (events, _) = list(
        &text,
        window("2027-03-01T00:00:00Z", "2027-04-01T00:00:00Z"),
    )
    .await;
    // 02:30 does not exist on the 28th: it is read by the offset before the change, and not lost.
    assert_eq!(
        starts(&events),
        [
            "2027-03-27T01:30:00Z",
            "2027-03-28T01:30:00Z",
            "2027-03-29T00:30:00Z"
        ]
    );
}

#[tokio::test]
async fn until_is_read_whatever_its_type() {
    for (start, until, count) in [
        (
            "DTSTART;TZID=Europe/Copenhagen:20261201T090000",
            "20261203",
            3,
        ),
        (
            "DTSTART;TZID=Europe/Copenhagen:20261201T090000",
            "20261203T080000Z",
            3,
        ),
        (
            "DTSTART;TZID=Europe/Copenhagen:20261201T090000",
            "20261203T075959Z",
            2,
        ),
        (
            "DTSTART;TZID=Europe/Copenhagen:20261201T090000",
            "20261203T090000",
            3,
        ),
        ("DTSTART;VALUE=DATE:20261201", "20261203", 3),
        // Midnight of the 3rd in Copenhagen, as Exchange writes it.
        ("DTSTART;VALUE=DATE:20261201", "20261202T230000Z", 3),
        // The last second of the 2nd, as Google writes it.
        ("DTSTART;VALUE=DATE:20261201", "20261202T235959Z", 2),
    ] {
        let text = vevent("a", &format!("{start}\nRRULE:FREQ=DAILY;UNTIL={until}"));
        let (events, _) = list(&text, december()).await;
        assert_eq!(events.len(), count, "{start} {until}");
    }
}

#[tokio::test]
async fn additional_dates_and_periods_belong_to_the_series() {
    let text = vevent(
        "a",
        "DTSTART:20261201T080000Z\nDURATION:PT1H\nRDATE:20261205T080000Z\n\
         RDATE;VALUE=PERIOD:20261207T080000Z/PT3H,20261208T080000Z/20261208T083000Z",
    );
    let (events, _) = list(&text, december()).await;
    let minutes: Vec<i64> = events
        .iter()
        .map(|e| {
            let EventTime::Timed { start, end, .. } = &e.content.time else {
                panic!()
            };
            end.duration_since(*start).as_mins()
        })
        .collect();
    assert_eq!(minutes, [60, 60, 180, 30]);
}

#[tokio::test]
async fn days_of_a_series_are_known_by_dates_whatever_the_exporter_writes() {
    for replaced in [
        "RECURRENCE-ID;VALUE=DATE:20261202",
        "RECURRENCE-ID;TZID=Europe/Berlin:20261202T000000",
        "RECURRENCE-ID:20261201T230000Z",
    ] {
        let text = vevent(
            "a",
            "DTSTART;VALUE=DATE:20261201\nDTEND;VALUE=DATE:20261202\nRRULE:FREQ=DAILY;COUNT=2",
        ) + &vevent("a", &format!("{replaced}\nDTSTART;VALUE=DATE:20261210"));
        let (events, _) = list(&text, december()).await;
        assert_eq!(starts(&events), ["2026-12-01", "2026-12-10"], "{replaced}");
        assert!(events.iter().any(|e| e.key.as_text() == "a\n2026-12-02"));
    }
}

#[tokio::test]
async fn lengths_follow_the_standard() {
    for (lines, expected) in [
        (
            "DTSTART;VALUE=DATE:20261201\nDTEND;VALUE=DATE:20261203",
            "2026-12-01/2026-12-03",
        ),
        (
            "DTSTART;VALUE=DATE:20261201\nDTEND;VALUE=DATE:20261201",
            "2026-12-01/2026-12-02",
        ),
        (
            "DTSTART;VALUE=DATE:20261201\nDURATION:P2D",
            "2026-12-01/2026-12-03",
        ),
        (
            "DTSTART:20261201T000000\nDTEND:20261202T000000\nX-MICROSOFT-CDO-ALLDAYEVENT:TRUE",
            "2026-12-01/2026-12-02",
        ),
        (
            "DTSTART:20261201T080000Z",
            "2026-12-01T08:00:00Z/2026-12-01T08:00:00Z",
        ),
        (
            "DTSTART:20261201T080000\nDURATION:PT45M",
            "2026-12-01T07:00:00Z/2026-12-01T07:45:00Z",
        ),
        (
            "DTSTART:20261201T080000\nDURATION:P1W",
            "2026-12-01T07:00:00Z/2026-12-08T07:00:00Z",
        ),
    ] {
        let (events, _) = list(&vevent("a", lines), december()).await;
        let told = match &events[0].content.time {
            EventTime::Timed { start, end, .. } => format!("{start}/{end}"),
            EventTime::AllDay { start, end } => format!("{start}/{end}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, expected, "{lines}");
    }
}

#[tokio::test]
async fn free_and_busy_are_read_from_both_worlds() {
    for (lines, expected) in [
        ("", ShowAs::Busy),
        ("TRANSP:TRANSPARENT", ShowAs::Free),
        ("STATUS:TENTATIVE", ShowAs::Tentative),
        (
            "TRANSP:OPAQUE\nX-MICROSOFT-CDO-BUSYSTATUS:FREE",
            ShowAs::Free,
        ),
        (
            "STATUS:TENTATIVE\nX-MICROSOFT-CDO-BUSYSTATUS:OOF",
            ShowAs::Away,
        ),
        (
            "X-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE",
            ShowAs::Elsewhere,
        ),
        ("X-MICROSOFT-CDO-BUSYSTATUS:SOMETHING", ShowAs::Busy),
    ] {
        let (events, _) = list(
            &vevent("a", &format!("DTSTART:20261201T080000Z\n{lines}")),
            december(),
        )
        .await;
        assert_eq!(events[0].content.show_as, Some(expected), "{lines}");
    }
}

#[tokio::test]
async fn no_field_is_told_that_was_not_asked_for() {
    let lines = "DTSTART:20261201T080000Z\nSUMMARY:Caf\\, \\nS\nLOCATION:L\nDESCRIPTION:D\nCLASS:PRIVATE\nCATEGORIES:one,two\nCATEGORIES:three";
    let (events, _) = list(&vevent("a", lines), december()).await;
    let content = &events[0].content;
    assert_eq!(content.subject.as_deref(), Some("Caf, \nS"));
    assert_eq!(content.location.as_deref(), Some("L"));
    assert_eq!(content.body.as_deref(), Some("D"));
    assert_eq!(
        content.categories.as_deref().unwrap(),
        ["one", "two", "three"]
    );

    let folder = tempfile::tempdir().unwrap();
    common::write(folder.path(), &vevent("a", lines));
    let connection = common::open(serde_json::json!({ "path": folder.path() })).unwrap();
    let mut request = common::request(december());
    request.fields = FieldSet::times();
    let (changes, _) = common::told(&*connection, request).await.unwrap();
    let (events, _) = common::sort(changes, december());
    assert_eq!(
        events[0].content.fields(),
        FieldSet::from_iter([Field::Time, Field::ShowAs])
    );
}

#[tokio::test]
async fn of_revisions_the_newest_counts_and_unrelated_events_under_one_uid_stay_apart() {
    let text = vevent("a", "DTSTART:20261201T080000Z\nSEQUENCE:2")
        + &vevent("a", "DTSTART:20261202T080000Z\nSEQUENCE:1")
        + &vevent("b", "DTSTART:20261203T080000Z")
        + &vevent("b", "DTSTART:20261204T080000Z")
        + &vevent("b", "DTSTART:20261204T080000Z");
    let (events, _) = list(&text, december()).await;
    assert_eq!(
        starts(&events),
        [
            "2026-12-01T08:00:00Z",
            "2026-12-03T08:00:00Z",
            "2026-12-04T08:00:00Z"
        ]
    );
    assert_eq!(events[1].key, events[2].key);
    assert_ne!(events[1].item, events[2].item);
}

#[tokio::test]
async fn events_without_uid_get_one_made_of_their_times() {
    let text = "BEGIN:VEVENT\nDTSTART:20261201T080000Z\nSUMMARY:x\nEND:VEVENT\n\
                BEGIN:VEVENT\nDTSTART:20261201T080000Z\nSUMMARY:y\nEND:VEVENT\n";
    let (events, _) = list(text, december()).await;
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].key, events[1].key);
    let again = list(&text.replace("SUMMARY:x", "SUMMARY:z"), december())
        .await
        .0;
    assert_eq!(again[0].key, events[0].key);
}

#[tokio::test]
async fn one_broken_component_spoils_its_uid_alone() {
    let good = vevent("good", "DTSTART:20261201T080000Z");
    for (broken, says) in [
        ("SUMMARY:Canary", "DTSTART"),
        ("DTSTART:20261340T080000Z", "DTSTART"),
        ("DTSTART;TZID=Canary/Zone:20261201T080000", "TZID"),
        ("DTSTART:20261201T080000Z\nDTEND:20261201T070000Z", "DTEND"),
        ("DTSTART:20261201T080000Z\nDURATION:-PT1H", "DURATION"),
        ("DTSTART:20261201T080000Z\nRRULE:FREQ=CANARY", "RRULE"),
        ("DTSTART:20261201T080000Z\nRRULE:FREQ=SECONDLY", "too many"),
        (
            "DTSTART:20261201T080000Z\nRRULE:FREQ=DAILY\nEXDATE:Canary",
            "EXDATE",
        ),
        ("DTSTART:20261201T080000Z\nEXRULE:FREQ=DAILY", "EXRULE"),
        (
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20261201T080000Z\nDTSTART:20261201T090000Z",
            "THISANDFUTURE",
        ),
        (
            "RECURRENCE-ID:Canary\nDTSTART:20261201T090000Z",
            "RECURRENCE-ID",
        ),
    ] {
        let text = vevent(
            "bad",
            "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261202T090000Z",
        ) + &good
            + &vevent("bad", broken);
        let (events, unreadable) = list(&text, december()).await;
        assert_eq!(starts(&events), ["2026-12-01T08:00:00Z"], "{broken}");
        assert_eq!(unreadable.len(), 1, "{broken}");
        let (uid, error) = &unreadable[0];
        assert_eq!(uid, "bad");
        assert!(error.message.contains(says), "{broken}: {error}");
        assert!(error.message.contains("line 14"), "{broken}: {error}");
        assert!(!error.message.to_lowercase().contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn two_series_under_one_uid_are_told_as_unreadable() {
    let series = vevent("a", "DTSTART:20261201T080000Z\nRRULE:FREQ=DAILY;COUNT=2");
    let text = series.clone() + &series.replace("20261201", "20261203");
    let (events, unreadable) = list(&text, december()).await;
    assert!(events.is_empty());
    assert!(unreadable[0].1.message.contains("second series"));
}
