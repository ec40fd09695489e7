//! Windows authentication against the sandbox's own verifier: NTLM and Negotiate, per connection, with channel
//! bindings, and never a second try with a refused password.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use calbridge_core::connector::{CheckScope, Error, ErrorKind, Hint, Scope, Severity};
use calbridge_core::model::CalendarRef;
use calbridge_sandbox::exchange::{
    Account, Binding, ExchangeOptions, Profile, SignIn, SignInCounts, Spoil,
};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki, server_config};
use serde_json::{Value, json};
use support::{ANNA, BO, Bench, ROOM, read, request, winter};

const USER: &str = "KOMMUNE\\svc-calbridge";

fn auth(kind: &str) -> Value {
    json!({ "kind": kind, "user": USER, "password": "env:EXCHANGE" })
}

fn options(sign_in: SignIn) -> ExchangeOptions {
    ExchangeOptions {
        accounts: vec![Account::service(USER, "sandbox")],
        profile: Profile::Exchange2019,
        sign_in,
        ..ExchangeOptions::default()
    }
}

async fn bench(kind: &str, sign_in: SignIn) -> Bench {
    Bench::of(options(sign_in), |settings| settings["auth"] = auth(kind)).await
}

/// Over TLS, with the folder that holds the authority's certificate.
async fn secure(
    kind: &str,
    sign_in: SignIn,
    adjust: impl FnOnce(&mut Value),
) -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new().unwrap();
    let identity = pki.issue(&CertificateSpec::server()).unwrap();
    let authority = folder.path().join("ca.pem");
    pki.write_ca(&authority).unwrap();
    let options = ExchangeOptions {
        server: ServerOptions {
            tls: Some(server_config(&identity, &pki.ca_der(), ClientAuth::None).unwrap()),
            host: "localhost".into(),
            ..ServerOptions::default()
        },
        ..options(SignIn {
            certificate: Some(identity.certificate_der.to_vec()),
            ..sign_in
        })
    };
    let bench = Bench::of(options, |settings| {
        settings["auth"] = auth(kind);
        settings["http"]["extra_ca"] = json!([authority]);
        adjust(settings);
    })
    .await;
    (bench, folder)
}

fn set_password(bench: &Bench, password: &str) {
    let mut secrets = bench.secrets.0.lock().unwrap();
    secrets.insert("env:EXCHANGE".into(), password.into());
}

async fn error(bench: &Bench) -> Error {
    bench.read(request(ANNA, winter())).await.unwrap_err()
}

fn counts(bench: &Bench) -> SignInCounts {
    bench.exchange.sign_in_counts()
}

#[tokio::test]
async fn a_connection_is_signed_in_once_and_carries_all_that_follows() {
    for kind in ["ntlm", "negotiate"] {
        let bench = bench(kind, SignIn::windows()).await;
        bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
        bench.read_true(request(ANNA, winter())).await;
        bench.read_true(request(BO, winter())).await;
        let counts = counts(&bench);
        assert_eq!((counts.proofs, counts.challenges), (1, 1), "{kind}");
        assert_eq!((counts.refused, counts.malformed), (0, 0), "{kind}");
        assert_eq!(bench.exchange.server().connections(), 1, "{kind}");
    }
}

#[tokio::test]
async fn names_are_written_as_windows_does() {
    for user in ["KOMMUNE\\svc", "svc@kommune.example", "svc"] {
        for kind in ["ntlm", "negotiate"] {
            let options = ExchangeOptions {
                accounts: vec![Account::service(user, "blåbærgrød €")],
                sign_in: SignIn::windows(),
                ..ExchangeOptions::default()
            };
            let bench = Bench::of(options, |settings| {
                settings["auth"] =
                    json!({ "kind": kind, "user": user, "password": "env:EXCHANGE" });
            })
            .await;
            set_password(&bench, "blåbærgrød €");
            bench.read(request(ANNA, winter())).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_connections_of_their_own_and_no_second_identity() {
    let bench = bench("ntlm", SignIn::windows()).await;
    for _ in 0..3 {
        let readings = (0..8).map(|number| {
            let connection = bench.connection.clone();
            let address = [ANNA, BO, ROOM][number % 3];
            tokio::spawn(async move { read(connection.as_ref(), request(address, winter())).await })
        });
        for reading in futures_util::future::join_all(readings).await {
            reading.unwrap().unwrap();
        }
    }
    let counts = counts(&bench);
    let connections = bench.exchange.server().connections();
    assert!((1..=8).contains(&connections), "{connections}");
    assert_eq!(counts.proofs, connections, "each is signed in once");
    assert_eq!(counts.refused, 0);
}

#[tokio::test]
async fn extended_protection_is_satisfied_and_a_wrong_channel_is_not() {
    for kind in ["ntlm", "negotiate"] {
        for binding in [Binding::Allow, Binding::Required] {
            let sign_in = SignIn {
                binding,
                ..SignIn::windows()
            };
            let (bench, _folder) = secure(kind, sign_in, |_| {}).await;
            bench.read(request(ANNA, winter())).await.unwrap();
            assert_eq!(counts(&bench).unbound, 0, "{kind} {binding:?}");
        }
        // A proxy that opens TLS has another certificate.
        let (bridged, _folder) = secure(kind, SignIn::windows(), |_| {}).await;
        bridged
            .exchange
            .change_sign_in(|sign_in| sign_in.certificate = Some(b"another".to_vec()));
        let refused = error(&bridged).await;
        assert_eq!(
            (refused.kind, refused.scope),
            (ErrorKind::Auth, Scope::Connection)
        );
        assert!(refused.message.contains("Extended Protection"), "{refused}");
        assert_eq!(counts(&bridged).unbound, 1, "{kind}");
        // Not named, a proxy's certificate does not matter, unless the server must have it named.
        let off = |settings: &mut Value| settings["auth"]["channel_binding"] = "off".into();
        let (bridged, _folder) = secure(kind, SignIn::windows(), off).await;
        bridged
            .exchange
            .change_sign_in(|sign_in| sign_in.certificate = Some(b"another".to_vec()));
        bridged.read(request(ANNA, winter())).await.unwrap();
        let required = SignIn {
            binding: Binding::Required,
            ..SignIn::windows()
        };
        let (strict, _folder) = secure(kind, required, off).await;
        assert_eq!(error(&strict).await.kind, ErrorKind::Auth);
        assert_eq!(counts(&strict).unbound, 1, "{kind}");
    }
}

#[tokio::test]
async fn the_operating_systems_tls_library_names_the_channel_too() {
    let sign_in = SignIn {
        binding: Binding::Required,
        ..SignIn::windows()
    };
    let (bench, _folder) = secure("ntlm", sign_in, |settings| {
        settings["http"]["tls"] = "native-tls".into();
    })
    .await;
    bench.read(request(ANNA, winter())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_is_tried_exactly_once() {
    for kind in ["ntlm", "negotiate", "basic"] {
        let sign_in = SignIn {
            basic: kind == "basic",
            lock_after: Some(2),
            ..SignIn::windows()
        };
        let bench = bench(kind, sign_in).await;
        set_password(&bench, "a typing error");
        for _ in 0..3 {
            let readings = (0..30).map(|number| {
                let connection = bench.connection.clone();
                let address = [ANNA, BO, ROOM][number % 3];
                tokio::spawn(
                    async move { read(connection.as_ref(), request(address, winter())).await },
                )
            });
            for reading in futures_util::future::join_all(readings).await {
                let error = reading.unwrap().unwrap_err();
                assert_eq!(error.kind, ErrorKind::Auth, "{error}");
                assert_eq!(error.scope, Scope::Connection, "{error}");
                assert_eq!(error.code, "ews.http.401", "{error}");
            }
        }
        assert_eq!(counts(&bench).refused, 1, "{kind}");
        // The right one is taken up, and nothing was locked.
        set_password(&bench, "sandbox");
        bench.read(request(ANNA, winter())).await.unwrap();
        assert_eq!(counts(&bench).refused, 1, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_changed_in_use_is_tried_once_with_the_old_one() {
    let bench = bench("ntlm", SignIn::windows()).await;
    bench.read(request(ANNA, winter())).await.unwrap();
    bench
        .exchange
        .set_accounts(vec![Account::service(USER, "changed")]);
    bench.exchange.unlock_accounts();
    let readings = (0..20).map(|number| {
        let connection = bench.connection.clone();
        let address = [ANNA, BO, ROOM][number % 3];
        tokio::spawn(async move { read(connection.as_ref(), request(address, winter())).await })
    });
    for reading in futures_util::future::join_all(readings).await {
        assert_eq!(reading.unwrap().unwrap_err().kind, ErrorKind::Auth);
    }
    assert_eq!(counts(&bench).refused, 1);
}

#[tokio::test]
async fn nothing_weaker_is_used_in_place_of_what_is_configured() {
    let only_basic = SignIn {
        basic: true,
        negotiate: false,
        ntlm: false,
        ..SignIn::windows()
    };
    for (kind, name) in [("ntlm", "NTLM"), ("negotiate", "Negotiate")] {
        let bench = bench(kind, only_basic.clone()).await;
        let error = error(&bench).await;
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert_eq!(error.code, "ews.signin.not-offered");
        assert!(
            error.message.contains(&format!("not offer {name}")),
            "{error}"
        );
        assert!(error.message.contains("WindowsAuthentication"), "{error}");
        assert_eq!(counts(&bench), SignInCounts::default(), "nothing was tried");
    }
    let no_ntlm = SignIn {
        ntlm: false,
        ..SignIn::windows()
    };
    let bench = bench("ntlm", no_ntlm).await;
    let error = error(&bench).await;
    assert!(error.message.contains("but Negotiate"), "{error}");
}

#[tokio::test]
async fn all_schemes_in_one_field() {
    let sign_in = SignIn {
        one_field: true,
        basic: true,
        ..SignIn::windows()
    };
    for kind in ["ntlm", "negotiate", "basic"] {
        let bench = bench(kind, sign_in.clone()).await;
        bench.read(request(ANNA, winter())).await.unwrap();
    }
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_told_apart() {
    use ErrorKind as K;
    for kind in ["ntlm", "negotiate"] {
        for (spoil, expected, code) in [
            (Spoil::NotBase64, K::Protocol, "ews.signin.token"),
            (Spoil::Cut(1), K::Protocol, "ews.signin.token"),
            (Spoil::Cut(20), K::Protocol, "ews.signin.token"),
            (Spoil::Cut(60), K::Protocol, "ews.signin.token"),
            (Spoil::Huge(200_000), K::Protocol, "ews.signin.token"),
            (Spoil::Endless, K::Protocol, "ews.signin.steps"),
            (Spoil::ClosesBetween, K::Transient, "ews.signin.connection"),
            (Spoil::ProxyAsks, K::Auth, "http.proxy-auth"),
        ] {
            let sign_in = SignIn {
                spoil: Some(spoil),
                ..SignIn::windows()
            };
            let bench = bench(kind, sign_in).await;
            let error = error(&bench).await;
            assert_eq!(
                (error.kind, error.code.as_str()),
                (expected, code),
                "{kind} {spoil:?}: {error}"
            );
            assert!(
                !error.message.contains("sandbox") && !error.message.contains("svc-"),
                "{error}"
            );
            let counts = counts(&bench);
            assert_eq!(counts.proofs + counts.refused, 0, "{kind} {spoil:?}");
            assert!(counts.challenges <= 3, "{kind} {spoil:?}: {counts:?}");
        }
    }
}

#[tokio::test]
async fn every_cut_of_a_challenge_is_an_error_and_no_panic() {
    for kind in ["ntlm", "negotiate"] {
        let bench = bench(kind, SignIn::windows()).await;
        for length in (0..150).step_by(4) {
            bench
                .exchange
                .change_sign_in(|sign_in| sign_in.spoil = Some(Spoil::Cut(length)));
            let error = error(&bench).await;
            assert!(
                error.code.starts_with("ews.signin."),
                "{kind} {length}: {error}"
            );
        }
        bench
            .exchange
            .change_sign_in(|sign_in| sign_in.spoil = None);
        bench.read(request(ANNA, winter())).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_forgets_who_is_signed_in_is_told_again() {
    let sign_in = SignIn {
        spoil: Some(Spoil::Forgets),
        ..SignIn::windows()
    };
    let bench = bench("ntlm", sign_in).await;
    bench.read(request(ANNA, winter())).await.unwrap();
    let counts = counts(&bench);
    assert!(counts.proofs > 1 && counts.refused == 0, "{counts:?}");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let bench = bench("ntlm", SignIn::windows()).await;
    bench.read(request(ANNA, winter())).await.unwrap();
    bench
        .exchange
        .inject_spec("SyncFolderItems=close-before")
        .unwrap();
    assert!(bench.read(request(ANNA, winter())).await.is_err());
    bench.exchange.clear_faults();
    bench.read(request(ANNA, winter())).await.unwrap();
    assert_eq!(counts(&bench).proofs, 2);
    assert_eq!(bench.exchange.server().connections(), 2);
}

#[tokio::test]
async fn answers_of_the_first_leg_that_are_no_401_are_what_they_are() {
    for (status, kind) in [
        (302, ErrorKind::Config),
        (503, ErrorKind::Throttled),
        (404, ErrorKind::Config),
    ] {
        let bench = bench("ntlm", SignIn::windows()).await;
        bench
            .exchange
            .inject_spec(&format!("**all=status:{status}"))
            .unwrap();
        let error = error(&bench).await;
        assert_eq!(error.kind, kind, "{status}: {error}");
        assert_eq!(counts(&bench), SignInCounts::default());
    }
}

#[tokio::test]
async fn streams_are_signed_in_and_outlast_the_time_limit_of_requests() {
    for kind in ["ntlm", "negotiate"] {
        let bench = Bench::of(options(SignIn::windows()), |settings| {
            settings["auth"] = auth(kind);
            settings["http"]["timeout"] = "2s".into();
        })
        .await;
        let calendars = [ANNA, BO].map(|address| CalendarRef::primary(address).unwrap());
        let mut feed = bench
            .connection
            .source()
            .unwrap()
            .watch(&calendars)
            .await
            .unwrap();
        let begun = Instant::now();
        let mut watched = BTreeSet::new();
        while watched.len() < 2 {
            for hint in feed.next().await.unwrap() {
                if let Hint::Gap(calendar) = hint {
                    watched.insert(calendar.address.as_str().to_owned());
                }
            }
        }
        while bench.exchange.watched().1 == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
        let told = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                match feed.next().await.unwrap().into_iter().next() {
                    Some(Hint::Dirty(calendar)) => return calendar,
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
            }
        });
        assert_eq!(told.await.unwrap().address.as_str(), ANNA, "{kind}");
        let counts = counts(&bench);
        assert_eq!(counts.proofs, bench.exchange.server().connections());
        assert_eq!((counts.refused, counts.malformed), (0, 0));
    }
}

#[tokio::test]
async fn streams_do_not_try_a_refused_password_either() {
    let bench = bench("ntlm", SignIn::windows()).await;
    set_password(&bench, "a typing error");
    let calendars = [ANNA, BO, ROOM].map(|address| CalendarRef::primary(address).unwrap());
    let source = bench.connection.source().unwrap();
    let mut feed = source.watch(&calendars).await.unwrap();
    let listening = tokio::time::timeout(Duration::from_secs(5), async {
        while feed.next().await.is_ok() {}
    });
    let _ = listening.await;
    let _ = bench.read(request(ANNA, winter())).await;
    assert_eq!(counts(&bench).refused, 1);
}

#[tokio::test]
async fn of_several_accounts_a_refused_one_stops_its_own_mailboxes_alone() {
    let second = "KOMMUNE\\svc-second";
    let options = ExchangeOptions {
        accounts: vec![
            Account::service(USER, "sandbox"),
            Account::service(second, "another"),
        ],
        sign_in: SignIn::windows(),
        ..ExchangeOptions::default()
    };
    let bench = Bench::of(options, |settings| {
        settings["auth"] = auth("ntlm");
        settings["more_accounts"] =
            json!([{ "kind": "ntlm", "user": second, "password": "env:TOKEN" }]);
    })
    .await;
    let people: Vec<String> = (0..16)
        .map(|number| format!("person{number}@kommune.example"))
        .collect();
    for address in &people {
        bench.exchange.add_person("Somebody", address).unwrap();
    }
    let mut outcomes = [0, 0];
    for round in 0..2 {
        for address in &people {
            match bench.read(request(address, winter())).await {
                Ok(_) => outcomes[0] += 1,
                Err(error) => {
                    assert_eq!(
                        (error.kind, error.scope),
                        (ErrorKind::Auth, Scope::Calendar),
                        "{error}"
                    );
                    outcomes[1] += 1;
                }
            }
        }
        assert_eq!(outcomes[0] + outcomes[1], 16 * (round + 1));
        assert_eq!(counts(&bench).refused, 1);
    }
    assert!(outcomes[0] > 6 && outcomes[1] > 6, "{outcomes:?}");
    // An operator is told which, at the cost of one try.
    let scope = CheckScope {
        now: jiff::Timestamp::now(),
        calendars: Vec::new(),
    };
    let report = bench.connection.check(scope.clone()).await.unwrap();
    let told = |severity| {
        let found = report.findings.iter();
        found
            .filter(|one| one.name == "authentication" && one.severity == severity)
            .map(|one| one.message.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(told(Severity::Passed).len(), 1, "{report:?}");
    assert!(told(Severity::Failed)[0].contains("Account 1 of `more_accounts`"));
    assert_eq!(counts(&bench).refused, 2);
    // Put right, `check` gets in, and its part is read again.
    bench.exchange.set_accounts(vec![
        Account::service(USER, "sandbox"),
        Account::service(second, "a.b.c"),
    ]);
    assert!(bench.connection.check(scope).await.unwrap().passed());
    for address in &people {
        bench.read(request(address, winter())).await.unwrap();
    }
    assert_eq!(counts(&bench).refused, 2);
}
