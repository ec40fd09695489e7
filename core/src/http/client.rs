//! The client.

use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::tls::Version;
use reqwest::{Certificate, Client, ClientBuilder, Method, Proxy, Response, StatusCode};
use secrecy::ExposeSecret;
use url::Url;

use super::failure::classify;
use super::{
    Cause, ClientIdentity, HttpFailure, HttpSettings, ProxySetting, TlsBackend, TlsVersion,
};
use crate::clock::Clock;
use crate::connector::{Context, Error, ErrorKind, Result, Scope};

static PROVIDER: Once = Once::new();

/// rustls wants to be told once per process which cryptography it is to use.
pub(super) fn install_provider() {
    PROVIDER.call_once(|| {
        // An error means that the program has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// An HTTP client of one connection. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client,
    backend: TlsBackend,
    /// Whether there is a client certificate that could not be handed over after the handshake.
    no_late_certificate: bool,
    max_response: u64,
    /// Is told what the server's clock shows.
    clock: Arc<dyn Clock>,
    connection: String,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body after decompression; at most `max_response` bytes.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The server's clock, from the `Date` header.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        let text = self.headers.get(DATE)?.to_str().ok()?;
        jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()
    }

    /// How long the server asks to wait (RFC 9110, 10.2.3): in seconds, or until a date by its own clock.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let until = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()?;
        Duration::try_from(until.duration_since(self.date()?)).ok()
    }

    /// A header's value, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl HttpClient {
    /// Builds a client. Reads the files of `extra_ca` and the secret of the proxy; does no network.
    ///
    /// # Errors
    /// `Config` for files that cannot be read or hold no certificate, for a proxy user without a proxy, and
    /// for a client certificate that the TLS library does not take.
    pub fn build(
        settings: &HttpSettings,
        identity: Option<&ClientIdentity>,
        context: &Context,
    ) -> Result<Self> {
        Self::build_with(settings, identity, context, |builder| builder)
    }

    /// As [`build`](Self::build), with what a special kind of client needs besides.
    pub(super) fn build_with(
        settings: &HttpSettings,
        identity: Option<&ClientIdentity>,
        context: &Context,
        special: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self> {
        install_provider();
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .user_agent(concat!("calbridge/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout.get())
            .connect_timeout(settings.connect_timeout.get());
        builder = match settings.tls {
            TlsBackend::Rustls => builder.tls_backend_rustls(),
            TlsBackend::NativeTls => builder.tls_backend_native(),
        };
        if let Some(newest) = settings.max_tls {
            builder = builder.tls_version_max(match newest {
                TlsVersion::V1_2 => Version::TLS_1_2,
                TlsVersion::V1_3 => Version::TLS_1_3,
            });
        }
        for path in &settings.extra_ca {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity.for_backend(settings.tls)?);
        }
        builder = match &settings.proxy {
            ProxySetting::System if settings.proxy_user.is_none() => builder,
            ProxySetting::System | ProxySetting::None if settings.proxy_user.is_some() => {
                return Err(Error::config(
                    "`proxy_user` needs the proxy's URL in `proxy`",
                ));
            }
            ProxySetting::System => builder,
            ProxySetting::None => builder.no_proxy(),
            ProxySetting::Url(url) => builder.proxy(proxy(url, settings, context)?),
        };
        let client = special(builder).build().map_err(|error| {
            let (_, detail) = classify(error);
            Error::config(format!(
                "no HTTP client can be made from these settings: {detail}"
            ))
        })?;
        Ok(Self {
            client,
            backend: settings.tls,
            no_late_certificate: identity.is_some() && !answers_late(settings),
            max_response: settings.max_response.max(1),
            clock: Arc::clone(&context.clock),
            connection: context.connection.clone(),
        })
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn get(&self, url: &Url, headers: HeaderMap) -> Result<HttpResponse, HttpFailure> {
        self.request(Method::GET, url, headers, Vec::new()).await
    }

    /// Sends a POST request.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpResponse, HttpFailure> {
        self.request(Method::POST, url, headers, body).await
    }

    /// Sends one request and reads the whole answer. A status is no error; redirects are not followed; nothing
    /// is repeated. Dropping the future gives the request up.
    ///
    /// # Errors
    /// [`HttpFailure`]: no answer, no complete one, or one that is larger than the limit.
    pub async fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpResponse, HttpFailure> {
        let response = self
            .client
            .request(method, url.clone())
            .headers(headers)
            .body(body)
            .send()
            .await
            .map_err(|error| self.failure(url, error))?;
        let response = self.accepted(url, response)?;
        self.read_whole(url, response).await
    }

    pub(super) fn reqwest(&self) -> &Client {
        &self.client
    }

    /// An answer of the server, not of a proxy that wants to be paid attention to.
    pub(super) fn accepted(&self, url: &Url, response: Response) -> Result<Response, HttpFailure> {
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(self.because(url, Cause::ProxyAuth));
        }
        Ok(response)
    }

    /// Reads an answer up to the limit.
    pub(super) async fn read_whole(
        &self,
        url: &Url,
        mut response: Response,
    ) -> Result<HttpResponse, HttpFailure> {
        let status = response.status();
        if response
            .content_length()
            .is_some_and(|length| length > self.max_response)
        {
            return Err(self.because(url, Cause::TooLarge));
        }
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failure(url, error))?
        {
            let length = u64::try_from(body.len() + chunk.len()).unwrap_or(u64::MAX);
            if length > self.max_response {
                return Err(self.because(url, Cause::TooLarge));
            }
            body.extend_from_slice(&chunk);
        }
        let answer = HttpResponse {
            status,
            headers,
            body,
        };
        if let Some(theirs) = answer.date() {
            self.clock.hear(&self.connection, theirs);
        }
        Ok(answer)
    }

    pub(super) fn failure(&self, url: &Url, error: reqwest::Error) -> HttpFailure {
        let (cause, detail) = classify(error);
        HttpFailure {
            detail,
            ..self.because(url, cause)
        }
    }

    fn because(&self, url: &Url, cause: Cause) -> HttpFailure {
        HttpFailure {
            cause,
            host: host(url),
            backend: self.backend,
            no_late_certificate: self.no_late_certificate && url.scheme() == "https",
            detail: String::new(),
        }
    }
}

/// Whether both URLs have scheme, host and port in common: what may be sent to one may be sent to the other.
#[must_use]
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Whether a client certificate can be handed over after the handshake: the operating systems' libraries do so
/// when a server renegotiates, which TLS 1.3 no longer knows.
fn answers_late(settings: &HttpSettings) -> bool {
    settings.tls == TlsBackend::NativeTls && settings.max_tls == Some(TlsVersion::V1_2)
}

fn host(url: &Url) -> String {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        _ => "an unnamed host".to_owned(),
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let shown = path.display();
    let wrong = |reason: String| {
        Error::new(
            ErrorKind::Config,
            Scope::Connection,
            "config.extra-ca",
            format!("`extra_ca` {shown}: {reason}"),
        )
    };
    let pem = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|_| wrong("is not a PEM file with certificates".to_owned()))?;
    if found.is_empty() {
        return Err(wrong(
            "holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)".to_owned(),
        ));
    }
    Ok(found)
}

fn proxy(url: &Url, settings: &HttpSettings, context: &Context) -> Result<Proxy> {
    let proxy = Proxy::all(url.clone())
        .map_err(|_| Error::config("`proxy` is not a URL that can be used as a proxy"))?;
    match (&settings.proxy_user, &settings.proxy_password) {
        (None, None) => Ok(proxy),
        (Some(user), Some(password)) => {
            let password = context.secret(password)?;
            Ok(proxy.basic_auth(user, password.expose_secret()))
        }
        _ => Err(Error::config(
            "`proxy_user` and `proxy_password` belong together; set both or none",
        )),
    }
}
