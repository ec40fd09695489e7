//! One call: the certificate, the pace, and what a failure means.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use calbridge_core::connector::{Context, Error, ErrorKind, Receipt, Result, Scope};
use calbridge_core::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use calbridge_core::http::{
    Cause, CertificateFacts, HttpClient, HttpFailure, HttpResponse, StatusCode,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::codes::{self, Access};
use crate::config::{Holder, PlannerSettings};
use crate::map;
use crate::pace::Pace;
use crate::soap::Element;
use crate::wire::{self, Answer, Caller, Fault, Operation, Request, WireError};

/// After so long the certificate's files are read again, so that a renewed one is taken up.
const RELOAD_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// The longest wait that a server's Retry-After is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// So many calls that fail one after the other, for whatever calendars, are the connection's trouble.
const CONNECTION_TROUBLE: u32 = 3;

/// Makes calls.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) settings: PlannerSettings,
    pub(crate) context: Context,
    pub(crate) zone: TimeZone,
    session: RwLock<Option<Arc<Session>>>,
    /// Held while the certificate's files are read, so that calls that start together read them once.
    loading: tokio::sync::Mutex<()>,
    permits: Semaphore,
    pace: Pace,
    /// How many calls were answered badly, or not at all, since the last good answer.
    bad_answers: AtomicU32,
}

/// An HTTP client with the certificate that was chosen.
#[derive(Debug)]
pub(crate) struct Session {
    http: HttpClient,
    pub(crate) facts: CertificateFacts,
    loaded: Timestamp,
}

/// An answered call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The response element.
    pub(crate) response: Element,
    pub(crate) receipt: Receipt,
    /// The server's clock.
    pub(crate) date: Option<Timestamp>,
    /// The `Server` header.
    pub(crate) server: Option<String>,
}

/// A call that failed as a whole.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: Why,
    pub(crate) error: Error,
    /// Absent if the call was not even tried.
    pub(crate) receipt: Option<Receipt>,
    /// The server's clock, if it answered.
    pub(crate) date: Option<Timestamp>,
}

/// What kind of failure it is: what becomes of the events, and whether smaller calls may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The settings, the certificate or the pace keep us from calling.
    NotTried,
    /// Nothing reached the service.
    NotSent(Cause),
    /// The service's front door turned us away.
    Denied(StatusCode),
    /// The service knows us, and does not let us act.
    Access(Access),
    /// The service asks to come back later.
    Busy,
    /// The service answered with a fault.
    Fault(Fault),
    /// The question or the answer was too large.
    TooLarge,
    /// No answer in time.
    Timeout,
    /// Sent, and no usable answer.
    Unclear,
}

impl Why {
    /// Whether the service may have done what was asked.
    pub(crate) fn may_have_been_done(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.details.is_none(),
            Self::TooLarge | Self::Timeout | Self::Unclear => true,
            Self::NotTried | Self::NotSent(_) | Self::Denied(_) | Self::Access(_) | Self::Busy => {
                false
            }
        }
    }

    /// Whether what was asked, rather than the connection, may be the reason.
    fn may_be_the_calendars(&self) -> bool {
        matches!(
            self,
            Self::Fault(_) | Self::TooLarge | Self::Timeout | Self::Unclear
        )
    }

    /// Whether a smaller call may fare better.
    pub(crate) fn is_about_size(&self) -> bool {
        matches!(self, Self::TooLarge | Self::Timeout)
    }
}

impl Client {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(settings: PlannerSettings, context: Context) -> Result<Self> {
        Ok(Self {
            zone: map::zone()?,
            permits: Semaphore::new(settings.parallel()),
            pace: Pace::per_minute(settings.calls_per_minute),
            session: RwLock::new(None),
            loading: tokio::sync::Mutex::new(()),
            bad_answers: AtomicU32::new(0),
            settings,
            context,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// The session, with the certificate's files read within the last hour. Validity is not looked at.
    ///
    /// # Errors
    /// `Config` for files, passwords and HTTP settings that do not work.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        if let Some(session) = self.fresh_session() {
            return Ok(session);
        }
        let _loading = self.loading.lock().await;
        if let Some(session) = self.fresh_session() {
            return Ok(session);
        }
        let now = self.now();
        let settings = self.settings.clone();
        let context = self.context.clone();
        // Files, and keys derived from a password, are slow enough to be kept off the runtime's threads.
        let built = tokio::task::spawn_blocking(move || {
            let identity = settings.certificate.load(&context, now)?;
            Ok::<_, Error>(Session {
                http: HttpClient::build(&settings.http, Some(&identity), &context)?,
                facts: identity.facts().clone(),
                loaded: now,
            })
        })
        .await
        .map_err(|_| {
            Error::new(
                ErrorKind::Panicked,
                Scope::Connection,
                "planner.panicked",
                "reading the client certificate ended unexpectedly",
            )
        })??;
        let session = Arc::new(built);
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        Ok(session)
    }

    fn fresh_session(&self) -> Option<Arc<Session>> {
        let now = self.now();
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .filter(|session| now.duration_since(session.loaded).abs() < RELOAD_AFTER)
    }

    fn forget_session(&self) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the certificate may be used by the configured caller.
    ///
    /// # Errors
    /// `Config`: it has expired, is not valid yet, or belongs to somebody else.
    pub(crate) fn admit(&self, facts: &CertificateFacts) -> Result<()> {
        let wrong = |code: &str, message: &str| {
            Err(Error::new(
                ErrorKind::Config,
                Scope::Connection,
                code,
                message,
            ))
        };
        let now = self.now();
        if now > facts.not_after {
            return wrong(
                "planner.certificate-expired",
                "the client certificate has expired; order a new one, have it opened by STAR and lay it beside the old one",
            );
        }
        if now < facts.not_before {
            return wrong(
                "planner.certificate-not-yet-valid",
                "the client certificate is not valid yet; check this computer's clock",
            );
        }
        let holder = Holder::of_subject(
            facts.subject_serial.as_deref(),
            facts.organization.as_deref(),
        );
        if holder.is_none() {
            return wrong(
                "planner.certificate-no-oces",
                "the client certificate is no OCES function or system certificate: its subject has neither `CVR:...-FID:...` nor the OCES3 form",
            );
        }
        if holder != Holder::parse(&self.settings.request_user) {
            return wrong(
                "planner.request-user",
                "`request_user` is not the holder of the client certificate; take it over from the certificate's subject, or use the other certificate",
            );
        }
        Ok(())
    }

    /// Makes one call. `events` is how many it carries, for receipts.
    pub(crate) async fn call(
        &self,
        operation: Operation,
        request: &Request<'_>,
        events: usize,
    ) -> Result<Call, Box<Failed>> {
        let not_tried = |error| {
            Box::new(Failed {
                why: Why::NotTried,
                error,
                receipt: None,
                date: None,
            })
        };
        let shutdown = &self.context.shutdown;
        let session = self.session().await.map_err(not_tried)?;
        self.admit(&session.facts).map_err(not_tried)?;
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(not_tried(stopping())),
            permit = self.permits.acquire() => permit,
        };
        let _permit = permit.map_err(|_| not_tried(stopping()))?;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(not_tried(stopping())),
            turn = self.pace.turn() => turn.map_err(|wait| not_tried(
                Error::new(
                    ErrorKind::Throttled,
                    Scope::Connection,
                    "planner.pace",
                    "as many calls were made as `calls_per_minute` allows",
                )
                .retry_after(wait),
            ))?,
        }

        let started = self.now();
        let caller = Caller {
            request_user: self.settings.request_user.trim(),
            jobcenter: &self.settings.jobcenter,
            registered: map::offset_text(started, &self.zone),
        };
        let envelope = wire::envelope(operation, &caller, request).into_bytes();
        tracing::debug!(
            code = 6103,
            operation = operation.name(),
            events,
            "Calling Planner."
        );
        let post = session
            .http
            .post(&self.settings.url, headers(operation), envelope);
        let answered = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            answered = post => Some(answered),
        };
        let ended = self.now();
        let read = match answered {
            None => Err((Why::Unclear, stopping())),
            Some(Err(failure)) => Err(self.unanswered(&failure)),
            Some(Ok(response)) => {
                let date = response.date();
                let server = response.header("server").map(str::to_owned);
                match understand(operation, &response) {
                    Ok(element) => Ok((element, date, server)),
                    Err(wrong) => {
                        let (why, error) = *wrong;
                        return Err(Box::new(
                            self.failed(operation, why, error, started, ended, events, date),
                        ));
                    }
                }
            }
        };
        match read {
            Ok((response, date, server)) => {
                self.bad_answers.store(0, Ordering::Relaxed);
                let reference = wire::reference(&response);
                tracing::info!(
                    code = 6104,
                    operation = operation.name(),
                    events,
                    reference = reference.as_deref().unwrap_or("none"),
                    "Planner answered."
                );
                Ok(Call {
                    response,
                    date,
                    server,
                    receipt: Receipt {
                        operation: operation.name().to_owned(),
                        reference,
                        started,
                        ended,
                        events,
                        error: None,
                    },
                })
            }
            Err((why, error)) => Err(Box::new(
                self.failed(operation, why, error, started, ended, events, None),
            )),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn failed(
        &self,
        operation: Operation,
        why: Why,
        mut error: Error,
        started: Timestamp,
        ended: Timestamp,
        events: usize,
        date: Option<Timestamp>,
    ) -> Failed {
        // What was asked may have been the reason: then it is the calendar's trouble, not the others'.
        if why.may_be_the_calendars()
            && operation != Operation::GetResources
            && error.kind != ErrorKind::Cancelled
        {
            let in_a_row = self.bad_answers.fetch_add(1, Ordering::Relaxed) + 1;
            if in_a_row < CONNECTION_TROUBLE {
                error.scope = Scope::Calendar;
            }
        }
        if error.kind != ErrorKind::Cancelled {
            tracing::error!(
                code = %error.code,
                operation = operation.name(),
                events,
                %error,
                "A call to Planner failed."
            );
        }
        Failed {
            why,
            receipt: Some(Receipt {
                operation: operation.name().to_owned(),
                reference: None,
                started,
                ended,
                events,
                error: Some(error.clone()),
            }),
            error,
            date,
        }
    }

    fn unanswered(&self, failure: &HttpFailure) -> (Why, Error) {
        if failure.cause == Cause::TlsClientRefused {
            // A renewed certificate may lie there already.
            self.forget_session();
        }
        let (why, code, kind) = match failure.cause {
            Cause::Timeout => (Why::Timeout, codes::TIMEOUT, ErrorKind::Transient),
            Cause::TooLarge => (Why::TooLarge, codes::CALL_FAILED, ErrorKind::Protocol),
            cause if cause.may_have_been_processed() => {
                (Why::Unclear, codes::WEB, ErrorKind::Transient)
            }
            cause => (Why::NotSent(cause), codes::CALL_FAILED, cause.kind()),
        };
        let mut message = failure.to_string();
        if failure.cause == Cause::TlsClientRefused {
            message = format!("{message}; {CERTIFICATE_ADVICE}");
        }
        (why, Error::new(kind, Scope::Connection, code, message))
    }
}

/// What to do where the certificate is not known.
pub(crate) const CERTIFICATE_ADVICE: &str = "log on once with the certificate at STAR's portal so that it becomes known, then ask STAR to open access for it, which may take weeks";

fn stopping() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        Scope::Connection,
        "cancelled",
        "the program is stopping",
    )
}

fn headers(operation: Operation) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/xml; charset=utf-8"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("text/xml"));
    if let Ok(action) = HeaderValue::from_str(&operation.action()) {
        headers.insert("soapaction", action);
    }
    headers
}

fn understand(
    operation: Operation,
    response: &HttpResponse,
) -> std::result::Result<Element, Box<(Why, Error)>> {
    // SOAP 1.1 answers with 200, and with 500 for faults; some front doors send faults with other statuses.
    let wrong = match wire::open(operation, &response.body) {
        Ok(Answer::Fault(fault)) => faulted(fault),
        Ok(Answer::Response(element)) if response.status == StatusCode::OK => return Ok(element),
        Err(error) if response.status == StatusCode::OK => unreadable(&error),
        _ => by_status(response),
    };
    Err(Box::new(wrong))
}

fn unreadable(error: &WireError) -> (Why, Error) {
    (
        Why::Unclear,
        Error::new(
            ErrorKind::Protocol,
            Scope::Connection,
            codes::WEB,
            format!("Planner's answer is not what the service's contract says: {error}"),
        ),
    )
}

fn faulted(fault: Fault) -> (Why, Error) {
    // The texts may name persons; they are for searching with the debug level on.
    tracing::debug!(
        fault = %fault.text,
        details = fault.details.as_ref().and_then(|details| details.message.as_deref()),
        "Planner's fault."
    );
    let (code, message) = match &fault.details {
        None => (
            codes::FAULT,
            format!(
                "Planner answered with a SOAP fault ({}) without details",
                shown(&fault.code)
            ),
        ),
        Some(details) => (
            codes::FAULT_DETAILS,
            match details.code {
                Some(number) => {
                    format!("Planner answered with a SOAP fault, error code {number}")
                }
                None => "Planner answered with a SOAP fault without error code".to_owned(),
            },
        ),
    };
    let details = fault
        .details
        .as_ref()
        .and_then(|details| details.message.as_deref());
    if let Some(text) = details
        && let Some(access) = codes::access(text)
    {
        let advice = match access {
            Access::NotOpened => {
                "the client certificate is known, but access is not opened for it; ask STAR to open it"
            }
            Access::WrongAuthority => {
                "the client certificate may not act for this jobcenter; check `jobcenter`, or ask STAR for the authority"
            }
            Access::WrongUser => {
                "`request_user` is not what STAR has registered for the client certificate"
            }
        };
        let text = codes::harmless(text).map_or_else(String::new, |text| format!(": {text}"));
        let error = Error::new(
            ErrorKind::Permission,
            Scope::Connection,
            code,
            format!("{advice} ({message}{text})"),
        );
        return (Why::Access(access), error);
    }
    let error = Error::new(ErrorKind::Transient, Scope::Connection, code, message);
    (Why::Fault(fault), error)
}

/// A faultcode as a word; whatever else stands there is not repeated.
fn shown(code: &str) -> &str {
    if !code.is_empty() && code.len() <= 40 && code.bytes().all(|b| b.is_ascii_alphanumeric()) {
        code
    } else {
        "unnamed"
    }
}

fn by_status(response: &HttpResponse) -> (Why, Error) {
    let status = response.status;
    let (why, kind, code, advice) = match status.as_u16() {
        401 | 403 => (
            Why::Denied(status),
            ErrorKind::Permission,
            codes::CALL_FAILED,
            "access is denied; check with STAR that the certificate is known and opened for this service and jobcenter",
        ),
        404 | 410 => (
            Why::Denied(status),
            ErrorKind::Config,
            codes::CALL_FAILED,
            "there is no such service at this address; check `url`",
        ),
        300..=399 => (
            Why::Denied(status),
            ErrorKind::Config,
            codes::CALL_FAILED,
            "the service redirects, which is not followed with a certificate; set `url` to the new address",
        ),
        408 | 504 => (
            Why::Timeout,
            ErrorKind::Transient,
            codes::TIMEOUT,
            "the service did not answer in time",
        ),
        413 => (
            Why::TooLarge,
            ErrorKind::Transient,
            codes::CALL_FAILED,
            "the call is too large for the server",
        ),
        429 => (
            Why::Busy,
            ErrorKind::Throttled,
            codes::WEB,
            "the server asks for fewer calls; lower `calls_per_minute`",
        ),
        502 | 503 => (
            Why::Busy,
            ErrorKind::Transient,
            codes::WEB,
            "the service is not available now",
        ),
        _ => (
            Why::Unclear,
            ErrorKind::Transient,
            codes::WEB,
            "that is no answer of this service",
        ),
    };
    let mut error = Error::new(
        kind,
        Scope::Connection,
        code,
        format!(
            "Planner's server answered with HTTP status {}: {advice}",
            status.as_u16()
        ),
    );
    if let Some(wait) = retry_after(response) {
        error = error.retry_after(wait);
    }
    (why, error)
}

/// Retry-After in seconds or as a date, relative to the server's own clock.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let text = response.header(RETRY_AFTER.as_str())?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_timestamp(text)
                .ok()?;
            Duration::try_from(until.duration_since(response.date()?)).ok()?
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}
