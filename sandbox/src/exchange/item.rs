//! Calendar items: what the store keeps, and what a test or the demo hands in.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::recurrence::SeriesRule;
use super::time::to_instant;
use super::zone::Zone;

/// The message class of appointments.
const APPOINTMENT: &str = "IPM.Appointment";

/// EWS LegacyFreeBusyType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FreeBusy {
    /// Free.
    Free,
    /// Tentative.
    Tentative,
    /// Busy, the default for appointments.
    #[default]
    Busy,
    /// Out of office.
    OutOfOffice,
    /// Working elsewhere (Exchange 2013 and later).
    WorkingElsewhere,
    /// No data.
    NoData,
}

impl FreeBusy {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FreeBusy::Free => "Free",
            FreeBusy::Tentative => "Tentative",
            FreeBusy::Busy => "Busy",
            FreeBusy::OutOfOffice => "OOF",
            FreeBusy::WorkingElsewhere => "WorkingElsewhere",
            FreeBusy::NoData => "NoData",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            FreeBusy::Free,
            FreeBusy::Tentative,
            FreeBusy::Busy,
            FreeBusy::OutOfOffice,
            FreeBusy::WorkingElsewhere,
            FreeBusy::NoData,
        ]
        .into_iter()
        .find(|value| value.as_str() == text)
    }
}

/// EWS SensitivityChoicesType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sensitivity {
    /// Normal.
    #[default]
    Normal,
    /// Personal.
    Personal,
    /// Private.
    Private,
    /// Confidential.
    Confidential,
}

impl Sensitivity {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Sensitivity::Normal => "Normal",
            Sensitivity::Personal => "Personal",
            Sensitivity::Private => "Private",
            Sensitivity::Confidential => "Confidential",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Sensitivity::Normal,
            Sensitivity::Personal,
            Sensitivity::Private,
            Sensitivity::Confidential,
        ]
        .into_iter()
        .find(|value| value.as_str() == text)
    }
}

/// EWS ResponseTypeType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// Unknown: not a meeting.
    #[default]
    Unknown,
    /// The organizer's own copy.
    Organizer,
    /// Tentatively accepted.
    Tentative,
    /// Accepted.
    Accept,
    /// Declined.
    Decline,
    /// Not answered yet.
    NoResponseReceived,
}

impl Answer {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Answer::Unknown => "Unknown",
            Answer::Organizer => "Organizer",
            Answer::Tentative => "Tentative",
            Answer::Accept => "Accept",
            Answer::Decline => "Decline",
            Answer::NoResponseReceived => "NoResponseReceived",
        }
    }
}

/// Somebody with a mail address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// Display name.
    pub name: String,
    /// SMTP address.
    pub address: String,
}

impl Person {
    /// A person.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Person {
            name: name.into(),
            address: address.into(),
        }
    }
}

/// A person who is invited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attendee {
    /// Who.
    pub person: Person,
    /// Their answer.
    pub answer: Answer,
}

/// A named or tagged MAPI property that a client stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extended {
    /// The attributes of t:ExtendedFieldURI, sorted by name.
    pub(crate) path: Vec<(String, String)>,
    pub(crate) values: Vec<String>,
    pub(crate) many: bool,
}

/// What an appointment, or one changed occurrence of a series, holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Appointment {
    /// Subject.
    pub subject: String,
    /// Plain text body.
    pub body: String,
    /// Location.
    pub location: String,
    /// Start instant; of an all-day appointment, midnight in `start_zone`.
    pub start: Timestamp,
    /// End instant, exclusive; of an all-day appointment, midnight in `start_zone`.
    pub end: Timestamp,
    /// The creator's zone, in which a series repeats.
    pub start_zone: Zone,
    /// The zone of the end; nearly always the same.
    pub end_zone: Zone,
    /// Whether it is an all-day appointment.
    pub all_day: bool,
    /// What it does to the owner's free/busy time.
    pub free_busy: FreeBusy,
    /// Who may know about it.
    pub sensitivity: Sensitivity,
    /// Whether the organizer has cancelled the meeting.
    pub cancelled: bool,
    /// Categories.
    pub categories: Vec<String>,
    /// The organizer; the mailbox owner if nobody is named.
    pub organizer: Option<Person>,
    /// Required attendees.
    pub required: Vec<Attendee>,
    /// Optional attendees.
    pub optional: Vec<Attendee>,
    /// Rooms and equipment.
    pub resources: Vec<Attendee>,
    /// The owner's answer.
    pub my_answer: Answer,
    /// iCalendar SEQUENCE.
    pub sequence: u32,
    /// Minutes before the start at which Outlook reminds; `None` without a reminder.
    pub reminder: Option<u32>,
    /// Message class. Any other than an appointment's makes the item a plain message that happens to lie in the
    /// calendar folder, which Exchange allows.
    pub class: String,
    /// Whether it is held online.
    pub online_meeting: bool,
    pub(crate) extended: Vec<Extended>,
}

impl Appointment {
    /// An ordinary busy appointment between two instants.
    pub fn new(subject: impl Into<String>, start: Timestamp, end: Timestamp, zone: &Zone) -> Self {
        Appointment {
            subject: subject.into(),
            body: String::new(),
            location: String::new(),
            start,
            end,
            start_zone: zone.clone(),
            end_zone: zone.clone(),
            all_day: false,
            free_busy: FreeBusy::Busy,
            sensitivity: Sensitivity::Normal,
            cancelled: false,
            categories: Vec::new(),
            organizer: None,
            required: Vec::new(),
            optional: Vec::new(),
            resources: Vec::new(),
            my_answer: Answer::Unknown,
            sequence: 0,
            reminder: None,
            class: APPOINTMENT.to_owned(),
            online_meeting: false,
            extended: Vec::new(),
        }
    }

    /// The start as a wall clock of its zone.
    #[must_use]
    pub fn local_start(&self) -> DateTime {
        self.start_zone.rules().to_datetime(self.start)
    }

    /// The end as a wall clock of the start's zone.
    #[must_use]
    pub fn local_end(&self) -> DateTime {
        self.start_zone.rules().to_datetime(self.end)
    }

    /// Whether it is an appointment at all.
    pub(crate) fn is_appointment(&self) -> bool {
        self.class.starts_with(APPOINTMENT)
    }

    pub(crate) fn is_meeting(&self) -> bool {
        !self.required.is_empty()
            || !self.optional.is_empty()
            || !self.resources.is_empty()
            || self.cancelled
    }

    /// Moves the appointment to another wall-clock start; its length in wall-clock time stays, as in Outlook.
    pub(crate) fn at_slot(&self, slot: DateTime) -> Self {
        let length = self.local_end().duration_since(self.local_start());
        let rules = self.start_zone.rules();
        let start = to_instant(slot, rules).unwrap_or(self.start);
        let end = slot
            .checked_add(length)
            .ok()
            .and_then(|wall| to_instant(wall, rules))
            .unwrap_or(self.end);
        Appointment {
            start,
            // A start in the hour that is skipped in spring keeps its length.
            end: if end > start { end } else { start + length },
            ..self.clone()
        }
    }
}

/// A calendar item to be put into a mailbox.
#[derive(Debug, Clone, PartialEq)]
pub struct NewItem {
    /// Its content; of a series, that of the first occurrence.
    pub appointment: Appointment,
    /// The iCalendar UID; the server makes one like Outlook's where none is given.
    pub uid: Option<String>,
    /// How it repeats.
    pub series: Option<SeriesRule>,
    /// Of an appointment that is one occurrence of a series which the mailbox does not have (somebody was invited to
    /// that one only): the occurrence's original start.
    pub lone_original: Option<Timestamp>,
    /// Where it goes.
    pub folder: Folder,
}

impl NewItem {
    /// A single appointment in the calendar.
    #[must_use]
    pub fn new(appointment: Appointment) -> Self {
        NewItem {
            appointment,
            uid: None,
            series: None,
            lone_original: None,
            folder: Folder::Calendar,
        }
    }

    /// An appointment given by wall-clock times, like `2026-03-05T09:00` to `2026-03-05T10:00`.
    pub fn at(subject: impl Into<String>, start: DateTime, end: DateTime, zone: &Zone) -> Self {
        let first = to_instant(start, zone.rules()).unwrap_or_default();
        let last = to_instant(end, zone.rules()).unwrap_or(first);
        NewItem::new(Appointment::new(subject, first, last, zone))
    }

    /// An all-day appointment over `days` days.
    pub fn all_day(subject: impl Into<String>, first: Date, days: u32, zone: &Zone) -> Self {
        let end = first
            .checked_add(jiff::Span::new().days(i64::from(days)))
            .unwrap_or(first);
        let mut item = NewItem::at(subject, first.at(0, 0, 0, 0), end.at(0, 0, 0, 0), zone);
        item.appointment.all_day = true;
        item.appointment.free_busy = FreeBusy::Free;
        item
    }

    /// Chooses the UID.
    #[must_use]
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// Makes it a series.
    #[must_use]
    pub fn repeating(mut self, rule: impl Into<SeriesRule>) -> Self {
        self.series = Some(rule.into());
        self
    }

    /// Puts it into another folder.
    #[must_use]
    pub fn in_folder(mut self, folder: Folder) -> Self {
        self.folder = folder;
        self
    }

    /// Changes the content.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Appointment)) -> Self {
        change(&mut self.appointment);
        self
    }
}

/// A folder of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Folder {
    /// The root of the whole store.
    StoreRoot,
    /// The root of what users see (msgfolderroot).
    Root,
    /// The inbox; holds nothing here.
    Inbox,
    /// The default calendar.
    Calendar,
    /// A second calendar, made by the user.
    OtherCalendar,
    /// Deleted Items.
    DeletedItems,
    /// A folder inside Deleted Items, like a calendar that was deleted as a whole.
    DeletedSubfolder,
}

impl Folder {
    pub(crate) const ALL: [Folder; 7] = [
        Folder::StoreRoot,
        Folder::Root,
        Folder::Inbox,
        Folder::Calendar,
        Folder::OtherCalendar,
        Folder::DeletedItems,
        Folder::DeletedSubfolder,
    ];

    pub(crate) fn parent(self) -> Option<Folder> {
        match self {
            Folder::StoreRoot => None,
            Folder::Root => Some(Folder::StoreRoot),
            Folder::Inbox | Folder::Calendar | Folder::DeletedItems => Some(Folder::Root),
            Folder::OtherCalendar => Some(Folder::Calendar),
            Folder::DeletedSubfolder => Some(Folder::DeletedItems),
        }
    }

    pub(crate) fn display_name(self) -> &'static str {
        match self {
            Folder::StoreRoot => "Root",
            Folder::Root => "Top of Information Store",
            Folder::Inbox => "Inbox",
            Folder::Calendar => "Calendar",
            Folder::OtherCalendar => "Second calendar",
            Folder::DeletedItems => "Deleted Items",
            Folder::DeletedSubfolder => "Old calendar",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Folder::Calendar | Folder::OtherCalendar | Folder::DeletedSubfolder => {
                "IPF.Appointment"
            }
            Folder::StoreRoot => "",
            _ => "IPF.Note",
        }
    }

    /// The element name of the folder on the wire.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Folder::Calendar | Folder::OtherCalendar | Folder::DeletedSubfolder => {
                "t:CalendarFolder"
            }
            _ => "t:Folder",
        }
    }

    /// The distinguished name (EWS DistinguishedFolderIdNameType), where it has one.
    pub(crate) fn distinguished(self) -> Option<&'static str> {
        match self {
            Folder::StoreRoot => Some("root"),
            Folder::Root => Some("msgfolderroot"),
            Folder::Inbox => Some("inbox"),
            Folder::Calendar => Some("calendar"),
            Folder::DeletedItems => Some("deleteditems"),
            Folder::OtherCalendar | Folder::DeletedSubfolder => None,
        }
    }
}

/// A changed occurrence.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub(crate) appointment: Appointment,
    pub(crate) change: u64,
    pub(crate) modified: Timestamp,
}

/// What a series has beyond its first occurrence. Occurrences are keyed by their original start in wall clock.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) rule: SeriesRule,
    pub(crate) exceptions: BTreeMap<DateTime, Exception>,
    pub(crate) deleted: BTreeSet<DateTime>,
}

/// A stored item.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) number: u64,
    /// The number it had first: it stays when the item moves.
    pub(crate) origin: u64,
    pub(crate) mailbox: usize,
    pub(crate) folder: Folder,
    pub(crate) uid: String,
    pub(crate) change: u64,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) appointment: Appointment,
    pub(crate) series: Option<Series>,
    pub(crate) lone_original: Option<Timestamp>,
}

/// One occurrence of a series: its original start and, where changed, what it became.
pub(crate) struct Instance<'a> {
    pub(crate) slot: DateTime,
    pub(crate) exception: Option<&'a Exception>,
    pub(crate) appointment: Appointment,
}

impl Item {
    /// The instances that touch [from, to): ending before `from` or starting on or after `to` excludes. An instance of
    /// no length at `from` counts.
    pub(crate) fn instances(&self, from: Timestamp, to: Timestamp) -> Vec<Instance<'_>> {
        let Some(series) = &self.series else {
            return Vec::new();
        };
        let until = self.appointment.start_zone.rules().to_datetime(to);
        let until = until
            .checked_add(jiff::SignedDuration::from_hours(24))
            .unwrap_or(until);
        let mut found = Vec::new();
        for slot in series.rule.slots(self.appointment.local_start(), until) {
            if series.deleted.contains(&slot) || series.exceptions.contains_key(&slot) {
                continue;
            }
            let appointment = self.appointment.at_slot(slot);
            if touches(&appointment, from, to) {
                found.push(Instance {
                    slot,
                    exception: None,
                    appointment,
                });
            }
        }
        for (slot, exception) in &series.exceptions {
            if touches(&exception.appointment, from, to) {
                found.push(Instance {
                    slot: *slot,
                    exception: Some(exception),
                    appointment: exception.appointment.clone(),
                });
            }
        }
        found.sort_by_key(|instance| instance.appointment.start);
        found
    }

    /// The instance with this original start, if the series has it and it is not deleted.
    pub(crate) fn instance(&self, slot: DateTime) -> Option<Instance<'_>> {
        let series = self.series.as_ref()?;
        if series.deleted.contains(&slot) {
            return None;
        }
        if let Some(exception) = series.exceptions.get(&slot) {
            return Some(Instance {
                slot,
                exception: Some(exception),
                appointment: exception.appointment.clone(),
            });
        }
        series
            .rule
            .slots(self.appointment.local_start(), slot)
            .contains(&slot)
            .then(|| Instance {
                slot,
                exception: None,
                appointment: self.appointment.at_slot(slot),
            })
    }

    /// The original start of an occurrence as an instant.
    pub(crate) fn slot_instant(&self, slot: DateTime) -> Timestamp {
        to_instant(slot, self.appointment.start_zone.rules()).unwrap_or(self.appointment.start)
    }

    /// The original start in wall clock that belongs to an instant.
    pub(crate) fn slot_of(&self, original_start: Timestamp) -> DateTime {
        self.appointment
            .start_zone
            .rules()
            .to_datetime(original_start)
    }
}

pub(crate) fn touches(appointment: &Appointment, from: Timestamp, to: Timestamp) -> bool {
    let ends_late_enough =
        appointment.end > from || (appointment.start == appointment.end && appointment.end >= from);
    ends_late_enough && appointment.start < to
}
