//! The reading of answers for a fuzzer: whatever a server sends must neither panic nor take long.

use std::collections::HashMap;

use calbridge_core::connector::Change;
use calbridge_core::model::{Field, FieldSet, Window};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::map::{Doubts, Mapper};
use crate::recurrence::{Bound, Pattern, Recurrence};
use crate::response::{self, Item, ItemType, Message, WireTime};
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
    let Some(window) = half_a_year() else {
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

/// From the evening of the 2nd of October 2026: two changes of the clock.
fn half_a_year() -> Option<Window> {
    let start = Timestamp::from_second(1_790_967_600).ok()?;
    let end = Timestamp::from_second(1_806_692_400).ok()?;
    Window::new(start, end).ok()
}

/// Reads a time zone, `t:StartTimeZone` with all that is in it, and expands a daily series that names it.
///
/// # Panics
/// If the zone makes more occurrences than there are days, or one that ends before it begins.
pub fn zone(element: &[u8]) {
    let zone = String::from_utf8_lossy(element);
    let answer = format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body xmlns:m="m" xmlns:t="t"><m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Success"><m:Items><t:CalendarItem>{zone}</t:CalendarItem></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse></s:Body></s:Envelope>"#
    );
    let Ok(envelope) = soap::read(&answer, response::read) else {
        return;
    };
    let (Ok((_, messages)), Some(window)) = (envelope.body, half_a_year()) else {
        return;
    };
    let evening = Date::constant(2026, 10, 5).at(22, 30, 0, 0);
    let (fields, doubts) = (FieldSet::times(), Doubts::default());
    for item in messages.into_iter().flat_map(items_of) {
        let series = Item {
            id: "M".to_owned(),
            uid: Some("u".to_owned()),
            item_type: Some(ItemType::RecurringMaster),
            start: Some(WireTime::Local(evening)),
            end: Some(WireTime::Local(evening.saturating_add(1.hour()))),
            recurrence: Some(Ok(Recurrence {
                pattern: Pattern::Daily { interval: 1 },
                start: evening.date(),
                bound: Bound::NoEnd,
            })),
            zone: item.zone,
            zone_id: item.zone_id,
            ..Item::default()
        };
        for zones in [Zones::new(None), Zones::new(Some("Europe/Copenhagen"))] {
            let mapper = Mapper {
                zones: &zones,
                fields: &fields,
                expanded: false,
                doubts: &doubts,
            };
            let Ok(series) = Series::new(&series, mapper) else {
                continue;
            };
            let changes = series.expand(window, &HashMap::new());
            // The days of the window, and those that it has besides on clocks far from UTC.
            assert!(changes.len() <= 190, "more occurrences than days");
            for change in changes {
                if let Change::Item(event) = change {
                    let (start, end) = event.content.time.span_in(&TimeZone::UTC);
                    assert!(start < end, "an occurrence ends before it begins");
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
