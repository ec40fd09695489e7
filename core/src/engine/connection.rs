//! A connection as the engine uses it: its capabilities, and a gate that keeps within its limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::locks::Locks;
use super::outcome::{growing, waits};
use crate::connector::{Capabilities, Connection, Error, ErrorKind, Scope};
use crate::store::CalendarId;

/// A configured connection, opened.
pub struct ConnectionHandle {
    name: String,
    version: String,
    capabilities: Capabilities,
    connection: Arc<dyn Connection>,
    /// Reads of calendars.
    pub(super) reads: Gate,
    /// Writes and inventories.
    pub(super) writes: Gate,
    /// One calendar is read by one round at a time, whichever sync asks.
    rounds: Locks<CalendarId>,
    /// How many writes may be sent in 24 hours; none: no limit.
    pub(super) budget: Option<u64>,
}

impl std::fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl ConnectionHandle {
    /// `version` names connector and version; cursors and dead letters are bound to it.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        capabilities: Capabilities,
        connection: Arc<dyn Connection>,
    ) -> Self {
        let reads = capabilities
            .source
            .as_ref()
            .map_or(1, |source| source.max_in_flight);
        let writes = capabilities
            .sink
            .as_ref()
            .map_or(1, |sink| sink.max_in_flight);
        Self {
            name: name.into(),
            version: version.into(),
            capabilities,
            connection,
            reads: Gate::new(reads),
            writes: Gate::new(writes),
            rounds: Locks::default(),
            budget: None,
        }
    }

    /// Sends no more than so many writes in any 24 hours (by the hour): a brake on whatever runs wild. The rest waits.
    #[must_use]
    pub fn with_budget(mut self, writes: Option<u64>) -> Self {
        self.budget = writes;
        self
    }

    /// Waits until nobody else reads this calendar.
    pub(super) async fn round_of(&self, calendar: CalendarId) -> tokio::sync::OwnedMutexGuard<()> {
        self.rounds.lock(&calendar).await
    }

    /// The connection's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connector and version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The connection itself.
    #[must_use]
    pub fn connection(&self) -> &dyn Connection {
        self.connection.as_ref()
    }
}

/// The first wait after trouble of a whole connection; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(5);
/// The longest wait that we choose ourselves.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(10);
/// How long nothing is tried after the credentials were refused.
const AUTH_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// How long a connection must work without trouble until one more call may be in flight.
const CLEAN_TIME: SignedDuration = SignedDuration::from_mins(1);

/// Lets no more calls through at once than a connection bears: fewer after it asked to slow down, more again
/// while all goes well, and none while it is parked.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    freed: Notify,
}

#[derive(Debug)]
struct GateState {
    most: usize,
    limit: usize,
    in_flight: usize,
    troubles: u32,
    clean_since: Option<Timestamp>,
    parked: Option<(Timestamp, Error)>,
}

impl GateState {
    /// Of several calls that were answered alike, the longest wait counts.
    fn park(&mut self, until: Timestamp, error: &Error) {
        if self.parked.as_ref().is_none_or(|(known, _)| *known < until) {
            self.parked = Some((until, error.clone()));
        }
    }
}

/// One call in flight.
pub(super) struct Permit<'a>(&'a Gate);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        drop(state);
        self.0.freed.notify_one();
    }
}

impl Gate {
    fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            state: Mutex::new(GateState {
                most,
                limit: most,
                in_flight: 0,
                troubles: 0,
                clean_since: None,
                parked: None,
            }),
            freed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most calls that may ever be in flight.
    pub(super) fn most(&self) -> usize {
        self.lock().most
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// The error for which the connection is parked, with the time that is left to wait.
    pub(super) async fn enter(&self, now: Timestamp) -> Result<Permit<'_>, Error> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                match &state.parked {
                    Some((until, error)) if waits(*until, now) => {
                        let left = until.duration_since(now);
                        let wait = Duration::try_from(left).unwrap_or_default();
                        return Err(error.clone().retry_after(wait));
                    }
                    Some(_) => state.parked = None,
                    None => {}
                }
                if state.in_flight < state.limit {
                    state.in_flight += 1;
                    return Ok(Permit(self));
                }
            }
            freed.await;
        }
    }

    /// Takes note of how a call went.
    pub(super) fn report(&self, error: Option<&Error>, now: Timestamp) {
        self.note(error, now);
        if error.is_some_and(|error| error.scope == Scope::Connection) {
            // Whoever waits for a place may have to wait for longer than that, and is to know.
            self.freed.notify_waiters();
        }
    }

    fn note(&self, error: Option<&Error>, now: Timestamp) {
        let mut state = self.lock();
        match error {
            Some(error) if error.scope == Scope::Connection => match error.kind {
                ErrorKind::Auth => {
                    // One try now and then tells a changed secret, and is too few to lock the account.
                    let until = now.checked_add(AUTH_WAIT).unwrap_or(Timestamp::MAX);
                    state.parked = Some((until, error.clone()));
                }
                // Our own limit says nothing about the server.
                ErrorKind::Paced => {
                    let wait = error
                        .wait()
                        .and_then(|wait| SignedDuration::try_from(wait).ok())
                        .unwrap_or(FIRST_WAIT);
                    state.park(now.checked_add(wait).unwrap_or(Timestamp::MAX), error);
                }
                ErrorKind::Throttled
                | ErrorKind::Transient
                | ErrorKind::Other
                | ErrorKind::Protocol
                | ErrorKind::Panicked
                | ErrorKind::Permission
                | ErrorKind::Rejected
                | ErrorKind::Config => {
                    if error.kind == ErrorKind::Throttled {
                        state.limit = (state.limit / 2).max(1);
                    }
                    state.clean_since = None;
                    state.troubles = state.troubles.saturating_add(1);
                    let own = growing(FIRST_WAIT, LONGEST_WAIT, state.troubles);
                    let wait = error
                        .wait()
                        .and_then(|wait| SignedDuration::try_from(wait).ok())
                        .unwrap_or(own);
                    state.park(now.checked_add(wait).unwrap_or(Timestamp::MAX), error);
                }
                ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::CursorExpired
                | ErrorKind::Unsupported
                | ErrorKind::Cancelled => {}
            },
            Some(_) => {}
            None => {
                state.troubles = 0;
                let since = *state.clean_since.get_or_insert(now);
                if state.limit < state.most && now.duration_since(since) >= CLEAN_TIME {
                    state.limit += 1;
                    state.clean_since = Some(now);
                    drop(state);
                    self.freed.notify_one();
                }
            }
        }
    }

    /// Lifts a park: an operator said so, or the configuration changed.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.parked = None;
        state.troubles = 0;
        drop(state);
        self.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, Scope::Connection, "test", "test")
    }

    #[tokio::test]
    async fn a_throttle_parks_for_the_time_that_was_asked_and_halves_the_limit() {
        let gate = Gate::new(4);
        let busy = error(ErrorKind::Throttled).retry_after(Duration::from_secs(300));
        gate.report(Some(&busy), at(0));
        let refused = gate.enter(at(299)).await.err().unwrap();
        assert_eq!(refused.wait(), Some(Duration::from_secs(1)));
        let _one = gate.enter(at(300)).await.unwrap();
        let _two = gate.enter(at(300)).await.unwrap();
        let third = tokio::time::timeout(Duration::from_millis(20), gate.enter(at(300))).await;
        assert!(third.is_err(), "a third call went through a limit of two");
    }

    #[tokio::test]
    async fn a_limit_of_our_own_waits_and_leaves_the_calls_in_flight_as_they_are() {
        let gate = Gate::new(2);
        for now in [0, 10, 20] {
            let paced = error(ErrorKind::Paced).retry_after(Duration::from_secs(3));
            gate.report(Some(&paced), at(now));
            let refused = gate.enter(at(now)).await.err().unwrap();
            assert_eq!(refused.wait(), Some(Duration::from_secs(3)));
        }
        let _one = gate.enter(at(23)).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(200), gate.enter(at(23))).await;
        assert!(second.is_ok(), "the limit was halved for our own pace");
        // Nor does a later trouble begin with a longer wait.
        gate.report(Some(&error(ErrorKind::Transient)), at(30));
        let refused = gate.enter(at(30)).await.err().unwrap();
        assert_eq!(refused.wait(), Some(Duration::from_secs(5)));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_place_while_the_connection_is_parked() {
        let gate = Gate::new(1);
        let one = gate.enter(at(0)).await.unwrap();
        let waiting = futures_util::future::join_all((0..3).map(|_| gate.enter(at(0))));
        let parking = async {
            tokio::task::yield_now().await;
            gate.report(Some(&error(ErrorKind::Throttled)), at(0));
            drop(one);
        };
        let both = async { tokio::join!(waiting, parking).0 };
        let answers = tokio::time::timeout(Duration::from_secs(2), both)
            .await
            .expect("somebody waits for ever");
        assert!(answers.iter().all(Result::is_err));
    }

    #[tokio::test]
    async fn the_limit_grows_again_while_all_goes_well() {
        let gate = Gate::new(2);
        gate.report(Some(&error(ErrorKind::Throttled)), at(0));
        gate.report(None, at(100));
        gate.report(None, at(161));
        let _one = gate.enter(at(161)).await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(200), gate.enter(at(161)))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn own_waits_grow_and_end_with_success() {
        let gate = Gate::new(1);
        for (now, expected) in [(0, 5), (5, 10), (15, 20)] {
            gate.report(Some(&error(ErrorKind::Transient)), at(now));
            let refused = gate.enter(at(now)).await.err().unwrap();
            assert_eq!(refused.wait(), Some(Duration::from_secs(expected)));
        }
        assert!(gate.enter(at(35)).await.is_ok());
        gate.report(None, at(36));
        gate.report(Some(&error(ErrorKind::Transient)), at(40));
        let refused = gate.enter(at(40)).await.err().unwrap();
        assert_eq!(refused.wait(), Some(Duration::from_secs(5)));
    }

    #[tokio::test]
    async fn refused_credentials_are_tried_once_in_a_quarter_of_an_hour() {
        let gate = Gate::new(2);
        for round in 0..4 {
            let now = round * 900;
            assert!(gate.enter(at(now)).await.is_ok());
            gate.report(Some(&error(ErrorKind::Auth)), at(now));
            assert!(gate.enter(at(now + 899)).await.is_err());
        }
        gate.reopen();
        assert!(gate.enter(at(2_701)).await.is_ok(), "an operator says so");
    }

    #[tokio::test]
    async fn trouble_of_one_calendar_does_not_park_the_connection() {
        let gate = Gate::new(1);
        let gone = Error::new(ErrorKind::NotFound, Scope::Calendar, "test", "test");
        gate.report(Some(&gone), at(0));
        assert!(gate.enter(at(0)).await.is_ok());
    }
}
