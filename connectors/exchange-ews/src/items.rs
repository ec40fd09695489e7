//! Reading folders and single items.

use calbridge_core::connector::{Error, ErrorKind, Result, Scope};
use calbridge_core::model::CalendarRef;

use crate::error::WireError;
use crate::pending::Listed;
use crate::request::{self, FolderTarget, Properties};
use crate::response::{Item, Message};
use crate::source::Inner;

/// Below this a batch is not made smaller for a slow server.
const SMALLEST_BATCH: usize = 5;

/// How many requests for items may be too slow before the calendar is given up for now.
const SLOW_BATCHES: usize = 8;

/// How many items that are too slow even alone are left as they were; with more it is the server's state.
const SLOW_ITEMS: usize = 2;

/// The code of a message that was not worked on because the ones before it took too long.
const STOPPED: &str = "ErrorBatchProcessingStopped";

impl Inner {
    /// The id of a calendar's folder.
    ///
    /// # Errors
    /// `Permission` where it may not be read.
    pub(crate) async fn folder_of(&self, calendar: &CalendarRef) -> Result<String> {
        self.folder_at(calendar, &self.target(calendar)).await
    }

    async fn folder_at(&self, calendar: &CalendarRef, target: &FolderTarget) -> Result<String> {
        let body = request::get_folder(target);
        let message = self.client.single(&calendar.address, &body).await?;
        let folder = message
            .folders
            .into_iter()
            .next()
            .filter(|folder| !folder.id.is_empty())
            .ok_or_else(|| WireError::Missing("a folder").of("GetFolder"))?;
        if folder.may_read == Some(false) {
            return Err(no_right());
        }
        Ok(folder.id)
    }

    /// Whether two ids mean the same folder. One folder's id may have several forms; the server brings them
    /// into one.
    ///
    /// # Errors
    /// If that cannot be told.
    pub(crate) async fn is_same_folder(
        &self,
        calendar: &CalendarRef,
        one: &str,
        other: &str,
    ) -> Result<bool> {
        if one == other {
            return Ok(true);
        }
        let one = FolderTarget::Id(one.to_owned());
        let one = self.folder_at(calendar, &one).await?;
        match self
            .folder_at(calendar, &FolderTarget::Id(other.to_owned()))
            .await
        {
            Ok(other) => Ok(one == other),
            // A folder that is not there, or not ours to see, is another one.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Permission) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads items: one result per id, in order.
    ///
    /// # Errors
    /// What concerns them all: throttling, a lost connection, rights on the mailbox.
    pub(crate) async fn get_items(
        &self,
        calendar: &CalendarRef,
        ids: &[String],
        properties: &Properties,
    ) -> Result<Vec<Result<Item>>> {
        let mut results = Vec::with_capacity(ids.len());
        self.get_into(calendar, ids, properties, &mut results)
            .await?;
        Ok(results)
    }

    /// As [`get_items`](Self::get_items), of items that were just listed: what an earlier feed that was broken
    /// off had read already is not read again, unless it was changed.
    ///
    /// # Errors
    /// As for [`get_items`](Self::get_items).
    pub(crate) async fn get_listed(
        &self,
        calendar: &CalendarRef,
        listed: &[Listed],
        properties: &Properties,
    ) -> Result<Vec<Result<Item>>> {
        let known: Vec<Option<Item>> = listed
            .iter()
            .map(|listed| self.pending.item(calendar, properties, listed))
            .collect();
        let missing: Vec<&Listed> = listed
            .iter()
            .zip(&known)
            .filter_map(|(listed, known)| known.is_none().then_some(listed))
            .collect();
        let ids: Vec<String> = missing.iter().map(|listed| listed.id.clone()).collect();
        let mut read = Vec::with_capacity(ids.len());
        let done = self.get_into(calendar, &ids, properties, &mut read).await;
        let good = missing
            .into_iter()
            .zip(&read)
            .filter_map(|(listed, item)| Some((listed, item.as_ref().ok()?)));
        self.pending.keep_items(calendar, properties, good);
        done?;
        let mut read = read.into_iter();
        Ok(known
            .into_iter()
            .filter_map(|known| known.map(Ok).or_else(|| read.next()))
            .collect())
    }

    /// Reads on until there is a result for every id.
    async fn get_into(
        &self,
        calendar: &CalendarRef,
        ids: &[String],
        properties: &Properties,
        results: &mut Vec<Result<Item>>,
    ) -> Result<()> {
        let most = self.client.settings().batch;
        let mailbox = &calendar.address;
        let batches = self.client.batches();
        let keep = |batch: usize| batches.set(mailbox, batch, most);
        let mut batch = batches.of(mailbox, most);
        let (mut slow, mut alone) = (0, 0);
        while results.len() < ids.len() {
            let rest = ids.get(results.len()..).unwrap_or_default();
            let part = rest.get(..batch.min(rest.len())).unwrap_or(rest);
            // What has no id cannot be asked for, and might spoil the request for the others.
            let part = part.split(String::is_empty).next().unwrap_or_default();
            if part.is_empty() {
                results.push(Err(no_id()));
                continue;
            }
            let before = results.len();
            match self.get_batch(calendar, part, properties, results).await {
                Ok(()) if results.len() == before => {
                    // The whole batch was put off.
                    match smaller(batch) {
                        Some(less) => batch = less,
                        None => return Err(put_off()),
                    }
                }
                Ok(()) => {
                    batch = batch.max(SMALLEST_BATCH.min(most));
                    keep(batch + 1);
                }
                Err(mut error) if is_slow(&error) && slow < SLOW_BATCHES => {
                    slow += 1;
                    if part.len() > 1 {
                        // Down to the one that is to blame.
                        batch = smaller(part.len()).unwrap_or(part.len() / 2);
                        keep(batch.max(SMALLEST_BATCH));
                    } else if alone < SLOW_ITEMS {
                        alone += 1;
                        error.scope = Scope::Item;
                        results.push(Err(error));
                        batch = SMALLEST_BATCH;
                    } else {
                        return Err(error);
                    }
                }
                Err(error) => {
                    if error.kind == ErrorKind::Throttled
                        && let Some(less) = smaller(batch)
                    {
                        // Next time. Asking again now would only prolong the wait.
                        keep(less);
                    }
                    if error.code != "http.too-large" || part.len() < 2 {
                        return Err(error);
                    }
                    batch = part.len() / 2;
                    keep(batch);
                }
            }
        }
        Ok(())
    }

    /// One request. Gives fewer results than ids if the server stopped in between; also with an error, what was
    /// read before it.
    async fn get_batch(
        &self,
        calendar: &CalendarRef,
        ids: &[String],
        properties: &Properties,
        results: &mut Vec<Result<Item>>,
    ) -> Result<()> {
        let body = request::get_items(ids, properties);
        let reply = self.client.call(&calendar.address, &body).await?;
        let count = reply.messages.len();
        let miscounted = || self.client.miscounted("GetItem", ids.len(), count);
        if count > ids.len() {
            return Err(miscounted());
        }
        let mut read = Vec::with_capacity(ids.len());
        for message in reply.messages {
            if message.code == STOPPED {
                results.append(&mut read);
                return Ok(());
            }
            let result = self.one(message);
            match result {
                // What was read before it is kept.
                Err(error) if is_slow(&error) && !read.is_empty() => {
                    results.append(&mut read);
                    return Ok(());
                }
                // One answer for the whole request.
                Err(mut error)
                    if count == 1 && ids.len() > 1 && error.kind == ErrorKind::Transient =>
                {
                    error.scope = Scope::Calendar;
                    return Err(error);
                }
                // Something that concerns more than its item.
                Err(error)
                    if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Auth)
                        || error.scope != Scope::Item
                        || is_slow(&error) =>
                {
                    if count == ids.len() {
                        results.append(&mut read);
                    }
                    return Err(error);
                }
                result => read.push(result),
            }
        }
        if read.len() != ids.len() {
            return Err(miscounted());
        }
        results.append(&mut read);
        Ok(())
    }

    fn one(&self, message: Message) -> Result<Item> {
        let message = self.client.checked(message, Scope::Item)?;
        message.items.into_iter().next().ok_or_else(|| {
            let mut error = WireError::Missing("the item of a successful answer").of("GetItem");
            error.scope = Scope::Item;
            error
        })
    }
}

/// Whether the server, or our patience, found that it takes too long.
fn is_slow(error: &Error) -> bool {
    matches!(
        error.code.as_str(),
        "ews.ErrorTimeoutExpired" | "http.timeout"
    )
}

fn smaller(batch: usize) -> Option<usize> {
    (batch > SMALLEST_BATCH).then_some((batch / 2).max(SMALLEST_BATCH))
}

fn no_id() -> Error {
    Error::new(
        ErrorKind::Rejected,
        Scope::Item,
        "ews.item.id",
        "an item has no id and cannot be read by itself; what is known of the calendar is kept",
    )
}

fn put_off() -> Error {
    Error::new(
        ErrorKind::Throttled,
        Scope::Calendar,
        "ews.ErrorBatchProcessingStopped",
        "Exchange stops working on even small requests for this mailbox; it is tried again later",
    )
    .retry_after(crate::error::DEFAULT_BACK_OFF)
}

pub(crate) fn no_right() -> Error {
    Error::new(
        ErrorKind::Permission,
        Scope::Calendar,
        "ews.folder.no-read-right",
        "the account sees the calendar folder and may not read its items; grant it at least Reviewer rights, or impersonation",
    )
}
