//! A clock that jumps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use calbridge_core::clock::{Clock, Heard};
use calbridge_core::engine::{ConnectionHandle, Engine, Silent, SyncOptions, SyncReport};
use jiff::{SignedDuration, Timestamp};

use crate::systems::*;

const ANNA: &str = "anna@x.dk";

/// A clock that can be set while time passes.
#[derive(Debug)]
struct WallClock {
    state: Mutex<(Timestamp, Duration, Vec<Heard>)>,
    /// This source tells the time with its answers: so much more than ours. Before it was asked so often, nobody does.
    told: Mutex<Option<(MemorySource, usize, SignedDuration)>>,
}

impl WallClock {
    fn pass(&self, hours: u32) {
        let mut state = self.state.lock().unwrap();
        let hour = Duration::from_secs(3_600);
        state.0 += SignedDuration::from_hours(i64::from(hours));
        state.1 += hour * hours;
    }

    fn set(&self, by: SignedDuration) {
        self.state.lock().unwrap().0 += by;
    }

    /// A server's clock is as far ahead of ours.
    fn heard(&self, ahead: SignedDuration) {
        let mut state = self.state.lock().unwrap();
        let at = state.1;
        state.2 = vec![Heard { ahead, at }];
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap().0
    }

    fn elapsed(&self) -> Option<Duration> {
        Some(self.state.lock().unwrap().1)
    }

    fn heard(&self) -> Vec<Heard> {
        let mut heard = self.state.lock().unwrap().2.clone();
        if let Some((source, asked, ahead)) = &*self.told.lock().unwrap()
            && source.requests().len() > *asked
        {
            let at = self.state.lock().unwrap().1;
            heard.push(Heard { ahead: *ahead, at });
        }
        heard
    }
}

/// An engine over the world's systems and store, with another clock.
pub async fn engine<C: Clock + 'static>(world: &World, clock: &Arc<C>) -> Engine {
    let fence = world.store.acquire("test", clock.now()).await.unwrap();
    let handles = [
        ConnectionHandle::new(
            "exchange",
            "memory 1",
            source_capabilities(),
            Arc::new(world.source.clone()),
        ),
        ConnectionHandle::new(
            "planner",
            "memory 1",
            sink_capabilities(),
            Arc::new(world.sink.clone()),
        ),
    ];
    Engine::new(
        Arc::clone(&world.store),
        fence,
        Arc::clone(clock) as Arc<dyn Clock>,
        handles.map(Arc::new),
        vec![sync_config()],
    )
    .unwrap()
}

struct Jumpy {
    world: World,
    clock: Arc<WallClock>,
    engine: Engine,
}

impl Jumpy {
    /// Twenty events, in step.
    async fn new() -> Self {
        let world = World::new(&[ANNA]).await;
        for n in 0..20 {
            let start = format!("2026-12-{:02} 10:00", 1 + n);
            world.source.put(ANNA, event(&format!("e{n:02}"), &start));
        }
        let clock = Arc::new(WallClock {
            state: Mutex::new((at("2026-11-23 08:00"), Duration::ZERO, Vec::new())),
            told: Mutex::default(),
        });
        let engine = engine(&world, &clock).await;
        let it = Self {
            world,
            clock,
            engine,
        };
        assert_eq!(it.sync().await.total.created, 20);
        it.world.sink.writes();
        it
    }

    async fn sync(&self) -> SyncReport {
        let options = SyncOptions {
            full: true,
            reconcile: true,
            ..SyncOptions::default()
        };
        self.engine
            .sync_once(
                &self.engine.syncs()[0],
                &options,
                &self.world.shutdown,
                &Silent,
            )
            .await
            .unwrap()
    }

    fn window(&self) -> calbridge_core::model::Window {
        self.world.source.requests().last().unwrap().window
    }
}

#[tokio::test]
async fn after_a_jump_no_window_moves_and_nothing_is_deleted_until_a_server_agrees() {
    for months in [2, -2] {
        let it = Jumpy::new().await;
        let window = it.window();
        it.clock.pass(1);
        it.clock.set(SignedDuration::from_hours(24 * 30 * months));
        it.world.source.remove(ANNA, "e03");
        it.world.source.put(ANNA, event("e04", "2026-12-05 15:00"));
        let report = it.sync().await;
        assert_eq!(it.window(), window);
        // What is no delete goes on.
        assert_eq!(it.world.sink.writes(), ["update e04"], "{months}");
        assert_eq!((report.total.deleted, report.total.held), (0, 0));
        // It was a mistake, and mended.
        it.clock.set(SignedDuration::from_hours(-24 * 30 * months));
        assert_eq!(it.sync().await.total.deleted, 1);
        assert_eq!(it.world.sink.ids().len(), 19);
    }
}

#[tokio::test]
async fn a_jump_to_the_right_time_is_believed_once_a_server_shows_the_same() {
    let it = Jumpy::new().await;
    let window = it.window();
    it.clock.set(SignedDuration::from_hours(24 * 9));
    it.world.source.remove(ANNA, "e10");
    it.sync().await;
    assert!(it.world.sink.writes().is_empty());
    it.clock.pass(1);
    it.clock.heard(SignedDuration::from_secs(1));
    it.sync().await;
    assert_eq!(it.world.sink.writes(), ["delete e10"]);
    assert_ne!(it.window(), window);
}

#[tokio::test]
async fn a_clock_that_is_wrong_from_the_start_deletes_nothing_and_reckons_by_the_servers() {
    let it = Jumpy::new().await;
    it.clock.set(SignedDuration::from_hours(24 * 60));
    it.clock.heard(SignedDuration::from_hours(-24 * 60));
    let window = it.window();
    it.world.source.remove(ANNA, "e03");
    let report = it.sync().await;
    assert_eq!(it.window(), window);
    assert_eq!(report.total.deleted, 0);
    assert_eq!(it.world.sink.ids().len(), 20);
}

#[tokio::test]
async fn what_was_put_off_by_a_wrong_clock_is_not_put_off_for_good() {
    let it = Jumpy::new().await;
    it.clock.set(SignedDuration::from_hours(24 * 60));
    it.world.source.put(ANNA, event("e04", "2026-12-05 15:00"));
    it.world.sink.answer(|answers| {
        let retry = calbridge_core::connector::Outcome::Retry {
            after_ms: Some(3_600_000),
            code: None,
        };
        answers.scripted.insert("e04".to_owned(), retry);
    });
    assert_eq!(it.sync().await.total.waiting, 1);
    it.world.sink.answer(|answers| answers.scripted.clear());
    it.clock.set(SignedDuration::from_hours(-24 * 60));
    assert_eq!(it.sync().await.total.updated, 1);
}

#[tokio::test]
async fn a_clock_that_was_wrong_when_the_program_started_deletes_nothing_in_the_first_pass() {
    let mut it = Jumpy::new().await;
    let ahead = SignedDuration::from_hours(-24 * 15);
    it.clock.set(-ahead);
    // Until the source is read, nobody tells the time.
    let asked = it.world.source.requests().len();
    *it.clock.told.lock().unwrap() = Some((it.world.source.clone(), asked, ahead));
    it.engine = engine(&it.world, &it.clock).await;
    // By our clock it moved into the past.
    it.world.source.put(ANNA, event("e18", "2026-12-02 15:00"));
    let report = it.sync().await;
    assert_eq!((report.total.deleted, report.total.held), (0, 0));
    assert_eq!(it.world.sink.ids().len(), 20);
    it.clock.set(ahead);
    *it.clock.told.lock().unwrap() = None;
    it.engine = engine(&it.world, &it.clock).await;
    let report = it.sync().await;
    assert_eq!((report.total.deleted, report.total.updated), (0, 1));
}

#[tokio::test]
async fn a_plan_by_a_wrong_clock_shows_no_deletes() {
    let it = Jumpy::new().await;
    it.world.source.remove(ANNA, "e03");
    let deletes = async || {
        let sync = &it.engine.syncs()[0];
        let (options, never) = (SyncOptions::default(), &it.world.shutdown);
        let plans = it.engine.plan(sync, &options, never).await.unwrap();
        plans.iter().map(|plan| plan.writes.len()).sum::<usize>()
    };
    it.clock.set(SignedDuration::from_hours(24 * 60));
    assert_eq!(deletes().await, 0);
    it.clock.set(SignedDuration::from_hours(-24 * 60));
    assert_eq!(deletes().await, 1);
}
