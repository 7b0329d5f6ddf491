//! The only place where an answer to a callback gets its status code.
//!
//! A success is made from a [`Receipt`], or from the [`Handshake`] of a provider, and from nothing
//! else. Everything else is a [`Refusal`], whose code is never a success; its body is `application/problem+json` (RFC 9457) and says
//! nothing of a secret or of the relay's insides.

use std::{convert::Infallible, fmt::Write as _, sync::Arc};

use bytes::Bytes;
use futures_util::future::{Either, Ready, ready};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    response,
};
use http_body::Body;
use http_body_util::{BodyExt as _, Collected, Full};

use crate::{
    ingest::source::Source,
    provider::{Handshake, auth::Denied},
    store::{Receipt, StoreError},
};

/// What a sender is told, and what is counted of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Full<Bytes>>,
    pub(super) outcome: Outcome,
    /// Whose callback it answers, once that is known.
    pub(super) whose: Option<Arc<Source>>,
}

/// How a callback ended, as the `reason` label says it: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome(pub(super) &'static str);

/// Why a callback is not acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No source has this path.
    UnknownPath,
    /// The source does not take this method.
    MethodNotAllowed,
    /// The sender's address is not in `allow_from`.
    AddressDenied,
    /// A credential is not there.
    CredentialsMissing,
    /// A credential is not ours.
    CredentialsWrong,
    /// A credential is there twice.
    CredentialsDoubled,
    /// A signature was made too long ago, or too far in the future.
    SignatureStale,
    /// The value that a signature signs cannot be found in the body.
    SignedValueMissing,
    /// Every permit is taken.
    Overloaded,
    /// This source holds its half of the permits.
    SourceOverloaded,
    /// The body is over the source's limit.
    TooLarge,
    /// The content encoding is not known, or the body is not in it.
    UnsupportedEncoding,
    /// The whole body was not there in time.
    BodyDeadline,
    /// The connection broke before the body was whole.
    BodyBroken,
    /// Authentic, but unreadable, at a source that refuses such bodies.
    Unreadable,
    /// The commit took longer than `commit_wait`.
    StoreSlow,
    /// The queue before the store is full.
    StoreOverloaded,
    /// The store failed.
    StoreFailed,
    /// The disk has less free space than `min_free`.
    DiskReserve,
    /// The relay is stopping.
    ShuttingDown,
    /// A bug of ours.
    Panicked,
}

/// Acks a callback. There is no way here without the proof that its event is on disk. `used` are
/// the headers of the callback, which are not wanted any more: the ack's are put in their place, and
/// the next request's after them, without asking for memory.
pub(super) fn ack(receipt: &Receipt, code: StatusCode, mut used: HeaderMap) -> Answer {
    let outcome = if receipt.is_duplicate() {
        DUPLICATE
    } else if receipt.is_quarantined() {
        QUARANTINED
    } else {
        ACCEPTED
    };
    let mut body = String::with_capacity(ACK_BYTES);
    // Writing to a string cannot fail.
    write!(body, r#"{{"id":"{}"}}"#, receipt.id()).unwrap_or_default();
    used.clear();
    answer(code, outcome, "application/json", body, used)
}

/// Answers a challenge or a probe, which holds no result: the only success without a receipt.
pub(super) fn handshake(handshake: &Handshake) -> Answer {
    let body = Bytes::copy_from_slice(handshake.body());
    answer(StatusCode::OK, HANDSHAKE, handshake.content_type(), body, HeaderMap::new())
}

/// The way of a layer: to answer at once, or as what is behind it does.
pub(super) type Through<F> = Either<Ready<Result<Answer, Infallible>>, F>;

/// Answers without asking what is behind.
pub(super) fn at_once<F>(answer: Answer) -> Through<F> {
    Either::Left(ready(Ok(answer)))
}

/// Refuses a callback.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    let (code, detail) = refusal.spoken();
    let title = code.canonical_reason().unwrap_or_default();
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}"}}"#,
        code.as_u16()
    );
    let mut answer =
        answer(code, Outcome(refusal.reason()), "application/problem+json", body, HeaderMap::new());
    if code == StatusCode::SERVICE_UNAVAILABLE {
        answer
            .response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    answer
}

/// Refuses a callback whose method the source does not take, and says which it does.
pub(super) fn refuse_method(allow: &HeaderValue) -> Answer {
    let mut answer = refuse(Refusal::MethodNotAllowed);
    answer.response.headers_mut().insert(ALLOW, allow.clone());
    answer
}

/// Refuses a callback that is not authentic; `offers_basic` where Basic may follow.
pub(super) fn refuse_denied(denied: Denied, offers_basic: bool) -> Answer {
    let mut answer = refuse(match denied {
        Denied::Missing => Refusal::CredentialsMissing,
        Denied::Wrong => Refusal::CredentialsWrong,
        Denied::Doubled => Refusal::CredentialsDoubled,
        Denied::Stale => Refusal::SignatureStale,
        Denied::SignedValueMissing => Refusal::SignedValueMissing,
    });
    let challenge = if offers_basic { BASIC_CHALLENGE } else { OTHER_CHALLENGE };
    answer.response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

/// An answer that came through tower-http's layer: ours as it was, or what stands in place of
/// its own.
pub(super) async fn in_our_words<A: Body<Data = Bytes>>(head: response::Parts, body: A) -> Answer {
    if let Some(outcome) = head.extensions.get::<Outcome>().copied() {
        // Ours are whole from the start.
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let response = Response::from_parts(head, Full::new(body));
        return Answer { response, outcome, whose: None };
    }
    refuse(match head.status {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Panicked,
    })
}

/// Stored, and new.
pub(super) const ACCEPTED: Outcome = Outcome("accepted");
/// Stored before.
pub(super) const DUPLICATE: Outcome = Outcome("duplicate");
/// Stored, and waiting for a person.
pub(super) const QUARANTINED: Outcome = Outcome("quarantined");
/// A provider's challenge or probe, answered.
pub(super) const HANDSHAKE: Outcome = Outcome("handshake");

// === impl Answer ===

impl Answer {
    /// Says that the connection ends with this answer: the rest of the body is not waited for.
    pub(super) fn close_after(&mut self) {
        self.response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }

    /// The same, as the answer to a callback of `source`.
    pub(super) fn of(self, source: Arc<Source>) -> Self {
        Self { whose: Some(source), ..self }
    }

    /// As it goes through tower-http's layer: see [`in_our_words`].
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let Self { mut response, outcome, .. } = self;
        response.extensions_mut().insert(outcome);
        response
    }
}

// === impl Refusal ===

impl Refusal {
    /// Every refusal, for the series that exist from the start.
    pub(super) const ALL: &'static [Self] = &[
        Self::UnknownPath,
        Self::MethodNotAllowed,
        Self::AddressDenied,
        Self::CredentialsMissing,
        Self::CredentialsWrong,
        Self::CredentialsDoubled,
        Self::SignatureStale,
        Self::SignedValueMissing,
        Self::Overloaded,
        Self::SourceOverloaded,
        Self::TooLarge,
        Self::UnsupportedEncoding,
        Self::BodyDeadline,
        Self::BodyBroken,
        Self::Unreadable,
        Self::StoreSlow,
        Self::StoreOverloaded,
        Self::StoreFailed,
        Self::DiskReserve,
        Self::ShuttingDown,
        Self::Panicked,
    ];

    /// The word for the log and the counter.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown_path",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::AddressDenied => "address_denied",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsWrong => "credentials_wrong",
            Self::CredentialsDoubled => "credentials_doubled",
            Self::SignatureStale => "signature_stale",
            Self::SignedValueMissing => "signed_value_missing",
            Self::Overloaded => "overloaded",
            Self::SourceOverloaded => "source_overloaded",
            Self::TooLarge => "too_large",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::BodyDeadline => "body_deadline",
            Self::BodyBroken => "body_broken",
            Self::Unreadable => "unreadable",
            Self::StoreSlow => "store_slow",
            Self::StoreOverloaded => "store_overloaded",
            Self::StoreFailed => "store_failed",
            Self::DiskReserve => "disk_reserve",
            Self::ShuttingDown => "shutting_down",
            Self::Panicked => "panicked",
        }
    }

    /// The code and the sentence a sender gets. The ways of failing to authenticate sound
    /// alike: which of them it was is for the operator's log.
    pub(super) const fn spoken(self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownPath => (StatusCode::NOT_FOUND, "no source listens at this path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "this source does not take this method")
            }
            Self::AddressDenied => (StatusCode::FORBIDDEN, "this address may not send here"),
            Self::CredentialsMissing
            | Self::CredentialsWrong
            | Self::CredentialsDoubled
            | Self::SignatureStale
            | Self::SignedValueMissing => {
                (StatusCode::UNAUTHORIZED, "the credentials of this source are required, once")
            }
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the body is over the limit of this source")
            }
            Self::UnsupportedEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body plain, gzip or deflate")
            }
            Self::BodyDeadline => {
                (StatusCode::REQUEST_TIMEOUT, "the whole body did not arrive in time")
            }
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "the body ended before it was whole"),
            Self::Unreadable => {
                (StatusCode::UNPROCESSABLE_ENTITY, "the body is not a callback of this provider")
            }
            Self::Overloaded | Self::SourceOverloaded | Self::StoreOverloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, "the relay is overloaded; send again later")
            }
            Self::StoreSlow | Self::StoreFailed | Self::DiskReserve => {
                (StatusCode::SERVICE_UNAVAILABLE, "the event could not be stored; send again later")
            }
            Self::ShuttingDown => {
                (StatusCode::SERVICE_UNAVAILABLE, "the relay is restarting; send again later")
            }
            Self::Panicked => {
                (StatusCode::INTERNAL_SERVER_ERROR, "the relay failed; the event was not stored")
            }
        }
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::DiskReserve => Self::DiskReserve,
            StoreError::Overloaded => Self::StoreOverloaded,
            StoreError::Closed => Self::ShuttingDown,
            StoreError::Io(_) | StoreError::Unstorable(_) | StoreError::ReadOnly => {
                Self::StoreFailed
            }
        }
    }
}

fn answer(
    code: StatusCode,
    outcome: Outcome,
    content_type: &'static str,
    body: impl Into<Bytes>,
    headers: HeaderMap,
) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Answer { response, outcome, whose: None }
}

/// Bytes of the body of an ack.
const ACK_BYTES: usize = br#"{"id":"00000000-0000-7000-8000-000000000000"}"#.len();

/// Seconds after which a sender may try again; long enough for a restart.
const RETRY_AFTER_SECONDS: &str = "5";
const BASIC_CHALLENGE: &str = r#"Basic realm="hookswitch", charset="UTF-8""#;
/// RFC 9110 wants a challenge in every 401; the scheme is the source's own.
const OTHER_CHALLENGE: &str = r#"Hookswitch realm="hookswitch""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_is_a_success_or_a_redirect_or_429() {
        for refusal in Refusal::ALL {
            let (code, _) = refusal.spoken();
            assert!(code.as_u16() >= 400 && code != StatusCode::TOO_MANY_REQUESTS, "{refusal:?}");
        }
    }

    #[test]
    fn the_chapters_of_the_alerts_on_refusals_have_each_reason_that_raises_them() {
        let guide = include_str!("../docs/operating.md");
        for (alert, codes) in [("CallbacksRefused", 500..=599), ("CallbacksUnfit", 413..=422)] {
            let chapter = guide.split(&format!("### {alert}")).nth(1).unwrap();
            let chapter = chapter.split("\n### ").next().unwrap();
            for refusal in Refusal::ALL {
                let raises = codes.contains(&refusal.spoken().0.as_u16());
                let explained = chapter.contains(&format!("`{}`", refusal.reason()));
                assert_eq!(explained, raises, "{alert} {refusal:?}");
            }
        }
    }

    #[test]
    fn every_503_says_when_to_send_again() {
        for refusal in Refusal::ALL {
            let answer = refuse(*refusal);
            let says = answer.response.headers().contains_key(RETRY_AFTER);
            assert_eq!(
                says,
                answer.response.status() == StatusCode::SERVICE_UNAVAILABLE,
                "{refusal:?}"
            );
        }
    }
}
