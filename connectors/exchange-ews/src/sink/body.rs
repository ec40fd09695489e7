//! Requests that write, and those that look for what was written.
//!
//! Nobody is ever mailed: `SendToNone` on all three. Any other value could turn an appointment into a meeting.

use std::fmt::Write as _;

use super::mark::{self, OBJECT_ID_PATH};
use crate::request::{Body, FIND_PAGE, FolderTarget, Properties};
use crate::soap::escape;
use calbridge_core::model::Window;

/// CreateItem: one answer per item, in order.
pub(crate) fn create_items(folder: &FolderTarget, items: &[String]) -> Body {
    Body {
        operation: "CreateItem",
        xml: format!(
            r#"<m:CreateItem SendMeetingInvitations="SendToNone"><m:SavedItemFolderId>{}</m:SavedItemFolderId><m:Items>{}</m:Items></m:CreateItem>"#,
            folder.xml(),
            items.concat()
        ),
    }
}

/// A change of one item, for [`update_items`]. The version is that of the item as it was read.
pub(crate) fn change(id: &str, version: Option<&str>, updates: &str) -> String {
    format!(
        "<t:ItemChange>{}<t:Updates>{updates}</t:Updates></t:ItemChange>",
        item_id(id, version)
    )
}

/// UpdateItem: one answer per change, in order. What somebody else has changed since is not overwritten.
pub(crate) fn update_items(changes: &[String]) -> Body {
    Body {
        operation: "UpdateItem",
        xml: format!(
            r#"<m:UpdateItem ConflictResolution="NeverOverwrite" SendMeetingInvitationsOrCancellations="SendToNone"><m:ItemChanges>{}</m:ItemChanges></m:UpdateItem>"#,
            changes.concat()
        ),
    }
}

/// DeleteItem: one answer per item, in order. The user finds them among the deleted ones.
pub(crate) fn delete_items(ids: &[String]) -> Body {
    Body {
        operation: "DeleteItem",
        xml: format!(
            r#"<m:DeleteItem DeleteType="MoveToDeletedItems" SendMeetingCancellations="SendToNone"><m:ItemIds>{}</m:ItemIds></m:DeleteItem>"#,
            ids.concat()
        ),
    }
}

/// The address of an item.
pub(crate) fn item_id(id: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!(
            r#"<t:ItemId Id="{}" ChangeKey="{}"/>"#,
            escape(id),
            escape(version)
        ),
        None => format!(r#"<t:ItemId Id="{}"/>"#, escape(id)),
    }
}

/// What items are looked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    /// One of our properties and its value.
    Property(&'static str, String),
    /// The clean global object id of a UID.
    Uid(String),
}

impl Term {
    fn xml(&self) -> String {
        let (path, value) = match self {
            Self::Property(name, value) => (mark::path(name), value.clone()),
            Self::Uid(uid) => (OBJECT_ID_PATH.to_owned(), mark::object_id(uid)),
        };
        format!(
            r#"<t:IsEqualTo>{path}<t:FieldURIOrConstant><t:Constant Value="{}"/></t:FieldURIOrConstant></t:IsEqualTo>"#,
            escape(&value)
        )
    }
}

/// FindItem for the singles and masters to which any of the terms applies.
pub(crate) fn find(folder: &FolderTarget, terms: &[Term]) -> Body {
    let mut any = String::new();
    for term in terms {
        any.push_str(&term.xml());
    }
    if terms.len() > 1 {
        any = format!("<t:Or>{any}</t:Or>");
    }
    restricted(folder, &any, 0)
}

/// FindItem for our own records in a window, page by page.
pub(crate) fn own_records(folder: &FolderTarget, window: Window, offset: u32) -> Body {
    let bound = |test: &str, field: &str, at: jiff::Timestamp| {
        format!(
            r#"<t:{test}><t:FieldURI FieldURI="{field}"/><t:FieldURIOrConstant><t:Constant Value="{at}"/></t:FieldURIOrConstant></t:{test}>"#
        )
    };
    let filter = format!(
        "<t:And><t:Exists>{}</t:Exists>{}{}</t:And>",
        mark::path(mark::RECORD),
        bound("IsLessThan", "calendar:Start", window.end()),
        bound("IsGreaterThanOrEqualTo", "calendar:End", window.start())
    );
    restricted(folder, &filter, offset)
}

fn restricted(folder: &FolderTarget, filter: &str, offset: u32) -> Body {
    let mut xml = format!(
        r#"<m:FindItem Traversal="Shallow">{}<m:IndexedPageItemView MaxEntriesReturned="{FIND_PAGE}" Offset="{offset}" BasePoint="Beginning"/>"#,
        Properties::found().shape()
    );
    let _ = write!(
        xml,
        "<m:Restriction>{filter}</m:Restriction><m:ParentFolderIds>{}</m:ParentFolderIds></m:FindItem>",
        folder.xml()
    );
    Body {
        operation: "FindItem",
        xml,
    }
}
