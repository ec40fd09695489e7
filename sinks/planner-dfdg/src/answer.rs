//! What a bad answer, or none, means.

use std::time::Duration;

use calbridge_core::connector::{Error, ErrorKind, Scope};
use calbridge_core::http::{Cause, HttpFailure, HttpResponse, StatusCode};

use crate::codes::{self, Access};
use crate::soap::Element;
use crate::wire::{self, Answer, Fault, Operation, WireError};

/// The longest wait that a server's Retry-After is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What to do where the certificate is not known.
pub(crate) const CERTIFICATE_ADVICE: &str = "log on once with the certificate at STAR's portal so that it becomes known, then ask STAR to open access for it, which may take weeks";

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
    /// The service asks for fewer calls.
    Busy,
    /// Something before the service says that it is not there now. The call may have reached it all the same.
    Unavailable,
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
            // A fault tells that something failed, not that nothing was stored before it did.
            Self::Fault(_)
            | Self::Access(_)
            | Self::Unavailable
            | Self::TooLarge
            | Self::Timeout
            | Self::Unclear => true,
            Self::NotTried | Self::NotSent(_) | Self::Denied(_) | Self::Busy => false,
        }
    }

    /// Whether what was asked, rather than the connection, may be the reason.
    pub(crate) fn may_be_the_calendars(&self) -> bool {
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

/// What it means that there was no answer.
pub(crate) fn unanswered(failure: &HttpFailure) -> (Why, Error) {
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

/// Opens an answer, or tells what is wrong with it.
pub(crate) fn understand(
    operation: Operation,
    response: &HttpResponse,
) -> Result<Element, Box<(Why, Error)>> {
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
    // The texts are looked at and never repeated.
    let said = fault
        .details
        .as_ref()
        .and_then(|details| details.message.as_deref());
    if let Some(access) = said
        .and_then(codes::access)
        .or_else(|| codes::access(&fault.text))
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
        let error = Error::new(
            ErrorKind::Permission,
            Scope::Connection,
            code,
            format!("{advice} ({message})"),
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
            "access is denied; check with STAR that the certificate is known and opened for this service and jobcenter; if it is, the server may ask for it only after the handshake: then set `tls = \"native-tls\"` and `max_tls = \"1.2\"`",
        ),
        // How web servers before a service say that the client certificate is missing or refused.
        400 if speaks_of_certificates(&response.body) => (
            Why::Denied(status),
            ErrorKind::Permission,
            codes::CALL_FAILED,
            "the web server before the service refuses the client certificate, or got none",
        ),
        400 => (
            Why::TooLarge,
            ErrorKind::Transient,
            codes::CALL_FAILED,
            "the server takes no such call; it may be larger than its quota, so the next ones are smaller",
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
            Why::Unavailable,
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

fn speaks_of_certificates(body: &[u8]) -> bool {
    const ENOUGH: usize = 4096;
    let start = body.get(..ENOUGH).unwrap_or(body);
    String::from_utf8_lossy(start)
        .to_lowercase()
        .contains("certifi")
}

/// Retry-After in seconds or as a date, relative to the server's own clock. None and zero say nothing: it is
/// for the caller to back off then.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let wait = response.retry_after()?;
    (!wait.is_zero()).then(|| wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use calbridge_core::http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

    use super::*;

    /// What an answer with this Retry-After makes of the error; the server's clock stands at 13:05:09.
    fn wait(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        headers.insert(
            DATE,
            HeaderValue::from_static("Sun, 22 Nov 2026 13:05:09 GMT"),
        );
        let response = HttpResponse {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers,
            body: Vec::new(),
        };
        understand(Operation::CreateEvents, &response)
            .unwrap_err()
            .1
            .wait()
    }

    #[test]
    fn a_retry_after_of_zero_or_in_the_past_is_none() {
        for text in [
            "0",
            "Sun, 22 Nov 2026 13:05:09 GMT",
            "Sun, 22 Nov 2026 13:00:00 GMT",
            "-1",
            "soon",
        ] {
            assert_eq!(wait(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_believed_for_an_hour() {
        for (text, seconds) in [
            ("17", 17),
            ("Sun, 22 Nov 2026 13:07:09 GMT", 120),
            ("3600", 3600),
            ("3601", 3600),
            ("86400", 3600),
            ("Mon, 23 Nov 2026 13:05:09 GMT", 3600),
        ] {
            assert_eq!(wait(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }
}
