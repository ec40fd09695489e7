//! What each error code calls for (EWS ResponseCodeType, the codes of Subscribe, GetStreamingEvents and GetEvents).

use calbridge_core::connector::{Error, ErrorKind, Scope};

/// What to do about an error of a subscription or of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// The subscription is gone, or no longer complete: a new one, without a watermark, and a look at the calendar.
    Resubscribe,
    /// The account has too many streams open.
    FewerStreams,
    /// The account or the mailbox has too many subscriptions; old ones lapse within half an hour.
    FewerSubscriptions,
    /// The server does not offer this.
    NotOffered,
    /// It is a matter of the mailbox or of rights: an operator has to do something.
    Operator,
    /// The server asks to wait, or is in trouble: later.
    Later,
    /// Nothing can be asked of the server at all, for whichever calendar.
    Nobody,
}

/// The reaction to an error.
pub(crate) fn of(error: &Error) -> Reaction {
    match error.code.strip_prefix("ews.").unwrap_or_default() {
        "ErrorSubscriptionNotFound"
        | "ErrorInvalidSubscription"
        | "ErrorExpiredSubscription"
        | "ErrorReadEventsFailed"
        | "ErrorEventNotFound"
        | "ErrorInvalidWatermark"
        | "ErrorMissedNotificationEvents"
        | "ErrorProxyRequestNotAllowed"
        | "ErrorNewEventStreamConnectionOpened"
        | "ErrorSubscriptionAccessDenied"
        | "ErrorSubscriptionUnsubscribed"
        | "ErrorInvalidPullSubscriptionId" => Reaction::Resubscribe,
        "ErrorExceededConnectionCount" => Reaction::FewerStreams,
        "ErrorExceededSubscriptionCount" => Reaction::FewerSubscriptions,
        "unknown-operation"
        | "ErrorInvalidSubscriptionRequest"
        | "ErrorSubscriptionDelegateAccessNotSupported"
        | "ErrorInvalidRequest"
        | "ErrorSchemaValidation"
        | "ErrorNotImplemented"
        | "Client" => Reaction::NotOffered,
        code => match (error.kind, error.scope) {
            // One account of several: others go on.
            (ErrorKind::Auth, Scope::Calendar | Scope::Item) => Reaction::Operator,
            (ErrorKind::Config, Scope::Calendar) if code.starts_with("signin.") => {
                Reaction::Operator
            }
            (ErrorKind::Auth | ErrorKind::Config, _) => Reaction::Nobody,
            (ErrorKind::Permission | ErrorKind::NotFound, Scope::Connection) => Reaction::Nobody,
            (ErrorKind::Permission | ErrorKind::NotFound, _) => Reaction::Operator,
            (ErrorKind::Transient | ErrorKind::Throttled, Scope::Connection) => Reaction::Nobody,
            _ => Reaction::Later,
        },
    }
}

/// The error as it is reported of a calendar that cannot be watched. Where Kommuneklienten had an event for it, its id
/// is the code: 4915 no such mailbox, 4207 no calendar folder, 4208 all else.
pub(crate) fn unwatchable(error: &Error) -> Error {
    let code = match error.code.strip_prefix("ews.").unwrap_or_default() {
        "ErrorNonExistentMailbox"
        | "ErrorCannotFindUser"
        | "ErrorNoSmtpAddress"
        | "ErrorInvalidSmtpAddress"
        | "ErrorMissingExchangePrincipal"
        | "ErrorInvalidMailbox" => "4915",
        "ErrorFolderNotFound" => "4207",
        _ => "4208",
    };
    Error {
        code: code.to_owned(),
        message: format!(
            "the calendar cannot be watched and is polled: {} ({})",
            error.message, error.code
        ),
        ..error.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Charged, from_code, from_status};

    fn code(name: &str) -> Reaction {
        of(&from_code(
            name,
            None,
            None,
            Charged::Mailbox,
            Scope::Calendar,
        ))
    }

    #[test]
    fn every_code_of_a_subscription_that_is_of_no_more_use_makes_a_new_one() {
        for name in [
            "ErrorSubscriptionNotFound",
            "ErrorInvalidSubscription",
            "ErrorExpiredSubscription",
            "ErrorReadEventsFailed",
            "ErrorEventNotFound",
            "ErrorInvalidWatermark",
            "ErrorMissedNotificationEvents",
            "ErrorProxyRequestNotAllowed",
            "ErrorNewEventStreamConnectionOpened",
        ] {
            assert_eq!(code(name), Reaction::Resubscribe, "{name}");
        }
    }

    #[test]
    fn limits_rights_and_trouble_are_told_apart() {
        for (name, reaction) in [
            ("ErrorExceededConnectionCount", Reaction::FewerStreams),
            (
                "ErrorExceededSubscriptionCount",
                Reaction::FewerSubscriptions,
            ),
            ("ErrorInvalidRequest", Reaction::NotOffered),
            ("ErrorNonExistentMailbox", Reaction::Operator),
            ("ErrorAccountDisabled", Reaction::Operator),
            ("ErrorImpersonateUserDenied", Reaction::Operator),
            ("ErrorFolderNotFound", Reaction::Operator),
            ("ErrorServerBusy", Reaction::Later),
            ("ErrorMailboxMoveInProgress", Reaction::Later),
            ("ErrorMailboxFailover", Reaction::Later),
            ("ErrorInternalServerError", Reaction::Later),
            ("ErrorNobodyHasSeenThisYet", Reaction::Later),
        ] {
            assert_eq!(code(name), reaction, "{name}");
        }
        for status in [401, 403, 404, 503, 502] {
            let error = from_status(status, None, Charged::Mailbox);
            assert_eq!(of(&error), Reaction::Nobody, "{status}");
        }
    }

    #[test]
    fn k149_a_calendar_that_cannot_be_watched_has_the_code_that_monitoring_knows() {
        for (name, id) in [
            ("ErrorNonExistentMailbox", "4915"),
            ("ErrorFolderNotFound", "4207"),
            ("ErrorImpersonateUserDenied", "4208"),
        ] {
            let error = from_code(name, None, None, Charged::Mailbox, Scope::Calendar);
            let told = unwatchable(&error);
            assert_eq!(told.code, id);
            assert!(told.message.contains(name), "{told}");
            assert_eq!((told.kind, told.scope), (error.kind, error.scope));
        }
    }
}
