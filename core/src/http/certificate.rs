//! Client certificates: from PKCS#12 or PEM files, for both TLS libraries.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use p12_keystore::Pkcs12Archive;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsBackend;
use super::client::install_provider;
use crate::connector::{Context, Error, ErrorKind, Result, Scope};
use crate::secret::SecretRef;

/// A client certificate with its private key: either `pkcs12` (with `password`), or `certificate` and `key`.
///
/// A file may hold several certificates, and each path may name a folder of such files: of those that have
/// their key and are valid now, the one that expires last is used. A renewed certificate can so be laid
/// beside the old one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// A PKCS#12 file (`.p12`, `.pfx`), or a folder of them. Modern files (AES) and old ones (RC2, triple DES)
    /// are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<PathBuf>,
    /// The password of the PKCS#12 file, as a reference. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// A PEM file with the certificate and, after it, those of the authorities between it and the root; or a
    /// folder of such files (`.pem`, `.crt`, `.cer`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// A PEM file with the private key, not encrypted; or a folder of such files (`.pem`, `.key`). May be the
    /// same as `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// What a certificate says of itself. No names of persons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The `serialNumber` attribute of the subject (X.520, 2.5.4.5): how OCES certificates name their holder.
    pub subject_serial: Option<String>,
    /// The `organizationIdentifier` attribute of the subject (X.520, 2.5.4.97).
    pub organization: Option<String>,
    /// The first instant at which it is valid.
    pub not_before: Timestamp,
    /// The last instant at which it is valid.
    pub not_after: Timestamp,
}

impl CertificateFacts {
    /// Reads the facts of a certificate in DER form; `None` if it is none.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            subject_serial: attribute(&parsed, "2.5.4.5"),
            organization: attribute(&parsed, "2.5.4.97"),
            not_before: Timestamp::from_second(parsed.validity().not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
        })
    }

    /// Whether it is valid at `now`.
    #[must_use]
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whole days until it expires; negative once it has.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        self.not_after
            .duration_since(now)
            .as_secs()
            .div_euclid(86_400)
    }
}

fn attribute(certificate: &X509Certificate<'_>, oid: &str) -> Option<String> {
    certificate
        .subject()
        .iter_attributes()
        .find(|attribute| attribute.attr_type().to_id_string() == oid)
        .and_then(|attribute| attribute.as_str().ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// A client certificate, its private key and the certificates between it and the root.
pub struct ClientIdentity {
    facts: CertificateFacts,
    /// Leaf first.
    chain: Vec<Vec<u8>>,
    /// PKCS#8.
    key: SecretSlice<u8>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("not_after", &self.facts.not_after)
            .finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// Whether it names one kind of file and only that.
    ///
    /// # Errors
    /// `Config`.
    pub fn validate(&self) -> Result<()> {
        match (&self.pkcs12, &self.certificate, &self.key) {
            (Some(_), None, None) => Ok(()),
            (None, Some(_), Some(_)) if self.password.is_none() => Ok(()),
            (None, Some(_), Some(_)) => Err(wrong(
                "`password` goes with `pkcs12`; keys in PEM files are read without encryption only",
            )),
            _ => Err(wrong(
                "set either `pkcs12` (and `password`), or both `certificate` and `key`",
            )),
        }
    }

    /// Reads the files and chooses the certificate: of those that have their key, the valid one that expires
    /// last; if none is valid at `now`, the one that expires last, so that it can be told what is wrong with
    /// it ([`ClientIdentity::facts`]).
    ///
    /// A file of a folder that cannot be read is skipped and logged, if the others are enough.
    ///
    /// # Errors
    /// `Config` for files that cannot be read, a wrong password, a key that fits no certificate.
    pub fn load(&self, context: &Context, now: Timestamp) -> Result<ClientIdentity> {
        self.load_preferring(context, now, |_| true)
    }

    /// As [`load`](Self::load), but certificates that are `preferred` come before all others, valid or not:
    /// where those of several holders lie side by side, the wrong one is of no use.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_preferring(
        &self,
        context: &Context,
        now: Timestamp,
        preferred: impl Fn(&CertificateFacts) -> bool,
    ) -> Result<ClientIdentity> {
        self.validate()?;
        install_provider();
        let mut found = Found::default();
        if let Some(path) = &self.pkcs12 {
            let password = self
                .password
                .as_ref()
                .map(|reference| context.secret(reference))
                .transpose()?;
            let password = password
                .as_ref()
                .map_or("", |secret| secret.expose_secret());
            for file in files(path, &["p12", "pfx"])? {
                let read = found.read_pkcs12(&file, password);
                found.skip_in_folder(path.is_dir(), read)?;
            }
        }
        // Both may name the same file or folder; what is read twice would be compared twice.
        let mut pem_files = BTreeSet::new();
        if let Some(path) = &self.certificate {
            pem_files.extend(files(path, &["pem", "crt", "cer"])?);
        }
        if let Some(path) = &self.key {
            pem_files.extend(files(path, &["pem", "key"])?);
        }
        let named = [&self.certificate, &self.key];
        for file in pem_files {
            let read = found.read_pem(&file);
            let in_folder = !named.contains(&&Some(file));
            found.skip_in_folder(in_folder, read)?;
        }
        found.choose(now, preferred)
    }
}

impl ClientIdentity {
    /// What the certificate says of itself.
    #[must_use]
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The certificate itself, in DER form.
    pub(super) fn leaf(&self) -> Option<&[u8]> {
        self.chain.first().map(Vec::as_slice)
    }

    /// Signs with RSASSA-PSS and SHA-256 (RFC 8017, 8.1; salt as long as the hash), as PS256 wants it; `None` for a key
    /// of another kind than RSA.
    pub(super) fn sign_ps256(&self, message: &[u8]) -> Option<Vec<u8>> {
        let key = PrivatePkcs8KeyDer::from(self.key.expose_secret());
        let key = any_supported_type(&PrivateKeyDer::Pkcs8(key)).ok()?;
        let signer = key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])?;
        signer.sign(message).ok()
    }

    /// The identity as the TLS library takes it.
    pub(super) fn for_backend(&self, backend: TlsBackend) -> Result<reqwest::Identity> {
        let mut certificates = String::new();
        for der in &self.chain {
            pem("CERTIFICATE", der, &mut certificates);
        }
        let mut key = String::new();
        pem("PRIVATE KEY", self.key.expose_secret(), &mut key);
        let identity = match backend {
            TlsBackend::Rustls => {
                reqwest::Identity::from_pem(format!("{certificates}{key}").as_bytes())
            }
            TlsBackend::NativeTls => {
                reqwest::Identity::from_pkcs8_pem(certificates.as_bytes(), key.as_bytes())
            }
        };
        identity.map_err(|_| {
            wrong("the TLS library does not take this key; use RSA (2048 bits or more) or ECDSA P-256")
        })
    }
}

/// Certificates and keys as they were found, unordered.
#[derive(Default)]
struct Found {
    certificates: Vec<Vec<u8>>,
    keys: Vec<PrivateKeyDer<'static>>,
    /// Why files of a folder could not be read.
    skipped: Vec<Error>,
}

impl Found {
    /// A file that lies beside others, half copied perhaps, must not spoil them.
    fn skip_in_folder(&mut self, in_folder: bool, read: Result<()>) -> Result<()> {
        match read {
            Err(error) if in_folder => {
                self.skipped.push(error);
                Ok(())
            }
            other => other,
        }
    }

    fn read_pkcs12(&mut self, path: &Path, password: &str) -> Result<()> {
        let shown = path.display();
        let data = read(path)?;
        let archive = Pkcs12Archive::from_pkcs12(&data, password).map_err(|error| {
            use p12_keystore::error::Error as P12;
            wrong(match error {
                P12::MacError(_) | P12::UnpadError | P12::Pkcs5Error(_) => {
                    format!("{shown} cannot be opened: wrong password, or the file is damaged")
                }
                P12::UnsupportedEncryptionScheme | P12::UnsupportedMacAlgorithm => format!(
                    "{shown} is encrypted in a way that is not supported; export it again with AES-256"
                ),
                _ => format!("{shown} is not a PKCS#12 file, or is damaged"),
            })
        })?;
        self.certificates
            .extend(archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()));
        self.keys.extend(
            archive.keys.iter().map(|bag| {
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()))
            }),
        );
        Ok(())
    }

    fn read_pem(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let data = read(path)?;
        if String::from_utf8_lossy(&data).contains("ENCRYPTED") {
            return Err(wrong(format!(
                "the key in {shown} is encrypted; use PKCS#12, or decrypt it with `openssl pkey`"
            )));
        }
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&data) {
            let (kind, der) =
                section.map_err(|_| wrong(format!("{shown} is not a PEM file, or is damaged")))?;
            match kind {
                SectionKind::Certificate => self.certificates.push(der),
                SectionKind::PrivateKey => {
                    self.keys
                        .push(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)));
                }
                SectionKind::RsaPrivateKey => {
                    self.keys
                        .push(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)));
                }
                SectionKind::EcPrivateKey => {
                    self.keys
                        .push(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn choose(
        mut self,
        now: Timestamp,
        preferred: impl Fn(&CertificateFacts) -> bool,
    ) -> Result<ClientIdentity> {
        let skipped = std::mem::take(&mut self.skipped);
        match self.best(now, preferred) {
            Ok(identity) => {
                for error in skipped {
                    tracing::warn!(%error, "A file beside the client certificate is skipped.");
                }
                Ok(identity)
            }
            // What could not be read is the likelier reason.
            Err(error) => Err(skipped.into_iter().next().unwrap_or(error)),
        }
    }

    fn best(
        &self,
        now: Timestamp,
        preferred: impl Fn(&CertificateFacts) -> bool,
    ) -> Result<ClientIdentity> {
        if self.certificates.is_empty() {
            return Err(wrong("no certificate was found in the files"));
        }
        if self.keys.is_empty() {
            return Err(wrong("no private key was found in the files"));
        }
        let mut best: Option<(CertificateFacts, &Vec<u8>, &PrivateKeyDer<'static>)> = None;
        for key in &self.keys {
            let Ok(signer) = any_supported_type(key) else {
                continue;
            };
            let Some(public) = signer.public_key() else {
                continue;
            };
            for der in &self.certificates {
                let Ok((_, parsed)) = X509Certificate::from_der(der) else {
                    continue;
                };
                let Some(facts) = CertificateFacts::of(der) else {
                    continue;
                };
                if parsed.public_key().raw != public.as_ref() {
                    continue;
                }
                let rank = |facts: &CertificateFacts| {
                    (preferred(facts), facts.valid_at(now), facts.not_after)
                };
                let better = best
                    .as_ref()
                    .is_none_or(|(known, ..)| rank(&facts) > rank(known));
                if better {
                    best = Some((facts, der, key));
                }
            }
        }
        let (facts, leaf, key) = best.ok_or_else(|| {
            wrong(
                "no private key belongs to any of the certificates, or its kind is not supported (RSA from 2048 bits, ECDSA P-256 and P-384 are)",
            )
        })?;
        let key = pkcs8(key, leaf)
            .ok_or_else(|| wrong("the private key cannot be read"))?
            .into();
        Ok(ClientIdentity {
            chain: self.chain_of(leaf),
            facts,
            key,
        })
    }

    /// The leaf and those above it, without self-signed roots.
    fn chain_of(&self, leaf: &[u8]) -> Vec<Vec<u8>> {
        let mut chain = vec![leaf.to_vec()];
        while let Some(next) = chain.last().and_then(|last| self.issuer_of(last)) {
            if chain.contains(next) {
                break;
            }
            chain.push(next.clone());
        }
        chain
    }

    fn issuer_of(&self, der: &[u8]) -> Option<&Vec<u8>> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let issuer = parsed.issuer().as_raw();
        self.certificates.iter().find(|candidate| {
            X509Certificate::from_der(candidate).is_ok_and(|(_, above)| {
                above.subject().as_raw() == issuer
                    && above.issuer().as_raw() != above.subject().as_raw()
            })
        })
    }
}

/// The key in PKCS#8 form. Older forms leave out the algorithm; it stands in the certificate's public key.
fn pkcs8(key: &PrivateKeyDer<'_>, leaf: &[u8]) -> Option<Vec<u8>> {
    let inner = match key {
        PrivateKeyDer::Pkcs8(key) => return Some(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Pkcs1(key) => key.secret_pkcs1_der(),
        PrivateKeyDer::Sec1(key) => key.secret_sec1_der(),
        _ => return None,
    };
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let public = der_content(parsed.public_key().raw)?;
    let algorithm = public.get(..der_length(public)?)?;
    let mut content = vec![0x02, 0x01, 0x00];
    content.extend_from_slice(algorithm);
    content.extend(der_wrap(0x04, inner));
    Some(der_wrap(0x30, &content))
}

/// How long the header of a DER element is, and its content.
fn der_header(der: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*der.get(1)?);
    if first < 0x80 {
        return Some((2, first));
    }
    let count = first & 0x7f;
    let bytes = der.get(2..2 + count)?;
    (count <= 3).then(|| {
        let length = bytes
            .iter()
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        (2 + count, length)
    })
}

fn der_length(der: &[u8]) -> Option<usize> {
    der_header(der).map(|(header, content)| header + content)
}

fn der_content(der: &[u8]) -> Option<&[u8]> {
    let (header, content) = der_header(der)?;
    der.get(header..header + content)
}

fn der_wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match (significant.len(), significant.first()) {
        (0, _) => out.push(0),
        (1, Some(one)) if *one < 0x80 => out.push(*one),
        (count, _) => {
            out.push(0x80 | u8::try_from(count).unwrap_or(8));
            out.extend(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

fn pem(label: &str, der: &[u8], out: &mut String) {
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = STANDARD.encode(der);
    while rest.len() > 64 {
        let tail = rest.split_off(64);
        out.push_str(&rest);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&rest);
    out.push_str(&format!("\n-----END {label}-----\n"));
}

/// The file itself, or the files of a folder with one of the endings, in order of their names.
fn files(path: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| wrong(format!("the folder {shown} cannot be read: {error}"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let fits = file
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| endings.iter().any(|fit| ending.eq_ignore_ascii_case(fit)));
        if fits && file.is_file() {
            found.push(file);
        }
    }
    if found.is_empty() {
        return Err(wrong(format!(
            "the folder {shown} holds no file that ends in .{}",
            endings.join(" or .")
        )));
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| wrong(format!("{} cannot be read: {error}", path.display())))
}

fn wrong(message: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Config,
        Scope::Connection,
        "config.certificate",
        format!("client certificate: {message}"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    use secrecy::SecretString;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::SystemClock;
    use crate::secret::{SecretError, SecretResolver};

    #[derive(Debug)]
    struct OnePassword(&'static str);

    impl SecretResolver for OnePassword {
        fn resolve(&self, _: &SecretRef) -> std::result::Result<SecretString, SecretError> {
            Ok(self.0.to_owned().into())
        }
    }

    fn context(password: &'static str) -> Context {
        Context {
            connection: "test".to_owned(),
            clock: Arc::new(SystemClock::default()),
            secrets: Arc::new(OnePassword(password)),
            shutdown: CancellationToken::new(),
        }
    }

    fn now() -> Timestamp {
        "2027-03-01T00:00:00Z".parse().unwrap()
    }

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/http/testdata")
            .join(name)
    }

    fn both_backends(identity: &ClientIdentity) {
        for backend in [TlsBackend::Rustls, TlsBackend::NativeTls] {
            identity.for_backend(backend).unwrap();
        }
    }

    fn pkcs12(name: &str) -> ClientCertificate {
        ClientCertificate {
            pkcs12: Some(data(name)),
            password: Some("env:P12".parse().unwrap()),
            ..ClientCertificate::default()
        }
    }

    fn from_pem(certificate: &Path, key: &Path) -> ClientCertificate {
        ClientCertificate {
            certificate: Some(certificate.to_owned()),
            key: Some(key.to_owned()),
            ..ClientCertificate::default()
        }
    }

    #[test]
    fn modern_and_legacy_pkcs12_files_are_read_for_both_libraries() {
        for name in ["modern-aes.p12", "legacy-rc2.p12", "legacy-3des.p12"] {
            let identity = pkcs12(name).load(&context("example"), now()).unwrap();
            assert_eq!(
                identity.facts().subject_serial.as_deref(),
                Some("CVR:12345678-FID:1234567890123"),
                "{name}"
            );
            both_backends(&identity);
        }
    }

    #[test]
    fn a_wrong_password_is_told_without_the_password() {
        for name in ["modern-aes.p12", "legacy-rc2.p12"] {
            let error = pkcs12(name).load(&context("hunter2"), now()).unwrap_err();
            assert_eq!(error.code, "config.certificate");
            assert!(error.message.contains("wrong password"), "{error}");
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn older_key_forms_in_pem_are_read_for_both_libraries() {
        for (certificate, key) in [("rsa.pem", "rsa-pkcs1.key"), ("ec.pem", "ec-sec1.key")] {
            let identity = from_pem(&data(certificate), &data(key))
                .load(&context(""), now())
                .unwrap();
            both_backends(&identity);
        }
    }

    #[test]
    fn the_oces3_form_of_the_subject_is_read() {
        let identity = from_pem(&data("ec.pem"), &data("ec-sec1.key"))
            .load(&context(""), now())
            .unwrap();
        assert_eq!(
            identity.facts().subject_serial.as_deref(),
            Some("UI:DK-O:G:0a1b2c3d-0001-4002-8003-00000000000a")
        );
        assert_eq!(
            identity.facts().organization.as_deref(),
            Some("NTRDK-12345678")
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let error = from_pem(&data("rsa.pem"), &data("ec-sec1.key"))
            .load(&context(""), now())
            .unwrap_err();
        assert!(error.message.contains("belongs to any"), "{error}");
    }

    #[test]
    fn what_is_no_certificate_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broken.p12");
        std::fs::write(&file, b"not a certificate").unwrap();
        let mut settings = pkcs12("x");
        settings.pkcs12 = Some(file.clone());
        let error = settings.load(&context(""), now()).unwrap_err();
        assert!(error.message.contains("not a PKCS#12 file"), "{error}");
        settings.pkcs12 = Some(folder.path().join("absent.p12"));
        let error = settings.load(&context(""), now()).unwrap_err();
        assert!(error.message.contains("cannot be read"), "{error}");
        let error = from_pem(&file, &file)
            .load(&context(""), now())
            .unwrap_err();
        assert!(error.message.contains("no certificate"), "{error}");
    }

    #[test]
    fn one_kind_of_file_must_be_named() {
        let both = ClientCertificate {
            key: Some("k.pem".into()),
            ..pkcs12("x")
        };
        for wrong in [ClientCertificate::default(), both] {
            assert_eq!(wrong.validate().unwrap_err().kind, ErrorKind::Config);
        }
    }

    /// Writes a certificate for the key, valid from one year's start to another's.
    fn write(folder: &Path, name: &str, serial: &str, key: &KeyPair, from: i32, to: i32) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test");
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.self_signed(key).unwrap();
        std::fs::write(folder.join(name), certificate.pem()).unwrap();
    }

    #[test]
    fn k156_of_several_certificates_the_valid_one_that_expires_last_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (old, new, next) = (
            KeyPair::generate().unwrap(),
            KeyPair::generate().unwrap(),
            KeyPair::generate().unwrap(),
        );
        write(dir, "a.crt", "old", &old, 2024, 2028);
        write(dir, "b.crt", "new", &new, 2027, 2030);
        write(dir, "c.crt", "not yet valid", &next, 2028, 2040);
        write(
            dir,
            "d.crt",
            "without key",
            &KeyPair::generate().unwrap(),
            2024,
            2050,
        );
        for (name, key) in [("1.key", &old), ("2.key", &new), ("3.key", &next)] {
            std::fs::write(dir.join(name), key.serialize_pem()).unwrap();
        }
        let settings = from_pem(dir, dir);
        let chosen = settings.load(&context(""), now()).unwrap();
        assert_eq!(chosen.facts().subject_serial.as_deref(), Some("new"));
        // None is valid any more: the last one is taken, and its facts tell what is wrong.
        let later = "2045-01-01T00:00:00Z".parse().unwrap();
        let chosen = settings.load(&context(""), later).unwrap();
        assert_eq!(
            chosen.facts().subject_serial.as_deref(),
            Some("not yet valid")
        );
        assert!(!chosen.facts().valid_at(later));
        assert!(chosen.facts().days_left(later) < 0);
    }

    #[test]
    fn certificates_between_leaf_and_root_are_sent_and_the_root_is_not() {
        let root_key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.distinguished_name.push(DnType::CommonName, "root");
        root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let middle_key = KeyPair::generate().unwrap();
        let mut middle = CertificateParams::new(Vec::new()).unwrap();
        middle.distinguished_name.push(DnType::CommonName, "middle");
        middle.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let middle_pem = middle.signed_by(&middle_key, &root).unwrap().pem();
        let middle = Issuer::new(middle, middle_key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(Vec::new()).unwrap();
        let leaf_pem = leaf.signed_by(&leaf_key, &middle).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.pem");
        let all = format!(
            "{root_pem}{middle_pem}{leaf_pem}{}",
            leaf_key.serialize_pem()
        );
        std::fs::write(&file, all).unwrap();
        let identity = from_pem(&file, &file).load(&context(""), now()).unwrap();
        assert_eq!(identity.chain.len(), 2);
        both_backends(&identity);
    }
}
