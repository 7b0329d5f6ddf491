//! Layers 6 to 11 of the stack: from a body's first byte to the ack.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header::CONTENT_TYPE, request::Parts};
use http_body::Body;
use ipnet::IpNet;
use tokio::{sync::Semaphore, time::Instant};
use tower::Service;

use crate::{
    clock::Clock,
    drain::Drain,
    event::{Envelope, EventId, Trace, TraceParent, TraceState},
    ingest::{
        answer::{self, Answer, Refusal},
        body,
        metrics::IngestMetrics,
        read::{self, Understood},
        source::{OnUnreadable, Source},
    },
    provider::{
        self,
        auth::{self, Denied, Head},
    },
    route::Routes,
    store::{Admission, Fate, Receipt, Store, StoredRequest},
};

/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What every request of the relay shares.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) store: Arc<dyn Store>,
    pub(super) routes: Routes,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    pub(super) metrics: IngestMetrics,
    pub(super) permits: Arc<Semaphore>,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) commit_wait: Duration,
}

/// The end of the road.
#[derive(Clone, Debug)]
pub(super) struct Accept {
    source: Arc<Source>,
    context: Arc<Context>,
}

type Answered = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

// === impl Accept ===

impl Accept {
    pub(super) fn new(source: Arc<Source>, context: Arc<Context>) -> Self {
        Self { source, context }
    }

    /// The road's last part in one glance: read, understand, commit.
    async fn accept<B>(self, request: Request<B>) -> Result<Answer, Refused>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { source, context } = self;
        let (head, body) = request.into_parts();
        let deadline = Instant::now() + source.settings.body_deadline;
        let body = body::read(body, source.settings.max_body, deadline).await?;
        source.metrics.body_bytes.observe(bytes_f64(body.len()));
        let mut admission = match source.understand(&context, &head, body) {
            Understood::Event(admission) => *admission,
            Understood::Handshake(handshake) => return Ok(answer::handshake(&handshake)),
            Understood::Unread(unread) => match source.settings.on_unreadable {
                OnUnreadable::Quarantine => unread.quarantined(&source.settings),
                OnUnreadable::Reject => return Err(Refusal::Unreadable.into()),
            },
            Understood::Denied(denied) => return Err(Refused::Denied(denied)),
            Understood::NotTaken => return Err(Refusal::MethodNotAllowed.into()),
        };
        admission.trace = trace(&head.headers);
        let failed_routes = match &admission.fate {
            Fate::Readable { failed_routes, .. } => failed_routes.clone(),
            Fate::Quarantined { .. } => Vec::new(),
        };
        // The permit lives in the head's extensions: it is held until the commit is known.
        let receipt = context.commit(admission).await;
        drop(head);
        let receipt = receipt?;
        if !receipt.is_duplicate() {
            for route in &failed_routes {
                context.metrics.route_failed(route);
            }
        }
        Ok(answer::ack(&receipt, source.settings.ack))
    }
}

/// Why there is no success answer.
#[derive(Clone, Copy, Debug)]
enum Refused {
    Plainly(Refusal),
    Denied(Denied),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Plainly(refusal)
    }
}

impl Source {
    /// Layers 7 to 10 for a request that is here now.
    fn understand(&self, context: &Context, head: &Parts, body: Bytes) -> Understood {
        let (method, query) = (head.method.as_str(), head.uri.query().unwrap_or_default());
        let request = StoredRequest {
            method: method.to_owned(),
            query: provider::strip_query(
                &self.settings.reading,
                &self.settings.auth,
                method,
                query,
            )
            .into_owned(),
            content_type: content_type(&head.headers),
            body,
        };
        let received_at = context.clock.now();
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let envelope = Envelope {
            id: EventId::new(received_at, random),
            source: self.settings.name.clone(),
            received_at,
        };
        // The token of the path has passed, and nothing in the body is checked against it.
        let seen = Head { method, headers: &head.headers, path_token: None, query };
        let taken = self.takes(&head.method);
        read::understand((&self.settings, &context.routes), (&seen, taken), request, envelope)
    }

    fn refuse(&self, refused: Refused) -> Answer {
        match refused {
            Refused::Plainly(Refusal::MethodNotAllowed) => answer::refuse_method(&self.allow),
            Refused::Plainly(refusal) => answer::refuse(refusal),
            Refused::Denied(denied) => {
                answer::refuse_denied(denied, auth::offers_basic(&self.settings.auth))
            }
        }
    }
}

impl<B> Service<Request<B>> for Accept
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        let source = Arc::clone(&self.source);
        Box::pin(async move {
            Ok(this.accept(request).await.unwrap_or_else(|refused| source.refuse(refused)))
        })
    }
}

// === impl Context ===

impl Context {
    /// Waits for the commit, at most `commit_wait`. After that the event may still be stored:
    /// its repeat is then a duplicate.
    async fn commit(&self, admission: Admission) -> Result<Receipt, Refusal> {
        match tokio::time::timeout(self.commit_wait, self.store.commit(admission)).await {
            Ok(Ok(receipt)) => Ok(receipt),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a commit failed");
                Err(Refusal::from(&error))
            }
            Err(_) => Err(Refusal::StoreSlow),
        }
    }
}

/// The trace the sender says this belongs to. Two that differ say nothing.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    let (Some(one), None) = (said.next(), said.next()) else { return None };
    let parent = TraceParent::parse(one.to_str().ok()?)?;
    let state: Result<Vec<&str>, _> =
        headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str).collect();
    Some(Trace { parent, state: state.ok().and_then(TraceState::parse) })
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// For a histogram: exact up to 2⁵³ bytes.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "no body is that long")]
fn bytes_f64(bytes: usize) -> f64 {
    bytes as f64
}
