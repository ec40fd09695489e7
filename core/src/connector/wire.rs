//! How what a newer version says is read: the careful way, never as something that was not said.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Change, Error, ErrorKind, InventoryBounds, Outcome, Scope};
use crate::model::ItemRef;

pub(super) fn one() -> usize {
    1
}

/// Bounds that are not known say nothing about absence: as if the sink could not list.
pub(super) fn inventory_bounds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<InventoryBounds>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

pub(super) fn no_outcome() -> Outcome {
    Outcome::Unknown
}

/// An outcome that cannot be understood leaves open what became of the write.
pub(super) fn outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or(Outcome::Unknown))
}

/// A change that cannot be understood: what is known of its item is kept.
pub(super) fn changes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Change>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    Ok(values.iter().map(change).collect())
}

fn change(value: &Value) -> Change {
    match Change::deserialize(value) {
        Ok(change) => change,
        Err(_) => {
            let event = value.get("item");
            Change::Unreadable {
                item: event
                    .and_then(|event| event.get("item"))
                    .and_then(|item| ItemRef::deserialize(item).ok()),
                uid: event
                    .and_then(|event| event.pointer("/key/uid"))
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                error: Error::new(
                    ErrorKind::Protocol,
                    Scope::Item,
                    "plugin.unknown-change",
                    "the connector reported a change that this version cannot read; install a version of calbridge that fits the connector",
                ),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::{ChangeBatch, SinkCapabilities, WriteOutcome};

    #[test]
    fn a_change_of_a_newer_version_is_kept_and_not_taken_for_another() {
        let batch: ChangeBatch = serde_json::from_value(json!({
            "changes": [
                {"moved": {"from": "a", "to": "b"}},
                {"item": {"key": {"uid": "U"}, "item": {"id": "i"}, "content": {"time": {"kind": "lunar"}}}},
            ],
            "newer": true,
        }))
        .unwrap();
        let [
            Change::Unreadable {
                item: None,
                uid: None,
                ..
            },
            Change::Unreadable {
                item: Some(item),
                uid: Some(uid),
                ..
            },
        ] = batch.changes.as_slice()
        else {
            panic!("{:?}", batch.changes)
        };
        assert_eq!((item.id.as_str(), uid.as_str()), ("i", "U"));
    }

    #[test]
    fn an_outcome_of_a_newer_version_counts_as_unknown() {
        for outcome in [
            json!({"postponed": {"until": "tomorrow"}}),
            json!("merged"),
            json!(7),
        ] {
            let read: WriteOutcome =
                serde_json::from_value(json!({"id": 3, "outcome": outcome})).unwrap();
            assert_eq!(read.outcome, Outcome::Unknown);
        }
        let read: WriteOutcome =
            serde_json::from_value(json!({"id": 3, "outcome": "unchanged"})).unwrap();
        assert_eq!(read.outcome, Outcome::Unchanged);
    }

    #[test]
    fn bounds_of_a_newer_version_make_a_sink_that_cannot_list() {
        let sink = |bounds: &str| -> SinkCapabilities {
            serde_json::from_value(json!({
                "inventory": bounds,
                "sharing": "exclusive",
                "external_ids": {"by": "sink"},
                "fields": ["time"],
            }))
            .unwrap()
        };
        assert_eq!(sink("touches").inventory, None);
        assert_eq!(sink("overlaps").inventory, Some(InventoryBounds::Overlaps));
        assert_eq!(sink("overlaps").max_batch, 1);
    }
}
