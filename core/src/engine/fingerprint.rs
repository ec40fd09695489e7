//! Keyed fingerprints of content, per field.
//!
//! What was agreed is kept as fingerprints, so that the store holds no more plain data than deletes and
//! patches need. They are keyed with a random key of the store: equal texts in two stores look different.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::model::{Content, EventTime, Field};

/// The version of the canonical form. A new version re-bases what is agreed without writing.
const CANONICAL_VERSION: u32 = 1;

/// Fingerprints of one side's content, per field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prints {
    /// The version of the canonical form they were made with.
    pub version: u32,
    /// 128 bits as hex, per field.
    pub fields: BTreeMap<Field, String>,
}

impl Prints {
    /// The fields in which two fingerprints differ; a field that only one of them has does not count.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<Field> {
        self.fields
            .iter()
            .filter(|(field, print)| {
                other
                    .fields
                    .get(field)
                    .is_some_and(|theirs| theirs != *print)
            })
            .map(|(field, _)| *field)
            .collect()
    }

    /// Whether both were made the same way and agree in all fields that both have.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.version == other.version && self.differing(other).is_empty()
    }
}

/// Makes fingerprints.
#[derive(Clone)]
pub struct Fingerprinter {
    key: [u8; 32],
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

impl Fingerprinter {
    /// With the store's key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The fingerprints of `content`. Times are taken as the wall clock of `wall_clock` shows them, where
    /// the sink keeps wall clock times, else as instants and dates.
    #[must_use]
    pub fn of(&self, content: &Content, wall_clock: Option<&TimeZone>) -> Prints {
        let mut fields = BTreeMap::new();
        fields.insert(
            Field::Time,
            self.text(&canonical_time(&content.time, wall_clock)),
        );
        if let Some(show_as) = content.show_as {
            fields.insert(Field::ShowAs, self.text(&format!("{show_as:?}")));
        }
        for (field, text) in [
            (Field::Subject, &content.subject),
            (Field::Location, &content.location),
            (Field::Body, &content.body),
        ] {
            if let Some(text) = text {
                fields.insert(field, self.text(&canonical_text(text)));
            }
        }
        if let Some(private) = content.private {
            fields.insert(Field::Private, self.text(if private { "1" } else { "0" }));
        }
        if let Some(categories) = &content.categories {
            let mut sorted = categories.clone();
            sorted.sort();
            fields.insert(Field::Categories, self.text(&sorted.join("\u{0}")));
        }
        Prints {
            version: CANONICAL_VERSION,
            fields,
        }
    }

    /// The fingerprint of a text of ours (rules, connector versions).
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let hash = blake3::keyed_hash(&self.key, text.as_bytes());
        hash.to_hex().as_str().chars().take(32).collect()
    }
}

fn canonical_time(time: &EventTime, wall_clock: Option<&TimeZone>) -> String {
    match (time, wall_clock) {
        (time, Some(zone)) => {
            let wall = time.wall_in(zone);
            format!("{}/{}", wall.start, wall.end)
        }
        (EventTime::Timed { start, end, .. }, None) => format!("{start}/{end}"),
        (EventTime::AllDay { start, end }, None) => format!("{start}/{end}"),
    }
}

/// Line ends and surrounding white space are no difference between two systems' texts.
fn canonical_text(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}
