//! The embedded store: what the engine relies on, and what happens to the file.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod concurrency;
mod crash;
mod docs;
mod files;
mod model;
mod privacy;
mod retention;
mod roster;
mod rounds;
mod rows;
mod settled;
mod speed;
mod support;
