//! Layers 1 to 3 of the stack: count, time and log every answer; find the source.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use futures_util::future::{Either, Ready, ready as at_once};
use http::{Request, Response, header::EXPECT};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use crate::ingest::{
    accept::Context,
    admit::PathToken,
    answer::{self, Answer, Outcome, Refusal},
    body::Lingering,
    source::{Directory, Source},
};
use crate::listen::Peer;

/// Layer 1.
#[derive(Clone, Debug)]
pub(super) struct Observe<S> {
    inner: S,
    context: Arc<Context>,
}

/// Layer 3: leads a request to the road of its source, an `R`.
#[derive(Debug)]
pub(super) struct Find<R> {
    directory: Arc<Directory<(Arc<Source>, R)>>,
}

/// Whose callback an answer belongs to. An extension of answers.
#[derive(Clone, Debug)]
struct Whose(Arc<Source>);

pin_project! {
    /// An answer on its way out, which is counted, timed and logged when it is there.
    pub(super) struct Observed<F> {
        #[pin]
        answer: F,
        context: Arc<Context>,
        peer: Option<Peer>,
        has_body: bool,
        began: Instant,
    }
}

pin_project! {
    /// An answer that learns whose it is.
    pub(super) struct Named<F> {
        #[pin]
        answer: F,
        source: Option<Arc<Source>>,
    }
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
{
    type Response = Response<A>;
    type Error = Infallible;
    type Future = Observed<S::Future>;

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
            request.map(|body| Lingering::new(body, Arc::clone(&context), waits_for_continue));
        Observed { answer: self.inner.call(request), context, peer, has_body, began }
    }
}

impl<F, A> Future for Observed<F>
where
    F: Future<Output = Result<Response<A>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx))?;
        if !answer.status().is_success() && *this.has_body {
            // The rest of the body is not read to its end, so no second request can follow.
            answer::close_after(&mut answer);
        }
        observed(this.context, &answer, *this.peer, *this.began);
        Poll::Ready(Ok(answer))
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

impl<R> Find<R> {
    pub(super) fn new(directory: Arc<Directory<(Arc<Source>, R)>>) -> Self {
        Self { directory }
    }
}

impl<R> Clone for Find<R> {
    fn clone(&self) -> Self {
        Self { directory: Arc::clone(&self.directory) }
    }
}

impl<R> Service<Request<Lingering>> for Find<R>
where
    R: Service<Request<Lingering>, Response = Answer, Error = Infallible> + Clone,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<Ready<Result<Answer, Infallible>>, Named<R::Future>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // The roads behind the paths shed instead of making a request wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Lingering>) -> Self::Future {
        let Some(((source, road), token)) = self.directory.find(request.uri().path()) else {
            return Either::Left(at_once(Ok(answer::refuse(Refusal::UnknownPath))));
        };
        let source = Arc::clone(source);
        // A probe is asked for its credentials first, like any other request.
        if !source.takes(request.method()) && !source.may_probe(request.method()) {
            let mut answer = answer::refuse_method(&source.allow);
            answer.extensions_mut().insert(Whose(source));
            return Either::Left(at_once(Ok(answer)));
        }
        if let Some(length) = token {
            request.extensions_mut().insert(PathToken(length));
        }
        let answer = road.clone().call(request);
        Either::Right(Named { answer, source: Some(source) })
    }
}

impl<F> Future for Named<F>
where
    F: Future<Output = Result<Answer, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx))?;
        if let Some(source) = this.source.take() {
            answer.extensions_mut().insert(Whose(source));
        }
        Poll::Ready(Ok(answer))
    }
}
