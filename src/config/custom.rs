//! `[sources.*.map]`: the mapping of a custom provider.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{
    excerpt::shown,
    fields::{Fields, Node},
    key::{Key, Kind, Presence, Table},
    mapping::MAP,
    value,
};
use crate::provider::{
    Mapping, Provider, fold_status,
    mapping::{At, Rule, TimeFormat},
};

/// Reads the table; `source` is what events call the provider unless it has a name of its own.
pub(super) fn read(node: &Node<'_>, source: &str) -> Option<Mapping> {
    let fields = Fields::open(node, &MAP)?;
    let name = match fields.written("name") {
        Some(node) => value::text(&node).and_then(|name| own_name(&node, name)),
        None => own_name(node, source.to_owned()),
    };
    let changing = match fields.written("changing") {
        Some(_) => fields.get("changing", |node| value::list(node, value::place)),
        None => Some(Vec::new()),
    };
    let mut rules = Rules::default();
    rules.read(&fields, &MAP, "");
    if rules.failed {
        return None;
    }
    let mapping = Mapping::new(name?, changing?, rules.read);
    if !mapping.reads_something() {
        return node.wrong(
            "a mapping that reads nothing recognises no callback",
            "name a place at least, such as call.id = \"CallSid\"",
        );
    }
    Some(mapping)
}

/// Every rule by our name of its field.
#[derive(Default)]
struct Rules {
    read: BTreeMap<String, Rule>,
    failed: bool,
}

/// A name of ours would lie about where an event comes from.
fn own_name(node: &Node<'_>, name: String) -> Option<String> {
    if Provider::from_word(&name).is_some() {
        return node.wrong(
            format!("\"{name}\" is a provider of the relay's own"),
            format!("write provider = \"{name}\", or another `name` in `map`"),
        );
    }
    Some(name)
}

// === impl Rules ===

impl Rules {
    /// Reads every key of `table` that stands for a field, under `prefix`.
    fn read(&mut self, fields: &Fields<'_>, table: &'static Table, prefix: &str) {
        for key in table.keys {
            let Some(node) = fields.written(key.name) else { continue };
            let field = format!("{prefix}{}", key.name);
            match &key.kind {
                Kind::Table(inner) if is_list(inner) => self.list(&node, inner, &field),
                Kind::Table(inner) => match Fields::open(&node, inner) {
                    Some(fields) => self.read(&fields, inner, &format!("{field}.")),
                    None => self.failed = true,
                },
                Kind::Place | Kind::Rule(_) | Kind::Picked => self.keep(field, rule(&node)),
                // The keys of the mapping itself.
                _ => {}
            }
        }
    }

    fn keep(&mut self, field: String, rule: Option<Rule>) {
        match rule {
            Some(rule) => drop(self.read.insert(field, rule)),
            None => self.failed = true,
        }
    }

    /// A list, whose other keys name members of its entries.
    fn list(&mut self, node: &Node<'_>, table: &'static Table, field: &str) {
        let Some(fields) = Fields::open(node, table) else {
            self.failed = true;
            return;
        };
        let from = fields.get("from", value::place);
        let format = fields.get("format", time_format);
        self.failed |= fields.written("format").is_some() && format.is_none();
        let mut members: BTreeMap<String, String> = BTreeMap::new();
        for key in table.keys.iter().filter(|key| !matches!(key.name, "from" | "format")) {
            let Some(node) = fields.written(key.name) else { continue };
            if matches!(key.kind, Kind::Word(_)) {
                let actor = value::word(&node).map(|word| Rule::Constant(word.to_owned()));
                self.keep(format!("{field}.{}", key.name), actor);
                continue;
            }
            match value::text(&node) {
                Some(name) if name.starts_with('/') || name.contains('[') => {
                    self.failed = true;
                    let message = format!("\"{}\" is no name in an entry", shown(&name));
                    let remedy = "write the name as it stands in each entry, such as \"timestamp\"";
                    node.reading.error(&node.spot(), message, remedy);
                }
                Some(name) if members.values().any(|other| *other == name) => {
                    self.failed = true;
                    let message = format!("\"{}\" is used twice", shown(&name));
                    node.reading.error(&node.spot(), message, "each name serves one member");
                }
                Some(name) => drop(members.insert(key.name.to_owned(), name)),
                None => self.failed = true,
            }
        }
        self.keep(field.to_owned(), from.map(|from| Rule::List { from, members, format }));
    }
}

/// Whether a table describes a list: it says where that stands.
fn is_list(table: &Table) -> bool {
    let from = |key: &Key| key.name == "from" && key.presence == Presence::Required;
    table.keys.iter().any(from)
}

/// A place, or a table that says more.
fn rule(node: &Node<'_>) -> Option<Rule> {
    match (node.value, node.kind) {
        (DeValue::Table(_), Kind::Rule(table)) => detailed(node, &Fields::open(node, table)?),
        (DeValue::Table(_), Kind::Picked) => {
            let members = node.members()?;
            let count = members.len();
            let places: BTreeMap<String, _> = members
                .iter()
                .filter_map(|(_, node)| Some((node.name().to_owned(), value::place(node)?)))
                .collect();
            (places.len() == count).then_some(Rule::Picked(places))
        }
        (DeValue::String(_), _) => {
            let from = value::place(node)?;
            Some(Rule::At(At { from, ext: None, format: None, words: BTreeMap::new() }))
        }
        _ => node.mistyped(),
    }
}

/// A table of the keys that its field takes.
fn detailed(node: &Node<'_>, fields: &Fields<'_>) -> Option<Rule> {
    let from = fields.get("from", value::place);
    let constant = fields.get("constant", constant);
    let ext = fields.get("ext", value::place);
    let format = fields.get("format", time_format);
    let words = match fields.node("words") {
        Some(node) => words(&node)?,
        None => BTreeMap::new(),
    };
    let written = |name: &str| fields.written(name);
    match (written("from"), written("constant")) {
        (Some(_), Some(both)) => {
            both.wrong("a value stands somewhere or is always the same", "keep one of the two keys")
        }
        (None, Some(_)) => match written("words").or_else(|| written("ext")) {
            Some(node) => node
                .wrong(format!("what is always the same needs no `{}`", node.name()), "remove it"),
            None => Some(Rule::Constant(constant?)),
        },
        (Some(_), None) => {
            let read = |name: &str, is_read: bool| written(name).is_none() || is_read;
            if !read("ext", ext.is_some()) || !read("format", format.is_some()) {
                return None;
            }
            Some(Rule::At(At { from: from?, ext, format, words }))
        }
        // A required `from` has been reported by its reader.
        (None, None) if is_required(node.kind) => None,
        (None, None) => {
            let message = format!("`{}` says neither where it stands nor what it is", node.name());
            node.reading.missing(&node.spot(), message, "add from = \"<a key of the body>\"");
            None
        }
    }
}

fn is_required(kind: &Kind) -> bool {
    matches!(kind, Kind::Rule(table) if is_list(table))
}

fn constant(node: &Node<'_>) -> Option<String> {
    match node.kind {
        Kind::Status => value::status(node).map(|status| status.as_str().to_owned()),
        Kind::Word(_) => value::word(node).map(str::to_owned),
        _ => value::text(node),
    }
}

/// Their words, folded as statuses are, and ours.
fn words(node: &Node<'_>) -> Option<BTreeMap<String, String>> {
    let members = node.members()?;
    let count = members.len();
    let mut words: BTreeMap<String, String> = BTreeMap::new();
    for (key, node) in &members {
        let Some(ours) = value::word_of(node, "word") else { continue };
        if words.insert(fold_status(node.name()).into_owned(), ours.to_owned()).is_some() {
            node.reading.error(
                key,
                format!("\"{}\" is the same word as one before", shown(node.name())),
                "keep one of them; case, spaces, - and _ make no difference",
            );
        }
    }
    (words.len() == count).then_some(words)
}

fn time_format(node: &Node<'_>) -> Option<TimeFormat> {
    match value::text(node)?.as_str() {
        "rfc2822" => Some(TimeFormat::Rfc2822),
        "unix_ms" => Some(TimeFormat::UnixMilliseconds),
        written => match TimeFormat::directives(written) {
            Ok(format) => Some(format),
            Err(reason) => node.wrong(
                format!("\"{}\" does not read a date and a time: {reason}", shown(written)),
                "write \"rfc2822\", \"unix_ms\", or directives such as \"%Y-%m-%d %H:%M:%S\"",
            ),
        },
    }
}
