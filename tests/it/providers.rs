//! What is each provider's own on the road: signatures, secrets in bodies, handshakes, mappings.

use hookswitch::{
    secret::Secret,
    signature::{Algorithm, Encoding, Key},
};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Ack, Process, Relay, Setup, Target, assert_is_a_call_event, client, write_config,
};

/// A form from a provider of which the relay knows nothing.
const CUSTOM: &str = "[sources.calls.map]\ncall.id = \"/call/id\"\ncall.status = \"/call/status\"";

async fn send(
    relay: &Relay,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Ack {
    let mut request =
        client().request(method, format!("{}{path}", relay.url())).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ack::of(request.send().await.unwrap()).await
}

async fn counted(relay: &Relay, code: &str, reason: &str) -> u64 {
    let labels = [("source", "calls"), ("code", code), ("reason", reason)];
    whole(relay.metrics().await.get("hookswitch_ingest_requests_total", &labels))
}

async fn events(relay: &Relay, state: &str) -> u64 {
    let labels = [("source", "calls"), ("state", state)];
    whole(relay.metrics().await.get("hookswitch_events", &labels))
}

fn whole(value: f64) -> u64 {
    value.to_string().parse().unwrap()
}

/// Every file of the relay, read byte by byte.
fn files_with(setup: &Setup, needle: &str) -> Vec<String> {
    let files = std::fs::read_dir(setup.folder()).unwrap().map(|entry| entry.unwrap().path());
    let holds = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    files.filter(holds).map(|path| path.display().to_string()).collect()
}

// --- secrets in bodies ---

#[tokio::test]
async fn a_secret_in_the_body_opens_the_source_and_is_neither_stored_nor_forwarded() {
    let token = "b0dy-t0ken-4f9d";
    let target = Target::answering(200).await;
    let setup = Setup::new()
        .source(&format!(
            "provider = \"custom\"\nmethods = [\"POST\", \"GET\"]\n\
             auth = {{ kind = \"body-field\", field = \"/auth/token\", secret = \"{token}\" }}\n\
             {CUSTOM}"
        ))
        .target("crm", &target, "format = \"cloudevents\"");
    let relay = setup.start().await;
    let get = format!("?call[id]=c-3&auth%5Btoken%5D={token}&ref=7");
    let bodies = [
        (
            Method::POST,
            "",
            format!(r#"{{"call":{{"id":"c-1"}},"auth":{{"token":"{token}","n":1}}}}"#),
        ),
        (Method::POST, "", format!("call[id]=c-2&auth[token]={}", token.replace('-', "%2D"))),
        (Method::GET, get.as_str(), String::new()),
        // Authentic, and not one of the mapping's: quarantined.
        (Method::POST, "", r#"{"other":1,"auth":{"token":"b0dy\u002dt0ken-4f9d"}}"#.to_owned()),
    ];
    for (method, path, body) in &bodies {
        let ack = send(&relay, method.clone(), path, &[], body).await;
        assert_eq!(ack.status, 200, "{body}");
        let repeat = send(&relay, method.clone(), path, &[], body).await;
        // The last carries neither an id nor a time, but is kept by its bytes.
        assert_eq!(repeat.id(), ack.id(), "{body}");
    }
    for refused in [
        r#"{"call":{"id":"c-1"}}"#,
        r#"{"call":{"id":"c-1"},"auth":{"token":"b0dy-t0ken"}}"#,
        "call[id]=c-2&auth[token]=b0dy-t0ken-4f9d&auth[token]=b0dy-t0ken-4f9d",
        r#"{"call":{"id":"c-1"},"auth":{"token":"b0dy-t0ken-4f9d"}"#,
    ] {
        assert_eq!(send(&relay, Method::POST, "", &[], refused).await.status, 401, "{refused}");
    }

    let got = target.received(3).await;
    for delivery in &got {
        let event = delivery.event().to_string();
        assert!(!event.contains(token) && !event.contains("***"), "{event}");
    }
    let first = got.iter().find(|got| got.event()["subject"] == "c-1").unwrap();
    assert_eq!(first.event()["data"]["extra"], json!({ "auth": { "n": 1 } }));
    assert_eq!(events(&relay, "quarantined").await, 1);
    relay.stop().await;
    assert_eq!(files_with(&setup, token), Vec::<String>::new());
    assert_ne!(files_with(&setup, r#""token":"***""#), Vec::<String>::new());
}

#[tokio::test]
async fn no_secret_of_a_request_reaches_the_log_however_much_is_logged() {
    let secrets = ["b0dy-t0ken-4f9d", "ur1-t0ken-4f9d", "header-s3cret-4f9d"];
    let setup = Setup::new().source(&format!(
        "provider = \"custom\"\nauth = [{{ kind = \"body-field\", field = \"token\", secret = \
         \"{}\" }}, {{ kind = \"url-token\", token = \"{}\" }}, {{ kind = \"header\", name = \
         \"x-key\", secret = \"{}\" }}]\n{CUSTOM}",
        secrets[0], secrets[1], secrets[2]
    ));
    let config = write_config(&setup.folder(), &setup.text());
    let mut command = Process::command();
    command.env("HOOKSWITCH_LOG", "trace");
    command.args(["serve", "--log-format", "json", "--config"]).arg(&config);
    let process = Process::listening(command).await;

    let url = format!("http://{}/hooks/calls/{}", process.callbacks, secrets[1]);
    for (key, body, code) in [
        (secrets[2], format!("call[id]=c-1&token={}", secrets[0]), 200),
        (secrets[2], format!("other=1&token={}", secrets[0]), 200),
        (secrets[2], format!("token={0}&token={0}", secrets[0]), 401),
        ("wrong", format!("call[id]=c-1&token={}", secrets[0]), 401),
    ] {
        let request = client().post(&url).header("x-key", key).body(body);
        assert_eq!(request.send().await.unwrap().status(), code);
    }

    let (_, log) = process.terminate().await;
    assert!(log.iter().any(|line| line.contains("refused a callback")), "{log:#?}");
    for line in &log {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

// --- mappings ---

/// One rule for each field of the event that a mapping can fill.
const EVERY_FIELD: &str = r#"provider = "custom"
auth = { kind = "header", name = "x-key", secret = "test-key" }
country = "AU"
timezone = "Australia/Brisbane"
status = { "Reached a person" = "completed", "Hung" = "busy" }
[sources.calls.map]
name = "dialler"
changing = ["sent_at"]
call.id = "/ids/0"
call.reference = "ref"
call.direction = { constant = "outbound" }
call.from = { from = "cli", ext = "cli_ext" }
call.to = "/callee/number"
call.via = { constant = "07 3105 0199" }
call.status = "result"
call.reason = { from = "cause", words = { "Far end" = "callee_hangup" } }
call.answered_by = { from = "amd", words = { PERSON = "human" } }
call.queued_at = "queued"
call.scheduled_at = { from = "planned", format = "%d/%m/%Y %I:%M %p" }
call.started_at = { from = "started", format = "unix_ms" }
call.answered_at = { from = "answered", format = "rfc2822" }
call.ended_at = "ended"
call.duration_seconds = "seconds"
call.billable_seconds = "billed"
call.attempts = "try"
call.max_attempts = "tries"
call.retry_wait_seconds = "wait"
call.recording_url = "recording"
call.url = "page"
call.summary = "summary"
call.transcript = "/talk/text"
call.legs.from = { status = "leg1", duration_seconds = "leg1_seconds" }
call.legs.to = { status = "leg2" }
call.timeline = { from = "history", at = "when", event = "what", format = "unix_ms" }
agent = { id = "/agent/id", name = "/agent/name", email = { constant = "desk@example.com" } }
contact = { name = "/callee/name", email = "/callee/email" }
campaign = { id = "campaign_id", name = "campaign" }
sequence = { id = "sequence_id", state = "stage" }
meeting = { start = "/meeting/from", end = "/meeting/to", host = "/meeting/host" }
disposition = "result"
notes = "remarks"
outcomes = { from = "outcomes", name = "label", reason = "why" }
actions = { from = "tasks", actor = "human", key = "kind", status = "state", completed_at = "done", description = "text" }
extracted = "answers"
analysis = "scores"
logged_at = "sent_at""#;

/// `data` of its event, but for the instant of its receipt.
const EVERY_FIELD_MAPPED: &str = r#"{
    "provider": "dialler",
    "received_at": null,
    "call": {
        "id": "c-1", "reference": "4711", "direction": "outbound",
        "from": { "raw": "07 3105 0100", "e164": "+61731050100", "ext": "12" },
        "to": { "raw": "+61 7 5550 0123", "e164": "+61755500123", "ext": null },
        "via": { "raw": "07 3105 0199", "e164": "+61731050199", "ext": null },
        "status": "completed", "status_raw": "Reached a person", "final": true,
        "reason": "callee_hangup", "reason_raw": "far end", "answered_by": "human",
        "queued_at": "2025-10-27T00:00:00Z", "scheduled_at": "2025-10-27T11:30:00Z",
        "started_at": "2025-10-27T10:01:40.250Z", "answered_at": "2025-10-27T10:01:50Z",
        "ended_at": "2025-10-27T10:02:40Z", "duration_seconds": 50, "billable_seconds": 60,
        "attempts": 1, "max_attempts": 3, "retry_wait_seconds": 300,
        "recording_url": "https://example.com/r", "url": null, "summary": "ok",
        "transcript": "hello",
        "legs": [
            { "role": "from", "status": "completed", "status_raw": "completed",
              "duration_seconds": 5 },
            { "role": "to", "status": "busy", "status_raw": "Hung", "duration_seconds": null }
        ],
        "timeline": [
            { "at": "2025-10-27T10:01:50Z", "event": "completed", "event_raw": "answered" }
        ]
    },
    "agent": { "id": "7", "name": "Bob Example", "email": "desk@example.com" },
    "contact": { "name": "Ada Example", "email": "ada@example.com" },
    "campaign": { "id": "k", "name": "K" },
    "sequence": { "id": "s", "state": "first" },
    "meeting": { "start": "2025-10-27T23:00:00Z", "end": "2025-10-27T23:30:00Z", "host": "h" },
    "disposition": "Reached a person",
    "notes": "none",
    "outcomes": [{ "name": "won", "reason": "price" }],
    "actions": [{ "key": "mail", "actor": "human", "status": "open", "completed_at": null,
                  "description": "send" }],
    "extracted": { "zip": "4000" },
    "analysis": { "mood": [1, 2] },
    "extra": {
        "ids": ["c-1", "c-1-b"],
        "amd": "person",
        "seconds": "00:00:50",
        "page": "javascript:alert(1)",
        "talk": { "words": 1 },
        "agent": { "desk": 4 },
        "tasks": [{ "kind": "mail", "state": "open", "done": null, "text": "send", "cost": 1.50 }],
        "sent_at": "2025-10-27T10:02:41Z",
        "new": true
    },
    "query": {},
    "warnings": ["value_dropped"]
}"#;

/// A body with a value for each of them.
const EVERY_VALUE: &str = r#"{
    "ids": ["c-1", "c-1-b"], "ref": 4711, "cli": "07 3105 0100", "cli_ext": "12",
    "callee": { "number": "+61 7 5550 0123", "name": "Ada Example", "email": "ada@example.com" },
    "result": "Reached a person", "cause": "far end", "amd": "person",
    "queued": "2025-10-27 10:00:00", "planned": "27/10/2025 09:30 PM",
    "started": 1761559300250, "answered": "Mon, 27 Oct 2025 10:01:50 +0000",
    "ended": "2025-10-27T10:02:40Z", "seconds": "00:00:50", "billed": 60, "try": 1, "tries": "3",
    "wait": 300, "recording": "https://example.com/r", "page": "javascript:alert(1)",
    "summary": "ok", "talk": { "text": "\n hello ", "words": 1 }, "leg1": "completed",
    "leg1_seconds": 5, "leg2": "Hung",
    "history": [{ "when": 1761559310000, "what": "answered" }],
    "agent": { "id": 7, "name": "Bob Example", "desk": 4 }, "campaign_id": "k", "campaign": "K",
    "sequence_id": "s", "stage": "first",
    "meeting": { "from": "2025-10-28 09:00:00", "to": "2025-10-28 09:30:00", "host": "h" },
    "remarks": "none", "outcomes": [{ "label": "won", "why": "price" }],
    "tasks": [{ "kind": "mail", "state": "open", "done": null, "text": "send", "cost": 1.50 }],
    "answers": { "zip": "4000" }, "scores": { "mood": [1, 2] }, "sent_at": "SENT_AT", "new": true
}"#;

fn every_field(sent_at: &str) -> String {
    EVERY_VALUE.replace("SENT_AT", sent_at)
}

#[tokio::test]
async fn every_field_of_the_event_can_be_mapped_and_nothing_else_is_lost() {
    let target = Target::answering(200).await;
    let relay = Setup::new().source(EVERY_FIELD).target("crm", &target, "").start().await;
    let key = [("x-key", "test-key")];
    let post = async |body: String| send(&relay, Method::POST, "", &key, &body).await;

    let first = post(every_field("2025-10-27T10:02:41Z")).await;
    let repeat = post(every_field("2025-10-27T10:32:41Z")).await;

    assert_eq!(first.id(), repeat.id(), "only what changes at each try has changed");
    let event = target.received(1).await[0].event();
    let mut data = event["data"].clone();
    data["received_at"].take();
    let expected: Value = serde_json::from_str(EVERY_FIELD_MAPPED).unwrap();
    assert_eq!(data, expected, "{data:#}");
}

#[tokio::test]
async fn two_calls_that_differ_in_nothing_but_a_log_time_that_changes_are_two() {
    let relay = Setup::new()
        .source(
            "provider = \"custom\"\nauth = { kind = \"header\", name = \"x-key\", secret = \
             \"test-key\" }\n[sources.calls.map]\nchanging = [\"/log/sent_at\"]\ncall.to = \
             \"callee\"\ncall.status = \"result\"\nlogged_at = \"log[sent_at]\"",
        )
        .start()
        .await;
    let post = async |sent_at: &str| {
        let log = json!({ "sent_at": sent_at });
        let body = json!({ "callee": "+15550100123", "result": "busy", "log": log }).to_string();
        send(&relay, Method::POST, "", &[("x-key", "test-key")], &body).await
    };

    let first = post("2025-10-27T10:02:41Z").await;
    let second = post("2025-10-27T17:30:00Z").await;

    assert_ne!(first.id(), second.id(), "a doubled result can be repaired, a lost one cannot");
    assert_eq!(events(&relay, "unrouted").await, 2);
}

// --- signatures ---

/// `printf %s c-1 | openssl dgst -sha256 -hmac secret -r`
const SIGNED_C1: &str = "a100a5424bb71d25e03a16053b72b17ee72c4838482347753df4478c17af6c86";

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn signed_by_id(url_token: &str) -> Setup {
    Setup::new().source(&format!(
        "provider = \"custom\"\nauth = [{url_token}{{ kind = \"hmac\", secret = \"secret\", \
         header = [\"x-sig\", \"x_sig\"], signed = \"{{json:/call/id}}\" }}]\n{CUSTOM}"
    ))
}

#[tokio::test]
async fn a_signature_over_a_value_of_the_body_lets_that_call_in_and_no_other() {
    let relay = signed_by_id("").start().await;
    let signed = [("x-sig", SIGNED_C1)];
    let body = |id: &str| format!(r#"{{"call":{{"id":{id},"status":"completed"}}}}"#);

    assert_eq!(send(&relay, Method::POST, "", &signed, &body("\"c-1\"")).await.status, 200);
    let other = send(&relay, Method::POST, "", &signed, &body("\"c-2\"")).await;
    let none = send(&relay, Method::POST, "", &signed, &body("null")).await;
    let unreadable = send(&relay, Method::POST, "", &signed, "{").await;
    let missing = send(&relay, Method::POST, "", &[], &body("\"c-1\"")).await;
    let both = [("x-sig", SIGNED_C1), ("x_sig", SIGNED_C1)];
    let doubled = send(&relay, Method::POST, "", &both, &body("\"c-1\"")).await;

    for refused in [&other, &none, &unreadable, &missing, &doubled] {
        assert_eq!(refused.status, 401);
        assert_eq!(refused.body, other.body);
        assert!(refused.headers.contains_key("www-authenticate"));
    }
    assert_eq!(counted(&relay, "401", "credentials_wrong").await, 1);
    assert_eq!(counted(&relay, "401", "signed_value_missing").await, 2);
    assert_eq!(counted(&relay, "401", "credentials_missing").await, 1);
    assert_eq!(counted(&relay, "401", "credentials_doubled").await, 1);
    assert_eq!(events(&relay, "unrouted").await, 1);
    assert_eq!(events(&relay, "quarantined").await, 0);
}

#[tokio::test]
async fn a_signature_that_has_grown_old_is_refused_and_the_same_callback_signed_anew_is_taken() {
    let relay = Setup::new()
        .source(&format!(
            "provider = \"custom\"\nauth = {{ kind = \"hmac\", secret = \"secret\", \
             header = \"x-sig\", timestamp = \"x-sent\", signed = \"{{timestamp}}.{{body}}\", \
             tolerance = \"10m\" }}\n{CUSTOM}"
        ))
        .start()
        .await;
    let body = r#"{"call":{"id":"c-1","status":"completed"}}"#;
    let now = Timestamp::now();
    let key = Key::new(Algorithm::Sha256, &Secret::new("secret"));
    let sent = async |at: Timestamp| {
        let at = at.as_second().to_string();
        let signed = key.sign(&[at.as_bytes(), b".", body.as_bytes()], Encoding::Hex);
        send(&relay, Method::POST, "", &[("x-sig", &signed), ("x-sent", &at)], body).await
    };

    let (stale, early) = (sent(now - HOUR).await, sent(now + HOUR).await);
    // An old signature does not become young by another instant beside it.
    let old = key.sign(&[b"1000000000.", body.as_bytes()], Encoding::Hex);
    let at = now.as_second().to_string();
    let moved = send(&relay, Method::POST, "", &[("x-sig", &old), ("x-sent", &at)], body).await;

    for refused in [&stale, &early, &moved] {
        assert_eq!(refused.status, 401);
        assert_eq!(refused.body, moved.body, "the answer does not tell why");
        assert!(refused.headers.contains_key("www-authenticate"));
    }
    assert_eq!(counted(&relay, "401", "signature_stale").await, 2);
    assert_eq!(counted(&relay, "401", "credentials_wrong").await, 1);
    assert_eq!(events(&relay, "unrouted").await, 0);
    assert_eq!(sent(now).await.status, 200);
    assert_eq!(events(&relay, "unrouted").await, 1);
    assert_eq!(counted(&relay, "401", "signature_stale").await, 2);
}

#[tokio::test]
async fn an_unreadable_body_that_only_a_url_token_vouches_for_is_kept_as_unverified() {
    let setup = signed_by_id("{ kind = \"url-token\", token = \"t0ken\" }, ");
    let relay = setup.start().await;
    let signed = [("x-sig", SIGNED_C1)];
    let broken = r#"{"call":{"id":"c-1"#;

    let kept = send(&relay, Method::POST, "/t0ken", &signed, broken).await;
    let stranger = send(&relay, Method::POST, "/token", &signed, broken).await;
    let unsigned = send(&relay, Method::POST, "/t0ken", &[], broken).await;
    let readable = send(&relay, Method::POST, "/t0ken", &signed, r#"{"call":{}}"#).await;

    assert_eq!(kept.status, 200);
    for refused in [stranger, unsigned, readable] {
        assert_eq!(refused.status, 401);
    }
    assert_eq!(counted(&relay, "200", "quarantined").await, 1);
    assert_eq!(counted(&relay, "401", "signed_value_missing").await, 1);
    assert_eq!(events(&relay, "quarantined").await, 1);
    relay.stop().await;
    assert_ne!(files_with(&setup, "unverified"), Vec::<String>::new());

    let strict = signed_by_id("{ kind = \"url-token\", token = \"t0ken\" }, ");
    let text = strict
        .text()
        .replace("provider = \"custom\"", "provider = \"custom\"\non_unreadable = \"reject\"");
    let relay = strict.start_text(&text).await;
    assert_eq!(send(&relay, Method::POST, "/t0ken", &signed, broken).await.status, 401);
}

// --- handshakes ---

#[tokio::test]
async fn a_challenge_of_mobtexting_is_echoed_once_its_credentials_passed_and_makes_no_event() {
    let relay = Setup::new()
        .source(
            "provider = \"mobtexting\"\nauth = { kind = \"url-token\", token = \"0ur-t0ken\" }\n\
             validation_key = [\"new-key\", \"old-key\"]",
        )
        .start()
        .await;
    let challenge = |key: &str| format!(r#"{{"validation_key":"{key}","challenge":"a234qwe"}}"#);

    for key in ["new-key", "old-key"] {
        let path = format!("/0ur-t0ken?token={key}");
        let answer = send(&relay, Method::POST, &path, &[], &challenge(key)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.body, r#"{"challenge":"a234qwe"}"#);
    }
    let other = send(&relay, Method::POST, "/0ur-t0ken", &[], &challenge("other-key")).await;
    let stranger = send(&relay, Method::POST, "/wrong", &[], &challenge("new-key")).await;

    assert_eq!((other.status.as_u16(), stranger.status.as_u16()), (401, 401));
    assert!(!stranger.body.contains("a234qwe") && !other.body.contains("a234qwe"));
    assert_eq!(counted(&relay, "200", "handshake").await, 2);
    for state in ["routed", "unrouted", "quarantined"] {
        assert_eq!(events(&relay, state).await, 0);
    }
}

#[tokio::test]
async fn a_challenge_of_mobtexting_is_echoed_where_its_results_come_by_get() {
    let auth = "auth = { kind = \"url-token\", token = \"0ur-t0ken\" }";
    let source = format!("provider = \"mobtexting\"\n{auth}\nmethods = [\"GET\"]");
    let relay = Setup::new().source(&source).start().await;
    let challenge = r#"{"validation_key":"k","challenge":"a234qwe"}"#;

    let echo = send(&relay, Method::POST, "/0ur-t0ken?token=k", &[], challenge).await;
    let stranger = send(&relay, Method::POST, "/wrong", &[], challenge).await;
    let result = send(&relay, Method::POST, "/0ur-t0ken", &[], r#"{"status":"BUSY"}"#).await;
    let other = send(&relay, Method::POST, "/0ur-t0ken", &[], "{\"broken").await;

    assert_eq!((echo.status.as_u16(), echo.body.as_str()), (200, r#"{"challenge":"a234qwe"}"#));
    assert_eq!(stranger.status, 401);
    for refused in [result, other] {
        assert_eq!(
            (refused.status.as_u16(), &refused.headers["allow"]),
            (405, &"GET".parse().unwrap())
        );
    }
    for state in ["routed", "unrouted", "quarantined"] {
        assert_eq!(events(&relay, state).await, 0);
    }
}

#[tokio::test]
async fn a_challenge_and_a_result_of_mobtexting_need_its_bearer_token_too() {
    let relay = Setup::new()
        .source(
            "provider = \"mobtexting\"\nauth = [{ kind = \"url-token\", token = \"0ur-t0ken\" }, \
             { kind = \"bearer\", token = \"b34rer\" }]",
        )
        .start()
        .await;
    let challenge = r#"{"validation_key":"k","challenge":"a234qwe"}"#;
    let result = r#"{"status":"BUSY","mid":"7"}"#;
    let bearer = [("authorization", "Bearer b34rer")];

    for refused in [&[][..], &[("authorization", "Bearer other")][..]] {
        for body in [challenge, result] {
            let answer = send(&relay, Method::POST, "/0ur-t0ken", refused, body).await;
            assert_eq!(answer.status, 401);
            assert!(!answer.body.contains("a234qwe"), "{}", answer.body);
        }
    }
    let echo = send(&relay, Method::POST, "/0ur-t0ken", &bearer, challenge).await;
    assert_eq!((echo.status.as_u16(), echo.body.as_str()), (200, r#"{"challenge":"a234qwe"}"#));
    assert_eq!(send(&relay, Method::POST, "/wrong", &bearer, challenge).await.status, 401);
    assert_eq!(send(&relay, Method::POST, "/0ur-t0ken", &bearer, result).await.status, 200);
    assert_eq!(events(&relay, "unrouted").await, 1);
}

#[tokio::test]
async fn a_probe_of_plum_passes_by_whatever_its_url_can_hold() {
    for (auth, right, header, wrong) in [
        (
            "{ kind = \"url-token\", token = \"t0ken\", param = \"key\" }",
            "?key=t0ken",
            "",
            "?key=other",
        ),
        (
            "{ kind = \"body-field\", field = \"token\", secret = \"t0ken\" }",
            "?token=t0ken",
            "",
            "?token=other",
        ),
        // relay:s3cret, as a client sends what stands before the host of a URL.
        (
            "{ kind = \"basic\", username = \"relay\", password = \"s3cret\" }",
            "",
            "Basic cmVsYXk6czNjcmV0",
            "",
        ),
    ] {
        let setup = Setup::new().source(&format!("provider = \"plum\"\nauth = {auth}"));
        let relay = setup.start().await;
        let headers = [("authorization", header)];
        let headers = if header.is_empty() { &headers[..0] } else { &headers[..] };
        for method in [Method::GET, Method::HEAD] {
            let answer = send(&relay, method.clone(), right, headers, "").await;
            assert_eq!(answer.status, 200, "{method} {auth}");
            let stranger = send(&relay, method.clone(), wrong, &[], "").await;
            assert_eq!(stranger.status, 401, "{method} {auth}");
        }
        assert_eq!(events(&relay, "quarantined").await, 0);
    }
}

#[tokio::test]
async fn a_head_makes_no_event_also_where_a_get_does() {
    let relay = Setup::new()
        .source(
            "provider = \"plum\"\nmethods = [\"POST\", \"GET\"]\n\
             auth = { kind = \"url-token\", token = \"0ur-t0ken\" }",
        )
        .start()
        .await;

    let probe = send(&relay, Method::HEAD, "/0ur-t0ken?ref=7", &[], "").await;
    let fields = send(&relay, Method::HEAD, "/0ur-t0ken?status=completed", &[], "").await;
    assert_eq!((probe.status.as_u16(), fields.status.as_u16()), (200, 405));
    for state in ["routed", "unrouted", "quarantined"] {
        assert_eq!(events(&relay, state).await, 0);
    }
    let got = send(&relay, Method::GET, "/0ur-t0ken?status=completed", &[], "").await;
    assert_eq!(got.status, 200);
    assert_eq!(events(&relay, "unrouted").await, 1);
    let raw = relay.admin(&format!("/api/v1/events/{}/raw", got.id()));
    let raw = client().get(raw).send().await.unwrap().text().await.unwrap();
    assert_eq!(raw, "status=completed", "of a GET its query is what was told");
}

// --- what cannot be read ---

/// Each reason of the closed list, by a body that has it.
#[tokio::test]
async fn every_reason_is_kept_with_its_bytes_acked_and_one_event_when_repeated() {
    let target = Target::answering(200).await;
    let source = "provider = \"plum\"\nauth = { kind = \"url-token\", token = \"0ur-t0ken\" }\n\
                  repair_json = false";
    let relay = Setup::new().source(source).target("crm", &target, "").start().await;
    let deep = format!("{{\"status\":{}1{}}}", "[".repeat(70), "]".repeat(70));
    let many = format!("{{\"status\":[{}1]}}", "1,".repeat(10_001));
    let bodies = [
        ("empty", " \n"),
        ("not_json", "{\"status\":completed}"),
        ("not_an_object", "[{\"status\":\"completed\"}]"),
        ("unrecognised", "{\"hello\":\"world\"}"),
        ("too_deep", &deep),
        ("too_many_fields", &many),
        ("duplicate_key", "{\"status\":\"completed\",\"status\":\"failed\"}"),
        ("unsupported", "<result>completed</result>"),
    ];
    let mut ids = Vec::new();
    for (reason, body) in &bodies {
        let first = send(&relay, Method::POST, "/0ur-t0ken?ref=1", &[], body).await;
        let again = send(&relay, Method::POST, "/0ur-t0ken?ref=1", &[], body).await;
        let other = send(&relay, Method::POST, "/0ur-t0ken?ref=2", &[], body).await;
        assert_eq!(first.status, 200, "{reason}");
        assert_eq!(first.id(), again.id(), "{reason}");
        assert_ne!(first.id(), other.id(), "{reason}: the query is part of it");
        ids.push(first.id());
    }
    assert_eq!(events(&relay, "quarantined").await, 2 * u64::try_from(bodies.len()).unwrap());
    assert_eq!(bodies.len(), hookswitch::provider::Unreadable::ALL.len());

    for ((reason, body), id) in bodies.iter().zip(&ids) {
        let admin = relay.admin(&format!("/api/v1/events/{id}"));
        let event = client().get(&admin).send().await.unwrap().text().await.unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["reason"], **reason, "{event:#}");
        let raw = client().get(format!("{admin}/raw")).send().await.unwrap();
        assert_eq!(raw.text().await.unwrap(), **body, "{reason}");
    }
    assert_eq!(target.got().len(), 0);
}

#[tokio::test]
async fn a_probe_of_plum_is_200_once_its_credentials_passed_and_makes_no_event() {
    let relay = Setup::new()
        .source("provider = \"plum\"\nauth = { kind = \"url-token\", token = \"0ur-t0ken\" }")
        .start()
        .await;

    for method in [Method::GET, Method::HEAD] {
        assert_eq!(send(&relay, method.clone(), "/0ur-t0ken?ref=7", &[], "").await.status, 200);
        assert_eq!(send(&relay, method, "/wrong", &[], "").await.status, 401);
    }
    let result = send(&relay, Method::GET, "/0ur-t0ken?status=completed&attempts=1", &[], "").await;
    let put = send(&relay, Method::PUT, "/0ur-t0ken", &[], "").await;

    for refused in [result, put] {
        assert_eq!(refused.status, 405);
        assert_eq!(refused.headers["allow"], "POST");
    }
    assert_eq!(counted(&relay, "200", "handshake").await, 2);
    for state in ["routed", "unrouted", "quarantined"] {
        assert_eq!(events(&relay, state).await, 0);
    }
}

// --- the guide ---

/// A block of the guide, by a line of it, with its secrets written out.
fn block_of_the_guide(line: &str) -> String {
    let guide = include_str!("../../src/docs/guide.md");
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.contains(line)).unwrap();
    block.replace("{ env = \"TWILIO_URL_TOKEN\" }", "\"t0ken\"")
}

/// The parameters of Twilio's page on its status callbacks, with made-up people.
const TWILIO: &str = "CallSid=CA0123456789abcdef0123456789abcdef&AccountSid=AC0&From=%2B15550100001\
    &To=%2B15550100002&CallStatus=no-answer&ApiVersion=2010-04-01&Direction=outbound-api\
    &ForwardedFrom=&CallerName=Ada+Example&ToCity=Springfield&ToCountry=US\
    &CallDuration=0&SipResponseCode=487&AnsweredBy=machine_start\
    &RecordingUrl=https%3A%2F%2Frecordings.example.com%2FRE1\
    &Timestamp=Tue%2C+21+Oct+2025+15%3A33%3A21+%2B0000&SequenceNumber=3";

#[tokio::test]
async fn twilios_status_callback_is_read_by_the_twenty_lines_of_the_guide() {
    let block = block_of_the_guide("[sources.twilio]");
    let lines = block.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 20, "{lines} lines");
    let target = Target::answering(200).await;
    let relay = Setup::new().table(&block).target("crm", &target, "").start().await;
    let form = ("content-type", "application/x-www-form-urlencoded");

    let url = format!("http://{}/hooks/twilio", relay.callbacks());
    let post = |path: &str| {
        client().post(format!("{url}{path}")).header(form.0, form.1).body(TWILIO).send()
    };
    assert_eq!(post("/wrong").await.unwrap().status(), 401);
    assert_eq!(post("/t0ken").await.unwrap().status(), 200);

    let got = target.received(1).await;
    let event = got[0].event();
    assert_is_a_call_event(&event);
    let number = |raw: &str| json!({ "raw": raw, "e164": raw, "ext": null });
    let call = &event["data"]["call"];
    let said = |name: &str| call[name].clone();
    assert_eq!(event["data"]["provider"], "twilio");
    assert_eq!(event["type"], "call.no_answer");
    assert_eq!(event["time"], "2025-10-21T15:33:21Z");
    assert_eq!(said("id"), "CA0123456789abcdef0123456789abcdef");
    assert_eq!(said("direction"), "outbound");
    assert_eq!(said("from"), number("+15550100001"));
    assert_eq!(said("to"), number("+15550100002"));
    assert_eq!(said("via"), Value::Null);
    assert_eq!(said("status_raw"), "no-answer");
    assert_eq!(said("answered_by"), "machine");
    assert_eq!(said("duration_seconds"), 0);
    assert_eq!(said("recording_url"), "https://recordings.example.com/RE1");
    assert_eq!(event["data"]["contact"], json!({ "name": "Ada Example", "email": null }));
    assert_eq!(event["data"]["extracted"], json!({ "city": "Springfield", "country": "US" }));
    // What no rule reads, and what was translated or is not shown, is not lost.
    assert_eq!(
        event["data"]["extra"],
        json!({
            "AccountSid": "AC0",
            "ApiVersion": "2010-04-01",
            "Direction": "outbound-api",
            "SipResponseCode": "487",
            "AnsweredBy": "machine_start",
            "Timestamp": "Tue, 21 Oct 2025 15:33:21 +0000",
            "SequenceNumber": "3",
        })
    );
    assert_eq!(event["data"]["warnings"], json!([]));
}
