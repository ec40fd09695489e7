//! What operators are told of connections as a whole: reached when, or in trouble since when and why.

use jiff::{SignedDuration, Timestamp};

use super::SyncConfig;
use super::engine::Engine;
use super::error::EngineError;
use super::report::{CalendarOutcome, CalendarPlan, Failure, Side};
use crate::connector::{ErrorKind, Scope};
use crate::store::{ConnectionState, ConnectionTrouble, StoreError, StoreResult};

/// How long a note that all is well is good: it is not written anew with each call.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(1);

/// What became of a calendar, as far as it tells of connections: what went wrong, and whether the sink was called.
type Seen = (Option<Failure>, bool);

/// How a connection answered.
enum Answer<'a> {
    Reached,
    Trouble {
        kind: ErrorKind,
        code: &'a str,
        message: &'a str,
    },
}

impl Engine {
    /// Notes in the store what the answer to the question for a sync's roster tells of the connection that gives it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] alone: that something could not be noted is no reason to stop.
    pub async fn note_roster<T>(
        &self,
        sync: &SyncConfig,
        answer: &Result<T, EngineError>,
    ) -> StoreResult<()> {
        let message;
        let answer = match answer {
            Ok(_) => Answer::Reached,
            Err(EngineError::Roster { error, .. }) if error.scope == Scope::Connection => {
                message = error.to_string();
                Answer::Trouble {
                    kind: error.kind,
                    code: &error.code,
                    message: &message,
                }
            }
            Err(EngineError::Roster { .. }) => Answer::Reached,
            Err(_) => return Ok(()),
        };
        match self.roster_connection(sync) {
            Ok(Some(connection)) => self.note(connection.name(), answer).await,
            _ => Ok(()),
        }
    }

    /// Notes in the store what the work on calendars of a sync tells of its connections.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] alone: that something could not be noted is no reason to stop.
    pub async fn note_outcomes(
        &self,
        sync: &SyncConfig,
        outcomes: &[CalendarOutcome],
    ) -> StoreResult<()> {
        let seen = |outcome: &CalendarOutcome| (outcome.failed.clone(), outcome.report.calls > 0);
        self.note_seen(sync, &outcomes.iter().map(seen).collect::<Vec<_>>())
            .await
    }

    /// The same of plans, for which nothing was written.
    ///
    /// # Errors
    /// As [`Engine::note_outcomes`].
    pub async fn note_plans(&self, sync: &SyncConfig, plans: &[CalendarPlan]) -> StoreResult<()> {
        let seen = |plan: &CalendarPlan| (plan.failed.clone(), false);
        self.note_seen(sync, &plans.iter().map(seen).collect::<Vec<_>>())
            .await
    }

    async fn note_seen(&self, sync: &SyncConfig, seen: &[Seen]) -> StoreResult<()> {
        for (side, connection) in [(Side::Source, &sync.source), (Side::Sink, &sync.sink)] {
            let trouble = seen.iter().find_map(|(failure, _)| {
                let failure = failure.as_ref()?;
                let is_whole = failure.scope == Some(Scope::Connection);
                (is_whole && failure.side == Some(side)).then_some(Answer::Trouble {
                    kind: failure.kind?,
                    code: &failure.code,
                    // Which side it is shows from the connection's name.
                    message: failure
                        .message
                        .trim_start_matches("source: ")
                        .trim_start_matches("sink: "),
                })
            });
            let answer = match trouble {
                Some(trouble) => Some(trouble),
                None => seen
                    .iter()
                    .any(|seen| has_answered(seen, side))
                    .then_some(Answer::Reached),
            };
            if let Some(answer) = answer {
                self.note(connection, answer).await?;
            }
        }
        Ok(())
    }

    async fn note(&self, connection: &str, answer: Answer<'_>) -> StoreResult<()> {
        match self.store_answer(connection, answer).await {
            Err(error) if !matches!(error, StoreError::Fenced) => {
                tracing::warn!(connection, %error, "How a connection answered could not be noted.");
                Ok(())
            }
            noted => noted,
        }
    }

    async fn store_answer(&self, connection: &str, answer: Answer<'_>) -> StoreResult<()> {
        let (store, fence, now) = (self.store(), self.fence(), self.clock().now());
        let known = store.connections().await?;
        let known = known.iter().find(|known| known.connection == connection);
        match answer {
            Answer::Reached if is_fresh(known, now) => Ok(()),
            Answer::Reached => store.connection_reached(fence, connection, now).await,
            Answer::Trouble {
                kind,
                code,
                message,
            } => {
                // Trouble goes on while it changes its face: what counts is since when nothing works.
                let before = known.and_then(|known| known.trouble.as_ref());
                let trouble = ConnectionTrouble {
                    kind,
                    code: code.to_owned(),
                    message: message.to_owned(),
                    since: before.map_or(now, |before| before.since),
                    last: now,
                };
                store
                    .connection_in_trouble(fence, connection, &trouble)
                    .await
            }
        }
    }
}

/// Whether it shows from what became of a calendar that the connection of this side answered.
fn has_answered((failure, sink_was_called): &Seen, side: Side) -> bool {
    match failure {
        // A sink is asked only if there is something to write.
        None => side == Side::Source || *sink_was_called,
        Some(failure) => {
            failure.side == Some(side)
                && matches!(failure.scope, Some(Scope::Calendar | Scope::Item))
        }
    }
}

fn is_fresh(known: Option<&ConnectionState>, now: Timestamp) -> bool {
    known.is_some_and(|known| {
        known.trouble.is_none()
            && known
                .reached
                .is_some_and(|at| at <= now && now.duration_since(at) < GOOD_FOR)
    })
}
