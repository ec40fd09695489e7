//! First contact, reconciliation, rosters, configuration.

use std::sync::Arc;

use calbridge_core::clock::Clock;
use calbridge_core::connector::{Connection, Sharing};
use calbridge_core::engine::{
    ConnectionHandle, Engine, EngineError, OnLeave, RosterFrom, Silent, SyncOptions,
};
use calbridge_core::model::{Address, Origin};

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
async fn what_is_there_already_is_adopted_corrected_or_removed() {
    let world = World::new(&[ANNA]).await;
    for n in 1..9 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sink.put(ANNA, "E1", &event("e1", "2026-12-01 10:00"));
    world.sink.put(ANNA, "e2", &event("e2", "2026-12-02 15:00"));
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    let report = world.sync_well().await;
    assert_eq!(report.total.adopted, 1);
    assert_eq!(
        (
            report.total.updated,
            report.total.created,
            report.total.deleted
        ),
        (1, 6, 0)
    );
    // What nobody stands for waits for one approval, few as it is, and is named once.
    assert_eq!(report.total.held, 1);
    let sync = &world.engine.syncs()[0];
    assert_eq!(
        world
            .engine
            .approve(sync, &[], world.clock.now())
            .await
            .unwrap(),
        1
    );
    assert_eq!(world.sync_well().await.total.deleted, 1);
    assert_eq!(
        world.sink.ids(),
        ["E1", "e2", "e3", "e4", "e5", "e6", "e7", "e8"]
    );
    world.sink.writes();
    world.sync_with(reconcile()).await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn after_a_lost_memory_a_shifted_series_keeps_its_records() {
    let world = World::new(&[ANNA]).await;
    for day in ["2026-12-01", "2026-12-02"] {
        let start = format!("{day} 10:00");
        world.source.put(ANNA, occurrence("series", &start, &start));
        // Made when the series began at nine, and moved with it.
        let id = format!("series${}-090000", day.replace('-', ""));
        world.sink.put(ANNA, &id, &event("series", &start));
    }
    let report = world.sync_well().await;
    assert_eq!((report.total.adopted, report.total.held), (2, 0));
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn what_a_plan_shows_can_be_approved_before_anything_is_written() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    let sync = &world.engine.syncs()[0];
    for _ in 0..2 {
        let plans = world
            .engine
            .plan(sync, &SyncOptions::default(), &world.shutdown)
            .await
            .unwrap();
        let held = plans[0].writes.iter().filter(|write| write.held).count();
        assert_eq!(held, 1);
    }
    assert!(world.sink.writes().is_empty());
    assert_eq!(
        world
            .engine
            .approve(sync, &[], world.clock.now())
            .await
            .unwrap(),
        1
    );
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create a", "delete ghost"]);
}

#[tokio::test]
async fn k118_k119_k124_reconciliation_puts_right_what_the_sink_lost_changed_or_made_up() {
    let world = World::new(&[ANNA]).await;
    for n in 1..9 {
        world.source.put(
            ANNA,
            event(&format!("e{n}"), &format!("2026-12-0{n} 10:00")),
        );
    }
    world.sync_well().await;
    world.sink.writes();
    world.forward(1);
    world
        .sink
        .state
        .lock()
        .unwrap()
        .records
        .remove(&(ANNA.to_owned(), "e1".to_owned()));
    world.sink.put(ANNA, "e2", &event("e2", "2026-12-02 15:00"));
    world
        .sink
        .put(ANNA, "ghost", &event("ghost", "2026-12-03 15:00"));
    world.sync_well().await;
    assert!(world.sink.writes().is_empty(), "not looked at yet");
    world.sync_with(reconcile()).await;
    assert_eq!(
        world.sink.writes(),
        ["create e1", "update e2", "delete ghost"]
    );
}

#[tokio::test]
async fn k126_a_calendar_that_cannot_be_listed_is_not_judged_and_others_are() {
    let world = World::new(&[ANNA, BO]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.source.put(BO, event("b", "2026-12-01 10:00"));
    world.sync_well().await;
    world.forward(1);
    world.sink.state.lock().unwrap().records.clear();
    world.sink.writes();
    world
        .sink
        .answer(|answers| answers.unlisted = vec![ANNA.to_owned()]);
    world.sync_with(reconcile()).await;
    assert_eq!(world.sink.writes(), ["create b"]);
}

#[tokio::test]
async fn nothing_is_written_for_the_first_time_before_the_sink_was_listed() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .sink
        .answer(|answers| answers.unlisted = vec![ANNA.to_owned()]);
    assert_eq!(world.sync().await.failures(), 1);
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn k060_k128_who_takes_no_part_is_neither_read_nor_listed() {
    let mut config = sync_config();
    config.roster.deny = vec![Address::new(BO).unwrap()];
    let world = World::with(&[ANNA, BO, "carl@x.dk"], config, source_capabilities()).await;
    world.source.put(BO, event("b", "2026-12-01 10:00"));
    world.sync_well().await;
    let read: Vec<_> = world
        .source
        .requests()
        .iter()
        .map(|request| request.calendar.address.folded())
        .collect();
    assert_eq!(read.len(), 2);
    assert!(!read.contains(&BO.to_owned()));
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn k117_a_leaver_is_parked_and_kept_by_default_and_withdrawn_on_request() {
    let mut world = World::new(&[ANNA, BO]).await;
    world.source.put(BO, event("b1", "2026-12-01 10:00"));
    world.source.put(BO, event("b2", "2026-12-02 10:00"));
    world.sync_well().await;
    world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned()];
    world.source.remove(BO, "b1");
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["b1", "b2"]);
    let mut config = sync_config();
    config.roster.on_leave = OnLeave::Withdraw;
    world.restart(config).await;
    world.sync_well().await;
    assert!(world.sink.ids().is_empty());
    // Back in the roster, what is ahead is there again.
    world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned(), BO.to_owned()];
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["b2"]);
}

#[tokio::test]
async fn k101_k116_an_empty_or_failing_roster_changes_nothing() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    world.sink.state.lock().unwrap().roster.clear();
    world.source.put(ANNA, event("a2", "2026-12-02 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a", "a2"]);
    world.sink.answer(|answers| answers.outage = Some(outage()));
    let sync = &world.engine.syncs()[0];
    assert!(world.engine.refresh_roster(sync).await.is_err());
    assert_eq!(world.store.calendars("jobcenter").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_plan_writes_nothing_and_tells_what_a_sync_would() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let sync = &world.engine.syncs()[0];
    let plans = world
        .engine
        .plan(sync, &SyncOptions::default(), &world.shutdown)
        .await
        .unwrap();
    assert!(world.sink.writes().is_empty());
    assert_eq!(plans[0].writes.len(), 1);
    assert_eq!(plans[0].writes[0].external_id.as_deref(), Some("a"));
    world.sync_well().await;
    assert_eq!(world.sink.writes(), ["create a"]);
}

async fn refused(
    change: impl FnOnce(
        &mut calbridge_core::engine::SyncConfig,
        &mut calbridge_core::connector::Capabilities,
        &mut calbridge_core::connector::Capabilities,
    ),
) -> EngineError {
    let world = World::new(&[]).await;
    let mut config = sync_config();
    let (mut reads, mut writes) = (source_capabilities(), sink_capabilities());
    change(&mut config, &mut reads, &mut writes);
    let clock: Arc<dyn Clock> = world.clock.clone();
    let fence = world.store.acquire("test", clock.now()).await.unwrap();
    Engine::new(
        Arc::clone(&world.store),
        fence,
        clock,
        [
            Arc::new(ConnectionHandle::new(
                "exchange",
                "1",
                reads,
                Arc::new(world.source.clone()),
            )),
            Arc::new(ConnectionHandle::new(
                "planner",
                "1",
                writes,
                Arc::new(world.sink.clone()),
            )),
        ],
        vec![config],
    )
    .unwrap_err()
}

#[tokio::test]
async fn what_connections_cannot_do_is_told_before_a_run() {
    let error = refused(|config, _, _| config.source = "exchagne".to_owned()).await;
    assert!(error.to_string().contains("exchagne"), "{error}");
    let error = refused(|_, reads, _| reads.source = None).await;
    assert!(error.to_string().contains("reading"), "{error}");
    let error = refused(|_, _, writes| writes.sink = None).await;
    assert!(error.to_string().contains("writing"), "{error}");
    let error = refused(|_, _, writes| writes.roster = false).await;
    assert!(error.to_string().contains("allow = ["), "{error}");
    let error = refused(|config, _, _| config.roster.from = RosterFrom::Source).await;
    assert!(error.to_string().contains("a roster"), "{error}");
    let error =
        refused(|_, _, writes| writes.sink.as_mut().unwrap().idempotent_upsert = false).await;
    assert!(error.to_string().contains("safe creates"), "{error}");
    let error = refused(|config, _, _| config.zone = Some("Danish time".to_owned())).await;
    assert!(error.to_string().contains("Danish time"), "{error}");
    let error =
        refused(|config, _, _| config.direction = calbridge_core::engine::Direction::TwoWay).await;
    assert!(error.to_string().contains("two-way"), "{error}");
}

#[tokio::test]
async fn an_allow_list_is_roster_enough() {
    let mut config = sync_config();
    config.roster.from = RosterFrom::Allow;
    config.roster.allow = vec![Address::new(ANNA).unwrap()];
    // The sink's own roster is not asked.
    let world = World::with(&[BO], config, source_capabilities()).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["a"]);
    assert_eq!(world.sink.state.lock().unwrap().rosters, 0);
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
async fn what_another_sync_left_in_a_shared_sink_is_left_alone() {
    let world = World::new(&[ANNA]).await;
    let world = world.sink_that(|sink| sink.sharing = Sharing::Shared).await;
    let mark = |sync: &str| Origin {
        sync: sync.to_owned(),
        from: "elsewhere".to_owned(),
        link: 1,
    };
    world
        .sink
        .put(ANNA, "theirs", &event("theirs", "2026-12-01 10:00"));
    world.sink.answer(|a| a.origin = Some(mark("another")));
    world.sync_with(reconcile()).await;
    assert_eq!(world.sink.ids(), ["theirs"]);
    assert!(world.rows(ANNA).await.is_empty());
    // What we left there ourselves and nobody stands for goes.
    world.sink.answer(|a| a.origin = Some(mark("jobcenter")));
    world.sync_with(reconcile()).await;
    assert!(world.sink.ids().is_empty());
}
