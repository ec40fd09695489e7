//! Why a mailbox's server is not found: codes for monitoring, and what an operator can do. No text of a server is
//! repeated but the name of a host, and no address.

use calbridge_core::connector::{Error, ErrorKind, Scope};
use calbridge_core::http::{Cause, HttpFailure};

use crate::xml::XmlError;

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// XML.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// JSON.
    #[error("it is no JSON of the form that autodiscover has")]
    Json,
    /// What must be there is not.
    #[error("it lacks {0}")]
    Lacks(&'static str),
}

/// Why a mailbox's server is not found. The later ones tell an operator more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nobody is there to be asked, or nobody knows autodiscover; with what went wrong at the first place.
    #[error(
        "no autodiscover service answers for the mail domain. Check that `autodiscover.` before the mail domain leads to Exchange, name the host in `autodiscover` `hosts`, or write Exchange's address into `url`{}",
        .0.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default()
    )]
    Nowhere(Option<HttpFailure>),
    /// There is no such mailbox.
    #[error(
        "autodiscover knows no mailbox with this address; nothing of it is deleted on the other side. Correct the roster, or have the mailbox restored"
    )]
    Unknown,
    /// It answers with an error.
    #[error("autodiscover answers with an error of its own; see Exchange's log")]
    Refused,
    /// An answer that cannot be used.
    #[error(
        "an answer of autodiscover cannot be used: {0}. Look for a website or a proxy that answers in place of Exchange"
    )]
    Unreadable(Unreadable),
    /// A host that does not show who it is, or answers otherwise than HTTP does.
    #[error("{0}")]
    Http(HttpFailure),
    /// It takes too long.
    #[error("autodiscover takes too long; it is asked again later")]
    Slow,
    /// It has too much to do.
    #[error("autodiscover is busy; it is asked again later")]
    Busy,
    /// The same place or address again, or too many of them.
    #[error(
        "autodiscover leads in a circle, or on and on; see its settings in Exchange, or write Exchange's address into `url`"
    )]
    Circle,
    /// To where requests are not sent.
    #[error(
        "autodiscover leads to {0}, which is neither below one of the `domains` nor one of the `hosts` of `autodiscover`, by https on its own port: it is not asked, so that nobody else gets the account's credentials. If it is right, name it in `hosts`"
    )]
    Foreign(String),
    /// The answer has no address that may be used.
    #[error(
        "autodiscover names no address of EWS for this mailbox. Have ExternalUrl or InternalUrl of the EWS virtual directory set (Set-WebServicesVirtualDirectory)"
    )]
    NoEws,
    /// The mailbox is not one that is looked up.
    #[error(
        "the mailbox's mail domain is not one of `domains` in `autodiscover`. If it belongs to this Exchange, add it; otherwise correct the roster"
    )]
    Domain,
    /// It is no longer here.
    #[error(
        "autodiscover says that the mailbox has moved to Exchange Online, where this connection does not reach. Read it by a connection to Office 365 (Microsoft Graph) and take it out of this one's roster; nothing of it is deleted on the other side meanwhile. If it has not moved, have the mailbox's target address and the autodiscover record put right, or write Exchange's address into `url`"
    )]
    MovedOnline,
    /// The account is not let in, or something else is wrong with the connection itself.
    #[error("{0}")]
    Account(Error),
}

impl Trouble {
    /// The more an operator learns from it, the higher.
    pub(crate) fn weight(&self) -> u8 {
        match self {
            Self::Nowhere(None) => 0,
            Self::Nowhere(Some(_)) => 1,
            Self::Refused => 2,
            Self::Unreadable(_) => 3,
            Self::Unknown => 4,
            Self::NoEws => 5,
            Self::Busy | Self::Slow => 6,
            Self::Http(_) => 7,
            Self::Circle => 8,
            Self::Foreign(_) => 9,
            Self::Domain => 10,
            Self::Account(_) => 11,
            Self::MovedOnline => 12,
        }
    }

    /// Whether what was found before still counts.
    pub(crate) fn keeps_what_was_found(&self) -> bool {
        !matches!(self, Self::MovedOnline | Self::Domain)
    }
}

/// What a candidate fails of that gives no answer. Most candidates are not there, and some are too large to be one.
impl From<HttpFailure> for Trouble {
    fn from(failure: HttpFailure) -> Self {
        if failure.cause.is_tls() || matches!(failure.cause, Cause::TooLarge | Cause::BadResponse) {
            Self::Http(failure)
        } else {
            Self::Nowhere(Some(failure))
        }
    }
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let (kind, code) = match &trouble {
            Trouble::Nowhere(_) => (ErrorKind::Transient, "4930"),
            Trouble::Circle => (ErrorKind::Config, "4930"),
            Trouble::Refused => (ErrorKind::Transient, "4924"),
            Trouble::Busy => (ErrorKind::Throttled, "4924"),
            Trouble::Unreadable(_) | Trouble::Slow => (ErrorKind::Transient, "4925"),
            Trouble::NoEws => (ErrorKind::Config, "ews.autodiscover.no-ews"),
            Trouble::Foreign(_) => (ErrorKind::Config, "ews.autodiscover.foreign-host"),
            Trouble::Domain => (ErrorKind::Config, "ews.autodiscover.domain"),
            Trouble::Unknown => (ErrorKind::NotFound, "ews.autodiscover.unknown-mailbox"),
            Trouble::MovedOnline => (ErrorKind::NotFound, "ews.moved-online"),
            Trouble::Http(failure) => {
                let mut error = Self::from(failure.clone());
                error.scope = Scope::Calendar;
                error.message = format!("autodiscover: {}", error.message);
                return error;
            }
            Trouble::Account(error) => return error.clone(),
        };
        let mut error = Self::new(kind, Scope::Calendar, code, trouble.to_string());
        if kind == ErrorKind::Throttled {
            error = error.retry_after(crate::error::DEFAULT_BACK_OFF);
        }
        error
    }
}
