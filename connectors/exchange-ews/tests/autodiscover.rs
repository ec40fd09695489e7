//! Autodiscover over real sockets: where mailboxes are looked up and in which order, what is kept, and who never gets
//! the account's credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::clock::Clock as _;
use calbridge_core::connector::{Connection, Error, ErrorKind, Scope};
use calbridge_sandbox::exchange::{Direction, ExchangeSandbox, Profile, SignIn};
use jiff::SignedDuration;
use serde_json::{Value, json};
use support::town::{AUTODISCOVER, MAIL, Town};
use support::{ANNA, BO, Feed, after, busy, read, request, winter};

/// Which of its own requests a server got, in order, without those of sign-ins that were only asked for.
fn seen(exchange: &ExchangeSandbox) -> Vec<String> {
    let calls = exchange.ledger().all();
    let names = calls
        .iter()
        .filter(|call| call.status != 401)
        .map(|call| call.operation.clone());
    names.collect()
}

/// No request brought an Authorization header.
fn got_no_credentials(exchange: &ExchangeSandbox) -> bool {
    let calls = exchange.ledger().all();
    calls.iter().all(|call| call.detail.scheme.is_none())
}

async fn read_anna(connection: &Arc<dyn Connection>) -> Result<Feed, Error> {
    read(connection.as_ref(), request(ANNA, winter())).await
}

/// Reads Anna's calendar and gives the error.
async fn refused(connection: &Arc<dyn Connection>) -> Error {
    read_anna(connection).await.expect_err("it is not found")
}

fn external(exchange: &ExchangeSandbox, host: &str) {
    let url = format!("https://{host}/EWS/Exchange.asmx");
    exchange.change_autodiscover(|state| state.external = Some(url));
}

async fn simple() -> (Town, ExchangeSandbox, Arc<dyn Connection>) {
    let town = Town::new().await;
    let exchange = town.server(&[AUTODISCOVER, MAIL]).await;
    external(&exchange, MAIL);
    let connection = town.open(town.settings()).unwrap();
    (town, exchange, connection)
}

#[tokio::test]
async fn version_2_comes_first_and_without_credentials_and_is_kept() {
    let (town, exchange, connection) = simple().await;
    exchange
        .create(ANNA, busy("2026-12-01T09:00", "2026-12-01T10:00"))
        .unwrap();
    let feed = read_anna(&connection).await.unwrap();
    assert_eq!(feed.facts(winter()).len(), 1);
    let calls = exchange.ledger().all();
    assert_eq!(calls[0].operation, "AutodiscoverJson");
    assert_eq!(calls[0].detail.scheme, None);
    assert_eq!(calls[0].detail.host.as_deref(), Some(AUTODISCOVER));
    assert!(
        calls[1..]
            .iter()
            .all(|call| call.detail.host.as_deref() == Some(MAIL))
    );
    read_anna(&connection).await.unwrap();
    assert_eq!(exchange.ledger().count("AutodiscoverJson"), 1, "it is kept");
    assert_eq!(exchange.ledger().count("GetUserSettings"), 0);
    town.clock
        .set(town.clock.now() + SignedDuration::from_hours(25));
    read_anna(&connection).await.unwrap();
    assert_eq!(exchange.ledger().count("AutodiscoverJson"), 2, "for a day");
    assert!(
        town.proxy
            .asked()
            .iter()
            .all(|line| line.starts_with("CONNECT "))
    );
}

#[tokio::test]
async fn soap_comes_next_and_plain_xml_last() {
    for sign_in in [SignIn::default(), SignIn::windows()] {
        let town = Town::new().await;
        let names = [AUTODISCOVER, MAIL];
        let windows = sign_in.ntlm;
        let exchange = town
            .server_with(&names, &names, sign_in, Profile::Exchange2013)
            .await;
        external(&exchange, MAIL);
        let mut settings = town.settings();
        if windows {
            settings["auth"]["kind"] = json!("ntlm");
        }
        exchange.change_autodiscover(|state| state.json = false);
        read_anna(&town.open(settings.clone()).unwrap())
            .await
            .unwrap();
        assert_eq!(exchange.ledger().count("AutodiscoverPox"), 0);
        assert!(exchange.ledger().count("GetUserSettings") > 0);
        exchange.ledger().clear();
        exchange.change_autodiscover(|state| state.soap = false);
        read_anna(&town.open(settings).unwrap()).await.unwrap();
        let order: Vec<String> = seen(&exchange).into_iter().take(3).collect();
        assert_eq!(
            order,
            ["AutodiscoverJson", "GetUserSettings", "AutodiscoverPox"]
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_exchange_is_found_too() {
    let town = Town::new().await;
    let names = [AUTODISCOVER, MAIL];
    let exchange = town
        .server_with(&names, &names, SignIn::default(), Profile::Gromox)
        .await;
    external(&exchange, MAIL);
    let connection = town.open(town.settings()).unwrap();
    read_anna(&connection).await.unwrap();
}

#[tokio::test]
async fn each_mailbox_is_read_where_it_is() {
    let town = Town::new().await;
    let first = town.server(&[AUTODISCOVER, "mail1.kommune.example"]).await;
    let second = town.server(&["mail2.kommune.example"]).await;
    for (address, host) in [(ANNA, "mail1"), (BO, "mail2")] {
        let url = format!("https://{host}.kommune.example/EWS/Exchange.asmx");
        first.direct(address, Direction::Ews(url));
    }
    let connection = town.open(town.settings()).unwrap();
    for address in [ANNA, BO, ANNA, BO] {
        read(connection.as_ref(), request(address, winter()))
            .await
            .unwrap();
    }
    let of = |exchange: &ExchangeSandbox, address: &str| {
        let calls = exchange.ledger().all();
        let mine = |name: &Option<String>| name.as_deref() == Some(address);
        calls.iter().any(|call| mine(&call.detail.impersonated))
    };
    assert!(of(&first, ANNA) && !of(&first, BO));
    assert!(of(&second, BO) && !of(&second, ANNA));
    assert_eq!(first.ledger().count("AutodiscoverJson"), 2);
}

#[tokio::test]
async fn what_was_found_is_kept_while_autodiscover_is_down_and_over_a_restart() {
    let (town, exchange, connection) = simple().await;
    let feed = read_anna(&connection).await.unwrap();
    town.lose(AUTODISCOVER);
    town.clock
        .set(town.clock.now() + SignedDuration::from_hours(30));
    read_anna(&connection).await.unwrap();
    // Another run of the program knows it by the cursor.
    let again = town.open(town.settings()).unwrap();
    let next = after(&feed, &request(ANNA, winter()));
    read(again.as_ref(), next).await.unwrap();
    // Whoever knows nothing is told.
    let fresh = town.open(town.settings()).unwrap();
    let error = refused(&fresh).await;
    assert_eq!(
        (error.code.as_str(), error.scope),
        ("4930", Scope::Calendar)
    );
    assert_eq!(error.kind, ErrorKind::Transient);
    exchange.ledger().clear();
    town.route(AUTODISCOVER, &exchange);
    town.clock
        .set(town.clock.now() + SignedDuration::from_mins(2));
    read_anna(&fresh).await.unwrap();
    assert_eq!(exchange.ledger().count("AutodiscoverJson"), 1);
}

#[tokio::test]
async fn a_failure_is_not_asked_for_again_at_once() {
    let town = Town::new().await;
    let connection = town.open(town.settings()).unwrap();
    for _ in 0..5 {
        assert_eq!(refused(&connection).await.code, "4930");
    }
    // autodiscover. and the bare domain, once each: what does not answer is not asked by another protocol.
    assert_eq!(town.proxy.asked().len(), 2, "{:?}", town.proxy.asked());
}

#[tokio::test]
async fn redirections_are_followed_within_the_domain() {
    let town = Town::new().await;
    let front = town.server(&[AUTODISCOVER]).await;
    let real = town.server(&["ad2.kommune.example", MAIL]).await;
    external(&real, MAIL);
    front.direct(ANNA, Direction::Host("ad2.kommune.example".to_owned()));
    read_anna(&town.open(town.settings()).unwrap())
        .await
        .unwrap();
    assert_eq!(real.ledger().count("AutodiscoverJson"), 1);
    for exchange in [&front, &real] {
        exchange.change_autodiscover(|state| state.json = false);
        exchange.ledger().clear();
    }
    read_anna(&town.open(town.settings()).unwrap())
        .await
        .unwrap();
    assert_eq!(front.ledger().count("GetUserSettings"), 1);
    assert_eq!(real.ledger().count("GetUserSettings"), 1);
    for exchange in [&front, &real] {
        exchange.change_autodiscover(|state| state.soap = false);
        exchange.ledger().clear();
    }
    read_anna(&town.open(town.settings()).unwrap())
        .await
        .unwrap();
    assert_eq!(real.ledger().count("AutodiscoverPox"), 1);
}

#[tokio::test]
async fn another_address_is_asked_for_where_the_server_says_so() {
    let (town, exchange, _) = simple().await;
    exchange.direct(ANNA, Direction::Address(BO.to_owned()));
    let connection = town.open(town.settings()).unwrap();
    read_anna(&connection).await.unwrap();
    exchange.change_autodiscover(|state| state.json = false);
    read_anna(&town.open(town.settings()).unwrap())
        .await
        .unwrap();
    // And back again: a circle.
    exchange.direct(BO, Direction::Address(ANNA.to_owned()));
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(
        (error.code.as_str(), error.kind),
        ("4930", ErrorKind::Config)
    );
    // To another mail domain.
    exchange.direct(ANNA, Direction::Address("anna@evil.example".to_owned()));
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(error.code, "ews.autodiscover.domain");
}

#[tokio::test]
async fn circles_end() {
    let (town, exchange, _) = simple().await;
    exchange.direct(ANNA, Direction::Host(AUTODISCOVER.to_owned()));
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(
        (error.code.as_str(), error.kind),
        ("4930", ErrorKind::Config)
    );
    assert!(exchange.ledger().len() < 10, "{}", exchange.ledger().len());
    // One that never comes back to the same place.
    let spec = "AutodiscoverJson*all=redirect:https://autodiscover.kommune.example/autodiscover/autodiscover.json?a";
    for number in 0..30 {
        exchange
            .inject_spec(&format!(
                "{}{number}",
                spec.replace("*all", &format!("#{}*1", number + 1))
            ))
            .unwrap();
    }
    exchange.ledger().clear();
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(error.code, "4930");
    assert!(exchange.ledger().count("AutodiscoverJson") <= 12);
}

#[tokio::test]
async fn k148_hosts_outside_the_domain_get_nothing() {
    for (json, soap) in [(true, true), (false, true), (false, false)] {
        let town = Town::new().await;
        let evil = town.server(&["evil.example", "autodiscover.example"]).await;
        let exchange = town.server(&[AUTODISCOVER, MAIL]).await;
        exchange.change_autodiscover(|state| (state.json, state.soap) = (json, soap));
        let shapes = [
            // Redirected there, by each protocol's own way.
            Direction::Host("evil.example".to_owned()),
            Direction::Host(
                "http://autodiscover.kommune.example/autodiscover/autodiscover.xml".to_owned(),
            ),
            Direction::Host("https://autodiscover.kommune.example:8443/".to_owned()),
            // Sent there with the mailbox's requests.
            Direction::Ews("https://evil.example/EWS/Exchange.asmx".to_owned()),
            Direction::Ews("http://mail.kommune.example/EWS/Exchange.asmx".to_owned()),
            Direction::Ews(
                "https://mail.kommune.example.evil.example/EWS/Exchange.asmx".to_owned(),
            ),
        ];
        for shape in shapes {
            exchange.direct(ANNA, shape.clone());
            let error = refused(&town.open(town.settings()).unwrap()).await;
            assert_eq!(error.code, "ews.autodiscover.foreign-host", "{shape:?}");
            assert_eq!(
                (error.kind, error.scope),
                (ErrorKind::Config, Scope::Calendar)
            );
            assert!(!error.message.contains("anna"), "{error}");
        }
        // By HTTP itself.
        for (operation, status) in [
            ("AutodiscoverJson", json),
            ("GetUserSettings", !json && soap),
            ("AutodiscoverPox", !soap),
        ] {
            if !status {
                continue;
            }
            exchange.direct(ANNA, Direction::Ews(String::new()));
            for target in [
                "https://evil.example/autodiscover/autodiscover.svc",
                "http://autodiscover.kommune.example/",
            ] {
                exchange
                    .inject_spec(&format!("{operation}*all=redirect:{target}"))
                    .unwrap();
                exchange.change_autodiscover(|state| {
                    (state.json, state.soap, state.pox) = (json, !json && soap, !soap);
                });
                let error = refused(&town.open(town.settings()).unwrap()).await;
                assert_eq!(
                    error.code, "ews.autodiscover.foreign-host",
                    "{operation} {target}"
                );
                exchange.clear_faults();
            }
        }
        assert_eq!(evil.ledger().len(), 0);
        let asked = town.proxy.asked();
        assert!(
            asked
                .iter()
                .all(|line| line.starts_with("CONNECT ") && !line.contains("evil")),
            "{asked:?}"
        );
        assert!(
            !asked
                .iter()
                .any(|line| line.contains("8443") || line.contains(" autodiscover.example"))
        );
    }
}

#[tokio::test]
async fn the_bare_domain_sees_no_credentials() {
    let town = Town::new().await;
    let site = town.server(&["kommune.example"]).await;
    site.change_autodiscover(|state| state.json = false);
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(error.code, "4930");
    assert!(!site.ledger().is_empty() && got_no_credentials(&site));
    // Requests for a mailbox are not sent there either.
    site.change_autodiscover(|state| state.json = true);
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(error.code, "ews.autodiscover.foreign-host");
    assert!(got_no_credentials(&site));
    // An operator may say that it is Exchange.
    let mut settings = town.settings();
    settings["autodiscover"]["hosts"] = json!(["kommune.example"]);
    read_anna(&town.open(settings).unwrap()).await.unwrap();
}

#[tokio::test]
async fn named_hosts_are_asked_first_and_may_have_ports() {
    let town = Town::new().await;
    let inside = town
        .server_with(
            &["ex01.kommune.local:8443"],
            &["ex01.kommune.local"],
            SignIn::default(),
            Profile::Exchange2019,
        )
        .await;
    let mut settings = town.settings();
    settings["autodiscover"]["hosts"] = json!(["ex01.kommune.local:8443"]);
    let connection = town.open(settings).unwrap();
    read_anna(&connection).await.unwrap();
    assert_eq!(
        town.proxy.asked().first().map(String::as_str),
        Some("CONNECT ex01.kommune.local:8443")
    );
    assert!(inside.ledger().count("SyncFolderItems") > 0);
}

#[tokio::test]
async fn mailboxes_of_other_mail_domains_are_not_looked_up() {
    let town = Town::new().await;
    let connection = town.open(town.settings()).unwrap();
    for address in [
        "anna@example",
        "anna@evil.example",
        "anna@sub.kommune.example",
        "anna@kommune.example.evil.example",
    ] {
        let error = read(connection.as_ref(), request(address, winter()))
            .await
            .err()
            .unwrap();
        assert_eq!(error.code, "ews.autodiscover.domain", "{address}");
    }
    assert!(town.proxy.asked().is_empty());
}

#[tokio::test]
async fn a_refused_password_is_not_carried_from_door_to_door() {
    for kind in ["basic", "ntlm"] {
        let town = Town::new().await;
        let names = [AUTODISCOVER, MAIL, "gate.kommune.example"];
        let sign_in = SignIn {
            ntlm: true,
            negotiate: true,
            ..SignIn::default()
        };
        let exchange = town
            .server_with(&names, &names, sign_in, Profile::Exchange2019)
            .await;
        exchange.change_autodiscover(|state| state.json = false);
        let mut settings = town.settings();
        settings["auth"]["kind"] = json!(kind);
        settings["autodiscover"]["hosts"] = json!(["gate.kommune.example"]);
        town.secrets
            .0
            .lock()
            .unwrap()
            .insert("env:EXCHANGE".into(), "wrong".into());
        let connection = town.open(settings).unwrap();
        for address in [ANNA, BO, ANNA] {
            let error = read(connection.as_ref(), request(address, winter()))
                .await
                .err()
                .unwrap();
            assert_eq!(
                (error.kind, error.code.as_str()),
                (ErrorKind::Auth, "ews.http.401"),
                "{error}"
            );
        }
        assert_eq!(exchange.sign_in_counts().refused, 1, "{kind}");
        // The right one works, once the wait is over.
        town.secrets
            .0
            .lock()
            .unwrap()
            .insert("env:EXCHANGE".into(), "sandbox".into());
        town.clock
            .set(town.clock.now() + SignedDuration::from_hours(1));
        external(&exchange, MAIL);
        read_anna(&connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_site_that_offers_only_basic_gets_no_password() {
    let town = Town::new().await;
    let site = town.server(&[AUTODISCOVER]).await;
    site.change_autodiscover(|state| state.json = false);
    let mut settings = town.settings();
    settings["auth"]["kind"] = json!("ntlm");
    let error = refused(&town.open(settings).unwrap()).await;
    assert_eq!(
        (error.code.as_str(), error.scope),
        ("ews.signin.not-offered", Scope::Calendar)
    );
    assert!(got_no_credentials(&site));
}

#[tokio::test]
async fn what_cannot_be_used_is_passed_over_and_told() {
    let spoils = [
        "malformed",
        "dtd",
        "deep:5000",
        "oversized:3000000",
        "status:500",
        "status:403",
        "truncate:20",
        "raw:hello\\r\\n",
        "close-before",
        "twice",
        "delay:100",
    ];
    for spoil in spoils {
        let (town, exchange, connection) = simple().await;
        exchange
            .inject_spec(&format!("AutodiscoverJson*all={spoil}"))
            .unwrap();
        let begun = Instant::now();
        // What did not answer at all is not asked again; whatever did is asked by the next protocol.
        let dead = [
            "truncate:20",
            "raw:hello\\r\\n",
            "close-before",
            "oversized:3000000",
        ]
        .contains(&spoil);
        let result = read_anna(&connection).await;
        assert_eq!(result.is_ok(), !dead, "{spoil} {:?}", result.err());
        assert!(begun.elapsed() < Duration::from_secs(20), "{spoil}");
        // All of it.
        exchange.clear_faults();
        exchange.inject_spec(&format!("AutodiscoverJson*all={spoil};GetUserSettings*all={spoil};AutodiscoverPox*all={spoil}")).unwrap();
        if ["twice", "delay:100"].contains(&spoil) {
            continue;
        }
        let error = refused(&town.open(town.settings()).unwrap()).await;
        let code = error.code.as_str();
        let known = [
            "4930",
            "4925",
            "4924",
            "http.too-large",
            "http.bad-response",
        ];
        assert!(known.contains(&code), "{spoil} {error}");
        assert_eq!(error.scope, Scope::Calendar, "{spoil}");
        assert!(!error.message.contains("anna"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_told_and_nothing_is_sent() {
    let town = Town::new().await;
    let names = [AUTODISCOVER];
    let exchange = town
        .server_with(
            &names,
            &["www.elsewhere.example"],
            SignIn::default(),
            Profile::Exchange2019,
        )
        .await;
    let error = refused(&town.open(town.settings()).unwrap()).await;
    assert_eq!(
        (error.code.as_str(), error.scope),
        ("tls.wrong-host", Scope::Calendar)
    );
    assert_eq!(exchange.ledger().len(), 0);
}

#[tokio::test]
async fn a_mailbox_in_the_cloud_is_told_with_what_to_do() {
    for (json, soap) in [(true, true), (false, true), (false, false)] {
        let (town, exchange, connection) = simple().await;
        exchange.change_autodiscover(|state| (state.json, state.soap) = (json, soap));
        exchange.direct(
            ANNA,
            Direction::Online("anna@kommune.mail.onmicrosoft.com".to_owned()),
        );
        let error = refused(&connection).await;
        assert_eq!(
            (error.code.as_str(), error.kind),
            ("ews.moved-online", ErrorKind::NotFound)
        );
        assert_eq!(error.scope, Scope::Calendar);
        assert!(error.message.contains("Microsoft Graph"), "{error}");
        // Others go on.
        read(connection.as_ref(), request(BO, winter()))
            .await
            .unwrap();
        assert!(
            !town
                .proxy
                .asked()
                .iter()
                .any(|line| line.contains("outlook") || line.contains("onmicrosoft"))
        );
    }
}

#[tokio::test]
async fn a_mailbox_that_moves_during_a_run_is_noticed() {
    let (town, exchange, connection) = simple().await;
    read_anna(&connection).await.unwrap();
    exchange
        .inject_spec("*@anna@kommune.example*all=fault:ErrorNonExistentMailbox")
        .unwrap();
    // Its faults strike autodiscover too, and that is none of its.
    exchange.direct(
        ANNA,
        Direction::Online("anna@kommune.onmicrosoft.com".to_owned()),
    );
    assert_eq!(
        refused(&connection).await.code,
        "ews.ErrorNonExistentMailbox"
    );
    town.clock
        .set(town.clock.now() + SignedDuration::from_mins(6));
    exchange.clear_faults();
    assert_eq!(refused(&connection).await.code, "ews.moved-online");
    read(connection.as_ref(), request(BO, winter()))
        .await
        .unwrap();
    // And comes back.
    exchange.direct(ANNA, Direction::Ews(String::new()));
    town.clock
        .set(town.clock.now() + SignedDuration::from_hours(1));
    read_anna(&connection).await.unwrap();
}

#[tokio::test]
async fn with_an_address_requests_go_there_and_only_moves_are_looked_up() {
    let (town, exchange, _) = simple().await;
    external(&exchange, "elsewhere.example");
    let mut settings = town.settings();
    settings["url"] = json!(format!("https://{MAIL}/EWS/Exchange.asmx"));
    let connection = town.open(settings.clone()).unwrap();
    read_anna(&connection).await.unwrap();
    let calls = exchange.ledger().all();
    assert!(
        calls
            .iter()
            .all(|call| call.detail.host.as_deref() == Some(MAIL))
    );
    assert_eq!(calls[0].operation, "AutodiscoverJson");
    exchange.direct(
        BO,
        Direction::Online("bo@kommune.onmicrosoft.com".to_owned()),
    );
    let error = read(connection.as_ref(), request(BO, winter()))
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, "ews.moved-online");
    // Where nobody tells, requests go to the address all the same.
    exchange
        .change_autodiscover(|state| (state.json, state.soap, state.pox) = (false, false, false));
    read(
        town.open(settings.clone()).unwrap().as_ref(),
        request(BO, winter()),
    )
    .await
    .unwrap();
    // Without the table nothing is looked up.
    settings.as_object_mut().unwrap().remove("autodiscover");
    exchange.ledger().clear();
    read_anna(&town.open(settings).unwrap()).await.unwrap();
    assert_eq!(exchange.ledger().count("AutodiscoverJson"), 0);
}

#[tokio::test]
async fn groups_are_asked_for_where_that_is_set() {
    let (town, exchange, _) = simple().await;
    let mut settings = town.settings();
    settings["autodiscover"]["grouping"] = Value::Bool(true);
    read_anna(&town.open(settings).unwrap()).await.unwrap();
    let order: Vec<String> = seen(&exchange).into_iter().take(2).collect();
    assert_eq!(order, ["AutodiscoverJson", "GetUserSettings"]);
}

#[tokio::test]
async fn of_many_readers_of_one_mailbox_one_asks() {
    let (_town, exchange, connection) = simple().await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let connection = Arc::clone(&connection);
        readers.spawn(async move { read_anna(&connection).await.is_ok() });
    }
    assert!(readers.join_all().await.into_iter().all(|good| good));
    assert_eq!(exchange.ledger().count("AutodiscoverJson"), 1);
}

#[tokio::test]
async fn k136_a_lookup_that_fails_holds_up_its_own_mailbox_only() {
    let (_town, exchange, connection) = simple().await;
    exchange
        .inject_spec("AutodiscoverJson@anna@kommune.example*all=hang-before")
        .unwrap();
    let slow = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { read_anna(&connection).await.err() }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    read(connection.as_ref(), request(BO, winter()))
        .await
        .unwrap();
    assert!(!slow.is_finished(), "the other waited for it");
    assert_eq!(slow.await.unwrap().unwrap().code, "4930");
}
