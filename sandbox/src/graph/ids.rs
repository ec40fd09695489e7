//! Ids of events. Two forms of each: the usual one changes when the item moves to another folder, the immutable one does
//! not (Graph, "Obtain immutable identifiers for Outlook resources").

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::civil::DateTime;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventId {
    /// The item's number, or of an immutable id the first one it had.
    pub(super) number: u64,
    pub(super) immutable: bool,
    /// Of an occurrence: its original start on the wall.
    pub(super) slot: Option<DateTime>,
}

impl EventId {
    pub(super) fn text(&self) -> String {
        let kind = if self.immutable { 'I' } else { 'M' };
        let slot = self.slot.map(|slot| slot.to_string()).unwrap_or_default();
        // Real ids are long and hold what has to be encoded in a path.
        URL_SAFE.encode(format!("calbridge sandbox {kind};{};{slot};", self.number))
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.strip_prefix("calbridge sandbox ")?.split(';');
        let immutable = match parts.next()? {
            "I" => true,
            "M" => false,
            _ => return None,
        };
        let number = parts.next()?.parse().ok()?;
        let slot = match parts.next()? {
            "" => None,
            slot => Some(slot.parse().ok()?),
        };
        Some(Self {
            number,
            immutable,
            slot,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written() {
        for (immutable, slot) in [
            (true, None),
            (false, Some("2026-12-01T08:00:00".parse().unwrap())),
        ] {
            let id = EventId {
                number: 17,
                immutable,
                slot,
            };
            assert_eq!(EventId::read(&id.text()), Some(id));
        }
        assert_eq!(EventId::read("nonsense"), None);
    }
}
