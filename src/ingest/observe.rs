//! Layers 1 to 3 of the stack: count, time and log every answer; catch a panic; find the source.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::{CatchUnwind, Either, FutureExt as _, Map};
use http::Response;
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use crate::{
    ingest::{
        accept::Context,
        answer::{self, Answer, Refusal, Through},
        source::Source,
        visit::{Arrival, Visit},
    },
    listen::Peer,
};

/// Layer 1.
#[derive(Clone, Debug)]
pub(super) struct Observe<S>(S);

/// Layer 2.
#[derive(Clone, Debug)]
pub(super) struct Caught<S>(S);

/// Layer 3.
#[derive(Clone, Debug)]
pub(super) struct Find<S>(S);

pin_project! {
    /// An answer on its way out, which is counted, timed and logged when it is there.
    pub(super) struct Observed<F> {
        #[pin]
        answer: F,
        context: Arc<Context>,
        peer: Peer,
        has_body: bool,
        began: Instant,
    }
}

pin_project! {
    /// An answer that learns whose it is, also the one in place of a panic behind here: so that
    /// it is counted where an operator looks for the source.
    pub(super) struct Named<F> {
        #[pin]
        answer: Survived<F>,
        source: Option<Arc<Source>>,
    }
}

type Answered = Result<Answer, Infallible>;

/// The answer of a future, or what stands in place of it when it panicked.
type Survived<F> = Map<CatchUnwind<AssertUnwindSafe<F>>, fn(Survival) -> Answered>;

type Survival = Result<Answered, Box<dyn Any + Send>>;

// === impl Observe ===

impl<S> Observe<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S> Service<Arrival> for Observe<S>
where
    S: Service<Arrival, Response = Answer, Error = Infallible>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let has_body = !arrival.request.body().is_end_stream();
        let (context, peer, began) = (Arc::clone(&arrival.context), arrival.peer, arrival.began);
        Observed { answer: self.0.call(arrival), context, peer, has_body, began }
    }
}

impl<F> Future for Observed<F>
where
    F: Future<Output = Answered>,
{
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx))?;
        if !answer.response.status().is_success() && *this.has_body {
            // The rest of the body is not read to its end, so no second request can follow.
            answer.close_after();
        }
        observed(this.context, &answer, *this.peer, *this.began);
        Poll::Ready(Ok(answer.response))
    }
}

/// Counts, times and logs one answer.
fn observed(context: &Context, answer: &Answer, peer: Peer, began: Instant) {
    let status = answer.response.status();
    let (code, outcome) = (status.as_u16(), answer.outcome);
    let took = began.elapsed();
    if let Some(source) = &answer.whose {
        source.metrics.answered(code, outcome);
        source.metrics.duration.observe(took.as_secs_f64());
    } else {
        context.metrics.nobodys(code, outcome);
    }
    let source = answer.whose.as_ref().map(|source| source.settings.name.as_str());
    if status.is_success() {
        tracing::debug!(source, code, reason = outcome.0, "acked a callback");
    } else {
        let peer = tracing::field::display(peer.0.ip());
        tracing::info!(source, code, reason = outcome.0, peer, "refused a callback");
    }
}

// === impl Caught ===

impl<S> Caught<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S> Service<Arrival> for Caught<S>
where
    S: Service<Arrival, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Through<Survived<S::Future>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        match catch_unwind(AssertUnwindSafe(|| self.0.call(arrival))) {
            Ok(answer) => Either::Right(caught(answer)),
            Err(_) => answer::at_once(answer::refuse(Refusal::Panicked)),
        }
    }
}

fn caught<F: Future<Output = Answered>>(answer: F) -> Survived<F> {
    AssertUnwindSafe(answer).catch_unwind().map(survived)
}

fn survived(survival: Survival) -> Answered {
    survival.unwrap_or_else(|_panic| Ok(answer::refuse(Refusal::Panicked)))
}

// === impl Find ===

impl<S> Find<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S> Service<Arrival> for Find<S>
where
    S: Service<Visit, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Through<Named<S::Future>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let Some((source, token)) = arrival.context.sources.find(arrival.request.uri().path())
        else {
            return answer::at_once(answer::refuse(Refusal::UnknownPath));
        };
        let source = Arc::clone(source);
        let method = arrival.request.method();
        // A probe is asked for its credentials first, like any other request.
        if !source.takes(method) && !source.may_probe(method) {
            let answer = answer::refuse_method(&source.allow);
            return answer::at_once(answer.of(source));
        }
        let answer = caught(self.0.call(arrival.at(Arc::clone(&source), token)));
        Either::Right(Named { answer, source: Some(source) })
    }
}

impl<F> Future for Named<F>
where
    F: Future<Output = Answered>,
{
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Answered> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx))?;
        answer.whose = this.source.take();
        Poll::Ready(Ok(answer))
    }
}
