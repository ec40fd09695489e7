//! The service loop: by interval, by daily times, by hints.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::future::FusedFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, Member, panicked};
use super::error::EngineError;
use super::orders::Nudge;
use super::outcome::{LONGEST_BELIEVED, waits};
use super::report::{CalendarOutcome, Progress, Work};
use super::{Daily, SyncConfig};
use crate::connector::{CalendarSource, Error, ErrorKind, Hint};
use crate::model::CalendarRef;
use crate::store::{CalendarId, CalendarState, Retention, StoreError};

/// How long to wait until a hint is acted on: one change makes several, and connectors gather those of one moment.
const DEBOUNCE: SignedDuration = SignedDuration::from_millis(300);
/// How long after a look at a calendar hints do not bring about another one: a flood of them is gathered.
const GATHER: SignedDuration = SignedDuration::from_secs(3);
/// The longest sleep: the clock may be set while we sleep, and a look at the timetable costs little.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(1);
/// How long work under way may go on after the program was asked to stop.
pub(super) const GRACE: Duration = Duration::from_secs(4);
/// How long a watch may take to give back what the system keeps for it.
const PARTING: Duration = Duration::from_millis(2500);
/// When retention is first applied: servers have told their time by then.
const FIRST_PRUNE: Duration = Duration::from_secs(10 * 60);
/// How often retention is applied.
const PRUNE_INTERVAL: SignedDuration = SignedDuration::from_hours(24);
/// How long to wait until a failed roster is asked for again.
const ROSTER_RETRY: SignedDuration = SignedDuration::from_secs(30);

impl Engine {
    /// Runs all syncs until `shutdown`. Every calendar keeps its own time: one in trouble holds up no other.
    ///
    /// # Errors
    /// Only what makes all further work pointless: the store was taken over.
    pub async fn run(
        &self,
        retention: Retention,
        shutdown: &CancellationToken,
        progress: &dyn Progress,
    ) -> Result<(), EngineError> {
        let mut nudges = HashMap::new();
        let mut loops = FuturesUnordered::new();
        for sync in self.syncs() {
            let (nudge, nudged) = mpsc::channel(16);
            nudges.insert(sync.name.clone(), nudge);
            loops.push(self.run_sync(sync, nudged, shutdown, progress));
        }
        let obeying = self.keep_obeying(&nudges, shutdown);
        tokio::pin!(obeying);
        let pruning = self.keep_pruned(retention, shutdown);
        tokio::pin!(pruning);
        loop {
            tokio::select! {
                ended = loops.next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                fenced = &mut pruning => return Err(fenced.into()),
                fenced = &mut obeying => return Err(fenced.into()),
            }
            if shutdown.is_cancelled() && loops.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends only when the store was taken over.
    async fn keep_pruned(&self, retention: Retention, shutdown: &CancellationToken) -> StoreError {
        let mut wait = FIRST_PRUNE;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return std::future::pending().await,
            }
            wait = Duration::try_from(PRUNE_INTERVAL).unwrap_or_default();
            match self.prune(retention).await {
                Ok(pruned) => tracing::debug!(?pruned, "Retention was applied."),
                Err(fenced @ StoreError::Fenced) => return fenced,
                Err(error) => tracing::warn!(%error, "Retention could not be applied."),
            }
        }
    }

    async fn run_sync(
        &self,
        sync: &SyncConfig,
        mut nudged: mpsc::Receiver<Nudge>,
        shutdown: &CancellationToken,
        progress: &dyn Progress,
    ) -> Result<(), EngineError> {
        let mut timetable = Timetable::new(sync, self.zone_of(sync), self.clock().now());
        let mut running = FuturesUnordered::new();
        let (tell_watched, watched) = watch::channel(Vec::new());
        let (hint, mut hints) = mpsc::channel(64);
        let watching = async {
            match self.watchable(sync) {
                Some(source) => watch(source, &sync.name, watched, hint, shutdown).await,
                None => drop((watched, hint)),
            }
        }
        .fuse();
        tokio::pin!(watching);
        // The roster is asked for beside the work on calendars, which it must not hold up.
        let mut roster = FuturesUnordered::new();
        let at_once = self.at_once(sync)?;
        let mut paused_before = false;
        while !shutdown.is_cancelled() {
            let now = self.clock().now();
            timetable.distrust(now);
            let paused = self.heed_pause(sync, &mut paused_before).await;
            if !paused && roster.is_empty() && timetable.roster_due(now) {
                roster.push(self.refresh_roster(sync));
            }
            timetable.daily(now);
            while !paused && running.len() < at_once {
                let Some((members, work)) = timetable.next(now) else {
                    break;
                };
                running.push(self.work(sync, members, work, shutdown, progress));
            }
            let sleep = if paused {
                LONGEST_SLEEP
            } else {
                timetable.sleep(now)
            };
            let sleep = Duration::try_from(sleep).unwrap_or_default();
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(outcomes) = running.next(), if !running.is_empty() => {
                    if outcomes.iter().any(|outcome| outcome.fenced) {
                        return Err(StoreError::Fenced.into());
                    }
                    self.note_outcomes(sync, &outcomes).await?;
                    timetable.done(outcomes, self.clock().now());
                }
                Some(answer) = roster.next(), if !roster.is_empty() => {
                    let now = self.clock().now();
                    self.note_roster(sync, &answer).await?;
                    if let Err(EngineError::Store(StoreError::Fenced)) = answer {
                        return Err(StoreError::Fenced.into());
                    }
                    if let Err(error) = &answer {
                        tracing::warn!(sync = sync.name, %error, "The roster could not be read; it is asked for again.");
                    }
                    timetable.roster_done(now, answer.is_ok());
                    match self.members(sync, &[]).await {
                        Ok(members) => timetable.members(members, now),
                        Err(error) => tracing::warn!(sync = sync.name, %error, "The calendars could not be listed."),
                    }
                    // A watch is disturbed by nothing but a change.
                    let calendars = timetable.calendars();
                    tell_watched.send_if_modified(|watched| {
                        let changed = *watched != calendars;
                        *watched = calendars;
                        changed
                    });
                }
                Some(nudge) = nudged.recv() => timetable.nudge(&nudge, self.clock().now()),
                Some(heard) = hints.recv() => timetable.hinted(&heard, self.clock().now()),
                () = &mut watching, if !watching.is_terminated() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
        let parting = async {
            if !watching.is_terminated() {
                let heard = async { while hints.recv().await.is_some() {} };
                let _ =
                    tokio::time::timeout(PARTING, async { tokio::join!(watching, heard) }).await;
            }
        };
        // What is under way stops at its next step; what it has stored stays. A remote call that takes
        // longer is given up: that is no worse than a crash, which the next plan copes with.
        let drained =
            tokio::time::timeout(GRACE, async { while running.next().await.is_some() {} });
        let (drained, ()) = tokio::join!(drained, parting);
        if drained.is_err() {
            tracing::info!(sync = sync.name, "Calls that were under way were given up.");
        }
        Ok(())
    }

    /// Whether the sync is paused now; tells when that changes.
    async fn heed_pause(&self, sync: &SyncConfig, before: &mut bool) -> bool {
        // If the store cannot tell, nothing can be stored either.
        let paused = self.paused(sync).await.is_ok_and(|pause| pause.is_some());
        if paused != *before {
            *before = paused;
            let state = if paused { "paused" } else { "resumed" };
            tracing::info!(
                sync = sync.name,
                state,
                "An operator paused or resumed the sync."
            );
        }
        paused
    }

    /// The sync's source, if it gives hints.
    fn watchable(&self, sync: &SyncConfig) -> Option<&dyn CalendarSource> {
        let handle = self.handle(&sync.source)?;
        let watches = handle.capabilities().source.as_ref()?.watch;
        handle.connection().source().filter(|_| watches)
    }

    fn zone_of(&self, sync: &SyncConfig) -> TimeZone {
        let source = self
            .handle(&sync.source)
            .and_then(|handle| handle.capabilities().source.as_ref());
        let sink = self
            .handle(&sync.sink)
            .and_then(|handle| handle.capabilities().sink.as_ref());
        match (source, sink) {
            (Some(source), Some(sink)) => sync
                .rules()
                .at(self.clock().now(), source, sink)
                .map_or_else(|_| TimeZone::system(), |rules| rules.zone),
            _ => TimeZone::system(),
        }
    }
}

/// When what is due.
struct Timetable<'a> {
    sync: &'a SyncConfig,
    zone: TimeZone,
    roster: Timestamp,
    roster_daily: Option<Timestamp>,
    full_daily: Option<Timestamp>,
    reconcile_daily: Option<Timestamp>,
    calendars: HashMap<CalendarId, Slot>,
}

/// One calendar's times.
struct Slot {
    member: Member,
    due: Timestamp,
    work: Work,
    running: bool,
    /// When it was last looked at.
    begun: Timestamp,
    /// A hint came while it was worked on.
    again: bool,
    /// It takes no part any more, and stays only until the work on it has ended.
    left: bool,
}

impl Slot {
    /// A hint says that there is news.
    fn hint(&mut self, now: Timestamp) {
        let at = after(now, DEBOUNCE).max(after(self.begun, GATHER));
        // A clock that was set back must not put it off for long.
        self.hasten(at.min(after(now, GATHER)));
    }

    /// There is a reason to look at the calendar at `at` already; not before the wait is over that trouble brought,
    /// whoever says so: a server may have asked for it.
    fn hasten(&mut self, at: Timestamp) {
        self.again |= self.running;
        let trouble = self.member.state.trouble.as_ref();
        let not_before = trouble
            .and_then(|trouble| trouble.not_before)
            .filter(|wait| waits(*wait, at));
        self.due = self.due.min(not_before.map_or(at, |wait| wait.max(at)));
    }
}

impl<'a> Timetable<'a> {
    fn new(sync: &'a SyncConfig, zone: TimeZone, now: Timestamp) -> Self {
        let next = |daily: &Daily| daily.next(now, &zone);
        Self {
            roster: now,
            roster_daily: next(&sync.schedule.roster),
            full_daily: next(&sync.schedule.full),
            reconcile_daily: next(&sync.schedule.reconcile),
            calendars: HashMap::new(),
            sync,
            zone,
        }
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        let mut watched: Vec<&CalendarState> = self
            .calendars
            .values()
            .filter(|slot| !slot.member.withdrawn && !slot.left)
            .map(|slot| &slot.member.state)
            .collect();
        watched.sort_by_key(|state| state.id);
        watched
            .into_iter()
            .map(|state| state.calendar.clone())
            .collect()
    }

    /// Forgets times that were reckoned by a clock that was ahead: nothing would be done until then.
    fn distrust(&mut self, now: Timestamp) {
        let far = after(now, self.sync.schedule.interval.max(LONGEST_BELIEVED));
        for slot in self.calendars.values_mut().filter(|slot| slot.due > far) {
            slot.due = now;
        }
        if self.roster
            > after(
                now,
                self.sync.schedule.roster_interval.max(LONGEST_BELIEVED),
            )
        {
            self.roster = now;
        }
        let far = Some(after(now, LONGEST_BELIEVED));
        let schedule = &self.sync.schedule;
        if self.roster_daily > far {
            self.roster_daily = schedule.roster.next(now, &self.zone);
        }
        if self.full_daily > far {
            self.full_daily = schedule.full.next(now, &self.zone);
        }
        if self.reconcile_daily > far {
            self.reconcile_daily = schedule.reconcile.next(now, &self.zone);
        }
    }

    fn roster_due(&self, now: Timestamp) -> bool {
        self.roster <= now || self.roster_daily.is_some_and(|at| at <= now)
    }

    fn roster_done(&mut self, now: Timestamp, good: bool) {
        let wait = if good {
            self.sync.schedule.roster_interval
        } else {
            ROSTER_RETRY
        };
        self.roster = after(now, wait);
        self.roster_daily = self.following(&self.sync.schedule.roster, now);
    }

    /// The next daily time after `now`, so that one moment does not count twice.
    fn following(&self, daily: &Daily, now: Timestamp) -> Option<Timestamp> {
        daily.next(after(now, SignedDuration::from_secs(1)), &self.zone)
    }

    fn members(&mut self, members: Vec<Member>, now: Timestamp) {
        let mut kept = HashMap::with_capacity(members.len());
        let compared = self.sync.schedule.reconcile.previous(now, &self.zone);
        for member in members {
            let slot = match self.calendars.remove(&member.state.id) {
                Some(slot) => Slot {
                    member,
                    left: false,
                    ..slot
                },
                None => Slot {
                    due: now,
                    work: Work {
                        full: false,
                        // The program may have been down when it was time.
                        reconcile: compared > member.state.inventoried,
                    },
                    member,
                    running: false,
                    begun: Timestamp::MIN,
                    again: false,
                    left: false,
                },
            };
            kept.insert(slot.member.state.id, slot);
        }
        // One calendar is never worked on twice at once, also if it leaves and comes back meanwhile.
        for (id, slot) in self.calendars.drain().filter(|(_, slot)| slot.running) {
            kept.insert(id, Slot { left: true, ..slot });
        }
        self.calendars = kept;
    }

    fn daily(&mut self, now: Timestamp) {
        let full = self.full_daily.is_some_and(|at| at <= now);
        let reconcile = self.reconcile_daily.is_some_and(|at| at <= now);
        if full {
            self.full_daily = self.following(&self.sync.schedule.full, now);
        }
        if reconcile {
            self.reconcile_daily = self.following(&self.sync.schedule.reconcile, now);
        }
        for slot in self.calendars.values_mut() {
            slot.work.full |= full;
            slot.work.reconcile |= reconcile;
            if full || reconcile {
                slot.hasten(now);
            }
        }
    }

    /// The next calendars to work on: those to be compared with the sink together, any other by itself.
    fn next(&mut self, now: Timestamp) -> Option<(Vec<Member>, Work)> {
        let mut due: Vec<(Timestamp, CalendarId)> = self
            .calendars
            .values()
            .filter(|slot| !slot.running && slot.due <= now)
            .map(|slot| (slot.due, slot.member.state.id))
            .collect();
        due.sort_unstable();
        let (_, first) = *due.first()?;
        let work = self.calendars.get(&first)?.work;
        let lists = |slot: &Slot| slot.work.reconcile || slot.member.state.inventoried.is_none();
        let together = self.calendars.get(&first).is_some_and(lists);
        let chosen: Vec<CalendarId> = due
            .iter()
            .map(|(_, id)| *id)
            .filter(|id| {
                *id == first
                    || (together
                        && self.calendars.get(id).is_some_and(|slot| {
                            lists(slot)
                                && slot.work.full == work.full
                                && slot.work.reconcile == work.reconcile
                        }))
            })
            .take(super::engine::INVENTORY_CHUNK)
            .collect();
        let mut members = Vec::with_capacity(chosen.len());
        for id in chosen {
            if let Some(slot) = self.calendars.get_mut(&id) {
                slot.running = true;
                slot.begun = now;
                slot.again = false;
                slot.work = Work::default();
                members.push(slot.member.clone());
            }
        }
        Some((members, work))
    }

    fn done(&mut self, outcomes: Vec<CalendarOutcome>, now: Timestamp) {
        for outcome in outcomes {
            let Some(after_work) = outcome.after else {
                continue;
            };
            let Some(slot) = self.calendars.get_mut(&after_work.id) else {
                continue;
            };
            if slot.left {
                self.calendars.remove(&after_work.id);
                continue;
            }
            slot.member.state = after_work;
            slot.running = false;
            slot.work.full |= outcome.redo.full;
            slot.work.reconcile |= outcome.redo.reconcile;
            let usual = after(now, self.sync.schedule.interval);
            let next = match (&slot.member.state.trouble, outcome.report.next) {
                (Some(trouble), _) => trouble.not_before.unwrap_or(usual),
                (None, Some(next)) => next.min(usual),
                (None, None) => usual,
            };
            slot.due = next.max(now);
            if slot.again {
                slot.hint(now);
            }
        }
    }

    /// An operator wants something now.
    fn nudge(&mut self, nudge: &Nudge, now: Timestamp) {
        if nudge.roster {
            self.roster = now;
        }
        let meant = |state: &CalendarState| {
            nudge.calendars.is_empty() || nudge.calendars.contains(&state.calendar.address)
        };
        for slot in self
            .calendars
            .values_mut()
            .filter(|slot| meant(&slot.member.state))
        {
            slot.work.full |= nudge.work.full;
            slot.work.reconcile |= nudge.work.reconcile;
            slot.hasten(now);
        }
    }

    fn hinted(&mut self, hints: &[Hint], now: Timestamp) {
        for hint in hints {
            let (Hint::Dirty(calendar) | Hint::Gap(calendar)) = hint else {
                continue;
            };
            if let Some(slot) = self
                .calendars
                .values_mut()
                .find(|slot| slot.member.state.calendar == *calendar)
            {
                slot.hint(now);
            }
        }
    }

    fn sleep(&self, now: Timestamp) -> SignedDuration {
        let next = self
            .calendars
            .values()
            .filter(|slot| !slot.running)
            .map(|slot| slot.due)
            .chain([self.roster].into_iter().filter(|at| *at > now))
            .chain(self.roster_daily)
            .chain(self.full_daily)
            .chain(self.reconcile_daily)
            .min()
            .unwrap_or(now);
        next.duration_since(now)
            .clamp(SignedDuration::from_millis(50), LONGEST_SLEEP)
    }
}

fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A watch that panics has ended, and nothing else has.
async fn caught<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(call)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(panicked()))
}

/// Watches a sync's source for hints, beside the work on calendars: calendars come in, hints go out. Ends when
/// the source cannot be watched at all, and some time after `shutdown`, when the source has taken its leave.
async fn watch(
    source: &dyn CalendarSource,
    name: &str,
    mut calendars: watch::Receiver<Vec<CalendarRef>>,
    hints: mpsc::Sender<Vec<Hint>>,
    shutdown: &CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let wanted = calendars.borrow_and_update().clone();
        if wanted.is_empty() {
            tokio::select! {
                changed = calendars.changed() => if changed.is_err() {
                    return;
                },
                () = shutdown.cancelled() => {}
            }
            continue;
        }
        let ended = match caught(source.watch(&wanted)).await {
            Ok(mut feed) => loop {
                tokio::select! {
                    heard = caught(feed.next()) => match heard {
                        Ok(heard) if heard.is_empty() => {}
                        Ok(heard) => if hints.send(heard).await.is_err() {
                            return;
                        },
                        Err(error) => break error,
                    },
                    changed = calendars.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let wanted = calendars.borrow_and_update().clone();
                        if let Err(error) = caught(feed.set(&wanted)).await {
                            break error;
                        }
                    }
                }
            },
            Err(error) => error,
        };
        if shutdown.is_cancelled() {
            return;
        }
        tracing::warn!(
            sync = name,
            code = ended.code,
            error = %ended,
            "The source cannot be watched now; its calendars are polled."
        );
        if ended.kind == ErrorKind::Unsupported {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::try_from(ROSTER_RETRY).unwrap_or_default()) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
