//! Mailboxes filled from iCalendar files.
//!
//! A file's events become calendar items the way an import into Outlook makes them: series with their rule, deleted
//! and changed occurrences; zones by their Windows ids where there is one, else under the file's own name with the
//! file's own rules. A rule that EWS cannot say stays on the master and is still expanded by the server. What cannot
//! be read is reported with its place, and the rest goes on.

mod event;
mod file;
mod rule;
mod zones;

use std::path::{Path, PathBuf};

use calcard::icalendar::ICalendarComponent;

use crate::exchange::{ExchangeSandbox, ItemHandle, NewItem, StoreError, Zone};

/// Something in an iCalendar file that could not be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SeedProblem {
    /// Line of the file, from 1: of the event's BEGIN, or of the line itself.
    pub line: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// What can be wrong with an iCalendar file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No calendar in it.
    #[error("there is no VCALENDAR with an event here: check that this is an iCalendar file")]
    NoCalendar,
    /// A line that is no property.
    #[error("this line is no iCalendar property")]
    Line,
    /// A component without its END.
    #[error("a component is not ended, or ended under another name")]
    Component,
    /// No usable DTSTART.
    #[error("the event has no usable DTSTART")]
    Start,
    /// No usable end.
    #[error("the event's DTEND or DURATION is not usable, or lies before its start")]
    End,
    /// A zone that is neither known nor defined in the file.
    #[error("the event's time zone is neither known nor defined in the file")]
    Zone,
    /// A rule that cannot be understood.
    #[error("the event's RRULE cannot be understood")]
    Rule,
    /// RECURRENCE-ID with a range, or not a time.
    #[error("the event's RECURRENCE-ID is not usable")]
    RecurrenceId,
    /// The store refused the item.
    #[error("the item was refused: {0}")]
    Store(#[from] StoreError),
}

/// What became of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeedReport {
    /// The items made, in the order of the file.
    pub items: Vec<ItemHandle>,
    /// What could not be used.
    pub problems: Vec<SeedProblem>,
}

/// Why a file or folder could not be read at all.
#[derive(Debug, thiserror::Error)]
#[error("the file or folder cannot be read: check its name and rights")]
pub struct SeedError(#[from] std::io::Error);

/// What became of a folder's files, in the order of their names.
#[derive(Debug, Default)]
pub struct FolderReport {
    /// Each file and its report, or why it could not be read.
    pub files: Vec<(PathBuf, Result<SeedReport, SeedError>)>,
}

impl ExchangeSandbox {
    /// Fills a mailbox from the text of an iCalendar file. Floating times and days are taken in Danish time.
    ///
    /// # Errors
    /// There is no such mailbox. What is wrong inside the text stands in the report.
    pub fn seed_ics(&self, address: &str, text: &str) -> Result<SeedReport, StoreError> {
        self.seed(address, text.as_bytes())
    }

    fn seed(&self, address: &str, bytes: &[u8]) -> Result<SeedReport, StoreError> {
        self.mailbox_exists(address)?;
        let (events, mut problems) = read(bytes, &Zone::denmark());
        let mut items = Vec::new();
        for (line, event) in events {
            match self.create_series(address, event) {
                Ok(item) => items.push(item),
                Err(error) => problems.push(SeedProblem {
                    line,
                    reason: error.into(),
                }),
            }
        }
        problems.sort_by_key(|problem| problem.line);
        Ok(SeedReport { items, problems })
    }

    /// Fills a mailbox from an iCalendar file; lines that are not UTF-8 are taken for Latin-1.
    ///
    /// # Errors
    /// The file cannot be read, or there is no such mailbox.
    pub fn seed_ics_file(&self, address: &str, path: &Path) -> Result<SeedReport, SeedError> {
        let bytes = std::fs::read(path)?;
        self.seed(address, &bytes)
            .map_err(|error| SeedError(std::io::Error::other(error)))
    }

    /// Fills mailboxes from a folder: `ADDRESS.ics` is the calendar of that mailbox, a folder named by an address holds
    /// any number of them. Mailboxes that are missing are added as people's.
    ///
    /// # Errors
    /// The folder cannot be read. A file that cannot be read stands in the report, and the rest goes on.
    pub fn seed_mailboxes(&self, folder: &Path) -> Result<FolderReport, SeedError> {
        let mut report = FolderReport::default();
        for path in sorted(folder)? {
            let name = if path.is_dir() {
                path.file_name()
            } else {
                path.file_stem()
            };
            let Some(address) = name
                .and_then(|name| name.to_str())
                .filter(|name| name.contains('@'))
            else {
                continue;
            };
            if self.mailbox_exists(address).is_err() {
                let person = address.split('@').next().unwrap_or(address);
                self.add_person(person, address)
                    .map_err(|error| SeedError(std::io::Error::other(error)))?;
            }
            if path.is_dir() {
                report
                    .files
                    .extend(self.seed_ics_folder(address, &path)?.files);
            } else if is_ics(&path) {
                let file = self.seed_ics_file(address, &path);
                report.files.push((path, file));
            }
        }
        Ok(report)
    }

    /// Fills a mailbox from every `.ics` file of a folder.
    ///
    /// # Errors
    /// The folder cannot be read. A file that cannot be read stands in the report, and the rest goes on.
    pub fn seed_ics_folder(&self, address: &str, folder: &Path) -> Result<FolderReport, SeedError> {
        let mut paths = sorted(folder)?;
        paths.retain(|path| is_ics(path));
        let files = paths
            .into_iter()
            .map(|path| {
                let report = self.seed_ics_file(address, &path);
                (path, report)
            })
            .collect();
        Ok(FolderReport { files })
    }
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, SeedError> {
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn is_ics(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("ics"))
}

/// An event with the changes to its occurrences.
#[derive(Debug)]
pub(crate) struct SeedEvent {
    pub(crate) item: NewItem,
    pub(crate) deleted: Vec<rule::Skipped>,
    pub(crate) changed: Vec<event::Changed>,
}

/// Reads all events of a file, each with the line of its BEGIN.
fn read(bytes: &[u8], home: &Zone) -> (Vec<(usize, SeedEvent)>, Vec<SeedProblem>) {
    let (parts, mut problems) = file::cut(bytes);
    let zones: Vec<ICalendarComponent> = parts
        .iter()
        .filter(|part| part.kind == "VTIMEZONE")
        .flat_map(file::Part::components)
        .collect();
    let zones = zones::Zones::new(home.clone(), zones.iter());
    let mut events = Vec::new();
    for part in parts.iter().filter(|part| part.kind == "VEVENT") {
        match event::read(part, &zones) {
            Ok(event) => events.push((part.line, event)),
            Err(reason) => problems.push(SeedProblem {
                line: part.line,
                reason,
            }),
        }
    }
    if events.is_empty() && problems.is_empty() {
        problems.push(SeedProblem {
            line: 1,
            reason: Reason::NoCalendar,
        });
    }
    (event::join(events), problems)
}
