//! The wire: one POST per operation, signed in, on behalf of one mailbox.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use calbridge_core::connector::{Context, Error, ErrorKind, Result, Scope};
use calbridge_core::http::{
    Cause, HeaderMap, HeaderName, HeaderValue, HttpClient, HttpFailure, HttpResponse, Load, Purse,
    Throttle, Urgency, header, wait_before_again,
};
use calbridge_core::model::Address;
use jiff::Timestamp;

use crate::batches::Batches;
use crate::config::{Access, Settings};
use crate::endpoints::{Endpoint, Endpoints};
use crate::error::{Charged, WireError, from_code, from_status};
use crate::request::Body;
use crate::response::{self, Class, Message};
use crate::signin::{Accounts, Failure};
use crate::soap::{self, Acting, Envelope, Fault, ServerVersion};
use crate::trace::Trace;

/// The code of a budget that is spent.
const BUSY: &str = "ews.ErrorServerBusy";
/// Requests at once on behalf of one mailbox: one that lists and one that reads.
const PER_MAILBOX: usize = 2;

/// An answer that is no fault.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) messages: Vec<Message>,
    /// The server's id of the call (`request-id`), by which its administrator finds it in the logs.
    pub(crate) reference: Option<String>,
}

/// What a server tells about itself along with any answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerFacts {
    pub(crate) version: Option<ServerVersion>,
    /// The `Date` header.
    pub(crate) clock: Option<Timestamp>,
    /// The mailbox server that the request was led to, as the front tells it.
    pub(crate) back_end: Option<String>,
    /// The value of the cookie that leads there again (`X-BackEndOverrideCookie`).
    pub(crate) cookie: Option<String>,
}

/// How requests reach the mailbox server that keeps a subscription (EWS, "Maintain affinity between a group of
/// subscriptions and the Mailbox server").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affinity<'a> {
    /// The mailbox whose server it is.
    pub(crate) anchor: &'a Address,
    /// What that server said to remember.
    pub(crate) cookie: Option<&'a str>,
}

/// What came of a request, for checks: the facts also where the request failed.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) facts: ServerFacts,
    pub(crate) reply: Result<Reply>,
    /// Whether the server let the account in.
    pub(crate) signed_in: bool,
    /// What it says about how busy the server is.
    load: Load,
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Settings,
    context: Context,
    http: Mutex<HttpClient>,
    endpoints: Endpoints,
    throttle: Throttle,
    batches: Batches,
    trace: Option<Trace>,
}

impl Client {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(settings: Settings, context: Context) -> Result<Self> {
        let http = HttpClient::build(&settings.http, None, &context)?;
        let endpoints = Endpoints::new(&settings, &context)?;
        let trace = settings.trace.as_ref();
        let trace = trace
            .map(|trace| Trace::open(trace, &context))
            .transpose()?;
        Ok(Self {
            throttle: Throttle::new(settings.max_in_flight),
            batches: Batches::default(),
            settings,
            context,
            http: Mutex::new(http),
            endpoints,
            trace,
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whose budget requests for a mailbox are charged to.
    pub(crate) fn charged(&self) -> Charged {
        match self.settings.access {
            Access::Impersonation => Charged::Mailbox,
            Access::Delegate => Charged::Account,
        }
    }

    /// Sends a request on behalf of a mailbox.
    ///
    /// # Errors
    /// Everything that concerns the request as a whole; errors of single items stay in their messages.
    pub(crate) async fn call(&self, mailbox: &Address, body: &Body) -> Result<Reply> {
        self.exchange(Some(mailbox), body).await?.reply
    }

    /// As [`call`](Self::call), with what the server tells about itself; without a mailbox in the account's
    /// own name.
    ///
    /// # Errors
    /// Only if there was no answer at all.
    pub(crate) async fn exchange(
        &self,
        mailbox: Option<&Address>,
        body: &Body,
    ) -> Result<Exchanged> {
        self.ask(mailbox, None, body).await
    }

    /// As [`exchange`](Self::exchange), to the server that keeps a subscription.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn ask(
        &self,
        mailbox: Option<&Address>,
        affinity: Option<Affinity<'_>>,
        body: &Body,
    ) -> Result<Exchanged> {
        let account = mailbox.map_or(0, |mailbox| self.accounts().of(mailbox));
        let learn = |error| {
            self.endpoints.learn(mailbox, &error);
            self.of_account(error)
        };
        let endpoint = self.endpoints.of(mailbox).await;
        let endpoint = endpoint.map_err(|error| self.of_account(error))?;
        let host = endpoint.url.host_str().unwrap_or_default();
        let purse = match (mailbox, self.charged()) {
            // An operator's question is not counted.
            (None, _) => None,
            (Some(mailbox), Charged::Mailbox) => Some(Purse {
                of: mailbox.folded(),
                most: PER_MAILBOX,
            }),
            (Some(_), Charged::Account) => Some(Purse {
                of: format!("account {account}"),
                most: self.settings.max_in_flight,
            }),
        };
        let mut tries = 0;
        loop {
            let turn = self.throttle.turn(host, purse.as_ref(), Urgency::Now);
            let turn = turn.await;
            let asked = self
                .ask_as(&endpoint, account, mailbox, affinity, body)
                .await;
            let load = match &asked {
                Ok(exchanged) => exchanged.load,
                Err(error) => load(error, None),
            };
            turn.report(load);
            drop(turn);
            // A gateway's word is no proof that nothing was made.
            let again = body.operation != "CreateItem" || !matches!(load, Load::ServerBusy(_));
            if let Some(wait) = wait_before_again(load, tries).filter(|_| again) {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {
                        tries += 1;
                        continue;
                    }
                    () = self.stopped() => {}
                }
            }
            let mut exchanged = asked.map_err(learn)?;
            exchanged.reply = exchanged.reply.map_err(learn);
            return Ok(exchanged);
        }
    }

    /// How many items go into one request.
    pub(crate) fn batches(&self) -> &Batches {
        &self.batches
    }

    /// As [`exchange`](Self::exchange) without a mailbox, at one address and in the name of the account with this number.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn exchange_at(
        &self,
        endpoint: &Endpoint,
        account: usize,
        body: &Body,
    ) -> Result<Exchanged> {
        let asked = self.ask_as(endpoint, account, None, None, body).await;
        let mut exchanged = asked.map_err(|error| self.of_account(error))?;
        exchanged.reply = exchanged.reply.map_err(|error| self.of_account(error));
        Ok(exchanged)
    }

    /// The service accounts.
    pub(crate) fn accounts(&self) -> &Accounts {
        self.endpoints.accounts()
    }

    /// Where requests go.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// One account of several that is refused concerns its own mailboxes alone.
    fn of_account(&self, mut error: Error) -> Error {
        let own = error.kind == ErrorKind::Auth || error.code.starts_with("ews.signin.");
        if own && self.accounts().count() > 1 && error.scope == Scope::Connection {
            error.scope = Scope::Calendar;
        }
        error
    }

    async fn ask_as(
        &self,
        endpoint: &Endpoint,
        account: usize,
        mailbox: Option<&Address>,
        affinity: Option<Affinity<'_>>,
        body: &Body,
    ) -> Result<Exchanged> {
        let acting = self.acting(mailbox);
        let headers = headers(mailbox, affinity);
        let document = soap::envelope(&acting, &body.xml).into_bytes();
        // Without a mailbox it is an operator's check.
        let insist = mailbox.is_none();
        let door = endpoint.doors.door(account);
        let traced = self.trace.as_ref().and_then(|trace| {
            let number = trace.request(mailbox, &endpoint.url, body.operation, &document)?;
            Some((trace, number, tokio::time::Instant::now()))
        });
        let sent = door.post(&self.http(), headers, document, insist).await;
        if let Some((trace, number, begun)) = traced {
            trace.came(number, &sent, begun.elapsed());
        }
        let answer = match sent {
            Ok(answer) => answer,
            Err(Failure::Http(failure)) => return Err(narrowed(failure, mailbox.is_some())),
            Err(Failure::Error(error)) if insist && error.kind == ErrorKind::Auth => {
                return Ok(Exchanged {
                    facts: ServerFacts::default(),
                    reply: Err(error),
                    signed_in: false,
                    load: Load::Fine,
                });
            }
            Err(Failure::Error(error)) => return Err(error),
        };
        tracing::debug!(
            operation = body.operation,
            status = answer.status.as_u16(),
            bytes = answer.body.len(),
            "EWS answered."
        );
        Ok(self.read(body.operation, &answer))
    }

    /// Whom a request for a mailbox acts for.
    fn acting(&self, mailbox: Option<&Address>) -> Acting {
        match (self.settings.access, mailbox) {
            (Access::Impersonation, Some(mailbox)) => {
                Acting::Impersonating(mailbox.as_str().to_owned())
            }
            _ => Acting::Itself,
        }
    }

    /// Sends a request whose answer is read as it comes.
    ///
    /// # Errors
    /// There was no answer, or one that is complete and no stream: an error.
    pub(crate) async fn open_stream(
        &self,
        mailbox: &Address,
        affinity: Affinity<'_>,
        body: &Body,
    ) -> Result<reqwest::Response> {
        let mut headers = headers(Some(mailbox), Some(affinity));
        // What is compressed may wait in a buffer.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let document = soap::envelope(&self.acting(Some(mailbox)), &body.xml);
        let endpoint = self.endpoints.of(Some(mailbox)).await;
        let endpoint = endpoint.map_err(|error| self.of_account(error))?;
        let door = endpoint.doors.door(self.accounts().of(mailbox));
        let opened = door.open(headers, document).await;
        let answer = opened.map_err(|failure| match failure {
            Failure::Http(_) => no_stream(),
            Failure::Error(error) => self.of_account(error),
        })?;
        if answer.status().is_success() {
            return Ok(answer.into_response());
        }
        let whole = answer.whole().await.map_err(|_| no_stream())?;
        Err(match self.read(body.operation, &whole).reply {
            Err(error) => error,
            Ok(_) => WireError::WrongOperation.of(body.operation),
        })
    }

    /// The messages of one envelope of a stream.
    ///
    /// # Errors
    /// The fault that it is; `Protocol` where it is no answer to GetStreamingEvents.
    pub(crate) fn read_envelope(&self, document: &str) -> Result<Vec<Message>> {
        const OPERATION: &str = "GetStreamingEvents";
        let envelope = soap::read(document, response::read).map_err(|error| error.of(OPERATION))?;
        match envelope.body {
            Ok((name, messages)) if name.strip_suffix("Response") == Some(OPERATION) => {
                Ok(messages)
            }
            Ok(_) => Err(WireError::WrongOperation.of(OPERATION)),
            Err(fault) => Err(of_fault(OPERATION, &fault, self.charged())),
        }
    }

    /// The time, for what differs from one attempt to the next.
    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// Cancelled when the program stops.
    pub(crate) async fn stopped(&self) {
        self.context.shutdown.cancelled().await;
    }

    fn http(&self) -> HttpClient {
        self.http
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Some servers send a second answer after a fault, which would then pass for the answer of the next
    /// request. The connections so far are given up.
    fn forget_connections(&self) {
        self.endpoints.forget_connections();
        if let Ok(fresh) = HttpClient::build(&self.settings.http, None, &self.context) {
            *self.http.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    fn read(&self, operation: &'static str, answer: &HttpResponse) -> Exchanged {
        let mut facts = ServerFacts {
            version: None,
            clock: answer.date(),
            back_end: back_end(answer),
            cookie: affinity_cookie(answer),
        };
        let status = answer.status.as_u16();
        let signed_in = !matches!(status, 401 | 403 | 407);
        let charged = self.charged();
        let mut told = answer.retry_after();
        // Faults come with 500 by the SOAP rules, with 200 from some servers.
        if !(answer.status.is_success() || answer.status.is_server_error()) {
            let error = from_status(status, told, charged);
            return Exchanged {
                facts,
                load: load(&error, told),
                reply: Err(error),
                signed_in,
            };
        }
        let document = String::from_utf8_lossy(&answer.body);
        let reply = match soap::read(&document, response::read) {
            Ok(Envelope { version, body }) => {
                facts.version = version;
                match body {
                    Ok((name, mut messages)) => {
                        for message in &mut messages {
                            message.back_off_ms = message.back_off_ms.or(millis(told));
                        }
                        let content = self.content(operation, &name, messages);
                        content.map(|reply| Reply {
                            reference: answer.header("request-id").map(str::to_owned),
                            ..reply
                        })
                    }
                    Err(mut fault) => {
                        self.forget_connections();
                        fault.back_off_ms = fault.back_off_ms.or(millis(told));
                        told = fault.back_off_ms.map(Duration::from_millis);
                        // A gateway may put its own trouble into SOAP.
                        if fault.is_bare() && matches!(status, 502..=504) {
                            Err(from_status(status, told, charged))
                        } else {
                            Err(of_fault(operation, &fault, charged))
                        }
                    }
                }
            }
            Err(_) if answer.status.is_server_error() => Err(from_status(status, told, charged)),
            Err(error) if error == WireError::NotSoap || is_page(answer) => {
                let mut error = from_status(status, None, charged);
                error.message = format!("EWS {operation}: {}", error.message);
                Err(error)
            }
            Err(error) => {
                tracing::warn!(
                    operation,
                    request_id = answer.header("request-id").unwrap_or("none"),
                    %error,
                    "An EWS answer cannot be read."
                );
                Err(self.unusable(&error, operation))
            }
        };
        let load = match &reply {
            Ok(reply) => load_of_messages(&reply.messages),
            Err(error) => load(error, told),
        };
        Exchanged {
            facts,
            reply,
            signed_in,
            load,
        }
    }

    fn content(
        &self,
        operation: &'static str,
        name: &str,
        messages: Vec<Message>,
    ) -> Result<Reply> {
        if name.strip_suffix("Response") != Some(operation) {
            return Err(self.unusable(&WireError::WrongOperation, operation));
        }
        if messages.is_empty() {
            self.forget_connections();
            return Err(WireError::Missing("a response message").of(operation));
        }
        Ok(Reply {
            messages,
            reference: None,
        })
    }

    /// An answer that cannot be used may be the rest of another one: on a fresh connection the same request
    /// may well be answered.
    fn unusable(&self, error: &WireError, operation: &'static str) -> Error {
        self.forget_connections();
        let mut error = error.of(operation);
        error.kind = ErrorKind::Transient;
        error
    }

    /// An answer whose messages cannot be told apart. It may be the rest of another one, so the connection is
    /// given up; what was asked for is asked for again in a later feed.
    pub(crate) fn miscounted(&self, operation: &str, asked: usize, got: usize) -> Error {
        self.forget_connections();
        WireError::Count { asked, got }.of(operation)
    }

    /// The one message of an operation that has one.
    ///
    /// # Errors
    /// The message's own error; `Protocol` if there are several.
    pub(crate) async fn single(&self, mailbox: &Address, body: &Body) -> Result<Message> {
        let reply = self.call(mailbox, body).await?;
        let got = reply.messages.len();
        let mut messages = reply.messages.into_iter();
        match (messages.next(), messages.next()) {
            (Some(message), None) => {
                let checked = self.checked(message, Scope::Calendar);
                checked.inspect_err(|error| self.endpoints.learn(Some(mailbox), error))
            }
            _ => Err(self.miscounted(body.operation, 1, got)),
        }
    }

    /// A message, or the error that it is.
    ///
    /// # Errors
    /// The message's own.
    pub(crate) fn checked(&self, message: Message, scope: Scope) -> Result<Message> {
        match message.class {
            Class::Success => Ok(message),
            Class::Warning if message.code == "NoError" => Ok(message),
            Class::Warning | Class::Error => Err(self.of_account(from_code(
                &message.code,
                message.inner.as_deref(),
                message.back_off_ms,
                self.charged(),
                scope,
            ))),
        }
    }
}

/// The cookie that leads to the server of a subscription.
const OVERRIDE_COOKIE: &str = "X-BackEndOverrideCookie";

/// A stream could not be opened, or broke.
pub(crate) fn no_stream() -> Error {
    Error::new(
        ErrorKind::Transient,
        Scope::Connection,
        "ews.stream",
        "the stream of notifications broke or could not be opened; it is opened again, and calendars are polled meanwhile. If this goes on, look for a proxy or firewall that ends long connections",
    )
}

/// The server that a front led the request to. Without autodiscover it is what tells which mailboxes belong together.
fn back_end(answer: &HttpResponse) -> Option<String> {
    ["x-calculatedbetarget", "x-backendserver", "x-beserver"]
        .iter()
        .find_map(|name| answer.header(name))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
}

fn affinity_cookie(answer: &HttpResponse) -> Option<String> {
    answer
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|text| text.split(';').next()?.trim().split_once('='))
        .find(|(name, value)| name.eq_ignore_ascii_case(OVERRIDE_COOKIE) && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

fn headers(mailbox: Option<&Address>, affinity: Option<Affinity<'_>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/xml; charset=utf-8"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/xml"));
    if let Some(anchor) = affinity.map(|affinity| affinity.anchor).or(mailbox)
        && let Ok(value) = HeaderValue::from_str(anchor.as_str())
    {
        headers.insert(HeaderName::from_static("x-anchormailbox"), value);
    }
    if let Some(affinity) = affinity {
        headers.insert(
            HeaderName::from_static("x-preferserveraffinity"),
            HeaderValue::from_static("true"),
        );
        let cookie = affinity
            .cookie
            .and_then(|value| HeaderValue::from_str(&format!("{OVERRIDE_COOKIE}={value}")).ok());
        if let Some(cookie) = cookie {
            headers.insert(header::COOKIE, cookie);
        }
    }
    headers
}

/// An answer that is too large, too slow or broken off is a matter of the calendar that was asked for: others go on.
fn narrowed(failure: HttpFailure, of_mailbox: bool) -> Error {
    let narrow = of_mailbox
        && matches!(
            failure.cause,
            Cause::TooLarge | Cause::Timeout | Cause::BadResponse | Cause::Broken
        );
    let mut error = Error::from(failure);
    if narrow {
        error.scope = Scope::Calendar;
    }
    error
}

/// What an error says about how busy the server is; `told`: how long to wait, in the server's words.
fn load(error: &Error, told: Option<Duration>) -> Load {
    match (error.kind, error.scope) {
        (ErrorKind::Throttled, _) if error.code == BUSY => Load::BudgetSpent(told),
        (ErrorKind::Throttled, _) if error.code.starts_with("ews.http.") => Load::ServerBusy(told),
        (ErrorKind::Transient, Scope::Connection) => Load::Unreachable,
        _ => Load::Fine,
    }
}

/// A server may also be busy message by message. Where some of them were worked on, the rest is for whoever asked.
fn load_of_messages(messages: &[Message]) -> Load {
    let busy = |message: &Message| {
        let wrapped = message.inner.as_deref() == Some("ErrorServerBusy");
        message.class == Class::Error
            && (message.code == "ErrorServerBusy"
                || message.code == "ErrorInternalServerError" && wrapped)
    };
    if !messages.is_empty() && messages.iter().all(busy) {
        let told = messages.iter().filter_map(|message| message.back_off_ms);
        return Load::BudgetSpent(told.max().map(Duration::from_millis));
    }
    Load::Fine
}

fn of_fault(operation: &'static str, fault: &Fault, charged: Charged) -> Error {
    if fault.unknown_operation {
        return Error::new(
            ErrorKind::Unsupported,
            Scope::Connection,
            "ews.unknown-operation",
            format!("the server does not know the EWS operation {operation}"),
        );
    }
    from_code(
        &fault.code,
        fault.inner.as_deref(),
        fault.back_off_ms,
        charged,
        Scope::Calendar,
    )
}

/// Whether the answer calls itself a web page.
fn is_page(answer: &HttpResponse) -> bool {
    answer.header("content-type").is_some_and(|kind| {
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("text/html")
    })
}

fn millis(wait: Option<Duration>) -> Option<u64> {
    u64::try_from(wait?.as_millis()).ok()
}
