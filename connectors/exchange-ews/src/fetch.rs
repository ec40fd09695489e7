//! Reading single events again, by the refs that a feed gave.

use std::collections::HashMap;

use calbridge_core::connector::{Change, Result};
use calbridge_core::model::{CalendarRef, Event, FieldSet, ItemRef};
use jiff::civil::Date;

use crate::map::{Doubts, Mapped, Mapper};
use crate::request::Properties;
use crate::response::Item;
use crate::series::{Series, split_occurrence_id};
use crate::source::{Expands, Inner, gone};

impl Inner {
    /// Reads items by their refs, as the core asks for them.
    pub(crate) async fn fetch(
        &self,
        calendar: &CalendarRef,
        items: &[ItemRef],
        fields: &FieldSet,
    ) -> Result<Vec<Result<Event>>> {
        let ids: Vec<String> = items
            .iter()
            .map(|item| match split_occurrence_id(&item.id) {
                Some((master, _)) => master.to_owned(),
                None => item.id.clone(),
            })
            .collect();
        let folder = self.folder_of(calendar).await?;
        let read = self
            .get_items(calendar, &ids, &Properties::series(fields))
            .await?;
        let doubts = Doubts::default();
        let mapper = Mapper {
            zones: &self.zones,
            fields,
            expanded: self.expands() != Expands::No,
            doubts: &doubts,
        };
        let mut events = Vec::new();
        // Many items, few folders: each is asked for once.
        let mut folders = HashMap::new();
        for (asked, found) in items.iter().zip(read) {
            events.push(match found {
                Err(error) => Err(error),
                // Moved to another folder, deleted items among them.
                Ok(found)
                    if let Some(own) = &found.folder
                        && !self
                            .is_known_folder(calendar, &folder, own, &mut folders)
                            .await? =>
                {
                    Err(gone())
                }
                Ok(found) => match split_occurrence_id(&asked.id) {
                    Some((_, date)) => {
                        self.fetch_occurrence(calendar, &found, date, mapper)
                            .await?
                    }
                    None => {
                        let mut found = found;
                        found.id.clone_from(&asked.id);
                        match mapper.item(&found, true) {
                            Mapped::Event(event) => Ok(event),
                            Mapped::Unreadable(Change::Unreadable { error, .. }) => Err(error),
                            Mapped::Unreadable(_) | Mapped::NeedsDetails => Err(gone()),
                        }
                    }
                },
            });
        }
        doubts.tell(calendar);
        Ok(events)
    }

    async fn is_known_folder(
        &self,
        calendar: &CalendarRef,
        folder: &str,
        own: &str,
        known: &mut HashMap<String, bool>,
    ) -> Result<bool> {
        if let Some(same) = known.get(own) {
            return Ok(*same);
        }
        let same = self.is_same_folder(calendar, folder, own).await?;
        known.insert(own.to_owned(), same);
        Ok(same)
    }

    async fn fetch_occurrence(
        &self,
        calendar: &CalendarRef,
        master: &Item,
        date: Date,
        mapper: Mapper<'_>,
    ) -> Result<Result<Event>> {
        let series = match Series::new(master, mapper) {
            Ok(series) => series,
            Err(change) => {
                return Ok(Err(match *change {
                    Change::Unreadable { error, .. } => error,
                    _ => gone(),
                }));
            }
        };
        let ids = series.exception_on(date).into_iter().collect();
        let details = self.exceptions(calendar, mapper.fields, ids).await?;
        if let Some(Err(error)) = details.values().next() {
            return Ok(Err(error.clone()));
        }
        Ok(series.on(date, &details).ok_or_else(gone))
    }
}
