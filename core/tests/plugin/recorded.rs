//! What was said in version 1.0, kept as it was: today's code understands it, on both sides.
//!
//! The files are written once, by `CALBRIDGE_RECORD=1` where there is none, and never changed afterwards.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    ApplyReport, ChangeBatch, CheckReport, ConnectorEntry, InventoryRequest, Outcome, Probe,
};
use calbridge_core::model::Window;
use calbridge_core::plugin::dispatch::Dispatcher;
use calbridge_core::plugin::host::{Isolation, PluginSettings, load};
use calbridge_core::plugin::messages::{
    ApplyRequest, FeedRequest, FetchRequest, LibraryManifest, NextChanges, ProbeRequest,
    WatchRequest, WatchSet, method,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::common::{Secrets, calendar, context, context_with, launcher};
use crate::connector::Guest;
use crate::hostile::compiled;
use crate::same::{changes, items, scope, write};

#[derive(Serialize, Deserialize)]
struct Recorded {
    manifest: Value,
    exchanges: Vec<Exchange>,
}

#[derive(Serialize, Deserialize)]
struct Exchange {
    method: String,
    request: Value,
    status: i32,
    answer: Value,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin/recorded/v1.0.json")
}

fn recorded() -> Recorded {
    serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap()
}

fn dispatcher() -> Dispatcher {
    let now = "2026-11-23T08:00:00Z".parse().unwrap();
    let context = context_with(
        "recorded",
        Arc::new(FixedClock::new(now)),
        Arc::new(Secrets::default()),
    );
    let settings = json!({"events": 3, "writable": true});
    let connection = ConnectorEntry::of::<Guest>().open(settings, context);
    Dispatcher::new(connection.unwrap())
}

async fn ask(dispatcher: &Dispatcher, name: &str, request: &Value) -> (i32, Value) {
    let request = serde_json::to_vec(request).unwrap();
    match dispatcher.call(name, &request).await {
        Ok(answer) => (0, serde_json::from_slice(&answer).unwrap()),
        Err(error) => (1, serde_json::to_value(error).unwrap()),
    }
}

fn requests() -> Vec<(&'static str, Value)> {
    fn value(request: impl Serialize) -> Value {
        let mut value = serde_json::to_value(request).unwrap();
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        value["traceparent"] = trace.into();
        value["clock"] = "2026-11-23T08:00:00Z".into();
        value
    }
    let calendars = vec![calendar("anna"), calendar("failing")];
    let start = "2026-11-23T00:00:00Z".parse().unwrap();
    let end = "2026-12-23T00:00:00Z".parse().unwrap();
    let uids = [
        "done",
        "lost",
        "foreign",
        "rejected",
        "conflict",
        "retry",
        "unchanged",
    ];
    vec![
        (method::CHECK, value(scope())),
        (method::ROSTER, value(json!({}))),
        (method::CHANGES_OPEN, value(changes("anna", Some("old")))),
        (method::CHANGES_OPEN, value(changes("anna", None))),
        (method::CHANGES_NEXT, value(NextChanges { feed: 1, max: 2 })),
        (method::CHANGES_NEXT, value(NextChanges { feed: 1, max: 2 })),
        (method::CHANGES_NEXT, value(NextChanges { feed: 1, max: 2 })),
        (method::CHANGES_CLOSE, value(FeedRequest { feed: 1 })),
        (
            method::FETCH,
            value(FetchRequest {
                calendar: calendar("anna"),
                items: items(&["one", "gone"]),
            }),
        ),
        (
            method::WATCH_OPEN,
            value(WatchRequest {
                calendars: calendars.clone(),
            }),
        ),
        (method::WATCH_NEXT, value(FeedRequest { feed: 2 })),
        (
            method::WATCH_SET,
            value(WatchSet {
                feed: 2,
                calendars: calendars.clone(),
            }),
        ),
        (method::WATCH_CLOSE, value(FeedRequest { feed: 2 })),
        (
            method::APPLY,
            value(ApplyRequest {
                calendar: calendar("anna"),
                writes: (1..).zip(uids).map(|(id, uid)| write(id, uid)).collect(),
            }),
        ),
        (
            method::INVENTORY_OPEN,
            value(InventoryRequest {
                calendars,
                window: Window::new(start, end).unwrap(),
                now: start,
            }),
        ),
        (method::INVENTORY_NEXT, value(FeedRequest { feed: 3 })),
        (method::INVENTORY_NEXT, value(FeedRequest { feed: 3 })),
        (method::INVENTORY_NEXT, value(FeedRequest { feed: 3 })),
        (method::INVENTORY_CLOSE, value(FeedRequest { feed: 3 })),
        (
            method::PROBE,
            value(ProbeRequest {
                calendar: calendar("anna"),
                tokens: ["absent", "r-7", "undecidable"]
                    .map(|token| calbridge_core::connector::AttemptToken(token.to_owned()))
                    .to_vec(),
            }),
        ),
        (method::SHUTDOWN, value(json!({}))),
        ("not.known", value(json!({"whatever": [1, 2]}))),
    ]
}

/// Requests of then to the connector of today: answered as they were then.
#[tokio::test]
async fn requests_of_version_1_0_are_answered_as_they_were() {
    if std::env::var_os("CALBRIDGE_RECORD").is_some() && !file().exists() {
        let dispatcher = dispatcher();
        let mut exchanges = Vec::new();
        for (name, request) in requests() {
            let (status, answer) = ask(&dispatcher, name, &request).await;
            exchanges.push(Exchange {
                method: name.to_owned(),
                request,
                status,
                answer,
            });
        }
        let manifest = LibraryManifest {
            abi: 1,
            built_with: Some("calbridge-core 0.1.0".to_owned()),
            connectors: vec![ConnectorEntry::of::<Guest>().manifest()],
        };
        let recorded = Recorded {
            manifest: serde_json::to_value(manifest).unwrap(),
            exchanges,
        };
        std::fs::create_dir_all(file().parent().unwrap()).unwrap();
        std::fs::write(
            file(),
            serde_json::to_string_pretty(&recorded).unwrap() + "\n",
        )
        .unwrap();
    }
    let dispatcher = dispatcher();
    let mut asked = std::collections::BTreeSet::new();
    for exchange in recorded().exchanges {
        let (status, answer) = ask(&dispatcher, &exchange.method, &exchange.request).await;
        let name = exchange.method.as_str();
        assert_eq!(status, exchange.status, "{name}: {answer}");
        holds(&answer, &exchange.answer, name);
        asked.insert(exchange.method);
    }
    assert_eq!(dispatcher.open_feeds(), 0);
    assert_eq!(asked.len(), 17, "{asked:?}");
}

/// Whatever `then` has, `now` has too; it may have more.
fn holds(now: &Value, then: &Value, place: &str) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (name, then) in then {
                let place = format!("{place}.{name}");
                let now = now.get(name).unwrap_or_else(|| panic!("{place} is gone"));
                holds(now, then, &place);
            }
        }
        (Value::Array(now), Value::Array(then)) => {
            assert_eq!(now.len(), then.len(), "{place}");
            for (now, then) in now.iter().zip(then) {
                holds(now, then, place);
            }
        }
        _ => assert_eq!(now, then, "{place}"),
    }
}

fn quoted(json: &Value) -> String {
    let text = json.to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A library that says what one of version 1.0 said: loaded and used by the host of today, both ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_of_version_1_0_is_loaded_and_understood() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = recorded();
    let mut header = format!("#define MANIFEST {}\n", quoted(&recorded.manifest));
    header.push_str(
        "static const struct { const char *method; int status; const char *answer; } RECORDED[] = {\n",
    );
    for exchange in &recorded.exchanges {
        writeln!(
            header,
            "{{\"{}\", {}, {}}},",
            exchange.method,
            exchange.status,
            quoted(&exchange.answer)
        )
        .unwrap();
    }
    header.push_str("};\n");
    std::fs::write(folder.path().join("recorded.h"), header).unwrap();
    // The table of then ended before `set_level`.
    let least = std::mem::offset_of!(calbridge_core::plugin::abi::PluginV1, set_level);
    let size = format!("SIZE={least}");
    let Some(path) = compiled(folder.path(), "older", &["REPLAY", &size]) else {
        return;
    };
    for isolation in [Isolation::InProcess, Isolation::Process] {
        let settings = PluginSettings {
            path: path.clone(),
            isolation,
            sha256: None,
            replaces: Vec::new(),
        };
        let older = load(&settings, &launcher()).unwrap().remove(0);
        assert_eq!(older.manifest().version, "1.2.3");
        assert!(older.manifest().capabilities.source.is_some());
        let connection = older.open(json!({}), context("older")).unwrap();
        let report: CheckReport = connection.check(scope()).await.unwrap();
        assert_eq!(report.findings.len(), 4);
        assert!(connection.roster().await.is_err());
        let source = connection.source().unwrap();
        let expired = source.changes(changes("anna", Some("old"))).await;
        assert!(expired.is_err());
        let mut feed = source.changes(changes("anna", None)).await.unwrap();
        let mut batches: Vec<ChangeBatch> = Vec::new();
        while let Some(batch) = feed.next(2).await.unwrap() {
            batches.push(batch);
        }
        let sizes: Vec<usize> = batches.iter().map(|batch| batch.changes.len()).collect();
        assert_eq!(sizes, [2, 1]);
        let fetched = source
            .fetch(&calendar("anna"), &items(&["one", "gone"]))
            .await
            .unwrap();
        assert!(fetched[0].is_ok() && fetched[1].is_err());
        let mut hints = source.watch(&[calendar("anna")]).await.unwrap();
        assert_eq!(hints.next().await.unwrap().len(), 2);
        hints.set(&[calendar("anna")]).await.unwrap();
        let sink = connection.sink().unwrap();
        let report: ApplyReport = sink
            .apply(&calendar("anna"), &[write(1, "done")])
            .await
            .unwrap();
        assert_eq!(report.outcomes.len(), 6);
        let unknown = |outcome: &Outcome| *outcome == Outcome::Unknown;
        assert!(!report.outcomes.iter().any(|one| unknown(&one.outcome)));
        let tokens =
            ["a", "b", "c"].map(|token| calbridge_core::connector::AttemptToken(token.to_owned()));
        let probes = sink.probe(&calendar("anna"), &tokens).await.unwrap();
        assert!(matches!(
            probes.as_slice(),
            [Probe::Absent, Probe::Found { .. }, Probe::Undecidable]
        ));
    }
}
