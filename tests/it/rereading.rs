//! Reading a stored callback again, with the sources and routes of now.

use bytes::Bytes;
use hookswitch::{
    config::{Config, Environment},
    event::{EventId, SourceName},
    ingest::{Rereader, StillUnread, Trust},
    route::{Routes, TargetName},
    store::{Fate, StoredEvent, StoredRequest},
};
use jiff::Timestamp;

const RELAY: &str = r#"
[sources.calls]
provider = "11x"
auth = { kind = "body-field", field = "/token", secret = "s3cr3t-of-the-body" }
[targets.crm]
file = "-"
[[routes]]
to = ["crm"]
"#;

fn rereader() -> Rereader {
    let (config, _) =
        Config::parse("relay.toml", RELAY, &Environment::given::<String, String>([])).unwrap();
    Rereader::new(config.ingest.sources, Routes::new(config.routes))
}

fn stored(source: &str, reason: &str, body: &str) -> StoredEvent {
    let received_at = Timestamp::from_second(1_800_000_000).unwrap();
    StoredEvent {
        id: EventId::new(received_at, [7; 10]),
        source: SourceName::new(source),
        provider: "11x".to_owned(),
        received_at,
        state: "quarantined",
        reason: Some(reason.to_owned()),
        request: StoredRequest {
            method: "POST".to_owned(),
            query: String::new(),
            content_type: Some("application/json".to_owned()),
            body: Bytes::from(body.to_owned()),
        },
        json: None,
        failed_routes: Vec::new(),
    }
}

const CALL: &str = r#"{"token":"s3cr3t-of-the-body","phoneNumber":"+15550100123","callId":"call.1",
    "callResult":{"resultType":"Goal Completed"}}"#;

#[test]
fn what_can_be_read_now_becomes_its_event_under_its_id_and_without_its_secrets() {
    let event = stored("calls", "not_json", CALL);

    let admission = rereader().read(&event, Trust::Verified).unwrap();

    assert_eq!((admission.id, admission.received_at), (event.id, event.received_at));
    assert_eq!(admission.request, event.request);
    assert!(admission.fingerprint.is_some());
    let Fate::Readable { json, targets, facts, .. } = admission.fate else {
        panic!("it is readable")
    };
    assert_eq!(targets, [TargetName::new("crm")]);
    assert_eq!(facts.call_id.as_deref(), Some("call.1"));
    let json = String::from_utf8(json.to_vec()).unwrap();
    assert!(json.contains(&event.id.to_string()) && !json.contains("s3cr3t"), "{json}");
}

#[test]
fn what_was_never_verified_is_read_only_by_a_persons_decision() {
    let event = stored("calls", "unverified", CALL);
    let rereader = rereader();

    assert_eq!(rereader.read(&event, Trust::Verified).unwrap_err(), StillUnread::Unverified);
    assert!(rereader.read(&event, Trust::ByDecision).is_ok());
}

#[test]
fn what_still_cannot_be_read_says_why() {
    let rereader = rereader();
    let read = |source, body| {
        rereader.read(&stored(source, "not_json", body), Trust::Verified).unwrap_err()
    };

    assert_eq!(read("gone", CALL), StillUnread::NoSource);
    assert!(matches!(read("calls", "\u{1}{{{"), StillUnread::Unreadable(_)));
}
