//! `backup`: a consistent copy of the state file, also while the service runs.

use std::path::Path;

use calbridge_core::store::Store as _;
use serde::Serialize;

use super::session::Session;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

#[derive(Serialize)]
struct Written {
    backup: String,
    bytes: u64,
}

pub(super) async fn run(session: Session, target: &Path, output: Output) -> Result<Exit, AppError> {
    let store = session.store_to_read().await?;
    store.backup(target).await?;
    let written = Written {
        backup: target.display().to_string(),
        bytes: std::fs::metadata(target).map_or(0, |metadata| metadata.len()),
    };
    output.show(&written, || {
        format!(
            "The state was copied to {} ({} bytes).",
            written.backup, written.bytes
        )
    })?;
    Ok(Exit::Success)
}
