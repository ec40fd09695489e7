//! An answer of Exchange: envelope, items, zone definitions, recurrences, and what is made of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| calbridge_exchange_ews::fuzzing::answer(body));
