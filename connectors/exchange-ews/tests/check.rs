//! `check`: what an operator is told, from the outside in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{CheckReport, CheckScope, Severity};
use calbridge_core::model::CalendarRef;
use calbridge_sandbox::exchange::{Account, ExchangeOptions, Impersonation, Profile, Right};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki, Signer, Validity};
use jiff::{SignedDuration, Timestamp};
use support::{ANNA, BO, Bench, request, winter};

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
        let calendar = ["calendar", "impersonation", "folder-right"];
        assert_eq!(names, [&outside[..], &calendar, &calendar].concat());
        assert!(report.server.as_deref().unwrap().starts_with("Exchange 20"));
        assert!(report.clock_difference_ms.unwrap().abs() < 5_000);
        // Reads only.
        assert!(
            bench
                .exchange
                .ledger()
                .all()
                .iter()
                .all(|call| call.operation == "GetFolder")
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
