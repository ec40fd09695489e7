//! `explain`: why an appointment is, or is not, on the other side. The search for faults of a manual, done by
//! the program: roster, lists, trouble of the calendar, then each appointment's row and what is decided of it.

use calbridge_core::connector::{CheckScope, Severity};
use calbridge_core::engine::decide::{DecideContext, Intent, decide};
use calbridge_core::engine::project::{Desired, project};
use calbridge_core::engine::roster::{NOT_ALLOWED, NOT_IN_ROSTER};
use calbridge_core::engine::{OnLeave, OnSink, RosterFrom, Row, Rules, SyncConfig};
use calbridge_core::model::{Address, CalendarRef};
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{CalendarState, DecisionRecord, Store as _};
use jiff::civil::Date;
use serde::Serialize;

use super::session::Session;
use super::words;
use crate::cli::ExplainArgs;
use crate::config::ConnectionConfig;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

#[derive(Serialize)]
struct Explanation {
    address: String,
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
    history: Vec<String>,
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
    let store = session.store_to_read().await?;
    let mut explanation = Explanation {
        address: address.as_str().to_owned(),
        syncs: Vec::new(),
    };
    for sync in &session.config.syncs {
        let state = store
            .calendars(&sync.name)
            .await?
            .into_iter()
            .find(|state| state.calendar.address == address);
        let mut calendar = points(sync, &address, state.as_ref(), &session);
        if !args.offline {
            calendar.extend(live(&session, sync, &address, state.as_ref()).await);
        }
        let events = match (&state, &args.event) {
            (Some(state), Some(event)) => {
                events(&session, &store, sync, state, &Wanted::read(event)).await?
            }
            _ => Vec::new(),
        };
        if let (Some(_), Some(_), true) = (&state, &args.event, events.is_empty()) {
            calendar.push(bad(
                "calbridge knows no such appointment: it is not in the source's calendar inside the window, it has another UID, or it has not been read yet (`calbridge sync --full`)",
            ));
        }
        explanation.syncs.push(SyncExplanation {
            sync: sync.name.clone(),
            calendar,
            events,
        });
    }
    output.show(&explanation, || text(&explanation))?;
    Ok(Exit::Success)
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

/// What configuration and state file say about the calendar.
fn points(
    sync: &SyncConfig,
    address: &Address,
    state: Option<&CalendarState>,
    session: &Session,
) -> Vec<Point> {
    let mut points = Vec::new();
    if sync.roster.deny.contains(address) {
        points.push(bad(
            "the deny list (`roster.deny`) names it: it is not read, and what was recorded stays as it is",
        ));
    }
    if !sync.roster.allow.is_empty() && !sync.roster.allow.contains(address) {
        points.push(bad(
            "there is an allow list (`roster.allow`), and it does not name it",
        ));
    }
    let Some(state) = state else {
        points.push(bad(
            "the roster has never named this address; see that the person or room is set up in the system that gives the roster, under just this address, and ask anew with `calbridge sync`",
        ));
        return points;
    };
    points.push(good(format!(
        "it is known; logs name it {}",
        state.calendar.handle()
    )));
    if let Some(left) = &state.left {
        let why = match left.code.as_str() {
            NOT_IN_ROSTER => "the roster does not name it any more",
            NOT_ALLOWED => "the allow list does not name it",
            _ => "it left",
        };
        let then = match sync.roster.on_leave {
            OnLeave::Keep => "what is on the other side stays (`on_leave = \"keep\"`)",
            OnLeave::Withdraw => "what is on the other side is deleted (`on_leave = \"withdraw\"`)",
        };
        points.push(bad(format!(
            "it does not take part since {}: {why} [{}]; {then}",
            left.since, left.code
        )));
    }
    match (&state.trouble, state.succeeded) {
        (Some(trouble), _) => points.push(bad(format!(
            "it has had trouble {} times in a row, since {}: [{}] {}",
            trouble.times, trouble.since, trouble.code, trouble.message
        ))),
        (None, Some(at)) => {
            let ago = session.clock.now().duration_since(at);
            let late = sync
                .schedule
                .interval
                .checked_mul(10)
                .is_some_and(|long| ago > long);
            let text = format!("both sides were brought together at {at}");
            points.push(if late {
                bad(format!("{text}, long ago: is calbridge running?"))
            } else {
                good(text)
            });
        }
        (None, None) => points.push(bad("it was never brought in step; run `calbridge sync`")),
    }
    points
}

/// What the systems themselves say about the calendar now.
async fn live(
    session: &Session,
    sync: &SyncConfig,
    address: &Address,
    state: Option<&CalendarState>,
) -> Vec<Point> {
    let mut points = Vec::new();
    let find = |name: &str| session.config.connections.get(name);
    let (Some(source), Some(sink)) = (find(&sync.source), find(&sync.sink)) else {
        return points;
    };
    let giver = match sync.roster.from {
        RosterFrom::Source => source,
        RosterFrom::Sink => sink,
        RosterFrom::Auto if sink.capabilities.roster => sink,
        RosterFrom::Auto => source,
    };
    points.extend(in_roster(session, giver, address).await);
    let calendar = match state {
        Some(state) => Some(state.calendar.clone()),
        None => CalendarRef::primary(address.as_str()).ok(),
    };
    if let Some(calendar) = calendar {
        points.extend(readable(session, source, calendar).await);
    }
    points
}

async fn in_roster(session: &Session, giver: &ConnectionConfig, address: &Address) -> Vec<Point> {
    let failed = |error: calbridge_core::connector::Error| {
        vec![bad(format!(
            "the roster of `{}` cannot be read now: {error}",
            giver.name
        ))]
    };
    let open = match session.open(giver) {
        Ok(open) => open,
        Err(error) => return failed(error),
    };
    let roster = match open.roster().await {
        Ok(roster) => roster,
        Err(error) => return failed(error),
    };
    let skipped = roster
        .skipped
        .iter()
        .find(|skipped| skipped.address.trim().to_lowercase() == address.folded());
    if let Some(skipped) = skipped {
        return vec![bad(format!(
            "`{}` lists it in a way that cannot be used: [{}] {}",
            giver.name, skipped.code, skipped.reason
        ))];
    }
    let named = roster
        .entries
        .iter()
        .any(|entry| entry.calendar.address == *address);
    vec![if named {
        good(format!("the roster of `{}` names it now", giver.name))
    } else {
        bad(format!(
            "the roster of `{}` does not name it now; set it up there under just this address",
            giver.name
        ))
    }]
}

async fn readable(
    session: &Session,
    source: &ConnectionConfig,
    calendar: CalendarRef,
) -> Vec<Point> {
    let scope = CheckScope {
        now: session.clock.now(),
        calendars: vec![calendar],
    };
    let report = match session.open(source) {
        Ok(open) => open.check(scope).await,
        Err(error) => Err(error),
    };
    match report {
        Err(error) => vec![bad(format!(
            "`{}` cannot be used now: {error}",
            source.name
        ))],
        Ok(report) => report
            .findings
            .iter()
            .filter(|finding| finding.calendar.is_some() || finding.severity != Severity::Passed)
            .map(|finding| Point {
                good: finding.severity == Severity::Passed,
                text: format!("`{}`: {}", source.name, finding.message),
            })
            .collect(),
    }
}

/// Which appointments are wanted.
enum Wanted {
    Day(Date),
    Id(String),
}

impl Wanted {
    fn read(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Id(text.trim().to_owned()), Self::Day)
    }

    fn matches(&self, row: &Row, rules: &Rules) -> bool {
        match self {
            Self::Id(id) => {
                let item = row.source.as_ref().map(|view| view.event.item.id.as_str());
                let remote = row.sink.remote.as_ref();
                row.key.uid().eq_ignore_ascii_case(id)
                    || item == Some(id)
                    || remote.is_some_and(|remote| {
                        remote.id == *id || remote.assigned.as_deref() == Some(id)
                    })
            }
            Self::Day(day) => {
                let source = row.source.as_ref().map(|view| &view.event.content);
                source.into_iter().chain(&row.sink.content).any(|content| {
                    let wall = content.time.wall_in(&rules.zone);
                    wall.start.date() <= *day && *day <= wall.end.date()
                })
            }
        }
    }
}

async fn events(
    session: &Session,
    store: &SqliteStore,
    sync: &SyncConfig,
    state: &CalendarState,
    wanted: &Wanted,
) -> Result<Vec<EventExplanation>, AppError> {
    let find = |name: &str| session.config.connections.get(name);
    let (Some(source), Some(sink)) = (find(&sync.source), find(&sync.sink)) else {
        return Ok(Vec::new());
    };
    let (Some(from), Some(to)) = (&source.capabilities.source, &sink.capabilities.sink) else {
        return Ok(Vec::new());
    };
    let now = session.clock.now();
    let rules = sync
        .rules()
        .at(now, from, to)
        .map_err(|error| AppError::Usage(error.to_string()))?;
    let prints = store.prints();
    let known = store.rows(&sync.name, &sync.source, state.id).await?;
    let mut events = Vec::new();
    for row in known.rows.iter().filter(|row| wanted.matches(row, &rules)) {
        let context = DecideContext {
            prints: &prints,
            wall_clock: rules.wall_clock.as_ref(),
            // A refusal counts as long as nothing shows that its basis changed.
            basis: row.dead.as_ref().map_or("", |dead| dead.basis.as_str()),
            idempotent_upsert: to.idempotent_upsert,
            probe: to.probe,
            now,
        };
        let desired = project(row.source.as_ref(), &rules);
        let decision = decide(row, &desired, &context);
        let history = store.decisions(row.link).await?;
        events.push(EventExplanation {
            uid: row.key.uid().to_owned(),
            external_id: row.sink.remote.as_ref().map(|remote| remote.id.clone()),
            time: when(row, &desired),
            on_sink: row.sink.state,
            next: next(&decision.intent).to_owned(),
            why: words::reason(decision.reason).to_owned(),
            notes: notes(row),
            history: history.iter().map(past).collect(),
        });
    }
    Ok(events)
}

fn when(row: &Row, desired: &Desired) -> Option<String> {
    let content = match desired {
        Desired::Present { content, .. } | Desired::Past { content } => Some(content),
        Desired::Absent { .. } => row
            .source
            .as_ref()
            .map(|view| &view.event.content)
            .or(row.sink.content.as_ref()),
    };
    content.map(|content| words::time(&content.time))
}

fn next(intent: &Intent) -> &'static str {
    match intent {
        Intent::Nothing => "nothing is to be done",
        Intent::Create { .. } => "it is made on the other side",
        Intent::Update { .. } => "the other side's record is brought up to date",
        Intent::PutBack { .. } => "the other side's record is put back",
        Intent::Delete => "the other side's record is deleted",
        Intent::Adopt { .. } => "the other side's record is taken over without writing",
        Intent::Probe => "the other side is asked what became of the last write",
        Intent::Stop => "it waits for an operator",
    }
}

fn notes(row: &Row) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(dead) = &row.dead {
        notes.push(format!(
            "refused for good at {} ({}): [{}] {}",
            dead.at,
            words::op(dead.op),
            dead.code,
            dead.message
        ));
    }
    if let Some(retry) = &row.retry {
        notes.push(format!(
            "did not go through {} times [{}]; tried again from {} on",
            retry.tries, retry.code, retry.not_before
        ));
    }
    if let Some(attempt) = &row.attempt {
        notes.push(format!(
            "a write ({}) was sent at {} and not answered",
            words::op(attempt.op),
            attempt.at
        ));
    }
    if let Some(since) = row.held_since {
        notes.push(match row.approved {
            Some(at) if at >= since => format!("a held delete was approved at {at}"),
            _ => {
                format!("the guard holds its delete since {since}: unusually many deletes at once")
            }
        });
    }
    if let Some(at) = row.sink.acknowledged {
        notes.push(format!("the other side last acknowledged a write at {at}"));
    }
    notes
}

fn past(record: &DecisionRecord) -> String {
    let outcome = record
        .outcome
        .as_ref()
        .map(|outcome| format!(": {outcome}"))
        .unwrap_or_default();
    format!(
        "{} {}, because {}{outcome}",
        record.at,
        next(&record.decision.intent),
        words::reason(record.decision.reason)
    )
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
                .map(|id| format!(" under the id {id}"))
                .unwrap_or_default();
            lines.push(format!("    {held}{id}."));
            lines.push(format!("    Next: {}, because {}.", event.next, event.why));
            lines.extend(event.notes.iter().map(|note| format!("    Note: {note}.")));
            lines.extend(
                event
                    .history
                    .iter()
                    .map(|past| format!("    Before: {past}.")),
            );
        }
        lines.push(String::new());
    }
    lines.join("\n")
}
