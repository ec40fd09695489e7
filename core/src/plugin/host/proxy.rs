//! The connector's traits again, carried by messages.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::super::messages::{
    ApplyRequest, ChangesPart, Empty, Envelope, FeedRequest, FetchAnswer, FetchRequest, Hints,
    InventoryPart, NextChanges, OpenAnswer, OpenRequest, Opened, ProbeAnswer, ProbeRequest,
    WatchRequest, WatchSet, method, read, write,
};
use super::log::Listening;
use super::secrets::Secrets;
use super::slots::{Failure, Pending, Reply, Unwanted};
use super::{Carrier, Instance, boundary};
use crate::connector::{
    ApplyReport, AttemptToken, CalendarSink, CalendarSource, ChangeBatch, ChangeFeed,
    ChangesRequest, CheckReport, CheckScope, Connection, Context, Error, ErrorKind, Hint, HintFeed,
    InventoryFeed, InventoryPage, InventoryRequest, Manifest, Probe, Result, Roster, Scope, Write,
};
use crate::model::{CalendarRef, Event, ItemRef};

/// What to do with a connection that cannot be opened now, for a reason that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenItFails {
    /// Say so.
    Tell,
    /// Give one that is opened later.
    TryAgain,
}

/// Opens a connection of a loaded connector.
pub(super) fn open(
    carrier: Arc<dyn Carrier>,
    manifest: &Manifest,
    settings: Value,
    context: Context,
    when_it_fails: WhenItFails,
) -> Result<Arc<dyn Connection>> {
    let secrets = Secrets::find(&settings, context.secrets.as_ref());
    let listening = Listening::begin(&context.connection, &context.clock);
    let target = Target {
        carrier,
        connector: manifest.id.clone(),
        settings,
        context,
        handle: listening.handle(),
    };
    let mut state = State {
        instance: None,
        opened: Instant::now(),
        secrets: Secrets::default(),
        failures: 0,
        not_before: None,
        why: None,
    };
    let answer = match target.open(&secrets) {
        Ok((instance, answer)) => {
            state.instance = Some(instance);
            state.secrets = secrets;
            answer
        }
        Err(error) if when_it_fails == WhenItFails::TryAgain && passes(error.kind) => {
            tracing::error!(
                target: "calbridge::plugin",
                connection = target.context.connection,
                code = error.code,
                %error,
                "A connection cannot be opened now; it is tried again."
            );
            state.put_off(Instant::now(), Some(error), &target);
            OpenAnswer::default()
        }
        Err(error) => return Err(error),
    };
    let link = Link {
        target: Arc::new(target),
        state: Mutex::new(state),
        shutdown_told: AtomicBool::new(false),
        _listening: listening,
    };
    Ok(Arc::new(Proxy {
        source: answer
            .source
            .unwrap_or(manifest.capabilities.source.is_some()),
        sink: answer.sink.unwrap_or(manifest.capabilities.sink.is_some()),
        link: Arc::new(link),
    }))
}

/// Whether what kept a connection from being opened may pass by itself.
fn passes(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::Config
            | ErrorKind::Auth
            | ErrorKind::Permission
            | ErrorKind::NotFound
            | ErrorKind::Rejected
            | ErrorKind::Unsupported
    )
}

/// What is needed to open the connection, again and again.
struct Target {
    carrier: Arc<dyn Carrier>,
    connector: String,
    settings: Value,
    context: Context,
    handle: u64,
}

impl Target {
    /// Waits for the library.
    fn open(&self, secrets: &Secrets) -> Result<(Arc<dyn Instance>, OpenAnswer)> {
        let request = OpenRequest {
            connection: self.context.connection.clone(),
            settings: self.settings.clone(),
            secrets: secrets.values(),
            missing_secrets: secrets.missing().clone(),
            clock: self.clock(),
            handle: self.handle,
        };
        let request = write("open", &request)?;
        let (instance, answer) = self.carrier.open(&self.connector, &request, self.handle)?;
        Ok((instance, read("open", &answer)?))
    }

    /// The time, if ours is not the system's: a clock that cannot tell how long it has run is set by somebody.
    fn clock(&self) -> Option<jiff::Timestamp> {
        let clock = &self.context.clock;
        clock.elapsed().is_none().then(|| clock.now())
    }
}

/// A connection, whatever becomes of the instance behind it.
struct Link {
    target: Arc<Target>,
    state: Mutex<State>,
    shutdown_told: AtomicBool,
    _listening: Listening,
}

struct State {
    instance: Option<Arc<dyn Instance>>,
    opened: Instant,
    /// With which it was opened.
    secrets: Secrets,
    /// How often in a row it died soon.
    failures: u32,
    not_before: Option<Instant>,
    /// Why it could not be opened when that was tried last.
    why: Option<Error>,
}

impl State {
    /// It died: the next one waits longer than the last one, unless that had lived well.
    fn put_off(&mut self, died: Instant, why: Option<Error>, target: &Target) {
        let launcher = target.carrier.launcher();
        if died.saturating_duration_since(self.opened) >= launcher.settled {
            self.failures = 0;
        }
        let wait = launcher
            .first_restart
            .saturating_mul(1 << self.failures.min(20))
            .min(launcher.last_restart);
        self.failures += 1;
        self.instance = None;
        self.not_before = Some(died + wait);
        self.why = why;
    }
}

type Answer<T> = std::result::Result<T, Failure>;

impl Link {
    /// The instance, opened again if need be.
    async fn instance(&self) -> Answer<Arc<dyn Instance>> {
        let mut state = self.state.lock().await;
        if let Some(instance) = &state.instance {
            match instance.died() {
                None => return Ok(Arc::clone(instance)),
                Some(died) => state.put_off(died, None, &self.target),
            }
        }
        let now = Instant::now();
        if let Some(wait) = state
            .not_before
            .and_then(|at| at.checked_duration_since(now))
        {
            let why = state.why.clone().unwrap_or_else(|| {
                boundary(
                    "plugin.restarting",
                    "the process of the connector ended by itself and is started again after a while",
                )
            });
            return Err(Failure::NotSent(why.retry_after(wait)));
        }
        let target = Arc::clone(&self.target);
        let opened = blocking(move || {
            let context = &target.context;
            let secrets = Secrets::find(&target.settings, context.secrets.as_ref());
            let opened = target.open(&secrets);
            (opened, secrets)
        })
        .await;
        let (opened, secrets) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(Failure::NotSent(error)),
        };
        match opened {
            Ok((instance, _)) => {
                tracing::info!(
                    target: "calbridge::plugin",
                    connection = self.target.context.connection,
                    "The connection was opened again."
                );
                state.instance = Some(Arc::clone(&instance));
                state.opened = Instant::now();
                state.secrets = secrets;
                state.not_before = None;
                Ok(instance)
            }
            Err(error) => {
                state.opened = Instant::now();
                state.put_off(Instant::now(), Some(error.clone()), &self.target);
                Err(Failure::NotSent(error))
            }
        }
    }

    /// After credentials were refused: if a secret is another one now, the next call opens the connection anew.
    async fn refresh(&self, used: &Arc<dyn Instance>) {
        let target = Arc::clone(&self.target);
        let found = blocking(move || {
            Ok::<_, Error>(Secrets::find(
                &target.settings,
                target.context.secrets.as_ref(),
            ))
        })
        .await;
        let Ok(Ok(found)) = found else {
            return;
        };
        let mut state = self.state.lock().await;
        let current = state
            .instance
            .as_ref()
            .is_some_and(|instance| Arc::ptr_eq(instance, used));
        if current && state.secrets.differ(&found) {
            tracing::info!(
                target: "calbridge::plugin",
                connection = self.target.context.connection,
                "A secret has changed; the connection is opened anew."
            );
            state.instance = None;
            state.not_before = None;
        }
    }

    /// Asks on the current instance.
    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, name: &str, request: &Q) -> Answer<A> {
        let instance = self.instance().await?;
        self.ask_on(&instance, name, request, None).await
    }

    /// Asks on an instance that a feed belongs to.
    async fn ask_on<Q: Serialize, A: DeserializeOwned>(
        &self,
        instance: &Arc<dyn Instance>,
        name: &str,
        request: &Q,
        unwanted: Option<Unwanted>,
    ) -> Answer<A> {
        let (request, traceparent) = self.enveloped(name, request).map_err(Failure::NotSent)?;
        let begun = Instant::now();
        let mut pending = Box::pin(self.answer(name, instance.call(name, &request, unwanted)));
        let shutdown = &self.target.context.shutdown;
        let reply = tokio::select! {
            biased;
            reply = &mut pending => reply,
            () = shutdown.cancelled() => {
                if !self.shutdown_told.swap(true, Ordering::Relaxed) {
                    instance.tell(method::SHUTDOWN, b"{}");
                }
                pending.await
            }
        };
        tracing::trace!(
            target: "calbridge::plugin",
            connection = self.target.context.connection,
            method = name,
            traceparent,
            milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            // Of an error what counts is its code.
            answer_bytes = reply.as_ref().ok().map(Vec::len),
            code = reply.as_ref().err().map(Failure::code),
            "A connector has answered."
        );
        match reply {
            // What cannot be read may have been done.
            Ok(answer) => read(name, &answer).map_err(Failure::Lost),
            Err(failure) => {
                if let Failure::Answered(error) = &failure
                    && error.kind == ErrorKind::Auth
                {
                    self.refresh(instance).await;
                }
                Err(failure)
            }
        }
    }

    /// Waits for an answer, but not for ever.
    async fn answer(&self, name: &str, pending: Pending) -> Reply {
        // Nothing need happen in a calendar for days; and without a runtime there is no timer.
        if name == method::WATCH_NEXT || tokio::runtime::Handle::try_current().is_err() {
            return pending.await;
        }
        let deadline = self.target.carrier.launcher().answer_deadline;
        // Given up, it is cancelled.
        let Ok(reply) = tokio::time::timeout(deadline, pending).await else {
            tracing::error!(
                target: "calbridge::plugin",
                connection = self.target.context.connection,
                method = name,
                seconds = deadline.as_secs(),
                "A connector did not answer in time; the call is given up."
            );
            return Err(Failure::Lost(boundary(
                "plugin.no-answer",
                format!(
                    "the connector did not answer `{name}` within {} s, and the call was given up; look whether its system answers, and restart calbridge if it stays so; report it to the connector's vendor",
                    deadline.as_secs()
                ),
            )));
        };
        reply
    }

    /// The message, and the trace that it belongs to.
    fn enveloped<Q: Serialize>(&self, name: &str, request: &Q) -> Result<(Vec<u8>, String)> {
        #[derive(Serialize)]
        struct Enveloped<'a, Q> {
            #[serde(flatten)]
            envelope: Envelope,
            #[serde(flatten)]
            request: &'a Q,
        }
        let traceparent = traceparent();
        let envelope = Envelope {
            traceparent: Some(traceparent.clone()),
            clock: self.target.clock(),
        };
        let message = write(name, &Enveloped { envelope, request })?;
        tracing::trace!(
            target: "calbridge::plugin",
            connection = self.target.context.connection,
            method = name,
            traceparent,
            bytes = message.len(),
            "A connector is asked."
        );
        Ok((message, traceparent))
    }
}

/// A new place in the trace of this run (W3C Trace Context): one trace per span of ours, or per call outside of any.
fn traceparent() -> String {
    static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static CALLS: AtomicU64 = AtomicU64::new(1);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let span = tracing::Span::current()
        .id()
        .map_or(call, |id| id.into_u64());
    // Neither may be zero.
    format!("00-{:016x}{span:016x}-{call:016x}-01", RUN.max(1))
}

/// Runs what waits for a library outside the runtime's threads.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Ok(run());
    };
    runtime.spawn_blocking(run).await.map_err(|_| {
        boundary(
            "plugin.closed",
            "the program is about to end; the connector is not asked any more",
        )
    })
}

/// A connection of a loaded connector.
struct Proxy {
    link: Arc<Link>,
    source: bool,
    sink: bool,
}

impl Proxy {
    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, name: &str, request: &Q) -> Result<A> {
        self.link
            .ask(name, request)
            .await
            .map_err(Failure::into_error)
    }

    /// Opens a feed; it stays with the instance that opened it.
    async fn open_feed<Q: Serialize>(&self, names: Names, request: &Q) -> Result<Feed> {
        let instance = self.link.instance().await.map_err(Failure::into_error)?;
        // Whoever gives up waiting for the feed cannot close it. What waits must not keep the connection open.
        let weak = Arc::downgrade(&instance);
        let unwanted: Unwanted = Arc::new(move |answer| {
            if let (Ok(opened), Some(instance)) =
                (read::<Opened>(names.open, answer), weak.upgrade())
                && let Ok(request) = write(names.close, &FeedRequest { feed: opened.feed })
            {
                // The library may not like to be called from where it answers.
                std::thread::spawn(move || instance.tell(names.close, &request));
            }
        });
        let opened: Opened = self
            .link
            .ask_on(&instance, names.open, request, Some(unwanted))
            .await
            .map_err(Failure::into_error)?;
        Ok(Feed {
            link: Arc::clone(&self.link),
            instance,
            feed: opened.feed,
            close: names.close,
            state: FeedState::Good,
        })
    }
}

#[async_trait]
impl Connection for Proxy {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        self.ask(method::CHECK, &scope).await
    }

    async fn roster(&self) -> Result<Roster> {
        self.ask(method::ROSTER, &Empty {}).await
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        self.source.then_some(self)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        self.sink.then_some(self)
    }
}

#[async_trait]
impl CalendarSource for Proxy {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        let feed = self.open_feed(CHANGES, &request).await?;
        Ok(Box::new(Changes(feed)))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let request = FetchRequest {
            calendar: calendar.clone(),
            items: items.to_vec(),
        };
        let answer: FetchAnswer = self.ask(method::FETCH, &request).await?;
        one_each(method::FETCH, items.len(), answer.results.len())?;
        Ok(answer.results.into_iter().map(Into::into).collect())
    }

    async fn watch(&self, calendars: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        let request = WatchRequest {
            calendars: calendars.to_vec(),
        };
        let feed = self.open_feed(WATCH, &request).await?;
        Ok(Box::new(HintsOf(feed)))
    }
}

#[async_trait]
impl CalendarSink for Proxy {
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let request = ApplyRequest {
            calendar: calendar.clone(),
            writes: writes.to_vec(),
        };
        match self.link.ask(method::APPLY, &request).await {
            Ok(report) => Ok(report),
            Err(Failure::NotSent(error)) => Err(error),
            Err(Failure::Answered(error))
                if !matches!(error.kind, ErrorKind::Panicked | ErrorKind::Cancelled) =>
            {
                Err(error)
            }
            // It broke off in the middle: what became of the writes nobody knows. No outcome means just that.
            Err(Failure::Answered(error) | Failure::Lost(error)) => Ok(ApplyReport {
                outcomes: Vec::new(),
                receipts: Vec::new(),
                trouble: Some(error),
            }),
        }
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        let feed = self.open_feed(INVENTORY, &request).await?;
        Ok(Box::new(Inventory(feed)))
    }

    async fn probe(&self, calendar: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        let request = ProbeRequest {
            calendar: calendar.clone(),
            tokens: tokens.to_vec(),
        };
        let answer: ProbeAnswer = self.ask(method::PROBE, &request).await?;
        one_each(method::PROBE, tokens.len(), answer.probes.len())?;
        Ok(answer.probes)
    }
}

fn one_each(name: &str, asked: usize, answered: usize) -> Result<()> {
    if asked == answered {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "plugin.message",
        format!(
            "the connector was asked `{name}` about {asked} and answered about {answered}; report that to its vendor"
        ),
    ))
}

#[derive(Clone, Copy)]
struct Names {
    open: &'static str,
    close: &'static str,
}

const CHANGES: Names = Names {
    open: method::CHANGES_OPEN,
    close: method::CHANGES_CLOSE,
};
const WATCH: Names = Names {
    open: method::WATCH_OPEN,
    close: method::WATCH_CLOSE,
};
const INVENTORY: Names = Names {
    open: method::INVENTORY_OPEN,
    close: method::INVENTORY_CLOSE,
};

/// A feed of the connector. Dropped, it is closed there.
struct Feed {
    link: Arc<Link>,
    instance: Arc<dyn Instance>,
    feed: u64,
    close: &'static str,
    state: FeedState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FeedState {
    Good,
    /// A call failed or was cancelled and may have taken items along.
    Broken,
    /// It ended well.
    Ended,
}

impl Feed {
    fn request(&self) -> FeedRequest {
        FeedRequest { feed: self.feed }
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, name: &str, request: &Q) -> Result<A> {
        self.link
            .ask_on(&self.instance, name, request, None)
            .await
            .map_err(Failure::into_error)
    }

    /// The next part of a feed that loses something when it is disturbed.
    async fn next<Q: Serialize, P: DeserializeOwned, T>(
        &mut self,
        name: &str,
        request: &Q,
        part: impl FnOnce(P) -> (Option<T>, bool),
    ) -> Result<Option<T>> {
        match self.state {
            FeedState::Ended => return Ok(None),
            FeedState::Broken => {
                return Err(Error::new(
                    ErrorKind::Cancelled,
                    Scope::Calendar,
                    "plugin.feed-broken",
                    "a call of the feed failed or was given up; it is opened again",
                ));
            }
            // Until the answer is there: whoever drops this future leaves it so.
            FeedState::Good => self.state = FeedState::Broken,
        }
        let (found, end) = part(self.ask(name, request).await?);
        match (found, end) {
            (found @ Some(_), false) => {
                self.state = FeedState::Good;
                Ok(found)
            }
            (None, true) => {
                self.state = FeedState::Ended;
                Ok(None)
            }
            _ => Err(Error::new(
                ErrorKind::Protocol,
                Scope::Calendar,
                "plugin.message",
                format!(
                    "the connector's answer to `{name}` is neither a part nor the end; report that to its vendor"
                ),
            )),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if self.state != FeedState::Ended
            && let Ok(request) = write(self.close, &self.request())
        {
            self.instance.tell(self.close, &request);
        }
    }
}

struct Changes(Feed);

#[async_trait]
impl ChangeFeed for Changes {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        let request = NextChanges {
            feed: self.0.feed,
            max,
        };
        self.0
            .next(method::CHANGES_NEXT, &request, |part: ChangesPart| {
                (part.batch, part.end)
            })
            .await
    }
}

struct Inventory(Feed);

#[async_trait]
impl InventoryFeed for Inventory {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        let request = self.0.request();
        self.0
            .next(method::INVENTORY_NEXT, &request, |part: InventoryPart| {
                (part.page, part.end)
            })
            .await
    }
}

/// Hints may get lost, so a call that was given up breaks nothing.
struct HintsOf(Feed);

#[async_trait]
impl HintFeed for HintsOf {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        let hints: Hints = self.0.ask(method::WATCH_NEXT, &self.0.request()).await?;
        Ok(hints.hints)
    }

    async fn set(&mut self, calendars: &[CalendarRef]) -> Result<()> {
        let request = WatchSet {
            feed: self.0.feed,
            calendars: calendars.to_vec(),
        };
        let Empty {} = self.0.ask(method::WATCH_SET, &request).await?;
        Ok(())
    }
}
