//! Jobcenter Planner's external calendar service as a local server.
//!
//! SOAP 1.1 over HTTP(S), document/literal, five operations (Planner WSDL,
//! `PlannerExternalCalendarService`). The server enforces the contract strictly, keeps events under
//! (address, id) as Danish wall clock, and writes every call into a ledger.
//!
//! | what | answer |
//! |---|---|
//! | certificate missing or signed by a stranger | the TLS handshake fails |
//! | certificate unknown to Planner | HTTP 403 |
//! | not a POST, other path, other content type | HTTP 405, 404, 415 |
//! | not well-formed, document type declaration, against the schema, wrong SOAPAction | SOAP fault without details |
//! | certificate not opened, wrong user, wrong authority, too many events or calendars | SOAP fault with `FaultDetails`, see [`access_code`] |
//! | too many calls a minute | HTTP 503, or SOAP fault without details |
//! | anything else | a receipt per event, see [`receipt_code`] |
//!
//! Facts that are not public were chosen, and the places say so: the meaning of receipt codes 1 to
//! 7, the numbers in `FaultDetails`, that an empty list of calendars in GetEvents means all of them,
//! and what becomes of events that start exactly at an edge of its period. No client should depend on these.
//!
//! ```no_run
//! use calbridge_sandbox::planner::{PlannerOptions, PlannerSandbox, Resource};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let planner = PlannerSandbox::start(PlannerOptions {
//!     resources: vec![Resource::case_worker("Anna", "anna@kommune.example")],
//!     ..PlannerOptions::default()
//! })
//! .await?;
//! planner.inject("CreateEvents#2=hang-after".parse()?)?;
//! println!("{}", planner.url());
//! # Ok(())
//! # }
//! ```

mod access;
mod answer;
mod fault;
mod names;
mod schema;
mod seed;
mod service;
mod state;
mod time;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use self::access::{Access, KnownCertificate, access_code, holder};
pub use self::fault::{FAULT_KINDS, PlannerFault};
pub use self::schema::{Headers, Operation};
pub use self::seed::{Seed, SeedError, SeedEvent, SeedResource};
use self::service::Service;
use self::state::ScriptedCode;
pub use self::state::{Content, OwnAppointment, PeriodEdges, Record, Resource, receipt_code};
pub use self::time::TimeForm;
use crate::fault::{Fault, FaultSpecError};
use crate::ledger::{Call, Ledger};
use crate::server::{DEFAULT_BODY_LIMIT, Server, ServerOptions};
use crate::tls::{CertificateSpec, ClientAuth, Pki, TlsError};

/// Why the server could not be started or told something.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlannerError {
    /// The address could not be bound.
    #[error(
        "the Planner sandbox cannot listen on {address}: {source}; choose another address or port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A fault is not known.
    #[error(transparent)]
    Fault(#[from] FaultSpecError),
    /// The TLS settings could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the answer to one call too many looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateAnswer {
    /// HTTP 503 with `Retry-After`.
    #[default]
    Status,
    /// A SOAP fault without details.
    Fault,
}

/// What was agreed with the site; the contract itself has no limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most events in one write.
    pub max_events_per_call: Option<usize>,
    /// Most calendars in one GetEvents.
    pub max_calendars_per_get: Option<usize>,
    /// Most calls within 60 s of the server's clock.
    pub calls_per_minute: Option<usize>,
    /// Answer above that.
    pub rate_answer: RateAnswer,
}

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct PlannerOptions {
    /// Address to bind; port 0 asks the system for a free one.
    pub listen: SocketAddr,
    /// Host name in [`PlannerSandbox::url`].
    pub host: String,
    /// Path of the service.
    pub path: String,
    /// TLS settings; none is plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may call.
    pub access: Access,
    /// What was agreed with the site.
    pub limits: Limits,
    /// Case workers and rooms at the start. An address may occur twice.
    pub resources: Vec<Resource>,
    /// Whether GetEvents also lists Planner's own appointments.
    pub list_own: bool,
    /// Whether GetEvents lists what starts exactly at an edge of the period.
    pub period_edges: PeriodEdges,
    /// How GetEvents writes times.
    pub answer_times: TimeForm,
    /// Faults from the start.
    pub faults: Vec<Fault>,
    /// Whether the ledger keeps requests and answers in full.
    pub keep_xml: bool,
    /// The server's clock, standing still; none is the system's.
    pub clock: Option<Timestamp>,
    /// Largest request body in bytes.
    pub body_limit: usize,
}

impl Default for PlannerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "127.0.0.1".to_owned(),
            path: "/PlannerExternalCalendarService.svc".to_owned(),
            tls: None,
            access: Access::Anybody,
            limits: Limits::default(),
            resources: Vec::new(),
            list_own: false,
            period_edges: PeriodEdges::default(),
            answer_times: TimeForm::default(),
            faults: Vec::new(),
            keep_xml: false,
            clock: None,
            body_limit: DEFAULT_BODY_LIMIT,
        }
    }
}

impl PlannerOptions {
    /// TLS with required client certificates of this PKI, open to these holders.
    ///
    /// # Errors
    /// The server certificate cannot be made.
    pub fn secure(pki: &Pki, known: Vec<KnownCertificate>) -> Result<Self, TlsError> {
        Ok(Self {
            tls: Some(pki.server_config(&CertificateSpec::server(), ClientAuth::Required)?),
            access: Access::Certificates(known),
            ..Self::default()
        })
    }
}

/// One event of a recorded write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalledEvent {
    /// `OriginSystemIdentifier`.
    pub id: String,
    /// `OriginEmailAddress`.
    pub mailbox: String,
    /// Begin, Danish wall clock.
    pub start: DateTime,
    /// End, Danish wall clock.
    pub end: DateTime,
    /// Whether a time was sent with an offset.
    pub with_offset: bool,
    /// Whether `PlannerResourceIdentifier` or `CalendarEventIdentifier` was sent.
    pub with_identifiers: bool,
    /// Receipt code.
    pub code: i64,
    /// Whether the state changed.
    pub effective: bool,
    /// `ConflictNotificationSent`.
    pub conflict: bool,
}

/// What the ledger keeps of a call beside the common part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PlannerCall {
    /// Both headers, where the request was valid.
    pub headers: Option<Headers>,
    /// Holder of the client certificate.
    pub holder: Option<String>,
    /// Events of a write, with what became of them.
    pub events: Vec<CalledEvent>,
    /// `ServiceRequestLogReferenceIdentifier` of the answer, even where it never arrived.
    pub reference: Option<Uuid>,
    /// Faults that struck the call.
    pub faults: Vec<String>,
    /// Number of the connection.
    pub connection: u64,
    /// The request, if kept.
    pub request_xml: Option<String>,
    /// The answer before any fault spoilt it, if kept.
    pub response_xml: Option<String>,
}

/// A running Planner. Clones are handles of the same server; it stops with the last of them.
#[derive(Debug, Clone)]
pub struct PlannerSandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: Arc<Service>,
    server: Mutex<Option<Server>>,
    address: SocketAddr,
    url: String,
}

impl PlannerSandbox {
    /// Starts the server.
    ///
    /// # Errors
    /// The address cannot be bound, or a fault is unknown.
    pub async fn start(options: PlannerOptions) -> Result<Self, PlannerError> {
        for fault in &options.faults {
            PlannerFault::from_kind(&fault.kind)?;
        }
        let path = options.path.clone();
        let listen = options.listen;
        let service = Arc::new(Service::new(options));
        let server = listen_on(&service, listen).await?;
        *service.base.lock().unwrap_or_else(PoisonError::into_inner) = server.url("");
        let inner = Inner {
            service,
            address: server.address(),
            url: server.url(&path),
            server: Mutex::new(Some(server)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Address of the service.
    #[must_use]
    pub fn url(&self) -> String {
        self.inner.url.clone()
    }

    /// The bound socket address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Stops listening, as in an outage. State and ledger stay; [`Self::resume`] ends it.
    pub async fn stop(&self) {
        let server = self
            .inner
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(server) = server {
            server.stop().await;
        }
    }

    /// Listens again on the same address after [`Self::stop`].
    ///
    /// # Errors
    /// Another program has taken the port.
    pub async fn resume(&self) -> Result<(), PlannerError> {
        let server = listen_on(&self.inner.service, self.inner.address).await?;
        *self
            .inner
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// Adds a fault; its count begins now.
    ///
    /// # Errors
    /// The fault is unknown or its argument unusable.
    pub fn inject(&self, fault: Fault) -> Result<(), PlannerError> {
        PlannerFault::from_kind(&fault.kind)?;
        self.inner.service.faults.add(fault);
        Ok(())
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.inner.service.faults.clear();
    }

    /// Changes settings of the running server; what concerns the listener has no effect.
    pub fn reconfigure(&self, change: impl FnOnce(&mut PlannerOptions)) {
        change(
            &mut self
                .inner
                .service
                .options
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Sets the clock, which then stands still; none goes back to the system's.
    pub fn set_clock(&self, now: Option<Timestamp>) {
        *self
            .inner
            .service
            .clock
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves a standing clock; a running one is stopped at the moved time.
    pub fn advance_clock(&self, by: SignedDuration) {
        let moved = self.inner.service.now().saturating_add(by);
        if let Ok(moved) = moved {
            self.set_clock(Some(moved));
        }
    }

    /// Adds a case worker or room, even if the address is there already.
    pub fn add_resource(&self, resource: Resource) {
        self.inner.service.state().add_resource(resource);
    }

    /// Removes everybody with this address and says whether there was one. Their events stay.
    pub fn remove_resource(&self, address: &str) -> bool {
        self.inner.service.state().remove_resource(address)
    }

    /// Case workers and rooms.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        self.inner.service.state().resources().to_vec()
    }

    /// Puts an event there without a call, as a predecessor left it; overwrites one with this key.
    pub fn put_event(&self, mailbox: &str, id: &str, start: DateTime, end: DateTime) -> Uuid {
        self.inner.service.state().put(mailbox, id, start, end)
    }

    /// Takes an event away without a call and says whether it was there.
    pub fn remove_event(&self, mailbox: &str, id: &str) -> bool {
        self.inner.service.state().remove(mailbox, id)
    }

    /// An appointment that was made in Planner and lies in the mailbox under this id. Every write
    /// of it is answered [`receipt_code::PLANNERS_OWN`].
    pub fn put_own_appointment(
        &self,
        mailbox: &str,
        id: &str,
        start: DateTime,
        end: DateTime,
    ) -> Uuid {
        self.inner.service.state().put_own(mailbox, id, start, end)
    }

    /// Cancels an appointment of Planner's own and says whether it was there.
    pub fn remove_own_appointment(&self, mailbox: &str, id: &str) -> bool {
        self.inner.service.state().remove_own(mailbox, id)
    }

    /// Planner's own appointments.
    #[must_use]
    pub fn own_appointments(&self) -> Vec<OwnAppointment> {
        self.inner.service.state().own().cloned().collect()
    }

    /// Answers the next writes of this id with a code instead of processing them; `None` is without
    /// end. Any number can be sent, also such as the schema does not allow.
    pub fn script_code(&self, id: &str, code: i64, times: Option<u32>) {
        let script = ScriptedCode { code, left: times };
        self.inner
            .service
            .state()
            .codes_by_id
            .insert(id.to_lowercase(), script);
    }

    /// Answers the nth event from now (from 1, over all writes) with a code instead of processing
    /// it.
    pub fn script_nth_event(&self, nth: u64, code: i64) {
        let mut state = self.inner.service.state();
        let number = state.events_seen.saturating_add(nth);
        state.codes_by_number.insert(number, code);
    }

    /// Answers the next write of an event of this address that begins then, by Danish wall clock, with a code instead
    /// of processing it.
    pub fn script_start(&self, mailbox: &str, start: DateTime, code: i64) {
        self.inner
            .service
            .state()
            .codes_by_start
            .insert((mailbox.to_lowercase(), start), code);
    }

    /// Takes back everything that was scripted and has not come yet.
    pub fn clear_scripts(&self) {
        let mut state = self.inner.service.state();
        state.codes_by_id.clear();
        state.codes_by_number.clear();
        state.codes_by_start.clear();
    }

    /// What clients keep in Planner for this address, by id.
    #[must_use]
    pub fn events(&self, mailbox: &str) -> Vec<Record> {
        self.inner.service.state().records_of(mailbox)
    }

    /// How many events clients keep in Planner.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.service.state().count()
    }

    /// One event.
    #[must_use]
    pub fn event(&self, mailbox: &str, id: &str) -> Option<Record> {
        self.events(mailbox)
            .into_iter()
            .find(|record| record.id.to_lowercase() == id.to_lowercase())
    }

    /// Everything that clients keep in Planner, sorted.
    #[must_use]
    pub fn content(&self) -> Content {
        let mut records: Vec<Record> = self.inner.service.state().records().cloned().collect();
        records.sort_by(|a, b| {
            let order = |record: &Record| (record.mailbox.to_lowercase(), record.start, record.end);
            (order(a), &a.id).cmp(&(order(b), &b.id))
        });
        Content(records)
    }

    /// All calls.
    #[must_use]
    pub fn ledger(&self) -> Ledger<PlannerCall> {
        self.inner.service.ledger.clone()
    }

    /// The calls of one operation, in order.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> Vec<Call<PlannerCall>> {
        self.inner.service.ledger.of(operation.name())
    }

    /// How often an event with this id was really created, over all addresses.
    #[must_use]
    pub fn effective_creates(&self, id: &str) -> usize {
        self.effective(Operation::CreateEvents, id)
    }

    /// How often an operation on this id really changed something, over all addresses.
    #[must_use]
    pub fn effective(&self, operation: Operation, id: &str) -> usize {
        let id = id.to_lowercase();
        self.calls(operation)
            .iter()
            .flat_map(|call| &call.detail.events)
            .filter(|event| event.effective && event.id.to_lowercase() == id)
            .count()
    }

    /// Most calls that were under way at one time.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.inner.service.most_in_flight.load(Ordering::SeqCst)
    }
}

/// The server's clock, for TLS.
#[derive(Debug)]
struct ServerClock(Arc<Service>);

impl TimeProvider for ServerClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

async fn listen_on(service: &Arc<Service>, listen: SocketAddr) -> Result<Server, PlannerError> {
    let options = service.options();
    // Client certificates are valid or expired by the server's clock, which may stand still.
    let tls = options.tls.map(|tls| {
        let mut tls = rustls::ServerConfig::clone(&tls);
        tls.time_provider = Arc::new(ServerClock(Arc::clone(service)));
        Arc::new(tls)
    });
    let server = ServerOptions {
        listen,
        tls,
        body_limit: options.body_limit,
        host: options.host,
    };
    Server::start(server, Arc::clone(service))
        .await
        .map_err(|source| PlannerError::Listen {
            address: listen,
            source,
        })
}
