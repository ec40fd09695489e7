//! The secrets that a connection's settings refer to.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde_json::Value;

use crate::secret::{SecretRef, SecretResolver};

/// What the settings refer to, with the values as they are now.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    values: BTreeMap<String, SecretString>,
    missing: BTreeMap<String, String>,
}

impl Secrets {
    /// Finds every text in the settings that is a reference, and asks for its value. Which of them are secrets only the
    /// connector knows; a text that is none (a `file:` address) costs a question that is answered with no.
    pub(super) fn find(settings: &Value, resolver: &dyn SecretResolver) -> Self {
        let mut found = Self::default();
        found.visit(settings, resolver);
        found
    }

    fn visit(&mut self, value: &Value, resolver: &dyn SecretResolver) {
        match value {
            Value::String(text) => {
                if let Ok(reference) = text.parse::<SecretRef>() {
                    match resolver.resolve(&reference) {
                        Ok(secret) => {
                            self.values.insert(reference.to_string(), secret);
                        }
                        Err(error) => {
                            self.missing.insert(reference.to_string(), error.reason);
                        }
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.visit(item, resolver)),
            Value::Object(members) => members.values().for_each(|item| self.visit(item, resolver)),
            _ => {}
        }
    }

    /// As they are sent.
    pub(super) fn values(&self) -> BTreeMap<String, String> {
        self.values
            .iter()
            .map(|(reference, value)| (reference.clone(), value.expose_secret().to_owned()))
            .collect()
    }

    pub(super) fn missing(&self) -> &BTreeMap<String, String> {
        &self.missing
    }

    /// Whether a value is another one now.
    pub(super) fn differ(&self, other: &Self) -> bool {
        self.values.len() != other.values.len()
            || self
                .values
                .iter()
                .zip(&other.values)
                .any(|((a, x), (b, y))| a != b || x.expose_secret() != y.expose_secret())
    }
}
