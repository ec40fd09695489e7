//! The guard over whole calendars.

use calbridge_core::clock::Clock as _;
use calbridge_core::connector::{Outcome, Scope};
use calbridge_core::engine::SyncOptions;
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

/// Twelve events, of which nine go at once: held.
async fn held_world() -> World {
    let world = World::new(&[ANNA]).await;
    for n in 0..12 {
        world.source.put(
            ANNA,
            event(&format!("f{n}"), &format!("2026-12-{:02} 10:00", 10 + n)),
        );
    }
    world.source.in_folder("calendar of anna");
    world.sync_well().await;
    world.forward(1);
    for n in 0..9 {
        world.source.remove(ANNA, &format!("f{n}"));
    }
    assert_eq!(world.sync_well().await.total.held, 9);
    world
}

fn full() -> SyncOptions {
    SyncOptions {
        full: true,
        ..SyncOptions::default()
    }
}

#[tokio::test]
async fn a_complete_list_of_the_same_folder_a_day_later_lets_held_deletes_go() {
    let world = held_world().await;
    world.forward(23);
    assert_eq!(world.sync_with(full()).await.total.held, 9);
    world.forward(1);
    // What merely did not change says nothing.
    assert_eq!(world.sync_well().await.total.held, 9);
    let report = world.sync_with(full()).await;
    assert_eq!((report.total.held, report.total.deleted), (0, 9));
    assert_eq!(world.sink.ids().len(), 3);
}

#[tokio::test]
async fn another_folder_confirms_nothing() {
    for folder in ["another one", ""] {
        let world = held_world().await;
        world.source.in_folder(folder);
        world.forward(1);
        assert_eq!(world.sync_with(full()).await.total.held, 9);
        world.forward(24);
        let report = world.sync_with(full()).await;
        assert_eq!((report.total.held, report.total.deleted), (9, 0));
    }
}

#[tokio::test]
async fn what_was_there_at_first_contact_waits_for_an_operator_whatever_the_source_lists() {
    let world = World::new(&[ANNA]).await;
    world.source.in_folder("calendar of anna");
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    for _ in 0..3 {
        let report = world.sync_with(full()).await;
        assert_eq!((report.total.held, report.total.deleted), (1, 0));
        world.forward(25);
    }
}

#[tokio::test]
async fn ghosts_of_a_first_contact_do_not_stop_the_deletes_of_others() {
    let world = World::new(&[ANNA, BO]).await;
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    for n in 0..3 {
        let mut e = event(&format!("b{n}"), &format!("2026-12-0{} 10:00", n + 4));
        e.item.id = format!("b{n}");
        world.source.put(BO, e);
    }
    world.sync_well().await;
    world.source.remove(BO, "b0");
    let report = world.sync_well().await;
    assert_eq!((report.total.held, report.total.deleted), (1, 1));
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
    assert_eq!(
        world
            .engine
            .approve(sync, &[], world.clock.now())
            .await
            .unwrap(),
        4
    );
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
    assert_eq!(
        world
            .engine
            .approve(sync, &nobody, world.clock.now())
            .await
            .unwrap(),
        0
    );
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 4);
    assert_eq!(
        world
            .engine
            .approve(sync, &[], world.clock.now())
            .await
            .unwrap(),
        4
    );
    world.sync_well().await;
    assert!(world.sink.ids().is_empty(), "{:?}", world.sink.ids());
}

#[tokio::test]
async fn deletes_that_wait_for_another_try_count() {
    let world = World::new(&[ANNA]).await;
    let day = |n: i32| format!("2026-12-{:02} 10:00", n + 1);
    for n in 0..20 {
        world.source.put(ANNA, event(&format!("e{n}"), &day(n)));
    }
    world.sync_well().await;
    world.sink.writes();
    world.sink.answer(|a| {
        for n in 0..20 {
            let later = Outcome::Retry {
                after_ms: Some(3_600_000),
                code: None,
            };
            a.scripted.insert(format!("e{n}"), later);
        }
    });
    let mut held = 0;
    for five in 0..4 {
        for n in 0..5 {
            world.source.remove(ANNA, &format!("e{}", five * 5 + n));
        }
        held = world.sync_well().await.total.held;
    }
    assert_eq!((held, world.sink.writes().len()), (20, 5));
}

#[tokio::test]
async fn a_roster_that_lost_many_withdraws_nothing_by_itself() {
    let addresses: Vec<String> = (0..20).map(|n| format!("p{n:02}@x.dk")).collect();
    let borrowed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut config = sync_config();
    config.roster.on_leave = calbridge_core::engine::OnLeave::Withdraw;
    let world = World::with(&borrowed, config, source_capabilities()).await;
    for (who, address) in addresses.iter().enumerate() {
        // Half of them hold so much that becoming empty is held, the others little.
        for n in 0..if who % 2 == 0 { 6 } else { 2 } {
            let uid = format!("{address}{n}");
            let mut event = event(&uid, &format!("2026-12-0{} 10:00", n + 1));
            event.item.id = uid;
            world.source.put(address, event);
        }
    }
    world.sync_well().await;
    let before = world.sink.ids().len();
    world.sink.state.lock().unwrap().roster = addresses[..2].to_vec();
    for _ in 0..3 {
        world.sync_well().await;
        world.forward(1);
    }
    // The first few may go before it shows; the rest waits for an operator.
    let left = world.sink.ids().len();
    assert!(before - left <= 6, "{left} of {before} left");
}

#[tokio::test]
async fn a_calendar_that_is_denied_does_not_keep_the_stop() {
    let mut world = World::new(&[ANNA, BO]).await;
    for n in 1..5 {
        for (address, name) in [(ANNA, "a"), (BO, "b")] {
            world.source.put(
                address,
                event(&format!("{name}{n}"), &format!("2026-12-0{n} 10:00")),
            );
        }
    }
    world.sync_well().await;
    for n in 1..5 {
        world.source.remove(ANNA, &format!("a{n}"));
    }
    world.sync_well().await;
    let mut config = sync_config();
    config.roster.deny = vec![Address::new(ANNA).unwrap()];
    world.restart(config).await;
    world.source.remove(BO, "b1");
    world.sync_well().await;
    assert!(!world.sink.ids().contains(&"b1".to_owned()));
}

#[tokio::test]
async fn what_is_back_with_other_times_and_refused_is_held_no_more() {
    let world = World::new(&[ANNA]).await;
    for n in 1..5 {
        world.source.put(
            ANNA,
            event(&format!("a{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    for n in 1..5 {
        world.source.remove(ANNA, &format!("a{n}"));
    }
    assert_eq!(world.sync_well().await.total.held, 4);
    world.sink.answer(|a| {
        let refused = Outcome::Rejected {
            code: "6203".to_owned(),
            message: String::new(),
        };
        a.scripted.insert("a1".to_owned(), refused);
    });
    for n in 1..5 {
        world.source.put(
            ANNA,
            event(&format!("a{n}"), &format!("2026-12-0{n} 12:00")),
        );
    }
    world.sync_well().await;
    for row in world.rows(ANNA).await {
        assert_eq!(row.held_since, None);
    }
}

#[tokio::test]
async fn a_window_that_shrank_by_mistake_deletes_nothing_by_itself_and_is_forgiven() {
    let mut world = World::new(&[ANNA]).await;
    for n in 1..11 {
        let (month, day) = if n < 5 { ("12", n) } else { ("01", n) };
        let year = if n < 5 { 2026 } else { 2027 };
        let at = format!("{year}-{month}-{day:02} 10:00");
        world.source.put(ANNA, event(&format!("e{n:02}"), &at));
    }
    world.sync_well().await;
    world.sink.writes();
    let mut config = sync_config();
    config.window = serde_json::from_str(r#"{"future":"20 days"}"#).unwrap();
    world.restart(config).await;
    assert_eq!(world.sync_well().await.total.held, 6);
    world.restart(sync_config()).await;
    assert_eq!(world.sync_well().await.total.held, 0);
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn who_left_and_comes_back_is_brought_in_step_through_the_guard() {
    let world = World::new(&[ANNA, BO]).await;
    for n in 1..6 {
        world
            .source
            .put(BO, event(&format!("b{n}"), &format!("2026-12-0{n} 10:00")));
    }
    world.sync_well().await;
    world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    world.sync_well().await;
    for n in 1..6 {
        world.source.remove(BO, &format!("b{n}"));
    }
    world.source.put(BO, event("new", "2026-12-09 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned(), BO.to_owned()];
    let report = world.sync_well().await;
    assert_eq!(
        (report.total.held, world.sink.writes()),
        (5, vec!["create new".to_owned()])
    );
}

#[tokio::test]
async fn an_approval_outlives_a_source_that_is_down_for_a_while() {
    let world = World::new(&[ANNA]).await;
    for n in 1..5 {
        world.source.put(
            ANNA,
            event(&format!("a{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    for n in 1..5 {
        world.source.remove(ANNA, &format!("a{n}"));
    }
    world.sync_well().await;
    let since = world.rows(ANNA).await[0].held_since;
    let down = |world: &World| {
        let mut down = outage();
        down.scope = Scope::Calendar;
        world.source.answer(|a| {
            a.refuse.insert(ANNA.to_owned(), down);
        });
    };
    down(&world);
    world.forward(1);
    world.sync().await;
    assert_eq!(world.rows(ANNA).await[0].held_since, since, "still held");
    assert_eq!(
        world
            .engine
            .approve(&world.engine.syncs()[0], &[], world.clock.now())
            .await
            .unwrap(),
        4
    );
    world.sync().await;
    assert_eq!(world.sink.ids().len(), 4, "what seems gone may be there");
    world.source.answer(|a| a.refuse.clear());
    world.forward(1);
    world.sync_well().await;
    assert!(world.sink.ids().is_empty());
}

#[tokio::test]
async fn what_waits_since_first_contact_does_not_make_a_calendar_look_full() {
    let world = World::new(&[ANNA]).await;
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    for n in 0..5 {
        world.source.put(
            ANNA,
            event(&format!("f{n}"), &format!("2026-12-{:02} 10:00", 10 + n)),
        );
    }
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 6);
    for n in 0..5 {
        world.source.remove(ANNA, &format!("f{n}"));
    }
    let report = world.sync_well().await;
    assert_eq!(
        (report.total.deleted, report.total.held),
        (0, 6),
        "sink now {:?}",
        world.sink.ids()
    );
}

#[tokio::test]
async fn what_waits_since_first_contact_does_not_make_deletes_look_few() {
    let world = World::new(&[ANNA]).await;
    for n in 0..60 {
        let uid = format!("ghost{n}");
        world.sink.put(
            ANNA,
            &uid,
            &event(
                &uid,
                &format!("2026-12-{:02} {:02}:00", 1 + n / 6, 8 + n % 6),
            ),
        );
    }
    for n in 0..20 {
        world.source.put(
            ANNA,
            event(&format!("f{n}"), &format!("2027-01-{:02} 10:00", 2 + n)),
        );
    }
    world.sync_well().await;
    assert_eq!(world.sink.ids().len(), 80);
    for n in 0..19 {
        world.source.remove(ANNA, &format!("f{n}"));
    }
    let report = world.sync_well().await;
    assert_eq!((report.total.deleted, report.total.held), (0, 79));
}

#[tokio::test]
async fn approved_deletes_do_not_hold_those_that_come_after_them() {
    let world = held_world().await;
    let sync = &world.engine.syncs()[0];
    assert_eq!(
        world
            .engine
            .approve(sync, &[], world.clock.now())
            .await
            .unwrap(),
        9
    );
    assert_eq!(world.sync_well().await.total.deleted, 9);
    world.forward(1);
    world.source.remove(ANNA, "f9");
    let report = world.sync_well().await;
    assert_eq!((report.total.deleted, report.total.held), (1, 0));
}

#[tokio::test]
async fn a_plan_is_no_first_contact() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let sync = &world.engine.syncs()[0];
    let shutdown = tokio_util::sync::CancellationToken::new();
    world
        .engine
        .plan(sync, &SyncOptions::default(), &shutdown)
        .await
        .unwrap();
    // The predecessor works on for two days: nothing of ours was ever written.
    world.forward(48);
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    world.source.put(
        ANNA,
        occurrence("s", "2026-12-07 10:00", "2026-12-07 10:00"),
    );
    world
        .sink
        .put(ANNA, "s$20261207-090000", &event("s", "2026-12-07 10:00"));
    let first = world.sync_well().await;
    let listed = world
        .sync_with(SyncOptions {
            reconcile: true,
            ..SyncOptions::default()
        })
        .await;
    assert_eq!((first.total.created, listed.total.deleted), (1, 0));
}

#[tokio::test]
async fn who_removes_our_records_is_noticed() {
    let world = World::new(&[ANNA]).await;
    for n in 0..8 {
        world.source.put(
            ANNA,
            event(&format!("f{n}"), &format!("2026-12-{:02} 10:00", 10 + n)),
        );
    }
    world.sync_well().await;
    world.forward(24);
    world.sink.state.lock().unwrap().records.clear();
    let report = world
        .sync_with(SyncOptions {
            reconcile: true,
            ..SyncOptions::default()
        })
        .await;
    assert_eq!((report.total.created, report.total.others), (8, 8));
    let others = world.store.calendars("jobcenter").await.unwrap()[0].others;
    let others = others.unwrap();
    assert_eq!((others.records, others.at), (8, world.clock.now()));
}

#[tokio::test]
async fn what_has_passed_is_not_sent_again() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-11-25 10:00"));
    world.source.put(ANNA, event("b", "2026-12-20 10:00"));
    world.sync_well().await;
    world.forward(10 * 24);
    world.sync_well().await;
    let order = calbridge_core::store::Order {
        sync: world.engine.syncs()[0].name.clone(),
        calendars: vec![],
        what: calbridge_core::store::OrderKind::Resend { event: None },
    };
    assert_eq!(
        world.engine.obey(&order, world.clock.now()).await.unwrap(),
        1
    );
    world.sync_well().await;
    world
        .sync_with(SyncOptions {
            reconcile: true,
            full: true,
            ..SyncOptions::default()
        })
        .await;
    let states: Vec<_> = world
        .rows(ANNA)
        .await
        .into_iter()
        .map(|r| (r.key.uid().to_owned(), r.sink.state))
        .collect();
    assert!(
        states
            .iter()
            .all(|(_, s)| *s != calbridge_core::engine::OnSink::Unknown)
    );
}
