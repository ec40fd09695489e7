//! A store with a calendar, and events in few words.

use calbridge_core::connector::Cursor;
use calbridge_core::engine::{LinkId, SinkView, SourceView, ViewId};
use calbridge_core::model::{
    CalendarKind, CalendarRef, Content, Coverage, Event, EventKey, EventTime, GroupRef, ItemRef,
    OriginalStart, ShowAs, Window,
};
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{
    CalendarId, Fence, NewRow, RosterChange, Round, RoundChanges, RoundEnd, RowCommit, SourcePage,
    Store, StoreResult, ViewChange,
};
use jiff::Timestamp;

pub(crate) const SYNC: &str = "jobcenter";
pub(crate) const CONNECTION: &str = "exchange";

pub(crate) fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    instant("2026-03-02T12:00:00Z")
}

/// A store with one calendar, under a lease.
pub(crate) struct Fixture {
    pub(crate) store: SqliteStore,
    pub(crate) fence: Fence,
    pub(crate) calendar: CalendarId,
}

impl Fixture {
    pub(crate) async fn in_memory() -> Self {
        Self::over(SqliteStore::open_in_memory().unwrap()).await
    }

    pub(crate) async fn over(store: SqliteStore) -> Self {
        let fence = store.acquire("test", now()).await.unwrap();
        add(&store, fence, SYNC, "anna@kommune.example").await;
        let calendar = store.calendars(SYNC).await.unwrap()[0].id;
        Self {
            store,
            fence,
            calendar,
        }
    }

    pub(crate) async fn begin(&self) -> Round {
        self.store
            .begin_round(self.fence, CONNECTION, self.calendar)
            .await
            .unwrap()
    }

    pub(crate) fn page_of(&self, round: Round, changes: Vec<ViewChange>) -> SourcePage {
        SourcePage {
            connection: CONNECTION.to_owned(),
            calendar: self.calendar,
            round,
            changes,
            checkpoint: None,
        }
    }

    pub(crate) async fn page(&self, round: Round, changes: Vec<ViewChange>) {
        self.store
            .commit_page(self.fence, self.page_of(round, changes))
            .await
            .unwrap();
    }

    pub(crate) async fn checkpoint(&self, round: Round, changes: Vec<ViewChange>, cursor: &str) {
        let mut page = self.page_of(round, changes);
        page.checkpoint = Some(Cursor(cursor.to_owned()));
        self.store.commit_page(self.fence, page).await.unwrap();
    }

    pub(crate) async fn changes(&self, round: Round, listed: &[Window]) -> RoundChanges {
        self.store
            .round_changes(CONNECTION, self.calendar, round, listed)
            .await
            .unwrap()
    }

    pub(crate) fn end_of(&self, round: Round) -> RoundEnd {
        RoundEnd {
            folder: None,
            connection: CONNECTION.to_owned(),
            calendar: self.calendar,
            round,
            pairs: Vec::new(),
            gone: Vec::new(),
            covered: Coverage::none(),
            binding: "b1".to_owned(),
            checkpoint: None,
            full: true,
            unreadable: false,
            at: now(),
        }
    }

    pub(crate) async fn finish(&self, end: RoundEnd) {
        self.store.finish_round(self.fence, end).await.unwrap();
    }

    /// One round that sees `events` and ends well, with nothing gone.
    pub(crate) async fn round_with(&self, events: Vec<Event>) {
        let round = self.begin().await;
        self.page(round, events.into_iter().map(ViewChange::Seen).collect())
            .await;
        self.finish(self.end_of(round)).await;
    }

    pub(crate) async fn rows(&self) -> calbridge_core::store::Rows {
        self.store
            .rows(SYNC, CONNECTION, self.calendar)
            .await
            .unwrap()
    }

    /// All source views of the calendar, by id.
    pub(crate) async fn views(&self) -> Vec<SourceView> {
        let rows = self.rows().await;
        let mut views: Vec<SourceView> = rows
            .rows
            .into_iter()
            .filter_map(|row| row.source)
            .chain(rows.unlinked)
            .collect();
        views.sort_by_key(|view| view.id);
        views
    }

    pub(crate) fn commit(&self) -> RowCommit {
        RowCommit {
            sync: SYNC.to_owned(),
            calendar: Some(self.calendar),
            ..RowCommit::default()
        }
    }

    pub(crate) async fn try_commit_rows(&self, commit: RowCommit) -> StoreResult<Vec<LinkId>> {
        self.store.commit_rows(self.fence, commit).await
    }

    pub(crate) async fn commit_rows(&self, commit: RowCommit) -> Vec<LinkId> {
        self.try_commit_rows(commit).await.unwrap()
    }

    /// Gives every view without a row a row.
    pub(crate) async fn link_all(&self) -> Vec<LinkId> {
        let mut commit = self.commit();
        commit.insert = self.rows().await.unlinked.iter().map(row_for).collect();
        self.commit_rows(commit).await
    }
}

pub(crate) fn row_for(view: &SourceView) -> NewRow {
    NewRow {
        key: view.event.key.clone(),
        ordinal: view.ordinal,
        group: view.event.group.as_ref().map(|group| group.id.clone()),
        view: Some(view.id),
        remote: None,
        sink: SinkView::default(),
        first_contact: false,
    }
}

pub(crate) async fn add(store: &SqliteStore, fence: Fence, sync: &str, address: &str) {
    let change = RosterChange::Add {
        calendar: CalendarRef::primary(address).unwrap(),
        kind: CalendarKind::Person,
        left: None,
    };
    store
        .commit_roster(fence, sync, &[change], now())
        .await
        .unwrap();
}

pub(crate) fn timed(start: &str, end: &str) -> EventTime {
    EventTime::timed(instant(start), instant(end), None).unwrap()
}

/// An hour of 2 March 2026, UTC.
pub(crate) fn hour(hour: u32) -> EventTime {
    timed(
        &format!("2026-03-02T{hour:02}:00:00Z"),
        &format!("2026-03-02T{hour:02}:30:00Z"),
    )
}

pub(crate) fn event(uid: &str, item: &str) -> Event {
    Event {
        key: EventKey::new(uid, None).unwrap(),
        item: ItemRef::new(item, Some("v1".to_owned())).unwrap(),
        group: None,
        content: Content {
            show_as: Some(ShowAs::Busy),
            ..Content::times(hour(9))
        },
        cancelled: false,
        origin: None,
    }
}

pub(crate) fn at(mut event: Event, time: EventTime) -> Event {
    event.content.time = time;
    event
}

/// An occurrence of the series `group` on a day of March 2026.
pub(crate) fn occurrence(uid: &str, group: &str, day: u32) -> Event {
    let start = format!("2026-03-{day:02}T09:00:00Z");
    let mut event = at(
        event(uid, &format!("{group}-{day}")),
        timed(&start, &format!("2026-03-{day:02}T10:00:00Z")),
    );
    event.key = EventKey::new(uid, Some(OriginalStart::Instant(instant(&start)))).unwrap();
    event.group = Some(GroupRef {
        id: group.to_owned(),
        version: Some("g1".to_owned()),
    });
    event
}

pub(crate) fn window(start: &str, end: &str) -> Window {
    Window::new(instant(start), instant(end)).unwrap()
}

pub(crate) fn march() -> Window {
    window("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
}

pub(crate) fn item(id: &str) -> ItemRef {
    ItemRef::new(id, None).unwrap()
}

pub(crate) fn ids(views: &[SourceView]) -> Vec<ViewId> {
    views.iter().map(|view| view.id).collect()
}

pub(crate) fn items(views: &[SourceView]) -> Vec<&str> {
    let mut items: Vec<&str> = views
        .iter()
        .map(|view| view.event.item.id.as_str())
        .collect();
    items.sort_unstable();
    items
}
