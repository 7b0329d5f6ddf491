//! `auth` of a source and of a target.

use http::{HeaderName, header::AUTHORIZATION};
use toml::de::DeValue;

use super::{
    contract::{CALLER_AUTH, TARGET_AUTH},
    endpoint::Own,
    excerpt::shown,
    fields::{Fields, Node},
    hmac, secrets, value,
};
use crate::{
    delivery::target::Auth,
    provider::{
        Place, Provider,
        auth::{BasicForm, Scheme},
    },
    secret::Secrets,
};

/// How callers of a source authenticate. `provider` is `None` when it could not be read.
pub(super) fn of_caller(node: &Node<'_>, provider: Option<Provider>) -> Option<Vec<Scheme>> {
    match node.value {
        DeValue::String(word) if word == "none" => {
            node.reading.warn(
                &node.spot(),
                format!("anyone who reaches {} can send it callbacks", node.table()),
                "give it a secret, or the networks it may call from at the least",
            );
            Some(Vec::new())
        }
        DeValue::Array(_) => {
            let schemes = value::some(node, |node| scheme(node, provider))?;
            exclusive(node, &schemes)?;
            Some(schemes)
        }
        _ => scheme(node, provider).map(|scheme| vec![scheme]),
    }
}

/// How the relay authenticates to a target.
pub(super) fn of_target(node: &Node<'_>, own: Own) -> Option<Auth> {
    let (kind, fields) = Fields::open_variant(node, &TARGET_AUTH)?;
    match kind {
        "bearer" => Some(Auth::Bearer(fields.get("token", secrets::sendable)?)),
        "basic" => {
            let username = fields.get("username", username);
            let password = fields.get("password", secrets::sendable);
            Some(Auth::Basic { username: username?, password: password? })
        }
        _ => {
            let name = fields.get("name", |node| {
                let name = value::header(node)?;
                if own.has(&name) {
                    return node.wrong(format!("the relay sets `{name}` itself"), "name another");
                }
                Some(name)
            });
            let value = fields.get("secret", secrets::sendable);
            Some(Auth::Header { name: name?, value: value? })
        }
    }
}

fn scheme(node: &Node<'_>, provider: Option<Provider>) -> Option<Scheme> {
    let (kind, fields) = Fields::open_variant(node, &CALLER_AUTH)?;
    match kind {
        "url-token" => {
            let param = fields.get("param", value::text);
            let in_path = fields.written("param").is_none();
            let token = fields.get("token", |node| url_token(node, in_path));
            Some(Scheme::UrlToken { token: token?, param })
        }
        "basic" => {
            let username = fields.get("username", username);
            let password = fields.get("password", secrets::many_sendable);
            let form = provider.map_or(BasicForm::Standard, Provider::basic_form);
            Some(Scheme::Basic { username: username?, password: password?, form })
        }
        "hmac" => hmac::read(&fields, provider),
        "body-field" => {
            let field = fields.get("field", value::place);
            let secret = fields.get("secret", secrets::many_sendable);
            Some(Scheme::BodyField { field: field?, secret: secret? })
        }
        "bearer" => Some(Scheme::Bearer { token: fields.get("token", secrets::many_sendable)? }),
        _ => {
            let name = header_name(&fields, provider);
            let secret = fields.get("secret", secrets::many_sendable);
            Some(Scheme::Header { name: name?, secret: secret? })
        }
    }
}

/// The header that is written, else the one the provider is known to send.
fn header_name(fields: &Fields<'_>, provider: Option<Provider>) -> Option<HeaderName> {
    if fields.written("name").is_some() {
        return fields.get("name", value::header);
    }
    let Some(name) = provider?.auth_header() else {
        fields.reading().error(
            &fields.spot(),
            "this provider is not known to send a header of its own".to_owned(),
            "write the header's name: name = \"…\"",
        );
        return None;
    };
    Some(HeaderName::from_static(name))
}

/// Basic authentication splits at the first colon, so that a name cannot hold one.
fn username(node: &Node<'_>) -> Option<String> {
    let name = value::text(node)?;
    if name.contains(':') || name.chars().any(char::is_control) {
        return node.wrong("a user's name cannot hold a colon or a control character", "");
    }
    Some(name)
}

fn url_token(node: &Node<'_>, in_path: bool) -> Option<Secrets> {
    let tokens = secrets::many_sendable(node)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    if in_path && !tokens.iter().all(|token| token.expose().iter().all(plain)) {
        return node.wrong(
            "a token in the path must be of letters, digits and -._~",
            "make a new one, or put it in the query with param = \"key\"",
        );
    }
    Some(tokens)
}

/// Of schemes that need the same place in a request, no two can pass.
fn exclusive(node: &Node<'_>, schemes: &[Scheme]) -> Option<()> {
    let mut places = Vec::new();
    for place in schemes.iter().filter_map(Needed::by) {
        if !places.contains(&place) {
            places.push(place);
            continue;
        }
        let (what, remedy) = match place {
            Needed::Header(name) if *name == AUTHORIZATION => (
                "a request has one authorization header".to_owned(),
                "keep one of basic, bearer and a header of this name".to_owned(),
            ),
            Needed::Header(name) => (
                format!("a request has one header {name}"),
                format!("to accept several values, write one header with {SEVERAL}"),
            ),
            Needed::Path => (
                "a path has one last segment".to_owned(),
                "to accept several tokens, write one url-token with token = [ … ]".to_owned(),
            ),
            Needed::Parameter(name) => (
                format!("a URL has one parameter {}", shown(name)),
                "to accept several tokens, write one url-token with token = [ … ]".to_owned(),
            ),
            Needed::Field(_) => (
                "a body has one value in a place".to_owned(),
                format!("to accept several values, write one body-field with {SEVERAL}"),
            ),
        };
        return node.wrong(format!("all of a list must pass, and {what}"), remedy);
    }
    Some(())
}

/// How several secrets are written.
const SEVERAL: &str = "secret = [ … ]";

/// What of a request a scheme needs for itself.
#[derive(PartialEq, Eq)]
enum Needed<'s> {
    Header(&'s HeaderName),
    Path,
    Parameter(&'s str),
    Field(&'s Place),
}

// === impl Needed ===

impl<'s> Needed<'s> {
    fn by(scheme: &'s Scheme) -> Option<Self> {
        Some(match scheme {
            Scheme::Basic { .. } | Scheme::Bearer { .. } => Self::Header(&AUTHORIZATION),
            Scheme::Header { name, .. } => Self::Header(name),
            Scheme::UrlToken { param: None, .. } => Self::Path,
            Scheme::UrlToken { param: Some(name), .. } => Self::Parameter(name),
            Scheme::BodyField { field, .. } => Self::Field(field),
            // Two signatures may well stand side by side.
            Scheme::Hmac(_) => return None,
        })
    }
}
