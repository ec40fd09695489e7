//! A seeded history of verbs, what each of them means by itself, and what a store says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use calbridge_core::connector::{AttemptToken, Cursor, Op, Receipt};
use calbridge_core::engine::decide::{Decision, Intent, Reason};
use calbridge_core::engine::project::Desired;
use calbridge_core::engine::{Attempt, LinkId, OnSink, SinkView};
use calbridge_core::model::{
    CalendarKind, CalendarRef, Content, Coverage, Event, EventKey, EventTime, ItemRef,
};
use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{
    CalendarId, CallRecord, DecisionRecord, Fence, NewRow, PauseScope, Retention, RosterChange,
    Round, RoundEnd, RowCommit, SourcePage, Spent, Store as _, ViewChange,
};
use jiff::{SignedDuration, Timestamp};

const SYNC: &str = "jobcenter";
const SOURCE: &str = "exchange";
const SINK: &str = "planner";
const CALENDARS: usize = 3;
/// So many decisions of a row are kept.
const DECISIONS: usize = 20;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

pub(crate) fn now() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

fn address(calendar: usize) -> String {
    format!("person{calendar}@kommune.example")
}

/// One verb of the store, or closing and opening it.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Add(usize),
    Begin(usize),
    /// Items with their subjects; those without one became private.
    Page {
        calendar: usize,
        seen: Vec<(String, Option<String>)>,
        gone: Vec<String>,
        cursor: String,
    },
    Finish(usize),
    Link(usize),
    /// Writes of these rows are about to be sent.
    Send {
        calendar: usize,
        items: Vec<String>,
        token: String,
    },
    /// They were answered.
    Answer {
        calendar: usize,
        items: Vec<String>,
    },
    Pause,
    Resume,
    Prune,
    Reopen,
}

/// What is known of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct RowFacts {
    state: OnSink,
    attempt: Option<String>,
    acknowledged: bool,
    has_view: bool,
    decisions: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Known {
    cursor: Option<String>,
    finished: bool,
    /// Subjects by item.
    views: BTreeMap<String, Option<String>>,
    /// By item, also of events that are gone.
    rows: BTreeMap<String, RowFacts>,
}

/// All that a store was told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    calendars: BTreeMap<String, Known>,
    pauses: BTreeSet<String>,
    calls: usize,
    spent: u64,
}

impl Facts {
    /// What a store says.
    pub(crate) async fn of(store: &SqliteStore) -> Self {
        let mut facts = Self {
            pauses: store
                .pauses()
                .await
                .unwrap()
                .into_iter()
                .map(|pause| pause.scope.to_string())
                .collect(),
            calls: store.calls(10_000).await.unwrap().len(),
            spent: store.spent(SINK, Timestamp::UNIX_EPOCH).await.unwrap(),
            ..Self::default()
        };
        for state in store.calendars(SYNC).await.unwrap() {
            let source = store.source_state(SOURCE, state.id).await.unwrap();
            let mut known = Known {
                cursor: source.cursor.map(|cursor| cursor.0),
                finished: source.finished.is_some(),
                ..Known::default()
            };
            let rows = store.rows(SYNC, SOURCE, state.id).await.unwrap();
            let mut views = rows.unlinked;
            for row in rows.rows {
                let facts = RowFacts {
                    state: row.sink.state,
                    attempt: row.attempt.map(|attempt| attempt.token.0),
                    acknowledged: row.sink.acknowledged.is_some(),
                    has_view: row.source.is_some(),
                    decisions: store.decisions(row.link).await.unwrap().len(),
                };
                known.rows.insert(row.key.uid().to_owned(), facts);
                views.extend(row.source);
            }
            for view in views {
                let subject = view.event.content.subject;
                known.views.insert(view.event.item.id, subject);
            }
            facts
                .calendars
                .insert(state.calendar.address.as_str().to_owned(), known);
        }
        facts
    }

    /// Where `found` differs, in few words.
    pub(crate) fn difference(&self, found: &Self) -> String {
        let mut said = Vec::new();
        for (address, known) in &self.calendars {
            let Some(other) = found.calendars.get(address) else {
                said.push(format!("{address} is lost"));
                continue;
            };
            if known.cursor != other.cursor {
                said.push(format!(
                    "{address}: cursor {:?}, not {:?}",
                    other.cursor, known.cursor
                ));
            }
            if known.views != other.views {
                said.push(format!(
                    "{address}: {} views, not {}, or other ones",
                    other.views.len(),
                    known.views.len()
                ));
            }
            if known.rows != other.rows {
                let differing = known
                    .rows
                    .iter()
                    .find(|(item, row)| other.rows.get(*item) != Some(row));
                said.push(format!(
                    "{address}: {} rows, not {}; {differing:?}",
                    other.rows.len(),
                    known.rows.len()
                ));
            }
        }
        if (&self.pauses, self.calls, self.spent) != (&found.pauses, found.calls, found.spent) {
            said.push("pauses, calls or spent differ".to_owned());
        }
        said.push(format!("{} calendars", found.calendars.len()));
        said.join("; ")
    }
}

/// The verbs, and what the world is after each of them.
pub(crate) struct History {
    pub(crate) steps: Vec<Step>,
    states: Vec<Facts>,
}

impl History {
    /// A longer history of the same seed begins with the shorter one.
    pub(crate) fn new(seed: u64, steps: usize) -> Self {
        let mut dice = Dice(seed);
        let mut model = Model::default();
        let mut history = Self {
            steps: Vec::new(),
            states: vec![Facts::default()],
        };
        for calendar in 0..CALENDARS {
            history.add(Step::Add(calendar), &mut model);
            history.add(Step::Begin(calendar), &mut model);
        }
        for number in 0..steps {
            let step = model.some_step(number, &mut dice);
            history.add(step, &mut model);
        }
        history
    }

    fn add(&mut self, step: Step, model: &mut Model) {
        model.take(&step);
        self.states.push(model.facts.clone());
        self.steps.push(step);
    }

    /// Before the first verb, and after each.
    pub(crate) fn states(&self) -> Vec<Facts> {
        self.states.clone()
    }
}

#[derive(Default)]
struct Model {
    facts: Facts,
    /// Marked as gone, until the round ends.
    gone: BTreeSet<(usize, String)>,
}

fn some<'a>(
    items: impl Iterator<Item = &'a String>,
    one_of: usize,
    dice: &mut Dice,
) -> Vec<String> {
    items.filter(|_| dice.below(one_of) == 0).cloned().collect()
}

impl Model {
    fn known(&mut self, calendar: usize) -> &mut Known {
        self.facts
            .calendars
            .get_mut(&address(calendar))
            .expect("added first")
    }

    /// A verb that can follow.
    fn some_step(&mut self, number: usize, dice: &mut Dice) -> Step {
        let calendar = dice.below(CALENDARS);
        let known = self.known(calendar).clone();
        let open = |row: &&RowFacts| row.attempt.is_none();
        match dice.below(20) {
            0..=6 => self.some_page(calendar, number, dice),
            7 | 8 => Step::Finish(calendar),
            9..=11 => Step::Link(calendar),
            12..=14 => {
                let ready = known.rows.iter().filter(|(_, row)| open(row));
                Step::Send {
                    calendar,
                    items: some(ready.map(|(item, _)| item), 2, dice),
                    token: format!("token {number}"),
                }
            }
            15 | 16 => {
                let sent = known.rows.iter().filter(|(_, row)| !open(row));
                Step::Answer {
                    calendar,
                    items: some(sent.map(|(item, _)| item), 1, dice),
                }
            }
            17 if self.facts.pauses.is_empty() => Step::Pause,
            17 => Step::Resume,
            18 => Step::Prune,
            _ => Step::Reopen,
        }
    }

    fn some_page(&mut self, calendar: usize, number: usize, dice: &mut Dice) -> Step {
        let known = self.known(calendar).clone();
        let subject = |dice: &mut Dice| {
            let letter = char::from(b'a' + u8::try_from(dice.below(26)).unwrap());
            Some(letter.to_string().repeat(1 + dice.below(900)))
        };
        let mut seen: Vec<(String, Option<String>)> = (0..dice.below(20))
            .map(|at| (format!("{calendar}-{number}-{at}"), subject(dice)))
            .collect();
        for item in some(known.views.keys(), 6, dice) {
            // Some become private; their old subjects leave the file at once.
            let now = (dice.below(4) > 0).then(|| subject(dice)).flatten();
            seen.push((item, now));
        }
        let gone = some(known.views.keys(), 12, dice)
            .into_iter()
            .filter(|item| seen.iter().all(|(seen, _)| seen != item))
            .collect();
        Step::Page {
            calendar,
            seen,
            gone,
            cursor: format!("after {number}"),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Add(calendar) => {
                self.facts
                    .calendars
                    .insert(address(*calendar), Known::default());
            }
            Step::Begin(_) | Step::Prune | Step::Reopen => {}
            Step::Page {
                calendar,
                seen,
                gone,
                cursor,
            } => {
                for (item, _) in seen {
                    self.gone.remove(&(*calendar, item.clone()));
                }
                for item in gone {
                    self.gone.insert((*calendar, item.clone()));
                }
                let known = self.known(*calendar);
                known.cursor = Some(cursor.clone());
                known.views.extend(seen.iter().cloned());
            }
            Step::Finish(calendar) => {
                let gone = std::mem::take(&mut self.gone);
                let (ours, others): (BTreeSet<_>, BTreeSet<_>) =
                    gone.into_iter().partition(|(of, _)| of == calendar);
                self.gone = others;
                let known = self.known(*calendar);
                known.finished = true;
                for (_, item) in ours {
                    known.views.remove(&item);
                    if let Some(row) = known.rows.get_mut(&item) {
                        row.has_view = false;
                    }
                }
            }
            Step::Link(calendar) => {
                let known = self.known(*calendar);
                for item in known.views.keys() {
                    known.rows.entry(item.clone()).or_insert(RowFacts {
                        has_view: true,
                        ..RowFacts::default()
                    });
                }
            }
            Step::Send {
                calendar,
                items,
                token,
            } => {
                self.facts.spent += u64::try_from(items.len()).unwrap();
                for item in items {
                    let row = self.known(*calendar).rows.get_mut(item).unwrap();
                    row.attempt = Some(token.clone());
                    row.state = OnSink::Unknown;
                    row.decisions = DECISIONS.min(row.decisions + 1);
                }
            }
            Step::Answer { calendar, items } => {
                self.facts.calls += 1;
                for item in items {
                    let row = self.known(*calendar).rows.get_mut(item).unwrap();
                    row.attempt = None;
                    row.state = OnSink::Present;
                    row.acknowledged = true;
                    row.decisions = DECISIONS.min(row.decisions + 1);
                }
            }
            Step::Pause => {
                self.facts.pauses.insert(PauseScope::All.to_string());
            }
            Step::Resume => self.facts.pauses.clear(),
        }
    }
}

/// Tells a store what the history says.
pub(crate) struct Keeper {
    path: PathBuf,
    /// None only while it is closed and opened.
    store: Option<SqliteStore>,
    pub(crate) fence: Fence,
    rounds: BTreeMap<usize, Round>,
}

impl Keeper {
    pub(crate) async fn open(path: PathBuf) -> Self {
        let store = SqliteStore::open(&path, now()).unwrap();
        let fence = store.acquire("keeper", now()).await.unwrap();
        Self {
            path,
            store: Some(store),
            fence,
            rounds: BTreeMap::new(),
        }
    }

    fn store(&self) -> &SqliteStore {
        self.store.as_ref().unwrap()
    }

    async fn id(&self, calendar: usize) -> CalendarId {
        let address = address(calendar);
        let calendars = self.store().calendars(SYNC).await.unwrap();
        let found = calendars
            .iter()
            .find(|state| state.calendar.address.as_str() == address);
        found.unwrap().id
    }

    pub(crate) async fn keep(&mut self, step: &Step) {
        let fence = self.fence;
        match step {
            Step::Add(calendar) => {
                let change = RosterChange::Add {
                    calendar: CalendarRef::primary(address(*calendar)).unwrap(),
                    kind: CalendarKind::Person,
                    left: None,
                };
                let done = self
                    .store()
                    .commit_roster(fence, SYNC, &[change], now())
                    .await;
                done.unwrap();
            }
            Step::Begin(calendar) => {
                let id = self.id(*calendar).await;
                let round = self.store().begin_round(fence, SOURCE, id).await.unwrap();
                self.rounds.insert(*calendar, round);
            }
            Step::Page {
                calendar,
                seen,
                gone,
                cursor,
            } => {
                let seen = seen
                    .iter()
                    .map(|(item, subject)| ViewChange::Seen(event(item, subject.clone())));
                let gone = gone
                    .iter()
                    .map(|item| ViewChange::Gone(ItemRef::new(item.as_str(), None).unwrap()));
                let page = SourcePage {
                    connection: SOURCE.to_owned(),
                    calendar: self.id(*calendar).await,
                    round: self.rounds[calendar],
                    changes: seen.chain(gone).collect(),
                    checkpoint: Some(Cursor(cursor.clone())),
                };
                self.store().commit_page(fence, page).await.unwrap();
            }
            Step::Finish(calendar) => self.finish(*calendar).await,
            Step::Link(calendar) => {
                let id = self.id(*calendar).await;
                let rows = self.store().rows(SYNC, SOURCE, id).await.unwrap();
                let insert = rows.unlinked.iter().map(|view| NewRow {
                    key: view.event.key.clone(),
                    ordinal: view.ordinal,
                    group: None,
                    view: Some(view.id),
                    remote: None,
                    sink: SinkView::default(),
                    first_contact: false,
                });
                let commit = RowCommit {
                    insert: insert.collect(),
                    ..commit(id)
                };
                self.store().commit_rows(fence, commit).await.unwrap();
            }
            Step::Send {
                calendar,
                items,
                token,
            } => self.send(*calendar, items, token).await,
            Step::Answer { calendar, items } => self.answer(*calendar, items).await,
            Step::Pause => {
                let done = self.store().pause(&PauseScope::All, now()).await;
                assert!(done.unwrap());
            }
            Step::Resume => assert!(self.store().resume(&PauseScope::All).await.unwrap()),
            Step::Prune => {
                let pruned = self.store().prune(fence, Retention::default(), now()).await;
                assert_eq!(pruned.unwrap().rows, 0);
            }
            Step::Reopen => {
                self.store = None;
                let store = SqliteStore::open(&self.path, now()).unwrap();
                self.fence = store.acquire("keeper", now()).await.unwrap();
                self.store = Some(store);
            }
        }
    }

    async fn finish(&self, calendar: usize) {
        let id = self.id(calendar).await;
        let round = self.rounds[&calendar];
        let changes = self.store().round_changes(SOURCE, id, round, &[]).await;
        let vanished = changes.unwrap().vanished;
        let end = RoundEnd {
            connection: SOURCE.to_owned(),
            calendar: id,
            round,
            pairs: Vec::new(),
            gone: vanished.iter().map(|view| view.id).collect(),
            covered: Coverage::none(),
            binding: "binding".to_owned(),
            checkpoint: None,
            full: false,
            unreadable: false,
            folder: None,
            at: now(),
        };
        self.store().finish_round(self.fence, end).await.unwrap();
    }

    async fn send(&self, calendar: usize, items: &[String], token: &str) {
        let id = self.id(calendar).await;
        let mut commit = commit(id);
        commit.spent = Some(Spent {
            connection: SINK.to_owned(),
            writes: u64::try_from(items.len()).unwrap(),
            at: now(),
            budget: 10_000,
            since: now() - SignedDuration::from_hours(24),
        });
        for mut row in self.store().rows(SYNC, SOURCE, id).await.unwrap().rows {
            if items.iter().any(|item| item == row.key.uid()) {
                row.attempt = Some(Attempt {
                    token: AttemptToken(token.to_owned()),
                    op: Op::Create,
                    target: None,
                    at: now(),
                    before: row.sink.state,
                    ticket: None,
                });
                row.sink.state = OnSink::Unknown;
                commit.decisions.push(decision(row.link, None));
                commit.update.push(row);
            }
        }
        self.store().commit_rows(self.fence, commit).await.unwrap();
    }

    async fn answer(&self, calendar: usize, items: &[String]) {
        let id = self.id(calendar).await;
        let mut commit = commit(id);
        commit.calls.push(CallRecord {
            connection: SINK.to_owned(),
            receipt: Receipt {
                operation: "CreateEvents".to_owned(),
                reference: Some("reference".to_owned()),
                started: now(),
                ended: now(),
                events: 1,
                error: None,
            },
        });
        for mut row in self.store().rows(SYNC, SOURCE, id).await.unwrap().rows {
            if items.iter().any(|item| item == row.key.uid()) {
                row.attempt = None;
                row.sink.state = OnSink::Present;
                row.sink.content = Some(Content::times(hour()));
                row.sink.acknowledged = Some(now());
                commit.decisions.push(decision(row.link, Some("done")));
                commit.update.push(row);
            }
        }
        self.store().commit_rows(self.fence, commit).await.unwrap();
    }
}

fn commit(calendar: CalendarId) -> RowCommit {
    RowCommit {
        sync: SYNC.to_owned(),
        calendar: Some(calendar),
        ..RowCommit::default()
    }
}

fn decision(link: LinkId, outcome: Option<&str>) -> DecisionRecord {
    let content = Content::times(hour());
    DecisionRecord {
        link,
        at: now(),
        desired: Desired::Present {
            content: content.clone(),
            creatable: true,
        },
        decision: Decision {
            intent: Intent::Create { content },
            reason: Reason::New,
        },
        outcome: outcome.map(str::to_owned),
        call: outcome.map(|_| 0),
        inputs: None,
    }
}

fn hour() -> EventTime {
    let end = "2026-03-02T13:00:00Z".parse().unwrap();
    EventTime::timed(now(), end, None).unwrap()
}

fn event(item: &str, subject: Option<String>) -> Event {
    Event {
        key: EventKey::new(item, None).unwrap(),
        item: ItemRef::new(item, None).unwrap(),
        group: None,
        content: Content {
            private: Some(subject.is_none()),
            subject,
            ..Content::times(hour())
        },
        cancelled: false,
        origin: None,
    }
}
