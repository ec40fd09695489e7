//! A server that asks to slow down is asked less, and nobody else waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use calbridge_core::connector::{Error, ErrorKind, Scope};
use calbridge_sandbox::exchange::{Profile, ThrottlingPolicy};
use support::{ANNA, BO, Bench, request, winter};

/// An operation without arguments of its own, one with, and one with a result that counts.
const OPERATIONS: [&str; 3] = ["GetFolder", "SyncFolderItems", "FindItem"];

async fn bench() -> Bench {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-01T09:00", "2026-12-01T10:00");
    bench
}

/// Reads while so many requests of the operation in a row are answered that the server is busy, without a wait.
/// Answers how often it was asked, how long all took, and what came of it.
async fn busy(operation: &str, times: &str) -> (usize, Duration, Result<usize, Error>) {
    let bench = bench().await;
    if times != "0" {
        bench
            .exchange
            .inject_spec(&format!("{operation}*{times}=busy-fault:0"))
            .unwrap();
    }
    let begun = Instant::now();
    let feed = bench.read(request(ANNA, winter())).await;
    let took = begun.elapsed();
    let asked = bench.exchange.ledger().count(operation);
    (asked, took, feed.map(|feed| feed.events.len()))
}

#[tokio::test]
async fn t22_t23_t24_what_succeeds_at_once_is_asked_once() {
    for operation in OPERATIONS {
        let (asked, _, result) = busy(operation, "0").await;
        assert_eq!((asked, result), (1, Ok(1)), "{operation}");
    }
}

#[tokio::test]
async fn t25_t26_t27_a_busy_server_is_asked_again_after_growing_waits() {
    for operation in OPERATIONS {
        for (times, waits) in [(1, 200), (2, 600), (3, 1800)] {
            let (asked, took, result) = busy(operation, &times.to_string()).await;
            assert_eq!((asked, result), (times + 1, Ok(1)), "{operation}");
            assert!(took >= Duration::from_millis(waits), "{took:?}");
        }
    }
}

#[tokio::test]
async fn t28_t29_t30_the_last_try_may_succeed() {
    for operation in OPERATIONS {
        let (asked, _, result) = busy(operation, "3").await;
        assert_eq!((asked, result), (4, Ok(1)), "{operation}");
    }
}

#[tokio::test]
async fn t31_t32_t33_k146_a_server_that_stays_busy_is_asked_four_times_and_then_left_to_the_engine()
{
    for operation in OPERATIONS {
        let (asked, _, result) = busy(operation, "all").await;
        let error = result.unwrap_err();
        assert_eq!(asked, 4, "{operation}");
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Throttled, Scope::Calendar)
        );
        assert_eq!(error.retry_after_ms, Some(30_000), "{operation}");
    }
}

#[tokio::test]
async fn t25_all_shapes_of_a_busy_server_are_asked_again() {
    for shape in [
        "busy-fault:300",
        "busy-items:300",
        "busy-503:1",
        "busy-wrapped:300",
    ] {
        let bench = bench().await;
        bench
            .exchange
            .inject_spec(&format!("FindItem={shape}"))
            .unwrap();
        let begun = Instant::now();
        let feed = bench.read(request(ANNA, winter())).await.unwrap();
        assert_eq!(feed.events.len(), 1, "{shape}");
        assert_eq!(bench.exchange.ledger().count("FindItem"), 2, "{shape}");
        assert!(begun.elapsed() >= Duration::from_millis(300), "{shape}");
    }
}

/// A wait that others need not share in is waited here; a longer one is left to the engine, which reads other
/// calendars meanwhile and waits as long as it is told.
#[tokio::test]
async fn k145_the_wait_that_the_server_asks_for_is_kept_and_ends_with_the_program() {
    for (hint, asked) in [(1500, 2), (5000, 1)] {
        let bench = bench().await;
        bench
            .exchange
            .inject_spec(&format!("FindItem=busy-fault:{hint}"))
            .unwrap();
        let begun = Instant::now();
        let read = bench.read(request(ANNA, winter())).await;
        assert_eq!(bench.exchange.ledger().count("FindItem"), asked);
        if asked > 1 {
            assert_eq!(read.unwrap().events.len(), 1);
            assert!(begun.elapsed() >= Duration::from_millis(hint));
        } else {
            assert_eq!(read.unwrap_err().retry_after_ms, Some(hint));
            assert!(begun.elapsed() < Duration::from_millis(hint));
        }
    }
    let bench = bench().await;
    bench
        .exchange
        .inject_spec("FindItem*all=busy-fault:1900")
        .unwrap();
    let begun = Instant::now();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        bench.shutdown.cancel();
    };
    let (read, ()) = tokio::join!(bench.read(request(ANNA, winter())), stop);
    assert_eq!(read.unwrap_err().kind, ErrorKind::Throttled);
    assert!(begun.elapsed() < Duration::from_millis(1900));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_allows_a_mailbox_is_enough() {
    let bench = bench().await;
    bench.exchange.set_throttling_policy(ThrottlingPolicy {
        max_concurrency: 2,
        ..ThrottlingPolicy::default()
    });
    bench.exchange.inject_spec("**all=delay:20").unwrap();
    let people: Vec<String> = (0..20).map(|n| format!("p{n}@kommune.example")).collect();
    for person in &people {
        bench.exchange.add_person("P", person).unwrap();
    }
    let all = people.iter().map(String::as_str).chain([ANNA; 20]);
    let readings = all.map(|address| bench.read(request(address, winter())));
    for feed in futures_util::future::join_all(readings).await {
        feed.unwrap();
    }
    let (of_anna, of_all) = bench.exchange.most_at_once(ANNA);
    assert_eq!(of_anna, 2);
    // `max_in_flight`, as it is by itself.
    assert!((3..=10).contains(&of_all), "{of_all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_spent_is_waited_for_and_others_read_meanwhile() {
    let bench = bench().await;
    bench.add(BO, "2026-12-01T09:00", "2026-12-01T10:00");
    bench.exchange.set_throttling_policy(ThrottlingPolicy {
        burst: 4,
        recharge: Duration::from_millis(250),
        ..ThrottlingPolicy::default()
    });
    for _ in 0..4 {
        let feed = bench.read(request(ANNA, winter())).await.unwrap();
        assert_eq!(feed.events.len(), 1);
    }
    let refused = |whom: &str| {
        let calls = bench.exchange.ledger().select(|call| {
            call.code.as_deref() == Some("ErrorServerBusy")
                && call.detail.anchor.as_deref() == Some(whom)
        });
        calls.len()
    };
    assert!(refused(ANNA) > 0, "the budget was never spent");
    let feed = bench.read(request(BO, winter())).await.unwrap();
    assert_eq!((feed.events.len(), refused(BO)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_without_end_in_trouble_holds_up_no_other() {
    let bench = bench().await;
    bench.add(BO, "2026-12-01T09:00", "2026-12-01T10:00");
    for fault in ["busy-fault:0", "delay:8000"] {
        bench
            .exchange
            .inject_spec(&format!("*@{ANNA}*all={fault}"))
            .unwrap();
        // More readings of the one than requests may be under way in all.
        let slow =
            futures_util::future::join_all((0..12).map(|_| bench.read(request(ANNA, winter()))));
        let quick = async {
            let begun = Instant::now();
            for _ in 0..3 {
                let feed = bench.read(request(BO, winter())).await.unwrap();
                assert_eq!(feed.events.len(), 1);
            }
            begun.elapsed()
        };
        let took = tokio::select! {
            took = quick => took,
            _ = slow => panic!("{fault}: the slow one was done first"),
        };
        assert!(took < Duration::from_secs(8), "{fault}: {took:?}");
        bench.exchange.clear_faults();
    }
}
