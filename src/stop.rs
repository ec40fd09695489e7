//! Stopping: SIGINT, SIGTERM and SIGHUP, on Windows Ctrl-C, Ctrl-Break, a closed console and the end of the
//! session.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long work may take to end once it was asked to. Whatever is under way then is broken off, which loses
/// nothing: the next run goes on from what was stored.
pub(crate) const PATIENCE: Duration = Duration::from_millis(4500);

/// Cancels the token when the program is asked to stop.
pub(crate) fn on_signal(shutdown: CancellationToken) {
    tokio::spawn(async move {
        asked().await;
        tracing::info!("Asked to stop; work under way is ended.");
        shutdown.cancel();
    });
}

/// Whether whoever started the program wants it to outlive its terminal, as `nohup` does. To listen for the signal
/// would undo that. Linux tells in `SigIgn` of `/proc/self/status`, a bit for each signal; elsewhere it is not
/// known.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & 1 == 1)
    })
}

#[cfg(unix)]
async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let listener = (!hangup_is_ignored()).then(|| signal(SignalKind::hangup()));
    let hangup = async {
        match listener {
            Some(Ok(mut hangup)) => {
                hangup.recv().await;
            }
            _ => std::future::pending::<()>().await,
        }
    };
    let (interrupt, terminate) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = hangup => {}
            }
        }
        _ => {
            tracing::warn!("The system delivers no signals; end the process to stop it.");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(windows)]
async fn asked() {
    use tokio::signal::windows;
    let listeners = (
        windows::ctrl_c(),
        windows::ctrl_break(),
        windows::ctrl_close(),
        windows::ctrl_shutdown(),
    );
    match listeners {
        (Ok(mut c), Ok(mut r#break), Ok(mut close), Ok(mut end)) => {
            tokio::select! {
                _ = c.recv() => {}
                _ = r#break.recv() => {}
                _ = close.recv() => {}
                _ = end.recv() => {}
            }
        }
        _ => {
            tracing::warn!("The system delivers no signals; end the process to stop it.");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(any(unix, windows)))]
async fn asked() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
