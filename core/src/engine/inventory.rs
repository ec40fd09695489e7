//! Takes in what a sink lists.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::link::legacy_ids;
use super::outcome::{LONGEST_BELIEVED, found_absent};
use super::{OnSink, Row, SinkView};
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
/// `began`, less the time that the sink may take to show our writes. Entries that are listed twice count once. Where the
/// sink assigns ids, a record belongs to the row without one that has its key.
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
    let by_legacy = by_legacy(rows, entries, window, (settled, began), sink);
    // A record that nobody stands for may be one that was sent and not answered yet.
    let awaited = rows.iter().any(is_made_without_answer);
    let by_key = if awaited {
        HashMap::new()
    } else {
        by_key(rows, entries)
    };
    let mut listed: HashSet<usize> = HashSet::new();
    let mut unmatched: HashSet<String> = HashSet::new();

    for (position, entry) in entries.iter().enumerate() {
        let id = entry.remote.id.to_lowercase();
        let own = by_remote.get(&id).copied();
        let of_key = || by_key.get(entry.key.as_ref()?);
        let heir = by_legacy
            .get(&id)
            .or_else(of_key)
            .copied()
            .filter(|row| !listed.contains(row));
        let known = match own.and_then(|own| rows.get(own)) {
            // A record that nobody stood for is that of an event which lost its own.
            Some(stranger) if is_stranger(stranger) && heir.is_some() => {
                taken.extend(own.map(|row| Taken::Changed {
                    row,
                    now: Box::new(without_record(stranger)),
                }));
                listed.extend(own);
                heir
            }
            Some(_) => own,
            None => heir,
        };
        let Some(row) = known else {
            if awaited {
                continue;
            }
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
        if is_recent(known, settled, began) {
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
            || is_made_without_answer(row)
            || is_recent(row, settled, began)
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

/// The events whose record is not listed, by the ids that a predecessor may give it: it makes records anew, under
/// other ids, when a series is shifted or its server's clock is set to another zone.
fn by_legacy(
    rows: &[Row],
    entries: &[InventoryEntry],
    window: Window,
    (settled, began): (Timestamp, Timestamp),
    sink: &SinkCapabilities,
) -> HashMap<String, usize> {
    let there: HashSet<String> = entries
        .iter()
        .map(|entry| entry.remote.id.to_lowercase())
        .collect();
    let mut found = HashMap::new();
    for (position, row) in rows.iter().enumerate() {
        let own = row.sink.remote.as_ref();
        let lost = own.is_none_or(|own| !there.contains(&own.id.to_lowercase()))
            && (row.sink.state == OnSink::Absent || is_inside(row, window, sink.inventory));
        if row.source.is_some()
            && row.ordinal == 0
            && row.attempt.is_none()
            && !row.sink.foreign
            && lost
            && !is_recent(row, settled, began)
        {
            for id in legacy_ids(&sink.external_ids, &row.key) {
                found.entry(id.to_lowercase()).or_insert(position);
            }
        }
    }
    found
}

/// The events that have no record, by keys that no other such event and no other record has.
fn by_key<'k>(rows: &'k [Row], entries: &'k [InventoryEntry]) -> HashMap<&'k EventKey, usize> {
    let mut records: HashMap<&EventKey, usize> = HashMap::new();
    for key in entries.iter().filter_map(|entry| entry.key.as_ref()) {
        *records.entry(key).or_default() += 1;
    }
    let mut found = HashMap::new();
    for (position, row) in rows.iter().enumerate() {
        if row.sink.remote.is_none() && records.get(&row.key) == Some(&1) {
            found
                .entry(&row.key)
                .and_modify(|row| *row = None)
                .or_insert(Some(position));
        }
    }
    found
        .into_iter()
        .filter_map(|(key, row)| Some((key, row?)))
        .collect()
}

/// Whether a record was to be made under an id that the sink assigns, and what became of it is unknown: a probe tells.
fn is_made_without_answer(row: &Row) -> bool {
    row.sink.state == OnSink::Unknown && row.sink.remote.is_none()
}

/// Whether no event ever stood for the row's record, and nothing was done about it.
fn is_stranger(row: &Row) -> bool {
    row.source.is_none() && row.agreed.is_none() && row.attempt.is_none()
}

/// The row, its record given to another.
fn without_record(row: &Row) -> Row {
    let mut row = row.clone();
    row.sink = SinkView::default();
    row.held_since = None;
    row.held_by_stop = false;
    row.approved = None;
    row
}

/// Whether the sink acknowledged, or was sent, a write so late that the inventory may not show it. What lies far ahead was
/// noted by a clock that was wrong.
fn is_recent(row: &Row, settled: Timestamp, began: Timestamp) -> bool {
    let attempted = row.attempt.as_ref().map(|attempt| attempt.at);
    let mut noted = row.sink.acknowledged.into_iter().chain(attempted);
    noted.any(|at| at >= settled && at.duration_since(began) <= LONGEST_BELIEVED)
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
