//! A calendar's plan: computed from its rows, never stored.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decide::{DecideContext, Decision, Intent, Reason, decide};
use super::guard::{self, GuardHistory};
use super::link::{Linked, link};
use super::project::{Desired, project};
use super::schedule::{Schedule, schedule};
use super::unit::{PassError, Unit, sink_capabilities};
use super::{
    Fingerprinter, Inputs, LinkId, OnSink, Row, Rules, RulesConfig, SinkView, outcome, roster,
};
use crate::connector::{Op, SinkCapabilities};
use crate::model::{EventTime, SideRef};
use crate::store::{DecisionRecord, NewRow, Round, RowCommit, SourceState};

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
    SourceUnclear,
    /// Our clock is not believed: what seems to have passed, or to be gone from the window, may lie ahead.
    ClockUnclear,
}

/// What would be written now. Nothing is.
pub(super) async fn plan_only(
    unit: &Unit<'_>,
    rules: &Rules,
    deletes: Deletes,
) -> Result<Vec<PlannedWrite>, PassError> {
    let plan = Plan::make(unit, rules, deletes).await?;
    // What is shown as held can be approved.
    if !unit.observed {
        plan.hold(unit, rules).await?;
    }
    Ok(plan.writes())
}

/// The same from what is stored, without storing anything: a view that has no row yet is left out.
pub(super) async fn plan_stored(
    unit: &Unit<'_>,
    rules: &Rules,
) -> Result<Vec<PlannedWrite>, PassError> {
    let found = unit
        .store
        .rows(&unit.sync.name, unit.source.name(), unit.calendar)
        .await?;
    let state = unit.source_state().await?;
    let plan = Plan::of(unit, rules, Deletes::Planned, found.rows, &state).await?;
    Ok(plan.writes())
}

/// A plan: computed, never stored.
pub(super) struct Plan {
    pub(super) rows: Vec<Row>,
    pub(super) desired: Vec<Desired>,
    pub(super) decisions: Vec<Decision>,
    pub(super) schedule: Schedule,
    pub(super) prints: Fingerprinter,
    pub(super) basis: String,
    /// The source's newest round, whose views it was made from.
    pub(super) round: Option<Round>,
}

impl Plan {
    pub(super) async fn make(
        unit: &Unit<'_>,
        rules: &Rules,
        deletes: Deletes,
    ) -> Result<Self, PassError> {
        let (rows, state) = {
            // Not in the middle of another sync's round over the same calendar.
            let _alone = unit.source.round_of(unit.calendar).await;
            let state = unit.source_state().await?;
            (
                linked_rows(unit, sink_capabilities(unit)?, rules).await?,
                state,
            )
        };
        Self::of(unit, rules, deletes, rows, &state).await
    }

    /// The plan over these rows.
    async fn of(
        unit: &Unit<'_>,
        rules: &Rules,
        deletes: Deletes,
        mut rows: Vec<Row>,
        state: &SourceState,
    ) -> Result<Self, PassError> {
        let sink = sink_capabilities(unit)?;
        let prints = unit.store.prints();
        let basis = basis(&unit.sync.rules(), unit.sink.version(), &prints);
        let now = unit.clock.now();
        let told = !unit.withdrawn && !matches!(deletes, Deletes::ClockUnclear);
        for row in &mut rows {
            if told && guard::is_confirmed(row, state, now) {
                row.approved = Some(now);
            }
        }
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
        leave_out(unit, &rows, &mut decisions, deletes, state.unreadable);
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
            round: state.round,
        })
    }

    /// Whether there is nothing to do, nothing waits, and nothing was left undone that a plan tomorrow, or an hour later,
    /// would do.
    pub(super) fn is_settled(&self) -> bool {
        self.schedule == Schedule::default()
            && self.decisions.iter().all(|decision| {
                decision.intent == Intent::Nothing
                    && !matches!(
                        decision.reason,
                        Reason::Refused
                            | Reason::FateUnknown
                            | Reason::SourceUnclear
                            | Reason::ClockUnclear
                    )
            })
    }

    /// How many events a write of which was refused for good, and is still what should be.
    pub(super) fn dead_letters(&self) -> u64 {
        let refused = |decision: &&Decision| decision.reason == Reason::Refused;
        self.decisions.iter().filter(refused).count() as u64
    }

    /// The writes that it comes to.
    fn writes(&self) -> Vec<PlannedWrite> {
        let held = &self.schedule.held;
        self.rows
            .iter()
            .zip(&self.decisions)
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
            .collect()
    }

    /// Stores what the guard holds from now on; nothing else.
    async fn hold(&self, unit: &Unit<'_>, rules: &Rules) -> Result<(), PassError> {
        let sink = sink_capabilities(unit)?;
        let now = unit.clock.now();
        let context = context(&self.prints, rules, &self.basis, sink, now);
        let mut commit = self.commit(unit);
        for (row, (desired, decision)) in self
            .rows
            .iter()
            .zip(self.desired.iter().zip(&self.decisions))
        {
            if row.held_since.is_none() && self.schedule.held.contains(&row.link) {
                commit.decisions.push(DecisionRecord {
                    link: row.link,
                    at: now,
                    desired: desired.clone(),
                    decision: decision.clone(),
                    outcome: Some("held".to_owned()),
                    call: None,
                    inputs: Some(Box::new(Inputs::of(row, desired, rules, sink, &context))),
                });
                let mut held = row.clone();
                held.held_since = Some(now);
                held.held_by_stop = self.schedule.held_by_stop;
                commit.update.push(held);
            }
        }
        if !commit.update.is_empty() {
            unit.store.commit_rows(unit.fence, commit).await?;
        }
        Ok(())
    }

    /// Stores what the plan found without a write: adoptions, and what the guard holds or lets go.
    pub(super) async fn note(&mut self, unit: &Unit<'_>, rules: &Rules) -> Result<u64, PassError> {
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
                inputs: Some(Box::new(Inputs::of(row, desired, rules, sink, &context))),
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
                && !matches!(
                    decision.reason,
                    Reason::Refused | Reason::SourceUnclear | Reason::ClockUnclear
                )
                && (row.dead.is_some() || row.retry.is_some() || is_settled(row))
            {
                // Nothing is left to be refused, to be tried again or to be asked after.
                let mut closed = row.clone();
                closed.dead = None;
                closed.retry = None;
                closed.attempt = closed.attempt.filter(|_| !is_settled(row));
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
            let mut noted: HashMap<LinkId, Row> = commit
                .update
                .iter()
                .map(|row| (row.link, row.clone()))
                .collect();
            unit.store.commit_rows(unit.fence, commit).await?;
            for row in &mut self.rows {
                if let Some(now) = noted.remove(&row.link) {
                    *row = now;
                }
            }
        }
        Ok(adopted)
    }

    pub(super) fn commit(&self, unit: &Unit<'_>) -> RowCommit {
        RowCommit {
            sync: unit.sync.name.clone(),
            calendar: Some(unit.calendar),
            ..RowCommit::default()
        }
    }
}

/// Whether it is known what became of the row's last attempt.
fn is_settled(row: &Row) -> bool {
    row.attempt.is_some() && row.sink.state != OnSink::Unknown
}

/// What dead letters are bound to besides the desired content: the sync's rules, and the sink's connector and version
/// ([`ConnectionHandle::version`](super::ConnectionHandle::version)).
#[must_use]
pub fn basis(rules: &RulesConfig, version: &str, prints: &Fingerprinter) -> String {
    prints.text(&format!("{} {version}", rules.basis()))
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
        zone: &rules.zone,
        first_day: rules.window_day(),
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
    for sync in &unit.writers {
        let held_of_sync = unit.store.held_calendars(&sync.name).await?;
        for state in unit.store.calendars(&sync.name).await? {
            let is_held = held_of_sync.contains(&state.id);
            // Leavers of whom nothing is left to withdraw must not make the held ones look few.
            let counts = roster::takes_part(&state, &sync.roster)
                || (is_held && roster::is_withdrawn(&state, &sync.roster));
            all += u64::from(counts);
            held += u64::from(counts && is_held);
        }
    }
    let stopped = held * 100 > all * u64::from(rules.guard.calendars_percent);
    Ok(GuardHistory { deleted, stopped })
}

/// Leaves out what must not be deleted now: anything, if the source could not be read; and records that never
/// had a source, while the source holds something that it could not describe.
fn leave_out(
    unit: &Unit<'_>,
    rows: &[Row],
    decisions: &mut [Decision],
    deletes: Deletes,
    unclear: bool,
) {
    for (row, decision) in rows.iter().zip(decisions) {
        let sourceless = row.source.is_none() && row.agreed.is_none();
        let reason = match deletes {
            Deletes::ClockUnclear => Reason::ClockUnclear,
            _ if unit.withdrawn => continue,
            Deletes::SourceUnclear => Reason::SourceUnclear,
            Deletes::Planned if unclear && sourceless => Reason::SourceUnclear,
            Deletes::Planned => continue,
        };
        if decision.intent == Intent::Delete {
            *decision = Decision {
                intent: Intent::Nothing,
                reason,
            };
        }
    }
}

/// The rows of the calendar; views without a row are given one first.
async fn linked_rows(
    unit: &Unit<'_>,
    sink: &SinkCapabilities,
    rules: &Rules,
) -> Result<Vec<Row>, PassError> {
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
    let zone = rules.wall_clock.as_ref().unwrap_or(&rules.zone);
    for linked in link(&found.rows, &found.unlinked, &sink.external_ids, zone) {
        match linked {
            Linked::Attach { row, view } => {
                if let (Some(row), Some(view)) = (found.rows.get(row), found.unlinked.get(view)) {
                    let mut row = row.clone();
                    row.key = view.event.key.clone();
                    row.ordinal = view.ordinal;
                    row.group = view.event.group.as_ref().map(|group| group.id.clone());
                    row.source = Some(view.clone());
                    row.first_contact = false;
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
                        first_contact: false,
                    });
                }
            }
        }
    }
    unit.store.commit_rows(unit.fence, commit).await?;
    Ok(load().await?.rows)
}
