//! From a request, fresh or stored, to an admission. Pure: the same request, settings and
//! envelope always give the same admission.

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use crate::{
    event::{CallEvent, Envelope, Number},
    ingest::source::Settings,
    provider::{self, Callback, Decoded, Unreadable},
    route::Routes,
    store::{Admission, CallFacts, Fate, Fingerprint, StoredRequest},
};

/// A request that is authentic and could not be read.
#[derive(Debug)]
pub(super) struct Unread {
    request: StoredRequest,
    envelope: Envelope,
    reason: Unreadable,
}

/// Reads a request of a source and finds the targets of its event.
pub(super) fn event(
    settings: &Settings,
    routes: &Routes,
    request: StoredRequest,
    envelope: Envelope,
) -> Result<Admission, Unread> {
    let read = decode(settings, &request, &envelope).and_then(|decoded| {
        let json = decoded.event.to_json().map_err(|_| Unreadable::Unsupported)?;
        let fate = Fate::Readable {
            json: Bytes::from(json),
            facts: facts(&decoded.event),
            targets: routes.targets(&settings.name, decoded.event.status()),
        };
        Ok((fate, decoded.fingerprint.map(Fingerprint)))
    });
    match read {
        Ok((fate, fingerprint)) => Ok(admission(settings, request, &envelope, fate, fingerprint)),
        Err(reason) => Err(Unread { request, envelope, reason }),
    }
}

fn decode<'a>(
    settings: &Settings,
    request: &'a StoredRequest,
    envelope: &Envelope,
) -> Result<Decoded<'a>, Unreadable> {
    let callback = Callback {
        method: &request.method,
        query: &request.query,
        content_type: request.content_type.as_deref(),
        body: &request.body,
    };
    let document = provider::read(&settings.reading, callback)?;
    Ok(provider::normalise(&settings.reading, document, envelope.clone()))
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
        provider: settings.reading.provider.as_str().to_owned(),
        received_at: envelope.received_at,
        request,
        fingerprint,
        dedupe_window: settings.dedupe_window,
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
        let fate = Fate::Quarantined { reason: reason.as_str() };
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
