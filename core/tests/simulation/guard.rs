//! Whether the guard held what it should: judged by what was seen of the sink and of the calendars, without the engine's
//! own counting. Where both could differ, this one is the milder.

use std::collections::{BTreeMap, BTreeSet};

use calbridge_core::model::{EventKey, OriginalStart};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::systems::{State, last_day, today};
use crate::truth::{self, Occurrence};

/// How long deletes count. Less than the guard's day: syncs are not instants.
const SPAN: SignedDuration = SignedDuration::from_hours(23);

type Key = (usize, String);

/// Since when records have had nobody who stands for them, and what was removed so soon after that nothing but an
/// operator could have let it go.
#[derive(Debug, Default)]
pub struct Standing {
    /// When somebody stood for a record last.
    stood: BTreeMap<Key, Timestamp>,
    /// The records that somebody stood for at the last look.
    standing: BTreeSet<Key>,
    /// How many records of a person there were, not counting what is over.
    before: BTreeMap<usize, usize>,
    /// When what was removed: by person and UID.
    gone: Vec<(Timestamp, usize, String)>,
}

impl Standing {
    /// Before a sync: who stands for which record?
    pub fn look(&mut self, state: &State) {
        self.before.clear();
        self.standing.clear();
        for (who, person) in state.people.iter().enumerate() {
            let span = SignedDuration::from_hours(24 * 200);
            let items = person.calendar.items();
            let mut busy: Vec<_> = truth::occurrences(items, state.now - span, state.now + span)
                .iter()
                .filter(|one| one.is_busy())
                .map(Occurrence::span)
                .collect();
            busy.sort();
            for (key, record) in state.records.iter().filter(|(key, _)| key.0 == who) {
                if last_day(*record) >= today(state.now) {
                    *self.before.entry(who).or_default() += 1;
                }
                if busy.binary_search(record).is_ok() {
                    self.stood.insert(key.clone(), state.now);
                    self.standing.insert(key.clone());
                }
            }
        }
    }

    /// After a sync.
    ///
    /// # Errors
    /// So much was removed at once, by nobody's leave; or an occurrence was removed and made anew, although what was told
    /// `pairs` them.
    pub fn judge(&mut self, state: &State, pairs: bool) -> Result<(), String> {
        let now = state.now;
        // Copies of a single event share its key: one may go while the other comes.
        let of = |key: &Key| {
            let of = &state.keys[key];
            Some((key.0, of.uid().to_owned(), original_day(of)?))
        };
        let removed: BTreeSet<_> = state.removed.iter().filter_map(of).collect();
        let anew = state.made.iter().filter_map(of);
        if let Some((who, uid, day)) = anew.into_iter().find(|one| pairs && removed.contains(one)) {
            return Err(format!(
                "{now}: {uid} of person {who} on {day} was removed and made anew"
            ));
        }
        self.gone.retain(|(at, ..)| now.duration_since(*at) < SPAN);
        let mut people = BTreeSet::new();
        for key in &state.removed {
            let soon = self.stood.remove(key);
            if soon.is_some_and(|at| now.duration_since(at) < SPAN) {
                let uid = state.keys[key].uid().to_owned();
                self.gone.push((now, key.0, uid));
                people.insert(key.0);
            }
        }
        for who in people {
            let gone: BTreeSet<&str> = self
                .gone
                .iter()
                .filter(|(_, of, _)| *of == who)
                .map(|(.., uid)| uid.as_str())
                .collect();
            let before = self.before.get(&who).copied().unwrap_or_default() + gone.len();
            let left = state
                .records
                .iter()
                .any(|(key, span)| key.0 == who && last_day(*span) >= today(now));
            if gone.len() > 5 && gone.len() * 4 > before {
                return Err(format!(
                    "{now}: {} of {before} of person {who} were removed without anybody's leave",
                    gone.len()
                ));
            }
            if !left && gone.len() > 2 {
                return Err(format!(
                    "{now}: the last {} of person {who} were removed without anybody's leave",
                    gone.len()
                ));
            }
        }
        Ok(())
    }

    /// An operator let go what nobody stood for at the last look.
    pub fn approved(&mut self) {
        self.stood.retain(|key, _| self.standing.contains(key));
        self.gone.clear();
    }

    /// The engine was given back an old memory: what was removed since is not in it.
    pub fn forget(&mut self) {
        self.gone.clear();
    }
}

/// The day on which an occurrence of a series was to be, by Danish clocks.
fn original_day(key: &EventKey) -> Option<Date> {
    key.original().map(|original| match original {
        OriginalStart::Date(day) => day,
        OriginalStart::Instant(at) => today(at),
    })
}
