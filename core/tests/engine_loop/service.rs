//! The service loop.

use std::time::{Duration, Instant};

use calbridge_core::clock::Clock;
use calbridge_core::connector::Hint;
use calbridge_core::engine::Silent;
use calbridge_core::model::CalendarRef;
use calbridge_core::store::Retention;
use jiff::SignedDuration;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

/// Runs the service until `done`, then stops it; answers how long the stop took.
async fn run_until(world: &World, mut done: impl FnMut() -> bool) -> Duration {
    let stop = async {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.shutdown.cancel();
        Instant::now()
    };
    let (ended, stopped) = tokio::join!(
        async {
            world
                .engine
                .run(Retention::default(), &world.shutdown, &Silent)
                .await
                .unwrap();
            Instant::now()
        },
        stop
    );
    ended - stopped
}

fn often() -> calbridge_core::engine::SyncConfig {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_millis(50);
    config
}

#[tokio::test]
async fn the_roster_is_asked_for_before_any_pull_and_changes_arrive_by_interval() {
    let world = World::with(&[ANNA], often(), source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let mut step = 0;
    run_until(&world, || {
        // The clock stands still unless it is moved: every look, half a second passes.
        world
            .clock
            .set(world.clock.now() + SignedDuration::from_millis(500));
        match (step, world.sink.ids().len()) {
            (0, 1) => {
                assert_eq!(world.sink.state.lock().unwrap().rosters, 1);
                world.source.put(ANNA, event("b", "2026-12-02 10:00"));
                step = 1;
                false
            }
            (1, 2) => true,
            _ => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_hint_is_acted_on_before_the_interval() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_hours(20);
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().watch = true;
    let world = World::with(&[ANNA], config, reads).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let mut step = 0;
    run_until(&world, || {
        world
            .clock
            .set(world.clock.now() + SignedDuration::from_millis(200));
        match (step, world.sink.ids().len()) {
            (0, 1) => {
                world.source.put(ANNA, event("b", "2026-12-02 10:00"));
                let dirty = Hint::Dirty(CalendarRef::primary(ANNA).unwrap());
                world.source.hints.lock().unwrap().push(dirty);
                step = 1;
                false
            }
            (1, 2) => true,
            _ => false,
        }
    })
    .await;
    assert!(world.clock.now() < at("2026-11-23 20:00"));
}

#[tokio::test]
async fn one_calendar_in_trouble_holds_up_no_other() {
    let world = World::with(&[ANNA, BO], often(), source_capabilities()).await;
    world.source.answer(|answers| {
        let mut error = outage();
        error.scope = calbridge_core::connector::Scope::Calendar;
        answers.refuse.insert(ANNA.to_owned(), error);
    });
    let mut next = 1;
    run_until(&world, || {
        world
            .clock
            .set(world.clock.now() + SignedDuration::from_millis(200));
        if world.sink.ids().len() + 1 == next {
            world
                .source
                .put(BO, event(&format!("b{next}"), "2026-12-02 10:00"));
            next += 1;
        }
        next > 8
    })
    .await;
    let tries = world
        .source
        .requests()
        .iter()
        .filter(|request| request.calendar.address.folded() == ANNA)
        .count();
    assert!(tries < 5, "{tries} tries of a calendar in trouble");
}

#[tokio::test]
async fn the_daily_times_read_and_compare_completely() {
    let mut config = often();
    config.schedule.interval = SignedDuration::from_hours(48);
    config.schedule.roster_interval = SignedDuration::from_hours(48);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let mut tampered = false;
    run_until(&world, || {
        if !tampered && world.sink.ids() == ["a"] {
            tampered = true;
            world.sink.state.lock().unwrap().records.clear();
            world.clock.set(at("2026-11-24 01:59"));
        }
        if tampered {
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_mins(1));
        }
        tampered && world.sink.ids() == ["a"]
    })
    .await;
    assert!(
        world.source.requests().iter().any(|request| request.full),
        "read at 02:00"
    );
    assert_eq!(
        world.sink.state.lock().unwrap().inventories,
        2,
        "compared at 05:30"
    );
    assert!(world.clock.now() >= at("2026-11-24 05:30"));
}

#[tokio::test]
async fn a_stop_is_obeyed_within_five_seconds_even_in_the_middle_of_a_slow_call() {
    let world = World::with(&[ANNA], often(), source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .sink
        .answer(|answers| answers.slow = Some(Duration::from_secs(60)));
    let mut looks = 0;
    let took = run_until(&world, || {
        looks += 1;
        looks > 50
    })
    .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn k062_k160_the_service_is_up_at_once_and_works_in_the_background() {
    let addresses: Vec<String> = (0..50).map(|n| format!("person{n}@x.dk")).collect();
    let borrowed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let world = World::with(&borrowed, often(), source_capabilities()).await;
    world
        .source
        .answer(|answers| answers.slow = Some(Duration::from_millis(20)));
    let mut polled = 0;
    run_until(&world, || {
        // The loop is alive while calendars are read: this runs beside it on one thread.
        polled += 1;
        world.source.requests().len() >= 50
    })
    .await;
    assert!(polled > 20);
}
