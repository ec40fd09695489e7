//! Tickets from the domain controllers (Kerberos, RFC 4120) over TCP, one controller after the other.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sspi::generator::NetworkRequest;
use sspi::network_client::NetworkClient;

/// How long one controller may take to let us connect, and for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 * 1024;
/// The port of Kerberos.
pub(crate) const PORT: u16 = 88;

/// Asks the domain controllers. One for each handshake: it remembers what they refused.
#[derive(Debug)]
pub(crate) struct Controllers {
    /// `host:port`, in the order in which they are asked.
    addresses: Vec<String>,
    refused: Mutex<Option<u32>>,
}

impl Controllers {
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            refused: Mutex::default(),
        }
    }

    /// The last error code of a controller (RFC 4120, 7.5.9), except that it wants to see a proof, which is asked of
    /// everybody.
    pub(crate) fn refused(&self) -> Option<u32> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `KDC_ERR_PREAUTH_REQUIRED`.
const PROOF_WANTED: u32 = 25;

impl NetworkClient for Controllers {
    fn send(&self, request: &NetworkRequest) -> sspi::Result<Vec<u8>> {
        for address in &self.addresses {
            match ask(address, &request.data) {
                Ok(answer) => {
                    let message = answer.get(4..).unwrap_or_default();
                    let code = error_code(message).filter(|code| *code != PROOF_WANTED);
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = code;
                    return Ok(answer);
                }
                Err(error) => {
                    tracing::debug!(kind = ?error.kind(), "A domain controller does not answer.");
                }
            }
        }
        Err(sspi::Error::new(
            sspi::ErrorKind::NoAuthenticatingAuthority,
            "no domain controller answers",
        ))
    }
}

/// One question and its answer, both with their length in front (RFC 4120, 7.2.2).
fn ask(address: &str, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.write_all(question)?;
                return read(&mut stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > LARGEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut answer = head.to_vec();
    answer.resize(length.saturating_add(4), 0);
    stream.read_exact(answer.get_mut(4..).unwrap_or_default())?;
    Ok(answer)
}

/// The error code of a KRB-ERROR (RFC 4120, 5.9.1); `None` for any other message.
fn error_code(message: &[u8]) -> Option<u32> {
    const KRB_ERROR: u8 = 0x7e;
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    /// The field `error-code`.
    const CODE: u8 = 0xa6;
    let (tag, inner, _) = element(message)?;
    if tag != KRB_ERROR {
        return None;
    }
    let (tag, mut fields, _) = element(inner)?;
    if tag != SEQUENCE {
        return None;
    }
    while let Some((tag, value, rest)) = element(fields) {
        if tag == CODE {
            let (tag, digits, _) = element(value)?;
            if tag != INTEGER || digits.len() > 4 {
                return None;
            }
            return Some(
                digits
                    .iter()
                    .fold(0, |sum, digit| sum << 8 | u32::from(*digit)),
            );
        }
        fields = rest;
    }
    None
}

/// Tag, content and rest of the first element (DER, definite lengths).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_is_found() {
        // pvno 5, msg-type 30, error-code 24.
        let error = [
            0x7e, 0x11, 0x30, 0x0f, 0xa0, 0x03, 0x02, 0x01, 0x05, 0xa1, 0x03, 0x02, 0x01, 0x1e,
            0xa6, 0x03, 0x02, 0x01, 0x18,
        ];
        assert_eq!(error_code(&error), Some(24));
        for end in 0..error.len() {
            assert_eq!(error_code(&error[..end]), None, "{end}");
        }
        let mut ticket = error;
        ticket[0] = 0x6b;
        assert_eq!(error_code(&ticket), None);
        assert_eq!(error_code(&[0x7e, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
