//! What one target does, or does not do, is nothing to the others.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::harness::{
    Page, Process, Relay, Reply, Setup, Target, callback, client, eventually, post, write_config,
};

const QUICK: &str = "retry = { initial = \"20ms\", factor = 2, max = \"100ms\" }";

async fn deliveries(relay: &Relay, target: &str, state: &str) -> f64 {
    let labels = [("target", target), ("state", state)];
    relay.metrics().await.get("hookswitch_deliveries", &labels)
}

/// An address that nobody listens on.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/events", listener.local_addr().unwrap())
}

#[tokio::test]
async fn of_ten_targets_one_dead_and_one_slow_eight_get_everything() {
    let slow = Target::scripted(|_, _| {
        Reply::After(Duration::from_secs(10), Box::new(Reply::status(200)))
    })
    .await;
    let mut setup = Setup::new()
        .table(&format!("[targets.dead]\nurl = \"{}\"\n{QUICK}", nobody()))
        .route("everything", "dead")
        .target("slow", &slow, "");
    let mut others = Vec::new();
    for number in 0..8 {
        let target = Target::answering(200).await;
        setup = setup.target(&format!("good-{number}"), &target, "");
        others.push(target);
    }
    let relay = setup.start().await;

    let sends = (0..100).map(|call| {
        let url = relay.url();
        async move { post(&url, &callback(&format!("call.{call}"))).await.id() }
    });
    let acked: std::collections::BTreeSet<String> = relay.told(sends).await.into_iter().collect();

    assert_eq!(acked.len(), 100);
    for target in &others {
        target.received(100).await;
        assert_eq!(target.ids(), acked);
    }
    assert_eq!(deliveries(&relay, "dead", "pending").await, 100.0);
    let tripped = [("target", "dead")];
    eventually("the dead target to be left alone", || async {
        relay.metrics().await.get("hookswitch_target_breaker_state", &tripped) == 2.0
    })
    .await;
    assert!(slow.most_out() <= 32);
    let targets: Vec<String> = (0..8).map(|number| format!("good-{number}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    relay.metrics().await.assert_balanced(&["calls"], &targets);
}

#[tokio::test]
async fn a_target_that_is_back_gets_everything_it_missed() {
    let target = Target::scripted(|nth, _| Reply::status(if nth < 25 { 503 } else { 200 })).await;
    let keys = format!("{QUICK}\nbreaker = {{ failures = 10, probe_after = \"100ms\" }}");
    let relay = Setup::new().target("crm", &target, &keys).start().await;

    let sends = (0..200).map(|call| {
        let url = relay.url();
        async move { post(&url, &callback(&format!("call.{call}"))).await.id() }
    });
    let acked: std::collections::BTreeSet<String> = relay.told(sends).await.into_iter().collect();

    eventually("all of them", || async { deliveries(&relay, "crm", "delivered").await == 200.0 })
        .await;
    assert_eq!(target.ids(), acked);
    let state = [("target", "crm")];
    assert_eq!(relay.metrics().await.get("hookswitch_target_breaker_state", &state), 0.0);
}

/// A callback of a call with its number in it.
fn numbered(call: &str, number: usize) -> serde_json::Value {
    let mut body = callback(call);
    body["duration"] = number.into();
    body
}

/// Which callbacks of a call a target got, in order, the repeated attempts left out.
fn order_of(target: &Target, call: &str) -> Vec<u64> {
    let mut order = Vec::new();
    for delivery in target.got() {
        let event = delivery.event();
        if event["data"]["call"]["id"] == call {
            order.push(event["data"]["call"]["duration_seconds"].as_u64().unwrap());
        }
    }
    order.dedup();
    order
}

#[tokio::test]
async fn the_events_of_one_call_arrive_in_the_order_of_their_acks_over_retries_and_a_restart() {
    let target =
        Target::scripted(|nth, _| Reply::status(if nth % 3 == 1 { 500 } else { 200 })).await;
    let keys = format!("{QUICK}\norder = \"per-call\"");
    let setup = Setup::new().target("crm", &target, &keys);
    let relay = setup.start().await;
    for number in 1..=10 {
        for call in ["call.a", "call.b", "call.c"] {
            post(&relay.url(), &numbered(call, number)).await;
        }
    }
    relay.stop().await;

    let relay = setup.start().await;
    for number in 11..=20 {
        for call in ["call.a", "call.b", "call.c"] {
            post(&relay.url(), &numbered(call, number)).await;
        }
    }

    eventually("all of them", || async { deliveries(&relay, "crm", "delivered").await == 60.0 })
        .await;
    for call in ["call.a", "call.b", "call.c"] {
        assert_eq!(order_of(&target, call), (1..=20).collect::<Vec<_>>(), "{call}");
    }
    assert!(target.most_out() <= 3);
}

#[tokio::test]
async fn a_call_whose_head_is_tried_again_holds_nobody_else_up() {
    let target = Target::scripted(|_, delivery| {
        let event: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap();
        let stuck = event["data"]["call"]["id"] == "call.stuck";
        Reply::Answer(if stuck { 500 } else { 200 }, Vec::new(), Bytes::new())
    })
    .await;
    let keys = "order = \"per-call\"\nretry = { schedule = [\"1h\"] }";
    let relay = Setup::new().target("crm", &target, keys).start().await;

    for number in 0..20 {
        post(&relay.url(), &numbered("call.stuck", number)).await;
        post(&relay.url(), &numbered(&format!("call.{number}"), number)).await;
    }

    eventually("the others", || async { deliveries(&relay, "crm", "delivered").await == 20.0 })
        .await;
    assert_eq!(order_of(&target, "call.stuck"), [0]);
    assert_eq!(deliveries(&relay, "crm", "pending").await, 20.0);
}

/// A target that misbehaves in another way each time.
async fn misbehaving() -> (String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        let mut nth = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            nth += 1;
            connections.spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let _ = stream.read(&mut request).await;
                match nth % 6 {
                    // Garbage; the end in the middle; a gigabyte; a reset; silence; nothing at all.
                    0 => drop(stream.write_all(b"\x00\xff not http\r\n\r\n").await),
                    1 => {
                        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal";
                        let _ = stream.write_all(half).await;
                    }
                    2 => {
                        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
                        let _ = stream.write_all(head).await;
                        while stream.write_all(&[b'x'; 8 * 1024]).await.is_ok() {}
                    }
                    3 => drop(stream.set_zero_linger()),
                    4 => std::future::pending().await,
                    _ => {}
                }
            });
        }
    });
    (url, serving)
}

/// Open files of a process, and its memory in KiB.
fn footprint(pid: i32) -> (usize, u64) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, memory.trim().trim_end_matches(" kB").trim().parse().unwrap())
}

#[tokio::test]
async fn targets_that_misbehave_take_no_files_no_memory_and_no_slot_for_good() {
    let (url, _serving) = misbehaving().await;
    let keys = "timeout = \"300ms\"\nconnect_timeout = \"300ms\"\nconcurrency = 4\n\
                breaker = { failures = 0 }\nretry = { schedule = [\"10ms\", \"10ms\", \"10ms\"] }";
    let plain = url.replace("http://", "https://");
    let setup = Setup::new()
        .table(&format!("[targets.wild]\nurl = \"{url}\"\n{keys}"))
        .table(&format!("[targets.no-tls]\nurl = \"{plain}\"\n{keys}"))
        .table(&format!("[targets.nowhere]\nurl = \"http://nowhere.invalid/\"\n{keys}"))
        .route("everything", "wild")
        .route("everything", "no-tls")
        .route("everything", "nowhere");
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let page = async || {
        let page = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
        Page::parse(&page.text().await.unwrap())
    };
    let dead = async |page: &Page| {
        ["wild", "no-tls", "nowhere"]
            .iter()
            .map(|target| {
                page.get("hookswitch_deliveries", &[("target", target), ("state", "dead")])
            })
            .sum::<f64>()
    };
    let hooks = format!("http://{}/hooks/calls", relay.callbacks);
    let send = async |range: std::ops::Range<usize>| {
        for call in range {
            post(&hooks, &callback(&format!("call.{call}"))).await;
        }
    };
    send(0..10).await;
    eventually("the first dead letters", || async { dead(&page().await).await == 30.0 }).await;
    let before = footprint(relay.id());

    send(10..50).await;
    eventually("all dead letters", || async { dead(&page().await).await == 150.0 }).await;

    let page = page().await;
    for target in ["wild", "no-tls", "nowhere"] {
        assert_eq!(page.get("hookswitch_target_in_flight", &[("target", target)]), 0.0);
    }
    for (target, cause) in [
        ("wild", "protocol"),
        ("wild", "reset"),
        ("wild", "oversized"),
        ("wild", "timeout"),
        ("no-tls", "tls"),
        ("nowhere", "dns"),
    ] {
        let labels = [("target", target), ("outcome", "buried"), ("cause", cause)];
        let retried = [("target", target), ("outcome", "retry"), ("cause", cause)];
        let attempts = page.get("hookswitch_delivery_attempts_total", &labels)
            + page.get("hookswitch_delivery_attempts_total", &retried);
        assert!(attempts > 0.0, "{target}: {cause}");
    }
    eventually("the files to be let go of", || async { footprint(relay.id()).0 <= before.0 + 2 })
        .await;
    let after = footprint(relay.id());
    assert!(after.1 < before.1 + 16 * 1024, "{before:?} {after:?}");
    relay.terminate().await;
}
