//! How a listener is secured, and how that changes while it accepts.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use ring::digest::{SHA256, digest};
use rustls::{
    ServerConfig,
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
};

/// What ALPN calls HTTP/2.
pub(super) const H2: &[u8] = b"h2";

/// A certificate with its key, ready for handshakes. Cloning shares it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// The SHA-256 of the certificate.
    fingerprint: [u8; 32],
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
        let shown = pair.cert.first().map_or(&[][..], |certificate| certificate.as_ref());
        let fingerprint = fingerprint(shown);
        let provider = rustls::crypto::ring::default_provider();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair));
        let mut config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint })
    }

    /// By what the certificate that is shown is known.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// The SHA-256 of a certificate.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    fingerprint
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
