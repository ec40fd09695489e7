//! What readings that were broken off had found out already, so that the next one need not begin anew.
//!
//! The core stores checkpoints of feeds that go on from a cursor. Of one that began without, it stores the last
//! one only; and single items that were read are lost with the feed. A busy server breaks off a long first
//! reading again and again: what is kept here, for as long as the process lives, gets it to its end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use calbridge_core::model::{CalendarRef, FieldSet};
use jiff::Timestamp;

use crate::bookmark::Bookmark;
use crate::request::Properties;
use crate::response::Item;

/// Of how many calendars bookmarks are kept at most.
const MOST_MARKS: usize = 1_000;
/// How many items are kept at most, of all calendars.
const MOST_ITEMS: usize = 20_000;

/// An item as a listing names it: while this stays the same, so does what reading the item gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Listed {
    pub(crate) id: String,
    change_key: Option<String>,
    modified: Option<Timestamp>,
}

impl Listed {
    pub(crate) fn of(item: &Item) -> Self {
        Self::part(item.id.clone(), item)
    }

    /// What belongs to an item and changes with it.
    pub(crate) fn part(id: String, item: &Item) -> Self {
        Self {
            id,
            change_key: item.change_key.clone(),
            modified: item.modified,
        }
    }

    fn tells_changes(&self) -> bool {
        self.change_key.is_some() || self.modified.is_some()
    }
}

type Items = HashMap<Properties, HashMap<Listed, Item>>;

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    marks: Mutex<HashMap<CalendarRef, (FieldSet, Bookmark)>>,
    items: Mutex<HashMap<CalendarRef, Items>>,
}

impl Pending {
    /// Where a feed without a cursor was broken off.
    pub(crate) fn mark(&self, calendar: &CalendarRef, fields: &FieldSet) -> Option<Bookmark> {
        let marks = open(&self.marks);
        let (of, mark) = marks.get(calendar)?;
        (of == fields).then(|| mark.clone())
    }

    pub(crate) fn keep_mark(&self, calendar: &CalendarRef, fields: &FieldSet, mark: &Bookmark) {
        let mut marks = open(&self.marks);
        if marks.len() < MOST_MARKS || marks.contains_key(calendar) {
            marks.insert(calendar.clone(), (fields.clone(), mark.clone()));
        }
    }

    /// An item that was read already.
    pub(crate) fn item(
        &self,
        calendar: &CalendarRef,
        properties: &Properties,
        listed: &Listed,
    ) -> Option<Item> {
        let items = open(&self.items);
        items.get(calendar)?.get(properties)?.get(listed).cloned()
    }

    pub(crate) fn keep_items<'a>(
        &self,
        calendar: &CalendarRef,
        properties: &Properties,
        read: impl Iterator<Item = (&'a Listed, &'a Item)>,
    ) {
        let mut items = open(&self.items);
        let count = |items: &Items| items.values().map(HashMap::len).sum::<usize>();
        let room = MOST_ITEMS.saturating_sub(items.values().map(count).sum());
        let of = items.entry(calendar.clone()).or_default();
        let of = of.entry(properties.clone()).or_default();
        for (listed, item) in read.filter(|(listed, _)| listed.tells_changes()).take(room) {
            of.insert(listed.clone(), item.clone());
        }
    }

    /// The items are to be read afresh.
    pub(crate) fn forget_items(&self, calendar: &CalendarRef) {
        open(&self.items).remove(calendar);
    }

    /// A feed came to its end.
    pub(crate) fn forget(&self, calendar: &CalendarRef) {
        open(&self.marks).remove(calendar);
        self.forget_items(calendar);
    }
}

fn open<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
