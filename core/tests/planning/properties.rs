//! Properties of the three stages under random histories.
//!
//! A history is a random sequence of edits of one appointment, plans, and answers of the sink, good and bad.
//! The sink is a model: it holds a record or not, and its answer may get lost. Whatever happened, once the
//! sink answers well, it ends holding what the source holds, with a bounded number of writes.

use calbridge_core::connector::{Op, Outcome, SideState};
use calbridge_core::engine::decide::{Decision, Intent};
use calbridge_core::engine::guard::GuardHistory;
use calbridge_core::engine::schedule::schedule;
use calbridge_core::engine::{GuardLimits, Inputs, LinkId, OnSink, Row};
use calbridge_core::model::{Content, EventTime, ShowAs, SideRef};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::common::*;

#[derive(Debug, Clone)]
enum Step {
    /// The source holds the appointment at this hour of that day.
    Edit(u8, u8),
    Free,
    Cancel,
    Remove,
    /// Plan, and the sink answers this way.
    Sync(Answer),
    /// Somebody changes or removes the sink's record, and an inventory shows it.
    Tamper(bool),
    /// The clock goes on by this many hours.
    Wait(u8),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Good,
    /// Processed, and the answer was lost.
    LostAfter,
    /// Not processed, and no answer.
    LostBefore,
    NotNow,
    Refused,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 0..20_u8).prop_map(|(day, hour)| Step::Edit(day, hour)),
        1 => Just(Step::Free),
        1 => Just(Step::Cancel),
        1 => Just(Step::Remove),
        6 => prop_oneof![
            4 => Just(Answer::Good),
            2 => Just(Answer::LostAfter),
            2 => Just(Answer::LostBefore),
            1 => Just(Answer::NotNow),
            1 => Just(Answer::Refused),
        ].prop_map(Step::Sync),
        1 => any::<bool>().prop_map(Step::Tamper),
        1 => (1..30_u8).prop_map(Step::Wait),
    ]
}

fn slot(day: u8, hour: u8) -> EventTime {
    let start =
        at("2026-12-01 00:00") + SignedDuration::from_hours(i64::from(day) * 24 + i64::from(hour));
    EventTime::timed(start, start + SignedDuration::from_hours(1), None).unwrap()
}

/// A sink as Planner is: it says when a create finds a record and when an update or delete finds none.
#[derive(Debug, Default)]
struct Sink {
    record: Option<Content>,
    effective: u32,
}

impl Sink {
    fn apply(&mut self, intent: &Intent) -> Outcome {
        let remote = SideRef::new(UID).unwrap();
        match (intent.op(), self.record.is_some()) {
            (Some(Op::Create), true) => Outcome::Conflict {
                theirs: SideState::Present {
                    remote,
                    content: None,
                },
            },
            (Some(Op::Update), false) => Outcome::Conflict {
                theirs: SideState::Absent,
            },
            (Some(Op::Delete), there) => {
                self.effective += u32::from(there);
                self.record = None;
                Outcome::Done {
                    remote: None,
                    stored: None,
                }
            }
            _ => {
                self.effective += 1;
                self.record = intent.content().cloned();
                Outcome::Done {
                    remote: Some(remote),
                    stored: None,
                }
            }
        }
    }
}

/// What is kept of a decision makes the same decision again, also after it was stored.
fn replays(planner: &Planner, row: &Row, decision: &Decision) {
    let context = planner.context();
    let desired = planner.desired(row);
    let sink = crate::common::planner();
    let inputs = Inputs::of(row, &desired, &planner.rules, &sink, &context);
    let stored = serde_json::to_string(&inputs).unwrap();
    let inputs: Inputs = serde_json::from_str(&stored).unwrap();
    assert_eq!(inputs.replay(context.prints), (desired, decision.clone()));
}

fn sync(planner: &Planner, row: &Row, sink: &mut Sink, answer: Answer) -> Row {
    let decision = planner.decide(row);
    replays(planner, row, &decision);
    let plan = schedule(
        std::slice::from_ref(row),
        std::slice::from_ref(&decision),
        &GuardHistory::default(),
        &GuardLimits::default(),
        planner.now,
    );
    if matches!(decision.intent, Intent::Adopt { .. }) {
        return calbridge_core::engine::outcome::adopt(
            row.clone(),
            &decision.intent,
            &planner.context(),
        );
    }
    let Some(due) = plan.due.first() else {
        return row.clone();
    };
    let outcome = match answer {
        Answer::Good => sink.apply(&due.intent),
        Answer::LostAfter => {
            sink.apply(&due.intent);
            Outcome::Unknown
        }
        Answer::LostBefore => Outcome::Unknown,
        Answer::NotNow => Outcome::Retry {
            after_ms: None,
            code: None,
        },
        Answer::Refused => Outcome::Rejected {
            code: "6203".to_owned(),
            message: String::new(),
        },
    };
    planner.settle(row, &due.intent, &outcome)
}

/// An inventory that shows the sink as it is.
fn list(planner: &Planner, row: Row, sink: &Sink) -> Row {
    use calbridge_core::engine::inventory::{Taken, take};
    let entries: Vec<_> = sink
        .record
        .iter()
        .map(|content| calbridge_core::connector::InventoryEntry {
            calendar: calbridge_core::model::CalendarRef::primary("a@x.dk").unwrap(),
            remote: SideRef::new(UID).unwrap(),
            content: Some(content.clone()),
            key: None,
            origin: None,
        })
        .collect();
    let began = planner.now + SignedDuration::from_secs(1);
    let taken = take(
        std::slice::from_ref(&row),
        &entries,
        planner.rules.window,
        began,
        &crate::common::planner(),
    );
    for taken in taken {
        if let Taken::Changed { now, .. } = taken {
            return *now;
        }
    }
    row
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_the_sink_ends_as_the_source(steps in prop::collection::vec(step(), 1..40)) {
        let mut planner = Planner::default();
        let mut sink = Sink::default();
        let mut row = with(unknown(event(slot(0, 9))), None);
        let mut edits = 1_u32;
        let mut tampered = 0_u32;
        for step in steps {
            match step {
                Step::Edit(day, hour) => {
                    edits += 1;
                    row = with(row, Some(event(slot(day, hour))));
                }
                Step::Free => {
                    edits += 1;
                    row = with(row, Some(shown(event(slot(1, 9)), ShowAs::Free)));
                }
                Step::Cancel => {
                    edits += 1;
                    row = with(row, Some(cancelled(event(slot(1, 9)))));
                }
                Step::Remove => {
                    edits += 1;
                    row = with(row, None);
                }
                Step::Sync(answer) => row = sync(&planner, &row, &mut sink, answer),
                Step::Tamper(remove) => {
                    tampered += 1;
                    if remove {
                        sink.record = None;
                    } else if let Some(record) = &mut sink.record {
                        record.time = slot(5, 23 - 4);
                    }
                    row = list(&planner, row, &sink);
                }
                Step::Wait(hours) => {
                    planner.now += SignedDuration::from_hours(i64::from(hours));
                }
            }
        }
        // Quiescence: an operator or a change reopens what was refused, time passes, the sink answers well.
        row.dead = None;
        for _ in 0..6 {
            if let Some(retry) = &row.retry {
                planner.now = planner.now.max(retry.not_before);
            }
            row = sync(&planner, &row, &mut sink, Answer::Good);
        }
        let wanted = match planner.desired(&row) {
            calbridge_core::engine::project::Desired::Present { content, .. } => Some(content),
            _ => None,
        };
        prop_assert_eq!(&sink.record, &wanted);
        prop_assert_eq!(row.sink.state == OnSink::Present, wanted.is_some());
        let again = planner.decide(&row);
        prop_assert!(again.intent.op().is_none(), "not quiet: {:?}", again);
        // Each edit costs at most one effective write; each tampering and each lost answer at most one more.
        prop_assert!(sink.effective <= 2 * (edits + tampered) + 1, "{} writes for {edits} edits", sink.effective);
    }

    #[test]
    fn project_is_free_of_history(day in 0..6_u8, hour in 0..20_u8, old in 0..6_u8) {
        let planner = Planner::default();
        let fresh = unknown(event(slot(day, hour)));
        let known = with(known(slot(old, 3)), Some(event(slot(day, hour))));
        prop_assert_eq!(planner.desired(&fresh), planner.desired(&known));
    }

    #[test]
    fn a_schedule_writes_each_row_once_and_holds_only_deletes(
        states in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..60)
    ) {
        let planner = Planner::default();
        let rows: Vec<Row> = states.iter().zip(1..).map(|((is_known, gone, moved), id)| {
            let mut row = if *is_known { known(slot(1, 9)) } else { unknown(event(slot(1, 9))) };
            if *moved { row = with(row, Some(event(slot(2, 9)))); }
            if *gone { row = with(row, None); }
            row.link = LinkId(id);
            row
        }).collect();
        let decisions: Vec<_> = rows.iter().map(|row| planner.decide(row)).collect();
        let plan = schedule(&rows, &decisions, &GuardHistory::default(), &GuardLimits::default(), planner.now);
        let mut links: Vec<_> = plan.due.iter().map(|due| due.link).chain(plan.held.iter().copied()).collect();
        let all = links.len();
        links.sort();
        links.dedup();
        prop_assert_eq!(links.len(), all, "a row twice");
        let wanted = decisions.iter().filter(|d| d.intent.op().is_some()).count();
        prop_assert_eq!(all, wanted, "a write neither due nor held");
        for link in &plan.held {
            let position = rows.iter().position(|row| row.link == *link).unwrap();
            prop_assert_eq!(decisions[position].intent.op(), Some(Op::Delete));
        }
        // Either all unapproved deletes are held or none.
        let deletes_due = plan.due.iter().filter(|due| due.intent.op() == Some(Op::Delete)).count();
        prop_assert!(plan.held.is_empty() || deletes_due == 0);
        let held_by_sink = rows.iter().filter(|row| row.sink.state == OnSink::Present).count();
        if deletes_due > 5 {
            prop_assert!(deletes_due * 100 <= held_by_sink * 25, "{deletes_due} of {held_by_sink}");
        }
    }
}
