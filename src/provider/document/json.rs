//! JSON, strictly, with the repairs of `providers.md` C.0 and no others.
//!
//! hifijson lexes: it keeps the text of numbers and leaves depth, count and repairs to us. A
//! repair is only ever tried at a byte where strict JSON fails, so one pass does for both, and a
//! body that is JSON cannot be read otherwise than as what it says.

use std::borrow::Cow;

use hifijson::{
    Read as _, SliceLexer, Write as _, escape::Lex as _, num::LexWrite as _, token::Lex as _,
};

use memchr::memchr2;

use super::{MAX_DEPTH, Notes, Unreadable, check_unique};
use crate::event::{
    Warning,
    value::{Object, Value},
};

/// Reads exactly one value.
pub(super) fn read<'a>(body: &'a [u8], notes: &mut Notes) -> Result<Value<'a>, Unreadable> {
    let text = std::str::from_utf8(body).ok();
    let mut reader = Reader { lexer: SliceLexer::new(body), body, text, notes };
    let value = reader.value(MAX_DEPTH)?;
    match reader.lexer.ws_peek() {
        None => Ok(value),
        Some(_) => Err(Unreadable::NotJson),
    }
}

struct Reader<'a, 'n> {
    lexer: SliceLexer<'a>,
    body: &'a [u8],
    /// The body, when all of it is UTF-8: its strings need not be looked at again.
    text: Option<&'a str>,
    notes: &'n mut Notes,
}

/// Room for the members of most objects, so that they are not moved as they are read.
const TYPICAL: usize = 8;

/// What follows a member or an entry.
enum After {
    Another,
    End,
}

// === impl Reader ===

impl<'a> Reader<'a, '_> {
    /// Reads a value that may nest `depth` deep.
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Unreadable> {
        match self.lexer.ws_peek().ok_or(Unreadable::NotJson)? {
            b'"' => {
                self.lexer.take_next();
                self.string().map(Value::String)
            }
            b'{' => self.object(depth.checked_sub(1).ok_or(Unreadable::TooDeep)?),
            b'[' => self.array(depth.checked_sub(1).ok_or(Unreadable::TooDeep)?),
            b'-' | b'0'..=b'9' | b'X' | b'x' | b'*' => self.number(),
            _ => match self.lexer.null_or_bool() {
                Some(Some(value)) => Ok(Value::Bool(value)),
                Some(None) => Ok(Value::Null),
                None => Err(Unreadable::NotJson),
            },
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, Unreadable> {
        self.lexer.take_next();
        let mut members = Object::new();
        let mut next = self.lexer.ws_peek();
        if next == Some(b'}') {
            self.lexer.take_next();
            return Ok(Value::Object(members));
        }
        members.reserve(TYPICAL);
        while next == Some(b'"') {
            self.notes.count()?;
            self.lexer.take_next();
            let name = self.string()?;
            self.lexer.expect(SliceLexer::ws_peek, b':').ok_or(Unreadable::NotJson)?;
            let value = self.value(depth)?;
            members.push((name, value));
            if let After::End = self.after(b'}')? {
                check_unique(&members)?;
                return Ok(Value::Object(members));
            }
            next = self.lexer.ws_peek();
        }
        Err(Unreadable::NotJson)
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, Unreadable> {
        self.lexer.take_next();
        let mut entries = Vec::new();
        if self.lexer.ws_peek() == Some(b']') {
            self.lexer.take_next();
            return Ok(Value::Array(entries));
        }
        loop {
            self.notes.count()?;
            entries.push(self.value(depth)?);
            if let After::End = self.after(b']')? {
                return Ok(Value::Array(entries));
            }
        }
    }

    /// Passes the comma or the end. Repair: a comma before the end.
    fn after(&mut self, end: u8) -> Result<After, Unreadable> {
        match self.lexer.ws_peek() {
            Some(next) if next == end => {
                self.lexer.take_next();
                Ok(After::End)
            }
            Some(b',') => {
                self.lexer.take_next();
                if self.lexer.ws_peek() != Some(end) {
                    return Ok(After::Another);
                }
                self.repair()?;
                self.lexer.take_next();
                Ok(After::End)
            }
            _ => Err(Unreadable::NotJson),
        }
    }

    /// Reads a number, by its text. Repair: digits with X, x or `*`, which become a string.
    fn number(&mut self) -> Result<Value<'a>, Unreadable> {
        let start = self.lexer.as_slice();
        let number = self.lexer.num_string().validated();
        let goes_on = |next: u8| next.is_ascii_alphanumeric() || next == b'*';
        match number {
            Ok((text, _)) if !self.lexer.peek_next().is_some_and(goes_on) => {
                Ok(Value::Number(Cow::Borrowed(text)))
            }
            _ => {
                self.lexer = SliceLexer::new(start);
                self.masked()
            }
        }
    }

    fn masked(&mut self) -> Result<Value<'a>, Unreadable> {
        let masks = |byte: u8| matches!(byte, b'X' | b'x' | b'*');
        let mut bytes: &[u8] = &[];
        self.lexer.write_until(&mut bytes, |byte| !byte.is_ascii_digit() && !masks(byte));
        let ends = self
            .lexer
            .peek_next()
            .is_none_or(|next| matches!(next, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n'));
        let masked = bytes.iter().copied().any(masks) && bytes.iter().any(u8::is_ascii_digit);
        if !ends || !masked {
            return Err(Unreadable::NotJson);
        }
        self.repair()?;
        Ok(Value::String(self.notes.text(Cow::Borrowed(bytes))))
    }

    /// Reads a string after its opening quote. Repair: raw control characters.
    fn string(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        let mut text = Cow::Borrowed("");
        loop {
            // The lexer goes byte by byte; long strings are most of a body.
            let rest = self.lexer.as_slice();
            let end = memchr2(b'"', b'\\', rest).ok_or(Unreadable::NotJson)?;
            let (chunk, after) = rest.split_at_checked(end).ok_or(Unreadable::NotJson)?;
            self.lexer = SliceLexer::new(after);
            // All of them at once, which the compiler can do many at a time.
            if chunk.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20 {
                self.repair()?;
            }
            if !chunk.is_empty() {
                let chunk = self.chunk(chunk, rest.len());
                if text.is_empty() { text = chunk } else { text.to_mut().push_str(&chunk) }
            }
            if self.lexer.take_next() == Some(b'"') {
                return Ok(text);
            }
            let escaped = self.escape()?;
            text.to_mut().push(escaped);
        }
    }

    /// A part of a string as text; `left` is how much of the body began with it.
    fn chunk(&mut self, chunk: &'a [u8], left: usize) -> Cow<'a, str> {
        let start = self.body.len() - left;
        match self.text.and_then(|text| text.get(start..start + chunk.len())) {
            Some(text) => Cow::Borrowed(text),
            None => self.notes.text(Cow::Borrowed(chunk)),
        }
    }

    /// Reads an escape after its backslash; a lone surrogate becomes U+FFFD.
    fn escape(&mut self) -> Result<char, Unreadable> {
        let kind = self.lexer.take_next().ok_or(Unreadable::NotJson)?;
        if kind != b'u' {
            return self.lexer.escape(kind).map_err(|_| Unreadable::NotJson);
        }
        let unit = self.unit()?;
        if let Some(char) = char::from_u32(unit.into()) {
            return Ok(char);
        }
        let before = self.lexer.as_slice();
        if self.lexer.strip_prefix(b"\\u") {
            let low = self.unit()?;
            if let Some(Ok(char)) = char::decode_utf16([unit, low]).next() {
                return Ok(char);
            }
        }
        // What follows is no low surrogate: it stands for itself.
        self.lexer = SliceLexer::new(before);
        self.notes.warn(Warning::TextRepaired);
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// Reads the four digits of a `\u`.
    fn unit(&mut self) -> Result<u16, Unreadable> {
        self.lexer.hex::<u16>().map_err(|_| Unreadable::NotJson)
    }

    /// Notes a repair, or refuses it.
    fn repair(&mut self) -> Result<(), Unreadable> {
        self.notes.warn(Warning::JsonRepaired);
        if self.notes.repair_json { Ok(()) } else { Err(Unreadable::NotJson) }
    }
}
