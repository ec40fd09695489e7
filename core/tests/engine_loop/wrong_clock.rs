//! A clock that was wrong for a while: nothing is deleted, let go, or left out because of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use calbridge_core::clock::{Clock, Heard};
use calbridge_core::engine::{Engine, Silent, SyncOptions, SyncReport};
use calbridge_core::store::{Pruned, Retention};
use jiff::{SignedDuration, Timestamp};

use crate::clocks::engine;
use crate::systems::*;

const ANNA: &str = "anna@x.dk";

#[derive(Debug)]
struct Wall(Mutex<(Timestamp, Duration)>);
impl Wall {
    fn pass(&self, hours: u32) {
        let mut s = self.0.lock().unwrap();
        s.0 += SignedDuration::from_hours(i64::from(hours));
        s.1 += Duration::from_secs(3_600) * hours;
    }
    fn set(&self, days: i64) {
        self.0.lock().unwrap().0 += SignedDuration::from_hours(24 * days);
    }
}
impl Clock for Wall {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }
    fn elapsed(&self) -> Option<Duration> {
        Some(self.0.lock().unwrap().1)
    }
    fn heard(&self) -> Vec<Heard> {
        Vec::new()
    }
}

async fn sync(engine: &Engine, world: &World, full: bool, reconcile: bool) -> SyncReport {
    let options = SyncOptions {
        full,
        reconcile,
        ..SyncOptions::default()
    };
    engine
        .sync_once(&engine.syncs()[0], &options, &world.shutdown, &Silent)
        .await
        .unwrap()
}

async fn start(n: usize) -> (World, Arc<Wall>, Engine) {
    let world = World::new(&[ANNA]).await;
    for n in 0..n {
        let start = format!(
            "{} 10:00",
            if n < 30 {
                format!("2026-12-{:02}", 1 + n)
            } else {
                format!("2027-01-{:02}", n - 28)
            }
        );
        world.source.put(ANNA, event(&format!("e{n:02}"), &start));
    }
    let clock = Arc::new(Wall(Mutex::new((at("2026-11-23 08:00"), Duration::ZERO))));
    let engine = engine(&world, &clock).await;
    assert_eq!(
        sync(&engine, &world, false, false).await.total.created,
        n as u64
    );
    world.sink.writes();
    (world, clock, engine)
}

#[tokio::test]
async fn retention_forgets_nothing_by_a_wrong_clock() {
    let (world, clock, engine) = start(50).await;
    clock.pass(1);
    clock.set(49); // ahead
    sync(&engine, &world, false, false).await; // the watch knows: nothing deleted
    assert_eq!(
        engine.prune(Retention::default()).await.unwrap(),
        Pruned::default()
    );
    clock.set(-49);
    sync(&engine, &world, false, true).await;
    assert_eq!(world.sink.ids().len(), 50, "all events are alive");
}

#[tokio::test]
async fn a_held_delete_is_not_let_go_by_a_clock_that_jumped() {
    let (world, clock, engine) = start(20).await;
    world.source.answer(|a| a.folder = Some("f".to_owned()));
    sync(&engine, &world, true, false).await;
    clock.pass(1);
    for n in 0..15 {
        world.source.remove(ANNA, &format!("e{n:02}"));
    }
    let held = sync(&engine, &world, false, false).await.total;
    assert_eq!((held.deleted, held.held), (0, 15));
    clock.pass(1);
    clock.set(3);
    let wrong = sync(&engine, &world, true, false).await.total;
    assert_eq!(wrong.deleted, 0);
    clock.set(-3);
    clock.pass(1);
    let report = sync(&engine, &world, false, false).await.total;
    assert_eq!(report.deleted, 0, "nobody approved");
}

#[tokio::test]
async fn what_a_wrong_clock_acknowledged_is_compared_all_the_same() {
    let (world, clock, engine) = start(20).await;
    clock.pass(1);
    clock.set(365);
    world.source.put(ANNA, event("e04", "2026-12-05 15:00"));
    assert_eq!(sync(&engine, &world, false, false).await.total.updated, 1);
    clock.set(-365);
    clock.pass(1);
    world.sink.state.lock().unwrap().records.clear();
    clock.pass(48);
    let report = sync(&engine, &world, false, true).await.total;
    assert_eq!(report.created, 20);
}
