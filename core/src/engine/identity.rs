//! Identity changes by one rule: at the end of a round, what vanished and what appeared in a calendar are
//! paired, and a pair keeps its row: an update, not a delete and a create.

use std::collections::HashSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{SourceView, ViewId};
use crate::model::OriginalStart;

/// A view that vanished and the one that took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// It keeps its name, row and external id ...
    pub vanished: ViewId,
    /// ... and takes on what this one holds.
    pub appeared: ViewId,
}

/// Whether an appeared view takes the place of a vanished one.
type Rule<'a> = &'a dyn Fn(&SourceView, &SourceView) -> bool;

/// Pairs what vanished with what appeared in one round of one calendar.
///
/// In this order, each view once: the same key; the same UID and the same local original date (an all-day
/// switch, a series shifted within the day); the same UID where a single event became a series or a series
/// became single, if that leaves no choice but the occurrence on the single event's date.
#[must_use]
pub fn pair(vanished: &[SourceView], appeared: &[SourceView], zone: &TimeZone) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut gone: HashSet<ViewId> = HashSet::new();
    let mut come: HashSet<ViewId> = HashSet::new();
    let rules: [Rule<'_>; 3] = [
        &|old, new| old.event.key == new.event.key,
        &|old, new| {
            old.event.key.uid() == new.event.key.uid()
                && original_date(old, zone).is_some()
                && original_date(old, zone) == original_date(new, zone)
        },
        &|old, new| {
            old.event.key.uid() == new.event.key.uid()
                && old.event.key.original().is_some() != new.event.key.original().is_some()
                && own_date(old, zone) == own_date(new, zone)
        },
    ];
    for rule in rules {
        for old in vanished {
            if gone.contains(&old.id) {
                continue;
            }
            let found = appeared
                .iter()
                .find(|new| !come.contains(&new.id) && rule(old, new));
            if let Some(new) = found {
                gone.insert(old.id);
                come.insert(new.id);
                pairs.push(Pair {
                    vanished: old.id,
                    appeared: new.id,
                });
            }
        }
    }
    pairs
}

fn original_date(view: &SourceView, zone: &TimeZone) -> Option<Date> {
    view.event.key.original().map(|original| match original {
        OriginalStart::Date(date) => date,
        OriginalStart::Instant(at) => zone.to_datetime(at).date(),
    })
}

fn own_date(view: &SourceView, zone: &TimeZone) -> Date {
    original_date(view, zone).unwrap_or_else(|| view.event.content.time.wall_in(zone).start.date())
}
