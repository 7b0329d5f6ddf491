//! The admin API: every operation as its document says, and nobody it should not answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use http::Method;
use jsonschema::Validator;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::harness::{API_KEY, Relay, Setup, Target, callback, client, eventually, post};

/// One operation, called.
struct Case {
    operation: &'static str,
    path: String,
    body: Option<Value>,
    status: u16,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

/// The document that the relay serves, and what was made of it.
struct Document {
    whole: Value,
    /// By operation and the status that its answer is listed under.
    validators: Mutex<BTreeMap<(String, String), (String, Validator)>>,
}

fn get(operation: &'static str, path: impl Into<String>) -> Case {
    Case { operation, path: path.into(), body: None, status: 200 }
}

fn told(operation: &'static str, path: impl Into<String>, body: Value) -> Case {
    Case { operation, path: path.into(), body: Some(body), status: 200 }
}

/// A relay with an event delivered and dead, one that no target had, and an unreadable one.
async fn furnished(setup: &Setup) -> (Relay, String, String) {
    let relay = setup.start().await;
    let event = post(&relay.url(), &callback("call.one")).await.id();
    post(&relay.url(), &callback("call.two")).await.id();
    let unreadable = post(&relay.url(), &json!({ "nothing": "known" })).await.id();
    eventually("two dead letters", || async {
        let totals = ask(&relay, Method::GET, "/api/v1/totals", None).await.1;
        totals["deliveries"].as_array().unwrap().iter().any(|of| of["dead"] == 2)
    })
    .await;
    (relay, event, unreadable)
}

async fn ask(
    relay: &Relay,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value, String) {
    let mut request = client().request(method, relay.admin(path)).bearer_auth(TOKEN);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = Answer::of(request).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status, serde_json::from_str(&text).unwrap_or_default(), text)
}

const TOKEN: &str = "m4rked-admin-token";

/// Every secret of the configuration below, one of each kind, in the words that are written there.
const SECRETS: &[&str] = &[
    TOKEN,
    API_KEY,
    "whsec_bTRya2VkLXRhcmdldC1zaWduaW5nLXNlY3JldA==",
    "m4rked-target-token",
    "m4rked-target-basic",
    "m4rked-header",
    "m4rked-url-token",
    "m4rked-query-token",
    "m4rked-validation",
    "m4rked-basic",
    "m4rked-bearer",
    "m4rked-hmac",
    "m4rked-older-hmac",
    "m4rked-body-field",
];

async fn setup() -> (Setup, Target, Target) {
    let (gone, fine) = (Target::answering(410).await, Target::answering(200).await);
    let keys = "sign = { secret = \"whsec_bTRya2VkLXRhcmdldC1zaWduaW5nLXNlY3JldA==\" }\n\
        headers = { \"x-key\" = \"m4rked-header\" }\n";
    let bearer = format!("{keys}auth = {{ kind = \"bearer\", token = \"m4rked-target-token\" }}");
    let basic = format!(
        "{keys}auth = {{ kind = \"basic\", username = \"relay\", password = \"m4rked-target-basic\" }}"
    );
    let setup = Setup::new()
        .admin(&format!("token = \"{TOKEN}\""))
        .target("gone", &gone, &bearer)
        .target("fine", &fine, &basic)
        .table(
            "[sources.mob]\nprovider = \"mobtexting\"\nvalidation_key = \"m4rked-validation\"\n\
             auth = { kind = \"url-token\", token = \"m4rked-url-token\" }\n\
             [sources.asked]\nprovider = \"11x\"\n\
             auth = { kind = \"url-token\", token = \"m4rked-query-token\", param = \"key\" }\n\
             [sources.known]\nprovider = \"clouddial\"\n\
             auth = { kind = \"basic\", username = \"relay\", password = \"m4rked-basic\" }\n\
             [sources.borne]\nprovider = \"plum\"\n\
             auth = { kind = \"bearer\", token = \"m4rked-bearer\" }\n\
             [sources.signed]\nprovider = \"synthflow\"\n\
             auth = { kind = \"hmac\", secret = [\"m4rked-hmac\", \"m4rked-older-hmac\"] }\n\
             [sources.told]\nprovider = \"11x\"\n\
             auth = { kind = \"body-field\", field = \"/token\", secret = \"m4rked-body-field\" }",
        );
    let text = setup.text();
    for secret in SECRETS {
        assert!(text.contains(secret), "{secret} is none of the configuration");
    }
    (setup, gone, fine)
}

/// Callbacks that bring their secret in a place that is stored.
async fn post_with_secrets(relay: &Relay) -> Vec<String> {
    let at = |path: &str| format!("http://{}{path}", relay.callbacks());
    let mut unread = callback("call.told");
    unread["token"] = json!("m4rked-body-field");
    let call = json!({ "from": "918000000101", "to": "918000000100", "status": "COMPLETED" });
    vec![
        post(&at("/hooks/mob/m4rked-url-token"), &call).await.id(),
        post(&at("/hooks/asked?campaign=a&key=m4rked-query-token"), &callback("call.asked"))
            .await
            .id(),
        post(&at("/hooks/told"), &unread).await.id(),
        post(&at("/hooks/told"), &json!({ "token": "m4rked-body-field" })).await.id(),
    ]
}

fn assert_tells_no_secret(what: &str, answer: &Answer) {
    let body = String::from_utf8_lossy(&answer.body);
    for secret in SECRETS {
        assert!(!body.contains(secret), "{what}: {secret} in\n{body}");
    }
    // Whatever is left of one.
    assert!(!body.contains("m4rked") && !body.contains("bTRya2Vk"), "{what}: {body}");
}

/// Every schema closed, so that an answer with a member that is not described is no answer of it.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

// === impl Answer ===

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let content_type = answer.headers().get("content-type");
        Self {
            status: answer.status().as_u16(),
            content_type: content_type.map_or("", |value| value.to_str().unwrap()).to_owned(),
            body: answer.bytes().await.unwrap().to_vec(),
        }
    }
}

// === impl Document ===

impl Document {
    async fn of(relay: &Relay) -> Self {
        let (_, whole, text) = ask(relay, Method::GET, "/api/v1/openapi.json", None).await;
        let version = whole["openapi"].as_str().unwrap_or_else(|| panic!("{text}"));
        assert!(version.starts_with("3.1."), "{version}");
        Self { whole, validators: Mutex::default() }
    }

    /// Every operation: its method and its path.
    fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.whole["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        });
        each.collect()
    }

    /// Panics unless the answer is one that the operation is described to give: its media type, and
    /// what is in it.
    fn describes(&self, (method, path): (&str, &str), answer: &Answer) {
        let Answer { status, content_type, body } = answer;
        let operation = format!("{method} {path}");
        let responses = &self.whole["paths"][path][method.to_lowercase()]["responses"];
        let listed = match responses.get(status.to_string()) {
            Some(_) => status.to_string(),
            None => "default".to_owned(),
        };
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let (described, validator) =
            validators.entry((operation.clone(), listed.clone())).or_insert_with(|| {
                let content = responses[&listed]["content"].as_object().unwrap();
                assert_eq!(content.len(), 1, "{operation}: {content:?}");
                let (described, content) = content.iter().next().unwrap();
                let (mut components, mut schema) =
                    (self.whole["components"].clone(), content["schema"].clone());
                close(&mut components);
                close(&mut schema);
                let whole = json!({ "allOf": [schema], "components": components });
                (described.clone(), jsonschema::validator_for(&whole).unwrap())
            });
        assert_eq!(content_type, described, "{operation}: {status}");
        let value = if described.ends_with("json") {
            serde_json::from_slice(body).unwrap_or_else(|error| panic!("{operation}: {error}"))
        } else {
            // Bytes are described as a text.
            Value::from(String::from_utf8_lossy(body))
        };
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{operation}: {errors:#?}\n{value:#}");
        if described == "application/problem+json" {
            assert_eq!(value["status"], *status, "{operation}: {value}");
        }
    }
}

#[tokio::test]
async fn every_operation_answers_as_its_document_says_and_never_with_a_secret() {
    let (setup, _gone, _fine) = setup().await;
    let (relay, event, unreadable) = furnished(&setup).await;
    let with_secrets = post_with_secrets(&relay).await;
    let document = Document::of(&relay).await;
    let (_, letters, _) = ask(&relay, Method::GET, "/api/v1/dead-letters", None).await;
    let letter = letters["dead_letters"][0]["id"].to_string();

    let mut cases = vec![
        get("GET /api/v1/events", "/api/v1/events?limit=1&status=completed"),
        get("GET /api/v1/events/{id}", format!("/api/v1/events/{event}")),
        get("GET /api/v1/events/{id}/raw", format!("/api/v1/events/{event}/raw")),
        get("GET /api/v1/events/{id}/deliveries", format!("/api/v1/events/{event}/deliveries")),
        get(
            "GET /api/v1/deliveries/{id}/attempts",
            format!("/api/v1/deliveries/{letter}/attempts"),
        ),
        get("GET /api/v1/dead-letters", "/api/v1/dead-letters?target=gone&reason=permanent"),
        get("GET /api/v1/dead-letters/{id}", format!("/api/v1/dead-letters/{letter}")),
        told(
            "POST /api/v1/dead-letters/counts",
            "/api/v1/dead-letters/counts",
            json!({ "all": true }),
        ),
        told(
            "POST /api/v1/dead-letters/redrive",
            "/api/v1/dead-letters/redrive",
            json!({ "target": "gone", "max": 1 }),
        ),
        told(
            "POST /api/v1/dead-letters/discard",
            "/api/v1/dead-letters/discard",
            json!({ "events": [event] }),
        ),
        told("POST /api/v1/replay", "/api/v1/replay", json!({ "source": "calls", "to": ["fine"] })),
        Case {
            status: 422,
            ..told(
                "POST /api/v1/events/{id}/release",
                format!("/api/v1/events/{unreadable}/release"),
                json!({ "unverified": true }),
            )
        },
        told("POST /api/v1/quarantine/redrive", "/api/v1/quarantine/redrive", json!({})),
        told("POST /api/v1/erase", "/api/v1/erase", json!({ "call": "call.two" })),
        get("GET /api/v1/totals", "/api/v1/totals"),
        told("POST /api/v1/targets/{name}/pause", "/api/v1/targets/fine/pause", json!({})),
        get("GET /api/v1/targets", "/api/v1/targets"),
        told("POST /api/v1/targets/{name}/resume", "/api/v1/targets/fine/resume", json!({})),
        get("GET /api/v1/config", "/api/v1/config"),
        told("POST /api/v1/reload", "/api/v1/reload", json!({})),
    ];
    let described: BTreeSet<String> =
        document.operations().iter().map(|(method, path)| format!("{method} {path}")).collect();
    let called: BTreeSet<String> = cases.iter().map(|case| case.operation.to_owned()).collect();
    assert_eq!(described, called, "every operation has its case, and every case its operation");
    for id in &with_secrets {
        cases.push(get("GET /api/v1/events/{id}", format!("/api/v1/events/{id}")));
        cases.push(get("GET /api/v1/events/{id}/raw", format!("/api/v1/events/{id}/raw")));
    }

    for case in &cases {
        let operation = case.operation.split_once(' ').unwrap();
        let call = |path: &str, body: Option<&Value>| {
            let request = client().request(operation.0.parse().unwrap(), relay.admin(path));
            match body {
                None => request,
                Some(body) => {
                    request.header("content-type", "application/json").body(body.to_string())
                }
            }
        };
        let path = case.path.split('?').next().unwrap();
        let wrong = json!({ "no_such": true });
        // As it is meant; with what it does not know; by somebody without the token.
        let answer = Answer::of(call(&case.path, case.body.as_ref()).bearer_auth(TOKEN)).await;
        assert_eq!(answer.status, case.status, "{}: {answer:?}", case.operation);
        let confused =
            Answer::of(call(&format!("{path}?no_such=1"), Some(&wrong)).bearer_auth(TOKEN)).await;
        assert!(confused.status < 500, "{}: {confused:?}", case.operation);
        let stranger = Answer::of(call(&case.path, case.body.as_ref())).await;
        assert_eq!(stranger.status, 401, "{}", case.operation);
        for answer in [&answer, &confused, &stranger] {
            document.describes(operation, answer);
            assert_tells_no_secret(case.operation, answer);
        }
    }
}

#[tokio::test]
async fn the_raw_body_is_given_byte_by_byte_as_it_came() {
    let (setup, _gone, _fine) = setup().await;
    let relay = setup.start().await;
    let document = Document::of(&relay).await;
    for body in [&b"{\"odd\": \xff\x00\x01, \"caf\xc3\xa9\": "[..], b"<html>&amp;</html>", b"\r\n"]
    {
        let sent = client()
            .post(relay.url())
            .header("x-api-key", API_KEY)
            .header("content-type", "text/html")
            .body(body.to_vec())
            .send()
            .await
            .unwrap();
        let told: Value = serde_json::from_str(&sent.text().await.unwrap()).unwrap();
        let id = told["id"].as_str().unwrap_or_else(|| panic!("{told}"));

        let request = client().get(relay.admin(&format!("/api/v1/events/{id}/raw")));
        let answer = Answer::of(request.bearer_auth(TOKEN)).await;

        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, body);
        document.describes(("GET", "/api/v1/events/{id}/raw"), &answer);
    }
}

#[tokio::test]
async fn pages_are_bounded_and_go_on_by_cursor_until_all_is_seen() {
    let (setup, _gone, _fine) = setup().await;
    let (relay, _, _) = furnished(&setup).await;
    for (path, member, count) in
        [("/api/v1/events", "events", 3), ("/api/v1/dead-letters", "dead_letters", 2)]
    {
        let mut seen = BTreeSet::new();
        let mut cursor = String::new();
        loop {
            let (_, page, _) =
                ask(&relay, Method::GET, &format!("{path}?limit=1{cursor}"), None).await;
            let rows = page[member].as_array().unwrap();
            assert!(rows.len() <= 1);
            seen.extend(rows.iter().map(|row| row["id"].to_string()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), count, "{path}");
    }
    for limit in ["0", "1001", "-1", "many"] {
        let (status, problem, _) =
            ask(&relay, Method::GET, &format!("/api/v1/events?limit={limit}"), None).await;
        assert_eq!((status, &problem["reason"]), (422, &json!("invalid")), "{limit}");
    }
}

#[tokio::test]
async fn the_api_asks_for_the_token_the_host_and_json() {
    let (setup, _gone, _fine) = setup().await;
    let relay = setup.start().await;
    let url = relay.admin("/api/v1/totals");

    let without = client().get(&url).send().await.unwrap();
    assert_eq!(without.status(), 401);
    assert_eq!(without.headers()["content-type"], "application/problem+json");
    assert!(without.headers().contains_key("www-authenticate"));
    for wrong in ["m4rked-admin-tokex", "m4rked-admin-toke", ""] {
        assert_eq!(client().get(&url).bearer_auth(wrong).send().await.unwrap().status(), 401);
    }
    let rebound =
        client().get(&url).bearer_auth(TOKEN).header("host", "evil.example.com").send().await;
    assert_eq!(rebound.unwrap().status(), 421);
    let page = |host: &'static str| {
        let page = client().get(relay.admin("/metrics")).bearer_auth(TOKEN);
        async move { page.header("host", host).send().await.unwrap().status().as_u16() }
    };
    assert_eq!(page("evil.example.com").await, 421);
    assert_eq!((page("localhost:9090").await, page("127.0.0.1:9090").await), (200, 200));
    // Beyond loopback a scraper calls it by whatever name it has there.
    let text = Setup::new().admin("token = \"open-token\"").text();
    let text = text.replace("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"0.0.0.0:0\"");
    let open = Setup::new();
    let text = text.replace("hookswitch.db", "open.db");
    let open = open.start_text(&text).await;
    let page = format!("http://127.0.0.1:{}/metrics", open.admin_address().port());
    let page = client().get(page).bearer_auth("open-token").header("host", "hookswitch:9090");
    assert_eq!(page.send().await.unwrap().status(), 200);
    let preflight = client()
        .request(Method::OPTIONS, &url)
        .header("origin", "https://evil.example.com")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .unwrap();
    assert!(!preflight.status().is_success());
    assert!(!preflight.headers().contains_key("access-control-allow-origin"));
    for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let sent = client()
            .post(relay.admin("/api/v1/dead-letters/discard"))
            .bearer_auth(TOKEN)
            .header("content-type", form)
            .body("{\"all\":true}")
            .send()
            .await
            .unwrap();
        assert_eq!(sent.status(), 415, "{form}");
    }
    let nowhere = client().get(relay.admin("/api/v1/nowhere")).bearer_auth(TOKEN).send().await;
    let nowhere = nowhere.unwrap();
    assert_eq!(nowhere.status(), 404);
    assert_eq!(nowhere.headers()["content-type"], "application/problem+json");
    let long = json!({ "events": ["x".repeat(100_000)] });
    let (status, ..) = ask(&relay, Method::POST, "/api/v1/dead-letters/redrive", Some(&long)).await;
    assert_eq!(status, 413);
    let (status, problem, _) =
        ask(&relay, Method::POST, "/api/v1/dead-letters/discard", Some(&json!({}))).await;
    assert_eq!(status, 422, "nothing named is not everything: {problem}");
    let (status, problem, _) = ask(
        &relay,
        Method::POST,
        "/api/v1/dead-letters/discard",
        Some(&json!({ "target": "gnoe" })),
    )
    .await;
    assert_eq!((status, &problem["reason"]), (422, &json!("unknown_target")));
}

/// Paths, queries and bodies that nobody sane sends: the variable part of the path, encoded; the
/// query; the body and what it is said to be.
fn hostile() -> impl Strategy<Value = (String, Vec<(usize, String)>, Vec<u8>, &'static str)> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        proptest::collection::vec(".{0,10}".prop_map(Value::from), 0..3).prop_map(Value::from),
    ];
    let object = proptest::collection::vec((0..NAMES.len(), value), 0..4).prop_map(|members| {
        let members = members.into_iter().map(|(name, value)| (NAMES[name].to_owned(), value));
        members.collect::<Value>().to_string().into_bytes()
    });
    let encoded = |text: String| utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
    (
        prop_oneof![
            prop_oneof![".{1,40}", "[0-9]{1,30}", "-?[0-9]{19}"].prop_map(encoded),
            Just("..%2F..%2Fx".to_owned()),
            Just("%FF%FE".to_owned()),
            Just("%00".to_owned()),
            Just("fine".to_owned()),
            Just("0199c5c2-7d0e-7a55-9d6c-3f1f6c2b8a10".to_owned()),
        ],
        proptest::collection::vec((0..NAMES.len(), ".{0,30}"), 0..4),
        prop_oneof![
            6 => object,
            1 => proptest::collection::vec(any::<u8>(), 0..64),
            1 => Just(b"[".repeat(30_000)),
            1 => Just(format!("{{\"max\":1e{}}}", "9".repeat(400)).into_bytes()),
            1 => Just(vec![b' '; 70_000]),
        ],
        prop_oneof![
            8 => Just("application/json"),
            1 => Just("text/plain"),
            1 => Just("application/json; charset=\"\u{e9}\""),
        ],
    )
}

const NAMES: &[&str] = &[
    "source",
    "state",
    "status",
    "call",
    "number",
    "since",
    "until",
    "order",
    "cursor",
    "limit",
    "target",
    "reason",
    "events",
    "all",
    "max",
    "orphans",
    "to",
    "event",
    "new_id",
    "unverified",
    "failed_route",
    "dry_run",
];

/// Hostile requests to each operation.
const CASES: u32 = 60;

#[test]
fn hostile_input_to_any_operation_never_gets_a_5xx_nor_what_is_not_described() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (setup, _gone, _fine) = runtime.block_on(setup());
    let (relay, ..) = runtime.block_on(furnished(&setup));
    let document = runtime.block_on(Document::of(&relay));
    let client = client();
    for (method, path) in document.operations() {
        let mut runner = TestRunner::new(Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        });
        let ran = runner.run(&hostile(), |(segment, query, body, kind)| {
            let query = query.iter().map(|(name, value)| (NAMES[*name], value));
            let query =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            let (start, end) = match path.split_once('{') {
                Some((start, rest)) => (start, rest.split_once('}').unwrap().1),
                None => (path.as_str(), ""),
            };
            let variable = if path.contains('{') { segment.as_str() } else { "" };
            let url = relay.admin(&format!("{start}{variable}{end}?{query}"));
            let request = client
                .request(method.parse().unwrap(), &url)
                .bearer_auth(TOKEN)
                .header("content-type", kind.as_bytes())
                // A body that nobody reads ends its connection, which is not to be used again.
                .header("connection", "close")
                .body(body);
            let answer = runtime.block_on(Answer::of(request));
            prop_assert!(answer.status < 500, "{method} {url}: {answer:?}");
            document.describes((&method, &path), &answer);
            assert_tells_no_secret(&url, &answer);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    }
}

#[tokio::test]
async fn a_replay_that_names_nothing_sends_nothing() {
    let (setup, _gone, fine) = setup().await;
    let (relay, ..) = furnished(&setup).await;
    let before = fine.received(2).await.len();

    for nothing in [json!({}), json!({ "new_id": true, "max": 1000 })] {
        let (status, told, _) = ask(&relay, Method::POST, "/api/v1/replay", Some(&nothing)).await;
        assert_eq!((status, &told["reason"]), (422, &json!("invalid")), "{told}");
    }
    let to = json!({ "to": ["fine"] });
    let (status, told, _) = ask(&relay, Method::POST, "/api/v1/replay", Some(&to)).await;

    assert_eq!((status, &told["deliveries"]), (200, &json!(before)), "{told}");
    assert_eq!(fine.received(2 * before).await.len(), 2 * before);
}

#[tokio::test]
async fn a_method_that_an_operation_does_not_have_is_told_so() {
    let (setup, _gone, _fine) = setup().await;
    let (relay, event, _) = furnished(&setup).await;
    let document = Document::of(&relay).await;
    let paths: BTreeSet<String> = document.operations().into_iter().map(|(_, path)| path).collect();
    for path in paths {
        let has: Vec<String> = document.whole["paths"][&path]
            .as_object()
            .unwrap()
            .keys()
            .map(|method| method.to_uppercase())
            .collect();
        let url = relay.admin(&path.replace("{id}", &event).replace("{name}", "fine"));
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if has.iter().any(|known| known == method) {
                continue;
            }
            let request = client().request(method.parse().unwrap(), &url).bearer_auth(TOKEN);
            let answer =
                Answer::of(request.header("content-type", "application/json").body("{}")).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert_eq!(answer.content_type, "application/problem+json", "{method} {path}");
        }
    }
}
