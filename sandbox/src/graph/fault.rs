//! What can go wrong in Graph's own words, beside what the transport knows.

use serde_json::{Value, json};

use super::error::GraphError;
use crate::fault::{FaultKind, FaultSpecError, Kind, require_known};

/// The kinds of faults that Graph knows, beside those of the transport.
pub const FAULT_KINDS: &[Kind] = &[
    Kind::new(
        "error:STATUS/CODE[/SECONDS]",
        "an error of Graph, with Retry-After if seconds are given; nothing is processed",
    ),
    Kind::new("html", "processed; a page instead of JSON, with status 200"),
    Kind::new("redirect:URL", "a redirection; nothing is processed"),
    Kind::new(
        "wrong-type:NAME",
        "in each event the property is of another type",
    ),
    Kind::new(
        "unknown-value:NAME",
        "in each event the property holds a word that nobody knows",
    ),
    Kind::new("missing:NAME", "in each event the property is missing"),
    Kind::new(
        "endless",
        "a list of changes gives the same page again and never ends",
    ),
    Kind::new("link:URL", "the answer's links lead there"),
    Kind::new("no-link", "the answer has no link"),
    Kind::new("not-json", "the answer's JSON breaks off"),
];

/// A fault, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GraphFault {
    Error(GraphError),
    Html,
    Redirect(String),
    WrongType(String),
    UnknownValue(String),
    Missing(String),
    Endless,
    Link(String),
    NoLink,
    NotJson,
}

/// # Errors
/// The kind is not known, or lacks what it needs.
pub(super) fn read(kind: &FaultKind) -> Result<Option<GraphFault>, FaultSpecError> {
    let FaultKind::Protocol { name, argument } = kind else {
        return Ok(None);
    };
    require_known(name, FAULT_KINDS)?;
    let need = |expected| FaultSpecError::Argument {
        kind: name.clone(),
        expected,
    };
    let text = |expected| argument.clone().ok_or_else(|| need(expected));
    Ok(Some(match name.as_str() {
        "error" => {
            let text = text("a status and a code, such as 429/ApplicationThrottled/30")?;
            let mut parts = text.split('/');
            let status = parts.next().and_then(|part| part.parse().ok());
            let status = status.ok_or_else(|| need("a status and a code"))?;
            let code = parts.next().ok_or_else(|| need("a status and a code"))?;
            let retry_after = parts.next().and_then(|part| part.parse().ok());
            GraphFault::Error(GraphError {
                status,
                code: code.to_owned().into(),
                message: "An injected fault.".to_owned(),
                retry_after,
            })
        }
        "html" => GraphFault::Html,
        "redirect" => GraphFault::Redirect(text("a URL")?),
        "wrong-type" => GraphFault::WrongType(text("a property's name")?),
        "unknown-value" => GraphFault::UnknownValue(text("a property's name")?),
        "missing" => GraphFault::Missing(text("a property's name")?),
        "endless" => GraphFault::Endless,
        "link" => GraphFault::Link(text("a URL")?),
        "no-link" => GraphFault::NoLink,
        _ => GraphFault::NotJson,
    }))
}

/// Spoils the body of an answer.
pub(super) fn spoil(fault: &GraphFault, body: &mut Value) {
    let change = |body: &mut Value, name: &str, value: Option<Value>| {
        let apply = |event: &mut Value| {
            if let Some(event) = event
                .as_object_mut()
                .filter(|event| event.contains_key(name))
            {
                match &value {
                    Some(value) => {
                        event.insert(name.to_owned(), value.clone());
                    }
                    None => {
                        event.remove(name);
                    }
                }
            }
        };
        match body.get_mut("value").and_then(Value::as_array_mut) {
            Some(events) => events.iter_mut().for_each(apply),
            None => apply(body),
        }
    };
    match fault {
        GraphFault::WrongType(name) => change(body, name, Some(json!({ "odd": [1, 2, 3] }))),
        GraphFault::UnknownValue(name) => change(body, name, Some(json!("somethingNew"))),
        GraphFault::Missing(name) => change(body, name, None),
        GraphFault::Link(url) => {
            for name in ["@odata.nextLink", "@odata.deltaLink"] {
                if body.get(name).is_some() {
                    body[name] = json!(url);
                }
            }
        }
        GraphFault::NoLink => {
            if let Some(body) = body.as_object_mut() {
                body.remove("@odata.nextLink");
                body.remove("@odata.deltaLink");
            }
        }
        _ => {}
    }
}
