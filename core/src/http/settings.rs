//! What an operator can set for every connection that speaks HTTP.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::HumanDuration;
use crate::secret::SecretRef;

/// HTTP settings of a connection. The server's certificate is always verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// PEM files with certificates of authorities to trust beside those of the operating system: the
    /// company's own CA, or the one of a proxy that looks into TLS.
    pub extra_ca: Vec<PathBuf>,
    /// The proxy: `system` (environment variables, on Windows the system's settings too), `none`, or a URL
    /// such as `http://proxy.example:8080`.
    pub proxy: ProxySetting,
    /// The user name that the proxy asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_user: Option<String>,
    /// The password that the proxy asks for, as a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_password: Option<SecretRef>,
    /// The TLS library. `rustls` is right unless the server is so old that it shares no cipher suite with it
    /// (Windows Server 2012 R2 and older), or asks for the client certificate only after the handshake (IIS
    /// without `clientcertnegotiation`): then `native-tls`, the operating system's own.
    pub tls: TlsBackend,
    /// The newest TLS version that is offered. Absent: the newest that the library has. `1.2` together with
    /// `tls = "native-tls"` is for servers that ask for the client certificate only after the handshake: TLS 1.3
    /// lets them do so only where the client has announced it, which neither library does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tls: Option<TlsVersion>,
    /// How long one request may take, from connecting to the last byte of the answer.
    pub timeout: HumanDuration,
    /// How long connecting may take, TLS included.
    pub connect_timeout: HumanDuration,
    /// The largest answer that is read, in bytes after decompression. Larger ones are errors.
    #[schemars(range(min = 1))]
    pub max_response: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            extra_ca: Vec::new(),
            proxy: ProxySetting::System,
            proxy_user: None,
            proxy_password: None,
            tls: TlsBackend::Rustls,
            max_tls: None,
            timeout: HumanDuration::from_secs(60),
            connect_timeout: HumanDuration::from_secs(15),
            max_response: 32 * 1024 * 1024,
        }
    }
}

/// The TLS library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TlsBackend {
    /// rustls: TLS 1.2 (ECDHE with AEAD suites) and 1.3, no native code for the protocol.
    #[default]
    Rustls,
    /// The operating system's library (SChannel on Windows, OpenSSL elsewhere), which knows older suites too.
    NativeTls,
}

/// A version of TLS. Older ones are never offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Which proxy to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProxySetting {
    /// What the system says.
    #[default]
    System,
    /// None, whatever the system says.
    None,
    /// This one.
    Url(Url),
}

impl fmt::Display for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::None => f.write_str("none"),
            Self::Url(url) => f.write_str(url.as_str()),
        }
    }
}

impl Serialize for ProxySetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProxySetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match text.trim() {
            "system" => return Ok(Self::System),
            "none" => return Ok(Self::None),
            _ => {}
        }
        // The text is not repeated: it may hold a password.
        let url = Url::parse(text.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                serde::de::Error::custom(
                    "not a proxy; write `system`, `none` or a URL such as `http://proxy.example:8080`",
                )
            })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(serde::de::Error::custom(
                "a proxy's URL may hold no user name or password; set `proxy_user` and `proxy_password`",
            ));
        }
        Ok(Self::Url(url))
    }
}

impl JsonSchema for ProxySetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ProxySetting".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(system|none|https?://.+)$",
            "examples": ["system", "none", "http://proxy.example:8080"]
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_settings_are_the_defaults() {
        let read: HttpSettings = serde_json::from_value(json!({})).unwrap();
        assert_eq!(read, HttpSettings::default());
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_value::<HttpSettings>(again).unwrap(), read);
    }

    #[test]
    fn mistakes_are_refused() {
        for (wrong, says) in [
            (json!({ "verify": false }), "unknown field `verify`"),
            (json!({ "tls": "openssl" }), "unknown variant `openssl`"),
            (json!({ "max_tls": "1.1" }), "unknown variant `1.1`"),
            (json!({ "timeout": "soon" }), "not a duration"),
            (json!({ "timeout": 60 }), "invalid type"),
            (json!({ "proxy": "proxy:8080" }), "not a proxy"),
            (json!({ "proxy_password": "hunter2" }), "not a reference"),
        ] {
            let error = serde_json::from_value::<HttpSettings>(wrong).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_password_in_the_proxy_url_is_refused_and_not_repeated() {
        let wrong = json!({ "proxy": "http://user:hunter2@proxy.example:8080" });
        let error = serde_json::from_value::<HttpSettings>(wrong).unwrap_err();
        assert!(error.to_string().contains("proxy_password"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
