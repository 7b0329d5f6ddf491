//! Who is let in: the bearer token, and no page of somebody else's in an operator's browser.
//!
//! There is no CORS, so a foreign page reads nothing. On loopback, where no token may be set, the
//! `Host` of whatever is asked but health must be this machine's: a foreign name that was pointed
//! here (DNS rebinding) is refused.
//! What changes something must be JSON, which no form sends and which a script may send elsewhere
//! only after a preflight that is never answered.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};

use super::{Desk, problem::Problem};

/// Asks for the token, where one is set.
pub(super) async fn token(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    if admits(&desk, request.headers()) {
        return next.run(request).await;
    }
    let detail = "the admin token is required: Authorization: Bearer <token>";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response()
}

/// Refuses what a browser might be tricked into.
pub(super) async fn browser(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    if desk.loopback && !is_local(request.uri(), request.headers()) {
        let detail = "this listener answers to localhost and loopback addresses only";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail)
            .into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !is_json(request.headers()) {
        let detail = "send Content-Type: application/json";
        return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail)
            .into_response();
    }
    next.run(request).await
}

fn admits(desk: &Desk, headers: &HeaderMap) -> bool {
    let Some(token) = desk.token.get() else { return true };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let sent = value.as_bytes().split_at_checked(BEARER.len());
    sent.is_some_and(|(scheme, rest)| {
        scheme.eq_ignore_ascii_case(BEARER) && token.matches(rest.trim_ascii())
    })
}

fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (None, None) => uri.authority().cloned(),
        _ => None,
    };
    named.is_some_and(|authority: http::uri::Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    value.to_str().is_ok_and(|value| {
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}

const BEARER: &[u8] = b"bearer ";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_machine_pass_the_host_check() {
        let local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            is_local(&Uri::from_static("/"), &headers)
        };
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "127.9.9.9", "[::1]:9090"] {
            assert!(local(host), "{host}");
        }
        for host in ["evil.example.com", "127.0.0.1.example.com", "10.0.0.1", "localhost.", "", "@"]
        {
            assert!(!local(host), "{host}");
        }
        assert!(!is_local(&Uri::from_static("/"), &HeaderMap::new()), "no host at all");
        let mut twice = HeaderMap::new();
        twice.append(HOST, HeaderValue::from_static("localhost"));
        twice.append(HOST, HeaderValue::from_static("evil.example.com"));
        assert!(!is_local(&Uri::from_static("/"), &twice));
    }

    #[test]
    fn only_json_may_change_something() {
        let json = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            is_json(&headers)
        };
        assert!(json("application/json") && json("Application/JSON; charset=utf-8"));
        for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            assert!(!json(form), "{form}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
