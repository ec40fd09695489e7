//! What operators say while a service works: orders that it carries out, and pauses.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Address;

/// Something that an operator wants done once by whoever works with the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The sync.
    pub sync: String,
    /// Only these calendars; empty: all of the sync.
    #[serde(default)]
    pub calendars: Vec<Address>,
    /// What is to be done.
    pub what: OrderKind,
}

/// What is to be done once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Let go the deletes that the guard held when the order was given.
    Approve,
    /// Try refused writes again, and write again what the sink holds already. With an event (iCalendar UID, or the
    /// sink's id): that one alone.
    Resend {
        /// The event; none: all of the calendar.
        event: Option<String>,
    },
    /// Look at the calendars now, and if it is all of them, ask whose belong to the sync first; `full`: read them completely; `reconcile`: compare them with what the sink holds.
    Sync {
        /// Read completely.
        full: bool,
        /// Compare with the sink.
        reconcile: bool,
    },
}

/// Names an order for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub i64);

/// An order that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingOrder {
    /// Its name.
    pub id: OrderId,
    /// When the operator gave it.
    pub given: Timestamp,
    /// What is to be done.
    pub order: Order,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderAnswer {
    /// It was carried out, and concerned so many events (or calendars).
    Done(u64),
    /// It could not be, and why.
    Refused(String),
}

/// What is paused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseScope {
    /// Everything.
    All,
    /// One sync.
    Sync(String),
    /// Every sync that reads or writes this connection.
    Connection(String),
}

impl std::fmt::Display for PauseScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Sync(name) => write!(f, "sync `{name}`"),
            Self::Connection(name) => write!(f, "connection `{name}`"),
        }
    }
}

/// A pause: nothing is read or written in its scope until it is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What is paused.
    pub scope: PauseScope,
    /// Since when.
    pub since: Timestamp,
}

/// Writes that are about to be sent to a connection, for its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The connection.
    pub connection: String,
    /// How many.
    pub writes: u64,
    /// When.
    pub at: Timestamp,
    /// How many may be sent after [`since`](Self::since), these among them: else nothing of the commit is stored.
    pub budget: u64,
    /// Writes before the end of this hour no longer count.
    pub since: Timestamp,
}
