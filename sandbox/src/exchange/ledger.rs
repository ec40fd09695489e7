//! What the ledger keeps about an EWS call.

use bytes::Bytes;
use serde::Serialize;

/// Details of one EWS request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ExchangeCall {
    /// The account that signed in.
    pub user: Option<String>,
    /// The impersonated address, as the request named it.
    pub impersonated: Option<String>,
    /// The X-AnchorMailbox header.
    pub anchor: Option<String>,
    /// Whether the request had `X-PreferServerAffinity: true`.
    pub prefers_affinity: bool,
    /// Whether the request brought a usable X-BackEndOverrideCookie.
    pub affinity_cookie: bool,
    /// The mailbox server that the request reached.
    pub server: usize,
    /// How many subscriptions the request named.
    pub subscriptions: usize,
    /// Whether it was a Subscribe.
    pub(crate) subscribed: bool,
    /// The Host header.
    pub host: Option<String>,
    /// The scheme of the Authorization header; none where there was no such header.
    pub scheme: Option<String>,
    /// The client's User-Agent header.
    pub agent: Option<String>,
    /// The base shape and the additional properties that were asked for.
    pub properties: Vec<String>,
    /// How many item or folder ids the request named.
    pub asked: usize,
    /// How many items or changes the answer holds.
    pub answered: usize,
    /// The response code of each response message.
    pub codes: Vec<String>,
    /// Whether the request followed the schemas.
    pub valid: bool,
    /// Number of the TCP connection.
    pub connection: u64,
    /// The request document, where the server was told to keep them.
    #[serde(skip)]
    pub request: Option<Bytes>,
}
