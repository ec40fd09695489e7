//! How the service account signs in, and what keeps it from being locked.
//!
//! - `breaker`: after a refusal nothing is tried again with the same secret.
//! - `challenge`: reads what a server offers (`WWW-Authenticate`, RFC 9110, 11.6.1).
//! - `binding`: the channel binding of Extended Protection (`tls-server-end-point`, RFC 5929).
//! - `handshake`: the tokens of NTLM and Negotiate.
//! - `kdc`: how tickets are fetched.
//! - `trouble`: what goes wrong, and what an operator can do.

#[allow(dead_code)]
mod binding;
mod breaker;
#[allow(dead_code)]
pub(crate) mod challenge;
#[allow(dead_code)]
mod handshake;
#[allow(dead_code)]
mod kdc;
#[allow(dead_code)]
mod trouble;

pub(crate) use breaker::SignIn;
