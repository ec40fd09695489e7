//! A source as calbridge reads it: what it told, kept as a view, with its cursor.

use std::collections::{BTreeMap, BTreeSet};

use calbridge_core::connector::{
    CalendarSource, Change, ChangesRequest, Cursor, Error, ErrorKind, SourceCapabilities,
};
use calbridge_core::model::{CalendarRef, Coverage, Event, EventTime, FieldSet, ItemRef, Window};
use jiff::tz::TimeZone;

use crate::kit::{Done, Kit, Stop, difference, sorted, unexpected};

type Id = (String, String);

/// What is known of a calendar.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) calendar: CalendarRef,
    pub(crate) window: Window,
    pub(crate) fields: FieldSet,
    pub(crate) view: BTreeMap<Id, Event>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) covered: Coverage,
    /// The most changes that are asked for at once.
    pub(crate) max: usize,
    pub(crate) full: bool,
}

/// What one feed told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Events that were told, also as members of a series.
    pub(crate) events: usize,
    /// Changes that were told, all but snapshots: what was listed completely.
    pub(crate) changes: usize,
    /// The most changes in one batch.
    pub(crate) largest: usize,
    pub(crate) unreadable: usize,
    /// The feed ended; false: it was given up as asked.
    pub(crate) ended: bool,
}

impl Reading {
    pub(crate) fn of(
        kit: &Kit,
        capabilities: &SourceCapabilities,
        calendar: CalendarRef,
    ) -> Done<Self> {
        Ok(Self {
            calendar,
            window: kit.window()?,
            fields: capabilities.fields.clone(),
            view: BTreeMap::new(),
            cursor: None,
            covered: Coverage::none(),
            max: 64,
            full: false,
        })
    }

    /// Reads what there is to read.
    pub(crate) async fn read(&mut self, kit: &Kit, source: &dyn CalendarSource) -> Done<Told> {
        self.try_read(kit, source, usize::MAX)
            .await
            .map_err(|error| unexpected("reading", &error))
    }

    /// Reads at most so many batches.
    pub(crate) async fn try_read(
        &mut self,
        kit: &Kit,
        source: &dyn CalendarSource,
        batches: usize,
    ) -> Result<Told, Error> {
        self.covered.clip(self.window);
        let resumed = self.cursor.is_some();
        let request = ChangesRequest {
            calendar: self.calendar.clone(),
            cursor: self.cursor.clone(),
            window: self.window,
            covered: self.covered.clone(),
            fields: self.fields.clone(),
            full: self.full,
            now: kit.world.now(),
        };
        let mut feed = source.changes(request).await?;
        let mut told = Told::default();
        let mut seen: BTreeSet<Id> = BTreeSet::new();
        let mut listed: Vec<Window> = Vec::new();
        let mut uncertain: Vec<ItemRef> = Vec::new();
        let mut last: Option<Cursor> = None;
        for _ in 0..batches {
            let Some(batch) = feed.next(self.max).await? else {
                told.ended = true;
                break;
            };
            told.largest = told.largest.max(batch.changes.len());
            for change in batch.changes {
                told.changes += usize::from(!matches!(change, Change::Snapshot { .. }));
                match change {
                    Change::Item(event) => {
                        told.events += 1;
                        seen.insert(self.keep(event));
                    }
                    Change::Group {
                        group,
                        members,
                        covered,
                    } => {
                        told.events += members.len();
                        let ids: BTreeSet<Id> = members
                            .into_iter()
                            .map(|member| self.keep(member))
                            .collect();
                        self.view.retain(|id, event| {
                            let same = event.group.as_ref().is_some_and(|one| one.id == group.id);
                            !same || !overlaps(event, covered) || ids.contains(id)
                        });
                        seen.extend(ids);
                    }
                    Change::Removed {
                        item,
                        certain: true,
                    } => {
                        self.view.retain(|id, _| id.0 != item.id);
                    }
                    Change::Removed { item, .. } => uncertain.push(item),
                    Change::Snapshot { covered } => listed.push(covered),
                    Change::Unreadable { item, uid, .. } => {
                        told.unreadable += 1;
                        seen.extend(self.view.iter().filter_map(|(id, event)| {
                            let same = item.as_ref().is_some_and(|item| item.id == id.0)
                                || uid.as_deref() == Some(event.key.uid());
                            same.then(|| id.clone())
                        }));
                    }
                    _ => {}
                }
            }
            // What a snapshot makes gone is known at the end only: a cursor that claims to know it waits for the end,
            // and so does one of a feed that began anew.
            if resumed && listed.is_empty() && uncertain.is_empty() {
                self.cursor = batch.checkpoint.or(self.cursor.take());
            } else {
                last = batch.checkpoint.or(last);
            }
        }
        if told.ended {
            self.believe(source, &uncertain).await?;
            for window in &listed {
                self.view
                    .retain(|id, event| seen.contains(id) || !overlaps(event, *window));
                self.covered.add(*window);
            }
            self.cursor = last.or(self.cursor.take());
        }
        Ok(told)
    }

    /// Asks for what may be gone.
    async fn believe(
        &mut self,
        source: &dyn CalendarSource,
        uncertain: &[ItemRef],
    ) -> Result<(), Error> {
        if uncertain.is_empty() {
            return Ok(());
        }
        let found = source.fetch(&self.calendar, uncertain).await?;
        for (item, found) in uncertain.iter().zip(found) {
            match found {
                Ok(event) => {
                    self.keep(event);
                }
                Err(error) if error.kind == ErrorKind::NotFound => {
                    self.view.retain(|id, _| id.0 != item.id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn keep(&mut self, event: Event) -> Id {
        let id = (event.item.id.clone(), event.key.as_text());
        self.view.insert(id.clone(), event);
        id
    }

    /// The times in the window.
    pub(crate) fn times(&self) -> Vec<String> {
        sorted(
            self.view
                .values()
                .filter(|event| !event.cancelled && overlaps(event, self.window))
                .map(|event| event.content.time.clone()),
        )
    }

    /// Fails unless the view holds just these times.
    pub(crate) fn is(&self, what: &str, expected: impl IntoIterator<Item = EventTime>) -> Done {
        let difference = difference(&sorted(expected), &self.times());
        if difference.is_empty() {
            Ok(())
        } else {
            Err(Stop::Failed(format!("{what}: {difference}")))
        }
    }
}

fn overlaps(event: &Event, window: Window) -> bool {
    let (start, end) = event.content.time.span_in(&TimeZone::UTC);
    window.overlaps(start, end)
}
