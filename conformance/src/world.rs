//! What a connector's author gives the kit: the system behind the connector, and the right to change it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use calbridge_core::model::{CalendarRef, EventTime};
use jiff::Timestamp;
use serde_json::Value;

/// An appointment that the kit puts into the system behind the connector's back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appointment {
    /// What the kit calls it, to change or remove it later. Letters, digits and hyphens.
    pub name: String,
    /// When; of a series: the first occurrence.
    pub time: EventTime,
    /// Its title. The kit's titles hold a canary: a word that must not turn up in logs and errors.
    pub subject: String,
    /// Marked as private.
    pub private: bool,
    /// Repeats each day at the same time on the wall in [`World::zone`].
    pub daily: Option<Daily>,
}

/// A daily series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daily {
    /// How many occurrences.
    pub count: u32,
    /// This occurrence (0: the first) takes place at another time.
    pub moved: Option<(u32, EventTime)>,
    /// This occurrence does not take place.
    pub cancelled: Option<u32>,
}

/// Why the world does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cannot {
    /// This world never can; tests that need it are skipped, and say so.
    #[error("the world does not offer this: {0}")]
    NotOffered(&'static str),
    /// It failed; the test fails.
    #[error("the world failed: {0}")]
    Failed(String),
}

/// A sign-in that the system refuses although nothing in it is misspelt.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// What is refused, in a few words: `a certificate of another authority`.
    pub what: &'static str,
    /// Settings that fit the schema, and that the system does not let in.
    pub settings: Value,
    /// The values of the secrets that they refer to, by reference.
    pub secrets: BTreeMap<String, String>,
}

/// The system behind a connector, as the kit sees it.
///
/// What a world does not offer is left as it is here: the tests that need it are skipped with the reason.
#[async_trait]
pub trait World: Send + Sync {
    /// Settings that work.
    fn settings(&self) -> Value;

    /// The values of the secrets that the settings refer to, by reference. Canaries: none may turn up anywhere.
    fn secrets(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Values that the system refuses.
    fn wrong_secrets(&self) -> Option<BTreeMap<String, String>> {
        None
    }

    /// Sign-ins that the system refuses: an account that has no access, a client certificate that it does not know.
    fn refused(&self) -> Vec<Refused> {
        Vec::new()
    }

    /// Settings by which nothing is reached: an address without a server, a folder that is not there.
    fn out_of_reach(&self) -> Option<Value> {
        None
    }

    /// The present instant, for the connector too. Appointments are made in the days after it.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The IANA zone in which the system's users live.
    fn zone(&self) -> &'static str {
        "UTC"
    }

    /// Calendars that belong to the kit: at least one, two for tests that calendars do not mix. Whatever is in them is
    /// removed.
    fn calendars(&self) -> Vec<CalendarRef>;

    /// A calendar that the system does not have.
    fn missing(&self) -> Option<CalendarRef> {
        None
    }

    /// How long a test may take.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// How many appointments a calendar can be filled with.
    fn most(&self) -> usize {
        1_000
    }

    /// Removes everything from the kit's calendars.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn clear(&self) -> Result<(), Cannot>;

    /// Makes an appointment, or replaces the one of the same name.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn put(&self, calendar: &CalendarRef, appointment: &Appointment) -> Result<(), Cannot> {
        let _ = (calendar, appointment);
        Err(Cannot::NotOffered("making appointments"))
    }

    /// Makes many at once.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn fill(
        &self,
        calendar: &CalendarRef,
        appointments: &[Appointment],
    ) -> Result<(), Cannot> {
        for appointment in appointments {
            self.put(calendar, appointment).await?;
        }
        Ok(())
    }

    /// Removes an appointment.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn remove(&self, calendar: &CalendarRef, name: &str) -> Result<(), Cannot> {
        let _ = (calendar, name);
        Err(Cannot::NotOffered("removing appointments"))
    }

    /// When the records of a calendar take place, whoever made them: what a sink's writes came to, seen from the other
    /// side.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn held(&self, calendar: &CalendarRef) -> Result<Vec<EventTime>, Cannot> {
        let _ = calendar;
        Err(Cannot::NotOffered("looking at what the system holds"))
    }

    /// The system asks everybody to slow down from now on, or no longer.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn throttle(&self, on: bool) -> Result<(), Cannot> {
        let _ = on;
        Err(Cannot::NotOffered("asking to slow down"))
    }

    /// Readings and listings of a calendar fail half-way from now on, or no longer.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        let _ = on;
        Err(Cannot::NotOffered("failing half-way"))
    }

    /// The next write to this calendar that concerns the given time is refused, others are not.
    ///
    /// # Errors
    /// [`Cannot`].
    async fn refuse(&self, calendar: &CalendarRef, time: &EventTime) -> Result<(), Cannot> {
        let _ = (calendar, time);
        Err(Cannot::NotOffered("refusing one write"))
    }
}
