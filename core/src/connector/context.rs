//! What the host gives a connection when it opens it.

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{Error, ErrorKind, Result, Scope};
use crate::clock::Clock;
use crate::secret::{SecretRef, SecretResolver};

/// What the host gives a connection when it opens it.
#[derive(Debug, Clone)]
pub struct Context {
    /// The connection's name in the configuration.
    pub connection: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Finds secrets; asked at each sign-in, not kept.
    pub secrets: Arc<dyn SecretResolver>,
    /// Cancelled when the program stops.
    pub shutdown: CancellationToken,
}

impl Context {
    /// The value behind a reference.
    ///
    /// # Errors
    /// `Config`, naming the connection and the reference.
    pub fn secret(&self, reference: &SecretRef) -> Result<SecretString> {
        self.secrets.resolve(reference).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                Scope::Connection,
                "config.secret",
                format!("connection `{}`: {error}", self.connection),
            )
        })
    }
}
