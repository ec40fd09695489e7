//! What was found, kept for a day, and longer where nobody answers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use calbridge_core::connector::{Error, Result};
use calbridge_core::model::Address;
use jiff::{SignedDuration, Timestamp};

use super::lookup::Found;
use super::trouble::Trouble;

/// The first wait after a look-up that failed; doubled with each.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// The longest.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(30);
/// How soon what was found is looked up again where requests show that it may be no longer right.
const SOONEST: SignedDuration = SignedDuration::from_mins(5);

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    /// How long an entry counts.
    refresh: SignedDuration,
    pages: Mutex<HashMap<String, Arc<Page>>>,
}

/// One mailbox's page. Whoever looks it up holds it, so that nobody else does at the same time.
#[derive(Debug, Default)]
struct Page {
    entry: tokio::sync::Mutex<Entry>,
    doubted: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct Entry {
    found: Option<Found>,
    /// When it was looked up; none of what is remembered from an earlier run.
    at: Option<Timestamp>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: Error,
    at: Timestamp,
    wait: SignedDuration,
}

impl Book {
    pub(crate) fn new(refresh: SignedDuration) -> Self {
        Self {
            refresh,
            pages: Mutex::default(),
        }
    }

    fn page(&self, mailbox: &Address) -> Arc<Page> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pages.entry(mailbox.folded()).or_default())
    }

    /// Requests show that what was found may be no longer right.
    pub(crate) fn doubt(&self, mailbox: &Address) {
        self.page(mailbox)
            .doubted
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// What an earlier run found counts until it is looked up, and while nobody answers.
    pub(crate) fn recall(&self, mailbox: &Address, found: Found) {
        if let Ok(mut entry) = self.page(mailbox).entry.try_lock()
            && entry.found.is_none()
            && entry.failed.is_none()
        {
            entry.found = Some(found);
        }
    }

    /// What is known without asking.
    pub(crate) fn known(&self, mailbox: &Address) -> Option<Found> {
        self.page(mailbox).entry.try_lock().ok()?.found.clone()
    }

    /// What is known, or what asking finds. With `fresh` it is asked in any case.
    ///
    /// # Errors
    /// Nothing is found, and nothing was.
    pub(crate) async fn find<F>(
        &self,
        mailbox: &Address,
        now: Timestamp,
        fresh: bool,
        ask: impl FnOnce() -> F,
    ) -> Result<Found>
    where
        F: Future<Output = Result<Found, Trouble>>,
    {
        let page = self.page(mailbox);
        let mut entry = page.entry.lock().await;
        let doubted = page.doubted.load(std::sync::atomic::Ordering::Relaxed);
        if !fresh && let Some(known) = entry.answer(now, self.refresh, doubted) {
            return known;
        }
        page.doubted
            .store(false, std::sync::atomic::Ordering::Relaxed);
        match ask().await {
            Ok(found) => {
                *entry = Entry {
                    found: Some(found.clone()),
                    at: Some(now),
                    failed: None,
                };
                Ok(found)
            }
            Err(trouble) => {
                if !trouble.keeps_what_was_found() {
                    entry.found = None;
                }
                let error = Error::from(trouble);
                let waited = entry.failed.take().map(|failed| failed.wait);
                let wait =
                    waited.map_or(FIRST_WAIT, |wait| wait.saturating_mul(2).min(LONGEST_WAIT));
                entry.failed = Some(Failed {
                    error: error.clone(),
                    at: now,
                    wait,
                });
                match &entry.found {
                    // A check is to see the failure.
                    Some(found) if !fresh => {
                        tracing::warn!(
                            code = error.code,
                            "Autodiscover gives no answer about a mailbox; what it said before still counts."
                        );
                        Ok(found.clone())
                    }
                    _ => Err(error),
                }
            }
        }
    }
}

impl Entry {
    /// What counts without asking again.
    fn answer(
        &self,
        now: Timestamp,
        refresh: SignedDuration,
        doubted: bool,
    ) -> Option<Result<Found>> {
        // Our clock may have gone back.
        let within = |at: Timestamp, time: SignedDuration| {
            let age = now.duration_since(at);
            age < time && age > -time
        };
        if let Some(failed) = self
            .failed
            .as_ref()
            .filter(|failed| within(failed.at, failed.wait))
        {
            return Some(self.found.clone().ok_or_else(|| failed.error.clone()));
        }
        let counts = if doubted { SOONEST } else { refresh };
        let at = self.at.filter(|at| within(*at, counts))?;
        let _ = at;
        self.found.clone().map(Ok)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn found(host: &str) -> Found {
        Found {
            ews: format!("https://{host}/EWS/Exchange.asmx").parse().unwrap(),
            group: None,
        }
    }

    struct Bench {
        book: Book,
        asked: Cell<u32>,
        now: Cell<Timestamp>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                book: Book::new(SignedDuration::from_hours(24)),
                asked: Cell::new(0),
                now: Cell::new("2026-11-20T08:00:00Z".parse().unwrap()),
            }
        }

        async fn ask(&self, answer: Result<Found, Trouble>) -> Result<Found> {
            let anna = Address::new("anna@kommune.example").unwrap();
            self.book
                .find(&anna, self.now.get(), false, || {
                    self.asked.set(self.asked.get() + 1);
                    std::future::ready(answer)
                })
                .await
        }

        fn later(&self, minutes: i64) {
            self.now
                .set(self.now.get() + SignedDuration::from_mins(minutes));
        }
    }

    #[tokio::test]
    async fn what_was_found_counts_for_a_day_and_longer_where_nobody_answers() {
        let bench = Bench::new();
        let nobody = || Err(Trouble::Nowhere(None));
        assert_eq!(bench.ask(Ok(found("one"))).await, Ok(found("one")));
        bench.later(23 * 60);
        assert_eq!(bench.ask(Ok(found("two"))).await, Ok(found("one")));
        assert_eq!(bench.asked.get(), 1);
        bench.later(2 * 60);
        assert_eq!(bench.ask(nobody()).await, Ok(found("one")));
        assert_eq!(bench.ask(Ok(found("two"))).await, Ok(found("one")));
        assert_eq!(bench.asked.get(), 2, "not again at once");
        bench.later(2);
        assert_eq!(bench.ask(Ok(found("two"))).await, Ok(found("two")));
    }

    #[tokio::test]
    async fn failures_wait_ever_longer() {
        let bench = Bench::new();
        for (minutes, asked) in [(0, 1), (0, 1), (1, 2), (1, 2), (1, 3), (3, 3), (1, 4)] {
            bench.later(minutes);
            assert_eq!(
                bench
                    .ask(Err(Trouble::Nowhere(None)))
                    .await
                    .unwrap_err()
                    .code,
                "4930"
            );
            assert_eq!(bench.asked.get(), asked);
        }
    }

    #[tokio::test]
    async fn a_mailbox_that_moved_away_is_no_longer_asked_for_where_it_was() {
        let bench = Bench::new();
        bench.ask(Ok(found("one"))).await.unwrap();
        bench.later(10);
        let anna = Address::new("Anna@kommune.example").unwrap();
        bench.book.doubt(&anna);
        let error = bench.ask(Err(Trouble::MovedOnline)).await.unwrap_err();
        assert_eq!(error.code, "ews.moved-online");
        assert_eq!(bench.book.known(&anna), None);
    }

    #[tokio::test]
    async fn doubts_ask_again_and_not_all_the_time() {
        let bench = Bench::new();
        bench.ask(Ok(found("one"))).await.unwrap();
        let anna = Address::new("anna@kommune.example").unwrap();
        bench.book.doubt(&anna);
        assert_eq!(bench.ask(Ok(found("two"))).await, Ok(found("one")));
        bench.later(6);
        assert_eq!(bench.ask(Ok(found("two"))).await, Ok(found("two")));
        bench.later(60);
        assert_eq!(bench.ask(Ok(found("three"))).await, Ok(found("two")));
    }

    #[tokio::test]
    async fn an_earlier_runs_finding_counts_only_where_nobody_answers() {
        let bench = Bench::new();
        let anna = Address::new("anna@kommune.example").unwrap();
        bench.book.recall(&anna, found("old"));
        assert_eq!(
            bench.ask(Err(Trouble::Nowhere(None))).await,
            Ok(found("old"))
        );
        bench.later(2);
        assert_eq!(bench.ask(Ok(found("new"))).await, Ok(found("new")));
        bench.book.recall(&anna, found("old"));
        assert_eq!(
            bench.ask(Err(Trouble::Nowhere(None))).await,
            Ok(found("new"))
        );
    }
}
