//! Exchange, Office 365 and Planner as local servers that speak the real protocols, with fault injection.
//!
//! A connector is judged against these servers over real sockets, so nothing here shares code or
//! types with the program that is judged: what a request means is worked out a second time, from
//! the public schemas.
//!
//! - [`server`]: an HTTP/1.1 server, plain or over TLS, whose handler can also ask for answers that
//!   no well-behaved server would give (cut off, reset, raw bytes, silence).
//! - [`tls`]: a certificate authority made at run time, and every kind of bad certificate.
//! - [`fault`]: what can be made to go wrong, and the text form used on the command line.
//! - [`ledger`]: what was called, kept for tests to ask.
//! - [`planner`]: Jobcenter Planner's external calendar service.
//! - [`exchange`]: Exchange Web Services.
//! - [`graph`]: Microsoft Graph.
//! - [`seed`]: mailboxes filled from calendar files.

pub mod exchange;
pub mod fault;
pub mod graph;
pub mod ledger;
pub mod planner;
pub mod seed;
pub mod server;
pub mod tls;
pub mod windows;
