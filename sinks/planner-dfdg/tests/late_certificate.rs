//! Servers that ask for the client certificate only after the handshake, as IIS does by default: by
//! renegotiation (TLS 1.2) or by post-handshake authentication (TLS 1.3). The server is OpenSSL's own test
//! server, which can be told to ask; where the program `openssl` is missing, these tests say so and skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod support;

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use calbridge_core::connector::{CheckScope, ErrorKind, Outcome, Scope, Severity};
use calbridge_sandbox::tls::CertificateSpec;
use support::*;

const GUID: &str = "b6a7a5a2-54a2-4f0e-8a9d-6f2f8f1f7c10";

/// What `openssl s_server` takes as "ask for the certificate".
const RENEGOTIATE: &str = "R";
const POST_HANDSHAKE: &str = "c";

/// A server that takes one request, asks for the certificate, and answers if it gets one.
struct Late {
    child: Child,
    url: String,
    said: Arc<Mutex<String>>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Late {
    /// `version` is the option by which `openssl` is limited to a version; `ask` the letter by which it asks.
    fn start(setup: &Setup, version: &str, ask: &'static str) -> Option<Self> {
        let identity = setup.pki.issue(&CertificateSpec::server()).unwrap();
        let paths = identity.write_to(setup.dir.path(), "late").unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut child = match Command::new("openssl")
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(&paths.certificate)
            .arg("-key")
            .arg(&paths.key)
            .arg("-CAfile")
            .arg(setup.dir.path().join("ca.pem"))
            .args([version, "-state", "-no_resumption_on_reneg"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: the program `openssl` cannot be run ({error})");
                return None;
            }
        };
        let said = Arc::new(Mutex::new(String::new()));
        hear(child.stdout.take().unwrap(), Arc::clone(&said));
        hear(child.stderr.take().unwrap(), Arc::clone(&said));
        let stdin = child.stdin.take().unwrap();
        let late = Self {
            child,
            url: format!("https://127.0.0.1:{port}/p.svc"),
            said: Arc::clone(&said),
        };
        assert!(hears(&late.said, "ACCEPT"), "{}", late.text());
        thread::spawn(move || answer(stdin, &said, ask));
        Some(late)
    }

    fn text(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

fn hear(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut some) {
            into.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&some[..read]));
        }
    });
}

fn hears(said: &Mutex<String>, what: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        if said.lock().unwrap().contains(what) {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

fn answer(mut stdin: ChildStdin, said: &Mutex<String>, ask: &str) {
    if !hears(said, "</s:Envelope>") {
        return;
    }
    let _ = stdin.write_all(format!("{ask}\n").as_bytes());
    let _ = stdin.flush();
    // Known by what the verification says of it.
    if hears(said, "depth=0") {
        thread::sleep(Duration::from_millis(200));
        let _ = stdin.write_all(&http("200 OK", &receipts(GUID, &[("event-1", 0, "")])));
        let _ = stdin.flush();
        thread::sleep(Duration::from_secs(8));
    } else {
        let _ = stdin.write_all(b"Q\n");
    }
}

/// The two settings that let a server have the certificate late.
const ADVICE: &str = "set `tls = \"native-tls\"` and `max_tls = \"1.2\"`";

fn with(setup: &mut Setup, late: &Late, tls: &str, max: Option<&str>) {
    setup.settings["url"] = late.url.clone().into();
    setup.settings["http"]["tls"] = tls.into();
    if let Some(max) = max {
        setup.settings["http"]["max_tls"] = max.into();
    }
}

#[tokio::test]
async fn with_native_tls_and_tls_1_2_a_server_gets_the_certificate_late() {
    // The second server would take TLS 1.3, in which it could not ask.
    for version in ["-tls1_2", "-no_ssl3"] {
        let mut setup = setup().await;
        let Some(late) = Late::start(&setup, version, RENEGOTIATE) else {
            return;
        };
        with(&mut setup, &late, "native-tls", Some("1.2"));
        let report = apply(&setup.open(), &creates(1)).await;
        assert!(is_done(outcome(&report, 1)), "{report:?}\n{}", late.text());
        assert!(late.text().contains(HOLDER), "{}", late.text());
    }
}

#[tokio::test]
async fn rustls_cannot_and_says_what_can() {
    let mut setup = setup().await;
    let Some(late) = Late::start(&setup, "-tls1_2", RENEGOTIATE) else {
        return;
    };
    with(&mut setup, &late, "rustls", None);
    let report = apply(&setup.open(), &creates(1)).await;
    assert!(is_later(outcome(&report, 1)), "{report:?}");
    let trouble = report.trouble.unwrap();
    assert_eq!(
        (trouble.kind, trouble.scope, trouble.code.as_str()),
        (ErrorKind::Permission, Scope::Connection, "6901"),
        "{trouble}"
    );
    assert!(trouble.message.contains(ADVICE), "{trouble}");
}

#[tokio::test]
async fn the_check_names_the_settings() {
    let mut setup = setup().await;
    let Some(late) = Late::start(&setup, "-tls1_2", RENEGOTIATE) else {
        return;
    };
    with(&mut setup, &late, "rustls", None);
    let scope = CheckScope {
        now: at(NOW),
        calendars: Vec::new(),
    };
    let report = setup.open().check(scope).await.unwrap();
    let tls = report
        .findings
        .iter()
        .find(|finding| finding.name == "tls")
        .unwrap();
    assert_eq!(tls.severity, Severity::Failed);
    assert!(tls.message.contains(ADVICE), "{tls:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_since_tls_1_3_gives_it_no_certificate_may_want_the_same() {
    for tls in ["rustls", "native-tls"] {
        let mut setup = setup().await;
        let Some(late) = Late::start(&setup, "-tls1_3", POST_HANDSHAKE) else {
            return;
        };
        with(&mut setup, &late, tls, None);
        let report = apply(&setup.open(), &creates(1)).await;
        // It is not known for sure why it hung up, so the request may have been processed.
        assert_eq!(outcome(&report, 1), &Outcome::Unknown, "{tls}");
        let trouble = report.trouble.unwrap();
        assert!(trouble.message.contains(ADVICE), "{tls}: {trouble}");
    }
}

#[tokio::test]
async fn where_the_settings_are_right_already_nothing_is_said_of_them() {
    let mut setup = setup().await;
    setup.settings["http"]["tls"] = "native-tls".into();
    setup.settings["http"]["max_tls"] = "1.2".into();
    setup.fault("CreateEvents=reset-after");
    let report = apply(&setup.open(), &creates(1)).await;
    assert_eq!(outcome(&report, 1), &Outcome::Unknown);
    let trouble = report.trouble.unwrap();
    assert!(!trouble.message.contains("tls"), "{trouble}");
}
