//! The pure stages, case by case. Test names carry the ids of Kommuneklienten's behaviour table: `t..` for
//! what its own tests check, `k..` for what was derived from it.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;
mod identity;
mod properties;
mod qualification;
mod reconciliation;
mod regressions;
mod sending;
