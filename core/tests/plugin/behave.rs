//! What becomes of calls that panic, hang or are given up, of the end of a connection, of log, clock and secrets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::clock::{Clock, FixedClock, SystemClock};
use calbridge_core::connector::{
    Connection, ErrorKind, Finding, ForeignConnector as _, Hint, Scope,
};
use calbridge_core::plugin::host::settle;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::common::{
    ALL, Connector, LEVEL, LOADED, Secrets, calendar, context, context_with, launcher, lines, log,
    until,
};
use crate::same::{changes, items, scope, write};

async fn finding(connection: &Arc<dyn Connection>, name: &str) -> String {
    let report = connection.check(scope()).await.unwrap();
    let found: Option<Finding> = report
        .findings
        .into_iter()
        .find(|finding| finding.name == name);
    found.unwrap().message
}

async fn fetch(
    connection: &Arc<dyn Connection>,
    id: &str,
) -> calbridge_core::connector::Result<()> {
    let source = connection.source().unwrap();
    let answer = source.fetch(&calendar("anna"), &items(&[id])).await?;
    assert_eq!(answer.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_error_and_the_connection_goes_on() {
    for carriage in LOADED {
        let connector = Connector::new(carriage);
        let error = connector.open(json!({"panic": true})).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Panicked, "{carriage:?}: {error}");
        assert!(error.message.contains("connector.rs:"), "{error}");
        assert!(!error.message.contains("asked to"), "{error}");

        let connection = connector.open(json!({"writable": true})).unwrap();
        for what in ["panic", "spawn-panic"] {
            let error = fetch(&connection, what).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Panicked, "{carriage:?}: {error}");
            assert_eq!(error.scope, Scope::Connection);
        }
        // One that nobody waits for harms nobody.
        fetch(&connection, "stray-panic").await.unwrap();
        // What a panic left of a write nobody knows: no outcome, and no claim that nothing was sent.
        let sink = connection.sink().unwrap();
        let report = sink
            .apply(&calendar("panic"), &[write(1, "done")])
            .await
            .unwrap();
        assert!(report.outcomes.is_empty());
        assert_eq!(report.trouble.unwrap().kind, ErrorKind::Panicked);
        fetch(&connection, "one").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_the_opening_costs_the_connection_alone_and_is_tried_again() {
    for carriage in LOADED {
        let connector = Connector::new(carriage);
        // The way the program opens its connections.
        let opened = connector.loaded();
        let connection = calbridge_core::connector::ForeignConnector::open(
            opened,
            json!({"panic": true}),
            context("later"),
        )
        .unwrap();
        let error = connection.check(scope()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Panicked, "{carriage:?}: {error}");
        assert!(error.wait().unwrap() <= launcher().first_restart);
        // A mistake in the settings is not put off.
        let error = opened.open(json!({"refuse": true}), context("later")).err();
        assert_eq!(error.unwrap().kind, ErrorKind::Config);
        let capabilities = opened.capabilities(&json!({})).unwrap();
        assert!(capabilities.source.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_is_dropped_in_the_library() {
    for carriage in ALL {
        let connection = Connector::new(carriage).open(json!({})).unwrap();
        let waiting = Arc::clone(&connection);
        let call = tokio::spawn(async move { fetch(&waiting, "wait").await });
        until("it waits", async || {
            finding(&connection, "waiting").await != "0"
        })
        .await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        until("its future is dropped", async || {
            finding(&connection, "waiting").await == "0"
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_closed_when_it_is_dropped_at_any_time() {
    for carriage in ALL {
        let connection = Connector::new(carriage).open(json!({"events": 5})).unwrap();
        let source = connection.source().unwrap();
        let mut feed = source.changes(changes("anna", None)).await.unwrap();
        feed.next(2).await.unwrap();
        let mut slow = source.changes(changes("slow-feed", None)).await.unwrap();
        let hints = source.watch(&[calendar("anna")]).await.unwrap();
        assert_eq!(finding(&connection, "feeds").await, "3", "{carriage:?}");
        let patience = Duration::from_millis(100);
        assert!(tokio::time::timeout(patience, slow.next(2)).await.is_err());
        if carriage != crate::common::Carriage::Linked {
            // It may have taken items along: it is not asked again.
            let error = slow.next(2).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Cancelled, "{carriage:?}");
        }
        drop((feed, slow, hints));
        // Given up before it was open.
        for _ in 0..50 {
            let opening = source.changes(changes("anna", None));
            drop(tokio::time::timeout(Duration::from_micros(200), opening).await);
        }
        until("all feeds are closed", async || {
            finding(&connection, "feeds").await == "0"
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_survive_a_wait_that_was_given_up() {
    for carriage in ALL {
        let connection = Connector::new(carriage).open(json!({})).unwrap();
        let source = connection.source().unwrap();
        let mut hints = source.watch(&[calendar("anna")]).await.unwrap();
        hints.next().await.unwrap();
        let patience = Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, hints.next()).await.is_err());
        hints.set(&[calendar("bent")]).await.unwrap();
        let told = hints.next().await.unwrap();
        assert_eq!(told, [Hint::Dirty(calendar("bent"))], "{carriage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shutdown_reaches_a_call_that_waits() {
    for carriage in ALL {
        let context = context("stops");
        let shutdown = context.shutdown.clone();
        let connection = Connector::new(carriage)
            .open_with(json!({}), context)
            .unwrap();
        let waiting = tokio::spawn(async move { fetch(&connection, "shutdown").await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        shutdown.cancel();
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_end_is_given_up_after_the_deadline() {
    log();
    let mut launcher = launcher();
    launcher.close_deadline = Duration::from_millis(300);
    for carriage in LOADED {
        let connector = Connector::with(carriage, &launcher);
        let connection = connector.open(json!({"slow_end_ms": 60_000})).unwrap();
        fetch(&connection, "one").await.unwrap();
        let before = lines("did not end in time").len();
        let begun = Instant::now();
        drop(connection);
        assert!(begun.elapsed() < Duration::from_millis(200), "{carriage:?}");
        until("it is given up", async || {
            lines("did not end in time").len() > before
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{carriage:?}");
    }
    assert!(
        tokio::task::spawn_blocking(|| settle(Duration::from_secs(20)))
            .await
            .unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_hangs_when_it_is_opened_costs_the_patience_alone() {
    let mut launcher = launcher();
    launcher.patience = Duration::from_millis(2000);
    for carriage in LOADED {
        let connector = Connector::with(carriage, &launcher);
        let begun = Instant::now();
        let error =
            tokio::task::spawn_blocking(move || connector.open(json!({"hang": true})).err())
                .await
                .unwrap()
                .unwrap();
        assert_eq!(error.code, "plugin.no-answer", "{carriage:?}");
        assert_eq!(error.kind, ErrorKind::Transient);
        assert!(begun.elapsed() < Duration::from_secs(8), "{carriage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_blocks_its_thread_holds_no_other_up() {
    for carriage in LOADED {
        let connection = Connector::new(carriage).open(json!({})).unwrap();
        let blocked = Arc::clone(&connection);
        let blocked = tokio::spawn(async move { fetch(&blocked, "block").await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = Instant::now();
        fetch(&connection, "one").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{carriage:?}");
        blocked.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_reach_the_hosts_log_with_their_spans_and_fields() {
    let _all = LEVEL.read().await;
    log();
    for carriage in LOADED {
        let name = format!("logs-{carriage:?}");
        let connection = Connector::new(carriage)
            .open_with(json!({"events": 3}), context(&name))
            .unwrap();
        fetch(&connection, "log").await.unwrap();
        let of = |message: &str| {
            lines(&format!("connection=\"{name}\" "))
                .into_iter()
                .filter(|line| line.text.contains(&format!("message={message}")))
                .collect::<Vec<_>>()
        };
        until("the last record is there", async || {
            !of("what another crate warns of").is_empty()
        })
        .await;
        let errors = of("an error");
        let [error] = errors.as_slice() else {
            panic!("{errors:?}");
        };
        assert_eq!(error.level, tracing::Level::ERROR);
        for part in [
            r#"spans="call:work""#,
            r#"method="fetch""#,
            r#"\"number\":7"#,
            r#"\"text\":\"x\""#,
            "traceparent=\"00-",
            "origin=\"boundary_guest::connector\"",
        ] {
            assert!(error.text.contains(part), "{part} in {}", error.text);
        }
        assert_eq!(of("an information").len(), 1);
        assert_eq!(of("a detail").len(), 1);
        assert_eq!(of("The guest is open.").len(), 1);
        // Of crates that are not the connector's own nothing below a warning.
        assert_eq!(of("what another crate tells").len(), 0);
        // The call in our log and the record in the connector's have one trace.
        let trace = error.text.split("traceparent=\"").nth(1).unwrap();
        let trace = trace.split('"').next().unwrap();
        assert_eq!(trace.len(), 55, "{trace}");
        let one = |message: &str| {
            let told: Vec<_> = lines(trace)
                .into_iter()
                .filter(|line| line.text.contains(message))
                .collect();
            let [line] = told.as_slice() else {
                panic!("{message}: {told:?}");
            };
            assert_eq!(line.level, tracing::Level::TRACE);
            line.text.clone()
        };
        let number = |text: &str, field: &str| -> u64 {
            let (_, rest) = text.split_once(&format!(" {field}=")).expect(field);
            let digits = rest.split(|sign: char| !sign.is_ascii_digit()).next();
            digits.unwrap().parse().unwrap()
        };
        let asked = one("A connector is asked.");
        assert!(number(&asked, "bytes") > 50, "{asked}");
        let answered = one("A connector has answered.");
        assert!(number(&answered, "answer_bytes") > 2, "{answered}");
        assert!(number(&answered, "milliseconds") < 60_000, "{answered}");
        // An error has its code instead of a size.
        fetch(&connection, "panic").await.unwrap_err();
        let failed = lines(&format!("connection=\"{name}\" "))
            .into_iter()
            .rfind(|line| line.text.contains("A connector has answered."));
        let failed = failed.unwrap().text;
        assert!(failed.contains("code=\"plugin.panicked\""), "{failed}");
        assert!(!failed.contains("answer_bytes="), "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_follows_the_hosts() {
    let _alone = LEVEL.write().await;
    let handle = log();
    for carriage in LOADED {
        let name = format!("level-{carriage:?}");
        let connection = Connector::new(carriage)
            .open_with(json!({}), context(&name))
            .unwrap();
        let of = |message: &str| {
            lines(&format!("connection=\"{name}\" "))
                .into_iter()
                .filter(|line| line.text.contains(&format!("message={message}")))
                .count()
        };
        handle.modify(|level| *level = LevelFilter::INFO).unwrap();
        // The level goes along with the next call.
        fetch(&connection, "one").await.unwrap();
        fetch(&connection, "log").await.unwrap();
        until("the record is there", async || of("an information") == 1).await;
        // What was not sent cannot be shown later: were it only hidden here, it would be counted there.
        assert_eq!(of("a detail"), 0, "{carriage:?}");
        handle.modify(|level| *level = LevelFilter::TRACE).unwrap();
        fetch(&connection, "one").await.unwrap();
        fetch(&connection, "log").await.unwrap();
        until("the detail is there", async || of("a detail") == 1).await;
        assert_eq!(of("an information"), 2, "{carriage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_and_no_error() {
    const CANARY: &str = "canary-7b1f";
    let _all = LEVEL.read().await;
    log();
    for carriage in LOADED {
        let secrets = Arc::new(Secrets::default());
        secrets.set("env:PASSWORD", CANARY);
        let connection = Connector::new(carriage)
            .open_with(
                json!({"password": "env:PASSWORD"}),
                context_with("canary", Arc::new(SystemClock::default()), secrets),
            )
            .unwrap();
        let error = connection.check(scope()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Auth);
        assert!(!format!("{error:?}").contains(CANARY));
        fetch(&connection, "log").await.unwrap();
        drop(fetch(&connection, "panic").await);
        drop(fetch(&connection, "print").await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!lines("canary").is_empty(), "the log is looked at");
    assert!(lines(CANARY).is_empty(), "{:?}", lines(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_has_changed_is_taken_up_after_a_refused_sign_in() {
    for carriage in LOADED {
        let secrets = Arc::new(Secrets::default());
        secrets.set("env:PASSWORD", "old");
        let connector = Connector::new(carriage);
        let connection = connector
            .open_with(
                json!({"password": "env:PASSWORD"}),
                context_with(
                    "changes",
                    Arc::new(SystemClock::default()),
                    Arc::<Secrets>::clone(&secrets),
                ),
            )
            .unwrap();
        for _ in 0..2 {
            let error = connection.check(scope()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Auth, "{carriage:?}");
        }
        secrets.set("env:PASSWORD", "right");
        // The refusal that makes the host look, and the call that profits.
        assert!(connection.check(scope()).await.is_err(), "{carriage:?}");
        connection.check(scope()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_has_the_hosts_clock_and_tells_it_of_servers() {
    for carriage in ALL {
        let now = "2031-02-03T04:05:06Z".parse().unwrap();
        let clock = Arc::new(FixedClock::new(now));
        let connection = Connector::new(carriage)
            .open_with(
                json!({}),
                context_with(
                    "clock",
                    Arc::<FixedClock>::clone(&clock) as _,
                    Arc::new(Secrets::default()),
                ),
            )
            .unwrap();
        assert_eq!(finding(&connection, "now").await, now.to_string());
        let later = "2031-02-03T05:05:06Z".parse().unwrap();
        clock.set(later);
        assert_eq!(finding(&connection, "now").await, later.to_string());

        let system = Arc::new(SystemClock::default());
        let connection = Connector::new(carriage)
            .open_with(
                json!({}),
                context_with(
                    "hears",
                    Arc::<SystemClock>::clone(&system) as _,
                    Arc::new(Secrets::default()),
                ),
            )
            .unwrap();
        fetch(&connection, "hear").await.unwrap();
        until("it is heard", async || !system.heard().is_empty()).await;
        let heard = system.heard().remove(0);
        let off = heard.ahead.as_secs() - 90;
        assert!(off.abs() <= 2, "{carriage:?}: {:?}", heard.ahead);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_many_megabytes_comes_whole() {
    for carriage in ALL {
        let connection = Connector::new(carriage).open(json!({})).unwrap();
        let source = connection.source().unwrap();
        let answer = source
            .fetch(&calendar("anna"), &items(&["huge"]))
            .await
            .unwrap();
        let error = answer[0].as_ref().unwrap_err();
        assert_eq!(error.message.len(), 16 * 1024 * 1024, "{carriage:?}");
    }
}
