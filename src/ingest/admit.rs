//! Layers 4 and 5 of the stack: who may send, and how many at once.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use futures_util::future::Either;
use http::HeaderMap;
use ipnet::IpNet;
use pin_project_lite::pin_project;
use tower::Service;

use crate::{
    ingest::{
        accept::Context,
        answer::{self, Answer, Refusal, Through},
        source::Source,
        visit::Visit,
    },
    provider::auth::{self, Head},
};

/// Layer 4: address and credentials that need no body.
#[derive(Clone, Debug)]
pub(super) struct Credentials<S>(S);

/// Layer 5: a permit of the relay and one of the source.
#[derive(Clone, Debug)]
pub(super) struct Permits<S>(S);

/// Room for so many at one time. Nobody waits for it.
#[derive(Debug)]
pub(super) struct Room(AtomicUsize);

/// A callback in flight: a place in the relay's room and one in the source's, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    context: Arc<Context>,
    source: Arc<Source>,
}

pin_project! {
    /// An answer that holds its permit until it is there.
    pub(super) struct Permitted<F> {
        #[pin]
        answer: F,
        _permit: Permit,
    }
}

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

// === impl Credentials ===

impl<S> Credentials<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

/// The answer to a request that may not pass.
fn refusal(Visit { request, party }: &Visit) -> Option<Answer> {
    let settings = &party.source.settings;
    if !settings.allow_from.is_empty() {
        let peer = party.peer.0.ip().to_canonical();
        let client = client(peer, request.headers(), &party.context.trusted_proxies);
        if !party.source.allows(client) {
            return Some(answer::refuse(Refusal::AddressDenied));
        }
    }
    let token = party.token.and_then(|length| {
        let path = request.uri().path();
        path.len().checked_sub(length).and_then(|start| path.get(start..))
    });
    let head = Head {
        method: request.method().as_str(),
        headers: request.headers(),
        path_token: token,
        query: request.uri().query().unwrap_or_default(),
    };
    let denied = auth::check_head(&settings.auth, &head).err()?;
    Some(answer::refuse_denied(denied, auth::offers_basic(&settings.auth)))
}

impl<S> Service<Visit> for Credentials<S>
where
    S: Service<Visit, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Through<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, visit: Visit) -> Self::Future {
        match refusal(&visit) {
            None => Either::Right(self.0.call(visit)),
            Some(answer) => answer::at_once(answer),
        }
    }
}

// === impl Permits ===

impl<S> Permits<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S> Service<Visit> for Permits<S>
where
    S: Service<Visit, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Through<Permitted<S::Future>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, visit: Visit) -> Self::Future {
        match Permit::take(&visit.party.context, &visit.party.source) {
            Ok(permit) => Either::Right(Permitted { answer: self.0.call(visit), _permit: permit }),
            Err(refusal) => answer::at_once(answer::refuse(refusal)),
        }
    }
}

impl<F: Future> Future for Permitted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        self.project().answer.poll(cx)
    }
}

// === impl Room ===

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self(AtomicUsize::new(places))
    }

    /// Whether there was a place left, which is the caller's now.
    fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

// === impl Permit ===

impl Permit {
    fn take(context: &Arc<Context>, source: &Arc<Source>) -> Result<Self, Refusal> {
        // The source's first: a flooding source must not even briefly hold the relay's.
        if !source.room.take() {
            return Err(Refusal::SourceOverloaded);
        }
        if !context.room.take() {
            source.room.give_back();
            return Err(Refusal::Overloaded);
        }
        context.metrics.in_flight.inc();
        Ok(Self { context: Arc::clone(context), source: Arc::clone(source) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.context.metrics.in_flight.dec();
        self.context.room.give_back();
        self.source.room.give_back();
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
    fn a_room_has_as_many_places_as_it_was_given() {
        let room = Room::new(2);
        assert!(room.take() && room.take());
        assert!(!room.take() && !room.take());
        room.give_back();
        assert!(room.take());
        assert!(!room.take());
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
