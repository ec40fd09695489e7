//! What is left on every record, and how a record is found by it.
//!
//! Three named properties in a property set of calbridge's own. Two are digests that a restriction can compare whatever
//! the length of what they stand for (Exchange cuts long texts in restrictions and listings); the third says in plain
//! which record it is. A UID cannot be searched for either: its global object id can
//! (MS-OXOCAL, `PidLidCleanGlobalObjectId`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calbridge_core::connector::AttemptToken;
use calbridge_core::model::EventKey;
use serde::{Deserialize, Serialize};

use crate::soap::escape;

/// The property set of calbridge's own properties.
pub(crate) const PROPERTY_SET: &str = "5f9b3c1e-7a64-4d1f-8c0e-2b6d41a9f7e3";
/// The digest of the record's external id.
pub(crate) const RECORD: &str = "CalbridgeRecord";
/// The digest of the last attempt to write it.
pub(crate) const ATTEMPT: &str = "CalbridgeAttempt";
/// Which record it is, in plain: [`Mark`].
pub(crate) const MARK: &str = "CalbridgeMark";

/// How a global object id begins (MS-OXOCAL, `PidLidGlobalObjectId`).
const OBJECT_ID: [u8; 16] = [
    0x04, 0, 0, 0, 0x82, 0, 0xE0, 0, 0x74, 0xC5, 0xB7, 0x10, 0x1A, 0x82, 0xE0, 0x08,
];

/// Which record an item is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The external id that was chosen for it.
    pub(crate) id: String,
    /// What it is matched by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<EventKey>,
}

impl Mark {
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// In characters that XML can carry.
    fn text(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        json.replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff")
    }

    /// The UID under which the record is written.
    pub(crate) fn uid(&self) -> String {
        uid(&self.id)
    }
}

/// The UID under which a record with this external id is written: the id, as far as XML can carry it.
pub(crate) fn uid(id: &str) -> String {
    let uid: String = id.chars().filter(|c| super::text::is_legal(*c)).collect();
    if uid.trim().is_empty() {
        digest(id)
    } else {
        uid
    }
}

/// A digest that fits any restriction.
pub(crate) fn digest(text: &str) -> String {
    let hex = blake3::hash(text.as_bytes()).to_hex();
    hex.as_str().chars().take(32).collect()
}

/// The path of one of the properties (EWS `PathToExtendedFieldType`).
pub(crate) fn path(name: &str) -> String {
    format!(
        r#"<t:ExtendedFieldURI PropertySetId="{PROPERTY_SET}" PropertyName="{name}" PropertyType="String"/>"#
    )
}

/// CleanGlobalObjectId: property 35 of the Meeting set.
pub(crate) const OBJECT_ID_PATH: &str = r#"<t:ExtendedFieldURI DistinguishedPropertySetId="Meeting" PropertyId="35" PropertyType="Binary"/>"#;

/// One of the properties with its value (EWS `ExtendedPropertyType`).
pub(crate) fn property(name: &str, value: &str) -> String {
    format!(
        "<t:ExtendedProperty>{}<t:Value>{}</t:Value></t:ExtendedProperty>",
        path(name),
        escape(value)
    )
}

/// All of them, for a new item.
pub(crate) fn properties(mark: &Mark, token: &AttemptToken) -> String {
    [
        property(RECORD, &digest(&mark.id)),
        property(ATTEMPT, &digest(&token.0)),
        property(MARK, &mark.text()),
    ]
    .concat()
}

/// The clean global object id of a UID, in base64: its bytes where it is one in hex, else the wrapped text
/// (MS-OXCICAL 2.1.3.1.1.20.26).
pub(crate) fn object_id(uid: &str) -> String {
    let bytes = from_hex(uid)
        .filter(|bytes| bytes.starts_with(&OBJECT_ID) && bytes.len() >= 40)
        .map_or_else(|| wrapped(uid), without_instance);
    STANDARD.encode(bytes)
}

/// Bytes 16 to 19 are the date of one instance.
fn without_instance(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(date) = bytes.get_mut(16..20) {
        date.fill(0);
    }
    bytes
}

fn wrapped(uid: &str) -> Vec<u8> {
    let mut data = b"vCal-Uid".to_vec();
    data.extend(1_u32.to_le_bytes());
    data.extend(uid.as_bytes());
    data.push(0);
    let mut bytes = OBJECT_ID.to_vec();
    // Instance date, creation time and reserved bytes are nothing.
    bytes.resize(36, 0);
    bytes.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_and_its_object_id_are_the_same_key() {
        for uid in ["abc@x.dk", "a", "Rødgrød/20261201T080000Z"] {
            let bytes = STANDARD.decode(object_id(uid)).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(EventKey::new(&hex, None).unwrap().uid(), uid);
        }
    }

    #[test]
    fn outlooks_own_uids_are_their_object_ids_without_the_instance() {
        let head = "040000008200E00074C5B7101A82E008";
        let tail = "00000000000000000000000000000000100000000112233445566778899AABBCCDDEEFF0";
        let clean = object_id(&format!("{head}00000000{tail}"));
        assert_eq!(
            clean,
            object_id(&format!("{head}07EA0C0E{tail}").to_lowercase())
        );
        assert!(STANDARD.decode(clean).unwrap().starts_with(&OBJECT_ID));
    }

    #[test]
    fn digests_tell_long_ids_apart_in_few_letters() {
        let long = "x".repeat(2_000);
        assert_ne!(digest(&long), digest(&format!("{long}y")));
        assert_eq!(digest(&long).len(), 32);
    }

    #[test]
    fn a_mark_reads_back_whatever_it_holds() {
        let mark = Mark {
            id: "a\u{1}<&>\"'\u{fffe}".to_owned(),
            key: EventKey::new("a", None).ok(),
        };
        assert_eq!(Mark::read(&mark.text()), Some(mark));
        assert_eq!(Mark::read("a copy of something"), None);
    }
}
