//! A connector that crashes in its child process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::connector::{Connection, ErrorKind, ForeignConnector, Scope};
use calbridge_core::plugin::host::{Isolation, load, settle};
use serde_json::json;

use crate::common::{Carriage, Connector, Files, calendar, context, launcher, lines, log, until};
use crate::same::{changes, items, scope, write};

async fn crash(connection: &Arc<dyn Connection>, how: &str) -> calbridge_core::connector::Error {
    let source = connection.source().unwrap();
    let answer = source.fetch(&calendar("anna"), &items(&[how])).await;
    answer.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_an_error_of_its_connection_alone_and_the_process_is_started_again() {
    log();
    let connector = Connector::new(Carriage::Child);
    let one = connector.open(json!({"events": 3})).unwrap();
    let other = connector.open(json!({})).unwrap();
    let mut wait = Duration::ZERO;
    for how in ["null", "exit", "null"] {
        let error = crash(&one, how).await;
        assert_eq!(error.code, "plugin.process-ended", "{error}");
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Transient, Scope::Connection)
        );
        let how = if how == "null" {
            "signal: 11"
        } else {
            "exit status: 7"
        };
        assert!(error.message.contains(how), "{error}");
        other.check(scope()).await.unwrap();
        // Each time it is waited longer, and the error says how long.
        let error = one.check(scope()).await.unwrap_err();
        assert_eq!(error.code, "plugin.restarting", "{error}");
        let longer = error.wait().unwrap();
        assert!(longer > wait, "{longer:?}");
        wait = longer;
        tokio::time::sleep(longer).await;
        until("it works again", async || one.check(scope()).await.is_ok()).await;
    }
    assert!(wait > Duration::from_millis(500), "{wait:?}");
    assert!(!lines("ended by itself").is_empty());
    let started = lines("runs in a process of its own");
    assert!(started.iter().all(|line| line.text.contains("process=")));
    assert!(started.len() > 3, "{started:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_wait_learn_of_a_crash_and_writes_count_as_unknown() {
    let connector = Connector::new(Carriage::Child);
    let connection = connector
        .open(json!({"events": 3, "writable": true}))
        .unwrap();
    let source = connection.source().unwrap();
    let mut feed = source.changes(changes("anna", None)).await.unwrap();
    feed.next(1).await.unwrap();
    let waiting = Arc::clone(&connection);
    let waiting = tokio::spawn(async move { crash(&waiting, "wait").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sink = connection.sink().unwrap();
    let report = sink
        .apply(&calendar("null"), &[write(1, "done"), write(2, "done")])
        .await
        .unwrap();
    assert!(report.outcomes.is_empty(), "{report:?}");
    assert_eq!(report.trouble.unwrap().code, "plugin.process-ended");
    assert_eq!(waiting.await.unwrap().code, "plugin.process-ended");
    // Nothing was sent this time, and that is said.
    let error = sink
        .apply(&calendar("anna"), &[write(1, "done")])
        .await
        .unwrap_err();
    assert_eq!(error.code, "plugin.restarting");
    // A feed does not outlive its process, and does not end as if it were complete.
    for _ in 0..2 {
        assert!(feed.next(1).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_the_opening_is_tried_again() {
    let connector = Connector::new(Carriage::Child);
    let loaded = connector.loaded();
    let error = connector.open(json!({"crash": true})).err().unwrap();
    assert_eq!(error.code, "plugin.process-ended", "{error}");
    let connection =
        ForeignConnector::open(loaded, json!({"crash": true}), context("crashes")).unwrap();
    let error = connection.check(scope()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    assert!(error.wait().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connector_prints_does_not_get_between_the_frames() {
    log();
    let connector = Connector::new(Carriage::Child);
    let connection = connector.open(json!({})).unwrap();
    let source = connection.source().unwrap();
    let asked = items(&["print", "print", "one"]);
    let answer = source.fetch(&calendar("anna"), &asked).await.unwrap();
    assert_eq!(answer.len(), 3);
    until("it is in the log, for fault finding", async || {
        let lines = lines("this belongs nowhere");
        !lines.is_empty() && lines.iter().all(|line| line.level >= tracing::Level::DEBUG)
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_one_process_which_ends_with_it() {
    // The copy's path is in the children's command lines.
    let files = Files::own();
    let children = || {
        let path = files.library().canonicalize().unwrap();
        let path = path.to_str().unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
            .filter(|line| String::from_utf8_lossy(line).contains(path))
            .count()
    };
    let loaded = load(&files.settings(Isolation::Process), &launcher())
        .unwrap()
        .remove(0);
    assert_eq!(children(), 1, "asked for its manifest");
    let one = loaded.open(json!({}), context("one")).unwrap();
    assert_eq!(children(), 1, "which became the first connection's");
    let two = loaded.open(json!({}), context("two")).unwrap();
    assert_eq!(children(), 2);
    drop(one);
    until("one is left", async || children() == 1).await;
    two.check(scope()).await.unwrap();
    drop(two);
    drop(loaded);
    let begun = Instant::now();
    until("none is left", async || children() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        tokio::task::spawn_blocking(|| settle(Duration::from_secs(20)))
            .await
            .unwrap()
    );
}
