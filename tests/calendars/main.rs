//! Calendars as programs of many vendors write them, of both ways to Planner: as files through `ical-source`, and
//! imported into a mailbox of Exchange through `exchange-ews`. Both must tell Planner the same, in times and in
//! ids, and both must find the same files broken.
//!
//! The calendars beside this file were made up for it, after the habits of real programs; `expected.tsv` says which
//! times they take up and was worked out without calbridge (`expected.py`). Where a folder of calendars of real
//! programs lies beside the workspace they are compared too.
#![cfg(all(
    feature = "exchange-ews",
    feature = "ical",
    feature = "planner-dfdg",
    feature = "sandbox"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../support/mod.rs"]
mod support;

mod least_data;
mod own;
mod pairs;
mod shared;
mod ways;
