//! `[targets.*]` and what they inherit from `[defaults.target]`.

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::Url;

use super::{
    auth,
    contract::{BREAKER_TABLE, HTTP_ONLY, SIGN},
    endpoint::{self, Own},
    excerpt,
    fields::{Fields, Node},
    retry, secrets, value,
};
use crate::{
    delivery::{
        self, breaker,
        rate_limit::Rate,
        target::{Auth, Http, Place, Settings, StatusRange},
    },
    route::TargetName,
    secret::{Secret, Secrets},
};

/// What an endpoint and a file have in common.
#[derive(Clone, Debug)]
struct Common {
    concurrency: usize,
    rate: Option<Rate>,
    retry: delivery::retry::Settings,
    breaker: breaker::Settings,
    by_call: bool,
}

/// What targets inherit of an endpoint.
#[derive(Clone, Debug)]
struct Calls {
    method: Method,
    timeout: Duration,
    connect_timeout: Duration,
    success: Vec<StatusRange>,
    permanent: Vec<StatusCode>,
}

/// Reads the table of the target of this name.
pub(super) fn read(name: &str, fields: &Fields<'_>) -> Option<Settings> {
    let common = common(fields);
    let place = match (fields.written("url"), fields.written("file")) {
        (Some(_), None) => http(fields).map(|http| Place::Http(Box::new(http))),
        (None, Some(_)) => file(fields),
        (Some(_), Some(_)) => {
            fields.get("url", url);
            fields.get("file", file_place);
            fields.reading().error(
                &fields.key_spot("file"),
                "a target has a `url` or a `file`, not both",
                "make two targets of it",
            );
            None
        }
        (None, None) => {
            fields.reading().missing(
                &fields.spot(),
                "the target has neither `url` nor `file`",
                "add url = \"https://…\" or file = \"data/events.jsonl\"",
            );
            None
        }
    };
    let common = common?;
    if let Some(Place::Http(http)) = &place {
        outlives(fields, http.timeout, &common.retry);
    }
    Some(Settings {
        name: TargetName::new(name),
        place: place?,
        concurrency: common.concurrency,
        rate: common.rate,
        retry: common.retry,
        breaker: common.breaker,
        by_call: common.by_call,
        // Whether it may be is seen among all targets.
        renamed_from: fields
            .written("renamed_from")
            .and_then(|node| node.text().map(TargetName::new)),
    })
}

/// Reads `[defaults.target]` for its problems alone, as no target may ever ask for it.
pub(super) fn check_defaults(fields: &Fields<'_>) {
    let (common, calls) = (common(fields), calls(fields));
    if let (Some(common), Some(calls)) = (common, calls) {
        outlives(fields, calls.timeout, &common.retry);
    }
    fields.get("format", value::word);
    endpoint::addresses(fields, None);
}

/// Warns when one attempt may take as long as an event is tried for: nothing is ever tried twice.
fn outlives(fields: &Fields<'_>, timeout: Duration, retry: &delivery::retry::Settings) {
    if let Some(limit) = retry.give_up_after.filter(|limit| timeout >= *limit)
        && let Some(node) = fields.node("timeout").or_else(|| fields.node("retry"))
    {
        node.reading.warn(
            &node.spot(),
            format!("one attempt may outlast the {} an event is tried for", retry::shown(limit)),
            "write a shorter `timeout`, or a longer `retry.give_up_after`",
        );
    }
}

/// A file, or standard output.
fn file_place(node: &Node<'_>) -> Option<Place> {
    let path = value::path(node)?;
    if path.as_os_str() == "-" {
        return Some(Place::Stdout);
    }
    let shown = || excerpt::shown(&path.display().to_string());
    // Seen here, because every event would wait for its schedule to end.
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            node.wrong(format!("{} is a folder", shown()), "name a file in it")
        }
        Ok(found) if !found.is_file() => {
            let remedy = "name one; \"-\" is standard output";
            node.wrong(format!("{} is not a file", shown()), remedy)
        }
        _ => Some(Place::File(path)),
    }
}

fn common(fields: &Fields<'_>) -> Option<Common> {
    let concurrency = fields.get("concurrency", value::count_usize);
    let retry = fields.get("retry", retry::read);
    let rate = fields.get("rate", value::rate);
    let breaker = fields.get("breaker", breaker);
    let order = fields.get("order", value::word);
    if let (Some(retry), Some(breaker), Some(node)) = (&retry, &breaker, fields.node("breaker"))
        && let Some(limit) = retry.give_up_after.filter(|limit| breaker.probe_after >= *limit)
    {
        node.reading.warn(
            &node.spot(),
            format!("while it is tripped every event is given up after {}", retry::shown(limit)),
            "write a shorter `probe_after`, or a longer `retry.give_up_after`",
        );
    }
    if fields.written("rate").is_some() {
        rate?;
    }
    Some(Common {
        concurrency: concurrency?,
        rate,
        retry: retry?,
        breaker: breaker?,
        by_call: order? == "per-call",
    })
}

/// `breaker`
fn breaker(node: &Node<'_>) -> Option<breaker::Settings> {
    let fields = Fields::open(node, &BREAKER_TABLE)?;
    let failures = fields.get("failures", value::count);
    let probe_after = fields.get("probe_after", value::duration);
    Some(breaker::Settings { failures: failures?, probe_after: probe_after? })
}

fn calls(fields: &Fields<'_>) -> Option<Calls> {
    let method = fields.get("method", value::method);
    let timeout = fields.get("timeout", value::duration);
    let connect_timeout = fields.get("connect_timeout", value::duration);
    let success = fields.get("success", |node| value::some(node, value::code_range));
    let permanent = fields.get("permanent", |node| value::list(node, value::code));
    if let (Some(timeout), Some(connect_timeout)) = (timeout, connect_timeout)
        && connect_timeout > timeout
        && let Some(node) = fields.node("connect_timeout")
    {
        node.reading.warn(
            &node.spot(),
            format!("never reached: `timeout` ends every attempt after {}", retry::shown(timeout)),
            "write less, or a longer `timeout`",
        );
    }
    if let (Some(success), Some(permanent)) = (&success, &permanent) {
        both_ends(fields, success, permanent);
    }
    Some(Calls {
        method: method?,
        timeout: timeout?,
        connect_timeout: connect_timeout?,
        success: success?,
        permanent: permanent?,
    })
}

/// Reports an answer that would be success and failure at once.
fn both_ends(fields: &Fields<'_>, success: &[StatusRange], permanent: &[StatusCode]) {
    let Some(node) = fields.node("permanent").or_else(|| fields.node("success")) else { return };
    for code in permanent {
        if success.iter().any(|range| (range.from..=range.to).contains(&code.as_u16())) {
            node.reading.error(
                &node.spot(),
                format!("{} is in `success` and in `permanent`", code.as_u16()),
                "keep it in one of them",
            );
        }
    }
}

fn file(fields: &Fields<'_>) -> Option<Place> {
    for name in HTTP_ONLY {
        if fields.written(name).is_some() {
            fields.reading().error(
                &fields.key_spot(name),
                format!("`{name}` has no meaning for a file"),
                "remove it, or write `url` instead of `file`",
            );
        }
    }
    fields.get("file", file_place)
}

fn http(fields: &Fields<'_>) -> Option<Http> {
    let url = fields.get("url", url);
    let calls = calls(fields);
    let format = endpoint::format(fields);
    let own = Own::of(format.as_ref());
    let auth = fields.get("auth", |node| auth::of_target(node, own));
    let headers = fields.get("headers", |node| headers(node, own, auth.as_ref()));
    let sign = fields.get("sign", sign);
    let tls = fields.written("tls").map(|node| endpoint::tls(&node, url.as_ref()));
    let addresses = endpoint::addresses(fields, url.as_ref());
    let calls = calls?;
    Some(Http {
        url: url?,
        method: calls.method,
        headers: headers?,
        auth,
        sign,
        format: format?,
        tls: match tls {
            Some(read) => Some(read?),
            None => None,
        },
        addresses: addresses?,
        timeout: calls.timeout,
        connect_timeout: calls.connect_timeout,
        success: calls.success,
        permanent: calls.permanent,
    })
}

fn url(node: &Node<'_>) -> Option<Url> {
    // The text itself is not repeated in a message: a URL may carry a token.
    let url = match Url::parse(node.text()?) {
        Ok(url) => url,
        Err(why) => {
            return node.wrong(
                format!("this is not a URL: {why}"),
                "write one such as \"https://crm.example.com/events\"",
            );
        }
    };
    let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
        return node.wrong(
            format!("the scheme {} cannot be called", url.scheme()),
            "write an http or https URL",
        );
    };
    if !url.username().is_empty() || url.password().is_some() {
        return node.wrong(
            "a URL is no place for a password",
            "write auth = { kind = \"basic\", username = …, password = { env = \"NAME\" } }",
        );
    }
    if url.fragment().is_some() {
        return node.wrong("a fragment (#…) is never sent", "remove it");
    }
    if url.scheme() == "http" && !is_loopback(host) {
        node.reading.warn(
            &node.spot(),
            format!("events go to {host} unencrypted"),
            "write https:// unless the network between is your own",
        );
    }
    Some(url)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn headers(node: &Node<'_>, own: Own, auth: Option<&Auth>) -> Option<HeaderMap> {
    let members = node.members()?;
    let count = members.len();
    let mut headers = HeaderMap::new();
    for (key, member) in members {
        let Ok(name) = member.name().parse::<HeaderName>() else {
            let shown = excerpt::shown(member.name());
            node.reading.error(&key, format!("\"{shown}\" is not the name of a header"), "");
            continue;
        };
        if own.has(&name) {
            node.reading.error(&key, format!("the relay sets `{name}` itself"), "remove it");
            continue;
        }
        if headers.contains_key(&name) {
            node.reading.error(&key, format!("`{name}` is there twice"), "keep one of them");
            continue;
        }
        if auth.is_some_and(|auth| auth_header(auth) == name) {
            node.reading.error(&key, format!("`auth` sets `{name}` too"), "keep one of them");
            continue;
        }
        if let Some(value) = header_value(&name, &member) {
            headers.insert(name, value);
        }
    }
    (headers.len() == count).then_some(headers)
}

fn auth_header(auth: &Auth) -> HeaderName {
    match auth {
        Auth::Bearer(_) | Auth::Basic { .. } => http::header::AUTHORIZATION,
        Auth::Header { name, .. } => name.clone(),
    }
}

/// A value that is written out is a secret only when its header's name says so.
fn header_value(name: &HeaderName, node: &Node<'_>) -> Option<HeaderValue> {
    let telling = ["auth", "key", "token", "secret", "cookie", "password", "signature"];
    let telling = telling.iter().any(|part| name.as_str().contains(part));
    let (secret, sensitive) = match node.value {
        toml::de::DeValue::String(text) if !telling => (Secret::new(text.as_bytes()), false),
        _ => (secrets::one(node)?, true),
    };
    let Ok(mut value) = HeaderValue::from_bytes(secret.expose()) else {
        return node.wrong(
            format!("the value of `{name}` holds a line break or another control character"),
            "no request can carry it",
        );
    };
    value.set_sensitive(sensitive);
    Some(value)
}

fn sign(node: &Node<'_>) -> Option<Secrets> {
    let fields = Fields::open(node, &SIGN)?;
    fields.get("secret", |node| match node.value {
        toml::de::DeValue::Array(_) => value::some(node, signing_secret).map(Secrets::new),
        _ => signing_secret(node).map(|secret| Secrets::new(vec![secret])),
    })
}

/// `whsec_` and the base64 of 24 to 64 bytes, as Standard Webhooks has it.
fn signing_secret(node: &Node<'_>) -> Option<Secret> {
    let secret = secrets::one(node)?;
    let key = secret.expose().strip_prefix(b"whsec_".as_slice());
    let key = key.and_then(|base64| BASE64_STANDARD.decode(base64).ok());
    match key.map(|key| zeroize::Zeroizing::new(key).len()) {
        Some(24..=64) => Some(secret),
        _ => node.wrong(
            "this is no secret of Standard Webhooks",
            "it is whsec_ and the base64 of 24 to 64 random bytes, such as from \
             `echo whsec_$(openssl rand -base64 32)`",
        ),
    }
}
