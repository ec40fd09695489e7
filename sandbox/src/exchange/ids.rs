//! Opaque identifiers.
//!
//! They look like Exchange's (long base64), are well-formed base64, carry a check so that a changed or truncated one
//! is refused, and mean nothing to a client. Items 2n and 2n+1 have ids that differ in the case of one letter only,
//! as happens in real mailboxes: a client that folds case mixes them up at once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, DateTime};

/// What an item id points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKey {
    /// A stored item.
    Item(u64),
    /// An occurrence of a series, by its original start in wall clock.
    Occurrence(u64, DateTime),
}

/// Seals a payload: keyed check, then the payload xored with a stream made of the check.
fn seal(kind: &str, payload: &[u8]) -> Vec<u8> {
    let check = blake3::hash(&[kind.as_bytes(), payload].concat());
    let check = check.as_bytes().get(..14).unwrap_or_default();
    let mut stream = vec![0; payload.len()];
    blake3::Hasher::new()
        .update(check)
        .finalize_xof()
        .fill(&mut stream);
    let hidden = payload.iter().zip(stream).map(|(byte, mask)| byte ^ mask);
    check.iter().copied().chain(hidden).collect()
}

fn open(kind: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (check, hidden) = sealed.split_at_checked(14)?;
    let mut stream = vec![0; hidden.len()];
    blake3::Hasher::new()
        .update(check)
        .finalize_xof()
        .fill(&mut stream);
    let payload: Vec<u8> = hidden
        .iter()
        .zip(stream)
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    (seal(kind, &payload) == sealed).then_some(payload)
}

/// Pads to a multiple of three so that the base64 has no padding and can be joined to fixed letters.
fn whole(mut bytes: Vec<u8>) -> Vec<u8> {
    while !bytes.len().is_multiple_of(3) {
        bytes.push(0);
    }
    bytes
}

/// The id of an item.
pub(crate) fn item_id(number: u64) -> String {
    let sealed = seal("item", &(number / 2).to_be_bytes());
    let filler = blake3::hash(&sealed);
    let body = whole([sealed.as_slice(), filler.as_bytes(), filler.as_bytes()].concat());
    let twin = if number.is_multiple_of(2) {
        "AAAb"
    } else {
        "AAAB"
    };
    format!("AAMk{}{twin}", STANDARD.encode(body))
}

/// The id of an occurrence; its form changes when the occurrence becomes an exception.
pub(crate) fn occurrence_id(number: u64, slot: DateTime, exception: bool) -> String {
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend_from_slice(&slot.year().to_be_bytes());
    for part in [
        slot.month(),
        slot.day(),
        slot.hour(),
        slot.minute(),
        slot.second(),
    ] {
        payload.extend_from_slice(&part.to_be_bytes());
    }
    payload.push(u8::from(exception));
    let body = whole(seal("occurrence", &payload));
    // The master's own beginning, then the instance: the way real occurrence ids are built.
    let master: String = item_id(number).chars().take(80).collect();
    let middle = if exception { "FRAA" } else { "FRAACAgI" };
    format!("{master}{middle}{}", STANDARD.encode(body))
}

/// Reads an item id. `None`: it is no id of this server.
pub(crate) fn read_item_id(id: &str) -> Option<ItemKey> {
    if let Some((body, twin)) = id
        .strip_prefix("AAMk")
        .and_then(|rest| rest.split_at_checked(rest.len().checked_sub(4)?))
        && let odd = twin == "AAAB"
        && (odd || twin == "AAAb")
        && let Ok(bytes) = STANDARD.decode(body)
        && let Some(payload) = bytes.get(..22).and_then(|sealed| open("item", sealed))
    {
        let half = u64::from_be_bytes(payload.try_into().ok()?);
        let number = half.checked_mul(2)?.checked_add(u64::from(odd))?;
        return (item_id(number) == id).then_some(ItemKey::Item(number));
    }
    let rest = id.get(80..)?;
    let (exception, body) = match rest.strip_prefix("FRAACAgI") {
        Some(body) => (false, body),
        None => (true, rest.strip_prefix("FRAA")?),
    };
    let bytes = STANDARD.decode(body).ok()?;
    let payload = bytes
        .get(..14 + 16)
        .and_then(|sealed| open("occurrence", sealed))?;
    let number = u64::from_be_bytes(payload.get(..8)?.try_into().ok()?);
    let year = i16::from_be_bytes(payload.get(8..10)?.try_into().ok()?);
    let part = |index: usize| payload.get(index).and_then(|byte| i8::try_from(*byte).ok());
    let slot = Date::new(year, part(10)?, part(11)?)
        .ok()?
        .at(part(12)?, part(13)?, part(14)?, 0);
    (occurrence_id(number, slot, exception) == id).then_some(ItemKey::Occurrence(number, slot))
}

/// The change key of a change number.
pub(crate) fn change_key(change: u64) -> String {
    let mut bytes = vec![0x0f, 0, 0, 0, 0x16, 0, 0, 0];
    bytes.extend_from_slice(
        blake3::hash(&change.to_be_bytes())
            .as_bytes()
            .get(..14)
            .unwrap_or_default(),
    );
    bytes.extend_from_slice(&change.to_be_bytes());
    STANDARD.encode(bytes)
}

/// Reads a change key; `None` if it is not well-formed.
pub(crate) fn read_change_key(key: &str) -> Option<u64> {
    let bytes = STANDARD.decode(key).ok()?;
    let change = u64::from_be_bytes(bytes.get(bytes.len().checked_sub(8)?..)?.try_into().ok()?);
    Some(change)
}

/// The id of a folder.
pub(crate) fn folder_id(mailbox: u64, folder: u64) -> String {
    let payload = [mailbox.to_be_bytes(), folder.to_be_bytes()].concat();
    format!("AQMk{}", STANDARD.encode(whole(seal("folder", &payload))))
}

/// Reads a folder id: mailbox and folder numbers.
pub(crate) fn read_folder_id(id: &str) -> Option<(u64, u64)> {
    let bytes = STANDARD.decode(id.strip_prefix("AQMk")?).ok()?;
    let payload = open("folder", bytes.get(..30)?)?;
    let mailbox = u64::from_be_bytes(payload.get(..8)?.try_into().ok()?);
    let folder = u64::from_be_bytes(payload.get(8..16)?.try_into().ok()?);
    (folder_id(mailbox, folder) == id).then_some((mailbox, folder))
}

/// The id of a subscription: it is known on the server that made it only.
pub(crate) fn subscription_id(number: u64, server: u64) -> String {
    let payload = [number.to_be_bytes(), server.to_be_bytes()].concat();
    STANDARD.encode(seal("subscription", &payload))
}

/// The watermark before the event with this number.
pub(crate) fn watermark(next: u64) -> String {
    STANDARD.encode(seal("watermark", &next.to_be_bytes()))
}

/// Reads a watermark; `None` if it is none of this server.
pub(crate) fn read_watermark(text: &str) -> Option<u64> {
    let payload = open("watermark", &STANDARD.decode(text).ok()?)?;
    Some(u64::from_be_bytes(payload.try_into().ok()?))
}

/// What a SyncState remembers: the mailbox's epoch, the folder, and which change numbers have been seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SyncState {
    pub(crate) epoch: u64,
    pub(crate) mailbox: u64,
    pub(crate) folder: u64,
    /// Closed ranges, disjoint and ascending.
    pub(crate) seen: Vec<(u64, u64)>,
}

impl SyncState {
    /// Writes it; `bulk` bytes of filler make it as large as real ones grow with a folder.
    pub(crate) fn write(&self, bulk: usize) -> String {
        let mut payload = Vec::new();
        for number in [
            self.epoch,
            self.mailbox,
            self.folder,
            self.seen.len() as u64,
        ] {
            payload.extend_from_slice(&number.to_be_bytes());
        }
        for (low, high) in &self.seen {
            payload.extend_from_slice(&low.to_be_bytes());
            payload.extend_from_slice(&high.to_be_bytes());
        }
        payload.resize(payload.len() + bulk, 0);
        STANDARD.encode(seal("sync", &payload))
    }

    /// Reads it; `None` if it is not one that this server made, whole.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let payload = open("sync", &STANDARD.decode(text).ok()?)?;
        let mut numbers = payload
            .chunks_exact(8)
            .filter_map(|chunk| chunk.try_into().ok().map(u64::from_be_bytes));
        let (epoch, mailbox, folder, count) = (
            numbers.next()?,
            numbers.next()?,
            numbers.next()?,
            numbers.next()?,
        );
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.push((numbers.next()?, numbers.next()?));
        }
        Some(SyncState {
            epoch,
            mailbox,
            folder,
            seen,
        })
    }

    /// The highest change number that has been seen.
    pub(crate) fn latest(&self) -> u64 {
        self.seen.last().map_or(0, |(_, high)| *high)
    }

    pub(crate) fn has_seen(&self, change: u64) -> bool {
        self.seen
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&change))
    }

    /// Adds a closed range.
    pub(crate) fn add(&mut self, low: u64, high: u64) {
        if low > high {
            return;
        }
        self.seen.push((low, high));
        self.seen.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (low, high) in std::mem::take(&mut self.seen) {
            match merged.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = (*end).max(high),
                _ => merged.push((low, high)),
            }
        }
        self.seen = merged;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn ids_read_back_and_twins_differ_in_case_only() {
        for number in [1, 2, 3, 900_001] {
            assert_eq!(read_item_id(&item_id(number)), Some(ItemKey::Item(number)));
            STANDARD.decode(item_id(number)).unwrap();
        }
        assert_ne!(item_id(4), item_id(5));
        assert!(item_id(4).eq_ignore_ascii_case(&item_id(5)));
        assert_eq!(read_item_id(&item_id(4).to_lowercase()), None);
        let slot = date(2026, 3, 2).at(9, 0, 0, 0);
        for exception in [true, false] {
            let id = occurrence_id(7, slot, exception);
            STANDARD.decode(&id).unwrap();
            assert_eq!(read_item_id(&id), Some(ItemKey::Occurrence(7, slot)));
        }
        assert_ne!(occurrence_id(7, slot, true), occurrence_id(7, slot, false));
        assert_eq!(read_item_id("AAMkADw="), None);
    }

    #[test]
    fn folder_ids_and_change_keys_read_back() {
        assert_eq!(read_folder_id(&folder_id(3, 2)), Some((3, 2)));
        assert_eq!(
            read_folder_id(&folder_id(3, 2).replace("AQMk", "AQMl")),
            None
        );
        assert_eq!(read_change_key(&change_key(77)), Some(77));
    }

    #[test]
    fn a_truncated_sync_state_is_refused() {
        let mut state = SyncState {
            epoch: 1,
            mailbox: 2,
            folder: 3,
            seen: Vec::new(),
        };
        state.add(5, 9);
        state.add(1, 3);
        state.add(4, 4);
        assert_eq!(state.seen, [(1, 9)]);
        let text = state.write(400);
        assert_eq!(SyncState::read(&text), Some(state));
        assert_eq!(SyncState::read(text.get(..text.len() - 4).unwrap()), None);
        assert_eq!(SyncState::read("H4sIAAA="), None);
    }
}
