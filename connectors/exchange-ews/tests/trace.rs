//! The trace of one mailbox's requests: what support needs, and nothing about people.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use calbridge_core::connector::CheckScope;
use calbridge_core::model::{CalendarRef, Field, FieldSet};
use calbridge_sandbox::exchange::{Account, Attendee, Person, Profile};
use jiff::Timestamp;
use serde_json::json;
use support::{ANNA, BO, Bench, busy, read, request, winter};

const SECRETS: [&str; 9] = [
    "Hansen",
    "Statusmøde",
    "0101901234",
    "anna",
    "bo@kommune",
    "Lokale",
    "geheim",
    "svc-calbridge",
    // User name and password as Basic sends them.
    "c3ZjLWNhbGJyaWRnZTpnZWhlaW0h",
];

async fn traced(profile: Profile, file: &Path, lasts: &str) -> Bench {
    let bench = Bench::with(profile, |settings| {
        settings["trace"] = json!({ "mailbox": ANNA, "file": file, "lasts": lasts });
    })
    .await;
    let account = Account::service("svc-calbridge", "geheim!");
    bench.exchange.set_accounts(vec![account]);
    let secret = ("env:EXCHANGE".to_owned(), "geheim!".to_owned());
    bench.secrets.0.lock().unwrap().extend([secret]);
    let item = busy("2026-12-01T09:00", "2026-12-01T10:00").with(|item| {
        item.subject = "Statusmøde med Dr. Hansen".to_owned();
        item.location = "Lokale 3".to_owned();
        item.body = "CPR 0101901234".to_owned();
        item.required = vec![Attendee {
            person: Person::new("Bo Hansen", BO),
            ..Attendee::default()
        }];
    });
    bench.exchange.create(ANNA, item).unwrap();
    bench
}

#[tokio::test]
async fn requests_and_answers_are_there_and_no_secrets_subjects_bodies_or_names() {
    for profile in [Profile::Exchange2019, Profile::Gromox] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace.txt");
        let bench = traced(profile, &file, "10 min").await;
        let mut all = request(ANNA, winter());
        all.fields = FieldSet::from_iter([
            Field::Time,
            Field::ShowAs,
            Field::Subject,
            Field::Location,
            Field::Body,
            Field::Private,
            Field::Categories,
        ]);
        bench.read(all).await.unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        for part in [
            "SyncFolderItems",
            "FindItem",
            "ResponseCode NoError",
            "status 200",
            "Subject […]",
            "LegacyFreeBusyStatus Busy",
            "TimeZoneId Romance Standard Time",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        for secret in SECRETS {
            assert!(
                !text.to_lowercase().contains(&secret.to_lowercase()),
                "{secret}\n{text}"
            );
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[tokio::test]
async fn other_mailboxes_are_not_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.txt");
    let bench = traced(Profile::Exchange2019, &file, "10 min").await;
    read(bench.connection.as_ref(), request(BO, winter()))
        .await
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(">>"), "{text}");
}

#[tokio::test]
async fn failures_are_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.txt");
    let bench = traced(Profile::Exchange2019, &file, "10 min").await;
    bench
        .exchange
        .inject_spec("GetFolder#1=fault:ErrorAccessDenied;GetFolder#2=reset-before")
        .unwrap();
    for _ in 0..2 {
        assert!(bench.read(request(ANNA, winter())).await.is_err());
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("ResponseCode ErrorAccessDenied"), "{text}");
    assert!(text.contains("no answer [http."), "{text}");
}

#[tokio::test]
async fn a_check_s_own_requests_are_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.txt");
    let bench = traced(Profile::Exchange2019, &file, "10 min").await;
    let scope = CheckScope {
        now: Timestamp::now(),
        calendars: vec![CalendarRef::primary(ANNA).unwrap()],
    };
    bench.connection.check(scope).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("for no mailbox") && text.contains("GetFolder"),
        "{text}"
    );
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
}

#[tokio::test]
async fn its_time_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.txt");
    let town = support::town::Town::new().await;
    let exchange = town.server(&[support::town::MAIL]).await;
    let mut settings = town.settings();
    settings["url"] = json!("https://mail.kommune.example/EWS/Exchange.asmx");
    settings.as_object_mut().unwrap().remove("autodiscover");
    settings["trace"] = json!({ "mailbox": ANNA, "file": file, "lasts": "10 min" });
    let connection = town.open(settings).unwrap();
    read(connection.as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(before.contains(">>"));
    let later = calbridge_core::clock::Clock::now(town.clock.as_ref())
        .saturating_add(jiff::SignedDuration::from_mins(11))
        .unwrap();
    town.clock.set(later);
    let asked = exchange.ledger().len();
    read(connection.as_ref(), request(ANNA, winter()))
        .await
        .unwrap();
    assert!(exchange.ledger().len() > asked);
    let after = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        after.strip_prefix(before.as_str()),
        Some("\nThe time is up.\n")
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told() {
    let mut settings = support::settings("http://127.0.0.1:9/EWS/Exchange.asmx");
    settings["trace"] = json!({ "mailbox": ANNA, "file": "/nowhere/at/all/trace.txt" });
    let error = support::open(settings).err().unwrap();
    assert_eq!(error.code, "config.trace");
    assert!(error.message.contains("`trace`"), "{error}");
}
