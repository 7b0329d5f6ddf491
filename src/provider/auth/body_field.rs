//! A secret in a field of the body: finding it, and keeping it out of everything that follows.

use std::borrow::Cow;

use form_urlencoded::parse as parse_query;

use super::{Body, Denied, Head, Scheme, has_no_body, matched};
use crate::{
    event::value::Value,
    provider::{Document, Place, Unreadable},
    secret::Secrets,
};

/// What stands in the place of the secret in a stored body.
const MASK: &str = "***";

/// Whether the field is there once and is one of the secrets.
pub(super) fn check(
    field: &Place,
    secret: &Secrets,
    head: &Head<'_>,
    body: Body<'_, '_>,
) -> Result<(), Denied> {
    if has_no_body(head.method) {
        let mut sent = parse_query(head.query.as_bytes()).filter(|(name, _)| field.is_key(name));
        let (_, first) = sent.next().ok_or(Denied::Missing)?;
        if sent.next().is_some() {
            return Err(Denied::Doubled);
        }
        return matched(secret.matches(first.as_bytes()));
    }
    match body.document.map(|document| document.at(field)) {
        Ok(Some(Value::String(text) | Value::Number(text))) => {
            matched(secret.matches(text.as_bytes()))
        }
        // Which key it is that stands there twice cannot be told any more.
        Err(Unreadable::DuplicateKey) => Err(Denied::Doubled),
        Ok(_) | Err(_) => Err(Denied::Missing),
    }
}

/// Takes the secrets out of a document, before it is hashed, stored or forwarded.
pub fn clean(schemes: &[Scheme], document: &mut Document<'_>) {
    for field in fields(schemes) {
        document.remove_at(field);
    }
}

/// The bytes to store instead of `raw`, in which the secrets are masked; `None` when there are
/// none in it. `document` is what was read from `raw`, before [`clean`].
pub fn masked(
    schemes: &[Scheme],
    method: &str,
    raw: &[u8],
    document: &Document<'_>,
) -> Option<Vec<u8>> {
    let fields: Vec<&Place> = fields(schemes).collect();
    if fields.is_empty() || raw.is_empty() {
        return None;
    }
    if has_no_body(method) {
        // Nobody has read this body, so nobody can say what is in it.
        return Some(Vec::new());
    }
    let sent: Vec<&Value<'_>> = fields.iter().filter_map(|field| document.at(field)).collect();
    if sent.is_empty() {
        return None;
    }
    in_json(raw, &sent).or_else(|| in_form(raw, &fields, sent.len())).or_else(|| {
        // A secret behind an escape: its bytes cannot be told from others any more.
        let mut root = document.root.clone();
        for field in fields {
            replace(&mut root, field);
        }
        Some(Value::Object(root).to_json())
    })
}

fn fields(schemes: &[Scheme]) -> impl Iterator<Item = &Place> {
    schemes.iter().filter_map(|scheme| match scheme {
        Scheme::BodyField { field, .. } => Some(field),
        Scheme::UrlToken { .. }
        | Scheme::Basic { .. }
        | Scheme::Bearer { .. }
        | Scheme::Header { .. }
        | Scheme::Hmac(_) => None,
    })
}

/// Masks values that borrow from the very bytes.
fn in_json(raw: &[u8], sent: &[&Value<'_>]) -> Option<Vec<u8>> {
    let mut spans: Vec<_> = sent
        .iter()
        .map(|value| {
            let (text, mask) = match value {
                Value::String(Cow::Borrowed(text)) => (text, MASK),
                Value::Number(Cow::Borrowed(text)) => (text, "\"***\""),
                _ => return None,
            };
            let start = text.as_ptr().addr().checked_sub(raw.as_ptr().addr())?;
            let end = start.checked_add(text.len())?;
            (raw.get(start..end)? == text.as_bytes()).then_some((start, end, mask))
        })
        .collect::<Option<_>>()?;
    spans.sort_unstable();
    let mut masked = Vec::with_capacity(raw.len());
    let mut from = 0;
    for (start, end, mask) in spans {
        masked.extend_from_slice(raw.get(from..start)?);
        masked.extend_from_slice(mask.as_bytes());
        from = end;
    }
    masked.extend_from_slice(raw.get(from..)?);
    Some(masked)
}

/// Masks the values of a form's pairs; `count` of them must be found.
fn in_form(raw: &[u8], fields: &[&Place], count: usize) -> Option<Vec<u8>> {
    let mut found = 0;
    let mut masked = Vec::with_capacity(raw.len());
    for (at, pair) in raw.split(|byte| *byte == b'&').enumerate() {
        if at > 0 {
            masked.push(b'&');
        }
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        let is_secret = parse_query(pair)
            .next()
            .is_some_and(|(name, _)| fields.iter().any(|field| field.is_key(name.trim())));
        if is_secret {
            found += 1;
            masked.extend_from_slice(name);
            masked.extend_from_slice(b"=***");
        } else {
            masked.extend_from_slice(pair);
        }
    }
    (found == count).then_some(masked)
}

fn replace(root: &mut crate::event::value::Object<'_>, field: &Place) {
    let names = field.names();
    let Some((first, rest)) = names.split_first() else { return };
    let start = root.iter_mut().find(|(name, _)| name == first).map(|(_, value)| value);
    let found = rest.iter().try_fold(start, |value, name| {
        Some(match value? {
            Value::Object(members) => {
                members.iter_mut().find(|(member, _)| member == name).map(|(_, value)| value)
            }
            Value::Array(entries) => name.parse::<usize>().ok().and_then(|at| entries.get_mut(at)),
            _ => None,
        })
    });
    if let Some(Some(value)) = found {
        *value = Value::String(Cow::Borrowed(MASK));
    }
}
