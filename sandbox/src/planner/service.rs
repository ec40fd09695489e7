//! The service behind the socket: from request to answer.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp, ToSpan};
use uuid::Uuid;

use super::access::{Refusal, access_code};
use super::answer::{self, FaultDetails, Receipt, SoapFault};
use super::fault::PlannerFault;
use super::schema::{self, Body, EventElement, Operation, ParsedRequest};
use super::state::{Answer, State};
use super::time::render_instant;
use super::{CalledEvent, PlannerCall, PlannerOptions, RateAnswer};
use crate::fault::{self, FaultPlan, status_page};
use crate::ledger::{Call, Ledger};
use crate::server::{Handler, Reply, Request, Response};

const WSDL: &str = include_str!("../../wsdl/planner.wsdl");
/// The address in the committed WSDL, replaced by the one under which it was asked for.
const WSDL_ADDRESS: &str = "https://planner.example/PlannerExternalCalendarService.svc";

/// Everything that outlives a single listener.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) options: Mutex<PlannerOptions>,
    pub(super) state: Mutex<State>,
    pub(super) faults: FaultPlan,
    pub(super) ledger: Ledger<PlannerCall>,
    /// A set clock stands still; none is the system's.
    pub(super) clock: Mutex<Option<Timestamp>>,
    pub(super) base: Mutex<String>,
    recent: Mutex<VecDeque<Timestamp>>,
    in_flight: AtomicUsize,
    pub(super) most_in_flight: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was found out about a request before it is processed.
struct Read {
    operation: String,
    mailboxes: Vec<String>,
    request: Result<ParsedRequest, SoapFault>,
}

/// The answer of the service, before faults spoil it.
struct Processed {
    status: StatusCode,
    xml: String,
    code: Option<String>,
    reference: Option<Uuid>,
    events: Vec<CalledEvent>,
}

impl Processed {
    fn fault(fault: &SoapFault) -> Self {
        Self {
            status: SoapFault::STATUS,
            xml: fault.to_xml(),
            code: Some(fault.code()),
            reference: None,
            events: Vec::new(),
        }
    }
}

impl Service {
    pub(super) fn new(mut options: PlannerOptions) -> Self {
        // The options are copied for each call; whom and what they begin with is the state's.
        let resources = std::mem::take(&mut options.resources);
        let faults = std::mem::take(&mut options.faults);
        Self {
            faults: FaultPlan::new(faults),
            state: Mutex::new(State::with_resources(resources)),
            ledger: Ledger::default(),
            clock: Mutex::new(options.clock),
            base: Mutex::default(),
            recent: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            options: Mutex::new(options),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn options(&self) -> PlannerOptions {
        lock(&self.options).clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        lock(&self.clock).unwrap_or_else(Timestamp::now)
    }

    async fn answer(&self, request: Request) -> Reply {
        let options = self.options();
        if request.uri.path() != options.path {
            return status_page(StatusCode::NOT_FOUND).into();
        }
        let _flight = Flight::begin(self);
        if request.method == Method::GET
            && request
                .uri
                .query()
                .is_some_and(|query| query.eq_ignore_ascii_case("wsdl"))
        {
            let address = format!("{}{}", lock(&self.base), options.path);
            return Response::xml(StatusCode::OK, WSDL.replace(WSDL_ADDRESS, &address)).into();
        }
        if request.method != Method::POST {
            return status_page(StatusCode::METHOD_NOT_ALLOWED)
                .with_header("allow", "POST")
                .into();
        }
        let admitted = options
            .access
            .admit(request.peer.certificate.as_ref())
            .map(Option::<&_>::cloned);
        let body = String::from_utf8(request.body.to_vec());
        let read = body.as_ref().map_or_else(
            |_| Read::refused(&schema::SchemaError::Malformed),
            |text| read(text, request.header("soapaction")),
        );
        let kinds = self.faults.strike(&read.operation, &read.mailboxes);
        let mut entry = Call {
            number: 0,
            at: self.now(),
            operation: read.operation.clone(),
            mailboxes: read.mailboxes.clone(),
            request_bytes: request.body.len(),
            response_bytes: 0,
            status: 0,
            code: None,
            detail: PlannerCall {
                headers: read
                    .request
                    .as_ref()
                    .ok()
                    .map(|parsed| parsed.headers.clone()),
                holder: request
                    .peer
                    .certificate
                    .as_ref()
                    .and_then(super::access::holder),
                faults: kinds.iter().map(ToString::to_string).collect(),
                request_xml: options.keep_xml.then(|| body.unwrap_or_default()),
                connection: request.peer.connection,
                ..PlannerCall::default()
            },
        };
        if let Some(reply) = fault::before(&kinds).await {
            entry.status = status_of(&reply);
            self.record(entry);
            return reply;
        }
        let plain = |entry: &mut Call<PlannerCall>, response: Response| {
            entry.status = response.status.as_u16();
            entry.code = Some(format!("http:{}", entry.status));
            response
        };
        let refused = match (&admitted, request.header("content-type")) {
            (Err(_), _) => Some(status_page(StatusCode::FORBIDDEN)),
            (_, kind) if !kind.is_some_and(is_xml) => {
                Some(status_page(StatusCode::UNSUPPORTED_MEDIA_TYPE))
            }
            _ => None,
        };
        if let Some(response) = refused {
            let response = plain(&mut entry, response);
            self.record(entry);
            return fault::after(&kinds, response);
        }
        let mut faults = Vec::new();
        for kind in &kinds {
            match PlannerFault::from_kind(kind) {
                Ok(found) => faults.extend(found),
                Err(error) => tracing::warn!(%error, "A fault was not understood and is left out."),
            }
        }
        let processed = if let Some(wait) = self.rate_exceeded(&options) {
            match options.limits.rate_answer {
                RateAnswer::Status => {
                    let mut response = status_page(StatusCode::SERVICE_UNAVAILABLE);
                    response.headers.insert(RETRY_AFTER, wait.into());
                    let response = plain(&mut entry, response);
                    self.record(entry);
                    return fault::after(&kinds, response);
                }
                RateAnswer::Fault => Processed::fault(&SoapFault::plain(
                    "Server",
                    "There were too many calls in a minute.",
                )),
            }
        } else {
            let known = admitted.unwrap_or_default();
            match read.request.and_then(|parsed| {
                if let Some(known) = &known {
                    known.authorise(&parsed.headers).map_err(refusal)?;
                }
                Ok(parsed)
            }) {
                Ok(parsed) => self.process(&parsed, &options, &faults),
                Err(soap_fault) => Processed::fault(&soap_fault),
            }
        };
        let mut response = Response::xml(processed.status, processed.xml.clone());
        for fault in &faults {
            if let crate::server::Body::Full(bytes) = &response.body
                && let Ok(xml) = String::from_utf8(bytes.to_vec())
            {
                response = fault.spoil(response.status, xml);
            }
        }
        if lock(&self.clock).is_some() {
            let date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            response = response.with_header("date", &date);
        }
        if let crate::server::Body::Full(bytes) = &response.body {
            entry.response_bytes = bytes.len();
        }
        entry.code = processed.code;
        entry.detail.reference = processed.reference;
        entry.detail.events = processed.events;
        entry.detail.response_xml = options.keep_xml.then_some(processed.xml);
        let reply = fault::after(&kinds, response);
        entry.status = status_of(&reply);
        // Recorded before it is sent: a client that has its answer finds the call in the ledger.
        self.record(entry);
        reply
    }

    /// Writes a call into the ledger and, without anything personal, into the log.
    fn record(&self, entry: Call<PlannerCall>) {
        tracing::info!(
            operation = %entry.operation,
            status = entry.status,
            code = entry.code.as_deref().unwrap_or_default(),
            events = entry.detail.events.len(),
            reference = entry.detail.reference.map(tracing::field::display),
            faults = ?entry.detail.faults.len(),
            "A call to Planner was answered."
        );
        self.ledger.record(entry);
    }

    /// Counts a call, or gives the seconds after which the next one is let through.
    fn rate_exceeded(&self, options: &PlannerOptions) -> Option<i64> {
        const MINUTE: SignedDuration = SignedDuration::from_secs(60);
        let limit = options.limits.calls_per_minute?;
        let now = self.now();
        let mut recent = lock(&self.recent);
        while recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= MINUTE)
        {
            recent.pop_front();
        }
        if recent.len() < limit {
            recent.push_back(now);
            return None;
        }
        let oldest = recent.front().copied().unwrap_or(now);
        let left = MINUTE - now.duration_since(oldest);
        Some(left.as_secs().max(0) + 1)
    }

    fn process(
        &self,
        request: &ParsedRequest,
        options: &PlannerOptions,
        faults: &[PlannerFault],
    ) -> Processed {
        if let Some(soap_fault) = faults.iter().find_map(|fault| injected_fault(fault, false)) {
            return Processed::fault(&soap_fault);
        }
        let reference = Uuid::new_v4();
        let mut processed = match &request.body {
            Body::Write(events) => {
                if let Some(most) = options
                    .limits
                    .max_events_per_call
                    .filter(|most| events.len() > *most)
                {
                    return Processed::fault(&SoapFault::detailed(
                        access_code::TOO_MANY_EVENTS,
                        &format!("A call may have at most {most} events."),
                    ));
                }
                self.write(request.operation, events, faults, reference)
            }
            Body::GetEvents {
                mailboxes,
                from,
                to,
            } => {
                if let Some(most) = options
                    .limits
                    .max_calendars_per_get
                    .filter(|most| mailboxes.len() > *most)
                {
                    return Processed::fault(&SoapFault::detailed(
                        access_code::TOO_MANY_CALENDARS,
                        &format!("A call may ask for at most {most} calendars."),
                    ));
                }
                let state = self.state();
                let mut listed: Vec<_> = state
                    .list(
                        mailboxes,
                        *from,
                        *to,
                        options.period_edges,
                        options.list_own,
                    )
                    .into_iter()
                    .map(|record| {
                        let resource = state.resource(&record.mailbox);
                        (record, resource)
                    })
                    .collect();
                for fault in faults {
                    match fault {
                        PlannerFault::EventsMissing(count) => {
                            listed.truncate(listed.len().saturating_sub(*count));
                        }
                        PlannerFault::EventsDoubled => {
                            listed = listed
                                .into_iter()
                                .flat_map(|event| [event.clone(), event])
                                .collect();
                        }
                        PlannerFault::IdCase => {
                            for (record, _) in &mut listed {
                                record.id = other_case(&record.id);
                            }
                        }
                        _ => {}
                    }
                }
                Processed {
                    status: StatusCode::OK,
                    xml: answer::events(&listed, options.answer_times, reference),
                    code: None,
                    reference: Some(reference),
                    events: Vec::new(),
                }
            }
            Body::GetResources { addresses } => {
                let wanted: HashSet<String> = addresses
                    .iter()
                    .map(|address| address.to_lowercase())
                    .collect();
                let mut listed = self.state().resources().to_vec();
                listed.retain(|resource| {
                    wanted.is_empty() || wanted.contains(&resource.email.to_lowercase())
                });
                if faults.contains(&PlannerFault::ResourcesEmpty) {
                    listed.clear();
                }
                Processed {
                    status: StatusCode::OK,
                    xml: answer::resources(&listed, reference),
                    code: None,
                    reference: Some(reference),
                    events: Vec::new(),
                }
            }
        };
        if let Some(soap_fault) = faults.iter().find_map(|fault| injected_fault(fault, true)) {
            let fault = Processed::fault(&soap_fault);
            // What was done stays done, and stays on record.
            (processed.status, processed.xml, processed.code) =
                (fault.status, fault.xml, fault.code);
        }
        processed
    }

    fn write(
        &self,
        operation: Operation,
        events: &[EventElement],
        faults: &[PlannerFault],
        reference: Uuid,
    ) -> Processed {
        let received = render_instant(self.now());
        let mut state = self.state();
        let (mut receipts, mut called) = (Vec::new(), Vec::new());
        for (at, event) in events.iter().enumerate() {
            let forced = faults.iter().find_map(|fault| match fault {
                PlannerFault::Code { code, position }
                    if position.is_none_or(|position| position == at + 1) =>
                {
                    Some(*code)
                }
                PlannerFault::Lost => Some(0),
                _ => None,
            });
            let mut sent = event.clone();
            for fault in faults {
                if let PlannerFault::Shifted(minutes) = fault {
                    let by = minutes.minutes();
                    sent.start.wall = sent.start.wall.saturating_add(by);
                    sent.end.wall = sent.end.wall.saturating_add(by);
                }
            }
            let answer = state.write(operation, &sent, forced);
            if answer.effective
                && operation == Operation::CreateEvents
                && faults.contains(&PlannerFault::Doubled)
            {
                let id = format!("{}-2", event.id);
                state.put(&event.mailbox, &id, sent.start.wall, sent.end.wall);
            }
            called.push(CalledEvent {
                id: event.id.clone(),
                mailbox: event.mailbox.clone(),
                start: event.start.wall,
                end: event.end.wall,
                with_offset: event.start.offset || event.end.offset,
                with_identifiers: event.resource.is_some() || event.event.is_some(),
                code: answer.code,
                effective: answer.effective,
                conflict: answer.conflict,
            });
            receipts.push(receipt(event, &answer, &received));
        }
        drop(state);
        for fault in faults {
            spoil_receipts(fault, &mut receipts);
        }
        Processed {
            status: StatusCode::OK,
            xml: answer::receipts(operation, &receipts, reference),
            code: None,
            reference: Some(reference),
            events: called,
        }
    }
}

impl Handler for std::sync::Arc<Service> {
    fn handle(&self, request: Request) -> BoxFuture<'_, Reply> {
        Box::pin(self.answer(request))
    }
}

impl Read {
    fn refused(error: &schema::SchemaError) -> Self {
        Self {
            operation: String::new(),
            mailboxes: Vec::new(),
            request: Err(SoapFault::plain("Client", error.to_string())),
        }
    }
}

fn read(text: &str, action: Option<&str>) -> Read {
    let document = match schema::parse_xml(text) {
        Ok(document) => document,
        Err(error) => return Read::refused(&error),
    };
    Read {
        operation: schema::peek_operation(&document)
            .map_or("", Operation::name)
            .to_owned(),
        mailboxes: schema::peek_mailboxes(&document),
        request: schema::validate(&document, action).map_err(|error| {
            let class = match error {
                schema::SchemaError::MustUnderstand(_) => "MustUnderstand",
                _ => "Client",
            };
            SoapFault::plain(class, error.to_string())
        }),
    }
}

/// SOAP 1.1 is sent as `text/xml`; `application/soap+xml` belongs to SOAP 1.2.
fn is_xml(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let xml = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("text/xml"));
    xml && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

fn refusal(refusal: Refusal) -> SoapFault {
    match refusal {
        Refusal::NotOpened => SoapFault::detailed(
            access_code::NOT_OPENED,
            "Access has not been opened for the certificate.",
        ),
        Refusal::WrongUser => SoapFault::detailed(
            access_code::WRONG_USER,
            "The user identifier does not match the certificate.",
        ),
        Refusal::WrongAuthority | Refusal::Forbidden => SoapFault::detailed(
            access_code::WRONG_AUTHORITY,
            "The certificate may not act for the organisation.",
        ),
    }
}

fn injected_fault(fault: &PlannerFault, processed: bool) -> Option<SoapFault> {
    let details = |details: Option<FaultDetails>| SoapFault {
        class: "Server",
        text: "Service failure".to_owned(),
        details,
    };
    let code = |code: &Option<i32>| {
        details(Some(FaultDetails::Code {
            code: *code,
            message: None,
        }))
    };
    match (fault, processed) {
        (PlannerFault::Fault, false) | (PlannerFault::FaultAfter, true) => Some(details(None)),
        (PlannerFault::FaultNil, false) => Some(details(Some(FaultDetails::Nil))),
        (PlannerFault::FaultDetails(number), false)
        | (PlannerFault::FaultDetailsAfter(number), true) => Some(code(number)),
        _ => None,
    }
}

fn receipt(event: &EventElement, answer: &Answer, received: &str) -> Receipt {
    Receipt {
        resource: answer.resource,
        event: answer.event,
        received: received.to_owned(),
        code: answer.code.to_string(),
        message: answer.message.clone(),
        id: event.id.clone(),
        conflict: answer.conflict,
    }
}

fn spoil_receipts(fault: &PlannerFault, receipts: &mut Vec<Receipt>) {
    match fault {
        PlannerFault::ReceiptsReversed => receipts.reverse(),
        PlannerFault::ReceiptsShuffled => {
            let one = receipts.len().min(1);
            receipts.rotate_left(one);
        }
        PlannerFault::ReceiptsMissing(count) => {
            receipts.truncate(receipts.len().saturating_sub(*count));
        }
        PlannerFault::ReceiptsDoubled => {
            *receipts = receipts
                .drain(..)
                .flat_map(|receipt| [receipt.clone(), receipt])
                .collect();
        }
        PlannerFault::ReceiptsForeign => {
            if let Some(mut foreign) = receipts.first().cloned() {
                foreign.id = "no-such-event".to_owned();
                receipts.push(foreign);
            }
        }
        PlannerFault::IdCase => receipts
            .iter_mut()
            .for_each(|receipt| receipt.id = other_case(&receipt.id)),
        PlannerFault::BadTime => {
            receipts
                .iter_mut()
                .for_each(|receipt| receipt.received = "yesterday".to_owned());
        }
        PlannerFault::BadCode => receipts
            .iter_mut()
            .for_each(|receipt| receipt.code = "none".to_owned()),
        _ => {}
    }
}

/// Upper case, or lower case where the text is in upper case already.
fn other_case(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if upper == text {
        text.to_ascii_lowercase()
    } else {
        upper
    }
}

fn status_of(reply: &Reply) -> u16 {
    match reply {
        Reply::Http(response) | Reply::Truncate { response, .. } | Reply::Twice(response) => {
            response.status.as_u16()
        }
        _ => 0,
    }
}

/// Counts a call as under way until it is answered or given up.
struct Flight<'a>(&'a AtomicUsize);

impl<'a> Flight<'a> {
    fn begin(service: &'a Service) -> Self {
        let now = service.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        service.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(&service.in_flight)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
