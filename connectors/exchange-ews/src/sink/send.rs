//! Carries out one kind of request for many items: in batches, item by item answered.

use calbridge_core::connector::{ApplyReport, Error, ErrorKind, Receipt, Scope};
use calbridge_core::model::CalendarRef;

use super::verdict::{is_about_content, may_be_done};
use crate::error::DEFAULT_BACK_OFF;
use crate::request::Body;
use crate::response::Item;
use crate::source::Inner;

/// The code of a message that was not worked on because the ones before it took too long.
const STOPPED: &str = "ErrorBatchProcessingStopped";
/// So many entries that fail alone one after the other mean that it is not the entries.
const MOST_ALONE: usize = 3;

/// What became of one item of a request.
#[derive(Debug)]
pub(crate) enum Fate {
    /// Done; with the item as the answer names it.
    Done(Option<Box<Item>>),
    /// Refused, with the item's own error.
    Failed(Error),
    /// Sent, and nobody knows.
    Unknown,
    /// Sent, and put off by the server: what is there has to be looked at again before it is repeated.
    PutOff,
    /// Not sent: something is wrong with the calendar or the connection.
    NotSent,
}

/// Sends `entries` in requests of at most `most`, and answers one fate per entry, in order, with the receipt of the call
/// that carried it. What holds up the rest stands in the report. A request that is refused as a whole for what it holds
/// is cut in half until the entry that is to blame stands alone.
pub(crate) async fn send(
    inner: &Inner,
    calendar: &CalendarRef,
    report: &mut ApplyReport,
    most: usize,
    entries: &[String],
    body: impl Fn(&[String]) -> Body,
) -> Vec<(Fate, Option<usize>)> {
    let mut fates: Vec<(Fate, Option<usize>)> = Vec::with_capacity(entries.len());
    let batches = inner.client.batches();
    let keep = |size: usize| batches.set(&calendar.address, size.max(1), most);
    let mut size = batches.of(&calendar.address, most);
    // Entries that failed alone since anything was answered, and why the last of them did.
    let (mut alone, mut answered, mut last) = (0, false, None);
    while fates.len() < entries.len() {
        let rest = entries.get(fates.len()..).unwrap_or_default();
        if report.trouble.is_some() {
            fates.extend(rest.iter().map(|_| (Fate::NotSent, None)));
            break;
        }
        let part = rest.get(..size.min(rest.len())).unwrap_or(rest);
        let request = body(part);
        let operation = request.operation;
        let started = inner.client.now();
        let answer = inner.client.call(&calendar.address, &request).await;
        let receipt = Receipt {
            operation: operation.to_owned(),
            reference: answer
                .as_ref()
                .ok()
                .and_then(|reply| reply.reference.clone()),
            started,
            ended: inner.client.now(),
            events: part.len(),
            error: answer.as_ref().err().cloned(),
        };
        report.receipts.push(receipt);
        let at = Some(report.receipts.len() - 1);
        match answer {
            Ok(reply) if reply.messages.len() != part.len() => {
                // Which answer is whose cannot be told.
                let got = reply.messages.len();
                report.trouble = Some(inner.client.miscounted(operation, part.len(), got));
                fates.extend(part.iter().map(|_| (Fate::Unknown, at)));
            }
            Ok(reply) => {
                (alone, answered) = (0, true);
                if part.len() >= size {
                    keep(size + 1);
                }
                let before = fates.len();
                for message in reply.messages {
                    if message.code == STOPPED {
                        break;
                    }
                    let fate = match inner.client.checked(message, Scope::Item) {
                        Ok(message) => Fate::Done(message.items.into_iter().next().map(Box::new)),
                        Err(error) => Fate::Failed(error),
                    };
                    fates.push((fate, at));
                }
                let put_off = part.len() - (fates.len() - before);
                if put_off > 0 {
                    size = (part.len() / 2).max(1);
                    keep(size);
                    fates.extend((0..put_off).map(|_| (Fate::PutOff, at)));
                }
            }
            // It may be the entry's own fault, so the others go on, unless they fare the same.
            Err(error) if may_be_done(&error) && part.len() == 1 && alone + 1 < MOST_ALONE => {
                alone += 1;
                last = Some(error);
                fates.push((Fate::Unknown, at));
            }
            Err(error) if may_be_done(&error) => {
                // Next time fewer at once, down to the one that is to blame.
                keep(part.len() / 2);
                report.trouble = Some(error);
                fates.extend(part.iter().map(|_| (Fate::Unknown, at)));
            }
            Err(error) if is_about_content(&error) && part.len() > 1 => size = part.len() / 2,
            Err(mut error) if is_about_content(&error) => {
                error.scope = Scope::Item;
                fates.push((Fate::Failed(error), at));
            }
            Err(error) => report.trouble = Some(error),
        }
    }
    if !answered && report.trouble.is_none() {
        report.trouble = last;
    }
    fates
}

/// A server that puts off whatever it is asked for.
pub(crate) fn put_off() -> Error {
    Error::new(
        ErrorKind::Throttled,
        Scope::Calendar,
        "ews.ErrorBatchProcessingStopped",
        "Exchange stops working on even small requests for this mailbox; it is tried again later",
    )
    .retry_after(DEFAULT_BACK_OFF)
}
