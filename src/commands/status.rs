//! `status`: the state of every sync and calendar, from the state file; also while the service runs.

use calbridge_core::engine::SyncConfig;
use calbridge_core::engine::roster;
use calbridge_core::model::CalendarKind;
use calbridge_core::store::{CalendarState, Counts, Left, Store as _, Trouble};
use jiff::Timestamp;
use serde::Serialize;

use super::session::{Session, addresses};
use super::words;
use crate::cli::StatusArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};

#[derive(Serialize)]
struct Status {
    syncs: Vec<SyncStatus>,
}

#[derive(Serialize)]
struct SyncStatus {
    sync: String,
    /// How many calendars take part.
    active: usize,
    /// How many of them have trouble.
    troubled: usize,
    /// Sums over all calendars.
    total: Counts,
    calendars: Vec<CalendarStatus>,
}

#[derive(Serialize)]
struct CalendarStatus {
    address: String,
    /// The name of the calendar in logs.
    handle: String,
    kind: CalendarKind,
    takes_part: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inventoried: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
    counts: Counts,
}

pub(super) async fn run(
    session: Session,
    args: StatusArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let syncs = session.syncs(&args.selection)?;
    let only = addresses(&args.selection.calendars)?;
    let store = session.store_to_read().await?;
    let mut status = Status { syncs: Vec::new() };
    for sync in &syncs {
        let mut calendars = Vec::new();
        for state in store.calendars(&sync.name).await? {
            if !only.is_empty() && !only.contains(&state.calendar.address) {
                continue;
            }
            let counts = store.counts(&sync.name, &sync.source, state.id).await?;
            calendars.push(calendar(sync, state, counts));
        }
        calendars.sort_by(|a, b| a.address.cmp(&b.address));
        status.syncs.push(SyncStatus {
            sync: sync.name.clone(),
            active: calendars
                .iter()
                .filter(|calendar| calendar.takes_part)
                .count(),
            troubled: calendars
                .iter()
                .filter(|calendar| calendar.takes_part && calendar.trouble.is_some())
                .count(),
            total: total(&calendars),
            calendars,
        });
    }
    output.show(&status, || text(&status, session.clock.now()))?;
    Ok(Exit::Success)
}

fn calendar(sync: &SyncConfig, state: CalendarState, counts: Counts) -> CalendarStatus {
    CalendarStatus {
        takes_part: roster::takes_part(&state, &sync.roster),
        address: state.calendar.address.as_str().to_owned(),
        handle: state.calendar.handle(),
        kind: state.kind,
        left: state.left,
        succeeded: state.succeeded,
        inventoried: state.inventoried,
        trouble: state.trouble,
        counts,
    }
}

fn total(calendars: &[CalendarStatus]) -> Counts {
    calendars
        .iter()
        .fold(Counts::default(), |mut sum, calendar| {
            let counts = &calendar.counts;
            sum.source += counts.source;
            sum.sink += counts.sink;
            sum.retrying += counts.retrying;
            sum.unknown += counts.unknown;
            sum.dead += counts.dead;
            sum.held += counts.held;
            sum.foreign += counts.foreign;
            sum
        })
}

fn text(status: &Status, now: Timestamp) -> String {
    let mut lines = Vec::new();
    for sync in &status.syncs {
        lines.push(format!(
            "Sync `{}`: {} taking part, {} with trouble.",
            sync.sync,
            words::count(sync.active, "calendar"),
            sync.troubled
        ));
        let rows: Vec<Vec<String>> = sync
            .calendars
            .iter()
            .map(|calendar| row(calendar, now))
            .collect();
        if rows.is_empty() {
            lines.push("No calendar is known yet; run `calbridge sync`.".to_owned());
        } else {
            let head = [
                "CALENDAR", "HANDLE", "STATE", "SOURCE", "SINK", "OTHERS'", "WAITING", "UNKNOWN",
                "REFUSED", "HELD", "IN STEP", "TROUBLE",
            ];
            lines.push(table(&head, &rows));
        }
        lines.push(String::new());
    }
    lines.join("\n")
}

fn row(calendar: &CalendarStatus, now: Timestamp) -> Vec<String> {
    let state = match (&calendar.left, calendar.takes_part) {
        (Some(left), _) => format!("left ({})", left.code),
        (None, true) => "active".to_owned(),
        (None, false) => "denied".to_owned(),
    };
    let counts = &calendar.counts;
    let trouble = calendar
        .trouble
        .as_ref()
        .map(|trouble| format!("[{}] {}", trouble.code, trouble.message))
        .unwrap_or_default();
    let mut row = vec![calendar.address.clone(), calendar.handle.clone(), state];
    row.extend(
        [
            counts.source,
            counts.sink,
            counts.foreign,
            counts.retrying,
            counts.unknown,
            counts.dead,
            counts.held,
        ]
        .map(|count| count.to_string()),
    );
    row.push(
        calendar
            .succeeded
            .map_or_else(|| "never".to_owned(), |at| ago(at, now)),
    );
    row.push(trouble);
    row
}

/// How long ago, roughly.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
