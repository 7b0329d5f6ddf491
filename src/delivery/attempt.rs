//! One attempt: a request or a line, and what came of it.
//!
//! Has no branch of fate: timeout, refusal, status and oversized answer are all an [`Outcome`].

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};
use jiff::Timestamp;
use prometheus::IntCounter;
use zeroize::Zeroizing;

use crate::{
    delivery::{
        client::{Client, ClientError, Tls},
        file::Lines,
        format::{Format, Message},
        target::{Auth, Http},
        verdict::{Met, Outcome},
    },
    drain::Drain,
    event::TraceParent,
    secret::Secret,
    signature::{SecretError, StandardWebhooks},
    store::{Cause, Delivery, Store},
};

/// The way to a target.
#[derive(Debug)]
pub(super) enum Way {
    /// By HTTP.
    Http(Box<Endpoint>),
    /// Into a file or to standard output.
    Lines(Lines),
    /// As a test says.
    #[cfg(test)]
    Scripted(crate::delivery::tests::Script),
}

/// An HTTP target, ready to be called.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    /// Those that are the same for every request.
    headers: HeaderMap,
    format: Format,
    signer: Option<StandardWebhooks>,
}

/// Why an HTTP target cannot be called as its settings say.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// `sign`.
    #[error(transparent)]
    Sign(#[from] SecretError),
    /// `auth`.
    #[error(
        "its credentials hold a character that no header can carry; \
         look for a line break at the end of the secret"
    )]
    Credentials,
    /// The connections.
    #[error(transparent)]
    Client(#[from] ClientError),
}

// === impl Way ===

impl Way {
    /// Looks after what is kept between attempts, until `drain` is told to stop.
    pub(super) fn tend(&self, drain: &Drain) {
        match self {
            Self::Http(endpoint) => endpoint.client.tend(drain),
            Self::Lines(_) => {}
            #[cfg(test)]
            Self::Scripted(_) => {}
        }
    }

    /// Makes the attempt.
    pub(super) async fn attempt(
        &self,
        delivery: &Delivery,
        store: &dyn Store,
        now: Timestamp,
    ) -> Outcome {
        match self {
            Self::Http(endpoint) => match endpoint.message(delivery, store).await {
                Ok(message) => {
                    let (headers, body) = endpoint.request(delivery, message, now);
                    endpoint.client.send(headers, body).await
                }
                Err(outcome) => outcome,
            },
            Self::Lines(lines) => match lines.write(delivery.json.clone()).await {
                Ok(()) => Outcome { met: Met::Written, error: None, snippet: None },
                Err(error) => {
                    let error = Some(error.to_string());
                    Outcome { met: Met::Failed(Cause::Io), error, snippet: None }
                }
            },
            #[cfg(test)]
            Self::Scripted(script) => script.play(delivery).await,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Prepares everything that is the same for every request. Trusts `system` where the target
    /// says nothing of its own.
    pub(super) fn new(
        http: &Http,
        concurrency: usize,
        system: &Tls,
        connections: IntCounter,
    ) -> Result<Self, EndpointError> {
        let signer = http.sign.as_ref().map(StandardWebhooks::new).transpose()?;
        let mut headers = HeaderMap::with_capacity(http.headers.len() + HEADERS_OURS);
        headers.insert(ACCEPT, ANYTHING);
        if let Some(content_type) = http.format.content_type() {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.insert(USER_AGENT, US);
        // After those above, which it replaces: a target may want them otherwise.
        headers.extend(http.headers.clone());
        if let Some(auth) = &http.auth {
            let (name, value) = credentials(auth)?;
            headers.insert(name, value);
        }
        let own = http.tls.as_ref().map(Tls::new).transpose()?;
        let client = Client::new(
            &http.destination(concurrency),
            own.as_ref().unwrap_or(system),
            connections,
        )?;
        Ok(Self { client, headers, format: http.format.clone(), signer })
    }

    /// What is sent, or what came of the attempt when nothing can be.
    async fn message(&self, delivery: &Delivery, store: &dyn Store) -> Result<Message, Outcome> {
        let failed = |met, error: String| Outcome { met, error: Some(error), snippet: None };
        let request = if self.format.needs_request() {
            let event = store.event(delivery.event).await.map_err(|error| {
                failed(Met::NotMade, format!("the callback is not to be had: {error}"))
            })?;
            event.map(|event| event.request)
        } else {
            None
        };
        self.format.message(&delivery.json, request.as_ref()).map_err(|error| {
            let mut error = error.to_string();
            error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
            failed(Met::Failed(Cause::Render), error)
        })
    }

    /// The headers and the body.
    fn request(&self, delivery: &Delivery, message: Message, now: Timestamp) -> (HeaderMap, Bytes) {
        let mut headers = self.headers.clone();
        headers.extend(message.headers);
        if message.body.is_empty() {
            // Of nothing nobody says the length by himself, and some servers refuse that.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let id = delivery.webhook_id();
        let timestamp = now.as_second();
        if let Some(signer) = &self.signer {
            let signatures = signer.sign(&id, timestamp, &message.body);
            insert(&mut headers, WEBHOOK_SIGNATURE, signatures);
        }
        insert(&mut headers, WEBHOOK_ID, id);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp));
        headers.insert(ATTEMPT, HeaderValue::from(delivery.attempts.saturating_add(1)));
        headers.insert(ROUND, HeaderValue::from(delivery.round));
        let own = || TraceParent::of_event(delivery.event);
        let parent = delivery.trace.as_ref().map_or_else(own, |trace| trace.parent);
        insert(&mut headers, TRACEPARENT, parent.header(fastrand::u64(..)));
        if let Some(state) = delivery.trace.as_ref().and_then(|trace| trace.state.as_ref()) {
            insert(&mut headers, TRACESTATE, state.as_str().to_owned());
        }
        (headers, message.body)
    }
}

/// Inserts a value that is made of visible ASCII and spaces only.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn credentials(auth: &Auth) -> Result<(HeaderName, HeaderValue), EndpointError> {
    let joined = |parts: [&[u8]; 2]| Secret::new(parts.concat());
    let (name, value) = match auth {
        Auth::Bearer(token) => (AUTHORIZATION, joined([b"Bearer ", token.expose()])),
        Auth::Basic { username, password } => {
            let pair = Zeroizing::new([username.as_bytes(), b":", password.expose()].concat());
            let digits = Zeroizing::new(STANDARD.encode(&*pair));
            (AUTHORIZATION, joined([b"Basic ", digits.as_bytes()]))
        }
        Auth::Header { name, value } => (name.clone(), value.clone()),
    };
    let mut value =
        HeaderValue::from_bytes(value.expose()).map_err(|_| EndpointError::Credentials)?;
    value.set_sensitive(true);
    Ok((name, value))
}

const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const US: HeaderValue = HeaderValue::from_static(concat!("hookswitch/", env!("CARGO_PKG_VERSION")));

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const ATTEMPT: HeaderName = HeaderName::from_static("hookswitch-attempt");
const ROUND: HeaderName = HeaderName::from_static("hookswitch-round");

/// The names above, host and credentials: so that the map of a request never grows.
const HEADERS_OURS: usize = 11;

/// What the store keeps of an error's words.
const ERROR_BYTES_MAX: usize = 1024;
