//! OAuth 2.0 client credentials (RFC 6749, 4.4): a program asks for a token in its own name, with a secret or with an
//! assertion that it signs with the key of a registered certificate (RFC 7521, RFC 7523).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use super::{ClientIdentity, HttpClient, HttpFailure, HttpResponse};

/// How long before its end a token is replaced, unless it lives so short that this would be most of its life.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// How long a token lives when the endpoint does not say.
const DEFAULT_LIFE: u64 = 3_600;
/// A longer life is not believed.
const LONGEST_LIFE: u64 = 24 * 3_600;
/// How long an assertion is good. Entra ID takes ten minutes at most.
const ASSERTION_LIFE: SignedDuration = SignedDuration::from_mins(5);
/// How far the endpoint's clock may be behind ours.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

/// What a program proves itself with.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// A secret that the endpoint knows too.
    Secret(&'a SecretString),
    /// A certificate that is registered there, with its key.
    Certificate(&'a ClientIdentity),
}

/// What is asked for, and from whom.
#[derive(Debug, Clone, Copy)]
pub struct ClientCredentials<'a> {
    /// The token endpoint.
    pub endpoint: &'a Url,
    /// The program's id there.
    pub client_id: &'a str,
    /// What the token is for.
    pub scope: &'a str,
    /// The proof.
    pub credential: Credential<'a>,
}

/// Why no token was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoToken {
    /// There was no answer.
    NoAnswer(HttpFailure),
    /// The endpoint says no (RFC 6749, 5.2). Its description may name what it is about and is not kept.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The OAuth error, such as `invalid_client`.
        error: Option<String>,
        /// Entra ID's own numbers, such as 7000215; the most telling one first.
        codes: Vec<u32>,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// What it answered is no token.
    Unreadable,
    /// No assertion can be signed with the certificate's key.
    UnfitKey,
}

/// An access token. Its text stays out of `Debug`.
#[derive(Debug, Clone)]
pub struct AccessToken {
    value: SecretString,
    issued: Timestamp,
    ends: Timestamp,
}

impl AccessToken {
    /// The value of the Authorization header.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let text = SecretString::from(format!("Bearer {}", self.value.expose_secret()));
        let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The token itself, for libraries that send it.
    #[must_use]
    pub fn value(&self) -> &SecretString {
        &self.value
    }

    /// When it ends, as the endpoint told.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Whether another one is to be asked for: five minutes before its end, or halfway through a short life.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life = self.ends.duration_since(self.issued);
        let margin = MARGIN.min(life / 2);
        // A clock that was set back makes it no fresher.
        self.ends.duration_since(now) <= margin || now < self.issued
    }

    /// Whether both are the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.value.expose_secret() == other.value.expose_secret()
    }
}

impl ClientCredentials<'_> {
    /// Asks for a token. Nothing is repeated.
    ///
    /// # Errors
    /// [`NoToken`].
    pub async fn ask(&self, http: &HttpClient, now: Timestamp) -> Result<AccessToken, NoToken> {
        let form = self.form(now)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = form.expose_secret().as_bytes().to_vec();
        let answer = http.post(self.endpoint, headers, body).await;
        read(&answer.map_err(NoToken::NoAnswer)?, now)
    }

    fn form(&self, now: Timestamp) -> Result<SecretString, NoToken> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", self.client_id)
            .append_pair("scope", self.scope);
        match self.credential {
            Credential::Secret(secret) => {
                form.append_pair("client_secret", secret.expose_secret());
            }
            Credential::Certificate(identity) => {
                let assertion = assertion(identity, self.client_id, self.endpoint, now)
                    .ok_or(NoToken::UnfitKey)?;
                form.append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", assertion.expose_secret());
            }
        }
        Ok(SecretString::from(form.finish()))
    }
}

/// A JWT (RFC 7519) that says who asks whom, signed with PS256 (RFC 7518, 3.5) and naming the certificate by its
/// SHA-256 thumbprint (RFC 7515, 4.1.8).
fn assertion(
    identity: &ClientIdentity,
    client_id: &str,
    endpoint: &Url,
    now: Timestamp,
) -> Option<SecretString> {
    let encode = |text: &serde_json::Value| URL_SAFE_NO_PAD.encode(text.to_string());
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(identity.leaf()?));
    let head = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
    let claims = json!({
        "aud": endpoint.as_str(),
        "iss": client_id,
        "sub": client_id,
        "jti": uuid::Uuid::new_v4().to_string(),
        "iat": now.as_second(),
        "nbf": now.checked_sub(SKEW).ok()?.as_second(),
        "exp": now.checked_add(ASSERTION_LIFE).ok()?.as_second(),
    });
    let signed = format!("{}.{}", encode(&head), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(identity.sign_ps256(signed.as_bytes())?);
    Some(SecretString::from(format!("{signed}.{signature}")))
}

/// RFC 6749, 5.1. Some endpoints write the life as text.
#[derive(Deserialize)]
struct Issued {
    access_token: String,
    token_type: String,
    expires_in: Option<serde_json::Value>,
}

/// RFC 6749, 5.2, and what Entra ID adds.
#[derive(Deserialize)]
struct Refused {
    error: Option<String>,
    #[serde(default)]
    error_codes: Vec<u32>,
}

fn read(answer: &HttpResponse, now: Timestamp) -> Result<AccessToken, NoToken> {
    if answer.status.is_success() {
        let issued: Issued =
            serde_json::from_slice(&answer.body).map_err(|_| NoToken::Unreadable)?;
        let life = match &issued.expires_in {
            Some(serde_json::Value::Number(number)) => number.as_u64(),
            Some(serde_json::Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        }
        .unwrap_or(DEFAULT_LIFE)
        .min(LONGEST_LIFE);
        let ends = now
            .checked_add(Duration::from_secs(life))
            .unwrap_or(Timestamp::MAX);
        let token = AccessToken {
            value: SecretString::from(issued.access_token),
            issued: now,
            ends,
        };
        let usable = issued.token_type.eq_ignore_ascii_case("bearer")
            && !token.value.expose_secret().is_empty()
            && token.header().is_some();
        return usable.then_some(token).ok_or(NoToken::Unreadable);
    }
    let refused = serde_json::from_slice::<Refused>(&answer.body).ok();
    let (error, codes) = refused.map_or((None, Vec::new()), |refused| {
        (refused.error, refused.error_codes)
    });
    Err(NoToken::Refused {
        status: answer.status.as_u16(),
        error,
        codes,
        retry_after: answer.retry_after(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use reqwest::StatusCode;

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
    fn what_is_no_token_is_not_taken_for_one() {
        for body in [
            "<html>",
            "{\"token_type\":\"mac\",\"access_token\":\"x\"}",
            "{\"token_type\":\"bearer\",\"access_token\":\"x\\n\"}",
            "{\"token_type\":\"bearer\",\"access_token\":\"\"}",
            "{\"token_type\":\"bearer\"}",
        ] {
            let read = read(&answer(200, body), now());
            assert_eq!(read.unwrap_err(), NoToken::Unreadable, "{body}");
        }
    }

    #[test]
    fn refusals_carry_codes_and_no_descriptions() {
        let body = "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: hush\",\"error_codes\":[7000222]}";
        let refused = read(&answer(401, body), now()).unwrap_err();
        assert!(!format!("{refused:?}").contains("hush"));
        let NoToken::Refused {
            status,
            error,
            codes,
            ..
        } = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((status, codes), (401, vec![7_000_222]));
        assert_eq!(error.as_deref(), Some("invalid_client"));
        assert!(matches!(
            read(&answer(503, "<html>"), now()),
            Err(NoToken::Refused { status: 503, .. })
        ));
    }

    #[test]
    fn a_token_is_not_in_debug() {
        let body = "{\"token_type\":\"Bearer\",\"access_token\":\"hush.hush\"}";
        let token = read(&answer(200, body), now()).unwrap();
        assert!(!format!("{token:?} {:?}", token.header()).contains("hush"));
    }
}
