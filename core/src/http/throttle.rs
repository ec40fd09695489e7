//! How many requests a server gets at once, and how many of them for one mailbox: fewer where it is busy, more again
//! while all goes well.
//!
//! Groupware counts requests on behalf of a mailbox against that mailbox's budget, and asks to slow down when it is spent.
//! What is asked of one mailbox waits then, and nothing else does. A server as a whole is given less when it answers with
//! plain 503, when a gateway does not reach it, or when several mailboxes are busy at once.
//!
//! Whatever waits for a turn gets it by urgency first and then by age. A short wait that a server asks for is waited here,
//! and the request sent again; a long one is the engine's, which has other calendars to read meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

/// How often a request is sent again to a busy server.
const RETRIES: usize = 3;
/// What is waited before that where the server does not say how long.
const WAITS: [Duration; RETRIES] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(1200),
];
/// The longest wait that is waited here.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long all must go well until one more request is let through.
const CLEAN: Duration = Duration::from_secs(60);
/// So many busy mailboxes within that time mean that the server is.
const CROWD: usize = 3;
/// What is remembered of idle mailboxes is looked through when there are so many.
const SWEEP: usize = 1024;

/// How a request went, as far as it says something about load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// It was answered.
    Fine,
    /// The mailbox's, or the account's, budget is spent; for how long, if the server says so.
    BudgetSpent(Option<Duration>),
    /// The server as a whole has too much to do; for how long, if it says so.
    ServerBusy(Option<Duration>),
    /// It cannot be reached.
    Unreachable,
}

/// Whose budget a request is charged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purse {
    /// A mailbox, an account, or whatever else a server counts by.
    pub of: String,
    /// How many requests it gets at once.
    pub most: usize,
}

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Urgency {
    /// What changed, what is written, what an operator waits for.
    #[default]
    Now,
    /// The next weeks of a calendar that is read for the first time.
    Soon,
    /// The rest of it.
    Later,
}

#[derive(Debug)]
struct Host {
    limit: usize,
    running: usize,
    /// When it was given less last. Requests that were under way then say nothing new.
    cut: Option<Instant>,
    clean_since: Option<Instant>,
    busy: Vec<(Instant, String)>,
}

#[derive(Debug)]
struct Budget {
    most: usize,
    limit: usize,
    running: usize,
    clean_since: Option<Instant>,
}

impl Budget {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.limit == self.most
    }
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<String, Host>,
    budgets: HashMap<String, Budget>,
    /// Who waits for what.
    waiting: BTreeMap<Place, Wanted>,
    /// How many ever waited.
    tickets: u64,
}

/// A place in the queue.
type Place = (Urgency, u64);

/// What somebody waits for.
#[derive(Debug, Clone)]
struct Wanted {
    host: String,
    purse: Option<Purse>,
}

impl State {
    /// Whether a request may be sent now.
    fn has_room(&self, most: usize, wanted: &Wanted) -> bool {
        let host = self.hosts.get(&wanted.host);
        let full = wanted.purse.as_ref().is_some_and(|purse| {
            let budget = self.budgets.get(&purse.of);
            budget.is_some_and(|budget| budget.running >= budget.limit)
        });
        !full && host.map_or(most > 0, |host| host.running < host.limit)
    }

    /// Whether somebody who may be let in now comes before this place.
    fn is_preceded(&self, most: usize, place: Place) -> bool {
        let mut before = self.waiting.range(..place);
        before.any(|(_, wanted)| self.has_room(most, wanted))
    }
}

/// Lets requests through: so many at once to a server and for a mailbox, the urgent ones first.
#[derive(Debug)]
pub struct Throttle {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

/// One request that may be sent.
#[derive(Debug)]
pub struct Turn<'a> {
    throttle: &'a Throttle,
    host: &'a str,
    budget: Option<String>,
    begun: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.lock();
        if let Some(host) = state.hosts.get_mut(self.host) {
            host.running = host.running.saturating_sub(1);
        }
        if let Some(budget) = self
            .budget
            .as_ref()
            .and_then(|of| state.budgets.get_mut(of))
        {
            budget.running = budget.running.saturating_sub(1);
        }
        drop(state);
        self.throttle.freed.notify_waiters();
    }
}

impl Turn<'_> {
    /// Takes note of how the request went.
    pub fn report(&self, load: Load) {
        let now = Instant::now();
        let mut state = self.throttle.lock();
        let State { hosts, budgets, .. } = &mut *state;
        let host = hosts.get_mut(self.host);
        let budget = self.budget.as_ref();
        match load {
            Load::Fine => {
                if let Some(budget) = budget.and_then(|of| budgets.get_mut(of)) {
                    grow(&mut budget.limit, budget.most, &mut budget.clean_since, now);
                }
                if let Some(host) = host {
                    grow(
                        &mut host.limit,
                        self.throttle.most,
                        &mut host.clean_since,
                        now,
                    );
                }
            }
            Load::BudgetSpent(_) => {
                if let (Some(of), Some(budget)) =
                    (budget, budget.and_then(|of| budgets.get_mut(of)))
                {
                    budget.limit = (budget.limit / 2).max(1);
                    budget.clean_since = None;
                    if let Some(host) = host {
                        host.busy
                            .retain(|(at, other)| now.duration_since(*at) < CLEAN && other != of);
                        host.busy.push((now, of.clone()));
                        if host.busy.len() >= CROWD {
                            host.busy.clear();
                            cut(host, self.begun, now);
                        }
                    }
                }
            }
            Load::ServerBusy(_) | Load::Unreachable => {
                if let Some(host) = host {
                    cut(host, self.begun, now);
                }
            }
        }
    }
}

/// One more after a time without trouble.
fn grow(limit: &mut usize, most: usize, clean_since: &mut Option<Instant>, now: Instant) {
    let since = *clean_since.get_or_insert(now);
    if *limit < most && now.duration_since(since) >= CLEAN {
        *limit += 1;
        *clean_since = Some(now);
    }
}

fn cut(host: &mut Host, begun: Instant, now: Instant) {
    host.clean_since = None;
    if host.cut.is_none_or(|cut| cut < begun) {
        host.limit = (host.limit / 2).max(1);
        host.cut = Some(now);
    }
}

impl Throttle {
    /// At most `most` requests at once to any one server.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            state: Mutex::default(),
            freed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Giving up the wait gives up the place.
    pub async fn turn<'a>(
        &'a self,
        host: &'a str,
        purse: Option<&Purse>,
        urgency: Urgency,
    ) -> Turn<'a> {
        let wanted = Wanted {
            host: host.to_owned(),
            purse: purse.cloned(),
        };
        let place = {
            let mut state = self.lock();
            state.tickets += 1;
            let place = (urgency, state.tickets);
            state.waiting.insert(place, wanted.clone());
            place
        };
        let _queued = Queued {
            throttle: self,
            place,
        };
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From now on: what is freed between the look and the wait counts.
            freed.as_mut().enable();
            if self.enter(&wanted, place) {
                return Turn {
                    throttle: self,
                    host,
                    budget: wanted.purse.map(|purse| purse.of),
                    begun: Instant::now(),
                };
            }
            freed.await;
        }
    }

    fn enter(&self, wanted: &Wanted, place: Place) -> bool {
        let mut state = self.lock();
        if !state.has_room(self.most, wanted) || state.is_preceded(self.most, place) {
            return false;
        }
        let State { hosts, budgets, .. } = &mut *state;
        if budgets.len() >= SWEEP {
            budgets.retain(|_, budget| !budget.is_idle());
        }
        let host = hosts.entry(wanted.host.clone()).or_insert_with(|| Host {
            limit: self.most,
            running: 0,
            cut: None,
            clean_since: None,
            busy: Vec::new(),
        });
        host.running += 1;
        if let Some(purse) = &wanted.purse {
            let most = purse.most.max(1);
            let budget = budgets.entry(purse.of.clone()).or_insert_with(|| Budget {
                most,
                limit: most,
                running: 0,
                clean_since: None,
            });
            budget.running += 1;
        }
        true
    }
}

/// A place in the queue, until it is left.
struct Queued<'a> {
    throttle: &'a Throttle,
    place: Place,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.throttle.lock().waiting.remove(&self.place);
        // Whoever stood behind may be next.
        self.throttle.freed.notify_waiters();
    }
}

/// How long to wait before a request is sent again that was answered so, and had been sent again `tries` times; none:
/// the answer stands.
pub fn wait_before_again(load: Load, tries: usize) -> Option<Duration> {
    let told = match load {
        Load::Fine | Load::Unreachable => return None,
        Load::BudgetSpent(told) | Load::ServerBusy(told) => told.filter(|wait| !wait.is_zero()),
    };
    let usual = WAITS.get(tries)?;
    Some(told.unwrap_or(*usual)).filter(|wait| *wait <= PATIENCE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const HOST: &str = "mail.kommune.example";

    fn of(mailbox: &str) -> Purse {
        Purse {
            of: mailbox.to_owned(),
            most: 2,
        }
    }

    /// How many requests for different mailboxes are let through at once.
    async fn room(throttle: &Throttle) -> usize {
        let mut turns = Vec::new();
        loop {
            let purse = of(&format!("other-{}", turns.len()));
            let next = throttle.turn(HOST, Some(&purse), Urgency::Now);
            match tokio::time::timeout(Duration::from_millis(1), next).await {
                Ok(turn) => turns.push(turn),
                Err(_) => return turns.len(),
            }
        }
    }

    async fn report(throttle: &Throttle, mailbox: &str, load: Load) {
        throttle
            .turn(HOST, Some(&of(mailbox)), Urgency::Now)
            .await
            .report(load);
    }

    #[tokio::test(start_paused = true)]
    async fn one_mailbox_gets_two_requests_at_once_and_leaves_the_rest_to_others() {
        let throttle = Throttle::new(10);
        let one = throttle.turn(HOST, Some(&of("anna")), Urgency::Now).await;
        let _two = throttle.turn(HOST, Some(&of("anna")), Urgency::Now).await;
        let purse = of("anna");
        let third = throttle.turn(HOST, Some(&purse), Urgency::Now);
        tokio::pin!(third);
        let early = tokio::time::timeout(Duration::from_secs(9), third.as_mut()).await;
        assert!(early.is_err());
        assert_eq!(room(&throttle).await, 8);
        drop(one);
        third.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_mailbox_whose_budget_is_spent_gets_one_at_once_and_others_as_before() {
        let throttle = Throttle::new(10);
        report(&throttle, "anna", Load::BudgetSpent(None)).await;
        let _one = throttle.turn(HOST, Some(&of("anna")), Urgency::Now).await;
        let purse = of("anna");
        let second = throttle.turn(HOST, Some(&purse), Urgency::Now);
        assert!(
            tokio::time::timeout(Duration::from_secs(9), second)
                .await
                .is_err()
        );
        assert_eq!(room(&throttle).await, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_gets_half_and_one_more_for_each_good_minute() {
        let throttle = Throttle::new(10);
        report(&throttle, "anna", Load::ServerBusy(None)).await;
        assert_eq!(room(&throttle).await, 5);
        for expected in [5, 6, 7] {
            report(&throttle, "bo", Load::Fine).await;
            assert_eq!(room(&throttle).await, expected);
            tokio::time::advance(CLEAN).await;
        }
        // What was under way when it was cut says nothing new.
        let late = throttle.turn(HOST, Some(&of("late")), Urgency::Now).await;
        report(&throttle, "anna", Load::Unreachable).await;
        late.report(Load::Unreachable);
        drop(late);
        assert_eq!(room(&throttle).await, 3);
        for _ in 0..9 {
            tokio::time::advance(Duration::from_secs(1)).await;
            report(&throttle, "anna", Load::Unreachable).await;
        }
        assert_eq!(room(&throttle).await, 1, "never none");
        // Another server is another matter.
        assert_eq!(
            throttle
                .turn("other.example", Some(&of("x")), Urgency::Now)
                .await
                .host,
            "other.example"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn several_busy_mailboxes_mean_that_the_server_is_busy() {
        let throttle = Throttle::new(10);
        for mailbox in ["anna", "anna", "anna", "bo"] {
            report(&throttle, mailbox, Load::BudgetSpent(None)).await;
        }
        assert_eq!(room(&throttle).await, 10);
        tokio::time::advance(CLEAN * 2).await;
        for mailbox in ["cecil", "dora"] {
            report(&throttle, mailbox, Load::BudgetSpent(None)).await;
        }
        assert_eq!(room(&throttle).await, 10, "the others are long over");
        report(&throttle, "bo", Load::BudgetSpent(None)).await;
        assert_eq!(room(&throttle).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_gives_its_turn_back() {
        let throttle = Throttle::new(1);
        for _ in 0..100 {
            let turn = throttle.turn(HOST, Some(&of("anna")), Urgency::Now).await;
            let purse = of("bo");
            let waiting = throttle.turn(HOST, Some(&purse), Urgency::Now);
            assert!(
                tokio::time::timeout(Duration::from_millis(1), waiting)
                    .await
                    .is_err()
            );
            drop(turn);
        }
        assert_eq!(room(&throttle).await, 1);
    }

    #[test]
    fn short_waits_are_waited_and_long_ones_are_not() {
        let wait = |told: Option<u64>, tries| {
            let told = told.map(Duration::from_millis);
            let waits = [Load::BudgetSpent(told), Load::ServerBusy(told)]
                .map(|load| wait_before_again(load, tries));
            assert_eq!(waits[0], waits[1]);
            waits[0].map(|wait| wait.as_millis())
        };
        assert_eq!(
            [0, 1, 2, 3].map(|tries| wait(None, tries)),
            [Some(200), Some(400), Some(1200), None]
        );
        assert_eq!(wait(Some(0), 0), Some(200), "no wait is none");
        assert_eq!(wait(Some(1500), 2), Some(1500));
        assert_eq!(wait(Some(1500), 3), None);
        assert_eq!(wait(Some(2001), 0), None);
        for load in [Load::Fine, Load::Unreachable] {
            assert_eq!(wait_before_again(load, 0), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_urgent_go_first_and_then_those_who_waited_longest() {
        let throttle = Arc::new(Throttle::new(1));
        let busy = throttle.turn(HOST, None, Urgency::Now).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (name, urgency) in [
            ("rest", Urgency::Later),
            ("weeks", Urgency::Soon),
            ("more weeks", Urgency::Soon),
            ("change", Urgency::Now),
        ] {
            let (throttle, order) = (Arc::clone(&throttle), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _turn = throttle.turn(HOST, Some(&of(name)), urgency).await;
                order.lock().unwrap().push(name);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(busy);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(
            *order.lock().unwrap(),
            ["change", "weeks", "more weeks", "rest"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_full_mailbox_holds_up_nobody_else() {
        let throttle = Throttle::new(3);
        let _one = throttle.turn(HOST, Some(&of("anna")), Urgency::Now).await;
        let _two = throttle.turn(HOST, Some(&of("anna")), Urgency::Now).await;
        let purse = of("anna");
        let third = throttle.turn(HOST, Some(&purse), Urgency::Now);
        tokio::pin!(third);
        let early = tokio::time::timeout(Duration::from_secs(1), third.as_mut()).await;
        assert!(early.is_err());
        let other = of("bo");
        let other = throttle.turn(HOST, Some(&other), Urgency::Later);
        tokio::time::timeout(Duration::from_secs(1), other)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_is_idle_is_forgotten() {
        let throttle = Throttle::new(10);
        for number in 0..SWEEP * 3 {
            let purse = of(&format!("mailbox-{number}"));
            drop(throttle.turn(HOST, Some(&purse), Urgency::Now).await);
        }
        assert!(throttle.lock().budgets.len() <= SWEEP);
        assert!(throttle.lock().waiting.is_empty());
    }
}
