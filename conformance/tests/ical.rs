//! The kit on the iCalendar connectors.
#![allow(clippy::unwrap_used)]

mod worlds;

use std::sync::Arc;

use calbridge_conformance::{Selection, World, run};
use calbridge_core::connector::find;
use calbridge_ical_sink as _;
use calbridge_ical_source as _;

/// What the world has no means for.
async fn not_offered(id: &str, world: impl World + 'static) -> Vec<&'static str> {
    let report = run(find(id).unwrap(), Arc::new(world), &Selection::All, |_| {}).await;
    assert!(report.passed(), "{}", report.table());
    report.not_offered()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ical_source() {
    let skipped = not_offered("ical-source", worlds::ical::Source::new()).await;
    // No setting is required by itself; files have no passwords and ask nobody to slow down.
    assert_eq!(
        skipped,
        [
            "missing_setting_is_named",
            "wrong_secret_is_auth",
            "refused_sign_in_does_not_pass",
            "throttled_reading_says_so",
            "secrets_stay_secret"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ical_sink() {
    let skipped = not_offered("ical-sink", worlds::ical::Sink::new()).await;
    assert_eq!(
        skipped,
        [
            "wrong_secret_is_auth",
            "refused_sign_in_does_not_pass",
            "one_bad_write_spoils_no_other",
            "throttled_writing_says_so",
            "secrets_stay_secret"
        ]
    );
}
