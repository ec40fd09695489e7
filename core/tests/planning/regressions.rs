//! What a review of the planner found to go wrong, once.

use calbridge_core::connector::{AttemptToken, Op, Outcome};
use calbridge_core::engine::decide::{Decision, Intent, Reason};
use calbridge_core::engine::guard::GuardHistory;
use calbridge_core::engine::link::{Linked, link};
use calbridge_core::engine::schedule::schedule;
use calbridge_core::engine::{GuardLimits, LinkId, OnSink, Row, SourceView, ViewId, outcome};
use calbridge_core::model::*;
use jiff::SignedDuration;

use crate::common::*;

fn ahead() -> EventTime {
    time("2026-11-27 10:00", "2026-11-27 11:00")
}
fn moved() -> EventTime {
    time("2026-11-27 12:00", "2026-11-27 13:00")
}

#[test]
fn a_crash_after_the_attempt_was_committed_is_probed() {
    let planner = Planner {
        idempotent_upsert: false,
        probe: true,
        ..Planner::default()
    };
    let row = unknown(event(ahead()));
    let intent = planner.decide(&row).intent;
    // What `send` commits before it calls `apply`; then the process is killed.
    let stored = outcome::begin(
        row,
        &intent,
        AttemptToken("t".to_owned()),
        &planner.context(),
    );
    assert_eq!(planner.decide(&stored).intent, Intent::Probe);
}

#[test]
fn a_changed_event_does_not_wait_for_the_old_contents_retry() {
    let mut planner = Planner::default();
    let mut row = unknown(event(ahead()));
    let later = Outcome::Retry {
        after_ms: None,
        code: None,
    };
    for _ in 0..11 {
        row = planner.step(&row, &later);
        planner.now = row.retry.as_ref().unwrap().not_before;
    }
    // The user moves it; Planner says once more "not now".
    row = with(row, Some(event(moved())));
    row = planner.step(&row, &later);
    assert!(
        row.dead.is_none(),
        "the new times were tried once and given up"
    );
}

#[test]
fn a_changed_event_is_due_at_once() {
    let planner = Planner::default();
    let mut row = unknown(event(ahead()));
    for _ in 0..10 {
        row = planner.settle(
            &row,
            &planner.decide(&row).intent,
            &Outcome::Retry {
                after_ms: None,
                code: None,
            },
        );
    }
    row = with(row, Some(event(moved())));
    let decisions: Vec<Decision> = vec![planner.decide(&row)];
    let row = outcome::renew(row, &decisions[0].intent, &planner.context());
    let plan = schedule(
        std::slice::from_ref(&row),
        &decisions,
        &GuardHistory::default(),
        &GuardLimits::default(),
        planner.now + SignedDuration::from_hours(2),
    );
    assert_eq!(plan.due.len(), 1, "waits until {:?}", plan.next);
}

#[test]
fn no_id_is_given_twice_where_one_view_attaches() {
    let view = |id: i64, uid: &str| {
        let mut e = event(ahead());
        e.key = EventKey::new(uid, None).unwrap();
        SourceView {
            id: ViewId(id),
            event: e,
            ordinal: 0,
        }
    };
    let mut row = Row::new(LinkId(1), EventKey::new("abc", None).unwrap(), 0);
    row.sink.state = OnSink::Present;
    row.sink.remote = Some(SideRef::new("abc").unwrap());
    let linked = link(
        &[row],
        &[view(1, "abc"), view(2, "ABC")],
        &planner().external_ids,
        &copenhagen(),
    );
    assert_eq!(linked[0], Linked::Attach { row: 0, view: 0 });
    let Linked::New { external_id, .. } = &linked[1] else {
        panic!()
    };
    assert_ne!(external_id.as_ref().unwrap().to_lowercase(), "abc");
}

#[test]
fn a_refused_delete_is_open_again_when_its_base_becomes_known() {
    let planner = Planner::default();
    let row = planner.step(&unknown(event(ahead())), &Outcome::Unknown);
    let row = with(row, None);
    assert_eq!(planner.decide(&row).intent, Intent::Delete);
    let refused = Outcome::Rejected {
        code: "planner.times".to_owned(),
        message: String::new(),
    };
    let mut row = planner.step(&row, &refused);
    // The nightly inventory shows it, with other times.
    row.sink.state = OnSink::Present;
    row.sink.content = Some(Content::times(moved()));
    assert_eq!(op(&planner.decide(&row)), Some(Op::Delete));
}

#[test]
fn a_field_that_the_sink_newly_keeps_is_sent() {
    let mut planner = Planner::default();
    let mut titled = event(ahead());
    titled.content.subject = Some("Team".to_owned());
    let row = with(known(ahead()), Some(titled));
    planner.rules.fields = source_capabilities().fields;
    assert_eq!(op(&planner.decide(&row)), Some(Op::Update));
}

#[test]
fn what_ended_before_the_window_is_frozen_however_its_source_changed() {
    let acknowledged = Planner::default().done(&unknown(event(ahead())));
    let changed = with(acknowledged.clone(), Some(event(moved())));
    let gone = with(acknowledged, None);
    // While it lies ahead, and on its day, both are told ...
    for (wall, update) in [("2026-11-26 12:00", true), ("2026-11-27 08:00", false)] {
        let planner = Planner::on(wall);
        let intent = planner.decide(&changed).intent;
        assert_eq!(
            intent.op(),
            Some(if update { Op::Update } else { Op::Delete })
        );
        assert_eq!(planner.decide(&gone).intent, Intent::Delete);
    }
    // ... and a change that could not be told in time is no reason to remove what has been.
    let planner = Planner::on("2026-11-28 08:00");
    for row in [changed, gone] {
        assert_eq!(planner.decide(&row).intent, Intent::Nothing);
    }
}

#[test]
fn an_update_whose_fate_is_unknown_is_repeated_even_when_its_event_has_passed() {
    let later = time("2026-11-30 10:00", "2026-11-30 11:00");
    let changed = with(known(later), Some(event(moved())));
    let row = Planner::default().step(&changed, &Outcome::Unknown);
    assert_eq!(row.sink.state, OnSink::Unknown);
    // The record very likely passed as it should: it is not removed.
    let decision = Planner::on("2026-11-28 09:00").decide(&row);
    assert_eq!(op(&decision), Some(Op::Update));
    assert_eq!(decision.reason, Reason::FateUnknown);
    // What is moved in the past after that was never sent.
    let earlier = event(time("2026-11-26 12:00", "2026-11-26 13:00"));
    let decision = Planner::on("2026-11-28 09:00").decide(&with(row, Some(earlier)));
    assert_eq!(op(&decision), Some(Op::Delete));
    assert_eq!(decision.reason, Reason::MovedToPast);
}
