//! A connection to the sandbox's Graph, opened as the program opens it, and a memory of what it reports that behaves as
//! calbridge's own.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    Change, ChangesRequest, Connection, Connector, Context, Cursor, Error, Result,
};
use calbridge_core::model::{
    CalendarRef, Coverage, Event, EventKey, EventTime, FieldSet, OriginalStart, ShowAs, Window,
};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_office365_graph::Office365Graph;
use calbridge_sandbox::exchange::{
    ExchangeOptions, ExchangeSandbox, FreeBusy, ItemHandle, NewItem, Occurrence, Pattern, Range,
    Recurrence, Zone,
};
use calbridge_sandbox::graph::{GraphOptions, GraphSandbox};
use jiff::civil::{Date, DateTime, Weekday};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub const ANNA: &str = "anna@contoso.example";
pub const BO: &str = "bo@contoso.example";
pub const ROOM: &str = "raum3@contoso.example";

/// What the sandbox's clock and ours show.
pub const NOW: &str = "2026-11-20T08:00:00Z";

#[derive(Debug, Default)]
pub struct Secrets(pub Mutex<BTreeMap<String, String>>);

impl SecretResolver for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let name = reference.to_string();
        match self.0.lock().unwrap().get(&name) {
            Some(value) => Ok(SecretString::from(value.clone())),
            None => Err(SecretError {
                reference: name,
                reason: "the environment variable is not set".into(),
            }),
        }
    }
}

/// A cloud and a connection to it.
pub struct Bench {
    pub exchange: ExchangeSandbox,
    pub graph: GraphSandbox,
    pub connection: Arc<dyn Connection>,
    pub secrets: Arc<Secrets>,
    pub clock: Arc<FixedClock>,
}

pub fn settings(root: &str) -> Value {
    json!({
        "tenant": "contoso.example",
        "client_id": "calbridge-app",
        "auth": { "kind": "secret", "secret": "env:GRAPH" },
        "cloud": { "login": root, "graph": root },
        "home_zone": "Europe/Copenhagen",
        "http": { "timeout": "10s" },
    })
}

pub fn open(
    settings: Value,
    secrets: &Arc<Secrets>,
    clock: &Arc<FixedClock>,
) -> Result<Arc<dyn Connection>> {
    let context = Context {
        connection: "office365".into(),
        clock: Arc::clone(clock) as Arc<_>,
        secrets: Arc::clone(secrets) as Arc<dyn SecretResolver>,
        shutdown: CancellationToken::new(),
    };
    // Through the registry, as the program does.
    let entry = calbridge_core::connector::find(Office365Graph::ID).expect("registered");
    entry.open(settings, context)
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(GraphOptions::default(), |_| {}).await
    }

    pub async fn with(options: GraphOptions, adjust: impl FnOnce(&mut Value)) -> Self {
        let exchange = ExchangeSandbox::start(ExchangeOptions::default())
            .await
            .unwrap();
        exchange.set_clock(Some(at(NOW)));
        exchange.add_person("Anna Berg", ANNA).unwrap();
        exchange.add_person("Bo Dahl", BO).unwrap();
        exchange.add_room("Raum 3", ROOM).unwrap();
        let graph = GraphSandbox::start(&exchange, options).await.unwrap();
        let mut settings = settings(&graph.root());
        adjust(&mut settings);
        let secrets = Arc::new(Secrets::default());
        let keep = |name: &str, value: &str| {
            let mut secrets = secrets.0.lock().unwrap();
            secrets.insert(name.to_owned(), value.to_owned());
        };
        keep("env:GRAPH", "sandbox");
        let clock = Arc::new(FixedClock::new(at(NOW)));
        let connection = open(settings, &secrets, &clock).unwrap();
        Self {
            exchange,
            graph,
            connection,
            secrets,
            clock,
        }
    }

    /// Puts a busy appointment into a calendar.
    pub fn add(&self, address: &str, start: &str, end: &str) -> ItemHandle {
        self.exchange.create(address, busy(start, end)).unwrap()
    }

    /// Puts a series of busy appointments into a calendar; the first at these times.
    pub fn add_series(
        &self,
        address: &str,
        start: &str,
        end: &str,
        rule: Recurrence,
    ) -> ItemHandle {
        let item = busy(start, end).repeating(rule);
        self.exchange.create(address, item).unwrap()
    }

    pub fn truth(&self, address: &str, window: Window) -> BTreeSet<Fact> {
        self.exchange
            .occurrences(address, window.start(), window.end())
            .iter()
            .map(Fact::of_occurrence)
            .collect()
    }

    /// How many requests of an operation were made.
    pub fn count(&self, operation: &str) -> usize {
        self.graph.ledger().count(operation)
    }
}

/// What calbridge would know of a calendar.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub events: BTreeMap<String, Event>,
    pub cursor: Option<Cursor>,
    pub covered: Coverage,
    pub folder: Option<String>,
    /// Of the last reading.
    pub unreadable: Vec<Error>,
    pub told: usize,
}

impl Memory {
    /// Reads to the feed's end, and believes it as the engine does.
    pub async fn read(&mut self, bench: &Bench, request: ChangesRequest) -> Result<()> {
        self.read_from(bench.connection.as_ref(), request).await
    }

    pub async fn read_from(
        &mut self,
        connection: &dyn Connection,
        request: ChangesRequest,
    ) -> Result<()> {
        let window = request.window;
        let mut covered = self.covered.clone();
        covered.clip(window);
        let request = ChangesRequest {
            cursor: self.cursor.clone(),
            covered: covered.clone(),
            ..request
        };
        let source = connection.source().expect("a source");
        let mut feed = source.changes(request).await?;
        let mut events = self.events.clone();
        let (mut seen, mut snapshots, mut checkpoint) = (BTreeSet::new(), Vec::new(), None);
        self.unreadable.clear();
        self.told = 0;
        while let Some(batch) = feed.next(50).await? {
            assert!(batch.changes.len() <= 50);
            assert!(checkpoint.is_none(), "nothing comes after the checkpoint");
            checkpoint = batch.checkpoint;
            self.folder = batch.folder.or(self.folder.take());
            for change in batch.changes {
                self.told += 1;
                match change {
                    Change::Item(event) => {
                        seen.insert(event.item.id.clone());
                        events.insert(event.item.id.clone(), event);
                    }
                    Change::Removed { item, certain } => {
                        assert!(certain, "this source asks before it tells");
                        events.retain(|id, event| {
                            let group = event.group.as_ref().map(|group| group.id.as_str());
                            *id != item.id && group != Some(item.id.as_str())
                        });
                    }
                    Change::Group {
                        group,
                        members,
                        covered,
                    } => {
                        let ids: BTreeSet<_> = members
                            .iter()
                            .map(|member| member.item.id.clone())
                            .collect();
                        events.retain(|id, event| {
                            event.group.as_ref().is_none_or(|one| one.id != group.id)
                                || ids.contains(id)
                                || !overlaps(event, covered)
                        });
                        for member in members {
                            seen.insert(member.item.id.clone());
                            events.insert(member.item.id.clone(), member);
                        }
                    }
                    Change::Snapshot { covered } => snapshots.push(covered),
                    Change::Unreadable { item, error, .. } => {
                        seen.extend(item.map(|item| item.id));
                        self.unreadable.push(error);
                    }
                    other => panic!("not expected: {other:?}"),
                }
            }
        }
        assert!(checkpoint.is_some(), "a feed ends with a checkpoint");
        for snapshot in snapshots {
            events.retain(|id, event| seen.contains(id) || !overlaps(event, snapshot));
            covered.add(snapshot);
        }
        covered.clip(window);
        self.events = events;
        self.cursor = checkpoint;
        self.covered = covered;
        Ok(())
    }

    pub fn facts(&self, window: Window) -> BTreeSet<Fact> {
        let facts: Vec<Fact> = self
            .events
            .values()
            .filter(|event| overlaps(event, window))
            .map(Fact::of_event)
            .collect();
        let set: BTreeSet<Fact> = facts.iter().cloned().collect();
        assert_eq!(set.len(), facts.len(), "no event is there twice");
        set
    }

    /// Reads, and compares with what the mailbox holds.
    pub async fn read_true(&mut self, bench: &Bench, request: ChangesRequest) {
        let (address, window) = (request.calendar.address.as_str().to_owned(), request.window);
        self.read(bench, request).await.unwrap();
        assert_eq!(self.unreadable, []);
        assert!(self.covered.covers(window));
        assert_eq!(self.facts(window), bench.truth(&address, window));
    }
}

fn overlaps(event: &Event, window: Window) -> bool {
    let (start, end) = event.content.time.span_in(&copenhagen());
    window.overlaps(start, end)
}

/// What matters of an event, comparable with the server's own truth.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pub key: String,
    pub time: String,
    pub show_as: String,
    pub cancelled: bool,
}

impl Fact {
    fn of_event(event: &Event) -> Self {
        let time = match &event.content.time {
            EventTime::Timed { start, end, .. } => format!("{start}/{end}"),
            EventTime::AllDay { start, end } => format!("{start}/{end}"),
            other => panic!("{other:?}"),
        };
        Self {
            key: event.key.as_text(),
            time,
            show_as: format!("{:?}", event.content.show_as.unwrap()),
            cancelled: event.cancelled,
        }
    }

    fn of_occurrence(occurrence: &Occurrence) -> Self {
        let original = occurrence.original_start.map(|at| {
            // Whole days carry their zone in the distance between instant and date.
            let date = occurrence.dates.and_then(|(first, _)| {
                let midnight = first.at(0, 0, 0, 0);
                let offset =
                    midnight.duration_since(jiff::tz::TimeZone::UTC.to_datetime(occurrence.start));
                let local = jiff::tz::TimeZone::UTC
                    .to_datetime(at)
                    .checked_add(offset)
                    .unwrap();
                // Summer time may lie between a moved day and its original.
                let nearest = local.checked_add(SignedDuration::from_hours(2)).unwrap();
                (nearest.time() < jiff::civil::time(4, 0, 0, 1)).then_some(nearest.date())
            });
            date.map_or(OriginalStart::Instant(at), OriginalStart::Date)
        });
        let show_as = match occurrence.free_busy {
            FreeBusy::Free => ShowAs::Free,
            FreeBusy::Tentative => ShowAs::Tentative,
            FreeBusy::Busy => ShowAs::Busy,
            FreeBusy::OutOfOffice => ShowAs::Away,
            FreeBusy::WorkingElsewhere => ShowAs::Elsewhere,
            FreeBusy::NoData => ShowAs::Unknown,
        };
        Self {
            key: EventKey::new(&occurrence.uid, original).unwrap().as_text(),
            time: match occurrence.dates {
                Some((first, after)) => format!("{first}/{after}"),
                None => format!("{}/{}", occurrence.start, occurrence.end),
            },
            show_as: format!("{show_as:?}"),
            cancelled: occurrence.cancelled,
        }
    }
}

pub fn copenhagen() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get("Europe/Copenhagen").unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A wall clock in Denmark.
pub fn dk(text: &str) -> Timestamp {
    let wall: DateTime = text.parse().unwrap();
    copenhagen()
        .to_ambiguous_zoned(wall)
        .compatible()
        .unwrap()
        .timestamp()
}

pub fn window(start: &str, end: &str) -> Window {
    Window::new(dk(start), dk(end)).unwrap()
}

/// 1 December 2026 to 1 March 2027 in Denmark.
pub fn winter() -> Window {
    window("2026-12-01T00:00", "2027-03-01T00:00")
}

pub fn request(address: &str, window: Window) -> ChangesRequest {
    ChangesRequest {
        calendar: CalendarRef::primary(address).unwrap(),
        cursor: None,
        window,
        covered: Coverage::none(),
        fields: FieldSet::times(),
        full: false,
        now: at(NOW),
    }
}

/// Every so many days.
pub fn daily(interval: u32, start: Date, range: Range) -> Recurrence {
    Recurrence {
        pattern: Pattern::Daily { interval },
        start,
        range,
    }
}

/// Every week on these days.
pub fn weekly(days: &[Weekday], start: Date, range: Range) -> Recurrence {
    Recurrence {
        pattern: Pattern::Weekly {
            interval: 1,
            days: days.to_vec(),
            first_day: Weekday::Monday,
        },
        start,
        range,
    }
}

/// A busy appointment by Danish wall clock.
pub fn busy(start: &str, end: &str) -> NewItem {
    NewItem::at(
        "Canary subject",
        start.parse().unwrap(),
        end.parse().unwrap(),
        &Zone::denmark(),
    )
}
