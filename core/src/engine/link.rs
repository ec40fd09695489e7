//! Gives source views their rows.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::{Row, SourceView};
use crate::connector::ExternalIds;
use crate::model::{EventKey, OriginalStart};

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
/// would choose (it was there before us), then one with the same key; otherwise a new one.
#[must_use]
pub fn link(rows: &[Row], views: &[SourceView], rule: &ExternalIds) -> Vec<Linked> {
    let mut taken = std::collections::HashSet::new();
    let mut by_remote: HashMap<String, usize> = HashMap::new();
    let mut by_key: HashMap<(&EventKey, u32), usize> = HashMap::new();
    let mut remotes_in_use = std::collections::HashSet::new();
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
    let mut linked = Vec::with_capacity(views.len());
    for (view, source) in views.iter().enumerate() {
        let chosen = external_id(rule, &source.event.key, source.ordinal);
        let found = chosen
            .as_ref()
            .and_then(|id| by_remote.get(&id.to_lowercase()))
            .or_else(|| by_key.get(&(&source.event.key, source.ordinal)))
            .copied()
            .filter(|row| taken.insert(*row));
        if let Some(remote) = found.and_then(|row| rows.get(row)?.sink.remote.as_ref()) {
            remotes_in_use.insert(remote.id.to_lowercase());
        }
        linked.push(match found {
            Some(row) => Linked::Attach { row, view },
            None => Linked::New {
                view,
                external_id: chosen.map(|id| free_id(&id, &mut remotes_in_use)),
            },
        });
    }
    linked
}

/// An id that no other row uses: a series that was shifted may leave its rows under the ids that its new
/// occurrences would take.
fn free_id(id: &str, in_use: &mut std::collections::HashSet<String>) -> String {
    let mut candidate = id.to_owned();
    let mut next = 2;
    while !in_use.insert(candidate.to_lowercase()) {
        candidate = format!("{id}~{next}");
        next += 1;
    }
    candidate
}
