//! What an operator reads from `/metrics`, `/healthz` and `/readyz`.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Reply, Setup, Target, callback, client, eventually, post};

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

/// Retries, buries, restarts, repeats: every scrape on the way balances.
#[tokio::test]
async fn both_accounting_identities_hold_at_every_scrape() {
    let flaky =
        Target::scripted(|nth, _| Reply::status(if nth % 3 == 0 { 500 } else { 200 })).await;
    let moved =
        Target::scripted(|nth, _| Reply::status(if nth % 4 == 0 { 410 } else { 200 })).await;
    let quick = "retry = { initial = \"10ms\", factor = 1, max = \"10ms\" }";
    let setup = Setup::new().target("flaky", &flaky, quick).target("moved", &moved, quick);
    let (names, targets) = (["calls"], ["flaky", "moved"]);

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
        let scraping = async {
            loop {
                relay.metrics().await.assert_balanced(&names, &targets);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = scraping => unreachable!(),
            _ = relay.told(sends) => {}
        }
        relay.metrics().await.assert_balanced(&names, &targets);
        relay.stop().await;
    }

    let relay = setup.start().await;
    eventually("everything to be delivered or dead", || async {
        let page = relay.metrics().await;
        page.assert_balanced(&names, &targets);
        page.sum("hookswitch_deliveries", &[("state", "pending")]) == 0.0
    })
    .await;
    let page = relay.metrics().await;
    // 30 calls a round of their own, and the repeated one; 5 unreadable ones a round.
    assert_eq!(page.get("hookswitch_deliveries_enqueued_total", &[("target", "flaky")]), 91.0);
    let quarantined = [("source", "calls"), ("state", "quarantined")];
    assert_eq!(page.get("hookswitch_events", &quarantined), 15.0);
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
