//! A feed of one calendar: a round of `calendarView/delta`, settled.
//!
//! A round is walked page by page, by Graph's own links as they stand. Single events go out as they come. What a round says
//! of a series, or calls removed, is only a sign, and is settled at its end:
//!
//! - Occurrences come bare, and a deleted one may leave no trace. A series of which anything was told is read again, all
//!   of it that lies in the window. In a calendar's first round all members come, and are filled from their series.
//! - What left the range of the chain is called removed just like what was deleted. Each is asked for by its id.
//!
//! On a first run the next weeks are listed before the round begins, so that everybody's near appointments are there early.
//! Where a round does not end, as is on record for some mailboxes, plain listings serve for a day.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    Change, ChangeBatch, ChangeFeed, ChangesRequest, Cursor, Error, ErrorKind, Result, Scope,
};
use calbridge_core::http::Urgency;
use calbridge_core::model::{Event, EventTime, GroupRef, ItemRef, Window};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Deserialize;
use url::Url;

use crate::bookmark::Bookmark;
use crate::client::Request;
use crate::error::protocol;
use crate::map::{Mapper, unreadable};
use crate::source::Inner;
use crate::view::{MOST_PAGES, read_item, select, told_unreadable};
use crate::wire::{Item, Kind, Page};

/// What of a calendar is listed first on a first run, from now on.
const NEAR: SignedDuration = SignedDuration::from_hours(24 * 28);
/// A window that ends soon after that is read in one go.
const FAR: SignedDuration = SignedDuration::from_hours(24 * 42);
/// The same page so many times means that the round does not end.
const REPEATS: usize = 3;
/// When more series than this were touched, one listing of the window is cheaper than one of each.
const MANY_SERIES: usize = 10;

/// The feed.
pub(crate) struct Feed {
    inner: Arc<Inner>,
    request: ChangesRequest,
    mapper: Mapper,
    stage: Stage,
    /// What is still to be handed out.
    ready: VecDeque<Change>,
    folder: Option<String>,
}

/// How far the feed is.
enum Stage {
    Begin,
    Walk(Box<Walk>),
    Settle(Box<Walk>),
    /// Ranges that are still to be listed, before the place is kept.
    List(Vec<Window>, Bookmark),
    Last(Bookmark),
    Ready(Cursor),
    Ended,
}

/// A round under way.
struct Walk {
    mark: Bookmark,
    next: Url,
    /// It is the first one of its chain: all members of series come.
    first: bool,
    pages: usize,
    /// How often pages of the same content came.
    prints: HashMap<blake3::Hash, usize>,
    masters: HashMap<String, Item>,
    /// Members of series by their ids, in a first round.
    members: BTreeMap<String, Item>,
    /// Series of which anything was told.
    touched: BTreeSet<String>,
    removed: BTreeSet<String>,
    /// Series that were called removed, in whole or in part, and can be had by their ids.
    doubtful: BTreeSet<String>,
}

/// What a page leads to.
enum Next {
    Page(Box<Walk>),
    End(Box<Walk>),
    /// The round does not end.
    Endless,
}

impl Feed {
    pub(crate) fn new(inner: Arc<Inner>, request: ChangesRequest) -> Self {
        Self {
            mapper: inner.mapper(request.fields.clone()),
            inner,
            request,
            stage: Stage::Begin,
            ready: VecDeque::new(),
            folder: None,
        }
    }

    async fn step(&mut self, stage: Stage) -> Result<Stage> {
        match stage {
            Stage::Begin => self.begin().await,
            Stage::Walk(walk) => match self.walk(walk).await? {
                Next::Page(walk) => Ok(Stage::Walk(walk)),
                Next::End(walk) => Ok(Stage::Settle(walk)),
                Next::Endless => Ok(self.without_changes()),
            },
            Stage::Settle(walk) => self.settle(*walk).await,
            Stage::List(mut windows, mark) => match windows.pop() {
                Some(window) => {
                    self.list(window, Urgency::Now).await?;
                    Ok(Stage::List(windows, mark))
                }
                None => Ok(Stage::Last(mark)),
            },
            Stage::Last(mark) => self.last(mark).await,
            stage @ (Stage::Ready(_) | Stage::Ended) => Ok(stage),
        }
    }

    async fn begin(&mut self) -> Result<Stage> {
        let request = &self.request;
        let known = request.cursor.as_ref().and_then(Bookmark::read);
        let known = known.filter(|mark| mark.serves(request.window, request.now));
        if let Some(mark) = known {
            self.folder.clone_from(&mark.folder);
            let Some(link) = &mark.link else {
                return Ok(Stage::List(vec![request.window], mark));
            };
            let next = self.inner.client.link(link)?;
            return Ok(Stage::Walk(Box::new(Walk::new(mark, next, false))));
        }
        if let Some(near) = self.near() {
            self.list(near, Urgency::Soon).await?;
        }
        let chain = Bookmark::chain_for(self.request.window);
        let mut url = self
            .inner
            .client
            .of_calendar(&self.request.calendar, &["calendarView", "delta"])?;
        url.query_pairs_mut()
            .append_pair("startDateTime", &chain.start().to_string())
            .append_pair("endDateTime", &chain.end().to_string());
        let mark = Bookmark {
            chain,
            link: None,
            distrusted: None,
            folder: None,
        };
        Ok(Stage::Walk(Box::new(Walk::new(mark, url, true))))
    }

    /// What is listed before everything else, on a first run with a wide window.
    fn near(&self) -> Option<Window> {
        let request = &self.request;
        let first = request.cursor.is_none() && request.covered.is_empty();
        let wide = request.window.end().duration_since(request.now) > FAR;
        let near = Window::new(request.now, request.now.checked_add(NEAR).ok()?).ok()?;
        near.intersection(&request.window).filter(|_| first && wide)
    }

    async fn list(&mut self, window: Window, urgency: Urgency) -> Result<()> {
        let calendar = &self.request.calendar;
        let listed = self
            .inner
            .list(calendar, window, &self.mapper, urgency)
            .await?;
        self.ready.extend(listed);
        self.ready.push_back(Change::Snapshot { covered: window });
        Ok(())
    }

    /// Where changes cannot be asked for, listings tell the same at a higher price.
    fn without_changes(&self) -> Stage {
        tracing::warn!(
            calendar = self.request.calendar.handle(),
            code = "graph.endless",
            "Graph's list of changes of a calendar does not end; the calendar is listed as a whole for a day."
        );
        let mark = Bookmark {
            chain: self.request.window,
            link: None,
            distrusted: Some(self.request.now),
            folder: self.folder.clone(),
        };
        Stage::List(vec![self.request.window], mark)
    }

    async fn walk(&mut self, mut walk: Box<Walk>) -> Result<Next> {
        walk.pages += 1;
        let request = Request::get(walk.next.clone(), &self.request.calendar.address)
            .urgency(if walk.first {
                Urgency::Later
            } else {
                Urgency::Now
            })
            .page_size(self.inner.client.settings().page_size);
        let page = self.inner.page(request).await.map_err(|error| {
            if error.kind == ErrorKind::CursorExpired && walk.first {
                // There is no place that could be forgotten.
                Error {
                    kind: ErrorKind::Transient,
                    ..error
                }
            } else {
                error
            }
        })?;
        if walk.repeats(&page) {
            return Ok(Next::Endless);
        }
        for value in page.value {
            match read_item(value) {
                Ok(item) => self.take(&mut walk, item),
                Err(change) => self.ready.push_back(*change),
            }
        }
        if let Some(link) = page.delta_link {
            // Only a link that can be followed is worth keeping.
            self.inner.client.link(&link)?;
            walk.mark.link = Some(link);
            return Ok(Next::End(walk));
        }
        let link = page
            .next_link
            .ok_or_else(|| protocol("a page of changes with neither a next nor a last link"))?;
        let next = self.inner.client.link(&link)?;
        if next == walk.next || walk.pages >= MOST_PAGES {
            return Ok(Next::Endless);
        }
        walk.next = next;
        Ok(Next::Page(walk))
    }

    fn take(&mut self, walk: &mut Walk, item: Item) {
        if item.removed.is_some() {
            walk.members.remove(&item.id);
            walk.removed.insert(item.id);
            return;
        }
        walk.removed.remove(&item.id);
        match (item.kind(), item.series_master_id.clone()) {
            (Kind::Single, _) => match self.mapper.single(&item) {
                Ok(event) if walk.first && !self.is_wanted(&event) => {}
                Ok(event) => self.ready.push_back(Change::Item(event)),
                Err(error) => {
                    let told = told_unreadable(Some(&item.id), item.uid, error);
                    self.ready.push_back(told);
                }
            },
            (Kind::Master, _) => {
                walk.touched.insert(item.id.clone());
                walk.masters.insert(item.id.clone(), item);
            }
            (_, Some(master)) => {
                walk.touched.insert(master);
                if walk.first {
                    walk.members.insert(item.id.clone(), item);
                }
            }
            (_, None) => {
                let error = unreadable("graph.occurrence", "an occurrence without its series");
                self.ready
                    .push_back(told_unreadable(Some(&item.id), item.uid, error));
            }
        }
    }

    /// Whether an event overlaps the window, as far as can be told without knowing where its days begin.
    fn is_wanted(&self, event: &Event) -> bool {
        let zone = match event.content.time {
            EventTime::Timed { .. } => TimeZone::UTC,
            _ => self.inner.home.clone().unwrap_or(TimeZone::UTC),
        };
        let (start, end) = event.content.time.span_in(&zone);
        self.request.window.overlaps(start, end)
    }

    async fn settle(&mut self, mut walk: Walk) -> Result<Stage> {
        self.settle_removed(&mut walk).await?;
        let window = self.request.window;
        if walk.first {
            self.fill(&mut walk).await?;
            self.ready.push_back(Change::Snapshot { covered: window });
            return Ok(Stage::Last(walk.mark));
        }
        let many = walk.touched.len() > MANY_SERIES;
        let windows = if self.request.full || many {
            vec![window]
        } else {
            self.request.covered.missing(window)
        };
        if !many {
            self.read_series(&mut walk).await?;
        }
        Ok(Stage::List(windows, walk.mark))
    }

    /// Asks for what was called removed: it may have left the range, be in a series, or be there.
    async fn settle_removed(&mut self, walk: &mut Walk) -> Result<()> {
        let ids: Vec<String> = std::mem::take(&mut walk.removed).into_iter().collect();
        let calendar = &self.request.calendar;
        let read = self
            .inner
            .read_items(calendar, ids, &self.mapper, Urgency::Now)
            .await?;
        for (id, item) in read {
            let Some(item) = item else {
                self.ready.extend(removed(id));
                continue;
            };
            match (item.kind(), item.series_master_id.clone()) {
                (Kind::Master, _) => {
                    walk.touched.insert(item.id.clone());
                    walk.doubtful.insert(item.id.clone());
                    walk.masters.insert(item.id.clone(), item);
                }
                (Kind::Occurrence | Kind::Exception, Some(master)) => {
                    walk.touched.insert(master.clone());
                    walk.doubtful.insert(master);
                }
                _ => match self.mapper.single(&item) {
                    Ok(event) if self.lies_elsewhere(&event).await? => {
                        self.ready.extend(removed(id));
                    }
                    Ok(event) => self.ready.push_back(Change::Item(event)),
                    Err(error) => {
                        let told = told_unreadable(Some(&id), item.uid, error);
                        self.ready.push_back(told);
                    }
                },
            }
        }
        Ok(())
    }

    /// Whether an event that can be had by its id is not in the calendar: an immutable id outlives the way into the
    /// deleted items.
    async fn lies_elsewhere(&self, event: &Event) -> Result<bool> {
        if !self.is_wanted(event) {
            return Ok(false);
        }
        let (start, end) = event.content.time.span_in(&TimeZone::UTC);
        // Days begin hours before or after those of UTC.
        let day = SignedDuration::from_hours(24);
        let around = start
            .checked_sub(day)
            .ok()
            .zip(end.checked_add(day).ok())
            .and_then(|(start, end)| Window::new(start, end).ok());
        let Some(around) = around else {
            return Ok(false);
        };
        let mapper = self.inner.mapper(calbridge_core::model::FieldSet::times());
        let listed = self
            .inner
            .list(&self.request.calendar, around, &mapper, Urgency::Now)
            .await?;
        let there = listed.iter().any(|change| match change {
            Change::Item(listed) => listed.item.id == event.item.id,
            Change::Unreadable { .. } => true,
            _ => false,
        });
        Ok(!there)
    }

    /// Members of a first round, filled from their series.
    async fn fill(&mut self, walk: &mut Walk) -> Result<()> {
        let members = std::mem::take(&mut walk.members);
        let mut series: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for (_, member) in members {
            if let Some(master) = member.series_master_id.clone() {
                series.entry(master).or_default().push(member);
            }
        }
        let missing = series
            .keys()
            .filter(|id| !walk.masters.contains_key(*id))
            .cloned()
            .collect();
        let calendar = &self.request.calendar;
        let read = self
            .inner
            .read_items(calendar, missing, &self.mapper, Urgency::Later)
            .await?;
        // What is gone by now is told as removed in the next round.
        let read = read.into_iter().filter_map(|(id, item)| Some((id, item?)));
        walk.masters.extend(read);
        for (id, members) in series {
            if let Some(master) = walk.masters.get(&id) {
                self.tell_group(master, &members);
            }
        }
        Ok(())
    }

    /// Reads touched series again: all of each that lies in the window.
    async fn read_series(&mut self, walk: &mut Walk) -> Result<()> {
        for id in std::mem::take(&mut walk.touched) {
            let doubtful = walk.doubtful.contains(&id);
            match self
                .read_one_series(walk.masters.remove(&id), &id, doubtful)
                .await
            {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::NotFound && error.scope == Scope::Item => {
                    self.ready.extend(removed(id));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_one_series(
        &mut self,
        master: Option<Item>,
        id: &str,
        doubtful: bool,
    ) -> Result<()> {
        let calendar = &self.request.calendar;
        let master = match master {
            Some(master) => master,
            None => {
                self.inner
                    .read_one(calendar, id, &self.mapper, Urgency::Now)
                    .await?
            }
        };
        let client = &self.inner.client;
        let mut url = client.of_user(&calendar.address, &["events", id, "instances"])?;
        url.query_pairs_mut()
            .append_pair("startDateTime", &self.request.window.start().to_string())
            .append_pair("endDateTime", &self.request.window.end().to_string())
            .append_pair("$top", &client.settings().page_size.to_string())
            .append_pair("$select", &select(&self.mapper.fields));
        let listed = self.inner.walk_list(calendar, url, Urgency::Now).await;
        let (members, unreadable) = listed.map_err(of_series)?;
        if doubtful {
            let mut known = members.iter();
            let event = known.find_map(|member| self.mapper.member(member, Some(&master)).ok());
            if let Some(event) = event
                && self.lies_elsewhere(&event).await?
            {
                self.ready.extend(removed(id.to_owned()));
                return Ok(());
            }
        }
        self.ready.extend(unreadable);
        self.tell_group(&master, &members);
        Ok(())
    }

    fn tell_group(&mut self, master: &Item, members: &[Item]) {
        let mut events = Vec::with_capacity(members.len());
        for member in members {
            match self.mapper.member(member, Some(master)) {
                Ok(event) if self.is_wanted(&event) => events.push(event),
                Ok(_) => {}
                Err(error) => {
                    let told = told_unreadable(Some(&member.id), None, error);
                    self.ready.push_back(told);
                }
            }
        }
        self.ready.push_back(Change::Group {
            group: GroupRef {
                id: master.id.clone(),
                version: master.etag.clone(),
            },
            members: events,
            covered: self.request.window,
        });
    }

    async fn last(&mut self, mut mark: Bookmark) -> Result<Stage> {
        // A first run has more urgent things to do.
        if mark.folder.is_none() && self.request.cursor.is_some() {
            mark.folder = Some(self.folder_id().await?);
        }
        self.folder.clone_from(&mark.folder);
        Ok(Stage::Ready(mark.cursor()?))
    }

    async fn folder_id(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Folder {
            id: String,
        }
        let calendar = &self.request.calendar;
        let client = &self.inner.client;
        let mut url = match &calendar.calendar {
            Some(_) => client.of_calendar(calendar, &[])?,
            None => client.of_user(&calendar.address, &["calendar"])?,
        };
        url.query_pairs_mut().append_pair("$select", "id");
        let request = Request::get(url, &calendar.address);
        Ok(client.json::<Folder>(&request).await?.id)
    }
}

/// A series of which nothing can be listed is gone; a mailbox is not.
fn of_series(error: Error) -> Error {
    if error.kind == ErrorKind::NotFound && error.code == "graph.ErrorItemNotFound" {
        Error {
            scope: Scope::Item,
            ..error
        }
    } else {
        error
    }
}

fn removed(id: String) -> Option<Change> {
    let item = ItemRef::new(id, None).ok()?;
    Some(Change::Removed {
        item,
        certain: true,
    })
}

impl Walk {
    fn new(mark: Bookmark, next: Url, first: bool) -> Self {
        Self {
            mark,
            next,
            first,
            pages: 0,
            prints: HashMap::new(),
            masters: HashMap::new(),
            members: BTreeMap::new(),
            touched: BTreeSet::new(),
            removed: BTreeSet::new(),
            doubtful: BTreeSet::new(),
        }
    }

    /// Whether the same page has come too often. Empty ones may come as often as they like.
    fn repeats(&mut self, page: &Page) -> bool {
        if page.value.is_empty() || page.delta_link.is_some() {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        for value in &page.value {
            for name in ["id", "@odata.etag", "@removed"] {
                let part = value.get(name).map(ToString::to_string);
                hasher.update(part.unwrap_or_default().as_bytes());
                hasher.update(b"\n");
            }
        }
        let times = self.prints.entry(hasher.finalize()).or_default();
        *times += 1;
        *times >= REPEATS
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        while self.ready.is_empty() && !matches!(self.stage, Stage::Ready(_) | Stage::Ended) {
            let stage = std::mem::replace(&mut self.stage, Stage::Begin);
            self.stage = self.step(stage).await?;
        }
        if matches!(self.stage, Stage::Ended) {
            return Ok(None);
        }
        let count = self.ready.len().min(max.max(1));
        let changes = self.ready.drain(..count).collect();
        let folder = self.folder.clone();
        let mut checkpoint = None;
        if self.ready.is_empty() {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Ready(cursor) => {
                    checkpoint = Some(cursor);
                    Stage::Ended
                }
                stage => stage,
            };
        }
        Ok(Some(ChangeBatch {
            changes,
            checkpoint,
            folder,
        }))
    }
}
