//! A decoded value as the provider sent it: names, nesting, order and number text kept.
//!
//! `serde_json::Value` would lose the text of numbers (`1.50`, `1e400`, forty digits) and the
//! order of keys. What is verbatim in an event (`extra`, `analysis`, …) is one of these.

use std::borrow::Cow;

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap as _},
};
use serde_json::value::RawValue;

/// A JSON value that borrows from the body wherever it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number by its text: valid JSON number syntax, never passed through a float.
    Number(Cow<'a, str>),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// A list.
    Array(Vec<Value<'a>>),
    /// An object: keys in the order they were sent, each once.
    Object(Object<'a>),
}

/// The members of an object in the order they were sent.
pub type Object<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// Serialises members as a JSON object.
#[derive(Debug)]
pub struct AsObject<'v, 'a>(pub &'v Object<'a>);

// === impl Value ===

impl Value<'_> {
    /// Whether this is an object or list with something in it; everything else is a leaf.
    pub fn is_branch(&self) -> bool {
        match self {
            Self::Array(entries) => !entries.is_empty(),
            Self::Object(members) => !members.is_empty(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => false,
        }
    }

    /// The same value, borrowing from nothing.
    pub fn into_owned(self) -> Value<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(text) => Value::Number(owned(text)),
            Self::String(text) => Value::String(owned(text)),
            Self::Array(entries) => {
                Value::Array(entries.into_iter().map(Value::into_owned).collect())
            }
            Self::Object(members) => {
                let member = |(name, value): (Cow<'_, str>, Value<'_>)| {
                    (Cow::Owned(name.into_owned()), value.into_owned())
                };
                Value::Object(members.into_iter().map(member).collect())
            }
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(text) => serde_json::from_str::<&RawValue>(text)
                .map_err(S::Error::custom)?
                .serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(entries) => serializer.collect_seq(entries),
            Self::Object(members) => AsObject(members).serialize(serializer),
        }
    }
}

impl Serialize for AsObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
