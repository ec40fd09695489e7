//! The settings of a connection.

use calbridge_core::connector::{Error, Result};
use calbridge_core::http::{ClientCertificate, HttpSettings};
use calbridge_core::model::Address;
use calbridge_core::secret::SecretRef;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Settings of a connection to Office 365 (Microsoft 365) over Microsoft Graph.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The tenant: its id (`Directory (tenant) ID`) or one of its domains.
    pub tenant: String,
    /// The application's id (`Application (client) ID`) of the registration in that tenant.
    pub client_id: String,
    /// What the application proves itself with: a secret or a certificate.
    pub auth: Auth,
    /// Which of Microsoft's clouds the tenant lives in. Default `global`.
    #[serde(default)]
    pub cloud: Cloud,
    /// How many requests are under way at once, for all mailboxes together: Microsoft's documentation allows an
    /// application four, and its services bear more for several mailboxes. A busy service gets fewer by itself. Default 4.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 16))]
    pub max_in_flight: usize,
    /// How many events are asked for in one answer. The service may give fewer. Halved for a mailbox when an answer takes
    /// too long. Default 200.
    #[serde(default = "default_page_size")]
    #[schemars(range(min = 10, max = 1000))]
    pub page_size: usize,
    /// The IANA zone in which most calendars are kept, for example `Europe/Berlin`. Used for events whose own zone cannot
    /// be made out.
    #[serde(default)]
    pub home_zone: Option<String>,
    /// A mailbox that the application must not reach. `check` proves that it is refused, so that the application's rights
    /// are known to end where they should.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub forbidden_mailbox: Option<Address>,
    /// Extra certificate authorities, proxy, TLS backend, timeouts, limits.
    #[serde(default)]
    pub http: HttpSettings,
}

/// What the application proves itself with.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// A client secret.
    Secret {
        /// Where the secret is found: `env:NAME`, `file:PATH`, `credential:NAME`, `keyring:SERVICE/USER`. Read again
        /// whenever a token is asked for, so that a new one is taken up without a restart.
        secret: SecretRef,
        /// The last day of the secret, as the registration shows it. Nothing else tells it: with it, calbridge warns
        /// 30, 14 and 3 days ahead.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        expires: Option<Date>,
    },
    /// A certificate of which the registration holds the public part. Its key is RSA.
    Certificate {
        /// The files. Read again whenever a token is asked for, so that a renewed certificate is taken up without a
        /// restart; of several the valid one that ends last is used.
        certificate: ClientCertificate,
    },
}

/// One of Microsoft's clouds, or addresses of another one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// The worldwide cloud, GCC included.
    #[default]
    Global,
    /// US government, GCC High (L4).
    UsGovernment,
    /// US government, DoD (L5).
    UsDefense,
    /// China, operated by 21Vianet.
    China,
    /// Any other, a sovereign one for instance, by its addresses.
    #[serde(untagged)]
    Other(Addresses),
}

/// The addresses of a cloud.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// Where tokens are issued, for example `https://login.microsoftonline.com`.
    pub login: Url,
    /// The root of Graph, for example `https://graph.microsoft.com`.
    pub graph: Url,
    /// What tokens are for. Default: `.default` at the root of Graph.
    #[serde(default)]
    pub scope: Option<String>,
}

fn default_max_in_flight() -> usize {
    4
}

fn default_page_size() -> usize {
    200
}

impl Cloud {
    /// Login, root of Graph and scope (Graph, "National cloud deployments").
    ///
    /// # Errors
    /// `Config` for addresses that nothing may be sent to.
    pub(crate) fn addresses(&self) -> Result<(Url, Url, String)> {
        let (login, graph) = match self {
            Self::Global => (
                "https://login.microsoftonline.com",
                "https://graph.microsoft.com",
            ),
            Self::UsGovernment => (
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us",
            ),
            Self::UsDefense => (
                "https://login.microsoftonline.us",
                "https://dod-graph.microsoft.us",
            ),
            Self::China => (
                "https://login.chinacloudapi.cn",
                "https://microsoftgraph.chinacloudapi.cn",
            ),
            Self::Other(addresses) => {
                check_url("login", &addresses.login)?;
                check_url("graph", &addresses.graph)?;
                let scope = addresses.scope.clone();
                let scope = scope.unwrap_or_else(|| default_scope(&addresses.graph));
                return Ok((addresses.login.clone(), addresses.graph.clone(), scope));
            }
        };
        let parse = |text: &str| {
            Url::parse(text).map_err(|_| Error::config("`cloud` has an address that is none"))
        };
        let graph = parse(graph)?;
        let scope = default_scope(&graph);
        Ok((parse(login)?, graph, scope))
    }
}

fn default_scope(graph: &Url) -> String {
    format!("{}/.default", graph.as_str().trim_end_matches('/'))
}

impl Settings {
    /// What `Deserialize` cannot check.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        let named = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        };
        if !named(&self.tenant) {
            return Err(Error::config(
                "`tenant`: the tenant's id, or one of its domains such as `contoso.onmicrosoft.com`",
            ));
        }
        if !named(&self.client_id) {
            return Err(Error::config(
                "`client_id`: the application's id from the registration's overview (`Application (client) ID`)",
            ));
        }
        self.cloud.addresses()?;
        if let Auth::Certificate { certificate } = &self.auth {
            certificate.validate()?;
        }
        if !(1..=16).contains(&self.max_in_flight) {
            return Err(Error::config("`max_in_flight`: 1 to 16"));
        }
        if !(10..=1000).contains(&self.page_size) {
            return Err(Error::config("`page_size`: 10 to 1000"));
        }
        if let Some(zone) = &self.home_zone
            && calbridge_core::model::zone::by_name(zone).is_none()
        {
            return Err(Error::config(
                "`home_zone` is not the name of a time zone; write an IANA name such as `Europe/Berlin`",
            ));
        }
        Ok(())
    }
}

fn check_url(name: &str, url: &Url) -> Result<()> {
    let wrong = |what: &str| Err(Error::config(format!("`cloud`: `{name}`: {what}")));
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(url) => {}
        "http" => {
            return wrong(
                "secrets and tokens would cross the network in the clear; use https (plain http is accepted to the machine itself only)",
            );
        }
        _ => return wrong("https is needed"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("credentials belong into `auth`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("an address without query and fragment");
    }
    Ok(())
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
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value)]
    fn settings(changes: Value) -> Result<Settings, String> {
        let mut value = json!({
            "tenant": "contoso.onmicrosoft.com",
            "client_id": "2f1c0b0e-6f7f-4bc3-9a3e-0a4f6c1d2e3f",
            "auth": { "kind": "secret", "secret": "env:SECRET" },
        });
        for (name, change) in changes.as_object().unwrap() {
            value[name] = change.clone();
        }
        let settings: Settings =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn three_values_are_enough() {
        let settings = settings(json!({})).unwrap();
        assert_eq!((settings.max_in_flight, settings.page_size), (4, 200));
        let (login, graph, scope) = settings.cloud.addresses().unwrap();
        assert_eq!(login.host_str(), Some("login.microsoftonline.com"));
        assert_eq!(graph.host_str(), Some("graph.microsoft.com"));
        assert_eq!(scope, "https://graph.microsoft.com/.default");
    }

    #[test]
    fn clouds_by_name_and_by_address() {
        for (cloud, host) in [
            (json!("us-government"), "graph.microsoft.us"),
            (json!("us-defense"), "dod-graph.microsoft.us"),
            (json!("china"), "microsoftgraph.chinacloudapi.cn"),
            (
                json!({ "login": "https://login.cloud.example", "graph": "https://graph.cloud.example/" }),
                "graph.cloud.example",
            ),
        ] {
            let settings = settings(json!({ "cloud": cloud })).unwrap();
            let (_, graph, scope) = settings.cloud.addresses().unwrap();
            assert_eq!(graph.host_str(), Some(host));
            assert_eq!(scope, format!("https://{host}/.default"));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (changes, says) in [
            (json!({ "tenant": "" }), "`tenant`"),
            (json!({ "tenant": "a/b" }), "`tenant`"),
            (json!({ "client_id": "my app" }), "`client_id`"),
            (
                json!({ "auth": { "kind": "secret", "secret": "hunter2" } }),
                "not a reference",
            ),
            (
                json!({ "auth": { "kind": "certificate", "certificate": {} } }),
                "`pkcs12`",
            ),
            (json!({ "auth": { "kind": "password" } }), "password"),
            (
                json!({ "cloud": { "login": "http://a.example", "graph": "https://b.example" } }),
                "in the clear",
            ),
            (
                json!({ "cloud": { "login": "https://a.example", "graph": "https://u:hunter2@b.example" } }),
                "`graph`",
            ),
            (json!({ "max_in_flight": 17 }), "`max_in_flight`"),
            (json!({ "page_size": 1 }), "`page_size`"),
            (json!({ "home_zone": "Berlin" }), "`home_zone`"),
            (json!({ "forbidden_mailbox": "nobody" }), "address"),
            (json!({ "tenent": "x" }), "tenent"),
        ] {
            let error = settings(changes.clone()).unwrap_err();
            assert!(error.contains(says), "{changes}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
