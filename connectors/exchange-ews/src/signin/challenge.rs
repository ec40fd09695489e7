//! Reads `WWW-Authenticate` (RFC 9110, 11.6.1): several schemes in one field or in several, each alone, with a
//! token or with parameters.
//!
//! What cannot be read is passed over up to the next comma: a server's mistake in a scheme that nobody asked for
//! must not hide the one that is wanted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::trouble::Trouble;

/// The longest field that is read, in bytes. Windows' own limit for a token of Negotiate is 48,000 bytes, before
/// base64.
const LONGEST_FIELD: usize = 72 * 1024;
/// The most offers that are read of one answer.
const MOST_OFFERS: usize = 32;

/// One offered scheme.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Offer<'a> {
    /// As the server writes it; compared without regard to case.
    pub(crate) scheme: &'a str,
    /// The token after it (`token68`).
    pub(crate) token: Option<&'a str>,
    parameters: Vec<(&'a str, String)>,
}

/// Tokens and parameters stay out of logs.
impl fmt::Debug for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("scheme", &self.scheme)
            .field("token", &self.token.is_some())
            .field("parameters", &self.parameters.len())
            .finish()
    }
}

impl Offer<'_> {
    /// A parameter's value, if it is there.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What all fields of an answer offer together.
pub(crate) fn offers<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<Offer<'a>> {
    let mut found = Vec::new();
    for field in fields {
        if field.len() <= LONGEST_FIELD {
            Reader { rest: field }.read(&mut found);
        }
    }
    found
}

/// The token that the server sends for a scheme: `None` where the scheme is not offered, an empty one where it is
/// offered without.
///
/// # Errors
/// The token is not base64.
pub(crate) fn token(offers: &[Offer<'_>], scheme: &str) -> Result<Option<Vec<u8>>, Trouble> {
    let mut of_scheme = offers
        .iter()
        .filter(|offer| offer.scheme.eq_ignore_ascii_case(scheme))
        .peekable();
    if of_scheme.peek().is_none() {
        return Ok(None);
    }
    match of_scheme.find_map(|offer| offer.token) {
        Some(text) => STANDARD
            .decode(text)
            .map(Some)
            .map_err(|_| Trouble::Token("is not base64")),
        None => Ok(Some(Vec::new())),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn read(&mut self, found: &mut Vec<Offer<'a>>) {
        // The offer that parameters belong to: none before the first scheme of the field.
        let mut open = false;
        while found.len() < MOST_OFFERS {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b','));
            if self.rest.is_empty() {
                return;
            }
            let name = self.take(is_token);
            if name.is_empty() {
                self.pass_over();
                continue;
            }
            let before = self.rest;
            self.skip(is_blank);
            if self.rest.starts_with('=') {
                self.rest = self.rest.get(1..).unwrap_or_default();
                let value = self.value();
                if let (true, Some(value), Some(offer)) = (open, value, found.last_mut()) {
                    offer.parameters.push((name, value));
                }
                self.pass_over();
                continue;
            }
            let mut offer = Offer {
                scheme: name,
                token: None,
                parameters: Vec::new(),
            };
            // Without a blank it is no scheme with something after it.
            if before.len() != self.rest.len() {
                offer.token = self.token68();
            }
            if !(self.rest.is_empty() || self.rest.starts_with(',') || before != self.rest) {
                self.pass_over();
                continue;
            }
            let alone = offer.token.is_some() || self.rest.is_empty() || self.rest.starts_with(',');
            found.push(offer);
            open = true;
            if alone {
                self.pass_over();
            }
        }
    }

    /// A token68 that ends at a comma or at the end; otherwise nothing is consumed.
    fn token68(&mut self) -> Option<&'a str> {
        let text = self.rest;
        let body = text.find(|c: char| !is_token68(c)).unwrap_or(text.len());
        let after = text.get(body..)?;
        let pads = after.len() - after.trim_start_matches('=').len();
        let end = body.checked_add(pads)?;
        let rest = text.get(end..)?;
        let ended = rest.trim_start_matches([' ', '\t']);
        if body == 0 || !(ended.is_empty() || ended.starts_with(',')) {
            return None;
        }
        self.rest = rest;
        text.get(..end)
    }

    /// The value of a parameter: a token or a quoted string.
    fn value(&mut self) -> Option<String> {
        self.skip(is_blank);
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let value = self.take(is_token);
            return (!value.is_empty()).then(|| value.to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = quoted.get(at + 1..).unwrap_or_default();
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        // It never ends: what follows belongs to it.
        self.rest = "";
        None
    }

    /// Goes on after the next comma that is in no quoted string.
    fn pass_over(&mut self) {
        let mut quoted = false;
        let mut escaped = false;
        for (at, byte) in self.rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return;
                }
                _ => {}
            }
        }
        self.rest = "";
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let end = self
            .rest
            .bytes()
            .position(|byte| !wanted(byte))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or(("", self.rest));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, unwanted: impl Fn(u8) -> bool) {
        self.take(unwanted);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110, 11.2.
fn is_token68(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~+/".contains(character)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schemes<'a>(fields: &[&'a str]) -> Vec<&'a str> {
        offers(fields.iter().copied())
            .into_iter()
            .map(|offer| offer.scheme)
            .collect()
    }

    #[test]
    fn several_schemes_in_one_field_and_in_several() {
        let wanted = ["Negotiate", "NTLM", "Basic"];
        assert_eq!(
            schemes(&["Negotiate", "NTLM", "Basic realm=\"mail\""]),
            wanted
        );
        assert_eq!(schemes(&["Negotiate, NTLM, Basic realm=\"mail\""]), wanted);
        assert_eq!(
            schemes(&["Negotiate,NTLM ,Basic realm=mail, charset=\"UTF-8\""]),
            wanted
        );
        assert_eq!(schemes(&[", ,Negotiate,, NTLM", "Basic"]), wanted);
    }

    #[test]
    fn parameters_with_commas_and_quotes_are_values() {
        let found = offers([
            "Bearer client_id=\"0000\", trusted_issuers=\"a, NTLM, \\\"b\\\"\", error = invalid_token, Negotiate",
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            found[0].parameter("Trusted_Issuers"),
            Some("a, NTLM, \"b\"")
        );
        assert_eq!(found[0].parameter("error"), Some("invalid_token"));
        assert_eq!(found[0].parameter("realm"), None);
        assert_eq!(found[1].scheme, "Negotiate");
    }

    #[test]
    fn tokens_are_read_with_their_padding() {
        let found = offers(["NTLM TlRMTVNTUAAC==, Negotiate oYG2MIGz"]);
        assert_eq!(found[0].token, Some("TlRMTVNTUAAC=="));
        assert_eq!(found[1].token, Some("oYG2MIGz"));
        assert_eq!(
            token(&found, "negotiate").unwrap().unwrap(),
            STANDARD.decode("oYG2MIGz").unwrap()
        );
        assert_eq!(token(&found, "Kerberos").unwrap(), None);
        assert_eq!(token(&offers(["NTLM"]), "NTLM").unwrap(), Some(Vec::new()));
    }

    #[test]
    fn a_token_that_is_not_base64_is_an_error_and_not_repeated() {
        let error = token(&offers(["NTLM abc~~~"]), "NTLM").unwrap_err();
        assert!(!error.to_string().contains("abc"), "{error}");
        assert!(token(&offers(["NTLM TlRM====="]), "NTLM").is_err());
    }

    #[test]
    fn what_cannot_be_read_hides_nothing() {
        for field in [
            "\"realm\", NTLM",
            "=x, NTLM",
            "Basic realm=\"a\" \"b\", NTLM",
            "Digest ;;;, NTLM",
        ] {
            assert!(schemes(&[field]).contains(&"NTLM"), "{field}");
        }
        assert_eq!(schemes(&["Basic realm=\"never ends, NTLM"]), ["Basic"]);
        assert_eq!(schemes(&["", " ", ","]), [""; 0]);
    }

    #[test]
    fn the_largest_and_the_most_are_limited() {
        let huge = format!("NTLM {}", "A".repeat(LONGEST_FIELD));
        assert!(offers([huge.as_str()]).is_empty());
        let many = "X, ".repeat(1_000);
        assert_eq!(offers([many.as_str()]).len(), MOST_OFFERS);
    }

    #[test]
    fn debug_holds_no_token() {
        let text = format!(
            "{:?}",
            offers(["NTLM TlRMTVNTUAAC", "Basic realm=\"hush\""])
        );
        assert!(!text.contains("TlRM") && !text.contains("hush"), "{text}");
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(fields in prop::collection::vec("\\PC{0,80}", 0..4)) {
            let found = offers(fields.iter().map(String::as_str));
            let _ = token(&found, "NTLM");
        }

        #[test]
        fn a_wanted_scheme_after_others_is_found(
            before in prop::collection::vec("[A-Z][a-z]{0,8}( [a-z]{1,4}=(\"[a-z ,]{0,8}\"|[a-z]{1,4}))?", 0..6),
            token in "[A-Za-z0-9+/]{4,40}",
        ) {
            let field = format!("{}{}NTLM {token}", before.join(", "), if before.is_empty() { "" } else { ", " });
            let found = offers([field.as_str()]);
            let ntlm = found.iter().find(|offer| offer.scheme == "NTLM").unwrap();
            prop_assert_eq!(ntlm.token, Some(token.as_str()));
            prop_assert_eq!(found.len(), before.len() + 1);
        }
    }
}
