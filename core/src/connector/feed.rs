//! What sources and sinks report, pulled in batches.

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, Result, wire};
use crate::model::{
    CalendarRef, Content, Coverage, Event, EventKey, FieldSet, GroupRef, ItemRef, Origin, SideRef,
    Window,
};

/// A source's opaque bookmark. The core stores it with the window, the fields and the connector's version,
/// and gives it back only while those are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// What is asked of [`CalendarSource::changes`](super::CalendarSource::changes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangesRequest {
    /// Whose calendar.
    pub calendar: CalendarRef,
    /// Where the last feed ended; absent: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// What is kept in step. Events that overlap it are wanted.
    pub window: Window,
    /// What of the window the core knows completely. The rest must be read whatever the cursor says: an
    /// unchanged endless series never shows up by itself when the window rolls.
    #[serde(default)]
    pub covered: Coverage,
    /// No more than these fields may be asked for and reported.
    pub fields: FieldSet,
    /// Read everything in the window again, even if the cursor shows no change: reconciliation.
    #[serde(default)]
    pub full: bool,
    /// The present instant.
    #[schemars(with = "String")]
    pub now: Timestamp,
}

/// One thing that a source knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// An event as it is now. Known ones are replaced.
    Item(Event),
    /// An item is gone. Uncertain: the core fetches it before it believes it. All events that came from this
    /// item (all occurrences of a master) are meant.
    Removed {
        /// The item.
        item: ItemRef,
        /// Whether it is certain.
        certain: bool,
    },
    /// All members of a series inside `covered`. Known members that are absent there are gone.
    Group {
        /// The series.
        group: GroupRef,
        /// Its occurrences.
        members: Vec<Event>,
        /// The range that was expanded completely.
        covered: Window,
    },
    /// Everything that overlaps `covered` has been reported in this feed. Known events there that were not
    /// seen are gone once the feed ends well.
    Snapshot {
        /// The range that was listed completely.
        covered: Window,
    },
    /// Something is there that cannot be described. What is known of it is kept: it is not gone.
    Unreadable {
        /// The item, where it can be named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<ItemRef>,
        /// The iCalendar UID, where it is known: all events with it are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<String>,
        /// Why.
        error: Error,
    },
}

/// A part of a feed. It is stored as one transaction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChangeBatch {
    /// In the order in which they are to be taken.
    #[serde(default, deserialize_with = "wire::changes")]
    pub changes: Vec<Change>,
    /// A cursor that is good once this batch is stored. Absent: not a place to resume at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Cursor>,
    /// Which folder (or database, or account) the source read: another value means that somebody put another calendar
    /// in this one's place. Absent: the source cannot tell. The last one of a feed counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// Changes of one calendar.
#[async_trait]
pub trait ChangeFeed: Send {
    /// The next batch of at most `max` changes; `None` when the feed ended well. After an error or a
    /// cancelled call the feed is dropped and opened again at the last stored cursor.
    ///
    /// # Errors
    /// A listing that fails never deletes anything.
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>>;
}

/// A hint about a calendar. Never data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Hint {
    /// Something changed.
    Dirty(CalendarRef),
    /// Hints may have been lost: look at the calendar.
    Gap(CalendarRef),
    /// The calendar cannot be watched; poll it.
    Unwatchable(CalendarRef, Error),
}

/// Hints, as they come.
#[async_trait]
pub trait HintFeed: Send {
    /// Waits for hints. An empty answer is a sign of life. When the program stops
    /// ([`Context::shutdown`](super::Context)), the feed has two seconds to give back what the system keeps for it,
    /// and to end.
    ///
    /// # Errors
    /// The watch ended; open it again.
    async fn next(&mut self) -> Result<Vec<Hint>>;

    /// Changes the watched calendars.
    ///
    /// # Errors
    /// As [`CalendarSource::watch`](super::CalendarSource::watch).
    async fn set(&mut self, calendars: &[CalendarRef]) -> Result<()>;
}

/// What is asked of [`CalendarSink::inventory`](super::CalendarSink::inventory).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryRequest {
    /// Whose calendars.
    pub calendars: Vec<CalendarRef>,
    /// Which range.
    pub window: Window,
    /// The present instant.
    #[schemars(with = "String")]
    pub now: Timestamp,
}

/// One record that a sink holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryEntry {
    /// The calendar it belongs to: one of those asked for.
    pub calendar: CalendarRef,
    /// The sink's address of it.
    pub remote: SideRef,
    /// What it holds, as far as the sink tells. Absent: it is there, and cannot be described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Its event key, where the sink keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<EventKey>,
    /// The mark that we left on it, where the sink keeps marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A part of an inventory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InventoryPage {
    /// Records.
    #[serde(default)]
    pub entries: Vec<InventoryEntry>,
    /// Calendars that are listed completely with this page (and those before it): absence counts from here.
    #[serde(default)]
    pub complete: Vec<CalendarRef>,
    /// Calendars that could not be listed. Nothing may be concluded for them.
    #[serde(default)]
    pub failed: Vec<(CalendarRef, Error)>,
}

/// What a sink holds, in parts.
#[async_trait]
pub trait InventoryFeed: Send {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// Only if nothing more can be listed at all; one calendar's failure is told in
    /// [`InventoryPage::failed`].
    async fn next(&mut self) -> Result<Option<InventoryPage>>;
}
