//! Errors of connectors. The engine reacts to kind and scope alone.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is wrong; an operator must change it.
    Config,
    /// The credentials are refused. Nothing is tried again until the secret changes or an operator says so.
    Auth,
    /// Signed in, but not allowed.
    Permission,
    /// The thing does not exist.
    NotFound,
    /// The server asks to slow down.
    Throttled,
    /// The connection's own settings allow no more calls now: nothing was sent, and the server is not in trouble.
    Paced,
    /// May well work later.
    Transient,
    /// The other side holds something else than was assumed.
    Conflict,
    /// The cursor is no longer good.
    CursorExpired,
    /// Refused for good.
    Rejected,
    /// The connector cannot do this.
    Unsupported,
    /// Given up because somebody asked for it.
    Cancelled,
    /// The answer is not what the protocol says.
    Protocol,
    /// The connector panicked.
    Panicked,
    /// Something newer than this version knows; treated as transient.
    #[serde(other)]
    Other,
}

/// How much is affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scope {
    /// One item; the others go on.
    Item,
    /// One calendar; the others go on.
    Calendar,
    /// The whole connection.
    #[serde(other)]
    Connection,
}

/// An error of a connector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{message} [{code}]")]
pub struct Error {
    /// What can be done about it.
    pub kind: ErrorKind,
    /// How much is affected.
    pub scope: Scope,
    /// A stable code that monitoring sees: the event id of Kommuneklienten where the condition has one
    /// (`6904`), else a dotted name (`ews.ErrorItemNotFound`).
    pub code: String,
    /// What happened, where, and what the operator can do. No personal data, no secrets.
    pub message: String,
    /// How long the server asks to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What connectors return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of any kind.
    #[must_use]
    pub fn new(
        kind: ErrorKind,
        scope: Scope,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            scope,
            code: code.into(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// A mistake in the configuration.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, Scope::Connection, "config", message)
    }

    /// The connector cannot do `what`.
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        Self::new(
            ErrorKind::Unsupported,
            Scope::Connection,
            "unsupported",
            format!("the connector does not support {what}"),
        )
    }

    /// With the time that the server asks to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The time that the server asks to wait.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}
