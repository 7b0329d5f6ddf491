//! What an operator reads from `/metrics`, `/healthz` and `/readyz`.

use std::{net::TcpListener, time::Duration};

use serde_json::{Value, json};

use crate::{
    harness::{API_KEY, Relay, Reply, Setup, Target, callback, client, eventually, post},
    reload::order,
};

/// Every series of the contract whose part exists.
const SERIES: &[&str] = &[
    "hookswitch_build_info",
    "hookswitch_start_time_seconds",
    "hookswitch_ingest_requests_total",
    "hookswitch_ingest_duration_seconds_count",
    "hookswitch_ingest_body_bytes_count",
    "hookswitch_ingest_in_flight",
    "hookswitch_ingest_connections",
    "hookswitch_events",
    "hookswitch_events_accepted_total",
    "hookswitch_deliveries",
    "hookswitch_deliveries_enqueued_total",
    "hookswitch_delivery_attempts_total",
    "hookswitch_delivery_attempt_duration_seconds_count",
    "hookswitch_delivery_age_seconds_count",
    "hookswitch_dead_letters_total",
    "hookswitch_oldest_pending_seconds",
    "hookswitch_orphaned_deliveries",
    "hookswitch_paused",
    "hookswitch_target_breaker_state",
    "hookswitch_route_errors_total",
    "hookswitch_config_reload_success",
    "hookswitch_config_reload_time_seconds",
    "hookswitch_target_in_flight",
    "hookswitch_target_concurrency_limit",
    "hookswitch_store_commit_duration_seconds_count",
    "hookswitch_store_commit_events_count",
    "hookswitch_store_bytes",
    "hookswitch_store_queue",
    "hookswitch_store_free_bytes",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];

#[tokio::test]
async fn every_series_of_configured_names_is_there_before_anything_happened() {
    let target = Target::answering(200).await;
    let relay = Setup::new().target("crm", &target, "").start().await;

    let page = relay.metrics().await;

    for series in SERIES {
        assert!(page.has(series), "{series} is missing on\n{page:#?}");
    }
    for state in ["routed", "unrouted", "quarantined"] {
        let labels = [("source", "calls"), ("state", state)];
        assert_eq!(page.get("hookswitch_events", &labels), 0.0);
    }
    for state in ["pending", "delivered", "dead", "discarded"] {
        let labels = [("target", "crm"), ("state", state)];
        assert_eq!(page.get("hookswitch_deliveries", &labels), 0.0);
    }
    for (code, reason) in [("200", "accepted"), ("401", "credentials_wrong"), ("503", "store_slow")]
    {
        let labels = [("source", "calls"), ("code", code), ("reason", reason)];
        assert_eq!(page.get("hookswitch_ingest_requests_total", &labels), 0.0);
    }
}

/// A series that appears with its first sample has lost that one to every `increase()`.
#[tokio::test]
async fn whatever_happens_no_series_appears_that_was_not_there_from_the_start() {
    let crm = Target::scripted(|nth, _| Reply::status([200, 500, 410, 301, 404][nth % 5])).await;
    let strict = Target::scripted(|nth, _| Reply::status([204, 409, 201, 302][nth % 4])).await;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let once = "retry = { schedule = [\"1ms\"] }";
    let own = format!("success = [201, 409]\n{once}");
    let setup = Setup::new().also("max_body = \"1 KiB\"").also("ack = 202");
    let file = setup.folder().join("events.jsonl");
    let setup = setup
        .target("crm", &crm, once)
        .target("strict", &strict, &own)
        .table(&format!("[targets.gone]\nurl = \"http://{gone}/\"\n{once}"))
        .route("all", "gone")
        .table(&format!("[targets.archive]\nfile = {file:?}"))
        .route("all", "archive")
        .table(
            "[[routes]]\nname = \"skilled\"\nwhen = 'data.extra.skill == \"x\"'\nto = [\"crm\"]",
        );
    let relay = setup.start().await;
    let before = relay.metrics().await;

    for call in ["1", "2", "3", "4", "5", "6", "6"] {
        assert_eq!(post(&relay.url(), &callback(call)).await.status, 202);
    }
    for (body, code) in [(json!([1]), 202), (json!({ "callId": "x".repeat(2048) }), 413)] {
        assert_eq!(post(&relay.url(), &body).await.status, code);
    }
    let elsewhere = format!("http://{}/hooks/nobody", relay.callbacks());
    for (request, code) in [
        (client().post(elsewhere), 404),
        (client().put(relay.url()), 405),
        (client().post(relay.url()), 401),
        (
            client()
                .post(relay.url())
                .header("x-api-key", API_KEY)
                .header("content-encoding", "br"),
            415,
        ),
        (client().get(relay.admin("/nowhere")), 404),
    ] {
        assert_eq!(request.send().await.unwrap().status(), code);
    }
    assert_eq!(relay.reload(&setup.text(), "refuse").await.0, 200);
    eventually("everything to be delivered or dead", || async {
        relay.metrics().await.sum("hookswitch_deliveries", &[("state", "pending")]) == 0.0
    })
    .await;

    let after = relay.metrics().await;
    let appeared: Vec<_> = after.series().difference(&before.series()).copied().collect();
    assert!(appeared.is_empty(), "{appeared:#?}");
    for (name, least) in [
        ("hookswitch_delivery_attempts_total", 24.0),
        ("hookswitch_dead_letters_total", 6.0),
        ("hookswitch_route_errors_total", 6.0),
    ] {
        assert!(after.sum(name, &[]) >= least, "{name} on\n{after:#?}");
    }
}

/// Whom the identities below are about.
const SOURCES: [&str; 1] = ["calls"];
const TARGETS: [&str; 2] = ["flaky", "moved"];

/// Does the work, while every scrape balances.
async fn balanced_during<T>(relay: &Relay, work: impl Future<Output = T>) {
    let scraping = async {
        loop {
            relay.metrics().await.assert_balanced(&SOURCES, &TARGETS);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = scraping => unreachable!(),
        _ = work => {}
    }
}

/// Retries, buries, restarts, repeats: every scrape on the way balances.
#[tokio::test]
async fn both_accounting_identities_hold_at_every_scrape() {
    let flaky =
        Target::scripted(|nth, _| Reply::status(if nth % 3 == 0 { 500 } else { 200 })).await;
    let moved =
        Target::scripted(|nth, _| Reply::status(if nth % 4 == 0 { 410 } else { 200 })).await;
    let quick = "retry = { initial = \"10ms\", factor = 1, max = \"10ms\" }";
    let setup = Setup::new().target("flaky", &flaky, quick).target("moved", &moved, quick);

    for round in 0..3 {
        let relay = setup.start().await;
        let sends: Vec<_> = (0..40)
            .map(|call| {
                let url = relay.url();
                async move {
                    // A quarter are repeats, some of earlier rounds; some cannot be read.
                    let body = match call % 8 {
                        0 => callback("call.repeat"),
                        1 => json!({ "round": round, "call": call }),
                        _ => callback(&format!("call.{round}.{call}")),
                    };
                    post(&url, &body).await.id()
                }
            })
            .collect();
        balanced_during(&relay, relay.told(sends)).await;
        relay.metrics().await.assert_balanced(&SOURCES, &TARGETS);
        relay.stop().await;
    }

    let relay = setup.start().await;
    eventually("everything to be delivered or dead", || async {
        let page = relay.metrics().await;
        page.assert_balanced(&SOURCES, &TARGETS);
        page.sum("hookswitch_deliveries", &[("state", "pending")]) == 0.0
    })
    .await;
    let page = relay.metrics().await;
    // 30 calls a round of their own, and the repeated one; 5 unreadable ones a round.
    assert_eq!(page.get("hookswitch_deliveries_enqueued_total", &[("target", "flaky")]), 91.0);
    let quarantined = [("source", "calls"), ("state", "quarantined")];
    assert_eq!(page.get("hookswitch_events", &quarantined), 15.0);
}

/// What operators do moves between the terms of the second identity, and out of the store.
#[tokio::test]
async fn both_identities_hold_at_every_scrape_while_operators_redrive_replay_discard_and_erase() {
    let flaky =
        Target::scripted(|nth, _| Reply::status(if nth % 3 == 0 { 500 } else { 200 })).await;
    let moved = Target::answering(410).await;
    let quick = "retry = { initial = \"10ms\", factor = 1, max = \"10ms\" }";
    let setup = Setup::new().target("flaky", &flaky, quick);
    let without_moved = setup.text();
    let setup = setup.target("moved", &moved, quick);
    let relay = setup.start().await;
    let settled = |dead: f64| {
        let relay = &relay;
        async move {
            eventually("all to be dead or delivered", || async {
                let page = relay.metrics().await;
                page.get("hookswitch_deliveries", &[("target", "moved"), ("state", "dead")]) == dead
                    && page.sum("hookswitch_deliveries", &[("state", "pending")]) == 0.0
            })
            .await;
        }
    };
    let done = async |path: &str, body: Value, count: &str| {
        let (status, told) = order(&relay, path, &body).await;
        assert_eq!(status, 200, "{path}: {told}");
        told[count].as_u64().unwrap()
    };
    let working = async {
        let sends = (0..24).map(|call| {
            let (url, body) = (relay.url(), callback(&format!("call.{call}")));
            async move { post(&url, &body).await.id() }
        });
        relay.told(sends).await;
        settled(24.0).await;
        let dead = json!({ "target": "moved" });
        assert_eq!(done("/api/v1/dead-letters/redrive", dead.clone(), "moved").await, 24);
        settled(24.0).await;
        let again = json!({ "to": ["flaky", "moved"] });
        assert_eq!(done("/api/v1/replay", again, "deliveries").await, 48);
        settled(24.0).await;
        let one = json!({ "call": "call.7" });
        assert_eq!(done("/api/v1/erase", one, "events").await, 1);
        settled(23.0).await;
        assert_eq!(done("/api/v1/dead-letters/discard", dead, "moved").await, 23);
        order(&relay, "/api/v1/targets/moved/pause", &json!({})).await;
        post(&relay.url(), &callback("call.owed")).await;
        assert_eq!(relay.reload(&without_moved, "dead").await.0, 200);
        settled(1.0).await;
        let everyone = json!({ "number": "+15550100123" });
        assert_eq!(done("/api/v1/erase", everyone, "events").await, 24);
    };
    balanced_during(&relay, working).await;

    let page = relay.metrics().await;
    page.assert_balanced(&SOURCES, &TARGETS);
    let of_moved =
        |state| page.get("hookswitch_deliveries", &[("target", "moved"), ("state", state)]);
    assert_eq!(["pending", "delivered", "dead", "discarded"].map(of_moved), [0.0, 0.0, 0.0, 25.0]);
}

#[tokio::test]
async fn health_says_alive_and_ready_and_metrics_ask_for_the_token() {
    let relay = Setup::new().start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client().get(relay.admin(path)).send().await.unwrap().status(), 200);
    }
    assert_eq!(client().get(relay.admin("/")).send().await.unwrap().status(), 404);

    let guarded = Setup::new().admin("token = \"adm1n-t0ken\"").start().await;
    let metrics = || client().get(guarded.admin("/metrics"));
    assert_eq!(metrics().send().await.unwrap().status(), 401);
    assert_eq!(metrics().bearer_auth("adm1n-t0kex").send().await.unwrap().status(), 401);
    assert_eq!(metrics().bearer_auth("adm1n-t0ken").send().await.unwrap().status(), 200);
    let health = client().get(guarded.admin("/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
}
