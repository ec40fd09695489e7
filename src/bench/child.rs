//! One `calbridge sync` as a child, and what it used.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;
use wait4::Wait4 as _;

use super::town::{PASSWORD, PASSWORD_VARIABLE, Town};
use crate::error::AppError;

/// How often the memory of a child is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a process used.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Used {
    /// From start to end.
    pub(super) seconds: f64,
    /// Processor time in the program and in the system for it.
    pub(super) cpu_seconds: f64,
    /// The most memory that was resident at once; 0 where the system does not tell (Linux does).
    pub(super) peak_memory_kb: u64,
}

/// Runs `calbridge sync` and answers what it used and reported.
///
/// # Errors
/// It did not succeed.
pub(super) async fn sync(
    town: &Town,
    options: &[&str],
) -> Result<(Used, serde_json::Value), AppError> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--config")
        .arg(town.config())
        .args(["--json", "--log-level", "error", "--now"])
        .arg(town.now().to_string())
        .arg("sync")
        .args(options)
        .env(PASSWORD_VARIABLE, PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let (used, success, stdout) = tokio::task::spawn_blocking(move || run(command))
        .await
        .map_err(super::town::failed)??;
    if !success {
        return Err(super::town::failed(format!("a sync failed: {stdout}")));
    }
    let report = serde_json::from_str(&stdout).map_err(super::town::failed)?;
    Ok((used, report))
}

fn run(mut command: Command) -> std::io::Result<(Used, bool, String)> {
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let (tell, ended) = mpsc::channel();
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || peak_memory_kb(&status, &ended));
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout)?;
    }
    let ended = child.wait4()?;
    drop(tell);
    let used = Used {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: (ended.rusage.utime + ended.rusage.stime).as_secs_f64(),
        peak_memory_kb: watch.join().unwrap_or_default(),
    };
    Ok((used, ended.status.success(), stdout))
}

/// The most memory that the process had resident, looked at until `ended` hangs up. What the system says of an ended
/// process counts the memory of the one that started it, too.
fn peak_memory_kb(status: &str, ended: &mpsc::Receiver<()>) -> u64 {
    let mut peak = 0;
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let text = std::fs::read_to_string(status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(now.unwrap_or_default());
    }
    peak
}
