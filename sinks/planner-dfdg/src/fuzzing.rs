//! The reading of answers for a fuzzer: whatever a server sends must neither panic nor take long.

use calbridge_core::http::{HttpResponse, StatusCode};

use crate::answer::understand;
use crate::codes;
use crate::map::{self, listed};
use crate::wire::{self, Operation};

/// Reads a body as the answer to each operation, as a good one and as a fault.
pub fn answer(body: &[u8]) {
    let Ok(zone) = map::zone() else { return };
    for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
        let response = HttpResponse {
            status,
            headers: Default::default(),
            body: body.to_vec(),
        };
        for operation in [
            Operation::CreateEvents,
            Operation::UpdateEvents,
            Operation::DeleteEvents,
            Operation::GetEvents,
            Operation::GetResources,
        ] {
            let Ok(element) = understand(operation, &response) else {
                continue;
            };
            let _ = wire::reference(&element);
            for receipt in wire::receipts(&element).0 {
                let _ = codes::warning(receipt.code);
            }
            for event in wire::events(&element) {
                let (Some(start), Some(end)) = (event.start, event.end) else {
                    continue;
                };
                let _ = listed(start, end, &zone);
            }
            for resource in wire::resources(&element) {
                let _ = resource.address.as_deref().map(map::address_fits);
            }
        }
    }
}
