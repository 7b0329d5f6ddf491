//! What purging costs those who wait for an ack.
//!
//! `cargo bench --bench purge`. A relay answers callbacks over its socket; its store begins with
//! `PURGE_OLD` events that are delivered and older than they are kept. Each round has two halves,
//! in random order: in one of them a pass of purging goes on all the time, as the relay makes one
//! every few minutes, in the other there is none. Callbacks come at an even pace, and an ack's time
//! runs from when its callback was due, so that waiting behind a stalled one counts too. The last
//! line is `purge: R (min A, max B, rounds N)`, where R is the median of the paired ratios of the
//! p99 of acks, with to without; R under 2 is promised. The line before it is the same at full
//! speed: every connection sends again as soon as it is answered.
//! `PURGE_ROUNDS`, `PURGE_SECONDS`, `PURGE_RATE` (callbacks a second) and `PURGE_OLD` change what
//! is measured.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unnecessary_debug_formatting,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that meets the unexpected ends"
)]

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hookswitch::{
    clock::Clock,
    config::{Config, Environment},
    event::{EventId, SourceName, Status},
    metrics::Metrics,
    relay::{Listeners, Relay},
    route::TargetName,
    store::{
        Admission, Attempt, CallFacts, Fate, Limits, Room, Settlement, Store, StoredRequest,
        sqlite::Sqlite, tidy,
    },
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::oneshot, task::JoinSet};

/// The binary's allocator, for the relay and its callers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 64;
const BODY_BYTES: usize = 2048;
const API_KEY: &str = "purge-key";
/// Old events are stored and settled so many at a time.
const GROUP: usize = 500;

/// When callbacks are sent.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// So many a second on all connections together, whatever the acks take.
    Paced(u64),
    /// On each connection the next as soon as the last is answered.
    FullSpeed,
}

/// One half of a round.
#[derive(Clone, Copy, Debug)]
struct Half {
    acks: usize,
    median_ms: f64,
    p99_ms: f64,
    purged: u64,
}

struct Stage {
    address: SocketAddr,
    store: Arc<dyn Store>,
    length: Duration,
}

fn main() {
    let rounds = setting("PURGE_ROUNDS", 10);
    let length = Duration::from_secs(setting("PURGE_SECONDS", 3));
    let rate = setting("PURGE_RATE", 1000);
    let old = setting("PURGE_OLD", 400_000);
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(rounds, length, Load::Paced(rate), old));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

async fn measure(rounds: u64, length: Duration, paced: Load, old: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (config, _) =
        Config::parse("purge", &configuration(folder.path()), &Environment::of_process())
            .unwrap_or_else(|problems| panic!("{problems}"));
    let (clock, metrics) = (Clock::system(), Metrics::new());
    let store: Arc<dyn Store> = Sqlite::open(&config.store, clock.clone(), &metrics).unwrap();
    let kept = config.store.limits();
    fill(&store, &clock, old).await;
    let listeners = Listeners::bind(&config).await.unwrap();
    let address = listeners.addresses().callbacks;
    let relay = Relay::assemble(config, listeners, Arc::clone(&store), clock, metrics);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run(async { stopped.await.unwrap_or_default() }));

    let stage = Stage { address, store, length };
    // Connections, caches and the relay's own first pass, which finds nothing, are over before
    // anything counts.
    stage.play(Load::FullSpeed, false).await;
    // From here on every old event is older than it is kept.
    stage.store.limit(Limits { retention: Duration::from_millis(1), ..kept });
    let full_speed = stage.compare(Load::FullSpeed, rounds.div_ceil(2)).await;
    let paced = stage.compare(paced, rounds).await;
    println!("full speed: {full_speed}");
    println!("purge: {paced}");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

/// Nothing is routed, so that what comes in costs an ack and no more, and is never history itself.
fn configuration(folder: &Path) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n\
         max_size = \"1000 GiB\"\n[sources.calls]\nprovider = \"11x\"\n\
         auth = {{ kind = \"header\", secret = \"{API_KEY}\" }}\n",
        folder.join("purge.db")
    )
}

/// Stores what is purged later, each event delivered.
async fn fill(store: &Arc<dyn Store>, clock: &Clock, old: u64) {
    let target = TargetName::new("crm");
    for _ in 0..old.div_ceil(GROUP as u64) {
        let group = (0..GROUP).map(|_| store.commit(old_event(clock)));
        futures_util::future::join_all(group).await.into_iter().for_each(|done| {
            done.unwrap();
        });
        let due = store.due(&target, clock.now(), &[], Room::of(GROUP)).await.unwrap();
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
    let totals = store.totals().deliveries[&target];
    assert_eq!(totals.pending, 0, "what is not delivered is never purged");
}

fn old_event(clock: &Clock) -> Admission {
    let now = clock.now();
    Admission {
        id: EventId::new(now, std::array::from_fn(|_| fastrand::u8(..))),
        source: SourceName::new("calls"),
        provider: "11x".to_owned(),
        received_at: now,
        request: StoredRequest {
            method: "POST".to_owned(),
            query: String::new(),
            content_type: Some("application/json".to_owned()),
            body: body(),
        },
        fingerprint: None,
        dedupe_window: Duration::ZERO,
        trace: None,
        fate: Fate::Readable {
            failed_routes: Vec::new(),
            json: body(),
            facts: CallFacts {
                status: Status::Completed,
                call_id: None,
                reference: None,
                from: None,
                to: None,
            },
            targets: vec![TargetName::new("crm")],
        },
    }
}

// === impl Stage ===

impl Stage {
    async fn compare(&self, load: Load, rounds: u64) -> String {
        let mut ratios = Vec::new();
        for number in 1..=rounds {
            let (with, without) = if fastrand::bool() {
                let with = self.play(load, true).await;
                (with, self.play(load, false).await)
            } else {
                let without = self.play(load, false).await;
                (self.play(load, true).await, without)
            };
            let ratio = with.p99_ms / without.p99_ms;
            println!(
                "{load:?} round {number:2}: with {with} · without {without} · ratio {ratio:.3}"
            );
            ratios.push(ratio);
        }
        let (min, max) = ratios
            .iter()
            .fold((f64::MAX, f64::MIN), |(min, max), ratio| (min.min(*ratio), max.max(*ratio)));
        format!("{:.3} (min {min:.3}, max {max:.3}, rounds {rounds})", median(ratios))
    }

    async fn play(&self, load: Load, purging: bool) -> Half {
        let mut ways = Vec::new();
        for _ in 0..CONNECTIONS {
            ways.push(connect(self.address).await);
        }
        let began = Instant::now();
        let end = began + self.length;
        let mut senders = JoinSet::new();
        for (number, way) in ways.into_iter().enumerate() {
            senders.spawn(send(way, load, began, number, end));
        }
        let purged = if purging { self.purge_until(end).await } else { 0 };
        let mut times = Vec::new();
        while let Some(of_one) = senders.join_next().await {
            times.extend(of_one.unwrap());
        }
        times.sort_unstable();
        let ms = |quantile: f64| {
            let at = (times.len() as f64 * quantile) as usize;
            f64::from(times[at.min(times.len() - 1)]) / 1000.0
        };
        Half { acks: times.len(), median_ms: ms(0.5), p99_ms: ms(0.99), purged }
    }

    /// A pass, cut off at the end of the half, which leaves nothing half-done.
    async fn purge_until(&self, end: Instant) -> u64 {
        let mut purged = 0;
        let pass = tidy::pass(&*self.store, |step| purged += step.history);
        let cut_off = tokio::time::timeout_at(end.into(), pass).await;
        assert!(cut_off.is_err(), "nothing old was left in the middle of a half: raise PURGE_OLD");
        assert!(purged > 0, "nothing was purged, so nothing is measured");
        purged
    }
}

impl std::fmt::Display for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { acks, median_ms, p99_ms, purged } = self;
        write!(f, "{acks} acks, p50 {median_ms:.2} ms p99 {p99_ms:.2} ms, {purged} purged")
    }
}

// === the callers ===

/// One connection. Returns the time of each ack in microseconds.
async fn send(
    mut way: SendRequest<Full<Bytes>>,
    load: Load,
    began: Instant,
    number: usize,
    end: Instant,
) -> Vec<u32> {
    let mut times = Vec::with_capacity(4096);
    let every = match load {
        Load::Paced(rate) => {
            Some(Duration::from_secs(CONNECTIONS as u64) / u32::try_from(rate).unwrap())
        }
        Load::FullSpeed => None,
    };
    // The connections take turns, rather than all send at once.
    let mut due =
        began + every.unwrap_or_default() * u32::try_from(number).unwrap() / CONNECTIONS as u32;
    let mut late = Duration::ZERO;
    while due < end {
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
            // What the timer was late by is nobody's wait.
            late = due.elapsed();
        }
        let request = Request::post("/hooks/calls")
            .header("host", "relay")
            .header("x-api-key", API_KEY)
            .header("content-type", "application/json")
            .body(Full::new(body()));
        way.ready().await.unwrap();
        let answer = way.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().collect().await.unwrap();
        let took = due.elapsed().saturating_sub(late);
        times.push(u32::try_from(took.as_micros()).unwrap());
        late = Duration::ZERO;
        due = every.map_or_else(Instant::now, |every| due + every);
    }
    times
}

async fn connect(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (way, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    way
}

/// A callback of 2 KB, each of another call.
fn body() -> Bytes {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut body = Vec::with_capacity(BODY_BYTES);
    body.extend_from_slice(
        br#"{"agentId":"agent.p1","agentName":"Pace Agent","name":"Ada Sample","phoneNumber":"+15550100123","fromPhoneNumber":"+15550100199","scheduledAt":"2025-01-20T14:00:00.000Z","timezone":"Europe/London","direction":"outbound","duration":184,"callResult":{"resultType":"Goal Completed","summary":"Ada renewed her plan.","transcription":""#,
    );
    let tail = format!(r#""}},"callId":"call.purge.{call:012}"}}"#);
    body.resize(BODY_BYTES - tail.len(), b'x');
    body.extend_from_slice(tail.as_bytes());
    body.into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
