//! The reading of answers for a fuzzer: whatever a server sends must neither panic nor take long.

use std::collections::HashMap;

use calbridge_core::model::{Field, FieldSet, Window};
use jiff::Timestamp;

use crate::map::{Doubts, Mapper};
use crate::response::{self, Item, Message};
use crate::series::{Series, split_occurrence_id};
use crate::soap;
use crate::zones::Zones;

/// Reads an answer and makes events of all items in it, both as listed by a server that expands series and as
/// expanded here, with and without a home zone.
pub fn answer(body: &[u8]) {
    let document = String::from_utf8_lossy(body);
    let Ok(envelope) = soap::read(&document, response::read) else {
        return;
    };
    let _ = envelope.version.map(|version| version.product());
    let Ok((_, messages)) = envelope.body else {
        return;
    };
    let items: Vec<Item> = messages.into_iter().flat_map(items_of).collect();
    let fields = FieldSet::from_iter([
        Field::Time,
        Field::ShowAs,
        Field::Subject,
        Field::Location,
        Field::Body,
        Field::Private,
        Field::Categories,
    ]);
    // Half a year from the evening of the 2nd of October 2026: two changes of the clock.
    let (Ok(start), Ok(end)) = (
        Timestamp::from_second(1_790_967_600),
        Timestamp::from_second(1_806_692_400),
    ) else {
        return;
    };
    let Ok(window) = Window::new(start, end) else {
        return;
    };
    let details: HashMap<_, _> = items
        .iter()
        .map(|item| (item.id.clone(), Ok(item.clone())))
        .collect();
    for zones in [Zones::new(None), Zones::new(Some("Europe/Copenhagen"))] {
        let doubts = Doubts::default();
        let mapper = Mapper {
            zones: &zones,
            fields: &fields,
            expanded: false,
            doubts: &doubts,
        };
        for item in &items {
            let _ = (mapper.item(item, false), mapper.item(item, true));
            if let Ok(series) = Series::new(item, mapper) {
                let _ = (
                    series.exceptions_in(window),
                    series.expand(window, &details),
                );
                if let Some((_, date)) = split_occurrence_id(&item.id) {
                    let _ = series.on(date, &details);
                }
            }
        }
    }
}

fn items_of(message: Message) -> Vec<Item> {
    let changed = message.changes.into_iter().map(|change| change.item);
    message.items.into_iter().chain(changed).collect()
}
