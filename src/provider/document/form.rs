//! Forms and query strings: keys with brackets or dots nest (`providers.md` C.0, point 5).
//!
//! `events[0][event]` and `events[0].event` are the same place. A branch whose keys are all
//! indexes is a list in the order of the indexes, which are never positions to allocate. With
//! empty brackets, a key that stands already in the last entry opens the next one. A key of
//! another shape (`a[b`, `a..b`, `[0]`) is a name as it stands.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use percent_encoding::percent_decode;

use super::{MAX_DEPTH, Notes, Unreadable};
use crate::{
    event::value::{Object, Value},
    provider::work::visited,
};

/// Reads a form into the tree its keys describe.
pub(super) fn read<'a>(form: &'a [u8], notes: &mut Notes) -> Result<Object<'a>, Unreadable> {
    visited(form.len());
    let mut tree = Tree::default();
    for (name, value) in pairs(form) {
        notes.check_room()?;
        let name = notes.decode(name);
        let value = notes.decode(value);
        tree.insert(name, value, notes)?;
    }
    Ok(tree.into_object())
}

/// What the pairs of a form, in whichever encoding, are being put together to.
#[derive(Default)]
pub(super) struct Tree<'a>(Branch<'a>);

/// The decoded pairs of a query, without nesting; a repeated name becomes a list.
pub(super) fn parameters<'a>(query: &'a [u8], notes: &mut Notes) -> Object<'a> {
    /// Up to here searching is quicker than hashing.
    const FEW: usize = 16;
    visited(query.len());
    let mut parameters = Object::new();
    let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
    for (name, value) in pairs(query) {
        let name = notes.decode(name);
        let value = Value::String(notes.decode(value));
        if parameters.len() == FEW && places.is_empty() {
            let named = parameters.iter().enumerate().map(|(at, (name, _))| (name.clone(), at));
            places = named.collect();
        }
        let place = if places.is_empty() {
            parameters.iter().position(|(known, _)| is_name(known, &name))
        } else {
            places.get(&name).copied()
        };
        match place.and_then(|place| parameters.get_mut(place)) {
            None => {
                if !places.is_empty() {
                    places.insert(name.clone(), parameters.len());
                }
                parameters.push((name, value));
            }
            Some((_, Value::Array(values))) => values.push(value),
            Some((_, first)) => {
                let values = vec![std::mem::replace(first, Value::Null), value];
                *first = Value::Array(values);
            }
        }
    }
    parameters
}

/// An object or list that is being built.
#[derive(Default)]
struct Branch<'a> {
    children: Vec<(Cow<'a, str>, Node<'a>)>,
    /// Name → position, once there are too many children to search.
    places: HashMap<Cow<'a, str>, usize>,
    /// One more than the highest index.
    next: u64,
    /// The entry that empty brackets opened last.
    open: Option<usize>,
}

enum Node<'a> {
    Leaf(Cow<'a, str>),
    /// Boxed, so that a form of many plain pairs does not hold room for a branch in each.
    Branch(Box<Branch<'a>>),
}

enum Segment<'a> {
    Name(Cow<'a, str>),
    /// Empty brackets.
    Next,
}

/// The still encoded names and values.
fn pairs(form: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
    })
}

/// Splits a key where it nests.
fn split(key: Cow<'_, str>) -> Result<Vec<Segment<'_>>, Unreadable> {
    if !key.contains(['[', '.']) {
        return Ok(vec![Segment::Name(key)]);
    }
    let Some(ranges) = ranges(&key)? else { return Ok(vec![Segment::Name(key)]) };
    let segments = ranges.into_iter().map(|range| {
        let part = match &key {
            Cow::Borrowed(key) => Cow::Borrowed(key.get(range).unwrap_or_default()),
            Cow::Owned(key) => Cow::Owned(key.get(range).unwrap_or_default().to_owned()),
        };
        if part.is_empty() { Segment::Next } else { Segment::Name(part) }
    });
    Ok(segments.collect())
}

/// The names of a nesting key; of a key that does not nest, itself.
pub(super) fn path_of(key: &str) -> Vec<Cow<'_, str>> {
    match ranges(key) {
        Ok(Some(ranges)) => ranges
            .into_iter()
            .map(|range| Cow::Borrowed(key.get(range).unwrap_or_default()))
            .collect(),
        _ => vec![Cow::Borrowed(key)],
    }
}

/// Where the segments of a key stand; `None` when it is not a nesting key. Only empty brackets
/// give an empty range.
fn ranges(key: &str) -> Result<Option<Vec<Range<usize>>>, Unreadable> {
    let end_of_name = |from: usize| {
        key.get(from..)?.find(['[', ']', '.']).map_or(Some(key.len()), |at| Some(from + at))
    };
    visited(key.len());
    let mut ranges = Vec::new();
    let mut at = 0;
    loop {
        let (range, next) = match key.as_bytes().get(at) {
            Some(b'[') if at > 0 => {
                let Some(close) = key.get(at..).and_then(|rest| rest.find(']')) else {
                    return Ok(None);
                };
                (at + 1..at + close, at + close + 1)
            }
            dot => {
                let from = if at == 0 { 0 } else { at + 1 };
                let name_follows = at == 0 || dot == Some(&b'.');
                match end_of_name(from) {
                    Some(end) if name_follows && end > from => (from..end, end),
                    _ => return Ok(None),
                }
            }
        };
        ranges.push(range);
        if ranges.len() > MAX_DEPTH {
            return Err(Unreadable::TooDeep);
        }
        if next == key.len() {
            return Ok(Some(ranges));
        }
        at = next;
    }
}

fn is_name(known: &str, name: &str) -> bool {
    visited(1 + if known.len() == name.len() { name.len() } else { 0 });
    known == name
}

/// The index a name is: digits without a needless zero.
fn index(name: &str) -> Option<u64> {
    let plain = name == "0" || !name.starts_with('0');
    if plain && name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse().ok() } else { None }
}

// === impl Tree ===

impl<'a> Tree<'a> {
    /// Puts a value where its key says.
    pub(super) fn insert(
        &mut self,
        name: Cow<'a, str>,
        value: Cow<'a, str>,
        notes: &mut Notes,
    ) -> Result<(), Unreadable> {
        self.0.insert(split(name)?, value, notes)
    }

    pub(super) fn into_object(self) -> Object<'a> {
        self.0.into_object()
    }
}

// === impl Branch ===

impl<'a> Branch<'a> {
    fn insert(
        &mut self,
        path: Vec<Segment<'a>>,
        value: Cow<'a, str>,
        notes: &mut Notes,
    ) -> Result<(), Unreadable> {
        let mut branch = self;
        let mut rest = path.into_iter();
        while let Some(segment) = rest.next() {
            let place = branch.place(&segment, rest.as_slice());
            if rest.as_slice().is_empty() {
                if place.is_some() {
                    return Err(Unreadable::DuplicateKey);
                }
                branch.push(segment, Node::Leaf(value), notes)?;
                return Ok(());
            }
            let place = match place {
                Some(place) => place,
                None => branch.push(segment, Node::Branch(Box::default()), notes)?,
            };
            branch = match branch.children.get_mut(place) {
                Some((_, Node::Branch(inner))) => inner,
                _ => return Err(Unreadable::DuplicateKey),
            };
        }
        Ok(())
    }

    /// The child a segment names; for empty brackets the open entry, unless `rest` is full in it.
    fn place(&self, segment: &Segment<'a>, rest: &[Segment<'a>]) -> Option<usize> {
        match segment {
            Segment::Name(name) => self.find(name),
            Segment::Next if rest.is_empty() => None,
            Segment::Next => self.open.filter(|place| match self.children.get(*place) {
                Some((_, Node::Branch(entry))) => !entry.is_full_at(rest),
                _ => false,
            }),
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        if self.places.is_empty() {
            return self.children.iter().position(|(child, _)| is_name(child, name));
        }
        visited(name.len());
        self.places.get(name).copied()
    }

    /// Whether a value stands already where `rest` leads.
    fn is_full_at(&self, rest: &[Segment<'a>]) -> bool {
        let Some((segment, rest)) = rest.split_first() else { return true };
        // Empty brackets always find room. Not looking further keeps the walk as long as the key.
        let Segment::Name(name) = segment else { return false };
        match self.find(name).and_then(|place| self.children.get(place)) {
            None => false,
            Some((_, Node::Leaf(_))) => true,
            Some((_, Node::Branch(inner))) => inner.is_full_at(rest),
        }
    }

    fn push(
        &mut self,
        segment: Segment<'a>,
        node: Node<'a>,
        notes: &mut Notes,
    ) -> Result<usize, Unreadable> {
        /// Up to here searching is quicker than hashing.
        const FEW: usize = 12;
        notes.count()?;
        let place = self.children.len();
        let name = match segment {
            Segment::Name(name) => name,
            Segment::Next => {
                self.open = Some(place);
                let name = Cow::Owned(self.next.to_string());
                if self.find(&name).is_some() {
                    return Err(Unreadable::DuplicateKey);
                }
                name
            }
        };
        if let Some(index) = index(&name) {
            self.next = self.next.max(index.saturating_add(1));
        }
        if place == FEW {
            let named = self.children.iter().enumerate().map(|(at, (name, _))| (name.clone(), at));
            self.places = named.collect();
        }
        if place >= FEW {
            self.places.insert(name.clone(), place);
        }
        self.children.push((name, node));
        Ok(place)
    }

    fn into_object(self) -> Object<'a> {
        self.children.into_iter().map(|(name, node)| (name, node.into_value())).collect()
    }
}

// === impl Node ===

impl<'a> Node<'a> {
    fn into_value(self) -> Value<'a> {
        let branch = match self {
            Node::Leaf(text) => return Value::String(text),
            Node::Branch(branch) => branch,
        };
        let indexes: Option<Vec<u64>> =
            branch.children.iter().map(|(name, _)| index(name)).collect();
        match indexes {
            None => Value::Object(branch.into_object()),
            Some(indexes) => {
                let children = branch.children.into_iter().map(|(_, node)| node.into_value());
                let mut entries: Vec<_> = indexes.into_iter().zip(children).collect();
                entries.sort_by_key(|(index, _)| *index);
                Value::Array(entries.into_iter().map(|(_, value)| value).collect())
            }
        }
    }
}

// === impl Notes ===

impl Notes {
    /// Undoes the encoding of a form: `+` is a space, `%41` is A.
    fn decode<'a>(&mut self, encoded: &'a [u8]) -> Cow<'a, str> {
        visited(encoded.len());
        if !encoded.contains(&b'+') {
            return self.text(percent_decode(encoded).into());
        }
        let spaced: Vec<u8> =
            encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let decoded = Cow::<[u8]>::from(percent_decode(&spaced)).into_owned();
        self.text(Cow::Owned(decoded))
    }
}
