//! `$batch`: several requests in one (Graph, "Combine multiple HTTP requests using JSON batching").

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::app::Application;
use super::error::GraphError;
use super::service::{Answered, Asking, Service, operation, too_many};

/// The most parts.
const MOST: usize = 20;

/// Answers a batch. Its parts run side by side, each within its mailbox's limit; answers come in another order.
pub(super) async fn answer(
    service: &Service,
    asking: &Asking,
    application: &Application,
    latency: Duration,
) -> Result<Answered, GraphError> {
    let wrong = |text: &str| GraphError::new(400, "BadRequest", text);
    let requests = asking
        .body
        .get("requests")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong("Invalid batch payload format."))?;
    if requests.len() > MOST {
        return Err(wrong(
            "Number of batch request steps exceeds the maximum value of 20.",
        ));
    }
    let mut parts = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for request in requests {
        let id = request
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if id.is_empty() || ids.contains(&id.to_lowercase()) {
            return Err(wrong("Each request must have an id of its own."));
        }
        ids.push(id.to_lowercase());
        parts.push((id.to_owned(), read(request)?, depends_on(request)));
    }
    let mut running = Vec::new();
    let mut responses: Vec<Value> = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for (id, part, depends) in parts {
        let (name, mailbox) = operation(&part);
        let answered = if depends.iter().any(|one| failed.contains(one)) {
            Err(GraphError::new(
                424,
                "FailedDependency",
                "A request that this one depends on failed.",
            ))
        } else {
            match service.has_room(&mailbox, 1) {
                None => Err(too_many()),
                Some(turn) => {
                    running.push(turn);
                    let faults = service.strike(name, &mailbox);
                    match faults {
                        Some(error) => Err(error),
                        None => service.execute(&part, application, &[]),
                    }
                }
            }
        };
        service.record_part(name, &mailbox, &part, application, &answered);
        responses.push(match answered {
            Ok(answered) => json!({ "id": id, "status": answered.status, "headers": {}, "body": answered.body }),
            Err(error) => {
                failed.push(id.clone());
                let headers = match error.retry_after {
                    Some(seconds) => json!({ "Retry-After": seconds.to_string() }),
                    None => json!({}),
                };
                json!({ "id": id, "status": error.status, "headers": headers, "body": error.body() })
            }
        });
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    drop(running);
    responses.reverse();
    Ok(Answered {
        status: 200,
        items: responses.len(),
        body: json!({ "responses": responses }),
    })
}

fn depends_on(request: &Value) -> Vec<String> {
    let named = request.get("dependsOn").and_then(Value::as_array);
    named
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn read(request: &Value) -> Result<Asking, GraphError> {
    let wrong = |text: &str| GraphError::new(400, "BadRequest", text);
    let text = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let url = text("url");
    let url = url.strip_prefix("/v1.0").unwrap_or(url);
    if !url.starts_with('/') {
        return Err(wrong(
            "A part's url must be relative and begin with a slash.",
        ));
    }
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in request
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value.as_str().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    let body = request.get("body").cloned().unwrap_or(Value::Null);
    if !body.is_null() && !headers.contains_key("content-type") {
        return Err(wrong("A part with a body must have a Content-Type header."));
    }
    Ok(Asking {
        method: text("method")
            .parse()
            .map_err(|_| wrong("A part's method is none."))?,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
    })
}
