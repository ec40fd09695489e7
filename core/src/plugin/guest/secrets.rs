//! Secrets, on the library's side: the values that the host sent.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use secrecy::SecretString;

use crate::secret::{SecretError, SecretRef, SecretResolver};

/// Answers from what came with `open`. When a secret changes, the host opens the connection anew.
pub(super) struct SentSecrets {
    values: HashMap<String, SecretString>,
    missing: BTreeMap<String, String>,
}

/// References only.
impl fmt::Debug for SentSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentSecrets")
            .field("references", &self.values.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl SentSecrets {
    pub(super) fn new(values: BTreeMap<String, String>, missing: BTreeMap<String, String>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(reference, value)| (reference, value.into()))
                .collect(),
            missing,
        }
    }
}

impl SecretResolver for SentSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let name = reference.to_string();
        if let Some(value) = self.values.get(&name) {
            return Ok(value.clone());
        }
        let reason = self.missing.get(&name).cloned().unwrap_or_else(|| {
            "it does not stand in the connection's settings, and a loaded connector is given no others"
                .to_owned()
        });
        Err(SecretError {
            reference: name,
            reason,
        })
    }
}
