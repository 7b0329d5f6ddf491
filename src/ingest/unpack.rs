//! Unpacks a body that came compressed, to its limit. Pure.
//!
//! Whatever is in it is read to its end or refused: a body of which a part is left out without a
//! word would be acked as if it were the whole.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header::CONTENT_ENCODING};

use crate::ingest::answer::Refusal;

/// What a body is packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Nothing.
    Plain,
    /// `gzip`: one member, or several behind each other.
    Gzip,
    /// `deflate`, which is zlib's format.
    Deflate,
}

// === impl Packing ===

impl Packing {
    /// What the head says; case makes no difference, and `x-gzip` is `gzip` (RFC 9110, 8.4.1).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut said = headers.get_all(CONTENT_ENCODING).iter();
        let coding = match (said.next(), said.next()) {
            (None, _) => return Ok(Self::Plain),
            (Some(coding), None) => coding.as_bytes().to_ascii_lowercase(),
            (Some(_), Some(_)) => return Err(Refusal::UnsupportedEncoding),
        };
        match &*coding {
            b"identity" => Ok(Self::Plain),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"deflate" => Ok(Self::Deflate),
            _ => Err(Refusal::UnsupportedEncoding),
        }
    }

    /// The whole of what is packed, at most `limit` bytes of it.
    pub(super) fn unpack(self, packed: Bytes, limit: usize) -> Result<Bytes, Refusal> {
        // Nothing is packed as nothing by some.
        if packed.is_empty() {
            return Ok(packed);
        }
        match self {
            Self::Plain => Ok(packed),
            Self::Gzip => whole(MultiGzDecoder::new(&*packed), limit, |rest| rest.get_ref()),
            Self::Deflate => whole(ZlibDecoder::new(&*packed), limit, |rest| rest.get_ref()),
        }
    }
}

/// Reads to the end, behind which nothing may be left.
fn whole<'p, D: Read>(
    mut decoder: D,
    limit: usize,
    left: impl FnOnce(&D) -> &&'p [u8],
) -> Result<Bytes, Refusal> {
    let mut unpacked = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.by_ref().take(most).read_to_end(&mut unpacked);
    if unpacked.len() > limit {
        Err(Refusal::TooLarge)
    } else if read.is_err() || !left(&decoder).is_empty() {
        Err(Refusal::UnsupportedEncoding)
    } else {
        Ok(unpacked.into())
    }
}
