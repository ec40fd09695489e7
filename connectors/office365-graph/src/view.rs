//! Plain listings: what a calendar holds in a range, with nothing of what changed or is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use calbridge_core::connector::{Change, Error, ErrorKind, Result, Scope};
use calbridge_core::http::Urgency;
use calbridge_core::model::{CalendarRef, Field, FieldSet, Window};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::client::Request;
use crate::error::protocol;
use crate::map::{Mapper, unreadable};
use crate::source::Inner;
use crate::wire::{Item, Kind, Page};

/// More pages than any calendar has.
pub(crate) const MOST_PAGES: usize = 2_000;
/// The smallest page that is asked for when pages take too long.
const SMALLEST_PAGE: usize = 25;
/// Single items that are asked for side by side; the throttle lets fewer through.
pub(crate) const SIDE_BY_SIDE: usize = 4;

/// What properties are asked for, for a set of fields.
pub(crate) fn select(fields: &FieldSet) -> String {
    let mut names = vec![
        "id",
        "type",
        "seriesMasterId",
        "iCalUId",
        "start",
        "end",
        "originalStart",
        "originalStartTimeZone",
        "isAllDay",
        "isCancelled",
        "showAs",
    ];
    for (field, name) in [
        (Field::Subject, "subject"),
        (Field::Location, "location"),
        (Field::Body, "body"),
        (Field::Private, "sensitivity"),
        (Field::Categories, "categories"),
    ] {
        if fields.contains(field) {
            names.push(name);
        }
    }
    names.join(",")
}

/// Reads one item of a page. One that cannot be read is told by its id.
pub(crate) fn read_item(value: Value) -> Result<Item, Box<Change>> {
    let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
    let uid = value
        .get("iCalUId")
        .and_then(Value::as_str)
        .map(str::to_owned);
    match serde_json::from_value::<Item>(value) {
        Ok(item) if !item.id.is_empty() => Ok(item),
        _ => Err(Box::new(told_unreadable(
            id.as_deref(),
            uid,
            unreadable("graph.item", "an event in an unknown form"),
        ))),
    }
}

/// Something is there that cannot be described.
pub(crate) fn told_unreadable(id: Option<&str>, uid: Option<String>, error: Error) -> Change {
    Change::Unreadable {
        item: id.and_then(|id| calbridge_core::model::ItemRef::new(id, None).ok()),
        uid,
        error,
    }
}

impl Inner {
    /// Reads a page, with smaller ones where that takes too long.
    ///
    /// # Errors
    /// Graph's.
    pub(crate) async fn page(&self, request: Request<'_>) -> Result<Page> {
        let mut request = request;
        loop {
            let read = self.client.json::<Page>(&request).await;
            let size = request.page_size.unwrap_or(SMALLEST_PAGE);
            match read {
                Err(error)
                    if matches!(
                        error.code.as_str(),
                        "http.timeout" | "graph.504" | "http.too-large"
                    ) && size > SMALLEST_PAGE =>
                {
                    request.page_size = Some((size / 2).max(SMALLEST_PAGE));
                }
                read => return read,
            }
        }
    }

    /// Everything that overlaps a range, described; what is missing there is not in the calendar.
    ///
    /// # Errors
    /// Graph's.
    pub(crate) async fn list(
        &self,
        calendar: &CalendarRef,
        window: Window,
        mapper: &Mapper,
        urgency: Urgency,
    ) -> Result<Vec<Change>> {
        let mut url = self.client.of_calendar(calendar, &["calendarView"])?;
        url.query_pairs_mut()
            .append_pair("startDateTime", &window.start().to_string())
            .append_pair("endDateTime", &window.end().to_string())
            .append_pair("$top", &self.client.settings().page_size.to_string())
            .append_pair("$select", &select(&mapper.fields));
        let (items, mut changes) = self.walk_list(calendar, url, urgency).await?;
        let masters = self.masters_of(calendar, &items, mapper, urgency).await?;
        // A listing may move under the reader: the same event on two pages is one.
        let mut seen = BTreeSet::new();
        for item in items.into_iter().filter(|item| item.kind() != Kind::Master) {
            if !seen.insert(item.id.clone()) {
                continue;
            }
            let event = match item.kind() {
                Kind::Single => mapper.single(&item),
                _ => {
                    let series = item.series_master_id.as_ref();
                    mapper.member(&item, series.and_then(|id| masters.get(id)))
                }
            };
            changes.push(match event {
                Ok(event) => Change::Item(event),
                Err(error) => told_unreadable(Some(&item.id), item.uid, error),
            });
        }
        Ok(changes)
    }

    /// All pages of a listing, and what cannot be read of them.
    pub(crate) async fn walk_list(
        &self,
        calendar: &CalendarRef,
        url: url::Url,
        urgency: Urgency,
    ) -> Result<(Vec<Item>, Vec<Change>)> {
        let (mut items, mut changes) = (Vec::new(), Vec::new());
        let mut next = Some(url);
        let mut pages = 0;
        while let Some(url) = next.take() {
            pages += 1;
            if pages > MOST_PAGES {
                return Err(protocol("a listing that does not end"));
            }
            let request = Request::get(url.clone(), &calendar.address)
                .urgency(urgency)
                .page_size(self.client.settings().page_size);
            let page = self.page(request).await?;
            for value in page.value {
                match read_item(value) {
                    Ok(item) => items.push(item),
                    Err(change) => changes.push(*change),
                }
            }
            next = page
                .next_link
                .map(|link| self.client.link(&link))
                .transpose()?;
            if next.as_ref() == Some(&url) {
                return Err(protocol("a listing that does not end"));
            }
        }
        Ok((items, changes))
    }

    /// The series of those members that do not tell their series' UID, or whether its days are whole ones.
    async fn masters_of(
        &self,
        calendar: &CalendarRef,
        items: &[Item],
        mapper: &Mapper,
        urgency: Urgency,
    ) -> Result<HashMap<String, Item>> {
        let wanted: BTreeSet<String> = items
            .iter()
            .filter(|item| match item.kind() {
                Kind::Occurrence => !Mapper::tells_its_series(item),
                Kind::Exception => !Mapper::tells_its_series(item) || item.is_all_day == Some(true),
                Kind::Single | Kind::Master => false,
            })
            .filter_map(|item| item.series_master_id.clone())
            .collect();
        let read = self
            .read_items(calendar, wanted.into_iter().collect(), mapper, urgency)
            .await?;
        Ok(read
            .into_iter()
            .filter_map(|(id, item)| Some((id, item?)))
            .collect())
    }

    /// Single items by their ids; nothing for those that are gone.
    ///
    /// # Errors
    /// Graph's, but what is about one item.
    pub(crate) async fn read_items(
        &self,
        calendar: &CalendarRef,
        ids: Vec<String>,
        mapper: &Mapper,
        urgency: Urgency,
    ) -> Result<BTreeMap<String, Option<Item>>> {
        futures_util::stream::iter(ids)
            .map(|id| async move {
                let read = self.read_one(calendar, &id, mapper, urgency).await;
                match read {
                    Ok(item) => Ok((id, Some(item))),
                    Err(error)
                        if error.kind == ErrorKind::NotFound && error.scope == Scope::Item =>
                    {
                        Ok((id, None))
                    }
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await
    }

    /// One item by its id.
    ///
    /// # Errors
    /// `NotFound` of scope `Item`; Graph's.
    pub(crate) async fn read_one(
        &self,
        calendar: &CalendarRef,
        id: &str,
        mapper: &Mapper,
        urgency: Urgency,
    ) -> Result<Item> {
        let mut url = self.client.of_user(&calendar.address, &["events", id])?;
        url.query_pairs_mut()
            .append_pair("$select", &select(&mapper.fields));
        let request = Request::get(url, &calendar.address)
            .of_item()
            .urgency(urgency);
        self.client.json(&request).await
    }
}
