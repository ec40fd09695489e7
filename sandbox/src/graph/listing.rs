//! Listings of events: `calendarView`, `instances`, `events`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::error::GraphError;
use super::query::{Prefer, Query};
use super::render::{PROPERTIES, Shown, selected};
use crate::exchange::Person;
use crate::exchange::item::{Folder, Item, touches};
use crate::exchange::store::Store;

/// What `$top` is where nothing is said.
const DEFAULT_TOP: usize = 10;
/// The largest `$top`.
const MOST_TOP: usize = 1_000;
/// The widest range, in days.
const WIDEST: i64 = 1_825;

/// A half-open range of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Span {
    /// `startDateTime` and `endDateTime`; without an offset they are UTC, whatever the headers say.
    pub(super) fn read(query: &Query) -> Result<Self, GraphError> {
        let at = |name: &str| {
            let text = query.get(name).ok_or_else(|| {
                GraphError::invalid("This request requires a time window specified by the query string parameters StartDateTime and EndDateTime.")
            })?;
            let parsed = text.parse::<Timestamp>().ok();
            parsed
                .or_else(|| format!("{text}Z").parse().ok())
                .or_else(|| format!("{text}T00:00:00Z").parse().ok())
                .ok_or_else(|| {
                    GraphError::new(
                        400,
                        "ErrorInvalidParameter",
                        format!("The value '{text}' of parameter '{name}' is invalid."),
                    )
                })
        };
        let span = Self {
            from: at("startDateTime")?,
            to: at("endDateTime")?,
        };
        if span.to < span.from {
            return Err(GraphError::invalid(
                "EndDateTime must be after StartDateTime.",
            ));
        }
        if span.to.duration_since(span.from) > SignedDuration::from_hours(24 * WIDEST) {
            return Err(GraphError::invalid(format!(
                "Your request can't be completed. The range between the start and end dates is greater than the allowed range. Maximum number of days: {WIDEST}"
            )));
        }
        Ok(span)
    }
}

/// One page of a listing.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) items: Vec<Value>,
    /// Where the next page begins.
    pub(super) next: Option<usize>,
}

/// The events of a folder that are none of its messages.
pub(super) fn items_of(
    store: &Store,
    mailbox: usize,
    folder: Folder,
) -> impl Iterator<Item = &Item> {
    store
        .items_in(mailbox, folder)
        .filter(|item| item.appointment.is_appointment())
}

/// What overlaps a range, series expanded.
pub(super) fn view<'a>(
    store: &'a Store,
    mailbox: usize,
    folder: Folder,
    span: Span,
) -> Vec<Shown<'a>> {
    let mut shown: Vec<Shown<'a>> = items_of(store, mailbox, folder)
        .flat_map(|item| match &item.series {
            Some(_) => Shown::members(item, span.from, span.to),
            None if touches(&item.appointment, span.from, span.to) => vec![Shown::whole(item)],
            None => Vec::new(),
        })
        .collect();
    shown.sort_by_key(|one| (one.content.start, one.item.number));
    shown
}

/// Cuts a page out of a listing and renders it.
pub(super) fn page(
    all: &[Shown<'_>],
    owner: &Person,
    prefer: &Prefer,
    query: &Query,
) -> Result<Listed, GraphError> {
    let names = checked_select(query)?;
    let top = query.count("$top", MOST_TOP)?;
    let top = top.unwrap_or(DEFAULT_TOP);
    let skip = match query.get("$skip") {
        Some(text) => text.parse().map_err(|_| {
            GraphError::new(
                400,
                "ErrorInvalidUrlQueryFilter",
                "Invalid value for $skip.",
            )
        })?,
        None => 0,
    };
    let items = all
        .iter()
        .skip(skip)
        .take(top)
        .map(|one| selected(one.full(owner, prefer), names.as_deref()))
        .collect();
    let next = (skip + top < all.len()).then_some(skip + top);
    Ok(Listed { items, next })
}

/// `$select`, of names that there are.
pub(super) fn checked_select(query: &Query) -> Result<Option<Vec<String>>, GraphError> {
    let names = query.select();
    let unknown = names
        .iter()
        .flatten()
        .find(|name| !PROPERTIES.contains(&name.as_str()));
    match unknown {
        Some(name) => Err(GraphError::new(
            400,
            "RequestBroker--ParseUri",
            format!(
                "Could not find a property named '{name}' on type 'Microsoft.OutlookServices.Event'."
            ),
        )),
        None => Ok(names),
    }
}

/// The body of a page.
pub(super) fn body(listed: &Listed, next_link: Option<String>) -> Value {
    let mut body = json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/calendarView",
        "value": listed.items,
    });
    if let Some(link) = next_link {
        body["@odata.nextLink"] = json!(link);
    }
    body
}
