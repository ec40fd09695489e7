//! Reads one mailbox, as a first pass does, for `scripts/exchangelib_figures.py`.
//!
//! Standard input is one line of JSON: `settings`, `password`, `mailbox`, `from`, `to` and `fields`. Prints one line of
//! JSON for each event.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use calbridge_core::clock::SystemClock;
use calbridge_core::connector::{Change, ChangesRequest, Connector as _, Context};
use calbridge_core::model::{CalendarRef, Coverage, Event, EventTime, FieldSet, Window};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_exchange_ews::ExchangeEws;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
struct Task {
    settings: serde_json::Value,
    password: String,
    mailbox: String,
    from: Timestamp,
    to: Timestamp,
    fields: FieldSet,
}

/// Whatever is asked for, it is the password.
#[derive(Debug)]
struct Password(SecretString);

impl SecretResolver for Password {
    fn resolve(&self, _: &SecretRef) -> Result<SecretString, SecretError> {
        Ok(self.0.clone())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    let context = Context {
        connection: "exchange".to_owned(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(Password(task.password.into())),
        shutdown: CancellationToken::new(),
    };
    let connection = ExchangeEws::open(serde_json::from_value(task.settings)?, context)?;
    let source = connection.source().ok_or("no source")?;
    let request = ChangesRequest {
        calendar: CalendarRef::primary(&task.mailbox)?,
        cursor: None,
        window: Window::new(task.from, task.to)?,
        covered: Coverage::none(),
        fields: task.fields,
        full: true,
        now: Timestamp::now(),
    };
    let mut feed = source.changes(request).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(batch) = feed.next(512).await? {
        for change in batch.changes {
            match change {
                Change::Item(event) => tell(&mut out, &event)?,
                Change::Group { members, .. } => {
                    for event in &members {
                        tell(&mut out, event)?;
                    }
                }
                _ => {}
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn tell(out: &mut impl std::io::Write, event: &Event) -> Result<(), Box<dyn Error>> {
    let EventTime::Timed { start, end, .. } = &event.content.time else {
        return Err("an appointment of whole days".into());
    };
    let content = &event.content;
    let line = serde_json::json!({
        "uid": event.key.uid(),
        "start": start.to_string(),
        "end": end.to_string(),
        "show_as": content.show_as,
        "cancelled": event.cancelled,
        "subject": content.subject,
        "location": content.location,
        "private": content.private,
        "categories": content.categories,
    });
    writeln!(out, "{line}")?;
    Ok(())
}
