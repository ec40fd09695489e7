//! Decisions and calls.

use rusqlite::{Transaction, params};

use super::codec::{At, json, json_opt, read_at, read_json, read_json_opt};
use super::fault::Work;
use crate::connector::Receipt;
use crate::engine::LinkId;
use crate::engine::decide::{Decision, Intent};
use crate::engine::project::Desired;
use crate::model::{Content, FieldSet};
use crate::store::{CallRecord, DecisionRecord, StoreError};

/// How many decisions of a row are kept.
const KEPT: i64 = 20;

/// Stores calls; answers their ids.
pub(super) fn store_calls(
    transaction: &Transaction<'_>,
    sync: &str,
    member: Option<i64>,
    calls: &[CallRecord],
) -> Work<Vec<i64>> {
    let mut ids = Vec::with_capacity(calls.len());
    for call in calls {
        let receipt = &call.receipt;
        transaction
            .prepare_cached(
                "INSERT INTO call (connection, sync, member, operation, reference, started, ended,
                                   events, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                call.connection,
                sync,
                member,
                receipt.operation,
                receipt.reference,
                At(receipt.started),
                At(receipt.ended),
                i64::try_from(receipt.events).unwrap_or(i64::MAX),
                json_opt(receipt.error.as_ref())?,
            ])?;
        ids.push(transaction.last_insert_rowid());
    }
    Ok(ids)
}

/// Stores decisions of rows of `member` and forgets the oldest.
pub(super) fn store_decisions(
    transaction: &Transaction<'_>,
    member: i64,
    decisions: &[DecisionRecord],
    calls: &[i64],
) -> Work<()> {
    for record in decisions {
        // A connector that names a call it did not report costs the record its call, nothing else.
        let call = record
            .call
            .and_then(|position| calls.get(usize::try_from(position).ok()?));
        let stored = transaction
            .prepare_cached(
                "INSERT INTO decision (link, at, desired, decision, outcome, call, inputs)
                 SELECT id, ?3, ?4, ?5, ?6, ?7, ?8 FROM link WHERE id = ?1 AND member = ?2",
            )?
            .execute(params![
                record.link.0,
                member,
                At(record.at),
                json(&desired_times(&record.desired))?,
                json(&decision_times(&record.decision))?,
                record.outcome,
                call,
                json_opt(record.inputs.as_ref())?,
            ])?;
        if stored == 0 {
            return Err(StoreError::NotFound("row").into());
        }
        transaction
            .prepare_cached(
                "DELETE FROM decision WHERE link = ?1 AND id <=
                    (SELECT id FROM decision WHERE link = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![record.link.0, KEPT])?;
    }
    Ok(())
}

/// Decisions are kept longer than a row's content may be: of content only the times.
fn times(content: &Content) -> Content {
    content.only(&FieldSet::times())
}

fn desired_times(desired: &Desired) -> Desired {
    match desired {
        Desired::Present { content, creatable } => Desired::Present {
            content: times(content),
            creatable: *creatable,
        },
        Desired::Past { content } => Desired::Past {
            content: times(content),
        },
        Desired::Absent { why } => Desired::Absent { why: *why },
    }
}

fn decision_times(decision: &Decision) -> Decision {
    let intent = match &decision.intent {
        Intent::Create { content } => Intent::Create {
            content: times(content),
        },
        Intent::Update { content } => Intent::Update {
            content: times(content),
        },
        Intent::PutBack { content } => Intent::PutBack {
            content: times(content),
        },
        Intent::Adopt { content } => Intent::Adopt {
            content: times(content),
        },
        Intent::Nothing => Intent::Nothing,
        Intent::Delete => Intent::Delete,
        Intent::Probe => Intent::Probe,
        Intent::Stop => Intent::Stop,
    };
    Decision {
        intent,
        reason: decision.reason,
    }
}

pub(super) fn decisions(transaction: &Transaction<'_>, link: LinkId) -> Work<Vec<DecisionRecord>> {
    let mut statement = transaction.prepare_cached(
        "SELECT at, desired, decision, outcome, call, inputs FROM decision
          WHERE link = ?1 ORDER BY id DESC",
    )?;
    let records = statement.query_map([link.0], |row| {
        Ok(DecisionRecord {
            link,
            at: read_at(row, 0)?,
            desired: read_json(row, 1)?,
            decision: read_json(row, 2)?,
            outcome: row.get(3)?,
            call: row.get(4)?,
            // Those of another version may not be readable; the decision is.
            inputs: read_json_opt(row, 5).unwrap_or_default(),
        })
    })?;
    Ok(records.collect::<Result<_, _>>()?)
}

pub(super) fn calls(transaction: &Transaction<'_>, limit: u32) -> Work<Vec<CallRecord>> {
    let mut statement = transaction.prepare_cached(
        "SELECT connection, operation, reference, started, ended, events, error FROM call
          ORDER BY id DESC LIMIT ?1",
    )?;
    let records = statement.query_map([limit], |row| {
        Ok(CallRecord {
            connection: row.get(0)?,
            receipt: Receipt {
                operation: row.get(1)?,
                reference: row.get(2)?,
                started: read_at(row, 3)?,
                ended: read_at(row, 4)?,
                events: usize::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
                error: read_json_opt(row, 6)?,
            },
        })
    })?;
    Ok(records.collect::<Result<_, _>>()?)
}
