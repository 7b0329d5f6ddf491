//! Layers 4 and 5 of the stack: who may send, and how many at once.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, Request};
use ipnet::IpNet;
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

use crate::{
    ingest::{
        accept::Context,
        answer::{self, Answer, Refusal},
        source::Source,
    },
    listen::Peer,
    provider::auth::{self, Head},
};

/// The token behind the source's own path, by its length. An extension of requests to a source
/// that takes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathToken(pub(super) usize);

/// Layer 4: address and credentials that need no body.
#[derive(Clone, Debug)]
pub(super) struct Credentials<S> {
    inner: S,
    source: Arc<Source>,
    context: Arc<Context>,
}

/// Layer 5: a permit of the relay and one of the source.
#[derive(Clone, Debug)]
pub(super) struct Permits<S> {
    inner: S,
    source: Arc<Source>,
    context: Arc<Context>,
}

/// A callback in flight; lives in the request's extensions until it is answered.
#[derive(Clone, Debug)]
struct Permit(#[expect(dead_code, reason = "held, not read")] Arc<Held>);

#[derive(Debug)]
struct Held {
    _relays: OwnedSemaphorePermit,
    _sources: OwnedSemaphorePermit,
    in_flight: IntGauge,
}

type Answered<F> = Either<Ready<Result<Answer, Infallible>>, F>;

/// The address a callback comes from: the peer's, or, when the peer is a trusted proxy, the last
/// address in `x-forwarded-for` that is not one.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(ip));
    if !is_trusted(&peer) {
        return peer;
    }
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.rsplit(','));
    let mut client = peer;
    for hop in hops {
        // A hop that cannot be read ends the chain: what stands before it is hearsay.
        let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
        client = hop.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

fn refused<F>(answer: Answer) -> Answered<F> {
    Either::Left(ready(Ok(answer)))
}

// === impl Credentials ===

impl<S> Credentials<S> {
    pub(super) fn new(inner: S, source: Arc<Source>, context: Arc<Context>) -> Self {
        Self { inner, source, context }
    }

    /// The answer to a request that may not pass.
    fn refusal<B>(&self, request: &Request<B>) -> Option<Answer> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
        if !self.source.settings.allow_from.is_empty() {
            let trusted = &self.context.trusted_proxies;
            let client = peer.map(|peer| client(peer, request.headers(), trusted));
            if !client.is_some_and(|client| self.source.allows(client)) {
                return Some(answer::refuse(Refusal::AddressDenied));
            }
        }
        let token = request.extensions().get::<PathToken>().and_then(|PathToken(length)| {
            let path = request.uri().path();
            path.len().checked_sub(*length).and_then(|start| path.get(start..))
        });
        let head = Head {
            method: request.method().as_str(),
            headers: request.headers(),
            path_token: token,
            query: request.uri().query().unwrap_or_default(),
        };
        let schemes = &self.source.settings.auth;
        let denied = auth::check_head(schemes, &head).err()?;
        Some(answer::refuse_denied(denied, auth::offers_basic(schemes)))
    }
}

impl<S, B> Service<Request<B>> for Credentials<S>
where
    S: Service<Request<B>, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Answered<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.refusal(&request) {
            None => Either::Right(self.inner.call(request)),
            Some(answer) => refused(answer),
        }
    }
}

// === impl Permits ===

impl<S> Permits<S> {
    pub(super) fn new(inner: S, source: Arc<Source>, context: Arc<Context>) -> Self {
        Self { inner, source, context }
    }

    fn take(&self) -> Result<Permit, Refusal> {
        // The source's first: a flooding source must not even briefly hold the relay's.
        let sources = Arc::clone(&self.source.permits)
            .try_acquire_owned()
            .map_err(|_| Refusal::SourceOverloaded)?;
        let relays = Arc::clone(&self.context.permits)
            .try_acquire_owned()
            .map_err(|_| Refusal::Overloaded)?;
        let in_flight = self.context.metrics.in_flight.clone();
        in_flight.inc();
        Ok(Permit(Arc::new(Held { _relays: relays, _sources: sources, in_flight })))
    }
}

impl<S, B> Service<Request<B>> for Permits<S>
where
    S: Service<Request<B>, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Answered<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.take() {
            Ok(permit) => {
                request.extensions_mut().insert(permit);
                Either::Right(self.inner.call(request))
            }
            Err(refusal) => refused(answer::refuse(refusal)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(forwarded: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_forwarding_header_is_believed_only_from_a_trusted_proxy() {
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let cases: &[(&str, &[&str], &str)] = &[
            // A stranger's header is hearsay.
            ("198.51.100.7", &["203.0.113.5"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            // What the sender put in front of the proxy's own entry is not believed.
            ("10.0.0.1", &["192.0.2.1, 203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["192.0.2.1", "203.0.113.5, 10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.5, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["::ffff:203.0.113.5"], "203.0.113.5"),
        ];
        for (peer, forwarded, expected) in cases {
            let found = client(peer.parse().unwrap(), &headers(forwarded), &trusted);
            assert_eq!(found.to_string(), *expected, "{peer} {forwarded:?}");
        }
        assert_eq!(client(proxy, &headers(&["203.0.113.5"]), &[]), proxy);
    }
}
