//! What `check` tells apart (cases K147, K151, K156, K157), and certificates that may not be used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{CheckReport, CheckScope, ErrorKind, Outcome, Severity};
use calbridge_sandbox::planner::{Access, KnownCertificate};
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Identity, Signer, Validity};
use jiff::civil::date;
use p12_keystore::{
    EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use support::*;

async fn check(setup: &Setup) -> CheckReport {
    let scope = CheckScope {
        now: at(NOW),
        calendars: Vec::new(),
    };
    setup.open().check(scope).await.unwrap()
}

/// The worst finding with this name.
fn severity(report: &CheckReport, name: &str) -> Option<Severity> {
    report
        .findings
        .iter()
        .filter(|finding| finding.name == name)
        .map(|finding| finding.severity)
        .max()
}

fn message(report: &CheckReport, name: &str) -> String {
    report
        .findings
        .iter()
        .find(|finding| finding.name == name)
        .unwrap_or_else(|| panic!("{name}: {report:?}"))
        .message
        .clone()
}

/// The names of what failed, but for the clock: the server's is real, and the test's stands still.
fn failures(report: &CheckReport) -> Vec<&str> {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Failed && finding.name != "clock")
        .map(|finding| finding.name.as_str())
        .collect()
}

#[tokio::test]
async fn a_good_connection_passes_and_tells_clock_and_calendars() {
    let setup = setup().await;
    let scope = CheckScope {
        now: at(NOW),
        calendars: vec![calendar(ANNA), calendar("stranger@kommune.example")],
    };
    let report = setup.open().check(scope).await.unwrap();
    for name in [
        "certificate",
        "request-user",
        "reachable",
        "authentication",
        "authority",
        "roster",
    ] {
        assert_eq!(
            severity(&report, name),
            Some(Severity::Passed),
            "{name}: {report:?}"
        );
    }
    let calendars: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.name == "calendar")
        .map(|finding| finding.severity)
        .collect();
    assert_eq!(calendars, [Severity::Passed, Severity::Failed]);
    // No side effects.
    assert!(setup.planner.content().0.is_empty());
    assert_eq!(setup.planner.ledger().all().len(), 1);
}

#[tokio::test]
async fn k157_expiry_is_told_thirty_fourteen_and_three_days_ahead() {
    for (last, expected, advice) in [
        (
            date(2026, 12, 30),
            Severity::Passed,
            "valid until 2026-12-30",
        ),
        (date(2026, 12, 20), Severity::Warning, "order a new one"),
        (date(2026, 12, 2), Severity::Warning, "this week"),
        (date(2026, 11, 24), Severity::Warning, "today"),
        (
            date(2026, 11, 20),
            Severity::Failed,
            "expired on 2026-11-20",
        ),
    ] {
        let mut setup = setup().await;
        setup.certificate(
            &CertificateSpec::client(HOLDER).valid(Validity::Between(date(2024, 1, 1), last)),
        );
        let report = check(&setup).await;
        assert_eq!(
            severity(&report, "certificate"),
            Some(expected),
            "{last}: {report:?}"
        );
        assert!(
            message(&report, "certificate").contains(advice),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn an_expired_certificate_is_not_even_shown() {
    let mut setup = setup().await;
    setup.certificate(&CertificateSpec::client(HOLDER).valid(Validity::Expired));
    let connection = setup.open();
    let error = connection
        .sink()
        .unwrap()
        .apply(&calendar(ANNA), &[create(1, "uid-1")])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Config, "planner.certificate-expired")
    );
    assert!(setup.planner.ledger().all().is_empty());
    let report = check(&setup).await;
    assert_eq!(failures(&report), ["certificate"]);
}

#[tokio::test]
async fn a_certificate_that_expires_while_running_is_noticed() {
    let mut setup = setup().await;
    setup.certificate(
        &CertificateSpec::client(HOLDER)
            .valid(Validity::Between(date(2024, 1, 1), date(2026, 11, 23))),
    );
    let connection = setup.open();
    let report = apply(&connection, &[create(1, "uid-1")]).await;
    assert!(is_done(outcome(&report, 1)));
    setup.clock.set(at("2026-11-24T00:00:00Z"));
    let error = connection
        .sink()
        .unwrap()
        .apply(&calendar(ANNA), &[create(2, "uid-2")])
        .await
        .unwrap_err();
    assert_eq!(error.code, "planner.certificate-expired");
}

#[tokio::test]
async fn k156_a_renewed_certificate_beside_the_old_one_is_taken_up_while_running() {
    let mut setup = setup().await;
    let folder = setup.dir.path().join("certificates");
    std::fs::create_dir(&folder).unwrap();
    let issue = |name: &str, last| {
        let spec = CertificateSpec::client(HOLDER).valid(Validity::Between(date(2024, 1, 1), last));
        let identity = setup.pki.issue(&spec).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), identity.combined_pem()).unwrap();
    };
    issue("old", date(2026, 11, 23));
    setup.settings["certificate"] = serde_json::json!({ "certificate": folder, "key": folder });
    let connection = setup.open();
    assert!(connection.roster().await.is_ok());
    issue("new", date(2029, 1, 1));
    setup.clock.set(at("2026-11-24T00:00:00Z"));
    connection.roster().await.unwrap();
    let report = check(&setup).await;
    assert!(
        message(&report, "certificate").contains("2029-01-01"),
        "{report:?}"
    );
}

/// A folder for certificates, set up as the place where the connection finds its own.
fn folder(setup: &mut Setup) -> std::path::PathBuf {
    let folder = setup.dir.path().join("certificates");
    std::fs::create_dir(&folder).unwrap();
    setup.settings["certificate"] = serde_json::json!({ "certificate": folder, "key": folder });
    folder
}

#[tokio::test]
async fn files_that_cannot_be_read_again_do_not_stop_a_certificate_that_is_valid() {
    let mut setup = setup().await;
    let folder = folder(&mut setup);
    let spec = CertificateSpec::client(HOLDER)
        .valid(Validity::Between(date(2024, 1, 1), date(2026, 11, 24)));
    let identity = setup.pki.issue(&spec).unwrap();
    std::fs::write(folder.join("a.pem"), identity.combined_pem()).unwrap();
    let connection = setup.open();
    assert!(connection.roster().await.is_ok());
    // Half copied.
    std::fs::write(folder.join("b.pem"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    setup.clock.set(at("2026-11-22T14:06:00Z"));
    assert!(connection.roster().await.is_ok());
    assert!(
        setup.open().roster().await.is_ok(),
        "nor does it stop a start"
    );
    std::fs::rename(&folder, setup.dir.path().join("elsewhere")).unwrap();
    setup.clock.set(at("2026-11-22T15:07:00Z"));
    let (logs, guard) = logs();
    assert!(connection.roster().await.is_ok());
    assert!(
        logs.text().contains("cannot be read again"),
        "{}",
        logs.text()
    );
    drop(guard);
    setup.clock.set(at("2026-11-26T00:00:00Z"));
    let error = connection.roster().await.unwrap_err();
    assert_eq!(error.code, "config.certificate");
}

#[tokio::test]
async fn a_file_that_is_named_must_be_good() {
    let mut setup = setup().await;
    let identity = setup.pki.issue(&CertificateSpec::client(HOLDER)).unwrap();
    let good = setup.dir.path().join("good.pem");
    std::fs::write(&good, identity.combined_pem()).unwrap();
    let bad = setup.dir.path().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    setup.settings["certificate"] = serde_json::json!({ "certificate": good, "key": bad });
    assert_eq!(
        setup.open().roster().await.unwrap_err().code,
        "config.certificate"
    );
}

#[tokio::test]
async fn of_several_holders_certificates_the_configured_ones_is_used() {
    let mut setup = setup().await;
    let folder = folder(&mut setup);
    let ours = CertificateSpec::client(HOLDER)
        .valid(Validity::Between(date(2024, 1, 1), date(2027, 6, 1)));
    let theirs = CertificateSpec {
        organisation_identifier: Some("NTRDK-12345678".to_owned()),
        ..CertificateSpec::client("UI:DK-O:G:0a1b2c3d-0001-4002-8003-00000000000a")
            .valid(Validity::Between(date(2024, 1, 1), date(2029, 6, 1)))
    };
    for (name, spec) in [("oces2", ours), ("oces3", theirs)] {
        let identity = setup.pki.issue(&spec).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), identity.combined_pem()).unwrap();
    }
    assert_eq!(setup.open().roster().await.unwrap().entries.len(), 3);
}

#[tokio::test]
async fn a_certificate_that_expires_in_use_gives_way_to_the_new_one_at_once() {
    let mut setup = setup().await;
    let folder = folder(&mut setup);
    let issue = |name: &str, last| {
        let spec = CertificateSpec::client(HOLDER).valid(Validity::Between(date(2024, 1, 1), last));
        let identity = setup.pki.issue(&spec).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), identity.combined_pem()).unwrap();
        calbridge_core::http::CertificateFacts::of(&identity.certificate_der)
            .unwrap()
            .not_after
    };
    let end = issue("old", date(2026, 11, 23));
    setup.clock.set(end - jiff::SignedDuration::from_mins(20));
    let connection = setup.open();
    connection.roster().await.unwrap();
    issue("new", date(2029, 1, 1));
    setup.clock.set(end + jiff::SignedDuration::from_secs(1));
    connection.roster().await.unwrap();
}

#[tokio::test]
async fn another_holder_than_the_certificates_is_a_configuration_error_before_any_call() {
    let mut setup = setup().await;
    setup.settings["request_user"] = "CVR:87654321-FID:1".into();
    let error = setup.open().roster().await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Config, "planner.request-user")
    );
    assert!(!error.message.contains("12345678"), "{error}");
    assert_eq!(failures(&check(&setup).await), ["request-user"]);
    setup.certificate(&CertificateSpec::client("something else"));
    assert_eq!(
        setup.open().roster().await.unwrap_err().code,
        "planner.certificate-no-oces"
    );
    assert!(setup.planner.ledger().all().is_empty());
}

#[tokio::test]
async fn oces3_holders_are_accepted() {
    let holder = "CVR:12345678-UUID:0a1b2c3d-0001-4002-8003-00000000000a";
    let mut setup = setup_with(|options| {
        options.access = Access::Certificates(vec![KnownCertificate::opened(holder, JOBCENTER)]);
    })
    .await;
    setup.settings["request_user"] = holder.into();
    setup.certificate(&CertificateSpec {
        organisation_identifier: Some("NTRDK-12345678".to_owned()),
        ..CertificateSpec::client("UI:DK-O:G:0a1b2c3d-0001-4002-8003-00000000000a")
    });
    assert_eq!(failures(&check(&setup).await), [""; 0]);
    assert_eq!(setup.open().roster().await.unwrap().entries.len(), 3);
}

#[tokio::test]
async fn an_unknown_certificate_is_told_apart_by_status_and_by_handshake() {
    let setup = setup_with(|options| options.access = Access::Certificates(Vec::new())).await;
    let report = check(&setup).await;
    assert_eq!(failures(&report), ["authentication"]);
    assert!(
        message(&report, "authentication").contains("does not know"),
        "{report:?}"
    );
    let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
    assert!(is_later(outcome(&report, 1)));
    assert_eq!(report.trouble.unwrap().kind, ErrorKind::Permission);

    for backend in ["rustls", "native-tls"] {
        let mut setup = support::setup().await;
        setup.settings["http"]["tls"] = backend.into();
        setup.certificate(&CertificateSpec::client(HOLDER).signed_by(Signer::Stranger));
        let report = check(&setup).await;
        assert_eq!(
            failures(&report),
            ["authentication"],
            "{backend}: {report:?}"
        );
        let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
        assert!(is_later(outcome(&report, 1)), "{backend}: {report:?}");
        let trouble = report.trouble.unwrap();
        assert_eq!(
            (trouble.kind, trouble.code.as_str()),
            (ErrorKind::Permission, "6901"),
            "{backend}: {trouble}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_known_but_not_opened_is_told_apart() {
    let setup = setup_with(|options| {
        options.access = Access::Certificates(vec![KnownCertificate {
            opened: false,
            ..KnownCertificate::opened(HOLDER, JOBCENTER)
        }]);
    })
    .await;
    let report = check(&setup).await;
    assert_eq!(failures(&report), ["access"]);
    assert_eq!(severity(&report, "authentication"), Some(Severity::Passed));
    assert!(
        message(&report, "access").contains("ask STAR to open it"),
        "{report:?}"
    );
    // No batch is cut in half for that, and nothing is lost.
    let report = apply(&setup.open(), &creates(20)).await;
    for number in 1..=20 {
        let open = outcome(&report, number) == &Outcome::Unknown;
        assert_eq!(open, number <= 15, "{report:?}");
        assert_eq!(is_later(outcome(&report, number)), !open, "was never sent");
    }
    assert_eq!(report.receipts.len(), 1);
    assert_eq!(report.trouble.unwrap().kind, ErrorKind::Permission);
}

#[tokio::test]
async fn a_wrong_authority_is_told_apart() {
    let mut setup = setup().await;
    setup.settings["jobcenter"] = "10999".into();
    let report = check(&setup).await;
    assert_eq!(failures(&report), ["authority"]);
    assert_eq!(severity(&report, "authentication"), Some(Severity::Passed));
    assert!(
        message(&report, "authority").contains("jobcenter"),
        "{report:?}"
    );
}

#[tokio::test]
async fn an_unreachable_server_and_a_wrong_address_are_told_apart() {
    let mut setup = setup().await;
    setup.settings["url"] = setup
        .planner
        .url()
        .replace("PlannerExternal", "Nothing")
        .into();
    assert_eq!(failures(&check(&setup).await), ["url"]);
    setup.settings["url"] = setup.planner.url().into();
    setup.planner.stop().await;
    let report = check(&setup).await;
    assert_eq!(failures(&report), ["reachable"]);
    assert!(
        message(&report, "reachable").contains("refuses the connection"),
        "{report:?}"
    );
}

#[tokio::test]
async fn clocks_that_differ_are_told() {
    let setup = setup().await;
    let real = at(NOW);
    for (ahead, expected) in [
        (0, Severity::Passed),
        (-150, Severity::Warning),
        (3600, Severity::Failed),
    ] {
        let scope = CheckScope {
            now: real
                .checked_add(jiff::SignedDuration::from_secs(ahead))
                .unwrap(),
            calendars: Vec::new(),
        };
        let report = setup.open().check(scope).await.unwrap();
        assert_eq!(severity(&report, "clock"), Some(expected), "{report:?}");
        let difference = report.clock_difference_ms.unwrap();
        assert!((difference + ahead * 1000).abs() < 30_000, "{difference}");
    }
    // A refusal tells the time too.
    setup.fault("GetResources=status:503");
    let report = check(&setup).await;
    assert!(report.clock_difference_ms.is_some(), "{report:?}");
}

#[tokio::test]
async fn k147_server_certificates_are_verified_with_both_libraries() {
    for backend in ["rustls", "native-tls"] {
        for (spec, says) in [
            (
                CertificateSpec::server().valid(Validity::Expired),
                "has expired",
            ),
            (
                CertificateSpec::server().valid(Validity::NotYet),
                "not valid yet",
            ),
            (
                CertificateSpec::server().signed_by(Signer::Stranger),
                "not trusted",
            ),
            (CertificateSpec::server().signed_by(Signer::Itself), ""),
            (
                CertificateSpec::server_for(["other.example"]),
                "for another host",
            ),
        ] {
            let pki = calbridge_sandbox::tls::Pki::new().unwrap();
            let tls = pki.server_config(&spec, ClientAuth::Optional).unwrap();
            let mut setup = setup_with(|options| options.tls = Some(tls)).await;
            let ca = setup.dir.path().join("server-ca.pem");
            pki.write_ca(&ca).unwrap();
            setup.settings["http"]["extra_ca"] = serde_json::json!([ca]);
            setup.settings["http"]["tls"] = backend.into();
            let report = check(&setup).await;
            assert_eq!(failures(&report), ["tls"], "{backend} {spec:?}: {report:?}");
            assert!(
                message(&report, "tls").contains(says),
                "{backend}: {report:?}"
            );
            assert!(setup.planner.ledger().all().is_empty());
            let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
            assert!(is_later(outcome(&report, 1)));
            assert_eq!(report.trouble.unwrap().code, "6901");
        }
    }
}

#[tokio::test]
async fn both_tls_libraries_show_the_client_certificate() {
    for backend in ["rustls", "native-tls"] {
        let mut setup = setup().await;
        setup.settings["http"]["tls"] = backend.into();
        let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
        assert!(is_done(outcome(&report, 1)), "{backend}: {report:?}");
        let call = setup.planner.ledger().last().unwrap();
        assert_eq!(call.detail.holder.as_deref(), Some(HOLDER));
    }
}

/// A PKCS#12 file with an identity, encrypted in one of the ways that are met in practice.
fn pkcs12(identity: &Identity, encryption: EncryptionAlgorithm, mac: MacAlgorithm) -> Vec<u8> {
    let chain = PrivateKeyChain::new(
        "key",
        PrivateKey::from_der(&identity.key_der).unwrap(),
        [&identity.certificate_der, &identity.issuer_der]
            .map(|der| p12_keystore::Certificate::from_der(der).unwrap()),
    );
    let mut store = KeyStore::new();
    store.add_entry("client", KeyStoreEntry::PrivateKeyChain(chain));
    store
        .writer("example")
        .encryption_algorithm(encryption)
        .mac_algorithm(mac)
        .write()
        .unwrap()
}

#[tokio::test]
async fn pkcs12_files_old_and_new_sign_in_with_both_tls_libraries() {
    for (encryption, mac) in [
        (
            EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
            MacAlgorithm::HmacSha256,
        ),
        (
            EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
            MacAlgorithm::HmacSha1,
        ),
        (
            EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc,
            MacAlgorithm::HmacSha1,
        ),
    ] {
        for backend in ["rustls", "native-tls"] {
            let mut setup = setup().await;
            let identity = setup.pki.issue(&CertificateSpec::client(HOLDER)).unwrap();
            let path = setup.dir.path().join("client.p12");
            std::fs::write(&path, pkcs12(&identity, encryption, mac)).unwrap();
            setup.settings["certificate"] =
                serde_json::json!({ "pkcs12": path, "password": "env:P12" });
            setup.settings["http"]["tls"] = backend.into();
            let report = check(&setup).await;
            assert_eq!(
                failures(&report),
                [""; 0],
                "{encryption:?} {backend}: {report:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_told_by_check_and_by_the_first_call() {
    let mut setup = setup().await;
    let identity = setup.pki.issue(&CertificateSpec::client(HOLDER)).unwrap();
    let path = setup.dir.path().join("client.p12");
    let wrong = pkcs12(
        &identity,
        EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
        MacAlgorithm::HmacSha256,
    );
    std::fs::write(&path, wrong).unwrap();
    for (certificate, says) in [
        (
            serde_json::json!({ "pkcs12": path, "password": "env:OTHER" }),
            "wrong password",
        ),
        (
            serde_json::json!({ "pkcs12": "/nowhere/client.p12" }),
            "cannot be read",
        ),
    ] {
        setup.settings["certificate"] = certificate;
        let report = check(&setup).await;
        assert_eq!(failures(&report), ["certificate"]);
        assert!(message(&report, "certificate").contains(says), "{report:?}");
        let error = setup.open().roster().await.unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Config, "config.certificate")
        );
    }
    assert!(setup.planner.ledger().all().is_empty());
}

#[tokio::test]
async fn k151_blank_settings_refuse_to_open() {
    for key in ["jobcenter", "request_user"] {
        let mut setup = setup().await;
        setup.settings[key] = " ".into();
        let error = setup.try_open().map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains(key), "{error}");
    }
}

#[tokio::test]
async fn k093_k094_k099_every_request_has_both_headers_and_plain_soap() {
    let setup = setup().await;
    let connection = setup.open();
    connection.roster().await.unwrap();
    apply(&connection, &[create(1, "uid-1")]).await;
    apply(&connection, &[update(1, "uid-1", morning())]).await;
    apply(&connection, &[delete(1, "uid-1")]).await;
    let calls = setup.planner.ledger().all();
    assert_eq!(calls.len(), 4);
    for call in calls {
        // The sandbox refuses any other content type, SOAPAction and header than the contract's.
        assert_eq!(call.status, 200);
        let headers = call.detail.headers.unwrap();
        assert_eq!(
            headers.user_full_name,
            format!("calbridge : {}", call.operation)
        );
        assert_eq!(
            (headers.user_type, headers.user_identifier.as_str()),
            (3, HOLDER)
        );
        assert_eq!(headers.user_email, None);
        assert_eq!(headers.request_organisation_type, 8);
        assert_eq!(headers.active_organisation_type, 8);
        assert_eq!(headers.request_organisation, JOBCENTER);
        assert_eq!(headers.active_organisation, JOBCENTER);
        assert_eq!(headers.registration, "2026-11-22T14:05:09+01:00");
        assert!(headers.others.is_empty());
    }
}

#[tokio::test]
async fn a_denial_says_that_the_other_tls_library_is_worth_a_try() {
    let setup = setup_with(|options| options.access = Access::Certificates(Vec::new())).await;
    let report = check(&setup).await;
    for text in ["after the handshake", "`tls = \"native-tls\"`", "STAR"] {
        assert!(
            message(&report, "authentication").contains(text),
            "{report:?}"
        );
    }
    let report = apply(&setup.open(), &creates(1)).await;
    assert!(report.trouble.unwrap().message.contains("native-tls"));
}

#[tokio::test]
async fn a_bad_request_about_certificates_is_told_apart_from_others() {
    for (body, name) in [
        (
            "<html><head><title>400 The SSL certificate error</title></head></html>",
            "authentication",
        ),
        (
            "<html><head><title>400 No required SSL certificate was sent</title></head></html>",
            "authentication",
        ),
        ("<html><body>Bad Request</body></html>", "reachable"),
        ("", "reachable"),
    ] {
        let mut setup = setup().await;
        let (url, asked) = canned(http("400 Bad Request", body));
        setup.settings["url"] = url.into();
        let report = check(&setup).await;
        assert_eq!(failures(&report), [name], "{body}: {report:?}");
        assert!(!message(&report, name).contains("title"), "{report:?}");
        let connection = setup.open();
        for _ in 0..2 {
            let report = apply(&connection, &creates(8)).await;
            let later = is_later(outcome(&report, 1));
            assert_eq!(later, name == "authentication", "{body}: {report:?}");
        }
        let sizes: Vec<usize> = asked
            .lock()
            .unwrap()
            .iter()
            .skip(1)
            .map(|request| request.matches("<e:CalendarEvent>").count())
            .collect();
        let smaller = if name == "authentication" { 8 } else { 4 };
        assert_eq!(sizes, [8, smaller], "{body}");
    }
}
