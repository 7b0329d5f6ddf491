//! What the published schema says of the fields a condition names.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::event::schema::CALL_EVENT_SCHEMA;

/// What is known of a value before any event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'s> {
    /// What the schema says.
    Known(&'s Value),
    /// The provider's or customer's own: anything.
    Free,
}

/// What is wrong with a step from a value to one of its fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoField<'s> {
    /// It has other fields.
    Unknown(Vec<&'s str>),
    /// It is a list.
    List,
    /// It is one value and has no fields.
    Single,
}

/// The schema, whose text is a constant of ours that a test reads.
static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(CALL_EVENT_SCHEMA).unwrap_or_default());

/// The event itself, whose fields are the variables of a condition.
pub(super) fn event() -> Shape<'static> {
    Shape::Known(&SCHEMA)
}

/// The names of the event's own fields.
pub(super) fn variables() -> Vec<&'static str> {
    event().fields()
}

/// Where a name that is no variable is a field.
pub(super) fn whereabouts(name: &str) -> Option<String> {
    let has = |of: &str| of.split('.').chain([name]).try_fold(event(), Shape::field).is_ok();
    ["data", "data.call"].into_iter().find(|of| has(of)).map(|of| format!("{of}.{name}"))
}

/// An event that has everything: no field is null, each list has an entry.
pub fn full_event() -> String {
    full(&SCHEMA).to_string()
}

// === impl Shape ===

impl<'s> Shape<'s> {
    /// The field of this name.
    pub(super) fn field(self, name: &str) -> Result<Shape<'s>, NoField<'s>> {
        let Self::Known(schema) = self else { return Ok(self) };
        let schema = resolved(schema);
        match schema.get("properties").and_then(Value::as_object) {
            Some(fields) => match fields.get(name) {
                Some(field) => Ok(Shape::Known(field)),
                None => Err(NoField::Unknown(self.fields())),
            },
            None if is(schema, "object") => Ok(Shape::Free),
            None if is(schema, "array") => Err(NoField::List),
            None => Err(NoField::Single),
        }
    }

    /// Whether it is a table whose fields all have names of ours.
    pub(super) fn has_fixed_fields(self) -> bool {
        !self.fields().is_empty()
    }

    /// An entry of the list it is.
    pub(super) fn entry(self) -> Shape<'s> {
        match self {
            Self::Known(schema) => resolved(schema).get("items").map_or(Shape::Free, Shape::Known),
            Self::Free => Self::Free,
        }
    }

    /// The words it may be, when they are a closed list.
    pub(super) fn words(self) -> Option<Vec<&'s str>> {
        let Self::Known(schema) = self else { return None };
        let words = resolved(schema).get("enum")?.as_array()?;
        Some(words.iter().filter_map(Value::as_str).collect())
    }

    fn fields(self) -> Vec<&'s str> {
        let Self::Known(schema) = self else { return Vec::new() };
        let fields = resolved(schema).get("properties").and_then(Value::as_object);
        fields.map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
    }
}

/// Follows `$ref`, and of "this or null" takes this.
fn resolved(schema: &Value) -> &Value {
    let named = |name: &str| SCHEMA.pointer(name.strip_prefix('#').unwrap_or_default());
    let mut schema = schema;
    // No definition of ours leads further than two steps.
    for _ in 0..4 {
        let next = match (schema.get("$ref").and_then(Value::as_str), schema.get("anyOf")) {
            (Some(name), _) => named(name),
            (None, Some(Value::Array(any))) => any.first(),
            _ => None,
        };
        match next {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

fn is(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == kind,
        Some(Value::Array(names)) => names.iter().any(|name| name == kind),
        _ => false,
    }
}

fn full(schema: &Value) -> Value {
    let schema = resolved(schema);
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(Value::Array(words)) = schema.get("enum") {
        return words.first().cloned().unwrap_or_default();
    }
    if let Some(Value::Object(fields)) = schema.get("properties") {
        let members = fields.iter().map(|(name, field)| (name.clone(), full(field)));
        return Value::Object(members.collect::<Map<_, _>>());
    }
    match () {
        () if is(schema, "object") => json!({}),
        () if is(schema, "array") => json!([schema.get("items").map(full)]),
        () if is(schema, "integer") => json!(1),
        () if is(schema, "boolean") => json!(true),
        () => json!("2025-10-27T10:01:39Z"),
    }
}
