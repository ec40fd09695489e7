//! Why an engine cannot be made or used.

use crate::connector::Error;
use crate::store::StoreError;

/// Why an engine cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A sync names a connection that is not there.
    #[error(
        "sync `{sync}` names the connection `{connection}`, which is not configured; add [connections.{connection}]"
    )]
    NoConnection {
        /// The sync.
        sync: String,
        /// The connection.
        connection: String,
    },
    /// A connection cannot do what a sync needs of it.
    #[error(
        "sync `{sync}` needs connection `{connection}` to support {need}; its connector does not"
    )]
    NotCapable {
        /// The sync.
        sync: String,
        /// The connection.
        connection: String,
        /// What it cannot do.
        need: &'static str,
    },
    /// Nobody says whose calendars belong to a sync.
    #[error(
        "sync `{sync}`: neither connection has a roster; name the addresses: `roster = {{ allow = [\"anna@example.org\"] }}`"
    )]
    NoRoster {
        /// The sync.
        sync: String,
    },
    /// Two syncs write one sink whose records are all taken for ours.
    #[error(
        "syncs `{sync}` and `{rival}` both write `{connection}`, and each would delete what the other wrote; give both an allow list (`roster = {{ allow = [...] }}`) without common addresses"
    )]
    SharedSink {
        /// One of them.
        sync: String,
        /// The other.
        rival: String,
        /// The sink.
        connection: String,
    },
    /// Two-way is not available yet.
    #[error("sync `{sync}`: direction `two-way` is not available yet; use `one-way`")]
    TwoWay {
        /// The sync.
        sync: String,
    },
    /// Two syncs have one name.
    #[error(
        "two syncs are named `{sync}`; names must differ, what is remembered is kept under them"
    )]
    DuplicateSync {
        /// The name.
        sync: String,
    },
    /// There is no sync of this name.
    #[error("there is no sync named `{sync}`")]
    NoSync {
        /// The name.
        sync: String,
    },
    /// A sync's rules do not work.
    #[error("sync `{sync}`: {error}")]
    Rules {
        /// The sync.
        sync: String,
        /// Why.
        error: super::RulesError,
    },
    /// A connection's roster could not be had.
    #[error("the roster of connection `{connection}` could not be read: {error}")]
    Roster {
        /// The connection.
        connection: String,
        /// Why.
        error: Error,
    },
    /// An operator paused it.
    #[error(
        "sync `{sync}` does nothing: {scope} is paused since {since}; `calbridge resume` lifts that",
        scope = pause.scope,
        since = pause.since
    )]
    Paused {
        /// The sync.
        sync: String,
        /// What was paused.
        pause: crate::store::Pause,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
