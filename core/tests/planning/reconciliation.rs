//! Reconciliation: what Planner lists, against what it should hold.

use calbridge_core::connector::{InventoryEntry, Op, Outcome, SideState, SinkCapabilities};
use calbridge_core::engine::inventory::{Taken, take};
use calbridge_core::engine::link::{Linked, link};
use calbridge_core::engine::{LinkId, OnSink, Row, SourceView, ViewId};
use calbridge_core::model::{
    CalendarRef, Content, Event, EventKey, EventTime, OriginalStart, SideRef, WallSpan, Window,
};
use jiff::SignedDuration;

use crate::common::*;

fn ahead() -> EventTime {
    time("2026-11-27 10:00", "2026-11-27 11:00")
}

fn window() -> Window {
    rules().window
}

fn entry(id: &str, time: EventTime) -> InventoryEntry {
    InventoryEntry {
        calendar: CalendarRef::primary("vejleder1@kommune.example").unwrap(),
        remote: SideRef::new(id).unwrap(),
        content: Some(Content::times(time)),
        key: None,
        origin: None,
    }
}

/// The row after the inventory.
fn after(row: &Row, entries: &[InventoryEntry]) -> Row {
    let taken = take(
        std::slice::from_ref(row),
        entries,
        window(),
        now(),
        &planner(),
    );
    taken
        .into_iter()
        .find_map(|taken| match taken {
            Taken::Changed { now, .. } => Some(*now),
            Taken::Unmatched { .. } => None,
        })
        .unwrap_or_else(|| row.clone())
}

fn decided(row: &Row, entries: &[InventoryEntry]) -> Option<Op> {
    op(&Planner::default().decide(&after(row, entries)))
}

/// A row that was acknowledged an hour ago.
fn settled(time: EventTime) -> Row {
    let mut row = known(time);
    row.sink.acknowledged = Some(now() - SignedDuration::from_hours(1));
    row
}

#[test]
fn t34_equal_times_are_up_to_date() {
    assert_eq!(decided(&settled(ahead()), &[entry(UID, ahead())]), None);
}

#[test]
fn t35_k124_other_times_are_put_right_by_an_update() {
    let listed = entry(UID, time("2026-11-27 10:00", "2026-11-27 12:00"));
    assert_eq!(decided(&settled(ahead()), &[listed]), Some(Op::Update));
}

#[test]
fn t36_gone_in_exchange_and_still_listed_is_deleted() {
    let row = with(settled(ahead()), None);
    assert_eq!(decided(&row, &[entry(UID, ahead())]), Some(Op::Delete));
    // Also where a delete was acknowledged and Planner has it all the same.
    let mut row = deleted(ahead());
    row.sink.acknowledged = Some(now() - SignedDuration::from_hours(1));
    assert_eq!(decided(&row, &[entry(UID, ahead())]), Some(Op::Delete));
}

#[test]
fn t37_k120_k129_a_write_that_was_sent_after_the_listing_began_is_not_judged() {
    let mut row = settled(ahead());
    row.sink.acknowledged = Some(now());
    assert_eq!(after(&row, &[]), row);
    let planner = Planner::default();
    let unanswered = planner.step(&unknown(event(ahead())), &Outcome::Unknown);
    assert_eq!(after(&unanswered, &[]), unanswered);
}

#[test]
fn what_a_write_was_answered_with_is_not_judged_by_a_listing_that_is_late() {
    let sink = SinkCapabilities {
        own_write_delay_ms: 600_000,
        ..planner()
    };
    let take = |row: &Row, entries: &[InventoryEntry]| {
        let rows = std::slice::from_ref(row);
        take(rows, entries, window(), now(), &sink)
    };
    let planner = Planner::default();
    let there = Outcome::Conflict {
        theirs: SideState::Present {
            remote: SideRef::new(UID).unwrap(),
            content: Some(Content::times(ahead())),
        },
    };
    let present = planner.step(&unknown(event(ahead())), &there);
    assert_eq!(take(&present, &[]), []);
    let gone = Outcome::Conflict {
        theirs: SideState::Absent,
    };
    let absent = planner.step(&with(settled(ahead()), None), &gone);
    assert_eq!(absent.sink.state, OnSink::Absent);
    assert_eq!(take(&absent, &[entry(UID, ahead())]), []);
}

#[test]
fn t38_a_row_without_any_write_and_unlisted_is_created() {
    let row = unknown(event(ahead()));
    assert_eq!(decided(&row, &[]), Some(Op::Create));
}

#[test]
fn k118_an_unknown_record_gets_a_row_and_is_deleted() {
    let taken = take(&[], &[entry("ghost", ahead())], window(), now(), &planner());
    let [Taken::Unmatched { entry: 0, key }] = &taken[..] else {
        panic!("{taken:?}");
    };
    let mut row = Row::new(LinkId(1), key.clone(), 0);
    row.sink.state = OnSink::Present;
    row.sink.remote = Some(SideRef::new("ghost").unwrap());
    row.sink.content = Some(Content::times(ahead()));
    assert_eq!(op(&Planner::default().decide(&row)), Some(Op::Delete));
}

#[test]
fn k119_lost_by_planner_is_created_again() {
    assert_eq!(decided(&settled(ahead()), &[]), Some(Op::Create));
}

#[test]
fn k121_deleted_and_unlisted_stays_deleted() {
    let mut row = deleted(ahead());
    row.sink.acknowledged = Some(now() - SignedDuration::from_hours(1));
    assert_eq!(decided(&row, &[]), None);
}

#[test]
fn k122_foreign_and_refused_rows_are_not_sent_again_for_missing() {
    let planner = Planner::default();
    let foreign = planner.step(&unknown(event(ahead())), &Outcome::Foreign);
    assert_eq!(decided(&foreign, &[]), None);
    let refused = Outcome::Rejected {
        code: "6203".to_owned(),
        message: String::new(),
    };
    assert_eq!(
        decided(&planner.step(&unknown(event(ahead())), &refused), &[]),
        None
    );
}

#[test]
fn k123_reaching_over_the_windows_edge_is_not_judged_by_absence() {
    let over_start = known(time("2026-11-22 20:00", "2026-11-23 02:00"));
    assert_eq!(after(&over_start, &[]).sink.state, OnSink::Present);
    let mut over_end = settled(ahead());
    over_end.sink.content = Some(Content::times(time("2027-02-22 20:00", "2027-02-23 02:00")));
    assert_eq!(after(&over_end, &[]).sink.state, OnSink::Present);
}

#[test]
fn k125_listed_twice_counts_once() {
    let row = settled(ahead());
    let twice = [
        entry(UID, ahead()),
        entry(UID, time("2026-11-27 14:00", "2026-11-27 15:00")),
    ];
    assert_eq!(decided(&row, &twice), None);
    let ghosts = [entry("ghost", ahead()), entry("GHOST", ahead())];
    assert_eq!(take(&[], &ghosts, window(), now(), &planner()).len(), 1);
}

#[test]
fn k096_offsets_do_not_matter_once_times_are_danish_wall_clock() {
    // The hour that comes twice: Planner shows 02:30, we sent the second one.
    let second = EventTime::timed(
        "2026-10-25T01:30:00Z".parse().unwrap(),
        "2026-10-25T01:45:00Z".parse().unwrap(),
        None,
    )
    .unwrap();
    let wall = second.wall_in(&copenhagen());
    let listed = WallSpan { ..wall }.to_event_time(&copenhagen()).unwrap();
    assert_ne!(listed, second, "read back as the first of the two");
    let prints = prints();
    let zone = copenhagen();
    assert_eq!(
        prints.of(&Content::times(listed), Some(&zone)),
        prints.of(&Content::times(second), Some(&zone)),
        "and yet the same in Planner's domain"
    );
}

#[test]
fn records_from_before_us_are_adopted_without_a_write() {
    // First contact: Planner holds the predecessor's record under the id that we would choose.
    let taken = take(&[], &[entry(UID, ahead())], window(), now(), &planner());
    let [Taken::Unmatched { key, .. }] = &taken[..] else {
        panic!("{taken:?}");
    };
    let mut row = Row::new(LinkId(1), key.clone(), 0);
    row.sink.state = OnSink::Present;
    row.sink.remote = Some(SideRef::new(UID.to_lowercase()).unwrap());
    row.sink.content = Some(Content::times(ahead()));
    let view = unknown(event(ahead())).source.unwrap();
    let linked = link(
        std::slice::from_ref(&row),
        std::slice::from_ref(&view),
        &planner().external_ids,
        &copenhagen(),
    );
    assert_eq!(linked, [Linked::Attach { row: 0, view: 0 }]);
    row.source = Some(view);
    let planner = Planner::default();
    let decision = planner.decide(&row);
    assert_eq!(op(&decision), None);
    let adopted = calbridge_core::engine::outcome::adopt(row, &decision.intent, &planner.context());
    assert!(adopted.agreed.is_some());
    assert_eq!(op(&planner.decide(&adopted)), None);
}

/// A record without source, as an inventory leaves it.
fn left_by_predecessor(link: i64, id: &str) -> Row {
    let mut row = Row::new(LinkId(link), EventKey::new(id, None).unwrap(), 0);
    row.sink.state = OnSink::Present;
    row.sink.remote = Some(SideRef::new(id).unwrap());
    row
}

fn occurrence_of(original: OriginalStart) -> SourceView {
    SourceView {
        id: ViewId(9),
        event: Event {
            key: EventKey::new("uid", Some(original)).unwrap(),
            ..event(ahead())
        },
        ordinal: 0,
    }
}

#[test]
fn ids_that_a_predecessor_rendered_in_another_zone_are_recognised() {
    let rule = planner().external_ids;
    let winter = OriginalStart::Instant(at("2026-12-08 09:00"));
    let summer = OriginalStart::Instant(at("2027-06-08 09:00"));
    let day = OriginalStart::Date("2026-12-08".parse().unwrap());
    // Half a year from these it is summer again.
    let march = OriginalStart::Instant(at("2027-03-27 09:00"));
    let october = OriginalStart::Instant(at("2026-10-05 09:00"));
    for (original, id) in [
        (winter, "uid$20261208-090000"),
        (winter, "UID$20261208-080000"),
        (winter, "uid$20261208-100000"),
        (summer, "uid$20270608-090000"),
        (summer, "uid$20270608-070000"),
        (summer, "uid$20270608-080000"),
        (day, "uid$20261208-000000"),
        (day, "uid$20261207-230000"),
        (march, "uid$20270327-100000"),
        (october, "uid$20261005-080000"),
    ] {
        let rows = [left_by_predecessor(1, id)];
        let linked = link(&rows, &[occurrence_of(original)], &rule, &copenhagen());
        assert_eq!(linked, [Linked::Attach { row: 0, view: 0 }], "{id}");
    }
    let rows = [left_by_predecessor(1, "uid$20261208-110000")];
    let linked = link(&rows, &[occurrence_of(winter)], &rule, &copenhagen());
    assert!(
        matches!(linked[..], [Linked::New { .. }]),
        "no zone shows that"
    );
}

#[test]
fn an_id_that_fits_exactly_is_not_given_to_a_neighbour_and_of_two_the_right_time_counts() {
    let rule = planner().external_ids;
    let nine = occurrence_of(OriginalStart::Instant(at("2026-12-08 09:00")));
    let ten = occurrence_of(OriginalStart::Instant(at("2026-12-08 10:00")));
    let rows = [left_by_predecessor(1, "uid$20261208-100000")];
    let linked = link(&rows, &[nine.clone(), ten], &rule, &copenhagen());
    assert!(matches!(
        linked[..],
        [Linked::New { .. }, Linked::Attach { row: 0, view: 1 }]
    ));
    let rows = [
        left_by_predecessor(1, "uid$20261208-080000"),
        left_by_predecessor(2, "uid$20261208-100000"),
    ];
    let linked = |rows: &[Row]| link(rows, std::slice::from_ref(&nine), &rule, &copenhagen());
    assert_eq!(linked(&rows), [Linked::Attach { row: 1, view: 0 }]);
    for right in [0, 1] {
        let mut rows = rows.clone();
        rows[right].sink.content = Some(nine.event.content.clone());
        let expected = Linked::Attach {
            row: right,
            view: 0,
        };
        assert_eq!(linked(&rows), [expected]);
    }
}

#[test]
fn a_record_of_the_same_uid_that_holds_the_right_times_is_the_events_whatever_its_id() {
    let rule = planner().external_ids;
    let day = EventTime::all_day("2026-12-08".parse().unwrap(), "2026-12-09".parse().unwrap());
    let midnights = time("2026-12-08 00:00", "2026-12-09 00:00");
    // The series began at nine, and became all-day.
    let view = SourceView {
        event: Event {
            content: Content::times(day.unwrap()),
            ..occurrence_of(OriginalStart::Date("2026-12-08".parse().unwrap())).event
        },
        ..occurrence_of(OriginalStart::Date("2026-12-08".parse().unwrap()))
    };
    let held = |id: &str, held: &EventTime| {
        let mut row = left_by_predecessor(1, id);
        row.sink.content = Some(Content::times(held.clone()));
        row
    };
    let linked = |row: Row| link(&[row], std::slice::from_ref(&view), &rule, &copenhagen());
    for id in ["uid$20261208-093000", "UID$20261201-093000~2", "uid"] {
        let attached = [Linked::Attach { row: 0, view: 0 }];
        assert_eq!(linked(held(id, &midnights)), attached, "{id}");
    }
    let mut attempted = held("uid$20261208-093000", &midnights);
    attempted.sink.foreign = true;
    for other in [
        held("uid$20261208-093000", &ahead()),
        held("other$20261208-093000", &midnights),
        attempted,
    ] {
        assert!(matches!(linked(other)[..], [Linked::New { .. }]));
    }
}

/// A row whose record has no id yet, as where the sink assigns them.
fn without_id(key: &str) -> Row {
    let mut row = unknown(event(ahead()));
    row.key = EventKey::new(key, None).unwrap();
    row.sink.remote = None;
    row
}

fn of_key(id: &str, key: &str) -> InventoryEntry {
    InventoryEntry {
        key: Some(EventKey::new(key, None).unwrap()),
        ..entry(id, ahead())
    }
}

#[test]
fn a_record_whose_id_nobody_knows_belongs_to_the_event_with_its_key() {
    let row = without_id("a");
    let found = after(&row, &[of_key("17", "a")]);
    assert_eq!(found.sink.state, OnSink::Present);
    assert_eq!(found.sink.remote.unwrap().id, "17");
    // With two to choose from nothing is concluded: an operator looks at them.
    for (rows, entries) in [
        (
            vec![row.clone()],
            vec![of_key("17", "a"), of_key("18", "a")],
        ),
        (vec![row.clone(), row.clone()], vec![of_key("17", "a")]),
        (vec![row], vec![of_key("17", "b")]),
    ] {
        let taken = take(&rows, &entries, window(), now(), &planner());
        assert_eq!(taken.len(), entries.len());
        let unmatched = |taken: &Taken| matches!(taken, Taken::Unmatched { .. });
        assert!(taken.iter().all(unmatched), "{taken:?}");
    }
}

#[test]
fn while_a_record_of_unknown_fate_has_no_id_yet_no_listed_one_is_a_strangers() {
    let mut row = without_id("a");
    row.sink.state = OnSink::Unknown;
    let taken = take(
        &[row, settled(ahead())],
        &[of_key("17", "a"), entry("ghost", ahead())],
        window(),
        now(),
        &planner(),
    );
    // Neither is the one without answer judged; a settled one that is not listed is.
    assert!(
        matches!(&taken[..], [Taken::Changed { row: 1, .. }]),
        "{taken:?}"
    );
}

#[test]
fn a_probe_tells_of_effects() {
    use calbridge_core::connector::Probe;
    use calbridge_core::engine::outcome::told;
    let found = Probe::Found {
        remote: SideRef::new("17").unwrap(),
        content: None,
    };
    let planner = Planner::default();
    let update = planner.step(
        &with(
            settled(ahead()),
            Some(event(time("2026-11-27 10:00", "2026-11-27 12:00"))),
        ),
        &Outcome::Unknown,
    );
    let delete = planner.step(&with(settled(ahead()), None), &Outcome::Unknown);
    let create = planner.step(&unknown(event(ahead())), &Outcome::Unknown);
    for (row, probe, state) in [
        (&create, &found, OnSink::Present),
        (&create, &Probe::Absent, OnSink::Absent),
        (&update, &found, OnSink::Present),
        (&update, &Probe::Absent, OnSink::Present),
        (&delete, &found, OnSink::Absent),
        (&delete, &Probe::Absent, OnSink::Present),
        (&delete, &Probe::Undecidable, OnSink::Unknown),
    ] {
        let told = told(row.clone(), probe, now());
        assert_eq!(told.sink.state, state, "{:?} {probe:?}", row.attempt);
    }
}
