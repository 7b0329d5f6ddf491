//! What a target receives, read by libraries that know nothing of us.

use cloudevents::{AttributesReader as _, Event};
use standardwebhooks::Webhook;

use crate::harness::{Setup, Target, callback, post};

const SECRET: &str = "whsec_aG9va3N3aXRjaC10ZXN0LXNlY3JldC0wMDAwMDAwMQ==";
const OLD_SECRET: &str = "whsec_aG9va3N3aXRjaC10ZXN0LXNlY3JldC0wMDAwMDAwMA==";

#[tokio::test]
async fn a_cloudevents_library_reads_what_a_target_receives() {
    let target = Target::answering(200).await;
    let relay = Setup::new().target("crm", &target, "").start().await;

    let ack = post(&relay.url(), &callback("call.1")).await;

    let got = target.received(1).await.remove(0);
    assert!(got.header("content-type").starts_with("application/cloudevents+json"));
    let event: Event = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(event.specversion().as_str(), "1.0");
    assert_eq!(event.id(), ack.id());
    assert_eq!(event.ty(), "call.completed");
    assert_eq!(event.source(), "/sources/calls");
    assert_eq!(event.subject(), Some("call.1"));
    assert_eq!(event.dataschema().unwrap().as_str(), "urn:hookswitch:call-event:1");
    assert_eq!(event.datacontenttype(), Some("application/json"));
    assert!(event.time().is_some());
}

#[tokio::test]
async fn a_standard_webhooks_library_verifies_what_a_target_receives() {
    let target = Target::answering(200).await;
    let sign = format!("sign = {{ secret = [\"{SECRET}\", \"{OLD_SECRET}\"] }}");
    let relay = Setup::new().target("crm", &target, &sign).start().await;

    let ack = post(&relay.url(), &callback("call.1")).await;

    let got = target.received(1).await.remove(0);
    assert_eq!(got.header("webhook-id"), ack.id());
    // While a secret is rotated, a target that knows either of them can verify.
    for secret in [SECRET, OLD_SECRET] {
        Webhook::new(secret).unwrap().verify(&got.body, &got.headers).unwrap();
    }
    let mut tampered = got.body.to_vec();
    let last = tampered.len() - 2;
    tampered[last] ^= 1;
    assert!(Webhook::new(SECRET).unwrap().verify(&tampered, &got.headers).is_err());
    let stranger = Webhook::new("whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXItMDAwMDA=").unwrap();
    assert!(stranger.verify(&got.body, &got.headers).is_err());
}

#[tokio::test]
async fn a_target_without_a_signing_secret_gets_id_and_timestamp_and_no_signature() {
    let target = Target::answering(200).await;
    let keys =
        "headers = { x-team = \"sales\" }\nauth = { kind = \"bearer\", token = \"crm-token\" }";
    let relay = Setup::new().target("crm", &target, keys).start().await;

    post(&relay.url(), &callback("call.1")).await;

    let got = target.received(1).await.remove(0);
    assert!(!got.headers.contains_key("webhook-signature"));
    assert!(got.header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(got.header("x-team"), "sales");
    assert_eq!(got.header("authorization"), "Bearer crm-token");
    assert_eq!(got.header("user-agent"), concat!("hookswitch/", env!("CARGO_PKG_VERSION")));
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/events"));
}
