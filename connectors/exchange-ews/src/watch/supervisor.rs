//! Who is subscribed, streamed and pulled, and when. One task decides all of it; what takes time is done by others,
//! which report back.

mod members;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use calbridge_core::connector::{Error, Result, Scope};
use calbridge_core::model::CalendarRef;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use self::members::{Member, Place};
use super::board::Board;
use super::line::{End, Line};
use super::pull;
use super::reaction::{self, Reaction};
use super::tempo::jittered;
use crate::client::{Affinity, ServerFacts};
use crate::config::Access;
use crate::error::WireError;
use crate::request;
use crate::source::Inner;

/// HangingConnectionLimit, where streams are charged to the account: Exchange 2013, and later versions.
const STREAMS_2013: usize = 3;
const STREAMS_LATER: usize = 10;
/// How many streams in a row must have been held back before events are pulled.
const WITHHELD: u32 = 3;
/// How many anchors are tried before an account's budget of streams is taken for spent.
const CROWDED: usize = 3;
/// After how many streams in a row that did not last even a minute events are pulled.
const HOPELESS: u32 = 3;
/// After how many streams in a row that lasted they are asked to last longer again.
const TRUSTED: u32 = 10;
/// How often in a row a stream may not find a calendar's subscription before it is pulled.
const STRAYED: u32 = 4;
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

    fn subscribe(&mut self, calendar: CalendarRef) {
        let ticket = self.number();
        let Some(member) = self.members.get_mut(&calendar) else {
            return;
        };
        member.place = Place::Subscribing { ticket };
        let pulls = member.pulls;
        self.subscribing += 1;
        let (inner, tell) = (Arc::clone(&self.inner), self.tell.clone());
        tokio::spawn(async move {
            let (facts, result) = subscribe(&inner, &calendar, pulls).await;
            let subscribed = Event::Subscribed {
                calendar,
                ticket,
                facts,
                result,
            };
            let _ = tell.send(subscribed).await;
        });
    }

    /// Ends a subscription; what becomes of it does not matter: it lapses by itself.
    fn unsubscribe(&self, calendar: CalendarRef, subscription: Subscription) {
        let (inner, turns) = (Arc::clone(&self.inner), Arc::clone(&self.turns));
        tokio::spawn(async move {
            if let Ok(_turn) = turns.acquire().await {
                unsubscribe(&inner, &calendar, &subscription).await;
            }
        });
    }

    /// Opens streams for those that are ready. `waiting`: how many are still to be subscribed.
    fn form(&mut self, now: Instant, waiting: usize) -> Instant {
        let tempo = self.inner.tempo;
        let mut ready: BTreeMap<String, Vec<(CalendarRef, Instant)>> = BTreeMap::new();
        for (calendar, member) in &self.members {
            if let (Place::Ready { since }, Some(subscription)) =
                (&member.place, &member.subscription)
            {
                let of_server = ready.entry(subscription.server.clone()).or_default();
                of_server.push((calendar.clone(), *since));
            }
        }
        let mut wake = now + NAP;
        for (server, mut calendars) in ready {
            let held = self.servers.get(&server).and_then(|one| one.not_before);
            if let Some(held) = held.filter(|held| *held > now) {
                wake = wake.min(held);
                continue;
            }
            let oldest = calendars.iter().map(|(_, since)| *since).min();
            let given_up = oldest.map_or(now, |oldest| oldest + tempo.gather);
            let settled = self.moved + tempo.settle;
            let alone = waiting == 0 && (self.subscribing == 0 || settled <= now);
            let full_only = !alone && given_up > now;
            if full_only {
                wake = wake.min(given_up);
                if waiting == 0 {
                    wake = wake.min(settled);
                }
            }
            calendars.sort_by(|one, other| one.0.address.as_str().cmp(other.0.address.as_str()));
            let mut calendars: Vec<CalendarRef> =
                calendars.into_iter().map(|(one, _)| one).collect();
            let fewest = if full_only { tempo.group } else { 1 };
            while calendars.len() >= fewest {
                let rest = calendars.split_off(calendars.len().min(tempo.group));
                self.open(&server, calendars, now);
                calendars = rest;
            }
        }
        wake
    }

    /// Opens a stream for at most as many calendars as one may have; where there may be no more streams, with those
    /// of one that has room; else they are pulled.
    fn open(&mut self, server: &str, mut calendars: Vec<CalendarRef>, now: Instant) {
        let tempo = self.inner.tempo;
        if self.lines.len() >= self.most_lines {
            let roomy = self
                .lines
                .iter()
                .filter(|(_, open)| {
                    open.server == server && open.calendars.len() + calendars.len() <= tempo.group
                })
                .min_by_key(|(_, open)| open.calendars.len())
                .map(|(number, _)| *number);
            match roomy {
                Some(number) => calendars.extend(self.close(number, now)),
                None => {
                    for calendar in calendars {
                        self.pull_instead(&calendar, now);
                    }
                    return;
                }
            }
        }
        let number = self.number();
        let mut subscriptions = HashMap::new();
        for calendar in &calendars {
            if let Some(member) = self.members.get_mut(calendar)
                && let Some(subscription) = &member.subscription
            {
                subscriptions.insert(subscription.id.clone(), calendar.clone());
                member.place = Place::Reading { line: number };
            }
        }
        let uncrowded = calendars.iter().find(|one| !self.crowded.contains(one));
        let Some(anchor) = uncrowded.or(calendars.first()).cloned() else {
            return;
        };
        let cookie = self
            .members
            .get(&anchor)
            .and_then(|member| member.subscription.as_ref()?.cookie.clone());
        let line = Line {
            number,
            anchor: anchor.clone(),
            cookie,
            subscriptions,
            minutes: self.minutes,
        };
        let task = tokio::spawn(line.run(
            Arc::clone(&self.inner),
            Arc::clone(&self.board),
            self.tell.clone(),
        ));
        let open = Open {
            server: server.to_owned(),
            anchor,
            calendars: calendars.into_iter().collect(),
            begun: None,
            minutes: self.minutes,
            task: task.abort_handle(),
        };
        self.lines.insert(number, open);
    }

    /// Closes a stream; its calendars are ready for another.
    fn close(&mut self, number: u64, now: Instant) -> Vec<CalendarRef> {
        let Some(open) = self.lines.remove(&number) else {
            return Vec::new();
        };
        open.task.abort();
        self.free(number, open.calendars, now)
    }

    /// Calendars of a stream that ended are ready for another. Those that went elsewhere meanwhile are left out.
    fn free(
        &mut self,
        number: u64,
        calendars: HashSet<CalendarRef>,
        now: Instant,
    ) -> Vec<CalendarRef> {
        let mut freed = Vec::new();
        for calendar in calendars {
            if let Some(member) = self.members.get_mut(&calendar)
                && matches!(member.place, Place::Reading { line } if line == number)
            {
                member.place = Place::Ready { since: now };
                freed.push(calendar);
            }
        }
        freed
    }

    fn pull_instead(&mut self, calendar: &CalendarRef, now: Instant) {
        self.stirred = true;
        let Some(member) = self.members.get_mut(calendar) else {
            return;
        };
        member.pulls = true;
        if let Some(subscription) = member.again(now) {
            self.unsubscribe(calendar.clone(), subscription);
        }
    }

    /// Streams do not work: all is pulled.
    fn all_pulls(&mut self, now: Instant, why: &Error) {
        let again = now + self.inner.tempo.probe;
        if matches!(self.mode, Mode::Streams) {
            tracing::warn!(
                code = why.code,
                error = %why,
                "Streams of notifications do not work here; events are pulled, and streams are tried again later."
            );
        }
        self.mode = Mode::Pulls { again };
        self.withheld = 0;
        for (_, open) in self.lines.drain() {
            open.task.abort();
        }
        let calendars: Vec<CalendarRef> = self
            .members
            .iter()
            .filter(|(_, member)| !member.pulls)
            .map(|(calendar, _)| calendar.clone())
            .collect();
        for calendar in calendars {
            self.pull_instead(&calendar, now);
        }
    }

    /// Streams may work (again): those that are pulled are streamed.
    fn all_streams(&mut self, now: Instant) {
        self.mode = Mode::Streams;
        let pulled: Vec<CalendarRef> = self
            .members
            .iter()
            .filter(|(_, member)| member.pulls)
            .map(|(calendar, _)| calendar.clone())
            .collect();
        for calendar in pulled {
            self.stream_instead(&calendar, now);
        }
    }

    fn stream_instead(&mut self, calendar: &CalendarRef, now: Instant) {
        self.stirred = true;
        let Some(member) = self.members.get_mut(calendar) else {
            return;
        };
        member.pulls = false;
        if let Place::Pulling { task } = &member.place {
            task.abort();
        }
        if let Some(subscription) = member.again(now) {
            self.unsubscribe(calendar.clone(), subscription);
        }
    }

    /// Where streams did not work, one calendar tries again.
    fn probe(&mut self, now: Instant) {
        let Mode::Pulls { again } = self.mode else {
            return;
        };
        if again > now {
            return;
        }
        self.mode = Mode::Pulls {
            again: now + self.inner.tempo.probe,
        };
        let pulled = |member: &Member| matches!(member.place, Place::Pulling { .. });
        let mut candidates = self.members.iter();
        let first = candidates.find(|(_, member)| pulled(member));
        if let Some(calendar) = first.map(|(calendar, _)| calendar.clone()) {
            self.stream_instead(&calendar, now);
        }
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

    fn subscribed(
        &mut self,
        calendar: CalendarRef,
        ticket: u64,
        facts: &ServerFacts,
        result: Result<Subscription>,
        now: Instant,
    ) {
        self.subscribing = self.subscribing.saturating_sub(1);
        self.moved = now;
        self.learn(facts);
        let here = self.members.get_mut(&calendar).filter(
            |member| matches!(member.place, Place::Subscribing { ticket: own } if own == ticket),
        );
        let Some(member) = here else {
            // It left meanwhile.
            if let Ok(subscription) = result {
                self.unsubscribe(calendar, subscription);
            }
            return;
        };
        match result {
            Ok(subscription) => {
                self.hold = None;
                self.holds = 0;
                member.told = false;
                member.subscription = Some(subscription.clone());
                member.place = if member.pulls {
                    let task = tokio::spawn(pull::run(
                        Arc::clone(&self.inner),
                        Arc::clone(&self.board),
                        self.tell.clone(),
                        Arc::clone(&self.turns),
                        calendar,
                        subscription,
                    ));
                    Place::Pulling {
                        task: task.abort_handle(),
                    }
                } else {
                    Place::Ready { since: now }
                };
            }
            Err(error) => self.failed(&calendar, &error, now),
        }
    }

    /// Without impersonation all streams are charged to the account, whose limit is the version's.
    fn learn(&mut self, facts: &ServerFacts) {
        if self.inner.client.settings().access == Access::Delegate
            && let Some(version) = &facts.version
            && self.most_again.is_none()
        {
            self.most_lines = if version.minor == "0" {
                STREAMS_2013
            } else {
                STREAMS_LATER
            };
        }
    }

    /// A calendar could not be subscribed, or no longer be read.
    fn failed(&mut self, calendar: &CalendarRef, error: &Error, now: Instant) {
        let tempo = self.inner.tempo;
        let reaction = reaction::of(error);
        if reaction == Reaction::Nobody {
            self.holds += 1;
            let wait = tempo
                .back_off(self.holds)
                .max(error.wait().unwrap_or_default());
            self.hold = Some(now + self.jittered(wait, calendar));
            tracing::warn!(
                code = error.code,
                %error,
                "Calendars cannot be watched now; it is tried again."
            );
            if let Some(member) = self.members.get_mut(calendar) {
                // Others first: it may be the only one.
                member.failures += 1;
                let failures = member.failures;
                member.again(now);
                let due = now + wait.max(tempo.back_off(failures));
                member.place = Place::Waiting { due };
            }
            return;
        }
        let Some(member) = self.members.get_mut(calendar) else {
            return;
        };
        member.failures += 1;
        let failures = member.failures;
        let wait = match reaction {
            // At once, and later only if that was of no use.
            Reaction::Resubscribe if failures == 1 => Duration::ZERO,
            Reaction::NotOffered if !member.pulls => {
                member.pulls = true;
                Duration::ZERO
            }
            Reaction::NotOffered | Reaction::Operator => tempo.slow_back_off(failures),
            Reaction::FewerSubscriptions => tempo.probe / 2,
            _ => tempo
                .back_off(failures)
                .max(error.wait().unwrap_or_default()),
        };
        let lasting = !wait.is_zero()
            && (failures >= 3 || !matches!(reaction, Reaction::Resubscribe | Reaction::Later));
        let tells = lasting && !member.told;
        member.told |= lasting;
        member.again(now);
        let due = now + self.jittered(wait, calendar);
        if let Some(member) = self.members.get_mut(calendar) {
            member.place = Place::Waiting { due };
        }
        if tells {
            let error = reaction::unwatchable(error);
            tracing::warn!(
                calendar = calendar.handle(),
                code = error.code,
                %error,
                "A calendar cannot be watched."
            );
            self.board.unwatchable(calendar, error);
        } else {
            tracing::debug!(
                calendar = calendar.handle(),
                code = error.code,
                ?reaction,
                "A calendar is not watched now."
            );
        }
    }

    /// Whether a stream failed to find the calendar's subscription again and again: a front that tells no servers
    /// apart, perhaps. Pulling has a way of its own.
    fn strayed(&mut self, calendar: &CalendarRef) -> bool {
        let Some(member) = self.members.get_mut(calendar) else {
            return false;
        };
        member.strays += 1;
        member.strays >= STRAYED
    }

    fn opened(&mut self, number: u64, now: Instant) {
        let Some(open) = self.lines.get_mut(&number) else {
            return;
        };
        open.begun = Some(now);
        tracing::debug!(
            calendars = open.calendars.len(),
            minutes = open.minutes,
            "A stream of notifications has begun."
        );
        for calendar in &open.calendars {
            if let Some(member) = self.members.get_mut(calendar) {
                member.strays = 0;
            }
        }
        self.withheld = 0;
        if matches!(self.mode, Mode::Pulls { .. }) {
            self.all_streams(now);
        }
    }

    fn lost(&mut self, number: u64, subscriptions: &[String], error: &Error, now: Instant) {
        for calendar in self.calendars_of(number, subscriptions) {
            if let Some(open) = self.lines.get_mut(&number) {
                open.calendars.remove(&calendar);
            }
            self.failed(&calendar, error, now);
        }
    }

    /// The calendars of a stream whose subscriptions these are; all of them, where none is named.
    fn calendars_of(&self, number: u64, subscriptions: &[String]) -> Vec<CalendarRef> {
        let Some(open) = self.lines.get(&number) else {
            return Vec::new();
        };
        let named = |calendar: &CalendarRef| {
            let subscription = self
                .members
                .get(calendar)
                .and_then(|member| member.subscription.as_ref());
            subscription.is_some_and(|one| subscriptions.contains(&one.id))
        };
        open.calendars
            .iter()
            .filter(|calendar| subscriptions.is_empty() || named(calendar))
            .cloned()
            .collect()
    }

    fn ended(&mut self, number: u64, end: End, now: Instant) {
        let named = match &end {
            End::Failed(_, ids) => self.calendars_of(number, ids),
            _ => Vec::new(),
        };
        let Some(open) = self.lines.remove(&number) else {
            return;
        };
        let lasted = open.begun.map(|begun| now.duration_since(begun));
        let calendars = self.free(number, open.calendars.clone(), now);
        // A minute is the least that a stream can be asked to last.
        let settled = lasted.is_some_and(|lasted| lasted >= self.inner.tempo.minute / 2);
        if settled {
            for calendar in &calendars {
                if let Some(member) = self.members.get_mut(calendar) {
                    member.failures = 0;
                }
            }
            if let Some(server) = self.servers.get_mut(&open.server) {
                server.failures = 0;
            }
        }
        match &end {
            End::Closed => {
                self.closed();
                self.merge(&open.server, now);
                if !settled && !calendars.is_empty() {
                    self.put_off(&open, None, now);
                }
                return;
            }
            _ => tracing::info!(
                code = end.error().code,
                error = %end.error(),
                calendars = calendars.len(),
                "A stream of notifications ended."
            ),
        }
        match end {
            End::Closed => {}
            End::Withheld => {
                self.withheld += 1;
                if self.withheld >= WITHHELD || matches!(self.mode, Mode::Pulls { .. }) {
                    self.all_pulls(now, &end.error());
                } else {
                    self.put_off(&open, None, now);
                }
            }
            End::Silent | End::Broken => {
                if lasted.is_some_and(|lasted| self.broke(lasted, open.minutes)) {
                    self.all_pulls(now, &end.error());
                } else if self.put_off(&open, None, now) >= self.inner.tempo.gives_up {
                    for calendar in &calendars {
                        self.pull_instead(calendar, now);
                    }
                    self.recover_later(now);
                }
            }
            End::Failed(error, ids) => match reaction::of(&error) {
                Reaction::Resubscribe => {
                    for calendar in named {
                        if self.strayed(&calendar) {
                            self.pull_instead(&calendar, now);
                            self.recover_later(now);
                        } else {
                            self.failed(&calendar, &error, now);
                        }
                    }
                }
                Reaction::Operator => {
                    // Where nobody is named, it is the one on whose behalf the stream was to be opened.
                    let blamed = if ids.is_empty() {
                        vec![open.anchor.clone()]
                    } else {
                        named
                    };
                    for calendar in blamed {
                        self.failed(&calendar, &error, now);
                    }
                }
                Reaction::FewerStreams => {
                    self.fewer(&open, now);
                    self.put_off(&open, None, now);
                }
                Reaction::NotOffered => self.all_pulls(now, &error),
                // Other servers' streams are another matter, whatever the scope.
                Reaction::FewerSubscriptions | Reaction::Later | Reaction::Nobody => {
                    self.put_off(&open, error.wait(), now);
                }
            },
        }
    }

    /// A server rests for a while: next to nothing after the first failure. Gives its failures in a row.
    fn put_off(&mut self, open: &Open, told: Option<Duration>, now: Instant) -> u32 {
        let tempo = self.inner.tempo;
        let server = self.servers.entry(open.server.clone()).or_default();
        server.failures += 1;
        let failures = server.failures;
        let wait = match failures {
            1 => tempo.retry / 25,
            more => tempo.back_off(more - 1),
        };
        let wait = wait.max(told.unwrap_or_default());
        let wait = self.jittered(wait, &open.anchor);
        if let Some(server) = self.servers.get_mut(&open.server) {
            server.not_before = Some(now + wait);
        }
        failures
    }

    /// A stream broke: where that happens again and again at one age, something ends long connections, and streams
    /// are asked to end before that. True if even the shortest do not last.
    fn broke(&mut self, lasted: Duration, minutes: u32) -> bool {
        let minute = self.inner.tempo.minute;
        let slack = if minutes > 1 { minute / 2 } else { minute / 20 };
        // What breaks in its first seconds has other reasons than its age.
        if lasted < minute / 6 || lasted + slack >= minute * minutes {
            return false;
        }
        self.closes = 0;
        let (count, age) = self.breaks;
        let alike = lasted.abs_diff(age) <= age / 5;
        if minutes <= 1 {
            self.breaks = (count + 1, lasted);
            return self.breaks.0 >= HOPELESS;
        }
        self.breaks = (if alike { count + 1 } else { 1 }, lasted);
        if self.breaks.0 >= 2 {
            let whole = lasted.min(age).as_secs_f64() / minute.as_secs_f64().max(0.001);
            let shorter = (1..minutes)
                .rev()
                .find(|shorter| f64::from(*shorter) < whole);
            self.minutes = shorter.unwrap_or(1);
            self.breaks = (0, Duration::ZERO);
            tracing::info!(
                minutes = self.minutes,
                "Streams of notifications break at one age; they are asked to end before it."
            );
        }
        false
    }

    /// A stream ended when it was to: what broke streams before may be over.
    fn closed(&mut self) {
        self.breaks = (0, Duration::ZERO);
        self.closes += 1;
        if self.closes >= TRUSTED && self.minutes < self.inner.tempo.minutes {
            self.closes = 0;
            self.minutes = (self.minutes * 2).min(self.inner.tempo.minutes);
        }
    }

    /// The budget of streams is spent: that of the mailbox on whose behalf it was, so another one has a try; or the
    /// account's.
    fn fewer(&mut self, open: &Open, now: Instant) {
        let impersonates = self.inner.client.settings().access == Access::Impersonation;
        self.crowded.insert(open.anchor.clone());
        let tried = |calendar: &CalendarRef| self.crowded.contains(calendar);
        let spent = self.crowded.len() >= CROWDED || open.calendars.iter().all(tried);
        if !impersonates {
            self.most_lines = self.lines.len();
        } else if spent {
            for calendar in &open.calendars {
                self.pull_instead(calendar, now);
            }
        }
        if spent || !impersonates {
            tracing::info!(
                streams = self.lines.len(),
                "Exchange allows no more streams; the other calendars are pulled."
            );
        }
        self.recover_later(now);
    }

    /// What is pulled for want of streams is streamed again some time.
    fn recover_later(&mut self, now: Instant) {
        self.most_again.get_or_insert(now + self.inner.tempo.probe);
    }

    /// A stream's time was up: if its server has more streams than need be, they become one.
    fn merge(&mut self, server: &str, now: Instant) {
        let others: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, open)| open.server == server)
            .map(|(number, _)| *number)
            .collect();
        let held = |member: &&Member| {
            let subscription = member.subscription.as_ref();
            subscription.is_some_and(|one| one.server == server) && !member.pulls
        };
        let total = self.members.values().filter(held).count();
        if others.len() + 1 > total.div_ceil(self.inner.tempo.group) {
            for number in others {
                self.close(number, now);
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

/// Subscribes to a calendar on behalf of its mailbox. The server that answers keeps the subscription.
async fn subscribe(
    inner: &Inner,
    calendar: &CalendarRef,
    pulls: bool,
) -> (ServerFacts, Result<Subscription>) {
    let target = inner.target(calendar);
    let body = if pulls {
        request::subscribe_pull(&target, pull::LIFETIME)
    } else {
        request::subscribe_streaming(&target)
    };
    let affinity = Affinity {
        anchor: &calendar.address,
        cookie: None,
    };
    let answer = inner
        .client
        .ask(Some(&calendar.address), Some(affinity), &body)
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (ServerFacts::default(), Err(error)),
    };
    let facts = answer.facts;
    let result = answer.reply.and_then(|reply| {
        let message = reply.messages.into_iter().next();
        let message = message.ok_or_else(|| missing("a response message"))?;
        let message = inner.client.checked(message, Scope::Calendar)?;
        let id = message
            .subscription
            .filter(|id| !id.is_empty())
            .ok_or_else(|| missing("a subscription"))?;
        let server = facts.back_end.clone().or_else(|| facts.cookie.clone());
        Ok(Subscription {
            id,
            server: server.unwrap_or_default(),
            cookie: facts.cookie.clone(),
            watermark: message.watermark,
        })
    });
    (facts, result)
}

async fn unsubscribe(inner: &Inner, calendar: &CalendarRef, subscription: &Subscription) {
    let affinity = Affinity {
        anchor: &calendar.address,
        cookie: subscription.cookie.as_deref(),
    };
    let body = request::unsubscribe(&subscription.id);
    let _ = inner
        .client
        .ask(Some(&calendar.address), Some(affinity), &body)
        .await;
}

fn missing(what: &'static str) -> Error {
    WireError::Missing(what).of("Subscribe")
}
