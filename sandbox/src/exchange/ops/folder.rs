//! GetFolder and FindFolder.

use jiff::Timestamp;

use super::restriction;
use crate::exchange::access::{Context, folder_id};
use crate::exchange::ids::change_key;
use crate::exchange::item::Folder;
use crate::exchange::render::{effective_rights, path_element};
use crate::exchange::shape::{ExtendedPath, Shape};
use crate::exchange::soap::{Outcome, answer, failure, success};
use crate::exchange::xml::Element;

/// EWS GetFolder.
pub(super) fn get_folder(context: &mut Context<'_>, request: &Element) -> Outcome {
    let shape = Shape::read(request.child("m:FolderShape"));
    let ids = request
        .child("m:FolderIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let messages = ids.iter().map(|id| match context.folder_visible(id) {
        Ok((mailbox, folder)) => success(
            "GetFolder",
            [Element::new("m:Folders").with(folder_element(context, mailbox, folder, &shape))],
        ),
        Err(error) => failure("GetFolder", &error),
    });
    Outcome::Answer(answer("GetFolder", messages.collect::<Vec<_>>()))
}

/// EWS FindFolder.
pub(super) fn find_folder(context: &mut Context<'_>, request: &Element) -> Outcome {
    let shape = Shape::read(request.child("m:FolderShape"));
    let deep = request.get("Traversal") == Some("Deep");
    let ids = request
        .child("m:ParentFolderIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let filter = request
        .child("m:Restriction")
        .and_then(|restriction| restriction.children.first());
    let messages = ids.iter().map(|id| {
        let (mailbox, parent) = match context.folder_visible(id) {
            Ok(found) => found,
            Err(error) => return failure("FindFolder", &error),
        };
        let found: Vec<Element> = Folder::ALL
            .into_iter()
            .filter(|folder| {
                if deep {
                    is_below(*folder, parent)
                } else {
                    folder.parent() == Some(parent)
                }
            })
            .filter(|folder| {
                filter.is_none_or(|filter| {
                    restriction::holds(filter, &|field| text_of(*folder, field)).unwrap_or(true)
                })
            })
            .map(|folder| folder_element(context, mailbox, folder, &shape))
            .collect();
        let root = Element::new("m:RootFolder")
            .attr("TotalItemsInView", found.len().to_string())
            .attr("IncludesLastItemInRange", "true");
        let root = if request.child("m:IndexedPageFolderView").is_some() {
            root.attr("IndexedPagingOffset", found.len().to_string())
        } else {
            root
        };
        success(
            "FindFolder",
            [root.with(Element::new("t:Folders").with_all(found))],
        )
    });
    Outcome::Answer(answer("FindFolder", messages.collect::<Vec<_>>()))
}

impl Context<'_> {
    /// A folder that the caller may at least see.
    fn folder_visible(
        &self,
        id: &Element,
    ) -> Result<(usize, Folder), crate::exchange::soap::EwsError> {
        self.folder(id, false)
    }
}

fn is_below(folder: Folder, ancestor: Folder) -> bool {
    std::iter::successors(folder.parent(), |parent| parent.parent())
        .any(|parent| parent == ancestor)
}

fn text_of(folder: Folder, field: &str) -> Option<String> {
    match field {
        "folder:FolderClass" => Some(folder.class().to_owned()),
        "folder:DisplayName" => Some(folder.display_name().to_owned()),
        _ => None,
    }
}

fn folder_element(context: &Context<'_>, mailbox: usize, folder: Folder, shape: &Shape) -> Element {
    let state = context
        .store
        .mailbox(mailbox)
        .and_then(|mailbox| mailbox.folders.get(&folder));
    let count = state.map_or(0, |state| state.live.len());
    let children = Folder::ALL
        .into_iter()
        .filter(|child| child.parent() == Some(folder))
        .count();
    let mut out = Element::new(folder.element()).with(
        Element::new("t:FolderId")
            .attr("Id", folder_id(mailbox, folder))
            .attr("ChangeKey", change_key(1)),
    );
    let mut put = |field: &str, element: Element| {
        if shape.wants_of_folder(field) {
            out.children.push(element);
        }
    };
    if let Some(parent) = folder.parent() {
        put(
            "folder:ParentFolderId",
            Element::new("t:ParentFolderId")
                .attr("Id", folder_id(mailbox, parent))
                .attr("ChangeKey", change_key(1)),
        );
    }
    put(
        "folder:FolderClass",
        Element::text("t:FolderClass", folder.class()),
    );
    put(
        "folder:DisplayName",
        Element::text("t:DisplayName", folder.display_name()),
    );
    put(
        "folder:TotalCount",
        Element::text("t:TotalCount", count.to_string()),
    );
    put(
        "folder:ChildFolderCount",
        Element::text("t:ChildFolderCount", children.to_string()),
    );
    let committed = state.and_then(|state| state.committed);
    let deleted = state.map_or(0, |state| state.deleted_total);
    out.children.extend(
        shape
            .extended
            .iter()
            .filter_map(|path| extended(path, committed, deleted)),
    );
    let mut put = |field: &str, element: Element| {
        if shape.wants_of_folder(field) {
            out.children.push(element);
        }
    };
    put(
        "folder:EffectiveRights",
        effective_rights(context.check(mailbox, true).is_ok()),
    );
    if let Some(name) = folder.distinguished() {
        put(
            "folder:DistinguishedFolderId",
            Element::text("t:DistinguishedFolderId", name),
        );
    }
    if folder.element() == "t:Folder" {
        put("folder:UnreadCount", Element::text("t:UnreadCount", "0"));
    }
    out
}

/// PR_LOCAL_COMMIT_TIME_MAX (0x670A) and PR_DELETED_COUNT_TOTAL (0x670B).
fn extended(path: &ExtendedPath, committed: Option<Timestamp>, deleted: u32) -> Option<Element> {
    let tag = path
        .iter()
        .find(|(name, _)| name == "PropertyTag")
        .map(|(_, value)| value.to_ascii_lowercase())?;
    let value = match tag.as_str() {
        "0x670a" | "26378" => committed?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "0x670b" | "26379" => deleted.to_string(),
        _ => return None,
    };
    Some(
        Element::new("t:ExtendedProperty")
            .with(path_element(path))
            .with(Element::text("t:Value", value)),
    )
}
