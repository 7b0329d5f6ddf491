//! What each provider really sends, and how it becomes a call event.
//!
//! One file a provider, pure: no clock, no I/O, no panics on hostile bytes. `ingest` walks the
//! road through this room: [`auth`] decides whether a request is authentic, [`read`] turns its
//! body into a [`Document`] once, and [`normalise`] makes of that same document the event and
//! the fingerprint that recognises a repeat.

pub mod auth;
mod clouddial;
pub mod document;
mod eleven_x;
mod fate;
mod fields;
mod fingerprint;
mod finish;
pub mod mapping;
mod mobtexting;
mod plum;
mod sight;
mod status;
mod synthflow;
mod work;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jiff::tz::TimeZone;

pub use document::{Callback, Document, Place, PlaceError, Unreadable};
pub use mapping::Mapping;
pub use status::fold as fold_status;

use self::{
    auth::{BasicForm, Denied, Scheme, Signature},
    document::find,
    fields::Fields,
    finish::Mapped,
};
use crate::{
    event::{
        CallEvent, Envelope, Status,
        value::{Object, Value},
    },
    secret::Secrets,
};

/// The providers we know by name. `serde`'s and relay.toml's words are [`Provider::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// Plum Insight and Fuse, result URL.
    Plum,
    /// Synthflow, post-call webhook.
    Synthflow,
    /// MOBtexting, voice webhook.
    Mobtexting,
    /// 11x (Julian phone agent), call results.
    ElevenX,
    /// CloudDial, call result webhook and integrations.
    CloudDial,
    /// Any other, by a mapping written in relay.toml.
    Custom,
}

/// How the callbacks of one source are read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose callbacks they are.
    pub provider: Provider,
    /// The zone of naive times; `None` is the provider's own default, with a warning.
    pub timezone: Option<TimeZone>,
    /// A field's own zone, by the provider's name of the field: its whole path joined by dots, or
    /// its last name.
    pub timezones: BTreeMap<String, TimeZone>,
    /// The country of national numbers, two capital letters; `None` is the provider's default.
    pub country: Option<String>,
    /// The provider's own name of a field (its path joined by dots) = the key it is received
    /// under: a name, a nesting key as in forms (`customer.name`), or a JSON pointer.
    pub fields: BTreeMap<String, String>,
    /// Status words of the customer's own, folded by [`fold_status`]; looked up first.
    pub status: BTreeMap<String, Status>,
    /// Whether the repairs of `providers.md` C.0 are tried on a body that is not JSON.
    pub repair_json: bool,
    /// The keys a challenge may bring; `None` takes any (MOBtexting).
    pub validation_key: Option<Secrets>,
    /// What stands where, for [`Provider::Custom`].
    pub mapping: Arc<Mapping>,
}

/// What a callback became.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// The normalised event.
    pub event: CallEvent<'a>,
    /// Recognises a repeat (`providers.md` C.3); `None` when the body does not identify its call.
    pub fingerprint: Option<[u8; 16]>,
}

/// The answer to a request that carries no result: a provider's challenge or probe. Only
/// [`handshake`] makes one. Its status is 200.
#[derive(Clone, Debug)]
pub struct Handshake {
    content_type: &'static str,
    body: Cow<'static, [u8]>,
}

/// What is known of a provider beside its field map.
struct Rules {
    word: &'static str,
    /// Every documented top-level field: one of them must occur (C.0, point 4).
    documented: &'static [&'static str],
    /// Every field that the mapper reads, by its path joined by dots, those in lists apart.
    fields: &'static [&'static str],
    /// The fields that are read as times, those in lists among them.
    times: &'static [&'static str],
    /// The member that the whole body may be wrapped in.
    wrapper: Option<&'static str>,
    /// The top-level fields that change at each try (C.3).
    changing: &'static [&'static str],
    /// The zone of naive times where none is configured (C.9), by its IANA name.
    zone: &'static str,
    /// The country of national numbers where none is configured (C.9).
    country: Option<&'static str>,
    /// Whether numbers stand with the country code and without `+` (C.9).
    bare_international: bool,
    max_body: Option<usize>,
    auth_header: Option<&'static str>,
    /// Parameters of the URL that are the provider's own credentials, and no concern of a target.
    credentials: &'static [&'static str],
    map: for<'a, 's> fn(&mut Fields<'a, 's>) -> Mapped<'a>,
}

/// The query without the parameters that authenticate, by the schemes of the source or as the
/// provider does: the only form of it that is logged, hashed, stored or forwarded.
pub fn strip_query<'a>(
    settings: &Settings,
    schemes: &[Scheme],
    method: &str,
    query: &'a str,
) -> Cow<'a, str> {
    auth::strip_query(schemes, |name| settings.is_credential(name), method, query)
}

/// Parses the body of a callback, whoever it is from. For a GET the query is the body.
pub fn parse<'a>(settings: &Settings, callback: Callback<'a>) -> Result<Document<'a>, Unreadable> {
    document::read(callback, settings.repair_json)
}

/// The same document, when a field of the provider occurs in it.
pub fn recognised<'a>(
    settings: &Settings,
    document: Document<'a>,
) -> Result<Document<'a>, Unreadable> {
    if settings.recognises(&document) { Ok(document) } else { Err(Unreadable::Unrecognised) }
}

/// Reads the body of an authentic callback: [`parse`], then [`recognised`].
pub fn read<'a>(settings: &Settings, callback: Callback<'a>) -> Result<Document<'a>, Unreadable> {
    parse(settings, callback).and_then(|document| recognised(settings, document))
}

/// The answer to a request of the provider that carries no result: `Ok(None)` when it is none of
/// these, `Err` when it is one and not authentic (401). `document` is the callback's, unless it
/// could not be parsed: a challenge has no field by which it would be recognised. `taken` is whether the source takes callbacks by this method at all. A
/// method that is not taken and may be a probe's ([`Provider::probes_by`]) is asked about too.
pub fn handshake(
    settings: &Settings,
    callback: Callback<'_>,
    document: Result<&Document<'_>, Unreadable>,
    taken: bool,
) -> Result<Option<Handshake>, Denied> {
    match (settings.provider, callback.method, document, taken) {
        (Provider::Plum, _, _, false) => Ok(plum::probe(settings, callback)),
        (Provider::Mobtexting, "POST", Ok(document), _) => {
            mobtexting::challenge(settings, document)
        }
        // The others document neither a challenge nor a probe.
        (
            Provider::Plum
            | Provider::Synthflow
            | Provider::Mobtexting
            | Provider::ElevenX
            | Provider::CloudDial
            | Provider::Custom,
            ..,
        ) => Ok(None),
    }
}

/// Makes of a document the event and the fingerprint that recognises its repeat.
pub fn normalise<'a>(
    settings: &Settings,
    document: Document<'a>,
    envelope: Envelope,
) -> Decoded<'a> {
    let rules = settings.provider.rules();
    let Document { root, query, from_query, size, warnings } = document;
    // The parameters of a GET are its content, of which some may change at each try.
    let beside = (!from_query).then_some(query);
    let source = envelope.source.as_str();
    let digest =
        settings.with_changing(|changing| fingerprint::of(source, beside, &root, changing, size));
    let mut fields = Fields::new(settings, root, warnings);
    let mapped = (rules.map)(&mut fields);
    let mut data = finish::finish(mapped, fields, query, from_query);
    data.provider = settings.data_provider();
    // A log that is another at each try cannot tell a call from one that looks alike.
    let log_stays = rules.changing.is_empty() && !settings.mapping.has_changing_log();
    let fingerprint = finish::identifies(&data, log_stays).then_some(digest);
    Decoded { event: CallEvent { envelope, data }, fingerprint }
}

// === impl Provider ===

impl Provider {
    /// Every provider we know ourselves.
    pub const ALL: &'static [Self] =
        &[Self::Plum, Self::Synthflow, Self::Mobtexting, Self::ElevenX, Self::CloudDial];

    /// The word in relay.toml, and `data.provider`.
    pub fn as_str(self) -> &'static str {
        self.rules().word
    }

    /// The provider of exactly this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|provider| provider.as_str() == word)
    }

    /// The most bytes of a decoded body, where its bodies are longer than others'.
    pub fn max_body(self) -> Option<usize> {
        self.rules().max_body
    }

    /// The header that holds the provider's static secret, where it has one; lower-case.
    pub fn auth_header(self) -> Option<&'static str> {
        self.rules().auth_header
    }

    /// The names by which `fields` of a source may rename what the mapper reads.
    pub fn fields(self) -> &'static [&'static str] {
        self.rules().fields
    }

    /// The names that `timezones` of a source may have, beside the last of each.
    pub fn times(self) -> &'static [&'static str] {
        self.rules().times
    }

    /// Whether a request by this method, which its source does not take, may be a probe or a
    /// challenge: Plum asks a URL for its 200 before it queues a call, and MOBtexting posts its
    /// challenge also where results come by GET. Its credentials are checked like any other's,
    /// then [`handshake`] knows; what it does not answer is a method that is not enabled.
    pub fn probes_by(self, method: &str) -> bool {
        match self {
            Self::Plum => matches!(method, "GET" | "HEAD"),
            Self::Mobtexting => method == "POST",
            Self::Synthflow | Self::ElevenX | Self::CloudDial | Self::Custom => false,
        }
    }

    /// How the provider signs, where it does: all but the secret.
    pub fn signature(self) -> Option<Signature> {
        (self == Self::Synthflow).then(Signature::synthflow)
    }

    /// In which forms the provider sends Basic.
    pub fn basic_form(self) -> BasicForm {
        if self == Self::CloudDial { BasicForm::Loose } else { BasicForm::Standard }
    }

    fn rules(self) -> &'static Rules {
        match self {
            Self::Plum => &plum::RULES,
            Self::Synthflow => &synthflow::RULES,
            Self::Mobtexting => &mobtexting::RULES,
            Self::ElevenX => &eleven_x::RULES,
            Self::CloudDial => &clouddial::RULES,
            Self::Custom => &mapping::RULES,
        }
    }
}

// === impl Settings ===

impl Settings {
    /// The settings of a source that says nothing but whose callbacks it takes.
    pub fn of(provider: Provider) -> Self {
        Self {
            provider,
            timezone: None,
            timezones: BTreeMap::new(),
            country: None,
            fields: BTreeMap::new(),
            status: BTreeMap::new(),
            repair_json: true,
            validation_key: None,
            mapping: Arc::default(),
        }
    }

    /// What events call the provider: its word, or the name of the mapping.
    pub fn name(&self) -> &str {
        match self.provider {
            Provider::Custom => self.mapping.name(),
            provider => provider.as_str(),
        }
    }

    fn data_provider(&self) -> Cow<'static, str> {
        match self.provider {
            Provider::Custom => Cow::Owned(self.mapping.name().to_owned()),
            provider => Cow::Borrowed(provider.as_str()),
        }
    }

    /// Whether a parameter of this name is the provider's own credential. One that the customer
    /// has made a field is none.
    fn is_credential(&self, name: &str) -> bool {
        self.provider.rules().credentials.contains(&name)
            && !self.fields.values().any(|key| document::path_of(key) == [name])
    }

    /// Whether a documented or configured field of the provider occurs.
    fn recognises(&self, document: &Document<'_>) -> bool {
        self.occurs_in(&document.root) || self.wrapper_of(&document.root).is_some()
    }

    /// The member of the root that holds the provider's fields, when the body is wrapped.
    fn wrapper_of(&self, root: &Object<'_>) -> Option<&'static str> {
        let wrapper = self.provider.rules().wrapper?;
        match root.iter().find(|(name, _)| name == wrapper) {
            Some((_, Value::Object(members))) if self.occurs_in(members) => Some(wrapper),
            _ => None,
        }
    }

    fn occurs_in(&self, members: &Object<'_>) -> bool {
        let received = |key: &String| with_path(key, |path| find(members, path).is_some());
        members.iter().any(|(name, _)| self.is_documented(name))
            || self.fields.values().any(received)
            || self.mapping.places().any(|place| find(members, &place.names()).is_some())
    }

    /// Whether a top-level member of this name is one of the provider's fields under its own name.
    fn is_documented(&self, name: &str) -> bool {
        self.provider.rules().documented.contains(&name) && !self.fields.contains_key(name)
    }

    /// Calls `then` with the paths of what the provider changes at each try, as received.
    fn with_changing<T>(&self, then: impl FnOnce(&[&[&str]]) -> T) -> T {
        let changing = self.provider.rules().changing;
        let own = self.mapping.changing();
        if self.fields.is_empty() && own.is_empty() {
            let paths: Vec<&[&str]> = changing.iter().map(std::slice::from_ref).collect();
            return then(&paths);
        }
        let received = changing.iter().map(|name| match self.fields.get(*name) {
            Some(key) => Place::new(key),
            None => Place::new(name),
        });
        let places: Vec<Place> = received.chain(own.iter().cloned()).collect();
        let names: Vec<Vec<&str>> = places.iter().map(Place::names).collect();
        let paths: Vec<&[&str]> = names.iter().map(Vec::as_slice).collect();
        then(&paths)
    }

    /// Calls `then` with the path under which the field of `path` is received.
    fn with_received<T>(
        &self,
        path: fields::Path<'_>,
        then: impl FnOnce(fields::Path<'_>) -> T,
    ) -> T {
        if self.fields.is_empty() {
            return then(path);
        }
        // What is in a renamed field goes with it.
        let renamed = (1..=path.len()).rev().find_map(|names| {
            let (name, within) = path.split_at_checked(names)?;
            Some((self.fields.get(&name.join("."))?, within))
        });
        match renamed {
            Some((key, [])) => with_path(key, then),
            Some((key, within)) => with_path(key, |key| then(&[key, within].concat())),
            None => then(path),
        }
    }
}

/// Calls `then` with the path that a received key means.
fn with_path<T>(key: &str, then: impl FnOnce(fields::Path<'_>) -> T) -> T {
    let path = document::path_of(key);
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    then(&path)
}

impl Handshake {
    fn new(content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { content_type, body: body.into() }
    }

    /// The content type of the answer.
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// The body of the answer.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests;
