//! A feed of one calendar: what changed, and the window.
//!
//! SyncFolderItems says whether anything changed since the cursor, and nothing of dates or occurrences. If
//! something did, the window is read anew (`window.rs`) and reported with a `Snapshot`. The synchronisation
//! state is taken before the window is read, so that what happens meanwhile shows next time; it goes out with
//! the last batch, so that nothing it stands for can be lost.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    Change, ChangeBatch, ChangeFeed, ChangesRequest, Cursor, Error, ErrorKind, Result, Scope,
};
use calbridge_core::model::Window;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::request::{self, SYNC_PAGE};
use crate::response::{ChangeKind, ItemType, Message};
use crate::source::{Expands, Inner};
use crate::window::Belief;

/// The most pages of one walk: far more than any mailbox has items for.
const MAX_PAGES: usize = 20_000;

/// After so many pages in a row without a change, none of them the last, the server is going round in circles.
const MAX_EMPTY_PAGES: usize = 3;

/// How many masters of a walk are remembered.
const MASTERS: usize = 4;

/// How often a window is read anew because the calendar changed meanwhile.
const ATTEMPTS: usize = 3;

/// What stands in a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    /// The folder's id; it stays while the folder lives.
    folder: String,
    /// SyncFolderItems' state.
    state: String,
    #[serde(default)]
    expands: Expands,
    /// Whether the folder ever showed a series.
    #[serde(default)]
    series: bool,
    /// The greatest time of change; kept where changed exceptions do not show otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Timestamp>,
    /// Whether the window is read again though nothing changes: the last time nothing could be concluded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

impl Bookmark {
    /// Whether changed exceptions may leave no trace in SyncFolderItems: not where the server is known to
    /// expand, or has nothing to expand.
    fn hides_changes(&self) -> bool {
        match self.expands {
            Expands::Yes => false,
            Expands::No => true,
            Expands::Unknown => self.series,
        }
    }
}

/// What a walk through SyncFolderItems found.
struct Walk {
    state: String,
    changed: bool,
    series: bool,
    /// Some masters, to prove by them whether the server expands.
    masters: Vec<String>,
}

/// What came of reading a window.
enum Still {
    /// It was read completely.
    Complete,
    /// The calendar did not hold still, or holds what cannot be named. What was read is reported, nothing is
    /// concluded from what was not, and the next feed reads again.
    Restless,
    /// A slice was read while the calendar changed, perhaps elsewhere: the whole window has to be read.
    Changed,
}

/// The feed.
pub(crate) struct Feed {
    inner: Arc<Inner>,
    request: ChangesRequest,
    ready: Option<Ready>,
    ended: bool,
}

/// What was read and is still to be handed out.
struct Ready {
    changes: VecDeque<Change>,
    cursor: Cursor,
}

impl Feed {
    pub(crate) fn new(inner: Arc<Inner>, request: ChangesRequest) -> Self {
        Self {
            inner,
            request,
            ready: None,
            ended: false,
        }
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        if self.ended {
            return Ok(None);
        }
        let mut ready = match self.ready.take() {
            Some(ready) => ready,
            None => self.inner.collect(&self.request).await?,
        };
        let count = ready.changes.len().min(max.max(1));
        let changes: Vec<Change> = ready.changes.drain(..count).collect();
        if ready.changes.is_empty() {
            self.ended = true;
            return Ok(Some(ChangeBatch {
                changes,
                checkpoint: Some(ready.cursor),
            }));
        }
        self.ready = Some(ready);
        Ok(Some(ChangeBatch {
            changes,
            checkpoint: None,
        }))
    }
}

impl Inner {
    /// Everything that the feed has to tell.
    async fn collect(&self, request: &ChangesRequest) -> Result<Ready> {
        // A cursor that cannot be read is of another version: begin anew.
        let known: Option<Bookmark> = request
            .cursor
            .as_ref()
            .and_then(|cursor| serde_json::from_str(&cursor.0).ok());
        let (mut mark, mut dirty, masters) = self.walk_from(request, known).await?;
        if mark.expands == Expands::Unknown {
            mark.expands = self.expands();
        }
        if !dirty && !request.full && mark.hides_changes() {
            // There, changed exceptions leave no trace in SyncFolderItems. What is deleted does.
            dirty = self.newest(request, &mark.folder).await? > mark.newest;
        }
        let mut whole = dirty || request.full;
        let mut changes = VecDeque::new();
        'reading: loop {
            let windows = if whole {
                vec![request.window]
            } else {
                request.covered.missing(request.window)
            };
            for window in windows {
                match self
                    .read_still(request, &mut mark, &masters, window, whole, &mut changes)
                    .await?
                {
                    Still::Complete => changes.push_back(Change::Snapshot { covered: window }),
                    Still::Restless => mark.again = true,
                    Still::Changed => {
                        // The new state stands for changes anywhere in the window.
                        whole = true;
                        changes.clear();
                        continue 'reading;
                    }
                }
            }
            break;
        }
        let cursor = serde_json::to_string(&mark).map_err(|_| {
            Error::new(
                ErrorKind::Protocol,
                Scope::Calendar,
                "ews.cursor",
                "the cursor cannot be written",
            )
        })?;
        Ok(Ready {
            changes,
            cursor: Cursor(cursor),
        })
    }

    /// Reads a window while nothing changes. `whole`: it is all that was asked for, not a slice of it.
    async fn read_still(
        &self,
        request: &ChangesRequest,
        mark: &mut Bookmark,
        masters: &[String],
        window: Window,
        whole: bool,
        changes: &mut VecDeque<Change>,
    ) -> Result<Still> {
        for attempt in 1..=ATTEMPTS {
            let belief = Belief {
                expands: mark.expands,
                series: mark.series,
                masters,
            };
            let read = self
                .read_window(request, &mark.folder, window, belief)
                .await?;
            let mut verdict = read.verdict;
            let mut moved = !whole && mark.newest.is_some() && read.newest > mark.newest;
            if read.newest.is_some() {
                mark.newest = read.newest;
            }
            if read.torn {
                let walk = self
                    .walk(request, &mark.folder, Some(mark.state.clone()))
                    .await?;
                moved |= walk.changed;
                if walk.changed {
                    // What was seen of a calendar that was changing proves nothing.
                    verdict = None;
                } else if read.no_series {
                    mark.series = false;
                }
                // The older state stays in the cursor where this is the last attempt.
                if !walk.changed || !whole || attempt < ATTEMPTS {
                    mark.state = walk.state;
                    mark.series |= walk.series;
                }
            }
            if let Some(verdict) = verdict {
                mark.expands = verdict;
                self.learn(verdict);
            }
            if moved && !whole {
                return Ok(Still::Changed);
            }
            // What was listed and then not found may have come back under another id.
            let vanished = read.vanished && attempt < ATTEMPTS;
            if (!moved && !vanished) || attempt == ATTEMPTS {
                // What cannot even be named cannot be kept by its name either: then nothing is gone.
                let nameless = read.changes.iter().any(is_nameless);
                changes.extend(read.changes);
                return Ok(if moved || nameless {
                    Still::Restless
                } else {
                    Still::Complete
                });
            }
        }
        Ok(Still::Restless)
    }

    /// Walks on from a bookmark, or from the beginning where there is none or it is no longer good.
    async fn walk_from(
        &self,
        request: &ChangesRequest,
        known: Option<Bookmark>,
    ) -> Result<(Bookmark, bool, Vec<String>)> {
        let mut folder = None;
        if request.full {
            // From time to time it is seen to that the folder is still the calendar's.
            folder = Some(self.folder(request).await?);
        }
        let same = |known: &Bookmark| folder.as_ref().is_none_or(|folder| *folder == known.folder);
        if let Some(known) = known.filter(same) {
            match self
                .walk(request, &known.folder, Some(known.state.clone()))
                .await
            {
                Ok(walk) => {
                    let dirty = walk.changed || known.again;
                    let mark = Bookmark {
                        state: walk.state,
                        series: known.series || walk.series,
                        again: false,
                        ..known
                    };
                    return Ok((mark, dirty, walk.masters));
                }
                // A restored or moved mailbox. What is known is kept; the window decides.
                Err(error) if error.kind == ErrorKind::CursorExpired => {
                    tracing::info!(
                        calendar = request.calendar.handle(),
                        "Exchange lost the synchronisation state; the calendar is read anew."
                    );
                    folder = Some(known.folder);
                }
                Err(error)
                    if error.scope != Scope::Calendar
                        || matches!(error.kind, ErrorKind::Throttled | ErrorKind::Transient) =>
                {
                    return Err(error);
                }
                // The folder or the whole mailbox may have been made anew: servers have many codes for an id
                // that they do not know any more.
                Err(error) => {
                    let now = self.folder(request).await?;
                    let missing = matches!(
                        error.code.as_str(),
                        "ews.ErrorSyncFolderNotFound"
                            | "ews.ErrorFolderNotFound"
                            | "ews.ErrorItemNotFound"
                    );
                    if now == known.folder && !missing {
                        return Err(error);
                    }
                    folder = Some(now);
                }
            }
        }
        let folder = match folder {
            Some(folder) => folder,
            None => self.folder(request).await?,
        };
        let walk = self.walk(request, &folder, None).await?;
        let mark = Bookmark {
            folder,
            state: walk.state,
            expands: Expands::Unknown,
            series: walk.series,
            newest: None,
            again: false,
        };
        Ok((mark, true, walk.masters))
    }

    /// The folder's id. Fails where it may not be read.
    async fn folder(&self, request: &ChangesRequest) -> Result<String> {
        self.folder_of(&request.calendar).await
    }

    /// SyncFolderItems to its end.
    async fn walk(
        &self,
        request: &ChangesRequest,
        folder: &str,
        state: Option<String>,
    ) -> Result<Walk> {
        let mut walk = Walk {
            state: String::new(),
            changed: false,
            series: false,
            masters: Vec::new(),
        };
        let mut state = state;
        let mut empty = 0;
        for _ in 0..MAX_PAGES {
            let body = request::sync_folder_items(folder, state.as_deref());
            let page = self.client.single(&request.calendar.address, &body).await?;
            let next = page
                .sync_state
                .clone()
                .filter(|state| !state.is_empty())
                .ok_or_else(|| {
                    WireError::Missing("a synchronisation state").of("SyncFolderItems")
                })?;
            let last = page.includes_last.ok_or_else(|| {
                WireError::Missing("IncludesLastItemInRange").of("SyncFolderItems")
            })?;
            take(&mut walk, &page);
            // Some servers say "last" on a full page although more is pending.
            let done = last && page.changes.len() < SYNC_PAGE;
            empty = if page.changes.is_empty() {
                empty + 1
            } else {
                0
            };
            state = Some(next.clone());
            walk.state = next;
            if done {
                return Ok(walk);
            }
            if empty >= MAX_EMPTY_PAGES {
                break;
            }
        }
        Err(Error::new(
            ErrorKind::Protocol,
            Scope::Calendar,
            "ews.sync.endless",
            "EWS SyncFolderItems does not come to an end; the server's answer makes no progress",
        ))
    }

    /// When the item that was changed last was changed.
    async fn newest(&self, request: &ChangesRequest, folder: &str) -> Result<Option<Timestamp>> {
        let body = request::newest(folder);
        let message = self.client.single(&request.calendar.address, &body).await?;
        Ok(message.items.iter().filter_map(|item| item.modified).max())
    }
}

fn is_nameless(change: &Change) -> bool {
    matches!(
        change,
        Change::Unreadable {
            item: None,
            uid: None,
            ..
        }
    )
}

fn take(walk: &mut Walk, page: &Message) {
    for change in &page.changes {
        match change.kind {
            ChangeKind::Delete => walk.changed = true,
            ChangeKind::ReadFlag => {}
            ChangeKind::Create | ChangeKind::Update => {
                if change.item.is_appointment() {
                    walk.changed = true;
                    // A type that is not told may be any.
                    let series = change
                        .item
                        .item_type
                        .is_none_or(|t| t == ItemType::RecurringMaster);
                    walk.series |= series;
                    if series && walk.masters.len() < MASTERS {
                        walk.masters.push(change.item.id.clone());
                    }
                }
            }
        }
    }
}
