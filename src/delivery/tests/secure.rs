//! Targets of HTTPS, with certificates made here.

use std::{net::SocketAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    delivery::tls::{self, Authorities, Identity},
    secret::Secret,
};

/// An authority, and who it vouches for.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Paper {
    certificate: String,
    key: String,
}

#[derive(Clone, Copy)]
enum Age {
    Valid,
    Expired,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn vouch(&self, name: &str, age: Age) -> Paper {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if let Age::Expired = age {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Paper { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn trusted(&self) -> Authorities {
        Authorities::from_pem(self.0.pem().as_bytes()).unwrap()
    }
}

impl Paper {
    fn identity(&self) -> Identity {
        let key = Secret::new(self.key.as_bytes());
        Identity::from_pem(self.certificate.as_bytes(), &key).unwrap()
    }
}

/// A target that shows `paper`, and asks for one of `clients` where that is given. It answers
/// every request with 200.
async fn target(paper: &Paper, clients: Option<&Authority>, tasks: &mut JoinSet<()>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(paper.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(paper.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(Authority(issuer)) => {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // A client that goes away is what some of the tests are about.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut seen = vec![0; 64 * 1024];
                while stream.read(&mut seen).await.is_ok_and(|read| read > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

async fn met(address: SocketAddr, name: &str, tls: tls::Settings) -> Outcome {
    let mut settings = http("crm", &format!("https://{name}:{}/?key=hush", address.port()));
    if let Place::Http(http) = &mut settings.place {
        http.tls = Some(tls);
        http.timeout = Duration::from_secs(10);
    }
    let drain = Drain::new();
    let target = Target::new(&settings, &Tls::system(false).unwrap(), &drain, counter()).unwrap();
    let store = Memory::default();
    store.enqueue(&["crm"], "{}", noon());
    let due = store.due(&settings.name, noon(), &[], Room::of(1)).await.unwrap();
    let outcome = target.way.attempt(&due.deliveries[0], &store, noon()).await;
    assert!(!outcome.error.as_deref().unwrap_or_default().contains("hush"));
    outcome
}

fn only(authority: &Authority) -> tls::Settings {
    tls::Settings { authorities: Some(authority.trusted()), identity: None }
}

#[track_caller]
fn assert_tls(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.met, Met::Failed(Cause::Tls), "{outcome:?}");
    let error = outcome.error.as_deref().unwrap();
    assert!(error.contains(words), "{error}");
}

#[tokio::test]
async fn a_target_is_trusted_by_an_authority_of_its_own() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut tasks = JoinSet::new();
    let address = target(&ours.vouch("localhost", Age::Valid), None, &mut tasks).await;

    let outcome = met(address, "localhost", only(&ours)).await;
    assert_eq!(outcome.met.status(), Some(StatusCode::OK), "{outcome:?}");
    assert_tls(&met(address, "localhost", only(&theirs)).await, "invalid peer certificate");
}

#[tokio::test]
async fn an_expired_certificate_or_one_of_another_name_is_a_tls_error_that_says_so() {
    let ours = Authority::new();
    let mut tasks = JoinSet::new();
    let expired = target(&ours.vouch("localhost", Age::Expired), None, &mut tasks).await;
    let other = target(&ours.vouch("crm.example.com", Age::Valid), None, &mut tasks).await;

    assert_tls(&met(expired, "localhost", only(&ours)).await, "expired");
    assert_tls(&met(other, "localhost", only(&ours)).await, "crm.example.com");
}

#[tokio::test]
async fn a_target_that_asks_who_calls_is_shown_the_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut tasks = JoinSet::new();
    let paper = ours.vouch("localhost", Age::Valid);
    let address = target(&paper, Some(&ours), &mut tasks).await;
    let shown = |paper: Paper| tls::Settings { identity: Some(paper.identity()), ..only(&ours) };

    let outcome = met(address, "localhost", shown(ours.vouch("relay", Age::Valid))).await;
    assert_eq!(outcome.met.status(), Some(StatusCode::OK), "{outcome:?}");
    let none = met(address, "localhost", only(&ours)).await;
    assert_tls(&none, "CertificateRequired");
    let expired = met(address, "localhost", shown(ours.vouch("relay", Age::Expired))).await;
    assert_tls(&expired, "CertificateExpired");
    let stranger = met(address, "localhost", shown(theirs.vouch("relay", Age::Valid))).await;
    assert_tls(&stranger, "received fatal alert");
}

#[test]
fn files_that_are_no_certificate_or_no_pair_are_refused_with_the_reason() {
    let ours = Authority::new();
    let (one, other) = (ours.vouch("one", Age::Valid), ours.vouch("other", Age::Valid));
    let pair = |certificate: &str, key: &str| {
        Identity::from_pem(certificate.as_bytes(), &Secret::new(key)).unwrap_err().to_string()
    };

    assert!(Authorities::from_pem(b"hello").unwrap_err().to_string().contains("no certificate"));
    assert!(Authorities::from_pem(one.key.as_bytes()).is_err());
    assert!(pair(&one.key, &one.key).contains("no certificate"));
    assert!(pair(&one.certificate, "hush").contains("no private key"));
    assert!(pair(&one.certificate, &other.key).contains("not the one of the certificate"));
    let shown = format!("{:?}", one.identity());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}
