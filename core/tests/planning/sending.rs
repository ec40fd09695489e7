//! Sending, codes, retries, guard: what becomes of writes.

use calbridge_core::connector::{Op, Outcome, SideState};
use calbridge_core::engine::decide::{Decision, Intent, Reason};
use calbridge_core::engine::guard::GuardHistory;
use calbridge_core::engine::outcome::MAX_TRIES;
use calbridge_core::engine::schedule::{Schedule, schedule};
use calbridge_core::engine::{GuardLimits, LinkId, OnSink, Row};
use calbridge_core::model::EventTime;
use jiff::SignedDuration;

use crate::common::*;

fn ahead() -> EventTime {
    time("2026-11-27 10:00", "2026-11-27 11:00")
}

fn moved() -> EventTime {
    time("2026-11-27 12:00", "2026-11-27 13:00")
}

fn done() -> Outcome {
    Outcome::Done {
        remote: None,
        stored: None,
    }
}

fn exists() -> Outcome {
    Outcome::Conflict {
        theirs: SideState::Present {
            remote: calbridge_core::model::SideRef::new(UID).unwrap(),
            content: None,
        },
    }
}

fn missing() -> Outcome {
    Outcome::Conflict {
        theirs: SideState::Absent,
    }
}

fn retry() -> Outcome {
    Outcome::Retry {
        after_ms: None,
        code: Some("6215".to_owned()),
    }
}

/// Rows for `n` appointments that the sink holds, numbered from one.
fn held_by_sink(n: i64) -> Vec<Row> {
    (1..=n)
        .map(|id| {
            let mut row = known(ahead());
            row.link = LinkId(id);
            row
        })
        .collect()
}

fn plan(rows: &[Row]) -> Schedule {
    plan_with(rows, &GuardHistory::default())
}

fn plan_with(rows: &[Row], history: &GuardHistory) -> Schedule {
    let planner = Planner::default();
    let decisions: Vec<Decision> = rows.iter().map(|row| planner.decide(row)).collect();
    schedule(rows, &decisions, history, &GuardLimits::default(), now())
}

#[test]
fn k066_accepted_is_in_step() {
    let planner = Planner::default();
    let row = planner.step(&unknown(event(ahead())), &done());
    assert_eq!(row.sink.state, OnSink::Present);
    assert_eq!(planner.decide(&row).reason, Reason::InStep);
}

#[test]
fn k067_a_create_that_exists_becomes_an_update_with_the_same_times() {
    let planner = Planner::default();
    let row = planner.step(&unknown(event(ahead())), &exists());
    let decision = planner.decide(&row);
    assert_eq!(op(&decision), Some(Op::Update));
    assert_eq!(decision.intent.content().unwrap().time, ahead());
    assert_eq!(
        plan(std::slice::from_ref(&row)).due.len(),
        1,
        "it is planned anew at once"
    );
    assert_eq!(planner.decide(&planner.done(&row)).reason, Reason::InStep);
}

#[test]
fn k068_an_update_of_nothing_becomes_a_create_with_the_same_times() {
    let planner = Planner::default();
    let row = with(known(ahead()), Some(event(moved())));
    let row = planner.step(&row, &missing());
    let decision = planner.decide(&row);
    assert_eq!(op(&decision), Some(Op::Create));
    assert_eq!(decision.intent.content().unwrap().time, moved());
}

#[test]
fn k069_k084_not_now_is_tried_again_with_growing_waits_and_an_end() {
    let mut planner = Planner::default();
    let mut row = unknown(event(ahead()));
    let mut waits = Vec::new();
    let mut tries = 0;
    while row.dead.is_none() {
        row = planner.step(&row, &retry());
        tries += 1;
        assert!(tries <= MAX_TRIES, "no end");
        if let Some(retry) = &row.retry {
            waits.push(retry.not_before.duration_since(planner.now));
            assert!(plan(std::slice::from_ref(&row)).due.is_empty() || planner.now > now());
            planner.now = retry.not_before;
        }
    }
    assert_eq!(tries, MAX_TRIES);
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(waits[0], SignedDuration::from_secs(30));
    assert!(
        waits
            .iter()
            .all(|wait| *wait <= SignedDuration::from_hours(6))
    );
}

#[test]
fn k069_the_sinks_own_wait_counts() {
    let planner = Planner::default();
    let asked = Outcome::Retry {
        after_ms: Some(300_000),
        code: None,
    };
    let row = planner.step(&unknown(event(ahead())), &asked);
    assert_eq!(
        row.retry.unwrap().not_before.duration_since(now()),
        SignedDuration::from_mins(5)
    );
}

#[test]
fn k071_foreign_is_quiet_and_final() {
    let planner = Planner::default();
    let row = planner.step(&unknown(event(ahead())), &Outcome::Foreign);
    for row in [
        row.clone(),
        with(row.clone(), Some(event(moved()))),
        with(row, None),
    ] {
        let decision = planner.decide(&row);
        assert_eq!(
            (decision.intent, decision.reason),
            (Intent::Nothing, Reason::Foreign)
        );
        assert!(row.dead.is_none() && row.retry.is_none());
    }
}

#[test]
fn k072_a_delete_of_nothing_is_done() {
    let planner = Planner::default();
    let row = planner.step(&with(known(ahead()), None), &done());
    assert_eq!(row.sink.state, OnSink::Absent);
    assert_eq!(planner.decide(&row).intent, Intent::Nothing);
}

#[test]
fn k073_k075_k085_an_unanswered_write_is_repeated_and_converges() {
    let planner = Planner::default();
    // A first create: repeated as a create. If it had worked, the sink says so, and it becomes an update.
    let row = planner.step(&unknown(event(ahead())), &Outcome::Unknown);
    assert_eq!(row.sink.state, OnSink::Unknown);
    assert_eq!(op(&planner.decide(&row)), Some(Op::Create));
    let token = row.attempt.as_ref().unwrap().token.clone();
    let again = planner.step(&row, &Outcome::Unknown);
    assert_eq!(again.attempt.unwrap().token, token);
    let row = planner.step(&row, &exists());
    assert_eq!(op(&planner.decide(&row)), Some(Op::Update));
    // A write to a known record: repeated as an update, or as a delete.
    let row = planner.step(
        &with(known(ahead()), Some(event(moved()))),
        &Outcome::Unknown,
    );
    assert_eq!(op(&planner.decide(&row)), Some(Op::Update));
    let row = planner.step(&with(known(ahead()), None), &Outcome::Unknown);
    assert_eq!(op(&planner.decide(&row)), Some(Op::Delete));
    // Created, unanswered, and gone meanwhile: deleted, whether it is there or not.
    let row = planner.step(&unknown(event(ahead())), &Outcome::Unknown);
    assert_eq!(op(&planner.decide(&with(row, None))), Some(Op::Delete));
}

#[test]
fn k074_k076_an_outage_buries_nothing() {
    let planner = Planner::default();
    let context = planner.context();
    let mut row = unknown(event(ahead()));
    for _ in 0..100 {
        let intent = planner.decide(&row).intent;
        for outcome in [retry(), Outcome::Unknown] {
            let token = calbridge_core::connector::AttemptToken("t".to_owned());
            let begun =
                calbridge_core::engine::outcome::begin(row.clone(), &intent, token, &context);
            row = calbridge_core::engine::outcome::settle(
                &row, begun, &intent, &outcome, true, &context,
            );
        }
    }
    assert!(row.dead.is_none());
    assert!(planner.decide(&row).intent.op().is_some());
}

#[test]
fn k079_k080_deleted_and_created_in_any_order_end_as_the_source_is() {
    let planner = Planner::default();
    // D then C before anything was sent: the record is there, and the source holds it unchanged.
    let row = with(with(known(ahead()), None), Some(event(ahead())));
    assert_eq!(op(&planner.decide(&row)), None);
    // D, C, D: gone.
    let row = with(row, None);
    assert_eq!(op(&planner.decide(&row)), Some(Op::Delete));
    assert_eq!(op(&planner.decide(&planner.done(&row))), None);
}

#[test]
fn k081_k082_edits_during_an_outage_become_one_write_with_the_newest_times() {
    let planner = Planner::default();
    let edits = ["12:00", "13:00", "14:00"];
    for mut row in [unknown(event(ahead())), known(ahead())] {
        for start in edits {
            let edited = time(&format!("2026-11-27 {start}"), "2026-11-27 15:00");
            row = with(row, Some(event(edited)));
        }
        let schedule = plan(std::slice::from_ref(&row));
        assert_eq!(schedule.due.len(), 1);
        let content = schedule.due[0].intent.content().unwrap();
        assert_eq!(content.time, time("2026-11-27 14:00", "2026-11-27 15:00"));
        assert_eq!(op(&planner.decide(&planner.done(&row))), None);
    }
}

#[test]
fn k083_made_and_deleted_before_it_was_sent_is_no_write() {
    assert!(plan(&[with(unknown(event(ahead())), None)]).due.is_empty());
}

#[test]
fn k065_creates_and_updates_come_before_deletes_by_start() {
    let mut rows = held_by_sink(6);
    rows[0] = with(rows[0].clone(), None);
    rows[1] = with(rows[1].clone(), Some(event(moved())));
    let mut new = unknown(event(time("2026-11-26 08:00", "2026-11-26 09:00")));
    new.link = LinkId(7);
    rows.push(new);
    let order: Vec<(i64, Option<Op>)> = plan(&rows)
        .due
        .iter()
        .map(|due| (due.link.0, due.intent.op()))
        .collect();
    assert_eq!(
        order,
        [
            (7, Some(Op::Create)),
            (2, Some(Op::Update)),
            (1, Some(Op::Delete))
        ]
    );
}

#[test]
fn a_conflict_that_keeps_coming_back_ends_as_a_dead_letter() {
    let mut planner = Planner::default();
    let mut row = unknown(event(ahead()));
    for round in 0..=MAX_TRIES {
        if row.dead.is_some() {
            assert!(round > 2, "given up too soon");
            return;
        }
        let answer = match op(&planner.decide(&row)) {
            Some(Op::Create) => exists(),
            _ => missing(),
        };
        row = planner.step(&row, &answer);
        if let Some(retry) = &row.retry {
            planner.now = retry.not_before;
        }
    }
    panic!("still going on");
}

#[test]
fn guard_few_deletes_of_many_go_through() {
    let mut rows = held_by_sink(20);
    for row in &mut rows[..5] {
        *row = with(row.clone(), None);
    }
    let schedule = plan(&rows);
    assert_eq!((schedule.due.len(), schedule.held.len()), (5, 0));
}

#[test]
fn guard_more_than_a_quarter_and_more_than_five_are_held_and_block_no_create() {
    let mut rows = held_by_sink(20);
    for row in &mut rows[..6] {
        *row = with(row.clone(), None);
    }
    let mut new = unknown(event(moved()));
    new.link = LinkId(99);
    rows.push(new);
    let schedule = plan(&rows);
    assert_eq!(schedule.held.len(), 6);
    assert_eq!(schedule.due.len(), 1);
    assert_eq!(schedule.due[0].intent.op(), Some(Op::Create));
}

#[test]
fn guard_deletes_of_the_last_day_count() {
    let mut rows = held_by_sink(20);
    rows[0] = with(rows[0].clone(), None);
    let history = GuardHistory {
        deleted: (100..107).map(|id| format!("l:{id}")).collect(),
        stopped: false,
    };
    // Eight of twenty-seven in a day.
    assert_eq!(plan_with(&rows, &history).held, [LinkId(1)]);
}

#[test]
fn guard_becoming_empty_is_held_above_two() {
    let emptied = |n| {
        held_by_sink(n)
            .into_iter()
            .map(|row| with(row, None))
            .collect::<Vec<_>>()
    };
    assert_eq!(plan(&emptied(2)).held.len(), 0);
    assert_eq!(plan(&emptied(3)).held.len(), 3);
}

#[test]
fn guard_a_series_counts_once() {
    let mut rows = held_by_sink(40);
    for row in &mut rows[..20] {
        row.group = Some("series".to_owned());
        *row = with(row.clone(), None);
    }
    // Twenty occurrences are one unit of twenty-one.
    assert_eq!(plan(&rows).held.len(), 0);
}

#[test]
fn guard_a_stopped_connection_holds_every_delete() {
    let mut rows = held_by_sink(20);
    rows[0] = with(rows[0].clone(), None);
    let history = GuardHistory {
        stopped: true,
        ..GuardHistory::default()
    };
    assert_eq!(plan_with(&rows, &history).held.len(), 1);
}

#[test]
fn guard_an_approval_lets_through_and_a_vanished_cause_lets_go() {
    let mut rows = held_by_sink(3);
    for row in &mut rows {
        *row = with(row.clone(), None);
        row.held_since = Some(now());
    }
    let mut approved = rows.clone();
    for row in &mut approved {
        row.approved = Some(now());
    }
    let schedule = plan(&approved);
    assert_eq!(
        (
            schedule.due.len(),
            schedule.held.len(),
            schedule.released.len()
        ),
        (3, 0, 0)
    );
    // An approval from before it was held is none.
    for row in &mut approved {
        row.approved = Some(now() - SignedDuration::from_secs(1));
    }
    assert_eq!(plan(&approved).held.len(), 3);
    // One appointment is back: its row lets go by itself.
    rows[0] = with(rows[0].clone(), Some(event(ahead())));
    assert_eq!(plan(&rows).released, [LinkId(1), LinkId(2), LinkId(3)]);
}
