//! A decoded value as the provider sent it: names, nesting, order and number text kept.
//!
//! `serde_json::Value` would lose the text of numbers (`1.50`, `1e400`, forty digits) and the
//! order of keys. What is verbatim in an event (`extra`, `analysis`, …) is one of these.

use std::borrow::Cow;

use crate::event::json::Json;

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

/// Members that are written as a JSON object.
pub(super) struct AsObject<'v, 'a>(pub(super) &'v Object<'a>);

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

    /// The value as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        self.write_json(&mut json);
        json
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

impl Json for Value<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        match self {
            Self::Null => to.extend_from_slice(b"null"),
            Self::Bool(value) => value.write_json(to),
            Self::Number(text) => to.extend_from_slice(text.as_bytes()),
            Self::String(text) => text.write_json(to),
            Self::Array(entries) => entries.write_json(to),
            Self::Object(members) => AsObject(members).write_json(to),
        }
    }
}

impl Json for AsObject<'_, '_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        to.push(b'{');
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                to.push(b',');
            }
            name.write_json(to);
            to.push(b':');
            value.write_json(to);
        }
        to.push(b'}');
    }
}
