//! NTLM version 2, the server's side: a challenge, and whether the answer proves the password.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::Md4;
use md5::{Digest as _, Md5};

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// What is granted where the client asks for it: NEGOTIATE_UNICODE, REQUEST_TARGET, SIGN, NTLM, ALWAYS_SIGN, TARGET_TYPE_DOMAIN, EXTENDED_SESSIONSECURITY,
/// TARGET_INFO, VERSION, 128, KEY_EXCH, 56 ([MS-NLMP], 2.2.2.5).
const FLAGS: u32 = 0xe289_8215;
const KEY_EXCHANGE: u32 = 0x4000_0000;
const SIGN: u32 = 0x0000_0010;
/// Of these what a client does not ask for is told all the same: TARGET_TYPE_DOMAIN, TARGET_INFO, VERSION.
const TOLD: u32 = 0x0281_0000;

/// [MS-NLMP], 2.2.2.1.
const NETBIOS_COMPUTER: u16 = 1;
const NETBIOS_DOMAIN: u16 = 2;
const DNS_COMPUTER: u16 = 3;
const DNS_DOMAIN: u16 = 4;
const AV_FLAGS: u16 = 6;
const TIMESTAMP: u16 = 7;
const CHANNEL_BINDINGS: u16 = 10;
/// The flag in `AV_FLAGS` that says that there is a MIC.
const HAS_MIC: u32 = 2;

/// Where the MIC stands in AUTHENTICATE_MESSAGE.
const MIC: std::ops::Range<usize> = 72..88;

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is none, or lacks what must be there.
    Malformed,
    /// No such user.
    User,
    /// The password is another one.
    Password,
    /// Version 1 or LM alone.
    TooWeak,
    /// The messages were changed on their way.
    Changed,
    /// Another channel than ours, or none where one must be named.
    Binding,
}

/// What was exchanged so far.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    negotiate: Vec<u8>,
    /// The message that goes to the client.
    pub(crate) message: Vec<u8>,
    server_challenge: [u8; 8],
}

/// Who signed in, and the key that the two share from now on.
#[derive(Debug)]
pub(crate) struct Proven {
    /// Number of the account in the list.
    pub(crate) account: usize,
    session_key: [u8; 16],
    key_exchange: bool,
}

/// What a client's channel binding must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// The application data of ours; none without TLS.
    pub(crate) ours: Option<&'a [u8]>,
    /// Whether a client must name it. A wrong one is refused in any case.
    pub(crate) required: bool,
}

/// Answers a NEGOTIATE_MESSAGE. `now` is in units of 100 ns since 1601.
pub(crate) fn challenge(negotiate: &[u8], random: [u8; 8], now: u64) -> Result<Challenge, Refusal> {
    if message_type(negotiate) != Some(1) || negotiate.len() > 1_024 {
        return Err(Refusal::Malformed);
    }
    let asked = number(negotiate, 12).ok_or(Refusal::Malformed)?;
    let mut info = Vec::new();
    for (id, name) in [
        (NETBIOS_DOMAIN, "KOMMUNE"),
        (NETBIOS_COMPUTER, "FRONT1"),
        (DNS_DOMAIN, "kommune.example"),
        (DNS_COMPUTER, "front1.kommune.example"),
    ] {
        pair(&mut info, id, &utf16(name));
    }
    pair(&mut info, TIMESTAMP, &now.to_le_bytes());
    pair(&mut info, 0, &[]);
    let target = utf16("KOMMUNE");
    let mut message = Vec::new();
    message.extend_from_slice(SIGNATURE);
    message.extend_from_slice(&2_u32.to_le_bytes());
    let head = 56;
    field(&mut message, target.len(), head);
    message.extend_from_slice(&(FLAGS & (asked | TOLD)).to_le_bytes());
    message.extend_from_slice(&random);
    message.extend_from_slice(&[0; 8]);
    field(&mut message, info.len(), head + target.len());
    // Windows Server 2019, NTLM revision 15.
    message.extend_from_slice(&[10, 0, 0x63, 0x45, 0, 0, 0, 15]);
    message.extend_from_slice(&target);
    message.extend_from_slice(&info);
    Ok(Challenge {
        negotiate: negotiate.to_vec(),
        message,
        server_challenge: random,
    })
}

impl Challenge {
    /// Judges an AUTHENTICATE_MESSAGE. `accounts` are user names (`DOMAIN\user`, `user@domain` or `user`) with passwords.
    pub(crate) fn judge(
        &self,
        message: &[u8],
        accounts: &[(String, String)],
        expected: Expected<'_>,
    ) -> Result<Proven, Refusal> {
        if message_type(message) != Some(3) {
            return Err(Refusal::Malformed);
        }
        let part = |at| payload(message, at).ok_or(Refusal::Malformed);
        let response = part(20)?;
        let domain = from_utf16(part(28)?);
        let user = from_utf16(part(36)?);
        let encrypted_key = part(52)?;
        let flags = number(message, 60).ok_or(Refusal::Malformed)?;
        // A response of version 1 has 24 bytes.
        let (proof, blob) = response
            .split_at_checked(16)
            .filter(|(_, blob)| blob.len() > 28)
            .ok_or(Refusal::TooWeak)?;
        let (account, password) = accounts
            .iter()
            .enumerate()
            .find(|(_, (name, _))| names(name, &domain, &user))
            .map(|(number, (_, password))| (number, password))
            .ok_or(Refusal::User)?;
        let owf = hmac(
            &Md4::digest(utf16(password)),
            &[&utf16(&user.to_uppercase()), &utf16(&domain)],
        );
        if hmac(&owf, &[&self.server_challenge, blob]) != proof {
            return Err(Refusal::Password);
        }
        let base_key = hmac(&owf, &[proof]);
        let key_exchange = flags & KEY_EXCHANGE != 0 && flags & SIGN != 0;
        let session_key = if flags & KEY_EXCHANGE != 0 {
            Rc4::new(&base_key)
                .apply(encrypted_key)
                .try_into()
                .map_err(|_| Refusal::Malformed)?
        } else {
            base_key
        };
        let pairs = blob.get(28..).ok_or(Refusal::Malformed)?;
        self.unchanged(message, pairs, &session_key)?;
        bound(pairs, expected)?;
        Ok(Proven {
            account,
            session_key,
            key_exchange,
        })
    }

    /// The MIC covers all three messages. A client that saw a time in the challenge must send it.
    fn unchanged(&self, message: &[u8], pairs: &[u8], key: &[u8; 16]) -> Result<(), Refusal> {
        let has_mic = value(pairs, AV_FLAGS)
            .and_then(|flags| number(flags, 0))
            .is_some_and(|flags| flags & HAS_MIC != 0);
        if !has_mic {
            return Err(Refusal::Changed);
        }
        let mut blank = message.to_vec();
        let mic = message.get(MIC).ok_or(Refusal::Malformed)?;
        blank.get_mut(MIC).ok_or(Refusal::Malformed)?.fill(0);
        if hmac(key, &[&self.negotiate, &self.message, &blank]) != mic {
            return Err(Refusal::Changed);
        }
        Ok(())
    }
}

/// Compares the client's channel binding, the MD5 of `gss_channel_bindings_struct` (RFC 2744, 3.11), with ours.
fn bound(pairs: &[u8], expected: Expected<'_>) -> Result<(), Refusal> {
    let theirs = value(pairs, CHANNEL_BINDINGS).filter(|hash| hash.iter().any(|byte| *byte != 0));
    match (theirs, expected.ours) {
        (None, Some(_)) if expected.required => Err(Refusal::Binding),
        // Without TLS there is nothing to compare with, as IIS behind a bridge.
        (None, _) | (Some(_), None) => Ok(()),
        (Some(theirs), Some(ours)) => {
            let mut structure = vec![0; 16];
            let length = u32::try_from(ours.len()).unwrap_or(0);
            structure.extend_from_slice(&length.to_le_bytes());
            structure.extend_from_slice(ours);
            if Md5::digest(&structure).as_slice() == theirs {
                Ok(())
            } else {
                Err(Refusal::Binding)
            }
        }
    }
}

impl Proven {
    /// Signs as the client does ([MS-NLMP], 3.4.4.2), the first message of its direction.
    pub(crate) fn clients_signature(&self, data: &[u8]) -> [u8; 16] {
        self.signature(
            b"session key to client-to-server signing key magic constant\0",
            b"session key to client-to-server sealing key magic constant\0",
            data,
        )
    }

    /// Signs as the server does.
    pub(crate) fn servers_signature(&self, data: &[u8]) -> [u8; 16] {
        self.signature(
            b"session key to server-to-client signing key magic constant\0",
            b"session key to server-to-client sealing key magic constant\0",
            data,
        )
    }

    fn signature(&self, signing: &[u8], sealing: &[u8], data: &[u8]) -> [u8; 16] {
        let key = |magic: &[u8]| -> [u8; 16] {
            Md5::new()
                .chain_update(self.session_key)
                .chain_update(magic)
                .finalize()
                .into()
        };
        let full = hmac(&key(signing), &[&0_u32.to_le_bytes(), data]);
        let mut sum = full.get(..8).unwrap_or_default().to_vec();
        if self.key_exchange {
            sum = Rc4::new(&key(sealing)).apply(&sum);
        }
        let mut signature = [0; 16];
        let parts = [&1_u32.to_le_bytes()[..], &sum, &0_u32.to_le_bytes()].concat();
        for (to, from) in signature.iter_mut().zip(parts) {
            *to = from;
        }
        signature
    }
}

/// Whether an account's name is the one that a client gives, without regard to case. A client may leave out the domain
/// of an account that has none.
fn names(account: &str, domain: &str, user: &str) -> bool {
    let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
    if let Some((own_domain, own_user)) = account.split_once('\\') {
        return same(own_domain, domain) && same(own_user, user);
    }
    if domain.is_empty() || !account.contains('@') {
        return same(account, user);
    }
    same(account, &format!("{user}@{domain}"))
}

fn message_type(message: &[u8]) -> Option<u32> {
    (message.get(..8)? == SIGNATURE).then_some(())?;
    number(message, 8)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// The part of a message that the field at this place points to.
fn payload(message: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_le_bytes(
        message.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ));
    let start = usize::try_from(number(message, at.checked_add(4)?)?).ok()?;
    message.get(start..start.checked_add(length)?)
}

fn field(message: &mut Vec<u8>, length: usize, at: usize) {
    let length = u16::try_from(length).unwrap_or(0);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&u32::try_from(at).unwrap_or(0).to_le_bytes());
}

fn pair(info: &mut Vec<u8>, id: u16, value: &[u8]) {
    info.extend_from_slice(&id.to_le_bytes());
    info.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    info.extend_from_slice(value);
}

/// The value of an AV_PAIR.
fn value(pairs: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = pairs;
    loop {
        let (head, after) = rest.split_at_checked(4)?;
        let id = u16::from_le_bytes([*head.first()?, *head.get(1)?]);
        let length = usize::from(u16::from_le_bytes([*head.get(2)?, *head.get(3)?]));
        let (value, after) = after.split_at_checked(length)?;
        match id {
            0 => return None,
            id if id == wanted => return Some(value),
            _ => rest = after,
        }
    }
}

/// The user that an AUTHENTICATE_MESSAGE names.
pub(crate) fn user_of(message: &[u8]) -> Option<String> {
    let (domain, user) = (
        from_utf16(payload(message, 28)?),
        from_utf16(payload(message, 36)?),
    );
    Some(if domain.is_empty() {
        user
    } else {
        format!("{domain}\\{user}")
    })
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn from_utf16(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    String::from_utf16_lossy(&units)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else {
        // Any length is right for HMAC.
        return [0; 16];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// RC4, which NTLM seals with.
struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    fn new(key: &[u8]) -> Self {
        let mut state = [0; 256];
        for (place, number) in state.iter_mut().zip(0..=255_u8) {
            *place = number;
        }
        let mut j = 0_u8;
        for (i, key) in (0..256).zip(key.iter().cycle()) {
            let own: u8 = state.get(i).copied().unwrap_or_default();
            j = j.wrapping_add(own).wrapping_add(*key);
            state.swap(i, usize::from(j));
        }
        Self { state, i: 0, j: 0 }
    }

    fn apply(&mut self, data: &[u8]) -> Vec<u8> {
        data.iter()
            .map(|byte| {
                self.i = self.i.wrapping_add(1);
                let one = self.at(self.i);
                self.j = self.j.wrapping_add(one);
                self.state.swap(usize::from(self.i), usize::from(self.j));
                let sum = self.at(self.i).wrapping_add(self.at(self.j));
                byte ^ self.at(sum)
            })
            .collect()
    }

    fn at(&self, place: u8) -> u8 {
        self.state
            .get(usize::from(place))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// [MS-NLMP], 4.2.4: user `User`, domain `Domain`, password `Password`.
    #[test]
    fn the_values_of_the_specification_come_out() {
        let hash = Md4::digest(utf16("Password"));
        assert_eq!(hash.to_vec(), hex("a4f49c406510bdcab6824ee7c30fd852"));
        let owf = hmac(&hash, &[&utf16("USER"), &utf16("Domain")]);
        assert_eq!(owf.to_vec(), hex("0c868a403bfd7a93a3001ef22ef02e3f"));
    }

    /// RFC 6229, key length 40 bits.
    #[test]
    fn the_stream_of_rc4_is_that_of_the_specification() {
        let stream = Rc4::new(&hex("0102030405")).apply(&[0; 16]);
        assert_eq!(stream, hex("b2396305f03dc027ccc3524a0a1118a8"));
    }

    #[test]
    fn names_are_compared_as_windows_does() {
        assert!(names("KOMMUNE\\svc", "kommune", "SVC"));
        assert!(!names("KOMMUNE\\svc", "other", "svc"));
        assert!(names("svc@kommune.example", "", "svc@kommune.example"));
        assert!(names("svc@kommune.example", "kommune.example", "svc"));
        assert!(names("svc", "", "svc") && names("svc", "ANY", "svc"));
    }

    #[test]
    fn cut_and_strange_messages_are_refused() {
        assert_eq!(
            challenge(b"NTLMSSP\0\x01", [0; 8], 0).unwrap_err(),
            Refusal::Malformed
        );
        let ours = challenge(b"NTLMSSP\0\x01\0\0\0\x07\x82\x08\xa2", [1; 8], 0).unwrap();
        let accounts = [("u".to_owned(), "p".to_owned())];
        let expected = Expected {
            ours: None,
            required: false,
        };
        let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
        for length in 0..120_u8 {
            message.resize(message.len() + 1, length % 7);
            assert!(ours.judge(&message, &accounts, expected).is_err());
        }
    }
}
