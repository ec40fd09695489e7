//! Seeding from iCalendar text.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exchange_common;

use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox, FreeBusy, Sensitivity};
use calbridge_sandbox::seed::{Reason, SeedReport};
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

fn starts(exchange: &ExchangeSandbox) -> Vec<String> {
    exchange
        .occurrences(ANNA, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))
        .iter()
        .map(|occurrence| occurrence.start.to_string())
        .collect()
}

fn problems(report: &SeedReport) -> Vec<(usize, Reason)> {
    report
        .problems
        .iter()
        .map(|problem| (problem.line, problem.reason))
        .collect()
}

#[tokio::test]
async fn a_series_of_days_ends_with_the_day_whose_last_second_is_named() {
    for until in ["20260605T235959Z", "20260605T235959", "20260605"] {
        let exchange = start(ExchangeOptions::default()).await;
        let event = format!(
            "BEGIN:VEVENT\nUID:days\nDTSTART;VALUE=DATE:20260603\nDTEND;VALUE=DATE:20260604\n\
             RRULE:FREQ=DAILY;UNTIL={until}\nEND:VEVENT\n"
        );
        let report = exchange.seed_ics(ANNA, &calendar(&event)).unwrap();
        assert!(report.problems.is_empty(), "{until}: {report:?}");
        assert_eq!(
            starts(&exchange),
            [
                "2026-06-02T22:00:00Z",
                "2026-06-03T22:00:00Z",
                "2026-06-04T22:00:00Z"
            ],
            "{until}"
        );
    }
    // Of a series with hours it is the instant that it says.
    let exchange = start(ExchangeOptions::default()).await;
    let event = "BEGIN:VEVENT\nUID:hours\nDTSTART;TZID=Europe/Copenhagen:20260603T003000\n\
                 RRULE:FREQ=DAILY;UNTIL=20260604T235959Z\nEND:VEVENT\n";
    exchange.seed_ics(ANNA, &calendar(event)).unwrap();
    assert_eq!(starts(&exchange).len(), 3);
}

/// An event that is read whatever stands around it.
const GOOD: &str = "BEGIN:VEVENT\nUID:good\nDTSTART:20260701T090000Z\nEND:VEVENT\n";

#[tokio::test]
async fn a_change_of_all_that_follows_is_reported_and_changes_nothing() {
    let exchange = start(ExchangeOptions::default()).await;
    let events = format!(
        "BEGIN:VEVENT\nUID:a\nDTSTART:20260601T090000Z\nRRULE:FREQ=DAILY;COUNT=3\nEND:VEVENT\n\
         BEGIN:VEVENT\nUID:a\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260602T090000Z\n\
         DTSTART:20260602T110000Z\nEND:VEVENT\n{GOOD}"
    );
    let report = exchange.seed_ics(ANNA, &calendar(&events)).unwrap();
    assert_eq!(problems(&report), [(9, Reason::RecurrenceId)]);
    assert_eq!(
        starts(&exchange),
        [
            "2026-06-01T09:00:00Z",
            "2026-06-02T09:00:00Z",
            "2026-06-03T09:00:00Z",
            "2026-07-01T09:00:00Z"
        ]
    );
}

#[tokio::test]
async fn an_event_without_its_end_is_reported_and_the_others_go_on() {
    let open = "BEGIN:VEVENT\nUID:open\nDTSTART:20260601T090000Z\n";
    let alarm = "BEGIN:VEVENT\nUID:open\nDTSTART:20260601T090000Z\nBEGIN:VALARM\nACTION:DISPLAY\nEND:VEVENT\n";
    for (events, line) in [
        (format!("{open}{GOOD}"), 4),
        (format!("{GOOD}{open}"), 8),
        (format!("{alarm}{GOOD}"), 4),
    ] {
        let exchange = start(ExchangeOptions::default()).await;
        let report = exchange.seed_ics(ANNA, &calendar(&events)).unwrap();
        assert_eq!(problems(&report), [(line, Reason::Component)], "{events}");
        assert_eq!(starts(&exchange), ["2026-07-01T09:00:00Z"], "{events}");
    }
    // A file that was cut short: both the event and the calendar are not ended.
    let exchange = start(ExchangeOptions::default()).await;
    let whole = calendar(&format!("{GOOD}{open}"));
    let report = exchange
        .seed_ics(ANNA, whole.trim_end_matches("END:VCALENDAR\r\n"))
        .unwrap();
    assert_eq!(
        problems(&report),
        [(1, Reason::Component), (8, Reason::Component)]
    );
    assert_eq!(starts(&exchange).len(), 1);
}

#[tokio::test]
async fn rules_that_cannot_be_understood_are_reported_and_not_simplified() {
    for rule in [
        "FREQ=FORTNIGHTLY;COUNT=3",
        "COUNT=3",
        "FREQ=WEEKLY;BYDAY=XX;COUNT=3",
        "FREQ=WEEKLY;UNTIL=soon",
        "FREQ=DAILY;COUNT=many",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=MONTHLY;BYMONTHDAY=40;COUNT=3",
        "FREQ=DAILY;BYMOON=FULL;COUNT=3",
        "FREQ=MINUTELY;COUNT=3",
        "daily",
        "",
    ] {
        let exchange = start(ExchangeOptions::default()).await;
        let events = format!(
            "BEGIN:VEVENT\nUID:bad\nDTSTART:20260601T090000Z\nRRULE:{rule}\nEND:VEVENT\n{GOOD}"
        );
        let report = exchange.seed_ics(ANNA, &calendar(&events)).unwrap();
        assert_eq!(problems(&report), [(4, Reason::Rule)], "{rule}");
        assert_eq!(starts(&exchange), ["2026-07-01T09:00:00Z"], "{rule}");
    }
    // An old rule for what is taken away again has no counterpart.
    let exchange = start(ExchangeOptions::default()).await;
    let events = "BEGIN:VEVENT\nUID:bad\nDTSTART:20260601T090000Z\nRRULE:FREQ=DAILY;COUNT=9\n\
                  EXRULE:FREQ=WEEKLY\nEND:VEVENT\n";
    let report = exchange.seed_ics(ANNA, &calendar(events)).unwrap();
    assert_eq!(problems(&report), [(4, Reason::Rule)]);
}

#[tokio::test]
async fn a_file_without_a_calendar_is_reported_and_the_other_files_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let good = calendar(GOOD);
    for (name, text) in [
        ("a.ics", ""),
        ("b.ics", GOOD),
        ("c.ics", "<html><body>Log on: here</body></html>"),
        ("d.ics", good.as_str()),
        ("e.ics", "BEGIN:VCALENDAR\nEND:VCALENDAR\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let exchange = start(ExchangeOptions::default()).await;
    let report = exchange.seed_ics_folder(ANNA, folder.path()).unwrap();
    for (path, file) in &report.files {
        let file = file.as_ref().unwrap();
        let expected: &[_] = match path.ends_with("d.ics") {
            true => &[],
            false => &[(1, Reason::NoCalendar)],
        };
        assert_eq!(problems(file), expected, "{}", path.display());
    }
    assert_eq!(starts(&exchange), ["2026-07-01T09:00:00Z"]);
}

#[tokio::test]
async fn classes_and_apples_access_say_who_may_see() {
    for (lines, expected) in [
        ("", Sensitivity::Normal),
        ("CLASS:PUBLIC\n", Sensitivity::Normal),
        ("CLASS:private\n", Sensitivity::Private),
        ("CLASS:CONFIDENTIAL\n", Sensitivity::Confidential),
        ("CLASS:X-FRIENDS\n", Sensitivity::Private),
        ("X-CALENDARSERVER-ACCESS:PUBLIC\n", Sensitivity::Normal),
        ("X-CALENDARSERVER-ACCESS:PRIVATE\n", Sensitivity::Private),
        ("X-CALENDARSERVER-ACCESS:RESTRICTED\n", Sensitivity::Private),
        (
            "X-CALENDARSERVER-ACCESS:CONFIDENTIAL\n",
            Sensitivity::Confidential,
        ),
        (
            "CLASS:PUBLIC\nX-CALENDARSERVER-ACCESS:PRIVATE\n",
            Sensitivity::Private,
        ),
        (
            "CLASS:CONFIDENTIAL\nX-CALENDARSERVER-ACCESS:PUBLIC\n",
            Sensitivity::Confidential,
        ),
    ] {
        let exchange = start(ExchangeOptions::default()).await;
        let event = format!("BEGIN:VEVENT\nUID:a\nDTSTART:20260701T090000Z\n{lines}END:VEVENT\n");
        exchange.seed_ics(ANNA, &calendar(&event)).unwrap();
        let found =
            exchange.occurrences(ANNA, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!(found[0].sensitivity, expected, "{lines}");
    }
}

#[tokio::test]
async fn an_occurrence_without_its_series_still_says_which_one_it_is() {
    let exchange = start(ExchangeOptions::default()).await;
    let events = "BEGIN:VEVENT
UID:lonely
RECURRENCE-ID;TZID=Europe/Copenhagen:20261027T100000
DTSTART;TZID=Europe/Copenhagen:20261027T110000
DTEND;TZID=Europe/Copenhagen:20261027T120000
END:VEVENT
BEGIN:VEVENT
UID:strays
DTSTART:20260601T090000Z
RRULE:FREQ=DAILY;COUNT=2
END:VEVENT
BEGIN:VEVENT
UID:strays
RECURRENCE-ID:20260801T090000Z
DTSTART:20260801T100000Z
END:VEVENT
";
    let report = exchange.seed_ics(ANNA, &calendar(events)).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let client = Client::new(&exchange, ANNA);
    let view = client
        .view(
            "2026-07-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
            None,
            &[
                "calendar:UID",
                "calendar:RecurrenceId",
                "calendar:CalendarItemType",
            ],
        )
        .await;
    assert_eq!(view.all("UID"), ["strays", "lonely"]);
    assert_eq!(
        view.all("RecurrenceId"),
        ["2026-08-01T09:00:00Z", "2026-10-27T09:00:00Z"]
    );
    assert_eq!(view.all("CalendarItemType"), ["Single", "Single"]);
}

#[tokio::test]
async fn a_letter_that_is_folded_in_the_middle_and_latin_1_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("letters.ics");
    let mut bytes =
        b"\xef\xbb\xbfBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260701T090000Z\r\n"
            .to_vec();
    bytes.extend_from_slice(b"SUMMARY:M\xc3\r\n \xb8de\r\nLOCATION:V\xe6rksted\r\n");
    bytes.extend_from_slice(b"END:VEVENT\r\nEND:VCALENDAR\r\n");
    std::fs::write(&place, bytes).unwrap();
    let exchange = start(ExchangeOptions::default()).await;
    let report = exchange.seed_ics_file(ANNA, &place).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let client = Client::new(&exchange, ANNA);
    let ids = client.sync(None, 512).await.ids();
    let item = client
        .get(&ids, &["item:Subject", "calendar:Location"])
        .await;
    assert_eq!(item.one("Subject"), "M\u{f8}de");
    assert_eq!(item.one("Location"), "V\u{e6}rksted");
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
