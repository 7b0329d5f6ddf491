//! Starts a lane for each target, and tells how they are doing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use prometheus::IntGauge;

use crate::{
    clock::Clock,
    delivery::{
        Settings,
        client::{ClientError, Tls},
        errand::Shared,
        lane::Lane,
        metrics::Metrics,
        target::{Place, Target, TargetError},
    },
    drain::Drain,
    metrics,
    route::TargetName,
    store::Store,
};

/// The start of delivery.
#[derive(Debug)]
pub struct Dispatcher;

/// Delivery, seen from outside. Cloning shares it; holding it keeps no target alive.
#[derive(Clone, Debug)]
pub struct Handle(Arc<[Seen]>);

/// What can be seen of a lane.
#[derive(Debug)]
struct Seen {
    name: TargetName,
    concurrency: usize,
    in_flight: IntGauge,
    is_failing: Arc<AtomicBool>,
}

/// How a target is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// Its name.
    pub name: TargetName,
    /// Attempts that are out at this moment.
    pub in_flight: usize,
    /// Attempts that may be out at one time.
    pub concurrency: usize,
    /// Whether its last attempts failed.
    pub is_failing: bool,
}

/// Why delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One target cannot be made ready.
    #[error("target {name}: {error}")]
    Target {
        /// Which.
        name: TargetName,
        /// Why.
        #[source]
        error: TargetError,
    },
    /// No connection to any secure target can be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Makes every target ready and starts its lane in `drain`. Each lane ends, when `drain` is
    /// told to stop, as soon as its attempts have ended and are settled.
    pub fn start(
        settings: &Settings,
        store: &Arc<dyn Store>,
        drain: &Drain,
        clock: &Clock,
        registry: &metrics::Metrics,
    ) -> Result<Handle, StartError> {
        let metrics = Metrics::new(registry);
        let secure = settings.targets.iter().any(|target| match &target.place {
            Place::Http(http) => http.needs_authorities(),
            Place::File(_) | Place::Stdout => false,
        });
        let tls = Tls::system(secure)?;
        let mut lanes = Vec::with_capacity(settings.targets.len());
        for settings in &settings.targets {
            let metrics = metrics.target(settings);
            let target = Target::new(settings, &tls, drain, metrics.connections.clone())
                .map_err(|error| StartError::Target { name: settings.name.clone(), error })?;
            lanes.push(Shared {
                target,
                store: Arc::clone(store),
                clock: clock.clone(),
                metrics,
                is_failing: Arc::default(),
                is_unsettled: AtomicBool::new(false),
            });
        }
        // Only when all are ready: a start that fails has attempted nothing.
        let handle = Handle(lanes.iter().map(Seen::of).collect());
        for shared in lanes {
            shared.target.way.tend(drain);
            drain.spawn("lane", Lane::new(Arc::new(shared)).run(drain.clone()));
        }
        Ok(handle)
    }
}

// === impl Handle ===

impl Handle {
    /// Every target, in the order of relay.toml.
    pub fn status(&self) -> Vec<TargetStatus> {
        let status = |lane: &Seen| TargetStatus {
            name: lane.name.clone(),
            in_flight: usize::try_from(lane.in_flight.get()).unwrap_or_default(),
            concurrency: lane.concurrency,
            is_failing: lane.is_failing.load(Ordering::Relaxed),
        };
        self.0.iter().map(status).collect()
    }
}

// === impl Seen ===

impl Seen {
    fn of(lane: &Shared) -> Self {
        Self {
            name: lane.target.name.clone(),
            concurrency: lane.target.concurrency,
            in_flight: lane.metrics.in_flight.clone(),
            is_failing: Arc::clone(&lane.is_failing),
        }
    }
}
