//! Reading a window completely: by views of the server, or by a listing where it does not expand series
//! (`listing.rs`).

use std::collections::HashSet;

use calbridge_core::connector::{Change, ChangesRequest, Error, ErrorKind, Result, Scope};
use calbridge_core::model::{CalendarRef, Event, Field, FieldSet, Window};
use jiff::SignedDuration;

use crate::map::{Doubts, Mapped, Mapper, unreadable_because};
use crate::pending::Listed;
use crate::request::{self, FIND_PAGE, Properties};
use crate::response::Item;
use crate::series::{overlaps, widened};
use crate::source::{Expands, Inner};

/// The longest range that CalendarView takes (Exchange: two years), less a margin.
const LONGEST_VIEW: SignedDuration = SignedDuration::from_hours(700 * 24);
/// Below this a range is not halved any more.
const SHORTEST_VIEW: SignedDuration = SignedDuration::from_mins(1);
/// How many views may be too slow for our own patience before the calendar is given up for now.
const SLOW_VIEWS: usize = 3;

/// What reading a window gave.
pub(crate) struct Read {
    pub(crate) changes: Vec<Change>,
    /// What was proven about the server's expansion.
    pub(crate) verdict: Option<Expands>,
    /// Whether it took several requests, between which an event may have moved from a part still to be read
    /// to one already read.
    pub(crate) torn: bool,
    /// The fingerprint of the masters, where a listing told.
    pub(crate) print: Option<String>,
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

impl Inner {
    /// Everything that overlaps the window.
    pub(crate) async fn read_window(
        &self,
        request: &ChangesRequest,
        folder: &str,
        window: Window,
        belief: Belief<'_>,
    ) -> Result<Read> {
        let doubts = Doubts::default();
        let read = self
            .read_doubting(request, folder, window, belief, &doubts)
            .await;
        doubts.tell(&request.calendar);
        read
    }

    async fn read_doubting(
        &self,
        request: &ChangesRequest,
        folder: &str,
        window: Window,
        belief: Belief<'_>,
        doubts: &Doubts,
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
        let mapper = |expands| Mapper {
            zones: &self.zones,
            fields: &request.fields,
            expanded: expands == Expands::Yes,
            doubts,
        };
        if expands == Expands::No || (expands == Expands::Unknown && belief.series) {
            let listed = self
                .read_listing(request, folder, window, mapper(expands))
                .await?;
            if !prove || verdict.is_some() {
                return Ok(Read { verdict, ..listed });
            }
            verdict = self.prove(request, folder, &listed.masters).await?;
            if verdict != Some(Expands::Yes) {
                return Ok(Read { verdict, ..listed });
            }
            expands = Expands::Yes;
        }
        let (items, torn) = match self.view(request, folder, window).await {
            // One damaged item may spoil every view that it belongs to. By themselves the others can be read.
            Err(error) if is_damage(&error) => {
                tracing::info!(
                    calendar = request.calendar.handle(),
                    code = error.code,
                    "The server cannot give a view of the calendar; its items are read one by one."
                );
                let listed = self
                    .read_listing(request, folder, window, mapper(expands))
                    .await?;
                return Ok(Read { verdict, ..listed });
            }
            view => view?,
        };
        if items.iter().any(Item::is_master) {
            let listed = self
                .read_listing(request, folder, window, mapper(Expands::No))
                .await?;
            return Ok(Read {
                verdict: Some(Expands::No),
                ..listed
            });
        }
        let (changes, vanished) = self
            .describe(&request.calendar, mapper(expands), window, items)
            .await?;
        Ok(Read {
            changes,
            verdict,
            torn: torn || vanished,
            vanished,
            print: None,
            masters: Vec::new(),
            no_series: false,
        })
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
                    let message = message.view()?;
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
    pub(crate) async fn describe(
        &self,
        calendar: &CalendarRef,
        mapper: Mapper<'_>,
        window: Window,
        items: Vec<Item>,
    ) -> Result<(Vec<Change>, bool)> {
        let fields = mapper.fields;
        let wants_body = fields.contains(Field::Body);
        let mut changes = Vec::new();
        let mut again = Vec::new();
        for item in items {
            if !item.is_appointment() {
                continue;
            }
            if wants_body {
                again.push(item);
                continue;
            }
            match mapper.item(&item, false) {
                Mapped::Event(event) => changes.extend(inside(event, window)),
                Mapped::Unreadable(change) => changes.push(change),
                Mapped::NeedsDetails => again.push(item),
            }
        }
        let listed: Vec<Listed> = again.iter().map(Listed::of).collect();
        let details = self
            .get_listed(calendar, &listed, &Properties::details(fields))
            .await?;
        let is_gone = |detail: &Result<Item>| {
            detail
                .as_ref()
                .is_err_and(|error| error.kind == ErrorKind::NotFound)
        };
        let mut vanished = details.iter().any(is_gone);
        let mut damaged = Vec::new();
        for (listed, detail) in again.into_iter().zip(details) {
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
            fields: &fields,
            ..mapper
        };
        vanished |= details.iter().any(is_gone);
        for (listed, detail) in damaged.iter().zip(details) {
            changes.extend(described(mapper, listed, detail, window));
        }
        Ok((changes, vanished))
    }
}

/// Whether a view failed for what the calendar holds rather than for the server's state.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(
        error.code.as_str(),
        "ews.ErrorItemCorrupt"
            | "ews.ErrorCorruptData"
            | "ews.ErrorFolderCorrupt"
            | "ews.ErrorPropertyUpdate"
            | "ews.ErrorItemPropertyRequestFailed"
            | "ews.ErrorCalendarInvalidRecurrence"
            | "ews.ErrorRecurrenceHasNoOccurrence"
            | "ews.ErrorCalendarOutOfRange"
            | "ews.ErrorInternalServerError"
    )
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
pub(crate) fn with_id(mut item: Item, listed: &Item) -> Item {
    item.id.clone_from(&listed.id);
    if item.change_key.is_none() {
        item.change_key.clone_from(&listed.change_key);
    }
    if item.modified.is_none() {
        item.modified = listed.modified;
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
