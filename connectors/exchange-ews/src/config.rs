//! The settings of a connection.

use calbridge_core::connector::{Error, Result};
use calbridge_core::http::HttpSettings;
use calbridge_core::secret::SecretRef;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Settings of a connection to Exchange over EWS (Exchange 2013 SP1 to Subscription Edition).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address of the EWS virtual directory, usually `https://HOST/EWS/Exchange.asmx`. Plain `http` is
    /// accepted with `bearer` and `basic` only to the machine itself.
    pub url: Url,
    /// How the service account signs in.
    pub auth: Auth,
    /// Whose rights are used. `impersonation` (default): the account has the management role
    /// ApplicationImpersonation, best with a scope that holds the synchronised mailboxes only. `delegate`:
    /// each mailbox has granted the account at least Reviewer rights on its calendar.
    #[serde(default)]
    pub access: Access,
    /// How many mailboxes are read at once. Exchange's own limit is 27 requests per mailbox; what a server
    /// bears altogether is for its administrator to say. Default 10.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 100))]
    pub max_in_flight: usize,
    /// How many items are asked for in one request of details. Halved after a timeout, down to 5. Default 20.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1, max = 100))]
    pub batch: usize,
    /// The IANA zone in which most calendars are kept, for example `Europe/Copenhagen`. Used for events whose
    /// own zone cannot be made out, and preferred where a zone's definition fits several zones. Without it
    /// days of such events are rounded to the nearest midnight in UTC.
    #[serde(default)]
    pub home_zone: Option<String>,
    /// Whether Exchange tells of changes when they happen. `auto` (default): by a stream of notifications; where
    /// streams do not work (a proxy that holds answers back), by asking for events every minute; calendars for which
    /// neither works are read at the sync's interval, as all are from time to time in any case. `off`: at the
    /// interval only.
    #[serde(default)]
    pub notifications: Notifications,
    /// Extra certificate authorities, proxy, TLS backend, timeouts, limits.
    #[serde(default)]
    pub http: HttpSettings,
}

/// How the service account signs in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// HTTP Basic over TLS. Must be switched on for the EWS virtual directory.
    Basic {
        /// `DOMAIN\user` or the user principal name.
        user: String,
        /// Where the password is found.
        password: SecretRef,
    },
    /// An OAuth access token (Hybrid Modern Authentication, AD FS), renewed by something outside.
    Bearer {
        /// Where the token is found; read again for each request.
        token: SecretRef,
    },
}

/// The form of [`Auth`] in configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Auth")]
enum RawAuth {
    /// HTTP Basic over TLS. Must be switched on for the EWS virtual directory.
    Basic {
        /// `DOMAIN\user` or the user principal name.
        user: String,
        /// Where the password is found: `env:NAME`, `file:PATH`, `credential:NAME`, `keyring:SERVICE/USER`.
        password: SecretRef,
    },
    /// An OAuth access token (Hybrid Modern Authentication, AD FS), renewed by something outside.
    Bearer {
        /// Where the token is found; read again for each request.
        token: SecretRef,
    },
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let value = serde_json::Value::deserialize(deserializer)?;
        if let Some(kind @ ("ntlm" | "negotiate")) =
            value.get("kind").and_then(serde_json::Value::as_str)
        {
            return Err(D::Error::custom(format!(
                "auth kind `{kind}` is not available yet: it comes with a later release. Use `basic` (to be switched on for the EWS virtual directory, over TLS only) or `bearer`"
            )));
        }
        match serde_json::from_value(value).map_err(D::Error::custom)? {
            RawAuth::Basic { user, password } => Ok(Self::Basic { user, password }),
            RawAuth::Bearer { token } => Ok(Self::Bearer { token }),
        }
    }
}

impl JsonSchema for Auth {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        RawAuth::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        RawAuth::json_schema(generator)
    }
}

/// Whose rights are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// The mailbox owner's, by ExchangeImpersonation.
    #[default]
    Impersonation,
    /// The account's own, as delegate of each mailbox.
    Delegate,
}

/// Whether Exchange tells of changes when they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Notifications {
    /// By streams or by asking for events, whichever works.
    #[default]
    Auto,
    /// Not at all.
    Off,
}

fn default_max_in_flight() -> usize {
    10
}

fn default_batch() -> usize {
    20
}

impl Settings {
    /// What `Deserialize` cannot check.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        match self.url.scheme() {
            "https" => {}
            "http" if is_loopback(&self.url) => {}
            "http" => {
                return Err(Error::config(
                    "`url`: credentials would cross the network in the clear; use https (plain http is accepted to the machine itself only)",
                ));
            }
            _ => return Err(Error::config("`url`: https is needed")),
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(Error::config(
                "`url` holds credentials; they belong into `auth`, the password as a reference",
            ));
        }
        if !(1..=100).contains(&self.max_in_flight) {
            return Err(Error::config("`max_in_flight`: 1 to 100"));
        }
        if !(1..=100).contains(&self.batch) {
            return Err(Error::config("`batch`: 1 to 100"));
        }
        if let Some(zone) = &self.home_zone
            && calbridge_core::model::zone::by_name(zone).is_none()
        {
            return Err(Error::config(
                "`home_zone` is not the name of a time zone; write an IANA name such as `Europe/Copenhagen`",
            ));
        }
        Ok(())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value)]
    fn settings(url: &str, auth: serde_json::Value) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_value(json!({ "url": url, "auth": auth }))
            .map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    fn basic() -> serde_json::Value {
        json!({ "kind": "basic", "user": "K\\svc", "password": "env:P" })
    }

    #[test]
    fn defaults() {
        let settings = settings("https://mail.kommune.example/EWS/Exchange.asmx", basic()).unwrap();
        assert_eq!(settings.access, Access::Impersonation);
        assert_eq!((settings.max_in_flight, settings.batch), (10, 20));
    }

    #[test]
    fn auth_kinds_of_a_later_release_are_named() {
        for kind in ["ntlm", "negotiate"] {
            let auth = json!({ "kind": kind, "user": "K\\svc", "password": "env:P" });
            let error = settings("https://x.example/EWS", auth).unwrap_err();
            assert!(
                error.contains(&format!("auth kind `{kind}` is not available yet:")),
                "{error}"
            );
        }
    }

    #[test]
    fn an_inline_secret_is_refused_and_not_repeated() {
        let auth = json!({ "kind": "basic", "user": "K\\svc", "password": "hunter2" });
        let error = settings("https://x.example/EWS", auth).unwrap_err();
        assert!(error.contains("not a reference"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |url: &str, auth| settings(url, auth).unwrap_err();
        assert!(error("http://mail.example/EWS", basic()).contains("in the clear"));
        assert!(error("ftp://mail.example/EWS", basic()).contains("https"));
        assert!(error("https://u:p@mail.example/EWS", basic()).contains("`auth`"));
        assert!(error("nonsense", basic()).contains("URL"));
        let missing = json!({ "kind": "basic", "user": "u" });
        assert!(error("https://x.example/", missing).contains("password"));
        let unknown = json!({ "kind": "basic", "user": "u", "password": "env:P", "realm": "x" });
        assert!(error("https://x.example/", unknown).contains("realm"));
        let json = json!({ "url": "https://x.example/", "auth": basic(), "pasword": 1 });
        let error = serde_json::from_value::<Settings>(json)
            .unwrap_err()
            .to_string();
        assert!(error.contains("pasword"), "{error}");
    }

    #[test]
    fn plain_http_is_accepted_to_the_machine_itself_only() {
        for host in ["127.0.0.1:1", "localhost", "[::1]"] {
            assert!(
                settings(&format!("http://{host}/EWS"), basic()).is_ok(),
                "{host}"
            );
        }
        assert!(settings("http://127.0.0.1.evil.example/", basic()).is_err());
    }
}
