//! Who may call: certificates, their release, and the authorities they may act for.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::schema::Headers;

/// `ErrorCode` of the `FaultDetails` by which this server refuses a call.
///
/// The real numbers are not public. What can be relied on is that the four refusals differ: an
/// unknown certificate never reaches the service (TLS alert or HTTP 403), the other three are
/// `FaultDetails` with different messages.
pub mod access_code {
    /// The certificate is known, but access was not opened for it.
    pub const NOT_OPENED: i32 = 1001;
    /// The certificate may not act for this organisation.
    pub const WRONG_AUTHORITY: i32 = 1002;
    /// `UserIdentifier` does not name the certificate's holder.
    pub const WRONG_USER: i32 = 1003;
    /// The call has more events than agreed.
    pub const TOO_MANY_EVENTS: i32 = 1101;
    /// The call asks for more calendars than agreed.
    pub const TOO_MANY_CALENDARS: i32 = 1102;
}

/// A certificate that Planner's operator has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCertificate {
    /// Its holder: `CVR:<8 digits>-FID:<digits>` (OCES2) or `CVR:<8 digits>-UUID:<uuid>` (OCES3).
    pub holder: String,
    /// Whether access was opened for it.
    pub opened: bool,
    /// Codes of the jobcenters that it may act for.
    pub jobcenters: Vec<String>,
}

impl KnownCertificate {
    /// A certificate that is opened for one jobcenter.
    #[must_use]
    pub fn opened(holder: &str, jobcenter: &str) -> Self {
        Self {
            holder: holder.to_owned(),
            opened: true,
            jobcenters: vec![jobcenter.to_owned()],
        }
    }
}

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everybody, without a certificate; for tests over plain HTTP.
    #[default]
    Anybody,
    /// Holders of these certificates, for the jobcenters that are named with them.
    Certificates(Vec<KnownCertificate>),
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No certificate, or an unknown one: the front end answers 403.
    Forbidden,
    NotOpened,
    WrongAuthority,
    WrongUser,
}

impl Access {
    /// The holder of a certificate that is known.
    pub(super) fn admit(
        &self,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<Option<&KnownCertificate>, Refusal> {
        let Self::Certificates(known) = self else {
            return Ok(None);
        };
        let holder = certificate.and_then(holder).ok_or(Refusal::Forbidden)?;
        known
            .iter()
            .find(|known| known.holder.eq_ignore_ascii_case(&holder))
            .map(Some)
            .ok_or(Refusal::Forbidden)
    }
}

impl KnownCertificate {
    /// Whether the holder may make this call.
    pub(super) fn authorise(&self, headers: &Headers) -> Result<(), Refusal> {
        if !self.opened {
            return Err(Refusal::NotOpened);
        }
        if !headers.user_identifier.eq_ignore_ascii_case(&self.holder) {
            return Err(Refusal::WrongUser);
        }
        // 8 is a jobcenter, in both headers.
        let organisations = [
            (
                headers.active_organisation_type,
                &headers.active_organisation,
            ),
            (
                headers.request_organisation_type,
                &headers.request_organisation,
            ),
        ];
        for (kind, code) in organisations {
            if kind != 8 || !self.jobcenters.contains(code) {
                return Err(Refusal::WrongAuthority);
            }
        }
        Ok(())
    }
}

/// The holder of a Danish function certificate, in the form that `UserIdentifier` wants.
///
/// OCES2 certificates carry it in the subject's serialNumber attribute. OCES3 ones carry
/// `UI:DK-O:G:<uuid>` there and `NTRDK-<CVR>` as organizationIdentifier.
#[must_use]
pub fn holder(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let attribute = |oid: &str| {
        parsed
            .subject()
            .iter_attributes()
            .find(|attribute| attribute.attr_type().to_id_string() == oid)
            .and_then(|attribute| attribute.as_str().ok())
    };
    let serial = attribute("2.5.4.5")?;
    if let Some(uuid) = serial.strip_prefix("UI:DK-O:G:") {
        let cvr = attribute("2.5.4.97")?.strip_prefix("NTRDK-")?;
        return Some(format!("CVR:{cvr}-UUID:{uuid}"));
    }
    Some(serial.to_owned())
}
