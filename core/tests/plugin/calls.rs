//! Very many calls, half of them given up at a random moment: nothing is left over, and memory stays flat.
//!
//! `CALBRIDGE_CALLS` says how many; 20 000 unless it is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

#[allow(dead_code, reason = "shared with the other tests of the boundary")]
mod common;
#[allow(dead_code, reason = "shared with the other tests of the boundary")]
mod connector;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use calbridge_core::connector::{ChangesRequest, CheckScope, Connection};
use calbridge_core::model::{Coverage, FieldSet, ItemRef, Window};
use calbridge_core::plugin::host::{outstanding, settle};
use serde_json::json;

use common::{Carriage, Connector, calendar, until};

/// How many calls go on at once.
const AT_ONCE: usize = 64;

fn calls() -> usize {
    std::env::var("CALBRIDGE_CALLS").map_or(20_000, |text| text.parse().unwrap())
}

/// A small generator (xorshift): the same calls each time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

async fn ask(connection: &Arc<dyn Connection>, what: u64) {
    let source = connection.source().unwrap();
    let item = |id: &str| [ItemRef::new(id, None).unwrap()];
    let anna = calendar("anna");
    match what {
        0..=4 => drop(source.fetch(&anna, &item("one")).await.unwrap()),
        5..=6 => drop(source.fetch(&anna, &item("sleep")).await.unwrap()),
        7..=8 => {
            let start = "2026-11-23T00:00:00Z".parse().unwrap();
            let end = "2026-12-23T00:00:00Z".parse().unwrap();
            let request = ChangesRequest {
                calendar: anna,
                cursor: None,
                window: Window::new(start, end).unwrap(),
                covered: Coverage::none(),
                fields: FieldSet::times(),
                full: false,
                now: start,
            };
            let mut feed = source.changes(request).await.unwrap();
            while feed.next(2).await.unwrap().is_some() {}
        }
        // Only where it is given up.
        _ => drop(source.fetch(&anna, &item("wait")).await),
    }
}

async fn left(connection: &Arc<dyn Connection>) -> (String, String) {
    let scope = CheckScope {
        now: "2026-11-23T00:00:00Z".parse().unwrap(),
        calendars: Vec::new(),
    };
    let report = connection.check(scope).await.unwrap();
    let of = |name: &str| {
        let found = report.findings.iter().find(|found| found.name == name);
        found.unwrap().message.clone()
    };
    (of("waiting"), of("feeds"))
}

/// What this process and its children keep in memory, in KiB; 0 where it cannot be told.
fn memory() -> u64 {
    let own = std::process::id();
    let kept = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let ours = pid == own || line("PPid:") == Some(own.into());
        ours.then(|| line("VmRSS:"))?
    };
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| kept(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .sum()
}

async fn storm(connection: &Arc<dyn Connection>, calls: usize, seed: u64) -> usize {
    let given_up = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..AT_ONCE as u64)
        .map(|task| {
            let connection = Arc::clone(connection);
            let given_up = Arc::clone(&given_up);
            tokio::spawn(async move {
                let mut random = Random(seed + task * 7919 + 1);
                for _ in 0..calls / AT_ONCE {
                    if random.below(2) == 0 {
                        ask(&connection, random.below(9)).await;
                        continue;
                    }
                    let patience = match random.below(4) {
                        0 => 0,
                        1 => random.below(50),
                        _ => random.below(1500),
                    };
                    let asked = ask(&connection, random.below(40));
                    let patience = Duration::from_micros(patience);
                    if tokio::time::timeout(patience, asked).await.is_err() {
                        given_up.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    given_up.load(Ordering::Relaxed)
}

async fn try_it(carriage: Carriage) {
    let connector = Connector::new(carriage);
    let connection = connector.open(json!({"events": 5})).unwrap();
    // Runtimes, tables and allocators take what they need.
    storm(&connection, calls() / 4, 1).await;
    let before = memory();
    let begun = Instant::now();
    let given_up = storm(&connection, calls(), 2).await;
    let took = begun.elapsed();
    until("nothing waits in the connector", async || {
        left(&connection).await == ("0".to_owned(), "0".to_owned())
    })
    .await;
    until("nothing is outstanding", async || outstanding() == 0).await;
    let after = memory();
    println!(
        "{carriage:?}: {} calls in {took:.1?}, {given_up} given up, memory {before} -> {after} KiB",
        calls()
    );
    assert!(given_up > calls() * 2 / 5, "{given_up}");
    assert!(after < before + 16 * 1024, "{before} -> {after} KiB");
    let begun = Instant::now();
    drop(connection);
    assert!(
        tokio::task::spawn_blocking(|| settle(Duration::from_secs(5)))
            .await
            .unwrap()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

/// One after the other: both count what is outstanding.
#[tokio::test(flavor = "multi_thread")]
async fn many_calls_given_up_at_random_leave_nothing_over() {
    try_it(Carriage::Library).await;
    try_it(Carriage::Child).await;
}
