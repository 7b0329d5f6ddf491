//! Whether a number that a person typed is that of a call.

use std::borrow::Cow;

use serde::Deserialize;

use crate::store::CallFacts;

/// A call's raw numbers, as they stand in the event.
#[derive(Deserialize)]
struct Raws<'a> {
    #[serde(borrow)]
    data: RawData<'a>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(borrow)]
    call: RawCall<'a>,
}

#[derive(Deserialize)]
struct RawCall<'a> {
    #[serde(borrow)]
    from: Option<RawNumber<'a>>,
    #[serde(borrow)]
    to: Option<RawNumber<'a>>,
}

#[derive(Deserialize)]
struct RawNumber<'a> {
    #[serde(borrow)]
    raw: Cow<'a, str>,
}

// === impl CallFacts ===

impl CallFacts {
    /// Whether the call is from or to this number, as E.164 or as the provider wrote it in the
    /// event.
    #[must_use]
    pub fn is_with(&self, number: &str, event: &[u8]) -> bool {
        let known = [&self.from, &self.to];
        known.into_iter().flatten().any(|known| is_same(known, number)) || is_raw(event, number)
    }
}

/// Whether the provider wrote this number in the event, where the facts have the e164.
pub(super) fn is_raw(event: &[u8], number: &str) -> bool {
    // Ours, and so well-formed; a number that is not there is none that was asked for.
    let Ok(Raws { data: RawData { call } }) = serde_json::from_slice(event) else {
        return false;
    };
    [call.from, call.to].into_iter().flatten().any(|known| is_same(&known.raw, number))
}

/// Whether two ways to write a number differ in punctuation only.
pub(super) fn is_same(known: &str, wanted: &str) -> bool {
    let bare = |text: &str| -> String { text.chars().filter(|c| !is_spacing(*c)).collect() };
    known == wanted || bare(known) == bare(wanted)
}

pub(super) const fn is_spacing(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '(' | ')')
}
