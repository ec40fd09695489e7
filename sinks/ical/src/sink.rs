//! The traits.

use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    ApplyReport, CalendarSink, CheckReport, CheckScope, Connection, Context, Error, ErrorKind,
    Finding, InventoryEntry, InventoryFeed, InventoryPage, InventoryRequest, Op, Outcome, Receipt,
    Result, Scope, Severity, SideState, Write, WriteOutcome,
};
use calbridge_core::model::{CalendarRef, Content, SideRef, Window};
use calcard::icalendar::ICalendarComponent;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Mutex;

use crate::config::Settings;
use crate::{ZONE, file, record};

/// An open connection.
#[derive(Debug)]
pub(crate) struct Sink {
    settings: Settings,
    context: Context,
    /// In which days begin, when an inventory asks for a window.
    home: TimeZone,
    /// Held while a file is read, changed and replaced.
    writing: Arc<Mutex<()>>,
}

impl Sink {
    pub(crate) fn open(settings: Settings, context: Context) -> Result<Self> {
        let home = TimeZone::get(ZONE)
            .map_err(|_| Error::config(format!("the time zone data have no {ZONE}")))?;
        Ok(Self {
            settings,
            context,
            home,
            writing: Arc::new(Mutex::new(())),
        })
    }

    async fn events(&self, calendar: &CalendarRef) -> Result<Vec<ICalendarComponent>> {
        let path = file::path(&self.settings.folder, calendar)?;
        let limit = self.settings.max_bytes;
        blocking(move || file::read(&path, limit)).await
    }
}

#[async_trait]
impl Connection for Sink {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let folder = self.settings.folder.clone();
        let state = blocking(move || {
            std::fs::metadata(&folder).map_err(|error| file::io_error(&error, "written"))
        });
        match state.await {
            Ok(state) if !state.is_dir() => {
                report.push("reachable", Severity::Failed, "`folder` is no folder");
            }
            Ok(state) if state.permissions().readonly() => report.push(
                "authority",
                Severity::Failed,
                "the folder in `folder` is read-only",
            ),
            Ok(_) => report.push("reachable", Severity::Passed, "the folder is there"),
            Err(error) => report.push("reachable", Severity::Failed, error.to_string()),
        }
        for calendar in scope.calendars {
            let (severity, message) = match self.events(&calendar).await {
                Ok(events) => (Severity::Passed, format!("{} events", events.len())),
                Err(error) => (Severity::Failed, error.to_string()),
            };
            report.findings.push(Finding {
                name: "calendar".to_owned(),
                severity,
                message,
                calendar: Some(calendar),
            });
        }
        Ok(report)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        Some(self)
    }
}

#[async_trait]
impl CalendarSink for Sink {
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let path = file::path(&self.settings.folder, calendar)?;
        let limit = self.settings.max_bytes;
        let started = self.context.clock.now();
        let batch = writes.to_vec();
        // The guard goes with the work: a call that is given up must not let the next one in too early.
        let guard = Arc::clone(&self.writing).lock_owned().await;
        let outcomes = blocking(move || {
            let _guard = guard;
            let mut events = file::read(&path, limit)?;
            let mut changed = false;
            let mut outcomes = Vec::with_capacity(batch.len());
            for write in &batch {
                let before = events.len();
                let outcome = carry_out(&mut events, write, started);
                // Deleting what is not there is done, and changes nothing.
                let put = matches!(
                    outcome,
                    Outcome::Done {
                        remote: Some(_),
                        ..
                    }
                );
                changed |= put || events.len() != before;
                outcomes.push(WriteOutcome {
                    id: write.id,
                    outcome,
                    receipt: Some(0),
                    notices: Vec::new(),
                });
            }
            if changed {
                file::replace(&path, &file::text(events))?;
            }
            Ok(outcomes)
        })
        .await?;
        Ok(ApplyReport {
            outcomes,
            receipts: vec![Receipt {
                operation: "replace file".to_owned(),
                reference: None,
                started,
                ended: self.context.clock.now(),
                events: writes.len(),
                error: None,
            }],
            trouble: None,
        })
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        let mut pages = Vec::new();
        for calendar in request.calendars {
            pages.push(match self.events(&calendar).await {
                Ok(events) => self.page(calendar, &events, request.window),
                Err(error) => InventoryPage {
                    failed: vec![(calendar, error)],
                    ..InventoryPage::default()
                },
            });
        }
        Ok(Box::new(Pages(pages.into_iter())))
    }
}

impl Sink {
    /// What overlaps the window, and what cannot be described, whenever it is.
    fn page(
        &self,
        calendar: CalendarRef,
        events: &[ICalendarComponent],
        window: Window,
    ) -> InventoryPage {
        let in_window = |content: &Content| {
            let (start, end) = content.time.span_in(&self.home);
            window.overlaps(start, end)
        };
        let entries = events
            .iter()
            .filter_map(|event| {
                let content = record::content(event);
                content.as_ref().is_none_or(in_window).then_some(())?;
                Some(InventoryEntry {
                    calendar: calendar.clone(),
                    remote: SideRef::new(record::id(event)?).ok()?,
                    content,
                    key: record::key(event),
                    origin: None,
                })
            })
            .collect();
        InventoryPage {
            entries,
            complete: vec![calendar],
            failed: Vec::new(),
        }
    }
}

/// Carries out one write on the events of a file.
fn carry_out(events: &mut Vec<ICalendarComponent>, write: &Write, now: Timestamp) -> Outcome {
    let Some(remote) = &write.remote else {
        return rejected("ical.no-id", "a write needs the id that was chosen for it");
    };
    let at = events
        .iter()
        .position(|event| record::id(event) == Some(remote.id.as_str()));
    match (write.op, at) {
        (Op::Delete, found) => {
            if let Some(at) = found {
                events.remove(at);
            }
            Outcome::Done {
                remote: None,
                stored: None,
            }
        }
        (Op::Create, Some(at)) => Outcome::Conflict {
            theirs: SideState::Present {
                remote: remote.clone(),
                content: events.get(at).and_then(record::content),
            },
        },
        (Op::Update, None) => Outcome::Conflict {
            theirs: SideState::Absent,
        },
        (Op::Create | Op::Update, _) => put(events, at, write, remote, now),
        _ => rejected("ical.unknown-operation", "this version knows no such write"),
    }
}

/// Puts the target into the file, in place of what stands at `at`.
fn put(
    events: &mut Vec<ICalendarComponent>,
    at: Option<usize>,
    write: &Write,
    remote: &SideRef,
    now: Timestamp,
) -> Outcome {
    let Some(target) = &write.target else {
        return rejected("ical.no-target", "a create or update needs a target");
    };
    let event = record::write(&remote.id, &write.key, target, now);
    // What counts is what will be read back: line breaks and control characters may come out otherwise.
    let stored = file::as_read_back(event)
        .and_then(|event| Some((record::content(&event)?, event)))
        .filter(|(_, event)| record::id(event) == Some(remote.id.as_str()));
    let Some((stored, event)) = stored else {
        return rejected("ical.content", "iCalendar cannot express the event");
    };
    match at.and_then(|at| events.get_mut(at)) {
        Some(known) if record::content(known).as_ref() == Some(&stored) => {
            return Outcome::Unchanged;
        }
        Some(known) => *known = event,
        None => events.push(event),
    }
    Outcome::Done {
        remote: Some(remote.clone()),
        stored: (stored != *target).then_some(stored),
    }
}

fn rejected(code: &str, message: &str) -> Outcome {
    Outcome::Rejected {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// One page per calendar.
struct Pages(std::vec::IntoIter<InventoryPage>);

#[async_trait]
impl InventoryFeed for Pages {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        Ok(self.0.next())
    }
}

/// Runs file work where it does not hold up others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            let kind = if error.is_panic() {
                ErrorKind::Panicked
            } else {
                ErrorKind::Cancelled
            };
            Err(Error::new(
                kind,
                Scope::Calendar,
                "ical.interrupted",
                "the work on the calendar's file did not end; its file is whole, old or new",
            ))
        })
}
