//! One call: the certificate and the pace.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use calbridge_core::connector::{Context, Error, ErrorKind, Receipt, Result, Scope};
use calbridge_core::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use calbridge_core::http::{Cause, CertificateFacts, HttpClient};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;

use crate::answer::{Why, unanswered, understand};
use crate::config::{Holder, PlannerSettings};
use crate::map;
use crate::pace::Pace;
use crate::soap::Element;
use crate::wire::{self, Caller, Operation, Request};

/// After so long the certificate's files are read again, so that a renewed one is taken up.
const RELOAD_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Calls of so many calendars that fail with none that goes well between are the connection's trouble. One
/// calendar alone, however often it fails, is not.
const CONNECTION_TROUBLE: usize = 3;
/// So long a write waits for its turn; then the caller is told to come back.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// So long a listing waits for its turn: to give it up would lose the pages that are there already.
const LIST_PATIENCE: Duration = Duration::from_secs(90);

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
    /// Calendars whose calls were answered badly, or not at all, since the last good answer.
    bad_answers: Mutex<HashSet<String>>,
}

/// An HTTP client with the certificate that was chosen.
#[derive(Debug)]
pub(crate) struct Session {
    http: HttpClient,
    pub(crate) facts: CertificateFacts,
    loaded: Timestamp,
    /// Whether the server refused it, so that a renewed one is looked for.
    stale: bool,
}

impl Session {
    /// Whether the files need not be read now.
    fn fresh_at(&self, now: Timestamp) -> bool {
        // A certificate that expires while in use is a reason to look at once, but not again and again.
        let expired_in_use = self.facts.not_after < now && self.loaded <= self.facts.not_after;
        !self.stale && !expired_in_use && now.duration_since(self.loaded).abs() < RELOAD_AFTER
    }

    /// The same certificate and connections.
    fn with(&self, loaded: Timestamp, stale: bool) -> Self {
        Self {
            http: self.http.clone(),
            facts: self.facts.clone(),
            loaded,
            stale,
        }
    }
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
            bad_answers: Mutex::new(HashSet::new()),
            settings,
            context,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    /// The session, with the certificate's files read within the last hour. Validity is not looked at.
    ///
    /// If the files cannot be read again, what was read before goes on while its certificate is valid.
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
            let holder = Holder::parse(&settings.request_user);
            let identity = settings
                .certificate
                .load_preferring(&context, now, |facts| holder_of(facts) == holder)?;
            Ok::<_, Error>(Session {
                http: HttpClient::build(&settings.http, Some(&identity), &context)?,
                facts: identity.facts().clone(),
                loaded: now,
                stale: false,
            })
        })
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Panicked,
                Scope::Connection,
                "planner.panicked",
                "reading the client certificate ended unexpectedly",
            ))
        });
        let session = match (built, self.held_session()) {
            (Ok(session), _) => session,
            (Err(error), Some(held)) if held.facts.valid_at(now) => {
                tracing::warn!(
                    connection = %self.context.connection,
                    code = %error.code,
                    %error,
                    "The client certificate cannot be read again; the one in use goes on."
                );
                held.with(now, false)
            }
            (Err(error), _) => return Err(error),
        };
        let session = Arc::new(session);
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        Ok(session)
    }

    fn held_session(&self) -> Option<Arc<Session>> {
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fresh_session(&self) -> Option<Arc<Session>> {
        let now = self.now();
        self.held_session().filter(|session| session.fresh_at(now))
    }

    /// The certificate's files are read again with the next call.
    fn doubt(&self, session: &Session) {
        let mut held = self.session.write().unwrap_or_else(PoisonError::into_inner);
        // Another call may have found a newer one meanwhile.
        if let Some(now) = held.as_mut()
            && now.loaded == session.loaded
        {
            *now = Arc::new(now.with(now.loaded, true));
        }
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
        let holder = holder_of(facts);
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
        let patience = if operation == Operation::GetEvents {
            LIST_PATIENCE
        } else {
            WRITE_PATIENCE
        };
        // The turn comes before the permit: a listing that waits for its turn must not hold up writes.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(not_tried(stopping())),
            turn = self.pace.turn(patience) => turn.map_err(|wait| not_tried(
                Error::new(
                    ErrorKind::Paced,
                    Scope::Connection,
                    "planner.pace",
                    "as many calls were made as `calls_per_minute` allows",
                )
                .retry_after(wait),
            ))?,
        }
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(not_tried(stopping())),
            permit = self.permits.acquire() => permit,
        };
        let _permit = permit.map_err(|_| not_tried(stopping()))?;

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
            Some(Err(failure)) => {
                if matches!(
                    failure.cause,
                    Cause::TlsClientRefused | Cause::TlsLateClientAuth
                ) {
                    // A renewed certificate may lie there already.
                    self.doubt(&session);
                }
                Err(unanswered(&failure))
            }
            Some(Ok(response)) => {
                let date = response.date();
                let server = response.header("server").map(str::to_owned);
                match understand(operation, &response) {
                    Ok(element) => Ok((element, date, server)),
                    Err(wrong) => {
                        let (why, error) = *wrong;
                        return Err(Box::new(self.failed(
                            operation, request, why, error, started, ended, events, date,
                        )));
                    }
                }
            }
        };
        match read {
            Ok((response, date, server)) => {
                self.bad_answers().clear();
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
                self.failed(operation, request, why, error, started, ended, events, None),
            )),
        }
    }

    fn bad_answers(&self) -> MutexGuard<'_, HashSet<String>> {
        self.bad_answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::too_many_arguments)]
    fn failed(
        &self,
        operation: Operation,
        request: &Request<'_>,
        why: Why,
        mut error: Error,
        started: Timestamp,
        ended: Timestamp,
        events: usize,
        date: Option<Timestamp>,
    ) -> Failed {
        // What was asked may have been the reason: then it is the calendar's trouble, not the others'.
        if why.may_be_the_calendars()
            && let Some(address) = request.first_address()
            && error.kind != ErrorKind::Cancelled
        {
            let mut bad = self.bad_answers();
            bad.insert(address.to_lowercase());
            if bad.len() < CONNECTION_TROUBLE {
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
}

fn holder_of(facts: &CertificateFacts) -> Option<Holder> {
    Holder::of_subject(
        facts.subject_serial.as_deref(),
        facts.organization.as_deref(),
    )
}

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
