//! One call of `apply`: reads what is there, writes what differs, reads what was stored.

use std::collections::{HashMap, HashSet, VecDeque};

use calbridge_core::connector::{
    ApplyReport, Error, Op, Outcome, Result, SideState, Write, WriteId, WriteOutcome,
};
use calbridge_core::model::{CalendarRef, Content, FieldSet};

use super::body;
use super::known::{Held, Records, record_id};
use super::mark::{self, Mark};
use super::render::{Render, Unfit, all_fields, set_property};
use super::send::{Fate, put_off, send};
use super::verdict::{Verdict, later, refused, verdict};
use crate::request::FolderTarget;
use crate::response::Item;
use crate::source::Inner;

/// How often a server may put off each write of a call.
const PATIENCE: usize = 4;

/// What is never touched.
const MEETING: &str = "the appointment is a meeting with others, or somebody else's; calbridge never writes those. Change it in the calendar itself";
const MASTER: &str = "the calendar holds a whole series under this UID; calbridge writes single appointments and occurrences only";
const NO_TARGET: &str = "a create or an update needs what the record shall hold";

/// One call.
pub(crate) struct Run<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) calendar: &'a CalendarRef,
    pub(crate) folder: &'a str,
    pub(crate) render: &'a Render,
    pub(crate) fields: FieldSet,
    pub(crate) report: ApplyReport,
    /// How often the server put off a write, and how often it may.
    put_offs: usize,
    most_put_offs: usize,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        inner: &'a Inner,
        calendar: &'a CalendarRef,
        folder: &'a str,
        render: &'a Render,
        writes: &[Write],
    ) -> Self {
        let contents = writes.iter().flat_map(|write| [&write.target, &write.base]);
        Self {
            inner,
            calendar,
            folder,
            render,
            fields: all_fields(contents.flatten()),
            report: ApplyReport::default(),
            put_offs: 0,
            most_put_offs: PATIENCE * writes.len(),
        }
    }

    /// Creates, then updates, then deletes. Every write has its outcome afterwards.
    pub(crate) async fn run(mut self, writes: &[Write]) -> ApplyReport {
        let of = |op| {
            let those = writes.iter().filter(move |write| write.op == op);
            those.collect::<VecDeque<_>>()
        };
        let most = self.inner.client.settings().batch;
        for op in [Op::Create, Op::Update, Op::Delete] {
            let mut queue = of(op);
            while !queue.is_empty() && self.report.trouble.is_none() {
                let chunk: Vec<&Write> = queue.drain(..most.min(queue.len())).collect();
                let done = match op {
                    Op::Create => self.create(&chunk, &mut queue).await,
                    _ => self.change(op, &chunk, &mut queue).await,
                };
                if let Err(error) = done {
                    self.report.trouble = Some(error);
                }
            }
        }
        self.rest(writes);
        self.report
    }

    /// A write that the server put off goes on the queue again, unless that goes on and on.
    fn again<'w>(&mut self, write: &'w Write, queue: &mut VecDeque<&'w Write>) {
        self.put_offs += 1;
        if self.put_offs > self.most_put_offs {
            self.report.trouble.get_or_insert_with(put_off);
        }
        queue.push_back(write);
    }

    /// Writes that were not sent are sent another time; one that nobody knows is refused.
    fn rest(&mut self, writes: &[Write]) {
        let answered: HashSet<WriteId> = self.report.outcomes.iter().map(|one| one.id).collect();
        for write in writes.iter().filter(|write| !answered.contains(&write.id)) {
            let outcome = match &self.report.trouble {
                Some(trouble) => later(trouble),
                None => refused("ews.write.operation", "this version knows no such write"),
            };
            self.answer(write.id, outcome, None);
        }
    }

    fn answer(&mut self, id: WriteId, outcome: Outcome, receipt: Option<usize>) {
        self.report.outcomes.push(WriteOutcome {
            id,
            outcome,
            receipt,
            notices: Vec::new(),
        });
    }

    fn unfit(&mut self, write: &Write, unfit: Unfit) {
        self.answer(write.id, refused(unfit.code, unfit.why), None);
    }

    fn records(&self) -> Records<'_> {
        Records {
            inner: self.inner,
            calendar: self.calendar,
            folder: self.folder,
            fields: &self.fields,
        }
    }

    /// Makes what is not there yet.
    async fn create<'w>(
        &mut self,
        chunk: &[&'w Write],
        queue: &mut VecDeque<&'w Write>,
    ) -> Result<()> {
        let located = self.records().locate(chunk).await?;
        let ids: Vec<String> = located.iter().flatten().cloned().collect();
        let mut there = self.records().read(&ids).await?.into_iter();
        let mut ready: Vec<(&'w Write, &Content, String)> = Vec::new();
        for (write, id) in chunk.iter().copied().zip(located) {
            let found = match id.and_then(|_| there.next()) {
                Some(Ok(held)) => held,
                Some(Err(error)) => {
                    self.failed(write, error, None);
                    continue;
                }
                None => None,
            };
            if let Some(held) = found {
                self.already_there(write, &held);
                continue;
            }
            let Some(target) = &write.target else {
                self.answer(write.id, refused("ews.write.no-target", NO_TARGET), None);
                continue;
            };
            let mark = Mark {
                id: record_id(write).to_owned(),
                key: Some(write.key.clone()),
            };
            match self.render.new_item(&mark, &write.token, target) {
                Ok(xml) => ready.push((write, target, xml)),
                Err(unfit) => self.unfit(write, unfit),
            }
        }
        let entries: Vec<String> = ready.iter().map(|(_, _, xml)| xml.clone()).collect();
        let folder = FolderTarget::Id(self.folder.to_owned());
        let fates = self
            .send(&entries, |part| body::create_items(&folder, part))
            .await;
        let mut made = Vec::new();
        for ((write, target, _), (fate, receipt)) in ready.into_iter().zip(fates) {
            match fate {
                Fate::Done(Some(item)) if !item.id.is_empty() => {
                    made.push(Written {
                        write,
                        target,
                        item: *item,
                        receipt,
                    });
                }
                // Something was made, and its address is not told: it is found by what was left on it.
                Fate::Done(_) | Fate::Unknown => {
                    self.answer(write.id, Outcome::Unknown, receipt);
                }
                Fate::Failed(error) => self.failed(write, error, receipt),
                Fate::PutOff => self.again(write, queue),
                Fate::NotSent => {}
            }
        }
        self.stored(made).await;
        Ok(())
    }

    /// A record to be made is there: by the same attempt, or by somebody else.
    fn already_there(&mut self, write: &Write, held: &Held) {
        if let Some(refusal) = untouchable(held) {
            self.answer(write.id, refusal, None);
            return;
        }
        let remote = held.remote(record_id(write));
        let content = held.content.clone();
        let same_attempt =
            held.item.marks.attempt.as_deref() == Some(mark::digest(&write.token.0).as_str());
        let outcome = if same_attempt && self.holds_target(Op::Create, write, held) {
            Outcome::Done {
                remote: Some(remote),
                stored: content.map(|content| content.only(&self.fields)),
            }
        } else {
            Outcome::Conflict {
                theirs: SideState::Present { remote, content },
            }
        };
        self.answer(write.id, outcome, None);
    }

    /// Changes or removes what is there, if it is still what the plan assumed.
    async fn change<'w>(
        &mut self,
        op: Op,
        chunk: &[&'w Write],
        queue: &mut VecDeque<&'w Write>,
    ) -> Result<()> {
        let held = self.find_known(chunk).await?;
        let mut ready: Vec<(&'w Write, Held, String)> = Vec::new();
        // A series has one version: after a change of one occurrence that of the next is another.
        let mut series: HashSet<&str> = HashSet::new();
        for (write, held) in chunk.iter().copied().zip(held) {
            let held = match held {
                Ok(Some(held)) => held,
                Ok(None) => {
                    self.gone(op, write, None);
                    continue;
                }
                Err(error) => {
                    self.failed(write, error, None);
                    continue;
                }
            };
            if let Some(refusal) = untouchable(&held) {
                self.answer(write.id, refusal, None);
                continue;
            }
            // What is wanted may be there already: by a try of ours that was answered otherwise.
            if !self.holds_target(op, write, &held) && !self.is_as_assumed(write, &held) {
                self.theirs(write, &held, None);
                continue;
            }
            if held.is_occurrence() && !series.insert(write.key.uid()) {
                queue.push_back(write);
                continue;
            }
            match self.entry(op, write, &held) {
                Ok(Some(entry)) => ready.push((write, held, entry)),
                Ok(None) => {
                    let remote = held.remote(record_id(write));
                    let stored = held.content.map(|content| content.only(&self.fields));
                    let outcome = Outcome::Done {
                        remote: Some(remote),
                        stored,
                    };
                    self.answer(write.id, outcome, None);
                }
                Err(unfit) => self.unfit(write, unfit),
            }
        }
        let entries: Vec<String> = ready.iter().map(|(_, _, entry)| entry.clone()).collect();
        let request = match op {
            Op::Delete => body::delete_items,
            _ => body::update_items,
        };
        let fates = self.send(&entries, request).await;
        let (mut written, mut again) = (Vec::new(), Vec::new());
        for ((write, held, _), (fate, receipt)) in ready.into_iter().zip(fates) {
            match (fate, &write.target) {
                (Fate::Done(_), _) if op == Op::Delete => {
                    let outcome = Outcome::Done {
                        remote: None,
                        stored: None,
                    };
                    self.answer(write.id, outcome, receipt);
                }
                (Fate::Done(item), Some(target)) => {
                    let mut item = item.map_or_else(Item::default, |item| *item);
                    if item.id.is_empty() {
                        item.id.clone_from(&held.item.id);
                    }
                    written.push(Written {
                        write,
                        target,
                        item,
                        receipt,
                    });
                }
                (Fate::Done(_), None) | (Fate::Unknown, _) => {
                    self.answer(write.id, Outcome::Unknown, receipt);
                }
                (Fate::Failed(error), _) => match verdict(error.clone(), false) {
                    Verdict::Gone => self.gone(op, write, receipt),
                    Verdict::Changed => again.push((write, held, receipt)),
                    _ => self.failed(write, error, receipt),
                },
                (Fate::PutOff, _) => self.again(write, queue),
                (Fate::NotSent, _) => {}
            }
        }
        self.conflicts(again).await;
        self.stored(written).await;
        Ok(())
    }

    /// Finds the items of known records: by their ids, else by what was left on them, else by an external id that is an
    /// item's own.
    async fn find_known(&self, chunk: &[&Write]) -> Result<Vec<Result<Option<Held>>>> {
        let records = self.records();
        let assigned = |write: &Write| write.remote.as_ref().and_then(|one| one.assigned.clone());
        let ids: Vec<String> = chunk.iter().filter_map(|write| assigned(write)).collect();
        let mut read = records.read(&ids).await?.into_iter();
        let mut held: Vec<Result<Option<Held>>> = chunk
            .iter()
            .map(|write| assigned(write).map_or(Ok(None), |_| read.next().unwrap_or(Ok(None))))
            .collect();
        let missing: Vec<usize> = held
            .iter()
            .enumerate()
            .filter_map(|(at, one)| matches!(one, Ok(None)).then_some(at))
            .collect();
        if missing.is_empty() {
            return Ok(held);
        }
        let writes: Vec<&Write> = missing
            .iter()
            .filter_map(|at| chunk.get(*at).copied())
            .collect();
        let located = records.locate(&writes).await?;
        let ids: Vec<Option<String>> = located
            .into_iter()
            .zip(&writes)
            .map(|(id, write)| id.or_else(|| own_id(write)))
            .collect();
        let asked: Vec<String> = ids.iter().flatten().cloned().collect();
        let mut read = records.read(&asked).await?.into_iter();
        for (at, id) in missing.into_iter().zip(ids) {
            if let (Some(_), Some(slot)) = (id, held.get_mut(at)) {
                *slot = read.next().unwrap_or(Ok(None));
            }
        }
        Ok(held)
    }

    /// Whether an item is what it shall be.
    fn holds_target(&self, op: Op, write: &Write, held: &Held) -> bool {
        let target = write.target.as_ref().filter(|_| op != Op::Delete);
        let content = held.content.as_ref();
        target.is_some_and(|target| {
            content.is_some() && self.render.differing(content, target).is_empty()
        })
    }

    /// Whether an item still is what the plan saw: its version, or what it holds. Exchange raises the version for
    /// matters that no field shows.
    fn is_as_assumed(&self, write: &Write, held: &Held) -> bool {
        let seen = write.remote.as_ref().and_then(|one| one.version.as_ref());
        let same_version = seen.is_some() && seen == held.item.change_key.as_ref();
        match &write.base {
            // The version of an occurrence is that of its series, which some servers forget to raise.
            _ if same_version && !held.is_occurrence() => true,
            Some(base) => self
                .render
                .differing(held.content.as_ref(), base)
                .is_empty(),
            None => same_version || (seen.is_none() && held.mark().is_some()),
        }
    }

    /// What is sent for a write; nothing if there is nothing to change.
    fn entry(&self, op: Op, write: &Write, held: &Held) -> Result<Option<String>, Unfit> {
        let (id, version) = (&held.item.id, held.item.change_key.as_deref());
        if op == Op::Delete {
            return Ok(Some(body::item_id(id, version)));
        }
        let Some(target) = &write.target else {
            return Err(Unfit {
                code: "ews.write.no-target",
                why: NO_TARGET,
            });
        };
        let series = held.is_occurrence().then_some(held.zone.as_ref());
        let updates = self.render.updates(held.content.as_ref(), target, series)?;
        if updates.is_empty() {
            return Ok(None);
        }
        let attempt = set_property(mark::ATTEMPT, &mark::digest(&write.token.0));
        Ok(Some(body::change(id, version, &(updates + &attempt))))
    }

    async fn send(
        &mut self,
        entries: &[String],
        request: impl Fn(&[String]) -> crate::request::Body,
    ) -> Vec<(Fate, Option<usize>)> {
        let most = self.inner.client.settings().batch;
        let (inner, calendar) = (self.inner, self.calendar);
        send(inner, calendar, &mut self.report, most, entries, request).await
    }

    /// A record that was to be changed or removed is not there.
    fn gone(&mut self, op: Op, write: &Write, receipt: Option<usize>) {
        let outcome = if op == Op::Delete {
            Outcome::Done {
                remote: None,
                stored: None,
            }
        } else {
            Outcome::Conflict {
                theirs: SideState::Absent,
            }
        };
        self.answer(write.id, outcome, receipt);
    }

    fn theirs(&mut self, write: &Write, held: &Held, receipt: Option<usize>) {
        let outcome = Outcome::Conflict {
            theirs: SideState::Present {
                remote: held.remote(record_id(write)),
                content: held.content.clone(),
            },
        };
        self.answer(write.id, outcome, receipt);
    }

    /// Writes that met another version: what is there now.
    async fn conflicts(&mut self, again: Vec<(&Write, Held, Option<usize>)>) {
        if again.is_empty() {
            return;
        }
        let ids: Vec<String> = again
            .iter()
            .map(|(_, held, _)| held.item.id.clone())
            .collect();
        let mut read = match self.records().read(&ids).await {
            Ok(read) => read.into_iter(),
            Err(error) => {
                // Certainly not written; what is there is read when it is tried again.
                for (write, _, receipt) in again {
                    self.answer(write.id, later(&error), receipt);
                }
                self.report.trouble.get_or_insert(error);
                return;
            }
        };
        for (write, _, receipt) in again {
            match read.next() {
                Some(Ok(Some(held))) => match untouchable(&held) {
                    Some(refusal) => self.answer(write.id, refusal, receipt),
                    None => self.theirs(write, &held, receipt),
                },
                Some(Ok(None)) => self.gone(write.op, write, receipt),
                Some(Err(error)) => self.failed(write, error, receipt),
                None => self.answer(write.id, Outcome::Unknown, receipt),
            }
        }
    }

    /// What Exchange made of what was written: it cuts, rounds and reformats. Where that cannot be read, the write is
    /// done all the same.
    async fn stored(&mut self, written: Vec<Written<'_>>) {
        if written.is_empty() {
            return;
        }
        let ids: Vec<String> = written.iter().map(|one| one.item.id.clone()).collect();
        let mut read: HashMap<String, Held> = match self.records().read(&ids).await {
            Ok(read) => ids
                .into_iter()
                .zip(read)
                .filter_map(|(id, held)| Some((id, held.ok()??)))
                .collect(),
            Err(error) => {
                tracing::debug!(
                    calendar = self.calendar.handle(),
                    code = error.code,
                    "What was written cannot be read back."
                );
                HashMap::new()
            }
        };
        for one in written {
            let id = record_id(one.write);
            let (remote, stored) = match read.remove(&one.item.id) {
                Some(held) => (
                    held.remote(id),
                    held.content
                        .map(|content| content.only(&one.target.fields())),
                ),
                None => (
                    calbridge_core::model::SideRef {
                        id: id.to_owned(),
                        assigned: Some(one.item.id.clone()),
                        version: one.item.change_key.clone(),
                    },
                    None,
                ),
            };
            let outcome = Outcome::Done {
                remote: Some(remote),
                stored: stored.filter(|stored| stored != one.target),
            };
            self.answer(one.write.id, outcome, one.receipt);
        }
    }

    /// One write was answered with an error.
    fn failed(&mut self, write: &Write, error: Error, receipt: Option<usize>) {
        let outcome = match verdict(error, write.op == Op::Create) {
            Verdict::Gone => return self.gone(write.op, write, receipt),
            Verdict::Changed => Outcome::Retry {
                after_ms: None,
                code: Some("ews.ErrorIrresolvableConflict".to_owned()),
            },
            Verdict::Later(error) => later(&error),
            Verdict::Unclear => Outcome::Unknown,
            Verdict::Refused(error) => {
                tracing::warn!(
                    code = error.code,
                    calendar = self.calendar.handle(),
                    "Exchange refused a write."
                );
                refused(&error.code, &error.message)
            }
            Verdict::Stop(error) => {
                let outcome = later(&error);
                self.report.trouble.get_or_insert(error);
                outcome
            }
        };
        self.answer(write.id, outcome, receipt);
    }
}

/// A write that was carried out.
struct Written<'a> {
    write: &'a Write,
    target: &'a Content,
    item: Item,
    receipt: Option<usize>,
}

/// What is never written, whatever the plan says.
fn untouchable(held: &Held) -> Option<Outcome> {
    if held.item.is_master() {
        Some(refused("ews.write.series", MASTER))
    } else if held.is_meeting() {
        Some(refused("ews.write.meeting", MEETING))
    } else {
        None
    }
}

/// The external id, where it may be an item's own.
fn own_id(write: &Write) -> Option<String> {
    let id = record_id(write);
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let may_be = id.len() >= 40
        && id.len().is_multiple_of(4)
        && id.chars().all(is_base64)
        && id.chars().any(|c| c.is_ascii_lowercase());
    may_be.then(|| id.to_owned())
}
