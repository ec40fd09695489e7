//! A world that is described in a file: for vendors without Rust, and for test systems.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use calbridge_core::clock::SystemClock;
use calbridge_core::connector::{
    AttemptToken, Connection, ConnectorEntry, Context, ExternalIds, InventoryRequest, Op, Outcome,
    Write, WriteId,
};
use calbridge_core::model::{CalendarRef, Content, EventKey, EventTime, Field, SideRef, Window};
use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::kit::Secrets;
use crate::world::{Appointment, Cannot, Refused, World};

/// What the file holds (TOML).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorldFile {
    /// Settings of a connection that works, as they stand in a configuration.
    pub settings: Value,
    /// Addresses of calendars that belong to the kit. Everything in them is removed. Two are better than one.
    pub calendars: Vec<String>,
    /// The address of a calendar that the system does not have.
    #[serde(default)]
    pub missing: Option<String>,
    /// References to secrets that stand in the settings (`env:NAME`, ...).
    #[serde(default)]
    pub secrets: Vec<SecretRef>,
    /// Values that the system refuses, by reference. Mind that a real account may be locked by them.
    #[serde(default)]
    pub wrong_secrets: Option<BTreeMap<String, String>>,
    /// Settings of a sign-in that the system refuses although nothing is misspelt: an account without access, a client
    /// certificate that it does not know. What they refer to stands in `secrets`, too.
    #[serde(default)]
    pub refused: Option<Value>,
    /// Settings by which nothing is reached.
    #[serde(default)]
    pub out_of_reach: Option<Value>,
    /// The IANA zone in which the system's users live.
    #[serde(default = "utc")]
    pub zone: String,
    /// How many seconds a test may take.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 1, max = 3600))]
    pub patience: u64,
    /// How many appointments a calendar can be filled with.
    #[serde(default = "two_hundred")]
    pub most: usize,
    /// Programs that change the system behind the connector's back. Without them a connector that is a sink makes its
    /// own appointments.
    #[serde(default)]
    pub commands: Commands,
}

/// Programs, each with its arguments, run in the file's folder. Each is given one JSON document on standard input. Exit
/// code 0: done; 3: the system has no such thing, and the test is skipped; anything else: it failed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Empties a calendar: `{"calendar": ADDRESS}`.
    #[serde(default)]
    pub clear: Option<Vec<String>>,
    /// Makes an appointment, or replaces the one of this name: `{"calendar", "name", "start", "end", "subject",
    /// "private"}`. Start and end are instants in UTC, or dates of whole days (the end is the day after the last).
    #[serde(default)]
    pub put: Option<Vec<String>>,
    /// Removes an appointment: `{"calendar", "name"}`.
    #[serde(default)]
    pub remove: Option<Vec<String>>,
    /// Prints what the calendar holds: `{"calendar"}` to `[{"start", "end"}, ...]`.
    #[serde(default)]
    pub held: Option<Vec<String>>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn a_minute() -> u64 {
    60
}

fn two_hundred() -> usize {
    200
}

/// Why a world cannot be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// An address is none.
    #[error("`{0}` is no address")]
    Address(String),
    /// The zone is unknown.
    #[error("`{0}` is no zone; write an IANA name such as `Europe/Copenhagen`")]
    Zone(String),
    /// There is no calendar for the kit.
    #[error("`calendars` is empty: the kit needs a calendar of its own")]
    NoCalendar,
    /// A secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// A world from a file.
pub struct FileWorld {
    file: WorldFile,
    folder: PathBuf,
    calendars: Vec<CalendarRef>,
    missing: Option<CalendarRef>,
    zone: &'static str,
    secrets: BTreeMap<String, String>,
    entry: &'static ConnectorEntry,
    /// What was made through the connector itself, by calendar and name.
    own: tokio::sync::Mutex<Own>,
}

#[derive(Default)]
struct Own {
    connection: Option<Arc<dyn Connection>>,
    made: HashMap<(String, String), SideRef>,
    writes: u64,
}

#[derive(Default, Serialize)]
struct Ask<'a> {
    calendar: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<bool>,
}

impl<'a> Ask<'a> {
    fn of(calendar: &'a CalendarRef) -> Self {
        Self {
            calendar: calendar.address.as_str(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct Held {
    start: String,
    end: String,
}

impl FileWorld {
    /// # Errors
    /// [`WorldError`].
    pub fn new(
        entry: &'static ConnectorEntry,
        file: WorldFile,
        folder: &Path,
        resolver: &dyn SecretResolver,
    ) -> Result<Self, WorldError> {
        let calendar = |address: &String| {
            CalendarRef::primary(address).map_err(|_| WorldError::Address(address.clone()))
        };
        let calendars = file
            .calendars
            .iter()
            .map(calendar)
            .collect::<Result<Vec<_>, _>>()?;
        if calendars.is_empty() {
            return Err(WorldError::NoCalendar);
        }
        if TimeZone::get(&file.zone).is_err() {
            return Err(WorldError::Zone(file.zone));
        }
        let mut secrets = BTreeMap::new();
        for reference in &file.secrets {
            let value = resolver.resolve(reference)?;
            secrets.insert(reference.to_string(), value.expose_secret().to_owned());
        }
        Ok(Self {
            missing: file.missing.as_ref().map(calendar).transpose()?,
            // One name for as long as the program runs.
            zone: Box::leak(file.zone.clone().into_boxed_str()),
            folder: folder.to_owned(),
            calendars,
            secrets,
            entry,
            file,
            own: tokio::sync::Mutex::default(),
        })
    }

    async fn run(&self, command: &[String], ask: &Ask<'_>) -> Result<Vec<u8>, Cannot> {
        let failed = |why: String| Cannot::Failed(why);
        let Some((program, arguments)) = command.split_first() else {
            return Err(failed("a command of the world's file is empty".to_owned()));
        };
        let input = serde_json::to_vec(ask).map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let program = program.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A program that needs no input may close it early.
                let _ = stdin.write_all(&input);
            }
            child.wait_with_output()
        });
        let done = done.await.map_err(|_| failed("it panicked".to_owned()))?;
        match done {
            Err(error) => Err(failed(format!("`{program}` cannot be run: {error}"))),
            // What a system cannot express is no failure.
            Ok(output) if output.status.code() == Some(3) => {
                Err(Cannot::NotOffered("such an appointment, says the command"))
            }
            Ok(output) if !output.status.success() => {
                Err(failed(format!("`{program}` failed ({})", output.status)))
            }
            Ok(output) => Ok(output.stdout),
        }
    }

    /// Writes through the connector itself.
    async fn write(
        &self,
        calendar: &CalendarRef,
        own: &mut Own,
        op: Op,
        name: &str,
        target: Option<Content>,
        remote: Option<SideRef>,
    ) -> Result<Option<SideRef>, Cannot> {
        let connection = self.connection(own).await?;
        let sink = connection
            .sink()
            .ok_or(Cannot::NotOffered("changing the system without commands"))?;
        let failed = |why: String| {
            Cannot::Failed(format!("making appointments through the connector: {why}"))
        };
        let key = EventKey::new(&format!("{name}@kit"), None)
            .map_err(|error| failed(error.to_string()))?;
        own.writes += 1;
        let chosen = matches!(
            self.entry.manifest().capabilities.sink,
            Some(sink) if matches!(sink.external_ids, ExternalIds::Chosen { .. })
        );
        let write = Write {
            id: WriteId(own.writes),
            op,
            remote: match remote {
                None if chosen => SideRef::new(key.uid()).ok(),
                remote => remote,
            },
            base: target.clone(),
            key,
            target,
            group_version: None,
            token: AttemptToken(format!("world-{}-{}", std::process::id(), own.writes)),
        };
        let report = sink.apply(calendar, std::slice::from_ref(&write)).await;
        let report = report.map_err(|error| failed(error.to_string()))?;
        match report.outcomes.into_iter().next().map(|one| one.outcome) {
            Some(Outcome::Done { remote, .. }) => Ok(remote.or(write.remote)),
            Some(Outcome::Unchanged) => Ok(write.remote),
            other => Err(failed(format!("it came to {other:?}"))),
        }
    }

    async fn connection(&self, own: &mut Own) -> Result<Arc<dyn Connection>, Cannot> {
        if let Some(connection) = &own.connection {
            return Ok(Arc::clone(connection));
        }
        let entry = self.entry;
        let settings = self.file.settings.clone();
        let context = Context {
            connection: "world".to_owned(),
            clock: Arc::new(SystemClock::default()),
            secrets: Arc::new(Secrets::of(
                &self.secrets,
                "name it in `secrets` of the world's file",
            )),
            shutdown: CancellationToken::new(),
        };
        let opened = tokio::task::spawn_blocking(move || entry.open(settings, context)).await;
        let opened = opened.map_err(|_| Cannot::Failed("`open` panicked".to_owned()))?;
        let connection = opened.map_err(|error| Cannot::Failed(error.to_string()))?;
        own.connection = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Removes what the connector lists.
    async fn clear_through_it(&self, calendar: &CalendarRef) -> Result<(), Cannot> {
        let mut own = self.own.lock().await;
        let connection = self.connection(&mut own).await?;
        let Some(sink) = connection.sink() else {
            return Err(Cannot::NotOffered("emptying a calendar without commands"));
        };
        let now = self.now();
        let failed = |why: String| {
            Cannot::Failed(format!("emptying a calendar through the connector: {why}"))
        };
        let window = Window::new(now - (24 * 400).hours(), now + (24 * 800).hours())
            .map_err(|error| failed(error.to_string()))?;
        let request = InventoryRequest {
            calendars: vec![calendar.clone()],
            window,
            now,
        };
        let mut found = Vec::new();
        let feed = sink.inventory(request).await;
        let mut feed = feed.map_err(|error| failed(error.to_string()))?;
        while let Some(page) = feed
            .next()
            .await
            .map_err(|error| failed(error.to_string()))?
        {
            found.extend(page.entries.into_iter().map(|entry| entry.remote));
        }
        for remote in found {
            self.write(
                calendar,
                &mut own,
                Op::Delete,
                "cleared",
                None,
                Some(remote),
            )
            .await?;
        }
        let address = calendar.address.folded();
        own.made.retain(|(of, _), _| *of != address);
        Ok(())
    }
}

#[async_trait]
impl World for FileWorld {
    fn settings(&self) -> Value {
        self.file.settings.clone()
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        self.secrets.clone()
    }

    fn wrong_secrets(&self) -> Option<BTreeMap<String, String>> {
        self.file.wrong_secrets.clone()
    }

    fn refused(&self) -> Vec<Refused> {
        let settings = self.file.refused.clone();
        let refused = settings.map(|settings| Refused {
            what: "the sign-in of `refused`",
            settings,
            secrets: self.secrets.clone(),
        });
        refused.into_iter().collect()
    }

    fn out_of_reach(&self) -> Option<Value> {
        self.file.out_of_reach.clone()
    }

    fn zone(&self) -> &'static str {
        self.zone
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        self.calendars.clone()
    }

    fn missing(&self) -> Option<CalendarRef> {
        self.missing.clone()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.file.patience)
    }

    fn most(&self) -> usize {
        self.file.most
    }

    async fn clear(&self) -> Result<(), Cannot> {
        for calendar in &self.calendars {
            match &self.file.commands.clear {
                Some(command) => {
                    let ask = Ask::of(calendar);
                    self.run(command, &ask).await?;
                }
                None => match self.clear_through_it(calendar).await {
                    // Tests that need a calendar of their own will say so.
                    Ok(()) | Err(Cannot::NotOffered(_)) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    }

    async fn put(&self, calendar: &CalendarRef, appointment: &Appointment) -> Result<(), Cannot> {
        if appointment.daily.is_some() {
            return Err(Cannot::NotOffered("making series"));
        }
        if let Some(command) = &self.file.commands.put {
            let (start, end) = texts(&appointment.time);
            let ask = Ask {
                name: Some(&appointment.name),
                start: Some(start),
                end: Some(end),
                subject: Some(&appointment.subject),
                private: Some(appointment.private),
                ..Ask::of(calendar)
            };
            return self.run(command, &ask).await.map(drop);
        }
        if appointment.private {
            return Err(Cannot::NotOffered("making private appointments"));
        }
        let mut own = self.own.lock().await;
        let id = (calendar.address.folded(), appointment.name.clone());
        let known = own.made.get(&id).cloned();
        let op = if known.is_some() {
            Op::Update
        } else {
            Op::Create
        };
        let mut target = Content::times(appointment.time.clone());
        let capabilities = self.entry.manifest().capabilities;
        if capabilities
            .sink
            .is_some_and(|sink| sink.fields.contains(Field::Subject))
        {
            target.subject = Some(appointment.subject.clone());
        }
        let made = self
            .write(
                calendar,
                &mut own,
                op,
                &appointment.name,
                Some(target),
                known,
            )
            .await?;
        if let Some(remote) = made {
            own.made.insert(id, remote);
        }
        Ok(())
    }

    async fn remove(&self, calendar: &CalendarRef, name: &str) -> Result<(), Cannot> {
        if let Some(command) = &self.file.commands.remove {
            let ask = Ask {
                name: Some(name),
                ..Ask::of(calendar)
            };
            return self.run(command, &ask).await.map(drop);
        }
        let mut own = self.own.lock().await;
        let known = own
            .made
            .remove(&(calendar.address.folded(), name.to_owned()));
        match known {
            Some(remote) => self
                .write(calendar, &mut own, Op::Delete, name, None, Some(remote))
                .await
                .map(drop),
            None => Err(Cannot::NotOffered("removing appointments")),
        }
    }

    async fn held(&self, calendar: &CalendarRef) -> Result<Vec<EventTime>, Cannot> {
        let Some(command) = &self.file.commands.held else {
            return Err(Cannot::NotOffered("looking at what the system holds"));
        };
        let ask = Ask::of(calendar);
        let output = self.run(command, &ask).await?;
        let failed = |why: String| Cannot::Failed(format!("what `held` printed: {why}"));
        let held: Vec<Held> =
            serde_json::from_slice(&output).map_err(|error| failed(error.to_string()))?;
        held.iter().map(|one| time(one).map_err(&failed)).collect()
    }
}

fn texts(time: &EventTime) -> (String, String) {
    match time {
        EventTime::AllDay { start, end } => (start.to_string(), end.to_string()),
        other => {
            let (start, end) = other.span_in(&TimeZone::UTC);
            (start.to_string(), end.to_string())
        }
    }
}

fn time(held: &Held) -> Result<EventTime, String> {
    let parsed = if held.start.contains('T') {
        let instant = |text: &str| text.parse::<Timestamp>().map_err(|error| error.to_string());
        EventTime::timed(instant(&held.start)?, instant(&held.end)?, None)
    } else {
        let date = |text: &str| text.parse().map_err(|error: jiff::Error| error.to_string());
        EventTime::all_day(date(&held.start)?, date(&held.end)?)
    };
    parsed.map_err(|error| error.to_string())
}
