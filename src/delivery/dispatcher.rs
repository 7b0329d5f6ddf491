//! Starts a lane for each target, tells how they are doing, and begins and ends them one by one.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::{
    clock::Clock,
    delivery::{
        Settings,
        breaker::{BreakerState, Sign},
        client::{ClientError, Tls},
        dial::Dial,
        errand::Shared,
        lane::Lane,
        metrics::Metrics,
        target::{Place, Target, TargetError},
    },
    drain::Drain,
    metrics,
    route::TargetName,
    store::{Store, StoreError},
};

/// The start of delivery.
#[derive(Debug)]
pub struct Dispatcher;

/// Delivery, seen and switched from outside. Cloning shares it; holding it keeps no target alive.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Lanes>);

/// Every lane, and what a new one is begun with.
#[derive(Debug)]
struct Lanes {
    store: Arc<dyn Store>,
    clock: Clock,
    drain: Drain,
    metrics: Metrics,
    /// In the order of relay.toml. Never held over a wait.
    running: Mutex<Vec<Running>>,
    /// Those that were told to end and whose attempts may still be out. Held only with `running`.
    ending: Mutex<Vec<Running>>,
    /// Held while a pause or its end is made durable, so that the last one asked for holds.
    switching: tokio::sync::Mutex<()>,
}

/// A lane that was begun.
#[derive(Clone, Debug)]
struct Running {
    name: TargetName,
    concurrency: usize,
    attempt_max: Duration,
    in_flight: IntGauge,
    dial: Arc<Dial>,
    ended: watch::Receiver<bool>,
}

/// How a target is doing. How much waits for it and since when is in [`Store::totals`] and
/// [`Store::oldest_pending`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// Its name.
    pub name: TargetName,
    /// What a person should know first.
    pub state: TargetState,
    /// Since when a person has it paused.
    pub paused_since: Option<Timestamp>,
    /// Whether it is tried.
    pub breaker: BreakerState,
    /// Attempts that are out at this moment.
    pub in_flight: usize,
    /// Attempts that may be out at one time.
    pub concurrency: usize,
    /// Whether its last attempts failed.
    pub is_failing: bool,
    /// What was wrong with the last attempt that failed since the start, long ago as it may be.
    pub last_error: Option<LastError>,
    /// Deliveries that wait for it, those in flight included.
    pub pending: u64,
    /// Its dead letters.
    pub dead: u64,
}

/// What a person should know of a target first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// It takes what it is sent.
    Delivering,
    /// Its last attempts failed; it is tried all the same.
    Failing,
    /// It is not tried, or by a probe only, because it failed too often in a row.
    Tripped,
    /// It is not tried, because a person paused it.
    Paused,
}

/// What was wrong with an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When it had failed.
    pub at: Timestamp,
    /// The word of its cause, as in the metrics.
    pub cause: &'static str,
    /// The status, when there was an answer.
    pub status: Option<u16>,
    /// The error in words; no secret.
    pub error: Option<String>,
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

/// Why a target was not paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// relay.toml has none of this name.
    #[error("there is no target {0}")]
    Unknown(TargetName),
    /// It would be forgotten at the next start.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        let handle = Handle(Arc::new(Lanes {
            store: Arc::clone(store),
            clock: clock.clone(),
            drain: drain.clone(),
            metrics: Metrics::new(registry),
            running: Mutex::default(),
            ending: Mutex::default(),
            switching: tokio::sync::Mutex::default(),
        }));
        handle.0.change(settings, &BTreeSet::new())?;
        Ok(handle)
    }
}

// === impl Handle ===

impl Handle {
    /// Every target, in the order of relay.toml.
    pub fn status(&self) -> Vec<TargetStatus> {
        let totals = self.0.store.totals();
        let status = |lane: &Running| {
            let counts = totals.deliveries.get(&lane.name).copied().unwrap_or_default();
            let breaker = BreakerState::of_number(lane.dial.breaker.load(Ordering::Relaxed));
            let is_failing = lane.dial.is_failing.load(Ordering::Relaxed);
            let paused_since = totals.paused.get(&lane.name).copied();
            let state = match (paused_since, breaker) {
                (Some(_), _) => TargetState::Paused,
                (None, BreakerState::Tripped | BreakerState::Probing) => TargetState::Tripped,
                (None, BreakerState::Admitting) if is_failing => TargetState::Failing,
                (None, BreakerState::Admitting) => TargetState::Delivering,
            };
            TargetStatus {
                name: lane.name.clone(),
                state,
                paused_since,
                breaker,
                in_flight: usize::try_from(lane.in_flight.get()).unwrap_or_default(),
                concurrency: lane.concurrency,
                is_failing,
                last_error: lane.dial.last_error(),
                pending: counts.pending,
                dead: counts.dead,
            }
        };
        self.0.running().iter().map(status).collect()
    }

    /// Makes no further attempt at a target, over restarts, until it is resumed. What is out comes
    /// back; what comes in waits, and does not age. Whether it was not paused before.
    pub async fn pause(&self, target: &TargetName) -> Result<bool, PauseError> {
        let (lanes, target) = (Arc::clone(&self.0), target.clone());
        self.to_its_end(async move { lanes.pause(&target).await }).await
    }

    /// Has a paused target go on. Whether it was paused before.
    pub async fn resume(&self, target: &TargetName) -> Result<bool, PauseError> {
        let (lanes, target) = (Arc::clone(&self.0), target.clone());
        self.to_its_end(async move { lanes.resume(&target).await }).await
    }

    /// Brings a switch to its end also when whoever asked for it leaves meanwhile: else the store
    /// would say one thing and the lane do another.
    async fn to_its_end(
        &self,
        switch: impl Future<Output = Result<bool, PauseError>> + Send + 'static,
    ) -> Result<bool, PauseError> {
        let (tell, told) = oneshot::channel();
        self.0.drain.spawn("switch", async move { drop(tell.send(switch.await)) });
        told.await.unwrap_or(Err(PauseError::Store(StoreError::Closed)))
    }

    /// Has the targets be those of `settings`: all of them are made ready first, and when one
    /// cannot be, everything stays as it is. The lane of an `unchanged` one goes on. Any other that
    /// is there takes nothing new and ends when its attempts have come back; the one with the new
    /// settings begins after it, and a renamed one after that of its old name, so that no target
    /// ever has two owners. Returns when that is under way.
    ///
    /// The names are declared to the store by whoever assembles the relay, once this has gone well.
    pub async fn reload(
        &self,
        settings: &Settings,
        unchanged: &BTreeSet<TargetName>,
    ) -> Result<(), StartError> {
        // A pause that is being made durable must not miss the new lane.
        let _switching = self.0.switching.lock().await;
        self.0.change(settings, unchanged)
    }

    /// Waits until what a reload left out of these targets has come back and is settled: as long as
    /// an attempt there takes, and no longer than it should take to keep what came of it. Whether
    /// all of it is.
    pub async fn ended(&self, targets: &[TargetName]) -> bool {
        let ending = self.0.ending(targets);
        let longest = ending.iter().map(|lane| lane.attempt_max).max().unwrap_or_default();
        let all = async {
            for mut lane in ending {
                // Its sender goes with it, however it ends.
                drop(lane.ended.wait_for(|ended| *ended).await);
            }
        };
        tokio::time::timeout(longest.saturating_add(SETTLING_MAX), all).await.is_ok()
    }
}

// === impl Lanes ===

impl Lanes {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pause(&self, target: &TargetName) -> Result<bool, PauseError> {
        let _switching = self.switching.lock().await;
        let lane = self.lane(target)?;
        // First, so that none begins while it is being made durable.
        let before = lane.dial.paused.swap(true, Ordering::SeqCst);
        let paused = self.store.pause(target).await;
        if paused.is_err() {
            lane.dial.paused.store(before, Ordering::SeqCst);
        }
        self.store.wake(target).notify_one();
        let paused = paused?;
        if paused {
            info!(target = %target, "target {target} is paused; its events are kept");
        }
        Ok(paused)
    }

    async fn resume(&self, target: &TargetName) -> Result<bool, PauseError> {
        let _switching = self.switching.lock().await;
        let lane = self.lane(target)?;
        let resumed = self.store.resume(target).await?;
        lane.dial.paused.store(false, Ordering::SeqCst);
        self.store.wake(target).notify_one();
        if resumed {
            info!(target = %target, "target {target} is resumed");
        }
        Ok(resumed)
    }

    fn lane(&self, name: &TargetName) -> Result<Running, PauseError> {
        let lane = self.running().iter().find(|lane| lane.name == *name).cloned();
        lane.ok_or_else(|| PauseError::Unknown(name.clone()))
    }

    /// The lanes of these targets that were told to end and have not.
    fn ending(&self, targets: &[TargetName]) -> Vec<Running> {
        let _running = self.running();
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = |lane: &&Running| targets.contains(&lane.name) && !*lane.ended.borrow();
        ending.iter().filter(is_asked).cloned().collect()
    }

    fn change(
        &self,
        settings: &Settings,
        unchanged: &BTreeSet<TargetName>,
    ) -> Result<(), StartError> {
        let mut running = self.running();
        let goes_on = |name: &TargetName| {
            unchanged.contains(name) && running.iter().any(|lane| lane.name == *name)
        };
        let mut ready = self.ready(settings, goes_on)?.into_iter().peekable();
        let mut before = std::mem::take(&mut *running);
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|lane| !*lane.ended.borrow());
        for target in &settings.targets {
            let there = before.iter().position(|lane| lane.name == target.name);
            let there = there.map(|index| before.swap_remove(index));
            let Some(shared) = ready.next_if(|shared| shared.target.name == target.name) else {
                running.extend(there);
                continue;
            };
            before.extend(there);
            // One that was left out before and comes back may have attempts out too. Each of a name
            // waits for the one before it, so that the last is waited for only.
            let of_before = |name: &TargetName| {
                let mut lanes = ending.iter().chain(&before);
                lanes.rfind(|lane| lane.name == *name).cloned()
            };
            let own = of_before(&target.name);
            let renamed = target.renamed_from.as_ref().and_then(of_before);
            running.push(self.begin(shared, [own, renamed]));
        }
        for lane in before {
            lane.dial.stop.cancel();
            ending.push(lane);
        }
        Ok(())
    }

    /// Makes every target ready but those that go on; attempts nothing.
    fn ready(
        &self,
        settings: &Settings,
        goes_on: impl Fn(&TargetName) -> bool,
    ) -> Result<Vec<Shared>, StartError> {
        let secure = settings.targets.iter().any(|target| match &target.place {
            Place::Http(http) => http.needs_authorities(),
            Place::File(_) | Place::Stdout => false,
        });
        let tls = Tls::system(secure)?;
        let paused = self.store.totals().paused;
        let mut ready = Vec::with_capacity(settings.targets.len());
        for settings in settings.targets.iter().filter(|target| !goes_on(&target.name)) {
            let metrics = self.metrics.target(settings);
            let target = Target::new(settings, &tls, &self.drain, metrics.connections.clone())
                .map_err(|error| StartError::Target { name: settings.name.clone(), error })?;
            let dial = Dial::default();
            dial.paused.store(paused.contains_key(&settings.name), Ordering::SeqCst);
            let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
            ready.push(Shared::new(target, store, clock, metrics, dial));
        }
        Ok(ready)
    }

    /// Begins a lane, once those `before` it have ended: of its name, and of its old name.
    fn begin(&self, shared: Shared, before: [Option<Running>; 2]) -> Running {
        let (ends, ended) = watch::channel(false);
        let running = Running {
            name: shared.target.name.clone(),
            concurrency: shared.target.concurrency,
            attempt_max: shared.target.attempt_max,
            in_flight: shared.metrics.in_flight.clone(),
            dial: Arc::clone(&shared.dial),
            ended,
        };
        shared.target.way.tend(&self.drain);
        let drain = self.drain.clone();
        self.drain.spawn("lane", async move {
            for mut before in before.into_iter().flatten() {
                // Its sender goes with it, however it ends.
                drop(before.ended.wait_for(|ended| *ended).await);
                shared.dial.pace(before.dial.paced());
            }
            let shared = Arc::new(shared);
            shared.begins();
            keep_running(&shared, &drain).await;
            shared.ends();
            // With it goes its way to the target, before another has one.
            drop(shared);
            ends.send_replace(true);
        });
        running
    }
}

/// Runs a lane until it is told to end, however often it wants to begin anew. So does one that
/// panics, a fault of the relay: what was out is attempted again, under the same number, for nothing
/// of it was settled.
pub(super) async fn keep_running(shared: &Arc<Shared>, drain: &Drain) {
    while !drain.is_stopping() && !shared.dial.stop.is_cancelled() {
        let lane = Lane::new(Arc::clone(shared)).run(drain.clone());
        if AssertUnwindSafe(lane).catch_unwind().await.is_ok() {
            continue;
        }
        let name = &shared.target.name;
        // A probe that was out went with it: the breaker must not wait for it.
        shared.note(Sign::None, true);
        shared.metrics.lane_restarts.inc();
        error!(target = %name, "the lane of {name} panicked, a fault of the relay; begun anew");
        tokio::select! {
            () = drain.stopping() => {}
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

/// A fault that comes again at once must not become a busy loop.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A store that does not keep an outcome for so long keeps no burial either.
const SETTLING_MAX: Duration = Duration::from_secs(5);

// === impl LastError ===

impl LastError {
    /// What was wrong, in words.
    pub fn told(self) -> String {
        let answered = self.status.map(|status| format!("it answered {status}"));
        self.error.or(answered).unwrap_or_else(|| self.cause.to_owned())
    }
}

// === impl TargetState ===

impl TargetState {
    /// The word in the CLI and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivering => "delivering",
            Self::Failing => "failing",
            Self::Tripped => "tripped",
            Self::Paused => "paused",
        }
    }
}
