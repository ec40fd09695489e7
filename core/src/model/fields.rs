//! Names of an event's fields, for asking, keeping and comparing no more than is needed.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A field of an event's [`Content`](super::Content).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Field {
    /// Start, end, all-day and zone: one unit.
    Time,
    /// Free, busy, tentative, ...
    ShowAs,
    /// The subject line.
    Subject,
    /// Where it takes place.
    Location,
    /// The text body.
    Body,
    /// Whether it is private.
    Private,
    /// Category names.
    Categories,
    /// Who was invited; needed to know what is locked.
    Attendees,
    /// Something newer than this version knows.
    #[serde(other)]
    Other,
}

/// A set of fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FieldSet(BTreeSet<Field>);

impl FieldSet {
    /// Times alone: what a sink needs that shows busy time only.
    #[must_use]
    pub fn times() -> Self {
        Self::from_iter([Field::Time])
    }

    /// Whether the set holds `field`.
    #[must_use]
    pub fn contains(&self, field: Field) -> bool {
        self.0.contains(&field)
    }

    /// The fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = Field> + '_ {
        self.0.iter().copied()
    }

    /// The fields that are in this set or in `other`.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.union(&other.0).copied().collect()
    }

    /// The fields that are in this set and in `other`.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.0.intersection(&other.0).copied().collect()
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}
