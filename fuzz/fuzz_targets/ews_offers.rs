//! `WWW-Authenticate`, one field to a line: what a server offers as ways to sign in.
#![no_main]

libfuzzer_sys::fuzz_target!(|fields: &[u8]| calbridge_exchange_ews::fuzzing::offers(fields));
