//! The embedded store: what the engine relies on, and what happens to the file.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod roster;
mod rounds;
mod rows;
mod support;
