//! The admin API: every operation as its document says, and nobody it should not answer.

use std::collections::BTreeSet;

use http::Method;
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
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or_default(), text)
}

const TOKEN: &str = "m4rked-admin-token";

async fn setup() -> (Setup, Target, Target) {
    let (gone, fine) = (Target::answering(410).await, Target::answering(200).await);
    let secrets = "sign = { secret = \"whsec_bTRya2VkLXRhcmdldC1zaWduaW5nLXNlY3JldA==\" }\n\
        auth = { kind = \"bearer\", token = \"m4rked-target-token\" }\n\
        headers = { \"x-key\" = \"m4rked-header\" }";
    let setup = Setup::new()
        .admin(&format!("token = \"{TOKEN}\""))
        .target("gone", &gone, secrets)
        .target("fine", &fine, secrets);
    (setup, gone, fine)
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

fn assert_described(document: &Value, case: &Case, status: u16, answer: &Value) {
    let (method, path) = case.operation.split_once(' ').unwrap();
    let responses = &document["paths"][path][method.to_lowercase()]["responses"];
    let of = responses.get(status.to_string()).unwrap_or(&responses["default"]);
    let content = of["content"].as_object().unwrap().values().next().unwrap();
    let mut components = document["components"].clone();
    close(&mut components);
    let mut schema = content["schema"].clone();
    close(&mut schema);
    let whole = json!({ "allOf": [schema], "components": components });
    let validator = jsonschema::validator_for(&whole).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(answer)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}: {errors:#?}\n{answer:#}", case.operation);
}

#[tokio::test]
async fn every_operation_answers_as_its_document_says_and_never_with_a_secret() {
    let (setup, _gone, _fine) = setup().await;
    let (relay, event, unreadable) = furnished(&setup).await;
    let (_, document, text) = ask(&relay, Method::GET, "/api/v1/openapi.json", None).await;
    assert_eq!(document["openapi"].as_str().unwrap().split('.').next(), Some("3"), "{text}");
    let (_, letters, _) = ask(&relay, Method::GET, "/api/v1/dead-letters", None).await;
    let letter = letters["dead_letters"][0]["id"].to_string();

    let cases = [
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
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let called: BTreeSet<String> = cases.iter().map(|case| case.operation.to_owned()).collect();
    assert_eq!(described, called, "every operation has its case, and every case its operation");

    let mut answers = text;
    for case in &cases {
        let method: Method = case.operation.split(' ').next().unwrap().parse().unwrap();
        let (status, answer, text) = ask(&relay, method, &case.path, case.body.as_ref()).await;
        assert_eq!(status, case.status, "{}: {text}", case.operation);
        if !case.operation.ends_with("/raw") {
            assert_described(&document, case, status, &answer);
        }
        answers.push_str(&text);
    }
    for case in &cases {
        let method: Method = case.operation.split(' ').next().unwrap().parse().unwrap();
        let (status, answer, text) = ask(
            &relay,
            method,
            &format!("{}?no_such=1", case.path.split('?').next().unwrap()),
            Some(&json!({ "no_such": true })),
        )
        .await;
        if !(200..300).contains(&status) {
            let expected = (400..500).contains(&status) || status == case.status;
            assert!(expected, "{}: {text}", case.operation);
            assert_described(&document, case, status, &answer);
        }
    }
    for secret in ["m4rked", API_KEY, "bTRya2Vk"] {
        assert!(!answers.contains(secret), "{secret} in\n{answers}");
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

/// Paths, queries and bodies that nobody sane sends.
fn hostile() -> impl Strategy<Value = (&'static str, usize, String, Vec<(usize, String)>, Value)> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        proptest::collection::vec(".{0,10}".prop_map(Value::from), 0..3).prop_map(Value::from),
    ];
    let body = proptest::collection::vec((0..NAMES.len(), value), 0..4).prop_map(|members| {
        members.into_iter().map(|(name, value)| (NAMES[name].to_owned(), value)).collect()
    });
    (
        prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE")],
        any::<usize>(),
        prop_oneof![".{1,40}", "[0-9]{1,30}", "-?[0-9]{19}", Just("../../x".to_owned())],
        proptest::collection::vec((0..NAMES.len(), ".{0,30}"), 0..4),
        body,
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
];

#[test]
fn hostile_input_never_gets_a_5xx() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (setup, _gone, _fine) = runtime.block_on(setup());
    let (relay, ..) = runtime.block_on(furnished(&setup));
    let (_, document, _) = runtime.block_on(ask(&relay, Method::GET, "/api/v1/openapi.json", None));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let client = client();
    let mut runner =
        TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });

    let ran = runner.run(&hostile(), |(method, path, segment, query, body)| {
        let mut url = reqwest::Url::parse(&relay.admin("/")).unwrap();
        let segments: Vec<&str> = paths[path % paths.len()]
            .split('/')
            .skip(1)
            .map(|part| if part.starts_with('{') { segment.as_str() } else { part })
            .collect();
        url.path_segments_mut().unwrap().clear().extend(segments);
        url.query_pairs_mut().extend_pairs(query.iter().map(|(name, value)| (NAMES[*name], value)));
        let request = client
            .request(method.parse().unwrap(), url.clone())
            .bearer_auth(TOKEN)
            .header("content-type", "application/json")
            .body(body.to_string());
        let status = runtime.block_on(async { request.send().await.unwrap().status().as_u16() });
        // What this build does not offer says so, and nothing else may.
        let offered = !url.path().ends_with("/config") && !url.path().ends_with("/reload");
        prop_assert!(status < 500 + u16::from(!offered) * 2, "{method} {url} {body}: {status}");
        Ok(())
    });

    ran.unwrap();
}
