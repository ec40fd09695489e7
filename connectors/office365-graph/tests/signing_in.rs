//! Signing in, against the sandbox's token endpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calbridge_core::connector::{CheckScope, ErrorKind, Scope, Severity};
use calbridge_core::model::CalendarRef;
use calbridge_sandbox::graph::{Application, GraphOptions, Secret};
use jiff::SignedDuration;
use serde_json::json;
use support::*;

/// A key and a certificate of core's tests; the files hold nothing secret.
fn testdata(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/src/http/testdata");
    folder.join(name).to_str().unwrap().to_owned()
}

/// The certificate of a PEM file.
fn der(path: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    let (body, _) = rest.split_once("-----END CERTIFICATE-----").unwrap();
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).unwrap()
}

fn give(bench: &Bench, value: &str) {
    let mut secrets = bench.secrets.0.lock().unwrap();
    secrets.insert("env:GRAPH".to_owned(), value.to_owned());
}

async fn read(bench: &Bench) -> calbridge_core::connector::Result<()> {
    Memory::default().read(bench, request(ANNA, winter())).await
}

#[tokio::test]
async fn a_certificate_signs_in_by_an_assertion() {
    let application = Application {
        secrets: Vec::new(),
        certificates: vec![der(&testdata("rsa.pem"))],
        ..Application::new("calbridge-app", "")
    };
    let options = GraphOptions {
        applications: vec![application],
        ..GraphOptions::default()
    };
    let bench = Bench::with(options, |settings| {
        settings["auth"] = json!({
            "kind": "certificate",
            "certificate": { "certificate": testdata("rsa.pem"), "key": testdata("rsa-pkcs1.key") },
        });
    })
    .await;
    read(&bench).await.unwrap();
    // One that is not registered.
    bench.graph.revoke_tokens();
    bench
        .graph
        .change_applications(|applications| applications[0].certificates.clear());
    let error = read(&bench).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Auth, Scope::Connection)
    );
    assert_eq!(error.code, "graph.token.AADSTS700027");
}

#[tokio::test]
async fn a_key_of_another_kind_is_told() {
    let bench = Bench::with(GraphOptions::default(), |settings| {
        settings["auth"] = json!({
            "kind": "certificate",
            "certificate": { "certificate": testdata("ec.pem"), "key": testdata("ec-sec1.key") },
        });
    })
    .await;
    let error = read(&bench).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Config, "graph.token.key")
    );
    assert_eq!(bench.count("Token"), 0);
}

#[tokio::test]
async fn a_refused_secret_rests_until_it_changes() {
    let bench = Bench::start().await;
    give(&bench, "hunter2");
    for _ in 0..5 {
        let error = read(&bench).await.unwrap_err();
        assert_eq!(error.code, "graph.token.AADSTS7000215");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    assert_eq!(bench.count("Token"), 1);
    // Later once more: a new secret is not known everywhere at once.
    bench.clock.set(at(NOW) + SignedDuration::from_mins(11));
    read(&bench).await.unwrap_err();
    assert_eq!(bench.count("Token"), 2);
    give(&bench, "sandbox");
    read(&bench).await.unwrap();
    assert_eq!(bench.count("Token"), 3);
}

#[tokio::test]
async fn an_expired_secret_is_told_as_that() {
    let mut application = Application::new("calbridge-app", "sandbox");
    application.secrets = vec![Secret {
        value: "sandbox".to_owned(),
        ends: at("2026-11-19T00:00:00Z"),
    }];
    let options = GraphOptions {
        applications: vec![application],
        ..GraphOptions::default()
    };
    let bench = Bench::with(options, |_| {}).await;
    let error = read(&bench).await.unwrap_err();
    assert_eq!(error.code, "graph.token.AADSTS7000222");
    assert!(error.message.contains("expired"), "{error}");
}

#[tokio::test]
async fn one_token_serves_all_and_is_renewed_ahead() {
    let bench = Bench::start().await;
    let reads = (0..8).map(|_| read(&bench));
    for done in futures_util::future::join_all(reads).await {
        done.unwrap();
    }
    assert_eq!(bench.count("Token"), 1);
    let later = at(NOW) + SignedDuration::from_mins(56);
    bench.clock.set(later);
    bench.exchange.set_clock(Some(later));
    read(&bench).await.unwrap();
    assert_eq!(bench.count("Token"), 2);
    // What is revoked is replaced once, by whoever notices.
    bench.graph.revoke_tokens();
    read(&bench).await.unwrap();
    assert_eq!(bench.count("Token"), 3);
}

async fn check(bench: &Bench, addresses: &[&str]) -> Vec<(String, Severity, String)> {
    let scope = CheckScope {
        now: at(NOW),
        calendars: addresses
            .iter()
            .map(|address| CalendarRef::primary(address).unwrap())
            .collect(),
    };
    let report = bench.connection.check(scope).await.unwrap();
    let findings = report.findings.into_iter();
    findings
        .map(|finding| (finding.name, finding.severity, finding.message))
        .collect()
}

fn severity(findings: &[(String, Severity, String)], name: &str) -> Option<Severity> {
    let found = findings.iter().find(|(found, ..)| found == name);
    found.map(|(_, severity, _)| *severity)
}

#[tokio::test]
async fn check_tells_what_is_right_and_what_is_not() {
    let mut application = Application::new("calbridge-app", "sandbox");
    application.mailboxes = Some(vec![ANNA.to_owned()]);
    let options = GraphOptions {
        applications: vec![application],
        ..GraphOptions::default()
    };
    let bench = Bench::with(options, |settings| {
        settings["forbidden_mailbox"] = json!(ROOM);
        settings["auth"]["expires"] = json!("2026-11-30");
    })
    .await;
    let good = check(&bench, &[ANNA]).await;
    for name in [
        "reachable",
        "authentication",
        "permission",
        "calendar",
        "appointments",
        "scope",
    ] {
        assert_eq!(
            severity(&good, name),
            Some(Severity::Passed),
            "{name}: {good:?}"
        );
    }
    assert_eq!(severity(&good, "secret"), Some(Severity::Warning));
    let outside = check(&bench, &[BO]).await;
    assert_eq!(severity(&outside, "authority"), Some(Severity::Failed));
    assert!(
        outside.iter().any(|(name, ..)| name == "command"),
        "{outside:?}"
    );
    let unknown = check(&bench, &["nobody@contoso.example"]).await;
    assert_eq!(severity(&unknown, "calendar"), Some(Severity::Failed));
    bench
        .graph
        .change_applications(|all| all[0].mailboxes = None);
    let open = check(&bench, &[ANNA]).await;
    assert_eq!(severity(&open, "scope"), Some(Severity::Failed));
    give(&bench, "hunter2");
    bench.graph.revoke_tokens();
    bench.clock.set(at(NOW) + SignedDuration::from_mins(58));
    let refused = check(&bench, &[]).await;
    assert_eq!(severity(&refused, "authentication"), Some(Severity::Failed));
    assert!(
        refused.iter().any(|(name, ..)| name == "step"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_mailbox_is_the_mailboxs_matter() {
    let bench = Bench::start().await;
    bench.graph.set_licensed(ANNA, false);
    let error = read(&bench).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::NotFound, Scope::Calendar)
    );
    bench.graph.set_licensed(ANNA, true);
    bench
        .graph
        .inject_spec("*@anna@contoso.example=error:429/ApplicationThrottled/120")
        .unwrap();
    let error = read(&bench).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Throttled, Scope::Calendar)
    );
    assert_eq!(error.wait().map(|wait| wait.as_secs()), Some(120));
    // It is left alone, and others are read.
    let asked = bench.graph.ledger().len();
    assert_eq!(read(&bench).await.unwrap_err().kind, ErrorKind::Throttled);
    assert_eq!(bench.graph.ledger().len(), asked);
    Memory::default()
        .read(&bench, request(BO, winter()))
        .await
        .unwrap();
}

#[tokio::test]
async fn no_token_leaves_the_configured_cloud() {
    let elsewhere = Bench::start().await;
    let root = elsewhere.graph.root();
    for fault in [
        format!("Changes*all=link:{root}/v1.0/users/x/calendarView/delta?$skiptoken=x"),
        format!("Changes*all=redirect:{root}/v1.0/x"),
        "Changes*all=html".to_owned(),
        "Changes*all=not-json".to_owned(),
        "Changes*all=no-link".to_owned(),
    ] {
        let bench = Bench::start().await;
        bench.graph.inject_spec(&fault).unwrap();
        let error = read(&bench).await.unwrap_err();
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Protocol, Scope::Calendar),
            "{fault}: {error}"
        );
        assert!(!error.message.contains("anna"), "{error}");
        bench.graph.clear_faults();
        read(&bench).await.unwrap();
    }
    assert_eq!(elsewhere.graph.ledger().len(), 0);
}

#[tokio::test]
async fn one_odd_event_spoils_no_other() {
    let bench = Bench::start().await;
    bench.add(ANNA, "2026-12-07T09:00", "2026-12-07T10:00");
    bench.add(ANNA, "2026-12-08T09:00", "2026-12-08T10:00");
    let mut memory = Memory::default();
    memory.read_true(&bench, request(ANNA, winter())).await;
    for fault in [
        "wrong-type:start",
        "missing:start",
        "missing:iCalUId",
        "wrong-type:showAs",
    ] {
        let mut known = memory.clone();
        known.cursor = None;
        bench
            .graph
            .inject_spec(&format!("Changes={fault}"))
            .unwrap();
        known.read(&bench, request(ANNA, winter())).await.unwrap();
        assert_eq!(known.unreadable.len(), 2, "{fault}");
        assert_eq!(
            known.events, memory.events,
            "{fault}: what is known is kept"
        );
    }
    for fault in [
        "unknown-value:showAs",
        "unknown-value:type",
        "unknown-value:sensitivity",
    ] {
        let mut known = memory.clone();
        known.cursor = None;
        bench
            .graph
            .inject_spec(&format!("Changes={fault}"))
            .unwrap();
        known.read(&bench, request(ANNA, winter())).await.unwrap();
        assert_eq!(
            (known.unreadable.len(), known.events.len()),
            (0, 2),
            "{fault}"
        );
    }
}
