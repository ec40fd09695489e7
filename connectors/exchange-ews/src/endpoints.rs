//! Where requests go: to the configured address, or to each mailbox's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use calbridge_core::connector::{Context, Error, ErrorKind, Result, Scope};
use calbridge_core::model::Address;
use url::Url;

use crate::autodiscover::Discovery;
use crate::config::Settings;
use crate::signin::{Accounts, Doors};

/// The most addresses that doors are kept for. A site has a handful.
const MOST: usize = 64;

/// One address of EWS, and the ways in.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) doors: Doors,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Endpoints {
    fixed: Option<Arc<Endpoint>>,
    discovery: Option<Discovery>,
    open: Mutex<HashMap<Url, Arc<Endpoint>>>,
    accounts: Arc<Accounts>,
    settings: Settings,
    context: Context,
}

impl Endpoints {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(settings: &Settings, context: &Context) -> Result<Self> {
        let accounts = Arc::new(Accounts::new(settings));
        let discovery = settings
            .autodiscover
            .as_ref()
            .map(|autodiscover| {
                Discovery::new(settings, autodiscover, Arc::clone(&accounts), context)
            })
            .transpose()?;
        let mut endpoints = Self {
            fixed: None,
            discovery,
            open: Mutex::default(),
            accounts,
            settings: settings.clone(),
            context: context.clone(),
        };
        if let Some(url) = &settings.url {
            endpoints.fixed = Some(endpoints.make(url)?);
        }
        Ok(endpoints)
    }

    fn make(&self, url: &Url) -> Result<Arc<Endpoint>> {
        Ok(Arc::new(Endpoint {
            url: url.clone(),
            doors: self
                .accounts
                .doors(url, &self.settings.http, &self.context)?,
        }))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Url, Arc<Endpoint>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service accounts.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Where requests for a mailbox go; without one, to any address that is known.
    ///
    /// # Errors
    /// Autodiscover does not find it, or it is no longer on premises.
    pub(crate) async fn of(&self, mailbox: Option<&Address>) -> Result<Arc<Endpoint>> {
        match (mailbox, &self.discovery, &self.fixed) {
            (Some(mailbox), Some(_), _) => self.find(mailbox, false).await,
            (_, _, Some(fixed)) => Ok(Arc::clone(fixed)),
            _ => self.any().ok_or_else(nobody),
        }
    }

    /// Looks a mailbox up; with `fresh` whatever is known of it.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) async fn find(&self, mailbox: &Address, fresh: bool) -> Result<Arc<Endpoint>> {
        let Some(discovery) = &self.discovery else {
            return self.fixed.clone().ok_or_else(nobody);
        };
        let found = discovery.find(mailbox, fresh).await;
        match (&self.fixed, found) {
            // What was looked up besides the configured address need not be found.
            (Some(fixed), Err(error)) if error.code != "ews.moved-online" => {
                tracing::debug!(code = error.code, "Autodiscover does not know a mailbox.");
                Ok(Arc::clone(fixed))
            }
            (_, Err(error)) => Err(error),
            (Some(fixed), Ok(_)) => Ok(Arc::clone(fixed)),
            (None, Ok(found)) => self.at(&found.ews),
        }
    }

    fn at(&self, url: &Url) -> Result<Arc<Endpoint>> {
        let mut open = self.open();
        if let Some(known) = open.get(url) {
            return Ok(Arc::clone(known));
        }
        if open.len() >= MOST {
            open.clear();
        }
        let made = self.make(url)?;
        open.insert(url.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn any(&self) -> Option<Arc<Endpoint>> {
        let open = self.open();
        open.values().min_by_key(|one| &one.url).cloned()
    }

    /// What tells mailboxes of one address from those of another; nothing where all have the same.
    pub(crate) fn place(&self, mailbox: &Address) -> Option<String> {
        if self.fixed.is_some() {
            return None;
        }
        let url = self.discovery.as_ref()?.known(mailbox)?;
        Some(url.into())
    }

    /// The group that autodiscover told a mailbox to belong to.
    pub(crate) fn group(&self, mailbox: &Address) -> Option<String> {
        self.discovery.as_ref()?.group(mailbox)
    }

    /// Where a mailbox was in an earlier run of the program.
    pub(crate) fn recall(&self, mailbox: &Address, place: &str) {
        if self.fixed.is_none()
            && let Some(discovery) = &self.discovery
        {
            discovery.recall(mailbox, place);
        }
    }

    /// Takes note of an error that may mean that a mailbox is elsewhere.
    pub(crate) fn learn(&self, mailbox: Option<&Address>, error: &Error) {
        if let (Some(discovery), Some(mailbox)) = (&self.discovery, mailbox)
            && may_have_moved(error)
        {
            discovery.doubt(mailbox);
        }
    }

    /// Gives up all connections that are signed in.
    pub(crate) fn forget_connections(&self) {
        if let Some(fixed) = &self.fixed {
            fixed.doors.forget_connections();
        }
        for endpoint in self.open().values() {
            endpoint.doors.forget_connections();
        }
    }
}

/// Whether a mailbox's requests fail as they do where it is no longer.
fn may_have_moved(error: &Error) -> bool {
    if let Some(name) = error.code.strip_prefix("ews.") {
        return matches!(
            name,
            "ErrorNonExistentMailbox"
                | "ErrorMailboxConfiguration"
                | "ErrorMissingEmailAddress"
                | "ErrorMissingExchangePrincipal"
                | "ErrorProxyRequestNotAllowed"
                | "ErrorCrossSiteRequest"
                | "ErrorNoRespondingCASInDestinationSite"
                | "ErrorMailboxStoreUnavailable"
                | "ErrorMailboxFailover"
                | "http.301"
                | "http.302"
                | "http.307"
                | "http.308"
                | "http.404"
                | "http.451"
        );
    }
    matches!(
        error.code.as_str(),
        "http.dns" | "http.refused" | "http.unreachable" | "http.connect-timeout"
    ) || error.code.starts_with("tls.")
}

/// There is nobody to ask.
fn nobody() -> Error {
    Error::new(
        ErrorKind::Config,
        Scope::Connection,
        "5904",
        "without `url` servers are looked up by mailboxes, and none is known yet; name a calendar, or write Exchange's address into `url`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_mailbox_that_is_elsewhere() {
        let error = |code: &str| Error::new(ErrorKind::Transient, Scope::Calendar, code, "");
        for code in [
            "ews.ErrorNonExistentMailbox",
            "ews.http.404",
            "tls.wrong-host",
            "http.dns",
        ] {
            assert!(may_have_moved(&error(code)), "{code}");
        }
        for code in [
            "ews.ErrorServerBusy",
            "ews.http.401",
            "http.timeout",
            "4930",
        ] {
            assert!(!may_have_moved(&error(code)), "{code}");
        }
    }
}
