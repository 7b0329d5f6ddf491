//! A callback on the road, with what each layer needs to know of it.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    ingest::{accept::Context, body::Lingering, source::Source},
    listen::Peer,
};

/// A request that has come in.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) request: Request<Lingering>,
    pub(super) peer: Peer,
    /// When its head was there.
    pub(super) began: Instant,
    /// The relay as it is for this request, whatever is reloaded meanwhile.
    pub(super) context: Arc<Context>,
}

/// A request whose source was found. It carries what the layers behind ask for, so that they hold
/// nothing themselves, and a layer costs no more than its question.
#[derive(Debug)]
pub(super) struct Visit<B = Lingering> {
    pub(super) request: Request<B>,
    pub(super) party: Party,
}

/// Everything of a visit but the request.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) peer: Peer,
    pub(super) began: Instant,
    pub(super) context: Arc<Context>,
    pub(super) source: Arc<Source>,
    /// The length of the token behind the source's own path, where it takes one.
    pub(super) token: Option<usize>,
}

// === impl Arrival ===

impl Arrival {
    pub(super) fn new(request: Request<Incoming>, peer: Peer, context: Arc<Context>) -> Self {
        let began = Instant::now();
        let request = Lingering::around(request, &context);
        Self { request, peer, began, context }
    }

    /// The same request, at its source.
    pub(super) fn at(self, source: Arc<Source>, token: Option<usize>) -> Visit {
        let Self { request, peer, began, context } = self;
        Visit { request, party: Party { peer, began, context, source, token } }
    }
}
