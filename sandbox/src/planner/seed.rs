//! What Planner holds at the start, as a file.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Access, KnownCertificate, PlannerOptions, PlannerSandbox, Resource};

/// Content of a seed file (JSON).
///
/// ```
/// let seed: calbridge_sandbox::planner::Seed = serde_json::from_str(r#"{
///     "case_workers": [{ "name": "Anna", "address": "anna@kommune.example" }],
///     "rooms": [{ "name": "Room 1", "address": "room1@kommune.example" }],
///     "own": [{ "mailbox": "anna@kommune.example", "id": "p-1",
///               "start": "2026-12-01T09:00:00", "end": "2026-12-01T10:00:00" }]
/// }"#)?;
/// assert_eq!(seed.resources().len(), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// People.
    pub case_workers: Vec<SeedResource>,
    /// Rooms.
    pub rooms: Vec<SeedResource>,
    /// Events that are there already, as a predecessor left them.
    pub events: Vec<SeedEvent>,
    /// Appointments of Planner's own.
    pub own: Vec<SeedEvent>,
    /// Certificates that may call.
    pub certificates: Vec<KnownCertificate>,
}

/// A person or a room of a seed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedResource {
    /// Name.
    pub name: String,
    /// Mail address.
    pub address: String,
}

/// An event of a seed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedEvent {
    /// Mail address.
    pub mailbox: String,
    /// Id of the origin system.
    pub id: String,
    /// Begin, Danish wall clock.
    pub start: DateTime,
    /// End, Danish wall clock.
    pub end: DateTime,
}

/// Why a seed file was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SeedError {
    /// The file cannot be read.
    #[error("the seed file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not in the form of a seed.
    #[error("the seed file {path} is not usable: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Place and reason.
        source: serde_json::Error,
    },
    /// An address is not one by the service's schema.
    #[error("entry {index} of the seed has an address that Planner's schema does not allow")]
    Address {
        /// Position among people and rooms, from 1.
        index: usize,
    },
}

impl Seed {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read or is not in the form of a seed.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let text = std::fs::read_to_string(path).map_err(|source| SeedError::Read {
            path: path.to_owned(),
            source,
        })?;
        let seed: Self = serde_json::from_str(&text).map_err(|source| SeedError::Form {
            path: path.to_owned(),
            source,
        })?;
        let wrong = seed
            .resources()
            .iter()
            .position(|found| !super::schema::is_email(&found.email));
        match wrong {
            Some(at) => Err(SeedError::Address { index: at + 1 }),
            None => Ok(seed),
        }
    }

    /// People, then rooms.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        let people = self
            .case_workers
            .iter()
            .map(|one| Resource::case_worker(&one.name, &one.address));
        let rooms = self
            .rooms
            .iter()
            .map(|one| Resource::room(&one.name, &one.address));
        people.chain(rooms).collect()
    }

    /// Options with this seed's people, rooms and, if it names any, certificates; events need
    /// [`Seed::fill`] once the server runs.
    #[must_use]
    pub fn options(&self, options: PlannerOptions) -> PlannerOptions {
        let access = if self.certificates.is_empty() {
            options.access
        } else {
            Access::Certificates(self.certificates.clone())
        };
        PlannerOptions {
            resources: self.resources(),
            access,
            ..options
        }
    }

    /// Puts the seed's events and own appointments into a running server.
    pub fn fill(&self, planner: &PlannerSandbox) {
        for event in &self.events {
            planner.put_event(&event.mailbox, &event.id, event.start, event.end);
        }
        for own in &self.own {
            planner.put_own_appointment(&own.mailbox, &own.id, own.start, own.end);
        }
    }
}
