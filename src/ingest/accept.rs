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

use http::{HeaderMap, Request, header::CONTENT_TYPE};
use http_body::Body;
use ipnet::IpNet;
use tokio::{sync::Semaphore, time::Instant};
use tower::Service;

use crate::{
    clock::Clock,
    drain::Drain,
    event::{Envelope, EventId},
    ingest::{
        answer::{self, Answer, Refusal},
        body,
        metrics::IngestMetrics,
        read,
        source::{OnUnreadable, Source},
    },
    provider::auth,
    route::Routes,
    store::{Admission, Receipt, Store, StoredRequest},
};

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
    async fn accept<B>(self, request: Request<B>) -> Result<Receipt, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { source, context } = self;
        let (head, body) = request.into_parts();
        let deadline = Instant::now() + source.settings.body_deadline;
        let body = body::read(body, source.settings.max_body, deadline).await?;
        source.metrics.body_bytes.observe(bytes_f64(body.len()));
        let query = auth::strip_query(&source.settings.auth, head.uri.query().unwrap_or_default());
        let request = StoredRequest {
            method: head.method.as_str().to_owned(),
            query: query.into_owned(),
            content_type: content_type(&head.headers),
            body,
        };
        let received_at = context.clock.now();
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let envelope = Envelope {
            id: EventId::new(received_at, random),
            source: source.settings.name.clone(),
            received_at,
        };
        let on_unreadable = source.settings.on_unreadable;
        let admission = match read::event(&source.settings, &context.routes, request, envelope) {
            Ok(admission) => admission,
            Err(unread) if on_unreadable == OnUnreadable::Quarantine => {
                unread.quarantined(&source.settings)
            }
            Err(_) => return Err(Refusal::Unreadable),
        };
        // The permit lives in the head's extensions: it is held until the commit is known.
        let receipt = context.commit(admission).await;
        drop(head);
        receipt
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
        let code = self.source.settings.ack;
        Box::pin(async move {
            Ok(match this.accept(request).await {
                Ok(receipt) => answer::ack(&receipt, code),
                Err(refusal) => answer::refuse(refusal),
            })
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

fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// For a histogram: exact up to 2⁵³ bytes.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "no body is that long")]
fn bytes_f64(bytes: usize) -> f64 {
    bytes as f64
}
