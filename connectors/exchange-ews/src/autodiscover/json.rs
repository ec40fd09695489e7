//! Autodiscover version 2: a GET without credentials, and JSON ("Autodiscover for Exchange", AutoDiscover v2; Exchange 2013
//! CU19 and later).

use serde::Deserialize;
use url::Url;

use super::said::{Said, Settings, usable};
use super::trouble::Unreadable;

/// The address to ask about a mailbox.
pub(crate) fn url(base: &Url, address: &str, redirects: usize) -> Option<Url> {
    let mut url = base.join("/autodiscover/autodiscover.json").ok()?;
    url.query_pairs_mut()
        .append_pair("Email", address)
        .append_pair("Protocol", "Ews")
        .append_pair("RedirectCount", &redirects.to_string());
    Some(url)
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Url", alias = "url")]
    url: Option<String>,
    #[serde(rename = "Protocol", alias = "protocol")]
    protocol: Option<String>,
    #[serde(rename = "ErrorCode", alias = "errorCode")]
    error: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// It is no such answer.
pub(crate) fn read(body: &[u8]) -> Result<Said, Unreadable> {
    let document: Document = serde_json::from_slice(body).map_err(|_| Unreadable::Json)?;
    if let Some(url) = document.url.as_deref().and_then(usable) {
        let ews = document
            .protocol
            .is_none_or(|protocol| protocol.eq_ignore_ascii_case("Ews"));
        if !ews {
            return Err(Unreadable::Lacks("the protocol that was asked for"));
        }
        let mut settings = Settings::default();
        settings.add(&url);
        return Ok(Said::Settings(settings));
    }
    match document.error.as_deref() {
        Some("UserNotFound" | "MailboxNotFound" | "InvalidUserId") => Ok(Said::Unknown),
        Some(_) => Ok(Said::Refused),
        None => Err(Unreadable::Lacks("an address")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_errors() {
        let said =
            read(br#"{"Protocol":"Ews","Url":"https://mail.kommune.example/EWS/Exchange.asmx"}"#);
        let Ok(Said::Settings(settings)) = said else {
            unreachable!("{said:?}")
        };
        assert_eq!(
            settings.ews,
            ["https://mail.kommune.example/EWS/Exchange.asmx"]
        );
        let error =
            |code: &str| read(format!(r#"{{"ErrorCode":"{code}","ErrorMessage":"x"}}"#).as_bytes());
        assert_eq!(error("UserNotFound"), Ok(Said::Unknown));
        assert_eq!(error("ProtocolNotSupported"), Ok(Said::Refused));
    }

    #[test]
    fn what_is_no_answer() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "{\"Url\":7}",
            "<html>",
            "{\"Url\":\"\"}",
            "{\"Url\":\"https://x/\",\"Protocol\":\"ActiveSync\"}",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes()).is_err());
    }

    #[test]
    fn addresses_are_escaped() {
        let base = Url::parse("https://autodiscover.kommune.example/").unwrap();
        let url = url(&base, "a+b&c@kommune.example", 2).unwrap();
        assert_eq!(
            url.as_str(),
            "https://autodiscover.kommune.example/autodiscover/autodiscover.json?Email=a%2Bb%26c%40kommune.example&Protocol=Ews&RedirectCount=2"
        );
    }
}
