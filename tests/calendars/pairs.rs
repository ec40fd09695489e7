//! Every source with every sink: the same calendars come out of all four pairs with the same occurrences.
//!
//! The engine is put together here rather than by the program, because neither Exchange nor a folder of files that
//! is written knows whose calendars belong to a sync: for that pair the test says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::clock::{Clock, FixedClock};
use calbridge_core::connector::{
    CalendarSink, CalendarSource, CheckReport, CheckScope, Connection, Context, Result, Roster,
    find,
};
use calbridge_core::engine::{
    ConnectionHandle, Engine, Silent, SyncConfig, SyncOptions, SyncReport,
};
use calbridge_core::model::{CalendarEntry, CalendarKind, CalendarRef};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_core::store::Store as _;
use calbridge_core::store::sqlite::SqliteStore;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

// Connectors are found in the registry by name; naming the crates links them.
use calbridge_exchange_ews as _;
use calbridge_ical_sink as _;
use calbridge_ical_source as _;
use calbridge_planner_dfdg as _;

use crate::own::own;
use crate::support::{HOLDER, World};
use crate::ways::{File, Setting, copy_files, world};

const SETTING: Setting<'_> = Setting {
    now: "2026-10-19T06:00:00Z",
    window: "{ past = \"1 month\", future = \"3 months\" }",
};

/// Of these an import into a mailbox makes something else than the file says (see `own`).
const NOT_THE_SAME: [&str; 2] = [
    "revisions-of-one-event",
    "thunderbird-night-of-the-clock-change",
];

/// Start, end and, where the sink keeps it, subject.
type Told = (String, String, Option<String>);

#[derive(Debug)]
struct Secrets;

impl SecretResolver for Secrets {
    fn resolve(&self, reference: &SecretRef) -> std::result::Result<SecretString, SecretError> {
        match reference {
            SecretRef::Env(name) if name == "EXCHANGE" => Ok("sandbox".into()),
            SecretRef::Env(name) if name == "PKCS12" => Ok("p12-secret".into()),
            other => Err(SecretError {
                reference: other.to_string(),
                reason: "no such secret in this test".to_owned(),
            }),
        }
    }
}

/// A connection with a list of calendars beside it.
struct Listed {
    connection: Arc<dyn Connection>,
    roster: Roster,
}

#[async_trait]
impl Connection for Listed {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        self.connection.check(scope).await
    }

    async fn roster(&self) -> Result<Roster> {
        Ok(self.roster.clone())
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        self.connection.source()
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        self.connection.sink()
    }
}

fn settings(world: &World, connector: &str) -> Value {
    let dir = world.dir.path();
    match connector {
        "exchange-ews" => json!({
            "url": world.exchange.url(),
            "auth": { "kind": "basic", "user": "svc-calbridge", "password": "env:EXCHANGE" },
            "home_zone": "Europe/Copenhagen",
            "http": { "proxy": "none" },
        }),
        "ical-source" => json!({ "path": dir.join("calendars") }),
        "planner-dfdg" => json!({
            "url": world.planner.url(),
            "jobcenter": "10100",
            "request_user": HOLDER,
            "certificate": { "pkcs12": dir.join("client.p12"), "password": "env:PKCS12" },
            "calls_per_minute": 100_000,
            "http": { "extra_ca": [dir.join("ca.pem")], "proxy": "none" },
        }),
        "ical-sink" => json!({ "folder": dir.join("out") }),
        other => panic!("{other}"),
    }
}

fn connection(
    world: &World,
    connector: &str,
    clock: &Arc<dyn Clock>,
    files: &[File],
) -> Arc<ConnectionHandle> {
    let entry = find(connector).unwrap();
    let settings = settings(world, connector);
    let mut capabilities = entry.capabilities(&settings).unwrap();
    let context = Context {
        connection: connector.to_owned(),
        clock: Arc::clone(clock),
        secrets: Arc::new(Secrets),
        shutdown: CancellationToken::new(),
    };
    let mut open = entry.open(settings, context).unwrap();
    if connector == "exchange-ews" {
        capabilities.roster = true;
        let entries = files.iter().map(|file| CalendarEntry {
            calendar: CalendarRef::primary(file.address()).unwrap(),
            kind: CalendarKind::Person,
        });
        open = Arc::new(Listed {
            connection: open,
            roster: Roster {
                entries: entries.collect(),
                skipped: Vec::new(),
            },
        });
    }
    let version = format!("{connector} {}", entry.manifest().version);
    Arc::new(ConnectionHandle::new(
        connector,
        version,
        capabilities,
        open,
    ))
}

async fn sync(world: &World, source: &str, sink: &str, files: &[File]) -> SyncReport {
    let now: Timestamp = SETTING.now.parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::new(now));
    let store = Arc::new(SqliteStore::open_in_memory().unwrap());
    let fence = store.acquire("test", now).await.unwrap();
    let config: SyncConfig = serde_json::from_value(json!({
        "name": "pair", "source": source, "sink": sink, "zone": "Europe/Copenhagen",
        "window": { "past": "1 month", "future": "3 months" },
    }))
    .unwrap();
    let connections = [source, sink].map(|name| connection(world, name, &clock, files));
    let engine = Engine::new(store, fence, clock, connections, vec![config.clone()]).unwrap();
    let once = async |options: &SyncOptions| {
        engine
            .sync_once(&config, options, &CancellationToken::new(), &Silent)
            .await
            .unwrap()
    };
    let report = once(&SyncOptions::default()).await;
    // What was written is what is wanted, also when the sink's content is looked at.
    let again = once(&SyncOptions {
        full: true,
        reconcile: true,
        ..SyncOptions::default()
    })
    .await;
    let (total, wanted) = (&again.total, &report.total);
    assert_eq!(
        (total.created, total.updated, total.deleted),
        (0, 0, 0),
        "{source} -> {sink} after {wanted:?}"
    );
    report
}

fn in_planner(world: &World, files: &[File]) -> BTreeMap<String, Vec<Told>> {
    let of = |file: &File| {
        let mut told: Vec<_> = world
            .planner
            .events(&file.address())
            .into_iter()
            .map(|record| (record.start.to_string(), record.end.to_string(), None))
            .collect();
        told.sort();
        told
    };
    files
        .iter()
        .map(|file| (file.name.clone(), of(file)))
        .collect()
}

/// What the sink's files hold, read without calbridge: it writes instants in UTC, and days.
fn in_files(folder: &Path, files: &[File]) -> BTreeMap<String, Vec<Told>> {
    let mut told = BTreeMap::new();
    for file in files {
        let path = folder.join(format!("{}.ics", file.address()));
        let text = std::fs::read_to_string(path)
            .unwrap_or_default()
            .replace("\r\n ", "");
        let mut events = Vec::new();
        for event in text.split("BEGIN:VEVENT").skip(1) {
            let value = |name: &str| {
                event.lines().find_map(|line| {
                    let rest = line.strip_prefix(name)?;
                    rest.starts_with([':', ';']).then(|| rest.split_once(':'))?
                })
            };
            let wall = |name: &str| wall(value(name).unwrap().1);
            let subject = value("SUMMARY").map(|(_, subject)| subject.to_owned());
            events.push((wall("DTSTART"), wall("DTEND"), subject));
        }
        events.sort();
        told.insert(file.name.clone(), events);
    }
    told
}

fn wall(value: &str) -> String {
    let denmark = TimeZone::get("Europe/Copenhagen").unwrap();
    match value.strip_suffix('Z') {
        Some(utc) => {
            let utc = DateTime::strptime("%Y%m%dT%H%M%S", utc).unwrap();
            let at = TimeZone::UTC.to_timestamp(utc).unwrap();
            denmark.to_datetime(at).to_string()
        }
        None => Date::strptime("%Y%m%d", value)
            .unwrap()
            .at(0, 0, 0, 0)
            .to_string(),
    }
}

async fn pair(source: &str, sink: &str, files: &[File]) -> BTreeMap<String, Vec<Told>> {
    let world = world(files, SETTING).await;
    let out = world.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    copy_files(&world, files);
    for file in files {
        let address = file.address();
        world.exchange.add_person("Somebody", &address).unwrap();
        let report = world.exchange.seed_ics_file(&address, &file.path).unwrap();
        assert!(report.problems.is_empty(), "{}: {report:?}", file.name);
    }
    let report = sync(&world, source, sink, files).await;
    assert_eq!(report.failures(), 0, "{source} -> {sink}: {report:#?}");
    assert_eq!(report.total.unreadable, 0, "{source} -> {sink}");
    match sink {
        "planner-dfdg" => in_planner(&world, files),
        _ => in_files(&out, files),
    }
}

fn times(told: &[Told]) -> Vec<Told> {
    let mut times: Vec<_> = told
        .iter()
        .map(|(start, end, _)| (start.clone(), end.clone(), None))
        .collect();
    times.sort();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn every_source_works_with_every_sink() {
    let files: Vec<File> = own()
        .into_iter()
        .filter(|file| !file.name.starts_with("broken-"))
        .filter(|file| !NOT_THE_SAME.contains(&file.name.as_str()))
        .collect();
    let (ical_planner, exchange_planner, ical_ical, exchange_ical) = tokio::join!(
        pair("ical-source", "planner-dfdg", &files),
        pair("exchange-ews", "planner-dfdg", &files),
        pair("ical-source", "ical-sink", &files),
        pair("exchange-ews", "ical-sink", &files),
    );
    let count: usize = ical_planner.values().map(Vec::len).sum();
    assert!(count > 100, "{count}");
    // A file can hold subjects, so it does; Planner cannot.
    let with_subject = ical_ical
        .values()
        .flatten()
        .filter(|event| event.2.as_ref().is_some_and(|subject| !subject.is_empty()))
        .count();
    assert!(with_subject > 100, "{with_subject}");
    for file in &files {
        let name = &file.name;
        assert_eq!(ical_planner[name], exchange_planner[name], "{name}");
        assert_eq!(ical_planner[name], times(&ical_ical[name]), "{name}");
        assert_eq!(ical_planner[name], times(&exchange_ical[name]), "{name}");
        assert_eq!(ical_ical[name], exchange_ical[name], "{name}");
    }
}
