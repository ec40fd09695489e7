//! Whether a server expands series is believed on proof alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::script::{Script, ZONE, created, folder, found, got, item, master, sync};
use support::{ANNA, BO, after, read, request, window};

fn december() -> calbridge_core::model::Window {
    window("2026-12-01T00:00", "2026-12-31T00:00")
}

/// An instance that was invited alone, with what only occurrences have.
fn orphan(kind: &str) -> String {
    item(
        "O",
        kind,
        "2026-12-02T08:00:00Z",
        "2026-12-02T09:00:00Z",
        &format!("{ZONE}<t:RecurrenceId>2026-12-02T08:00:00Z</t:RecurrenceId>"),
    )
}

#[tokio::test]
async fn an_orphan_with_a_recurrence_id_proves_no_expansion() {
    for kind in ["Single", "Occurrence", "Exception"] {
        let server = Script::start(move |body, _| {
            if body.contains("GetFolder") {
                return folder("F");
            }
            if body.contains("<m:SyncFolderItems>") {
                let all = created("M", "RecurringMaster") + &created("O", kind);
                return sync(
                    "s1",
                    if body.contains("<m:SyncState>") {
                        ""
                    } else {
                        &all
                    },
                );
            }
            if body.contains("CalendarView") {
                // The first instance is in neither view.
                return found(&[orphan(kind)]);
            }
            if body.contains("FindItem") {
                return found(&[orphan(kind), master("")]);
            }
            got(&[master("")])
        })
        .await;
        let connection = server.connect();
        let feed = read(connection.as_ref(), request(ANNA, december()))
            .await
            .unwrap();
        assert_eq!(feed.events.len(), 5, "{kind}: the series and the orphan");
        assert!(!feed.cursor.unwrap().0.contains("yes"), "{kind}");
    }
}

#[tokio::test]
async fn what_one_calendar_seems_to_show_is_not_believed_of_another() {
    let server = Script::start(move |body, _| {
        let anna = body.contains(ANNA);
        if body.contains("GetFolder") {
            return folder(if anna { "FA" } else { "FB" });
        }
        if body.contains("<m:SyncFolderItems>") {
            let change = if anna {
                created("O", "Exception")
            } else {
                created("M", "RecurringMaster")
            };
            let first = !body.contains("<m:SyncState>");
            return sync("s1", if first { &change } else { "" });
        }
        if body.contains("CalendarView") {
            return found(
                if anna {
                    vec![orphan("Exception")]
                } else {
                    vec![]
                }
                .as_slice(),
            );
        }
        if body.contains("FindItem") {
            return found(&[if anna {
                orphan("Exception")
            } else {
                master("")
            }]);
        }
        got(&[master("")])
    })
    .await;
    let connection = server.connect();
    let _ = read(connection.as_ref(), request(ANNA, december()))
        .await
        .unwrap();
    let bo = read(connection.as_ref(), request(BO, december()))
        .await
        .unwrap();
    assert_eq!(bo.events.len(), 4);
}

#[tokio::test]
async fn a_series_that_appears_while_it_is_read_does_not_make_exchange_a_server_that_does_not_expand()
 {
    let occurrences = || -> Vec<String> {
        ["07", "14", "21", "28"]
            .iter()
            .enumerate()
            .map(|(number, day)| {
                let start = format!("2026-12-{day}T08:00:00Z");
                let more = format!("{ZONE}<t:RecurrenceId>{start}</t:RecurrenceId>");
                let end = format!("2026-12-{day}T09:00:00Z");
                item(&format!("NEW.{number}"), "Occurrence", &start, &end, &more)
            })
            .collect()
    };
    let new = || {
        item(
            "NEW",
            "RecurringMaster",
            "2026-12-07T08:00:00Z",
            "2026-12-07T09:00:00Z",
            &format!(
                "{ZONE}<t:LastModifiedTime>2026-11-20T08:00:00Z</t:LastModifiedTime>{}",
                support::script::mondays()
            ),
        )
    };
    let server = Script::start(move |body, number| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            // An old series without occurrences in the window is known.
            return if !body.contains("<m:SyncState>") {
                sync("s1", &created("OLD", "RecurringMaster"))
            } else if body.contains(">s1<") {
                sync("s2", &created("NEW", "RecurringMaster"))
            } else {
                sync("s2", "")
            };
        }
        if body.contains("CalendarView") {
            // The new series comes after the first view.
            return if number < 5 {
                found(&[])
            } else {
                found(&occurrences())
            };
        }
        if body.contains("FindItem") {
            return found(&[new()]);
        }
        if body.contains(r#"Id="OLD""#) {
            return got(&[item(
                "OLD",
                "RecurringMaster",
                "2020-01-06T08:00:00Z",
                "2020-01-06T09:00:00Z",
                ZONE,
            )]);
        }
        got(&[new()])
    })
    .await;
    let connection = server.connect();
    let first = request(ANNA, december());
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert_eq!(feed.events.len(), 4);
    let cursor = feed.cursor.clone().unwrap().0;
    assert!(!cursor.contains("\"no\""), "{cursor}");
    // The new series' creation is still to be told.
    let first = after(&feed, &first);
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert_eq!(feed.events.len(), 4);
    server.clear();
    let quiet = read(connection.as_ref(), after(&feed, &first))
        .await
        .unwrap();
    assert!(quiet.snapshots.is_empty());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn that_a_server_does_not_expand_is_tested_again_by_full_reads() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            return sync("s1", "");
        }
        if body.contains("CalendarView") {
            let start = "2026-01-05T08:00:00Z";
            let more = format!("{ZONE}<t:RecurrenceId>{start}</t:RecurrenceId>");
            let end = "2026-01-05T09:00:00Z";
            return found(&[item("M.0", "Occurrence", start, end, &more)]);
        }
        if body.contains("FindItem") {
            return found(&[master("")]);
        }
        got(&[master("")])
    })
    .await;
    let connection = server.connect();
    let mut full = request(ANNA, december());
    let cursor = r#"{"folder":"F","state":"s1","expands":"no","series":true}"#;
    full.cursor = Some(calbridge_core::connector::Cursor(cursor.into()));
    full.covered.add(december());
    full.full = true;
    let feed = read(connection.as_ref(), full).await.unwrap();
    assert!(feed.cursor.unwrap().0.contains(r#""expands":"yes""#));
}

/// A server on which nothing proves whether it expands: no view shows anything of the series. `moved`: an
/// exception was changed, which leaves no trace in SyncFolderItems.
async fn silent(moved: std::sync::Arc<std::sync::atomic::AtomicBool>) -> Script {
    Script::start(move |body, _| {
        let moved = moved.load(std::sync::atomic::Ordering::Relaxed);
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
        let stamp = if moved { "09" } else { "08" };
        let stamp = format!("<t:LastModifiedTime>2026-11-19T{stamp}:00:00Z</t:LastModifiedTime>");
        if body.contains("FindItem") {
            return found(&[master(&stamp)]);
        }
        let deleted = "<t:DeletedOccurrences><t:DeletedOccurrence><t:Start>2026-12-14T08:00:00Z</t:Start></t:DeletedOccurrence></t:DeletedOccurrences>";
        got(&[master(if moved { deleted } else { "" })])
    })
    .await
}

#[tokio::test]
async fn without_any_proof_series_are_expanded_here_and_their_changes_are_looked_for() {
    let moved = std::sync::Arc::default();
    let server = silent(std::sync::Arc::clone(&moved)).await;
    let connection = server.connect();
    let first = request(ANNA, december());
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert_eq!(feed.events.len(), 4);
    assert_eq!(feed.snapshots, [december()]);
    let cursor = feed.cursor.clone().unwrap().0;
    assert!(cursor.contains(r#""expands":"unknown""#), "{cursor}");
    // Nothing changed: two requests, as where it is known that nothing expands.
    let next = after(&feed, &first);
    server.clear();
    let quiet = read(connection.as_ref(), next.clone()).await.unwrap();
    assert!(quiet.snapshots.is_empty());
    assert_eq!((server.requests(), server.count("CalendarView")), (2, 0));
    // An exception changed, which only the master's time of change tells.
    moved.store(true, std::sync::atomic::Ordering::Relaxed);
    let next = after(&quiet, &next);
    let feed = read(connection.as_ref(), next.clone()).await.unwrap();
    assert_eq!(feed.events.len(), 3);
    assert_eq!(feed.snapshots, [december()]);
    // What is not known of one calendar is not known of another either.
    let bo = read(connection.as_ref(), request(BO, december()))
        .await
        .unwrap();
    assert!(bo.cursor.unwrap().0.contains(r#""expands":"unknown""#));
    // Whenever the window is read, a proof is looked for.
    server.clear();
    let mut full = after(&feed, &next);
    full.full = true;
    read(connection.as_ref(), full).await.unwrap();
    assert!(server.count("CalendarView") > 0);
}

#[tokio::test]
async fn a_calendar_without_series_needs_no_proof() {
    let server = Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let first = !body.contains("<m:SyncState>");
            let all = created("S", "Single");
            return sync("s1", if first { &all } else { "" });
        }
        let (start, end) = ("2026-12-02T08:00:00Z", "2026-12-02T09:00:00Z");
        found(&[item("S", "Single", start, end, ZONE)])
    })
    .await;
    let connection = server.connect();
    let first = request(ANNA, december());
    let feed = read(connection.as_ref(), first.clone()).await.unwrap();
    assert_eq!(feed.events.len(), 1);
    assert_eq!((server.requests(), server.count("CalendarView")), (3, 1));
    server.clear();
    read(connection.as_ref(), after(&feed, &first))
        .await
        .unwrap();
    assert_eq!(server.requests(), 1);
}
