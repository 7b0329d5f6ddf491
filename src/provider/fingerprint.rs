//! What recognises a repeat (`providers.md` C.3): a digest over source, query and content.
//!
//! The content is the decoded tree: object keys in any order, values by type and number text.
//! It is written in a form in which no two contents look alike (every text with its length), and
//! hashed with SHA-256, of which the first half is kept.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};

use super::{document::mark, work::visited};
use crate::event::value::{Object, Value};

/// The digest of a callback; `query` is what stands beside the content, `None` for a GET, of which
/// it is the content. `changing` are the fields the provider changes at each try, by their paths,
/// and `size` is about how many bytes there are to hash.
pub(super) fn of(
    source: &str,
    query: Option<&str>,
    content: &Object<'_>,
    changing: &[&[&str]],
    size: usize,
) -> [u8; 16] {
    let bytes = Vec::with_capacity(size + source.len() + query.map_or(0, str::len) + 64);
    let mut writer = Writer { bytes, order: Vec::with_capacity(64) };
    writer.text(b's', source);
    match query {
        Some(query) => writer.text(b'q', query),
        None => writer.bytes.push(b'g'),
    }
    writer.members(content, changing);
    visited(writer.bytes.len());
    let digest = digest(&SHA256, &writer.bytes);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

type Member<'a> = (Cow<'a, str>, Value<'a>);

/// Writes a content so that the same one is always the same bytes.
struct Writer<'v, 'a> {
    bytes: Vec<u8>,
    /// The members of the objects that are being written, each object's in their own order: by
    /// their marks, and by their names where these are the same. Any order will do that depends
    /// on nothing but the names.
    order: Vec<(u64, &'v Member<'a>)>,
}

/// Of some paths, what follows a first name.
fn below<'p>(paths: &[&'p [&'p str]], first: &str) -> Vec<&'p [&'p str]> {
    let below = |path: &&'p [&'p str]| match path.split_first() {
        Some((name, rest)) if *name == first && !rest.is_empty() => Some(rest),
        _ => None,
    };
    paths.iter().filter_map(below).collect()
}

// === impl Writer ===

impl<'v, 'a> Writer<'v, 'a> {
    /// Writes a value without what stands at the paths of `hidden` in it.
    fn value(&mut self, of: &'v Value<'a>, hidden: &[&[&str]]) {
        match of {
            Value::Null => self.bytes.push(b'n'),
            Value::Bool(true) => self.bytes.push(b't'),
            Value::Bool(false) => self.bytes.push(b'f'),
            Value::Number(number) => self.text(b'#', number),
            Value::String(string) => self.text(b'"', string),
            Value::Array(entries) => {
                self.bytes.push(b'[');
                for (at, entry) in entries.iter().enumerate() {
                    if hidden.is_empty() {
                        self.value(entry, &[]);
                        continue;
                    }
                    let index = at.to_string();
                    if !hidden.contains(&[index.as_str()].as_slice()) {
                        self.value(entry, &below(hidden, &index));
                    }
                }
                self.bytes.push(b']');
            }
            Value::Object(object) => self.members(object, hidden),
        }
    }

    fn members(&mut self, of: &'v Object<'a>, hidden: &[&[&str]]) {
        let first = self.order.len();
        let shown = of.iter().filter(|(name, _)| !hidden.contains(&[name.as_ref()].as_slice()));
        self.order.extend(shown.map(|member| (mark(&member.0), member)));
        if let Some(own) = self.order.get_mut(first..) {
            own.sort_unstable_by(|(left, (left_name, _)), (right, (right_name, _))| {
                left.cmp(right).then_with(|| {
                    visited(left_name.len());
                    left_name.cmp(right_name)
                })
            });
        }
        self.bytes.push(b'{');
        let mut at = first;
        // What the members' own objects add to the order, they take away again.
        while let Some((_, (name, of))) = self.order.get(at).copied() {
            self.text(b'k', name);
            if hidden.is_empty() {
                self.value(of, &[]);
            } else {
                self.value(of, &below(hidden, name));
            }
            at += 1;
        }
        self.order.truncate(first);
        self.bytes.push(b'}');
    }

    fn text(&mut self, kind: u8, text: &str) {
        // Seven bits a byte, the lowest first: most lengths are one byte to hash and not eight.
        let low = |len: usize| u8::try_from(len & 0x7F).unwrap_or_default();
        let mut len = text.len();
        if len <= 0x7F {
            self.bytes.extend_from_slice(&[kind, low(len)]);
        } else {
            self.bytes.push(kind);
            while len > 0x7F {
                self.bytes.push(low(len) | 0x80);
                len >>= 7;
            }
            self.bytes.push(low(len));
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::document::{Callback, read};

    fn digest_of(source: &str, query: &str, body: &str, changing: &[&[&str]]) -> [u8; 16] {
        let callback =
            Callback { method: "POST", query, content_type: None, body: body.as_bytes() };
        let root = read(callback, true).expect("readable").root;
        of(source, Some(query), &root, changing, body.len())
    }

    #[test]
    fn the_order_of_keys_and_white_space_do_not_matter_but_everything_else_does() {
        let body = r#"{"id":"1","n":23,"list":[1,{"a":true,"b":null}]}"#;
        let first = digest_of("a", "x=1", body, &[]);
        let same = |source, query, body| digest_of(source, query, body, &[]) == first;

        assert!(same("a", "x=1", r#"{ "list": [1, {"b":null,"a":true}], "n":23, "id":"1" }"#));
        assert!(same("a", "x=1", r#"{"id":"\u0031","n":23,"list":[1,{"a":true,"b":null},]}"#));
        for (source, query, body) in [
            ("b", "x=1", body),
            ("a", "x=2", body),
            ("a", "x=1", r#"{"id":"1","n":"23","list":[1,{"a":true,"b":null}]}"#),
            ("a", "x=1", r#"{"id":"1","n":23.0,"list":[1,{"a":true,"b":null}]}"#),
            ("a", "x=1", r#"{"id":"1","n":23,"list":[{"a":true,"b":null},1]}"#),
            ("a", "x=1", r#"{"id":"1","n":23,"list":[1,{"a":true,"b":false}]}"#),
            ("a", "x=1", r#"{"id":"1","n":23,"list":[1,{"a":true}]}"#),
            ("a", "x=1", r#"{"id":"1","n":23,"list":[1],"a":true,"b":null}"#),
        ] {
            assert!(!same(source, query, body), "{source} {query} {body}");
        }
    }

    #[test]
    fn fields_that_change_at_each_try_are_left_out_at_the_top_only() {
        let with = |body| digest_of("a", "", body, &[&["unixtime"]]);

        assert_eq!(with(r#"{"a":1,"unixtime":"1"}"#), with(r#"{"a":1,"unixtime":"2"}"#));
        assert_ne!(with(r#"{"a":{"unixtime":"1"}}"#), with(r#"{"a":{"unixtime":"2"}}"#));
    }
}
