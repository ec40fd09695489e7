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

use calbridge_conformance::{Cannot, Report, Verdict};
use calbridge_core::model::CalendarRef;
use jiff::Timestamp;
use nobody::Nobody;

const ANNA: &str = "anna@kit.example";
const BO: &str = "bo@kit.example";
const ZONE: &str = "Europe/Copenhagen";

fn now() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

fn calendars(addresses: [&str; 2]) -> Vec<CalendarRef> {
    addresses
        .map(|address| CalendarRef::primary(address).unwrap())
        .to_vec()
}

fn missing() -> Option<CalendarRef> {
    CalendarRef::primary("nobody@kit.example").ok()
}

/// Says when a fault ends whether it was any: nothing is proved if nobody called meanwhile.
fn struck(any: bool) -> Result<(), Cannot> {
    if any {
        Ok(())
    } else {
        Err(Cannot::Failed("no call was struck".to_owned()))
    }
}

/// What was skipped for any other reason than this one.
pub fn skipped(report: &Report, but: &str) -> Vec<&'static str> {
    let counts = |verdict: &Verdict| matches!(verdict, Verdict::Skipped(why) if why != but);
    let all = report.tests.iter().filter(|test| counts(&test.verdict));
    all.map(|test| test.name).collect()
}
