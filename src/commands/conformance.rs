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
    if !calbridge_conformance::tests()
        .iter()
        .any(|test| selection.takes(test))
    {
        return Err(AppError::Usage(
            "no test has such a name; without `--only` all run, and show theirs".to_owned(),
        ));
    }
    // A run may take minutes: whether there is a place for its report is found out before.
    let junit = args.junit.as_ref().map(|path| {
        fs::File::create(path).map_err(|error| {
            AppError::Usage(format!("`{}` cannot be written: {error}", path.display()))
        })
    });
    let junit = junit.transpose()?;
    let report = calbridge_conformance::run(entry, Arc::new(world), &selection, |test| {
        if !output.json {
            tell(test);
        }
    })
    .await;
    if let Some(file) = junit {
        write_junit(&report, file)?;
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

fn write_junit(report: &Report, mut file: fs::File) -> Result<(), AppError> {
    let failed = |why: String| AppError::Failed(format!("the JUnit report: {why}"));
    let text = report.junit().map_err(|error| failed(error.to_string()))?;
    file.write_all(text.as_bytes())
        .map_err(|error| failed(error.to_string()))
}
