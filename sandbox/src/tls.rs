//! A certificate authority made at run time, with every kind of good and bad certificate.
//!
//! Nothing here is stored in the repository and nothing outlives the process, except what
//! [`Identity::write_to`] is asked to write.

#[cfg(feature = "legacy-tls")]
pub mod legacy;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use thiserror::Error;

/// Why a certificate or a TLS setting could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("the test certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused the settings.
    #[error("the TLS settings are not usable: {0}")]
    Settings(#[from] rustls::Error),
    /// The list of accepted authorities is not usable.
    #[error("the accepted certificate authorities are not usable: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A PKCS#12 archive could not be made.
    #[error("the PKCS#12 archive could not be made: {0}")]
    Pkcs12(#[from] p12_keystore::error::Error),
    /// A file could not be written.
    #[error("the certificate file {path} could not be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validity {
    /// From long ago until long after.
    #[default]
    Now,
    /// Ended years ago.
    Expired,
    /// Begins in decades.
    NotYet,
    /// From midnight UTC of the first day to midnight UTC of the second.
    Between(Date, Date),
}

/// Who signs a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signer {
    /// The authority that this PKI's users trust.
    #[default]
    Authority,
    /// A second authority that nobody trusts.
    Stranger,
    /// The certificate itself.
    Itself,
}

/// What a certificate says.
#[derive(Debug, Clone, Default)]
pub struct CertificateSpec {
    /// The subject's common name.
    pub common_name: String,
    /// The subject's serialNumber attribute (X.520, 2.5.4.5), where Danish OCES certificates name
    /// their holder: `CVR:<8 digits>-FID:<digits>` in OCES2, `CVR:<8 digits>-UUID:<uuid>` in OCES3.
    pub serial_number: Option<String>,
    /// The subject's organizationIdentifier attribute (X.520, 2.5.4.97); OCES3 certificates carry
    /// `NTRDK-<8 digits>` there.
    pub organisation_identifier: Option<String>,
    /// The subject's organisation.
    pub organisation: Option<String>,
    /// Host names and IP addresses of a server certificate.
    pub hosts: Vec<String>,
    /// When it is valid.
    pub validity: Validity,
    /// Who signs it.
    pub signer: Signer,
}

impl CertificateSpec {
    /// A server certificate for `localhost`, `127.0.0.1` and `::1`.
    #[must_use]
    pub fn server() -> Self {
        Self::server_for(["localhost", "127.0.0.1", "::1"])
    }

    /// A server certificate for these host names or addresses.
    #[must_use]
    pub fn server_for<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        Self {
            common_name: hosts.first().cloned().unwrap_or_default(),
            hosts,
            ..Self::default()
        }
    }

    /// A client certificate whose subject carries this serialNumber attribute.
    #[must_use]
    pub fn client(serial_number: &str) -> Self {
        Self {
            common_name: "calbridge test (funktionscertifikat)".to_owned(),
            serial_number: Some(serial_number.to_owned()),
            organisation: Some("Testkommune".to_owned()),
            ..Self::default()
        }
    }

    /// The same with another validity.
    #[must_use]
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// The same with another signer.
    #[must_use]
    pub fn signed_by(mut self, signer: Signer) -> Self {
        self.signer = signer;
        self
    }
}

/// A certificate with its private key and the certificate of its signer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
    /// The certificate, DER.
    pub certificate_der: CertificateDer<'static>,
    /// The private key, PKCS#8 DER.
    pub key_der: Vec<u8>,
    /// The signer's certificate, DER; the certificate itself where it is self-signed.
    pub issuer_der: CertificateDer<'static>,
}

/// How a PKCS#12 archive is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pkcs12Encryption {
    /// AES-256 with HMAC-SHA-256, as OpenSSL 3 writes.
    #[default]
    Aes256,
    /// Triple DES with SHA-1, as Windows and the certificate authorities' older tools write.
    TripleDes,
}

/// Where [`Identity::write_to`] put an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityPaths {
    /// PEM file with the certificate.
    pub certificate: PathBuf,
    /// PEM file with the PKCS#8 private key.
    pub key: PathBuf,
    /// PEM file with the certificate followed by the key.
    pub combined: PathBuf,
}

impl Identity {
    /// Certificate and key in one PEM text.
    #[must_use]
    pub fn combined_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.key_pem)
    }

    /// Writes `<name>.crt.pem`, `<name>.key.pem` and `<name>.pem` into a directory.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_to(&self, directory: &Path, name: &str) -> Result<IdentityPaths, TlsError> {
        let paths = IdentityPaths {
            certificate: directory.join(format!("{name}.crt.pem")),
            key: directory.join(format!("{name}.key.pem")),
            combined: directory.join(format!("{name}.pem")),
        };
        write(&paths.certificate, &self.certificate_pem)?;
        write(&paths.key, &self.key_pem)?;
        write(&paths.combined, &self.combined_pem())?;
        Ok(paths)
    }

    /// Certificate, key and the signer's certificate as a PKCS#12 archive.
    ///
    /// # Errors
    /// The archive cannot be made.
    pub fn pkcs12(&self, password: &str) -> Result<Vec<u8>, TlsError> {
        self.pkcs12_with(password, Pkcs12Encryption::Aes256)
    }

    /// The same with a choice of encryption.
    ///
    /// # Errors
    /// The archive cannot be made.
    pub fn pkcs12_with(
        &self,
        password: &str,
        encryption: Pkcs12Encryption,
    ) -> Result<Vec<u8>, TlsError> {
        let mut chain = vec![p12_keystore::Certificate::from_der(&self.certificate_der)?];
        if self.issuer_der != self.certificate_der {
            chain.push(p12_keystore::Certificate::from_der(&self.issuer_der)?);
        }
        let key = p12_keystore::PrivateKey::from_der(&self.key_der)?;
        let chain = p12_keystore::PrivateKeyChain::new("1", key, chain);
        let mut store = p12_keystore::KeyStore::new();
        store.add_entry(
            "client",
            p12_keystore::KeyStoreEntry::PrivateKeyChain(chain),
        );
        let (encryption, mac) = match encryption {
            Pkcs12Encryption::Aes256 => (
                p12_keystore::EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
                p12_keystore::MacAlgorithm::HmacSha256,
            ),
            Pkcs12Encryption::TripleDes => (
                p12_keystore::EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
                p12_keystore::MacAlgorithm::HmacSha1,
            ),
        };
        // Few iterations: the keys protect nothing and tests should not wait.
        Ok(store
            .writer(password)
            .encryption_algorithm(encryption)
            .encryption_iterations(1000)
            .mac_algorithm(mac)
            .mac_iterations(1000)
            .write()?)
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_der.clone()).into()
    }
}

fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    std::fs::write(path, text).map_err(|source| TlsError::Write {
        path: path.to_owned(),
        source,
    })
}

/// A trusted authority and a stranger, both made at run time.
#[derive(Debug)]
pub struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes both authorities with fresh keys.
    ///
    /// # Errors
    /// Keys or certificates cannot be made.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self {
            authority: authority("calbridge sandbox CA")?,
            stranger: authority("some other CA")?,
        })
    }

    /// The trusted authority's certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// The trusted authority's certificate, DER.
    #[must_use]
    pub fn ca_der(&self) -> CertificateDer<'static> {
        self.authority.der().clone()
    }

    /// Writes the trusted authority's certificate as PEM.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_ca(&self, path: &Path) -> Result<(), TlsError> {
        write(path, &self.ca_pem())
    }

    /// Makes a certificate with a fresh key.
    ///
    /// # Errors
    /// A host is no valid DNS name, or the certificate cannot be made.
    pub fn issue(&self, spec: &CertificateSpec) -> Result<Identity, TlsError> {
        // RSA would be closer to OCES, but ring cannot generate RSA keys.
        self.certify(spec, &KeyPair::generate()?)
    }

    /// Makes a certificate for a key that was made elsewhere, PKCS#8 PEM; RSA keys are welcome.
    ///
    /// # Errors
    /// As [`Pki::issue`], or the key is not readable.
    pub fn issue_for_key(
        &self,
        spec: &CertificateSpec,
        key_pem: &str,
    ) -> Result<Identity, TlsError> {
        self.certify(spec, &KeyPair::from_pem(key_pem)?)
    }

    fn certify(&self, spec: &CertificateSpec, key: &KeyPair) -> Result<Identity, TlsError> {
        let mut params = parameters(spec)?;
        if key.algorithm() == &rcgen::PKCS_RSA_SHA256 {
            // For suites whose key exchange is RSA.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        let certificate = match spec.signer {
            Signer::Authority => params.signed_by(key, &self.authority)?,
            Signer::Stranger => params.signed_by(key, &self.stranger)?,
            Signer::Itself => params.self_signed(key)?,
        };
        let issuer_der = match spec.signer {
            Signer::Authority => self.authority.der().clone(),
            Signer::Stranger => self.stranger.der().clone(),
            Signer::Itself => certificate.der().clone(),
        };
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate_der: certificate.der().clone(),
            key_der: key.serialize_der(),
            issuer_der,
        })
    }

    /// Server settings for TLS 1.2 and 1.3 with a certificate of this PKI.
    ///
    /// # Errors
    /// As [`Pki::issue`] and [`server_config`].
    pub fn server_config(
        &self,
        spec: &CertificateSpec,
        clients: ClientAuth,
    ) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        server_config(&self.issue(spec)?, &self.ca_der(), clients)
    }
}

/// Whether a server asks for client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// Not asked for.
    #[default]
    None,
    /// Asked for; one that is shown must be valid and signed by the authority.
    Optional,
    /// Must be shown, valid and signed by the authority; else the handshake fails.
    Required,
    /// Must be shown; anything goes, and the handler judges. This is how a front end behaves that
    /// answers 403 to a certificate it does not know.
    Any,
}

/// Server settings for TLS 1.2 and 1.3.
///
/// # Errors
/// The identity's key and certificate do not fit, or the authority is unusable.
pub fn server_config(
    identity: &Identity,
    authority: &CertificateDer<'static>,
    clients: ClientAuth,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let verifier = |optional: bool| -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Ok(if optional {
            builder.allow_unauthenticated().build()?
        } else {
            builder.build()?
        })
    };
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional => builder.with_client_cert_verifier(verifier(true)?),
        ClientAuth::Required => builder.with_client_cert_verifier(verifier(false)?),
        ClientAuth::Any => builder.with_client_cert_verifier(Arc::new(AnyCertificate {
            provider: Arc::clone(&provider),
        })),
    };
    let chain = vec![identity.certificate_der.clone()];
    let mut config = builder.with_single_cert(chain, identity.private_key())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "calbridge sandbox");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn parameters(spec: &CertificateSpec) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organisation) = &spec.organisation {
        subject.push(DnType::CountryName, "DK");
        subject.push(DnType::OrganizationName, organisation.as_str());
    }
    if let Some(identifier) = &spec.organisation_identifier {
        subject.push(DnType::CustomDnType(vec![2, 5, 4, 97]), identifier.as_str());
    }
    if let Some(serial) = &spec.serial_number {
        subject.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial.as_str());
    }
    subject.push(DnType::CommonName, spec.common_name.as_str());
    params.distinguished_name = subject;
    for host in &spec.hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    let day = |date: Date| {
        // Both parts of a civil date are between 1 and 31.
        date_time_ymd(
            i32::from(date.year()),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    (params.not_before, params.not_after) = match spec.validity {
        Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1)),
        Validity::Expired => (date_time_ymd(2015, 1, 1), date_time_ymd(2018, 1, 1)),
        Validity::NotYet => (date_time_ymd(2080, 1, 1), date_time_ymd(2090, 1, 1)),
        Validity::Between(first, last) => (day(first), day(last)),
    };
    // Strict verifiers (Python 3.13, OpenSSL -x509_strict) want all of these in a leaf.
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = spec.signer != Signer::Itself;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![if spec.hosts.is_empty() {
        ExtendedKeyUsagePurpose::ClientAuth
    } else {
        ExtendedKeyUsagePurpose::ServerAuth
    }];
    Ok(params)
}

/// Takes whatever certificate a client shows, provided that the client has its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
