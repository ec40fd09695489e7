//! One `calbridge sync` as a child, and what it used.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Serialize;
use wait4::Wait4 as _;

use super::town::{NOW, PASSWORD, PASSWORD_VARIABLE, Town};
use crate::error::AppError;

/// What a process used.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Used {
    /// From start to end.
    pub(super) seconds: f64,
    /// Processor time in the program and in the system for it.
    pub(super) cpu_seconds: f64,
    /// The most memory that was resident at once.
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
        .args(["--json", "--log-level", "error", "--now", NOW, "sync"])
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
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout)?;
    }
    let ended = child.wait4()?;
    let used = Used {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: (ended.rusage.utime + ended.rusage.stime).as_secs_f64(),
        peak_memory_kb: ended.rusage.maxrss / 1024,
    };
    Ok((used, ended.status.success(), stdout))
}
