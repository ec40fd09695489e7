//! What each error of the wire means to the core: kind, scope, code, and what the operator can do.
//!
//! EWS tells errors at three levels: the HTTP status, a SOAP fault, and one response code per requested item
//! (EWS `ResponseCodeType`). The codes are an open set: an unknown one is an error of its item and nothing
//! more. Codes that monitoring sees are `ews.` and the response code; `ews.http.` and the status;
//! `ews.protocol` for an answer that cannot be read. Texts that the server sends along may name people and
//! are never repeated.

use std::time::Duration;

use calbridge_core::connector::{Error, ErrorKind, Scope};

use crate::xml::XmlError;

/// How long to wait when a busy server does not say.
pub(crate) const DEFAULT_BACK_OFF: Duration = Duration::from_secs(30);

/// The longest wait that is believed: a wrong clock or a typing error must not stop a calendar for good.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60 * 60);

/// How long to wait by what a busy server says. None at all would keep it busy.
fn believed(told: Option<Duration>) -> Duration {
    match told {
        None | Some(Duration::ZERO) => DEFAULT_BACK_OFF,
        Some(wait) => wait.min(LONGEST_BACK_OFF),
    }
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// The XML itself.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// A web page or something else that is no SOAP.
    #[error("the answer is not SOAP (a web page of a proxy or a load balancer?)")]
    NotSoap,
    /// Something that the protocol requires is not there.
    #[error("the answer lacks {0}")]
    Missing(&'static str),
    /// A value that is not of its type.
    #[error("the answer has an unreadable value in {0}")]
    Value(&'static str),
    /// A listing with fewer items than it counts.
    #[error("the answer lists {listed} items and counts {counted}")]
    Fewer {
        /// How many are listed.
        listed: usize,
        /// How many it says there are.
        counted: u64,
    },
    /// Not one response message for each thing that was asked for, so that none can be told from another.
    #[error("the answer has {got} response messages where {asked} were asked for")]
    Count {
        /// How many were asked for.
        asked: usize,
        /// How many came.
        got: usize,
    },
    /// The answer belongs to another operation.
    #[error("the answer belongs to another operation")]
    WrongOperation,
}

impl WireError {
    /// The core's error. `operation` is the name of the EWS operation.
    pub(crate) fn of(&self, operation: &str) -> Error {
        Error::new(
            ErrorKind::Protocol,
            Scope::Calendar,
            "ews.protocol",
            format!("EWS {operation}: {self}"),
        )
    }
}

/// Whose budget a request is charged to, and whose rights it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charged {
    /// The impersonated mailbox.
    Mailbox,
    /// The signed-in account.
    Account,
}

/// The error that a response code stands for.
pub(crate) fn from_code(
    code: &str,
    inner: Option<&str>,
    back_off_ms: Option<u64>,
    charged: Charged,
    scope: Scope,
) -> Error {
    // An internal error may wrap the busy signal. What else it wraps counts where it is known.
    let wrapped = inner.filter(|inner| code == "ErrorInternalServerError" && !inner.is_empty());
    let known = wrapped.and_then(|inner| Some((inner, react(inner, charged, scope)?)));
    let (effective, reaction) = known.unwrap_or_else(|| {
        let unknown = (
            ErrorKind::Rejected,
            scope,
            "Exchange refused it; see the response code",
        );
        (code, react(code, charged, scope).unwrap_or(unknown))
    });
    let (kind, scope, text) = reaction;
    let mut error = Error::new(kind, scope, format!("ews.{}", safe(effective)), text);
    if kind == ErrorKind::Throttled {
        error = error.retry_after(believed(back_off_ms.map(Duration::from_millis)));
    }
    error
}

/// A code goes into logs: no more than a name may pass.
fn safe(code: &str) -> String {
    let name: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(80)
        .collect();
    if name.is_empty() {
        "Unnamed".to_owned()
    } else {
        name
    }
}

/// `None` for a code that is not known.
fn react(code: &str, charged: Charged, scope: Scope) -> Option<(ErrorKind, Scope, &'static str)> {
    let wide = match charged {
        Charged::Mailbox => Scope::Calendar,
        Charged::Account => Scope::Connection,
    };
    Some(match code {
        "ErrorServerBusy" => (
            ErrorKind::Throttled,
            wide,
            "Exchange asks to slow down; reading goes on after the wait it asks for. If this is frequent, lower `max_in_flight`, or have the administrator raise the service account's throttling policy",
        ),
        "ErrorExceededConnectionCount" => (
            ErrorKind::Throttled,
            wide,
            "Exchange counts too many connections at once; lower `max_in_flight`",
        ),
        "ErrorInternalServerTransientError"
        | "ErrorInternalServerError"
        | "ErrorMailboxStoreUnavailable"
        | "ErrorConnectionFailed"
        | "ErrorMailboxFailover"
        | "ErrorMailboxMoveInProgress"
        | "ErrorInsufficientResources"
        | "ErrorNotEnoughMemory"
        | "ErrorADUnavailable"
        | "ErrorADOperation"
        | "ErrorTimeoutExpired"
        | "ErrorBatchProcessingStopped"
        | "ErrorNoRespondingCASInDestinationSite"
        | "ErrorProxyRequestNotAllowed"
        | "ErrorCrossSiteRequest"
        | "ErrorTooManyObjectsOpened"
        | "ErrorClientDisconnected"
        | "ErrorRequestAborted"
        | "ErrorMailboxLogonFailed"
        | "ErrorDataSourceOperation"
        | "ErrorProxyCallFailed"
        | "ErrorProxyRequestProcessingFailed"
        | "ErrorProxyServiceDiscoveryFailed"
        | "ErrorProxyTokenExpired"
        | "ErrorProxySoapException"
        | "ErrorServiceDiscoveryFailed"
        | "ErrorNoApplicableProxyCASServersAvailable" => (
            ErrorKind::Transient,
            scope,
            "Exchange could not do it now; it is tried again",
        ),
        "ErrorNonExistentMailbox" | "ErrorNoSmtpAddress" | "ErrorCannotFindUser" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "there is no mailbox with this address; nothing of it is deleted on the other side. Correct the roster, or have the mailbox restored",
        ),
        "ErrorAccountDisabled" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "the mailbox's account is disabled; nothing of it is deleted on the other side",
        ),
        "ErrorPasswordExpired" | "ErrorPasswordChangeRequired" => (
            ErrorKind::Auth,
            Scope::Connection,
            "the password of the service account has expired or must be changed; set a new one in the directory, and in the secret that `auth` refers to",
        ),
        "ErrorCallerIsInvalidADAccount" => (
            ErrorKind::Permission,
            Scope::Connection,
            "Exchange does not take the service account for one of its directory; check `auth`",
        ),
        "ErrorInvalidSmtpAddress" | "ErrorMissingExchangePrincipal" | "ErrorInvalidMailbox" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "Exchange makes no mailbox of this address; correct the roster",
        ),
        "ErrorMailboxConfiguration" | "ErrorMissingEmailAddress" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "the account behind this address has no usable mailbox on this server (not created, not licensed, or moved to the cloud)",
        ),
        "ErrorNonPrimarySmtpAddress" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "the roster's address is an alias, and Exchange takes the primary address only; write the mailbox's primary address into the roster",
        ),
        "ErrorAccessDenied" | "ErrorPermissionDenied" if scope == Scope::Item => (
            ErrorKind::Permission,
            Scope::Item,
            "the account may not read this item",
        ),
        "ErrorAccessDenied" | "ErrorPermissionDenied" => (
            ErrorKind::Permission,
            Scope::Calendar,
            "the account may not read this calendar; with `access = \"delegate\"` it needs at least Reviewer rights on the calendar, with `access = \"impersonation\"` the role ApplicationImpersonation for this mailbox",
        ),
        "ErrorImpersonateUserDenied" | "ErrorImpersonationDenied" | "ErrorImpersonationFailed" => (
            ErrorKind::Permission,
            Scope::Calendar,
            "the account may not impersonate this mailbox; assign it the management role ApplicationImpersonation with a scope that includes the mailbox, or use `access = \"delegate\"`",
        ),
        "ErrorFolderNotFound" | "ErrorSyncFolderNotFound" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "the calendar folder is not there, or the account may not see it",
        ),
        "ErrorItemNotFound" => (ErrorKind::NotFound, scope, "the item is no longer there"),
        "ErrorCalendarOccurrenceIsDeletedFromRecurrence"
        | "ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange" => (
            ErrorKind::NotFound,
            scope,
            "the occurrence is no longer part of its series",
        ),
        "ErrorInvalidSyncStateData" => (
            ErrorKind::CursorExpired,
            Scope::Calendar,
            "Exchange no longer knows the synchronisation state (a restored or moved mailbox)",
        ),
        "ErrorItemCorrupt" | "ErrorCorruptData" | "ErrorPropertyUpdate" => (
            ErrorKind::Rejected,
            scope,
            "Exchange holds the item in a damaged form; what is known of it is kept. Opening and saving it in Outlook often mends it",
        ),
        "ErrorSchemaValidation"
        | "ErrorInvalidRequest"
        | "ErrorInvalidServerVersion"
        | "ErrorIncorrectSchemaVersion"
        | "ErrorInvalidPropertyRequest"
        | "ErrorUnsupportedPathForQuery"
        | "ErrorInvalidIdMalformed"
        | "ErrorInvalidIdEmpty"
        | "ErrorInvalidId" => (
            ErrorKind::Protocol,
            scope,
            "Exchange refuses the request's form; this is a fault of calbridge or of a server that is not Exchange 2013 SP1 or later: please report it with the log",
        ),
        // By SOAP 1.1 (4.4.1) the same message may well succeed later.
        "Server" => (
            ErrorKind::Transient,
            scope,
            "the server failed with a fault that names no EWS response code; it is tried again. See the server's log",
        ),
        "Client" | "" => (
            ErrorKind::Protocol,
            scope,
            "the server answered with a fault that names no EWS response code; see the server's log",
        ),
        _ => return None,
    })
}

/// The error that an HTTP status stands for when the answer holds no SOAP.
pub(crate) fn from_status(status: u16, retry_after: Option<Duration>, charged: Charged) -> Error {
    let wide = match charged {
        Charged::Mailbox => Scope::Calendar,
        Charged::Account => Scope::Connection,
    };
    let (kind, scope, text) = match status {
        401 => (
            ErrorKind::Auth,
            Scope::Connection,
            "Exchange refuses the credentials, or the virtual directory does not offer this kind of authentication. Check user and secret; too many attempts lock the account",
        ),
        403 => (
            ErrorKind::Permission,
            Scope::Connection,
            "the server forbids the account the use of EWS; check EwsEnabled and EwsApplicationAccessPolicy, and any gateway in between",
        ),
        404 | 405 => (
            ErrorKind::Config,
            Scope::Connection,
            "there is no EWS at `url`; it usually ends in /EWS/Exchange.asmx",
        ),
        407 => (
            ErrorKind::Config,
            Scope::Connection,
            "the proxy wants a sign-in",
        ),
        413 => (
            ErrorKind::Protocol,
            Scope::Calendar,
            "the server finds the request too large",
        ),
        // What Exchange answers where a page of Outlook on the web wants a sign-in (IIS, "Login Time-out").
        440 => (
            ErrorKind::Config,
            Scope::Connection,
            "a sign-in form answers in place of EWS. Check that `url` leads to the EWS virtual directory (it usually ends in /EWS/Exchange.asmx) and that no gateway puts a form before it",
        ),
        300..=399 => (
            ErrorKind::Config,
            Scope::Connection,
            "the server redirects; credentials are not sent on to another address. Write the final address into `url`",
        ),
        429 | 503 => (
            ErrorKind::Throttled,
            Scope::Connection,
            "the server is overloaded or under maintenance; reading goes on after a wait",
        ),
        408 | 502 | 504 => (
            ErrorKind::Transient,
            Scope::Connection,
            "a gateway could not reach Exchange; it is tried again",
        ),
        500..=599 => (
            ErrorKind::Transient,
            wide,
            "Exchange failed without saying why; it is tried again",
        ),
        // It may be what stands in place of one mailbox's answer only: others are asked all the same.
        200..=299 => (
            ErrorKind::Protocol,
            wide,
            "the answer is not SOAP: a sign-in page, a proxy or a load balancer answers in place of Exchange. Check `url`",
        ),
        _ => (
            ErrorKind::Protocol,
            Scope::Connection,
            "the server answers with a status that EWS does not use",
        ),
    };
    let mut error = Error::new(kind, scope, format!("ews.http.{status}"), text);
    let told = retry_after.is_some_and(|wait| !wait.is_zero());
    if kind == ErrorKind::Throttled || (kind == ErrorKind::Transient && told) {
        error = error.retry_after(believed(retry_after));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str) -> Error {
        from_code(code, None, None, Charged::Mailbox, Scope::Calendar)
    }

    #[test]
    fn a_missing_mailbox_is_a_matter_of_its_calendar_only() {
        for name in [
            "ErrorNonExistentMailbox",
            "ErrorAccountDisabled",
            "ErrorMailboxConfiguration",
            "ErrorMissingEmailAddress",
            "ErrorNonPrimarySmtpAddress",
        ] {
            let error = code(name);
            assert_eq!(
                (error.kind, error.scope),
                (ErrorKind::NotFound, Scope::Calendar),
                "{name}"
            );
            assert_eq!(error.code, format!("ews.{name}"));
        }
    }

    #[test]
    fn busy_waits_as_long_as_the_server_says() {
        let error = from_code(
            "ErrorServerBusy",
            None,
            Some(297_749),
            Charged::Mailbox,
            Scope::Item,
        );
        assert_eq!(error.kind, ErrorKind::Throttled);
        assert_eq!(error.retry_after_ms, Some(297_749));
        let wrapped = from_code(
            "ErrorInternalServerError",
            Some("ErrorServerBusy"),
            None,
            Charged::Account,
            Scope::Calendar,
        );
        assert_eq!(
            (wrapped.kind, wrapped.scope),
            (ErrorKind::Throttled, Scope::Connection)
        );
        assert_eq!(wrapped.retry_after_ms, Some(30_000));
    }

    #[test]
    fn a_wait_of_nothing_or_of_years_is_not_believed() {
        let wait = |told| {
            from_code("ErrorServerBusy", None, told, Charged::Mailbox, Scope::Item).retry_after_ms
        };
        assert_eq!(wait(Some(0)), Some(30_000));
        assert_eq!(wait(Some(u64::MAX)), Some(3_600_000));
    }

    #[test]
    fn an_internal_error_with_an_unknown_cause_is_tried_again() {
        for inner in [
            "ErrorInternalServerError",
            "ErrorOfTomorrow",
            "-2146233088",
            "",
        ] {
            let error = from_code(
                "ErrorInternalServerError",
                Some(inner),
                None,
                Charged::Mailbox,
                Scope::Calendar,
            );
            assert_eq!(error.kind, ErrorKind::Transient, "{inner}");
            assert_eq!(error.code, "ews.ErrorInternalServerError");
        }
    }

    #[test]
    fn an_unknown_code_is_an_error_of_its_item() {
        let error = from_code("ErrorOfTomorrow", None, None, Charged::Mailbox, Scope::Item);
        assert_eq!(
            (error.kind, error.scope),
            (ErrorKind::Rejected, Scope::Item)
        );
        assert_eq!(error.code, "ews.ErrorOfTomorrow");
        let odd = from_code("anna@x.dk <b>", None, None, Charged::Mailbox, Scope::Item);
        assert_eq!(odd.code, "ews.annaxdkb");
    }

    #[test]
    fn statuses_without_soap() {
        let kind = |status| from_status(status, None, Charged::Mailbox).kind;
        assert_eq!(kind(401), ErrorKind::Auth);
        assert_eq!(kind(302), ErrorKind::Config);
        assert_eq!(kind(500), ErrorKind::Transient);
        assert_eq!(kind(200), ErrorKind::Protocol);
        let wait = |status, seconds| {
            let told = Some(Duration::from_secs(seconds));
            from_status(status, told, Charged::Mailbox).retry_after_ms
        };
        assert_eq!(wait(503, 7), Some(7_000));
        assert_eq!(wait(503, 0), Some(30_000), "no wait is none");
        assert_eq!(wait(503, 9_999_999), Some(3_600_000));
        assert_eq!(wait(502, 7), Some(7_000));
        assert_eq!(wait(502, 0), None);
        assert_eq!(wait(403, 7), None);
    }
}
