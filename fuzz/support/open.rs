//! A connection opened as the program opens it, and a feed read to its end.
#![allow(dead_code)]

use std::sync::{Arc, LazyLock};

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    CalendarSource, Change, ChangesRequest, Connection, Context, Cursor, find,
};
use calbridge_core::model::{CalendarRef, Coverage, Field, FieldSet, Window};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use serde_json::Value;
use tokio::runtime::Runtime;

pub const ADDRESS: &str = "anna@kommune.example";

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
});

#[derive(Debug)]
struct OnePassword;

impl SecretResolver for OnePassword {
    fn resolve(&self, _: &SecretRef) -> Result<secrecy::SecretString, SecretError> {
        Ok("sandbox".to_owned().into())
    }
}

pub fn context() -> Context {
    Context {
        connection: "fuzz".to_owned(),
        clock: Arc::new(FixedClock::new(window().start())),
        secrets: Arc::new(OnePassword),
        shutdown: tokio_util::sync::CancellationToken::new(),
    }
}

pub fn open(connector: &str, settings: Value) -> Arc<dyn Connection> {
    find(connector)
        .expect("registered")
        .open(settings, context())
        .expect("open")
}

pub fn calendar() -> CalendarRef {
    CalendarRef::primary(ADDRESS).expect("an address")
}

/// Half a year with two changes of the clock.
pub fn window() -> Window {
    let at = |text: &str| text.parse().expect("an instant");
    Window::new(at("2026-10-01T22:00:00Z"), at("2027-04-01T22:00:00Z")).expect("a window")
}

pub fn request(cursor: Option<Cursor>) -> ChangesRequest {
    ChangesRequest {
        calendar: calendar(),
        covered: Coverage::none(),
        cursor,
        window: window(),
        fields: FieldSet::from_iter([
            Field::Time,
            Field::ShowAs,
            Field::Subject,
            Field::Location,
            Field::Body,
            Field::Private,
            Field::Categories,
        ]),
        full: false,
        now: window().start(),
    }
}

/// What the feed told up to its end or first error, and its cursor.
pub async fn read(
    source: &dyn CalendarSource,
    request: ChangesRequest,
) -> (Vec<Change>, Option<Cursor>) {
    let (mut changes, mut cursor) = (Vec::new(), None);
    if let Ok(mut feed) = source.changes(request).await {
        while let Ok(Some(batch)) = feed.next(50).await {
            changes.extend(batch.changes);
            cursor = batch.checkpoint.or(cursor);
        }
    }
    (changes, cursor)
}
