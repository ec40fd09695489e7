//! Faults of the EWS protocol, beside those of [`crate::fault`].

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;

use super::profile::Profile;
use super::soap::{self, EwsError};
use super::xml::Element;
use crate::fault::{FaultKind, FaultSpecError, Kind, known, require_known};
use crate::server::{Body, Reply, Response};

/// How long ErrorServerBusy asks to wait when the fault does not say, in milliseconds.
const BACK_OFF: u64 = 297_749;

/// What this server can be made to do wrong, beside what every server can.
pub const FAULT_KINDS: &[Kind] = &[
    Kind::new(
        "busy-fault[:MS]",
        "ErrorServerBusy as a fault with BackOffMilliseconds; not processed",
    ),
    Kind::new(
        "busy-items[:MS]",
        "ErrorServerBusy in every response message (HTTP 200)",
    ),
    Kind::new("busy-503[:SECONDS]", "a plain 503 with Retry-After"),
    Kind::new(
        "busy-wrapped[:MS]",
        "ErrorInternalServerError that wraps ErrorServerBusy",
    ),
    Kind::new("fault:CODE", "this code as a fault (HTTP 500)"),
    Kind::new("error:CODE", "this code in every response message"),
    Kind::new(
        "item-error:CODE/N",
        "processed; this code for item N of the batch, from 1",
    ),
    Kind::new(
        "item-refused:CODE/N",
        "this code for item N of the batch, which is not processed; the others are",
    ),
    Kind::new(
        "start-refused:INSTANT",
        "ErrorInvalidPropertySet for every new item that starts then; the others are processed",
    ),
    Kind::new(
        "touched",
        "before processing somebody else saves every item that the request names",
    ),
    Kind::new(
        "batch-stop:N",
        "processed; after N items ErrorBatchProcessingStopped warnings",
    ),
    Kind::new("unauthorized", "401"),
    Kind::new("malformed", "processed; the answer's XML is broken"),
    Kind::new("dtd", "an entity bomb as the answer"),
    Kind::new("deep[:LEVELS]", "an answer of so many nested elements"),
    Kind::new(
        "oversized[:BYTES]",
        "processed; the answer is padded to this size",
    ),
    Kind::new("slow:MS", "processed; the body trickles over this time"),
    Kind::new(
        "wrong-types",
        "processed; dates and booleans of items are nonsense",
    ),
    Kind::new(
        "missing:NAME",
        "processed; elements of this local name are left out",
    ),
    Kind::new(
        "no-recurrence-id",
        "processed; RecurrenceId and OriginalStart are left out",
    ),
    Kind::new(
        "duplicate-ids",
        "processed; every item has the id of the first",
    ),
    Kind::new(
        "duplicate-items",
        "processed; every item of a list comes twice",
    ),
    Kind::new(
        "unknown-enum",
        "processed; enumerated values are ones that no schema has",
    ),
    Kind::new(
        "half-open:BYTES",
        "of a stream: after so many bytes nothing more comes, not even the end",
    ),
    Kind::new("pieces:BYTES", "of a stream: in pieces of so many bytes"),
    Kind::new(
        "gather:MS",
        "of a stream: what comes within this time comes in one piece",
    ),
    Kind::new(
        "bom",
        "of a stream: a byte order mark before every envelope",
    ),
    Kind::new(
        "stream-error:CODE",
        "of a stream: after the first envelope one with this code and no ids, then the end",
    ),
    Kind::new("redirect:URL", "of autodiscover: a 302 to this address"),
    Kind::new(
        "view-limit:N",
        "processed; a CalendarView silently holds N items at most",
    ),
];

/// A protocol fault, read from its name and argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EwsFault {
    BusyFault(u64),
    BusyItems(u64),
    Busy503(u64),
    BusyWrapped(u64),
    Fault(String),
    Error(String),
    ItemError(String, usize),
    ItemRefused(String, usize),
    StartRefused(jiff::Timestamp),
    Touched,
    BatchStop(usize),
    Unauthorized,
    Malformed,
    Dtd,
    Deep(usize),
    Oversized(usize),
    Slow(Duration),
    WrongTypes,
    Missing(Vec<String>),
    DuplicateIds,
    DuplicateItems,
    UnknownEnum,
    ViewLimit(usize),
    HalfOpen(usize),
    Pieces(usize),
    Gather(Duration),
    Bom,
    StreamError(String),
    Redirect(String),
}

/// Reads a kind; transport faults are `None`.
pub(crate) fn read(kind: &FaultKind) -> Result<Option<EwsFault>, FaultSpecError> {
    let FaultKind::Protocol { name, argument } = kind else {
        return Ok(None);
    };
    require_known(name, FAULT_KINDS)?;
    let need = |expected| FaultSpecError::Argument {
        kind: name.clone(),
        expected,
    };
    let number = |default: Option<u64>| match argument {
        None => default.ok_or(need("a number")),
        Some(text) => text.trim().parse::<u64>().map_err(|_| need("a number")),
    };
    let size = |default: Option<u64>| {
        number(default).and_then(|n| usize::try_from(n).map_err(|_| need("a smaller number")))
    };
    let code = || {
        argument
            .clone()
            .filter(|code| code.starts_with("Error"))
            .ok_or(need("a response code like ErrorItemNotFound"))
    };
    Ok(Some(match name.as_str() {
        "busy-fault" => EwsFault::BusyFault(number(Some(BACK_OFF))?),
        "busy-items" => EwsFault::BusyItems(number(Some(BACK_OFF))?),
        "busy-503" => EwsFault::Busy503(number(Some(1))?),
        "busy-wrapped" => EwsFault::BusyWrapped(number(Some(BACK_OFF))?),
        "fault" => EwsFault::Fault(code()?),
        "error" => EwsFault::Error(code()?),
        "item-error" => {
            let (code, place) = place(&code()?).ok_or(need("CODE/N"))?;
            EwsFault::ItemError(code, place)
        }
        "item-refused" => {
            let (code, place) = place(&code()?).ok_or(need("CODE/N"))?;
            EwsFault::ItemRefused(code, place)
        }
        "start-refused" => {
            let instant = argument.as_deref().and_then(|text| text.parse().ok());
            EwsFault::StartRefused(instant.ok_or(need("an instant"))?)
        }
        "touched" => EwsFault::Touched,
        "batch-stop" => EwsFault::BatchStop(size(None)?),
        "unauthorized" => EwsFault::Unauthorized,
        "malformed" => EwsFault::Malformed,
        "dtd" => EwsFault::Dtd,
        "deep" => EwsFault::Deep(size(Some(100_000))?),
        "oversized" => EwsFault::Oversized(size(Some(64 * 1024 * 1024))?),
        "slow" => EwsFault::Slow(Duration::from_millis(number(None)?)),
        "wrong-types" => EwsFault::WrongTypes,
        "missing" => EwsFault::Missing(vec![
            argument
                .clone()
                .filter(|name| !name.is_empty())
                .ok_or(need("an element's local name"))?,
        ]),
        "no-recurrence-id" => {
            EwsFault::Missing(vec!["RecurrenceId".to_owned(), "OriginalStart".to_owned()])
        }
        "duplicate-ids" => EwsFault::DuplicateIds,
        "duplicate-items" => EwsFault::DuplicateItems,
        "unknown-enum" => EwsFault::UnknownEnum,
        "view-limit" => EwsFault::ViewLimit(size(None)?),
        "half-open" => EwsFault::HalfOpen(size(None)?),
        "pieces" => EwsFault::Pieces(size(None)?.max(1)),
        "gather" => EwsFault::Gather(Duration::from_millis(number(None)?)),
        "bom" => EwsFault::Bom,
        "stream-error" => EwsFault::StreamError(code()?),
        "redirect" => EwsFault::Redirect(
            argument
                .clone()
                .filter(|url| !url.is_empty())
                .ok_or(need("an address"))?,
        ),
        _ => {
            return Err(FaultSpecError::UnknownKind {
                kind: name.clone(),
                known: known(FAULT_KINDS),
            });
        }
    }))
}

/// A code and the place of an item, from 1.
fn place(text: &str) -> Option<(String, usize)> {
    let (code, place) = text.split_once('/')?;
    let place = place.trim().parse().ok().filter(|n| *n > 0)?;
    Some((code.to_owned(), place))
}

fn busy(code: &str, back_off: u64) -> EwsError {
    EwsError::of(code).with_value("BackOffMilliseconds", back_off.to_string())
}

/// Faults that answer instead of the operation. `items` is how many response messages the answer has.
pub(crate) fn before(
    fault: &EwsFault,
    profile: Profile,
    operation: &str,
    items: usize,
) -> Option<Reply> {
    let in_items = |error: &EwsError| {
        let messages = (0..items.max(1)).map(|_| soap::failure(operation, error));
        Some(
            Response::xml(
                StatusCode::OK,
                soap::envelope(profile, &soap::answer(operation, messages)),
            )
            .into(),
        )
    };
    match fault {
        EwsFault::BusyFault(back_off) => Some(soap::fault_reply(
            profile,
            &busy("ErrorServerBusy", *back_off),
            true,
        )),
        EwsFault::BusyWrapped(back_off) => {
            let error = busy("ErrorInternalServerError", *back_off)
                .with_value("InnerErrorResponseCode", "ErrorServerBusy")
                .with_value(
                    "InnerErrorMessageText",
                    "The server cannot service this request right now. Try again later.",
                );
            Some(soap::fault_reply(profile, &error, true))
        }
        EwsFault::BusyItems(back_off) => in_items(&busy("ErrorServerBusy", *back_off)),
        EwsFault::Busy503(seconds) => Some(
            Response::text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
                .with_header("retry-after", &seconds.to_string())
                .into(),
        ),
        EwsFault::Fault(code) => Some(soap::fault_reply(profile, &EwsError::of(code), true)),
        EwsFault::Error(code) => in_items(&EwsError::of(code)),
        EwsFault::Unauthorized => Some(
            Response::text(StatusCode::UNAUTHORIZED, "")
                .with_header("www-authenticate", "Basic realm=\"localhost\"")
                .into(),
        ),
        EwsFault::Dtd => Some(Response::xml(StatusCode::OK, entity_bomb()).into()),
        EwsFault::Deep(levels) => {
            let body = format!("{}{}", "<a>".repeat(*levels), "</a>".repeat(*levels));
            Some(Response::xml(StatusCode::OK, body).into())
        }
        _ => None,
    }
}

/// A billion laughs: ten levels of ten references each.
fn entity_bomb() -> String {
    let mut out = String::from("<?xml version=\"1.0\"?><!DOCTYPE s [<!ENTITY e0 \"ha\">");
    for level in 1..10 {
        out.push_str(&format!(
            "<!ENTITY e{level} \"{}\">",
            format!("&e{};", level - 1).repeat(10)
        ));
    }
    out.push_str("]><s>&e9;</s>");
    out
}

/// Faults that change an answer.
pub(crate) fn change(fault: &EwsFault, operation: &str, body: &mut Element) {
    match fault {
        EwsFault::ItemError(code, place) => {
            let messages = body.children.first_mut().map(|list| &mut list.children);
            if let Some(message) = messages.and_then(|messages| messages.get_mut(place - 1)) {
                *message = soap::failure(operation, &EwsError::of(code));
            }
        }
        EwsFault::BatchStop(after) => {
            let messages = body
                .children
                .first_mut()
                .map(|list| list.children.as_mut_slice())
                .unwrap_or_default();
            for message in messages.iter_mut().skip(*after) {
                let mut stopped =
                    soap::failure(operation, &EwsError::of("ErrorBatchProcessingStopped"));
                for (name, value) in &mut stopped.attributes {
                    if name == "ResponseClass" {
                        "Warning".clone_into(value);
                    }
                }
                *message = stopped;
            }
        }
        EwsFault::WrongTypes => walk(body, &mut |element| match element.local() {
            "Start" | "End" | "OriginalStart" | "RecurrenceId" | "LastModifiedTime" => {
                "the day after".clone_into(&mut element.text);
            }
            "IsAllDayEvent" | "IsCancelled" => "perhaps".clone_into(&mut element.text),
            "NumberOfOccurrences" | "Interval" | "DayOfMonth" => {
                "many".clone_into(&mut element.text);
            }
            _ => {}
        }),
        EwsFault::UnknownEnum => walk(body, &mut |element| match element.local() {
            "LegacyFreeBusyStatus" => "Daydreaming".clone_into(&mut element.text),
            "Sensitivity" => "Delicate".clone_into(&mut element.text),
            "CalendarItemType" => "Singular".clone_into(&mut element.text),
            "MyResponseType" => "Shrug".clone_into(&mut element.text),
            "DayOfWeekIndex" => "Fifth".clone_into(&mut element.text),
            _ => {}
        }),
        EwsFault::Missing(names) => walk(body, &mut |element| {
            element
                .children
                .retain(|child| !names.iter().any(|name| name == child.local()));
        }),
        EwsFault::DuplicateIds => {
            let mut first = None;
            walk(body, &mut |element| {
                if element.name == "t:CalendarItem"
                    && let Some(id) = element
                        .children
                        .iter_mut()
                        .find(|child| child.name == "t:ItemId")
                {
                    match &first {
                        None => first = Some(id.clone()),
                        Some(first) => id.clone_from(first),
                    }
                }
            });
        }
        EwsFault::DuplicateItems => walk(body, &mut |element| {
            if matches!(element.name.as_str(), "m:Changes" | "t:Items") {
                element.children = element
                    .children
                    .iter()
                    .flat_map(|child| [child.clone(), child.clone()])
                    .collect();
            }
        }),
        EwsFault::ViewLimit(most) if operation == "FindItem" => walk(body, &mut |element| {
            if element.name == "m:RootFolder" {
                let kept = element.children.first_mut().map_or(0, |items| {
                    items.children.truncate(*most);
                    items.children.len()
                });
                for (name, value) in &mut element.attributes {
                    if name == "TotalItemsInView" {
                        *value = kept.to_string();
                    }
                }
            }
        }),
        _ => {}
    }
}

fn walk(element: &mut Element, visit: &mut impl FnMut(&mut Element)) {
    visit(element);
    for child in &mut element.children {
        walk(child, visit);
    }
}

/// Faults that change the bytes of an answer.
pub(crate) fn spoil(fault: &EwsFault, mut response: Response) -> Response {
    let Body::Full(body) = &response.body else {
        return response;
    };
    match fault {
        EwsFault::Malformed => {
            let text = String::from_utf8_lossy(body).replacen("</s:Body>", "</s:Bodie>", 1);
            response.body = Body::Full(text.into());
        }
        EwsFault::Oversized(bytes) => {
            let text = String::from_utf8_lossy(body);
            let filler = "<!--".to_owned() + &"x".repeat(bytes.saturating_sub(text.len())) + "-->";
            response.body = Body::Full(
                text.replacen("<s:Body>", &format!("{filler}<s:Body>"), 1)
                    .into(),
            );
        }
        EwsFault::Slow(time) => {
            const PIECES: usize = 10;
            let step = *time / u32::try_from(PIECES).unwrap_or(1);
            let size = body.len().div_ceil(PIECES).max(1);
            let pieces: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
            let stream = futures_util::stream::iter(pieces).then(move |piece| async move {
                tokio::time::sleep(step).await;
                Ok(piece)
            });
            response.body = Body::Stream(stream.boxed());
        }
        _ => {}
    }
    response
}

/// Faults that change a stream.
pub(crate) fn spoil_stream(mut response: Response, fault: &EwsFault) -> Response {
    response.body = match response.body {
        Body::Stream(pieces) => Body::Stream(super::notify::spoil(pieces, fault)),
        full @ Body::Full(_) => full,
    };
    response
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
                .replace("MS", "5")
                .replace("SECONDS", "5")
                .replace("CODE", "ErrorItemNotFound")
                .replace("LEVELS", "5")
                .replace("BYTES", "5")
                .replace("NAME", "Subject")
                .replace("INSTANT", "2026-12-01T08:00:00Z")
                .replace(":N", ":5")
                .replace("/N", "/5");
            assert!(read(&text.parse().unwrap()).unwrap().is_some(), "{text}");
        }
        let error = read(&"frobnicate".parse().unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("view-limit:N; and on the transport: delay:MS")
        );
    }
}
