//! What a source view means for the sink, under the rules, now. Free of history.

use serde::{Deserialize, Serialize};

use super::{PrivateRule, Rules, SourceView};
use crate::model::{Content, ShowAs};

/// Why the sink shall hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// The source holds nothing (any more): deleted, moved to another folder, out of the window.
    Gone,
    /// It shows as free.
    Free,
    /// It is cancelled.
    Cancelled,
    /// It has no duration.
    NoDuration,
    /// It starts after the window ends.
    BeyondWindow,
    /// It is private, and private events stay where they are.
    Private,
    /// It was written by this sync, or comes from where it would go: it does not flow back.
    Echo,
}

/// What the sink shall hold of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    /// A record with this content.
    Present {
        /// The content.
        content: Content,
        /// Whether it may be sent for the first time; otherwise it started too early for that, and is only
        /// corrected if it is known.
        creatable: bool,
    },
    /// It lies in the past: what is there stays as it is, unless it was moved there.
    Past {
        /// The content.
        content: Content,
    },
    /// No record.
    Absent {
        /// Why.
        why: Absence,
    },
}

/// What stands for the subject of a private event.
pub const MASKED_SUBJECT: &str = "Private";

/// Projects a source view.
#[must_use]
pub fn project(source: Option<&SourceView>, rules: &Rules) -> Desired {
    let absent = |why| Desired::Absent { why };
    let Some(view) = source else {
        return absent(Absence::Gone);
    };
    let event = &view.event;
    // What another sync brought from elsewhere is an event like any other.
    if event
        .origin
        .as_ref()
        .is_some_and(|mark| mark.sync == rules.sync || mark.from == rules.sink)
    {
        return absent(Absence::Echo);
    }
    if event.cancelled {
        return absent(Absence::Cancelled);
    }
    if event.content.show_as == Some(ShowAs::Free) {
        return absent(Absence::Free);
    }
    if event.content.time.is_empty() {
        return absent(Absence::NoDuration);
    }
    let private = event.content.private == Some(true);
    if private && rules.private == PrivateRule::Skip {
        return absent(Absence::Private);
    }
    let (start, _) = event.content.time.span_in(&rules.zone);
    if start >= rules.window.end() {
        return absent(Absence::BeyondWindow);
    }
    let mut content = event.content.only(&rules.fields);
    if private {
        mask(&mut content);
    }
    let wall = event.content.time.wall_in(&rules.zone);
    if wall.end.date() < rules.first_day {
        return Desired::Past { content };
    }
    Desired::Present {
        content,
        creatable: wall.start.date() >= rules.first_day,
    }
}

/// Replaces the texts of a private event.
pub(super) fn mask(content: &mut Content) {
    if content.subject.is_some() {
        content.subject = Some(MASKED_SUBJECT.to_owned());
    }
    for text in [&mut content.location, &mut content.body] {
        if text.is_some() {
            *text = Some(String::new());
        }
    }
    if content.categories.is_some() {
        content.categories = Some(Vec::new());
    }
}
