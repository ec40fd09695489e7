//! Starts the Exchange sandbox over TLS with seeded mailboxes for `scripts/exchangelib_check.py`, or, with a number as
//! argument, with so many appointments in one mailbox for `scripts/exchangelib_figures.py`.
//!
//! Prints one line of JSON (address, CA file, credentials, and what an independent expansion says the calendar holds)
//! and runs until its standard input closes. To each line that it is told it answers how many requests came since the
//! last one.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::BufRead as _;
use std::time::Duration;

use calbridge_sandbox::exchange::{
    Attendee, Direction, ExchangeOptions, ExchangeSandbox, FreeBusy, NewItem, Notifications,
    Pattern, Person, Range, Recurrence, Sensitivity, Zone,
};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki};
use jiff::SignedDuration;
use jiff::civil::{Weekday, date};

const ANNA: &str = "anna@kommune.example";
const BO: &str = "bo@kommune.example";
const ALIAS: &str = "anna.berg@kommune.example";
const ELSEWHERE: &str = "elsewhere@kommune.example";
const AUTODISCOVER: &str = "autodiscover.kommune.example";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let pki = Pki::new()?;
    let ca = directory.path().join("ca.pem");
    pki.write_ca(&ca)?;
    let certificate = CertificateSpec::server_for(["localhost", "127.0.0.1", AUTODISCOVER]);
    let server = ServerOptions {
        tls: Some(pki.server_config(&certificate, ClientAuth::None)?),
        host: "localhost".to_owned(),
        ..ServerOptions::default()
    };
    let exchange = ExchangeSandbox::start(ExchangeOptions {
        server,
        // A minute of a stream lasts three seconds, so that its end need not be waited for.
        notifications: Notifications {
            heartbeat: Duration::from_millis(500),
            minute: Duration::from_secs(3),
            ..Notifications::default()
        },
        ..ExchangeOptions::default()
    })
    .await?;
    match std::env::args().nth(1) {
        Some(count) => fill(&exchange, count.parse()?)?,
        None => seed(&exchange)?,
    }
    exchange.direct(ALIAS, Direction::Address(ANNA.to_owned()));
    let other_host = format!("https://{AUTODISCOVER}/autodiscover/autodiscover.svc?other");
    exchange.direct(ELSEWHERE, Direction::Host(other_host));
    let (from, to) = (
        "2026-03-01T00:00:00Z".parse()?,
        "2026-05-01T00:00:00Z".parse()?,
    );
    let expected: Vec<serde_json::Value> = exchange
        .occurrences(ANNA, from, to)
        .into_iter()
        .map(|occurrence| {
            serde_json::json!({
                "uid": occurrence.uid,
                "subject": occurrence.subject,
                "start": occurrence.start.to_string(),
                "end": occurrence.end.to_string(),
                "dates": occurrence.dates.map(|(first, end)| [first.to_string(), end.to_string()]),
                "original_start": occurrence.original_start.map(|start| start.to_string()),
                "free_busy": occurrence.free_busy.as_str(),
                "sensitivity": occurrence.sensitivity.as_str(),
                "cancelled": occurrence.cancelled,
            })
        })
        .collect();
    let line = serde_json::json!({
        "url": exchange.url(),
        "ca": ca,
        "user": "svc-calbridge",
        "password": "sandbox",
        "mailbox": ANNA,
        "other": BO,
        "autodiscover": AUTODISCOVER,
        "alias": ALIAS,
        "elsewhere": ELSEWHERE,
        "from": from.to_string(),
        "to": to.to_string(),
        "expected": expected,
    });
    println!("{line}");
    let ledger = exchange.ledger();
    tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            line?;
            println!("{}", ledger.all().len());
            ledger.clear();
        }
        Ok::<(), std::io::Error>(())
    })
    .await??;
    exchange.stop().await;
    Ok(())
}

/// Half-hours one after the other, from the first of April on, when no clock changes.
fn fill(exchange: &ExchangeSandbox, count: i64) -> Result<(), Box<dyn Error>> {
    let denmark = Zone::denmark();
    exchange.add_person("Anna Berg", ANNA)?;
    let first = date(2026, 4, 1).at(0, 0, 0, 0);
    for n in 0..count {
        // Four at the same time: April holds more than five thousand.
        let start = first.checked_add(jiff::Span::new().minutes(n / 4 * 30))?;
        let end = start.checked_add(jiff::Span::new().minutes(30))?;
        let item = NewItem::at(format!("Møde {n}"), start, end, &denmark).uid(format!("uid-{n}"));
        let item = item.with(|item| {
            item.location = format!("Lokale {}", n % 7);
            if n % 5 == 0 {
                item.sensitivity = Sensitivity::Private;
            }
            if n % 3 == 0 {
                item.categories = vec!["Red".to_owned()];
            }
        });
        exchange.create(ANNA, item)?;
    }
    Ok(())
}

fn seed(exchange: &ExchangeSandbox) -> Result<(), Box<dyn Error>> {
    let denmark = Zone::denmark();
    exchange.add_person("Anna Berg", ANNA)?;
    exchange.add_person("Bo Dahl", BO)?;
    exchange.add_room("Room 3", "room3@kommune.example")?;
    let at = |subject: &str, day: i8, hour: i8| {
        NewItem::at(
            subject,
            date(2026, 3, day).at(hour, 0, 0, 0),
            date(2026, 3, day).at(hour + 1, 0, 0, 0),
            &denmark,
        )
    };
    exchange.create(
        ANNA,
        at("Byggesagsmøde", 4, 10).uid("single-1").with(|item| {
            item.location = "Lokale 3".to_owned();
            item.sensitivity = Sensitivity::Private;
            item.categories = vec!["Red".to_owned()];
            item.required = vec![Attendee {
                person: Person::new("Bo Dahl", BO),
                ..Attendee::default()
            }];
            item.reminder = Some(15);
        }),
    )?;
    let cancelled = exchange.create(ANNA, at("Cancelled", 5, 9).uid("single-2"))?;
    exchange.cancel(cancelled)?;
    exchange.create(
        ANNA,
        NewItem::all_day("Holiday", date(2026, 3, 24), 2, &denmark)
            .uid("day-1")
            .with(|item| item.free_busy = FreeBusy::OutOfOffice),
    )?;
    let weekly = Recurrence {
        pattern: Pattern::Weekly {
            interval: 1,
            days: vec![Weekday::Monday, Weekday::Thursday],
            first_day: Weekday::Monday,
        },
        start: date(2026, 3, 2),
        range: Range::Numbered(12),
    };
    let series = exchange.create(ANNA, at("Weekly", 2, 9).uid("series-1").repeating(weekly))?;
    exchange.change_occurrence(series, "2026-03-09T08:00:00Z".parse()?, |item| {
        item.subject = "Weekly, moved".to_owned();
    })?;
    exchange.move_occurrence(
        series,
        "2026-03-09T08:00:00Z".parse()?,
        SignedDuration::from_hours(2),
    )?;
    exchange.delete_occurrence(series, "2026-03-16T08:00:00Z".parse()?)?;
    let monthly = Recurrence {
        pattern: Pattern::AbsoluteMonthly {
            interval: 1,
            day: 31,
        },
        start: date(2026, 1, 31),
        range: Range::NoEnd,
    };
    let start = date(2026, 1, 31).at(14, 0, 0, 0);
    exchange.create(
        ANNA,
        NewItem::at(
            "Month's end",
            start,
            date(2026, 1, 31).at(15, 0, 0, 0),
            &denmark,
        )
        .uid("series-2")
        .repeating(monthly),
    )?;
    let days = Recurrence {
        pattern: Pattern::AbsoluteYearly { month: 4, day: 10 },
        start: date(2020, 4, 10),
        range: Range::NoEnd,
    };
    exchange.create(
        ANNA,
        NewItem::all_day("Birthday", date(2020, 4, 10), 1, &denmark)
            .uid("series-3")
            .repeating(days),
    )?;
    exchange.create(BO, at("Bo's own", 6, 8).uid("bo-1"))?;
    Ok(())
}
