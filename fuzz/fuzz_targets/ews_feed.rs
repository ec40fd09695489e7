//! A conversation with Exchange: the connector asks over a real socket and gets the input's parts as answers,
//! one after another, the last one for ever. It must come to an end whatever they are.
#![no_main]

#[path = "../support/open.rs"]
mod open;

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};

use calbridge_core::connector::{Change, Connection};
use calbridge_exchange_ews as _;
use calbridge_sandbox::server::{Reply, Request, Response, Server, ServerOptions};
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Between two answers in the input.
const NEXT: &[u8] = b"\n====\n";

/// More requests than this for one input is a conversation without end.
const MOST_REQUESTS: usize = 2_000;

#[derive(Default)]
struct Answers {
    queue: VecDeque<Vec<u8>>,
    asked: usize,
}

struct Bench {
    _server: Server,
    connection: Arc<dyn Connection>,
}

static ANSWERS: LazyLock<Mutex<Answers>> = LazyLock::new(Mutex::default);

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let server = open::RUNTIME
        .block_on(Server::start(
            ServerOptions::default(),
            |_: Request| async {
                let mut answers = ANSWERS.lock().expect("answers");
                answers.asked += 1;
                assert!(answers.asked < MOST_REQUESTS, "the feed does not end");
                let body = match answers.queue.len() {
                    0 | 1 => answers.queue.front().cloned(),
                    _ => answers.queue.pop_front(),
                };
                let body = body.unwrap_or_default();
                let fault = body.windows(6).any(|six| six == b"Fault>");
                let status = if fault {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::OK
                };
                Reply::Http(Response::xml(status, body))
            },
        ))
        .expect("a server");
    let settings = json!({
        "url": server.url("/EWS/Exchange.asmx"),
        "auth": { "kind": "bearer", "token": "env:TOKEN" },
        "home_zone": "Europe/Copenhagen",
    });
    Bench {
        connection: open::open("exchange-ews", settings),
        _server: server,
    }
});

fn load(input: &[u8]) {
    let mut queue = VecDeque::new();
    let mut rest = input;
    while let Some(at) = rest.windows(NEXT.len()).position(|part| part == NEXT) {
        queue.push_back(rest[..at].to_vec());
        rest = &rest[at + NEXT.len()..];
    }
    queue.push_back(rest.to_vec());
    *ANSWERS.lock().expect("answers") = Answers { queue, asked: 0 };
}

fuzz_target!(|input: &[u8]| {
    let bench = &*BENCH;
    open::RUNTIME.block_on(async {
        let source = bench.connection.source().expect("a source");
        load(input);
        let (changes, cursor) = open::read(source, open::request(None)).await;
        let items: Vec<_> = changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Item(event) => Some(event.item),
                Change::Removed { item, .. } => Some(item),
                _ => None,
            })
            .take(5)
            .collect();
        if let Some(cursor) = cursor {
            load(input);
            open::read(source, open::request(Some(cursor))).await;
        }
        load(input);
        let _ = source.fetch(&open::calendar(), &items).await;
    });
});
