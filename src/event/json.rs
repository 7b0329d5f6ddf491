//! Writing an event as JSON, in one pass.
//!
//! Most of an event is names of members and nulls. They are known when this is built, so each is
//! copied whole here, with its comma, its quotes and its colon.

use std::{borrow::Cow, collections::BTreeSet};

/// What can be written as JSON.
pub(super) trait Json {
    /// Writes it behind what is there.
    fn write_json(&self, to: &mut Vec<u8>);
}

/// Two texts that are written as one.
pub(super) struct Joined<'t>(pub(super) &'static str, pub(super) &'t str);

/// Writes members of an object behind others.
macro_rules! more {
    ($to:ident, $($name:literal: $value:expr),+ $(,)?) => {
        $(
            $to.extend_from_slice(concat!(",\"", $name, "\":").as_bytes());
            $value.write_json($to);
        )+
    };
}

/// Writes an object with at least two members.
macro_rules! object {
    ($to:ident, $first:literal: $value:expr, $($rest:tt)+) => {
        $to.extend_from_slice(concat!("{\"", $first, "\":").as_bytes());
        $value.write_json($to);
        $crate::event::json::more!($to, $($rest)+);
        $to.push(b'}');
    };
}

pub(super) use {more, object};

/// How many bytes a JSON string goes on before a quote, a backslash or a control character.
#[inline]
pub(crate) fn plain(bytes: &[u8]) -> usize {
    /// Names and words end before this; texts are passed in wider steps.
    const SHORT: usize = 32;
    let mut rest = bytes;
    let mut passed = 0;
    while passed < SHORT
        && let Some((word, after)) = rest.split_first_chunk()
    {
        match first_special(u64::from_le_bytes(*word)) {
            Some(at) => return passed + at,
            None => passed += word.len(),
        }
        rest = after;
    }
    // All bytes of a block at once, which the compiler does many at a time.
    while let Some((block, after)) = rest.split_first_chunk::<32>() {
        if block.iter().fold(false, |any, byte| any | is_special(*byte)) {
            break;
        }
        passed += block.len();
        rest = after;
    }
    passed + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The first of eight bytes that is a quote, a backslash or a control character.
fn first_special(word: u64) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // The high bit of a byte is set where the byte was below the one subtracted. A borrow from a
    // byte that is found may set the bit of a later one, never of an earlier.
    let zero = |word: u64| word.wrapping_sub(EACH) & !word;
    let control = word.wrapping_sub(EACH * 0x20) & !word;
    let quote = zero(word ^ (EACH * 0x22));
    let backslash = zero(word ^ (EACH * 0x5C));
    let found = (control | quote | backslash) & (EACH << 7);
    if found == 0 { None } else { usize::try_from(found.trailing_zeros() / 8).ok() }
}

/// Writes a text without the quotes around it.
fn write_text(text: &str, to: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let (whole, after) = rest.split_at_checked(plain(rest)).unwrap_or((rest, &[]));
        to.extend_from_slice(whole);
        let Some((special, after)) = after.split_first() else { return };
        write_special(*special, to);
        rest = after;
    }
}

fn write_special(byte: u8, to: &mut Vec<u8>) {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        _ => {
            to.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    to.extend_from_slice(&[b'\\', short]);
}

fn write_list<T: Json>(entries: impl IntoIterator<Item = T>, to: &mut Vec<u8>) {
    to.push(b'[');
    for (at, entry) in entries.into_iter().enumerate() {
        if at > 0 {
            to.push(b',');
        }
        entry.write_json(to);
    }
    to.push(b']');
}

// === impl Json ===

impl<T: Json + ?Sized> Json for &T {
    fn write_json(&self, to: &mut Vec<u8>) {
        (**self).write_json(to);
    }
}

impl<T: Json> Json for Option<T> {
    fn write_json(&self, to: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_json(to),
            None => to.extend_from_slice(b"null"),
        }
    }
}

impl Json for bool {
    fn write_json(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Json for u64 {
    fn write_json(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.to_string().as_bytes());
    }
}

impl Json for str {
    fn write_json(&self, to: &mut Vec<u8>) {
        to.push(b'"');
        write_text(self, to);
        to.push(b'"');
    }
}

impl Json for String {
    fn write_json(&self, to: &mut Vec<u8>) {
        self.as_str().write_json(to);
    }
}

impl Json for Cow<'_, str> {
    fn write_json(&self, to: &mut Vec<u8>) {
        self.as_ref().write_json(to);
    }
}

impl Json for Joined<'_> {
    fn write_json(&self, to: &mut Vec<u8>) {
        to.push(b'"');
        write_text(self.0, to);
        write_text(self.1, to);
        to.push(b'"');
    }
}

impl<T: Json> Json for Vec<T> {
    fn write_json(&self, to: &mut Vec<u8>) {
        write_list(self, to);
    }
}

impl<T: Json> Json for BTreeSet<T> {
    fn write_json(&self, to: &mut Vec<u8>) {
        write_list(self, to);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &(impl Json + ?Sized)) -> String {
        let mut bytes = Vec::new();
        value.write_json(&mut bytes);
        String::from_utf8(bytes).expect("text")
    }

    fn by_serde(value: &(impl serde::Serialize + ?Sized)) -> String {
        serde_json::to_string(value).expect("serialises")
    }

    #[test]
    fn every_ascii_character_is_written_as_serde_json_writes_it_wherever_it_stands() {
        for byte in 0..0x80_u8 {
            for before in
                ["", "é", "seven b", "a text that is longer than the first steps are wide"]
            {
                let text = format!("{before}{}{before}", char::from(byte));
                assert_eq!(written(text.as_str()), by_serde(&text), "{byte:#x}");
            }
        }
    }

    #[test]
    fn counts_and_lists_are_written_as_serde_json_writes_them() {
        for count in [0, 7, 10, 1 << 53, u64::MAX] {
            assert_eq!(written(&count), by_serde(&count));
        }
        for list in [vec![], vec![Some("a")], vec![None, Some("\"")]] {
            assert_eq!(written(&list), by_serde(&list));
        }
        assert_eq!(written(&Joined("call.", "a\"b")), r#""call.a\"b""#);
        assert_eq!(written(&[true, false].map(Some).to_vec()), "[true,false]");
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_serde_json_writes_it(text in "(?s).{0,80}|[\\x00-\\x7F]{0,80}") {
            prop_assert_eq!(written(text.as_str()), by_serde(&text));
        }
    }
}
