//! Which mailbox server a request reaches.

use crate::exchange::profile::Profile;
use crate::exchange::store::Store;
use crate::server::Request;

/// The server that holds a mailbox unless it was placed elsewhere.
pub(crate) const HOME: usize = 1;

/// The cookie that leads requests to the server of a group's first subscription.
const COOKIE: &str = "X-BackEndOverrideCookie";

/// The name of a mailbox server, as headers tell it.
pub(crate) fn server_name(server: usize) -> String {
    format!("mbx{server}.sandbox.example")
}

/// How a request was led.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Routing {
    pub(crate) server: usize,
    /// `X-PreferServerAffinity: true`.
    pub(crate) prefers_affinity: bool,
    /// The server that the cookie names.
    pub(crate) cookie: Option<usize>,
}

impl Routing {
    /// The cookie counts only together with `X-PreferServerAffinity`; else the anchor mailbox leads, else the
    /// impersonated one.
    pub(crate) fn of(
        request: &Request,
        store: &Store,
        profile: Profile,
        acting: Option<usize>,
    ) -> Self {
        if profile.is_gromox() {
            return Routing {
                server: HOME,
                ..Routing::default()
            };
        }
        let prefers_affinity = request
            .header("x-preferserveraffinity")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let cookie = cookie(request);
        let anchor = request
            .header("x-anchormailbox")
            .and_then(|address| store.find_mailbox(address.trim()));
        let home = anchor
            .or(acting)
            .and_then(|number| store.mailbox(number))
            .map_or(HOME, |mailbox| mailbox.server);
        Routing {
            server: cookie.filter(|_| prefers_affinity).unwrap_or(home),
            prefers_affinity,
            cookie,
        }
    }

    /// What a subscription's answer tells to remember; once only.
    pub(crate) fn set_cookie(&self) -> Option<String> {
        (self.prefers_affinity && self.cookie.is_none()).then(|| {
            format!(
                "{COOKIE}={}~1941962754; path=/; secure; HttpOnly",
                server_name(self.server)
            )
        })
    }
}

fn cookie(request: &Request) -> Option<usize> {
    let cookies = request.headers.get_all("cookie");
    let mut pairs = cookies
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    let (name, _) = value.split_once('~')?;
    name.strip_prefix("mbx")?
        .strip_suffix(".sandbox.example")?
        .parse()
        .ok()
}
