//! What goes into the store, and the proof that it is there.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    event::{EventId, SourceName, Status, Trace},
    route::TargetName,
};

/// Everything the store needs to make one callback durable.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The id the event will have, unless it is a duplicate.
    pub id: EventId,
    /// The source it came in by.
    pub source: SourceName,
    /// `11x`, …, or the name of a custom mapping.
    pub provider: String,
    /// When the callback was read.
    pub received_at: Timestamp,
    /// The request as it came, without its credentials.
    pub request: StoredRequest,
    /// Recognises a repeat; `None` is never a duplicate.
    pub fingerprint: Option<Fingerprint>,
    /// How long the fingerprint is remembered; zero turns recognition off.
    pub dedupe_window: Duration,
    /// The trace its sender named; targets are told of it.
    pub trace: Option<Trace>,
    /// What becomes of it.
    pub fate: Fate,
}

/// Whether the callback could be read.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It became an event.
    Readable {
        /// The normalised event: the bytes a structured target receives.
        json: Bytes,
        /// What operators search by.
        facts: CallFacts,
        /// The targets its routes name, each once; empty is an unrouted event, which is kept.
        targets: Vec<TargetName>,
        /// The routes whose condition failed on it, by name: operators find the event by them.
        failed_routes: Vec<String>,
    },
    /// It could not be read, and is kept as it came until a person has looked.
    Quarantined {
        /// A word of the closed list of `providers.md` C.0, or `unverified`.
        reason: &'static str,
    },
}

/// The columns operators search by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFacts {
    /// The normalised status.
    pub status: Status,
    /// `call.id`.
    pub call_id: Option<String>,
    /// `call.reference`.
    pub reference: Option<String>,
    /// `call.from`: e164, else raw.
    pub from: Option<String>,
    /// `call.to`: e164, else raw.
    pub to: Option<String>,
}

/// A callback as it came: enough to read it again after a mapping was mended. Credentials are
/// never in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRequest {
    /// `POST`, `GET`, …
    pub method: String,
    /// The query string without the parameters that authenticate.
    pub query: String,
    /// The content type as sent.
    pub content_type: Option<String>,
    /// The decoded (decompressed) body.
    pub body: Bytes,
}

/// Recognises a repeat of the same callback to the same source (`providers.md` C.3): the first
/// sixteen bytes of a SHA-256 over source, query and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// The proof that an event is durable. Only a store makes one, after its commit is on disk, and
/// without one no callback is acked.
#[derive(Debug)]
pub struct Receipt {
    id: EventId,
    duplicate: bool,
    quarantined: bool,
}

// === impl Receipt ===

impl Receipt {
    /// Only called by a backend, for what its last commit made durable.
    pub(in crate::store) const fn new(id: EventId, duplicate: bool, quarantined: bool) -> Self {
        Self { id, duplicate, quarantined }
    }

    /// The id of the event; of a duplicate, the first's.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Whether it was already there.
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }

    /// Whether it is kept for a person to look at.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined
    }
}
