//! The one place that opens outgoing connections.
//!
//! Sends a request that is ready, reads the answer to a cap, and says what it met in the words
//! of [`Cause`]. Decides nothing. No redirects, no proxies from the environment, no cookies, no
//! decompression, no retries of its own: one call is one request.

use std::{error::Error, fmt::Write as _, io, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header::RETRY_AFTER};
use reqwest::{Response, Url};
use rustix::io::Errno;
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::{
    delivery::verdict::{Met, Outcome},
    store::Cause,
};

/// The connections to one target, ready for any number of requests at once. Each target has its
/// own, so that no target's dead connections are another's.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    method: Method,
    url: Url,
    timeout: Duration,
}

/// What a [`Client`] is made for.
#[derive(Debug)]
pub(super) struct Destination {
    /// POST or PUT.
    pub(super) method: Method,
    /// Where to.
    pub(super) url: Url,
    /// From the start of an attempt to the last byte of the answer that is read.
    pub(super) timeout: Duration,
    /// For the connection alone: name, TCP and TLS.
    pub(super) connect_timeout: Duration,
    /// Requests at one time: no more idle connections are kept than that.
    pub(super) concurrency: usize,
}

/// Whom a secure connection trusts: made once for all targets that say nothing of their own.
#[derive(Clone, Debug)]
pub(super) struct Tls(rustls::ClientConfig);

/// Why no outgoing connection can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Secure targets need the certificate authorities of the system.
    #[error("no certificate authorities of the system; install its ca-certificates package")]
    Authorities(#[source] rustls::Error),
    /// The client could not be made from its settings.
    #[error("the HTTP client could not be made")]
    Client(#[from] reqwest::Error),
}

// === impl Tls ===

impl Tls {
    /// Trusts the authorities of the system; with `secure` false nobody, for then no target
    /// speaks TLS, and a machine without certificates must not keep the relay from starting.
    pub(super) fn system(secure: bool) -> Result<Self, ClientError> {
        let provider = rustls::crypto::ring::default_provider();
        let builder = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Authorities)?;
        let builder = if secure {
            builder.with_platform_verifier().map_err(ClientError::Authorities)?
        } else {
            builder.with_root_certificates(rustls::RootCertStore::empty())
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(config))
    }
}

// === impl Client ===

impl Client {
    /// Prepares the connections; opens none.
    pub(super) fn new(to: Destination, tls: &Tls) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.0.clone())
            .connect_timeout(to.connect_timeout)
            .pool_max_idle_per_host(to.concurrency)
            .pool_idle_timeout(IDLE_MAX)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_EVERY)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self { http, method: to.method, url: to.url, timeout: to.timeout })
    }

    /// Makes one request.
    pub(super) async fn send(&self, headers: HeaderMap, body: Bytes) -> Outcome {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());

        let deadline = tokio::time::Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.http.execute(request)).await {
            Ok(Ok(response)) => self.read(response, deadline).await,
            Ok(Err(error)) => failed(&error),
            Err(_elapsed) => Outcome {
                met: Met::Failed(Cause::Timeout),
                error: Some(format!("no answer within {:?}", self.timeout)),
                snippet: None,
            },
        }
    }

    /// Reads the answer to its end or to the cap, keeping its first bytes only.
    async fn read(&self, mut response: Response, deadline: tokio::time::Instant) -> Outcome {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.chars().take(RETRY_AFTER_CHARS_MAX).collect());

        let mut kept = BytesMut::new();
        let rest = tokio::time::timeout_at(deadline, drain(&mut response, &mut kept)).await;
        let (broken, error) = match rest {
            Ok(Ok(())) => (None, None),
            Ok(Err(Rest::Oversized)) => {
                let error = format!("the answer is over {ANSWER_READ_BYTES_MAX} bytes");
                (Some(Cause::Oversized), Some(error))
            }
            Ok(Err(Rest::Broken(error))) => {
                let cause = classify(&error).unwrap_or(Cause::Reset);
                (Some(cause), Some(describe(&error)))
            }
            Err(_elapsed) => {
                let error = format!("no whole answer within {:?}", self.timeout);
                (Some(Cause::Timeout), Some(error))
            }
        };
        Outcome {
            met: Met::Answer { status, retry_after, broken },
            error,
            snippet: (!kept.is_empty()).then(|| kept.freeze()),
        }
    }
}

/// What ended the reading of an answer before its end.
enum Rest {
    Oversized,
    Broken(reqwest::Error),
}

async fn drain(response: &mut Response, kept: &mut BytesMut) -> Result<(), Rest> {
    // What announces itself as too much is not read at all.
    if response.content_length().is_some_and(|length| length > ANSWER_READ_BYTES_MAX) {
        return Err(Rest::Oversized);
    }
    let mut read: u64 = 0;
    while let Some(chunk) = response.chunk().await.map_err(Rest::Broken)? {
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

/// All requests to an HTTP/2 target share a connection; one that died silently must not fail
/// them until the kernel notices.
const PING_EVERY: Duration = Duration::from_secs(10);

// === classify ===

fn failed(error: &reqwest::Error) -> Outcome {
    let met = match classify(error) {
        Some(cause) => Met::Failed(cause),
        None => Met::NotMade,
    };
    Outcome { met, error: Some(describe(error)), snippet: None }
}

/// What kind of failure an error is, by the types in its chain; `None` where the relay itself
/// lacked what an attempt takes.
fn classify(error: &reqwest::Error) -> Option<Cause> {
    if links(error).any(is_local) {
        None
    } else if links(error).any(<dyn Error>::is::<rustls::Error>) {
        // Also after the connection: TLS 1.3 refuses a client's certificate as late as that.
        Some(Cause::Tls)
    } else if error.is_dns() {
        Some(Cause::Dns)
    } else if error.is_connect() {
        Some(Cause::Connect)
    } else {
        Some(links(error).find_map(in_exchange).unwrap_or(Cause::Reset))
    }
}

/// What a link of the chain says of an exchange on an open connection.
fn in_exchange(link: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = link.downcast_ref::<hyper::Error>() {
        if error.is_timeout() {
            Some(Cause::Timeout)
        } else if error.is_parse() || error.is_user() {
            Some(Cause::Protocol)
        } else {
            // The more precise word, if there is one, is further down the chain.
            (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
                .then_some(Cause::Reset)
        }
    } else {
        let error = link.downcast_ref::<io::Error>()?;
        match error.kind() {
            io::ErrorKind::TimedOut => Some(Cause::Timeout),
            // A body whose chunks are not chunks.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Some(Cause::Protocol),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Some(Cause::Reset),
            _ => None,
        }
    }
}

/// Whether the system refused the relay what every connection needs, whoever it goes to. Only
/// what is surely that: a lack that is in truth the target's address would defer for ever.
fn is_local(link: &(dyn Error + 'static)) -> bool {
    link.downcast_ref::<io::Error>().and_then(Errno::from_io_error).is_some_and(|errno| {
        matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    })
}

/// An error and what caused it, outermost first. An `io::Error` that wraps another names as its
/// source that one's source, so the wrapped one is looked up instead.
fn links<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&link: &&'e (dyn Error + 'static)| {
        match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => link.source(),
        }
    })
    .take(LINKS_MAX)
}

/// Deeper than any chain we have seen; a chain that leads back to itself ends here.
const LINKS_MAX: usize = 16;

/// The chain in words, without the URL: its query may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut said = String::new();
    // The outermost says only that a request was being sent.
    for link in links(error).skip(1) {
        let words = link.to_string();
        // A wrapper often repeats what it wraps.
        if !words.is_empty() && words != said {
            let colon = if text.is_empty() { "" } else { ": " };
            // Writing to a String cannot fail.
            write!(text, "{colon}{words}").unwrap_or_default();
            said = words;
        }
    }
    if text.is_empty() {
        text.push_str("the request could not be sent");
    }
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}

/// What the store keeps of an error's words.
const ERROR_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_found_however_deep_and_is_no_fault_of_the_target() {
        let lack = || io::Error::from(Errno::MFILE);
        let wrapped = io::Error::other(io::Error::other(lack()));

        assert!(links(&lack()).any(is_local));
        assert!(links(&wrapped).any(is_local));
        for refusal in [Errno::CONNREFUSED, Errno::ADDRNOTAVAIL, Errno::HOSTUNREACH] {
            assert!(!links(&io::Error::from(refusal)).any(is_local));
        }
    }
}
