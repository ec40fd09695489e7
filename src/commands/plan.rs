//! `plan`: what would be written; nothing is.

use calbridge_core::engine::{CalendarPlan, PlannedWrite, SyncConfig, SyncOptions};
use calbridge_core::model::Address;
use calbridge_core::store::StoreError;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::session::{Session, addresses, require_asked, require_known};
use super::sync::Failed;
use super::words;
use crate::cli::PlanArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};

#[derive(Serialize)]
struct Plans {
    exit: &'static str,
    /// Nothing was read anew, because the service runs: it is planned from what it last saw.
    from_store: bool,
    /// How many writes there are in all, held ones included.
    writes: usize,
    syncs: Vec<SyncPlan>,
    /// Syncs for which nothing could be planned.
    failed: Vec<Failed>,
}

/// How the planning ended.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Well,
    BesideService,
    Interrupted,
}

#[derive(Serialize)]
struct SyncPlan {
    sync: String,
    calendars: Vec<CalendarPlan>,
    /// Where the sync's days begin: times are shown by the clocks there.
    #[serde(skip)]
    zone: TimeZone,
}

pub(super) async fn run(
    mut session: Session,
    args: PlanArgs,
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
        Err(AppError::Store(StoreError::Locked { .. })) if !options.full && !options.reconcile => {
            return beside_service(&session, &syncs, &options.calendars, output).await;
        }
        other => other?,
    };
    require_asked(&engine, &syncs, &options.calendars).await?;
    let mut plans = Vec::new();
    let mut failed: Vec<(String, AppError)> = Vec::new();
    for sync in &syncs {
        let planned = tokio::select! {
            planned = engine.plan(sync, &options, &session.shutdown) => planned,
            () = session.out_of_patience() => break,
        };
        engine.note_roster(sync, &planned).await?;
        match planned {
            Ok(calendars) => {
                engine.note_plans(sync, &calendars).await?;
                plans.push(SyncPlan {
                    sync: sync.name.clone(),
                    calendars,
                    zone: session.zone(sync),
                });
            }
            Err(error) => failed.push((sync.name.clone(), error.into())),
        }
    }
    let ended = if session.shutdown.is_cancelled() {
        Ended::Interrupted
    } else {
        Ended::Well
    };
    finish(plans, failed, ended, output)
}

/// A service runs, and it alone works with the state file: what it planned from is what it last saw.
async fn beside_service(
    session: &Session,
    syncs: &[SyncConfig],
    calendars: &[Address],
    output: Output,
) -> Result<Exit, AppError> {
    let engine = session.engine_to_read(syncs.to_vec()).await?;
    require_known(engine.store().as_ref(), syncs, calendars).await?;
    let mut plans = Vec::with_capacity(syncs.len());
    for sync in syncs {
        plans.push(SyncPlan {
            sync: sync.name.clone(),
            calendars: engine.plan_from_store(sync, calendars).await?,
            zone: session.zone(sync),
        });
    }
    finish(plans, Vec::new(), Ended::BesideService, output)
}

fn finish(
    plans: Vec<SyncPlan>,
    mut failed: Vec<(String, AppError)>,
    ended: Ended,
    output: Output,
) -> Result<Exit, AppError> {
    // If nothing at all could be planned, the first reason stands for all.
    if plans.is_empty() && !failed.is_empty() {
        return Err(failed.swap_remove(0).1);
    }
    let all = || plans.iter().flat_map(|plan| &plan.calendars);
    let exit = if ended == Ended::Interrupted {
        Exit::Interrupted
    } else if !failed.is_empty() || all().any(|calendar| calendar.failed.is_some()) {
        Exit::Partly
    } else {
        Exit::Success
    };
    let writes = all().map(|calendar| calendar.writes.len()).sum();
    let plans = Plans {
        exit: exit.name(),
        from_store: ended == Ended::BesideService,
        writes,
        syncs: plans,
        failed: Failed::of(failed),
    };
    output.show(&plans, || text(&plans, exit))?;
    Ok(exit)
}

fn text(plans: &Plans, exit: Exit) -> String {
    let mut lines = Vec::new();
    if exit == Exit::Interrupted {
        lines.push("Interrupted before all was planned. What was planned until then:".to_owned());
    }
    if plans.from_store {
        lines.push(
            "The service runs: this is what it plans from what it last saw of both sides."
                .to_owned(),
        );
    }
    for plan in &plans.syncs {
        let writes: usize = plan
            .calendars
            .iter()
            .map(|calendar| calendar.writes.len())
            .sum();
        lines.push(format!(
            "Sync `{}`: {}, {}. Nothing was written.",
            plan.sync,
            words::count(plan.calendars.len(), "calendar"),
            words::count(writes, "write")
        ));
        let observed = plan.calendars.iter().filter(|calendar| calendar.observed);
        let observed = observed.count();
        if observed > 0 {
            lines.push(format!(
                "{} only observed: what stands here of them are the differences between both sides, which calbridge leaves alone.",
                if observed == 1 { "One calendar is".to_owned() } else { format!("{observed} calendars are") }
            ));
        }
        let mut rows: Vec<Vec<String>> = plan
            .calendars
            .iter()
            .flat_map(|calendar| {
                let address = calendar.calendar.address.as_str();
                let row = move |write| row(address, write, &plan.zone);
                calendar.writes.iter().map(row)
            })
            .collect();
        // By calendar, then by time: texts of times are in the order of time.
        rows.sort_by(|one, other| (one.first(), one.get(2)).cmp(&(other.first(), other.get(2))));
        if !rows.is_empty() {
            lines.push(table(&["CALENDAR", "WRITE", "WHEN", "WHY", "ID"], &rows));
        }
        for calendar in &plan.calendars {
            if let Some(failure) = &calendar.failed {
                lines.push(format!(
                    "No plan for {}: {}",
                    calendar.calendar.address.as_str(),
                    words::trouble(&failure.code, &failure.message)
                ));
            }
        }
        lines.push(String::new());
    }
    lines.extend(plans.failed.iter().map(Failed::line));
    lines.join("\n")
}

fn row(address: &str, write: &PlannedWrite, zone: &TimeZone) -> Vec<String> {
    let mut op = words::op(write.op).to_owned();
    if write.held {
        op.push_str(" (held)");
    }
    vec![
        address.to_owned(),
        op,
        write
            .time
            .as_ref()
            .map(|time| words::time(time, zone))
            .unwrap_or_default(),
        words::reason(write.reason).to_owned(),
        write.external_id.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
