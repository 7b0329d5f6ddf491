//! `tracestate` (W3C Trace Context): what the tracers that a trace has passed keep in it.

use std::collections::BTreeSet;

/// The entries of one or several headers, each as it came, as many of them as are passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceState(String);

/// What everybody has to pass on, and all that we do.
const CHARS_MAX: usize = 512;
/// Where something has to go, what is longer goes first.
const LONG_CHARS: usize = 128;
const ENTRIES_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 256;
const VALUE_CHARS_MAX: usize = 256;

// === impl TraceState ===

impl TraceState {
    /// Reads the headers of a caller, in their order; `None` where they are not what the
    /// recommendation says, or say nothing. Of more than 512 characters whole entries are left out:
    /// the long ones, then those at the end, which are the oldest.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let listed = headers.into_iter().flat_map(|header| header.split(','));
        let mut entries: Vec<&str> = listed
            .map(|entry| entry.trim_matches([' ', '\t']))
            .filter(|it| !it.is_empty())
            .collect();
        let names: BTreeSet<&str> =
            entries.iter().map(|entry| name_of(entry)).collect::<Option<_>>()?;
        if entries.is_empty() || entries.len() > ENTRIES_MAX || names.len() < entries.len() {
            return None;
        }
        let chars = |entries: &[&str]| {
            entries.iter().map(|entry| entry.len() + 1).sum::<usize>().saturating_sub(1)
        };
        while chars(&entries) > CHARS_MAX {
            let long = entries.iter().rposition(|entry| entry.len() > LONG_CHARS);
            match long {
                Some(long) => drop(entries.remove(long)),
                None => drop(entries.pop()),
            }
        }
        (!entries.is_empty()).then(|| Self(entries.join(",")))
    }

    /// One that was kept as [`TraceState::as_str`] gave it.
    pub fn kept(text: String) -> Self {
        Self(text)
    }

    /// The header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose an entry is, if it is one.
fn name_of(entry: &str) -> Option<&str> {
    let (name, value) = entry.split_once('=')?;
    let (tenant, system) = match name.split_once('@') {
        Some((tenant, system)) => (Some(tenant), system),
        None => (None, name),
    };
    let is_word = |word: &str, begins: fn(u8) -> bool| {
        let mut bytes = word.bytes();
        bytes.next().is_some_and(begins) && bytes.all(is_of_a_name)
    };
    let is_named = name.len() <= NAME_CHARS_MAX
        && is_word(system, |byte| byte.is_ascii_lowercase())
        && tenant.is_none_or(|tenant| {
            is_word(tenant, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
    let is_valued = (1..=VALUE_CHARS_MAX).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    (is_named && is_valued).then_some(name)
}

fn is_of_a_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(headers: &[&str]) -> Option<String> {
        let state = TraceState::parse(headers.iter().copied());
        state.map(|state| state.as_str().to_owned())
    }

    #[test]
    fn entries_are_passed_on_in_their_order_over_all_headers() {
        // The first is the example of the recommendation.
        for (headers, expected) in [
            (
                &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"][..],
                "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            ),
            (&["a=1", "b=2"], "a=1,b=2"),
            (&[" a=1 ,\t, b= 2 ,"], "a=1,b= 2"),
            (&["fw529a3039@dt=FfAAA;x:y/z", "0t@a_-*/=~"], "fw529a3039@dt=FfAAA;x:y/z,0t@a_-*/=~"),
        ] {
            assert_eq!(parsed(headers).as_deref(), Some(expected), "{headers:?}");
        }
    }

    #[test]
    fn what_is_no_tracestate_is_none() {
        let (long_name, long_value) =
            (format!("{}=1", "a".repeat(257)), format!("a={}", "1".repeat(257)));
        let many = (0..33).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join(",");
        for wrong in [
            "",
            " , ",
            "a",
            "a=",
            "=1",
            "A=1",
            "1=1",
            "a b=1",
            "a@=1",
            "@a=1",
            "a@1=1",
            "a@b@c=1",
            "a=1=2",
            "a=\u{7f}",
            "a=é",
            "a=1,b",
            "a=1,a=2",
            &long_name,
            &long_value,
            &many,
        ] {
            assert_eq!(parsed(&[wrong]), None, "{wrong}");
        }
        assert_eq!(parsed(&[]), None);
        assert_eq!(parsed(&["a=1", "a=2"]), None);
    }

    #[test]
    fn of_more_than_512_characters_the_long_entries_go_and_then_the_last() {
        let entry =
            |name: &str, chars: usize| format!("{name}={}", "x".repeat(chars - name.len() - 1));
        let exact = [entry("a", 255), entry("b", 256)].join(",");
        assert_eq!(exact.len(), 512);
        assert_eq!(parsed(&[&exact]), Some(exact.clone()));

        let short: Vec<String> = (0..4).map(|n| entry(&format!("s{n}"), 128)).collect();
        let with_long = [&short[..1], &[entry("long", 129)], &short[1..3]].concat().join(",");
        assert_eq!(parsed(&[&with_long]), Some(short[..3].join(",")));
        assert_eq!(parsed(&[&short.join(",")]), Some(short[..3].join(",")));
    }
}
