//! Calendars and the roster's entries.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// The stable id of a calendar's owner, as the system that gives the roster knows it. It stays when the
/// address changes.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct OwnerId(String);

impl OwnerId {
    /// # Errors
    /// [`ModelError::EmptyOwner`] for a blank id.
    pub fn new(id: impl Into<String>) -> Result<Self, ModelError> {
        let id = id.into();
        if id.trim().is_empty() {
            return Err(ModelError::EmptyOwner);
        }
        Ok(Self(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OwnerId {
    type Error = ModelError;
    fn try_from(value: String) -> Result<Self, ModelError> {
        Self::new(value)
    }
}

impl From<OwnerId> for String {
    fn from(value: OwnerId) -> Self {
        value.0
    }
}

/// An SMTP address. Compared without regard to letter case; the spelling that was given is kept for the
/// wire.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Address(String);

impl Address {
    /// Surrounding white space is dropped.
    ///
    /// # Errors
    /// [`ModelError::BadAddress`] unless there is exactly one `@` with something on both sides and no white
    /// space or control character.
    pub fn new(address: impl AsRef<str>) -> Result<Self, ModelError> {
        let address = address.as_ref().trim();
        let mut parts = address.split('@');
        let good = matches!(
            (parts.next(), parts.next(), parts.next()),
            (Some(local), Some(domain), None) if !local.is_empty() && !domain.is_empty()
        ) && !address.chars().any(|c| c.is_whitespace() || c.is_control());
        if good {
            Ok(Self(address.to_owned()))
        } else {
            Err(ModelError::BadAddress)
        }
    }

    /// The address as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form by which addresses are compared and stored: lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for Address {}

impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

/// Personal data: the address itself is shown by [`Address::as_str`] only, never by `Debug`.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

impl TryFrom<String> for Address {
    type Error = ModelError;
    fn try_from(value: String) -> Result<Self, ModelError> {
        Self::new(value)
    }
}

impl From<Address> for String {
    fn from(value: Address) -> Self {
        value.0
    }
}

/// A calendar that is kept in step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CalendarRef {
    /// Who the calendar belongs to; stays when the address changes.
    pub owner: OwnerId,
    /// The owner's SMTP address now.
    pub address: Address,
    /// Which of the owner's calendars; absent for the primary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
}

impl CalendarRef {
    /// The primary calendar of an address whose owner has no other id.
    ///
    /// # Errors
    /// [`ModelError::BadAddress`].
    pub fn primary(address: impl AsRef<str>) -> Result<Self, ModelError> {
        let address = Address::new(address)?;
        Ok(Self {
            owner: OwnerId::new(address.folded())?,
            address,
            calendar: None,
        })
    }

    /// A short name for logs that is not personal data: eight hex digits derived from the address. The same
    /// calendar has the same handle in every log line, on every run.
    #[must_use]
    pub fn handle(&self) -> String {
        // FNV-1a: a name for people to search logs with, not a protection against guessing.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let folded = self.address.folded();
        let calendar = self.calendar.as_deref().unwrap_or_default();
        for byte in folded.bytes().chain([0]).chain(calendar.bytes()) {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }
}

/// What a roster's calendar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CalendarKind {
    /// A person.
    #[default]
    Person,
    /// A room or piece of equipment.
    Room,
    /// Something newer than this version knows.
    #[serde(other)]
    Other,
}

/// One calendar of a roster: it belongs to the sync, says the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarEntry {
    /// The calendar.
    pub calendar: CalendarRef,
    /// A person or a room.
    #[serde(default)]
    pub kind: CalendarKind,
}
