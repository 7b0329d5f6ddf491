//! From a request, fresh or stored, to an admission. Pure: the same request, settings and
//! envelope always give the same admission.

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use crate::{
    event::{CallEvent, Envelope, Number},
    ingest::source::{OnUnreadable, Settings},
    provider::{
        self, Callback, Decoded, Document, Handshake, Unreadable,
        auth::{self, Body, Denied, Head},
    },
    route::{Chosen, Facts, Routes},
    store::{Admission, CallFacts, Fate, Fingerprint, StoredEvent, StoredRequest},
};

/// What a fresh request came to.
#[derive(Debug)]
pub(super) enum Understood {
    /// An event.
    Event(Box<Admission>),
    /// A challenge or a probe of the provider, which the relay answers itself.
    Handshake(Handshake),
    /// Authentic, and not readable.
    Unread(Unread),
    /// Not authentic.
    Denied(Denied),
    /// By a method that carries no callback at this source, and no probe either.
    NotTaken,
}

/// A request that is kept for a person to look at.
#[derive(Debug)]
pub(super) struct Unread {
    request: StoredRequest,
    envelope: Envelope,
    reason: &'static str,
}

/// The reason of a body that could not be read, and so could not be verified either: only a token
/// in the URL says that it came from the provider. It is never released without a person.
pub(super) const UNVERIFIED: &str = "unverified";

/// Layers 7 to 10: parses once, and checks, answers or normalises that same document. `head` is
/// the request's, whose credentials that need no body have passed; `taken` is whether the source
/// takes callbacks by its method.
pub(super) fn understand(
    (settings, routes): (&Settings, &Routes),
    (head, taken): (&Head<'_>, bool),
    mut request: StoredRequest,
    envelope: Envelope,
) -> Understood {
    let (decoded, masked) = {
        let callback = callback(&request);
        // 7. Parse once.
        let document = provider::parse(&settings.reading, callback);
        let seen = document.as_ref().map_err(|reason| *reason);
        // 8. Credentials in the body, or over it.
        let body = Body { raw: &request.body, document: seen };
        let verified = auth::check_body(&settings.auth, head, body, envelope.received_at);
        let masked = seen.ok().and_then(|document| {
            auth::masked(&settings.auth, callback.method, callback.body, document)
        });
        let decoded = match verified {
            Ok(()) => {
                // 9. A challenge or a probe has its answer, and makes no event.
                match provider::handshake(&settings.reading, callback, seen, taken) {
                    Ok(Some(handshake)) => return Understood::Handshake(handshake),
                    Ok(None) if !taken => return Understood::NotTaken,
                    Ok(None) => {}
                    Err(denied) => return Understood::Denied(denied),
                }
                // 10. Normalise and route.
                let read = document.map_err(Unreadable::as_str);
                read.and_then(|document| decode((settings, routes), document, &envelope))
            }
            Err(Denied::SignedValueMissing) if seen.is_err() && keeps_unverified(settings) => {
                Err(UNVERIFIED)
            }
            Err(denied) => return Understood::Denied(denied),
        };
        (decoded, masked)
    };
    if let Some(masked) = masked {
        request.body = Bytes::from(masked);
    }
    match decoded {
        Ok((fate, fingerprint)) => {
            let admission = admission(settings, request, &envelope, fate, fingerprint);
            Understood::Event(Box::new(admission))
        }
        Err(reason) => Understood::Unread(Unread { request, envelope, reason }),
    }
}

/// Whether a body whose signature cannot be checked because it is not readable is kept: only
/// where a token in the URL passed, and where unreadable bodies are kept at all.
fn keeps_unverified(settings: &Settings) -> bool {
    auth::has_url_token(&settings.auth) && settings.on_unreadable == OnUnreadable::Quarantine
}

fn callback(request: &StoredRequest) -> Callback<'_> {
    Callback {
        method: &request.method,
        query: &request.query,
        content_type: request.content_type.as_deref(),
        body: &request.body,
    }
}

/// The event of a document and its targets. The secrets in its fields leave it first.
fn decode(
    (settings, routes): (&Settings, &Routes),
    mut document: Document<'_>,
    envelope: &Envelope,
) -> Result<(Fate, Option<Fingerprint>), &'static str> {
    auth::clean(&settings.auth, &mut document);
    let document = provider::recognised(&settings.reading, document).map_err(Unreadable::as_str)?;
    let Decoded { event, fingerprint } =
        provider::normalise(&settings.reading, document, envelope.clone());
    let json = event.to_json();
    let asked =
        Facts { source: &settings.name, provider: &event.data.provider, status: event.status() };
    let Chosen { targets, failed } = routes.choose(asked, &json);
    let fate = Fate::Readable {
        json: Bytes::from(json),
        facts: facts(&event),
        targets,
        failed_routes: failed,
    };
    Ok((fate, fingerprint.map(Fingerprint)))
}

/// Why a stored callback makes no event when it is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StillUnread {
    /// Its source is not configured any more.
    NoSource,
    /// It could not be verified when it came, and nobody has decided to believe it.
    Unverified,
    /// It still cannot be read: a word of the closed list of `providers.md` C.0.
    Unreadable(&'static str),
    /// It is a challenge or a probe.
    Handshake,
}

/// Whether a person decided to believe a callback that nothing but a token in its URL speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// What was verified when it came.
    Verified,
    /// This one, whether it was or not.
    ByDecision,
}

/// Reads stored callbacks again, with the sources and routes of now. It asks for no credentials:
/// they were checked when the callback came, and are not stored.
#[derive(Clone, Debug)]
pub struct Rereader {
    sources: Vec<Settings>,
    routes: Routes,
}

// === impl Rereader ===

impl Rereader {
    /// Goes by these sources and routes.
    pub fn new(sources: Vec<Settings>, routes: Routes) -> Self {
        Self { sources, routes }
    }

    /// The admission of a stored event as it would be today, under its id, with its time of
    /// acceptance.
    pub fn read(&self, event: &StoredEvent, trust: Trust) -> Result<Admission, StillUnread> {
        let source = self.sources.iter().find(|source| source.name == event.source);
        let settings = source.ok_or(StillUnread::NoSource)?;
        if event.reason.as_deref() == Some(UNVERIFIED) && trust == Trust::Verified {
            return Err(StillUnread::Unverified);
        }
        let request = &event.request;
        let envelope =
            Envelope { id: event.id, source: event.source.clone(), received_at: event.received_at };
        let callback = callback(request);
        let document = provider::parse(&settings.reading, callback);
        let seen = document.as_ref().map_err(|reason| *reason);
        let taken = settings.methods.iter().any(|method| method.as_str() == request.method);
        // A challenge with a key that is not ours any more is one all the same.
        match provider::handshake(&settings.reading, callback, seen, taken) {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Err(StillUnread::Handshake),
        }
        let (fate, fingerprint) = document
            .map_err(Unreadable::as_str)
            .and_then(|document| decode((settings, &self.routes), document, &envelope))
            .map_err(StillUnread::Unreadable)?;
        Ok(admission(settings, request.clone(), &envelope, fate, fingerprint))
    }
}

fn admission(
    settings: &Settings,
    request: StoredRequest,
    envelope: &Envelope,
    fate: Fate,
    fingerprint: Option<Fingerprint>,
) -> Admission {
    Admission {
        id: envelope.id,
        source: envelope.source.clone(),
        provider: settings.reading.name().to_owned(),
        received_at: envelope.received_at,
        request,
        fingerprint,
        dedupe_window: settings.dedupe_window,
        trace: None,
        fate,
    }
}

fn facts(event: &CallEvent<'_>) -> CallFacts {
    let call = &event.data.call;
    let number = |number: &Option<Number<'_>>| {
        number.as_ref().map(|number| number.e164.clone().unwrap_or_else(|| number.raw.to_string()))
    };
    CallFacts {
        status: event.status(),
        call_id: call.id.as_deref().map(str::to_owned),
        reference: call.reference.as_deref().map(str::to_owned),
        from: number(&call.from),
        to: number(&call.to),
    }
}

// === impl Unread ===

impl Unread {
    /// The request as it came, kept for a person to look at. A repeat of it is recognised by its
    /// bytes and its query.
    pub(super) fn quarantined(self, settings: &Settings) -> Admission {
        let Self { request, envelope, reason } = self;
        let fingerprint = fingerprint_of_bytes(&envelope, &request);
        let fate = Fate::Quarantined { reason };
        admission(settings, request, &envelope, fate, Some(fingerprint))
    }
}

fn fingerprint_of_bytes(envelope: &Envelope, request: &StoredRequest) -> Fingerprint {
    let mut digest = Context::new(&SHA256);
    // The first word keeps these apart from the fingerprints of contents.
    let parts: [&[u8]; 5] = [
        b"quarantined",
        envelope.source.as_str().as_bytes(),
        request.method.as_bytes(),
        request.query.as_bytes(),
        &request.body,
    ];
    for part in parts {
        digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(part);
    }
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest.finish().as_ref()) {
        *to = *from;
    }
    Fingerprint(first)
}
