//! What is remembered of a connection as a whole, for operators.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::connector::ErrorKind;

/// How a connection answered last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// Its name in the configuration.
    pub connection: String,
    /// When it last answered; none: never. Told anew once a minute at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Timestamp>,
    /// What it is in trouble with as a whole; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<ConnectionTrouble>,
}

/// Why a connection cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionTrouble {
    /// What can be done about it, roughly.
    pub kind: ErrorKind,
    /// A stable code.
    pub code: String,
    /// What happened and what to do, without personal data.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
}
