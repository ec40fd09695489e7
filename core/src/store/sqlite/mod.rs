//! The embedded store: one SQLite file.
//!
//! Write-ahead log with `synchronous = FULL`: what a verb has answered survives a power cut. One connection
//! writes, behind a mutex, another reads; both are used on tokio's blocking threads only. A lock on
//! `<file>.lock` keeps a second process out, while [`SqliteStore::open_read_only`] goes on working.
//!
//! How rounds are kept, beyond what the trait says:
//!
//! - A round that another one has overtaken may not write any more: its pages and its end are
//!   [`StoreError::NotFound`].
//! - A mark "gone" is a fact that the source reported. It outlives a round that is broken off (the cursor may
//!   have moved past it, and the source would not say it again) and goes away when the event is seen or kept.
//!   What merely was not seen counts for a round that ends well only, and only where the event overlaps a
//!   listed range whatever the zone of its days.
//! - A view has "appeared" as long as no sync has a row for it. So what a broken-off round brought can still
//!   be paired by the next one.

mod backup;
mod codec;
mod connections;
mod fault;
mod log;
mod migrate;
mod open;
mod orders;
mod overlap;
mod pairing;
mod prune;
mod roster;
mod round;
mod row_columns;
mod rows;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use self::codec::At;
use self::fault::{Fault, Work};
use super::{
    CalendarId, CalendarReport, CalendarState, CallRecord, ConnectionState, ConnectionTrouble,
    Counts, DecisionRecord, Fence, Order, OrderAnswer, OrderId, Pause, PauseScope, Pruned,
    Retention, RosterChange, Round, RoundChanges, RoundEnd, RowCommit, Rows, SourcePage,
    SourceState, Store, StoreError, StoreResult, WaitingOrder,
};
use crate::engine::{Fingerprinter, LinkId};
use crate::model::Window;

/// The embedded store. Clones share one file.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

struct Inner {
    /// For errors.
    path: String,
    /// Absent in memory, where the writer reads.
    reader: Option<Mutex<Connection>>,
    /// Absent in a store that was opened for reading only.
    writer: Option<Mutex<Connection>>,
    prints: Fingerprinter,
    /// The newest instant that a caller named; the store never asks for the time itself.
    told: Mutex<Timestamp>,
    lock: Option<open::ProcessLock>,
    /// When the file was read through last.
    checked: Timestamp,
}

/// The writer closes last and so brings the log into the file; then the lock is let go.
impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.reader.take());
        drop(self.writer.take());
        if let Some(lock) = &self.lock {
            lock.remember_left(Path::new(&self.path), self.checked);
        }
    }
}

impl Inner {
    fn writer(&self) -> Work<MutexGuard<'_, Connection>> {
        let writer = self.writer.as_ref().ok_or_else(|| StoreError::ReadOnly {
            path: self.path.clone(),
        })?;
        // A panic under the lock rolled its transaction back.
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn any_reader(&self) -> Work<MutexGuard<'_, Connection>> {
        match &self.reader {
            Some(reader) => Ok(reader.lock().unwrap_or_else(PoisonError::into_inner)),
            None => self.writer(),
        }
    }

    fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Work<T>) -> StoreResult<T> {
        let read = || {
            let mut connection = self.any_reader()?;
            // One snapshot for everything that the piece of work asks.
            let transaction = connection.transaction()?;
            work(&transaction)
        };
        read().map_err(|fault| fault.named(&self.path))
    }

    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Work<T>) -> StoreResult<T> {
        let write = || {
            let mut connection = self.writer()?;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        write().map_err(|fault: Fault| fault.named(&self.path))
    }

    /// Brings the log into the file and empties it, so that what was overwritten is gone from both. Somebody
    /// who reads at this moment puts it off to the next time.
    fn empty_log(&self) {
        let emptied = self.writer().and_then(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(())
        });
        if let Err(fault) = emptied {
            tracing::debug!(error = %fault.named(&self.path), "The state's log was not emptied.");
        }
    }

    fn told(&self, now: Timestamp) -> Timestamp {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = (*told).max(now);
        *told
    }
}

/// Fails if a newer lease exists, or none.
fn check_fence(transaction: &Transaction<'_>, fence: Fence) -> Work<()> {
    let newest: Option<i64> = transaction
        .prepare_cached("SELECT fence FROM lease")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if newest == Some(fence.0) {
        Ok(())
    } else {
        Err(StoreError::Fenced.into())
    }
}

impl SqliteStore {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|_| {
                Err(StoreError::Database(
                    "the work on it was broken off".to_owned(),
                ))
            })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Work<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.blocking(move |inner| inner.read(work)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        fence: Fence,
        work: impl FnOnce(&Transaction<'_>) -> Work<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.blocking(move |inner| {
            inner.write(|transaction| {
                check_fence(transaction, fence)?;
                work(transaction)
            })
        })
        .await
    }

    /// An operator's write, which needs no lease.
    async fn write_unfenced<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Work<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.blocking(move |inner| inner.write(work)).await
    }

    /// Like `write`; if the work says that it replaced plain values by a mask, they leave the log as well.
    async fn write_masking<T: Send + 'static>(
        &self,
        fence: Fence,
        work: impl FnOnce(&Transaction<'_>, Timestamp) -> Work<(T, bool)> + Send + 'static,
    ) -> StoreResult<T> {
        self.blocking(move |inner| {
            let now = inner.told(Timestamp::MIN);
            let (answer, masked) = inner.write(|transaction| {
                check_fence(transaction, fence)?;
                work(transaction, now)
            })?;
            if masked {
                inner.empty_log();
            }
            Ok(answer)
        })
        .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn acquire(&self, holder: &str, now: Timestamp) -> StoreResult<Fence> {
        let holder = holder.to_owned();
        self.blocking(move |inner| {
            inner.told(now);
            let fence = inner.write(|transaction| {
                let fence = transaction.query_row(
                    "INSERT INTO lease (id, fence, holder, acquired) VALUES (1, 1, ?1, ?2)
                     ON CONFLICT (id) DO UPDATE
                     SET fence = fence + 1, holder = excluded.holder, acquired = excluded.acquired
                     RETURNING fence",
                    params![holder, At(now)],
                    |row| row.get(0),
                )?;
                Ok(Fence(fence))
            })?;
            if let Some(lock) = &inner.lock {
                lock.remember(&open::mark(&inner.prints, fence.0));
            }
            Ok(fence)
        })
        .await
    }

    fn prints(&self) -> Fingerprinter {
        self.inner.prints.clone()
    }

    async fn calendars(&self, sync: &str) -> StoreResult<Vec<CalendarState>> {
        let sync = sync.to_owned();
        self.read(move |transaction| roster::calendars(transaction, &sync))
            .await
    }

    async fn commit_roster(
        &self,
        fence: Fence,
        sync: &str,
        changes: &[RosterChange],
        now: Timestamp,
    ) -> StoreResult<()> {
        let (sync, changes) = (sync.to_owned(), changes.to_vec());
        self.inner.told(now);
        self.write(fence, move |transaction| {
            roster::commit(transaction, &sync, &changes)
        })
        .await
    }

    async fn report_calendar(
        &self,
        fence: Fence,
        sync: &str,
        calendar: CalendarId,
        report: CalendarReport,
    ) -> StoreResult<()> {
        let sync = sync.to_owned();
        for instant in [report.inventoried, report.succeeded].into_iter().flatten() {
            self.inner.told(instant);
        }
        self.write(fence, move |transaction| {
            roster::report(transaction, &sync, calendar, &report)
        })
        .await
    }

    async fn source_state(
        &self,
        connection: &str,
        calendar: CalendarId,
    ) -> StoreResult<SourceState> {
        let connection = connection.to_owned();
        self.read(move |transaction| round::state(transaction, &connection, calendar))
            .await
    }

    async fn begin_round(
        &self,
        fence: Fence,
        connection: &str,
        calendar: CalendarId,
    ) -> StoreResult<Round> {
        let connection = connection.to_owned();
        self.write(fence, move |transaction| {
            round::begin(transaction, &connection, calendar)
        })
        .await
    }

    async fn commit_page(&self, fence: Fence, page: SourcePage) -> StoreResult<()> {
        self.write_masking(fence, move |transaction, _| {
            let masked = round::page(transaction, &page)?;
            Ok(((), masked))
        })
        .await
    }

    async fn round_changes(
        &self,
        connection: &str,
        calendar: CalendarId,
        round: Round,
        listed: &[Window],
    ) -> StoreResult<RoundChanges> {
        let (connection, listed) = (connection.to_owned(), listed.to_vec());
        self.read(move |transaction| {
            round::changes(transaction, &connection, calendar, round, &listed)
        })
        .await
    }

    async fn finish_round(&self, fence: Fence, end: RoundEnd) -> StoreResult<()> {
        self.inner.told(end.at);
        self.write(fence, move |transaction| round::finish(transaction, &end))
            .await
    }

    async fn rows(&self, sync: &str, connection: &str, calendar: CalendarId) -> StoreResult<Rows> {
        let (sync, connection) = (sync.to_owned(), connection.to_owned());
        self.read(move |transaction| rows::rows(transaction, &sync, &connection, calendar))
            .await
    }

    async fn commit_rows(&self, fence: Fence, commit: RowCommit) -> StoreResult<Vec<LinkId>> {
        if let Some(newest) = rows::newest_instant(&commit) {
            self.inner.told(newest);
        }
        self.write_masking(fence, move |transaction, now| {
            rows::commit(transaction, &commit, now)
        })
        .await
    }

    async fn is_settled(&self, sync: &str, calendar: CalendarId, basis: &str) -> StoreResult<bool> {
        let (sync, basis) = (sync.to_owned(), basis.to_owned());
        self.read(move |transaction| roster::is_settled(transaction, &sync, calendar, &basis))
            .await
    }

    async fn settle(
        &self,
        fence: Fence,
        sync: &str,
        connection: &str,
        calendar: CalendarId,
        round: Option<Round>,
        basis: &str,
    ) -> StoreResult<()> {
        let (sync, connection) = (sync.to_owned(), connection.to_owned());
        let basis = basis.to_owned();
        self.write(fence, move |transaction| {
            let state = round::state(transaction, &connection, calendar)?;
            if state.round == round {
                roster::settle(transaction, &sync, calendar, &basis)?;
            }
            Ok(())
        })
        .await
    }

    async fn deleted_units(
        &self,
        sync: &str,
        calendar: CalendarId,
        since: Timestamp,
    ) -> StoreResult<BTreeSet<String>> {
        let sync = sync.to_owned();
        self.read(move |transaction| rows::deleted_units(transaction, &sync, calendar, since))
            .await
    }

    async fn held_calendars(&self, sync: &str) -> StoreResult<BTreeSet<CalendarId>> {
        let sync = sync.to_owned();
        self.read(move |transaction| rows::held_calendars(transaction, &sync))
            .await
    }

    async fn approve(
        &self,
        fence: Fence,
        sync: &str,
        calendar: CalendarId,
        given: Timestamp,
        now: Timestamp,
    ) -> StoreResult<u64> {
        let sync = sync.to_owned();
        self.inner.told(now);
        self.write(fence, move |transaction| {
            rows::approve(transaction, &sync, calendar, given, now)
        })
        .await
    }

    async fn connections(&self) -> StoreResult<Vec<ConnectionState>> {
        self.read(connections::all).await
    }

    async fn connection_reached(
        &self,
        fence: Fence,
        connection: &str,
        at: Timestamp,
    ) -> StoreResult<()> {
        let connection = connection.to_owned();
        self.inner.told(at);
        self.write(fence, move |transaction| {
            connections::reached(transaction, &connection, at)
        })
        .await
    }

    async fn connection_in_trouble(
        &self,
        fence: Fence,
        connection: &str,
        trouble: &ConnectionTrouble,
    ) -> StoreResult<()> {
        let (connection, trouble) = (connection.to_owned(), trouble.clone());
        self.inner.told(trouble.last);
        self.write(fence, move |transaction| {
            connections::in_trouble(transaction, &connection, &trouble)
        })
        .await
    }

    async fn spent(&self, connection: &str, since: Timestamp) -> StoreResult<u64> {
        let connection = connection.to_owned();
        self.read(move |transaction| orders::spent(transaction, &connection, since))
            .await
    }

    async fn pauses(&self) -> StoreResult<Vec<Pause>> {
        self.read(orders::pauses).await
    }

    async fn pause(&self, scope: &PauseScope, now: Timestamp) -> StoreResult<bool> {
        let scope = scope.clone();
        self.write_unfenced(move |transaction| orders::pause(transaction, &scope, now))
            .await
    }

    async fn resume(&self, scope: &PauseScope) -> StoreResult<bool> {
        let scope = scope.clone();
        self.write_unfenced(move |transaction| orders::resume(transaction, &scope))
            .await
    }

    async fn give_order(&self, order: &Order, now: Timestamp) -> StoreResult<OrderId> {
        let order = order.clone();
        self.write_unfenced(move |transaction| orders::give(transaction, &order, now))
            .await
    }

    async fn orders(&self) -> StoreResult<Vec<WaitingOrder>> {
        self.read(orders::open).await
    }

    async fn answer_order(
        &self,
        fence: Fence,
        order: OrderId,
        answer: &OrderAnswer,
        now: Timestamp,
    ) -> StoreResult<()> {
        let answer = answer.clone();
        self.write(fence, move |transaction| {
            orders::answer(transaction, order, &answer, now)
        })
        .await
    }

    async fn order_answer(&self, order: OrderId) -> StoreResult<Option<OrderAnswer>> {
        self.read(move |transaction| orders::answered(transaction, order))
            .await
    }

    async fn counts(
        &self,
        sync: &str,
        connection: &str,
        calendar: CalendarId,
    ) -> StoreResult<Counts> {
        let (sync, connection) = (sync.to_owned(), connection.to_owned());
        self.read(move |transaction| rows::counts(transaction, &sync, &connection, calendar))
            .await
    }

    async fn decisions(&self, link: LinkId) -> StoreResult<Vec<DecisionRecord>> {
        self.read(move |transaction| log::decisions(transaction, link))
            .await
    }

    async fn calls(&self, limit: u32) -> StoreResult<Vec<CallRecord>> {
        self.read(move |transaction| log::calls(transaction, limit))
            .await
    }

    async fn retire_syncs(
        &self,
        fence: Fence,
        configured: &[String],
        now: Timestamp,
    ) -> StoreResult<()> {
        let configured = configured.to_vec();
        self.inner.told(now);
        self.write(fence, move |transaction| {
            roster::retire(transaction, &configured, now)
        })
        .await
    }

    async fn prune(
        &self,
        fence: Fence,
        retention: Retention,
        now: Timestamp,
    ) -> StoreResult<Pruned> {
        self.inner.told(now);
        let pruned = self
            .write(fence, move |transaction| {
                prune::prune(transaction, retention, now)
            })
            .await?;
        self.blocking(|inner| {
            prune::give_back(inner);
            Ok(())
        })
        .await?;
        Ok(pruned)
    }

    async fn backup(&self, target: &Path) -> StoreResult<()> {
        let target = target.to_owned();
        self.blocking(move |inner| backup::online(inner, &target))
            .await
    }
}
