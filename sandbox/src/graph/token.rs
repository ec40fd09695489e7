//! The token endpoint of Entra ID: client credentials with a secret or a signed assertion ("Microsoft identity platform and
//! the OAuth 2.0 client credentials flow").

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rustls::SignatureScheme;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::app::Application;
use super::error::json_response;
use crate::server::Response;

/// How far clocks may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The longest life of an assertion.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// A token that was issued.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) client_id: String,
    pub(super) ends: Timestamp,
}

/// What the endpoint knows.
pub(super) struct Endpoint<'a> {
    pub(super) tenant: &'a str,
    /// The address by which assertions have to name it.
    pub(super) audience: &'a str,
    pub(super) scope: &'a str,
    pub(super) applications: &'a [Application],
    pub(super) life: SignedDuration,
    pub(super) now: Timestamp,
}

/// A refusal of Entra ID.
struct Refusal {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
}

impl Refusal {
    fn new(status: u16, error: &'static str, code: u32, text: &str) -> Self {
        Self {
            status,
            error,
            code,
            text: text.to_owned(),
        }
    }
}

impl Endpoint<'_> {
    /// Answers a request for a token.
    pub(super) fn answer(
        &self,
        tenant: &str,
        form: &[u8],
        issued: &mut HashMap<String, Issued>,
        used: &mut Vec<String>,
    ) -> Response {
        let form: HashMap<String, String> = url::form_urlencoded::parse(form)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        match self.judge(tenant, &form, used) {
            Ok(application) => {
                let token = self.token(application);
                let seconds = self.life.as_secs();
                issued.insert(
                    token.clone(),
                    Issued {
                        client_id: application.client_id.clone(),
                        ends: self.now.checked_add(self.life).unwrap_or(self.now),
                    },
                );
                let body = json!({
                    "token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
                });
                json_response(200, &body)
            }
            Err(refusal) => json_response(
                refusal.status,
                &json!({
                    "error": refusal.error,
                    "error_description": format!("AADSTS{}: {}", refusal.code, refusal.text),
                    "error_codes": [refusal.code],
                    "timestamp": self.now.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
                    "trace_id": uuid::Uuid::new_v4().to_string(),
                    "correlation_id": uuid::Uuid::new_v4().to_string(),
                }),
            ),
        }
    }

    fn judge(
        &self,
        tenant: &str,
        form: &HashMap<String, String>,
        used: &mut Vec<String>,
    ) -> Result<&Application, Refusal> {
        let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if !tenant.eq_ignore_ascii_case(self.tenant) {
            let text = "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.";
            return Err(Refusal::new(400, "invalid_request", 90_002, text));
        }
        if get("grant_type") != "client_credentials" {
            let text = "The app has made an unsupported grant type request.";
            return Err(Refusal::new(400, "unsupported_grant_type", 70_003, text));
        }
        if get("scope") != self.scope {
            let text = "The provided value for scope is not valid.";
            return Err(Refusal::new(400, "invalid_scope", 70_011, text));
        }
        let application = self
            .applications
            .iter()
            .find(|application| application.client_id == get("client_id"))
            .ok_or_else(|| {
                let text = "Application was not found in the directory.";
                Refusal::new(400, "unauthorized_client", 700_016, text)
            })?;
        match (form.get("client_secret"), form.get("client_assertion")) {
            (Some(secret), None) => {
                let known = application.secrets.iter().find(|one| one.value == *secret);
                match known {
                    None => {
                        let text = "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.";
                        Err(Refusal::new(401, "invalid_client", 7_000_215, text))
                    }
                    Some(secret) if secret.ends < self.now => {
                        let text = "The provided client secret keys are expired.";
                        Err(Refusal::new(401, "invalid_client", 7_000_222, text))
                    }
                    Some(_) => Ok(application),
                }
            }
            (None, Some(assertion)) => {
                if get("client_assertion_type")
                    != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                {
                    let text = "The client assertion type is not supported.";
                    return Err(Refusal::new(400, "invalid_request", 900_144, text));
                }
                let checked = self.check_assertion(application, assertion, used);
                checked.map(|()| application).map_err(|why| {
                    Refusal::new(
                        401,
                        "invalid_client",
                        700_027,
                        &format!("The certificate with identifier used to sign the client assertion is not registered on application, or the assertion is wrong: {why}"),
                    )
                })
            }
            _ => {
                let text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
                Err(Refusal::new(401, "invalid_client", 7_000_218, text))
            }
        }
    }

    fn check_assertion(
        &self,
        application: &Application,
        assertion: &str,
        used: &mut Vec<String>,
    ) -> Result<(), &'static str> {
        let parts: Vec<&str> = assertion.split('.').collect();
        let [head, claims, signature] = parts.as_slice() else {
            return Err("it is no JWT");
        };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "base64url");
        let json = |text: &str| -> Result<Value, &'static str> {
            serde_json::from_slice(&decode(text)?).map_err(|_| "it holds no JSON")
        };
        let (head, body) = (json(head)?, json(claims)?);
        let thumbprint = head.get("x5t#S256").and_then(Value::as_str);
        let thumbprint = decode(thumbprint.ok_or("no x5t#S256")?)?;
        let certificate = application
            .certificates
            .iter()
            .find(|der| Sha256::digest(der).as_slice() == thumbprint)
            .ok_or("unknown certificate")?;
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| "certificate")?;
        let ends = Timestamp::from_second(parsed.validity().not_after.timestamp());
        if ends.is_ok_and(|ends| ends < self.now) {
            return Err("the certificate has expired");
        }
        let scheme = match head.get("alg").and_then(Value::as_str) {
            Some("PS256") => SignatureScheme::RSA_PSS_SHA256,
            Some("RS256") => SignatureScheme::RSA_PKCS1_SHA256,
            _ => return Err("alg"),
        };
        let signed = assertion.rsplit_once('.').map_or("", |(signed, _)| signed);
        let key = parsed.public_key().subject_public_key.data.as_ref();
        let provider = rustls::crypto::ring::default_provider();
        let verified = provider
            .signature_verification_algorithms
            .mapping
            .iter()
            .filter(|(known, _)| *known == scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .any(|algorithm| {
                decode(signature).is_ok_and(|signature| {
                    algorithm
                        .verify_signature(key, signed.as_bytes(), &signature)
                        .is_ok()
                })
            });
        if !verified {
            return Err("signature");
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let at = |name: &str| {
            let seconds = body.get(name).and_then(Value::as_i64);
            seconds.and_then(|seconds| Timestamp::from_second(seconds).ok())
        };
        if text("aud") != self.audience {
            return Err("aud");
        }
        if text("iss") != application.client_id || text("sub") != application.client_id {
            return Err("iss and sub");
        }
        let (begins, ends) = (at("nbf").ok_or("nbf")?, at("exp").ok_or("exp")?);
        if begins > self.now + SKEW || ends < self.now - SKEW {
            return Err("the assertion is not within its valid time range");
        }
        if ends.duration_since(begins) > LONGEST {
            return Err("it is valid for too long");
        }
        let id = text("jti");
        if id.is_empty() || used.iter().any(|used| used == id) {
            return Err("jti");
        }
        used.push(id.to_owned());
        Ok(())
    }

    /// It looks like a JWT, and nobody has to verify it.
    fn token(&self, application: &Application) -> String {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.{}",
            encode(json!({ "typ": "JWT", "alg": "none" })),
            encode(json!({
                "aud": self.scope.trim_end_matches("/.default"),
                "appid": application.client_id,
                "roles": application.roles,
                "exp": (self.now + self.life).as_second(),
            })),
            uuid::Uuid::new_v4().simple()
        )
    }
}
