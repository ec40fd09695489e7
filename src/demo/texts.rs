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

/// How many of the texts stand in any request that Planner received; none if it received none.
pub(super) fn reached(planner: &PlannerSandbox, texts: &BTreeSet<String>) -> Option<usize> {
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
    (!requests.is_empty()).then(|| texts.iter().filter(inside).count())
}

/// How many requests asked Exchange for a text or for people.
pub(super) fn asked(exchange: &ExchangeSandbox) -> usize {
    exchange
        .ledger()
        .select(|call| call.detail.properties.iter().any(|name| is_telling(name)))
        .len()
}

fn is_telling(property: &str) -> bool {
    let property = property.to_lowercase();
    TELLING
        .iter()
        .any(|word| property.contains(&word.to_lowercase()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::super::stage::Stage;
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_text_that_reaches_planner_is_counted() {
        let mut stage = Stage::set(CancellationToken::new()).await.unwrap();
        assert_eq!(reached(&stage.planner, &BTreeSet::new()), None);
        stage.sync(false).await.unwrap();
        let texts = of(&stage.exchange).unwrap();
        assert!(texts.len() > 30, "{texts:?}");
        assert!(
            texts.contains("Teammøde og nytår"),
            "of one occurrence only"
        );
        assert_eq!(reached(&stage.planner, &texts), Some(0));
        // An address does reach Planner: the search finds what is there.
        let address = BTreeSet::from(["anna.berg@nordby.example".to_owned()]);
        assert_eq!(reached(&stage.planner, &address), Some(1));
    }

    #[test]
    fn properties_that_carry_texts_are_known() {
        for property in ["item:Subject", "item:Body", "calendar:Location", "Default"] {
            assert!(is_telling(property), "{property}");
        }
        for property in ["IdOnly", "calendar:Start", "calendar:UID", "item:ItemClass"] {
            assert!(!is_telling(property), "{property}");
        }
    }
}
