//! `auth = { kind = "hmac", … }` of a source.

use std::time::Duration;

use super::{
    fields::{Fields, Node},
    secrets, value,
};
use crate::{
    provider::{
        Provider,
        auth::{Hmac, Scheme, Signature, Stamp, StampFormat, StampPlace, Template, TemplateError},
    },
    signature::{Algorithm, Encoding},
};

/// How far from now an instant may be where nothing else is written: what most providers advise.
const TOLERANCE: Duration = Duration::from_mins(5);

/// Reads the table. A preset of the provider's own fills in whatever is not written.
pub(super) fn read(fields: &Fields<'_>, provider: Option<Provider>) -> Option<Scheme> {
    let preset = provider.and_then(Provider::signature);
    let preset = preset.as_ref();
    let headers = match (fields.written("header"), preset) {
        (Some(_), _) => fields.get("header", value::headers),
        (None, Some(preset)) => Some(preset.headers.clone()),
        (None, None) => {
            fields.reading().missing(
                &fields.spot(),
                "this provider is not known to sign, so nothing says where the signature stands",
                "write its header: header = \"x-signature\"",
            );
            None
        }
    };
    let algorithm = fields.get("algorithm", algorithm).or(preset.map(|preset| preset.algorithm));
    let encoding = fields.get("encoding", encoding).or(preset.map(|preset| preset.encoding));
    let prefix = fields.get("prefix", value::text);
    let part = fields.get("part", value::text);
    let signed = match (fields.written("signed"), preset) {
        (Some(node), _) => template(&node),
        (None, Some(preset)) => Some(preset.signed.clone()),
        (None, None) => Template::new("{body}").ok(),
    };
    let stamp = stamp(fields, signed.as_ref(), part.is_some());
    let secret = fields.get("secret", secrets::many_sendable);
    let signature = Signature {
        algorithm: algorithm.unwrap_or(Algorithm::Sha256),
        encoding: encoding.unwrap_or(Encoding::Hex),
        headers: headers?,
        part,
        prefix: prefix.unwrap_or_default(),
        signed: signed?,
        stamp: stamp?,
    };
    Some(Scheme::Hmac(Hmac::new(signature, &secret?)))
}

/// Where the instant of a signature stands; `None` is a problem. One that is not signed proves
/// nothing, and one that is signed must be found.
#[expect(clippy::option_option, reason = "a problem, or no instant, or one")]
fn stamp(fields: &Fields<'_>, signed: Option<&Template>, has_parts: bool) -> Option<Option<Stamp>> {
    let header = fields.get("timestamp", value::header);
    let part = fields.get("timestamp_part", value::text);
    let format = fields.get("timestamp_format", format);
    let tolerance = fields.get("tolerance", value::duration);
    let written = |name: &str| fields.written(name);
    let is_signed = signed?.signs_timestamp();
    let place = match (written("timestamp"), written("timestamp_part")) {
        (Some(_), Some(both)) => {
            return both.wrong("a timestamp stands in one place", "keep one of the two keys");
        }
        (Some(_), None) => StampPlace::Header(header?),
        (None, Some(node)) if !has_parts => {
            return node.wrong(
                "a header without `part` is no list",
                "add part: the signature's own name in the list",
            );
        }
        (None, Some(_)) => StampPlace::Part(part?),
        (None, None) if is_signed => {
            fields.reading().missing(
                &fields.spot(),
                "{timestamp} is signed, and nothing says where it stands",
                "add timestamp = \"<its header>\", or timestamp_part = \"<its name in the list>\"",
            );
            return None;
        }
        (None, None) => {
            let format = written("timestamp_format").filter(|_| format.is_some());
            return match format.or_else(|| written("tolerance").filter(|_| tolerance.is_some())) {
                Some(node) => node.wrong(
                    format!("`{}` is of no use without a timestamp", node.name()),
                    "add timestamp = \"<its header>\" and {timestamp} in `signed`, or remove it",
                ),
                None => Some(None),
            };
        }
    };
    if !is_signed {
        let node = written("timestamp").or_else(|| written("timestamp_part"))?;
        return node.wrong(
            "a timestamp that is not signed can be changed by anyone",
            "put {timestamp} where it stands in `signed`, or remove this key",
        );
    }
    let format = format.unwrap_or(StampFormat::Seconds);
    Some(Some(Stamp { place, format, tolerance: tolerance.unwrap_or(TOLERANCE) }))
}

fn template(node: &Node<'_>) -> Option<Template> {
    let written = value::text(node)?;
    match Template::new(&written) {
        Ok(template) => Some(template),
        Err(error) => {
            let remedy = match error {
                TemplateError::Constant => "write what is signed, such as \"{timestamp}.{body}\"",
                TemplateError::Pointer(_) => {
                    "write {json:/call/id}; in a name, ~0 is a tilde and ~1 a slash"
                }
                TemplateError::Header(_) => "write {header:x-request-id}",
                TemplateError::Unclosed | TemplateError::Unknown(_) => {
                    "write {body}, {timestamp}, {header:NAME} or {json:/pointer}"
                }
            };
            node.wrong(error.to_string(), remedy)
        }
    }
}

fn algorithm(node: &Node<'_>) -> Option<Algorithm> {
    Some(match value::word(node)? {
        "sha1" => Algorithm::Sha1,
        "sha512" => Algorithm::Sha512,
        _ => Algorithm::Sha256,
    })
}

fn encoding(node: &Node<'_>) -> Option<Encoding> {
    Some(match value::word(node)? {
        "base64" => Encoding::Base64,
        _ => Encoding::Hex,
    })
}

fn format(node: &Node<'_>) -> Option<StampFormat> {
    Some(match value::word(node)? {
        "milliseconds" => StampFormat::Milliseconds,
        "rfc3339" => StampFormat::Rfc3339,
        _ => StampFormat::Seconds,
    })
}
