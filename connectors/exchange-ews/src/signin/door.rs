//! The one way in that is configured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calbridge_core::connector::{Context, Error, Result};
use calbridge_core::http::{
    HeaderMap, HeaderValue, HttpAnswer, HttpClient, HttpLane, HttpResponse, HttpSettings, Method,
    StatusCode, header,
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::breaker::{Breaker, Pass, Turn};
use super::challenge::{self, Offer};
use super::oauth::{Application, Token, Tokens};
use super::trouble::Trouble;
use super::windows::{Account, Failure, Windows, fields, offered};
use crate::client::no_stream;
use crate::config::{Auth, ChannelBinding};
use crate::signin::handshake::Mechanism;

/// Sends requests as the service account.
#[derive(Debug)]
pub(crate) struct Door {
    url: Url,
    http: HttpSettings,
    context: Context,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Each request carries what proves the account.
    Header { auth: Auth, breaker: Breaker },
    /// Each request carries a token that was issued for it.
    Tokens(Tokens),
    /// Each connection is signed in.
    Windows(Windows),
}

impl Door {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(
        url: &Url,
        http: &HttpSettings,
        auth: &Auth,
        context: &Context,
        breaker: Breaker,
    ) -> Result<Self> {
        let host = url.host_str().unwrap_or_default();
        let windows = |mechanism, user: &str, password: &_, service: &Option<String>, binding| {
            Way::Windows(Windows::new(
                Account {
                    mechanism,
                    user: user.to_owned(),
                    password: Clone::clone(password),
                    service: service.clone().unwrap_or_else(|| host.to_owned()),
                    binding: binding == ChannelBinding::Auto,
                },
                url.clone(),
                http.clone(),
                context.clone(),
                breaker.beside(),
            ))
        };
        let way = match auth {
            auth @ (Auth::Basic { .. } | Auth::Bearer { .. }) => Way::Header {
                auth: auth.clone(),
                breaker,
            },
            Auth::Ntlm {
                user,
                password,
                channel_binding,
            } => windows(Mechanism::Ntlm, user, password, &None, *channel_binding),
            Auth::Negotiate {
                user,
                password,
                kdc,
                service,
                channel_binding,
            } => {
                let mechanism = if kdc.is_empty() {
                    Mechanism::NegotiateNtlm
                } else {
                    Mechanism::Kerberos {
                        controllers: kdc.iter().map(|name| with_port(name)).collect(),
                    }
                };
                windows(mechanism, user, password, service, *channel_binding)
            }
            Auth::Oauth {
                token_url,
                client_id,
                client_secret,
                scope,
            } => Way::Tokens(Tokens::new(
                Application {
                    token_url: token_url.clone(),
                    client_id: client_id.clone(),
                    client_secret: client_secret.clone(),
                    scope: scope
                        .clone()
                        .unwrap_or_else(|| format!("https://{host}/.default")),
                },
                http,
                context.clone(),
                breaker,
            )?),
        };
        Ok(Self {
            url: url.clone(),
            http: http.clone(),
            context: context.clone(),
            way,
        })
    }

    /// Sends a request and reads the whole answer. With `insist` credentials are tried that were refused before, as an
    /// operator may.
    ///
    /// # Errors
    /// No answer, or the account is not let in.
    pub(crate) async fn post(
        &self,
        http: &HttpClient,
        headers: HeaderMap,
        document: Vec<u8>,
        insist: bool,
    ) -> Result<HttpResponse, Failure> {
        match &self.way {
            Way::Windows(windows) => windows.post(&headers, &document, insist).await,
            Way::Header { auth, breaker } => {
                let (value, pass) = self.prove(auth, breaker, insist).await?;
                let headers = with(headers, value);
                let answer = http.post(&self.url, headers, document).await;
                pass.used(
                    answer
                        .as_ref()
                        .ok()
                        .and_then(|answer| let_in(answer.status)),
                );
                let answer = answer?;
                told(auth, answer.status, &answer.headers)?;
                Ok(answer)
            }
            Way::Tokens(tokens) => {
                let mut token = tokens.token(insist).await?;
                let send = |token: &Token| {
                    let headers = bearing(headers.clone(), token);
                    http.post(&self.url, headers, document.clone())
                };
                let mut answer = send(&token).await?;
                if wants_another(answer.status, &answer.headers)? {
                    token = tokens.another(&token, insist).await?;
                    answer = send(&token).await?;
                    tokens
                        .tried(answer.status != StatusCode::UNAUTHORIZED)
                        .await;
                    if answer.status == StatusCode::UNAUTHORIZED {
                        return Err(Trouble::FreshToken.into());
                    }
                }
                Ok(answer)
            }
        }
    }

    /// Sends a request whose answer is read as it comes.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub(crate) async fn open(
        &self,
        headers: HeaderMap,
        document: String,
    ) -> Result<HttpAnswer, Failure> {
        // A stream has a connection of its own.
        let send = async |headers: HeaderMap| {
            let lane = HttpLane::build(&self.http, &self.context)?;
            let document = document.clone().into_bytes();
            let answer = lane.open(Method::POST, &self.url, headers, document).await;
            answer.map_err(|_| no_stream())
        };
        match &self.way {
            Way::Windows(windows) => windows.open(&headers, document.as_bytes()).await,
            Way::Header { auth, breaker } => {
                let (value, pass) = self.prove(auth, breaker, false).await?;
                let answer = send(with(headers, value)).await;
                pass.used(
                    answer
                        .as_ref()
                        .ok()
                        .and_then(|answer| let_in(answer.status())),
                );
                let answer = answer?;
                told(auth, answer.status(), answer.headers())?;
                Ok(answer)
            }
            Way::Tokens(tokens) => {
                let token = tokens.token(false).await?;
                let answer = send(bearing(headers.clone(), &token)).await?;
                if !wants_another(answer.status(), answer.headers())? {
                    return Ok(answer);
                }
                let token = tokens.another(&token, false).await?;
                let answer = send(bearing(headers, &token)).await?;
                let taken = answer.status() != StatusCode::UNAUTHORIZED;
                tokens.tried(taken).await;
                if !taken {
                    return Err(Trouble::FreshToken.into());
                }
                Ok(answer)
            }
        }
    }

    /// Gives up the connections that are signed in.
    pub(crate) fn forget_connections(&self) {
        if let Way::Windows(windows) = &self.way {
            windows.forget_connections();
        }
    }

    /// The value of the Authorization header, and the permission to send it. The secret is asked for each time, so that
    /// a changed one is taken up.
    async fn prove<'a>(
        &self,
        auth: &Auth,
        breaker: &'a Breaker,
        insist: bool,
    ) -> Result<(HeaderValue, Pass<'a>), Failure> {
        let value = self.header(auth)?;
        let turn = if insist {
            Turn::Insisting
        } else {
            Turn::Proving
        };
        let pass = breaker.pass(value.as_bytes(), turn).await?;
        Ok((value, pass))
    }

    fn header(&self, auth: &Auth) -> Result<HeaderValue> {
        let text = match auth {
            Auth::Basic { user, password } => {
                let password = self.context.secret(password)?;
                let pair = SecretString::from(format!("{user}:{}", password.expose_secret()));
                let coded = SecretString::from(STANDARD.encode(pair.expose_secret()));
                SecretString::from(format!("Basic {}", coded.expose_secret()))
            }
            Auth::Bearer { token } => {
                let token = self.context.secret(token)?;
                SecretString::from(format!("Bearer {}", token.expose_secret().trim()))
            }
            _ => return Err(Error::config("`auth`: no header proves this kind")),
        };
        let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
            Error::config("`auth`: the secret holds characters that HTTP cannot carry")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// `host` or `host:port`, with the port of Kerberos where there is none.
fn with_port(name: &str) -> String {
    let numbered = name.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    });
    if numbered {
        name.to_owned()
    } else {
        format!("{name}:{}", super::kdc::PORT)
    }
}

fn with(mut headers: HeaderMap, value: HeaderValue) -> HeaderMap {
    headers.insert(header::AUTHORIZATION, value);
    headers
}

fn bearing(headers: HeaderMap, token: &Token) -> HeaderMap {
    match token.header() {
        Some(value) => with(headers, value),
        None => headers,
    }
}

/// Whether the server let the account in.
fn let_in(status: StatusCode) -> Option<bool> {
    match status.as_u16() {
        401 => Some(false),
        // SOAP faults come with 500.
        200..=299 | 500 => Some(true),
        _ => None,
    }
}

/// A 401 of a server that offers another way than the configured one says so.
fn told(auth: &Auth, status: StatusCode, headers: &HeaderMap) -> Result<(), Trouble> {
    if status != StatusCode::UNAUTHORIZED {
        return Ok(());
    }
    let offers = offered(&challenge::offers(fields(headers)));
    let (wanted, there) = match auth {
        Auth::Basic { .. } => ("Basic", offers.basic),
        _ => ("Bearer", offers.bearer),
    };
    if there || !(offers.negotiate || offers.ntlm || offers.basic || offers.bearer) {
        // Refused, as the status says.
        return Ok(());
    }
    Err(Trouble::NotOffered {
        wanted,
        offered: offers,
    })
}

/// Whether a 401 asks for another token (RFC 6750, 3).
fn wants_another(status: StatusCode, headers: &HeaderMap) -> Result<bool, Trouble> {
    if status != StatusCode::UNAUTHORIZED {
        return Ok(false);
    }
    let read = challenge::offers(fields(headers));
    // The same application would get the same rights again (RFC 6750, 3.1).
    let rights_lack = |offer: &Offer<'_>| {
        offer.scheme.eq_ignore_ascii_case("Bearer")
            && offer.parameter("error") == Some("insufficient_scope")
    };
    if read.iter().any(rights_lack) {
        return Err(Trouble::FreshToken);
    }
    let offers = offered(&read);
    if !offers.bearer && (offers.negotiate || offers.ntlm || offers.basic) {
        return Err(Trouble::NotOffered {
            wanted: "Bearer",
            offered: offers,
        });
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_controllers_have_the_port_of_kerberos() {
        assert_eq!(with_port("dc1.kommune.example"), "dc1.kommune.example:88");
        assert_eq!(with_port("dc1:1088"), "dc1:1088");
        assert_eq!(with_port("[::1]:1088"), "[::1]:1088");
        assert_eq!(with_port("[::1]"), "[::1]:88");
    }
}
