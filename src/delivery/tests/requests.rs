//! What a target receives.

use std::collections::HashMap;

use super::*;
use crate::{
    delivery::{target::Auth, template::Template},
    event::TraceParent,
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
    let trace = headers.remove("traceparent").unwrap();
    assert!(trace.starts_with(&format!("00-{}-", id.simple())), "{trace}");
    assert!(TraceParent::parse(&trace).is_some(), "{trace}");
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
async fn a_signed_request_of_any_format_is_verified_by_an_independent_library() {
    const SECRETS: [&str; 2] = [
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    ];
    let template = Template::new("id: {{ id }}".into(), "text/plain").unwrap();
    for (format, body) in [
        (Format::CloudEvents, r#"{"id":"a"}"#),
        (Format::CloudEventsBinary, ""),
        (Format::Raw, "CallSid=c1"),
        (Format::Template(template), "id: a"),
    ] {
        let receiver = Receiver::start(|_| OK).await;
        let mut settings = http("crm", &receiver.url);
        if let Place::Http(http) = &mut settings.place {
            http.sign = Some(Secrets::new(SECRETS.map(Secret::new).to_vec()));
            http.format = format.clone();
        }
        let world = World::start(vec![settings]);
        world.clock.advance(Timestamp::now().duration_since(noon()).unsigned_abs());
        world.enqueue(&["crm"]);
        world.delivered("crm", 1).await;

        let seen = receiver.requests().remove(0);

        assert_eq!(String::from_utf8_lossy(&seen.body), body, "{format:?}");
        let mut headers = HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, seen.headers[name].parse().unwrap());
        }
        for secret in SECRETS {
            let webhook = standardwebhooks::Webhook::new(secret).unwrap();
            webhook.verify(&seen.body, &headers).unwrap();
        }
    }
}

#[tokio::test]
async fn each_format_has_its_own_headers() {
    let binary = request(|http| http.format = Format::CloudEventsBinary).await;
    assert_eq!(binary.headers["ce-id"], "a");
    assert!(!binary.headers.contains_key("content-type"));

    let raw = request(|http| http.format = Format::Raw).await;
    assert_eq!(raw.headers["content-type"], "text/x-odd");

    let template = Template::new("{{ id }}".into(), "text/plain; charset=utf-8").unwrap();
    let made = request(|http| http.format = Format::Template(template)).await;
    assert_eq!(made.headers["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test]
async fn what_no_template_can_be_made_of_is_a_dead_letter_with_the_reason() {
    let receiver = Receiver::start(|_| OK).await;
    let mut settings = http("crm", &receiver.url);
    if let Place::Http(http) = &mut settings.place {
        let template = Template::new("{{ data.call.id }}".into(), "text/plain").unwrap();
        http.format = Format::Template(template);
    }
    let world = World::start(vec![settings]);
    world.enqueue(&["crm"]);

    let row = world.attempted("crm", 1).await;

    assert_eq!(row.state, State::Dead(BuryReason::Unrenderable));
    let error = row.attempts[0].error.as_deref().unwrap();
    assert_eq!(error, "the template fails: undefined value (data.call, line 1)");
    assert_eq!(receiver.count(), 0);
    for line in [
        r#"hookswitch_delivery_attempts_total{cause="render",outcome="buried",target="crm"} 1"#,
        r#"hookswitch_dead_letters_total{reason="unrenderable",target="crm"} 1"#,
    ] {
        eventually(line, || world.registry.page().contains(line)).await;
    }
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
