//! What a calendar is in trouble with, and when it is tried again.

use jiff::{SignedDuration, Timestamp};

use super::outcome::{LONGEST_BELIEVED, growing};
use super::unit::PassError;
use crate::connector::{Error, ErrorKind, Scope};
use crate::store::Trouble;

/// The first wait after trouble of one calendar; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);
/// How long to wait when a budget is spent.
const BUDGET_WAIT: SignedDuration = SignedDuration::from_mins(30);
/// The longest wait.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// The trouble after `error`, where `before` was the trouble so far.
pub(super) fn trouble(error: &PassError, before: Option<&Trouble>, now: Timestamp) -> Trouble {
    let code = error.code();
    let before = before.filter(|before| before.code == code);
    let times = before.map_or(1, |before| before.times.saturating_add(1));
    let own = match error.connector_error() {
        // A mailbox that is not there, or not open to us, is looked for again, slowly.
        Some(error)
            if error.scope == Scope::Calendar
                && matches!(error.kind, ErrorKind::NotFound | ErrorKind::Permission) =>
        {
            LONGEST_WAIT
        }
        // Budgets are counted by the hour.
        _ if matches!(error, PassError::Budget { .. }) => BUDGET_WAIT,
        _ => growing(FIRST_WAIT, LONGEST_WAIT, times),
    };
    let wait = error
        .connector_error()
        .and_then(Error::wait)
        .and_then(|wait| SignedDuration::try_from(wait).ok())
        .unwrap_or(own)
        .min(LONGEST_BELIEVED);
    Trouble {
        code,
        message: error.to_string(),
        since: before.map_or(now, |before| before.since),
        times,
        not_before: now.checked_add(wait).ok(),
    }
}
