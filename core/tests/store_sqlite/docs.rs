//! The views for operators: as documented, column by column, and with the right contents.

use std::collections::BTreeMap;

use calbridge_core::connector::{Error, ErrorKind, Scope};
use calbridge_core::engine::OnSink;
use calbridge_core::engine::decide::{Decision, Intent, Reason};
use calbridge_core::engine::project::{Absence, Desired};
use calbridge_core::model::{Content, EventTime, SideRef};
use calbridge_core::store::{DecisionRecord, Retention};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::files::Place;
use crate::rows::call;
use crate::support::{Fixture, at, event, now, occurrence};

fn text() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operators/state.md");
    std::fs::read_to_string(path).unwrap()
}

/// The first column of the table under each heading that names a view.
fn documented() -> BTreeMap<String, Vec<String>> {
    let mut views: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in text().lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let name = heading.trim_start_matches('#').trim();
            current = name
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'));
            continue;
        }
        let column = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once("` | "));
        if let (Some(view), Some((column, meaning))) = (current, column) {
            assert!(meaning.len() > 4, "{view}.{column} says nothing");
            views
                .entry(view.to_owned())
                .or_default()
                .push(column.to_owned());
        }
    }
    views
}

#[tokio::test]
async fn every_column_of_every_view_is_documented_in_order() {
    let place = Place::new();
    drop(place.open().unwrap());
    let connection = Connection::open(&place.path).unwrap();
    let mut views = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")
        .unwrap();
    let views: Vec<String> = views
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let schema: BTreeMap<String, Vec<String>> = views
        .into_iter()
        .map(|view| {
            let statement = connection
                .prepare(&format!("SELECT * FROM {view}"))
                .unwrap();
            let columns = statement.column_names().map(str::to_owned).collect();
            (view, columns)
        })
        .collect();
    assert_eq!(schema.len(), 4);
    assert_eq!(documented(), schema);
}

#[test]
fn the_documented_retention_is_the_default() {
    let default = Retention::default();
    for (setting, days) in [
        ("rows_days", default.rows_days),
        ("calls_days", default.calls_days),
        ("leavers_days", default.leavers_days),
    ] {
        let line = format!("| `{setting}` | {days} days |");
        assert!(text().contains(&line), "{line}");
    }
}

fn select(connection: &Connection, query: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(query).unwrap();
    let columns = statement.column_count();
    statement
        .query_map([], |row| {
            (0..columns).map(|column| row.get(column)).collect()
        })
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn words(values: &[&str]) -> Vec<Value> {
    values
        .iter()
        .map(|value| match *value {
            "NULL" => Value::Null,
            number if number.parse::<i64>().is_ok() => Value::Integer(number.parse().unwrap()),
            text => Value::Text(text.to_owned()),
        })
        .collect()
}

#[tokio::test]
async fn views_tell_what_the_tables_hold() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let day =
        EventTime::all_day(jiff::civil::date(2026, 3, 5), jiff::civil::date(2026, 3, 6)).unwrap();
    it.round_with(vec![
        occurrence("s", "g", 3),
        at(event("a", "i1"), day.clone()),
    ])
    .await;
    let links = it.link_all().await;
    let mut rows = it.rows().await.rows;
    rows[0].sink.state = OnSink::Present;
    rows[0].sink.remote = Some(SideRef::new("ext-1").unwrap());
    rows[0].sink.content = rows[0]
        .source
        .as_ref()
        .map(|view| view.event.content.clone());
    rows[1].held_since = Some(now());
    let content = Content::times(day);
    let decided = |link, intent, reason| DecisionRecord {
        link,
        at: now(),
        desired: Desired::Present {
            content: content.clone(),
            creatable: true,
        },
        decision: Decision { intent, reason },
        outcome: Some("done".to_owned()),
        call: Some(0),
        inputs: None,
    };
    let mut failed = call("ref-2", now());
    failed.receipt.error = Some(Error::new(
        ErrorKind::Transient,
        Scope::Connection,
        "net.timeout",
        "no answer",
    ));
    let mut commit = it.commit();
    commit.update = rows;
    commit.calls = vec![call("ref-1", now()), failed];
    commit.decisions = vec![
        decided(
            links[0],
            Intent::Create {
                content: content.clone(),
            },
            Reason::New,
        ),
        decided(
            links[0],
            Intent::PutBack {
                content: content.clone(),
            },
            Reason::SinkChanged,
        ),
        DecisionRecord {
            desired: Desired::Absent {
                why: Absence::NoDuration,
            },
            outcome: None,
            call: None,
            ..decided(
                links[1],
                Intent::Delete,
                Reason::Absent(Absence::NoDuration),
            )
        },
        decided(links[1], Intent::Nothing, Reason::InStep),
    ];
    it.commit_rows(commit).await;

    // While the store is open, as an operator would.
    let reader =
        Connection::open_with_flags(&place.path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    assert_eq!(
        select(
            &reader,
            "SELECT sync, address, kind, membership, events, on_sink, refused, held, last_read FROM resources"
        ),
        [words(&[
            "jobcenter",
            "anna@kommune.example",
            "person",
            "active",
            "2",
            "1",
            "0",
            "1",
            "2026-03-02T12:00:00",
        ])]
    );
    assert_eq!(
        select(
            &reader,
            "SELECT uid, original_start, series, source_item, source_start, source_end, source_all_day,
                    sink_state, external_id, sink_start, held_since FROM events ORDER BY id"
        ),
        [
            words(&[
                "s", "2026-03-03T09:00:00", "g", "g-3", "2026-03-03T09:00:00",
                "2026-03-03T10:00:00", "0", "present", "ext-1", "2026-03-03T09:00:00", "NULL",
            ]),
            words(&[
                "a", "NULL", "NULL", "i1", "2026-03-05", "2026-03-06", "1", "absent", "NULL",
                "NULL", "2026-03-02T12:00:00",
            ]),
        ]
    );
    assert_eq!(
        select(
            &reader,
            "SELECT external_id, operation, intent, reason, desired_start, desired_end, outcome, reference
               FROM sync_log ORDER BY id"
        ),
        [
            words(&[
                "ext-1", "C", "create", "new", "2026-03-05", "2026-03-06", "done", "ref-1",
            ]),
            words(&[
                "ext-1", "U", "put-back", "sink-changed", "2026-03-05", "2026-03-06", "done",
                "ref-1",
            ]),
            words(&[
                "NULL", "D", "delete", "absent no-duration", "NULL", "NULL", "NULL", "NULL",
            ]),
            words(&[
                "NULL", "NULL", "nothing", "in-step", "2026-03-05", "2026-03-06", "done", "ref-1",
            ]),
        ]
    );
    assert_eq!(
        select(
            &reader,
            "SELECT connection, sync, operation, reference, started, events, success, error_code, error_message
               FROM calls ORDER BY id"
        ),
        [
            words(&[
                "planner", "jobcenter", "CreateEvents", "ref-1", "2026-03-02T11:59:58", "3", "1",
                "NULL", "NULL",
            ]),
            words(&[
                "planner", "jobcenter", "CreateEvents", "ref-2", "2026-03-02T11:59:58", "3", "0",
                "net.timeout", "no answer",
            ]),
        ]
    );
    assert!(reader.execute("DELETE FROM call", []).is_err());
}
