//! One row and what is desired of it, to an intent: the one place with the rules of who wins.
//!
//! One way, in the order in which the rules are asked:
//!
//! | # | the row | desired | intent |
//! |---|---|---|---|
//! | 1 | the sink says the record is the other system's | any | nothing |
//! | 2 | refused for good, for just this | any | nothing |
//! | 3 | a write was sent and its fate is unknown, and it cannot be repeated safely | any | probe, or stop |
//! | 3a | the sink took the write and answers later, and it is still what is wanted | any | probe |
//! | 4 | record on the sink that ended before the window | absent, past | nothing |
//! | 5 | record on the sink | absent | delete |
//! | 5a | an update was sent in time and its fate is unknown | past, as it was sent | repeat it |
//! | 6 | record on the sink, source moved to the past since it was agreed | past | delete |
//! | 7 | record on the sink, agreed | past, unchanged | nothing |
//! | 8 | record on the sink, source as agreed, sink as agreed | present | nothing |
//! | 9 | record on the sink, source changed | present | update, or adopt if the sink holds just that |
//! | 10 | record on the sink, sink changed by a minute or more | present | put back |
//! | 11 | record on the sink, nothing agreed, same content | present, past | adopt |
//! | 12 | record on the sink, nothing agreed, other or unknown content | present | update |
//! | 13 | no record, never known, starts early enough | present | create |
//! | 14 | no record, known before | present | create |
//! | 15 | no record | absent, past, or not to be sent any more | nothing |

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::project::{Absence, Desired};
use super::{Fingerprinter, OnSink, Prints, Row};
use crate::connector::Op;
use crate::model::{Content, Field};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// What the planner knows besides the row.
#[derive(Debug, Clone)]
pub struct DecideContext<'a> {
    /// Makes fingerprints.
    pub prints: &'a Fingerprinter,
    /// The zone whose wall clock the sink keeps, if it does.
    pub wall_clock: Option<&'a TimeZone>,
    /// Where days begin.
    pub zone: &'a TimeZone,
    /// The first day that is kept in step.
    pub first_day: Date,
    /// Changes when rules or the sink's connector change; dead letters are bound to it.
    pub basis: &'a str,
    /// Writing twice with the same external id never makes two records.
    pub idempotent_upsert: bool,
    /// The sink can tell what became of an attempt.
    pub probe: bool,
    /// The present instant.
    pub now: Timestamp,
}

/// What shall be done about a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// Nothing.
    Nothing,
    /// Make a record.
    Create {
        /// What it shall hold.
        content: Content,
    },
    /// Bring the record to what the source holds now.
    Update {
        /// What it shall hold.
        content: Content,
    },
    /// Bring the record back: the sink changed it.
    PutBack {
        /// What it shall hold.
        content: Content,
    },
    /// Remove the record.
    Delete,
    /// Take note that both sides hold the same; no write.
    Adopt {
        /// What both hold.
        content: Content,
    },
    /// Ask what became of the attempt.
    Probe,
    /// Wait for an operator: nobody can tell what became of the attempt.
    Stop,
}

impl Intent {
    /// The write that it comes to, if any.
    #[must_use]
    pub fn op(&self) -> Option<Op> {
        match self {
            Self::Create { .. } => Some(Op::Create),
            Self::Update { .. } | Self::PutBack { .. } => Some(Op::Update),
            Self::Delete => Some(Op::Delete),
            Self::Nothing | Self::Adopt { .. } | Self::Probe | Self::Stop => None,
        }
    }

    /// What the record shall hold afterwards.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Create { content }
            | Self::Update { content }
            | Self::PutBack { content }
            | Self::Adopt { content } => Some(content),
            Self::Nothing | Self::Delete | Self::Probe | Self::Stop => None,
        }
    }
}

/// Why: the rule that applied. `explain` puts it into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The record belongs to the other system.
    Foreign,
    /// It was refused for good, and nothing has changed since.
    Refused,
    /// A write's fate is unknown.
    FateUnknown,
    /// The sink shall hold nothing.
    Absent(Absence),
    /// It was moved into the past.
    MovedToPast,
    /// It lies in the past.
    Past,
    /// Both sides are as agreed.
    InStep,
    /// The source changed.
    SourceChanged,
    /// The sink changed.
    SinkChanged,
    /// The record was there before us and holds the same.
    Same,
    /// The record was there before us and holds something else.
    Different,
    /// The event is new to the sink.
    New,
    /// The sink lost the record.
    Lost,
    /// It started too early to be sent for the first time.
    TooEarly,
    /// The record may be what the source could not describe.
    SourceUnclear,
    /// Our clock cannot be believed just now.
    ClockUnclear,
}

/// An intent and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What shall be done.
    pub intent: Intent,
    /// Why.
    pub reason: Reason,
}

fn decision(intent: Intent, reason: Reason) -> Decision {
    Decision { intent, reason }
}

/// Decides about a row.
#[must_use]
pub fn decide(row: &Row, desired: &Desired, context: &DecideContext<'_>) -> Decision {
    if row.sink.foreign {
        return decision(Intent::Nothing, Reason::Foreign);
    }
    let decided = decide_open(row, desired, context);
    if is_refused(row, desired, &decided.intent, context) {
        return decision(Intent::Nothing, Reason::Refused);
    }
    decided
}

/// The fingerprints of what a write is about: what the record shall hold, or what the record that shall go is
/// known to hold.
#[must_use]
pub fn subject(row: &Row, intent: &Intent, context: &DecideContext<'_>) -> Option<Prints> {
    let content = match intent.op() {
        Some(Op::Delete) => row.sink.content.as_ref(),
        _ => intent.content(),
    };
    content.map(|content| print(content, context))
}

/// The fingerprints of what the record shall hold; none where there shall be no record.
#[must_use]
pub fn wanted(desired: &Desired, context: &DecideContext<'_>) -> Option<Prints> {
    match desired {
        Desired::Present { content, .. } | Desired::Past { content } => {
            Some(print(content, context))
        }
        Desired::Absent { .. } => None,
    }
}

/// Whether the same write was refused for good, on the same basis; or was asked for in vain, and nothing else is
/// wanted now.
fn is_refused(row: &Row, desired: &Desired, intent: &Intent, context: &DecideContext<'_>) -> bool {
    let Some(dead) = &row.dead else {
        return false;
    };
    let (op, desired) = match (intent, &row.attempt) {
        (Intent::Probe, Some(attempt)) => (attempt.op, wanted(desired, context)),
        _ => match intent.op() {
            Some(op) => (op, subject(row, intent, context)),
            None => return false,
        },
    };
    // A refused create and a refused update of the same content are the same refusal.
    let same_kind = (dead.op == Op::Delete) == (op == Op::Delete);
    dead.basis == context.basis && same_kind && dead.desired == desired
}

fn decide_open(row: &Row, desired: &Desired, context: &DecideContext<'_>) -> Decision {
    let state = match row.sink.state {
        // Changing or removing a record twice comes to the same; making it twice does not, unless the sink knows our ids.
        OnSink::Unknown if !context.idempotent_upsert && may_be_made(row) => {
            let intent = if context.probe {
                Intent::Probe
            } else {
                Intent::Stop
            };
            return decision(intent, Reason::FateUnknown);
        }
        OnSink::Unknown if is_awaited(row, desired, context) => {
            return decision(Intent::Probe, Reason::FateUnknown);
        }
        // A sink that takes external ids from us answers a repeated write by what it holds: repeating is the
        // probe. What was attempted tells which write fits.
        OnSink::Unknown => match row.attempt.as_ref().map(|attempt| attempt.op) {
            Some(Op::Create) if row.agreed.is_none() => Known::MaybeCreated,
            _ => Known::MaybePresent,
        },
        OnSink::Present => Known::Present,
        OnSink::Absent => Known::Absent,
    };
    match desired {
        Desired::Absent { .. } | Desired::Past { .. } if is_frozen(row, context) => {
            decision(Intent::Nothing, Reason::Past)
        }
        Desired::Absent { why } => match state {
            Known::Absent => decision(Intent::Nothing, Reason::Absent(*why)),
            _ => decision(Intent::Delete, Reason::Absent(*why)),
        },
        Desired::Past { content } => past(row, state, content, context),
        Desired::Present { content, creatable } => {
            present(row, state, content, *creatable, context)
        }
    }
}

/// Whether the write of unknown fate was to make a record, as far as is known.
fn may_be_made(row: &Row) -> bool {
    let attempt = row.attempt.as_ref();
    attempt.is_none_or(|attempt| attempt.op == Op::Create)
}

/// Whether the sink took a write that is still what is wanted, and has yet to say what became of it.
fn is_awaited(row: &Row, desired: &Desired, context: &DecideContext<'_>) -> bool {
    if matches!(desired, Desired::Past { .. }) || is_frozen(row, context) {
        return false;
    }
    row.attempt.as_ref().is_some_and(|attempt| {
        attempt.ticket.is_some() && attempt.target == wanted(desired, context)
    })
}

/// Whether the record ended before what is kept in step: to delete it would serve nobody, and a change that could not be
/// sent while it lay ahead is no move into the past.
fn is_frozen(row: &Row, context: &DecideContext<'_>) -> bool {
    row.sink.state != OnSink::Absent && is_over(row, context.zone, context.first_day)
}

/// Whether what the sink is known to hold ended before the first day that is kept in step.
pub(super) fn is_over(row: &Row, zone: &TimeZone, first_day: Date) -> bool {
    let held = row.sink.content.as_ref();
    held.is_some_and(|held| held.time.wall_in(zone).last_day() < first_day)
}

/// What is known of the record on the sink.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Absent,
    Present,
    /// A first create was sent and not answered.
    MaybeCreated,
    /// A write to a known record was sent and not answered.
    MaybePresent,
}

fn past(row: &Row, state: Known, content: &Content, context: &DecideContext<'_>) -> Decision {
    match (state, &row.agreed) {
        (Known::Absent, _) => decision(Intent::Nothing, Reason::Past),
        // Very likely the record holds just that, and may stay: it passed as it should.
        (Known::MaybePresent, Some(_)) if was_sent(row, content, context) => {
            let content = content.clone();
            decision(Intent::Update { content }, Reason::FateUnknown)
        }
        (_, Some(agreed)) if !as_agreed(&agreed.source, content, context) => {
            decision(Intent::Delete, Reason::MovedToPast)
        }
        _ => decision(Intent::Nothing, Reason::Past),
    }
}

/// Whether the attempt whose fate is unknown was to bring the record to just this.
fn was_sent(row: &Row, content: &Content, context: &DecideContext<'_>) -> bool {
    row.attempt.as_ref().is_some_and(|attempt| {
        attempt.op != Op::Delete && attempt.target == Some(print(content, context))
    })
}

fn present(
    row: &Row,
    state: Known,
    content: &Content,
    creatable: bool,
    context: &DecideContext<'_>,
) -> Decision {
    let content = content.clone();
    match state {
        Known::Absent if row.agreed.is_some() => decision(Intent::Create { content }, Reason::Lost),
        Known::Absent if creatable => decision(Intent::Create { content }, Reason::New),
        Known::Absent => decision(Intent::Nothing, Reason::TooEarly),
        Known::MaybeCreated => decision(Intent::Create { content }, Reason::FateUnknown),
        Known::MaybePresent => decision(Intent::Update { content }, Reason::FateUnknown),
        Known::Present => match (&row.agreed, &row.sink.content) {
            // The sink came to it by itself: by a write that was not answered.
            (Some(agreed), Some(held))
                if !as_agreed(&agreed.source, &content, context)
                    && holds(held, &content, context) =>
            {
                decision(Intent::Adopt { content }, Reason::Same)
            }
            (Some(agreed), _) if !as_agreed(&agreed.source, &content, context) => {
                decision(Intent::Update { content }, Reason::SourceChanged)
            }
            (Some(agreed), Some(held))
                if !same(&agreed.sink, held, context) && !is_rounded(held, &content, context) =>
            {
                decision(Intent::PutBack { content }, Reason::SinkChanged)
            }
            (Some(_), Some(_)) => decision(Intent::Nothing, Reason::InStep),
            (None, Some(held)) if print(held, context).agrees_with(&print(&content, context)) => {
                decision(Intent::Adopt { content }, Reason::Same)
            }
            (Some(_) | None, None) | (None, Some(_)) => {
                decision(Intent::Update { content }, Reason::Different)
            }
        },
    }
}

/// The fingerprints of `content` as this sink's times are compared.
#[must_use]
pub fn print(content: &Content, context: &DecideContext<'_>) -> Prints {
    context.prints.of(content, context.wall_clock)
}

/// Whether the sink is known to hold all that is desired.
fn holds(held: &Content, desired: &Content, context: &DecideContext<'_>) -> bool {
    let (held, desired) = (print(held, context), print(desired, context));
    let known = |field| held.fields.contains_key(field);
    desired.fields.keys().all(known) && held.agrees_with(&desired)
}

/// Whether the sink holds what is desired but for less than a minute: it rounds or cuts seconds, and would do
/// so again. Putting that back would never end.
fn is_rounded(held: &Content, desired: &Content, context: &DecideContext<'_>) -> bool {
    let differing = print(held, context).differing(&print(desired, context));
    let zone = context.wall_clock.cloned().unwrap_or(TimeZone::UTC);
    let (held, desired) = (held.time.wall_in(&zone), desired.time.wall_in(&zone));
    let near = |a: DateTime, b: DateTime| a.duration_since(b).as_secs().abs() < 60;
    differing.iter().all(|field| *field == Field::Time)
        && near(held.start, desired.start)
        && near(held.end, desired.end)
}

/// Whether what is desired is what was agreed, with no field that was not yet known then.
fn as_agreed(agreed: &Prints, content: &Content, context: &DecideContext<'_>) -> bool {
    let fields = content.fields();
    same(agreed, content, context)
        && (agreed.version != print(content, context).version
            || fields
                .iter()
                .all(|field| agreed.fields.contains_key(&field)))
}

/// Whether `content` is what was agreed. Another version of the canonical form is no difference: it is
/// based anew without writing.
fn same(agreed: &Prints, content: &Content, context: &DecideContext<'_>) -> bool {
    let now = print(content, context);
    agreed.version != now.version || agreed.differing(&now).is_empty()
}
