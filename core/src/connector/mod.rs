//! What a connector implements.
//!
//! A [`Connection`] is one configured instance of a connector. It may offer a [`CalendarSource`] (it can be
//! read), a [`CalendarSink`] (it can be written) or both. All arguments and answers are plain data with
//! `serde` forms, so that the same traits can be carried to a shared library or a child process.
//!
//! Connectors update what calbridge knows of a side and carry out writes. They decide nothing: no retries
//! beyond one request's own protocol, no waiting for a throttle to pass, no skipping of events by rules.

mod capabilities;
mod context;
mod error;
mod feed;
mod registry;
mod wire;
mod write;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use capabilities::{
    Capabilities, ExternalIds, InventoryBounds, Sharing, SinkCapabilities, SourceCapabilities,
};
pub use context::Context;
pub use error::{Error, ErrorKind, Result, Scope};
pub use feed::{
    Change, ChangeBatch, ChangeFeed, ChangesRequest, Cursor, Hint, HintFeed, InventoryEntry,
    InventoryFeed, InventoryPage, InventoryRequest,
};
pub use registry::{
    Connector, ConnectorEntry, ForeignConnector, Manifest, NameTaken, connectors, find, register,
    register_instead,
};
pub use write::{
    ApplyReport, AttemptToken, Op, Outcome, Probe, Receipt, SideState, Write, WriteId, WriteOutcome,
};

use crate::model::{CalendarEntry, CalendarRef, Event, ItemRef};

/// One configured connection to one system.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Tells whether the system can be reached and used: reachability, versions, rights per calendar,
    /// certificate expiry, clock difference. No side effects.
    ///
    /// # Errors
    /// Only if nothing could be checked at all; whatever was found wrong is a [`Finding`].
    async fn check(&self, scope: CheckScope) -> Result<CheckReport>;

    /// The calendars that the system says belong to the sync.
    ///
    /// # Errors
    /// `Unsupported` unless the connector has a roster.
    async fn roster(&self) -> Result<Roster> {
        Err(Error::unsupported("roster"))
    }

    /// The readable side.
    fn source(&self) -> Option<&dyn CalendarSource> {
        None
    }

    /// The writable side.
    fn sink(&self) -> Option<&dyn CalendarSink> {
        None
    }
}

/// A connection that can be read.
#[async_trait]
pub trait CalendarSource: Send + Sync {
    /// Opens a feed of what changed since the cursor, and of everything in the parts of the window that are
    /// not covered yet. Without a cursor: everything in the window. Asking for the next batch is the
    /// backpressure.
    ///
    /// # Errors
    /// `CursorExpired` if the cursor is no longer good: the core drops it and asks again without; nothing is
    /// deleted for that.
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>>;

    /// Reads single items again: one result per item, in order.
    ///
    /// # Errors
    /// Per item `NotFound` when it is certainly gone; as a whole only if nothing can be said of any.
    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>>;

    /// Hints that a calendar has news; never data. A lost hint only costs latency.
    ///
    /// # Errors
    /// `Unsupported` unless the connector can watch.
    async fn watch(&self, calendars: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        let _ = calendars;
        Err(Error::unsupported("watch"))
    }
}

/// A connection that can be written.
#[async_trait]
pub trait CalendarSink: Send + Sync {
    /// Carries out writes of one calendar and answers one outcome per write, matched by write id. A write
    /// without an outcome counts as [`Outcome::Unknown`].
    ///
    /// # Errors
    /// Only if nothing was sent. After `Rejected` of scope `Item` the batch is halved until the refused write stands
    /// alone; with a wider scope none of the writes is to blame, and all are tried again later.
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport>;

    /// What the sink holds, with declared coverage: for first contact and reconciliation.
    ///
    /// # Errors
    /// `Unsupported` unless the sink can list.
    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        let _ = request;
        Err(Error::unsupported("inventory"))
    }

    /// What became of earlier attempts: one answer per token, in order.
    ///
    /// # Errors
    /// `Unsupported` unless the sink can tell.
    async fn probe(&self, calendar: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        let _ = (calendar, tokens);
        Err(Error::unsupported("probe"))
    }
}

/// What a connection answers when asked who belongs to the sync.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Roster {
    /// The calendars.
    #[serde(default)]
    pub entries: Vec<CalendarEntry>,
    /// Entries that cannot be used, with the reason (an address listed twice, or malformed).
    #[serde(default)]
    pub skipped: Vec<SkippedEntry>,
}

/// A roster's entry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedEntry {
    /// The address as the system spells it. Personal data: shown to operators, never logged.
    pub address: String,
    /// A stable code, for example `3201` (listed more than once).
    pub code: String,
    /// What is wrong and what to do, without personal data.
    pub reason: String,
}

/// How far [`Connection::check`] goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckScope {
    /// The present instant; differences of clocks are measured against it.
    #[schemars(with = "String")]
    pub now: Timestamp,
    /// Calendars whose rights are to be checked; empty: the connection alone.
    #[serde(default)]
    pub calendars: Vec<CalendarRef>,
}

/// What [`Connection::check`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// In the order in which things were tried.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What the server calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The server's clock minus ours, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_difference_ms: Option<i64>,
}

impl CheckReport {
    /// Whether nothing is [`Severity::Failed`].
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity != Severity::Failed)
    }

    /// Adds a finding.
    pub fn push(&mut self, name: &str, severity: Severity, message: impl Into<String>) {
        self.findings.push(Finding {
            name: name.to_owned(),
            severity,
            message: message.into(),
            calendar: None,
        });
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A stable name: `reachable`, `authentication`, `certificate`, `authority`, `calendar`, `clock`, ...
    pub name: String,
    /// Good, worth a look, or wrong.
    pub severity: Severity,
    /// What was found, and what the operator can do about it. No personal data.
    pub message: String,
    /// The calendar it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarRef>,
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// As it should be.
    Passed,
    /// Works, and will need attention (a certificate about to expire).
    Warning,
    /// Does not work.
    Failed,
    /// Could not be told.
    #[serde(other)]
    Unknown,
}
