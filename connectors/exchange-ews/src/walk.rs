//! Walking through SyncFolderItems, page by page.

use calbridge_core::connector::{ChangesRequest, Error, ErrorKind, Result, Scope};

use crate::bookmark::Bookmark;
use crate::error::WireError;
use crate::request::{self, SYNC_PAGE};
use crate::response::{ChangeKind, ItemType, Message};
use crate::source::Inner;

/// The most pages of one walk: far more than any mailbox has items for.
const MAX_PAGES: usize = 20_000;

/// After so many pages in a row without a change and without another state, none of them the last, the server is
/// going round in circles.
const MAX_STILL_PAGES: usize = 3;

/// After so many pages in a row without a change it is going nowhere, whatever its states say. Some are honest: a
/// page of changes of which none concerns us is empty.
const MAX_EMPTY_PAGES: usize = 200;

/// How many masters of a walk are remembered.
const MASTERS: usize = 4;

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Where it stands. `again` once anything changed.
    pub(crate) mark: Bookmark,
    /// Some masters, to prove by them whether the server expands.
    pub(crate) masters: Vec<String>,
    /// How many pages were read.
    pub(crate) pages: usize,
    /// How many of the last ones were empty.
    empty: usize,
    /// How many of the last ones were empty and gave the state that was known.
    still: usize,
    /// Whether it goes on from a bookmark, which may be no longer good.
    resumed: bool,
}

impl Walk {
    fn new(mark: Bookmark, resumed: bool) -> Self {
        Self {
            mark,
            masters: Vec::new(),
            pages: 0,
            empty: 0,
            still: 0,
            resumed,
        }
    }

    /// Whether the last page brought it on.
    pub(crate) fn makes_progress(&self) -> bool {
        self.pages > 0 && self.empty == 0
    }

    fn take(&mut self, page: &Message) {
        for change in &page.changes {
            match change.kind {
                ChangeKind::Delete => self.mark.again = true,
                ChangeKind::ReadFlag => {}
                ChangeKind::Create | ChangeKind::Update => {
                    if change.item.is_appointment() {
                        self.mark.again = true;
                        // A type that is not told may be any.
                        let series = change
                            .item
                            .item_type
                            .is_none_or(|kind| kind == ItemType::RecurringMaster);
                        self.mark.series |= series;
                        if series && self.masters.len() < MASTERS {
                            self.masters.push(change.item.id.clone());
                        }
                    }
                }
            }
        }
    }
}

fn is_passing(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Throttled | ErrorKind::Transient)
}

/// Whether the server says no more than that it failed: an id that it does not understand may be why.
fn is_vague(error: &Error) -> bool {
    matches!(
        error.code.as_str(),
        "ews.Server" | "ews.ErrorInternalServerError"
    )
}

impl Inner {
    /// A walk on from a bookmark, or from the beginning where there is none or the folder is another.
    pub(crate) async fn begin_walk(
        &self,
        request: &ChangesRequest,
        known: Option<Bookmark>,
    ) -> Result<Walk> {
        let endpoints = self.client.endpoints();
        if let Some(place) = known.as_ref().and_then(|known| known.place.as_deref()) {
            endpoints.recall(&request.calendar.address, place);
        }
        let mut folder = None;
        if request.full {
            // From time to time it is seen to that the folder is still the calendar's.
            folder = Some(self.folder_of(&request.calendar).await?);
        }
        let same = |known: &Bookmark| folder.as_ref().is_none_or(|folder| *folder == known.folder);
        if let Some(known) = known.filter(same) {
            return Ok(Walk::new(known, true));
        }
        let folder = match folder {
            Some(folder) => folder,
            None => self.folder_of(&request.calendar).await?,
        };
        Ok(Walk::new(Bookmark::beginning(folder), false))
    }

    /// The next page; whether it was the last. A walk whose bookmark is no longer good begins anew.
    pub(crate) async fn walk_on(&self, request: &ChangesRequest, walk: &mut Walk) -> Result<bool> {
        let error = match self.walk_page(request, walk).await {
            Err(error) if walk.resumed => error,
            done => return done,
        };
        let folder = if error.kind == ErrorKind::CursorExpired {
            // A restored or moved mailbox. What is known is kept; the window decides.
            tracing::info!(
                calendar = request.calendar.handle(),
                "Exchange lost the synchronisation state; the calendar is read anew."
            );
            walk.mark.folder.clone()
        } else if error.scope != Scope::Calendar || (is_passing(&error) && !is_vague(&error)) {
            return Err(error);
        } else {
            // The folder or the whole mailbox may have been made anew: servers have many codes for an id that
            // they do not know any more.
            let now = self.folder_of(&request.calendar).await?;
            let missing = matches!(
                error.code.as_str(),
                "ews.ErrorSyncFolderNotFound" | "ews.ErrorFolderNotFound" | "ews.ErrorItemNotFound"
            );
            if now == walk.mark.folder && !missing {
                return self.walk_anew(request, walk, error).await;
            }
            now
        };
        *walk = Walk::new(Bookmark::beginning(folder), false);
        self.walk_page(request, walk).await
    }

    /// A walk whose state the server refuses in words of its own: without it the same folder may be read. If
    /// not, the state was not to blame.
    async fn walk_anew(
        &self,
        request: &ChangesRequest,
        walk: &mut Walk,
        error: Error,
    ) -> Result<bool> {
        if !matches!(error.kind, ErrorKind::Protocol | ErrorKind::Rejected) {
            return Err(error);
        }
        let mut anew = Walk::new(Bookmark::beginning(walk.mark.folder.clone()), false);
        let Ok(last) = self.walk_page(request, &mut anew).await else {
            return Err(error);
        };
        tracing::info!(
            calendar = request.calendar.handle(),
            code = error.code,
            "The server refuses its own synchronisation state; the calendar is read anew."
        );
        *walk = anew;
        Ok(last)
    }

    /// What changed since a state, to the end.
    pub(crate) async fn walk_since(
        &self,
        request: &ChangesRequest,
        folder: &str,
        state: &str,
    ) -> Result<Walk> {
        let mark = Bookmark {
            state: state.to_owned(),
            again: false,
            ..Bookmark::beginning(folder.to_owned())
        };
        let mut walk = Walk::new(mark, false);
        while !self.walk_page(request, &mut walk).await? {}
        Ok(walk)
    }

    async fn walk_page(&self, request: &ChangesRequest, walk: &mut Walk) -> Result<bool> {
        if walk.pages >= MAX_PAGES || walk.empty >= MAX_EMPTY_PAGES || walk.still >= MAX_STILL_PAGES
        {
            return Err(Error::new(
                ErrorKind::Protocol,
                Scope::Calendar,
                "ews.sync.endless",
                "EWS SyncFolderItems does not come to an end; the server's answer makes no progress",
            ));
        }
        let state = Some(walk.mark.state.as_str()).filter(|state| !state.is_empty());
        let body = request::sync_folder_items(&walk.mark.folder, state);
        let page = self.client.single(&request.calendar.address, &body).await?;
        let next = page
            .sync_state
            .clone()
            .filter(|state| !state.is_empty())
            .ok_or_else(|| WireError::Missing("a synchronisation state").of("SyncFolderItems"))?;
        let last = page
            .includes_last
            .ok_or_else(|| WireError::Missing("IncludesLastItemInRange").of("SyncFolderItems"))?;
        walk.take(&page);
        let empty = page.changes.is_empty();
        let still = empty && walk.mark.state == next;
        walk.mark.state = next;
        walk.mark.place = self.client.endpoints().place(&request.calendar.address);
        walk.pages += 1;
        walk.empty = if empty { walk.empty + 1 } else { 0 };
        walk.still = if still { walk.still + 1 } else { 0 };
        // Some servers say "last" on a full page although more is pending.
        Ok(last && page.changes.len() < SYNC_PAGE)
    }
}
