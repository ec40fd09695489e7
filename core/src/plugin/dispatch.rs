//! A message becomes a call of the connector's traits. Used by every library that is built from this crate, and
//! so by every child process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use super::messages::{
    ApplyRequest, CapabilitiesAnswer, CapabilitiesRequest, ChangesPart, Empty, FeedRequest,
    FetchAnswer, FetchRequest, Hints, InventoryPart, NextChanges, OpenAnswer, Opened, ProbeAnswer,
    ProbeRequest, WatchRequest, WatchSet, method, read, write,
};
use crate::connector::{
    ApplyReport, CalendarSink, CalendarSource, ChangeFeed, Connection, Error, ErrorKind, HintFeed,
    InventoryFeed, Outcome, Result, Scope, Write, WriteId, WriteOutcome, find,
};
use crate::model::CalendarRef;

/// Carries messages to one connection, and keeps its feeds.
pub struct Dispatcher {
    connection: Arc<dyn Connection>,
    feeds: Mutex<Feeds>,
}

#[derive(Default)]
struct Feeds {
    last: u64,
    /// One that is being asked is not here, but its place is.
    changes: HashMap<u64, Option<Box<dyn ChangeFeed>>>,
    inventories: HashMap<u64, Option<Box<dyn InventoryFeed>>>,
    hints: HashMap<u64, Arc<tokio::sync::Mutex<Box<dyn HintFeed>>>>,
}

impl Feeds {
    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// For one connection.
    #[must_use]
    pub fn new(connection: Arc<dyn Connection>) -> Self {
        Self {
            connection,
            feeds: Mutex::default(),
        }
    }

    /// What the connection can be.
    #[must_use]
    pub fn sides(&self) -> OpenAnswer {
        OpenAnswer {
            source: Some(self.connection.source().is_some()),
            sink: Some(self.connection.sink().is_some()),
        }
    }

    /// How many feeds are open.
    #[must_use]
    pub fn open_feeds(&self) -> usize {
        let feeds = self.feeds();
        feeds.changes.len() + feeds.inventories.len() + feeds.hints.len()
    }

    /// Carries out one message. A feed of changes or of an inventory whose `next` fails or is cancelled is gone; one
    /// of hints stays.
    ///
    /// # Errors
    /// The connector's; `Protocol` for a message that cannot be read; `Unsupported` for a method that is not known.
    pub async fn call(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
        match name {
            method::CHECK => {
                let report = self.connection.check(read(name, payload)?).await?;
                write(name, &report)
            }
            method::ROSTER => write(name, &self.connection.roster().await?),
            method::CHANGES_OPEN => {
                let feed = self.source()?.changes(read(name, payload)?).await?;
                let mut feeds = self.feeds();
                let id = feeds.next_id();
                feeds.changes.insert(id, Some(feed));
                write(name, &Opened { feed: id })
            }
            method::CHANGES_NEXT => {
                let request: NextChanges = read(name, payload)?;
                write(name, &self.next_changes(request).await?)
            }
            method::FETCH => {
                let request: FetchRequest = read(name, payload)?;
                let results = self
                    .source()?
                    .fetch(&request.calendar, &request.items)
                    .await?;
                let results = results.into_iter().map(Into::into).collect();
                write(name, &FetchAnswer { results })
            }
            method::WATCH_OPEN => {
                let request: WatchRequest = read(name, payload)?;
                let feed = self.source()?.watch(&request.calendars).await?;
                let mut feeds = self.feeds();
                let id = feeds.next_id();
                feeds
                    .hints
                    .insert(id, Arc::new(tokio::sync::Mutex::new(feed)));
                write(name, &Opened { feed: id })
            }
            method::WATCH_NEXT => {
                let request: FeedRequest = read(name, payload)?;
                let feed = self.hints(request.feed)?;
                let hints = feed.lock().await.next().await?;
                write(name, &Hints { hints })
            }
            method::WATCH_SET => {
                let request: WatchSet = read(name, payload)?;
                let feed = self.hints(request.feed)?;
                // A `next` that was cancelled gives the feed free as soon as it notices.
                feed.lock().await.set(&request.calendars).await?;
                write(name, &Empty {})
            }
            method::APPLY => write(name, &self.apply(payload).await?),
            method::INVENTORY_OPEN => {
                let feed = self.sink()?.inventory(read(name, payload)?).await?;
                let mut feeds = self.feeds();
                let id = feeds.next_id();
                feeds.inventories.insert(id, Some(feed));
                write(name, &Opened { feed: id })
            }
            method::INVENTORY_NEXT => {
                let request: FeedRequest = read(name, payload)?;
                write(name, &self.next_page(request).await?)
            }
            method::PROBE => {
                let request: ProbeRequest = read(name, payload)?;
                let probes = self
                    .sink()?
                    .probe(&request.calendar, &request.tokens)
                    .await?;
                write(name, &ProbeAnswer { probes })
            }
            method::CHANGES_CLOSE | method::WATCH_CLOSE | method::INVENTORY_CLOSE => {
                let FeedRequest { feed } = read(name, payload)?;
                self.close(feed);
                write(name, &Empty {})
            }
            method::SHUTDOWN => write(name, &Empty {}),
            other => Err(unknown(other)),
        }
    }

    async fn next_changes(&self, request: NextChanges) -> Result<ChangesPart> {
        let mut taken = Taken::new(self, request.feed, |feeds| &mut feeds.changes)?;
        let batch = taken.feed()?.next(request.max).await?;
        let end = batch.is_none();
        if !end {
            taken.put_back();
        }
        Ok(ChangesPart { batch, end })
    }

    async fn next_page(&self, request: FeedRequest) -> Result<InventoryPart> {
        let mut taken = Taken::new(self, request.feed, |feeds| &mut feeds.inventories)?;
        let page = taken.feed()?.next().await?;
        let end = page.is_none();
        if !end {
            taken.put_back();
        }
        Ok(InventoryPart { page, end })
    }

    async fn apply(&self, payload: &[u8]) -> Result<ApplyReport> {
        let sink = self.sink()?;
        let (calendar, writes, refused) = match read::<ApplyRequest>(method::APPLY, payload) {
            Ok(request) => (request.calendar, request.writes, Vec::new()),
            Err(_) => one_by_one(payload)?,
        };
        let mut report = if writes.is_empty() && !refused.is_empty() {
            ApplyReport::default()
        } else {
            sink.apply(&calendar, &writes).await?
        };
        report.outcomes.extend(refused);
        Ok(report)
    }

    fn source(&self) -> Result<&dyn CalendarSource> {
        self.connection
            .source()
            .ok_or_else(|| Error::unsupported("reading"))
    }

    fn sink(&self) -> Result<&dyn CalendarSink> {
        self.connection
            .sink()
            .ok_or_else(|| Error::unsupported("writing"))
    }

    fn hints(&self, feed: u64) -> Result<Arc<tokio::sync::Mutex<Box<dyn HintFeed>>>> {
        self.feeds()
            .hints
            .get(&feed)
            .cloned()
            .ok_or_else(no_such_feed)
    }

    fn close(&self, feed: u64) {
        // Dropped outside the lock: a feed's destructor is the connector's code.
        let closed = {
            let mut feeds = self.feeds();
            (
                feeds.changes.remove(&feed),
                feeds.inventories.remove(&feed),
                feeds.hints.remove(&feed),
            )
        };
        drop(closed);
    }

    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Table<F> = HashMap<u64, Option<Box<F>>>;

/// A feed that is being asked. A call that is cancelled or fails takes the feed with it; and one that is closed
/// meanwhile does not come back, however the call ends.
struct Taken<'a, F: ?Sized> {
    dispatcher: &'a Dispatcher,
    id: u64,
    table: fn(&mut Feeds) -> &mut Table<F>,
    feed: Option<Box<F>>,
}

impl<'a, F: ?Sized> Taken<'a, F> {
    fn new(
        dispatcher: &'a Dispatcher,
        id: u64,
        table: fn(&mut Feeds) -> &mut Table<F>,
    ) -> Result<Self> {
        let feed = table(&mut dispatcher.feeds())
            .get_mut(&id)
            .and_then(Option::take)
            .ok_or_else(no_such_feed)?;
        Ok(Self {
            dispatcher,
            id,
            table,
            feed: Some(feed),
        })
    }

    fn feed(&mut self) -> Result<&mut F> {
        self.feed.as_deref_mut().ok_or_else(no_such_feed)
    }

    fn put_back(mut self) {
        let feed = self.feed.take();
        let mut feeds = self.dispatcher.feeds();
        match (self.table)(&mut feeds).get_mut(&self.id) {
            Some(place) => *place = feed,
            None => {
                // Dropped outside the lock: its destructor is the connector's code.
                drop(feeds);
                drop(feed);
            }
        }
    }
}

impl<F: ?Sized> Drop for Taken<'_, F> {
    fn drop(&mut self) {
        let mut feeds = self.dispatcher.feeds();
        let table = (self.table)(&mut feeds);
        // Put back or closed, and perhaps asked again by now, if it is not ours any more.
        if self.feed.is_some() {
            table.remove(&self.id);
        }
    }
}

/// Reads writes one at a time, so that one of a newer version (an operation that is not known here) is refused
/// alone.
fn one_by_one(payload: &[u8]) -> Result<(CalendarRef, Vec<Write>, Vec<WriteOutcome>)> {
    #[derive(Deserialize)]
    struct Loose {
        calendar: CalendarRef,
        writes: Vec<Value>,
    }
    #[derive(Deserialize)]
    struct Named {
        id: WriteId,
    }
    let loose: Loose = read(method::APPLY, payload)?;
    let mut writes = Vec::new();
    let mut refused = Vec::new();
    for value in loose.writes {
        match Write::deserialize(&value) {
            Ok(write) => writes.push(write),
            Err(_) => {
                let named: Named = read(method::APPLY, value.to_string().as_bytes())?;
                refused.push(WriteOutcome {
                    id: named.id,
                    outcome: Outcome::Rejected {
                        code: "plugin.unknown-write".to_owned(),
                        message: "the connector is older than calbridge and does not know this kind of write; install a newer version of the connector".to_owned(),
                    },
                    receipt: None,
                    notices: Vec::new(),
                });
            }
        }
    }
    Ok((loose.calendar, writes, refused))
}

/// Carries out a message to the library itself.
///
/// # Errors
/// As [`Dispatcher::call`].
pub fn library_call(name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    match name {
        method::CAPABILITIES => {
            let request: CapabilitiesRequest = read(name, payload)?;
            let entry =
                find(&request.connector).ok_or_else(|| no_such_connector(&request.connector))?;
            let capabilities = entry.capabilities(&request.settings)?;
            write(name, &CapabilitiesAnswer { capabilities })
        }
        other => Err(unknown(other)),
    }
}

/// The library does not hold the connector.
#[must_use]
pub fn no_such_connector(id: &str) -> Error {
    Error::config(format!("the library holds no connector `{id}`"))
}

fn unknown(name: &str) -> Error {
    Error::unsupported(&format!("the method `{name}`"))
}

fn no_such_feed() -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "plugin.no-such-feed",
        "the feed has ended, or failed, or a call of it was given up; it is opened again",
    )
}
