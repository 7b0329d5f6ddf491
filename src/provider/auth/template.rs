//! What a signature signs, as relay.toml writes it: text with `{body}`, `{timestamp}`,
//! `{header:NAME}` and `{json:/pointer}` in it.

use std::borrow::Cow;

use http::HeaderName;

use super::{Body, Denied, Head, is_get, single};
use crate::{
    event::value::Value,
    provider::{Document, Place, Unreadable},
};

/// What is signed, part after part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its other.
    #[error("a brace has no other one")]
    Unclosed,
    /// Nothing we know stands between the braces.
    #[error("{{{0}}} is not known")]
    Unknown(String),
    /// What follows `header:` is no header's name.
    #[error("{0:?} is not the name of a header")]
    Header(String),
    /// What follows `json:` is no JSON pointer.
    #[error("{0:?} is not a JSON pointer")]
    Pointer(String),
    /// It names no part of a request: every request would have the same signature.
    #[error("it signs nothing of a request")]
    Constant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
    Header(HeaderName),
    Json(Place),
}

// === impl Template ===

impl Template {
    /// Reads a template as it is written.
    pub fn new(written: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, next) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            parts.extend(Part::text(text)?);
            parts.push(Part::named(name)?);
            rest = next;
        }
        parts.extend(Part::text(rest)?);
        let varies = |part: &Part| matches!(part, Part::Body | Part::Header(_) | Part::Json(_));
        if parts.iter().any(varies) { Ok(Self(parts)) } else { Err(TemplateError::Constant) }
    }

    /// The template that is one value of the body.
    pub(super) fn of_value(pointer: &str) -> Self {
        Self(vec![Part::Json(Place::new(pointer))])
    }

    /// Whether the instant of the signature is signed.
    pub fn signs_timestamp(&self) -> bool {
        self.0.contains(&Part::Timestamp)
    }

    /// Whether the headers that are signed are there, once.
    pub(super) fn check_head(&self, head: &Head<'_>) -> Result<(), Denied> {
        self.0.iter().try_for_each(|part| match part {
            Part::Header(name) => single(head.headers, name).map(drop),
            Part::Text(_) | Part::Body | Part::Timestamp | Part::Json(_) => Ok(()),
        })
    }

    /// The bytes that were signed, in pieces. `timestamp` is the text of the signature's instant.
    pub(super) fn signed<'b>(
        &'b self,
        head: &Head<'b>,
        body: Body<'b, '_>,
        timestamp: Option<&'b [u8]>,
    ) -> Result<Vec<Cow<'b, [u8]>>, Denied> {
        let piece = |part: &'b Part| -> Result<Cow<'b, [u8]>, Denied> {
            Ok(match part {
                Part::Text(text) => Cow::Borrowed(text.as_bytes()),
                // Of a GET the query is the body.
                Part::Body if is_get(head.method) => Cow::Borrowed(head.query.as_bytes()),
                Part::Body => Cow::Borrowed(body.raw),
                Part::Timestamp => Cow::Borrowed(timestamp.ok_or(Denied::SignedValueMissing)?),
                Part::Header(name) => Cow::Borrowed(single(head.headers, name)?),
                Part::Json(place) => Cow::Owned(value_at(body.document, place)?),
            })
        };
        self.0.iter().map(piece).collect()
    }
}

/// The text at a place. One that is blank identifies nothing: a signature over it would fit any
/// other request that lacks it too.
fn value_at(document: Result<&Document<'_>, Unreadable>, place: &Place) -> Result<Vec<u8>, Denied> {
    match document.ok().and_then(|document| document.at(place)) {
        Some(Value::String(text) | Value::Number(text)) if !text.trim().is_empty() => {
            Ok(text.as_bytes().to_vec())
        }
        _ => Err(Denied::SignedValueMissing),
    }
}

// === impl Part ===

impl Part {
    fn text(text: &str) -> Result<Option<Self>, TemplateError> {
        match text {
            "" => Ok(None),
            text if text.contains('}') => Err(TemplateError::Unclosed),
            text => Ok(Some(Self::Text(text.to_owned()))),
        }
    }

    fn named(name: &str) -> Result<Self, TemplateError> {
        match name.split_once(':') {
            None if name == "body" => Ok(Self::Body),
            None if name == "timestamp" => Ok(Self::Timestamp),
            Some(("header", name)) => {
                name.parse().map(Self::Header).map_err(|_| TemplateError::Header(name.to_owned()))
            }
            Some(("json", pointer)) => Place::read(pointer)
                .ok()
                .filter(|_| pointer.starts_with('/'))
                .map(Self::Json)
                .ok_or_else(|| TemplateError::Pointer(pointer.to_owned())),
            _ => Err(TemplateError::Unknown(name.to_owned())),
        }
    }
}
