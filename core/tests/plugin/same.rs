//! One list of calls, three ways: linked in, as a library, in a child process. The answers are the same.

use std::fmt::Debug;
use std::sync::Arc;

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    AttemptToken, ChangesRequest, CheckScope, Connection, ConnectorEntry, Cursor, InventoryRequest,
    Op, Write, WriteId,
};
use calbridge_core::model::{Content, Coverage, EventKey, EventTime, FieldSet, ItemRef, Window};
use jiff::Timestamp;
use serde_json::json;

use crate::common::{ALL, Carriage, Connector, LOADED, Secrets, calendar, context_with};
use crate::connector::Guest;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window() -> Window {
    Window::new(at("2026-11-23T00:00:00Z"), at("2026-12-23T00:00:00Z")).unwrap()
}

pub(crate) fn changes(owner: &str, cursor: Option<&str>) -> ChangesRequest {
    ChangesRequest {
        calendar: calendar(owner),
        cursor: cursor.map(|text| Cursor(text.to_owned())),
        window: window(),
        covered: Coverage::none(),
        fields: FieldSet::times(),
        full: false,
        now: at("2026-11-23T08:00:00Z"),
    }
}

pub(crate) fn write(id: u64, uid: &str) -> Write {
    let start = at("2026-11-24T09:00:00Z");
    let time = EventTime::timed(start, at("2026-11-24T09:30:00Z"), None).unwrap();
    Write {
        id: WriteId(id),
        op: Op::Create,
        key: EventKey::new(uid, None).unwrap(),
        remote: None,
        target: Some(Content::times(time)),
        base: None,
        group_version: None,
        token: AttemptToken(format!("token-{id}")),
    }
}

pub(crate) fn items(ids: &[&str]) -> Vec<ItemRef> {
    ids.iter()
        .map(|id| ItemRef::new(*id, None).unwrap())
        .collect()
}

pub(crate) fn scope() -> CheckScope {
    CheckScope {
        now: at("2026-11-23T08:00:00Z"),
        calendars: vec![calendar("anna")],
    }
}

#[derive(Default)]
struct Transcript(Vec<String>);

impl Transcript {
    fn note(&mut self, what: &str, answer: &impl Debug) {
        self.0.push(format!("{what}: {answer:?}"));
    }
}

async fn play(connection: &Arc<dyn Connection>, told: &mut Transcript) {
    told.note(
        "sides",
        &(connection.source().is_some(), connection.sink().is_some()),
    );
    told.note("check", &connection.check(scope()).await);
    told.note("roster", &connection.roster().await);
    let source = connection.source().unwrap();
    for max in [1, 3, 100] {
        let mut feed = source.changes(changes("anna", None)).await.unwrap();
        loop {
            let part = feed.next(max).await;
            told.note("next", &part);
            if !matches!(part, Ok(Some(_))) {
                break;
            }
        }
        told.note("after the end", &feed.next(max).await);
    }
    told.note(
        "old cursor",
        &source.changes(changes("anna", Some("old"))).await.err(),
    );
    let asked = items(&["one", "gone", "two"]);
    told.note("fetch", &source.fetch(&calendar("anna"), &asked).await);
    told.note("fetch none", &source.fetch(&calendar("anna"), &[]).await);
    let mut hints = source
        .watch(&[calendar("anna"), calendar("bent")])
        .await
        .unwrap();
    told.note("hints", &hints.next().await);
    told.note("set", &hints.set(&[calendar("carl")]).await);
    told.note("hints", &hints.next().await);
    let Some(sink) = connection.sink() else {
        return;
    };
    let writes: Vec<Write> = (1..)
        .zip([
            "done",
            "lost",
            "foreign",
            "rejected",
            "conflict",
            "retry",
            "unchanged",
        ])
        .map(|(id, uid)| write(id, uid))
        .collect();
    told.note("apply", &sink.apply(&calendar("anna"), &writes).await);
    told.note(
        "apply refused",
        &sink.apply(&calendar("refused"), &writes).await,
    );
    let request = InventoryRequest {
        calendars: vec![calendar("anna"), calendar("failing")],
        window: window(),
        now: at("2026-11-23T08:00:00Z"),
    };
    let mut inventory = sink.inventory(request).await.unwrap();
    loop {
        let page = inventory.next().await;
        told.note("inventory", &page);
        if !matches!(page, Ok(Some(_))) {
            break;
        }
    }
    let tokens = ["absent", "r-7", "undecidable"].map(|token| AttemptToken(token.to_owned()));
    told.note("probe", &sink.probe(&calendar("anna"), &tokens).await);
}

async fn transcript(carriage: Carriage) -> Vec<String> {
    let connector = Connector::new(carriage);
    let mut told = Transcript::default();
    let secrets = Arc::new(Secrets::default());
    secrets.set("env:RIGHT", "right");
    secrets.set("env:WRONG", "wrong");
    let open = |settings| {
        let clock = Arc::new(FixedClock::new(at("2026-11-23T08:00:00Z")));
        let secrets = Arc::<Secrets>::clone(&secrets);
        connector.open_with(settings, context_with("same", clock, secrets))
    };
    for settings in [
        json!({"events": 10, "writable": true, "password": "env:RIGHT"}),
        json!({"events": 0}),
    ] {
        let connection = open(settings).unwrap();
        play(&connection, &mut told).await;
    }
    for settings in [
        json!({"password": "env:WRONG"}),
        json!({"password": "env:MISSING"}),
    ] {
        let connection = open(settings).unwrap();
        told.note("check", &connection.check(scope()).await);
    }
    for settings in [
        json!({"refuse": true}),
        json!({"events": "many"}),
        json!({"evnts": 3}),
        json!({"password": "in the open"}),
    ] {
        told.note("open", &open(settings).err());
    }
    told.0
}

#[tokio::test(flavor = "multi_thread")]
async fn every_carriage_gives_the_answers_of_the_linked_connector() {
    let expected = transcript(Carriage::Linked).await;
    assert!(expected.len() > 40, "{expected:#?}");
    let failed = expected.iter().filter(|line| line.contains("Err(")).count();
    assert!(failed > 3, "{expected:#?}");
    for carriage in LOADED {
        let told = transcript(carriage).await;
        for (told, expected) in told.iter().zip(&expected) {
            assert_eq!(told, expected, "{carriage:?}");
        }
        assert_eq!(told.len(), expected.len(), "{carriage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_holds_no_more_than_was_asked_for() {
    for carriage in ALL {
        let connection = Connector::new(carriage)
            .open(json!({"events": 10}))
            .unwrap();
        let source = connection.source().unwrap();
        let mut feed = source.changes(changes("anna", None)).await.unwrap();
        let mut sizes = Vec::new();
        while let Some(batch) = feed.next(4).await.unwrap() {
            sizes.push(batch.changes.len());
        }
        assert_eq!(sizes, [4, 4, 2], "{carriage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_and_capabilities_are_those_of_the_linked_connector() {
    let linked = ConnectorEntry::of::<Guest>();
    for carriage in LOADED {
        let connector = Connector::new(carriage);
        let loaded = connector.loaded();
        assert_eq!(loaded.manifest(), &linked.manifest(), "{carriage:?}");
        for settings in [
            json!({}),
            json!({"in_flight": 9}),
            json!({"in_flight": "x"}),
        ] {
            assert_eq!(
                loaded.capabilities_with(&settings),
                linked.capabilities(&settings),
                "{carriage:?}"
            );
        }
    }
}
