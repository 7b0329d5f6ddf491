//! The tower stack: the road from a request to its ack, one numbered list.
//!
//! The first three layers are every request's; behind the path each source has its own eight.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tower::{BoxError, Service, ServiceBuilder, layer::layer_fn};
use tower_http::{
    body::UnsyncBoxBody, catch_panic::CatchPanicLayer, decompression::RequestDecompressionLayer,
    limit::RequestBodyLimitLayer,
};

use crate::ingest::{
    accept::{Accept, Context},
    admit::{Credentials, Permits},
    answer::{self, Answer},
    body::{Lingering, OwnWords, Plain},
    observe::{Find, Observe},
    source::{Directory, Source},
};

/// The body of an answer, whichever layer it comes from.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// A whole road, from a request to its answer.
pub(super) trait Road:
    Service<
        Request<Incoming>,
        Response = Response<AnswerBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Road for S where
    S: Service<
            Request<Incoming>,
            Response = Response<AnswerBody>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// The whole road. Outermost first; each layer with the reason for its place.
pub(super) fn road(context: &Arc<Context>, sources: &[Arc<Source>]) -> impl Road + use<> {
    let mut directory = Directory::new();
    for source in sources {
        let place = (Arc::clone(source), source_road(context, source));
        directory.insert(&source.settings, place);
    }
    let directory = Arc::new(directory);
    ServiceBuilder::new()
        // 1. Observe. Outermost, so that whatever is answered is counted, timed and logged once;
        //    it also makes sure that a sender sees its refusal instead of a reset.
        .layer(layer_fn({
            let context = Arc::clone(context);
            move |inner| Observe::new(inner, Arc::clone(&context))
        }))
        // 2. Catch a panic. Outside everything that reads what a sender sent: a bug of ours
        //    costs one callback a 500 (which is no ack) and never the connection or the process.
        .layer(CatchPanicLayer::custom(answer::panicked))
        // 3. Find the source: 404, 405. Before anything is read, since limits, credentials and
        //    deadlines are the source's own.
        .service(Find::new(directory))
}

/// The part of the road behind a source's path. Its layers are known by their types, not boxed:
/// one callback allocates for its own sake only.
fn source_road(
    context: &Arc<Context>,
    source: &Arc<Source>,
) -> impl Service<Request<Lingering>, Response = Answer, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ use<> {
    // 7. Parse once · 8. body credentials · 9. handshake · 10. normalise and route
    // 11. commit, then ack: see `accept`.
    let accept = Accept::new(Arc::clone(source), Arc::clone(context));
    let max_body = source.settings.max_body;
    let (source, context) = (Arc::clone(source), Arc::clone(context));
    ServiceBuilder::new()
        // 4. Address and credentials that need no body: 403, 401. Before a body byte is read and
        //    before a permit is taken, so that a stranger costs nothing.
        .layer(layer_fn(|inner| Credentials::new(inner, Arc::clone(&source), Arc::clone(&context))))
        // 5. A permit: 503. Of the relay's permits one source may hold half: a flood of one
        //    provider leaves room for the others. Shed rather than queue: senders try again.
        .layer(layer_fn(|inner| Permits::new(inner, Arc::clone(&source), Arc::clone(&context))))
        // 6. Read the body. The wire limit is outside the decoder, the decoded limit inside
        //    (both 413): neither a long body nor a small bomb is ever held in memory. One
        //    deadline for the whole body (408), not one per chunk: a byte a second must not hold
        //    a permit. The last two are in `accept`, where the body is awaited. `OwnWords` gives
        //    the refusals of tower-http's two layers our form; `Plain` leads a body past all
        //    three that says it is within the limit and in no encoding, as most are.
        .layer(layer_fn(|encoded| Plain::new(accept.clone(), encoded, max_body)))
        .layer(layer_fn(OwnWords::new))
        .layer(RequestBodyLimitLayer::new(max_body))
        .layer(RequestDecompressionLayer::new())
        .service(accept.clone())
}
