//! Connections to a target that speaks plain HTTP/1.1.
//!
//! A connection has no task of its own: the attempt that uses it drives it, which saves two
//! hops between tasks a request, and whoever drops the attempt closes the connection. Between
//! attempts nobody drives it, so the idle are looked through every now and then.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{HOST, InvalidHeaderValue},
    uri::InvalidUri,
};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{
        TrySendError,
        http1::{self, Connection, SendRequest},
    },
};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use prometheus::IntCounter;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tower::Service as _;

use super::{
    Chunks, Destination, IDLE_MAX,
    failure::{BoxError, Stage, Trouble},
    resolve::Resolver,
};
use crate::drain::Drain;

/// The connections to one target.
#[derive(Debug)]
pub(super) struct Plain {
    connector: HttpConnector<Resolver>,
    connect_timeout: Duration,
    /// What is connected to.
    authority: Uri,
    method: Method,
    /// What the request line says.
    path: Uri,
    host: HeaderValue,
    /// The last one used is the first to be used again, so that the others grow old.
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    opened: IntCounter,
}

/// Why a URL cannot be put into a request.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Its path or authority.
    #[error("no request can be made to its URL: {0}")]
    Uri(#[from] InvalidUri),
    /// Its host.
    #[error("no header can carry its host")]
    Host(#[from] InvalidHeaderValue),
}

/// A connection and the half that asks.
#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended: a request still queued is handed back only when it is dropped.
    driver: Option<Pin<Box<Driver>>>,
}

type Driver = Connection<TokioIo<TcpStream>, Full<Bytes>>;

#[derive(Debug)]
struct Idle {
    open: Open,
    since: Instant,
}

/// An answer whose head is there.
#[derive(Debug)]
pub(super) struct Answer<'p> {
    plain: &'p Plain,
    open: Open,
    pub(super) response: Response<Incoming>,
}

// === impl Plain ===

impl Plain {
    pub(super) fn new(
        to: &Destination,
        resolver: Resolver,
        opened: IntCounter,
    ) -> Result<Self, UrlError> {
        let host = to.url.host_str().unwrap_or_default();
        let host = match to.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = match to.url.query() {
            Some(query) => format!("{}?{query}", to.url.path()),
            None => to.url.path().to_owned(),
        };
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(to.connect_timeout));
        Ok(Self {
            connector,
            connect_timeout: to.connect_timeout,
            authority: format!("http://{host}").parse()?,
            method: to.method.clone(),
            path: path.parse()?,
            host: HeaderValue::try_from(host)?,
            idle: Mutex::default(),
            idle_max: to.concurrency,
            opened,
        })
    }

    /// Makes one request, on a connection that is open or on a new one.
    pub(super) async fn send(
        &self,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer<'_>, Trouble> {
        let mut request = self.request(headers, body);
        loop {
            let (mut open, is_new) = match self.take() {
                Some(open) => (open, false),
                None => (self.connect_in_time().await?, true),
            };
            match open.ask(request).await {
                Ok(response) => return Ok(Answer { plain: self, open, response }),
                // The target closed it while it was idle, and has seen nothing of this request.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(Trouble::new(Stage::Exchange, error.into_error())),
                },
            }
        }
    }

    fn request(&self, mut headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        headers.insert(HOST, self.host.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        request
    }

    /// The connector's own limit is for each address, once the name is resolved.
    async fn connect_in_time(&self) -> Result<Open, Trouble> {
        let limit = self.connect_timeout;
        timeout(limit, self.connect()).await.unwrap_or_else(|_elapsed| Err(Trouble::late(limit)))
    }

    async fn connect(&self) -> Result<Open, Trouble> {
        let failed = |error: BoxError| Trouble::connecting(error, self.connect_timeout);
        let mut connector = self.connector.clone();
        poll_fn(|cx| connector.poll_ready(cx)).await.map_err(|error| failed(error.into()))?;
        let stream =
            connector.call(self.authority.clone()).await.map_err(|error| failed(error.into()))?;
        self.opened.inc();
        let (sender, driver) =
            http1::handshake(stream).await.map_err(|error| failed(error.into()))?;
        Ok(Open { sender, driver: Some(Box::pin(driver)) })
    }

    fn take(&self) -> Option<Open> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let last = idle.pop()?;
        if last.since.elapsed() < IDLE_MAX {
            return Some(last.open);
        }
        // The others are older.
        idle.clear();
        None
    }

    fn keep(&self, open: Open) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(Idle { open, since: Instant::now() });
        }
    }

    /// Lets go of what is too old or was closed by the target.
    fn sweep(&self) {
        // Reading is all that is wanted; nobody waits for more to come.
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|idle| {
            idle.open.drive(&mut cx);
            idle.open.driver.is_some() && idle.since.elapsed() < IDLE_MAX
        });
    }

    /// Looks after the idle connections for as long as anybody holds them.
    pub(super) fn tend(plain: &Arc<Self>, drain: &Drain) {
        let plain = Arc::downgrade(plain);
        let until = drain.clone();
        drain.spawn("idle connections", async move {
            let mut stopping = pin!(until.stopping());
            loop {
                tokio::select! {
                    () = &mut stopping => break,
                    () = tokio::time::sleep(SWEEP_EVERY) => {}
                }
                match Weak::upgrade(&plain) {
                    Some(plain) => plain.sweep(),
                    None => break,
                }
            }
        });
    }
}

/// A connection the target closed is let go of within this time, for it holds a descriptor here
/// and there.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

// === impl Open ===

impl Open {
    /// Sends a request and waits for the head of its answer.
    async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }
}

/// Moves the connection on. Its errors are told to whoever waits for the answer.
fn drive(driver: &mut Option<Pin<Box<Driver>>>, cx: &mut Context<'_>) {
    if let Some(connection) = driver
        && connection.as_mut().poll(cx).is_ready()
    {
        *driver = None;
    }
}

// === impl Answer ===

impl Answer<'_> {
    /// Keeps the connection for the next request; only after the last chunk.
    pub(super) fn finish(mut self) {
        // Once more, for it to notice that this exchange is over.
        self.open.drive(&mut Context::from_waker(Waker::noop()));
        if self.open.driver.is_some() && self.open.sender.is_ready() {
            self.plain.keep(self.open);
        }
    }
}

impl Chunks for Answer<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let body = self.response.body_mut();
            let driver = &mut self.open.driver;
            let frame = poll_fn(|cx| {
                drive(driver, cx);
                Pin::new(&mut *body).poll_frame(cx)
            });
            match frame.await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}
