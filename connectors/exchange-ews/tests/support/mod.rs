//! A connection to the sandbox's Exchange server, opened as the program opens it, and what it reports in a form
//! that can be compared with the truth.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod desk;
pub mod script;
pub mod town;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    Change, ChangesRequest, Connection, Connector, Context, Cursor, Error, Result,
};
use calbridge_core::model::{
    CalendarRef, Coverage, Event, EventKey, EventTime, FieldSet, OriginalStart, ShowAs, Window,
};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_exchange_ews::ExchangeEws;
use calbridge_sandbox::exchange::{
    ExchangeOptions, ExchangeSandbox, FreeBusy, ItemHandle, NewItem, Occurrence, Pattern, Profile,
    Range, Recurrence, Zone,
};
use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub const ANNA: &str = "anna@kommune.example";
pub const BO: &str = "bo@kommune.example";
pub const ROOM: &str = "lokale3@kommune.example";

#[derive(Debug)]
pub struct Secrets(pub std::sync::Mutex<BTreeMap<String, String>>);

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

/// A server and a connection to it.
pub struct Bench {
    pub exchange: ExchangeSandbox,
    pub connection: Arc<dyn Connection>,
    pub secrets: Arc<Secrets>,
    /// Cancelled when the program is to stop.
    pub shutdown: CancellationToken,
}

pub fn settings(url: &str) -> Value {
    json!({
        "url": url,
        "auth": { "kind": "basic", "user": "svc-calbridge", "password": "env:EXCHANGE" },
        "http": { "timeout": "10s" },
    })
}

pub fn open(settings: Value) -> Result<(Arc<dyn Connection>, Arc<Secrets>)> {
    open_until(settings, CancellationToken::new())
}

fn open_until(
    settings: Value,
    shutdown: CancellationToken,
) -> Result<(Arc<dyn Connection>, Arc<Secrets>)> {
    let secrets = Arc::new(Secrets(std::sync::Mutex::new(BTreeMap::from([
        ("env:EXCHANGE".to_owned(), "sandbox".to_owned()),
        ("env:TOKEN".to_owned(), "a.b.c".to_owned()),
    ]))));
    let context = Context {
        connection: "exchange".into(),
        clock: Arc::new(FixedClock::new(at("2026-11-20T08:00:00Z"))),
        secrets: Arc::clone(&secrets) as Arc<dyn SecretResolver>,
        shutdown,
    };
    // Through the registry, as the program does.
    let entry = calbridge_core::connector::find(ExchangeEws::ID).expect("registered");
    Ok((entry.open(settings, context)?, secrets))
}

impl Bench {
    pub async fn start(profile: Profile) -> Self {
        Self::with(profile, |_| {}).await
    }

    pub async fn with(profile: Profile, adjust: impl FnOnce(&mut Value)) -> Self {
        let options = ExchangeOptions {
            profile,
            require_anchor: true,
            keep_requests: true,
            ..ExchangeOptions::default()
        };
        Self::of(options, adjust).await
    }

    pub async fn of(options: ExchangeOptions, adjust: impl FnOnce(&mut Value)) -> Self {
        let exchange = ExchangeSandbox::start(options).await.unwrap();
        exchange.add_person("Anna Berg", ANNA).unwrap();
        exchange.add_person("Bo Dahl", BO).unwrap();
        exchange.add_room("Lokale 3", ROOM).unwrap();
        let mut settings = settings(&exchange.url());
        adjust(&mut settings);
        let shutdown = CancellationToken::new();
        let (connection, secrets) = open_until(settings, shutdown.clone()).unwrap();
        Self {
            exchange,
            connection,
            secrets,
            shutdown,
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

    /// Another calendar shows that the server does not expand: what follows asks for what it reads alone.
    pub async fn learn_that_nothing_expands(&self) {
        self.add_series(
            BO,
            "2026-12-01T09:00",
            "2026-12-01T10:00",
            daily(7, date(2026, 12, 1), Range::NoEnd),
        );
        self.read_true(request(BO, winter())).await;
        self.exchange.ledger().clear();
    }

    /// Reads a calendar to the feed's end.
    pub async fn read(&self, request: ChangesRequest) -> Result<Feed> {
        read(self.connection.as_ref(), request).await
    }

    /// Reads and compares with the truth of the same window.
    pub async fn read_true(&self, request: ChangesRequest) -> Feed {
        let address = request.calendar.address.as_str().to_owned();
        let window = request.window;
        let feed = self.read(request).await.unwrap();
        assert_eq!(feed.unreadable.len(), 0, "{:?}", feed.unreadable);
        assert_eq!(feed.snapshots, [window]);
        assert_eq!(feed.facts(window), self.truth(&address, window));
        feed
    }

    pub fn truth(&self, address: &str, window: Window) -> BTreeSet<Fact> {
        self.exchange
            .occurrences(address, window.start(), window.end())
            .iter()
            .map(Fact::of_occurrence)
            .collect()
    }

    pub fn requests(&self) -> usize {
        self.exchange.ledger().len()
    }
}

/// Reads to the feed's end.
pub async fn read(connection: &dyn Connection, request: ChangesRequest) -> Result<Feed> {
    match read_some(connection, request).await {
        (feed, None) => {
            assert!(feed.cursor.is_some(), "a feed ends with a checkpoint");
            Ok(feed)
        }
        (_, Some(error)) => Err(error),
    }
}

/// Reads to the feed's end or its first error. The cursor is that of the last checkpoint.
pub async fn read_some(
    connection: &dyn Connection,
    request: ChangesRequest,
) -> (Feed, Option<Error>) {
    let mut all = Feed::default();
    let mut feed = match connection
        .source()
        .expect("a source")
        .changes(request)
        .await
    {
        Ok(feed) => feed,
        Err(error) => return (all, Some(error)),
    };
    let mut ended = false;
    loop {
        let batch = match feed.next(100).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return (all, None),
            Err(error) => return (all, Some(error)),
        };
        assert!(!ended, "nothing comes after the last checkpoint");
        assert!(batch.changes.len() <= 100);
        let told = !batch.changes.is_empty() || all.told();
        all.folder = batch.folder.or(all.folder);
        for change in batch.changes {
            match change {
                Change::Item(event) => all.events.push(event),
                Change::Snapshot { covered } => all.snapshots.push(covered),
                Change::Unreadable { item, uid, error } => {
                    all.unreadable.push((item.map(|item| item.id), uid, error));
                }
                other => panic!("not expected: {other:?}"),
            }
        }
        if batch.checkpoint.is_some() {
            // Before anything is told there may be several.
            ended = told;
            all.cursor = batch.checkpoint;
        }
        all.batches += 1;
    }
}

#[derive(Debug, Default)]
pub struct Feed {
    pub events: Vec<Event>,
    pub snapshots: Vec<Window>,
    pub unreadable: Vec<(Option<String>, Option<String>, Error)>,
    pub cursor: Option<Cursor>,
    pub batches: usize,
    pub folder: Option<String>,
}

impl Feed {
    fn told(&self) -> bool {
        !(self.events.is_empty() && self.snapshots.is_empty() && self.unreadable.is_empty())
    }

    /// What was reported of the window. Whole days may be reported beyond its edges.
    pub fn facts(&self, window: Window) -> BTreeSet<Fact> {
        let facts: Vec<Fact> = self
            .events
            .iter()
            .filter(|event| {
                let (start, end) = event.content.time.span_in(&copenhagen());
                window.overlaps(start, end)
            })
            .map(Fact::of_event)
            .collect();
        let set: BTreeSet<Fact> = facts.iter().cloned().collect();
        assert_eq!(set.len(), facts.len(), "no event is reported twice");
        set
    }
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
        now: at("2026-11-20T08:00:00Z"),
    }
}

/// The request after a feed whose window was stored.
pub fn after(feed: &Feed, request: &ChangesRequest) -> ChangesRequest {
    let mut covered = request.covered.clone();
    for window in &feed.snapshots {
        covered.add(*window);
    }
    ChangesRequest {
        cursor: feed.cursor.clone(),
        covered,
        ..request.clone()
    }
}

/// A rule.
pub fn every(pattern: Pattern, start: Date, range: Range) -> Recurrence {
    Recurrence {
        pattern,
        start,
        range,
    }
}

/// Every so many days.
pub fn daily(interval: u32, start: Date, range: Range) -> Recurrence {
    every(Pattern::Daily { interval }, start, range)
}

/// Every week on these days.
pub fn weekly(days: &[Weekday], start: Date, range: Range) -> Recurrence {
    let pattern = Pattern::Weekly {
        interval: 1,
        days: days.to_vec(),
        first_day: Weekday::Monday,
    };
    every(pattern, start, range)
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
