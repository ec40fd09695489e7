//! The kit on the connector for Exchange.
#![allow(clippy::unwrap_used)]

mod worlds;

use std::sync::Arc;

use calbridge_conformance::{Selection, run};
use calbridge_core::connector::find;
use calbridge_exchange_ews as _;
use calbridge_sandbox::exchange::Profile;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchange_ews() {
    let world = worlds::exchange::Exchange::new(Profile::Exchange2019).await;
    let entry = find("exchange-ews").unwrap();
    let report = run(entry, Arc::new(world), &Selection::All, |_| {}).await;
    assert!(report.passed(), "{}", report.table());
    // Exchange knows more mailboxes than belong to the sync.
    assert_eq!(worlds::skipped(&report, ""), ["roster_is_stable"]);
}

/// Other servers, with their quirks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_servers() {
    for profile in [Profile::Exchange2013, Profile::Gromox] {
        let world = worlds::exchange::Exchange::new(profile).await;
        let entry = find("exchange-ews").unwrap();
        let report = run(entry, Arc::new(world), &Selection::Smoke, |_| {}).await;
        assert!(report.passed(), "{profile:?}\n{}", report.table());
        assert_eq!(worlds::skipped(&report, ""), ["roster_is_stable"]);
    }
}
