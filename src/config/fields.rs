//! Reads one table of relay.toml against its list of keys.
//!
//! Opening a table reports every key that does not belong there. A value that cannot be read is
//! reported and becomes `None`; the reader of the table goes on, so that one run finds all.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    excerpt::shown,
    key::{Key, Kind, Presence, Table, Variant, one_of},
    problem::Severity,
    reading::{Finding, Ground, Reading, Spot},
};

/// A table that is being read.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    reading: &'a Reading<'a>,
    spec: &'static Table,
    entries: &'a DeTable<'a>,
    /// The bytes that stand for the whole table: its heading, or all of an inline one.
    span: Range<usize>,
    path: String,
    /// The table whose values hold where this one has none.
    inherited: Option<&'a Fields<'a>>,
}

/// A value that is being read.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    /// Where its problems go.
    pub(super) reading: &'a Reading<'a>,
    /// The value.
    pub(super) value: &'a DeValue<'a>,
    /// What it may be.
    pub(super) kind: &'static Kind,
    span: Range<usize>,
    /// The table it is in.
    table: String,
    /// The key it stands under.
    name: String,
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The whole file.
    pub(super) fn of_root(
        reading: &'a Reading<'a>,
        entries: &'a DeTable<'a>,
        spec: &'static Table,
    ) -> Self {
        let fields = Self::of_part(reading, entries, spec);
        fields.report_strangers();
        fields
    }

    /// The whole file, of which only a part is asked for: what stands beside it is passed over.
    pub(super) fn of_part(
        reading: &'a Reading<'a>,
        entries: &'a DeTable<'a>,
        spec: &'static Table,
    ) -> Self {
        Self { reading, spec, entries, span: 0..0, path: String::new(), inherited: None }
    }

    /// The table that `node` is, or a problem.
    pub(super) fn open(node: &Node<'a>, spec: &'static Table) -> Option<Self> {
        let fields = Self {
            reading: node.reading,
            spec,
            entries: node.entries()?,
            span: node.span.clone(),
            path: node.path(),
            inherited: None,
        };
        fields.report_strangers();
        Some(fields)
    }

    /// The table that `node` is, as its `kind` says, or a problem.
    pub(super) fn open_variant(
        node: &Node<'a>,
        variants: &'static [Variant],
    ) -> Option<(&'static str, Self)> {
        let entries = node.entries()?;
        let supported = variants.iter().filter(|variant| variant.table.is_some());
        let words: Vec<&str> = supported.map(|variant| variant.word).collect();
        let Some(kind) = entries.get("kind") else {
            node.report_no_kind(entries, variants, &words);
            return None;
        };
        let kind = Node { kind: &Kind::Text, ..node.child("kind", kind) };
        let word = kind.text()?;
        let Some(variant) = variants.iter().find(|variant| variant.word == word) else {
            return kind.unknown_word("kind", word, &words);
        };
        let Some(spec) = variant.table else {
            return kind.unsupported(&format!("kind = \"{word}\""));
        };
        Some((variant.word, Self::open(node, spec)?))
    }

    /// The same table, with the values of `inherited` where it has none.
    pub(super) fn inheriting(self, inherited: Option<&'a Fields<'a>>) -> Self {
        Self { inherited, ..self }
    }

    /// What `read` makes of the value of this key, or of its default. `None` is a value that is
    /// absent without a default, or a problem that was reported.
    pub(super) fn get<T>(&self, name: &str, read: impl Fn(&Node<'_>) -> Option<T>) -> Option<T> {
        let key = self.spec.key(name)?;
        if let Some(node) = self.node(name) {
            return read(&node);
        }
        match key.presence {
            Presence::Optional | Presence::Inherited(_) => None,
            Presence::Required => {
                self.report_missing(key);
                None
            }
            Presence::Default(toml) => {
                // A default that its own reader refuses would be reported like any other value.
                let value = DeValue::parse(toml).ok()?;
                read(&Node {
                    reading: self.reading,
                    value: value.get_ref(),
                    kind: &key.kind,
                    span: self.span.clone(),
                    table: self.path.clone(),
                    name: name.to_owned(),
                })
            }
        }
    }

    /// The value of this key, here or in the inherited table.
    pub(super) fn node(&self, name: &str) -> Option<Node<'a>> {
        let here = self.written(name);
        here.or_else(|| self.inherited.and_then(|inherited| inherited.written(name)))
    }

    /// The value of this key when it is written in this very table.
    pub(super) fn written(&self, name: &str) -> Option<Node<'a>> {
        let key = self.spec.key(name)?;
        let value = self.entries.get(name)?;
        Some(Node {
            reading: self.reading,
            value: value.get_ref(),
            kind: &key.kind,
            span: value.span(),
            table: self.path.clone(),
            name: name.to_owned(),
        })
    }

    /// The place of this key's name, as a problem about the key itself means it.
    pub(super) fn key_spot(&self, name: &str) -> Spot {
        let key = self.entries.get_key_value(name);
        Spot {
            span: key.map_or_else(|| self.span.clone(), |(key, _)| key.span()),
            table: self.path.clone(),
        }
    }

    /// The place of the whole table.
    pub(super) fn spot(&self) -> Spot {
        Spot { span: self.span.clone(), table: self.path.clone() }
    }

    /// Where problems go.
    pub(super) fn reading(&self) -> &'a Reading<'a> {
        self.reading
    }

    fn report_strangers(&self) {
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            let spot = Spot { span: key.span(), table: self.path.clone() };
            if self.spec.key(name).is_none() {
                let valid: Vec<&str> = self.spec.names().collect();
                self.reading.push(unknown_key(name, &spot, &valid));
            }
        }
    }

    fn report_missing(&self, key: &Key) {
        self.reading.missing(
            &self.spot(),
            format!("`{}` is missing", key.name),
            format!("add `{}`: {}", key.name, key.kind.expected()),
        );
    }
}

// === impl Node ===

impl<'a> Node<'a> {
    /// Its place.
    pub(super) fn spot(&self) -> Spot {
        Spot { span: self.span.clone(), table: self.table.clone() }
    }

    /// The table it is in.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// The key it stands under.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The path of the table it is, were it one.
    pub(super) fn path(&self) -> String {
        match self.table.as_str() {
            "" => self.name.clone(),
            table => format!("{table}.{}", self.name),
        }
    }

    /// Reports an error here; an empty remedy is none.
    pub(super) fn wrong<T>(
        &self,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.reading.error(&self.spot(), message, remedy);
        None
    }

    /// Reports that this is not what the key takes.
    pub(super) fn mistyped<T>(&self) -> Option<T> {
        self.wrong(
            format!("`{}` must not be of type {}", self.name, self.value.type_str()),
            format!("write {}", self.kind.expected()),
        )
    }

    /// Reports a word that is none of `words`.
    pub(super) fn unknown_word<T>(&self, what: &str, word: &str, words: &[&str]) -> Option<T> {
        self.reading.unknown(&self.spot(), what, word, words);
        None
    }

    /// Reports each key of the operator's own that is none of `names`.
    pub(super) fn check_names(&self, what: &str, names: &[&str]) -> Option<()> {
        let mut checked = Some(());
        for (key, node) in self.members()? {
            if !names.contains(&node.name()) {
                self.reading.unknown(&key, what, node.name(), names);
                checked = None;
            }
        }
        checked
    }

    /// Reports a name that no table of the file has.
    pub(super) fn undefined<T>(&self, what: &str, name: &str, names: &[&str]) -> Option<T> {
        let remedy = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add [{what}s.{}]", shown(name)),
        };
        let message = format!("no {what} is called \"{}\"", shown(name));
        let finding = Finding::new(Severity::Error, Ground::Absent, &self.spot(), message, remedy);
        self.reading.push(match names {
            [] => finding,
            names => finding.with_note(format!("{what}s: {}", names.join(", "))),
        });
        None
    }

    /// Reports a value of the contract that this version cannot do yet.
    pub(super) fn unsupported<T>(&self, what: &str) -> Option<T> {
        self.wrong(format!("{what} is not supported yet by this version"), "")
    }

    /// The text it is, or a problem.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.mistyped(),
        }
    }

    /// Each element of the list it is, or a problem.
    pub(super) fn elements(&self) -> Option<Vec<Node<'a>>> {
        let DeValue::Array(array) = self.value else { return self.mistyped() };
        let elements = array.iter().map(|element| Node {
            value: element.get_ref(),
            span: element.span(),
            kind: match self.kind {
                Kind::List(of) | Kind::Tables(of) => of,
                other => other,
            },
            ..self.clone()
        });
        Some(elements.collect())
    }

    /// Each table of the `[[tables]]` it is, under its number.
    pub(super) fn tables(&self) -> Option<Vec<Node<'a>>> {
        let elements = self.elements()?.into_iter().enumerate();
        Some(
            elements
                .map(|(index, element)| Node { name: format!("{}[{index}]", self.name), ..element })
                .collect(),
        )
    }

    /// Each key of the table it is, in the order of the file, with the key's own place.
    pub(super) fn members(&self) -> Option<Vec<(Spot, Node<'a>)>> {
        let entries = self.entries()?;
        let table = self.path();
        let mut members: Vec<_> = entries
            .iter()
            .map(|(key, value)| {
                let spot = Spot { span: key.span(), table: table.clone() };
                (spot, self.child(key.get_ref(), value))
            })
            .collect();
        members.sort_by_key(|(spot, _)| spot.span.start);
        Some(members)
    }

    /// Without `kind` nothing is known of the other keys but that some variant has them.
    fn report_no_kind(
        &self,
        entries: &DeTable<'_>,
        variants: &'static [Variant],
        words: &[&'static str],
    ) {
        let message = format!("`{}` does not say its kind", self.name);
        self.reading.missing(&self.spot(), message, format!("add kind = {}", one_of(words)));
        let mut valid: Vec<&str> = Vec::new();
        for name in variants.iter().filter_map(|variant| variant.table).flat_map(Table::names) {
            if !valid.contains(&name) {
                valid.push(name);
            }
        }
        for key in entries.keys().filter(|key| !valid.contains(&key.get_ref().as_ref())) {
            let spot = Spot { span: key.span(), table: self.path() };
            self.reading.push(unknown_key(key.get_ref(), &spot, &valid));
        }
    }

    fn child(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        Node {
            reading: self.reading,
            value: value.get_ref(),
            kind: match self.kind {
                Kind::Map(of) | Kind::Named(of) => of,
                Kind::Picked => &Kind::Place,
                other => other,
            },
            span: value.span(),
            table: self.path(),
            name: name.to_owned(),
        }
    }

    fn entries(&self) -> Option<&'a DeTable<'a>> {
        match self.value {
            DeValue::Table(entries) => Some(entries),
            _ => self.mistyped(),
        }
    }
}

fn unknown_key(name: &str, spot: &Spot, valid: &[&'static str]) -> Finding {
    let remedy = match nearest(name, valid.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => String::new(),
    };
    let message = format!("unknown key `{}`", shown(name));
    Finding::new(Severity::Error, Ground::Written, spot, message, remedy)
        .with_note(format!("valid keys here: {}", valid.join(", ")))
}

/// The candidate that `word` most likely means.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // No name of ours is longer; comparing hostile lengths would only cost time.
    const WORD_CHARS_MAX: usize = 64;

    let length = word.chars().count();
    if length > WORD_CHARS_MAX {
        return None;
    }
    let word = word.to_lowercase();
    let distance_max = match length {
        0..=3 => 1,
        4..=6 => 2,
        _ => 3,
    };
    // A word with another before or behind it (`max_attempts`) is no slip of the fingers.
    let holds = |candidate: &str| {
        candidate.len() >= 4 && word.split(['_', '-', '.', ' ']).any(|part| part == candidate)
    };
    candidates
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &lower);
            (if holds(&lower) { distance.min(distance_max) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_the_word_and_another_word_does_not() {
        let words = ["url", "retry", "timeout", "connect_timeout"];

        assert_eq!(nearest("retires", words), Some("retry"));
        assert_eq!(nearest("Timeout", words), Some("timeout"));
        assert_eq!(nearest("ulr", words), Some("url"));
        assert_eq!(nearest("connecttimeout", words), Some("connect_timeout"));
        assert_eq!(nearest("max_timeout", words), Some("timeout"));
        assert_eq!(nearest("retry_after_all", words), Some("retry"));
        assert_eq!(nearest("max_url", words), None);
        assert_eq!(nearest("wombat", words), None);
        assert_eq!(nearest("", words), None);
        assert_eq!(nearest(&"x".repeat(100_000), words), None);
    }
}
