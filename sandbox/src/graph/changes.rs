//! `calendarView/delta`: what changed in a range since a link (Graph, "event: delta", "Use delta query").

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::error::GraphError;
use super::handle::Habits;
use super::ids::EventId;
use super::listing::{Span, items_of};
use super::query::{Prefer, Query};
use super::render::{Shown, id_of};
use crate::exchange::Person;
use crate::exchange::item::{Folder, touches};
use crate::exchange::store::Store;

/// The page size where nothing is asked for.
const DEFAULT_PAGE: usize = 10;
/// A page is never larger.
const MOST_PAGE: usize = 1_000;

/// One line of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A single event or a master.
    Whole(u64),
    Member(u64, DateTime),
    /// By the first number.
    Removed {
        number: u64,
        origin: u64,
        slot: Option<DateTime>,
    },
}

/// Whose changes, and in which range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chain {
    mailbox: usize,
    folder: Folder,
    span: Span,
    /// Raised when tokens are forgotten.
    epoch: u64,
}

/// What stands behind a link.
#[derive(Debug, Clone)]
enum Place {
    /// The rest of a round.
    Round {
        lines: Vec<Line>,
        since: u64,
        /// A page without anything comes first.
        empty: bool,
    },
    /// The end of one.
    End { since: u64 },
}

#[derive(Debug, Clone)]
struct Kept {
    chain: Chain,
    place: Place,
    /// The query of the link, byte by byte.
    query: String,
}

/// The links that were given out.
#[derive(Debug, Default)]
pub(super) struct Links {
    kept: Mutex<HashMap<String, Kept>>,
    epochs: Mutex<HashMap<usize, u64>>,
}

/// A round that is to go on.
struct Round {
    chain: Chain,
    lines: Vec<Line>,
    since: u64,
    empty: bool,
}

/// A page of changes.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) body: Value,
    pub(super) items: usize,
}

/// What a request for changes names.
pub(super) struct Asked<'a> {
    pub(super) mailbox: usize,
    pub(super) folder: Folder,
    pub(super) owner: &'a Person,
    pub(super) prefer: &'a Prefer,
    pub(super) raw_query: &'a str,
    /// The address of the function, without a query.
    pub(super) base: &'a str,
    pub(super) habits: &'a Habits,
    /// The page is given, and the round does not get on.
    pub(super) stuck: bool,
}

impl Links {
    /// Forgets everything about a mailbox: its links die.
    pub(super) fn forget(&self, mailbox: usize) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        *epochs.entry(mailbox).or_default() += 1;
    }

    fn epoch(&self, mailbox: usize) -> u64 {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.get(&mailbox).copied().unwrap_or_default()
    }

    /// Answers a request.
    pub(super) fn answer(&self, store: &Store, asked: &Asked<'_>) -> Result<Page, GraphError> {
        let query = Query::read(asked.raw_query);
        for refused in ["$select", "$filter", "$expand", "$orderby", "$search"] {
            if query.get(refused).is_some() {
                return Err(GraphError::new(
                    400,
                    "ErrorInvalidUrlQuery",
                    format!(
                        "The following parameters are not supported with change tracking over the 'CalendarView' resource: '{refused}'."
                    ),
                ));
            }
        }
        let token = query.get("$skiptoken").or(query.get("$deltatoken"));
        let round = match token {
            Some(token) => self.resume(store, asked, token)?,
            None => {
                let chain = Chain {
                    mailbox: asked.mailbox,
                    folder: asked.folder,
                    span: Span::read(&query)?,
                    epoch: self.epoch(asked.mailbox),
                };
                Round {
                    lines: first(store, &chain),
                    chain,
                    since: store.last_change(),
                    empty: false,
                }
            }
        };
        Ok(self.page(store, asked, round))
    }

    fn resume(&self, store: &Store, asked: &Asked<'_>, token: &str) -> Result<Round, GraphError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(token).ok_or_else(|| {
            GraphError::new(
                400,
                "ErrorInvalidUrlQuery",
                "The sync token is not well-formed.",
            )
        })?;
        if kept.query != asked.raw_query {
            return Err(GraphError::new(
                400,
                "ErrorInvalidUrlQuery",
                "A link of this server was changed before it was used.",
            ));
        }
        let chain = kept.chain;
        if (chain.mailbox, chain.folder) != (asked.mailbox, asked.folder) {
            return Err(GraphError::new(
                400,
                "ErrorInvalidUrlQuery",
                "The sync token belongs to another calendar.",
            ));
        }
        if chain.epoch != self.epoch(asked.mailbox) {
            return Err(GraphError::new(
                410,
                "SyncStateNotFound",
                "The sync state generation is not found; continuing the sync is impossible.",
            ));
        }
        Ok(match &kept.place {
            Place::Round {
                lines,
                since,
                empty,
            } => Round {
                chain,
                lines: lines.clone(),
                since: *since,
                empty: *empty,
            },
            Place::End { since } => Round {
                chain,
                lines: changed(store, &chain, *since, asked.habits),
                since: store.last_change(),
                empty: false,
            },
        })
    }

    fn page(&self, store: &Store, asked: &Asked<'_>, round: Round) -> Page {
        let Round {
            chain,
            lines,
            since,
            empty,
        } = round;
        let size = asked
            .prefer
            .page_size
            .unwrap_or(DEFAULT_PAGE)
            .clamp(1, MOST_PAGE);
        let most = asked.habits.most_per_page;
        let size = most.map_or(size, |most| size.min(most.max(1)));
        let size = if empty { 0 } else { size.min(lines.len()) };
        let (now, later) = lines.split_at(size);
        let mut items: Vec<Value> = now
            .iter()
            .filter_map(|line| render(store, *line, asked))
            .collect();
        if asked.habits.repeats
            && let Some(first) = items.first().cloned()
        {
            items.push(first);
        }
        let rest = if asked.stuck {
            lines.clone()
        } else {
            later.to_vec()
        };
        let (link_name, name, place) = if rest.is_empty() && !empty {
            ("@odata.deltaLink", "$deltatoken", Place::End { since })
        } else {
            let place = Place::Round {
                lines: rest,
                since,
                empty: asked.habits.empty_pages && !empty,
            };
            ("@odata.nextLink", "$skiptoken", place)
        };
        let link = self.keep(asked.base, name, chain, place);
        let mut body = json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(event)",
            "value": items,
        });
        body[link_name] = json!(link);
        Page {
            items: items.len(),
            body,
        }
    }

    /// Keeps a place and makes the link to it. Its token has to be sent back as it is: what is decoded on the way does
    /// not come back the same.
    fn keep(&self, base: &str, name: &str, chain: Chain, place: Place) -> String {
        let id = uuid::Uuid::new_v4().simple();
        let token = format!("{id}+{}/x=", chain.epoch);
        let query = format!("{name}={id}%2B{}%2Fx%3d", chain.epoch);
        let link = format!("{base}?{query}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(
            token,
            Kept {
                chain,
                place,
                query,
            },
        );
        link
    }
}

/// A first round: everything in the range.
fn first(store: &Store, chain: &Chain) -> Vec<Line> {
    let mut lines = Vec::new();
    for item in items_of(store, chain.mailbox, chain.folder) {
        let span = chain.span;
        if item.series.is_some() {
            let members = Shown::members(item, span.from, span.to);
            if !members.is_empty() {
                lines.push(Line::Whole(item.number));
            }
            lines.extend(
                members
                    .iter()
                    .filter_map(|one| Some(Line::Member(item.number, one.slot?))),
            );
        } else if touches(&item.appointment, span.from, span.to) {
            lines.push(Line::Whole(item.number));
        }
    }
    lines
}

/// What changed since a change number. What changed and is not in the range is called removed.
fn changed(store: &Store, chain: &Chain, since: u64, habits: &Habits) -> Vec<Line> {
    let span = chain.span;
    let mut lines = Vec::new();
    let mut alive = BTreeSet::new();
    for item in items_of(store, chain.mailbox, chain.folder) {
        alive.insert(item.origin);
        if item.change <= since {
            continue;
        }
        let removed = Line::Removed {
            number: item.number,
            origin: item.origin,
            slot: None,
        };
        match &item.series {
            Some(series) => {
                let members = Shown::members(item, span.from, span.to);
                if members.is_empty() {
                    lines.push(removed);
                    continue;
                }
                if habits.masters_in_changes {
                    lines.push(Line::Whole(item.number));
                }
                lines.extend(
                    members
                        .iter()
                        .filter_map(|one| Some(Line::Member(item.number, one.slot?))),
                );
                if habits.deleted_occurrences_in_changes {
                    lines.extend(series.deleted.iter().map(|slot| Line::Removed {
                        number: item.number,
                        origin: item.origin,
                        slot: Some(*slot),
                    }));
                }
            }
            None if touches(&item.appointment, span.from, span.to) => {
                lines.push(Line::Whole(item.number));
            }
            None => lines.push(removed),
        }
    }
    let gone = store
        .mailbox(chain.mailbox)
        .and_then(|mailbox| mailbox.folders.get(&chain.folder));
    for gone in gone.into_iter().flat_map(|state| &state.gone) {
        if gone.change > since && !alive.contains(&gone.origin) {
            lines.push(Line::Removed {
                number: gone.item,
                origin: gone.origin,
                slot: None,
            });
        }
    }
    lines
}

/// A line as it is now. What went meanwhile is left out; the next round tells.
fn render(store: &Store, line: Line, asked: &Asked<'_>) -> Option<Value> {
    match line {
        Line::Whole(number) => {
            let item = store.item(number).ok()?;
            Some(Shown::whole(item).full(asked.owner, asked.prefer))
        }
        Line::Member(number, slot) => {
            let item = store.item(number).ok()?;
            let member = Shown::member(item, slot)?;
            Some(if member.exception || asked.habits.full_occurrences {
                member.full(asked.owner, asked.prefer)
            } else {
                member.bare(asked.prefer)
            })
        }
        Line::Removed {
            number,
            origin,
            slot,
        } => {
            let immutable = asked.prefer.immutable;
            let id = match store.item(number) {
                Ok(item) => id_of(item, slot, immutable),
                Err(_) => EventId {
                    number: if immutable { origin } else { number },
                    immutable,
                    slot,
                },
            };
            Some(json!({ "id": id.text(), "@removed": { "reason": "deleted" } }))
        }
    }
}
