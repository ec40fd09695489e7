//! OAuth 2.0 client credentials (RFC 6749, 4.4), as hybrid modern authentication and AD FS issue tokens for: the
//! program asks for a token in its own name, keeps it, and asks for the next one before it ends.

use std::time::Duration;

use calbridge_core::connector::{Context, Result};
use calbridge_core::http::{
    HeaderMap, HeaderValue, HttpClient, HttpResponse, HttpSettings, header,
};
use calbridge_core::secret::SecretRef;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::breaker::{Breaker, Turn};
use super::trouble::{EndpointTrouble, Trouble};
use super::windows::Failure;

/// How long before its end a token is replaced, unless it lives so short that this would be most of its life.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// How long a token lives when the endpoint does not say.
const DEFAULT_LIFE: u64 = 3_600;
/// How long nothing is asked for after Exchange refused a token that was just issued.
const REST: SignedDuration = SignedDuration::from_mins(5);

/// The application.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    pub(crate) token_url: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretRef,
    pub(crate) scope: String,
}

/// Keeps a token.
#[derive(Debug)]
pub(crate) struct Tokens {
    application: Application,
    http: HttpClient,
    context: Context,
    breaker: Breaker,
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// When Exchange refused a fresh one.
    refused_at: Option<Timestamp>,
}

/// An access token. Its text stays out of `Debug`.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    value: SecretString,
    issued: Timestamp,
    ends: Timestamp,
}

impl Token {
    /// The value of the Authorization header.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let text = SecretString::from(format!("Bearer {}", self.value.expose_secret()));
        let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let life = self.ends.duration_since(self.issued);
        let margin = MARGIN.min(life / 2);
        // A clock that was set back makes it no fresher.
        self.ends.duration_since(now) <= margin || now < self.issued
    }
}

impl Tokens {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(
        application: Application,
        http: &HttpSettings,
        context: Context,
        breaker: Breaker,
    ) -> Result<Self> {
        Ok(Self {
            application,
            http: HttpClient::build(http, None, &context)?,
            context,
            breaker,
            kept: tokio::sync::Mutex::default(),
        })
    }

    /// The kept token, or a new one.
    ///
    /// # Errors
    /// None is issued.
    pub(crate) async fn token(&self, insist: bool) -> Result<Token, Failure> {
        let mut kept = self.kept.lock().await;
        let now = self.context.clock.now();
        if let Some(token) = &kept.token
            && !token.is_due(now)
        {
            return Ok(token.clone());
        }
        self.renew(&mut kept, insist).await
    }

    /// Exchange has refused a token: another one, unless somebody has it already.
    ///
    /// # Errors
    /// None is issued, or fresh ones are refused too.
    pub(crate) async fn another(&self, refused: &Token, insist: bool) -> Result<Token, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && token.value.expose_secret() != refused.value.expose_secret()
        {
            return Ok(token.clone());
        }
        let resting = kept
            .refused_at
            .is_some_and(|at| self.context.clock.now().duration_since(at).abs() < REST);
        if resting && !insist {
            return Err(Trouble::FreshToken.into());
        }
        self.renew(&mut kept, insist).await
    }

    /// Whether Exchange took a token that was asked for by [`another`](Self::another).
    pub(crate) async fn tried(&self, taken: bool) {
        let now = self.context.clock.now();
        self.kept.lock().await.refused_at = (!taken).then_some(now);
    }

    async fn renew(&self, kept: &mut Kept, insist: bool) -> Result<Token, Failure> {
        let secret = self.context.secret(&self.application.client_secret)?;
        let turn = if insist { Turn::Insisting } else { Turn::Alone };
        let judged = SecretString::from(format!(
            "{}\0{}",
            self.application.client_id,
            secret.expose_secret()
        ));
        let pass = self
            .breaker
            .pass(judged.expose_secret().as_bytes(), turn)
            .await?;
        let form = SecretString::from(
            form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &self.application.client_id)
                .append_pair("client_secret", secret.expose_secret())
                .append_pair("scope", &self.application.scope)
                .finish(),
        );
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self
            .http
            .post(
                &self.application.token_url,
                headers,
                form.expose_secret().as_bytes().to_vec(),
            )
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                pass.used(None);
                return Err(failure.into());
            }
        };
        match read(&answer, self.context.clock.now()) {
            Ok(token) => {
                pass.used(Some(true));
                kept.token = Some(token.clone());
                Ok(token)
            }
            Err(trouble) => {
                pass.used(trouble.refuses_secret().then_some(false));
                Err(trouble.into())
            }
        }
    }
}

/// RFC 6749, 5.1. Some endpoints write the life as text.
#[derive(Deserialize)]
struct Issued {
    access_token: String,
    token_type: String,
    expires_in: Option<serde_json::Value>,
}

/// RFC 6749, 5.2. The description may name what it is about and is not read.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

fn read(answer: &HttpResponse, now: Timestamp) -> Result<Token, Trouble> {
    let status = answer.status.as_u16();
    if answer.status.is_success() {
        let issued: Issued = serde_json::from_slice(&answer.body)
            .map_err(|_| Trouble::Endpoint(EndpointTrouble::Answer))?;
        let life = match &issued.expires_in {
            Some(serde_json::Value::Number(number)) => number.as_u64(),
            Some(serde_json::Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        }
        .unwrap_or(DEFAULT_LIFE)
        // A day is long enough to believe.
        .min(24 * 3_600);
        let ends = now
            .checked_add(Duration::from_secs(life))
            .unwrap_or(Timestamp::MAX);
        let token = Token {
            value: SecretString::from(issued.access_token),
            issued: now,
            ends,
        };
        let usable = issued.token_type.eq_ignore_ascii_case("bearer")
            && !token.value.expose_secret().is_empty()
            && token.header().is_some();
        return usable
            .then_some(token)
            .ok_or(Trouble::Endpoint(EndpointTrouble::Answer));
    }
    let error = serde_json::from_slice::<Refused>(&answer.body).ok();
    let trouble = match error.as_ref().map(|refused| refused.error.as_str()) {
        Some("invalid_client" | "unauthorized_client") => EndpointTrouble::Client,
        Some("invalid_scope" | "invalid_target" | "invalid_resource") => EndpointTrouble::Scope,
        Some("temporarily_unavailable" | "server_error" | "slow_down") => {
            EndpointTrouble::Down(status)
        }
        _ if status == 401 => EndpointTrouble::Client,
        _ if status == 429 || status >= 500 => EndpointTrouble::Down(status),
        _ => EndpointTrouble::Refused(status),
    };
    Err(Trouble::Endpoint(trouble))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use calbridge_core::http::StatusCode;

    use super::*;

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn now() -> Timestamp {
        "2026-11-20T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_token_is_due_before_it_ends() {
        let body = "{\"token_type\":\"Bearer\",\"access_token\":\"a.b.c\",\"expires_in\":3599}";
        let token = read(&answer(200, body), now()).unwrap();
        let after = |seconds| now() + SignedDuration::from_secs(seconds);
        assert!(!token.is_due(after(3_000)));
        assert!(token.is_due(after(3_400)));
        assert!(token.is_due(after(-60)), "the clock was set back");
        let short = "{\"token_type\":\"bearer\",\"access_token\":\"x\",\"expires_in\":\"60\"}";
        let token = read(&answer(200, short), now()).unwrap();
        assert!(!token.is_due(after(20)) && token.is_due(after(40)));
    }

    #[test]
    fn refusals_are_told_apart() {
        let trouble = |status, body: &str| match read(&answer(status, body), now()).unwrap_err() {
            Trouble::Endpoint(trouble) => trouble,
            other => panic!("{other}"),
        };
        let refused = |name: &str| format!("{{\"error\":\"{name}\",\"error_description\":\"x\"}}");
        assert_eq!(
            trouble(400, &refused("invalid_client")),
            EndpointTrouble::Client
        );
        assert_eq!(trouble(401, ""), EndpointTrouble::Client);
        assert_eq!(
            trouble(400, &refused("invalid_scope")),
            EndpointTrouble::Scope
        );
        assert_eq!(
            trouble(400, &refused("invalid_grant")),
            EndpointTrouble::Refused(400)
        );
        assert_eq!(trouble(503, "<html>"), EndpointTrouble::Down(503));
        assert_eq!(trouble(200, "<html>"), EndpointTrouble::Answer);
        let mac = "{\"token_type\":\"mac\",\"access_token\":\"x\"}";
        assert_eq!(trouble(200, mac), EndpointTrouble::Answer);
        let broken = "{\"token_type\":\"bearer\",\"access_token\":\"x\\n\"}";
        assert_eq!(trouble(200, broken), EndpointTrouble::Answer);
    }

    #[test]
    fn a_token_is_not_in_debug() {
        let body = "{\"token_type\":\"Bearer\",\"access_token\":\"hush.hush\"}";
        let token = read(&answer(200, body), now()).unwrap();
        assert!(!format!("{token:?} {:?}", token.header()).contains("hush"));
    }
}
