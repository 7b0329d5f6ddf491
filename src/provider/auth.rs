//! Whether a request holds the secret its source asks for. Pure; fails closed.

use crate::secret::Secrets;

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
    /// A header that holds nothing but the secret.
    Header {
        /// The header's name, lower-case.
        name: http::HeaderName,
        /// The accepted values.
        secret: Secrets,
    },
}
