//! What a value says to the field that it stands for, and whether the event will show all of it.
//!
//! Each function reads one kind of field, knows nothing of where the value stands, and changes
//! nothing: what its fate means for the tree is [`Fields`](super::fields::Fields)' to do.

use super::work::visited;
use crate::event::{Warning, value::Value};

/// The longest `call.id`, `reference` and `subject`.
pub(super) const MAX_ID: usize = 1024;

/// What became of a value at a mapped path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate<T> {
    /// It says nothing: null or blank. It leaves the tree.
    Blank,
    /// It is used and can be rebuilt from the event. It leaves the tree.
    Whole(T),
    /// It is used, but not all of it is in the event. It stays.
    Partly(T),
    /// It cannot be used. It stays.
    Refused(Warning),
}

/// Whether a text is a placeholder of a document or a test button.
pub(super) fn is_placeholder(text: &str) -> bool {
    stands_for_another(text.trim())
}

/// The same of a text without white space around it.
fn stands_for_another(text: &str) -> bool {
    if !text.starts_with(['[', '<']) {
        return false;
    }
    // The last as pages that hide addresses write it: with a no-break space.
    if matches!(text, "[UUID]" | "[REDACTED]" | "[email protected]" | "[email\u{a0}protected]") {
        return true;
    }
    let word = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    word.is_some_and(|word| {
        !word.is_empty()
            && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+'))
    })
}

/// A text as sent: a string, or a number by its digits.
pub(super) fn text<'v>(value: &'v Value<'_>) -> Fate<&'v str> {
    if let Value::String(text) | Value::Number(text) = value {
        visited(text.len());
    }
    match value {
        Value::Null => Fate::Blank,
        Value::String(text) => match text.trim() {
            "" => Fate::Blank,
            inner if stands_for_another(inner) => Fate::Refused(Warning::Placeholder),
            _ => Fate::Whole(text),
        },
        Value::Number(text) => Fate::Whole(text),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Fate::Refused(Warning::ValueDropped),
    }
}

/// A text of at most [`MAX_ID`] bytes.
pub(super) fn id<'v>(value: &'v Value<'_>) -> Fate<&'v str> {
    match text(value) {
        Fate::Whole(text) if text.len() > MAX_ID => Fate::Refused(Warning::ValueDropped),
        fate => fate,
    }
}

/// An address that a reader may follow: http or https, nothing else.
pub(super) fn url<'v>(value: &'v Value<'_>) -> Fate<&'v str> {
    let followable = |text: &str| {
        let (scheme, rest) = text.split_once("://")?;
        let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\');
        (web && !host.is_empty() && clean).then_some(())
    };
    match (value, text(value)) {
        (Value::String(_), Fate::Whole(text)) => match followable(text.trim()) {
            Some(()) => Fate::Whole(text.trim()),
            None => Fate::Refused(Warning::ValueDropped),
        },
        (_, Fate::Whole(_)) => Fate::Refused(Warning::ValueDropped),
        (_, fate) => fate,
    }
}

/// Whole seconds, or any count: `46`, `46.9` (cut), `"46"`, `"00:00:46"`; never negative.
pub(super) fn whole(value: &Value<'_>) -> Fate<u64> {
    let text = match text(value) {
        Fate::Whole(text) => text.trim(),
        Fate::Blank => return Fate::Blank,
        Fate::Partly(_) => return Fate::Refused(Warning::ValueDropped),
        Fate::Refused(warning) => return Fate::Refused(warning),
    };
    count(text).unwrap_or(Fate::Refused(Warning::ValueDropped))
}

/// What [`whole`] reads; `None` when it is no count.
fn count(text: &str) -> Option<Fate<u64>> {
    /// 2⁵³: beyond, a consumer that reads numbers as floats gets another one.
    const MAX: u64 = 1 << 53;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| if digits(part) { part.parse::<u64>().ok() } else { None };
    let fits = |count: &u64| *count <= MAX;
    if text.contains(':') {
        let mut parts = text.split(':').map(number);
        let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() || minutes > 59 || seconds > 59 {
            return None;
        }
        let total = hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds);
        return total.filter(fits).map(Fate::Partly);
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if digits(fraction) => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let count = number(whole).filter(fits)?;
    let cut = fraction.bytes().any(|digit| digit != b'0');
    Some(if cut { Fate::Partly(count) } else { Fate::Whole(count) })
}
