//! Certificates that a server shows, and what is said of them: against a server of this process.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::*;
use crate::clock::SystemClock;
use crate::connector::Context;
use crate::secret::{SecretError, SecretRef, SecretResolver};

#[derive(Debug)]
struct NoSecrets;

impl SecretResolver for NoSecrets {
    fn resolve(&self, secret: &SecretRef) -> Result<secrecy::SecretString, SecretError> {
        panic!("{secret:?} is not needed")
    }
}

/// A server with a self-signed certificate.
struct Server {
    url: Url,
    certificate: PathBuf,
    _folder: tempfile::TempDir,
}

fn server(change: impl FnOnce(&mut CertificateParams)) -> Server {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.pem");
    std::fs::write(&path, certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut asked = [0; 4096];
            // Refused handshakes end here.
            if tls.read(&mut asked).is_ok() {
                let _ = tls.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    Server {
        url: format!("https://localhost:{port}/").parse().unwrap(),
        certificate: path,
        _folder: folder,
    }
}

async fn ask(server: &Server, tls: TlsBackend, trusted: &[&Path]) -> Result<u16, HttpFailure> {
    let settings = HttpSettings {
        proxy: ProxySetting::None,
        tls,
        extra_ca: trusted.iter().map(|path| (*path).to_owned()).collect(),
        ..HttpSettings::default()
    };
    let context = Context {
        connection: "test".to_owned(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(NoSecrets),
        shutdown: CancellationToken::new(),
    };
    HttpClient::build(&settings, None, &context)
        .unwrap()
        .get(&server.url, HeaderMap::new())
        .await
        .map(|answer| answer.status.as_u16())
}

type Change = fn(&mut CertificateParams);

/// No words of a library: an operator knows neither its types nor seconds since 1970.
fn in_words(failure: &HttpFailure) {
    let text = failure.to_string();
    for raw in [
        "invalid peer certificate",
        "Other(",
        "Error(",
        "UNIX",
        "DnsName",
        "EndEntity",
    ] {
        assert!(!text.contains(raw), "{text}");
    }
}

#[tokio::test]
async fn a_self_signed_authority_as_server_is_told_with_what_helps() {
    let server = server(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let trusted = [server.certificate.as_path()];
    for extra in [&[][..], &trusted] {
        let failure = ask(&server, TlsBackend::Rustls, extra).await.unwrap_err();
        assert_eq!(failure.cause, Cause::TlsAuthorityAsServer, "{failure}");
        in_words(&failure);
        for part in ["CA:TRUE", "CA:FALSE", "tls = \"native-tls\"", "`extra_ca`"] {
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }
    // The advice holds.
    #[cfg(not(any(windows, target_vendor = "apple")))]
    assert_eq!(ask(&server, TlsBackend::NativeTls, &trusted).await, Ok(204));
}

#[tokio::test]
async fn a_self_signed_server_is_trusted_from_extra_ca() {
    let server = server(|params| params.is_ca = IsCa::ExplicitNoCa);
    let failure = ask(&server, TlsBackend::Rustls, &[]).await.unwrap_err();
    assert_eq!(failure.cause, Cause::TlsUnknownIssuer, "{failure}");
    assert_eq!(failure.detail, "");
    in_words(&failure);
    let trusted = [server.certificate.as_path()];
    assert_eq!(ask(&server, TlsBackend::Rustls, &trusted).await, Ok(204));
}

#[tokio::test]
async fn what_else_is_wrong_with_a_certificate_is_told_in_words() {
    let cases: [(Change, Cause, &str); 4] = [
        (
            |params| params.not_after = date_time_ymd(2020, 1, 2),
            Cause::TlsExpired,
            "(it is not valid after 2020-01-02)",
        ),
        (
            |params| params.not_before = date_time_ymd(2090, 1, 2),
            Cause::TlsNotYetValid,
            "(it is not valid before 2090-01-02)",
        ),
        (
            |params| {
                *params = CertificateParams::new(vec!["mail.kommune.example".to_owned()]).unwrap();
            },
            Cause::TlsWrongHost,
            "(it names mail.kommune.example)",
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Cause::TlsBadCertificate,
            "serverAuth",
        ),
    ];
    for (change, cause, says) in cases {
        let server = server(change);
        let trusted = [server.certificate.as_path()];
        let failure = ask(&server, TlsBackend::Rustls, &trusted)
            .await
            .unwrap_err();
        assert_eq!(failure.cause, cause, "{failure}");
        assert!(failure.to_string().contains(says), "{failure}");
        in_words(&failure);
    }
}
