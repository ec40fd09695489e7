//! From an HTTP request to an HTTP answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use jiff::SignedDuration;

use super::access::{self, Account, Context};
use super::fault::{self, EwsFault};
use super::ledger::ExchangeCall;
use super::ops;
use super::profile::Profile;
use super::schema;
use super::shape::Shape;
use super::soap::{self, EwsError, Outcome};
use super::store::Store;
use super::xml::{self, Element};
use crate::fault::{FaultKind, FaultPlan, after, before};
use crate::ledger::{Call, Ledger};
use crate::server::{Body, Handler, Reply, Request, Response};

/// The path of the service, compared without regard to case as IIS does.
pub(crate) const PATH: &str = "/EWS/Exchange.asmx";

/// What handle and server share.
pub(crate) struct Service {
    pub(crate) store: Mutex<Store>,
    pub(crate) accounts: Mutex<Vec<Account>>,
    pub(crate) profile: Profile,
    pub(crate) faults: FaultPlan,
    pub(crate) ledger: Ledger<ExchangeCall>,
    pub(crate) keep_requests: bool,
    pub(crate) require_anchor: bool,
    /// How far the Date header is off.
    pub(crate) skew: Mutex<SignedDuration>,
}

/// A request as far as it was understood.
struct Parsed {
    header: Option<Element>,
    operation: Element,
}

impl Service {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(&self, request: Request) -> Reply {
        let mut call = ExchangeCall {
            anchor: request.header("x-anchormailbox").map(str::to_owned),
            agent: request.header("user-agent").map(str::to_owned),
            connection: request.peer.connection,
            request: self.keep_requests.then(|| request.body.clone()),
            ..ExchangeCall::default()
        };
        let parsed = parse(&request);
        let operation = parsed
            .as_ref()
            .map(|parsed| parsed.operation.local().to_owned())
            .unwrap_or_default();
        let mailboxes = parsed.as_ref().map(mailboxes).unwrap_or_default();
        if let Ok(parsed) = &parsed {
            describe(parsed, &mut call);
        }
        let kinds = self.faults.strike(&operation, &mailboxes);
        let faults: Vec<EwsFault> = kinds
            .iter()
            .filter_map(|kind| fault::read(kind).ok().flatten())
            .collect();
        let reply = match before(&kinds).await {
            Some(reply) => reply,
            None => self.answer(&request, parsed, &kinds, &faults, &mut call),
        };
        self.record(&request, operation, mailboxes, call, &reply);
        self.dated(reply)
    }

    fn answer(
        &self,
        request: &Request,
        parsed: Result<Parsed, EwsError>,
        kinds: &[FaultKind],
        faults: &[EwsFault],
        call: &mut ExchangeCall,
    ) -> Reply {
        if !request.uri.path().eq_ignore_ascii_case(PATH) {
            return Response::text(StatusCode::NOT_FOUND, "").into();
        }
        let accounts = self
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(account) = access::sign_in(&accounts, request) else {
            return access::unauthorized(&accounts).into();
        };
        call.user = Some(account.user.clone());
        if request.method != Method::POST {
            return Response::text(StatusCode::METHOD_NOT_ALLOWED, "").into();
        }
        if self.profile.is_gromox() && request.header("transfer-encoding").is_some() {
            // Quirk of gromox: no chunked requests.
            return Response::text(StatusCode::BAD_REQUEST, "").into();
        }
        let known = parsed
            .as_ref()
            .is_ok_and(|parsed| schema::knows(&parsed.operation.name));
        let operation = parsed
            .as_ref()
            .map(|parsed| parsed.operation.local().to_owned())
            .unwrap_or_default();
        for fault in faults {
            if let Some(reply) = fault::before(fault, self.profile, &operation, call.asked) {
                return reply;
            }
        }
        let outcome = parsed.and_then(|parsed| self.execute(account, &parsed, call));
        match outcome {
            Err(error) | Ok(Outcome::Fault(error)) => {
                call.codes = vec![error.code.clone()];
                match soap::fault_reply(self.profile, &error, known) {
                    Reply::Http(response) => after(kinds, response),
                    other => other,
                }
            }
            Ok(Outcome::Answer(mut body)) => {
                for fault in faults {
                    fault::change(fault, &operation, &mut body);
                }
                summarise(&body, call);
                let response = Response::xml(StatusCode::OK, soap::envelope(self.profile, &body));
                after(
                    kinds,
                    faults
                        .iter()
                        .fold(response, |response, fault| fault::spoil(fault, response)),
                )
            }
        }
    }

    fn execute(
        &self,
        account: &Account,
        parsed: &Parsed,
        call: &mut ExchangeCall,
    ) -> Result<Outcome, EwsError> {
        let header = parsed.header.as_ref();
        let judged = self.judge(parsed);
        call.valid = judged.is_ok();
        if !self.profile.is_gromox() {
            judged?;
        }
        let mut store = self.store();
        let named = access::impersonated(header);
        let acting = access::impersonate(&store, account, self.profile, named)?;
        self.check_anchor(&store, acting, call.anchor.as_deref())?;
        let zone = access::context_zone(header)?;
        let mut context = Context {
            store: &mut store,
            profile: self.profile,
            account,
            acting,
            zone,
        };
        Ok(ops::run(&mut context, &parsed.operation))
    }

    /// Headers and body against the schemas; the version must be named and known.
    fn judge(&self, parsed: &Parsed) -> Result<(), EwsError> {
        let wrong = |violation: schema::Violation| {
            EwsError::new("ErrorSchemaValidation", violation.to_string())
        };
        let header = parsed.header.as_ref();
        let version = header
            .and_then(|header| header.child("t:RequestServerVersion"))
            .ok_or_else(|| {
                EwsError::new(
                    "ErrorInvalidServerVersion",
                    "The request must name a schema version in RequestServerVersion.",
                )
            })?;
        for element in header.into_iter().flat_map(|header| &header.children) {
            let later = element.name == "t:RequestServerVersion"
                && version
                    .get("Version")
                    .is_some_and(|name| self.profile.knows_schema(name));
            if !later && element.name.starts_with("t:") {
                schema::validate(element).map_err(wrong)?;
            }
        }
        if !schema::knows(&parsed.operation.name) || parsed.operation.local().ends_with("Response")
        {
            return match ops::unknown(parsed.operation.local()) {
                Outcome::Fault(error) => Err(error),
                Outcome::Answer(_) => Ok(()),
            };
        }
        schema::validate(&parsed.operation).map_err(wrong)
    }

    /// X-AnchorMailbox must name the impersonated mailbox: another one would be routed to a wrong server.
    fn check_anchor(
        &self,
        store: &Store,
        acting: Option<usize>,
        anchor: Option<&str>,
    ) -> Result<(), EwsError> {
        let Some(acting) = acting else { return Ok(()) };
        let refuse = |text: &str| Err(EwsError::new("ErrorInvalidRequest", text));
        match anchor {
            None if self.require_anchor => {
                refuse("An impersonated request must carry X-AnchorMailbox.")
            }
            None => Ok(()),
            Some(anchor) if store.find_mailbox(anchor) == Some(acting) => Ok(()),
            Some(_) => refuse("X-AnchorMailbox names another mailbox than the impersonated one."),
        }
    }

    fn record(
        &self,
        request: &Request,
        operation: String,
        mailboxes: Vec<String>,
        call: ExchangeCall,
        reply: &Reply,
    ) {
        let response = match reply {
            Reply::Http(response) | Reply::Twice(response) | Reply::Truncate { response, .. } => {
                Some(response)
            }
            _ => None,
        };
        let code = call
            .codes
            .iter()
            .find(|code| *code != "NoError")
            .or(call.codes.first())
            .cloned();
        self.ledger.record(Call {
            number: 0,
            at: self.store().clock.now(),
            operation,
            mailboxes,
            request_bytes: request.body.len(),
            response_bytes: match response.map(|response| &response.body) {
                Some(Body::Full(bytes)) => bytes.len(),
                _ => 0,
            },
            status: response.map_or(0, |response| response.status.as_u16()),
            code,
            detail: call,
        });
    }

    /// Adds what every answer of Exchange has, with the server's idea of the time.
    fn dated(&self, reply: Reply) -> Reply {
        let skew = *self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.store().clock.now();
        let now = now.checked_add(skew).unwrap_or(now);
        let stamp = |response: Response| {
            response
                .with_header(
                    "date",
                    &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                )
                .with_header("request-id", &uuid::Uuid::new_v4().to_string())
        };
        match reply {
            Reply::Http(response) => Reply::Http(stamp(response)),
            Reply::Twice(response) => Reply::Twice(stamp(response)),
            Reply::Truncate { response, bytes } => Reply::Truncate {
                response: stamp(response),
                bytes,
            },
            other => other,
        }
    }
}

/// The server's side of a [`Service`].
pub(crate) struct Front(pub(crate) std::sync::Arc<Service>);

impl Handler for Front {
    fn handle(&self, request: Request) -> BoxFuture<'_, Reply> {
        Box::pin(self.0.respond(request))
    }
}

fn parse(request: &Request) -> Result<Parsed, EwsError> {
    let wrong = |text: String| {
        EwsError::new(
            "ErrorSchemaValidation",
            format!("The request failed schema validation: {text}."),
        )
    };
    let root = xml::parse(&request.body).map_err(|error| wrong(error.to_string()))?;
    if root.name != "s:Envelope" {
        return Err(wrong("the root element is not a SOAP envelope".to_owned()));
    }
    let operation = root
        .child("s:Body")
        .and_then(|body| body.children.first())
        .ok_or_else(|| {
            EwsError::new(
                "ErrorInvalidRequest",
                "The request is invalid. The SOAP body is empty.",
            )
        })?;
    Ok(Parsed {
        header: root.child("s:Header").cloned(),
        operation: operation.clone(),
    })
}

/// The mailboxes a request concerns: the impersonated one, and those it names.
fn mailboxes(parsed: &Parsed) -> Vec<String> {
    fn collect(element: &Element, found: &mut Vec<String>) {
        if element.name == "t:DistinguishedFolderId"
            && let Some(address) = element
                .child("t:Mailbox")
                .and_then(|mailbox| mailbox.child_text("t:EmailAddress"))
        {
            found.push(address.trim().to_owned());
        }
        for child in &element.children {
            collect(child, found);
        }
    }
    let mut found: Vec<String> = access::impersonated(parsed.header.as_ref())
        .map(|(_, address)| address.to_owned())
        .into_iter()
        .collect();
    collect(&parsed.operation, &mut found);
    let mut seen = Vec::new();
    found.retain(|address| {
        let folded = address.to_lowercase();
        let new = !seen.contains(&folded);
        seen.push(folded);
        new
    });
    found
}

fn describe(parsed: &Parsed, call: &mut ExchangeCall) {
    call.impersonated =
        access::impersonated(parsed.header.as_ref()).map(|(_, address)| address.to_owned());
    let shape = parsed
        .operation
        .child("m:ItemShape")
        .or(parsed.operation.child("m:FolderShape"));
    if shape.is_some() {
        call.properties = Shape::read(shape).names();
    }
    call.asked = [
        "m:ItemIds",
        "m:FolderIds",
        "m:ParentFolderIds",
        "m:Items",
        "m:ItemChanges",
    ]
    .iter()
    .find_map(|name| parsed.operation.child(name))
    .map_or(0, |list| list.children.len());
}

fn summarise(body: &Element, call: &mut ExchangeCall) {
    fn count(element: &Element) -> usize {
        let own = usize::from(matches!(
            element.name.as_str(),
            "t:CalendarItem" | "t:Delete"
        ));
        own + element.children.iter().map(count).sum::<usize>()
    }
    call.answered = count(body);
    let messages = body
        .children
        .first()
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    call.codes = messages
        .iter()
        .filter_map(|message| message.child_text("m:ResponseCode"))
        .map(str::to_owned)
        .collect();
}
