//! The relay of now: what a reload swaps, before everything else.

use std::{convert::Infallible, sync::Arc};

use arc_swap::ArcSwap;
use http::Request;
use hyper::{body::Incoming, service::Service};

use crate::{
    ingest::{accept::Context, stack::Road, visit::Arrival},
    listen::Peer,
};

/// What each request goes by, whatever connection it comes on: the newest. Looking it up waits for
/// nobody.
#[derive(Clone, Debug)]
pub(super) struct Latest(Arc<ArcSwap<Context>>);

/// Where the requests of one peer come in. The road is the same for all; what differs from source
/// to source, and with each reload, a request finds in its context.
#[derive(Debug)]
pub(super) struct Entrance<R> {
    latest: Latest,
    road: R,
    peer: Peer,
}

// === impl Latest ===

impl Latest {
    pub(super) fn new(context: Context) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(context)))
    }

    /// Has every request from now on go by `context`.
    pub(super) fn change(&self, context: Context) {
        self.0.store(Arc::new(context));
    }

    /// The beginning of `road` for the requests of `peer`.
    pub(super) fn entrance<R>(&self, road: R, peer: Peer) -> Entrance<R> {
        Entrance { latest: self.clone(), road, peer }
    }
}

// === impl Entrance ===

impl<R: Road> Service<Request<Incoming>> for Entrance<R> {
    type Response = R::Response;
    type Error = Infallible;
    type Future = R::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // The road sheds instead of making a request wait: it is always ready.
        self.road.clone().call(Arrival::new(request, self.peer, self.latest.0.load_full()))
    }
}
