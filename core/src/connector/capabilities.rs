//! What a connector can do, as data: checked against the configuration before a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wire;
use crate::model::FieldSet;

/// What a connector can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Capabilities {
    /// Whether it tells who belongs to the sync.
    #[serde(default)]
    pub roster: bool,
    /// What it can do as a source; absent: it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceCapabilities>,
    /// What it can do as a sink; absent: it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkCapabilities>,
}

/// What a source can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceCapabilities {
    /// Reports only what changed since a cursor.
    #[serde(default)]
    pub incremental: bool,
    /// Reports deletions; otherwise they show in snapshots only.
    #[serde(default)]
    pub deletions: bool,
    /// Gives hints ([`CalendarSource::watch`](super::CalendarSource::watch)).
    #[serde(default)]
    pub watch: bool,
    /// How long it may take until our own writes show, in milliseconds.
    #[serde(default)]
    pub own_write_delay_ms: u64,
    /// The fields it can report.
    pub fields: FieldSet,
    /// How many calendars may be read at once.
    #[serde(default = "wire::one")]
    pub max_in_flight: usize,
}

/// What a sink can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkCapabilities {
    /// Honours versions: a write against an older one is refused.
    #[serde(default)]
    pub conditional_write: bool,
    /// Writing twice with the same external id never makes two records.
    #[serde(default)]
    pub idempotent_upsert: bool,
    /// Lists what it holds; absent: it cannot.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "wire::inventory_bounds"
    )]
    pub inventory: Option<InventoryBounds>,
    /// Tells what became of an attempt.
    #[serde(default)]
    pub probe: bool,
    /// Whether the records in it are all ours.
    pub sharing: Sharing,
    /// Who makes external ids, and how.
    pub external_ids: ExternalIds,
    /// The IANA zone whose wall clock the sink's times are written in, without offset. Times are compared as
    /// that clock shows them, and days begin there. Absent: instants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_clock: Option<String>,
    /// The fields that survive a round trip; no others are sent or compared.
    pub fields: FieldSet,
    /// The most writes per call of [`CalendarSink::apply`](super::CalendarSink::apply).
    #[serde(default = "wire::one")]
    pub max_batch: usize,
    /// How many calendars may be written at once.
    #[serde(default = "wire::one")]
    pub max_in_flight: usize,
    /// How long it may take until our own writes show in an inventory, in milliseconds.
    #[serde(default)]
    pub own_write_delay_ms: u64,
}

/// Which records an inventory of a window lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InventoryBounds {
    /// Those that start in it.
    StartsIn,
    /// Those that overlap it.
    Overlaps,
}

/// Whose records a sink holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Sharing {
    /// All records that it lists are ours; what is unmatched is deleted, through the guard.
    Exclusive,
    /// Others write there too; what is unmatched is left alone.
    #[serde(other)]
    Shared,
}

/// Who makes external ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "by")]
#[non_exhaustive]
pub enum ExternalIds {
    /// The sink assigns them.
    Sink,
    /// We do: the UID, and for an occurrence of a series a separator and its original start.
    Chosen {
        /// What stands between the UID and the original start.
        separator: String,
        /// The IANA zone in which the original start is written.
        zone: String,
        /// How the original start is written, as for `strftime`.
        format: String,
    },
}
