//! Takes in what a sink lists.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::link::legacy_ids;
use super::outcome::found_absent;
use super::{OnSink, Row};
use crate::connector::{InventoryBounds, InventoryEntry, SinkCapabilities};
use crate::model::{EventKey, Window};

/// What an inventory changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// The row's view of the sink is another one now.
    Changed {
        /// Position of the row.
        row: usize,
        /// As it is now.
        now: Box<Row>,
    },
    /// A record that no row stands for.
    Unmatched {
        /// Position of the entry.
        entry: usize,
        /// The key that stands for it until a source view claims it.
        key: EventKey,
    },
}

/// Compares a complete inventory of one calendar with its rows.
///
/// Absence counts only inside the inventory's bounds, and only for rows that were acknowledged before it
/// `began`, less the time that the sink may take to show our writes. Entries that are listed twice count once.
#[must_use]
pub fn take(
    rows: &[Row],
    entries: &[InventoryEntry],
    window: Window,
    began: Timestamp,
    sink: &SinkCapabilities,
) -> Vec<Taken> {
    let mut taken = Vec::new();
    let by_remote: HashMap<String, usize> = rows
        .iter()
        .enumerate()
        .filter_map(|(position, row)| Some((row.sink.remote.as_ref()?.id.to_lowercase(), position)))
        .collect();
    let settled = began
        .checked_sub(SignedDuration::from_millis(
            i64::try_from(sink.own_write_delay_ms).unwrap_or(i64::MAX),
        ))
        .unwrap_or(began);
    // What a predecessor still makes while we only observe has the ids that it chooses.
    let mut by_legacy: HashMap<String, usize> = HashMap::new();
    for (position, row) in rows.iter().enumerate() {
        if row.source.is_some() && is_untouched(row) && row.ordinal == 0 {
            for id in legacy_ids(&sink.external_ids, &row.key) {
                by_legacy.entry(id.to_lowercase()).or_insert(position);
            }
        }
    }
    let mut listed: HashSet<usize> = HashSet::new();
    let mut unmatched: HashSet<String> = HashSet::new();

    for (position, entry) in entries.iter().enumerate() {
        let id = entry.remote.id.to_lowercase();
        let free = |row: &&usize| !listed.contains(*row);
        let known = by_remote
            .get(&id)
            .or_else(|| by_legacy.get(&id).filter(free));
        let Some(&row) = known else {
            let key = entry
                .key
                .clone()
                .or_else(|| EventKey::new(&entry.remote.id, None).ok());
            if let (true, Some(key)) = (unmatched.insert(id), key) {
                taken.push(Taken::Unmatched {
                    entry: position,
                    key,
                });
            }
            continue;
        };
        let Some(known) = rows.get(row).filter(|_| listed.insert(row)) else {
            continue;
        };
        if is_recent(known, settled) {
            continue;
        }
        let mut now = known.clone();
        now.sink.state = OnSink::Present;
        now.sink.remote = Some(entry.remote.clone());
        if entry.content.is_some() {
            now.sink.content = entry.content.clone();
        }
        if now != *known {
            taken.push(Taken::Changed {
                row,
                now: Box::new(now),
            });
        }
    }

    for (position, row) in rows.iter().enumerate() {
        if listed.contains(&position)
            || row.sink.state == OnSink::Absent
            || is_recent(row, settled)
            || !is_inside(row, window, sink.inventory)
        {
            continue;
        }
        let mut now = row.clone();
        found_absent(&mut now, began);
        taken.push(Taken::Changed {
            row: position,
            now: Box::new(now),
        });
    }
    taken
}

/// Whether nothing was ever written or found for the row.
fn is_untouched(row: &Row) -> bool {
    row.sink.state == OnSink::Absent && row.agreed.is_none() && row.attempt.is_none()
}

/// Whether the sink acknowledged, or was sent, a write so late that the inventory may not show it.
fn is_recent(row: &Row, settled: Timestamp) -> bool {
    row.sink.acknowledged.is_some_and(|at| at >= settled)
        || row
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.at >= settled)
}

/// Whether the inventory would have listed the record. One that reaches over an edge of the window is left
/// alone whatever the bounds.
fn is_inside(row: &Row, window: Window, bounds: Option<InventoryBounds>) -> bool {
    let Some(content) = &row.sink.content else {
        // An attempt without an acknowledged content: what was sent lay in the window of the plan.
        return row.attempt.is_some();
    };
    let (start, end) = content.time.span_in(&jiff::tz::TimeZone::UTC);
    bounds.is_some() && window.contains(start) && end <= window.end()
}
