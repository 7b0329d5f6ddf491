//! Dead letters: which there are and why, and what becomes of them.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ask::{
    Asked, PAGE_ROWS_MAX, Segment, Told, cursor, events, instant, reason, rows, target,
};
use crate::{
    admin::{Desk, problem::Problem},
    store::{self, DeadFilter, DeliveryId},
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
    /// Buried at this instant or later (RFC 3339).
    since: Option<String>,
    /// Buried before this instant (RFC 3339).
    until: Option<String>,
    /// Where the page before ended: its `next`.
    cursor: Option<String>,
    /// Rows looked at for the page, 1 to 1000; 100 unless said.
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
    /// Whichever there are.
    all: bool,
    /// At most so many, 1 to 1000; 1000 unless said.
    max: Option<usize>,
}

/// What one step did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moved {
    /// Deliveries; 0 when none was left.
    moved: u64,
}

/// Dead letters looked at for counting: a second or two of one reader.
const COUNTED_MAX: usize = 200_000;

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
    let wanted = Wanted::of(&desk, &asked)?;
    let (after, limit) = (cursor(asked.cursor.as_deref())?, rows(asked.limit)?);
    let (found, next) = wanted.page(&desk, after, limit).await?;
    let dead_letters = found.into_iter().map(DeadLetter::from).collect();
    Ok(Json(DeadPage { dead_letters, next: next.map(|next| next.to_string()) }))
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
    let (filter, _) = choice.read(&desk)?;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut after = None;
    let mut complete = false;
    for _ in 0..COUNTED_MAX / PAGE_ROWS_MAX {
        let found = desk.store.dead_letters(filter.clone(), after, PAGE_ROWS_MAX).await?;
        complete = found.len() < PAGE_ROWS_MAX;
        after = found.last().map(|letter| letter.id);
        for letter in found {
            let wanted = filter.reason.is_none_or(|reason| letter.reason == reason.as_str())
                && (filter.events.is_empty() || filter.events.contains(&letter.event));
            if wanted {
                let of = (letter.target.as_str().to_owned(), letter.reason);
                *counts.entry(of).or_default() += 1;
            }
        }
        if complete {
            break;
        }
    }
    let total = counts.values().sum();
    let counts = counts
        .into_iter()
        .map(|((target, reason), count)| DeadCount { target, reason, count })
        .collect();
    Ok(Json(DeadCounts { counts, total, complete }))
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
    match found.into_iter().find(|letter| letter.id == id) {
        Some(letter) => Ok(Json(letter.into())),
        None => Err(Problem::not_found("no dead letter has this id")),
    }
}

/// Sets dead letters pending again, one step: repeat it until `moved` is 0.
#[utoipa::path(post, path = "/dead-letters/redrive", tag = "dead letters",
    request_body = DeadChoice, responses(
    (status = 200, body = Moved),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn redrive_dead(
    State(desk): State<Desk>,
    Told(choice): Told<DeadChoice>,
) -> Result<Json<Moved>, Problem> {
    let (filter, max) = choice.read(&desk)?;
    let now = desk.clock.now();
    Ok(Json(Moved { moved: desk.store.redrive(filter, now, max).await? }))
}

/// Gives dead letters up, one step: repeat it until `moved` is 0. They stay listed as discarded.
#[utoipa::path(post, path = "/dead-letters/discard", tag = "dead letters",
    request_body = DeadChoice, responses(
    (status = 200, body = Moved),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn discard_dead(
    State(desk): State<Desk>,
    Told(choice): Told<DeadChoice>,
) -> Result<Json<Moved>, Problem> {
    let (filter, max) = choice.read(&desk)?;
    Ok(Json(Moved { moved: desk.store.discard(filter, max).await? }))
}

// === impl DeadChoice ===

impl DeadChoice {
    fn read(&self, desk: &Desk) -> Result<(DeadFilter, usize), Problem> {
        let filter = DeadFilter {
            target: target(desk, self.target.as_deref())?,
            events: events(&self.events)?,
            reason: reason(self.reason.as_deref())?,
            ..DeadFilter::default()
        };
        let named = filter.target.is_some() || !filter.events.is_empty() || filter.reason.is_some();
        if !named && !self.all {
            let detail = "name a target, events or a reason, or say \"all\": true";
            return Err(Problem::invalid(detail));
        }
        Ok((filter, rows(Some(self.max.unwrap_or(PAGE_ROWS_MAX)))?))
    }
}

// === reading ===

/// A filter that pages of dead letters are held against.
struct Wanted {
    target: Option<crate::route::TargetName>,
    reason: Option<&'static str>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Wanted {
    fn of(desk: &Desk, asked: &DeadQuery) -> Result<Self, Problem> {
        Ok(Self {
            target: target(desk, asked.target.as_deref())?,
            reason: reason(asked.reason.as_deref())?.map(store::BuryReason::as_str),
            since: instant(asked.since.as_deref(), "since")?,
            until: instant(asked.until.as_deref(), "until")?,
        })
    }

    fn takes(&self, letter: &store::DeadLetter) -> bool {
        self.reason.is_none_or(|reason| letter.reason == reason)
            && self.since.is_none_or(|since| letter.at >= since)
            && self.until.is_none_or(|until| letter.at < until)
    }

    /// Those of the next `limit` that are wanted, and where to go on.
    async fn page(
        &self,
        desk: &Desk,
        after: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<store::DeadLetter>, Option<i64>), Problem> {
        let after = after.map(DeliveryId);
        let filter = DeadFilter { target: self.target.clone(), ..DeadFilter::default() };
        let mut found = desk.store.dead_letters(filter, after, limit).await?;
        let next = found.last().filter(|_| found.len() == limit).map(|letter| letter.id.0);
        found.retain(|letter| self.takes(letter));
        Ok((found, next))
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
