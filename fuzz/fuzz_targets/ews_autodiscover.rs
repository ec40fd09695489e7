//! An answer of autodiscover, by JSON, SOAP or plain XML, and which of the hosts that it names would be told credentials.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| calbridge_exchange_ews::fuzzing::autodiscover(body));
