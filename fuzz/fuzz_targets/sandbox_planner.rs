//! A request to the sandbox's Planner, over a real socket: the first line is the SOAPAction, the rest the body.
#![no_main]

#[path = "../support/open.rs"]
mod open;
#[path = "../support/post.rs"]
mod post;

use std::sync::{LazyLock, Mutex};

use calbridge_sandbox::planner::{PlannerOptions, PlannerSandbox, Resource};
use libfuzzer_sys::fuzz_target;
use post::Client;

/// Requests that one server gets.
const MOST_REQUESTS: usize = 5_000;

struct Bench {
    _sandbox: PlannerSandbox,
    client: Client,
    asked: usize,
}

impl Bench {
    fn start() -> Self {
        let options = PlannerOptions {
            resources: vec![Resource::case_worker("Anna", open::ADDRESS)],
            ..PlannerOptions::default()
        };
        let sandbox = open::RUNTIME
            .block_on(PlannerSandbox::start(options))
            .expect("a server");
        Self {
            client: Client::new(sandbox.address()),
            _sandbox: sandbox,
            asked: 0,
        }
    }
}

static BENCH: LazyLock<Mutex<Bench>> = LazyLock::new(|| Mutex::new(Bench::start()));

fuzz_target!(|input: &[u8]| {
    let mut bench = BENCH.lock().expect("a bench");
    bench.asked += 1;
    if bench.asked > MOST_REQUESTS {
        *bench = Bench::start();
    }
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let action: String = parts
        .next()
        .unwrap_or_default()
        .iter()
        .map(|byte| char::from(*byte))
        .filter(|character| character.is_ascii_graphic())
        .collect();
    let head = format!("content-type: text/xml; charset=utf-8\r\nsoapaction: {action}\r\n");
    bench.client.post(
        "/PlannerExternalCalendarService.svc",
        &head,
        parts.next().unwrap_or_default(),
    );
});
