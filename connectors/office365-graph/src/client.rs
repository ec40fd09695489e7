//! The wire: one HTTPS request at a time per turn, signed in, to the configured cloud and nowhere else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use calbridge_core::connector::{Context, Error, ErrorKind, Result, Scope};
use calbridge_core::http::{
    AccessToken, Cause, HeaderMap, HeaderName, HeaderValue, HttpClient, HttpFailure, HttpResponse,
    Load, Method, Purse, Throttle, Urgency, header, same_origin, wait_before_again,
};
use calbridge_core::model::{Address, CalendarRef};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;

use crate::config::Settings;
use crate::error::{of_answer, protocol};
use crate::token::Tokens;

/// Requests at once on behalf of one mailbox. The service allows four; two leave room for other programs of the same
/// application.
const PER_MAILBOX: usize = 2;
/// Immutable ids, UTC and plain text, on every request: what an answer is like depends on the headers of its own request
/// (Graph, "Obtain immutable identifiers for Outlook resources"; "Use delta query", headers are not in tokens).
const PREFER: &str =
    "IdType=\"ImmutableId\", outlook.timezone=\"UTC\", outlook.body-content-type=\"text\"";

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Whose budget it is charged to.
    pub(crate) mailbox: Option<&'a Address>,
    pub(crate) urgency: Urgency,
    /// How many items a page may hold.
    pub(crate) page_size: Option<usize>,
    /// It is about one event.
    pub(crate) of_item: bool,
    /// An operator's question: a refused proof is tried again.
    pub(crate) insist: bool,
}

impl<'a> Request<'a> {
    /// A reading.
    pub(crate) fn get(url: Url, mailbox: &'a Address) -> Self {
        Self {
            method: Method::GET,
            url,
            mailbox: Some(mailbox),
            urgency: Urgency::Now,
            page_size: None,
            of_item: false,
            insist: false,
        }
    }

    pub(crate) fn of_item(self) -> Self {
        Self {
            of_item: true,
            ..self
        }
    }

    pub(crate) fn urgency(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }

    pub(crate) fn page_size(self, page_size: usize) -> Self {
        Self {
            page_size: Some(page_size),
            ..self
        }
    }
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Settings,
    context: Context,
    http: HttpClient,
    tokens: Tokens,
    /// `ROOT/v1.0`.
    root: Url,
    throttle: Throttle,
    /// Mailboxes for which Graph asked to wait, and until when: a request before that counts against them.
    parked: Mutex<HashMap<String, Instant>>,
}

impl Client {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(settings: Settings, context: Context) -> Result<Self> {
        let (_, graph, _) = settings.cloud.addresses()?;
        let root = Url::parse(&format!("{}/v1.0", graph.as_str().trim_end_matches('/')))
            .map_err(|_| Error::config("`cloud`: `graph` makes no address"))?;
        Ok(Self {
            http: HttpClient::build(&settings.http, None, &context)?,
            tokens: Tokens::new(&settings, &settings.http, context.clone())?,
            root,
            throttle: Throttle::new(settings.max_in_flight),
            parked: Mutex::default(),
            settings,
            context,
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// An address below `/users/MAILBOX`. Each part is encoded; ids hold slashes and equals signs.
    ///
    /// # Errors
    /// `Config`, if the root takes no path.
    pub(crate) fn of_user(&self, mailbox: &Address, parts: &[&str]) -> Result<Url> {
        let mut url = self.root.clone();
        url.path_segments_mut()
            .map_err(|()| Error::config("`cloud`: `graph` makes no address"))?
            .pop_if_empty()
            .push("users")
            .push(mailbox.as_str())
            .extend(parts);
        Ok(url)
    }

    /// An address below a calendar.
    ///
    /// # Errors
    /// As [`of_user`](Self::of_user).
    pub(crate) fn of_calendar(&self, calendar: &CalendarRef, parts: &[&str]) -> Result<Url> {
        let mut all: Vec<&str> = Vec::with_capacity(parts.len() + 2);
        if let Some(id) = &calendar.calendar {
            all.extend(["calendars", id.as_str()]);
        }
        all.extend(parts);
        self.of_user(&calendar.address, &all)
    }

    /// A link that an answer gave. It is followed as it stands, and only to the configured cloud: the token goes with it.
    ///
    /// # Errors
    /// `Protocol`.
    pub(crate) fn link(&self, text: &str) -> Result<Url> {
        let url = Url::parse(text).map_err(|_| protocol("a link that is none"))?;
        if same_origin(&url, &self.root) {
            Ok(url)
        } else {
            Err(protocol("a link that leads out of the configured cloud"))
        }
    }

    /// Sends a request and reads the JSON of its answer.
    ///
    /// # Errors
    /// What [`send`](Self::send) says; `Protocol` for what is not the expected JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T> {
        let answer = self.send(request).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            tracing::warn!(
                request_id = answer.header("request-id").unwrap_or("none"),
                line = error.line(),
                column = error.column(),
                "An answer of Graph cannot be read."
            );
            protocol(&format!(
                "it is not the expected JSON at line {}, column {}",
                error.line(),
                error.column()
            ))
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// There is no answer, or it is no success.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<HttpResponse> {
        let host = request.url.host_str().unwrap_or_default();
        let purse = request.mailbox.filter(|_| !request.insist);
        let purse = purse.map(|mailbox| Purse {
            of: mailbox.folded(),
            most: PER_MAILBOX,
        });
        let mut tries = 0;
        loop {
            self.unparked(request)?;
            let turn = self
                .throttle
                .turn(host, purse.as_ref(), request.urgency)
                .await;
            let sent = self.signed_in(request).await;
            let load = match &sent {
                Ok(_) => Load::Fine,
                Err(error) => load(error),
            };
            turn.report(load);
            drop(turn);
            let error = match sent {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // A gateway's word is no proof that nothing was made.
            let again = request.method != Method::POST || !matches!(load, Load::ServerBusy(_));
            if let Some(wait) = wait_before_again(load, tries).filter(|_| again) {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {
                        tries += 1;
                        continue;
                    }
                    () = self.context.shutdown.cancelled() => {}
                }
            }
            if let (Load::BudgetSpent(Some(wait)), Some(purse)) = (load, purse) {
                self.park(purse.of, wait);
            }
            return Err(error);
        }
    }

    fn park(&self, mailbox: String, wait: Duration) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        parked.retain(|_, until| *until > now);
        parked.insert(mailbox, now + wait);
    }

    /// # Errors
    /// `Throttled`, while Graph wants nothing to be asked of the mailbox.
    fn unparked(&self, request: &Request<'_>) -> Result<()> {
        let Some(mailbox) = request.mailbox.filter(|_| !request.insist) else {
            return Ok(());
        };
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let left = parked
            .get(&mailbox.folded())
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero());
        left.map_or(Ok(()), |left| Err(of_answer(429, b"", Some(left), false)))
    }

    async fn signed_in(&self, request: &Request<'_>) -> Result<HttpResponse> {
        let token = self.tokens.token(request.insist).await?;
        let answer = self.once(request, &token).await?;
        if answer.status.as_u16() != 401 {
            return judged(answer, request);
        }
        let fresh = self.tokens.another(&token, request.insist).await?;
        judged(self.once(request, &fresh).await?, request)
    }

    async fn once(&self, request: &Request<'_>, token: &AccessToken) -> Result<HttpResponse> {
        let headers = headers(request, token)?;
        let sent = self
            .http
            .request(request.method.clone(), &request.url, headers, Vec::new())
            .await;
        let answer = sent.map_err(|failure| narrowed(failure, request.mailbox.is_some()))?;
        tracing::debug!(
            status = answer.status.as_u16(),
            bytes = answer.body.len(),
            request_id = answer.header("request-id").unwrap_or("none"),
            "Graph answered."
        );
        Ok(answer)
    }
}

fn headers(request: &Request<'_>, token: &AccessToken) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let authorization = token
        .header()
        .ok_or_else(|| protocol("a token that no header can hold"))?;
    headers.insert(header::AUTHORIZATION, authorization);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let prefer = match request.page_size {
        Some(size) => format!("{PREFER}, odata.maxpagesize={size}"),
        None => PREFER.to_owned(),
    };
    if let Ok(value) = HeaderValue::from_str(&prefer) {
        headers.insert(HeaderName::from_static("prefer"), value);
    }
    // Microsoft's support finds a request by it.
    if let Ok(value) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert(HeaderName::from_static("client-request-id"), value);
    }
    Ok(headers)
}

fn judged(answer: HttpResponse, request: &Request<'_>) -> Result<HttpResponse> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let error = of_answer(
        answer.status.as_u16(),
        &answer.body,
        answer.retry_after(),
        request.of_item,
    );
    if error.kind != ErrorKind::NotFound && error.kind != ErrorKind::Throttled {
        tracing::debug!(
            status = answer.status.as_u16(),
            code = error.code,
            request_id = answer.header("request-id").unwrap_or("none"),
            "Graph refused a request."
        );
    }
    Err(error)
}

/// What an error says about how busy the service is.
fn load(error: &Error) -> Load {
    match (error.kind, error.scope) {
        (ErrorKind::Throttled, _) if error.code.starts_with("graph.token") => Load::Fine,
        (ErrorKind::Throttled, _) => Load::BudgetSpent(error.wait()),
        (ErrorKind::Transient, Scope::Calendar) if error.wait().is_some() => {
            Load::ServerBusy(error.wait())
        }
        (ErrorKind::Transient, Scope::Connection) => Load::Unreachable,
        _ => Load::Fine,
    }
}

/// An answer that is too large, too slow or broken off is a matter of the mailbox that was asked: others go on.
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
