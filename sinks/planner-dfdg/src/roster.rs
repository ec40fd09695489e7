//! Who belongs to the sync: the case workers and rooms that Planner lists.

use std::collections::HashMap;

use calbridge_core::connector::{Result, Roster, SkippedEntry};
use calbridge_core::model::{Address, CalendarEntry, CalendarKind, CalendarRef, OwnerId};

use crate::client::{Client, Failed};
use crate::codes;
use crate::wire::{self, ListedResource, Operation, Request};

/// Asks for all resources of the jobcenter.
pub(crate) async fn roster(client: &Client) -> Result<Roster> {
    let call = client
        .call(Operation::GetResources, &Request::GetResources, 0)
        .await
        .map_err(|failed: Box<Failed>| failed.error)?;
    let roster = build(wire::resources(&call.response));
    if roster.entries.is_empty() && roster.skipped.is_empty() {
        tracing::warn!(
            code = codes::NO_RESOURCES,
            "Planner lists no resources for this jobcenter; nothing changes until it does."
        );
    }
    let twice = roster
        .skipped
        .iter()
        .filter(|skipped| skipped.code == codes::DUPLICATE_ADDRESS)
        .count();
    if twice > 0 {
        tracing::warn!(
            code = codes::DUPLICATE_ADDRESS,
            resources = twice,
            "Planner lists addresses more than once; they are left out. The status page shows which."
        );
    }
    Ok(roster)
}

/// Sorts what Planner lists into what can be used and what cannot.
pub(crate) fn build(resources: Vec<ListedResource>) -> Roster {
    let mut roster = Roster::default();
    let mut usable: Vec<(Address, ListedResource)> = Vec::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for resource in resources {
        match resource.address.as_deref().map(Address::new) {
            Some(Ok(address)) => {
                *counts.entry(address.folded()).or_default() += 1;
                usable.push((address, resource));
            }
            _ => roster.skipped.push(SkippedEntry {
                address: resource.address.unwrap_or_default(),
                code: "planner.address".to_owned(),
                reason: "the resource has no usable mailbox address; correct it in Planner"
                    .to_owned(),
            }),
        }
    }
    for (address, resource) in usable {
        if counts
            .get(&address.folded())
            .is_some_and(|count| *count > 1)
        {
            roster.skipped.push(SkippedEntry {
                address: address.as_str().to_owned(),
                code: codes::DUPLICATE_ADDRESS.to_owned(),
                reason: "several resources have this mailbox address, so it is not known whose calendar it is; correct it in Planner".to_owned(),
            });
            continue;
        }
        let owner = resource.resource.unwrap_or_else(|| address.folded());
        // Neither a GUID nor an address is blank.
        let Ok(owner) = OwnerId::new(owner) else {
            continue;
        };
        roster.entries.push(CalendarEntry {
            calendar: CalendarRef {
                owner,
                address,
                calendar: None,
            },
            kind: if resource.is_case_worker {
                CalendarKind::Person
            } else {
                CalendarKind::Room
            },
        });
    }
    roster
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listed(address: Option<&str>, resource: Option<&str>) -> ListedResource {
        ListedResource {
            address: address.map(str::to_owned),
            resource: resource.map(str::to_owned),
            is_case_worker: true,
        }
    }

    #[test]
    fn without_planners_id_the_address_is_the_owner() {
        let roster = build(vec![
            listed(Some("A@x.dk"), None),
            listed(Some("b@x.dk"), Some("7d0f2f0a-3c52-4a7e-9d55-0c9e2a3b1f01")),
        ]);
        let owners: Vec<_> = roster
            .entries
            .iter()
            .map(|entry| entry.calendar.owner.as_str())
            .collect();
        assert_eq!(owners, ["a@x.dk", "7d0f2f0a-3c52-4a7e-9d55-0c9e2a3b1f01"]);
    }

    #[test]
    fn malformed_and_missing_addresses_are_left_out_alone() {
        let roster = build(vec![
            listed(Some("a@x.dk"), None),
            listed(Some("not an address"), None),
            listed(None, None),
            listed(None, None),
        ]);
        assert_eq!(roster.entries.len(), 1);
        assert_eq!(roster.skipped.len(), 3);
        assert!(
            roster
                .skipped
                .iter()
                .all(|skipped| skipped.code == "planner.address" && !skipped.reason.contains('@'))
        );
    }

    #[test]
    fn k115_all_resources_of_a_repeated_address_are_left_out() {
        let roster = build(vec![
            listed(Some("a@x.dk"), None),
            listed(Some("b@x.dk"), None),
            listed(Some("a@X.dk"), None),
        ]);
        assert_eq!(roster.entries.len(), 1);
        assert_eq!(roster.skipped.len(), 2);
    }
}
