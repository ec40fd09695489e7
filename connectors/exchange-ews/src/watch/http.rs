//! The HTTP client for streams. The client that all else uses reads answers whole and within a time limit; a stream
//! has neither end nor limit, and a connection of its own.

use std::path::Path;

use calbridge_core::connector::{Context, Error, Result};
use calbridge_core::http::{HttpSettings, ProxySetting, TlsBackend, TlsVersion};
use reqwest::redirect::Policy;
use reqwest::tls::Version;
use reqwest::{Certificate, Client, Proxy};
use secrecy::ExposeSecret as _;

/// Builds it after the connection's settings; the time limits are the reader's.
///
/// # Errors
/// `Config`.
pub(crate) fn http_client(settings: &HttpSettings, context: &Context) -> Result<Client> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .http1_only()
        .gzip(false)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("calbridge/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout.get());
    builder = match settings.tls {
        TlsBackend::NativeTls => builder.tls_backend_native(),
        _ => builder.tls_backend_rustls(),
    };
    builder = match settings.max_tls {
        Some(TlsVersion::V1_2) => builder.tls_version_max(Version::TLS_1_2),
        Some(TlsVersion::V1_3) => builder.tls_version_max(Version::TLS_1_3),
        _ => builder,
    };
    for path in &settings.extra_ca {
        builder = builder.tls_certs_merge(authorities(path)?);
    }
    builder = match &settings.proxy {
        ProxySetting::None => builder.no_proxy(),
        ProxySetting::Url(url) => {
            let proxy = Proxy::all(url.clone())
                .map_err(|_| Error::config("`proxy` is not a URL that can be used as a proxy"))?;
            builder.proxy(match (&settings.proxy_user, &settings.proxy_password) {
                (Some(user), Some(password)) => {
                    proxy.basic_auth(user, context.secret(password)?.expose_secret())
                }
                _ => proxy,
            })
        }
        _ => builder,
    };
    builder
        .build()
        .map_err(|_| Error::config("no HTTP client can be made from the settings in `http`"))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let unusable = || Error::config("`extra_ca` names a file that cannot be used");
    let pem = std::fs::read(path).map_err(|_| unusable())?;
    Certificate::from_pem_bundle(&pem).map_err(|_| unusable())
}
