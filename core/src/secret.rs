//! References to secrets. A value never stands in configuration, logs, errors, `Debug` or the state file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a secret is to be found. Written as `env:NAME`, `file:PATH`, `credential:NAME` (systemd) or
/// `keyring:SERVICE/USER` (Windows Credential Manager, Secret Service).
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one trailing line break is dropped.
    File(String),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An entry of the system's keyring.
    Keyring {
        /// The service under which it is stored.
        service: String,
        /// The user under which it is stored.
        user: String,
    },
}

/// Why a text is no reference. The text itself is not repeated: it may be the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a reference to a secret; write `env:NAME`, `file:PATH`, `credential:NAME` or `keyring:SERVICE/USER`, never the secret itself"
)]
pub struct NotAReference;

impl FromStr for SecretRef {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        let (scheme, rest) = text.split_once(':').ok_or(NotAReference)?;
        if rest.trim().is_empty() {
            return Err(NotAReference);
        }
        match scheme {
            "env" => Ok(Self::Env(rest.to_owned())),
            "file" => Ok(Self::File(rest.to_owned())),
            "credential" => Ok(Self::Credential(rest.to_owned())),
            "keyring" => match rest.split_once('/') {
                Some((service, user)) if !service.is_empty() && !user.is_empty() => {
                    Ok(Self::Keyring {
                        service: service.to_owned(),
                        user: user.to_owned(),
                    })
                }
                _ => Err(NotAReference),
            },
            _ => Err(NotAReference),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Keyring { service, user } => write!(f, "keyring:{service}/{user}"),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretRef({self})")
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A reference to a secret: env:NAME, file:PATH, credential:NAME or keyring:SERVICE/USER.",
            "pattern": "^(env:.+|file:.+|credential:.+|keyring:[^/]+/.+)$",
            "writeOnly": true
        })
    }
}

/// Finds the value behind a reference. The host gives it to connectors; they ask each time they sign in, so
/// that a changed secret is taken up.
pub trait SecretResolver: Send + Sync + fmt::Debug {
    /// # Errors
    /// [`SecretError`], which names the reference and what to do, never the value.
    fn resolve(&self, reference: &SecretRef) -> Result<SecretString, SecretError>;
}

/// Why a secret could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret {reference} is not to be had: {reason}")]
pub struct SecretError {
    /// The reference as configured.
    pub reference: String,
    /// What is wrong and what to do.
    pub reason: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_alike() {
        for text in [
            "env:EWS_PASSWORD",
            "file:/run/secrets/exchange",
            "credential:exchange",
            "keyring:calbridge/svc",
        ] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_inline_secret_is_refused_and_not_repeated() {
        for text in ["hunter2", "env:", "keyring:calbridge", "plain:hunter2"] {
            let error = serde_json::from_value::<SecretRef>(text.into()).unwrap_err();
            assert!(error.to_string().contains("not a reference"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
