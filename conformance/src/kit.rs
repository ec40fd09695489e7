//! What the tests work with: the connector, opened as calbridge opens it, and the world behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calbridge_core::clock::FixedClock;
use calbridge_core::connector::{
    CalendarSink, CalendarSource, Capabilities, Connection, ConnectorEntry, Context, Error,
    SinkCapabilities, SourceCapabilities,
};
use calbridge_core::model::{CalendarRef, EventTime, Window};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::world::{Appointment, Cannot, World};

/// A word in everything that is personal: it must not turn up in logs and errors.
pub(crate) const CANARY: &str = "Quillwort";

/// Why a test ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(String),
    Skipped(String),
}

pub(crate) type Done<T = ()> = Result<T, Stop>;

impl From<Cannot> for Stop {
    fn from(cannot: Cannot) -> Self {
        match cannot {
            Cannot::NotOffered(_) => Self::Skipped(cannot.to_string()),
            Cannot::Failed(_) => Self::Failed(cannot.to_string()),
        }
    }
}

pub(crate) fn failed<T>(why: impl Into<String>) -> Done<T> {
    Err(Stop::Failed(why.into()))
}

pub(crate) fn skipped<T>(why: impl Into<String>) -> Done<T> {
    Err(Stop::Skipped(why.into()))
}

/// Fails unless it holds.
macro_rules! ensure {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return crate::kit::failed(format!($($why)*));
        }
    };
}
pub(crate) use ensure;

/// An error where there should be none.
pub(crate) fn unexpected(what: &str, error: &Error) -> Stop {
    Stop::Failed(format!(
        "{what}: {} ({:?}, scope {:?}, code {})",
        error.message, error.kind, error.scope, error.code
    ))
}

/// The connector and its world.
pub(crate) struct Kit {
    pub(crate) entry: &'static ConnectorEntry,
    pub(crate) world: Arc<dyn World>,
    pub(crate) listening: bool,
}

/// The secrets of a world.
#[derive(Debug)]
pub(crate) struct Secrets {
    values: BTreeMap<String, SecretString>,
    /// What to do about one that is not among them.
    otherwise: &'static str,
}

impl Secrets {
    pub(crate) fn of(values: &BTreeMap<String, String>, otherwise: &'static str) -> Self {
        let secret = |(name, value): (&String, &String)| (name.clone(), value.clone().into());
        Self {
            values: values.iter().map(secret).collect(),
            otherwise,
        }
    }
}

impl SecretResolver for Secrets {
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let name = reference.to_string();
        self.values.get(&name).cloned().ok_or_else(|| SecretError {
            reference: name,
            reason: self.otherwise.to_owned(),
        })
    }
}

impl Kit {
    pub(crate) fn capabilities(&self) -> Done<Capabilities> {
        self.entry
            .capabilities(&self.world.settings())
            .map_err(|error| unexpected("the capabilities with the world's settings", &error))
    }

    pub(crate) fn source_capabilities(&self) -> Done<SourceCapabilities> {
        match self.capabilities()?.source {
            Some(source) => Ok(source),
            None => skipped("the connector is no source"),
        }
    }

    pub(crate) fn sink_capabilities(&self) -> Done<SinkCapabilities> {
        match self.capabilities()?.sink {
            Some(sink) => Ok(sink),
            None => skipped("the connector is no sink"),
        }
    }

    /// Opens a connection with these settings, where waiting for it holds up nobody.
    pub(crate) async fn open_with(
        &self,
        settings: Value,
        secrets: BTreeMap<String, String>,
    ) -> Result<Arc<dyn Connection>, Error> {
        let entry = self.entry;
        let secrets = Secrets::of(&secrets, "the world's `secrets` do not have it");
        let context = Context {
            connection: "conformance".to_owned(),
            clock: Arc::new(FixedClock::new(self.world.now())),
            secrets: Arc::new(secrets),
            shutdown: CancellationToken::new(),
        };
        tokio::task::spawn_blocking(move || entry.open(settings, context))
            .await
            .unwrap_or_else(|_| Err(Error::config("`open` panicked")))
    }

    pub(crate) async fn open(&self) -> Done<Open> {
        self.open_with(self.world.settings(), self.world.secrets())
            .await
            .map(Open)
            .map_err(|error| unexpected("`open` with the world's settings", &error))
    }

    /// A connection that is read.
    pub(crate) async fn open_source(&self) -> Done<(Open, SourceCapabilities)> {
        let capabilities = self.source_capabilities()?;
        Ok((self.open().await?, capabilities))
    }

    /// A connection that is written.
    pub(crate) async fn open_sink(&self) -> Done<(Open, SinkCapabilities)> {
        let capabilities = self.sink_capabilities()?;
        Ok((self.open().await?, capabilities))
    }

    /// The first of the kit's calendars.
    pub(crate) fn calendar(&self) -> Done<CalendarRef> {
        match self.world.calendars().into_iter().next() {
            Some(calendar) => Ok(calendar),
            None => failed("the world has no calendar for the kit"),
        }
    }

    pub(crate) fn zone(&self) -> TimeZone {
        TimeZone::get(self.world.zone()).unwrap_or(TimeZone::UTC)
    }

    /// `hour` o'clock on the wall, so many days after today.
    pub(crate) fn at(&self, days: i32, hour: i8) -> Timestamp {
        let now = self.world.now().to_zoned(self.zone());
        now.date()
            .checked_add(days.days())
            .ok()
            .and_then(|date| date.at(hour, 0, 0, 0).to_zoned(self.zone()).ok())
            .map_or(self.world.now(), |zoned| zoned.timestamp())
    }

    /// An hour from `hour` o'clock, so many days after today.
    pub(crate) fn hour(&self, days: i32, hour: i8) -> EventTime {
        let start = self.at(days, hour);
        EventTime::Timed {
            start,
            end: start + 1.hour(),
            zone: None,
        }
    }

    /// From today on, two months.
    pub(crate) fn window(&self) -> Done<Window> {
        self.days(0, 60)
    }

    pub(crate) fn days(&self, from: i32, to: i32) -> Done<Window> {
        Window::new(self.at(from, 0), self.at(to, 0))
            .map_err(|error| Stop::Failed(format!("the kit's window: {error}")))
    }

    /// An appointment of an hour.
    pub(crate) fn appointment(&self, name: &str, days: i32, hour: i8) -> Appointment {
        Appointment {
            name: name.to_owned(),
            time: self.hour(days, hour),
            subject: format!("{CANARY} {name}"),
            private: false,
            daily: None,
        }
    }
}

/// An open connection.
pub(crate) struct Open(pub(crate) Arc<dyn Connection>);

impl Open {
    pub(crate) fn source(&self) -> Done<&dyn CalendarSource> {
        match self.0.source() {
            Some(source) => Ok(source),
            None => failed("the manifest says that it is a source, and the connection has none"),
        }
    }

    pub(crate) fn sink(&self) -> Done<&dyn CalendarSink> {
        match self.0.sink() {
            Some(sink) => Ok(sink),
            None => failed("the manifest says that it is a sink, and the connection has none"),
        }
    }

    /// Closes it, and tells how long that took.
    pub(crate) async fn close(self) -> Duration {
        let begun = Instant::now();
        let _ = tokio::task::spawn_blocking(move || drop(self.0)).await;
        begun.elapsed()
    }
}

/// A time as it is compared: instants in UTC, or days.
pub(crate) fn when(time: &EventTime) -> String {
    match time {
        EventTime::Timed { start, end, .. } => format!("{start} to {end}"),
        EventTime::AllDay { start, end } => format!("days {start} to {end}"),
        _ => "a time that the kit does not know".to_owned(),
    }
}

pub(crate) fn sorted(times: impl IntoIterator<Item = EventTime>) -> Vec<String> {
    let mut all: Vec<String> = times.into_iter().map(|time| when(&time)).collect();
    all.sort();
    all
}

/// What is in one list and not in the other, in words; empty if they are the same.
pub(crate) fn difference(expected: &[String], found: &[String]) -> String {
    let lacking = |from: &[String], of: &[String]| {
        let mut rest = from.to_vec();
        of.iter()
            .filter(|one| match rest.iter().position(|other| other == *one) {
                Some(at) => {
                    rest.remove(at);
                    false
                }
                None => true,
            })
            .cloned()
            .collect::<Vec<_>>()
    };
    let (missing, surplus) = (lacking(found, expected), lacking(expected, found));
    let mut words = Vec::new();
    if !missing.is_empty() {
        words.push(format!("missing: {}", missing.join("; ")));
    }
    if !surplus.is_empty() {
        words.push(format!("too many: {}", surplus.join("; ")));
    }
    words.join(". ")
}

/// What this process and its children hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// Memory, in bytes.
    pub(crate) memory: u64,
    /// Open files, sockets and the like.
    pub(crate) handles: u64,
}

/// What is held now; none where the system does not tell.
pub(crate) fn held() -> Option<Held> {
    let mut own = vec![std::process::id()];
    let mut held = Held {
        memory: 0,
        handles: 0,
    };
    let all: Vec<(u32, u32, u64)> = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name in brackets may hold anything.
            let rest: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            Some((id, rest.get(1)?.parse().ok()?, rest.get(21)?.parse().ok()?))
        })
        .collect();
    while let Some(id) = own.pop() {
        let pages = all.iter().filter(|one| one.0 == id).map(|one| one.2);
        held.memory += pages.sum::<u64>() * 4096;
        let handles = std::fs::read_dir(format!("/proc/{id}/fd"));
        held.handles += handles.map_or(0, |all| u64::try_from(all.count()).unwrap_or(u64::MAX));
        own.extend(all.iter().filter(|one| one.1 == id).map(|one| one.0));
    }
    Some(held)
}
