//! The plug-in boundary: connectors that are not part of the program.
//!
//! A connector crate is the same whether it is linked in, loaded as a shared library, or run in a child process. A
//! library is packaging: a `cdylib` crate with one line, [`plugin_entry!`](crate::plugin_entry).
//!
//! | module | what it is |
//! |---|---|
//! | [`abi`] | the C structs of contract version 1, as in `calbridge.h` |
//! | [`messages`] | requests and answers, and their JSON Schemas |
//! | `dispatch` (feature `plugin`) | a message becomes a call of the connector's traits |
//! | `guest` (feature `plugin`) | the library's side: runtime, instances, log, clock, secrets |
//! | `host` (feature `plugin-host`) | the program's side: loading, child processes, and the traits again |
//!
//! Across the boundary go no Rust types: a table of C functions that carry UTF-8 JSON. What holds on both sides:
//!
//! - Each struct begins with its size; members are only appended.
//! - Bytes are borrowed while the function runs that they were given to. Each side frees its own memory.
//! - `done` is called exactly once for each `open` and `call`. `cancel` is a hint.
//! - `close` returns when nothing is outstanding.
//! - No panic leaves a function; it becomes an error of kind `Panicked`.
//! - A library is never unloaded.

pub mod abi;
#[cfg(feature = "plugin")]
pub mod dispatch;
#[cfg(feature = "plugin")]
pub mod guest;
#[cfg(feature = "plugin-host")]
pub mod host;
pub mod messages;
