//! The commands, one file each.

mod backup;
mod check;
mod conformance;
mod connectors;
mod explain;
mod new_connector;
mod orders;
mod pause;
mod plan;
mod reference;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
pub(crate) mod session;
mod status;
mod sync;
mod words;

use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;
use session::Session;

/// Carries out a command.
///
/// # Errors
/// Why nothing, or not all, could be done.
pub(crate) async fn run(cli: Cli, shutdown: CancellationToken) -> Result<Exit, AppError> {
    let output = Output {
        json: cli.global.json,
    };
    let global = &cli.global;
    match cli.command {
        Command::Connectors(command) => connectors::run(command, global, output).await,
        Command::PluginChild(args) => Err(args.not_here()),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(command) => {
            use crate::config::{LogConfig, LogLevel};
            crate::log::begin(&LogConfig {
                level: global.log_level.unwrap_or(LogLevel::Warn),
                ..LogConfig::default()
            });
            sandbox::run(command, output, shutdown).await
        }
        #[cfg(feature = "sandbox")]
        Command::Demo(args) => {
            let options = crate::demo::DemoOptions {
                once: args.once,
                break_: args.break_,
                json: global.json,
            };
            crate::demo::run(options, shutdown).await
        }
        #[cfg(feature = "sandbox")]
        Command::Bench(args) => crate::bench::run(args, output, shutdown).await,
        Command::Check(args) => check::run(Session::new(global, shutdown)?, args, output).await,
        Command::Run => run::run(Session::new(global, shutdown)?, output).await,
        Command::Sync(args) => sync::run(Session::new(global, shutdown)?, args, output).await,
        Command::Plan(args) => plan::run(Session::new(global, shutdown)?, args, output).await,
        Command::Status(args) => status::run(Session::new(global, shutdown)?, args, output).await,
        Command::Explain(args) => explain::run(Session::new(global, shutdown)?, args, output).await,
        Command::Approve(args) => {
            orders::approve(Session::new(global, shutdown)?, args, output).await
        }
        Command::Resend(args) => {
            orders::resend(Session::new(global, shutdown)?, args, output).await
        }
        Command::Pause(args) => pause::pause(Session::new(global, shutdown)?, args, output).await,
        Command::Resume(args) => pause::resume(Session::new(global, shutdown)?, args, output).await,
        Command::Backup { target } => {
            backup::run(Session::new(global, shutdown)?, &target, output).await
        }
    }
}
