//! `check`: configuration, secrets, connections, rights, state file.

use std::collections::BTreeMap;

use calbridge_core::connector::{CheckReport, CheckScope, Finding, Severity};
use calbridge_core::model::CalendarRef;
use calbridge_core::store::{Membership, StoreError};
use serde::Serialize;

use super::session::{Session, addresses};
use super::words;
use crate::cli::CheckArgs;
use crate::config::{ConfigError, ConnectionConfig};
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};

#[derive(Serialize)]
struct Checked {
    exit: &'static str,
    /// The files that the configuration was read from.
    files: Vec<String>,
    /// What is true of calbridge itself.
    own: Vec<Finding>,
    connections: Vec<CheckedConnection>,
}

#[derive(Serialize)]
struct CheckedConnection {
    connection: String,
    connector: &'static str,
    #[serde(flatten)]
    report: CheckReport,
}

pub(super) async fn run(
    mut session: Session,
    args: CheckArgs,
    output: Output,
) -> Result<Exit, AppError> {
    session.trace(&args.tracing, &args.calendars)?;
    let calendars = addresses(&args.calendars)?
        .iter()
        .map(|address| CalendarRef::primary(address.as_str()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| AppError::Usage(error.to_string()))?;
    let mut own = vec![configuration(&session).await?];
    let taking_part = if args.roster {
        taking_part(&session, &mut own).await?
    } else {
        BTreeMap::new()
    };
    for connection in unused(&session) {
        own.push(finding(
            "configuration",
            Severity::Warning,
            format!("the connection `{connection}` is used by no sync"),
        ));
    }
    own.push(state_file(&session).await);

    let mut connections = Vec::new();
    let mut mistakes = Vec::new();
    let mut stopped = false;
    for connection in session.config.connections.values() {
        let report = match session.open(connection) {
            Err(error) => {
                mistakes.push(connection.mistake(&error.message));
                continue;
            }
            Ok(_) if args.offline => CheckReport::default(),
            Ok(open) => {
                let scope = CheckScope {
                    now: session.clock.now(),
                    calendars: match taking_part.get(&connection.name) {
                        Some(calendars) => calendars.values().cloned().collect(),
                        None => calendars_for(connection, &calendars),
                    },
                };
                let answer = tokio::select! {
                    answer = open.check(scope) => answer,
                    () = session.shutdown.cancelled() => {
                        stopped = true;
                        break;
                    }
                };
                answer.unwrap_or_else(|error| {
                    let mut report = CheckReport::default();
                    report.push(
                        "check",
                        Severity::Failed,
                        format!("{} [{}]", error.message, error.code),
                    );
                    report
                })
            }
        };
        connections.push(CheckedConnection {
            connection: connection.name.clone(),
            connector: connection.connector.id(),
            report,
        });
    }
    if !mistakes.is_empty() {
        return Err(ConfigError::new(mistakes).into());
    }
    let failed = own
        .iter()
        .chain(
            connections
                .iter()
                .flat_map(|checked| &checked.report.findings),
        )
        .any(|finding| finding.severity == Severity::Failed);
    let exit = match (stopped, failed) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Success,
    };
    let checked = Checked {
        exit: exit.name(),
        files: session
            .config
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
        own,
        connections,
    };
    output.show(&checked, || {
        let first = if stopped {
            "Interrupted before all was checked. What was found until then:\n"
        } else {
            ""
        };
        first.to_owned() + &text(&checked)
    })?;
    Ok(exit)
}

/// Rights are checked where calendars are read.
fn calendars_for(connection: &ConnectionConfig, calendars: &[CalendarRef]) -> Vec<CalendarRef> {
    if connection.capabilities.source.is_some() {
        calendars.to_vec()
    } else {
        Vec::new()
    }
}

/// Whose calendars take part, by the connection that they are read from and their address. Nothing is stored.
async fn taking_part(
    session: &Session,
    own: &mut Vec<Finding>,
) -> Result<BTreeMap<String, BTreeMap<String, CalendarRef>>, AppError> {
    let syncs = &session.config.syncs;
    let (engine, store) = session
        .engine_without_state(session.connections(syncs)?, syncs.clone())
        .await?;
    let mut all: BTreeMap<String, BTreeMap<String, CalendarRef>> = BTreeMap::new();
    for sync in syncs {
        let skipped = match engine.refresh_roster(sync).await {
            Ok(skipped) => skipped,
            Err(error) => {
                own.push(finding("roster", Severity::Failed, error.to_string()));
                continue;
            }
        };
        for entry in skipped {
            let message = format!("{}: {} [{}]", entry.address, entry.reason, entry.code);
            own.push(finding("roster", Severity::Warning, message));
        }
        let read = all.entry(sync.source.clone()).or_default();
        let mut count = 0;
        for state in store.calendars(&sync.name).await? {
            if state.membership == Membership::Active {
                count += 1;
                read.insert(state.calendar.address.folded(), state.calendar);
            }
        }
        let severity = if count == 0 {
            Severity::Warning
        } else {
            Severity::Passed
        };
        let message = format!(
            "in the sync `{}` {} take part",
            sync.name,
            words::count(count, "calendar")
        );
        own.push(finding("roster", severity, message));
    }
    Ok(all)
}

fn unused(session: &Session) -> Vec<&str> {
    session
        .config
        .connections
        .keys()
        .map(String::as_str)
        .filter(|name| {
            !session
                .config
                .syncs
                .iter()
                .any(|sync| sync.source == *name || sync.sink == *name)
        })
        .collect()
}

/// What the engine demands of the syncs beyond what the configuration's schema can say.
async fn configuration(session: &Session) -> Result<Finding, AppError> {
    let syncs = &session.config.syncs;
    if syncs.is_empty() {
        return Ok(finding(
            "configuration",
            Severity::Warning,
            "no sync is configured; add a table [[sync]]".to_owned(),
        ));
    }
    let connections = session.connections(syncs)?;
    session
        .engine_without_state(connections, syncs.clone())
        .await?;
    Ok(finding(
        "configuration",
        Severity::Passed,
        format!(
            "{}, {}",
            words::count(session.config.connections.len(), "connection"),
            words::count(syncs.len(), "sync")
        ),
    ))
}

fn finding(name: &str, severity: Severity, message: String) -> Finding {
    Finding {
        name: name.to_owned(),
        severity,
        message,
        calendar: None,
    }
}

/// Whether the state file can be used. One that is not there yet is not made for that.
async fn state_file(session: &Session) -> Finding {
    let path = &session.config.state.path;
    let examined = session.examine_store().await;
    if let Err(AppError::Store(StoreError::Missing { .. })) = examined {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        return match folder {
            Some(folder) if !folder.is_dir() => finding(
                "state",
                Severity::Failed,
                format!(
                    "the folder {} of the state file is not there; make it, and let the account that calbridge runs under write to it",
                    folder.display()
                ),
            ),
            _ => finding(
                "state",
                Severity::Passed,
                if path.exists() {
                    format!("{} is empty; the first run fills it", path.display())
                } else {
                    format!("{} is made by the first run", path.display())
                },
            ),
        };
    }
    match examined {
        Ok(()) => finding(
            "state",
            Severity::Passed,
            format!("{} is sound", path.display()),
        ),
        Err(AppError::Store(StoreError::Locked { .. })) => finding(
            "state",
            Severity::Passed,
            format!(
                "{} is in use by another calbridge that runs now",
                path.display()
            ),
        ),
        Err(error) => finding("state", Severity::Failed, error.to_string()),
    }
}

fn text(checked: &Checked) -> String {
    let own = checked.own.iter().map(|finding| row("calbridge", finding));
    let connections = checked.connections.iter().flat_map(|checked| {
        checked
            .report
            .findings
            .iter()
            .map(|finding| row(&checked.connection, finding))
    });
    let rows: Vec<Vec<String>> = own.chain(connections).collect();
    table(&["WHERE", "WHAT", "RESULT", "DETAILS"], &rows)
}

fn row(place: &str, finding: &Finding) -> Vec<String> {
    let name = match &finding.calendar {
        Some(calendar) => format!("{} {}", finding.name, calendar.address.as_str()),
        None => finding.name.clone(),
    };
    vec![
        place.to_owned(),
        name,
        words::severity(finding.severity).to_owned(),
        finding.message.clone(),
    ]
}
