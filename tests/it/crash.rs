//! `kill -9` at any moment loses no acked event.
//!
//! The real binary under load, killed at random moments and restarted on the same store. The
//! ledger of what was acked is kept here, outside the process. A round counts only if a request
//! was unanswered and an attempt was out at the kill, so that both halves of the road were cut.
//! Half of the kills come right behind an ack: an ack that was too early by a fraction of a
//! millisecond is then a lost event.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use crate::harness::{
    API_KEY, Ack, Process, Reply, Setup, Target, callback, client, eventually, within, write_config,
};

/// What senders were told, and how many of them wait for an answer.
#[derive(Debug, Default)]
struct Ledger {
    acked: Mutex<BTreeSet<String>>,
    unanswered: AtomicUsize,
    sent: AtomicU64,
    /// Acks until the kill; below zero when the kill comes by time.
    fuse: AtomicI64,
    /// Whether the kill met work on both halves of the road.
    met: AtomicBool,
}

/// Connections that send at once.
const SENDERS: usize = 16;

/// Counted rounds; more by `HOOKSWITCH_CRASH_ROUNDS`.
const ROUNDS: usize = 20;

// === impl Ledger ===

impl Ledger {
    fn kill(&self, relay: Pid, target: &Target) {
        let met = self.unanswered.load(Ordering::SeqCst) > 0 && target.out() > 0;
        kill_process(relay, Signal::KILL).unwrap();
        self.met.store(met, Ordering::SeqCst);
    }
}

/// Sends callbacks one after the other on one connection until the relay is gone.
async fn send(client: Client, url: String, relay: Pid, target: Arc<Target>, ledger: Arc<Ledger>) {
    loop {
        let call = ledger.sent.fetch_add(1, Ordering::SeqCst);
        let body = callback(&format!("call.{call}")).to_string();
        let request = client.post(&url).header("x-api-key", API_KEY).body(body);
        ledger.unanswered.fetch_add(1, Ordering::SeqCst);
        let answer = request.send().await;
        ledger.unanswered.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Ok(answer) if answer.status().is_success() => {
                if ledger.fuse.fetch_sub(1, Ordering::SeqCst) == 1 {
                    ledger.kill(relay, &target);
                }
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
    let target = Arc::new(target);
    let keys = "retry = { initial = \"20ms\", factor = 1, max = \"20ms\" }";
    let setup = Setup::new().target("crm", &target, keys);
    let config = write_config(&setup.folder(), &setup.text());
    let ledger = Arc::new(Ledger::default());

    let (mut counted, mut tried) = (0, 0);
    while counted < rounds {
        tried += 1;
        assert!(tried <= rounds * 5, "only {counted} of {tried} kills met work on both halves");
        let relay = Process::serve(&config).await;
        // What a kill left in the file balances, before anything more is done.
        relay.metrics().await.assert_balanced(&["calls"], &["crm"]);
        let url = format!("http://{}/hooks/calls", relay.callbacks);
        let by_ack = fastrand::bool();
        ledger.fuse.store(if by_ack { fastrand::i64(50..500) } else { -1 }, Ordering::SeqCst);
        let pid = Pid::from_raw(relay.id()).unwrap();
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (target, ledger) = (Arc::clone(&target), Arc::clone(&ledger));
            senders.spawn(send(client(), url.clone(), pid, target, ledger));
        }
        if !by_ack {
            let got = target.got().len();
            eventually("the road to be busy", || async { target.got().len() > got + SENDERS })
                .await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..150))).await;
            ledger.kill(pid, &target);
        }
        // The senders end when the relay is gone.
        within("the senders' end", senders.join_all()).await;
        relay.kill().await;
        counted += usize::from(ledger.met.load(Ordering::SeqCst));
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
    let page = relay.metrics().await;
    page.assert_balanced(&["calls"], &["crm"]);
    let accepted = page.get("hookswitch_events_accepted_total", &[("source", "calls")]);
    let enqueued = page.get("hookswitch_deliveries_enqueued_total", &[("target", "crm")]);
    assert_eq!(accepted, enqueued, "every event was routed to its one target");
    assert!(accepted >= f64::from(u32::try_from(acked.len()).unwrap()), "{accepted} accepted");
    eprintln!(
        "{counted} rounds of {tried} kills counted; all {} acked events arrived",
        acked.len()
    );
    relay.kill().await;
}
