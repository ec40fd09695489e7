//! What the sink writes, and what is there afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    ApplyReport, AttemptToken, CheckScope, Connection, Context, ErrorKind, InventoryEntry,
    InventoryPage, InventoryRequest, Op, Outcome, Result, Scope, Severity, SideState, Write,
    WriteId, find,
};
use calbridge_core::model::{
    CalendarRef, Content, EventKey, EventTime, OriginalStart, ShowAs, SideRef, Window,
};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use jiff::Timestamp;
use serde_json::json;

#[derive(Debug)]
struct NoSecrets;

impl SecretResolver for NoSecrets {
    fn resolve(
        &self,
        reference: &SecretRef,
    ) -> std::result::Result<secrecy::SecretString, SecretError> {
        Err(SecretError {
            reference: reference.to_string(),
            reason: "there are none".to_owned(),
        })
    }
}

fn open(folder: &Path) -> (Arc<dyn Connection>, Arc<FixedClock>) {
    use calbridge_ical_sink as _;
    let clock = Arc::new(FixedClock::new(at("2026-11-22T08:00:00Z")));
    let context = Context {
        connection: "test".to_owned(),
        clock: clock.clone(),
        secrets: Arc::new(NoSecrets),
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    let entry = find("ical-sink").expect("registered");
    let sink = entry.open(json!({ "folder": folder, "max_bytes": 100_000 }), context);
    (sink.unwrap(), clock)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn jane() -> CalendarRef {
    CalendarRef::primary("Jane@example.org").unwrap()
}

fn file(folder: &Path) -> PathBuf {
    folder.join("jane@example.org.ics")
}

fn hour(day: i8) -> Content {
    let start = at(&format!("2026-12-{day:02}T08:00:00Z"));
    let end = at(&format!("2026-12-{day:02}T09:00:00Z"));
    Content::times(EventTime::timed(start, end, None).unwrap())
}

fn rich() -> Content {
    Content {
        show_as: Some(ShowAs::Tentative),
        subject: Some(
            "Caf\u{e9}; \"x\", \\n and a very long line "
                .repeat(4)
                .trim()
                .to_owned(),
        ),
        location: Some(String::new()),
        body: Some("one\ntwo\n\nEND:VEVENT\n".to_owned()),
        private: Some(true),
        categories: Some(vec!["a,b".to_owned(), "c".to_owned()]),
        ..hour(1)
    }
}

fn write(op: Op, id: &str, target: Option<Content>) -> Write {
    Write {
        id: WriteId(7),
        op,
        key: EventKey::new(
            "uid@x",
            Some(OriginalStart::Instant(at("2026-12-01T08:00:00Z"))),
        )
        .unwrap(),
        remote: Some(SideRef::new(id).unwrap()),
        target,
        base: None,
        group_version: None,
        token: AttemptToken("t".to_owned()),
    }
}

async fn apply(sink: &dyn Connection, writes: &[Write]) -> Result<ApplyReport> {
    sink.sink().unwrap().apply(&jane(), writes).await
}

async fn one(sink: &dyn Connection, op: Op, id: &str, target: Option<Content>) -> Outcome {
    let report = apply(sink, &[write(op, id, target)]).await.unwrap();
    assert_eq!(report.outcomes.len(), 1);
    assert_eq!(report.outcomes[0].id, WriteId(7));
    assert_eq!(
        report.receipts[report.outcomes[0].receipt.unwrap()].events,
        1
    );
    report.outcomes[0].outcome.clone()
}

async fn inventory(sink: &dyn Connection) -> InventoryPage {
    let request = InventoryRequest {
        calendars: vec![jane()],
        window: Window::new(at("2026-11-30T23:00:00Z"), at("2026-12-31T23:00:00Z")).unwrap(),
        now: at("2026-11-22T08:00:00Z"),
    };
    let mut feed = sink.sink().unwrap().inventory(request).await.unwrap();
    let page = feed.next().await.unwrap().unwrap();
    assert!(feed.next().await.unwrap().is_none());
    page
}

async fn entries(sink: &dyn Connection) -> Vec<InventoryEntry> {
    let page = inventory(sink).await;
    assert_eq!(page.complete, [jane()]);
    page.entries
}

fn done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

#[tokio::test]
async fn what_is_written_is_listed_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    assert!(entries(&*sink).await.is_empty());
    let days = Content {
        show_as: Some(ShowAs::Away),
        ..Content::times(
            EventTime::all_day(
                jiff::civil::date(2026, 12, 24),
                jiff::civil::date(2026, 12, 27),
            )
            .unwrap(),
        )
    };
    for (id, content) in [("rich$1", rich()), ("days", days), ("times", hour(3))] {
        let outcome = one(&*sink, Op::Create, id, Some(content.clone())).await;
        let Outcome::Done { remote, stored } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(remote.unwrap().id, id);
        assert_eq!(stored, None, "{id}");
        let entries = entries(&*sink).await;
        let entry = entries.iter().find(|entry| entry.remote.id == id).unwrap();
        assert_eq!(entry.content.as_ref().unwrap(), &content);
        assert_eq!(
            entry.key.as_ref().unwrap(),
            &write(Op::Create, id, None).key
        );
    }
    // A file that others can read: every line ends with CRLF and is at most 75 bytes long.
    let text = std::fs::read_to_string(file(folder.path())).unwrap();
    assert!(
        text.split_inclusive('\n')
            .all(|line| line.ends_with("\r\n") && line.len() <= 77)
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_icalendar_cannot_keep_is_told_as_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    let time = EventTime::timed(
        at("2026-12-01T08:00:00.5Z"),
        at("2026-12-01T09:00:00Z"),
        None,
    )
    .unwrap();
    let outcome = one(&*sink, Op::Create, "a", Some(Content::times(time))).await;
    let Outcome::Done {
        stored: Some(stored),
        ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(stored, hour(1));
}

#[tokio::test]
async fn repeated_writes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, clock) = open(folder.path());
    assert!(done(&one(&*sink, Op::Create, "a", Some(rich())).await));
    let before = std::fs::read(file(folder.path())).unwrap();
    clock.set(at("2026-11-23T08:00:00Z"));

    let again = one(&*sink, Op::Create, "a", Some(rich())).await;
    let Outcome::Conflict {
        theirs: SideState::Present { remote, content },
    } = again
    else {
        panic!("{again:?}")
    };
    assert_eq!((remote.id.as_str(), content), ("a", Some(rich())));
    assert_eq!(
        one(&*sink, Op::Update, "a", Some(rich())).await,
        Outcome::Unchanged
    );
    assert!(done(&one(&*sink, Op::Delete, "absent", None).await));
    assert_eq!(
        one(&*sink, Op::Update, "absent", Some(hour(2))).await,
        Outcome::Conflict {
            theirs: SideState::Absent
        }
    );
    assert_eq!(std::fs::read(file(folder.path())).unwrap(), before);

    assert!(done(&one(&*sink, Op::Update, "a", Some(hour(2))).await));
    assert_eq!(entries(&*sink).await[0].content, Some(hour(2)));
    for _ in 0..2 {
        assert!(done(&one(&*sink, Op::Delete, "a", None).await));
        assert!(entries(&*sink).await.is_empty());
    }
}

#[tokio::test]
async fn a_batch_takes_effect_in_order_and_a_bad_write_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    let writes = [
        write(Op::Create, "a", Some(hour(1))),
        write(Op::Create, "b", None),
        Write {
            remote: None,
            ..write(Op::Create, "x", Some(hour(1)))
        },
        write(Op::Create, "c", Some(hour(3))),
        write(Op::Delete, "a", None),
    ];
    let report = apply(&*sink, &writes).await.unwrap();
    let good: Vec<bool> = report
        .outcomes
        .iter()
        .map(|outcome| done(&outcome.outcome))
        .collect();
    assert_eq!(good, [true, false, false, true, true]);
    let left: Vec<_> = entries(&*sink)
        .await
        .into_iter()
        .map(|entry| entry.remote.id)
        .collect();
    assert_eq!(left, ["c"]);
}

#[tokio::test]
async fn only_what_overlaps_the_window_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    let span = |start, end| Content::times(EventTime::timed(at(start), at(end), None).unwrap());
    for (id, content) in [
        (
            "before",
            span("2026-11-30T22:00:00Z", "2026-11-30T23:00:00Z"),
        ),
        ("into", span("2026-11-30T22:00:00Z", "2026-11-30T23:00:01Z")),
        (
            "after",
            span("2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"),
        ),
    ] {
        assert!(done(&one(&*sink, Op::Create, id, Some(content)).await));
    }
    let listed: Vec<_> = entries(&*sink)
        .await
        .into_iter()
        .map(|entry| entry.remote.id)
        .collect();
    assert_eq!(listed, ["into"]);
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    assert!(done(&one(&*sink, Op::Create, "a", Some(rich())).await));
    let ours = std::fs::read_to_string(file(folder.path())).unwrap();
    for foreign in [
        String::new(),
        "BEGIN:VCALENDAR\r\nPRODID:Canary\r\nEND:VCALENDAR\r\n".to_owned(),
        ours[..ours.len() / 2].to_owned(),
        format!("{ours}{}", "x".repeat(200_000)),
    ] {
        std::fs::write(file(folder.path()), &foreign).unwrap();
        let error = apply(&*sink, &[write(Op::Create, "b", Some(hour(1)))])
            .await
            .unwrap_err();
        assert_eq!(error.scope, Scope::Calendar);
        assert!(
            matches!(error.kind, ErrorKind::Rejected | ErrorKind::Protocol),
            "{error}"
        );
        assert!(
            !error.message.contains("Canary") && !error.message.contains('@'),
            "{error}"
        );
        assert_eq!(
            std::fs::read_to_string(file(folder.path())).unwrap(),
            foreign
        );
        let page = inventory(&*sink).await;
        assert!(page.complete.is_empty() && page.entries.is_empty());
        assert_eq!(page.failed.len(), 1);
    }
}

#[tokio::test]
async fn hostile_addresses_stay_in_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inner");
    std::fs::create_dir(&folder).unwrap();
    let (sink, _) = open(&folder);
    for address in ["../../x@y", "/etc/x@y", "..\\x@y", "nul\u{2f}x@y"] {
        let calendar = CalendarRef::primary(address).unwrap();
        let report = sink
            .sink()
            .unwrap()
            .apply(&calendar, &[write(Op::Create, "a", Some(hour(1)))])
            .await;
        assert!(done(&report.unwrap().outcomes[0].outcome));
    }
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
    let long = CalendarRef::primary(format!("{}@y", "x".repeat(400))).unwrap();
    let report = sink
        .sink()
        .unwrap()
        .apply(&long, &[write(Op::Create, "a", Some(hour(1)))])
        .await;
    let error = report.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Rejected, Scope::Calendar)
    );
}

#[tokio::test]
async fn a_missing_folder_is_told_and_nothing_is_made() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("missing");
    let (sink, _) = open(&folder);
    let error = apply(&*sink, &[write(Op::Create, "a", Some(hour(1)))])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::NotFound, Scope::Connection)
    );
    assert_eq!(inventory(&*sink).await.failed.len(), 1);
    let scope = CheckScope {
        now: at("2026-11-22T08:00:00Z"),
        calendars: vec![jane()],
    };
    let report = sink.check(scope.clone()).await.unwrap();
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Failed)
    );
    assert!(!folder.exists());

    std::fs::create_dir(&folder).unwrap();
    assert!(sink.check(scope).await.unwrap().passed());
}

/// A write that the system refuses leaves the old file: here the temporary file's name is taken by a folder,
/// which fails for every account, an administrator's too.
#[tokio::test]
async fn a_write_that_fails_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    assert!(done(&one(&*sink, Op::Create, "a", Some(rich())).await));
    let before = std::fs::read(file(folder.path())).unwrap();
    let obstacle = folder.path().join(".jane@example.org.ics.new");
    std::fs::create_dir(&obstacle).unwrap();
    apply(&*sink, &[write(Op::Delete, "a", None)])
        .await
        .unwrap_err();
    assert_eq!(std::fs::read(file(folder.path())).unwrap(), before);
    std::fs::remove_dir(&obstacle).unwrap();
    assert!(done(&one(&*sink, Op::Delete, "a", None).await));
}

/// `/dev/full` takes no byte: what a full disk answers.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    assert!(done(&one(&*sink, Op::Create, "a", Some(rich())).await));
    let before = std::fs::read(file(folder.path())).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join(".jane@example.org.ics.new"))
        .unwrap();
    let error = apply(&*sink, &[write(Op::Delete, "a", None)])
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.scope),
        ("ical.disk-full", Scope::Connection)
    );
    assert_eq!(std::fs::read(file(folder.path())).unwrap(), before);
}

/// Where a reader shares its file with nobody, Windows lets nobody replace it.
#[cfg(windows)]
#[tokio::test]
async fn a_file_that_another_program_has_open_is_told_and_stays() {
    use std::os::windows::fs::OpenOptionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    assert!(done(&one(&*sink, Op::Create, "a", Some(rich())).await));
    let before = std::fs::read(file(folder.path())).unwrap();
    const SHARE_READING: u32 = 1;
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .share_mode(SHARE_READING)
        .open(file(folder.path()))
        .unwrap();
    let error = apply(&*sink, &[write(Op::Delete, "a", None)])
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.kind, error.scope),
        ("ical.in-use", ErrorKind::Transient, Scope::Calendar)
    );
    drop(reader);
    assert_eq!(std::fs::read(file(folder.path())).unwrap(), before);
    assert!(done(&one(&*sink, Op::Delete, "a", None).await));
}

/// A name that Windows takes for a device is a file as any other.
#[tokio::test]
async fn an_address_like_a_device_gets_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    let calendar = CalendarRef::primary("con.smith@example.org").unwrap();
    let write = write(Op::Create, "a", Some(rich()));
    let report = sink
        .sink()
        .unwrap()
        .apply(&calendar, &[write])
        .await
        .unwrap();
    assert!(done(&report.outcomes[0].outcome));
    assert!(folder.path().join("%63on.smith@example.org.ics").is_file());
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_folder_is_told_and_loses_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (sink, _) = open(folder.path());
    assert!(done(&one(&*sink, Op::Create, "a", Some(rich())).await));
    let before = std::fs::read(file(folder.path())).unwrap();
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(), permissions).unwrap();
    };
    mode(0o555);
    let scope = CheckScope {
        now: at("2026-11-22T08:00:00Z"),
        calendars: Vec::new(),
    };
    assert!(!sink.check(scope).await.unwrap().passed());
    if std::fs::write(folder.path().join("probe"), "").is_ok() {
        println!("skipped: this account may write into read-only folders");
    } else {
        let error = apply(&*sink, &[write(Op::Delete, "a", None)])
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Permission, Scope::Connection)
        );
    }
    mode(0o755);
    assert_eq!(std::fs::read(file(folder.path())).unwrap(), before);
}
