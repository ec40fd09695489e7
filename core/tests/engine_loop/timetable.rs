//! The service loop: what is made up for, what waits, and how a stop is obeyed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::clock::Clock;
use calbridge_core::connector::*;
use calbridge_core::connector::{ErrorKind, Hint, Scope};
use calbridge_core::engine::EngineError;
use calbridge_core::engine::{Engine, Silent};
use calbridge_core::model::CalendarRef;
use calbridge_core::store::Retention;
use calbridge_core::store::StoreError;
use jiff::SignedDuration;

use crate::scripted::*;
use crate::systems::*;

const ANNA: &str = "anna@x.dk";

async fn run_until(
    engine: &Engine,
    world: &World,
    limit: Duration,
    mut done: impl FnMut() -> bool,
) -> (bool, Duration) {
    let stop = async {
        let begun = Instant::now();
        let mut good = true;
        while !done() {
            if begun.elapsed() > limit {
                good = false;
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.shutdown.cancel();
        (good, Instant::now())
    };
    let (ended, (good, stopped)) = tokio::join!(
        async {
            engine
                .run(Retention::default(), &world.shutdown, &Silent)
                .await
                .unwrap();
            Instant::now()
        },
        stop
    );
    (good, ended - stopped)
}

#[tokio::test]
async fn a_daily_comparison_that_failed_is_made_up_for() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_mins(10);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let mut step = 0;
    let (good, _) = run_until(&world.engine, &world, Duration::from_secs(12), || {
        match step {
            0 if world.sink.ids() == ["a"] => {
                world.sink.state.lock().unwrap().records.clear();
                world.clock.set(at("2026-11-24 05:29"));
                world.sink.answer(|a| a.inventory_down = true);
                step = 1;
            }
            1 if world.sink.state.lock().unwrap().inventories >= 2 => {
                world.sink.answer(|a| a.inventory_down = false);
                step = 2;
            }
            _ => {}
        }
        if step > 0 && world.clock.now() < at("2026-11-24 20:00") {
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_mins(1));
        }
        step == 2 && world.sink.ids() == ["a"]
    })
    .await;
    assert!(
        good,
        "at {} step {step} inventories {}",
        world.clock.now(),
        world.sink.state.lock().unwrap().inventories
    );
}

#[tokio::test]
async fn a_full_read_that_failed_is_made_up_for() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_mins(10);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let mut step = 0;
    let (good, _) = run_until(&world.engine, &world, Duration::from_secs(10), || {
        let fulls = world.source.requests().iter().filter(|r| r.full).count();
        match step {
            0 if world.sink.ids() == ["a"] => {
                let mut down = outage();
                down.scope = Scope::Calendar;
                world.source.answer(|a| {
                    a.refuse.insert(ANNA.to_owned(), down);
                });
                world.clock.set(at("2026-11-24 01:59"));
                step = 1;
            }
            1 if fulls == 1 => {
                world.source.answer(|a| a.refuse.clear());
                step = 2;
            }
            _ => {}
        }
        if step > 0 && world.clock.now() < at("2026-11-24 20:00") {
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_mins(1));
        }
        step == 2 && fulls > 1
    })
    .await;
    assert!(
        good,
        "step {step} at {} requests {}",
        world.clock.now(),
        world.source.requests().len()
    );
}

#[tokio::test]
async fn a_write_to_be_tried_in_30_s_does_not_wait_for_the_interval() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_hours(2);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| {
        a.scripted.insert(
            "a".to_owned(),
            Outcome::Retry {
                after_ms: None,
                code: None,
            },
        );
    });
    let mut step = 0;
    let (good, _) = run_until(&world.engine, &world, Duration::from_secs(8), || {
        if step == 0 && !world.sink.writes().is_empty() {
            world.sink.answer(|a| a.scripted.clear());
            step = 1;
        }
        if step == 1 && world.clock.now() < at("2026-11-23 09:30") {
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_secs(10));
        }
        step == 1 && !world.sink.ids().is_empty()
    })
    .await;
    assert!(
        good,
        "step {step} rosters {} not sent by {}",
        world.sink.state.lock().unwrap().rosters,
        world.clock.now()
    );
}

#[tokio::test]
async fn a_slow_watch_does_not_hold_up_a_stop() {
    let source = Scripted {
        watch_takes: Duration::from_secs(8),
        ..Scripted::default()
    };
    let it = small_with(source, true).await;
    let mut looks = 0;
    let (_, took) = run_until(&it.engine, &it.world, Duration::from_secs(20), || {
        looks += 1;
        looks > 60
    })
    .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn hints_that_take_two_seconds_arrive() {
    let source = Scripted {
        hint_takes: Duration::from_millis(1500),
        ..Scripted::default()
    };
    let it = small_with(source, true).await;
    let hints = Arc::clone(&it.source.hints);
    let (good, _) = run_until(&it.engine, &it.world, Duration::from_secs(6), || {
        *hints.lock().unwrap() > 0
    })
    .await;
    assert!(good, "no hint ever arrived: each wait was cancelled");
}

#[tokio::test]
async fn sync_once_ends_within_five_seconds_of_a_stop() {
    let addresses: Vec<String> = (0..40).map(|n| format!("p{n:02}@x.dk")).collect();
    let borrowed: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let world = World::new(&borrowed).await;
    world.sync_well().await;
    world
        .source
        .answer(|a| a.slow = Some(Duration::from_millis(350)));
    for address in &addresses {
        world
            .source
            .put(address, event(address, "2026-12-01 10:00"));
    }
    let begun = Instant::now();
    let (_, ()) = tokio::join!(world.sync(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.shutdown.cancel();
    });
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_service_whose_store_was_taken_over_ends() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_millis(50);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let takeover = async {
        while world.sink.ids() != ["a"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world
            .store
            .acquire("another", world.clock.now())
            .await
            .unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_secs(1));
        }
    };
    let run = world
        .engine
        .run(Retention::default(), &world.shutdown, &Silent);
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::select! {
            ended = run => ended,
            () = takeover => unreachable!(),
        }
    })
    .await;
    assert!(
        matches!(ended, Ok(Err(EngineError::Store(StoreError::Fenced)))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn hints_and_daily_times_do_not_cut_short_the_wait_that_a_server_asked_for() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_mins(10);
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().watch = true;
    let world = World::with(&[ANNA], config, reads).await;
    let mut busy = outage();
    busy.kind = ErrorKind::Throttled;
    busy.scope = Scope::Calendar;
    let busy = busy.retry_after(Duration::from_secs(600));
    world.source.answer(|a| {
        a.refuse.insert(ANNA.to_owned(), busy);
    });
    // The daily complete reading at 02:00 falls into the wait.
    world.clock.set(at("2026-11-24 01:58"));
    let begun = world.clock.now();
    let (good, _) = run_until(&world.engine, &world, Duration::from_secs(20), || {
        let dirty = Hint::Dirty(CalendarRef::primary(ANNA).unwrap());
        world.source.hints.lock().unwrap().push(dirty);
        if !world.source.requests().is_empty() {
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_secs(2));
        }
        world.clock.now() > begun + SignedDuration::from_secs(580)
    })
    .await;
    assert!(good);
    assert_eq!(world.source.requests().len(), 1);
}

#[tokio::test]
async fn a_flood_of_hints_is_gathered() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_mins(10);
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().watch = true;
    let world = World::with(&[ANNA], config, reads).await;
    world
        .source
        .answer(|a| a.slow = Some(Duration::from_millis(30)));
    let begun = world.clock.now();
    let (good, _) = run_until(&world.engine, &world, Duration::from_secs(20), || {
        let dirty = Hint::Dirty(CalendarRef::primary(ANNA).unwrap());
        world.source.hints.lock().unwrap().push(dirty);
        world
            .clock
            .set(world.clock.now() + SignedDuration::from_millis(20));
        world.clock.now() > begun + SignedDuration::from_secs(6)
    })
    .await;
    assert!(good);
    let requests = world.source.requests().len();
    assert!((2..=4).contains(&requests), "{requests} in six seconds");
}

#[tokio::test]
async fn a_watch_that_panics_ends_nothing_else() {
    let source = Scripted {
        watch_panics: true,
        ..Scripted::default()
    };
    source.script.lock().unwrap().push_back(vec![batch(
        vec![Change::Item(event("a", "2026-12-01 10:00")), snapshot()],
        Some("1"),
    )]);
    let it = small_with(source, true).await;
    let mut looks = 0;
    let (good, _) = run_until(&it.engine, &it.world, Duration::from_secs(10), || {
        looks += 1;
        looks > 40 && it.world.sink.ids() == ["a"]
    })
    .await;
    assert!(good);
}

#[tokio::test]
async fn a_roster_that_is_the_same_leaves_the_watch_alone() {
    let source = Scripted {
        hint_takes: Duration::from_secs(60),
        ..Scripted::default()
    };
    let it = small_with(source, true).await;
    let sets = Arc::clone(&it.source.sets);
    let (good, _) = run_until(&it.engine, &it.world, Duration::from_secs(10), || {
        let rosters = it.world.sink.state.lock().unwrap().rosters;
        let clock = &it.world.clock;
        clock.set(clock.now() + SignedDuration::from_secs(10));
        if rosters == 4 {
            it.world
                .sink
                .state
                .lock()
                .unwrap()
                .roster
                .push("bo@x.dk".to_owned());
        }
        rosters >= 8
    })
    .await;
    assert!(good);
    assert_eq!(*sets.lock().unwrap(), 1, "one change, one set");
}
