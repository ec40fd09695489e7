//! Whose calendars belong to a sync.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{OnLeave, RosterConfig};
use crate::connector::Roster;
use crate::model::{CalendarEntry, CalendarRef};
use crate::store::{CalendarState, Left, Membership, RosterChange};

/// Why a calendar does not take part: the roster does not name it (any more). Kommuneklienten's code.
pub const NOT_IN_ROSTER: &str = "P-NotInPlanner";
/// Why a calendar does not take part: the allow list does not name it. Kommuneklienten's code.
pub const NOT_ALLOWED: &str = "P-NonWhitelist";

/// What a roster changes. An empty roster changes nothing: a system that answers with nobody is more likely
/// in trouble than empty. One whose entries cannot be used is not empty.
///
/// Known calendars are found by their address, else by their owner. Addresses on the deny list are left as
/// they are: no row is made, changed or parked for them.
#[must_use]
pub fn update(
    known: &[CalendarState],
    roster: &Roster,
    config: &RosterConfig,
    now: Timestamp,
) -> Vec<RosterChange> {
    if is_empty(roster) {
        return Vec::new();
    }
    let denied = |calendar: &CalendarRef| config.deny.contains(&calendar.address);
    let allowed = |calendar: &CalendarRef| {
        config.allow.is_empty() || config.allow.contains(&calendar.address)
    };
    let by_address: HashMap<_, _> = known
        .iter()
        .map(|state| (place(&state.calendar), state))
        .collect();
    let listed: HashSet<_> = roster
        .entries
        .iter()
        .map(|entry| place(&entry.calendar))
        .collect();
    let by_owner: HashMap<_, _> = known
        .iter()
        .filter(|state| !listed.contains(&place(&state.calendar)))
        .map(|state| ((&state.calendar.owner, &state.calendar.calendar), state))
        .collect();
    let mut changes = Vec::new();
    let mut found = HashSet::new();
    for CalendarEntry { calendar, kind } in &roster.entries {
        if denied(calendar) {
            continue;
        }
        let left_out = (!allowed(calendar)).then_some(NOT_ALLOWED);
        let state = by_address.get(&place(calendar)).or_else(|| {
            by_owner
                .get(&(&calendar.owner, &calendar.calendar))
                .filter(|state| !found.contains(&state.id))
        });
        let Some(state) = state else {
            changes.push(RosterChange::Add {
                calendar: calendar.clone(),
                kind: *kind,
                left: left_out.map(|code| left(code, None, now)),
            });
            continue;
        };
        found.insert(state.id);
        let left = left_out.map(|code| left(code, state.left.as_ref(), now));
        let membership = membership(left.as_ref());
        let same = state.calendar == *calendar
            && state.kind == *kind
            && state.membership == membership
            && state.left == left;
        if !same {
            changes.push(RosterChange::Set {
                id: state.id,
                calendar: calendar.clone(),
                kind: *kind,
                membership,
                left,
            });
        }
    }
    for state in known {
        if found.contains(&state.id) || denied(&state.calendar) {
            continue;
        }
        let code = if allowed(&state.calendar) {
            NOT_IN_ROSTER
        } else {
            NOT_ALLOWED
        };
        let left = Some(left(code, state.left.as_ref(), now));
        if state.left != left || state.membership != Membership::Parked {
            changes.push(RosterChange::Set {
                id: state.id,
                calendar: state.calendar.clone(),
                kind: state.kind,
                membership: Membership::Parked,
                left,
            });
        }
    }
    changes
}

/// Whether a roster names nobody at all.
#[must_use]
pub fn is_empty(roster: &Roster) -> bool {
    roster.entries.is_empty() && roster.skipped.is_empty()
}

/// What a calendar is found by: its address and which of the calendars it is.
fn place(calendar: &CalendarRef) -> (String, Option<&str>) {
    (calendar.address.folded(), calendar.calendar.as_deref())
}

fn membership(left: Option<&Left>) -> Membership {
    if left.is_some() {
        Membership::Parked
    } else {
        Membership::Active
    }
}

/// The first time that a calendar was found missing is kept.
fn left(code: &str, before: Option<&Left>, now: Timestamp) -> Left {
    Left {
        code: code.to_owned(),
        since: before.map_or(now, |left| left.since),
    }
}

/// Whether a calendar is to be read and written.
#[must_use]
pub fn takes_part(state: &CalendarState, config: &RosterConfig) -> bool {
    state.membership == Membership::Active && !config.deny.contains(&state.calendar.address)
}

/// Whether a calendar left and its records are to be taken away.
#[must_use]
pub fn is_withdrawn(state: &CalendarState, config: &RosterConfig) -> bool {
    state.membership == Membership::Parked
        && config.on_leave == OnLeave::Withdraw
        && !config.deny.contains(&state.calendar.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, CalendarKind, OwnerId};
    use crate::store::CalendarId;

    fn entry(address: &str) -> CalendarEntry {
        CalendarEntry {
            calendar: CalendarRef::primary(address).unwrap(),
            kind: CalendarKind::Person,
        }
    }

    fn roster(addresses: &[&str]) -> Roster {
        Roster {
            entries: addresses.iter().map(|a| entry(a)).collect(),
            skipped: Vec::new(),
        }
    }

    fn known(addresses: &[&str]) -> Vec<CalendarState> {
        addresses
            .iter()
            .zip(1..)
            .map(|(address, id)| CalendarState {
                id: CalendarId(id),
                calendar: CalendarRef::primary(address).unwrap(),
                kind: CalendarKind::Person,
                membership: Membership::Active,
                left: None,
                inventoried: None,
                succeeded: None,
                trouble: None,
                others: None,
            })
            .collect()
    }

    fn config(allow: &[&str], deny: &[&str]) -> RosterConfig {
        let list = |texts: &[&str]| texts.iter().map(|a| Address::new(a).unwrap()).collect();
        RosterConfig {
            allow: list(allow),
            deny: list(deny),
            ..RosterConfig::default()
        }
    }

    fn now() -> Timestamp {
        "2026-11-23T08:00:00Z".parse().unwrap()
    }

    /// The states after the changes, as text.
    fn after(mut states: Vec<CalendarState>, changes: &[RosterChange]) -> Vec<String> {
        for change in changes {
            match change {
                RosterChange::Add {
                    calendar,
                    kind,
                    left,
                } => states.push(CalendarState {
                    id: CalendarId(100),
                    calendar: calendar.clone(),
                    kind: *kind,
                    membership: membership(left.as_ref()),
                    left: left.clone(),
                    inventoried: None,
                    succeeded: None,
                    trouble: None,
                    others: None,
                }),
                RosterChange::Set {
                    id,
                    calendar,
                    membership,
                    left,
                    ..
                } => {
                    let state = states.iter_mut().find(|s| s.id == *id).unwrap();
                    state.calendar = calendar.clone();
                    state.membership = *membership;
                    state.left = left.clone();
                }
            }
        }
        states
            .iter()
            .map(|state| {
                format!(
                    "{} {:?} {}",
                    state.calendar.address.as_str(),
                    state.membership,
                    state.left.as_ref().map_or("", |left| &left.code)
                )
            })
            .collect()
    }

    #[test]
    fn t44_t45_t46_t47_four_known_and_planners_list_make_four_active() {
        // 4 is listed twice: the connector leaves it out of the entries.
        let states = known(&["1@x.dk", "2@x.dk", "3@x.dk", "6@x.dk"]);
        let listed = roster(&["1@x.dk", "2@x.dk", "3@x.dk", "5@x.dk"]);
        let changes = update(&states, &listed, &config(&[], &[]), now());
        let after = after(states, &changes);
        assert_eq!(
            after.iter().filter(|text| text.contains("Active")).count(),
            4
        );
        assert!(after.contains(&"6@x.dk Parked P-NotInPlanner".to_owned()));
        assert!(after.contains(&"5@x.dk Active ".to_owned()));
        assert!(!after.iter().any(|text| text.starts_with('4')));
    }

    #[test]
    fn k101_an_empty_roster_changes_nothing() {
        assert!(update(&known(&["a@x.dk"]), &roster(&[]), &config(&[], &[]), now()).is_empty());
    }

    #[test]
    fn k105_a_new_address_without_lists_is_active() {
        let changes = update(&[], &roster(&["a@x.dk"]), &config(&[], &[]), now());
        assert_eq!(after(vec![], &changes), ["a@x.dk Active "]);
    }

    #[test]
    fn k106_a_new_address_that_the_allow_list_lacks_is_parked() {
        let changes = update(&[], &roster(&["a@x.dk"]), &config(&["b@x.dk"], &[]), now());
        assert_eq!(after(vec![], &changes), ["a@x.dk Parked P-NonWhitelist"]);
    }

    #[test]
    fn k107_a_new_denied_address_is_not_recorded_at_all() {
        let lists = config(&["b@x.dk"], &["a@x.dk"]);
        assert!(update(&[], &roster(&["a@x.dk"]), &lists, now()).is_empty());
    }

    #[test]
    fn k108_a_denied_address_is_left_untouched_and_takes_no_part() {
        let states = known(&["a@x.dk"]);
        let lists = config(&[], &["A@x.dk"]);
        assert!(
            update(
                &states,
                &roster(&["b@x.dk"]),
                &config(&[], &["a@x.dk", "b@x.dk"]),
                now()
            )
            .is_empty()
        );
        assert!(!takes_part(&states[0], &lists));
    }

    #[test]
    fn k109_an_active_address_that_the_allow_list_lacks_is_parked() {
        let states = known(&["a@x.dk"]);
        let changes = update(
            &states,
            &roster(&["a@x.dk"]),
            &config(&["b@x.dk"], &[]),
            now(),
        );
        assert_eq!(after(states, &changes), ["a@x.dk Parked P-NonWhitelist"]);
    }

    #[test]
    fn k110_the_first_time_of_absence_is_kept() {
        let states = known(&["a@x.dk", "b@x.dk"]);
        let first = update(&states, &roster(&["b@x.dk"]), &config(&[], &[]), now());
        let Some(RosterChange::Set {
            left, membership, ..
        }) = first.first()
        else {
            panic!("nothing was parked");
        };
        let mut parked = states;
        parked[0].left = left.clone();
        parked[0].membership = *membership;
        let later = "2026-11-24T08:00:00Z".parse().unwrap();
        assert!(update(&parked, &roster(&["b@x.dk"]), &config(&[], &[]), later).is_empty());
    }

    #[test]
    fn k111_a_parked_address_that_is_back_takes_part_again() {
        let mut states = known(&["a@x.dk"]);
        states[0].membership = Membership::Parked;
        states[0].left = Some(left(NOT_IN_ROSTER, None, now()));
        let changes = update(&states, &roster(&["a@x.dk"]), &config(&[], &[]), now());
        assert_eq!(after(states, &changes), ["a@x.dk Active "]);
    }

    #[test]
    fn k113_another_planner_id_of_the_same_address_is_stored() {
        let states = known(&["a@x.dk"]);
        let mut listed = roster(&["a@x.dk"]);
        listed.entries[0].calendar.owner = OwnerId::new("7d0f2f0a").unwrap();
        let changes = update(&states, &listed, &config(&[], &[]), now());
        assert!(
            matches!(&changes[..], [RosterChange::Set { id: CalendarId(1), calendar, .. }]
            if calendar.owner.as_str() == "7d0f2f0a")
        );
    }

    #[test]
    fn k114_an_unchanged_entry_is_no_change() {
        let states = known(&["a@x.dk"]);
        assert!(update(&states, &roster(&["a@x.dk"]), &config(&[], &[]), now()).is_empty());
    }

    #[test]
    fn k020_addresses_are_compared_without_letter_case() {
        let states = known(&["anna@x.dk"]);
        let changes = update(
            &states,
            &roster(&["Anna@X.dk"]),
            &config(&["ANNA@x.dk"], &[]),
            now(),
        );
        assert!(
            !changes
                .iter()
                .any(|change| matches!(change, RosterChange::Add { .. }))
        );
    }

    #[test]
    fn an_owner_with_a_new_address_keeps_the_calendar() {
        let mut states = known(&["old@x.dk"]);
        states[0].calendar.owner = OwnerId::new("7d0f2f0a").unwrap();
        let mut listed = roster(&["new@x.dk"]);
        listed.entries[0].calendar.owner = OwnerId::new("7d0f2f0a").unwrap();
        let changes = update(&states, &listed, &config(&[], &[]), now());
        assert!(
            matches!(&changes[..], [RosterChange::Set { id: CalendarId(1), calendar, .. }]
            if calendar.address.as_str() == "new@x.dk")
        );
    }
}
