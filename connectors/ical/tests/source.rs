//! Files, folders, feeds: what is fetched, when, and what is made of trouble.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use calbridge_core::connector::{CheckScope, Connector as _, ErrorKind, Scope, Severity};
use calbridge_core::model::{CalendarRef, Coverage, ItemRef, Window};
use common::{ADDRESS, calendar, file, list, open, request, sort, told, vevent, window, write};
use serde_json::json;

fn december() -> Window {
    window("2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z")
}

fn known(window: Window) -> Coverage {
    let mut coverage = Coverage::none();
    coverage.add(window);
    coverage
}

#[test]
fn settings_that_cannot_work_say_what_would_be_right() {
    for (settings, says) in [
        (json!({}), "either `path` or `url`"),
        (json!({ "path": "" }), "`path` must not be empty"),
        (
            json!({ "path": "a", "url": "https://x.example/", "address": ADDRESS }),
            "either",
        ),
        (json!({ "url": "https://x.example/" }), "`address`"),
        (
            json!({ "url": "http://x.example/", "address": ADDRESS }),
            "https",
        ),
        (json!({ "path": "a", "zone": "Nowhere" }), "`zone`"),
        (json!({ "path": "a", "folder": "b" }), "unknown field"),
        (json!({ "path": "a", "password": "sesame" }), "reference"),
    ] {
        let Err(error) = open(settings.clone()) else {
            panic!("{settings}")
        };
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains(says), "{error}");
        assert!(!error.message.contains("sesame"), "{error}");
    }
    assert!(
        calbridge_ical_source::IcalSource::capabilities()
            .source
            .unwrap()
            .incremental
    );
}

#[tokio::test]
async fn the_folder_is_the_roster() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "jane@example.org.ics",
        // `Jane@...`, on file systems too that take both for one.
        "%4aane@example.org.ics",
        "%2e%2Fx@example.org.ics",
        "calendar.ics",
        ".bob@example.org.ics",
        "bob@example.org.txt",
    ] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let roster = open(json!({ "path": folder.path() }))
        .unwrap()
        .roster()
        .await
        .unwrap();
    let addresses: Vec<_> = roster
        .entries
        .iter()
        .map(|e| e.calendar.address.as_str())
        .collect();
    assert_eq!(addresses, ["./x@example.org", "Jane@example.org"]);
    let skipped: Vec<_> = roster.skipped.iter().map(|s| s.code.as_str()).collect();
    assert_eq!(skipped, ["ical.file-name", "3201"]);
}

#[tokio::test]
async fn an_unchanged_file_tells_nothing_until_the_window_rolls() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &vevent("a", "DTSTART:20261201T080000Z\nRRULE:FREQ=DAILY;COUNT=5"),
    );
    let connection = open(json!({ "path": folder.path() })).unwrap();
    let (changes, cursor) = told(&*connection, request(december())).await.unwrap();
    assert_eq!(sort(changes, december()).0.len(), 5);

    let mut again = request(december());
    again.cursor = cursor.clone();
    again.covered = known(december());
    let (changes, same) = told(&*connection, again.clone()).await.unwrap();
    assert!(changes.is_empty());
    assert_eq!(same, cursor);

    // Reconciliation, and a day more, read anew.
    let mut full = again.clone();
    full.full = true;
    assert_eq!(told(&*connection, full).await.unwrap().0.len(), 6);
    let mut rolled = again.clone();
    rolled.window = window("2026-11-30T23:00:00Z", "2027-01-01T23:00:00Z");
    assert_eq!(told(&*connection, rolled).await.unwrap().0.len(), 6);

    // A change is told whole.
    write(folder.path(), &vevent("a", "DTSTART:20261201T080000Z"));
    let (changes, changed) = told(&*connection, again.clone()).await.unwrap();
    assert_eq!(sort(changes, december()).0.len(), 1);
    assert_ne!(changed, cursor);

    again.cursor = Some(calbridge_core::connector::Cursor("nonsense".into()));
    assert_eq!(
        told(&*connection, again).await.unwrap_err().kind,
        ErrorKind::CursorExpired
    );
}

/// Whatever is no file is trouble of one calendar, told at once: it is never waited for.
#[cfg(unix)]
#[tokio::test]
async fn a_pipe_a_socket_a_device_or_a_folder_is_an_error_of_its_calendar() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}@example.org.ics"));
    let made = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
    std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    write(folder.path(), &vevent("a", "DTSTART:20261201T080000Z"));
    let connection = open(json!({ "path": folder.path() })).unwrap();
    assert_eq!(connection.roster().await.unwrap().entries.len(), 6);
    let ask = |name: &str| {
        let mut request = request(december());
        request.calendar = CalendarRef::primary(format!("{name}@example.org")).unwrap();
        told(&*connection, request)
    };
    for name in ["pipe", "socket", "device", "link", "folder"] {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), ask(name));
        let error = match answer.await {
            Ok(answer) => answer.unwrap_err(),
            Err(_) => {
                // Somebody who writes lets go of the thread that waits, so that the test ends.
                drop(std::fs::OpenOptions::new().write(true).open(path(name)));
                panic!("{name} is waited for");
            }
        };
        assert_eq!(error.code, "ical.no-file", "{name}: {error}");
        assert_eq!(error.scope, Scope::Calendar);
        assert!(!error.message.contains("example.org"), "{error}");
    }
    let (changes, _) = told(&*connection, request(december())).await.unwrap();
    assert_eq!(sort(changes, december()).0.len(), 1);
    // Named alone it is no better.
    let alone = open(json!({ "path": path("pipe"), "address": ADDRESS })).unwrap();
    let error = told(&*alone, request(december())).await.unwrap_err();
    assert_eq!(error.code, "ical.no-file");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"j\xff@example.org.ics");
    std::fs::write(folder.path().join(name), "").unwrap();
    let connection = open(json!({ "path": folder.path() })).unwrap();
    let roster = connection.roster().await.unwrap();
    assert!(roster.entries.is_empty());
    assert_eq!(roster.skipped[0].code, "ical.file-name");
}

#[tokio::test]
async fn k053_a_broken_file_is_an_error_of_its_calendar_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &vevent("a", "DTSTART:20261201T080000Z"));
    let connection = open(json!({ "path": folder.path(), "max_bytes": 10_000 })).unwrap();
    let good = file(&vevent(
        "canary",
        "DTSTART:20261201T080000Z\nSUMMARY:Canary",
    ));
    for (name, content) in [
        ("empty@example.org", String::new()),
        ("html@example.org", "<html>Canary</html>".to_owned()),
        ("cut@example.org", good[..good.len() - 30].to_owned()),
        (
            "utf16@example.org",
            good.chars().flat_map(|c| [c, '\0']).collect(),
        ),
        (
            "large@example.org",
            good.replace("Canary", &"Canary".repeat(2_000)),
        ),
    ] {
        std::fs::write(folder.path().join(format!("{name}.ics")), content).unwrap();
        let mut broken = request(december());
        broken.calendar = CalendarRef::primary(name).unwrap();
        let handle = broken.calendar.handle();
        let Err(error) = told(&*connection, broken).await else {
            panic!("{name}")
        };
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Protocol, Scope::Calendar),
            "{name}"
        );
        assert!(
            !error.message.contains("Canary") && !error.message.contains('@'),
            "{error}"
        );
        assert!(
            error.message.contains(&handle) || error.message.contains("max_bytes"),
            "{error}"
        );
    }
    let mut missing = request(december());
    missing.calendar = CalendarRef::primary("nobody@example.org").unwrap();
    let error = told(&*connection, missing).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::NotFound, Scope::Calendar)
    );

    let (changes, _) = told(&*connection, request(december())).await.unwrap();
    assert_eq!(sort(changes, december()).0.len(), 1);
}

#[tokio::test]
async fn single_items_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &(vevent("s", "DTSTART:20261201T080000Z\nRRULE:FREQ=DAILY;COUNT=3")
            + &vevent(
                "s",
                "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261224T080000Z",
            )
            + &vevent("d", "DTSTART;VALUE=DATE:20261201\nRRULE:FREQ=DAILY;COUNT=2")
            + &vevent("twice", "DTSTART:20261205T080000Z")
            + &vevent("twice", "DTSTART:20261206T080000Z")
            + &vevent("bad", "SUMMARY:x")),
    );
    let connection = open(json!({ "path": folder.path() })).unwrap();
    let (changes, _) = told(&*connection, request(december())).await.unwrap();
    let (events, _) = sort(changes, december());
    assert_eq!(events.len(), 7);
    let mut items: Vec<ItemRef> = events.iter().map(|event| event.item.clone()).collect();
    for gone in ["s\n2026-12-09T08:00:00Z", "nothing", "bad"] {
        items.push(ItemRef::new(gone, None).unwrap());
    }
    let source = connection.source().unwrap();
    let fetched = source.fetch(&calendar(), &items).await.unwrap();
    assert_eq!(fetched.len(), items.len());
    for (event, fetched) in events.iter().zip(&fetched) {
        let fetched = fetched.as_ref().unwrap();
        assert_eq!(
            (&event.key, &event.content.time),
            (&fetched.key, &fetched.content.time)
        );
    }
    let kinds: Vec<_> = fetched[7..]
        .iter()
        .map(|f| f.as_ref().unwrap_err().kind)
        .collect();
    assert_eq!(
        kinds,
        [
            ErrorKind::NotFound,
            ErrorKind::NotFound,
            ErrorKind::Protocol
        ]
    );
}

/// A feed over a real socket, which keeps what it was asked.
async fn feed(content: String) -> (String, Arc<Mutex<Vec<HeaderMap>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let app = Router::new().fallback(move |request: Request| {
        let (content, log) = (content.clone(), Arc::clone(&log));
        async move {
            let headers = request.headers().clone();
            log.lock().unwrap().push(headers.clone());
            let status = match request.uri().path() {
                "/denied" => StatusCode::UNAUTHORIZED,
                "/moved" => StatusCode::FOUND,
                "/busy" => StatusCode::SERVICE_UNAVAILABLE,
                "/many" => StatusCode::TOO_MANY_REQUESTS,
                "/gone" => StatusCode::NOT_FOUND,
                _ => StatusCode::OK,
            };
            if status != StatusCode::OK {
                return (status, [("retry-after", "7")]).into_response();
            }
            if headers
                .get("if-none-match")
                .is_some_and(|tag| tag == "\"one\"")
            {
                return StatusCode::NOT_MODIFIED.into_response();
            }
            ([("etag", "\"one\"")], content).into_response()
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), asked)
}

#[tokio::test]
async fn an_unchanged_feed_costs_one_conditional_request() {
    let (base, asked) = feed(file(&vevent("a", "DTSTART:20261201T080000Z"))).await;
    let connection = open(json!({
        "url": format!("{base}/feed.ics"), "address": ADDRESS, "user": "jane", "password": "env:X",
        "http": { "proxy": "none" },
    }))
    .unwrap();
    let (changes, cursor) = told(&*connection, request(december())).await.unwrap();
    assert_eq!(sort(changes, december()).0.len(), 1);
    let mut again = request(december());
    again.cursor = cursor.clone();
    again.covered = known(december());
    let (changes, same) = told(&*connection, again).await.unwrap();
    assert!(changes.is_empty());
    assert_eq!(same, cursor);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].get("if-none-match"), None);
    assert_eq!(asked[0]["authorization"], "Basic amFuZTpzZXNhbWU=");
    assert_eq!(asked[1]["if-none-match"], "\"one\"");
    assert_eq!(
        connection.roster().await.unwrap().entries[0].calendar,
        calendar()
    );
}

#[tokio::test]
async fn a_feed_in_trouble_says_which() {
    let (base, _) = feed("<html>Sign in</html>".to_owned()).await;
    for (path, kind) in [
        ("/denied", ErrorKind::Auth),
        ("/moved", ErrorKind::Config),
        ("/busy", ErrorKind::Transient),
        ("/many", ErrorKind::Throttled),
        ("/gone", ErrorKind::NotFound),
        ("/secret-token", ErrorKind::Protocol),
    ] {
        let connection = open(json!({
            "url": format!("{base}{path}"), "address": ADDRESS, "http": { "proxy": "none" },
        }))
        .unwrap();
        let error = told(&*connection, request(december())).await.unwrap_err();
        assert_eq!(error.kind, kind, "{path}: {error}");
        assert!(!error.message.contains("token"), "{error}");
        if kind == ErrorKind::Throttled {
            assert_eq!(error.wait(), Some(std::time::Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn check_tells_what_is_wrong_without_personal_data() {
    let folder = tempfile::tempdir().unwrap();
    let connection = open(json!({ "path": folder.path() })).unwrap();
    let scope = |calendars| CheckScope {
        now: december().start(),
        calendars,
    };
    let report = connection.check(scope(vec![])).await.unwrap();
    assert_eq!(report.findings[0].severity, Severity::Warning);

    write(
        folder.path(),
        &(vevent("a", "DTSTART:20261201T080000Z") + &vevent("b", "SUMMARY:Canary")),
    );
    let nobody = CalendarRef::primary("nobody@example.org").unwrap();
    let report = connection
        .check(scope(vec![calendar(), nobody]))
        .await
        .unwrap();
    let told: Vec<_> = report.findings.iter().map(|f| f.severity).collect();
    assert_eq!(
        told,
        [Severity::Passed, Severity::Warning, Severity::Failed]
    );
    assert!(report.findings[1].message.contains("line 8"), "{report:?}");
    assert!(
        report
            .findings
            .iter()
            .all(|f| !f.message.contains("Canary") && !f.message.contains('@'))
    );

    let report = open(json!({ "path": folder.path().join("missing") }))
        .unwrap()
        .check(scope(vec![]))
        .await
        .unwrap();
    assert!(!report.passed());
}

/// Reads calendars of many producers, where they are beside the workspace.
#[tokio::test]
async fn calendars_of_many_producers_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/calendars");
    if !folder.is_dir() {
        println!("skipped: no ../shared/data/calendars beside the workspace");
        return;
    }
    let wide = window("1990-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let (mut good, mut refused, mut told_events) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ics") {
            continue;
        }
        let connection = open(json!({ "path": path, "address": ADDRESS })).unwrap();
        let broken = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("broken");
        match told(&*connection, request(wide)).await {
            Ok((changes, _)) => {
                good += 1;
                told_events += sort(changes, wide).0.len();
            }
            Err(error) => {
                assert!(broken, "{}: {error}", path.display());
                refused += 1;
            }
        }
    }
    println!("{good} files read with {told_events} events, {refused} refused");
    assert!(good > 45 && told_events > 10_000);
}

#[tokio::test]
async fn an_empty_calendar_is_good() {
    let (events, unreadable) = list("", december()).await;
    assert!(events.is_empty() && unreadable.is_empty());
}

/// Every place of a file is cut, overwritten and doubled once; whatever comes of it, nothing panics.
#[tokio::test]
async fn damaged_files_end_in_errors_never_in_panics() {
    let good = file(
        &("BEGIN:VTIMEZONE\nTZID:Own\nBEGIN:STANDARD\nDTSTART:19701025T030000\nTZOFFSETFROM:+0200\n\
           TZOFFSETTO:+0100\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\nEND:STANDARD\nEND:VTIMEZONE\n"
            .to_owned()
            + &vevent(
                "a",
                "DTSTART;TZID=Own:20261201T080000\nDURATION:P1DT2H\nRRULE:FREQ=MONTHLY;UNTIL=20270131T120000Z;\
                 BYDAY=-1FR\nEXDATE;VALUE=DATE:20261203\nRDATE;VALUE=PERIOD:20261204T080000Z/PT1H\n\
                 CATEGORIES:a\\,b,c",
            )
            + &vevent("a", "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261203T080000Z")),
    )
    .into_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{ADDRESS}.ics"));
    let connection = open(json!({ "path": folder.path() })).unwrap();
    let (mut read, mut refused) = (0, 0);
    for place in (0..good.len()).step_by(5) {
        let mut damaged = vec![good[..place].to_vec()];
        for byte in [b'9', b':', 0xff] {
            let mut copy = good.clone();
            copy[place] = byte;
            damaged.push(copy);
        }
        damaged.push([&good[..place], &good[place.saturating_sub(7)..]].concat());
        for content in damaged {
            std::fs::write(&path, content).unwrap();
            match told(&*connection, request(december())).await {
                Ok((changes, _)) => {
                    sort(changes, december());
                    read += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Protocol, "{place}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 200 && refused > 100, "{read} {refused}");
}
