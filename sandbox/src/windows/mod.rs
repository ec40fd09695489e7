//! The server's side of Windows authentication, as IIS does it: NTLM ([MS-NLMP]) as a scheme of its own and inside
//! Negotiate ([MS-SPNG]), per connection, with channel bindings (Extended Protection) and accounts that lock.
//!
//! It is written after the specifications and shares nothing with a client's library, so that a mistake does not meet
//! its own mirror image.

mod front;
mod ntlm;
mod spnego;

pub use front::{Binding, SignIn, SignInCounts, Spoil};
pub(crate) use front::{Front, Known, Ruling};
