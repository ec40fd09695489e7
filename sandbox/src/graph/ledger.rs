//! What the ledger keeps about a call of Graph.

use bytes::Bytes;
use serde::Serialize;

/// Details of one request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct GraphCall {
    /// The HTTP method.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
    /// The Prefer header.
    pub prefer: Option<String>,
    /// The If-Match header.
    pub if_match: Option<String>,
    /// The application that was let in.
    pub application: Option<String>,
    /// Whether the request carried a token of this tenant.
    pub token: bool,
    /// How many items the answer holds.
    pub items: usize,
    /// It was a part of a batch.
    pub in_batch: bool,
    /// The request's body.
    #[serde(skip)]
    pub body: Bytes,
}
