//! The one place that opens outgoing connections.
//!
//! Sends a request that is ready, reads the answer to a cap, and says what it met in the words
//! of [`Cause`]. Decides nothing. No redirects, no proxies from the environment, no cookies, no
//! decompression. One call is one request that a target looks at: what it closed its connection
//! before, or says it has not looked at, is sent again; nothing else is.
//!
//! A target that speaks plain HTTP has connections of our own ([`plain`]), because reqwest costs
//! twice the processor time of the connection it is made of; for HTTPS it earns its keep
//! ([`secure`]). Both reach only addresses that the target's rules allow ([`resolve`]).

mod failure;
mod plain;
mod reach;
mod resolve;
mod secure;
pub mod tls;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};
use http_body::Body as _;
use prometheus::IntCounter;
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

#[cfg(test)]
pub(super) use self::resolve::{NEVER_FOUND, TWO_ADDRESSES};
use self::{
    failure::{BoxError, Stage, Trouble},
    plain::Plain,
    resolve::Resolver,
    secure::Secure,
};
pub use self::{plain::UrlError, tls::PemError};
pub(super) use self::{reach::reach, tls::Tls};
use crate::{
    delivery::{
        address::{AddressRules, Refused},
        verdict::{Met, Outcome},
    },
    drain::Drain,
    store::Cause,
};

/// The connections to one target, ready for any number of requests at once. Each target has its
/// own, so that no target's dead connections are another's.
#[derive(Debug)]
pub(super) struct Client {
    way: Way,
    /// The address that the URL itself names may not be connected to.
    refused: Option<Refused>,
    timeout: Duration,
}

#[derive(Debug)]
enum Way {
    Plain(Arc<Plain>),
    Secure(Secure),
}

/// What a [`Client`] is made for.
#[derive(Debug)]
pub(super) struct Destination {
    /// POST or PUT.
    pub(super) method: Method,
    /// Where to.
    pub(super) url: Url,
    /// At which addresses.
    pub(super) addresses: AddressRules,
    /// From the start of an attempt to the last byte of the answer that is read.
    pub(super) timeout: Duration,
    /// For the connection alone: name, TCP and TLS.
    pub(super) connect_timeout: Duration,
    /// Requests at one time: no more idle connections are kept than that.
    pub(super) concurrency: usize,
}

/// Why no outgoing connection can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Secure targets need the certificate authorities of the system.
    #[error("no certificate authorities of the system; install its ca-certificates package")]
    Authorities(#[source] rustls::Error),
    /// The URL cannot be put into a request.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The client could not be made from its settings.
    #[error("the HTTP client could not be made")]
    Client(#[from] reqwest::Error),
}

/// The chunks of an answer.
trait Chunks {
    /// The next one; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError>;
}

// === impl Client ===

impl Client {
    /// Prepares the connections; opens none. Those that are opened are counted in `opened`.
    pub(super) fn new(
        to: &Destination,
        tls: &Tls,
        opened: IntCounter,
    ) -> Result<Self, ClientError> {
        let refused = literal(&to.url).and_then(|address| to.addresses.check(address).err());
        let resolver = Resolver::new(to.addresses.clone());
        let way = match to.url.scheme() {
            "http" => Way::Plain(Arc::new(Plain::new(to, resolver, opened)?)),
            _ => Way::Secure(Secure::new(to, tls, resolver, opened)?),
        };
        Ok(Self { way, refused, timeout: to.timeout })
    }

    /// Looks after the connections until `drain` is told to stop.
    pub(super) fn tend(&self, drain: &Drain) {
        match &self.way {
            Way::Plain(plain) => Plain::tend(plain, drain),
            // Has tasks of its own.
            Way::Secure(_) => {}
        }
    }

    /// Makes one request.
    pub(super) async fn send(&self, headers: HeaderMap, body: Bytes) -> Outcome {
        if let Some(refused) = self.refused {
            return Trouble::from(refused).outcome();
        }
        let deadline = Instant::now() + self.timeout;
        match &self.way {
            Way::Plain(plain) => {
                let mut answer = match timeout_at(deadline, plain.send(headers, body)).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(trouble)) => return trouble.outcome(),
                    Err(_elapsed) => return self.unanswered(),
                };
                let head = Head::of(answer.response.status(), answer.response.headers());
                let length = answer.response.body().size_hint().exact();
                let (outcome, whole) = self.read(head, length, &mut answer, deadline).await;
                if whole {
                    answer.finish();
                }
                outcome
            }
            Way::Secure(secure) => {
                let mut answer = match timeout_at(deadline, secure.send(headers, body)).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(trouble)) => return trouble.outcome(),
                    Err(_elapsed) => return self.unanswered(),
                };
                let head = Head::of(answer.status(), answer.headers());
                let length = answer.content_length();
                self.read(head, length, &mut answer, deadline).await.0
            }
        }
    }

    fn unanswered(&self) -> Outcome {
        Outcome {
            met: Met::Failed(Cause::Timeout),
            error: Some(format!("no answer within {:?}", self.timeout)),
            snippet: None,
        }
    }

    /// Reads the answer to its end or to the cap, keeping its first bytes only. And whether it
    /// is read to its end.
    async fn read(
        &self,
        head: Head,
        length: Option<u64>,
        chunks: &mut impl Chunks,
        deadline: Instant,
    ) -> (Outcome, bool) {
        let mut kept = BytesMut::new();
        let rest = timeout_at(deadline, drain(length, chunks, &mut kept)).await;
        let (broken, error) = match rest {
            Ok(Ok(())) => (None, None),
            Ok(Err(Rest::Oversized)) => {
                let error = format!("the answer is over {ANSWER_READ_BYTES_MAX} bytes");
                (Some(Cause::Oversized), Some(error))
            }
            Ok(Err(Rest::Broken(error))) => {
                let trouble = Trouble::new(Stage::Answer, error);
                (Some(trouble.classify().unwrap_or(Cause::Reset)), Some(trouble.describe()))
            }
            Err(_elapsed) => {
                let error = format!("no whole answer within {:?}", self.timeout);
                (Some(Cause::Timeout), Some(error))
            }
        };
        let Head { status, retry_after } = head;
        let outcome = Outcome {
            met: Met::Answer { status, retry_after, broken },
            error,
            snippet: (!kept.is_empty()).then(|| kept.freeze()),
        };
        (outcome, broken.is_none())
    }
}

/// The address a URL names without any name.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// What is kept of the head of an answer.
struct Head {
    status: StatusCode,
    retry_after: Option<String>,
}

impl Head {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.chars().take(RETRY_AFTER_CHARS_MAX).collect());
        Self { status, retry_after }
    }
}

/// What ended the reading of an answer before its end.
enum Rest {
    Oversized,
    Broken(BoxError),
}

async fn drain(
    length: Option<u64>,
    chunks: &mut impl Chunks,
    kept: &mut BytesMut,
) -> Result<(), Rest> {
    // What announces itself as too much is not read at all.
    if length.is_some_and(|length| length > ANSWER_READ_BYTES_MAX) {
        return Err(Rest::Oversized);
    }
    let mut read: u64 = 0;
    while let Some(chunk) = chunks.next().await.map_err(Rest::Broken)? {
        let room = SNIPPET_BYTES_MAX.saturating_sub(kept.len()).min(chunk.len());
        kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
        read = read.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if read > ANSWER_READ_BYTES_MAX {
            return Err(Rest::Oversized);
        }
    }
    Ok(())
}

/// How much of an answer is read, so that its connection can be used again: more than any error
/// page, less than holds a slot for long.
const ANSWER_READ_BYTES_MAX: u64 = 1024 * 1024;

/// How much of an answer is kept. Enough for an error page's first screen; not enough to fill
/// the disk.
const SNIPPET_BYTES_MAX: usize = 4 * 1024;

/// A date is 29 characters.
const RETRY_AFTER_CHARS_MAX: usize = 64;

/// Idle connections are let go before the 60 s after which common servers close them, for a
/// request that crosses the close on its way is a failed attempt.
const IDLE_MAX: Duration = Duration::from_secs(50);
