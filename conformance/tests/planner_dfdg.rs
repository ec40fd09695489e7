//! The kit on the connector for Jobcenter Planner.
#![allow(clippy::unwrap_used)]

mod worlds;

use std::sync::Arc;

use calbridge_conformance::{Selection, run};
use calbridge_core::connector::find;
use calbridge_planner_dfdg as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planner_dfdg() {
    let world = worlds::planner::Planner::new().await;
    let entry = find("planner-dfdg").unwrap();
    let report = run(entry, Arc::new(world), &Selection::All, |_| {}).await;
    assert!(report.passed(), "{}", report.table());
    // The password of the certificate opens a file, and Planner never sees it. Planner keeps no versions, and writing
    // twice is safe.
    assert_eq!(
        worlds::skipped(&report, "the connector is no source"),
        [
            "wrong_secret_is_auth",
            "older_version_is_a_conflict",
            "probe_tells_attempts_apart"
        ]
    );
}
