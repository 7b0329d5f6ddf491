//! How fast a callback is acked, as a ratio to a bare hyper server that answers 200.
//!
//! `cargo bench --bench pace`. Rounds alternate, in random order, a relay and the bare server:
//! the same runtime, the same client (reqwest), the same bodies, read in both. The last line is
//! `pace: R (min A, max B, rounds N)`, where R is the median of the paired ratios of acks to
//! answers, of a relay that routes every event to a target and delivers it while callbacks come in:
//! what an operator gets. The ratio of acks alone, without a route, stands in a line before it.
//! `synchronous` is `SQLite`'s own; the sync that an ack waits for is ours, and counted beside it.
//! `PACE_ROUNDS` and `PACE_SECONDS` change how much is measured; `PACE_ONLY=bare`, `ack` or
//! `delivering` plays that one alone, for a profiler, and says what each kind of thread ran.
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
    collections::BTreeMap,
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hookswitch::{
    config::{Config, Environment},
    relay::{Ended, Relay, StartError},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

/// The binary's allocator, for both servers and the client.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 64;
const BODY_BYTES: usize = 2048;
const API_KEY: &str = "pace-key";

/// What one round of one server came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_second: f64,
    cpu_micros: f64,
    /// Median and 99th percentile of an answer's time, in milliseconds.
    median_ms: f64,
    p99_ms: f64,
}

/// A relay with the shape of a real one, or without any target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Every event is routed to a file target, which delivers while callbacks come in.
    Delivering,
    /// No route: what the ack alone costs.
    AckOnly,
}

struct Contender {
    address: SocketAddr,
    path: &'static str,
}

fn main() {
    let rounds = setting("PACE_ROUNDS", 15);
    let length = Duration::from_secs_f64(setting("PACE_SECONDS", 2) as f64);
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match std::env::var("PACE_ONLY").as_deref() {
            Ok("bare") => return alone(None, rounds, length).await,
            Ok("ack") => return alone(Some(Shape::AckOnly), rounds, length).await,
            Ok("delivering") => return alone(Some(Shape::Delivering), rounds, length).await,
            _ => {}
        }
        let ack_only = measure(Shape::AckOnly, rounds.div_ceil(3), length).await;
        println!("ack only (no route): {ack_only}\n");
        let delivering = measure(Shape::Delivering, rounds, length).await;
        println!("\nack only (no route): {ack_only}");
        println!("routed, delivering: {delivering}");
        println!("pace: {delivering}");
    });
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// A relay of one shape, while it runs.
struct Running {
    _folder: TempDir,
    relay: Contender,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<Ended, StartError>>,
}

impl Running {
    async fn start(shape: Shape) -> Self {
        let folder = tempfile::tempdir_in(".").unwrap();
        let text = configuration(shape, folder.path());
        let (config, _) = Config::parse("pace", &text, &Environment::of_process())
            .unwrap_or_else(|problems| panic!("{problems}"));
        let relay = Relay::bind(config).await.unwrap();
        let addresses = relay.addresses();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(relay.run(async { stopped.await.unwrap_or_default() }));
        let relay = Contender { address: addresses.callbacks, path: "/hooks/calls" };
        Self { _folder: folder, relay, admin: addresses.admin, stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }
}

async fn measure(shape: Shape, rounds: usize, length: Duration) -> String {
    let mut bare_server = JoinSet::new();
    let bare = bare(&mut bare_server).await;
    let running = Running::start(shape).await;
    let relay = &running.relay;

    // Connections, caches and the database's first pages are warm before anything counts.
    for contender in [&bare, relay] {
        play(contender, length / 2).await;
    }
    let before = Scrape::of(running.admin).await;
    let (mut bares, mut relays, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=rounds {
        let (of_bare, of_relay) = if fastrand::bool() {
            let of_bare = play(&bare, length).await;
            (of_bare, play(relay, length).await)
        } else {
            let of_relay = play(relay, length).await;
            (play(&bare, length).await, of_relay)
        };
        let ratio = of_relay.per_second / of_bare.per_second;
        println!(
            "{shape:?} round {number:2}: bare {:6.0}/s {:5.1} µs CPU · relay {:6.0}/s {:5.1} µs CPU, \
             p50 {:.1} ms p99 {:.1} ms · ratio {ratio:.3}",
            of_bare.per_second,
            of_bare.cpu_micros,
            of_relay.per_second,
            of_relay.cpu_micros,
            of_relay.median_ms,
            of_relay.p99_ms,
        );
        bares.push(of_bare);
        relays.push(of_relay);
        ratios.push(ratio);
    }
    let after = Scrape::of(running.admin).await;
    let events = after.accepted - before.accepted;
    println!(
        "{shape:?}: CPU per event, median: bare {:.1} µs, relay {:.1} µs (client included in both)",
        median(bares.iter().map(|round| round.cpu_micros)),
        median(relays.iter().map(|round| round.cpu_micros)),
    );
    println!(
        "{shape:?}: synchronous = {}, {events} events in {} commits and {} syncs of the log: {:.4} \
         syncs per event, as the running relay says",
        after.synchronous,
        after.commits - before.commits,
        after.syncs - before.syncs,
        (after.syncs - before.syncs) / events,
    );
    running.stop().await;
    let (min, max) = ratios
        .iter()
        .fold((f64::MAX, f64::MIN), |(min, max), ratio| (min.min(*ratio), max.max(*ratio)));
    format!("{:.3} (min {min:.3}, max {max:.3}, rounds {rounds})", median(ratios.into_iter()))
}

/// Plays one contender alone, and says what its events cost on each kind of thread.
async fn alone(shape: Option<Shape>, rounds: usize, length: Duration) {
    let Some(shape) = shape else {
        let mut bare_server = JoinSet::new();
        return play_alone(&bare(&mut bare_server).await, rounds, length).await;
    };
    let running = Running::start(shape).await;
    play_alone(&running.relay, rounds, length).await;
    running.stop().await;
}

async fn play_alone(contender: &Contender, rounds: usize, length: Duration) {
    let (before, mut events) = (thread_micros(), 0.0);
    for _ in 0..rounds {
        let round = play(contender, length).await;
        println!("{round:?}");
        events += round.per_second * length.as_secs_f64();
    }
    for (thread, micros) in thread_micros() {
        let micros = micros - before.get(&thread).copied().unwrap_or_default();
        println!("{thread}: {:.1} µs an event", micros / events);
    }
}

/// What each kind of thread has run so far, in microseconds.
fn thread_micros() -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for thread in fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap().path();
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        let Ok(ran) = fs::read_to_string(thread.join("schedstat")) else { continue };
        let nanos: f64 = ran.split_whitespace().next().unwrap().parse().unwrap();
        let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        *all.entry(name).or_default() += nanos / 1000.0;
    }
    all
}

fn configuration(shape: Shape, folder: &Path) -> String {
    let routed = match shape {
        Shape::AckOnly => String::new(),
        Shape::Delivering => format!(
            "[targets.archive]\nfile = {:?}\n[[routes]]\nname = \"all\"\nto = [\"archive\"]\n",
            folder.join("events.jsonl")
        ),
    };
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n\
         [sources.calls]\nprovider = \"11x\"\nauth = {{ kind = \"header\", secret = \"{API_KEY}\" }}\n{routed}",
        folder.join("pace.db")
    )
}

/// The bare server: reads the body, answers 200 with a body as long as an ack's.
async fn bare(tasks: &mut JoinSet<()>) -> Contender {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let answer = service_fn(|request: Request<Incoming>| async {
                request.into_body().collect().await.unwrap();
                let body = Bytes::from_static(br#"{"id":"00000000-0000-7000-8000-000000000000"}"#);
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            });
            connections.spawn(async move {
                let serving = server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                drop(serving.await);
            });
        }
    });
    Contender { address, path: "/hooks/calls" }
}

/// Sends as fast as answers come back, on every connection, for a while.
async fn play(contender: &Contender, length: Duration) -> Round {
    let over = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    // Made before the clock starts: a client reads the certificates of the system.
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|_| reqwest::Client::builder().no_proxy().build().unwrap()).collect();
    let cpu = cpu_seconds();
    let began = Instant::now();
    for client in clients {
        senders.spawn(send(client, contender.address, contender.path, Arc::clone(&over)));
    }
    tokio::time::sleep(length).await;
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(of_one) = senders.join_next().await {
        times.extend(of_one.unwrap());
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    times.sort_unstable();
    let ms = |quantile: f64| {
        let at = (times.len() as f64 * quantile) as usize;
        f64::from(times[at.min(times.len() - 1)]) / 1000.0
    };
    Round {
        per_second: times.len() as f64 / seconds,
        cpu_micros: cpu * 1e6 / times.len() as f64,
        median_ms: ms(0.5),
        p99_ms: ms(0.99),
    }
}

/// One connection of one client. Returns the time of each answer in microseconds.
async fn send(
    client: reqwest::Client,
    to: SocketAddr,
    path: &'static str,
    over: Arc<AtomicBool>,
) -> Vec<u32> {
    let url: reqwest::Url = format!("http://{to}{path}").parse().unwrap();
    let mut times = Vec::with_capacity(4096);
    while !over.load(Ordering::Relaxed) {
        let request = client
            .post(url.clone())
            .header("x-api-key", API_KEY)
            .header("content-type", "application/json")
            .body(body());
        let began = Instant::now();
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap();
        times.push(u32::try_from(began.elapsed().as_micros()).unwrap());
    }
    times
}

/// A callback of 2 KB, each of another call.
fn body() -> Bytes {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut body = Vec::with_capacity(BODY_BYTES);
    body.extend_from_slice(
        br#"{"agentId":"agent.p1","agentName":"Pace Agent","name":"Ada Sample","phoneNumber":"+15550100123","phoneNumberExt":"","fromPhoneNumber":"+15550100199","scheduledAt":"2025-01-20T14:00:00.000Z","timezone":"Europe/London","direction":"outbound","customInputVariables":{"plan":"gold"},"duration":184,"callUrl":"https://calls.example.com/1","rescheduledAt":null,"callResult":{"resultType":"Goal Completed","summary":"Ada renewed her plan.","extractedVariables":{"renewed":true,"seats":12},"agentActions":[{"description":"Scheduled follow-up meeting","status":"completed","actionKey":"schedule_meeting","completedAt":"2025-01-20T14:03:10.000Z","metadata":{}}],"humanActions":[],"outcomes":[{"name":"interested","reasoning":"Renewed at once"}],"transcription":""#,
    );
    let tail = format!(r#""}},"callId":"call.pace.{call:012}"}}"#);
    body.resize(BODY_BYTES - tail.len(), b'x');
    body.extend_from_slice(tail.as_bytes());
    body.into()
}

/// What the running relay says of itself.
struct Scrape {
    accepted: f64,
    commits: f64,
    syncs: f64,
    synchronous: String,
}

impl Scrape {
    async fn of(admin: SocketAddr) -> Self {
        let stream = TcpStream::connect(admin).await.unwrap();
        let (mut sender, connection) =
            client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/metrics").header("host", "127.0.0.1").body(Full::default());
        let request: Request<Full<Bytes>> = request.unwrap();
        let page = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        let page = String::from_utf8(page.to_bytes().into()).unwrap();
        let value = |series: &str| -> f64 {
            let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            found.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
        };
        let synchronous = page
            .lines()
            .find_map(|line| line.split_once("synchronous=\"")?.1.split('"').next())
            .unwrap()
            .to_owned();
        Self {
            accepted: value("hookswitch_events_accepted_total{source=\"calls\"}"),
            commits: value("hookswitch_store_commit_duration_seconds_count"),
            syncs: value("hookswitch_store_syncs_total"),
            synchronous,
        }
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
