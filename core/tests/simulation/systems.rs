//! The source and the sink of a simulated life, and what they were seen to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use calbridge_core::connector::{
    ApplyReport, AttemptToken, CalendarSink, CalendarSource, Capabilities, Change, ChangeBatch,
    ChangeFeed, ChangesRequest, CheckReport, CheckScope, Connection, Cursor, Error, ErrorKind,
    ExternalIds, InventoryBounds, InventoryEntry, InventoryFeed, InventoryPage, InventoryRequest,
    Op, Outcome, Probe, Result, Roster, Scope, Sharing, SideState, SinkCapabilities,
    SourceCapabilities, Write, WriteOutcome,
};
use calbridge_core::model::{
    Address, CalendarEntry, CalendarKind, CalendarRef, Content, Event, EventKey, EventTime, Field,
    FieldSet, GroupRef, ItemRef, OriginalStart, OwnerId, ShowAs, SideRef, Window,
};
use calbridge_core::store::Retention;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use crate::acts::{Reading, Writing};
use crate::truth::{self, Calendar, Items, Occurrence, Span, When, Zone};

/// Somebody with a calendar.
#[derive(Debug, Default)]
pub struct Person {
    pub calendar: Calendar,
    /// How often the address changed.
    pub renamed: u32,
    pub left: bool,
    /// What the source told: the engine knows no more than that.
    pub told: Arc<Items>,
    /// What a feed named that broke off, by number of the item.
    half_told: BTreeSet<u32>,
    pub reading: Vec<Reading>,
}

/// A program that dies.
#[derive(Debug, Default)]
pub struct Crash {
    /// So many calls from now.
    pub after: Option<(u32, bool)>,
}

#[derive(Debug, Default)]
pub struct State {
    pub people: Vec<Person>,
    /// By owner and id.
    pub records: BTreeMap<(usize, String), Span>,
    pub now: Timestamp,
    pub empty_roster: bool,
    pub writing: Vec<(Writing, u32)>,
    pub crash: Crash,
    /// The sink assigns ids, makes a record as often as it is asked to, and tells what became of attempts.
    pub assigns_ids: bool,
    /// How long listings leave out what was written.
    pub delay: SignedDuration,
    /// When records were written that listings may not show yet, and what was there before.
    before: Vec<(Timestamp, (usize, String), Option<Span>)>,
    next_record: u32,
    /// The records that attempts made or changed; none: it was removed.
    attempts: BTreeMap<String, Option<String>>,
    /// The keys of the events that records were made for.
    pub keys: BTreeMap<(usize, String), EventKey>,
    /// Records that writes removed since the last look, and those that they made.
    pub removed: Vec<(usize, String)>,
    pub made: Vec<(usize, String)>,
    /// Records that were made, changed or removed by writes since the last look.
    pub effective: usize,
    pub processed: usize,
    /// A feed broke off or told something old since the last look.
    pub uneven: bool,
    /// What must not happen, and did.
    pub wrong: Vec<String>,
}

/// Both systems.
#[derive(Debug, Clone, Default)]
pub struct Systems {
    pub state: Arc<Mutex<State>>,
    pub died: Arc<Notify>,
}

pub fn owner(who: usize) -> String {
    format!("owner-{who}")
}

fn who(calendar: &CalendarRef) -> usize {
    let number = calendar.owner.as_str().strip_prefix("owner-");
    number.unwrap().parse().unwrap()
}

impl State {
    pub fn address(&self, who: usize) -> Address {
        let renamed = self.people[who].renamed;
        Address::new(format!("person{who}.{renamed}@x.dk")).unwrap()
    }

    fn writing(&mut self) -> Option<Writing> {
        let (trouble, calls) = self.writing.first_mut()?;
        let trouble = *trouble;
        *calls = calls.saturating_sub(1);
        if *calls == 0 {
            self.writing.remove(0);
        }
        Some(trouble)
    }

    /// The records as a listing shows them.
    fn listed(&self) -> BTreeMap<(usize, String), Span> {
        let mut records = self.records.clone();
        for (_, key, there) in self.before.iter().rev() {
            match there {
                Some(span) => records.insert(key.clone(), *span),
                None => records.remove(key),
            };
        }
        records
    }
}

impl Systems {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One more call; the program may die of it, before or after it is processed.
    async fn call(&self, processed: bool) {
        let dies = {
            let mut state = self.lock();
            match &mut state.crash.after {
                Some((0, when)) if *when == processed => {
                    state.crash.after = None;
                    true
                }
                Some((calls, _)) if !processed => {
                    *calls = calls.saturating_sub(1);
                    false
                }
                _ => false,
            }
        };
        if dies {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn error(kind: ErrorKind, code: &str) -> Error {
    Error::new(kind, Scope::Calendar, code, "it was to be")
}

fn event(occurrence: &Occurrence) -> Event {
    let time = match occurrence.when {
        When::Timed(start, end) => EventTime::timed(start, end, None),
        When::Days(first, end) => EventTime::all_day(first, end),
    };
    let mut content = Content::times(time.unwrap());
    content.show_as = Some(if occurrence.free {
        ShowAs::Free
    } else {
        ShowAs::Busy
    });
    let original = occurrence.original.map(|original| match original {
        When::Timed(start, _) => OriginalStart::Instant(start),
        When::Days(first, _) => OriginalStart::Date(first),
    });
    Event {
        key: EventKey::new(&occurrence.uid, original).unwrap(),
        item: ItemRef::new(occurrence.id.clone(), None).unwrap(),
        group: occurrence
            .series
            .clone()
            .map(|id| GroupRef { id, version: None }),
        content,
        cancelled: occurrence.cancelled,
        origin: None,
    }
}

#[async_trait]
impl Connection for Systems {
    async fn check(&self, _: CheckScope) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }

    async fn roster(&self) -> Result<Roster> {
        self.call(false).await;
        let state = self.lock();
        let here = state.people.iter().enumerate();
        let here = here.filter(|(_, person)| !person.left && !state.empty_roster);
        let entries = here.map(|(who, _)| CalendarEntry {
            calendar: CalendarRef {
                owner: OwnerId::new(owner(who)).unwrap(),
                address: state.address(who),
                calendar: None,
            },
            kind: CalendarKind::Person,
        });
        Ok(Roster {
            entries: entries.collect(),
            skipped: Vec::new(),
        })
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        Some(self)
    }
}

/// The item that a change is about.
fn named(change: &Change) -> Option<&str> {
    match change {
        Change::Item(event) if event.group.is_none() => Some(&event.item.id),
        Change::Removed { item, .. } => Some(&item.id),
        Change::Group { group, .. } => Some(&group.id),
        _ => None,
    }
}

impl Person {
    /// A batch was handed over, of a feed that may break off: of what it names the engine knows what it was told, and
    /// goes on to believe it until it is told otherwise or reads everything.
    fn hears(&mut self, changes: &[Change], tells: &Items) -> BTreeSet<u32> {
        let named = |changes: &mut dyn Iterator<Item = &Change>| -> BTreeSet<u32> {
            let ids: BTreeSet<&str> = changes.filter_map(named).collect();
            let known = self.told.iter().chain(tells);
            known
                .filter(|(number, item)| ids.contains(item.id(**number).as_str()))
                .map(|(number, _)| *number)
                .collect()
        };
        // What may be gone is fetched before it is believed.
        let certain = named(
            &mut changes
                .iter()
                .filter(|change| !matches!(change, Change::Removed { certain: false, .. })),
        );
        let named = named(&mut changes.iter());
        let told = Arc::make_mut(&mut self.told);
        for number in &certain {
            told.remove(number);
            told.extend(
                tells
                    .get_key_value(number)
                    .map(|(n, item)| (*n, item.clone())),
            );
        }
        self.half_told.extend(&certain);
        named
    }

    /// A feed was heard to its end.
    fn heard(&mut self, named: &BTreeSet<u32>, everything: bool, tells: &Arc<Items>) {
        self.half_told
            .retain(|number| !everything && !named.contains(number));
        let half_told = self.half_told.iter();
        let kept: Items = half_told
            .filter_map(|number| self.told.get_key_value(number))
            .map(|(number, item)| (*number, item.clone()))
            .collect();
        self.told = Arc::clone(tells);
        if !self.half_told.is_empty() {
            let told = Arc::make_mut(&mut self.told);
            told.retain(|number, _| !self.half_told.contains(number));
            told.extend(kept);
        }
    }
}

/// A feed whose batches are known when it begins.
struct Feed {
    systems: Systems,
    who: usize,
    batches: std::vec::IntoIter<ChangeBatch>,
    break_after: Option<usize>,
    /// What the engine knows when it has heard everything.
    tells: Arc<Items>,
    /// Whether all that is there is listed, rather than what changed.
    everything: bool,
    /// What was named so far.
    named: BTreeSet<u32>,
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, _max: usize) -> Result<Option<ChangeBatch>> {
        self.systems.call(false).await;
        match &mut self.break_after {
            Some(0) => return Err(error(ErrorKind::Transient, "sim.broken")),
            Some(left) => *left -= 1,
            None => {}
        }
        let batch = self.batches.next();
        let person = &mut self.systems.lock().people[self.who];
        match &batch {
            Some(batch) => self.named.extend(person.hears(&batch.changes, &self.tells)),
            None => person.heard(&self.named, self.everything, &self.tells),
        }
        Ok(batch)
    }
}

/// What changed between two states, as services with change lists tell it.
fn delta(old: &Items, new: &Items, window: Window, certain: bool) -> Vec<Change> {
    let inside = |items: &Items| truth::occurrences(items, window.start(), window.end());
    let (before, after) = (inside(old), inside(new));
    let mut changes = Vec::new();
    for gone in before.iter().filter(|one| one.series.is_none()) {
        if !after.iter().any(|one| one.id == gone.id) {
            changes.push(Change::Removed {
                item: ItemRef::new(gone.id.clone(), None).unwrap(),
                // What moved out of the window is still there.
                certain: certain || old.values().zip(new.values()).any(|(a, b)| a != b),
            });
        }
    }
    for single in after.iter().filter(|one| one.series.is_none()) {
        if !before.contains(single) {
            changes.push(Change::Item(event(single)));
        }
    }
    let series = |items: &Items| -> Vec<(String, truth::Item)> {
        let repeating = items.iter().filter(|(_, item)| item.rule.is_some());
        repeating
            .map(|(n, item)| (item.id(*n), item.clone()))
            .collect()
    };
    let (old, new) = (series(old), series(new));
    let group = |id: &str, members: Vec<Event>| Change::Group {
        group: GroupRef {
            id: id.to_owned(),
            version: None,
        },
        members,
        covered: window,
    };
    for (id, _) in old
        .iter()
        .filter(|(id, _)| !new.iter().any(|(other, _)| other == id))
    {
        changes.push(group(id, Vec::new()));
    }
    for (id, _) in new.iter().filter(|one| !old.contains(one)) {
        let members = after.iter().filter(|one| one.series.as_ref() == Some(id));
        changes.push(group(id, members.map(event).collect()));
    }
    changes
}

#[async_trait]
impl CalendarSource for Systems {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        self.call(false).await;
        let mut state = self.lock();
        let who = who(&request.calendar);
        let trouble = state.people[who].reading.pop();
        if trouble.is_some() {
            state.uneven = true;
        }
        let states = state.people[who].calendar.states.clone();
        let mut version = states.len() - 1;
        let mut break_after = None;
        let mut unreadable = None;
        match trouble {
            Some(Reading::Refuse) => return Err(error(ErrorKind::Transient, "sim.refused")),
            Some(Reading::Throttle) => {
                let wait = std::time::Duration::from_secs(90);
                return Err(error(ErrorKind::Throttled, "sim.throttled").retry_after(wait));
            }
            Some(Reading::Expire) if request.cursor.is_some() => {
                return Err(error(ErrorKind::CursorExpired, "sim.expired"));
            }
            Some(Reading::Panic) => {
                drop(state);
                panic!("a connector panics, as it was to");
            }
            Some(Reading::Break { after }) => break_after = Some(after),
            Some(Reading::Stale { by }) => version = version.saturating_sub(by),
            Some(Reading::Unreadable { nth }) => unreadable = Some(nth),
            Some(Reading::Expire) | None => {}
        }
        let known = request
            .cursor
            .as_ref()
            .map(|cursor| cursor.0.parse::<usize>().unwrap());
        let items = &states[version];
        let with_deltas = who == 1 && unreadable.is_none();
        let mut changes = Vec::new();
        let listed = match known {
            Some(known) if with_deltas && !request.full => {
                changes = delta(&states[known], items, request.window, known % 2 == 0);
                request.covered.missing(request.window)
            }
            Some(known) if known == version && !request.full => {
                request.covered.missing(request.window)
            }
            _ => vec![request.window],
        };
        let everything = listed.contains(&request.window);
        for window in &listed {
            let inside = truth::occurrences(items, window.start(), window.end());
            changes.extend(inside.iter().enumerate().map(|(n, one)| match unreadable {
                Some(nth) if nth == n => Change::Unreadable {
                    item: Some(ItemRef::new(one.id.clone(), None).unwrap()),
                    uid: Some(one.uid.clone()),
                    error: error(ErrorKind::Protocol, "sim.unreadable"),
                },
                _ => Change::Item(event(one)),
            }));
        }
        changes.extend(
            listed
                .into_iter()
                .map(|covered| Change::Snapshot { covered }),
        );
        let mut batches: Vec<ChangeBatch> = changes
            .chunks(4)
            .map(|changes| ChangeBatch {
                changes: changes.to_vec(),
                checkpoint: None,
                folder: None,
            })
            .collect();
        // What could not be read is told again next time.
        let reached = match (unreadable, known) {
            (Some(_), known) => known,
            _ => Some(version),
        };
        batches.push(ChangeBatch {
            changes: Vec::new(),
            checkpoint: reached.map(|version| Cursor(version.to_string())),
            // Of most people: what the guard holds is let go when a complete listing of the same folder confirms it.
            folder: (who > 0).then(|| "calendar".to_owned()),
        });
        Ok(Box::new(Feed {
            systems: self.clone(),
            who,
            batches: batches.into_iter(),
            break_after,
            tells: Arc::clone(items),
            everything,
            named: BTreeSet::new(),
        }))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        self.call(false).await;
        let state = self.lock();
        let now = state.now;
        let span = SignedDuration::from_hours(24 * 400);
        let all = truth::occurrences(
            state.people[who(calendar)].calendar.items(),
            now - span,
            now + span,
        );
        let found = |item: &ItemRef| {
            let one = all.iter().find(|one| one.id == item.id).map(event);
            one.ok_or_else(|| Error::new(ErrorKind::NotFound, Scope::Item, "sim.gone", "gone"))
        };
        Ok(items.iter().map(found).collect())
    }
}

/// What a content is to the sink, worked out without the engine's own code.
fn held(content: &Content) -> Span {
    let when = match &content.time {
        EventTime::Timed { start, end, .. } => When::Timed(*start, *end),
        EventTime::AllDay { start, end } => When::Days(*start, *end),
        _ => panic!("a kind of time that the simulation does not know"),
    };
    Occurrence {
        id: String::new(),
        uid: String::new(),
        series: None,
        original: None,
        when,
        free: false,
        cancelled: false,
    }
    .span()
}

fn told((start, end): Span) -> Content {
    let zone = Zone::Copenhagen.rules();
    let instant = |at: DateTime| {
        zone.to_ambiguous_zoned(at)
            .compatible()
            .unwrap()
            .timestamp()
    };
    let (start, end) = (instant(start), instant(end));
    Content::times(EventTime::timed(start, end.max(start), None).unwrap())
}

impl State {
    /// Whether a record may go: the source does not stand for it, as far as it told.
    fn may_go(&self, who: usize, id: &str, span: Span) -> bool {
        let person = &self.people[who];
        let key = self.keys.get(&(who, id.to_owned()));
        let horizon = truth::midnight(window_end(self.now));
        let from = truth::midnight(span.0.date()) - SignedDuration::from_hours(48);
        let to = truth::midnight(span.1.date()) + SignedDuration::from_hours(48);
        let standing: Vec<Occurrence> = truth::occurrences(&person.told, from, to)
            .into_iter()
            .filter(|one| one.is_busy() && one.span() == span)
            .filter(|one| truth::instants(one.when).0 < horizon)
            // K006: what was changed and is over by tonight is deleted, as the predecessor does.
            .filter(|_| last_day(span) != today(self.now))
            .collect();
        let there = self
            .records
            .iter()
            .filter(|((owner, _), held)| *owner == who && **held == span)
            .count();
        // Another event at the same time, whose own record was lost, needs this one no more than before.
        let of_others = key.is_some_and(|key| standing.iter().all(|one| one.uid != key.uid()));
        // What ended long ago is forgotten: a copy is for the engine the event itself, moved, and takes its record along.
        let forgotten = is_forgotten(span, self.now)
            && key.is_some_and(|key| {
                let of = |item: &&truth::Item| item.uid == key.uid();
                person.told.values().filter(of).count() > 1
            });
        there > standing.len() || of_others || forgotten
    }

    fn write(&mut self, who: usize, write: &Write) -> Outcome {
        let remote = if self.assigns_ids && write.op == Op::Create {
            self.next_record += 1;
            SideRef::new(format!("record-{}", self.next_record)).unwrap()
        } else {
            write.remote.clone().unwrap()
        };
        let key = (who, remote.id.clone());
        let there = self.records.get(&key).copied();
        let (now, delay) = (self.now, self.delay);
        self.before.retain(|(at, ..)| *at + delay > now);
        if delay > SignedDuration::ZERO {
            self.before.push((now, key.clone(), there));
        }
        self.processed += 1;
        self.keys.insert(key.clone(), write.key.clone());
        let left = (write.op != Op::Delete).then(|| remote.id.clone());
        self.attempts.insert(write.token.0.clone(), left);
        match (write.op, there) {
            (Op::Create, Some(held)) => Outcome::Conflict {
                theirs: SideState::Present {
                    remote,
                    content: Some(told(held)),
                },
            },
            (Op::Update, None) => Outcome::Conflict {
                theirs: SideState::Absent,
            },
            (Op::Delete, None) => Outcome::Conflict {
                theirs: SideState::Absent,
            },
            (Op::Delete, Some(span)) => {
                if write.base.is_none() {
                    self.wrong
                        .push(format!("a delete of {} without its base", key.1));
                }
                if !self.may_go(who, &key.1, span) {
                    self.wrong.push(format!(
                        "{}: {} ({} to {}) was deleted, and the calendar holds it",
                        self.now, key.1, span.0, span.1
                    ));
                }
                self.records.remove(&key);
                self.removed.push(key);
                self.effective += 1;
                Outcome::Done {
                    remote: None,
                    stored: None,
                }
            }
            _ => {
                let target = held(write.target.as_ref().unwrap());
                if there != Some(target) {
                    self.effective += 1;
                }
                if write.op == Op::Create {
                    self.made.push(key.clone());
                }
                self.records.insert(key, target);
                Outcome::Done {
                    remote: Some(remote),
                    stored: None,
                }
            }
        }
    }
}

/// Whether it ended so long ago that nothing is known of it any more.
pub fn is_forgotten(span: Span, now: Timestamp) -> bool {
    let days = i64::from(Retention::default().rows_days);
    last_day(span) <= today(now) - jiff::Span::new().days(days)
}

/// The first day after what is kept in step.
pub fn window_end(now: Timestamp) -> jiff::civil::Date {
    today(now) + jiff::Span::new().months(3)
}

/// The last day that a record touches.
pub fn last_day((_, end): Span) -> jiff::civil::Date {
    (end - jiff::Span::new().seconds(1)).date()
}

pub fn today(now: Timestamp) -> jiff::civil::Date {
    Zone::Copenhagen.rules().to_datetime(now).date()
}

#[async_trait]
impl CalendarSink for Systems {
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        self.call(false).await;
        let report = self.process(who(calendar), writes);
        self.call(true).await;
        report
    }

    async fn probe(&self, calendar: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        self.call(false).await;
        let mut state = self.lock();
        if let Some((Writing::Outage { .. }, _)) = state.writing.first() {
            state.writing();
            return Err(outage());
        }
        let who = who(calendar);
        let of = |token: &AttemptToken| {
            let id = match state.attempts.get(&token.0) {
                None => return Probe::Absent,
                Some(id) => id.clone().unwrap_or_else(|| "removed".to_owned()),
            };
            let held = state.records.get(&(who, id.clone()));
            Probe::Found {
                remote: SideRef::new(id).unwrap(),
                content: held.copied().map(told),
            }
        };
        Ok(tokens.iter().map(of).collect())
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        self.call(false).await;
        let mut state = self.lock();
        let trouble = match state.writing.first() {
            Some((Writing::Unlisted { .. } | Writing::Outage { .. }, _)) => state.writing(),
            _ => None,
        };
        if let Some(Writing::Outage { .. }) = trouble {
            return Err(outage());
        }
        let (now, delay) = (state.now, state.delay);
        state.before.retain(|(at, ..)| *at + delay > now);
        let records = state.listed();
        let mut page = InventoryPage::default();
        for (nth, calendar) in request.calendars.iter().enumerate() {
            if trouble.is_some() && nth == 0 {
                let error = error(ErrorKind::Transient, "sim.unlisted");
                page.failed.push((calendar.clone(), error));
                continue;
            }
            let who = who(calendar);
            for ((of, id), span) in &records {
                let content = told(*span);
                let start = content.time.span_in(&Zone::Copenhagen.rules()).0;
                if *of == who && request.window.contains(start) {
                    page.entries.push(InventoryEntry {
                        calendar: calendar.clone(),
                        remote: SideRef::new(id.clone()).unwrap(),
                        content: Some(content),
                        key: state
                            .keys
                            .get(&(who, id.clone()))
                            .filter(|_| state.assigns_ids)
                            .cloned(),
                        origin: None,
                    });
                }
            }
            page.complete.push(calendar.clone());
        }
        Ok(Box::new(OnePage(Some(page))))
    }
}

fn outage() -> Error {
    Error::new(
        ErrorKind::Transient,
        Scope::Connection,
        "6901",
        "out of reach",
    )
}

impl Systems {
    fn process(&self, who: usize, writes: &[Write]) -> Result<ApplyReport> {
        let mut state = self.lock();
        let trouble = match state.writing.first() {
            Some((Writing::Unlisted { .. }, _)) => None,
            _ => state.writing(),
        };
        let mut report = ApplyReport::default();
        let (process, answer) = match trouble {
            None | Some(Writing::Unlisted { .. }) => (writes.len(), true),
            Some(Writing::Silent { .. }) => (writes.len(), false),
            Some(Writing::Half { .. }) => (writes.len() / 2, false),
            Some(Writing::Lost { .. }) => (0, false),
            Some(Writing::Outage { .. }) => return Err(outage()),
            Some(Writing::Busy { .. }) => {
                return Err(error(ErrorKind::Throttled, "sim.busy"));
            }
            Some(Writing::Panic) => {
                drop(state);
                panic!("a connector panics, as it was to");
            }
            Some(Writing::Later { .. }) => {
                report
                    .outcomes
                    .extend(writes.iter().map(|write| WriteOutcome {
                        id: write.id,
                        outcome: Outcome::Retry {
                            after_ms: None,
                            code: Some("sim.later".to_owned()),
                        },
                        receipt: None,
                        notices: Vec::new(),
                    }));
                return Ok(report);
            }
        };
        for write in writes.iter().take(process) {
            let outcome = state.write(who, write);
            if answer {
                report.outcomes.push(WriteOutcome {
                    id: write.id,
                    outcome,
                    receipt: None,
                    notices: Vec::new(),
                });
            }
        }
        Ok(report)
    }
}

struct OnePage(Option<InventoryPage>);

#[async_trait]
impl InventoryFeed for OnePage {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        Ok(self.0.take())
    }
}

pub fn source_capabilities() -> Capabilities {
    Capabilities {
        roster: false,
        source: Some(SourceCapabilities {
            incremental: true,
            deletions: true,
            watch: false,
            own_write_delay_ms: 0,
            fields: [Field::Time, Field::ShowAs].into_iter().collect(),
            max_in_flight: 2,
        }),
        sink: None,
    }
}

pub fn sink_capabilities(assigns_ids: bool, delay: SignedDuration) -> Capabilities {
    Capabilities {
        roster: true,
        source: None,
        sink: Some(SinkCapabilities {
            conditional_write: false,
            idempotent_upsert: !assigns_ids,
            inventory: Some(InventoryBounds::StartsIn),
            probe: assigns_ids,
            sharing: Sharing::Exclusive,
            external_ids: if assigns_ids {
                ExternalIds::Sink
            } else {
                ExternalIds::Chosen {
                    separator: "$".to_owned(),
                    zone: "Europe/Copenhagen".to_owned(),
                    format: "%Y%m%d-%H%M%S".to_owned(),
                }
            },
            wall_clock: Some("Europe/Copenhagen".to_owned()),
            fields: FieldSet::times(),
            max_batch: 5,
            max_in_flight: 2,
            own_write_delay_ms: delay.as_millis().try_into().unwrap(),
        }),
    }
}
