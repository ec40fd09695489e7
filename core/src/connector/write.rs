//! Writes and what becomes of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, wire};
use crate::model::{Content, EventKey, SideRef};

/// Names one write within one call of [`CalendarSink::apply`](super::CalendarSink::apply).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct WriteId(pub u64);

/// Names one attempt at a write for good: a repeated attempt carries the same token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AttemptToken(pub String);

/// What is to be done.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Op {
    /// Make a record.
    Create,
    /// Bring a record to the target.
    Update,
    /// Remove a record.
    Delete,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Write {
    /// Names it within this call.
    pub id: WriteId,
    /// What is to be done.
    pub op: Op,
    /// What the record is matched by.
    pub key: EventKey,
    /// The sink's address of the record. On create: the external id that was chosen for it, where the sink
    /// takes ids from us ([`ExternalIds::Chosen`](super::ExternalIds::Chosen)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SideRef>,
    /// What the record shall hold; absent for a delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Content>,
    /// What the sink last acknowledged; needed by deletes and patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Content>,
    /// The version of the group that the plan saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_version: Option<String>,
    /// Names the attempt.
    pub token: AttemptToken,
}

/// What a side holds of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SideState {
    /// It holds no such record.
    Absent,
    /// It holds one.
    Present {
        /// Its address.
        remote: SideRef,
        /// What it holds, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
    },
}

/// A sink's answer to one write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// Done.
    Done {
        /// The record's address; absent after a delete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<SideRef>,
        /// What the sink stored, where it differs from the target or the sink tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stored: Option<Content>,
    },
    /// Nothing had to be done.
    Unchanged,
    /// Taken, and answered later: inventory or probe confirms.
    Accepted {
        /// What to ask with.
        ticket: String,
    },
    /// Sent, and nobody knows what became of it.
    Unknown,
    /// The record belongs to the other system. Quiet and final.
    Foreign,
    /// Refused for good.
    Rejected {
        /// The system's code.
        code: String,
        /// What it means and what to do, without personal data.
        message: String,
    },
    /// The sink holds something else than the plan assumed: an unexpected record on create, none on update,
    /// another version.
    Conflict {
        /// What it holds.
        theirs: SideState,
    },
    /// Not now.
    Retry {
        /// How long to wait, in milliseconds, if the system says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
        /// Why, if the system says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
}

/// The outcome of one write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WriteOutcome {
    /// Which write.
    pub id: WriteId,
    /// What became of it.
    #[serde(default = "wire::no_outcome", deserialize_with = "wire::outcome")]
    pub outcome: Outcome,
    /// Index into [`ApplyReport::receipts`] of the call that carried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<usize>,
    /// Codes and notices that came with it and change nothing (a conflict notice was mailed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// One remote call, kept for support.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The operation's name in the protocol.
    pub operation: String,
    /// The other system's reference id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When the call was made.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// When it was answered or given up.
    #[schemars(with = "String")]
    pub ended: Timestamp,
    /// How many events it carried.
    pub events: usize,
    /// Why it failed as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// What became of the writes of one call of [`CalendarSink::apply`](super::CalendarSink::apply).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApplyReport {
    /// One per write; missing ones count as [`Outcome::Unknown`].
    #[serde(default)]
    pub outcomes: Vec<WriteOutcome>,
    /// The calls that were made.
    #[serde(default)]
    pub receipts: Vec<Receipt>,
    /// What held the rest up, if a call failed as a whole: the engine slows down or stops by its kind and
    /// scope. Writes that were not sent answer [`Outcome::Retry`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Error>,
}

/// What became of an earlier attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Probe {
    /// It took effect: the record was made or changed, or is gone if it was to go.
    Found {
        /// The record's address.
        remote: SideRef,
        /// What it holds; nothing if it was to go.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
    },
    /// It certainly took no effect: what was there before is as it was.
    Absent,
    /// Nobody can tell.
    Undecidable,
}
