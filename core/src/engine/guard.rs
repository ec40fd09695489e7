//! The guard: deletes that look like an accident wait for an operator.

use std::collections::{BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{GuardLimits, LinkId, OnSink, Row};
use crate::store::SourceState;

/// What the guard looks back at.
#[derive(Debug, Clone, Default)]
pub struct GuardHistory {
    /// The units ([`Row::unit`]) of this calendar whose records were deleted in the last 24 hours.
    pub deleted: BTreeSet<String>,
    /// All deletes of the connection are stopped, because too many of its calendars are held.
    pub stopped: bool,
}

/// How far back deletes count.
pub const GUARD_SPAN: SignedDuration = SignedDuration::from_hours(24);

/// Whether the planned deletes of a calendar look like an accident.
///
/// `counted` are the rows of what the sink holds and that is still kept in step (not what has passed), `planned`
/// those whose records would be deleted without anybody's approval.
#[must_use]
pub fn holds(
    counted: &[&Row],
    planned: &[&Row],
    history: &GuardHistory,
    limits: &GuardLimits,
) -> bool {
    if planned.is_empty() {
        return false;
    }
    let going_links: HashSet<LinkId> = planned.iter().map(|row| row.link).collect();
    let all: BTreeSet<String> = counted.iter().map(|row| row.unit()).collect();
    // A series counts as going only if nothing of it stays. What nothing stands for, and of which nobody knows whether it is
    // there, does not stay.
    let lingers = |row: &Row| row.source.is_none() && row.sink.state == OnSink::Unknown;
    let staying: BTreeSet<String> = counted
        .iter()
        .filter(|row| !going_links.contains(&row.link) && !lingers(row))
        .map(|row| row.unit())
        .collect();
    let before = all.len() + history.deleted.difference(&all).count();
    let mut going: BTreeSet<String> = planned.iter().map(|row| row.unit()).collect();
    going.extend(history.deleted.iter().cloned());
    let empties = staying.is_empty() && before > count(limits.empty_above);
    let many =
        going.len() > count(limits.count) && going.len() * 100 > before * count(limits.percent);
    empties || many
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Whether a delete of this row was approved: after it was first held.
#[must_use]
pub fn is_approved(row: &Row) -> bool {
    matches!((row.approved, row.held_since), (Some(approved), Some(held)) if approved >= held)
}

/// Whether a delete that is held was confirmed without an operator: the source has been listed completely a day after it
/// was held, in the same folder as then, and still holds nothing of it. What was there at first contact takes an
/// operator. What was listed later than `now` was listed by a clock that was wrong.
#[must_use]
pub fn is_confirmed(row: &Row, source: &SourceState, now: Timestamp) -> bool {
    let (Some(held), Some(gone), Some(full), Some(folder)) = (
        row.held_since,
        row.sourceless,
        source.full,
        source.folder_since,
    ) else {
        return false;
    };
    row.source.is_none()
        && !row.first_contact
        // A folder that was put in another's place may have brought the deletes with it.
        && folder < gone
        && full <= now
        && full.duration_since(held) >= GUARD_SPAN
}

/// The beginning of the time that counts.
#[must_use]
pub fn since(now: Timestamp) -> Timestamp {
    now.checked_sub(GUARD_SPAN).unwrap_or(Timestamp::MIN)
}
