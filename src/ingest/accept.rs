//! Layers 6 to 11 of the stack: from a body's first byte to the ack.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE, request::Parts,
};
use http_body::Body;
use http_body_util::Full;
use ipnet::IpNet;
use tower::Service;

use crate::{
    clock::Clock,
    drain::Drain,
    event::{Envelope, EventId, Trace, TraceParent, TraceState},
    ingest::{
        admit::Room,
        answer::{self, Answer, Refusal},
        body,
        metrics::IngestMetrics,
        read::{self, Understood},
        source::{Directory, OnUnreadable, Source},
        unpack::Packing,
        visit::{Party, Visit},
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

/// What every request of the relay shares, until a reload.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) sources: Directory,
    pub(super) store: Arc<dyn Store>,
    pub(super) routes: Routes,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    pub(super) metrics: IngestMetrics,
    pub(super) room: Arc<Room>,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) commit_wait: Duration,
}

/// The end of the road.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accept;

/// The end of the road behind tower-http's layer, which knows requests and responses only.
#[derive(Debug)]
pub(super) struct Measured(Option<Party>);

type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;

/// The road's last part in one glance: read, understand, commit.
async fn accept<B>(party: &Party, head: &mut Parts, body: B) -> Result<Answer, Refused>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Party { source, context, began, .. } = party;
    let deadline = *began + source.settings.body_deadline;
    let packing = Packing::of(&head.headers)?;
    let packed = body::read(body, source.settings.max_body, deadline).await?;
    let body = packing.unpack(packed, source.settings.max_body)?;
    source.metrics.body_bytes.observe(bytes_f64(body.len()));
    let mut admission = match source.understand(context, head, body) {
        Understood::Event(admission) => admission,
        Understood::Handshake(handshake) => return Ok(answer::handshake(&handshake)),
        Understood::Unread(unread) => match source.settings.on_unreadable {
            OnUnreadable::Quarantine => Box::new(unread.quarantined(&source.settings)),
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
    let receipt = context.commit(*admission).await?;
    if !receipt.is_duplicate() {
        for route in &failed_routes {
            context.metrics.route_failed(route);
        }
    }
    Ok(answer::ack(&receipt, source.settings.ack, mem::take(&mut head.headers)))
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

// === impl Accept ===

impl<B> Service<Visit<B>> for Accept
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Answered<Answer>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Visit { request, party }: Visit<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        Box::pin(async move {
            let answer = accept(&party, &mut head, body).await;
            Ok(answer.unwrap_or_else(|refused| party.source.refuse(refused)))
        })
    }
}

// === impl Measured ===

impl Measured {
    pub(super) fn new(party: Party) -> Self {
        Self(Some(party))
    }
}

impl<B> Service<Request<B>> for Measured
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answered<Response<Full<Bytes>>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let party = self.0.take();
        Box::pin(async move {
            let answer = match party {
                Some(party) => Accept.call(Visit { request, party }).await?,
                // It is made for one request.
                None => answer::refuse(Refusal::Panicked),
            };
            Ok(answer.into_response())
        })
    }
}

// === impl Context ===

impl Context {
    /// Waits for the commit, at most `commit_wait`. After that the event may still be stored:
    /// its repeat is then a duplicate.
    fn commit(
        &self,
        admission: Admission,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send + '_ {
        let committing = tokio::time::timeout(self.commit_wait, self.store.commit(admission));
        async {
            match committing.await {
                Ok(Ok(receipt)) => Ok(receipt),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a commit failed");
                    Err(Refusal::from(&error))
                }
                Err(_) => Err(Refusal::StoreSlow),
            }
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
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    let text = str::from_utf8(value).map(str::to_owned);
    Some(text.unwrap_or_else(|_| String::from_utf8_lossy(value).into_owned()))
}

/// For a histogram: exact up to 2⁵³ bytes.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "no body is that long")]
fn bytes_f64(bytes: usize) -> f64 {
    bytes as f64
}
