//! What a request asks to be told (EWS ItemResponseShapeType, FolderResponseShapeType).

use std::collections::BTreeSet;

use super::xml::Element;

/// EWS DefaultShapeNamesType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    IdOnly,
    Default,
    AllProperties,
}

/// An extended property path: the attributes of t:ExtendedFieldURI, sorted.
pub(crate) type ExtendedPath = Vec<(String, String)>;

/// A parsed shape.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    base: Base,
    fields: BTreeSet<String>,
    pub(crate) extended: Vec<ExtendedPath>,
}

/// What the base shape Default holds for calendar items.
const DEFAULT_ITEM: &[&str] = &[
    "item:Subject",
    "item:HasAttachments",
    "item:Sensitivity",
    "item:ReminderIsSet",
    "calendar:Start",
    "calendar:End",
    "calendar:LegacyFreeBusyStatus",
    "calendar:Location",
    "calendar:IsRecurring",
    "calendar:CalendarItemType",
    "calendar:Organizer",
];

/// What the base shape Default holds for folders.
const DEFAULT_FOLDER: &[&str] = &[
    "folder:DisplayName",
    "folder:TotalCount",
    "folder:ChildFolderCount",
    "folder:UnreadCount",
];

impl Shape {
    /// Reads an m:ItemShape or m:FolderShape.
    pub(crate) fn read(element: Option<&Element>) -> Self {
        let mut shape = Shape {
            base: Base::IdOnly,
            fields: BTreeSet::new(),
            extended: Vec::new(),
        };
        let Some(element) = element else { return shape };
        shape.base = match element.child_text("t:BaseShape") {
            Some("Default") => Base::Default,
            Some("AllProperties") => Base::AllProperties,
            _ => Base::IdOnly,
        };
        for path in element
            .child("t:AdditionalProperties")
            .into_iter()
            .flat_map(|list| &list.children)
        {
            match path.name.as_str() {
                "t:FieldURI" => shape.fields.extend(path.get("FieldURI").map(str::to_owned)),
                "t:ExtendedFieldURI" => shape.extended.push(extended_path(path)),
                _ => {}
            }
        }
        shape
    }

    /// Whether an item property is wanted.
    pub(crate) fn wants(&self, field: &str) -> bool {
        match self.base {
            Base::AllProperties => true,
            Base::Default => DEFAULT_ITEM.contains(&field) || self.fields.contains(field),
            Base::IdOnly => self.fields.contains(field),
        }
    }

    /// Whether a folder property is wanted.
    pub(crate) fn wants_of_folder(&self, field: &str) -> bool {
        match self.base {
            Base::AllProperties => true,
            Base::Default => DEFAULT_FOLDER.contains(&field) || self.fields.contains(field),
            Base::IdOnly => self.fields.contains(field),
        }
    }

    /// The base shape and the additional properties, for the ledger.
    pub(crate) fn names(&self) -> Vec<String> {
        let base = match self.base {
            Base::IdOnly => "IdOnly",
            Base::Default => "Default",
            Base::AllProperties => "AllProperties",
        };
        let extended = self.extended.iter().map(|path| {
            let parts: Vec<String> = path
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            parts.join(" ")
        });
        std::iter::once(base.to_owned())
            .chain(self.fields.iter().cloned())
            .chain(extended)
            .collect()
    }
}

/// The attributes of a t:ExtendedFieldURI, sorted, so that equal paths compare equal.
pub(crate) fn extended_path(element: &Element) -> ExtendedPath {
    let mut path = element.attributes.clone();
    path.sort();
    path
}
