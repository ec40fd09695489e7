//! `bench`: what the whole program costs, measured on itself.
//!
//! Exchange and Planner are servers of this process; every step is the program `calbridge sync` as a child, with its
//! configuration, TLS and state file, so that its time, processor time and peak memory are its own. Counts and
//! ratios within one run are to be compared; seconds depend on the machine.

mod child;
mod streams;
mod town;

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::BenchArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};
use child::Used;
use town::{Served, Town};

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    calendars: usize,
    events_per_calendar: usize,
    latency_ms: u64,
    steps: Vec<Step>,
    streams: Option<streams::Streams>,
}

/// One pass of `calbridge sync`.
#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    #[serde(flatten)]
    used: Used,
    #[serde(flatten)]
    served: Served,
    created: u64,
    updated: u64,
    deleted: u64,
    /// Requests to both sides.
    requests_per_calendar: f64,
    /// Processor time in microseconds over records that were created, updated or deleted; none: none were.
    cpu_us_per_write: Option<f64>,
    /// Records that were created, updated or deleted, over seconds.
    writes_per_second: f64,
    /// Peak memory over calendars, in kilobytes.
    memory_kb_per_calendar: f64,
}

/// Measures a first sync, the pass after it, which finds that there is nothing to do, one that knows that, a day of
/// changes, and a complete comparison; if asked to, then the service on streams.
///
/// # Errors
/// The servers cannot start here, or a sync did not succeed.
pub(crate) async fn run(
    args: BenchArgs,
    output: Output,
    shutdown: CancellationToken,
) -> Result<Exit, AppError> {
    let mut measured = Measured {
        calendars: args.calendars,
        events_per_calendar: args.events,
        latency_ms: args.latency,
        steps: Vec::new(),
        streams: None,
    };
    let town = Town::build(&args).await?;
    for name in ["first", "second", "unchanged", "day", "complete"] {
        if shutdown.is_cancelled() {
            return Ok(Exit::Interrupted);
        }
        let mut options: &[&str] = &[];
        match name {
            "day" => town.a_day_passes()?,
            "complete" => options = &["--full", "--reconcile"],
            _ => {}
        }
        town.served();
        let (used, report) = child::sync(&town, options).await?;
        measured
            .steps
            .push(step(name, args.calendars, used, town.served(), &report));
    }
    if args.streams > 0 {
        let idle = Duration::from_secs(args.streams);
        measured.streams = Some(streams::measure(&town, idle).await?);
    }
    output.show(&measured, || text(&measured))?;
    Ok(Exit::Success)
}

#[allow(clippy::cast_precision_loss)] // Counts of a measurement stay far below 2^52.
fn step(
    name: &'static str,
    calendars: usize,
    used: Used,
    served: Served,
    report: &serde_json::Value,
) -> Step {
    let count = |what: &str| {
        let syncs = report["syncs"].as_array().into_iter().flatten();
        syncs.filter_map(|sync| sync["total"][what].as_u64()).sum()
    };
    let (created, updated, deleted) = (count("created"), count("updated"), count("deleted"));
    let writes = (created + updated + deleted) as f64;
    let calendars = calendars as f64;
    Step {
        name,
        created,
        updated,
        deleted,
        requests_per_calendar: (served.exchange_requests + served.planner_calls) as f64 / calendars,
        cpu_us_per_write: (writes > 0.0).then(|| used.cpu_seconds * 1e6 / writes),
        writes_per_second: writes / used.seconds,
        memory_kb_per_calendar: used.peak_memory_kb as f64 / calendars,
        used,
        served,
    }
}

fn text(measured: &Measured) -> String {
    let head = [
        "STEP",
        "SECONDS",
        "CPU s",
        "PEAK MB",
        "EXCHANGE",
        "PLANNER",
        "CREATED",
        "UPDATED",
        "DELETED",
        "CPU us/WRITE",
        "WRITES/s",
    ];
    let rows: Vec<Vec<String>> = measured
        .steps
        .iter()
        .map(|step| {
            vec![
                step.name.to_owned(),
                format!("{:.2}", step.used.seconds),
                format!("{:.2}", step.used.cpu_seconds),
                (step.used.peak_memory_kb / 1024).to_string(),
                step.served.exchange_requests.to_string(),
                step.served.planner_calls.to_string(),
                step.created.to_string(),
                step.updated.to_string(),
                step.deleted.to_string(),
                step.cpu_us_per_write
                    .map_or_else(String::new, |time| format!("{time:.0}")),
                format!("{:.0}", step.writes_per_second),
            ]
        })
        .collect();
    let streams = measured.streams.as_ref().map(streams::text);
    format!(
        "{} calendars with {} events each, {} ms latency\n\n{}{}",
        measured.calendars,
        measured.events_per_calendar,
        measured.latency_ms,
        table(&head, &rows),
        streams.unwrap_or_default()
    )
}
