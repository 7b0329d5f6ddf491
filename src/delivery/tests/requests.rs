//! What a target receives.

use std::collections::HashMap;

use super::*;
use crate::{
    delivery::target::Auth,
    secret::{Secret, Secrets},
};

/// The one request a target so configured receives.
async fn request(configure: impl FnOnce(&mut Http)) -> receiver::Request {
    let receiver = Receiver::start(|_| OK).await;
    let mut settings = http("crm", &receiver.url);
    if let Place::Http(http) = &mut settings.place {
        configure(http);
    }
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;
    receiver.requests().remove(0)
}

#[tokio::test]
async fn a_request_is_a_structured_cloudevent_under_its_stable_id() {
    let seen = request(|_| {}).await;

    assert_eq!(seen.line, "POST /events?key=hush HTTP/1.1");
    assert_eq!(seen.body, br#"{"id":"a"}"#);
    let mut headers = seen.headers;
    assert!(headers.remove("host").unwrap().starts_with("127.0.0.1:"));
    let id: uuid::Uuid = headers.remove("webhook-id").unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    let expected = [
        ("content-type", "application/cloudevents+json; charset=utf-8"),
        ("content-length", "10"),
        ("user-agent", concat!("hookswitch/", env!("CARGO_PKG_VERSION"))),
        ("webhook-timestamp", "1772366400"),
        ("hookswitch-attempt", "1"),
        ("hookswitch-round", "0"),
        ("accept", "*/*"),
    ];
    let expected: HashMap<_, _> =
        expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(headers, expected);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the other library reads the wall clock")]
async fn a_signed_request_is_verified_by_an_independent_library() {
    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let receiver = Receiver::start(|_| OK).await;
    let mut settings = http("crm", &receiver.url);
    if let Place::Http(http) = &mut settings.place {
        http.sign = Some(Secrets::new(vec![Secret::new(SECRET)]));
    }
    let world = World::start(vec![settings]);
    world.clock.advance(Timestamp::now().duration_since(noon()).unsigned_abs());
    world.enqueue(&["crm"]);
    world.delivered("crm", 1).await;

    let seen = receiver.requests().remove(0);

    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, seen.headers[name].parse().unwrap());
    }
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(&seen.body, &headers).unwrap();
}

#[tokio::test]
async fn configured_headers_are_sent_and_cannot_forge_ours() {
    let seen = request(|http| {
        http.method = Method::PUT;
        http.headers.insert("x-team", "sales".parse().unwrap());
        http.headers.insert("user-agent", "mine/1".parse().unwrap());
        http.headers.insert("webhook-id", "forged".parse().unwrap());
    })
    .await;

    assert!(seen.line.starts_with("PUT "));
    assert_eq!(seen.headers["x-team"], "sales");
    assert_eq!(seen.headers["user-agent"], "mine/1");
    assert_ne!(seen.headers["webhook-id"], "forged");
}

#[tokio::test]
async fn a_target_is_authenticated_to_in_each_of_the_three_ways() {
    let bearer = request(|http| http.auth = Some(Auth::Bearer(Secret::new("tok")))).await;
    assert_eq!(bearer.headers["authorization"], "Bearer tok");

    let basic = request(|http| {
        http.auth =
            Some(Auth::Basic { username: "Aladdin".into(), password: Secret::new("open sesame") });
    })
    .await;
    // The example of RFC 7617.
    assert_eq!(basic.headers["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");

    let header = request(|http| {
        let name = "x-api-key".parse().unwrap();
        http.auth = Some(Auth::Header { name, value: Secret::new("k3y") });
    })
    .await;
    assert_eq!(header.headers["x-api-key"], "k3y");
}

#[test]
fn a_target_that_cannot_be_called_as_configured_keeps_delivery_from_starting() {
    let error = |configure: fn(&mut Http)| {
        let mut settings = http("crm", "http://crm.example.com/");
        if let Place::Http(http) = &mut settings.place {
            configure(http);
        }
        let store: Arc<dyn crate::store::Store> = Arc::<Memory>::default();
        let settings = Settings { targets: vec![settings] };
        let clock = Clock::manual(noon());
        Dispatcher::start(&settings, &store, &Drain::new(), &clock, &Metrics::new())
            .unwrap_err()
            .to_string()
    };

    let broken = error(|http| http.auth = Some(Auth::Bearer(Secret::new("tok\n"))));
    assert!(broken.starts_with("target crm: ") && broken.contains("line break"), "{broken}");
    assert!(!broken.contains("tok"));
    let unsigned = error(|http| http.sign = Some(Secrets::new(vec![Secret::new("hunter2")])));
    assert!(unsigned.starts_with("target crm: ") && unsigned.contains("whsec_"), "{unsigned}");
}
