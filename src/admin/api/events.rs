//! Events: what came in, what became of it, and everything that was tried.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderValue,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::ask::{Asked, Segment, cursor, instant, rows, source, target, word};
use crate::{
    admin::{Desk, problem::Problem},
    event::Status,
    store::{
        DeliveryRecord, EventCursor, EventFilter, EventState, EventSummary, Order, PastAttempt,
        StoredEvent,
    },
};

/// Which events to list, and from where.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Of this source.
    source: Option<String>,
    /// `routed`, `unrouted` or `quarantined`.
    state: Option<String>,
    /// With this call status, such as `completed`.
    status: Option<String>,
    /// With this call id or reference.
    call: Option<String>,
    /// From or to this number, as E.164 or as the provider wrote it.
    number: Option<String>,
    /// With a delivery for this target.
    target: Option<String>,
    /// Quarantined for this reason.
    reason: Option<String>,
    /// On which the condition of the route of this name failed.
    failed_route: Option<String>,
    /// Accepted at this instant or later (RFC 3339).
    since: Option<String>,
    /// Accepted before this instant (RFC 3339).
    until: Option<String>,
    /// `newest` (default) or `oldest` first.
    order: Option<String>,
    /// Where the page before ended: its `next`.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1000; 100 unless said.
    limit: Option<usize>,
}

/// A page of events. It may be short, or empty, with more to come: only `next` says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventPage {
    events: Vec<Event>,
    /// The cursor of the next page; null when this was the last.
    next: Option<String>,
}

/// One event in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Event {
    id: String,
    source: String,
    /// `11x`, …, or the name of a custom mapping.
    provider: String,
    received_at: Timestamp,
    /// `routed`, `unrouted` or `quarantined`.
    state: &'static str,
    /// Why it is quarantined.
    reason: Option<String>,
    /// The call's status; null while quarantined, as all below but the last.
    status: Option<&'static str>,
    call_id: Option<String>,
    reference: Option<String>,
    /// E.164, or as the provider sent it.
    from: Option<String>,
    /// E.164, or as the provider sent it.
    to: Option<String>,
    /// The routes whose condition failed on it: they did not take it.
    failed_routes: Vec<String>,
}

/// One event with everything but its bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventDetail {
    id: String,
    source: String,
    provider: String,
    received_at: Timestamp,
    /// `routed`, `unrouted` or `quarantined`.
    state: &'static str,
    /// Why it is quarantined.
    reason: Option<String>,
    /// The callback as it came, without its credentials and its body.
    request: RequestHead,
    /// The normalised event as targets receive it; null while quarantined.
    #[schema(value_type = Option<Object>)]
    event: Option<Box<RawValue>>,
    /// The routes whose condition failed on it: they did not take it.
    failed_routes: Vec<String>,
    deliveries: Vec<Delivery>,
}

/// What came with a body.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestHead {
    method: String,
    query: String,
    content_type: Option<String>,
    /// Length of the body after decompression; `raw` gives the body.
    body_bytes: usize,
}

/// The deliveries of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deliveries {
    deliveries: Vec<Delivery>,
}

/// One event on its way to one target.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Delivery {
    id: i64,
    target: String,
    /// `pending`, `delivered`, `dead` or `discarded`.
    state: &'static str,
    /// How often it was redriven.
    round: u32,
    /// Attempts of this round that have ended.
    attempts: u32,
    /// When its age began.
    since: Timestamp,
    /// When it is due; only while pending.
    next_at: Option<Timestamp>,
    /// When it was last settled, redriven or discarded.
    settled_at: Option<Timestamp>,
    /// The HTTP status of the last attempt.
    status: Option<u16>,
    /// What went wrong last.
    error: Option<String>,
    /// Why it is, or was, a dead letter.
    reason: Option<String>,
}

/// Which attempts to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptQuery {
    /// Where the page before ended: its `next`.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1000; 100 unless said.
    limit: Option<usize>,
}

/// A page of attempts, the first of the first round first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptPage {
    attempts: Vec<Attempt>,
    /// The cursor of the next page; null when this was the last.
    next: Option<String>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Attempt {
    round: u32,
    /// 1 for the first of the round.
    number: u32,
    at: Timestamp,
    duration_ms: f64,
    /// The HTTP status, when there was an answer.
    status: Option<u16>,
    error: Option<String>,
    /// The first bytes of the answer, as text.
    answer: Option<String>,
}

// === handlers ===

/// Events by filter, page by page.
#[utoipa::path(get, path = "/events", tag = "events", params(EventQuery), responses(
    (status = 200, body = EventPage),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_events(
    State(desk): State<Desk>,
    Asked(asked): Asked<EventQuery>,
) -> Result<Json<EventPage>, Problem> {
    let filter = EventFilter {
        source: source(&desk, asked.source.as_deref())?,
        state: word("state", EventState::ALL, EventState::as_str, asked.state.as_deref())?,
        status: word("status", Status::ALL, Status::as_str, asked.status.as_deref())?,
        call: asked.call,
        since: instant(asked.since.as_deref(), "since")?,
        until: instant(asked.until.as_deref(), "until")?,
        events: Vec::new(),
        target: target(&desk, asked.target.as_deref())?,
        number: asked.number,
        reason: asked.reason,
        failed_route: asked.failed_route,
    };
    let orders = [Order::NewestFirst, Order::OldestFirst];
    let order = word("order", &orders, order_word, asked.order.as_deref())?.unwrap_or_default();
    let after = cursor(asked.cursor.as_deref())?.map(EventCursor);
    let page = desk.store.events(filter, order, after, rows(asked.limit)?).await?;
    Ok(Json(EventPage {
        events: page.events.into_iter().map(Event::from).collect(),
        next: page.next.map(|next| next.0.to_string()),
    }))
}

/// One event with its deliveries.
#[utoipa::path(get, path = "/events/{id}", tag = "events",
    params(("id" = String, Path, description = "The event's id.")), responses(
    (status = 200, body = EventDetail),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show_event(
    State(desk): State<Desk>,
    id: Segment,
) -> Result<Json<EventDetail>, Problem> {
    let event = stored(&desk, &id).await?;
    let deliveries = desk.store.deliveries_of(event.id).await?;
    Ok(Json(EventDetail::new(event, deliveries)))
}

/// The body of the callback as it came, of a GET its query; credentials in it are masked.
#[utoipa::path(get, path = "/events/{id}/raw", tag = "events",
    params(("id" = String, Path, description = "The event's id.")), responses(
    (status = 200, description = "The bytes.", body = String, content_type = "application/octet-stream"),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn raw_event(State(desk): State<Desk>, id: Segment) -> Result<Response, Problem> {
    let request = stored(&desk, &id).await?.request;
    let told = if request.method == "GET" { request.query.into() } else { request.body };
    let mut response = told.into_response();
    // Whatever a provider sent, no browser shows it as a page of ours.
    for (name, value) in [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DISPOSITION, "attachment"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The deliveries of an event.
#[utoipa::path(get, path = "/events/{id}/deliveries", tag = "events",
    params(("id" = String, Path, description = "The event's id.")), responses(
    (status = 200, body = Deliveries),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_deliveries(
    State(desk): State<Desk>,
    id: Segment,
) -> Result<Json<Deliveries>, Problem> {
    let event = stored(&desk, &id).await?;
    let deliveries = desk.store.deliveries_of(event.id).await?;
    let deliveries = deliveries.into_iter().map(Delivery::from).collect();
    Ok(Json(Deliveries { deliveries }))
}

/// The attempts of a delivery.
#[utoipa::path(get, path = "/deliveries/{id}/attempts", tag = "events",
    params(("id" = i64, Path, description = "The delivery's id."), AttemptQuery), responses(
    (status = 200, body = AttemptPage),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_attempts(
    State(desk): State<Desk>,
    id: Segment,
    Asked(asked): Asked<AttemptQuery>,
) -> Result<Json<AttemptPage>, Problem> {
    let (after, limit) = (attempt_cursor(asked.cursor.as_deref())?, rows(asked.limit)?);
    let found = desk.store.attempts(id.delivery()?, after, limit).await?;
    let last = found.last().filter(|_| found.len() == limit);
    let next = last.map(|last| format!("{}-{}", last.round, last.attempt.number));
    Ok(Json(AttemptPage { attempts: found.into_iter().map(Attempt::from).collect(), next }))
}

async fn stored(desk: &Desk, id: &Segment) -> Result<StoredEvent, Problem> {
    let event = desk.store.event(id.event()?).await?;
    event.ok_or_else(|| Problem::not_found("no event has this id"))
}

fn attempt_cursor(text: Option<&str>) -> Result<Option<(u32, u32)>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text
        .split_once('-')
        .and_then(|(round, number)| Some((round.parse().ok()?, number.parse().ok()?)));
    let wrong = || Problem::invalid("cursor is what `next` of the page before said");
    parsed.map(Some).ok_or_else(wrong)
}

const fn order_word(order: Order) -> &'static str {
    match order {
        Order::NewestFirst => "newest",
        Order::OldestFirst => "oldest",
    }
}

// === shapes ===

impl From<EventSummary> for Event {
    fn from(event: EventSummary) -> Self {
        let facts = event.facts;
        let status = facts.as_ref().map(|facts| facts.status.as_str());
        let (call_id, reference, from, to) = match facts {
            Some(facts) => (facts.call_id, facts.reference, facts.from, facts.to),
            None => (None, None, None, None),
        };
        Self {
            id: event.id.to_string(),
            source: event.source.as_str().to_owned(),
            provider: event.provider,
            received_at: event.received_at,
            state: event.state.as_str(),
            reason: event.reason,
            status,
            call_id,
            reference,
            from,
            to,
            failed_routes: event.failed_routes,
        }
    }
}

impl EventDetail {
    fn new(event: StoredEvent, deliveries: Vec<DeliveryRecord>) -> Self {
        let json = event.json.and_then(|json| String::from_utf8(json.to_vec()).ok());
        Self {
            id: event.id.to_string(),
            source: event.source.as_str().to_owned(),
            provider: event.provider,
            received_at: event.received_at,
            state: event.state,
            reason: event.reason,
            request: RequestHead {
                method: event.request.method,
                query: event.request.query,
                content_type: event.request.content_type,
                body_bytes: event.request.body.len(),
            },
            event: json.and_then(|json| RawValue::from_string(json).ok()),
            failed_routes: event.failed_routes,
            deliveries: deliveries.into_iter().map(Delivery::from).collect(),
        }
    }
}

impl From<DeliveryRecord> for Delivery {
    fn from(delivery: DeliveryRecord) -> Self {
        Self {
            id: delivery.id.0,
            target: delivery.target.as_str().to_owned(),
            state: delivery.state.as_str(),
            round: delivery.round,
            attempts: delivery.attempts,
            since: delivery.since,
            next_at: delivery.next_at,
            settled_at: delivery.settled_at,
            status: delivery.status,
            error: delivery.error,
            reason: delivery.reason,
        }
    }
}

impl From<PastAttempt> for Attempt {
    fn from(PastAttempt { round, attempt }: PastAttempt) -> Self {
        Self {
            round,
            number: attempt.number,
            at: attempt.at,
            // Microseconds are what the store keeps, and more would be of the division.
            duration_ms: f64::from(u32::try_from(attempt.took.as_micros()).unwrap_or(u32::MAX))
                / 1000.0,
            status: attempt.status,
            error: attempt.error,
            answer: attempt.snippet.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_of_an_attempt_is_told_to_the_microsecond_and_no_further() {
        let told = |micros| {
            let attempt = crate::store::Attempt {
                number: 1,
                at: Timestamp::UNIX_EPOCH,
                took: Duration::from_micros(micros),
                status: None,
                error: None,
                snippet: None,
            };
            let told = Attempt::from(PastAttempt { round: 0, attempt });
            serde_json::to_value(told).unwrap()["duration_ms"].to_string()
        };

        assert_eq!([466, 12_000, 15_000_001].map(told), ["0.466", "12.0", "15000.001"]);
    }
}
