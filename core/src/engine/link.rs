//! Gives source views their rows.

use std::collections::{HashMap, HashSet};

use jiff::tz::{Offset, TimeZone};

use super::{OnSink, Row, SourceView};
use crate::connector::ExternalIds;
use crate::model::{EventKey, OriginalStart, WallSpan};

/// The external id that we choose for an event, if the sink takes ids from us.
///
/// The first event with a key has the plain id; further ones carry their ordinal.
#[must_use]
pub fn external_id(rule: &ExternalIds, key: &EventKey, ordinal: u32) -> Option<String> {
    let ExternalIds::Chosen {
        separator,
        zone,
        format,
    } = rule
    else {
        return None;
    };
    let mut id = key.uid().to_owned();
    if let Some(original) = key.original() {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let at = match original {
            OriginalStart::Instant(at) => zone.to_datetime(at),
            OriginalStart::Date(date) => date.at(0, 0, 0, 0),
        };
        id.push_str(separator);
        id.push_str(&at.strftime(format).to_string());
    }
    if ordinal > 0 {
        id.push('#');
        id.push_str(&(ordinal + 1).to_string());
    }
    Some(id)
}

/// The ids that a predecessor may have given an occurrence: rendered in UTC, or by the wrong side of a change of
/// the clock, where its server ran so.
pub(super) fn legacy_ids(rule: &ExternalIds, key: &EventKey) -> Vec<String> {
    let (
        ExternalIds::Chosen {
            separator,
            zone,
            format,
        },
        Some(original),
    ) = (rule, key.original())
    else {
        return Vec::new();
    };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let at = match original {
        OriginalStart::Instant(at) => at,
        OriginalStart::Date(date) => match zone.to_timestamp(date.at(0, 0, 0, 0)) {
            Ok(at) => at,
            Err(_) => return Vec::new(),
        },
    };
    // What the zone's clocks show after their next change is the other side. Half a year later would not do: summer
    // is longer than winter.
    let other_side = zone.following(at).next().map(|change| change.offset());
    [Some(zone.to_offset(at)), other_side, Some(Offset::UTC)]
        .into_iter()
        .flatten()
        .map(|offset| {
            let wall = offset.to_datetime(at).strftime(format).to_string();
            format!("{}{separator}{wall}", key.uid())
        })
        .collect()
}

/// What becomes of a view that has no row.
#[derive(Debug, Clone, PartialEq)]
pub enum Linked {
    /// It is what an existing row without source stands for.
    Attach {
        /// Position of the row.
        row: usize,
        /// Position of the view.
        view: usize,
    },
    /// It needs a row of its own.
    New {
        /// Position of the view.
        view: usize,
        /// The external id that was chosen for it.
        external_id: Option<String>,
    },
}

/// Finds rows for views that have none: first a row without source whose record has the external id that we
/// would choose (it was there before us), then one with the same key, then one whose id a predecessor would
/// have chosen in another zone, then one for the same UID that holds the right times by `zone`'s clocks: an occurrence
/// keeps its record when its series is shifted or becomes all-day, and after a loss of memory nothing else tells
/// whose it is. Otherwise a new one.
#[must_use]
pub fn link(
    rows: &[Row],
    views: &[SourceView],
    rule: &ExternalIds,
    zone: &TimeZone,
) -> Vec<Linked> {
    let mut taken = HashSet::new();
    let mut by_remote: HashMap<String, usize> = HashMap::new();
    let mut by_key: HashMap<(&EventKey, u32), usize> = HashMap::new();
    let mut remotes_in_use = HashSet::new();
    for (position, row) in rows.iter().enumerate() {
        let remote = row
            .sink
            .remote
            .as_ref()
            .map(|remote| remote.id.to_lowercase());
        if row.source.is_some() {
            remotes_in_use.extend(remote);
            continue;
        }
        if let Some(remote) = remote {
            by_remote.entry(remote).or_insert(position);
        }
        by_key.entry((&row.key, row.ordinal)).or_insert(position);
    }
    let chosen: Vec<Option<String>> = views
        .iter()
        .map(|source| external_id(rule, &source.event.key, source.ordinal))
        .collect();
    let mut found: Vec<Option<usize>> = views
        .iter()
        .zip(&chosen)
        .map(|(source, chosen)| {
            chosen
                .as_ref()
                .and_then(|id| by_remote.get(&id.to_lowercase()))
                .or_else(|| by_key.get(&(&source.event.key, source.ordinal)))
                .copied()
                .filter(|row| taken.insert(*row))
        })
        .collect();
    // Ids in other zones come last, when all that fits exactly is taken: the occurrences of a series may lie as
    // far apart as the zones.
    for (source, found) in views.iter().zip(&mut found) {
        if found.is_none() && source.ordinal == 0 {
            let mut fits: Vec<usize> = legacy_ids(rule, &source.event.key)
                .iter()
                .filter_map(|id| by_remote.get(&id.to_lowercase()).copied())
                .filter(|row| !taken.contains(row))
                .collect();
            fits.dedup();
            // More than one: the predecessor made it twice, as its server's clock was set to another zone or to the
            // other side of a change. The record that holds the right time is the event's, the rest are ghosts.
            let right = |row: &&usize| {
                let held = rows.get(**row).and_then(|row| row.sink.content.as_ref());
                held.is_some_and(|held| held.time == source.event.content.time)
            };
            if let Some(&row) = fits.iter().find(right).or(fits.first()) {
                taken.insert(row);
                *found = Some(row);
            }
        }
    }
    let mut by_times = by_times(rows, &taken, rule, zone);
    for (source, found) in views.iter().zip(&mut found) {
        if found.is_none() {
            let event = &source.event;
            let fits = by_times.get_mut(&(
                event.key.uid().to_lowercase(),
                event.content.time.wall_in(zone),
            ));
            *found = fits.and_then(|fits| fits.find(|row| taken.insert(*row)));
        }
    }
    for row in found.iter().flatten() {
        if let Some(remote) = rows.get(*row).and_then(|row| row.sink.remote.as_ref()) {
            remotes_in_use.insert(remote.id.to_lowercase());
        }
    }
    found
        .into_iter()
        .zip(chosen)
        .enumerate()
        .map(|(view, (found, chosen))| match found {
            Some(row) => Linked::Attach { row, view },
            None => Linked::New {
                view,
                external_id: chosen.map(|id| free_id(&id, &mut remotes_in_use)),
            },
        })
        .collect()
}

/// The records that no event stands for and nothing was done about, by UID and times.
fn by_times(
    rows: &[Row],
    taken: &HashSet<usize>,
    rule: &ExternalIds,
    zone: &TimeZone,
) -> HashMap<(String, WallSpan), std::vec::IntoIter<usize>> {
    let mut found: HashMap<(String, WallSpan), Vec<usize>> = HashMap::new();
    for (position, row) in rows.iter().enumerate() {
        let free = row.source.is_none()
            && row.attempt.is_none()
            && row.sink.state == OnSink::Present
            && !row.sink.foreign
            && !taken.contains(&position);
        let Some(held) = row.sink.content.as_ref().filter(|_| free) else {
            continue;
        };
        let span = held.time.wall_in(zone);
        let uid = row.key.uid();
        // A key that was made of an id of ours has it for its UID.
        let of_occurrence = match rule {
            ExternalIds::Chosen { separator, .. } => uid.rsplit_once(separator),
            _ => None,
        };
        for uid in [Some(uid), of_occurrence.map(|(uid, _)| uid)]
            .into_iter()
            .flatten()
        {
            let of = (uid.to_lowercase(), span);
            found.entry(of).or_default().push(position);
        }
    }
    found
        .into_iter()
        .map(|(of, rows)| (of, rows.into_iter()))
        .collect()
}

/// An id that no other row uses: a series that was shifted may leave its rows under the ids that its new
/// occurrences would take.
fn free_id(id: &str, in_use: &mut HashSet<String>) -> String {
    let mut candidate = id.to_owned();
    let mut next = 2;
    while !in_use.insert(candidate.to_lowercase()) {
        candidate = format!("{id}~{next}");
        next += 1;
    }
    candidate
}
