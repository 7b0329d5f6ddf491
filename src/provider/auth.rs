//! Whether a request holds the secret its source asks for.
//!
//! Pure, and it fails closed: what is missing, doubled or not understood is not authentic. Every
//! comparison of a secret takes constant time, and every accepted secret is compared.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use form_urlencoded::parse as parse_query;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

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
}

/// What of a request is looked at before its body is.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The segment behind the source's own path, as it stands in the URL.
    pub path_token: Option<&'a str>,
    /// The query string as it stands in the URL.
    pub query: &'a str,
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
}

/// Checks every scheme that needs no body. All must pass.
pub fn check_head(schemes: &[Scheme], head: &Head<'_>) -> Result<(), Denied> {
    schemes.iter().try_for_each(|scheme| scheme.check_head(head))
}

/// Whether a 401 should offer Basic.
pub fn offers_basic(schemes: &[Scheme]) -> bool {
    schemes.iter().any(|scheme| matches!(scheme, Scheme::Basic { .. }))
}

/// Whether one more segment behind the source's path is a token.
pub fn takes_path_token(schemes: &[Scheme]) -> bool {
    schemes.iter().any(|scheme| matches!(scheme, Scheme::UrlToken { param: None, .. }))
}

/// The query without the parameters that authenticate: the only form of it that is logged,
/// hashed, stored or forwarded.
pub fn strip_query<'a>(schemes: &[Scheme], query: &'a str) -> Cow<'a, str> {
    let params: Vec<&str> = schemes.iter().filter_map(Scheme::query_param).collect();
    let is_credential =
        |pair: &str| parse_query(pair.as_bytes()).any(|(name, _)| params.contains(&name.as_ref()));
    if params.is_empty() || !query.split('&').any(is_credential) {
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
            Self::Basic { username, password } => {
                let sent = after_word(single(head.headers, &AUTHORIZATION)?, "basic")?;
                let pair = LENIENT.decode(sent).map_err(|_| Denied::Missing)?;
                let mut halves = pair.splitn(2, |byte| *byte == b':');
                let (Some(user), Some(pass)) = (halves.next(), halves.next()) else {
                    return Err(Denied::Missing);
                };
                // Both halves are compared whatever the first says.
                let user_matches = Secret::new(username.as_str()).matches(user);
                matched(password.matches(pass) & user_matches)
            }
            Self::Bearer { token } => {
                let sent = after_word(single(head.headers, &AUTHORIZATION)?, "bearer")?;
                matched(token.matches(sent))
            }
            Self::Header { name, secret } => matched(secret.matches(single(head.headers, name)?)),
        }
    }

    fn query_param(&self) -> Option<&str> {
        match self {
            Self::UrlToken { param, .. } => param.as_deref(),
            Self::Basic { .. } | Self::Bearer { .. } | Self::Header { .. } => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::new(values.iter().map(|value| Secret::new(*value)).collect())
    }

    fn check(
        scheme: Scheme,
        headers: &[(&str, &str)],
        token: Option<&str>,
        query: &str,
    ) -> Result<(), Denied> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        check_head(&[scheme], &Head { headers: &map, path_token: token, query })
    }

    fn api_key() -> Scheme {
        Scheme::Header {
            name: HeaderName::from_static("x-api-key"),
            secret: secrets(&["new", "old"]),
        }
    }

    fn basic() -> Scheme {
        Scheme::Basic { username: "relay".to_owned(), password: secrets(&["s3cret"]) }
    }

    #[test]
    fn a_header_secret_passes_while_new_or_old_and_never_doubled() {
        assert_eq!(check(api_key(), &[("x-api-key", "new")], None, ""), Ok(()));
        assert_eq!(check(api_key(), &[("X-API-Key", "old")], None, ""), Ok(()));
        assert_eq!(check(api_key(), &[("x-api-key", "newer")], None, ""), Err(Denied::Wrong));
        assert_eq!(check(api_key(), &[("x-api-key", "")], None, ""), Err(Denied::Wrong));
        assert_eq!(check(api_key(), &[], None, ""), Err(Denied::Missing));
        let doubled = [("x-api-key", "new"), ("x-api-key", "new")];
        assert_eq!(check(api_key(), &doubled, None, ""), Err(Denied::Doubled));
    }

    #[test]
    fn basic_passes_in_any_case_of_its_word_with_or_without_padding() {
        for sent in ["Basic cmVsYXk6czNjcmV0", "basic cmVsYXk6czNjcmV0", "BASIC  cmVsYXk6czNjcmV0"]
        {
            assert_eq!(check(basic(), &[("authorization", sent)], None, ""), Ok(()), "{sent}");
        }
        // relay:s3cre / rela:s3cret / no colon / not base64 / another scheme
        for (sent, denied) in [
            ("Basic cmVsYXk6czNjcmU=", Denied::Wrong),
            ("Basic cmVsYXk6czNjcmU", Denied::Wrong),
            ("Basic cmVsYTpzM2NyZXQ=", Denied::Wrong),
            ("Basic cmVsYXk=", Denied::Missing),
            ("Basic ***", Denied::Missing),
            ("Bearer cmVsYXk6czNjcmV0", Denied::Missing),
            ("Basic", Denied::Missing),
        ] {
            assert_eq!(check(basic(), &[("authorization", sent)], None, ""), Err(denied), "{sent}");
        }
    }

    #[test]
    fn a_bearer_token_passes_and_a_longer_or_shorter_one_does_not() {
        let bearer = || Scheme::Bearer { token: secrets(&["abc"]) };
        assert_eq!(check(bearer(), &[("authorization", "Bearer abc")], None, ""), Ok(()));
        for sent in ["Bearer abcd", "Bearer ab", "Bearer "] {
            assert_eq!(
                check(bearer(), &[("authorization", sent)], None, "").is_ok(),
                false,
                "{sent}"
            );
        }
    }

    #[test]
    fn a_url_token_stands_in_the_path_or_in_a_parameter() {
        let path = || Scheme::UrlToken { token: secrets(&["a b+c"]), param: None };
        assert_eq!(check(path(), &[], Some("a%20b+c"), ""), Ok(()));
        assert_eq!(check(path(), &[], Some("a"), ""), Err(Denied::Wrong));
        assert_eq!(check(path(), &[], None, ""), Err(Denied::Missing));

        let param = || Scheme::UrlToken { token: secrets(&["t0k"]), param: Some("key".to_owned()) };
        assert_eq!(check(param(), &[], None, "ref=1&key=t0k"), Ok(()));
        assert_eq!(check(param(), &[], None, "k%65y=t0k"), Ok(()));
        assert_eq!(check(param(), &[], None, "key=t0k&key=t0k"), Err(Denied::Doubled));
        assert_eq!(check(param(), &[], None, "ref=1"), Err(Denied::Missing));
    }

    #[test]
    fn every_scheme_of_a_list_must_pass() {
        let schemes = [api_key(), basic()];
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "new".parse().unwrap());
        let head = |headers| Head { headers, path_token: None, query: "" };
        assert_eq!(check_head(&schemes, &head(&headers)), Err(Denied::Missing));

        let mut both = headers.clone();
        both.insert(AUTHORIZATION, "Basic cmVsYXk6czNjcmV0".parse().unwrap());
        assert_eq!(check_head(&schemes, &head(&both)), Ok(()));
    }

    #[test]
    fn the_parameter_that_authenticates_is_taken_out_of_the_query_and_nothing_else_is() {
        let schemes = [Scheme::UrlToken { token: secrets(&["x"]), param: Some("key".to_owned()) }];
        assert_eq!(strip_query(&schemes, "ref=1&key=x&to=%2B1"), "ref=1&to=%2B1");
        assert_eq!(strip_query(&schemes, "%6bey=x"), "");
        assert_eq!(strip_query(&schemes, "monkey=1"), "monkey=1");
        assert_eq!(strip_query(&[], "key=x"), "key=x");
    }
}
