//! The texts of the calendars: Planner must never see one, and Exchange is not even asked for them.

use std::collections::BTreeSet;

use calbridge_sandbox::exchange::{ExchangeSandbox, Folder, Zone};
use calbridge_sandbox::planner::PlannerSandbox;
use jiff::civil::date;

use super::failed;
use crate::error::AppError;

/// Properties by which a text would leave Exchange (EWS UnindexedFieldURIType, and the shapes that hold more
/// than ids).
const TELLING: [&str; 7] = [
    "subject",
    "location",
    "body",
    "attendees",
    "organizer",
    "Default",
    "AllProperties",
];

/// Every subject, location and body in any calendar.
///
/// # Errors
/// The Exchange server lost an item while it was asked.
pub(super) fn of(exchange: &ExchangeSandbox) -> Result<BTreeSet<String>, AppError> {
    let mut texts = BTreeSet::new();
    let zone = Zone::denmark();
    let day = |year| {
        let day = date(year, 1, 1).to_zoned(zone.rules().clone());
        day.map(|day| day.timestamp()).map_err(failed)
    };
    let (from, to) = (day(2026)?, day(2029)?);
    for (address, _, _) in exchange.mailboxes() {
        for item in exchange.items(&address, Folder::Calendar) {
            let (_, _, _, content) = exchange.read(item).map_err(failed)?;
            texts.extend([content.subject, content.location, content.body]);
        }
        // Changed occurrences have texts of their own.
        for one in exchange.occurrences(&address, from, to) {
            texts.extend([one.subject, one.location]);
        }
    }
    texts.retain(|text| !text.trim().is_empty());
    Ok(texts)
}

/// How many of the texts stand in any request that Planner received.
pub(super) fn reached(planner: &PlannerSandbox, texts: &BTreeSet<String>) -> usize {
    let calls = planner.ledger().all();
    let requests: Vec<&str> = calls
        .iter()
        .filter_map(|call| call.detail.request_xml.as_deref())
        .collect();
    let inside = |text: &&String| {
        let escaped = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        requests
            .iter()
            .any(|request| request.contains(text.as_str()) || request.contains(&escaped))
    };
    texts.iter().filter(inside).count()
}

/// How many requests asked Exchange for a text or for people.
pub(super) fn asked(exchange: &ExchangeSandbox) -> usize {
    let telling = |property: &String| {
        TELLING
            .iter()
            .any(|word| property.to_lowercase().contains(&word.to_lowercase()))
    };
    exchange
        .ledger()
        .select(|call| call.detail.properties.iter().any(telling))
        .len()
}
