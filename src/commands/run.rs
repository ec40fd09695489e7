//! `run`: the service.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use calbridge_core::connector::{CheckReport, CheckScope, Severity};
use calbridge_core::engine::{ConnectionHandle, Engine, Silent};
use calbridge_core::store::PauseScope;

use super::session::Session;
use crate::cli::Selection;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

/// How often the connections are checked while the service runs, beginning with its start: a certificate that is
/// about to expire must be noticed without anybody looking.
const CHECK_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How often to see whether a pause was lifted.
const PAUSE_LOOK: Duration = Duration::from_secs(10);

pub(super) async fn run(session: Session, _: Output) -> Result<Exit, AppError> {
    let syncs = session.syncs(&Selection::default())?;
    let names: Vec<&str> = syncs.iter().map(|sync| sync.name.as_str()).collect();
    let started = names.join(", ");
    let connections = session.connections(&syncs)?;
    let engine = session.engine_over(connections.clone(), syncs).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        syncs = started,
        state = %session.config.state.path.display(),
        "calbridge has started."
    );
    tokio::select! {
        done = engine.run(session.config.state.retention, &session.shutdown, &Silent) => done?,
        never = check_daily(&session, &engine, &connections) => match never {},
    }
    tracing::info!("calbridge has stopped.");
    Ok(Exit::Success)
}

async fn check_daily(
    session: &Session,
    engine: &Engine,
    connections: &[Arc<ConnectionHandle>],
) -> Infallible {
    loop {
        for connection in connections {
            while is_paused(engine, connection.name()).await {
                tokio::time::sleep(PAUSE_LOOK).await;
            }
            let scope = CheckScope {
                now: session.clock.now(),
                calendars: Vec::new(),
            };
            // What keeps a connection from being checked keeps it from being used, and is told there.
            if let Ok(report) = connection.connection().check(scope).await {
                log(connection.name(), &report);
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Whether an operator wants no calls to a connection.
async fn is_paused(engine: &Engine, connection: &str) -> bool {
    let pauses = engine.store().pauses().await.unwrap_or_default();
    pauses.iter().any(|pause| match &pause.scope {
        PauseScope::All => true,
        PauseScope::Connection(name) => name == connection,
        PauseScope::Sync(_) => false,
    })
}

fn log(connection: &str, report: &CheckReport) {
    for finding in &report.findings {
        let (check, message) = (finding.name.as_str(), finding.message.as_str());
        match finding.severity {
            Severity::Failed => {
                tracing::error!(connection, check, "The daily check failed: {message}");
            }
            Severity::Warning => {
                tracing::warn!(connection, check, "The daily check warns: {message}");
            }
            _ => {}
        }
    }
}
