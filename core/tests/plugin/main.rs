//! The plug-in boundary: what is published, and what a library does in this process and in one of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

mod behave;
mod common;
mod connector;
mod crash;
mod hostile;
mod published;
mod recorded;
mod same;
