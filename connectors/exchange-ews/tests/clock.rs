//! Series that a server does not expand, across changes of the clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::model::{EventTime, Field, OriginalStart, ShowAs, Window};
use calbridge_sandbox::exchange::{Pattern, Profile, Range, Recurrence};
use jiff::SignedDuration;
use jiff::civil::date;
use support::script::{Script, ZONE, created, daily, folder, found, got, item, sync};
use support::{ANNA, Bench, Feed, busy, dk, read, request, window};

/// A daily series of a server that tells its changed occurrences this way.
async fn series(
    first: (&str, &str),
    from: &str,
    lists: &str,
    moved: (&str, &str),
    w: Window,
) -> Feed {
    let more = format!("{ZONE}{}{lists}", daily(from));
    let master = item("M", "RecurringMaster", first.0, first.1, &more);
    let exception = item("M.E", "Exception", moved.0, moved.1, ZONE);
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let all = created("M", "RecurringMaster");
            return sync(
                "s1",
                if body.contains("<m:SyncState>") {
                    ""
                } else {
                    &all
                },
            );
        }
        if body.contains("CalendarView") {
            return found(&[]);
        }
        if body.contains("FindItem") {
            return found(std::slice::from_ref(&master));
        }
        got(&[if body.contains(r#"Id="M.E""#) {
            exception.clone()
        } else {
            master.clone()
        }])
    })
    .await;
    let connection = server.connect();
    read(connection.as_ref(), request(ANNA, w)).await.unwrap()
}

fn changed(start: &str, end: &str, original: &str) -> String {
    format!(
        r#"<t:ModifiedOccurrences><t:Occurrence><t:ItemId Id="M.E"/><t:Start>{start}</t:Start><t:End>{end}</t:End><t:OriginalStart>{original}</t:OriginalStart></t:Occurrence></t:ModifiedOccurrences>"#
    )
}

/// Original starts and times.
fn told(feed: &Feed) -> Vec<(String, String)> {
    let mut all: Vec<_> = feed
        .events
        .iter()
        .map(|event| {
            let Some(OriginalStart::Instant(original)) = event.key.original() else {
                panic!("{:?}", event.key)
            };
            let EventTime::Timed { start, end, .. } = &event.content.time else {
                panic!("{:?}", event.content.time)
            };
            (original.to_string(), format!("{start}/{end}"))
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_series_of_summer_with_an_exception_in_winter() {
    // 9:00 in Denmark; 15 December is moved to 15:00, and its midnight is told with summer's offset.
    let feed = series(
        ("2026-07-06T07:00:00Z", "2026-07-06T08:00:00Z"),
        "2026-07-06",
        &changed(
            "2026-12-15T13:00:00Z",
            "2026-12-15T14:00:00Z",
            "2026-12-14T22:00:00Z",
        ),
        ("2026-12-15T14:00:00Z", "2026-12-15T15:00:00Z"),
        window("2026-12-14T00:00", "2026-12-17T00:00"),
    )
    .await;
    let expected = [
        (
            "2026-12-14T08:00:00Z",
            "2026-12-14T08:00:00Z/2026-12-14T09:00:00Z",
        ),
        (
            "2026-12-15T08:00:00Z",
            "2026-12-15T14:00:00Z/2026-12-15T15:00:00Z",
        ),
        (
            "2026-12-16T08:00:00Z",
            "2026-12-16T08:00:00Z/2026-12-16T09:00:00Z",
        ),
    ];
    assert_eq!(
        told(&feed),
        expected.map(|(key, time)| (key.to_owned(), time.to_owned()))
    );
}

#[tokio::test]
async fn a_series_of_winter_with_an_exception_in_summer_told_by_midnight_or_by_its_start() {
    for original in ["2026-07-14T23:00:00Z", "2026-07-15T08:00:00Z"] {
        let feed = series(
            ("2026-01-05T08:00:00Z", "2026-01-05T09:00:00Z"),
            "2026-01-05",
            &changed("2026-07-15T14:00:00Z", "2026-07-15T15:00:00Z", original),
            ("2026-07-15T13:00:00Z", "2026-07-15T14:00:00Z"),
            window("2026-07-15T00:00", "2026-07-16T00:00"),
        )
        .await;
        let [(key, time)] = &told(&feed)[..] else {
            panic!("{:?}", told(&feed))
        };
        assert_eq!(key, "2026-07-15T07:00:00Z");
        assert_eq!(time, "2026-07-15T13:00:00Z/2026-07-15T14:00:00Z");
    }
}

#[tokio::test]
async fn a_deleted_occurrence_just_after_midnight_told_as_the_day_before() {
    // 0:30 in Denmark; 15 December is deleted and told with summer's offset: 23:30 of the 14th.
    let feed = series(
        ("2026-07-05T22:30:00Z", "2026-07-05T23:00:00Z"),
        "2026-07-06",
        "<t:DeletedOccurrences><t:DeletedOccurrence><t:Start>2026-12-14T22:30:00Z</t:Start></t:DeletedOccurrence></t:DeletedOccurrences>",
        ("2026-12-15T14:00:00Z", "2026-12-15T15:00:00Z"),
        window("2026-12-14T00:00", "2026-12-17T00:00"),
    )
    .await;
    let keys: Vec<String> = told(&feed).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["2026-12-13T23:30:00Z", "2026-12-15T23:30:00Z"]);
}

#[tokio::test]
async fn a_start_in_the_hour_that_is_skipped_keeps_its_length() {
    let feed = series(
        ("2026-01-05T01:30:00Z", "2026-01-05T02:00:00Z"),
        "2026-01-05",
        "",
        ("2026-12-15T14:00:00Z", "2026-12-15T15:00:00Z"),
        window("2026-03-28T00:00", "2026-03-31T00:00"),
    )
    .await;
    let half = SignedDuration::from_mins(30);
    let lengths: Vec<_> = feed
        .events
        .iter()
        .map(|event| event.content.time.span_in(&support::copenhagen()))
        .map(|(start, end)| end.duration_since(start))
        .collect();
    assert_eq!(lengths, [half, half, half]);
}

#[tokio::test]
async fn exceptions_and_deletions_on_both_sides_of_the_changes_of_the_clock() {
    for profile in [Profile::Exchange2019, Profile::Gromox] {
        for begin in [date(2026, 7, 6), date(2026, 1, 5)] {
            // In winter's half a start at 23:00 is told like the next day's midnight.
            for clock in [
                "00:00", "00:30", "02:30", "09:00", "21:30", "23:00", "23:40",
            ] {
                let bench = Bench::start(profile).await;
                let rule = Recurrence {
                    pattern: Pattern::Daily { interval: 1 },
                    start: begin,
                    range: Range::NoEnd,
                };
                let start = dk(&format!("{begin}T{clock}"));
                let end = start + SignedDuration::from_mins(15);
                let wall = |at| support::copenhagen().to_datetime(at).to_string();
                let series = bench
                    .exchange
                    .create(ANNA, busy(&wall(start), &wall(end)).repeating(rule))
                    .unwrap();
                for (moved, deleted) in [("2026-12-15", "2026-12-18"), ("2026-07-15", "2026-07-18")]
                {
                    let hours = SignedDuration::from_hours(4);
                    let slot = dk(&format!("{moved}T{clock}"));
                    bench.exchange.move_occurrence(series, slot, hours).unwrap();
                    let slot = dk(&format!("{deleted}T{clock}"));
                    bench.exchange.delete_occurrence(series, slot).unwrap();
                }
                for (from, to) in [
                    ("2026-07-13T00:00", "2026-07-21T00:00"),
                    ("2026-12-13T00:00", "2026-12-21T00:00"),
                ] {
                    bench.read_true(request(ANNA, window(from, to))).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_deleted_night_of_winter_of_a_series_begun_in_summer() {
    // 23:00 in Denmark, which in winter is midnight by summer's offset.
    let deleted = |start: &str| {
        format!(
            "<t:DeletedOccurrences><t:DeletedOccurrence><t:Start>{start}</t:Start></t:DeletedOccurrence></t:DeletedOccurrences>"
        )
    };
    for start in ["2026-12-14T22:00:00Z", "2026-12-14T21:00:00Z"] {
        let feed = series(
            ("2026-07-05T21:00:00Z", "2026-07-05T21:45:00Z"),
            "2026-07-05",
            &deleted(start),
            ("2026-12-15T14:00:00Z", "2026-12-15T15:00:00Z"),
            window("2026-12-14T12:00", "2026-12-16T12:00"),
        )
        .await;
        let keys: Vec<String> = told(&feed).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["2026-12-15T22:00:00Z"], "{start}");
    }
}

#[tokio::test]
async fn an_exception_has_what_it_does_not_tell_from_its_series() {
    let more = "<t:Sensitivity>Private</t:Sensitivity><t:Location>Here</t:Location>";
    let lists = changed(
        "2026-12-08T12:00:00Z",
        "2026-12-08T13:00:00Z",
        "2026-12-08T08:00:00Z",
    );
    let master = item(
        "M",
        "RecurringMaster",
        "2026-12-01T08:00:00Z",
        "2026-12-01T09:00:00Z",
        &format!("{ZONE}{}{lists}{more}", daily("2026-12-01")),
    );
    // No more than times, as servers give it that store what differs.
    let exception = item(
        "M.E",
        "Exception",
        "2026-12-08T12:00:00Z",
        "2026-12-08T13:00:00Z",
        "",
    )
    .replace("<t:LegacyFreeBusyStatus>Busy</t:LegacyFreeBusyStatus>", "")
    .replace("<t:IsAllDayEvent>false</t:IsAllDayEvent>", "");
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", &created("M", "RecurringMaster"));
        }
        if body.contains("CalendarView") {
            return found(&[]);
        }
        if body.contains("FindItem") {
            return found(std::slice::from_ref(&master));
        }
        let is_exception = body.contains(r#"Id="M.E""#);
        got(&[if is_exception {
            exception.clone()
        } else {
            master.clone()
        }])
    })
    .await;
    let connection = server.connect();
    let mut request = request(ANNA, window("2026-12-08T00:00", "2026-12-09T00:00"));
    request.fields = [Field::Time, Field::ShowAs, Field::Private, Field::Location]
        .into_iter()
        .collect();
    let feed = read(connection.as_ref(), request).await.unwrap();
    let [event] = &feed.events[..] else {
        panic!("{:?}", feed.events)
    };
    assert_eq!(event.content.show_as, Some(ShowAs::Busy));
    assert_eq!(event.content.private, Some(true), "nothing private leaks");
    assert_eq!(event.content.location.as_deref(), Some("Here"));
}
