//! The settings.

use std::path::PathBuf;

use calbridge_core::connector::{Error, Result};
use calbridge_core::http::HttpSettings;
use calbridge_core::model::{Address, zone};
use calbridge_core::secret::SecretRef;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Settings of an `ical-source` connection: either `path` or `url`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A file, or a folder with one file per mailbox, named after its address: `jane@example.org.ics`. The
    /// files of a folder are the roster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// An https feed. `http` is taken from this machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// Whose calendar a single file or a feed is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The user name of a feed that asks for one (HTTP Basic).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of a feed that asks for one, as a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// The zone of times that name none, and in which the days of all-day events begin: an IANA name or a
    /// Windows zone id.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// The largest file that is read, in bytes. Larger ones are errors of their calendar.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
    /// Proxy, authorities and timeouts of a feed. Its `max_response` is not used: `max_bytes` is.
    #[serde(default)]
    pub http: HttpSettings,
}

fn default_zone() -> String {
    "Europe/Copenhagen".to_owned()
}

fn default_max_bytes() -> u64 {
    32 * 1024 * 1024
}

/// Where the calendars are, after the settings have been checked.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// `path`, without `address`: one file per mailbox.
    Folder(PathBuf),
    /// `path` and `address`.
    File(PathBuf, Address),
    /// `url` and `address`.
    Feed(Url, Address),
}

impl Settings {
    /// # Errors
    /// `Config`, saying what would be right.
    pub(crate) fn place(&self) -> Result<Place> {
        if self
            .path
            .as_deref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(Error::config("`path` must not be empty"));
        }
        match (&self.path, &self.url, &self.address) {
            (Some(path), None, None) => Ok(Place::Folder(path.clone())),
            (Some(path), None, Some(address)) => Ok(Place::File(path.clone(), address.clone())),
            (None, Some(url), Some(address)) if is_safe(url) => {
                Ok(Place::Feed(url.clone(), address.clone()))
            }
            (None, Some(_), Some(_)) => Err(Error::config("`url` must begin with https://")),
            (None, Some(_), None) => Err(Error::config(
                "`url` needs `address`: whose calendar the feed is",
            )),
            _ => Err(Error::config("set either `path` or `url`")),
        }
    }

    /// # Errors
    /// `Config` for a name that is no zone.
    pub(crate) fn home(&self) -> Result<TimeZone> {
        zone::by_name(&self.zone).ok_or_else(|| {
            Error::config("`zone` is no known zone; write an IANA name such as `Europe/Copenhagen`")
        })
    }
}

/// Calendars do not cross a network in the clear.
fn is_safe(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && here)
}
