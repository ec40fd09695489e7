//! The embedded store: what the engine relies on, and what happens to the file.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod files;
mod privacy;
mod retention;
mod roster;
mod rounds;
mod rows;
mod support;
