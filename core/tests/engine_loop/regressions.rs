//! What a review of the engine found to go wrong, once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use calbridge_core::clock::Clock;
use calbridge_core::connector::*;
use calbridge_core::engine::{ConnectionHandle, Engine, Silent, SyncOptions};
use calbridge_core::model::*;
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{Retention, RosterChange, Store};
use jiff::SignedDuration;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";

fn reconcile() -> SyncOptions {
    SyncOptions {
        reconcile: true,
        ..SyncOptions::default()
    }
}

#[tokio::test]
async fn unanswered_create_then_removed_leaves_no_ghost() {
    let world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.wants_base = true);
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| a.silent = true);
    world.sync().await;
    assert_eq!(world.sink.ids(), ["a"]);
    world.sink.answer(|a| a.silent = false);
    world.source.remove(ANNA, "a");
    world.forward(1);
    world.sync().await;
    for _ in 0..3 {
        world.forward(24);
        world.sync_with(reconcile()).await;
    }
    assert!(
        world.sink.ids().is_empty(),
        "{:?} {:?}",
        world.sink.ids(),
        world.sink.writes()
    );
}

#[tokio::test]
async fn unreadable_at_first_contact_is_not_deleted() {
    let world = World::new(&[ANNA]).await;
    world
        .sink
        .put(ANNA, "odd", &event("odd", "2026-12-01 10:00"));
    world.source.put(ANNA, event("odd", "2026-12-01 10:00"));
    world
        .source
        .answer(|a| a.unreadable = vec!["odd".to_owned()]);
    world.sync().await;
    assert_eq!(world.sink.ids(), ["odd"], "{:?}", world.sink.writes());
}

type Script = VecDeque<Vec<Result<ChangeBatch>>>;

#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    requests: Arc<Mutex<Vec<ChangesRequest>>>,
    watch_takes: Duration,
    hint_takes: Duration,
    hints: Arc<Mutex<usize>>,
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
        Ok(Box::new(SlowHints(
            self.hint_takes,
            Arc::clone(&self.hints),
        )))
    }
}

struct SlowHints(Duration, Arc<Mutex<usize>>);

#[async_trait]
impl HintFeed for SlowHints {
    async fn next(&mut self) -> Result<Vec<Hint>> {
        tokio::time::sleep(self.0).await;
        *self.1.lock().unwrap() += 1;
        Ok(vec![Hint::Dirty(CalendarRef::primary(ANNA).unwrap())])
    }
    async fn set(&mut self, _: &[CalendarRef]) -> Result<()> {
        Ok(())
    }
}

struct Small {
    world: World,
    source: Scripted,
    engine: Engine,
}

async fn small_with(source: Scripted, watch: bool) -> Small {
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

async fn small(script: Vec<Vec<Result<ChangeBatch>>>) -> Small {
    let source = Scripted {
        script: Arc::new(Mutex::new(script.into())),
        ..Scripted::default()
    };
    small_with(source, false).await
}

impl Small {
    async fn sync(&self) -> calbridge_core::engine::SyncReport {
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

fn window() -> Window {
    Window::new(at("2026-11-23 00:00"), at("2027-02-23 00:00")).unwrap()
}

fn batch(changes: Vec<Change>, cursor: Option<&str>) -> Result<ChangeBatch> {
    Ok(ChangeBatch {
        changes,
        checkpoint: cursor.map(|c| Cursor(c.to_owned())),
    })
}

fn snapshot() -> Change {
    Change::Snapshot { covered: window() }
}

fn unreadable(uid: Option<&str>) -> Change {
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
async fn a_hostile_uid_stops_no_calendar() {
    let world = World::new(&[ANNA]).await;
    // In an invitation through Exchange: the wrapped foreign UID is 01 20 02.
    let hostile = format!(
        "040000008200E00074C5B7101A82E008{}0F0000007643616C2D5569640100000001200200",
        "00".repeat(20)
    );
    let mut odd = event("x", "2026-12-01 10:00");
    let Ok(key) = EventKey::new(&hostile, None) else {
        return;
    };
    odd.key = key;
    world.source.put(ANNA, odd);
    world.source.put(ANNA, event("a", "2026-12-02 10:00"));
    let report = world.sync().await;
    assert_eq!(report.calendars[0].failed, None);
    assert!(world.sink.ids().contains(&"a".to_owned()));
}

#[tokio::test]
async fn a_panicking_connector_stops_no_other_calendar() {
    let world = World::new(&[ANNA, BO]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(BO, event("b", "2026-12-01 10:00"));
    world.sink.answer(|a| a.panic_for = Some(ANNA.to_owned()));
    let report = world.sync().await;
    assert_eq!(report.failures(), 1);
    assert_eq!(world.sink.ids(), ["b"]);
}

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
async fn two_syncs_into_one_exclusive_sink_are_refused() {
    let world = World::new(&[ANNA]).await;
    let fence = world.store.acquire("t", world.clock.now()).await.unwrap();
    let other = MemorySource::default();
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    other.put(ANNA, event("o", "2026-12-02 10:00"));
    let handle = |name: &str, capabilities, connection: Arc<dyn Connection>| {
        Arc::new(ConnectionHandle::new(
            name,
            "memory 1",
            capabilities,
            connection,
        ))
    };
    let mut second = sync_config();
    second.name = "second".to_owned();
    second.source = "office".to_owned();
    let engine = Engine::new(
        Arc::clone(&world.store),
        fence,
        world.clock.clone(),
        [
            handle(
                "exchange",
                source_capabilities(),
                Arc::new(world.source.clone()),
            ),
            handle("office", source_capabilities(), Arc::new(other.clone())),
            handle("planner", sink_capabilities(), Arc::new(world.sink.clone())),
        ],
        vec![sync_config(), second],
    );
    let Ok(engine) = engine else { return };
    for _ in 0..3 {
        for sync in engine.syncs() {
            engine
                .sync_once(sync, &reconcile(), &world.shutdown, &Silent)
                .await
                .unwrap();
            world.forward(1);
        }
    }
    panic!(
        "accepted; {:?} after {:?}",
        world.sink.ids(),
        world.sink.writes()
    );
}

#[tokio::test]
async fn a_dead_letter_is_closed_when_its_event_vanishes() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sink.answer(|a| {
        a.scripted.insert(
            "a".to_owned(),
            Outcome::Rejected {
                code: "6203".to_owned(),
                message: String::new(),
            },
        );
    });
    world.sync_well().await;
    world.source.remove(ANNA, "a");
    world.sync_well().await;
    let calendar = world.store.calendars("jobcenter").await.unwrap()[0].id;
    let counts = world
        .store
        .counts("jobcenter", "exchange", calendar)
        .await
        .unwrap();
    assert_eq!(counts.dead, 0);
}

#[tokio::test]
async fn owner_ids_of_two_rosters_do_not_mix_two_mailboxes() {
    let store = SqliteStore::open_in_memory().unwrap();
    let now = at("2026-11-23 08:00");
    let fence = store.acquire("t", now).await.unwrap();
    let add = |address: &str| {
        let mut calendar = CalendarRef::primary(address).unwrap();
        calendar.owner = OwnerId::new("7").unwrap();
        RosterChange::Add {
            calendar,
            kind: CalendarKind::Person,
            left: None,
        }
    };
    store
        .commit_roster(fence, "one", &[add(ANNA)], now)
        .await
        .unwrap();
    store
        .commit_roster(fence, "two", &[add(BO)], now)
        .await
        .unwrap();
    let one = store.calendars("one").await.unwrap()[0].id;
    let two = store.calendars("two").await.unwrap()[0].id;
    assert_ne!(one, two);
}

#[tokio::test]
async fn two_addresses_of_one_owner_do_not_take_turns() {
    use calbridge_core::engine::{RosterConfig, roster};
    let store = SqliteStore::open_in_memory().unwrap();
    let now = at("2026-11-23 08:00");
    let fence = store.acquire("t", now).await.unwrap();
    let entry = |address: &str| {
        let mut calendar = CalendarRef::primary(address).unwrap();
        calendar.owner = OwnerId::new("7").unwrap();
        CalendarEntry {
            calendar,
            kind: CalendarKind::Person,
        }
    };
    let listed = Roster {
        entries: vec![entry(ANNA), entry(BO)],
        skipped: Vec::new(),
    };
    let mut seen = Vec::new();
    for _ in 0..4 {
        let known = store.calendars("s").await.unwrap();
        let changes = roster::update(&known, &listed, &RosterConfig::default(), now);
        store
            .commit_roster(fence, "s", &changes, now)
            .await
            .unwrap();
        let after = store.calendars("s").await.unwrap();
        seen.push(
            after
                .iter()
                .map(|s| (s.id.0, s.calendar.address.folded()))
                .collect::<Vec<_>>(),
        );
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[tokio::test]
async fn a_private_events_texts_are_not_kept() {
    let world = World::new(&[ANNA]).await;
    let mut config = sync_config();
    config.name = "archive".to_owned();
    config.sink = "archive".to_owned();
    let second = MemorySink::default();
    second.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    let mut writes = sink_capabilities();
    writes.sink.as_mut().unwrap().fields = [Field::Time, Field::Subject].into_iter().collect();
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().fields =
        [Field::Time, Field::ShowAs, Field::Subject, Field::Private]
            .into_iter()
            .collect();
    let fence = world.store.acquire("t", world.clock.now()).await.unwrap();
    let engine = Engine::new(
        Arc::clone(&world.store),
        fence,
        world.clock.clone(),
        [
            Arc::new(ConnectionHandle::new(
                "exchange",
                "1",
                reads,
                Arc::new(world.source.clone()),
            )),
            Arc::new(ConnectionHandle::new(
                "archive",
                "1",
                writes,
                Arc::new(second.clone()),
            )),
        ],
        vec![config],
    )
    .unwrap();
    let mut secret = event("a", "2026-12-01 10:00");
    secret.content.subject = Some("Canary".to_owned());
    secret.content.private = Some(true);
    world.source.put(ANNA, secret);
    engine
        .sync_once(
            &engine.syncs()[0],
            &SyncOptions::default(),
            &world.shutdown,
            &Silent,
        )
        .await
        .unwrap();
    assert_eq!(second.ids(), ["a"]);
    let calendar = world.store.calendars("archive").await.unwrap()[0].id;
    let rows = world
        .store
        .rows("archive", "exchange", calendar)
        .await
        .unwrap();
    let kept = &rows.rows[0].source.as_ref().unwrap().event.content;
    assert_ne!(kept.subject.as_deref(), Some("Canary"));
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
async fn one_write_that_makes_the_batch_refused_stops_no_other() {
    let world = World::new(&[ANNA]).await;
    for n in 1..8 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world
        .sink
        .answer(|a| a.refuse_batch_with = Some("e3".to_owned()));
    for _ in 0..5 {
        world.sync().await;
        world.forward(2);
    }
    assert_eq!(world.sink.ids(), ["e1", "e2", "e4", "e5", "e6", "e7"]);
}

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
async fn writes_within_a_series_go_one_by_one_where_versions_count() {
    let world = World::new(&[ANNA]).await;
    let versioned = MemorySink::default();
    versioned.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    let mut config = sync_config();
    config.name = "versioned".to_owned();
    config.sink = "versioned".to_owned();
    let mut writes = sink_capabilities();
    writes.sink.as_mut().unwrap().conditional_write = true;
    let engine = world
        .with_sink("versioned", &versioned, writes, config)
        .await;
    for day in 1..5 {
        let at = format!("2026-12-0{day} 09:00");
        world.source.put(ANNA, occurrence("series", &at, &at));
    }
    engine
        .sync_once(
            &engine.syncs()[1],
            &SyncOptions::default(),
            &world.shutdown,
            &Silent,
        )
        .await
        .unwrap();
    let batches = versioned.state.lock().unwrap().batches.clone();
    assert_eq!(batches.len(), 4);
    assert!(batches.iter().all(|batch| batch.len() == 1), "{batches:?}");
}

#[tokio::test]
async fn stopped_between_a_delete_and_its_record_then_the_event_is_back() {
    let mut world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.source.remove(ANNA, "a");
    world
        .sink
        .answer(|a| a.slow = Some(Duration::from_millis(400)));
    // Another run takes the store over while the call is under way: what it answers is never stored.
    let (report, _) = tokio::join!(world.sync(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world
            .store
            .acquire("next run", world.clock.now())
            .await
            .unwrap();
    });
    assert_eq!(report.failures(), 1);
    assert!(world.sink.ids().is_empty());
    world.sink.answer(|a| a.slow = None);
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.restart(sync_config()).await;
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a"]);
}

#[tokio::test]
async fn rows_inside_the_window_are_not_pruned_and_written_again() {
    let mut config = sync_config();
    config.window = serde_json::from_str(r#"{"past":"3 months","future":"3 months"}"#).unwrap();
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("old", "2026-10-01 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create old"]);
    for _ in 0..3 {
        world.engine.prune(Retention::default()).await.unwrap();
        world
            .sync_with(SyncOptions {
                full: true,
                ..SyncOptions::default()
            })
            .await;
    }
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn what_went_from_inside_the_window_after_pruning_is_deleted() {
    let mut config = sync_config();
    config.window = serde_json::from_str(r#"{"past":"3 months","future":"3 months"}"#).unwrap();
    let world = World::with(&[ANNA], config, source_capabilities()).await;
    world.source.put(ANNA, event("old", "2026-10-01 10:00"));
    world.source.put(ANNA, event("new", "2026-12-01 10:00"));
    world.sync_well().await;
    world.engine.prune(Retention::default()).await.unwrap();
    world.source.remove(ANNA, "old");
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["new"]);
}

#[tokio::test]
async fn a_calendar_whose_inventory_breaks_the_listing_stops_no_other() {
    let world = World::new(&[ANNA, BO]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(BO, event("b", "2026-12-01 10:00"));
    world
        .sink
        .answer(|a| a.inventory_breaks_with = Some(ANNA.to_owned()));
    for _ in 0..5 {
        world.sync().await;
        world.forward(2);
    }
    assert_eq!(world.sink.ids(), ["b"]);
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
async fn what_was_read_is_delivered_while_the_source_is_down() {
    let world = World::new(&[ANNA]).await;
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
    world.sync().await;
    world.sink.answer(|a| a.scripted.clear());
    let mut down = outage();
    down.scope = Scope::Calendar;
    world.source.answer(|a| {
        a.refuse.insert(ANNA.to_owned(), down);
    });
    for _ in 0..5 {
        world.forward(2);
        world.sync().await;
    }
    assert_eq!(world.sink.ids(), ["a"]);
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
async fn an_apply_that_fails_as_a_whole_loses_nothing() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .sink
        .answer(|a| a.refuse_batch_with = Some("a".to_owned()));
    assert_eq!(world.sync().await.total.rejected, 1);
    world.source.put(ANNA, event("a", "2026-12-01 12:00"));
    world.sink.answer(|a| a.refuse_batch_with = None);
    world.forward(1);
    world.sync_well().await;
    assert_eq!(world.sink.records(), ["anna@x.dk a 2026-12-01T11:00:00Z"]);
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

#[tokio::test]
async fn a_sink_that_cuts_seconds_is_not_written_for_ever() {
    let world = World::new(&[ANNA]).await;
    world.sink.answer(|a| a.whole_minutes = true);
    world.source.put(ANNA, event("a", "2026-12-01 10:00:30"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create a"]);
    for _ in 0..6 {
        world.forward(4);
        world.sync_with(reconcile()).await;
    }
    assert!(world.sink.writes().is_empty());
    // A second's change on the source is sent all the same.
    world.source.put(ANNA, event("a", "2026-12-01 10:00:31"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["update a"]);
}
