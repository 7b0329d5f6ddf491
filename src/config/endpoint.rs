//! What an endpoint is sent, whom it is trusted by and where it may be: the keys of a target
//! that need more than a value.

use std::path::Path;

use http::HeaderName;
use reqwest::Url;
use toml::de::DeValue;

use super::{
    contract::TARGET_TLS,
    environment::Unavailable,
    excerpt::shown,
    fields::{Fields, Node},
    value,
};
use crate::{
    delivery::{
        PemError,
        address::{AddressRules, CLOSED},
        format::Format,
        template::{Template, TemplateError, Trial},
        tls::{self, Authorities, Identity},
    },
    secret::Secret,
};

/// Headers that the relay sets itself, or that belong to the connection.
const OWN_HEADERS: [&str; 13] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "keep-alive",
    "expect",
];

/// The beginnings of more of them.
const OWN_PREFIXES: [&str; 2] = ["webhook-", "hookswitch-"];

/// The beginning of those that say what a body in binary content mode is.
const BINARY_PREFIX: &str = "ce-";

/// The headers of a request that are the relay's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    in_binary_mode: bool,
}

/// `format`, with `template` and `content_type`.
pub(super) fn format(fields: &Fields<'_>) -> Option<Format> {
    let word = fields.get("format", value::word)?;
    if word == "template" {
        return template(fields).map(Format::Template);
    }
    for name in ["template", "content_type"] {
        let Some(node) = fields.written(name) else { continue };
        let read = match name {
            "template" => text_or_file(&node),
            _ => value::text(&node),
        };
        if read.is_some() {
            fields.reading().error(
                &fields.key_spot(name),
                format!("`{name}` has no meaning with format = \"{word}\""),
                "write format = \"template\"",
            );
        }
    }
    Some(match word {
        "cloudevents-binary" => Format::CloudEventsBinary,
        "raw" => Format::Raw,
        _ => Format::CloudEvents,
    })
}

fn template(fields: &Fields<'_>) -> Option<Template> {
    let content_type = match fields.written("content_type") {
        Some(node) => value::text(&node)?,
        None => "application/json".to_owned(),
    };
    let Some(node) = fields.written("template") else {
        fields.reading().missing(
            &fields.spot(),
            "the format is \"template\", and there is none",
            "add template = \"…\" or template = { file = \"…\" }",
        );
        return None;
    };
    let source = text_or_file(&node)?;
    let template = match Template::new(source, &content_type) {
        Ok(template) => template,
        Err(error @ TemplateError::ContentType) => {
            let node = fields.written("content_type").unwrap_or(node);
            return node.wrong(error.to_string(), "write one such as \"application/json\"");
        }
        Err(error) => {
            return node.wrong(format!("this is no template: {error}"), "");
        }
    };
    let trial = template.trial();
    try_out(&node, &trial)?;
    Some(template)
}

/// One that fails on all events is an error; one that fails on some only makes dead letters of
/// these, which may be what is meant where no route brings them.
fn try_out(node: &Node<'_>, trial: &Trial) -> Option<()> {
    let Some((name, error)) = trial.failed.first() else { return Some(()) };
    let remedy = "test what can be null, such as {{ data.call.to.e164 if data.call.to else none }}";
    let (failed, events) = (trial.failed.len(), trial.events);
    if failed == events {
        return node.wrong(format!("the template makes nothing of any event: {error}"), remedy);
    }
    node.reading.warn(
        &node.spot(),
        format!(
            "{failed} of {events} sample events would be dead letters, such as {name}: {error}"
        ),
        remedy,
    );
    Some(())
}

fn text_or_file(node: &Node<'_>) -> Option<String> {
    if let DeValue::String(_) = node.value {
        return value::text(node);
    }
    let members = node.members()?;
    let [(_, member)] = members.as_slice() else {
        return node
            .wrong(format!("`{}` names one file", node.name()), "write { file = \"path\" }");
    };
    if member.name() != "file" {
        return member
            .wrong(format!("unknown key `{}`", shown(member.name())), "write { file = \"path\" }");
    }
    let content = file(member)?;
    match String::from_utf8(content) {
        Ok(text) => Some(text),
        Err(_) => member.wrong("the file is not UTF-8", ""),
    }
}

/// The content of the file that `node` names.
fn file(node: &Node<'_>) -> Option<Vec<u8>> {
    let path = value::path(node)?;
    match node.reading.environment.document(&path) {
        Ok(content) => {
            node.reading.note_read(node.table(), &content);
            Some(content)
        }
        Err(why) => unavailable(node, &path, &why),
    }
}

fn unavailable<T>(node: &Node<'_>, path: &Path, why: &Unavailable) -> Option<T> {
    let shown = shown(&path.display().to_string());
    node.wrong(format!("the file {shown} {why}"), why.remedy(path))
}

/// `tls = { ca = "…", cert = "…", key = "…" }`
pub(super) fn tls(node: &Node<'_>, url: Option<&Url>) -> Option<tls::Settings> {
    let fields = Fields::open(node, &TARGET_TLS)?;
    if url.is_some_and(|url| url.scheme() == "http") {
        return node.wrong("the target is called without TLS", "write an https URL, or remove it");
    }
    let authorities = fields.written("ca").map(|node| authorities(&node));
    let identity = identity(&fields);
    if fields.written("ca").or(fields.written("cert")).or(fields.written("key")).is_none() {
        return node.wrong("it says nothing", "write `ca`, or `cert` and `key`, or all three");
    }
    let authorities = match authorities {
        Some(read) => Some(read?),
        None => None,
    };
    Some(tls::Settings { authorities, identity: identity? })
}

fn authorities(node: &Node<'_>) -> Option<Authorities> {
    let pem = file(node)?;
    Authorities::from_pem(&pem).map_or_else(|error| not_pem(node, &error), Some)
}

/// The outer is `None` after a problem.
#[expect(clippy::option_option, reason = "nothing written is no problem")]
pub(super) fn identity(fields: &Fields<'_>) -> Option<Option<Identity>> {
    let (certificate, key) = match (fields.written("cert"), fields.written("key")) {
        (None, None) => return Some(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (certificate, key) => {
            let absent = if certificate.is_some() { "key" } else { "cert" };
            value::path(&certificate.or(key)?)?;
            fields.reading().missing(
                &fields.spot(),
                "a certificate is shown with its key only",
                format!("add `{absent}`: the path of a PEM file"),
            );
            return None;
        }
    };
    let path = value::path(&key)?;
    let secret = match key.reading.environment.file(&path) {
        Ok(found) => {
            if found.exposed {
                key.reading.warn(
                    &key.spot(),
                    format!(
                        "the key {} can be read by every user of this machine",
                        shown(&path.display().to_string())
                    ),
                    "take that permission away: chmod o-r",
                );
            }
            key.reading.note_read(key.table(), found.secret.expose());
            Some(found.secret)
        }
        Err(why) => unavailable::<Secret>(&key, &path, &why),
    };
    let pem = file(&certificate);
    match Identity::from_pem(&pem?, &secret?) {
        Ok(identity) => Some(Some(identity)),
        Err(error @ (PemError::NoCertificate | PemError::Certificate)) => {
            not_pem(&certificate, &error)
        }
        Err(error) => not_pem(&key, &error),
    }
}

fn not_pem<T>(node: &Node<'_>, error: &PemError) -> Option<T> {
    node.wrong(format!("the file of `{}` cannot be used: {error}", node.name()), "")
}

/// `allow_networks` and `deny_networks`.
pub(super) fn addresses(fields: &Fields<'_>, url: Option<&Url>) -> Option<AddressRules> {
    let allow = fields.get("allow_networks", value::networks);
    let deny = fields.get("deny_networks", value::networks);
    let rules = AddressRules { allow: allow?, deny: deny? };
    let opened = CLOSED.iter().find(|closed| {
        let meets = |network: &ipnet::IpNet| network.contains(*closed) || closed.contains(network);
        rules.allow.iter().any(meets)
    });
    if let (Some(opened), Some(node)) = (opened, fields.node("allow_networks")) {
        node.reading.warn(
            &node.spot(),
            format!("it opens {opened}, which is link-local or where clouds keep credentials"),
            "name smaller networks unless the target is there",
        );
    }
    let literal = url.and_then(|url| {
        let host = url.host_str()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    });
    if let (Some(address), Some(node)) = (literal, fields.node("url"))
        && let Err(refused) = rules.check(address)
    {
        return node.wrong(
            format!("no attempt can reach this address: {refused}"),
            "change the address, `allow_networks` or `deny_networks`",
        );
    }
    Some(rules)
}

// === impl Own ===

impl Own {
    /// In requests of this format.
    pub(super) fn of(format: Option<&Format>) -> Self {
        Self { in_binary_mode: matches!(format, Some(Format::CloudEventsBinary)) }
    }

    /// Whether it is one of them.
    pub(super) fn has(self, name: &HeaderName) -> bool {
        let name = name.as_str();
        OWN_HEADERS.contains(&name)
            || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || (self.in_binary_mode && name.starts_with(BINARY_PREFIX))
    }
}
