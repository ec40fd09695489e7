//! The envelope of Negotiate (RFC 4178) around NTLM.

const SPNEGO: &[u8] = &[0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
const NTLM: &[u8] = &[
    0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a,
];

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// The list of mechanisms as it stands (DER), of a first token; what `mechListMIC` signs.
    pub(crate) mechanisms: Option<&'a [u8]>,
    /// The mechanism's own token.
    pub(crate) inner: &'a [u8],
    /// `mechListMIC`.
    pub(crate) signature: Option<&'a [u8]>,
}

/// Reads NegTokenInit, with NTLM as the first of its mechanisms, or NegTokenResp.
pub(crate) fn read(bytes: &[u8]) -> Option<Token<'_>> {
    let (tag, content, _) = element(bytes)?;
    match tag {
        0x60 => {
            let (_, sequence, _) = element(content.strip_prefix(SPNEGO)?)?;
            let fields = element(sequence)?.1;
            let list = context(fields, 0xa0)?;
            if !element(list)?.1.starts_with(NTLM) {
                return None;
            }
            Some(Token {
                mechanisms: Some(list),
                inner: element(context(fields, 0xa2)?)?.1,
                signature: None,
            })
        }
        0xa1 => {
            let fields = element(content)?.1;
            Some(Token {
                mechanisms: None,
                inner: element(context(fields, 0xa2)?)?.1,
                signature: context(fields, 0xa3)
                    .and_then(element)
                    .map(|(_, signature, _)| signature),
            })
        }
        _ => None,
    }
}

/// NegTokenResp: goes on, with NTLM chosen.
pub(crate) fn goes_on(inner: &[u8]) -> Vec<u8> {
    let fields = [
        wrapped(0xa0, &[0x0a, 1, 1]),
        wrapped(0xa1, NTLM),
        wrapped(0xa2, &wrapped(0x04, inner)),
    ];
    wrapped(0xa1, &wrapped(0x30, &fields.concat()))
}

/// NegTokenResp: done.
pub(crate) fn done(signature: Option<&[u8]>) -> Vec<u8> {
    let mut fields = wrapped(0xa0, &[0x0a, 1, 0]);
    if let Some(signature) = signature {
        fields.extend(wrapped(0xa3, &wrapped(0x04, signature)));
    }
    wrapped(0xa1, &wrapped(0x30, &fields))
}

/// The content of a field with this tag.
fn context(mut fields: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((tag, content, rest)) = element(fields) {
        if tag == wanted {
            return Some(content);
        }
        fields = rest;
    }
    None
}

/// Tag, content and rest of the first element (DER).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
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

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits = content.len().to_be_bytes();
            let digits = digits
                .iter()
                .position(|digit| *digit != 0)
                .and_then(|first| digits.get(first..))
                .unwrap_or_default();
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            bytes.extend_from_slice(digits);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_first_token_is_read() {
        let list = wrapped(0x30, NTLM);
        let fields = [
            wrapped(0xa0, &list),
            wrapped(0xa2, &wrapped(0x04, &[7; 300])),
        ];
        let init = wrapped(0xa0, &wrapped(0x30, &fields.concat()));
        let token = wrapped(0x60, &[SPNEGO, &init].concat());
        let read_back = read(&token).unwrap();
        assert_eq!(read_back.mechanisms, Some(list.as_slice()));
        assert_eq!(read_back.inner, [7; 300]);
        for end in 0..token.len() {
            assert_eq!(read(&token[..end]), None);
        }
    }

    #[test]
    fn our_own_answers_can_be_read() {
        let answer = goes_on(b"challenge");
        assert_eq!(read(&answer).unwrap().inner, b"challenge");
        assert_eq!(done(None), [0xa1, 7, 0x30, 5, 0xa0, 3, 0x0a, 1, 0]);
    }
}
