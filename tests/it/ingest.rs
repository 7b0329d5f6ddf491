//! The ack contract: what happened, and what the sender is told, through real sockets.

use std::{io::Write as _, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use hookswitch::{relay::Ended, store::StoreError};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{
    API_KEY, Ack, GONE, Raw, Relay, Setup, Target, callback, client, eventually, post, troubled,
};

/// Sends `body` with these headers.
async fn send(relay: &Relay, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Ack {
    let mut request = client().post(relay.url()).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ack::of(request.send().await.unwrap()).await
}

fn assert_is_a_problem(ack: &Ack, status: u16) {
    assert_eq!(ack.status, status, "{ack:?}");
    assert_eq!(ack.headers["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_str(&ack.body).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    assert!(!ack.body.contains(API_KEY));
}

async fn counted(relay: &Relay, code: &str, reason: &str) -> f64 {
    let labels = [("source", "calls"), ("code", code), ("reason", reason)];
    relay.metrics().await.get("hookswitch_ingest_requests_total", &labels)
}

async fn accepted(relay: &Relay) -> f64 {
    relay.metrics().await.get("hookswitch_events_accepted_total", &[("source", "calls")])
}

/// The head of a callback whose body has so many bytes.
fn head(length: usize) -> String {
    format!(
        "POST /hooks/calls HTTP/1.1\r\nhost: relay\r\nx-api-key: {API_KEY}\r\ncontent-length: {length}\r\n\r\n"
    )
}

// --- where ---

#[tokio::test]
async fn an_unknown_path_is_404_and_a_method_the_source_does_not_take_is_405_with_allow() {
    let relay = Setup::new().start().await;
    let base = format!("http://{}", relay.callbacks());

    for path in ["/", "/hooks", "/hooks/", "/hooks/other", "/hooks/calls/token", "/hooks/calls/"] {
        let ack = Ack::of(client().post(format!("{base}{path}")).send().await.unwrap()).await;
        assert_is_a_problem(&ack, 404);
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let request = client().request(method.clone(), relay.url()).header("x-api-key", API_KEY);
        let ack = Ack::of(request.send().await.unwrap()).await;
        assert_eq!(ack.status, 405, "{method}");
        assert_eq!(ack.headers["allow"], "POST");
    }
    let head = client().head(relay.url()).header("x-api-key", API_KEY).send().await.unwrap();
    assert_eq!(head.status(), 405);
    assert_eq!(accepted(&relay).await, 0.0);
}

// --- who ---

#[tokio::test]
async fn a_missing_wrong_or_doubled_credential_is_401_and_nothing_is_stored() {
    let relay = Setup::new().start().await;
    let body = callback("call.1").to_string();

    let missing = send(&relay, &[], body.clone()).await;
    let wrong = send(&relay, &[("x-api-key", "test-kez")], body.clone()).await;
    let empty = send(&relay, &[("x-api-key", "")], body.clone()).await;
    let doubled = [("x-api-key", API_KEY), ("x-api-key", API_KEY)];
    let doubled = send(&relay, &doubled, body).await;

    for ack in [&missing, &wrong, &empty, &doubled] {
        assert_is_a_problem(ack, 401);
        assert!(ack.headers.contains_key("www-authenticate"));
    }
    // A stranger cannot tell from the answer what was wrong.
    assert!(missing.body == wrong.body && wrong.body == doubled.body);
    assert_eq!(counted(&relay, "401", "credentials_missing").await, 1.0);
    assert_eq!(counted(&relay, "401", "credentials_wrong").await, 2.0);
    assert_eq!(counted(&relay, "401", "credentials_doubled").await, 1.0);
    assert_eq!(accepted(&relay).await, 0.0);
}

#[tokio::test]
async fn while_a_secret_is_rotated_the_old_and_the_new_one_pass() {
    let relay = Setup::new()
        .source("provider = \"11x\"\nauth = { kind = \"header\", secret = [\"new-key\", \"test-key\"] }")
        .start()
        .await;

    for (call, key) in [("call.1", "new-key"), ("call.2", "test-key")] {
        let body = callback(call).to_string();
        assert_eq!(send(&relay, &[("x-api-key", key)], body).await.status, 200, "{key}");
    }
    let body = callback("call.3").to_string();
    assert_eq!(send(&relay, &[("x-api-key", "older-key")], body).await.status, 401);
}

#[tokio::test]
async fn basic_is_offered_where_it_may_follow() {
    let relay = Setup::new()
        .source("provider = \"11x\"\nauth = { kind = \"basic\", username = \"relay\", password = \"s3cret\" }")
        .start()
        .await;

    let refused = send(&relay, &[], callback("call.1").to_string()).await;
    let passed = client()
        .post(relay.url())
        .basic_auth("relay", Some("s3cret"))
        .body(callback("call.1").to_string());

    assert_is_a_problem(&refused, 401);
    assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    assert_eq!(passed.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn when_a_list_of_credentials_is_asked_for_all_must_pass() {
    let relay = Setup::new()
        .source(
            "provider = \"11x\"\nauth = [{ kind = \"header\", secret = \"test-key\" }, \
             { kind = \"bearer\", token = \"t0ken\" }]",
        )
        .start()
        .await;
    let body = callback("call.1").to_string();

    let bearer = ("authorization", "Bearer t0ken");
    assert_eq!(send(&relay, &[bearer], body.clone()).await.status, 401);
    assert_eq!(send(&relay, &[("x-api-key", API_KEY)], body.clone()).await.status, 401);
    assert_eq!(send(&relay, &[("x-api-key", API_KEY), bearer], body).await.status, 200);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_403_before_anything_else() {
    let relay = Setup::new().also("allow_from = [\"192.0.2.0/24\"]").start().await;
    let refused = send(&relay, &[], callback("call.1").to_string()).await;
    assert_is_a_problem(&refused, 403);

    let behind = Setup::new()
        .server("trusted_proxies = [\"127.0.0.1/32\"]")
        .also("allow_from = [\"192.0.2.0/24\"]")
        .start()
        .await;
    let key = ("x-api-key", API_KEY);
    let body = callback("call.1").to_string();
    let allowed = send(&behind, &[key, ("x-forwarded-for", "192.0.2.7")], body.clone()).await;
    let forged = ("x-forwarded-for", "192.0.2.7, 203.0.113.1");
    assert_eq!(allowed.status, 200);
    assert_is_a_problem(&send(&behind, &[key, forged], body).await, 403);
}

#[tokio::test]
async fn a_url_token_opens_the_source_and_is_neither_stored_nor_forwarded() {
    let token = "tok-4f9d1c6e";
    let target = Target::answering(200).await;
    for (param, path) in
        [("", format!("/{token}?ref=7")), (", param = \"key\"", format!("?key={token}&ref=7"))]
    {
        let setup = Setup::new()
            .source(&format!(
                "provider = \"11x\"\nauth = {{ kind = \"url-token\", token = \"{token}\"{param} }}"
            ))
            .target("crm", &target, "");
        let relay = setup.start().await;
        let before = target.got().len();

        let refused = post(&format!("{}?ref=7", relay.url()), &callback("call.1")).await;
        let ack = post(&format!("{}{path}", relay.url()), &callback("call.1")).await;

        assert_is_a_problem(&refused, 401);
        assert_eq!(ack.status, 200);
        let got = target.received(before + 1).await;
        let event = got.last().unwrap().event();
        assert_eq!(event["data"]["query"], serde_json::json!({ "ref": "7" }));
        relay.stop().await;
        for entry in std::fs::read_dir(setup.folder()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(!found, "the token is in {}", path.display());
        }
    }
}

// --- how much, how long ---

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_comes() {
    let relay = Setup::new().also("max_body = \"64 KiB\"").start().await;
    let long = format!(r#"{{"callId":"c","name":"{}"}}"#, "x".repeat(64 * 1024));
    let json = ("content-type", "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let key = ("x-api-key", API_KEY);

    let stated = send(&relay, &[key, json], long.clone()).await;
    let chunks = futures_util::stream::iter(
        long.as_bytes()
            .chunks(1000)
            .map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)))
            .collect::<Vec<_>>(),
    );
    let chunked = send(&relay, &[key, json], reqwest::Body::wrap_stream(chunks)).await;
    let as_form = send(&relay, &[key, form], format!("callId={}", "y".repeat(65 * 1024))).await;
    let bomb = gzip(long.as_bytes());
    assert!(bomb.len() < 1024);
    let zipped = send(&relay, &[key, json, ("content-encoding", "gzip")], bomb).await;

    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(70 * 1024).collect();
    let noise = gzip(&noise);
    assert!(noise.len() > 64 * 1024, "too long before it is unpacked");
    let on_the_wire = send(&relay, &[key, json, ("content-encoding", "gzip")], noise).await;
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(long.as_bytes()).unwrap();
    let deflated = deflated.finish().unwrap();
    let deflated = send(&relay, &[key, json, ("content-encoding", "deflate")], deflated).await;

    for ack in [stated, chunked, as_form, zipped, on_the_wire, deflated] {
        assert_is_a_problem(&ack, 413);
    }
    assert_eq!(counted(&relay, "413", "too_large").await, 6.0);
    let fits = gzip(callback("call.1").to_string().as_bytes());
    let fits = send(&relay, &[key, json, ("content-encoding", "gzip")], fits).await;
    assert_eq!(fits.status, 200);
    let mut exact = format!(r#"{{"callId":"c","name":"{}"}}"#, "x".repeat(64 * 1024 - 24));
    assert_eq!(exact.len(), 64 * 1024);
    assert_eq!(send(&relay, &[key, json], exact.clone()).await.status, 200);
    exact.push(' ');
    assert_eq!(send(&relay, &[key, json], exact).await.status, 413, "one byte more");
    assert_eq!(accepted(&relay).await, 2.0);
}

#[tokio::test]
async fn a_sender_that_is_still_sending_sees_its_refusal_and_not_a_reset() {
    let relay = Setup::new().also("max_body = \"64 KiB\"").start().await;
    let long = vec![b'x'; 3 * 1024 * 1024];
    let stated = format!("content-length: {}\r\n\r\n", long.len());
    let chunk = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", long.len());
    let zipped = format!("content-encoding: gzip\r\n{chunk}");
    let unknown = format!("content-encoding: br\r\n{chunk}");
    for (key, length, code) in [
        (API_KEY, &stated, "413"),
        (API_KEY, &chunk, "413"),
        (API_KEY, &zipped, "413"),
        (API_KEY, &unknown, "415"),
        ("wrong", &stated, "401"),
        ("wrong", &chunk, "401"),
    ] {
        let mut sender = Raw::connect(relay.callbacks()).await;
        let head = format!("POST /hooks/calls HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\n");
        sender.send(format!("{head}{length}")).await;
        sender.send(&long).await;
        sender.send(b"\r\n0\r\n\r\n").await;

        let answer = sender.rest().await;

        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_sender_of_a_byte_a_second_is_408_at_the_deadline_of_the_whole_body() {
    let relay = Setup::new().server("body_deadline = \"400ms\"").start().await;
    let mut sender = Raw::connect(relay.callbacks()).await;
    sender.send(head(1000)).await;
    let trickle = async {
        loop {
            sender.send(b"x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = trickle => unreachable!(),
        () = eventually("the deadline", || async {
            counted(&relay, "408", "body_deadline").await > 0.0
        }) => {}
    }

    let answer = sender.rest().await;

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(accepted(&relay).await, 0.0);
}

#[tokio::test]
async fn a_sender_that_waits_for_100_continue_is_refused_before_its_body() {
    let relay = Setup::new().also("max_body = \"64 KiB\"").start().await;
    for (key, length, code) in [("wrong", 10, "401"), (API_KEY, 65 * 1024, "413")] {
        let mut sender = Raw::connect(relay.callbacks()).await;
        sender
            .send(format!(
                "POST /hooks/calls HTTP/1.1\r\nhost: relay\r\nx-api-key: {key}\r\n\
                 expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;

        let answer = sender.rest().await;

        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }

    let body = callback("call.1").to_string();
    let mut sender = Raw::connect(relay.callbacks()).await;
    sender
        .send(format!(
            "POST /hooks/calls HTTP/1.1\r\nhost: relay\r\nx-api-key: {API_KEY}\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    assert!(sender.head().await.starts_with("HTTP/1.1 100 "));
    sender.send(&body).await;
    assert!(sender.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_unknown_or_false_content_encoding_is_415() {
    let relay = Setup::new().start().await;
    let key = ("x-api-key", API_KEY);
    for encoding in ["br", "zstd", "gzip, gzip", "gzip"] {
        let plain = callback("call.1").to_string();
        let ack = send(&relay, &[key, ("content-encoding", encoding)], plain).await;
        assert_is_a_problem(&ack, 415);
    }
    assert_eq!(accepted(&relay).await, 0.0);
}

#[tokio::test]
async fn a_packed_body_is_read_to_its_end_or_refused() {
    let relay = Setup::new().start().await;
    let json = callback("call.1").to_string();
    let (first, second) = json.split_at(50);
    let several = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(json.as_bytes()).unwrap();
    let deflated = deflated.finish().unwrap();
    let behind = |packed: &[u8]| [packed, b"more"].concat();
    let key = ("x-api-key", API_KEY);

    for (encoding, body) in [
        ("gzip", several.clone()),
        ("GZIP", several.clone()),
        ("x-gzip", gzip(json.as_bytes())),
        ("Deflate", deflated.clone()),
        ("identity", json.clone().into_bytes()),
    ] {
        let ack = send(&relay, &[key, ("content-encoding", encoding)], body).await;
        assert_eq!(ack.status, 200, "{encoding}: {ack:?}");
        let raw = relay.admin(&format!("/api/v1/events/{}/raw", ack.id()));
        let raw = client().get(raw).send().await.unwrap().text().await.unwrap();
        assert_eq!(raw, json, "{encoding}");
    }
    let mut short = several.clone();
    short.pop();
    for (encoding, body) in
        [("gzip", behind(&several)), ("gzip", short), ("deflate", behind(&deflated))]
    {
        let ack = send(&relay, &[key, ("content-encoding", encoding)], body).await;
        assert_is_a_problem(&ack, 415);
    }
    assert_eq!(accepted(&relay).await, 1.0, "one event and its repeats");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_accepted() {
    let relay = Setup::new().start().await;
    let mut sender = Raw::connect(relay.callbacks()).await;
    let body = callback("call.1").to_string();
    sender.send(format!("{}{}", head(body.len()), &body[..body.len() - 1])).await;
    drop(sender);

    // A whole callback afterwards shows that the relay has dealt with the broken one.
    let ack = post(&relay.url(), &callback("call.2")).await;
    assert_eq!(ack.status, 200);
    assert_eq!(accepted(&relay).await, 1.0);
}

#[tokio::test]
async fn a_sender_that_sends_no_more_and_listens_is_acked() {
    let relay = Setup::new().start().await;
    let body = callback("call.1").to_string();
    let mut sender = Raw::connect(relay.callbacks()).await;
    sender.send(format!("{}{body}", head(body.len()))).await;
    sender.end().await;

    let answer = sender.rest().await;

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(accepted(&relay).await, 1.0);
}

#[tokio::test]
async fn a_body_that_ends_before_its_length_is_400_to_a_sender_that_still_listens() {
    let relay = Setup::new().start().await;
    let body = callback("call.1").to_string();
    let short = format!("{}{}", head(body.len() + 1), body);
    let chunked = head(0).replace("content-length: 0", "transfer-encoding: chunked");
    let chunked = format!("{chunked}{:x}\r\n{body}\r\n", body.len());
    for broken in [short, chunked] {
        let mut sender = Raw::connect(relay.callbacks()).await;
        sender.send(broken).await;
        sender.end().await;

        let answer = sender.rest().await;

        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(counted(&relay, "400", "body_broken").await, 2.0);
    assert_eq!(accepted(&relay).await, 0.0);
}

// --- overload ---

#[tokio::test]
async fn a_source_that_floods_gets_503_and_leaves_room_for_the_others() {
    let relay = Setup::new()
        .server("max_in_flight = 8")
        .table(&format!(
            "[sources.others]\nprovider = \"11x\"\nauth = {{ kind = \"header\", secret = \"{API_KEY}\" }}"
        ))
        .start()
        .await;
    let head = format!("{}x", head(1000));
    let mut flood = Vec::new();
    for _ in 0..4 {
        let mut sender = Raw::connect(relay.callbacks()).await;
        sender.send(&head).await;
        flood.push(sender);
    }
    eventually("four callbacks in flight", || async {
        relay.metrics().await.get("hookswitch_ingest_in_flight", &[]) == 4.0
    })
    .await;

    let refused = post(&relay.url(), &callback("call.1")).await;
    let others = format!("http://{}/hooks/others", relay.callbacks());
    let taken = post(&others, &callback("call.1")).await;

    assert_is_a_problem(&refused, 503);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(counted(&relay, "503", "source_overloaded").await, 1.0);
    assert_eq!(taken.status, 200);
    drop(flood);
    eventually("the permits to come back", || async {
        relay.metrics().await.get("hookswitch_ingest_in_flight", &[]) == 0.0
    })
    .await;
    assert_eq!(post(&relay.url(), &callback("call.1")).await.status, 200);
}

#[tokio::test]
async fn when_all_permits_are_taken_a_source_that_has_none_gets_503_too() {
    let others = ["[sources.others]", "[sources.third]"].map(|heading| {
        format!(
            "{heading}\nprovider = \"11x\"\nauth = {{ kind = \"header\", secret = \"{API_KEY}\" }}"
        )
    });
    let relay =
        Setup::new().server("max_in_flight = 2").table(&others[0]).table(&others[1]).start().await;
    let mut holding = Vec::new();
    for source in ["calls", "others"] {
        let mut sender = Raw::connect(relay.callbacks()).await;
        sender.send(head(1000).replace("calls", source)).await;
        holding.push(sender);
    }
    eventually("both permits to be taken", || async {
        relay.metrics().await.get("hookswitch_ingest_in_flight", &[]) == 2.0
    })
    .await;

    let third = format!("http://{}/hooks/third", relay.callbacks());
    let refused = post(&third, &callback("call.1")).await;

    assert_is_a_problem(&refused, 503);
    assert!(refused.headers.contains_key("retry-after"));
    let labels = [("source", "third"), ("code", "503"), ("reason", "overloaded")];
    assert_eq!(relay.metrics().await.get("hookswitch_ingest_requests_total", &labels), 1.0);
    drop(holding);
    eventually("the permits to come back", || async {
        relay.metrics().await.get("hookswitch_ingest_in_flight", &[]) == 0.0
    })
    .await;
    assert_eq!(post(&third, &callback("call.1")).await.status, 200);
}

// --- the store ---

#[tokio::test]
async fn a_store_that_refuses_or_fails_is_503_with_retry_after_and_never_an_ack() {
    let setup = Setup::new();
    let (relay, store) = troubled(&setup).await;
    let mut told = std::collections::BTreeMap::<_, f64>::new();

    for (error, reason) in [
        (StoreError::Io(GONE.into()), "store_failed"),
        (StoreError::Unstorable(GONE.into()), "store_failed"),
        (StoreError::ReadOnly, "store_failed"),
        (StoreError::Overloaded, "store_overloaded"),
        (StoreError::DiskReserve, "disk_reserve"),
        (StoreError::Closed, "shutting_down"),
    ] {
        store.fail(Some(error.clone()));
        let refused = post(&relay.url(), &callback("call.1")).await;

        assert_is_a_problem(&refused, 503);
        assert!(refused.headers.contains_key("retry-after"), "{error:?}");
        assert!(!refused.body.contains("secret-place"), "the cause stays inside: {refused:?}");
        *told.entry(reason).or_default() += 1.0;
        assert_eq!(counted(&relay, "503", reason).await, told[reason], "{error:?}");
    }
    store.fail(None);
    assert_eq!(post(&relay.url(), &callback("call.1")).await.status, 200);
    assert_eq!(accepted(&relay).await, 1.0);
}

#[tokio::test]
async fn a_panic_of_the_relay_costs_one_callback_a_500_which_is_no_ack() {
    let setup = Setup::new();
    let (relay, store) = troubled(&setup).await;
    store.panics.store(true, Ordering::SeqCst);
    let zipped = gzip(callback("call.1").to_string().as_bytes());
    let key = ("x-api-key", API_KEY);

    let plain = post(&relay.url(), &callback("call.1")).await;
    let zipped = send(&relay, &[key, ("content-encoding", "gzip")], zipped).await;

    for refused in [plain, zipped] {
        assert_is_a_problem(&refused, 500);
        assert!(!refused.body.contains("secret-place"), "the cause stays inside: {refused:?}");
    }
    assert_eq!(counted(&relay, "500", "panicked").await, 2.0);
    let in_flight = relay.metrics().await.get("hookswitch_ingest_in_flight", &[]);
    assert_eq!(in_flight, 0.0, "the permits come back");
    store.panics.store(false, Ordering::SeqCst);
    assert_eq!(post(&relay.url(), &callback("call.1")).await.status, 200);
    assert_eq!(accepted(&relay).await, 1.0);
}

#[tokio::test]
async fn a_callback_that_is_whole_only_after_the_store_was_closed_is_503() {
    let mut relay = Setup::new().server("shutdown_grace = \"100ms\"").start().await;
    let body = callback("call.1").to_string();
    let (first, second) = body.split_at(100);
    let mut sender = Raw::connect(relay.callbacks()).await;
    sender.send(format!("{}{first}", head(body.len()))).await;
    eventually("the callback to be in flight", || async {
        relay.metrics().await.get("hookswitch_ingest_in_flight", &[]) == 1.0
    })
    .await;

    relay.begin_stop();
    assert_eq!(relay.ended().await, Ended::GraceOver);
    sender.send(second).await;

    let answer = sender.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
}

#[tokio::test]
async fn a_store_slower_than_commit_wait_is_503_and_the_repeat_finds_what_it_stored() {
    let target = Target::answering(200).await;
    let setup = Setup::new().server("commit_wait = \"200ms\"").target("crm", &target, "");
    let (relay, store) = troubled(&setup).await;
    store.waits.store(true, Ordering::SeqCst);

    let refused = post(&relay.url(), &callback("call.1")).await;
    store.waits.store(false, Ordering::SeqCst);
    let repeat = post(&relay.url(), &callback("call.1")).await;

    assert_is_a_problem(&refused, 503);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(counted(&relay, "503", "store_slow").await, 1.0);
    assert_eq!(repeat.status, StatusCode::OK);
    let got = target.received(1).await;
    assert_eq!(got[0].id(), repeat.id());
}

#[tokio::test]
async fn a_disk_without_its_reserve_is_503_and_not_ready() {
    let relay = Setup::new().store("min_free = \"900000 GiB\"").start().await;

    let refused = post(&relay.url(), &callback("call.1")).await;
    let ready = client().get(relay.admin("/readyz")).send().await.unwrap();

    assert_is_a_problem(&refused, 503);
    assert_eq!(counted(&relay, "503", "disk_reserve").await, 1.0);
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.text().await.unwrap(), "disk_reserve\n");
}
