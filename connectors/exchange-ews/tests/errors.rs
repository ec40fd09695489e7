//! Every way in which a server can refuse, be busy, fail or answer nonsense: each is a typed error with its
//! scope, tells the operator what to do, carries nothing personal and concludes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{Error, ErrorKind, Scope};
use calbridge_sandbox::exchange::{Account, ExchangeOptions, Impersonation, Profile, Range};
use calbridge_sandbox::fault::{Fault, FaultKind, TransportFault};
use jiff::civil::date;
use serde_json::json;
use support::{ANNA, BO, Bench, after, daily, request, settings, winter};

async fn bench() -> Bench {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    bench
}

/// No address, no subject, no id of an item.
fn impersonal(error: &Error) {
    let text = format!("{error} {error:?}");
    for personal in ["anna", "Anna", "kommune.example", "Canary", "AAMk", "AQMk"] {
        assert!(!text.contains(personal), "{text}");
    }
    assert!(!error.message.is_empty());
}

/// The error of a first read under a fault, after which a read without it tells everything.
async fn under(spec: &str) -> Error {
    let bench = bench().await;
    bench.exchange.inject_spec(spec).unwrap();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    impersonal(&error);
    bench.exchange.clear_faults();
    assert_eq!(
        bench.read_true(request(ANNA, winter())).await.events.len(),
        1
    );
    error
}

#[tokio::test]
async fn busy_in_four_shapes() {
    for operation in ["GetFolder", "SyncFolderItems", "FindItem"] {
        for (kind, wait) in [
            ("busy-fault:297749", 297_749),
            ("busy-items:5000", 5_000),
            ("busy-503:7", 7_000),
            ("busy-wrapped:12340", 12_340),
        ] {
            let error = under(&format!("{operation}={kind}")).await;
            assert_eq!(error.kind, ErrorKind::Throttled, "{operation} {kind}");
            assert_eq!(error.retry_after_ms, Some(wait), "{operation} {kind}");
        }
    }
}

#[tokio::test]
async fn codes_as_faults_and_in_messages() {
    use ErrorKind as K;
    for (code, kind, scope) in [
        (
            "ErrorExceededConnectionCount",
            K::Throttled,
            Scope::Calendar,
        ),
        (
            "ErrorInternalServerTransientError",
            K::Transient,
            Scope::Calendar,
        ),
        (
            "ErrorMailboxStoreUnavailable",
            K::Transient,
            Scope::Calendar,
        ),
        ("ErrorConnectionFailed", K::Transient, Scope::Calendar),
        ("ErrorMailboxFailover", K::Transient, Scope::Calendar),
        ("ErrorMailboxMoveInProgress", K::Transient, Scope::Calendar),
        ("ErrorInsufficientResources", K::Transient, Scope::Calendar),
        ("ErrorNotEnoughMemory", K::Transient, Scope::Calendar),
        ("ErrorADUnavailable", K::Transient, Scope::Calendar),
        ("ErrorADOperation", K::Transient, Scope::Calendar),
        ("ErrorTimeoutExpired", K::Transient, Scope::Calendar),
        (
            "ErrorNoRespondingCASInDestinationSite",
            K::Transient,
            Scope::Calendar,
        ),
        ("ErrorNonExistentMailbox", K::NotFound, Scope::Calendar),
        ("ErrorAccountDisabled", K::NotFound, Scope::Calendar),
        ("ErrorMailboxConfiguration", K::NotFound, Scope::Calendar),
        ("ErrorMissingEmailAddress", K::NotFound, Scope::Calendar),
        ("ErrorNonPrimarySmtpAddress", K::NotFound, Scope::Calendar),
        ("ErrorAccessDenied", K::Permission, Scope::Calendar),
        ("ErrorImpersonateUserDenied", K::Permission, Scope::Calendar),
        ("ErrorImpersonationDenied", K::Permission, Scope::Calendar),
        ("ErrorImpersonationFailed", K::Permission, Scope::Calendar),
        ("ErrorFolderNotFound", K::NotFound, Scope::Calendar),
        ("ErrorSchemaValidation", K::Protocol, Scope::Calendar),
        ("ErrorInvalidRequest", K::Protocol, Scope::Calendar),
        ("ErrorInvalidServerVersion", K::Protocol, Scope::Calendar),
        ("ErrorIncorrectSchemaVersion", K::Protocol, Scope::Calendar),
        ("ErrorInvalidPropertyRequest", K::Protocol, Scope::Calendar),
        ("ErrorTooManyObjectsOpened", K::Transient, Scope::Calendar),
        ("ErrorProxyCallFailed", K::Transient, Scope::Calendar),
        ("ErrorPasswordExpired", K::Auth, Scope::Connection),
        ("ErrorInvalidSmtpAddress", K::NotFound, Scope::Calendar),
        ("ErrorOfTomorrow", K::Rejected, Scope::Calendar),
    ] {
        for shape in ["fault", "error"] {
            let error = under(&format!("GetFolder={shape}:{code}")).await;
            assert_eq!((error.kind, error.scope), (kind, scope), "{shape} {code}");
            assert_eq!(error.code, format!("ews.{code}"));
        }
    }
}

#[tokio::test]
async fn an_alias_in_the_roster_is_named_without_addresses() {
    let bench = bench().await;
    bench
        .exchange
        .add_alias(ANNA, "ab@kommune.example")
        .unwrap();
    let error = bench
        .read(request("ab@kommune.example", winter()))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ews.ErrorNonPrimarySmtpAddress");
    assert!(error.message.contains("alias"), "{error}");
    impersonal(&error);
}

#[tokio::test]
async fn k053_a_mailbox_that_vanished_or_is_disabled_reports_no_deletion() {
    let bench = bench().await;
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    bench.exchange.disable_mailbox(ANNA, true).unwrap();
    let error = bench.read(after(&feed, &first)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::NotFound, Scope::Calendar)
    );
    let error = bench
        .read(request("nobody@kommune.example", winter()))
        .await
        .unwrap_err();
    assert_eq!(error.code, "ews.ErrorNonExistentMailbox");
    assert!(bench.read(request(BO, winter())).await.is_ok());
}

#[tokio::test]
async fn impersonation_outside_the_scope_is_a_matter_of_that_calendar() {
    for profile in [Profile::Exchange2019, Profile::Gromox] {
        let bench = Bench::start(profile).await;
        let mut account = Account::service("svc-calbridge", "sandbox");
        account.impersonation = Impersonation::Only(vec![BO.into()]);
        bench.exchange.set_accounts(vec![account]);
        // The fault may be followed by a second answer on the same connection: the next request must not
        // take it for its own.
        for _ in 0..5 {
            let error = bench.read(request(ANNA, winter())).await.unwrap_err();
            assert_eq!(
                (error.kind, error.scope),
                (ErrorKind::Permission, Scope::Calendar)
            );
            assert_eq!(error.code, "ews.ErrorImpersonateUserDenied", "{profile:?}");
            assert!(error.message.contains("ApplicationImpersonation"));
            bench.read_true(request(BO, winter())).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_changed_one() {
    let bench = bench().await;
    bench.read_true(request(ANNA, winter())).await;
    bench
        .exchange
        .set_accounts(vec![Account::service("svc-calbridge", "new")]);
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Auth, Scope::Connection)
    );
    assert_eq!(error.code, "ews.http.401");
    assert!(!error.message.contains("sandbox"));
    // The secret is asked for at each sign-in: no restart is needed.
    let key = "env:EXCHANGE".to_owned();
    bench.secrets.0.lock().unwrap().insert(key, "new".into());
    bench.read_true(request(ANNA, winter())).await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_by_many_calendars() {
    let bench = bench().await;
    bench
        .exchange
        .set_accounts(vec![Account::service("svc-calbridge", "new")]);
    let reads = (0..8).map(|_| bench.read(request(ANNA, winter())));
    for result in futures_util::future::join_all(reads).await {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Auth, Scope::Connection)
        );
    }
    assert_eq!(bench.requests(), 1, "more attempts would lock the account");
    // Right again on the server's side: an operator's check opens the way.
    bench
        .exchange
        .set_accounts(vec![Account::service("svc-calbridge", "sandbox")]);
    assert!(bench.read(request(ANNA, winter())).await.is_err());
    let scope = calbridge_core::connector::CheckScope {
        now: support::at("2026-11-20T08:00:00Z"),
        calendars: Vec::new(),
    };
    bench.connection.check(scope).await.unwrap();
    bench.read_true(request(ANNA, winter())).await;
}

#[tokio::test]
async fn a_missing_secret_is_a_mistake_in_the_configuration() {
    let bench = bench().await;
    bench.secrets.0.lock().unwrap().clear();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("env:EXCHANGE"), "{error}");
    assert!(
        bench.exchange.ledger().is_empty(),
        "nothing is sent without it"
    );
}

#[tokio::test]
async fn a_bearer_token_signs_in() {
    let mut account = Account::service("svc-calbridge", "unused");
    account.password = None;
    account.token = Some("a.b.c".into());
    let options = ExchangeOptions {
        accounts: vec![account],
        ..ExchangeOptions::default()
    };
    let bench = Bench::of(options, |settings| {
        settings["auth"] = json!({ "kind": "bearer", "token": "env:TOKEN" });
    })
    .await;
    bench.read_true(request(ANNA, winter())).await;
}

#[tokio::test]
async fn hostile_and_broken_answers() {
    for spec in [
        "FindItem=malformed",
        "SyncFolderItems=malformed",
        "GetFolder=dtd",
        "FindItem=deep:200000",
        "FindItem=truncate:400",
        "GetFolder=missing:FolderId",
        "SyncFolderItems=missing:SyncState",
        "SyncFolderItems=missing:IncludesLastItemInRange",
        "FindItem=missing:ResponseCode",
        "FindItem=missing:ResponseMessages",
    ] {
        let error = under(spec).await;
        let kinds = [ErrorKind::Protocol, ErrorKind::Transient];
        assert!(kinds.contains(&error.kind), "{spec}: {error:?}");
        assert_ne!(error.kind, ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn an_oversized_answer_is_an_error_of_its_calendar_and_the_limit_is_a_setting() {
    let bench = Bench::with(Profile::Exchange2019, |settings| {
        settings["http"]["max_response"] = 50_000.into();
    })
    .await;
    bench
        .exchange
        .inject_spec("GetFolder=oversized:200000")
        .unwrap();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Protocol, Scope::Calendar)
    );
    assert_eq!(error.code, "http.too-large");
    bench.read_true(request(ANNA, winter())).await;
}

#[tokio::test]
async fn a_view_that_is_too_large_is_read_in_parts() {
    let bench = Bench::with(Profile::Exchange2019, |settings| {
        settings["http"]["max_response"] = 60_000.into();
    })
    .await;
    let daily = daily(1, date(2026, 11, 1), Range::NoEnd);
    for hour in 8..12 {
        let (start, end) = (
            format!("2026-11-01T{hour:02}:00"),
            format!("2026-11-01T{hour:02}:30"),
        );
        bench.add_series(ANNA, &start, &end, daily.clone());
    }
    let feed = bench.read_true(request(ANNA, winter())).await;
    assert_eq!(feed.events.len(), 4 * 90);
}

#[tokio::test]
async fn web_pages_and_statuses_in_place_of_soap() {
    for (status, kind) in [
        (302, ErrorKind::Config),
        (401, ErrorKind::Auth),
        (403, ErrorKind::Permission),
        (404, ErrorKind::Config),
        (429, ErrorKind::Throttled),
        (500, ErrorKind::Transient),
        (502, ErrorKind::Transient),
        (503, ErrorKind::Throttled),
        (504, ErrorKind::Transient),
    ] {
        let bench = bench().await;
        let code = calbridge_core::http::StatusCode::from_u16(status).unwrap();
        let fault = TransportFault::Status(code);
        let always = Fault::always(FaultKind::from(fault));
        bench.exchange.inject(always).unwrap();
        let error = bench.read(request(ANNA, winter())).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}: {error}");
        assert_eq!(error.code, format!("ews.http.{status}"));
        impersonal(&error);
    }
}

#[tokio::test]
async fn connections_that_break_or_hang() {
    for (fault, kind) in [
        (TransportFault::ResetBefore, ErrorKind::Transient),
        (TransportFault::CloseBefore, ErrorKind::Transient),
        (TransportFault::CloseAfter, ErrorKind::Transient),
        (TransportFault::HangBefore, ErrorKind::Transient),
        (
            TransportFault::Raw(b"SSH-2.0-OpenSSH\r\n"[..].into()),
            ErrorKind::Protocol,
        ),
    ] {
        let bench = Bench::with(Profile::Exchange2019, |settings| {
            settings["http"]["timeout"] = "1s".into();
        })
        .await;
        bench
            .exchange
            .inject(Fault::once(FaultKind::from(fault.clone())))
            .unwrap();
        let error = bench.read(request(ANNA, winter())).await.unwrap_err();
        let kinds = [kind, ErrorKind::Transient];
        assert!(kinds.contains(&error.kind), "{fault:?}: {error}");
        impersonal(&error);
        bench.read_true(request(ANNA, winter())).await;
    }
}

#[tokio::test]
async fn an_unreachable_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (connection, _) =
        support::open(settings(&format!("http://{address}/EWS/Exchange.asmx"))).unwrap();
    let error = support::read(connection.as_ref(), request(ANNA, winter()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Transient, Scope::Connection)
    );
    assert_eq!(error.code, "http.refused");
}

#[tokio::test]
async fn answers_that_come_twice_are_not_taken_for_the_next() {
    let bench = bench().await;
    for _ in 0..10 {
        let fault = Fault::once(FaultKind::from(TransportFault::Twice));
        bench.exchange.inject(fault).unwrap();
        // Either it is noticed, or it does no harm.
        match bench.read(request(ANNA, winter())).await {
            Ok(feed) => assert_eq!(feed.facts(winter()), bench.truth(ANNA, winter())),
            Err(error) => assert_eq!(error.kind, ErrorKind::Transient, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn wrong_types_and_unknown_values_are_errors_of_their_items() {
    let bench = bench().await;
    bench.exchange.inject_spec("**all=wrong-types").unwrap();
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    assert!(feed.events.is_empty());
    let [(Some(_), Some(_), error)] = feed.unreadable.as_slice() else {
        panic!("{:?}", feed.unreadable)
    };
    assert_eq!(
        (error.scope, error.code.as_str()),
        (Scope::Item, "ews.item.value")
    );
    impersonal(error);
    bench.exchange.clear_faults();
    bench.exchange.inject_spec("**all=unknown-enum").unwrap();
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    let shown = feed.events[0].content.show_as;
    assert_eq!(shown, Some(calbridge_core::model::ShowAs::Other));
}

#[tokio::test]
async fn missing_fields_and_duplicate_ids_lose_nothing() {
    let bench = bench().await;
    bench.add(ANNA, "2026-12-05T09:00", "2026-12-05T10:00");
    for field in ["Start", "End", "ItemId"] {
        bench
            .exchange
            .inject_spec(&format!(
                "FindItem*all=missing:{field};GetItem*all=missing:{field}"
            ))
            .unwrap();
        let feed = bench.read(request(ANNA, winter())).await.unwrap();
        // Kept as they were.
        assert_eq!(feed.unreadable.len(), 2, "{field}");
        assert!(feed.events.is_empty());
        for (_, uid, error) in &feed.unreadable {
            assert!(uid.is_some());
            impersonal(error);
        }
        bench.exchange.clear_faults();
    }
    bench
        .exchange
        .inject_spec("FindItem*all=duplicate-ids")
        .unwrap();
    assert_eq!(
        bench.read_true(request(ANNA, winter())).await.events.len(),
        2
    );
    bench.exchange.clear_faults();
    bench.exchange.inject_spec("**all=duplicate-items").unwrap();
    assert_eq!(
        bench.read_true(request(ANNA, winter())).await.events.len(),
        2
    );
}

/// Series of a server that does not expand, so that many items are read one by one.
async fn many(adjust: impl FnOnce(&mut serde_json::Value)) -> Bench {
    let bench = Bench::with(Profile::Gromox, adjust).await;
    for n in 0..30 {
        let start = format!("2026-12-01T{:02}:{:02}", 8 + n / 6, n % 6 * 10);
        let rule = daily(30, date(2026, 12, 1), Range::NoEnd);
        bench.add_series(ANNA, &start, &start, rule);
    }
    bench.learn_that_nothing_expands().await;
    bench
}

#[tokio::test]
async fn one_unreadable_item_in_a_batch_stops_no_other() {
    let bench = many(|_| {}).await;
    bench
        .exchange
        .inject_spec(
            "GetItem*1=item-error:ErrorItemCorrupt/7;GetItem*1=item-error:ErrorOfTomorrow/9",
        )
        .unwrap();
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    assert_eq!(feed.unreadable.len(), 2);
    let codes: Vec<_> = feed
        .unreadable
        .iter()
        .map(|(_, _, error)| error.code.as_str())
        .collect();
    assert!(codes.contains(&"ews.ErrorItemCorrupt") && codes.contains(&"ews.ErrorOfTomorrow"));
    let expected = bench.truth(ANNA, winter()).len();
    assert_eq!(feed.events.len(), expected - 2 * 3);
}

#[tokio::test]
async fn an_item_that_vanished_in_between_is_no_error() {
    let bench = many(|_| {}).await;
    bench
        .exchange
        .inject_spec("GetItem*1=item-error:ErrorItemNotFound/7")
        .unwrap();
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    assert!(feed.unreadable.is_empty());
    // Read again, it is there: it was not concluded to be gone.
    assert_eq!(feed.events.len(), 30 * 3);
    assert_eq!(feed.snapshots, [winter()]);
}

#[tokio::test]
async fn a_batch_that_the_server_stops_is_sent_on() {
    let bench = many(|_| {}).await;
    bench
        .exchange
        .inject_spec("GetItem*2=batch-stop:4")
        .unwrap();
    let feed = bench.read_true(request(ANNA, winter())).await;
    assert_eq!(feed.events.len(), 30 * 3);
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_halved_down_to_five() {
    let bench = many(|settings| settings["batch"] = 20.into()).await;
    bench
        .exchange
        .inject_spec("GetItem*2=error:ErrorTimeoutExpired")
        .unwrap();
    bench.read_true(request(ANNA, winter())).await;
    let asked: Vec<usize> = bench
        .exchange
        .ledger()
        .of("GetItem")
        .iter()
        .map(|call| call.detail.asked)
        .collect();
    assert_eq!(&asked[..3], [20, 10, 5], "{asked:?}");
    // For good: the error comes through.
    bench
        .exchange
        .inject_spec("GetItem*all=error:ErrorTimeoutExpired")
        .unwrap();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient);
}

#[tokio::test]
async fn a_busy_server_is_not_asked_again_and_gets_smaller_batches_later() {
    let bench = many(|settings| settings["batch"] = 20.into()).await;
    bench
        .exchange
        .inject_spec("GetItem*1=busy-items:9000")
        .unwrap();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after_ms),
        (ErrorKind::Throttled, Some(9_000))
    );
    assert_eq!(
        bench.exchange.ledger().count("GetItem"),
        1,
        "no retry of our own"
    );
    bench.read_true(request(ANNA, winter())).await;
    assert_eq!(bench.exchange.ledger().of("GetItem")[1].detail.asked, 10);
}

#[tokio::test]
async fn a_feed_ends_with_its_error_and_says_nothing_more() {
    let bench = bench().await;
    bench
        .exchange
        .inject_spec("FindItem*1=error:ErrorMailboxStoreUnavailable")
        .unwrap();
    let source = bench.connection.source().unwrap();
    let mut feed = source.changes(request(ANNA, winter())).await.unwrap();
    assert!(feed.next(10).await.is_err());
}

#[tokio::test]
async fn a_page_of_a_gateway_with_status_200() {
    let bench = bench().await;
    let page =
        "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Hello<br></body></html>";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let fault = TransportFault::Raw(answer.into());
    bench
        .exchange
        .inject(Fault::once(FaultKind::from(fault)))
        .unwrap();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(
        (error.kind, error.scope),
        (ErrorKind::Protocol, Scope::Calendar)
    );
    assert!(error.message.contains("not SOAP"), "{error}");
}

#[tokio::test]
async fn a_damaged_body_does_not_hide_the_event() {
    use calbridge_core::model::Field;
    let bench = bench().await;
    bench
        .exchange
        .inject_spec("GetItem*1=item-error:ErrorItemCorrupt/1")
        .unwrap();
    let mut wanted = request(ANNA, winter());
    wanted.fields = [Field::Time, Field::Subject, Field::Body]
        .into_iter()
        .collect();
    let feed = bench.read(wanted).await.unwrap();
    let content = &feed.events[0].content;
    assert_eq!(
        (content.subject.is_some(), content.body.is_none()),
        (true, true)
    );
}

/// A well-formed answer, given in place of the server's own.
fn answer(body: &str) -> Fault {
    let document = format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body xmlns:m="m" xmlns:t="t">{body}</s:Body></s:Envelope>"#
    );
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{document}",
        document.len()
    );
    Fault::once(FaultKind::from(TransportFault::Raw(text.into())))
}

#[tokio::test]
async fn an_answer_to_another_operation_is_not_taken() {
    let bench = bench().await;
    let other = r#"<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode></m:FindItemResponseMessage></m:ResponseMessages></m:FindItemResponse>"#;
    bench
        .exchange
        .inject(answer(other).on("GetFolder"))
        .unwrap();
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Transient, "ews.protocol")
    );
    bench.read_true(request(ANNA, winter())).await;
}

#[tokio::test]
async fn a_change_feed_without_end_is_given_up() {
    let bench = bench().await;
    for round in 0..5 {
        let empty = r#"<m:SyncFolderItemsResponse><m:ResponseMessages><m:SyncFolderItemsResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:SyncState>same</m:SyncState><m:IncludesLastItemInRange>false</m:IncludesLastItemInRange><m:Changes/></m:SyncFolderItemsResponseMessage></m:ResponseMessages></m:SyncFolderItemsResponse>"#;
        let fault = answer(empty).on("SyncFolderItems").from_call(round + 1);
        bench.exchange.inject(fault).unwrap();
    }
    let error = bench.read(request(ANNA, winter())).await.unwrap_err();
    assert_eq!(error.code, "ews.sync.endless");
    assert!(bench.exchange.ledger().count("SyncFolderItems") <= 5);
}

#[tokio::test]
async fn k059_limits_that_the_server_names_are_answered_by_smaller_ranges() {
    for code in [
        "ErrorExceededFindCountLimit",
        "ErrorCalendarViewRangeTooBig",
        "ErrorTimeoutExpired",
    ] {
        let bench = bench().await;
        bench
            .exchange
            .inject_spec(&format!("FindItem*2=error:{code}"))
            .unwrap();
        bench.read_true(request(ANNA, winter())).await;
        // Always: an error after a few attempts, and nothing is concluded.
        bench
            .exchange
            .inject_spec(&format!("FindItem*all=error:{code}"))
            .unwrap();
        bench.exchange.ledger().clear();
        let error = bench.read(request(ANNA, winter())).await.unwrap_err();
        assert_eq!(error.code, format!("ews.{code}"));
        assert!(bench.exchange.ledger().count("FindItem") < 25);
    }
}
