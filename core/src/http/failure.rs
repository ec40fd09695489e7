//! Why there was no answer.

use std::error::Error as StdError;
use std::io;

use super::TlsBackend;
use super::refused::by_rustls;
use crate::connector::{Error, ErrorKind, Scope};

/// What went wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The request could not be built (no http or https URL).
    BadRequest,
    /// The host name is not known.
    Dns,
    /// Nobody listens there.
    Refused,
    /// The network knows no way there.
    Unreachable,
    /// Connecting took too long. Nothing was sent.
    ConnectTimeout,
    /// No answer, or no complete one, in time. The server may have done what was asked.
    Timeout,
    /// The connection broke. The server may have done what was asked.
    Broken,
    /// The proxy wants a user name and password, or others.
    ProxyAuth,
    /// The proxy refused to connect.
    ProxyRefused,
    /// The server's certificate has expired.
    TlsExpired,
    /// The server's certificate is not valid yet.
    TlsNotYetValid,
    /// The server's certificate comes from an authority that is not trusted.
    TlsUnknownIssuer,
    /// The server's certificate is for another host.
    TlsWrongHost,
    /// The server shows the certificate of an authority as its own: self-signed, with `CA:TRUE`.
    TlsAuthorityAsServer,
    /// The server's certificate is revoked, malformed or unfit.
    TlsBadCertificate,
    /// The server refused our client certificate, or wants one and got none.
    TlsClientRefused,
    /// The server asked for our client certificate only after the handshake, and the TLS library cannot answer
    /// that, or the server did not like the answer. It processes nothing before it has the certificate.
    TlsLateClientAuth,
    /// Server and client have no TLS version, cipher suite or group in common.
    TlsNoCommonSuite,
    /// The connection was reset or closed during the TLS handshake. Nothing was sent.
    TlsClosed,
    /// Another failure of the TLS handshake.
    TlsOther,
    /// The answer is larger than the limit.
    TooLarge,
    /// The answer is not HTTP, or its body cannot be decoded.
    BadResponse,
}

impl Cause {
    /// A stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "http.bad-request",
            Self::Dns => "http.dns",
            Self::Refused => "http.refused",
            Self::Unreachable => "http.unreachable",
            Self::ConnectTimeout => "http.connect-timeout",
            Self::Timeout => "http.timeout",
            Self::Broken => "http.broken",
            Self::ProxyAuth => "http.proxy-auth",
            Self::ProxyRefused => "http.proxy-refused",
            Self::TlsExpired => "tls.expired",
            Self::TlsNotYetValid => "tls.not-yet-valid",
            Self::TlsUnknownIssuer => "tls.unknown-issuer",
            Self::TlsWrongHost => "tls.wrong-host",
            Self::TlsAuthorityAsServer => "tls.authority-as-server",
            Self::TlsBadCertificate => "tls.bad-certificate",
            Self::TlsClientRefused => "tls.client-certificate-refused",
            Self::TlsLateClientAuth => "tls.late-client-certificate",
            Self::TlsNoCommonSuite => "tls.no-common-suite",
            Self::TlsClosed => "tls.closed",
            Self::TlsOther => "tls.failed",
            Self::TooLarge => "http.too-large",
            Self::BadResponse => "http.bad-response",
        }
    }

    /// Whether the server may have received the request and acted on it.
    #[must_use]
    pub fn may_have_been_processed(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::Broken | Self::TooLarge | Self::BadResponse
        )
    }

    /// What an engine may do about it.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::BadRequest => ErrorKind::Config,
            Self::ProxyAuth => ErrorKind::Auth,
            // The other side may let us in at any time, and asking again locks nobody out.
            Self::TlsClientRefused | Self::TlsLateClientAuth => ErrorKind::Permission,
            Self::TooLarge | Self::BadResponse => ErrorKind::Protocol,
            _ => ErrorKind::Transient,
        }
    }

    /// Whether the TLS handshake failed: nothing was sent, or the server refused our certificate.
    #[must_use]
    pub fn is_tls(self) -> bool {
        self.code().starts_with("tls.")
    }
}

/// Why a request got no answer. Becomes a connector's [`Error`] with `?`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct HttpFailure {
    /// What went wrong.
    pub cause: Cause,
    /// Host and port that were asked.
    pub host: String,
    /// The TLS library that was used.
    pub backend: TlsBackend,
    /// Whether we have a client certificate and could not hand it over after the handshake.
    pub no_late_certificate: bool,
    /// What the library said; names hosts and protocol facts only.
    pub detail: String,
}

impl HttpFailure {
    /// What happened and what the operator can do.
    fn message(&self) -> String {
        let host = &self.host;
        let what = match self.cause {
            Cause::BadRequest => format!("no request can be made to {host}; check the URL"),
            Cause::Dns => format!(
                "the name of {host} cannot be resolved; check the host name in the settings and the name server"
            ),
            Cause::Refused => format!(
                "{host} refuses the connection; check the port, the server and the firewall"
            ),
            Cause::Unreachable => {
                format!("{host} cannot be reached; check network, firewall and proxy")
            }
            Cause::ConnectTimeout => format!(
                "connecting to {host} took too long; check network, firewall and proxy, or raise `connect_timeout`"
            ),
            Cause::Timeout => format!(
                "{host} did not answer in time; if it is only slow, ask for less at once or raise `timeout`"
            ),
            Cause::Broken => {
                let by_tls = self.detail.starts_with(AFTER_HANDSHAKE);
                let advice = match (self.backend, by_tls) {
                    // Its own failure is told, and it is not that.
                    (TlsBackend::NativeTls, true) => String::new(),
                    _ if self.no_late_certificate => format!(
                        "; if that happens with every call, the server may ask for the client certificate only after the handshake: then {LATE_SETTINGS}"
                    ),
                    (TlsBackend::Rustls, true) => {
                        "; if the server is old, `tls = \"native-tls\"` may help".to_owned()
                    }
                    _ => String::new(),
                };
                format!("the connection to {host} broke before the answer was complete{advice}")
            }
            Cause::ProxyAuth => format!(
                "the proxy on the way to {host} refuses our user name and password; set `proxy_user` and `proxy_password`"
            ),
            Cause::ProxyRefused => {
                format!("the proxy refuses to connect to {host}; allow the host in the proxy")
            }
            Cause::TlsExpired => format!(
                "the certificate of {host} has expired; its operator must renew it (check our clock too)"
            ),
            Cause::TlsNotYetValid => {
                format!("the certificate of {host} is not valid yet; check our clock")
            }
            Cause::TlsUnknownIssuer => format!(
                "the certificate of {host} comes from an authority that is not trusted; add its root to `extra_ca`, after checking that it is the right one"
            ),
            Cause::TlsWrongHost => format!(
                "the certificate of {host} is for another host; use the name that stands in the certificate"
            ),
            Cause::TlsAuthorityAsServer => format!(
                "the certificate of {host} is self-signed and made for an authority (`CA:TRUE`), which rustls takes for no server, not even from `extra_ca`; give the server one that an authority has issued, or a self-signed one with `CA:FALSE`, or, after checking that it is the right one, put it into `extra_ca` and set `tls = \"native-tls\"`"
            ),
            Cause::TlsBadCertificate => format!("the certificate of {host} cannot be accepted"),
            Cause::TlsClientRefused => format!(
                "{host} refuses our client certificate, or wants one and got none; check that it is the right one, has not expired and is registered there"
            ),
            Cause::TlsLateClientAuth if self.backend == TlsBackend::Rustls => format!(
                "{host} asks for another handshake after the first, as servers do that want the client certificate only then, and rustls has none; {LATE_SETTINGS}"
            ),
            Cause::TlsLateClientAuth => format!(
                "{host} asked for another handshake after the first, as servers do that want the client certificate only then, and refused what it got; check that the certificate is the right one, has not expired and is registered there"
            ),
            Cause::TlsNoCommonSuite => match self.backend {
                TlsBackend::Rustls => format!(
                    "{host} and rustls have no TLS version or cipher suite in common; for an old server set `tls = \"native-tls\"`"
                ),
                TlsBackend::NativeTls => format!(
                    "{host} and the operating system's TLS library have no TLS version or cipher suite in common; the server must be given newer ones"
                ),
            },
            Cause::TlsClosed => match self.backend {
                TlsBackend::Rustls => format!(
                    "{host} closed the connection during the TLS handshake; check the firewall, and if the server is old, `tls = \"native-tls\"` may help"
                ),
                TlsBackend::NativeTls => format!(
                    "{host} closed the connection during the TLS handshake; check the firewall and the server"
                ),
            },
            Cause::TlsOther => format!("no TLS connection to {host} could be made"),
            Cause::TooLarge => format!(
                "the answer of {host} is larger than `max_response`; ask for less at once or raise it"
            ),
            Cause::BadResponse => format!("what {host} sent cannot be read as an HTTP answer"),
        };
        if self.detail.is_empty() {
            what
        } else {
            format!("{what} ({})", self.detail)
        }
    }
}

impl From<HttpFailure> for Error {
    fn from(failure: HttpFailure) -> Self {
        Self::new(
            failure.cause.kind(),
            Scope::Connection,
            failure.cause.code(),
            failure.message(),
        )
    }
}

/// What lets a server have the client certificate after the handshake.
const LATE_SETTINGS: &str = "set `tls = \"native-tls\"` and `max_tls = \"1.2\"`";

/// How the detail begins where TLS failed on a connection that had been made.
const AFTER_HANDSHAKE: &str = "TLS after the handshake: ";

/// Tells what went wrong from what the HTTP library says.
pub(super) fn classify(error: reqwest::Error) -> (Cause, String) {
    let secure = error.url().is_some_and(|url| url.scheme() == "https");
    // The URL may hold an id or an address.
    let error = error.without_url();
    if let Some((cause, detail)) = look_through(&error) {
        return by_phase(
            cause,
            detail,
            secure,
            error.is_connect() || error.is_builder(),
        );
    }
    let cause = if error.is_builder() {
        Cause::BadRequest
    } else if error.is_dns() {
        Cause::Dns
    } else if error.is_timeout() {
        if error.is_connect() {
            Cause::ConnectTimeout
        } else {
            Cause::Timeout
        }
    } else if error.is_connect() {
        Cause::Unreachable
    } else if error.is_decode() {
        Cause::BadResponse
    } else {
        Cause::Broken
    };
    let detail = match cause {
        Cause::BadRequest | Cause::BadResponse | Cause::Broken | Cause::Unreachable => {
            innermost(&error)
        }
        _ => String::new(),
    };
    (cause, detail)
}

/// The same failure means another thing while the connection is made, when nothing was sent yet, and after.
fn by_phase(cause: Cause, detail: String, secure: bool, connecting: bool) -> (Cause, String) {
    match cause {
        Cause::Broken if connecting && secure => (Cause::TlsClosed, detail),
        Cause::Broken if connecting => (Cause::Unreachable, detail),
        // With TLS 1.3 a server refuses the client certificate after the client's handshake is complete, and
        // with nothing processed.
        Cause::TlsClientRefused => (cause, detail),
        // What follows the handshake is no choice of suites: the server wanted a second one, which TLS 1.2
        // knows as renegotiation.
        Cause::TlsNoCommonSuite if !connecting => (Cause::TlsLateClientAuth, detail),
        cause if cause.is_tls() && !connecting => {
            (Cause::Broken, format!("{AFTER_HANDSHAKE}{detail}"))
        }
        cause => (cause, detail),
    }
}

/// What the last error of the chain says, shortened.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    shorten(&last.to_string())
}

pub(super) fn shorten(text: &str) -> String {
    const LIMIT: usize = 300;
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LIMIT)
        .collect();
    line.trim().to_owned()
}

fn look_through(error: &(dyn StdError + 'static)) -> Option<(Cause, String)> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = look_at(error) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn look_at(error: &(dyn StdError + 'static)) -> Option<(Cause, String)> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(by_rustls(tls));
    }
    if let Some(tls) = error.downcast_ref::<native_tls::Error>() {
        let text = tls.to_string();
        return Some((by_text(&text).unwrap_or(Cause::TlsOther), shorten(&text)));
    }
    if let Some(io) = error.downcast_ref::<io::Error>() {
        // An io::Error hides what it wraps from `source`.
        if let Some(inner) = io.get_ref() {
            let inner: &(dyn StdError + 'static) = inner;
            if let Some(found) = look_through(inner) {
                return Some(found);
            }
            if let Some(cause) = by_text(&inner.to_string()) {
                return Some((cause, shorten(&inner.to_string())));
            }
        }
        return by_io(io.kind()).map(|cause| (cause, String::new()));
    }
    // Errors of the OpenSSL binding, and of proxies, are known by their text alone.
    let text = error.to_string();
    if text.contains("proxy authorization required") {
        return Some((Cause::ProxyAuth, String::new()));
    }
    if text.starts_with("tunnel error") {
        return Some((Cause::ProxyRefused, String::new()));
    }
    if text.contains("SSL routines") {
        return by_text(&text).map(|cause| (cause, shorten(&text)));
    }
    None
}

fn by_io(kind: io::ErrorKind) -> Option<Cause> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some(Cause::Refused),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Some(Cause::Unreachable),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Some(Cause::Broken),
        _ => None,
    }
}

/// What OpenSSL's texts and SChannel's numbers mean.
fn by_text(text: &str) -> Option<Cause> {
    let text = text.to_ascii_lowercase();
    let has = |any: &[&str]| any.iter().any(|part| text.contains(part));
    // Alerts come from the server and speak of our certificate; they must be looked at first.
    if has(&[
        "alert handshake failure",
        "alert protocol version",
        "alert insufficient security",
    ]) {
        return Some(Cause::TlsNoCommonSuite);
    }
    if has(&[
        "alert bad certificate",
        "alert unsupported certificate",
        "alert certificate",
        "alert unknown ca",
        "alert no certificate",
        "alert access denied",
        "alert decrypt error",
    ]) {
        return Some(Cause::TlsClientRefused);
    }
    if has(&[
        "certificate has expired",
        "os error -2146893016",
        "os error -2146762495",
    ]) {
        return Some(Cause::TlsExpired);
    }
    if has(&["not yet valid"]) {
        return Some(Cause::TlsNotYetValid);
    }
    if has(&[
        "hostname mismatch",
        "ip address mismatch",
        "os error -2146893022",
        "os error -2146762481",
    ]) {
        return Some(Cause::TlsWrongHost);
    }
    if has(&[
        "issuer certificate",
        "self-signed certificate",
        "self signed certificate",
        "unable to verify the first certificate",
        "os error -2146893019",
        "os error -2146762487",
    ]) {
        return Some(Cause::TlsUnknownIssuer);
    }
    if has(&["certificate verify failed"]) {
        return Some(Cause::TlsBadCertificate);
    }
    if has(&[
        "no ciphers available",
        "no shared cipher",
        "unsupported protocol",
        "no protocols available",
        "dh key too small",
        "unsafe legacy renegotiation",
        "wrong cipher returned",
        "os error -2146893007",
        "os error -2146893018",
    ]) {
        return Some(Cause::TlsNoCommonSuite);
    }
    has(&["ssl routines"]).then_some(Cause::TlsOther)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_operating_systems_libraries_are_told_apart() {
        for (text, cause) in [
            (
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:../ssl/statem/statem_clnt.c:1889: (certificate has expired)",
                Cause::TlsExpired,
            ),
            (
                "error:0A000415:SSL routines:ssl3_read_bytes:sslv3 alert certificate expired:ssl/record/rec_layer_s3.c:1605:SSL alert number 45",
                Cause::TlsClientRefused,
            ),
            (
                "error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:ssl/record/rec_layer_s3.c:1605:SSL alert number 40",
                Cause::TlsNoCommonSuite,
            ),
            (
                "error:0A000086:SSL routines::certificate verify failed (unable to get local issuer certificate)",
                Cause::TlsUnknownIssuer,
            ),
            (
                "error:0A000086:SSL routines::certificate verify failed (hostname mismatch)",
                Cause::TlsWrongHost,
            ),
            (
                "The received certificate has expired. (os error -2146893016)",
                Cause::TlsExpired,
            ),
            (
                "Klienten og serveren kan ikke kommunikere. (os error -2146893007)",
                Cause::TlsNoCommonSuite,
            ),
        ] {
            assert_eq!(by_text(text), Some(cause), "{text}");
        }
        assert_eq!(by_text("something else"), None);
    }

    #[test]
    fn only_an_unanswered_request_may_have_been_processed() {
        for (cause, may) in [
            (Cause::Timeout, true),
            (Cause::Broken, true),
            (Cause::ConnectTimeout, false),
            (Cause::Refused, false),
            (Cause::Dns, false),
            (Cause::TlsExpired, false),
            (Cause::TlsClosed, false),
            (Cause::TlsLateClientAuth, false),
        ] {
            assert_eq!(cause.may_have_been_processed(), may, "{cause:?}");
        }
    }

    #[test]
    fn the_advice_depends_on_the_library_that_was_used() {
        let mut failure = HttpFailure {
            cause: Cause::TlsNoCommonSuite,
            host: "mail.example:443".to_owned(),
            backend: TlsBackend::Rustls,
            no_late_certificate: false,
            detail: String::new(),
        };
        assert!(failure.to_string().contains("tls = \"native-tls\""));
        failure.backend = TlsBackend::NativeTls;
        assert!(!failure.to_string().contains("set `tls"));
        let error = Error::from(failure);
        assert_eq!(error.code, "tls.no-common-suite");
    }
}
