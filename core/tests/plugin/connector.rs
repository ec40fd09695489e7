//! A connector that does what its settings and calendars ask for, well or badly. The tests link it in, load it as a
//! shared library, and run it in a child process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use calbridge_core::connector::{
    ApplyReport, AttemptToken, CalendarSink, CalendarSource, Capabilities, Change, ChangeBatch,
    ChangeFeed, ChangesRequest, CheckReport, CheckScope, Connection, Connector, Context, Cursor,
    Error, ErrorKind, ExternalIds, Hint, HintFeed, InventoryBounds, InventoryFeed, InventoryPage,
    InventoryRequest, Outcome, Probe, Receipt, Result, Roster, Scope, Severity, Sharing, SideState,
    SinkCapabilities, SourceCapabilities, Write, WriteOutcome,
};
use calbridge_core::model::{
    CalendarRef, Content, Event, EventKey, EventTime, FieldSet, ItemRef, SideRef,
};
use calbridge_core::secret::SecretRef;
use jiff::{Timestamp, ToSpan as _};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

/// The settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// How many events the calendar holds.
    #[serde(default)]
    events: usize,
    /// How many calendars may be read at once.
    #[serde(default)]
    in_flight: Option<usize>,
    /// A secret.
    #[serde(default)]
    password: Option<SecretRef>,
    /// Refuse to open.
    #[serde(default)]
    refuse: bool,
    /// Panic when opened.
    #[serde(default)]
    panic: bool,
    /// Take long to open.
    #[serde(default)]
    hang: bool,
    /// Crash when opened.
    #[serde(default)]
    crash: bool,
    /// Whether its events hold much.
    #[serde(default)]
    wide: bool,
    /// Whether it can be written.
    #[serde(default)]
    writable: bool,
    /// How long the destructor takes, in milliseconds.
    #[serde(default)]
    slow_end_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Guest;

impl Connector for Guest {
    const ID: &'static str = "test-guest";
    const VERSION: &'static str = "1.2.3";
    const TITLE: &'static str = "A connector for tests";
    type Settings = Settings;

    fn capabilities() -> Capabilities {
        Capabilities {
            roster: true,
            source: Some(SourceCapabilities {
                incremental: true,
                deletions: true,
                watch: true,
                own_write_delay_ms: 0,
                fields: FieldSet::times(),
                max_in_flight: 4,
            }),
            sink: Some(SinkCapabilities {
                conditional_write: false,
                idempotent_upsert: true,
                inventory: Some(InventoryBounds::Overlaps),
                probe: true,
                sharing: Sharing::Shared,
                external_ids: ExternalIds::Sink,
                wall_clock: None,
                fields: FieldSet::times(),
                max_batch: 10,
                max_in_flight: 1,
                own_write_delay_ms: 0,
            }),
        }
    }

    fn capabilities_with(settings: &Settings) -> Capabilities {
        let mut capabilities = Self::capabilities();
        if let (Some(source), Some(most)) = (&mut capabilities.source, settings.in_flight) {
            source.max_in_flight = most;
        }
        capabilities
    }

    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        assert!(!settings.panic, "asked to panic");
        if settings.hang {
            std::thread::sleep(Duration::from_secs(20));
        }
        if settings.crash {
            write_to_nowhere();
        }
        if settings.refuse {
            return Err(Error::config("`refuse` is set; take it out"));
        }
        tracing::info!(events = settings.events, "The guest is open.");
        Ok(Arc::new(Side {
            settings,
            context,
            waiting: Arc::default(),
            feeds: Arc::default(),
        }))
    }
}

struct Side {
    settings: Settings,
    context: Context,
    /// How many calls wait for ever, and how many feeds are open: shown by `check`.
    waiting: Arc<AtomicUsize>,
    feeds: Arc<AtomicUsize>,
}

impl Drop for Side {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(self.settings.slow_end_ms));
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(of: &Arc<AtomicUsize>) -> Self {
        of.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(of))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Connection for Side {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let waiting = self.waiting.load(Ordering::SeqCst);
        report.push("waiting", Severity::Passed, waiting.to_string());
        report.push(
            "feeds",
            Severity::Passed,
            self.feeds.load(Ordering::SeqCst).to_string(),
        );
        report.push(
            "now",
            Severity::Passed,
            self.context.clock.now().to_string(),
        );
        report.push(
            "shutdown",
            Severity::Passed,
            self.context.shutdown.is_cancelled().to_string(),
        );
        if let Some(password) = &self.settings.password {
            let value = self.context.secret(password)?;
            if value.expose_secret() != "right" {
                return Err(Error::new(
                    ErrorKind::Auth,
                    Scope::Connection,
                    "test.auth",
                    "the password is not the right one",
                ));
            }
            report.push("authentication", Severity::Passed, "signed in");
        }
        report.clock_difference_ms = Some(scope.now.as_millisecond());
        Ok(report)
    }

    async fn roster(&self) -> Result<Roster> {
        Err(Error::new(
            ErrorKind::Throttled,
            Scope::Connection,
            "test.throttled",
            "slow down",
        )
        .retry_after(Duration::from_millis(1500)))
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        self.settings.writable.then_some(self)
    }
}

#[async_trait]
impl CalendarSource for Side {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        if request.cursor == Some(Cursor("old".to_owned())) {
            return Err(Error::new(
                ErrorKind::CursorExpired,
                Scope::Calendar,
                "test.cursor",
                "too old",
            ));
        }
        Ok(Box::new(Feed {
            next: 0,
            left: self.settings.events,
            start: request.window.start(),
            behave: request.calendar.owner.as_str().to_owned(),
            wide: self.settings.wide,
            _open: Counted::one(&self.feeds),
        }))
    }

    /// The ids of the items say what to do.
    async fn fetch(&self, _: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let mut results = Vec::new();
        for item in items {
            match item.id.as_str() {
                "panic" => panic!("asked to panic"),
                "spawn-panic" => {
                    let work = tokio::spawn(async { explode("asked to panic in a task") });
                    if let Err(error) = work.await {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
                "stray-panic" => {
                    // Nobody looks at what became of it.
                    let work = tokio::spawn(async { explode("asked to panic in a stray task") });
                    drop(work.await);
                }
                "block" => std::thread::sleep(Duration::from_secs(3)),
                "huge" => {
                    results.push(Err(Error::new(
                        ErrorKind::Rejected,
                        Scope::Item,
                        "test.huge",
                        "x".repeat(16 * 1024 * 1024),
                    )));
                    continue;
                }
                "null" => write_to_nowhere(),
                "exit" => std::process::exit(7),
                "print" => println!("this belongs nowhere"),
                "wait" => {
                    let _waiting = Counted::one(&self.waiting);
                    std::future::pending::<()>().await;
                }
                "sleep" => tokio::time::sleep(Duration::from_millis(1)).await,
                "shutdown" => self.context.shutdown.cancelled().await,
                "hear" => {
                    let theirs = self.context.clock.now() + 90.seconds();
                    self.context.clock.hear(&self.context.connection, theirs);
                }
                "log" => {
                    let span = tracing::info_span!("work", step = 3);
                    let _inside = span.enter();
                    tracing::error!(number = 7, text = "x", "an error");
                    tracing::info!("an information");
                    tracing::debug!("a detail");
                    tracing::info!(target: "other_crate", "what another crate tells");
                    tracing::warn!(target: "other_crate", "what another crate warns of");
                }
                "gone" => {
                    results.push(Err(Error::new(
                        ErrorKind::NotFound,
                        Scope::Item,
                        "test.gone",
                        "it is gone",
                    )));
                    continue;
                }
                _ => {}
            }
            results.push(event(0, Timestamp::UNIX_EPOCH, self.settings.wide));
        }
        Ok(results)
    }

    async fn watch(&self, calendars: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        Ok(Box::new(Hints {
            calendars: calendars.to_vec(),
            told: false,
            _open: Counted::one(&self.feeds),
        }))
    }
}

fn explode(text: &str) {
    panic!("{text}");
}

/// What no connector should do.
#[allow(unsafe_code)]
fn write_to_nowhere() {
    // SAFETY: there is none; the test wants to see what becomes of the host.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// How many bytes an event has in JSON.
#[allow(dead_code, reason = "for the benchmark")]
pub(crate) fn event_in_json(wide: bool) -> usize {
    let event = event(12_345, Timestamp::UNIX_EPOCH, wide);
    event.map_or(0, |event| serde_json::json!(event).to_string().len())
}

fn event(number: usize, start: Timestamp, wide: bool) -> Result<Event> {
    let bad = |error: calbridge_core::model::ModelError| {
        Error::new(ErrorKind::Protocol, Scope::Item, "test", error.to_string())
    };
    let time = EventTime::timed(start, start + 30.minutes(), None).map_err(bad)?;
    let mut content = Content::times(time);
    if wide {
        content.subject = Some(format!("Appointment number {number}"));
        content.location = Some("Meeting room 7, second floor".to_owned());
        content.body = Some("A line of an agenda, as people write it.\n".repeat(10));
        content.categories = Some(vec!["Important".to_owned(), "Internal".to_owned()]);
    }
    Ok(Event {
        key: EventKey::new(&format!("uid-{number}"), None).map_err(bad)?,
        item: ItemRef::new(format!("item-{number}"), None).map_err(bad)?,
        group: None,
        content,
        cancelled: false,
        origin: None,
    })
}

struct Feed {
    next: usize,
    left: usize,
    start: Timestamp,
    behave: String,
    wide: bool,
    _open: Counted,
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        if self.left == 0 {
            return Ok(None);
        }
        let count = self.left.min(max);
        self.left -= count;
        if self.behave == "slow-feed" {
            // The items are taken; who gives up here loses them.
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let changes = (0..count)
            .map(|_| {
                self.next += 1;
                Ok(Change::Item(event(self.next, self.start, self.wide)?))
            })
            .collect::<Result<_>>()?;
        Ok(Some(ChangeBatch {
            changes,
            checkpoint: Some(Cursor(self.next.to_string())),
            folder: None,
        }))
    }
}

struct Hints {
    calendars: Vec<CalendarRef>,
    told: bool,
    _open: Counted,
}

#[async_trait]
impl HintFeed for Hints {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        if self.told {
            std::future::pending::<()>().await;
        }
        self.told = true;
        Ok(self.calendars.iter().cloned().map(Hint::Dirty).collect())
    }

    async fn set(&mut self, calendars: &[CalendarRef]) -> Result<()> {
        self.calendars = calendars.to_vec();
        self.told = false;
        Ok(())
    }
}

#[async_trait]
impl CalendarSink for Side {
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        match calendar.owner.as_str() {
            "panic" => panic!("asked to panic"),
            "null" => write_to_nowhere(),
            "refused" => return Err(Error::config("nothing was sent")),
            _ => {}
        }
        let mut report = ApplyReport::default();
        for write in writes {
            let remote = SideRef::new(format!("remote-{}", write.id.0)).map_err(|error| {
                Error::new(ErrorKind::Protocol, Scope::Item, "test", error.to_string())
            })?;
            let outcome = match write.key.uid() {
                "lost" => continue,
                "foreign" => Outcome::Foreign,
                "rejected" => Outcome::Rejected {
                    code: "13".to_owned(),
                    message: "no".to_owned(),
                },
                "conflict" => Outcome::Conflict {
                    theirs: SideState::Present {
                        remote,
                        content: write.target.clone(),
                    },
                },
                "retry" => Outcome::Retry {
                    after_ms: Some(5),
                    code: None,
                },
                "unchanged" => Outcome::Unchanged,
                _ => Outcome::Done {
                    remote: Some(remote),
                    stored: write.target.clone(),
                },
            };
            report.outcomes.push(WriteOutcome {
                id: write.id,
                outcome,
                receipt: Some(0),
                notices: vec!["a notice".to_owned()],
            });
        }
        let now = self.context.clock.now();
        report.receipts.push(Receipt {
            operation: "Apply".to_owned(),
            reference: Some("r-1".to_owned()),
            started: now,
            ended: now,
            events: writes.len(),
            error: None,
        });
        Ok(report)
    }

    async fn probe(&self, _: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        let answer = |token: &AttemptToken| match token.0.as_str() {
            "absent" => Ok(Probe::Absent),
            "undecidable" => Ok(Probe::Undecidable),
            id => Ok(Probe::Found {
                remote: SideRef::new(id).map_err(|error| {
                    Error::new(ErrorKind::Protocol, Scope::Item, "test", error.to_string())
                })?,
                content: None,
            }),
        };
        tokens.iter().map(answer).collect()
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        Ok(Box::new(Pages {
            pages: request
                .calendars
                .into_iter()
                .map(|calendar| match calendar.owner.as_str() {
                    "failing" => InventoryPage {
                        failed: vec![(calendar, Error::config("this one cannot be listed"))],
                        ..InventoryPage::default()
                    },
                    _ => InventoryPage {
                        complete: vec![calendar],
                        ..InventoryPage::default()
                    },
                })
                .collect(),
        }))
    }
}

struct Pages {
    pages: Vec<InventoryPage>,
}

#[async_trait]
impl InventoryFeed for Pages {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        Ok(self.pages.pop())
    }
}
