//! Writing: carrying out writes, and listing what is there.

use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    ApplyReport, CalendarSink, Connector as _, InventoryEntry, InventoryFeed, InventoryPage,
    InventoryRequest, Op, Outcome, Receipt, Result, SideState, Write, WriteOutcome,
};
use calbridge_core::model::{CalendarRef, FieldSet, Window};
use jiff::tz::TimeZone;

use crate::connection::{Connected, blocking};
use crate::files;
use crate::shift::{Entry, Sheet, Shift};

#[async_trait]
impl CalendarSink for Connected {
    // One outcome for each write. `Err` only if nothing was sent; if you cannot know, answer `Outcome::Unknown`.
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let path = files::path(&self.settings.folder, calendar)?;
        let max_bytes = self.settings.max_bytes;
        let started = self.context.clock.now();
        let writes = writes.to_vec();
        let events = writes.len();
        // The guard goes with the work: a call that is given up must not let the next one in too early.
        let guard = Arc::clone(&self.writing).lock_owned().await;
        let outcomes = blocking(move || {
            let _guard = guard;
            let mut sheet = files::read(&path, max_bytes)?
                .map(|(sheet, _)| sheet)
                .unwrap_or_default();
            let before = serde_json::to_value(&sheet).ok();
            let mut outcomes = Vec::with_capacity(writes.len());
            for write in &writes {
                outcomes.push(WriteOutcome {
                    id: write.id,
                    // One write that cannot be carried out does not hold up the others.
                    outcome: carry_out(&mut sheet, write)
                        .unwrap_or_else(|error| rejected(&error.code, &error.message)),
                    receipt: Some(0),
                    notices: Vec::new(),
                });
            }
            if serde_json::to_value(&sheet).ok() != before {
                files::replace(&path, &sheet)?;
            }
            Ok(outcomes)
        })
        .await?;
        Ok(ApplyReport {
            outcomes,
            // Kept for support: which call it was, in your system's words.
            receipts: vec![Receipt {
                operation: "replace file".to_owned(),
                reference: None,
                started,
                ended: self.context.clock.now(),
                events,
                error: None,
            }],
            trouble: None,
        })
    }

    // What is there, whoever wrote it: for the first contact and for comparisons.
    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        let mut pages = Vec::new();
        for calendar in request.calendars {
            let max_bytes = self.settings.max_bytes;
            let path = files::path(&self.settings.folder, &calendar);
            pages.push(
                match blocking(move || files::read(&path?, max_bytes)).await {
                    Ok(found) => {
                        let sheet = found.map(|(sheet, _)| sheet).unwrap_or_default();
                        page(calendar, sheet, request.window)
                    }
                    // Nothing is concluded for a calendar that could not be listed; the others go on.
                    Err(error) => InventoryPage {
                        failed: vec![(calendar, error)],
                        ..InventoryPage::default()
                    },
                },
            );
        }
        Ok(Box::new(Pages(pages.into_iter())))
    }
}

/// Carries out one write.
fn carry_out(sheet: &mut Sheet, write: &Write) -> Result<Outcome> {
    // A repeated attempt carries the same token. A shift is named after the token that made it, so a create that is
    // repeated finds the shift of the first time, and never makes a second one.
    let id = match (&write.remote, write.op) {
        (Some(remote), _) => remote.id.as_str(),
        (None, Op::Create) => write.token.0.as_str(),
        (None, _) => {
            return Ok(rejected(
                "rota.no-id",
                "the write does not say which shift is meant",
            ));
        }
    };
    let at = sheet
        .shifts
        .iter()
        .position(|entry| matches!(entry, Entry::Shift(shift) if shift.id == id));
    let found = at.and_then(|at| match sheet.shifts.get_mut(at) {
        Some(Entry::Shift(shift)) => Some(shift),
        _ => None,
    });
    match (write.op, found, &write.target) {
        (Op::Create, None, Some(target)) => {
            let shift = Shift::new(id.to_owned(), write.key.clone(), target)?;
            let outcome = done(&shift, write)?;
            sheet.shifts.push(Entry::Shift(shift));
            Ok(outcome)
        }
        (Op::Create, Some(shift), Some(_)) => done(shift, write),
        (Op::Update | Op::Delete, Some(shift), _) if is_newer(shift, write) => {
            Ok(Outcome::Conflict {
                theirs: SideState::Present {
                    remote: shift.remote()?,
                    content: shift.content(&fields()).ok(),
                },
            })
        }
        (Op::Update, Some(shift), Some(target)) => {
            shift.change(target)?;
            done(shift, write)
        }
        (Op::Update, None, Some(_)) => Ok(Outcome::Conflict {
            theirs: SideState::Absent,
        }),
        (Op::Delete, _, _) => {
            if let Some(at) = at {
                sheet.shifts.remove(at);
            }
            Ok(Outcome::Done {
                remote: None,
                stored: None,
            })
        }
        (Op::Create | Op::Update, _, None) => Ok(rejected(
            "rota.no-target",
            "the write does not say what to store",
        )),
        _ => Ok(rejected(
            "rota.unknown-operation",
            "this version knows no such write",
        )),
    }
}

/// Whether somebody changed the shift since calbridge saw it.
fn is_newer(shift: &Shift, write: &Write) -> bool {
    let seen = write
        .remote
        .as_ref()
        .and_then(|remote| remote.version.as_deref());
    seen.is_some_and(|seen| seen != shift.version.to_string())
}

fn done(shift: &Shift, write: &Write) -> Result<Outcome> {
    // What is kept may be less than what was given. Say what is kept, or it would be written again and again.
    let stored = shift.content(&fields())?;
    Ok(Outcome::Done {
        remote: Some(shift.remote()?),
        stored: (Some(&stored) != write.target.as_ref()).then_some(stored),
    })
}

fn page(calendar: CalendarRef, sheet: Sheet, window: Window) -> InventoryPage {
    let mut page = InventoryPage::default();
    for entry in sheet.shifts {
        let Entry::Shift(shift) = entry else { continue };
        let (Ok(remote), content) = (shift.remote(), shift.content(&fields()).ok()) else {
            continue;
        };
        let inside = content.as_ref().is_none_or(|content| {
            let (start, end) = content.time.span_in(&TimeZone::UTC);
            window.overlaps(start, end)
        });
        if inside {
            page.entries.push(InventoryEntry {
                calendar: calendar.clone(),
                remote,
                content,
                key: shift.calbridge,
                origin: None,
            });
        }
    }
    page.complete.push(calendar);
    page
}

/// What the rota keeps of an event.
fn fields() -> FieldSet {
    crate::Rota::capabilities()
        .sink
        .map(|sink| sink.fields)
        .unwrap_or_default()
}

fn rejected(code: &str, message: &str) -> Outcome {
    Outcome::Rejected {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// One page per person.
struct Pages(std::vec::IntoIter<InventoryPage>);

#[async_trait]
impl InventoryFeed for Pages {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        Ok(self.0.next())
    }
}
