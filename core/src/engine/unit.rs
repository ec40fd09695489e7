//! One calendar of one sync, and all that is needed to work on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::clock_watch::{Believed, ClockWatch};
use super::plan::Deletes;
use super::{ConnectionHandle, Rules, SyncConfig, guard};
use crate::clock::Clock;
use crate::connector::{Error, SinkCapabilities};
use crate::model::{CalendarRef, FieldSet, Window};
use crate::store::{CalendarId, Fence, PauseScope, SourceState, Store, StoreError};

/// Why a pass broke off. What it had stored stays; the next one goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// The source.
    #[error("source: {0}")]
    Source(#[source] Error),
    /// The sink.
    #[error("sink: {0}")]
    Sink(#[source] Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] super::RulesError),
    /// The program stops.
    #[error("stopped")]
    Cancelled,
    /// An operator paused it.
    #[error("an operator has paused {0}; `calbridge resume` lifts that")]
    Paused(PauseScope),
    /// As many writes were sent as the connection's budget allows.
    #[error(
        "connection `{connection}` was sent {budget} writes or more within 24 hours, which is its budget; the rest waits. If that many are right, raise `budget` in [connections.{connection}]"
    )]
    Budget {
        /// The connection.
        connection: String,
        /// How many it may be sent.
        budget: u64,
    },
}

/// Errors of a feed are the source's.
impl From<Error> for PassError {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

impl PassError {
    pub(super) fn source_error(&self) -> Option<&Error> {
        match self {
            Self::Source(error) => Some(error),
            _ => None,
        }
    }

    /// The connector's error, if it is one.
    #[must_use]
    pub fn connector_error(&self) -> Option<&Error> {
        match self {
            Self::Source(error) | Self::Sink(error) => Some(error),
            _ => None,
        }
    }

    /// A stable code for monitoring.
    #[must_use]
    pub fn code(&self) -> String {
        match self {
            Self::Source(error) | Self::Sink(error) => error.code.clone(),
            Self::Store(_) => "store".to_owned(),
            Self::Rules(_) => "config".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
            Self::Paused(_) => "paused".to_owned(),
            Self::Budget { .. } => "budget".to_owned(),
        }
    }
}

/// One calendar of one sync, and all that is needed to work on it.
pub(super) struct Unit<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) fence: Fence,
    pub(super) clock: &'a Arc<dyn Clock>,
    /// What is thought of the present time; windows are reckoned from it.
    pub(super) believed: Believed,
    pub(super) watch: &'a ClockWatch,
    pub(super) sync: &'a SyncConfig,
    pub(super) source: &'a ConnectionHandle,
    pub(super) sink: &'a ConnectionHandle,
    pub(super) calendar: CalendarId,
    pub(super) reference: CalendarRef,
    /// For logs: [`CalendarRef::handle`].
    pub(super) handle: String,
    pub(super) shutdown: &'a CancellationToken,
    /// The calendar left the roster and its records are to be withdrawn.
    pub(super) withdrawn: bool,
    /// Nothing of it is written.
    pub(super) observed: bool,
    /// What the sink holds of it was never listed before.
    pub(super) first_contact: bool,
    /// The syncs that write the sink.
    pub(super) writers: Vec<&'a SyncConfig>,
    /// The source began to answer: views may be half read.
    pub(super) touched: AtomicBool,
    /// All syncs that read the source: it is read once for the union of what they need.
    pub(super) readers: Vec<Reader<'a>>,
}

/// A sync that reads a source, and the sink that it reads for.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) sync: &'a SyncConfig,
    pub(super) sink: &'a SinkCapabilities,
}

/// What is to be read of a calendar.
pub(super) struct Demand {
    pub(super) window: Window,
    pub(super) fields: FieldSet,
}

impl Unit<'_> {
    /// What is known of the calendar on the source's side.
    pub(super) async fn source_state(&self) -> Result<SourceState, PassError> {
        let (source, calendar) = (self.source.name(), self.calendar);
        Ok(self.store.source_state(source, calendar).await?)
    }

    /// The sync's rules as they are at the time that was believed when the work began.
    pub(super) fn rules(&self) -> Result<Rules, PassError> {
        self.rules_at(self.believed.now)
    }

    fn rules_at(&self, now: Timestamp) -> Result<Rules, PassError> {
        let (Some(source), Some(sink)) = (
            &self.source.capabilities().source,
            &self.sink.capabilities().sink,
        ) else {
            return Err(PassError::Source(Error::unsupported("this direction")));
        };
        Ok(self.sync.rules().at(now, source, sink)?)
    }

    /// What to plan by once the source has answered: answers tell the servers' time, and the first one after a start may
    /// be the first word that ours is wrong.
    pub(super) fn planning(&self) -> Result<(Rules, Deletes), PassError> {
        let now = self.watch.look(self.clock.as_ref());
        if now.trusted && self.believed.trusted {
            return Ok((self.rules()?, Deletes::Planned));
        }
        Ok((self.rules_at(now.now)?, Deletes::ClockUnclear))
    }

    /// Fails if an operator paused the sync, also in the middle of a pass.
    pub(super) async fn check_paused(&self) -> Result<(), PassError> {
        let pauses = self.store.pauses().await?;
        match pauses
            .into_iter()
            .find(|pause| pause.scope.stops(self.sync))
        {
            Some(pause) => Err(PassError::Paused(pause.scope)),
            None => Ok(()),
        }
    }

    /// How many writes the sink's budget still allows; none are an error.
    pub(super) async fn budget_left(&self) -> Result<usize, PassError> {
        let Some(budget) = self.sink.budget else {
            return Ok(usize::MAX);
        };
        let since = guard::since(self.clock.now());
        let spent = self.store.spent(self.sink.name(), since).await?;
        match budget.saturating_sub(spent) {
            0 => Err(PassError::Budget {
                connection: self.sink.name().to_owned(),
                budget,
            }),
            left => Ok(usize::try_from(left).unwrap_or(usize::MAX)),
        }
    }

    /// The union of what all readers of the source need.
    pub(super) fn demand(&self, rules: &Rules) -> Result<Demand, PassError> {
        let mut demand = Demand {
            window: rules.window,
            fields: rules.request_fields(),
        };
        if let Some(source) = &self.source.capabilities().source {
            for reader in &self.readers {
                let other = reader
                    .sync
                    .rules()
                    .at(self.believed.now, source, reader.sink)?;
                demand.window = demand.window.hull(&other.window);
                demand.fields = demand.fields.union(&other.request_fields());
            }
        }
        Ok(demand)
    }
}

pub(super) fn sink_capabilities<'a>(unit: &Unit<'a>) -> Result<&'a SinkCapabilities, PassError> {
    unit.sink
        .capabilities()
        .sink
        .as_ref()
        .ok_or_else(|| PassError::Sink(Error::unsupported("writing")))
}
