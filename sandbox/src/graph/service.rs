//! From an HTTP request to an HTTP answer.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::app::Application;
use super::batch;
use super::changes::{Asked, Links};
use super::error::{GraphError, json_response};
use super::fault::{self, GraphFault};
use super::handle::{Habits, Transactions, lock};
use super::ids::EventId;
use super::ledger::GraphCall;
use super::listing::{self, Listed, Span};
use super::query::{self, Prefer, Query};
use super::render::{Shown, selected};
use super::token::{Endpoint, Issued};
use super::write;
use crate::exchange::item::{Folder, Item};
use crate::exchange::store::Store;
use crate::exchange::{ExchangeSandbox, Person};
use crate::fault::{FaultKind, FaultPlan, after, before};
use crate::ledger::{Call, Ledger};
use crate::server::{Body, Handler, Reply, Request, Response};

/// What handle and server share.
pub(super) struct Service {
    pub(super) exchange: ExchangeSandbox,
    pub(super) tenant: String,
    pub(super) applications: Mutex<Vec<Application>>,
    pub(super) token_life: Mutex<SignedDuration>,
    pub(super) issued: Mutex<HashMap<String, Issued>>,
    pub(super) used_assertions: Mutex<Vec<String>>,
    pub(super) habits: Mutex<Habits>,
    /// Users without a mailbox in the cloud.
    pub(super) without_mailbox: Mutex<Vec<String>>,
    pub(super) faults: FaultPlan,
    pub(super) ledger: Ledger<GraphCall>,
    pub(super) links: Links,
    pub(super) meters: Meters,
    pub(super) latency: Mutex<Duration>,
    pub(super) skew: Mutex<SignedDuration>,
    pub(super) mails: AtomicU64,
    pub(super) transactions: Mutex<Transactions>,
    pub(super) root: OnceLock<String>,
}

/// How many requests are under way.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<Meter>);

#[derive(Debug, Default)]
struct Meter {
    mailboxes: HashMap<String, usize>,
    all: usize,
    most_of_mailbox: usize,
    most: usize,
}

/// Requests that are under way.
struct Running<'a> {
    meters: &'a Meters,
    mailbox: String,
    count: usize,
}

impl Meters {
    /// As many requests as `count` begin, unless there would be too many for the mailbox.
    fn enter(&self, mailbox: &str, count: usize, most: usize) -> Option<Running<'_>> {
        let mut meter = lock(&self.0);
        let mailbox = mailbox.to_lowercase();
        let running = meter.mailboxes.entry(mailbox.clone()).or_default();
        if *running + count > most && !mailbox.is_empty() {
            return None;
        }
        *running += count;
        let of_mailbox = *running;
        meter.all += count;
        if !mailbox.is_empty() {
            meter.most_of_mailbox = meter.most_of_mailbox.max(of_mailbox);
        }
        meter.most = meter.most.max(meter.all);
        drop(meter);
        Some(Running {
            meters: self,
            mailbox,
            count,
        })
    }

    pub(super) fn most(&self) -> (usize, usize) {
        let meter = lock(&self.0);
        (meter.most_of_mailbox, meter.most)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut meter = lock(&self.meters.0);
        meter.all = meter.all.saturating_sub(self.count);
        if let Some(running) = meter.mailboxes.get_mut(&self.mailbox) {
            *running = running.saturating_sub(self.count);
        }
    }
}

/// A request of Graph, by itself or as a part of a batch.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) method: Method,
    /// Below `/v1.0`.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) items: usize,
}

impl Answered {
    pub(super) fn new(status: u16, body: Value) -> Self {
        let items = body
            .get("value")
            .and_then(Value::as_array)
            .map_or(1, Vec::len);
        Self {
            status,
            body,
            items,
        }
    }
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Calendar(Folder),
    Calendars,
    View(Folder),
    Changes(Folder),
    Events(Folder),
    Event(String),
    Instances(String),
    User,
}

impl Service {
    pub(super) fn now(&self) -> Timestamp {
        self.exchange.store(|store| store.clock.now())
    }

    pub(super) fn root(&self) -> &str {
        self.root.get().map_or("", String::as_str)
    }

    pub(super) fn scope(&self) -> String {
        format!("{}/.default", self.root())
    }

    async fn respond(&self, request: Request) -> Reply {
        let path = request.uri.path().to_owned();
        if let Some(tenant) = path
            .strip_suffix("/oauth2/v2.0/token")
            .and_then(|rest| rest.strip_prefix('/'))
        {
            return self.token(tenant, &request).await;
        }
        let Some(below) = path.strip_prefix("/v1.0") else {
            let error = GraphError::new(400, "BadRequest", "Invalid version.");
            return self.dated(error.response().into());
        };
        let asking = Asking {
            method: request.method.clone(),
            path: below.to_owned(),
            query: request.uri.query().unwrap_or_default().to_owned(),
            headers: request.headers.clone(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
        };
        let mut call = GraphCall {
            method: request.method.to_string(),
            path: path.clone(),
            query: asking.query.clone(),
            prefer: request.header("prefer").map(str::to_owned),
            if_match: request.header("if-match").map(str::to_owned),
            body: request.body.clone(),
            ..GraphCall::default()
        };
        let application = self.application(&request);
        call.token = application.is_some();
        call.application = application.as_ref().map(|one| one.client_id.clone());
        let (operation, mailbox) = operation(&asking);
        let kinds = self.faults.strike(operation, &[mailbox.as_str()]);
        let reply = match before(&kinds).await {
            Some(reply) => reply,
            None => {
                let body_is_json = request.body.is_empty() || !asking.body.is_null();
                self.answer(
                    &asking,
                    application.as_ref(),
                    &kinds,
                    body_is_json,
                    &mut call,
                )
                .await
            }
        };
        self.record(operation, mailbox, call, request.body.len(), &reply);
        self.dated(reply)
    }

    async fn answer(
        &self,
        asking: &Asking,
        application: Option<&Application>,
        kinds: &[FaultKind],
        body_is_json: bool,
        call: &mut GraphCall,
    ) -> Reply {
        let faults: Vec<GraphFault> = kinds
            .iter()
            .filter_map(|kind| fault::read(kind).ok().flatten())
            .collect();
        for fault in &faults {
            match fault {
                GraphFault::Error(error) => return error.response().into(),
                GraphFault::Redirect(url) => {
                    let response = Response::text(StatusCode::FOUND, "");
                    return response.with_header("location", url).into();
                }
                _ => {}
            }
        }
        let answered = match application {
            None => Err(GraphError::new(
                401,
                "InvalidAuthenticationToken",
                "Access token has expired or is not yet valid.",
            )),
            Some(_) if !body_is_json => Err(GraphError::new(
                400,
                "BadRequest",
                "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
            )),
            Some(application) => self.work(asking, application, &faults).await,
        };
        let response = match answered {
            Err(error) => error.response(),
            Ok(mut answered) => {
                call.items = answered.items;
                for fault in &faults {
                    fault::spoil(fault, &mut answered.body);
                }
                self.render(asking, &answered, &faults)
            }
        };
        after(kinds, response)
    }

    fn render(&self, asking: &Asking, answered: &Answered, faults: &[GraphFault]) -> Response {
        if faults.contains(&GraphFault::Html) {
            return Response::new(
                StatusCode::OK,
                "text/html; charset=utf-8",
                "<!DOCTYPE html><html><body>Sign in to the guest network</body></html>",
            );
        }
        if answered.status == 204 {
            return Response::text(StatusCode::NO_CONTENT, "");
        }
        let mut response = json_response(answered.status, &answered.body);
        if faults.contains(&GraphFault::NotJson) {
            let text = answered.body.to_string();
            let half: String = text.chars().take(text.chars().count() / 2).collect();
            response.body = Body::Full(half.into());
        }
        match Prefer::read(&asking.headers) {
            Ok(prefer) => response.with_header("preference-applied", &prefer.applied()),
            Err(_) => response,
        }
    }

    /// Waits as long as an answer takes, within the limits.
    async fn work(
        &self,
        asking: &Asking,
        application: &Application,
        faults: &[GraphFault],
    ) -> Result<Answered, GraphError> {
        let latency = *lock(&self.latency);
        if asking.path == "/$batch" {
            return batch::answer(self, asking, application, latency).await;
        }
        let (_, mailbox) = operation(asking);
        let most = lock(&self.habits).most_per_mailbox;
        let _running = self.meters.enter(&mailbox, 1, most).ok_or_else(too_many)?;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.execute(asking, application, faults)
    }

    /// Whether a part of a batch may run beside those that run.
    pub(super) fn has_room(&self, mailbox: &str, count: usize) -> Option<impl Drop + '_> {
        let most = lock(&self.habits).most_per_mailbox;
        self.meters.enter(mailbox, count, most)
    }

    pub(super) fn execute(
        &self,
        asking: &Asking,
        application: &Application,
        faults: &[GraphFault],
    ) -> Result<Answered, GraphError> {
        let parts = query::parts(&asking.path);
        let (user, target) = target(&parts).ok_or_else(|| {
            GraphError::new(400, "BadRequest", "Resource not found for the segment.")
        })?;
        let writes = asking.method != Method::GET;
        let (mailbox, owner) = self.mailbox(&user, application, writes)?;
        let prefer = Prefer::read(&asking.headers)?;
        let query = Query::read(&asking.query);
        let context = Context {
            service: self,
            mailbox,
            owner: &owner,
            prefer: &prefer,
            query: &query,
        };
        if writes {
            return write::answer(&context, asking, &target);
        }
        if asking.method != Method::GET {
            return Err(GraphError::new(
                405,
                "MethodNotAllowed",
                "Method not allowed.",
            ));
        }
        match target {
            Target::Changes(folder) => {
                let base = format!("{}/v1.0{}", self.root(), asking.path);
                let habits = lock(&self.habits).clone();
                let page = self.exchange.store(|store| {
                    self.links.answer(
                        store,
                        &Asked {
                            mailbox,
                            folder,
                            owner: &owner,
                            prefer: &prefer,
                            raw_query: &asking.query,
                            base: &base,
                            habits: &habits,
                            stuck: faults.contains(&GraphFault::Endless),
                        },
                    )
                })?;
                Ok(Answered {
                    status: 200,
                    items: page.items,
                    body: page.body,
                })
            }
            Target::View(folder) => {
                let span = Span::read(&query)?;
                let listed = self.exchange.store(|store| {
                    let all = listing::view(store, mailbox, folder, span);
                    listing::page(&all, &owner, &prefer, &query)
                })?;
                Ok(self.listed(asking, &listed))
            }
            Target::Instances(id) => {
                let span = Span::read(&query)?;
                let listed = self.exchange.store(|store| {
                    let (item, _) = context.find(store, &id)?;
                    if item.series.is_none() {
                        return Err(GraphError::invalid("The event is not a series."));
                    }
                    let all = Shown::members(item, span.from, span.to);
                    listing::page(&all, &owner, &prefer, &query)
                })?;
                Ok(self.listed(asking, &listed))
            }
            Target::Events(folder) => {
                let listed = self.exchange.store(|store| context.events(store, folder))?;
                Ok(self.listed(asking, &listed))
            }
            Target::Event(id) => self.exchange.store(|store| {
                let shown = context.shown(store, &id)?;
                let names = listing::checked_select(&query)?;
                let mut value = selected(shown.full(&owner, &prefer), names.as_deref());
                write::expand(&mut value, &shown, &query)?;
                Ok(Answered::new(200, value))
            }),
            Target::Calendar(folder) => Ok(Answered::new(200, calendar(mailbox, folder, &owner))),
            Target::Calendars => Ok(Answered::new(
                200,
                json!({ "value": [
                    calendar(mailbox, Folder::Calendar, &owner),
                    calendar(mailbox, Folder::OtherCalendar, &owner),
                ] }),
            )),
            Target::User => Err(GraphError::new(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            )),
        }
    }

    /// The error that is injected for a part of a batch, if one is.
    pub(super) fn strike(&self, operation: &str, mailbox: &str) -> Option<GraphError> {
        let kinds = self.faults.strike(operation, &[mailbox]);
        kinds.iter().find_map(|kind| match fault::read(kind) {
            Ok(Some(GraphFault::Error(error))) => Some(error),
            _ => None,
        })
    }

    /// Records a part of a batch as a call of its own.
    pub(super) fn record_part(
        &self,
        operation: &str,
        mailbox: &str,
        part: &Asking,
        application: &Application,
        answered: &Result<Answered, GraphError>,
    ) {
        let header = |name: &str| {
            let value = part.headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let call = GraphCall {
            method: part.method.to_string(),
            path: format!("/v1.0{}", part.path),
            query: part.query.clone(),
            prefer: header("prefer"),
            if_match: header("if-match"),
            application: Some(application.client_id.clone()),
            token: true,
            items: answered.as_ref().map_or(0, |answered| answered.items),
            in_batch: true,
            body: part.body.to_string().into(),
        };
        let reply = match answered {
            Ok(answered) => json_response(answered.status, &Value::Null),
            Err(error) => error.response(),
        };
        self.record(operation, mailbox.to_owned(), call, 0, &reply.into());
    }

    fn listed(&self, asking: &Asking, listed: &Listed) -> Answered {
        let link = listed.next.map(|skip| {
            let kept: Vec<(String, String)> = url::form_urlencoded::parse(asking.query.as_bytes())
                .filter(|(name, _)| !name.eq_ignore_ascii_case("$skip"))
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(kept);
            query.append_pair("$skip", &skip.to_string());
            format!("{}/v1.0{}?{}", self.root(), asking.path, query.finish())
        });
        Answered {
            status: 200,
            items: listed.items.len(),
            body: listing::body(listed, link),
        }
    }

    /// The application that a request's token was issued to.
    fn application(&self, request: &Request) -> Option<Application> {
        let token = request.header("authorization")?.strip_prefix("Bearer ")?;
        let now = self.now();
        let issued = lock(&self.issued).get(token).cloned();
        let client = issued.filter(|issued| now < issued.ends)?.client_id;
        lock(&self.applications)
            .iter()
            .find(|application| application.client_id == client)
            .cloned()
    }

    /// The mailbox of a user, as far as the application may reach it.
    fn mailbox(
        &self,
        user: &str,
        application: &Application,
        write: bool,
    ) -> Result<(usize, Person), GraphError> {
        let found = self.exchange.store(|store| {
            let by_id = store
                .mailboxes
                .iter()
                .position(|mailbox| object_id(&mailbox.primary) == user.to_lowercase());
            let number = by_id.or_else(|| store.find_mailbox(user))?;
            let mailbox = store.mailbox(number)?;
            Some((
                number,
                Person::new(&mailbox.name, &mailbox.primary),
                mailbox.disabled,
            ))
        });
        let Some((number, owner, disabled)) = found else {
            return Err(GraphError::new(
                404,
                "ErrorInvalidUser",
                format!("The requested user '{user}' is invalid."),
            ));
        };
        let unlicensed = lock(&self.without_mailbox)
            .iter()
            .any(|one| one.eq_ignore_ascii_case(&owner.address));
        if disabled || unlicensed {
            return Err(GraphError::new(
                404,
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            ));
        }
        if !application.reaches(&owner.address) || !application.may(write) {
            return Err(GraphError::new(
                403,
                "ErrorAccessDenied",
                "Access is denied. Check credentials and try again.",
            ));
        }
        Ok((number, owner))
    }

    async fn token(&self, tenant: &str, request: &Request) -> Reply {
        let kinds = self.faults.strike("Token", &[""]);
        let mut call = GraphCall {
            method: request.method.to_string(),
            path: request.uri.path().to_owned(),
            ..GraphCall::default()
        };
        let faults: Vec<GraphFault> = kinds
            .iter()
            .filter_map(|kind| fault::read(kind).ok().flatten())
            .collect();
        let reply = match before(&kinds).await {
            Some(reply) => reply,
            None => {
                let latency = *lock(&self.latency);
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                let applications = lock(&self.applications).clone();
                let endpoint = Endpoint {
                    tenant: &self.tenant,
                    audience: &format!("{}/{}/oauth2/v2.0/token", self.root(), self.tenant),
                    scope: &self.scope(),
                    applications: &applications,
                    life: *lock(&self.token_life),
                    now: self.now(),
                };
                let response = endpoint.answer(
                    tenant,
                    &request.body,
                    &mut lock(&self.issued),
                    &mut lock(&self.used_assertions),
                );
                call.token = response.status.is_success();
                let asking = Asking {
                    method: Method::POST,
                    path: String::new(),
                    query: String::new(),
                    headers: HeaderMap::new(),
                    body: Value::Null,
                };
                let injected = faults.iter().find_map(|fault| match fault {
                    GraphFault::Error(error) => Some(error.response()),
                    GraphFault::Html => {
                        let answered = Answered::new(200, Value::Null);
                        Some(self.render(&asking, &answered, &faults))
                    }
                    GraphFault::Redirect(url) => {
                        Some(Response::text(StatusCode::FOUND, "").with_header("location", url))
                    }
                    _ => None,
                });
                after(&kinds, injected.unwrap_or(response))
            }
        };
        self.record("Token", String::new(), call, request.body.len(), &reply);
        self.dated(reply)
    }

    pub(super) fn record(
        &self,
        operation: &str,
        mailbox: String,
        call: GraphCall,
        request_bytes: usize,
        reply: &Reply,
    ) {
        let response = match reply {
            Reply::Http(response) | Reply::Twice(response) | Reply::Truncate { response, .. } => {
                Some(response)
            }
            _ => None,
        };
        let body = response.and_then(|response| match &response.body {
            Body::Full(bytes) => Some(bytes.clone()),
            Body::Stream(_) => None,
        });
        let code = body
            .as_ref()
            .filter(|_| response.is_some_and(|response| !response.status.is_success()))
            .and_then(|body| serde_json::from_slice::<Value>(body).ok())
            .and_then(|body| {
                let error = body.get("error")?;
                let code = error.get("code").unwrap_or(error);
                code.as_str().map(str::to_owned)
            });
        self.ledger.record(Call {
            number: 0,
            at: self.now(),
            operation: operation.to_owned(),
            mailboxes: Some(mailbox)
                .filter(|one| !one.is_empty())
                .into_iter()
                .collect(),
            request_bytes,
            response_bytes: body.map_or(0, |body| body.len()),
            status: response.map_or(0, |response| response.status.as_u16()),
            code,
            detail: call,
        });
    }

    /// Adds what every answer has.
    fn dated(&self, reply: Reply) -> Reply {
        let now = self.now();
        let now = now.checked_add(*lock(&self.skew)).unwrap_or(now);
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

/// What a request is about.
pub(super) struct Context<'a> {
    pub(super) service: &'a Service,
    pub(super) mailbox: usize,
    pub(super) owner: &'a Person,
    pub(super) prefer: &'a Prefer,
    pub(super) query: &'a Query,
}

impl Context<'_> {
    /// The item that an id names, and the id.
    pub(super) fn find<'s>(
        &self,
        store: &'s Store,
        id: &str,
    ) -> Result<(&'s Item, EventId), GraphError> {
        let id = EventId::read(id)
            .ok_or_else(|| GraphError::new(400, "ErrorInvalidIdMalformed", "Id is malformed."))?;
        let in_bin = lock(&self.service.habits).deleted_items_are_found;
        let item = store
            .items
            .values()
            .filter(|item| item.mailbox == self.mailbox)
            .filter(|item| match item.folder {
                Folder::Calendar | Folder::OtherCalendar => true,
                _ => in_bin && id.immutable,
            })
            .find(|item| {
                if id.immutable {
                    item.origin == id.number
                } else {
                    item.number == id.number
                }
            })
            .ok_or_else(GraphError::not_found)?;
        Ok((item, id))
    }

    /// The event that an id names.
    pub(super) fn shown<'s>(&self, store: &'s Store, id: &str) -> Result<Shown<'s>, GraphError> {
        let (item, id) = self.find(store, id)?;
        match id.slot {
            None => Ok(Shown::whole(item)),
            Some(slot) => Shown::member(item, slot).ok_or_else(GraphError::not_found),
        }
    }

    /// Singles and masters, filtered by an extended property or not at all.
    fn events(&self, store: &Store, folder: Folder) -> Result<Listed, GraphError> {
        let wanted = self
            .query
            .get("$filter")
            .map(write::read_filter)
            .transpose()?;
        let all: Vec<Shown<'_>> = listing::items_of(store, self.mailbox, folder)
            .filter(|item| {
                wanted
                    .as_ref()
                    .is_none_or(|wanted| wanted.holds(&item.appointment))
            })
            .map(Shown::whole)
            .collect();
        let mut listed = listing::page(&all, self.owner, self.prefer, self.query)?;
        for value in &mut listed.items {
            let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
            if let Ok(shown) = self.shown(store, id) {
                write::expand(value, &shown, self.query)?;
            }
        }
        Ok(listed)
    }
}

pub(super) fn too_many() -> GraphError {
    let mut error = GraphError::new(
        429,
        "ApplicationThrottled",
        "Application is over its MailboxConcurrency limit.",
    );
    error.retry_after = Some(1);
    error
}

/// The object id of a user.
pub(super) fn object_id(address: &str) -> String {
    uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_OID,
        address.to_lowercase().as_bytes(),
    )
    .to_string()
}

fn folder_id(mailbox: usize, folder: Folder) -> String {
    format!("AAMkAGcalendar{mailbox}{folder:?}=")
}

fn calendar(mailbox: usize, folder: Folder, owner: &Person) -> Value {
    json!({
        "id": folder_id(mailbox, folder),
        "name": folder.display_name(),
        "color": "auto",
        "isDefaultCalendar": folder == Folder::Calendar,
        "canShare": true, "canViewPrivateItems": true, "canEdit": true, "isRemovable": false,
        "owner": { "name": owner.name, "address": owner.address },
    })
}

/// The user and what is meant of him.
fn target(parts: &[String]) -> Option<(String, Target)> {
    let mut parts = parts.iter().map(String::as_str);
    if parts.next()? != "users" {
        return None;
    }
    let user = parts.next()?.to_owned();
    let rest: Vec<&str> = parts.collect();
    let (folder, rest) = match rest.as_slice() {
        ["calendars", id, rest @ ..] => {
            let other = id.ends_with("OtherCalendar=");
            let folder = if other {
                Folder::OtherCalendar
            } else {
                Folder::Calendar
            };
            (folder, rest)
        }
        ["calendar", rest @ ..] => (Folder::Calendar, rest),
        ["calendars"] => return Some((user, Target::Calendars)),
        [] => return Some((user, Target::User)),
        rest => (Folder::Calendar, rest),
    };
    let target = match rest {
        [] => Target::Calendar(folder),
        ["calendarView"] => Target::View(folder),
        [
            "calendarView",
            "delta" | "delta()" | "microsoft.graph.delta()",
        ] => Target::Changes(folder),
        ["events"] => Target::Events(folder),
        ["events", id] => Target::Event((*id).to_owned()),
        ["events", id, "instances"] => Target::Instances((*id).to_owned()),
        _ => return None,
    };
    Some((user, target))
}

/// The operation's name for ledger and faults, and the mailbox.
pub(super) fn operation(asking: &Asking) -> (&'static str, String) {
    if asking.path == "/$batch" {
        return ("Batch", String::new());
    }
    let parts = query::parts(&asking.path);
    let Some((user, target)) = target(&parts) else {
        return ("", String::new());
    };
    let name = match (&asking.method, target) {
        (_, Target::Calendar(_) | Target::Calendars) => "Calendar",
        (_, Target::View(_)) => "View",
        (_, Target::Changes(_)) => "Changes",
        (_, Target::Instances(_)) => "Instances",
        (_, Target::User) => "User",
        (method, Target::Events(_)) if *method == Method::POST => "Create",
        (_, Target::Events(_)) => "Events",
        (method, Target::Event(_)) if *method == Method::PATCH => "Update",
        (method, Target::Event(_)) if *method == Method::DELETE => "Delete",
        (_, Target::Event(_)) => "Event",
    };
    (name, user)
}

/// The server's side of a [`Service`].
pub(super) struct Front(pub(super) Arc<Service>);

impl Handler for Front {
    fn handle(&self, request: Request) -> BoxFuture<'_, Reply> {
        Box::pin(self.0.respond(request))
    }
}
