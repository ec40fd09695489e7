//! `connectors test`: the conformance kit on a connector, linked or loaded.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use calbridge_conformance::{FileWorld, Report, Selection, TestReport, Verdict, WorldFile};
use calbridge_core::connector;

use crate::cli::TestConnectorArgs;
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;
use crate::secrets::SystemSecrets;

pub(super) async fn run(args: &TestConnectorArgs, output: Output) -> Result<Exit, AppError> {
    // Whoever takes the log first has it: the kit searches it for what does not belong there.
    calbridge_conformance::listen();
    let Some(entry) = connector::find(&args.id) else {
        return Err(AppError::Usage(format!(
            "there is no connector `{}`; `connectors list` shows them",
            args.id
        )));
    };
    let usage = |why: String| AppError::Usage(format!("`{}`: {why}", args.world.display()));
    let text = fs::read_to_string(&args.world).map_err(|error| usage(error.to_string()))?;
    let file: WorldFile = toml::from_str(&text).map_err(|error| usage(error.to_string()))?;
    let folder = args
        .world
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let world = FileWorld::new(entry, file, folder, &SystemSecrets)
        .map_err(|error| usage(error.to_string()))?;
    let selection = match (&args.only, args.smoke) {
        (Some(part), _) => Selection::Named(part.clone()),
        (None, true) => Selection::Smoke,
        (None, false) => Selection::All,
    };
    let report = calbridge_conformance::run(entry, Arc::new(world), &selection, |test| {
        if !output.json {
            tell(test);
        }
    })
    .await;
    if report.tests.is_empty() {
        return Err(AppError::Usage("no test has such a name".to_owned()));
    }
    if let Some(path) = &args.junit {
        write_junit(&report, path)?;
    }
    output.show(&report, || report.table())?;
    Ok(if report.passed() {
        Exit::Success
    } else {
        Exit::Failed
    })
}

/// One line as each test is done: a run may take minutes.
fn tell(test: &TestReport) {
    let word = match test.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "FAILED",
        Verdict::Skipped(_) => "skipped",
    };
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr().lock(), "{} ... {word}", test.name);
}

fn write_junit(report: &Report, path: &Path) -> Result<(), AppError> {
    let text = report
        .junit()
        .map_err(|error| AppError::Failed(format!("the report is no XML: {error}")))?;
    fs::write(path, text).map_err(|error| {
        AppError::Failed(format!("`{}` cannot be written: {error}", path.display()))
    })
}
