//! What an operator asks over HTTP: metrics, health, and the JSON API under `/api/v1`.
//!
//! `/healthz` says that the process lives, `/readyz` whether it would take a callback now,
//! `/metrics` everything else. On an address that is not loopback all but health asks for the
//! bearer token.

mod api;
mod controls;
mod guard;
mod problem;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, middleware, response::IntoResponse, routing::get};
use http::{
    HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

pub use controls::{
    Configuration, Controls, Orphaned, Orphans, Reload, ReloadProblem, ReloadRefused, ReloadReport,
    Reloading, Reread, RouteFailed, StillUnread, Token, Trust,
};

use crate::{
    clock::Clock,
    drain::Drain,
    listen::{Door, Patience, Security, Tls},
    metrics::{self, Metrics},
    secret::Secrets,
    store::Store,
};

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where operators ask; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// The bearer token of everything but health; required unless `listen` is loopback.
    pub token: Option<Secrets>,
}

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

/// What the handlers answer from.
#[derive(Clone, Debug)]
pub struct Desk {
    /// What time it is.
    pub clock: Clock,
    /// The page of `/metrics`.
    pub metrics: Metrics,
    /// Where events are remembered.
    pub store: Arc<dyn Store>,
    /// The drain of the callbacks: once it stops, the relay is not ready.
    pub ingest: Drain,
    /// Who is admitted.
    pub token: Token,
    /// Whether only this machine reaches the listener: then names of others are refused.
    pub loopback: bool,
    /// What reaches beyond the store.
    pub controls: Controls,
}

// === impl Admin ===

impl Admin {
    /// Takes the address. Nothing is answered until [`Admin::run`].
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from `desk` until `drain` says stop.
    pub fn run(self, desk: Desk, security: Security, drain: &Drain) {
        let app = Router::new()
            .route("/metrics", get(page))
            .route_layer(middleware::from_fn_with_state(desk.clone(), guard::token))
            .route_layer(middleware::from_fn_with_state(desk.clone(), guard::browser))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(desk.clone())
            .merge(api::router(desk));
        let door = Door {
            listener: self.listener,
            security,
            max_connections: CONNECTIONS_MAX,
            patience: Patience::default(),
            open: None,
        };
        let app = move |_| TowerToHyperService::new(app.clone());
        drain.spawn("admin", door.accept(app, drain.clone()));
    }
}

/// Open at one time: scrapers, health checks and a few people.
const CONNECTIONS_MAX: usize = 256;

/// The JSON API without a listener: for a program of this machine that asks a store it has open.
pub fn api(desk: Desk) -> Router {
    api::router(desk)
}

// === handlers ===

async fn page(State(desk): State<Desk>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE), NO_STORE], desk.metrics.page())
}

async fn healthz() -> impl IntoResponse {
    ([NO_STORE], "ok\n")
}

async fn readyz(State(desk): State<Desk>) -> impl IntoResponse {
    let refusal = if desk.ingest.is_stopping() {
        Some("shutting_down")
    } else {
        desk.store.refusal().map(|error| error.reason())
    };
    match refusal {
        None => (StatusCode::OK, [NO_STORE], "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, [NO_STORE], format!("{reason}\n")),
    }
}

const NO_STORE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");
