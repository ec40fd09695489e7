//! Faults of Planner's protocol, by name.

use http::StatusCode;

use super::names::{ECS, SOAP};
use crate::fault::{FaultKind, FaultSpecError, Kind, known, require_known};
use crate::server::Response;

/// What Planner can be made to do wrong, beside what every server can.
///
/// Except where it says otherwise the request is processed: Planner's state is ahead of what the
/// client gets to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlannerFault {
    /// `receipts-reversed`: last event first.
    ReceiptsReversed,
    /// `receipts-shuffled`: every receipt one place early, the first one last.
    ReceiptsShuffled,
    /// `receipts-missing:N`: the last N receipts are left out; the rest is in order.
    ReceiptsMissing(usize),
    /// `receipts-doubled`: every receipt twice.
    ReceiptsDoubled,
    /// `receipts-foreign`: one more receipt, for an id that was not sent.
    ReceiptsForeign,
    /// `id-case`: letters of the ids change case in the answer.
    IdCase,
    /// `code:CODE[/POSITION]`: this receipt code, for all events or for the one at this position
    /// (from 1). Those events are not processed.
    Code {
        /// The code.
        code: i64,
        /// Position in the call; none means every event.
        position: Option<usize>,
    },
    /// `lost`: answered as accepted, not processed.
    Lost,
    /// `doubled`: what is created is stored a second time under another id.
    Doubled,
    /// `shifted:MINUTES`: stored with other times.
    Shifted(i32),
    /// `events-missing:N`: GetEvents leaves out the last N events.
    EventsMissing(usize),
    /// `events-doubled`: GetEvents lists everything twice.
    EventsDoubled,
    /// `resources-empty`: GetResources lists nobody.
    ResourcesEmpty,
    /// `fault`: SOAP fault without details; not processed.
    Fault,
    /// `fault-after`: processed, then a SOAP fault without details.
    FaultAfter,
    /// `fault-details[:CODE]`: `FaultDetails` with this code (or none) and nil members; not
    /// processed.
    FaultDetails(Option<i32>),
    /// `fault-details-after[:CODE]`: the same after processing.
    FaultDetailsAfter(Option<i32>),
    /// `fault-nil`: `FaultDetails` that is itself nil; not processed.
    FaultNil,
    /// `bad-time`: receival times that are no times.
    BadTime,
    /// `bad-code`: receipt codes that are no numbers.
    BadCode,
    /// `bad-reference`: a reference identifier that is no guid.
    BadReference,
    /// `missing-reference`: no reference identifier.
    MissingReference,
    /// `wrong-namespace`: the body lacks the trailing slash of its namespace.
    WrongNamespace,
    /// `malformed`: an end tag is missing.
    Malformed,
    /// `half`: the answer ends in the middle, with a matching content length.
    Half,
    /// `dtd`: a valid answer behind a document type declaration.
    Dtd,
    /// `entities`: nested entities that would expand without end.
    Entities,
    /// `external`: an external entity that would read a local file.
    External,
    /// `deep:N`: N nested elements.
    Deep(usize),
    /// `padding:BYTES`: a valid answer, so much longer.
    Padding(usize),
    /// `bad-utf8`: bytes that are no UTF-8.
    BadUtf8,
    /// `empty`: status 200 without a body.
    Empty,
    /// `html`: status 200 with a web page.
    Html,
}

/// What this server can be made to do wrong, beside what every server can.
pub const FAULT_KINDS: &[Kind] = &[
    Kind::new("receipts-reversed", "last event first"),
    Kind::new(
        "receipts-shuffled",
        "every receipt one place early, the first one last",
    ),
    Kind::new(
        "receipts-missing:N",
        "the last N receipts are left out; the rest is in order",
    ),
    Kind::new("receipts-doubled", "every receipt twice"),
    Kind::new(
        "receipts-foreign",
        "one more receipt, for an id that was not sent",
    ),
    Kind::new("id-case", "letters of the ids change case in the answer"),
    Kind::new(
        "code:CODE[/POSITION]",
        "this receipt code for all events or one (from 1); not processed",
    ),
    Kind::new("lost", "answered as accepted, not processed"),
    Kind::new(
        "doubled",
        "what is created is stored a second time under another id",
    ),
    Kind::new("shifted:MINUTES", "stored with other times"),
    Kind::new("events-missing:N", "GetEvents leaves out the last N events"),
    Kind::new("events-doubled", "GetEvents lists everything twice"),
    Kind::new("resources-empty", "GetResources lists nobody"),
    Kind::new("fault", "SOAP fault without details; not processed"),
    Kind::new(
        "fault-after",
        "processed, then a SOAP fault without details",
    ),
    Kind::new(
        "fault-details[:CODE]",
        "FaultDetails with this code (or none) and nil members; not processed",
    ),
    Kind::new("fault-details-after[:CODE]", "the same after processing"),
    Kind::new(
        "fault-nil",
        "FaultDetails that is itself nil; not processed",
    ),
    Kind::new("bad-time", "receival times that are no times"),
    Kind::new("bad-code", "receipt codes that are no numbers"),
    Kind::new("bad-reference", "a reference identifier that is no guid"),
    Kind::new("missing-reference", "no reference identifier"),
    Kind::new(
        "wrong-namespace",
        "the body lacks the trailing slash of its namespace",
    ),
    Kind::new("malformed", "an end tag is missing"),
    Kind::new(
        "half",
        "the answer ends in the middle, with a matching content length",
    ),
    Kind::new("dtd", "a valid answer behind a document type declaration"),
    Kind::new("entities", "nested entities that would expand without end"),
    Kind::new(
        "external",
        "an external entity that would read a local file",
    ),
    Kind::new("deep:N", "N nested elements"),
    Kind::new("padding:BYTES", "a valid answer, so much longer"),
    Kind::new("bad-utf8", "bytes that are no UTF-8"),
    Kind::new("empty", "status 200 without a body"),
    Kind::new("html", "status 200 with a web page"),
];

impl PlannerFault {
    /// Interprets a kind; transport faults are not Planner's own and give `None`.
    ///
    /// # Errors
    /// The kind is unknown, or its argument is missing or unusable.
    pub fn from_kind(kind: &FaultKind) -> Result<Option<Self>, FaultSpecError> {
        let FaultKind::Protocol { name, argument } = kind else {
            return Ok(None);
        };
        require_known(name, FAULT_KINDS)?;
        let argument = argument.as_deref().map(str::trim);
        let need = |expected| FaultSpecError::Argument {
            kind: name.clone(),
            expected,
        };
        let count = || {
            argument
                .and_then(|text| text.parse::<usize>().ok())
                .ok_or_else(|| need("a whole number"))
        };
        let code = || {
            argument
                .map(|text| {
                    text.parse::<i32>()
                        .map_err(|_| need("an error code, or nothing,"))
                })
                .transpose()
        };
        Ok(Some(match name.as_str() {
            "receipts-reversed" => Self::ReceiptsReversed,
            "receipts-shuffled" => Self::ReceiptsShuffled,
            "receipts-missing" => Self::ReceiptsMissing(count()?),
            "receipts-doubled" => Self::ReceiptsDoubled,
            "receipts-foreign" => Self::ReceiptsForeign,
            "id-case" => Self::IdCase,
            "code" => {
                let text = argument.unwrap_or_default();
                let (code, position) = match text.split_once('/') {
                    Some((code, position)) => (code, Some(position)),
                    None => (text, None),
                };
                let expected = "a receipt code and perhaps a position (15/2)";
                Self::Code {
                    code: code.trim().parse().map_err(|_| need(expected))?,
                    position: position
                        .map(|text| text.trim().parse().map_err(|_| need(expected)))
                        .transpose()?,
                }
            }
            "lost" => Self::Lost,
            "doubled" => Self::Doubled,
            "shifted" => Self::Shifted(
                argument
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| need("minutes"))?,
            ),
            "events-missing" => Self::EventsMissing(count()?),
            "events-doubled" => Self::EventsDoubled,
            "resources-empty" => Self::ResourcesEmpty,
            "fault" => Self::Fault,
            "fault-after" => Self::FaultAfter,
            "fault-details" => Self::FaultDetails(code()?),
            "fault-details-after" => Self::FaultDetailsAfter(code()?),
            "fault-nil" => Self::FaultNil,
            "bad-time" => Self::BadTime,
            "bad-code" => Self::BadCode,
            "bad-reference" => Self::BadReference,
            "missing-reference" => Self::MissingReference,
            "wrong-namespace" => Self::WrongNamespace,
            "malformed" => Self::Malformed,
            "half" => Self::Half,
            "dtd" => Self::Dtd,
            "entities" => Self::Entities,
            "external" => Self::External,
            "deep" => Self::Deep(count()?),
            "padding" => Self::Padding(count()?),
            "bad-utf8" => Self::BadUtf8,
            "empty" => Self::Empty,
            "html" => Self::Html,
            _ => {
                return Err(FaultSpecError::UnknownKind {
                    kind: name.clone(),
                    known: known(FAULT_KINDS),
                });
            }
        }))
    }

    /// What this fault makes of a finished answer.
    pub(super) fn spoil(&self, status: StatusCode, xml: String) -> Response {
        let xml = match self {
            Self::BadReference => replace_reference(&xml, |reference| format!("{{{reference}}}x")),
            Self::MissingReference => remove_reference(&xml),
            Self::WrongNamespace => xml.replace(ECS, ECS.trim_end_matches('/')),
            Self::Malformed => xml.replacen("</s:Body>", "", 1),
            Self::Half => {
                let half = xml.len() / 2;
                xml.char_indices()
                    .take_while(|(at, _)| *at < half)
                    .map(|(_, c)| c)
                    .collect()
            }
            Self::Dtd => format!("<!DOCTYPE s:Envelope [<!ENTITY a \"b\">]>{xml}"),
            Self::Entities => {
                let mut dtd = "<!DOCTYPE s:Envelope [<!ENTITY e0 \"0123456789\">".to_owned();
                for level in 1..10 {
                    let inner = format!("&e{};", level - 1).repeat(10);
                    dtd.push_str(&format!("<!ENTITY e{level} \"{inner}\">"));
                }
                format!("{dtd}]>{}", xml.replacen("<s:Body>", "<s:Body>&e9;", 1))
            }
            Self::External => format!(
                "<!DOCTYPE s:Envelope [<!ENTITY file SYSTEM \"file:///etc/passwd\">]>{}",
                xml.replacen("<s:Body>", "<s:Body>&file;", 1)
            ),
            Self::Deep(depth) => format!(
                "<s:Envelope xmlns:s=\"{SOAP}\"><s:Body>{}{}</s:Body></s:Envelope>",
                "<a>".repeat(*depth),
                "</a>".repeat(*depth)
            ),
            Self::Padding(bytes) => {
                xml.replacen("<s:Body>", &format!("<s:Body>{}", " ".repeat(*bytes)), 1)
            }
            Self::BadUtf8 => {
                let mut bytes = xml.replacen("<s:Body>", "<s:Body>\u{1}", 1).into_bytes();
                for byte in &mut bytes {
                    if *byte == 1 {
                        *byte = 0xff;
                    }
                }
                return Response::xml(status, bytes);
            }
            Self::Empty => return Response::xml(StatusCode::OK, ""),
            Self::Html => {
                return Response::new(
                    StatusCode::OK,
                    "text/html; charset=utf-8",
                    "<!DOCTYPE html><html><body>Maintenance</body></html>",
                );
            }
            _ => xml,
        };
        Response::xml(status, xml)
    }
}

const REFERENCE: [&str; 2] = [
    "<ServiceRequestLogReferenceIdentifier>",
    "</ServiceRequestLogReferenceIdentifier>",
];

fn replace_reference(xml: &str, change: impl Fn(&str) -> String) -> String {
    let [open, close] = REFERENCE;
    match xml
        .split_once(open)
        .and_then(|(head, rest)| Some((head, rest.split_once(close)?)))
    {
        Some((head, (reference, tail))) => {
            format!("{head}{open}{}{close}{tail}", change(reference))
        }
        None => xml.to_owned(),
    }
}

fn remove_reference(xml: &str) -> String {
    let [open, close] = REFERENCE;
    replace_reference(xml, |_| String::new()).replace(&format!("{open}{close}"), "")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_listed_is_understood_and_no_other() {
        for kind in FAULT_KINDS {
            let text = kind
                .form
                .replace(['[', ']'], "")
                .replace("CODE/POSITION", "15/2")
                .replace("CODE", "15")
                .replace("MINUTES", "5")
                .replace("BYTES", "5")
                .replace(":N", ":5");
            let read = PlannerFault::from_kind(&text.parse().unwrap()).unwrap();
            assert!(read.is_some(), "{text}");
        }
        let error = PlannerFault::from_kind(&"frobnicate".parse().unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("html; and on the transport: delay:MS")
        );
    }
}
