//! Old servers: TLS 1.2 with suites that rustls lacks, and none in common at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use calbridge_core::connector::{ErrorKind, Outcome, Scope};
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

/// Ends every connection after the client's first bytes: with a reset, or in order.
fn closes_the_handshake(reset: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Dropped with bytes unread, the system resets the connection.
            let mut some = vec![0; if reset { 10 } else { 65_536 }];
            let _ = stream.read(&mut some);
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_is_closed_in_the_handshake_was_never_used() {
    for backend in ["rustls", "native-tls"] {
        for reset in [true, false] {
            let mut setup = setup().await;
            let address = closes_the_handshake(reset);
            setup.settings["url"] = format!("https://{address}/p.svc").into();
            setup.settings["http"]["tls"] = backend.into();
            let report = apply(&setup.open(), &creates(2)).await;
            for number in [1, 2] {
                assert!(is_later(outcome(&report, number)), "{backend}: {report:?}");
            }
            let trouble = report.trouble.unwrap();
            assert_eq!(
                (trouble.scope, trouble.code.as_str()),
                (Scope::Connection, "6901"),
                "{backend} {reset}: {trouble}"
            );
            assert_eq!(
                trouble.message.contains("`tls = \"native-tls\"` may help"),
                backend == "rustls",
                "{trouble}"
            );
        }
    }
}

/// Passes everything through, but spoils what the server says once the client has sent its request.
fn spoils_the_answer(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(server).unwrap();
            // The client speaks twice: its handshake, then the end of it and the request.
            let asked = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&asked);
            pass(
                client.try_clone().unwrap(),
                server.try_clone().unwrap(),
                move |turn, bytes| {
                    if turn > 0 && bytes.len() > 1000 {
                        seen.store(true, Ordering::SeqCst);
                    }
                },
            );
            pass(server, client, move |_, bytes| {
                if asked.load(Ordering::SeqCst)
                    && let Some(last) = bytes.last_mut()
                {
                    *last ^= 0xff;
                }
            });
        }
    });
    address
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    change: impl Fn(usize, &mut [u8]) + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_536];
        for turn in 0.. {
            let Ok(read @ 1..) = from.read(&mut bytes) else {
                break;
            };
            change(turn, &mut bytes[..read]);
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        // The other side may not have read all yet.
        std::thread::sleep(Duration::from_millis(100));
        let _ = to.shutdown(Shutdown::Both);
    });
}

#[tokio::test]
async fn tls_that_breaks_after_the_request_leaves_open_what_was_done() {
    for backend in ["rustls", "native-tls"] {
        let mut setup = setup().await;
        let relay = spoils_the_answer(setup.planner.address());
        setup.settings["url"] =
            format!("https://{relay}/PlannerExternalCalendarService.svc").into();
        setup.settings["http"]["tls"] = backend.into();
        let report = apply(&setup.open(), &creates(1)).await;
        assert_eq!(
            outcome(&report, 1),
            &Outcome::Unknown,
            "{backend}: {report:?}"
        );
        let trouble = report.trouble.unwrap();
        assert_eq!(trouble.code, "6905", "{backend}: {trouble}");
        assert_eq!(
            trouble.message.contains("native-tls"),
            backend == "rustls",
            "{trouble}"
        );
    }
}
