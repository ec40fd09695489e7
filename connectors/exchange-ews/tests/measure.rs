//! What reading costs: expansion by the server (CalendarView) beside expansion by us (the whole folder by
//! FindItem, masters and exceptions by GetItem). The figures of `docs/adr/0002-expansion.md` are these; run with
//! `--nocapture` to see the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use calbridge_sandbox::exchange::{Profile, Range};
use jiff::SignedDuration;
use jiff::civil::{Weekday, date};
use support::{ANNA, Bench, after, dk, request, weekly, winter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    requests: usize,
    kilobytes: usize,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} KB)", self.requests, self.kilobytes)
    }
}

fn spent(bench: &Bench) -> Cost {
    let calls = bench.exchange.ledger().all();
    bench.exchange.ledger().clear();
    let bytes: usize = calls.iter().map(|call| call.response_bytes).sum();
    Cost {
        requests: calls.len(),
        kilobytes: bytes / 1000,
    }
}

/// First contact, unchanged, one change.
async fn measure(profile: Profile, fill: impl Fn(&Bench)) -> [Cost; 3] {
    let bench = Bench::start(profile).await;
    // No later than our own clock, as everywhere.
    let yesterday = support::at("2026-11-19T08:00:00Z");
    bench.exchange.set_clock(Some(yesterday));
    fill(&bench);
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    let contact = spent(&bench);
    let next = after(&feed, &first);
    let feed = bench.read(next.clone()).await.unwrap();
    let unchanged = spent(&bench);
    bench.add(ANNA, "2026-12-24T09:00", "2026-12-24T10:00");
    bench.read_true(after(&feed, &next)).await;
    [contact, unchanged, spent(&bench)]
}

fn single(bench: &Bench, day: i64, hour: i64) {
    let start = date(2026, 12, 1)
        .checked_add(jiff::Span::new().days(day))
        .unwrap();
    let start = start.at(i8::try_from(hour).unwrap(), 0, 0, 0).to_string();
    let end = start.replace(":00:00", ":30:00");
    bench.add(ANNA, &start, &end);
}

/// One series, so that the server shows whether it expands.
fn one_series(bench: &Bench) {
    bench.add_series(
        ANNA,
        "2026-12-04T07:00",
        "2026-12-04T07:30",
        weekly(&[Weekday::Friday], date(2026, 12, 4), Range::NoEnd),
    );
}

/// 1,000 singles, 900 of them inside the window.
fn thousand_singles(bench: &Bench) {
    for n in 0..1000 {
        single(bench, n / 10 - 10, 8 + n % 10);
    }
    one_series(bench);
}

/// 10,000 singles, 200 of them inside the window.
fn old_calendar(bench: &Bench) {
    for n in 0..9800 {
        single(bench, -(n / 10) - 1, 8 + n % 10);
    }
    for n in 0..200 {
        single(bench, n % 90, 8 + n / 90);
    }
    one_series(bench);
}

/// 50 weekly series with 5 moved occurrences each.
fn series(bench: &Bench) {
    for n in 0..50 {
        let hour = 8 + n % 10;
        let rule = weekly(&[Weekday::Wednesday], date(2026, 12, 2), Range::NoEnd);
        let (start, end) = (
            format!("2026-12-02T{hour:02}:00"),
            format!("2026-12-02T{hour:02}:30"),
        );
        let item = bench.add_series(ANNA, &start, &end, rule);
        for week in 1..6 {
            let slot = dk(&start)
                .checked_add(SignedDuration::from_hours(168 * week))
                .unwrap();
            bench
                .exchange
                .move_occurrence(item, slot, SignedDuration::from_mins(30))
                .unwrap();
        }
    }
}

fn report(name: &str, by_server: [Cost; 3], by_us: [Cost; 3]) {
    for (what, server, us) in [
        ("first contact", by_server[0], by_us[0]),
        ("unchanged", by_server[1], by_us[1]),
        ("one change", by_server[2], by_us[2]),
    ] {
        println!("| {name} | {what} | {server} | {us} |");
    }
}

fn requests(costs: [Cost; 3]) -> [usize; 3] {
    costs.map(|cost| cost.requests)
}

#[tokio::test]
async fn a_thousand_singles() {
    let server = measure(Profile::Exchange2019, thousand_singles).await;
    let us = measure(Profile::Gromox, thousand_singles).await;
    report("1,000 singles", server, us);
    assert_eq!(requests(server), [6, 1, 2]);
    assert_eq!(requests(us), [9, 2, 5]);
}

#[tokio::test]
async fn two_hundred_events_in_a_folder_of_ten_thousand() {
    let server = measure(Profile::Exchange2019, old_calendar).await;
    let us = measure(Profile::Gromox, old_calendar).await;
    report("200 events of 10,000 items", server, us);
    assert_eq!(requests(server), [24, 1, 2]);
    assert_eq!(requests(us), [36, 2, 14]);
}

#[tokio::test]
async fn fifty_series_with_five_exceptions() {
    let server = measure(Profile::Exchange2019, series).await;
    let us = measure(Profile::Gromox, series).await;
    report("50 series, 5 exceptions each", server, us);
    assert_eq!(requests(server), [5, 1, 2]);
    assert_eq!(requests(us), [22, 2, 19]);
}
