//! `sync`: bring everything in step once.

use calbridge_core::connector::Scope;
use calbridge_core::engine::{
    CalendarOutcome, Failure, PassReport, Silent, SyncConfig, SyncOptions, SyncReport,
};
use calbridge_core::store::{Order, OrderKind, StoreError};
use serde::Serialize;

use super::session::{Session, addresses, require_asked};
use super::{orders, words};
use crate::cli::SyncArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};
use crate::progress::Bars;

/// What became of all syncs.
#[derive(Serialize)]
struct Report {
    exit: &'static str,
    syncs: Vec<SyncReport>,
    /// Syncs with which nothing could be done.
    failed: Vec<Failed>,
}

/// A sync with which nothing could be done.
#[derive(Serialize)]
pub(super) struct Failed {
    sync: String,
    message: String,
}

impl Failed {
    pub(super) fn of(failed: Vec<(String, AppError)>) -> Vec<Self> {
        failed
            .into_iter()
            .map(|(sync, error)| Self {
                sync,
                message: error.to_string(),
            })
            .collect()
    }

    /// As a line for people.
    pub(super) fn line(&self) -> String {
        format!("Sync `{}`: {}", self.sync, self.message)
    }
}

pub(super) async fn run(
    mut session: Session,
    args: SyncArgs,
    output: Output,
) -> Result<Exit, AppError> {
    session.trace(&args.tracing, &args.selection.calendars)?;
    let syncs = session.syncs(&args.selection)?;
    let options = SyncOptions {
        full: args.full,
        reconcile: args.reconcile,
        calendars: addresses(&args.selection.calendars)?,
    };
    let engine = match session.engine(syncs.clone()).await {
        Err(AppError::Store(StoreError::Locked { .. })) => {
            return tell_service(&session, &syncs, &options, output).await;
        }
        other => other?,
    };
    require_asked(&engine, &syncs, &options.calendars).await?;
    let bars = Bars::new(output.json);
    let mut reports = Vec::new();
    let mut failed: Vec<(String, AppError)> = Vec::new();
    for sync in &syncs {
        let result = match &bars {
            Some(bars) => {
                engine
                    .sync_once(sync, &options, &session.shutdown, bars)
                    .await
            }
            None => {
                engine
                    .sync_once(sync, &options, &session.shutdown, &Silent)
                    .await
            }
        };
        engine.note_roster(sync, &result).await?;
        match result {
            Ok(report) => {
                engine.note_outcomes(sync, &report.calendars).await?;
                reports.push(report);
            }
            Err(error) => failed.push((sync.name.clone(), error.into())),
        }
        if session.shutdown.is_cancelled() {
            break;
        }
    }
    // If nothing at all could be done, the first reason stands for all.
    if reports.is_empty() && !failed.is_empty() {
        return Err(failed.swap_remove(0).1);
    }
    let exit = exit(&reports, &failed, session.shutdown.is_cancelled());
    let report = Report {
        exit: exit.name(),
        syncs: reports,
        failed: Failed::of(failed),
    };
    output.show(&report, || text(&report, exit))?;
    Ok(exit)
}

/// A service runs, and it alone works with the state file: it is told to do it.
async fn tell_service(
    session: &Session,
    syncs: &[SyncConfig],
    options: &SyncOptions,
    output: Output,
) -> Result<Exit, AppError> {
    let order = |sync: &SyncConfig| Order {
        sync: sync.name.clone(),
        calendars: options.calendars.clone(),
        what: OrderKind::Sync {
            full: options.full,
            reconcile: options.reconcile,
        },
    };
    let report = orders::tell(session, syncs.iter().map(order), session.clock.now()).await?;
    output.show(&report, || {
        orders::lines(&report, |count| {
            format!(
                "the service that runs looks at {} now; `calbridge status` shows what comes of it",
                words::count(usize::try_from(count).unwrap_or(usize::MAX), "calendar")
            )
        })
    })?;
    Ok(Exit::Success)
}

fn exit(reports: &[SyncReport], failed: &[(String, AppError)], stopped: bool) -> Exit {
    let incomplete = |report: &SyncReport| {
        let total = &report.total;
        report.failures() > 0
            || total.unclear
            || total.held + total.rejected + total.refused + total.waiting + total.unreadable > 0
    };
    let calendars: Vec<&CalendarOutcome> = reports
        .iter()
        .flat_map(|report| &report.calendars)
        .collect();
    // Not one calendar came through, and all for the same cause.
    let all_for = |cause: fn(&Failure) -> bool| {
        !calendars.is_empty()
            && calendars
                .iter()
                .all(|calendar| calendar.failed.as_ref().is_some_and(cause))
    };
    if stopped {
        Exit::Interrupted
    } else if all_for(|failure| failure.scope == Some(Scope::Connection)) {
        Exit::Connection
    } else if all_for(|failure| failure.code == "store") {
        Exit::State
    } else if !failed.is_empty() || reports.iter().any(incomplete) {
        Exit::Partly
    } else {
        Exit::Success
    }
}

fn text(report: &Report, exit: Exit) -> String {
    let mut lines = Vec::new();
    if exit == Exit::Interrupted {
        lines.push(words::INTERRUPTED.to_owned());
    }
    for sync in &report.syncs {
        lines.push(format!(
            "Sync `{}`: {}, {}.",
            sync.sync,
            words::count(sync.calendars.len(), "calendar"),
            counts(&sync.total)
        ));
        let rows: Vec<Vec<String>> = sync.calendars.iter().map(row).collect();
        if !rows.is_empty() {
            let head = [
                "CALENDAR", "CREATED", "UPDATED", "DELETED", "HELD", "REFUSED", "WAITING",
                "TROUBLE",
            ];
            lines.push(table(&head, &rows));
        }
        for skipped in &sync.skipped {
            lines.push(format!(
                "Not usable in the roster: {} [{}]: {}",
                skipped.address, skipped.code, skipped.reason
            ));
        }
        lines.push(String::new());
    }
    lines.extend(report.failed.iter().map(Failed::line));
    lines.join("\n")
}

fn counts(report: &PassReport) -> String {
    let mut parts = vec![
        format!("{} created", report.created),
        format!("{} updated", report.updated),
        format!("{} deleted", report.deleted),
    ];
    for (count, what) in [
        (report.adopted, "adopted"),
        (report.held, "held back by the guard"),
        (report.rejected + report.refused, "refused"),
        (report.waiting, "waiting"),
        (report.unreadable, "unreadable"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if let Some(found) = &report.differences {
        parts.push(format!(
            "only observed: {} missing, {} different, {} surplus",
            found.missing, found.different, found.surplus
        ));
    }
    if report.others > 0 {
        parts.push(format!(
            "{} made or changed by somebody else",
            report.others
        ));
    }
    parts.join(", ")
}

fn row(outcome: &CalendarOutcome) -> Vec<String> {
    let report = &outcome.report;
    let trouble = outcome
        .failed
        .as_ref()
        .map(|failure| words::trouble(&failure.code, &failure.message))
        .unwrap_or_default();
    vec![
        outcome.calendar.address.as_str().to_owned(),
        report.created.to_string(),
        report.updated.to_string(),
        report.deleted.to_string(),
        report.held.to_string(),
        (report.rejected + report.refused).to_string(),
        report.waiting.to_string(),
        trouble,
    ]
}
