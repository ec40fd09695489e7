//! The row: everything that is known of one event of one sync.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Prints;
use crate::connector::{AttemptToken, Op};
use crate::model::{Content, Event, EventKey, SideRef};

/// Our own internal id of one event in one sync. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub i64);

/// The internal id of one source view. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ViewId(pub i64);

/// What a source was last seen to hold of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Names the view; it keeps its name when item, key or content change.
    pub id: ViewId,
    /// The event as reported.
    pub event: Event,
    /// Distinguishes live events of one calendar with the same key: 0 for the first.
    pub ordinal: u32,
}

/// Whether the sink holds the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSink {
    /// It does not.
    #[default]
    Absent,
    /// It does.
    Present,
    /// A write was sent and nobody knows what became of it.
    Unknown,
}

/// What the sink last acknowledged or listed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SinkView {
    /// Whether it holds the record.
    pub state: OnSink,
    /// The record's address: stored before the first write, and never derived again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SideRef>,
    /// What it holds, in plain: the base of deletes and patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// When it last answered a write of ours with what it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Timestamp>,
    /// The other system owns the record. Quiet and final.
    #[serde(default)]
    pub foreign: bool,
}

/// What each side held when they last agreed. Each side is compared with its own only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Of what was desired of the sink.
    pub source: Prints,
    /// Of what the sink stored.
    pub sink: Prints,
}

/// A write that may have been sent. A fact, not a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Names it.
    pub token: AttemptToken,
    /// What was attempted.
    pub op: Op,
    /// Of what the record was to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Prints>,
    /// When.
    pub at: Timestamp,
    /// What was known of the record before: what holds again if nothing was sent.
    pub before: OnSink,
    /// The sink took it and answers later: what to ask with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// A write that was refused for good. Any change of what it is bound to opens it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The system's code.
    pub code: String,
    /// What it means and what to do.
    pub message: String,
    /// What was refused.
    pub op: Op,
    /// When.
    pub at: Timestamp,
    /// Of what was desired; for a delete, of what the record was known to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Prints>,
    /// Of rules and connector version.
    pub basis: String,
}

/// A write that did not go through and is tried again later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How often it did not go through.
    pub tries: u32,
    /// Not before this instant.
    pub not_before: Timestamp,
    /// Why, the last time.
    pub code: String,
    /// Of what was desired: something else starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Prints>,
}

/// Everything that is known of one event of one sync and calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Our id.
    pub link: LinkId,
    /// What the sides are matched by, when the row was made.
    pub key: EventKey,
    /// Distinguishes live events with the same key.
    pub ordinal: u32,
    /// The series, where it is one: it counts once for the guard.
    pub group: Option<String>,
    /// What the source was last seen to hold; absent: it holds nothing (any more).
    pub source: Option<SourceView>,
    /// What the sink last acknowledged or listed.
    pub sink: SinkView,
    /// What was last agreed.
    pub agreed: Option<Agreed>,
    /// A write that may have been sent.
    pub attempt: Option<Attempt>,
    /// A write that was refused for good.
    pub dead: Option<DeadLetter>,
    /// A write that is tried again later.
    pub retry: Option<Retry>,
    /// Since when the guard holds a delete of it.
    pub held_since: Option<Timestamp>,
    /// It is held only because deletes of the whole connection are stopped.
    pub held_by_stop: bool,
    /// When an operator approved the held delete.
    pub approved: Option<Timestamp>,
    /// The sink listed it when it was first met, and nothing of the source has stood behind it since: to delete it
    /// takes an operator.
    pub first_contact: bool,
    /// Since when nothing of the source stands behind it. The store keeps it by itself.
    pub sourceless: Option<Timestamp>,
}

impl Row {
    /// A row that no side has said anything about yet.
    #[must_use]
    pub fn new(link: LinkId, key: EventKey, ordinal: u32) -> Self {
        Self {
            link,
            key,
            ordinal,
            group: None,
            source: None,
            sink: SinkView::default(),
            agreed: None,
            attempt: None,
            dead: None,
            retry: None,
            held_since: None,
            held_by_stop: false,
            approved: None,
            first_contact: false,
            sourceless: None,
        }
    }

    /// Since when a write of it was sent and not answered.
    #[must_use]
    pub fn unanswered(&self) -> Option<Timestamp> {
        self.attempt
            .as_ref()
            .filter(|_| self.sink.state == OnSink::Unknown)
            .map(|attempt| attempt.at)
    }

    /// What the guard counts: a series once, everything else by itself.
    #[must_use]
    pub fn unit(&self) -> String {
        match &self.group {
            Some(group) => format!("g:{group}"),
            None => format!("l:{}", self.link.0),
        }
    }
}
