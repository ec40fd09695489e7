//! What Graph's errors mean for the engine.

use std::time::Duration;

use calbridge_core::connector::{Error, ErrorKind, Scope};
use serde::Deserialize;

/// How long to wait where a busy service does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// A longer wait is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The body of an error (Graph, "Microsoft Graph error responses and resource types").
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    #[serde(default)]
    pub(crate) error: Told,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Told {
    /// The code. The message may hold names and is not read.
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default, rename = "innerError", alias = "innererror")]
    pub(crate) inner: Option<Box<Told>>,
}

impl Told {
    /// The codes, the most telling one first.
    fn codes(&self) -> Vec<&str> {
        let mut codes = Vec::new();
        let mut next = Some(self);
        while let Some(told) = next.filter(|_| codes.len() < 8) {
            if !told.code.is_empty() {
                codes.push(told.code.as_str());
            }
            next = told.inner.as_deref();
        }
        codes
    }
}

/// What an answer that is no success means. `of_item`: it was about one event, not about a calendar.
pub(crate) fn of_answer(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    of_item: bool,
) -> Error {
    let told = serde_json::from_slice::<Body>(body)
        .unwrap_or_default()
        .error;
    of_told(status, &told, retry_after, of_item)
}

/// As [`of_answer`], of an error that was read already.
pub(crate) fn of_told(
    status: u16,
    told: &Told,
    retry_after: Option<Duration>,
    of_item: bool,
) -> Error {
    let codes = told.codes();
    let shown: String = codes
        .first()
        .map(|code| {
            code.chars()
                .filter(char::is_ascii_alphanumeric)
                .take(60)
                .collect()
        })
        .filter(|code: &String| !code.is_empty())
        .unwrap_or_else(|| status.to_string());
    let item = if of_item {
        Scope::Item
    } else {
        Scope::Calendar
    };
    let (kind, scope, message) = codes
        .iter()
        .find_map(|code| by_code(code, item))
        .unwrap_or_else(|| by_status(status, item));
    let error = Error::new(kind, scope, format!("graph.{shown}"), message);
    if matches!(kind, ErrorKind::Throttled)
        || (kind == ErrorKind::Transient && retry_after.is_some())
    {
        return error.retry_after(believed(retry_after));
    }
    error
}

/// What to wait, by what the server says.
fn believed(told: Option<Duration>) -> Duration {
    told.filter(|wait| !wait.is_zero())
        .unwrap_or(DEFAULT_WAIT)
        .min(LONGEST_WAIT)
}

type Meaning = (ErrorKind, Scope, &'static str);

/// Codes are compared without regard to letter case: Graph spells some of them either way.
fn by_code(code: &str, item: Scope) -> Option<Meaning> {
    Some(match code.to_ascii_lowercase().as_str() {
        "syncstatenotfound" | "resyncrequired" | "syncstateinvalid" | "badsyncstate" => (
            ErrorKind::CursorExpired,
            Scope::Calendar,
            "Graph no longer knows where the last reading ended",
        ),
        "erroritemnotfound" | "itemnotfound" => {
            (ErrorKind::NotFound, item, "there is no such event")
        }
        "request_resourcenotfound"
        | "resourcenotfound"
        | "errorinvaliduser"
        | "erroruserunknown" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "Entra ID knows no user with this address, or he was deleted; the address is the user principal name, which may differ from the mail address",
        ),
        "mailboxnotenabledforrestapi"
        | "mailboxnotsupportedforrestapi"
        | "errornonexistentmailbox"
        | "errormailboxnotenabledforrestapi" => (
            ErrorKind::NotFound,
            Scope::Calendar,
            "the user has no mailbox in Exchange Online: no licence, one that was taken away, or a mailbox on premises; an administrator has to see to that",
        ),
        "errormailboxmoveinprogress"
        | "errormailboxstoreunavailable"
        | "mailboxinfostale"
        | "errormailboxfailover" => (
            ErrorKind::Transient,
            Scope::Calendar,
            "the mailbox is being moved or is out of order for the moment",
        ),
        "erroraccessdenied" | "accessdenied" | "erroraccessdeniedbyapplicationaccesspolicy" => (
            ErrorKind::Permission,
            Scope::Calendar,
            "the application may not reach this mailbox: it lies outside the scope of its role assignment or access policy, or nobody consented to Calendars.ReadWrite (a change needs up to two hours)",
        ),
        "authorization_requestdenied" | "authorization_identitynotfound" => (
            ErrorKind::Permission,
            Scope::Connection,
            "the application lacks a permission; add Calendars.ReadWrite as application permission and let an administrator consent",
        ),
        "invalidauthenticationtoken"
        | "unauthorized"
        | "compacttokenparsingfailed"
        | "lifetimevalidationfailed" => (
            ErrorKind::Auth,
            Scope::Connection,
            "Graph refuses a fresh token; check `cloud`, and whether the application is still enabled",
        ),
        "applicationthrottled"
        | "errortoomanyrequests"
        | "toomanyrequests"
        | "activitylimitreached"
        | "mailboxconcurrency"
        | "errorserverbusy"
        | "errorexceededconnectioncount" => (
            ErrorKind::Throttled,
            Scope::Calendar,
            "Graph asks to slow down for this mailbox",
        ),
        "errorirresolvableconflict" | "errorstaleobject" | "preconditionfailed" | "conflict" => {
            (ErrorKind::Conflict, item, "the event was changed meanwhile")
        }
        "erroroccurrencecrossingboundary" => (
            ErrorKind::Rejected,
            item,
            "an occurrence of a series is moved only between the ones before and after it",
        ),
        "errorquotaexceeded" => (
            ErrorKind::Transient,
            Scope::Calendar,
            "the mailbox is full; its owner has to make room",
        ),
        "errormessagesizeexceeded" => (
            ErrorKind::Rejected,
            item,
            "Exchange Online finds the event too large; shorten its text at the source",
        ),
        _ => return None,
    })
}

fn by_status(status: u16, item: Scope) -> Meaning {
    match status {
        300..=399 => (
            ErrorKind::Protocol,
            Scope::Calendar,
            "the answer points elsewhere, and tokens are not carried there; check `cloud`",
        ),
        401 => (
            ErrorKind::Auth,
            Scope::Connection,
            "Graph refuses a fresh token; check `cloud`, and whether the application is still enabled",
        ),
        403 => (
            ErrorKind::Permission,
            Scope::Calendar,
            "Graph does not allow this; check the application's permissions and its scope",
        ),
        404 if item == Scope::Item => (ErrorKind::NotFound, item, "there is no such event"),
        404 => (
            ErrorKind::NotFound,
            item,
            "there is no such user, mailbox or calendar",
        ),
        409 | 412 => (ErrorKind::Conflict, item, "the event was changed meanwhile"),
        410 => (
            ErrorKind::CursorExpired,
            Scope::Calendar,
            "Graph no longer knows where the last reading ended",
        ),
        413 => (ErrorKind::Rejected, item, "the request is too large"),
        429 => (
            ErrorKind::Throttled,
            Scope::Calendar,
            "Graph asks to slow down for this mailbox",
        ),
        500..=599 => (
            ErrorKind::Transient,
            Scope::Calendar,
            "Graph, or something on the way to it, is out of order for the moment",
        ),
        _ => (ErrorKind::Rejected, item, "Graph refuses the request"),
    }
}

/// An answer that is not what Graph's documentation says.
pub(crate) fn protocol(what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "graph.protocol",
        format!(
            "an answer cannot be used: {what}; if this goes on, look for a proxy that answers in Graph's place"
        ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(status: u16, code: &str) -> Error {
        let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"Anna hush\"}}}}");
        of_answer(status, body.as_bytes(), None, false)
    }

    #[test]
    fn codes_come_before_statuses_whatever_their_case() {
        for (status, code, kind) in [
            (410, "SyncStateNotFound", ErrorKind::CursorExpired),
            (400, "resyncRequired", ErrorKind::CursorExpired),
            (404, "syncStateNotFound", ErrorKind::CursorExpired),
            (404, "ErrorItemNotFound", ErrorKind::NotFound),
            (403, "ErrorAccessDenied", ErrorKind::Permission),
            (429, "ApplicationThrottled", ErrorKind::Throttled),
            (409, "ErrorIrresolvableConflict", ErrorKind::Conflict),
            (400, "ErrorPropertyValidationFailure", ErrorKind::Rejected),
            (503, "unheardOf", ErrorKind::Transient),
        ] {
            let error = error(status, code);
            assert_eq!(error.kind, kind, "{error}");
            assert_eq!(error.code, format!("graph.{code}"));
            assert!(!error.message.contains("hush"));
        }
    }

    #[test]
    fn what_is_no_json_is_judged_by_its_status() {
        let error = of_answer(503, b"<html>", Some(Duration::from_secs(7)), false);
        assert_eq!(
            (error.kind, error.wait()),
            (ErrorKind::Transient, Some(Duration::from_secs(7)))
        );
        assert_eq!(of_answer(302, b"", None, false).kind, ErrorKind::Protocol);
        assert_eq!(of_answer(401, b"[]", None, false).scope, Scope::Connection);
        let item = of_answer(404, b"", None, true);
        assert_eq!((item.kind, item.scope), (ErrorKind::NotFound, Scope::Item));
    }

    #[test]
    fn a_mailbox_that_is_gone_is_no_event_that_is_gone() {
        for code in [
            "Request_ResourceNotFound",
            "ErrorInvalidUser",
            "MailboxNotEnabledForRESTAPI",
        ] {
            let body = format!("{{\"error\":{{\"code\":\"{code}\"}}}}");
            let error = of_answer(404, body.as_bytes(), None, true);
            assert_eq!(
                (error.kind, error.scope),
                (ErrorKind::NotFound, Scope::Calendar)
            );
        }
    }

    #[test]
    fn a_throttle_always_has_a_wait_and_never_a_day() {
        let wait = |told: Option<u64>| {
            of_answer(429, b"", told.map(Duration::from_secs), false)
                .wait()
                .unwrap()
        };
        assert_eq!(wait(None), DEFAULT_WAIT);
        assert_eq!(wait(Some(0)), DEFAULT_WAIT);
        assert_eq!(wait(Some(120)).as_secs(), 120);
        assert_eq!(wait(Some(1_000_000)), LONGEST_WAIT);
    }

    #[test]
    fn inner_codes_are_read_and_hostile_ones_shortened() {
        let body =
            br#"{"error":{"code":"UnknownError","innerError":{"code":"MailboxConcurrency"}}}"#;
        assert_eq!(of_answer(429, body, None, false).kind, ErrorKind::Throttled);
        let long = error(400, &"x\\n ".repeat(200));
        assert!(long.code.len() < 80 && long.code.is_ascii());
    }
}
