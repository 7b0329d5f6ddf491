//! The road of now: what a reload swaps, before everything else.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use http::Request;
use hyper::body::Incoming;
use tower::Service;

use crate::ingest::stack::Road;

/// Leads each request to the newest road, whatever connection it comes on. Looking it up waits for
/// nobody and writes nothing that another core reads.
#[derive(Debug)]
pub(super) struct Latest<R>(Arc<ArcSwap<R>>);

// === impl Latest ===

impl<R> Latest<R> {
    pub(super) fn new(road: R) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(road)))
    }

    /// Has every request from now on go by `road`.
    pub(super) fn change(&self, road: R) {
        self.0.store(Arc::new(road));
    }
}

impl<R> Clone for Latest<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Road> Service<Request<Incoming>> for Latest<R> {
    type Response = R::Response;
    type Error = Infallible;
    type Future = R::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The roads shed instead of making a request wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        R::clone(&self.0.load()).call(request)
    }
}
