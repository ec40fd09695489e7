//! The guard over whole calendars.

use calbridge_core::model::*;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

#[tokio::test]
async fn frozen_past_records_do_not_blind_the_guard() {
    let world = World::new(&[ANNA]).await;
    for n in 0..60 {
        let uid = format!("past{n}");
        world.source.put(
            ANNA,
            event(
                &uid,
                &format!("2026-11-{} {:02}:00", 24 + n / 15, 8 + n % 15),
            ),
        );
    }
    for n in 0..15 {
        world.source.put(
            ANNA,
            event(&format!("f{n}"), &format!("2026-12-{:02} 10:00", 10 + n)),
        );
    }
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 75);
    world.forward(10 * 24);
    world.sink.writes();
    // Exchange answers with an empty calendar.
    for n in 0..15 {
        world.source.remove(ANNA, &format!("f{n}"));
    }
    let report = world.sync_well().await;
    assert_eq!((report.total.deleted, report.total.held), (0, 15));
}

#[tokio::test]
async fn calendars_held_by_the_stop_do_not_keep_the_stop() {
    let addresses: Vec<String> = (0..20).map(|n| format!("p{n:02}@x.dk")).collect();
    let borrowed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let world = World::new(&borrowed).await;
    let put = |address: &str, n: i32| {
        let mut e = event(
            &format!("{address}{n}"),
            &format!("2026-12-{:02} 10:00", n + 1),
        );
        e.item.id = format!("{address}{n}");
        world.source.put(address, e);
    };
    for address in &addresses {
        for n in 0..10 {
            put(address, n);
        }
    }
    world.sync_well().await;
    // Three calendars look empty.
    for address in &addresses[..3] {
        for n in 0..10 {
            world.source.remove(address, &format!("{address}{n}"));
        }
    }
    world.sync_well().await;
    // An everyday delete in each of five others: held, as the connection is stopped.
    for address in &addresses[3..8] {
        world.source.remove(address, &format!("{address}0"));
    }
    let report = world.sync_well().await;
    assert_eq!(report.total.held, 35);
    // The three are back: the cause has gone.
    for address in &addresses[..3] {
        for n in 0..10 {
            put(address, n);
        }
    }
    for _ in 0..3 {
        world.forward(1);
        world.sync_well().await;
    }
    let report = world.sync_well().await;
    assert_eq!(report.total.held, 0, "still held, by one another");
}

#[tokio::test]
async fn withdraw_works_for_more_than_two_events() {
    let mut config = sync_config();
    config.roster.on_leave = calbridge_core::engine::OnLeave::Withdraw;
    let world = World::with(&[ANNA, BO], config, source_capabilities()).await;
    for n in 1..5 {
        world
            .source
            .put(BO, event(&format!("b{n}"), &format!("2026-12-0{n} 10:00")));
    }
    world.sync_well().await;
    world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    world.sync_well().await;
    assert_eq!(
        world.sink.ids().len(),
        4,
        "the guard holds what empties a calendar"
    );
    let sync = &world.engine.syncs()[0];
    assert_eq!(world.engine.approve(sync, &[]).await.unwrap(), 4);
    world.sync_well().await;
    assert!(world.sink.ids().is_empty(), "{:?}", world.sink.ids());
}

#[tokio::test]
async fn a_legitimately_emptied_calendar_is_released_by_an_operator() {
    let world = World::new(&[ANNA]).await;
    for n in 1..5 {
        world.source.put(
            ANNA,
            event(&format!("b{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    for n in 1..5 {
        world.source.remove(ANNA, &format!("b{n}"));
    }
    world.sync_well().await;
    let sync = &world.engine.syncs()[0];
    let nobody = [Address::new(BO).unwrap()];
    assert_eq!(world.engine.approve(sync, &nobody).await.unwrap(), 0);
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 4);
    assert_eq!(world.engine.approve(sync, &[]).await.unwrap(), 4);
    world.sync_well().await;
    assert!(world.sink.ids().is_empty(), "{:?}", world.sink.ids());
}
