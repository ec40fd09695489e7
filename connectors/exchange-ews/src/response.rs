//! What servers answer: EWS response messages, read into plain values.
//!
//! One shape serves all operations: each `...ResponseMessage` has a class, a code and whatever else the
//! operation gives. Times stay as text with their form recognised ([`WireTime`]); what they mean depends on
//! the item's zone and is worked out in `map`.

mod item;
mod notice;
mod recurrence;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod values;
mod zone;

use calbridge_core::connector::Error;
use jiff::Timestamp;
use jiff::civil::DateTime;

use self::item::{item, take_id};
pub(crate) use self::notice::Notification;
use self::notice::{notification, subscription_ids};
use self::values::{boolean, trimmed};
use crate::error::WireError;
use crate::recurrence::Recurrence;
use crate::soap::{read_values, take_value};
use crate::xml::{Open, Pull};
use crate::zones::Definition;

/// `ResponseClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Class {
    Success,
    Warning,
    #[default]
    Error,
}

/// One `...ResponseMessage`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) class: Class,
    pub(crate) code: String,
    pub(crate) inner: Option<String>,
    pub(crate) back_off_ms: Option<u64>,
    pub(crate) folders: Vec<Folder>,
    pub(crate) items: Vec<Item>,
    pub(crate) sync_state: Option<String>,
    /// `IncludesLastItemInRange`, of SyncFolderItems or of a view.
    pub(crate) includes_last: Option<bool>,
    pub(crate) changes: Vec<SyncChange>,
    /// `TotalItemsInView`.
    pub(crate) total: Option<u64>,
    /// Whether it is a listing at all: an answer without one must not be taken for an empty one.
    pub(crate) listing: bool,
    /// `IndexedPagingOffset`: where the next page begins.
    pub(crate) next_offset: Option<u32>,
    /// The new subscription.
    pub(crate) subscription: Option<String>,
    /// Where a new pull subscription begins.
    pub(crate) watermark: Option<String>,
    pub(crate) notifications: Vec<Notification>,
    /// The subscriptions that an error is about (`ErrorSubscriptionIds`).
    pub(crate) lost: Vec<String>,
    /// `ConnectionStatus`: whether the stream ends with this message.
    pub(crate) closed: bool,
}

impl Message {
    /// The same, if it is a page of a FindItem. An answer without `RootFolder` must not be taken for an empty one.
    pub(crate) fn page(self) -> Result<Self, Error> {
        if self.listing {
            Ok(self)
        } else {
            Err(WireError::Missing("RootFolder").of("FindItem"))
        }
    }

    /// The same, if it lists all that it counts.
    pub(crate) fn view(self) -> Result<Self, Error> {
        let page = self.page()?;
        let listed = page.items.len();
        match page.total {
            Some(counted)
                if page.includes_last != Some(false)
                    && u64::try_from(listed).is_ok_and(|listed| listed < counted) =>
            {
                Err(WireError::Fewer { listed, counted }.of("FindItem"))
            }
            _ => Ok(page),
        }
    }
}

/// A folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) id: String,
    /// `EffectiveRights/Read`.
    pub(crate) may_read: Option<bool>,
    /// `EffectiveRights/CreateContents`.
    pub(crate) may_create: Option<bool>,
}

/// What happened to an item, by SyncFolderItems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Create,
    Update,
    Delete,
    ReadFlag,
}

/// One change of SyncFolderItems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncChange {
    pub(crate) kind: ChangeKind,
    /// Carries the id alone for `Delete` and `ReadFlag`.
    pub(crate) item: Item,
}

/// `CalendarItemType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemType {
    Single,
    Occurrence,
    Exception,
    RecurringMaster,
    Other,
}

/// `LegacyFreeBusyStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FreeBusy {
    Free,
    Tentative,
    Busy,
    Oof,
    WorkingElsewhere,
    NoData,
    Other,
}

/// A date and time as servers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WireTime {
    /// With `Z` or an offset.
    Instant(Timestamp),
    /// Without either: to be read in the item's zone.
    Local(DateTime),
}

/// A calendar item, as far as it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Item {
    /// The element's name: `CalendarItem`, `Message`, ...
    pub(crate) element: String,
    pub(crate) id: String,
    pub(crate) change_key: Option<String>,
    pub(crate) class: Option<String>,
    pub(crate) item_type: Option<ItemType>,
    pub(crate) uid: Option<String>,
    /// CleanGlobalObjectId (property 35 of the Meeting set), base64.
    pub(crate) object_id: Option<String>,
    pub(crate) recurrence_id: Option<WireTime>,
    pub(crate) original_start: Option<WireTime>,
    pub(crate) start: Option<WireTime>,
    pub(crate) end: Option<WireTime>,
    pub(crate) start_wall: Option<WireTime>,
    pub(crate) end_wall: Option<WireTime>,
    pub(crate) all_day: Option<bool>,
    pub(crate) free_busy: Option<FreeBusy>,
    pub(crate) cancelled: Option<bool>,
    pub(crate) zone_id: Option<String>,
    pub(crate) zone: Option<Definition>,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) subject: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) sensitivity: Option<String>,
    pub(crate) categories: Option<Vec<String>>,
    pub(crate) recurrence: Option<Result<Recurrence, &'static str>>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) deleted: Vec<WireTime>,
    /// The property whose value is not of its type.
    pub(crate) bad: Option<&'static str>,
    /// The folder it lies in.
    pub(crate) folder: Option<String>,
    /// `IsMeeting`: somebody else takes part.
    pub(crate) meeting: Option<bool>,
    /// `AppointmentState`: 1 a meeting, 2 received, 4 cancelled.
    pub(crate) state: Option<u32>,
    /// `MyResponseType`.
    pub(crate) answer: Option<String>,
    /// What our sink left on it.
    pub(crate) marks: Marks,
}

/// The values of our own properties.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) record: Option<String>,
    pub(crate) attempt: Option<String>,
    pub(crate) mark: Option<String>,
}

/// An entry of `ModifiedOccurrences`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) id: String,
    pub(crate) start: Option<WireTime>,
    pub(crate) end: Option<WireTime>,
    pub(crate) original: Option<WireTime>,
}

impl Item {
    /// Whether it is the master of a series.
    pub(crate) fn is_master(&self) -> bool {
        self.item_type == Some(ItemType::RecurringMaster)
    }

    /// Whether it is an appointment: IPM.Appointment and its subclasses, and the class of exceptions. A
    /// calendar folder may hold notes, messages and requests too.
    pub(crate) fn is_appointment(&self) -> bool {
        match &self.class {
            Some(class) => {
                let class = class.to_ascii_lowercase();
                class == "ipm.appointment"
                    || class.starts_with("ipm.appointment.")
                    || class.starts_with("ipm.ole.class.{00061055-")
            }
            None => self.element == "CalendarItem",
        }
    }
}

/// Reads the content of an operation's answer.
pub(crate) fn read(pull: &mut Pull<'_>, open: &Open) -> Result<(String, Vec<Message>), WireError> {
    let operation = open.name.clone();
    let mut messages = Vec::new();
    pull.children::<WireError>(|pull, open| {
        if open.name == "ResponseMessages" {
            // The messages' own names differ between servers.
            pull.children::<WireError>(|pull, open| {
                messages.push(message(pull, open)?);
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok((operation, messages))
}

fn message(pull: &mut Pull<'_>, open: &Open) -> Result<Message, WireError> {
    let mut message = Message {
        class: match open.attribute("ResponseClass") {
            Some("Success") => Class::Success,
            Some("Warning") => Class::Warning,
            _ => Class::Error,
        },
        ..Message::default()
    };
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "ResponseCode" => message.code = trimmed(pull)?,
            "MessageXml" => {
                for (name, value) in read_values(pull)? {
                    take_value(&name, &value, &mut message.back_off_ms, &mut message.inner);
                }
            }
            "Folders" => pull.children::<WireError>(|pull, _| {
                message.folders.push(folder(pull)?);
                Ok(())
            })?,
            "Items" => read_items(pull, &mut message.items)?,
            "SubscriptionId" => message.subscription = Some(trimmed(pull)?),
            "Watermark" => message.watermark = Some(trimmed(pull)?),
            "Notification" => message.notifications.push(notification(pull)?),
            "Notifications" => pull.children::<WireError>(|pull, open| {
                if open.name == "Notification" {
                    message.notifications.push(notification(pull)?);
                }
                Ok(())
            })?,
            "ErrorSubscriptionIds" => message.lost = subscription_ids(pull)?,
            "ConnectionStatus" => message.closed = trimmed(pull)? == "Closed",
            "SyncState" => message.sync_state = Some(trimmed(pull)?),
            "IncludesLastItemInRange" => {
                message.includes_last = Some(boolean(&trimmed(pull)?, "IncludesLastItemInRange")?);
            }
            "Changes" => pull.children::<WireError>(|pull, open| {
                if let Some(change) = sync_change(pull, open)? {
                    message.changes.push(change);
                }
                Ok(())
            })?,
            "RootFolder" => {
                message.listing = true;
                message.includes_last = open
                    .attribute("IncludesLastItemInRange")
                    .map(|text| boolean(text, "IncludesLastItemInRange"))
                    .transpose()?;
                message.total = open
                    .attribute("TotalItemsInView")
                    .and_then(|t| t.parse().ok());
                message.next_offset = open
                    .attribute("IndexedPagingOffset")
                    .and_then(|t| t.parse().ok());
                pull.children::<WireError>(|pull, open| {
                    match open.name.as_str() {
                        "Items" => read_items(pull, &mut message.items)?,
                        "Groups" => pull.children::<WireError>(|pull, _| {
                            pull.children::<WireError>(|pull, open| {
                                if open.name == "Items" {
                                    read_items(pull, &mut message.items)?;
                                }
                                Ok(())
                            })
                        })?,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    if message.code.is_empty() {
        return Err(WireError::Missing("a response code"));
    }
    Ok(message)
}

fn folder(pull: &mut Pull<'_>) -> Result<Folder, WireError> {
    let mut folder = Folder::default();
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "FolderId" => folder.id = open.attribute("Id").unwrap_or_default().to_owned(),
            "EffectiveRights" => pull.children::<WireError>(|pull, open| {
                let right = match open.name.as_str() {
                    "Read" => &mut folder.may_read,
                    "CreateContents" => &mut folder.may_create,
                    _ => return Ok(()),
                };
                *right = Some(boolean(&trimmed(pull)?, "EffectiveRights")?);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(folder)
}

fn sync_change(pull: &mut Pull<'_>, open: &Open) -> Result<Option<SyncChange>, WireError> {
    let kind = match open.name.as_str() {
        "Create" => ChangeKind::Create,
        "Update" => ChangeKind::Update,
        "Delete" => ChangeKind::Delete,
        "ReadFlagChange" => ChangeKind::ReadFlag,
        _ => return Ok(None),
    };
    let mut found = None;
    pull.children::<WireError>(|pull, open| {
        match (kind, open.name.as_str()) {
            (_, "ItemId") => {
                let mut item = Item::default();
                take_id(open, &mut item);
                found = Some(item);
            }
            (ChangeKind::Create | ChangeKind::Update, _) => found = Some(item(pull, open)?),
            _ => {}
        }
        Ok(())
    })?;
    let item = found.ok_or(WireError::Missing("a changed item"))?;
    Ok(Some(SyncChange { kind, item }))
}

fn read_items(pull: &mut Pull<'_>, items: &mut Vec<Item>) -> Result<(), WireError> {
    pull.children(|pull, open| {
        items.push(item(pull, open)?);
        Ok(())
    })
}
