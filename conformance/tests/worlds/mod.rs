//! Worlds for calbridge's own connectors.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod exchange;
pub mod ical;
mod nobody;
pub mod planner;

use calbridge_conformance::{Report, Verdict};
use nobody::Nobody;

/// What was skipped for any other reason than this one.
pub fn skipped(report: &Report, but: &str) -> Vec<&'static str> {
    let counts = |verdict: &Verdict| matches!(verdict, Verdict::Skipped(why) if why != but);
    let all = report.tests.iter().filter(|test| counts(&test.verdict));
    all.map(|test| test.name).collect()
}
