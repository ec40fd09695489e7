//! Cases of the predecessor's behaviour that show in the whole engine only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::clock::Clock;
use calbridge_core::connector::{Error, ErrorKind, Hint, Outcome, Scope};
use calbridge_core::engine::{OnSink, Silent, SyncOptions};
use calbridge_core::model::CalendarRef;
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{CalendarState, Membership, Retention};
use jiff::SignedDuration;

use crate::systems::*;

const ANNA: &str = "anna@x.dk";
const BO: &str = "bo@x.dk";
const CARL: &str = "carl@x.dk";

async fn calendar(world: &World, address: &str) -> CalendarState {
    let calendars = world.store.calendars("jobcenter").await.unwrap();
    let named = |state: &CalendarState| state.calendar.address.folded() == address;
    calendars.into_iter().find(named).unwrap()
}

fn all() -> SyncOptions {
    SyncOptions {
        full: true,
        reconcile: true,
        ..SyncOptions::default()
    }
}

#[tokio::test]
async fn k115_who_is_listed_more_than_once_takes_no_part_even_if_nobody_else_is_listed() {
    let world = World::new(&[ANNA, BO]).await;
    world.sync_well().await;
    for others in [vec![BO.to_owned()], Vec::new()] {
        {
            let mut sink = world.sink.state.lock().unwrap();
            sink.roster = others.clone();
            sink.doubles = vec![ANNA.to_owned(), "ANNA@X.dk".to_owned()];
        }
        let report = world.sync_well().await;
        assert_eq!(report.skipped.len(), 2);
        assert_eq!(calendar(&world, ANNA).await.membership, Membership::Parked);
        let bo = calendar(&world, BO).await.membership;
        assert_eq!(bo == Membership::Active, !others.is_empty());
        world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned(), BO.to_owned()];
        world.sink.state.lock().unwrap().doubles.clear();
        world.sync_well().await;
        assert_eq!(calendar(&world, ANNA).await.membership, Membership::Active);
    }
}

#[tokio::test]
async fn k111_who_comes_back_begins_without_former_trouble() {
    let world = World::new(&[ANNA, BO]).await;
    let gone = Error::new(ErrorKind::NotFound, Scope::Calendar, "test.gone", "gone");
    world.source.answer(|answers| {
        answers.refuse.insert(ANNA.to_owned(), gone);
    });
    for _ in 0..3 {
        world.sync().await;
        world.forward(1);
    }
    let roster = |addresses: &[&str]| {
        world.sink.state.lock().unwrap().roster =
            addresses.iter().map(|a| (*a).to_owned()).collect();
    };
    roster(&[BO]);
    world.sync().await;
    let parked = calendar(&world, ANNA).await;
    assert_eq!(parked.membership, Membership::Parked);
    assert_eq!(parked.trouble.unwrap().code, "test.gone");
    roster(&[ANNA, BO]);
    let sync = &world.engine.syncs()[0];
    world.engine.refresh_roster(sync).await.unwrap();
    assert_eq!(calendar(&world, ANNA).await.trouble, None);
}

#[tokio::test]
async fn k062_a_change_during_the_first_reading_is_not_lost() {
    let mut config = sync_config();
    config.schedule.interval = SignedDuration::from_hours(20);
    let mut reads = source_capabilities();
    reads.source.as_mut().unwrap().watch = true;
    let world = World::with(&[ANNA], config, reads).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .source
        .answer(|answers| answers.slow = Some(Duration::from_millis(150)));
    let play = async {
        let begun = Instant::now();
        let mut changed = false;
        while world.sink.ids().len() < 2 {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "the change is lost"
            );
            world
                .clock
                .set(world.clock.now() + SignedDuration::from_millis(50));
            if !changed && world.source.requests().len() == 1 {
                changed = true;
                world.source.put(ANNA, event("b", "2026-12-02 10:00"));
                let hint = Hint::Dirty(CalendarRef::primary(ANNA).unwrap());
                world.source.hints.lock().unwrap().push(hint);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.shutdown.cancel();
    };
    let run = world
        .engine
        .run(Retention::default(), &world.shutdown, &Silent);
    let (run, ()) = tokio::join!(run, play);
    run.unwrap();
    assert_eq!(world.sink.ids(), ["a", "b"]);
}

#[tokio::test]
async fn k048_a_series_that_becomes_a_single_keeps_one_record_and_loses_the_others() {
    let world = World::new(&[ANNA]).await;
    for day in ["01", "08", "15"] {
        let start = format!("2026-12-{day} 09:00");
        world.source.put(ANNA, occurrence("s", &start, &start));
    }
    world.source.put(ANNA, event("other", "2026-12-03 10:00"));
    world.sync_well().await;
    world.sink.writes();
    world.source.remove(ANNA, "s");
    world.source.put(ANNA, event("s", "2026-12-01 09:00"));
    world.sync_well().await;
    let first = "anna@x.dk s$20261201-090000 2026-12-01T08:00:00Z";
    assert_eq!(
        world.sink.records(),
        ["anna@x.dk other 2026-12-03T09:00:00Z", first]
    );
    world.sink.writes();
    world.forward(1);
    world.sync_with(all()).await;
    assert!(world.sink.writes().is_empty());
}

#[tokio::test]
async fn k061_a_full_reading_is_noted_with_its_time() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    let read = async || {
        let anna = calendar(&world, ANNA).await;
        let source = world.store.source_state("exchange", anna.id).await.unwrap();
        (source.full, source.finished, anna.succeeded)
    };
    let first = Some(world.clock.now());
    world.sync_well().await;
    assert_eq!(read().await, (first, first, first));
    world.forward(1);
    let second = Some(world.clock.now());
    world.sync_well().await;
    assert_eq!(read().await, (first, second, second));
    world.forward(1);
    let third = Some(world.clock.now());
    world.sync_with(all()).await;
    assert_eq!(read().await, (third, third, third));
}

#[tokio::test]
async fn k128_only_who_takes_part_is_listed() {
    let mut config = sync_config();
    config.roster.deny = vec![calbridge_core::model::Address::new(BO).unwrap()];
    let world = World::with(&[ANNA, BO, CARL], config, source_capabilities()).await;
    world.sync_with(all()).await;
    world.sink.state.lock().unwrap().roster = vec![ANNA.to_owned(), BO.to_owned()];
    world.sink.state.lock().unwrap().listed.clear();
    world.sync_with(all()).await;
    assert_eq!(world.sink.state.lock().unwrap().listed, [ANNA]);
}

#[tokio::test]
async fn k066_k088_a_write_is_kept_with_its_call_and_its_notices() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("a", "2026-12-01 10:00"));
    world
        .sink
        .answer(|answers| answers.notices = vec!["conflict-notice".to_owned()]);
    world.sync_well().await;
    let anna = calendar(&world, ANNA).await;
    let rows = world
        .store
        .rows("jobcenter", "exchange", anna.id)
        .await
        .unwrap()
        .rows;
    let decisions = world.store.decisions(rows[0].link).await.unwrap();
    let sent = decisions.iter().find(|one| one.outcome.is_some()).unwrap();
    assert!(
        sent.outcome.as_ref().unwrap().contains("conflict-notice"),
        "{sent:?}"
    );
    let calls = world.store.calls(10).await.unwrap();
    assert!(sent.call.is_some());
    assert!(
        calls
            .iter()
            .any(|call| call.receipt.reference.as_deref() == Some("b6a7a5a2"))
    );
}

#[tokio::test]
async fn k084_a_write_that_is_never_answered_while_others_are_is_given_up_in_the_end() {
    let world = World::new(&[ANNA]).await;
    world.source.put(ANNA, event("mute", "2027-01-11 10:00"));
    world.source.put(ANNA, event("other", "2027-01-12 10:00"));
    world.sink.answer(|answers| {
        answers.scripted.insert("mute".to_owned(), Outcome::Unknown);
    });
    let mut sent = 0;
    for _ in 0..150 {
        world.sync_well().await;
        sent += world
            .sink
            .writes()
            .iter()
            .filter(|write| write.ends_with(" mute"))
            .count();
        world.forward(1);
    }
    assert_eq!(sent, 12);
    let anna = calendar(&world, ANNA).await;
    let rows = world
        .store
        .rows("jobcenter", "exchange", anna.id)
        .await
        .unwrap()
        .rows;
    let mute = rows.iter().find(|row| row.key.uid() == "mute").unwrap();
    assert_eq!(mute.dead.as_ref().unwrap().code, "unknown");
    assert_eq!(mute.sink.state, OnSink::Unknown);
    // A change opens it again.
    world.sink.answer(|answers| answers.scripted.clear());
    world.source.put(ANNA, event("mute", "2027-01-11 11:00"));
    world.sync_well().await;
    assert_eq!(world.sink.ids(), ["mute", "other"]);
}

#[tokio::test]
async fn k127_a_calendar_that_cannot_be_saved_stops_no_other_calendars_reconciliation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut world = World::new(&[ANNA, BO]).await;
    world.store = Arc::new(SqliteStore::open(&path, world.clock.now()).unwrap());
    world.restart(sync_config()).await;
    for (address, uid) in [(ANNA, "a"), (BO, "b")] {
        world.source.put(address, event(uid, "2026-12-01 10:00"));
    }
    world.sync_well().await;
    let anna = calendar(&world, ANNA).await.id.0;
    // Something of Anna's rows cannot be written.
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(&format!(
            "CREATE TRIGGER spoilt BEFORE UPDATE ON link WHEN NEW.member = (SELECT id FROM member WHERE calendar = {anna})
             BEGIN SELECT RAISE(ABORT, 'spoilt'); END"
        ))
        .unwrap();
    world.sink.state.lock().unwrap().records.clear();
    world.sink.writes();
    world.forward(1);
    let report = world.sync_with(all()).await;
    assert_eq!(
        (report.failures(), world.sink.writes()),
        (1, vec!["create b".to_owned()])
    );
}
