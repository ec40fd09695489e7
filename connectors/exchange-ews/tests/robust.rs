//! What servers do in odd hours: ids that are no longer known, items that come and go, answers that take too long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::Cursor;
use calbridge_core::model::{CalendarRef, ItemRef};
use support::script::{
    SILENCE, Script, ZONE, created, deleted, envelope, err, failure, folder, found, got, item,
    master, page, success, sync,
};
use support::{ANNA, after, open, read, request, settings, window, winter};

fn single(id: &str) -> String {
    item(
        id,
        "Single",
        "2026-12-02T08:00:00Z",
        "2026-12-02T09:00:00Z",
        ZONE,
    )
}

/// As a view gives it that makes reading it by itself necessary.
fn bare(id: &str) -> String {
    let uid = id.split('.').next().unwrap();
    single(id).replace(&format!("<t:UID>uid-{uid}</t:UID>"), "")
}

fn known(folder: &str) -> calbridge_core::connector::ChangesRequest {
    let mut request = request(ANNA, winter());
    let cursor = format!(r#"{{"folder":"{folder}","state":"s1","expands":"yes"}}"#);
    request.cursor = Some(Cursor(cursor));
    request.covered.add(winter());
    request
}

#[tokio::test]
async fn a_folder_id_that_is_no_longer_good_is_resolved_again() {
    for code in [
        "ErrorInvalidIdMalformed",
        "ErrorInvalidFolderId",
        "ErrorNonExistentMailbox",
        "ErrorAccessDenied",
        "ErrorInvalidId",
        "ErrorFolderNotFound",
        "ErrorInternalServerError",
        "SOAP:Server",
    ] {
        for now in ["NEW", "OLD"] {
            let server = Script::start(move |body, _| {
                if body.contains("GetFolder") {
                    return folder(now);
                }
                if body.contains("<m:SyncFolderItems>") {
                    return match body.contains(r#"Id="OLD""#) {
                        true if code.contains(':') => format!("<S:Envelope xmlns:S='S'><S:Body><S:Fault><faultcode>{code}</faultcode></S:Fault></S:Body></S:Envelope>"),
                        true => err("SyncFolderItems", code),
                        false => sync("s1", ""),
                    };
                }
                found(&[])
            })
            .await;
            let connection = server.connect();
            for full in [false, true] {
                let mut request = known("OLD");
                request.full = full;
                let feed = read(connection.as_ref(), request).await;
                assert_eq!(feed.is_ok(), now == "NEW", "{code} {full}: {feed:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_view_that_is_too_slow_for_our_patience_is_read_in_parts() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", "");
        }
        let edge = |name: &str| -> jiff::Timestamp {
            let rest = body.split(name).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let length = edge("EndDate=\"").duration_since(edge("StartDate=\""));
        if length.as_hours() > 24 * 50 {
            return SILENCE.into();
        }
        found(&[])
    })
    .await;
    let mut quick = settings(&server.url);
    quick["http"]["timeout"] = "1s".into();
    let connection = open(quick).unwrap().0;
    let feed = read(connection.as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert_eq!(feed.snapshots, [winter()]);
}

#[tokio::test]
async fn one_item_that_always_takes_too_long_is_kept_and_the_others_are_read() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", "");
        }
        if body.contains("FindItem") {
            let all: Vec<String> = (0..7).map(|n| bare(&format!("I{n}"))).collect();
            return found(&all);
        }
        let messages: String = (0..7)
            .filter(|n| body.contains(&format!(r#"Id="I{n}""#)))
            .map(|n| {
                if n == 3 {
                    return failure("GetItem", "ErrorTimeoutExpired");
                }
                let item = single(&format!("I{n}"));
                success("GetItem", &format!("<m:Items>{item}</m:Items>"))
            })
            .collect();
        envelope("GetItem", &messages)
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert_eq!((feed.events.len(), feed.unreadable.len()), (6, 1));
}

#[tokio::test]
async fn an_item_that_is_replaced_while_it_is_read_is_not_gone() {
    let mut views = 0;
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s2", "");
        }
        if body.contains("FindItem") {
            views += 1;
            return found(&[bare(if views == 1 { "A.1" } else { "A.2" })]);
        }
        if body.contains(r#"Id="A.1""#) {
            return err("GetItem", "ErrorItemNotFound");
        }
        got(&[single("A.2")])
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert_eq!(feed.events.len(), 1);
    assert_eq!(feed.snapshots, [winter()]);
}

#[tokio::test]
async fn what_cannot_be_named_costs_one_reading_until_something_changes() {
    // The core stores no cursor of a first feed that could not name something.
    for stored in [true, false] {
        let server = Script::start(move |body, _| {
            if body.contains("GetFolder") {
                return folder("F");
            }
            if body.contains("<m:SyncFolderItems>") {
                let change = deleted("A");
                return match body {
                    body if body.contains(">s1<") => sync("s2", &change),
                    body if body.contains(">s2<") => sync("s3", ""),
                    body if body.contains(">s3<") => sync("s4", &change),
                    body if body.contains("<m:SyncState>") => sync("s5", ""),
                    _ => sync("s2", &created("A", "Single")),
                };
            }
            let nameless = single("").replace("<t:UID>uid-</t:UID>", "");
            if body.contains("FindItem") {
                return found(&[nameless, single("B")]);
            }
            got(&[nameless])
        })
        .await;
        let connection = server.connect();
        let first = if stored {
            known("F")
        } else {
            request(ANNA, winter())
        };
        let feed = read(connection.as_ref(), first.clone()).await.unwrap();
        assert_eq!((feed.events.len(), feed.unreadable.len()), (1, 1));
        assert!(feed.snapshots.is_empty(), "nothing is concluded");
        let next = if stored {
            after(&feed, &first)
        } else {
            first.clone()
        };
        server.clear();
        let quiet = read(connection.as_ref(), next.clone()).await.unwrap();
        assert_eq!((quiet.events.len(), quiet.unreadable.len()), (0, 0));
        assert_eq!(server.requests(), 1, "{stored}");
        // What the window gains is read, and concludes nothing either; the rest is not read again.
        let mut rolled = after(&quiet, &next);
        rolled.window = window("2026-12-02T00:00", "2027-03-02T00:00");
        let changed = read(connection.as_ref(), rolled.clone()).await.unwrap();
        assert_eq!(changed.unreadable.len(), 1, "A is deleted: {stored}");
        assert!(changed.snapshots.is_empty());
        let mut rolled = after(&changed, &rolled);
        rolled.window = window("2026-12-03T00:00", "2027-03-03T00:00");
        server.clear();
        let slice = read(connection.as_ref(), rolled.clone()).await.unwrap();
        assert_eq!(slice.unreadable.len(), 1, "of the slice");
        assert_eq!(server.count("CalendarView"), 1);
        let edge = server.last("CalendarView");
        assert!(edge.contains(r#"StartDate="2027-03-01"#), "{edge}");
        // An operator's or the night's full read looks again.
        let mut full = after(&slice, &rolled);
        full.full = true;
        let full = read(connection.as_ref(), full).await.unwrap();
        assert_eq!(full.unreadable.len(), 1);
    }
}

#[tokio::test]
async fn a_folder_whose_id_has_another_form_is_resolved_once_for_many_items() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        let parent = r#"<t:ParentFolderId Id="F-in-another-form"/>"#;
        let all: Vec<String> = (0..body.matches("<t:ItemId").count())
            .map(|n| single(&format!("I{n}")).replace(ZONE, &format!("{ZONE}{parent}")))
            .collect();
        got(&all)
    })
    .await;
    let connection = server.connect();
    let items: Vec<ItemRef> = (0..20)
        .map(|n| ItemRef::new(format!("I{n}"), None).unwrap())
        .collect();
    let calendar = CalendarRef::primary(ANNA).unwrap();
    let source = connection.source().unwrap();
    let events = source.fetch(&calendar, &items).await.unwrap();
    assert!(events.iter().all(Result::is_ok));
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn an_answer_without_messages_is_tried_again_on_a_new_connection() {
    let server = Script::start(move |body, number| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return if number == 2 {
                envelope("SyncFolderItems", "")
            } else {
                sync("s1", "")
            };
        }
        found(&[])
    })
    .await;
    let connection = server.connect();
    let error = read(connection.as_ref(), request(ANNA, winter()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, calbridge_core::connector::ErrorKind::Protocol);
    read(connection.as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_listing_that_does_not_say_where_it_ends_ends_with_an_empty_page() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let first = !body.contains("<m:SyncState>");
            let all = created("M", "RecurringMaster");
            return sync("s1", if first { &all } else { "" });
        }
        if body.contains("CalendarView") {
            return found(&[]);
        }
        if body.contains("FindItem") {
            let all = if body.contains(r#"Offset="0""#) {
                found(&[master(""), single("S")])
            } else {
                found(&[])
            };
            return all
                .replace(r#" IncludesLastItemInRange="true""#, "")
                .replace("TotalItemsInView=\"0\"", "TotalItemsInView=\"2\"");
        }
        got(&[master("")])
    })
    .await;
    let connection = server.connect();
    let first = request(ANNA, winter());
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert_eq!(feed.snapshots, [winter()]);
    assert_eq!(feed.events.len(), 1 + 12);
    let feed = read(connection.as_ref(), after(&feed, &first)).await;
    assert!(
        feed.unwrap().cursor.is_some(),
        "nor does the search for changed series"
    );
}

#[tokio::test]
async fn a_gateways_retry_after_is_read_as_a_date_by_its_own_clock() {
    for (told, wait) in [
        ("120", 120_000),
        ("Sun, 22 Nov 2026 13:07:09 GMT", 120_000),
        ("Mon, 23 Nov 2026 13:05:09 GMT", 3_600_000),
        ("0", 30_000),
        ("Sun, 22 Nov 2026 13:00:00 GMT", 30_000),
        ("soon", 30_000),
    ] {
        let server = Script::start(move |_, _| {
            format!(
                "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 22 Nov 2026 13:05:09 GMT\r\nRetry-After: {told}\r\nContent-Length: 0\r\n\r\n"
            )
        })
        .await;
        let error = read(server.connect().as_ref(), request(ANNA, winter()))
            .await
            .unwrap_err();
        assert_eq!(error.kind, calbridge_core::connector::ErrorKind::Throttled);
        assert_eq!(error.retry_after_ms, Some(wait), "{told}");
    }
}

#[tokio::test]
async fn a_broken_definition_of_a_zone_that_is_known_by_name_breaks_no_series() {
    let zone = r#"<t:StartTimeZone Id="Romance Standard Time"><t:Periods><t:Period Bias="an hour" Name="Standard" Id="S"/></t:Periods></t:StartTimeZone>"#;
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let first = !body.contains("<m:SyncState>");
            let all = created("M", "RecurringMaster");
            return sync("s1", if first { &all } else { "" });
        }
        if body.contains("CalendarView") {
            return found(&[]);
        }
        let master = master("").replace(ZONE, zone);
        if body.contains("FindItem") {
            return found(&[master]);
        }
        got(&[master])
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert_eq!((feed.events.len(), feed.unreadable.len()), (12, 0));
}

#[tokio::test]
async fn items_without_ids_are_not_asked_for_and_spoil_no_others() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let first = !body.contains("<m:SyncState>");
            let all = created("M", "RecurringMaster");
            return sync("s1", if first { &all } else { "" });
        }
        if body.contains("CalendarView") {
            return found(&[]);
        }
        let nameless = bare("").replace("<t:UID>uid-</t:UID>", "");
        let masterless = master("").replace(r#"Id="M""#, r#"Id="""#);
        if body.contains("FindItem") {
            let odd = nameless.replace("Single", "Odd");
            return found(&[odd.clone(), odd, masterless, master(""), bare("S")]);
        }
        if body.contains(r#"Id="""#) {
            return err("GetItem", "ErrorInvalidRequest");
        }
        got(&[if body.contains(r#"Id="M""#) {
            master("")
        } else {
            single("S")
        }])
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert_eq!(feed.events.len(), 1 + 12);
    assert_eq!(feed.unreadable.len(), 3);
    assert!(feed.snapshots.is_empty(), "nothing is concluded");
    for (id, _, error) in &feed.unreadable {
        assert_eq!((id, error.code.as_str()), (&None, "ews.item.id"));
    }
}

#[tokio::test]
async fn pages_without_changes_that_lead_on_are_walked_through() {
    let server = Script::start(move |body, number| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let state = format!("s{number}");
            return match number {
                0..20 => page(&state, "", false),
                _ => sync(&state, &created("I", "Single")),
            };
        }
        found(&[single("I")])
    })
    .await;
    let connection = server.connect();
    let feed = read(connection.as_ref(), request(ANNA, winter())).await;
    assert_eq!(feed.unwrap().events.len(), 1);
    let server = Script::start(move |body, number| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        page(&format!("s{number}"), "", false)
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter())).await;
    assert_eq!(feed.unwrap_err().code, "ews.sync.endless");
    assert!(server.requests() < 300);
}

#[tokio::test]
async fn elements_without_content_are_as_good_as_none() {
    let empty = "<t:RecurrenceId/><t:OriginalStart></t:OriginalStart><t:LastModifiedTime/><t:IsCancelled/><t:StartWallClock/><t:EndWallClock> </t:EndWallClock><t:DateTimeReceived/>";
    let full = single("I").replace("<t:UID>", &format!("{empty}<t:UID>"));
    let bad = single("J").replace("<t:Start>2026-12-02T08:00:00Z</t:Start>", "<t:Start/>");
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", "");
        }
        if body.contains("GetItem") {
            return got(std::slice::from_ref(&bad));
        }
        found(&[full.clone(), bad.clone()])
    })
    .await;
    let feed = read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert_eq!(feed.events.len(), 1, "{:?}", feed.unreadable);
    let (id, _, error) = &feed.unreadable[0];
    assert_eq!(id.as_deref(), Some("J"));
    assert_eq!(error.code, "ews.item.times", "it says what is missing");
}

#[tokio::test]
async fn a_state_that_is_refused_in_other_words_is_given_up() {
    for (code, mends) in [
        ("ErrorCorruptData", true),
        ("ErrorInvalidRequest", true),
        ("ErrorSchemaValidation", true),
        ("ErrorOfTomorrow", true),
        // It would be a pity to walk through a large folder again for these.
        ("ErrorInternalServerError", false),
        ("ErrorServerBusy", false),
        ("ErrorAccessDenied", false),
    ] {
        let server = Script::start(move |body, _| {
            if body.contains("GetFolder") {
                return folder("F");
            }
            if body.contains("<m:SyncFolderItems>") {
                return match body.contains("<m:SyncState>s1<") {
                    true => err("SyncFolderItems", code),
                    false => sync("s2", &created("I", "Single")),
                };
            }
            found(&[single("I")])
        })
        .await;
        let feed = read(server.connect().as_ref(), known("F")).await;
        match feed {
            Ok(feed) => {
                assert!(mends, "{code}");
                assert_eq!((feed.events.len(), feed.snapshots.len()), (1, 1), "{code}");
            }
            Err(error) => {
                assert!(!mends, "{code}: {error}");
                assert_eq!(error.code, format!("ews.{code}"));
            }
        }
    }
}
