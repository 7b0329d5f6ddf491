//! How fast events reach their targets, as a ratio to a hyper proxy that stores nothing.
//!
//! `cargo bench --bench fanout`. Rounds of one and of three targets, each by a relay (durable,
//! one process with everything else) and by a proxy in memory, come in random order: the same
//! callers (reqwest, as in `pace`), the same bodies, the same sinks. The proxy calls its sinks on
//! raw hyper connections. A round sends its events as fast as they are
//! answered and ends when every sink has all of them, so that nothing is left in a queue. The
//! last line is `fanout: 1 target R1, 3 targets R3 (rounds N)`, medians of the paired ratios of
//! deliveries per second.
//!
//! `FANOUT_ROUNDS` and `FANOUT_EVENTS` change how much is measured; `FANOUT_SIGN=1` signs every
//! delivery, on both sides. `FANOUT_ONLY=relay` plays no proxy, for a profiler.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::unnecessary_debug_formatting,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that meets the unexpected ends"
)]

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::poll_fn,
    net::SocketAddr,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use hookswitch::{
    config::{Config, Environment},
    relay::Relay,
    secret::{Secret, Secrets},
    signature::StandardWebhooks,
};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{Connection, SendRequest, handshake},
    server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, oneshot},
    task::JoinSet,
};

/// The binary's allocator, for all of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CALLERS: usize = 64;
const BODY_BYTES: usize = 2048;
const API_KEY: &str = "fanout-key";
const SIGNING: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TARGETS_MAX: usize = 3;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A receiver of deliveries, which counts them.
struct Sink {
    address: SocketAddr,
    got: Arc<Got>,
}

#[derive(Default)]
struct Got {
    count: AtomicUsize,
    /// The count at which somebody waits.
    awaited: AtomicUsize,
    reached: Notify,
}

/// What one round came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_second: f64,
    cpu_micros: f64,
}

/// Everything that a round may be played with.
struct Stage {
    sinks: Vec<Sink>,
    /// By number of targets.
    proxies: Vec<(usize, SocketAddr)>,
    relays: Vec<(usize, SocketAddr)>,
    events: usize,
    signed: bool,
}

fn main() {
    let rounds = setting("FANOUT_ROUNDS", 10);
    let events = setting("FANOUT_EVENTS", 10_000);
    let signed = setting("FANOUT_SIGN", 0) == 1;
    let alone = std::env::var("FANOUT_ONLY").is_ok_and(|only| only == "relay");
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        if !alone {
            clients(&mut tasks, events).await;
        }
        let folder = tempfile::tempdir_in(".").unwrap();
        let mut stage =
            Stage { sinks: Vec::new(), proxies: Vec::new(), relays: Vec::new(), events, signed };
        for _ in 0..TARGETS_MAX {
            stage.sinks.push(sink(&mut tasks).await);
        }
        let mut running = Vec::new();
        for targets in [1, TARGETS_MAX] {
            let sinks: Vec<_> = stage.sinks[..targets].iter().map(|sink| sink.address).collect();
            stage.proxies.push((targets, proxy(&mut tasks, sinks.clone(), signed).await));
            let relay = relay(&folder.path().join(targets.to_string()), &sinks, signed).await;
            stage.relays.push((targets, relay.addresses().callbacks));
            let (stop, stopped) = oneshot::channel::<()>();
            let run = relay.run(async { stopped.await.unwrap_or_default() });
            running.push((stop, tokio::spawn(run)));
        }
        if alone {
            for _ in 0..rounds {
                for &(targets, address) in &stage.relays {
                    let round = stage.play(address, targets).await;
                    println!("{targets} targets: relay {round}");
                }
            }
        } else {
            stage.compare(rounds).await;
        }
        for (stop, run) in running {
            stop.send(()).unwrap();
            run.await.unwrap().unwrap();
        }
    });
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

// === impl Stage ===

impl Stage {
    async fn compare(&self, rounds: usize) {
        // Connections, caches and the databases' first pages are warm before anything counts.
        for &(targets, address) in self.proxies.iter().chain(&self.relays) {
            self.play(address, targets).await;
        }
        let mut ratios = [Vec::new(), Vec::new()];
        let mut cpus = [Vec::new(), Vec::new()];
        for number in 1..=rounds {
            let mut order = [0, 1];
            fastrand::shuffle(&mut order);
            for shape in order {
                let (targets, proxy) = self.proxies[shape];
                let (_, relay) = self.relays[shape];
                let (by_proxy, by_relay) = if fastrand::bool() {
                    let by_proxy = self.play(proxy, targets).await;
                    (by_proxy, self.play(relay, targets).await)
                } else {
                    let by_relay = self.play(relay, targets).await;
                    (self.play(proxy, targets).await, by_relay)
                };
                let ratio = by_relay.per_second / by_proxy.per_second;
                println!(
                    "round {number:2}, {targets} targets: proxy {by_proxy} · relay {by_relay} · \
                     ratio {ratio:.3}"
                );
                ratios[shape].push(ratio);
                cpus[shape].push((by_proxy.cpu_micros, by_relay.cpu_micros));
            }
        }
        for ((targets, _), cpus) in self.proxies.iter().zip(&cpus) {
            println!(
                "{targets} targets: CPU per delivery, median, callers and sinks included: proxy \
                 {:.1} µs, relay {:.1} µs",
                median(cpus.iter().map(|cpu| cpu.0)),
                median(cpus.iter().map(|cpu| cpu.1)),
            );
        }
        println!("signing: {}", if self.signed { "on both sides" } else { "none" });
        let [one, three] = ratios.map(|ratios| median(ratios.into_iter()));
        println!("fanout: 1 target {one:.3}, 3 targets {three:.3} (rounds {rounds})");
    }

    /// Sends every event of a round, and waits until each of the sinks has all.
    async fn play(&self, to: SocketAddr, targets: usize) -> Round {
        let sinks = &self.sinks[..targets];
        for sink in sinks {
            sink.got.count.store(0, Ordering::SeqCst);
            sink.got.awaited.store(self.events, Ordering::SeqCst);
        }
        let left = Arc::new(AtomicUsize::new(self.events));
        let mut callers = JoinSet::new();
        let url: reqwest::Url = format!("http://{to}/hooks/calls").parse().unwrap();
        // Made before the clock starts: a client reads the certificates of the system.
        let client = || reqwest::Client::builder().no_proxy().build().unwrap();
        let clients: Vec<_> = (0..CALLERS).map(|_| client()).collect();
        let cpu = cpu_seconds();
        let began = Instant::now();
        for client in clients {
            callers.spawn(call(client, url.clone(), Arc::clone(&left)));
        }
        while let Some(called) = callers.join_next().await {
            called.unwrap();
        }
        for sink in sinks {
            sink.got.all().await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let deliveries = (self.events * targets) as f64;
        Round {
            per_second: deliveries / seconds,
            cpu_micros: (cpu_seconds() - cpu) * 1e6 / deliveries,
        }
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:6.0}/s {:5.1} µs CPU", self.per_second, self.cpu_micros)
    }
}

// === impl Got ===

impl Got {
    fn note(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count == self.awaited.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    async fn all(&self) {
        while self.count.load(Ordering::SeqCst) < self.awaited.load(Ordering::SeqCst) {
            let wait = self.reached.notified();
            // A permit left over from another round wakes early; a lost one costs this much.
            drop(tokio::time::timeout(Duration::from_millis(20), wait).await);
        }
    }
}

// === the contenders ===

async fn relay(folder: &Path, sinks: &[SocketAddr], signed: bool) -> Relay {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\npath = {:?}\n\
         [sources.calls]\nprovider = \"11x\"\nauth = {{ kind = \"header\", secret = \"{API_KEY}\" }}\n",
        folder.join("fanout.db")
    );
    let mut names = Vec::new();
    for (number, sink) in sinks.iter().enumerate() {
        let sign =
            if signed { format!("sign = {{ secret = \"{SIGNING}\" }}\n") } else { String::new() };
        write!(text, "[targets.sink-{number}]\nurl = \"http://{sink}/events\"\n{sign}").unwrap();
        names.push(format!("\"sink-{number}\""));
    }
    write!(text, "[[routes]]\nname = \"all\"\nto = [{}]\n", names.join(", ")).unwrap();
    let (config, _) = Config::parse("fanout", &text, &Environment::of_process())
        .unwrap_or_else(|problems| panic!("{problems}"));
    Relay::bind(config).await.unwrap()
}

/// Sends each request on to every sink at once, and answers when all of them have.
async fn proxy(tasks: &mut JoinSet<()>, sinks: Vec<SocketAddr>, signed: bool) -> SocketAddr {
    let signer = StandardWebhooks::new(&Secrets::new(vec![Secret::new(SIGNING)])).unwrap();
    let signer = signed.then(|| Arc::new(signer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let mut ways = Vec::new();
            for sink in &sinks {
                ways.push(connect(*sink).await);
            }
            let ways = Arc::new(Mutex::new(ways));
            let signer = signer.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let (ways, signer) = (Arc::clone(&ways), signer.clone());
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let mut ways = ways.lock().await;
                    let sent = ways.iter_mut().map(|way| async {
                        let mut request = request_to("sink", "/events", body.clone());
                        if let Some(signer) = &signer {
                            sign(signer, &mut request, &body);
                        }
                        way.ready().await.unwrap();
                        let answer = way.send_request(request).await.unwrap();
                        assert_eq!(answer.status(), StatusCode::OK);
                        answer.into_body().collect().await.unwrap();
                    });
                    futures_util::future::join_all(sent).await;
                    let body =
                        Bytes::from_static(br#"{"id":"00000000-0000-7000-8000-000000000000"}"#);
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            connections.spawn(async move {
                let serving = server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                drop(serving.await);
            });
        }
    });
    address
}

fn sign(signer: &StandardWebhooks, request: &mut Request<Full<Bytes>>, body: &[u8]) {
    let id = "00000000-0000-7000-8000-000000000000";
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let timestamp = i64::try_from(now.as_secs()).unwrap();
    let signature = signer.sign(id, timestamp, body);
    let headers = request.headers_mut();
    headers.insert("webhook-id", HeaderValue::from_static(id));
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    headers.insert("webhook-signature", HeaderValue::try_from(signature).unwrap());
}

async fn sink(tasks: &mut JoinSet<()>) -> Sink {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let got = Arc::<Got>::default();
    let counted = Arc::clone(&got);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let got = Arc::clone(&counted);
            let answer = service_fn(move |request: Request<Incoming>| {
                let got = Arc::clone(&got);
                async move {
                    request.into_body().collect().await.unwrap();
                    got.note();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            connections.spawn(async move {
                let serving = server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                drop(serving.await);
            });
        }
    });
    Sink { address, got }
}

// === the callers ===

/// One caller: the next event as soon as the last one is answered.
async fn call(client: reqwest::Client, url: reqwest::Url, left: Arc<AtomicUsize>) {
    let take = |left: usize| left.checked_sub(1);
    while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
        let request = client
            .post(url.clone())
            .header("x-api-key", API_KEY)
            .header("content-type", JSON)
            .body(body());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap();
    }
}

async fn connect(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = open(to).await;
    tokio::spawn(connection);
    sender
}

async fn open(
    to: SocketAddr,
) -> (SendRequest<Full<Bytes>>, Connection<TokioIo<TcpStream>, Full<Bytes>>) {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    handshake(TokioIo::new(stream)).await.unwrap()
}

fn request_to(host: &'static str, path: &'static str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("host", host).header("content-type", JSON);
    request.body(Full::new(body)).unwrap()
}

/// A callback of 2 KB, each of another call.
fn body() -> Bytes {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut body = Vec::with_capacity(BODY_BYTES);
    body.extend_from_slice(
        br#"{"agentId":"agent.p1","agentName":"Pace Agent","name":"Ada Sample","phoneNumber":"+15550100123","fromPhoneNumber":"+15550100199","scheduledAt":"2025-01-20T14:00:00.000Z","timezone":"Europe/London","direction":"outbound","duration":184,"callUrl":"https://calls.example.com/1","rescheduledAt":null,"callResult":{"resultType":"Goal Completed","summary":"Ada renewed her plan.","extractedVariables":{"renewed":true,"seats":12},"outcomes":[{"name":"interested","reasoning":"Renewed at once"}],"transcription":""#,
    );
    let tail = format!(r#""}},"callId":"call.fanout.{call:012}"}}"#);
    body.resize(BODY_BYTES - tail.len(), b'x');
    body.extend_from_slice(tail.as_bytes());
    body.into()
}

// === what a client costs ===

/// Processor time of one request by each client, one after the other on one connection, the sink
/// included: what they differ by is the client's own.
async fn clients(tasks: &mut JoinSet<()>, requests: usize) {
    let sink = sink(tasks).await;
    let url: reqwest::Url = format!("http://{}/events", sink.address).parse().unwrap();
    let mut spent = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..5 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let cpu = cpu_seconds();
        for _ in 0..requests {
            let request = client.post(url.clone()).header("content-type", JSON).body(body());
            request.send().await.unwrap().bytes().await.unwrap();
        }
        spent[0].push((cpu_seconds() - cpu) * 1e6 / requests as f64);

        let mut sender = connect(sink.address).await;
        let cpu = cpu_seconds();
        for _ in 0..requests {
            sender.ready().await.unwrap();
            let answer = sender.send_request(request_to("sink", "/events", body())).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }
        spent[1].push((cpu_seconds() - cpu) * 1e6 / requests as f64);

        let (mut sender, driver) = open(sink.address).await;
        let mut driver = pin!(driver);
        let cpu = cpu_seconds();
        for _ in 0..requests {
            let exchange = async {
                let request = request_to("sink", "/events", body());
                sender.ready().await.unwrap();
                let answer = sender.send_request(request).await.unwrap();
                answer.into_body().collect().await.unwrap();
            };
            let mut exchange = pin!(exchange);
            poll_fn(|cx| {
                assert!(driver.as_mut().poll(cx).is_pending(), "the sink closed");
                exchange.as_mut().poll(cx)
            })
            .await;
            poll_fn(|cx| {
                assert!(driver.as_mut().poll(cx).is_pending(), "the sink closed");
                std::task::Poll::Ready(())
            })
            .await;
        }
        spent[2].push((cpu_seconds() - cpu) * 1e6 / requests as f64);
    }
    let [reqwest, hyper, driven] = spent.map(|spent| median(spent.into_iter()));
    println!(
        "CPU of a request, its sink included: reqwest {reqwest:.1} µs, a hyper connection with a \
         task of its own {hyper:.1} µs, one driven by its request {driven:.1} µs"
    );
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
