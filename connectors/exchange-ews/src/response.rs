//! What servers answer: EWS response messages, read into plain values.
//!
//! One shape serves all operations: each `...ResponseMessage` has a class, a code and whatever else the
//! operation gives. Times stay as text with their form recognised ([`WireTime`]); what they mean depends on
//! the item's zone and is worked out in `map`.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use crate::error::WireError;
use crate::recurrence::{Bound, DayMask, Index, Pattern, Recurrence};
use crate::soap::{read_values, take_value};
use crate::xml::{Open, Pull};
use crate::zones::{Definition, DefinitionPeriod, DefinitionRule, RuleDay, Transition};

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
    /// `IndexedPagingOffset`: where the next page begins.
    pub(crate) next_offset: Option<u32>,
}

/// A folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) id: String,
    /// `EffectiveRights/Read`.
    pub(crate) may_read: Option<bool>,
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
                if open.name == "Read" {
                    folder.may_read = Some(boolean(&trimmed(pull)?, "EffectiveRights")?);
                }
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

fn take_id(open: &Open, item: &mut Item) {
    item.id = open.attribute("Id").unwrap_or_default().to_owned();
    item.change_key = open.attribute("ChangeKey").map(str::to_owned);
}

fn item(pull: &mut Pull<'_>, open: &Open) -> Result<Item, WireError> {
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

fn field(pull: &mut Pull<'_>, open: &Open, item: &mut Item) -> Result<(), WireError> {
    match open.name.as_str() {
        "ItemId" => take_id(open, item),
        "ParentFolderId" => item.folder = open.attribute("Id").map(str::to_owned),
        "ItemClass" => item.class = Some(trimmed(pull)?),
        "Subject" => item.subject = Some(pull.text()?),
        "Sensitivity" => item.sensitivity = Some(trimmed(pull)?),
        "Body" => item.body = Some(pull.text()?),
        "Categories" => item.categories = Some(strings(pull)?),
        "LastModifiedTime" => {
            if let WireTime::Instant(at) = time(pull, "LastModifiedTime")? {
                item.modified = Some(at);
            }
        }
        "ExtendedProperty" => extended(pull, item)?,
        "UID" => item.uid = Some(trimmed(pull)?).filter(|uid| !uid.is_empty()),
        "RecurrenceId" => item.recurrence_id = Some(time(pull, "RecurrenceId")?),
        "OriginalStart" => item.original_start = Some(time(pull, "OriginalStart")?),
        "Start" => item.start = Some(time(pull, "Start")?),
        "End" => item.end = Some(time(pull, "End")?),
        "StartWallClock" => item.start_wall = Some(time(pull, "StartWallClock")?),
        "EndWallClock" => item.end_wall = Some(time(pull, "EndWallClock")?),
        "IsAllDayEvent" => item.all_day = Some(boolean(&trimmed(pull)?, "IsAllDayEvent")?),
        "IsCancelled" => item.cancelled = Some(boolean(&trimmed(pull)?, "IsCancelled")?),
        "Location" => item.location = Some(pull.text()?),
        "LegacyFreeBusyStatus" => {
            item.free_busy = Some(match trimmed(pull)?.as_str() {
                "Free" => FreeBusy::Free,
                "Tentative" => FreeBusy::Tentative,
                "Busy" => FreeBusy::Busy,
                "OOF" => FreeBusy::Oof,
                "WorkingElsewhere" => FreeBusy::WorkingElsewhere,
                "NoData" => FreeBusy::NoData,
                _ => FreeBusy::Other,
            });
        }
        "CalendarItemType" => {
            item.item_type = Some(match trimmed(pull)?.as_str() {
                "Single" => ItemType::Single,
                "Occurrence" => ItemType::Occurrence,
                "Exception" => ItemType::Exception,
                "RecurringMaster" => ItemType::RecurringMaster,
                _ => ItemType::Other,
            });
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

fn exception(pull: &mut Pull<'_>) -> Result<Exception, WireError> {
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

fn extended(pull: &mut Pull<'_>, item: &mut Item) -> Result<(), WireError> {
    let mut is_object_id = false;
    let mut value = None;
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "ExtendedFieldURI" => {
                let set = open.attribute("DistinguishedPropertySetId") == Some("Meeting")
                    || open.attribute("PropertySetId").is_some_and(|set| {
                        set.eq_ignore_ascii_case("6ed8da90-450b-101b-98da-00aa003f1305")
                    });
                let id = open.attribute("PropertyId");
                is_object_id = set && matches!(id, Some("35" | "0x23" | "0x0023"));
            }
            "Value" => value = Some(trimmed(pull)?),
            _ => {}
        }
        Ok(())
    })?;
    if is_object_id {
        item.object_id = value.filter(|value| !value.is_empty());
    }
    Ok(())
}

/// A pattern that cannot be understood is a fault of that series, not of the answer.
fn recurrence(pull: &mut Pull<'_>) -> Result<Result<Recurrence, &'static str>, WireError> {
    let mut pattern = None;
    let mut range: Option<(Option<Date>, Bound)> = None;
    let mut wrong = None;
    pull.children::<WireError>(|pull, open| {
        let kind = open.name.clone();
        let mut parts = Parts::default();
        pull.children::<WireError>(|pull, open| {
            let text = trimmed(pull)?;
            match open.name.as_str() {
                "Interval" => parts.interval = text.parse().ok().filter(|n| *n > 0),
                "DaysOfWeek" => parts.days = DayMask::parse(&text),
                "DayOfWeekIndex" => parts.index = Index::parse(&text),
                "DayOfMonth" => parts.day = text.parse().ok().filter(|d| (1..=31).contains(d)),
                "Month" => parts.month = month(&text),
                "FirstDayOfWeek" => parts.first = DayMask::parse(&text).and_then(DayMask::single),
                "StartDate" => parts.start = date(&text),
                "EndDate" => parts.end = date(&text),
                "NumberOfOccurrences" => parts.count = text.parse().ok().filter(|n| *n > 0),
                _ => {}
            }
            Ok(())
        })?;
        match kind.as_str() {
            "NoEndRecurrence" => range = Some((parts.start, Bound::NoEnd)),
            "EndDateRecurrence" => match parts.end {
                Some(end) => range = Some((parts.start, Bound::Until(end))),
                None => wrong = Some("its end date cannot be read"),
            },
            "NumberedRecurrence" => match parts.count {
                Some(count) => range = Some((parts.start, Bound::Count(count))),
                None => wrong = Some("its number of occurrences cannot be read"),
            },
            _ => match parts.pattern(&kind) {
                Some(found) => pattern = Some(found),
                None => wrong = Some("its pattern is none that calbridge knows"),
            },
        }
        Ok(())
    })?;
    Ok(match (wrong, pattern, range) {
        (Some(wrong), _, _) => Err(wrong),
        (None, Some(pattern), Some((Some(start), bound))) => Ok(Recurrence {
            pattern,
            start,
            bound,
        }),
        (None, None, _) => Err("it has no pattern"),
        (None, _, _) => Err("its range cannot be read"),
    })
}

#[derive(Default)]
struct Parts {
    interval: Option<u32>,
    days: Option<DayMask>,
    index: Option<Index>,
    day: Option<i8>,
    month: Option<i8>,
    first: Option<jiff::civil::Weekday>,
    start: Option<Date>,
    end: Option<Date>,
    count: Option<u32>,
}

impl Parts {
    fn pattern(&self, kind: &str) -> Option<Pattern> {
        Some(match kind {
            "DailyRecurrence" => Pattern::Daily {
                interval: self.interval?,
            },
            "WeeklyRecurrence" => Pattern::Weekly {
                interval: self.interval?,
                days: self.days?,
                first: self.first.unwrap_or(jiff::civil::Weekday::Sunday),
            },
            "AbsoluteMonthlyRecurrence" => Pattern::AbsoluteMonthly {
                interval: self.interval?,
                day: self.day?,
            },
            "RelativeMonthlyRecurrence" => Pattern::RelativeMonthly {
                interval: self.interval?,
                days: self.days?,
                index: self.index?,
            },
            "AbsoluteYearlyRecurrence" => Pattern::AbsoluteYearly {
                month: self.month?,
                day: self.day?,
            },
            "RelativeYearlyRecurrence" => Pattern::RelativeYearly {
                month: self.month?,
                days: self.days?,
                index: self.index?,
            },
            _ => return None,
        })
    }
}

/// `TimeZoneDefinitionType`.
fn definition(pull: &mut Pull<'_>, open: &Open) -> Result<Definition, WireError> {
    let mut zone = Definition {
        id: open.attribute("Id").unwrap_or_default().to_owned(),
        name: open.attribute("Name").unwrap_or_default().to_owned(),
        ..Definition::default()
    };
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "Periods" => pull.children::<WireError>(|_, open| {
                zone.periods.push(DefinitionPeriod {
                    id: open.attribute("Id").unwrap_or_default().to_owned(),
                    bias: open
                        .attribute("Bias")
                        .and_then(duration_seconds)
                        .ok_or(WireError::Value("a time zone's bias"))?,
                });
                Ok(())
            })?,
            "TransitionsGroups" => pull.children::<WireError>(|pull, open| {
                let id = open.attribute("Id").unwrap_or_default().to_owned();
                let mut rules = Vec::new();
                pull.children::<WireError>(|pull, open| {
                    rules.push(transition_rule(pull, open)?);
                    Ok(())
                })?;
                zone.groups.push((id, rules));
                Ok(())
            })?,
            "Transitions" => pull.children::<WireError>(|pull, _| {
                let mut group = String::new();
                let mut from = None;
                pull.children::<WireError>(|pull, open| {
                    match open.name.as_str() {
                        "To" => group = trimmed(pull)?,
                        "DateTime" => from = Some(time(pull, "a time zone's transition")?),
                        _ => {}
                    }
                    Ok(())
                })?;
                zone.transitions.push(Transition { group, from });
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(zone)
}

fn transition_rule(pull: &mut Pull<'_>, open: &Open) -> Result<DefinitionRule, WireError> {
    let recurring_day = open.name == "RecurringDayTransition";
    let recurring_date = open.name == "RecurringDateTransition";
    let mut period = String::new();
    let mut offset = 0;
    let (mut month, mut weekday, mut nth, mut day) = (None, None, None, None);
    pull.children::<WireError>(|pull, open| {
        let text = trimmed(pull)?;
        match open.name.as_str() {
            "To" => period = text,
            "TimeOffset" => offset = duration_seconds(&text).unwrap_or_default(),
            "Month" => month = text.parse::<i8>().ok().filter(|m| (1..=12).contains(m)),
            "DayOfWeek" => weekday = DayMask::parse(&text).and_then(DayMask::single),
            "Occurrence" => nth = text.parse::<i8>().ok(),
            "Day" => day = text.parse::<i8>().ok().filter(|d| (1..=31).contains(d)),
            _ => {}
        }
        Ok(())
    })?;
    let when = match (recurring_day, recurring_date, month) {
        (true, _, Some(month)) => match (weekday, nth) {
            (Some(weekday), Some(nth)) => Some((month, RuleDay::Nth(nth, weekday))),
            _ => None,
        },
        (_, true, Some(month)) => day.map(|day| (month, RuleDay::Day(day))),
        _ => None,
    };
    Ok(DefinitionRule {
        period,
        offset,
        when,
    })
}

fn strings(pull: &mut Pull<'_>) -> Result<Vec<String>, WireError> {
    let mut all = Vec::new();
    pull.children::<WireError>(|pull, _| {
        all.push(pull.text()?);
        Ok(())
    })?;
    Ok(all)
}

fn trimmed(pull: &mut Pull<'_>) -> Result<String, WireError> {
    Ok(pull.text()?.trim().to_owned())
}

fn boolean(text: &str, what: &'static str) -> Result<bool, WireError> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(WireError::Value(what)),
    }
}

fn time(pull: &mut Pull<'_>, what: &'static str) -> Result<WireTime, WireError> {
    wire_time(&trimmed(pull)?).ok_or(WireError::Value(what))
}

/// Reads `xs:dateTime` with `Z`, with an offset (with or without colon) or with neither, and any number of
/// fraction digits.
pub(crate) fn wire_time(text: &str) -> Option<WireTime> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(WireTime::Instant(at));
    }
    if text.ends_with(['Z', 'z']) {
        return None;
    }
    // A date alone is no time of day.
    text.contains('T')
        .then(|| text.parse::<DateTime>().ok())
        .flatten()
        .map(WireTime::Local)
}

/// Reads the date part of `xs:date` or `xs:dateTime`; an offset after it means nothing.
pub(crate) fn date(text: &str) -> Option<Date> {
    text.trim().get(..10)?.parse().ok()
}

fn month(text: &str) -> Option<i8> {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let at = NAMES.iter().position(|name| *name == text)?;
    i8::try_from(at + 1).ok()
}

/// `xs:duration` of days, hours, minutes and seconds, in seconds.
fn duration_seconds(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, times) = rest.split_once('T').unwrap_or((rest, ""));
    let mut total: i32 = 0;
    for (part, units) in [
        (days, [('D', 86_400), ('?', 0), ('?', 0)]),
        (times, [('H', 3_600), ('M', 60), ('S', 1)]),
    ] {
        let mut number = String::new();
        for c in part.chars() {
            if c.is_ascii_digit() || c == '.' {
                number.push(c);
                continue;
            }
            let (_, unit) = units.iter().find(|(name, _)| *name == c)?;
            let whole = number.split('.').next().unwrap_or_default();
            total = total.checked_add(whole.parse::<i32>().ok()?.checked_mul(*unit)?)?;
            number.clear();
        }
        if !number.is_empty() {
            return None;
        }
    }
    Some(sign * total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::soap;

    fn wrap(body: &str) -> String {
        format!(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo xmlns:h="x" MajorVersion="15" MinorVersion="2" MajorBuildNumber="1544" MinorBuildNumber="4"/></s:Header><s:Body xmlns:m="m" xmlns:t="t">{body}</s:Body></s:Envelope>"#
        )
    }

    fn messages(body: &str) -> Vec<Message> {
        let envelope = soap::read(&wrap(body), read).unwrap();
        assert!(envelope.version.unwrap().product().contains("2019"));
        envelope.body.unwrap().1
    }

    fn item_of(fields: &str) -> Item {
        let body = format!(
            r#"<m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:CalendarItem>{fields}</t:CalendarItem></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse>"#
        );
        messages(&body).remove(0).items.remove(0)
    }

    #[test]
    fn times_come_in_many_forms() {
        let instant = |text: &str| WireTime::Instant(text.parse().unwrap());
        for (text, means) in [
            ("2026-12-07T08:00:00Z", instant("2026-12-07T08:00:00Z")),
            (
                "2026-12-07T08:00:00.000000Z",
                instant("2026-12-07T08:00:00Z"),
            ),
            (
                "2026-12-07T08:00:12.228117100Z",
                instant("2026-12-07T08:00:12.2281171Z"),
            ),
            ("2026-12-07T09:00:00+01:00", instant("2026-12-07T08:00:00Z")),
            ("2026-12-07T09:00:00+0100", instant("2026-12-07T08:00:00Z")),
            (
                "2026-12-07T09:00:00",
                WireTime::Local("2026-12-07T09:00:00".parse().unwrap()),
            ),
        ] {
            assert_eq!(wire_time(text), Some(means), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-12-07",
            "2026-13-07T08:00:00Z",
            "2026-12-07T25:00:00",
        ] {
            assert_eq!(wire_time(text), None, "{text}");
        }
        for text in [
            "2026-01-05",
            "2026-01-05+01:00",
            "2026-01-05Z",
            "2026-01-05T00:00:00.000000Z",
        ] {
            assert_eq!(date(text), Some("2026-01-05".parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn biases_are_durations() {
        for (text, seconds) in [
            ("-PT1H", -3600),
            ("PT5H", 18_000),
            ("-PT330M", -19_800),
            ("PT2H30M", 9_000),
            ("PT0S", 0),
            ("-PT60M0.0S", -3600),
            ("P1DT1S", 86_401),
        ] {
            assert_eq!(duration_seconds(text), Some(seconds), "{text}");
        }
        for text in ["", "1H", "PT", "PT1", "PTxH"] {
            assert!(
                duration_seconds(text).is_none_or(|seconds| seconds == 0),
                "{text}"
            );
        }
    }

    #[test]
    fn elements_in_any_order_with_repeats_and_strangers() {
        let item = item_of(
            r#"<t:Start>2026-12-07T08:00:00Z</t:Start><t:New><t:Start>1</t:Start></t:New><t:UID> u </t:UID>
            <t:ItemId ChangeKey="c" Id="i"/><t:StartTimeZone Id="A" Name="a"/><t:StartTimeZone Id="A" Name="a"/>
            <t:LegacyFreeBusyStatus>Sleeping</t:LegacyFreeBusyStatus><t:IsAllDayEvent>0</t:IsAllDayEvent>"#,
        );
        assert_eq!(
            (item.id.as_str(), item.change_key.as_deref()),
            ("i", Some("c"))
        );
        assert_eq!(item.uid.as_deref(), Some("u"));
        assert_eq!(item.free_busy, Some(FreeBusy::Other));
        assert_eq!((item.all_day, item.bad), (Some(false), None));
    }

    #[test]
    fn a_bad_value_spoils_its_item_alone() {
        let body = r#"<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Success">
            <m:ResponseCode>NoError</m:ResponseCode><m:RootFolder TotalItemsInView="2" IncludesLastItemInRange="true"><t:Items>
            <t:CalendarItem><t:ItemId Id="a"/><t:ModifiedOccurrences><t:Occurrence><t:Start>never</t:Start></t:Occurrence></t:ModifiedOccurrences><t:UID>x</t:UID></t:CalendarItem>
            <t:CalendarItem><t:ItemId Id="b"/></t:CalendarItem></t:Items></m:RootFolder></m:FindItemResponseMessage></m:ResponseMessages></m:FindItemResponse>"#;
        let message = messages(body).remove(0);
        assert_eq!(
            (message.total, message.includes_last),
            (Some(2), Some(true))
        );
        assert_eq!(message.items[0].bad, Some("ModifiedOccurrences"));
        assert_eq!(
            message.items[0].uid.as_deref(),
            Some("x"),
            "what follows is read on"
        );
        assert_eq!(message.items[1].bad, None);
    }

    #[test]
    fn a_series_with_an_unknown_pattern_is_marked() {
        let recurrence = |inside: &str| {
            item_of(&format!("<t:Recurrence>{inside}</t:Recurrence>"))
                .recurrence
                .unwrap()
        };
        let range =
            "<t:NoEndRecurrence><t:StartDate>2026-01-05+01:00</t:StartDate></t:NoEndRecurrence>";
        let daily = |interval: &str| {
            recurrence(&format!(
                "<t:DailyRecurrence><t:Interval>{interval}</t:Interval></t:DailyRecurrence>{range}"
            ))
        };
        assert!(daily("2").is_ok());
        assert!(daily("0").is_err());
        assert!(daily("-1").is_err());
        assert!(recurrence(range).is_err());
        assert!(recurrence("<t:LunarRecurrence/>").is_err());
        assert!(recurrence(&format!("<t:LunarRecurrence/>{range}")).is_err());
    }

    #[test]
    fn appointments_are_told_from_other_items() {
        for (class, is) in [
            ("IPM.Appointment", true),
            ("ipm.appointment.Live Meeting Request", true),
            ("IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", true),
            ("IPM.Schedule.Meeting.Request", false),
            ("IPM.Note", false),
            ("IPM.AppointmentSnapshot.SkypeTeams.Meeting", false),
        ] {
            let item = Item {
                class: Some(class.to_owned()),
                ..Item::default()
            };
            assert_eq!(item.is_appointment(), is, "{class}");
        }
    }

    fn item_text() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let name = proptest::sample::select(vec![
            "Start",
            "End",
            "UID",
            "Recurrence",
            "DailyRecurrence",
            "WeeklyRecurrence",
            "Interval",
            "DaysOfWeek",
            "NoEndRecurrence",
            "NumberedRecurrence",
            "StartDate",
            "NumberOfOccurrences",
            "StartTimeZone",
            "Periods",
            "Period",
            "TransitionsGroups",
            "TransitionsGroup",
            "RecurringDayTransition",
            "To",
            "TimeOffset",
            "Month",
            "DayOfWeek",
            "Occurrence",
            "ModifiedOccurrences",
            "DeletedOccurrences",
            "IsAllDayEvent",
            "ItemId",
            "ExtendedProperty",
            "ExtendedFieldURI",
            "Value",
            "Categories",
        ]);
        let text = proptest::sample::select(vec![
            "",
            "1",
            "-1",
            "999999999999",
            "2026-12-07T08:00:00Z",
            "9999-12-31T23:59:59Z",
            "-PT99999999H",
            "Monday",
            "true",
            "&amp;",
            "&#x0B;",
            "ø",
        ]);
        (name, text)
            .prop_map(|(name, text)| {
                format!("<t:{name} Id=\"{text}\" Bias=\"{text}\">{text}</t:{name}>")
            })
            .prop_recursive(4, 40, 6, move |inner| {
                let name = proptest::sample::select(vec![
                    "Recurrence",
                    "WeeklyRecurrence",
                    "StartTimeZone",
                    "Periods",
                    "TransitionsGroups",
                    "TransitionsGroup",
                    "RecurringDayTransition",
                    "ModifiedOccurrences",
                    "Occurrence",
                    "DeletedOccurrences",
                ]);
                (name, proptest::collection::vec(inner, 0..6))
                    .prop_map(|(name, inner)| format!("<t:{name}>{}</t:{name}>", inner.concat()))
            })
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(fields in proptest::collection::vec(item_text(), 0..8)) {
            let body = format!(
                "<m:XResponse><m:ResponseMessages><m:x ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:CalendarItem>{}</t:CalendarItem></m:Items></m:x></m:ResponseMessages></m:XResponse>",
                fields.concat()
            );
            let _ = soap::read(&wrap(&body), read);
        }

        #[test]
        fn no_truncation_makes_the_reader_panic(at in 0usize..400) {
            let body = wrap("<m:XResponse><m:ResponseMessages><m:x ResponseClass=\"Error\"><m:ResponseCode>ErrorItemNotFound</m:ResponseCode></m:x></m:ResponseMessages></m:XResponse>");
            let part = body.get(..at.min(body.len())).unwrap_or_default();
            let result = soap::read(part, read);
            proptest::prop_assert!(part.len() == body.len() || result.is_err());
        }
    }

    /// Answers that were captured from a server that is not Microsoft's, where they are at hand.
    #[test]
    fn captured_answers_are_read() {
        let directory =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/ews-wire");
        let Ok(entries) = std::fs::read_dir(&directory) else {
            println!("skipped: there are no captures beside the workspace");
            return;
        };
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            if name.ends_with(".resp.xml") {
                count += 1;
                let envelope =
                    soap::read(&text, read).unwrap_or_else(|error| panic!("{name}: {error}"));
                match envelope.body {
                    Err(fault) => {
                        assert!(name.contains("Fault"), "{name}");
                        assert_eq!(fault.code, "ErrorImpersonateUserDenied");
                    }
                    Ok((operation, messages)) => {
                        assert!(operation.ends_with("Response"), "{name}: {operation}");
                        assert!(
                            !messages.is_empty() || name.contains("Availability"),
                            "{name}"
                        );
                        for message in messages {
                            for item in message
                                .items
                                .iter()
                                .chain(message.changes.iter().map(|change| &change.item))
                            {
                                let folders = name.contains("Hierarchy");
                                assert!(folders || !item.id.is_empty(), "{name}");
                                assert_eq!(item.bad, None, "{name}");
                                assert!(
                                    item.recurrence.as_ref().is_none_or(Result::is_ok),
                                    "{name}"
                                );
                            }
                        }
                    }
                }
            } else if name.ends_with(".resp.http") {
                // Envelopes one after another, with HTTP heads or chunk sizes between.
                for part in text.split("<SOAP:Envelope").skip(1) {
                    count += 1;
                    let end = part.find("</SOAP:Envelope>").unwrap();
                    let document = format!("<SOAP:Envelope{}</SOAP:Envelope>", &part[..end]);
                    soap::read(&document, read).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
            }
        }
        assert!(count >= 29, "{count}");
    }
}
