//! The engine: syncs over connections and a store.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::clock_watch::{Believed, ClockWatch};
use super::error::EngineError;
use super::locks::Locks;
use super::pass::{self, PassReport};
use super::plan::{self, PlannedWrite};
use super::reconcile::reconcile;
use super::report::{
    CalendarOutcome, CalendarPlan, Failure, Progress, ProgressEvent, SyncOptions, SyncReport, Work,
};
use super::trouble::trouble;
use super::unit::{PassError, Reader, Unit, sink_capabilities};
use super::{ConnectionHandle, RosterFrom, SyncConfig, roster};
use crate::clock::Clock;
use crate::connector::{Error, ErrorKind, Roster, Scope, SkippedEntry};
use crate::model::{Address, CalendarEntry, CalendarKind, CalendarRef};
use crate::store::{
    CalendarId, CalendarReport, CalendarState, Fence, Others, Pruned, Retention, Store, StoreError,
};

/// How many calendars are listed in one inventory: a chunk fails and is retried together.
pub(super) const INVENTORY_CHUNK: usize = 10;

/// Syncs over connections and a store. See the module's documentation.
pub struct Engine {
    store: Arc<dyn Store>,
    fence: Fence,
    clock: Arc<dyn Clock>,
    connections: HashMap<String, Arc<ConnectionHandle>>,
    syncs: Vec<SyncConfig>,
    clock_watch: ClockWatch,
    /// One calendar of a sync is worked on by one at a time: passes, and operators' orders.
    pub(super) alone: Locks<(String, CalendarId)>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("fence", &self.fence)
            .field("connections", &self.connections.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Puts an engine together and checks the connections' capabilities against what the syncs need.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(
        store: Arc<dyn Store>,
        fence: Fence,
        clock: Arc<dyn Clock>,
        connections: impl IntoIterator<Item = Arc<ConnectionHandle>>,
        syncs: Vec<SyncConfig>,
    ) -> Result<Self, EngineError> {
        let engine = Self {
            store,
            fence,
            clock,
            connections: connections
                .into_iter()
                .map(|connection| (connection.name().to_owned(), connection))
                .collect(),
            syncs,
            clock_watch: ClockWatch::default(),
            alone: Locks::default(),
        };
        engine.check_syncs()?;
        Ok(engine)
    }

    pub(super) fn connection(
        &self,
        sync: &SyncConfig,
        name: &str,
    ) -> Result<&ConnectionHandle, EngineError> {
        self.connections
            .get(name)
            .map(AsRef::as_ref)
            .ok_or_else(|| EngineError::NoConnection {
                sync: sync.name.clone(),
                connection: name.to_owned(),
            })
    }

    /// The connection that gives the roster; none: the allow list does.
    pub(super) fn roster_connection(
        &self,
        sync: &SyncConfig,
    ) -> Result<Option<&ConnectionHandle>, EngineError> {
        let sink = self.connection(sync, &sync.sink)?;
        let source = self.connection(sync, &sync.source)?;
        Ok(match sync.roster.from {
            RosterFrom::Sink => Some(sink),
            RosterFrom::Source => Some(source),
            RosterFrom::Allow => None,
            RosterFrom::Auto => [sink, source]
                .into_iter()
                .find(|connection| connection.capabilities().roster),
        })
    }

    /// The syncs.
    #[must_use]
    pub fn syncs(&self) -> &[SyncConfig] {
        &self.syncs
    }

    /// The sync of this name.
    ///
    /// # Errors
    /// [`EngineError::NoSync`].
    pub fn sync(&self, name: &str) -> Result<&SyncConfig, EngineError> {
        self.syncs
            .iter()
            .find(|sync| sync.name == name)
            .ok_or_else(|| EngineError::NoSync {
                sync: name.to_owned(),
            })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What is thought of the present time.
    pub(super) fn believed(&self) -> Believed {
        self.clock_watch.look(self.clock.as_ref())
    }

    pub(super) fn handle(&self, name: &str) -> Option<&Arc<ConnectionHandle>> {
        self.connections.get(name)
    }

    /// Lifts parks of a connection: an operator said so, or its secret changed.
    pub fn reopen(&self, connection: &str) {
        if let Some(connection) = self.connections.get(connection) {
            connection.reads.reopen();
            connection.writes.reopen();
        }
    }

    /// Asks whose calendars belong to the sync and stores the answer. A failure or an empty answer changes
    /// nothing.
    ///
    /// # Errors
    /// [`EngineError::Roster`], [`EngineError::Store`].
    pub async fn refresh_roster(
        &self,
        sync: &SyncConfig,
    ) -> Result<Vec<SkippedEntry>, EngineError> {
        let answer = match self.roster_connection(sync)? {
            Some(connection) => self.ask_roster(connection).await?,
            None => listed(&sync.roster.allow),
        };
        let now = self.clock.now();
        if roster::is_empty(&answer) {
            tracing::warn!(
                sync = sync.name,
                code = "3202",
                "The roster is empty; nothing is changed for that."
            );
        }
        let known = self.store.calendars(&sync.name).await?;
        let changes = roster::update(&known, &answer, &sync.roster, now);
        if !changes.is_empty() {
            tracing::info!(
                sync = sync.name,
                changes = changes.len(),
                calendars = answer.entries.len(),
                "The roster changed."
            );
            self.store
                .commit_roster(self.fence, &sync.name, &changes, now)
                .await?;
        }
        Ok(answer.skipped)
    }

    async fn ask_roster(&self, connection: &ConnectionHandle) -> Result<Roster, EngineError> {
        let failed = |error: Error| EngineError::Roster {
            connection: connection.name().to_owned(),
            error,
        };
        let gate = if connection.capabilities().sink.is_some() {
            &connection.writes
        } else {
            &connection.reads
        };
        let permit = gate.enter(self.clock.now()).await.map_err(failed)?;
        let answer = AssertUnwindSafe(connection.connection().roster())
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(panicked()));
        drop(permit);
        gate.report(answer.as_ref().err(), self.clock.now());
        answer.map_err(failed)
    }

    /// Calendars that are to be worked on: those that take part, and leavers that are to be withdrawn.
    pub(super) async fn members(
        &self,
        sync: &SyncConfig,
        only: &[Address],
    ) -> Result<Vec<Member>, EngineError> {
        let states = self.store.calendars(&sync.name).await?;
        let mut members: Vec<Member> = states
            .into_iter()
            .filter(|state| only.is_empty() || only.contains(&state.calendar.address))
            .filter_map(|mut state| {
                if sync.observes(&state.calendar.address) {
                    // Also if it was just given back: what the sink held under us says nothing about now.
                    state.inventoried = None;
                }
                let withdrawn = roster::is_withdrawn(&state, &sync.roster)
                    && !sync.observes(&state.calendar.address);
                (roster::takes_part(&state, &sync.roster) || withdrawn)
                    .then_some(Member { state, withdrawn })
            })
            .collect();
        members.sort_by_key(|member| member.state.calendar.address.folded());
        Ok(members)
    }

    /// One sync, once: roster, then every calendar.
    ///
    /// # Errors
    /// Only if nothing could be done at all. What goes wrong with one calendar stands in the report, and the
    /// others go on.
    pub async fn sync_once(
        &self,
        sync: &SyncConfig,
        options: &SyncOptions,
        shutdown: &CancellationToken,
        progress: &dyn Progress,
    ) -> Result<SyncReport, EngineError> {
        self.check_paused(sync).await?;
        let skipped = self.refresh_roster(sync).await?;
        let members = self.members(sync, &options.calendars).await?;
        progress.event(ProgressEvent::Started {
            sync: sync.name.clone(),
            calendars: members.len(),
        });
        let chunks: Vec<Vec<Member>> = members
            .chunks(INVENTORY_CHUNK)
            .map(<[Member]>::to_vec)
            .collect();
        let mut waiting = chunks.into_iter();
        let mut running = FuturesUnordered::new();
        let mut report = SyncReport {
            sync: sync.name.clone(),
            skipped,
            ..SyncReport::default()
        };
        let at_once = self.at_once(sync)?;
        loop {
            while running.len() < at_once && !shutdown.is_cancelled() {
                let Some(chunk) = waiting.next() else { break };
                let work = Work {
                    full: options.full,
                    reconcile: options.reconcile,
                };
                running.push(self.work(sync, chunk, work, shutdown, progress));
            }
            let given_up = async {
                shutdown.cancelled().await;
                tokio::time::sleep(super::service::GRACE).await;
            };
            let done = tokio::select! {
                done = running.next() => done,
                () = given_up => None,
            };
            let Some(done) = done else {
                break;
            };
            for outcome in done {
                report.total.add(&outcome.report);
                report.calendars.push(outcome);
            }
        }
        report
            .calendars
            .sort_by_key(|outcome| outcome.calendar.address.folded());
        progress.event(ProgressEvent::Finished {
            sync: sync.name.clone(),
        });
        Ok(report)
    }

    /// How many chunks of calendars are worked on at once: enough to keep both gates busy.
    pub(super) fn at_once(&self, sync: &SyncConfig) -> Result<usize, EngineError> {
        let source = self.connection(sync, &sync.source)?;
        let sink = self.connection(sync, &sync.sink)?;
        Ok(source.reads.most() + sink.writes.most())
    }

    /// Works on a few calendars: first what the sink holds, where that is due, then each calendar's pass.
    pub(super) async fn work(
        &self,
        sync: &SyncConfig,
        members: Vec<Member>,
        work: Work,
        shutdown: &CancellationToken,
        progress: &dyn Progress,
    ) -> Vec<CalendarOutcome> {
        let (Some(source), Some(sink)) = (self.handle(&sync.source), self.handle(&sync.sink))
        else {
            return Vec::new();
        };
        let mut alone = Vec::with_capacity(members.len());
        for member in &members {
            alone.push(self.alone.lock(&(sync.name.clone(), member.state.id)).await);
        }
        let unit = |member: &Member| self.unit(sync, (source, sink), member, shutdown);
        let lists = sink
            .capabilities()
            .sink
            .as_ref()
            .is_some_and(|sink| sink.inventory.is_some());
        // If an operator paused it meanwhile, each pass says so.
        let lists = lists && matches!(self.paused(sync).await, Ok(None));
        let due: Vec<Unit<'_>> = members
            .iter()
            .filter(|member| {
                lists && !member.withdrawn && (work.reconcile || member.state.inventoried.is_none())
            })
            .map(unit)
            .collect();
        let began = self.clock.now();
        let results = listed_guarded(&due).await;
        let mut listings: HashMap<CalendarId, Result<u64, PassError>> =
            due.iter().map(|unit| unit.calendar).zip(results).collect();
        let mut outcomes = Vec::with_capacity(members.len());
        for member in &members {
            let unit = unit(member);
            let never_listed = member.state.inventoried.is_none();
            // What connectors log meanwhile carries whose calendar it is about.
            let span = tracing::info_span!("pass", sync = sync.name, calendar = unit.handle);
            let listing = listings.remove(&member.state.id);
            let listed = matches!(listing, Some(Ok(_)));
            let others = listing.as_ref().and_then(|listing| listing.as_ref().ok());
            let others = others.copied().unwrap_or_default();
            let not_listed = listing.and_then(Result::err);
            let listing_failed = not_listed.as_ref().map(Failure::from);
            let (mut report, result) = match not_listed {
                // Without knowing what the sink holds, nothing is written for the first time.
                Some(error) if never_listed => (PassReport::default(), Err(error)),
                not_listed => {
                    if let Some(error) = not_listed {
                        tracing::warn!(
                            sync = sync.name,
                            calendar = unit.handle,
                            code = "3936",
                            error = %error,
                            "The sink's content could not be listed; it is compared next time."
                        );
                    }
                    guarded(pass::pass(&unit, work.full, listed))
                        .instrument(span)
                        .await
                }
            };
            report.others = others;
            // The first contact ends when both sides were read in one pass. A list alone grows old: what appears on the sink
            // before the source can be read is as strange to us as what was there on the first day.
            let read = matches!(
                result,
                Ok(()) | Err(PassError::Sink(_) | PassError::Budget { .. })
            );
            let inventoried =
                (listed && !unit.observed && (read || !never_listed)).then_some(began);
            let redo = Work {
                full: work.full && result.is_err(),
                reconcile: work.reconcile && listing_failed.is_some(),
            };
            let outcome = self
                .conclude(&unit, member, inventoried, report, result, progress)
                .await;
            outcomes.push(CalendarOutcome {
                redo,
                // The calendar is no worse off than before, but what was asked for was not done.
                failed: outcome.failed.or(listing_failed),
                ..outcome
            });
        }
        outcomes
    }

    async fn conclude(
        &self,
        unit: &Unit<'_>,
        member: &Member,
        inventoried: Option<Timestamp>,
        report: PassReport,
        result: Result<(), PassError>,
        progress: &dyn Progress,
    ) -> CalendarOutcome {
        let now = self.clock.now();
        let trouble_after = result
            .as_ref()
            .err()
            .filter(|error| !matches!(error, PassError::Paused(_)))
            .map(|error| trouble(error, member.state.trouble.as_ref(), now));
        let note = CalendarReport {
            inventoried,
            forget_inventory: unit.observed,
            succeeded: trouble_after.is_none().then_some(now),
            trouble: trouble_after.clone(),
            others: (report.others > 0 && !unit.observed).then_some(Others {
                records: report.others,
                at: now,
            }),
        };
        if let Err(error) = &result
            && !matches!(error, PassError::Cancelled | PassError::Paused(_))
        {
            tracing::warn!(
                sync = unit.sync.name,
                calendar = unit.handle,
                code = error.code(),
                error = %error,
                "A calendar could not be brought in step; it is tried again."
            );
        }
        let noted = if matches!(result, Err(PassError::Cancelled | PassError::Paused(_))) {
            Ok(())
        } else {
            unit.store
                .report_calendar(unit.fence, &unit.sync.name, unit.calendar, note)
                .await
        };
        let result = result.and(noted.map_err(PassError::from));
        let failed = result.as_ref().err().map(Failure::from);
        let fenced = matches!(result, Err(PassError::Store(StoreError::Fenced)));
        if report.created + report.updated + report.deleted > 0 {
            tracing::info!(
                sync = unit.sync.name,
                calendar = unit.handle,
                created = report.created,
                updated = report.updated,
                deleted = report.deleted,
                calls = report.calls,
                "A calendar was brought in step."
            );
        }
        progress.event(ProgressEvent::Calendar {
            sync: unit.sync.name.clone(),
            calendar: unit.handle.clone(),
            report: report.clone(),
            failed: failed.as_ref().map(|failure| failure.code.clone()),
        });
        let mut after = member.state.clone();
        after.trouble = trouble_after;
        after.inventoried = after.inventoried.or(inventoried);
        CalendarOutcome {
            calendar: unit.reference.clone(),
            report,
            failed,
            after: Some(after),
            redo: Work::default(),
            fenced,
        }
    }

    /// One calendar of a sync, and all that is needed to work on it.
    fn unit<'a>(
        &'a self,
        sync: &'a SyncConfig,
        (source, sink): (&'a ConnectionHandle, &'a ConnectionHandle),
        member: &Member,
        shutdown: &'a CancellationToken,
    ) -> Unit<'a> {
        Unit {
            store: &self.store,
            fence: self.fence,
            clock: &self.clock,
            believed: self.believed(),
            watch: &self.clock_watch,
            sync,
            source,
            sink,
            calendar: member.state.id,
            reference: member.state.calendar.clone(),
            handle: member.state.calendar.handle(),
            shutdown,
            withdrawn: member.withdrawn,
            observed: sync.observes(&member.state.calendar.address),
            first_contact: member.state.inventoried.is_none(),
            touched: AtomicBool::new(false),
            writers: self.writers(&sync.sink),
            readers: self.readers(&sync.source),
        }
    }

    /// The syncs that write this connection.
    fn writers(&self, sink: &str) -> Vec<&SyncConfig> {
        self.syncs.iter().filter(|sync| sync.sink == sink).collect()
    }

    /// The syncs that read this connection.
    fn readers(&self, source: &str) -> Vec<Reader<'_>> {
        self.syncs
            .iter()
            .filter(|sync| sync.source == source)
            .filter_map(|sync| {
                let sink = self.handle(&sync.sink)?.capabilities().sink.as_ref()?;
                Some(Reader { sync, sink })
            })
            .collect()
    }

    /// What a sync would write now. Reads both sides and stores what it saw; writes nothing to the sink.
    ///
    /// # Errors
    /// Only if nothing could be planned at all.
    pub async fn plan(
        &self,
        sync: &SyncConfig,
        options: &SyncOptions,
        shutdown: &CancellationToken,
    ) -> Result<Vec<CalendarPlan>, EngineError> {
        self.check_paused(sync).await?;
        self.refresh_roster(sync).await?;
        self.plans(sync, options, Views::ReadAnew, shutdown).await
    }

    /// What a sync would write, by what was last seen of both sides. Calls nobody and stores nothing, so it serves beside a
    /// service that works with the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn plan_from_store(
        &self,
        sync: &SyncConfig,
        only: &[Address],
    ) -> Result<Vec<CalendarPlan>, EngineError> {
        let options = SyncOptions {
            calendars: only.to_vec(),
            ..SyncOptions::default()
        };
        let never = CancellationToken::new();
        self.plans(sync, &options, Views::AsStored, &never).await
    }

    async fn plans(
        &self,
        sync: &SyncConfig,
        options: &SyncOptions,
        views: Views,
        shutdown: &CancellationToken,
    ) -> Result<Vec<CalendarPlan>, EngineError> {
        let members = self.members(sync, &options.calendars).await?;
        let mut plans = Vec::with_capacity(members.len());
        let (Some(source), Some(sink)) = (self.handle(&sync.source), self.handle(&sync.sink))
        else {
            return Ok(plans);
        };
        for member in members {
            let unit = self.unit(sync, (source, sink), &member, shutdown);
            let planned = plan_member(&unit, &member, options, views).await;
            let failed = planned.as_ref().err().map(Failure::from);
            plans.push(CalendarPlan {
                calendar: unit.reference.clone(),
                observed: unit.observed,
                writes: planned.unwrap_or_default(),
                failed,
            });
        }
        Ok(plans)
    }

    /// Removes what retention says; nothing while this computer's clock is not believed: what is removed too early is
    /// not told again by sources.
    ///
    /// # Errors
    /// The store's.
    pub async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        let believed = self.believed();
        if !believed.trusted {
            return Ok(Pruned::default());
        }
        let now = believed.now;
        // What a window still reaches is not forgotten, whatever the setting.
        let reach = self
            .syncs
            .iter()
            .filter_map(|sync| {
                let source = self.handle(&sync.source)?.capabilities().source.as_ref()?;
                let sink = self.handle(&sync.sink)?.capabilities().sink.as_ref()?;
                let window = sync.rules().at(now, source, sink).ok()?.window;
                u32::try_from(now.duration_since(window.start()).as_hours() / 24 + 2).ok()
            })
            .max()
            .unwrap_or_default();
        let retention = Retention {
            rows_days: retention.rows_days.max(reach),
            ..retention
        };
        let configured: Vec<String> = self.syncs.iter().map(|sync| sync.name.clone()).collect();
        self.store
            .retire_syncs(self.fence, &configured, now)
            .await?;
        self.store.prune(self.fence, retention, now).await
    }

    /// An operator approved, at `given`, the deletes that the guard held then; answers how many. They are sent with the
    /// next pass over their calendars. What a pass has held since then nobody has seen: it goes on waiting.
    ///
    /// # Errors
    /// The store's.
    pub async fn approve(
        &self,
        sync: &SyncConfig,
        only: &[Address],
        given: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut approved = 0;
        for state in self.store.calendars(&sync.name).await? {
            if only.is_empty() || only.contains(&state.calendar.address) {
                let _alone = self.alone.lock(&(sync.name.clone(), state.id)).await;
                approved += self
                    .store
                    .approve(self.fence, &sync.name, state.id, given, self.clock.now())
                    .await?;
            }
        }
        Ok(approved)
    }
}

/// What a plan is made from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Views {
    /// Both sides are read first.
    ReadAnew,
    /// What was last seen.
    AsStored,
}

async fn plan_member(
    unit: &Unit<'_>,
    member: &Member,
    options: &SyncOptions,
    views: Views,
) -> Result<Vec<PlannedWrite>, PassError> {
    let rules = unit.rules()?;
    if views == Views::AsStored {
        return plan::plan_stored(unit, &rules).await;
    }
    let lists = sink_capabilities(unit)?.inventory.is_some();
    if lists && (options.reconcile || member.state.inventoried.is_none()) {
        for result in reconcile(std::slice::from_ref(unit)).await {
            result?;
        }
    }
    super::pull::pull(unit, &rules, options.full).await?;
    let (rules, deletes) = unit.planning()?;
    plan::plan_only(unit, &rules, deletes).await
}

/// The roster that an allow list makes.
fn listed(addresses: &[Address]) -> Roster {
    Roster {
        entries: addresses
            .iter()
            .filter_map(|address| CalendarRef::primary(address.as_str()).ok())
            .map(|calendar| CalendarEntry {
                calendar,
                kind: CalendarKind::default(),
            })
            .collect(),
        skipped: Vec::new(),
    }
}

/// A connector that panics is in trouble with this calendar, and with no other.
pub(super) fn panicked() -> Error {
    Error::new(
        ErrorKind::Panicked,
        Scope::Calendar,
        "panicked",
        "the connector panicked; this is a defect of it, please report it with the log",
    )
}

async fn listed_guarded(due: &[Unit<'_>]) -> Vec<Result<u64, PassError>> {
    AssertUnwindSafe(reconcile(due))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            due.iter()
                .map(|_| Err(PassError::Sink(panicked())))
                .collect()
        })
}

async fn guarded(
    pass: impl Future<Output = (PassReport, Result<(), PassError>)>,
) -> (PassReport, Result<(), PassError>) {
    AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| (PassReport::default(), Err(PassError::Source(panicked()))))
}

/// A calendar that is to be worked on.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) state: CalendarState,
    pub(super) withdrawn: bool,
}
