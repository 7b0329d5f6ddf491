//! Sending stored events again, reading quarantined ones again, and forgetting a person.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask::{
    PAGE_ROWS_MAX, Segment, Told, cursor, events, instant, rows, source, target, word,
};
use crate::{
    admin::{Desk, StillUnread, Trust, problem::Problem},
    event::Status,
    route::TargetName,
    store::{
        self, Admission, Erasure, EventCursor, EventFilter, EventState, Fate, Order, StoredEvent,
    },
};

/// Which events to send again, and where: one step of them. Something must be named.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplayOrder {
    /// These events, at most 1000.
    events: Vec<String>,
    /// Of this source.
    source: Option<String>,
    /// With this call status.
    status: Option<String>,
    /// With this call id or reference.
    call: Option<String>,
    /// From or to this number.
    number: Option<String>,
    /// With a delivery for this target.
    target: Option<String>,
    /// On which the condition of the route of this name failed.
    failed_route: Option<String>,
    /// Accepted at this instant or later (RFC 3339).
    since: Option<String>,
    /// Accepted before this instant (RFC 3339).
    until: Option<String>,
    /// To these targets, also where they never had it; else to those that had it.
    to: Vec<String>,
    /// Where they had it, send it under another `webhook-id`, `<id>.<round>`, to targets that would
    /// pass over one they know.
    new_id: bool,
    /// Where the step before ended: its `next`.
    cursor: Option<String>,
    /// At most so many events in this step, 1 to 1000; 1000 unless said.
    max: Option<usize>,
}

/// What one step of a replay did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replayed {
    /// Deliveries that are pending because of it.
    deliveries: u64,
    /// The cursor of the next step; null when this was the last.
    next: Option<String>,
}

/// How to release one event.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReleaseOrder {
    /// Believe it although it could not be verified when it came.
    unverified: bool,
}

/// An event that was released.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Released {
    id: String,
    /// The targets it goes to now; none when no route takes it.
    targets: Vec<String>,
}

/// Which quarantined events to read again: one step of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QuarantineOrder {
    /// These events, at most 1000; else all that match.
    events: Vec<String>,
    /// Of this source.
    source: Option<String>,
    /// Quarantined for this reason.
    reason: Option<String>,
    /// With this call status, now that they are read.
    status: Option<String>,
    /// With this call id or reference, now that they are read.
    call: Option<String>,
    /// From or to this number, now that they are read.
    number: Option<String>,
    /// That go to this target, now that they are read.
    target: Option<String>,
    /// Accepted at this instant or later (RFC 3339).
    since: Option<String>,
    /// Accepted before this instant (RFC 3339).
    until: Option<String>,
    /// Also those that could not be verified when they came.
    unverified: bool,
    /// Events that no route took, in place of those that could not be read.
    unrouted: bool,
    /// Read them, and release none.
    dry_run: bool,
    /// Where the step before ended: its `next`.
    cursor: Option<String>,
    /// At most so many events in this step, 1 to 100; 100 unless said.
    max: Option<usize>,
}

/// What one step of reading again did.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ReadAgain {
    /// Events that became readable and went their ways, or would in a dry run.
    released: u64,
    /// Events that stay quarantined because they still are not read, each with why. Those that are
    /// read and are not what was asked for are left alone too.
    kept: Vec<Kept>,
    /// The cursor of the next step; null when this was the last.
    next: Option<String>,
}

/// An event that stays quarantined.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Kept {
    id: String,
    why: String,
}

/// Whose data to erase: exactly one of the three.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EraseOrder {
    /// Every event with this call id or reference.
    call: Option<String>,
    /// Every event in which this number occurs; one of fewer than six digits stands in other
    /// numbers, and is looked for only in `from` and `to`.
    number: Option<String>,
    /// One event.
    event: Option<String>,
    /// Where the step before ended: its `next`.
    cursor: Option<String>,
}

/// What one step of an erasure removed. Add the steps up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Erased {
    /// Events, each with its request.
    events: u64,
    /// Deliveries in every state.
    deliveries: u64,
    /// Deliveries among them that were pending.
    pending: u64,
    /// Deliveries among them that were dead letters.
    dead: u64,
    /// Attempts with their errors and answers.
    attempts: u64,
    /// Fingerprints.
    fingerprints: u64,
    /// The cursor of the next step; null when everything is erased and the files hold no trace.
    next: Option<String>,
}

/// What events must turn out to be.
struct Wanted {
    status: Option<Status>,
    call: Option<String>,
    number: Option<String>,
    target: Option<TargetName>,
}

/// Bodies read again in one step: some milliseconds each at most.
const READ_AGAIN_MAX: usize = 100;

// === handlers ===

/// Sends stored events again, one step: go on with `next` until it is null.
#[utoipa::path(post, path = "/replay", tag = "events", request_body = ReplayOrder, responses(
    (status = 200, body = Replayed),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn replay(
    State(desk): State<Desk>,
    Told(order): Told<ReplayOrder>,
) -> Result<Json<Replayed>, Problem> {
    if !order.names_something() {
        let detail = "name events, a source, since, …, or the targets they shall go `to`";
        return Err(Problem::invalid(detail));
    }
    let events = EventFilter {
        events: events(&order.events)?,
        source: source(&desk, order.source.as_deref())?,
        state: None,
        status: word("status", Status::ALL, Status::as_str, order.status.as_deref())?,
        call: order.call,
        number: order.number,
        target: target(&desk, order.target.as_deref())?,
        reason: None,
        failed_route: order.failed_route,
        since: instant(order.since.as_deref(), "since")?,
        until: instant(order.until.as_deref(), "until")?,
    };
    let mut targets = Vec::new();
    for name in &order.to {
        targets.extend(target(&desk, Some(name))?);
    }
    let after = cursor(order.cursor.as_deref())?.map(EventCursor);
    let max = rows(Some(order.max.unwrap_or(PAGE_ROWS_MAX)))?;
    let replay = store::Replay { events, targets };
    let again = store::Again { at: desk.clock.now(), new_id: order.new_id };
    let step = desk.store.replay(replay, after, again, max).await?;
    let next = step.next.map(|next| next.0.to_string());
    Ok(Json(Replayed { deliveries: step.deliveries, next }))
}

/// Reads a quarantined or unrouted event again, and sends it down its routes.
#[utoipa::path(post, path = "/events/{id}/release", tag = "events",
    params(("id" = String, Path, description = "The event's id.")),
    request_body = ReleaseOrder, responses(
    (status = 200, body = Released),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn release_event(
    State(desk): State<Desk>,
    id: Segment,
    Told(order): Told<ReleaseOrder>,
) -> Result<Json<Released>, Problem> {
    let event = desk.store.event(id.event()?).await?;
    let event = event.ok_or_else(|| Problem::not_found("no event has this id"))?;
    let targets = match read_again(&desk, &event, trust(order.unverified))? {
        Ok(admission) => release(&desk, &event, admission).await?,
        Err(why) => Err(why),
    };
    let targets = targets
        .map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "still_unread", why))?;
    Ok(Json(Released { id: event.id.to_string(), targets }))
}

/// Reads quarantined events again after a fix, or those that no route took after one was added; one
/// step: go on with `next` until it is null.
#[utoipa::path(post, path = "/quarantine/redrive", tag = "events",
    request_body = QuarantineOrder, responses(
    (status = 200, body = ReadAgain),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn redrive_quarantine(
    State(desk): State<Desk>,
    Told(order): Told<QuarantineOrder>,
) -> Result<Json<ReadAgain>, Problem> {
    let filter = EventFilter {
        events: events(&order.events)?,
        source: source(&desk, order.source.as_deref())?,
        state: Some(if order.unrouted { EventState::Unrouted } else { EventState::Quarantined }),
        reason: order.reason,
        since: instant(order.since.as_deref(), "since")?,
        until: instant(order.until.as_deref(), "until")?,
        ..EventFilter::default()
    };
    let wanted = Wanted {
        status: word("status", Status::ALL, Status::as_str, order.status.as_deref())?,
        call: order.call,
        number: order.number,
        target: target(&desk, order.target.as_deref())?,
    };
    let max = order.max.unwrap_or(READ_AGAIN_MAX);
    if !(1..=READ_AGAIN_MAX).contains(&max) {
        return Err(Problem::invalid(format!("max is 1 to {READ_AGAIN_MAX}")));
    }
    let after = cursor(order.cursor.as_deref())?.map(EventCursor);
    let page = desk.store.events(filter, Order::OldestFirst, after, max).await?;
    let mut done =
        ReadAgain { next: page.next.map(|next| next.0.to_string()), ..ReadAgain::default() };
    for summary in page.events {
        // Erased meanwhile: nothing is left to read.
        let Some(event) = desk.store.event(summary.id).await? else { continue };
        let released = match read_again(&desk, &event, trust(order.unverified))? {
            Ok(admission) if !wanted.is_met(&admission.fate) => continue,
            Ok(admission) if order.dry_run => waits_on(&event, &admission.fate).map_or(Ok(()), Err),
            Ok(admission) => release(&desk, &event, admission).await?.map(drop),
            Err(why) => Err(why),
        };
        match released {
            Ok(()) => done.released += 1,
            Err(why) => done.kept.push(Kept { id: event.id.to_string(), why }),
        }
    }
    Ok(Json(done))
}

/// Removes whatever the store holds of a call, a number or an event, one step: go on with `next`
/// until it is null.
#[utoipa::path(post, path = "/erase", tag = "relay", request_body = EraseOrder, responses(
    (status = 200, body = Erased),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn erase(
    State(desk): State<Desk>,
    Told(order): Told<EraseOrder>,
) -> Result<Json<Erased>, Problem> {
    let what = match (order.call, order.number, order.event) {
        (Some(call), None, None) if !call.is_empty() => Erasure::Call(call),
        (None, Some(number), None) => {
            if !number.bytes().any(|byte| byte.is_ascii_digit()) {
                return Err(Problem::invalid("a number has digits"));
            }
            Erasure::Number(number)
        }
        (None, None, Some(event)) => {
            let wrong = |_| Problem::invalid("an event's id is a UUID");
            Erasure::Event(event.parse().map_err(wrong)?)
        }
        _ => return Err(Problem::invalid("name one of call, number, event")),
    };
    let after = cursor(order.cursor.as_deref())?.map(EventCursor);
    let step = desk.store.erase(what, after).await?;
    Ok(Json(Erased {
        events: step.events,
        deliveries: step.deliveries,
        pending: step.pending,
        dead: step.dead,
        attempts: step.attempts,
        fingerprints: step.fingerprints,
        next: step.next.map(|next| next.0.to_string()),
    }))
}

/// Why an event that no route took stays as it is, in a sentence.
fn waits_on(event: &StoredEvent, fate: &Fate) -> Option<String> {
    match fate {
        Fate::Readable { targets, failed_routes, .. }
            if event.state == EventState::Unrouted.as_str() && targets.is_empty() =>
        {
            Some(match failed_routes.join(", ") {
                none if none.is_empty() => "no route takes it".to_owned(),
                routes => format!("no route takes it; a condition fails on it, that of {routes}"),
            })
        }
        _ => None,
    }
}

const fn trust(unverified: bool) -> Trust {
    if unverified { Trust::ByDecision } else { Trust::Verified }
}

/// What an event reads as now; or why it stays as it is, in a sentence.
fn read_again(
    desk: &Desk,
    event: &StoredEvent,
    trust: Trust,
) -> Result<Result<Admission, String>, Problem> {
    let Some(reread) = &desk.controls.reread else {
        return Err(Problem::not_offered("reading events again"));
    };
    Ok(match reread(event, trust) {
        Ok(admission) => match admission.fate {
            Fate::Readable { .. } => Ok(admission),
            Fate::Quarantined { reason } => Err(reason.to_owned()),
        },
        Err(why @ StillUnread::Unverified) => Err(format!("{why}: say unverified (--unverified)")),
        Err(why) => Err(why.to_string()),
    })
}

/// The targets an event goes to now; or why it stays as it is, in a sentence. A route that could
/// not judge it is counted once for it, when it is first marked.
async fn release(
    desk: &Desk,
    event: &StoredEvent,
    admission: Admission,
) -> Result<Result<Vec<String>, String>, Problem> {
    let waits = waits_on(event, &admission.fate);
    let (targets, mut newly_failed) = match &admission.fate {
        Fate::Readable { targets, failed_routes, .. } => {
            let targets = targets.iter().map(|target| target.as_str().to_owned()).collect();
            (targets, failed_routes.clone())
        }
        Fate::Quarantined { .. } => (Vec::new(), Vec::new()),
    };
    newly_failed.retain(|route| !event.failed_routes.contains(route));
    if let Some(why) = &waits
        && newly_failed.is_empty()
    {
        return Ok(Err(why.clone()));
    }
    if !desk.store.release(admission).await? && waits.is_none() {
        return Ok(Err("it went down its routes already; a replay sends it again".to_owned()));
    }
    if let Some(route_failed) = &desk.controls.route_failed {
        for route in &newly_failed {
            route_failed(route);
        }
    }
    Ok(waits.map_or(Ok(targets), Err))
}

// === impl ReplayOrder ===

impl ReplayOrder {
    /// Whether anything is said of the events or of where they go: an empty order would send all of
    /// them to everybody once more.
    fn names_something(&self) -> bool {
        let Self { source, status, call, number, target, failed_route, since, until, .. } = self;
        let picked = [source, status, call, number, target, failed_route, since, until];
        !self.events.is_empty() || !self.to.is_empty() || picked.iter().any(|it| it.is_some())
    }
}

// === impl Wanted ===

impl Wanted {
    fn is_met(&self, fate: &Fate) -> bool {
        let Fate::Readable { json, facts, targets, .. } = fate else { return false };
        let is = |wanted: &Option<String>, had: [&Option<String>; 2]| {
            wanted.is_none() || had.contains(&wanted)
        };
        self.status.is_none_or(|status| status == facts.status)
            && is(&self.call, [&facts.call_id, &facts.reference])
            && self.number.as_ref().is_none_or(|number| facts.is_with(number, json))
            && self.target.as_ref().is_none_or(|target| targets.contains(target))
    }
}
