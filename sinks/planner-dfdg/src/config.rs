//! Settings.

use calbridge_core::connector::{Error, Result};
use calbridge_core::http::{ClientCertificate, HttpSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use uuid::Uuid;

/// More calls at once than Kommuneklienten ever made are not made.
pub const MAX_PARALLEL_CALLS: i64 = 10;

pub(crate) const DEFAULT_EVENTS: usize = 15;
pub(crate) const DEFAULT_PARALLEL: usize = 3;
const DEFAULT_CALENDARS: u32 = 2;
const DEFAULT_PER_MINUTE: u32 = 300;

/// Settings of a connection to Jobcenter Planner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannerSettings {
    /// Where the service is, as STAR told it: the `https` address that ends in
    /// `PlannerExternalCalendarService.svc`. Plain `http` is taken for this computer only (a sandbox).
    pub url: Url,
    /// The jobcenter's number, such as `10100`. It stands in both headers of every call.
    #[schemars(regex(pattern = r"^[0-9]{1,8}$"))]
    pub jobcenter: String,
    /// Who calls: the holder of the client certificate as STAR has registered it,
    /// `CVR:12345678-FID:1234567890123` (OCES2) or `CVR:12345678-UUID:<uuid>` (OCES3). It is compared with the
    /// certificate before the first call.
    pub request_user: String,
    /// The client certificate (FOCES/OCES function or system certificate) that STAR has opened for the service.
    pub certificate: ClientCertificate,
    /// HTTP: company CAs, proxy, TLS library, time limits, the largest answer.
    #[serde(default)]
    pub http: HttpSettings,
    /// How many events a call carries at most. Calls shrink by themselves while Planner answers too late.
    #[serde(default = "default_events")]
    #[schemars(range(min = 1))]
    pub max_events_per_call: u32,
    /// How many calendars are listed with one call when Planner's content is compared.
    #[serde(default = "default_calendars")]
    #[schemars(range(min = 1))]
    pub calendars_per_inventory: u32,
    /// How many calls a minute are made at most, as agreed with STAR. A sixth of it may come at once.
    #[serde(default = "default_per_minute")]
    #[schemars(range(min = 1))]
    pub calls_per_minute: u32,
    /// How many calls are made at once; more than 10 count as 10.
    #[serde(default = "default_parallel")]
    #[schemars(range(min = 1))]
    pub parallel_calls: i64,
}

fn default_events() -> u32 {
    u32::try_from(DEFAULT_EVENTS).unwrap_or(u32::MAX)
}

fn default_calendars() -> u32 {
    DEFAULT_CALENDARS
}

fn default_per_minute() -> u32 {
    DEFAULT_PER_MINUTE
}

fn default_parallel() -> i64 {
    i64::try_from(DEFAULT_PARALLEL).unwrap_or(MAX_PARALLEL_CALLS)
}

impl PlannerSettings {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// `Config`, naming the setting and what would be right.
    pub fn validate(&self) -> Result<()> {
        let local = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(Error::config("`url` names no host")),
        };
        match self.url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(Error::config("`url` must be an https address")),
        }
        if self.jobcenter.trim().is_empty() {
            return Err(Error::config(
                "`jobcenter` is empty; set the jobcenter's number, such as \"10100\"",
            ));
        }
        if self.jobcenter.len() > 8 || !self.jobcenter.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::config(
                "`jobcenter` must be a number of one to eight digits, such as \"10100\"",
            ));
        }
        if self.request_user.trim().is_empty() {
            return Err(Error::config(
                "`request_user` is empty; set the holder of the certificate as STAR has registered it, \"CVR:12345678-FID:1234567890123\" or \"CVR:12345678-UUID:...\"",
            ));
        }
        if Holder::parse(&self.request_user).is_none() {
            return Err(Error::config(
                "`request_user` must have the form \"CVR:<8 digits>-FID:<digits>\" or \"CVR:<8 digits>-UUID:<uuid>\"",
            ));
        }
        self.certificate.validate()?;
        for (name, value) in [
            ("max_events_per_call", i64::from(self.max_events_per_call)),
            (
                "calendars_per_inventory",
                i64::from(self.calendars_per_inventory),
            ),
            ("calls_per_minute", i64::from(self.calls_per_minute)),
            ("parallel_calls", self.parallel_calls),
        ] {
            if value < 1 {
                return Err(Error::config(format!("`{name}` must be at least 1")));
            }
        }
        Ok(())
    }

    pub(crate) fn events_per_call(&self) -> usize {
        usize::try_from(self.max_events_per_call.max(1)).unwrap_or(DEFAULT_EVENTS)
    }

    pub(crate) fn calendars_per_call(&self) -> usize {
        usize::try_from(self.calendars_per_inventory.max(1)).unwrap_or(1)
    }

    pub(crate) fn parallel(&self) -> usize {
        usize::try_from(self.parallel_calls.clamp(1, MAX_PARALLEL_CALLS)).unwrap_or(1)
    }
}

/// Who holds an OCES certificate: a company and, in it, a function or system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    cvr: String,
    id: HolderId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HolderId {
    /// OCES2 function id.
    Fid(String),
    /// OCES3 UUID.
    Uuid(Uuid),
}

impl Holder {
    /// Reads `CVR:<8 digits>-FID:<digits>` and `CVR:<8 digits>-UUID:<uuid>`, in any letter case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        let rest = upper.strip_prefix("CVR:")?;
        let (cvr, id) = rest.split_once('-')?;
        if !is_cvr(cvr) {
            return None;
        }
        let id = if let Some(fid) = id.strip_prefix("FID:") {
            if fid.is_empty() || fid.len() > 200 || !fid.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            HolderId::Fid(fid.to_owned())
        } else {
            HolderId::Uuid(hyphenated(id.strip_prefix("UUID:")?)?)
        };
        Some(Self {
            cvr: cvr.to_owned(),
            id,
        })
    }

    /// Reads the subject of a certificate: the OCES2 form stands whole in `serialNumber`; OCES3 has
    /// `UI:DK-O:G:<uuid>` there and `NTRDK-<cvr>` in `organizationIdentifier`.
    pub(crate) fn of_subject(serial: Option<&str>, organization: Option<&str>) -> Option<Self> {
        let serial = serial?.trim();
        if let Some(holder) = Self::parse(serial) {
            return Some(holder);
        }
        let cvr = organization?
            .trim()
            .to_ascii_uppercase()
            .strip_prefix("NTRDK-")?
            .to_owned();
        let (_, uuid) = serial.rsplit_once(':')?;
        Some(Self {
            cvr: Some(cvr).filter(|cvr| is_cvr(cvr))?,
            id: HolderId::Uuid(hyphenated(uuid)?),
        })
    }
}

fn is_cvr(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit())
}

fn hyphenated(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use calbridge_core::connector::ErrorKind;
    use serde_json::{Value, json};

    fn settings(change: impl FnOnce(&mut Value)) -> std::result::Result<PlannerSettings, String> {
        let mut value = json!({
            "url": "https://service.example/PlannerExternalCalendarService.svc",
            "jobcenter": "10100",
            "request_user": "CVR:12345678-FID:1234567890123",
            "certificate": { "pkcs12": "oces.p12", "password": "env:P12" },
        });
        change(&mut value);
        let settings: PlannerSettings =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| {
            assert_eq!(error.kind, ErrorKind::Config);
            error.to_string()
        })?;
        Ok(settings)
    }

    #[test]
    fn the_shipped_defaults() {
        let settings = settings(|_| {}).unwrap();
        assert_eq!(settings.events_per_call(), 15);
        assert_eq!(settings.calendars_per_call(), 2);
        assert_eq!(settings.parallel(), 3);
        assert_eq!(settings.calls_per_minute, 300);
    }

    #[test]
    fn k151_blank_or_missing_jobcenter_and_user_refuse_to_open() {
        for key in ["jobcenter", "request_user"] {
            for blank in ["", "  "] {
                let error = settings(|value| value[key] = blank.into()).unwrap_err();
                assert!(error.contains(key) && error.contains("empty"), "{error}");
            }
            let error = settings(|value| {
                value.as_object_mut().unwrap().remove(key);
            })
            .unwrap_err();
            assert!(error.contains(&format!("missing field `{key}`")), "{error}");
        }
    }

    #[test]
    fn k153_more_than_ten_calls_at_once_count_as_ten() {
        let settings = settings(|value| value["parallel_calls"] = 25.into()).unwrap();
        assert_eq!(settings.parallel(), 10);
    }

    #[test]
    fn k154_no_or_negative_parallelism_is_refused() {
        for wrong in [0, -3] {
            let error = settings(|value| value["parallel_calls"] = wrong.into()).unwrap_err();
            assert!(
                error.contains("`parallel_calls` must be at least 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (key, wrong, says) in [
            ("jobcenter", json!("Aarhus"), "one to eight digits"),
            ("jobcenter", json!("123456789"), "one to eight digits"),
            (
                "request_user",
                json!("CVR:1234-FID:1"),
                "must have the form",
            ),
            ("url", json!("http://service.example/x.svc"), "https"),
            ("certificate", json!({}), "either `pkcs12`"),
            (
                "certificate",
                json!({ "thumbprint": "00" }),
                "unknown field",
            ),
            ("max_events_per_call", json!(0), "at least 1"),
            ("calls_per_minute", json!(0), "at least 1"),
            ("calendars_per_inventory", json!("two"), "invalid type"),
            ("jobcentre", json!("10100"), "unknown field `jobcentre`"),
        ] {
            let error = settings(|value| value[key] = wrong.clone()).unwrap_err();
            assert!(error.contains(says), "{key}: {error}");
        }
    }

    #[test]
    fn plain_http_is_for_this_computer_only() {
        for url in [
            "http://localhost:8080/p.svc",
            "http://127.0.0.1/p.svc",
            "http://[::1]/p.svc",
        ] {
            settings(|value| value["url"] = url.into()).unwrap();
        }
    }

    #[test]
    fn holders_are_the_same_whatever_the_certificates_generation() {
        let oces2 = Holder::parse("CVR:12345678-FID:1234567890123").unwrap();
        assert_eq!(
            Holder::of_subject(Some("cvr:12345678-fid:1234567890123"), None),
            Some(oces2.clone())
        );
        let uuid = "0a1b2c3d-0001-4002-8003-00000000000a";
        let oces3 = Holder::parse(&format!("CVR:12345678-UUID:{uuid}")).unwrap();
        assert_eq!(
            Holder::of_subject(Some(&format!("UI:DK-O:G:{uuid}")), Some("NTRDK-12345678")),
            Some(oces3.clone())
        );
        assert_ne!(oces2, oces3);
        for wrong in [
            "",
            "CVR:12345678",
            "CVR:12345678-FID:",
            "CVR:1234567x-FID:1",
            "CVR:12345678-UUID:0a1b2c3d000140028003000000000000000a",
            "CVR:12345678-RID:1",
        ] {
            assert_eq!(Holder::parse(wrong), None, "{wrong}");
        }
    }
}
