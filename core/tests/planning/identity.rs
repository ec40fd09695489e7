//! Identity changes: what vanished and what appeared.

use calbridge_core::engine::identity::{Pair, pair};
use calbridge_core::engine::link::{Linked, link};
use calbridge_core::engine::{SourceView, ViewId};
use calbridge_core::model::{EventKey, OriginalStart};

use crate::common::*;

fn view(id: i64, uid: &str, original: Option<OriginalStart>, start: &str) -> SourceView {
    let day = start.split(' ').next().unwrap();
    let mut event = event(time(start, &format!("{day} 23:00")));
    event.key = EventKey::new(uid, original).unwrap();
    SourceView {
        id: ViewId(id),
        event,
        ordinal: 0,
    }
}

fn instant(wall: &str) -> Option<OriginalStart> {
    Some(OriginalStart::Instant(at(wall)))
}

fn paired(vanished: &[SourceView], appeared: &[SourceView]) -> Vec<(i64, i64)> {
    pair(vanished, appeared, &copenhagen())
        .into_iter()
        .map(|Pair { vanished, appeared }| (vanished.0, appeared.0))
        .collect()
}

#[test]
fn an_invitation_accepted_as_delete_and_create_keeps_its_row() {
    let old = view(1, "a", None, "2026-11-27 10:00");
    let new = view(2, "a", None, "2026-11-27 10:00");
    assert_eq!(paired(&[old], &[new]), [(1, 2)]);
}

#[test]
fn a_series_shifted_within_the_day_keeps_its_rows() {
    let old: Vec<_> = (1..4)
        .map(|n| {
            view(
                n,
                "s",
                instant(&format!("2026-12-0{n} 09:00")),
                &format!("2026-12-0{n} 09:00"),
            )
        })
        .collect();
    let new: Vec<_> = (1..4)
        .map(|n| {
            view(
                n + 10,
                "s",
                instant(&format!("2026-12-0{n} 10:00")),
                &format!("2026-12-0{n} 10:00"),
            )
        })
        .collect();
    assert_eq!(paired(&old, &new), [(1, 11), (2, 12), (3, 13)]);
}

#[test]
fn an_all_day_switch_keeps_its_row() {
    let date = Some(OriginalStart::Date("2026-12-01".parse().unwrap()));
    let old = view(1, "s", instant("2026-12-01 09:00"), "2026-12-01 09:00");
    let new = view(2, "s", date, "2026-12-01 00:00");
    assert_eq!(paired(&[old], &[new]), [(1, 2)]);
}

#[test]
fn k048_a_single_that_became_a_series_keeps_its_row_for_that_day() {
    let single = view(1, "s", None, "2026-12-01 09:00");
    let series: Vec<_> = (1..4)
        .map(|n| {
            view(
                n + 10,
                "s",
                instant(&format!("2026-12-0{n} 09:00")),
                &format!("2026-12-0{n} 09:00"),
            )
        })
        .collect();
    assert_eq!(paired(std::slice::from_ref(&single), &series), [(1, 11)]);
    assert_eq!(paired(&series, std::slice::from_ref(&single)), [(11, 1)]);
}

#[test]
fn strangers_are_not_paired() {
    let old = view(1, "a", None, "2026-11-27 10:00");
    let new = view(2, "b", None, "2026-11-27 10:00");
    assert!(paired(&[old], &[new]).is_empty());
}

#[test]
fn two_live_events_with_one_key_get_ids_of_their_own() {
    let first = view(1, "copy", None, "2026-11-27 10:00");
    let mut second = view(2, "copy", None, "2026-11-28 10:00");
    second.ordinal = 1;
    let linked = link(
        &[],
        &[first, second],
        &planner().external_ids,
        &copenhagen(),
    );
    let ids: Vec<_> = linked
        .iter()
        .map(|linked| match linked {
            Linked::New { external_id, .. } => external_id.clone().unwrap(),
            Linked::Attach { .. } => panic!("nothing to attach to"),
        })
        .collect();
    assert_eq!(ids, ["copy", "copy#2"]);
}

#[test]
fn an_id_that_another_live_row_carries_is_never_given_twice() {
    // A row kept its id through a shift of its series; a new occurrence now stands where it once stood.
    let mut row = known(time("2026-12-02 09:00", "2026-12-02 10:00"));
    row.sink.remote = Some(calbridge_core::model::SideRef::new("s$20261201-090000").unwrap());
    let new = view(2, "s", instant("2026-12-01 09:00"), "2026-12-01 09:00");
    let linked = link(&[row], &[new], &planner().external_ids, &copenhagen());
    assert_eq!(
        linked,
        [Linked::New {
            view: 0,
            external_id: Some("s$20261201-090000~2".to_owned())
        }]
    );
}
