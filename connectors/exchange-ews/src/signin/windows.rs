//! NTLM and Negotiate over HTTP ([MS-NTHT], RFC 4559): a connection is signed in, and the requests on it carry no
//! credentials of their own.
//!
//! Each lane is one TCP connection and never another: a step of a sign-in cannot go astray, and no connection is ever
//! used by two identities. As many lanes are made as there are requests at the same time; those that are not in use
//! wait for the next request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calbridge_core::connector::{Context, Error};
use calbridge_core::http::{
    HeaderMap, HeaderValue, HttpAnswer, HttpFailure, HttpLane, HttpResponse, HttpSettings,
    LaneFailure, Method, StatusCode, header,
};
use calbridge_core::secret::SecretRef;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

use super::binding;
use super::breaker::{Breaker, Turn};
use super::challenge::{self, Offer};
use super::handshake::{Handshake, Identity, Mechanism};
use super::trouble::{Offered, Trouble};

/// The most steps of one sign-in. NTLM and Kerberos have two at most.
const MOST_STEPS: usize = 6;
/// How long a connection may rest: less than IIS keeps it (120 s), and the HTTP library (90 s).
const LONGEST_REST: Duration = Duration::from_secs(75);
/// How often a sign-in is begun anew where the connection ended between its steps.
const MOST_TRIES: usize = 2;

/// What a request fails of.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There was no answer.
    Http(HttpFailure),
    /// The account is not signed in, or the settings are wrong.
    Error(Error),
}

impl From<HttpFailure> for Failure {
    fn from(failure: HttpFailure) -> Self {
        Self::Http(failure)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Error(trouble.into())
    }
}

/// What a sign-in on one lane fails of.
enum Broken {
    Trouble(Trouble),
    Http(HttpFailure),
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<HttpFailure> for Broken {
    fn from(failure: HttpFailure) -> Self {
        Self::Http(failure)
    }
}

impl From<LaneFailure> for Broken {
    fn from(failure: LaneFailure) -> Self {
        match failure {
            LaneFailure::Spent => Self::Trouble(Trouble::Connection),
            LaneFailure::Http(failure) => Self::Http(failure),
        }
    }
}

/// An account of Windows.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) mechanism: Mechanism,
    pub(crate) user: String,
    pub(crate) password: SecretRef,
    /// The host of the service principal name.
    pub(crate) service: String,
    /// Whether the channel is named.
    pub(crate) binding: bool,
}

/// Sends requests on connections that are signed in.
#[derive(Debug)]
pub(crate) struct Windows {
    account: Account,
    url: Url,
    http: HttpSettings,
    context: Context,
    breaker: Breaker,
    /// Signed in, and not in use since then.
    idle: Mutex<Vec<(Instant, HttpLane)>>,
}

/// A request that may have to be sent more than once.
struct Request<'a> {
    headers: &'a HeaderMap,
    document: &'a [u8],
    turn: Turn,
    /// Whether the answer is read as it comes.
    streams: bool,
}

impl Windows {
    pub(crate) fn new(
        account: Account,
        url: Url,
        http: HttpSettings,
        context: Context,
        breaker: Breaker,
    ) -> Self {
        Self {
            account,
            url,
            http,
            context,
            breaker,
            idle: Mutex::default(),
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// No answer, or the account is not signed in.
    pub(crate) async fn post(
        &self,
        headers: &HeaderMap,
        document: &[u8],
        insist: bool,
    ) -> Result<HttpResponse, Failure> {
        let request = Request {
            headers,
            document,
            turn: if insist { Turn::Insisting } else { Turn::Alone },
            streams: false,
        };
        let (answer, lane) = self.send(&request).await?;
        let answer = answer.whole().await?;
        self.idle().push((Instant::now(), lane));
        Ok(answer)
    }

    /// Sends a request whose answer is read as it comes. Its connection is used for nothing else.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub(crate) async fn open(
        &self,
        headers: &HeaderMap,
        document: &[u8],
    ) -> Result<HttpAnswer, Failure> {
        let request = Request {
            headers,
            document,
            turn: Turn::Alone,
            streams: true,
        };
        let (answer, _) = self.send(&request).await?;
        Ok(answer)
    }

    /// Gives up the connections so far.
    pub(crate) fn forget_connections(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, HttpLane)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, request: &Request<'_>) -> Result<(HttpAnswer, HttpLane), Failure> {
        loop {
            let Some((since, lane)) = self.idle().pop() else {
                break;
            };
            if since.elapsed() > LONGEST_REST {
                // Those before it are older still.
                self.idle().clear();
                break;
            }
            match self.ask(&lane, request.headers.clone(), request).await {
                // The server has closed it meanwhile, and the others as well, if it was started anew.
                Err(LaneFailure::Spent) => self.idle().clear(),
                Err(LaneFailure::Http(failure)) => return Err(failure.into()),
                Ok(answer) if answer.status() != StatusCode::UNAUTHORIZED => {
                    return Ok((answer, lane));
                }
                Ok(answer) => return self.sign_in(lane, answer, request).await,
            }
        }
        let lane = self.lane()?;
        // Asks what is offered, and for the certificate, with nothing that would be worth anything to somebody else.
        let answer = match self.probe(&lane, request.headers.clone()).await {
            Ok(answer) => answer,
            Err(LaneFailure::Spent) => return Err(Trouble::Connection.into()),
            Err(LaneFailure::Http(failure)) => return Err(failure.into()),
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED => self.sign_in(lane, answer, request).await,
            // A server that asks for no sign-in finds fault with an empty request.
            status if status.is_success() || matches!(status.as_u16(), 400 | 411 | 500) => {
                answer.whole().await?;
                self.unasked(lane, request).await
            }
            _ => Ok((answer, lane)),
        }
    }

    /// The server let an empty request in.
    async fn unasked(
        &self,
        lane: HttpLane,
        request: &Request<'_>,
    ) -> Result<(HttpAnswer, HttpLane), Failure> {
        match self.ask(&lane, request.headers.clone(), request).await {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
                self.sign_in(lane, answer, request).await
            }
            Ok(answer) => Ok((answer, lane)),
            Err(LaneFailure::Spent) => Err(Trouble::Connection.into()),
            Err(LaneFailure::Http(failure)) => Err(failure.into()),
        }
    }

    /// Signs the lane in, and sends the request on it. `asked` is the answer that asks for it.
    async fn sign_in(
        &self,
        lane: HttpLane,
        asked: HttpAnswer,
        request: &Request<'_>,
    ) -> Result<(HttpAnswer, HttpLane), Failure> {
        let scheme = self.account.mechanism.scheme();
        let offers = challenge::offers(fields(asked.headers()));
        if challenge::token(&offers, scheme)?.is_none() {
            return Err(Trouble::NotOffered {
                wanted: scheme,
                offered: offered(&offers),
            }
            .into());
        }
        let mut certificate = asked.certificate().map(<[u8]>::to_vec);
        let ends = says_close(asked.headers());
        asked.whole().await?;
        let password = self.context.secret(&self.account.password)?;
        let secret = SecretString::from(format!(
            "{}\0{}",
            self.account.user,
            password.expose_secret()
        ));
        let identity = Identity {
            user: self.account.user.clone(),
            password,
        };
        let mut lane = if ends { self.lane()? } else { lane };
        let mut tries = 0;
        loop {
            tries += 1;
            let pass = self
                .breaker
                .pass(secret.expose_secret().as_bytes(), request.turn)
                .await?;
            let signed = self
                .steps(&lane, &identity, &mut certificate, request)
                .await;
            match signed {
                Ok(answer) => {
                    pass.used(Some(true));
                    return Ok((answer, lane));
                }
                Err(Broken::Trouble(Trouble::Connection)) if tries < MOST_TRIES => {
                    pass.used(None);
                    lane = self.lane()?;
                }
                Err(Broken::Trouble(trouble)) => {
                    pass.used(trouble.refuses_secret().then_some(false));
                    tracing::debug!(scheme, code = trouble.code(), "A sign-in failed.");
                    return Err(trouble.into());
                }
                Err(Broken::Http(failure)) => {
                    pass.used(None);
                    return Err(failure.into());
                }
            }
        }
    }

    /// The steps of one sign-in. The answer is that to the request itself.
    async fn steps(
        &self,
        lane: &HttpLane,
        identity: &Identity,
        certificate: &mut Option<Vec<u8>>,
        request: &Request<'_>,
    ) -> Result<HttpAnswer, Broken> {
        let mechanism = &self.account.mechanism;
        let scheme = mechanism.scheme();
        let mut handshake = Handshake::new(mechanism, identity, &self.account.service).await?;
        let mut token = handshake
            .step(Vec::new(), self.binding(certificate.as_deref()))
            .await?;
        for number in 1..=MOST_STEPS {
            let proves = mechanism.proves_at(number);
            let mut headers = request.headers.clone();
            headers.insert(header::AUTHORIZATION, authorization(scheme, &token)?);
            // What comes before the proof is answered with 401 in any case.
            let answer = if proves {
                self.ask(lane, headers, request).await?
            } else {
                self.probe(lane, headers).await?
            };
            *certificate = answer.certificate().map(<[u8]>::to_vec);
            if answer.status() != StatusCode::UNAUTHORIZED {
                if proves {
                    return Ok(answer);
                }
                answer.whole().await?;
                return Ok(self.ask(lane, request.headers.clone(), request).await?);
            }
            let offers = challenge::offers(fields(answer.headers()));
            let next = challenge::token(&offers, scheme);
            answer.whole().await?;
            let refused = if matches!(mechanism, Mechanism::Kerberos { .. }) {
                Trouble::TicketRefused
            } else {
                Trouble::Refused
            };
            token = match next {
                Ok(Some(next)) if !next.is_empty() => {
                    let binding = self.binding(certificate.as_deref());
                    let anew = is_challenge(&next);
                    match handshake.step(next, binding).await {
                        Ok(token) => token,
                        // After the proof the server has decided, or begins anew.
                        Err(_) if proves && anew => return Err(Trouble::Steps.into()),
                        Err(_) if proves => return Err(refused.into()),
                        Err(trouble) => return Err(trouble.into()),
                    }
                }
                _ if proves => return Err(refused.into()),
                Err(trouble) => return Err(trouble.into()),
                Ok(_) => return Err(Trouble::Token("is missing").into()),
            };
        }
        Err(Trouble::Steps.into())
    }

    fn binding(&self, certificate: Option<&[u8]>) -> Option<Vec<u8>> {
        certificate
            .filter(|_| self.account.binding)
            .and_then(binding::end_point)
    }

    /// Sends the request.
    async fn ask(
        &self,
        lane: &HttpLane,
        headers: HeaderMap,
        request: &Request<'_>,
    ) -> Result<HttpAnswer, LaneFailure> {
        let document = request.document.to_vec();
        if request.streams {
            lane.open(Method::POST, &self.url, headers, document).await
        } else {
            lane.send(Method::POST, &self.url, headers, document).await
        }
    }

    /// Sends an empty request.
    async fn probe(&self, lane: &HttpLane, headers: HeaderMap) -> Result<HttpAnswer, LaneFailure> {
        lane.send(Method::POST, &self.url, headers, Vec::new())
            .await
    }

    fn lane(&self) -> Result<HttpLane, Failure> {
        Ok(HttpLane::build(&self.http, &self.context)?)
    }
}

/// Whether a token is, or holds, a CHALLENGE_MESSAGE of NTLM.
fn is_challenge(token: &[u8]) -> bool {
    const HEAD: &[u8] = b"NTLMSSP\0\x02";
    token.windows(HEAD.len()).any(|bytes| bytes == HEAD)
}

fn authorization(scheme: &str, token: &[u8]) -> Result<HeaderValue, Trouble> {
    let text = SecretString::from(format!("{scheme} {}", STANDARD.encode(token)));
    let mut value = HeaderValue::from_str(text.expose_secret())
        .map_err(|_| Trouble::Token("cannot be sent on"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The texts of `WWW-Authenticate`.
pub(crate) fn fields(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
}

pub(crate) fn offered(offers: &[Offer<'_>]) -> Offered {
    let has = |scheme: &str| {
        offers
            .iter()
            .any(|offer| offer.scheme.eq_ignore_ascii_case(scheme))
    };
    Offered {
        negotiate: has("Negotiate"),
        ntlm: has("NTLM"),
        basic: has("Basic"),
        bearer: has("Bearer"),
    }
}

/// Whether the server ends the connection after this answer, which is well before a sign-in begins.
fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"))
}
