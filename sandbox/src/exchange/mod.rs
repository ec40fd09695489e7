//! An Exchange server that speaks EWS.
//!
//! It is built from Microsoft's public schemas (Exchange2013_SP1) and documentation and behaves as strictly as the
//! real thing: requests are validated, ids and SyncStates are opaque and checked, lists are limited, impersonation and
//! rights are enforced. A [`Profile`] chooses the server's kind, faults are injected with [`ExchangeSandbox::inject`],
//! and everything that was asked stands in [`ExchangeSandbox::ledger`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox, NewItem, Zone};
//! use jiff::civil::date;
//!
//! let exchange = ExchangeSandbox::start(ExchangeOptions::default()).await?;
//! exchange.add_person("Anna Berg", "anna@kommune.example")?;
//! let meeting = NewItem::at("Meeting", date(2026, 3, 5).at(9, 0, 0, 0), date(2026, 3, 5).at(10, 0, 0, 0), &Zone::denmark());
//! let item = exchange.create("anna@kommune.example", meeting)?;
//! exchange.cancel(item)?;
//! println!("{}", exchange.url());
//! # Ok(()) }
//! ```

mod access;
mod autodiscover;
mod budget;
pub mod fault;
pub(crate) mod goid;
mod handle;
pub(crate) mod ids;
pub(crate) mod item;
mod ledger;
mod notify;
mod ops;
pub mod oracle;
mod profile;
mod recurrence;
mod render;
mod schema;
mod service;
mod shape;
mod soap;
pub(crate) mod store;
mod time;
mod xml;
mod zone;

pub use access::{Account, Impersonation, Right};
pub use autodiscover::{Autodiscover, Direction};
pub use budget::ThrottlingPolicy;
pub use fault::FAULT_KINDS;
pub use handle::{ExchangeOptions, ExchangeSandbox, ItemHandle, Occurrence, StartError};
pub use item::{Answer, Appointment, Attendee, Folder, FreeBusy, NewItem, Person, Sensitivity};
pub use ledger::ExchangeCall;
pub use notify::Notifications;
pub use profile::Profile;
pub use recurrence::{DayIndex, DayKind, Pattern, Range, Recurrence, SeriesRule};
pub use store::{MailboxKind, StoreError};
pub use zone::Zone;

pub use crate::windows::{Binding, SignIn, SignInCounts, Spoil};
