//! SyncFolderItems: the change feed of a folder.

use std::collections::BTreeSet;

use crate::exchange::access::{Context, folder_id};
use crate::exchange::ids::{ItemKey, SyncState, change_key, item_id, read_item_id};
use crate::exchange::item::Folder;
use crate::exchange::render::{Style, Subject, calendar_item};
use crate::exchange::shape::Shape;
use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::store::Change;
use crate::exchange::xml::Element;

/// The most changes that one answer holds (EWS MaxSyncChangesReturnedType).
const MOST: usize = 512;
/// A SyncState grows with its folder, by about this much for each item.
const BULK_PER_ITEM: usize = 8;
/// And no further than this.
const BULK_MOST: usize = 64 * 1024;

/// EWS SyncFolderItems.
pub(super) fn sync_folder_items(context: &mut Context<'_>, request: &Element) -> Outcome {
    let message = match sync(context, request) {
        Ok(content) => success("SyncFolderItems", content),
        Err(error) => failure("SyncFolderItems", &error),
    };
    Outcome::Answer(answer("SyncFolderItems", [message]))
}

fn sync(context: &Context<'_>, request: &Element) -> Result<Vec<Element>, EwsError> {
    let target = request
        .child("m:SyncFolderId")
        .and_then(|id| id.children.first());
    let (mailbox, folder) = target
        .ok_or_else(|| EwsError::of("ErrorInvalidRequest"))
        .and_then(|target| context.folder(target, false))
        .map_err(|error| match error.code.as_str() {
            // Without any right a named folder does not exist for the caller; an unknown id says so in its own words.
            "ErrorFolderNotFound" if target.is_some_and(|target| target.name == "t:FolderId") => {
                EwsError::of("ErrorSyncFolderNotFound")
            }
            _ => error,
        })?;
    let shape = Shape::read(request.child("m:ItemShape"));
    let most = request
        .child_text("m:MaxChangesReturned")
        .and_then(|text| text.trim().parse::<usize>().ok())
        .unwrap_or(MOST)
        .clamp(1, MOST);
    let mut state = state(context, request, mailbox, folder)?;
    let ignore: BTreeSet<u64> = request
        .child("m:Ignore")
        .into_iter()
        .flat_map(|list| &list.children)
        .filter_map(|id| match read_item_id(id.get("Id")?)? {
            ItemKey::Item(number) | ItemKey::Occurrence(number, _) => Some(number),
        })
        .collect();
    let (changes, mut last) = context
        .store
        .changes(mailbox, folder, &mut state, &ignore, most);
    if context.profile.is_gromox() && !last {
        // Quirk of gromox: when only deletions are left, it says that there is nothing more.
        let (rest, _) =
            context
                .store
                .changes(mailbox, folder, &mut state.clone(), &ignore, usize::MAX);
        last = rest
            .iter()
            .all(|change| matches!(change, Change::Delete { .. }));
    }
    let style = Style {
        profile: context.profile,
        zone: &context.zone,
        list: true,
    };
    let folder_id = folder_id(mailbox, folder);
    let list = changes.iter().filter_map(|change| {
        let (name, number) = match change {
            Change::Create(number) => ("t:Create", number),
            Change::Update(number) => ("t:Update", number),
            Change::Delete { item, change } => {
                let id = Element::new("t:ItemId")
                    .attr("Id", item_id(*item))
                    .attr("ChangeKey", change_key(*change));
                return Some(Element::new("t:Delete").with(id));
            }
        };
        let item = context.store.item(*number).ok()?;
        Some(Element::new(name).with(calendar_item(
            &Subject::Item(item),
            &shape,
            &style,
            &folder_id,
        )))
    });
    let list: Vec<Element> = list.collect();
    let count = context
        .store
        .mailbox(mailbox)
        .and_then(|mailbox| mailbox.folders.get(&folder))
        .map_or(0, |state| state.live.len());
    Ok(vec![
        Element::text(
            "m:SyncState",
            state.write((count * BULK_PER_ITEM).min(BULK_MOST)),
        ),
        Element::text(
            "m:IncludesLastItemInRange",
            if last { "true" } else { "false" },
        ),
        Element::new("m:Changes").with_all(list),
    ])
}

/// The state that the request brings; a fresh one if it brings none.
fn state(
    context: &Context<'_>,
    request: &Element,
    mailbox: usize,
    folder: Folder,
) -> Result<SyncState, EwsError> {
    let epoch = context
        .store
        .mailbox(mailbox)
        .map_or(0, |mailbox| mailbox.epoch);
    let index = Folder::ALL
        .iter()
        .position(|candidate| *candidate == folder)
        .unwrap_or(0) as u64;
    let fresh = SyncState {
        epoch,
        mailbox: mailbox as u64,
        folder: index,
        seen: Vec::new(),
    };
    let Some(text) = request
        .child_text("m:SyncState")
        .map(str::trim)
        .filter(|text| !text.is_empty())
    else {
        return Ok(fresh);
    };
    match SyncState::read(text) {
        Some(state)
            if (state.epoch, state.mailbox, state.folder) == (epoch, mailbox as u64, index)
                // Of a time that this copy of the database has not seen: it is an older one that was restored.
                && state.latest() <= context.store.last_change() =>
        {
            Ok(state)
        }
        // Quirk of gromox: an invalid state is taken for an initial sync, in silence.
        _ if context.profile.is_gromox() => Ok(fresh),
        _ => Err(EwsError::of("ErrorInvalidSyncStateData")),
    }
}
