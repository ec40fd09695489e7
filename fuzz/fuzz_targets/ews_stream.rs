//! A stream of notifications: cut into envelopes, wherever its pieces begin and end, and read.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| calbridge_exchange_ews::fuzzing::stream(body));
