//! What the mailboxes hold of our records.
//!
//! Only what carries our mark is listed: whatever else is in a calendar is its owner's. The listing gives ids, page by
//! page; what the records hold is read item by item, as listings cut long texts.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    Error, InventoryEntry, InventoryFeed, InventoryPage, InventoryRequest, Result, Scope,
};
use calbridge_core::model::{CalendarRef, FieldSet};

use super::body;
use super::known::{Held, Records};
use super::mark::digest;
use crate::request::FolderTarget;
use crate::response::Item;
use crate::source::Inner;

/// So many records at most make one page of the inventory.
const PAGE: usize = 200;
/// How often a listing may change while it is read.
const RESTARTS: usize = 3;

/// The listings of several calendars, one after the other.
pub(crate) struct Inventory {
    inner: Arc<Inner>,
    request: InventoryRequest,
    fields: FieldSet,
    /// Calendars still to be listed, the next one last.
    calendars: Vec<CalendarRef>,
    /// Of the calendar that is being told: its folder, and the records that are still to be read, as listed.
    open: Option<(CalendarRef, String, Vec<Item>)>,
}

impl Inventory {
    pub(crate) fn new(inner: Arc<Inner>, request: InventoryRequest, fields: FieldSet) -> Self {
        let mut calendars = request.calendars.clone();
        calendars.reverse();
        Self {
            inner,
            request,
            fields,
            calendars,
            open: None,
        }
    }

    /// Our records in the window, as a listing has them. A page that begins elsewhere than the last one ended means that the
    /// calendar changed meanwhile.
    async fn list(&self, calendar: &CalendarRef) -> Result<(String, Vec<Item>)> {
        let folder = self.inner.write_folder(calendar).await?;
        let target = FolderTarget::Id(folder.clone());
        let mut total = None;
        let mut restarts = 0;
        let mut records: Vec<Item> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        let mut offset = 0;
        loop {
            let body = body::own_records(&target, self.request.window, offset);
            let message = self.inner.client.single(&calendar.address, &body).await?;
            let page = message.page()?;
            if total.is_some() && page.total != total && restarts < RESTARTS {
                restarts += 1;
                (total, offset) = (None, 0);
                records.clear();
                seen.clear();
                continue;
            }
            total = page.total;
            let last = page.includes_last != Some(false);
            let empty = page.items.is_empty();
            let listed = page.items.into_iter().filter(is_record);
            records.extend(listed.filter(|item| seen.insert(item.id.clone())));
            if last {
                return Ok((folder, records));
            }
            let next = page.next_offset.filter(|next| *next > offset && !empty);
            offset = next.ok_or_else(|| endless(calendar))?;
        }
    }

    /// The next records of the open calendar.
    async fn tell(
        &self,
        calendar: &CalendarRef,
        folder: &str,
        listed: &[Item],
    ) -> Result<Vec<InventoryEntry>> {
        let records = Records {
            inner: &self.inner,
            calendar,
            folder,
            fields: &self.fields,
        };
        let ids: Vec<String> = listed.iter().map(|item| item.id.clone()).collect();
        let mut entries = Vec::with_capacity(ids.len());
        for (item, held) in listed.iter().zip(records.read(&ids).await?) {
            match held {
                Ok(Some(held)) => entries.extend(entry(calendar, held)),
                // It was removed meanwhile.
                Ok(None) => {}
                // What cannot be read is there all the same, and says nothing.
                Err(error) if error.scope == Scope::Item => {
                    let held = Held {
                        item: item.clone(),
                        content: None,
                        zone: None,
                    };
                    entries.push(entry(calendar, held).ok_or(error)?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    async fn step(&mut self) -> Result<Option<InventoryPage>, (CalendarRef, Error)> {
        let (calendar, folder, mut records) = match self.open.take() {
            Some(open) => open,
            None => {
                let Some(calendar) = self.calendars.pop() else {
                    return Ok(None);
                };
                match self.list(&calendar).await {
                    Ok((folder, records)) => (calendar, folder, records),
                    Err(error) => return Err((calendar, error)),
                }
            }
        };
        let rest = records.split_off(records.len().min(PAGE));
        let entries = match self.tell(&calendar, &folder, &records).await {
            Ok(entries) => entries,
            Err(error) => return Err((calendar, error)),
        };
        let mut page = InventoryPage {
            entries,
            ..InventoryPage::default()
        };
        if rest.is_empty() {
            page.complete.push(calendar);
        } else {
            self.open = Some((calendar, folder, rest));
        }
        Ok(Some(page))
    }
}

/// A listing that never ends would never say what is missing.
fn endless(calendar: &CalendarRef) -> Error {
    tracing::debug!(
        calendar = calendar.handle(),
        "A listing says that there is more and gives nothing."
    );
    crate::error::WireError::Missing("the rest of a listing").of("FindItem")
}

fn is_record(item: &Item) -> bool {
    item.is_appointment() && !item.is_master() && !item.id.is_empty()
}

/// What is told of a record. An item that was copied keeps our mark under another UID: it is somebody's own.
fn entry(calendar: &CalendarRef, held: Held) -> Option<InventoryEntry> {
    let mark = held.mark()?;
    if held.item.marks.record.as_deref() != Some(digest(&mark.id).as_str()) {
        return None;
    }
    if !super::is_own(&held) {
        return None;
    }
    Some(InventoryEntry {
        calendar: calendar.clone(),
        remote: held.remote(&mark.id),
        content: held.content,
        key: mark.key,
        origin: None,
    })
}

#[async_trait]
impl InventoryFeed for Inventory {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        match self.step().await {
            Ok(page) => Ok(page),
            Err((_, error)) if error.scope == Scope::Connection => Err(error),
            Err((calendar, error)) => Ok(Some(InventoryPage {
                failed: vec![(calendar, error)],
                ..InventoryPage::default()
            })),
        }
    }
}
