//! A receiver that follows a script and remembers what it got.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::harness::{assert_is_a_call_event, eventually};

/// One request a target got.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a target answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// This status, these headers, this body.
    Answer(u16, Vec<(&'static str, String)>, Bytes),
    /// Nothing, until the target is dropped.
    Silence,
    /// This, after a while.
    After(Duration, Box<Reply>),
    /// This, when the test [lets](Target::release) it go.
    Held(Box<Reply>),
}

type Script = dyn Fn(usize, &Delivery) -> Reply + Send + Sync;

/// A receiver on a free port. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    log: Arc<Log>,
    _serving: JoinSet<()>,
}

struct Log {
    got: Mutex<Vec<Delivery>>,
    out: AtomicUsize,
    most_out: AtomicUsize,
    /// One permit for each held answer that may go.
    released: Semaphore,
}

// === impl Reply ===

impl Reply {
    pub(crate) fn status(code: u16) -> Self {
        Self::Answer(code, Vec::new(), Bytes::new())
    }
}

// === impl Delivery ===

impl Delivery {
    /// The event, which is always held against the closed schema.
    pub(crate) fn event(&self) -> Value {
        let event = serde_json::from_slice(&self.body).unwrap();
        assert_is_a_call_event(&event);
        event
    }

    pub(crate) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}

// === impl Target ===

impl Target {
    /// Answers every request with one status.
    pub(crate) async fn answering(code: u16) -> Self {
        Self::scripted(move |_, _| Reply::status(code)).await
    }

    /// Answers the nth request (from 0) as the script says.
    pub(crate) async fn scripted(
        script: impl Fn(usize, &Delivery) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log {
            got: Mutex::default(),
            out: AtomicUsize::new(0),
            most_out: AtomicUsize::new(0),
            released: Semaphore::new(0),
        });
        let script: Arc<Script> = Arc::new(script);
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&log);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script) = (Arc::clone(&shared), Arc::clone(&script));
                let service = service_fn(move |request| {
                    serve(request, Arc::clone(&log), Arc::clone(&script))
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self { address, log, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Everything it got, in order.
    pub(crate) fn got(&self) -> Vec<Delivery> {
        self.log.got.lock().unwrap().clone()
    }

    /// The ids it got, each once.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.got().iter().map(Delivery::id).collect()
    }

    /// Requests that are not answered yet.
    pub(crate) fn out(&self) -> usize {
        self.log.out.load(Ordering::SeqCst)
    }

    /// The most requests that were ever out at one time.
    pub(crate) fn most_out(&self) -> usize {
        self.log.most_out.load(Ordering::SeqCst)
    }

    /// Lets that many more held answers go.
    pub(crate) fn release(&self, answers: usize) {
        self.log.released.add_permits(answers);
    }

    /// Waits until it got at least `count` requests.
    pub(crate) async fn received(&self, count: usize) -> Vec<Delivery> {
        eventually(&format!("{count} deliveries"), || async {
            self.log.got.lock().unwrap().len() >= count
        })
        .await;
        let got = self.got();
        for delivery in &got {
            delivery.event();
        }
        got
    }
}

/// Every event that a test had delivered is held against the closed schema, looked at or not.
impl Drop for Target {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut seen = BTreeSet::new();
        for delivery in self.got() {
            let is_event = delivery
                .headers
                .get("content-type")
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/cloudevents+json"));
            if is_event && seen.insert(delivery.id()) {
                delivery.event();
            }
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} deliveries", self.got.lock().unwrap().len())
    }
}

async fn serve(
    request: Request<Incoming>,
    log: Arc<Log>,
    script: Arc<Script>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
    let delivery = Delivery {
        method: head.method,
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    let out = log.out.fetch_add(1, Ordering::SeqCst) + 1;
    log.most_out.fetch_max(out, Ordering::SeqCst);
    let nth = {
        let mut got = log.got.lock().unwrap();
        got.push(delivery.clone());
        got.len() - 1
    };
    let answer = reply(script(nth, &delivery), &log.released).await;
    log.out.fetch_sub(1, Ordering::SeqCst);
    Ok(answer)
}

async fn reply(mut reply: Reply, released: &Semaphore) -> Response<Full<Bytes>> {
    loop {
        match reply {
            Reply::Answer(code, headers, body) => {
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                for (name, value) in headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                return response;
            }
            Reply::Silence => std::future::pending().await,
            Reply::After(pause, then) => {
                tokio::time::sleep(pause).await;
                reply = *then;
            }
            Reply::Held(then) => {
                released.acquire().await.unwrap().forget();
                reply = *then;
            }
        }
    }
}
