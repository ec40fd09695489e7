//! What is asked of the engine, and what it tells.

use serde::{Deserialize, Serialize};

use super::pass::PassReport;
use super::plan::PlannedWrite;
use super::unit::PassError;
use crate::connector::{ErrorKind, Scope, SkippedEntry};
use crate::model::{Address, CalendarRef};
use crate::store::CalendarState;

/// What happens while the engine works, for progress bars and the status page.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ProgressEvent {
    /// A sync over so many calendars begins.
    Started {
        /// The sync.
        sync: String,
        /// How many calendars.
        calendars: usize,
    },
    /// A calendar is done.
    Calendar {
        /// The sync.
        sync: String,
        /// [`CalendarRef::handle`].
        calendar: String,
        /// What was done.
        report: PassReport,
        /// The code of what went wrong.
        failed: Option<String>,
    },
    /// A sync is done.
    Finished {
        /// The sync.
        sync: String,
    },
}

/// Is told what happens.
pub trait Progress: Send + Sync {
    /// Something happened. Must return at once.
    fn event(&self, event: ProgressEvent);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: ProgressEvent) {}
}

/// What of a sync is to be done.
#[derive(Debug, Clone, Default)]
pub struct SyncOptions {
    /// Read every calendar completely, whatever the cursors say.
    pub full: bool,
    /// Compare with what the sink holds, also where that was done before.
    pub reconcile: bool,
    /// Only these calendars; empty: all.
    pub calendars: Vec<Address>,
}

/// What became of one calendar.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CalendarOutcome {
    /// The calendar. Personal data: for the operator's eyes, not for logs.
    pub calendar: CalendarRef,
    /// What was done.
    pub report: PassReport,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// The calendar's state as it is now, for the timetable.
    #[serde(skip)]
    pub(super) after: Option<CalendarState>,
    /// What was to be done and could not be, for the timetable.
    #[serde(skip)]
    pub(super) redo: Work,
    /// Another instance has taken over the store.
    #[serde(skip)]
    pub(super) fenced: bool,
}

/// What went wrong, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// How much of a connection is concerned; none: it is not a connection's fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What can be done about it, roughly; none: it is not a connection's fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// Whose fault it is; none: not a connection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
}

/// One of the two connections of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What is read.
    Source,
    /// What is written.
    Sink,
}

impl From<&PassError> for Failure {
    fn from(error: &PassError) -> Self {
        Self {
            code: error.code(),
            message: error.to_string(),
            scope: error.connector_error().map(|error| error.scope),
            kind: error.connector_error().map(|error| error.kind),
            side: match error {
                PassError::Source(_) => Some(Side::Source),
                PassError::Sink(_) => Some(Side::Sink),
                _ => None,
            },
        }
    }
}

/// What became of a sync.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SyncReport {
    /// The sync.
    pub sync: String,
    /// Sums over all calendars.
    pub total: PassReport,
    /// The calendars, by address.
    pub calendars: Vec<CalendarOutcome>,
    /// Roster entries that could not be used.
    pub skipped: Vec<SkippedEntry>,
}

impl SyncReport {
    /// How many calendars something went wrong with.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.calendars
            .iter()
            .filter(|calendar| calendar.failed.is_some())
            .count()
    }
}

/// What would be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CalendarPlan {
    /// The calendar.
    pub calendar: CalendarRef,
    /// It is only observed: nothing of this is written.
    pub observed: bool,
    /// The writes, in no particular order.
    pub writes: Vec<PlannedWrite>,
    /// Why there is no plan, or not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
}

/// What of a calendar is to be done besides the usual.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) full: bool,
    pub(super) reconcile: bool,
}
