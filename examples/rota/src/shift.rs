//! A shift, as the rota keeps it: to an event and back.

use calbridge_core::connector::{Error, ErrorKind, Result, Scope};
use calbridge_core::model::{
    Content, Event, EventKey, EventTime, Field, FieldSet, ItemRef, OriginalStart, ShowAs, SideRef,
};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sheet {
    pub(crate) shifts: Vec<Entry>,
}

/// One entry of a file. An entry that cannot be understood is kept as it is: it is somebody's shift.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Entry {
    Shift(Shift),
    Unreadable(Value),
}

/// One shift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shift {
    /// Names it for good.
    pub(crate) id: String,
    /// Counts its changes.
    #[serde(default)]
    pub(crate) version: u64,
    /// When it begins: an instant (`2026-11-24T07:00:00Z`), or a day (`2026-11-24`).
    pub(crate) start: Moment,
    /// When it ends: an instant, or the day after the last one.
    pub(crate) end: Moment,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// What calbridge matches it by, if calbridge wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) calbridge: Option<EventKey>,
    /// What else the rota keeps beside a shift stays as it is.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

/// An instant, or a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Moment {
    Instant(Timestamp),
    Day(Date),
}

impl TryFrom<String> for Moment {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        // A time without zone is neither: it must not pass for a day.
        if text.contains('T') {
            Ok(Self::Instant(text.parse()?))
        } else {
            Ok(Self::Day(text.parse()?))
        }
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        match moment {
            Moment::Instant(at) => at.to_string(),
            Moment::Day(day) => day.to_string(),
        }
    }
}

impl Shift {
    /// A new shift with what calbridge asks for.
    pub(crate) fn new(id: String, key: EventKey, target: &Content) -> Result<Self> {
        let (start, end) = moments(&target.time)?;
        Ok(Self {
            id,
            version: 1,
            start,
            end,
            title: target.subject.clone(),
            calbridge: Some(key),
            rest: serde_json::Map::new(),
        })
    }

    /// Changes what calbridge may change, and nothing else.
    pub(crate) fn change(&mut self, target: &Content) -> Result<()> {
        (self.start, self.end) = moments(&target.time)?;
        // Absent means "not carried over", never "empty".
        if target.subject.is_some() {
            self.title.clone_from(&target.subject);
        }
        self.version += 1;
        Ok(())
    }

    pub(crate) fn time(&self) -> Result<EventTime> {
        let time = match (self.start, self.end) {
            (Moment::Instant(start), Moment::Instant(end)) => EventTime::timed(start, end, None),
            (Moment::Day(start), Moment::Day(end)) => EventTime::all_day(start, end),
            _ => {
                return Err(unreadable(
                    "it starts with a day and ends with a time, or the other way round",
                ));
            }
        };
        time.map_err(|error| unreadable(&error.to_string()))
    }

    /// What calbridge may see: the time, and of the rest only what was asked for.
    pub(crate) fn content(&self, fields: &FieldSet) -> Result<Content> {
        let mut content = Content::times(self.time()?);
        if fields.contains(Field::Subject) {
            content.subject = Some(self.title.clone().unwrap_or_default());
        }
        Ok(content)
    }

    /// The shift as an event of a source.
    pub(crate) fn event(&self, fields: &FieldSet) -> Result<Event> {
        let mut content = self.content(fields)?;
        // Which events count is decided by free or busy; a shift is always busy.
        content.show_as = Some(ShowAs::Busy);
        Ok(Event {
            key: self.key()?,
            item: self.item()?,
            group: None,
            content,
            cancelled: false,
            origin: None,
        })
    }

    /// What both sides are matched by.
    fn key(&self) -> Result<EventKey> {
        let made_of_id = || EventKey::new(&format!("{}@rota", self.id), None::<OriginalStart>);
        match &self.calbridge {
            Some(key) => Ok(key.clone()),
            None => made_of_id().map_err(|error| unreadable(&error.to_string())),
        }
    }

    pub(crate) fn item(&self) -> Result<ItemRef> {
        ItemRef::new(&self.id, Some(self.version.to_string()))
            .map_err(|error| unreadable(&error.to_string()))
    }

    /// The shift's address for a sink.
    pub(crate) fn remote(&self) -> Result<SideRef> {
        let mut remote = SideRef::new(&self.id).map_err(|error| unreadable(&error.to_string()))?;
        remote.version = Some(self.version.to_string());
        Ok(remote)
    }
}

fn moments(time: &EventTime) -> Result<(Moment, Moment)> {
    match time {
        EventTime::Timed { start, end, .. } => Ok((Moment::Instant(*start), Moment::Instant(*end))),
        EventTime::AllDay { start, end } => Ok((Moment::Day(*start), Moment::Day(*end))),
        // A newer calbridge may know more.
        _ => Err(unreadable(
            "its time is of a kind that this version does not know",
        )),
    }
}

/// One shift cannot be read; the others go on. No title and no name stands in a message: messages are logged.
pub(crate) fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Item,
        "rota.shift",
        format!("a shift cannot be read: {why}; mend it in the rota"),
    )
}
