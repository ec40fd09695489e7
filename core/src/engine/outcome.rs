//! Takes in what became of writes.

use jiff::{SignedDuration, Timestamp};

use super::decide::{DecideContext, Intent, print, subject};
use super::{Agreed, Attempt, DeadLetter, OnSink, Prints, Retry, Row};
use crate::connector::{AttemptToken, Op, Outcome, SideState};
use crate::model::Content;

/// After how many refusals that are not final a write becomes a dead letter.
pub const MAX_TRIES: u32 = 12;

/// The first wait after a refusal that is not final; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// The longest wait between two tries.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(6);

/// The row while a write of it is under way: committed before the write is sent, so that a crash is remembered.
#[must_use]
pub fn begin(
    mut row: Row,
    intent: &Intent,
    token: AttemptToken,
    context: &DecideContext<'_>,
) -> Row {
    if let Some(op) = intent.op() {
        row.attempt = Some(Attempt {
            token,
            op,
            target: intent.content().map(|content| print(content, context)),
            at: context.now,
            before: row.sink.state,
        });
        row.sink.state = OnSink::Unknown;
        if row.sink.content.is_none() {
            // Should it turn out to be there, a delete needs to know what was sent.
            row.sink.content = intent.content().cloned();
        }
    }
    row
}

/// The row after its write was answered. `before` is the row that was planned with, `begun` what [`begin`] made
/// of it.
///
/// `outage`: the call failed as a whole, so the row itself is not to blame. It is tried again without its
/// tries being counted; how long to wait is the connection's matter.
#[must_use]
pub fn settle(
    before: &Row,
    begun: Row,
    intent: &Intent,
    outcome: &Outcome,
    outage: bool,
    context: &DecideContext<'_>,
) -> Row {
    let Some(op) = intent.op() else {
        return before.clone();
    };
    let now = context.now;
    let desired = subject(before, intent, context);
    match outcome {
        // Not answered yet, or nobody knows: the attempt stays, and with it what was attempted.
        Outcome::Accepted { .. } | Outcome::Unknown => {
            let mut row = begun;
            if !outage {
                let tries = again(&mut row, "unknown", None, desired.clone(), now);
                if tries >= MAX_TRIES {
                    let message = format!(
                        "sent {tries} times and never answered while other writes were; ask the other system's support with the reference ids of the calls"
                    );
                    bury(&mut row, op, "unknown", &message, desired, context);
                }
            }
            row
        }
        Outcome::Done { stored, remote } => {
            let mut row = before.clone();
            done(&mut row, op, intent, now);
            if op != Op::Delete {
                if let Some(remote) = remote {
                    row.sink.remote = Some(remote.clone());
                }
                agree(&mut row, intent, stored.as_ref(), context);
            }
            row
        }
        Outcome::Unchanged => {
            let mut row = before.clone();
            done(&mut row, op, intent, now);
            agree(&mut row, intent, None, context);
            row
        }
        Outcome::Foreign => {
            let mut row = before.clone();
            row.sink.foreign = true;
            row.attempt = None;
            row.retry = None;
            row.dead = None;
            row
        }
        Outcome::Rejected { code, message } => {
            let mut row = before.clone();
            bury(&mut row, op, code, message, desired, context);
            row
        }
        Outcome::Conflict { theirs } => {
            let mut row = before.clone();
            take_theirs(&mut row, theirs, intent, context);
            row.attempt = None;
            conflict(&mut row, op, desired, context);
            row
        }
        Outcome::Retry { .. } if outage => before.clone(),
        Outcome::Retry { after_ms, code } => {
            let mut row = before.clone();
            let code = code.as_deref().unwrap_or("retry");
            let tries = again(&mut row, code, *after_ms, desired.clone(), now);
            if tries >= MAX_TRIES {
                let message = format!(
                    "still not accepted after {tries} tries; send it again once the cause is found"
                );
                bury(&mut row, op, code, &message, desired, context);
            }
            row
        }
    }
}

/// Forgets the waits of a write that is about something else by now.
#[must_use]
pub fn renew(mut row: Row, intent: &Intent, context: &DecideContext<'_>) -> Row {
    let desired = subject(&row, intent, context);
    if row
        .retry
        .as_ref()
        .is_some_and(|retry| retry.desired != desired)
    {
        row.retry = None;
    }
    row
}

/// The row after an adoption: nothing was written.
#[must_use]
pub fn adopt(mut row: Row, intent: &Intent, context: &DecideContext<'_>) -> Row {
    if let (Intent::Adopt { content }, Some(held)) = (intent, &row.sink.content) {
        row.agreed = Some(Agreed {
            source: print(content, context),
            sink: print(held, context),
        });
        row.attempt = None;
        row.dead = None;
        row.retry = None;
    }
    row
}

fn take_theirs(row: &mut Row, theirs: &SideState, intent: &Intent, context: &DecideContext<'_>) {
    match theirs {
        SideState::Absent => {
            row.sink.state = OnSink::Absent;
            row.sink.content = None;
            // What is known to have been there is created again whatever its start.
            if row.agreed.is_none() {
                agree(row, intent, None, context);
            }
        }
        SideState::Present { remote, content } => {
            row.sink.state = OnSink::Present;
            row.sink.remote = Some(remote.clone());
            row.sink.content.clone_from(content);
            row.agreed = None;
        }
    }
}

fn agree(row: &mut Row, intent: &Intent, stored: Option<&Content>, context: &DecideContext<'_>) {
    if let Some(content) = intent.content() {
        let stored = stored.unwrap_or(content);
        row.agreed = Some(Agreed {
            source: print(content, context),
            sink: print(stored, context),
        });
        if row.sink.state == OnSink::Present {
            row.sink.content = Some(stored.clone());
        }
    }
}

fn done(row: &mut Row, op: Op, intent: &Intent, now: Timestamp) {
    row.attempt = None;
    row.retry = None;
    row.dead = None;
    row.held_since = None;
    row.approved = None;
    row.sink.acknowledged = Some(now);
    if op == Op::Delete {
        row.sink.state = OnSink::Absent;
        row.sink.content = None;
    } else {
        row.sink.state = OnSink::Present;
        row.sink.content = intent.content().cloned();
    }
}

fn bury(
    row: &mut Row,
    op: Op,
    code: &str,
    message: &str,
    desired: Option<Prints>,
    context: &DecideContext<'_>,
) {
    row.retry = None;
    row.dead = Some(DeadLetter {
        code: code.to_owned(),
        message: message.to_owned(),
        op,
        at: context.now,
        desired,
        basis: context.basis.to_owned(),
    });
}

/// A first conflict is planned anew at once; when it comes back, with growing waits.
fn conflict(row: &mut Row, op: Op, desired: Option<Prints>, context: &DecideContext<'_>) {
    let before = row.retry.as_ref();
    if before.is_none_or(|retry| retry.code != "conflict") {
        row.retry = Some(Retry {
            tries: before.map_or(0, |retry| retry.tries) + 1,
            not_before: context.now,
            code: "conflict".to_owned(),
            desired,
        });
    } else if again(row, "conflict", None, desired.clone(), context.now) >= MAX_TRIES {
        let message =
            "the other side keeps answering that it holds something else; look at the record there";
        bury(row, op, "conflict", message, desired, context);
    }
}

fn again(
    row: &mut Row,
    code: &str,
    after_ms: Option<u64>,
    desired: Option<Prints>,
    now: Timestamp,
) -> u32 {
    let before = row.retry.as_ref().filter(|retry| retry.desired == desired);
    let tries = before.map_or(0, |retry| retry.tries) + 1;
    let wait = after_ms.and_then(|ms| i64::try_from(ms).ok()).map_or_else(
        || growing(FIRST_WAIT, LONGEST_WAIT, tries),
        SignedDuration::from_millis,
    );
    row.retry = Some(Retry {
        tries,
        not_before: now.checked_add(wait).unwrap_or(Timestamp::MAX),
        code: code.to_owned(),
        desired,
    });
    tries
}

/// The wait before the next try: `first`, doubled with each try, at most `longest`.
#[must_use]
pub(super) fn growing(
    first: SignedDuration,
    longest: SignedDuration,
    tries: u32,
) -> SignedDuration {
    first
        .checked_mul(1_i32 << tries.saturating_sub(1).min(20))
        .unwrap_or(longest)
        .min(longest)
}
