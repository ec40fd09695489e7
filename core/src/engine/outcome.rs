//! Takes in what became of writes.

use jiff::{SignedDuration, Timestamp};

use super::decide::{DecideContext, Intent, print};
use super::{Agreed, Attempt, DeadLetter, OnSink, Retry, Row};
use crate::connector::{AttemptToken, Op, Outcome, SideState};

/// After how many refusals that are not final a write becomes a dead letter.
pub const MAX_TRIES: u32 = 12;

/// The first wait after a refusal that is not final; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// The longest wait between two tries.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(6);

/// The row while a write of it is under way: committed before the write is sent.
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
        });
    }
    row
}

/// The row after its write was answered.
///
/// `outage`: the call failed as a whole, so the row itself is not to blame. It is tried again without its
/// tries being counted; how long to wait is the connection's matter.
#[must_use]
pub fn settle(
    mut row: Row,
    intent: &Intent,
    outcome: &Outcome,
    outage: bool,
    context: &DecideContext<'_>,
) -> Row {
    let Some(op) = intent.op() else {
        return row;
    };
    let now = context.now;
    match outcome {
        Outcome::Done { remote, stored } => {
            done(&mut row, op, intent, now);
            if op != Op::Delete {
                if let Some(remote) = remote {
                    row.sink.remote = Some(remote.clone());
                }
                if let (Some(stored), Some(content)) = (stored, intent.content()) {
                    row.sink.content = Some(stored.clone());
                    row.agreed = Some(Agreed {
                        source: print(content, context),
                        sink: print(stored, context),
                    });
                } else if let Some(content) = intent.content() {
                    row.agreed = Some(Agreed {
                        source: print(content, context),
                        sink: print(content, context),
                    });
                }
            }
        }
        Outcome::Unchanged => {
            done(&mut row, op, intent, now);
            if let Some(content) = intent.content() {
                row.agreed = Some(Agreed {
                    source: print(content, context),
                    sink: print(content, context),
                });
            }
        }
        // Not answered yet, or nobody knows: the attempt stays, and with it what was attempted.
        Outcome::Accepted { .. } | Outcome::Unknown => {
            row.sink.state = OnSink::Unknown;
            if !outage {
                again(&mut row, "unknown", None, now);
            }
        }
        Outcome::Foreign => {
            row.sink.foreign = true;
            row.attempt = None;
            row.retry = None;
            row.dead = None;
        }
        Outcome::Rejected { code, message } => {
            bury(&mut row, op, code, message, intent, context);
        }
        Outcome::Conflict { theirs } => {
            match theirs {
                SideState::Absent => {
                    row.sink.state = OnSink::Absent;
                    row.sink.content = None;
                    // What is known to have been there is created again whatever its start.
                    if row.agreed.is_none() {
                        row.agreed = intent.content().map(|content| Agreed {
                            source: print(content, context),
                            sink: print(content, context),
                        });
                    }
                }
                SideState::Present { remote, content } => {
                    row.sink.state = OnSink::Present;
                    row.sink.remote = Some(remote.clone());
                    row.sink.content = content.clone();
                    row.agreed = None;
                }
            }
            row.attempt = None;
            conflict(&mut row, op, intent, context);
        }
        Outcome::Retry { .. } if outage => row.attempt = None,
        Outcome::Retry { after_ms, code } => {
            row.attempt = None;
            let code = code.as_deref().unwrap_or("retry");
            let tries = again(&mut row, code, *after_ms, now);
            if tries >= MAX_TRIES {
                let message = format!(
                    "still not accepted after {tries} tries; send it again once the cause is found"
                );
                bury(&mut row, op, code, &message, intent, context);
            }
        }
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
    intent: &Intent,
    context: &DecideContext<'_>,
) {
    row.attempt = None;
    row.retry = None;
    row.dead = Some(DeadLetter {
        code: code.to_owned(),
        message: message.to_owned(),
        op,
        at: context.now,
        desired: intent.content().map(|content| print(content, context)),
        basis: context.basis.to_owned(),
    });
}

/// A first conflict is planned anew at once; when it comes back, with growing waits.
fn conflict(row: &mut Row, op: Op, intent: &Intent, context: &DecideContext<'_>) {
    let before = row.retry.as_ref();
    if before.is_none_or(|retry| retry.code != "conflict") {
        row.retry = Some(Retry {
            tries: before.map_or(0, |retry| retry.tries) + 1,
            not_before: context.now,
            code: "conflict".to_owned(),
        });
    } else if again(row, "conflict", None, context.now) >= MAX_TRIES {
        let message =
            "the other side keeps answering that it holds something else; look at the record there";
        bury(row, op, "conflict", message, intent, context);
    }
}

fn again(row: &mut Row, code: &str, after_ms: Option<u64>, now: Timestamp) -> u32 {
    let tries = row.retry.as_ref().map_or(0, |retry| retry.tries) + 1;
    let grown = FIRST_WAIT
        .checked_mul(1_i32.checked_shl(tries - 1).unwrap_or(i32::MAX).max(1))
        .unwrap_or(LONGEST_WAIT)
        .min(LONGEST_WAIT);
    let wait = after_ms
        .and_then(|ms| i64::try_from(ms).ok())
        .map_or(grown, SignedDuration::from_millis);
    row.retry = Some(Retry {
        tries,
        not_before: now.checked_add(wait).unwrap_or(Timestamp::MAX),
        code: code.to_owned(),
    });
    tries
}
