//! Connections to a target that speaks HTTPS: reqwest, with all that TLS needs.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use prometheus::IntCounter;
use reqwest::{Response, Url};
use tower::util::MapResponseLayer;

use super::{
    Chunks, Destination, IDLE_MAX,
    failure::{BoxError, Stage, Trouble},
    resolve::Resolver,
    tls::Tls,
};

/// The connections to one target.
#[derive(Debug)]
pub(super) struct Secure {
    http: reqwest::Client,
    connect_timeout: Duration,
    method: Method,
    url: Url,
}

// === impl Secure ===

impl Secure {
    pub(super) fn new(
        to: &Destination,
        tls: &Tls,
        resolver: Resolver,
        opened: IntCounter,
    ) -> Result<Self, reqwest::Error> {
        // Sends again, twice at most, what the target says over HTTP/2 it has not looked at, as it
        // does when it leaves a connection: reqwest's own `retry`, as long as none is set.
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config())
            .dns_resolver(resolver)
            .connector_layer(MapResponseLayer::new(move |connection| {
                opened.inc();
                connection
            }))
            .connect_timeout(to.connect_timeout)
            .pool_max_idle_per_host(to.concurrency)
            .pool_idle_timeout(IDLE_MAX)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self {
            http,
            connect_timeout: to.connect_timeout,
            method: to.method.clone(),
            url: to.url.clone(),
        })
    }

    /// Makes one request.
    pub(super) async fn send(&self, headers: HeaderMap, body: Bytes) -> Result<Response, Trouble> {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        self.http.execute(request).await.map_err(|error| {
            if error.is_connect() {
                Trouble::connecting(error, self.connect_timeout)
            } else {
                Trouble::new(Stage::Exchange, error)
            }
        })
    }
}

impl Chunks for Response {
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        self.chunk().await.map_err(BoxError::from)
    }
}

/// All requests to an HTTP/2 target share a connection; one that died silently must not fail
/// them until the kernel notices.
const PING_EVERY: Duration =
    if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(10) };
