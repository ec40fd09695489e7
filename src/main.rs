//! calbridge: keeps groupware calendars in step with the systems that plan people's time.

#[cfg(feature = "sandbox")]
mod bench;
mod cli;
mod commands;
mod config;
mod connectors;
#[cfg(feature = "sandbox")]
mod demo;
mod error;
mod exit;
mod log;
mod output;
mod progress;
mod secrets;
mod stop;

use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::AppError;
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(cli::Refused::ForPeople(page)) => page.exit(),
        Err(cli::Refused::ForMachines(error)) => {
            output::error(&error, true);
            return ExitCode::from(error.exit().code());
        }
    };
    if let cli::Command::PluginChild(args) = &cli.command {
        return connectors::child(&args.library, args.sha256.as_deref());
    }
    let json = cli.global.json;
    let exit = run(cli).unwrap_or_else(|error| {
        output::error(&error, json);
        error.exit()
    });
    ExitCode::from(exit.code())
}

fn run(cli: cli::Cli) -> Result<Exit, AppError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Failed(format!("the program cannot start threads: {error}")))?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop::on_signal(shutdown.clone());
        let serves = matches!(cli.command, cli::Command::Run);
        let patience = async {
            shutdown.cancelled().await;
            tokio::time::sleep(stop::PATIENCE).await;
        };
        tokio::select! {
            result = commands::run(cli, shutdown.clone()) => result,
            () = patience => Ok(if serves { Exit::Success } else { Exit::Interrupted }),
        }
    });
    // What still blocks a thread then is broken off.
    runtime.shutdown_timeout(Duration::from_millis(200));
    connectors::settle();
    result
}
