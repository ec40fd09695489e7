//! Reading a window from a server that does not expand series: the whole folder is listed, and we expand.

use std::collections::{HashMap, HashSet};

use calbridge_core::connector::{ChangesRequest, Error, ErrorKind, Result, Scope};
use calbridge_core::model::{CalendarRef, FieldSet, Window};

use crate::error::WireError;
use crate::map::{Doubts, Mapper, unreadable_because};
use crate::masters::fingerprint;
use crate::pending::Listed;
use crate::request::{self, Properties};
use crate::response::Item;
use crate::series::{Series, overlaps, widened};
use crate::source::Inner;
use crate::window::{Read, with_id};

/// How often a listing begins anew because the folder changed under it.
const LISTING_ATTEMPTS: usize = 3;

impl Inner {
    /// Reads the whole folder and expands series here.
    pub(crate) async fn read_listing(
        &self,
        request: &ChangesRequest,
        folder: &str,
        window: Window,
        mapper: Mapper<'_>,
    ) -> Result<Read> {
        let calendar = &request.calendar;
        let items = self.listing(request, folder).await?;
        let print = fingerprint(&items, true, request.now);
        let (masters, singles): (Vec<Item>, Vec<Item>) = items
            .into_iter()
            .filter(Item::is_appointment)
            .partition(Item::is_master);
        // Only what can belong to the window is looked at any closer.
        let singles: Vec<Item> = singles
            .into_iter()
            .filter(|item| may_belong(mapper, item, window))
            .collect();
        let (mut changes, mut vanished) = self.describe(calendar, mapper, window, singles).await?;
        let ids_of_masters: Vec<String> = masters.iter().map(|item| item.id.clone()).collect();
        let listed: Vec<Listed> = masters.iter().map(Listed::of).collect();
        let properties = Properties::series(&request.fields);
        let read = self.get_listed(calendar, &listed, &properties).await?;
        let mut whole = Vec::new();
        for (listed, master) in masters.iter().zip(read) {
            match master {
                Ok(master) => whole.push(with_id(master, listed)),
                Err(error) if error.kind == ErrorKind::NotFound => vanished = true,
                Err(error) => changes.push(unreadable_because(listed, error)),
            }
        }
        let mut understood = Vec::new();
        for master in &whole {
            match Series::new(master, mapper) {
                Ok(series) => understood.push(series),
                Err(change) => changes.push(*change),
            }
        }
        let ids: Vec<Listed> = understood
            .iter()
            .flat_map(|series| series.exceptions_in(window))
            .collect();
        let details = self.exceptions(calendar, &request.fields, ids).await?;
        for series in &understood {
            changes.extend(series.expand(window, &details));
        }
        Ok(Read {
            changes,
            verdict: None,
            torn: true,
            vanished,
            print: Some(print),
            no_series: ids_of_masters.is_empty(),
            masters: ids_of_masters,
        })
    }

    /// Exceptions by id.
    pub(crate) async fn exceptions(
        &self,
        calendar: &CalendarRef,
        fields: &FieldSet,
        ids: Vec<Listed>,
    ) -> Result<HashMap<String, Result<Item>>> {
        let items = self
            .get_listed(calendar, &ids, &Properties::details(fields))
            .await?;
        Ok(ids.into_iter().map(|listed| listed.id).zip(items).collect())
    }

    /// All items of the folder, page by page. Begins anew if the folder changes meanwhile, for then a page
    /// may have skipped an item.
    async fn listing(&self, request: &ChangesRequest, folder: &str) -> Result<Vec<Item>> {
        let properties = Properties::listing(&request.fields);
        for _ in 0..LISTING_ATTEMPTS {
            if let Some(listing) = self.listing_once(request, folder, &properties).await? {
                return Ok(listing);
            }
        }
        Err(Error::new(
            ErrorKind::Transient,
            Scope::Calendar,
            "ews.listing.changing",
            "the calendar changed again and again while it was listed; it is tried again",
        ))
    }

    async fn listing_once(
        &self,
        request: &ChangesRequest,
        folder: &str,
        properties: &Properties,
    ) -> Result<Option<Vec<Item>>> {
        let mut items: Vec<Item> = Vec::new();
        let mut seen = HashSet::new();
        let mut total = None;
        let mut offset = 0;
        loop {
            let body = request::page(folder, properties, offset);
            let page = self
                .client
                .single(&request.calendar.address, &body)
                .await?
                .page()?;
            if total.is_some() && page.total != total {
                return Ok(None);
            }
            total = page.total;
            let count = page.items.len();
            for item in page.items {
                if !item.id.is_empty() && !seen.insert(item.id.clone()) {
                    return Ok(None);
                }
                items.push(item);
            }
            // Which an empty page is too, unless the server says otherwise.
            if page.includes_last == Some(true) || (count == 0 && page.includes_last.is_none()) {
                break;
            }
            let passed = u32::try_from(count).unwrap_or(u32::MAX);
            let next = page.next_offset.unwrap_or(offset.saturating_add(passed));
            if count == 0 || next <= offset {
                return Err(WireError::Missing("the rest of a listing").of("FindItem"));
            }
            offset = next;
        }
        let complete = total.is_none_or(|total| u64::try_from(items.len()) == Ok(total));
        if !complete {
            return Ok(None);
        }
        Ok(Some(items))
    }
}

/// Whether a single item may overlap the window; true where that cannot be told yet.
fn may_belong(mapper: Mapper<'_>, item: &Item, window: Window) -> bool {
    let mapper = Mapper {
        doubts: &Doubts::default(),
        ..mapper
    };
    let zone = mapper.zone_of(item);
    mapper
        .time(item, zone.as_ref())
        .map_or(true, |time| overlaps(&time, widened(window)))
}
