//! Whom a secure connection trusts, and who the relay says it is.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::ClientError;
use crate::secret::Secret;

/// `tls` of a target.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whose certificates are trusted, instead of the system's.
    pub authorities: Option<Authorities>,
    /// What the relay shows a target that asks who calls.
    pub identity: Option<Identity>,
}

/// Authorities of the operator's own.
#[derive(Clone, Debug)]
pub struct Authorities(Arc<RootCertStore>);

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<CertifiedKey>);

/// Why files are no authorities or no identity.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Nothing in it is a certificate.
    #[error("there is no certificate in it; it begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// One of its certificates is damaged.
    #[error("a certificate in it cannot be read")]
    Certificate,
    /// Nothing in it is a key.
    #[error("there is no private key in it; it begins with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// The key is of no kind that TLS uses.
    #[error("its kind of private key cannot be used; make one of ECDSA, Ed25519 or RSA")]
    Key,
    /// The two are not a pair.
    #[error("the key is not the one of the certificate")]
    Pair,
}

/// How secure connections to targets are made.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Tls(ClientConfig);

// === impl Authorities ===

impl Authorities {
    /// Reads one or more certificates in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|_| PemError::Certificate)?;
        }
        Ok(Self(Arc::new(roots)))
    }
}

// === impl Identity ===

impl Identity {
    /// Reads a certificate, with those that lead to its authority behind it, and its key, both
    /// in PEM.
    pub fn from_pem(certificate: &[u8], key: &Secret) -> Result<Self, PemError> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| PemError::NoKey)?;
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(key).map_err(|_| PemError::Key)?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) => Ok(Self(Arc::new(pair))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(PemError::Pair),
            Err(_) => Err(PemError::Certificate),
        }
    }

    /// The two, for TLS.
    pub fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(none) if none.is_empty() => Err(PemError::NoCertificate),
        Ok(found) => Ok(found),
        Err(_) => Err(PemError::Certificate),
    }
}

// === impl Tls ===

impl Tls {
    /// Trusts the authorities of the system; with `secure` false nobody, for then no target
    /// needs them, and a machine without certificates must not keep the relay from starting.
    pub(in crate::delivery) fn system(secure: bool) -> Result<Self, ClientError> {
        if secure { Self::new(&Settings::default()) } else { Self::with(Some(nobody()), None) }
    }

    /// Trusts and shows what a target's settings say.
    pub(in crate::delivery) fn new(settings: &Settings) -> Result<Self, ClientError> {
        let roots = settings.authorities.as_ref().map(|Authorities(roots)| Arc::clone(roots));
        let identity = settings.identity.as_ref().map(|Identity(pair)| Arc::clone(pair));
        Self::with(roots, identity)
    }

    fn with(
        roots: Option<Arc<RootCertStore>>,
        identity: Option<Arc<CertifiedKey>>,
    ) -> Result<Self, ClientError> {
        let provider: Arc<CryptoProvider> = rustls::crypto::ring::default_provider().into();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Authorities)?;
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.with_platform_verifier().map_err(ClientError::Authorities)?,
        };
        let mut config = match identity {
            Some(pair) => {
                let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(pair));
                builder.with_client_cert_resolver(resolver)
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(config))
    }

    pub(super) fn config(&self) -> ClientConfig {
        self.0.clone()
    }
}

fn nobody() -> Arc<RootCertStore> {
    Arc::new(RootCertStore::empty())
}
