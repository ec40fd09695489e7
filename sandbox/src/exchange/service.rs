//! From an HTTP request to an HTTP answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use jiff::SignedDuration;

use super::access::{self, Account, Context};
use super::autodiscover::{self, Autodiscover};
use super::budget::Budgets;
use super::fault::{self, EwsFault};
use super::ids::{ItemKey, read_item_id};
use super::ledger::ExchangeCall;
use super::notify::{self, Routing, server_name};
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
use crate::windows::{self, Ruling};

/// The path of the service, compared without regard to case as IIS does.
pub(crate) const PATH: &str = "/EWS/Exchange.asmx";

/// What handle and server share.
pub(crate) struct Service {
    pub(crate) store: Mutex<Store>,
    pub(crate) accounts: Mutex<Vec<Account>>,
    pub(crate) front: windows::Front,
    pub(crate) profile: Profile,
    pub(crate) faults: FaultPlan,
    pub(crate) budgets: Budgets,
    pub(crate) ledger: Ledger<ExchangeCall>,
    pub(crate) autodiscover: Mutex<Autodiscover>,
    /// Whether it is reached by https.
    pub(crate) tls: bool,
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
        if let Some(kind) = autodiscover::Kind::of(request.uri.path()) {
            return self.discover(kind, request).await;
        }
        let mut call = ExchangeCall {
            host: request.header("host").map(str::to_owned),
            scheme: autodiscover::scheme_of(&request),
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
        let charged = parsed
            .as_ref()
            .ok()
            .and_then(|parsed| access::impersonated(parsed.header.as_ref()))
            .map(|(_, name)| name.to_owned());
        let charged = charged.unwrap_or_default();
        // A refused request is not worked on, and not signed in either: that costs the server nothing.
        let reply = match self.budgets.spend(&charged) {
            Err(error) => {
                call.codes = vec![error.code.clone()];
                soap::fault_reply(self.profile, &error, true)
            }
            Ok(_spent) => match before(&kinds).await {
                Some(reply) => reply,
                None => self.answer(&request, parsed, &kinds, &faults, &mut call),
            },
        };
        let reply = self.routed(reply, &call);
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
        let known: Vec<_> = accounts.iter().map(Account::known).collect();
        let (number, header) = match self.front.rule(&known, request) {
            Ruling::LetIn(number, header) => (number, header),
            Ruling::Answer(reply) => return reply,
        };
        let Some(account) = accounts.get(number) else {
            return Response::text(StatusCode::FORBIDDEN, "").into();
        };
        let reply = self.let_in(request, account, parsed, kinds, faults, call);
        match header {
            Some(header) => headed(reply, |response| {
                response.with_header("www-authenticate", &header)
            }),
            None => reply,
        }
    }

    fn let_in(
        &self,
        request: &Request,
        account: &Account,
        parsed: Result<Parsed, EwsError>,
        kinds: &[FaultKind],
        faults: &[EwsFault],
        call: &mut ExchangeCall,
    ) -> Reply {
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
        let outcome =
            parsed.and_then(|parsed| self.execute(account, request, &parsed, faults, call));
        match outcome {
            Ok(Outcome::Stream(stream)) => {
                call.codes = vec!["NoError".to_owned()];
                let mut response = Response::xml(StatusCode::OK, "");
                response.body = Body::Stream(stream.into_pieces());
                after(kinds, faults.iter().fold(response, fault::spoil_stream))
            }
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
        request: &Request,
        parsed: &Parsed,
        faults: &[EwsFault],
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
        let routing = Routing::of(request, &store, self.profile, acting);
        (call.server, call.prefers_affinity) = (routing.server, routing.prefers_affinity);
        call.affinity_cookie = routing.cookie.is_some();
        // A group of subscriptions is led by its first mailbox.
        if !(routing.prefers_affinity && notifies(parsed.operation.local())) {
            self.check_anchor(&store, acting, call.anchor.as_deref())?;
        }
        let zone = access::context_zone(header)?;
        if faults.contains(&EwsFault::Touched) {
            touch(&mut store, &parsed.operation);
        }
        let refused = faults.iter().filter_map(|fault| match fault {
            EwsFault::ItemRefused(code, place) => Some((code.clone(), *place)),
            _ => None,
        });
        let refused_starts = faults.iter().filter_map(|fault| match fault {
            EwsFault::StartRefused(at) => Some(*at),
            _ => None,
        });
        let mut context = Context {
            store: &mut store,
            profile: self.profile,
            account,
            acting,
            zone,
            refused: refused.collect(),
            refused_starts: refused_starts.collect(),
        };
        if let Some(outcome) = notify::run(&mut context, &routing, &parsed.operation) {
            return Ok(outcome);
        }
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
        let later = version
            .get("Version")
            .is_some_and(|name| self.profile.knows_schema(name));
        if !later && schema::validate(version).is_err() {
            return Err(EwsError::new(
                "ErrorInvalidServerVersion",
                "The schema version that RequestServerVersion names is not known.",
            ));
        }
        for element in header.into_iter().flat_map(|header| &header.children) {
            if element.name.starts_with("t:") && element.name != version.name {
                schema::validate(element).map_err(wrong)?;
            }
        }
        if !schema::knows(&parsed.operation.name) || parsed.operation.local().ends_with("Response")
        {
            return match ops::unknown(parsed.operation.local()) {
                Outcome::Fault(error) => Err(error),
                Outcome::Answer(_) | Outcome::Stream(_) => Ok(()),
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

    pub(crate) fn record(
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

    /// Adds what the front tells of the mailbox server behind it.
    fn routed(&self, reply: Reply, call: &ExchangeCall) -> Reply {
        let silent = !self.store().notifier.settings.told_servers;
        if call.server == 0 || silent || self.profile.is_gromox() {
            return reply;
        }
        let routing = Routing {
            server: call.server,
            prefers_affinity: call.prefers_affinity,
            cookie: call.affinity_cookie.then_some(call.server),
        };
        let cookie = routing.set_cookie().filter(|_| call.subscribed);
        headed(reply, |mut response| {
            let name = server_name(call.server);
            response = response
                .with_header("x-calculatedbetarget", &name)
                .with_header("x-beserver", name.split('.').next().unwrap_or_default())
                .with_header("x-feserver", "FRONT1");
            match &cookie {
                Some(cookie) => response.with_header("set-cookie", cookie),
                None => response,
            }
        })
    }

    /// Adds what every answer of Exchange has, with the server's idea of the time.
    pub(crate) fn dated(&self, reply: Reply) -> Reply {
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
        headed(reply, stamp)
    }
}

/// Changes the head of an answer, if there is one.
pub(crate) fn headed(reply: Reply, change: impl Fn(Response) -> Response) -> Reply {
    match reply {
        Reply::Http(response) => Reply::Http(change(response)),
        Reply::Twice(response) => Reply::Twice(change(response)),
        Reply::Truncate { response, bytes } => Reply::Truncate {
            response: change(response),
            bytes,
        },
        other => other,
    }
}

/// Saves every item that a request names, as somebody else would who was quicker.
fn touch(store: &mut Store, element: &Element) {
    let named = element.get("Id").filter(|_| element.local() == "ItemId");
    match named.and_then(read_item_id) {
        Some(ItemKey::Item(number) | ItemKey::Occurrence(number, _)) => {
            let _ = store.update(number, |_| Ok(()));
        }
        None => {
            for child in &element.children {
                touch(store, child);
            }
        }
    }
}

/// Whether the operation belongs to a subscription, which has a server of its own.
fn notifies(operation: &str) -> bool {
    matches!(
        operation,
        "Subscribe" | "Unsubscribe" | "GetEvents" | "GetStreamingEvents"
    )
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
    call.subscriptions = parsed
        .operation
        .child("m:SubscriptionIds")
        .map_or(0, |list| list.children.len());
    call.subscribed = parsed.operation.local() == "Subscribe";
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use jiff::civil::{Weekday, date};

    use super::super::item::{Attendee, FreeBusy, NewItem, Person};
    use super::super::recurrence::{DayIndex, DayKind, Pattern, Range, Recurrence};
    use super::super::store::MailboxKind;
    use super::super::zone::Zone;
    use super::*;
    use crate::server::Peer;

    fn service() -> Service {
        let mut store = Store::new(true, 1);
        let anna = store
            .add_mailbox("Anna", "anna@kommune.example", MailboxKind::Person)
            .unwrap();
        store
            .add_mailbox("Annette", "annette@kommune.example", MailboxKind::Person)
            .unwrap();
        let item = |day: i8| {
            NewItem::at(
                "Møde",
                date(2026, 3, day).at(9, 0, 0, 0),
                date(2026, 3, day).at(10, 0, 0, 0),
                &Zone::denmark(),
            )
            .with(|item| {
                item.categories = vec!["Red".to_owned()];
                item.location = "Room 3".to_owned();
                item.required = vec![Attendee {
                    person: Person::new("Bo", "bo@kommune.example"),
                    ..Attendee::default()
                }];
                item.reminder = Some(15);
                item.free_busy = FreeBusy::OutOfOffice;
            })
        };
        store.create(anna, item(4)).unwrap();
        let patterns = [
            Pattern::Daily { interval: 2 },
            Pattern::Weekly {
                interval: 1,
                days: vec![Weekday::Monday, Weekday::Friday],
                first_day: Weekday::Monday,
            },
            Pattern::AbsoluteMonthly {
                interval: 1,
                day: 31,
            },
            Pattern::RelativeMonthly {
                interval: 1,
                kind: DayKind::Weekday,
                index: DayIndex::Last,
            },
            Pattern::AbsoluteYearly { month: 2, day: 29 },
            Pattern::RelativeYearly {
                month: 11,
                kind: DayKind::On(Weekday::Thursday),
                index: DayIndex::Fourth,
            },
        ];
        for (pattern, range) in patterns.into_iter().zip(
            [
                Range::NoEnd,
                Range::EndDate(date(2036, 6, 1)),
                Range::Numbered(9),
            ]
            .into_iter()
            .cycle(),
        ) {
            let series = store
                .create(
                    anna,
                    item(2).repeating(Recurrence {
                        pattern,
                        start: date(2026, 3, 2),
                        range,
                    }),
                )
                .unwrap();
            let slots: Vec<_> = {
                let item = store.item(series).unwrap();
                let from = item.appointment.start;
                let to = from
                    .checked_add(SignedDuration::from_hours(24 * 1600))
                    .unwrap();
                item.instances(from, to)
                    .iter()
                    .map(|instance| instance.slot)
                    .take(3)
                    .collect()
            };
            store
                .update_occurrence(series, slots[1], |item| item.subject.push('!'))
                .unwrap();
            store.delete_occurrence(series, slots[2]).unwrap();
        }
        Service {
            store: Mutex::new(store),
            accounts: Mutex::new(vec![Account::service("svc", "pw")]),
            front: windows::Front::default(),
            profile: Profile::Exchange2019,
            faults: FaultPlan::default(),
            ledger: Ledger::default(),
            budgets: Budgets::default(),
            autodiscover: Mutex::default(),
            tls: false,
            keep_requests: false,
            require_anchor: false,
            skew: Mutex::new(SignedDuration::ZERO),
        }
    }

    async fn ask(service: &Service, body: &str) -> Element {
        let document = format!(
            "<s:Envelope xmlns:s=\"{}\" xmlns:m=\"{}\" xmlns:t=\"{}\"><s:Header><t:RequestServerVersion Version=\"Exchange2013_SP1\"/>\
             <t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>anna@kommune.example</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>\
             </s:Header><s:Body>{body}</s:Body></s:Envelope>",
            xml::SOAP,
            xml::MESSAGES,
            xml::TYPES
        );
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", "Basic c3ZjOnB3".parse().unwrap());
        let request = Request {
            method: Method::POST,
            uri: PATH.parse().unwrap(),
            headers,
            body: document.into(),
            peer: Peer {
                address: "127.0.0.1:1".parse().unwrap(),
                certificate: None,
                connection: 1,
            },
        };
        let Reply::Http(response) = service.respond(request).await else {
            panic!("no ordinary answer")
        };
        let Body::Full(bytes) = response.body else {
            panic!("no complete body")
        };
        let root = xml::parse(&bytes).unwrap();
        let version = root.child("s:Header").unwrap().children.first().unwrap();
        schema::validate(version).unwrap();
        root.child("s:Body")
            .unwrap()
            .children
            .first()
            .unwrap()
            .clone()
    }

    #[tokio::test]
    async fn every_answer_is_valid_by_the_schemas() {
        let service = service();
        let all = "<m:ItemShape><t:BaseShape>AllProperties</t:BaseShape><t:AdditionalProperties>\
            <t:ExtendedFieldURI DistinguishedPropertySetId=\"Meeting\" PropertyId=\"3\" PropertyType=\"Binary\"/></t:AdditionalProperties></m:ItemShape>";
        let calendar = "<t:DistinguishedFolderId Id=\"calendar\"/>";
        let feed = ask(&service, &format!("<m:SyncFolderItems>{all}<m:SyncFolderId>{calendar}</m:SyncFolderId><m:MaxChangesReturned>512</m:MaxChangesReturned></m:SyncFolderItems>")).await;
        schema::validate(&feed).unwrap();
        let mut ids = String::new();
        let changes = feed.children[0].children[0].child("m:Changes").unwrap();
        assert_eq!(changes.children.len(), 7);
        for change in &changes.children {
            change.children[0]
                .child("t:ItemId")
                .unwrap()
                .write(&mut ids);
        }
        let bodies = [
            format!("<m:GetItem>{all}<m:ItemIds>{ids}<t:ItemId Id=\"AAMkx\"/></m:ItemIds></m:GetItem>"),
            format!("<m:FindItem Traversal=\"Shallow\">{all}<m:CalendarView StartDate=\"2026-01-01T00:00:00Z\" EndDate=\"2027-12-31T00:00:00Z\"/><m:ParentFolderIds>{calendar}</m:ParentFolderIds></m:FindItem>"),
            format!("<m:FindItem Traversal=\"Shallow\">{all}<m:IndexedPageItemView MaxEntriesReturned=\"3\" Offset=\"2\" BasePoint=\"Beginning\"/><m:ParentFolderIds>{calendar}</m:ParentFolderIds></m:FindItem>"),
            format!("<m:FindItem Traversal=\"Shallow\">{all}<m:CalendarView StartDate=\"2026-01-01T00:00:00Z\" EndDate=\"2037-12-31T00:00:00Z\"/><m:ParentFolderIds>{calendar}</m:ParentFolderIds></m:FindItem>"),
            format!("<m:GetFolder><m:FolderShape><t:BaseShape>AllProperties</t:BaseShape></m:FolderShape><m:FolderIds>{calendar}<t:DistinguishedFolderId Id=\"inbox\"/><t:DistinguishedFolderId Id=\"tasks\"/></m:FolderIds></m:GetFolder>"),
            "<m:FindFolder Traversal=\"Deep\"><m:FolderShape><t:BaseShape>AllProperties</t:BaseShape></m:FolderShape><m:ParentFolderIds><t:DistinguishedFolderId Id=\"root\"/></m:ParentFolderIds></m:FindFolder>".to_owned(),
            "<m:ResolveNames ReturnFullContactData=\"false\"><m:UnresolvedEntry>ann</m:UnresolvedEntry></m:ResolveNames>".to_owned(),
            "<m:ResolveNames ReturnFullContactData=\"false\"><m:UnresolvedEntry>zoe</m:UnresolvedEntry></m:ResolveNames>".to_owned(),
            "<m:GetServerTimeZones ReturnFullTimeZoneData=\"true\"/>".to_owned(),
        ];
        for body in bodies {
            let answer = ask(&service, &body).await;
            schema::validate(&answer)
                .unwrap_or_else(|violation| panic!("{violation} in the answer to {body}"));
        }
        let items = ask(
            &service,
            &format!("<m:GetItem>{all}<m:ItemIds>{ids}</m:ItemIds></m:GetItem>"),
        )
        .await;
        assert_eq!(
            items.children[0]
                .children
                .iter()
                .filter(|message| message.get("ResponseClass") == Some("Success"))
                .count(),
            7
        );
    }
}
