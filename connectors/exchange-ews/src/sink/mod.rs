//! The writable side: single appointments, and single occurrences of series that the mailbox holds.
//!
//! # Records
//!
//! Each record is an appointment whose UID is the external id that was chosen for it, and which carries named properties
//! of calbridge's own (`mark`). So it is found again after an answer that got lost, and after a loss of memory, and making
//! it twice makes one. An appointment that somebody else put there under the same UID is answered as a conflict.
//!
//! # Before a write
//!
//! What is there is read: a meeting with others, or somebody else's, is never touched; what is no longer what the plan saw
//! is answered as a conflict with what it is now. Then only the properties that differ are sent, with the version that
//! was just read and `NeverOverwrite`, so that nothing that was changed in between is overwritten. DeleteItem knows no such
//! condition; what it removes can be taken back from the deleted items.
//!
//! # After a write
//!
//! What Exchange stored is read back: it cuts subjects, ends lines its own way, and rounds.

pub(crate) mod apply;
pub(crate) mod body;
pub(crate) mod inventory;
pub(crate) mod known;
pub(crate) mod mark;
pub(crate) mod render;
pub(crate) mod send;
pub(crate) mod text;
pub(crate) mod verdict;
pub(crate) mod zone;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use calbridge_core::connector::{
    ApplyReport, AttemptToken, CalendarSink, Error, InventoryFeed, InventoryRequest, Probe, Result,
    Write,
};
use calbridge_core::model::{CalendarRef, Field, FieldSet};
use jiff::tz::TimeZone;

use self::apply::Run;
use self::body::Term;
use self::inventory::Inventory;
use self::known::{Held, Records};
use self::render::Render;
use self::verdict::no_write_right;
use crate::error::WireError;
use crate::request;
#[cfg(test)]
use crate::request::FolderTarget;
use crate::response::Item;
use crate::source::{Exchange, Inner};

/// The fields of a record.
pub(crate) fn fields() -> FieldSet {
    [
        Field::Time,
        Field::ShowAs,
        Field::Subject,
        Field::Location,
        Field::Body,
        Field::Private,
        Field::Categories,
    ]
    .into_iter()
    .collect()
}

/// What writing remembers: the folders that were found.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    folders: Mutex<HashMap<CalendarRef, String>>,
}

impl Inner {
    /// The id of the folder that is written.
    ///
    /// # Errors
    /// `Permission` where it may not be written; the server's.
    pub(crate) async fn write_folder(&self, calendar: &CalendarRef) -> Result<String> {
        let known = self.folders().get(calendar).cloned();
        if let Some(folder) = known {
            return Ok(folder);
        }
        let body = request::get_folder(&self.target(calendar));
        let message = self.client.single(&calendar.address, &body).await?;
        let folder = message
            .folders
            .into_iter()
            .next()
            .filter(|folder| !folder.id.is_empty())
            .ok_or_else(|| WireError::Missing("a folder").of("GetFolder"))?;
        if folder.may_read == Some(false) {
            return Err(crate::items::no_right());
        }
        if folder.may_create == Some(false) {
            return Err(no_write_right());
        }
        self.folders().insert(calendar.clone(), folder.id.clone());
        Ok(folder.id)
    }

    fn folders(&self) -> std::sync::MutexGuard<'_, HashMap<CalendarRef, String>> {
        self.desk
            .folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn render(&self) -> Render {
        Render {
            home: self.zones.home().cloned().unwrap_or(TimeZone::UTC),
            reminder: self.client.settings().reminder_minutes,
        }
    }
}

#[async_trait]
impl CalendarSink for Exchange {
    /// Creates, then updates, then deletes, each in batches; what is there is read first.
    async fn apply(&self, calendar: &CalendarRef, writes: &[Write]) -> Result<ApplyReport> {
        let folder = self.inner.write_folder(calendar).await?;
        let render = self.inner.render();
        let run = Run::new(&self.inner, calendar, &folder, &render, writes);
        let report = run.run(writes).await;
        if report.trouble.as_ref().is_some_and(is_about_folder) {
            self.inner.folders().remove(calendar);
        }
        Ok(report)
    }

    async fn inventory(&self, request: InventoryRequest) -> Result<Box<dyn InventoryFeed>> {
        let inner = Arc::clone(&self.inner);
        Ok(Box::new(Inventory::new(inner, request, fields())))
    }

    /// By the digests that creates and updates leave. A delete leaves none: repeating it does no harm.
    async fn probe(&self, calendar: &CalendarRef, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
        let folder = self.inner.write_folder(calendar).await?;
        let fields = fields();
        let records = Records {
            inner: &self.inner,
            calendar,
            folder: &folder,
            fields: &fields,
        };
        let mut answers = Vec::with_capacity(tokens.len());
        for part in tokens.chunks(self.inner.client.settings().batch.max(1)) {
            answers.extend(probe(&records, part).await?);
        }
        Ok(answers)
    }
}

async fn probe(records: &Records<'_>, tokens: &[AttemptToken]) -> Result<Vec<Probe>> {
    let digests: Vec<String> = tokens.iter().map(|token| mark::digest(&token.0)).collect();
    let terms: Vec<Term> = digests
        .iter()
        .map(|digest| Term::Property(mark::ATTEMPT, digest.clone()))
        .collect();
    let found = records.find(&terms).await?;
    let mut answers = Vec::with_capacity(tokens.len());
    for digest in &digests {
        let of_attempt = |item: &&Item| item.marks.attempt.as_deref() == Some(digest.as_str());
        let copies: Vec<Held> = {
            let ids: Vec<String> = found
                .iter()
                .filter(of_attempt)
                .map(|one| one.id.clone())
                .collect();
            let read = records.read(&ids).await?;
            read.into_iter()
                .filter_map(|one| one.ok().flatten())
                .collect()
        };
        let listed = found.iter().any(|item| of_attempt(&item));
        // One that somebody copied carries the same, under another UID.
        let own = copies.iter().find(|held| is_own(held)).or(copies.first());
        answers.push(match own {
            Some(held) => match held.mark() {
                Some(mark) => Probe::Found {
                    remote: held.remote(&mark.id),
                    content: held.content.clone(),
                },
                None => Probe::Undecidable,
            },
            None if listed => Probe::Undecidable,
            None => Probe::Absent,
        });
    }
    Ok(answers)
}

/// Whether an item has the UID that its mark says.
pub(crate) fn is_own(held: &Held) -> bool {
    let key = |uid: &str| calbridge_core::model::EventKey::new(uid, None).ok();
    let own = crate::map::uid(&held.item).and_then(|uid| key(&uid));
    let marked = held.mark().and_then(|mark| key(&mark.uid()));
    own.is_none() || own == marked
}

/// Whether the folder may be another one by now.
fn is_about_folder(error: &Error) -> bool {
    matches!(
        error.code.as_str(),
        "ews.ErrorFolderNotFound"
            | "ews.ErrorAccessDenied"
            | "ews.ErrorItemNotFound"
            | "ews.ErrorNonExistentMailbox"
            | "ews.ErrorInvalidIdMalformed"
    )
}

/// Every kind of request that writes or looks for what was written, with everything that a record can hold.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn every_kind_of_request() -> Vec<request::Body> {
    use calbridge_core::model::{Content, EventKey, EventTime, ShowAs, Window};
    use jiff::civil::date;

    let render = |reminder| Render {
        home: TimeZone::get("Europe/Copenhagen").unwrap(),
        reminder,
    };
    let at = |text: &str| text.parse().unwrap();
    let hours = EventTime::timed(
        at("2026-12-07T08:00:00.5Z"),
        at("2026-12-07T09:00:00Z"),
        None,
    );
    let full = |text: &str| Content {
        time: hours.clone().unwrap(),
        show_as: Some(ShowAs::Away),
        subject: Some(text.to_owned()),
        location: Some(text.to_owned()),
        body: Some(format!("{text}\r\n{text}")),
        private: Some(true),
        categories: Some(vec![text.to_owned(), "Red".to_owned()]),
    };
    let plain = Content {
        time: EventTime::all_day(date(2026, 12, 7), date(2026, 12, 9)).unwrap(),
        show_as: None,
        subject: None,
        location: None,
        body: None,
        private: None,
        categories: None,
    };
    let empty = Content {
        private: Some(false),
        show_as: Some(ShowAs::Elsewhere),
        categories: Some(Vec::new()),
        ..full("")
    };
    let hostile = full("<&>\"'\u{0}\u{b}\u{fffe}]]>");
    let mark = mark::Mark {
        id: "one@x <&>\u{fffe}".to_owned(),
        key: EventKey::new("one@x", None).ok(),
    };
    let token = AttemptToken("attempt".to_owned());
    let contents = [full("Møde"), plain, empty, hostile];
    let (mut items, mut changes) = (Vec::new(), Vec::new());
    for (n, content) in contents.iter().enumerate() {
        let render = render((n == 0).then_some(15));
        items.push(render.new_item(&mark, &token, content).unwrap());
        for (current, series) in [
            (None, None),
            (contents.first(), None),
            (contents.get(1), None),
            (contents.get(1), Some(Some(&TimeZone::UTC))),
        ] {
            let updates = render.updates(current, content, series).unwrap();
            let attempt = render::set_property(mark::ATTEMPT, "digest");
            changes.push(body::change("AAMkA=", Some("DwAA="), &(updates + &attempt)));
        }
    }
    let ids = [
        body::item_id("AAMkA=", Some("DwAA=")),
        body::item_id("AAMkB=", None),
    ];
    let window = Window::new(at("2026-12-01T00:00:00Z"), at("2027-03-01T00:00:00Z")).unwrap();
    let terms = [
        Term::Property(mark::RECORD, mark::digest("one@x")),
        Term::Uid("one@x".to_owned()),
    ];
    let mut bodies = vec![body::update_items(&changes), body::delete_items(&ids)];
    for folder in [
        FolderTarget::Id("AQMkFolder=".to_owned()),
        FolderTarget::Primary {
            mailbox: Some("anna@kommune.example".to_owned()),
        },
    ] {
        bodies.extend([
            body::create_items(&folder, &items),
            body::find(&folder, &terms),
            body::find(&folder, terms.get(..1).unwrap()),
            body::own_records(&folder, window, 1000),
        ]);
    }
    bodies
}
