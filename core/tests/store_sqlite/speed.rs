//! How fast the hot path is; prints figures, and fails only if it is hopeless.

use std::time::Instant;

use calbridge_core::engine::OnSink;
use calbridge_core::store::ViewChange;

use crate::files::Place;
use crate::support::{Fixture, event, march};

const EVENTS: usize = 10_240;
const PAGE: usize = 512;

#[tokio::test]
async fn a_calendar_of_ten_thousand_events() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let events: Vec<_> = (0..EVENTS)
        .map(|n| {
            event(
                &format!("040000008200E00074C5B7101A82E0080000000{n:040}"),
                &format!("AAMkAGVmMDEzMTM4LTZmYWUtNDdkNC1hMDZiLTU1OGY5OTZhYmY4OABGAAAAAAD{n:060}"),
            )
        })
        .collect();
    let report = |what: &str, began: Instant| {
        let rate = EVENTS as f64 / began.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} events/s");
        assert!(rate > 300.0, "{what}: {rate:.0} events/s");
    };
    for what in ["first round", "second round, all known"] {
        let round = it.begin().await;
        let began = Instant::now();
        for page in events.chunks(PAGE) {
            let page = page.iter().cloned().map(ViewChange::Seen).collect();
            it.page(round, page).await;
        }
        report(what, began);
        let began = Instant::now();
        let changes = it.changes(round, &[march()]).await;
        assert!(changes.vanished.is_empty());
        report("round_changes", began);
        it.finish(it.end_of(round)).await;
        if what == "first round" {
            let began = Instant::now();
            it.link_all().await;
            report("rows made", began);
        }
    }
    let began = Instant::now();
    let mut rows = it.rows().await.rows;
    report("rows read", began);
    assert_eq!(rows.len(), EVENTS);
    for row in &mut rows {
        row.sink.state = OnSink::Present;
        row.sink.content = row.source.as_ref().map(|view| view.event.content.clone());
    }
    let began = Instant::now();
    for rows in rows.chunks(PAGE) {
        let mut commit = it.commit();
        commit.update = rows.to_vec();
        it.commit_rows(commit).await;
    }
    report("rows updated", began);
}
