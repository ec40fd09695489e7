//! A Planner sandbox behind TLS with client certificates, and a connection to it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    ApplyReport, AttemptToken, Connection, Context, Op, Outcome, Result, Write, WriteId, find,
};
use calbridge_core::model::{CalendarRef, Content, EventKey, EventTime, SideRef};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
// Links the connector into the test, so that the registry finds it.
use calbridge_planner_dfdg as _;
use calbridge_sandbox::planner::{KnownCertificate, PlannerOptions, PlannerSandbox, Resource};
use calbridge_sandbox::tls::{CertificateSpec, Identity, Pki};
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const HOLDER: &str = "CVR:12345678-FID:1234567890123";
pub const JOBCENTER: &str = "10100";
pub const ANNA: &str = "anna@kommune.example";
pub const BO: &str = "bo@kommune.example";
pub const ROOM: &str = "room1@kommune.example";
pub const NOW: &str = "2026-11-22T13:05:09Z";

/// Knows one secret: `env:P12`.
#[derive(Debug)]
struct OneSecret;

impl SecretResolver for OneSecret {
    fn resolve(
        &self,
        reference: &SecretRef,
    ) -> std::result::Result<secrecy::SecretString, SecretError> {
        let known = *reference == SecretRef::Env("P12".to_owned());
        Ok(if known { "example" } else { "not this" }.to_owned().into())
    }
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn wall(text: &str) -> DateTime {
    text.parse().unwrap()
}

pub struct Setup {
    pub planner: PlannerSandbox,
    pub pki: Pki,
    pub dir: TempDir,
    pub clock: Arc<FixedClock>,
    pub shutdown: CancellationToken,
    pub settings: Value,
}

/// A server that knows our certificate, with Anna, Bo and a room.
pub async fn setup() -> Setup {
    setup_with(|_| {}).await
}

pub async fn setup_with(change: impl FnOnce(&mut PlannerOptions)) -> Setup {
    let pki = Pki::new().unwrap();
    let known = vec![KnownCertificate::opened(HOLDER, JOBCENTER)];
    let mut options = PlannerOptions::secure(&pki, known).unwrap();
    options.resources = vec![
        Resource::case_worker("Anna", ANNA),
        Resource::case_worker("Bo", BO),
        Resource::room("Room 1", ROOM),
    ];
    options.keep_xml = true;
    // Certificates are judged by this, whatever the day on which the tests run.
    options.clock = Some(at(NOW));
    change(&mut options);
    let planner = PlannerSandbox::start(options).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    pki.write_ca(&ca).unwrap();
    let identity = pki.issue(&CertificateSpec::client(HOLDER)).unwrap();
    let certificate = write_identity(dir.path(), "client", &identity);
    let settings = json!({
        "url": planner.url(),
        "jobcenter": JOBCENTER,
        "request_user": HOLDER,
        "certificate": certificate,
        "http": { "extra_ca": [ca], "proxy": "none", "timeout": "10 s", "connect_timeout": "5 s" },
        "calls_per_minute": 100_000,
    });
    Setup {
        planner,
        pki,
        dir,
        clock: Arc::new(FixedClock::new(at(NOW))),
        shutdown: CancellationToken::new(),
        settings,
    }
}

pub fn write_identity(dir: &Path, name: &str, identity: &Identity) -> Value {
    let paths = identity.write_to(dir, name).unwrap();
    json!({ "certificate": paths.certificate, "key": paths.key })
}

impl Setup {
    pub fn context(&self) -> Context {
        Context {
            connection: "planner".to_owned(),
            clock: self.clock.clone(),
            secrets: Arc::new(OneSecret),
            shutdown: self.shutdown.clone(),
        }
    }

    pub fn try_open(&self) -> Result<Arc<dyn Connection>> {
        find("planner-dfdg")
            .unwrap()
            .open(self.settings.clone(), self.context())
    }

    pub fn open(&self) -> Arc<dyn Connection> {
        self.try_open().unwrap()
    }

    /// Replaces our certificate.
    pub fn certificate(&mut self, spec: &CertificateSpec) {
        let identity = self.pki.issue(spec).unwrap();
        self.settings["certificate"] = write_identity(self.dir.path(), "other", &identity);
    }

    /// Strikes a call.
    pub fn fault(&self, spec: &str) {
        self.planner.inject(spec.parse().unwrap()).unwrap();
    }
}

pub fn calendar(address: &str) -> CalendarRef {
    CalendarRef::primary(address).unwrap()
}

pub fn times(start: &str, end: &str) -> Content {
    Content::times(EventTime::timed(at(start), at(end), None).unwrap())
}

fn write(number: u64, op: Op, id: &str) -> Write {
    Write {
        id: WriteId(number),
        op,
        key: EventKey::new(id, None).unwrap(),
        remote: Some(SideRef::new(id).unwrap()),
        target: None,
        base: None,
        group_version: None,
        token: AttemptToken(format!("token-{number}")),
    }
}

/// 9:00 to 10:30 Danish time.
pub fn morning() -> Content {
    times("2026-12-01T08:00:00Z", "2026-12-01T09:30:00Z")
}

pub fn create(number: u64, id: &str) -> Write {
    Write {
        target: Some(morning()),
        ..write(number, Op::Create, id)
    }
}

pub fn update(number: u64, id: &str, target: Content) -> Write {
    Write {
        target: Some(target),
        base: Some(morning()),
        ..write(number, Op::Update, id)
    }
}

pub fn delete(number: u64, id: &str) -> Write {
    Write {
        base: Some(morning()),
        ..write(number, Op::Delete, id)
    }
}

pub fn creates(count: u64) -> Vec<Write> {
    (1..=count)
        .map(|number| create(number, &format!("event-{number}")))
        .collect()
}

pub async fn apply(connection: &Arc<dyn Connection>, writes: &[Write]) -> ApplyReport {
    apply_to(connection, ANNA, writes).await
}

pub async fn apply_to(
    connection: &Arc<dyn Connection>,
    address: &str,
    writes: &[Write],
) -> ApplyReport {
    let report = connection
        .sink()
        .unwrap()
        .apply(&calendar(address), writes)
        .await
        .unwrap();
    // One outcome per write, whatever happens.
    let mut answered: Vec<_> = report.outcomes.iter().map(|outcome| outcome.id).collect();
    answered.sort();
    let mut asked: Vec<_> = writes.iter().map(|write| write.id).collect();
    asked.sort();
    assert_eq!(answered, asked);
    report
}

pub fn outcome(report: &ApplyReport, number: u64) -> &Outcome {
    &report
        .outcomes
        .iter()
        .find(|outcome| outcome.id == WriteId(number))
        .unwrap()
        .outcome
}

pub fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

pub fn is_later(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { .. })
}

/// Sizes of the calls that carried events, in order.
pub fn call_sizes(setup: &Setup) -> Vec<usize> {
    setup
        .planner
        .ledger()
        .all()
        .iter()
        .filter(|call| !call.detail.events.is_empty() || call.operation.ends_with("eEvents"))
        .map(|call| {
            call.detail
                .request_xml
                .as_deref()
                .unwrap_or_default()
                .matches("<e:CalendarEvent>")
                .count()
        })
        .collect()
}

/// Everything that is logged on this thread while the guard lives.
pub fn logs() -> (Logs, tracing::subscriber::DefaultGuard) {
    let logs = Logs::default();
    let writer = logs.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (logs, tracing::subscriber::set_default(subscriber))
}

#[derive(Debug, Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const ECS: &str = "http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/";
const CODE_LIST: &str = "http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/";

/// A plain HTTP server that answers every request with these bytes. Gives its URL and what was asked.
pub fn canned(answer: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/p.svc", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while let Some(request) = read_request(&mut stream) {
                log.lock().unwrap().push(request);
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (url, asked)
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut all = Vec::new();
    let mut some = vec![0; 65_536];
    loop {
        let read = stream.read(&mut some).ok().filter(|read| *read > 0)?;
        all.extend_from_slice(&some[..read]);
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text
                .to_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if all.len() >= end + 4 + length {
                return Some(text);
            }
        }
    }
}

/// An HTTP answer with this status line.
pub fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The answer to CreateEvents with these receipts: id, code and message.
pub fn receipts(reference: &str, receipts: &[(&str, i64, &str)]) -> String {
    let receipts: String = receipts
        .iter()
        .map(|(id, code, message)| format!("<CalendarEventReceipt><CalendarEventIdentifier>2b5c9c0e-0f0b-4c2a-8a64-7b7d3d4a0001</CalendarEventIdentifier><EventReceivalTime>2026-11-22T14:05:10+01:00</EventReceivalTime><EventErrorCode><c:CodeListItemIdentifier>{code}</c:CodeListItemIdentifier></EventErrorCode><EventMessage>{message}</EventMessage><OriginSystemIdentifier>{id}</OriginSystemIdentifier><ConflictNotificationSent>false</ConflictNotificationSent></CalendarEventReceipt>"))
        .collect();
    format!(
        "<s:Envelope xmlns:s='{SOAP}'><s:Body><CreateEventsResponse xmlns='{ECS}' xmlns:c='{CODE_LIST}'>{receipts}<ServiceRequestLogReferenceIdentifier>{reference}</ServiceRequestLogReferenceIdentifier></CreateEventsResponse></s:Body></s:Envelope>"
    )
}

/// A SOAP fault; with a message inside of FaultDetails, or with its faultstring alone.
pub fn soap_fault(text: &str, message: Option<&str>) -> String {
    let details = message.map_or_else(String::new, |message| {
        format!("<detail><FaultDetails xmlns='http://service.bm.dk/xml/schemas/2011/01/12/'><ErrorCode>5</ErrorCode><Message>{message}</Message></FaultDetails></detail>")
    });
    format!(
        "<s:Envelope xmlns:s='{SOAP}'><s:Body><s:Fault><faultcode>s:Server</faultcode><faultstring>{text}</faultstring>{details}</s:Fault></s:Body></s:Envelope>"
    )
}
