//! What is kept in step: calendars, events and their times.
//!
//! Instants are UTC ([`jiff::Timestamp`]); all-day events are dates in the event's own zone. Types that can
//! be impossible (an end before its start, an empty key) are built through functions that refuse them with
//! a [`ModelError`], and their `Deserialize` refuses them too.

mod calendar;
mod event;
mod fields;
mod key;
mod origin;
mod time;
mod window;
pub mod zone;

pub use calendar::{Address, CalendarEntry, CalendarKind, CalendarRef, OwnerId};
pub use event::{Content, Event, GroupRef, ItemRef, ShowAs, SideRef};
pub use fields::{Field, FieldSet};
pub use key::{EventKey, OriginalStart};
pub use origin::Origin;
pub use time::{EventTime, WallSpan};
pub use window::{Coverage, Window};

/// Why a value cannot exist. Carries no personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An event or window ends before it starts.
    #[error("the end lies before the start")]
    EndBeforeStart,
    /// An event key without an iCalendar UID.
    #[error("the event has no iCalendar UID")]
    EmptyUid,
    /// An item, group or side reference without an id.
    #[error("the reference has no id")]
    EmptyId,
    /// A calendar owner without an id.
    #[error("the calendar owner has no id")]
    EmptyOwner,
    /// A text that is no mark of ours.
    #[error("the mark was not left by calbridge")]
    BadOrigin,
    /// Not an SMTP address: a local part, one `@` and a domain are needed.
    #[error("not an SMTP address")]
    BadAddress,
    /// A time that lies outside the years that can be represented.
    #[error("the time lies outside the representable range")]
    TimeOutOfRange,
}
