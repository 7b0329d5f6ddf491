//! What purging costs those who wait for an ack: the same load on one store, in alternate rounds
//! with and without a purge that always finds something old, and the ratio of their p99.
//!
//! Its last line is `purge: R (with X ms, without Y ms, N events purged, rounds M)`; R under 2 is
//! promised.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and spawns its own load")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hookswitch::{
    clock::Clock,
    event::{EventId, SourceName, Status},
    metrics::Metrics,
    route::TargetName,
    store::{
        Admission, Attempt, CallFacts, Fate, Room, Settings, Settlement, Store, StoredRequest,
        sqlite::Sqlite, tidy,
    },
};
use tokio::time::Instant;

/// Callers at one time, each with one callback in flight.
const CALLERS: usize = 32;

/// Pairs of rounds.
const ROUNDS: usize = 5;

const ROUND: Duration = Duration::from_secs(4);

/// Old events that are there before the first round: more than all rounds can purge.
const OLD: usize = 60_000;

const BODY_BYTES: usize = 2048;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let settings = Settings {
        path: folder.path().join("relay.db"),
        // What is settled before the first round is older than that in every round.
        retention: Duration::from_millis(1),
        max_size: u64::MAX,
        dead_retention: Duration::from_hours(24),
        min_free: 0,
    };
    let store: Arc<dyn Store> =
        Sqlite::open(&settings, clock.clone(), &Metrics::new(), None).unwrap();
    fill(&store, &clock).await;
    let (mut with, mut without, mut purged) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        // The order alternates, so that neither always comes second.
        for purging in [round % 2 == 0, round % 2 != 0] {
            let (p99, gone) = load(&store, &clock, purging).await;
            println!(
                "round {round} {}: p99 {p99:.2} ms, {gone} events purged",
                if purging { "with" } else { "without" }
            );
            if purging { &mut with } else { &mut without }.push(p99);
            purged += gone;
        }
    }
    assert!(purged > 0, "there was nothing to purge: nothing was measured");
    let (with, without) = (median(with), median(without));
    println!(
        "purge: {:.2} (with {with:.2} ms, without {without:.2} ms, {purged} events purged, rounds \
         {ROUNDS})",
        with / without
    );
    store.close().await.unwrap();
}

/// Stores what is purged later, each event delivered.
async fn fill(store: &Arc<dyn Store>, clock: &Clock) {
    let target = TargetName::new("crm");
    for _ in 0..OLD / 500 {
        let group = (0..500).map(|_| store.commit(callback(clock, true)));
        futures_util::future::join_all(group).await.into_iter().for_each(|done| {
            done.unwrap();
        });
        let due = store.due(&target, clock.now(), &[], Room::of(500)).await.unwrap();
        let settled = due.deliveries.into_iter().map(|delivery| {
            let attempt = Attempt {
                number: 1,
                at: clock.now(),
                took: Duration::from_millis(3),
                status: Some(200),
                error: None,
                snippet: None,
            };
            store.settle(delivery, attempt, Settlement::Delivered)
        });
        futures_util::future::join_all(settled).await.into_iter().for_each(|done| done.unwrap());
    }
}

/// The p99 of the commits of one round, in milliseconds, and how many events were purged in it.
async fn load(store: &Arc<dyn Store>, clock: &Clock, purging: bool) -> (f64, u64) {
    let end = Instant::now() + ROUND;
    let callers = (0..CALLERS).map(|_| {
        let (store, clock) = (Arc::clone(store), clock.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                store.commit(callback(&clock, false)).await.unwrap();
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            times
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut gone = 0;
    if purging {
        let pass = tidy::pass(&**store, |step| gone += step.history);
        // Cut off in the middle, which leaves nothing half-done.
        drop(tokio::time::timeout(ROUND, pass).await);
    }
    let mut times: Vec<f64> = Vec::new();
    for caller in callers {
        times.extend(caller.await.unwrap());
    }
    times.sort_by(f64::total_cmp);
    (times.get(times.len() * 99 / 100).copied().unwrap(), gone)
}

/// A callback of 2 KB; with nobody to deliver it to, it waits for a person and is never history.
fn callback(clock: &Clock, routed: bool) -> Admission {
    let now = clock.now();
    let text = Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(BODY_BYTES)));
    Admission {
        id: EventId::new(now, std::array::from_fn(|_| fastrand::u8(..))),
        source: SourceName::new("calls"),
        provider: "11x".to_owned(),
        received_at: now,
        request: StoredRequest {
            method: "POST".to_owned(),
            query: String::new(),
            content_type: Some("application/json".to_owned()),
            body: text.clone(),
        },
        fingerprint: None,
        dedupe_window: Duration::ZERO,
        trace: None,
        fate: Fate::Readable {
            failed_routes: Vec::new(),
            json: text,
            facts: CallFacts {
                status: Status::Completed,
                call_id: None,
                reference: None,
                from: None,
                to: None,
            },
            targets: if routed { vec![TargetName::new("crm")] } else { Vec::new() },
        },
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}
