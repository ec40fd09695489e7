//! Orders: `approve`, `resend`, and `sync` beside a service that runs. Where no service runs, this process carries them
//! out; else the service is told and does so, as it alone works with the state file.

use std::time::Duration;

use calbridge_core::engine::SyncConfig;
use calbridge_core::model::Address;
use calbridge_core::store::{Order, OrderAnswer, OrderId, OrderKind, Store, StoreError};
use jiff::Timestamp;
use serde::Serialize;

use super::session::{Session, addresses, require_known};
use crate::cli::{ApproveArgs, ResendArgs};
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

/// How long to wait for a running service's answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look for it.
const LOOK: Duration = Duration::from_millis(100);

/// What became of an order to one sync.
#[derive(Serialize)]
pub(super) struct Obeyed {
    sync: String,
    /// How many events it concerned (`sync`: calendars); absent: the service has not answered yet.
    count: Option<u64>,
    /// It was carried out by a service that runs.
    by_service: bool,
}

pub(super) async fn approve(
    session: Session,
    args: ApproveArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let syncs = session.syncs(&args.selection)?;
    let calendars = addresses(&args.selection.calendars)?;
    let report = obey(&session, &syncs, &calendars, &OrderKind::Approve).await?;
    output.show(&report, || {
        lines(&report, |count| match count {
            0 => "nothing is held".to_owned(),
            1 => "one delete is approved".to_owned(),
            many => format!("{many} deletes are approved"),
        })
    })?;
    Ok(Exit::Success)
}

pub(super) async fn resend(
    session: Session,
    args: ResendArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let syncs = session.syncs(&crate::cli::Selection {
        syncs: args.syncs,
        calendars: Vec::new(),
    })?;
    let calendars = addresses(std::slice::from_ref(&args.address))?;
    let what = OrderKind::Resend { event: args.event };
    let report = obey(&session, &syncs, &calendars, &what).await?;
    output.show(&report, || {
        lines(&report, |count| match count {
            0 => "there is nothing to send again".to_owned(),
            1 => "one appointment is sent again with the next pass over its calendar".to_owned(),
            many => format!(
                "{many} appointments are sent again with the next pass over their calendars"
            ),
        })
    })?;
    Ok(Exit::Success)
}

/// Gives an order to each of these syncs: to the service, if one runs.
async fn obey(
    session: &Session,
    syncs: &[SyncConfig],
    calendars: &[Address],
    what: &OrderKind,
) -> Result<Vec<Obeyed>, AppError> {
    let given = session.clock.now();
    // An order makes no state file.
    let known = session.store_to_read().await?;
    require_known(&known, syncs, calendars).await?;
    drop(known);
    let order = |sync: &SyncConfig| Order {
        sync: sync.name.clone(),
        calendars: calendars.to_vec(),
        what: what.clone(),
    };
    let engine = match session.engine(syncs.to_vec()).await {
        Err(AppError::Store(StoreError::Locked { .. })) => {
            return tell(session, syncs.iter().map(order), given).await;
        }
        other => other?,
    };
    let mut report = Vec::with_capacity(syncs.len());
    for sync in syncs {
        report.push(Obeyed {
            sync: sync.name.clone(),
            count: Some(engine.obey(&order(sync), given).await?),
            by_service: false,
        });
    }
    Ok(report)
}

/// Tells the service that runs what was given when, and waits a while for its answers.
pub(super) async fn tell(
    session: &Session,
    orders: impl Iterator<Item = Order>,
    at: Timestamp,
) -> Result<Vec<Obeyed>, AppError> {
    let store = session.store_beside().await?;
    let mut given = Vec::new();
    for order in orders {
        let id = store.give_order(&order, at).await?;
        given.push((order.sync, id));
    }
    let mut report = Vec::with_capacity(given.len());
    for (sync, id) in given {
        report.push(Obeyed {
            sync,
            count: answer(session, &store, id).await?,
            by_service: true,
        });
    }
    Ok(report)
}

async fn answer(
    session: &Session,
    store: &dyn Store,
    order: OrderId,
) -> Result<Option<u64>, AppError> {
    let begun = std::time::Instant::now();
    loop {
        match store.order_answer(order).await? {
            Some(OrderAnswer::Done(count)) => return Ok(Some(count)),
            Some(OrderAnswer::Refused(why)) => return Err(AppError::Failed(why)),
            None if begun.elapsed() > PATIENCE || session.shutdown.is_cancelled() => {
                return Ok(None);
            }
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// For people. `done` says what the count means.
pub(super) fn lines(report: &[Obeyed], done: impl Fn(u64) -> String) -> String {
    let lines: Vec<String> = report
        .iter()
        .map(|obeyed| {
            let said = match obeyed.count {
                Some(count) => done(count),
                None => "the service that runs has been told, and does it when it has finished what it is at".to_owned(),
            };
            format!("Sync `{}`: {said}.", obeyed.sync)
        })
        .collect();
    lines.join("\n")
}
