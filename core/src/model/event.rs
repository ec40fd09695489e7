//! Events, and how each side addresses them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventKey, EventTime, Field, FieldSet, ModelError, Origin};

/// A source's address of one item (an event, or the master of a series).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ItemRef {
    /// Opaque, compared byte by byte.
    pub id: String,
    /// The version that was seen, where the system has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl ItemRef {
    /// # Errors
    /// [`ModelError::EmptyId`].
    pub fn new(id: impl Into<String>, version: Option<String>) -> Result<Self, ModelError> {
        let id = id.into();
        if id.is_empty() {
            return Err(ModelError::EmptyId);
        }
        Ok(Self { id, version })
    }
}

/// A series: its members share one version on the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GroupRef {
    /// Opaque; the master's id, or whatever all members of one series have in common.
    pub id: String,
    /// The version of the whole series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A side's address of one record, as a sink knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SideRef {
    /// The external id: chosen by us or assigned by the sink.
    pub id: String,
    /// The sink's own id beside ours, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<String>,
    /// The version last seen, where the system has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl SideRef {
    /// # Errors
    /// [`ModelError::EmptyId`].
    pub fn new(id: impl Into<String>) -> Result<Self, ModelError> {
        let id = id.into();
        if id.is_empty() {
            return Err(ModelError::EmptyId);
        }
        Ok(Self {
            id,
            assigned: None,
            version: None,
        })
    }
}

/// How an event shows its owner's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ShowAs {
    /// The time is free.
    Free,
    /// Perhaps busy.
    Tentative,
    /// Busy.
    #[default]
    Busy,
    /// Out of office.
    Away,
    /// Working elsewhere.
    Elsewhere,
    /// The system does not say.
    Unknown,
    /// Something newer than this version knows.
    #[serde(other)]
    Other,
}

/// What can be compared and carried over between sides. Absent means "not asked for" or "not kept", never
/// "empty".
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// When.
    pub time: EventTime,
    /// Free or busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_as: Option<ShowAs>,
    /// Subject line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Text body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether it is private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Category names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
}

/// Subjects, places and bodies are personal data: `Debug` shows the time and which fields there are.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("time", &self.time)
            .field("show_as", &self.show_as)
            .field("fields", &self.fields().iter().collect::<Vec<_>>())
            .finish()
    }
}

impl Content {
    /// Times alone.
    #[must_use]
    pub fn times(time: EventTime) -> Self {
        Self {
            time,
            show_as: None,
            subject: None,
            location: None,
            body: None,
            private: None,
            categories: None,
        }
    }

    /// The fields that are there.
    #[must_use]
    pub fn fields(&self) -> FieldSet {
        [
            (Field::Time, true),
            (Field::ShowAs, self.show_as.is_some()),
            (Field::Subject, self.subject.is_some()),
            (Field::Location, self.location.is_some()),
            (Field::Body, self.body.is_some()),
            (Field::Private, self.private.is_some()),
            (Field::Categories, self.categories.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, there)| there.then_some(field))
        .collect()
    }

    /// The same with no other fields than `fields` (the time always stays).
    #[must_use]
    pub fn only(&self, fields: &FieldSet) -> Self {
        let keep = |field| fields.contains(field);
        Self {
            time: self.time.clone(),
            show_as: self.show_as.filter(|_| keep(Field::ShowAs)),
            subject: self.subject.clone().filter(|_| keep(Field::Subject)),
            location: self.location.clone().filter(|_| keep(Field::Location)),
            body: self.body.clone().filter(|_| keep(Field::Body)),
            private: self.private.filter(|_| keep(Field::Private)),
            categories: self.categories.clone().filter(|_| keep(Field::Categories)),
        }
    }
}

/// One occurrence on the time line, as a source reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// What the other side is matched by.
    pub key: EventKey,
    /// The source's address of it.
    pub item: ItemRef,
    /// The series it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRef>,
    /// What is carried over. [`Content::show_as`] is always reported: qualification needs it.
    pub content: Content,
    /// Cancelled, and still in the calendar.
    #[serde(default)]
    pub cancelled: bool,
    /// The mark that a sink of ours left on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}
