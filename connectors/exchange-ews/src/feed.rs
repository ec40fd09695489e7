//! A feed of one calendar: what changed, and the window.
//!
//! SyncFolderItems says whether anything changed since the cursor, and nothing of dates or occurrences
//! (`walk.rs`). If something did, the window is read anew (`window.rs`) and reported with a `Snapshot`. The
//! synchronisation state is taken before the window is read, so that what happens meanwhile shows next time; it
//! goes out with the last batch, so that nothing it stands for can be lost. A walk of several pages has a
//! checkpoint after each of them: what it stands for is that the window is still to be read.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    Change, ChangeBatch, ChangeFeed, ChangesRequest, Cursor, ErrorKind, Result,
};
use calbridge_core::model::{Coverage, Window};

use crate::bookmark::Bookmark;
use crate::source::{Expands, Inner};
use crate::walk::Walk;
use crate::window::Belief;

/// How often a window is read anew because the calendar changed meanwhile.
const ATTEMPTS: usize = 3;

/// What came of reading a window.
enum Still {
    /// It was read completely.
    Complete,
    /// It was read completely, and holds what cannot be named: it may be anything that is missing.
    Unsure,
    /// The calendar did not hold still. What was read is reported, nothing is concluded from what was not, and
    /// the next feed reads again.
    Restless,
    /// A slice was read while the calendar changed, perhaps elsewhere: the whole window has to be read.
    Changed,
}

/// The feed.
pub(crate) struct Feed {
    inner: Arc<Inner>,
    request: ChangesRequest,
    stage: Stage,
}

/// How far the feed is. After an error it begins anew.
enum Stage {
    Start,
    Walking(Box<Walk>),
    Walked(Box<Walk>),
    Ready(Ready),
    Ended,
}

/// What was read and is still to be handed out.
struct Ready {
    changes: VecDeque<Change>,
    cursor: Cursor,
    /// The calendar folder's id.
    folder: String,
}

impl Feed {
    pub(crate) fn new(inner: Arc<Inner>, request: ChangesRequest) -> Self {
        Self {
            inner,
            request,
            stage: Stage::Start,
        }
    }

    /// Where the last feed ended, or was broken off.
    fn known(&self) -> Option<Bookmark> {
        match &self.request.cursor {
            Some(cursor) => Bookmark::read(cursor),
            None => self
                .inner
                .pending
                .mark(&self.request.calendar, &self.request.fields),
        }
    }

    /// The core does not store the checkpoints of a feed that began without a cursor, but the last one.
    fn keep(&self, mark: &Bookmark) {
        if self.request.cursor.is_none() {
            self.inner
                .pending
                .keep_mark(&self.request.calendar, &self.request.fields, mark);
        }
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Start) {
                Stage::Start => {
                    let walk = self.inner.begin_walk(&self.request, self.known()).await?;
                    self.stage = Stage::Walking(Box::new(walk));
                }
                Stage::Walking(mut walk) => {
                    let last = self.inner.walk_on(&self.request, &mut walk).await?;
                    let resumable = walk.makes_progress() && (!last || walk.pages > 1);
                    let checkpoint = resumable.then(|| walk.mark.cursor()).transpose()?;
                    if resumable {
                        self.keep(&walk.mark);
                    }
                    self.stage = if last {
                        Stage::Walked(walk)
                    } else {
                        Stage::Walking(walk)
                    };
                    if checkpoint.is_some() {
                        return Ok(Some(ChangeBatch {
                            changes: Vec::new(),
                            checkpoint,
                            folder: None,
                        }));
                    }
                }
                Stage::Walked(walk) => {
                    let collected = self.inner.collect(&self.request, *walk).await;
                    if let Err(error) = &collected
                        && !matches!(error.kind, ErrorKind::Throttled | ErrorKind::Transient)
                    {
                        // It may be long until this calendar can be read.
                        self.inner.pending.forget_items(&self.request.calendar);
                    }
                    let (changes, mark) = collected?;
                    self.inner.pending.forget(&self.request.calendar);
                    if !mark.unsure.is_empty() {
                        // The core stores no checkpoint of a first feed that holds what cannot be named.
                        self.keep(&mark);
                    }
                    let cursor = mark.cursor()?;
                    self.stage = Stage::Ready(Ready {
                        changes,
                        cursor,
                        folder: mark.folder,
                    });
                }
                Stage::Ready(mut ready) => {
                    let count = ready.changes.len().min(max.max(1));
                    let changes: Vec<Change> = ready.changes.drain(..count).collect();
                    let folder = Some(ready.folder.clone());
                    let checkpoint = if ready.changes.is_empty() {
                        self.stage = Stage::Ended;
                        Some(ready.cursor)
                    } else {
                        self.stage = Stage::Ready(ready);
                        None
                    };
                    return Ok(Some(ChangeBatch {
                        changes,
                        checkpoint,
                        folder,
                    }));
                }
                Stage::Ended => {
                    self.stage = Stage::Ended;
                    return Ok(None);
                }
            }
        }
    }
}

impl Inner {
    /// Everything that the feed has to tell after its walk, and where the next one goes on.
    async fn collect(
        &self,
        request: &ChangesRequest,
        walk: Walk,
    ) -> Result<(VecDeque<Change>, Bookmark)> {
        let Walk {
            mut mark, masters, ..
        } = walk;
        let mut dirty = std::mem::take(&mut mark.again) || mark.owes_a_retry(request.now);
        if mark.expands == Expands::Unknown {
            mark.expands = self.expands();
        }
        if !dirty && !request.full && mark.hides_changes() {
            // There, changed exceptions leave no trace in SyncFolderItems. What is deleted does.
            let now = self.print_of_masters(request, &mark.folder).await?;
            dirty = mark.masters != Some(now);
        }
        let mut whole = dirty || request.full;
        let mut changes = VecDeque::new();
        let mut sure = true;
        let windows = 'reading: loop {
            let windows = if whole {
                mark.unsure = Coverage::none();
                vec![request.window]
            } else {
                let mut known = request.covered.clone();
                for window in mark.unsure.windows() {
                    known.add(*window);
                }
                known.missing(request.window)
            };
            for window in &windows {
                match self
                    .read_still(request, &mut mark, &masters, *window, whole, &mut changes)
                    .await?
                {
                    Still::Complete => changes.push_back(Change::Snapshot { covered: *window }),
                    Still::Unsure => sure = false,
                    Still::Restless => mark.again = true,
                    Still::Changed => {
                        // The new state stands for changes anywhere in the window.
                        whole = true;
                        sure = true;
                        changes.clear();
                        continue 'reading;
                    }
                }
            }
            break windows;
        };
        if !sure {
            // What cannot be named in one part may be what is missing in another.
            changes.retain(|change| !matches!(change, Change::Snapshot { .. }));
            for window in windows {
                mark.unsure.add(window);
            }
        }
        mark.unsure.clip(request.window);
        mark.note_retry(changes.iter().any(is_momentary), whole, request.now);
        Ok((changes, mark))
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
            let mut moved = !whole
                && mark.masters.is_some()
                && read.print.is_some()
                && read.print != mark.masters;
            if read.print.is_some() {
                mark.masters = read.print;
            }
            if read.torn {
                let walk = self.walk_since(request, &mark.folder, &mark.state).await?;
                let changed = walk.mark.again;
                moved |= changed;
                if changed {
                    // What was seen of a calendar that was changing proves nothing.
                    verdict = None;
                } else if read.no_series {
                    mark.series = false;
                }
                // The older state stays in the cursor where this is the last attempt.
                if !changed || !whole || attempt < ATTEMPTS {
                    mark.state = walk.mark.state;
                    mark.series |= walk.mark.series;
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
                return Ok(match (moved, nameless) {
                    (true, _) => Still::Restless,
                    (false, true) => Still::Unsure,
                    (false, false) => Still::Complete,
                });
            }
            self.pending.forget_items(&request.calendar);
        }
        Ok(Still::Restless)
    }
}

/// Whether it is something that could not be read for the moment. An item without an id cannot be asked for by itself, and
/// servers do not make such: an answer was garbled.
fn is_momentary(change: &Change) -> bool {
    match change {
        Change::Unreadable { item: None, .. } => true,
        Change::Unreadable { error, .. } => error.kind == ErrorKind::Transient,
        _ => false,
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
