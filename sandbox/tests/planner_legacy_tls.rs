//! The old TLS listener: clients with the old suites get through, rustls does not.
#![cfg(feature = "legacy-tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod planner_support;

use calbridge_sandbox::tls::legacy::{LegacyListener, Suites};
use calbridge_sandbox::tls::{CertificateSpec, Pki};
use planner_support::*;

#[tokio::test]
async fn only_clients_with_the_old_suites_get_through() {
    let pki = Pki::new().unwrap();
    let planner = plain().await;
    let ca = || reqwest::Certificate::from_pem(pki.ca_pem().as_bytes()).unwrap();
    for (suites, expected) in [
        (Suites::EcdheCbc, "ECDHE-RSA-AES256-SHA384"),
        (Suites::DheGcm, "DHE-RSA-AES256-GCM-SHA384"),
        (Suites::RsaGcm, "AES256-GCM-SHA384"),
        (Suites::Windows2012R2, "ECDHE-RSA-AES256-SHA384"),
    ] {
        let listener =
            LegacyListener::start(&pki, &CertificateSpec::server(), &suites, planner.address())
                .await
                .unwrap();
        let path = planner
            .url()
            .split_once("/Planner")
            .map(|(_, rest)| format!("/Planner{rest}"))
            .unwrap();
        let url = listener.url(&path);
        let body = envelope("GetResources", &Who::default(), "");

        let native = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_native()
            .add_root_certificate(ca());
        let answer = post(
            &native.build().unwrap(),
            &url,
            &action("GetResources"),
            body.clone(),
        )
        .await
        .unwrap();
        assert_eq!(answer.all("RID").len(), 3);
        assert_eq!(
            listener.handshakes(),
            [Some(expected.to_owned())],
            "{suites:?}"
        );

        let modern = https(&pki, None);
        let error = post(&modern, &url, &action("GetResources"), body)
            .await
            .unwrap_err();
        assert!(error.is_connect(), "{suites:?}: {error:?}");
        assert_eq!(listener.handshakes().last(), Some(&None), "{suites:?}");
    }
}

#[tokio::test]
async fn unknown_suites_are_refused() {
    let pki = Pki::new().unwrap();
    let suites = Suites::List("NO-SUCH-SUITE".to_owned());
    let upstream = "127.0.0.1:1".parse().unwrap();
    let error = LegacyListener::start(&pki, &CertificateSpec::server(), &suites, upstream)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("OpenSSL"), "{error}");
}
