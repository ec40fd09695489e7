//! A source and a sink in memory, and an engine between them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use calbridge_core::clock::{Clock, FixedClock};
use calbridge_core::connector::{
    ApplyReport, AttemptToken, CalendarSink, CalendarSource, Capabilities, Change, ChangeBatch,
    ChangeFeed, ChangesRequest, CheckReport, CheckScope, Connection, Cursor, Error, ErrorKind,
    ExternalIds, Hint, HintFeed, InventoryBounds, InventoryEntry, InventoryFeed, InventoryPage,
    InventoryRequest, Op, Outcome, Probe, Receipt, Result, Roster, Scope, Sharing, SideState,
    SinkCapabilities, SkippedEntry, SourceCapabilities, Write, WriteOutcome,
};
use calbridge_core::engine::{
    ConnectionHandle, Engine, Row, Silent, SyncConfig, SyncOptions, SyncReport,
};
use calbridge_core::model::{
    CalendarEntry, CalendarRef, Content, Event, EventKey, EventTime, Field, FieldSet, ItemRef,
    Origin, OriginalStart, ShowAs, SideRef, Window,
};
use calbridge_core::store::Store;
use calbridge_core::store::sqlite::SqliteStore;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

pub fn at(wall: &str) -> Timestamp {
    let wall: jiff::civil::DateTime = wall.replace(' ', "T").parse().unwrap();
    wall.to_zoned(TimeZone::get("Europe/Copenhagen").unwrap())
        .unwrap()
        .timestamp()
}

pub fn event(uid: &str, start: &str) -> Event {
    let start = at(start);
    let time = EventTime::timed(start, start + SignedDuration::from_hours(1), None).unwrap();
    let mut content = Content::times(time);
    content.show_as = Some(ShowAs::Busy);
    Event {
        key: EventKey::new(uid, None).unwrap(),
        item: ItemRef::new(format!("item of {uid}"), None).unwrap(),
        group: None,
        content,
        cancelled: false,
        origin: None,
    }
}

pub fn occurrence(uid: &str, original: &str, start: &str) -> Event {
    let mut event = event(uid, start);
    event.key = EventKey::new(uid, Some(OriginalStart::Instant(at(original)))).unwrap();
    event.item = ItemRef::new(format!("{uid} {original} {start}"), None).unwrap();
    event.group = Some(calbridge_core::model::GroupRef {
        id: format!("item of {uid}"),
        version: None,
    });
    event
}

fn folded(calendar: &CalendarRef) -> String {
    calendar.address.folded()
}

/// How a source answers.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// The identity of the folder.
    pub folder: Option<String>,
    /// The error of the next feeds of a calendar, before anything is read.
    pub refuse: HashMap<String, Error>,
    /// The feed breaks off after so many batches.
    pub break_after: Option<usize>,
    /// Removals are reported, as uncertain, instead of snapshots.
    pub uncertain: bool,
    /// Cursors are refused.
    pub expire: bool,
    /// Items that cannot be described, by UID.
    pub unreadable: Vec<String>,
    /// A feed takes this long.
    pub slow: Option<std::time::Duration>,
    /// Fields are reported that were not asked for.
    pub chatty: bool,
    /// Every batch of a feed claims to be a place to resume at.
    pub eager: bool,
}

#[derive(Debug, Default)]
pub struct SourceState {
    pub calendars: BTreeMap<String, Vec<Event>>,
    pub versions: HashMap<String, u64>,
    pub answers: Answers,
    pub requests: Vec<ChangesRequest>,
    pub fetched: usize,
    /// What happened, in order, over both systems.
    pub in_flight: usize,
    pub most_in_flight: usize,
}

#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    pub state: Arc<Mutex<SourceState>>,
    pub hints: Arc<Mutex<Vec<Hint>>>,
}

impl MemorySource {
    pub fn put(&self, address: &str, event: Event) {
        let mut state = self.state.lock().unwrap();
        let events = state.calendars.entry(address.to_owned()).or_default();
        events.retain(|known| known.item != event.item);
        events.push(event);
        *state.versions.entry(address.to_owned()).or_default() += 1;
    }

    pub fn remove(&self, address: &str, uid: &str) {
        let mut state = self.state.lock().unwrap();
        state
            .calendars
            .entry(address.to_owned())
            .or_default()
            .retain(|event| event.key.uid() != uid);
        *state.versions.entry(address.to_owned()).or_default() += 1;
    }

    pub fn answer(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.state.lock().unwrap().answers);
    }

    /// Which folder it reads; empty: it does not tell.
    pub fn in_folder(&self, name: &str) {
        self.answer(|answers| answers.folder = Some(name.to_owned()).filter(|n| !n.is_empty()));
    }

    pub fn requests(&self) -> Vec<ChangesRequest> {
        self.state.lock().unwrap().requests.clone()
    }
}

struct Feed {
    state: Arc<Mutex<SourceState>>,
    batches: std::vec::IntoIter<ChangeBatch>,
    given: usize,
    break_after: Option<usize>,
    slow: Option<std::time::Duration>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.state.lock().unwrap().in_flight -= 1;
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, _max: usize) -> Result<Option<ChangeBatch>> {
        if let Some(slow) = self.slow {
            tokio::time::sleep(slow).await;
        }
        if self.break_after == Some(self.given) {
            return Err(Error::new(
                ErrorKind::Transient,
                Scope::Calendar,
                "test.broken",
                "the feed broke off",
            ));
        }
        self.given += 1;
        Ok(self.batches.next())
    }
}

#[async_trait]
impl Connection for MemorySource {
    async fn check(&self, _: CheckScope) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }
}

#[async_trait]
impl CalendarSource for MemorySource {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        let mut state = self.state.lock().unwrap();
        state.requests.push(request.clone());
        let address = folded(&request.calendar);
        if let Some(error) = state.answers.refuse.get(&address) {
            return Err(error.clone());
        }
        if state.answers.expire && request.cursor.is_some() {
            return Err(Error::new(
                ErrorKind::CursorExpired,
                Scope::Calendar,
                "test.expired",
                "the cursor expired",
            ));
        }
        let version = state.versions.get(&address).copied().unwrap_or_default();
        let events = state.calendars.get(&address).cloned().unwrap_or_default();
        let known: Option<(u64, Vec<String>)> = request
            .cursor
            .as_ref()
            .and_then(|cursor| serde_json::from_str(&cursor.0).ok());
        let changed = known.as_ref().is_none_or(|(known, _)| *known != version);
        let items: Vec<String> = events.iter().map(|event| event.item.id.clone()).collect();
        let cursor = Cursor(serde_json::to_string(&(version, &items)).unwrap());
        let windows: Vec<Window> = if changed || request.full {
            vec![request.window]
        } else {
            request.covered.missing(request.window)
        };
        let mut changes = Vec::new();
        for window in &windows {
            for event in &events {
                let (start, end) = event.content.time.span_in(&TimeZone::UTC);
                if !window.overlaps(start, end) {
                    continue;
                }
                if state
                    .answers
                    .unreadable
                    .iter()
                    .any(|uid| uid == event.key.uid())
                {
                    changes.push(Change::Unreadable {
                        item: None,
                        uid: Some(event.key.uid().to_owned()),
                        error: Error::new(
                            ErrorKind::Protocol,
                            Scope::Item,
                            "test.unreadable",
                            "unreadable",
                        ),
                    });
                } else {
                    let mut event = event.clone();
                    if !state.answers.chatty {
                        let fields = FieldSet::from_iter([Field::ShowAs]);
                        event.content = event.content.only(&request.fields.union(&fields));
                    }
                    changes.push(Change::Item(event));
                }
            }
        }
        if state.answers.uncertain {
            for item in known.iter().flat_map(|(_, items)| items) {
                if !items.contains(item) {
                    changes.push(Change::Removed {
                        item: ItemRef::new(item.clone(), None).unwrap(),
                        certain: false,
                    });
                }
            }
        }
        let mut batches: Vec<ChangeBatch> = changes
            .chunks(3)
            .map(|changes| ChangeBatch {
                changes: changes.to_vec(),
                checkpoint: state.answers.eager.then(|| cursor.clone()),
                folder: state.answers.folder.clone(),
            })
            .collect();
        let listed = if state.answers.uncertain {
            Vec::new()
        } else {
            windows
        };
        batches.push(ChangeBatch {
            changes: listed
                .into_iter()
                .map(|covered| Change::Snapshot { covered })
                .collect(),
            checkpoint: Some(cursor),
            folder: state.answers.folder.clone(),
        });
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        Ok(Box::new(Feed {
            state: Arc::clone(&self.state),
            batches: batches.into_iter(),
            given: 0,
            break_after: state.answers.break_after,
            slow: state.answers.slow,
        }))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let mut state = self.state.lock().unwrap();
        state.fetched += items.len();
        let events = state
            .calendars
            .get(&folded(calendar))
            .cloned()
            .unwrap_or_default();
        Ok(items
            .iter()
            .map(|item| {
                events
                    .iter()
                    .find(|event| event.item.id == item.id)
                    .cloned()
                    .ok_or_else(|| {
                        Error::new(ErrorKind::NotFound, Scope::Item, "test.gone", "gone")
                    })
            })
            .collect())
    }

    async fn watch(&self, _: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        Ok(Box::new(Hints(Arc::clone(&self.hints))))
    }
}

struct Hints(Arc<Mutex<Vec<Hint>>>);

#[async_trait]
impl HintFeed for Hints {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        loop {
            let hints = std::mem::take(&mut *self.0.lock().unwrap());
            if !hints.is_empty() {
                return Ok(hints);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    async fn set(&mut self, _: &[CalendarRef]) -> Result<()> {
        Ok(())
    }
}

/// How a sink answers.
#[derive(Debug, Clone, Default)]
pub struct SinkAnswers {
    /// Every call fails, nothing is processed.
    pub outage: Option<Error>,
    /// Writes are processed, and no outcome is told.
    pub silent: bool,
    /// Outcomes for some ids.
    pub scripted: HashMap<String, Outcome>,
    /// Inventories of these calendars fail.
    pub unlisted: Vec<String>,
    /// A call takes this long.
    pub slow: Option<std::time::Duration>,
    pub panic_for: Option<String>,
    pub whole_minutes: bool,
    pub refuse_batch_with: Option<String>,
    pub wants_base: bool,
    pub inventory_down: bool,
    pub inventory_breaks_with: Option<String>,
    pub origin: Option<Origin>,
    /// Come with every outcome.
    pub notices: Vec<String>,
    /// A call with this write in it is never answered, and the connector says so.
    pub times_out_with: Option<String>,
    /// Every call with writes is refused so.
    pub refuse_apply: Option<Error>,
    /// Answers do not fit what was asked.
    pub strange: bool,
    /// Writes are taken, and done by [`MemorySink::work_off`].
    pub accepts: bool,
    /// What a probe answers, whatever the token; else that nobody can tell.
    pub probe: Option<Probe>,
}

#[derive(Debug, Default)]
pub struct SinkState {
    pub batches: Vec<Vec<String>>,
    pub roster: Vec<String>,
    /// Listed more than once, and so of no use.
    pub doubles: Vec<String>,
    /// The calendars of every inventory that was asked for.
    pub listed: Vec<String>,
    pub records: BTreeMap<(String, String), Content>,
    pub answers: SinkAnswers,
    /// `op id` of every write that arrived.
    pub writes: Vec<String>,
    /// Calls that were begun, and those that were answered.
    pub arrived: usize,
    pub calls: usize,
    pub inventories: usize,
    pub rosters: usize,
    /// Taken and not done yet.
    pub pending: Vec<(String, Write)>,
    /// The attempts' names of every write that arrived.
    pub tokens: Vec<AttemptToken>,
    pub probes: usize,
}

#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    pub state: Arc<Mutex<SinkState>>,
}

impl MemorySink {
    pub fn answer(&self, change: impl FnOnce(&mut SinkAnswers)) {
        change(&mut self.state.lock().unwrap().answers);
    }

    pub fn put(&self, address: &str, id: &str, event: &Event) {
        self.state.lock().unwrap().records.insert(
            (address.to_owned(), id.to_owned()),
            Content::times(event.content.time.clone()),
        );
    }

    /// Does what was taken.
    pub fn work_off(&self) {
        let mut state = self.state.lock().unwrap();
        for (address, write) in std::mem::take(&mut state.pending) {
            let key = (address, write.remote.unwrap().id);
            match write.target {
                Some(target) => state.records.insert(key, target),
                None => state.records.remove(&key),
            };
        }
    }

    /// The ids that are there, with their start, as text.
    pub fn records(&self) -> Vec<String> {
        self.state
            .lock()
            .unwrap()
            .records
            .iter()
            .map(|((address, id), content)| {
                let (start, _) = content.time.span_in(&TimeZone::UTC);
                format!("{address} {id} {start}")
            })
            .collect()
    }

    pub fn ids(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.records.keys().map(|(_, id)| id.clone()).collect()
    }

    /// The writes since the last look.
    pub fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }
}

#[async_trait]
impl Connection for MemorySink {
    async fn check(&self, _: CheckScope) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }

    async fn roster(&self) -> Result<Roster> {
        let mut state = self.state.lock().unwrap();
        state.rosters += 1;
        if let Some(error) = &state.answers.outage {
            return Err(error.clone());
        }
        Ok(Roster {
            entries: state
                .roster
                .iter()
                .map(|address| CalendarEntry {
                    calendar: CalendarRef::primary(address).unwrap(),
                    kind: calbridge_core::model::CalendarKind::Person,
                })
                .collect(),
            skipped: state
                .doubles
                .iter()
                .map(|address| SkippedEntry {
                    address: address.clone(),
                    code: "3201".to_owned(),
                    reason: "listed more than once".to_owned(),
                })
                .collect(),
        })
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        Some(self)
    }
}

#[async_trait]
impl CalendarSink for MemorySink {
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let slow = {
            let mut state = self.state.lock().unwrap();
            state.arrived += 1;
            state.answers.slow
        };
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        if let Some(error) = &state.answers.outage {
            return Err(error.clone());
        }
        if let Some(error) = &state.answers.refuse_apply {
            return Err(error.clone());
        }
        let answers = state.answers.clone();
        let mut report = ApplyReport::default();
        state.batches.push(
            writes
                .iter()
                .map(|w| w.remote.as_ref().unwrap().id.clone())
                .collect(),
        );
        if answers.panic_for.as_deref() == Some(&folded(calendar)) {
            drop(state);
            panic!("a connector panics");
        }
        if let Some(bad) = &answers.refuse_batch_with
            && writes.iter().any(|w| w.remote.as_ref().unwrap().id == *bad)
        {
            return Err(Error::new(
                ErrorKind::Rejected,
                Scope::Item,
                "test.batch",
                "refused",
            ));
        }
        if let Some(bad) = &answers.times_out_with
            && writes.iter().any(|w| w.remote.as_ref().unwrap().id == *bad)
        {
            for write in writes {
                let id = &write.remote.as_ref().unwrap().id;
                state
                    .writes
                    .push(format!("{:?} {id}", write.op).to_lowercase());
            }
            let mut trouble = outage();
            trouble.scope = Scope::Calendar;
            report.trouble = Some(trouble);
            return Ok(report);
        }
        for write in writes {
            let remote = write.remote.clone().unwrap();
            let id = remote.id.clone();
            state
                .writes
                .push(format!("{:?} {id}", write.op).to_lowercase());
            let key = (folded(calendar), id.clone());
            let there = state.records.contains_key(&key);
            state.tokens.push(write.token.clone());
            if answers.accepts {
                state.pending.push((folded(calendar), write.clone()));
                report.outcomes.push(WriteOutcome {
                    id: write.id,
                    outcome: Outcome::Accepted {
                        ticket: "ticket".to_owned(),
                    },
                    receipt: None,
                    notices: Vec::new(),
                });
                continue;
            }
            let outcome = if let Some(outcome) = answers.scripted.get(&id) {
                outcome.clone()
            } else {
                match (write.op, there) {
                    (Op::Create, true) => Outcome::Conflict {
                        theirs: SideState::Present {
                            remote: remote.clone(),
                            content: None,
                        },
                    },
                    (Op::Update, false) => Outcome::Conflict {
                        theirs: SideState::Absent,
                    },
                    (Op::Delete, _) if answers.wants_base && write.base.is_none() => {
                        Outcome::Rejected {
                            code: "planner.times".to_owned(),
                            message: String::new(),
                        }
                    }
                    (Op::Delete, _) => {
                        assert!(write.base.is_some() || !there, "a delete without its base");
                        state.records.remove(&key);
                        Outcome::Done {
                            remote: None,
                            stored: None,
                        }
                    }
                    _ => {
                        let mut stored = write.target.clone().unwrap();
                        if answers.whole_minutes {
                            let (start, end) = stored.time.span_in(&TimeZone::UTC);
                            let cut = |t: Timestamp| {
                                Timestamp::from_second(t.as_second() / 60 * 60).unwrap()
                            };
                            stored.time = EventTime::timed(cut(start), cut(end), None).unwrap();
                        }
                        state.records.insert(key, stored);
                        Outcome::Done {
                            remote: Some(remote),
                            stored: None,
                        }
                    }
                }
            };
            report.outcomes.push(WriteOutcome {
                id: write.id,
                outcome,
                receipt: Some(0),
                notices: answers.notices.clone(),
            });
        }
        report.receipts.push(Receipt {
            operation: "Apply".to_owned(),
            reference: Some("b6a7a5a2".to_owned()),
            started: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            events: writes.len(),
            error: None,
        });
        if answers.strange {
            // The first answer is lost, one comes for a write that was never sent, and the receipts are elsewhere.
            report.outcomes.remove(0);
            for outcome in &mut report.outcomes {
                outcome.receipt = Some(7);
            }
            report.outcomes.push(WriteOutcome {
                id: calbridge_core::connector::WriteId(4711),
                outcome: Outcome::Foreign,
                receipt: Some(9),
                notices: Vec::new(),
            });
        }
        if answers.silent {
            report.outcomes.clear();
        }
        Ok(report)
    }

    async fn probe(&self, _: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        let mut state = self.state.lock().unwrap();
        state.probes += 1;
        let answer = state.answers.probe.clone().unwrap_or(Probe::Undecidable);
        Ok(vec![answer; tokens.len()])
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        let mut state = self.state.lock().unwrap();
        state.inventories += 1;
        let asked = request.calendars.iter().map(folded);
        state.listed.extend(asked);
        if let Some(bad) = &state.answers.inventory_breaks_with
            && request.calendars.iter().any(|c| folded(c) == *bad)
        {
            return Err(Error::new(
                ErrorKind::Protocol,
                Scope::Calendar,
                "test.answer",
                "bad answer",
            ));
        }
        if state.answers.inventory_down {
            let mut error = outage();
            error.scope = Scope::Calendar;
            return Err(error);
        }
        if let Some(error) = &state.answers.outage {
            return Err(error.clone());
        }
        let mut page = InventoryPage::default();
        for calendar in &request.calendars {
            if state.answers.unlisted.contains(&folded(calendar)) {
                let error = Error::new(
                    ErrorKind::Transient,
                    Scope::Calendar,
                    "test.unlisted",
                    "not now",
                );
                page.failed.push((calendar.clone(), error));
                continue;
            }
            for ((address, id), content) in &state.records {
                let (start, _) = content.time.span_in(&TimeZone::UTC);
                if *address == folded(calendar) && request.window.contains(start) {
                    page.entries.push(InventoryEntry {
                        calendar: calendar.clone(),
                        remote: SideRef::new(id.clone()).unwrap(),
                        content: Some(content.clone()),
                        key: None,
                        origin: state.answers.origin.clone(),
                    });
                }
            }
            page.complete.push(calendar.clone());
        }
        Ok(Box::new(OnePage(Some(page))))
    }
}

struct OnePage(Option<InventoryPage>);

#[async_trait]
impl InventoryFeed for OnePage {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        Ok(self.0.take())
    }
}

pub fn source_capabilities() -> Capabilities {
    Capabilities {
        roster: false,
        source: Some(SourceCapabilities {
            incremental: true,
            deletions: true,
            watch: false,
            own_write_delay_ms: 0,
            fields: [Field::Time, Field::ShowAs, Field::Subject]
                .into_iter()
                .collect(),
            max_in_flight: 2,
        }),
        sink: None,
    }
}

pub fn sink_capabilities() -> Capabilities {
    Capabilities {
        roster: true,
        source: None,
        sink: Some(SinkCapabilities {
            conditional_write: false,
            idempotent_upsert: true,
            inventory: Some(InventoryBounds::StartsIn),
            probe: false,
            sharing: Sharing::Exclusive,
            external_ids: ExternalIds::Chosen {
                separator: "$".to_owned(),
                zone: "Europe/Copenhagen".to_owned(),
                format: "%Y%m%d-%H%M%S".to_owned(),
            },
            wall_clock: Some("Europe/Copenhagen".to_owned()),
            fields: FieldSet::times(),
            max_batch: 4,
            max_in_flight: 2,
            own_write_delay_ms: 0,
        }),
    }
}

pub fn sync_config() -> SyncConfig {
    serde_json::from_value(serde_json::json!({
        "name": "jobcenter",
        "source": "exchange",
        "sink": "planner",
    }))
    .unwrap()
}

/// Two systems, a clock, a store and an engine.
pub struct World {
    pub source: MemorySource,
    pub sink: MemorySink,
    pub clock: Arc<FixedClock>,
    pub store: Arc<dyn Store>,
    pub engine: Engine,
    pub shutdown: CancellationToken,
}

impl World {
    pub async fn new(addresses: &[&str]) -> Self {
        Self::with(addresses, sync_config(), source_capabilities()).await
    }

    pub async fn with(addresses: &[&str], sync: SyncConfig, reads: Capabilities) -> Self {
        let clock = Arc::new(FixedClock::new(at("2026-11-23 08:00")));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let source = MemorySource::default();
        let sink = MemorySink::default();
        sink.state.lock().unwrap().roster = addresses.iter().map(|a| (*a).to_owned()).collect();
        let engine = engine(&store, &clock, &source, &sink, sync, reads).await;
        Self {
            source,
            sink,
            clock,
            store,
            engine,
            shutdown: CancellationToken::new(),
        }
    }

    /// The program starts again with the same store.
    pub async fn restart(&mut self, sync: SyncConfig) {
        self.engine = engine(
            &self.store,
            &self.clock,
            &self.source,
            &self.sink,
            sync,
            source_capabilities(),
        )
        .await;
    }

    /// The same, with a sink that can do other things.
    pub async fn sink_that(mut self, can: impl FnOnce(&mut SinkCapabilities)) -> Self {
        let mut writes = sink_capabilities();
        can(writes.sink.as_mut().unwrap());
        self.engine = engine_of(
            &self.store,
            &self.clock,
            (&self.source, source_capabilities()),
            (&self.sink, writes),
            sync_config(),
        )
        .await;
        self
    }

    /// The rows of a calendar.
    pub async fn rows(&self, address: &str) -> Vec<Row> {
        let states = self.store.calendars("jobcenter").await.unwrap();
        let state = states
            .iter()
            .find(|state| state.calendar.address.folded() == address)
            .unwrap();
        let rows = self.store.rows("jobcenter", "exchange", state.id).await;
        rows.unwrap().rows
    }

    /// An engine with a second sink and sync besides.
    pub async fn with_sink(
        &self,
        name: &str,
        sink: &MemorySink,
        writes: Capabilities,
        sync: SyncConfig,
    ) -> Engine {
        let fence = self.store.acquire("test", self.clock.now()).await.unwrap();
        let handle = |name: &str, capabilities, connection: Arc<dyn Connection>| {
            Arc::new(ConnectionHandle::new(
                name,
                "memory 1",
                capabilities,
                connection,
            ))
        };
        Engine::new(
            Arc::clone(&self.store),
            fence,
            self.clock.clone(),
            [
                handle(
                    "exchange",
                    source_capabilities(),
                    Arc::new(self.source.clone()),
                ),
                handle("planner", sink_capabilities(), Arc::new(self.sink.clone())),
                handle(name, writes, Arc::new(sink.clone())),
            ],
            vec![sync_config(), sync],
        )
        .unwrap()
    }

    pub async fn sync(&self) -> SyncReport {
        self.sync_with(SyncOptions::default()).await
    }

    pub async fn sync_with(&self, options: SyncOptions) -> SyncReport {
        let sync = &self.engine.syncs()[0];
        self.engine
            .sync_once(sync, &options, &self.shutdown, &Silent)
            .await
            .unwrap()
    }

    /// Syncs, and nothing must have gone wrong.
    pub async fn sync_well(&self) -> SyncReport {
        let report = self.sync().await;
        for calendar in &report.calendars {
            assert_eq!(calendar.failed, None);
        }
        report
    }

    pub fn forward(&self, hours: i64) {
        self.clock
            .set(self.clock.now() + SignedDuration::from_hours(hours));
    }
}

async fn engine(
    store: &Arc<dyn Store>,
    clock: &Arc<FixedClock>,
    source: &MemorySource,
    sink: &MemorySink,
    sync: SyncConfig,
    reads: Capabilities,
) -> Engine {
    engine_of(
        store,
        clock,
        (source, reads),
        (sink, sink_capabilities()),
        sync,
    )
    .await
}

/// An engine between these two, with what they can do.
pub async fn engine_of(
    store: &Arc<dyn Store>,
    clock: &Arc<FixedClock>,
    (source, reads): (&MemorySource, Capabilities),
    (sink, writes): (&MemorySink, Capabilities),
    sync: SyncConfig,
) -> Engine {
    let fence = store.acquire("test", clock.now()).await.unwrap();
    let clock: Arc<dyn Clock> = clock.clone();
    Engine::new(
        Arc::clone(store),
        fence,
        clock,
        [
            Arc::new(ConnectionHandle::new(
                "exchange",
                "memory 1",
                reads,
                Arc::new(source.clone()),
            )),
            Arc::new(ConnectionHandle::new(
                "planner",
                "memory 1",
                writes,
                Arc::new(sink.clone()),
            )),
        ],
        vec![sync],
    )
    .unwrap()
}

pub fn outage() -> Error {
    Error::new(
        ErrorKind::Transient,
        Scope::Connection,
        "6901",
        "the other side cannot be reached",
    )
}
