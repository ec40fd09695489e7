//! A TLS listener as an old Windows server has it, in front of a plain sandbox server.
//!
//! Exchange 2013 on Windows Server 2012 R2 offers TLS 1.2 with suites that rustls does not have:
//! ECDHE with CBC, DHE or plain RSA key exchange with GCM. This listener is OpenSSL's, speaks
//! TLS 1.2 only and only the suites it is given, and passes the decrypted bytes on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslVersion};
use openssl::x509::X509;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

use super::{CertificateSpec, Pki, TlsError};

/// Why the listener could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LegacyError {
    /// OpenSSL refused a key, a certificate or the suites.
    #[error("OpenSSL refused the settings of the old TLS listener: {0}")]
    OpenSsl(#[from] ErrorStack),
    /// The certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// OpenSSL wrote a key that is no text.
    #[error("the private key could not be written as PEM")]
    Key,
    /// The address cannot be bound.
    #[error("the old TLS listener cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Suites that a listener is limited to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suites {
    /// ECDHE key exchange, AES in CBC mode.
    EcdheCbc,
    /// Finite-field Diffie-Hellman, AES in GCM mode.
    DheGcm,
    /// RSA key exchange, AES in GCM mode.
    RsaGcm,
    /// What Windows Server 2012 R2 offers: all of the above.
    Windows2012R2,
    /// A list in OpenSSL's notation.
    List(String),
}

impl Suites {
    fn list(&self) -> &str {
        match self {
            Self::EcdheCbc => {
                "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-SHA"
            }
            Self::DheGcm => "DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256",
            Self::RsaGcm => "AES256-GCM-SHA384:AES128-GCM-SHA256",
            Self::Windows2012R2 => {
                "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-SHA:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-GCM-SHA256"
            }
            Self::List(list) => list,
        }
    }
}

/// A running listener. Dropping it ends every connection.
#[derive(Debug)]
pub struct LegacyListener {
    address: SocketAddr,
    cancel: CancellationToken,
    handshakes: Handshakes,
}

/// Suite of each finished handshake, `None` for a failed one.
type Handshakes = Arc<Mutex<Vec<Option<String>>>>;

impl LegacyListener {
    /// Listens on a free local port with an RSA certificate of the PKI, and passes everything on to
    /// a plain server.
    ///
    /// # Errors
    /// The certificate cannot be made, OpenSSL does not know the suites, or no port is free.
    pub async fn start(
        pki: &Pki,
        spec: &CertificateSpec,
        suites: &Suites,
        upstream: SocketAddr,
    ) -> Result<Self, LegacyError> {
        // These suites authenticate with RSA.
        let key = PKey::from_rsa(Rsa::generate(2048)?)?;
        let pem =
            String::from_utf8(key.private_key_to_pem_pkcs8()?).map_err(|_| LegacyError::Key)?;
        let identity = pki.issue_for_key(spec, &pem)?;
        let certificate = X509::from_der(&identity.certificate_der)?;

        // This profile brings the Diffie-Hellman group that DHE needs.
        let mut builder = SslAcceptor::mozilla_intermediate(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_cipher_list(suites.list())?;
        builder.set_private_key(&key)?;
        builder.set_certificate(&certificate)?;
        let acceptor = builder.build();

        let wanted = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = |source| LegacyError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let cancel = CancellationToken::new();
        let handshakes = Handshakes::default();
        let (stop, record) = (cancel.clone(), Arc::clone(&handshakes));
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((tcp, _)) = accepted else { continue };
                let (acceptor, stop, record) =
                    (acceptor.clone(), stop.clone(), Arc::clone(&record));
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        result = relay(&acceptor, tcp, upstream, &record) => {
                            if let Err(error) = result {
                                tracing::debug!(%error, "A connection over old TLS ended with an error.");
                            }
                        }
                    }
                });
            }
        });
        Ok(Self {
            address,
            cancel,
            handshakes,
        })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Absolute address of a path, which starts with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// For each handshake so far the suite that was agreed, in OpenSSL's notation, or `None` where
    /// it failed.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Option<String>> {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for LegacyListener {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn relay(
    acceptor: &SslAcceptor,
    tcp: TcpStream,
    upstream: SocketAddr,
    record: &Handshakes,
) -> io::Result<()> {
    let ssl = Ssl::new(acceptor.context()).map_err(io::Error::other)?;
    let mut stream = SslStream::new(ssl, tcp).map_err(io::Error::other)?;
    let result = Pin::new(&mut stream).accept().await;
    let suite = result
        .is_ok()
        .then(|| {
            stream
                .ssl()
                .current_cipher()
                .map(|cipher| cipher.name().to_owned())
        })
        .flatten();
    record
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(suite);
    result.map_err(io::Error::other)?;
    let mut plain = TcpStream::connect(upstream).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut plain).await?;
    Ok(())
}
