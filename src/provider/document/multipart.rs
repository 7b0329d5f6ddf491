//! `multipart/form-data`: the same form, a part for each pair (`providers.md` C.0, point 2).
//!
//! A part is a field: its name nests as in any form, its bytes are its text. Files are refused: a
//! part is one when it has a file name, or says that it holds anything but text or JSON. The body
//! is then `unsupported`, and so is one whose parts do not add up: a boundary that is missing, a
//! part without a name or without an end. Limits are those of forms.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use multer::{Field, Multipart};

use super::{Notes, Unreadable, form::Tree};
use crate::{event::value::Object, provider::work::visited};

/// Reads the parts of a body that is here whole.
pub(super) fn read(
    content_type: &str,
    body: &[u8],
    notes: &mut Notes,
) -> Result<Object<'static>, Unreadable> {
    visited(body.len());
    let boundary = multer::parse_boundary(content_type).map_err(unsupported)?;
    let whole = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(body))]);
    let mut parts = Multipart::new(whole, boundary);
    let mut tree = Tree::default();
    while let Some(part) = at_once(parts.next_field())? {
        notes.check_room()?;
        let name = part.name().filter(|_| !is_file(&part)).ok_or(Unreadable::Unsupported)?;
        let name = Cow::Owned(name.to_owned());
        let value = notes.text(Cow::Owned(at_once(part.bytes())?.into()));
        tree.insert(name, value, notes)?;
    }
    Ok(tree.into_object())
}

fn is_file(part: &Field<'_>) -> bool {
    let text = part.content_type().is_none_or(|said| {
        said.type_() == "text" || said.type_() == "application" && said.subtype() == "json"
    });
    part.file_name().is_some() || !text
}

/// What a step of the parser gives; it never waits, because the whole body is before it.
fn at_once<T>(step: impl Future<Output = multer::Result<T>>) -> Result<T, Unreadable> {
    step.now_or_never().ok_or(Unreadable::Unsupported)?.map_err(unsupported)
}

fn unsupported(_: multer::Error) -> Unreadable {
    Unreadable::Unsupported
}
