//! `run`: the service.

use calbridge_core::engine::Silent;

use super::session::Session;
use crate::cli::Selection;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

pub(super) async fn run(session: Session, _: Output) -> Result<Exit, AppError> {
    let syncs = session.syncs(&Selection::default())?;
    let names: Vec<&str> = syncs.iter().map(|sync| sync.name.as_str()).collect();
    let started = names.join(", ");
    let engine = session.engine(syncs).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        syncs = started,
        state = %session.config.state.path.display(),
        "calbridge has started."
    );
    engine
        .run(session.config.state.retention, &session.shutdown, &Silent)
        .await?;
    tracing::info!("calbridge has stopped.");
    Ok(Exit::Success)
}
