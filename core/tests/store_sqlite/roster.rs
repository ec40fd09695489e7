//! The calendars of a sync.

use calbridge_core::model::{Address, CalendarKind, CalendarRef, OwnerId};
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{
    CalendarReport, CalendarState, Fence, Left, Membership, RosterChange, Store, StoreError,
    Trouble,
};

use crate::support::{SYNC, instant, now};

async fn open() -> (SqliteStore, Fence) {
    let store = SqliteStore::open_in_memory().unwrap();
    let fence = store.acquire("test", now()).await.unwrap();
    (store, fence)
}

fn calendar(owner: &str, address: &str) -> CalendarRef {
    CalendarRef {
        owner: OwnerId::new(owner).unwrap(),
        address: Address::new(address).unwrap(),
        calendar: None,
    }
}

fn add(calendar: CalendarRef) -> RosterChange {
    RosterChange::Add {
        calendar,
        kind: CalendarKind::Person,
        left: None,
    }
}

fn set(state: &CalendarState, calendar: CalendarRef) -> RosterChange {
    RosterChange::Set {
        id: state.id,
        calendar,
        kind: state.kind,
        membership: state.membership,
        left: state.left.clone(),
    }
}

async fn commit(store: &SqliteStore, fence: Fence, sync: &str, changes: &[RosterChange]) {
    store
        .commit_roster(fence, sync, changes, now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_calendar_keeps_its_id_when_its_address_changes() {
    let (store, fence) = open().await;
    commit(
        &store,
        fence,
        SYNC,
        &[add(calendar("o1", "Anna@k.example"))],
    )
    .await;
    let before = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!(before.calendar.address.as_str(), "Anna@k.example");
    assert_eq!(before.membership, Membership::Active);
    let renamed = calendar("o1", "anna.ny@k.example");
    commit(&store, fence, SYNC, &[set(&before, renamed.clone())]).await;
    let after = store.calendars(SYNC).await.unwrap();
    assert_eq!(
        after,
        [CalendarState {
            calendar: renamed,
            ..before
        }]
    );
}

#[tokio::test]
async fn another_sync_knows_a_calendar_by_its_address_and_not_by_an_owners_id() {
    let (store, fence) = open().await;
    let room = CalendarRef {
        calendar: Some("room".to_owned()),
        ..calendar("o1", "a@k.example")
    };
    commit(
        &store,
        fence,
        SYNC,
        &[
            add(calendar("o1", "a@k.example")),
            add(calendar("o2", "b@k.example")),
            add(room),
        ],
    )
    .await;
    let first = store.calendars(SYNC).await.unwrap();
    commit(
        &store,
        fence,
        "bnwin",
        &[
            add(calendar("o1", "other@k.example")),
            add(calendar("b@k.example", "B@K.example")),
            add(calendar("o3", "c@k.example")),
        ],
    )
    .await;
    let second = store.calendars("bnwin").await.unwrap();
    let named = |address: &str| {
        let address = Address::new(address).unwrap();
        let found = second
            .iter()
            .find(|state| state.calendar.address == address);
        found.unwrap().id
    };
    assert_eq!(
        named("b@k.example"),
        first[1].id,
        "by address, whatever its case"
    );
    for other in ["other@k.example", "c@k.example"] {
        // Another roster's ids are another system's.
        assert!(
            first.iter().all(|known| known.id != named(other)),
            "{other}"
        );
    }
    // Each sync goes on naming it its own way.
    assert_eq!(store.calendars(SYNC).await.unwrap(), first);
}

#[tokio::test]
async fn an_address_that_passes_to_another_owner_takes_no_calendar_with_it() {
    let (store, fence) = open().await;
    commit(&store, fence, SYNC, &[add(calendar("o1", "a@k.example"))]).await;
    commit(&store, fence, SYNC, &[add(calendar("o2", "a@k.example"))]).await;
    let states = store.calendars(SYNC).await.unwrap();
    assert_eq!(states.len(), 2);
    assert_ne!(states[0].id, states[1].id);
}

#[tokio::test]
async fn adding_a_known_calendar_again_sets_it() {
    let (store, fence) = open().await;
    commit(&store, fence, SYNC, &[add(calendar("o1", "a@k.example"))]).await;
    commit(&store, fence, SYNC, &[add(calendar("o1", "A@k.example"))]).await;
    let states = store.calendars(SYNC).await.unwrap();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].calendar.address.as_str(), "A@k.example");
    // One owner with two addresses has two calendars.
    commit(&store, fence, SYNC, &[add(calendar("o1", "b@k.example"))]).await;
    assert_eq!(store.calendars(SYNC).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_calendar_parks_and_comes_back() {
    let (store, fence) = open().await;
    let left = Left {
        code: "P-NotInPlanner".to_owned(),
        since: instant("2026-02-01T00:00:00Z"),
    };
    let parked = RosterChange::Add {
        calendar: calendar("o1", "a@k.example"),
        kind: CalendarKind::Room,
        left: Some(left.clone()),
    };
    commit(&store, fence, SYNC, &[parked]).await;
    let state = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!(state.membership, Membership::Parked);
    assert_eq!(state.kind, CalendarKind::Room);
    assert_eq!(state.left, Some(left));
    let back = RosterChange::Set {
        id: state.id,
        calendar: state.calendar.clone(),
        kind: CalendarKind::Other,
        membership: Membership::Active,
        left: None,
    };
    commit(&store, fence, SYNC, &[back]).await;
    let state = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!(state.membership, Membership::Active);
    assert_eq!((state.left, state.kind), (None, CalendarKind::Other));
}

#[tokio::test]
async fn an_unknown_calendar_cannot_be_set_and_nothing_else_is() {
    let (store, fence) = open().await;
    commit(&store, fence, SYNC, &[add(calendar("o1", "a@k.example"))]).await;
    let state = store.calendars(SYNC).await.unwrap().remove(0);
    let changes = [
        add(calendar("o2", "b@k.example")),
        set(&state, state.calendar.clone()),
    ];
    let refused = store.commit_roster(fence, "other", &changes, now()).await;
    assert!(matches!(refused, Err(StoreError::NotFound("calendar"))));
    assert!(store.calendars("other").await.unwrap().is_empty());
}

#[tokio::test]
async fn success_ends_trouble() {
    let (store, fence) = open().await;
    commit(&store, fence, SYNC, &[add(calendar("o1", "a@k.example"))]).await;
    let id = store.calendars(SYNC).await.unwrap()[0].id;
    let trouble = Trouble {
        code: "6904".to_owned(),
        message: "no answer".to_owned(),
        since: now(),
        times: 3,
        not_before: Some(instant("2026-03-02T13:00:00Z")),
    };
    let report = |report| store.report_calendar(fence, SYNC, id, report);
    report(CalendarReport {
        inventoried: Some(now()),
        forget_inventory: false,
        succeeded: None,
        trouble: Some(trouble.clone()),
        others: None,
    })
    .await
    .unwrap();
    let state = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!(state.trouble, Some(trouble));
    assert_eq!((state.inventoried, state.succeeded), (Some(now()), None));
    report(CalendarReport {
        succeeded: Some(now()),
        ..CalendarReport::default()
    })
    .await
    .unwrap();
    let state = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!(state.trouble, None);
    assert_eq!(
        (state.inventoried, state.succeeded),
        (Some(now()), Some(now()))
    );
    let nobody = calbridge_core::store::CalendarId(id.0 + 1);
    let refused = store
        .report_calendar(fence, SYNC, nobody, CalendarReport::default())
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound("calendar"))));
}

#[tokio::test]
async fn k112_trouble_of_an_active_calendar_stays_when_the_roster_changes_its_entry() {
    let (store, fence) = open().await;
    commit(
        &store,
        fence,
        SYNC,
        &[add(calendar("o1", "anna@k.example"))],
    )
    .await;
    let id = store.calendars(SYNC).await.unwrap()[0].id;
    let trouble = Trouble {
        code: "ews.ErrorNonExistentMailbox".to_owned(),
        message: "look".to_owned(),
        since: now(),
        times: 3,
        not_before: Some(instant("2026-11-23T09:00:00Z")),
    };
    let report = CalendarReport {
        trouble: Some(trouble.clone()),
        ..CalendarReport::default()
    };
    store
        .report_calendar(fence, SYNC, id, report)
        .await
        .unwrap();
    let before = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!(before.trouble.as_ref(), Some(&trouble));
    let other_id = calendar("o2", "anna@k.example");
    commit(&store, fence, SYNC, &[set(&before, other_id.clone())]).await;
    let after = store.calendars(SYNC).await.unwrap().remove(0);
    assert_eq!((after.calendar, after.trouble), (other_id, Some(trouble)));
}

#[tokio::test]
async fn a_new_address_or_a_return_makes_what_the_sink_held_unknown() {
    let (store, fence) = open().await;
    commit(&store, fence, SYNC, &[add(calendar("o1", "a@k.example"))]).await;
    let id = store.calendars(SYNC).await.unwrap()[0].id;
    let list = async || {
        let listed = CalendarReport {
            inventoried: Some(now()),
            ..CalendarReport::default()
        };
        let report = store.report_calendar(fence, SYNC, id, listed);
        report.await.unwrap();
    };
    let set = async |address: &str, membership, left| {
        let change = RosterChange::Set {
            id,
            calendar: calendar("o1", address),
            kind: CalendarKind::Person,
            membership,
            left,
        };
        commit(&store, fence, SYNC, &[change]).await;
        store.calendars(SYNC).await.unwrap()[0]
            .inventoried
            .is_some()
    };
    let left = || {
        Some(Left {
            code: "P-NotInPlanner".to_owned(),
            since: now(),
        })
    };
    list().await;
    assert!(
        set("A@k.example", Membership::Active, None).await,
        "letter case"
    );
    assert!(
        !set("b@k.example", Membership::Active, None).await,
        "renamed"
    );
    list().await;
    assert!(
        set("b@k.example", Membership::Parked, left()).await,
        "it left"
    );
    assert!(
        !set("b@k.example", Membership::Active, None).await,
        "it is back"
    );
}

#[tokio::test]
async fn calendars_of_a_sync_that_is_not_configured_any_more_are_leavers() {
    let (store, fence) = open().await;
    for sync in [SYNC, "renamed"] {
        commit(&store, fence, sync, &[add(calendar("o1", "a@k.example"))]).await;
    }
    let configured = ["renamed".to_owned()];
    store.retire_syncs(fence, &configured, now()).await.unwrap();
    let of = async |sync: &str| store.calendars(sync).await.unwrap().remove(0);
    assert_eq!(of("renamed").await.membership, Membership::Active);
    let old = of(SYNC).await;
    assert_eq!(old.membership, Membership::Parked);
    assert_eq!(old.left.unwrap().code, "sync-removed");
    // Noticed again later, it left when it was first noticed.
    let later = instant("2026-05-02T12:00:00Z");
    store.retire_syncs(fence, &configured, later).await.unwrap();
    assert_eq!(of(SYNC).await.left.unwrap().since, now());
}
