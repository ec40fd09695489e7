//! The handle by which tests and the demo run the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::app::Application;
use super::changes::Links;
use super::fault;
use super::ledger::GraphCall;
use super::service::{Front, Meters, Service};
use crate::exchange::{ExchangeSandbox, StartError, StoreError};
use crate::fault::{Fault, FaultPlan, FaultSpecError};
use crate::ledger::Ledger;
use crate::server::{Server, ServerOptions};

/// What is not certain about the real service, or differs from one day to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// Whether a list of changes tells the master of a changed series. Reports differ; a client must do without.
    pub masters_in_changes: bool,
    /// Whether it tells a deleted occurrence. On record is that it does not.
    pub deleted_occurrences_in_changes: bool,
    /// Whether it fills occurrences, as the documentation says and nobody has seen.
    pub full_occurrences: bool,
    /// Whether pages repeat an item, as they may.
    pub repeats: bool,
    /// Whether pages without items come between others, as they may.
    pub empty_pages: bool,
    /// Pages are never larger, whatever is asked for.
    pub most_per_page: Option<usize>,
    /// Whether an immutable id still finds an event that was moved to the deleted items.
    pub deleted_items_are_found: bool,
    /// Whether a stale `If-Match` is answered with 409 in place of 412.
    pub conflict_409: bool,
    /// How many requests an application may have under way for one mailbox.
    pub most_per_mailbox: usize,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            masters_in_changes: true,
            deleted_occurrences_in_changes: false,
            full_occurrences: false,
            repeats: false,
            empty_pages: false,
            most_per_page: None,
            deleted_items_are_found: true,
            conflict_409: false,
            most_per_mailbox: 4,
        }
    }
}

/// How the server is started.
#[derive(Debug, Clone)]
pub struct GraphOptions {
    /// Address, TLS and limits.
    pub server: ServerOptions,
    /// The tenant's id.
    pub tenant: String,
    /// Who is registered in it.
    pub applications: Vec<Application>,
    /// How long a token lives.
    pub token_life: SignedDuration,
    /// See there.
    pub habits: Habits,
    /// The root that links begin with, where clients reach the server by another one (a proxy).
    pub link_root: Option<String>,
}

impl Default for GraphOptions {
    /// Plain HTTP on a free port of the loopback interface; the tenant `contoso.example` with the application
    /// `calbridge-app` and its secret `sandbox`.
    fn default() -> Self {
        Self {
            server: ServerOptions::default(),
            tenant: "contoso.example".to_owned(),
            applications: vec![Application::new("calbridge-app", "sandbox")],
            token_life: SignedDuration::from_mins(60),
            habits: Habits::default(),
            link_root: None,
        }
    }
}

/// A running server. Clones are handles on the same one; it ends with the last of them. The mailboxes are changed through the
/// Exchange that it stands in front of.
#[derive(Clone)]
pub struct GraphSandbox {
    service: Arc<Service>,
    server: Arc<Server>,
}

impl std::fmt::Debug for GraphSandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphSandbox")
            .field("root", &self.root())
            .finish_non_exhaustive()
    }
}

impl GraphSandbox {
    /// Starts a server in front of the mailboxes of an Exchange.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(
        exchange: &ExchangeSandbox,
        options: GraphOptions,
    ) -> Result<Self, StartError> {
        let service = Arc::new(Service {
            exchange: exchange.clone(),
            tenant: options.tenant,
            applications: Mutex::new(options.applications),
            token_life: Mutex::new(options.token_life),
            issued: Mutex::default(),
            used_assertions: Mutex::default(),
            habits: Mutex::new(options.habits),
            without_mailbox: Mutex::default(),
            faults: FaultPlan::default(),
            ledger: Ledger::default(),
            links: Links::default(),
            meters: Meters::default(),
            latency: Mutex::default(),
            skew: Mutex::new(SignedDuration::ZERO),
            mails: AtomicU64::new(0),
            transactions: Mutex::default(),
            root: OnceLock::new(),
        });
        let server = Server::start(options.server, Front(Arc::clone(&service)))
            .await
            .map_err(StartError::Listen)?;
        let root = options
            .link_root
            .unwrap_or_else(|| server.url("").trim_end_matches('/').to_owned());
        let _ = service.root.set(root);
        Ok(Self {
            service,
            server: Arc::new(server),
        })
    }

    /// The root of Graph, to which `/v1.0` is added; tokens are issued below the same address.
    #[must_use]
    pub fn root(&self) -> String {
        self.server.url("").trim_end_matches('/').to_owned()
    }

    /// The scope that tokens are asked for with.
    #[must_use]
    pub fn scope(&self) -> String {
        self.service.scope()
    }

    /// The server below: its address and connection counts.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Stops listening; requests under way may finish for a short time.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Changes the registrations.
    pub fn change_applications(&self, change: impl FnOnce(&mut Vec<Application>)) {
        change(&mut lock(&self.service.applications));
    }

    /// Tokens that were issued are good no longer.
    pub fn revoke_tokens(&self) {
        lock(&self.service.issued).clear();
    }

    /// How long tokens live that are issued from now on.
    pub fn set_token_life(&self, life: SignedDuration) {
        *lock(&self.service.token_life) = life;
    }

    /// Changes what is not certain.
    pub fn change_habits(&self, change: impl FnOnce(&mut Habits)) {
        change(&mut lock(&self.service.habits));
    }

    /// The user has no mailbox in the cloud (no licence), or has one again.
    pub fn set_licensed(&self, address: &str, licensed: bool) {
        let mut without = lock(&self.service.without_mailbox);
        without.retain(|one| !one.eq_ignore_ascii_case(address));
        if !licensed {
            without.push(address.to_owned());
        }
    }

    /// All links that were given out for a mailbox die.
    ///
    /// # Errors
    /// [`StoreError::NoMailbox`].
    pub fn forget_links(&self, address: &str) -> Result<(), StoreError> {
        let number = self
            .service
            .exchange
            .store(|store| store.mailbox_number(address))?;
        self.service.links.forget(number);
        Ok(())
    }

    /// Every answer takes so long.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.service.latency) = latency;
    }

    /// How far the Date header is off.
    pub fn set_date_skew(&self, skew: SignedDuration) {
        *lock(&self.service.skew) = skew;
    }

    /// How many mails the service sent to people because of what clients wrote.
    #[must_use]
    pub fn mails(&self) -> u64 {
        self.service.mails.load(Ordering::Relaxed)
    }

    /// The most requests that were under way at once: for one mailbox, and in all.
    #[must_use]
    pub fn most_at_once(&self) -> (usize, usize) {
        self.service.meters.most()
    }

    /// The present instant of the server.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.service.now()
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// The kind is not known, or lacks what it needs.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultSpecError> {
        fault::read(&fault.kind)?;
        self.service.faults.add(fault);
        Ok(())
    }

    /// Adds a fault in its text form (see [`crate::fault`]). Operations are `Token`, `Changes`, `View`, `Instances`, `Event`,
    /// `Events`, `Calendar`, `Create`, `Update`, `Delete`, `Batch`.
    ///
    /// # Errors
    /// As [`inject`](Self::inject).
    pub fn inject_spec(&self, spec: &str) -> Result<(), FaultSpecError> {
        self.inject(spec.parse()?)
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.service.faults.clear();
    }

    /// What was called.
    #[must_use]
    pub fn ledger(&self) -> Ledger<GraphCall> {
        self.service.ledger.clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Items that were made, by mailbox and transaction id.
pub(super) type Transactions = HashMap<(usize, String), u64>;
