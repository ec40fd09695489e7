//! Takes in what became of writes.

use jiff::{SignedDuration, Timestamp};

use super::decide::{DecideContext, Intent, print, subject};
use super::{Agreed, Attempt, DeadLetter, OnSink, Prints, Retry, Row};
use crate::connector::{AttemptToken, Op, Outcome, Probe, SideState};
use crate::model::Content;

/// After how many refusals that are not final a write becomes a dead letter.
pub const MAX_TRIES: u32 = 12;

/// The first wait after a refusal that is not final; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// The longest wait that is ever kept: a later time was reckoned by a clock that was wrong.
pub(super) const LONGEST_BELIEVED: SignedDuration = SignedDuration::from_hours(48);

/// Whether a wait that ends at `until` still lasts.
#[must_use]
pub fn waits(until: Timestamp, now: Timestamp) -> bool {
    until > now && until.duration_since(now) <= LONGEST_BELIEVED
}

/// The longest wait between two tries.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(6);

/// The row while a write of it is under way: committed before the write is sent, so that a crash is remembered.
/// The same attempt, repeated, keeps its name; any other is named by `fresh`.
#[must_use]
pub fn begin(
    mut row: Row,
    intent: &Intent,
    fresh: AttemptToken,
    context: &DecideContext<'_>,
) -> Row {
    if let Some(op) = intent.op() {
        let target = intent_prints(intent, context);
        let token = match row.attempt.take() {
            Some(attempt) if attempt.op == op && attempt.target == target => attempt.token,
            _ => fresh,
        };
        row.attempt = Some(Attempt {
            token,
            op,
            target,
            at: context.now,
            before: row.sink.state,
            ticket: None,
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
        // Nobody knows: the attempt stays, and with it what was attempted.
        Outcome::Unknown => {
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
        // Not answered yet: what was sent is asked after, and not sent again meanwhile.
        Outcome::Accepted { ticket } => {
            let mut row = begun;
            if let Some(attempt) = &mut row.attempt {
                attempt.ticket = Some(ticket.clone());
            }
            if again(&mut row, "accepted", None, desired, now) >= MAX_TRIES {
                unconfirmed(&mut row, intent_prints(intent, context), context);
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

/// The row after it was asked in vain what became of its write. `wanted`: of what the record shall hold now.
#[must_use]
pub fn not_told(mut row: Row, wanted: Option<Prints>, context: &DecideContext<'_>) -> Row {
    let tried = row.retry.as_ref();
    let desired = tried.and_then(|retry| retry.desired.clone());
    let code = tried.map_or_else(|| "unknown".to_owned(), |retry| retry.code.clone());
    if again(&mut row, &code, None, desired, context.now) >= MAX_TRIES {
        unconfirmed(&mut row, wanted, context);
    }
    row
}

/// The row after an operator asked for its write once more; none: there is nothing to ask for. `upsert`: the sink
/// takes a record twice without making two. `named`: the operator meant this very event.
#[must_use]
pub fn resend(mut row: Row, upsert: bool, named: bool) -> Option<Row> {
    let mut asked = row.dead.take().is_some() | row.retry.take().is_some();
    if named && row.sink.foreign {
        row.sink.foreign = false;
        asked = true;
    }
    // What it is said to hold is no longer believed; repeating the write is the probe.
    if upsert && row.source.is_some() && row.sink.state == OnSink::Present && !row.sink.foreign {
        row.sink.state = OnSink::Unknown;
        row.attempt = None;
        asked = true;
    }
    asked.then_some(row)
}

/// The row after it was told what became of its write.
#[must_use]
pub fn told(mut row: Row, probe: &Probe, now: Timestamp) -> Row {
    let op = row.attempt.as_ref().map(|attempt| attempt.op);
    match (probe, op) {
        (Probe::Found { .. }, Some(Op::Delete)) | (Probe::Absent, Some(Op::Create) | None) => {
            found_absent(&mut row, now);
        }
        (Probe::Found { remote, content }, _) => {
            row.sink.state = OnSink::Present;
            row.sink.remote = Some(remote.clone());
            if content.is_some() {
                row.sink.content.clone_from(content);
            }
        }
        // What was there before is there still.
        (Probe::Absent, Some(Op::Update | Op::Delete)) => {
            row.sink.state = OnSink::Present;
            row.attempt = None;
        }
        (Probe::Undecidable, _) => {}
    }
    row
}

/// The sink is known not to hold the record (any more). Unless that is what was attempted, the attempt is kept:
/// repeated, it keeps its name.
pub(super) fn found_absent(row: &mut Row, now: Timestamp) {
    row.sink.state = OnSink::Absent;
    if row
        .attempt
        .as_ref()
        .is_some_and(|attempt| attempt.op == Op::Delete)
    {
        row.attempt = None;
        row.retry = None;
        row.dead = None;
        row.held_since = None;
        row.held_by_stop = false;
        row.approved = None;
        row.sink.content = None;
        row.sink.acknowledged = Some(now);
    }
}

/// Nobody could tell what became of a write, however often it was asked.
fn unconfirmed(row: &mut Row, wanted: Option<Prints>, context: &DecideContext<'_>) {
    let Some(op) = row.attempt.as_ref().map(|attempt| attempt.op) else {
        return;
    };
    let message = format!(
        "sent, and not confirmed however often it was asked after ({MAX_TRIES} times); look at the record there, and ask the other system's support with the reference ids of the calls"
    );
    bury(row, op, "unconfirmed", &message, wanted, context);
}

fn intent_prints(intent: &Intent, context: &DecideContext<'_>) -> Option<Prints> {
    intent.content().map(|content| print(content, context))
}

/// Forgets the waits of a write that is about something else by now.
#[must_use]
pub fn renew(mut row: Row, intent: &Intent, context: &DecideContext<'_>) -> Row {
    if *intent == Intent::Probe {
        return row;
    }
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
        if row.attempt.is_some() {
            row.sink.acknowledged = Some(context.now);
        }
        row.attempt = None;
        row.dead = None;
        row.retry = None;
    }
    row
}

fn take_theirs(row: &mut Row, theirs: &SideState, intent: &Intent, context: &DecideContext<'_>) {
    // Who answers a write knows more than a listing that may be late.
    row.sink.acknowledged = Some(context.now);
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
    let wait = after_ms
        .and_then(|ms| i64::try_from(ms).ok())
        .map_or_else(
            || growing(FIRST_WAIT, LONGEST_WAIT, tries),
            SignedDuration::from_millis,
        )
        .min(LONGEST_BELIEVED);
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
