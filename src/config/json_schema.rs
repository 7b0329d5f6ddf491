//! The JSON Schema of relay.toml, made from the list of keys: what an editor completes and marks.
//!
//! It says of each value what its own text can show. What holds between keys (a route's target
//! exists, no two sources share a path) is `check`'s to say.

use serde_json::{Map, Value, json};

use super::{
    contract::ROOT,
    key::{Key, Kind, Presence, Table, Variant, Zero},
};
use crate::event::Status;

/// JSON Schema 2020-12 of relay.toml as it looks in JSON.
pub fn schema() -> Value {
    let mut root = table(&ROOT);
    if let Value::Object(root) = &mut root {
        root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        root.insert("title".into(), json!("relay.toml of Hookswitch"));
    }
    root
}

fn table(table: &Table) -> Value {
    let written = || table.keys.iter();
    let properties: Map<String, Value> =
        written().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> =
        written().filter(|key| key.presence == Presence::Required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let mut schema = kind(&key.kind);
    if let Value::Object(schema) = &mut schema {
        let doc = match key.presence {
            Presence::Inherited(from) => format!("{} Else: {from}.", key.doc),
            _ => key.doc.to_owned(),
        };
        schema.insert("description".into(), doc.into());
        if let Presence::Default(written) = key.presence
            && let Some(default) = default(written)
        {
            schema.insert("default".into(), default);
        }
    }
    schema
}

/// A default as JSON; it is written as TOML.
fn default(written: &str) -> Option<Value> {
    let mut table: toml::Table = format!("default = {written}").parse().ok()?;
    serde_json::to_value(table.remove("default")?).ok()
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Duration(Zero::Off) => json!({ "type": "string", "pattern": DURATION }),
        Kind::Duration(Zero::Refused) => json!({
            "type": "string", "pattern": DURATION, "not": { "pattern": "^0+ ?[a-z]+$" },
        }),
        Kind::Size => json!({ "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$" }),
        Kind::Count(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Factor => json!({ "type": "number", "minimum": 1, "maximum": 1000 }),
        Kind::Rate => json!({ "type": "string", "pattern": "^0*[1-9][0-9]* ?/ ?[smh]$" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Address
        | Kind::Network
        | Kind::Path
        | Kind::Text
        | Kind::Header
        | Kind::Place
        | Kind::Zone => text(),
        Kind::UrlPath => json!({ "type": "string", "pattern": "^/" }),
        Kind::Url => json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://" }),
        Kind::Headers => json!({ "anyOf": [text(), list(&text())] }),
        Kind::Rule(detailed) => json!({ "anyOf": [text(), table(detailed)] }),
        Kind::Picked => {
            json!({ "anyOf": [text(), { "type": "object", "additionalProperties": text() }] })
        }
        Kind::Word(words) => json!({ "enum": words.now }),
        Kind::Status => {
            let words: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
            json!({ "enum": words })
        }
        Kind::Ack => json!({ "enum": [200, 202] }),
        Kind::Code => code(),
        Kind::CodeRange => json!({ "anyOf": [code(), { "enum": ["2xx", "3xx", "4xx", "5xx"] }] }),
        Kind::Country => json!({ "type": "string", "pattern": "^[A-Z]{2}$" }),
        Kind::Source | Kind::Target => json!({ "type": "string", "pattern": NAME }),
        Kind::Secret => secret(),
        Kind::Secrets => json!({ "anyOf": [secret(), list(&secret())] }),
        Kind::TextOrFile => json!({ "anyOf": [text(), from("file")] }),
        Kind::CallerAuth(variants) => {
            let scheme = one_of(variants);
            json!({ "anyOf": [{ "const": "none" }, scheme, list(&scheme)] })
        }
        Kind::TargetAuth(variants) => one_of(variants),
        Kind::List(of) | Kind::Tables(of) => list(&kind(of)),
        Kind::Map(of) => json!({ "type": "object", "additionalProperties": kind(of) }),
        Kind::Table(of) => table(of),
        Kind::Named(of) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME },
            "additionalProperties": kind(of),
        }),
    }
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn code() -> Value {
    json!({ "type": "integer", "minimum": 200, "maximum": 599 })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn secret() -> Value {
    json!({ "anyOf": [text(), from("env"), from("file")] })
}

/// `{ env = "NAME" }` or `{ file = "path" }`.
fn from(key: &str) -> Value {
    json!({
        "type": "object",
        "properties": { key: text() },
        "required": [key],
        "additionalProperties": false,
    })
}

fn one_of(variants: &[Variant]) -> Value {
    let tables: Vec<Value> =
        variants.iter().filter_map(|variant| variant.table).map(table).collect();
    json!({ "oneOf": tables })
}

const DURATION: &str = "^[0-9]+ ?(ms|s|m|h|d)$";

/// Names of sources and targets.
const NAME: &str = "^[a-z0-9][a-z0-9-]{0,62}$";

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;

    /// The file that editors find by the first line of the shipped relay.toml.
    const SHIPPED: &str = include_str!("relay.schema.json");

    /// What the schema has against a relay.toml.
    pub(crate) fn complaints(text: &str) -> Vec<String> {
        let relay = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
        let schema = jsonschema::draft202012::new(&schema()).unwrap();
        schema
            .iter_errors(&relay)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }

    #[test]
    fn the_shipped_schema_is_the_one_of_this_version() {
        let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";

        assert_eq!(SHIPPED, current, "`hookswitch schema config > src/config/relay.schema.json`");
    }

    #[test]
    fn the_shipped_relay_toml_names_the_schema_and_keeps_to_it() {
        let text = include_str!("../../relay.toml");
        let named = text.lines().next().unwrap().strip_prefix("#:schema ").unwrap();

        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(named).is_file(), "{named}");
        assert_eq!(complaints(text), Vec::<String>::new());
    }

    #[test]
    fn a_misspelt_key_a_wrong_type_and_a_missing_key_are_marked() {
        for (wrong, place) in [
            ("[server]\nlistne = \"127.0.0.1:0\"", "/server"),
            ("[server]\nmax_in_flight = \"many\"", "/server/max_in_flight"),
            ("[server]\nbody_deadline = \"0s\"", "/server/body_deadline"),
            ("[sources.a]\nprovider = \"11x\"", "/sources/a"),
            ("[sources.a]\nprovider = \"11y\"\nauth = \"none\"", "/sources/a/provider"),
            ("[sources.a]\nprovider = \"11x\"\nauth = { kind = \"bearer\" }", "/sources/a/auth"),
            ("[[routes]]\nto = \"crm\"", "/routes/0/to"),
        ] {
            let complaints = complaints(wrong);

            assert!(
                complaints.iter().any(|said| said.starts_with(place)),
                "{wrong}: {complaints:?}"
            );
        }
    }
}
