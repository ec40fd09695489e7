//! Answers that were captured from a server that is not Microsoft's, played to the whole client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use calbridge_core::connector::ErrorKind;
use support::script::{Script, http};
use support::{ANNA, after, read, request, window};

/// Where captures are at hand; tests without them say so.
fn captures() -> Option<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/ews-wire");
    if directory.is_dir() {
        return Some(directory);
    }
    println!("skipped: there are no captures beside the workspace");
    None
}

fn text(start: &str) -> String {
    let directory = captures().unwrap();
    let entry = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(start) && name.ends_with(".resp.xml")
        })
        .unwrap();
    std::fs::read_to_string(entry).unwrap()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split(from).nth(1).unwrap().split(to).next().unwrap()
}

/// The item elements of a document.
fn items(text: &str) -> Vec<String> {
    text.split("<t:CalendarItem>")
        .skip(1)
        .map(|rest| {
            let inner = rest.split("</t:CalendarItem>").next().unwrap();
            format!("<t:CalendarItem>{inner}</t:CalendarItem>")
        })
        .collect()
}

/// The document with other items.
fn refilled(text: &str, items: &[String]) -> String {
    let (head, rest) = text.split_once("<t:Items>").unwrap();
    let (_, tail) = rest.split_once("</t:Items>").unwrap();
    format!("{head}<t:Items>{}</t:Items>{tail}", items.concat())
}

fn id(item: &str) -> &str {
    between(item, "ItemId Id=\"", "\"")
}

#[tokio::test]
async fn a_calendar_as_it_was_captured() {
    if captures().is_none() {
        return;
    }
    // All that the captures tell of the folder's items, the fullest form of each.
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for start in ["10-", "16-", "17-"] {
        for item in items(&text(start)) {
            let old = known.get(id(&item));
            if old.is_none_or(|old| old.len() < item.len() || start == "17-") {
                known.insert(id(&item).to_owned(), item);
            }
        }
    }
    let listed: Vec<String> = items(&text("09-"))
        .iter()
        .filter_map(|item| known.get(id(item)).cloned())
        .collect();
    let exception = items(&text("15-")).remove(0);
    known.insert(id(&exception).to_owned(), exception);
    let singles: Vec<String> = listed
        .iter()
        .filter(|item| item.contains(">Single<"))
        .cloned()
        .collect();
    let folder = text("02-");
    let changes = text("09-");
    let quiet = text("04-");
    let one = text("16-");
    let message = {
        let from = one.find("<m:GetItemResponseMessage").unwrap();
        let to = one.find("</m:ResponseMessages>").unwrap();
        (one[..from].to_owned(), one[to..].to_owned())
    };
    let missing = {
        let one = text("18-");
        let from = one.find("<m:GetItemResponseMessage").unwrap();
        one[from..one.find("</m:ResponseMessages>").unwrap()].to_owned()
    };
    let page = text("19-");
    let all = listed.clone();
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder.clone();
        }
        if body.contains("<m:SyncFolderItems>") {
            return if body.contains("<m:SyncState>") {
                quiet.clone()
            } else {
                changes.clone()
            };
        }
        if body.contains("CalendarView") {
            let mut seen = singles.clone();
            seen.extend(all.iter().filter(|i| i.contains("Weekly")).cloned());
            let page = page.replace("TotalItemsInView=\"3\"", &format!("TotalItemsInView=\"{}\"", seen.len()));
            return refilled(&page, &seen);
        }
        if body.contains("FindItem") {
            let page = page.replace("TotalItemsInView=\"3\"", &format!("TotalItemsInView=\"{}\"", all.len()));
            return refilled(&page, &all);
        }
        let answers: String = body
            .split("<t:ItemId Id=\"")
            .skip(1)
            .map(|rest| {
                let id = rest.split('"').next().unwrap();
                let Some(item) = known.get(id) else {
                    return missing.clone();
                };
                format!("<m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items>{item}</m:Items></m:GetItemResponseMessage>")
            })
            .collect();
        format!("{}{answers}{}", message.0, message.1)
    })
    .await;
    let connection = server.connect();
    let whole = window("2026-11-30T00:00", "2027-03-01T00:00");
    let first = request(ANNA, whole);
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert!(feed.unreadable.is_empty(), "{:?}", feed.unreadable);
    assert_eq!(feed.snapshots, [whole]);
    let facts: Vec<String> = feed
        .facts(whole)
        .iter()
        .map(|fact| format!("{} {}", fact.time, fact.show_as))
        .collect();
    let mut expected = vec![
        "2026-12-01T12:00:00Z/2026-12-01T13:00:00Z Busy".to_owned(),
        "2026-12-02/2026-12-04 Away".to_owned(),
        "2026-12-24/2026-12-25 Busy".to_owned(),
        // Moved, and without a status of its own.
        "2026-12-14T14:00:00Z/2026-12-14T15:00:00Z Busy".to_owned(),
    ];
    // Mondays and Wednesdays, ten of them, one deleted.
    for day in [
        "2026-12-07",
        "2026-12-09",
        "2026-12-16",
        "2026-12-23",
        "2026-12-28",
        "2026-12-30",
        "2027-01-04",
        "2027-01-06",
    ] {
        expected.push(format!("{day}T08:00:00Z/{day}T08:30:00Z Busy"));
    }
    for day in ["2027-02-01", "2027-02-02", "2027-02-03"] {
        expected.push(format!("{day}T09:00:00Z/{day}T10:00:00Z Busy"));
    }
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    assert_eq!(sorted(facts), sorted(expected));
    let again = read(connection.as_ref(), after(&feed, &first))
        .await
        .unwrap();
    assert!(again.snapshots.is_empty() && again.events.is_empty());
}

#[tokio::test]
async fn faults_as_they_were_captured() {
    let Some(directory) = captures() else {
        return;
    };
    let denied = std::fs::read_to_string(directory.join("28-Fault-impersonation-denied.resp.xml"));
    let denied = denied.unwrap();
    let server = Script::start(move |_, _| http("200 OK", &denied)).await;
    let whole = window("2026-11-30T00:00", "2027-03-01T00:00");
    let error = read(server.connect().as_ref(), request(ANNA, whole))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission);
    let twice = std::fs::read_to_string(
        directory.join("27-Fault-unknown-operation-two-responses.resp.http"),
    )
    .unwrap();
    let server = Script::start(move |_, _| twice.clone()).await;
    let error = read(server.connect().as_ref(), request(ANNA, whole))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}
