//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use crate::config::LogLevel;
use crate::error::AppError;

/// Why there is nothing to carry out.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Help or the version was asked for, or the command line is wrong and a person reads why.
    ForPeople(clap::Error),
    /// The command line is wrong, and a program reads why.
    ForMachines(AppError),
}

/// Reads the command line; the first argument is the program's name.
///
/// # Errors
/// What to show in place of carrying something out.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Refused> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(&arguments).map_err(|error| {
        // What could not be read as a whole may still say how it wants its answer.
        let for_machines = arguments
            .iter()
            .skip(1)
            .take_while(|argument| *argument != "--")
            .any(|argument| argument == "--json");
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refused::ForPeople(error),
            _ if !for_machines => Refused::ForPeople(error),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Refused::ForMachines(AppError::Usage(
                    "no command is given; `--help` lists what there is".to_owned(),
                ))
            }
            _ => {
                let text = error.render().to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
                Refused::ForMachines(AppError::Usage(text.to_owned()))
            }
        }
    })
}

/// Keeps groupware calendars in step with the systems that plan people's time.
#[derive(Debug, Parser)]
#[command(name = "calbridge", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 success, 1 failed, 2 command line or configuration, 3 state file, 4 connection, 5 partly done, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The configuration file; `conf.d/*.toml` beside it is read too.
    ///
    /// Default: /etc/calbridge/calbridge.toml, on Windows %ProgramData%\calbridge\calbridge.toml.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CALBRIDGE_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Sets a key of the configuration, over everything else.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// From which level on to log: error, warn, info, debug, trace. Addresses appear at the last two only.
    #[arg(long, global = true, value_name = "LEVEL", hide_possible_values = true)]
    pub(crate) log_level: Option<LogLevel>,
    /// Let the clock stand still at this instant.
    #[arg(long, global = true, hide = true, value_name = "INSTANT")]
    pub(crate) now: Option<Timestamp>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run as a service: all syncs, until stopped.
    Run,
    /// Bring everything in step once.
    Sync(SyncArgs),
    /// Show what would be written; nothing is.
    Plan(PlanArgs),
    /// Check configuration, secrets, connections, rights and the state file.
    Check(CheckArgs),
    /// Show the state of every sync and calendar.
    Status(StatusArgs),
    /// Tell why an appointment is, or is not, on the other side.
    Explain(ExplainArgs),
    /// Approve the deletes that the guard holds back; `plan` shows them first
    ///
    /// They are sent with the next `sync`, or by the service at once.
    Approve(ApproveArgs),
    /// Send again what was refused for good, and what the other side should hold already.
    Resend(ResendArgs),
    /// Stop reading and writing: everything, or what is named; also after a restart, until `resume`.
    Pause(PauseArgs),
    /// Lift pauses: all, or those that are named.
    Resume(PauseArgs),
    /// Copy the state file while work goes on.
    Backup {
        /// The copy; must not exist.
        target: PathBuf,
    },
    /// Tell what can be connected, and with which settings.
    #[command(subcommand)]
    Connectors(ConnectorsCommand),
    /// Hold a connector library, as a child of a calbridge that runs. Not for people.
    #[command(hide = true)]
    PluginChild(PluginChildArgs),
    /// Run a local server that plays Exchange or Planner, for trying and testing.
    #[cfg(feature = "sandbox")]
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Show calbridge at work between two local servers that play Exchange and Planner.
    ///
    /// Needs no configuration and touches nothing else.
    #[cfg(feature = "sandbox")]
    Demo(DemoArgs),
    /// Measure what calbridge costs, between two local servers that play Exchange and Planner.
    #[cfg(feature = "sandbox")]
    #[command(hide = true)]
    Bench(BenchArgs),
}

/// Which part of the work.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Selection {
    /// Only this sync. May be given several times.
    #[arg(long = "sync", value_name = "NAME")]
    pub(crate) syncs: Vec<String>,
    /// Only the calendar with this address. May be given several times.
    #[arg(long = "calendar", value_name = "ADDRESS")]
    pub(crate) calendars: Vec<String>,
}

/// What is noted down for support.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Tracing {
    /// Write the requests for the one calendar of `--calendar` and the answers into this file, for support.
    ///
    /// For ten minutes at most, and without credentials, addresses, names, subjects and other texts. Connectors that cannot do
    /// so (all but exchange-ews) write nothing.
    #[arg(long, value_name = "FILE", requires = "calendars")]
    pub(crate) trace_wire: Option<PathBuf>,
}

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
    /// Read every calendar completely, not only what changed.
    #[arg(long)]
    pub(crate) full: bool,
    /// Compare with all that the sink holds, too.
    #[arg(long)]
    pub(crate) reconcile: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
    /// Read every calendar completely, not only what changed.
    #[arg(long)]
    pub(crate) full: bool,
    /// Compare with all that the sink holds, too.
    #[arg(long)]
    pub(crate) reconcile: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Check the rights on the calendar with this address, too. May be given several times.
    #[arg(long = "calendar", value_name = "ADDRESS")]
    pub(crate) calendars: Vec<String>,
    /// Check the rights on every calendar that takes part, too: at least one request each.
    #[arg(long, conflicts_with_all = ["calendars", "offline"])]
    pub(crate) roster: bool,
    /// Check the configuration alone: no secrets, no network.
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// Arguments of `resend`.
#[derive(Debug, Args)]
pub(crate) struct ResendArgs {
    /// Whose calendar.
    pub(crate) address: String,
    /// Which appointment: an iCalendar UID, or the other system's id of it. Without it: all of the calendar.
    pub(crate) event: Option<String>,
    /// Only this sync. May be given several times.
    #[arg(long = "sync", value_name = "NAME")]
    pub(crate) syncs: Vec<String>,
}

/// Arguments of `pause` and `resume`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// This sync. May be given several times.
    #[arg(long = "sync", value_name = "NAME")]
    pub(crate) syncs: Vec<String>,
    /// Every sync that reads or writes this connection. May be given several times.
    #[arg(long = "connection", value_name = "NAME")]
    pub(crate) connections: Vec<String>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Whose calendar.
    pub(crate) address: String,
    /// Which appointment: a day such as 2026-11-24, an iCalendar UID, or the other system's id of it.
    ///
    /// Without it: what concerns the calendar as a whole.
    pub(crate) event: Option<String>,
    /// Ask the state file alone, not the systems.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// What about connectors.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectorsCommand {
    /// List what can be connected.
    List,
    /// Print the JSON Schema of a connector's settings, or of a whole configuration file.
    Schema {
        /// The connector.
        id: Option<String>,
    },
    /// Print the reference of a connector's settings, or of all settings, as Markdown.
    Docs {
        /// The connector.
        id: Option<String>,
    },
    /// Write a new connector crate to begin with: it builds, and passes the conformance kit.
    New(NewConnectorArgs),
    /// Run the conformance kit on a connector: whether it does what calbridge relies on.
    ///
    /// The kit's calendars are emptied. Never let it work on people's.
    Test(TestConnectorArgs),
}

/// Arguments of `connectors test`.
#[derive(Debug, Args)]
pub(crate) struct TestConnectorArgs {
    /// The connector.
    pub(crate) id: String,
    /// The file that describes the system behind it (TOML): settings, calendars, commands.
    #[arg(long, value_name = "FILE")]
    pub(crate) world: PathBuf,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "PART")]
    pub(crate) only: Option<String>,
    /// Only those that tell in seconds whether it works.
    #[arg(long, conflicts_with = "only")]
    pub(crate) smoke: bool,
    /// Write a report for build servers (JUnit XML), too.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// Arguments of `connectors new`.
#[derive(Debug, Args)]
pub(crate) struct NewConnectorArgs {
    /// What configuration shall call it, for example `time-board`.
    pub(crate) name: String,
    /// Where to write it. Without it: a folder of this name.
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Take calbridge's crates from this checkout, not from the repository.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) core: Option<PathBuf>,
}

/// Arguments of `plugin-child`.
#[derive(Debug, Args)]
pub(crate) struct PluginChildArgs {
    /// The library.
    pub(crate) library: PathBuf,
    /// Its SHA-256.
    pub(crate) sha256: Option<String>,
}

impl PluginChildArgs {
    /// It is carried out before all others: no runtime and no log.
    pub(crate) fn not_here(&self) -> AppError {
        AppError::Usage(format!(
            "{} is held by a process of its own",
            self.library.display()
        ))
    }
}

/// Arguments of `demo`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Do it once, compare Planner's content with the expected tables, and exit with 0 or 1.
    #[arg(long)]
    pub(crate) once: bool,
    /// Break a record in Planner, to see that the comparison notices.
    #[arg(long = "break", value_name = "WHAT", requires = "once")]
    pub(crate) break_: Option<crate::demo::Break>,
}

/// Arguments of `bench`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct BenchArgs {
    /// How many calendars there are.
    #[arg(long, default_value_t = 20)]
    pub(crate) calendars: usize,
    /// How many events each has in the window.
    #[arg(long, default_value_t = 300)]
    pub(crate) events: usize,
    /// How much later than they could the servers answer, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) latency: u64,
    /// Then let the service watch all calendars, and wait so many seconds for nothing to happen; 0: do not.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) streams: u64,
}

/// Which sandbox.
#[cfg(feature = "sandbox")]
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// An Exchange server (EWS) that the account `svc-calbridge` with the password `sandbox` may read.
    #[command(after_long_help = kinds(calbridge_sandbox::exchange::FAULT_KINDS))]
    Exchange(SandboxArgs),
    /// Jobcenter Planner's external calendar service.
    #[command(after_long_help = kinds(calbridge_sandbox::planner::FAULT_KINDS))]
    Planner(PlannerArgs),
}

/// What `--fault` can ask for.
#[cfg(feature = "sandbox")]
fn kinds(own: &[calbridge_sandbox::fault::Kind]) -> String {
    format!("Kinds of faults:\n{}", calbridge_sandbox::fault::table(own))
}

/// Arguments of `sandbox`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// A folder with one ADDRESS.ics per mailbox.
    #[arg(long, value_name = "DIR")]
    pub(crate) seed: Option<PathBuf>,
    /// Something that goes wrong: OPERATION@MAILBOX#NTH*COUNT=KIND:ARGUMENT, of which only OPERATION (* for all) and KIND are needed. `--help`
    /// lists the kinds. May be given several times.
    #[arg(long, value_name = "SPEC")]
    pub(crate) fault: Vec<String>,
}

/// Arguments of `sandbox planner`.
#[cfg(feature = "sandbox")]
#[derive(Debug, Args)]
pub(crate) struct PlannerArgs {
    #[command(flatten)]
    pub(crate) common: SandboxArgs,
    /// Speak TLS and ask for a client certificate. The authority (`ca.pem`) and a client certificate that is
    /// let in (`client.p12`, password `sandbox`) are written into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) pki: Option<PathBuf>,
    /// The jobcenter that the client certificate is opened for.
    #[arg(long, default_value = "10100")]
    pub(crate) jobcenter: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    /// Every page of help, one after the other.
    #[cfg(feature = "sandbox")]
    #[test]
    fn help() {
        fn pages(command: &mut clap::Command, path: &str, all: &mut String) {
            let help = command.render_long_help();
            all.push_str(&format!("===== {path} =====\n{help}\n"));
            for inner in command.get_subcommands_mut() {
                if inner.get_name() != "help" {
                    let path = format!("{path} {}", inner.get_name());
                    pages(inner, &path, all);
                }
            }
        }
        let mut all = String::new();
        let mut command = Cli::command().term_width(100);
        command.build();
        pages(&mut command, "calbridge", &mut all);
        insta::assert_snapshot!(all);
    }
}
