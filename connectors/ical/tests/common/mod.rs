//! What the tests share: a connection to a folder, and questions to it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::path::Path;
use std::sync::Arc;

use calbridge_core::clock::SystemClock;
use calbridge_core::connector::{
    Change, ChangesRequest, Connection, Context, Cursor, Error, Result, find,
};
use calbridge_core::model::{CalendarRef, Coverage, Event, Field, FieldSet, Window};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use serde_json::{Value, json};

pub const ADDRESS: &str = "Jane.Doe@example.org";

#[derive(Debug)]
struct OnePassword;

impl SecretResolver for OnePassword {
    fn resolve(&self, _: &SecretRef) -> std::result::Result<secrecy::SecretString, SecretError> {
        Ok("sesame".to_owned().into())
    }
}

pub fn open(settings: Value) -> Result<Arc<dyn Connection>> {
    use calbridge_ical_source as _;
    let context = Context {
        connection: "test".to_owned(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(OnePassword),
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    find("ical-source")
        .expect("registered")
        .open(settings, context)
}

pub fn calendar() -> CalendarRef {
    CalendarRef::primary(ADDRESS).unwrap()
}

pub fn window(start: &str, end: &str) -> Window {
    Window::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
}

pub fn request(window: Window) -> ChangesRequest {
    ChangesRequest {
        calendar: calendar(),
        cursor: None,
        window,
        covered: Coverage::none(),
        fields: FieldSet::from_iter([
            Field::Subject,
            Field::Location,
            Field::Body,
            Field::Private,
            Field::Categories,
        ]),
        full: false,
        now: window.start(),
    }
}

/// What a feed told: its changes, and the cursor at its end.
pub async fn told(
    connection: &dyn Connection,
    request: ChangesRequest,
) -> Result<(Vec<Change>, Option<Cursor>)> {
    let mut feed = connection.source().unwrap().changes(request).await?;
    let (mut changes, mut cursor) = (Vec::new(), None);
    while let Some(batch) = feed.next(2).await? {
        assert!(batch.changes.len() <= 2);
        assert!(cursor.is_none(), "the cursor comes with the last batch");
        changes.extend(batch.changes);
        cursor = batch.checkpoint;
    }
    Ok((changes, cursor))
}

/// The events of a file with these components, in the window, as told through the whole connector.
pub async fn list(components: &str, window: Window) -> (Vec<Event>, Vec<(String, Error)>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), components);
    let connection = open(json!({ "path": folder.path() })).unwrap();
    let (changes, _) = told(&*connection, request(window)).await.unwrap();
    sort(changes, window)
}

pub fn sort(changes: Vec<Change>, window: Window) -> (Vec<Event>, Vec<(String, Error)>) {
    let (mut events, mut unreadable, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Item(event) => events.push(event),
            Change::Unreadable { uid, error, .. } => unreadable.push((uid.unwrap(), error)),
            Change::Snapshot { covered } => snapshots.push(covered),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(snapshots, [window]);
    (events, unreadable)
}

pub fn write(folder: &Path, components: &str) {
    std::fs::write(folder.join(format!("{ADDRESS}.ics")), file(components)).unwrap();
}

pub fn file(components: &str) -> String {
    let lines: Vec<&str> = components
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}\r\nEND:VCALENDAR\r\n",
        lines.join("\r\n")
    )
}

pub fn vevent(uid: &str, lines: &str) -> String {
    format!("BEGIN:VEVENT\nUID:{uid}\nDTSTAMP:20260101T000000Z\n{lines}\nEND:VEVENT\n")
}

/// Starts in UTC or as dates, in order.
pub fn starts(events: &[Event]) -> Vec<String> {
    use calbridge_core::model::EventTime;
    let mut starts: Vec<String> = events
        .iter()
        .map(|event| match &event.content.time {
            EventTime::Timed { start, .. } => start.to_string(),
            EventTime::AllDay { start, .. } => start.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    starts.sort();
    starts
}
