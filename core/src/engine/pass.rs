//! One pass over one calendar of one sync: pull, plan, apply, one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::decide::{DecideContext, Decision, Intent, Reason, decide};
use super::guard::{self, GuardHistory};
use super::link::{Linked, link};
use super::project::{Desired, project};
use super::schedule::{Due, Schedule, schedule};
use super::{
    ConnectionHandle, Fingerprinter, LinkId, Row, Rules, SinkView, SyncConfig, outcome, pull,
};
use crate::clock::Clock;
use crate::connector::{
    ApplyReport, AttemptToken, Error, ErrorKind, Op, Outcome, Scope, SinkCapabilities, Write,
    WriteId, WriteOutcome,
};
use crate::model::{CalendarRef, EventTime, FieldSet, SideRef, Window};
use crate::store::{
    CalendarId, CallRecord, DecisionRecord, Fence, NewRow, RowCommit, Store, StoreError,
};

/// Why a pass broke off. What it had stored stays; the next one goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// The source.
    #[error("source: {0}")]
    Source(#[source] Error),
    /// The sink.
    #[error("sink: {0}")]
    Sink(#[source] Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] super::RulesError),
    /// The program stops.
    #[error("stopped")]
    Cancelled,
}

/// Errors of a feed are the source's.
impl From<Error> for PassError {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

impl PassError {
    pub(super) fn source_error(&self) -> Option<&Error> {
        match self {
            Self::Source(error) => Some(error),
            _ => None,
        }
    }

    /// The connector's error, if it is one.
    #[must_use]
    pub fn connector_error(&self) -> Option<&Error> {
        match self {
            Self::Source(error) | Self::Sink(error) => Some(error),
            _ => None,
        }
    }

    /// A stable code for monitoring.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Source(error) | Self::Sink(error) => error.code.clone(),
            Self::Store(_) => "store".to_owned(),
            Self::Rules(_) => "config".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }
}

/// One calendar of one sync, and all that is needed to work on it.
pub(super) struct Unit<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) fence: Fence,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) sync: &'a SyncConfig,
    pub(super) source: &'a ConnectionHandle,
    pub(super) sink: &'a ConnectionHandle,
    pub(super) calendar: CalendarId,
    pub(super) reference: CalendarRef,
    /// For logs: [`CalendarRef::handle`].
    pub(super) handle: String,
    pub(super) shutdown: &'a CancellationToken,
    /// The calendar left the roster and its records are to be withdrawn.
    pub(super) withdrawn: bool,
    /// The syncs that write the sink.
    pub(super) writers: Vec<&'a str>,
    /// The source began to answer: views may be half read.
    pub(super) touched: AtomicBool,
    /// All syncs that read the source: it is read once for the union of what they need.
    pub(super) readers: Vec<Reader<'a>>,
}

/// A sync that reads a source, and the sink that it reads for.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) sync: &'a SyncConfig,
    pub(super) sink: &'a SinkCapabilities,
}

/// What is to be read of a calendar.
pub(super) struct Demand {
    pub(super) window: Window,
    pub(super) fields: FieldSet,
}

impl Unit<'_> {
    /// The union of what all readers of the source need.
    pub(super) fn demand(&self, rules: &Rules) -> Result<Demand, PassError> {
        let mut demand = Demand {
            window: rules.window,
            fields: rules.request_fields(),
        };
        if let Some(source) = &self.source.capabilities().source {
            for reader in &self.readers {
                let other = reader
                    .sync
                    .rules()
                    .at(self.clock.now(), source, reader.sink)?;
                demand.window = demand.window.hull(&other.window);
                demand.fields = demand.fields.union(&other.request_fields());
            }
        }
        Ok(demand)
    }
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// Events that the source reported.
    pub seen: u64,
    /// Events that were there and could not be described.
    pub unreadable: u64,
    /// Records made.
    pub created: u64,
    /// Records changed.
    pub updated: u64,
    /// Records removed.
    pub deleted: u64,
    /// Records that were there and hold what they should.
    pub adopted: u64,
    /// Deletes that the guard holds.
    pub held: u64,
    /// Writes that were refused for good in this pass.
    pub rejected: u64,
    /// Writes that wait for another try.
    pub waiting: u64,
    /// Calls that were made to the sink.
    pub calls: u64,
    /// When the first waiting write is due.
    pub next: Option<Timestamp>,
}

impl PassReport {
    /// Adds another report's counts.
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.unreadable += other.unreadable;
        self.created += other.created;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.adopted += other.adopted;
        self.held += other.held;
        self.rejected += other.rejected;
        self.waiting += other.waiting;
        self.calls += other.calls;
        self.next = match (self.next, other.next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// One write that a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedWrite {
    /// What would be done.
    pub op: Op,
    /// Why.
    pub reason: Reason,
    /// The record's external id, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// When the event takes place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<EventTime>,
    /// Whether the guard holds it.
    pub held: bool,
}

/// Whether a plan may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletes {
    /// It may.
    Planned,
    /// The source could not be read just now: what seems to be gone may be there.
    LeftOut,
}

/// How often a pass plans anew because the sink held something else than was assumed.
const PLANS: u32 = 3;

/// Brings a calendar's sink in step with what is known of its source.
pub(super) async fn plan_and_apply(
    unit: &Unit<'_>,
    rules: &Rules,
    deletes: Deletes,
    report: &mut PassReport,
) -> Result<(), PassError> {
    for _ in 0..PLANS {
        let plan = Plan::make(unit, rules, deletes).await?;
        report.held = plan.schedule.held.len() as u64;
        report.waiting = plan.schedule.waiting as u64;
        report.next = plan.schedule.next;
        report.adopted += plan.note(unit, rules).await?;
        if plan.schedule.due.is_empty() {
            break;
        }
        let conflicts = plan.apply(unit, rules, report).await?;
        if !conflicts {
            break;
        }
    }
    Ok(())
}

/// What would be written now. Nothing is.
pub(super) async fn plan_only(
    unit: &Unit<'_>,
    rules: &Rules,
) -> Result<Vec<PlannedWrite>, PassError> {
    let plan = Plan::make(unit, rules, Deletes::Planned).await?;
    let held: Vec<LinkId> = plan.schedule.held.clone();
    Ok(plan
        .rows
        .iter()
        .zip(&plan.decisions)
        .filter_map(|(row, decision)| {
            Some(PlannedWrite {
                op: decision.intent.op()?,
                reason: decision.reason,
                external_id: row.sink.remote.as_ref().map(|remote| remote.id.clone()),
                time: decision
                    .intent
                    .content()
                    .or(row.sink.content.as_ref())
                    .map(|content| content.time.clone()),
                held: held.contains(&row.link),
            })
        })
        .collect())
}

/// A plan: computed, never stored.
struct Plan {
    rows: Vec<Row>,
    desired: Vec<Desired>,
    decisions: Vec<Decision>,
    schedule: Schedule,
    prints: Fingerprinter,
    basis: String,
}

impl Plan {
    async fn make(unit: &Unit<'_>, rules: &Rules, deletes: Deletes) -> Result<Self, PassError> {
        let sink = sink_capabilities(unit)?;
        let mut rows = {
            // Not in the middle of another sync's round over the same calendar.
            let _alone = unit.source.round_of(unit.calendar).await;
            linked_rows(unit, sink).await?
        };
        let prints = unit.store.prints();
        let basis = basis(unit, &prints);
        let now = unit.clock.now();
        let context = context(&prints, rules, &basis, sink, now);
        let desired: Vec<Desired> = rows
            .iter()
            .map(|row| {
                let source = row.source.as_ref().filter(|_| !unit.withdrawn);
                project(source, rules)
            })
            .collect();
        let mut decisions: Vec<Decision> = rows
            .iter()
            .zip(&desired)
            .map(|(row, desired)| decide(row, desired, &context))
            .collect();
        leave_out(unit, &rows, &mut decisions, deletes).await?;
        for (row, decision) in rows.iter_mut().zip(&decisions) {
            if row.retry.is_some() {
                *row = outcome::renew(row.clone(), &decision.intent, &context);
            }
        }
        // Only deletes need the guard's memory.
        let history = if decisions.iter().any(|d| d.intent == Intent::Delete) {
            history(unit, rules, now).await?
        } else {
            GuardHistory::default()
        };
        let schedule = schedule(&rows, &decisions, &history, &rules.guard, now);
        Ok(Self {
            rows,
            desired,
            decisions,
            schedule,
            prints,
            basis,
        })
    }

    /// Stores what the plan found without a write: adoptions, and what the guard holds or lets go.
    async fn note(&self, unit: &Unit<'_>, rules: &Rules) -> Result<u64, PassError> {
        let sink = sink_capabilities(unit)?;
        let now = unit.clock.now();
        let context = context(&self.prints, rules, &self.basis, sink, now);
        let mut commit = self.commit(unit);
        let mut adopted = 0;
        for (row, (desired, decision)) in self
            .rows
            .iter()
            .zip(self.desired.iter().zip(&self.decisions))
        {
            let keep = |outcome: &str| DecisionRecord {
                link: row.link,
                at: now,
                desired: desired.clone(),
                decision: decision.clone(),
                outcome: Some(outcome.to_owned()),
                call: None,
            };
            if matches!(decision.intent, Intent::Adopt { .. }) {
                adopted += 1;
                commit.decisions.push(keep("adopted"));
                commit
                    .update
                    .push(outcome::adopt(row.clone(), &decision.intent, &context));
            } else if self.schedule.held.contains(&row.link) {
                if row.held_since.is_none() {
                    commit.decisions.push(keep("held"));
                }
                if row.held_since.is_none() || row.held_by_stop != self.schedule.held_by_stop {
                    let mut held = row.clone();
                    held.held_since = held.held_since.or(Some(now));
                    held.held_by_stop = self.schedule.held_by_stop;
                    commit.update.push(held);
                }
            } else if self.schedule.released.contains(&row.link) {
                let mut released = row.clone();
                released.held_since = None;
                released.held_by_stop = false;
                released.approved = None;
                commit.update.push(released);
            } else if decision.intent == Intent::Nothing
                && decision.reason != Reason::Refused
                && (row.dead.is_some() || row.retry.is_some())
            {
                // Nothing is left to be refused or to be tried again.
                let mut closed = row.clone();
                closed.dead = None;
                closed.retry = None;
                commit.update.push(closed);
            }
        }
        if !self.schedule.held.is_empty() {
            tracing::warn!(
                sync = unit.sync.name,
                calendar = unit.handle,
                held = self.schedule.held.len(),
                "Deletes are held: they are unusually many. They wait for an operator's approval."
            );
        }
        if !commit.update.is_empty() {
            unit.store.commit_rows(unit.fence, commit).await?;
        }
        Ok(adopted)
    }

    /// Sends the due writes; answers whether any met something else than was assumed.
    async fn apply(
        &self,
        unit: &Unit<'_>,
        rules: &Rules,
        report: &mut PassReport,
    ) -> Result<bool, PassError> {
        let sink = sink_capabilities(unit)?;
        let positions: HashMap<LinkId, usize> = self
            .rows
            .iter()
            .enumerate()
            .map(|(position, row)| (row.link, position))
            .collect();
        let mut conflicts = false;
        let due = self
            .schedule
            .due
            .iter()
            .filter_map(|due| Some((*positions.get(&due.link)?, due)))
            .collect();
        let mut batches = self.batches(due, sink);
        batches.reverse();
        while let Some(mut batch) = batches.pop() {
            if unit.shutdown.is_cancelled() {
                return Err(PassError::Cancelled);
            }
            let sent = match self.send(unit, rules, sink, &batch).await {
                Ok(sent) => sent,
                // A refused batch is halved until the culprit stands alone.
                Err(PassError::Sink(error)) if error.kind == ErrorKind::Rejected => {
                    if batch.len() > 1 {
                        let rest = batch.split_off(batch.len() / 2);
                        batches.push(rest);
                        batches.push(batch);
                        continue;
                    }
                    self.refused(unit, rules, sink, &batch, &error)?
                }
                Err(error) => return Err(error),
            };
            report.calls += sent.report.receipts.len() as u64;
            conflicts |= self.settle(unit, rules, &batch, &sent, report).await?;
            match sent.report.trouble {
                Some(trouble) if trouble.scope != Scope::Item => {
                    return Err(PassError::Sink(trouble));
                }
                _ => {}
            }
        }
        Ok(conflicts)
    }

    /// Batches within the sink's limit. Where versions count, a series' version covers all its members: writes
    /// within a series go one by one.
    fn batches<'d>(
        &self,
        due: Vec<(usize, &'d Due)>,
        sink: &SinkCapabilities,
    ) -> Vec<Vec<(usize, &'d Due)>> {
        let mut batches: Vec<Vec<(usize, &Due)>> = Vec::new();
        for (position, due) in due {
            let group =
                |position: usize| self.rows.get(position).and_then(|row| row.group.as_ref());
            let fits = batches.last().is_some_and(|batch| {
                batch.len() < sink.max_batch.max(1)
                    && !(sink.conditional_write
                        && group(position).is_some()
                        && batch
                            .iter()
                            .any(|(other, _)| group(*other) == group(position)))
            });
            match batches.last_mut() {
                Some(batch) if fits => batch.push((position, due)),
                _ => batches.push(vec![(position, due)]),
            }
        }
        batches
    }

    /// A single write that was refused as a call, as if its outcome said so.
    fn refused(
        &self,
        unit: &Unit<'_>,
        rules: &Rules,
        sink: &SinkCapabilities,
        batch: &[(usize, &Due)],
        error: &Error,
    ) -> Result<Sent, PassError> {
        let rows = self.begun(unit, rules, sink, batch);
        let outcomes = rows
            .iter()
            .map(|row| WriteOutcome {
                id: write_id(row.link),
                outcome: Outcome::Rejected {
                    code: error.code.clone(),
                    message: error.message.clone(),
                },
                receipt: None,
                notices: Vec::new(),
            })
            .collect();
        Ok(Sent {
            rows,
            report: ApplyReport {
                outcomes,
                ..ApplyReport::default()
            },
        })
    }

    /// The rows of a batch while it is under way.
    fn begun(
        &self,
        unit: &Unit<'_>,
        rules: &Rules,
        sink: &SinkCapabilities,
        batch: &[(usize, &Due)],
    ) -> Vec<Row> {
        let context = context(&self.prints, rules, &self.basis, sink, unit.clock.now());
        batch
            .iter()
            .filter_map(|(position, due)| {
                let row = self.rows.get(*position)?.clone();
                // The same attempt, repeated, keeps its name.
                let token = row.attempt.as_ref().map_or_else(
                    || AttemptToken(uuid::Uuid::new_v4().to_string()),
                    |attempt| attempt.token.clone(),
                );
                Some(outcome::begin(row, &due.intent, token, &context))
            })
            .collect()
    }

    async fn send(
        &self,
        unit: &Unit<'_>,
        rules: &Rules,
        sink: &SinkCapabilities,
        batch: &[(usize, &Due)],
    ) -> Result<Sent, PassError> {
        let Some(connection) = unit.sink.connection().sink() else {
            return Err(PassError::Sink(Error::unsupported("writing")));
        };
        let now = unit.clock.now();
        let permit = unit.sink.writes.enter(now).await.map_err(PassError::Sink)?;
        let rows = self.begun(unit, rules, sink, batch);
        // A fact, not a queue: from here on the writes may have been sent.
        let mut commit = self.commit(unit);
        commit.update.clone_from(&rows);
        unit.store.commit_rows(unit.fence, commit).await?;
        let writes: Vec<Write> = rows
            .iter()
            .zip(batch)
            .filter_map(|(row, (position, due))| write(row, self.rows.get(*position)?, &due.intent))
            .collect();
        let report = connection.apply(&unit.reference, &writes).await;
        drop(permit);
        let now = unit.clock.now();
        match report {
            Ok(report) => {
                unit.sink.writes.report(report.trouble.as_ref(), now);
                Ok(Sent { rows, report })
            }
            // Nothing was sent: the rows are as they were.
            Err(error) => {
                unit.sink.writes.report(Some(&error), now);
                let mut commit = self.commit(unit);
                commit.update = batch
                    .iter()
                    .filter_map(|(position, _)| self.rows.get(*position).cloned())
                    .collect();
                unit.store.commit_rows(unit.fence, commit).await?;
                Err(PassError::Sink(error))
            }
        }
    }

    async fn settle(
        &self,
        unit: &Unit<'_>,
        rules: &Rules,
        batch: &[(usize, &Due)],
        sent: &Sent,
        report: &mut PassReport,
    ) -> Result<bool, PassError> {
        let sink = sink_capabilities(unit)?;
        let now = unit.clock.now();
        let context = context(&self.prints, rules, &self.basis, sink, now);
        let answers: HashMap<WriteId, _> = sent
            .report
            .outcomes
            .iter()
            .map(|answer| (answer.id, answer))
            .collect();
        let outage = sent.report.trouble.is_some();
        let mut commit = self.commit(unit);
        let mut conflicts = false;
        for (row, (position, due)) in sent.rows.iter().zip(batch) {
            let answer = answers.get(&write_id(row.link));
            let unknown = Outcome::Unknown;
            let outcome = answer.map_or(&unknown, |answer| &answer.outcome);
            let Some(before) = self.rows.get(*position) else {
                continue;
            };
            let settled =
                outcome::settle(before, row.clone(), &due.intent, outcome, outage, &context);
            if let Some(retry) = &settled.retry {
                let next = report.next.unwrap_or(retry.not_before);
                report.next = Some(next.min(retry.not_before));
            }
            count(outcome, due.intent.op(), report);
            conflicts |= matches!(outcome, Outcome::Conflict { .. }) && settled.dead.is_none();
            if let Some(dead) = &settled.dead {
                tracing::warn!(
                    sync = unit.sync.name,
                    calendar = unit.handle,
                    link = row.link.0,
                    code = dead.code,
                    "A write was refused for good; it is kept as a dead letter until something changes."
                );
            }
            if matches!(outcome, Outcome::Done { .. } | Outcome::Unchanged)
                && due.intent.op() == Some(Op::Delete)
            {
                commit.deleted_units.push(row.unit());
            }
            if let (Some(desired), Some(decision)) =
                (self.desired.get(*position), self.decisions.get(*position))
            {
                commit.decisions.push(DecisionRecord {
                    link: row.link,
                    at: now,
                    desired: desired.clone(),
                    decision: decision.clone(),
                    outcome: Some(outcome_word(outcome, answer.map_or(&[], |a| &a.notices))),
                    call: answer
                        .and_then(|answer| answer.receipt)
                        .and_then(|receipt| i64::try_from(receipt).ok()),
                });
            }
            commit.update.push(settled);
        }
        commit.calls = sent
            .report
            .receipts
            .iter()
            .map(|receipt| CallRecord {
                connection: unit.sink.name().to_owned(),
                receipt: receipt.clone(),
            })
            .collect();
        unit.store.commit_rows(unit.fence, commit).await?;
        Ok(conflicts)
    }

    fn commit(&self, unit: &Unit<'_>) -> RowCommit {
        RowCommit {
            sync: unit.sync.name.clone(),
            calendar: Some(unit.calendar),
            ..RowCommit::default()
        }
    }
}

/// What was sent, and what came back.
struct Sent {
    rows: Vec<Row>,
    report: ApplyReport,
}

pub(super) fn sink_capabilities<'a>(unit: &Unit<'a>) -> Result<&'a SinkCapabilities, PassError> {
    unit.sink
        .capabilities()
        .sink
        .as_ref()
        .ok_or_else(|| PassError::Sink(Error::unsupported("writing")))
}

/// What dead letters are bound to besides the desired content.
fn basis(unit: &Unit<'_>, prints: &Fingerprinter) -> String {
    prints.text(&format!(
        "{} {}",
        unit.sync.rules().basis(),
        unit.sink.version()
    ))
}

pub(super) fn context<'a>(
    prints: &'a Fingerprinter,
    rules: &'a Rules,
    basis: &'a str,
    sink: &SinkCapabilities,
    now: Timestamp,
) -> DecideContext<'a> {
    DecideContext {
        prints,
        wall_clock: rules.wall_clock.as_ref(),
        basis,
        idempotent_upsert: sink.idempotent_upsert,
        probe: sink.probe,
        now,
    }
}

async fn history(
    unit: &Unit<'_>,
    rules: &Rules,
    now: Timestamp,
) -> Result<GuardHistory, PassError> {
    let deleted = unit
        .store
        .deleted_units(&unit.sync.name, unit.calendar, guard::since(now))
        .await?;
    let (mut held, mut all) = (0, 0);
    for sync in unit.writers.iter().copied() {
        let (held_of_sync, all_of_sync) = unit.store.held_calendars(sync).await?;
        held += held_of_sync;
        all += all_of_sync;
    }
    let stopped = held * 100 > all * u64::from(rules.guard.calendars_percent);
    Ok(GuardHistory { deleted, stopped })
}

/// Leaves out what must not be deleted now: anything, if the source could not be read; and records that never
/// had a source, while the source holds something that it could not describe.
async fn leave_out(
    unit: &Unit<'_>,
    rows: &[Row],
    decisions: &mut [Decision],
    deletes: Deletes,
) -> Result<(), PassError> {
    if !decisions
        .iter()
        .any(|decision| decision.intent == Intent::Delete)
    {
        return Ok(());
    }
    let unclear = unit
        .store
        .source_state(unit.source.name(), unit.calendar)
        .await?
        .unreadable;
    for (row, decision) in rows.iter().zip(decisions) {
        let sourceless = row.source.is_none() && row.agreed.is_none();
        if decision.intent == Intent::Delete
            && !unit.withdrawn
            && (deletes == Deletes::LeftOut || (unclear && sourceless))
        {
            *decision = Decision {
                intent: Intent::Nothing,
                reason: Reason::SourceUnclear,
            };
        }
    }
    Ok(())
}

/// The rows of the calendar; views without a row are given one first.
async fn linked_rows(unit: &Unit<'_>, sink: &SinkCapabilities) -> Result<Vec<Row>, PassError> {
    let load = || {
        unit.store
            .rows(&unit.sync.name, unit.source.name(), unit.calendar)
    };
    let found = load().await?;
    if found.unlinked.is_empty() {
        return Ok(found.rows);
    }
    let mut commit = RowCommit {
        sync: unit.sync.name.clone(),
        calendar: Some(unit.calendar),
        ..RowCommit::default()
    };
    for linked in link(&found.rows, &found.unlinked, &sink.external_ids) {
        match linked {
            Linked::Attach { row, view } => {
                if let (Some(row), Some(view)) = (found.rows.get(row), found.unlinked.get(view)) {
                    let mut row = row.clone();
                    row.key = view.event.key.clone();
                    row.ordinal = view.ordinal;
                    row.group = view.event.group.as_ref().map(|group| group.id.clone());
                    row.source = Some(view.clone());
                    commit.update.push(row);
                }
            }
            Linked::New { view, external_id } => {
                if let Some(view) = found.unlinked.get(view) {
                    let remote = external_id.and_then(|id| SideRef::new(id).ok());
                    commit.insert.push(NewRow {
                        key: view.event.key.clone(),
                        ordinal: view.ordinal,
                        group: view.event.group.as_ref().map(|group| group.id.clone()),
                        view: Some(view.id),
                        remote: remote.clone(),
                        sink: SinkView {
                            remote,
                            ..SinkView::default()
                        },
                    });
                }
            }
        }
    }
    unit.store.commit_rows(unit.fence, commit).await?;
    Ok(load().await?.rows)
}

fn write_id(link: LinkId) -> WriteId {
    WriteId(link.0.unsigned_abs())
}

fn write(row: &Row, before: &Row, intent: &Intent) -> Option<Write> {
    Some(Write {
        id: write_id(row.link),
        op: intent.op()?,
        key: row.key.clone(),
        remote: row.sink.remote.clone(),
        target: intent.content().cloned(),
        base: before.sink.content.clone(),
        group_version: row
            .source
            .as_ref()
            .and_then(|view| view.event.group.as_ref())
            .and_then(|group| group.version.clone()),
        token: row.attempt.as_ref()?.token.clone(),
    })
}

fn count(outcome: &Outcome, op: Option<Op>, report: &mut PassReport) {
    match (outcome, op) {
        (Outcome::Done { .. } | Outcome::Unchanged, Some(Op::Create)) => report.created += 1,
        (Outcome::Done { .. } | Outcome::Unchanged, Some(Op::Update)) => report.updated += 1,
        (Outcome::Done { .. } | Outcome::Unchanged, Some(Op::Delete)) => report.deleted += 1,
        (Outcome::Rejected { .. }, _) => report.rejected += 1,
        (Outcome::Retry { .. } | Outcome::Unknown, _) => report.waiting += 1,
        _ => {}
    }
}

fn outcome_word(outcome: &Outcome, notices: &[String]) -> String {
    let word = match outcome {
        Outcome::Done { .. } => "done".to_owned(),
        Outcome::Unchanged => "unchanged".to_owned(),
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
        Outcome::Foreign => "foreign".to_owned(),
        Outcome::Rejected { code, .. } => format!("rejected {code}"),
        Outcome::Conflict { .. } => "conflict".to_owned(),
        Outcome::Retry { code, .. } => match code {
            Some(code) => format!("retry {code}"),
            None => "retry".to_owned(),
        },
    };
    if notices.is_empty() {
        word
    } else {
        format!("{word} ({})", notices.join(", "))
    }
}

/// Whether the views are those of a round that ended well.
async fn may_deliver(unit: &Unit<'_>) -> Result<bool, PassError> {
    let state = unit
        .store
        .source_state(unit.source.name(), unit.calendar)
        .await?;
    Ok(!unit.touched.load(Ordering::Relaxed) && state.finished.is_some())
}

/// Reads a calendar, then brings the sink in step.
pub(super) async fn pass(unit: &Unit<'_>, full: bool) -> (PassReport, Result<(), PassError>) {
    let mut report = PassReport::default();
    let done = async {
        let (Some(source), Some(sink)) = (
            &unit.source.capabilities().source,
            &unit.sink.capabilities().sink,
        ) else {
            return Err(PassError::Source(Error::unsupported("this direction")));
        };
        let rules = unit.sync.rules().at(unit.clock.now(), source, sink)?;
        let mut trouble = None;
        let mut deletes = Deletes::Planned;
        if !unit.withdrawn {
            match pull::pull(unit, &rules, full).await {
                Ok(pulled) => {
                    report.seen = pulled.seen;
                    report.unreadable = pulled.unreadable;
                }
                // What was read before is delivered all the same, unless the views are half read.
                Err(error @ PassError::Source(_)) if may_deliver(unit).await? => {
                    trouble = Some(error);
                    deletes = Deletes::LeftOut;
                }
                Err(error) => return Err(error),
            }
        }
        plan_and_apply(unit, &rules, deletes, &mut report).await?;
        trouble.map_or(Ok(()), Err)
    }
    .await;
    (report, done)
}
