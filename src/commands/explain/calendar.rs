//! About a calendar as a whole: roster, lists, trouble, rights.

use calbridge_core::connector::{CheckScope, Error, Severity};
use calbridge_core::engine::roster::{NOT_ALLOWED, NOT_IN_ROSTER};
use calbridge_core::engine::{OnLeave, RosterFrom, SyncConfig};
use calbridge_core::model::{Address, CalendarRef};
use calbridge_core::store::CalendarState;

use super::super::session::Session;
use super::super::words;
use super::{Point, bad, good};
use crate::config::ConnectionConfig;

/// What configuration and state file say about the calendar.
pub(super) fn points(
    sync: &SyncConfig,
    address: &Address,
    state: Option<&CalendarState>,
    session: &Session,
) -> Vec<Point> {
    let mut points = Vec::new();
    let at = |instant| words::at(instant, &session.zone(sync));
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
            at(left.since),
            left.code
        )));
    }
    match (&state.trouble, state.succeeded) {
        (Some(trouble), _) => points.push(bad(format!(
            "it has had trouble since {}{}: {}",
            at(trouble.since),
            match trouble.times {
                0 | 1 => String::new(),
                many => format!(" ({} in a row)", words::times(many)),
            },
            words::trouble(&trouble.code, &trouble.message)
        ))),
        (None, Some(succeeded)) => {
            let ago = session.clock.now().duration_since(succeeded);
            let late = sync
                .schedule
                .interval
                .checked_mul(10)
                .is_some_and(|long| ago > long);
            let text = format!("both sides were brought together at {}", at(succeeded));
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

/// What the systems themselves say about the calendar now, and whether the roster names it.
pub(super) async fn live(
    session: &Session,
    sync: &SyncConfig,
    address: &Address,
    state: Option<&CalendarState>,
) -> (Vec<Point>, bool) {
    let mut points = Vec::new();
    let mut named = false;
    let find = |name: &str| session.config.connections.get(name);
    let (Some(source), Some(sink)) = (find(&sync.source), find(&sync.sink)) else {
        return (points, named);
    };
    let giver = match sync.roster.from {
        RosterFrom::Source => Some(source),
        RosterFrom::Sink => Some(sink),
        RosterFrom::Allow => None,
        RosterFrom::Auto => [sink, source]
            .into_iter()
            .find(|connection| connection.capabilities.roster),
    };
    if let Some(giver) = giver {
        let (said, is_named) = in_roster(session, giver, address).await;
        points.push(said);
        named = is_named;
    }
    let calendar = match state {
        Some(state) => Some(state.calendar.clone()),
        None => CalendarRef::primary(address.as_str()).ok(),
    };
    if let Some(calendar) = calendar {
        points.extend(readable(session, source, calendar).await);
    }
    (points, named)
}

async fn in_roster(
    session: &Session,
    giver: &ConnectionConfig,
    address: &Address,
) -> (Point, bool) {
    let failed = |error: Error| {
        let text = format!("the roster of `{}` cannot be read now: {error}", giver.name);
        (bad(text), false)
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
        let text = format!(
            "`{}` lists it in a way that cannot be used: {}",
            giver.name,
            words::trouble(&skipped.code, &skipped.reason)
        );
        return (bad(text), true);
    }
    let named = roster
        .entries
        .iter()
        .any(|entry| entry.calendar.address == *address);
    let said = if named {
        good(format!("the roster of `{}` names it now", giver.name))
    } else {
        bad(format!(
            "the roster of `{}` does not name it now; set it up there under just this address",
            giver.name
        ))
    };
    (said, named)
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
            // What is merely not as it should be with the connection stands in nobody's way; `check` tells it.
            .filter(|finding| {
                finding.calendar.is_some()
                    || finding.severity == Severity::Failed
                    || finding.name == "command"
            })
            .map(|finding| Point {
                good: finding.severity == Severity::Passed,
                text: format!("`{}`: {}", source.name, finding.message),
            })
            .collect(),
    }
}
