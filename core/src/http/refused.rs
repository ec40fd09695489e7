//! What rustls has against a connection, in words.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use super::Cause;
use super::failure::shorten;

/// What is wrong, and what more there is to say of it.
pub(super) fn by_rustls(error: &Error) -> (Cause, String) {
    match error {
        Error::InvalidCertificate(why) => by_certificate(why),
        Error::NoCertificatesPresented => {
            (Cause::TlsBadCertificate, "it shows none at all".to_owned())
        }
        Error::PeerIncompatible(_) => (Cause::TlsNoCommonSuite, shorten(&error.to_string())),
        Error::AlertReceived(alert) => (by_alert(*alert), shorten(&error.to_string())),
        _ => (Cause::TlsOther, shorten(&error.to_string())),
    }
}

fn by_certificate(why: &CertificateError) -> (Cause, String) {
    let bad = |words: &str| (Cause::TlsBadCertificate, words.to_owned());
    match why {
        CertificateError::Expired => (Cause::TlsExpired, String::new()),
        CertificateError::ExpiredContext { not_after, .. } => {
            (Cause::TlsExpired, day("it is not valid after", *not_after))
        }
        CertificateError::NotValidYet => (Cause::TlsNotYetValid, String::new()),
        CertificateError::NotValidYetContext { not_before, .. } => (
            Cause::TlsNotYetValid,
            day("it is not valid before", *not_before),
        ),
        CertificateError::UnknownIssuer => (Cause::TlsUnknownIssuer, String::new()),
        CertificateError::NotValidForName => (Cause::TlsWrongHost, String::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            (Cause::TlsWrongHost, names(presented))
        }
        CertificateError::BadEncoding => bad("it is malformed"),
        CertificateError::Revoked => bad("its authority has revoked it"),
        CertificateError::UnhandledCriticalExtension => {
            bad("it demands something that the TLS library does not know")
        }
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            bad("whether it is revoked cannot be told")
        }
        CertificateError::BadSignature => bad("its signature is wrong"),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => bad(
            "it is signed in a way that rustls does not take, such as SHA-1 or RSA below 2048 bits; its operator must renew it",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            bad(NOT_FOR_SERVERS)
        }
        // Here come what the verifier below rustls and the operating system's have to say.
        other => {
            let told = format!("{other:?}");
            if told.contains("CaUsedAsEndEntity") {
                (Cause::TlsAuthorityAsServer, String::new())
            } else if told.contains("EkuError") {
                bad(NOT_FOR_SERVERS)
            } else {
                (Cause::TlsBadCertificate, shorten(&other.to_string()))
            }
        }
    }
}

const NOT_FOR_SERVERS: &str = "it is not made for servers: its extended key usage lacks serverAuth";

fn by_alert(alert: AlertDescription) -> Cause {
    match alert {
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => Cause::TlsNoCommonSuite,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError
        | AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate => Cause::TlsClientRefused,
        AlertDescription::UnrecognisedName => Cause::TlsWrongHost,
        _ => Cause::TlsOther,
    }
}

/// The day of an instant, by UTC.
fn day(words: &str, time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(|at| format!("{words} {}", TimeZone::UTC.to_datetime(at).date()))
        .unwrap_or_default()
}

/// `DnsName("mail.example")` and the like, as they stand in the certificate.
fn names(presented: &[String]) -> String {
    let plain: Vec<&str> = presented
        .iter()
        .map(|name| name.split('"').nth(1).unwrap_or(name))
        .collect();
    match plain.as_slice() {
        [] => "it names no host at all".to_owned(),
        names => shorten(&format!("it names {}", names.join(", "))),
    }
}
