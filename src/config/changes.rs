//! What one relay.toml has that another has not.
//!
//! Each table is known by a mark: a digest of what it says and of every secret and file it names,
//! so that a rotated secret is a change although the text is the same.

use std::{collections::BTreeMap, fmt};

use ring::digest::{Context, Digest, SHA256};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{reading::Reading, root::Config};

/// The mark of each table.
#[derive(Clone, Default)]
pub(super) struct Marks(BTreeMap<String, Digest>);

/// What is not as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Tables that are new, such as `targets.crm`.
    pub added: Vec<String>,
    /// Tables that are not as they were.
    pub changed: Vec<String>,
    /// Tables that are gone.
    pub removed: Vec<String>,
    /// Keys that are not as they were and take effect at the next start.
    pub needs_restart: Vec<String>,
}

// === impl Config ===

impl Config {
    /// What `next` has otherwise than this one.
    pub fn changes(&self, next: &Self) -> Changes {
        let (old, new) = (&self.marks.0, &next.marks.0);
        let mut changes = Changes::default();
        for (table, mark) in new {
            match old.get(table) {
                None => changes.added.push(table.clone()),
                Some(was) if was.as_ref() != mark.as_ref() => changes.changed.push(table.clone()),
                Some(_) => {}
            }
        }
        let gone = old.keys().filter(|table| !new.contains_key(*table));
        changes.removed.extend(gone.cloned());
        let (server, next_server) = (&self.ingest, &next.ingest);
        for (key, differs) in [
            ("server.listen", server.listen != next_server.listen),
            ("server.max_in_flight", server.max_in_flight != next_server.max_in_flight),
            ("server.max_connections", server.max_connections != next_server.max_connections),
            ("server.shutdown_grace", self.shutdown_grace != next.shutdown_grace),
            ("admin.listen", self.admin.listen != next.admin.listen),
            ("store.path", self.store.path != next.store.path),
        ] {
            if differs {
                changes.needs_restart.push(key.to_owned());
            }
        }
        changes
    }
}

// === impl Marks ===

impl Marks {
    /// Marks every table of a file that was read.
    pub(super) fn of(tree: &DeTable<'_>, reading: &Reading<'_>) -> Self {
        let mut marks = BTreeMap::new();
        for (name, value) in tree {
            let name = name.get_ref();
            match value.get_ref() {
                DeValue::Table(named) if matches!(name.as_ref(), "sources" | "targets") => {
                    let inherited = inherited(tree, name);
                    for (own, value) in named {
                        let path = format!("{name}.{}", own.get_ref());
                        let mark = mark(&path, value.get_ref(), &inherited, reading);
                        marks.insert(path, mark);
                    }
                }
                DeValue::Array(routes) => {
                    for (route, number) in routes.iter().zip(1..) {
                        let path = format!("routes.{}", route_name(route.get_ref(), number));
                        marks.insert(path.clone(), mark(&path, route.get_ref(), &[], reading));
                    }
                }
                DeValue::Table(_) if name == "defaults" => {}
                value => {
                    marks.insert(name.to_string(), mark(name, value, &[], reading));
                }
            }
        }
        Self(marks)
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marks(…)")
    }
}

/// What the tables under `key` take from elsewhere.
fn inherited<'a>(tree: &'a DeTable<'a>, key: &str) -> Vec<&'a DeValue<'a>> {
    let places: [[&str; 2]; 3] = match key {
        "targets" => [["defaults", "target"]; 3],
        _ => [["server", "max_body"], ["server", "body_deadline"], ["store", "dedupe_window"]],
    };
    let at = |[table, key]: [&str; 2]| match tree.get(table)?.get_ref() {
        DeValue::Table(entries) => Some(entries.get(key)?.get_ref()),
        _ => None,
    };
    places.into_iter().filter_map(at).collect()
}

fn route_name(route: &DeValue<'_>, number: usize) -> String {
    let name = match route {
        DeValue::Table(entries) => entries.get("name").map(Spanned::get_ref),
        _ => None,
    };
    match name {
        Some(DeValue::String(name)) => name.to_string(),
        _ => format!("route-{number}"),
    }
}

fn mark(
    path: &str,
    value: &DeValue<'_>,
    inherited: &[&DeValue<'_>],
    reading: &Reading<'_>,
) -> Digest {
    let mut context = Context::new(&SHA256);
    digest(&mut context, value);
    for value in inherited {
        digest(&mut context, value);
    }
    reading.each_read(path, |bytes| {
        part(&mut context, b'R', bytes);
    });
    context.finish()
}

/// What a value says, whatever its layout in the file.
fn digest(context: &mut Context, value: &DeValue<'_>) {
    match value {
        DeValue::Table(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.get_ref().cmp(b.get_ref()));
            context.update(b"{");
            for (name, value) in entries {
                part(context, b'K', name.get_ref().as_bytes());
                digest(context, value.get_ref());
            }
            context.update(b"}");
        }
        DeValue::Array(list) => {
            context.update(b"[");
            for value in list {
                digest(context, value.get_ref());
            }
            context.update(b"]");
        }
        DeValue::String(text) => part(context, b'S', text.as_bytes()),
        DeValue::Integer(number) => part(context, b'I', number.to_string().as_bytes()),
        DeValue::Float(number) => part(context, b'F', number.to_string().as_bytes()),
        DeValue::Boolean(flag) => part(context, b'B', &[u8::from(*flag)]),
        DeValue::Datetime(time) => part(context, b'D', time.to_string().as_bytes()),
    }
}

fn part(context: &mut Context, tag: u8, bytes: &[u8]) {
    context.update(&[tag]);
    context.update(&bytes.len().to_le_bytes());
    context.update(bytes);
}
