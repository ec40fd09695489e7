//! `demo`: the same round as a story, step by step, with tables.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use calbridge_sandbox::exchange::{ExchangeSandbox, Folder, Sensitivity, Zone};
use calbridge_sandbox::planner::{CalledEvent, receipt_code};
use jiff::ToSpan as _;
use tokio_util::sync::CancellationToken;

use super::data::{Data, Left};
use super::stage::{Round, Stage};
use super::table::Line;
use super::verdict::{self, Check};
use super::{DemoOptions, changes, left_out, once, texts};
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::{line, table};

/// Between two sentences, for a person who reads along.
const PAUSE: Duration = Duration::from_millis(1200);

pub(super) async fn run(
    options: DemoOptions,
    shutdown: CancellationToken,
) -> Result<Exit, AppError> {
    let teller = Teller {
        watched: std::io::stdout().is_terminal(),
        shutdown: shutdown.clone(),
    };
    let mut stage = Stage::set(shutdown.clone()).await?;
    opening(&teller, &stage).await?;

    let mut subjects = subjects(&stage.exchange)?;
    let mut seen = texts::of(&stage.exchange)?;
    teller
        .say("\nThe first sync. Each calendar is read whole, Planner is asked what it holds, then the difference is written.")
        .await?;
    let first = stage.sync(true).await?;
    first_tables(&teller, &stage, &first, &subjects).await?;
    let (ghosts, approved) = stage.approve().await?;
    teller
        .say(&format!(
            "  - What stood for nothing any more ({ghosts}) is never deleted unseen on the first day: `calbridge plan` lists it, and now that `calbridge approve` has let it go, it is gone."
        ))
        .await?;
    let held = stage.content();
    let mut checks = vec![verdict::first(&held, &stage.data)];
    if let Some(what) = options.break_ {
        stage.break_planner(what)?;
    }

    stage.time_passes();
    teller
        .say("\nFive minutes later. This happens in Outlook:")
        .await?;
    for change in &stage.data.changes {
        changes::apply(&stage.exchange, change)?;
        let who: Vec<&str> = change
            .mailboxes
            .iter()
            .map(|address| stage.data.name(address))
            .collect();
        teller
            .say(&format!("  - {} ({})", change.say, who.join(", ")))
            .await?;
    }
    seen.extend(texts::of(&stage.exchange)?);
    subjects.extend(self::subjects(&stage.exchange)?);

    teller
        .say("\nThe next sync. Only what changed is read; Planner is told just this:")
        .await?;
    let second = stage.sync(true).await?;
    line(&format!("\n{}", writes(&stage.data, &second, &subjects)))?;
    checks.push(verdict::changed(&stage.content(), &stage.data));

    teller
        .say("\nOnce more, without any change in between:")
        .await?;
    let third = stage.sync(true).await?;
    line(&format!(
        "{} calls to Planner, {} appointments written.",
        third.calls,
        third.sent.len()
    ))?;
    checks.push(verdict::quiet(&third));
    checks.extend(verdict::whole(
        &stage,
        &[&first, &approved, &second, &third],
        &seen,
    ));
    if shutdown.is_cancelled() {
        return Ok(Exit::Interrupted);
    }
    let exit = closing(&teller, &stage, &checks).await?;
    stage.strike().await;
    Ok(exit)
}

/// Tells the story at a pace that fits who listens.
struct Teller {
    /// A person looks on.
    watched: bool,
    shutdown: CancellationToken,
}

impl Teller {
    /// Says something and gives time to read it.
    async fn say(&self, text: &str) -> Result<(), AppError> {
        line(text)?;
        if self.watched {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        Ok(())
    }
}

async fn opening(teller: &Teller, stage: &Stage) -> Result<(), AppError> {
    let setup = &stage.data.setup;
    line(&format!(
        "An Exchange server and Jobcenter Planner run on this machine, and calbridge between them:\n\n  \
         Exchange       {}\n  Planner        {}  (asks for a client certificate)\n  configuration  {}",
        stage.exchange.url(),
        stage.planner.url(),
        stage.config.display()
    ))?;
    teller
        .say(&format!(
            "\nIt is Monday, {}. Planner lists these people and rooms:",
            local(stage, "%-d %B %Y, %H:%M")
        ))
        .await?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for resource in &setup.planner.resources {
        let address = &resource.address;
        let items = stage.exchange.items(address, Folder::Calendar).len();
        let there = setup.exchange.iter().any(|one| one.address == *address);
        let listed = setup.planner.resources.iter();
        let twice = listed.filter(|other| other.address == *address).count() > 1;
        let remark = if twice {
            "two entries with one address: left out"
        } else if !there {
            "has no mailbox any more: the others go on"
        } else if resource.room {
            "a room is read like a person"
        } else {
            ""
        };
        rows.push(vec![
            resource.name.clone(),
            address.clone(),
            items.to_string(),
            remark.to_owned(),
        ]);
    }
    let head = ["WHO", "MAILBOX", "ENTRIES", ""];
    teller.say(&format!("\n{}", table(&head, &rows))).await
}

fn local(stage: &Stage, format: &str) -> String {
    let setup = &stage.data.setup;
    setup.now.in_tz(&setup.zone).map_or_else(
        |_| setup.now.to_string(),
        |at| at.strftime(format).to_string(),
    )
}

/// What the first sync did, by calendar; what Planner knows of this week, and what it does not.
async fn first_tables(
    teller: &Teller,
    stage: &Stage,
    round: &Round,
    subjects: &Subjects,
) -> Result<(), AppError> {
    let held = stage.content();
    let rows: Vec<Vec<String>> = round
        .report
        .calendars
        .iter()
        .map(|calendar| {
            let address = calendar.calendar.address.as_str();
            let report = &calendar.report;
            let mut row = vec![stage.data.name(address).to_owned()];
            let counts = [report.seen, report.created, report.updated, report.deleted];
            row.extend(counts.map(|count| count.to_string()));
            row.push(held.count(address).to_string());
            let trouble = calendar.failed.as_ref();
            row.push(trouble.map_or(String::new(), |failure| failure.message.clone()));
            row
        })
        .collect();
    let head = [
        "WHO",
        "READ",
        "CREATED",
        "CHANGED",
        "DELETED",
        "IN PLANNER",
        "",
    ];
    teller.say(&format!("\n{}\n", table(&head, &rows))).await?;
    teller
        .say("\nAll that Planner knows of the next days: who, when, and an id; never what.")
        .await?;
    let zone = Zone::denmark().rules().clone();
    let setup = &stage.data.setup;
    let week = zone.to_datetime(setup.now).date().saturating_add(5.days());
    let mut soon: Vec<&Line> = held.lines().iter().collect();
    soon.retain(|one| one.start.date() < week);
    soon.sort_by_key(|one| (one.start, &one.mailbox));
    let rows: Vec<Vec<String>> = soon
        .iter()
        .map(|one| {
            let who = stage.data.name(&one.mailbox).to_owned();
            vec![when(one.start, one.end), who, one.id.clone()]
        })
        .collect();
    let shown = table(&["WHEN", "WHO", "ID"], &rows);
    teller.say(&format!("\n{shown}")).await?;
    teller
        .say("\nNot in Planner, though ahead of us in Exchange:")
        .await?;
    let shown = left_out::table_of(stage, subjects)?;
    teller.say(&format!("\n{shown}")).await?;
    teller.say("\nOf what was in Planner before:").await?;
    for own in &setup.planner.own {
        teller
            .say(&format!(
                "  - The appointment of {} on {} was made in Planner. Planner answers that it is its own; it is never sent again.",
                stage.data.name(&own.mailbox),
                when(own.start, own.end)
            ))
            .await?;
    }
    for left in &setup.planner.left_by_predecessor {
        let became = match left.is {
            Some(Left::Ghost) => "stands for nothing any more and waits for an operator",
            Some(Left::Equal) => "was right and was not touched",
            Some(Left::Outdated) => "had old times and was corrected",
            None => continue,
        };
        teller
            .say(&format!(
                "  - A record that calbridge's predecessor had left for {} on {} {became}.",
                stage.data.name(&left.mailbox),
                when(left.start, left.end)
            ))
            .await?;
    }
    Ok(())
}

/// What was sent to Planner and what it answered; equal writes of one series stand in one line.
fn writes(data: &Data, round: &Round, subjects: &Subjects) -> String {
    let mut groups: BTreeMap<(String, String, String, i64), Vec<&CalledEvent>> = BTreeMap::new();
    for (operation, event) in &round.sent {
        let key = (
            event.mailbox.to_lowercase(),
            series(&event.id).to_owned(),
            operation.clone(),
            event.code,
        );
        groups.entry(key).or_default().push(event);
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|((mailbox, uid, operation, code), events)| {
            let first = events.iter().min_by_key(|event| event.start);
            let mut at = first.map_or_else(String::new, |event| when(event.start, event.end));
            if let Some(more) = events.len().checked_sub(1).filter(|more| *more > 0) {
                at.push_str(&format!(" and {more} more"));
            }
            let done = match operation.as_str() {
                "CreateEvents" => "created",
                "UpdateEvents" => "changed",
                "DeleteEvents" => "deleted",
                other => other,
            };
            let subject = subjects.get(&(mailbox.clone(), uid.clone()));
            vec![
                data.name(mailbox).to_owned(),
                at,
                subject.cloned().unwrap_or_default(),
                done.to_owned(),
                answer(*code),
            ]
        })
        .collect();
    let head = [
        "WHO",
        "WHEN IN PLANNER",
        "WHAT (only Exchange knows)",
        "DONE",
        "PLANNER'S ANSWER",
    ];
    table(&head, &rows)
}

fn answer(code: i64) -> String {
    match code {
        receipt_code::ACCEPTED => "accepted".to_owned(),
        receipt_code::PLANNERS_OWN => "13, Planner's own".to_owned(),
        receipt_code::EXISTS => "8, exists already".to_owned(),
        receipt_code::NOT_FOUND => "10, not found".to_owned(),
        code => code.to_string(),
    }
}

/// The UID in a record's id.
fn series(id: &str) -> &str {
    id.split(['$', '#']).next().unwrap_or(id)
}

pub(super) fn when(start: jiff::civil::DateTime, end: jiff::civil::DateTime) -> String {
    let to = if start.date() == end.date() {
        end.strftime("%H:%M")
    } else {
        end.strftime("%a %-d %b %H:%M")
    };
    format!("{}-{to}", start.strftime("%a %-d %b %Y %H:%M"))
}

/// What Exchange calls an appointment, by mailbox and UID. Private ones stay private here too.
pub(super) type Subjects = BTreeMap<(String, String), String>;

fn subjects(exchange: &ExchangeSandbox) -> Result<Subjects, AppError> {
    let mut subjects = Subjects::new();
    for (address, _, _) in exchange.mailboxes() {
        for item in exchange.items(&address, Folder::Calendar) {
            let (uid, _, _, content) = exchange.read(item).map_err(super::failed)?;
            let subject = if content.sensitivity == Sensitivity::Normal {
                content.subject
            } else {
                "(private)".to_owned()
            };
            subjects.insert((address.to_lowercase(), uid), subject);
        }
    }
    Ok(subjects)
}

async fn closing(teller: &Teller, stage: &Stage, checks: &[Check]) -> Result<Exit, AppError> {
    line(&format!("\n{}", once::checks(checks)))?;
    let good = checks.iter().all(|check| check.holds);
    let (verdict, exit) = if good {
        (
            "Planner holds what an independent tool expects.",
            Exit::Success,
        )
    } else {
        ("Planner does NOT hold what it should.", Exit::Failed)
    };
    line(verdict)?;
    if teller.watched {
        let calbridge = format!(
            "calbridge --config {} --now {}",
            stage.config.display(),
            stage.data.setup.changed_at
        );
        line(&format!(
            "\nThe servers run on until Ctrl-C. In another window, for example:\n  {calbridge} status\n  {calbridge} explain {}",
            stage
                .data
                .setup
                .planner
                .own
                .first()
                .map_or_else(String::new, |own| format!("{} {}", own.mailbox, own.id))
        ))?;
        teller.shutdown.cancelled().await;
    }
    Ok(exit)
}
