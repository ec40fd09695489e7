//! Old servers: TLS 1.2 with suites that rustls lacks, and none in common at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::ErrorKind;
use calbridge_sandbox::planner::Access;
use calbridge_sandbox::tls::CertificateSpec;
use calbridge_sandbox::tls::legacy::{LegacyListener, Suites};
use support::*;

async fn behind(suites: Suites, backend: &str) -> (Setup, LegacyListener) {
    let mut setup = setup_with(|options| {
        options.tls = None;
        options.access = Access::Anybody;
    })
    .await;
    let listener = LegacyListener::start(
        &setup.pki,
        &CertificateSpec::server(),
        &suites,
        setup.planner.address(),
    )
    .await
    .unwrap();
    setup.settings["url"] = listener.url("/PlannerExternalCalendarService.svc").into();
    setup.settings["http"]["tls"] = backend.into();
    (setup, listener)
}

#[tokio::test]
async fn native_tls_reaches_servers_with_old_suites_only() {
    for (suites, expected) in [
        (Suites::EcdheCbc, "ECDHE-RSA-AES"),
        (Suites::DheGcm, "DHE-RSA-AES"),
        (Suites::RsaGcm, "AES"),
        (Suites::Windows2012R2, "ECDHE-RSA-AES"),
    ] {
        let (setup, listener) = behind(suites.clone(), "native-tls").await;
        let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
        assert!(is_done(outcome(&report, 1)), "{suites:?}: {report:?}");
        let agreed = listener.handshakes().pop().flatten().unwrap();
        assert!(agreed.starts_with(expected), "{suites:?}: {agreed}");
    }
}

#[tokio::test]
async fn rustls_says_that_native_tls_may_help() {
    for suites in [
        Suites::EcdheCbc,
        Suites::DheGcm,
        Suites::RsaGcm,
        Suites::Windows2012R2,
    ] {
        let (setup, _listener) = behind(suites.clone(), "rustls").await;
        let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
        assert!(is_later(outcome(&report, 1)), "{suites:?}: {report:?}");
        let trouble = report.trouble.unwrap();
        assert_eq!(trouble.code, "6901");
        assert_eq!(trouble.kind, ErrorKind::Transient);
        assert!(
            trouble.message.contains("tls = \"native-tls\""),
            "{trouble}"
        );
    }
}

#[tokio::test]
async fn where_no_suite_is_common_native_tls_says_so_and_gives_no_useless_advice() {
    // Suites without encryption are offered by no client.
    let none = Suites::List("NULL-SHA256:@SECLEVEL=0".to_owned());
    let (setup, _listener) = behind(none, "native-tls").await;
    let report = apply(&setup.open(), &[create(1, "uid-1")]).await;
    assert!(is_later(outcome(&report, 1)), "{report:?}");
    let trouble = report.trouble.unwrap();
    assert!(
        trouble
            .message
            .contains("no TLS version or cipher suite in common"),
        "{trouble}"
    );
    assert!(!trouble.message.contains("set `tls"), "{trouble}");
}
