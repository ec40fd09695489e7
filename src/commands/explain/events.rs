//! About single appointments: the row, what is decided of it and why.

use calbridge_core::engine::decide::{DecideContext, Intent, decide};
use calbridge_core::engine::project::{Desired, project};
use calbridge_core::engine::{Row, Rules, SyncConfig, basis};
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{CalendarState, Store as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::session::Session;
use super::super::words;
use super::EventExplanation;
use super::replay::Past;
use crate::error::AppError;

/// Which appointments are wanted.
pub(super) enum Wanted {
    Day(Date),
    Id(String),
    /// All whose write does not simply go its way.
    StandingOut,
}

impl Wanted {
    /// # Errors
    /// What looks like a day and is none would else be looked for as an id, and never be found.
    pub(super) fn read(text: &str) -> Result<Self, AppError> {
        let text = text.trim();
        if let Ok(day) = text.parse() {
            return Ok(Self::Day(day));
        }
        if looks_like_a_day(text) {
            return Err(AppError::Usage(format!(
                "`{text}` is not a date; write one such as 2026-11-24"
            )));
        }
        Ok(Self::Id(text.to_owned()))
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
            Self::StandingOut => {
                row.dead.is_some() || row.retry.is_some() || row.attempt.is_some() || is_held(row)
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

/// Three short numbers, however they are divided.
fn looks_like_a_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', '/', '.']).collect();
    parts.len() == 3
        && parts.iter().all(|part| {
            (1..=4).contains(&part.len()) && part.chars().all(|digit| digit.is_ascii_digit())
        })
}

/// The appointments that are wanted.
pub(super) async fn events(
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
    let basis = basis(&sync.rules(), &sink.version(), &prints);
    let known = store.rows(&sync.name, &sync.source, state.id).await?;
    let mut events = Vec::new();
    for row in known.rows.iter().filter(|row| wanted.matches(row, &rules)) {
        let context = DecideContext {
            prints: &prints,
            wall_clock: rules.wall_clock.as_ref(),
            zone: &rules.zone,
            first_day: rules.window_day(),
            basis: &basis,
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
            time: when(row, &desired, &rules),
            on_sink: row.sink.state,
            next: match &decision.intent {
                Intent::Delete if is_held(row) => {
                    "the other side's record is deleted once `calbridge approve` lets it go"
                }
                intent => next(intent),
            }
            .to_owned(),
            why: words::reason(decision.reason).to_owned(),
            notes: notes(row, &rules.zone),
            history: history
                .iter()
                .map(|record| Past::of(record, &rules.zone, &prints))
                .collect(),
        });
    }
    // Texts of times are in the order of time.
    events.sort_by(|one, other| (&one.time, &one.uid).cmp(&(&other.time, &other.uid)));
    Ok(events)
}

/// Whether the guard holds its delete and nobody has approved it.
fn is_held(row: &Row) -> bool {
    row.held_since
        .is_some_and(|since| row.approved < Some(since))
}

fn when(row: &Row, desired: &Desired, rules: &Rules) -> Option<String> {
    let content = match desired {
        Desired::Present { content, .. } | Desired::Past { content } => Some(content),
        Desired::Absent { .. } => row
            .source
            .as_ref()
            .map(|view| &view.event.content)
            .or(row.sink.content.as_ref()),
    };
    content.map(|content| words::time(&content.time, &rules.zone))
}

pub(super) fn next(intent: &Intent) -> &'static str {
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

fn notes(row: &Row, zone: &TimeZone) -> Vec<String> {
    let at = |instant| words::at(instant, zone);
    let mut notes = Vec::new();
    if let Some(dead) = &row.dead {
        notes.push(format!(
            "refused for good at {} ({}): {}",
            at(dead.at),
            words::op(dead.op),
            words::trouble(&dead.code, &dead.message)
        ));
    }
    if let Some(retry) = &row.retry {
        notes.push(format!(
            "did not go through {} [{}]; tried again from {} on",
            words::times(retry.tries),
            retry.code,
            at(retry.not_before)
        ));
    }
    if let Some(attempt) = &row.attempt {
        notes.push(format!(
            "a write ({}) was sent at {} and not answered",
            words::op(attempt.op),
            at(attempt.at)
        ));
    }
    if let Some(since) = row.held_since {
        notes.push(match row.approved {
            Some(approved) if approved >= since => {
                format!("a held delete was approved at {}", at(approved))
            }
            _ => format!(
                "the guard holds its delete since {}: unusually many deletes at once",
                at(since)
            ),
        });
    }
    if let Some(acknowledged) = row.sink.acknowledged {
        notes.push(format!(
            "the other side last acknowledged a write at {}",
            at(acknowledged)
        ));
    }
    notes
}
