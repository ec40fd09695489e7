//! GetItem, and finding the item that an id names.

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::exchange::access::{Context, folder_id};
use crate::exchange::ids::{ItemKey, read_change_key, read_item_id};
use crate::exchange::item::Item;
use crate::exchange::render::{Style, Subject, calendar_item};
use crate::exchange::shape::Shape;
use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::xml::Element;

/// EWS GetItem.
pub(super) fn get_item(context: &mut Context<'_>, request: &Element) -> Outcome {
    let shape = Shape::read(request.child("m:ItemShape"));
    let ids = request
        .child("m:ItemIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let style = Style {
        profile: context.profile,
        zone: &context.zone,
        list: false,
    };
    let messages = ids.iter().map(|id| {
        let found = target(context, id, false).and_then(|target| subject(context, &target));
        match found {
            Ok(subject) => {
                let item = subject.item();
                let element = calendar_item(
                    &subject,
                    &shape,
                    &style,
                    &folder_id(item.mailbox, item.folder),
                );
                success("GetItem", [Element::new("m:Items").with(element)])
            }
            Err(error) => failure("GetItem", &error),
        }
    });
    Outcome::Answer(answer("GetItem", messages.collect::<Vec<_>>()))
}

/// What an id names: an item, or one occurrence of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) number: u64,
    pub(super) slot: Option<DateTime>,
    /// The change number that the request's ChangeKey stands for.
    pub(super) change: Option<u64>,
}

/// Finds what an id element names, and checks the caller's right to it.
pub(super) fn target(context: &Context<'_>, id: &Element, write: bool) -> Result<Target, EwsError> {
    let change = match id.get("ChangeKey") {
        Some(key) => {
            Some(read_change_key(key).ok_or_else(|| EwsError::of("ErrorInvalidChangeKey"))?)
        }
        None => None,
    };
    let read = |name: &str| {
        id.get(name)
            .and_then(read_item_id)
            .ok_or_else(|| EwsError::of("ErrorInvalidIdMalformed"))
    };
    let (number, slot) = match id.local() {
        "OccurrenceItemId" => {
            let ItemKey::Item(number) = read("RecurringMasterId")? else {
                return Err(EwsError::of("ErrorInvalidIdMalformed"));
            };
            let item = item(context, number, write)?;
            let index = id
                .get("InstanceIndex")
                .and_then(|text| text.trim().parse::<usize>().ok())
                .unwrap_or(0);
            (number, Some(nth(context, item, index)?))
        }
        "RecurringMasterItemId" if context.profile.is_gromox() => {
            return Err(EwsError::new(
                "ErrorInvalidId",
                "RecurringMasterItemId is currently not supported.",
            ));
        }
        "RecurringMasterItemId" => match read("OccurrenceId")? {
            ItemKey::Item(number) | ItemKey::Occurrence(number, _) => (number, None),
        },
        "ItemId" => match read("Id")? {
            ItemKey::Item(number) => (number, None),
            ItemKey::Occurrence(number, slot) => (number, Some(slot)),
        },
        _ => {
            return Err(EwsError::new(
                "ErrorInvalidId",
                "This kind of item id is not supported.",
            ));
        }
    };
    item(context, number, write)?;
    Ok(Target {
        number,
        slot,
        change,
    })
}

fn item<'a>(context: &'a Context<'_>, number: u64, write: bool) -> Result<&'a Item, EwsError> {
    let item = context
        .store
        .item(number)
        .map_err(|_| EwsError::of("ErrorItemNotFound"))?;
    context
        .check(item.mailbox, write)
        .map_err(|error| match error.code.as_str() {
            "ErrorFolderNotFound" => EwsError::of("ErrorAccessDenied"),
            _ => error,
        })?;
    Ok(item)
}

/// The original start of the occurrence number `index`, from 1; deleted ones count.
fn nth(context: &Context<'_>, item: &Item, index: usize) -> Result<DateTime, EwsError> {
    let Some(series) = &item.series else {
        return Err(EwsError::new(
            "ErrorCalendarIsNotRecurringMaster",
            "The item is not a recurring master.",
        ));
    };
    let out_of_range = || EwsError::of("ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange");
    let begin = item.appointment.local_start();
    let far = begin
        .checked_add(jiff::Span::new().years(60))
        .unwrap_or(DateTime::MAX);
    let slots = series.rule.slots(begin, far);
    let position = index.checked_sub(1).ok_or_else(out_of_range)?;
    if context.profile.is_gromox() {
        // Quirk of gromox: deleted occurrences do not count, and too high an index is a corrupt item.
        let mut left = slots
            .into_iter()
            .filter(|slot| !series.deleted.contains(slot));
        return left
            .nth(position)
            .ok_or_else(|| EwsError::of("ErrorItemCorrupt"));
    }
    let slot = slots.get(position).copied().ok_or_else(out_of_range)?;
    if series.deleted.contains(&slot) {
        return Err(EwsError::of(
            "ErrorCalendarOccurrenceIsDeletedFromRecurrence",
        ));
    }
    Ok(slot)
}

/// The item or occurrence behind a target.
pub(super) fn subject<'a>(
    context: &'a Context<'_>,
    target: &Target,
) -> Result<Subject<'a>, EwsError> {
    let item = context
        .store
        .item(target.number)
        .map_err(|_| EwsError::of("ErrorItemNotFound"))?;
    match target.slot {
        None => Ok(Subject::Item(item)),
        Some(slot) => {
            let instance = item
                .instance(slot)
                .ok_or_else(|| EwsError::of("ErrorItemNotFound"))?;
            Ok(Subject::Instance(item, instance))
        }
    }
}

/// All instances of a folder that touch [from, to), and single items: what a calendar shows.
pub(super) fn expanded<'a>(
    items: impl Iterator<Item = &'a Item>,
    from: Timestamp,
    to: Timestamp,
) -> Vec<Subject<'a>> {
    let mut found = Vec::new();
    for item in items.filter(|item| item.appointment.is_appointment()) {
        if item.series.is_some() {
            found.extend(
                item.instances(from, to)
                    .into_iter()
                    .map(|instance| Subject::Instance(item, instance)),
            );
        } else if crate::exchange::item::touches(&item.appointment, from, to) {
            found.push(Subject::Item(item));
        }
    }
    found.sort_by_key(|subject| (subject.appointment().start, subject.item().number));
    found
}
