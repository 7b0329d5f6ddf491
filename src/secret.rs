//! A string that will not print itself.
//!
//! It has no `Display` and no `Serialize`, its `Debug` shows nothing, it compares in constant
//! time, and its bytes are wiped when it is dropped.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// One secret value, as read from relay.toml, the environment or a file.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// One or several secrets that are all accepted: several while one is being rotated out.
#[derive(Clone, Debug)]
pub struct Secrets(Vec<Secret>);

// === impl Secret ===

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The bytes, for computing with them. Never log, store or forward what this returns.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is this secret, in a time that depends on the lengths only.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

// === impl Secrets ===

impl Secrets {
    /// Wraps the values; an empty list matches nothing.
    pub fn new(values: Vec<Secret>) -> Self {
        Self(values)
    }

    /// Each secret, the newest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Secret> {
        self.0.iter()
    }

    /// Whether any of them is `other`; every one is compared, whichever matches.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.iter().fold(false, |found, secret| secret.matches(other) | found)
    }
}

impl<'a> IntoIterator for &'a Secrets {
    type Item = &'a Secret;
    type IntoIter = std::slice::Iter<'a, Secret>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself_when_printed() {
        let secrets = Secrets::new(vec![Secret::new("hunter2")]);

        assert_eq!(format!("{secrets:?}"), "Secrets([Secret(…)])");
    }

    #[test]
    fn any_of_the_rotated_secrets_matches_and_nothing_else_does() {
        let secrets = Secrets::new(vec![Secret::new("new"), Secret::new("old")]);

        assert!(secrets.matches(b"new"));
        assert!(secrets.matches(b"old"));
        assert!(!secrets.matches(b"ne"));
        assert!(!secrets.matches(b""));
        assert!(!Secrets::new(Vec::new()).matches(b""));
    }
}
