//! HTTP for connectors.
