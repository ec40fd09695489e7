//! What the mailbox holds of the records that are written: found by what was left on them, by their UIDs, or by the
//! ids that were told.

use std::collections::HashMap;

use calbridge_core::connector::{Error, ErrorKind, Result, Write};
use calbridge_core::model::{
    CalendarRef, Content, EventKey, FieldSet, OriginalStart, SideRef, Window,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::body::{self, Term};
use super::mark::{self, Mark};
use crate::map::{Doubts, Mapper, local, nearest_date, to_instant};
use crate::request::{self, FolderTarget, Properties};
use crate::response::{Item, ItemType, WireTime};
use crate::source::Inner;

/// So many terms make one restriction.
const TERMS: usize = 60;
/// How far around its original start an occurrence is looked for.
const AROUND: SignedDuration = SignedDuration::from_hours(26);

/// One item as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) item: Item,
    /// What it holds; nothing if that cannot be described.
    pub(crate) content: Option<Content>,
    /// Its zone.
    pub(crate) zone: Option<TimeZone>,
}

impl Held {
    /// Whether it is an occurrence of a series.
    pub(crate) fn is_occurrence(&self) -> bool {
        matches!(
            self.item.item_type,
            Some(ItemType::Occurrence | ItemType::Exception)
        )
    }

    /// Whether somebody else takes part in it, or called it (EWS `IsMeeting`; MS-OXOCAL `PidLidAppointmentStateFlags`,
    /// where 1 is a meeting and 2 one that was received; an answer that was given, or is awaited).
    pub(crate) fn is_meeting(&self) -> bool {
        self.item.meeting == Some(true)
            || self.item.state.is_some_and(|state| state & 3 != 0)
            || matches!(
                self.item.answer.as_deref(),
                Some("Tentative" | "Accept" | "Decline" | "NoResponseReceived")
            )
    }

    /// The record's address, under the external id that was chosen for it.
    pub(crate) fn remote(&self, id: &str) -> SideRef {
        SideRef {
            id: id.to_owned(),
            assigned: Some(self.item.id.clone()),
            version: self.item.change_key.clone(),
        }
    }

    /// Which record it says it is.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.item.marks.mark.as_deref().and_then(Mark::read)
    }
}

/// The external id of a write's record: that which was chosen for it.
pub(crate) fn record_id(write: &Write) -> &str {
    match &write.remote {
        Some(remote) => &remote.id,
        None => write.key.uid(),
    }
}

/// Reads and finds records of one calendar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) calendar: &'a CalendarRef,
    pub(crate) folder: &'a str,
    /// The fields that are compared.
    pub(crate) fields: &'a FieldSet,
}

impl Records<'_> {
    /// Reads items: one result per id, in order; nothing where there is no such item in the calendar.
    ///
    /// # Errors
    /// As for [`Inner::get_items`].
    pub(crate) async fn read(&self, ids: &[String]) -> Result<Vec<Result<Option<Held>>>> {
        let properties = Properties::record(self.fields);
        let read = self
            .inner
            .get_items(self.calendar, ids, &properties)
            .await?;
        let mut folders: HashMap<String, bool> = HashMap::new();
        let mut held = Vec::with_capacity(read.len());
        for (id, item) in ids.iter().zip(read) {
            held.push(match item {
                Ok(mut item) => {
                    if item.id.is_empty() {
                        item.id.clone_from(id);
                    }
                    let here = self.is_here(&item, &mut folders).await?;
                    Ok(here.then(|| self.describe(item)))
                }
                Err(error) if error.kind == ErrorKind::NotFound || is_no_id(&error) => Ok(None),
                Err(error) => Err(error),
            });
        }
        Ok(held)
    }

    /// Whether an item lies in the calendar and not in another folder, deleted items among them.
    async fn is_here(&self, item: &Item, known: &mut HashMap<String, bool>) -> Result<bool> {
        let Some(own) = &item.folder else {
            return Ok(true);
        };
        if let Some(same) = known.get(own) {
            return Ok(*same);
        }
        let same = self
            .inner
            .is_same_folder(self.calendar, self.folder, own)
            .await?;
        known.insert(own.clone(), same);
        Ok(same)
    }

    fn describe(&self, item: Item) -> Held {
        let doubts = Doubts::default();
        let mapper = Mapper {
            zones: &self.inner.zones,
            fields: self.fields,
            expanded: true,
            doubts: &doubts,
        };
        let zone = mapper.zone_of(&item);
        let content = match item.bad {
            Some(_) => None,
            None => mapper
                .time(&item, zone.as_ref())
                .ok()
                .map(|time| mapper.content(&item, time).only(self.fields)),
        };
        Held {
            item,
            content,
            zone,
        }
    }

    /// The items that any of the terms applies to.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn find(&self, terms: &[Term]) -> Result<Vec<Item>> {
        let target = FolderTarget::Id(self.folder.to_owned());
        let mut found: Vec<Item> = Vec::new();
        for part in terms.chunks(TERMS) {
            let body = body::find(&target, part);
            let address = &self.calendar.address;
            let message = self.inner.client.single(address, &body).await?;
            for item in message.page()?.items {
                let known = found.iter().any(|one| one.id == item.id);
                if item.is_appointment() && !item.id.is_empty() && !known {
                    found.push(item);
                }
            }
        }
        Ok(found)
    }

    /// Finds what the calendar holds of records that no id is known for.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn locate(&self, writes: &[&Write]) -> Result<Vec<Option<String>>> {
        let mut terms = Vec::new();
        for write in writes {
            let id = record_id(write);
            let own = [
                Term::Property(mark::RECORD, mark::digest(id)),
                Term::Uid(mark::uid(id)),
                Term::Uid(write.key.uid().to_owned()),
            ];
            for term in own {
                if !terms.contains(&term) {
                    terms.push(term);
                }
            }
        }
        let found = self.find(&terms).await?;
        let mut located = Vec::with_capacity(writes.len());
        for write in writes {
            located.push(self.choose(write, &found).await?);
        }
        Ok(located)
    }

    /// Which of the found items is the record. One that somebody copied keeps our marks and not the UID.
    async fn choose(&self, write: &Write, found: &[Item]) -> Result<Option<String>> {
        let digest = mark::digest(record_id(write));
        let id = mark::uid(record_id(write));
        let of_uid = |item: &Item, uid: &str| {
            crate::map::uid(item)
                .and_then(|own| EventKey::new(&own, None).ok())
                .zip(EventKey::new(uid, None).ok())
                .is_some_and(|(own, uid)| own == uid)
        };
        let is_marked = |item: &&Item| item.marks.record.as_deref() == Some(digest.as_str());
        let chosen = found
            .iter()
            .find(|item| is_marked(item) && of_uid(item, &id))
            .or_else(|| found.iter().find(is_marked))
            .or_else(|| found.iter().find(|item| of_uid(item, &id)));
        if let Some(item) = chosen {
            return Ok(Some(item.id.clone()));
        }
        let series = found
            .iter()
            .find(|item| item.is_master() && of_uid(item, write.key.uid()));
        match (series, write.key.original()) {
            (Some(series), Some(original)) => self.occurrence(series, original).await,
            _ => Ok(None),
        }
    }

    /// The occurrence of a series that the mailbox holds, by its original start; nothing if it was deleted, or if the
    /// server does not expand series.
    async fn occurrence(&self, series: &Item, original: OriginalStart) -> Result<Option<String>> {
        let times = FieldSet::times();
        let properties = Properties::series(&times);
        let ids = [series.id.clone()];
        let read = self
            .inner
            .get_items(self.calendar, &ids, &properties)
            .await?;
        let Some(Ok(master)) = read.into_iter().next() else {
            return Ok(None);
        };
        let zone = self
            .inner
            .zones
            .find(master.zone_id.as_deref(), master.zone.as_ref())
            .or_else(|| self.inner.zones.home().cloned())
            .unwrap_or(TimeZone::UTC);
        let changed = master
            .exceptions
            .iter()
            .find(|one| one.original.is_some_and(|at| is_at(at, original, &zone)));
        if let Some(changed) = changed {
            return Ok(Some(changed.id.clone()).filter(|id| !id.is_empty()));
        }
        if master.deleted.iter().any(|at| is_at(*at, original, &zone)) {
            return Ok(None);
        }
        let Some(window) = around(original, &zone) else {
            return Ok(None);
        };
        let body = request::calendar_view(self.folder, &Properties::view(&times), window);
        let message = self
            .inner
            .client
            .single(&self.calendar.address, &body)
            .await?;
        let uid = crate::map::uid(&master);
        Ok(message
            .view()?
            .items
            .into_iter()
            .filter(|item| !item.is_master() && crate::map::uid(item) == uid)
            .find(|item| {
                item.recurrence_id
                    .is_some_and(|at| is_at(at, original, &zone))
            })
            .map(|item| item.id))
    }
}

/// Whether a told time names the occurrence.
fn is_at(at: WireTime, original: OriginalStart, zone: &TimeZone) -> bool {
    match original {
        OriginalStart::Instant(instant) => to_instant(zone, at) == Some(instant),
        OriginalStart::Date(date) => nearest_date(local(zone, at)) == Some(date),
    }
}

fn around(original: OriginalStart, zone: &TimeZone) -> Option<Window> {
    let at: Timestamp = match original {
        OriginalStart::Instant(at) => at,
        OriginalStart::Date(date) => zone.to_timestamp(date.at(12, 0, 0, 0)).ok()?,
    };
    Window::new(at.checked_sub(AROUND).ok()?, at.checked_add(AROUND).ok()?).ok()
}

/// What is no id of this server names nothing there.
fn is_no_id(error: &Error) -> bool {
    matches!(
        error.code.as_str(),
        "ews.ErrorInvalidIdMalformed"
            | "ews.ErrorInvalidIdEmpty"
            | "ews.ErrorInvalidId"
            | "ews.item.id"
            | "ews.ErrorInvalidIdNotAnItemAttachmentId"
            | "ews.ErrorInvalidIdStoreObjectIdTooLong"
            | "ews.ErrorInvalidIdXml"
    )
}
