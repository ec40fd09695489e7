//! How the service account signs in, and what keeps it from being locked.
//!
//! - `breaker`: after a refusal nothing is tried again with the same secret.
//! - `challenge`: reads what a server offers (`WWW-Authenticate`, RFC 9110, 11.6.1).
//! - `binding`: the channel binding of Extended Protection (`tls-server-end-point`, RFC 5929).
//! - `handshake`: the tokens of NTLM and Negotiate.
//! - `kdc`: how Kerberos asks domain controllers.
//! - `windows`: connections that are signed in.
//! - `oauth`: tokens that are issued to the program.
//! - `door`: the one way that is configured.
//! - `accounts`: which of several accounts a mailbox belongs to.
//! - `trouble`: what goes wrong, and what an operator can do.

mod accounts;
mod binding;
mod breaker;
pub(crate) mod challenge;
mod door;
mod handshake;
mod kdc;
mod oauth;
mod trouble;
mod windows;

pub(crate) use accounts::{Accounts, Doors};
pub(crate) use windows::Failure;
