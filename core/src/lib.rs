//! Model, connector traits, engine and store of calbridge.
