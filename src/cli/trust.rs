//! Whom the command line trusts at the admin listener: the certificate that the relay said it shows,
//! or that relay.toml names, and no other, whatever name or address the listener is reached by.

use std::sync::Arc;

use hookswitch::listen;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Exactly the certificate of this fingerprint.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

/// TLS that ends at whoever has the key of the certificate of this fingerprint.
pub(super) fn only(fingerprint: [u8; 32]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pinned = Pinned { fingerprint, provider: Arc::clone(&provider) };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned)).with_no_client_auth())
}

/// Whether it failed because another certificate was shown.
pub(super) fn is_other(error: &dyn std::error::Error) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.to_string().contains(OTHER))
}

/// What the handshake ends with then; it comes back in the words of the client.
const OTHER: &str = "another certificate is shown";

// === impl Pinned ===

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if listen::fingerprint(shown) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(OTHER.to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
