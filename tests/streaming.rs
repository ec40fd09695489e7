//! A change in Exchange reaches Planner through a running service, told by a stream of notifications.
#![cfg(all(feature = "sandbox", unix))]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::time::{Duration, Instant};

use support::{ANNA, BO, ROOM, World, ahead, signal, until};

/// How many changes are measured: 50 where `CALBRIDGE_FULL` is set.
fn changes() -> usize {
    if std::env::var_os("CALBRIDGE_FULL").is_some() {
        50
    } else {
        10
    }
}

/// A world whose calendars are read once in an hour, unless there is a hint.
async fn slow_world() -> World {
    let world = World::new().await;
    // What the server does by the wall clock.
    world.exchange.set_clock(None);
    world.configure(|text| text.replace("interval = \"1 s\"", "interval = \"1 h\""));
    world
}

/// Times from a change in Exchange to its record in Planner, ascending.
async fn latencies(world: &World, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let address = [ANNA, BO, ROOM][number % 3];
        let (day, hour) = (2 + i64::try_from(number / 8).unwrap(), 8 + number % 8);
        let known = world.in_planner(address).len();
        let begun = Instant::now();
        world.appointment(
            address,
            "A",
            &ahead(day, &format!("{hour:02}:00")),
            &ahead(day, &format!("{hour:02}:45")),
        );
        until("the record", || world.in_planner(address).len() > known).await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

async fn watched(world: &World) {
    until("the stream", || world.exchange.watched() == (3, 1)).await;
    // The first reading, and the one after the stream began.
    let synced = || world.exchange.ledger().len();
    let mut known = (synced(), Instant::now());
    until("a quiet server", || {
        if synced() != known.0 {
            known = (synced(), Instant::now());
        }
        known.1.elapsed() > Duration::from_secs(5)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_exchange_reaches_planner_long_before_the_interval_is_over() {
    let world = slow_world().await;
    let service = world.start_live(&["run"]);
    watched(&world).await;
    let changes = changes();
    let times = latencies(&world, changes).await;
    let (median, longest) = (times[changes / 2], times[changes - 1]);
    println!(
        "{changes} changes, from Exchange to Planner: median {} ms, fastest {} ms, slowest {} ms",
        median.as_millis(),
        times[0].as_millis(),
        longest.as_millis()
    );
    assert!(median < Duration::from_secs(5), "{median:?}");
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_median_is_under_a_second() {
    let world = slow_world().await;
    let service = world.start_live(&["run"]);
    watched(&world).await;
    let times = latencies(&world, 9).await;
    assert!(times[4] < Duration::from_secs(1), "{times:?}");
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_during_a_failover_reaches_planner_too() {
    let world = slow_world().await;
    let service = world.start_live(&["run"]);
    watched(&world).await;
    world
        .exchange
        .inject_spec("Subscribe*all=close-before;GetStreamingEvents*all=close-before")
        .unwrap();
    world.exchange.fail_over(1);
    for address in [ANNA, BO, ROOM] {
        world.appointment(address, "A", &ahead(2, "09:00"), &ahead(2, "10:00"));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.exchange.clear_faults();
    for address in [ANNA, BO, ROOM] {
        until("the record", || world.in_planner(address).len() == 1).await;
    }
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_end_with_the_service() {
    let world = slow_world().await;
    let mut service = world.start_live(&["run"]);
    watched(&world).await;
    signal(&service, "TERM");
    assert_eq!(service.wait().await.unwrap().code(), Some(0));
    until("the end", || world.exchange.watched().1 == 0).await;
    assert_eq!(world.exchange.watched().0, 0, "{}", world.started_log());
}
