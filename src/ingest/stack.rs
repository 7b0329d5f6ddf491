//! The tower stack: the road from a request to its ack, one numbered list.
//!
//! The layers hold nothing: what they go by comes with the request, see `visit`. So one road serves
//! every source, and a request takes a copy of it for nothing.

use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tower::{Service, ServiceBuilder, ServiceExt as _, layer::layer_fn};
use tower_http::limit::RequestBodyLimitLayer;

use crate::ingest::{
    accept::{Accept, Measured},
    admit::{Credentials, Permits},
    answer::{self, Answer},
    body::Plain,
    observe::{Caught, Find, Observe},
    visit::{Arrival, Visit},
};

/// A whole road, from a request to its answer.
pub(super) trait Road:
    Service<Arrival, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Road for S where
    S: Service<
            Arrival,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// The whole road. Outermost first; each layer with the reason for its place. The layers are known
/// by their types, not boxed: one callback allocates for its own sake only.
pub(super) fn road() -> impl Road {
    ServiceBuilder::new()
        // 1. Observe. Outermost, so that whatever is answered is counted, timed and logged once;
        //    it also makes sure that a sender sees its refusal instead of a reset.
        .layer(layer_fn(Observe::new))
        // 2. Catch a panic. Outside everything that reads what a sender sent: a bug of ours
        //    costs one callback a 500 (which is no ack) and never the connection or the process.
        .layer(layer_fn(Caught::new))
        // 3. Find the source: 404, 405. Before anything is read, since limits, credentials and
        //    deadlines are the source's own.
        .layer(layer_fn(Find::new))
        // 4. Address and credentials that need no body: 403, 401. Before a body byte is read and
        //    before a permit is taken, so that a stranger costs nothing.
        .layer(layer_fn(Credentials::new))
        // 5. A permit: 503. Of the relay's permits one source may hold half: a flood of one
        //    provider leaves room for the others. Shed rather than queue: senders try again.
        .layer(layer_fn(Permits::new))
        // 6. Read the body. The wire limit comes before unpacking, the limit of what is unpacked
        //    behind it (both 413): neither a long body nor a small bomb is ever held in memory. One
        //    deadline for the whole body (408), not one per chunk: a byte a second must not hold
        //    a permit. The last two are in `accept`, where the body is awaited. `Plain` leads a
        //    body past the first that says it is within the limit, as most do.
        .layer(layer_fn(Plain::new))
        // 7. Parse once · 8. body credentials · 9. handshake · 10. normalise and route
        // 11. commit, then ack: see `accept`.
        .service(Accept)
}

/// Layer 6 for a body that has to be measured. tower-http's layer speaks of the
/// source's own limit, and its refusal is given our words and our form.
pub(super) async fn measuring(Visit { request, party }: Visit) -> Result<Answer, Infallible> {
    let answer = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(party.source.settings.max_body))
        .service(Measured::new(party))
        .oneshot(request)
        .await?;
    let (head, body) = answer.into_parts();
    Ok(answer::in_our_words(head, body).await)
}
