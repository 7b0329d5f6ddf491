//! Dead letters: which there are and why, and what becomes of them.

use std::time::Duration;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{
    Asked, PAGE_ROWS_MAX, Segment, Told, cursor, events, instant, reason, rows, source, target,
    word,
};
use crate::{
    admin::{Desk, problem::Problem},
    event::Status,
    store::{self, Again, DeadFilter, DeliveryId},
};

/// Which dead letters to list, and from where.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadQuery {
    /// Of this target.
    target: Option<String>,
    /// Buried for this reason, such as `permanent`.
    reason: Option<String>,
    /// Of events of this source.
    source: Option<String>,
    /// Of events with this call status.
    status: Option<String>,
    /// Of events with this call id or reference.
    call: Option<String>,
    /// Of events from or to this number.
    number: Option<String>,
    /// Buried at this instant or later (RFC 3339).
    since: Option<String>,
    /// Buried before this instant (RFC 3339).
    until: Option<String>,
    /// Where the page before ended: its `next`.
    cursor: Option<String>,
    /// Rows of the page, 1 to 1000; 100 unless said.
    limit: Option<usize>,
}

/// A page of dead letters, the oldest event first. It may be short, or empty, with more to come:
/// only `next` says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadPage {
    dead_letters: Vec<DeadLetter>,
    /// The cursor of the next page; null when this was the last.
    next: Option<String>,
}

/// One delivery that nobody attempts any more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetter {
    /// The delivery's id.
    id: i64,
    event: String,
    target: String,
    /// Why: `permanent`, `attempts_exhausted`, `expired`, …
    reason: String,
    /// How often it was redriven.
    round: u32,
    /// Attempts of the last round.
    attempts: u32,
    /// When it was buried.
    at: Timestamp,
    /// The HTTP status of the last attempt.
    status: Option<u16>,
    /// What went wrong last.
    error: Option<String>,
    /// The first bytes of the last answer, as text.
    answer: Option<String>,
}

/// How many dead letters there are per target and reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadCounts {
    counts: Vec<DeadCount>,
    /// The sum of them.
    total: u64,
    /// Whether these are all; else there are at least so many.
    complete: bool,
}

/// The dead letters of one target and reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadCount {
    target: String,
    reason: String,
    count: u64,
}

/// Which dead letters, one step of them. Something must be named, or `all` be true.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeadChoice {
    /// Of this target.
    target: Option<String>,
    /// Of these events, at most 1000.
    events: Vec<String>,
    /// Buried for this reason.
    reason: Option<String>,
    /// Of events of this source.
    source: Option<String>,
    /// Of events with this call status.
    status: Option<String>,
    /// Of events with this call id or reference.
    call: Option<String>,
    /// Of events from or to this number.
    number: Option<String>,
    /// Buried at this instant or later (RFC 3339).
    since: Option<String>,
    /// Buried before this instant (RFC 3339): what dies again meanwhile is then left alone.
    until: Option<String>,
    /// Whichever there are.
    all: bool,
    /// Of a redrive: send them under another `webhook-id`, `<id>.<round>`, to targets that would
    /// pass over one they know.
    new_id: bool,
    /// Of a redrive or discard: where the step before ended: its `next`.
    cursor: Option<String>,
    /// At most so many, 1 to 1000; 1000 unless said.
    max: Option<usize>,
}

/// What one step did. It may have moved none with more to come: only `next` says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moved {
    /// Deliveries.
    moved: u64,
    /// The cursor of the next step; null when this was the last.
    next: Option<String>,
}

/// How long counting may keep a reader of the store: the answer then says "at least".
const COUNTING: Duration = Duration::from_secs(5);

// === handlers ===

/// Dead letters by filter, page by page.
#[utoipa::path(get, path = "/dead-letters", tag = "dead letters", params(DeadQuery), responses(
    (status = 200, body = DeadPage),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_dead(
    State(desk): State<Desk>,
    Asked(asked): Asked<DeadQuery>,
) -> Result<Json<DeadPage>, Problem> {
    let (after, limit) = (cursor(asked.cursor.as_deref())?, rows(asked.limit)?);
    let page = desk.store.dead_letters(asked.read(&desk)?, after.map(DeliveryId), limit).await?;
    let next = page.next.map(|next| next.0.to_string());
    let dead_letters = page.letters.into_iter().map(DeadLetter::from).collect();
    Ok(Json(DeadPage { dead_letters, next }))
}

/// What a redrive or discard would be about: counts per target and reason.
#[utoipa::path(post, path = "/dead-letters/counts", tag = "dead letters",
    request_body = DeadChoice, responses(
    (status = 200, body = DeadCounts),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn count_dead(
    State(desk): State<Desk>,
    Told(choice): Told<DeadChoice>,
) -> Result<Json<DeadCounts>, Problem> {
    let (filter, ..) = choice.read(&desk)?;
    let counted = desk.store.count_dead(filter, COUNTING).await?;
    let total = counted.letters.values().sum();
    let counts = counted.letters.into_iter().map(|((target, reason), count)| DeadCount {
        target: target.as_str().to_owned(),
        reason,
        count,
    });
    Ok(Json(DeadCounts { counts: counts.collect(), total, complete: counted.complete }))
}

/// One dead letter.
#[utoipa::path(get, path = "/dead-letters/{id}", tag = "dead letters",
    params(("id" = i64, Path, description = "The delivery's id.")), responses(
    (status = 200, body = DeadLetter),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show_dead(
    State(desk): State<Desk>,
    id: Segment,
) -> Result<Json<DeadLetter>, Problem> {
    let id = id.delivery()?;
    let before = id.0.checked_sub(1).map(DeliveryId);
    let found = desk.store.dead_letters(DeadFilter::default(), before, 1).await?;
    match found.letters.into_iter().find(|letter| letter.id == id) {
        Some(letter) => Ok(Json(letter.into())),
        None => Err(Problem::not_found("no dead letter has this id")),
    }
}

/// Sets dead letters pending again, one step: go on with `next` until it is null.
#[utoipa::path(post, path = "/dead-letters/redrive", tag = "dead letters",
    request_body = DeadChoice, responses(
    (status = 200, body = Moved),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn redrive_dead(
    State(desk): State<Desk>,
    Told(choice): Told<DeadChoice>,
) -> Result<Json<Moved>, Problem> {
    let (filter, after, max) = choice.read(&desk)?;
    let again = Again { at: desk.clock.now(), new_id: choice.new_id };
    Ok(Json(desk.store.redrive(filter, after, again, max).await?.into()))
}

/// Gives dead letters up, one step: go on with `next` until it is null. They stay listed as discarded.
#[utoipa::path(post, path = "/dead-letters/discard", tag = "dead letters",
    request_body = DeadChoice, responses(
    (status = 200, body = Moved),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn discard_dead(
    State(desk): State<Desk>,
    Told(choice): Told<DeadChoice>,
) -> Result<Json<Moved>, Problem> {
    let (filter, after, max) = choice.read(&desk)?;
    if choice.new_id {
        return Err(Problem::invalid("new_id is of a redrive: what is discarded is not sent"));
    }
    Ok(Json(desk.store.discard(filter, after, max).await?.into()))
}

// === impl DeadChoice ===

impl DeadChoice {
    fn read(&self, desk: &Desk) -> Result<(DeadFilter, Option<DeliveryId>, usize), Problem> {
        let filter = DeadFilter {
            target: target(desk, self.target.as_deref())?,
            events: events(&self.events)?,
            reason: reason(self.reason.as_deref())?,
            source: source(desk, self.source.as_deref())?,
            status: word("status", Status::ALL, Status::as_str, self.status.as_deref())?,
            call: self.call.clone(),
            number: self.number.clone(),
            since: instant(self.since.as_deref(), "since")?,
            until: instant(self.until.as_deref(), "until")?,
        };
        // The moment alone is no choice: everything is older than tomorrow.
        let named = filter.target.is_some()
            || !filter.events.is_empty()
            || filter.reason.is_some()
            || filter.source.is_some()
            || filter.status.is_some()
            || filter.call.is_some()
            || filter.number.is_some()
            || filter.since.is_some();
        if !named && !self.all {
            let detail = "name a target, a reason, …, or say \"all\": true";
            return Err(Problem::invalid(detail));
        }
        let after = cursor(self.cursor.as_deref())?.map(DeliveryId);
        Ok((filter, after, rows(Some(self.max.unwrap_or(PAGE_ROWS_MAX)))?))
    }
}

// === impl DeadQuery ===

impl DeadQuery {
    fn read(&self, desk: &Desk) -> Result<DeadFilter, Problem> {
        Ok(DeadFilter {
            target: target(desk, self.target.as_deref())?,
            events: Vec::new(),
            reason: reason(self.reason.as_deref())?,
            source: source(desk, self.source.as_deref())?,
            status: word("status", Status::ALL, Status::as_str, self.status.as_deref())?,
            call: self.call.clone(),
            number: self.number.clone(),
            since: instant(self.since.as_deref(), "since")?,
            until: instant(self.until.as_deref(), "until")?,
        })
    }
}

impl From<store::Moved> for Moved {
    fn from(store::Moved { letters, next }: store::Moved) -> Self {
        Self { moved: letters, next: next.map(|next| next.0.to_string()) }
    }
}

impl From<store::DeadLetter> for DeadLetter {
    fn from(letter: store::DeadLetter) -> Self {
        Self {
            id: letter.id.0,
            event: letter.event.to_string(),
            target: letter.target.as_str().to_owned(),
            reason: letter.reason,
            round: letter.round,
            attempts: letter.attempts,
            at: letter.at,
            status: letter.status,
            error: letter.error,
            answer: letter.snippet.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}
