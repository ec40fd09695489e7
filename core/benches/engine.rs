//! The engine without network: planning alone, and reading, planning and storing over a state file.
//!
//! `cargo bench -p calbridge-core --features sqlite`. Compare figures of one run with each other: they depend on the
//! machine and its disk.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::clock::{Clock, FixedClock};
use calbridge_core::connector::{
    ApplyReport, CalendarSink, CalendarSource, Capabilities, Change, ChangeBatch, ChangeFeed,
    ChangesRequest, CheckReport, CheckScope, Connection, Cursor, ExternalIds, Outcome, Result,
    Sharing, SinkCapabilities, SourceCapabilities, Write, WriteOutcome,
};
use calbridge_core::engine::decide::{DecideContext, decide};
use calbridge_core::engine::guard::GuardHistory;
use calbridge_core::engine::project::project;
use calbridge_core::engine::schedule::schedule;
use calbridge_core::engine::{
    Agreed, ConnectionHandle, Engine, Fingerprinter, LinkId, OnSink, PAGE, Row, Silent, SourceView,
    SyncConfig, SyncOptions, ViewId,
};
use calbridge_core::model::{
    CalendarRef, Content, Event, EventKey, EventTime, Field, FieldSet, ItemRef, ShowAs, SideRef,
};
use calbridge_core::store::Store;
use calbridge_core::store::sqlite::SqliteStore;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

const EVENTS: usize = 20 * PAGE;

fn now() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

fn event(number: usize) -> Event {
    let hours = 24 + i64::try_from(number).unwrap() % 2_000;
    let start = now() + SignedDuration::from_hours(hours);
    let time = EventTime::timed(start, start + SignedDuration::from_mins(45), None).unwrap();
    let mut content = Content::times(time);
    content.show_as = Some(ShowAs::Busy);
    let uid = format!("040000008200E00074C5B7101A82E0080000000{number:040}");
    Event {
        key: EventKey::new(&uid, None).unwrap(),
        item: ItemRef::new(
            format!("AAMkAGVmMDEzMTM4LTZmYWUtNDdkNC1hMDZi{number:060}"),
            None,
        )
        .unwrap(),
        group: None,
        content,
        cancelled: false,
        origin: None,
    }
}

/// A source that reports the same events, page by page; with its cursor, that nothing changed.
#[derive(Clone)]
struct Still(Arc<Vec<Event>>);

struct Pages {
    changes: Vec<Change>,
    done: bool,
}

#[async_trait]
impl ChangeFeed for Pages {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        if self.done {
            return Ok(None);
        }
        let rest = self.changes.split_off(max.min(self.changes.len()));
        let changes = std::mem::replace(&mut self.changes, rest);
        self.done = self.changes.is_empty();
        Ok(Some(ChangeBatch {
            changes,
            checkpoint: self.done.then(|| Cursor("all".to_owned())),
            folder: None,
        }))
    }
}

#[async_trait]
impl CalendarSource for Still {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        let mut changes = Vec::new();
        if request.cursor.is_none() || request.full {
            changes.extend(self.0.iter().cloned().map(Change::Item));
            changes.push(Change::Snapshot {
                covered: request.window,
            });
        }
        Ok(Box::new(Pages {
            changes,
            done: false,
        }))
    }

    async fn fetch(&self, _: &CalendarRef, _: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Connection for Still {
    async fn check(&self, _: CheckScope) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }
}

/// A sink that does all it is told.
struct Willing;

#[async_trait]
impl CalendarSink for Willing {
    async fn apply(&self, _: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let done = |write: &Write| WriteOutcome {
            id: write.id,
            outcome: Outcome::Done {
                remote: write.remote.clone(),
                stored: None,
            },
            receipt: None,
            notices: Vec::new(),
        };
        Ok(ApplyReport {
            outcomes: writes.iter().map(done).collect(),
            ..ApplyReport::default()
        })
    }
}

#[async_trait]
impl Connection for Willing {
    async fn check(&self, _: CheckScope) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        Some(self)
    }
}

fn reads() -> Capabilities {
    Capabilities {
        source: Some(SourceCapabilities {
            incremental: true,
            deletions: true,
            watch: false,
            own_write_delay_ms: 0,
            fields: [Field::Time, Field::ShowAs].into_iter().collect(),
            max_in_flight: 1,
        }),
        ..Capabilities::default()
    }
}

fn writes() -> Capabilities {
    Capabilities {
        sink: Some(SinkCapabilities {
            conditional_write: false,
            idempotent_upsert: true,
            inventory: None,
            probe: false,
            sharing: Sharing::Exclusive,
            external_ids: ExternalIds::Chosen {
                separator: "$".to_owned(),
                zone: "Europe/Copenhagen".to_owned(),
                format: "%Y%m%d-%H%M%S".to_owned(),
            },
            wall_clock: Some("Europe/Copenhagen".to_owned()),
            fields: FieldSet::times(),
            max_batch: 256,
            max_in_flight: 1,
            own_write_delay_ms: 0,
        }),
        ..Capabilities::default()
    }
}

fn config() -> SyncConfig {
    serde_json::from_value(serde_json::json!({
        "name": "bench", "source": "exchange", "sink": "planner",
        "roster": { "allow": ["anna@kommune.example"] },
    }))
    .unwrap()
}

/// An engine over a state file of its own.
struct Place {
    engine: Engine,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new(runtime: &tokio::runtime::Runtime, events: &Arc<Vec<Event>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("state.db"), now()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::new(now()));
        let fence = runtime.block_on(store.acquire("bench", now())).unwrap();
        let handle = |name, capabilities, connection: Arc<dyn Connection>| {
            Arc::new(ConnectionHandle::new(name, "1", capabilities, connection))
        };
        let handles = [
            handle("exchange", reads(), Arc::new(Still(Arc::clone(events)))),
            handle("planner", writes(), Arc::new(Willing)),
        ];
        Self {
            engine: Engine::new(store, fence, clock, handles, vec![config()]).unwrap(),
            _folder: folder,
        }
    }

    async fn plan(&self) {
        let (options, never) = (SyncOptions::default(), CancellationToken::new());
        let sync = &self.engine.syncs()[0];
        let plans = self.engine.plan(sync, &options, &never).await.unwrap();
        assert_eq!(plans[0].writes.len(), EVENTS);
    }

    async fn sync(&self, created: u64) {
        let (options, never) = (SyncOptions::default(), CancellationToken::new());
        let sync = &self.engine.syncs()[0];
        let done = self.engine.sync_once(sync, &options, &never, &Silent);
        assert_eq!(done.await.unwrap().total.created, created);
    }
}

fn whole(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let events: Arc<Vec<Event>> = Arc::new((0..EVENTS).map(event).collect());
    let mut group = criterion.benchmark_group("store");
    group.sample_size(10);
    group.throughput(Throughput::Elements(EVENTS as u64));
    let fresh = || Place::new(&runtime, &events);
    group.bench_function("read, plan and store, one commit per page", |bench| {
        bench.iter_batched(
            fresh,
            |place| {
                runtime.block_on(place.plan());
                place
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("first sync, writes and outcomes included", |bench| {
        bench.iter_batched(
            fresh,
            |place| {
                runtime.block_on(place.sync(EVENTS as u64));
                place
            },
            BatchSize::PerIteration,
        );
    });
    let synced = fresh();
    runtime.block_on(synced.sync(EVENTS as u64));
    group.bench_function("unchanged pass", |bench| {
        bench.iter(|| runtime.block_on(synced.sync(0)));
    });
    group.finish();
}

fn planning(criterion: &mut Criterion) {
    let config = config().rules();
    let (source, sink) = (reads().source.unwrap(), writes().sink.unwrap());
    let rules = config.at(now(), &source, &sink).unwrap();
    let prints = Fingerprinter::new([7; 32]);
    let context = DecideContext {
        prints: &prints,
        wall_clock: rules.wall_clock.as_ref(),
        zone: &rules.zone,
        first_day: rules.window_day(),
        basis: "basis",
        idempotent_upsert: true,
        probe: false,
        now: now(),
    };
    let row = |number: usize, in_step: bool| {
        let event = event(number);
        let mut row = Row::new(LinkId(i64::try_from(number).unwrap()), event.key.clone(), 0);
        let content = Content::times(event.content.time.clone());
        if in_step {
            let agreed = prints.of(&content, context.wall_clock);
            row.sink.state = OnSink::Present;
            row.sink.remote = SideRef::new(event.key.uid()).ok();
            row.sink.content = Some(content);
            row.agreed = Some(Agreed {
                source: agreed.clone(),
                sink: agreed,
            });
        }
        row.source = Some(SourceView {
            id: ViewId(i64::try_from(number).unwrap()),
            event,
            ordinal: 0,
        });
        row
    };
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (name, in_step) in [("in step", true), ("new", false)] {
        let rows: Vec<Row> = (0..EVENTS).map(|number| row(number, in_step)).collect();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let decisions: Vec<_> = rows
                    .iter()
                    .map(|row| decide(row, &project(row.source.as_ref(), &rules), &context))
                    .collect();
                let history = GuardHistory::default();
                let plan = schedule(&rows, &decisions, &history, &rules.guard, now());
                assert_eq!(plan.due.is_empty(), in_step);
                black_box(plan)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, planning, whole);
criterion_main!(benches);
