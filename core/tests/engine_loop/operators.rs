//! Pauses, orders and budgets.

use std::sync::Arc;
use std::time::Duration;

use calbridge_core::clock::Clock;
use calbridge_core::connector::Outcome;
use calbridge_core::engine::{ConnectionHandle, Engine, EngineError, Mode, Silent, SyncOptions};
use calbridge_core::store::{Order, OrderAnswer, OrderKind, PauseScope, Retention};
use jiff::SignedDuration;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

fn order(what: OrderKind) -> Order {
    Order {
        sync: "jobcenter".to_owned(),
        calendars: Vec::new(),
        what,
    }
}

#[tokio::test]
async fn a_pause_stops_all_that_it_concerns_and_nothing_else_and_outlives_the_program() {
    let mut world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let scopes = [
        PauseScope::All,
        PauseScope::Sync("jobcenter".to_owned()),
        PauseScope::Connection("exchange".to_owned()),
        PauseScope::Connection("planner".to_owned()),
    ];
    for scope in &scopes {
        let now = world.clock.now();
        assert!(world.store.pause(scope, now).await.unwrap());
        assert!(!world.store.pause(scope, now).await.unwrap(), "twice");
        world.restart(sync_config()).await;
        let sync = &world.engine.syncs()[0];
        let refused = world
            .engine
            .sync_once(sync, &SyncOptions::default(), &world.shutdown, &Silent)
            .await;
        assert!(
            matches!(refused, Err(EngineError::Paused { .. })),
            "{scope}"
        );
        assert_eq!(world.sink.state.lock().unwrap().rosters, 0, "{scope}");
        assert!(world.store.resume(scope).await.unwrap());
        assert!(!world.store.resume(scope).await.unwrap(), "twice");
    }
    for other in [
        PauseScope::Sync("other".to_owned()),
        PauseScope::Connection("other".to_owned()),
    ] {
        world.store.pause(&other, world.clock.now()).await.unwrap();
    }
    assert_eq!(world.sync_well().await.total.created, 1);
}

#[tokio::test]
async fn a_pause_in_the_middle_of_a_pass_stops_before_the_next_call_and_is_no_trouble() {
    let world = World::new(&[ANNA]).await;
    for n in 1..9 {
        let start = format!("2026-12-0{n} 10:00");
        world.source.put(ANNA, event(&format!("e{n}"), &start));
    }
    world
        .sink
        .answer(|answers| answers.slow = Some(Duration::from_millis(500)));
    let pause = async {
        while world.sink.state.lock().unwrap().arrived == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let scope = PauseScope::All;
        world.store.pause(&scope, world.clock.now()).await.unwrap();
    };
    let (report, ()) = tokio::join!(world.sync(), pause);
    assert_eq!(world.sink.ids().len(), 4, "a call's worth");
    assert_eq!(report.calendars[0].failed.as_ref().unwrap().code, "paused");
    let state = world.store.calendars("jobcenter").await.unwrap().remove(0);
    assert_eq!(state.trouble, None);
    world.store.resume(&PauseScope::All).await.unwrap();
    assert_eq!(world.sync_well().await.total.created, 4);
}

/// Runs the service until `done`.
async fn run_until(world: &World, done: impl AsyncFn() -> bool) {
    let stop = async {
        for _ in 0..4_000 {
            if done().await {
                world.shutdown.cancel();
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came");
    };
    let run = world
        .engine
        .run(Retention::default(), &world.shutdown, &Silent);
    let (ended, ()) = tokio::join!(run, stop);
    ended.unwrap();
}

#[tokio::test]
async fn a_running_service_pauses_and_resumes() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_millis(50);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    let scope = PauseScope::Sync("jobcenter".to_owned());
    world.store.pause(&scope, world.clock.now()).await.unwrap();
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let begun = std::time::Instant::now();
    let resumed = std::cell::Cell::new(false);
    run_until(&world, async || {
        world
            .clock
            .set(world.clock.now() + SignedDuration::from_millis(100));
        if !resumed.get() && begun.elapsed() > Duration::from_millis(300) {
            assert!(world.sink.ids().is_empty());
            assert_eq!(world.sink.state.lock().unwrap().rosters, 0);
            world.store.resume(&scope).await.unwrap();
            resumed.set(true);
        }
        world.sink.ids().len() == 1
    })
    .await;
}

#[tokio::test]
async fn k158_k159_a_running_service_carries_out_orders_at_once() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_hours(20);
    config.schedule.roster_interval = SignedDuration::from_hours(20);
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let given = std::cell::RefCell::new(Vec::new());
    let answered = async || {
        let mut answers = Vec::new();
        let ids = given.borrow().clone();
        for id in ids {
            answers.extend(world.store.order_answer(id).await.unwrap());
        }
        answers
    };
    run_until(&world, async || {
        world
            .clock
            .set(world.clock.now() + SignedDuration::from_millis(100));
        if given.borrow().is_empty() && world.sink.ids().len() == 1 {
            world.source.put(ANNA, event("b", "2026-12-02 10:00"));
            let all = order(OrderKind::Sync {
                full: true,
                reconcile: true,
            });
            let id = world.store.give_order(&all, world.clock.now()).await;
            given.borrow_mut().push(id.unwrap());
            let unknown = Order {
                sync: "nope".to_owned(),
                ..order(OrderKind::Approve)
            };
            let id = world.store.give_order(&unknown, world.clock.now()).await;
            given.borrow_mut().push(id.unwrap());
        }
        let done = {
            let state = world.sink.state.lock().unwrap();
            (state.rosters, state.inventories) == (2, 2) && state.records.len() == 2
        };
        done && answered().await.len() == 2
    })
    .await;
    let requests = world.source.requests();
    assert!(requests.last().unwrap().full);
    let answers = answered().await;
    assert_eq!(answers[0], OrderAnswer::Done(1));
    assert!(matches!(&answers[1], OrderAnswer::Refused(why) if why.contains("nope")));
    assert!(world.store.orders().await.unwrap().is_empty());
}

#[tokio::test]
async fn resend_opens_what_was_refused_and_writes_what_is_there_once_more() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(ANNA, event("b", "2026-12-02 10:00"));
    world.sink.answer(|answers| {
        let refused = Outcome::Rejected {
            code: "6203".to_owned(),
            message: "refused".to_owned(),
        };
        answers.scripted.insert("b".to_owned(), refused);
    });
    world.sync().await;
    world.sync().await;
    assert_eq!(world.sink.writes(), ["create a", "create b"]);
    world.sink.answer(|answers| answers.scripted.clear());
    let resend = |event: Option<&str>| {
        let event = event.map(str::to_owned);
        order(OrderKind::Resend { event })
    };
    assert_eq!(
        world
            .engine
            .obey(&resend(Some("B")), world.clock.now())
            .await
            .unwrap(),
        1
    );
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create b"]);
    // The other side lost one, and nobody has noticed yet.
    world.sink.state.lock().unwrap().records.clear();
    assert_eq!(
        world
            .engine
            .obey(&resend(None), world.clock.now())
            .await
            .unwrap(),
        2
    );
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a", "b"]);
    assert_eq!(
        world
            .engine
            .obey(&resend(Some("nope")), world.clock.now())
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn no_more_is_written_than_the_budget_allows_and_the_rest_comes_later() {
    let world = World::new(&[ANNA]).await;
    for n in 1..10 {
        let start = format!("2026-12-1{n} 10:00");
        world.source.put(ANNA, event(&format!("e{n}"), &start));
    }
    let engine = || async {
        let fence = world
            .store
            .acquire("test", world.clock.now())
            .await
            .unwrap();
        let handle = |name: &str, capabilities, connection| {
            ConnectionHandle::new(name, "memory 1", capabilities, connection)
        };
        let source = handle(
            "exchange",
            source_capabilities(),
            Arc::new(world.source.clone()) as Arc<_>,
        );
        let sink = handle(
            "planner",
            sink_capabilities(),
            Arc::new(world.sink.clone()) as Arc<_>,
        )
        .with_budget(Some(6));
        Engine::new(
            Arc::clone(&world.store),
            fence,
            world.clock.clone() as Arc<_>,
            [Arc::new(source), Arc::new(sink)],
            vec![sync_config()],
        )
        .unwrap()
    };
    let sync = async |engine: &Engine| {
        let sync = &engine.syncs()[0];
        let options = SyncOptions::default();
        let report = engine.sync_once(sync, &options, &world.shutdown, &Silent);
        report.await.unwrap().calendars.remove(0)
    };
    let outcome = sync(&engine().await).await;
    assert_eq!(world.sink.ids().len(), 6);
    assert_eq!(outcome.failed.unwrap().code, "budget");
    // It outlives the program.
    world.forward(1);
    assert_eq!(sync(&engine().await).await.report.created, 0);
    world.forward(24);
    assert_eq!(sync(&engine().await).await.report.created, 3);
}

#[tokio::test]
async fn calendars_that_are_written_at_the_same_time_spend_no_more_than_the_budget() {
    // More than are worked on one after the other.
    let addresses: Vec<String> = (0..120).map(|n| format!("p{n:03}@x.dk")).collect();
    let names: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let world = World::new(&names).await;
    for address in &names {
        for n in 1..4 {
            let start = format!("2026-12-1{n} 10:00");
            world.source.put(address, event(&format!("e{n}"), &start));
        }
    }
    world
        .sink
        .answer(|answers| answers.slow = Some(Duration::from_millis(5)));
    let fence = world
        .store
        .acquire("test", world.clock.now())
        .await
        .unwrap();
    let source = ConnectionHandle::new(
        "exchange",
        "memory 1",
        source_capabilities(),
        Arc::new(world.source.clone()),
    );
    let sink = ConnectionHandle::new(
        "planner",
        "memory 1",
        sink_capabilities(),
        Arc::new(world.sink.clone()),
    )
    .with_budget(Some(31));
    let engine = Engine::new(
        Arc::clone(&world.store),
        fence,
        world.clock.clone() as Arc<_>,
        [Arc::new(source), Arc::new(sink)],
        vec![sync_config()],
    )
    .unwrap();
    for _ in 0..3 {
        let sync = &engine.syncs()[0];
        let options = SyncOptions::default();
        engine
            .sync_once(sync, &options, &world.shutdown, &Silent)
            .await
            .unwrap();
    }
    assert_eq!(world.sink.ids().len(), 31);
}

#[tokio::test]
async fn nothing_is_sent_again_of_what_is_paused_or_observed() {
    let mut world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    let again = order(OrderKind::Resend { event: None });
    assert_eq!(
        world.engine.obey(&again, world.clock.now()).await.unwrap(),
        1
    );
    let now = world.clock.now();
    world.store.pause(&PauseScope::All, now).await.unwrap();
    let refused = world.engine.obey(&again, world.clock.now()).await;
    assert!(matches!(refused, Err(EngineError::Paused { .. })));
    world.store.resume(&PauseScope::All).await.unwrap();
    let mut observed = sync_config();
    observed.mode = Mode::Observe;
    world.restart(observed).await;
    assert_eq!(
        world.engine.obey(&again, world.clock.now()).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn an_approval_lets_go_what_was_held_when_it_was_given_and_nothing_else() {
    let world = World::new(&[ANNA, BO]).await;
    for (address, name) in [(ANNA, 'a'), (BO, 'b')] {
        for n in 1..5 {
            let start = format!("2026-12-0{n} 10:00");
            world
                .source
                .put(address, event(&format!("{name}{n}"), &start));
        }
    }
    world.sync_well().await;
    for n in 1..5 {
        world.source.remove(ANNA, &format!("a{n}"));
    }
    world.forward(1);
    assert_eq!(world.sync_well().await.total.held, 4);
    let seen = world.clock.now();
    // The operator has seen Anna's; before the order is carried out, a pass holds Bo's too.
    for n in 1..5 {
        world.source.remove(BO, &format!("b{n}"));
    }
    world.forward(1);
    assert_eq!(world.sync_well().await.total.held, 8);
    let approve = order(OrderKind::Approve);
    let id = world.store.give_order(&approve, seen).await.unwrap();
    run_until(&world, async || {
        world.store.order_answer(id).await.unwrap().is_some() && world.sink.ids().len() <= 4
    })
    .await;
    assert_eq!(
        world.store.order_answer(id).await.unwrap(),
        Some(OrderAnswer::Done(4))
    );
    world.sync_well().await;
    let left = world.sink.ids();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.iter().all(|id| id.contains('b')), "{left:?}");
}
