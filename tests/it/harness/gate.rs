//! A gate before the admin listener: it holds answers back until a test lets them through.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reqwest::Client;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::harness::{client, within};

/// Whoever asks here is answered by the relay behind it. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct Gate {
    address: SocketAddr,
    ways: Arc<Ways>,
    open: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Ways {
    client: Client,
    relay: SocketAddr,
    /// How the path begins of what is held back.
    holds: &'static str,
    held: watch::Sender<usize>,
    passed: AtomicUsize,
}

// === impl Gate ===

impl Gate {
    /// Holds back the relay's answers to what is asked at `holds`, which the relay has done by then.
    pub(crate) async fn before(relay: SocketAddr, holds: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, passed) = (watch::Sender::new(0), AtomicUsize::new(0));
        let ways = Arc::new(Ways { client: client(), relay, holds, held, passed });
        let open = watch::Sender::new(false);
        let mut serving = JoinSet::new();
        let (shared, opened) = (Arc::clone(&ways), open.subscribe());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (ways, opened) = (Arc::clone(&shared), opened.clone());
                let service =
                    service_fn(move |request| pass(request, Arc::clone(&ways), opened.clone()));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self { address, ways, open, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until an answer is held back.
    pub(crate) async fn holds(&self) {
        let mut held = self.ways.held.subscribe();
        within("an answer to be held back", held.wait_for(|held| *held > 0)).await.unwrap();
    }

    /// Lets everything through from now on.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// How many of the answers that are held back went through.
    pub(crate) fn passed(&self) -> usize {
        self.ways.passed.load(Ordering::SeqCst)
    }
}

async fn pass(
    request: Request<Incoming>,
    ways: Arc<Ways>,
    mut opened: watch::Receiver<bool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let url = format!("http://{}{}", ways.relay, head.uri);
    let mut asked = ways.client.request(head.method, url).body(body);
    for name in [http::header::AUTHORIZATION, http::header::CONTENT_TYPE] {
        if let Some(value) = head.headers.get(&name) {
            asked = asked.header(name, value);
        }
    }
    let answer = asked.send().await.unwrap();
    let mut response = Response::new(Full::default());
    *response.status_mut() = answer.status();
    *response.body_mut() = Full::new(answer.bytes().await.unwrap());
    if head.uri.path().starts_with(ways.holds) {
        ways.held.send_modify(|held| *held += 1);
        let _ = opened.wait_for(|open| *open).await;
        ways.passed.fetch_add(1, Ordering::SeqCst);
    }
    Ok(response)
}
