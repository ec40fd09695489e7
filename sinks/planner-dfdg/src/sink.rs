//! Writes.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use async_trait::async_trait;
use calbridge_core::connector::{
    ApplyReport, CalendarSink, Error, ErrorKind, InventoryFeed, InventoryRequest, Op, Outcome,
    Receipt, Result, SideState, Write, WriteId, WriteOutcome,
};
use calbridge_core::model::{CalendarRef, SideRef};

use crate::Planner;
use crate::answer::Why;
use crate::client::{Call, Failed};
use crate::codes::{self, Verdict};
use crate::inventory::Inventory;
use crate::lone::{self, Lone};
use crate::map;
use crate::wire::{self, EventReceipt, Operation, Request, WireEvent};

/// How often one call of `apply` cuts a batch in half to find the event that makes it fail.
const MAX_SPLITS: u32 = 8;
/// So many events that fail alone one after the other mean that it is not the events.
const MAX_LONE_FAILURES: u32 = 3;

/// The order in which operations are sent.
const ORDER: [(Op, Operation); 3] = [
    (Op::Create, Operation::CreateEvents),
    (Op::Update, Operation::UpdateEvents),
    (Op::Delete, Operation::DeleteEvents),
];

/// A write that fits the schema.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) write: WriteId,
    pub(crate) remote: SideRef,
    pub(crate) event: WireEvent,
}

/// Why a write is not even sent.
#[derive(Debug)]
struct Unfit {
    code: &'static str,
    message: &'static str,
}

impl From<Unfit> for Outcome {
    fn from(unfit: Unfit) -> Self {
        Self::Rejected {
            code: unfit.code.to_owned(),
            message: unfit.message.to_owned(),
        }
    }
}

#[async_trait]
impl CalendarSink for Planner {
    /// Creates, then updates, then deletes; each in batches. Receipts are matched by id, whatever their order
    /// and letter case. A write that the schema would refuse is refused here, alone.
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let mut run = Run {
            planner: self,
            calendar,
            report: ApplyReport::default(),
            splits: MAX_SPLITS,
            lone_failures: 0,
            answered: false,
            lone: Vec::new(),
            lone_error: None,
        };
        let mut queues: HashMap<Op, VecDeque<Prepared>> = HashMap::new();
        for write in writes {
            match run.prepare(write) {
                Ok(prepared) => queues.entry(write.op).or_default().push_back(prepared),
                Err(unfit) => run.answer(write.id, unfit.into(), None),
            }
        }
        for (op, operation) in ORDER {
            if let Some(queue) = queues.remove(&op) {
                run.send(op, operation, queue).await?;
            }
        }
        run.settle_lone().await;
        Ok(run.report)
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        Ok(Box::new(Inventory::new(self.client.clone(), request)))
    }
}

/// One call of `apply`.
pub(crate) struct Run<'a> {
    pub(crate) planner: &'a Planner,
    pub(crate) calendar: &'a CalendarRef,
    pub(crate) report: ApplyReport,
    /// How often a batch may still be cut in half.
    splits: u32,
    /// How many events failed alone since the last answer.
    lone_failures: u32,
    /// Whether any call was answered well.
    pub(crate) answered: bool,
    /// Events that failed alone.
    pub(crate) lone: Vec<Lone>,
    /// Why the last of them did.
    pub(crate) lone_error: Option<Error>,
}

impl Run<'_> {
    /// What is to be sent for a write.
    fn prepare(&self, write: &Write) -> std::result::Result<Prepared, Unfit> {
        let refused = |code, message| Err(Unfit { code, message });
        if !map::address_fits(self.calendar.address.as_str()) {
            return refused(
                "planner.address",
                "Planner takes no such mailbox address (a character that it does not allow, or a domain of more than 64 characters)",
            );
        }
        let Some(remote) = &write.remote else {
            return refused("planner.id", "the event has no id for Planner");
        };
        if !map::id_fits(&remote.id) {
            return refused(
                "planner.id",
                "the event's id has characters that cannot be sent",
            );
        }
        let content = match write.op {
            Op::Create | Op::Update => write.target.as_ref(),
            Op::Delete => write.base.as_ref().or(write.target.as_ref()),
            _ => return refused("planner.operation", "Planner has no such operation"),
        };
        let zone = &self.planner.client.zone;
        let span = match content {
            Some(content) => map::wall_span(&content.time, zone),
            // Planner goes by mailbox and id; the times of a delete are there because the schema wants some.
            None if write.op == Op::Delete => map::any_span(self.planner.client.now(), zone),
            None => {
                return refused(
                    "planner.times",
                    "the event's times are not known, and Planner wants them",
                );
            }
        };
        Ok(Prepared {
            write: write.id,
            event: WireEvent {
                span,
                id: remote.id.clone(),
            },
            remote: remote.clone(),
        })
    }

    pub(crate) fn answer(&mut self, id: WriteId, outcome: Outcome, receipt: Option<usize>) {
        self.report.outcomes.push(WriteOutcome {
            id,
            outcome,
            receipt,
            notices: Vec::new(),
        });
    }

    async fn send(
        &mut self,
        op: Op,
        operation: Operation,
        mut queue: VecDeque<Prepared>,
    ) -> Result<()> {
        while !queue.is_empty() {
            if let Some(trouble) = &self.report.trouble {
                let later = Outcome::Retry {
                    after_ms: trouble.retry_after_ms,
                    code: Some(trouble.code.clone()),
                };
                for prepared in queue.drain(..) {
                    self.answer(prepared.write, later.clone(), None);
                }
                return Ok(());
            }
            let batch = self.next_batch(&mut queue);
            let events: Vec<WireEvent> = batch.iter().map(|one| one.event.clone()).collect();
            let request = Request::Write {
                address: self.calendar.address.as_str(),
                events: &events,
            };
            match self
                .planner
                .client
                .call(operation, &request, events.len())
                .await
            {
                Ok(call) => {
                    self.lone_failures = 0;
                    self.answered = true;
                    for one in &mut self.lone {
                        one.beside = true;
                    }
                    self.planner.batches.went_well(self.calendar);
                    let ids = batch.iter().map(|one| one.remote.id.as_str());
                    self.planner.blame.answered(self.calendar, ids);
                    self.take(op, &batch, call);
                }
                Err(failed) => self.fail(op, *failed, batch, &mut queue)?,
            }
        }
        Ok(())
    }

    /// The next events, none of whose ids are the same: receipts could not be told apart.
    fn next_batch(&self, queue: &mut VecDeque<Prepared>) -> Vec<Prepared> {
        let size = self.planner.batches.size(self.calendar);
        let mut ids = HashSet::new();
        let mut batch = Vec::new();
        while batch.len() < size
            && queue
                .front()
                .is_some_and(|next| ids.insert(folded(&next.remote.id)))
        {
            batch.extend(queue.pop_front());
        }
        batch
    }

    fn receipt(&mut self, receipt: Receipt) -> usize {
        self.report.receipts.push(receipt);
        self.report.receipts.len() - 1
    }

    /// Takes an answer: one outcome per event.
    fn take(&mut self, op: Op, batch: &[Prepared], call: Call) {
        let at = self.receipt(call.receipt);
        let (receipts, broken) = wire::receipts(&call.response);
        let mut by_id: HashMap<String, EventReceipt> = HashMap::with_capacity(receipts.len());
        let mut strange = broken;
        let mut contradictory = HashSet::new();
        for receipt in receipts {
            match by_id.entry(folded(&receipt.id)) {
                Entry::Occupied(first) => {
                    strange += 1;
                    if first.get().code != receipt.code {
                        contradictory.insert(folded(&receipt.id));
                    }
                }
                Entry::Vacant(free) => {
                    free.insert(receipt);
                }
            }
        }
        // Which of them is true nobody knows.
        by_id.retain(|id, _| !contradictory.contains(id));
        let mut unanswered = 0;
        let (exact, others): (Vec<_>, Vec<_>) = batch
            .iter()
            .partition(|prepared| by_id.contains_key(&folded(&prepared.remote.id)));
        for prepared in exact {
            if let Some(receipt) = by_id.remove(&folded(&prepared.remote.id)) {
                self.settle(op, prepared, &receipt, at);
            }
        }
        for prepared in &others {
            // White space around an id may get lost or come in on the way.
            let trimmed = folded(prepared.remote.id.trim());
            let alone = others
                .iter()
                .filter(|other| folded(other.remote.id.trim()) == trimmed)
                .count()
                == 1;
            let mut fitting = by_id.keys().filter(|id| id.trim() == trimmed);
            let key = match (fitting.next(), fitting.next()) {
                (Some(only), None) if alone => Some(only.clone()),
                _ => None,
            };
            match key.and_then(|key| by_id.remove(&key)) {
                Some(receipt) => self.settle(op, prepared, &receipt, at),
                None => {
                    unanswered += 1;
                    self.answer(prepared.write, Outcome::Unknown, Some(at));
                }
            }
        }
        strange += by_id.len();
        if strange > 0 || unanswered > 0 {
            tracing::warn!(
                calendar = %self.calendar.handle(),
                unanswered,
                strange,
                "Planner's receipts do not fit the events that were sent; events without receipt are tried again."
            );
        }
    }

    fn settle(&mut self, op: Op, prepared: &Prepared, receipt: &EventReceipt, at: usize) {
        let remote = SideRef {
            id: prepared.remote.id.clone(),
            assigned: receipt
                .assigned
                .clone()
                .or_else(|| prepared.remote.assigned.clone()),
            version: None,
        };
        let outcome = match codes::verdict(op, receipt.code) {
            Verdict::Done if op == Op::Delete => Outcome::Done {
                remote: None,
                stored: None,
            },
            Verdict::Done => Outcome::Done {
                remote: Some(remote),
                stored: map::stored(prepared.event.span, &self.planner.client.zone),
            },
            Verdict::Exists => Outcome::Conflict {
                theirs: SideState::Present {
                    remote,
                    content: None,
                },
            },
            Verdict::Missing => Outcome::Conflict {
                theirs: SideState::Absent,
            },
            Verdict::Foreign => Outcome::Foreign,
            Verdict::Later => Outcome::Retry {
                after_ms: None,
                code: Some(codes::warning(receipt.code)),
            },
            Verdict::Refused => {
                let code = codes::warning(receipt.code);
                tracing::warn!(
                    code = %code,
                    calendar = %self.calendar.handle(),
                    receipt_code = receipt.code,
                    "Planner refused an event."
                );
                // Planner's own text may name persons; it is for searching with the debug level on.
                tracing::debug!(message = receipt.message.as_deref(), "Planner's refusal.");
                Outcome::Rejected {
                    message: format!("Planner refuses the event with code {}", receipt.code),
                    code,
                }
            }
        };
        let notices = if receipt.conflict_notice {
            vec![codes::CONFLICT_NOTICE.to_owned()]
        } else {
            Vec::new()
        };
        self.report.outcomes.push(WriteOutcome {
            id: prepared.write,
            outcome,
            receipt: Some(at),
            notices,
        });
    }

    /// Takes a failure of a whole call.
    ///
    /// # Errors
    /// If it was the first and nothing was sent.
    fn fail(
        &mut self,
        op: Op,
        failed: Failed,
        mut batch: Vec<Prepared>,
        queue: &mut VecDeque<Prepared>,
    ) -> Result<()> {
        let Failed {
            why,
            error,
            receipt,
            ..
        } = failed;
        if why == Why::NotTried
            && self.report.receipts.is_empty()
            && self.report.outcomes.is_empty()
        {
            return Err(error);
        }
        let at = receipt.map(|receipt| self.receipt(receipt));
        let fault = match &why {
            Why::Fault(fault) => Some(fault.details.as_ref().and_then(|details| details.code)),
            _ => None,
        };
        if fault.is_some() && batch.len() > 1 && self.splits > 0 {
            // One event may make the whole call fail: halves tell which.
            self.splits -= 1;
            self.planner.batches.shrink(self.calendar, batch.len());
            for prepared in batch.into_iter().rev() {
                queue.push_front(prepared);
            }
            return Ok(());
        }
        let silent =
            why.is_about_size() || (why == Why::Unclear && error.kind != ErrorKind::Cancelled);
        if silent && batch.len() > 1 {
            self.planner.batches.shrink(self.calendar, batch.len());
        }
        if (fault.is_some() || silent)
            && batch.len() == 1
            && let Some(prepared) = batch.pop()
        {
            // The event may be the reason, so the others go on, unless they fare the same.
            self.lone.push(Lone {
                op,
                prepared,
                how: lone::how(fault),
                code: error.code.clone(),
                message: error.message.clone(),
                receipt: at,
                beside: false,
            });
            self.lone_failures += 1;
            if self.lone_failures < MAX_LONE_FAILURES {
                self.lone_error = Some(error);
                return Ok(());
            }
        }
        let outcome = if why.may_have_been_done() {
            Outcome::Unknown
        } else {
            later(&error)
        };
        for prepared in &batch {
            self.answer(prepared.write, outcome.clone(), at);
        }
        self.report.trouble = Some(error);
        Ok(())
    }
}

fn later(error: &Error) -> Outcome {
    Outcome::Retry {
        after_ms: error.retry_after_ms,
        code: Some(error.code.clone()),
    }
}

/// How ids are compared: as Planner compares them, without regard to letter case.
pub(crate) fn folded(id: &str) -> String {
    id.to_lowercase()
}
