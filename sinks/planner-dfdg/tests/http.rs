//! The HTTP client of the core on real sockets: proxies, limits, broken servers, and what is never said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use calbridge_core::clock::SystemClock;
use calbridge_core::connector::{Context, Error, ErrorKind};
use calbridge_core::http::{Cause, HeaderMap, HttpClient, HttpFailure, HttpResponse, HttpSettings};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

#[derive(Debug)]
struct Password(&'static str);

impl SecretResolver for Password {
    fn resolve(&self, _: &SecretRef) -> Result<secrecy::SecretString, SecretError> {
        Ok(self.0.to_owned().into())
    }
}

fn context() -> Context {
    Context {
        connection: "test".to_owned(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(Password("canary-hunter2")),
        shutdown: CancellationToken::new(),
    }
}

fn client(settings: Value) -> Result<HttpClient, Error> {
    let settings: HttpSettings = serde_json::from_value(settings).unwrap();
    HttpClient::build(&settings, None, &context())
}

/// Answers every connection with these bytes; gives what was asked.
fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, Receiver<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            request.truncate(read);
            let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
            let _ = stream.write_all(&answer);
        }
    });
    (address, asked)
}

async fn get(client: &HttpClient, url: &str) -> Result<HttpResponse, HttpFailure> {
    client
        .get(&Url::parse(url).unwrap(), HeaderMap::new())
        .await
}

async fn failure(settings: Value, url: &str) -> HttpFailure {
    get(&client(settings).unwrap(), url).await.unwrap_err()
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Sun, 22 Nov 2026 13:05:09 GMT\r\nConnection: close\r\n\r\nok";

#[tokio::test]
async fn an_answer_comes_whole_and_tells_the_servers_time() {
    let (address, asked) = server(GOOD);
    let client = client(json!({ "proxy": "none" })).unwrap();
    let response = get(&client, &format!("http://{address}/a?b=c"))
        .await
        .unwrap();
    assert_eq!(
        (response.status.as_u16(), response.body.as_slice()),
        (200, &b"ok"[..])
    );
    assert_eq!(
        response.date(),
        Some("2026-11-22T13:05:09Z".parse().unwrap())
    );
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("GET /a?b=c HTTP/1.1"), "{asked}");
    assert!(asked.contains("user-agent: calbridge/"), "{asked}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (address, asked) = server(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let client = client(json!({ "proxy": "none" })).unwrap();
    let response = get(&client, &format!("http://{address}/")).await.unwrap();
    assert_eq!(response.status.as_u16(), 302);
    assert_eq!(asked.try_iter().count(), 1);
}

#[tokio::test]
async fn the_limit_holds_whatever_the_server_says_about_length() {
    let body = "x".repeat(5000);
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ] {
        let (address, _asked) = server(format!("{head}{body}"));
        let url = format!("http://{address}/");
        let failed = failure(json!({ "proxy": "none", "max_response": 4999 }), &url).await;
        assert_eq!(failed.cause, Cause::TooLarge);
        assert!(failed.to_string().contains("max_response"), "{failed}");
        let client = client(json!({ "proxy": "none", "max_response": 5000 })).unwrap();
        assert_eq!(get(&client, &url).await.unwrap().body.len(), 5000);
    }
}

#[tokio::test]
async fn a_compressed_answer_counts_as_what_it_becomes() {
    // A megabyte of zeros, compressed by gzip to a kilobyte.
    let bomb = include_bytes!("data/zeros.gz");
    assert!(bomb.len() < 2000);
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    answer.extend_from_slice(bomb);
    let (address, _asked) = server(answer);
    let url = format!("http://{address}/");
    let failed = failure(json!({ "proxy": "none", "max_response": 100_000 }), &url).await;
    assert_eq!(failed.cause, Cause::TooLarge);
    let client = client(json!({ "proxy": "none" })).unwrap();
    assert_eq!(get(&client, &url).await.unwrap().body.len(), 1_048_576);
}

#[tokio::test]
async fn broken_servers_are_told_apart() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "220 mail.example ESMTP\r\n",
    ] {
        let (address, _asked) = server(answer);
        let failed = failure(json!({ "proxy": "none" }), &format!("http://{address}/")).await;
        assert!(
            matches!(failed.cause, Cause::Broken | Cause::BadResponse),
            "{answer:?}: {failed:?}"
        );
        assert!(failed.cause.may_have_been_processed());
    }
    // TLS is spoken to a server that speaks none.
    let (address, _asked) = server("HTTP/1.1 400 Bad Request\r\n\r\n");
    for tls in ["rustls", "native-tls"] {
        let failed = failure(
            json!({ "proxy": "none", "tls": tls }),
            &format!("https://{address}/"),
        )
        .await;
        assert!(failed.cause.is_tls(), "{failed:?}");
        assert!(!failed.cause.may_have_been_processed());
    }
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_names_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let failed = failure(
        json!({ "proxy": "none", "timeout": "300 ms" }),
        &format!("http://{address}/secret-path?token=canary"),
    )
    .await;
    assert_eq!(failed.cause, Cause::Timeout);
    let error = Error::from(failed);
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Transient, "http.timeout")
    );
    assert!(error.message.contains(&address.to_string()), "{error}");
    assert!(!error.message.contains("canary"), "{error}");
}

#[tokio::test]
async fn refused_and_unknown_hosts_are_told_apart() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let none = || json!({ "proxy": "none" });
    assert_eq!(
        failure(none(), &format!("https://{address}/")).await.cause,
        Cause::Refused
    );
    assert_eq!(
        failure(none(), "https://no-such-host.invalid/").await.cause,
        Cause::Dns
    );
    assert_eq!(
        failure(none(), "ftp://127.0.0.1/").await.cause,
        Cause::BadRequest
    );
}

#[tokio::test]
async fn a_proxy_gets_the_request_and_its_password() {
    let (address, asked) = server(GOOD);
    let client = client(json!({
        "proxy": format!("http://{address}"),
        "proxy_user": "svc",
        "proxy_password": "env:PROXY",
    }))
    .unwrap();
    get(&client, "http://planner.example/x").await.unwrap();
    let asked = asked.recv().unwrap();
    assert!(
        asked.starts_with("GET http://planner.example/x HTTP/1.1"),
        "{asked}"
    );
    // svc:canary-hunter2
    assert!(
        asked.contains("proxy-authorization: Basic c3ZjOmNhbmFyeS1odW50ZXIy"),
        "{asked}"
    );
    assert!(!format!("{client:?}").contains("canary"), "{client:?}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_apart_for_both_schemes() {
    for (answer, cause) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Cause::ProxyAuth,
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Cause::ProxyRefused,
        ),
    ] {
        let (address, _asked) = server(answer);
        let settings = json!({
            "proxy": format!("http://{address}"),
            "proxy_user": "svc",
            "proxy_password": "env:PROXY",
        });
        let failed = failure(settings.clone(), "https://planner.example/x").await;
        assert_eq!(failed.cause, cause, "{failed:?}");
        assert!(
            failed.to_string().contains("planner.example:443"),
            "{failed}"
        );
        assert!(!failed.to_string().contains("canary"), "{failed}");
        if cause == Cause::ProxyAuth {
            let failed = failure(settings, "http://planner.example/x").await;
            assert_eq!(failed.cause, cause, "{failed:?}");
        }
    }
}

#[test]
fn settings_that_cannot_work_are_configuration_errors() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let broken = folder.path().join("broken.pem");
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for (settings, says) in [
        (
            json!({ "extra_ca": [folder.path().join("absent.pem")] }),
            "cannot be read",
        ),
        (json!({ "extra_ca": [empty] }), "holds no certificate"),
        (json!({ "extra_ca": [broken] }), ""),
        (json!({ "proxy_user": "svc" }), "proxy's URL"),
        (
            json!({ "proxy": "http://proxy.example:8080", "proxy_user": "svc" }),
            "belong together",
        ),
    ] {
        let error = client(settings.clone()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{settings}");
        assert!(error.message.contains(says), "{error}");
    }
}
