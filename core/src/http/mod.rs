//! HTTP for connectors: one client with company CAs, a proxy, a client certificate and two TLS libraries.
//!
//! - [`HttpSettings`]: what an operator can set for every connection that speaks HTTP.
//! - [`ClientCertificate`] and [`ClientIdentity`]: a certificate with its key from PKCS#12 or PEM files.
//! - [`HttpClient`]: sends one request, reads the answer up to a limit, follows no redirect, retries nothing.
//! - [`HttpLane`]: the same on one connection, for protocols that sign in the connection (NTLM).
//! - [`Throttle`]: how many requests go to a server and for a mailbox at once, by urgency.
//! - [`ClientCredentials`]: an access token from an OAuth endpoint, by secret or by certificate.
//! - [`HttpFailure`]: why there was no answer, told apart finely enough to act on.
//!
//! The server's certificate is always verified; there is no setting against it.

mod certificate;
mod client;
mod duration;
mod failure;
#[cfg(test)]
mod handshake_tests;
mod lane;
mod oauth;
mod refused;
mod settings;
mod throttle;

pub use certificate::{CertificateFacts, ClientCertificate, ClientIdentity};
pub use client::{HttpClient, HttpResponse, same_origin};
pub use duration::HumanDuration;
pub use failure::{Cause, HttpFailure};
pub use lane::{HttpAnswer, HttpLane, LaneFailure};
pub use oauth::{AccessToken, ClientCredentials, Credential, NoToken};
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};
pub use settings::{HttpSettings, ProxySetting, TlsBackend, TlsVersion};
pub use throttle::{Load, Purse, Throttle, Turn, Urgency, wait_before_again};
