//! A request to the sandbox's Exchange server, over a real socket. Mailboxes are made anew now and then, since
//! requests may write.
#![no_main]

#[path = "../support/open.rs"]
mod open;
#[path = "../support/post.rs"]
mod post;

use std::sync::{LazyLock, Mutex};

use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox, NewItem, Profile, Zone};
use libfuzzer_sys::fuzz_target;
use post::Client;

/// Requests that one server gets.
const MOST_REQUESTS: usize = 5_000;

/// `svc-calbridge:sandbox`.
const SIGN_IN: &str = "authorization: Basic c3ZjLWNhbGJyaWRnZTpzYW5kYm94\r\ncontent-type: text/xml; charset=utf-8\r\n";

struct Bench {
    _sandbox: ExchangeSandbox,
    client: Client,
    asked: usize,
}

impl Bench {
    fn start(profile: Profile) -> Self {
        open::RUNTIME.block_on(async {
            let options = ExchangeOptions {
                profile,
                ..ExchangeOptions::default()
            };
            let sandbox = ExchangeSandbox::start(options).await.expect("a server");
            sandbox
                .add_person("Anna Berg", open::ADDRESS)
                .expect("added");
            let at = |text: &str| text.parse().expect("a date and time");
            let zone = Zone::denmark();
            for (uid, start, end) in [
                ("one", "2026-11-20T09:00:00", "2026-11-20T10:00:00"),
                ("two", "2026-12-01T09:00:00", "2026-12-01T12:30:00"),
            ] {
                let item = NewItem::at("A subject", at(start), at(end), &zone).uid(uid);
                sandbox.create(open::ADDRESS, item).expect("created");
            }
            Self {
                client: Client::new(sandbox.server().address()),
                _sandbox: sandbox,
                asked: 0,
            }
        })
    }
}

static BENCHES: LazyLock<Mutex<Vec<(Profile, Bench)>>> = LazyLock::new(|| {
    let both = [Profile::default(), Profile::parse("gromox").expect("known")];
    let started = both.map(|profile| (profile, Bench::start(profile)));
    Mutex::new(started.into())
});

fuzz_target!(|body: &[u8]| {
    for (profile, bench) in BENCHES.lock().expect("benches").iter_mut() {
        bench.asked += 1;
        if bench.asked > MOST_REQUESTS {
            *bench = Bench::start(*profile);
        }
        bench.client.post("/EWS/Exchange.asmx", SIGN_IN, body);
    }
});
