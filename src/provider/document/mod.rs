//! A body, read once (`providers.md` C.0): from bytes to a tree of values, or a reason why not.
//!
//! The work is linear in the bytes, and the memory is bounded by the limits below, whatever the
//! bytes are. Strings borrow from the body unless they hold an escape or had to be repaired.

mod form;
mod json;
mod multipart;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
};

use super::work::visited;
use crate::event::{
    Warning,
    value::{Object, Value},
};

/// The deepest nesting of objects and lists; the root counts as one.
pub const MAX_DEPTH: usize = 64;

/// The most members of objects and entries of lists in a document, all together.
pub const MAX_FIELDS: usize = 10_000;

/// A callback as `ingest` has read it: authentic, decompressed, without its credentials.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    /// `POST`, `GET`, …
    pub method: &'a str,
    /// The query string, without the parameters that authenticate.
    pub query: &'a str,
    /// The content type as sent.
    pub content_type: Option<&'a str>,
    /// The body's bytes.
    pub body: &'a [u8],
}

/// A body that was read: an object, and what reading it had to note.
#[derive(Debug)]
pub struct Document<'a> {
    pub(super) root: Object<'a>,
    /// The query as sent, without the parameters that authenticate.
    pub(super) query: &'a str,
    /// Whether the root was made of the query: a GET has no other body.
    pub(super) from_query: bool,
    /// How many bytes it was read from.
    pub(super) size: usize,
    pub(super) warnings: BTreeSet<Warning>,
}

/// A place in a body as relay.toml names it: a form key (`token`, `customer[name]`) or a JSON
/// pointer (`/customer/name`). Both mean the same place in either kind of body.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Vec<String>);

/// Why a text names no place in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A tilde of a JSON pointer before neither 0 nor 1 (RFC 6901).
    #[error("a tilde is written ~0, and ~1 stands for a slash")]
    Escape,
    /// It has more than [`MAX_DEPTH`] names, and no body is read so deep.
    #[error("it is deeper than any body that is read")]
    TooDeep,
}

/// Why a body could not be read: the closed list of `providers.md` C.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// There is no body, or nothing but white space in it.
    #[error("the body is empty")]
    Empty,
    /// It begins as JSON and is none, also after the repairs.
    #[error("the body is not JSON")]
    NotJson,
    /// It is JSON, but a list.
    #[error("the body is not an object")]
    NotAnObject,
    /// No documented or configured field of the provider occurs in it.
    #[error("no field of the provider occurs in the body")]
    Unrecognised,
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("the body nests too deep")]
    TooDeep,
    /// It has more than [`MAX_FIELDS`] members and entries.
    #[error("the body has too many fields")]
    TooManyFields,
    /// An object has a member twice, or a form a key.
    #[error("the body has a key twice")]
    DuplicateKey,
    /// A form of body that is not read: XML, files, parts of a form that do not add up.
    #[error("the body is of an unsupported form")]
    Unsupported,
}

/// Reads the body of a callback; whose fields must occur in it is the caller's to check.
pub(super) fn read(callback: Callback<'_>, repair_json: bool) -> Result<Document<'_>, Unreadable> {
    let from_query = callback.method.eq_ignore_ascii_case("GET");
    let mut notes = Notes { repair_json, ..Notes::default() };
    let body = if from_query { callback.query.as_bytes() } else { callback.body };
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    let said = if from_query { Said::Other } else { Said::of(callback.content_type) };
    let root = match body.first() {
        None => return Err(Unreadable::Empty),
        Some(b'{' | b'[') if !from_query => {
            notes.mismatch(said == Said::Form);
            match json::read(body, &mut notes)? {
                Value::Object(members) => members,
                _ => return Err(Unreadable::NotAnObject),
            }
        }
        Some(b'<') if !from_query => return Err(Unreadable::Unsupported),
        Some(_) if said == Said::Multipart => {
            multipart::read(callback.content_type.unwrap_or_default(), body, &mut notes)?
        }
        Some(_) => {
            notes.mismatch(said == Said::Json);
            form::read(body.trim_ascii_end(), &mut notes)?
        }
    };
    let Notes { warnings, .. } = notes;
    Ok(Document { root, query: callback.query, from_query, size: body.len(), warnings })
}

/// The object or list that a text of a body holds as JSON, read strictly.
pub(super) fn nested(text: &str) -> Option<Value<'_>> {
    let mut notes = Notes::default();
    match json::read(text.trim().as_bytes(), &mut notes) {
        // A repaired text would not be the one that was sent.
        Ok(value @ (Value::Object(_) | Value::Array(_))) if notes.warnings.is_empty() => {
            Some(value)
        }
        _ => None,
    }
}

/// What the content type says of the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Json,
    Form,
    Multipart,
    Other,
}

/// What is counted and noted while a body is read.
#[derive(Debug, Default)]
struct Notes {
    repair_json: bool,
    fields: usize,
    warnings: BTreeSet<Warning>,
}

/// Refuses an object with a member twice; in linear time.
fn check_unique(members: &Object<'_>) -> Result<(), Unreadable> {
    /// Up to here comparing the marks of all pairs is quicker than hashing.
    const FEW: usize = 40;
    let unique = if members.len() <= FEW {
        let mut marks = [0; FEW];
        for (to, (name, _)) in marks.iter_mut().zip(members) {
            *to = mark(name);
        }
        members.iter().zip(1..).zip(&marks).all(|(((name, _), next), mark)| {
            let later = marks.get(next..members.len()).unwrap_or_default();
            // All of them, and not up to the first, which the compiler does several at a time.
            let seems_twice = later.iter().filter(|other| *other == mark).count() > 0;
            !seems_twice || members.iter().skip(next).all(|(other, _)| is_another(other, name))
        })
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        members.iter().all(|(name, _)| {
            visited(name.len());
            seen.insert(name.as_ref())
        })
    };
    if unique { Ok(()) } else { Err(Unreadable::DuplicateKey) }
}

fn is_another(name: &str, other: &str) -> bool {
    visited(name.len());
    name != other
}

/// A number made of a name: the same for the same name, and another for most others.
pub(super) fn mark(name: &str) -> u64 {
    visited(16);
    let bytes = name.as_bytes();
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
        }
        _ => bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
    };
    ends ^ len << 56
}

/// The parameters of a query string, decoded, in order; a repeated name becomes a list.
pub(super) fn parameters<'a>(query: &'a str, warnings: &mut BTreeSet<Warning>) -> Object<'a> {
    let mut notes = Notes::default();
    let parameters = form::parameters(query.as_bytes(), &mut notes);
    warnings.append(&mut notes.warnings);
    parameters
}

// === impl Document ===

impl<'a> Document<'a> {
    /// Whatever stands at a place.
    pub(super) fn at(&self, place: &Place) -> Option<&Value<'a>> {
        find(&self.root, &place.names())
    }

    /// Takes out whatever stands at a place: a credential, before anything else sees the body.
    pub(super) fn remove_at(&mut self, place: &Place) -> Option<Value<'a>> {
        remove(&mut self.root, &place.0)
    }
}

fn remove<'a>(members: &mut Object<'a>, path: &[String]) -> Option<Value<'a>> {
    let (name, rest) = path.split_first()?;
    let at = members.iter().position(|(member, _)| member == name)?;
    if rest.is_empty() {
        Some(members.remove(at).1)
    } else {
        descend(&mut members.get_mut(at)?.1, rest)
    }
}

fn descend<'a>(value: &mut Value<'a>, path: &[String]) -> Option<Value<'a>> {
    match value {
        Value::Object(members) => remove(members, path),
        Value::Array(entries) => {
            let (index, rest) = path.split_first()?;
            let at: usize = index.parse().ok().filter(|at| *at < entries.len())?;
            if rest.is_empty() {
                Some(entries.remove(at))
            } else {
                descend(entries.get_mut(at)?, rest)
            }
        }
        _ => None,
    }
}

// === impl Place ===

impl Place {
    /// Reads what a person wrote: a form key or, behind a slash, a JSON pointer that can occur.
    pub fn read(written: &str) -> Result<Self, PlaceError> {
        let escaped = |rest: &str| rest.starts_with(['0', '1']);
        if written.starts_with('/') && !written.split('~').skip(1).all(escaped) {
            return Err(PlaceError::Escape);
        }
        let names = if written.starts_with('/') {
            written.matches('/').count()
        } else {
            1 + written.matches(['[', '.']).count()
        };
        if names > MAX_DEPTH {
            return Err(PlaceError::TooDeep);
        }
        Ok(Self::new(written))
    }

    /// Reads a form key or, behind a slash, a JSON pointer.
    pub fn new(written: &str) -> Self {
        Self(path_of(written).into_iter().map(Cow::into_owned).collect())
    }

    /// The names on the way to it.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    /// Whether a key of a form or a query means it.
    pub(super) fn is_key(&self, key: &str) -> bool {
        form::path_of(key).iter().map(AsRef::as_ref).eq(self.0.iter().map(String::as_str))
    }
}

/// Follows a path through objects, and through lists by index.
pub(super) fn find<'v, 'a>(root: &'v Object<'a>, path: &[&str]) -> Option<&'v Value<'a>> {
    fn member<'v, 'a>(members: &'v Object<'a>, name: &str) -> Option<&'v Value<'a>> {
        visited(members.len());
        members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(member(root, first)?, |value, name| match value {
        Value::Object(members) => member(members, name),
        Value::Array(entries) => entries.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The path that a key in relay.toml means: a JSON pointer, else what a form would nest it to.
pub(super) fn path_of(key: &str) -> Vec<Cow<'_, str>> {
    match key.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(unescape).collect(),
        None => form::path_of(key),
    }
}

fn unescape(name: &str) -> Cow<'_, str> {
    if name.contains('~') { name.replace("~1", "/").replace("~0", "~").into() } else { name.into() }
}

// === impl Unreadable ===

impl Unreadable {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::Empty,
        Self::NotJson,
        Self::NotAnObject,
        Self::Unrecognised,
        Self::TooDeep,
        Self::TooManyFields,
        Self::DuplicateKey,
        Self::Unsupported,
    ];

    /// The reason as it stands in metrics and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::Unrecognised => "unrecognised",
            Self::TooDeep => "too_deep",
            Self::TooManyFields => "too_many_fields",
            Self::DuplicateKey => "duplicate_key",
            Self::Unsupported => "unsupported",
        }
    }
}

// === impl Said ===

impl Said {
    fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        let ends = |suffix: &str| {
            essence
                .len()
                .checked_sub(suffix.len())
                .and_then(|at| essence.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        if is("application/json") || is("text/json") || ends("+json") {
            Self::Json
        } else if is("application/x-www-form-urlencoded") {
            Self::Form
        } else if is("multipart/form-data") {
            Self::Multipart
        } else {
            Self::Other
        }
    }
}

// === impl Notes ===

impl Notes {
    /// Counts one more member or entry.
    fn count(&mut self) -> Result<(), Unreadable> {
        self.fields += 1;
        if self.fields > MAX_FIELDS { Err(Unreadable::TooManyFields) } else { Ok(()) }
    }

    /// Refuses one pair of a form more than are read, before it is decoded.
    fn check_room(&self) -> Result<(), Unreadable> {
        if self.fields >= MAX_FIELDS { Err(Unreadable::TooManyFields) } else { Ok(()) }
    }

    /// Bytes as text, where what is not UTF-8 becomes U+FFFD.
    fn text<'a>(&mut self, bytes: Cow<'a, [u8]>) -> Cow<'a, str> {
        match bytes {
            Cow::Borrowed(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if let Cow::Owned(_) = text {
                    self.warn(Warning::TextRepaired);
                }
                text
            }
            Cow::Owned(bytes) => String::from_utf8(bytes).map_or_else(
                |error| {
                    self.warn(Warning::TextRepaired);
                    Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned())
                },
                Cow::Owned,
            ),
        }
    }

    fn mismatch(&mut self, found: bool) {
        if found {
            self.warn(Warning::ContentTypeMismatch);
        }
    }

    fn warn(&mut self, warning: Warning) {
        self.warnings.insert(warning);
    }
}
