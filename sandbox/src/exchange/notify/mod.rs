//! Notifications: subscriptions, the events that they are told, and the mailbox servers on which they live.
//!
//! A subscription lives in the memory of the mailbox server that made it and nowhere else (EWS, "Maintain affinity
//! between a group of subscriptions and the Mailbox server"): requests for it must reach that server again, and a
//! failover loses it. Events are kept in one log; each subscription knows how far it has been told.

mod event;
mod operations;
mod routing;
mod spoil;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub(crate) use self::event::{Event, EventKind};
pub(crate) use self::operations::run;
pub(crate) use self::routing::{HOME, Routing, server_name};
pub(crate) use self::spoil::spoil;
pub(crate) use self::stream::Stream;
use super::item::Folder;
use super::profile::Profile;

/// How many events the log holds; who is further behind has missed some.
const LOG: usize = 20_000;
/// EWSMaxSubscriptions of Exchange 2013 and later: per mailbox that is charged.
const SUBSCRIPTIONS: usize = 5_000;

/// Limits and times of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notifications {
    /// How often a stream says that it is alive.
    pub heartbeat: Duration,
    /// How long a minute of `ConnectionTimeout` and of `Timeout` lasts.
    pub minute: Duration,
    /// How long a streaming subscription lives without a connection.
    pub idle: Duration,
    /// Whether streaming subscriptions are offered.
    pub streaming: bool,
    /// Whether pull subscriptions are offered.
    pub pull: bool,
    /// Whether a streaming subscription is told later what happened while no connection was open.
    pub queued: bool,
    /// Whether the front tells which mailbox server it reached, and gives the cookie that leads there.
    pub told_servers: bool,
    /// How many subscriptions one account, or one impersonated mailbox, may hold (EWSMaxSubscriptions).
    pub max_subscriptions: usize,
    /// How many streams one account, or one impersonated mailbox, may have open (HangingConnectionLimit). `None`: as
    /// many as the server's version allows, 3 in Exchange 2013 and 10 later.
    pub max_streams: Option<usize>,
}

impl Default for Notifications {
    fn default() -> Self {
        Notifications {
            heartbeat: Duration::from_secs(45),
            minute: Duration::from_secs(60),
            idle: Duration::from_secs(30 * 60),
            streaming: true,
            pull: true,
            queued: true,
            told_servers: true,
            max_subscriptions: SUBSCRIPTIONS,
            max_streams: None,
        }
    }
}

/// What a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Streaming,
    /// Expires when it was not asked for so long.
    Pull(Duration),
}

/// One subscription.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    kind: Kind,
    /// The account that made it; no other may read it.
    account: String,
    /// Whose budget it counts in.
    charged: String,
    mailbox: usize,
    /// All folders where there are none named.
    folders: Option<BTreeSet<Folder>>,
    kinds: BTreeSet<EventKind>,
    server: usize,
    /// The number of the next event that it is to be told.
    next: u64,
    /// The stream that reads it.
    stream: Option<u64>,
    touched: Instant,
    /// An error that its stream is told instead of events.
    broken: Option<&'static str>,
}

impl Subscription {
    fn wants(&self, event: &Event) -> bool {
        let folder = |folder| {
            self.folders
                .as_ref()
                .is_none_or(|folders| folders.contains(&folder))
        };
        self.mailbox == event.mailbox
            && self.kinds.contains(&event.kind)
            && (folder(event.folder) || event.old.is_some_and(|(_, old)| folder(old)))
    }

    fn expired(&self, idle: Duration) -> bool {
        let allowed = match self.kind {
            Kind::Streaming => idle,
            Kind::Pull(timeout) => timeout,
        };
        self.stream.is_none() && self.touched.elapsed() > allowed
    }
}

#[derive(Debug, Default)]
struct State {
    log: VecDeque<Event>,
    /// The number of the next event.
    next: u64,
    subscriptions: BTreeMap<String, Subscription>,
    issued: u64,
    streams: u64,
    /// Open streams by whose budget they count in.
    open: BTreeMap<String, usize>,
    /// How often each server failed.
    failures: BTreeMap<usize, u64>,
}

impl State {
    fn first(&self) -> u64 {
        self.next.saturating_sub(self.log.len() as u64)
    }

    fn since(&self, number: u64) -> impl Iterator<Item = &Event> {
        let skipped = number.saturating_sub(self.first());
        self.log
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    fn failures(&self, server: usize) -> u64 {
        self.failures.get(&server).copied().unwrap_or_default()
    }
}

/// All subscriptions and events of a server.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) settings: Notifications,
    pub(crate) profile: Profile,
    state: Mutex<State>,
    /// Raised with every change that a stream may have to tell.
    changed: watch::Sender<u64>,
}

impl Default for Notifier {
    fn default() -> Self {
        Notifier::new(Notifications::default(), Profile::default())
    }
}

impl Notifier {
    pub(crate) fn new(settings: Notifications, profile: Profile) -> Self {
        Notifier {
            settings,
            profile,
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Something happened: subscriptions to it are told at once.
    pub(crate) fn tell(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = self.state();
        for event in events {
            if state.log.len() >= LOG {
                state.log.pop_front();
            }
            state.log.push_back(event);
            state.next += 1;
        }
        drop(state);
        self.wake();
    }

    fn max_streams(&self) -> usize {
        let by_version = match self.profile {
            Profile::Exchange2013 => 3,
            Profile::Exchange2019 | Profile::Gromox => 10,
        };
        self.settings.max_streams.unwrap_or(by_version)
    }

    /// A server fails: its streams break, its subscriptions are lost.
    pub(crate) fn fail_over(&self, server: usize) {
        let mut state = self.state();
        state.subscriptions.retain(|_, one| one.server != server);
        *state.failures.entry(server).or_default() += 1;
        drop(state);
        self.wake();
    }

    /// Subscriptions to a mailbox are lost.
    pub(crate) fn lose(&self, mailbox: usize) {
        let mut state = self.state();
        state.subscriptions.retain(|_, one| one.mailbox != mailbox);
        drop(state);
        self.wake();
    }

    /// Subscriptions to a mailbox can no longer be read.
    pub(crate) fn break_off(&self, mailbox: usize, code: &'static str) {
        let mut state = self.state();
        for one in state.subscriptions.values_mut() {
            if one.mailbox == mailbox {
                one.broken = Some(code);
            }
        }
        drop(state);
        self.wake();
    }

    /// How many subscriptions there are, and how many streams are open.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.subscriptions.len(), state.open.values().sum())
    }
}

/// A place among the open streams of a budget.
struct Seat {
    notifier: Arc<Notifier>,
    charged: String,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.notifier.state();
        if let Some(open) = state.open.get_mut(&self.charged) {
            *open = open.saturating_sub(1);
        }
        for one in state.subscriptions.values_mut() {
            if one.stream == Some(self.number) {
                one.stream = None;
                one.touched = Instant::now();
            }
        }
    }
}
