//! The event key: what two sides are matched by.

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// The original start of one occurrence of a series, before it was moved.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OriginalStart {
    /// Of an all-day series: the date in the series' own zone.
    Date(#[schemars(with = "String")] Date),
    /// Of any other series.
    Instant(#[schemars(with = "String")] Timestamp),
}

/// What two sides are *matched* by: the normalised iCalendar UID and, for one occurrence of a series, its
/// original start. Not an identity: UIDs repeat within a calendar.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "RawKey")]
pub struct EventKey {
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<OriginalStart>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "EventKey")]
struct RawKey {
    uid: String,
    #[serde(default)]
    original: Option<OriginalStart>,
}

impl TryFrom<RawKey> for EventKey {
    type Error = ModelError;
    fn try_from(raw: RawKey) -> Result<Self, ModelError> {
        Self::new(&raw.uid, raw.original)
    }
}

/// How a clean global object id starts when it is written as hex (MS-OXOCAL 2.2.1.27, `PidLidGlobalObjectId`).
const GLOBAL_OBJECT_ID: &str = "040000008200E00074C5B7101A82E008";
/// Hex of `vCal-Uid` and the version number that follow the header of a wrapped foreign UID.
const WRAPPED_UID: &str = "7643616C2D55696401000000";

impl EventKey {
    /// Normalises `uid` and builds the key: white space around it and control characters are dropped; a
    /// global object id in hex is written in upper case with its instance date zeroed; a foreign UID that is
    /// wrapped in one is unwrapped.
    ///
    /// # Errors
    /// [`ModelError::EmptyUid`].
    pub fn new(uid: &str, original: Option<OriginalStart>) -> Result<Self, ModelError> {
        let uid = normalise(uid);
        if uid.is_empty() {
            return Err(ModelError::EmptyUid);
        }
        Ok(Self { uid, original })
    }

    /// The normalised iCalendar UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The original start, for an occurrence of a series.
    #[must_use]
    pub fn original(&self) -> Option<OriginalStart> {
        self.original
    }

    /// Text that sorts and compares like the key; what a store indexes.
    #[must_use]
    pub fn as_text(&self) -> String {
        match self.original {
            None => self.uid.clone(),
            Some(OriginalStart::Date(date)) => format!("{}\n{date}", self.uid),
            Some(OriginalStart::Instant(at)) => format!("{}\n{at}", self.uid),
        }
    }
}

fn normalise(uid: &str) -> String {
    let mut uid = normalise_once(uid);
    // A wrapped UID may hold another wrapped one. Each step makes it shorter or leaves it as it is.
    loop {
        let again = normalise_once(&uid);
        if again == uid {
            return uid;
        }
        uid = again;
    }
}

fn without_controls(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.trim().to_owned()
}

fn normalise_once(uid: &str) -> String {
    let uid = without_controls(uid);
    let is_object_id = uid
        .get(..GLOBAL_OBJECT_ID.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(GLOBAL_OBJECT_ID))
        && uid.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_object_id {
        return uid;
    }
    let upper = uid.to_ascii_uppercase();
    if let Some(foreign) = unwrap_foreign(&upper) {
        return foreign;
    }
    // Bytes 16 to 19 carry the date of one instance; all instances of a series share the clean form.
    match (upper.get(..32), upper.get(40..)) {
        (Some(head), Some(tail)) => format!("{head}00000000{tail}"),
        _ => upper,
    }
}

/// The text behind `vCal-Uid`, which Exchange wraps around the UID of an event that another product made.
fn unwrap_foreign(upper: &str) -> Option<String> {
    let at = upper.find(WRAPPED_UID)?;
    let hex = upper.get(at + WRAPPED_UID.len()..)?;
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok())
        .take_while(|byte| *byte != 0)
        .collect();
    let text = String::from_utf8(bytes).ok()?;
    let text = without_controls(&text);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_uid_is_refused() {
        assert_eq!(EventKey::new(" \u{b} ", None), Err(ModelError::EmptyUid));
    }

    #[test]
    fn hex_object_ids_compare_without_case_and_instance_date() {
        let master = format!("{GLOBAL_OBJECT_ID}00000000{}", "AB".repeat(20));
        let instance = format!("{}07EA0C0E{}", GLOBAL_OBJECT_ID, "ab".repeat(20)).to_lowercase();
        assert_eq!(
            EventKey::new(&master, None).unwrap(),
            EventKey::new(&instance, None).unwrap()
        );
    }

    #[test]
    fn a_wrapped_foreign_uid_is_unwrapped() {
        let text: String = "abc@x.dk\0".bytes().map(|b| format!("{b:02x}")).collect();
        let uid = format!(
            "{GLOBAL_OBJECT_ID}{}15000000{WRAPPED_UID}{text}",
            "00".repeat(20)
        );
        assert_eq!(EventKey::new(&uid, None).unwrap().uid(), "abc@x.dk");
    }

    #[test]
    fn a_hostile_wrapped_uid_is_no_empty_key() {
        let wrapped = |bytes: &str| {
            format!(
                "{GLOBAL_OBJECT_ID}{}0F000000{WRAPPED_UID}{bytes}",
                "00".repeat(20)
            )
        };
        let blank = EventKey::new(&wrapped("01200200"), None).unwrap();
        let nested: String = wrapped("414243")
            .bytes()
            .map(|b| format!("{b:02x}"))
            .collect();
        for key in [blank, EventKey::new(&wrapped(&nested), None).unwrap()] {
            assert!(!key.uid().trim().is_empty());
            assert_eq!(EventKey::new(key.uid(), None).unwrap(), key);
        }
    }

    #[test]
    fn other_uids_keep_their_letter_case() {
        assert_eq!(EventKey::new("AbC", None).unwrap().uid(), "AbC");
    }
}
