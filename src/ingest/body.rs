//! Reading a body within its limits, and what happens to a body nobody reads.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{drain::Drain, ingest::answer::Refusal};

/// The body of a request. When it is dropped before its end, because the request was refused,
/// a part of the rest is read and thrown away: closing a socket that has unread bytes resets
/// the connection, and the sender would see the reset instead of the answer.
#[derive(Debug)]
pub(super) struct Lingering {
    incoming: Option<Incoming>,
    drain: Drain,
    /// The sender waits for `100 Continue`, which is sent when the body is first asked for. It
    /// has sent nothing yet, so there is nothing to throw away.
    waits_for_continue: bool,
}

/// Reads the whole body: at most `limit` decoded bytes, all of them before `deadline`.
pub(super) async fn read<B>(body: B, limit: usize, deadline: Instant) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let whole = Limited::new(body, limit).collect();
    match tokio::time::timeout_at(deadline, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(refusal(error.as_ref())),
        Err(_) => Err(Refusal::BodyDeadline),
    }
}

// === impl Lingering ===

impl Lingering {
    pub(super) fn new(incoming: Incoming, drain: Drain, waits_for_continue: bool) -> Self {
        Self { incoming: Some(incoming), drain, waits_for_continue }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
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
            self.drain.spawn("linger", throw_away(rest));
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

/// What a failed read means. Each layer around the body wraps the error of the one inside it.
fn refusal(error: &(dyn Error + 'static)) -> Refusal {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Refusal::TooLarge;
        }
        if error.is::<hyper::Error>() {
            return Refusal::BodyBroken;
        }
        // An `io::Error` names the source of what it wraps, and not what it wraps.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    // Neither too long nor broken off: the decoder did not recognise what it was given.
    Refusal::UnsupportedEncoding
}

/// How much of a refused body is read: most senders have sent all of theirs by then.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a refused body is read.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
