//! `pause` and `resume`: the stop switch. It stands in the state file, so it outlives restarts, and a service that runs heeds it
//! within seconds.

use calbridge_core::store::{PauseScope, Store as _, StoreError};
use serde::Serialize;

use super::session::Session;
use crate::cli::PauseArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

#[derive(Serialize)]
struct Changed {
    scope: PauseScope,
    /// Whether that changed anything.
    changed: bool,
}

pub(super) async fn pause(
    session: Session,
    args: PauseArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let mut scopes = scopes(&session, &args)?;
    if scopes.is_empty() {
        scopes.push(PauseScope::All);
    }
    let store = match session.store_beside().await {
        // There may be a reason to pause before the first run.
        Err(AppError::Store(StoreError::Missing { .. })) => session.store().await?,
        other => other?,
    };
    let mut report = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let changed = store.pause(&scope, session.clock.now()).await?;
        report.push(Changed { scope, changed });
    }
    output.show(&report, || {
        lines(&report, |changed| {
            if changed {
                "is paused: nothing is read or written until `calbridge resume`"
            } else {
                "was paused already"
            }
        })
    })?;
    Ok(Exit::Success)
}

pub(super) async fn resume(
    session: Session,
    args: PauseArgs,
    output: Output,
) -> Result<Exit, AppError> {
    let mut scopes = scopes(&session, &args)?;
    let store = session.store_beside().await?;
    if scopes.is_empty() {
        let pauses = store.pauses().await?;
        scopes = pauses.into_iter().map(|pause| pause.scope).collect();
    }
    let mut report = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let changed = store.resume(&scope).await?;
        report.push(Changed { scope, changed });
    }
    output.show(&report, || {
        if report.is_empty() {
            return "Nothing is paused.".to_owned();
        }
        lines(&report, |changed| {
            if changed {
                "goes on"
            } else {
                "was not paused by itself; `calbridge status` shows what is"
            }
        })
    })?;
    Ok(Exit::Success)
}

/// What was named, as far as it is configured.
fn scopes(session: &Session, args: &PauseArgs) -> Result<Vec<PauseScope>, AppError> {
    let syncs = args.syncs.iter().map(|name| {
        let known = session.config.syncs.iter().any(|sync| sync.name == *name);
        (known, PauseScope::Sync(name.clone()))
    });
    let connections = args.connections.iter().map(|name| {
        let known = session.config.connections.contains_key(name);
        (known, PauseScope::Connection(name.clone()))
    });
    syncs
        .chain(connections)
        .map(|(known, scope)| {
            if known {
                Ok(scope)
            } else {
                Err(AppError::Usage(format!(
                    "there is no {scope} in the configuration"
                )))
            }
        })
        .collect()
}

fn lines(report: &[Changed], said: impl Fn(bool) -> &'static str) -> String {
    let lines: Vec<String> = report
        .iter()
        .map(|change| {
            let mut scope = change.scope.to_string();
            if let Some(first) = scope.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            format!("{scope} {}.", said(change.changed))
        })
        .collect();
    lines.join("\n")
}
