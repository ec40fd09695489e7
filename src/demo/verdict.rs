//! What must hold after the demo, and whether it does.

use std::collections::{BTreeMap, BTreeSet};

use calbridge_sandbox::planner::receipt_code;
use serde::Serialize;

use super::data::{Data, Left};
use super::stage::{Round, Stage};
use super::table::{Difference, Table};
use super::texts;

/// One thing that must hold.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// What must hold.
    pub(super) what: &'static str,
    pub(super) holds: bool,
    /// What was found.
    pub(super) found: String,
    /// How Planner's content differs, where that is what is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) difference: Option<Difference>,
}

impl Check {
    fn new(what: &'static str, holds: bool, found: String) -> Self {
        Self {
            what,
            holds,
            found,
            difference: None,
        }
    }
}

/// Planner's content against an expected table.
pub(super) fn content(what: &'static str, held: &Table, expected: &Table) -> Check {
    let difference = held.compare(expected);
    let found = if difference.is_none() {
        format!("{} records, as expected", held.len())
    } else {
        format!(
            "{} missing, {} unexpected",
            difference.missing.len(),
            difference.unexpected.len()
        )
    };
    Check {
        holds: difference.is_none(),
        found,
        difference: Some(difference),
        what,
    }
}

/// Planner's content after the first sync.
pub(super) fn first(held: &Table, data: &Data) -> Check {
    content("Planner after the first sync", held, &data.first)
}

/// Planner's content after the changes.
pub(super) fn changed(held: &Table, data: &Data) -> Check {
    content("Planner after the changes", held, &data.changed)
}

/// A sync without changes writes nothing.
pub(super) fn quiet(round: &Round) -> Check {
    Check::new(
        "a sync without changes writes nothing",
        round.sent.is_empty(),
        format!("{} events sent", round.sent.len()),
    )
}

/// What the ledgers of both servers and the reports must say, once all rounds are over.
pub(super) fn whole(stage: &Stage, rounds: &[&Round], texts: &BTreeSet<String>) -> Vec<Check> {
    let sent = || rounds.iter().flat_map(|round| &round.sent);
    let setup = &stage.data.setup;

    let mut creates: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (operation, event) in sent() {
        if operation == "CreateEvents" && event.effective {
            let key = (event.mailbox.to_lowercase(), event.id.to_lowercase());
            *creates.entry(key).or_default() += 1;
        }
    }
    let twice = creates.values().filter(|count| **count > 1).count();

    let mut own_answers = 0;
    let mut own_wrong = 0;
    for own in &setup.planner.own {
        let of = |(_, event): &&(String, _)| same(event, &own.mailbox, &own.id);
        for (_, event) in sent().filter(of) {
            own_answers += 1;
            own_wrong += usize::from(event.code != receipt_code::PLANNERS_OWN);
        }
    }

    let left = |what: Left| {
        let all = setup.planner.left_by_predecessor.iter();
        all.filter(move |record| record.is == Some(what))
    };
    let rewritten = left(Left::Equal)
        .filter(|record| sent().any(|(_, event)| same(event, &record.mailbox, &record.id)))
        .count();
    let content = stage.planner.content();
    let ghosts = left(Left::Ghost)
        .filter(|ghost| content.0.iter().any(|record| record.id == ghost.id))
        .count();

    let (reached, asked) = (
        texts::reached(&stage.planner, texts),
        texts::asked(&stage.exchange),
    );
    vec![
        Check::new(
            "no record is created twice",
            twice == 0 && !creates.is_empty(),
            format!("{} created, {twice} of them twice", creates.len()),
        ),
        Check::new(
            "Planner's own appointments are left to it",
            own_answers == setup.planner.own.len() && own_wrong == 0,
            format!(
                "{own_answers} sent, {} answered as Planner's own",
                own_answers - own_wrong
            ),
        ),
        Check::new(
            "what a predecessor left is cleared up",
            rewritten == 0 && ghosts == 0,
            format!("{ghosts} ghosts left, {rewritten} right records written again"),
        ),
        mailboxes(stage, rounds),
        Check::new(
            "no text reaches Planner",
            reached == Some(0) && asked == 0,
            format!(
                "subjects that reached Planner: {} of {}; requests that asked Exchange for texts: {asked}",
                reached.map_or_else(|| "unknown".to_owned(), |count| count.to_string()),
                texts.len()
            ),
        ),
    ]
}

fn same(event: &calbridge_sandbox::planner::CalledEvent, mailbox: &str, id: &str) -> bool {
    event.mailbox.eq_ignore_ascii_case(mailbox) && event.id.eq_ignore_ascii_case(id)
}

/// Mailboxes in trouble are told and do not stop the others: just the one that Exchange lacks fails, and just
/// the one that Planner lists twice is left out.
fn mailboxes(stage: &Stage, rounds: &[&Round]) -> Check {
    let setup = &stage.data.setup;
    let listed: Vec<&str> = setup
        .planner
        .resources
        .iter()
        .map(|resource| resource.address.as_str())
        .collect();
    let there = |address: &str| {
        let mut all = setup.exchange.iter();
        all.any(|mailbox| mailbox.address == address)
    };
    let expected_trouble: BTreeSet<&str> = listed
        .iter()
        .copied()
        .filter(|address| !there(address))
        .collect();
    let expected_skipped: BTreeSet<&str> = listed
        .iter()
        .copied()
        .filter(|address| listed.iter().filter(|other| *other == address).count() > 1)
        .collect();
    let holds = rounds.iter().all(|round| {
        let calendars = round.report.calendars.iter();
        let trouble: BTreeSet<&str> = calendars
            .filter(|calendar| calendar.failed.is_some())
            .map(|calendar| calendar.calendar.address.as_str())
            .collect();
        let skipped = round.report.skipped.iter();
        let skipped: BTreeSet<&str> = skipped.map(|entry| entry.address.as_str()).collect();
        trouble == expected_trouble && skipped == expected_skipped
    });
    let names = |addresses: &BTreeSet<&str>| {
        let names: Vec<&str> = addresses.iter().map(|a| stage.data.name(a)).collect();
        names.join(", ")
    };
    Check::new(
        "one mailbox in trouble does not stop the others",
        holds,
        if holds {
            format!(
                "not in Exchange: {}; listed twice in Planner: {}",
                names(&expected_trouble),
                names(&expected_skipped)
            )
        } else {
            "other mailboxes are in trouble or left out than should be".to_owned()
        },
    )
}
