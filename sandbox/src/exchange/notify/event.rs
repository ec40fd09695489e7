//! Events, and how they are written.

use jiff::Timestamp;

use crate::exchange::access::folder_id;
use crate::exchange::ids::{change_key, item_id, watermark};
use crate::exchange::item::Folder;
use crate::exchange::profile::Profile;
use crate::exchange::xml::Element;

/// EWS NotificationEventTypeType, as far as a calendar has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventKind {
    Created,
    Modified,
    Deleted,
    Moved,
}

impl EventKind {
    /// Reads an event type; those that never happen here are `None`.
    pub(super) fn read(name: &str) -> Option<Self> {
        Some(match name {
            "CreatedEvent" => EventKind::Created,
            "ModifiedEvent" => EventKind::Modified,
            "DeletedEvent" => EventKind::Deleted,
            "MovedEvent" => EventKind::Moved,
            _ => return None,
        })
    }

    fn element(self) -> &'static str {
        match self {
            EventKind::Created => "t:CreatedEvent",
            EventKind::Modified => "t:ModifiedEvent",
            EventKind::Deleted => "t:DeletedEvent",
            EventKind::Moved => "t:MovedEvent",
        }
    }
}

/// Something that happened to an item or to a folder.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    pub(crate) at: Timestamp,
    pub(crate) mailbox: usize,
    pub(crate) folder: Folder,
    /// Item and change numbers; none of a folder.
    pub(crate) item: Option<(u64, u64)>,
    /// The item's number before a move, and where it was.
    pub(crate) old: Option<(u64, Folder)>,
}

impl Event {
    /// The event, and what Exchange tells beside it: one change makes several events. gromox names the folder alone,
    /// but for new items.
    pub(crate) fn with_echoes(self, profile: Profile) -> Vec<Event> {
        let folder = |folder| Event {
            kind: EventKind::Modified,
            folder,
            item: None,
            old: None,
            ..self.clone()
        };
        let mut all = Vec::new();
        if !profile.is_gromox() || self.kind == EventKind::Created {
            all.push(self.clone());
        }
        if self.kind == EventKind::Created && !profile.is_gromox() {
            all.push(Event {
                kind: EventKind::Modified,
                ..self.clone()
            });
        }
        all.push(folder(self.folder));
        all.extend(self.old.map(|(_, old)| folder(old)));
        all
    }

    /// The element; with the watermark after it where watermarks are used.
    pub(super) fn element(&self, next: Option<u64>) -> Element {
        let folder = |folder| {
            Element::new("t:FolderId")
                .attr("Id", folder_id(self.mailbox, folder))
                .attr("ChangeKey", change_key(1))
        };
        let named = |name: &str, mut element: Element| {
            name.clone_into(&mut element.name);
            element
        };
        let item = |number, change| {
            Element::new("t:ItemId")
                .attr("Id", item_id(number))
                .attr("ChangeKey", change_key(change))
        };
        let mut out = Element::new(self.kind.element());
        if let Some(next) = next {
            out = out.with(Element::text("t:Watermark", watermark(next)));
        }
        out = out.with(Element::text("t:TimeStamp", self.at.to_string()));
        out = match self.item {
            Some((number, change)) => out
                .with(item(number, change))
                .with(named("t:ParentFolderId", folder(self.folder))),
            None => out.with(folder(self.folder)).with(named(
                "t:ParentFolderId",
                folder(self.folder.parent().unwrap_or(self.folder)),
            )),
        };
        match (self.old, self.item) {
            (Some((old, old_folder)), Some((_, change))) => out
                .with(named("t:OldItemId", item(old, change)))
                .with(named("t:OldParentFolderId", folder(old_folder))),
            _ if self.item.is_none() && self.kind == EventKind::Modified => {
                out.with(Element::text("t:UnreadCount", "0"))
            }
            _ => out,
        }
    }
}
