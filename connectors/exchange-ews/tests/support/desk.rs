//! Writes to a calendar of the sandbox, and what came of them.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::sync::atomic::{AtomicU64, Ordering};

use calbridge_core::connector::{
    ApplyReport, AttemptToken, CalendarSink, Error, InventoryEntry, InventoryRequest, Op, Outcome,
    SideState, Write, WriteId,
};
use calbridge_core::model::{
    CalendarRef, Content, EventKey, EventTime, OriginalStart, ShowAs, SideRef, Window,
};
use calbridge_sandbox::exchange::{ExchangeOptions, Folder, ItemHandle, Profile};
use jiff::civil::Date;
use serde_json::json;

use super::{ANNA, Bench, at, dk};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A server, and a connection to it that may write.
pub async fn desk() -> Bench {
    desk_of(options(Profile::Exchange2019)).await
}

pub fn options(profile: Profile) -> ExchangeOptions {
    ExchangeOptions {
        profile,
        require_anchor: true,
        keep_requests: true,
        ..ExchangeOptions::default()
    }
}

pub async fn desk_of(options: ExchangeOptions) -> Bench {
    Bench::of(options, |settings| {
        settings["writable"] = json!(true);
        settings["home_zone"] = json!("Europe/Copenhagen");
        settings["http"]["timeout"] = json!("2s");
    })
    .await
}

pub fn anna() -> CalendarRef {
    CalendarRef::primary(ANNA).unwrap()
}

/// A time by Danish wall clock.
pub fn timed(start: &str, end: &str) -> EventTime {
    EventTime::timed(dk(start), dk(end), None).unwrap()
}

pub fn days(start: Date, end: Date) -> EventTime {
    EventTime::all_day(start, end).unwrap()
}

/// Everything that a record can hold.
pub fn full(time: EventTime, label: &str) -> Content {
    Content {
        time,
        show_as: Some(ShowAs::Away),
        subject: Some(format!("Subject {label}")),
        location: Some(format!("Place {label}")),
        body: Some(format!("First line {label}\nSecond line")),
        private: Some(true),
        categories: Some(vec!["Red".to_owned(), "Blue".to_owned()]),
    }
}

/// A time and nothing else.
pub fn bare(time: EventTime) -> Content {
    Content {
        time,
        show_as: None,
        subject: None,
        location: None,
        body: None,
        private: None,
        categories: None,
    }
}

pub fn key(uid: &str, original: Option<OriginalStart>) -> EventKey {
    EventKey::new(uid, original).unwrap()
}

fn write(
    op: Op,
    key: EventKey,
    remote: SideRef,
    target: Option<Content>,
    base: Option<Content>,
) -> Write {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Write {
        id: WriteId(number),
        op,
        key,
        remote: Some(remote),
        target,
        base,
        group_version: None,
        token: AttemptToken(format!("attempt-{number}")),
    }
}

/// A create under the id that the engine would choose.
pub fn create(key: &EventKey, target: Content) -> Write {
    let id = match key.original() {
        None => key.uid().to_owned(),
        Some(OriginalStart::Instant(at)) => {
            format!("{}/{}", key.uid(), at.strftime("%Y%m%dT%H%M%SZ"))
        }
        Some(OriginalStart::Date(date)) => {
            format!("{}/{}", key.uid(), date.strftime("%Y%m%dT000000Z"))
        }
    };
    let remote = SideRef::new(id).unwrap();
    write(Op::Create, key.clone(), remote, Some(target), None)
}

/// A record as the engine would remember it.
#[derive(Debug, Clone)]
pub struct Record {
    pub key: EventKey,
    pub remote: SideRef,
    pub content: Content,
}

impl Record {
    pub fn update(&self, target: Content) -> Write {
        let (key, remote) = (self.key.clone(), self.remote.clone());
        write(
            Op::Update,
            key,
            remote,
            Some(target),
            Some(self.content.clone()),
        )
    }

    pub fn delete(&self) -> Write {
        let (key, remote) = (self.key.clone(), self.remote.clone());
        write(Op::Delete, key, remote, None, Some(self.content.clone()))
    }

    /// After a write that was done.
    pub fn of(write: &Write, outcome: &Outcome) -> Self {
        let Outcome::Done { remote, stored } = outcome else {
            panic!("{outcome:?}");
        };
        Self {
            key: write.key.clone(),
            remote: remote.clone().unwrap(),
            content: stored.clone().or(write.target.clone()).unwrap(),
        }
    }

    /// After a conflict.
    pub fn theirs(write: &Write, outcome: &Outcome) -> Self {
        let Outcome::Conflict {
            theirs: SideState::Present { remote, content },
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        Self {
            key: write.key.clone(),
            remote: remote.clone(),
            content: content.clone().unwrap(),
        }
    }
}

impl Bench {
    pub fn sink(&self) -> &dyn CalendarSink {
        self.connection.sink().expect("a sink")
    }

    pub async fn try_apply(&self, writes: &[Write]) -> Result<ApplyReport, Error> {
        self.sink().apply(&anna(), writes).await
    }

    /// The outcomes in the order of the writes; each write has one.
    pub async fn apply(&self, writes: &[Write]) -> Vec<Outcome> {
        let report = self.try_apply(writes).await.unwrap();
        assert_eq!(report.trouble, None);
        in_order(writes, &report)
    }

    pub async fn one(&self, write: &Write) -> Outcome {
        self.apply(std::slice::from_ref(write)).await.remove(0)
    }

    pub async fn make(&self, uid: &str, target: Content) -> Record {
        let write = create(&key(uid, None), target);
        let outcome = self.one(&write).await;
        Record::of(&write, &outcome)
    }

    /// The items with a UID in the calendar, not those that were deleted.
    pub fn items(&self, uid: &str) -> Vec<ItemHandle> {
        let mut items = self.exchange.items(ANNA, Folder::Calendar);
        items.retain(|item| self.exchange.read(*item).unwrap().0 == uid);
        items
    }

    pub fn item(&self, uid: &str) -> ItemHandle {
        let found = self.items(uid);
        let [item] = found.as_slice() else {
            panic!("{} items with {uid}", found.len());
        };
        *item
    }

    pub async fn inventory(&self, window: Window) -> Vec<InventoryEntry> {
        let request = InventoryRequest {
            calendars: vec![anna()],
            window,
            now: at("2026-11-20T08:00:00Z"),
        };
        let mut feed = self.sink().inventory(request).await.unwrap();
        let (mut entries, mut complete) = (Vec::new(), false);
        while let Some(page) = feed.next().await.unwrap() {
            assert_eq!(page.failed, []);
            entries.extend(page.entries);
            complete |= page.complete.contains(&anna());
        }
        assert!(complete);
        entries
    }

    /// The requests of an operation, as they went over the wire.
    pub fn sent(&self, operation: &str) -> Vec<String> {
        let calls = self.exchange.ledger().all();
        calls
            .into_iter()
            .filter(|call| call.operation == operation)
            .map(|call| {
                // What was answered by a fault was not judged.
                let judged = call.detail.codes.iter().any(|code| code == "NoError");
                assert!(
                    call.detail.valid || !judged,
                    "{operation} breaks the schema"
                );
                String::from_utf8(call.detail.request.unwrap().to_vec()).unwrap()
            })
            .collect()
    }

    /// How many requests would have changed something.
    pub fn writes_sent(&self) -> usize {
        ["CreateItem", "UpdateItem", "DeleteItem"]
            .iter()
            .map(|operation| self.sent(operation).len())
            .sum()
    }
}

pub fn in_order(writes: &[Write], report: &ApplyReport) -> Vec<Outcome> {
    assert_eq!(report.outcomes.len(), writes.len(), "{report:?}");
    writes
        .iter()
        .map(|write| {
            let own = report.outcomes.iter().find(|one| one.id == write.id);
            own.expect("an outcome for each write").outcome.clone()
        })
        .collect()
}

/// Without the zone, which comes with an appointment and is not compared.
pub fn plain(content: &Content) -> Content {
    let (start, end) = match &content.time {
        EventTime::Timed { start, end, .. } => (*start, *end),
        _ => return content.clone(),
    };
    Content {
        time: EventTime::timed(start, end, None).unwrap(),
        ..content.clone()
    }
}
