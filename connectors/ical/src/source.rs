//! The traits.

use std::collections::HashSet;

use async_trait::async_trait;
use calbridge_core::connector::{
    CalendarSource, Change, ChangeBatch, ChangeFeed, ChangesRequest, CheckReport, CheckScope,
    Connection, Context, Cursor, Error, ErrorKind, Finding, Result, Roster, Scope, Severity,
    SkippedEntry,
};
use calbridge_core::model::{
    Address, CalendarEntry, CalendarKind, CalendarRef, Event, FieldSet, ItemRef,
};
use jiff::tz::TimeZone;

use crate::calendar::Calendar;
use crate::client::{Bookmark, Client, Fetched, blocking};
use crate::config::Settings;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Source {
    client: Client,
    home: TimeZone,
}

impl Source {
    pub(crate) fn open(settings: &Settings, context: &Context) -> Result<Self> {
        Ok(Self {
            client: Client::new(settings, context)?,
            home: settings.home()?,
        })
    }

    /// Fetches a calendar and reads it, unless it is the one of `known`.
    async fn calendar(
        &self,
        calendar: &CalendarRef,
        known: Option<&Bookmark>,
    ) -> Result<Option<(Calendar, Bookmark)>> {
        let Fetched::Content(bytes, bookmark) = self.client.fetch(calendar, known).await? else {
            return Ok(None);
        };
        let (home, handle) = (self.home.clone(), calendar.handle());
        let read = blocking(move || Calendar::read(&bytes, home, &handle)).await?;
        Ok(Some((read, bookmark)))
    }

    async fn finding(&self, calendar: &CalendarRef) -> Finding {
        let (severity, message) = match self.calendar(calendar, None).await {
            Ok(Some((read, _))) => match read.summary() {
                (good, _, None) => (Severity::Passed, format!("{good} events and series")),
                (good, broken, Some(first)) => (
                    Severity::Warning,
                    format!("{good} events and series, and {broken} that cannot be read; {first}"),
                ),
            },
            Ok(None) => (Severity::Unknown, "nothing was read".to_owned()),
            Err(error) => (Severity::Failed, error.to_string()),
        };
        Finding {
            name: "calendar".to_owned(),
            severity,
            message,
            calendar: Some(calendar.clone()),
        }
    }
}

fn primary(address: &Address) -> Result<CalendarRef> {
    CalendarRef::primary(address.as_str()).map_err(|error| Error::config(error.to_string()))
}

#[async_trait]
impl Connection for Source {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let mut calendars = scope.calendars;
        match self.client.single() {
            // There is no other way to find out than to read the one calendar.
            Some(address) if calendars.is_empty() => calendars.push(primary(address)?),
            Some(_) => {}
            None => match self.client.list().await {
                Ok(files) if files.is_empty() => report.push(
                    "reachable",
                    Severity::Warning,
                    "the folder in `path` has no .ics file",
                ),
                Ok(files) => report.push(
                    "reachable",
                    Severity::Passed,
                    format!("{} .ics files in the folder", files.len()),
                ),
                Err(error) => report.push("reachable", Severity::Failed, error.to_string()),
            },
        }
        for calendar in &calendars {
            report.findings.push(self.finding(calendar).await);
        }
        Ok(report)
    }

    async fn roster(&self) -> Result<Roster> {
        let mut roster = Roster::default();
        let entry = |address: &Address| {
            Ok::<_, Error>(CalendarEntry {
                calendar: primary(address)?,
                kind: CalendarKind::Person,
            })
        };
        if let Some(address) = self.client.single() {
            roster.entries.push(entry(address)?);
            return Ok(roster);
        }
        let mut seen = HashSet::new();
        for file in self.client.list().await? {
            let skip = |code: &str, reason: &str| SkippedEntry {
                address: file.name.clone(),
                code: code.to_owned(),
                reason: reason.to_owned(),
            };
            match &file.address {
                None => roster.skipped.push(skip(
                    "ical.file-name",
                    "the file's name is no address; name it after the mailbox",
                )),
                Some(address) if !seen.insert(address.folded()) => roster.skipped.push(skip(
                    "3201",
                    "two files are named after one mailbox; remove one",
                )),
                Some(address) => roster.entries.push(entry(address)?),
            }
        }
        Ok(roster)
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }
}

#[async_trait]
impl CalendarSource for Source {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        let known = match &request.cursor {
            Some(cursor) => Some(Bookmark::from_cursor(cursor)?),
            None => None,
        };
        // The same file holds other occurrences for another window: only what the core knows whole may be
        // left untold.
        let may_skip = !request.full && request.covered.covers(request.window);
        let known = known.filter(|_| may_skip);
        let read = self.calendar(&request.calendar, known.as_ref()).await?;
        let Some((calendar, bookmark)) = read else {
            return Ok(Box::new(Feed {
                changes: Vec::new().into_iter(),
                checkpoint: request.cursor,
            }));
        };
        let (window, fields) = (request.window, request.fields);
        let changes = blocking(move || {
            let mut changes = calendar.changes(window, &fields);
            changes.push(Change::Snapshot { covered: window });
            Ok(changes)
        })
        .await?;
        Ok(Box::new(Feed {
            changes: changes.into_iter(),
            checkpoint: bookmark.to_cursor(),
        }))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let Some((read, _)) = self.calendar(calendar, None).await? else {
            return Err(Error::new(
                ErrorKind::Transient,
                Scope::Calendar,
                "ical.nothing",
                "the feed says that nothing changed without being asked",
            ));
        };
        let items = items.to_vec();
        let fields: FieldSet =
            <crate::IcalSource as calbridge_core::connector::Connector>::capabilities()
                .source
                .map(|source| source.fields)
                .unwrap_or_default();
        blocking(move || Ok(items.iter().map(|item| read.item(item, &fields)).collect())).await
    }
}

/// What a file holds, in batches. The cursor comes with the last one: there is no place to resume at before.
struct Feed {
    changes: std::vec::IntoIter<Change>,
    checkpoint: Option<Cursor>,
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        if self.changes.len() == 0 && self.checkpoint.is_none() {
            return Ok(None);
        }
        let changes = self.changes.by_ref().take(max.max(1)).collect();
        let last = self.changes.len() == 0;
        Ok(Some(ChangeBatch {
            changes,
            checkpoint: if last { self.checkpoint.take() } else { None },
            folder: None,
        }))
    }
}
