//! `check`: what an operator is told, from the outside in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{CheckReport, CheckScope, Severity};
use calbridge_core::model::CalendarRef;
use calbridge_sandbox::exchange::{
    Account, Direction, ExchangeOptions, Impersonation, Profile, Right, SignIn,
};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki, Signer, Validity};
use jiff::{SignedDuration, Timestamp};
use support::town::{AUTODISCOVER, Town};
use support::{ANNA, BO, Bench, ROOM, request, winter};

async fn check(bench: &Bench, addresses: &[&str]) -> CheckReport {
    let scope = CheckScope {
        now: Timestamp::now(),
        calendars: addresses
            .iter()
            .map(|address| CalendarRef::primary(address).unwrap())
            .collect(),
    };
    bench.connection.check(scope).await.unwrap()
}

fn found(report: &CheckReport) -> Vec<(&str, Severity)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.name.as_str(), finding.severity))
        .collect()
}

fn failed(report: &CheckReport) -> Vec<&str> {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Failed)
        .map(|finding| finding.name.as_str())
        .collect()
}

fn said(report: &CheckReport, name: &str) -> Vec<String> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.name == name)
        .map(|finding| finding.message.clone())
        .collect()
}

#[tokio::test]
async fn each_mailbox_is_told_where_it_is() {
    let town = Town::new().await;
    let names = [AUTODISCOVER, "mail1.kommune.example"];
    let first = town.server(&names).await;
    let second = town
        .server_with(
            &["mail2.kommune.example"],
            &["mail2.kommune.example"],
            SignIn::default(),
            Profile::Exchange2013,
        )
        .await;
    let ews = |host: &str| Direction::Ews(format!("https://{host}/EWS/Exchange.asmx"));
    first.direct(ANNA, ews("mail1.kommune.example"));
    first.direct(BO, ews("mail2.kommune.example"));
    first.direct(
        ROOM,
        Direction::Online("lokale3@kommune.onmicrosoft.com".into()),
    );
    second.set_date_skew(SignedDuration::from_mins(10));
    let connection = town.open(town.settings()).unwrap();
    let check = async |addresses: &[&str]| {
        let calendars = addresses
            .iter()
            .map(|address| CalendarRef::primary(address).unwrap());
        let scope = CheckScope {
            now: Timestamp::now(),
            calendars: calendars.collect(),
        };
        connection.check(scope).await.unwrap()
    };
    // Nobody to look up.
    assert_eq!(found(&check(&[]).await), [("reachable", Severity::Unknown)]);
    let report = check(&[ANNA, BO, ROOM]).await;
    assert_eq!(failed(&report), ["autodiscover"]);
    let places = said(&report, "autodiscover");
    assert!(places[0].contains("mail1.kommune.example"), "{places:?}");
    assert!(places[1].contains("mail2.kommune.example"), "{places:?}");
    assert!(places[2].contains("ews.moved-online"), "{places:?}");
    let there = said(&report, "calendar");
    assert!(there[0].contains("Exchange 2019"), "{there:?}");
    assert!(there[1].contains("Exchange 2013"), "{there:?}");
    assert_eq!(said(&report, "reachable").len(), 2);
    let clocks = said(&report, "clock");
    assert_eq!(
        clocks
            .iter()
            .filter(|text| text.contains("time server"))
            .count(),
        2
    );
    // A check asks anew.
    first.ledger().clear();
    check(&[ANNA]).await;
    assert_eq!(first.ledger().count("AutodiscoverJson"), 1);
}

#[tokio::test]
async fn appointments_that_cannot_be_read_are_told() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench
        .exchange
        .inject_spec("FindItem*all=error:ErrorAccessDenied")
        .unwrap();
    let report = check(&bench, &[ANNA]).await;
    assert_eq!(failed(&report), ["appointments"]);
    assert!(said(&report, "appointments")[0].contains("ews.ErrorAccessDenied"));
}

#[tokio::test]
async fn a_busy_server_is_told_as_such() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench
        .exchange
        .inject_spec("*@anna@kommune.example*all=busy-fault:297749")
        .unwrap();
    let report = check(&bench, &[ANNA, BO]).await;
    assert_eq!(failed(&report), ["throttling"]);
}

#[tokio::test]
async fn all_is_well() {
    for profile in [
        Profile::Exchange2013,
        Profile::Exchange2019,
        Profile::Gromox,
    ] {
        let bench = Bench::start(profile).await;
        let report = check(&bench, &[ANNA, BO]).await;
        assert!(report.passed(), "{report:?}");
        let names: Vec<&str> = found(&report).into_iter().map(|(name, _)| name).collect();
        let outside = ["reachable", "tls", "authentication", "version", "clock"];
        let calendar = ["calendar", "impersonation", "folder-right", "appointments"];
        let limits = ["throttling"];
        assert_eq!(
            names,
            [&outside[..], &calendar, &calendar, &limits].concat()
        );
        assert!(report.server.as_deref().unwrap().starts_with("Exchange 20"));
        assert!(report.clock_difference_ms.unwrap().abs() < 5_000);
        // Reads only.
        assert!(
            bench
                .exchange
                .ledger()
                .all()
                .iter()
                .all(|call| matches!(call.operation.as_str(), "GetFolder" | "FindItem"))
        );
    }
}

#[tokio::test]
async fn clocks_that_differ() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.exchange.set_date_skew(SignedDuration::from_mins(10));
    let report = check(&bench, &[]).await;
    assert!(found(&report).contains(&("clock", Severity::Warning)));
    let difference = report.clock_difference_ms.unwrap();
    assert!((590_000..610_000).contains(&difference), "{difference}");
}

#[tokio::test]
async fn rights_are_told_apart() {
    let bench = Bench::start(Profile::Exchange2019).await;
    let mut account = Account::service("svc-calbridge", "sandbox");
    account.impersonation = Impersonation::Only(vec![BO.into()]);
    bench.exchange.set_accounts(vec![account]);
    let report = check(&bench, &[ANNA, BO, "nobody@kommune.example"]).await;
    assert_eq!(failed(&report), ["impersonation", "calendar"]);
    let commands = said(&report, "command");
    assert!(
        commands[0].starts_with("New-ManagementScope "),
        "{commands:?}"
    );
    assert!(
        commands[1].contains("-Role ApplicationImpersonation -User 'svc-calbridge'"),
        "{commands:?}"
    );
    // What to do about somebody who is not there stands beside it.
    assert!(said(&report, "roster")[0].contains("roster.deny"));
    for finding in &report.findings {
        assert!(!finding.message.contains('@'), "{}", finding.message);
    }

    let mut account = Account::service("svc-calbridge", "sandbox");
    account.impersonation = Impersonation::Nobody;
    account.rights.insert(ANNA.into(), Right::Reviewer);
    account.rights.insert(BO.into(), Right::FolderVisible);
    let options = ExchangeOptions {
        accounts: vec![account],
        ..ExchangeOptions::default()
    };
    let bench = Bench::of(options, |settings| settings["access"] = "delegate".into()).await;
    let report = check(&bench, &[ANNA, BO]).await;
    assert_eq!(failed(&report), ["folder-right"]);
    let commands = said(&report, "command");
    assert!(commands[0].starts_with("Add-MailboxFolderPermission "));
    assert!(said(&report, "throttling")[0].contains("EwsMaxConcurrency"));
}

#[tokio::test]
async fn a_wrong_password() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench
        .exchange
        .set_accounts(vec![Account::service("svc-calbridge", "other")]);
    let report = check(&bench, &[ANNA]).await;
    assert_eq!(failed(&report), ["authentication"]);
    assert_eq!(bench.requests(), 1, "no more attempts: they lock accounts");
}

#[tokio::test]
async fn something_else_answers() {
    let bench = Bench::with(Profile::Exchange2019, |settings| {
        let url = settings["url"]
            .as_str()
            .unwrap()
            .replace("Exchange.asmx", "Nothing.asmx");
        settings["url"] = url.into();
    })
    .await;
    let report = check(&bench, &[ANNA]).await;
    assert_eq!(failed(&report), ["server"]);
}

async fn over_tls(spec: CertificateSpec, trust: bool) -> (Bench, tempfile::TempDir) {
    let pki = Pki::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    pki.write_ca(&ca).unwrap();
    let tls = pki.server_config(&spec, ClientAuth::None).unwrap();
    let options = ExchangeOptions {
        server: ServerOptions {
            tls: Some(tls),
            ..ServerOptions::default()
        },
        ..ExchangeOptions::default()
    };
    let bench = Bench::of(options, |settings| {
        if trust {
            settings["http"]["extra_ca"] = serde_json::json!([ca]);
        }
    })
    .await;
    (bench, directory)
}

#[tokio::test]
async fn https_with_a_company_ca() {
    for backend in ["rustls", "native-tls"] {
        let (bench, directory) = over_tls(CertificateSpec::server(), true).await;
        let mut settings = support::settings(&bench.exchange.url());
        settings["http"]["extra_ca"] = serde_json::json!([directory.path().join("ca.pem")]);
        settings["http"]["tls"] = backend.into();
        let (connection, secrets) = support::open(settings).unwrap();
        let bench = Bench {
            connection,
            secrets,
            exchange: bench.exchange,
            shutdown: bench.shutdown,
        };
        let report = check(&bench, &[ANNA]).await;
        assert!(report.passed(), "{backend}: {report:?}");
        bench.read_true(request(ANNA, winter())).await;
    }
}

#[tokio::test]
async fn certificates_that_are_not_accepted() {
    for (spec, trust, says) in [
        (CertificateSpec::server(), false, "extra_ca"),
        (
            CertificateSpec::server().signed_by(Signer::Stranger),
            true,
            "extra_ca",
        ),
        (
            CertificateSpec::server().valid(Validity::Expired),
            true,
            "expired",
        ),
        (
            CertificateSpec::server_for(["mail.other.example"]),
            true,
            "another host",
        ),
    ] {
        let (bench, _directory) = over_tls(spec, trust).await;
        let report = check(&bench, &[ANNA]).await;
        assert_eq!(failed(&report), ["tls"], "{report:?}");
        let finding = report.findings.last().unwrap();
        assert!(finding.message.contains(says), "{}", finding.message);
        assert_eq!(bench.requests(), 0, "no credentials are sent");
        assert!(bench.read(request(ANNA, winter())).await.is_err());
    }
}
