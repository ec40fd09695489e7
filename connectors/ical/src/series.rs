//! All `VEVENT`s of one UID, expanded into events.

use std::collections::BTreeMap;

use calbridge_core::model::{
    Event, EventKey, EventTime, FieldSet, GroupRef, ItemRef, OriginalStart, Window,
};
use jiff::civil::DateTime;

use crate::event::Vevent;
use crate::map::content;
use crate::recurrence;
use crate::value::{Length, Moment, Wrong, span};
use crate::zone::Zones;

/// A component that cannot be described.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken {
    /// Where in the file it begins.
    pub(crate) line: usize,
    /// Why.
    pub(crate) wrong: Wrong,
}

impl Broken {
    fn at(event: &Vevent) -> impl Fn(Wrong) -> Self + use<> {
        let line = event.line;
        move |wrong| Self { line, wrong }
    }
}

/// All `VEVENT`s of one UID.
#[derive(Debug)]
pub(crate) struct Series {
    uid: String,
    /// Normally one. Several, with different starts, where an exporter gave unrelated events one UID.
    masters: Vec<Vevent>,
    /// Changed occurrences, in the order of the file.
    changed: Vec<Vevent>,
}

impl Series {
    /// Sorts out what stands under one UID: of several revisions of the same event or occurrence the one
    /// with the highest `SEQUENCE` counts, and of equal ones the last in the file.
    pub(crate) fn new(uid: &str, events: Vec<Vevent>) -> Self {
        let (changed, mut masters): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| event.replaces.is_some());
        let newest = masters.iter().map(|event| event.sequence).max();
        masters.retain(|event| Some(event.sequence) == newest);
        let mut by_start: BTreeMap<Option<DateTime>, Vevent> = BTreeMap::new();
        for master in masters {
            by_start.insert(master.start.as_ref().map(Moment::wall), master);
        }
        Self {
            uid: uid.to_owned(),
            masters: by_start.into_values().collect(),
            changed,
        }
    }

    /// The events that may overlap `window`, with no other fields than `fields`. Single events and changed
    /// occurrences are given wherever they lie; the caller sorts out what it wants.
    ///
    /// # Errors
    /// [`Broken`]: nothing of this UID can be told.
    pub(crate) fn events(
        &self,
        window: Window,
        fields: &FieldSet,
        zones: &Zones,
    ) -> Result<Vec<Event>, Broken> {
        let mut events = Vec::new();
        let series = self.masters.iter().position(Vevent::recurs);
        let master = series.and_then(|at| self.masters.get(at));
        for (index, single) in self.masters.iter().enumerate() {
            if Some(index) == series {
                continue;
            }
            if single.recurs() {
                return Err(Broken::at(single)(Wrong::SecondSeries));
            }
            if let Some(start) = &single.start {
                // Unrelated events under one UID have one key; their items stay apart by the start.
                let ordinal = (index > 0).then(|| start.wall());
                let event = single
                    .length
                    .from(start, &zones.home)
                    .and_then(|time| self.event(single, None, ordinal, time, fields));
                events.push(event.map_err(Broken::at(single))?);
            }
        }
        let changed = self.changed_by_original(master, zones)?;
        if let Some(master) = master {
            let broken = Broken::at(master);
            for (original, start, length) in occurrences(master, window, zones).map_err(broken)? {
                if !changed.contains_key(&original) {
                    let event = length
                        .from(&start, &zones.home)
                        .and_then(|time| self.event(master, Some(original), None, time, fields));
                    events.push(event.map_err(Broken::at(master))?);
                }
            }
        }
        for (original, event) in changed {
            // A cancellation need not repeat the times; without a series either, nothing is left to tell.
            let (start, length) = match (&event.start, &event.replaces, master) {
                (Some(start), _, _) => (start, event.length),
                (None, Some(replaced), Some(master)) => (replaced, master.length),
                _ => continue,
            };
            let event = length
                .from(start, &zones.home)
                .and_then(|time| self.event(event, Some(original), None, time, fields))
                .map_err(Broken::at(event))?;
            events.push(event);
        }
        Ok(events)
    }

    /// The changed occurrences by what they replace. Without a master (an invitation to one occurrence) they
    /// stand for themselves.
    fn changed_by_original(
        &self,
        master: Option<&Vevent>,
        zones: &Zones,
    ) -> Result<BTreeMap<OriginalStart, &Vevent>, Broken> {
        let mut newest: BTreeMap<OriginalStart, &Vevent> = BTreeMap::new();
        for event in &self.changed {
            let Some(replaces) = &event.replaces else {
                continue;
            };
            let first = master.and_then(|master| master.start.as_ref());
            let original = replaces
                .original(first.unwrap_or(replaces), &zones.home)
                .map_err(Broken::at(event))?;
            match newest.get(&original) {
                Some(known) if known.sequence > event.sequence => {}
                _ => {
                    newest.insert(original, event);
                }
            }
        }
        Ok(newest)
    }

    fn event(
        &self,
        from: &Vevent,
        original: Option<OriginalStart>,
        ordinal: Option<DateTime>,
        time: EventTime,
        fields: &FieldSet,
    ) -> Result<Event, Wrong> {
        let key = EventKey::new(&self.uid, original).map_err(|_| Wrong::Syntax)?;
        let mut id = key.as_text();
        if let Some(start) = ordinal {
            id = format!("{id}\n\n{start}");
        }
        Ok(Event {
            item: ItemRef::new(id, None).map_err(|_| Wrong::Syntax)?,
            group: original.map(|_| GroupRef {
                id: key.uid().to_owned(),
                version: None,
            }),
            content: content(&from.properties, time, fields),
            cancelled: from.cancelled,
            origin: None,
            key,
        })
    }
}

/// The occurrences of a series that may overlap `window`, without those taken out by `EXDATE`.
fn occurrences(
    master: &Vevent,
    window: Window,
    zones: &Zones,
) -> Result<Vec<(OriginalStart, Moment, Length)>, Wrong> {
    let home = &zones.home;
    let Some(first) = &master.start else {
        return Ok(Vec::new());
    };
    // A day to spare on both sides: what is exact is decided on instants, by the caller.
    let clock = first.zone(home);
    let from = clock
        .to_datetime(window.start())
        .checked_sub(span(master.length.days() + 1)?)
        .unwrap_or(DateTime::MIN);
    let to = clock
        .to_datetime(window.end())
        .checked_add(span(1)?)
        .unwrap_or(DateTime::MAX);
    let mut starts = BTreeMap::new();
    if master.rules.is_empty() {
        starts.insert(first.original(first, home)?, (first.clone(), master.length));
    }
    for rule in &master.rules {
        for wall in recurrence::expand(
            &rule.text,
            first.wall(),
            rule.until,
            from,
            to,
            recurrence::MAX_STEPS,
        )? {
            let start = first.with_wall(wall);
            starts.insert(start.original(first, home)?, (start, master.length));
        }
    }
    for (start, length) in &master.also {
        starts.insert(start.original(first, home)?, (start.clone(), *length));
    }
    for except in &master.except {
        starts.remove(&except.original(first, home)?);
    }
    Ok(starts
        .into_iter()
        .map(|(original, (start, length))| (original, start, length))
        .collect())
}
