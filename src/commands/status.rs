//! `status`: the state of every sync and calendar, from the state file; also while the service runs.

use calbridge_core::engine::SyncConfig;
use calbridge_core::engine::roster;
use calbridge_core::model::CalendarKind;
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{
    CalendarState, ConnectionTrouble, Counts, Left, Others, Pause, Store as _, Trouble,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::session::{Session, addresses, require_known};
use super::words;
use crate::cli::StatusArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};

#[derive(Serialize)]
struct Status {
    /// What operators paused, the longest first.
    pauses: Vec<Pause>,
    /// The connections of the syncs.
    connections: Vec<ConnectionStatus>,
    syncs: Vec<SyncStatus>,
}

#[derive(Serialize)]
struct ConnectionStatus {
    connection: String,
    /// Whether it answered when it was last asked; absent: it was never asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reachable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<ConnectionTrouble>,
}

#[derive(Serialize)]
struct SyncStatus {
    sync: String,
    source: String,
    sink: String,
    /// How many calendars take part.
    active: usize,
    /// How many of them have trouble.
    troubled: usize,
    /// Of how many of them not every appointment could be read.
    unreadable: usize,
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
    /// Nothing of it is written.
    observed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Left>,
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inventoried: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
    /// Not every appointment could be read the last time.
    unreadable: bool,
    /// When somebody else was last found to write our records.
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<Others>,
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
    require_known(&store, &syncs, &only).await?;
    let mut status = Status {
        pauses: store.pauses().await?,
        connections: connections(&store, &syncs).await?,
        syncs: Vec::new(),
    };
    for sync in &syncs {
        let mut calendars = Vec::new();
        for state in store.calendars(&sync.name).await? {
            if !only.is_empty() && !only.contains(&state.calendar.address) {
                continue;
            }
            let counts = store.counts(&sync.name, &sync.source, state.id).await?;
            let source = store.source_state(&sync.source, state.id).await?;
            calendars.push(calendar(sync, state, counts, source.unreadable));
        }
        calendars.sort_by(|a, b| a.address.cmp(&b.address));
        status.syncs.push(SyncStatus {
            sync: sync.name.clone(),
            source: sync.source.clone(),
            sink: sync.sink.clone(),
            active: calendars
                .iter()
                .filter(|calendar| calendar.takes_part)
                .count(),
            troubled: calendars
                .iter()
                .filter(|calendar| calendar.takes_part && calendar.trouble.is_some())
                .count(),
            unreadable: calendars
                .iter()
                .filter(|calendar| calendar.takes_part && calendar.unreadable)
                .count(),
            total: total(&calendars),
            calendars,
        });
    }
    output.show(&status, || text(&status, session.clock.now()))?;
    Ok(Exit::Success)
}

/// How the connections of these syncs answered last, each once, sources first.
async fn connections(
    store: &SqliteStore,
    syncs: &[SyncConfig],
) -> Result<Vec<ConnectionStatus>, AppError> {
    let mut known = store.connections().await?;
    let mut statuses: Vec<ConnectionStatus> = Vec::new();
    for name in syncs.iter().flat_map(|sync| [&sync.source, &sync.sink]) {
        if statuses.iter().any(|status| status.connection == *name) {
            continue;
        }
        let state = known
            .iter()
            .position(|state| state.connection == *name)
            .map(|position| known.swap_remove(position));
        statuses.push(ConnectionStatus {
            connection: name.clone(),
            reachable: state.as_ref().map(|state| state.trouble.is_none()),
            reached: state.as_ref().and_then(|state| state.reached),
            trouble: state.and_then(|state| state.trouble),
        });
    }
    Ok(statuses)
}

fn calendar(
    sync: &SyncConfig,
    state: CalendarState,
    counts: Counts,
    unreadable: bool,
) -> CalendarStatus {
    CalendarStatus {
        takes_part: roster::takes_part(&state, &sync.roster),
        observed: sync.observes(&state.calendar.address),
        address: state.calendar.address.as_str().to_owned(),
        handle: state.calendar.handle(),
        kind: state.kind,
        left: state.left,
        succeeded: state.succeeded,
        inventoried: state.inventoried,
        trouble: state.trouble,
        others: state.others,
        unreadable,
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
    let rows: Vec<Vec<String>> = status
        .connections
        .iter()
        .map(|connection| connection_row(connection, now))
        .collect();
    let head = ["CONNECTION", "STATE", "LAST ANSWER", "TROUBLE"];
    let mut lines: Vec<String> = status
        .pauses
        .iter()
        .map(|pause| {
            format!(
                "PAUSED for {}: {}; nothing is read or written there until an operator resumes it.",
                length(pause.since, now),
                pause.scope
            )
        })
        .collect();
    lines.extend([table(&head, &rows), String::new()]);
    for sync in &status.syncs {
        let unreadable = match sync.unreadable {
            0 => String::new(),
            some => format!(", {some} with appointments that cannot be read"),
        };
        lines.push(format!(
            "Sync `{}`: {} taking part, {} with trouble{unreadable}.",
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
            lines.push(none_known(status, sync));
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

/// Why no calendar is known.
fn none_known(status: &Status, sync: &SyncStatus) -> String {
    let troubled = status.connections.iter().find(|connection| {
        connection.trouble.is_some()
            && (connection.connection == sync.source || connection.connection == sync.sink)
    });
    match troubled {
        Some(connection) => format!(
            "No calendar is known yet: `{}` is in trouble, see above; `calbridge check` tries it anew.",
            connection.connection
        ),
        None => "No calendar is known yet; run `calbridge sync`.".to_owned(),
    }
}

fn connection_row(connection: &ConnectionStatus, now: Timestamp) -> Vec<String> {
    let state = match (&connection.trouble, connection.reachable) {
        (Some(trouble), _) => format!(
            "{} (for {})",
            words::connection(trouble.kind),
            length(trouble.since, now)
        ),
        (None, Some(_)) => "reachable".to_owned(),
        (None, None) => "not asked yet".to_owned(),
    };
    vec![
        connection.connection.clone(),
        state,
        connection
            .reached
            .map_or_else(|| "never".to_owned(), |at| ago(at, now)),
        connection
            .trouble
            .as_ref()
            .map(|trouble| words::trouble(&trouble.code, &trouble.message))
            .unwrap_or_default(),
    ]
}

fn row(calendar: &CalendarStatus, now: Timestamp) -> Vec<String> {
    let state = match (&calendar.left, calendar.takes_part) {
        (Some(left), _) => format!("parked ({})", left.code),
        (None, true) if calendar.observed => "observed".to_owned(),
        (None, true) if calendar.inventoried.is_none() => "adopting".to_owned(),
        (None, true) => "active".to_owned(),
        (None, false) => "denied".to_owned(),
    };
    let counts = &calendar.counts;
    let trouble = match &calendar.trouble {
        Some(trouble) => words::trouble(&trouble.code, &trouble.message),
        None if calendar.unreadable => {
            "some of its appointments cannot be read and are left as they are; the log of the last full reading names them"
                .to_owned()
        }
        None => calendar.others.map_or_else(String::new, |others| intruders(others, now)),
    };
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

/// That somebody else writes, as long as it is worth knowing.
fn intruders(others: Others, now: Timestamp) -> String {
    if now.duration_since(others.at) > WORTH_KNOWING {
        return String::new();
    }
    format!(
        "somebody else made, changed or removed {} ({}): is a predecessor, or a second calbridge, still at work?",
        words::count(
            usize::try_from(others.records).unwrap_or(usize::MAX),
            "record"
        ),
        ago(others.at, now)
    )
}

/// How long it is told that somebody else wrote.
const WORTH_KNOWING: SignedDuration = SignedDuration::from_hours(24 * 7);

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", length(at, now))
}

/// How long it is from one instant to another, roughly.
fn length(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
