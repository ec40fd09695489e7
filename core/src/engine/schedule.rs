//! The intents of a calendar, to writes or held ones: retry times, guard, order.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::decide::{Decision, Intent, Reason};
use super::guard::{self, GuardHistory};
use super::outcome::waits;
use super::{GuardLimits, LinkId, OnSink, Row};
use crate::connector::Op;

/// A write that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// The row.
    pub link: LinkId,
    /// What shall be done: one of the writing intents.
    pub intent: Intent,
}

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schedule {
    /// Writes in the order in which they are to be sent.
    pub due: Vec<Due>,
    /// Deletes that the guard holds.
    pub held: Vec<LinkId>,
    /// They are held only because deletes of the whole connection are stopped.
    pub held_by_stop: bool,
    /// Rows that were held and are not any more: their cause vanished.
    pub released: Vec<LinkId>,
    /// Rows of which is to be found out what became of their last write.
    pub probe: Vec<LinkId>,
    /// Writes and probes that wait for a time to pass, with the earliest of those times.
    pub waiting: usize,
    /// When the first of the waiting ones is due.
    pub next: Option<Timestamp>,
}

/// Schedules the decisions of one calendar. `rows` and `decisions` go together by position.
///
/// Creates and updates come before deletes, so that time that stays busy never shows as free in between; each
/// in the order of their start. What was sent before and not answered comes last, the longest untried first: a write
/// that is never answered keeps no other from being sent. Held deletes block nothing else.
#[must_use]
pub fn schedule(
    rows: &[Row],
    decisions: &[Decision],
    history: &GuardHistory,
    limits: &GuardLimits,
    now: Timestamp,
) -> Schedule {
    let mut schedule = Schedule::default();
    let mut due: Vec<(&Row, &Decision)> = Vec::new();
    let mut waiting: Vec<(LinkId, Timestamp)> = Vec::new();
    let mut deletes: Vec<&Row> = Vec::new();
    let mut strangers: Vec<LinkId> = Vec::new();
    for (row, decision) in rows.iter().zip(decisions) {
        let probe = decision.intent == Intent::Probe;
        if decision.intent.op().is_none() && !probe {
            continue;
        }
        if decision.intent == Intent::Delete && !guard::is_approved(row) && row.first_contact {
            // Expected when a sink is met: shown as one list, approved as one, and no sign of an accident.
            strangers.push(row.link);
        } else if decision.intent == Intent::Delete && !guard::is_approved(row) {
            // Those that wait for another try count as well: in portions, any number would get through.
            deletes.push(row);
        }
        match &row.retry {
            Some(retry) if waits(retry.not_before, now) => {
                waiting.push((row.link, retry.not_before));
            }
            _ if probe => schedule.probe.push(row.link),
            _ => due.push((row, decision)),
        }
    }
    // What has passed stays where it is: it must not make what is ahead look few.
    let counted: Vec<&Row> = rows
        .iter()
        .zip(decisions)
        .filter(|(row, decision)| {
            row.sink.state != OnSink::Absent
                && !row.sink.foreign
                && decision.reason != Reason::Past
                && !is_settled_otherwise(row, decision)
        })
        .map(|(row, _)| row)
        .collect();
    let own = guard::holds(&counted, &deletes, history, limits);
    schedule.held_by_stop = history.stopped && !own;
    let mut held: BTreeSet<LinkId> = if own || history.stopped {
        deletes.iter().map(|row| row.link).collect()
    } else {
        BTreeSet::new()
    };
    held.extend(strangers);
    schedule.held = held.iter().copied().collect();
    // An approval outlives a write that does not go through.
    schedule.released = rows
        .iter()
        .zip(decisions)
        .filter(|(row, decision)| {
            let approved_delete =
                decision.intent.op() == Some(Op::Delete) && guard::is_approved(row);
            // While the source cannot be read, nobody knows whether the cause vanished.
            row.held_since.is_some()
                && !held.contains(&row.link)
                && !approved_delete
                && !matches!(
                    decision.reason,
                    Reason::SourceUnclear | Reason::ClockUnclear
                )
        })
        .map(|(row, _)| row.link)
        .collect();

    waiting.retain(|(link, _)| !held.contains(link));
    schedule.waiting = waiting.len();
    schedule.next = waiting.iter().map(|(_, at)| *at).min();
    due.retain(|(row, _)| !held.contains(&row.link));
    due.sort_by_key(|(row, decision)| {
        (
            row.unanswered(),
            decision.intent.op() == Some(Op::Delete),
            start(row, decision),
            row.link,
        )
    });
    schedule.due = due
        .into_iter()
        .map(|(row, decision)| Due {
            link: row.link,
            intent: decision.intent.clone(),
        })
        .collect();
    schedule
}

/// Whether the record is to go by a decision of its own: what an operator has approved or has yet to, or what the sink
/// refused to delete. It neither goes by accident nor stays.
fn is_settled_otherwise(row: &Row, decision: &Decision) -> bool {
    let refused = row.dead.as_ref().is_some_and(|dead| dead.op == Op::Delete);
    match decision.intent {
        Intent::Delete => row.first_contact || guard::is_approved(row),
        _ => decision.reason == Reason::Refused && refused,
    }
}

fn start(row: &Row, decision: &Decision) -> Option<Timestamp> {
    decision
        .intent
        .content()
        .or(row.sink.content.as_ref())
        .map(|content| content.time.span_in(&jiff::tz::TimeZone::UTC).0)
}
