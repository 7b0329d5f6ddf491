//! What bad targets cost the good ones, and what a backlog costs everybody.
//!
//! `cargo bench --bench isolation`. The relay is the real binary in a process of its own; senders
//! and targets are here. First, rounds in turns with eight good targets alone, and with a dead one
//! and one that answers in 10 s beside them: how long after its ack an event is at the good ones.
//! The first round of everything warms up and does not count; ratios are of the two halves of one
//! round, and what is told is their median, with the least and the most.
//! Then a store with `ISOLATION_BACKLOG` deliveries pending for a dead target, made through
//! `commit`: what a start, `due` and `settle` cost as ratios to a store with next to none, taken in
//! turns, and what the relay's memory comes to while it acks and delivers on top of that backlog.
//! The last line is `isolation: median M, p99 P (rounds N)`: ratios with to without.
//! `ISOLATION_ROUNDS`, `ISOLATION_SECONDS` and `ISOLATION_BACKLOG` change how much is measured.
//! A ratio over `ISOLATION_RATIO_MAX`, or memory over `ISOLATION_MEMORY_MAX` MB, is told in a
//! sentence, and then the end is 1.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unnecessary_debug_formatting,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::let_underscore_must_use,
    reason = "a benchmark that meets the unexpected ends"
)]

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::{self, Write as _},
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hookswitch::{
    clock::Clock,
    event::{EventId, SourceName, Status},
    metrics::Metrics,
    route::TargetName,
    store::{
        Admission, Attempt, CallFacts, Fate, Room, Settings, Settlement, Store, StoredRequest,
        sqlite::Sqlite,
    },
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const GOOD: usize = 8;
/// Callbacks a second; far from what either side can do, so that delays are not those of a queue.
const RATE: u64 = 100;
const API_KEY: &str = "isolation-key";
/// How long the slow target takes.
const SLOW: Duration = Duration::from_secs(10);
/// Rounds of questions and outcomes on both stores that count.
const VERB_ROUNDS: usize = 20;
/// Calls of `due` and of `settle` on each store in a round.
const CALLS: usize = 20;
/// What one question for deliveries asks for.
const LIMIT: usize = 128;
/// Starts of each relay that count.
const STARTS: usize = 7;
/// Connections of the senders: the pace is kept whatever one ack takes.
const SENDERS: u64 = 8;
/// Callers that make the backlog: as many as one group of commits takes.
const CALLERS: u64 = 512;
/// What a delay is at least: an event can be at its target before its sender has read the ack.
const DELAY_MIN: Duration = Duration::from_micros(10);

/// What nothing may cost more, by its median ratio.
const RATIO_MAX: f64 = 1.5;
/// What the relay may have resident, in MB.
const MEMORY_MAX: f64 = 96.0;

fn main() -> ExitCode {
    let rounds = setting("ISOLATION_ROUNDS", 5).max(1);
    let seconds = setting("ISOLATION_SECONDS", 10);
    let backlog = setting("ISOLATION_BACKLOG", 1_000_000);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (delays, weights) = runtime.block_on(async move {
        let delays = compare(rounds, seconds).await;
        (delays, weigh(backlog, seconds).await)
    });
    let over = over(&delays, &weights);
    for sentence in &over {
        eprintln!("{sentence}");
    }
    let (median, p99) = (delays.median.mid(), delays.p99.mid());
    println!("isolation: median {median:.2}, p99 {p99:.2} (rounds {rounds})");
    if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn setting<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// A sentence for each bound that does not hold.
fn over(delays: &Delays, weights: &Weights) -> Vec<String> {
    let max = setting("ISOLATION_RATIO_MAX", RATIO_MAX);
    let ratios = [
        ("two bad targets make the median delay", &delays.median),
        ("two bad targets make the p99 of the delay", &delays.p99),
        ("a backlog makes `due`", &weights.due),
        ("a backlog makes `settle`", &weights.settle),
        ("a backlog makes a start", &weights.start),
    ];
    let mut over: Vec<String> = ratios
        .iter()
        .filter(|(_, ratios)| ratios.mid() > max)
        .map(|(what, ratios)| format!("{what} {:.2} times as long; at most {max}", ratios.mid()))
        .collect();
    let max = setting("ISOLATION_MEMORY_MAX", MEMORY_MAX);
    let memory = weights.memory * 1.024 * 1.024;
    if memory > max {
        over.push(format!("the relay took {memory:.0} MB of memory; at most {max}"));
    }
    over
}

// === eight targets, with and without two bad ones ===

/// How long after its ack an event is where it belongs.
struct Delays {
    median: Ratios,
    p99: Ratios,
}

async fn compare(rounds: u64, seconds: u64) -> Delays {
    let (mut medians, mut tails) = (Ratios::default(), Ratios::default());
    for round in 0..=rounds {
        let mut met = HashMap::new();
        // The order alternates, so that neither always comes second.
        for bad in [round % 2 == 0, round % 2 != 0] {
            let delays = Round::run(bad, seconds).await;
            let (median, tail) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
            println!(
                "round {round}{} {}: median {:.2} ms, p99 {:.2} ms, {} deliveries",
                if round == 0 { " (not counted)" } else { "" },
                if bad { "with" } else { "without" },
                millis(median),
                millis(tail),
                delays.len()
            );
            met.insert(bad, (median, tail));
        }
        if round > 0 {
            medians.note(met[&true].0, met[&false].0);
            tails.note(met[&true].1, met[&false].1);
        }
    }
    println!("spread: median {medians}, p99 {tails}");
    Delays { median: medians, p99: tails }
}

/// When what arrived where.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<HashMap<(usize, String), Instant>>>);

struct Round;

impl Round {
    /// The delays of every event at every good target; ends when all are there.
    async fn run(bad: bool, seconds: u64) -> Vec<Duration> {
        let folder = tempfile::tempdir().unwrap();
        let (arrivals, mut serving) = (Arrivals::default(), JoinSet::new());
        let mut targets = Vec::new();
        for number in 0..GOOD {
            let url = sink(&mut serving, Some((number, arrivals.clone())), Duration::ZERO).await;
            targets.push((format!("good-{number}"), url));
        }
        if bad {
            targets.push(("dead".to_owned(), nobody().await));
            targets.push(("slow".to_owned(), sink(&mut serving, None, SLOW).await));
        }
        let relay = Relay::start(folder.path(), &targets);
        let acks = send(&relay.callbacks, RATE * seconds).await;
        let all = acks.len() * GOOD;
        let deadline = Instant::now() + Duration::from_mins(1);
        while arrivals.0.lock().unwrap().len() < all {
            assert!(Instant::now() < deadline, "not every event is at every good target");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let arrivals = arrivals.0.lock().unwrap();
        arrivals
            .iter()
            .map(|((_, id), at)| at.saturating_duration_since(acks[id]).max(DELAY_MIN))
            .collect()
    }
}

/// Sends that many callbacks at an even pace, and tells when each was acked.
async fn send(callbacks: &str, count: u64) -> HashMap<String, Instant> {
    let acked: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let mut senders = JoinSet::new();
    let began = tokio::time::Instant::now();
    for sender in 0..SENDERS {
        let (acked, callbacks) = (Arc::clone(&acked), callbacks.to_owned());
        senders.spawn(async move {
            let stream = TcpStream::connect(&callbacks).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut send, connection) =
                client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            for number in (sender..count).step_by(SENDERS as usize) {
                let at = Duration::from_micros(1_000_000 * number / RATE);
                tokio::time::sleep_until(began + at).await;
                let request = Request::post("/hooks/calls")
                    .header("host", &callbacks)
                    .header("x-api-key", API_KEY)
                    .header("content-type", "application/json")
                    .body(Full::new(callback(number)))
                    .unwrap();
                let answer = send.send_request(request).await.unwrap();
                assert!(answer.status().is_success(), "{}", answer.status());
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let id = body["id"].as_str().unwrap().to_owned();
                acked.lock().unwrap().insert(id, Instant::now());
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    Arc::try_unwrap(acked).unwrap().into_inner().unwrap()
}

fn callback(number: u64) -> Bytes {
    let body = serde_json::json!({
        "agentId": "agent.t1",
        "agentName": "Test Agent",
        "callId": format!("call.{number}"),
        "name": "Ada Sample",
        "phoneNumber": "+15550100123",
        "fromPhoneNumber": "+15550100199",
        "scheduledAt": "2025-01-20T14:00:00.000Z",
        "timezone": "Europe/London",
        "direction": "outbound",
        "customInputVariables": {},
        "duration": 60,
        "callUrl": "https://calls.example.com/1",
        "callResult": { "resultType": "Goal Completed", "summary": "She agreed. ".repeat(100) },
    });
    Bytes::from(body.to_string())
}

/// A target that answers 200 after a while, and notes what arrives.
async fn sink(
    serving: &mut JoinSet<()>,
    notes: Option<(usize, Arrivals)>,
    after: Duration,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let notes = notes.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let at = Instant::now();
                if let Some((number, arrivals)) = &notes {
                    let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
                    arrivals.0.lock().unwrap().entry((*number, id)).or_insert(at);
                }
                async move {
                    let _ = request.into_body().collect().await;
                    tokio::time::sleep(after).await;
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            connections.spawn(async move {
                let connection = server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

/// An address that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/events", listener.local_addr().unwrap())
}

// === the real binary ===

struct Relay {
    child: Child,
    callbacks: String,
    /// From the start of the process until it listens.
    took: Duration,
}

impl Relay {
    fn start(folder: &Path, targets: &[(String, String)]) -> Self {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = {:?}\nmin_free = \"1 MiB\"\n[sources.calls]\nprovider = \"11x\"\n\
             auth = {{ kind = \"header\", secret = \"{API_KEY}\" }}\n",
            folder.join("relay.db")
        );
        for (name, url) in targets {
            writeln!(text, "[targets.{name}]\nurl = \"{url}\"").unwrap();
        }
        let names: Vec<String> = targets.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        writeln!(text, "[[routes]]\nname = \"everything\"\nto = [{}]", names.join(", ")).unwrap();
        let config = folder.join("relay.toml");
        fs::write(&config, text).unwrap();
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hookswitch"))
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let callbacks = loop {
            let line = log.next().expect("the relay ended before it listened").unwrap();
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(callbacks) = entry["callbacks"].as_str() {
                break callbacks.to_owned();
            }
        };
        let took = began.elapsed();
        // Read on, so that a full pipe does not hold the relay up.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, callbacks, took }
    }

    /// The most memory it ever had resident, in MiB.
    fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === a backlog ===

/// What a backlog costs.
struct Weights {
    due: Ratios,
    settle: Ratios,
    start: Ratios,
    /// In MiB.
    memory: f64,
}

async fn weigh(backlog: u64, seconds: u64) -> Weights {
    let (full, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let began = Instant::now();
    fill(full.path(), backlog).await;
    // As many as the questions below ask for.
    fill(empty.path(), 2 * LIMIT as u64).await;
    println!(
        "backlog: {backlog} deliveries committed in {:.0} s, {:.0} MiB",
        began.elapsed().as_secs_f64(),
        fs::metadata(full.path().join("relay.db")).unwrap().len() as f64 / 1024.0 / 1024.0
    );
    let (due, settle) = verbs(full.path(), empty.path()).await;
    println!("due: {due}\nsettle: {settle}");

    let dead = vec![("dead".to_owned(), nobody().await)];
    let mut starts = Ratios::default();
    for start in 0..=STARTS {
        let mut took = HashMap::new();
        for is_full in [start % 2 == 0, start % 2 != 0] {
            let folder = if is_full { full.path() } else { empty.path() };
            took.insert(is_full, Relay::start(folder, &dead).took);
        }
        if start > 0 {
            starts.note(took[&true], took[&false]);
        }
    }
    println!("start: {starts}");

    let (arrivals, mut serving) = (Arrivals::default(), JoinSet::new());
    let mut targets = dead;
    for number in 0..GOOD {
        let url = sink(&mut serving, Some((number, arrivals.clone())), Duration::ZERO).await;
        targets.push((format!("good-{number}"), url));
    }
    let relay = Relay::start(full.path(), &targets);
    let acks = send(&relay.callbacks, RATE * seconds).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while arrivals.0.lock().unwrap().len() < acks.len() * GOOD {
        assert!(Instant::now() < deadline, "not every event is at every good target");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let memory = relay.memory();
    println!(
        "memory: {memory:.0} MiB at most, with {backlog} deliveries pending, {} events acked and \
         delivered to {GOOD} targets",
        acks.len()
    );
    Weights { due, settle, start: starts, memory }
}

fn open(folder: &Path) -> Arc<dyn Store> {
    let settings = Settings {
        path: folder.join("relay.db"),
        retention: Duration::from_hours(24),
        max_size: u64::MAX,
        dead_retention: Duration::from_hours(24),
        min_free: 0,
    };
    Sqlite::open(&settings, Clock::system(), &Metrics::new()).unwrap()
}

async fn fill(folder: &Path, count: u64) {
    let (store, clock) = (open(folder), Clock::system());
    let mut committing = JoinSet::new();
    for caller in 0..CALLERS.min(count) {
        let (store, clock) = (Arc::clone(&store), clock.clone());
        committing.spawn(async move {
            for number in (caller..count).step_by(CALLERS as usize) {
                store.commit(admission(&clock, number)).await.unwrap();
            }
        });
    }
    while let Some(committed) = committing.join_next().await {
        committed.unwrap();
    }
    assert_eq!(store.totals().deliveries[&dead()].pending, count);
    store.close().await.unwrap();
}

fn dead() -> TargetName {
    TargetName::new("dead")
}

fn admission(clock: &Clock, number: u64) -> Admission {
    let now = clock.now();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&fastrand::u64(..).to_be_bytes());
    let id = EventId::new(now, random);
    Admission {
        id,
        source: SourceName::new("calls"),
        provider: "11x".to_owned(),
        received_at: now,
        request: StoredRequest {
            method: "POST".to_owned(),
            query: String::new(),
            content_type: Some("application/json".to_owned()),
            body: Bytes::from(vec![b' '; 256]),
        },
        fingerprint: None,
        dedupe_window: Duration::ZERO,
        trace: None,
        fate: Fate::Readable {
            json: Bytes::from(format!("{{\"id\":\"{id}\",\"x\":\"{}\"}}", "x".repeat(400))),
            facts: CallFacts {
                status: Status::Completed,
                call_id: Some(format!("call.{number}")),
                reference: None,
                from: None,
                to: None,
            },
            targets: vec![dead()],
            failed_routes: Vec::new(),
        },
    }
}

/// What `due` and `settle` take on the full store, in relation to the empty one.
async fn verbs(full: &Path, empty: &Path) -> (Ratios, Ratios) {
    let stores = [open(full), open(empty)];
    let (mut dues, mut settles) = (Ratios::default(), Ratios::default());
    for round in 0..=VERB_ROUNDS {
        let mut took = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        for call in 0..CALLS {
            for which in [call % 2, (call + 1) % 2] {
                let (asked, settled) = ask_and_settle(&*stores[which]).await;
                took[which][0].push(asked);
                took[which][1].push(settled);
            }
        }
        if round > 0 {
            let [[full_due, full_settle], [empty_due, empty_settle]] = took;
            dues.note(quantile(&full_due, 0.5), quantile(&empty_due, 0.5));
            settles.note(quantile(&full_settle, 0.5), quantile(&empty_settle, 0.5));
        }
    }
    for store in stores {
        store.close().await.unwrap();
    }
    (dues, settles)
}

/// How long a question took, and the outcome of the first delivery it found.
async fn ask_and_settle(store: &dyn Store) -> (Duration, Duration) {
    let clock = Clock::system();
    let began = Instant::now();
    let due = store.due(&dead(), clock.now(), &[], Room::of(LIMIT)).await.unwrap();
    let asked = began.elapsed();
    assert!(due.deliveries.len() >= LIMIT, "{} are due", due.deliveries.len());
    let delivery = due.deliveries.into_iter().next().unwrap();
    let attempt = Attempt {
        number: delivery.attempts + 1,
        at: clock.now(),
        took: Duration::from_millis(1),
        status: None,
        error: Some("connection refused".to_owned()),
        snippet: None,
    };
    // Due again at once: the queue stays as long as it is.
    let retry = Settlement::Retry { at: delivery.since };
    let began = Instant::now();
    store.settle(delivery, attempt, retry).await.unwrap();
    (asked, began.elapsed())
}

// === figures ===

/// Of each round what it took with, and without, in the order of the rounds.
#[derive(Default)]
struct Ratios(Vec<(Duration, Duration)>);

impl Ratios {
    fn note(&mut self, with: Duration, without: Duration) {
        self.0.push((with, without));
    }

    fn sorted(&self) -> Vec<f64> {
        let ratio = |(with, without): &(Duration, Duration)| with.div_duration_f64(*without);
        let mut ratios: Vec<f64> = self.0.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn mid(&self) -> f64 {
        let ratios = self.sorted();
        ratios[ratios.len() / 2]
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratios = self.sorted();
        let (with, without): (Vec<_>, Vec<_>) = self.0.iter().copied().unzip();
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let (with, without) = (millis(quantile(&with, 0.5)), millis(quantile(&without, 0.5)));
        write!(
            f,
            "{:.2} ({least:.2} to {most:.2}; {with:.3} ms, without {without:.3} ms)",
            self.mid()
        )
    }
}

fn quantile(delays: &[Duration], of: f64) -> Duration {
    let mut delays = delays.to_vec();
    delays.sort_unstable();
    delays[((delays.len() - 1) as f64 * of) as usize]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
