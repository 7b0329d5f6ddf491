//! `kill -9` at any moment loses no acked event.
//!
//! The real binary under load, killed at random moments and restarted on the same store. The
//! ledger of what was acked is kept here, outside the process. A round counts only if a request
//! was unanswered and an attempt was out at the kill, so that both halves of the road were cut.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use tokio::task::JoinSet;

use crate::harness::{
    API_KEY, Ack, Process, Reply, Setup, Target, callback, client, eventually, write_config,
};

/// What senders were told, and how many of them wait for an answer.
#[derive(Debug, Default)]
struct Ledger {
    acked: Mutex<BTreeSet<String>>,
    unanswered: AtomicUsize,
    sent: AtomicU64,
    over: AtomicBool,
}

/// Connections that send at once.
const SENDERS: usize = 16;

/// Counted rounds; more by `HOOKSWITCH_CRASH_ROUNDS`.
const ROUNDS: usize = 20;

/// Sends callbacks one after the other on one connection until the relay is gone.
async fn send(client: Client, url: String, ledger: Arc<Ledger>) {
    while !ledger.over.load(Ordering::SeqCst) {
        let call = ledger.sent.fetch_add(1, Ordering::SeqCst);
        let body = callback(&format!("call.{call}")).to_string();
        let request = client.post(&url).header("x-api-key", API_KEY).body(body);
        ledger.unanswered.fetch_add(1, Ordering::SeqCst);
        let answer = request.send().await;
        ledger.unanswered.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Ok(answer) if answer.status().is_success() => {
                // The head has been read: this is an ack, even if the body is cut off now.
                let body = answer.text().await.unwrap_or_default();
                if let Some(id) = id_in(&body) {
                    ledger.acked.lock().unwrap().insert(id);
                }
            }
            Ok(answer) => assert_eq!(answer.status(), 503, "{:?}", Ack::of(answer).await),
            Err(_) => return,
        }
    }
}

fn id_in(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body["id"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_loses_no_acked_event() {
    let rounds = std::env::var("HOOKSWITCH_CRASH_ROUNDS")
        .ok()
        .map_or(ROUNDS, |rounds| rounds.parse().expect("HOOKSWITCH_CRASH_ROUNDS is a number"));
    // One attempt in ten fails; each takes a moment, so that some are out at any time.
    let target = Target::scripted(|nth, _| {
        let status = Reply::status(if nth % 10 == 0 { 500 } else { 200 });
        Reply::After(Duration::from_millis(2), Box::new(status))
    })
    .await;
    let keys = "retry = { initial = \"20ms\", factor = 1, max = \"20ms\" }";
    let setup = Setup::new().target("crm", &target, keys);
    let config = write_config(&setup.folder(), &setup.text());
    let ledger = Arc::new(Ledger::default());

    let (mut counted, mut tried) = (0, 0);
    while counted < rounds {
        tried += 1;
        assert!(tried <= rounds * 5, "only {counted} of {tried} kills met work on both halves");
        let relay = Process::serve(&config).await;
        let url = format!("http://{}/hooks/calls", relay.callbacks);
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(client(), url.clone(), Arc::clone(&ledger)));
        }
        let got = target.got().len();
        eventually("the road to be busy", || async { target.got().len() > got + SENDERS }).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..150))).await;
        let met = ledger.unanswered.load(Ordering::SeqCst) > 0 && target.out() > 0;
        relay.kill().await;
        senders.join_all().await;
        counted += usize::from(met);
    }

    let relay = Process::serve(&config).await;
    let acked = ledger.acked.lock().unwrap().clone();
    assert!(acked.len() > rounds * SENDERS, "too little was acked: {}", acked.len());
    let missing = || {
        let got = target.ids();
        acked.iter().filter(|id| !got.contains(*id)).cloned().collect::<Vec<_>>()
    };
    let arrived = async {
        while !missing().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let all = tokio::time::timeout(crate::harness::PATIENCE * 2, arrived).await;
    assert!(
        all.is_ok(),
        "{} of {} acked events are lost: {:?}",
        missing().len(),
        acked.len(),
        missing()
    );
    eprintln!(
        "{counted} rounds of {tried} kills counted; all {} acked events arrived",
        acked.len()
    );
    relay.kill().await;
}
