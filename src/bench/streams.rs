//! The service on streams: what it costs to begin again, to wait, and how soon a change comes through.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::town::{PASSWORD, PASSWORD_VARIABLE, Served, Town, failed};
use crate::error::AppError;

/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(10);
/// After this the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many changes are timed on their way.
const CHANGES: usize = 21;

/// What a service used that has found the state of an earlier run.
#[derive(Debug, Serialize)]
pub(super) struct Streams {
    /// From the start until what had changed meanwhile was in Planner.
    caught_up_seconds: f64,
    /// From the start until every calendar was watched by a stream.
    watched_seconds: f64,
    /// Requests until both.
    #[serde(flatten)]
    served: Served,
    streams: usize,
    /// The time in which nothing happened, afterwards.
    idle_seconds: f64,
    idle_cpu_seconds: f64,
    idle_requests: usize,
    /// Memory that was resident at its end.
    idle_memory_kb: u64,
    /// From a change in Exchange to its record in Planner, in milliseconds: the median of some.
    change_ms: f64,
}

/// Ends the service when the measurement ends, however it does.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the service over what the passes before left behind, lets it wait `idle`, and changes some appointments.
///
/// # Errors
/// The service does not come so far within ten minutes, or ends.
pub(super) async fn measure(town: &Town, idle: Duration) -> Result<Streams, AppError> {
    // A service lives by a clock that runs.
    town.let_clocks_run();
    let before = town.in_planner();
    let changed = town.new_appointments(0)?;
    town.served();
    let begun = Instant::now();
    let child = Command::new(std::env::current_exe()?)
        .arg("--config")
        .arg(town.config())
        .args(["--log-level", "error", "run"])
        .env(PASSWORD_VARIABLE, PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let mut service = Service(child);
    let (mut watched, mut caught_up) = (None, None);
    while watched.is_none() || caught_up.is_none() {
        alive(&mut service, begun)?;
        tokio::time::sleep(LOOK).await;
        if town.watched().0 >= town.calendars() {
            watched.get_or_insert(begun.elapsed());
        }
        if town.in_planner() >= before + changed {
            caught_up.get_or_insert(begun.elapsed());
        }
    }
    // What else a start brings with it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let served = town.served();
    let (processor, start) = (cpu_seconds(service.0.id()), Instant::now());
    tokio::time::sleep(idle).await;
    let idle_seconds = start.elapsed().as_secs_f64();
    let idle_cpu_seconds = cpu_seconds(service.0.id()) - processor;
    let idle_memory_kb = memory_kb(service.0.id());
    let quiet = town.served();
    let mut took = Vec::with_capacity(CHANGES);
    for number in 1..=CHANGES {
        let before = town.in_planner();
        let begun = Instant::now();
        town.new_appointment(number)?;
        while town.in_planner() == before {
            alive(&mut service, begun)?;
            tokio::time::sleep(LOOK).await;
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(Streams {
        caught_up_seconds: caught_up.unwrap_or_default().as_secs_f64(),
        watched_seconds: watched.unwrap_or_default().as_secs_f64(),
        served,
        streams: town.watched().1,
        idle_seconds,
        idle_cpu_seconds,
        idle_requests: quiet.exchange_requests + quiet.planner_calls,
        idle_memory_kb,
        change_ms: took.get(CHANGES / 2).copied().unwrap_or_default(),
    })
}

fn alive(service: &mut Service, begun: Instant) -> Result<(), AppError> {
    if let Some(status) = service.0.try_wait()? {
        return Err(failed(format!("the service ended: {status}")));
    }
    if begun.elapsed() > PATIENCE {
        return Err(failed("nothing came of it within ten minutes"));
    }
    Ok(())
}

/// Processor time of all threads so far; 0 where the system does not tell (Linux does).
fn cpu_seconds(process: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let nanoseconds = threads.into_iter().flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// Resident memory now; 0 where the system does not tell.
fn memory_kb(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    now.unwrap_or_default()
}

/// For people.
pub(super) fn text(streams: &Streams) -> String {
    format!(
        "\nThe service: all watched by {} streams after {:.2} s, caught up after {:.2} s, by {} requests to Exchange and {} to Planner.\n\
         Idle for {:.0} s: {:.3} s CPU, {} requests, {} MB. A change takes {:.0} ms.\n",
        streams.streams,
        streams.watched_seconds,
        streams.caught_up_seconds,
        streams.served.exchange_requests,
        streams.served.planner_calls,
        streams.idle_seconds,
        streams.idle_cpu_seconds,
        streams.idle_requests,
        streams.idle_memory_kb / 1024,
        streams.change_ms,
    )
}
