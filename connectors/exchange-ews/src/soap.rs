//! The SOAP 1.1 envelope: what is the same for every operation.

use crate::error::WireError;
use crate::xml::{Open, Pull, XmlError};

/// The version of the schema that requests name. Exchange 2013 SP1 to Subscription Edition accept it, and
/// answers keep to it, so that a newer server changes nothing for us.
pub(crate) const SCHEMA_VERSION: &str = "Exchange2013_SP1";

/// What the server calls itself (`ServerVersionInfo` of the SOAP header).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ServerVersion {
    pub(crate) major: String,
    pub(crate) minor: String,
    pub(crate) build: String,
    pub(crate) revision: String,
}

impl ServerVersion {
    fn read(open: &Open) -> Self {
        let get = |name| open.attribute(name).unwrap_or("?").to_owned();
        Self {
            major: get("MajorVersion"),
            minor: get("MinorVersion"),
            build: get("MajorBuildNumber"),
            revision: get("MinorBuildNumber"),
        }
    }

    /// The product's name; 2019 and Subscription Edition share one number.
    pub(crate) fn product(&self) -> String {
        let name = match (self.major.as_str(), self.minor.as_str()) {
            ("15", "0") => "Exchange 2013",
            ("15", "1") => "Exchange 2016",
            ("15", "2") => "Exchange 2019 or Subscription Edition",
            ("20", _) => "Exchange Online",
            ("14", _) => "Exchange 2010",
            ("8", _) => "Exchange 2007",
            _ => "Exchange",
        };
        format!(
            "{name} ({}.{}.{}.{})",
            self.major, self.minor, self.build, self.revision
        )
    }

    /// Whether the server is older than what requests ask for.
    pub(crate) fn too_old(&self) -> bool {
        self.major.parse::<u32>().is_ok_and(|major| major < 15)
    }
}

/// A SOAP fault. The text of a fault may name people, so none of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fault {
    /// The EWS response code; for a fault without detail what stands in `faultcode`, without prefix.
    pub(crate) code: String,
    /// The code inside, where one error wraps another.
    pub(crate) inner: Option<String>,
    /// `BackOffMilliseconds`.
    pub(crate) back_off_ms: Option<u64>,
    /// Whether the fault says that the server does not know the operation.
    pub(crate) unknown_operation: bool,
}

impl Fault {
    /// Whether it has no more than a code of SOAP itself.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self.code.as_str(), "" | "Client" | "Server")
    }
}

/// An answer: its operation's content, or a fault.
#[derive(Debug)]
pub(crate) struct Envelope<T> {
    pub(crate) version: Option<ServerVersion>,
    pub(crate) body: Result<T, Fault>,
}

/// Reads an envelope. `content` is called for the operation's element and reads what it needs.
pub(crate) fn read<T>(
    document: &str,
    mut content: impl FnMut(&mut Pull<'_>, &Open) -> Result<T, WireError>,
) -> Result<Envelope<T>, WireError> {
    let mut pull = Pull::new(document);
    let root = pull.root().map_err(|error| match error {
        // A page that does not even start like XML.
        XmlError::Malformed(_) if looks_like_html(document) => WireError::NotSoap,
        XmlError::DocType(_) if looks_like_html(document) => WireError::NotSoap,
        other => WireError::Xml(other),
    })?;
    if root.name != "Envelope" {
        return Err(WireError::NotSoap);
    }
    let mut version = None;
    let mut body = None;
    pull.children::<WireError>(|pull, open| match open.name.as_str() {
        "Header" => pull.children(|_, open| {
            if open.name == "ServerVersionInfo" {
                version = Some(ServerVersion::read(open));
            }
            Ok(())
        }),
        "Body" => pull.children(|pull, open| {
            if open.name == "Fault" {
                body = Some(Err(read_fault(pull)?));
            } else if body.is_none() {
                body = Some(Ok(content(pull, open)?));
            }
            Ok(())
        }),
        _ => Ok(()),
    })?;
    pull.finish()?;
    Ok(Envelope {
        version,
        body: body.ok_or(WireError::Missing("the body's content"))?,
    })
}

fn looks_like_html(document: &str) -> bool {
    let head: String = document
        .chars()
        .take(512)
        .collect::<String>()
        .to_lowercase();
    head.contains("<html") || head.contains("<!doctype html")
}

fn read_fault(pull: &mut Pull<'_>) -> Result<Fault, WireError> {
    let mut fault = Fault::default();
    let mut plain = String::new();
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "faultcode" => plain = pull.text()?,
            "faultstring" => {
                let text = pull.text()?;
                fault.unknown_operation = text.starts_with("Unknown request");
            }
            "detail" => pull.children::<WireError>(|pull, open| {
                match open.name.as_str() {
                    "ResponseCode" => fault.code = pull.text()?.trim().to_owned(),
                    "MessageXml" => {
                        for (name, value) in read_values(pull)? {
                            take_value(&name, &value, &mut fault.back_off_ms, &mut fault.inner);
                        }
                    }
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    if fault.code.is_empty() {
        // Some servers put the code there, bare or with a prefix, and send no detail.
        let code = plain.rsplit(':').next().unwrap_or_default().trim();
        fault.code = code.to_owned();
    }
    Ok(fault)
}

/// `MessageXml`: named values, at any depth.
pub(crate) fn read_values(pull: &mut Pull<'_>) -> Result<Vec<(String, String)>, WireError> {
    let mut values = Vec::new();
    pull.children::<WireError>(|pull, open| {
        if open.name == "Value" {
            let name = open.attribute("Name").unwrap_or_default().to_owned();
            values.push((name, pull.text()?.trim().to_owned()));
        }
        Ok(())
    })?;
    Ok(values)
}

/// Takes over the values that matter.
pub(crate) fn take_value(
    name: &str,
    value: &str,
    back_off_ms: &mut Option<u64>,
    inner: &mut Option<String>,
) {
    match name {
        "BackOffMilliseconds" => *back_off_ms = value.parse().ok(),
        "InnerErrorResponseCode" => *inner = Some(value.to_owned()),
        _ => {}
    }
}

/// Text made safe for an element or attribute. Characters that XML 1.0 forbids are left out.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            _ => {}
        }
    }
    out
}

/// Whom a request acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acting {
    /// The signed-in account itself.
    Itself,
    /// The owner of this primary SMTP address (`ExchangeImpersonation`).
    Impersonating(String),
}

/// A whole request around the content of its body.
pub(crate) fn envelope(acting: &Acting, body: &str) -> String {
    let impersonation = match acting {
        Acting::Itself => String::new(),
        Acting::Impersonating(address) => format!(
            "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>",
            escape(address)
        ),
    };
    format!(
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?>"#,
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/""#,
            r#" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages""#,
            r#" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">"#,
            r#"<s:Header><t:RequestServerVersion Version="{version}"/>{impersonation}"#,
            r#"<t:TimeZoneContext><t:TimeZoneDefinition Id="UTC"/></t:TimeZoneContext></s:Header>"#,
            r#"<s:Body>{body}</s:Body></s:Envelope>"#,
        ),
        version = SCHEMA_VERSION,
        impersonation = impersonation,
        body = body,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fault(document: &str) -> Fault {
        read(document, |_, _| Ok(())).unwrap().body.unwrap_err()
    }

    #[test]
    fn a_fault_with_detail_gives_code_and_back_off() {
        let fault = fault(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>
            <faultcode>a:ErrorServerBusy</faultcode><faultstring>Who knows.</faultstring><detail>
            <e:ResponseCode xmlns:e="e">ErrorServerBusy</e:ResponseCode>
            <t:MessageXml xmlns:t="t"><t:Value Name="BackOffMilliseconds">297749</t:Value></t:MessageXml>
            </detail></s:Fault></s:Body></s:Envelope>"#,
        );
        assert_eq!(fault.code, "ErrorServerBusy");
        assert_eq!(fault.back_off_ms, Some(297_749));
    }

    #[test]
    fn a_fault_without_detail_gives_the_code_of_its_faultcode() {
        let code = |text: &str| {
            fault(&format!(
                "<S:Envelope xmlns:S='x'><S:Header/><S:Body><S:Fault><faultcode>{text}</faultcode></S:Fault></S:Body></S:Envelope>"
            ))
            .code
        };
        assert_eq!(
            code("ErrorImpersonateUserDenied"),
            "ErrorImpersonateUserDenied"
        );
        assert_eq!(code("SOAP:Client"), "Client");
    }

    #[test]
    fn a_web_page_is_not_soap() {
        for page in [
            "<!DOCTYPE html><html><body>Service unavailable<br></body></html>",
            "<html><body>Hi</body></html>",
            "<!doctype html><p>x",
        ] {
            let result = read(page, |_, _| Ok(()));
            assert!(matches!(result, Err(WireError::NotSoap)), "{result:?}");
        }
    }

    #[test]
    fn an_envelope_without_content_is_refused() {
        let result = read("<Envelope><Body/></Envelope>", |_, _| Ok(()));
        assert!(matches!(result, Err(WireError::Missing(_))));
    }

    #[test]
    fn addresses_are_escaped() {
        let text = envelope(&Acting::Impersonating("a<&>\"b\u{1}@x".into()), "");
        assert!(text.contains("a&lt;&amp;&gt;&quot;b@x"));
    }
}
