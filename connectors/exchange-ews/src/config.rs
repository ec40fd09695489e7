//! The settings of a connection.

use std::path::PathBuf;

use calbridge_core::connector::{Error, Result};
use calbridge_core::http::{HttpSettings, HumanDuration};
use calbridge_core::model::Address;
use calbridge_core::secret::SecretRef;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Settings of a connection to Exchange over EWS (Exchange 2013 SP1 to Subscription Edition).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address of the EWS virtual directory, usually `https://HOST/EWS/Exchange.asmx`. Plain `http` is
    /// accepted only to the machine itself. May be left out where `autodiscover` is set: each mailbox's server is looked
    /// up then.
    #[serde(default)]
    pub url: Option<Url>,
    /// How the servers of mailboxes are looked up. Needed without `url`, where mailboxes live at several addresses or
    /// move between them. Together with `url` all requests go there, and what is looked up is whether a mailbox has moved
    /// to Exchange Online, and which mailboxes belong together.
    #[serde(default)]
    pub autodiscover: Option<Autodiscover>,
    /// How the service account signs in.
    pub auth: Auth,
    /// Further service accounts beside `auth`, written as it. Each mailbox belongs to one of them all, always the same, so
    /// that what Exchange allows an account is needed for a part of the mailboxes only, and an account that is refused
    /// stops its own part only. Every account needs the rights on all mailboxes.
    #[serde(default)]
    pub more_accounts: Vec<Auth>,
    /// Whose rights are used. `impersonation` (default): the account has the management role
    /// ApplicationImpersonation, best with a scope that holds the synchronised mailboxes only. `delegate`:
    /// each mailbox has granted the account at least Reviewer rights on its calendar.
    #[serde(default)]
    pub access: Access,
    /// How many mailboxes are read at once, and how many requests one server gets at once: two of them at most for
    /// one mailbox. A server that is busy gets fewer by itself, and one more again for each minute without trouble.
    /// Exchange's own limit is 27 requests per mailbox; what a server bears altogether is for its administrator to
    /// say. Default 10.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 100))]
    pub max_in_flight: usize,
    /// How many items are asked for in one request of details. Halved for a mailbox after a timeout, down to 5. Default 20.
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
    /// Whether calbridge may write into the calendars. `false` (default): it reads, and nothing else. `true`: the
    /// connection can be the sink of a sync; the account needs the rights of an Editor on each calendar, which
    /// impersonation brings along. Meetings with others are never written, and nobody is mailed. Needs `home_zone`.
    #[serde(default)]
    pub writable: bool,
    /// How many minutes before an appointment that calbridge made Outlook reminds of it. Default: not at all.
    #[serde(default)]
    #[schemars(range(max = 40320))]
    pub reminder_minutes: Option<u32>,
    /// Extra certificate authorities, proxy, TLS backend, timeouts, limits.
    #[serde(default)]
    pub http: HttpSettings,
    /// Writes the requests for one mailbox and the answers into a file, for support; `--trace-wire` sets it for one run.
    #[serde(default)]
    pub trace: Option<TraceSettings>,
}

/// The requests for one mailbox and the answers in a file: their form, codes and times, without credentials, addresses,
/// names, subjects and other texts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// Whose.
    #[schemars(with = "String")]
    pub mailbox: Address,
    /// The file; what is in it stays. No other account of the machine may read a file that is made.
    pub file: PathBuf,
    /// For how long, from the connection's opening on. Default `10 min`.
    #[serde(default = "default_lasts")]
    pub lasts: HumanDuration,
}

fn default_lasts() -> HumanDuration {
    HumanDuration::from_secs(10 * 60)
}

/// How the servers of mailboxes are looked up (autodiscover). Only https is used, certificates are verified, and
/// redirections are followed within these domains and hosts alone.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autodiscover {
    /// The mail domains whose mailboxes are looked up, for example `["kommune.example"]`; mailboxes of others are not.
    /// Hosts below them (`autodiscover.kommune.example`, `mail.kommune.example`) get the service account's credentials, and
    /// requests. The bare domain, usually a website's, is asked without credentials.
    pub domains: Vec<String>,
    /// Further hosts that get the account's credentials and requests, each `HOST` or `HOST:PORT`: servers with names
    /// outside the mail domains, such as `ex01.kommune.local`. They are asked first.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Whether Exchange is also asked which mailboxes belong together (GroupingInformation), one request per mailbox.
    /// Streams of notifications are led by the mailbox servers that Exchange names in its answers; this is for fronts that
    /// take those names out.
    #[serde(default)]
    pub grouping: bool,
    /// How long what was found counts before it is looked up again. Where nobody answers it counts longer, and a mailbox
    /// whose requests fail is looked up sooner. Default `24 h`.
    #[serde(default = "default_refresh")]
    pub refresh: HumanDuration,
}

fn default_refresh() -> HumanDuration {
    HumanDuration::from_secs(24 * 60 * 60)
}

/// How the service account signs in. The one way that is named is used, and never another one in its place.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// Windows authentication by NTLM (version 2), which every Exchange on premises offers.
    Ntlm {
        /// `DOMAIN\user` or the user principal name.
        user: String,
        /// Where the password is found: `env:NAME`, `file:PATH`, `credential:NAME`, `keyring:SERVICE/USER`.
        password: SecretRef,
        /// Whether the TLS channel is named in the sign-in, as Extended Protection wants it. `auto` (default) is right
        /// unless a proxy opens TLS with another certificate than Exchange's own.
        #[serde(default)]
        channel_binding: ChannelBinding,
    },
    /// Windows authentication by Negotiate: Kerberos where `kdc` is set, otherwise NTLM inside Negotiate. Kerberos is
    /// never replaced by NTLM.
    Negotiate {
        /// `DOMAIN\user` or the user principal name. For Kerberos the part after `@`, or before the backslash, is the
        /// realm: the domain's full name.
        user: String,
        /// Where the password is found: `env:NAME`, `file:PATH`, `credential:NAME`, `keyring:SERVICE/USER`.
        password: SecretRef,
        /// The domain controllers that issue tickets, by name and, where it is not 88, port. They are asked over TCP,
        /// one after the other.
        #[serde(default)]
        kdc: Vec<String>,
        /// The host in the service principal name `HTTP/HOST`, where it is not the host of `url`.
        #[serde(default)]
        service: Option<String>,
        /// Whether the TLS channel is named in the sign-in, as Extended Protection wants it. `auto` (default) is right
        /// unless a proxy opens TLS with another certificate than Exchange's own.
        #[serde(default)]
        channel_binding: ChannelBinding,
    },
    /// OAuth 2.0 client credentials: hybrid modern authentication with Entra ID, or AD FS. The token is kept and
    /// renewed before it ends.
    Oauth {
        /// The token endpoint, for example `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`.
        token_url: Url,
        /// The application's id.
        client_id: String,
        /// Where the application's secret is found: `env:NAME`, `file:PATH`, `credential:NAME`, `keyring:SERVICE/USER`.
        client_secret: SecretRef,
        /// What the token is for. Default: `https://HOST/.default` with the host of `url`.
        #[serde(default)]
        scope: Option<String>,
    },
    /// HTTP Basic over TLS. Must be switched on for the EWS virtual directory.
    Basic {
        /// `DOMAIN\user` or the user principal name.
        user: String,
        /// Where the password is found: `env:NAME`, `file:PATH`, `credential:NAME`, `keyring:SERVICE/USER`.
        password: SecretRef,
    },
    /// An OAuth access token (hybrid modern authentication, AD FS), renewed by something outside.
    Bearer {
        /// Where the token is found; read again for each request.
        token: SecretRef,
    },
}

/// Whether a sign-in names the TLS channel that it goes through (`tls-server-end-point`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelBinding {
    /// Over TLS.
    #[default]
    Auto,
    /// Never.
    Off,
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
    /// All service accounts.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Auth> {
        std::iter::once(&self.auth).chain(&self.more_accounts)
    }

    /// What `Deserialize` cannot check.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn check(&self) -> Result<()> {
        match (&self.url, &self.autodiscover) {
            (Some(url), _) => check_url(url)?,
            (None, Some(_)) => {}
            (None, None) => {
                return Err(Error::config(
                    "`url` is missing: the address of EWS, usually https://HOST/EWS/Exchange.asmx. Where mailboxes live at several addresses, set `autodiscover` instead",
                ));
            }
        }
        if let Some(autodiscover) = &self.autodiscover {
            crate::autodiscover::check(autodiscover, self.url.as_ref())?;
        }
        let mut names = Vec::new();
        for auth in self.accounts() {
            auth.check()?;
            let name = auth.name();
            if names.contains(&name) {
                return Err(Error::config("`more_accounts`: an account is named twice"));
            }
            names.push(name);
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
        if self.writable && self.home_zone.is_none() {
            return Err(Error::config(
                "`writable` needs `home_zone`, the zone in which whole days are written; for example `Europe/Copenhagen`",
            ));
        }
        if self
            .reminder_minutes
            .is_some_and(|minutes| minutes > 40_320)
        {
            return Err(Error::config(
                "`reminder_minutes`: at most 40320, four weeks",
            ));
        }
        Ok(())
    }
}

fn check_url(url: &Url) -> Result<()> {
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(url) => {}
        "http" => {
            return Err(Error::config(
                "`url`: credentials would cross the network in the clear; use https (plain http is accepted to the machine itself only)",
            ));
        }
        _ => return Err(Error::config("`url`: https is needed")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(
            "`url` holds credentials; they belong into `auth`, the password as a reference",
        ));
    }
    Ok(())
}

impl Auth {
    /// What tells it from another account, without regard to the order in which they are named.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ntlm { user, .. } | Self::Negotiate { user, .. } | Self::Basic { user, .. } => {
                user.to_lowercase()
            }
            Self::Oauth { client_id, .. } => client_id.clone(),
            Self::Bearer { token } => token.to_string(),
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Ntlm { user, .. } | Self::Negotiate { user, .. } => {
                let parts = user.split_once('\\').or_else(|| user.rsplit_once('@'));
                let whole = parts.is_none_or(|(one, other)| !one.is_empty() && !other.is_empty());
                if user.trim().is_empty() || !whole {
                    return Err(Error::config(
                        "`auth`: `user` is written `DOMAIN\\user` or `user@domain.example`",
                    ));
                }
                if let Self::Negotiate { kdc, service, .. } = self {
                    if !kdc.is_empty() && parts.is_none() {
                        return Err(Error::config(
                            "`auth`: Kerberos needs the domain in `user`: `user@domain.example`",
                        ));
                    }
                    if kdc.iter().any(|name| !is_host(name)) {
                        return Err(Error::config(
                            "`auth`: `kdc` holds names of domain controllers, such as `dc1.domain.example` or `dc1.domain.example:88`",
                        ));
                    }
                    if service.as_deref().is_some_and(|name| !is_host(name)) {
                        return Err(Error::config(
                            "`auth`: `service` is a host name, without `HTTP/` before it",
                        ));
                    }
                }
                Ok(())
            }
            Self::Oauth {
                token_url,
                client_id,
                ..
            } => {
                if token_url.scheme() != "https"
                    && !(token_url.scheme() == "http" && is_loopback(token_url))
                {
                    return Err(Error::config(
                        "`auth`: `token_url`: the application's secret would cross the network in the clear; use https",
                    ));
                }
                if !token_url.username().is_empty() || token_url.password().is_some() {
                    return Err(Error::config(
                        "`auth`: `token_url` holds credentials; they belong into `client_id` and `client_secret`",
                    ));
                }
                if client_id.trim().is_empty() {
                    return Err(Error::config("`auth`: `client_id` is empty"));
                }
                Ok(())
            }
            Self::Basic { user, .. } if user.contains(':') => Err(Error::config(
                "`auth`: a user name with a colon cannot sign in by Basic",
            )),
            Self::Basic { .. } | Self::Bearer { .. } => Ok(()),
        }
    }
}

fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
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
    fn ways_to_sign_in() {
        let url = "https://mail.kommune.example/EWS/Exchange.asmx";
        for auth in [
            json!({ "kind": "ntlm", "user": "K\\svc", "password": "env:P" }),
            json!({ "kind": "ntlm", "user": "svc@k.example", "password": "env:P", "channel_binding": "off" }),
            json!({ "kind": "negotiate", "user": "svc", "password": "env:P" }),
            json!({ "kind": "negotiate", "user": "svc@k.example", "password": "env:P", "kdc": ["dc1.k.example", "dc2:88"], "service": "mail.k.example" }),
            json!({ "kind": "oauth", "token_url": "https://login.example/token", "client_id": "c", "client_secret": "env:P" }),
        ] {
            assert!(settings(url, auth.clone()).is_ok(), "{auth}");
        }
        for (auth, says) in [
            (
                json!({ "kind": "ntlm", "user": "", "password": "env:P" }),
                "`user`",
            ),
            (
                json!({ "kind": "ntlm", "user": "K\\", "password": "env:P" }),
                "`user`",
            ),
            (
                json!({ "kind": "ntlm", "user": "svc", "password": "hunter2" }),
                "not a reference",
            ),
            (
                json!({ "kind": "negotiate", "user": "svc", "password": "env:P", "kdc": ["dc1"] }),
                "the domain in `user`",
            ),
            (
                json!({ "kind": "negotiate", "user": "svc@k", "password": "env:P", "kdc": ["tcp://dc1"] }),
                "`kdc`",
            ),
            (
                json!({ "kind": "negotiate", "user": "svc@k", "password": "env:P", "service": "HTTP/x" }),
                "`service`",
            ),
            (
                json!({ "kind": "oauth", "token_url": "http://login.example/token", "client_id": "c", "client_secret": "env:P" }),
                "in the clear",
            ),
            (
                json!({ "kind": "oauth", "token_url": "https://a:hunter2@login.example/", "client_id": "c", "client_secret": "env:P" }),
                "credentials",
            ),
            (
                json!({ "kind": "basic", "user": "a:b", "password": "env:P" }),
                "colon",
            ),
            (json!({ "kind": "kerberos", "user": "svc" }), "kerberos"),
        ] {
            let error = settings(url, auth).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn accounts_are_several_and_each_is_checked() {
        let of = |more: serde_json::Value| {
            let settings: Settings = serde_json::from_value(
                json!({ "url": "https://x.example/", "auth": basic(), "more_accounts": more }),
            )
            .unwrap();
            settings.check().map_err(|error| error.to_string())
        };
        let second = json!({ "kind": "ntlm", "user": "K\\svc2", "password": "env:P" });
        assert!(of(json!([second])).is_ok());
        let again = json!({ "kind": "ntlm", "user": "k\\SVC", "password": "env:Q" });
        assert!(of(json!([again])).unwrap_err().contains("named twice"));
        let broken = json!({ "kind": "ntlm", "user": "", "password": "env:P" });
        assert!(of(json!([broken])).unwrap_err().contains("`user`"));
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
    fn without_an_address_servers_are_looked_up() {
        let of = |settings: serde_json::Value| {
            let settings: Settings = serde_json::from_value(settings).unwrap();
            settings.check().map_err(|error| error.to_string())
        };
        let look_up = json!({ "domains": ["kommune.example"], "hosts": ["ex01.kommune.local"] });
        assert!(of(json!({ "auth": basic(), "autodiscover": look_up })).is_ok());
        let both = json!({ "url": "https://x.example/", "auth": basic(), "autodiscover": look_up });
        assert!(of(both).is_ok());
        assert!(
            of(json!({ "auth": basic() }))
                .unwrap_err()
                .contains("`url`")
        );
        let public = json!({ "auth": basic(), "autodiscover": { "domains": ["dk"] } });
        assert!(of(public).unwrap_err().contains("`domains`"));
        let url = json!({ "auth": basic(), "autodiscover": { "domains": ["x.dk"], "hosts": ["https://x.dk"] } });
        assert!(of(url).unwrap_err().contains("`hosts`"));
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
