//! The connector of the tests as a shared library.

#![allow(clippy::panic, clippy::print_stdout)]

mod connector;

calbridge_core::export_connector!(connector::Guest);
calbridge_core::plugin_entry!();
