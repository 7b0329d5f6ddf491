//! The relay as a whole: its totals, its targets, its configuration.

use axum::{Json, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask::{Segment, Told, listed, shortened};
use crate::{
    admin::{
        Desk, Orphaned, Orphans, ReloadProblem, ReloadRefused, ReloadReport, problem::Problem,
    },
    delivery::{Handle, LastError, PauseError},
    route::TargetName,
    store::StoreError,
};

/// Counts of one moment, kept in the same commits as what they count.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Totals {
    /// By source: accepted = routed + unrouted + quarantined.
    events: Vec<EventTotals>,
    /// By target: enqueued = delivered + pending + dead + discarded.
    deliveries: Vec<DeliveryTotals>,
}

/// The events of a source.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventTotals {
    source: String,
    accepted: u64,
    routed: u64,
    unrouted: u64,
    quarantined: u64,
}

/// The deliveries of a target.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryTotals {
    target: String,
    enqueued: u64,
    delivered: u64,
    pending: u64,
    dead: u64,
    discarded: u64,
}

/// Every target, those of relay.toml first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Targets {
    targets: Vec<Target>,
}

/// How a target is doing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Target {
    name: String,
    /// Whether it is in relay.toml; what waits for one that is not is kept, and not attempted. Null
    /// where no relay runs to say.
    configured: Option<bool>,
    /// `delivering`, `failing`, `tripped` or `paused`; null of one that is not attempted.
    state: Option<&'static str>,
    /// Whether a person paused it.
    paused: bool,
    /// Since when.
    paused_since: Option<Timestamp>,
    /// Whether its last attempt failed; null of one that is not attempted.
    failing: Option<bool>,
    /// When an attempt last failed since the start.
    last_error_at: Option<Timestamp>,
    /// What was wrong with it.
    last_error: Option<String>,
    /// Attempts that are out at this moment.
    in_flight: usize,
    /// Attempts that may be out at one time.
    concurrency: usize,
    pending: u64,
    delivered: u64,
    dead: u64,
    discarded: u64,
    /// When the oldest pending delivery was accepted or last redriven.
    oldest_pending: Option<Timestamp>,
}

/// A target that was paused or resumed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Switched {
    target: String,
    paused: bool,
    /// Whether it was not so before.
    changed: bool,
}

/// How to reload.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReloadOrder {
    /// What becomes of queued deliveries whose target is gone: `refuse` (default), `keep`, `dead`.
    #[schema(value_type = String)]
    orphans: Orphans,
}

/// relay.toml as it is in force, every secret masked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Configured {
    #[schema(value_type = Object)]
    configuration: serde_json::Value,
}

// === handlers ===

/// The totals of every source and target.
#[utoipa::path(get, path = "/totals", tag = "relay", responses(
    (status = 200, body = Totals),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show_totals(State(desk): State<Desk>) -> Json<Totals> {
    let totals = desk.store.totals();
    let events = totals.events.iter().map(|(source, of)| EventTotals {
        source: source.as_str().to_owned(),
        accepted: of.accepted,
        routed: of.routed,
        unrouted: of.unrouted,
        quarantined: of.quarantined,
    });
    let deliveries = totals.deliveries.iter().map(|(target, of)| DeliveryTotals {
        target: target.as_str().to_owned(),
        enqueued: of.enqueued,
        delivered: of.delivered,
        pending: of.pending,
        dead: of.dead,
        discarded: of.discarded,
    });
    Json(Totals { events: events.collect(), deliveries: deliveries.collect() })
}

/// Every target with its state.
#[utoipa::path(get, path = "/targets", tag = "relay", responses(
    (status = 200, body = Targets),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_targets(State(desk): State<Desk>) -> Result<Json<Targets>, Problem> {
    let oldest = desk.store.oldest_pending().await?;
    let crate::store::Totals { deliveries: mut totals, paused, .. } = desk.store.totals();
    let delivery = desk.controls.delivery.as_ref();
    let lanes = delivery.map(crate::delivery::Handle::status).unwrap_or_default();
    let mut targets = Vec::new();
    for lane in lanes {
        let of = totals.remove(&lane.name).unwrap_or_default();
        let mut target = Target::new(lane.name.as_str(), of);
        target.configured = Some(true);
        target.state = Some(lane.state.as_str());
        target.failing = Some(lane.is_failing);
        target.last_error_at = lane.last_error.as_ref().map(|last| last.at);
        target.last_error = lane.last_error.map(LastError::told);
        (target.in_flight, target.concurrency) = (lane.in_flight, lane.concurrency);
        targets.push(target);
    }
    targets.extend(totals.into_iter().map(|(name, of)| Target {
        configured: delivery.map(|_| false),
        ..Target::new(name.as_str(), of)
    }));
    for target in &mut targets {
        let of = oldest.iter().find(|(name, _)| name.as_str() == target.name);
        target.oldest_pending = of.map(|(_, since)| *since);
        // A pause lasts while its target is left out of relay.toml.
        let pause = paused.iter().find(|(name, _)| name.as_str() == target.name);
        target.paused_since = pause.map(|(_, since)| *since);
        target.paused = pause.is_some();
    }
    Ok(Json(Targets { targets }))
}

/// Holds a target back, over restarts: what comes for it waits, and does not age.
#[utoipa::path(post, path = "/targets/{name}/pause", tag = "relay",
    params(("name" = String, Path, description = "The target's name.")), responses(
    (status = 200, body = Switched),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn pause_target(
    State(desk): State<Desk>,
    name: Segment,
) -> Result<Json<Switched>, Problem> {
    let changed = switched(lanes(&desk)?, &name, true).await?;
    Ok(Json(Switched { target: name.0, paused: true, changed }))
}

/// Has a paused target go on.
#[utoipa::path(post, path = "/targets/{name}/resume", tag = "relay",
    params(("name" = String, Path, description = "The target's name.")), responses(
    (status = 200, body = Switched),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resume_target(
    State(desk): State<Desk>,
    name: Segment,
) -> Result<Json<Switched>, Problem> {
    let changed = switched(lanes(&desk)?, &name, false).await?;
    Ok(Json(Switched { target: name.0, paused: false, changed }))
}

/// Pauses or resumes; whether it was not so before.
async fn switched(lanes: &Handle, name: &Segment, paused: bool) -> Result<bool, Problem> {
    let target = TargetName::new(&name.0);
    let done = if paused { lanes.pause(&target).await } else { lanes.resume(&target).await };
    done.map_err(|error| match error {
        PauseError::Unknown(_) => {
            let (name, known) = (shortened(&name.0), lanes.status());
            let known = listed(known.iter().map(|lane| lane.name.as_str()));
            Problem::not_found(format!("relay.toml has no target {name}; it has {known}"))
        }
        PauseError::Store(error) => error.into(),
    })
}

fn lanes(desk: &Desk) -> Result<&Handle, Problem> {
    // Without lanes the store is only being read.
    desk.controls.delivery.as_ref().ok_or_else(|| Problem::from(StoreError::ReadOnly))
}

/// The configuration in force, without secrets.
#[utoipa::path(get, path = "/config", tag = "relay", responses(
    (status = 200, body = Configured),
    (status = "default", description = "Refused.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show_config(State(desk): State<Desk>) -> Result<Json<Configured>, Problem> {
    match &desk.controls.configuration {
        Some(configuration) => Ok(Json(Configured { configuration: configuration() })),
        None => Err(Problem::not_offered("its configuration")),
    }
}

/// Reads relay.toml again: all of it, or nothing.
#[utoipa::path(post, path = "/reload", tag = "relay", request_body = ReloadOrder, responses(
    (status = 200, body = ReloadReport),
    (status = "default", description = "Refused; everything stays as it was, but for the reason `unfinished`.", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn reload(
    State(desk): State<Desk>,
    Told(order): Told<ReloadOrder>,
) -> Result<Json<ReloadReport>, Problem> {
    let Some(reload) = &desk.controls.reload else { return Err(Problem::not_offered("a reload")) };
    reload(order.orphans).await.map(Json).map_err(Problem::from)
}

// === shapes ===

impl Target {
    fn new(name: &str, of: crate::store::DeliveryTotals) -> Self {
        Self {
            name: name.to_owned(),
            configured: None,
            state: None,
            paused: false,
            paused_since: None,
            failing: None,
            last_error_at: None,
            last_error: None,
            in_flight: 0,
            concurrency: 0,
            pending: of.pending,
            delivered: of.delivered,
            dead: of.dead,
            discarded: of.discarded,
            oldest_pending: None,
        }
    }
}

impl From<ReloadRefused> for Problem {
    fn from(refused: ReloadRefused) -> Self {
        let (status, reason) = match refused {
            ReloadRefused::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_config"),
            ReloadRefused::Orphans(_) => (StatusCode::CONFLICT, "orphans"),
            ReloadRefused::Failed(_) => (StatusCode::UNPROCESSABLE_ENTITY, "reload_failed"),
            ReloadRefused::Unfinished(_) => (StatusCode::SERVICE_UNAVAILABLE, "unfinished"),
        };
        let problem = Self::new(status, reason, refused.to_string());
        let more = match refused {
            ReloadRefused::Invalid(problems) => {
                serde_json::to_value::<Vec<ReloadProblem>>(problems)
                    .map(|problems| serde_json::json!({ "problems": problems }))
            }
            ReloadRefused::Orphans(orphaned) => serde_json::to_value::<Vec<Orphaned>>(orphaned)
                .map(|orphaned| serde_json::json!({ "orphaned": orphaned })),
            ReloadRefused::Failed(_) | ReloadRefused::Unfinished(_) => return problem,
        };
        more.map_or_else(|_| problem.clone(), |more| problem.clone().with(more))
    }
}
