//! Exchange Online behind Microsoft Graph.
//!
//! The mailboxes are those of an [`ExchangeSandbox`](crate::exchange::ExchangeSandbox): one calendar can be looked at
//! through both fronts, as after a mailbox moved to the cloud. The front is built from Graph's documentation and from what
//! is on record about the real service: occurrences in lists of changes are bare, what leaves a range is called removed,
//! ids follow the headers of each request, links have to come back as they were given, tokens die. What is not certain
//! about the real service is a switch ([`Habits`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox};
//! use calbridge_sandbox::graph::{GraphOptions, GraphSandbox};
//!
//! let exchange = ExchangeSandbox::start(ExchangeOptions::default()).await?;
//! exchange.add_person("Anna Berg", "anna@contoso.example")?;
//! let graph = GraphSandbox::start(&exchange, GraphOptions::default()).await?;
//! println!("{}", graph.root());
//! # Ok(()) }
//! ```

mod app;
mod batch;
mod changes;
mod error;
mod fault;
mod handle;
mod ids;
mod ledger;
mod listing;
mod query;
mod recurrence;
mod render;
mod service;
mod token;
mod write;

pub use app::{Application, Secret};
pub use fault::FAULT_KINDS;
pub use handle::{GraphOptions, GraphSandbox, Habits};
pub use ledger::GraphCall;
