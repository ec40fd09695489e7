//! Apply: a plan's due writes, to the sink, and what became of them, to the rows.

use std::collections::HashMap;

use super::confirm::can_tell;
use super::decide::Intent;
use super::pass::PassReport;
use super::plan::{Plan, context};
use super::schedule::Due;
use super::unit::{PassError, Unit, sink_capabilities};
use super::{Inputs, LinkId, Row, Rules, guard, outcome};
use crate::connector::{
    ApplyReport, AttemptToken, Error, ErrorKind, ExternalIds, Op, Outcome, Scope, SinkCapabilities,
    Write, WriteId, WriteOutcome,
};
use crate::store::{CallRecord, DecisionRecord, Spent, StoreError};

impl Plan {
    /// Sends the due writes; answers whether any met something else than was assumed.
    pub(super) async fn apply(
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
        // Whether the sink answered in this pass.
        let mut answers = false;
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
            unit.check_paused().await?;
            let left = unit.budget_left().await?;
            if batch.len() > left {
                batches.push(batch.split_off(left));
            }
            let sent = match self.send(unit, rules, sink, &batch).await {
                Ok(sent) => sent,
                // A refused batch is halved until the culprit stands alone. If the calendar is refused, or more, none
                // of its writes is to blame.
                Err(PassError::Sink(error))
                    if error.kind == ErrorKind::Rejected && error.scope == Scope::Item =>
                {
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
            conflicts |= self
                .settle(unit, rules, &batch, &sent, answers, report)
                .await?;
            answers |= sent.report.trouble.is_none() && !sent.report.outcomes.is_empty();
            match sent.report.trouble {
                Some(trouble) if trouble.scope != Scope::Item => {
                    return Err(PassError::Sink(trouble));
                }
                _ => {}
            }
        }
        Ok(conflicts)
    }

    /// Batches within the sink's limit. What was not answered before goes alone: it may be what spoilt its batch. Where versions count, a series' version covers all its members: writes
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
            let unanswered = |position: usize| {
                let row = self.rows.get(position);
                row.is_some_and(|row| row.unanswered().is_some())
            };
            let fits = batches.last().is_some_and(|batch| {
                batch.len() < sink.max_batch.max(1)
                    && !unanswered(position)
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
                let mut row = self.rows.get(*position)?.clone();
                if due.intent.op() == Some(Op::Create) && sink.external_ids == ExternalIds::Sink {
                    // The record gets another id than the one that is gone.
                    row.sink.remote = None;
                }
                let fresh = AttemptToken(uuid::Uuid::new_v4().to_string());
                Some(outcome::begin(row, &due.intent, fresh, &context))
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
        commit.spent = unit.sink.budget.map(|budget| Spent {
            connection: unit.sink.name().to_owned(),
            writes: rows.len() as u64,
            at: now,
            budget,
            since: guard::since(now),
        });
        let committed = unit.store.commit_rows(unit.fence, commit).await;
        committed.map_err(|error| match (error, unit.sink.budget) {
            // Another calendar was quicker.
            (StoreError::OverBudget { connection }, Some(budget)) => {
                PassError::Budget { connection, budget }
            }
            (error, _) => error.into(),
        })?;
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
        answered_before: bool,
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
        let trouble = sent.report.trouble.is_some();
        let mut commit = self.commit(unit);
        let mut conflicts = false;
        for (row, (position, due)) in sent.rows.iter().zip(batch) {
            let answer = answers.get(&write_id(row.link));
            let unknown = Outcome::Unknown;
            let outcome = match answer.map(|answer| &answer.outcome) {
                // Nobody would ever tell.
                Some(Outcome::Accepted { .. }) if !can_tell(sink) => &unknown,
                Some(outcome) => outcome,
                None => &unknown,
            };
            let Some(before) = self.rows.get(*position) else {
                continue;
            };
            // A write that is not answered while others are is itself to blame.
            let outage = trouble && !(answered_before && *outcome == Outcome::Unknown);
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
            // What may have been deleted counts for the guard as well, unless somebody approved it: one accident that was
            // none must not hold what comes after it.
            let counts = matches!(
                outcome,
                Outcome::Done { .. }
                    | Outcome::Unchanged
                    | Outcome::Accepted { .. }
                    | Outcome::Unknown
            );
            if counts && due.intent.op() == Some(Op::Delete) && !guard::is_approved(before) {
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
                    inputs: Some(Box::new(Inputs::of(before, desired, rules, sink, &context))),
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
}

/// What was sent, and what came back.
struct Sent {
    rows: Vec<Row>,
    report: ApplyReport,
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
        (Outcome::Retry { .. } | Outcome::Unknown | Outcome::Accepted { .. }, _) => {
            report.waiting += 1;
        }
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
