//! The conformance kit: whether a connector does what calbridge relies on.
//!
//! A connector's author gives a [`World`]: settings that work, calendars that belong to the kit, and as many ways as he
//! has to change the system behind the connector's back. [`run`] then opens the connector as calbridge does, reads and
//! writes through it, and compares. It sees the registry and the traits alone, so it makes no difference whether the
//! connector is linked, loaded as a library, or runs in a process of its own.
//!
//! Every test has a name and says in a sentence what it is about: [`tests`]. A test that a world gives no means for, or
//! that does not concern the connector, is skipped, and the report says why.

mod about;
mod contained;
mod file_world;
mod kit;
mod log;
mod opening;
mod reading;
mod report;
mod sinks;
mod sources;
mod world;

use std::sync::Arc;
use std::time::Instant;

use calbridge_core::connector::ConnectorEntry;

pub use about::{Test, tests};
pub use file_world::{Commands, FileWorld, WorldError, WorldFile};
pub use log::listen;
pub use report::{Report, TestReport, Verdict};
pub use world::{Appointment, Cannot, Daily, Refused, World};

use kit::{Kit, Stop};

/// Which tests are to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// Those that tell in seconds whether a connector works the way it is carried: linked, loaded, in a process.
    Smoke,
    /// Those whose name contains this.
    Named(String),
}

impl Selection {
    /// Whether this test is among them.
    #[must_use]
    pub fn takes(&self, test: &Test) -> bool {
        match self {
            Self::All => true,
            Self::Smoke => test.smoke,
            Self::Named(part) => test.name.contains(part.as_str()),
        }
    }
}

/// Runs the kit on a connector. Needs a multi-threaded runtime. The kit's calendars are emptied before each test.
///
/// Call [`listen`] first, if nobody else takes the process's log: else the tests that search it are skipped.
pub async fn run(
    entry: &'static ConnectorEntry,
    world: Arc<dyn World>,
    selection: &Selection,
    mut progress: impl FnMut(&TestReport),
) -> Report {
    // The log and the memory are the whole process's.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let manifest = entry.manifest();
    let kit = Arc::new(Kit {
        entry,
        world,
        listening: listen(),
    });
    let mut report = Report {
        connector: manifest.id,
        version: manifest.version,
        tests: Vec::new(),
    };
    for test in tests().iter().filter(|test| selection.takes(test)) {
        let begun = Instant::now();
        let verdict = run_one(test, &kit).await;
        let done = TestReport {
            name: test.name,
            about: test.about,
            verdict,
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        progress(&done);
        report.tests.push(done);
    }
    report
}

/// A test in a task of its own: what panics or hangs there is the connector's fault, and ends nothing else.
async fn run_one(test: &Test, kit: &Arc<Kit>) -> Verdict {
    let patience = kit.world.patience();
    log::forget();
    let task = tokio::spawn({
        let (kit, run) = (Arc::clone(kit), test.run);
        async move {
            kit.world.clear().await?;
            run(kit).await
        }
    });
    let abort = task.abort_handle();
    match tokio::time::timeout(patience, task).await {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(Stop::Failed(why)))) => Verdict::Failed(why),
        Ok(Ok(Err(Stop::Skipped(why)))) => Verdict::Skipped(why),
        Ok(Err(_)) => Verdict::Failed("it panicked".to_owned()),
        Err(_) => {
            abort.abort();
            Verdict::Failed(format!("it was not done after {} s", patience.as_secs()))
        }
    }
}
