//! relay.toml as it is in force, for showing: defaults filled in, secrets left out.

use std::fmt;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{
    contract::{HTTP_ONLY, ROOT, TARGET},
    key::{Key, Kind, Presence, Table, Variant},
};

/// The configuration in force, as JSON. Where a secret is named, the name of its variable or file
/// stands; where one is written out, and whatever of a URL may be a token, `…`.
#[derive(Clone, Default)]
pub struct Redacted(Value);

// === impl Redacted ===

impl Redacted {
    pub(super) fn of(tree: &DeTable<'_>) -> Self {
        Self(table(&ROOT, tree, defaults_of_targets(tree)))
    }

    /// An object with a member for each table of relay.toml.
    pub fn as_json(&self) -> &Value {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redacted(…)")
    }
}

fn defaults_of_targets<'a>(tree: &'a DeTable<'a>) -> Option<&'a DeTable<'a>> {
    let DeValue::Table(defaults) = tree.get("defaults")?.get_ref() else { return None };
    match defaults.get("target")?.get_ref() {
        DeValue::Table(target) => Some(target),
        _ => None,
    }
}

fn table(spec: &'static Table, entries: &DeTable<'_>, inherited: Option<&DeTable<'_>>) -> Value {
    let is_target = std::ptr::eq(spec, &raw const TARGET);
    let is_file = is_target && entries.contains_key("file");
    let mut shown = Map::new();
    for key in spec.keys {
        let own = entries.get(key.name);
        let from_defaults = || inherited.filter(|_| is_target)?.get(key.name);
        let value = match own.or_else(from_defaults) {
            Some(found) => value(&key.kind, found.get_ref(), inherited),
            None if is_file && HTTP_ONLY.contains(&key.name) => continue,
            None => match default(key, inherited) {
                Some(value) => value,
                None => continue,
            },
        };
        shown.insert(key.name.to_owned(), value);
    }
    Value::Object(shown)
}

fn default(key: &'static Key, inherited: Option<&DeTable<'_>>) -> Option<Value> {
    let Presence::Default(toml) = key.presence else { return None };
    Some(value(&key.kind, DeValue::parse(toml).ok()?.get_ref(), inherited))
}

fn value(kind: &'static Kind, found: &DeValue<'_>, inherited: Option<&DeTable<'_>>) -> Value {
    match (kind, found) {
        (Kind::Table(spec) | Kind::Rule(spec), DeValue::Table(entries)) => {
            table(spec, entries, inherited)
        }
        (Kind::Named(of) | Kind::Map(of), DeValue::Table(entries)) => {
            members(entries, |_| Some(of), inherited)
        }
        (Kind::CallerAuth(variants) | Kind::TargetAuth(variants), DeValue::Table(entries)) => {
            match variant(variants, entries) {
                Some(spec) => table(spec, entries, inherited),
                None => hidden(),
            }
        }
        (Kind::CallerAuth(_), DeValue::String(word)) if word == "none" => "none".into(),
        (Kind::List(of) | Kind::Tables(of), DeValue::Array(list)) => {
            list.iter().map(|element| value(of, element.get_ref(), inherited)).collect()
        }
        (Kind::Secrets | Kind::CallerAuth(_), DeValue::Array(list)) => {
            list.iter().map(|element| value(kind, element.get_ref(), inherited)).collect()
        }
        (Kind::Secret | Kind::Secrets, DeValue::Table(entries)) => {
            static NAME: Kind = Kind::Text;
            members(entries, |name| matches!(name, "env" | "file").then_some(&NAME), inherited)
        }
        (Kind::Url, DeValue::String(url)) => origin(url),
        (kind, found) if kind.is_open() => plain(found),
        _ => hidden(),
    }
}

fn members(
    entries: &DeTable<'_>,
    kind: impl Fn(&str) -> Option<&'static Kind>,
    inherited: Option<&DeTable<'_>>,
) -> Value {
    let member = |name: &str, found: &DeValue<'_>| match kind(name) {
        Some(kind) => value(kind, found, inherited),
        None => hidden(),
    };
    let members = entries.iter().map(|(name, found)| {
        let name = name.get_ref();
        (name.clone().into_owned(), member(name, found.get_ref()))
    });
    Value::Object(members.collect())
}

fn variant(variants: &'static [Variant], entries: &DeTable<'_>) -> Option<&'static Table> {
    let DeValue::String(word) = entries.get("kind")?.get_ref() else { return None };
    variants.iter().find(|variant| variant.word == word)?.table
}

/// Scheme, host and port: what follows may be a token.
fn origin(url: &str) -> Value {
    let Ok(url) = reqwest::Url::parse(url) else { return hidden() };
    let origin = url.origin().ascii_serialization();
    match url.path() {
        "/" if url.query().is_none() => format!("{origin}/").into(),
        _ => format!("{origin}/…").into(),
    }
}

fn plain(found: &DeValue<'_>) -> Value {
    match found {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string().into(), Value::from),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.to_string().into(), Value::from)
        }
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(list) => list.iter().map(|element| plain(element.get_ref())).collect(),
        DeValue::Table(entries) => {
            let members = entries
                .iter()
                .map(|(name, found)| (name.get_ref().clone().into_owned(), plain(found.get_ref())));
            Value::Object(members.collect())
        }
    }
}

fn hidden() -> Value {
    "…".into()
}
