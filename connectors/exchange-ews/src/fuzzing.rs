//! The reading of answers for a fuzzer: whatever a server sends must neither panic nor take long.

use std::collections::HashMap;

use calbridge_core::model::{Field, FieldSet, Window};
use jiff::Timestamp;

use crate::map::{Doubts, Mapper};
use crate::response::{self, Item, Message};
use crate::series::{Series, split_occurrence_id};
use crate::soap;
use crate::watch::{MAX_DOCUMENT, Splitter};
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

/// Cuts a stream into envelopes, as it comes whole and in pieces of the sizes that its first bytes say, and reads them.
///
/// # Panics
/// If the sizes of the pieces change what is found, or if more is kept than a document may have.
pub fn stream(body: &[u8]) {
    let (sizes, body) = body.split_at(body.len().min(3));
    let whole = cut(body, &[body.len().max(1)]);
    for document in whole.iter().flatten() {
        if let Ok(envelope) = soap::read(document, response::read)
            && let Ok((_, messages)) = envelope.body
        {
            let told = messages.iter().flat_map(|message| &message.notifications);
            let _ = told.map(|one| one.events).sum::<usize>();
        }
    }
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size) + 1).collect();
    if !sizes.is_empty() {
        assert_eq!(cut(body, &sizes), whole, "the sizes of pieces matter");
    }
}

/// The documents; none where the body cannot be cut to its end.
fn cut(body: &[u8], sizes: &[usize]) -> Option<Vec<String>> {
    let mut splitter = Splitter::bounded(MAX_DOCUMENT);
    let mut found = Vec::new();
    let mut rest = body;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        match splitter.push(piece) {
            Ok(documents) => found.extend(documents),
            Err(_) => return None,
        }
    }
    assert!(splitter.kept() <= body.len().min(MAX_DOCUMENT));
    Some(found)
}

fn items_of(message: Message) -> Vec<Item> {
    let changed = message.changes.into_iter().map(|change| change.item);
    message.items.into_iter().chain(changed).collect()
}

/// Reads what a server offers as ways to sign in, one field of the answer to a line, and what it sends for each of them.
pub fn offers(fields: &[u8]) {
    let text = String::from_utf8_lossy(fields);
    let found = crate::signin::challenge::offers(text.lines());
    assert!(found.len() <= 32, "offers are limited");
    for scheme in ["Negotiate", "NTLM", "Bearer"] {
        let _ = crate::signin::challenge::token(&found, scheme);
    }
    for offer in &found {
        assert!(!offer.scheme.is_empty(), "an offer has a name");
        let _ = (offer.parameter("error"), format!("{offer:?}"));
    }
}

/// Reads what autodiscover says, by each of its protocols, and judges the hosts that it names.
///
/// # Panics
/// If a host outside would be told credentials, or more is kept than is allowed.
pub fn autodiscover(body: &[u8]) {
    crate::autodiscover::read_any(body);
}
