//! A listener: accepts connections, with or without TLS, and puts each request on a road.
//!
//! Knows nothing of what is asked. Bounded are the connections, the time of a handshake, of a head
//! and of idleness, and in HTTP/2 the streams and heads of one connection; a peer that resets
//! streams faster than they are served (rapid reset) is cut off.

mod activity;
#[cfg(test)]
mod tests;
mod timer;
mod tls;

use std::{
    convert::Infallible, error::Error, future::Future, io, net::SocketAddr, pin::pin, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use prometheus::IntGauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

pub use tls::{Security, Tls, TlsError, fingerprint};

use self::{activity::Activity, timer::HeadTimer};
use crate::drain::Drain;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// A listener that accepts until it is told to stop.
#[derive(Debug)]
pub struct Door {
    /// Where connections come in.
    pub listener: TcpListener,
    /// How they are secured. Asked anew for each.
    pub security: Security,
    /// Open at one time; more wait in the listener's backlog.
    pub max_connections: usize,
    /// How long a peer is waited for.
    pub patience: Patience,
    /// Counts those that are open.
    pub open: Option<IntGauge>,
}

/// How long the peer of one connection is waited for. Its connection is closed when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For its TLS handshake.
    pub handshake: Duration,
    /// For a head of HTTP/1.1, its first byte included.
    pub head: Duration,
    /// While no request of it is being served: for the next, or until it has read an answer.
    pub idle: Duration,
    /// For it to leave, once it was told to.
    pub leaving: Duration,
}

/// One open connection.
struct Connection {
    peer: SocketAddr,
    patience: Patience,
    open: Option<IntGauge>,
    _permit: OwnedSemaphorePermit,
}

/// Why a connection is ended from here.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    Stopping,
    Idle,
}

/// Runs the streams of HTTP/2 where stopping waits for them.
#[derive(Clone, Debug)]
struct Streams(Drain);

// === impl Door ===

impl Door {
    /// Accepts connections until the drain says stop; those that are open then finish the request
    /// they are in. `road` makes the road of each.
    pub async fn accept<S, B>(self, road: impl Fn(Peer) -> S, drain: Drain)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let permits = Arc::new(Semaphore::new(self.max_connections));
        loop {
            // The permit comes first: connections over the limit wait in the listener's backlog.
            let next = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = drain.stopping() => return,
            };
            match (permit, accepted) {
                (Ok(permit), Ok((stream, peer))) => {
                    let (patience, open) = (self.patience, self.open.clone());
                    let connection = Connection { peer, patience, open, _permit: permit };
                    let secured = self.security.now().map(TlsAcceptor::from);
                    let serving =
                        connection.serve(stream, secured, road(Peer(peer)), drain.clone());
                    drain.spawn("connection", serving);
                }
                (_, Err(error)) => pause_after(&error).await,
                (Err(_), _) => return,
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    async fn serve<S, B>(
        self,
        stream: TcpStream,
        secured: Option<TlsAcceptor>,
        road: S,
        drain: Drain,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(open) = &self.open {
            open.inc();
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay could not be set");
        }
        match secured {
            None => self.exchange(stream, false, road, drain).await,
            Some(acceptor) => {
                let shaking =
                    tokio::time::timeout(self.patience.handshake, acceptor.accept(stream));
                let shaken = tokio::select! {
                    shaken = shaking => shaken,
                    () = drain.stopping() => return,
                };
                match shaken {
                    Ok(Ok(stream)) => {
                        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(tls::H2);
                        self.exchange(stream, is_h2, road, drain).await;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, peer = %self.peer, "a TLS handshake failed");
                    }
                    Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
                }
            }
        }
    }

    async fn exchange<S, B, I>(&self, stream: I, is_h2: bool, road: S, drain: Drain)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let activity = Activity::default();
        let (stream, road) = (TokioIo::new(stream), activity.noting(road));
        // What ALPN agreed on; without TLS there is HTTP/1.1 only.
        if is_h2 {
            let mut server = http2::Builder::new(Streams(drain.clone()));
            server
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_EVERY)
                .max_concurrent_streams(STREAMS_MAX)
                .max_header_list_size(HEAD_BYTES_MAX)
                .max_pending_accept_reset_streams(RESETS_MAX)
                .max_local_error_reset_streams(RESETS_MAX);
            self.attend(server.serve_connection(stream, road), &activity, &drain).await;
        } else {
            let mut server = http1::Builder::new();
            server
                .timer(HeadTimer::default())
                .header_read_timeout(self.patience.head)
                // Whoever has said all it has to say may still listen: it is answered.
                .half_close(true);
            self.attend(server.serve_connection(stream, road), &activity, &drain).await;
        }
    }

    /// Serves until the peer leaves, or is told to.
    async fn attend<C>(&self, connection: C, activity: &Activity, drain: &Drain)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        // Asked only when it was woken itself: asking the drain and the timer takes locks that all
        // connections share, and each request wakes its connection several times.
        let mut farewells = FuturesUnordered::new();
        farewells.push(async {
            tokio::select! {
                () = drain.stopping() => Farewell::Stopping,
                () = activity.none_for(self.patience.idle) => Farewell::Idle,
            }
        });
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            Some(farewell) = farewells.next() => {
                connection.as_mut().graceful_shutdown();
                match farewell {
                    Farewell::Stopping => connection.await,
                    Farewell::Idle => {
                        // A peer that never spoke, or that does not read, does not leave by being
                        // told.
                        let leaving = tokio::time::timeout(self.patience.leaving, connection);
                        let Ok(left) = leaving.await else {
                            tracing::debug!(peer = %self.peer, "an idle connection was closed");
                            return;
                        };
                        left
                    }
                }
            }
        };
        if let Err(error) = served {
            // The sender's affair: it left, or sent what is not HTTP.
            tracing::debug!(%error, peer = %self.peer, "a connection ended early");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.dec();
        }
    }
}

// === impl Patience ===

impl Default for Patience {
    fn default() -> Self {
        Self {
            // Several round trips around the world, and no more.
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            // A sender that comes back within a minute need not connect again.
            idle: Duration::from_mins(1),
            leaving: Duration::from_secs(5),
        }
    }
}

// === impl Streams ===

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        self.0.spawn("stream", async move {
            stream.await;
        });
    }
}

/// Accepting fails when descriptors run out: wait a little instead of spinning.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// An HTTP/2 connection whose peer is gone is found out after twice this.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Requests at one time on one HTTP/2 connection: a sender with more opens another.
const STREAMS_MAX: u32 = 128;

/// The head of one HTTP/2 request, decoded: what the longest token and signature need, many times.
const HEAD_BYTES_MAX: u32 = 32 * 1024;

/// Streams that the peer reset before they were served, or had reset for its faults, after which
/// its connection is closed.
const RESETS_MAX: usize = 32;

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
