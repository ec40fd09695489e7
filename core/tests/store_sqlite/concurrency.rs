//! Many calendars at once: nobody is refused, and nothing mixes.

use calbridge_core::store::{SourcePage, Store, ViewChange};

use crate::files::Place;
use crate::support::{CONNECTION, Fixture, SYNC, add, event, now, row_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calendars_work_side_by_side() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    for n in 1..8 {
        add(&it.store, it.fence, SYNC, &format!("person{n}@k.example")).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for state in it.store.calendars(SYNC).await.unwrap() {
        let (store, fence) = (it.store.clone(), it.fence);
        tasks.spawn(async move {
            let calendar = state.id;
            for count in 1..=10_usize {
                let round = store
                    .begin_round(fence, CONNECTION, calendar)
                    .await
                    .unwrap();
                let id = format!("{}-{count}", calendar.0);
                let page = SourcePage {
                    connection: CONNECTION.to_owned(),
                    calendar,
                    round,
                    changes: vec![ViewChange::Seen(event(&id, &id))],
                    checkpoint: None,
                };
                store.commit_page(fence, page).await.unwrap();
                let rows = store.rows(SYNC, CONNECTION, calendar).await.unwrap();
                assert_eq!((rows.rows.len(), rows.unlinked.len()), (count - 1, 1));
                let commit = calbridge_core::store::RowCommit {
                    sync: SYNC.to_owned(),
                    calendar: Some(calendar),
                    insert: rows.unlinked.iter().map(row_for).collect(),
                    ..Default::default()
                };
                store.commit_rows(fence, commit).await.unwrap();
                let counts = store.counts(SYNC, CONNECTION, calendar).await.unwrap();
                assert_eq!(counts.source, count as u64);
            }
        });
    }
    let reader = calbridge_core::store::sqlite::SqliteStore::open_read_only(&place.path).unwrap();
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
        reader.held_calendars(SYNC).await.unwrap();
        it.store
            .prune(it.fence, calbridge_core::store::Retention::default(), now())
            .await
            .unwrap();
    }
}
