//! What stands in a cursor.

use calbridge_core::connector::{Cursor, Error, ErrorKind, Result, Scope};
use calbridge_core::model::Window;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far beyond the asked window a chain of changes reaches. The window rolls through it before a new chain is needed.
const SLACK: SignedDuration = SignedDuration::from_hours(24 * 31);
/// How long a mailbox whose changes never end is read by plain listings before its changes are asked for again.
const DISTRUST: SignedDuration = SignedDuration::from_hours(24);

/// A place in a calendar's changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    /// The range that the chain of changes is about.
    pub(crate) chain: Window,
    /// Where the next round begins, as Graph wrote it. Absent: changes cannot be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    /// Since when changes cannot be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distrusted: Option<Timestamp>,
    /// The calendar's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
}

impl Bookmark {
    /// The range of a new chain for a window.
    pub(crate) fn chain_for(window: Window) -> Window {
        let end = window.end().checked_add(SLACK).unwrap_or(window.end());
        Window::new(window.start(), end).unwrap_or(window)
    }

    /// Whether the chain tells of everything in the window, now.
    pub(crate) fn serves(&self, window: Window, now: Timestamp) -> bool {
        let covers = self.chain.start() <= window.start() && window.end() <= self.chain.end();
        let trusted = self
            .distrusted
            .is_none_or(|since| now.duration_since(since).abs() < DISTRUST);
        covers && trusted
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
                "graph.cursor",
                "the cursor cannot be written",
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn window(start: &str, end: &str) -> Window {
        Window::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_chain_serves_until_the_window_has_rolled_a_month() {
        let asked = window("2026-11-01T00:00:00Z", "2027-02-01T00:00:00Z");
        let mark = Bookmark {
            chain: Bookmark::chain_for(asked),
            link: Some("https://graph.example/v1.0/x?$deltatoken=a%2Fb".to_owned()),
            distrusted: None,
            folder: None,
        };
        let now = asked.start();
        assert!(mark.serves(asked, now));
        assert!(mark.serves(window("2026-11-20T00:00:00Z", "2027-02-20T00:00:00Z"), now));
        assert!(!mark.serves(window("2026-12-05T00:00:00Z", "2027-03-05T00:00:00Z"), now));
        assert!(!mark.serves(window("2026-10-31T00:00:00Z", "2027-02-01T00:00:00Z"), now));
        assert_eq!(Bookmark::read(&mark.cursor().unwrap()), Some(mark));
    }

    #[test]
    fn a_distrusted_chain_is_tried_again_after_a_day() {
        let asked = window("2026-11-01T00:00:00Z", "2027-02-01T00:00:00Z");
        let since: Timestamp = "2026-11-02T00:00:00Z".parse().unwrap();
        let mark = Bookmark {
            chain: asked,
            link: None,
            distrusted: Some(since),
            folder: None,
        };
        assert!(mark.serves(asked, since + SignedDuration::from_hours(1)));
        assert!(!mark.serves(asked, since + SignedDuration::from_hours(25)));
    }
}
