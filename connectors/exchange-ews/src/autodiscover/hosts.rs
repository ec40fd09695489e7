//! Which hosts may be asked, and which of them may be told who asks.
//!
//! A name is derived from a configured mail domain and from nothing else: no label is ever taken away from a domain, so
//! that nobody who owns `autodiscover.` under a public suffix is asked.

use calbridge_core::connector::{Error, Result};
use url::{Host, Url};

/// How many domains and hosts may be named.
const MOST_NAMES: usize = 100;

/// What a host may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Nothing; it is not asked.
    Nothing,
    /// An address to look up, without credentials.
    Addresses,
    /// The service account signs in there, and requests for mailboxes go there.
    Credentials,
}

/// The hosts of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    domains: Vec<String>,
    named: Vec<(String, u16)>,
    /// The configured address.
    own: Option<Url>,
}

impl Hosts {
    /// # Errors
    /// `Config`: a name that is none.
    pub(crate) fn new(domains: &[String], named: &[String], own: Option<&Url>) -> Result<Self> {
        if domains.is_empty() {
            return Err(Error::config(
                "`autodiscover`: `domains` names the mail domains whose mailboxes are looked up, such as `kommune.example`",
            ));
        }
        if domains.len() > MOST_NAMES || named.len() > MOST_NAMES {
            return Err(Error::config(
                "`autodiscover`: at most 100 domains and 100 hosts",
            ));
        }
        let domains = domains
            .iter()
            .map(|name| domain(name).ok_or_else(|| {
                Error::config(
                    "`autodiscover`: `domains` holds whole mail domains, such as `kommune.example`: no top-level domain alone, no `@`, no address of a machine",
                )
            }))
            .collect::<Result<_>>()?;
        let named = named
            .iter()
            .map(|name| host_and_port(name).ok_or_else(|| {
                Error::config(
                    "`autodiscover`: `hosts` holds host names, where needed with a port: `mail.kommune.example` or `mail.kommune.example:8443`",
                )
            }))
            .collect::<Result<_>>()?;
        Ok(Self {
            domains,
            named,
            own: own.cloned(),
        })
    }

    /// Whether mailboxes of a mail domain are looked up.
    pub(crate) fn knows(&self, domain: &str) -> bool {
        self.domains
            .iter()
            .any(|known| known.eq_ignore_ascii_case(domain))
    }

    /// What may be said to the host of an address.
    pub(crate) fn trust(&self, url: &Url) -> Trust {
        if !url.username().is_empty() || url.password().is_some() {
            return Trust::Nothing;
        }
        if self
            .own
            .as_ref()
            .is_some_and(|own| own.origin() == url.origin())
        {
            return Trust::Credentials;
        }
        if url.scheme() != "https" {
            return Trust::Nothing;
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Trust::Nothing;
        };
        let host = host.to_ascii_lowercase();
        if self
            .named
            .iter()
            .any(|(name, at)| *name == host && *at == port)
        {
            return Trust::Credentials;
        }
        // Another port than that of https may be anybody's on a machine that many use.
        if port != 443 || !matches!(url.host(), Some(Host::Domain(_))) {
            return Trust::Nothing;
        }
        if self.domains.contains(&host) {
            return Trust::Addresses;
        }
        let below = |domain: &String| {
            host.strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        if self.domains.iter().any(below) {
            Trust::Credentials
        } else {
            Trust::Nothing
        }
    }

    /// Where to ask about a mailbox of a domain, in this order; each ends with a slash.
    pub(crate) fn bases(&self, domain: &str) -> Vec<Url> {
        let domain = domain.to_ascii_lowercase();
        let named = self
            .named
            .iter()
            .map(|(name, port)| format!("https://{name}:{port}/"));
        let derived = ["autodiscover.", ""].map(|label| format!("https://{label}{domain}/"));
        let own = self.own.as_ref().and_then(|own| own.join("/").ok());
        let mut bases: Vec<Url> = Vec::new();
        let others = named
            .chain(derived)
            .filter_map(|text| Url::parse(&text).ok());
        for base in own.into_iter().chain(others) {
            if !bases.contains(&base) {
                bases.push(base);
            }
        }
        bases
    }
}

/// A mail domain in small letters.
fn domain(name: &str) -> Option<String> {
    let whole = name.contains('.') && !name.starts_with('.') && !name.ends_with('.');
    match Host::parse(name) {
        Ok(Host::Domain(domain)) if whole && plain(&domain) => Some(domain),
        _ => None,
    }
}

/// What a host name may consist of.
fn plain(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    let rest = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    let host = url.host_str().filter(|_| rest)?;
    Some((host.to_ascii_lowercase(), url.port_or_known_default()?))
}

/// Whether a host is one of Exchange Online's, in any of Microsoft's clouds.
pub(crate) fn is_online(host: &str) -> bool {
    const CLOUDS: [&str; 7] = [
        "outlook.com",
        "office365.com",
        "office.com",
        "office365.us",
        "office365.cn",
        "outlook.cn",
        "webmail.apps.mil",
    ];
    within(host, &CLOUDS)
}

/// Whether a mail domain is one that Exchange Online gives its tenants.
pub(crate) fn is_tenant(domain: &str) -> bool {
    const TENANTS: [&str; 3] = ["onmicrosoft.com", "onmicrosoft.us", "onmschina.cn"];
    within(domain, &TENANTS)
}

fn within(name: &str, parents: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    parents.iter().any(|parent| {
        name.strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// A host as it may stand in an error.
pub(crate) fn shown(url: &Url) -> String {
    let host: String = url
        .host_str()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(*c))
        .take(100)
        .collect();
    if host.is_empty() {
        "an unnamed host".to_owned()
    } else {
        host
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hosts(named: &[&str], own: Option<&str>) -> Hosts {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let own = own.map(|text| Url::parse(text).unwrap());
        Hosts::new(&["Kommune.example".to_owned()], &named, own.as_ref()).unwrap()
    }

    fn trust(hosts: &Hosts, url: &str) -> Trust {
        hosts.trust(&Url::parse(url).unwrap())
    }

    #[test]
    fn k148_only_hosts_below_the_mail_domain_see_credentials() {
        let hosts = hosts(&["EX01.kommune.local", "gate.example:8443"], None);
        for url in [
            "https://autodiscover.kommune.example/x",
            "https://MAIL.Kommune.Example/EWS/Exchange.asmx",
            "https://a.b.kommune.example/",
            "https://ex01.kommune.local/EWS/Exchange.asmx",
            "https://gate.example:8443/",
        ] {
            assert_eq!(trust(&hosts, url), Trust::Credentials, "{url}");
        }
        // Its bare name is usually a website's, which somebody else runs.
        assert_eq!(trust(&hosts, "https://kommune.example/"), Trust::Addresses);
        for url in [
            "http://autodiscover.kommune.example/",
            "https://autodiscover.kommune.example:8443/",
            "https://evilkommune.example/",
            "https://kommune.example.evil.example/",
            "https://autodiscover.example/",
            "https://gate.example/",
            "https://ex01.kommune.local:444/",
            "https://x@mail.kommune.example/",
            "https://x:y@mail.kommune.example/",
            "https://127.0.0.1/",
            "https://.kommune.example/",
            "ftp://mail.kommune.example/",
        ] {
            let Ok(url) = Url::parse(url) else { continue };
            assert_eq!(hosts.trust(&url), Trust::Nothing, "{url}");
        }
    }

    #[test]
    fn the_configured_address_is_trusted_by_its_origin() {
        let hosts = hosts(&[], Some("http://127.0.0.1:8080/EWS/Exchange.asmx"));
        assert_eq!(
            trust(&hosts, "http://127.0.0.1:8080/autodiscover/x"),
            Trust::Credentials
        );
        assert_eq!(trust(&hosts, "http://127.0.0.1:8081/"), Trust::Nothing);
    }

    #[test]
    fn the_order_of_places() {
        let hosts = hosts(
            &["gate.example:8443"],
            Some("https://mail.kommune.example/EWS/Exchange.asmx"),
        );
        let bases: Vec<String> = hosts
            .bases("KOMMUNE.example")
            .iter()
            .map(Url::to_string)
            .collect();
        assert_eq!(
            bases,
            [
                "https://mail.kommune.example/",
                "https://gate.example:8443/",
                "https://autodiscover.kommune.example/",
                "https://kommune.example/",
            ]
        );
    }

    #[test]
    fn names_that_are_none() {
        for wrong in [
            "",
            "dk",
            "a@kommune.example",
            "10.0.0.1",
            ".example",
            "a..b",
            "x/y.z",
            "[::1]",
        ] {
            assert!(
                Hosts::new(&[wrong.to_owned()], &[], None).is_err(),
                "{wrong}"
            );
        }
        let domains = ["kommune.example".to_owned()];
        for wrong in [
            "",
            "https://x.example",
            "x.example/",
            "u@x.example",
            "x.example/ews",
            "a b",
        ] {
            assert!(
                Hosts::new(&domains, &[wrong.to_owned()], None).is_err(),
                "{wrong}"
            );
        }
        assert!(Hosts::new(&[], &[], None).is_err());
    }

    #[test]
    fn exchange_online_is_known_by_its_names() {
        for host in [
            "outlook.office365.com",
            "autodiscover-s.outlook.com",
            "OUTLOOK.OFFICE365.US",
            "partner.outlook.cn",
        ] {
            assert!(is_online(host), "{host}");
        }
        for host in [
            "notoutlook.com",
            "outlook.com.evil.example",
            "mail.kommune.example",
        ] {
            assert!(!is_online(host), "{host}");
        }
        assert!(is_tenant("kommune.mail.onmicrosoft.com"));
        assert!(!is_tenant("onmicrosoft.com.example"));
    }
}
