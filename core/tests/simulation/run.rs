//! A life is played: the engine as it is, on a clock that is set, between two systems that do as they are told. What
//! must hold all the time is looked at after every sync; that everything is in step, when all trouble is over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use calbridge_core::clock::{Clock, FixedClock};
use calbridge_core::connector::Connection;
use calbridge_core::engine::{ConnectionHandle, Engine, Silent, SyncConfig, SyncOptions};
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{Retention, Store};
use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tokio_util::sync::CancellationToken;

use crate::acts::Act;
use crate::guard::Standing;
use crate::systems::{
    Person, State, Systems, is_forgotten, owner, sink_capabilities, source_capabilities, today,
    window_end,
};
use crate::truth::{self, Exception, Item, Items, Occurrence, Rule, Span, Zone};

/// How long what has passed is watched.
const MEMORY: SignedDuration = SignedDuration::from_hours(24 * 60);

/// Where the engine's memory is.
pub enum Place {
    Memory,
    /// A file, with backups that can be restored.
    File(tempfile::TempDir),
}

/// What a life is played in.
pub struct Setting {
    pub place: Place,
    pub people: usize,
    /// Whether the sink assigns ids.
    pub assigns_ids: bool,
    /// How long the sink's listings leave out what was written.
    pub delay: SignedDuration,
}

/// A copy of the memory.
struct Backup {
    file: PathBuf,
    /// What the calendars held when it was made, and what the source had told of them.
    knew: Vec<Vec<BTreeMap<String, Span>>>,
}

struct Life {
    systems: Systems,
    clock: Arc<FixedClock>,
    place: Place,
    files: u32,
    backup: Option<Backup>,
    store: Arc<dyn Store>,
    engine: Engine,
    sync: SyncConfig,
    /// Records that passed as they should, and must stay: by owner and the source's id.
    passed: BTreeMap<(usize, String), Span>,
    next_item: u32,
    standing: Standing,
    /// When what is old was last forgotten.
    pruned: Timestamp,
    /// What is deleted and may come back.
    bin: Vec<(usize, u32, Item)>,
    stale: bool,
    /// Syncs since one in which something was told wrongly or not at all.
    even: u32,
    /// An old memory was given back since all was in step.
    restored: bool,
}

/// Plays a life to its end and looks at it.
///
/// # Errors
/// What was wrong first, in words.
pub fn play(acts: &[Act], setting: Setting) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut life = Life::begin(setting).await;
        for (n, act) in acts.iter().enumerate() {
            let done = life.act(act).await;
            done.map_err(|wrong| format!("act {n}, {act:?}: {wrong}"))?;
        }
        life.settle()
            .await
            .map_err(|wrong| format!("in the end: {wrong}"))
    })
}

async fn engine(
    store: &Arc<dyn Store>,
    clock: &Arc<FixedClock>,
    systems: &Systems,
    sync: &SyncConfig,
) -> Engine {
    let fence = store.acquire("simulation", clock.now()).await.unwrap();
    let sink = {
        let state = systems.lock();
        sink_capabilities(state.assigns_ids, state.delay)
    };
    let handle = |name: &str, capabilities| {
        let connection: Arc<dyn Connection> = Arc::new(systems.clone());
        Arc::new(ConnectionHandle::new(
            name,
            "sim 1",
            capabilities,
            connection,
        ))
    };
    Engine::new(
        Arc::clone(store),
        fence,
        Arc::clone(clock) as Arc<dyn Clock>,
        [
            handle("source", source_capabilities()),
            handle("sink", sink),
        ],
        vec![sync.clone()],
    )
    .unwrap()
}

fn open(place: &Place, file: u32, now: Timestamp) -> Arc<dyn Store> {
    match place {
        Place::Memory => Arc::new(SqliteStore::open_in_memory().unwrap()),
        Place::File(dir) => {
            let path = dir.path().join(format!("state-{file}.db"));
            Arc::new(SqliteStore::open(path, now).unwrap())
        }
    }
}

impl Life {
    async fn begin(setting: Setting) -> Self {
        let now: Timestamp = "2026-01-12T09:00:00Z".parse().unwrap();
        let systems = Systems::default();
        {
            let mut state = systems.lock();
            state.now = now;
            state.people = (0..setting.people).map(|_| Person::default()).collect();
            state.assigns_ids = setting.assigns_ids;
            state.delay = setting.delay;
        }
        let clock = Arc::new(FixedClock::new(now));
        let sync: SyncConfig = serde_json::from_value(serde_json::json!({
            "name": "life", "source": "source", "sink": "sink",
        }))
        .unwrap();
        let place = setting.place;
        let store = open(&place, 0, now);
        let engine = engine(&store, &clock, &systems, &sync).await;
        Self {
            systems,
            clock,
            place,
            files: 0,
            backup: None,
            store,
            engine,
            sync,
            passed: BTreeMap::new(),
            standing: Standing::default(),
            pruned: now,
            next_item: 0,
            bin: Vec::new(),
            stale: false,
            even: 0,
            restored: false,
        }
    }

    async fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Pass { hours } => {
                self.pass(*hours);
                self.prune().await;
            }
            Act::Sync { full, reconcile } => return self.sync(*full, *reconcile).await,
            Act::Settle => return self.settle().await,
            Act::Restart => self.restart().await,
            Act::Approve => self.approve().await,
            Act::Backup => self.back_up().await,
            Act::Restore => self.restore().await,
            other => self.happens(other),
        }
        Ok(())
    }

    fn pass(&mut self, hours: i64) {
        let now = self.clock.now() + SignedDuration::from_hours(hours);
        self.clock.set(now);
        self.systems.lock().now = now;
    }

    /// What a service does every day.
    async fn prune(&mut self) {
        let now = self.clock.now();
        if now.duration_since(self.pruned) >= SignedDuration::from_hours(24) {
            self.engine.prune(Retention::default()).await.unwrap();
            self.pruned = now;
        }
    }

    async fn restart(&mut self) {
        self.engine = engine(&self.store, &self.clock, &self.systems, &self.sync).await;
    }

    async fn back_up(&mut self) {
        let Place::File(dir) = &self.place else {
            return;
        };
        self.files += 1;
        let copy = dir.path().join(format!("copy-{}.db", self.files));
        self.store.backup(&copy).await.unwrap();
        let state = self.systems.lock();
        let (from, to) = (state.now - MEMORY, truth::midnight(window_end(state.now)));
        let knew = state.people.iter().map(|person| {
            let items = [person.calendar.items(), &person.told];
            Vec::from(items.map(|items| busy(items, from, to)))
        });
        self.backup = Some(Backup {
            file: copy,
            knew: knew.collect(),
        });
    }

    async fn restore(&mut self) {
        let (Place::File(dir), Some(backup)) = (&self.place, &self.backup) else {
            return;
        };
        // What the old memory knows otherwise has changed for it now, and may be removed on its last day (K006).
        self.passed.retain(|(who, id), span| {
            let mut knew = backup.knew[*who].iter();
            knew.all(|busy| busy.get(id).is_none_or(|known| known == span))
        });
        // It takes longer than listings are late: what a forgotten write made is seen.
        let late = self.systems.lock().delay > SignedDuration::ZERO;
        self.files += 1;
        let path = dir.path().join(format!("state-{}.db", self.files));
        std::fs::copy(&backup.file, path).unwrap();
        self.store = open(&self.place, self.files, self.clock.now());
        if late {
            self.pass(1);
        }
        self.standing.forget();
        self.restored = true;
        self.restart().await;
    }

    async fn approve(&mut self) {
        self.standing.look(&self.systems.lock());
        self.engine
            .approve(&self.sync, &[], self.clock.now())
            .await
            .unwrap();
        self.standing.approved();
    }

    async fn sync(&mut self, full: bool, reconcile: bool) -> Result<(), String> {
        self.forget_what_changed();
        let due = {
            let mut state = self.systems.lock();
            state.effective = 0;
            state.removed.clear();
            state.made.clear();
            state.uneven = self.stale;
            self.standing.look(&state);
            // An old memory does not know which of two copies has which record, nor records whose ids their events would
            // not get today.
            if self.restored {
                usize::MAX
            } else {
                due(&state)
            }
        };
        let options = SyncOptions {
            full,
            reconcile,
            calendars: Vec::new(),
        };
        let shutdown = CancellationToken::new();
        let systems = self.systems.clone();
        let done = tokio::select! {
            done = self.engine.sync_once(&self.sync, &options, &shutdown, &Silent) => Some(done),
            () = systems.died.notified() => None,
        };
        let Some(done) = done else {
            self.stale = true;
            self.forget_what_was_told_otherwise();
            self.restart().await;
            self.even = 0;
            if !self.restored {
                self.standing.judge(&self.systems.lock(), false)?;
            }
            return self.wrong();
        };
        self.even = match self.systems.lock().uneven {
            true => 0,
            false => self.even + 1,
        };
        // What was kept for want of a clear word is not known to have become something else.
        let pairs = self.even > 3;
        // An old memory may believe in records that are gone, and so think a calendar fuller than it is.
        if !self.restored {
            self.standing.judge(&self.systems.lock(), pairs)?;
        }
        let told = done.is_ok_and(|report| report.failures() == 0);
        let (effective, uneven) = {
            let mut state = self.systems.lock();
            state.empty_roster = false;
            (state.effective, state.uneven)
        };
        // An old state that was told is put right by the next complete reading.
        self.stale = !told || (uneven && !self.stale);
        self.forget_what_was_told_otherwise();
        self.wrong()?;
        if told && !uneven && effective > due {
            return Err(format!("{effective} writes for {due} differences"));
        }
        Ok(())
    }

    fn wrong(&self) -> Result<(), String> {
        match self.systems.lock().wrong.first() {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// All trouble ends; an operator approves what is held. Then both sides must be in step.
    async fn settle(&mut self) -> Result<(), String> {
        {
            let mut state = self.systems.lock();
            state.writing.clear();
            state.crash.after = None;
            state.empty_roster = false;
            for person in &mut state.people {
                person.reading.clear();
            }
        }
        let mut trouble = String::new();
        for _ in 0..6 {
            self.sync(true, true).await?;
            self.approve().await;
            self.sync(true, true).await?;
            match self.in_step() {
                Ok(()) => {
                    self.restored = false;
                    self.remember();
                    return self.quiet().await;
                }
                Err(wrong) => trouble = wrong,
            }
            // Longer than any wait.
            self.pass(7);
        }
        Err(trouble)
    }

    /// What was changed since it was remembered may have been removed, and need not come back when the change is
    /// taken back. What passed long ago is of no interest.
    fn forget_what_changed(&mut self) {
        let state = self.systems.lock();
        let (from, to) = (state.now - MEMORY, truth::midnight(window_end(state.now)));
        let standing: Vec<BTreeMap<String, Span>> = state
            .people
            .iter()
            .map(|person| busy(person.calendar.items(), from, to))
            .collect();
        self.passed
            .retain(|(who, id), span| standing[*who].get(id) == Some(span));
        // An old memory does not know which of two copies has which record, and may give one's to the other. Nor does
        // one that has forgotten what ended long ago: a copy is for it the event itself, moved.
        let restored = self.restored;
        self.passed.retain(|(who, id), span| {
            let may_mix = restored || is_forgotten(*span, state.now);
            !(may_mix && has_copies(state.people[*who].calendar.items(), id))
        });
    }

    /// What an old state told otherwise is not watched any more, until all is in step again: it may pass before it is
    /// put right, or may be removed on its last day (K006).
    fn forget_what_was_told_otherwise(&mut self) {
        let state = self.systems.lock();
        let (from, to) = (state.now - MEMORY, truth::midnight(window_end(state.now)));
        let told: Vec<BTreeMap<String, Span>> = state
            .people
            .iter()
            .map(|person| busy(&person.told, from, to))
            .collect();
        self.passed
            .retain(|(who, id), span| told[*who].get(id) == Some(span));
    }

    /// Nothing is left to do.
    async fn quiet(&mut self) -> Result<(), String> {
        let before = self.systems.lock().processed;
        self.sync(true, true).await?;
        let after = self.systems.lock().processed;
        if after == before {
            Ok(())
        } else {
            Err(format!("{} writes although all is in step", after - before))
        }
    }

    fn in_step(&self) -> Result<(), String> {
        let state = self.systems.lock();
        for (who, person) in state.people.iter().enumerate() {
            if person.left {
                continue;
            }
            let tomorrow = today(state.now).tomorrow().unwrap();
            let mut records: Vec<Span> = records_of(&state, who)
                .filter(|(start, _)| start.date() >= tomorrow)
                .collect();
            let mut busy: Vec<Span> = standing(&state, who, person.calendar.items())
                .into_iter()
                .map(|one| one.span())
                .filter(|(start, _)| start.date() >= tomorrow)
                .collect();
            records.sort();
            busy.sort();
            if records != busy {
                let missing: Vec<_> = without(&busy, &records);
                let more: Vec<_> = without(&records, &busy);
                return Err(format!(
                    "{}, {}: missing {missing:?}, too many {more:?}",
                    state.now,
                    owner(who)
                ));
            }
            for (_, span) in self.passed.iter().filter(|((of, _), _)| *of == who) {
                if !records_of(&state, who).any(|record| record == *span) {
                    return Err(format!(
                        "{}: {} {span:?} has passed, and its record is gone",
                        state.now,
                        owner(who)
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is in step now must stay when it has passed.
    fn remember(&mut self) {
        let state = self.systems.lock();
        for (who, person) in state.people.iter().enumerate().filter(|(_, one)| !one.left) {
            for one in standing(&state, who, person.calendar.items()) {
                let span = one.span();
                if span.0.date() > today(state.now) {
                    self.passed.insert((who, one.id), span);
                }
            }
        }
    }

    #[allow(clippy::too_many_lines)] // One arm an act.
    fn happens(&mut self, act: &Act) {
        let mut state = self.systems.lock();
        let today = today(state.now);
        let at = |day: i64, quarter: i64| -> DateTime {
            (today + day.days()).at(0, 0, 0, 0) + (quarter * 15).minutes()
        };
        let zone = |n: u8| match n {
            0 => Zone::NewYork,
            1 => Zone::Utc,
            _ => Zone::Copenhagen,
        };
        let next = self.next_item;
        self.next_item += 1;
        let plain = |start: DateTime, length: i64, zone: Zone| Item {
            uid: format!("uid-{next}"),
            incarnation: 0,
            zone,
            start,
            length,
            all_day: false,
            free: false,
            cancelled: false,
            rule: None,
            exceptions: BTreeMap::new(),
        };
        match act {
            Act::Single {
                who,
                day,
                quarter,
                length,
                zone: z,
            } => {
                let item = plain(at(*day, *quarter), *length, zone(*z));
                put(&mut state, *who, next, item);
            }
            Act::Days { who, day, days } => {
                let item = Item {
                    all_day: true,
                    ..plain(at(*day, 0), *days, Zone::Copenhagen)
                };
                put(&mut state, *who, next, item);
            }
            Act::Series {
                who,
                day,
                quarter,
                every,
                count,
                zone: z,
                all_day,
            } => {
                let start = at(*day, if *all_day { 0 } else { *quarter });
                let item = Item {
                    all_day: *all_day,
                    rule: Some(Rule {
                        every_days: *every,
                        count: (*count > 0).then_some(*count),
                    }),
                    ..plain(start, if *all_day { 1 } else { 45 }, zone(*z))
                };
                put(&mut state, *who, next, item);
            }
            Act::Invite { day, quarter } => {
                for who in 0..2 {
                    let item = plain(at(*day, *quarter), 60, Zone::Copenhagen);
                    put(&mut state, who, next, item);
                }
            }
            Act::Copy { who, item, day } => {
                if let Some((_, mut copy)) = pick(&state, *who, *item) {
                    copy.start = at(*day, 40);
                    copy.rule = None;
                    copy.exceptions.clear();
                    copy.incarnation = 0;
                    put(&mut state, *who, next, copy);
                }
            }
            Act::Move {
                who,
                item,
                quarters,
            } => edit(&mut state, *who, *item, |item| {
                if item.all_day {
                    item.start += (quarters / 96).days();
                } else {
                    item.start += (quarters * 15).minutes();
                }
                item.exceptions.clear();
            }),
            Act::Resize { who, item, length } => edit(&mut state, *who, *item, |item| {
                item.length = if item.all_day {
                    1 + length % 5
                } else {
                    *length
                };
            }),
            Act::Free { who, item, free } => {
                edit(&mut state, *who, *item, |item| item.free = *free);
            }
            Act::Cancel { who, item } => {
                edit(&mut state, *who, *item, |item| item.cancelled = true);
            }
            Act::Delete { who, item } => {
                if let Some((number, item)) = pick(&state, *who, *item) {
                    state.people[*who].calendar.change(|items| {
                        items.remove(&number);
                    });
                    self.bin.push((*who, number, item));
                }
            }
            Act::Clear { who } => {
                let items = Items::clone(state.people[*who].calendar.items());
                let gone = items.into_iter().map(|(number, item)| (*who, number, item));
                self.bin.extend(gone);
                state.people[*who].calendar.change(Items::clear);
            }
            Act::Refill { who } => {
                let (back, rest): (Vec<_>, Vec<_>) =
                    self.bin.drain(..).partition(|(of, ..)| of == who);
                self.bin = rest;
                for (who, number, mut item) in back {
                    item.incarnation += 1;
                    put(&mut state, who, number, item);
                }
            }
            Act::Undelete { who, item } => {
                let mine: Vec<usize> = (0..self.bin.len())
                    .filter(|n| self.bin[*n].0 == *who)
                    .collect();
                if !mine.is_empty() {
                    let (who, number, mut item) = self.bin.swap_remove(mine[item % mine.len()]);
                    item.incarnation += 1;
                    put(&mut state, who, number, item);
                }
            }
            Act::Except { who, item, nth, by } => edit(&mut state, *who, *item, |item| {
                let Some(rule) = item.rule else { return };
                if rule.count.is_some_and(|count| *nth >= count) {
                    return;
                }
                let exception = match by {
                    None => Exception::Deleted,
                    Some(quarters) if item.all_day => {
                        Exception::Moved(item.original(*nth) + (quarters / 96).days())
                    }
                    Some(quarters) => {
                        Exception::Moved(item.original(*nth) + (quarters * 15).minutes())
                    }
                };
                item.exceptions.insert(*nth, exception);
            }),
            Act::Regular { who, item } => {
                edit(&mut state, *who, *item, |item| item.exceptions.clear());
            }
            Act::Shorten { who, item, count } => edit(&mut state, *who, *item, |item| {
                if let Some(rule) = &mut item.rule {
                    rule.count = Some(*count);
                }
            }),
            Act::Repeat {
                who,
                item,
                every,
                count,
            } => edit(&mut state, *who, *item, |item| {
                item.exceptions.clear();
                item.rule = (*every > 0).then_some(Rule {
                    every_days: *every,
                    count: Some(*count),
                });
            }),
            Act::SwitchAllDay { who, item } => edit(&mut state, *who, *item, |item| {
                item.all_day = !item.all_day;
                item.exceptions.clear();
                if item.all_day {
                    item.start = item.start.date().at(0, 0, 0, 0);
                    item.zone = Zone::Copenhagen;
                    item.length = 1;
                } else {
                    item.length = 60;
                }
            }),
            Act::Lose { nth } => {
                if let Some((key, span)) = nth_record(&state, *nth) {
                    state.records.remove(&key);
                    self.passed
                        .retain(|(who, _), held| (*who, *held) != (key.0, span));
                }
            }
            Act::Tamper { nth } => {
                if let Some((key, span)) = nth_record(&state, *nth) {
                    let later = 90.minutes();
                    state
                        .records
                        .insert(key.clone(), (span.0 + later, span.1 + later));
                    self.passed
                        .retain(|(who, _), held| (*who, *held) != (key.0, span));
                }
            }
            Act::Ghost { who, day } => {
                let start = at(*day, 41);
                let id = format!("ghost-{next}");
                state.records.insert((*who, id), (start, start + 1.hour()));
            }
            Act::Reading { who, trouble } => state.people[*who].reading.push(*trouble),
            Act::Writing { trouble } => {
                use crate::acts::Writing;
                let calls = match trouble {
                    Writing::Outage { calls }
                    | Writing::Silent { calls }
                    | Writing::Lost { calls }
                    | Writing::Half { calls }
                    | Writing::Later { calls }
                    | Writing::Busy { calls }
                    | Writing::Unlisted { calls } => *calls,
                    Writing::Panic => 1,
                };
                state.writing.push((*trouble, calls));
            }
            Act::Crash { call, processed } => state.crash.after = Some((*call, *processed)),
            Act::Rename { who } => state.people[*who].renamed += 1,
            Act::Leave { who } => state.people[*who].left = true,
            Act::Return { who } => state.people[*who].left = false,
            Act::EmptyRoster => state.empty_roster = true,
            Act::Pass { .. }
            | Act::Sync { .. }
            | Act::Settle
            | Act::Restart
            | Act::Approve
            | Act::Backup
            | Act::Restore => {}
        }
    }
}

/// When people cannot be booked by these items, by the source's id.
fn busy(items: &Items, from: Timestamp, to: Timestamp) -> BTreeMap<String, Span> {
    truth::occurrences(items, from, to)
        .into_iter()
        .filter(Occurrence::is_busy)
        .map(|one| (one.id.clone(), one.span()))
        .collect()
}

/// Whether another item has the UID of the one with this source's id.
fn has_copies(items: &Items, id: &str) -> bool {
    let of = |(number, item): (&u32, &Item)| {
        let own = item.id(*number);
        (id == own || id.starts_with(&format!("{own}/"))).then(|| item.uid.clone())
    };
    items.iter().find_map(of).is_some_and(|uid| {
        let same = items.values().filter(|item| item.uid == uid);
        same.count() > 1
    })
}

fn put(state: &mut State, who: usize, number: u32, item: Item) {
    state.people[who].calendar.change(|items| {
        items.insert(number, item);
    });
}

fn pick(state: &State, who: usize, nth: usize) -> Option<(u32, Item)> {
    let items: &Items = state.people[who].calendar.items();
    // The newest first: what lies long past is of little interest.
    let item = items.iter().rev().nth(nth % items.len().max(1))?;
    Some((*item.0, item.1.clone()))
}

fn edit(state: &mut State, who: usize, nth: usize, change: impl FnOnce(&mut Item)) {
    if let Some((number, mut item)) = pick(state, who, nth) {
        change(&mut item);
        put(state, who, number, item);
    }
}

/// One of the records that lie ahead, within what is listed: of one that reaches over the window's end nothing is
/// concluded until the window has moved on.
fn nth_record(state: &State, nth: usize) -> Option<((usize, String), Span)> {
    let end = window_end(state.now).at(0, 0, 0, 0);
    let ahead: Vec<_> = state
        .records
        .iter()
        .filter(|(_, span)| span.0.date() > today(state.now) && span.1 <= end)
        .collect();
    let (key, span) = ahead.get(nth % ahead.len().max(1))?;
    Some(((*key).clone(), **span))
}

pub fn records_of(state: &State, who: usize) -> impl Iterator<Item = Span> + '_ {
    let mine = move |(key, _): &(&(usize, String), &Span)| key.0 == who;
    state.records.iter().filter(mine).map(|(_, span)| *span)
}

/// What Planner should hold of today and what is ahead, by these items.
fn standing(state: &State, _who: usize, items: &Items) -> Vec<Occurrence> {
    let from = truth::midnight(today(state.now));
    let to = truth::midnight(window_end(state.now));
    truth::occurrences(items, from, to)
        .into_iter()
        .filter(|one| one.is_busy() && truth::instants(one.when).0 < to)
        .collect()
}

fn without<T: PartialEq + Clone>(these: &[T], those: &[T]) -> Vec<T> {
    let mut those = those.to_vec();
    these
        .iter()
        .filter(|one| match those.iter().position(|other| other == *one) {
            Some(at) => {
                those.swap_remove(at);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}

/// How many differences there are: what is missing on the sink, and what is there that nobody stands for.
fn due(state: &State) -> usize {
    let mut due = 0;
    for (who, person) in state.people.iter().enumerate() {
        // An empty roster is not believed.
        if person.left && !state.empty_roster && state.people.iter().any(|one| !one.left) {
            continue;
        }
        // One event's record does not serve another event at the same time.
        let named = |one: &Occurrence| (Some(one.uid.clone()), one.span());
        let records: Vec<(Option<String>, Span)> = state
            .records
            .iter()
            .filter(|(key, _)| key.0 == who)
            .map(|(key, span)| (state.keys.get(key).map(|key| key.uid().to_owned()), *span))
            .collect();
        let standing: Vec<_> = standing(state, who, person.calendar.items())
            .iter()
            .map(named)
            .collect();
        due += without(&standing, &records).len();
        let long_ago = truth::midnight(date(2025, 1, 1));
        let horizon = truth::midnight(window_end(state.now));
        let any: Vec<_> = truth::occurrences(person.calendar.items(), long_ago, horizon)
            .iter()
            .filter(|one| one.is_busy() && truth::instants(one.when).0 < horizon)
            .map(named)
            .collect();
        due += without(&records, &any).len();
    }
    due
}
