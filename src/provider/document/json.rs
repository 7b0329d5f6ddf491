//! JSON, strictly, with the repairs of `providers.md` C.0 and no others.
//!
//! What most of a body is made of, plain strings, names and whole numbers, is passed eight bytes
//! and more at a time here; hifijson lexes what is rarer, the other numbers and the escapes. A
//! repair is only ever tried at a byte where strict JSON fails, so one pass does for both, and a
//! body that is JSON cannot be read otherwise than as what it says.

use std::borrow::Cow;

use hifijson::{Read as _, SliceLexer, Write as _, escape::Lex as _, num::LexWrite as _};

use super::{MAX_DEPTH, Notes, Unreadable, check_unique};
use crate::{
    event::{
        Warning,
        json::plain,
        value::{Object, Value},
    },
    provider::work::visited,
};

/// Reads exactly one value.
pub(super) fn read<'a>(body: &'a [u8], notes: &mut Notes) -> Result<Value<'a>, Unreadable> {
    visited(body.len());
    let text = std::str::from_utf8(body).ok();
    let mut reader =
        Reader { rest: body, body, text, notes, members: Object::new(), entries: Vec::new() };
    let mut value = Value::Null;
    reader.value(MAX_DEPTH, |_, read| value = read)?;
    match reader.next() {
        None => Ok(value),
        Some(_) => Err(Unreadable::NotJson),
    }
}

struct Reader<'a, 'n> {
    rest: &'a [u8],
    body: &'a [u8],
    /// The body, when all of it is UTF-8: its strings need not be looked at again.
    text: Option<&'a str>,
    notes: &'n mut Notes,
    /// The members of the objects that are being read, the innermost's last: an object that is
    /// complete takes its own, in one allocation of their size.
    members: Object<'a>,
    /// The entries of the lists that are being read, likewise.
    entries: Vec<Value<'a>>,
}

/// What follows a member or an entry.
enum After {
    Another,
    End,
}

/// What a token that begins like a number is.
enum Digits<'a> {
    Number(Cow<'a, str>),
    Masked(Cow<'a, str>),
}

/// What was put on a stack since it had `first` items.
fn taken<T>(stack: &mut Vec<T>, first: usize) -> Vec<T> {
    if first == 0 { std::mem::take(stack) } else { stack.split_off(first) }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

// === impl Reader ===

impl<'a> Reader<'a, '_> {
    /// The next byte that is no white space, which is passed.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        while let [first, rest @ ..] = self.rest {
            if !is_space(*first) {
                return Some(*first);
            }
            visited(1);
            self.rest = rest;
        }
        None
    }

    /// Passes so many bytes.
    fn pass(&mut self, len: usize) {
        visited(len);
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// Reads a value that may nest `depth` deep, and hands it to `keep`: where each kind of value
    /// is made, it is also put in its place, and not moved from hand to hand.
    #[inline]
    fn value(
        &mut self,
        depth: usize,
        keep: impl FnOnce(&mut Self, Value<'a>),
    ) -> Result<(), Unreadable> {
        match self.next().ok_or(Unreadable::NotJson)? {
            b'"' => {
                self.pass(1);
                let text = self.string()?;
                keep(self, Value::String(text));
            }
            b'{' => {
                let members = self.object(depth.checked_sub(1).ok_or(Unreadable::TooDeep)?)?;
                keep(self, Value::Object(members));
            }
            b'[' => {
                let entries = self.array(depth.checked_sub(1).ok_or(Unreadable::TooDeep)?)?;
                keep(self, Value::Array(entries));
            }
            b't' => {
                self.literal(b"true")?;
                keep(self, Value::Bool(true));
            }
            b'f' => {
                self.literal(b"false")?;
                keep(self, Value::Bool(false));
            }
            b'n' => {
                self.literal(b"null")?;
                keep(self, Value::Null);
            }
            b'-' | b'0'..=b'9' | b'X' | b'x' | b'*' => match self.number()? {
                Digits::Number(text) => keep(self, Value::Number(text)),
                Digits::Masked(text) => keep(self, Value::String(text)),
            },
            _ => return Err(Unreadable::NotJson),
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Unreadable> {
        if !self.rest.starts_with(word) {
            return Err(Unreadable::NotJson);
        }
        self.pass(word.len());
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<Object<'a>, Unreadable> {
        self.pass(1);
        let first = self.members.len();
        let mut next = self.next();
        if next == Some(b'}') {
            self.pass(1);
            return Ok(Object::new());
        }
        while next == Some(b'"') {
            self.notes.count()?;
            self.pass(1);
            let name = self.string()?;
            if self.next() != Some(b':') {
                return Err(Unreadable::NotJson);
            }
            self.pass(1);
            self.value(depth, |reader, value| reader.members.push((name, value)))?;
            if let After::End = self.after(b'}')? {
                let members = taken(&mut self.members, first);
                check_unique(&members)?;
                return Ok(members);
            }
            next = self.next();
        }
        Err(Unreadable::NotJson)
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value<'a>>, Unreadable> {
        self.pass(1);
        let first = self.entries.len();
        if self.next() == Some(b']') {
            self.pass(1);
            return Ok(Vec::new());
        }
        loop {
            self.notes.count()?;
            self.value(depth, |reader, value| reader.entries.push(value))?;
            if let After::End = self.after(b']')? {
                return Ok(taken(&mut self.entries, first));
            }
        }
    }

    /// Passes the comma or the end. Repair: a comma before the end.
    #[inline]
    fn after(&mut self, end: u8) -> Result<After, Unreadable> {
        match self.next() {
            Some(next) if next == end => {
                self.pass(1);
                Ok(After::End)
            }
            Some(b',') => {
                self.pass(1);
                if self.next() != Some(end) {
                    return Ok(After::Another);
                }
                self.repair()?;
                self.pass(1);
                Ok(After::End)
            }
            _ => Err(Unreadable::NotJson),
        }
    }

    /// Reads a number, by its text. Repair: digits with X, x or `*`, which become a string.
    fn number(&mut self) -> Result<Digits<'a>, Unreadable> {
        let ends = |byte: Option<&u8>| match byte {
            None | Some(b',' | b'}' | b']') => true,
            Some(byte) => is_space(*byte),
        };
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_whole = digits > 0 && (self.rest.first() != Some(&b'0') || digits == 1);
        if is_whole && ends(self.rest.get(digits)) {
            return Ok(Digits::Number(self.chunk(digits)));
        }
        visited(digits);
        let mut lexer = SliceLexer::new(self.rest);
        let number = lexer.num_string().validated();
        let goes_on = |next: u8| next.is_ascii_alphanumeric() || next == b'*';
        match number {
            Ok((text, _)) if !lexer.peek_next().is_some_and(goes_on) => {
                self.pass(text.len());
                Ok(Digits::Number(Cow::Borrowed(text)))
            }
            _ => self.masked(),
        }
    }

    fn masked(&mut self) -> Result<Digits<'a>, Unreadable> {
        let masks = |byte: u8| matches!(byte, b'X' | b'x' | b'*');
        let mut lexer = SliceLexer::new(self.rest);
        let mut bytes: &[u8] = &[];
        lexer.write_until(&mut bytes, |byte| !byte.is_ascii_digit() && !masks(byte));
        self.pass(bytes.len());
        let ends = lexer
            .peek_next()
            .is_none_or(|next| is_space(next) || matches!(next, b',' | b'}' | b']'));
        let masked = bytes.iter().copied().any(masks) && bytes.iter().any(u8::is_ascii_digit);
        if !ends || !masked {
            return Err(Unreadable::NotJson);
        }
        self.repair()?;
        Ok(Digits::Masked(self.notes.text(Cow::Borrowed(bytes))))
    }

    /// Reads a string after its opening quote.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        let plain = plain(self.rest);
        let ends = self.rest.get(plain) == Some(&b'"');
        let text = self.chunk(plain);
        if ends {
            self.pass(1);
            return Ok(text);
        }
        self.mixed(text.into_owned()).map(Cow::Owned)
    }

    /// Reads on in a string that is not plain to its end. Repair: raw control characters.
    fn mixed(&mut self, mut text: String) -> Result<String, Unreadable> {
        loop {
            match self.rest.first().ok_or(Unreadable::NotJson)? {
                b'"' => {
                    self.pass(1);
                    return Ok(text);
                }
                b'\\' => {
                    self.pass(1);
                    text.push(self.escape()?);
                }
                control => {
                    let control = char::from(*control);
                    self.pass(1);
                    self.repair()?;
                    text.push(control);
                }
            }
            let plain = plain(self.rest);
            text.push_str(&self.chunk(plain));
        }
    }

    /// Passes the next bytes of a string, and gives them as text.
    #[inline]
    fn chunk(&mut self, len: usize) -> Cow<'a, str> {
        let start = self.body.len() - self.rest.len();
        let bytes = self.rest.get(..len).unwrap_or_default();
        self.pass(len);
        match self.text.and_then(|text| text.get(start..start + len)) {
            Some(text) => Cow::Borrowed(text),
            None => self.notes.text(Cow::Borrowed(bytes)),
        }
    }

    /// Reads an escape after its backslash; a lone surrogate becomes U+FFFD.
    fn escape(&mut self) -> Result<char, Unreadable> {
        let kind = *self.rest.first().ok_or(Unreadable::NotJson)?;
        self.pass(1);
        if kind != b'u' {
            return SliceLexer::new(self.rest).escape(kind).map_err(|_| Unreadable::NotJson);
        }
        let unit = self.unit()?;
        if let Some(char) = char::from_u32(unit.into()) {
            return Ok(char);
        }
        let before = self.rest;
        if self.rest.starts_with(b"\\u") {
            self.pass(2);
            let low = self.unit()?;
            if let Some(Ok(char)) = char::decode_utf16([unit, low]).next() {
                return Ok(char);
            }
        }
        // What follows is no low surrogate: it stands for itself.
        self.rest = before;
        self.notes.warn(Warning::TextRepaired);
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// Reads the four digits of a `\u`.
    fn unit(&mut self) -> Result<u16, Unreadable> {
        let mut lexer = SliceLexer::new(self.rest);
        let unit = lexer.hex::<u16>().map_err(|_| Unreadable::NotJson)?;
        self.rest = lexer.as_slice();
        visited(4);
        Ok(unit)
    }

    /// Notes a repair, or refuses it.
    fn repair(&mut self) -> Result<(), Unreadable> {
        self.notes.warn(Warning::JsonRepaired);
        if self.notes.repair_json { Ok(()) } else { Err(Unreadable::NotJson) }
    }
}
