//! `explain`: why an appointment is, or is not, on the other side. The search for faults of a manual, done by
//! the program: roster, lists, trouble of the calendar, then each appointment's row and what is decided of it.

mod calendar;
mod events;
mod replay;

use calbridge_core::engine::{OnSink, SyncConfig};
use calbridge_core::model::Address;
use calbridge_core::store::Store as _;
use serde::Serialize;

use self::calendar::{live, points};
use self::events::{Wanted, events};
use self::replay::Past;
use super::session::{Session, unknown_address};
use super::words;
use crate::cli::ExplainArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

#[derive(Serialize)]
struct Explanation {
    address: String,
    /// Whether a roster names it or ever did, or a list of the configuration.
    known: bool,
    syncs: Vec<SyncExplanation>,
}

#[derive(Serialize)]
struct SyncExplanation {
    sync: String,
    /// About the calendar as a whole, in the order in which an operator would look.
    calendar: Vec<Point>,
    /// The appointments that were asked for.
    events: Vec<EventExplanation>,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Point {
    /// Whether it stands in the way.
    good: bool,
    text: String,
}

#[derive(Serialize)]
struct EventExplanation {
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Whether the other side holds it.
    on_sink: OnSink,
    /// What happens next.
    next: String,
    /// Why.
    why: String,
    /// Further facts: refusals, waits, holds.
    notes: Vec<String>,
    /// What was decided before, newest first.
    history: Vec<Past>,
}

/// How many appointments are shown that nobody named.
const SHOWN: usize = 20;

fn standing_out(count: usize) -> String {
    let what = words::count(count, "appointment");
    let shown = if count > SHOWN {
        format!("the first {SHOWN} are shown")
    } else {
        "shown below".to_owned()
    };
    format!("{what} with a write that was refused, held back, not answered or put off; {shown}")
}

/// Why nothing may be known of an appointment.
fn unknown(session: &Session, sync: &SyncConfig, wanted: &Wanted) -> String {
    if let (Wanted::Day(day), Some(rules)) = (wanted, session.rules(sync)) {
        let end = rules.zone.to_datetime(rules.window.end()).date();
        let (first, last) = (rules.window_day(), end.yesterday().unwrap_or(end));
        if *day < first || *day > last {
            return format!(
                "{day} lies outside of what is kept in step, {first} to {last}: what is later is sent once the window has rolled on, what has passed is left alone"
            );
        }
    }
    "calbridge knows no such appointment: it is not in the source's calendar inside the window, it has another UID, or it has not been read yet (`calbridge sync --full`)".to_owned()
}

pub(super) async fn run(
    session: Session,
    args: ExplainArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let address = Address::new(&args.address).map_err(|_| {
        AppError::Usage(format!(
            "`{}` is not an address such as anna@kommune.example",
            args.address
        ))
    })?;
    let wanted = match &args.event {
        Some(event) => Wanted::read(event)?,
        None => Wanted::StandingOut,
    };
    let store = session.store_to_read().await?;
    let mut explanation = Explanation {
        address: address.as_str().to_owned(),
        known: false,
        syncs: Vec::new(),
    };
    for sync in &session.config.syncs {
        let state = store
            .calendars(&sync.name)
            .await?
            .into_iter()
            .find(|state| state.calendar.address == address);
        explanation.known |= state.is_some()
            || sync.roster.deny.contains(&address)
            || sync.roster.allow.contains(&address);
        let mut calendar = points(sync, &address, state.as_ref(), &session);
        if !args.offline {
            let (said, named) = live(&session, sync, &address, state.as_ref()).await;
            calendar.extend(said);
            explanation.known |= named;
        }
        let mut events = match &state {
            Some(state) => events(&session, &store, sync, state, &wanted).await?,
            None => Vec::new(),
        };
        if matches!(wanted, Wanted::StandingOut) && !events.is_empty() {
            calendar.push(bad(standing_out(events.len())));
            events.truncate(SHOWN);
        }
        if let Some(state) = &state
            && store.source_state(&sync.source, state.id).await?.unreadable
        {
            calendar.push(bad(
                "not every appointment of this calendar could be read the last time; what is known of them is kept, and the log of that reading tells why",
            ));
        }
        if state.is_some() && args.event.is_some() && events.is_empty() {
            calendar.push(bad(unknown(&session, sync, &wanted)));
        }
        explanation.syncs.push(SyncExplanation {
            sync: sync.name.clone(),
            calendar,
            events,
        });
    }
    let unknown = (!explanation.known).then(|| unknown_address(&address, &session.config.syncs));
    output.show(&explanation, || {
        let unknown = unknown
            .as_ref()
            .map(|error| format!("Not known: {error}.\n"));
        unknown.unwrap_or_default() + &text(&explanation)
    })?;
    Ok(unknown.map_or(Exit::Success, |error| error.exit()))
}

fn good(text: impl Into<String>) -> Point {
    Point {
        good: true,
        text: text.into(),
    }
}

fn bad(text: impl Into<String>) -> Point {
    Point {
        good: false,
        text: text.into(),
    }
}

fn text(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    for sync in &explanation.syncs {
        lines.push(format!("{} in sync `{}`:", explanation.address, sync.sync));
        for point in &sync.calendar {
            lines.push(format!(
                "  {} {}",
                if point.good { "+" } else { "!" },
                point.text
            ));
        }
        for event in &sync.events {
            lines.push(String::new());
            let time = event.time.as_deref().unwrap_or("time unknown");
            lines.push(format!("  Appointment {time}, UID {}", event.uid));
            let held = match event.on_sink {
                OnSink::Present => "The other side holds it",
                OnSink::Absent => "The other side does not hold it",
                OnSink::Unknown => "Whether the other side holds it is not known",
            };
            let id = event
                .external_id
                .as_ref()
                .filter(|_| event.on_sink != OnSink::Absent)
                .map(|id| format!(" under the id {id}"))
                .unwrap_or_default();
            lines.push(format!("    {held}{id}."));
            lines.push(format!("    Next: {}, because {}.", event.next, event.why));
            lines.extend(event.notes.iter().map(|note| format!("    Note: {note}.")));
            lines.extend(
                event
                    .history
                    .iter()
                    .map(|past| format!("    Before: {}.", past.text())),
            );
        }
        lines.push(String::new());
    }
    lines.join("\n")
}
