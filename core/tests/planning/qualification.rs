//! Qualification: what Planner must know of an appointment.

use calbridge_core::connector::{Op, Outcome};
use calbridge_core::engine::decide::{Intent, Reason};
use calbridge_core::engine::project::{Absence, Desired};
use calbridge_core::engine::{OnSink, PrivateRule};
use calbridge_core::model::{
    Content, Event, EventKey, EventTime, Field, Origin, OriginalStart, ShowAs,
};

use crate::common::*;

fn qualify(row: &calbridge_core::engine::Row) -> Option<Op> {
    op(&Planner::default().decide(row))
}

fn qualify_unknown(event: Event) -> Option<Op> {
    qualify(&unknown(event))
}

fn ahead() -> EventTime {
    time("2026-11-27 10:00", "2026-11-27 11:00")
}

#[test]
fn t01_t05_k001_new_and_ahead_is_created() {
    assert_eq!(qualify_unknown(event(ahead())), Some(Op::Create));
    let midnight = time("2026-11-24 00:00", "2026-11-24 01:00");
    assert_eq!(qualify_unknown(event(midnight)), Some(Op::Create));
}

#[test]
fn t02_t07_changed_times_are_updated() {
    let row = known(ahead());
    for (start, end) in [("10:00", "11:15"), ("10:00", "10:45"), ("09:00", "11:00")] {
        let moved = time(&format!("2026-11-27 {start}"), &format!("2026-11-27 {end}"));
        assert_eq!(
            qualify(&with(row.clone(), Some(event(moved)))),
            Some(Op::Update)
        );
    }
}

#[test]
fn t03_t08_k015_cancelled_is_deleted() {
    assert_eq!(
        qualify(&with(known(ahead()), Some(cancelled(event(ahead()))))),
        Some(Op::Delete)
    );
}

#[test]
fn t04_t09_k027_gone_from_the_calendar_is_deleted() {
    assert_eq!(qualify(&with(known(ahead()), None)), Some(Op::Delete));
}

#[test]
fn t06_k016_unchanged_is_left_alone() {
    let decision = Planner::default().decide(&known(ahead()));
    assert_eq!(
        (decision.intent, decision.reason),
        (Intent::Nothing, Reason::InStep)
    );
}

#[test]
fn t10_no_duration_is_not_sent_and_a_predecessors_record_of_it_goes() {
    let empty = time("2026-11-27 10:00", "2026-11-27 10:00");
    assert_eq!(qualify_unknown(event(empty.clone())), None);
    let mut left_behind = unknown(event(empty.clone()));
    left_behind.sink.state = OnSink::Present;
    left_behind.sink.content = Some(Content::times(empty));
    assert_eq!(qualify(&left_behind), Some(Op::Delete));
}

#[test]
fn t11_free_and_unknown_is_not_sent() {
    assert_eq!(qualify_unknown(shown(event(ahead()), ShowAs::Free)), None);
}

#[test]
fn t12_free_now_is_deleted() {
    assert_eq!(
        qualify(&with(
            known(ahead()),
            Some(shown(event(ahead()), ShowAs::Free))
        )),
        Some(Op::Delete)
    );
}

#[test]
fn t13_busy_again_after_a_delete_is_created() {
    assert_eq!(
        qualify(&with(deleted(ahead()), Some(event(ahead())))),
        Some(Op::Create)
    );
}

#[test]
fn t14_busy_now_and_never_sent_is_created() {
    let row = unknown(shown(event(ahead()), ShowAs::Free));
    assert_eq!(qualify(&row), None);
    assert_eq!(qualify(&with(row, Some(event(ahead())))), Some(Op::Create));
}

#[test]
fn t15_all_day_is_created_from_midnight_to_midnight() {
    let decision = Planner::default().decide(&unknown(event(all_day("2026-11-28", "2026-11-29"))));
    let wall = decision
        .intent
        .content()
        .unwrap()
        .time
        .wall_in(&copenhagen());
    assert_eq!(wall.start.to_string(), "2026-11-28T00:00:00");
    assert_eq!(wall.end.to_string(), "2026-11-29T00:00:00");
    assert_eq!(op(&decision), Some(Op::Create));
}

#[test]
fn t16_k002_starting_today_is_not_created() {
    assert_eq!(
        qualify_unknown(event(time("2026-11-23 08:00", "2026-11-23 09:00"))),
        None
    );
    let decision = Planner::default().decide(&unknown(event(time(
        "2026-11-23 23:59",
        "2026-11-24 08:00",
    ))));
    assert_eq!((op(&decision), decision.reason), (None, Reason::TooEarly));
}

#[test]
fn t16_today_is_sent_where_the_setting_says_so() {
    let mut planner = Planner::default();
    planner.rules.first_day = planner.rules.today;
    let row = unknown(event(time("2026-11-23 14:00", "2026-11-23 15:00")));
    assert_eq!(op(&planner.decide(&row)), Some(Op::Create));
}

#[test]
fn t17_k006_moved_to_today_and_over_by_tonight_is_deleted() {
    let moved = event(time("2026-11-23 09:00", "2026-11-23 10:00"));
    let decision = Planner::default().decide(&with(known(ahead()), Some(moved)));
    assert_eq!(
        (op(&decision), decision.reason),
        (Some(Op::Delete), Reason::MovedToPast)
    );
    let earlier = event(time("2026-11-22 09:00", "2026-11-22 10:00"));
    assert_eq!(
        qualify(&with(known(ahead()), Some(earlier))),
        Some(Op::Delete)
    );
}

#[test]
fn t18_moved_to_today_and_deleted_is_deleted() {
    assert_eq!(qualify(&with(known(ahead()), None)), Some(Op::Delete));
}

#[test]
fn t19_several_days_are_created() {
    assert_eq!(
        qualify_unknown(event(time("2026-11-28 10:00", "2026-11-29 10:00"))),
        Some(Op::Create)
    );
}

#[test]
fn k003_no_duration_is_not_sent() {
    let empty = time("2026-11-25 10:00", "2026-11-25 10:00");
    let decision = Planner::default().decide(&unknown(event(empty)));
    assert_eq!(decision.reason, Reason::Absent(Absence::NoDuration));
}

#[test]
fn k004_changed_to_no_duration_is_deleted() {
    let empty = event(time("2026-11-27 10:00", "2026-11-27 10:00"));
    assert_eq!(
        qualify(&with(known(ahead()), Some(empty))),
        Some(Op::Delete)
    );
}

#[test]
fn k005_moved_to_start_today_and_end_later_is_updated() {
    let moved = event(time("2026-11-23 20:00", "2026-11-24 10:00"));
    assert_eq!(
        qualify(&with(known(ahead()), Some(moved))),
        Some(Op::Update)
    );
}

#[test]
fn k007_deleted_and_still_gone_is_left_alone() {
    let row = deleted(ahead());
    assert_eq!(qualify(&row), None);
    assert_eq!(
        qualify(&with(row.clone(), Some(cancelled(event(ahead()))))),
        None
    );
    assert_eq!(
        qualify(&with(row, Some(shown(event(ahead()), ShowAs::Free)))),
        None
    );
}

#[test]
fn k008_busy_again_is_created_only_if_it_reaches_beyond_today() {
    let reaching = event(time("2026-11-23 20:00", "2026-11-24 10:00"));
    assert_eq!(
        qualify(&with(deleted(ahead()), Some(reaching))),
        Some(Op::Create)
    );
    let over = event(time("2026-11-20 20:00", "2026-11-20 22:00"));
    assert_eq!(qualify(&with(deleted(ahead()), Some(over))), None);
}

#[test]
fn k009_deleted_and_without_duration_is_left_alone() {
    let empty = event(time("2026-11-27 10:00", "2026-11-27 10:00"));
    assert_eq!(qualify(&with(deleted(ahead()), Some(empty))), None);
}

#[test]
fn k010_other_fields_are_no_change_for_planner() {
    let mut retitled = event(ahead());
    retitled.content.subject = Some("Anything".to_owned());
    retitled.content.location = Some("Room 2".to_owned());
    retitled.item.version = Some("2".to_owned());
    assert_eq!(qualify(&with(known(ahead()), Some(retitled))), None);
}

#[test]
fn k011_private_is_sent_with_times_alone() {
    let mut private = event(ahead());
    private.content.private = Some(true);
    private.content.subject = Some("Canary".to_owned());
    let decision = Planner::default().decide(&unknown(private));
    assert_eq!(op(&decision), Some(Op::Create));
    let fields: Vec<_> = decision.intent.content().unwrap().fields().iter().collect();
    assert_eq!(fields, [Field::Time]);
}

#[test]
fn k011_private_texts_are_masked_for_a_sink_that_keeps_texts() {
    let mut planner = Planner::default();
    planner.rules.fields = source_capabilities().fields;
    let mut private = event(ahead());
    private.content.private = Some(true);
    private.content.subject = Some("Canary".to_owned());
    let Desired::Present { content, .. } = planner.desired(&unknown(private.clone())) else {
        panic!("not present");
    };
    assert_eq!(content.subject.as_deref(), Some("Private"));
    planner.rules.private = PrivateRule::Skip;
    assert_eq!(
        planner.decide(&unknown(private)).reason,
        Reason::Absent(Absence::Private)
    );
}

#[test]
fn k012_k013_k014_every_status_but_free_is_busy_time() {
    for status in [
        ShowAs::Busy,
        ShowAs::Tentative,
        ShowAs::Away,
        ShowAs::Elsewhere,
        ShowAs::Unknown,
        ShowAs::Other,
    ] {
        assert_eq!(
            qualify_unknown(shown(event(ahead()), status)),
            Some(Op::Create),
            "{status:?}"
        );
    }
}

#[test]
fn k017_a_second_is_a_change() {
    let later = EventTime::timed(
        at("2026-11-27 10:00"),
        at("2026-11-27 11:00") + jiff::SignedDuration::from_secs(1),
        None,
    )
    .unwrap();
    assert_eq!(
        qualify(&with(known(ahead()), Some(event(later)))),
        Some(Op::Update)
    );
}

#[test]
fn k018_two_years_ahead_waits_until_it_enters_the_window() {
    let far = unknown(event(time("2028-11-27 10:00", "2028-11-27 11:00")));
    assert_eq!(
        Planner::default().decide(&far).reason,
        Reason::Absent(Absence::BeyondWindow)
    );
    let mut later = Planner::default();
    later.now = at("2028-10-01 08:00");
    later.rules = calbridge_core::engine::RulesConfig::default()
        .at(later.now, &source_capabilities(), &planner())
        .unwrap();
    assert_eq!(op(&later.decide(&far)), Some(Op::Create));
}

#[test]
fn k021_a_refused_write_is_a_dead_letter_until_something_changes() {
    let planner = Planner::default();
    let refused = Outcome::Rejected {
        code: "6203".to_owned(),
        message: "refused".to_owned(),
    };
    let row = planner.step(&unknown(event(ahead())), &refused);
    assert!(row.dead.is_some());
    assert_eq!(planner.decide(&row).reason, Reason::Refused);
    // A change of the appointment opens it again; so does a change of rules or connector.
    let moved = with(
        row.clone(),
        Some(event(time("2026-11-27 12:00", "2026-11-27 13:00"))),
    );
    assert_eq!(op(&planner.decide(&moved)), Some(Op::Create));
    let mut other_basis = row.clone();
    other_basis.dead.as_mut().unwrap().basis = "older rules".to_owned();
    assert_eq!(op(&planner.decide(&other_basis)), Some(Op::Create));
    // A vanished event closes it: nothing is on the sink, nothing is left to do.
    assert_eq!(planner.decide(&with(row, None)).intent, Intent::Nothing);
}

#[test]
fn an_event_that_passed_unchanged_is_never_written_again() {
    let row = known(time("2026-11-10 10:00", "2026-11-10 11:00"));
    let decision = Planner::default().decide(&row);
    assert_eq!(
        (decision.intent, decision.reason),
        (Intent::Nothing, Reason::Past)
    );
    assert_eq!(row.sink.state, OnSink::Present);
}

#[test]
fn all_day_today_is_no_new_appointment_and_a_known_one_is_kept() {
    assert_eq!(
        qualify_unknown(event(all_day("2026-11-23", "2026-11-24"))),
        None
    );
    let row = known(all_day("2026-11-23", "2026-11-24"));
    assert_eq!(qualify(&row), None);
    // K058: removed in Exchange, it is deleted, though it starts exactly where the window starts.
    assert_eq!(qualify(&with(row, None)), Some(Op::Delete));
}

#[test]
fn k051_the_external_id_does_not_depend_on_the_machines_zone() {
    let rule = planner().external_ids;
    let winter = OriginalStart::Instant(at("2026-12-08 09:00"));
    let summer = OriginalStart::Instant(at("2027-06-08 09:00"));
    let days = OriginalStart::Date("2026-12-08".parse().unwrap());
    for (original, text) in [
        (winter, "20261208-090000"),
        (summer, "20270608-090000"),
        (days, "20261208-000000"),
    ] {
        let key = EventKey::new("UID-0002", Some(original)).unwrap();
        assert_eq!(
            calbridge_core::engine::link::external_id(&rule, &key, 0).unwrap(),
            format!("UID-0002${text}")
        );
    }
}

#[test]
fn an_echo_of_our_own_write_does_not_flow_back() {
    let mut echo = event(ahead());
    for (sync, from) in [("jobcenter", "exchange"), ("elsewhere", "planner")] {
        echo.origin = Some(mark(sync, from));
        assert_eq!(qualify_unknown(echo.clone()), None, "{sync} {from}");
    }
}

#[test]
fn what_another_sync_brought_from_elsewhere_flows_on() {
    let mut relayed = event(ahead());
    relayed.origin = Some(mark("offices", "office365"));
    assert_eq!(qualify_unknown(relayed), Some(Op::Create));
}

fn mark(sync: &str, from: &str) -> Origin {
    Origin {
        sync: sync.to_owned(),
        from: from.to_owned(),
        link: 5,
    }
}
