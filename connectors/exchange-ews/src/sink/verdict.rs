//! What an error means for a write: whether it may have been done all the same, and what follows.

use calbridge_core::connector::{Error, ErrorKind, Outcome, Scope};

/// What follows from an error that one write was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The item is not there.
    Gone,
    /// The item is another one by now.
    Changed,
    /// Not now; the others go on.
    Later(Error),
    /// It may have been done.
    Unclear,
    /// Refused for good.
    Refused(Error),
    /// It concerns the whole calendar or more: nothing more is sent.
    Stop(Error),
}

/// Judges the error of one write. `creating`: there is no item yet that it could be about.
pub(crate) fn verdict(mut error: Error, creating: bool) -> Verdict {
    match name(&error) {
        "ErrorItemNotFound"
        | "ErrorCalendarOccurrenceIsDeletedFromRecurrence"
        | "ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange"
            if !creating =>
        {
            return Verdict::Gone;
        }
        "ErrorIrresolvableConflict"
        | "ErrorStaleObject"
        | "ErrorInvalidChangeKey"
        | "ErrorChangeKeyRequired"
        | "ErrorChangeKeyRequiredForWriteOperations" => return Verdict::Changed,
        // The owner makes room, and nobody has to send anything again.
        "ErrorQuotaExceeded" => return Verdict::Later(error),
        "ErrorAccessDenied" | "ErrorPermissionDenied" | "ErrorCreateItemAccessDenied"
            if creating =>
        {
            return Verdict::Stop(Error {
                code: error.code,
                ..no_write_right()
            });
        }
        "ErrorAccessDenied" | "ErrorPermissionDenied" => return Verdict::Later(error),
        other => {
            if let Some(why) = explain(other) {
                why.clone_into(&mut error.message);
            }
        }
    }
    match error.kind {
        ErrorKind::Throttled | ErrorKind::Auth | ErrorKind::Config => Verdict::Stop(error),
        ErrorKind::Transient if is_undone(&error) => Verdict::Later(error),
        ErrorKind::Transient | ErrorKind::Cancelled => Verdict::Unclear,
        _ if error.scope != Scope::Item => Verdict::Stop(error),
        _ => Verdict::Refused(error),
    }
}

/// Whether a request that failed as a whole may have been carried out.
pub(crate) fn may_be_done(error: &Error) -> bool {
    match error.code.as_str() {
        "http.timeout" | "http.broken" | "http.too-large" | "http.bad-response" => true,
        // An answer that cannot be read may be that of a request that went well.
        "ews.protocol" | "ews.Server" => true,
        code => match code.strip_prefix("ews.http.") {
            Some(status) => status.starts_with(['2', '5']),
            None => {
                error.kind == ErrorKind::Cancelled
                    || (error.kind == ErrorKind::Transient
                        && code.starts_with("ews.")
                        && !is_undone(error))
            }
        },
    }
}

/// Whether a request may have been refused for what one of its items holds.
pub(crate) fn is_about_content(error: &Error) -> bool {
    let of_versions = matches!(
        name(error),
        "ErrorInvalidServerVersion" | "ErrorIncorrectSchemaVersion"
    );
    error.code == "ews.http.413"
        || (!of_versions
            && matches!(error.kind, ErrorKind::Protocol | ErrorKind::Rejected)
            && error.code.starts_with("ews.Error"))
}

/// What is said before anything is done.
fn is_undone(error: &Error) -> bool {
    matches!(
        name(error),
        "ErrorMailboxMoveInProgress"
            | "ErrorMailboxFailover"
            | "ErrorMailboxStoreUnavailable"
            | "ErrorInsufficientResources"
            | "ErrorNotEnoughMemory"
            | "ErrorADUnavailable"
            | "ErrorADOperation"
            | "ErrorMailboxLogonFailed"
            | "ErrorNoRespondingCASInDestinationSite"
            | "ErrorBatchProcessingStopped"
            | "ErrorTooManyObjectsOpened"
    )
}

fn name(error: &Error) -> &str {
    error.code.strip_prefix("ews.").unwrap_or_default()
}

fn explain(name: &str) -> Option<&'static str> {
    Some(match name {
        "ErrorMessageSizeExceeded" => {
            "Exchange finds the appointment too large; shorten its text at the source"
        }
        "ErrorOccurrenceCrossingBoundary" => {
            "Exchange moves an occurrence of a series only between the ones before and after it"
        }
        "ErrorOccurrenceTimeSpanTooBig" => {
            "Exchange does not let an occurrence of a series last into the next one"
        }
        "ErrorCalendarDurationIsTooLong" => "Exchange refuses appointments of more than five years",
        "ErrorCalendarEndDateIsEarlierThanStartDate" => {
            "Exchange finds the end before the start; correct the appointment at the source"
        }
        "ErrorCalendarOutOfRange" => "Exchange keeps no appointments so far away in time",
        "ErrorTimeZone" => "Exchange does not know the time zone; check `home_zone`",
        _ => return None,
    })
}

/// An outcome for a write that is tried again.
pub(crate) fn later(error: &Error) -> Outcome {
    Outcome::Retry {
        after_ms: error.retry_after_ms,
        code: Some(error.code.clone()),
    }
}

pub(crate) fn refused(code: &str, message: &str) -> Outcome {
    Outcome::Rejected {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// The account may read the calendar and not write it.
pub(crate) fn no_write_right() -> Error {
    Error::new(
        ErrorKind::Permission,
        Scope::Calendar,
        "ews.write.no-right",
        "the account may not write into the calendar; with `access = \"delegate\"` it needs at least Editor rights on the calendar, with `access = \"impersonation\"` the owner's own rights on the folder are missing",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::{Charged, from_code, from_status};

    fn of(code: &str) -> Error {
        from_code(code, None, None, Charged::Mailbox, Scope::Item)
    }

    #[test]
    fn codes_of_items() {
        assert_eq!(verdict(of("ErrorItemNotFound"), false), Verdict::Gone);
        assert_eq!(
            verdict(of("ErrorIrresolvableConflict"), false),
            Verdict::Changed
        );
        for code in ["ErrorQuotaExceeded", "ErrorMailboxMoveInProgress"] {
            assert!(
                matches!(verdict(of(code), true), Verdict::Later(_)),
                "{code}"
            );
        }
        for code in ["ErrorInternalServerError", "ErrorTimeoutExpired"] {
            assert_eq!(verdict(of(code), true), Verdict::Unclear, "{code}");
        }
        for code in ["ErrorServerBusy", "ErrorNonExistentMailbox"] {
            assert!(
                matches!(verdict(of(code), false), Verdict::Stop(_)),
                "{code}"
            );
        }
        for code in [
            "ErrorMessageSizeExceeded",
            "ErrorOfTomorrow",
            "ErrorInvalidPropertySet",
        ] {
            assert!(
                matches!(verdict(of(code), false), Verdict::Refused(_)),
                "{code}"
            );
        }
        let denied = verdict(of("ErrorAccessDenied"), true);
        assert!(matches!(denied, Verdict::Stop(error) if error.scope == Scope::Calendar));
        assert!(matches!(
            verdict(of("ErrorAccessDenied"), false),
            Verdict::Later(_)
        ));
    }

    #[test]
    fn requests_that_may_have_been_carried_out() {
        let status = |status| from_status(status, None, Charged::Mailbox);
        for error in [status(500), status(502), status(503), status(200)] {
            assert!(may_be_done(&error), "{}", error.code);
        }
        for error in [
            status(401),
            status(403),
            status(404),
            status(429),
            status(413),
        ] {
            assert!(!may_be_done(&error), "{}", error.code);
        }
        assert!(may_be_done(&of("ErrorInternalServerError")));
        for code in [
            "ErrorServerBusy",
            "ErrorSchemaValidation",
            "ErrorMailboxFailover",
        ] {
            assert!(!may_be_done(&of(code)), "{code}");
        }
        assert!(is_about_content(&of("ErrorSchemaValidation")));
        assert!(!is_about_content(&of("ErrorServerBusy")));
    }
}
