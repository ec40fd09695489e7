//! OAuth client credentials: tokens are asked for, kept, renewed, and never asked for again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use calbridge_core::connector::{Error, ErrorKind};
use calbridge_sandbox::exchange::{Account, ExchangeOptions};
use calbridge_sandbox::server::{Reply, Request, Response, Server, ServerOptions};
use http::StatusCode;
use serde_json::json;
use support::{ANNA, BO, Bench, ROOM, read, request, winter};

/// What the endpoint answers next, and what it was asked.
#[derive(Debug, Default)]
struct Endpoint {
    answers: Vec<(u16, String)>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Endpoint>>;

fn issued(token: &str, seconds: u64) -> (u16, String) {
    let body = json!({ "token_type": "Bearer", "access_token": token, "expires_in": seconds });
    (200, body.to_string())
}

/// Answers in order; the last answer again and again.
async fn endpoint(answers: Vec<(u16, String)>) -> (Server, Shared) {
    let shared = Shared::new(Mutex::new(Endpoint {
        answers,
        asked: Vec::new(),
    }));
    let state = Arc::clone(&shared);
    let handler = move |request: Request| {
        let mut state = state.lock().unwrap();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let number = state.asked.len().min(state.answers.len() - 1);
        state.asked.push(body);
        let (status, text) = state.answers[number].clone();
        let status = StatusCode::from_u16(status).unwrap();
        std::future::ready(Reply::from(Response::new(status, "application/json", text)))
    };
    let server = Server::start(ServerOptions::default(), handler)
        .await
        .unwrap();
    (server, shared)
}

/// An Exchange that takes this token.
async fn bench(endpoint: &Server, token: &str) -> Bench {
    let options = ExchangeOptions {
        accounts: vec![application(token)],
        ..ExchangeOptions::default()
    };
    let url = endpoint.url("/tenant/oauth2/v2.0/token");
    Bench::of(options, |settings| {
        settings["auth"] = json!({
            "kind": "oauth",
            "token_url": url,
            "client_id": "4f5c-calbridge",
            "client_secret": "env:EXCHANGE",
        });
    })
    .await
}

fn application(token: &str) -> Account {
    Account {
        password: None,
        token: Some(token.into()),
        ..Account::service("calbridge", "")
    }
}

async fn error(bench: &Bench) -> Error {
    bench.read(request(ANNA, winter())).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_serves_many_calendars() {
    let (server, asked) = endpoint(vec![issued("one", 3_600)]).await;
    let bench = bench(&server, "one").await;
    let readings = (0..12).map(|number| {
        let connection = bench.connection.clone();
        let address = [ANNA, BO, ROOM][number % 3];
        tokio::spawn(async move { read(connection.as_ref(), request(address, winter())).await })
    });
    for reading in futures_util::future::join_all(readings).await {
        reading.unwrap().unwrap();
    }
    let asked = asked.lock().unwrap().asked.clone();
    assert_eq!(asked.len(), 1);
    for part in [
        "grant_type=client_credentials",
        "client_id=4f5c-calbridge",
        "client_secret=sandbox",
        "scope=https%3A%2F%2F127.0.0.1%2F.default",
    ] {
        assert!(asked[0].split('&').any(|own| own == part), "{}", asked[0]);
    }
}

#[tokio::test]
async fn a_token_that_ends_soon_is_replaced() {
    let (server, asked) = endpoint(vec![issued("one", 0), issued("one", 3_600)]).await;
    let bench = bench(&server, "one").await;
    bench.read(request(ANNA, winter())).await.unwrap();
    bench.read(request(BO, winter())).await.unwrap();
    assert_eq!(asked.lock().unwrap().asked.len(), 2);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let (server, asked) = endpoint(vec![issued("old", 3_600), issued("new", 3_600)]).await;
    let bench = bench(&server, "new").await;
    bench.read(request(ANNA, winter())).await.unwrap();
    assert_eq!(asked.lock().unwrap().asked.len(), 2);
    // Revoked in use.
    bench.exchange.set_accounts(vec![application("newest")]);
    asked.lock().unwrap().answers = vec![issued("newest", 3_600)];
    bench.read(request(ANNA, winter())).await.unwrap();
    assert_eq!(asked.lock().unwrap().asked.len(), 3);
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_is_an_error_and_no_storm() {
    let (server, asked) = endpoint(vec![issued("useless", 3_600)]).await;
    let bench = bench(&server, "another").await;
    for _ in 0..5 {
        let error = error(&bench).await;
        assert_eq!(error.kind, ErrorKind::Auth, "{error}");
        assert!(error.message.contains("`scope`"), "{error}");
        assert!(!error.message.contains("useless"), "{error}");
    }
    assert_eq!(asked.lock().unwrap().asked.len(), 2);
    assert!(bench.exchange.sign_in_counts().refused <= 6);
}

#[tokio::test]
async fn a_refused_application_is_tried_once_until_its_secret_changes() {
    let refused = (401, json!({ "error": "invalid_client" }).to_string());
    let (server, asked) = endpoint(vec![refused, issued("one", 3_600)]).await;
    let bench = bench(&server, "one").await;
    for number in 0..5 {
        let error = error(&bench).await;
        assert_eq!(error.kind, ErrorKind::Auth, "{error}");
        if number == 0 {
            assert!(error.message.contains("`client_secret`"), "{error}");
        }
    }
    assert_eq!(asked.lock().unwrap().asked.len(), 1);
    let renew = |bench: &Bench| {
        let mut secrets = bench.secrets.0.lock().unwrap();
        secrets.insert("env:EXCHANGE".into(), "renewed".into());
    };
    renew(&bench);
    bench.read(request(ANNA, winter())).await.unwrap();
    assert!(asked.lock().unwrap().asked[1].contains("renewed"));
}

#[tokio::test]
async fn the_endpoints_own_trouble_is_told_apart() {
    for (answer, kind, says) in [
        ((503, String::new()), ErrorKind::Transient, "tried again"),
        ((429, String::new()), ErrorKind::Transient, "tried again"),
        ((404, String::new()), ErrorKind::Auth, "`token_url`"),
        (
            (400, json!({ "error": "invalid_scope" }).to_string()),
            ErrorKind::Auth,
            "`scope`",
        ),
        ((200, "<html>".to_owned()), ErrorKind::Auth, "`token_url`"),
    ] {
        let (server, _) = endpoint(vec![answer.clone()]).await;
        let bench = bench(&server, "one").await;
        let error = error(&bench).await;
        assert_eq!(error.kind, kind, "{answer:?}: {error}");
        assert!(error.message.contains(says), "{answer:?}: {error}");
        assert_eq!(bench.requests(), 0, "nothing is asked without a token");
    }
}

#[tokio::test]
async fn an_exchange_that_takes_no_tokens_says_so() {
    let (server, _) = endpoint(vec![issued("one", 3_600)]).await;
    let bench = bench(&server, "one").await;
    bench
        .exchange
        .set_accounts(vec![Account::service("somebody", "else")]);
    let error = error(&bench).await;
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(error.message.contains("not offer Bearer"), "{error}");
}
