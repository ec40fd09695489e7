//! Least data: what is masked leaves the file.

use calbridge_core::engine::OnSink;
use calbridge_core::engine::project::MASKED_SUBJECT;
use calbridge_core::store::ViewChange;

use crate::files::Place;
use crate::retention::contains;
use crate::rows::{call, content, decision};
use crate::support::{Fixture, event, now};

const CANARY: &str = "canary-9d41";

fn found(place: &Place) -> bool {
    [
        place.path.clone(),
        place.beside("-wal"),
        place.beside("-shm"),
    ]
    .iter()
    .any(|file| contains(&std::fs::read(file).unwrap_or_default(), CANARY))
}

#[tokio::test]
async fn an_event_that_becomes_private_leaves_no_plain_text_behind() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let mut open = event("a", "1");
    open.content.private = Some(false);
    open.content.subject = Some(format!("{CANARY} subject"));
    open.content.location = Some(format!("{CANARY} location"));
    open.content.body = Some(format!("{CANARY} body {}", "long ".repeat(3000)));
    open.content.categories = Some(vec![CANARY.to_owned()]);
    it.round_with(vec![open.clone()]).await;
    let link = it.link_all().await[0];
    let mut row = it.rows().await.rows.remove(0);
    row.sink.state = OnSink::Present;
    row.sink.content = Some(open.content.clone());
    let mut commit = it.commit();
    commit.update = vec![row.clone()];
    commit.calls = vec![call("r", now())];
    commit.decisions = vec![decision(link, now(), open.content.clone())];
    it.commit_rows(commit).await;
    assert!(found(&place), "it is there while it is wanted");

    let mut private = open.clone();
    private.content.private = Some(true);
    for text in [
        &mut private.content.subject,
        &mut private.content.location,
        &mut private.content.body,
    ] {
        *text = None;
    }
    private.content.categories = None;
    let round = it.begin().await;
    it.page(round, vec![ViewChange::Seen(private.clone())])
        .await;
    assert!(found(&place), "the sink still holds it");

    let mut masked = content();
    masked.subject = Some(MASKED_SUBJECT.to_owned());
    masked.body = Some(String::new());
    masked.location = None;
    masked.categories = Some(Vec::new());
    row.sink.content = Some(masked.clone());
    let mut commit = it.commit();
    commit.update = vec![row];
    commit.decisions = vec![decision(link, now(), masked)];
    it.commit_rows(commit).await;
    assert!(!found(&place), "right after the transaction that masked it");
}

#[tokio::test]
async fn a_decision_never_holds_a_text() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    it.round_with(vec![event("a", "1")]).await;
    let link = it.link_all().await[0];
    let mut secret = content();
    secret.subject = Some(CANARY.to_owned());
    secret.body = Some(CANARY.to_owned());
    let mut commit = it.commit();
    commit.decisions = vec![decision(link, now(), secret)];
    it.commit_rows(commit).await;
    assert!(!found(&place));
}

#[tokio::test]
async fn the_store_shows_no_contents_in_debug() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let mut secret = event("a", "1");
    secret.content.subject = Some(CANARY.to_owned());
    it.round_with(vec![secret]).await;
    assert!(!format!("{:?} {:?}", it.store, it.rows().await).contains(CANARY));
}
