//! Answers with more or fewer response messages than were asked for, and web pages in their place, at any step of
//! a feed: a typed error that says where, and the next feed tells everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use calbridge_core::connector::{ErrorKind, Scope};
use calbridge_sandbox::exchange::Profile;
use support::script::{
    Script, created, envelope, failure, folder, found, got, http, master, page, success, sync,
};
use support::{ANNA, Bench, after, busy, read, request, window, winter};

/// What the server answers in place of the right answer to one operation.
type Spoil = fn(&str, &str) -> String;

/// A calendar with three series, on a server that does not expand; spoils the answers to `operation` while it
/// is told to.
async fn server(operation: &'static str, spoil: Spoil, broken: Arc<AtomicBool>) -> Script {
    Script::start(move |body, _| {
        let (name, good) = answer(body);
        if name == operation && broken.load(Ordering::Relaxed) {
            return spoil(name, &good);
        }
        good
    })
    .await
}

fn answer(body: &str) -> (&'static str, String) {
    let named = |id: &str| {
        master("")
            .replace(r#"Id="M""#, &format!(r#"Id="{id}""#))
            .replace("uid-M", id)
    };
    if body.contains("GetFolder") {
        return ("GetFolder", folder("F"));
    }
    if body.contains("<m:SyncFolderItems>") {
        let all = created("A", "RecurringMaster");
        return (
            "SyncFolderItems",
            match body {
                body if body.contains(">s1<") => page("s2", &all, true),
                body if body.contains("<m:SyncState>") => sync("s2", ""),
                _ => sync("s1", &all),
            },
        );
    }
    if body.contains("CalendarView") {
        return ("CalendarView", found(&[named("A"), named("B"), named("C")]));
    }
    if body.contains("FindItem") {
        return ("FindItem", found(&[named("A"), named("B"), named("C")]));
    }
    let asked: Vec<String> = ["A", "B", "C"]
        .iter()
        .filter(|id| body.contains(&format!(r#"<t:ItemId Id="{id}""#)))
        .map(|id| named(id))
        .collect();
    ("GetItem", got(&asked))
}

/// The operation as it is called on the wire.
fn wire(name: &str) -> &str {
    if name == "CalendarView" {
        "FindItem"
    } else {
        name
    }
}

fn one_more(name: &str, good: &str) -> String {
    let more = success(wire(name), "<m:Items/>");
    good.replace(
        "</m:ResponseMessages>",
        &format!("{more}</m:ResponseMessages>"),
    )
}

fn one_error_more(name: &str, good: &str) -> String {
    let more = failure(wire(name), "ErrorItemNotFound");
    good.replace(
        "</m:ResponseMessages>",
        &format!("{more}</m:ResponseMessages>"),
    )
}

fn one_less(name: &str, good: &str) -> String {
    let end = format!("</m:{}ResponseMessage>", wire(name));
    let first = good.find(&end).unwrap() + end.len();
    let begin = good.find("<m:ResponseMessages>").unwrap() + "<m:ResponseMessages>".len();
    format!("{}{}", &good[..begin], &good[first..])
}

fn one_refusal_for_all(name: &str, _: &str) -> String {
    envelope(wire(name), &failure(wire(name), "ErrorItemNotFound"))
}

fn web_page(_: &str, _: &str) -> String {
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Hello<br></body></html>".into()
}

fn well_formed_web_page(_: &str, _: &str) -> String {
    r#"<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body>Hello</body></html>"#
        .into()
}

fn web_page_by_its_type(_: &str, _: &str) -> String {
    let page = http("200 OK", "<!-- Hello --><body>Maintenance<br></body>");
    page.replace("text/xml", "text/html; charset=utf-8")
}

/// The error of a feed under the fault, on a first and on a later feed; without it nothing is lost.
async fn spoiled(operation: &'static str, spoil: Spoil) -> Vec<calbridge_core::connector::Error> {
    let december = window("2026-12-01T00:00", "2027-01-01T00:00");
    let broken = Arc::new(AtomicBool::new(true));
    let server = server(operation, spoil, Arc::clone(&broken)).await;
    let connection = server.connect();
    let first = request(ANNA, december);
    let mut errors = vec![read(connection.as_ref(), first.clone()).await.unwrap_err()];
    broken.store(false, Ordering::Relaxed);
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert_eq!(feed.events.len(), 3 * 4, "{operation}");
    assert_eq!(feed.snapshots, [december]);
    broken.store(true, Ordering::Relaxed);
    let mut next = after(&feed, &first);
    next.full = true;
    errors.push(read(connection.as_ref(), next.clone()).await.unwrap_err());
    broken.store(false, Ordering::Relaxed);
    let feed = read(connection.as_ref(), next).await.unwrap();
    assert_eq!(feed.events.len(), 3 * 4, "{operation}");
    errors
}

#[tokio::test]
async fn another_number_of_messages_than_asked_for() {
    for operation in [
        "GetFolder",
        "SyncFolderItems",
        "CalendarView",
        "FindItem",
        "GetItem",
    ] {
        let mut ways: Vec<(Spoil, &str)> =
            vec![(one_more, "more"), (one_error_more, "an error more")];
        if operation == "GetItem" {
            ways.extend([
                (one_less as Spoil, "less"),
                (one_refusal_for_all, "one for all"),
            ]);
        }
        for (spoil, way) in ways {
            for error in spoiled(operation, spoil).await {
                assert_eq!(
                    (error.kind, error.scope, error.code.as_str()),
                    (ErrorKind::Protocol, Scope::Calendar, "ews.protocol"),
                    "{operation} {way}: {error}"
                );
                let place = format!("EWS {}: ", wire(operation));
                assert!(error.message.starts_with(&place), "{error}");
                assert!(error.message.contains("response message"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_web_page_with_status_200() {
    for operation in [
        "GetFolder",
        "SyncFolderItems",
        "CalendarView",
        "FindItem",
        "GetItem",
    ] {
        for spoil in [
            web_page as Spoil,
            well_formed_web_page,
            web_page_by_its_type,
        ] {
            for error in spoiled(operation, spoil).await {
                assert_eq!(
                    (error.kind, error.scope, error.code.as_str()),
                    (ErrorKind::Protocol, Scope::Calendar, "ews.http.200"),
                    "{operation}: {error}"
                );
                let place = format!("EWS {}: ", wire(operation));
                assert!(error.message.starts_with(&place), "{error}");
                assert!(!error.message.contains("Hello"), "{error}");
            }
        }
    }
}

/// A listing that lost its content on the way must not be taken for an empty calendar.
#[tokio::test]
async fn a_view_without_its_list_or_with_fewer_items_than_it_counts_deletes_nothing() {
    for (fault, place) in [
        ("FindItem=missing:RootFolder", "RootFolder"),
        ("FindItem=missing:Items", "counts"),
        ("FindItem=missing:CalendarItem", "counts"),
    ] {
        let bench = Bench::start(Profile::Exchange2019).await;
        bench
            .exchange
            .create(ANNA, busy("2026-12-01T09:00", "2026-12-01T10:00"))
            .unwrap();
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let mut next = after(&feed, &first);
        next.full = true;
        bench.exchange.inject_spec(fault).unwrap();
        let error = bench.read(next.clone()).await.unwrap_err();
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Protocol, Scope::Calendar),
            "{fault}"
        );
        assert!(error.message.contains(place), "{fault}: {error}");
        bench.exchange.clear_faults();
        bench.read_true(next).await;
    }
}
