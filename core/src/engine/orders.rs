//! What operators say while a service works: orders are carried out, pauses are kept.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::decide::is_over;
use super::engine::Engine;
use super::error::EngineError;
use super::outcome;
use super::report::Work;
use super::{Row, SyncConfig};
use crate::model::Address;
use crate::store::{
    Order, OrderAnswer, OrderKind, Pause, PauseScope, RowCommit, StoreError, WaitingOrder,
};

/// How often the store is asked for orders.
const LOOK: Duration = Duration::from_secs(1);

/// What an order asks of a sync's timetable.
#[derive(Debug)]
pub(super) struct Nudge {
    /// Only these calendars; empty: all.
    pub(super) calendars: Vec<Address>,
    pub(super) work: Work,
    /// The roster is to be asked for.
    pub(super) roster: bool,
}

impl PauseScope {
    /// Whether it stops this sync.
    #[must_use]
    pub fn stops(&self, sync: &SyncConfig) -> bool {
        match self {
            Self::All => true,
            Self::Sync(name) => *name == sync.name,
            Self::Connection(name) => *name == sync.source || *name == sync.sink,
        }
    }
}

impl Engine {
    /// The pause that stops a sync, if there is one.
    ///
    /// # Errors
    /// The store's.
    pub async fn paused(&self, sync: &SyncConfig) -> Result<Option<Pause>, StoreError> {
        let pauses = self.store().pauses().await?;
        Ok(pauses.into_iter().find(|pause| pause.scope.stops(sync)))
    }

    /// Fails if the sync is paused.
    pub(super) async fn check_paused(&self, sync: &SyncConfig) -> Result<(), EngineError> {
        match self.paused(sync).await? {
            Some(pause) => Err(EngineError::Paused {
                sync: sync.name.clone(),
                pause,
            }),
            None => Ok(()),
        }
    }

    /// Carries out an order that was given at `given`, as far as it concerns what is stored; answers how many events (or
    /// calendars) it concerned.
    ///
    /// # Errors
    /// [`EngineError::NoSync`], [`EngineError::Paused`], [`EngineError::Store`].
    pub async fn obey(&self, order: &Order, given: Timestamp) -> Result<u64, EngineError> {
        let sync = self.sync(&order.sync)?;
        match &order.what {
            OrderKind::Approve => Ok(self.approve(sync, &order.calendars, given).await?),
            OrderKind::Resend { event } => {
                self.resend(sync, &order.calendars, event.as_deref()).await
            }
            // The timetable does the rest.
            OrderKind::Sync { .. } => {
                self.check_paused(sync).await?;
                Ok(self.members(sync, &order.calendars).await?.len() as u64)
            }
        }
    }

    /// Opens refused writes again, and has what the sink takes twice without harm written once more. Answers how many
    /// events that concerned; of calendars that are only observed, none.
    async fn resend(
        &self,
        sync: &SyncConfig,
        only: &[Address],
        event: Option<&str>,
    ) -> Result<u64, EngineError> {
        self.check_paused(sync).await?;
        let upsert = self
            .handle(&sync.sink)
            .and_then(|sink| sink.capabilities().sink.as_ref())
            .is_some_and(|sink| sink.idempotent_upsert);
        let rules = self.rules(sync, self.believed().now)?;
        let mut opened = 0;
        for member in self.members(sync, only).await? {
            if sync.observes(&member.state.calendar.address) {
                continue;
            }
            let calendar = member.state.id;
            let _alone = self.alone.lock(&(sync.name.clone(), calendar)).await;
            let rows = self
                .store()
                .rows(&sync.name, &sync.source, calendar)
                .await?
                .rows;
            let update: Vec<Row> = rows
                .into_iter()
                // What has passed is not written any more: nothing would come of asking for it.
                .filter(|row| !is_over(row, &rules.zone, rules.window_day()))
                .filter(|row| event.is_none_or(|event| is_named(row, event)))
                .filter_map(|row| outcome::resend(row, upsert, event.is_some()))
                .collect();
            opened += update.len() as u64;
            if !update.is_empty() {
                let commit = RowCommit {
                    sync: sync.name.clone(),
                    calendar: Some(calendar),
                    update,
                    ..RowCommit::default()
                };
                self.store().commit_rows(self.fence(), commit).await?;
            }
        }
        Ok(opened)
    }

    /// Carries out orders as they come, and tells the timetables. Ends only when the store was taken over.
    pub(super) async fn keep_obeying(
        &self,
        nudges: &HashMap<String, mpsc::Sender<Nudge>>,
        shutdown: &CancellationToken,
    ) -> StoreError {
        loop {
            let waiting = match self.store().orders().await {
                Ok(waiting) => waiting,
                Err(fenced @ StoreError::Fenced) => return fenced,
                Err(error) => {
                    tracing::warn!(%error, "Orders could not be read.");
                    Vec::new()
                }
            };
            for WaitingOrder { id, given, order } in waiting {
                let answer = match self.obey(&order, given).await {
                    Ok(count) => {
                        tracing::info!(
                            sync = order.sync,
                            count,
                            "An operator's order was carried out."
                        );
                        if let Some(nudge) = nudges.get(&order.sync) {
                            // A timetable that has ended needs no nudge.
                            let _ = nudge.send(Nudge::of(&order)).await;
                        }
                        OrderAnswer::Done(count)
                    }
                    Err(error) => {
                        tracing::warn!(sync = order.sync, %error, "An operator's order could not be carried out.");
                        OrderAnswer::Refused(error.to_string())
                    }
                };
                let now = self.clock().now();
                match self
                    .store()
                    .answer_order(self.fence(), id, &answer, now)
                    .await
                {
                    Err(fenced @ StoreError::Fenced) => return fenced,
                    Err(error) => tracing::warn!(%error, "An order's answer could not be stored."),
                    Ok(()) => {}
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => return std::future::pending().await,
            }
        }
    }
}

impl Nudge {
    fn of(order: &Order) -> Self {
        let (work, roster) = match order.what {
            OrderKind::Sync { full, reconcile } => {
                (Work { full, reconcile }, order.calendars.is_empty())
            }
            _ => (Work::default(), false),
        };
        Self {
            calendars: order.calendars.clone(),
            work,
            roster,
        }
    }
}

/// Whether the row is meant by an iCalendar UID or by the sink's id.
fn is_named(row: &Row, event: &str) -> bool {
    let remote = row.sink.remote.as_ref();
    row.key.uid().eq_ignore_ascii_case(event)
        || remote.is_some_and(|remote| {
            remote.id.eq_ignore_ascii_case(event)
                || remote
                    .assigned
                    .as_deref()
                    .is_some_and(|id| id.eq_ignore_ascii_case(event))
        })
}
