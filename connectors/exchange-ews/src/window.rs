//! Reading a window completely, from servers that expand series and from those that do not.

use std::collections::{HashMap, HashSet};

use calbridge_core::connector::{Change, ChangesRequest, Error, ErrorKind, Result, Scope};
use calbridge_core::model::{CalendarRef, Event, Field, FieldSet, Window};
use jiff::{SignedDuration, Timestamp};

use crate::error::WireError;
use crate::map::{Mapped, Mapper, to_instant, uid, unreadable_because};
use crate::request::{self, FIND_PAGE, Properties};
use crate::response::{Item, ItemType};
use crate::series::{Series, overlaps, widened};
use crate::source::{Expands, Inner};

/// The longest range that CalendarView takes (Exchange: two years), less a margin.
const LONGEST_VIEW: SignedDuration = SignedDuration::from_hours(700 * 24);
/// Below this a range is not halved any more.
const SHORTEST_VIEW: SignedDuration = SignedDuration::from_mins(1);
/// How many views may be too slow for our own patience before the calendar is given up for now.
const SLOW_VIEWS: usize = 3;
/// How many masters are tried to prove whether the server expands series.
const PROOFS: usize = 4;
/// How often a listing begins anew because the folder changed under it.
const LISTING_ATTEMPTS: usize = 3;

/// What reading a window gave.
pub(crate) struct Read {
    pub(crate) changes: Vec<Change>,
    /// What was proven about the server's expansion.
    pub(crate) verdict: Option<Expands>,
    /// Whether it took several requests, between which an event may have moved from a part still to be read
    /// to one already read.
    pub(crate) torn: bool,
    /// The greatest time of change, where a listing told.
    pub(crate) newest: Option<Timestamp>,
    /// Whether something that was listed was not found when it was read by itself.
    pub(crate) vanished: bool,
    /// The masters of a listing.
    pub(crate) masters: Vec<String>,
    /// Whether a listing showed that there is none.
    pub(crate) no_series: bool,
}

/// What is known before a window is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belief<'a> {
    pub(crate) expands: Expands,
    /// Whether the folder ever showed a series.
    pub(crate) series: bool,
    /// Ids of some of its masters.
    pub(crate) masters: &'a [String],
}

/// All items of a folder.
struct Listing {
    items: Vec<Item>,
    newest: Option<Timestamp>,
}

impl Inner {
    /// Everything that overlaps the window.
    pub(crate) async fn read_window(
        &self,
        request: &ChangesRequest,
        folder: &str,
        window: Window,
        belief: Belief<'_>,
    ) -> Result<Read> {
        // A server may be replaced or mended: what it could not do is tried again from time to time.
        let prove = match belief.expands {
            Expands::Yes => false,
            Expands::No => request.full,
            Expands::Unknown => belief.series,
        };
        let mut expands = belief.expands;
        let mut verdict = None;
        if prove {
            verdict = self.prove(request, folder, belief.masters).await?;
            expands = verdict.unwrap_or(expands);
        }
        if expands == Expands::No || (expands == Expands::Unknown && belief.series) {
            let listed = self.read_listing(request, folder, window).await?;
            if !prove || verdict.is_some() {
                return Ok(Read { verdict, ..listed });
            }
            verdict = self.prove(request, folder, &listed.masters).await?;
            if verdict != Some(Expands::Yes) {
                return Ok(Read { verdict, ..listed });
            }
        }
        let (items, torn) = self.view(request, folder, window).await?;
        if items.iter().any(Item::is_master) {
            let listed = self.read_listing(request, folder, window).await?;
            return Ok(Read {
                verdict: Some(Expands::No),
                ..listed
            });
        }
        let (changes, vanished) = self
            .describe(&request.calendar, &request.fields, window, items)
            .await?;
        Ok(Read {
            changes,
            verdict,
            torn: torn || vanished,
            vanished,
            newest: None,
            masters: Vec::new(),
            no_series: false,
        })
    }

    /// Asks the server for the first occurrence of a master that is known: the master in a view proves that
    /// it does not expand, an occurrence of that very series that it does. Anything else proves nothing: the
    /// first occurrence may be moved or deleted, and an occurrence of another series may be an item of its
    /// own, invited alone.
    async fn prove(
        &self,
        request: &ChangesRequest,
        folder: &str,
        masters: &[String],
    ) -> Result<Option<Expands>> {
        let calendar = &request.calendar;
        let ids = masters.get(..masters.len().min(PROOFS)).unwrap_or(masters);
        let properties = Properties::details(&FieldSet::times());
        let masters = self.get_items(calendar, ids, &properties).await?;
        let mapper = Mapper {
            zones: &self.zones,
            fields: &request.fields,
        };
        for master in masters.into_iter().flatten().filter(Item::is_master) {
            let zone = self
                .zones
                .find(master.zone_id.as_deref(), master.zone.as_ref());
            let zone = mapper.zone_or_home(zone.as_ref());
            let moment = SignedDuration::from_mins(1);
            let range = master
                .start
                .and_then(|at| to_instant(&zone, at))
                .and_then(|start| {
                    let from = start.checked_sub(moment).ok()?;
                    Window::new(from, start.checked_add(moment).ok()?).ok()
                });
            let (Some(range), Some(uid)) = (range, uid(&master)) else {
                continue;
            };
            let body = request::calendar_view(folder, &Properties::view(&FieldSet::times()), range);
            let view = match self.client.single(&calendar.address, &body).await {
                Ok(view) => view,
                Err(error) if error.kind == ErrorKind::Rejected => continue,
                Err(error) => return Err(error),
            };
            if view.items.iter().any(Item::is_master) {
                tracing::info!(
                    calendar = calendar.handle(),
                    "The server does not expand series; calbridge does."
                );
                return Ok(Some(Expands::No));
            }
            let own = |item: &Item| {
                let occurrence = match item.item_type {
                    Some(ItemType::Occurrence | ItemType::Exception) => true,
                    None => item.recurrence_id.is_some(),
                    Some(_) => false,
                };
                occurrence && item.uid.as_deref() == Some(uid.as_str())
            };
            if view.items.iter().any(own) {
                return Ok(Some(Expands::Yes));
            }
        }
        Ok(None)
    }

    /// CalendarView over the window, in as many ranges as it takes.
    async fn view(
        &self,
        request: &ChangesRequest,
        folder: &str,
        window: Window,
    ) -> Result<(Vec<Item>, bool)> {
        let properties = Properties::view(&request.fields);
        let mut answers = 0;
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        let mut ranges = vec![widened(window)];
        let mut longest = LONGEST_VIEW;
        let mut slow = 0;
        while let Some(range) = ranges.pop() {
            let length = range.end().duration_since(range.start());
            if length > longest {
                ranges.extend(halves(range)?);
                continue;
            }
            let body = request::calendar_view(folder, &properties, range);
            match self.client.single(&request.calendar.address, &body).await {
                Ok(message) => {
                    let full = message.items.len() >= FIND_PAGE;
                    if full || message.includes_last == Some(false) {
                        ranges.extend(halves(range)?);
                        continue;
                    }
                    answers += 1;
                    let expands = message.items.iter().all(|item| !item.is_master());
                    if !expands {
                        // The rest is of no use: the folder will be listed.
                        return Ok((message.items, true));
                    }
                    for item in message.items {
                        // What overlaps two ranges comes twice. An id alone does not tell: a broken server
                        // may give it to several items, of which none may get lost.
                        let same = (item.id.clone(), item.uid.clone(), item.start, item.end);
                        if seen.insert(same) {
                            all.push(item);
                        }
                    }
                }
                // Each costs us the whole time that we wait: what is as long is not asked for any more.
                Err(error)
                    if error.code == "http.timeout"
                        && slow < SLOW_VIEWS
                        && length > SHORTEST_VIEW =>
                {
                    slow += 1;
                    longest = SignedDuration::from_secs(length.as_secs() / 2 + 1);
                    ranges.extend(halves(range)?);
                }
                Err(error)
                    if matches!(
                        error.code.as_str(),
                        "ews.ErrorExceededFindCountLimit"
                            | "ews.ErrorCalendarViewRangeTooBig"
                            | "ews.ErrorTimeoutExpired"
                            | "http.too-large"
                    ) && length > SHORTEST_VIEW =>
                {
                    ranges.extend(halves(range)?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((all, answers > 1))
    }

    /// Maps items, reading by itself what a view could not tell; and whether any of that was not found.
    async fn describe(
        &self,
        calendar: &CalendarRef,
        fields: &FieldSet,
        window: Window,
        items: Vec<Item>,
    ) -> Result<(Vec<Change>, bool)> {
        let mapper = Mapper {
            zones: &self.zones,
            fields,
        };
        let mut changes = Vec::new();
        let mut again = Vec::new();
        for item in items {
            if !item.is_appointment() {
                continue;
            }
            if fields.contains(Field::Body) {
                again.push(item);
                continue;
            }
            match mapper.item(&item, false) {
                Mapped::Event(event) => changes.extend(inside(event, window)),
                Mapped::Unreadable(change) => changes.push(change),
                Mapped::NeedsDetails => again.push(item),
            }
        }
        let ids: Vec<String> = again.iter().map(|item| item.id.clone()).collect();
        let details = self
            .get_items(calendar, &ids, &Properties::details(fields))
            .await?;
        let is_gone = |detail: &Result<Item>| {
            detail
                .as_ref()
                .is_err_and(|error| error.kind == ErrorKind::NotFound)
        };
        let mut vanished = details.iter().any(is_gone);
        let mut damaged = Vec::new();
        for (listed, detail) in again.into_iter().zip(details) {
            let wants_body = fields.contains(Field::Body);
            match detail {
                Err(error) if wants_body && error.code == "ews.ErrorItemCorrupt" => {
                    damaged.push(listed);
                }
                detail => changes.extend(described(mapper, &listed, detail, window)),
            }
        }
        // Most often it is the body that is damaged: once more without it.
        let fields: FieldSet = fields
            .iter()
            .filter(|field| *field != Field::Body)
            .collect();
        let ids: Vec<String> = damaged.iter().map(|item| item.id.clone()).collect();
        let details = self
            .get_items(calendar, &ids, &Properties::details(&fields))
            .await?;
        let mapper = Mapper {
            zones: &self.zones,
            fields: &fields,
        };
        vanished |= details.iter().any(is_gone);
        for (listed, detail) in damaged.iter().zip(details) {
            changes.extend(described(mapper, listed, detail, window));
        }
        Ok((changes, vanished))
    }

    /// Reads the whole folder and expands series here.
    async fn read_listing(
        &self,
        request: &ChangesRequest,
        folder: &str,
        window: Window,
    ) -> Result<Read> {
        let calendar = &request.calendar;
        let listing = self.listing(request, folder).await?;
        let (masters, singles): (Vec<Item>, Vec<Item>) = listing
            .items
            .into_iter()
            .filter(Item::is_appointment)
            .partition(Item::is_master);
        // Only what can belong to the window is looked at any closer.
        let singles: Vec<Item> = singles
            .into_iter()
            .filter(|item| self.may_belong(item, window))
            .collect();
        let (mut changes, mut vanished) = self
            .describe(calendar, &request.fields, window, singles)
            .await?;
        let mapper = Mapper {
            zones: &self.zones,
            fields: &request.fields,
        };
        let ids_of_masters: Vec<String> = masters.iter().map(|item| item.id.clone()).collect();
        let properties = Properties::series(&request.fields);
        let read = self
            .get_items(calendar, &ids_of_masters, &properties)
            .await?;
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
        let ids: Vec<String> = understood
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
            newest: listing.newest,
            no_series: ids_of_masters.is_empty(),
            masters: ids_of_masters,
        })
    }

    /// Whether a single item may overlap the window; true where that cannot be told yet.
    fn may_belong(&self, item: &Item, window: Window) -> bool {
        let mapper = Mapper {
            zones: &self.zones,
            fields: &FieldSet::default(),
        };
        let zone = mapper
            .zones
            .find(item.zone_id.as_deref(), item.zone.as_ref());
        mapper
            .time(item, zone.as_ref())
            .map_or(true, |time| overlaps(&time, widened(window)))
    }

    /// Exceptions by id.
    pub(crate) async fn exceptions(
        &self,
        calendar: &CalendarRef,
        fields: &FieldSet,
        ids: Vec<String>,
    ) -> Result<HashMap<String, Result<Item>>> {
        let items = self
            .get_items(calendar, &ids, &Properties::details(fields))
            .await?;
        Ok(ids.into_iter().zip(items).collect())
    }

    /// All items of the folder, page by page. Begins anew if the folder changes meanwhile, for then a page
    /// may have skipped an item.
    async fn listing(&self, request: &ChangesRequest, folder: &str) -> Result<Listing> {
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
    ) -> Result<Option<Listing>> {
        let mut items: Vec<Item> = Vec::new();
        let mut seen = HashSet::new();
        let mut total = None;
        let mut offset = 0;
        loop {
            let body = request::page(folder, properties, offset);
            let page = self.client.single(&request.calendar.address, &body).await?;
            if total.is_some() && page.total != total {
                return Ok(None);
            }
            total = page.total;
            let count = page.items.len();
            for item in page.items {
                if !seen.insert(item.id.clone()) {
                    return Ok(None);
                }
                items.push(item);
            }
            if page.includes_last == Some(true) {
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
        let newest = items.iter().filter_map(|item| item.modified).max();
        Ok(Some(Listing { items, newest }))
    }
}

/// What an item that was read by itself has to tell about the window.
fn described(
    mapper: Mapper<'_>,
    listed: &Item,
    detail: Result<Item>,
    window: Window,
) -> Option<Change> {
    match detail {
        Ok(item) => match mapper.item(&with_id(item, listed), true) {
            Mapped::Event(event) => inside(event, window),
            Mapped::Unreadable(change) => Some(change),
            Mapped::NeedsDetails => None,
        },
        // It vanished in between.
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => Some(unreadable_because(listed, error)),
    }
}

/// The item as read by itself under the id by which it was listed: an id's form may differ between the two.
fn with_id(mut item: Item, listed: &Item) -> Item {
    item.id.clone_from(&listed.id);
    if item.change_key.is_none() {
        item.change_key.clone_from(&listed.change_key);
    }
    item
}

fn inside(event: Event, window: Window) -> Option<Change> {
    overlaps(&event.content.time, window).then_some(Change::Item(event))
}

fn halves(range: Window) -> Result<[Window; 2]> {
    let length = range.end().duration_since(range.start());
    let too_dense = || {
        Error::new(
            ErrorKind::Rejected,
            Scope::Calendar,
            "ews.view.too-dense",
            "more items overlap one minute of the calendar than Exchange lists at once; the calendar cannot be read completely and is left as it was",
        )
    };
    if length <= SHORTEST_VIEW {
        return Err(too_dense());
    }
    let seconds = length.as_secs() / 2;
    let middle = range
        .start()
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| too_dense())?;
    let half = |from, to| Window::new(from, to).map_err(|_| too_dense());
    // Taken from the end: the earlier half is read first.
    Ok([half(middle, range.end())?, half(range.start(), middle)?])
}
