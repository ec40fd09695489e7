//! A calendar that a plan found nothing to do for: what ends that.

use calbridge_core::engine::OnSink;
use calbridge_core::store::{Store, ViewChange};

use crate::support::{CONNECTION, Fixture, SYNC, add, event, item, row_for};

const BASIS: &str = "day 1";

impl Fixture {
    async fn settle(&self) {
        let state = self
            .store
            .source_state(CONNECTION, self.calendar)
            .await
            .unwrap();
        self.store
            .settle(
                self.fence,
                SYNC,
                CONNECTION,
                self.calendar,
                state.round,
                BASIS,
            )
            .await
            .unwrap();
    }

    async fn is_settled(&self) -> bool {
        self.store
            .is_settled(SYNC, self.calendar, BASIS)
            .await
            .unwrap()
    }

    /// Settles it, and expects that what is done then ends that.
    async fn is_ended_by(&self, what: &str, done: impl AsyncFnOnce(&Self)) {
        self.settle().await;
        assert!(self.is_settled().await, "before: {what}");
        done(self).await;
        assert!(!self.is_settled().await, "{what}");
    }
}

async fn with_a_row() -> Fixture {
    let it = Fixture::in_memory().await;
    it.round_with(vec![event("a", "1")]).await;
    let view = it.views().await[0].clone();
    let mut commit = it.commit();
    commit.insert.push(row_for(&view));
    it.store.commit_rows(it.fence, commit).await.unwrap();
    it
}

#[tokio::test]
async fn a_calendar_is_settled_on_one_basis_until_something_of_it_is_written() {
    let it = with_a_row().await;
    assert!(!it.is_settled().await, "never said");
    it.is_ended_by("a changed row", async |it: &Fixture| {
        let mut row = it.rows().await.rows[0].clone();
        row.sink.state = OnSink::Present;
        let mut commit = it.commit();
        commit.update.push(row);
        it.store.commit_rows(it.fence, commit).await.unwrap();
    })
    .await;
    it.is_ended_by("a new event", async |it: &Fixture| {
        let round = it.begin().await;
        it.page(round, vec![ViewChange::Seen(event("b", "2"))])
            .await;
    })
    .await;
    it.is_ended_by("an event that was told again", async |it: &Fixture| {
        let round = it.begin().await;
        it.page(round, vec![ViewChange::Seen(event("a", "1"))])
            .await;
    })
    .await;
    it.is_ended_by("an event that is gone", async |it: &Fixture| {
        let round = it.begin().await;
        it.page(round, vec![ViewChange::Gone(item("2"))]).await;
    })
    .await;
    it.is_ended_by("the end of a view", async |it: &Fixture| {
        let round = it.begin().await;
        let mut end = it.end_of(round);
        end.gone = it.views().await.iter().map(|view| view.id).collect();
        it.finish(end).await;
    })
    .await;
    it.is_ended_by("something that could not be read", async |it: &Fixture| {
        let round = it.begin().await;
        let mut end = it.end_of(round);
        end.unreadable = true;
        it.finish(end).await;
    })
    .await;

    it.settle().await;
    let other = it
        .store
        .is_settled(SYNC, it.calendar, "day 2")
        .await
        .unwrap();
    assert!(!other, "on another basis it is not");
}

#[tokio::test]
async fn what_says_nothing_new_leaves_it_settled() {
    let it = with_a_row().await;
    add(&it.store, it.fence, SYNC, "bo@kommune.example").await;
    let other = it.store.calendars(SYNC).await.unwrap()[1].id;
    it.settle().await;
    let round = it.begin().await;
    it.checkpoint(round, Vec::new(), "c2").await;
    it.finish(it.end_of(round)).await;
    let round = it
        .store
        .begin_round(it.fence, CONNECTION, other)
        .await
        .unwrap();
    let mut page = it.page_of(round, vec![ViewChange::Seen(event("x", "9"))]);
    page.calendar = other;
    it.store.commit_page(it.fence, page).await.unwrap();
    assert!(it.is_settled().await);
}

#[tokio::test]
async fn a_plan_made_before_another_reading_settles_nothing() {
    let it = with_a_row().await;
    let before = it
        .store
        .source_state(CONNECTION, it.calendar)
        .await
        .unwrap()
        .round;
    it.begin().await;
    it.store
        .settle(it.fence, SYNC, CONNECTION, it.calendar, before, BASIS)
        .await
        .unwrap();
    assert!(!it.is_settled().await);
}
