//! `demo --once`: one round without a word, compared with the expected tables.

use std::fmt::Write as _;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::stage::{Round, Stage};
use super::table::{Difference, Line};
use super::verdict::{self, Check};
use super::{DemoOptions, texts};
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{Output, table};

/// How many differing records are printed.
const SHOWN: usize = 20;

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    exit: &'static str,
    as_expected: bool,
    rounds: Vec<RoundReport>,
    checks: Vec<Check>,
}

/// What Planner saw of one sync.
#[derive(Debug, Serialize)]
struct RoundReport {
    round: &'static str,
    calendars: usize,
    created: usize,
    updated: usize,
    deleted: usize,
    adopted: u64,
    calls: usize,
    /// Records in Planner afterwards.
    records: usize,
}

impl RoundReport {
    fn new(name: &'static str, round: &Round, records: usize) -> Self {
        let [created, updated, deleted] = round.effects();
        Self {
            round: name,
            calendars: round.report.calendars.len(),
            created,
            updated,
            deleted,
            adopted: round.report.total.adopted,
            calls: round.calls,
            records,
        }
    }
}

pub(super) async fn run(
    options: DemoOptions,
    shutdown: CancellationToken,
) -> Result<Exit, AppError> {
    let mut stage = Stage::set(shutdown.clone()).await?;
    let mut seen = texts::of(&stage.exchange)?;

    let first = stage.sync(false).await?;
    let held = stage.content().len();
    // What a predecessor left and nothing stands for any more waits for somebody to look at it.
    let (_, approved) = stage.approve().await?;
    if let Some(what) = options.break_ {
        stage.break_planner(what)?;
    }
    let after_first = stage.content();

    stage.time_passes();
    stage.change()?;
    seen.extend(texts::of(&stage.exchange)?);
    let second = stage.sync(false).await?;
    let after_changes = stage.content();

    let third = stage.sync(false).await?;
    let after_all = stage.content();
    if shutdown.is_cancelled() {
        return Ok(Exit::Interrupted);
    }

    let mut checks = vec![
        verdict::first(&after_first, &stage.data),
        verdict::changed(&after_changes, &stage.data),
        verdict::quiet(&third),
    ];
    checks.extend(verdict::whole(
        &stage,
        &[&first, &approved, &second, &third],
        &seen,
    ));
    let as_expected = checks.iter().all(|check| check.holds);
    let exit = if as_expected {
        Exit::Success
    } else {
        Exit::Failed
    };
    let report = Report {
        exit: exit.name(),
        as_expected,
        rounds: vec![
            RoundReport::new("first sync", &first, held),
            RoundReport::new("ghosts approved", &approved, after_first.len()),
            RoundReport::new("after the changes", &second, after_changes.len()),
            RoundReport::new("once more", &third, after_all.len()),
        ],
        checks,
    };
    let output = Output { json: options.json };
    output.show(&report, || text(&report))?;
    stage.strike().await;
    Ok(exit)
}

fn text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .rounds
        .iter()
        .map(|round| {
            let mut row = vec![round.round.to_owned()];
            row.extend(
                [
                    round.calendars,
                    round.created,
                    round.updated,
                    round.deleted,
                    round.records,
                ]
                .map(|count| count.to_string()),
            );
            row
        })
        .collect();
    let head = [
        "",
        "CALENDARS",
        "CREATED",
        "CHANGED",
        "DELETED",
        "IN PLANNER",
    ];
    let mut text = table(&head, &rows);
    text.push_str("\n\n");
    text.push_str(&checks(&report.checks));
    let verdict = if report.as_expected {
        "as expected"
    } else {
        "NOT as expected"
    };
    let _ = write!(text, "\n{verdict}");
    text
}

/// The checks as a table, and below it what differs.
pub(super) fn checks(checks: &[Check]) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            vec![
                if check.holds { "ok" } else { "WRONG" }.to_owned(),
                check.what.to_owned(),
                check.found.clone(),
            ]
        })
        .collect();
    let mut text = table(&["", "WHAT MUST HOLD", "FOUND"], &rows);
    text.push('\n');
    for check in checks {
        if let Some(difference) = check.difference.as_ref().filter(|one| !one.is_none()) {
            let _ = write!(text, "\n{}:\n{}\n", check.what, differing(difference));
        }
    }
    text
}

/// The differing records as a table.
fn differing(difference: &Difference) -> String {
    let row = |word: &str, line: &Line| {
        vec![
            word.to_owned(),
            line.mailbox.clone(),
            line.start.strftime("%Y-%m-%d %H:%M").to_string(),
            line.end.strftime("%Y-%m-%d %H:%M").to_string(),
            line.id.clone(),
        ]
    };
    let missing = difference.missing.iter().map(|line| row("missing", line));
    let unexpected = difference.unexpected.iter();
    let unexpected = unexpected.map(|line| row("not expected", line));
    let all: Vec<Vec<String>> = missing.chain(unexpected).collect();
    let mut text = table(
        &["", "MAILBOX", "START", "END", "ID"],
        all.get(..SHOWN).unwrap_or(&all),
    );
    if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, "\n... and {more} more");
    }
    text
}
