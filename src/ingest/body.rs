//! Reading a body within its limits, and what happens to a body nobody reads.

use std::{
    convert::Infallible,
    error::Error,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::{Either, FutureExt as _};
use http::{Request, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service;

use crate::ingest::{
    accept::Context,
    answer::{Answer, Refusal},
    stack,
    visit::Visit,
};

/// The body of a request. When it is dropped before its end, because the request was refused,
/// a part of the rest is read and thrown away: closing a socket that has unread bytes resets
/// the connection, and the sender would see the reset instead of the answer.
#[derive(Debug)]
pub(super) struct Lingering {
    incoming: Option<Incoming>,
    /// Whose drain runs what is left to do.
    context: Arc<Context>,
    /// The sender waits for `100 Continue`, which is sent when the body is first asked for. It
    /// has sent nothing yet, so there is nothing to throw away.
    waits_for_continue: bool,
}

/// A part of layer 6: leads a body past the layer that would only hand it on.
#[derive(Clone, Debug)]
pub(super) struct Plain<S>(S);

type Measuring = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// Reads the whole body: at most `limit` bytes, all of them before `deadline`.
pub(super) async fn read<B>(body: B, limit: usize, deadline: Instant) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut whole = pin!(whole(Limited::new(body, limit)));
    // Most bodies are there with their heads: then no timer is made.
    let read = match whole.as_mut().now_or_never() {
        Some(whole) => Ok(whole),
        None => tokio::time::timeout_at(deadline, whole).await,
    };
    match read {
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(error)) => Err(refusal(error.as_ref())),
        Err(_) => Err(Refusal::BodyDeadline),
    }
}

/// The bytes of a body. Those of one frame, as most are, stay where they are.
async fn whole<B: Body>(body: B) -> Result<Bytes, B::Error> {
    let mut body = pin!(body);
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let data = data.copy_to_bytes(data.remaining());
        if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

// === impl Lingering ===

impl Lingering {
    /// The same request, with such a body.
    pub(super) fn around(request: Request<Incoming>, context: &Arc<Context>) -> Request<Self> {
        let waits_for_continue = request.headers().contains_key(EXPECT);
        let context = Arc::clone(context);
        request.map(|body| Self { incoming: Some(body), context, waits_for_continue })
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits_for_continue = false;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(incoming).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.incoming = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(rest) = self.incoming.take()
            && !rest.is_end_stream()
            && !self.waits_for_continue
        {
            self.context.drain.spawn("linger", throw_away(rest));
        }
    }
}

// === impl Plain ===

impl<S> Plain<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

fn is_plain(Visit { request, party }: &Visit) -> bool {
    let max_body = u64::try_from(party.source.settings.max_body).unwrap_or(u64::MAX);
    request.body().size_hint().upper().is_some_and(|bytes| bytes <= max_body)
}

impl<S> Service<Visit> for Plain<S>
where
    S: Service<Visit, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<S::Future, Measuring>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, visit: Visit) -> Self::Future {
        if is_plain(&visit) {
            Either::Left(self.0.call(visit))
        } else {
            Either::Right(Box::pin(stack::measuring(visit)))
        }
    }
}

async fn throw_away(mut rest: Incoming) {
    let reading = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(frame)) = rest.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            let Some(still_left) = left.checked_sub(read) else { return };
            left = still_left;
        }
    };
    // Whichever ends first: the body, the bytes or the time.
    tokio::time::timeout(LINGER_TIME_MAX, reading).await.unwrap_or_default();
}

/// What a failed read means.
fn refusal(error: &(dyn Error + 'static)) -> Refusal {
    let mut causes = std::iter::successors(Some(error), |cause| (*cause).source());
    if causes.any(<dyn Error>::is::<LengthLimitError>) {
        Refusal::TooLarge
    } else {
        Refusal::BodyBroken
    }
}

/// How much of a refused body is read: most senders have sent all of theirs by then.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a refused body is read.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
