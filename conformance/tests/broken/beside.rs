//! A sync of good connectors, while another sync in the same engine has a broken one: it is neither stopped nor spoilt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use calbridge_conformance::{Appointment, World};
use calbridge_core::clock::{Clock, FixedClock};
use calbridge_core::connector::{ConnectorEntry, Context};
use calbridge_core::engine::{ConnectionHandle, Engine, Silent, SyncConfig, SyncOptions};
use calbridge_core::model::{CalendarRef, EventTime};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_core::store::Store;
use calbridge_core::store::sqlite::SqliteStore;
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// How long one pass of the good sync may take, whatever the other one does.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Secrets(BTreeMap<String, String>);

impl SecretResolver for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let name = reference.to_string();
        match self.0.get(&name) {
            Some(value) => Ok(value.clone().into()),
            None => Err(SecretError {
                reference: name,
                reason: "it is not there".to_owned(),
            }),
        }
    }
}

/// One side of a sync: a connector, its settings, and the system behind it.
pub struct Side<'a> {
    pub entry: &'static ConnectorEntry,
    pub settings: Value,
    pub world: &'a dyn World,
}

async fn handle(name: &str, side: &Side<'_>) -> Arc<ConnectionHandle> {
    let context = Context {
        connection: name.to_owned(),
        clock: Arc::new(FixedClock::new(side.world.now())),
        secrets: Arc::new(Secrets(side.world.secrets())),
        shutdown: CancellationToken::new(),
    };
    let (entry, settings) = (side.entry, side.settings.clone());
    let capabilities = entry.capabilities(&settings).unwrap();
    let opened = tokio::task::spawn_blocking(move || entry.open(settings, context));
    let connection = opened.await.unwrap().unwrap();
    Arc::new(ConnectionHandle::new(name, "1", capabilities, connection))
}

/// An hour, so many days from now.
pub fn appointment(world: &dyn World, name: &str, days: i64) -> Appointment {
    let start = world.now() + (24 * days).hours();
    Appointment {
        name: name.to_owned(),
        time: EventTime::timed(start, start + 1.hour(), None).unwrap(),
        subject: name.to_owned(),
        private: false,
        daily: None,
    }
}

fn sorted(times: impl IntoIterator<Item = EventTime>) -> Vec<String> {
    let mut all: Vec<String> = times
        .into_iter()
        .map(|time| format!("{:?}", time.span_in(&TimeZone::UTC)))
        .collect();
    all.sort();
    all
}

/// Plays some passes of a good sync, with a broken one going on all the time.
///
/// # Panics
/// A pass of the good one fails or takes too long, or its sink does not hold just what its source does.
pub async fn play(what: &str, good: [Side<'_>; 2], broken: [Side<'_>; 2]) {
    let clock = Arc::new(FixedClock::new(good[0].world.now()));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
    let fence = store.acquire("beside", clock.now()).await.unwrap();
    let mut handles = Vec::new();
    for (name, side) in ["from", "to", "broken-from", "broken-to"]
        .iter()
        .zip(good.iter().chain(&broken))
    {
        handles.push(handle(name, side).await);
    }
    let calendar: CalendarRef = good[0].world.calendars().remove(0);
    let sync = |name: &str, source: &str, sink: &str| -> SyncConfig {
        let roster = json!({ "allow": [calendar.address.as_str()] });
        let sync = json!({ "name": name, "source": source, "sink": sink, "roster": roster });
        serde_json::from_value(sync).unwrap()
    };
    let syncs = vec![
        sync("good", "from", "to"),
        sync("broken", "broken-from", "broken-to"),
    ];
    let clock: Arc<dyn Clock> = clock;
    let engine = Arc::new(Engine::new(store, fence, clock, handles, syncs.clone()).unwrap());
    let shutdown = CancellationToken::new();
    let other = {
        let (engine, sync, shutdown) = (Arc::clone(&engine), syncs[1].clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut passes = 0_u32;
            while !shutdown.is_cancelled() {
                // Whatever comes of it, and however long it takes.
                let options = SyncOptions::default();
                let pass = engine.sync_once(&sync, &options, &shutdown, &Silent);
                if tokio::time::timeout(Duration::from_secs(1), pass)
                    .await
                    .is_ok()
                {
                    passes += 1;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            passes
        })
    };
    let source = good[0].world;
    let mut expected: BTreeMap<String, EventTime> = BTreeMap::new();
    for round in 0_i64..4 {
        for n in 0..5 {
            let one = appointment(source, &format!("{round}-{n}"), 2 + 5 * round + n);
            source.put(&calendar, &one).await.unwrap();
            expected.insert(one.name, one.time);
        }
        if round > 0 {
            let (gone, moved) = (format!("{}-0", round - 1), format!("{}-1", round - 1));
            source.remove(&calendar, &gone).await.unwrap();
            expected.remove(&gone);
            let one = appointment(source, &moved, 40 + round);
            source.put(&calendar, &one).await.unwrap();
            expected.insert(one.name, one.time);
        }
        let options = SyncOptions::default();
        let pass = engine.sync_once(&syncs[0], &options, &shutdown, &Silent);
        let report = match tokio::time::timeout(PATIENCE, pass).await {
            Ok(report) => report.unwrap(),
            Err(_) => panic!("beside one that {what}: a pass did not end"),
        };
        assert_eq!(report.failures(), 0, "beside one that {what}");
        let held = good[1].world.held(&calendar).await.unwrap();
        assert_eq!(
            sorted(held),
            sorted(expected.values().cloned()),
            "beside one that {what}"
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    shutdown.cancel();
    let passes = tokio::time::timeout(Duration::from_secs(30), other).await;
    println!("beside one that {what}: in step; passes of its own: {passes:?}");
}
