//! Throttling by budget: what a policy allows on behalf of one mailbox (Exchange, `New-ThrottlingPolicy`).
//!
//! `EWSMaxConcurrency` counts requests at once; more are refused with `ErrorExceededConnectionCount`. Beyond it Exchange
//! counts the time that requests take (`EwsMaxBurst`, `EwsRechargeRate`); here each request costs the same, so that
//! tests can count: when the burst is spent, requests are refused with `ErrorServerBusy` and the time until there is
//! enough for one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::soap::EwsError;

/// What a throttling policy allows each mailbox.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThrottlingPolicy {
    /// Requests at once.
    pub max_concurrency: usize,
    /// Requests in a row.
    pub burst: u32,
    /// How long it takes until one more is allowed again.
    pub recharge: Duration,
}

impl Default for ThrottlingPolicy {
    /// Exchange's own `EWSMaxConcurrency`, and no other limit.
    fn default() -> Self {
        Self {
            max_concurrency: 27,
            burst: u32::MAX,
            recharge: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Account {
    running: usize,
    most: usize,
    left: f64,
    counted: Instant,
}

#[derive(Debug, Default)]
struct State {
    policy: ThrottlingPolicy,
    accounts: HashMap<String, Account>,
    running: usize,
    most: usize,
}

/// All budgets of a server.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<State>);

/// One request under way.
#[derive(Debug)]
pub(crate) struct Spent<'a> {
    budgets: &'a Budgets,
    of: String,
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        let mut state = self.budgets.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(account) = state.accounts.get_mut(&self.of) {
            account.running = account.running.saturating_sub(1);
        }
    }
}

impl Budgets {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on; what was spent is forgotten.
    pub(crate) fn set(&self, policy: ThrottlingPolicy) {
        let mut state = self.lock();
        state.policy = policy;
        for account in state.accounts.values_mut() {
            account.left = f64::from(policy.burst);
        }
    }

    /// The most requests at once so far: for one mailbox, and for all together.
    pub(crate) fn most(&self, of: &str) -> (usize, usize) {
        let state = self.lock();
        let own = state.accounts.get(&of.to_lowercase());
        (own.map_or(0, |account| account.most), state.most)
    }

    /// A request on behalf of a mailbox (of the account, where it acts for itself).
    ///
    /// # Errors
    /// The budget does not allow it.
    pub(crate) fn spend(&self, of: &str) -> Result<Spent<'_>, EwsError> {
        let of = of.to_lowercase();
        let now = Instant::now();
        let mut state = self.lock();
        let policy = state.policy;
        let account = state.accounts.entry(of.clone()).or_insert(Account {
            running: 0,
            most: 0,
            left: f64::from(policy.burst),
            counted: now,
        });
        if account.running >= policy.max_concurrency {
            return Err(EwsError::of("ErrorExceededConnectionCount"));
        }
        let since = now.duration_since(account.counted).as_secs_f64();
        let recharge = policy.recharge.as_secs_f64();
        let gained = if recharge > 0.0 {
            since / recharge
        } else {
            0.0
        };
        account.counted = now;
        account.left = (account.left + gained).min(f64::from(policy.burst));
        if account.left < 1.0 {
            let wait = policy.recharge.mul_f64(1.0 - account.left);
            let wait = wait.as_millis().max(1).to_string();
            return Err(EwsError::of("ErrorServerBusy").with_value("BackOffMilliseconds", wait));
        }
        account.left -= 1.0;
        account.running += 1;
        account.most = account.most.max(account.running);
        state.running += 1;
        state.most = state.most.max(state.running);
        drop(state);
        Ok(Spent { budgets: self, of })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_at_once_are_counted_by_mailbox() {
        let budgets = Budgets::default();
        budgets.set(ThrottlingPolicy {
            max_concurrency: 2,
            ..ThrottlingPolicy::default()
        });
        let one = budgets.spend("Anna@x.example").unwrap();
        let _two = budgets.spend("anna@x.example").unwrap();
        let refused = budgets.spend("anna@x.example").unwrap_err();
        assert_eq!(refused.code, "ErrorExceededConnectionCount");
        let _other = budgets.spend("bo@x.example").unwrap();
        drop(one);
        let _again = budgets.spend("anna@x.example").unwrap();
        assert_eq!(budgets.most("anna@x.example"), (2, 3));
    }

    #[test]
    fn a_burst_is_spent_and_comes_back() {
        let budgets = Budgets::default();
        budgets.set(ThrottlingPolicy {
            burst: 2,
            recharge: Duration::from_millis(40),
            ..ThrottlingPolicy::default()
        });
        for _ in 0..2 {
            drop(budgets.spend("anna@x.example").unwrap());
        }
        assert_eq!(
            budgets.spend("anna@x.example").unwrap_err().code,
            "ErrorServerBusy"
        );
        assert!(budgets.spend("bo@x.example").is_ok());
        std::thread::sleep(Duration::from_millis(50));
        assert!(budgets.spend("anna@x.example").is_ok());
        assert!(budgets.spend("anna@x.example").is_err());
    }
}
