//! What becomes of events whose calls failed though they stood alone in them.

use std::collections::HashMap;

use calbridge_core::connector::{Op, Outcome};
use calbridge_core::model::{Content, SideRef};

use crate::codes;
use crate::map;
use crate::sink::{Prepared, Run, folded};
use crate::wire::{self, Operation, Request};

/// An event that failed alone.
#[derive(Debug)]
pub(crate) struct Lone {
    pub(crate) op: Op,
    pub(crate) prepared: Prepared,
    pub(crate) how: How,
    /// The code and text of the failure.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) receipt: Option<usize>,
    /// Whether a call went well after it.
    pub(crate) beside: bool,
}

/// How it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// A fault with a code that may be the event's refusal.
    Refusal,
    /// Another fault.
    Fault,
    /// No answer, or none that could be used.
    Silence,
}

/// What Planner holds, by folded id.
type Held = HashMap<String, (SideRef, Option<Content>)>;

impl Run<'_> {
    /// Answers for the events that failed alone.
    ///
    /// If it is not known that they are the reason, they are left open and the failure is everybody's trouble.
    /// Else it is theirs alone: refused, or tried again with the tries counted. As the service may fail after
    /// it did what was asked, Planner's list is looked at first; that it can be had tells besides that the
    /// service works.
    pub(crate) async fn settle_lone(&mut self) {
        let lone = std::mem::take(&mut self.lone);
        if lone.is_empty() {
            return;
        }
        let blame = &self.planner.blame;
        let guilty: Vec<bool> = lone
            .iter()
            .map(|one| {
                let beside = one.beside || (self.answered && self.report.trouble.is_none());
                // Silence has more reasons than a fault: it proves nothing later.
                let known = one.how != How::Silence
                    && blame.failed_alone(self.calendar, &one.prepared.remote.id, beside);
                known || beside
            })
            .collect();
        if self.report.trouble.is_none() && !self.answered && !guilty.iter().all(|guilty| *guilty) {
            self.report.trouble = self.lone_error.take();
        }
        let outage = self.report.trouble.is_some();
        let certain = self.answered && lone.iter().all(|one| one.how == How::Refusal);
        let held = if outage || certain {
            None
        } else {
            let held = self.look(&lone).await;
            if held.is_none() && !self.answered {
                self.report.trouble = self.lone_error.take();
            }
            held
        };
        let outage = self.report.trouble.is_some();
        for one in lone {
            let outcome = match (one.how, &held) {
                (How::Refusal, _) if one.beside || !outage => Outcome::Rejected {
                    code: one.code.clone(),
                    message: one.message.clone(),
                },
                (How::Fault | How::Silence, Some(held)) => self.by_list(&one, held),
                _ => Outcome::Unknown,
            };
            self.answer(one.prepared.write, outcome, one.receipt);
        }
    }

    fn by_list(&self, one: &Lone, held: &Held) -> Outcome {
        let wanted = map::stored(one.prepared.event.span, &self.planner.client.zone);
        match held.get(&folded(&one.prepared.remote.id)) {
            Some((remote, Some(content)))
                if one.op != Op::Delete && wanted.as_ref() == Some(content) =>
            {
                Outcome::Done {
                    remote: Some(remote.clone()),
                    stored: wanted,
                }
            }
            // What was not answered in time may still be done.
            _ if one.how == How::Silence => Outcome::Unknown,
            _ => Outcome::Retry {
                after_ms: None,
                code: Some(one.code.clone()),
            },
        }
    }

    /// Lists the calendar where these events start.
    async fn look(&mut self, lone: &[Lone]) -> Option<Held> {
        let client = &self.planner.client;
        let starts = || {
            lone.iter()
                .filter_map(|one| map::stored(one.prepared.event.span, &client.zone))
                .map(|content| content.time.span_in(&client.zone).0)
        };
        let (from, to) = map::filter(starts().min()?, starts().max()?);
        let address = self.calendar.address.as_str();
        let request = Request::GetEvents {
            addresses: &[address],
            from: map::offset_text(from, &client.zone),
            to: map::offset_text(to, &client.zone),
        };
        let call = match client.call(Operation::GetEvents, &request, 0).await {
            Ok(call) => call,
            Err(failed) => {
                self.report.receipts.extend(failed.receipt);
                return None;
            }
        };
        let own = self.calendar.address.folded();
        let held = wire::events(&call.response)
            .into_iter()
            .filter(|event| {
                event
                    .address
                    .as_ref()
                    .is_some_and(|address| address.to_lowercase() == own)
            })
            .filter_map(|event| {
                let content = map::listed(event.start?, event.end?, &client.zone);
                let id = event.id?;
                let remote = SideRef {
                    id: id.clone(),
                    assigned: event.assigned,
                    version: None,
                };
                Some((folded(&id), (remote, content)))
            })
            .collect();
        self.report.receipts.push(call.receipt);
        Some(held)
    }
}

/// How an event failed, by what its fault says.
pub(crate) fn how(fault: Option<Option<i64>>) -> How {
    match fault {
        Some(code) if codes::may_refuse_an_event(code) => How::Refusal,
        Some(_) => How::Fault,
        None => How::Silence,
    }
}
