//! The engine: views in, writes out.
//!
//! Connectors only ever update views. The next writes are derived from them in three pure stages without
//! I/O, and nothing that was derived is stored:
//!
//! 1. [`project`]: what a source view means for the sink, under the rules, now. Free of history.
//! 2. [`decide`](mod@decide): one row and what is desired of it, to an intent. The one place with the rules
//!    of who wins.
//! 3. [`schedule`](mod@schedule): the intents of a calendar, to writes or held ones: order, retry times, guard.
//!
//! Around them: [`link`](mod@link) gives views their rows, [`identity`] pairs what vanished with what
//! appeared, [`inventory`] takes in what a sink lists, [`outcome`] takes in what became of writes. The loop
//! ([`Engine`]) pulls, plans and applies per calendar, one step after the other; [`Engine::run`] does so by
//! interval, daily times and hints.

mod apply;
mod checks;
mod clock_watch;
mod config;
mod confirm;
mod connection;
pub mod decide;
#[allow(clippy::module_inception)]
mod engine;
mod error;
mod fingerprint;
pub mod guard;
mod health;
pub mod identity;
pub mod inventory;
pub mod link;
mod locks;
mod orders;
pub mod outcome;
mod pass;
mod plan;
pub mod project;
mod pull;
mod reconcile;
mod replay;
mod report;
pub mod roster;
mod row;
pub mod schedule;
mod service;
mod sync_config;
mod trouble;
mod unit;

pub use config::{Daily, GuardLimits, PrivateRule, Rules, RulesConfig, RulesError, WindowConfig};
pub use connection::ConnectionHandle;
pub use engine::Engine;
pub use error::EngineError;
pub use fingerprint::{Fingerprinter, Prints};
pub use pass::{Differences, PassReport};
pub use plan::{PlannedWrite, basis};
pub use pull::{PAGE, Pulled};
pub use replay::Inputs;
pub use report::{
    CalendarOutcome, CalendarPlan, Failure, Progress, ProgressEvent, Side, Silent, SyncOptions,
    SyncReport,
};
pub use row::{
    Agreed, Attempt, DeadLetter, LinkId, OnSink, Retry, Row, SinkView, SourceView, ViewId,
};
pub use sync_config::{
    Direction, Mode, OnLeave, RosterConfig, RosterFrom, ScheduleConfig, SyncConfig,
};
pub use unit::PassError;
