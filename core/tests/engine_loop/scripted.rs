//! A source that follows a script, and feeds that only a script can make.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use calbridge_core::clock::Clock;
use calbridge_core::connector::*;
use calbridge_core::engine::{ConnectionHandle, Engine, Silent, SyncOptions};
use calbridge_core::model::*;
use jiff::SignedDuration;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";

pub type Script = VecDeque<Vec<Result<ChangeBatch>>>;

#[derive(Clone, Default)]
pub struct Scripted {
    pub script: Arc<Mutex<Script>>,
    pub requests: Arc<Mutex<Vec<ChangesRequest>>>,
    pub watch_takes: Duration,
    pub watch_panics: bool,
    pub hint_takes: Duration,
    pub hints: Arc<Mutex<usize>>,
    /// How often the watched calendars were set.
    pub sets: Arc<Mutex<usize>>,
}

struct ScriptFeed(VecDeque<Result<ChangeBatch>>);

#[async_trait]
impl ChangeFeed for ScriptFeed {
    async fn next(&mut self, _: usize) -> Result<Option<ChangeBatch>> {
        self.0.pop_front().transpose()
    }
}

#[async_trait]
impl Connection for Scripted {
    async fn check(&self, _: CheckScope) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }
    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }
}

#[async_trait]
impl CalendarSource for Scripted {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        self.requests.lock().unwrap().push(request);
        let next = self.script.lock().unwrap().pop_front().unwrap_or_default();
        if let Some(Err(error)) = next.first() {
            return Err(error.clone());
        }
        Ok(Box::new(ScriptFeed(next.into())))
    }
    async fn fetch(&self, _: &CalendarRef, _: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        Ok(Vec::new())
    }
    async fn watch(&self, _: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        tokio::time::sleep(self.watch_takes).await;
        assert!(!self.watch_panics, "a connector panics");
        Ok(Box::new(SlowHints(
            self.hint_takes,
            Arc::clone(&self.hints),
            Arc::clone(&self.sets),
        )))
    }
}

struct SlowHints(Duration, Arc<Mutex<usize>>, Arc<Mutex<usize>>);

#[async_trait]
impl HintFeed for SlowHints {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        tokio::time::sleep(self.0).await;
        *self.1.lock().unwrap() += 1;
        Ok(vec![Hint::Dirty(CalendarRef::primary(ANNA).unwrap())])
    }
    async fn set(&mut self, _: &[CalendarRef]) -> Result<()> {
        *self.2.lock().unwrap() += 1;
        Ok(())
    }
}

pub struct Small {
    pub world: World,
    pub source: Scripted,
    pub engine: Engine,
}

pub async fn small_with(source: Scripted, watch: bool) -> Small {
    let world = World::new(&[ANNA]).await;
    let fence = world
        .store
        .acquire("test", world.clock.now())
        .await
        .unwrap();
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().watch = watch;
    let handle = |name: &str, capabilities, connection: Arc<dyn Connection>| {
        Arc::new(ConnectionHandle::new(
            name,
            "memory 1",
            capabilities,
            connection,
        ))
    };
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_hours(20);
    let engine = Engine::new(
        Arc::clone(&world.store),
        fence,
        world.clock.clone(),
        [
            handle("exchange", reads, Arc::new(source.clone())),
            handle("planner", sink_capabilities(), Arc::new(world.sink.clone())),
        ],
        vec![config],
    )
    .unwrap();
    Small {
        world,
        source,
        engine,
    }
}

pub async fn small(script: Vec<Vec<Result<ChangeBatch>>>) -> Small {
    let source = Scripted {
        script: Arc::new(Mutex::new(script.into())),
        ..Scripted::default()
    };
    small_with(source, false).await
}

impl Small {
    pub async fn sync(&self) -> calbridge_core::engine::SyncReport {
        self.engine
            .sync_once(
                &self.engine.syncs()[0],
                &SyncOptions::default(),
                &self.world.shutdown,
                &Silent,
            )
            .await
            .unwrap()
    }
}

pub fn window() -> Window {
    Window::new(at("2026-11-23 00:00"), at("2027-02-23 00:00")).unwrap()
}

pub fn batch(changes: Vec<Change>, cursor: Option<&str>) -> Result<ChangeBatch> {
    Ok(ChangeBatch {
        changes,
        checkpoint: cursor.map(|c| Cursor(c.to_owned())),
        folder: None,
    })
}

pub fn snapshot() -> Change {
    Change::Snapshot { covered: window() }
}

pub fn unreadable(uid: Option<&str>) -> Change {
    Change::Unreadable {
        item: None,
        uid: uid.map(ToOwned::to_owned),
        error: Error::new(ErrorKind::Protocol, Scope::Item, "test", "test"),
    }
}

#[tokio::test]
async fn something_nameless_and_unreadable_makes_nothing_gone() {
    let it = small(vec![
        vec![batch(
            vec![Change::Item(event("a", "2026-12-01 10:00")), snapshot()],
            Some("1"),
        )],
        vec![batch(vec![unreadable(None), snapshot()], Some("2"))],
    ])
    .await;
    it.sync().await;
    it.sync().await;
    assert_eq!(it.world.sink.ids(), ["a"]);
}

#[tokio::test]
async fn an_unreadable_uid_is_normalised_like_a_key() {
    let raw = "040000008200e00074c5b7101a82e00807ea0c0e00000000000000000000000000000000abcdef";
    let it = small(vec![
        vec![batch(
            vec![Change::Item(event(raw, "2026-12-01 10:00")), snapshot()],
            Some("1"),
        )],
        vec![batch(vec![unreadable(Some(raw)), snapshot()], Some("2"))],
    ])
    .await;
    it.sync().await;
    assert_eq!(it.world.sink.ids().len(), 1);
    it.sync().await;
    assert_eq!(it.world.sink.ids().len(), 1);
}

#[tokio::test]
async fn a_single_that_became_a_series_leaves_no_double() {
    let single = event("s", "2026-12-01 09:00");
    let members: Vec<Event> = (1..4)
        .map(|d| {
            let day = format!("2026-12-0{d} 09:00");
            occurrence("s", &day, &day)
        })
        .collect();
    // The group's id is the master's item id: "item of s".
    let group = members[0].group.clone().unwrap();
    let it = small(vec![
        vec![batch(
            vec![Change::Item(single.clone()), snapshot()],
            Some("1"),
        )],
        vec![batch(
            vec![Change::Group {
                group,
                members,
                covered: window(),
            }],
            Some("2"),
        )],
        vec![batch(vec![Change::Item(single)], Some("3"))],
    ])
    .await;
    it.sync().await;
    it.sync().await;
    let three = it.world.sink.records();
    it.sync().await;
    let one = it.world.sink.records();
    assert_eq!((three.len(), one.len()), (3, 1), "{three:?} {one:?}");
}

#[tokio::test]
async fn an_item_that_has_another_uid_now_leaves_no_double() {
    let mut renamed = event("b", "2026-12-01 10:00");
    renamed.item = event("a", "2026-12-01 10:00").item;
    let it = small(vec![
        vec![batch(
            vec![Change::Item(event("a", "2026-12-01 10:00")), snapshot()],
            Some("1"),
        )],
        vec![batch(vec![Change::Item(renamed)], Some("2"))],
    ])
    .await;
    it.sync().await;
    it.sync().await;
    assert_eq!(it.world.sink.ids(), ["b"]);
}
