//! Who is subscribed, streamed and pulled, and when. One task decides all of it; what takes time is done by others,
//! which report back.

mod endings;
mod lines;
mod members;
mod subscribing;
mod ways;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use calbridge_core::connector::{Error, Result};
use calbridge_core::model::CalendarRef;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use self::members::{Member, Place};
use self::subscribing::unsubscribe;
use super::board::Board;
use super::line::End;
use super::tempo::jittered;
use crate::client::ServerFacts;
use crate::source::Inner;

/// How long subscriptions are ended when the watch ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// The longest sleep.
const NAP: Duration = Duration::from_secs(30);

/// What tasks report.
#[derive(Debug)]
pub(crate) enum Event {
    Subscribed {
        calendar: CalendarRef,
        ticket: u64,
        facts: ServerFacts,
        result: Result<Subscription>,
    },
    /// A stream has begun.
    Opened { number: u64 },
    /// Subscriptions of a stream failed; it goes on without them.
    Lost {
        number: u64,
        subscriptions: Vec<String>,
        error: Error,
    },
    /// A stream ended.
    Ended { number: u64, end: End },
    /// A calendar can no longer be pulled.
    Pulled { calendar: CalendarRef, error: Error },
}

/// A subscription and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    /// The server that keeps it, by whatever name: those with one name share streams.
    pub(crate) server: String,
    pub(crate) cookie: Option<String>,
    /// Of a pull subscription: how far it was pulled.
    pub(crate) watermark: Option<String>,
}

/// Whether streams work here.
#[derive(Debug)]
enum Mode {
    Streams,
    /// They do not: events are pulled, and one calendar tries a stream from time to time.
    Pulls {
        again: Instant,
    },
}

/// An open stream, or one that is being opened.
#[derive(Debug)]
struct Open {
    server: String,
    anchor: CalendarRef,
    calendars: HashSet<CalendarRef>,
    begun: Option<Instant>,
    minutes: u32,
    task: AbortHandle,
}

/// What is known of a mailbox server.
#[derive(Debug, Default)]
struct Server {
    failures: u32,
    not_before: Option<Instant>,
}

/// See the module.
pub(crate) struct Supervisor {
    inner: Arc<Inner>,
    board: Arc<Board>,
    ends: CancellationToken,
    tell: mpsc::Sender<Event>,
    told: mpsc::Receiver<Event>,
    turns: Arc<Semaphore>,
    members: HashMap<CalendarRef, Member>,
    lines: HashMap<u64, Open>,
    servers: HashMap<String, Server>,
    mode: Mode,
    /// Streams in a row that were held back.
    withheld: u32,
    /// Streams in a row that broke at one age before their time, and that age.
    breaks: (u32, Duration),
    /// Streams in a row that lasted as long as they were to.
    closes: u32,
    minutes: u32,
    /// How many streams may be open.
    most_lines: usize,
    /// When that is forgotten again.
    most_again: Option<Instant>,
    /// Mailboxes whose budget of streams is spent.
    crowded: HashSet<CalendarRef>,
    /// Nothing is asked of the server before.
    hold: Option<Instant>,
    holds: u32,
    subscribing: usize,
    /// Somebody became due while what is due was done.
    stirred: bool,
    /// When the last subscription was made or refused.
    moved: Instant,
    numbers: u64,
}

impl Supervisor {
    pub(crate) fn new(inner: Arc<Inner>, board: Arc<Board>, ends: CancellationToken) -> Self {
        let (tell, told) = mpsc::channel(256);
        let tempo = inner.tempo;
        Self {
            turns: Arc::new(Semaphore::new(tempo.at_once)),
            minutes: tempo.minutes,
            inner,
            board,
            ends,
            tell,
            told,
            members: HashMap::new(),
            lines: HashMap::new(),
            servers: HashMap::new(),
            mode: Mode::Streams,
            withheld: 0,
            breaks: (0, Duration::ZERO),
            closes: 0,
            most_lines: usize::MAX,
            most_again: None,
            crowded: HashSet::new(),
            hold: None,
            holds: 0,
            subscribing: 0,
            stirred: false,
            moved: Instant::now(),
            numbers: 0,
        }
    }

    /// Works until the watch is dropped or the program stops.
    pub(crate) async fn run(mut self, mut wants: watch::Receiver<Vec<CalendarRef>>) {
        let wanted = wants.borrow_and_update().clone();
        self.want(&wanted);
        loop {
            let wake = self.step(Instant::now());
            tokio::select! {
                () = self.ends.cancelled() => break,
                () = self.inner.client.stopped() => break,
                changed = wants.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let wanted = wants.borrow_and_update().clone();
                    self.want(&wanted);
                }
                Some(event) = self.told.recv() => {
                    self.take(event);
                    while let Ok(event) = self.told.try_recv() {
                        self.take(event);
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.leave().await;
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn jittered(&self, wait: Duration, calendar: &CalendarRef) -> Duration {
        jittered(wait, &calendar.handle(), self.inner.client.now())
    }

    /// These calendars are to be watched, and no others.
    fn want(&mut self, wanted: &[CalendarRef]) {
        let now = Instant::now();
        let keep: HashSet<&CalendarRef> = wanted.iter().collect();
        let left: Vec<CalendarRef> = self
            .members
            .keys()
            .filter(|calendar| !keep.contains(calendar))
            .cloned()
            .collect();
        for calendar in left {
            if let Some(member) = self.members.remove(&calendar) {
                self.release(&calendar, member.place);
                if let Some(subscription) = member.subscription {
                    self.unsubscribe(calendar, subscription);
                }
            }
        }
        for calendar in wanted {
            self.members
                .entry(calendar.clone())
                .or_insert_with(|| Member::new(now));
        }
    }

    /// Takes a calendar out of whatever reads it; a stream that reads nothing more is closed.
    fn release(&mut self, calendar: &CalendarRef, place: Place) {
        match place {
            Place::Reading { line } => {
                let Some(open) = self.lines.get_mut(&line) else {
                    return;
                };
                open.calendars.remove(calendar);
                if open.calendars.is_empty()
                    && let Some(open) = self.lines.remove(&line)
                {
                    open.task.abort();
                }
            }
            Place::Pulling { task } => task.abort(),
            Place::Waiting { .. } | Place::Subscribing { .. } | Place::Ready { .. } => {}
        }
    }

    /// Does what is due; says when to look again.
    fn step(&mut self, now: Instant) -> Instant {
        self.stirred = false;
        if self.most_again.is_some_and(|again| again <= now) {
            self.most_again = None;
            self.most_lines = usize::MAX;
            self.crowded.clear();
            self.all_streams(now);
        }
        self.probe(now);
        let mut wake = now + NAP;
        let mut sooner = |at: Instant| wake = wake.min(at);
        self.most_again.into_iter().for_each(&mut sooner);
        if let Mode::Pulls { again } = self.mode {
            sooner(again);
        }
        if let Some(hold) = self.hold.filter(|hold| *hold > now) {
            sooner(hold);
            return wake;
        }
        let mut due = Vec::new();
        for (calendar, member) in &self.members {
            if let Place::Waiting { due: at } = member.place {
                if at <= now {
                    due.push((at, calendar.clone()));
                } else {
                    sooner(at);
                }
            }
        }
        due.sort_by_key(|(at, _)| *at);
        let mut waiting = due.len();
        for (_, calendar) in due {
            if self.subscribing >= self.inner.tempo.at_once {
                break;
            }
            waiting -= 1;
            self.subscribe(calendar);
        }
        let wake = wake.min(self.form(now, waiting));
        if self.stirred { now } else { wake }
    }

    fn take(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Subscribed {
                calendar,
                ticket,
                facts,
                result,
            } => self.subscribed(calendar, ticket, &facts, result, now),
            Event::Opened { number } => self.opened(number, now),
            Event::Lost {
                number,
                subscriptions,
                error,
            } => self.lost(number, &subscriptions, &error, now),
            Event::Ended { number, end } => self.ended(number, end, now),
            Event::Pulled { calendar, error } => {
                let Some(member) = self.members.get_mut(&calendar) else {
                    return;
                };
                member.subscription = None;
                self.failed(&calendar, &error, now);
            }
        }
    }

    /// Ends all subscriptions, as far as a short time allows.
    async fn leave(mut self) {
        for (_, open) in self.lines.drain() {
            open.task.abort();
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (calendar, member) in self.members.drain() {
            if let Place::Pulling { task } = member.place {
                task.abort();
            }
            if let Some(subscription) = member.subscription {
                let (inner, turns) = (Arc::clone(&self.inner), Arc::clone(&self.turns));
                tasks.spawn(async move {
                    if let Ok(_turn) = turns.acquire().await {
                        unsubscribe(&inner, &calendar, &subscription).await;
                    }
                });
            }
        }
        let farewell = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}
