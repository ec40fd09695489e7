//! Global object ids ([MS-OXOCAL] PidLidGlobalObjectId and PidLidCleanGlobalObjectId).

use jiff::civil::Date;

/// The first 16 bytes of every global object id.
const HEADER: [u8; 16] = [
    0x04, 0, 0, 0, 0x82, 0, 0xE0, 0, 0x74, 0xC5, 0xB7, 0x10, 0x1A, 0x82, 0xE0, 0x08,
];

/// The global object id of a UID: a UID in Outlook's form is its hexadecimal text, any other is wrapped behind the
/// marker `vCal-Uid`. With an instance date it is that instance's id, without it the clean one.
pub(crate) fn global_object_id(uid: &str, instance: Option<Date>) -> Vec<u8> {
    let mut bytes = from_hex(uid)
        .filter(|bytes| bytes.starts_with(&HEADER) && bytes.len() >= 40)
        .unwrap_or_else(|| wrap(uid));
    if let Some(day) = instance {
        let [high, low] = day.year().to_be_bytes();
        let parts = [
            high,
            low,
            day.month().unsigned_abs(),
            day.day().unsigned_abs(),
        ];
        if let Some(place) = bytes.get_mut(16..20) {
            place.copy_from_slice(&parts);
        }
    }
    bytes
}

fn wrap(uid: &str) -> Vec<u8> {
    let mut data = b"vCal-Uid".to_vec();
    data.extend_from_slice(&1_u32.to_le_bytes());
    data.extend_from_slice(uid.as_bytes());
    data.push(0);
    let mut bytes = HEADER.to_vec();
    bytes.resize(36, 0);
    bytes.extend_from_slice(&u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn outlook_uids_are_their_own_id_and_others_are_wrapped() {
        let uid = "040000008200E00074C5B7101A82E00800000000000000000000000000000000000000001000000000112233445566778899AABBCCDDEEFF";
        let clean = global_object_id(uid, None);
        assert_eq!(clean.len(), 56);
        let instance = global_object_id(uid, Some(jiff::civil::date(2026, 3, 2)));
        assert_eq!(instance.get(16..20).unwrap(), [0x07, 0xEA, 3, 2]);
        let wrapped = global_object_id("abc@example", None);
        assert!(wrapped.windows(8).any(|part| part == b"vCal-Uid"));
        assert!(wrapped.ends_with(b"abc@example\0"));
    }
}
