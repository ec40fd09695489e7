//! `demo`: calbridge itself between two local servers that play Exchange and Planner.
//!
//! Nothing of calbridge is replaced: a configuration file is written, loaded and checked as any other,
//! connections go over HTTPS (to Planner with a client certificate), the state is a file. The clock stands
//! still on a Monday in November 2026, so that the expected tables never age. They stand in `demo/expected`
//! and are made from the same seeds by `scripts/demo_expected.py`, which shares no code with calbridge.

mod changes;
mod data;
mod left_out;
mod once;
mod stage;
mod story;
mod table;
mod texts;
mod verdict;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use crate::error::AppError;
use crate::exit::Exit;

/// How the demo is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DemoOptions {
    /// One silent round that is compared with the expected tables, instead of the story.
    pub(crate) once: bool,
    /// What goes wrong in Planner behind calbridge's back.
    pub(crate) break_: Option<Break>,
    /// Print one JSON document instead of text.
    pub(crate) json: bool,
}

/// What goes wrong in Planner behind calbridge's back, to show that the comparison notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Break {
    /// A record is lost.
    Loss,
    /// A record is there twice.
    Duplicate,
    /// A record is an hour late.
    Time,
}

/// Runs the demo. [`Exit::Success`] if Planner held what it should, [`Exit::Failed`] if not.
///
/// # Errors
/// The servers cannot start here, or the round could not be carried out at all.
pub(crate) async fn run(
    options: DemoOptions,
    shutdown: CancellationToken,
) -> Result<Exit, AppError> {
    if options.once || options.json {
        once::run(options, shutdown).await
    } else {
        story::run(options, shutdown).await
    }
}

/// Something of the demo's own that does not work.
fn failed(error: impl std::fmt::Display) -> AppError {
    AppError::Failed(format!("the demo cannot go on: {error}"))
}
