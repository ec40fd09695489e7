//! What Planner holds: people and rooms, records of external calendars, its own appointments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use jiff::civil::{DateTime, Time};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schema::{EventElement, Operation};

/// Numbers of `CalendarEventReceiptErrorCode` as this server gives them.
///
/// 0, 8, 10, 13, 15 and 16 are known from use. The official list is not public, so which business
/// rejection of 1 to 7 means what is this server's choice; a client must treat all of them alike.
pub mod receipt_code {
    /// Accepted.
    pub const ACCEPTED: i64 = 0;
    /// The address belongs to no case worker and no room. (This server's choice.)
    pub const UNKNOWN_RESOURCE: i64 = 1;
    /// The id is empty or blank. (This server's choice.)
    pub const NO_ID: i64 = 2;
    /// The end lies before the start, on the wall clock. (This server's choice.)
    pub const END_BEFORE_START: i64 = 3;
    /// `PlannerResourceIdentifier` was sent and is not that of the address. (This server's choice.)
    pub const WRONG_RESOURCE: i64 = 4;
    /// `CalendarEventIdentifier` was sent and is not that of the event. (This server's choice.)
    pub const WRONG_EVENT: i64 = 5;
    /// The id is longer than 255 characters. (This server's choice.)
    pub const ID_TOO_LONG: i64 = 6;
    /// Create: there is an event with this address and id already.
    pub const EXISTS: i64 = 8;
    /// Update and delete: there is no event with this address and id.
    pub const NOT_FOUND: i64 = 10;
    /// The appointment is Planner's own; it was Planner that put it into the mailbox.
    pub const PLANNERS_OWN: i64 = 13;
    /// Not processed for a passing reason.
    pub const TRY_AGAIN: i64 = 15;
    /// Not processed for another passing reason.
    pub const TRY_AGAIN_LATER: i64 = 16;
}

/// A case worker or a room (`CalendarResourceType`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Name.
    pub name: String,
    /// Employee or room number, 1 to 64 characters.
    pub rid: String,
    /// Mail address.
    pub email: String,
    /// Planner's own id.
    pub id: Uuid,
    /// At most five: weekday from 1 (Monday), begin and end of work.
    pub working_hours: Vec<(u8, Time, Time)>,
    /// Free text.
    pub description: Option<String>,
    /// A person rather than a room.
    pub case_worker: bool,
}

impl Resource {
    /// A case worker with an id derived from the address and usual working hours.
    #[must_use]
    pub fn case_worker(name: &str, email: &str) -> Self {
        let rid: String = email.chars().take_while(|c| *c != '@').take(64).collect();
        Self {
            name: name.to_owned(),
            rid: if rid.is_empty() { "-".to_owned() } else { rid },
            email: email.to_owned(),
            id: Uuid::new_v5(
                &Uuid::NAMESPACE_URL,
                format!("resource:{}", email.to_lowercase()).as_bytes(),
            ),
            working_hours: (1..=5)
                .map(|day| {
                    (
                        day,
                        Time::constant(8, 0, 0, 0),
                        Time::constant(15, 30, 0, 0),
                    )
                })
                .collect(),
            description: None,
            case_worker: true,
        }
    }

    /// A room with an id derived from the address, without working hours.
    #[must_use]
    pub fn room(name: &str, email: &str) -> Self {
        Self {
            case_worker: false,
            working_hours: Vec::new(),
            ..Self::case_worker(name, email)
        }
    }
}

/// One event that a client keeps in Planner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Record {
    /// `OriginEmailAddress`, as first sent.
    pub mailbox: String,
    /// `OriginSystemIdentifier`, as first sent.
    pub id: String,
    /// Begin, Danish wall clock.
    pub start: DateTime,
    /// End, Danish wall clock.
    pub end: DateTime,
    /// `CalendarEventIdentifier`: Planner's own id.
    pub event: Uuid,
}

/// An appointment that was made in Planner and pushed into the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnAppointment {
    /// Address of the mailbox.
    pub mailbox: String,
    /// The id under which a client sees it in the mailbox.
    pub id: String,
    /// Begin, Danish wall clock.
    pub start: DateTime,
    /// End, Danish wall clock.
    pub end: DateTime,
    /// Planner's own id.
    pub event: Uuid,
}

impl OwnAppointment {
    /// As GetEvents lists it.
    fn listed(&self) -> Record {
        Record {
            mailbox: self.mailbox.clone(),
            id: self.id.clone(),
            start: self.start,
            end: self.end,
            event: self.event,
        }
    }
}

/// What a code scripted by a test applies to.
#[derive(Debug, Clone)]
pub(super) struct ScriptedCode {
    pub(super) code: i64,
    /// `None` is without end.
    pub(super) left: Option<u32>,
}

/// What became of one event of a write.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) code: i64,
    pub(super) message: Option<String>,
    pub(super) resource: Option<Uuid>,
    pub(super) event: Uuid,
    /// Whether the state changed.
    pub(super) effective: bool,
    pub(super) conflict: bool,
}

/// Sorted by address and id, both in lower case: the service ignores letter case in both.
type Key = (String, String);

fn key(mailbox: &str, id: &str) -> Key {
    (mailbox.to_lowercase(), id.to_lowercase())
}

/// What one mailbox has, in the order of ids. Towns of thousands of people are kept.
fn of<'a, T>(
    all: &'a BTreeMap<Key, T>,
    mailbox: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a T)> {
    all.range((mailbox.to_owned(), String::new())..)
        .take_while(move |(key, _)| key.0 == mailbox)
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// In the order in which they are listed.
    resources: Vec<Resource>,
    /// Planner's own id of who has an address (in lower case); of two the first.
    by_address: HashMap<String, Uuid>,
    records: BTreeMap<Key, Record>,
    own: BTreeMap<Key, OwnAppointment>,
    /// By id in lower case.
    pub(super) codes_by_id: HashMap<String, ScriptedCode>,
    /// By number of the event over all writes, from 1.
    pub(super) codes_by_number: HashMap<u64, i64>,
    /// By mailbox in lower case, and begin.
    pub(super) codes_by_start: HashMap<(String, DateTime), i64>,
    pub(super) events_seen: u64,
    made: u64,
}

impl State {
    pub(super) fn with_resources(resources: Vec<Resource>) -> Self {
        let mut state = Self::default();
        for resource in resources {
            state.add_resource(resource);
        }
        state
    }

    pub(super) fn add_resource(&mut self, resource: Resource) {
        self.by_address
            .entry(resource.email.to_lowercase())
            .or_insert(resource.id);
        self.resources.push(resource);
    }

    /// Removes everybody with this address and says whether there was one.
    pub(super) fn remove_resource(&mut self, address: &str) -> bool {
        let address = address.to_lowercase();
        self.resources
            .retain(|resource| resource.email.to_lowercase() != address);
        self.by_address.remove(&address).is_some()
    }

    /// Planner's own id of who has the address.
    pub(super) fn resource(&self, address: &str) -> Option<Uuid> {
        self.by_address.get(&address.to_lowercase()).copied()
    }

    pub(super) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Processes one event of a write.
    pub(super) fn write(
        &mut self,
        operation: Operation,
        event: &EventElement,
        forced: Option<i64>,
    ) -> Answer {
        self.events_seen += 1;
        let key = key(&event.mailbox, &event.id);
        let resource = self.resource(&event.mailbox);
        let known = self.records.get(&key).map(|record| record.event);
        let identifier = known
            .or_else(|| self.own.get(&key).map(|own| own.event))
            .unwrap_or(Uuid::nil());
        let scripted = forced.or_else(|| self.scripted(event));
        let code = scripted.unwrap_or_else(|| self.judge(operation, event, &key, resource, known));
        let mut answer = Answer {
            code,
            message: message(code),
            resource,
            event: identifier,
            effective: false,
            conflict: false,
        };
        if scripted.is_some() || code != receipt_code::ACCEPTED {
            return answer;
        }
        answer.effective = true;
        match operation {
            Operation::DeleteEvents => {
                self.records.remove(&key);
            }
            _ => {
                answer.event =
                    self.put(&event.mailbox, &event.id, event.start.wall, event.end.wall);
                answer.conflict = of(&self.own, &key.0)
                    .any(|(_, own)| own.start < event.end.wall && event.start.wall < own.end);
            }
        }
        answer
    }

    fn judge(
        &self,
        operation: Operation,
        event: &EventElement,
        key: &Key,
        resource: Option<Uuid>,
        known: Option<Uuid>,
    ) -> i64 {
        let Some(resource) = resource else {
            return receipt_code::UNKNOWN_RESOURCE;
        };
        if event.id.trim().is_empty() {
            return receipt_code::NO_ID;
        }
        if event.id.chars().count() > 255 {
            return receipt_code::ID_TOO_LONG;
        }
        if self.own.contains_key(key) {
            return receipt_code::PLANNERS_OWN;
        }
        if event.end.wall < event.start.wall {
            return receipt_code::END_BEFORE_START;
        }
        if event.resource.is_some_and(|sent| sent != resource) {
            return receipt_code::WRONG_RESOURCE;
        }
        match (operation, known) {
            (Operation::CreateEvents, Some(_)) => receipt_code::EXISTS,
            (Operation::CreateEvents, None) => receipt_code::ACCEPTED,
            (_, None) => receipt_code::NOT_FOUND,
            (_, Some(known)) if event.event.is_some_and(|sent| sent != known) => {
                receipt_code::WRONG_EVENT
            }
            (_, Some(_)) => receipt_code::ACCEPTED,
        }
    }

    fn scripted(&mut self, event: &EventElement) -> Option<i64> {
        if let Some(code) = self.codes_by_number.remove(&self.events_seen) {
            return Some(code);
        }
        let start = (event.mailbox.to_lowercase(), event.start.wall);
        if let Some(code) = self.codes_by_start.remove(&start) {
            return Some(code);
        }
        let id = event.id.to_lowercase();
        let script = self.codes_by_id.get_mut(&id)?;
        let code = script.code;
        if let Some(left) = &mut script.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.codes_by_id.remove(&id);
            }
        }
        Some(code)
    }

    /// Creates or changes a record and gives Planner's id of it.
    pub(super) fn put(&mut self, mailbox: &str, id: &str, start: DateTime, end: DateTime) -> Uuid {
        let event = self.fresh_id();
        let record = self
            .records
            .entry(key(mailbox, id))
            .or_insert_with(|| Record {
                mailbox: mailbox.to_owned(),
                id: id.to_owned(),
                start,
                end,
                event,
            });
        (record.start, record.end) = (start, end);
        record.event
    }

    pub(super) fn remove(&mut self, mailbox: &str, id: &str) -> bool {
        self.records.remove(&key(mailbox, id)).is_some()
    }

    pub(super) fn put_own(
        &mut self,
        mailbox: &str,
        id: &str,
        start: DateTime,
        end: DateTime,
    ) -> Uuid {
        let event = self.fresh_id();
        let own = OwnAppointment {
            mailbox: mailbox.to_owned(),
            id: id.to_owned(),
            start,
            end,
            event,
        };
        self.own.insert(key(mailbox, id), own);
        event
    }

    pub(super) fn remove_own(&mut self, mailbox: &str, id: &str) -> bool {
        self.own.remove(&key(mailbox, id)).is_some()
    }

    pub(super) fn own(&self) -> impl Iterator<Item = &OwnAppointment> {
        self.own.values()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub(super) fn count(&self) -> usize {
        self.records.len()
    }

    pub(super) fn records_of(&self, mailbox: &str) -> Vec<Record> {
        let mailbox = mailbox.to_lowercase();
        of(&self.records, &mailbox)
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// What GetEvents lists. No addresses means all of them.
    pub(super) fn list(
        &self,
        mailboxes: &[String],
        from: Option<DateTime>,
        to: Option<DateTime>,
        edges: PeriodEdges,
        with_own: bool,
    ) -> Vec<Record> {
        let inside = |start: DateTime| {
            from.is_none_or(|from| start > from || (start == from && edges != PeriodEdges::Open))
                && to.is_none_or(|to| start < to || (start == to && edges == PeriodEdges::Closed))
        };
        let mailboxes: BTreeSet<String> = if mailboxes.is_empty() {
            let keys = self.records.keys().chain(self.own.keys());
            keys.map(|key| key.0.clone()).collect()
        } else {
            let asked = mailboxes.iter();
            asked.map(|mailbox| mailbox.to_lowercase()).collect()
        };
        let mut found: Vec<(&Key, Record)> = Vec::new();
        for mailbox in &mailboxes {
            let records = of(&self.records, mailbox).filter(|(_, record)| inside(record.start));
            found.extend(records.map(|(key, record)| (key, record.clone())));
            let own = of(&self.own, mailbox).filter(|(_, own)| with_own && inside(own.start));
            found.extend(own.map(|(key, own)| (key, own.listed())));
        }
        found.sort_by(|a, b| (&a.0.0, a.1.start, &a.0.1).cmp(&(&b.0.0, b.1.start, &b.0.1)));
        found.into_iter().map(|(_, record)| record).collect()
    }

    /// Ids are derived from a counter, so that two runs of one test give the same.
    fn fresh_id(&mut self) -> Uuid {
        self.made += 1;
        Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            format!("planner event {}", self.made).as_bytes(),
        )
    }
}

fn message(code: i64) -> Option<String> {
    let text = match code {
        receipt_code::ACCEPTED => return None,
        receipt_code::UNKNOWN_RESOURCE => "The address belongs to no calendar resource.",
        receipt_code::NO_ID => "The origin system identifier is empty.",
        receipt_code::END_BEFORE_START => "The event ends before it starts.",
        receipt_code::WRONG_RESOURCE => "The resource identifier is not that of the address.",
        receipt_code::WRONG_EVENT => "The event identifier is not that of the event.",
        receipt_code::ID_TOO_LONG => "The origin system identifier is too long.",
        receipt_code::EXISTS => "The event exists already.",
        receipt_code::NOT_FOUND => "The event does not exist.",
        receipt_code::PLANNERS_OWN => "The appointment originates in Planner.",
        receipt_code::TRY_AGAIN | receipt_code::TRY_AGAIN_LATER => {
            "The event could not be processed now."
        }
        _ => "The event was not accepted.",
    };
    Some(text.to_owned())
}

/// Whether GetEvents lists what starts exactly at an edge of the period that is asked for.
///
/// The contract does not say. No client should depend on any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeriodEdges {
    /// At neither edge: what hides most from a client that asks for no more than it wants to know.
    #[default]
    Open,
    /// At the first, not at the second.
    HalfOpen,
    /// At both.
    Closed,
}

/// Everything that clients keep in Planner, sorted by address, begin and id. Displays as a table
/// with one line per event: address, begin, end, id, separated by tabs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content(pub Vec<Record>);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.0 {
            writeln!(
                f,
                "{}\t{}\t{}\t{}",
                record.mailbox.to_lowercase(),
                record.start,
                record.end,
                record.id
            )?;
        }
        Ok(())
    }
}
