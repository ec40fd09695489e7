//! Seeding from iCalendar text.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exchange_common;

use calbridge_sandbox::exchange::{ExchangeOptions, FreeBusy, Sensitivity};
use calbridge_sandbox::seed::Reason;
use exchange_common::{ANNA, Client, start};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn calendar(events: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{}END:VCALENDAR\r\n",
        events.replace('\n', "\r\n")
    )
}

const SERIES: &str = "BEGIN:VEVENT
UID:series@test
SUMMARY:Team
DTSTART;TZID=Europe/Copenhagen:20260302T090000
DTEND;TZID=Europe/Copenhagen:20260302T100000
RRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20260427T070000Z
EXDATE;TZID=Europe/Copenhagen:20260316T090000
CLASS:PRIVATE
END:VEVENT
BEGIN:VEVENT
UID:series@test
SUMMARY:Team moved
RECURRENCE-ID;TZID=Europe/Copenhagen:20260323T090000
DTSTART;TZID=Europe/Copenhagen:20260324T130000
DTEND;TZID=Europe/Copenhagen:20260324T140000
END:VEVENT
";

#[tokio::test]
async fn a_series_with_exceptions_becomes_one_item() {
    let exchange = start(ExchangeOptions::default()).await;
    let report = exchange.seed_ics(ANNA, &calendar(SERIES)).unwrap();
    assert_eq!(
        (report.items.len(), report.problems.len()),
        (1, 0),
        "{report:?}"
    );
    let found = exchange.occurrences(ANNA, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let starts: Vec<String> = found
        .iter()
        .map(|occurrence| occurrence.start.to_string())
        .collect();
    assert_eq!(
        starts,
        [
            "2026-03-02T08:00:00Z",
            "2026-03-09T08:00:00Z",
            "2026-03-24T12:00:00Z",
            "2026-03-30T07:00:00Z",
            "2026-04-06T07:00:00Z",
            "2026-04-13T07:00:00Z",
            "2026-04-20T07:00:00Z",
            "2026-04-27T07:00:00Z"
        ]
    );
    assert_eq!(found[2].original_start, Some(at("2026-03-23T08:00:00Z")));
    assert!(
        found
            .iter()
            .all(|occurrence| occurrence.uid == "series@test")
    );
    assert_eq!(found[0].sensitivity, Sensitivity::Private);

    let client = Client::new(&exchange, ANNA);
    let view = client
        .view(
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
            None,
            &["calendar:Start"],
        )
        .await;
    assert_eq!(view.all("Start"), starts);
    let ids = client.sync(None, 512).await.ids();
    let master = client
        .get(
            &ids,
            &[
                "calendar:Recurrence",
                "calendar:StartTimeZoneId",
                "calendar:DeletedOccurrences",
            ],
        )
        .await;
    assert!(
        master
            .one("Recurrence")
            .contains("<t:EndDate>2026-04-27+02:00</t:EndDate>"),
        "{}",
        master.text
    );
    assert_eq!(master.one("StartTimeZoneId"), "Romance Standard Time");
    assert_eq!(master.all("DeletedOccurrence").len(), 1);
}

#[tokio::test]
async fn rules_that_ews_cannot_say_are_expanded_without_a_recurrence() {
    let exchange = start(ExchangeOptions::default()).await;
    let event = "BEGIN:VEVENT
UID:odd@test
SUMMARY:Day 31
DTSTART:20260131T080000Z
DURATION:PT1H
RRULE:FREQ=MONTHLY;BYMONTHDAY=31;COUNT=4
END:VEVENT
";
    let report = exchange.seed_ics(ANNA, &calendar(event)).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let client = Client::new(&exchange, ANNA);
    let view = client
        .view(
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
            None,
            &["calendar:Start", "calendar:CalendarItemType"],
        )
        .await;
    // iCalendar skips short months where Outlook would take their last day.
    assert_eq!(
        view.all("Start"),
        [
            "2026-01-31T08:00:00Z",
            "2026-03-31T08:00:00Z",
            "2026-05-31T08:00:00Z",
            "2026-07-31T08:00:00Z"
        ]
    );
    let ids = client.sync(None, 512).await.ids();
    let master = client
        .get(&ids, &["calendar:Recurrence", "calendar:CalendarItemType"])
        .await;
    assert_eq!(master.one("CalendarItemType"), "RecurringMaster");
    assert!(master.all("Recurrence").is_empty());
}

#[tokio::test]
async fn days_states_and_zones_of_the_file() {
    let exchange = start(ExchangeOptions::default()).await;
    let events = "BEGIN:VTIMEZONE
TZID:Our own
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
BEGIN:VEVENT
UID:1
DTSTART;TZID=Our own:20260701T090000
DTEND;TZID=Our own:20260701T100000
X-MICROSOFT-CDO-BUSYSTATUS:OOF
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;VALUE=DATE:20260702
DTEND;VALUE=DATE:20260704
TRANSP:TRANSPARENT
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART:20260705T090000
DTEND:20260705T093000
STATUS:CANCELLED
END:VEVENT
";
    let report = exchange.seed_ics(ANNA, &calendar(events)).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let found = exchange.occurrences(ANNA, at("2026-06-01T00:00:00Z"), at("2026-08-01T00:00:00Z"));
    assert_eq!(
        (found[0].start, found[0].free_busy),
        (at("2026-07-01T07:00:00Z"), FreeBusy::OutOfOffice)
    );
    assert_eq!(
        found[1].dates,
        Some((jiff::civil::date(2026, 7, 2), jiff::civil::date(2026, 7, 4)))
    );
    assert_eq!(
        (found[1].start, found[1].free_busy),
        (at("2026-07-01T22:00:00Z"), FreeBusy::Free)
    );
    assert_eq!(
        (found[2].start, found[2].cancelled),
        (at("2026-07-05T07:00:00Z"), true)
    );
    let client = Client::new(&exchange, ANNA);
    let ids = client.sync(None, 512).await.ids();
    let zones = client.get(&ids, &["calendar:StartTimeZoneId"]).await;
    assert_eq!(
        zones.all("StartTimeZoneId"),
        ["Romance Standard Time", "Romance Standard Time", "Our own"]
    );
}

#[tokio::test]
async fn broken_events_are_reported_with_their_line_and_the_rest_goes_on() {
    let exchange = start(ExchangeOptions::default()).await;
    let good = "BEGIN:VEVENT\nUID:good\nDTSTART:20260701T090000Z\nEND:VEVENT\n";
    let events = format!(
        "BEGIN:VEVENT\nUID:a\nSUMMARY:No start\nEND:VEVENT\n{good}BEGIN:VEVENT\nUID:b\nDTSTART;TZID=Atlantis:20260701T090000\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:c\nDTSTART:20260701T090000Z\nDTEND:20260701T080000Z\nEND:VEVENT\n"
    );
    let report = exchange.seed_ics(ANNA, &calendar(&events)).unwrap();
    assert_eq!(report.items.len(), 1);
    let problems: Vec<(usize, Reason)> = report
        .problems
        .iter()
        .map(|problem| (problem.line, problem.reason))
        .collect();
    assert_eq!(
        problems,
        [(4, Reason::Start), (12, Reason::Zone), (16, Reason::End)]
    );
    let nothing = exchange
        .seed_ics(ANNA, "Dear Anna, here is the calendar.")
        .unwrap();
    assert!(nothing.items.is_empty() && !nothing.problems.is_empty());
    assert!(
        exchange
            .seed_ics("x@kommune.example", &calendar(good))
            .is_err()
    );
}

#[tokio::test]
async fn a_folder_of_mailboxes_is_seeded_file_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let good = calendar("BEGIN:VEVENT\nUID:good\nDTSTART:20260701T090000Z\nEND:VEVENT\n");
    std::fs::write(folder.path().join("carl@kommune.example.ics"), &good).unwrap();
    std::fs::write(folder.path().join("readme.txt"), "no calendar").unwrap();
    let own = folder.path().join(ANNA);
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("a.ics"), &good).unwrap();
    std::fs::write(own.join("b.ics"), "not a calendar").unwrap();
    let exchange = start(ExchangeOptions::default()).await;
    let report = exchange.seed_mailboxes(folder.path()).unwrap();
    assert_eq!(report.files.len(), 3);
    let broken: Vec<_> = report
        .files
        .iter()
        .filter(|(_, file)| !file.as_ref().unwrap().problems.is_empty())
        .collect();
    assert!(
        broken.len() == 1 && broken[0].0.ends_with("b.ics"),
        "{broken:?}"
    );
    assert_eq!(exchange.find("carl@kommune.example", "good").len(), 1);
    assert_eq!(exchange.find(ANNA, "good").len(), 1);
}

/// Real files, where they are at hand: every one gives items or a problem, and the server's view equals the oracle.
#[tokio::test]
async fn real_calendars_expand_like_the_oracle() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/calendars");
    if !folder.is_dir() {
        eprintln!("skipped: there are no shared calendars here");
        return;
    }
    let exchange = start(ExchangeOptions::default()).await;
    let report = exchange.seed_ics_folder(ANNA, &folder).unwrap();
    for (path, file) in &report.files {
        let file = file.as_ref().unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            !file.items.is_empty() || !file.problems.is_empty(),
            "{name}"
        );
        eprintln!(
            "{name}: {} items{}",
            file.items.len(),
            file.problems
                .iter()
                .map(|p| format!("; {p}"))
                .collect::<String>()
        );
    }
    let client = Client::new(&exchange, ANNA);
    let mut compared = 0;
    for year in 2017..2029 {
        for half in [("01-01", "07-01"), ("07-01", "12-31")] {
            let (from, to) = (
                format!("{year}-{}T00:00:00Z", half.0),
                format!("{year}-{}T00:00:00Z", half.1),
            );
            let view = client
                .view(&from, &to, None, &["calendar:Start", "calendar:End"])
                .await;
            assert_eq!(view.codes(), ["NoError"], "{from}");
            let truth = exchange.occurrences(ANNA, at(&from), at(&to));
            let starts: Vec<String> = truth
                .iter()
                .map(|occurrence| occurrence.start.to_string())
                .collect();
            assert_eq!(view.all("Start"), starts, "{from}");
            compared += starts.len();
        }
    }
    eprintln!("{compared} occurrences compared");
    assert!(compared > 500);
}
