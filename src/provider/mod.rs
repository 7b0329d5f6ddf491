//! What each provider really sends, and how it becomes a call event.
//!
//! One file a provider, pure: no clock, no I/O, no panics on hostile bytes. `ingest` walks the
//! road through this room: [`auth`] decides whether a request is authentic, [`read`] turns its
//! body into a [`Document`] once, and [`normalise`] makes of that same document the event and
//! the fingerprint that recognises a repeat.

pub mod auth;
pub mod document;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

pub use document::{Callback, Document, Unreadable};

use crate::event::{CallEvent, Envelope, Status};

/// The providers we know by name. `serde`'s and relay.toml's words are [`Provider::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// 11x (Julian phone agent), call results.
    ElevenX,
}

/// How the callbacks of one source are read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose callbacks they are.
    pub provider: Provider,
    /// The zone of naive times; `None` is the provider's own default, with a warning.
    pub timezone: Option<TimeZone>,
    /// A field's own zone, by the provider's name of the field.
    pub timezones: BTreeMap<String, TimeZone>,
    /// The country of national numbers, two capital letters; `None` is the provider's default.
    pub country: Option<String>,
    /// The provider's own name of a field = the key the customer's template sends it under.
    pub fields: BTreeMap<String, String>,
    /// Status words of the customer's own, folded as `providers.md` C.1 says; looked up first.
    pub status: BTreeMap<String, Status>,
    /// Whether the repairs of `providers.md` C.0 are tried on a body that is not JSON.
    pub repair_json: bool,
}

/// What a callback became.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// The normalised event.
    pub event: CallEvent<'a>,
    /// Recognises a repeat (`providers.md` C.3); `None` when the body does not identify its call.
    pub fingerprint: Option<[u8; 16]>,
}
