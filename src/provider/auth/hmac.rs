//! Signatures in a header: HMACs over parts of a request (`providers.md` B.1).

use std::{borrow::Cow, time::Duration};

use http::HeaderName;
use jiff::Timestamp;

use super::{Body, Denied, Head, Template, matched, single};
use crate::{
    secret::Secrets,
    signature::{Algorithm, Encoding, Key},
};

/// A signature and the keys that may have made it.
#[derive(Clone, Debug)]
pub struct Hmac {
    signature: Signature,
    keys: Vec<Key>,
}

/// How requests are signed.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The hash under the HMAC.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// The spellings of its header, of which exactly one may occur, once.
    pub headers: Vec<HeaderName>,
    /// For a header that is a list such as `t=…,v1=…`: the name of the signatures in it.
    pub part: Option<String>,
    /// What stands before the digits.
    pub prefix: String,
    /// What is signed.
    pub signed: Template,
    /// When it was signed, if the request says so.
    pub stamp: Option<Stamp>,
}

/// The instant of a signature.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Where it stands.
    pub place: StampPlace,
    /// How it is written.
    pub format: StampFormat,
    /// The largest difference from now, either way.
    pub tolerance: Duration,
}

/// Where the instant of a signature stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StampPlace {
    /// In a header of its own.
    Header(HeaderName),
    /// In the signature's header, under this name of the list.
    Part(String),
}

/// How the instant of a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampFormat {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

// === impl Hmac ===

impl Hmac {
    /// Prepares the keys: the bytes of the secrets, whatever they look like.
    pub fn new(signature: Signature, secret: &Secrets) -> Self {
        let key = |secret| Key::new(signature.algorithm, secret);
        let keys = secret.iter().map(key).collect();
        Self { signature, keys }
    }

    /// How requests are signed.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether the headers that it takes are there, once.
    pub(super) fn check_head(&self, head: &Head<'_>) -> Result<(), Denied> {
        let sent = self.signature.sent(head)?;
        self.signature.written(sent)?;
        self.signature.signed.check_head(head)?;
        self.signature.stamp(head, sent).map(drop)
    }

    pub(super) fn check_body(
        &self,
        head: &Head<'_>,
        body: Body<'_, '_>,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let sent = self.signature.sent(head)?;
        let written = self.signature.written(sent)?;
        let stamp = self.signature.stamp(head, sent)?;
        let signed = self.signature.signed.signed(head, body, stamp.map(|(text, _)| text))?;
        let pieces: Vec<&[u8]> = signed.iter().map(Cow::as_ref).collect();
        // Every signature meets every key, so that the time does not tell which one fitted.
        let fits = written
            .iter()
            .flat_map(|written| self.keys.iter().map(move |key| (key, written)))
            .fold(false, |fits, (key, written)| {
                key.verify(&pieces, self.signature.encoding, written) | fits
            });
        matched(fits)?;
        match (&self.signature.stamp, stamp) {
            (Some(Stamp { tolerance, .. }), Some((_, at)))
                if now.duration_since(at).unsigned_abs() > *tolerance =>
            {
                Err(Denied::Stale)
            }
            _ => Ok(()),
        }
    }
}

// === impl Signature ===

impl Signature {
    /// Synthflow's: HMAC-SHA256 over the call's id and nothing else, in base64, in a header whose
    /// spelling on the wire its documents leave open (`providers.md` A.2).
    pub(in crate::provider) fn synthflow() -> Self {
        let headers = [
            "synthflow-signature",
            "x-synthflow-signature",
            "http-synthflow-signature",
            "http_synthflow_signature",
        ];
        Self {
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Base64,
            headers: headers.map(HeaderName::from_static).into(),
            part: None,
            prefix: String::new(),
            signed: Template::of_value("/call/call_id"),
            stamp: None,
        }
    }

    /// The value of the one header.
    fn sent<'h>(&self, head: &Head<'h>) -> Result<&'h [u8], Denied> {
        let mut values = self.headers.iter().flat_map(|name| head.headers.get_all(name));
        let first = values.next().ok_or(Denied::Missing)?;
        if values.next().is_some() { Err(Denied::Doubled) } else { Ok(first.as_bytes()) }
    }

    /// The digits of each signature in a header.
    fn written<'h>(&self, sent: &'h [u8]) -> Result<Vec<&'h str>, Denied> {
        let sent = str::from_utf8(sent).map_err(|_| Denied::Missing)?;
        let written: Vec<&str> = match &self.part {
            Some(part) => parts(sent, part).take(SIGNATURES_READ_MAX).collect(),
            None => vec![sent.trim()],
        };
        let digits: Vec<&str> =
            written.into_iter().filter_map(|one| one.strip_prefix(self.prefix.as_str())).collect();
        if digits.is_empty() { Err(Denied::Missing) } else { Ok(digits) }
    }

    /// The instant of the signature, as sent and as read.
    fn stamp<'h>(
        &self,
        head: &Head<'h>,
        sent: &'h [u8],
    ) -> Result<Option<(&'h [u8], Timestamp)>, Denied> {
        let Some(Stamp { place, format, .. }) = &self.stamp else { return Ok(None) };
        let text = match place {
            StampPlace::Header(name) => single(head.headers, name)?,
            StampPlace::Part(name) => {
                let sent = str::from_utf8(sent).map_err(|_| Denied::Missing)?;
                let mut found = parts(sent, name);
                let first = found.next().ok_or(Denied::Missing)?;
                if found.next().is_some() {
                    return Err(Denied::Doubled);
                }
                first.as_bytes()
            }
        };
        let at = str::from_utf8(text).ok().and_then(|text| format.read(text.trim()));
        Ok(Some((text, at.ok_or(Denied::Missing)?)))
    }
}

/// The values under a name in a list such as `t=…,v1=…`.
fn parts<'h>(list: &'h str, name: &str) -> impl Iterator<Item = &'h str> {
    list.split(',')
        .filter_map(|part| part.trim().split_once('='))
        .filter(move |(part, _)| *part == name)
        .map(|(_, value)| value)
}

/// More signatures than any rotation has; fewer than make MACs over a large body an attack.
const SIGNATURES_READ_MAX: usize = 8;

// === impl StampFormat ===

impl StampFormat {
    fn read(self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Seconds => Timestamp::from_second(text.parse().ok()?).ok(),
            Self::Milliseconds => Timestamp::from_millisecond(text.parse().ok()?).ok(),
            Self::Rfc3339 => text.parse().ok(),
        }
    }
}
