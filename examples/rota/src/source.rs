//! Reading: what the rota holds, as changes.

use async_trait::async_trait;
use calbridge_core::connector::{
    CalendarSource, Change, ChangeBatch, ChangeFeed, ChangesRequest, Cursor, Error, ErrorKind,
    Result, Scope,
};
use calbridge_core::model::{CalendarRef, Event, Field, FieldSet, ItemRef, Window};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::connection::{Connected, blocking};
use crate::files;
use crate::shift::{Entry, Sheet, unreadable};

/// How our cursors begin; the rest is the fingerprint of the file.
const CURSOR: &str = "1:";

impl Connected {
    async fn sheet(&self, calendar: &CalendarRef) -> Result<(Sheet, String)> {
        let path = files::path(&self.settings.folder, calendar)?;
        let max_bytes = self.settings.max_bytes;
        let found = blocking(move || files::read(&path, max_bytes)).await?;
        // No file is not the same as no shifts: nothing is deleted because a file is missing.
        found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                Scope::Calendar,
                "rota.nobody",
                "the person is not in the rota",
            )
        })
    }
}

#[async_trait]
impl CalendarSource for Connected {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        let known = match &request.cursor {
            None => None,
            // A cursor that is none of ours: calbridge drops it and asks again without.
            Some(cursor) => Some(fingerprint(cursor)?),
        };
        let (sheet, found) = self.sheet(&request.calendar).await?;
        // The same file holds other shifts for another window: only what calbridge knows completely may be left out.
        let may_skip = !request.full && request.covered.covers(request.window);
        let changes = if may_skip && known == Some(found.as_str()) {
            Vec::new()
        } else {
            everything(sheet, request.window, &request.fields)
        };
        Ok(Box::new(Feed {
            changes: changes.into_iter(),
            cursor: Some(Cursor(format!("{CURSOR}{found}"))),
        }))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let (sheet, _) = self.sheet(calendar).await?;
        let fields = FieldSet::from_iter([Field::Time, Field::Subject]);
        let one = |item: &ItemRef| {
            for entry in &sheet.shifts {
                match entry {
                    Entry::Shift(shift) if shift.id == item.id => return shift.event(&fields),
                    Entry::Unreadable(value) if id(value) == Some(item.id.as_str()) => {
                        return Err(unreadable("a member is missing or of the wrong kind"));
                    }
                    _ => {}
                }
            }
            // Certainly gone.
            Err(Error::new(
                ErrorKind::NotFound,
                Scope::Item,
                "rota.gone",
                "there is no such shift",
            ))
        };
        Ok(items.iter().map(one).collect())
    }
}

fn fingerprint(cursor: &Cursor) -> Result<&str> {
    let known = cursor.0.strip_prefix(CURSOR);
    let hex = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    known.filter(hex).ok_or_else(|| {
        Error::new(
            ErrorKind::CursorExpired,
            Scope::Calendar,
            "rota.cursor",
            "the bookmark was made by another version",
        )
    })
}

/// Every shift in the window, and then the promise that these were all.
fn everything(sheet: Sheet, window: Window, fields: &FieldSet) -> Vec<Change> {
    let mut changes = Vec::new();
    for entry in sheet.shifts {
        match entry {
            Entry::Shift(shift) => match shift.event(fields) {
                Ok(event) => {
                    let (start, end) = event.content.time.span_in(&TimeZone::UTC);
                    if window.overlaps(start, end) {
                        changes.push(Change::Item(event));
                    }
                }
                // What cannot be read is not gone: what is known of it is kept, and the others go on.
                Err(error) => changes.push(Change::Unreadable {
                    item: shift.item().ok(),
                    uid: shift.calbridge.map(|key| key.uid().to_owned()),
                    error,
                }),
            },
            Entry::Unreadable(value) => changes.push(Change::Unreadable {
                item: id(&value).and_then(|id| ItemRef::new(id, None).ok()),
                uid: id(&value).map(|id| format!("{id}@rota")),
                error: unreadable("a member is missing or of the wrong kind"),
            }),
        }
    }
    changes.push(Change::Snapshot { covered: window });
    changes
}

fn id(value: &Value) -> Option<&str> {
    value.get("id")?.as_str()
}

/// Changes in batches. The cursor comes with the last one: there is no place to resume at before.
struct Feed {
    changes: std::vec::IntoIter<Change>,
    cursor: Option<Cursor>,
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self, max: usize) -> Result<Option<ChangeBatch>> {
        if self.cursor.is_none() {
            return Ok(None);
        }
        let changes = self.changes.by_ref().take(max.max(1)).collect();
        let last = self.changes.len() == 0;
        Ok(Some(ChangeBatch {
            changes,
            checkpoint: if last { self.cursor.take() } else { None },
            folder: None,
        }))
    }
}
