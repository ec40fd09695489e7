//! `approve`: an operator lets go what the guard holds back.

use calbridge_core::store::StoreError;
use serde::Serialize;

use super::session::{Session, addresses, require_known};
use crate::cli::ApproveArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

#[derive(Serialize)]
struct Approved {
    sync: String,
    deletes: u64,
}

pub(super) async fn run(
    session: Session,
    args: ApproveArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let syncs = session.syncs(&args.selection)?;
    let calendars = addresses(&args.selection.calendars)?;
    // An approval makes no state file.
    if let Err(missing @ AppError::Store(StoreError::Missing { .. })) =
        session.store_to_read().await
    {
        return Err(missing);
    }
    let engine = session.engine(syncs.clone()).await?;
    require_known(engine.store().as_ref(), &syncs, &calendars).await?;
    let mut report = Vec::with_capacity(syncs.len());
    for sync in &syncs {
        report.push(Approved {
            sync: sync.name.clone(),
            deletes: engine.approve(sync, &calendars).await?,
        });
    }
    output.show(&report, || {
        let lines: Vec<String> = report
            .iter()
            .map(|approved| match approved.deletes {
                0 => format!("Sync `{}`: nothing is held.", approved.sync),
                1 => format!("Sync `{}`: one delete is approved.", approved.sync),
                many => format!("Sync `{}`: {many} deletes are approved.", approved.sync),
            })
            .collect();
        lines.join("\n")
    })?;
    Ok(Exit::Success)
}
