//! What one target does, or does not do, is nothing to the others.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

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

/// What a target does with a connection that somebody asked something on.
#[derive(Clone, Copy)]
enum Misdeed {
    Garbage,
    EndInTheMiddle,
    Gigabyte,
    Reset,
    Silence,
}

/// A certificate that only those trust who are given it.
fn certificate() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// A target that does this with every request, over TLS or not.
async fn misbehaving(
    misdeed: Misdeed,
    tls: Option<&TlsAcceptor>,
    serving: &mut JoinSet<()>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/events", listener.local_addr().unwrap());
    let tls = tls.cloned();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            if let Misdeed::Reset = misdeed {
                // It will be dropped, and that then is not a farewell.
                let _ = stream.set_zero_linger();
            }
            let tls = tls.clone();
            connections.spawn(async move {
                match tls {
                    None => misbehave(stream, misdeed).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            misbehave(stream, misdeed).await;
                        }
                    }
                }
            });
        }
    });
    url
}

async fn misbehave(mut stream: impl AsyncRead + AsyncWrite + Unpin, misdeed: Misdeed) {
    let mut request = vec![0; 64 * 1024];
    let _ = stream.read(&mut request).await;
    match misdeed {
        Misdeed::Garbage => {
            let _ = stream.write_all(b"\x00\xff not http\r\n\r\n").await;
        }
        Misdeed::EndInTheMiddle => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal").await;
        }
        Misdeed::Gigabyte => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
            let _ = stream.write_all(head).await;
            while stream.write_all(&[b'x'; 8 * 1024]).await.is_ok() {}
        }
        Misdeed::Reset => return,
        Misdeed::Silence => std::future::pending().await,
    }
    let _ = stream.flush().await;
}

/// A target whose certificate nobody vouches for.
async fn self_made(serving: &mut JoinSet<()>) -> String {
    let (_, acceptor) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/events", listener.local_addr().unwrap());
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            assert!(acceptor.accept(stream).await.is_err(), "the relay trusts anybody");
        }
    });
    url
}

/// Open files of a process, and its memory in KiB.
fn footprint(pid: i32) -> (usize, u64) {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, memory.trim().trim_end_matches(" kB").trim().parse().unwrap())
}

/// Each kind of bad target is another one, and all that is ever said of it is its own cause.
#[tokio::test]
async fn targets_that_misbehave_are_called_by_name_and_take_no_files_memory_or_slot_for_good() {
    let mut serving = JoinSet::new();
    let mut setup = Setup::new();
    let (vouched, acceptor) = certificate();
    let authority = setup.folder().join("authority.pem");
    std::fs::write(&authority, vouched).unwrap();
    let mut kinds = vec![
        ("self-made".to_owned(), self_made(&mut serving).await, "tls"),
        ("nobody".to_owned(), nobody(), "connect"),
        ("nowhere".to_owned(), format!("http://{}.example.com/", "x".repeat(64)), "dns"),
    ];
    for (name, misdeed, cause) in [
        ("garbage", Misdeed::Garbage, "protocol"),
        ("cut", Misdeed::EndInTheMiddle, "reset"),
        ("endless", Misdeed::Gigabyte, "oversized"),
        ("resets", Misdeed::Reset, "reset"),
        ("silent", Misdeed::Silence, "timeout"),
    ] {
        let url = misbehaving(misdeed, None, &mut serving).await;
        kinds.push((name.to_owned(), url, cause));
        let url = misbehaving(misdeed, Some(&acceptor), &mut serving).await;
        kinds.push((format!("{name}-secure"), url, cause));
    }
    for (name, url, _) in &kinds {
        // So that a busy machine makes a timeout of nothing else.
        let timeout = if name.starts_with("silent") { "50ms" } else { "30s" };
        let trust = if name.ends_with("secure") {
            format!("tls = {{ ca = {authority:?} }}\n")
        } else {
            String::new()
        };
        setup = setup
            .table(&format!(
                "[targets.{name}]\nurl = \"{url}\"\ntimeout = \"{timeout}\"\nconcurrency = 4\n\
                 breaker = {{ failures = 0 }}\nretry = {{ schedule = [\"10ms\", \"10ms\"] }}\n\
                 {trust}"
            ))
            .route("everything", name);
    }
    let config = write_config(&setup.folder(), &setup.text());
    let relay = Process::serve(&config).await;
    let page = async || {
        let page = client().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
        Page::parse(&page.text().await.unwrap())
    };
    let hooks = format!("http://{}/hooks/calls", relay.callbacks);
    let storm = async |calls: std::ops::Range<u32>| {
        let end = f64::from(calls.end);
        for call in calls {
            post(&hooks, &callback(&format!("call.{call}"))).await;
        }
        eventually("a dead letter of each at every target", || async {
            let page = page().await;
            kinds.iter().all(|(name, ..)| {
                page.get("hookswitch_deliveries", &[("target", name), ("state", "dead")]) == end
            })
        })
        .await;
    };
    storm(0..10).await;
    let before = footprint(relay.id());

    storm(10..50).await;

    let page = page().await;
    for (name, _, cause) in &kinds {
        let of = |outcome: &str| {
            let labels = [("target", name.as_str()), ("outcome", outcome), ("cause", *cause)];
            page.get("hookswitch_delivery_attempts_total", &labels)
        };
        assert_eq!((of("retry"), of("buried")), (100.0, 50.0), "{name}: {cause}");
        let all = page.sum("hookswitch_delivery_attempts_total", &[("target", name)]);
        assert_eq!(all, 150.0, "{name}: nothing but {cause}");
        assert_eq!(page.get("hookswitch_target_in_flight", &[("target", name)]), 0.0);
    }
    eventually("the files to be let go of", || async { footprint(relay.id()).0 <= before.0 + 2 })
        .await;
    let after = footprint(relay.id());
    assert!(after.1 < before.1 + 16 * 1024, "{before:?} {after:?}");
    relay.terminate().await;
}
