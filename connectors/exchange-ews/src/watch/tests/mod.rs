//! The watch against the sandbox's Exchange server, over real sockets, with shorter times.

mod groups;
mod streams;
mod trouble;
mod whole;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use calbridge_core::clock::SystemClock;
use calbridge_core::connector::{CalendarSource, Context, Error, Hint, HintFeed, Result};
use calbridge_core::model::CalendarRef;
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use calbridge_sandbox::exchange::{
    Account, ExchangeCall, ExchangeOptions, ExchangeSandbox, NewItem, Notifications, Profile,
    Right, Zone,
};
use calbridge_sandbox::ledger::Call;
use jiff::civil::date;
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Tempo;
use crate::source::Exchange;

pub(super) const ANNA: &str = "anna@kommune.example";
pub(super) const BO: &str = "bo@kommune.example";

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct OneSecret;

impl SecretResolver for OneSecret {
    fn resolve(&self, _: &SecretRef) -> Result<SecretString, SecretError> {
        Ok("sandbox".to_owned().into())
    }
}

/// Times of tests: a minute lasts 2 s.
pub(super) fn tempo() -> Tempo {
    Tempo {
        debounce: Duration::from_millis(20),
        alive: Duration::from_millis(500),
        first: Duration::from_secs(3),
        silence: Duration::from_secs(2),
        minute: Duration::from_secs(2),
        settle: Duration::from_millis(200),
        gather: Duration::from_secs(3),
        retry: Duration::from_millis(250),
        retry_most: Duration::from_secs(2),
        slow: Duration::from_millis(700),
        slow_most: Duration::from_secs(2),
        pull: Duration::from_millis(200),
        probe: Duration::from_secs(30),
        ..Tempo::default()
    }
}

pub(super) fn notifications() -> Notifications {
    Notifications {
        heartbeat: Duration::from_millis(500),
        minute: Duration::from_secs(2),
        // Nothing is told later: what is not looked at after a gap is lost.
        queued: false,
        ..Notifications::default()
    }
}

pub(super) fn options() -> ExchangeOptions {
    ExchangeOptions {
        require_anchor: true,
        notifications: notifications(),
        accounts: vec![Account {
            rights: [ANNA, BO]
                .map(|address| (address.to_owned(), Right::Reviewer))
                .into(),
            ..Account::service("svc-calbridge", "sandbox")
        }],
        ..ExchangeOptions::default()
    }
}

/// A server and a connection to it.
pub(super) struct Bench {
    pub(super) exchange: ExchangeSandbox,
    pub(super) source: Exchange,
    pub(super) shutdown: CancellationToken,
}

impl Bench {
    pub(super) async fn start() -> Self {
        Self::with(options(), tempo(), "impersonation").await
    }

    pub(super) async fn with(options: ExchangeOptions, tempo: Tempo, access: &str) -> Self {
        let exchange = ExchangeSandbox::start(options).await.unwrap();
        exchange.add_person("Anna Berg", ANNA).unwrap();
        exchange.add_person("Bo Dahl", BO).unwrap();
        let (source, shutdown) = connect(&exchange.url(), tempo, access);
        Self {
            exchange,
            source,
            shutdown,
        }
    }

    /// Watches, and waits until all of them are.
    pub(super) async fn watch(&self, addresses: &[&str]) -> Feed {
        let mut feed = self.begin(addresses).await;
        feed.gaps(addresses).await;
        feed
    }

    pub(super) async fn begin(&self, addresses: &[&str]) -> Feed {
        Feed(self.source.watch(&refs(addresses)).await.unwrap())
    }

    pub(super) fn add(&self, address: &str) {
        let at = |hour| date(2026, 12, 1).at(hour, 0, 0, 0);
        let item = NewItem::at("Canary subject", at(9), at(10), &Zone::denmark());
        self.exchange.create(address, item).unwrap();
    }

    pub(super) fn calls(&self, operation: &str) -> Vec<Call<ExchangeCall>> {
        let all = self.exchange.ledger().all().into_iter();
        all.filter(|call| call.operation == operation).collect()
    }

    pub(super) fn inject(&self, spec: &str) {
        self.exchange.inject_spec(spec).unwrap();
    }

    /// Waits until so many streams are open.
    pub(super) async fn streams(&self, count: usize) {
        until("streams", || self.exchange.watched().1 == count).await;
    }
}

pub(super) fn connect(url: &str, tempo: Tempo, access: &str) -> (Exchange, CancellationToken) {
    connect_with(url, tempo, |settings| settings["access"] = access.into())
}

pub(super) fn connect_with(
    url: &str,
    tempo: Tempo,
    adjust: impl FnOnce(&mut serde_json::Value),
) -> (Exchange, CancellationToken) {
    let mut settings = serde_json::json!({
        "url": url,
        "auth": { "kind": "basic", "user": "svc-calbridge", "password": "env:EXCHANGE" },
        "http": { "timeout": "5s", "proxy": "none" },
    });
    adjust(&mut settings);
    let shutdown = CancellationToken::new();
    let context = Context {
        connection: "exchange".into(),
        clock: Arc::new(SystemClock::default()),
        secrets: Arc::new(OneSecret),
        shutdown: shutdown.clone(),
    };
    let settings = serde_json::from_value(settings).unwrap();
    let source = Exchange::open_with(settings, context, tempo).unwrap();
    (source, shutdown)
}

pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let latest = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < latest, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) fn calendar(address: &str) -> CalendarRef {
    CalendarRef::primary(address).unwrap()
}

pub(super) fn refs(addresses: &[&str]) -> Vec<CalendarRef> {
    addresses.iter().map(|address| calendar(address)).collect()
}

/// A feed, and what tests wait for in it.
pub(super) struct Feed(Box<dyn HintFeed>);

impl Feed {
    pub(super) async fn set(&mut self, addresses: &[&str]) {
        self.0.set(&refs(addresses)).await.unwrap();
    }

    /// Hints as they come, each as its name and its address.
    pub(super) async fn next(&mut self) -> Vec<(&'static str, String, Option<Error>)> {
        let hints = tokio::time::timeout(PATIENCE, self.0.next()).await;
        let hints = hints.expect("a sign of life").expect("no end");
        hints.into_iter().map(read).collect()
    }

    pub(super) async fn fails(&mut self) -> Error {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            if let Err(error) = next.expect("a sign of life") {
                return error;
            }
        }
    }

    /// Waits for a gap of each of them.
    pub(super) async fn gaps(&mut self, addresses: &[&str]) {
        self.all("gap", addresses).await;
    }

    /// Waits for news of each of them.
    pub(super) async fn news(&mut self, addresses: &[&str]) {
        self.all("dirty", addresses).await;
    }

    async fn all(&mut self, kind: &str, addresses: &[&str]) {
        let mut missing: BTreeSet<String> = addresses.iter().map(|one| (*one).to_owned()).collect();
        let latest = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            assert!(Instant::now() < latest, "no {kind} of {missing:?}");
            for (name, address, _) in self.next().await {
                // A gap says all that news says.
                if name == kind || name == "gap" {
                    missing.remove(&address);
                }
            }
        }
    }

    /// Waits until a calendar is reported as one that cannot be watched.
    pub(super) async fn unwatchable(&mut self, wanted: &str) -> Error {
        let latest = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < latest, "{wanted} is watched");
            for (_, address, error) in self.next().await {
                if let (true, Some(error)) = (address == wanted, error) {
                    return error;
                }
            }
        }
    }

    /// What comes within a time.
    pub(super) async fn during(&mut self, time: Duration) -> Vec<(&'static str, String)> {
        let mut heard = Vec::new();
        let latest = Instant::now() + time;
        while let Ok(hints) = tokio::time::timeout_at(latest, self.0.next()).await {
            let hints = hints.expect("no end").into_iter().map(read);
            heard.extend(hints.map(|(name, address, _)| (name, address)));
        }
        heard
    }
}

fn read(hint: Hint) -> (&'static str, String, Option<Error>) {
    match hint {
        Hint::Dirty(calendar) => ("dirty", calendar.address.as_str().to_owned(), None),
        Hint::Gap(calendar) => ("gap", calendar.address.as_str().to_owned(), None),
        Hint::Unwatchable(calendar, error) => (
            "unwatchable",
            calendar.address.as_str().to_owned(),
            Some(error),
        ),
        other => panic!("{other:?}"),
    }
}

pub(super) fn profile(profile: Profile) -> ExchangeOptions {
    ExchangeOptions {
        profile,
        ..options()
    }
}
