//! `[[routes]]`.

use super::{
    contract::ROUTE,
    fields::{Fields, Node},
    value,
};
use crate::{
    event::SourceName,
    route::{Settings, TargetName},
};

/// The names a route may use: those of every table, whether or not it could be read.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) sources: Vec<String>,
    pub(super) targets: Vec<String>,
}

/// Reads the table at `node`, the `number`th from 1.
pub(super) fn read(node: &Node<'_>, number: usize, names: &Names) -> Option<Settings> {
    let fields = Fields::open(node, &ROUTE)?;
    let name = fields.get("name", value::text).unwrap_or_else(|| format!("route-{number}"));
    let from = fields.get("from", |node| {
        every(node, |node| known(node, "source", &names.sources), "every source")
    });
    let status = fields.get("status", |node| every(node, value::status, "every status"));
    let to = fields.get("to", |node| {
        let targets = value::some(node, |node| known(node, "target", &names.targets))?;
        distinct(node, &targets)?;
        Some(targets)
    });
    Some(Settings {
        name,
        from: from.into_iter().flatten().map(|name| SourceName::new(&name)).collect(),
        status: status.into_iter().flatten().collect(),
        to: to?.iter().map(|name| TargetName::new(name)).collect(),
    })
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
