//! Observing beside a predecessor, and taking calendars over one by one.

use calbridge_core::engine::{Differences, Mode, SyncConfig, SyncOptions};
use calbridge_core::model::{Address, EventKey, OriginalStart};

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

fn observing() -> SyncConfig {
    let mut config = sync_config();
    config.mode = Mode::Observe;
    config
}

async fn world(addresses: &[&str]) -> World {
    World::with(addresses, observing(), source_capabilities()).await
}

fn full() -> SyncOptions {
    SyncOptions {
        full: true,
        ..SyncOptions::default()
    }
}

#[tokio::test]
async fn nothing_is_written_and_every_difference_is_counted() {
    let world = world(&[ANNA]).await;
    for (uid, start) in [
        ("same", "2026-12-01 10:00"),
        ("moved", "2026-12-02 10:00"),
        ("missing", "2026-12-03 10:00"),
    ] {
        world.source.put(ANNA, event(uid, start));
    }
    world
        .sink
        .put(ANNA, "same", &event("same", "2026-12-01 10:00"));
    world
        .sink
        .put(ANNA, "moved", &event("moved", "2026-12-02 15:00"));
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-04 10:00"));
    for _ in 0..3 {
        let report = world.sync_with(full()).await;
        let found = Differences {
            missing: 1,
            different: 1,
            surplus: 1,
        };
        assert_eq!(report.total.differences, Some(found));
        assert_eq!(report.failures(), 0);
        world.forward(24);
    }
    assert!(world.sink.writes().is_empty());
    assert_eq!(world.sink.state.lock().unwrap().calls, 0);
}

#[tokio::test]
async fn what_the_predecessor_does_meanwhile_is_seen_and_its_ids_are_known() {
    let world = world(&[ANNA]).await;
    let mut occurrence = event("series", "2026-12-01 10:00");
    let (start, _) = occurrence.content.time.span_in(&jiff::tz::TimeZone::UTC);
    occurrence.key = EventKey::new("series", Some(OriginalStart::Instant(start))).unwrap();
    world.source.put(ANNA, occurrence.clone());
    world.source.put(ANNA, event("e", "2026-12-05 10:00"));
    let differences = async || world.sync().await.total.differences.unwrap();
    assert_eq!(differences().await.missing, 2);
    // Its server runs in UTC.
    world.sink.put(ANNA, "series$20261201-090000", &occurrence);
    world.sink.put(ANNA, "E", &event("e", "2026-12-05 10:00"));
    assert_eq!(differences().await, Differences::default());
    // A wrong time, and right again.
    world.sink.put(ANNA, "E", &event("e", "2026-12-05 11:00"));
    assert_eq!(differences().await.different, 1);
    world.sink.put(ANNA, "E", &event("e", "2026-12-05 10:00"));
    assert_eq!(differences().await, Differences::default());
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn records_that_the_predecessor_makes_anew_under_other_ids_are_no_difference() {
    let world = world(&[ANNA]).await;
    let mut occurrence = event("series", "2026-12-01 10:00");
    let (start, _) = occurrence.content.time.span_in(&jiff::tz::TimeZone::UTC);
    occurrence.key = EventKey::new("series", Some(OriginalStart::Instant(start))).unwrap();
    world.source.put(ANNA, occurrence.clone());
    let utc = "series$20261201-090000";
    let danish = "series$20261201-100000";
    let remove = |id: &str| {
        let key = (ANNA.to_owned(), id.to_owned());
        world.sink.state.lock().unwrap().records.remove(&key)
    };
    let differences = async || world.sync().await.total.differences.unwrap();
    let surplus = Differences {
        surplus: 1,
        ..Differences::default()
    };
    world.sink.put(ANNA, utc, &occurrence);
    assert_eq!(differences().await, Differences::default());
    // Its server's clock is set to another zone.
    assert!(remove(utc).is_some());
    world.sink.put(ANNA, danish, &occurrence);
    assert_eq!(differences().await, Differences::default());
    // Now it makes the new one first.
    world.sink.put(ANNA, utc, &occurrence);
    assert_eq!(differences().await, surplus);
    assert!(remove(danish).is_some());
    for _ in 0..2 {
        assert_eq!(differences().await, Differences::default());
    }
    assert!(remove(utc).is_some());
    assert_eq!(differences().await.missing, 1);
    assert_eq!(world.rows(ANNA).await.len(), 2, "no more are made");
}

#[tokio::test]
async fn the_first_look_after_giving_a_calendar_back_is_at_what_the_sink_holds_now() {
    for plans in [true, false] {
        let mut world = World::with(&[ANNA], sync_config(), source_capabilities()).await;
        world.source.put(ANNA, event("a", "2026-12-01 10:00"));
        world.sync_well().await;
        world.forward(1);
        world.restart(observing()).await;
        world.sink.put(ANNA, "a", &event("a", "2026-12-01 12:00"));
        world
            .sink
            .put(ANNA, "made", &event("made", "2026-12-07 12:00"));
        if plans {
            let sync = &world.engine.syncs()[0];
            let plan = world
                .engine
                .plan(sync, &SyncOptions::default(), &world.shutdown)
                .await
                .unwrap();
            assert_eq!(plan[0].writes.len(), 2, "{plan:?}");
        } else {
            let found = world.sync_well().await.total.differences;
            let expected = Differences {
                missing: 0,
                different: 1,
                surplus: 1,
            };
            assert_eq!(found, Some(expected));
        }
    }
}

#[tokio::test]
async fn calendars_are_taken_over_one_by_one_and_given_back() {
    let mut world = world(&[ANNA, BO]).await;
    for (address, uid) in [(ANNA, "a"), (BO, "b")] {
        let mut e = event(uid, "2026-12-01 10:00");
        e.item.id = uid.to_owned();
        world.source.put(address, e);
    }
    world.sync_well().await;
    let mut config = observing();
    config.active = vec![Address::new(ANNA).unwrap()];
    world.restart(config).await;
    let report = world.sync_well().await;
    assert_eq!(report.total.created, 1);
    assert_eq!(report.total.differences.unwrap().missing, 1);
    assert_eq!(world.sink.writes(), ["create a"]);
    // Given back: the predecessor works on, and what it does is neither undone nor mended.
    world.restart(observing()).await;
    world.sync_well().await;
    world.sink.put(ANNA, "a", &event("a", "2026-12-01 12:00"));
    world
        .sink
        .put(ANNA, "made", &event("made", "2026-12-07 12:00"));
    world.sync_well().await;
    assert!(world.sink.writes().is_empty());
    world.forward(1);
    // Taken over again: what it holds now counts, and what nobody stands for waits for an operator.
    let mut config = observing();
    config.active = vec![Address::new(ANNA).unwrap()];
    world.restart(config).await;
    let report = world.sync_well().await;
    assert_eq!((report.total.updated, report.total.held), (1, 1));
    assert_eq!(world.sink.writes(), ["update a"]);
}

#[tokio::test]
async fn somebody_else_who_still_writes_is_noticed() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(ANNA, event("b", "2026-12-02 10:00"));
    let reconcile = || SyncOptions {
        reconcile: true,
        ..SyncOptions::default()
    };
    assert_eq!(world.sync_well().await.total.others, 0);
    world.forward(1);
    assert_eq!(world.sync_with(reconcile()).await.total.others, 0);
    world.sink.put(ANNA, "a", &event("a", "2026-12-01 12:00"));
    world.sink.put(ANNA, "x", &event("x", "2026-12-03 12:00"));
    assert_eq!(world.sync_with(reconcile()).await.total.others, 2);
}
