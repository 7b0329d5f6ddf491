//! The listener of callbacks: accepts connections and puts each request on the road.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::{Service, ServiceExt as _};

use crate::{
    drain::Drain,
    ingest::{admit::Peer, stack::AnswerBody},
};

/// Accepts connections until the drain says stop; those that are open then finish the request
/// they are in.
pub(super) async fn accept_loop<S>(
    listener: TcpListener,
    road: S,
    max_connections: usize,
    open: IntGauge,
    drain: Drain,
) where
    S: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let permits = Arc::new(Semaphore::new(max_connections));
    loop {
        // The permit comes first: connections over the limit wait in the listener's backlog.
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = drain.stopping() => return,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, peer))) => {
                let connection = Connection { stream, peer, open: open.clone(), _permit: permit };
                drain.spawn("connection", connection.serve(road.clone(), drain.clone()));
            }
            (_, Err(error)) => pause_after(&error).await,
            (Err(_), _) => return,
        }
    }
}

/// One open connection.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

// === impl Connection ===

impl Connection {
    async fn serve<S>(self, road: S, drain: Drain)
    where
        S: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        self.open.inc();
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay could not be set");
        }
        let peer = Peer(self.peer);
        let road = road.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .serve_connection(TokioIo::new(self.stream), TowerToHyperService::new(road));
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = drain.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            // The sender's affair: it left, or sent what is not HTTP.
            tracing::debug!(%error, peer = %self.peer, "a connection ended early");
        }
        self.open.dec();
    }
}

/// Accepting fails when descriptors run out: wait a little instead of spinning.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// How long a head may take; it also ends connections that stay idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
