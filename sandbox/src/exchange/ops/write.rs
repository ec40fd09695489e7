//! CreateItem, UpdateItem and DeleteItem for calendar items and single occurrences.

use super::fields::{self, Draft};
use super::get_item::{Target, subject, target};
use crate::exchange::access::Context;
use crate::exchange::ids::read_change_key;
use crate::exchange::item::{Folder, NewItem};
use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::store::StoreError;
use crate::exchange::xml::Element;

impl From<StoreError> for EwsError {
    fn from(error: StoreError) -> Self {
        EwsError::of(match error {
            StoreError::NoMailbox => "ErrorNonExistentMailbox",
            StoreError::EndBeforeStart => "ErrorCalendarEndDateIsEarlierThanStartDate",
            StoreError::EmptySeries => "ErrorRecurrenceHasNoOccurrence",
            StoreError::NotASeries => "ErrorCalendarIsNotRecurringMaster",
            _ => "ErrorItemNotFound",
        })
    }
}

fn required(request: &Element, attribute: &str, code: &str) -> Result<(), EwsError> {
    let sentence = format!("{attribute} attribute is required for calendar items.");
    request
        .get(attribute)
        .map(drop)
        .ok_or_else(|| EwsError::new(code, sentence))
}

/// EWS CreateItem.
pub(super) fn create_item(context: &mut Context<'_>, request: &Element) -> Outcome {
    if let Err(error) = required(
        request,
        "SendMeetingInvitations",
        "ErrorSendMeetingInvitationsRequired",
    ) {
        return error.into();
    }
    let items = request
        .child("m:Items")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let messages: Vec<Element> = items
        .iter()
        .enumerate()
        .map(|(at, item)| {
            let made = context
                .refuse(at)
                .and_then(|()| create(context, request, item));
            message("CreateItem", made)
        })
        .collect();
    Outcome::Answer(answer("CreateItem", messages))
}

fn message(operation: &str, result: Result<Element, EwsError>) -> Element {
    match result {
        Ok(id) => {
            let items = Element::new("m:Items").with(Element::new("t:CalendarItem").with(id));
            let conflicts = Element::new("m:ConflictResults").with(Element::text("t:Count", "0"));
            success(
                operation,
                std::iter::once(items).chain((operation == "UpdateItem").then_some(conflicts)),
            )
        }
        Err(error) => failure(operation, &error),
    }
}

fn create(
    context: &mut Context<'_>,
    request: &Element,
    item: &Element,
) -> Result<Element, EwsError> {
    let calendar = Element::new("t:DistinguishedFolderId").attr("Id", "calendar");
    let target = request
        .child("m:SavedItemFolderId")
        .and_then(|id| id.children.first())
        .unwrap_or(&calendar);
    let (mailbox, folder) = context.folder(target, true)?;
    if item.name != "t:CalendarItem" {
        return Err(EwsError::new(
            "ErrorInvalidRequest",
            "Only calendar items can be created here.",
        ));
    }
    if !matches!(
        folder,
        Folder::Calendar | Folder::OtherCalendar | Folder::DeletedSubfolder
    ) {
        return Err(EwsError::new(
            "ErrorCannotCreateCalendarItemInNonCalendarFolder",
            "A calendar item can be created in a calendar folder only.",
        ));
    }
    if context.store.is_full(mailbox) {
        return Err(EwsError::new(
            "ErrorQuotaExceeded",
            "The mailbox has exceeded its quota.",
        ));
    }
    let mut draft = Draft::new(context.store.clock.now(), &context.zone);
    // Zones first: times without an offset are read in them.
    let zone = |field: &&Element| matches!(field.local(), "StartTimeZone" | "EndTimeZone");
    for field in item
        .children
        .iter()
        .filter(zone)
        .chain(item.children.iter().filter(|field| !zone(field)))
    {
        fields::set(&mut draft, field, true)?;
    }
    let (uid, series) = (draft.uid.take(), draft.series.take().flatten());
    let appointment = draft.finish()?;
    if context.refused_starts.contains(&appointment.start) {
        return Err(EwsError::new(
            "ErrorInvalidPropertySet",
            "The start cannot be set to this value.",
        ));
    }
    let new = NewItem {
        appointment,
        uid,
        series,
        lone_original: None,
        folder,
    };
    let number = context.store.create(mailbox, new)?;
    Ok(subject(
        context,
        &Target {
            number,
            slot: None,
            change: None,
        },
    )?
    .item_id())
}

/// EWS UpdateItem.
pub(super) fn update_item(context: &mut Context<'_>, request: &Element) -> Outcome {
    let attribute = "SendMeetingInvitationsOrCancellations";
    if let Err(error) = required(
        request,
        attribute,
        "ErrorSendMeetingInvitationsOrCancellationsRequired",
    ) {
        return error.into();
    }
    let resolution = request.get("ConflictResolution").unwrap_or("AutoResolve");
    let changes = request
        .child("m:ItemChanges")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let messages: Vec<Element> = changes
        .iter()
        .enumerate()
        .map(|(at, change)| {
            let changed = context
                .refuse(at)
                .and_then(|()| update(context, change, resolution));
            message("UpdateItem", changed)
        })
        .collect();
    Outcome::Answer(answer("UpdateItem", messages))
}

fn update(
    context: &mut Context<'_>,
    change: &Element,
    resolution: &str,
) -> Result<Element, EwsError> {
    let id = change
        .children
        .first()
        .ok_or_else(|| EwsError::of("ErrorInvalidRequest"))?;
    let target = target(context, id, true)?;
    let current = subject(context, &target)?;
    check_change_key(
        context,
        &target,
        current.item_id().get("ChangeKey"),
        resolution,
    )?;
    let mut draft = Draft::of(current.appointment(), &context.zone);
    let updates = change
        .child("t:Updates")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    for update in updates {
        apply(&mut draft, update)?;
    }
    let (series, moved) = (draft.series.take(), draft.moved());
    let appointment = draft.finish()?;
    match target.slot {
        Some(slot) => {
            if series.is_some() {
                return Err(EwsError::new(
                    "ErrorInvalidPropertySet",
                    "An occurrence has no recurrence of its own.",
                ));
            }
            let item = context.store.item(target.number)?;
            let (before, after) = item.neighbours(slot);
            if before.is_some_and(|start| appointment.start <= start)
                || after.is_some_and(|start| appointment.start >= start)
            {
                return Err(EwsError::new(
                    "ErrorOccurrenceCrossingBoundary",
                    "An occurrence cannot be moved beyond its neighbours.",
                ));
            }
            context
                .store
                .update_occurrence(target.number, slot, |content| *content = appointment)?;
        }
        None => context.store.update(target.number, |item| {
            item.appointment = appointment;
            match series {
                Some(rule) => item.set_rule(rule),
                None if moved => item.restart(),
                None => Ok(()),
            }
        })?,
    }
    let mut saved = subject(context, &target)?.item_id();
    // The answer names an occurrence the way the request did, even where its id takes another form from now on.
    if let Some(sent) = id.get("Id").filter(|_| target.slot.is_some())
        && let Some((_, value)) = saved.attributes.iter_mut().find(|(name, _)| name == "Id")
    {
        sent.clone_into(value);
    }
    Ok(saved)
}

/// Optimistic locking by ChangeKey; gromox has none.
fn check_change_key(
    context: &Context<'_>,
    target: &Target,
    current: Option<&str>,
    resolution: &str,
) -> Result<(), EwsError> {
    if context.profile.is_gromox() || resolution == "AlwaysOverwrite" {
        return Ok(());
    }
    let Some(named) = target.change else {
        return Err(EwsError::of("ErrorChangeKeyRequiredForWriteOperations"));
    };
    if resolution == "NeverOverwrite" && current.and_then(read_change_key) != Some(named) {
        return Err(EwsError::of("ErrorIrresolvableConflict"));
    }
    Ok(())
}

fn apply(draft: &mut Draft, update: &Element) -> Result<(), EwsError> {
    let path = update
        .children
        .first()
        .ok_or_else(|| EwsError::of("ErrorInvalidRequest"))?;
    if update.local() == "DeleteItemField" {
        return fields::delete(draft, path);
    }
    let mismatch = || {
        EwsError::new(
            "ErrorUpdatePropertyMismatch",
            "The property and the item of a change do not match.",
        )
    };
    let content = update
        .children
        .get(1)
        .map(|item| item.children.as_slice())
        .unwrap_or_default();
    let [field] = content else {
        return Err(mismatch());
    };
    let named = match path.local() {
        "FieldURI" => path
            .get("FieldURI")
            .and_then(|uri| uri.split_once(':'))
            .map(|(_, name)| name),
        _ => Some("ExtendedProperty"),
    };
    if named != Some(field.local()) {
        return Err(mismatch());
    }
    if update.local() == "AppendToItemField" {
        fields::append(draft, field)
    } else {
        fields::set(draft, field, false)
    }
}

/// EWS DeleteItem.
pub(super) fn delete_item(context: &mut Context<'_>, request: &Element) -> Outcome {
    if let Err(error) = required(
        request,
        "SendMeetingCancellations",
        "ErrorSendMeetingCancellationsRequired",
    ) {
        return error.into();
    }
    let to_trash = request.get("DeleteType") == Some("MoveToDeletedItems");
    let ids = request
        .child("m:ItemIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let messages: Vec<Element> = ids
        .iter()
        .enumerate()
        .map(|(at, id)| {
            let deleted = context
                .refuse(at)
                .and_then(|()| delete(context, id, to_trash));
            match deleted {
                Ok(()) => success("DeleteItem", []),
                Err(error) => failure("DeleteItem", &error),
            }
        })
        .collect();
    Outcome::Answer(answer("DeleteItem", messages))
}

fn delete(context: &mut Context<'_>, id: &Element, to_trash: bool) -> Result<(), EwsError> {
    let target = target(context, id, true)?;
    match target.slot {
        Some(slot) => context.store.delete_occurrence(target.number, slot)?,
        None if to_trash => {
            context
                .store
                .move_item(target.number, Folder::DeletedItems)?;
        }
        None => context.store.hard_delete(target.number)?,
    }
    Ok(())
}
