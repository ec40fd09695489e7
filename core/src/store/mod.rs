//! The store's interface: one narrow trait with few transactional verbs.
//!
//! Views and cursors belong to (connection, calendar); rows belong to (sync, calendar). Every verb that
//! writes is one transaction, takes the fence of the lease under which it runs, and fails if a newer lease
//! exists. No transaction is open during a network call.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::connector::{Cursor, Receipt};
use crate::engine::decide::Decision;
use crate::engine::identity::Pair;
use crate::engine::{Fingerprinter, Inputs, LinkId, Row, SourceView, ViewId};
use crate::model::{
    CalendarKind, CalendarRef, Coverage, Event, EventKey, ItemRef, SideRef, Window,
};

mod connection;
mod order;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use connection::{ConnectionState, ConnectionTrouble};
pub use order::{Order, OrderAnswer, OrderId, OrderKind, Pause, PauseScope, Spent, WaitingOrder};

/// Names one calendar in the store, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CalendarId(pub i64);

/// The number of the lease under which somebody writes; greater ones are newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

/// Counts the rounds of one (connection, calendar): one complete or broken-off reading of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Round(pub i64);

/// Why the store could not do what was asked. Messages say what the operator can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else took over; stop writing.
    #[error("another instance has taken over the state; this one stops writing")]
    Fenced,
    /// Another calbridge works with the state file.
    #[error(
        "the state file {path} is in use by another calbridge; stop that first, or wait until it is done"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// Another program keeps the state file locked.
    #[error(
        "the state file {path} is locked by another program, such as an SQLite shell or a copying tool; close that"
    )]
    Busy {
        /// The file.
        path: String,
    },
    /// There is no state file yet, or an empty one.
    #[error(
        "there is no state file {path} yet, or it is empty; it is made by the first `calbridge sync` or `calbridge run`"
    )]
    Missing {
        /// The file.
        path: String,
    },
    /// The file or its folder may not be written.
    #[error(
        "the state file {path} cannot be written; give the service's account write access to it and its folder"
    )]
    ReadOnly {
        /// The file.
        path: String,
    },
    /// No space is left.
    #[error(
        "no space is left for the state file {path}; nothing is lost, and work goes on when there is space"
    )]
    DiskFull {
        /// The file.
        path: String,
    },
    /// The file is damaged or is no state file.
    #[error(
        "the state file {path} is damaged or is no state file ({detail}); restore a backup, or move it away to start anew (nothing is deleted on the other side for that)"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error(
        "the state file {path} has format {found}, newer than {known}; use the calbridge that wrote it, or a newer one"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// A backup cannot be written where it should go.
    #[error("the backup {path} cannot be written: {detail}")]
    Backup {
        /// Where it should go.
        path: String,
        /// Why not, and what to do.
        detail: String,
    },
    /// More writes would be sent than the budget of a connection allows.
    #[error("the budget of connection `{connection}` is spent")]
    OverBudget {
        /// The connection.
        connection: String,
    },
    /// Something that should be there is not.
    #[error("the state has no such {0}")]
    NotFound(&'static str),
    /// Anything else that the database says.
    #[error("the state file could not be used: {0}")]
    Database(String),
}

/// What the store returns.
pub type StoreResult<T> = Result<T, StoreError>;

/// Whether a calendar takes part in a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    /// It takes part.
    #[default]
    Active,
    /// It left the roster, or the allow list does not name it: nothing is read or written.
    Parked,
}

/// A problem that a calendar has in a sync, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A stable code.
    pub code: String,
    /// What happened and what to do, without personal data.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// How often in a row.
    pub times: u32,
    /// Not tried again before this.
    pub not_before: Option<Timestamp>,
}

/// A calendar in a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarState {
    /// Names it in the store.
    pub id: CalendarId,
    /// The calendar.
    pub calendar: CalendarRef,
    /// A person or a room.
    pub kind: CalendarKind,
    /// Whether it takes part.
    pub membership: Membership,
    /// Why it does not (`P-NotInPlanner`, `P-NonWhitelist`), and since when.
    pub left: Option<Left>,
    /// When the sink's content was last taken in.
    pub inventoried: Option<Timestamp>,
    /// When source and sink were last brought together without an error.
    pub succeeded: Option<Timestamp>,
    /// What went wrong last, unless it went well since.
    pub trouble: Option<Trouble>,
    /// When somebody else was last found to write our records.
    pub others: Option<Others>,
}

/// Somebody else made, changed or removed records of a sink that is ours alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Others {
    /// How many records.
    pub records: u64,
    /// When that was found.
    pub at: Timestamp,
}

/// Why and since when a calendar does not take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// A stable code.
    pub code: String,
    /// Since when; kept when it is found missing again.
    pub since: Timestamp,
}

/// A change of a sync's calendars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterChange {
    /// A calendar that the sync has not known. If another sync knows the same owner or address, its id is
    /// used again.
    Add {
        /// The calendar.
        calendar: CalendarRef,
        /// A person or a room.
        kind: CalendarKind,
        /// It is parked from the beginning.
        left: Option<Left>,
    },
    /// A known calendar is another one now.
    Set {
        /// Which.
        id: CalendarId,
        /// Owner and address as they are now.
        calendar: CalendarRef,
        /// A person or a room.
        kind: CalendarKind,
        /// Whether it takes part.
        membership: Membership,
        /// Why it does not.
        left: Option<Left>,
    },
}

/// What is known of a source's calendar.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceState {
    /// The newest round; none: it was never read.
    pub round: Option<Round>,
    /// Where the last feed ended.
    pub cursor: Option<Cursor>,
    /// What the cursor is bound to: connector version, fields. Another binding makes it void.
    pub binding: String,
    /// What of the time line is known completely.
    pub covered: Coverage,
    /// When a round last ended well.
    pub finished: Option<Timestamp>,
    /// When a round that listed the whole window last ended well.
    pub full: Option<Timestamp>,
    /// Something is there that could not be described: what the sink holds beyond what is known of the source
    /// may be just that.
    pub unreadable: bool,
    /// Since when the calendar is in the same folder; none: the source does not tell.
    pub folder_since: Option<Timestamp>,
}

/// One change of a source's views.
#[derive(Debug, Clone, PartialEq)]
pub enum ViewChange {
    /// An event as it is now. Known by its item and key it is replaced; otherwise it is new, with the next
    /// free ordinal of its key.
    Seen(Event),
    /// All events that came from the item are gone, unless they are seen later in the round.
    Gone(ItemRef),
    /// All events of the series inside `covered` that were not seen in this round up to here are gone.
    GroupGone {
        /// The series.
        group: String,
        /// The range.
        covered: Window,
    },
    /// Whatever came from the item or has the UID counts as seen.
    Kept {
        /// The item.
        item: Option<ItemRef>,
        /// The normalised iCalendar UID.
        uid: Option<String>,
    },
}

/// One page of a feed: one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePage {
    /// The connection that was read.
    pub connection: String,
    /// The calendar that was read.
    pub calendar: CalendarId,
    /// The round that reads it.
    pub round: Round,
    /// In the order in which they are to be taken.
    pub changes: Vec<ViewChange>,
    /// A cursor that is good once the page is stored.
    pub checkpoint: Option<Cursor>,
}

/// What a round has brought so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RoundChanges {
    /// Views that are gone: marked so in this round or in an earlier one that was broken off after its
    /// checkpoint, and not seen since; or not seen in this round though they overlap a range that was listed
    /// completely.
    pub vanished: Vec<SourceView>,
    /// If anything vanished, views that are new: they were new in this round, or in an earlier one that was broken off, and no sync
    /// has a row for them.
    pub appeared: Vec<SourceView>,
}

/// The end of a round that ended well: one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundEnd {
    /// The connection that was read.
    pub connection: String,
    /// The calendar that was read.
    pub calendar: CalendarId,
    /// The round.
    pub round: Round,
    /// Identity changes: the vanished view takes on what the appeared one holds.
    pub pairs: Vec<Pair>,
    /// Views that are gone for good.
    pub gone: Vec<ViewId>,
    /// What is known completely from now on.
    pub covered: Coverage,
    /// What the cursor is bound to.
    pub binding: String,
    /// A cursor that is good once the end is stored; kept back until now because the feed listed ranges
    /// completely, and what is missing there is only known at the end.
    pub checkpoint: Option<Cursor>,
    /// Whether the round listed the whole window.
    pub full: bool,
    /// Whether something could not be described. Remembered until a round that listed the whole window found
    /// nothing of the kind.
    pub unreadable: bool,
    /// Which folder was read ([`ChangeBatch::folder`](crate::connector::ChangeBatch::folder)).
    pub folder: Option<String>,
    /// When it ended.
    pub at: Timestamp,
}

/// The rows of one (sync, calendar), and the source's views that have none yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// The rows, by link id.
    pub rows: Vec<Row>,
    /// Views without a row.
    pub unlinked: Vec<SourceView>,
}

/// A row that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRow {
    /// What the sides are matched by.
    pub key: EventKey,
    /// Distinguishes live events with the same key.
    pub ordinal: u32,
    /// The series.
    pub group: Option<String>,
    /// The source view that it stands for.
    pub view: Option<ViewId>,
    /// The external id that was chosen for it, or what the sink lists.
    pub remote: Option<SideRef>,
    /// What the sink lists.
    pub sink: crate::engine::SinkView,
    /// [`Row::first_contact`].
    pub first_contact: bool,
}

/// A decision that is kept: the last 20 of each row.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRecord {
    /// The row.
    pub link: LinkId,
    /// When.
    pub at: Timestamp,
    /// What was desired.
    pub desired: crate::engine::project::Desired,
    /// What was decided and why.
    pub decision: Decision,
    /// What became of it, in one word (`done`, `rejected 6203`, `held`, ...); absent: not sent.
    pub outcome: Option<String>,
    /// The call that carried it: position in [`RowCommit::calls`], or a stored call's id when read back.
    pub call: Option<i64>,
    /// What it was made from.
    pub inputs: Option<Box<Inputs>>,
}

/// A remote call that is kept for support.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// The connection.
    pub connection: String,
    /// The receipt.
    pub receipt: Receipt,
}

/// Changes of rows: one transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowCommit {
    /// The sync.
    pub sync: String,
    /// The calendar; absent only for calls that concern no calendar.
    pub calendar: Option<CalendarId>,
    /// New rows.
    pub insert: Vec<NewRow>,
    /// Rows as they are now. The source view of a row is stored as its id alone.
    pub update: Vec<Row>,
    /// Decisions to keep.
    pub decisions: Vec<DecisionRecord>,
    /// Calls to keep.
    pub calls: Vec<CallRecord>,
    /// Units whose records were deleted, for the guard's memory of 24 hours.
    pub deleted_units: Vec<String>,
    /// Writes that are about to be sent.
    pub spent: Option<Spent>,
}

/// What happened to a calendar in a sync.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CalendarReport {
    /// The sink's content was taken in at this instant.
    pub inventoried: Option<Timestamp>,
    /// What the sink holds counts as never listed: somebody else writes it, so it is listed again before we do.
    pub forget_inventory: bool,
    /// Everything went well at this instant: trouble is over.
    pub succeeded: Option<Timestamp>,
    /// What went wrong.
    pub trouble: Option<Trouble>,
    /// Somebody else writes our records.
    pub others: Option<Others>,
}

/// Counts of one calendar in a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Events in the source's view.
    pub source: u64,
    /// Records on the sink.
    pub sink: u64,
    /// Rows whose write waits for another try.
    pub retrying: u64,
    /// Writes that were sent and whose fate is unknown.
    pub unknown: u64,
    /// Writes that were refused for good.
    pub dead: u64,
    /// Deletes that the guard holds.
    pub held: u64,
    /// Records that belong to the other system.
    pub foreign: u64,
}

/// How long what is kept. All in days, so that a retention is visible in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Rows of events that ended or went, after they ended or went.
    pub rows_days: u32,
    /// Calls and decisions.
    pub calls_days: u32,
    /// Everything of a calendar that left the roster.
    pub leavers_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            rows_days: 30,
            calls_days: 90,
            leavers_days: 180,
        }
    }
}

/// What was removed by [`Store::prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// Rows.
    pub rows: u64,
    /// Source views.
    pub views: u64,
    /// Calls.
    pub calls: u64,
    /// Calendars.
    pub calendars: u64,
}

/// What calbridge remembers. See the module's documentation.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes the lease. SQLite's never expires; the fence only tells runs apart.
    async fn acquire(&self, holder: &str, now: Timestamp) -> StoreResult<Fence>;

    /// Makes fingerprints with the store's key.
    fn prints(&self) -> Fingerprinter;

    /// The calendars of a sync, active and parked.
    async fn calendars(&self, sync: &str) -> StoreResult<Vec<CalendarState>>;

    /// Changes the calendars of a sync.
    async fn commit_roster(
        &self,
        fence: Fence,
        sync: &str,
        changes: &[RosterChange],
        now: Timestamp,
    ) -> StoreResult<()>;

    /// Notes what happened to a calendar in a sync.
    async fn report_calendar(
        &self,
        fence: Fence,
        sync: &str,
        calendar: CalendarId,
        report: CalendarReport,
    ) -> StoreResult<()>;

    /// What is known of a source's calendar.
    async fn source_state(
        &self,
        connection: &str,
        calendar: CalendarId,
    ) -> StoreResult<SourceState>;

    /// Begins a round: the next number.
    async fn begin_round(
        &self,
        fence: Fence,
        connection: &str,
        calendar: CalendarId,
    ) -> StoreResult<Round>;

    /// Stores one page of a feed.
    async fn commit_page(&self, fence: Fence, page: SourcePage) -> StoreResult<()>;

    /// What a round has brought, given the ranges that its feed listed completely.
    async fn round_changes(
        &self,
        connection: &str,
        calendar: CalendarId,
        round: Round,
        listed: &[Window],
    ) -> StoreResult<RoundChanges>;

    /// Ends a round that ended well.
    async fn finish_round(&self, fence: Fence, end: RoundEnd) -> StoreResult<()>;

    /// The rows of a (sync, calendar) and the views of `connection` that have none.
    async fn rows(&self, sync: &str, connection: &str, calendar: CalendarId) -> StoreResult<Rows>;

    /// Stores changes of rows; answers the ids of the new rows, in order.
    async fn commit_rows(&self, fence: Fence, commit: RowCommit) -> StoreResult<Vec<LinkId>>;

    /// Whether a plan that was made from `basis`, and from what is stored of a calendar, found nothing to do, and nothing
    /// of the calendar was written since.
    async fn is_settled(&self, sync: &str, calendar: CalendarId, basis: &str) -> StoreResult<bool>;

    /// Notes that such a plan found nothing to do, unless the source was read again after `round`, which the plan was
    /// made from. The caller must be the only one who changes rows of the calendar.
    async fn settle(
        &self,
        fence: Fence,
        sync: &str,
        connection: &str,
        calendar: CalendarId,
        round: Option<Round>,
        basis: &str,
    ) -> StoreResult<()>;

    /// The units of a calendar whose records were deleted since an instant.
    async fn deleted_units(
        &self,
        sync: &str,
        calendar: CalendarId,
        since: Timestamp,
    ) -> StoreResult<BTreeSet<String>>;

    /// The calendars of a sync that have deletes which are held for what the calendar itself looks like, whether they
    /// take part or not.
    async fn held_calendars(&self, sync: &str) -> StoreResult<BTreeSet<CalendarId>>;

    /// An operator approved, at `given`, the deletes of a calendar that were held then; answers how many. What was held
    /// later than `now` was held by a clock that was wrong, and counts as seen.
    async fn approve(
        &self,
        fence: Fence,
        sync: &str,
        calendar: CalendarId,
        given: Timestamp,
        now: Timestamp,
    ) -> StoreResult<u64>;

    /// How the connections answered last, by name. One that was never asked is missing.
    async fn connections(&self) -> StoreResult<Vec<ConnectionState>>;

    /// A connection answered: trouble of it as a whole is over.
    async fn connection_reached(
        &self,
        fence: Fence,
        connection: &str,
        at: Timestamp,
    ) -> StoreResult<()>;

    /// A connection cannot be used.
    async fn connection_in_trouble(
        &self,
        fence: Fence,
        connection: &str,
        trouble: &ConnectionTrouble,
    ) -> StoreResult<()>;

    /// How many writes were sent to a connection since the end of the hour of `since`.
    async fn spent(&self, connection: &str, since: Timestamp) -> StoreResult<u64>;

    /// The pauses in force, the oldest first.
    async fn pauses(&self) -> StoreResult<Vec<Pause>>;

    /// Pauses; answers whether it was not paused before. An operator's verb: it needs no lease.
    async fn pause(&self, scope: &PauseScope, now: Timestamp) -> StoreResult<bool>;

    /// Lifts a pause; answers whether there was one. An operator's verb: it needs no lease.
    async fn resume(&self, scope: &PauseScope) -> StoreResult<bool>;

    /// Leaves an order for whoever works with the store. An operator's verb: it needs no lease.
    async fn give_order(&self, order: &Order, now: Timestamp) -> StoreResult<OrderId>;

    /// The orders that wait, the oldest first.
    async fn orders(&self) -> StoreResult<Vec<WaitingOrder>>;

    /// Notes what became of an order.
    async fn answer_order(
        &self,
        fence: Fence,
        order: OrderId,
        answer: &OrderAnswer,
        now: Timestamp,
    ) -> StoreResult<()>;

    /// What became of an order; none while it waits.
    async fn order_answer(&self, order: OrderId) -> StoreResult<Option<OrderAnswer>>;

    /// Counts of one calendar.
    async fn counts(
        &self,
        sync: &str,
        connection: &str,
        calendar: CalendarId,
    ) -> StoreResult<Counts>;

    /// The kept decisions of a row, newest first.
    async fn decisions(&self, link: LinkId) -> StoreResult<Vec<DecisionRecord>>;

    /// The newest calls, at most `limit`.
    async fn calls(&self, limit: u32) -> StoreResult<Vec<CallRecord>>;

    /// Parks the calendars of syncs that are not among these: as leavers they are erased in time.
    async fn retire_syncs(
        &self,
        fence: Fence,
        configured: &[String],
        now: Timestamp,
    ) -> StoreResult<()>;

    /// Removes what retention says.
    async fn prune(
        &self,
        fence: Fence,
        retention: Retention,
        now: Timestamp,
    ) -> StoreResult<Pruned>;

    /// Writes a consistent copy while work goes on.
    async fn backup(&self, target: &std::path::Path) -> StoreResult<()>;
}
