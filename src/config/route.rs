//! `[[routes]]`.

use std::collections::BTreeSet;

use super::{
    contract::{PROVIDERS, ROUTE},
    fields::{Fields, Node},
    value, when,
};
use crate::{
    event::{SourceName, Status},
    route::{Settings, TargetName},
};

/// The names a route may use: those of every table, whether or not it could be read.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) sources: Vec<String>,
    pub(super) targets: Vec<String>,
    /// What the events of each source call their provider; `None` when a source could not be read.
    pub(super) providers: Option<Vec<(String, String)>>,
}

/// Reads the table at `node`, the `number`th from 1.
pub(super) fn read(node: &Node<'_>, number: usize, names: &Names) -> Option<Settings> {
    let fields = Fields::open(node, &ROUTE)?;
    let name = fields.get("name", one_line).unwrap_or_else(|| format!("route-{number}"));
    let from = fields.get("from", |node| {
        every(node, |node| known(node, "source", &names.sources), "every source")
    });
    let status = fields.get("status", |node| every(node, value::status, "every status"));
    let provider =
        fields.get("provider", |node| every(node, |node| provider(node, names), "every provider"));
    let list =
        |list: Option<Vec<String>>| -> BTreeSet<String> { list.into_iter().flatten().collect() };
    let (from, provider) = (list(from), list(provider));
    let status: BTreeSet<Status> = status.into_iter().flatten().collect();
    let asked = when::Asked { providers: asked(&from, &provider, names), status: &status };
    let when = fields.node("when").map(|node| when::read(&node, &asked));
    let to = fields.get("to", |node| {
        let targets = value::some(node, |node| known(node, "target", &names.targets))?;
        distinct(node, &targets)?;
        Some(targets)
    });
    Some(Settings {
        name,
        from: from.iter().map(|name| SourceName::new(name)).collect(),
        provider,
        status,
        when: match when {
            Some(read) => Some(read?),
            None => None,
        },
        to: to?.iter().map(|name| TargetName::new(name)).collect(),
    })
}

/// Events are marked with the names of routes, one a line.
fn one_line(node: &Node<'_>) -> Option<String> {
    let name = value::text(node)?;
    if name.chars().any(char::is_control) {
        let message = format!("`{}` holds a line break or another control character", node.name());
        return node.wrong(message, "call the route by words in one line");
    }
    Some(name)
}

/// A list that must hold something, as an empty one would not mean what it says.
fn every<T: PartialEq>(
    node: &Node<'_>,
    read: impl Fn(&Node<'_>) -> Option<T>,
    all: &str,
) -> Option<Vec<T>> {
    let values = value::list(node, read)?;
    if values.is_empty() {
        return node.wrong(
            format!("`{}` takes nothing", node.name()),
            format!("name some, or leave it out for {all}"),
        );
    }
    distinct(node, &values)?;
    Some(values)
}

fn distinct<T: PartialEq>(node: &Node<'_>, values: &[T]) -> Option<()> {
    let repeated = |(index, value): (usize, &T)| values.iter().take(index).any(|v| v == value);
    match values.iter().enumerate().position(repeated) {
        Some(index) => {
            let spot = node.elements()?.get(index).map_or_else(|| node.spot(), Node::spot);
            node.reading.error(&spot, format!("`{}` names this twice", node.name()), "remove one");
            None
        }
        None => Some(()),
    }
}

fn known(node: &Node<'_>, what: &str, names: &[String]) -> Option<String> {
    let name = node.text()?;
    if names.iter().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    node.undefined(what, name, &names)
}

/// A preset, or what the events of a custom source call theirs.
fn provider(node: &Node<'_>, names: &Names) -> Option<String> {
    let word = value::text(node)?;
    let presets = PROVIDERS.now.iter().copied().filter(|name| *name != "custom");
    let Some(sources) = &names.providers else { return Some(word) };
    let mut known: Vec<&str> = presets.collect();
    for (_, provider) in sources {
        if !known.contains(&provider.as_str()) {
            known.push(provider);
        }
    }
    if !known.contains(&word.as_str()) {
        return node.unknown_word("provider", &word, &known);
    }
    if !sources.iter().any(|(_, provider)| *provider == word) {
        node.reading.warn(
            &node.spot(),
            format!("no source has the provider \"{word}\""),
            "no event comes of it; add a source, or remove this",
        );
    }
    Some(word)
}

/// The providers whose events reach this route; empty is any.
fn asked(from: &BTreeSet<String>, provider: &BTreeSet<String>, names: &Names) -> BTreeSet<String> {
    if !provider.is_empty() || from.is_empty() {
        return provider.clone();
    }
    let sources = names.providers.iter().flatten();
    let of_these = sources.filter(|(source, _)| from.contains(source));
    of_these.map(|(_, provider)| provider.clone()).collect()
}
