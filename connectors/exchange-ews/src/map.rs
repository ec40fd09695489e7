//! From the wire to the model: one item, one event.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use calbridge_core::connector::{Change, Error, ErrorKind, Scope};
use calbridge_core::model::{
    CalendarRef, Content, Event, EventKey, EventTime, Field, FieldSet, GroupRef, ItemRef,
    OriginalStart, ShowAs,
};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::response::{FreeBusy, Item, ItemType, WireTime};
use crate::zones::{Definition, Zones, iana_name, instant};

/// What became of an item.
#[derive(Debug)]
pub(crate) enum Mapped {
    Event(Event),
    /// A view left out what is needed; the item has to be read by itself.
    NeedsDetails,
    /// It cannot be described.
    Unreadable(Change),
}

/// Maps items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapper<'a> {
    pub(crate) zones: &'a Zones,
    pub(crate) fields: &'a FieldSet,
    /// Whether the items come from a server that is known to expand series. Elsewhere an occurrence of its own
    /// is an item that was invited alone.
    pub(crate) expanded: bool,
    pub(crate) doubts: &'a Doubts,
}

/// How many events were read in a zone that had to be guessed.
#[derive(Debug, Default)]
pub(crate) struct Doubts(AtomicUsize);

impl Doubts {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the operator, once for all events of a reading. What the zones are called may be anything that
    /// somebody wrote, so it is not repeated.
    pub(crate) fn tell(&self, calendar: &CalendarRef) {
        let events = self.0.load(Ordering::Relaxed);
        if events > 0 {
            tracing::warn!(
                calendar = calendar.handle(),
                code = "ews.zone",
                events,
                "Events name a time zone that is not known and not defined with them; they are read in `home_zone`, or in UTC where that is not set. Their times may be off: correct the zone in Outlook."
            );
        }
    }
}

/// Why an item cannot be described, and the code that monitoring sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) code: &'static str,
    pub(crate) why: &'static str,
}

const NO_UID: Unfit = Unfit {
    code: "2958",
    why: "an item has neither an iCalendar UID nor a global object id; it is left as it was. Saving it again in Outlook gives it one",
};
const NO_RECURRENCE_ID: Unfit = Unfit {
    code: "2959",
    why: "an occurrence has no recurrence id, also when it is read by itself; it is left as it was",
};
const NO_TIMES: Unfit = Unfit {
    code: "ews.item.times",
    why: "an item has no start or no end; it is left as it was",
};
const BAD_TIMES: Unfit = Unfit {
    code: "ews.item.times",
    why: "an item ends before it starts, or lies outside the calendar; it is left as it was. Correct it in Outlook",
};
const A_MASTER: Unfit = Unfit {
    code: "ews.item.type",
    why: "the master of a series stands where one of its occurrences should; what is known of the series is kept",
};
pub(crate) const BAD_VALUE: Unfit = Unfit {
    code: "ews.item.value",
    why: "an item has a value that is not of its type; it is left as it was",
};
const NO_ID: Unfit = Unfit {
    code: "ews.item.id",
    why: "an item has no id",
};

impl Mapper<'_> {
    /// Maps an item that a view or GetItem gave. `detailed`: everything that there is was asked for.
    pub(crate) fn item(&self, item: &Item, detailed: bool) -> Mapped {
        match self.event(item, detailed) {
            Ok(Some(event)) => Mapped::Event(event),
            Ok(None) => Mapped::NeedsDetails,
            Err(unfit) if !detailed && unfit != BAD_TIMES && unfit != NO_ID => Mapped::NeedsDetails,
            Err(unfit) => Mapped::Unreadable(unreadable(item, unfit)),
        }
    }

    fn event(&self, item: &Item, detailed: bool) -> Result<Option<Event>, Unfit> {
        if item.bad.is_some() {
            return Err(BAD_VALUE);
        }
        if item.item_type.is_none() && !detailed {
            return Ok(None);
        }
        let all_day = item.all_day.unwrap_or(false);
        let zone = self.zone_of(item);
        if all_day && zone.is_none() && item.start_wall.is_none() && !detailed {
            return Ok(None);
        }
        let time = self.time(item, zone.as_ref())?;
        let original = match item.item_type {
            Some(ItemType::Occurrence | ItemType::Exception) => {
                match item.recurrence_id.or(item.original_start) {
                    Some(at) => Some(self.original(item, at, zone.as_ref())?),
                    None if detailed && !self.expanded => None,
                    None => return Err(NO_RECURRENCE_ID),
                }
            }
            // A single meeting of somebody else's series goes by its UID alone.
            Some(ItemType::Single) => None,
            Some(ItemType::RecurringMaster) => return Err(A_MASTER),
            Some(ItemType::Other) | None => item
                .recurrence_id
                .map(|at| self.original(item, at, zone.as_ref()))
                .transpose()?,
        };
        let key = key(item, original)?;
        let group = original.is_some().then(|| group_of(&key));
        Ok(Some(Event {
            group,
            item: item_ref(item)?,
            content: self.content(item, time),
            cancelled: item.cancelled.unwrap_or(false),
            origin: None,
            key,
        }))
    }

    /// The zone that an item was made in.
    pub(crate) fn zone_of(&self, item: &Item) -> Option<TimeZone> {
        self.zones.find(item.zone_id.as_deref(), item.zone.as_ref())
    }

    /// Notes that an item's clock is read in a zone that is not its own although it names one.
    pub(crate) fn doubt(&self, item: &Item, zone: Option<&TimeZone>) {
        let names = |zone: &Definition| !zone.id.is_empty() || !zone.name.is_empty();
        if zone.is_none() && (item.zone_id.is_some() || item.zone.as_ref().is_some_and(names)) {
            self.doubts.add();
        }
    }

    /// The zone to read wall clock times in.
    pub(crate) fn zone_or_home(&self, zone: Option<&TimeZone>) -> TimeZone {
        zone.or(self.zones.home()).cloned().unwrap_or(TimeZone::UTC)
    }

    /// When the item takes place.
    pub(crate) fn time(&self, item: &Item, zone: Option<&TimeZone>) -> Result<EventTime, Unfit> {
        let (start, end) = (item.start.ok_or(NO_TIMES)?, item.end.ok_or(NO_TIMES)?);
        let reading = self.zone_or_home(zone);
        if item.all_day.unwrap_or(false) {
            // The author's clock is the surest; else midnights of the item's zone.
            if !matches!(item.start_wall, Some(WireTime::Local(_))) {
                self.doubt(item, zone);
            }
            let day = |wall: Option<WireTime>, at: WireTime| match wall {
                Some(WireTime::Local(wall)) => nearest_date(wall),
                _ => nearest_date(local(&reading, at)),
            };
            let first = day(item.start_wall, start).ok_or(BAD_TIMES)?;
            let after = day(item.end_wall, end).ok_or(BAD_TIMES)?;
            let after = if after > first {
                after
            } else {
                first.checked_add(1.day()).map_err(|_| BAD_TIMES)?
            };
            return EventTime::all_day(first, after).map_err(|_| BAD_TIMES);
        }
        if matches!(start, WireTime::Local(_)) || matches!(end, WireTime::Local(_)) {
            self.doubt(item, zone);
        }
        EventTime::timed(
            to_instant(&reading, start).ok_or(BAD_TIMES)?,
            to_instant(&reading, end).ok_or(BAD_TIMES)?,
            zone.and_then(iana_name),
        )
        .map_err(|_| BAD_TIMES)
    }

    /// The original start: a date for whole days. An exception that was made a whole day in a series with a
    /// time of day keeps its instant.
    fn original(
        &self,
        item: &Item,
        at: WireTime,
        zone: Option<&TimeZone>,
    ) -> Result<OriginalStart, Unfit> {
        let reading = self.zone_or_home(zone);
        let wall = local(&reading, at);
        let whole_days = item.all_day.unwrap_or(false)
            && (item.item_type == Some(ItemType::Occurrence) || wall.time() == Time::midnight());
        if whole_days {
            nearest_date(wall).map(OriginalStart::Date).ok_or(BAD_TIMES)
        } else {
            to_instant(&reading, at)
                .map(OriginalStart::Instant)
                .ok_or(BAD_TIMES)
        }
    }

    /// The fields that were asked for, and free or busy.
    pub(crate) fn content(&self, item: &Item, time: EventTime) -> Content {
        let wants = |field| self.fields.contains(field);
        Content {
            time,
            show_as: Some(show_as(item.free_busy)),
            subject: wants(Field::Subject).then(|| item.subject.clone().unwrap_or_default()),
            location: wants(Field::Location).then(|| item.location.clone().unwrap_or_default()),
            body: wants(Field::Body).then(|| item.body.clone().unwrap_or_default()),
            private: wants(Field::Private).then(|| {
                // Outlook's "Private" box; Personal and Confidential hide no less.
                item.sensitivity
                    .as_deref()
                    .is_some_and(|sensitivity| sensitivity != "Normal")
            }),
            categories: wants(Field::Categories)
                .then(|| item.categories.clone().unwrap_or_default()),
        }
    }
}

/// Free or busy. Every status is reported; which of them count is for the core to say.
fn show_as(status: Option<FreeBusy>) -> ShowAs {
    match status {
        Some(FreeBusy::Free) => ShowAs::Free,
        Some(FreeBusy::Tentative) => ShowAs::Tentative,
        Some(FreeBusy::Busy) => ShowAs::Busy,
        Some(FreeBusy::Oof) => ShowAs::Away,
        Some(FreeBusy::WorkingElsewhere) => ShowAs::Elsewhere,
        Some(FreeBusy::NoData) | None => ShowAs::Unknown,
        Some(FreeBusy::Other) => ShowAs::Other,
    }
}

/// The key: by UID, else by the global object id, which is what the UID would be made of.
pub(crate) fn key(item: &Item, original: Option<OriginalStart>) -> Result<EventKey, Unfit> {
    uid(item)
        .and_then(|uid| EventKey::new(&uid, original).ok())
        .ok_or(NO_UID)
}

/// The UID, or what stands in for it.
pub(crate) fn uid(item: &Item) -> Option<String> {
    if let Some(uid) = &item.uid {
        return Some(uid.clone());
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(item.object_id.as_deref()?)
        .ok()?;
    (!bytes.is_empty()).then(|| bytes.iter().map(|byte| format!("{byte:02X}")).collect())
}

/// The series of a key.
pub(crate) fn group_of(key: &EventKey) -> GroupRef {
    GroupRef {
        id: format!("uid:{}", key.uid()),
        version: None,
    }
}

pub(crate) fn item_ref(item: &Item) -> Result<ItemRef, Unfit> {
    ItemRef::new(item.id.clone(), item.change_key.clone()).map_err(|_| NO_ID)
}

/// The change that says: something is there, keep what is known of it.
pub(crate) fn unreadable(item: &Item, unfit: Unfit) -> Change {
    unreadable_because(
        item,
        Error::new(ErrorKind::Rejected, Scope::Item, unfit.code, unfit.why),
    )
}

/// As [`unreadable`], with an error of the server.
pub(crate) fn unreadable_because(item: &Item, error: Error) -> Change {
    Change::Unreadable {
        item: item_ref(item).ok(),
        uid: uid(item).and_then(|uid| {
            let key = EventKey::new(&uid, None).ok()?;
            Some(key.uid().to_owned())
        }),
        error,
    }
}

/// What a clock in `zone` shows.
pub(crate) fn local(zone: &TimeZone, at: WireTime) -> DateTime {
    match at {
        WireTime::Instant(at) => zone.to_datetime(at),
        WireTime::Local(at) => at,
    }
}

/// The instant; a time without offset is read in `zone`.
pub(crate) fn to_instant(zone: &TimeZone, at: WireTime) -> Option<Timestamp> {
    match at {
        WireTime::Instant(at) => Some(at),
        WireTime::Local(at) => instant(zone, at),
    }
}

/// The date whose midnight is nearest. Whole days begin at midnight; where the zone is not quite the
/// author's, an hour or two lie between.
pub(crate) fn nearest_date(at: DateTime) -> Option<Date> {
    at.checked_add(12.hours()).ok().map(DateTime::date)
}
