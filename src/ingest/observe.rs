//! Layers 1 to 3 of the stack: count, time and log every answer; find the source.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use futures_util::future::{Either, Ready, ready};
use http::{Request, Response, header::EXPECT};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::{BoxError, Service};

use crate::ingest::{
    accept::Context,
    admit::{PathToken, Peer},
    answer::{self, Outcome, Refusal},
    body::Lingering,
    source::{Directory, Source},
    stack::{AnswerBody, SourceRoad},
};

/// Layer 1.
#[derive(Clone, Debug)]
pub(super) struct Observe<S> {
    inner: S,
    context: Arc<Context>,
}

/// Layer 3: leads a request to the road of its source.
#[derive(Clone, Debug)]
pub(super) struct Find {
    directory: Arc<Directory<(Arc<Source>, SourceRoad)>>,
}

/// Gives the refusals of tower-http's layers our words and our form.
#[derive(Clone, Debug)]
pub(super) struct OwnWords<S>(S);

/// Whose callback an answer belongs to. An extension of answers.
#[derive(Clone, Debug)]
struct Whose(Arc<Source>);

type Answered = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

/// The body of an answer in the form that all layers share.
pub(super) fn boxed<B>(body: B) -> AnswerBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    AnswerBody::new(body.map_err(Into::into))
}

// === impl Observe ===

impl<S> Observe<S> {
    pub(super) fn new(inner: S, context: Arc<Context>) -> Self {
        Self { inner, context }
    }
}

impl<S, A> Service<Request<Incoming>> for Observe<S>
where
    S: Service<Request<Lingering>, Response = Response<A>, Error = Infallible>,
    S::Future: Send + 'static,
    A: Body<Data = Bytes> + Send + 'static,
    A::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let began = Instant::now();
        let context = Arc::clone(&self.context);
        let peer = request.extensions().get::<Peer>().copied();
        let has_body = !request.body().is_end_stream();
        let waits_for_continue = request.headers().contains_key(EXPECT);
        let request =
            request.map(|body| Lingering::new(body, context.drain.clone(), waits_for_continue));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?.map(boxed);
            let code = answer.status();
            if !code.is_success() && has_body {
                // The rest of the body is not read to its end, so no second request can follow.
                answer::close_after(&mut answer);
            }
            observed(&context, &answer, peer, began);
            Ok(answer)
        })
    }
}

/// Counts, times and logs one answer.
fn observed<B>(context: &Context, answer: &Response<B>, peer: Option<Peer>, began: Instant) {
    let code = answer.status().as_u16();
    let outcome = answer.extensions().get::<Outcome>().copied();
    let outcome = outcome.unwrap_or(Outcome(Refusal::Panicked.reason()));
    let took = began.elapsed();
    let source = answer.extensions().get::<Whose>().map(|Whose(source)| source.as_ref());
    if let Some(source) = source {
        source.metrics.answered(code, outcome);
        source.metrics.duration.observe(took.as_secs_f64());
    } else {
        context.metrics.nobodys(code, outcome);
    }
    let source = source.map(|source| source.settings.name.as_str());
    if answer.status().is_success() {
        tracing::debug!(source, code, reason = outcome.0, "acked a callback");
    } else {
        let peer = peer.map(|peer| tracing::field::display(peer.0.ip()));
        tracing::info!(source, code, reason = outcome.0, peer, "refused a callback");
    }
}

// === impl Find ===

impl Find {
    pub(super) fn new(directory: Arc<Directory<(Arc<Source>, SourceRoad)>>) -> Self {
        Self { directory }
    }
}

impl Service<Request<Lingering>> for Find {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<AnswerBody>, Infallible>>, Answered>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // The roads behind the paths shed instead of making a request wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Lingering>) -> Self::Future {
        let Some(((source, road), token)) = self.directory.find(request.uri().path()) else {
            return Either::Left(ready(Ok(answer::refuse(Refusal::UnknownPath).map(boxed))));
        };
        let source = Arc::clone(source);
        // A probe is asked for its credentials first, like any other request.
        if !source.takes(request.method()) && !source.may_probe(request.method()) {
            let mut answer = answer::refuse_method(&source.allow).map(boxed);
            answer.extensions_mut().insert(Whose(source));
            return Either::Left(ready(Ok(answer)));
        }
        if let Some(length) = token {
            request.extensions_mut().insert(PathToken(length));
        }
        let answer = road.clone().call(request);
        Either::Right(Box::pin(async move {
            let mut answer = answer.await?;
            answer.extensions_mut().insert(Whose(source));
            Ok(answer)
        }))
    }
}

// === impl OwnWords ===

impl<S> OwnWords<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S, B, A> Service<Request<B>> for OwnWords<S>
where
    S: Service<Request<B>, Response = Response<A>, Error = Infallible>,
    S::Future: Send + 'static,
    A: Body<Data = Bytes> + Send + 'static,
    A::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(match answer::in_our_words(&answer) {
                None => answer.map(boxed),
                Some(ours) => ours.map(boxed),
            })
        })
    }
}
