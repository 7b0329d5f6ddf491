//! Finds the secret a value of relay.toml names: in the environment, in a file, or written out.

use std::path::Path;

use toml::de::DeValue;

use super::{
    environment::{Found, Unavailable},
    excerpt::shown,
    fields::{Node, nearest},
    value,
};
use crate::secret::{Secret, Secrets};

/// What the shipped relay.toml has in the place of each secret. It opens the relay to whoever
/// has read our documents, so it is refused wherever others can reach it.
pub(super) const PLACEHOLDER: &str = "change-me";

/// How `{ env = … }` and `{ file = … }` are asked for.
const REMEDY: &str = "write { env = \"NAME\" } or { file = \"path\" }";

/// One secret.
pub(super) fn one(node: &Node<'_>) -> Option<Secret> {
    let secret = match node.value {
        DeValue::String(text) => literal(node, text),
        DeValue::Table(_) => named(node),
        _ => node.mistyped(),
    }?;
    node.reading.note_read(node.table(), secret.expose());
    if secret.matches(PLACEHOLDER.as_bytes()) {
        node.reading.note_placeholder(node.spot());
    }
    Some(secret)
}

/// A secret that travels in a header or a URL, and so must fit there.
pub(super) fn sendable(node: &Node<'_>) -> Option<Secret> {
    let secret = one(node)?;
    if secret.expose().iter().any(u8::is_ascii_control) {
        return node.wrong(
            format!("`{}` holds a line break or another control character", node.name()),
            "no request can carry it; is the file or the variable the right one?",
        );
    }
    Some(secret)
}

/// One or a list of the same.
pub(super) fn many_sendable(node: &Node<'_>) -> Option<Secrets> {
    match node.value {
        DeValue::Array(_) => value::some(node, sendable).map(Secrets::new),
        _ => sendable(node).map(|secret| Secrets::new(vec![secret])),
    }
}

fn literal(node: &Node<'_>, text: &str) -> Option<Secret> {
    match text {
        "" => return node.wrong(format!("`{}` is empty", node.name()), REMEDY),
        // The shipped file runs as it is; elsewhere the placeholder is an error of its own.
        PLACEHOLDER => {}
        _ => node.reading.warn(
            &node.spot(),
            format!("`{}` is written out in the file", node.name()),
            REMEDY,
        ),
    }
    Some(Secret::new(text))
}

/// `{ env = "NAME" }` or `{ file = "path" }`.
fn named(node: &Node<'_>) -> Option<Secret> {
    let members = node.members()?;
    let [(key, member)] = members.as_slice() else {
        return node.wrong(format!("`{}` must name one secret in one way", node.name()), REMEDY);
    };
    match member.name() {
        "env" => variable(member),
        "file" => file(member),
        other => {
            let remedy = match nearest(other, ["env", "file"]) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => REMEDY.into(),
            };
            node.reading.error(key, format!("unknown key `{}`", shown(other)), remedy);
            None
        }
    }
}

fn variable(node: &Node<'_>) -> Option<Secret> {
    let DeValue::String(name) = node.value else { return mistyped(node, "{ env = \"NAME\" }") };
    if name.is_empty() || name.contains(['=', '\0']) {
        return node.wrong("this cannot be the name of a variable", "");
    }
    found(
        node,
        node.reading.environment.variable(name),
        &format!("the environment variable {}", shown(name)),
        |_| "set it where the relay is started",
    )
}

fn file(node: &Node<'_>) -> Option<Secret> {
    let DeValue::String(text) = node.value else { return mistyped(node, "{ file = \"path\" }") };
    let path = Path::new(text.as_ref());
    found(
        node,
        node.reading.environment.file(path),
        &format!("the secret file {}", shown(text)),
        |why| why.remedy(path),
    )
}

fn mistyped<T>(node: &Node<'_>, meant: &str) -> Option<T> {
    let message = format!("`{}` must not be of type {}", node.name(), node.value.type_str());
    node.wrong(message, format!("write {meant}"))
}

fn found(
    node: &Node<'_>,
    found: Result<Found, Unavailable>,
    what: &str,
    remedy: impl FnOnce(&Unavailable) -> &'static str,
) -> Option<Secret> {
    match found {
        Ok(Found { secret, exposed }) => {
            if exposed {
                node.reading.warn(
                    &node.spot(),
                    format!("{what} can be read by every user of this machine"),
                    "take that permission away: chmod o-r",
                );
            }
            Some(secret)
        }
        Err(why) => node.wrong(format!("{what} {why}"), remedy(&why)),
    }
}
