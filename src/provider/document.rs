//! A body, read once (`providers.md` C.0).

use std::marker::PhantomData;

/// A callback as `ingest` has read it: authentic, decompressed, without its credentials.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    /// `POST`, `GET`, …
    pub method: &'a str,
    /// The query string, without the parameters that authenticate.
    pub query: &'a str,
    /// The content type as sent.
    pub content_type: Option<&'a str>,
    /// The body's bytes.
    pub body: &'a [u8],
}

/// A body that was read.
#[derive(Debug)]
pub struct Document<'a>(PhantomData<&'a ()>);

/// Why a body could not be read: the closed list of `providers.md` C.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No body.
    Empty,
}
