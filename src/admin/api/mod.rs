//! The JSON API under `/api/v1`, and the OpenAPI document that is made of the same handlers.
//!
//! Every answer is a page or one thing; what may be long is paged by cursor, what moves much does
//! so in steps that the caller repeats. Anything else is a problem (RFC 9457).

#![expect(unused_qualifications, reason = "what `utoipa::path` writes")]

mod again;
mod ask;
mod dead_letters;
mod events;
mod relay;

use std::sync::Arc;

use axum::{Json, Router, middleware, response::IntoResponse as _};
use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Desk, guard, problem::Problem};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Hookswitch admin API",
    description = "What an operator asks of a running relay. Bearer token where one is set; \
                   whatever changes something is sent as application/json.",
    license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
))]
struct Described;

/// The API, guarded, answering from `desk`.
pub(super) fn router(desk: Desk) -> Router {
    let (router, document) = OpenApiRouter::<Desk>::with_openapi(Described::openapi())
        .nest("/api/v1", described())
        .split_for_parts();
    let document = Arc::new(document);
    router
        .route("/api/v1/openapi.json", axum::routing::get(async move || Json((*document).clone())))
        .nest("/api/v1", Router::new().fallback(nothing_here))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(unkept))
        .layer(middleware::from_fn_with_state(desk.clone(), guard::token))
        .layer(middleware::from_fn_with_state(desk.clone(), guard::browser))
        .with_state(desk)
}

fn described() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(events::list_events))
        .routes(routes!(events::show_event))
        .routes(routes!(events::raw_event))
        .routes(routes!(events::list_deliveries))
        .routes(routes!(events::list_attempts))
        .routes(routes!(dead_letters::list_dead))
        .routes(routes!(dead_letters::count_dead))
        .routes(routes!(dead_letters::show_dead))
        .routes(routes!(dead_letters::redrive_dead))
        .routes(routes!(dead_letters::discard_dead))
        .routes(routes!(again::replay))
        .routes(routes!(again::release_event))
        .routes(routes!(again::redrive_quarantine))
        .routes(routes!(again::erase))
        .routes(routes!(relay::show_totals))
        .routes(routes!(relay::list_targets))
        .routes(routes!(relay::pause_target))
        .routes(routes!(relay::resume_target))
        .routes(routes!(relay::show_config))
        .routes(routes!(relay::reload))
}

async fn nothing_here() -> Problem {
    Problem::not_found("no such operation; /api/v1/openapi.json lists them")
}

async fn wrong_method() -> axum::response::Response {
    let detail = "this operation has another method; /api/v1/openapi.json says which";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response()
}

/// People's numbers are in the answers: no cache keeps them.
async fn unkept(mut response: axum::response::Response) -> axum::response::Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
