//! What stands in a cursor.

use calbridge_core::connector::{Cursor, Error, ErrorKind, Result, Scope};
use calbridge_core::model::Coverage;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::source::Expands;

/// The first wait for an item that could not be read for the moment; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// The longest such wait. Some items fail for good and call it a passing trouble.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// The window is to be read again for an item that could not be read for the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retry {
    /// Not before.
    at: Timestamp,
    /// How often it was in vain.
    times: u32,
}

/// A place in a calendar's feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    /// The folder's id; it stays while the folder lives.
    pub(crate) folder: String,
    /// SyncFolderItems' state. Empty: from the beginning.
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) expands: Expands,
    /// Whether the folder ever showed a series.
    #[serde(default)]
    pub(crate) series: bool,
    /// The fingerprint of the masters; kept where changed exceptions do not show otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) masters: Option<String>,
    /// Whether the window is to be read though nothing changes any more: something changed before this place,
    /// or the last time nothing could be concluded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) again: bool,
    /// What was read and holds something that cannot be named, so that nothing is concluded from what is
    /// missing there. It is not read again until something changes.
    #[serde(default, skip_serializing_if = "Coverage::is_empty")]
    pub(crate) unsure: Coverage,
    /// Some item was there and could not be read for the moment. Nothing tells when it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Retry>,
    /// Where the mailbox was found by autodiscover, for a start at which nobody tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

impl Bookmark {
    /// The beginning of a folder.
    pub(crate) fn beginning(folder: String) -> Self {
        Self {
            folder,
            state: String::new(),
            expands: Expands::Unknown,
            series: false,
            masters: None,
            again: true,
            unsure: Coverage::none(),
            retry: None,
            place: None,
        }
    }

    /// Whether it is time to read the window again for an item that could not be read.
    pub(crate) fn owes_a_retry(&self, now: Timestamp) -> bool {
        self.retry.is_some_and(|retry| {
            // Our clock may have gone back.
            retry.at <= now || retry.at.duration_since(now) > LONGEST_WAIT
        })
    }

    /// Notes whether all items could be read that were to be. `whole`: those of the whole window.
    pub(crate) fn note_retry(&mut self, failed: bool, whole: bool, now: Timestamp) {
        if failed {
            let times = self.retry.map_or(0, |retry| retry.times);
            let factor = 1 << times.min(16);
            let wait = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
            self.retry = Some(Retry {
                at: now.checked_add(wait).unwrap_or(now),
                times: times.saturating_add(1),
            });
        } else if whole {
            self.retry = None;
        }
    }

    /// `None` for a cursor that cannot be read: it is of another version.
    pub(crate) fn read(cursor: &Cursor) -> Option<Self> {
        serde_json::from_str(&cursor.0).ok()
    }

    pub(crate) fn cursor(&self) -> Result<Cursor> {
        serde_json::to_string(self).map(Cursor).map_err(|_| {
            Error::new(
                ErrorKind::Protocol,
                Scope::Calendar,
                "ews.cursor",
                "the cursor cannot be written",
            )
        })
    }

    /// Whether changed exceptions may leave no trace in SyncFolderItems: not where the server is known to
    /// expand, or has nothing to expand.
    pub(crate) fn hides_changes(&self) -> bool {
        match self.expands {
            Expands::Yes => false,
            Expands::No => true,
            Expands::Unknown => self.series,
        }
    }
}
