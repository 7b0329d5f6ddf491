//! What recognises a repeat (`providers.md` C.3): a digest over source, query and content.
//!
//! The content is the decoded tree: object keys in any order, values by type and number text.
//! It is written in a form in which no two contents look alike (every text with its length), and
//! hashed with SHA-256, of which the first half is kept.

use ring::digest::{SHA256, digest};

use crate::event::value::{Object, Value};

/// The digest of a callback; `changing` are the top-level fields the provider changes at each try.
pub(super) fn of(source: &str, query: &str, content: &Object<'_>, changing: &[&str]) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(2048);
    text(&mut bytes, b's', source);
    text(&mut bytes, b'q', query);
    members(&mut bytes, content.iter().filter(|(name, _)| !changing.contains(&name.as_ref())));
    let digest = digest(&SHA256, &bytes);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

fn value(bytes: &mut Vec<u8>, of: &Value<'_>) {
    match of {
        Value::Null => bytes.push(b'n'),
        Value::Bool(true) => bytes.push(b't'),
        Value::Bool(false) => bytes.push(b'f'),
        Value::Number(number) => text(bytes, b'#', number),
        Value::String(string) => text(bytes, b'"', string),
        Value::Array(entries) => {
            bytes.push(b'[');
            for entry in entries {
                value(bytes, entry);
            }
            bytes.push(b']');
        }
        Value::Object(object) => members(bytes, object.iter()),
    }
}

fn members<'v, 'a: 'v>(
    bytes: &mut Vec<u8>,
    of: impl Iterator<Item = &'v (std::borrow::Cow<'a, str>, Value<'a>)>,
) {
    let mut sorted: Vec<_> = of.collect();
    sorted.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    bytes.push(b'{');
    for (name, of) in sorted {
        text(bytes, b'k', name);
        value(bytes, of);
    }
    bytes.push(b'}');
}

fn text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    bytes.push(kind);
    // Seven bits a byte, the lowest first: most lengths are one byte to hash and not eight.
    let mut len = text.len();
    while len > 0x7F {
        bytes.push(u8::try_from(len & 0x7F).unwrap_or_default() | 0x80);
        len >>= 7;
    }
    bytes.push(u8::try_from(len).unwrap_or_default());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::document::{Callback, read};

    fn digest_of(source: &str, query: &str, body: &str, changing: &[&str]) -> [u8; 16] {
        let callback =
            Callback { method: "POST", query, content_type: None, body: body.as_bytes() };
        of(source, query, &read(callback, true).expect("readable").root, changing)
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
        let with = |body| digest_of("a", "", body, &["unixtime"]);

        assert_eq!(with(r#"{"a":1,"unixtime":"1"}"#), with(r#"{"a":1,"unixtime":"2"}"#));
        assert_ne!(with(r#"{"a":{"unixtime":"1"}}"#), with(r#"{"a":{"unixtime":"2"}}"#));
    }
}
