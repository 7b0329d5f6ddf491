//! HMACs and the signatures of Standard Webhooks: compute, verify, tolerance.
//!
//! Pure: the present instant is an argument. Every comparison takes a time that depends on
//! lengths only. The scheme is that of <https://www.standardwebhooks.com>: an HMAC-SHA256 over
//! `<id>.<timestamp>.<body>`, written `v1,<base64>`, several of them with spaces between while a
//! secret is being rotated.

use std::{fmt, time::Duration};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use jiff::Timestamp;
use ring::hmac;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::secret::{Secret, Secrets};

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Twenty bytes; only where a provider offers nothing better.
    Sha1,
    /// Thirty-two bytes.
    Sha256,
    /// Sixty-four bytes.
    Sha512,
}

/// How a MAC is written in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Two digits a byte; both cases are read, lower case is written.
    Hex,
    /// The standard alphabet; read with or without its padding, written with it.
    Base64,
}

/// A key, prepared once for any number of MACs.
#[derive(Clone)]
pub struct Key(hmac::Key);

/// Signs, and verifies, by Standard Webhooks with one or several secrets.
#[derive(Clone, Debug)]
pub struct StandardWebhooks(Vec<Key>);

/// Why a text is not a secret of Standard Webhooks. Never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Another beginning.
    #[error(
        "a signing secret begins with `whsec_`; make one with: \
         echo whsec_$(head -c 32 /dev/urandom | base64)"
    )]
    Prefix,
    /// Not base64 after the prefix.
    #[error("what follows `whsec_` is not base64; copy the whole secret, with its `=` signs")]
    Base64,
    /// Too few or too many bytes.
    #[error("a signing secret holds 24 to 64 bytes, this one holds {bytes}; make a new one")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// An empty list.
    #[error("there is no signing secret; give one, or leave `sign` out")]
    Missing,
}

/// Why a message is not what its sender signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not a number of seconds.
    #[error("the timestamp is not a number of seconds")]
    Timestamp,
    /// Signed too long ago, or too far in the future.
    #[error("the timestamp is further than {} s from now", .tolerance.as_secs())]
    Stale {
        /// The largest difference allowed, either way.
        tolerance: Duration,
    },
    /// No signature fits.
    #[error("no signature fits")]
    Mismatch,
}

// === impl Key ===

impl Key {
    /// Prepares a secret whose bytes are the key.
    pub fn new(algorithm: Algorithm, secret: &Secret) -> Self {
        let algorithm = match algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Self(hmac::Key::new(algorithm, secret.expose()))
    }

    /// The MAC over the parts as if they stood in one piece.
    pub fn sign(&self, parts: &[&[u8]], encoding: Encoding) -> String {
        encoding.write(self.mac(parts).as_ref())
    }

    /// Whether `written` is the MAC over the parts.
    pub fn verify(&self, parts: &[&[u8]], encoding: Encoding, written: &str) -> bool {
        encoding
            .read(written)
            .is_some_and(|claimed| self.mac(parts).as_ref().ct_eq(&claimed).into())
    }

    fn mac(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

// === impl Encoding ===

impl Encoding {
    fn write(self, mac: &[u8]) -> String {
        match self {
            Self::Hex => mac.iter().fold(String::with_capacity(mac.len() * 2), |mut text, byte| {
                text.extend(char::from_digit(u32::from(byte >> 4), 16));
                text.extend(char::from_digit(u32::from(byte & 15), 16));
                text
            }),
            Self::Base64 => STANDARD.encode(mac),
        }
    }

    fn read(self, written: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u8::try_from)?.ok();
                let (pairs, rest) = written.as_bytes().as_chunks::<2>();
                if !rest.is_empty() {
                    return None;
                }
                pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
            }
            Self::Base64 => PADDED_OR_NOT.decode(written).ok(),
        }
    }
}

/// Senders differ in whether they pad.
const PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

// === impl StandardWebhooks ===

impl StandardWebhooks {
    /// Prepares `whsec_…` secrets, the newest first.
    pub fn new(secrets: &Secrets) -> Result<Self, SecretError> {
        let keys = secrets.iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(SecretError::Missing) } else { Ok(Self(keys)) }
    }

    /// The value of `webhook-signature`: one signature a secret, the newest first.
    /// `timestamp` is in seconds since 1970, as `webhook-timestamp` says it.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let mut signatures = String::with_capacity(SIGNATURE_CHARS * self.0.len());
        for key in &self.0 {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str(VERSION);
            STANDARD.encode_string(key.mac(&[head.as_bytes(), body]), &mut signatures);
        }
        signatures
    }

    /// Whether one of the signatures is ours for this message, signed within `tolerance` of
    /// `now`. Takes the texts of the three headers as they came.
    pub fn verify(
        &self,
        message: &SignedMessage<'_>,
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<(), VerifyError> {
        let signed_at: i64 = message.timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
        let age_seconds = now.as_second().abs_diff(signed_at);
        if age_seconds > tolerance.as_secs() {
            return Err(VerifyError::Stale { tolerance });
        }
        let head = format!("{}.{}.", message.id, message.timestamp);
        let parts: [&[u8]; 2] = [head.as_bytes(), message.body];
        // Every signature meets every key, so that the time does not tell which one fitted.
        let fits = message
            .signatures
            .split_ascii_whitespace()
            .filter_map(|signature| signature.strip_prefix(VERSION))
            .take(SIGNATURES_READ_MAX)
            .flat_map(|written| self.0.iter().map(move |key| (key, written)))
            .fold(false, |fits, (key, written)| {
                key.verify(&parts, Encoding::Base64, written) | fits
            });
        if fits { Ok(()) } else { Err(VerifyError::Mismatch) }
    }
}

/// A message and the headers its signature stands in.
#[derive(Clone, Copy, Debug)]
pub struct SignedMessage<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`.
    pub signatures: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

const PREFIX: &str = "whsec_";

/// The version of a symmetric signature, with its comma.
const VERSION: &str = "v1,";

/// A space, the version and 44 digits of base64.
const SIGNATURE_CHARS: usize = 48;

/// More signatures than any rotation has; fewer than make a MAC over a large body an attack.
const SIGNATURES_READ_MAX: usize = 8;

fn key_of(secret: &Secret) -> Result<Key, SecretError> {
    let digits = secret.expose().strip_prefix(PREFIX.as_bytes()).ok_or(SecretError::Prefix)?;
    let bytes = PADDED_OR_NOT.decode(digits).map_err(|_| SecretError::Base64)?;
    let bytes = Zeroizing::new(bytes);
    if !(24..=64).contains(&bytes.len()) {
        return Err(SecretError::Length { bytes: bytes.len() });
    }
    Ok(Key(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    const PUBLISHED: (&str, &str, i64, &[u8], &str) = (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        br#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    );
    const NEWER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TOLERANCE: Duration = Duration::from_mins(5);

    fn signer(secrets: &[&str]) -> Result<StandardWebhooks, SecretError> {
        StandardWebhooks::new(&Secrets::new(secrets.iter().map(|s| Secret::new(*s)).collect()))
    }

    #[test]
    fn the_published_example_is_signed_as_published() {
        let (secret, id, timestamp, body, signature) = PUBLISHED;

        assert_eq!(signer(&[secret]).unwrap().sign(id, timestamp, body), signature);
    }

    #[test]
    fn while_rotating_every_secret_signs_the_newest_first() {
        let (secret, id, timestamp, body, signature) = PUBLISHED;

        assert_eq!(
            signer(&[NEWER, secret]).unwrap().sign(id, timestamp, body),
            // The first by `printf %s 'ID.TIMESTAMP.BODY' | openssl dgst -sha256 -mac HMAC -macopt
            // hexkey:000102…1f -binary | base64`.
            format!("v1,H+RYDKli6ntvOIETWqflVRK+UIsRWejzXbFSJBJuEmc= {signature}")
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the other library reads the wall clock")]
    fn an_independent_library_accepts_what_we_sign_with_any_rotated_secret() {
        let (secret, id, _, body, _) = PUBLISHED;
        let now = Timestamp::now().as_second();
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        let signatures = signer(&[NEWER, secret]).unwrap().sign(id, now, body);
        headers.insert("webhook-signature", signatures.parse().unwrap());

        for secret in [NEWER, secret] {
            standardwebhooks::Webhook::new(secret).unwrap().verify(body, &headers).unwrap();
        }
        let stranger = "whsec_ZZZZAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert!(standardwebhooks::Webhook::new(stranger).unwrap().verify(body, &headers).is_err());
    }

    #[test]
    fn a_message_is_verified_within_the_tolerance_only_and_byte_for_byte() {
        let (secret, id, timestamp, body, signature) = PUBLISHED;
        let (stamp, both) = (timestamp.to_string(), format!("v1a,AAAA v1,AAAA {signature}"));
        let message = SignedMessage { id, timestamp: &stamp, signatures: &both, body };
        let at = |seconds: i64| Timestamp::from_second(timestamp + seconds).unwrap();
        let ours = signer(&[NEWER, secret]).unwrap();
        let verify = |message, now| ours.verify(&message, now, TOLERANCE);

        assert_eq!(verify(message, at(0)), Ok(()));
        assert_eq!(verify(message, at(300)), Ok(()));
        assert_eq!(verify(message, at(-300)), Ok(()));
        let stale = Err(VerifyError::Stale { tolerance: TOLERANCE });
        assert_eq!(verify(message, at(301)), stale);
        assert_eq!(verify(message, at(-301)), stale);
        for changed in [
            SignedMessage { id: "msg_other", ..message },
            SignedMessage { body: b"{}", ..message },
            SignedMessage { signatures: "", ..message },
            SignedMessage { signatures: "v1,", ..message },
            SignedMessage { signatures: both.trim_end_matches("Kkw="), ..message },
        ] {
            assert_eq!(verify(changed, at(0)), Err(VerifyError::Mismatch), "{changed:?}");
        }
        for unreadable in ["", "soon", "1649367553.5"] {
            let message = SignedMessage { timestamp: unreadable, ..message };
            assert_eq!(verify(message, at(0)), Err(VerifyError::Timestamp));
        }
    }

    #[test]
    fn a_wrong_secret_is_refused_with_its_remedy_and_never_shown() {
        let of_bytes = |count| format!("whsec_{}", STANDARD.encode(vec![7_u8; count]));

        assert_eq!(signer(&["hunter2"]).unwrap_err(), SecretError::Prefix);
        assert_eq!(signer(&["whsec_???"]).unwrap_err(), SecretError::Base64);
        assert_eq!(signer(&[]).unwrap_err(), SecretError::Missing);
        assert!(signer(&[&of_bytes(24)]).is_ok());
        assert!(signer(&[&of_bytes(64)]).is_ok());
        for bytes in [23, 65] {
            let error = signer(&[NEWER, &of_bytes(bytes)]).unwrap_err();
            assert_eq!(error, SecretError::Length { bytes });
        }
        assert!(!format!("{:?}", signer(&[NEWER])).contains("AAEC"));
    }

    #[test]
    fn macs_are_those_of_the_published_vectors_in_either_encoding() {
        // `printf %s 'The quick brown fox jumps over the lazy dog' | openssl dgst -sha256 -hmac key
        // -r`, with -sha1, -sha512, and `-binary | base64` in place of -r.
        let parts: [&[u8]; 2] = [b"The quick brown fox ", b"jumps over the lazy dog"];
        for (algorithm, hex, base64) in [
            (
                Algorithm::Sha1,
                "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9",
                "3nybhbi3iqa8ino29wqQcBydtNk=",
            ),
            (
                Algorithm::Sha256,
                "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
                "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=",
            ),
            (
                Algorithm::Sha512,
                "b42af09057bac1e2d41708e48a902e09b5ff7f12ab428a4fe86653c73dd248fb\
                 82f948a549f7b791a5b41915ee4d1ec3935357e4e2317250d0372afa2ebeeb3a",
                "tCrwkFe6weLUFwjkipAuCbX/fxKrQopP6GZTxz3SSPuC+UilSfe3kaW0GRXuTR7\
                 Dk1NX5OIxclDQNyr6Lr7rOg==",
            ),
        ] {
            let key = Key::new(algorithm, &Secret::new("key"));
            assert_eq!(key.sign(&parts, Encoding::Hex), hex);
            assert_eq!(key.sign(&parts, Encoding::Base64), base64);
            assert!(key.verify(&parts, Encoding::Hex, hex));
            assert!(key.verify(&parts, Encoding::Hex, &hex.to_uppercase()));
            assert!(key.verify(&parts, Encoding::Base64, base64));
            assert!(key.verify(&parts, Encoding::Base64, base64.trim_end_matches('=')));
        }
    }

    #[test]
    fn a_mac_that_is_cut_changed_or_not_a_mac_does_not_fit() {
        let key = Key::new(Algorithm::Sha256, &Secret::new("key"));
        let parts: [&[u8]; 1] = [b"body"];
        let hex = key.sign(&parts, Encoding::Hex);
        let (cut, rest) = (hex.get(..62).unwrap(), hex.get(1..).unwrap());
        let mut changed = hex.clone();
        changed.replace_range(0..1, if hex.starts_with('0') { "1" } else { "0" });

        for written in ["", "0", "zz", "é", cut, rest, &changed] {
            assert!(!key.verify(&parts, Encoding::Hex, written), "{written}");
        }
        assert!(!key.verify(&[b"bodi"], Encoding::Hex, &hex));
        assert!(!key.verify(&parts, Encoding::Base64, &hex));
    }
}
