//! One calendar item, property by property.

use super::recurrence::recurrence;
use super::values::{boolean_if_any, time, time_if_any, trimmed, wall_clock_if_any};
use super::zone::definition;
use super::{Exception, FreeBusy, Item, ItemType, WireTime};
use crate::error::WireError;
use crate::sink::mark;
use crate::xml::{Open, Pull};

pub(super) fn take_id(open: &Open, item: &mut Item) {
    item.id = open.attribute("Id").unwrap_or_default().to_owned();
    item.change_key = open.attribute("ChangeKey").map(str::to_owned);
}

pub(super) fn item(pull: &mut Pull<'_>, open: &Open) -> Result<Item, WireError> {
    let mut item = Item {
        element: open.name.clone(),
        ..Item::default()
    };
    pull.children::<WireError>(|pull, open| match field(pull, open, &mut item) {
        // One bad value is a fault of this item; the others are read on.
        Err(WireError::Value(what)) => {
            item.bad = Some(what);
            Ok(())
        }
        other => other,
    })?;
    Ok(item)
}

pub(super) fn field(pull: &mut Pull<'_>, open: &Open, item: &mut Item) -> Result<(), WireError> {
    match open.name.as_str() {
        "ItemId" => take_id(open, item),
        "ParentFolderId" => item.folder = open.attribute("Id").map(str::to_owned),
        "ItemClass" => item.class = Some(trimmed(pull)?).filter(|class| !class.is_empty()),
        "Subject" => item.subject = Some(pull.text()?),
        "Sensitivity" => {
            item.sensitivity = Some(trimmed(pull)?).filter(|sensitivity| !sensitivity.is_empty());
        }
        "Body" => item.body = Some(pull.text()?),
        "Categories" => item.categories = Some(strings(pull)?),
        "LastModifiedTime" => {
            if let Some(WireTime::Instant(at)) = time_if_any(pull, "LastModifiedTime")? {
                item.modified = Some(at);
            }
        }
        "ExtendedProperty" => extended(pull, item)?,
        "UID" => item.uid = Some(trimmed(pull)?).filter(|uid| !uid.is_empty()),
        "RecurrenceId" => item.recurrence_id = time_if_any(pull, "RecurrenceId")?,
        "OriginalStart" => item.original_start = time_if_any(pull, "OriginalStart")?,
        "Start" => item.start = time_if_any(pull, "Start")?,
        "End" => item.end = time_if_any(pull, "End")?,
        "StartWallClock" => item.start_wall = wall_clock_if_any(pull, "StartWallClock")?,
        "EndWallClock" => item.end_wall = wall_clock_if_any(pull, "EndWallClock")?,
        "IsAllDayEvent" => item.all_day = boolean_if_any(pull, "IsAllDayEvent")?,
        "IsCancelled" => item.cancelled = boolean_if_any(pull, "IsCancelled")?,
        "IsMeeting" => item.meeting = boolean_if_any(pull, "IsMeeting")?,
        "AppointmentState" => item.state = trimmed(pull)?.parse().ok(),
        "MyResponseType" => {
            item.answer = Some(trimmed(pull)?).filter(|answer| !answer.is_empty());
        }
        "Location" => item.location = Some(pull.text()?),
        "LegacyFreeBusyStatus" => {
            item.free_busy = match trimmed(pull)?.as_str() {
                "" => None,
                "Free" => Some(FreeBusy::Free),
                "Tentative" => Some(FreeBusy::Tentative),
                "Busy" => Some(FreeBusy::Busy),
                "OOF" => Some(FreeBusy::Oof),
                "WorkingElsewhere" => Some(FreeBusy::WorkingElsewhere),
                "NoData" => Some(FreeBusy::NoData),
                _ => Some(FreeBusy::Other),
            };
        }
        "CalendarItemType" => {
            item.item_type = match trimmed(pull)?.as_str() {
                "" => None,
                "Single" => Some(ItemType::Single),
                "Occurrence" => Some(ItemType::Occurrence),
                "Exception" => Some(ItemType::Exception),
                "RecurringMaster" => Some(ItemType::RecurringMaster),
                _ => Some(ItemType::Other),
            };
        }
        "StartTimeZoneId" => {
            item.zone_id = Some(trimmed(pull)?).filter(|id| !id.is_empty());
        }
        "StartTimeZone" => {
            let zone = definition(pull, open)?;
            // Some servers send it twice; the fuller one counts.
            if item
                .zone
                .as_ref()
                .is_none_or(|known| known.periods.is_empty())
            {
                item.zone = Some(zone);
            }
        }
        "Recurrence" => item.recurrence = Some(recurrence(pull)?),
        "ModifiedOccurrences" => {
            // Repeated by some servers: the last one counts.
            item.exceptions = Vec::new();
            pull.children::<WireError>(|pull, _| {
                item.exceptions.push(exception(pull)?);
                Ok(())
            })?;
        }
        "DeletedOccurrences" => {
            item.deleted = Vec::new();
            pull.children::<WireError>(|pull, _| {
                pull.children::<WireError>(|pull, open| {
                    if open.name == "Start" {
                        item.deleted.push(time(pull, "DeletedOccurrence")?);
                    }
                    Ok(())
                })
            })?;
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn exception(pull: &mut Pull<'_>) -> Result<Exception, WireError> {
    let mut exception = Exception::default();
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "ItemId" => exception.id = open.attribute("Id").unwrap_or_default().to_owned(),
            "Start" => exception.start = Some(time(pull, "ModifiedOccurrences")?),
            "End" => exception.end = Some(time(pull, "ModifiedOccurrences")?),
            "OriginalStart" => exception.original = Some(time(pull, "ModifiedOccurrences")?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(exception)
}

pub(super) fn extended(pull: &mut Pull<'_>, item: &mut Item) -> Result<(), WireError> {
    let mut property = None;
    let mut value = None;
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "ExtendedFieldURI" => property = Property::of(open),
            "Value" => value = Some(pull.text()?),
            _ => {}
        }
        Ok(())
    })?;
    let value = value.filter(|value| !value.trim().is_empty());
    match property {
        Some(Property::ObjectId) => item.object_id = value.map(|value| value.trim().to_owned()),
        Some(Property::Record) => item.marks.record = value,
        Some(Property::Attempt) => item.marks.attempt = value,
        Some(Property::Mark) => item.marks.mark = value,
        None => {}
    }
    Ok(())
}

/// The extended properties that are asked for.
enum Property {
    /// `PidLidCleanGlobalObjectId`.
    ObjectId,
    Record,
    Attempt,
    Mark,
}

impl Property {
    fn of(open: &Open) -> Option<Self> {
        let is_set = |id: &str| {
            open.attribute("PropertySetId")
                .is_some_and(|set| set.eq_ignore_ascii_case(id))
        };
        if open.attribute("DistinguishedPropertySetId") == Some("Meeting")
            || is_set("6ed8da90-450b-101b-98da-00aa003f1305")
        {
            let id = open.attribute("PropertyId");
            return matches!(id, Some("35" | "0x23" | "0x0023")).then_some(Self::ObjectId);
        }
        if !is_set(mark::PROPERTY_SET) {
            return None;
        }
        match open.attribute("PropertyName")? {
            mark::RECORD => Some(Self::Record),
            mark::ATTEMPT => Some(Self::Attempt),
            mark::MARK => Some(Self::Mark),
            _ => None,
        }
    }
}

pub(super) fn strings(pull: &mut Pull<'_>) -> Result<Vec<String>, WireError> {
    let mut all = Vec::new();
    pull.children::<WireError>(|pull, _| {
        all.push(pull.text()?);
        Ok(())
    })?;
    Ok(all)
}
