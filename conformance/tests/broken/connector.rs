//! A calendar system in memory, its connector, and its world. The connector does all that the kit asks for, unless its
//! setting `fault` names something that it does wrongly.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use calbridge_conformance::{Appointment, Cannot, Refused, World};
use calbridge_core::connector::{
    ApplyReport, AttemptToken, CalendarSink, CalendarSource, Capabilities, Change, ChangeBatch,
    ChangeFeed, ChangesRequest, CheckReport, CheckScope, Connection, Connector, Context, Cursor,
    Error, ErrorKind, ExternalIds, Hint, HintFeed, InventoryBounds, InventoryEntry, InventoryFeed,
    InventoryPage, InventoryRequest, Op, Outcome, Probe, Result, Roster, Scope, Severity, Sharing,
    SideState, SinkCapabilities, SourceCapabilities, Write, WriteId, WriteOutcome,
};
use calbridge_core::model::{
    CalendarEntry, CalendarKind, CalendarRef, Content, Event, EventKey, EventTime, Field, FieldSet,
    GroupRef, ItemRef, OriginalStart, ShowAs, SideRef, Window,
};
use calbridge_core::secret::SecretRef;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

const PASSWORD: &str = "sesame-4711";
const ANNA: &str = "anna@kit.example";
const BO: &str = "bo@kit.example";

/// Settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which system in memory.
    system: String,
    /// The password.
    password: SecretRef,
    /// The client certificate's holder; the system knows only its own.
    #[serde(default = "known_holder")]
    certificate: String,
    /// What it does wrongly.
    #[serde(default)]
    fault: String,
}

fn known_holder() -> String {
    "kit".to_owned()
}

static SYSTEMS: LazyLock<Mutex<HashMap<String, Arc<System>>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Calendar {
    items: BTreeMap<String, Appointment>,
    /// The names of what changed, in order: a cursor is a position here.
    changed: Vec<String>,
    records: BTreeMap<String, Record>,
}

struct Record {
    key: EventKey,
    content: Content,
    version: u64,
    token: AttemptToken,
}

#[derive(Default)]
struct State {
    calendars: BTreeMap<String, Calendar>,
    throttled: bool,
    failing: bool,
    refused: Option<EventTime>,
}

/// A system.
pub struct System {
    state: Mutex<State>,
    changes: tokio::sync::watch::Sender<u64>,
}

pub struct Memory;

impl Connector for Memory {
    const ID: &'static str = "memory";
    const VERSION: &'static str = "1";
    const TITLE: &'static str = "A calendar system in memory";
    type Settings = Settings;

    fn capabilities() -> Capabilities {
        let fields = FieldSet::from_iter([Field::Time, Field::Subject, Field::Private]);
        Capabilities {
            roster: true,
            source: Some(SourceCapabilities {
                incremental: true,
                deletions: true,
                watch: true,
                own_write_delay_ms: 0,
                fields: fields.clone(),
                max_in_flight: 4,
            }),
            sink: Some(SinkCapabilities {
                conditional_write: true,
                idempotent_upsert: true,
                inventory: Some(InventoryBounds::Overlaps),
                probe: true,
                sharing: Sharing::Exclusive,
                external_ids: ExternalIds::Sink,
                wall_clock: None,
                fields,
                max_batch: 100,
                max_in_flight: 4,
                own_write_delay_ms: 0,
            }),
        }
    }

    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        if settings.fault == "does network in open" {
            reach(&settings)?;
        }
        if settings.fault == "logs secrets" {
            tracing::debug!(
                password = context.secret(&settings.password)?.expose_secret(),
                "opened"
            );
        }
        if settings.fault == "puts secrets into spans" {
            let password = context.secret(&settings.password)?;
            drop(tracing::debug_span!("opening", password = password.expose_secret()).entered());
        }
        if settings.fault == "tells spans secrets later" {
            let span = tracing::debug_span!("opening", password = tracing::field::Empty);
            span.record(
                "password",
                context.secret(&settings.password)?.expose_secret(),
            );
        }
        Ok(Arc::new(Side { settings, context }))
    }
}

calbridge_core::export_connector!(Memory);

struct Side {
    settings: Settings,
    context: Context,
}

fn error(kind: ErrorKind, scope: Scope, message: &str) -> Error {
    Error::new(kind, scope, "memory", message)
}

fn reach(settings: &Settings) -> Result<Arc<System>> {
    let systems = SYSTEMS.lock().unwrap();
    systems
        .get(&settings.system)
        .cloned()
        .ok_or_else(|| error(ErrorKind::Transient, Scope::Connection, "out of reach"))
}

impl Side {
    fn does(&self, fault: &str) -> bool {
        self.settings.fault == fault
    }

    /// What can go wrong in any call: an error that says too much, something that is kept for good.
    fn slips(&self, call: &str) -> Result<()> {
        if self.does(&format!("tells secrets in errors of {call}")) {
            let password = self.context.secret(&self.settings.password)?;
            let message = format!("{} does not fit", password.expose_secret());
            return Err(error(ErrorKind::Protocol, Scope::Connection, &message));
        }
        if self.does(&format!("tells titles in errors of {call}")) {
            let system = self.system()?;
            let state = system.state.lock().unwrap();
            let mut items = state.calendars.values().flat_map(|one| one.items.values());
            let message = items.next().map_or("", |one| one.subject.as_str());
            return Err(error(ErrorKind::Protocol, Scope::Connection, message));
        }
        if self.does(&format!("leaks memory in {call}")) {
            std::mem::forget(vec![1_u8; 64 * 1024]);
        }
        if self.does(&format!("leaks handles in {call}")) {
            std::mem::forget(std::fs::File::open(std::env::current_exe().unwrap()));
        }
        Ok(())
    }

    fn system(&self) -> Result<Arc<System>> {
        let system = reach(&self.settings)?;
        if self
            .context
            .secret(&self.settings.password)?
            .expose_secret()
            != PASSWORD
        {
            let kind = if self.does("calls a wrong password transient") {
                ErrorKind::Transient
            } else {
                ErrorKind::Auth
            };
            return Err(error(kind, Scope::Connection, "the password is refused"));
        }
        // A server that ends the handshake looks much like a network that fails.
        if self.settings.certificate != known_holder() && !self.does("works with any certificate") {
            let passes = self.does("takes a refused certificate for a passing fault");
            let kind = if passes {
                ErrorKind::Transient
            } else {
                ErrorKind::Auth
            };
            let message = "the client certificate is refused";
            return Err(error(kind, Scope::Connection, message));
        }
        if system.state.lock().unwrap().throttled {
            let kind = if self.does("calls throttling transient") {
                ErrorKind::Transient
            } else {
                ErrorKind::Throttled
            };
            return Err(error(kind, Scope::Connection, "slow down"));
        }
        Ok(system)
    }

    /// Does something with a calendar.
    fn with<T>(&self, calendar: &CalendarRef, work: impl FnOnce(&mut Calendar) -> T) -> Result<T> {
        let system = self.system()?;
        let mut state = system.state.lock().unwrap();
        let address = calendar.address.folded();
        let address = if self.does("mixes calendars") {
            ANNA.to_owned()
        } else {
            address
        };
        if self.does("takes a missing calendar for an empty one") {
            state.calendars.entry(address.clone()).or_default();
        }
        match state.calendars.get_mut(&address) {
            Some(found) => Ok(work(found)),
            None => {
                let message = if self.does("puts addresses into errors") {
                    format!("there is no {address}")
                } else {
                    "there is no such calendar".to_owned()
                };
                Err(error(ErrorKind::NotFound, Scope::Calendar, &message))
            }
        }
    }

    fn events(&self, one: &Appointment, fields: &FieldSet) -> Vec<Event> {
        let event = |time: &EventTime, original: Option<OriginalStart>| {
            let asked = |field| fields.contains(field) || self.does("tells more than was asked");
            let uid = if self.does("makes new keys each time") {
                format!("{}-{:?}", one.name, std::time::Instant::now())
            } else {
                one.name.clone()
            };
            let mut content = Content::times(time.clone());
            content.show_as = (!self.does("does not tell free or busy")).then_some(ShowAs::Busy);
            content.subject = asked(Field::Subject).then(|| one.subject.clone());
            if self.does("lies about fields") {
                content.subject = None;
            }
            content.private = asked(Field::Private).then_some(one.private);
            Event {
                key: EventKey::new(&uid, original).unwrap(),
                item: ItemRef::new(&one.name, None).unwrap(),
                group: one.daily.as_ref().map(|_| GroupRef {
                    id: one.name.clone(),
                    version: None,
                }),
                content,
                cancelled: false,
                origin: None,
            }
        };
        let (Some(daily), EventTime::Timed { start, end, .. }) = (&one.daily, &one.time) else {
            return vec![event(&one.time, None)];
        };
        (0..daily.count)
            .filter(|n| daily.cancelled != Some(*n))
            .map(|n| {
                let day = |at: &Timestamp| *at + (i64::from(n) * 24).hours();
                let time = EventTime::timed(day(start), day(end), None).unwrap();
                let original = OriginalStart::Instant(day(start));
                match &daily.moved {
                    Some((moved, to)) if *moved == n => event(to, Some(original)),
                    _ => event(&time, Some(original)),
                }
            })
            .collect()
    }
}

fn overlaps(window: Window, event: &Event) -> bool {
    let (start, end) = event.content.time.span_in(&TimeZone::UTC);
    window.overlaps(start, end)
}

#[async_trait]
impl Connection for Side {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        for calendar in &scope.calendars {
            match self.with(calendar, |_| ()) {
                Ok(()) => report.push("calendar", Severity::Passed, "it is there"),
                Err(error) if self.does("finds nothing wrong") => {
                    let _ = error;
                    report.push("calendar", Severity::Passed, "fine");
                }
                Err(error) => report.push("calendar", Severity::Failed, error.message),
            }
        }
        Ok(report)
    }

    async fn roster(&self) -> Result<Roster> {
        self.slips("roster")?;
        let system = self.system()?;
        let state = system.state.lock().unwrap();
        let mut roster = Roster::default();
        for address in state.calendars.keys() {
            for _ in 0..(if self.does("lists people twice") {
                2
            } else {
                1
            }) {
                roster.entries.push(CalendarEntry {
                    calendar: CalendarRef::primary(address).unwrap(),
                    kind: CalendarKind::Person,
                });
            }
        }
        Ok(roster)
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        Some(self)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.does("does not close") {
            std::thread::sleep(Duration::from_secs(11));
        }
    }
}

#[async_trait]
impl CalendarSource for Side {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        if self.does("hangs") {
            std::future::pending::<()>().await;
        }
        if self.does("blocks") {
            std::thread::sleep(Duration::from_secs(4));
        }
        assert!(!self.does("panics"), "asked to panic");
        if self.does("leaks") {
            std::mem::forget(vec![1_u8; 1024 * 1024]);
        }
        let since = match &request.cursor {
            Some(_) if self.does("does not read on") => None,
            Some(Cursor(text)) => match text.strip_prefix("at ").map(str::parse) {
                Some(Ok(at)) => Some(at),
                _ if self.does("takes any cursor") => Some(usize::MAX),
                _ => {
                    return Err(error(
                        ErrorKind::CursorExpired,
                        Scope::Calendar,
                        "no cursor of mine",
                    ));
                }
            },
            None => None,
        };
        let covered =
            request.covered.covers(request.window) || self.does("forgets that the window rolls");
        let whole = since.is_none() || request.full || !covered;
        let (mut changes, at) = self.with(&request.calendar, |calendar| {
            let at = calendar.changed.len();
            if since.is_some_and(|since| since > at && since != usize::MAX) {
                return Err(error(ErrorKind::CursorExpired, Scope::Calendar, "not yet"));
            }
            let names: Vec<String> = if whole {
                calendar.items.keys().cloned().collect()
            } else {
                calendar
                    .changed
                    .iter()
                    .skip(since.unwrap_or_default())
                    .cloned()
                    .collect()
            };
            let mut changes = Vec::new();
            for name in names {
                let item = ItemRef::new(&name, None).unwrap();
                // What was told of it before is void.
                if !whole && !self.does("loses deletes") {
                    changes.push(Change::Removed {
                        item,
                        certain: true,
                    });
                }
                let Some(one) = calendar.items.get(&name) else {
                    continue;
                };
                changes.extend(
                    self.events(one, &request.fields)
                        .into_iter()
                        .filter(|event| overlaps(request.window, event))
                        .map(Change::Item),
                );
            }
            Ok((changes, at))
        })??;
        let mut broken = self.system()?.state.lock().unwrap().failing && whole;
        if broken && self.does("takes half a list for a whole one") {
            changes.truncate(changes.len() / 2);
            broken = false;
        }
        if whole {
            changes.push(Change::Snapshot {
                covered: request.window,
            });
        }
        if self.does("logs titles") {
            for change in &changes {
                if let Change::Item(event) = change {
                    tracing::info!(subject = event.content.subject, "told");
                }
            }
        }
        if self.does("puts titles into spans") {
            for change in &changes {
                if let Change::Item(event) = change {
                    drop(tracing::info_span!("told", subject = event.content.subject).entered());
                }
            }
        }
        Ok(Box::new(Feed {
            fails_after: broken.then_some(changes.len() / 2),
            changes: changes.into_iter(),
            cursor: Some(match request.cursor {
                Some(given) if self.does("repeats cursors") => given,
                _ => Cursor(format!("at {at}")),
            }),
            ignores_max: self.does("ignores max"),
            early: self.does("gives the cursor too early"),
        }))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        self.slips("fetch")?;
        let fields = Memory::capabilities().source.unwrap().fields;
        let mut found = self.with(calendar, |calendar| {
            items
                .iter()
                .map(|item| match calendar.items.get(&item.id) {
                    Some(one) => Ok(self.events(one, &fields).remove(0)),
                    None => Err(error(ErrorKind::NotFound, Scope::Item, "gone")),
                })
                .collect::<Vec<_>>()
        })?;
        if self.does("answers out of order") {
            found.reverse();
        }
        Ok(found)
    }

    async fn watch(&self, calendars: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        self.slips("watch")?;
        Ok(Box::new(Hints {
            calendars: calendars.to_vec(),
            changes: self.system()?.changes.subscribe(),
            deaf: self.does("gives no hints"),
        }))
    }
}

struct Hints {
    calendars: Vec<CalendarRef>,
    changes: tokio::sync::watch::Receiver<u64>,
    deaf: bool,
}

#[async_trait]
impl HintFeed for Hints {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        if self.deaf || self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(self.calendars.iter().cloned().map(Hint::Dirty).collect())
    }

    async fn set(&mut self, calendars: &[CalendarRef]) -> Result<()> {
        self.calendars = calendars.to_vec();
        Ok(())
    }
}

struct Feed {
    changes: std::vec::IntoIter<Change>,
    cursor: Option<Cursor>,
    fails_after: Option<usize>,
    ignores_max: bool,
    early: bool,
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        if self
            .fails_after
            .is_some_and(|after| self.changes.len() <= after)
        {
            return Err(error(ErrorKind::Transient, Scope::Calendar, "broke off"));
        }
        let max = if self.ignores_max { usize::MAX } else { max };
        let changes: Vec<Change> = self.changes.by_ref().take(max).collect();
        let last = self.changes.len() == 0;
        if changes.is_empty() && self.cursor.is_none() {
            return Ok(None);
        }
        let checkpoint = if self.early {
            self.cursor.clone()
        } else {
            self.cursor.clone().filter(|_| last)
        };
        if last {
            self.cursor = None;
        }
        Ok(Some(ChangeBatch {
            changes,
            checkpoint,
            folder: None,
        }))
    }
}

impl Side {
    fn carry_out(
        &self,
        calendar: &mut Calendar,
        write: &Write,
        refused: Option<&EventTime>,
    ) -> Outcome {
        let target = write.target.clone();
        if target
            .as_ref()
            .is_some_and(|target| Some(&target.time) == refused)
        {
            return Outcome::Rejected {
                code: "no".to_owned(),
                message: "refused".to_owned(),
            };
        }
        let id = match &write.remote {
            Some(remote) => remote.id.clone(),
            None if self.does("doubles what is repeated") => {
                format!("{}-{}", write.token.0, calendar.records.len())
            }
            None => write.token.0.clone(),
        };
        let remote = |id: &str, version: u64| SideRef {
            id: id.to_owned(),
            assigned: None,
            version: Some(version.to_string()),
        };
        let seen = write
            .remote
            .as_ref()
            .and_then(|remote| remote.version.clone());
        let known = calendar
            .records
            .get(&id)
            .map(|record| (record.version, record.content.clone()));
        if let (Some((version, content)), Some(seen)) = (&known, seen)
            && seen != version.to_string()
            && !self.does("ignores versions")
        {
            return Outcome::Conflict {
                theirs: SideState::Present {
                    remote: remote(&id, *version),
                    content: Some(content.clone()),
                },
            };
        }
        match (write.op, known, target) {
            (Op::Delete, _, _) => {
                calendar.records.remove(&id);
                Outcome::Done {
                    remote: None,
                    stored: None,
                }
            }
            (Op::Update, None, _) if self.does("calls an update of nothing unchanged") => {
                Outcome::Unchanged
            }
            (Op::Update, None, _) => Outcome::Conflict {
                theirs: SideState::Absent,
            },
            (_, known, Some(mut content)) => {
                let version = known.map_or(1, |(version, _)| version + 1);
                if self.does("shifts what it stores") {
                    content.time = EventTime::timed(
                        content.time.span_in(&TimeZone::UTC).0 + 1.hour(),
                        content.time.span_in(&TimeZone::UTC).1 + 1.hour(),
                        None,
                    )
                    .unwrap();
                }
                let told = remote(&id, version);
                if !self.does("says done and does nothing") {
                    calendar.records.insert(
                        id,
                        Record {
                            key: write.key.clone(),
                            content,
                            version,
                            token: write.token.clone(),
                        },
                    );
                }
                Outcome::Done {
                    remote: Some(told),
                    stored: None,
                }
            }
            _ => Outcome::Rejected {
                code: "no".to_owned(),
                message: "no target".to_owned(),
            },
        }
    }
}

#[async_trait]
impl CalendarSink for Side {
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        self.slips("apply")?;
        let refused = self.system()?.state.lock().unwrap().refused.clone();
        if refused.is_some() && self.does("gives up a batch for one bad write") {
            return Err(error(
                ErrorKind::Transient,
                Scope::Calendar,
                "something is wrong",
            ));
        }
        self.with(calendar, |calendar| {
            let outcomes = writes
                .iter()
                .enumerate()
                .map(|(n, write)| WriteOutcome {
                    id: if self.does("numbers outcomes by position") {
                        WriteId(n as u64)
                    } else {
                        write.id
                    },
                    outcome: self.carry_out(calendar, write, refused.as_ref()),
                    receipt: None,
                    notices: Vec::new(),
                })
                .collect();
            ApplyReport {
                outcomes,
                receipts: Vec::new(),
                trouble: None,
            }
        })
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        self.slips("inventory")?;
        let mut pages = Vec::new();
        let failing = self.system()?.state.lock().unwrap().failing;
        for of in request.calendars {
            let mut page = self.with(&of, |calendar| InventoryPage {
                entries: calendar
                    .records
                    .iter()
                    .filter(|(_, record)| {
                        let (start, end) = record.content.time.span_in(&TimeZone::UTC);
                        request.window.overlaps(start, end) || self.does("lists without a window")
                    })
                    .map(|(id, record)| InventoryEntry {
                        calendar: of.clone(),
                        remote: SideRef {
                            id: id.clone(),
                            assigned: None,
                            version: Some(record.version.to_string()),
                        },
                        content: Some(record.content.clone()),
                        key: Some(record.key.clone()),
                        origin: None,
                    })
                    .collect(),
                complete: if self.does("never says complete") {
                    Vec::new()
                } else {
                    vec![of.clone()]
                },
                failed: Vec::new(),
            })?;
            if failing {
                page.entries.truncate(page.entries.len() / 2);
                if !self.does("takes half an inventory for a whole one") {
                    page.complete.clear();
                    let half = error(ErrorKind::Transient, Scope::Calendar, "half a list came");
                    page.failed.push((of, half));
                }
            }
            pages.push(page);
        }
        Ok(Box::new(Pages(pages.into_iter())))
    }

    async fn probe(&self, calendar: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        self.slips("probe")?;
        self.with(calendar, |calendar| {
            let find = |token: &AttemptToken| {
                calendar
                    .records
                    .iter()
                    .find(|(_, record)| record.token == *token)
            };
            tokens
                .iter()
                .map(|token| match find(token) {
                    Some((id, _)) if !self.does("finds nothing again") => Probe::Found {
                        remote: SideRef::new(id).unwrap(),
                        content: None,
                    },
                    _ => Probe::Absent,
                })
                .collect()
        })
    }
}

struct Pages(std::vec::IntoIter<InventoryPage>);

#[async_trait]
impl InventoryFeed for Pages {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        Ok(self.0.next())
    }
}

/// The world of a system in memory whose connector has this fault.
pub struct MemoryWorld {
    name: String,
    fault: &'static str,
    system: Arc<System>,
}

impl MemoryWorld {
    pub fn new(fault: &'static str) -> Self {
        Self::named("", fault, fault)
    }

    /// One of several worlds for the same fault; its own connector may have another one, or none.
    pub fn named(side: &str, about: &str, fault: &'static str) -> Self {
        let system = Arc::new(System {
            state: Mutex::default(),
            changes: tokio::sync::watch::Sender::new(0),
        });
        let name = format!("system {side} of a connector that {about}");
        SYSTEMS
            .lock()
            .unwrap()
            .insert(name.clone(), Arc::clone(&system));
        Self {
            name,
            fault,
            system,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.system.state.lock().unwrap());
        self.system.changes.send_modify(|n| *n += 1);
    }
}

#[async_trait]
impl World for MemoryWorld {
    fn settings(&self) -> Value {
        json!({ "system": self.name, "password": "env:PASSWORD", "fault": self.fault })
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("env:PASSWORD".to_owned(), PASSWORD.to_owned())])
    }

    fn wrong_secrets(&self) -> Option<BTreeMap<String, String>> {
        Some(BTreeMap::from([(
            "env:PASSWORD".to_owned(),
            "open-barley".to_owned(),
        )]))
    }

    fn refused(&self) -> Vec<Refused> {
        let mut settings = self.settings();
        settings["certificate"] = json!("somebody else");
        vec![Refused {
            what: "a certificate of somebody else",
            settings,
            secrets: self.secrets(),
        }]
    }

    fn out_of_reach(&self) -> Option<Value> {
        Some(json!({ "system": "nowhere", "password": "env:PASSWORD", "fault": self.fault }))
    }

    fn now(&self) -> Timestamp {
        "2026-11-23T08:00:00Z".parse().unwrap()
    }

    fn zone(&self) -> &'static str {
        "Europe/Copenhagen"
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        [ANNA, BO]
            .map(|address| CalendarRef::primary(address).unwrap())
            .to_vec()
    }

    fn missing(&self) -> Option<CalendarRef> {
        CalendarRef::primary("nobody@kit.example").ok()
    }

    fn patience(&self) -> Duration {
        match self.fault {
            "hangs" | "blocks" => Duration::from_secs(3),
            _ => Duration::from_secs(30),
        }
    }

    fn most(&self) -> usize {
        10_000
    }

    async fn clear(&self) -> Result<(), Cannot> {
        self.change(|state| {
            state.throttled = false;
            state.failing = false;
            state.refused = None;
            state.calendars.clear();
            for address in [ANNA, BO] {
                state
                    .calendars
                    .insert(address.to_owned(), Calendar::default());
            }
        });
        Ok(())
    }

    async fn put(&self, calendar: &CalendarRef, appointment: &Appointment) -> Result<(), Cannot> {
        self.change(|state| {
            let of = state.calendars.get_mut(&calendar.address.folded()).unwrap();
            of.items
                .insert(appointment.name.clone(), appointment.clone());
            of.changed.push(appointment.name.clone());
        });
        Ok(())
    }

    async fn remove(&self, calendar: &CalendarRef, name: &str) -> Result<(), Cannot> {
        self.change(|state| {
            let of = state.calendars.get_mut(&calendar.address.folded()).unwrap();
            of.items.remove(name);
            of.changed.push(name.to_owned());
        });
        Ok(())
    }

    async fn held(&self, calendar: &CalendarRef) -> Result<Vec<EventTime>, Cannot> {
        let state = self.system.state.lock().unwrap();
        let of = state.calendars.get(&calendar.address.folded()).unwrap();
        Ok(of
            .records
            .values()
            .map(|record| record.content.time.clone())
            .collect())
    }

    async fn throttle(&self, on: bool) -> Result<(), Cannot> {
        self.change(|state| state.throttled = on);
        Ok(())
    }

    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        self.change(|state| state.failing = on);
        Ok(())
    }

    async fn refuse(&self, _: &CalendarRef, time: &EventTime) -> Result<(), Cannot> {
        self.change(|state| state.refused = Some(time.clone()));
        Ok(())
    }
}
