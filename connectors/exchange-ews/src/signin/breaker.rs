//! Guards the account: a wrong password that is tried by many requests at once locks it.
//!
//! Until the server has let the account in, requests go one by one. After a refusal nothing more is sent with
//! the same secret, until the secret changes or a quarter of an hour has passed.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use calbridge_core::connector::{Error, ErrorKind, Scope};
use jiff::{SignedDuration, Timestamp};

/// How long a refused secret rests.
const REST: SignedDuration = SignedDuration::from_mins(15);

/// The guard of one account.
#[derive(Debug, Default)]
pub(crate) struct SignIn {
    /// Whether the server let the account in the last time.
    proven: AtomicBool,
    /// One at a time, until proven.
    door: tokio::sync::Mutex<()>,
    /// A fingerprint of what was refused, and when. The key of the fingerprint lives in this process only.
    refused: Mutex<Option<(u64, Timestamp)>>,
    key: RandomState,
}

/// A permission to send one request.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    guard: &'a SignIn,
    fingerprint: u64,
    at: Timestamp,
    _door: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl SignIn {
    /// Waits for a turn. `credentials` is the value of the Authorization header.
    ///
    /// # Errors
    /// `Auth` if these credentials were refused a short while ago.
    pub(crate) async fn pass(&self, credentials: &[u8], now: Timestamp) -> Result<Pass<'_>, Error> {
        let fingerprint = self.key.hash_one(credentials);
        let door = if self.proven.load(Ordering::Acquire) {
            None
        } else {
            let door = self.door.lock().await;
            // Whoever came through meanwhile has proven it.
            (!self.proven.load(Ordering::Acquire)).then_some(door)
        };
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((same, since)) = refused
            && same == fingerprint
            && now.duration_since(since).abs() < REST
        {
            return Err(Error::new(
                ErrorKind::Auth,
                Scope::Connection,
                "ews.http.401",
                "Exchange refused these credentials a short while ago; they are not tried again for 15 minutes, so that the account is not locked. Check user and secret, then run `check`",
            ));
        }
        Ok(Pass {
            guard: self,
            fingerprint,
            at: now,
            _door: door,
        })
    }

    /// As [`pass`](Self::pass), at an operator's wish: also with credentials that were refused.
    pub(crate) fn pass_anyway(&self, credentials: &[u8], now: Timestamp) -> Pass<'_> {
        Pass {
            guard: self,
            fingerprint: self.key.hash_one(credentials),
            at: now,
            _door: None,
        }
    }
}

impl Pass<'_> {
    /// Tells what became of it: let in, refused, or neither.
    pub(crate) fn used(self, let_in: Option<bool>) {
        let mut refused = self
            .guard
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match let_in {
            Some(true) => {
                *refused = None;
                self.guard.proven.store(true, Ordering::Release);
            }
            Some(false) => {
                *refused = Some((self.fingerprint, self.at));
                self.guard.proven.store(false, Ordering::Release);
            }
            None => {}
        }
    }
}
