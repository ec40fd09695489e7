//! Whose calendars belong to a sync, in the store.

use calbridge_core::connector::*;
use calbridge_core::engine::RosterFrom;
use calbridge_core::model::*;
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{RosterChange, Store};

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

#[tokio::test]
async fn owner_ids_of_two_rosters_do_not_mix_two_mailboxes() {
    let store = SqliteStore::open_in_memory().unwrap();
    let now = at("2026-11-23 08:00");
    let fence = store.acquire("t", now).await.unwrap();
    let add = |address: &str| {
        let mut calendar = CalendarRef::primary(address).unwrap();
        calendar.owner = OwnerId::new("7").unwrap();
        RosterChange::Add {
            calendar,
            kind: CalendarKind::Person,
            left: None,
        }
    };
    store
        .commit_roster(fence, "one", &[add(ANNA)], now)
        .await
        .unwrap();
    store
        .commit_roster(fence, "two", &[add(BO)], now)
        .await
        .unwrap();
    let one = store.calendars("one").await.unwrap()[0].id;
    let two = store.calendars("two").await.unwrap()[0].id;
    assert_ne!(one, two);
}

#[tokio::test]
async fn two_addresses_of_one_owner_do_not_take_turns() {
    use calbridge_core::engine::{RosterConfig, roster};
    let store = SqliteStore::open_in_memory().unwrap();
    let now = at("2026-11-23 08:00");
    let fence = store.acquire("t", now).await.unwrap();
    let entry = |address: &str| {
        let mut calendar = CalendarRef::primary(address).unwrap();
        calendar.owner = OwnerId::new("7").unwrap();
        CalendarEntry {
            calendar,
            kind: CalendarKind::Person,
        }
    };
    let listed = Roster {
        entries: vec![entry(ANNA), entry(BO)],
        skipped: Vec::new(),
    };
    let mut seen = Vec::new();
    for _ in 0..4 {
        let known = store.calendars("s").await.unwrap();
        let changes = roster::update(&known, &listed, &RosterConfig::default(), now);
        store
            .commit_roster(fence, "s", &changes, now)
            .await
            .unwrap();
        let after = store.calendars("s").await.unwrap();
        seen.push(
            after
                .iter()
                .map(|s| (s.id.0, s.calendar.address.folded()))
                .collect::<Vec<_>>(),
        );
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[tokio::test]
async fn who_is_named_twice_takes_part_once() {
    let world = World::new(&[ANNA, "Anna@X.dk", BO]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sync_well().await;
    assert_eq!(world.store.calendars("jobcenter").await.unwrap().len(), 2);
    assert_eq!(world.sink.writes(), ["create a"]);
    let mut config = sync_config();
    config.roster.from = RosterFrom::Allow;
    config.roster.allow = [ANNA, "ANNA@x.dk"]
        .map(|address| Address::new(address).unwrap())
        .to_vec();
    let world = World::with(&[], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a"]);
}
