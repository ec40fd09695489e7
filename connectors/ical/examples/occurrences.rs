//! Lists what the connector makes of one file, as JSON: `occurrences FILE START END`.
//!
//! `scripts/ical_crosscheck.py` compares the list with an independent implementation.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use calbridge_core::clock::SystemClock;
use calbridge_core::connector::{
    Change, ChangesRequest, Connector as _, Context, Error, ErrorKind, Scope,
};
use calbridge_core::model::{CalendarRef, Coverage, Field, FieldSet, Window};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_ical_source::IcalSource;
use serde_json::json;

#[derive(Debug)]
struct NoSecrets;

impl SecretResolver for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<secrecy::SecretString, SecretError> {
        Err(SecretError {
            reference: reference.to_string(),
            reason: "there are none".to_owned(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: occurrences FILE START END");
    let (file, start, end) = (argument()?, argument()?, argument()?);
    let address = "someone@example.org";
    let settings = serde_json::from_value(json!({ "path": file, "address": address }))?;
    let context = Context {
        connection: "example".to_owned(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(NoSecrets),
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    let connection = IcalSource::open(settings, context)?;
    let source = connection.source().ok_or("not a source")?;
    let start = start.parse()?;
    let request = ChangesRequest {
        calendar: CalendarRef::primary(address)?,
        cursor: None,
        window: Window::new(start, end.parse()?)?,
        covered: Coverage::none(),
        fields: FieldSet::from_iter([Field::Time]),
        full: false,
        now: start,
    };
    let listed = match source.changes(request).await {
        Ok(mut feed) => {
            let mut all = Vec::new();
            while let Some(batch) = feed.next(100).await? {
                all.extend(batch.changes);
            }
            Ok(all)
        }
        Err(error) => Err(error),
    };
    println!("{}", serde_json::to_string(&as_json(listed))?);
    Ok(())
}

fn as_json(listed: Result<Vec<Change>, Error>) -> serde_json::Value {
    let changes = match listed {
        Ok(changes) => changes,
        Err(error) if error.scope == Scope::Calendar && error.kind == ErrorKind::Protocol => {
            return json!({ "error": error });
        }
        Err(error) => return json!({ "failed": error }),
    };
    let (mut events, mut unreadable) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Item(event) => events.push(event),
            Change::Unreadable { uid, error, .. } => {
                unreadable.push(json!({ "uid": uid, "error": error.message }));
            }
            _ => {}
        }
    }
    json!({ "events": events, "unreadable": unreadable })
}
