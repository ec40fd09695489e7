//! Guards the account: a wrong password that is tried by many requests at once locks it.
//!
//! Until the server has let the account in, requests go one by one. After a refusal nothing more is sent with the
//! same secret, until the secret changes, the program is started again, or an operator's `check` gets in with it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::trouble::Trouble;

/// The guard of one account at one server.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Whether the server let the account in the last time.
    proven: AtomicBool,
    account: Arc<Account>,
}

/// What the account's guards at all servers share: the directory behind them counts refusals together.
#[derive(Debug, Default)]
struct Account {
    /// One at a time.
    door: tokio::sync::Mutex<()>,
    /// A fingerprint of what was refused. Its key lives in this process only.
    refused: Mutex<Option<u64>>,
    key: RandomState,
}

/// How a permission is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// One by one until the account is proven, then all at once: each request carries the secret.
    Proving,
    /// Always one by one: the secret is proven once for many requests.
    Alone,
    /// At an operator's wish, also with a secret that was refused; one by one.
    Insisting,
}

/// A permission to use the secret once.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    fingerprint: u64,
    _door: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Breaker {
    /// The guard of the same account at another server, which has to let it in for itself.
    pub(crate) fn beside(&self) -> Self {
        Self {
            proven: AtomicBool::new(false),
            account: Arc::clone(&self.account),
        }
    }

    /// Waits for a turn. `secret` stands for all that the server judges together: the user's name too.
    ///
    /// # Errors
    /// `RefusedBefore`.
    pub(crate) async fn pass(&self, secret: &[u8], turn: Turn) -> Result<Pass<'_>, Trouble> {
        let account = &*self.account;
        let fingerprint = account.key.hash_one(secret);
        let proven = || turn == Turn::Proving && self.proven.load(Ordering::Acquire);
        let door = if proven() {
            None
        } else {
            let door = account.door.lock().await;
            // Whoever came through meanwhile has proven it.
            (!proven()).then_some(door)
        };
        let refused = *account
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if turn != Turn::Insisting && refused == Some(fingerprint) {
            return Err(Trouble::RefusedBefore);
        }
        Ok(Pass {
            breaker: self,
            fingerprint,
            _door: door,
        })
    }
}

impl Pass<'_> {
    /// Tells what became of it: let in, refused, or neither.
    pub(crate) fn used(self, let_in: Option<bool>) {
        let mut refused = self
            .breaker
            .account
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match let_in {
            Some(true) => {
                *refused = None;
                self.breaker.proven.store(true, Ordering::Release);
            }
            Some(false) => {
                *refused = Some(self.fingerprint);
                self.breaker.proven.store(false, Ordering::Release);
            }
            None => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn of_many_at_once_one_tries() {
        for turn in [Turn::Proving, Turn::Alone] {
            let (breaker, tried) = (Arc::new(Breaker::default()), Arc::new(AtomicUsize::new(0)));
            let all: Vec<_> = (0..50)
                .map(|_| {
                    let (breaker, tried) = (Arc::clone(&breaker), Arc::clone(&tried));
                    tokio::spawn(async move {
                        if let Ok(pass) = breaker.pass(b"secret", turn).await {
                            tried.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                            pass.used(Some(false));
                        }
                    })
                })
                .collect();
            for one in all {
                one.await.unwrap();
            }
            assert_eq!(tried.load(Ordering::Relaxed), 1, "{turn:?}");
        }
    }

    #[tokio::test]
    async fn another_secret_and_an_operator_may_try() {
        let breaker = Breaker::default();
        breaker
            .pass(b"old", Turn::Alone)
            .await
            .unwrap()
            .used(Some(false));
        assert_eq!(
            breaker.pass(b"old", Turn::Alone).await.unwrap_err(),
            Trouble::RefusedBefore
        );
        breaker.pass(b"new", Turn::Alone).await.unwrap().used(None);
        let insisted = breaker.pass(b"old", Turn::Insisting).await.unwrap();
        insisted.used(Some(true));
        assert!(breaker.pass(b"old", Turn::Alone).await.is_ok());
    }

    #[tokio::test]
    async fn what_one_server_refused_no_other_is_asked_for() {
        let here = Breaker::default();
        let there = here.beside();
        let pass = here.pass(b"secret", Turn::Proving).await.unwrap();
        pass.used(Some(true));
        let first = there.pass(b"secret", Turn::Proving).await.unwrap();
        first.used(Some(false));
        assert_eq!(
            here.pass(b"secret", Turn::Proving).await.unwrap_err(),
            Trouble::RefusedBefore
        );
    }
}
