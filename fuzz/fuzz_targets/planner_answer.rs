//! An answer of Planner: receipts, listings, faults.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| calbridge_planner_dfdg::fuzzing::answer(body));
