//! Signing in: one token for the whole connection, kept, and renewed before it ends.

use calbridge_core::connector::{Context, Error, ErrorKind, Result, Scope};
use calbridge_core::http::{
    AccessToken, ClientCredentials, Credential, HttpClient, HttpSettings, NoToken,
};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::config::{Auth, Settings};

/// How long a refused proof is not tried again. A new secret needs some minutes until all of Microsoft's servers know it.
const REST: SignedDuration = SignedDuration::from_mins(10);
/// So many days before the end of a secret or certificate it is warned of, each time once.
pub(crate) const EXPIRY_DAYS: [i64; 3] = [3, 14, 30];

/// Keeps the token.
#[derive(Debug)]
pub(crate) struct Tokens {
    endpoint: Url,
    client_id: String,
    scope: String,
    auth: Auth,
    http: HttpClient,
    context: Context,
    /// Held while one is asked for: whoever comes meanwhile gets the same one.
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<AccessToken>,
    refused: Option<Refused>,
    /// The shortest of [`EXPIRY_DAYS`] that was warned of.
    warned: Option<i64>,
}

/// A proof that was refused.
#[derive(Debug)]
struct Refused {
    /// A digest of it.
    proof: blake3::Hash,
    at: Timestamp,
    error: Error,
}

/// What a token is asked for with.
enum Proof {
    Secret(SecretString),
    Certificate(Box<calbridge_core::http::ClientIdentity>),
}

impl Tokens {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(settings: &Settings, http: &HttpSettings, context: Context) -> Result<Self> {
        let (login, _, scope) = settings.cloud.addresses()?;
        Ok(Self {
            endpoint: token_endpoint(&login, &settings.tenant)?,
            client_id: settings.client_id.clone(),
            scope,
            auth: settings.auth.clone(),
            http: HttpClient::build(http, None, &context)?,
            context,
            kept: tokio::sync::Mutex::default(),
        })
    }

    /// The kept token, or a new one. `insist`: an operator asks, so that a refused proof is tried again.
    ///
    /// # Errors
    /// None is issued.
    pub(crate) async fn token(&self, insist: bool) -> Result<AccessToken> {
        let mut kept = self.kept.lock().await;
        let now = self.context.clock.now();
        if let Some(token) = &kept.token
            && !token.is_due(now)
        {
            return Ok(token.clone());
        }
        let renewed = self.renew(&mut kept, insist, now).await;
        match (renewed, &kept.token) {
            // It is due, and good for some minutes more.
            (Err(error), Some(token)) if error.kind == ErrorKind::Transient => {
                if token.ends() > now {
                    Ok(token.clone())
                } else {
                    Err(error)
                }
            }
            (renewed, _) => renewed,
        }
    }

    /// Graph has refused a token: another one, unless somebody has it already.
    ///
    /// # Errors
    /// None is issued.
    pub(crate) async fn another(&self, refused: &AccessToken, insist: bool) -> Result<AccessToken> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && !token.is_same(refused)
        {
            return Ok(token.clone());
        }
        kept.token = None;
        let now = self.context.clock.now();
        self.renew(&mut kept, insist, now).await
    }

    /// The last day of the secret or the certificate, where it is known.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub(crate) fn expires(&self) -> Result<Option<Timestamp>> {
        let now = self.context.clock.now();
        Ok(match &self.auth {
            Auth::Secret { expires, .. } => expires.and_then(end_of),
            Auth::Certificate { certificate } => {
                Some(certificate.load(&self.context, now)?.facts().not_after)
            }
        })
    }

    async fn renew(&self, kept: &mut Kept, insist: bool, now: Timestamp) -> Result<AccessToken> {
        let proof = match &self.auth {
            Auth::Secret { secret, .. } => Proof::Secret(self.context.secret(secret)?),
            Auth::Certificate { certificate } => {
                Proof::Certificate(Box::new(certificate.load(&self.context, now)?))
            }
        };
        let digest = match &proof {
            Proof::Secret(secret) => blake3::hash(secret.expose_secret().as_bytes()),
            Proof::Certificate(identity) => {
                blake3::hash(identity.facts().not_after.to_string().as_bytes())
            }
        };
        if let Some(refused) = &kept.refused {
            let left = REST.saturating_sub(now.duration_since(refused.at).abs());
            if refused.proof == digest && left.is_positive() && !insist {
                let wait = std::time::Duration::try_from(left).unwrap_or_default();
                return Err(refused.error.clone().retry_after(wait));
            }
        }
        self.warn(kept, &proof, now);
        let grant = ClientCredentials {
            endpoint: &self.endpoint,
            client_id: &self.client_id,
            scope: &self.scope,
            credential: match &proof {
                Proof::Secret(secret) => Credential::Secret(secret),
                Proof::Certificate(identity) => Credential::Certificate(identity),
            },
        };
        match grant.ask(&self.http, now).await {
            Ok(token) => {
                kept.refused = None;
                kept.token = Some(token.clone());
                Ok(token)
            }
            Err(trouble) => {
                let error = explain(trouble);
                kept.refused = (error.kind == ErrorKind::Auth).then(|| Refused {
                    proof: digest,
                    at: now,
                    error: error.clone(),
                });
                Err(error)
            }
        }
    }

    fn warn(&self, kept: &mut Kept, proof: &Proof, now: Timestamp) {
        let (what, ends) = match (proof, &self.auth) {
            (Proof::Certificate(identity), _) => ("certificate", Some(identity.facts().not_after)),
            (Proof::Secret(_), Auth::Secret { expires, .. }) => {
                ("secret", expires.and_then(end_of))
            }
            (Proof::Secret(_), Auth::Certificate { .. }) => return,
        };
        let Some(days) = ends.map(|ends| days_left(ends, now)) else {
            return;
        };
        let Some(step) = EXPIRY_DAYS.into_iter().find(|step| days <= *step) else {
            // It was renewed.
            kept.warned = None;
            return;
        };
        if kept.warned.is_none_or(|warned| step < warned) {
            kept.warned = Some(step);
            tracing::warn!(
                connection = self.context.connection,
                code = "graph.expiring",
                what,
                days,
                "What the application signs in with expires soon; make a new one in its registration."
            );
        }
    }
}

/// Whole days until an instant; negative once it has passed.
pub(crate) fn days_left(ends: Timestamp, now: Timestamp) -> i64 {
    ends.duration_since(now).as_secs().div_euclid(86_400)
}

/// The end of a day, wherever.
fn end_of(day: Date) -> Option<Timestamp> {
    let next = day.checked_add(1.day()).ok()?;
    TimeZone::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok()
}

fn token_endpoint(login: &Url, tenant: &str) -> Result<Url> {
    let root = login.as_str().trim_end_matches('/');
    Url::parse(&format!("{root}/{tenant}/oauth2/v2.0/token"))
        .map_err(|_| Error::config("`cloud`: `login` makes no address of a token endpoint"))
}

fn explain(trouble: NoToken) -> Error {
    let error = |kind, code: &str, message: &str| {
        Error::new(
            kind,
            Scope::Connection,
            format!("graph.token.{code}"),
            message,
        )
    };
    match trouble {
        NoToken::NoAnswer(failure) => failure.into(),
        NoToken::Unreadable => error(
            ErrorKind::Protocol,
            "answer",
            "what the token endpoint answered is no token; check `cloud`, and whether a proxy answers in its place",
        ),
        NoToken::UnfitKey => error(
            ErrorKind::Config,
            "key",
            "`certificate` has no RSA key; Entra ID takes certificates with RSA keys only",
        ),
        NoToken::Refused {
            status,
            error: oauth,
            codes,
            retry_after,
        } => {
            let known = codes
                .iter()
                .find_map(|code| Some((*code, of_entra(*code)?)));
            if let Some((code, (kind, message))) = known {
                return error(kind, &format!("AADSTS{code}"), message);
            }
            let first = codes.first().map(|code| format!("AADSTS{code}"));
            let code = first.unwrap_or_else(|| status.to_string());
            if status == 429 || status >= 500 {
                let down = error(
                    if status == 429 {
                        ErrorKind::Throttled
                    } else {
                        ErrorKind::Transient
                    },
                    &code,
                    "the token endpoint is out of order or busy for the moment",
                );
                return match retry_after {
                    Some(wait) => down.retry_after(wait),
                    None => down,
                };
            }
            let (kind, message) = match oauth.as_deref() {
                Some("invalid_client" | "unauthorized_client") => (
                    ErrorKind::Auth,
                    "the token endpoint refuses the application; check `tenant`, `client_id` and the secret or certificate",
                ),
                Some("invalid_scope" | "invalid_target" | "invalid_resource") => (
                    ErrorKind::Config,
                    "the token endpoint knows no such scope; check `cloud`",
                ),
                _ if (300..400).contains(&status) => (
                    ErrorKind::Protocol,
                    "the token endpoint points elsewhere, and secrets are not carried there; check `cloud`",
                ),
                _ => (
                    ErrorKind::Auth,
                    "the token endpoint refuses; look the code up in the sign-in logs of Entra ID (service principal sign-ins)",
                ),
            };
            error(kind, &code, message)
        }
    }
}

/// The refusals of Entra ID that tell what to do.
fn of_entra(code: u32) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        7_000_215 => (
            ErrorKind::Auth,
            "the secret is wrong; make sure that it is the secret's value and not its id, and that it belongs to this application (a new one needs some minutes)",
        ),
        7_000_222 => (
            ErrorKind::Auth,
            "the secret has expired; make a new one in the application's registration (Certificates & secrets) and put it where `secret` points",
        ),
        700_027 | 7_000_272 => (
            ErrorKind::Auth,
            "the certificate is refused; upload its public part to the application's registration, and check that it has not expired and that this computer's clock is right",
        ),
        700_016 => (
            ErrorKind::Auth,
            "the tenant knows no application with this `client_id`; check both, and whether an administrator has consented",
        ),
        90_002 | 900_023 => (
            ErrorKind::Config,
            "there is no such tenant; check `tenant` and `cloud`",
        ),
        7_000_229 => (
            ErrorKind::Auth,
            "the application has no service principal in the tenant; an administrator has to consent to it",
        ),
        7_000_112 => (ErrorKind::Auth, "the application is disabled in the tenant"),
        70_011 | 500_011 | 1_002_012 => (
            ErrorKind::Config,
            "the tenant's cloud does not know what tokens are asked for; check `cloud`",
        ),
        53_003 => (
            ErrorKind::Auth,
            "a rule of conditional access blocks the application's sign-in; look into the sign-in logs of Entra ID",
        ),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(status: u16, oauth: &str, codes: &[u32]) -> Error {
        explain(NoToken::Refused {
            status,
            error: Some(oauth.to_owned()),
            codes: codes.to_vec(),
            retry_after: None,
        })
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (codes, kind, says) in [
            (&[7_000_215][..], ErrorKind::Auth, "not its id"),
            (&[7_000_222], ErrorKind::Auth, "expired"),
            (&[700_016], ErrorKind::Auth, "`client_id`"),
            (&[90_002], ErrorKind::Config, "`tenant`"),
            (&[700_027], ErrorKind::Auth, "upload"),
            (&[1, 7_000_229], ErrorKind::Auth, "consent"),
        ] {
            let error = refused(401, "invalid_client", codes);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(says), "{error}");
            assert!(error.code.starts_with("graph.token.AADSTS"), "{error}");
        }
        assert_eq!(refused(400, "invalid_scope", &[]).kind, ErrorKind::Config);
        assert_eq!(refused(503, "", &[]).kind, ErrorKind::Transient);
        assert_eq!(refused(302, "", &[]).kind, ErrorKind::Protocol);
        assert_eq!(refused(400, "odd", &[5]).code, "graph.token.AADSTS5");
    }

    #[test]
    fn a_day_ends_at_midnight() {
        let day: Date = "2026-11-23".parse().unwrap();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        assert_eq!(days_left(end_of(day).unwrap(), now), 0);
        assert_eq!(
            days_left(end_of(day).unwrap(), now + SignedDuration::from_hours(24)),
            -1
        );
    }
}
