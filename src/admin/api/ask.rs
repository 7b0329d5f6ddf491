//! How a request is read: each part whole or refused as a problem, never with a 5xx.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::{StatusCode, request::Parts};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{
    admin::{Desk, problem::Problem},
    event::{EventId, SourceName},
    route::TargetName,
    store::{BuryReason, DeliveryId},
};

/// The parameters of the query.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

/// The JSON of the body; an empty body is `{}`.
#[derive(Debug)]
pub(super) struct Told<T>(pub(super) T);

/// The one variable segment of the path.
#[derive(Debug)]
pub(super) struct Segment(pub(super) String);

/// Rows of a page unless asked otherwise.
pub(super) const PAGE_ROWS: usize = 100;

/// Rows of any page: some hundred kilobytes of answer at most, a few milliseconds of the store.
pub(super) const PAGE_ROWS_MAX: usize = 1000;

/// Bytes of a request's body: a thousand event ids fit.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// By when a body must be there: a connection is not held by one that never ends.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

// === impl Asked ===

impl<T: DeserializeOwned> FromRequestParts<Desk> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Desk) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(Problem::invalid(format!("the query: {}", error.body_text()))),
        }
    }
}

// === impl Told ===

impl<T: DeserializeOwned> FromRequest<Desk> for Told<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Desk) -> Result<Self, Problem> {
        let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
        let body = tokio::time::timeout(BODY_TIME_MAX, body).await.map_err(|_| {
            let detail = "the body was not there in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
        })?;
        let body = body.map_err(|_| {
            let detail = format!("a body has at most {BODY_BYTES_MAX} bytes here");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        })?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        match serde_json::from_slice(body) {
            Ok(told) => Ok(Self(told)),
            Err(error) => Err(Problem::invalid(format!("the body: {error}"))),
        }
    }
}

// === impl Segment ===

impl FromRequestParts<Desk> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, desk).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(_) => Err(Problem::not_found("the path is not readable")),
        }
    }
}

impl Segment {
    pub(super) fn event(&self) -> Result<EventId, Problem> {
        self.0.parse().map_err(|_| Problem::not_found("no event has this id"))
    }

    pub(super) fn delivery(&self) -> Result<DeliveryId, Problem> {
        let number = self.0.parse().map_err(|_| Problem::not_found("no delivery has this id"))?;
        Ok(DeliveryId(number))
    }
}

/// How many rows to give.
pub(super) fn rows(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE_ROWS) {
        rows @ 1..=PAGE_ROWS_MAX => Ok(rows),
        _ => Err(Problem::invalid(format!("limit is 1 to {PAGE_ROWS_MAX}"))),
    }
}

/// A cursor as it was given out.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<i64>, Problem> {
    let wrong = || Problem::invalid("cursor is what `next` of the page before said");
    text.map(|text| text.parse().map_err(|_| wrong())).transpose()
}

/// A target that is, or was, in relay.toml: a filter that names another is a slip.
pub(super) fn target(desk: &Desk, name: Option<&str>) -> Result<Option<TargetName>, Problem> {
    let Some(name) = name else { return Ok(None) };
    let (name, known) = (TargetName::new(name), desk.store.totals().deliveries);
    if known.contains_key(&name) {
        return Ok(Some(name));
    }
    Err(unknown("unknown_target", "target", name.as_str(), known.keys().map(TargetName::as_str)))
}

/// The same of a source.
pub(super) fn source(desk: &Desk, name: Option<&str>) -> Result<Option<SourceName>, Problem> {
    let Some(name) = name else { return Ok(None) };
    let (name, known) = (SourceName::new(name), desk.store.totals().events);
    if known.contains_key(&name) {
        return Ok(Some(name));
    }
    Err(unknown("unknown_source", "source", name.as_str(), known.keys().map(SourceName::as_str)))
}

fn unknown<'k>(
    reason: &'static str,
    what: &str,
    name: &str,
    known: impl ExactSizeIterator<Item = &'k str>,
) -> Problem {
    let (name, known) = (shortened(name), listed(known));
    let verb = if known.contains(", ") { "there are" } else { "there is" };
    let detail = format!("there is no {what} {name}; {verb} {known}");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail)
}

/// The names there are, for whoever asked for another.
pub(super) fn listed<'k>(known: impl ExactSizeIterator<Item = &'k str>) -> String {
    let left = known.len().saturating_sub(NAMES_MAX);
    let mut known: Vec<String> = known.take(NAMES_MAX).map(str::to_owned).collect();
    if left > 0 {
        known.push(format!("{left} more"));
    }
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// A name that was asked for, which may be anything.
pub(super) fn shortened(name: &str) -> String {
    name.escape_debug().take(64).collect()
}

/// Names that are told to whoever asked for another.
const NAMES_MAX: usize = 20;

/// One of the words of a closed list.
pub(super) fn word<T: Copy>(
    name: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
    given: Option<&str>,
) -> Result<Option<T>, Problem> {
    let Some(given) = given else { return Ok(None) };
    if let Some(found) = all.iter().copied().find(|word| as_str(*word) == given) {
        return Ok(Some(found));
    }
    let words: Vec<&str> = all.iter().copied().map(as_str).collect();
    Err(Problem::invalid(format!("{name} is one of {}", words.join(", "))))
}

pub(super) fn reason(given: Option<&str>) -> Result<Option<BuryReason>, Problem> {
    word("reason", BuryReason::ALL, BuryReason::as_str, given)
}

/// Ids of events, which a person may have mistyped.
pub(super) fn events(given: &[String]) -> Result<Vec<EventId>, Problem> {
    if given.len() > PAGE_ROWS_MAX {
        return Err(Problem::invalid(format!("at most {PAGE_ROWS_MAX} events at a time")));
    }
    let wrong = || Problem::invalid("an event's id is a UUID");
    given.iter().map(|id| id.parse().map_err(|_| wrong())).collect()
}

/// An instant that the store can hold: milliseconds.
pub(super) fn instant(text: Option<&str>, name: &str) -> Result<Option<Timestamp>, Problem> {
    let wrong = || Problem::invalid(format!("{name} is an instant such as 2026-11-27T09:00:00Z"));
    text.map(|text| text.parse().map_err(|_| wrong())).transpose()
}
