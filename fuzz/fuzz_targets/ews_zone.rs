//! The definition of a time zone, as a series brings it.
#![no_main]

libfuzzer_sys::fuzz_target!(|element: &[u8]| calbridge_exchange_ews::fuzzing::zone(element));
