//! The core of calbridge: what every connector and the program share.
//!
//! - [`model`]: calendars, events, keys, times, windows, fields. Construction refuses what is impossible.
//! - [`connector`]: the traits a connector implements, its capabilities, errors, and the registry.
//! - [`secret`]: references to secrets; values never stand in configuration.
//! - `engine` (feature `engine`): `project`, `decide` and `schedule` as pure functions, and the loop around them.
//! - `store` (feature `engine`): the store's interface; feature `sqlite` adds the embedded store.
//! - [`plugin`]: connectors as shared libraries and child processes; feature `plugin` for those who build one,
//!   `plugin-host` for the program that loads it.
//! - `http` (feature `http`): the HTTP client builder with extra CAs, proxy, client certificate and two TLS backends.
//!
//! Without features the crate has the model, the traits and the registry only: no database and no HTTP, so
//! that a vendor's connector depends on little.
//!
//! The core knows no protocol and no vendor.

pub mod clock;
pub mod connector;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "http")]
pub mod http;
pub mod model;
pub mod plugin;
pub mod secret;
#[cfg(feature = "engine")]
pub mod store;

/// Re-exported for [`export_connector!`](crate::export_connector).
#[doc(hidden)]
pub use inventory;
