//! The road of now: what a reload swaps, before everything else.

use std::{convert::Infallible, sync::Arc};

use arc_swap::ArcSwap;
use http::Request;
use hyper::{body::Incoming, service::Service};

use crate::{ingest::stack::Road, listen::Peer};

/// Leads each request to the newest road, whatever connection it comes on. Looking it up waits for
/// nobody and writes nothing that another core reads.
#[derive(Debug)]
pub(super) struct Latest<R>(Arc<ArcSwap<R>>);

/// The newest road for the requests of one peer.
#[derive(Debug)]
pub(super) struct Entrance<R> {
    latest: Latest<R>,
    peer: Peer,
}

// === impl Latest ===

impl<R> Latest<R> {
    pub(super) fn new(road: R) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(road)))
    }

    /// Has every request from now on go by `road`.
    pub(super) fn change(&self, road: R) {
        self.0.store(Arc::new(road));
    }

    /// Where the requests of `peer` come in.
    pub(super) fn entrance(&self, peer: Peer) -> Entrance<R> {
        Entrance { latest: self.clone(), peer }
    }
}

impl<R> Clone for Latest<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// === impl Entrance ===

impl<R: Road> Service<Request<Incoming>> for Entrance<R> {
    type Response = R::Response;
    type Error = Infallible;
    type Future = R::Future;

    /// The roads shed instead of making a request wait: they are always ready.
    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        R::clone(&self.latest.0.load()).call(request)
    }
}
