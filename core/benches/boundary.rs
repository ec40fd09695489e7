//! What a call and an event cost: linked in, as a library in this process, in a child process. One table, one run.
//!
//! `cargo bench -p calbridge-core --features plugin,plugin-host --bench boundary`. Compare figures of one run with each
//! other: they depend on the machine and on what else it does. The best of several rounds is shown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../tests/plugin/common.rs"]
#[allow(dead_code, reason = "shared with the tests of the boundary")]
mod common;
#[path = "../tests/plugin/connector.rs"]
#[allow(dead_code, reason = "shared with the tests of the boundary")]
mod connector;

use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::connector::{ChangesRequest, Connection};
use calbridge_core::model::{Coverage, FieldSet, ItemRef, Window};
use serde_json::json;

use common::{ALL, Carriage, Connector, calendar};

const ROUNDS: usize = 5;

/// Calls per round.
const CALLS: usize = 2_000;

/// Events per feed.
const EVENTS: usize = 20_000;

/// The shortest of several rounds.
async fn best(mut round: impl AsyncFnMut() -> usize) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let count = round().await;
        best = best.min(begun.elapsed() / u32::try_from(count).unwrap());
    }
    best
}

async fn empty(connection: &Arc<dyn Connection>) {
    let sink = connection.sink().unwrap();
    assert!(sink.probe(&calendar("anna"), &[]).await.unwrap().is_empty());
}

async fn one_event(connection: &Arc<dyn Connection>) {
    let source = connection.source().unwrap();
    let item = [ItemRef::new("one", None).unwrap()];
    let answer = source.fetch(&calendar("anna"), &item).await.unwrap();
    assert!(answer[0].is_ok());
}

async fn feed(connection: &Arc<dyn Connection>, max: usize, events: usize) -> usize {
    let source = connection.source().unwrap();
    let start = "2026-11-23T00:00:00Z".parse().unwrap();
    let end = "2026-12-23T00:00:00Z".parse().unwrap();
    let request = ChangesRequest {
        calendar: calendar("anna"),
        cursor: None,
        window: Window::new(start, end).unwrap(),
        covered: Coverage::none(),
        fields: FieldSet::times(),
        full: false,
        now: start,
    };
    let mut feed = source.changes(request).await.unwrap();
    let mut seen = 0;
    while seen < events
        && let Some(batch) = feed.next(max).await.unwrap()
    {
        seen += batch.changes.len();
    }
    seen
}

async fn in_turn(
    connection: &Arc<dyn Connection>,
    call: impl AsyncFn(&Arc<dyn Connection>),
) -> usize {
    for _ in 0..CALLS {
        call(connection).await;
    }
    CALLS
}

async fn column(carriage: Carriage) -> Vec<Duration> {
    let connector = Connector::new(carriage);
    let settings = json!({"events": EVENTS, "writable": true, "wide": true});
    let connection = connector.open(settings).unwrap();
    in_turn(&connection, one_event).await;
    let mut column = vec![
        best(async || in_turn(&connection, empty).await).await,
        best(async || in_turn(&connection, one_event).await).await,
    ];
    column.push(
        best(async || {
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    let connection = Arc::clone(&connection);
                    tokio::spawn(async move {
                        for _ in 0..CALLS / 64 {
                            one_event(&connection).await;
                        }
                    })
                })
                .collect();
            let count = tasks.len() * (CALLS / 64);
            for task in tasks {
                task.await.unwrap();
            }
            count
        })
        .await,
    );
    for (max, events) in [(1, EVENTS / 10), (64, EVENTS), (500, EVENTS)] {
        column.push(best(async || feed(&connection, max, events).await).await);
    }
    column
}

const ROWS: [&str; 6] = [
    "empty call, one after the other",
    "one event fetched, one after the other",
    "one event fetched, 64 at once",
    "event of a feed, batches of 1",
    "event of a feed, batches of 64",
    "event of a feed, batches of 500",
];

#[tokio::main]
async fn main() {
    let event = connector::event_in_json(true);
    let mut columns = Vec::new();
    for carriage in ALL {
        columns.push(column(carriage).await);
    }
    println!("Microseconds; an event is {event} bytes of JSON.\n");
    println!("{:<40}{:>10}{:>10}{:>10}", "", "direct", "library", "child");
    for (row, name) in ROWS.iter().enumerate() {
        let of = |column: &Vec<Duration>| column[row].as_secs_f64() * 1e6;
        println!(
            "{name:<40}{:>10.2}{:>10.2}{:>10.2}",
            of(&columns[0]),
            of(&columns[1]),
            of(&columns[2])
        );
    }
}
