//! Targets of HTTPS, with certificates made here.

use std::time::Duration;

use super::{
    authority::{Age, Authority, Paper},
    *,
};
use crate::{
    delivery::tls::{self, Authorities, Identity},
    secret::Secret,
};

/// What the targets here speak, as their handshake says it.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"h2"];

/// A target that shows `paper`, and asks for one of `clients` where that is given.
async fn target(paper: &Paper, clients: Option<&Authority>, protocol: &[u8]) -> Receiver {
    Receiver::secured(paper.server(clients, protocol), |_| OK).await
}

async fn met(receiver: &Receiver, tls: tls::Settings) -> Outcome {
    let mut settings = http("crm", &receiver.url);
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

#[track_caller]
fn assert_tls(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.met, Met::Failed(Cause::Tls), "{outcome:?}");
    let error = outcome.error.as_deref().unwrap();
    assert!(error.contains(words), "{error}");
}

#[tokio::test]
async fn a_target_is_trusted_by_an_authority_of_its_own() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for protocol in PROTOCOLS {
        let crm = target(&ours.vouch("localhost", Age::Valid), None, protocol).await;

        let outcome = met(&crm, ours.trusted()).await;
        assert_eq!(outcome.met.status(), Some(StatusCode::OK), "{outcome:?}");
        assert_tls(&met(&crm, theirs.trusted()).await, "invalid peer certificate");
    }
}

#[tokio::test]
async fn an_expired_certificate_or_one_of_another_name_is_a_tls_error_that_says_so() {
    let ours = Authority::new();
    let expired = target(&ours.vouch("localhost", Age::Expired), None, b"h2").await;
    let other = target(&ours.vouch("crm.example.com", Age::Valid), None, b"h2").await;

    assert_tls(&met(&expired, ours.trusted()).await, "expired");
    assert_tls(&met(&other, ours.trusted()).await, "crm.example.com");
}

#[tokio::test]
async fn a_target_that_asks_who_calls_is_shown_the_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let paper = ours.vouch("localhost", Age::Valid);
    let shown = |paper: Paper| tls::Settings { identity: Some(paper.identity()), ..ours.trusted() };
    for protocol in PROTOCOLS {
        let crm = target(&paper, Some(&ours), protocol).await;

        let outcome = met(&crm, shown(ours.vouch("relay", Age::Valid))).await;
        assert_eq!(outcome.met.status(), Some(StatusCode::OK), "{outcome:?}");
        assert_tls(&met(&crm, ours.trusted()).await, "CertificateRequired");
        let expired = met(&crm, shown(ours.vouch("relay", Age::Expired))).await;
        assert_tls(&expired, "CertificateExpired");
        let stranger = met(&crm, shown(theirs.vouch("relay", Age::Valid))).await;
        assert_tls(&stranger, "received fatal alert");
    }
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
