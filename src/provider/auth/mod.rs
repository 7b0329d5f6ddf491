//! Whether a request holds the secret its source asks for.
//!
//! Pure, and it fails closed: what is missing, doubled or not understood is not authentic. Every
//! comparison of a secret takes constant time, and every accepted secret is compared.
//!
//! What stands in the head of a request is checked by [`check_head`] before a byte of its body is
//! read; what needs the body, by [`check_body`] on the bytes and the document made of them.

mod body_field;
mod hmac;
mod template;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use form_urlencoded::parse as parse_query;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use jiff::Timestamp;

pub use self::{
    body_field::{clean, masked},
    hmac::{Hmac, Signature, Stamp, StampFormat, StampPlace},
    template::{Template, TemplateError},
};
use super::{Document, Place, Unreadable};
use crate::secret::{Secret, Secrets};

/// One way to authenticate. A source has a list of them, all of which must pass; the empty list
/// is `auth = "none"`.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// A secret in the URL.
    UrlToken {
        /// The accepted tokens.
        token: Secrets,
        /// The query parameter it stands in; `None` is the last segment of the path.
        param: Option<String>,
    },
    /// RFC 7617.
    Basic {
        /// The user's name.
        username: String,
        /// The accepted passwords.
        password: Secrets,
        /// In which forms the pair is accepted.
        form: BasicForm,
    },
    /// RFC 6750, in the header.
    Bearer {
        /// The accepted tokens.
        token: Secrets,
    },
    /// A header that holds nothing but the secret (11x: `x-api-key`).
    Header {
        /// The header's name, lower-case.
        name: HeaderName,
        /// The accepted values.
        secret: Secrets,
    },
    /// A signature over parts of the request.
    Hmac(Hmac),
    /// A field of the body that holds nothing but the secret; of a GET, a parameter.
    BodyField {
        /// Where it stands.
        field: Place,
        /// The accepted values.
        secret: Secrets,
    },
}

/// In which forms the name and the password of Basic are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicForm {
    /// The word `Basic`, then base64 of `name:password`.
    Standard,
    /// Also without the word, with `/` between the two, and in the URL-safe alphabet: what
    /// CloudDial's documents leave open (`providers.md` A.5).
    Loose,
}

/// What of a request is looked at before its body is.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `POST`, `GET`, …
    pub method: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The segment behind the source's own path, as it stands in the URL.
    pub path_token: Option<&'a str>,
    /// The query string as it stands in the URL.
    pub query: &'a str,
}

/// The body of a request, before and after it was read.
#[derive(Clone, Copy, Debug)]
pub struct Body<'b, 'a> {
    /// Its bytes, decompressed.
    pub raw: &'b [u8],
    /// What reading it gave.
    pub document: Result<&'b Document<'a>, Unreadable>,
}

/// Why a request is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A credential is not there, or not in the form its scheme asks for.
    Missing,
    /// A credential is there and is not ours.
    Wrong,
    /// A credential is there twice, which is refused even when both are right.
    Doubled,
    /// A signature is right, and was made too long ago or too far in the future.
    Stale,
    /// What a signature signs is not in the request.
    SignedValueMissing,
}

/// Checks whatever needs no body, of every scheme. All must pass.
pub fn check_head(schemes: &[Scheme], head: &Head<'_>) -> Result<(), Denied> {
    schemes.iter().try_for_each(|scheme| scheme.check_head(head))
}

/// Checks whatever needs the body, of every scheme. All must pass; where several do not,
/// [`Denied::SignedValueMissing`] is only said when it is the only trouble.
pub fn check_body(
    schemes: &[Scheme],
    head: &Head<'_>,
    body: Body<'_, '_>,
    now: Timestamp,
) -> Result<(), Denied> {
    let mut verdict = Ok(());
    for scheme in schemes {
        match scheme.check_body(head, body, now) {
            Err(Denied::SignedValueMissing) => verdict = Err(Denied::SignedValueMissing),
            result => result?,
        }
    }
    verdict
}

/// Whether a 401 should offer Basic.
pub fn offers_basic(schemes: &[Scheme]) -> bool {
    schemes.iter().any(|scheme| matches!(scheme, Scheme::Basic { .. }))
}

/// Whether one more segment behind the source's path is a token.
pub fn takes_path_token(schemes: &[Scheme]) -> bool {
    schemes.iter().any(|scheme| matches!(scheme, Scheme::UrlToken { param: None, .. }))
}

/// Whether a secret in the URL is among what a request must show.
pub fn has_url_token(schemes: &[Scheme]) -> bool {
    schemes.iter().any(|scheme| matches!(scheme, Scheme::UrlToken { .. }))
}

/// The query without the parameters that authenticate: those of `schemes`, and `own`, the
/// provider's. Of a GET, the fields of the body are parameters too.
pub(super) fn strip_query<'a>(
    schemes: &[Scheme],
    own: impl Fn(&str) -> bool,
    method: &str,
    query: &'a str,
) -> Cow<'a, str> {
    let is_credential = |pair: &str| {
        parse_query(pair.as_bytes()).any(|(name, _)| {
            own(&name) || schemes.iter().any(|scheme| scheme.is_in_query(method, &name))
        })
    };
    if !query.split('&').any(is_credential) {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_credential(pair)).collect();
    Cow::Owned(kept.join("&"))
}

// === impl Scheme ===

impl Scheme {
    fn check_head(&self, head: &Head<'_>) -> Result<(), Denied> {
        match self {
            Self::UrlToken { token, param: None } => {
                let sent = head.path_token.ok_or(Denied::Missing)?;
                let sent = percent_decoded(sent);
                matched(token.matches(&sent))
            }
            Self::UrlToken { token, param: Some(param) } => {
                let mut sent = parse_query(head.query.as_bytes())
                    .filter(|(name, _)| name == param.as_str())
                    .map(|(_, value)| value);
                let first = sent.next().ok_or(Denied::Missing)?;
                if sent.next().is_some() {
                    return Err(Denied::Doubled);
                }
                matched(token.matches(first.as_bytes()))
            }
            Self::Basic { username, password, form } => {
                let sent = single(head.headers, &AUTHORIZATION)?;
                let (digits, separators) = match (form, after_word(sent, "basic")) {
                    (BasicForm::Standard, word) => (word?, b":".as_slice()),
                    (BasicForm::Loose, word) => (word.unwrap_or(sent), b":/".as_slice()),
                };
                let pair = match form {
                    BasicForm::Standard => LENIENT.decode(digits),
                    BasicForm::Loose => LENIENT.decode(standard_alphabet(digits)),
                };
                let pair = pair.map_err(|_| Denied::Missing)?;
                is_pair(&pair, separators, username, password)
            }
            Self::Bearer { token } => {
                let sent = after_word(single(head.headers, &AUTHORIZATION)?, "bearer")?;
                matched(token.matches(sent))
            }
            Self::Header { name, secret } => matched(secret.matches(single(head.headers, name)?)),
            Self::Hmac(hmac) => hmac.check_head(head),
            // Looked at with the body, of which it is a part.
            Self::BodyField { .. } => Ok(()),
        }
    }

    fn check_body(
        &self,
        head: &Head<'_>,
        body: Body<'_, '_>,
        now: Timestamp,
    ) -> Result<(), Denied> {
        match self {
            Self::Hmac(hmac) => hmac.check_body(head, body, now),
            Self::BodyField { field, secret } => body_field::check(field, secret, head, body),
            Self::UrlToken { .. }
            | Self::Basic { .. }
            | Self::Bearer { .. }
            | Self::Header { .. } => Ok(()),
        }
    }

    /// Whether the query parameter of this name holds a secret of this scheme.
    fn is_in_query(&self, method: &str, name: &str) -> bool {
        match self {
            Self::UrlToken { param, .. } => param.as_deref() == Some(name),
            Self::BodyField { field, .. } => has_no_body(method) && field.is_key(name),
            Self::Basic { .. } | Self::Bearer { .. } | Self::Header { .. } | Self::Hmac(_) => false,
        }
    }
}

/// Whether the query is the body.
fn is_get(method: &str) -> bool {
    method.eq_ignore_ascii_case("GET")
}

/// Whether whatever the request says is in its head: a GET, or a probe by HEAD.
fn has_no_body(method: &str) -> bool {
    is_get(method) || method.eq_ignore_ascii_case("HEAD")
}

/// Whether `pair` is the user's name, one of `separators`, and an accepted password. The name may
/// hold a `/` itself, so it is measured and not searched for.
fn is_pair(
    pair: &[u8],
    separators: &[u8],
    username: &str,
    password: &Secrets,
) -> Result<(), Denied> {
    if !pair.iter().any(|byte| separators.contains(byte)) {
        return Err(Denied::Missing);
    }
    let (user, rest) = pair.split_at_checked(username.len()).unwrap_or((pair, &[]));
    let (separator, pass) = rest.split_first().unwrap_or((&0, &[]));
    // Both halves are compared whatever the first says.
    let user_matches = Secret::new(username).matches(user) & separators.contains(separator);
    matched(password.matches(pass) & user_matches)
}

/// The digits of the URL-safe alphabet as those of the standard one.
fn standard_alphabet(digits: &[u8]) -> Vec<u8> {
    let digit = |digit: &u8| match digit {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    digits.iter().map(digit).collect()
}

fn matched(matches: bool) -> Result<(), Denied> {
    if matches { Ok(()) } else { Err(Denied::Wrong) }
}

/// The value of a header that must be there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h [u8], Denied> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().ok_or(Denied::Missing)?;
    if values.next().is_some() {
        return Err(Denied::Doubled);
    }
    Ok(first.as_bytes())
}

/// What follows the scheme's word, which may be in any case.
fn after_word<'h>(value: &'h [u8], word: &str) -> Result<&'h [u8], Denied> {
    let (scheme, rest) = value.split_at_checked(word.len()).ok_or(Denied::Missing)?;
    if !scheme.eq_ignore_ascii_case(word.as_bytes()) || rest.first() != Some(&b' ') {
        return Err(Denied::Missing);
    }
    Ok(rest.trim_ascii())
}

/// `%XX` undone, and nothing else: in a path a `+` is a plus sign.
fn percent_decoded(segment: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(segment).collect()
}

/// Base64 with or without its padding: both are seen in the wild.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
