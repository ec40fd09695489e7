//! `check` and `roster`.

use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    CalendarSink, CalendarSource, CheckReport, CheckScope, Connection, Context, Error, ErrorKind,
    Finding, Result, Roster, Scope, Severity, SkippedEntry,
};
use calbridge_core::model::{CalendarEntry, CalendarKind, CalendarRef};
use tokio::sync::Mutex;

use crate::files;
use crate::settings::Settings;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) settings: Settings,
    pub(crate) context: Context,
    /// Held while a file is read, changed and replaced.
    pub(crate) writing: Arc<Mutex<()>>,
}

impl Connected {
    pub(crate) fn open(settings: Settings, context: Context) -> Result<Self> {
        // What the schema cannot say is checked here, and the message says what would be right.
        if settings.folder.is_relative() {
            return Err(Error::config("`folder` must be an absolute path"));
        }
        Ok(Self {
            settings,
            context,
            writing: Arc::default(),
        })
    }
}

#[async_trait]
impl Connection for Connected {
    // Answers "why does it not work?" before the first run, and changes nothing.
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let settings = self.settings.clone();
        match blocking(move || files::list(&settings.folder)).await {
            Ok(files) => report.push(
                "reachable",
                Severity::Passed,
                format!("{} people are in the rota", files.len()),
            ),
            Err(error) => report.push("reachable", Severity::Failed, error.to_string()),
        }
        for calendar in scope.calendars {
            let settings = self.settings.clone();
            let path = files::path(&settings.folder, &calendar);
            let (severity, message) =
                match blocking(move || files::read(&path?, settings.max_bytes)).await {
                    Ok(Some((sheet, _))) => {
                        (Severity::Passed, format!("{} shifts", sheet.shifts.len()))
                    }
                    Ok(None) => (
                        Severity::Warning,
                        "the person is not in the rota yet".to_owned(),
                    ),
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

    async fn roster(&self) -> Result<Roster> {
        let settings = self.settings.clone();
        let mut roster = Roster::default();
        for name in blocking(move || files::list(&settings.folder)).await? {
            match CalendarRef::primary(&name) {
                Ok(calendar) => roster.entries.push(CalendarEntry {
                    calendar,
                    kind: CalendarKind::Person,
                }),
                Err(_) => roster.skipped.push(SkippedEntry {
                    address: name,
                    code: "rota.file-name".to_owned(),
                    reason: "the file is not named after an address; rename it".to_owned(),
                }),
            }
        }
        Ok(roster)
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        Some(self)
    }
}

/// Runs file work where it does not hold up others.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        let message = "the work on a file was broken off; the file is whole, old or new";
        Err(Error::new(
            ErrorKind::Transient,
            Scope::Calendar,
            "rota.interrupted",
            message,
        ))
    })
}
