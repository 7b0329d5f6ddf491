//! An event as conditions see it: read from its JSON, and no more of it than they name.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use cel::Value;
use serde_json::value::RawValue;

/// An event that conditions are asked about. Nothing is read before the first asks.
#[derive(Debug)]
pub struct Subject<'j> {
    json: &'j [u8],
    split: OnceCell<Option<Split<'j>>>,
}

/// The members of the event and of its `data`, unread.
#[derive(Debug)]
struct Split<'j> {
    envelope: BTreeMap<String, &'j RawValue>,
    data: BTreeMap<String, &'j RawValue>,
}

/// Deeper than any body a provider may send; what is deeper cannot be asked about.
const DEPTH_MAX: usize = 256;

// === impl Subject ===

impl<'j> Subject<'j> {
    /// The event of this JSON.
    pub fn new(json: &'j [u8]) -> Self {
        Self { json, split: OnceCell::new() }
    }

    /// The variables of an evaluation: the envelope, and of `data` these members. `None` for what
    /// is not an event.
    pub(super) fn variables(&self, members: &BTreeSet<String>) -> Option<Vec<(String, Value)>> {
        let split = self.split.get_or_init(|| Split::of(self.json)).as_ref()?;
        let mut variables = vec![("subject".to_owned(), Value::Null)];
        for (name, raw) in &split.envelope {
            variables.push((name.clone(), value(raw, DEPTH_MAX)?));
        }
        let mut data = std::collections::HashMap::new();
        for (name, raw) in &split.data {
            if members.contains(name) {
                data.insert(name.clone(), value(raw, DEPTH_MAX)?);
            }
        }
        variables.push(("data".to_owned(), Value::from(data)));
        Some(variables)
    }
}

// === impl Split ===

impl<'j> Split<'j> {
    fn of(json: &'j [u8]) -> Option<Self> {
        let mut envelope: BTreeMap<String, &RawValue> = serde_json::from_slice(json).ok()?;
        let data = serde_json::from_str(envelope.remove("data")?.get()).ok()?;
        Some(Self { envelope, data })
    }
}

/// Numbers keep their text until here, so that one of forty digits in a field that nobody asks for
/// harms no condition: whole ones that fit are ints, all others doubles.
fn value(raw: &RawValue, depth: usize) -> Option<Value> {
    let text = raw.get();
    let depth = depth.checked_sub(1)?;
    Some(match text.as_bytes().first()? {
        b'n' => Value::Null,
        b't' => Value::Bool(true),
        b'f' => Value::Bool(false),
        b'"' => Value::from(serde_json::from_str::<String>(text).ok()?),
        b'[' => {
            let entries: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let entries: Option<Vec<Value>> =
                entries.into_iter().map(|entry| value(entry, depth)).collect();
            Value::List(entries?.into())
        }
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let members: Option<std::collections::HashMap<String, Value>> =
                members.into_iter().map(|(name, raw)| Some((name, value(raw, depth)?))).collect();
            Value::from(members?)
        }
        _ => text.parse().map(Value::Int).or_else(|_| text.parse().map(Value::Float)).ok()?,
    })
}
