//! How a listener is secured, and how that changes while it accepts.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    pki_types::CertificateDer,
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
};

/// What ALPN calls HTTP/2.
pub(super) const H2: &[u8] = b"h2";

/// A certificate with its key, ready for handshakes. Cloning shares it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificate: Option<CertificateDer<'static>>,
}

/// TLS, or none, of one listener. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Security(Arc<ArcSwapOption<ServerConfig>>);

/// Why a listener cannot be secured.
#[derive(Debug, thiserror::Error)]
#[error("TLS is not available: {0}")]
pub struct TlsError(#[from] rustls::Error);

// === impl Tls ===

impl Tls {
    /// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    pub fn new(pair: Arc<CertifiedKey>) -> Result<Self, TlsError> {
        let certificate = pair.cert.first().cloned();
        let provider = rustls::crypto::ring::default_provider();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair));
        let mut config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// The certificate that is shown, without those behind it.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

// === impl Security ===

impl Security {
    /// Secured so, or not at all.
    pub fn new(tls: Option<&Tls>) -> Self {
        let security = Self::default();
        security.change(tls);
        security
    }

    /// Has every connection from now on be secured so. Those that are open go on.
    pub fn change(&self, tls: Option<&Tls>) {
        self.0.store(tls.map(|tls| Arc::clone(&tls.config)));
    }

    pub(super) fn now(&self) -> Option<Arc<ServerConfig>> {
        self.0.load_full()
    }
}
